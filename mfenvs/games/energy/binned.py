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
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.members import AnyMembers
from mfenvs.energy.tariffs import AnyTariff
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rule
from mfenvs.games.energy.actions import N_DISCRETE
from mfenvs.games.energy.binned_averages import error_excess, spread_normals
from mfenvs.games.energy.binned_groups import GROUPINGS, day_energy, stripes_of
from mfenvs.games.energy.binned_rules import BinnedConstants, allowed, binned_rules
from mfenvs.games.energy.clearing import Book
from mfenvs.games.energy.community import N_COMMUNITY
from mfenvs.games.energy.description import Description, described, plain_term
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_series import AnySeries, read_series
from mfenvs.games.energy.prosumer_types import COMMERCIAL, STORAGE, TYPES, ProsumerLaw

MOST_BINS = 10_000
"""Largest number of states of charge."""
MOST_GROUPS_PER_TYPE = 1_000
"""Largest number of groups of a type."""
FEWEST_WEATHERS, MOST_WEATHERS = 4, 1_000
"""Smallest and largest number of weathers."""


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
        stripes, known = stripes_of(market, *self._grouping), self._known_stripes
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
        return np.unique(stripes_of(self.market, *self._grouping))

    @property
    def _grouping(self) -> tuple[int, str, int]:
        """How agents are put into groups, as :func:`.binned_groups.stripes_of` takes it."""
        return self.groups_per_type, self.groups_by, self.day

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
