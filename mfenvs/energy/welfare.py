"""Welfare of a day's energy community: the planner's optimum, the no-trade baseline, efficiency, the Pareto front.

The planner knows the day (perfect foresight) and schedules every battery and all flexible demand. Local trade is a
transfer between agents and drops out, so that only the pooled exchange with the grid is paid for [S: efficiency
against a MILP optimum; R: the terminal state of charge of each agent is at least its initial one]. The linear
programs are solved by HiGHS through :func:`scipy.optimize.milp`.

Charging and discharging a battery in the same step burns energy. That can only pay where energy has a negative
price below the wear that it causes (:func:`burning_pays`) or where it relieves the peak of the export. Everywhere
else an exchange argument shows that the linear program is exact: replacing both flows by the one that moves the
state of charge by as much lowers the community's net load and the throughput, hence never the welfare.
"""

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from mfenvs import checks

Array = NDArray[np.float64]

OBJECTIVES = ("cost", "peak", "co2")
"""What a Pareto front may be over: EUR, kWh of the step of the largest exchange, kg."""

ROUNDING = 1e-9
"""Differences of welfare below this part of it are rounding."""

SLACK = 1e-7
"""How far a bound on an objective is relaxed, relatively: the solver's own tolerance of feasibility."""

AUGMENTATION = 1e-5
"""Weight of the objectives that are bounded in the one that is minimised, each over its range."""

SAME_POINT = 1e-5
"""Points of a front that differ by less than this part of every objective's range are one."""

OPTIMAL, LIMIT_REACHED, INFEASIBLE = 0, 1, 2
"""Status of :func:`scipy.optimize.milp`."""


@dataclasses.dataclass(frozen=True, eq=False)
class PlanningProblem:
    """A day of an energy community of N agents in H steps, as the planner knows it.

    Parameters
    ----------
    load:
        Inelastic demand, kWh of each step, shape (N, H), >= 0.
    generation:
        kWh of each step, shape (N, H), >= 0.
    flexible:
        Demand that may be served or not in its step, kWh, shape (N, H), >= 0; any fraction may be served.
    flexible_value:
        What serving flexible demand is worth, EUR/kWh, shape (N,), >= 0.
    capacity:
        Of the battery, kWh, shape (N,), >= 0; 0 for none.
    power:
        Most that the battery draws, and most that it delivers, at its terminals, kWh per step, shape (N,), >= 0.
    efficiency:
        One way, shape (N,), in (0, 1]: charging stores efficiency x drawn, discharging delivers efficiency x taken
        out.
    soc0:
        Initial state of charge, kWh, shape (N,), in [0, capacity].
    degradation:
        EUR per kWh of throughput, which is drawn + delivered, both at the terminals; shape (N,), >= 0.
    retail, feed_in:
        Tariffs of the grid for import and export, EUR/kWh, shape (H,); feed_in <= retail, and either may be
        negative.
    co2:
        Of the grid's energy, kg per kWh of import, shape (H,), >= 0.
    curtailment:
        Whether generation may be curtailed.

    Raises
    ------
    TypeError
        If an array does not hold numbers, or ``curtailment`` is not a bool.
    ValueError
        If an array has another shape, or a value that is not allowed; the message says where.
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
        load = np.asarray(self.load)
        if load.ndim != 2 or 0 in load.shape:
            raise ValueError(f"load must have shape (N, H) with N, H >= 1, got {load.shape}")
        agents, steps = load.shape[:1], load.shape[1:]
        for name in ("load", "generation", "flexible"):
            self._keep(name, load.shape, 0.0)
        for name in ("flexible_value", "capacity", "power", "degradation"):
            self._keep(name, agents, 0.0)
        self._keep("efficiency", agents, 0.0, np.ones(agents), exclude_low=True)
        self._keep("soc0", agents, 0.0, self.capacity, high_name="capacity")
        self._keep("retail", steps)
        self._keep("feed_in", steps, -np.inf, self.retail, high_name="retail")
        self._keep("co2", steps, 0.0)
        if not isinstance(self.curtailment, bool | np.bool_):
            raise TypeError(f"curtailment must be True or False, got {self.curtailment!r}")

    @property
    def n_agents(self) -> int:
        """N."""
        return len(self.load)

    @property
    def n_steps(self) -> int:
        """H."""
        return len(self.retail)

    def _keep(
        self,
        name: str,
        shape: tuple[int, ...],
        low: float = -np.inf,
        high: Array | float = np.inf,
        *,
        exclude_low: bool = False,
        high_name: str = "",
    ) -> None:
        """Replace a field by a read-only float64 copy, checked."""
        array = np.array(checks.shaped(name, getattr(self, name), shape, np.float64))
        _check_within(name, array, low, high, exclude_low=exclude_low, high_name=high_name)
        array.flags.writeable = False
        object.__setattr__(self, name, array)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A schedule of the community, and what is known of its optimality.

    The flows hold to the solver's tolerance, 1e-7 of the largest energy of one agent; ``soc``, ``imported`` and
    ``exported`` are computed from them, so that the balances hold to rounding.
    """

    status: str
    """``"optimal"``, or ``"limit"`` if the time limit was reached."""
    method: str
    """``"lp"`` if the linear program is exact here, ``"milp"`` if directions had to be chosen, ``"relaxation"`` if
    they were left free though they matter (only of :func:`pareto_front` and :func:`plan_scenarios`)."""
    welfare: float
    """W of this schedule, EUR."""
    bound: float
    """Upper bound of the optimal welfare, EUR (of a Pareto point: its own welfare)."""
    mip_gap: float
    """(bound - welfare) / |welfare|, 0 if the linear program is exact."""
    charge: Array
    """Drawn by each battery at its terminals, kWh, shape (N, H)."""
    discharge: Array
    """Delivered by each battery at its terminals, kWh, shape (N, H)."""
    soc: Array
    """State of charge before each step and at the end, kWh, shape (N, H + 1)."""
    served: Array
    """Flexible demand served, kWh, shape (N, H)."""
    curtailed: Array
    """Of all the community's generation, kWh, shape (H,)."""
    imported: Array
    """From the grid, kWh, shape (H,)."""
    exported: Array
    """To the grid, kWh, shape (H,)."""
    emissions: float
    """co2 x imported, kg."""

    @property
    def peak(self) -> float:
        """Largest import or export of a step, kWh."""
        return float(max(self.imported.max(), self.exported.max()))


