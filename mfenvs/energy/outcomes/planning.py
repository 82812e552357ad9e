"""A played day as the planner with perfect foresight knows it, and the planner's optimum."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from mfenvs import checks
from mfenvs.energy.record import MarketRecord, check_record, world_of
from mfenvs.energy.welfare import Plan, PlanningProblem, plan
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.conditions import expected_factor, published, step_data
from mfenvs.rules import plain

GRID_CO2 = 0.4
"""Carbon intensity of imported energy, kg CO2/kWh: a round number of ours [O], not a measured one."""


def planning_problem(
    record: MarketRecord, world: int, *, co2: ArrayLike = GRID_CO2, settles_charge: bool = True
) -> PlanningProblem:
    """A played day as the planner with perfect foresight knows it; no policy played on it can do better.

    Load, generation and tariffs are the realised ones. The flexible load that an agent could have had is what the
    market's own rules offer it: its share of the load in the data, times the load factor that the weather of the
    step before lets one expect. What the agents did does not matter.

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
    game, constants, n_steps = record.game, record.game.constants, record.accounts.shape[1]
    settles_charge = checks.boolean("settles_charge", settles_charge)
    agents = in_double_precision(game.agents)
    conditions = plain(published)(record.signals[world].T)
    factor = plain(expected_factor)(conditions, constants)
    day, steps = record.day[world], np.arange(n_steps)
    in_data = [plain(step_data)(agent, day, steps, constants).flexible for agent in agents.view(np.recarray)]
    intensity = checks.numbers("co2", co2)
    intensity = np.full(n_steps, intensity) if intensity.ndim == 0 else intensity
    day_problem = PlanningProblem(
        load=record.account("load")[world].T,
        generation=record.account("generation")[world].T,
        flexible=factor * np.array(in_data),
        flexible_value=agents["flexible_value"],
        capacity=agents["capacity"],
        power=agents["power"] * np.float64(constants.step_hours),
        efficiency=np.full(game.n_agents, constants.efficiency, np.float64),
        soc0=record.charge[world, 0] * agents["capacity"],
        degradation=np.full(game.n_agents, constants.degradation, np.float64),
        retail=conditions.retail,
        feed_in=conditions.feed_in,
        co2=checks.numbers("co2", intensity, (n_steps,)),
    )
    return _with_settlement(day_problem) if settles_charge else day_problem


def _with_settlement(day: PlanningProblem) -> PlanningProblem:
    """The day with settlement steps behind it, in which batteries are brought back to their initial charge."""
    n_refill, n_sale = _settlement_steps(day)
    wear, retail, feed_in = float(day.degradation.max()), day.retail[-1], day.feed_in[-1]
    # Wear on what is drawn and delivered is made up for by the tariffs; the other tariff of each of these steps
    # must not be in the wrong order, and is no better than the market's.
    cheap, dear = retail - wear, feed_in + wear
    idle = ((0, 0), (0, n_refill + n_sale))
    return dataclasses.replace(
        day,
        load=np.pad(day.load, idle),
        generation=np.pad(day.generation, idle),
        flexible=np.pad(day.flexible, idle),
        retail=np.concatenate([day.retail, np.full(n_refill, cheap), np.full(n_sale, max(retail, dear))]),
        feed_in=np.concatenate([day.feed_in, np.full(n_refill, min(feed_in, cheap)), np.full(n_sale, dear)]),
        co2=np.pad(day.co2, (0, n_refill + n_sale), mode="edge"),
    )


def _settlement_steps(day: PlanningProblem) -> tuple[int, int]:
    """Number of steps that refill all charge that can be missing, and that sell all that can be left."""
    works = (day.capacity > 0) & (day.power > 0)
    if not works.any():
        return 0, 0
    efficiency, power = day.efficiency[works], day.power[works]
    start, capacity, most = day.soc0[works], day.capacity[works], day.n_steps * day.power[works]
    missing, left = np.minimum(start, most / efficiency), np.minimum(capacity - start, most * efficiency)
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
    return [plan(planning_problem(record, world)) for world in range(record.n_worlds)]
