"""A day of an energy community as a planner knows it, and its welfare without local trade."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.welfare.charging_sessions import NO_SESSIONS, ChargingSessions

Array = NDArray[np.float64]

MOST_NUMBER = 1e12
"""Largest energy (kWh), price (EUR/kWh) or carbon intensity of a problem: sums of products with it stay finite."""

MOST_STEPS = 10**6
"""Largest index of a day, and largest number of steps by which demand is shifted."""

LEAST_EFFICIENCY = 1e-6
"""Least one-way efficiency of a battery: its reciprocal is a coefficient of the program."""

ROUNDING = 1e-9
"""Differences of welfare below this part of it are rounding."""


PEAKS = ("community", "member")
"""Whose daily peak can be charged."""

SETTLEMENT = -1
"""In ``day`` of a problem: a step that is of no day, in which batteries are settled and nothing else happens."""


@dataclasses.dataclass(frozen=True, eq=False)
class PlanningProblem:
    """One day or several of an energy community of N agents in H steps, as the planner knows them.

    Parameters
    ----------
    load:
        Inelastic demand, which must be served, kWh in each step, shape (N, H), >= 0.
    generation:
        Energy generated, kWh in each step, shape (N, H), >= 0.
    flexible:
        Flexible demand, which may be served or not in its step, in any fraction, kWh, shape (N, H), >= 0.
    flexible_value:
        Worth of flexible demand that is served, EUR/kWh, shape (N,), >= 0.
    capacity:
        Battery capacity, kWh, shape (N,), >= 0; 0 for an agent without a battery.
    power:
        Largest energy that the battery draws, and that it delivers, in a step, at its terminals: kWh, shape (N,),
        >= 0.
    efficiency:
        One-way battery efficiency, shape (N,), in [1e-6, 1]: charging stores efficiency x energy drawn,
        discharging delivers efficiency x energy taken out.
    soc0:
        Initial state of charge, kWh, shape (N,), in [0, capacity].
    degradation:
        Battery wear, EUR per kWh of throughput (energy drawn + energy delivered, both at the terminals), shape
        (N,), >= 0.
    retail:
        Retail tariff, which imports from the grid cost, EUR/kWh, shape (H,); it may be negative.
    feed_in:
        Feed-in tariff, which exports to the grid earn, EUR/kWh, shape (H,), at most ``retail``; it may be
        negative.
    co2:
        Carbon intensity of the grid's energy, kg CO2 per kWh imported, shape (H,), >= 0.
    curtailment:
        Whether generation may be curtailed, that is, left unused.
    soc_end:
        Least state of charge at the end, kWh, shape (N,), in [0, capacity]; by default ``soc0``.
    day:
        Index of the day of each step, shape (H,), integers that do not fall: peaks are counted by day. -1
        (:data:`SETTLEMENT`) marks a step of no day: its import adds to no peak, and no waiting flexible demand is
        served. All steps are of day 0 by default.
    step_hours:
        Length of a step in hours, > 0.
    peak_charge:
        Charge for the largest mean power of import within a step, on each day, EUR/kW, >= 0.
    peak_of:
        Whose peak is charged: that of the ``community``, or each ``member``'s own at its meter.
    peak_so_far:
        Peak that each day has reached before the first step and that is paid, kW, >= 0, shape (number of days,) or
        of members (N, number of days): only what goes beyond it is charged. 0 by default.
    import_limit, export_limit:
        Largest import and export of the community in each step, kWh, a number or shape (H,), >= 0; inf for no
        limit, which is the default.
    shift_steps:
        Number of steps w by which flexible demand may be served later than it arises, >= 0: demand of step t is
        served in any of the steps t to t + w, in parts, or not at all. 0 by default: at once or never.
    backlog:
        Flexible demand that arose before the first step, kWh, shape (N, w), >= 0: column k arose in step k - w,
        and may be served up to step k. 0 by default.
    sessions:
        Charging sessions of electric vehicles; none by default.

    Raises
    ------
    TypeError
        If an array does not hold numbers, ``curtailment`` is not a bool, or ``sessions`` are none.
    ValueError
        If an array has another shape, or a value is not finite, beyond 1e12 in size, or not allowed; the message
        says where.
    """

    load: Array
    generation: Array
    flexible: Array
    flexible_value: Array
    capacity: Array
    power: Array
    efficiency: Array
    soc0: Array
    degradation: Array
    retail: Array
    feed_in: Array
    co2: Array
    curtailment: bool = False
    soc_end: Array | None = None
    day: NDArray[np.int64] | None = None
    step_hours: float = 1.0
    peak_charge: float = 0.0
    peak_of: str = "community"
    peak_so_far: Array | None = None
    import_limit: Array | float = math.inf
    export_limit: Array | float = math.inf
    shift_steps: int = 0
    backlog: Array | None = None
    sessions: ChargingSessions = NO_SESSIONS

    def __post_init__(self) -> None:
        load = checks.numbers("load", self.load)
        if load.ndim != 2 or 0 in load.shape:
            raise ValueError(f"load must have shape (N, H) with N, H >= 1, got {load.shape}")
        agents, steps = load.shape[:1], load.shape[1:]
        for name in ("load", "generation", "flexible"):
            self._keep(name, load.shape, 0.0)
        for name in ("flexible_value", "capacity", "power", "degradation"):
            self._keep(name, agents, 0.0)
        self._keep("efficiency", agents, LEAST_EFFICIENCY, 1.0)
        self._keep("soc0", agents, 0.0, self.capacity, high_name="capacity")
        self._keep("retail", steps)
        self._keep("feed_in", steps, -MOST_NUMBER, self.retail, high_name="retail")
        self._keep("co2", steps, 0.0)
        keep = functools.partial(object.__setattr__, self)
        keep("curtailment", checks.boolean("curtailment", self.curtailment))
        keep("step_hours", checks.real("step_hours", self.step_hours, 0.0, MOST_NUMBER, exclude_low=True))
        keep("peak_charge", checks.real("peak_charge", self.peak_charge, 0.0, MOST_NUMBER))
        keep("shift_steps", checks.integer("shift_steps", self.shift_steps, 0, MOST_STEPS))
        checks.choice("peak_of", self.peak_of, PEAKS)
        if self.soc_end is not None:
            self._keep("soc_end", agents, 0.0, self.capacity, high_name="capacity")
        if self.day is not None:
            keep("day", _checked_days(self.day, steps))
        if self.peak_so_far is not None:
            self._keep("peak_so_far", self._peak_shape, 0.0)
        for name in ("import_limit", "export_limit"):
            self._keep(name, np.shape(getattr(self, name)) and steps, 0.0, np.inf)
        if self.backlog is not None:
            self._keep("backlog", (*agents, self.shift_steps), 0.0)
        if not isinstance(self.sessions, ChargingSessions):
            raise TypeError(f"sessions must be ChargingSessions, got {checks.shown(self.sessions)}")
        self.sessions.check_within(self.n_agents, self.n_steps)

    @property
    def end_soc(self) -> Array:
        """Least state of charge at the end, kWh, shape (N,)."""
        return self.soc0 if self.soc_end is None else self.soc_end

    @property
    def days(self) -> NDArray[np.int64]:
        """Index of the day of each step, shape (H,); :data:`SETTLEMENT` in a step of no day."""
        return np.zeros(self.n_steps, np.int64) if self.day is None else self.day

    @property
    def n_days(self) -> int:
        """Number of days."""
        return int(self.days.max()) + 1

    @property
    def has_member_peaks(self) -> bool:
        """Whether members are charged for peaks of their own."""
        return self.peak_of == "member" and self.peak_charge > 0

    @property
    def _peak_shape(self) -> tuple[int, ...]:
        return (self.n_agents, self.n_days) if self.peak_of == "member" else (self.n_days,)

    @property
    def paid_peak(self) -> Array:
        """Peak of each day that is paid already, kW, shape (number of days,) or of members (N, number of days)."""
        return np.zeros(self._peak_shape) if self.peak_so_far is None else self.peak_so_far

    @property
    def arrivals(self) -> Array:
        """Flexible demand by the step in which it arises, the backlog first: kWh, shape (N, shift_steps + H)."""
        if self.backlog is None:
            return np.pad(self.flexible, ((0, 0), (self.shift_steps, 0)))
        return np.concatenate([self.backlog, self.flexible], axis=1)

    @property
    def n_agents(self) -> int:
        """Number of agents N."""
        return len(self.load)

    @property
    def n_steps(self) -> int:
        """Number of steps H."""
        return len(self.retail)

    def _keep(
        self,
        name: str,
        shape: tuple[int, ...],
        low: float = -MOST_NUMBER,
        high: Array | float = MOST_NUMBER,
        *,
        high_name: str = "",
    ) -> None:
        """Replace a field by a checked, read-only float64 copy."""
        array = checks.numbers(name, getattr(self, name), shape).copy()
        check_within(name, array, low, high, high_name=high_name, infinite=np.isposinf(high).all())
        array.flags.writeable = False
        object.__setattr__(self, name, array)


def _checked_days(value: Any, steps: tuple[int, ...]) -> NDArray[np.int64]:
    """Indices of days by step, a read-only copy."""
    day = checks.indices("day", value, steps, SETTLEMENT, MOST_STEPS).copy()
    if (np.diff(day[day != SETTLEMENT]) < 0).any():
        raise ValueError(f"day must not fall from one step to a later one, got {checks.shown(value)}")
    day.flags.writeable = False
    return day


class NoTrade(NamedTuple):
    """Each agent's welfare and exchange with the grid without local trade and with idle storage."""

    welfare: Array
    """Welfare of each agent, EUR, shape (N,)."""
    net: Array
    """Net import of each agent from the grid, kWh, negative for an export, shape (N, H)."""