@dataclasses.dataclass(frozen=True, eq=False)
class ParetoFront:
    """Points of which none is at least as good as another in every objective, by the first objective ascending."""

    objectives: tuple[str, ...]
    values: Array
    """All minimised: cost = -W in EUR, peak in kWh per step, co2 in kg; shape (n points, n objectives)."""
    plans: tuple[Plan, ...]
    payoff: Array
    """Row k: the objectives where the k-th is minimised first, then the others in their order; the ideal point is
    its diagonal."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScenarioPlan:
    """Storage decided before the scenario of the day is known."""

    method: str
    """As of :class:`Plan`: ``"lp"`` or ``"relaxation"``."""
    objective: float
    """(1 - gamma) E[cost] + gamma CVaR_alpha[cost], EUR."""
    costs: Array
    """-W in each scenario, EUR, shape (K,)."""
    charge: Array
    """kWh, shape (N, H)."""
    discharge: Array
    """kWh, shape (N, H)."""
    soc: Array
    """kWh, shape (N, H + 1)."""
    served: Array
    """Flexible demand served in each scenario, kWh, shape (K, N, H)."""


def plan(problem: PlanningProblem, *, mip_gap: float = 1e-4, time_limit: float = math.inf) -> Plan:
    """The schedule of maximal welfare W*.

    W = value x served - degradation x (charge + discharge) - (retail x import - feed_in x export), summed, where
    sum over agents of (load + served + charge - discharge - generation) + curtailed = import - export in each
    step.

    The linear program comes first. If the schedule made of it by taking simultaneous flows apart is as good as its
    optimum, that is W*. Else every battery's direction is fixed to its net one where it matters and the program
    solved again; and only if that loses more than ``mip_gap``, the MILP is solved, with a binary for each battery
    and step in which simultaneous flows could pay.

    Parameters
    ----------
    problem:
        The day.
    mip_gap:
        Largest relative gap of the MILP, (bound - W) / |W|.
    time_limit:
        Seconds for the whole call; the solver checks it now and then.

    Returns
    -------
    The plan. If the time limit is reached once the linear program is solved: the best one known, with status
    ``"limit"`` and an upper bound of W* in ``bound``.

    Raises
    ------
    TimeoutError
        If not even the linear program is solved within the time limit.
    TypeError, ValueError
        If ``mip_gap`` or ``time_limit`` is not allowed.
    """
    mip_gap = checks.real("mip_gap", mip_gap, 0.0)
    clock = _Clock(time_limit)
    model = _Model(problem)
    solution = _optimise(model, model.vectors["cost"], [], burning_pays(problem), mip_gap, clock)
    return _as_plan(model, solution, solution.bound)


class NoTrade(NamedTuple):
    """What each agent does and has without local trade and with idle storage."""

    welfare: Array
    """EUR, shape (N,)."""
    net: Array
    """Taken from the grid, kWh, negative if given to it, shape (N, H)."""


def no_trade(problem: PlanningProblem) -> NoTrade:
    """The community without local trade, with idle storage.

    Every agent nets its load against its own generation, buys what is missing at retail and sells what is left at
    feed_in. It serves its flexible demand where that is worth more than the energy: feed_in of its own surplus,
    retail beyond. With curtailment it curtails what it would have to pay for, so that its surplus is worth at
    least 0; where retail is negative, all of its generation.
    """
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
    """W_0, EUR: that of all agents of :func:`no_trade`."""
    return float(no_trade(problem).welfare.sum())


def efficiency(welfare: float, no_trade: float, best: float) -> float:
    """(W - W_0) / (W* - W_0): the part of the possible gain that was realised.

    Parameters
    ----------
    welfare, no_trade, best:
        W, W_0 and W*, EUR.

    Raises
    ------
    ValueError
        If one is not finite, or W* - W_0 is not positive beyond rounding, so that there is nothing to gain.
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
    """Where charging and discharging at once could raise the welfare, shape (N, H).

    Drawing x and delivering efficiency^2 x leaves the state of charge alone, burns (1 - efficiency^2) x and wears
    (1 + efficiency^2) x. A kWh that is burned is worth -feed_in at most. So it cannot pay unless
    feed_in (1 - efficiency^2) + degradation (1 + efficiency^2) < 0, in particular never where feed_in >= 0.
    """
    round_trip = problem.efficiency[:, None] ** 2
    gain = -problem.feed_in * (1 - round_trip) - problem.degradation[:, None] * (1 + round_trip)
    return (gain > 0) & _has_battery(problem)[:, None]


