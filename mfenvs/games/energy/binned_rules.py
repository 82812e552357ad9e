"""Rules of the energy market in bins: the market's own, for representatives of groups and a grid of charges."""

import functools
from typing import Any, NamedTuple

from mfenvs.engine.random import student_t, uniform
from mfenvs.game import Rule
from mfenvs.games.energy.actions import allowed as market_allowed
from mfenvs.games.energy.clearing import PRICE, VOLUME, clearing_rules
from mfenvs.games.energy.community import N_COMMUNITY, settlement_rule
from mfenvs.games.energy.conditions import Conditions, step_data
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.games.energy.trading import Battery, agent_rules, metered_amounts, reward_of
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import World, rule

WEATHER_STREAM = 8
"""Stream of the random number that tells in which weather an agent is."""


class BinnedConstants(NamedTuple):
    """What the rules read as ``world.constants``: a market's constants for groups, and the table of states.

    H are the steps, G the groups and S the states.
    """

    load: Any
    """Mean load of each step and group, kWh, (1, H, G)."""
    pv: Any
    """Mean PV generation of each step and group, kWh, (1, H, G)."""
    wind: Any
    """Wind generation of each step, kWh per kW, (1, H)."""
    feed_in: Any
    """Feed-in tariff of each step, EUR/kWh, (H,)."""
    retail: Any
    """Retail tariff of each step, EUR/kWh, (H,)."""
    step_hours: Any
    last_step: Any
    degradation: Any
    fee: Any
    initial_charge: Any
    weather_memory: Any
    weathers: Any
    """Weather factors of load, sun and wind in the step before, in each of K weathers, (K, 3)."""
    book: Any
    n_order_cells: Any
    n_cells: Any
    """Number of cells of each weather."""
    import_limit: Any
    export_limit: Any
    vehicle_penalty: Any
    """All these as in :class:`mfenvs.games.energy.conditions.MarketConstants`."""
    groups: Any
    """A representative of each group, (G,) of :data:`mfenvs.games.energy.prosumer_types.PROSUMER`."""
    group_of: Any
    """Group of each state, (S,)."""
    charge_of: Any
    """State of charge of each state, in [0, 1], (S,)."""
    first_of: Any
    """The first state of each group, that of an empty battery, (G,)."""
    last_bin: Any
    """Number of the last state of each group, counted from its first, (G,): 0 without a battery."""
    plain_excess: Any
    """E[(s e)+] of each group's relative forecast error s e, (G,)."""
    cut_excess: Any
    """E[min((s e)+, 1)] likewise."""


@rule
def conditions_of(weather: Any, world: Any) -> Any:
    """Conditions of a step in one of the weathers, which turns out as it is expected."""
    constants = world.constants
    seen, memory = constants.weathers[weather], constants.weather_memory
    load, sun, wind = seen[0], seen[1], seen[2]
    feed_in, retail = constants.feed_in[world.time], constants.retail[world.time]
    expected = memory * load, memory * sun, memory * wind
    return Conditions(0, world.time, load, sun, wind, expected[0], expected[1], expected[2], feed_in, retail)


@rule
def market_in(weather: Any, world: Any) -> Any:
    """The world with the orders and the cleared market of one of the weathers."""
    n_cells = world.constants.n_cells
    return World(
        world.counts[weather * n_cells : (weather + 1) * n_cells],
        world.signal[weather * N_COMMUNITY : (weather + 1) * N_COMMUNITY],
        world.constants,
        world.time,
        world.own_cell,
        world.own_weight,
        world.per_other,
        world.per_agent,
    )


class BinnedRules(NamedTuple):
    """The rules of a binned market of one kind."""

    count: Rule
    aggregate: Rule
    branch: Rule
    reward: Rule
    step: Rule