def no_trade(problem: PlanningProblem) -> NoTrade:
    """The community without local trade, with idle storage.

    Every agent nets its load against its own generation, buys what is missing at the retail tariff and sells what
    is left at the feed-in tariff. Electric vehicles are charged from their arrival on, as fast as they can be. It
    serves its flexible demand at once, where that is worth more than the energy costs: the feed-in tariff for its
    own surplus, the retail tariff beyond. With curtailment it curtails what it would have to pay for, so that its
    surplus is worth at least 0; where the retail tariff is negative, it curtails all of its generation.

    The community's peak is that of its net import, as a transformer measures it, and every rise of a day's peak is
    paid by those who import in that step, in proportion. Limits of the exchange are not kept [O].

    Raises
    ------
    TypeError
        If ``problem`` is no :class:`PlanningProblem`.
    """
    check_problem(problem)
    generation, feed_in = problem.generation, problem.feed_in
    if problem.curtailment:
        generation = np.where(problem.retail < 0, 0.0, generation)
        feed_in = np.maximum(feed_in, 0.0)
    value = problem.flexible_value[:, None]
    vehicles, missing = problem.sessions.charged_on_arrival(problem.n_steps)
    firm = problem.load + problem.sessions.of_agents(vehicles, problem.n_agents)
    surplus = np.maximum(generation - firm, 0.0)
    served = np.where(value > feed_in, np.minimum(problem.flexible, surplus), 0.0)
    served = np.where(value > problem.retail, problem.flexible, served)
    net = firm + served - generation
    paid = np.where(net > 0, problem.retail, feed_in) * net
    welfare = (value * served - paid).sum(axis=1) - _peak_payments(problem, net)
    lost = problem.sessions.penalty * missing
    return NoTrade(welfare - np.bincount(problem.sessions.agent, lost, problem.n_agents), net)