def pareto_front(
    problem: PlanningProblem,
    objectives: Sequence[str] = OBJECTIVES,
    *,
    n_points: int = 5,
    exact: bool = False,
    mip_gap: float = 1e-4,
    time_limit: float = math.inf,
) -> ParetoFront:
    """The Pareto front over cost (= -W), grid peak and CO2, by the augmented epsilon-constraint method.

    First the payoff table by lexicographic optimisation, so that the ends are not dominated; then the first
    objective is minimised with each of the others bounded by every value of a grid from its least to its largest
    in the table, plus a small multiple of the others (AUGMECON: Mavrotas, Applied Mathematics and Computation
    213, 2009), so that no point is dominated. With three objectives the table's largest value may be below the
    largest on the front (a known limit of the method), so that the front's far corner may be missed.

    Parameters
    ----------
    problem:
        The day.
    objectives:
        Two or three of ``"cost"``, ``"peak"`` (largest import or export of a step) and ``"co2"`` (of the import).
    n_points:
        Of the grid for each bounded objective, at least 2: ``n_points ** (len(objectives) - 1)`` programs.
    exact:
        Whether a battery may only charge or discharge in a step. If not, simultaneous flows are allowed where
        they matter, so that the front is that of the relaxation: a bound, reached where feed_in is not negative
        and the peak is no objective. (Burning energy also relieves the peak of the export, whatever the tariff.)
    mip_gap:
        Largest relative gap of each MILP, if ``exact``.
    time_limit:
        Seconds for the whole call.

    Returns
    -------
    The front without dominated and repeated points.

    Raises
    ------
    TimeoutError
        If the time limit is reached.
    TypeError, ValueError
        If an argument is not allowed.
    """
    names = tuple(checks.choice(f"objectives[{k}]", name, OBJECTIVES) for k, name in enumerate(objectives))
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"objectives must be two or three different ones, got {names!r}")
    n_points = checks.integer("n_points", n_points, 2)
    mip_gap = checks.real("mip_gap", mip_gap, 0.0)
    clock = _Clock(time_limit)
    model = _Model(problem)
    vectors = np.array([model.vectors[name] for name in names])
    directed = burning_pays(problem)
    if "peak" in names:
        directed |= (_has_battery(problem) & (problem.efficiency < 1))[:, None]

    def optimise(vector: Array, limits: list[_Limit]) -> _Solution:
        solution = _optimise(model, vector, limits, directed, mip_gap if exact else None, clock)
        if solution.status != "optimal":
            raise TimeoutError(f"pareto_front did not end within time_limit = {time_limit:g} s")
        return solution

    found = [_lexicographic([vectors[k], *np.delete(vectors, k, axis=0)], optimise) for k in range(len(names))]
    table = np.array([vectors @ solution.x for solution in found])
    best, spread = table.min(axis=0), np.ptp(table, axis=0)
    conflict = spread > SLACK * (1 + np.abs(best))
    scale = np.where(conflict, spread, 1 + np.abs(best))
    augmented = vectors[0] + AUGMENTATION * scale[0] * (vectors[1:] / scale[1:, None]).sum(axis=0)
    grids = [
        [_Limit.near(vectors[k], value) for value in np.linspace(best[k], best[k] + spread[k], n_points)]
        for k in range(1, len(names))
        if conflict[k]
    ]
    for limits in itertools.product(*grids):
        with contextlib.suppress(_InfeasibleError):
            found.append(optimise(augmented, list(limits)))
    values = np.array([vectors @ solution.x for solution in found])
    kept = _non_dominated(values / scale)
    kept = kept[np.lexsort(values[kept].T[::-1])]
    units = np.array([model.units[name] for name in names])
    plans = tuple(_as_plan(model, found[k], math.inf) for k in kept)
    return ParetoFront(names, values[kept] * units, plans, table * units)


