"""Where a day's gain comes from: netting, flexible load, storage, and what settling forecast errors costs.

The gain of a policy is its welfare W less W_0, the welfare without a market and with idle batteries, in which
every member settles its own meter with the retailer. It is split into four steps that add up exactly [O]. With
a community whose *common* meter is settled with the retailer, and the realised load and generation of the day:

- **netting**: the members do as without a market, and one's surplus serves another one's demand first;
- **flexible load**: they serve the flexible load that the policy serves, batteries still idle;
- **storage**: batteries do what the policy does, with their wear and the settlement of the charge at the end;
- **imbalance**, a cost: forecast positions and errors are settled apart, so that within an hour the community
  buys at the retail tariff and sells at the feed-in tariff: (retail - feed-in) x min(import, export).

Payments within the community are transfers and drop out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.outcomes import planning_problem, realised_welfare
from mfenvs.energy.record import MarketRecord
from mfenvs.energy.welfare import Plan, PlanningProblem, no_trade

Array = NDArray[np.float64]


class GainSteps(NamedTuple):
    """The steps of a community's gain on a day, EUR; their sum is W - W_0."""

    netting: float
    """Gain of settling one common meter, >= 0."""
    flexible: float
    """Gain of serving other flexible load than without a market."""
    storage: float
    """Gain of the batteries."""
    imbalance: float
    """Minus the cost of settling errors of forecasts apart, <= 0."""


def steps_of_record(record: MarketRecord, world: int = 0) -> GainSteps:
    """The steps of a played day.

    Parameters
    ----------
    record:
        The played days, of a market without vehicles, shifted load and charges on peaks.
    world:
        Index of the day in the record.

    Raises
    ------
    ValueError
        If the market has more than the four steps explain.
    """
    traits = record.game.traits
    if traits.has_vehicles or traits.shifts or traits.peak or traits.has_limits:
        raise ValueError(
            "record must be of a market without vehicles, shifted load, charges on peaks and limits, got one of"
            f" {record.game!r}"
        )
    problem = planning_problem(record, world, settles_charge=False)
    imported, exported = (record.account(name)[world].sum(axis=1) for name in ("imports", "exports"))
    apart = float(((problem.retail - problem.feed_in) * np.minimum(imported, exported)).sum())
    served = record.account("flexible")[world].T
    return _steps(problem, served, float(realised_welfare(record)[world]), apart)


def steps_of_plan(record: MarketRecord, plan: Plan, world: int = 0) -> GainSteps:
    """The steps of the planner with perfect foresight of the same day, who has no imbalance.

    Parameters
    ----------
    record:
        The played days.
    plan:
        The planner's optimum of that day, by :func:`mfenvs.energy.outcomes.best_plans`.
    world:
        Index of the day in the record.
    """
    problem = planning_problem(record, world, settles_charge=False)
    return _steps(problem, plan.served[:, : problem.n_steps], plan.bound, 0.0)


def _steps(problem: PlanningProblem, served: Array, welfare: float, apart: float) -> GainSteps:
    """The steps to a welfare, with this flexible load served (N, H) and this cost of settling errors apart."""
    alone = no_trade(problem)
    served_alone = alone.net - problem.load + problem.generation
    start = float(alone.welfare.sum())
    netted, flexible = (_welfare_without_batteries(problem, each) for each in (served_alone, served))
    return GainSteps(netted - start, flexible - netted, welfare + apart - flexible, -apart)


def _welfare_without_batteries(problem: PlanningProblem, served: Array) -> float:
    """Welfare of the community with one meter and idle batteries, EUR."""
    net = (problem.load + served - problem.generation).sum(axis=0)
    bill = np.where(net > 0.0, problem.retail, problem.feed_in) @ net
    return float(problem.flexible_value @ served.sum(axis=1) - bill)
