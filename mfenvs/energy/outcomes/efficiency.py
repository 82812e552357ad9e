"""Which share of a possible gain a policy gains, of several days together; price of anarchy.

All are ratios of sums over days, and their intervals resample days: a day with little to gain counts little, where
a mean of daily ratios would let it count as much as any other.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.meanfield.n_player import Estimate

Array = NDArray[np.float64]

N_RESAMPLES = 2000
"""Number of bootstrap resamples."""

LEAST_GAIN = 1e-9
"""What can be gained is nothing below this part of the welfare."""


@dataclasses.dataclass(frozen=True, eq=False)
class EfficiencyOutcome:
    """The share of a possible gain that is realised, by day and of all days together."""

    daily: Array
    """Share of each day, nan where there is nothing to gain, shape (n_days,)."""
    pooled: Interval
    """Sum of the days' gains over the sum of what could have been gained, with a bootstrap interval over days."""
    mean: Interval
    """Mean of the daily shares with a Student-t interval; nan if fewer than two days have one."""


def relative_efficiency(
    welfare: ArrayLike, floor: ArrayLike, ceiling: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> EfficiencyOutcome:
    """The share of the way from one welfare to another that a policy has come on each day, and on all.

    With W_0 (no trade) and W* (perfect foresight) as floor and ceiling it is the efficiency of
    :class:`~mfenvs.energy.outcomes.MarketOutcome` [S]. With the welfare of idle batteries and that of
    :class:`mfenvs.baselines.market.model_predictive.ModelPredictive`, both played on the same days, it is the
    second efficiency (W - W_idle) / (W_MPC - W_idle) [O]: what a policy makes of storage, compared with a planner
    who does not know the future either. It may be above 1, as that planner is no bound.

    The interval is the percentile interval of 2,000 resamples of days, drawn with replacement, each with all of
    its three figures: days are the independent units.

    Parameters
    ----------
    welfare:
        Welfare of the policy on each day, EUR, shape (n_days,), n_days >= 1.
    floor, ceiling:
        Welfare on the same days that count as 0 and as 1, EUR, shape (n_days,).
    level:
        Confidence level, in (0, 1).
    seed:
        Random seed of the bootstrap, >= 0.

    Returns
    -------
    EfficiencyOutcome
        By day, pooled and mean. An interval's ends are nan where there is but one day.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or there is nothing to gain on all days together.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    reached, low, high = _days(welfare=welfare, floor=floor, ceiling=ceiling)
    level = checks.real("level", level, 0.0, 1.0, exclude_low=True, exclude_high=True)
    gained, possible = reached - low, high - low
    scale = np.maximum(np.abs(low), np.abs(high))
    if not possible.sum() > LEAST_GAIN * scale.sum():
        raise ValueError(
            f"ceiling must exceed floor on the sum of the days, got a difference of {possible.sum()!r}"
        )
    daily = np.full(len(reached), np.nan)
    np.divide(gained, possible, out=daily, where=possible > LEAST_GAIN * scale)
    return EfficiencyOutcome(daily, _pooled(gained, possible, level, seed), _mean(daily, level))


def price_of_anarchy(
    equilibrium: ArrayLike, best: ArrayLike, no_trade: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Price of anarchy: the gain of the planner's optimum over the gain that selfish agents reach, at least 1.

    It is the sum over days of W* - W_0 over that of W - W_0. The ratio of an objective that is maximised needs
    values above zero; a community's welfare is mostly a cost, whose size is set by the inelastic load that no
    policy can change. So gains over no trade are compared [O], and the price of anarchy is the reciprocal of the
    pooled efficiency of an equilibrium. The larger it is, the more is lost since everyone only heeds itself.

    Parameters
    ----------
    equilibrium:
        Welfare W of the agents in equilibrium on each day, EUR, shape (n_days,), n_days >= 1.
    best, no_trade:
        Welfare W* of the planner's optimum and W_0 without trade on the same days, EUR, shape (n_days,).
    level:
        Confidence level, in (0, 1).
    seed:
        Random seed of the bootstrap over days, >= 0.

    Returns
    -------
    Interval
        The ratio and its interval; inf where the agents gain nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or there is nothing to gain on all days together.

    References
    ----------
    Koutsoupias and Papadimitriou, Worst-case equilibria, STACS 1999 (there of costs, as the worst equilibrium over
    the optimum); Roughgarden, Intrinsic robustness of the price of anarchy, Journal of the ACM 62, 2015.
    """
    share = relative_efficiency(equilibrium, no_trade, best, level=level, seed=seed).pooled
    value, low, high = (1.0 / x if x > 0 else (math.nan if math.isnan(x) else math.inf) for x in share)
    return Interval(value, high, low)


def _days(**given: ArrayLike) -> tuple[Array, ...]:
    """Arrays of one shape (n_days,), checked."""
    arrays = {name: checks.finite_numbers(name, value) for name, value in given.items()}
    name, first = next(iter(arrays.items()))
    if first.ndim != 1 or not len(first):
        raise ValueError(f"{name} must have shape (n_days,) with n_days >= 1, got {first.shape}")
    return tuple(checks.finite_numbers(name, array, first.shape) for name, array in arrays.items())


def _pooled(gained: Array, possible: Array, level: float, seed: int) -> Interval:
    """The ratio of sums, and its percentile interval over resampled days."""
    value = float(gained.sum() / possible.sum())
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    if len(gained) < 2:
        return Interval(value, math.nan, math.nan)
    days = rng.integers(len(gained), size=(N_RESAMPLES, len(gained)))
    totals = possible[days].sum(axis=1)
    # A resample without a gain has no ratio; it counts as one of the sample's.
    ratios = np.full(N_RESAMPLES, value)
    np.divide(gained[days].sum(axis=1), totals, out=ratios, where=totals > 0)
    low, high = np.quantile(ratios, (0.5 - level / 2, 0.5 + level / 2))
    return Interval(value, float(low), float(high))


def _mean(daily: Array, level: float) -> Interval:
    known = daily[~np.isnan(daily)]
    if len(known) < 2:
        return Interval(float(known.mean()) if len(known) else math.nan, math.nan, math.nan)
    estimate = dataclasses.replace(Estimate.of(known), confidence=level)
    return Interval(estimate.value, *estimate.interval)