def plan_scenarios(
    problem: PlanningProblem,
    load: ArrayLike,
    generation: ArrayLike,
    *,
    gamma: float,
    alpha: float = 0.05,
    probability: ArrayLike | None = None,
    time_limit: float = math.inf,
) -> ScenarioPlan:
    """Storage scheduled before the scenario is known, at least (1 - gamma) E[cost] + gamma CVaR_alpha[cost] [O].

    The linear program of Rockafellar and Uryasev (Journal of Risk 2, 2000) on the model of :func:`plan`. Flexible
    demand, curtailment and the exchange with the grid follow the scenario; cost = -W. Where :func:`burning_pays`,
    simultaneous flows are not excluded.

    Parameters
    ----------
    problem:
        The day; its own load and generation do not matter.
    load, generation:
        Of each scenario, kWh, shape (K, N, H), >= 0.
    gamma:
        Weight of the risk, in [0, 1].
    alpha:
        Part of the scenarios, by probability, that is the tail: in (0, 1].
    probability:
        Of the scenarios, shape (K,); uniform by default.
    time_limit:
        Seconds.

    Returns
    -------
    The schedule, and what it costs in each scenario.

    Raises
    ------
    TimeoutError
        If the time limit is reached.
    TypeError, ValueError
        If an argument is not allowed.
    """
    gamma = checks.real("gamma", gamma, 0.0, 1.0)
    alpha = checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
    shape = (np.shape(load)[0] if np.ndim(load) else 0, *problem.load.shape)
    if shape[0] == 0:
        raise ValueError(f"load must have shape (K, N, H) with K >= 1, got {np.shape(load)}")
    demand = checks.shaped("load", load, shape, np.float64)
    supply = checks.shaped("generation", generation, shape, np.float64)
    _check_within("load", demand, 0.0)
    _check_within("generation", supply, 0.0)
    given = np.full(shape[0], 1 / shape[0]) if probability is None else probability
    chance = checks.probabilities("probability", given, shape[:1])
    clock = _Clock(time_limit)
    model = _Model(problem, demand, supply)
    # The program's own columns: z, then by how much the cost of each scenario exceeds it.
    padding = sparse.csr_array((model.rows.shape[0], shape[0] + 1))
    over = [model.costs, sparse.csr_array(-np.ones((shape[0], 1))), -sparse.eye_array(shape[0])]
    rows = sparse.vstack([sparse.hstack([model.rows, padding]), sparse.hstack(over)], format="csr")
    result = _solve(
        np.concatenate([(1 - gamma) * (chance @ model.costs), [gamma], gamma / alpha * chance]),
        LinearConstraint(
            rows,
            np.concatenate([model.row_low, np.full(shape[0], -np.inf)]),
            np.concatenate([model.row_high, np.zeros(shape[0])]),
        ),
        Bounds(
            np.concatenate([model.low, [-np.inf], np.zeros(shape[0])]),
            np.concatenate([model.high, np.full(shape[0] + 1, np.inf)]),
        ),
        clock,
    )
    if result.x is None or result.status != OPTIMAL:
        raise TimeoutError(f"plan_scenarios was not solved within time_limit = {time_limit:g} s")
    x = model.settle(result.x[: model.n_columns], ~burning_pays(problem))
    costs = model.costs @ x * model.units["cost"]
    risk = _cvar(costs, chance, alpha)
    return ScenarioPlan(
        method="relaxation" if model.burns(x) else "lp",
        objective=float((1 - gamma) * (chance @ costs) + gamma * risk),
        costs=costs,
        charge=model.of_agents(x, "charge"),
        discharge=model.of_agents(x, "discharge"),
        soc=model.soc(x),
        served=model.served(x),
    )


class _InfeasibleError(Exception):
    """No schedule keeps the limits."""


