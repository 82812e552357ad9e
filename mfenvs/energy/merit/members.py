"""Bills of the members, what they gain by the market, and how that is spread among them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.merit.days import first_steps
from mfenvs.energy.merit.fairness import gini_of_rows
from mfenvs.energy.merit.without_market import status_quo
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.energy.record import MarketRecord
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]

COMMUNITY = "community"
"""Name of the group of all members; the others are the types."""

BILL = ("trade_payment", "imbalance_payment", "fee", "peak_payment", "terminal")
"""Entries of the accounts that make up a member's bill."""

MEAN_FIGURES = (
    "bill",
    "bill_idle",
    "bill_self_consumption",
    "gain_over_idle",
    "gain_over_self_consumption",
)
"""Figures that each member has: what the fields of :class:`MemberFigures` hold."""
STATUS_QUOS = ("idle", "self_consumption")
"""What members have without a market: idle batteries, or batteries that serve their owner alone."""

MEMBER_UNITS = {
    **dict.fromkeys(MEAN_FIGURES, "EUR per member and day"),
    **{f"{what}_{quo}": "1" for quo in STATUS_QUOS for what in ("better_off_than", "worse_off_than")},
    **{f"share_of_gain_over_{quo}": "1" for quo in STATUS_QUOS},
    "gini_of_bills": "1",
}
"""Figures of groups of members and their units; 1 for shares and other numbers without a unit."""

LEAST_GAIN = 1e-6
"""Gains and losses within this are rounding, EUR a day: the market's constants are in single precision."""

RESAMPLES, BLOCK = 1_000, 2**21
"""Bootstrap samples of an interval, and numbers that are resampled at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class MemberFigures:
    """Bills and gains of every member in every episode, per day; all arrays have shape (n_worlds, N)."""

    types: NDArray[np.int64]
    """Type of each member, as an index in :data:`~mfenvs.games.energy.prosumer_types.TYPES`, shape (N,)."""
    bill: Array
    """What a member pays (earns, if negative) for cleared trade, imbalance, settlement fees, peaks, and the
    settlement of what battery and vehicle lack or have left at the end, EUR a day."""
    bill_idle: Array
    """Bill on the same days without a market, with an idle battery, EUR a day."""
    bill_self_consumption: Array
    """Bill on the same days without a market, with a battery that serves its owner alone, EUR a day."""
    gain_over_idle: Array
    """Return in the market less that without a market with an idle battery, EUR a day. Returns count the value of
    flexible load, battery wear and what vehicles lack beside the bill."""
    gain_over_self_consumption: Array
    """Return in the market less that without a market with a battery that serves its owner alone, EUR a day."""

    def statistics(self) -> dict[tuple[str, str], Interval]:
        """Figures of groups of members, averaged over the episodes, each with a 95 % interval.

        Every member counts by its mean over the episodes.

        Returns
        -------
        dict
            By figure, one of :data:`MEMBER_UNITS`, and group, :data:`COMMUNITY` or a type that has members:

            ``bill``, ``bill_idle``, ``bill_self_consumption``, ``gain_over_idle``, ``gain_over_self_consumption``:
            means over the group of the fields of these names.

            ``better_off_than_idle``, ``worse_off_than_idle`` (and ``..._self_consumption``): participation, the
            share of the group whose gain is above 1e-6 EUR a day, or below -1e-6.

            ``share_of_gain_over_idle`` (and ``..._self_consumption``), by type: the type's part of the sum of all
            gains, negative if it loses; nan if the community gains nothing.

            ``gini_of_bills``, of the community: :func:`~mfenvs.energy.merit.fairness.gini` of the bills.

            Intervals are percentile bootstrap intervals over the episodes, with a fixed seed; with one episode
            their ends are nan.
        """
        n_worlds = len(self.bill)
        values = _statistics(self.types, {name: getattr(self, name).mean(axis=0)[None] for name in MEAN_FIGURES})
        if n_worlds < 2:
            return {key: Interval(float(value[0]), np.nan, np.nan) for key, value in values.items()}
        drawn: dict[tuple[str, str], list[Array]] = {key: [] for key in values}
        for weights in _resampling_weights(n_worlds, len(self.types)):
            means = {name: weights @ getattr(self, name) for name in MEAN_FIGURES}
            for key, value in _statistics(self.types, means).items():
                drawn[key].append(value)
        return {
            key: Interval(float(value[0]), *np.quantile(np.concatenate(drawn[key]), (0.025, 0.975)).tolist())
            for key, value in values.items()
        }

    def participation(self, status_quo: str, kind: str | None = None) -> float:
        """Share of the members that are better off by the market, by their mean gain over the episodes.

        Parameters
        ----------
        status_quo:
            What they have without it: ``idle`` or ``self_consumption``.
        kind:
            Type of the members that count; by default all.

        Returns
        -------
        float
            In [0, 1]; nan if no member is of that type.

        Raises
        ------
        ValueError
            If an argument is neither of these.
        """
        gains = getattr(self, f"gain_over_{checks.choice('status_quo', status_quo, STATUS_QUOS)}").mean(axis=0)
        if kind is not None:
            gains = gains[self.types == TYPES.index(checks.choice("kind", kind, TYPES))]
        return float((gains > LEAST_GAIN).mean()) if len(gains) else float("nan")


def member_figures(record: MarketRecord) -> MemberFigures:
    """Bills and gains of the members in a record.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    without = status_quo(record)
    n_days = len(first_steps(record.game.horizon, record.game.days.step_hours))
    return MemberFigures(
        types=record.game.agents["type"].astype(np.int64),
        bill=sum((record.account(name).sum(axis=1) for name in BILL), np.zeros(1)) / n_days,
        bill_idle=without.idle_bill / n_days,
        bill_self_consumption=without.self_consumption_bill / n_days,
        gain_over_idle=(record.returns - without.idle_return) / n_days,
        gain_over_self_consumption=(record.returns - without.self_consumption_return) / n_days,
    )


