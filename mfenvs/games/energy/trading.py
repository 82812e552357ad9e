"""A prosumer's part in the market: the orders it places, what it gets for them, and what it earns in the end.

The rules take any state with a ``charge`` in [0, 1] and any agent with the fields of
:data:`mfenvs.games.energy.prosumer_types.PROSUMER`, so that they serve the market of N agents, groups of prosumers
and a planner alike.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from mfenvs.games.energy.actions import read_box, read_discrete
from mfenvs.games.energy.clearing import LOCAL_BUY, LOCAL_SELL, PRICE, clearing_rules
from mfenvs.games.energy.conditions import expected_factor, step_data
from mfenvs.games.energy.prosumer_step import battery_plan, charge_after, execute, plan
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.rules import rule


class Battery(NamedTuple):
    """A state of which only the charge counts."""

    charge: Any
    """As a fraction of the capacity, in [0, 1]."""


class Bargain(NamedTuple):
    """What the market makes of a prosumer's action, before load and generation are known."""

    data: Any
    """Load and generation in the series, a :class:`mfenvs.games.energy.conditions.StepData`."""
    done: Any
    """What is done of the plan, a :class:`mfenvs.games.energy.prosumer_step.Execution`."""
    local_bought: Any
    """Bought within the community, kWh."""
    local_sold: Any
    """Sold within the community, kWh."""
    exported: Any
    """Sold to the grid, kWh."""
    trade: Any
    """Payment for the cleared position, EUR; negative if it is a revenue."""
    fee: Any
    """Settlement fee, EUR."""
    utility: Any
    """Value of the flexible load that is served, EUR."""
    wear: Any
    """Battery wear cost, EUR."""
    stored: Any
    """In the battery at the end of the step, kWh."""
    terminal: Any
    """Cost of the charge that the battery lacks at the end of the day, EUR; negative if it has too much."""


@rule
def reward_of(bargain: Any, settled: Any) -> Any:
    """The reward in EUR, given the payment for the imbalance: utility less all costs."""
    return bargain.utility - (bargain.trade + settled + bargain.wear + bargain.fee + bargain.terminal)


@rule
def settle_charge(first: Any, last: Any, retail: Any, feed_in: Any, efficiency: Any) -> Any:
    """Cost of ending a day with the charge ``last`` instead of ``first``, both in kWh: EUR.

    What is missing is bought at the retail tariff, and what is too much is sold at the feed-in tariff [O].
    """
    missing = first - last
    return retail * max(missing, ZERO) / efficiency - feed_in * max(-missing, ZERO) * efficiency


class Realisation(NamedTuple):
    """Load and generation as they turn out, and the imbalance against what was planned, in kWh."""

    load: Any
    """Inelastic load."""
    generation: Any
    """PV and wind."""
    short: Any
    """Bought from the retailer."""
    surplus: Any
    """Sold to the retailer."""
    settled: Any
    """Payment for the imbalance, EUR."""


@rule
def realise(data: Any, agent: Any, conditions: Any, constants: Any, error: Any) -> Any:
    """Apply the common weather and a prosumer's own forecast error, and settle the imbalance.

    An error raises load and lowers generation; neither becomes negative.
    """
    factor, expected = ONE + conditions.weather, expected_factor(conditions, constants)
    load = factor * data.inelastic * max(ONE + error, ZERO)
    generation = factor * data.generation * max(ONE - error, ZERO)
    imbalance = (load - expected * data.inelastic) - (generation - expected * data.generation)
    short, surplus = max(imbalance, ZERO), max(-imbalance, ZERO)
    settled = conditions.retail * short - conditions.feed_in * surplus
    return Realisation(load, generation, short, surplus, settled)


class AgentRules(NamedTuple):
    """A prosumer's rules for one kind of actions and of orders."""

    offer: Callable[..., Any]
    """``offer(counts, mass, state, action, agent, world, conditions)``: count its orders."""
    bargain: Callable[..., Any]
    """``bargain(state, action, agent, world, conditions)``: what it gets, a :class:`Bargain`."""


@functools.cache
def agent_rules(actions: str, orders: str) -> AgentRules:
    """A prosumer's rules for one kind of actions (``box`` or ``discrete``) and of orders."""
    read = read_box if actions == "box" else read_discrete
    add, _, fill = clearing_rules(orders)

    @rule
    def planned(state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> Any:
        """Data of the step, plan on the forecasts, and level of the limit price."""
        constants = world.constants
        battery, flexible, level = read(action, conditions.feed_in, conditions.retail)
        data = step_data(agent, conditions.day, world.time, constants)
        factor = expected_factor(conditions, constants)
        power, stored = agent.power * constants.step_hours, state.charge * agent.capacity
        draw, deliver = battery_plan(battery, stored, agent.capacity, power, constants.efficiency)
        wanted = flexible * factor * data.flexible
        return data, plan(factor * data.inelastic, factor * data.generation, wanted, draw, deliver), level

    @rule
    def offer(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> None:
        _, wish, level = planned(state, action, agent, world, conditions)
        book = world.constants.book
        add(counts, False, ONE, mass * wish.firm, book)
        add(counts, wish.sell > ZERO, level, mass * (wish.buy + wish.sell), book)

    @rule
    def bargain(state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> Any:
        """What an agent trades in the cleared market, and what that costs and wears: a :class:`Bargain`."""
        constants, signal = world.constants, world.signal
        data, wish, level = planned(state, action, agent, world, conditions)
        feed_in, retail = conditions.feed_in, conditions.retail
        done = execute(wish, fill(wish.sell > ZERO, level, constants.book, signal))
        local_bought, local_sold = signal[LOCAL_BUY] * done.bought, signal[LOCAL_SELL] * done.sold
        exported = done.sold - local_sold + done.exported
        trade = signal[PRICE] * (local_bought - local_sold) + retail * (done.bought - local_bought)
        trade -= feed_in * exported
        stored = state.charge * agent.capacity
        stored = charge_after(stored, done.draw, done.deliver, agent.capacity, constants.efficiency)
        fee = constants.fee * (local_bought + local_sold)
        utility = agent.flexible_value * done.flexible
        wear = constants.degradation * (done.draw + done.deliver)
        terminal = stored * ZERO
        if world.time == constants.last_step:
            first = constants.initial_charge * agent.capacity
            terminal = settle_charge(first, stored, retail, feed_in, constants.efficiency)
        return Bargain(data, done, local_bought, local_sold, exported, trade, fee, utility, wear, stored, terminal)

    return AgentRules(offer, bargain)