class _Clock:
    """What is left of a time limit."""

    def __init__(self, time_limit: float) -> None:
        if time_limit != math.inf:
            checks.real("time_limit", time_limit, 0.0, exclude_low=True)
        self.time_limit = time_limit
        self.end = time.monotonic() + time_limit

    def left(self) -> float:
        """Seconds, at least 0."""
        return max(self.end - time.monotonic(), 0.0)


class _Limit(NamedTuple):
    """An upper limit of an objective, ``vector @ x <= most``."""

    vector: Array
    most: float

    @classmethod
    def near(cls, vector: Array, value: float) -> "_Limit":
        """The limit at a value that the solver has reached, up to its tolerance."""
        return cls(vector, value + SLACK * (1 + abs(value)))

    def holds(self, x: Array) -> bool:
        """Whether the solver would take x for feasible."""
        return float(self.vector @ x) <= self.most + SLACK * (1 + abs(self.most))


class _Solution(NamedTuple):
    """What :func:`_optimise` found, in the model's units."""

    x: Array
    bound: float
    status: str
    method: str


class _Model:
    """The planning problem as a linear program, in units in which the largest energy and the largest price are 1.

    Columns: charge, discharge and state of charge of every battery and step, then for each of K scenarios the
    flexible demand served (where there is any), import, export and curtailment of every step, and the peak. K is 1
    if the day is known. The state of charge has columns of its own: eliminating it makes the program as large as
    the square of H and takes longer (N = 1000: by a quarter).
    """

    def __init__(
        self, problem: PlanningProblem, load: Array | None = None, generation: Array | None = None
    ) -> None:
        load = problem.load[None] if load is None else load
        generation = problem.generation[None] if generation is None else generation
        self.problem = problem
        self.batteries = np.flatnonzero(_has_battery(problem))
        self.flexible = np.nonzero(problem.flexible)
        n_scenarios, n_steps, n_batteries = len(load), problem.n_steps, len(self.batteries)
        n_flexible = len(self.flexible[0])
        self.shapes = {
            "charge": (n_batteries, n_steps),
            "discharge": (n_batteries, n_steps),
            "soc": (n_batteries, n_steps),
            "served": (n_scenarios, n_flexible),
            "import": (n_scenarios, n_steps),
            "export": (n_scenarios, n_steps),
            "curtailed": (n_scenarios, n_steps),
            "peak": (1, 1),
        }
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes.values())]).tolist()
        self.columns = {
            name: slice(*pair) for name, pair in zip(self.shapes, itertools.pairwise(ends), strict=True)
        }
        self.n_columns = ends[-1]

        energies = (load, generation, problem.flexible, problem.capacity)
        prices = (problem.retail, problem.feed_in, problem.degradation, problem.flexible_value)
        self.energy = max(float(array.max()) for array in energies) or 1.0
        price = max(float(np.abs(array).max()) for array in prices) or 1.0
        intensity = float(problem.co2.max()) or 1.0
        self.units = {"cost": self.energy * price, "peak": self.energy, "co2": self.energy * intensity}

        own = self.batteries
        self.efficiency = problem.efficiency[own, None]
        self.soc0 = problem.soc0[own, None] / self.energy
        capacity = problem.capacity[own, None] / self.energy
        power = problem.power[own, None] / self.energy
        self.net = (load - generation).sum(axis=1) / self.energy
        self.low, self.high = np.zeros(self.n_columns), np.full(self.n_columns, np.inf)
        # No flow in one direction can be larger than what fills or empties the battery: the tightest big M.
        self._set(self.high, "charge", np.minimum(power, capacity / self.efficiency))
        self._set(self.high, "discharge", np.minimum(power, capacity * self.efficiency))
        self._set(self.high, "soc", capacity)
        self.block(self.low, "soc")[:, -1:] = self.soc0
        self._set(self.high, "served", problem.flexible[self.flexible] / self.energy)
        may_curtail = generation.sum(axis=1) / self.energy if problem.curtailment else 0.0
        self._set(self.high, "curtailed", may_curtail)

        self.to_steps = sparse.csr_array(
            (np.ones(n_flexible), (self.flexible[1], np.arange(n_flexible))), shape=(n_steps, n_flexible)
        )
        self.rows, self.row_low, self.row_high = self._rows()
        self.costs = self._costs(price)
        emissions = np.zeros(self.n_columns)
        self._set(emissions, "import", problem.co2 / intensity)
        peak = np.zeros(self.n_columns)
        self._set(peak, "peak", 1.0)
        self.vectors = {"cost": self.costs[[0]].toarray()[0], "peak": peak, "co2": emissions}

    def block(self, x: Array, name: str) -> Array:
        """View of the columns of this name."""
        return x[self.columns[name]].reshape(self.shapes[name])

    def _set(self, x: Array, name: str, value: Array | float) -> None:
        self.block(x, name)[...] = value

    def _rows(self) -> tuple[Any, Array, Array]:
        """State of charge, balance of every step, and peak: rows, and what they are at least and at most."""
        n_batteries, n_steps = self.shapes["soc"]
        n_scenarios = len(self.net)
        n_states, n_balances = n_batteries * n_steps, n_scenarios * n_steps
        into = sparse.diags_array(np.repeat(self.efficiency[:, 0], n_steps), shape=(n_states, n_states))
        out = sparse.diags_array(np.repeat(1 / self.efficiency[:, 0], n_steps), shape=(n_states, n_states))
        change = sparse.eye_array(n_steps) - sparse.eye_array(n_steps, k=-1)
        states = sparse.kron(sparse.eye_array(n_batteries), change)
        pooled = sparse.kron(np.ones((n_scenarios, n_batteries)), sparse.eye_array(n_steps))
        served = sparse.kron(sparse.eye_array(n_scenarios), self.to_steps)
        each, ones = sparse.eye_array(n_balances), sparse.csr_array(np.ones((n_balances, 1)))
        rows = sparse.block_array(
            [
                [into, -out, -states, None, None, None, None, None],
                [pooled, -pooled, None, served, -each, each, each, None],
                [None, None, None, None, each, None, None, -ones],
                [None, None, None, None, None, each, None, -ones],
            ],
            format="csr",
        )
        start = np.zeros((n_batteries, n_steps))
        start[:, :1] = -self.soc0
        exact = np.concatenate([start.ravel(), -self.net.ravel()])
        free, zero = np.full(2 * n_balances, -np.inf), np.zeros(2 * n_balances)
        return rows, np.concatenate([exact, free]), np.concatenate([exact, zero])

    def _costs(self, price: float) -> Any:
        """-W of each scenario, shape (K, n columns)."""
        problem = self.problem
        rows = []
        for scenario in range(len(self.net)):
            row = np.zeros(self.n_columns)
            self._set(row, "charge", problem.degradation[self.batteries, None] / price)
            self._set(row, "discharge", problem.degradation[self.batteries, None] / price)
            self.block(row, "served")[scenario] = -problem.flexible_value[self.flexible[0]] / price
            self.block(row, "import")[scenario] = problem.retail / price
            self.block(row, "export")[scenario] = -problem.feed_in / price
            rows.append(sparse.csr_array(row[None]))
        return sparse.vstack(rows, format="csr")

    def settle(self, x: Array, apart: NDArray[np.bool_]) -> Array:
        """A solution whose derived columns follow from the decisions, with no simultaneous flows where ``apart``.

        ``apart`` is (N, H). Of simultaneous flows the one stays that changes the state of charge by as much. What
        is no longer burned is curtailed if it may be, so that the exchange with the grid stays the same.
        """
        x = np.clip(x, self.low, self.high)
        charge, discharge = self.block(x, "charge"), self.block(x, "discharge")
        stored = self.efficiency * charge - discharge / self.efficiency
        both = (np.minimum(charge, discharge) > 0) & apart[self.batteries]
        burned = (charge - discharge).sum(axis=0)
        charge[both] = (np.maximum(stored, 0) / self.efficiency)[both]
        discharge[both] = (np.maximum(-stored, 0) * self.efficiency)[both]
        drawn = (charge - discharge).sum(axis=0)
        self._set(x, "soc", self.soc0 + np.cumsum(self.efficiency * charge - discharge / self.efficiency, axis=1))
        curtailed = self.block(x, "curtailed")
        curtailed[...] = np.minimum(curtailed + burned - drawn, self.block(self.high, "curtailed"))
        net = self.net + drawn + (self.to_steps @ self.block(x, "served").T).T + curtailed
        self._set(x, "import", np.maximum(net, 0))
        self._set(x, "export", np.maximum(-net, 0))
        self._set(x, "peak", np.abs(net).max())
        return x

    def burns(self, x: Array) -> bool:
        """Whether a battery charges and discharges in the same step."""
        return bool((np.minimum(self.block(x, "charge"), self.block(x, "discharge")) > SLACK).any())

    def of_agents(self, x: Array, name: str) -> Array:
        """Columns of the batteries in kWh, for all agents, shape (N, H)."""
        full = np.zeros(self.problem.load.shape)
        full[self.batteries] = self.block(x, name) * self.energy
        return full

    def soc(self, x: Array) -> Array:
        """State of charge, kWh, shape (N, H + 1)."""
        full = np.repeat(self.problem.soc0[:, None], self.problem.n_steps + 1, axis=1)
        full[self.batteries, 1:] = self.block(x, "soc") * self.energy
        return full

    def served(self, x: Array) -> Array:
        """Flexible demand served, kWh, shape (K, N, H)."""
        block = self.block(x, "served")
        full = np.zeros((len(block), *self.problem.load.shape))
        agents, steps = self.flexible
        full[:, agents, steps] = block * self.energy
        return full