def _resampling_weights(n_worlds: int, n_members: int) -> Iterator[Array]:
    """Weights of the episodes in bootstrap samples, in blocks of shape (n_samples, n_worlds)."""
    rng = np.random.default_rng(0)
    size = max(1, BLOCK // n_members)
    for first in range(0, RESAMPLES, size):
        n_samples = min(size, RESAMPLES - first)
        yield rng.multinomial(n_worlds, np.full(n_worlds, 1.0 / n_worlds), n_samples) / n_worlds


def _statistics(types: NDArray[np.int64], means: dict[str, Array]) -> dict[tuple[str, str], Array]:
    """The statistics of rows of members' means, shape (n_rows, N) each to (n_rows,) each."""
    groups = {COMMUNITY: np.ones(len(types), np.bool_)}
    groups |= {kind: types == k for k, kind in enumerate(TYPES) if (types == k).any()}
    found: dict[tuple[str, str], Array] = {}
    for group, members in groups.items():
        for name in MEAN_FIGURES:
            found[name, group] = means[name][:, members].mean(axis=1)
        for quo in STATUS_QUOS:
            gains = means[f"gain_over_{quo}"][:, members]
            found[f"better_off_than_{quo}", group] = (gains > LEAST_GAIN).mean(axis=1)
            found[f"worse_off_than_{quo}", group] = (gains < -LEAST_GAIN).mean(axis=1)
            if group != COMMUNITY:
                total = means[f"gain_over_{quo}"].sum(axis=1)
                share = np.full(len(total), np.nan)
                np.divide(gains.sum(axis=1), total, out=share, where=total > LEAST_GAIN)
                found[f"share_of_gain_over_{quo}", group] = share
    found["gini_of_bills", COMMUNITY] = gini_of_rows(means["bill"])
    return found
