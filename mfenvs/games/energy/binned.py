"""The energy market as a finite game: state of charge in bins, by type and hour, on a given day.

What an agent does and what the market makes of it are the rules of :mod:`mfenvs.games.energy.trading`; here
they are applied to a representative of each group of prosumers and to the charges of a grid. The price is a
functional of the law of (state, action) alone, so this game's mean-field side is the induced mean-field game of
the market with discrete actions, as far as groups stand for their members [O]: with more groups per type it comes
nearer.

Left out are the common weather (a mean-field game has no common noise) and the spread within a group. An agent's
own forecast error is drawn in the simulator and averaged in the mean field.
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
from mfenvs.rules import rule


class BinnedConstants(NamedTuple):
    """What the rules read as ``world.constants``: a market's constants for groups, and the table of states.

    H are the steps, G the groups and S the states.
    """

    load: Any
    """Mean load of each step and group, kWh, (1, H, G)."""
    pv: Any
    """Mean generation of each step and group, wind included, kWh, (1, H, G)."""
    wind: Any
    """Zero: wind is part of ``pv``."""
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
    book: Any
    n_order_cells: Any
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
    bin_width: Any
    """Distance between two bins, as a state of charge."""
    plain_excess: Any
    """E[(s e)+] of each group's relative forecast error s e, (G,)."""
    cut_excess: Any
    """E[min((s e)+, 1)] likewise."""


@rule
def conditions_of(world: Any) -> Any:
    """Conditions of a step on a day without weather."""
    constants = world.constants
    feed_in, retail = constants.feed_in[world.time], constants.retail[world.time]
    return Conditions(0, world.time, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, feed_in, retail)


class BinnedRules(NamedTuple):
    """The rules of a binned market of one kind."""

    count: Rule
    aggregate: Rule
    transition: Rule
    reward: Rule
    step: Rule


@functools.cache
def binned_rules(traits: Traits) -> BinnedRules:
    """The rules of a binned market of one kind."""
    offer, bargain, add_imbalance, settle_imbalance, realise = agent_rules(traits)
    clear, settle_community = clearing_rules(traits.orders).clear, settlement_rule(traits)

    @rule
    def expected_imbalance(state: Any, world: Any) -> Any:
        """Mean shortage and surplus of an agent, over its forecast error, kWh."""
        constants = world.constants
        group = constants.group_of[state]
        data = step_data(constants.groups[group], 0, world.time, constants)
        made = data.sun + data.wind
        # Load turns out higher with a positive error and generation lower; neither goes below zero.
        plain, cut = constants.plain_excess[group], constants.cut_excess[group]
        return data.inelastic * plain + made * cut, data.inelastic * cut + made * plain

    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        constants = world.constants
        member = constants.groups[constants.group_of[state]]
        offer(counts, mass, Battery(constants.charge_of[state]), action, member, world, conditions_of(world))
        short, surplus = expected_imbalance(state, world)
        add_imbalance(counts, mass, short, surplus, world)

    @rule
    def aggregate(world: Any, signal: Any) -> None:
        terms = conditions_of(world)
        clear(world.counts, world.per_agent, terms.feed_in, terms.retail, world.constants.book, signal)
        settle_community(world, signal)

    @rule
    def outcome(state: Any, action: Any, world: Any) -> Any:
        constants = world.constants
        member = constants.groups[constants.group_of[state]]
        return bargain(Battery(constants.charge_of[state]), action, member, world, conditions_of(world))

    @rule
    def position_after(state: Any, stored: Any, constants: Any) -> Any:
        """Change of an agent's charge, in bins."""
        capacity = constants.groups[constants.group_of[state]].capacity
        if capacity <= ZERO:
            return stored * ZERO
        return (stored / capacity - constants.charge_of[state]) / constants.bin_width

    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Move to the two bins next to the new charge, with probabilities such that its mean is right."""
        constants = world.constants
        if constants.group_of[next_state] != constants.group_of[state]:
            return ZERO
        moved = position_after(state, outcome(state, action, world).stored, constants)
        return max(ONE - abs(moved - (next_state - state)), ZERO)

    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        terms, got = conditions_of(world), outcome(state, action, world)
        short, surplus = expected_imbalance(state, world)
        metered = metered_amounts(got.data, terms, ZERO)
        settled = settle_imbalance(short, surplus, metered, world, terms)
        return reward_of(got, settled.payment + settled.fee)

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        constants = world.constants
        got, member = outcome(state, action, world), constants.groups[constants.group_of[state]]
        moved = position_after(state, got.stored, constants)
        lower = math.floor(moved)
        bins = lower + (1 if uniform(key, 0) < moved - np.float32(lower) else 0)
        error = member.error_scale * student_t(key, 1, member.degrees_of_freedom)
        actual = realise(got.data, error, world, conditions_of(world))
        return state + bins, reward_of(got, actual.payment + actual.fee)

    return BinnedRules(count, aggregate, transition, reward, step)


@rule
def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """Mask actions as in the market, for a group's representative."""
    constants = public.constants
    member = constants.groups[constants.group_of[state]]
    return market_allowed(action, Battery(constants.charge_of[state]), member, public)


MOST_BINS = 10_000
"""Largest number of states of charge."""
MOST_GROUPS_PER_TYPE = 1_000
"""Largest number of groups of a type."""