def _optimise(
    model: _Model,
    vector: Array,
    limits: list[_Limit],
    directed: NDArray[np.bool_],
    mip_gap: float | None,
    clock: _Clock,
) -> _Solution:
    """Minimise ``vector @ x`` within the limits.

    ``directed`` (N, H) is where simultaneous flows must be excluded by choosing directions, since they could pay.
    ``mip_gap`` None leaves them free there. Raises :class:`_InfeasibleError`, and TimeoutError if nothing is
    known.
    """
    relaxed = _solve(vector, _constraints(model, limits), Bounds(model.low, model.high), clock)
    if relaxed.x is None or relaxed.status != OPTIMAL:
        raise TimeoutError(f"the linear program was not solved within time_limit = {clock.time_limit:g} s")
    if mip_gap is None:
        x = model.settle(relaxed.x, ~directed)
        return _Solution(x, float(vector @ x), "optimal", "relaxation" if model.burns(x) else "lp")

    bound = float(relaxed.fun)
    known: list[Array] = []

    def closes(x: Array) -> bool:
        """Take note of a solution; whether the best one is good enough."""
        x = model.settle(x, np.ones_like(directed))
        if all(limit.holds(x) for limit in limits):
            known.append(x)
        value = min((float(vector @ x) for x in known), default=math.inf)
        return value - bound <= max(mip_gap * abs(value), ROUNDING * (1 + abs(value))) if known else False

    def answer(status: str, method: str) -> _Solution:
        return _Solution(min(known, key=lambda x: float(vector @ x)), bound, status, method)

    if closes(relaxed.x):
        return answer("optimal", "lp")

    # Often the optimum is degenerate, and another of the same value keeps to the net directions of this one;
    # an idle battery may discharge, to make room for what the others no longer burn.
    chosen = directed[model.batteries]
    stored = model.efficiency * model.block(relaxed.x, "charge")
    into = stored > model.block(relaxed.x, "discharge") / model.efficiency + SLACK
    high = model.high.copy()
    model.block(high, "charge")[chosen & ~into] = 0
    model.block(high, "discharge")[chosen & into] = 0
    with contextlib.suppress(_InfeasibleError):
        fixed = _solve(vector, _constraints(model, limits), Bounds(model.low, high), clock)
        if fixed.status == OPTIMAL and closes(fixed.x):
            return answer("optimal", "lp")

    result = _solve_directed(model, vector, limits, chosen, mip_gap, clock)
    if result.mip_dual_bound is not None and math.isfinite(result.mip_dual_bound):
        bound = max(bound, float(result.mip_dual_bound))
    closed = result.x is not None and closes(result.x[: model.n_columns])
    if not known:
        raise TimeoutError(f"the MILP has no solution within time_limit = {clock.time_limit:g} s")
    return answer("optimal" if result.status == OPTIMAL or closed else "limit", "milp")


