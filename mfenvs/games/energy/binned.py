"""The energy market as a finite game: state of charge in bins, by type and hour, on a given day.

What an agent does and what the market makes of it are the rules of :mod:`mfenvs.games.energy.trading`; here
they are applied to a representative of each group of prosumers and to the charges of a grid. The price is a
functional of the law of (state, action) alone, so this game's mean-field side is the induced mean-field game of
the market with discrete actions, as far as groups stand for their members [O]: with more groups per type it comes
nearer.

Left out is the spread within a group. An agent's own forecast error is drawn in the simulator and averaged in the
mean field. A mean-field game has no common noise: the common weather is left out by default, or (``weather_sd``)
the market is cleared in several weathers in every step, and agents meet each with the same probability, as if
everyone had its own and every step another one [O]. So prices and what orders bring are right on average over the
weather of a step, and a price that would hang on the last kWh becomes one that does not. How weather lasts from
step to step, and by how much it differs from what is expected of it, is left out.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.members import AnyMembers
from mfenvs.energy.tariffs import AnyTariff
from mfenvs.engine.random import student_t, uniform
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rule
from mfenvs.games.energy.actions import N_DISCRETE
from mfenvs.games.energy.actions import allowed as market_allowed
from mfenvs.games.energy.clearing import PRICE, VOLUME, Book, clearing_rules
from mfenvs.games.energy.community import N_COMMUNITY, settlement_rule
from mfenvs.games.energy.conditions import Conditions, step_data
from mfenvs.games.energy.description import Description, described, plain_term
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_series import AnySeries, read_series
from mfenvs.games.energy.prosumer_types import COMMERCIAL, STORAGE, TYPES, ProsumerLaw
from mfenvs.games.energy.single_precision import ONE, ZERO
from mfenvs.games.energy.trading import Battery, agent_rules, metered_amounts, reward_of
from mfenvs.games.energy.traits import Traits
from mfenvs.rules import World, rule


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


WEATHER_STREAM = 8
"""Stream of the random number that tells in which weather an agent is."""
MOST_BINS = 10_000
"""Largest number of states of charge."""
MOST_GROUPS_PER_TYPE = 1_000
"""Largest number of groups of a type."""
GROUPINGS = ("value", "need")
"""Ways to put agents of a type into groups."""
FEWEST_WEATHERS, MOST_WEATHERS = 4, 1_000
"""Smallest and largest number of weathers."""
LEAST_CAPACITY = 1e-6
"""Battery capacity below which need is not told apart, kWh."""


@dataclasses.dataclass(kw_only=True)
class BinnedEnergyMarket(FiniteGame):
    """Local energy market with states of charge in bins.

    A finite game whose states are groups of prosumers and their batteries' charges, on one day; its mean-field
    game is that of :class:`EnergyMarket` with discrete actions.

    Prosumers are put into groups, ``groups_per_type`` of each type, by the value of their flexible load or, where
    they own batteries, by what they need (``groups_by``); a group's representative has the means of its members'
    parameters and data. Every episode draws who is in which group.

    Raises
    ------
    TypeError, ValueError
        If a constant is not allowed; the message names it.
    """

    n_agents: int = 1000
    """Number of prosumers N, from 2 to 2^24."""
    horizon: int = 24
    """Steps of an episode, in hours from midnight."""
    day: int = 180
    """Day of the series that is played, counted from 0."""
    groups_per_type: int = 2
    """Number of groups into which each type of prosumers is divided."""
    groups_by: str = "value"
    """How each type is sorted before it is divided: by the ``value`` of its flexible load; or owners of batteries
    by their ``need`` on the day, load beyond own generation step by step, per kWh of battery, and others by
    value."""
    n_bins: int = 11
    """Number of states of charge, from empty to full, of those who own a battery; at least 2."""
    orders: str = EnergyMarket.orders
    """How the auction fills orders: ``step`` (exact), ``interpolated`` (continuous in the price) or ``linear`` (a
    price that is linear in the net demand)."""
    prices: str = EnergyMarket.prices
    """Whether surplus generation is offered at the feed-in tariff (``separate``), or at the limit price of the
    discrete action as all else is (``one``)."""
    imbalance: str = EnergyMarket.imbalance
    """How deviations from the forecast are settled: ``pooled``, where the community's shortages and surpluses are
    their expectations (law of large numbers), or ``individual``."""
    proportions: tuple[float, ...] = EnergyMarket.proportions
    """Shares of consumers, PV owners, owners of PV and a battery, businesses and wind owners in the population."""
    law: ProsumerLaw = EnergyMarket.law
    """The laws of the agents' parameters."""
    members: AnyMembers | None = dataclasses.field(default=None, repr=False)
    """Members of one's own instead of agents that are drawn, as in :class:`EnergyMarket`, without vehicles."""
    feed_in: AnyTariff = EnergyMarket.feed_in
    """Feed-in tariff, which the grid pays for exports, EUR/kWh."""
    retail: AnyTariff = EnergyMarket.retail
    """Retail tariff, which the grid charges for imports, without the network charge, EUR/kWh; with it above
    ``feed_in`` in every hour."""
    network_charge: AnyTariff = EnergyMarket.network_charge
    """Network charge of each hour of the day, EUR/kWh, which is added to the retail tariff: 24 numbers, or one
    number for all hours."""
    import_limit_kw: float | None = None
    """Most that the cleared community may import, kW per agent, None for no limit."""
    export_limit_kw: float | None = None
    """Most that the cleared community may export, kW per agent, None for no limit."""
    dynamic_tariffs: bool = EnergyMarket.dynamic_tariffs
    """Whether the feed-in tariff is the day-ahead price of the series, and the retail tariff above it by
    ``retail - feed_in`` and the network charge."""
    n_ticks: int = EnergyMarket.n_ticks
    """Number of price steps between the tariffs."""
    width: float = EnergyMarket.width
    """Range of prices over which an interpolated order is filled, EUR/kWh."""
    intercept: float = EnergyMarket.intercept
    """Price of linear orders at a net demand of zero, EUR/kWh."""
    slope: float = EnergyMarket.slope
    """Rise of the price of linear orders with the net demand per agent, EUR/kWh per kW."""
    efficiency: float = EnergyMarket.efficiency
    """One-way battery efficiency: of charging, and of discharging."""
    degradation: float = EnergyMarket.degradation
    """Battery wear cost, EUR per kWh charged or discharged."""
    fee: float = EnergyMarket.fee
    """Settlement fee on local trade, EUR/kWh, paid by the buyer and by the seller."""
    initial_charge: float = EnergyMarket.initial_charge
    """State of charge of batteries at midnight, as a fraction of their capacity."""
    weather_memory: float = EnergyMarket.weather_memory
    """Autocorrelation of the common weather factors from one hour to the next."""
    weather_sd: float | tuple[float, float, float] = 0.0
    """Standard deviations of the common weather factors, which are relative changes of all load, all PV and all
    wind generation; one number is that of all three, and 0 leaves the weather out."""
    weather_correlation: str | tuple[float, float, float] = EnergyMarket.weather_correlation
    """Correlations of the weather factors of load and sun, load and wind, sun and wind; ``data`` for those of the
    series' own anomalies."""
    n_weathers: int = 9
    """Number of weathers in which the market is cleared in each step, unless ``weather_sd`` is 0; at least 4."""
    series: AnySeries = EnergyMarket.series
    """Data: ``embedded`` real days, ``synthetic`` ones, the path of a file that ``MarketSeries.save`` wrote, or a
    series in memory."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_actions = N_DISCRETE
    allowed = staticmethod(allowed)
    market_class: ClassVar[type[EnergyMarket]] = EnergyMarket
    """The market of N agents of which this is the image."""

    def check(self) -> None:
        """Check the terms of the game, and keep them as plain numbers."""
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as a day ends, got {self.discount!r}")
        self.groups_per_type = checks.integer("groups_per_type", self.groups_per_type, 1, MOST_GROUPS_PER_TYPE)
        self.groups_by = checks.choice("groups_by", self.groups_by, GROUPINGS)
        self.n_weathers = checks.integer("n_weathers", self.n_weathers, FEWEST_WEATHERS, MOST_WEATHERS)
        self.n_bins = checks.integer("n_bins", self.n_bins, 2, MOST_BINS)
        if isinstance(self.imbalance, str) and self.imbalance == "ex-post":
            raise ValueError(
                "imbalance must be 'pooled' or 'individual' in a binned market, whose orders do not know what is"
                " metered, got 'ex-post'"
            )
        n_days = read_series(self.series, EnergyMarket.step_minutes).n_days
        self.day = checks.integer("day", self.day, 0, n_days - 1)
        market = self.market
        if market.traits.has_vehicles:
            raise ValueError("members must have no electric vehicles in a binned market, got some that do")
        for name in _shared_terms():
            setattr(self, name, getattr(market, name))
        super().check()

    @functools.cached_property
    def market(self) -> EnergyMarket:
        """The market of which this is the image, with discrete actions, on the given day."""
        terms = {name: getattr(self, name) for name in _shared_terms()}
        return self.market_class(**terms, actions="discrete", first_day=self.day, n_days=1)

    def describe(self) -> Description:
        """As :meth:`EnergyMarket.describe`: a dict of all terms; as a text, all that the market was made with."""
        terms = {name: plain_term(value) for name, value in super().describe().items()}
        market = self.market
        return Description(
            terms,
            functools.partial(described, self, market.agents, market.days, market.played_days, market.tariffs),
        )

    @property
    def count(self) -> Rule:  # type: ignore[override]
        """Count the orders of a group's representative."""
        return binned_rules(self.market.traits).count

    @property
    def aggregate(self) -> Rule:  # type: ignore[override]
        """Clear the market."""
        return binned_rules(self.market.traits).aggregate

    @property
    def branch(self) -> Rule:  # type: ignore[override]
        """Charge or discharge a battery: in every weather to one of two bins."""
        return binned_rules(self.market.traits).branch

    @property
    def n_branches(self) -> int:
        """Two bins in every weather."""
        return 2 * len(self.weathers)

    @property
    def reward(self) -> Rule:  # type: ignore[override]
        """Reward in EUR, averaged over the forecast error."""
        return binned_rules(self.market.traits).reward

    @property
    def step(self) -> Rule:
        """Draw the next state and the forecast error."""
        return binned_rules(self.market.traits).step

    @functools.cached_property
    def group_of_agent(self) -> NDArray[np.int64]:
        """The group of every agent of :attr:`market`, shape (n_agents,); groups are numbered type by type."""
        return self.groups_of(self.market)

    def groups_of(self, market: EnergyMarket) -> NDArray[np.int64]:
        """Groups to which the agents of a market belong, shape (market's n_agents,).

        Parameters
        ----------
        market:
            Market whose agents are sorted into this game's groups. Where these are by need, its series must have
            this game's :attr:`day`.

        Raises
        ------
        ValueError
            If an agent belongs to a group of which :attr:`market` has no member, or the day is missing.
        """
        stripes, known = self._stripes_of(market), self._known_stripes
        places = np.minimum(np.searchsorted(known, stripes), len(known) - 1)
        unknown = np.flatnonzero(known[places] != stripes)
        if len(unknown):
            raise ValueError(
                f"market must have agents of the groups of {self!r}, got {market.agent_names[unknown[0]]}, whose"
                " group has no member there"
            )
        return places

    @functools.cached_property
    def _known_stripes(self) -> NDArray[np.int64]:
        """Stripes with members."""
        return np.unique(self._stripes_of(self.market))

    def _stripes_of(self, market: EnergyMarket) -> NDArray[np.int64]:
        """The part of its type to which each agent of a market belongs, as :func:`stripes` numbers them."""
        agents = market.agents
        keys = agents["flexible_value"].astype(np.float64)
        if self.groups_by == "need":
            if self.day >= market.days.n_days:
                raise ValueError(
                    f"market must have day {self.day}, by the need on which agents are put into groups, got a"
                    f" series of {market.days.n_days} days"
                )
            owners = agents["type"] == STORAGE
            keys[owners] = (day_need(market, self.day) / np.maximum(agents["capacity"], LEAST_CAPACITY))[owners]
        return stripes(agents["type"], keys, self.groups_per_type)

    @functools.cached_property
    def groups(self) -> NDArray[Any]:
        """A representative of every group, shape (G,): means of its members' parameters, and the usual nu."""
        agents, law = self.market.agents.view(np.ndarray), self.market.law
        table = np.zeros(self.group_of_agent.max() + 1, agents.dtype)
        for group in range(len(table)):
            members = agents[self.group_of_agent == group]
            for name in agents.dtype.names or ():
                table[name][group] = members[name].mean()
            used = members["flexible_share"].sum()
            if used > 0:
                worth = (members["flexible_share"] * members["flexible_value"]).sum()
                table["flexible_value"][group] = worth / used
            is_business = table["type"][group] == COMMERCIAL
            table["degrees_of_freedom"][group] = law.aggregate_nu if is_business else law.nu
        # The data below are a group's own, one profile each.
        table["profile"], table["shift"] = np.arange(len(table)), 0
        table["load_scale"] = table["pv_kwp"] = 1.0
        return table

    @functools.cached_property
    def group_sizes(self) -> NDArray[np.float64]:
        """Share of the population in each group, (G,)."""
        return np.bincount(self.group_of_agent) / self.n_agents

    @functools.cached_property
    def bins(self) -> NDArray[np.int64]:
        """Number of states of each group, (G,): one without a battery."""
        return np.where(self.groups["type"] == STORAGE, self.n_bins, 1)

    @property
    def first_states(self) -> NDArray[np.int64]:
        """The first state of each group, (G,): that of an empty battery."""
        return np.cumsum(self.bins) - self.bins

    @functools.cached_property
    def n_states(self) -> int:
        """Bins of all groups together."""
        return int(self.bins.sum())

    @functools.cached_property
    def constants(self) -> BinnedConstants:
        """Data of the groups, tariffs, and the table of states."""
        terms = self.market.constants
        load, sun, wind = self._group_data()
        group_of = np.repeat(np.arange(len(self.groups)), self.bins)
        charge = np.concatenate([np.linspace(0, 1, n) if n > 1 else np.zeros(1) for n in self.bins])
        scales, nus = self.groups["error_scale"], self.groups["degrees_of_freedom"]
        excess = np.array([error_excess(float(s), float(nu)) for s, nu in zip(scales, nus, strict=True)])
        return BinnedConstants(
            load=load,
            pv=sun,
            wind=wind.astype(np.float32)[None],
            feed_in=terms.feed_in[self.day],
            retail=terms.retail[self.day],
            step_hours=terms.step_hours,
            last_step=self.horizon - 1,
            degradation=terms.degradation,
            fee=terms.fee,
            initial_charge=terms.initial_charge,
            weather_memory=terms.weather_memory,
            weathers=self.weathers.astype(np.float32),
            book=Book(*terms.book),
            n_order_cells=terms.n_order_cells,
            n_cells=self.market.n_cells,
            import_limit=terms.import_limit,
            export_limit=terms.export_limit,
            vehicle_penalty=terms.vehicle_penalty,
            groups=self.groups,
            group_of=group_of.astype(np.int32),
            charge_of=charge.astype(np.float32),
            first_of=self.first_states.astype(np.int32),
            last_bin=(self.bins - 1).astype(np.int32),
            plain_excess=excess[:, 0].astype(np.float32),
            cut_excess=excess[:, 1].astype(np.float32),
        )

    @property
    def n_cells(self) -> int:
        """Levels of buys and of sells, and sums over the community, in every weather."""
        return len(self.weathers) * self.market.n_cells

    @property
    def n_signals(self) -> int:  # type: ignore[override]  # a constant of games whose sizes are fixed
        """What the clearing writes in every weather, and the mean price and volume."""
        return len(self.weathers) * N_COMMUNITY + 2

    @property
    def reported(self) -> dict[str, int]:
        """The mean price and volume."""
        return {"price": self.n_signals - 2, "volume": self.n_signals - 1}

    @functools.cached_property
    def weathers(self) -> NDArray[np.float64]:
        """Weather factors of load, sun and wind before a step, of equal probability, (K, 3): one of 0 without."""
        mixing = self.market.constants.weather_mixing.astype(np.float64)
        return spread_normals(self.n_weathers) @ mixing.T if mixing.any() else np.zeros((1, 3))

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Groups by their sizes, batteries at the two bins next to their first charge."""
        law, first = np.zeros(self.n_states), self.first_states
        position = self.initial_charge * (self.n_bins - 1)
        for group, size in enumerate(self.group_sizes):
            if self.bins[group] == 1:
                law[first[group]] = size
                continue
            near = np.maximum(0.0, 1.0 - np.abs(np.arange(self.n_bins) - position))
            law[first[group] : first[group] + self.n_bins] = size * near
        total: NDArray[np.float64] = law / law.sum()
        return total

    def state_name(self, state: int) -> str:
        """Type, group within the type if there are several, and charge."""
        group = int(self.constants.group_of[state])
        name = TYPES[int(self.groups["type"][group])]
        if self.groups_per_type > 1:
            name += f" group {group}"
        return f"{name}, charge {self.constants.charge_of[state]:.2f}" if self.bins[group] > 1 else name

    def _group_data(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
        """Mean load and PV generation of every group, (1, H, G) each, kWh; wind generation, (H,), kWh per kW."""
        members = np.eye(len(self.groups))[self.group_of_agent]
        members /= members.sum(axis=0)
        load, sun = day_energy(self.market, self.day)
        wind: NDArray[np.float64] = self.market.days.wind[self.day]
        return (load @ members).astype(np.float32)[None], (sun @ members).astype(np.float32)[None], wind


def _shared_terms() -> list[str]:
    """Names of the constants that are those of :attr:`BinnedEnergyMarket.market`."""
    own = {field.name for field in dataclasses.fields(BinnedEnergyMarket)}
    return [field.name for field in dataclasses.fields(EnergyMarket) if field.name in own - {"discount"}]


def day_energy(market: EnergyMarket, day: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Load and PV generation of every agent in each step of a day of the series, kWh, shape (H, N) each."""
    agents, days = market.agents, market.days
    load = agents["load_scale"] * days.load[(day + agents["shift"]) % days.n_days, :, agents["profile"]].T
    sun = agents["pv_kwp"] * days.pv[day][:, agents["profile"]]
    return load, sun


