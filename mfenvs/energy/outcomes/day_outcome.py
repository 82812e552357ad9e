"""Welfare, efficiency, grid exchange and prices of played days."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.energy.outcomes.planning import best_plans, planning_problem
from mfenvs.energy.record import MarketRecord, check_record
from mfenvs.energy.welfare import Plan, PlanningProblem, efficiency, no_trade_welfare
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.market_accounts import COSTS
from mfenvs.meanfield.n_player import Estimate

Array = NDArray[np.float64]

BOUND_TOLERANCE = 1e-6
"""Tolerance of a day's welfare above its bound, relative to the value of all energy and money moved: a state of
charge is kept in single precision, and the solver has a tolerance too."""


def realised_welfare(record: MarketRecord) -> Array:
    """Realised welfare W of every day, EUR, shape (n_worlds,).

    It is the sum over agents and steps of utility - degradation - (retail x imports - feed_in x exports) -
    terminal - peak_payment - ev_penalty, the entries of the accounts; the sum of rewards + fees is the same.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    costs = ("degradation", "terminal", "peak_payment", "ev_penalty")
    benefit = record.account("utility") - np.sum([record.account(name) for name in costs], axis=0)
    retail, feed_in = record.signals[:, :, RETAIL], record.signals[:, :, FEED_IN]
    to_grid = retail * record.account("imports").sum(axis=2) - feed_in * record.account("exports").sum(axis=2)
    welfare: Array = benefit.sum(axis=(1, 2)) - to_grid.sum(axis=1)
    return welfare


@dataclasses.dataclass(frozen=True, eq=False)
class MarketOutcome:
    """Figures of each played day, all float64 of shape (n_worlds,)."""

    welfare: Array
    """Realised welfare W, EUR."""
    no_trade: Array
    """Welfare W_0 without local trade and with idle storage, EUR; agents know their own load and generation."""
    best: Array
    """Welfare W* of the planner with perfect foresight, EUR: an upper bound of any policy's W."""
    efficiency: Array
    """Efficiency (W - W_0) / (W* - W_0) [S]; nan where there is nothing to gain. It may be negative."""
    peak_import: Array
    """Largest net import of the community in a step, kWh.

    Charge that batteries lack at the end of the day counts as money only, here and in all energies below.
    """
    peak_export: Array
    """Largest net export of the community in a step, kWh."""
    imports: Array
    """Energy imported from the grid, imbalance (deviation from the forecast) included, kWh."""
    exports: Array
    """Energy exported to the grid, imbalance included, kWh."""
    local_share: Array
    """Share of local trade: energy traded locally over energy traded locally or imported; nan if that is 0."""
    price_mean: Array
    """Mean local price of the day's steps, EUR/kWh."""
    price_sd: Array
    """Standard deviation of the local price over the steps, EUR/kWh."""
    price_min: Array
    """Lowest local price, EUR/kWh."""
    price_max: Array
    """Highest local price, EUR/kWh."""
    mean_return: Array
    """Return (total reward of the day), mean over agents, EUR."""

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """The mean of a figure over the days, with a two-sided Student-t interval; days without it are left out.

        Parameters
        ----------
        name:
            Name of the figure, such as ``efficiency``.
        level:
            Confidence level, in (0, 1).

        Returns
        -------
        Interval
            Mean and ends of the interval, in the figure's unit.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or fewer than two days have the figure.
        """
        names = tuple(field.name for field in dataclasses.fields(self))
        of_days = getattr(self, checks.choice("name", name, names))
        level = checks.real("level", level, 0.0, 1.0, exclude_low=True, exclude_high=True)
        known = of_days[~np.isnan(of_days)]
        if len(known) < 2:
            raise ValueError(f"an interval of {name} needs at least 2 days that have it, got {len(known)}")
        estimate = dataclasses.replace(Estimate.of(known), confidence=level)
        return Interval(estimate.value, *estimate.interval)