def _solve_directed(
    model: _Model, vector: Array, limits: list[_Limit], chosen: NDArray[np.bool_], mip_gap: float, clock: _Clock
) -> Any:
    """The MILP: a binary for each of the ``chosen`` batteries and steps, 1 to charge and 0 to discharge."""
    flat = np.flatnonzero(chosen)
    n_binaries, each = len(flat), np.arange(len(flat))
    charge = flat + model.columns["charge"].start
    discharge = flat + model.columns["discharge"].start
    most_in, most_out = model.high[charge], model.high[discharge]
    shape = (n_binaries, model.n_columns + n_binaries)
    binary = model.n_columns + each
    one = np.ones(n_binaries)
    rows, twice = np.concatenate([each, each]), np.concatenate
    in_rows = sparse.csr_array((twice([one, -most_in]), (rows, twice([charge, binary]))), shape=shape)
    out_rows = sparse.csr_array((twice([one, most_out]), (rows, twice([discharge, binary]))), shape=shape)
    base = _constraints(model, limits)
    wide = sparse.hstack([base.A, sparse.csr_array((base.A.shape[0], n_binaries))])
    return _solve(
        np.concatenate([vector, 0 * one]),
        LinearConstraint(
            sparse.vstack([wide, in_rows, out_rows], format="csr"),
            np.concatenate([base.lb, np.full(2 * n_binaries, -np.inf)]),
            np.concatenate([base.ub, 0 * one, most_out]),
        ),
        Bounds(np.concatenate([model.low, 0 * one]), np.concatenate([model.high, one])),
        clock,
        integrality=np.concatenate([np.zeros(model.n_columns), one]),
        mip_rel_gap=mip_gap,
    )


