"""A played day as the planner with perfect foresight knows it, and the planner's optimum."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.outlook import Outlook, charging_sessions, data_of_episode, expected, problem_of
from mfenvs.energy.record import MarketRecord, check_record, world_of
from mfenvs.energy.welfare import SETTLEMENT, Plan, PlanningProblem, burning_pays, plan, pool
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.market import EnergyMarket

Array = NDArray[np.float64]

SAME = 1e-7
"""Batteries whose figures differ by less than this, in relative terms, are alike: parameters of agents are kept in
single precision, so that ratios are equal up to about this. Worths of flexible load (EUR/kWh) likewise."""

GRID_CO2 = 0.4
"""Carbon intensity of imported energy, kg CO2/kWh: a round number of ours [O], not a measured one."""


def planning_problem(
    record: MarketRecord, world: int, *, co2: ArrayLike = GRID_CO2, settles_charge: bool = True
) -> PlanningProblem:
    """A played day as the planner with perfect foresight knows it; no policy played on it can do better.

    Load, generation and tariffs are the realised ones. The flexible load that an agent could have had is what the
    market's own rules offer it: its share of the load in the data, times the load factor that the weather of the
    step before lets one expect (without that if it can be shifted). What the agents did does not matter. How the
    market settles imbalances does not either: that moves money between agents, or costs more.

    Limits of the exchange leave room for what the market does not cut: inelastic load and imbalances. So W* stays
    an upper bound.

    The market lets batteries end the day with any charge, and settles the difference to the initial charge at the
    last step's tariffs, at once and without wear. A planner that must be back at the initial charge by the end of
    the last step [R] could be beaten by that: by emptying a battery at the evening's peak, say, and refilling it
    at the last step's low price. So settlement steps are appended [O], in which nobody uses or makes energy: first
    as many as refill every battery, at the retail tariff of the last step less the wear; then as many as sell what
    can be left, at the feed-in tariff plus the wear. The charge *after these* is at least the initial one. In them
    the planner may pass energy from battery to battery, which the market's settlement does not, and keep what is
    left if the feed-in tariff is negative. So W* is an upper bound; in all else the planner can do what the market
    can.

    Parameters
    ----------
    record:
        The played days.
    world:
        Index of the day in the record.
    co2:
        Carbon intensity of imported energy, kg CO2/kWh, a number or shape (H,), >= 0; the default 0.4 is ours
        [O], and the series has its own (``game.days.co2``). Settlement steps count as the last step.
    settles_charge:
        Whether settlement steps are appended. Without them the problem has the day's H steps, batteries end it
        with at least their initial charge, and W* may be below a played day's welfare by the value of the
        settlement: use it for schedules and for Pareto fronts over the peak.

    Returns
    -------
    PlanningProblem
        The problem of N agents in H steps and the settlement steps; batteries' power is in kWh per step.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    world = world_of(record, world)
    game, n_steps, day = record.game, record.accounts.shape[1], int(record.day[world])
    settles_charge = checks.boolean("settles_charge", settles_charge)
    intensity = checks.numbers("co2", co2)
    intensity = np.full(n_steps, intensity) if intensity.ndim == 0 else intensity
    forecast = expected(game, data_of_episode(game, day), record.signals[world])
    realised = Outlook(record.account("load")[world].T, record.account("generation")[world].T, forecast.flexible)
    import_limit, export_limit = _limits(game, realised, forecast)
    problem = problem_of(
        game,
        day,
        0,
        realised,
        sessions=charging_sessions(game),
        soc0=record.charge[world, 0] * in_double_precision(game.agents)["capacity"],
        co2=checks.numbers("co2", intensity, (n_steps,)),
        import_limit=import_limit,
        export_limit=export_limit,
    )
    return with_settlement(problem) if settles_charge else problem


