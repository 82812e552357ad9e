"""The energy market: prosumers with batteries and flexible loads who trade by an auction in every step of a day.

Seed 000 of the project asks for a decentralised market of typed prosumers; its exact definition, and the constants
that it leaves open ([O]), are ours. In every step agents see their forecasts and what is public, choose what their
battery does, how much of their flexible load they want and at which price; the market is cleared on the *forecast*
positions; then load and generation turn out, and everyone's imbalance settles with the retailer.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import STEP_MINUTES
from mfenvs.energy.series import MarketSeries
from mfenvs.engine.random import normal, student_t, uniform
from mfenvs.game import Game, Rules
from mfenvs.games.energy.clearing import (
    LOCAL_BUY,
    LOCAL_SELL,
    N_CLEARED,
    ORDERS,
    PRICE,
    VOLUME,
    Book,
    clearing_rules,
    n_levels,
)
from mfenvs.games.energy.prosumer_step import ONE, ZERO, battery_plan, charge_after, execute, plan
from mfenvs.games.energy.prosumer_types import (
    LAW,
    PROPORTIONS,
    PROSUMER,
    STORAGE,
    TYPES,
    ProsumerLaw,
    draw_prosumers,
)
from mfenvs.rules import plain, rule

PRESETS = {"village": 17, "district": 1_000, "city": 10_000}
"""Numbers of agents by name."""

ACTIONS = ("box", "discrete")
BATTERY_LEVELS, FLEXIBLE_LEVELS, PRICE_LEVELS = 3, 2, 5
N_DISCRETE = BATTERY_LEVELS * FLEXIBLE_LEVELS * PRICE_LEVELS
"""Discrete actions: discharge, idle or charge at full power; no or all flexible load; five limit prices."""

# The public signal: first what the clearing writes, then what is published.
DAY, WEATHER_SEEN, WEATHER, FEED_IN, RETAIL = range(N_CLEARED, N_CLEARED + 5)
N_SIGNALS = N_CLEARED + 5

CHARGE_PLACES = 10
"""Others see how full the batteries of storage owners are in so many parts."""
STEPS_AHEAD = 4
"""Forecasts are of so many steps, the coming one first."""

# What agents observe: type one-hot (0 to 4), then these, then the quantiles .1, .5, .9 of net demand by step.
(
    CHARGE_SEEN,
    ERROR_SEEN,
    ELAPSED_SEEN,
    SINE_SEEN,
    COSINE_SEEN,
    LAST_WEATHER_SEEN,
    PRICE_SEEN,
    FEED_IN_SEEN,
    RETAIL_SEEN,
    CAPACITY_SEEN,
    SHARE_SEEN,
    VALUE_SEEN,
    SPREAD_SEEN,
    NET_SEEN,
) = range(len(TYPES), len(TYPES) + 14)
N_FEATURES = NET_SEEN + 3 * STEPS_AHEAD
ERROR_SCALE, EUR_SCALE, CAPACITY_SCALE, NET_SCALE = (np.float32(scale) for scale in (0.2, 0.2, 10.0, 2.0))
"""Scales of features: errors and spreads (relative), EUR/kWh, kWh, kWh."""
HALF = np.float32(0.5)

ACCOUNTS = (
    "load",
    "flexible",
    "generation",
    "charge",
    "discharge",
    "imports",
    "exports",
    "local_bought",
    "local_sold",
    "trade_payment",
    "imbalance_payment",
    "fee",
    "utility",
    "degradation",
    "terminal",
    "reward",
)
"""What an agent's step is made up of: kWh up to ``local_sold``, then EUR.