def day_need(market: EnergyMarket, day: int) -> NDArray[np.float64]:
    """What every agent's load exceeds its own generation by, step by step, on a day of the series, kWh, (N,)."""
    load, sun = day_energy(market, day)
    wind = np.outer(market.days.wind[day], market.agents["wind_kw"])
    need: NDArray[np.float64] = np.maximum(load - sun - wind, 0.0).sum(axis=0, dtype=np.float64)
    return need


def stripes(kinds: NDArray[Any], keys: NDArray[np.float64], n_stripes: int) -> NDArray[np.int64]:
    """Sort each type's agents by a key, and cut them into ``n_stripes`` equal parts.

    Flexible load worth more than the retail tariff is bought at any price, and load worth less is not: of all in
    which agents of a type without batteries differ, this alters most what is best for them. How much charge a
    battery's owner can use itself alters most what it does with that [O].

    Returns
    -------
    Number type * n_stripes + part of each agent, shape (n_agents,); parts may be empty where there are few of a
    type.
    """
    found = np.empty(len(kinds), np.int64)
    for kind in range(len(TYPES)):
        members = np.flatnonzero(kinds == kind)
        order = members[np.argsort(keys[members], kind="stable")]
        found[order] = kind * n_stripes + np.arange(len(order)) * n_stripes // max(1, len(order))
    return found