def _limits(game: EnergyMarket, realised: Outlook, forecast: Outlook) -> tuple[Array, Array]:
    """Largest import and export that the market can have in each step, kWh.

    Its limits bind what is cleared, which is by forecasts unless it is cleared ex post; imbalances come on top.
    What inelastic load needs is bought in any case. Where more generation was sold forward, and is curtailed, than
    turns out there can be less to curtail.
    """
    most_in, most_out = (
        game.n_agents * np.float64(limit) for limit in (game.constants.import_limit, game.constants.export_limit)
    )
    if game.traits.imbalance == "ex-post":
        forecast = realised
    firm = np.maximum(forecast.load - forecast.generation, 0.0).sum(axis=0)
    made, total = forecast.generation.sum(axis=0), realised.generation.sum(axis=0)
    imbalance = (realised.load - forecast.load).sum(axis=0) - (total - made)
    sold = made + in_double_precision(game.agents)["power"].sum() * np.float64(game.constants.step_hours)
    passed = np.minimum(most_out / np.maximum(sold, 1e-12), 1.0)
    lacking = np.maximum(made * (1.0 - passed) - total, 0.0)
    return np.maximum(most_in, firm) + np.maximum(imbalance, 0.0), most_out + np.maximum(-imbalance, 0.0) + lacking


def with_settlement(day: PlanningProblem) -> PlanningProblem:
    """The day with settlement steps behind it, in which batteries are brought to their least charge at the end.

    See :func:`planning_problem`. Limits of the exchange do not hold in them, and vehicles have departed.
    """
    n_refill, n_sale = _settlement_steps(day)
    n_more = n_refill + n_sale
    wear, retail, feed_in = float(day.degradation.max()), day.retail[-1], day.feed_in[-1]
    # Wear on what is drawn and delivered is made up for by the tariffs; the other tariff of each of these steps
    # must not be in the wrong order, and is no better than the market's.
    cheap, dear = retail - wear, feed_in + wear
    idle = ((0, 0), (0, n_more))

    def no_limit_behind(limit: ArrayLike) -> Array:
        return np.append(np.broadcast_to(limit, day.n_steps), np.full(n_more, np.inf))

    cars = day.sessions
    return dataclasses.replace(
        day,
        load=np.pad(day.load, idle),
        generation=np.pad(day.generation, idle),
        flexible=np.pad(day.flexible, idle),
        retail=np.concatenate([day.retail, np.full(n_refill, cheap), np.full(n_sale, max(retail, dear))]),
        feed_in=np.concatenate([day.feed_in, np.full(n_refill, min(feed_in, cheap)), np.full(n_sale, dear)]),
        co2=np.pad(day.co2, (0, n_more), mode="edge"),
        day=np.append(day.days, np.full(n_more, SETTLEMENT)),
        import_limit=no_limit_behind(day.import_limit),
        export_limit=no_limit_behind(day.export_limit),
        sessions=dataclasses.replace(cars, departure=np.minimum(cars.departure, day.n_steps)),
    )


def _settlement_steps(day: PlanningProblem) -> tuple[int, int]:
    """Number of steps that refill all charge that can be missing, and that sell all that can be left."""
    works = (day.capacity > 0) & (day.power > 0)
    if not works.any():
        return 0, 0
    efficiency, power = day.efficiency[works], day.power[works]
    start, end, capacity = day.soc0[works], day.end_soc[works], day.capacity[works]
    most = day.n_steps * power
    missing = np.maximum(end - np.maximum(start - most / efficiency, 0.0), 0.0)
    left = np.maximum(np.minimum(start + most * efficiency, capacity) - end, 0.0)
    return math.ceil((missing / efficiency / power).max()), math.ceil((left * efficiency / power).max())


def best_plans(record: MarketRecord) -> list[Plan]:
    """The planner's optimum W* of every day, by :func:`planning_problem` with settlement steps.

    It does not depend on the policy: the plans of one record serve for all others of the same game, number of
    worlds and seed.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    return [_best_plan(planning_problem(record, world)) for world in range(record.n_worlds)]


def _best_plan(problem: PlanningProblem) -> Plan:
    """:func:`~mfenvs.energy.welfare.plan`, faster where batteries that are alike can be pooled."""
    if burning_pays(problem).any():
        return plan(problem)
    pooled = pool(problem, tolerance=SAME, value_tolerance=SAME)
    return pooled.plan(plan(pooled.problem))