def _constraints(model: _Model, limits: list[_Limit]) -> LinearConstraint:
    """The model's rows and the limits."""
    if not limits:
        return LinearConstraint(model.rows, model.row_low, model.row_high)
    rows = sparse.vstack(
        [model.rows, sparse.csr_array(np.array([limit.vector for limit in limits]))], format="csr"
    )
    most = [limit.most for limit in limits]
    return LinearConstraint(
        rows,
        np.concatenate([model.row_low, np.full(len(limits), -np.inf)]),
        np.concatenate([model.row_high, most]),
    )


def _solve(
    vector: Array,
    constraints: LinearConstraint,
    bounds: Bounds,
    clock: _Clock,
    integrality: Array | None = None,
    **options: float,
) -> Any:
    """HiGHS; the result is optimal or at the time limit."""
    if clock.time_limit < math.inf:
        options["time_limit"] = clock.left()
    result = milp(vector, constraints=constraints, bounds=bounds, integrality=integrality, options=options)
    if result.status == INFEASIBLE:
        raise _InfeasibleError
    if result.status not in (OPTIMAL, LIMIT_REACHED):
        raise RuntimeError(f"HiGHS could not solve the planning problem: {result.message}")
    return result


def _lexicographic(vectors: Sequence[Array], optimise: Callable[[Array, list[_Limit]], _Solution]) -> _Solution:
    """Minimise the first objective, then the second among its optima, and so on."""
    solution = optimise(vectors[0], [])
    limits = [_Limit.near(vectors[0], float(vectors[0] @ solution.x))]
    for vector in vectors[1:]:
        with contextlib.suppress(_InfeasibleError):  # By rounding only: what is known stays the answer then.
            solution = optimise(vector, limits)
        limits.append(_Limit.near(vector, float(vector @ solution.x)))
    return solution


def _non_dominated(points: Array) -> NDArray[np.intp]:
    """Indices of the points (M, K) that no other is as good as; of points that are the same, the first."""
    kept: list[int] = []
    for index, point in enumerate(points):
        as_good = (points <= point + SAME_POINT).all(axis=1)
        is_better = as_good & (points < point - SAME_POINT).any(axis=1)
        if not is_better.any() and not as_good[kept].any():
            kept.append(index)
    return np.array(kept, dtype=np.intp)


def _as_plan(model: _Model, solution: _Solution, bound: float) -> Plan:
    """The solution in kWh and EUR, for all agents; ``bound`` is the least cost, in the model's units."""
    x = solution.x
    welfare = -float(model.vectors["cost"] @ x) * model.units["cost"]
    bound = max(welfare, -bound * model.units["cost"])
    imported = model.block(x, "import")[0] * model.energy
    return Plan(
        status=solution.status,
        method=solution.method,
        welfare=welfare,
        bound=bound,
        mip_gap=(bound - welfare) / abs(welfare) if bound > welfare else 0.0,
        charge=model.of_agents(x, "charge"),
        discharge=model.of_agents(x, "discharge"),
        soc=model.soc(x),
        served=model.served(x)[0],
        curtailed=model.block(x, "curtailed")[0] * model.energy,
        imported=imported,
        exported=model.block(x, "export")[0] * model.energy,
        emissions=float(model.problem.co2 @ imported),
    )


def _cvar(costs: Array, chance: Array, alpha: float) -> float:
    """Mean of the largest costs of total probability alpha."""
    order = np.argsort(-costs)
    upto = np.minimum(np.cumsum(chance[order]), alpha)
    return float(np.diff(upto, prepend=0.0) @ costs[order]) / alpha


def _has_battery(problem: PlanningProblem) -> NDArray[np.bool_]:
    return (problem.capacity > 0) & (problem.power > 0)


def _check_within(
    name: str,
    array: Array,
    low: float,
    high: Array | float = np.inf,
    *,
    exclude_low: bool = False,
    high_name: str = "",
) -> None:
    """Check that every value is finite and within [low, high]."""
    below = array <= low if exclude_low else array < low
    wrong = ~np.isfinite(array) | below | (array > high)
    if not wrong.any():
        return
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    most = float(np.broadcast_to(high, array.shape)[where])
    limit = f"{high_name} = {most:g}" if high_name else f"{most:g}"
    left = "(" if exclude_low or low == -np.inf else "["
    right = ")" if most == np.inf else "]"
    raise ValueError(
        f"{name}[{', '.join(map(str, where))}] must be a finite number in {left}{low:g}, {limit}{right},"
        f" got {float(array[where])!r}"
    )