def market_outcome(record: MarketRecord, *, plans: Sequence[Plan] | None = None) -> MarketOutcome:
    """The figures of every day of a record.

    Parameters
    ----------
    record:
        The played days.
    plans:
        Result of :func:`~mfenvs.energy.outcomes.best_plans` for these days, be it of another policy; by default it
        is computed.

    Raises
    ------
    TypeError
        If ``record`` is no record, or ``plans`` no sequence of plans.
    ValueError
        If ``plans`` are not of these days: their number or shapes differ, one does not balance its day's load and
        generation, or a day's welfare is above its bound.
    """
    check_record(record)
    if plans is not None and not isinstance(plans, Sequence):
        raise TypeError(f"plans must be a sequence of plans, got {plans!r}")
    welfare = realised_welfare(record)
    problems = [planning_problem(record, world) for world in range(record.n_worlds)]
    made = best_plans(record) if plans is None else list(plans)
    _check_plans(record, problems, made, welfare)
    no_trade = np.array([no_trade_welfare(problem) for problem in problems])
    best = np.array([one.bound for one in made])
    per_step = {name: record.account(name).sum(axis=2) for name in ("imports", "exports", "local_bought")}
    net = per_step["imports"] - per_step["exports"]
    imports, local = per_step["imports"].sum(axis=1), per_step["local_bought"].sum(axis=1)
    share = np.full(record.n_worlds, np.nan)
    return MarketOutcome(
        welfare=welfare,
        no_trade=no_trade,
        best=best,
        efficiency=np.array([_efficiency(*day) for day in zip(welfare, no_trade, best, strict=True)]),
        peak_import=np.maximum(net, 0.0).max(axis=1),
        peak_export=np.maximum(-net, 0.0).max(axis=1),
        imports=imports,
        exports=per_step["exports"].sum(axis=1),
        local_share=np.divide(local, local + imports, out=share, where=local + imports > 0),
        price_mean=record.price.mean(axis=1),
        price_sd=record.price.std(axis=1),
        price_min=record.price.min(axis=1),
        price_max=record.price.max(axis=1),
        mean_return=record.returns.mean(axis=1),
    )


def _efficiency(welfare: float, no_trade: float, best: float) -> float:
    with contextlib.suppress(ValueError):  # Nothing to gain.
        return efficiency(welfare, no_trade, best)
    return math.nan


def _check_plans(
    record: MarketRecord, problems: Sequence[PlanningProblem], plans: Sequence[Plan], welfare: Array
) -> None:
    if len(plans) != record.n_worlds:
        raise ValueError(f"plans must be one for each of the {record.n_worlds} days, got {len(plans)}")
    money = ("utility", *COSTS)
    moved = np.sum([np.abs(record.account(name)).sum(axis=(1, 2)) for name in money], axis=0)
    for world, (problem, one) in enumerate(zip(problems, plans, strict=True)):
        if not isinstance(one, Plan):
            raise TypeError(f"plans[{world}] must be a Plan, got {one!r}")
        if one.served.shape != problem.load.shape:
            raise ValueError(
                f"plans[{world}] must be of {problem.n_agents} agents in {problem.n_steps} steps, got one of shape"
                f" {one.served.shape}"
            )
        net = problem.load + one.served + one.charge - one.discharge - problem.generation
        missing = net.sum(axis=0) + one.vehicles.sum(axis=0) + one.curtailed - one.imported + one.exported
        if not np.abs(missing).max() <= BOUND_TOLERANCE * (problem.load.sum() + problem.generation.sum() + 1.0):
            raise ValueError(
                f"plans[{world}] must be of the day of world {world}, but it does not balance that day's load and"
                f" generation: {np.abs(missing).max():g} kWh are missing"
            )
        if not welfare[world] <= one.bound + BOUND_TOLERANCE * moved[world]:
            raise ValueError(
                f"plans[{world}] must be of the day of world {world}, but that day's welfare {welfare[world]!r} is"
                f" above the plan's bound {one.bound!r}"
            )