def spread_normals(n: int) -> NDArray[np.float64]:
    """Points of equal weight that stand for three independent standard normal numbers, shape (n, 3), n >= 4.

    Each coordinate takes all n quantiles in the middle of as many equal parts of the law, in the order in which a
    sequence of even spread goes through them; then means and covariances are made right [O].
    """
    from scipy.special import ndtri  # Here, as it takes long to import.

    places = (np.arange(n)[:, None] * np.array([1.0 / n, *SPREAD_STEPS])) % 1.0
    points = ndtri((places.argsort(axis=0).argsort(axis=0) + 0.5) / n)
    scales = np.linalg.cholesky(points.T @ points / n)
    scaled: NDArray[np.float64] = np.linalg.solve(scales, points.T).T
    return scaled


SPREAD_STEPS = 0.7548776662466927, 0.5698402909980532
"""Steps of that sequence in the last two coordinates: 1 / g and 1 / g^2 of g^3 = g + 1."""


def error_excess(scale: float, nu: float) -> tuple[float, float]:
    """E[(s e)+], in closed form, and E[min((s e)+, 1)], for s = ``scale`` and Student-t distributed e, nu > 1."""
    from scipy import integrate  # Here, as it takes long to import.

    density_at_zero = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
    plain = scale * density_at_zero * nu / (nu - 1)
    if scale == 0.0:
        return 0.0, 0.0

    def density(x: float) -> float:
        return float(density_at_zero * (1 + x * x / nu) ** (-(nu + 1) / 2))

    def beyond(x: float) -> float:
        return (scale * x - 1.0) * density(x)

    cut = plain - integrate.quad(beyond, 1.0 / scale, np.inf)[0]
    return float(plain), float(cut)
