"""A prosumer's part in the market: the orders it places, what it gets for them, and what it earns in the end.

The rules take any state with a ``charge`` in [0, 1] and any agent with the fields of
:data:`mfenvs.games.energy.prosumer_types.PROSUMER`, so that they serve the market of N agents, groups of prosumers
and a planner alike. Other entries of the state are read only where the market has what they are about: the coming
error where what is metered is cleared, the backlog where flexible load waits, the vehicle's need.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from mfenvs.games.energy.actions import reader
from mfenvs.games.energy.clearing import LOCAL_BUY, LOCAL_SELL, PRICE, clearing_rules
from mfenvs.games.energy.community import (
    BUY_KEPT,
    FIRM_SUM,
    PEAK_PRICE,
    SELL_KEPT,
    SHORT_MATCHED,
    SHORT_SUM,
    SURPLUS_MATCHED,
    SURPLUS_SUM,
)
from mfenvs.games.energy.conditions import Amounts, expected_amounts, expected_factor, step_data
from mfenvs.games.energy.devices import (
    backlog_after,
    no_vehicle,
    no_vehicle_after,
    nothing_waits,
    vehicle_after,
    vehicle_draw,
    wanted_now,
    wanted_of_waiting,
)
from mfenvs.games.energy.prosumer_step import (
    Wish,
    battery_plan,
    charge_after,
    execute_at_one_price,
    execute_at_separate_prices,
    plan_at_one_price,
    plan_at_separate_prices,
)
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import rule


class Battery(NamedTuple):
    """A state of which only the charge counts."""

    charge: Any
    """As a fraction of the capacity, in [0, 1]."""


class Bargain(NamedTuple):
    """What the market makes of a prosumer's action, before its imbalance is settled."""

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
    peak: Any
    """Share of the charge on the community's peak, EUR."""
    utility: Any
    """Value of the flexible load that is served, EUR."""
    wear: Any
    """Battery wear cost, EUR."""
    stored: Any
    """In the battery at the end of the step, kWh."""
    terminal: Any
    """Cost of the charge that battery and vehicle lack at the end of the episode, EUR; negative if there is too
    much."""
    backlog: Any
    """Flexible load that waits at the end of the step, kWh."""
    vehicle_need: Any
    """Energy that the vehicle needs at the end of the step, kWh."""
    vehicle_penalty: Any
    """Cost of the energy that the vehicle lacked when it departed, EUR."""


@rule
def reward_of(bargain: Any, settled: Any) -> Any:
    """The reward in EUR, given what is paid for the imbalance: utility less all costs."""
    costs = bargain.trade + settled + bargain.wear + bargain.fee + bargain.terminal
    return bargain.utility - (costs + bargain.peak + bargain.vehicle_penalty)


@rule
def metered_amounts(data: Any, conditions: Any, error: Any) -> Any:
    """Inelastic load and generation as they turn out: with the common weather and a prosumer's own forecast error.

    An error raises load and lowers generation; neither becomes negative.
    """
    load = (ONE + conditions.load_weather) * data.inelastic
    made = (ONE + conditions.sun_weather) * data.sun + (ONE + conditions.wind_weather) * data.wind
    return Amounts(load * max(ONE + error, ZERO), made * max(ONE - error, ZERO))


@rule
def settle_charge(first: Any, last: Any, retail: Any, feed_in: Any, efficiency: Any) -> Any:
    """Cost of ending an episode with the charge ``last`` instead of ``first``, both in kWh: EUR.

    What is missing is bought at the retail tariff, and what is too much is sold at the feed-in tariff [O].
    """
    missing = first - last
    return retail * max(missing, ZERO) / efficiency - feed_in * max(-missing, ZERO) * efficiency


class Realisation(NamedTuple):
    """Load and generation as they turn out, and how the imbalance against the forecast is settled, in kWh and EUR.

    What a prosumer is short of, or has too much, is matched within the community or is the retailer's.
    """

    load: Any
    """Inelastic load."""
    generation: Any
    """PV and wind."""
    local_short: Any
    """Bought within the community."""
    local_surplus: Any
    """Sold within the community."""
    short: Any
    """Bought from the retailer."""
    surplus: Any
    """Sold to the retailer."""
    payment: Any
    """Payment for the imbalance."""
    fee: Any
    """Settlement fee on what is matched."""
    peak: Any
    """Share of the charge on the community's peak."""


@rule
def imbalance_of(forecast: Any, metered: Any) -> Any:
    """Shortage and surplus against the forecast, of which one is 0, kWh."""
    imbalance = (metered.load - forecast.load) - (metered.generation - forecast.generation)
    return max(imbalance, ZERO), max(-imbalance, ZERO)


@rule
def settle_alone(short: Any, surplus: Any, signal: Any) -> Any:
    """Shares of a shortage and of a surplus that are matched: none."""
    return ZERO, ZERO


