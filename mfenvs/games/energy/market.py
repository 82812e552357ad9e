"""The energy market: prosumers with batteries and flexible loads who trade by an auction in every step of a day.

In every step agents see their forecasts and what is public, choose what their battery does, how much of their
flexible load they want and at which prices; the market is cleared on the *forecast* positions; then load and
generation turn out, and imbalances are settled within the community and with the retailer.

The idea of such a market of typed prosumers is that of "Math Deep Dive: Understanding Mean-Field-Type Games"; its
exact definition, and the constants that the source leaves open ([O]), are ours.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import STEP_MINUTES
from mfenvs.energy.members import AnyMembers
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tariffs import MOST_EUR, AnyTariff
from mfenvs.game import MAX_AGENTS, Game, Rules
from mfenvs.games.energy import market_accounts, market_terms, tables
from mfenvs.games.energy.actions import ACTIONS, action_space
from mfenvs.games.energy.clearing import MOST_TICKS, ORDERS, PRICE, VOLUME, Book, n_levels, reciprocal
from mfenvs.games.energy.community import N_SUMS
from mfenvs.games.energy.conditions import (
    FEED_IN,
    N_SIGNALS,
    RETAIL,
    WEATHER_SEEN,
    MarketConstants,
)
from mfenvs.games.energy.description import Description, described, plain_term
from mfenvs.games.energy.market_accounts import ACCOUNTS
from mfenvs.games.energy.market_members import (
    Played,
    checked_law,
    checked_members,
    draw_members,
    has_vehicles,
    played,
    terms_of,
)
from mfenvs.games.energy.market_rules import CHARGE_PLACES, STATE, market_rules
from mfenvs.games.energy.market_series import AnySeries, read_series
from mfenvs.games.energy.market_snapshot import check_snapshot
from mfenvs.games.energy.market_tariffs import (
    EVENING_CHARGE,
    Tariffs,
    checked_tariffs,
    hourly_charge,
    tariff,
    tariff_tables,
)
from mfenvs.games.energy.observations import ERROR_SCALE, n_features
from mfenvs.games.energy.prosumer_types import (
    LAW,
    PROPORTIONS,
    PROSUMER,
    STORAGE,
    TYPES,
    ProsumerLaw,
    draw_prosumers,
)
from mfenvs.games.energy.traits import IMBALANCES, OBSERVATIONS, PEAKS, PRICES, TIME_UNITS, Traits
from mfenvs.games.squashing import squashed
from mfenvs.games.typed_agents import names_by_type
from mfenvs.rules import plain

PRESETS: dict[str, dict[str, Any]] = {
    "village": {"n_agents": 17},
    "district": {"n_agents": 1_000},
    "city": {"n_agents": 10_000},
    "wind": {"proportions": (0.40, 0.10, 0.35, 0.10, 0.05)},
}
"""Terms of communities that have a name."""

LEAST_EFFICIENCY = 0.01
"""Least one-way battery efficiency."""
MOST_EPISODE_DAYS = 36_500
"""Largest number of days of an episode."""


@dataclasses.dataclass(kw_only=True)
class EnergyMarket(Game):
    """Local energy market of prosumers with batteries.

    N prosumers of five types trade over days of real data; constants and rules are ours [O] where not said. The
    defaults are those of version 1; :class:`mfenvs.games.energy.version_0.EnergyMarketV0` has those of version 0.

    Actions are Box(4): power of the battery in [-1, 1] (charging if positive) and its limit price in EUR/kWh,
    fraction of the flexible load in [0, 1] and its limit price; with electric vehicles Box(6): the charging power
    in [0, 1] and its limit price too; of ``prices="one"`` Box(3): battery, fraction, limit price of both. Or they
    are Discrete(30), a grid of these with one limit price, with action masks; with vehicles Discrete(60).

    Rewards are in EUR: the value of the flexible load less what is paid for the cleared position, for imbalance,
    for battery wear, for settlement, for peaks, and for energy that a vehicle lacks. At the end of the episode the
    charge that a battery lacks is bought at the retail tariff, and what it has too much is sold at the feed-in
    tariff; what a vehicle still needs is bought at the retail tariff [O].

    Raises
    ------
    TypeError, ValueError
        If a constant is not allowed; the message names it.
    """

    n_agents: int = 1_000
    """Number of prosumers N, from 2 to 2^24."""
    horizon: int = 0
    """Steps of an episode, counted from midnight; 0 for all of its days."""
    step_minutes: int = 60
    """Length of a step: 60 or 15 minutes."""
    n_episode_days: int = 1
    """Number of consecutive days of an episode; batteries keep their charge overnight, and daily peaks begin
    anew."""
    preset: str | None = None
    """A community by name: ``village`` (17 agents), ``district`` (1,000), ``city`` (10,000), instead of
    ``n_agents``; ``wind`` (one agent in twenty has a share of a wind turbine), instead of ``proportions`` [O]."""
    actions: str = "box"
    """Action space: ``box`` (continuous) or ``discrete``."""
    orders: str = "interpolated"
    """How the auction fills orders: ``step`` (exact), ``interpolated`` (continuous in the price) or ``linear`` (a
    price that is linear in the net demand); see :mod:`mfenvs.games.energy.clearing`."""
    prices: str = "separate"
    """Limit prices: ``separate`` ones of battery, flexible load and vehicle, surplus generation being offered at
    the feed-in tariff, or ``one`` for all that a prosumer orders; see
    :mod:`mfenvs.games.energy.prosumer_step`."""
    imbalance: str = "pooled"
    """How deviations from the forecast are settled: ``pooled`` (shortages and surpluses of the community are
    matched at the local price, and the rest of the larger side is the retailer's, in proportion), ``individual``
    (all are the retailer's) or ``ex-post`` (the market is cleared on metered load and generation, so that there
    are none)."""
    proportions: tuple[float, ...] = PROPORTIONS
    """Shares of consumers, PV owners, owners of PV and a battery, businesses and wind owners in the population.
    They need not sum to one; numbers of agents are rounded, not drawn."""
    law: ProsumerLaw = LAW
    """The laws of the agents' parameters; a dict of their fields, too."""
    members: AnyMembers | None = dataclasses.field(default=None, repr=False)
    """Members of one's own instead of agents that are drawn: the path of a CSV or Parquet file, a dataframe or a
    dict of columns, whose columns are those of :class:`mfenvs.energy.members.Member`. They set ``n_agents`` and
    ``proportions``; agents are ordered by type. None draws all agents."""
    feed_in: AnyTariff = 0.08
    """Feed-in tariff, which the grid pays for exports, EUR/kWh: a number, 24 numbers, or any other form that
    :func:`mfenvs.energy.tariffs.schedule` reads."""
    retail: AnyTariff = 0.22
    """Retail tariff, which the grid charges for imports, without the network charge, EUR/kWh, in the same forms;
    with the charge above ``feed_in`` in every step."""
    network_charge: AnyTariff = EVENING_CHARGE
    """Network charge, EUR/kWh, which is added to the retail tariff: 24 numbers, one for each hour of the day, one
    number for all hours, or another form of schedule."""
    dynamic_tariffs: bool = False
    """Whether the feed-in tariff is the day-ahead price of the series, which may be negative. The retail tariff is
    then above it by ``retail - feed_in`` and the network charge in every step [O]; both are numbers."""
    peak_charge: float = 0.0
    """Charge on the highest import of each day, EUR/kW. It is paid whenever the day's peak rises, on the rise, by
    those who import then in proportion to what they import."""
    peak_of: str = "community"
    """Whose peak is charged: that of the whole ``community``, or each ``member``'s own at its meter."""
    import_limit_kw: float | None = None
    """Most that the cleared community may import, kW per agent, None for no limit: purchases with a limit price
    are cut in proportion. What inelastic load and imbalances exceed is not cut."""
    export_limit_kw: float | None = None
    """Most that the cleared community may export, kW per agent, None for no limit: sales are cut in proportion, so
    that generation is curtailed and batteries are discharged less."""
    n_ticks: int = 240
    """Number of price steps between the tariffs."""
    width: float = 0.02
    """Range of prices over which an interpolated order is filled, EUR/kWh, at the mean difference of the
    tariffs."""
    intercept: float = 0.2
    """Price of linear orders at a net demand of zero, EUR/kWh."""
    slope: float = 0.05
    """Rise of the price of linear orders with the net demand per agent, EUR/kWh per kW."""
    efficiency: float = 0.95
    """One-way battery efficiency, of charging and of discharging, of all members that state no other one."""
    degradation: float = 0.01
    """Battery wear cost, EUR per kWh charged or discharged."""
    fee: float = 0.0
    """Settlement fee on local trade, EUR/kWh, paid by the buyer and by the seller."""
    initial_charge: float = 0.5
    """State of charge of batteries at the beginning, as a fraction of their capacity."""
    shift_hours: float = 0.0
    """Time in hours for which flexible load that is not served waits before it is lost; 0 if it is lost at once,
    at most 24."""
    ev_share: float = 0.0
    """Share of homes with an electric vehicle; needs ``prices="separate"``."""
    ev_penalty: float = 1.0
    """Cost of the energy that a vehicle lacks when it departs, EUR/kWh."""
    weather_memory: float = 0.8
    """Autocorrelation of the common weather factors from one hour to the next."""
    weather_sd: float | tuple[float, float, float] = (0.05, 0.15, 0.15)
    """Standard deviations of the common weather factors, which are relative changes of all load, all PV and all
    wind generation; one number is that of all three."""
    weather_correlation: str | tuple[float, float, float] = market_terms.FROM_DATA
    """Correlations of the weather factors of load and sun, load and wind, sun and wind; ``data`` for those of the
    series' own anomalies."""
    time_unit: str = "hour"
    """What ``weather_memory``, ``slope`` and observed forecasts count in: ``hour``, or ``step`` whatever its
    length (``slope`` is then per kWh of a step)."""
    observations: str = "full"
    """What agents observe: ``full``, or the ``short`` 30 numbers of version 0; see
    :mod:`mfenvs.games.energy.observations`."""
    series: AnySeries = "embedded"
    """Data: ``embedded`` real days, ``synthetic`` ones, the path of a file that :meth:`MarketSeries.save` wrote,
    or a series in memory."""
    first_day: int = 0
    """First day of the series that is played, counted from 0."""
    n_days: int = 0
    """Number of days, from ``first_day`` on, of which every episode plays ``n_episode_days``; 0 for all that
    follow."""
    excluded_days: tuple[int, ...] = ()
    """Days of these that no episode plays, counted from 0 in the series: those kept apart to test on."""

    agent_dtype: ClassVar[np.dtype[Any]] = PROSUMER
    state_dtype: ClassVar[np.dtype[Any]] = STATE
    n_signals = N_SIGNALS
    account_names = ACCOUNTS

    def __post_init__(self) -> None:
        self._take_preset()
        self._take_members()
        minutes = checks.integer("step_minutes", self.step_minutes, 1)
        self.step_minutes = checks.choice("step_minutes", minutes, STEP_MINUTES)
        self.n_episode_days = checks.integer("n_episode_days", self.n_episode_days, 1, MOST_EPISODE_DAYS)
        steps = self.n_episode_days * 24 * 60 // self.step_minutes
        self.horizon = checks.integer("horizon", self.horizon, 0, steps) or steps
        super().__post_init__()

    def _take_preset(self) -> None:
        """Set the terms of a community that is given by its name."""
        if self.preset is None:
            return
        self.n_agents = checks.integer("n_agents", self.n_agents, 2, MAX_AGENTS)
        self.proportions = market_terms.shares(self.proportions)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, value in PRESETS[market_terms.word("preset", self.preset, tuple(PRESETS))].items():
            given = getattr(self, name)
            if given not in (value, defaults[name]):
                raise ValueError(f"preset {self.preset!r} has {name} = {value!r}, got {given!r}")
            setattr(self, name, value)
        self.preset = None

    def _take_members(self) -> None:
        """Read the table of members, and set what follows from it."""
        self.members = members = checked_members(self.members)
        if members is None:
            return
        self.n_agents = checks.integer("n_agents", self.n_agents, 2, MAX_AGENTS)
        self.proportions = market_terms.shares(self.proportions)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, value in terms_of(members, vars(self), defaults).items():
            setattr(self, name, value)

    def check(self) -> None:
        """Check the terms of the market, and keep them as plain numbers."""
        if self.is_infinite:
            raise ValueError(f"discount must be 1, as a day ends, got {self.discount!r}")
        for name, allowed in (
            ("actions", ACTIONS),
            ("orders", ORDERS),
            ("prices", PRICES),
            ("imbalance", IMBALANCES),
            ("peak_of", PEAKS),
            ("time_unit", TIME_UNITS),
            ("observations", OBSERVATIONS),
        ):
            setattr(self, name, market_terms.word(name, getattr(self, name), allowed))
        self.proportions = market_terms.shares(self.proportions)
        self.law = checked_law(self.law)
        self.n_ticks = checks.integer("n_ticks", self.n_ticks, 1, MOST_TICKS)
        self.intercept = checks.real("intercept", self.intercept, -MOST_EUR, MOST_EUR)
        self.efficiency = checks.real("efficiency", self.efficiency, LEAST_EFFICIENCY, 1.0)
        for name in ("slope", "degradation", "fee", "peak_charge", "ev_penalty"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, MOST_EUR))
        for name in ("initial_charge", "ev_share"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, 1.0))
        for name in ("import_limit_kw", "export_limit_kw"):
            setattr(self, name, market_terms.limit(name, getattr(self, name)))
        self._check_weather()
        days = self.days
        self.shift_hours = checks.real("shift_hours", self.shift_hours, 0.0, 24.0)
        market_terms.steps_of("shift_hours", self.shift_hours, days.step_hours)
        self.first_day = checks.integer("first_day", self.first_day, 0, days.n_days - 1)
        self.n_days = checks.integer("n_days", self.n_days, 0, days.n_days - self.first_day)
        self.excluded_days = market_terms.excluded_days(self.excluded_days, days.n_days)
        self._find_start_days()
        market_terms.check_yields(days)
        self._check_tariffs(days)
        self._check_combinations()
        self._check_optional_rules()

    def _check_weather(self) -> None:
        self.weather_memory = checks.real("weather_memory", self.weather_memory, 0.0, 1.0, exclude_high=True)
        self.weather_sd = market_terms.weather_sd(self.weather_sd)
        self.weather_correlation = market_terms.weather_correlation(self.weather_correlation)

    def _check_tariffs(self, days: MarketSeries) -> None:
        self.feed_in, self.retail = tariff("feed_in", self.feed_in), tariff("retail", self.retail)
        self.dynamic_tariffs = checks.boolean("dynamic_tariffs", self.dynamic_tariffs)
        self.network_charge = hourly_charge(self.network_charge)
        tariffs = checked_tariffs(
            days, self.feed_in, self.retail, self.network_charge, dynamic=self.dynamic_tariffs
        )
        self.width = checks.real("width", self.width, 0.0, exclude_low=True)
        if self.width > tariffs.mean_spread:
            raise ValueError(
                f"width must be at most retail - feed_in = {tariffs.mean_spread!r}, got {self.width!r} (the mean"
                " over all steps, with the network_charge)"
            )

    def _check_combinations(self) -> None:
        """Refuse what needs separate prices, in a market with one price."""
        if self.prices == "separate":
            return
        for name, is_off in (
            ("import_limit_kw", self.import_limit_kw is None),
            ("export_limit_kw", self.export_limit_kw is None),
            ("ev_share", self.ev_share == 0.0),
            ("members", not has_vehicles(self.members, self.ev_share)),
            ("peak_charge", self.peak_charge == 0.0 or self.peak_of == "member"),
        ):
            if not is_off:
                what = "members' vehicles" if name == "members" else f"{name} = {getattr(self, name)!r}"
                raise ValueError(f"prices must be 'separate' in a market with {what}, got {self.prices!r}")

    @functools.cached_property
    def _played(self) -> Played:
        return played(read_series(self.series, self.step_minutes), self.members)

    @property
    def days(self) -> MarketSeries:
        """The series that the market plays, in its steps."""
        return self._played.series

    @functools.cached_property
    def tariffs(self) -> Tariffs:
        """Feed-in and retail tariff of every day and step of the series, EUR/kWh, (n_days, steps) each."""
        charge = hourly_charge(self.network_charge)
        return tariff_tables(self.days, self.feed_in, self.retail, charge, self.dynamic_tariffs)

    def describe(self) -> Description:
        """The terms as keyword arguments from which an equal game can be made; as a text, all it was made with.

        ``print(game.describe())`` shows members by type, tariffs by hour, the span of the series and all terms. In
        the dict a series in memory stays an object; all else is numbers, texts, lists and dicts, as JSON can hold.
        """
        terms = {name: plain_term(value) for name, value in super().describe().items()}
        made_with = functools.partial(described, self, self.agents, self.days, self.played_days, self.tariffs)
        return Description(terms, made_with)

    @property
    def width_in_ticks(self) -> int:
        """Number of ticks over which an interpolated order is filled: ``width``, at least one."""
        return max(1, round(self.width / self.tariffs.mean_spread * self.n_ticks))

    @property
    def traits(self) -> Traits:
        """The options that are compiled into the rules."""
        return Traits(
            actions=self.actions,
            orders=self.orders,
            prices=self.prices,
            imbalance=self.imbalance,
            has_limits=self.import_limit_kw is not None or self.export_limit_kw is not None,
            peak=self.peak_of if self.peak_charge > 0.0 else "",
            shifts=self.shift_hours > 0.0,
            has_vehicles=has_vehicles(self.members, self.ev_share),
            observations=self.observations,
        )

    @property
    def rules(self) -> Rules:
        """The rules for this market's options."""
        return market_rules(self.traits)

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the prosumers, ordered by type; of members what their table leaves open."""
        if self.members is not None:
            return draw_members(self.members, self._played, rng, self.law, self.ev_share, self.efficiency)
        drawn = self.law, self.ev_share, self.efficiency
        return draw_prosumers(self.proportions, self.n_agents, self.days, rng, *drawn)

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.Game.check_snapshot`: agents keep their types, and the day is one of those played."""
        super().check_snapshot(states, signal)
        check_snapshot(states, signal, self.agents["type"], self.played_days, self.days.steps)

    @functools.cached_property
    def agent_names(self) -> list[str]:
        """``<type>_<int>``, counted within each type."""
        return names_by_type(TYPES, self.agents["type"])

    @functools.cached_property
    def constants(self) -> MarketConstants:
        """The series, the tariffs and the terms."""
        days, tariffs = self.days, self.tariffs
        per_hour = round(1 / days.step_hours)
        stride = per_hour if self.time_unit == "hour" else 1
        memory = self.weather_memory ** (1.0 / stride)
        waits = market_terms.steps_of("shift_hours", self.shift_hours, days.step_hours)
        net = tables.community_net(self.agents.view(np.ndarray), days.load, days.pv, days.wind)
        return MarketConstants(
            load=days.load,
            pv=days.pv,
            wind=days.wind,
            feed_in=tariffs.feed_in.astype(np.float32),
            retail=tariffs.retail.astype(np.float32),
            start_days=self._find_start_days(),
            step_hours=np.float32(days.step_hours),
            last_step=self.horizon - 1,
            last_of_days=self.n_episode_days * days.steps - 1,
            degradation=np.float32(self.degradation),
            fee=np.float32(self.fee),
            initial_charge=np.float32(self.initial_charge),
            weather_memory=np.float32(memory),
            weather_renewal=np.float32(math.sqrt(1.0 - memory * memory)),
            weather_mixing=self._weather_mixing.astype(np.float32),
            book=Book(
                self.n_ticks,
                self.width_in_ticks,
                reciprocal(self.width_in_ticks),
                np.float32(self.intercept),
                np.float32(self.slope / (days.step_hours if self.time_unit == "hour" else 1.0)),
            ),
            n_order_cells=self.n_order_cells,
            peak_charge=np.float32(self.peak_charge),
            import_limit=np.float32(_or_infinity(self.import_limit_kw) * days.step_hours),
            export_limit=np.float32(_or_infinity(self.export_limit_kw) * days.step_hours),
            recent_load=tables.sums_before(days.load, waits) if waits else np.zeros((1, 1, 1), np.float32),
            vehicle_penalty=np.float32(self.ev_penalty),
            forecast_stride=stride,
            forecast_memory=np.float32(memory**stride),
            load_ahead=tables.sums_ahead(days.load, stride),
            pv_ahead=tables.sums_ahead(days.pv, stride),
            wind_ahead=tables.sums_ahead(days.wind, stride),
            net_ahead=tables.sums_ahead(net, stride),
        )

    def _find_start_days(self) -> NDArray[np.int64]:
        """Days with which an episode can begin, in order; ValueError if there is none."""
        n_days = self.n_days or self.days.n_days - self.first_day
        return market_terms.start_days(self.first_day, n_days, self.n_episode_days, self.excluded_days)

    @property
    def played_days(self) -> NDArray[np.int64]:
        """Days of the series that episodes play, counted from 0, in order; shape (n,)."""
        return np.unique(self._find_start_days()[:, None] + np.arange(self.n_episode_days))

    @property
    def _weather_mixing(self) -> NDArray[np.float64]:
        first, second, third = np.broadcast_to(self.weather_sd, 3).tolist()
        correlations = market_terms.correlations_in(self.days, self.weather_correlation)
        mixing = tables.mixing_matrix((first, second, third), correlations)
        assert mixing is not None, "correlations were checked, or are those of a sample"
        return mixing

    @property
    def initial(self) -> NDArray[np.float32]:
        """The batteries' first charge."""
        return np.array([self.initial_charge], np.float32)

    @property
    def n_order_cells(self) -> int:
        """Levels of buys and of sells."""
        return 2 * n_levels(self.orders, self.n_ticks, self.width_in_ticks)

    @property
    def n_cells(self) -> int:
        """Levels of buys and of sells, and sums over the community (:mod:`mfenvs.games.energy.community`)."""
        return self.n_order_cells + (N_SUMS if self.traits.counts_sums else 0)

    @property
    def n_places(self) -> int:
        """The types, and ten parts of charge of the storage owners."""
        return len(TYPES) + CHARGE_PLACES - 1

    @property
    def n_features(self) -> int:
        """Length of an observation, which depends on what the market has."""
        return n_features(self.traits)

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Empty batteries and full ones: less than a fifth, at least four fifths."""
        fifth = CHARGE_PLACES // 5
        last = STORAGE + CHARGE_PLACES
        return {"empty": tuple(range(STORAGE, STORAGE + fifth)), "full": tuple(range(last - fifth, last))}

    @property
    def reported(self) -> dict[str, int]:
        """Last price, local trade per agent (kWh) and the load's weather factor; the coming tariffs in EUR/kWh."""
        return {"price": PRICE, "volume": VOLUME, "weather": WEATHER_SEEN, "feed_in": FEED_IN, "retail": RETAIL}

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Box of 3, 4 or 6 numbers, or Discrete of 30 or 60 actions."""
        tariffs = self.tariffs
        lowest, highest = tariffs.feed_in.astype(np.float32).min(), tariffs.retail.astype(np.float32).max()
        return action_space(self.traits, float(lowest), float(highest))

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
        charged = np.float64(np.float32(self.peak_charge)) if self.traits.peak == "community" else 0.0
        market_accounts.audit(accounts, signal, float(charged))


def _or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else limit