Realised inelastic load, flexible load, generation, charging and discharging at the battery's terminals; what is
taken from and given to the grid, imbalance included, and what is traded within the community; what is paid (if
negative, got) for the cleared position and for the imbalance; the settlement fee; the worth of the flexible load;
wear of the battery; what the charge at the end of the day lacks or has too much; the reward.
"""
TOLERANCE = 1e-9
"""Of conservation, relative to what is moved."""


class MarketConstants(NamedTuple):
    """What the rules read as ``world.constants``."""

    load: Any
    """kWh of each day, step and profile."""
    pv: Any
    """kWh per kWp, likewise."""
    wind: Any
    """kWh per kW of each day and step."""
    feed_in: Any
    retail: Any
    """Tariffs in EUR/kWh of each day and step."""
    first_day: Any
    n_days: Any
    """Days are drawn from ``first_day`` on."""
    step_hours: Any
    last_step: Any
    """The last step of an episode."""
    efficiency: Any
    degradation: Any
    fee: Any
    initial_charge: Any
    weather_memory: Any
    weather_sd: Any
    book: Any


class Usual(NamedTuple):
    """An agent's step in the data, before weather and errors, in kWh."""

    inelastic: Any
    flexible: Any
    generation: Any


@rule
def usual(agent: Any, day: Any, time: Any, constants: Any) -> Any:
    """What the data have for an agent: the weather multiplies all of it."""
    today = int(day)
    load_day = today + agent.shift
    if load_day >= len(constants.load):
        load_day -= len(constants.load)
    load = agent.load_scale * constants.load[load_day, time, agent.profile]
    sun = agent.pv_kwp * constants.pv[today, time, agent.profile]
    wind = agent.wind_kw * constants.wind[today, time]
    flexible = agent.flexible_share * load
    return Usual(load - flexible, flexible, sun + wind)


