"""The energy market: prosumers with batteries and flexible loads who trade by an auction in every step of a day.

In every step agents see their forecasts and what is public, choose what their battery does, how much of their
flexible load they want and at which price; the market is cleared on the *forecast* positions; then load and
generation turn out, and everyone's imbalance settles with the retailer.

The idea of such a market of typed prosumers is that of "Math Deep Dive: Understanding Mean-Field-Type Games"; its
exact definition, and the constants that the source leaves open ([O]), are ours.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import STEP_MINUTES
from mfenvs.energy.series import MarketSeries
from mfenvs.engine.random import student_t
from mfenvs.game import MAX_AGENTS, Game, Rules
from mfenvs.games.energy.actions import ACTIONS, N_DISCRETE, allowed, within_unit
from mfenvs.games.energy.clearing import MOST_TICKS, ORDERS, PRICE, VOLUME, Book, clearing_rules, n_levels
from mfenvs.games.energy.conditions import (
    FEED_IN,
    N_SIGNALS,
    RETAIL,
    WEATHER_SEEN,
    MarketConstants,
    publish,
    published,
)
from mfenvs.games.energy.observations import ERROR_SCALE, N_FEATURES, observe
from mfenvs.games.energy.prosumer_types import (
    LAW,
    PROPORTIONS,
    PROSUMER,
    STORAGE,
    TYPES,
    ProsumerLaw,
    draw_prosumers,
)
from mfenvs.games.energy.trading import agent_rules, realise, reward_of
from mfenvs.games.squashing import squashed
from mfenvs.games.typed_agents import names_by_type
from mfenvs.rules import plain, rule

PRESETS = {"village": 17, "district": 1_000, "city": 10_000}
"""Numbers of agents by name."""

CHARGE_PLACES = 10
"""Others see how full the batteries of storage owners are in so many parts."""

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

Realised inelastic load, flexible load served, generation, charging and discharging at the battery's terminals;
imports from and exports to the grid, imbalance included; energy bought and sold within the community; payments for
the cleared position and for the imbalance (negative if they are revenues); settlement fee; value of the flexible
load; battery wear cost; cost of the charge that is missing at the end of the day; reward.
"""
TOLERANCE = 1e-9
"""Energy and money must be conserved up to this part of all that is moved in a step."""

MOST_EUR = 1e3
"""Largest price or cost, EUR/kWh."""
LEAST_SPREAD = 1e-4
"""Least difference of the tariffs, relative to the larger one: prices are kept in single precision."""
LEAST_TARIFF = 1e-2
"""The larger tariff counts for at least this in that comparison, EUR/kWh."""
LEAST_EFFICIENCY = 0.01
"""Least one-way battery efficiency."""
MOST_SHARE = 1e9
"""Largest number in ``proportions``."""
MOST_YIELD = 1e6
"""Largest PV or wind generation in a step of a series, kWh per kW."""


@rule
def start(agent: Any, initial: Any, key: Any) -> Any:
    """Batteries begin partly charged, and nobody with a forecast error."""
    charge = initial[0] if agent.capacity > 0 else np.float32(0.0)
    return agent.type, charge, np.float32(0.0)