def _peak_payments(problem: PlanningProblem, net: Array) -> Array:
    """What each agent pays for the days' peaks where all import ``net`` (N, H) kWh: EUR, shape (N,)."""
    paid = np.zeros(len(net))
    reached = problem.paid_peak * problem.step_hours
    if problem.peak_of == "member":
        for day in range(problem.n_days):
            highest = net[:, problem.days == day].max(axis=1)
            paid += problem.peak_charge * np.maximum(highest - reached[:, day], 0.0) / problem.step_hours
        return paid
    for step in np.flatnonzero(problem.days != SETTLEMENT):
        day, total = problem.days[step], net[:, step].sum()
        if total > reached[day]:
            price = problem.peak_charge * (total - reached[day]) / problem.step_hours
            imports = np.maximum(net[:, step], 0.0)
            paid += price * imports / imports.sum()
            reached[day] = total
    return paid


def no_trade_welfare(problem: PlanningProblem) -> float:
    """Welfare W_0 of the community without local trade, EUR: the sum over the agents of :func:`no_trade`."""
    return float(no_trade(problem).welfare.sum())


def efficiency(welfare: float, no_trade: float, best: float) -> float:
    """Efficiency (W - W_0) / (W* - W_0): the part of the possible gain that was realised [S].

    Parameters
    ----------
    welfare:
        Realised welfare W, EUR.
    no_trade:
        Welfare W_0 without local trade and with idle storage, EUR.
    best:
        Welfare W* of the planner's optimum, EUR.

    Returns
    -------
    float
        1 for the planner's optimum, 0 for no gain at all; negative if W is below W_0.

    Raises
    ------
    TypeError, ValueError
        If one is no finite number, or W* - W_0 is not positive beyond rounding, so that there is nothing to gain.
    """
    welfare, no_trade = checks.real("welfare", welfare), checks.real("no_trade", no_trade)
    best = checks.real("best", best)
    if best - no_trade <= ROUNDING * max(abs(best), abs(no_trade)):
        raise ValueError(
            f"best must exceed no_trade for an efficiency, got best = {best!r} and no_trade = {no_trade!r}: there"
            " is nothing to gain on this day"
        )
    return (welfare - no_trade) / (best - no_trade)