@dataclasses.dataclass(kw_only=True)
class BinnedEnergyMarket(FiniteGame):
    """Local energy market with states of charge in bins.

    A finite game whose states are groups of prosumers and their batteries' charges, on one day; its mean-field
    game is that of :class:`EnergyMarket` with discrete actions.

    Prosumers are put into groups, ``groups_per_type`` of each type, by the value of their flexible load; a group's
    representative has the means of its members' parameters and data. Every episode draws who is in which group.

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
    series: AnySeries = EnergyMarket.series
    """Data: ``embedded`` real days, ``synthetic`` ones, the path of a file that ``MarketSeries.save`` wrote, or a
    series in memory."""

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("unused", np.float32)])
    n_actions = N_DISCRETE
    n_signals = N_COMMUNITY
    allowed = staticmethod(allowed)
    market_class: ClassVar[type[EnergyMarket]] = EnergyMarket
    """The market of N agents of which this is the image."""
    reported: ClassVar[dict[str, int]] = {"price": PRICE, "volume": VOLUME}

    def check(self) -> None:
        """Check the terms of the game, and keep them as plain numbers."""
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as a day ends, got {self.discount!r}")
        self.groups_per_type = checks.integer("groups_per_type", self.groups_per_type, 1, MOST_GROUPS_PER_TYPE)
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
        """The market of which this is the image, with discrete actions, on the given day without weather."""
        terms = {name: getattr(self, name) for name in _shared_terms()}
        return self.market_class(**terms, actions="discrete", weather_sd=0.0, first_day=self.day, n_days=1)

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
    def transition(self) -> Rule:
        """Charge or discharge a battery."""
        return binned_rules(self.market.traits).transition

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
            Market whose agents are sorted into this game's groups, by :func:`value_stripes`.

        Raises
        ------
        ValueError
            If an agent belongs to a group of which :attr:`market` has no member.
        """
        stripes, known = value_stripes(market, self.groups_per_type), self._known_stripes
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
        return np.unique(value_stripes(self.market, self.groups_per_type))

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
        table["wind_kw"] = 0.0
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
        load, generation = self._group_data()
        group_of = np.repeat(np.arange(len(self.groups)), self.bins)
        charge = np.concatenate([np.linspace(0, 1, n) if n > 1 else np.zeros(1) for n in self.bins])
        scales, nus = self.groups["error_scale"], self.groups["degrees_of_freedom"]
        excess = np.array([error_excess(float(s), float(nu)) for s, nu in zip(scales, nus, strict=True)])
        return BinnedConstants(
            load=load,
            pv=generation,
            wind=np.zeros(load.shape[:2], np.float32),
            feed_in=terms.feed_in[self.day],
            retail=terms.retail[self.day],
            step_hours=terms.step_hours,
            last_step=self.horizon - 1,
            degradation=terms.degradation,
            fee=terms.fee,
            initial_charge=terms.initial_charge,
            weather_memory=terms.weather_memory,
            book=Book(*terms.book),
            n_order_cells=terms.n_order_cells,
            import_limit=terms.import_limit,
            export_limit=terms.export_limit,
            vehicle_penalty=terms.vehicle_penalty,
            groups=self.groups,
            group_of=group_of.astype(np.int32),
            charge_of=charge.astype(np.float32),
            bin_width=np.float32(1.0 / (self.n_bins - 1)),
            plain_excess=excess[:, 0].astype(np.float32),
            cut_excess=excess[:, 1].astype(np.float32),
        )

    @property
    def n_cells(self) -> int:
        """Levels of buys and of sells, and sums over the community."""
        return self.market.n_cells

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

    def _group_data(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean load and generation of every group, (1, H, G) each, in kWh."""
        agents, days, day = self.market.agents, self.market.days, self.day
        load = agents["load_scale"] * days.load[(day + agents["shift"]) % days.n_days, :, agents["profile"]].T
        made = agents["pv_kwp"] * days.pv[day][:, agents["profile"]] + np.outer(days.wind[day], agents["wind_kw"])
        members = np.eye(len(self.groups))[self.group_of_agent]
        members /= members.sum(axis=0)
        return tuple((data @ members).astype(np.float32)[None] for data in (load, made))  # type: ignore[return-value]


def _shared_terms() -> list[str]:
    """Names of the constants that are those of :attr:`BinnedEnergyMarket.market`."""
    own = {field.name for field in dataclasses.fields(BinnedEnergyMarket)}
    return [field.name for field in dataclasses.fields(EnergyMarket) if field.name in own - {"discount"}]


def value_stripes(market: EnergyMarket, n_stripes: int) -> NDArray[np.int64]:
    """Sort each type's agents by the value of their flexible load, and cut them into ``n_stripes`` equal parts.

    Flexible load worth more than the retail tariff is bought at any price, and load worth less is not: of all in
    which agents of a type differ, this alters most what is best for them.

    Returns
    -------
    Number type * n_stripes + part of each agent, shape (n_agents,); parts may be empty where there are few of a
    type.
    """
    agents = market.agents
    stripes = np.empty(len(agents), np.int64)
    for kind in range(len(TYPES)):
        members = np.flatnonzero(agents["type"] == kind)
        order = members[np.argsort(agents["flexible_value"][members], kind="stable")]
        stripes[order] = kind * n_stripes + np.arange(len(order)) * n_stripes // max(1, len(order))
    return stripes


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