@rule
def place(state: Any) -> Any:
    """Others see an agent's type and, of storage owners, how full the battery is, in tenths."""
    if state.type < STORAGE:
        return int(state.type)
    if state.type > STORAGE:
        return int(state.type) + CHARGE_PLACES - 1
    return STORAGE + min(int(within_unit(state.charge) * CHARGE_PLACES), CHARGE_PLACES - 1)


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
        """All that happens to an agent in a step: forecast error, bargain, realisation, reward."""
        conditions = published(world.signal)
        got = bargain(state, action, agent, world, conditions)
        error = agent.error_scale * student_t(key, 0, agent.degrees_of_freedom)
        actual = realise(got.data, agent, conditions, world.constants, error)
        return error, got, actual, reward_of(got, actual.settled)

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
    """Local energy market of prosumers with batteries.

    N prosumers of five types trade over a day of real data; constants and rules are ours [O] where not said.

    Actions are Box(3): power of the battery in [-1, 1] (charging if positive), fraction of the flexible load in
    [0, 1], limit price in EUR/kWh between the tariffs; or Discrete(30), a grid of these, with action masks.
    Rewards are in EUR: the value of the flexible load less what is paid for the cleared position, for imbalance,
    for battery wear and for settlement. At the end of the day the charge that a battery lacks is bought at the
    retail tariff, and what it has too much is sold at the feed-in tariff [O].

    Raises
    ------
    TypeError, ValueError
        If a constant is not allowed; the message names it.
    """

    n_agents: int = PRESETS["district"]
    """Number of prosumers N, from 2 to 2^24."""
    horizon: int = 0
    """Steps of an episode, counted from midnight; 0 for a whole day."""
    step_minutes: int = 60
    """Length of a step: 60 or 15 minutes."""
    preset: str | None = None
    """Size of the community by name, instead of ``n_agents``: ``village`` (17 agents), ``district`` (1,000) or
    ``city`` (10,000)."""
    actions: str = "box"
    """Action space: ``box`` (continuous) or ``discrete``."""
    orders: str = "interpolated"
    """How the auction fills orders: ``step`` (exact), ``interpolated`` (continuous in the price) or ``linear`` (a
    price that is linear in the net demand); see :mod:`mfenvs.games.energy.clearing`."""
    proportions: tuple[float, ...] = PROPORTIONS
    """Shares of consumers, PV owners, owners of PV and a battery, businesses and wind owners in the population.
    They need not sum to one; numbers of agents are rounded, not drawn."""
    feed_in: float = 0.08
    """Feed-in tariff, which the grid pays for exports, EUR/kWh."""
    retail: float = 0.32
    """Retail tariff, which the grid charges for imports, EUR/kWh; above ``feed_in``."""
    dynamic_tariffs: bool = False
    """Whether the feed-in tariff is the day-ahead price of the series, which may be negative. The retail tariff is
    then above it by ``retail - feed_in`` in every step [O]."""
    n_ticks: int = 240
    """Number of price steps between the tariffs: .001 EUR/kWh each by default."""
    width: float = 0.02
    """Range of prices over which an interpolated order is filled, EUR/kWh."""
    intercept: float = 0.2
    """Price of linear orders at a net demand of zero, EUR/kWh."""
    slope: float = 0.05
    """Rise of the price of linear orders with the net demand per agent, EUR/kWh per kWh."""
    efficiency: float = 0.95
    """One-way battery efficiency: of charging, and of discharging."""
    degradation: float = 0.01
    """Battery wear cost, EUR per kWh charged or discharged."""
    fee: float = 0.0
    """Settlement fee on local trade, EUR/kWh, paid by the buyer and by the seller."""
    initial_charge: float = 0.5
    """State of charge of batteries at midnight, as a fraction of their capacity."""
    weather_memory: float = 0.8
    """Autocorrelation of the common weather factor from one step to the next."""
    weather_sd: float = 0.1
    """Standard deviation of the common weather factor, a relative change of all load and generation."""
    series: str = "embedded"
    """Data: ``embedded`` real days, ``synthetic`` ones, or the path of a file that :meth:`MarketSeries.save`
    wrote."""
    first_day: int = 0
    """First day of the series that is played, counted from 0."""
    n_days: int = 0
    """Number of days, from ``first_day`` on, of which every episode draws one; 0 for all that follow."""

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
            size = PRESETS[_word("preset", self.preset, tuple(PRESETS))]
            if checks.integer("n_agents", self.n_agents, 2, MAX_AGENTS) not in (size, PRESETS["district"]):
                raise ValueError(f"preset {self.preset!r} has {size} agents, got n_agents={self.n_agents}")
            self.n_agents, self.preset = size, None
        minutes = checks.integer("step_minutes", self.step_minutes, 1)
        self.step_minutes = checks.choice("step_minutes", minutes, STEP_MINUTES)
        steps = 24 * 60 // self.step_minutes
        self.horizon = checks.integer("horizon", self.horizon, 0, steps) or steps
        super().__post_init__()

    def check(self) -> None:
        """Check the terms of the market, and keep them as plain numbers."""
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as a day ends, got {self.discount!r}")
        self.actions = _word("actions", self.actions, ACTIONS)
        self.orders = _word("orders", self.orders, ORDERS)
        self.proportions = _shares(self.proportions)
        self.n_ticks = checks.integer("n_ticks", self.n_ticks, 1, MOST_TICKS)
        self.intercept = checks.real("intercept", self.intercept, -MOST_EUR, MOST_EUR)
        self.slope = checks.real("slope", self.slope, 0.0, MOST_EUR)
        self.efficiency = checks.real("efficiency", self.efficiency, LEAST_EFFICIENCY, 1.0)
        self.degradation = checks.real("degradation", self.degradation, 0.0, MOST_EUR)
        self.fee = checks.real("fee", self.fee, 0.0, MOST_EUR)
        self.initial_charge = checks.real("initial_charge", self.initial_charge, 0.0, 1.0)
        self.weather_memory = checks.real("weather_memory", self.weather_memory, 0.0, 1.0, exclude_high=True)
        self.weather_sd = checks.real("weather_sd", self.weather_sd, 0.0, 0.3)
        days = self.days
        self.first_day = checks.integer("first_day", self.first_day, 0, days.n_days - 1)
        self.n_days = checks.integer("n_days", self.n_days, 0, days.n_days - self.first_day)
        for name in ("pv", "wind"):
            if not getattr(days, name).max() <= MOST_YIELD:
                raise ValueError(
                    f"series must have at most {MOST_YIELD:g} kWh per kW of {name} in a step, got"
                    f" {getattr(days, name).max():g}"
                )
        self._check_tariffs(days)
        self._check_optional_rules()

    def _check_tariffs(self, days: MarketSeries) -> None:
        self.feed_in = checks.real("feed_in", self.feed_in, -MOST_EUR, MOST_EUR)
        self.retail = checks.real("retail", self.retail, -MOST_EUR, MOST_EUR)
        self.dynamic_tariffs = checks.boolean("dynamic_tariffs", self.dynamic_tariffs)
        spread, prices = self.retail - self.feed_in, np.array([self.feed_in])
        if self.dynamic_tariffs:
            prices = days.price
            if not np.abs(prices).max() <= MOST_EUR:
                raise ValueError(
                    f"series must have prices in [{-MOST_EUR:g}, {MOST_EUR:g}] EUR/kWh for dynamic tariffs, got"
                    f" {prices.flat[np.abs(prices).argmax()]:g}"
                )
        largest = max(LEAST_TARIFF, float(np.abs(prices).max()), float(np.abs(prices + spread).max()))
        if spread < LEAST_SPREAD * largest:
            raise ValueError(
                f"retail must be at least {LEAST_SPREAD * largest:g} EUR/kWh above feed_in = {self.feed_in!r} (as"
                f" tariffs of up to {largest:g} EUR/kWh are kept in single precision), got {self.retail!r}"
            )
        self.width = checks.real("width", self.width, 0.0, exclude_low=True)
        if self.width > spread:
            raise ValueError(f"width must be at most retail - feed_in = {spread!r}, got {self.width!r}")

    @property
    def days(self) -> MarketSeries:
        """The series that the market plays, in its steps."""
        return read_series(self.series, self.step_minutes)

    @property
    def width_in_ticks(self) -> int:
        """Number of ticks over which an interpolated order is filled: ``width``, at least one."""
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
        return names_by_type(TYPES, self.agents["type"])

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
        """Last price, local trade per agent (kWh) and weather factor; the coming tariffs. Prices in EUR/kWh."""
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