@rule
def publish(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Draw the day and the weather of the coming step, of which agents see the last one; tell the tariffs."""
    if time == 0:
        signal[DAY] = constants.first_day + int(uniform(key, 4) * constants.n_days)
        signal[WEATHER] = bounded_weather(constants.weather_sd * normal(key, 2))
    memory = constants.weather_memory
    fresh = np.sqrt(1 - memory * memory) * constants.weather_sd * normal(key, 0)
    signal[WEATHER_SEEN] = signal[WEATHER]
    signal[WEATHER] = bounded_weather(memory * signal[WEATHER_SEEN] + fresh)
    day, now = int(signal[DAY]), min(time, constants.load.shape[1] - 1)
    signal[FEED_IN], signal[RETAIL] = constants.feed_in[day, now], constants.retail[day, now]
    if time == 0:
        signal[PRICE] = 0.5 * (signal[FEED_IN] + signal[RETAIL])


@rule
def bounded_weather(weather: Any) -> Any:
    """Weather is a relative change of load and generation, which cannot become negative."""
    return min(max(weather, np.float32(-0.9)), np.float32(0.9))


@rule
def within_unit(value: Any) -> Any:
    """A number cut off at 0 and 1."""
    return min(max(value, ZERO), ONE)


@rule
def read_box(action: Any, feed_in: Any, retail: Any) -> Any:
    """A continuous action: battery in [-1, 1], flexible fraction in [0, 1], level of the limit price in [0, 1]."""
    return action[0], action[1], within_unit((action[2] - feed_in) / (retail - feed_in))


@rule
def read_discrete(action: Any, feed_in: Any, retail: Any) -> Any:
    """A discrete action, ((battery * 2) + flexible) * 5 + price, likewise."""
    price = action % PRICE_LEVELS
    flexible = action // PRICE_LEVELS % FLEXIBLE_LEVELS
    battery = action // (PRICE_LEVELS * FLEXIBLE_LEVELS)
    quarter = np.float32(1.0 / (PRICE_LEVELS - 1))
    return np.float32(battery - 1), np.float32(flexible), quarter * price


@rule
def start(agent: Any, initial: Any, key: Any) -> Any:
    """A battery that is partly charged, and no error yet."""
    charge = initial[0] if agent.capacity > 0 else np.float32(0.0)
    return agent.type, charge, np.float32(0.0)


@rule
def place(state: Any) -> Any:
    """Others see an agent's type and, of storage owners, how full the battery is, in tenths."""
    if state.type < STORAGE:
        return int(state.type)
    if state.type > STORAGE:
        return int(state.type) + CHARGE_PLACES - 1
    return STORAGE + min(int(state.charge * CHARGE_PLACES), CHARGE_PLACES - 1)


@rule
def squashed(value: Any, scale: Any) -> Any:
    """A real number in [0, 1]: 1/2 for 0, 3/4 for ``scale``."""
    return np.float32(0.5) + np.float32(0.5) * value / (scale + abs(value))


def unsquashed(feature: NDArray[Any], scale: float | np.float32) -> NDArray[np.float64]:
    """The number of which :func:`squashed` made a feature, away from 0 and 1."""
    turned = 2.0 * np.asarray(feature, np.float64) - 1.0
    value: NDArray[np.float64] = scale * turned / np.maximum(1.0 - np.abs(turned), 1e-9)
    return value


def within(space: "gymnasium.spaces.Box", actions: NDArray[Any]) -> NDArray[np.float32]:
    """Continuous actions, cut off at the bounds: prices that were computed may miss a tariff by rounding."""
    bounded: NDArray[np.float32] = np.clip(actions.astype(np.float32), space.low, space.high)
    return bounded


@rule
def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Own type and state, what is public, own parameters, and quantiles of one's net demand in the next steps."""
    signal, constants = public.signal, public.constants
    feed_in, retail = signal[FEED_IN], signal[RETAIL]
    out[state.type] = 1.0
    out[CHARGE_SEEN] = state.charge
    out[ERROR_SEEN] = squashed(state.error, ERROR_SCALE)
    out[ELAPSED_SEEN] = public.elapsed
    angle = np.float32(2 * np.pi) * np.float32(public.time) / np.float32(constants.load.shape[1])
    out[SINE_SEEN], out[COSINE_SEEN] = 0.5 + 0.5 * np.sin(angle), 0.5 + 0.5 * np.cos(angle)
    out[LAST_WEATHER_SEEN] = 0.5 + signal[WEATHER_SEEN] / np.float32(1.8)
    out[PRICE_SEEN] = within_unit((signal[PRICE] - feed_in) / (retail - feed_in))
    out[FEED_IN_SEEN], out[RETAIL_SEEN] = squashed(feed_in, EUR_SCALE), squashed(retail, EUR_SCALE)
    out[CAPACITY_SEEN] = agent.capacity / (CAPACITY_SCALE + agent.capacity)
    out[SHARE_SEEN] = agent.flexible_share
    out[VALUE_SEEN] = within_unit(HALF * (agent.flexible_value - feed_in) / (retail - feed_in))
    out[SPREAD_SEEN] = agent.spread / (ERROR_SCALE + agent.spread)
    weather = signal[WEATHER_SEEN]
    for ahead in range(STEPS_AHEAD):
        time = min(public.time + ahead, constants.load.shape[1] - 1)
        weather *= constants.weather_memory
        data, factor = usual(agent, signal[DAY], time, constants), ONE + weather
        net = factor * (data.inelastic + data.flexible - data.generation)
        spread = factor * agent.spread * (data.inelastic + data.generation)
        for q in range(3):
            out[NET_SEEN + 3 * ahead + q] = squashed(net + (q - 1) * spread, NET_SCALE)


@rule
def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """What serves a purpose: no battery, no charging; none when it is full, nor discharging when it is empty."""
    battery, flexible, _ = read_discrete(action, np.float32(0.0), np.float32(1.0))
    charges, discharges = battery > 0, battery < 0
    idle = agent.capacity == 0 and battery != 0
    full, empty = charges and state.charge >= 1, discharges and state.charge <= 0
    return not (idle or full or empty or (flexible > 0 and agent.flexible_share == 0))


class Conditions(NamedTuple):
    """What is the same for all in a step."""

    day: Any
    seen: Any
    """The weather of the step before."""
    weather: Any
    feed_in: Any
    retail: Any


@rule
def published(signal: Any) -> Any:
    """The conditions of a step, as they were published."""
    return Conditions(signal[DAY], signal[WEATHER_SEEN], signal[WEATHER], signal[FEED_IN], signal[RETAIL])


class Bargain(NamedTuple):
    """What the market makes of an agent's action, before load and generation turn out."""

    data: Any
    done: Any
    local_bought: Any
    local_sold: Any
    exported: Any
    """To the grid."""
    trade: Any
    """Paid for all that."""
    fee: Any
    utility: Any
    wear: Any
    stored: Any
    """In the battery, at the end of the step."""
    terminal: Any


class TurnOut(NamedTuple):
    """What load and generation are in the end."""

    load: Any
    generation: Any
    short: Any
    surplus: Any
    settled: Any
    """Paid to the retailer for the imbalance."""


class AgentRules(NamedTuple):
    """An agent's part in a market, for any state with a ``charge`` and any agent with a prosumer's fields."""

    offer: Callable[..., Any]
    """``offer(counts, mass, state, action, agent, world, conditions)``: count its orders."""
    bargain: Callable[..., Any]
    """``bargain(state, action, agent, world, conditions)``: what it gets, a :class:`Bargain`."""


@rule
def expected_factor(conditions: Any, constants: Any) -> Any:
    """By how much the forecast of load and generation is above the data."""
    return ONE + constants.weather_memory * conditions.seen


@rule
def turn_out(data: Any, agent: Any, conditions: Any, constants: Any, error: Any) -> Any:
    """The weather is common, the error one's own: it cannot make load or generation negative."""
    factor, expected = ONE + conditions.weather, expected_factor(conditions, constants)
    load = factor * data.inelastic * max(ONE + error, ZERO)
    generation = factor * data.generation * max(ONE - error, ZERO)
    imbalance = (load - expected * data.inelastic) - (generation - expected * data.generation)
    short, surplus = max(imbalance, ZERO), max(-imbalance, ZERO)
    settled = conditions.retail * short - conditions.feed_in * surplus
    return TurnOut(load, generation, short, surplus, settled)


@functools.cache
def agent_rules(actions: str, orders: str) -> AgentRules:
    """An agent's part in a market with one kind of actions and of orders."""
    read = read_box if actions == "box" else read_discrete
    add, _, fill = clearing_rules(orders)

    @rule
    def planned(state: Any, action: Any, agent: Any, world: Any, conditions: Any) -> Any:
        """What an agent plans on its forecasts, and the level of its limit price."""
        constants = world.constants
        battery, flexible, level = read(action, conditions.feed_in, conditions.retail)
        data = usual(agent, conditions.day, world.time, constants)
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
            missing = constants.initial_charge * agent.capacity - stored
            refill = retail * max(missing, ZERO) / constants.efficiency
            terminal = refill - feed_in * max(-missing, ZERO) * constants.efficiency
        return Bargain(data, done, local_bought, local_sold, exported, trade, fee, utility, wear, stored, terminal)

    return AgentRules(offer, bargain)


@functools.cache
def market_rules(actions: str, orders: str) -> Rules:
    """The rules of a market with one kind of actions and of orders."""
    offer, bargain = agent_rules(actions, orders)
    clear = clearing_rules(orders).clear

    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        offer(counts, mass, state, action, agent, world, published(world.signal))

    @rule
    def aggregate(world: Any, signal: Any) -> None:
        clear(world.counts, world.per_agent, signal[FEED_IN], signal[RETAIL], world.constants.book, signal)

    @rule
    def outcome(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        """All that happens to an agent in a step: its error, its bargain, what turns out, its reward."""
        conditions = published(world.signal)
        got = bargain(state, action, agent, world, conditions)
        error = agent.error_scale * student_t(key, 0, agent.degrees_of_freedom)
        actual = turn_out(got.data, agent, conditions, world.constants, error)
        costs = got.trade + actual.settled + got.wear + got.fee + got.terminal
        return error, got, actual, got.utility - costs

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        error, got, _, reward = outcome(state, action, agent, world, key)
        charge = got.stored / agent.capacity if agent.capacity > 0 else got.stored
        return (agent.type, np.float32(charge), np.float32(error)), reward

    @rule
    def account(out: Any, state: Any, action: Any, agent: Any, world: Any, key: Any) -> None:
        _, got, actual, reward = outcome(state, action, agent, world, key)
        done = got.done
        out[0], out[1], out[2] = actual.load, done.flexible, actual.generation
        out[3], out[4] = done.draw, done.deliver
        out[5], out[6] = done.bought - got.local_bought + actual.short, got.exported + actual.surplus
        out[7], out[8] = got.local_bought, got.local_sold
        out[9], out[10], out[11] = got.trade, actual.settled, got.fee
        out[12], out[13], out[14], out[15] = got.utility, got.wear, got.terminal, reward

    return Rules(
        start=start,
        step=step,
        observe=observe,
        count=count,
        aggregate=aggregate,
        publish=publish,
        place=place,
        allowed=allowed if actions == "discrete" else None,
        account=account,
    )


@dataclasses.dataclass(kw_only=True)
class EnergyMarket(Game):
    """A local energy market of N typed prosumers over a day (seed 000; constants and rules [O] where not said).

    Actions are Box(3): power of the battery in [-1, 1] (charging if positive), fraction of the flexible load in
    [0, 1], limit price in EUR/kWh between the tariffs; or Discrete(30), a grid of these, with action masks.
    Rewards are in EUR: the worth of the flexible load less what is paid for the cleared position, for imbalance,
    for wear and for settlement. At the end of the day the charge that a battery lacks is bought at the retail
    tariff, and what it has too much is sold at the feed-in tariff [O].

    Raises
    ------
    TypeError, ValueError
        If a constant is not allowed; the message names it.
    """

    n_agents: int = PRESETS["district"]
    horizon: int = 0
    """Steps of an episode, from midnight on: at most those of a day, and by default (0) all of them."""
    step_minutes: int = 60
    """60 or 15."""
    preset: str | None = None
    """``village`` (17 agents), ``district`` (1,000) or ``city`` (10,000), in the place of ``n_agents``."""
    actions: str = "box"
    """``box`` or ``discrete``."""
    orders: str = "interpolated"
    """How orders are filled: ``interpolated``, ``step`` or ``linear`` (:mod:`mfenvs.games.energy.clearing`)."""
    proportions: tuple[float, ...] = PROPORTIONS
    """Shares of consumers, PV owners, owners of PV and storage, businesses, wind owners; counts are stratified."""
    feed_in: float = 0.08
    """What the grid pays, EUR/kWh."""
    retail: float = 0.32
    """What the grid takes, EUR/kWh, above ``feed_in``."""
    dynamic_tariffs: bool = False
    """Let the grid pay the day-ahead price of the series, which may be negative; it takes as much more as
    ``retail`` is above ``feed_in`` [O]."""
    n_ticks: int = 240
    """Into how many ticks the range between the tariffs is divided: .001 EUR/kWh each by default."""
    width: float = 0.02
    """Over which range of prices an interpolated order is filled, EUR/kWh."""
    intercept: float = 0.2
    slope: float = 0.05
    """Of the price of linear orders: EUR/kWh, and EUR/kWh per kWh of net demand per agent."""
    efficiency: float = 0.95
    """Of batteries, one way."""
    degradation: float = 0.01
    """Wear of a battery, EUR per kWh drawn or delivered."""
    fee: float = 0.0
    """Fee of the settlement, EUR per kWh that is traded locally, for buyer and seller each."""
    initial_charge: float = 0.5
    """Of batteries, as a fraction of their capacity."""
    weather_memory: float = 0.8
    """Correlation of the common weather from step to step."""
    weather_sd: float = 0.1
    """Standard deviation of the weather, a relative change of load and generation."""
    series: str = "embedded"
    """``embedded`` real days, ``synthetic`` ones, or the path of a file that :meth:`MarketSeries.save` wrote."""
    first_day: int = 0
    n_days: int = 0
    """Episodes are days drawn from ``n_days`` days from ``first_day`` on; 0 for all that follow."""

    agent_dtype: ClassVar[np.dtype[Any]] = PROSUMER
    state_dtype: ClassVar[np.dtype[Any]] = np.dtype(
        [("type", np.int32), ("charge", np.float32), ("error", np.float32)]
    )
    n_signals = N_SIGNALS
    n_features = N_FEATURES
    account_names = ACCOUNTS
    law: ClassVar[ProsumerLaw] = LAW
    """The laws of the agents' parameters."""

    def __post_init__(self) -> None:
        if self.preset is not None:
            size = PRESETS[checks.choice("preset", self.preset, tuple(PRESETS))]
            if self.n_agents not in (size, PRESETS["district"]):
                raise ValueError(f"preset {self.preset!r} has {size} agents, got n_agents={self.n_agents}")
            self.n_agents, self.preset = size, None
        if self.horizon == 0:
            self.horizon = 24 * 60 // checks.choice("step_minutes", self.step_minutes, STEP_MINUTES)
        super().__post_init__()

    def check(self) -> None:
        """Check the terms of the market."""
        checks.choice("step_minutes", self.step_minutes, STEP_MINUTES)
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as a day ends, got {self.discount!r}")
        checks.integer("horizon", self.horizon, 1, 24 * 60 // self.step_minutes)
        checks.choice("actions", self.actions, ACTIONS)
        checks.choice("orders", self.orders, ORDERS)
        shares = tuple(checks.real(f"proportions[{i}]", p, 0.0) for i, p in enumerate(self.proportions))
        if len(shares) != len(TYPES) or not sum(shares) > 0.0:
            raise ValueError(
                f"proportions must hold a share >= 0 of each of {', '.join(TYPES)}, not all 0, got"
                f" {self.proportions!r}"
            )
        self.proportions = shares
        checks.real("feed_in", self.feed_in, -LARGEST, LARGEST)
        checks.real("retail", self.retail, self.feed_in, LARGEST, exclude_low=True)
        checks.boolean("dynamic_tariffs", self.dynamic_tariffs)
        checks.integer("n_ticks", self.n_ticks, 1, MOST_TICKS)
        checks.real("width", self.width, 0.0, self.retail - self.feed_in, exclude_low=True)
        checks.real("intercept", self.intercept, -LARGEST, LARGEST)
        checks.real("slope", self.slope, 0.0, LARGEST)
        checks.real("efficiency", self.efficiency, 0.0, 1.0, exclude_low=True)
        for name in ("degradation", "fee"):
            checks.real(name, getattr(self, name), 0.0, LARGEST)
        checks.real("initial_charge", self.initial_charge, 0.0, 1.0)
        checks.real("weather_memory", self.weather_memory, 0.0, 1.0, exclude_high=True)
        checks.real("weather_sd", self.weather_sd, 0.0, 0.3)
        n_days = self.days.n_days
        checks.integer("first_day", self.first_day, 0, n_days - 1)
        checks.integer("n_days", self.n_days, 0, n_days - self.first_day)
        self._check_optional_rules()

    @property
    def days(self) -> MarketSeries:
        """The series that the market plays, in its steps."""
        return read_series(self.series, self.step_minutes)

    @property
    def width_in_ticks(self) -> int:
        """Over how many ticks an interpolated order is filled: ``width``, at least one."""
        return max(1, round(self.width / (self.retail - self.feed_in) * self.n_ticks))

    @property
    def rules(self) -> Rules:
        """The rules for this market's actions and orders."""
        return market_rules(self.actions, self.orders)

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the prosumers, ordered by type."""
        return draw_prosumers(self.proportions, self.n_agents, self.days, rng, self.law)

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.Game.check_snapshot`: agents keep their types, and the day is one of those played."""
        super().check_snapshot(states, signal)
        terms, rounding = self.constants, 1e-4  # of what is in single precision
        last = terms.first_day + terms.n_days - 1
        day, weather_before, weather, feed_in, retail = signal.T[-5:]
        for what, is_right in (
            ("states['type'] must be the types of the game's agents", states["type"] == self.agents["type"]),
            ("states['charge'] must be in [0, 1]", abs(states["charge"] - 0.5) <= 0.5 + rounding),
            (
                f"signal must name a day in [{terms.first_day}, {last}]",
                (day == np.rint(day)) & (day >= terms.first_day) & (day <= last),
            ),
            (
                "signal must hold weather in [-0.9, 0.9]",
                np.maximum(abs(weather_before), abs(weather)) <= 0.9 + rounding,
            ),
            ("signal must hold a feed-in tariff below the retail tariff", feed_in < retail),
        ):
            if not np.all(is_right):
                where = [int(i) for i in np.argwhere(~is_right)[0]]
                raise ValueError(f"snapshot.{what}, which is not so at {where}")

    @functools.cached_property
    def agent_names(self) -> list[str]:
        """``<type>_<int>``, counted within each type."""
        kinds = self.agents["type"]
        first = np.searchsorted(kinds, np.arange(len(TYPES)))
        return [f"{TYPES[kind]}_{i - first[kind]}" for i, kind in enumerate(kinds)]

    @functools.cached_property
    def constants(self) -> MarketConstants:
        """The series, the tariffs and the terms."""
        days, spread = self.days, self.retail - self.feed_in
        paid = days.price if self.dynamic_tariffs else np.full(days.price.shape, self.feed_in)
        return MarketConstants(
            load=days.load,
            pv=days.pv,
            wind=days.wind,
            feed_in=paid.astype(np.float32),
            retail=(paid + spread).astype(np.float32),
            first_day=self.first_day,
            n_days=self.n_days or days.n_days - self.first_day,
            step_hours=np.float32(days.step_hours),
            last_step=self.horizon - 1,
            efficiency=np.float32(self.efficiency),
            degradation=np.float32(self.degradation),
            fee=np.float32(self.fee),
            initial_charge=np.float32(self.initial_charge),
            weather_memory=np.float32(self.weather_memory),
            weather_sd=np.float32(self.weather_sd),
            book=Book(
                self.n_ticks,
                self.width_in_ticks,
                np.float32(1.0 / self.width_in_ticks),
                np.float32(self.intercept),
                np.float32(self.slope),
            ),
        )

    @property
    def initial(self) -> NDArray[np.float32]:
        """The batteries' first charge."""
        return np.array([self.initial_charge], np.float32)

    @property
    def n_cells(self) -> int:
        """Levels of buys and of sells."""
        return 2 * n_levels(self.orders, self.n_ticks, self.width_in_ticks)

    @property
    def n_places(self) -> int:
        """The types, and ten parts of charge of the storage owners."""
        return len(TYPES) + CHARGE_PLACES - 1

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Empty batteries and full ones: less than a fifth, at least four fifths."""
        fifth = CHARGE_PLACES // 5
        last = STORAGE + CHARGE_PLACES
        return {"empty": tuple(range(STORAGE, STORAGE + fifth)), "full": tuple(range(last - fifth, last))}

    @property
    def reported(self) -> dict[str, int]:
        """The last price, local trade per agent (kWh) and weather, and the coming tariffs."""
        return {"price": PRICE, "volume": VOLUME, "weather": WEATHER_SEEN, "feed_in": FEED_IN, "retail": RETAIL}

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Box(3) or Discrete(30)."""
        if self.actions == "discrete":
            return gymnasium.spaces.Discrete(N_DISCRETE)
        low, high = float(self.constants.feed_in.min()), float(self.constants.retail.max())
        return gymnasium.spaces.Box(
            np.array([-1.0, 0.0, low], np.float32), np.array([1.0, 1.0, high], np.float32), dtype=np.float32
        )

    def type_means(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """How full batteries are, and each type's last forecast error, squashed: shape (n_worlds, 6).

        What ``observe="type-means"`` shows of ``states`` (n_worlds, n_agents); a type without agents has mean 0.
        """
        counts = np.bincount(self.agents["type"], minlength=len(TYPES))
        ends = np.cumsum(counts)
        # Agents are ordered by type.
        errors = [states["error"][:, end - n : end] for n, end in zip(counts, ends, strict=True)]
        charge = states["charge"][:, ends[STORAGE] - counts[STORAGE] : ends[STORAGE]]
        means = [part.mean(axis=1) if part.shape[1] else np.zeros(len(part), np.float32) for part in errors]
        full = charge.mean(axis=1) if charge.shape[1] else np.zeros(len(charge), np.float32)
        return np.stack([full, *(plain(squashed)(mean, ERROR_SCALE) for mean in means)], axis=1)

    def place_name(self, place: int) -> str:
        """An agent's type, and of storage owners the tenth of charge."""
        if place < STORAGE:
            return TYPES[place]
        if place >= STORAGE + CHARGE_PLACES:
            return TYPES[place - CHARGE_PLACES + 1]
        return f"{TYPES[STORAGE]} {place - STORAGE}/{CHARGE_PLACES}"

    def audit(self, accounts: NDArray[np.float64], signal: NDArray[np.float64]) -> None:
        """Check that energy and money are conserved in every world, within 1e-9 of what is moved.

        Raises
        ------
        ValueError
            Naming the world and what does not balance.
        """
        total = dict(zip(ACCOUNTS, np.moveaxis(accounts.sum(axis=1), -1, 0), strict=True))
        moved = np.abs(accounts).sum(axis=(1, 2))
        net = total["imports"] - total["exports"]
        used = total["load"] + total["flexible"] - total["generation"] + total["charge"] - total["discharge"]
        paid = total["trade_payment"] + total["imbalance_payment"]
        owed = signal[:, RETAIL] * total["imports"] - signal[:, FEED_IN] * total["exports"]
        balances = {
            "energy used - imports + exports (kWh)": used - net,
            "bought - sold locally (kWh)": total["local_bought"] - total["local_sold"],
            "payments - retail imports + feed-in exports (EUR)": paid - owed,
        }
        for name, balance in balances.items():
            wrong = np.flatnonzero(~(np.abs(balance) <= TOLERANCE * moved))
            if len(wrong):
                raise ValueError(f"{name} must be 0, got {balance[wrong[0]]:g} in world {wrong[0]}")


LARGEST = 1e3
"""Of prices, EUR/kWh."""
MOST_TICKS = 100_000


def read_series(name: str, minutes: int) -> MarketSeries:
    """A series by its name or file, in steps of so many minutes; kept until the file changes."""
    if not isinstance(name, str):
        raise TypeError(f"series must be 'embedded', 'synthetic' or the path of a file, got {name!r}")
    if name in ("embedded", "synthetic"):
        return _kept_series(name, minutes, 0)
    if not Path(name).is_file():
        raise ValueError(f"series must be 'embedded', 'synthetic' or the path of a file, got {name!r}")
    return _kept_series(name, minutes, Path(name).stat().st_mtime_ns)


@functools.cache
def _kept_series(name: str, minutes: int, changed: int) -> MarketSeries:
    if name == "embedded":
        return MarketSeries.embedded().resampled(minutes)
    if name == "synthetic":
        return MarketSeries.synthetic(365, 17, 0, step_minutes=minutes)
    return MarketSeries.read(name).resampled(minutes)