def burning_pays(problem: PlanningProblem) -> NDArray[np.bool_]:
    """Where charging and discharging a battery in the same step could raise the welfare, bool, shape (N, H).

    Drawing x kWh and delivering efficiency^2 x leaves the state of charge alone, burns (1 - efficiency^2) x and
    causes the wear of (1 + efficiency^2) x. A kWh that is burned is worth -feed_in at most. So it cannot pay
    unless feed_in (1 - efficiency^2) + degradation (1 + efficiency^2) < 0, in particular never where feed_in >= 0;
    or unless it relieves an export at its limit, where generation may not be curtailed instead.

    Raises
    ------
    TypeError
        If ``problem`` is no :class:`PlanningProblem`.
    """
    check_problem(problem)
    round_trip = problem.efficiency[:, None] ** 2
    gain = -problem.feed_in * (1 - round_trip) - problem.degradation[:, None] * (1 + round_trip)
    relieves = np.isfinite(problem.export_limit) & (not problem.curtailment) & (round_trip < 1)
    pays: NDArray[np.bool_] = ((gain > 0) | relieves) & has_battery(problem)[:, None]
    return pays


def check_problem(problem: object) -> None:
    """Raise a TypeError unless ``problem`` is a :class:`PlanningProblem`."""
    if not isinstance(problem, PlanningProblem):
        raise TypeError(f"problem must be a PlanningProblem, got {problem!r}")


def has_battery(problem: PlanningProblem) -> NDArray[np.bool_]:
    """Whether each agent has a battery that can be used, shape (N,)."""
    return (problem.capacity > 0) & (problem.power > 0)


def check_within(
    name: str,
    array: Array,
    low: float,
    high: Array | float = np.inf,
    *,
    high_name: str = "",
    infinite: bool | np.bool_ = False,
) -> None:
    """Check that every value is within [low, high], and finite unless it may be ``infinite``."""
    wrong = ~((array >= low) & (array <= high)) | (np.isinf(array) & (not infinite))
    if not wrong.any():
        return
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    most = float(np.broadcast_to(high, array.shape)[where])
    limit = f"{high_name} = {most:g}" if high_name else f"{most:g}"
    place = f"{name}[{', '.join(map(str, where))}]" if where else name
    raise ValueError(
        f"{place} must be a {'' if infinite else 'finite '}number in [{low:g},"
        f" {limit}], got {float(array[where])!r}"
    )