@functools.cache
def binned_rules(traits: Traits) -> BinnedRules:
    """The rules of a binned market of one kind."""
    offer, bargain, add_imbalance, settle_imbalance, realise = agent_rules(traits)
    clear, settle_community = clearing_rules(traits.orders).clear, settlement_rule(traits)

    @rule
    def expected_imbalance(state: Any, terms: Any, world: Any) -> Any:
        """Mean shortage and surplus of an agent, over its forecast error, kWh."""
        constants = world.constants
        group = constants.group_of[state]
        data = step_data(constants.groups[group], 0, world.time, constants)
        expected = metered_amounts(data, terms, ZERO)
        # Load turns out higher with a positive error and generation lower; neither goes below zero.
        plain, cut = constants.plain_excess[group], constants.cut_excess[group]
        short = expected.load * plain + expected.generation * cut
        return short, expected.load * cut + expected.generation * plain

    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        constants = world.constants
        member, battery = constants.groups[constants.group_of[state]], Battery(constants.charge_of[state])
        for weather in range(len(constants.weathers)):
            terms = conditions_of(weather, world)
            cells = counts[weather * constants.n_cells : (weather + 1) * constants.n_cells]
            offer(cells, mass, battery, action, member, world, terms)
            short, surplus = expected_imbalance(state, terms, world)
            add_imbalance(cells, mass, short, surplus, world)

    @rule
    def aggregate(world: Any, signal: Any) -> None:
        constants = world.constants
        n_weathers = len(constants.weathers)
        price, volume = 0.0, 0.0
        for weather in range(n_weathers):
            terms, market = conditions_of(weather, world), market_in(weather, world)
            cleared = signal[weather * N_COMMUNITY : (weather + 1) * N_COMMUNITY]
            clear(market.counts, world.per_agent, terms.feed_in, terms.retail, constants.book, cleared)
            settle_community(market, cleared)
            price += cleared[PRICE] / n_weathers
            volume += cleared[VOLUME] / n_weathers
        signal[n_weathers * N_COMMUNITY] = price
        signal[n_weathers * N_COMMUNITY + 1] = volume

    @rule
    def outcome(state: Any, action: Any, weather: Any, world: Any) -> Any:
        constants = world.constants
        member, battery = constants.groups[constants.group_of[state]], Battery(constants.charge_of[state])
        return bargain(battery, action, member, market_in(weather, world), conditions_of(weather, world))

    @rule
    def bin_below(state: Any, stored: Any, constants: Any) -> Any:
        """The bin at or below a charge, not the last one if there are several, and how far it is to the next."""
        group = constants.group_of[state]
        capacity, last = constants.groups[group].capacity, constants.last_bin[group]
        position = stored / capacity * last if capacity > ZERO else stored * ZERO
        lower = min(int(position), max(last - 1, 0))
        return lower, position - lower

    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Move to one of the two bins next to the new charge of a weather, such that its mean is right."""
        constants = world.constants
        lower, above = bin_below(state, outcome(state, action, k // 2, world).stored, constants)
        group = constants.group_of[state]
        chance = (above if k % 2 == 1 else ONE - above) / len(constants.weathers)
        return constants.first_of[group] + min(lower + k % 2, constants.last_bin[group]), chance

    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        n_weathers, total = len(world.constants.weathers), 0.0
        for weather in range(n_weathers):
            terms, got = conditions_of(weather, world), outcome(state, action, weather, world)
            short, surplus = expected_imbalance(state, terms, world)
            metered = metered_amounts(got.data, terms, ZERO)
            settled = settle_imbalance(short, surplus, metered, market_in(weather, world), terms)
            total += reward_of(got, settled.payment + settled.fee) / n_weathers
        return total

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        constants = world.constants
        n_weathers = len(constants.weathers)
        weather = min(int(uniform(key, WEATHER_STREAM) * n_weathers), n_weathers - 1)
        group = constants.group_of[state]
        got, member = outcome(state, action, weather, world), constants.groups[group]
        lower, above = bin_below(state, got.stored, constants)
        charged = lower + (1 if uniform(key, 0) < above else 0)
        error = member.error_scale * student_t(key, 1, member.degrees_of_freedom)
        actual = realise(got.data, error, market_in(weather, world), conditions_of(weather, world))
        return constants.first_of[group] + charged, reward_of(got, actual.payment + actual.fee)

    return BinnedRules(count, aggregate, branch, reward, step)


@rule
def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Mask actions as in the market, for a group's representative."""
    constants = public.constants
    member = constants.groups[constants.group_of[state]]
    return market_allowed(action, Battery(constants.charge_of[state]), member, public)