def _word(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """``value``, which must be one of these strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(checks.choice(name, value, allowed))


def _shares(value: Any) -> tuple[float, ...]:
    """The proportions of the types as floats."""
    allowed = f"proportions must hold a share >= 0 of each of {', '.join(TYPES)}, not all 0, got {value!r}"
    try:
        is_complete = len(value) == len(TYPES)
    except TypeError:
        raise TypeError(allowed) from None
    if not is_complete:
        raise ValueError(allowed)
    shares = tuple(checks.real(f"proportions[{i}]", p, 0.0, MOST_SHARE) for i, p in enumerate(value))
    if not sum(shares) > 0.0:
        raise ValueError(allowed)
    return shares


def read_series(name: str, minutes: int) -> MarketSeries:
    """A series by its name or file, in steps of ``minutes``; kept until the file changes."""
    allowed = f"series must be 'embedded', 'synthetic' or the path of a file, got {name!r}"
    if not isinstance(name, str):
        raise TypeError(allowed)
    if name in ("embedded", "synthetic"):
        return _kept_series(name, minutes, 0)
    try:
        is_file, changed = Path(name).is_file(), Path(name).stat().st_mtime_ns
    except (OSError, ValueError):  # Also where the name is no name of a file at all.
        is_file, changed = False, 0
    if not is_file:
        raise ValueError(allowed)
    return _kept_series(name, minutes, changed)


@functools.cache
def _kept_series(name: str, minutes: int, changed: int) -> MarketSeries:
    if name == "embedded":
        return MarketSeries.embedded().resampled(minutes)
    if name == "synthetic":
        return MarketSeries.synthetic(365, 17, 0, step_minutes=minutes)
    return MarketSeries.read(name).resampled(minutes)
