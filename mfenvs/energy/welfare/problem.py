"""A day of an energy community as a planner knows it, and its welfare without local trade."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

Array = NDArray[np.float64]

MOST_NUMBER = 1e12
"""Largest energy (kWh), price (EUR/kWh) or carbon intensity of a problem: sums of products with it stay finite."""

LEAST_EFFICIENCY = 1e-6
"""Least one-way efficiency of a battery: its reciprocal is a coefficient of the program."""

ROUNDING = 1e-9
"""Differences of welfare below this part of it are rounding."""


@dataclasses.dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A day of an energy community of N agents in H steps, as the planner knows it.

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

    Raises
    ------
    TypeError
        If an array does not hold numbers, or ``curtailment`` is not a bool.
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
        object.__setattr__(self, "curtailment", checks.boolean("curtailment", self.curtailment))

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
        check_within(name, array, low, high, high_name=high_name)
        array.flags.writeable = False
        object.__setattr__(self, name, array)


class NoTrade(NamedTuple):
    """Each agent's welfare and exchange with the grid without local trade and with idle storage."""

    welfare: Array
    """Welfare of each agent, EUR, shape (N,)."""
    net: Array
    """Net import of each agent from the grid, kWh, negative for an export, shape (N, H)."""


def no_trade(problem: PlanningProblem) -> NoTrade:
    """The community without local trade, with idle storage.

    Every agent nets its load against its own generation, buys what is missing at the retail tariff and sells what
    is left at the feed-in tariff. It serves its flexible demand where that is worth more than the energy costs:
    the feed-in tariff for its own surplus, the retail tariff beyond. With curtailment it curtails what it would
    have to pay for, so that its surplus is worth at least 0; where the retail tariff is negative, it curtails all
    of its generation.

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
    surplus = np.maximum(generation - problem.load, 0.0)
    served = np.where(value > feed_in, np.minimum(problem.flexible, surplus), 0.0)
    served = np.where(value > problem.retail, problem.flexible, served)
    net = problem.load + served - generation
    paid = np.where(net > 0, problem.retail, feed_in) * net
    return NoTrade((value * served - paid).sum(axis=1), net)


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
    unless feed_in (1 - efficiency^2) + degradation (1 + efficiency^2) < 0, in particular never where feed_in >= 0.

    Raises
    ------
    TypeError
        If ``problem`` is no :class:`PlanningProblem`.
    """
    check_problem(problem)
    round_trip = problem.efficiency[:, None] ** 2
    gain = -problem.feed_in * (1 - round_trip) - problem.degradation[:, None] * (1 + round_trip)
    return (gain > 0) & has_battery(problem)[:, None]


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
) -> None:
    """Check that every value is finite and within [low, high]."""
    wrong = ~np.isfinite(array) | (array < low) | (array > high)
    if not wrong.any():
        return
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    most = float(np.broadcast_to(high, array.shape)[where])
    limit = f"{high_name} = {most:g}" if high_name else f"{most:g}"
    raise ValueError(
        f"{name}[{', '.join(map(str, where))}] must be a finite number in [{low:g}, {limit}],"
        f" got {float(array[where])!r}"
    )