@rule
def settle_pooled(short: Any, surplus: Any, signal: Any) -> Any:
    """Shares of a shortage and of a surplus that are matched within the community."""
    return signal[SHORT_MATCHED], signal[SURPLUS_MATCHED]


class AgentRules(NamedTuple):
    """A prosumer's rules in one kind of market."""

    offer: Callable[..., Any]
    """``offer(counts, mass, state, action, agent, world, conditions)``: count its orders."""
    bargain: Callable[..., Any]
    """``bargain(state, action, agent, world, conditions)``: what it gets, a :class:`Bargain`."""
    add_imbalance: Callable[..., Any]
    """``add_imbalance(counts, mass, short, surplus, world)``: count a shortage and a surplus, kWh."""
    settle: Callable[..., Any]
    """``settle(short, surplus, metered, world, conditions)``: settle them, a :class:`Realisation`."""
    realise: Callable[..., Any]
    """``realise(data, error, world, conditions)``: what turns out, a :class:`Realisation`."""


@functools.cache
def agent_rules(traits: Traits) -> AgentRules:
    """A prosumer's rules in one kind of market."""
    trade = _one_price_rules if traits.prices == "one" else _separate_price_rules
    planned, place, execute = trade(traits)
    after_backlog = backlog_after if traits.shifts else nothing_waits
    after_vehicle = vehicle_after if traits.has_vehicles else no_vehicle_after
    matched = settle_pooled if traits.imbalance == "pooled" else settle_alone
    counts_imbalance, has_limits = traits.counts_imbalance, traits.has_limits
    charges_peak, is_metered = traits.peak == "community", traits.imbalance == "ex-post"

    @rule
    def offer(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> None:
        _, choice, _, plan = planned(state, action, agent, world, conditions)
        place(counts, mass, choice, plan, world.constants.book)
        if has_limits:
            counts[world.constants.n_order_cells + FIRM_SUM] += mass * plan.firm

    @rule
    def bargain(state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> Any:
        """What an agent trades in the cleared market, and what that costs and wears: a :class:`Bargain`."""
        constants, signal = world.constants, world.signal
        data, choice, wish, plan = planned(state, action, agent, world, conditions)
        feed_in, retail = conditions.feed_in, conditions.retail
        done = execute(choice, plan, wish, constants.book, signal)
        local_bought, local_sold = signal[LOCAL_BUY] * done.bought, signal[LOCAL_SELL] * done.sold
        imported, exported = done.bought - local_bought, done.sold - local_sold + done.exported
        trade = signal[PRICE] * (local_bought - local_sold) + retail * imported
        trade -= feed_in * exported
        stored = state.charge * agent.capacity
        stored = charge_after(stored, done.draw, done.deliver, agent.capacity, agent.efficiency)
        need, lacked = after_vehicle(state, done.vehicle, agent, conditions, constants)
        terminal = stored * ZERO
        if world.time == constants.last_step:
            first = constants.initial_charge * agent.capacity
            terminal = settle_charge(first, stored, retail, feed_in, agent.efficiency) + retail * need
        return Bargain(
            data=data,
            done=done,
            local_bought=local_bought,
            local_sold=local_sold,
            exported=exported,
            trade=trade,
            fee=constants.fee * (local_bought + local_sold),
            peak=signal[PEAK_PRICE] * imported if charges_peak else ZERO,
            utility=agent.flexible_value * done.flexible,
            wear=constants.degradation * (done.draw + done.deliver),
            stored=stored,
            terminal=terminal,
            backlog=after_backlog(state, data, done.flexible, agent, conditions, constants),
            vehicle_need=need,
            vehicle_penalty=constants.vehicle_penalty * lacked,
        )

    @rule
    def add_imbalance(counts: Any, mass: Any, short: Any, surplus: Any, world: Any) -> None:
        if counts_imbalance:
            first = world.constants.n_order_cells
            counts[first + SHORT_SUM] += mass * short
            counts[first + SURPLUS_SUM] += mass * surplus

    @rule
    def settle(short: Any, surplus: Any, metered: Any, world: Any, conditions: Any) -> Any:
        signal = world.signal
        short_share, surplus_share = matched(short, surplus, signal)
        local_short, local_surplus = short_share * short, surplus_share * surplus
        short, surplus = short - local_short, surplus - local_surplus
        payment = conditions.retail * short - conditions.feed_in * surplus
        payment += signal[PRICE] * (local_short - local_surplus)
        return Realisation(
            load=metered.load,
            generation=metered.generation,
            local_short=local_short,
            local_surplus=local_surplus,
            short=short,
            surplus=surplus,
            payment=payment,
            fee=world.constants.fee * (local_short + local_surplus),
            peak=signal[PEAK_PRICE] * short if charges_peak else ZERO,
        )

    @rule
    def realise(data: Any, error: Any, world: Any, conditions: Any) -> Any:
        metered = metered_amounts(data, conditions, error)
        short, surplus = imbalance_of(expected_amounts(data, conditions, world.constants), metered)
        if is_metered:
            short, surplus = short * ZERO, surplus * ZERO
        return settle(short, surplus, metered, world, conditions)

    return AgentRules(offer, bargain, add_imbalance, settle, realise)


@rule
def as_expected(data: Any, state: Any, conditions: Any, constants: Any) -> Any:
    """Load and generation on which orders are based: the forecast."""
    return expected_amounts(data, conditions, constants)


@rule
def as_metered(data: Any, state: Any, conditions: Any, constants: Any) -> Any:
    """Load and generation on which orders are based: what turns out."""
    return metered_amounts(data, conditions, state.coming_error)


def _planned_rule(traits: Traits) -> Callable[..., Any]:
    """The rule ``planned``: data of the step, the action as it is read, what is wanted, and the orders."""
    read = reader(traits)
    amounts = as_metered if traits.imbalance == "ex-post" else as_expected
    wanted = wanted_of_waiting if traits.shifts else wanted_now
    drawn = vehicle_draw if traits.has_vehicles else no_vehicle
    plan = plan_at_one_price if traits.prices == "one" else plan_at_separate_prices

    @rule
    def planned(state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> Any:
        constants = world.constants
        choice = read(action, conditions.feed_in, conditions.retail)
        data = step_data(agent, conditions.day, int(conditions.clock), constants)
        own = amounts(data, state, conditions, constants)
        power, stored = agent.power * constants.step_hours, state.charge * agent.capacity
        draw, deliver = battery_plan(choice.battery, stored, agent.capacity, power, agent.efficiency)
        flexible = wanted(choice.flexible, data, expected_factor(conditions, constants), state)
        wish = Wish(flexible, drawn(choice.vehicle, state, agent, constants), draw, deliver)
        return data, choice, wish, plan(own.load, own.generation, wish)

    return planned


def _one_price_rules(traits: Traits) -> tuple[Callable[..., Any], ...]:
    """Rules of a market in which battery and flexible load have one limit price: plan, order, execute."""
    orders = clearing_rules(traits.orders)
    add, add_firm, fill = orders.add, orders.add_firm, orders.fill

    @rule
    def place(counts: Any, mass: Any, choice: Any, plan: Any, book: Any) -> None:
        add_firm(counts, mass * plan.firm, ZERO, book)
        amount = mass * (plan.battery_buy + plan.battery_sell)
        add(counts, plan.battery_sell > ZERO, choice.battery_level, amount, book)

    @rule
    def execute(choice: Any, plan: Any, wish: Any, book: Any, signal: Any) -> Any:
        filled = fill(plan.battery_sell > ZERO, choice.battery_level, book, signal)
        return execute_at_one_price(plan, wish, filled)

    return _planned_rule(traits), place, execute


def _separate_price_rules(traits: Traits) -> tuple[Callable[..., Any], ...]:
    """Rules of a market in which battery, flexible load and vehicle have limit prices of their own."""
    orders = clearing_rules(traits.orders)
    add, add_firm, fill = orders.add, orders.add_firm, orders.fill
    has_vehicles, has_limits = traits.has_vehicles, traits.has_limits

    @rule
    def place(counts: Any, mass: Any, choice: Any, plan: Any, book: Any) -> None:
        add_firm(counts, mass * plan.firm, mass * plan.surplus, book)
        # Agents of a type follow each other, so that it pays to leave out what a type does not have.
        if plan.flexible_buy > ZERO:
            add(counts, False, choice.flexible_level, mass * plan.flexible_buy, book)
        if has_vehicles and plan.vehicle_buy > ZERO:
            add(counts, False, choice.vehicle_level, mass * plan.vehicle_buy, book)
        amount = mass * (plan.battery_buy + plan.battery_sell)
        if amount != ZERO:
            add(counts, plan.battery_sell > ZERO, choice.battery_level, amount, book)

    @rule
    def execute(choice: Any, plan: Any, wish: Any, book: Any, signal: Any) -> Any:
        sells, sell_kept = plan.battery_sell > ZERO, ONE
        flexible, vehicle, battery = ZERO, ZERO, ZERO
        if plan.flexible_buy > ZERO:
            flexible = fill(False, choice.flexible_level, book, signal)
        if has_vehicles and plan.vehicle_buy > ZERO:
            vehicle = fill(False, choice.vehicle_level, book, signal)
        if plan.battery_buy + plan.battery_sell > ZERO:
            battery = fill(sells, choice.battery_level, book, signal)
        if has_limits:
            buy_kept, sell_kept = signal[BUY_KEPT], signal[SELL_KEPT]
            flexible, vehicle = flexible * buy_kept, vehicle * buy_kept
            battery = battery * (sell_kept if sells else buy_kept)
        return execute_at_separate_prices(plan, wish, flexible, vehicle, battery, sell_kept)

    return _planned_rule(traits), place, execute
