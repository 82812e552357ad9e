"""The Pareto front of an energy community over cost, grid peak and carbon dioxide."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.welfare.linear_program import SLACK, LinearProgram
from mfenvs.energy.welfare.planner import Plan, as_plan
from mfenvs.energy.welfare.problem import PlanningProblem, burning_pays, check_problem, has_battery
from mfenvs.energy.welfare.solver import Clock, InfeasibleError, Limit, Solution, optimise

Array = NDArray[np.float64]

OBJECTIVES = ("cost", "peak", "co2")
"""Objectives of a Pareto front, all minimised: cost (EUR), peak exchange of a step (kWh), emissions (kg CO2)."""

AUGMENTATION = 1e-5
"""Weight of the objectives that are bounded in the one that is minimised, each over its range."""

SAME_POINT = 1e-5
"""Points of a front that differ by less than this part of every objective's range are one."""


@dataclasses.dataclass(frozen=True, eq=False)
class ParetoFront:
    """Points of which none is at least as good as another in every objective, by the first objective ascending."""

    objectives: tuple[str, ...]
    """Names of the objectives, as of :data:`OBJECTIVES`."""
    values: Array
    """Objectives of each point, all minimised: cost = -W in EUR, peak in kWh per step, co2 in kg; shape (n points,
    n objectives)."""
    plans: tuple[Plan, ...]
    """Schedule of each point."""
    payoff: Array
    """Payoff table: row k has the objectives where the k-th is minimised first, then the others in their order.
    The ideal point is its diagonal."""


def pareto_front(
    problem: PlanningProblem,
    objectives: Sequence[str] = OBJECTIVES,
    *,
    n_points: int = 5,
    exact: bool = False,
    mip_gap: float = 1e-4,
    time_limit: float = math.inf,
) -> ParetoFront:
    """The Pareto front over cost (= -W), grid peak and CO2, by the augmented epsilon-constraint method (AUGMECON).

    First comes the payoff table by lexicographic optimisation, so that the ends are not dominated. Then the first
    objective, plus a small multiple of the others, is minimised with each of the others bounded by every value of
    a grid from its least to its largest in the table, so that no point is dominated. With three objectives the
    table's largest value may be below the largest on the front (a known limit of the method), so that the front's
    far corner may be missed.

    Parameters
    ----------
    problem:
        The day.
    objectives:
        Two or three of ``"cost"`` (EUR), ``"peak"`` (largest import or export of a step, kWh) and ``"co2"``
        (emissions of the imported energy, kg).
    n_points:
        Grid points of each bounded objective, at least 2: ``n_points ** (len(objectives) - 1)`` programs.
    exact:
        Whether a battery may only charge or discharge in a step. If not, simultaneous flows are allowed where
        they matter, so that the front is that of the relaxation: a bound, reached where feed_in is not negative
        and the peak is no objective. (Burning energy also relieves the peak of the export, whatever the tariff.)
    mip_gap:
        Largest relative gap of each MILP, >= 0, if ``exact``.
    time_limit:
        Time limit of the whole call in seconds, > 0.

    Returns
    -------
    ParetoFront
        The front without dominated and repeated points.

    Raises
    ------
    TimeoutError
        If the time limit is reached.
    RuntimeError
        If the solver fails, for instance since the problem's numbers differ too much in size.
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Mavrotas, Effective implementation of the epsilon-constraint method in multi-objective mathematical programming
    problems, Applied Mathematics and Computation 213, 2009.
    """
    check_problem(problem)
    if not isinstance(objectives, Sequence) or isinstance(objectives, str):
        raise TypeError(f"objectives must be a sequence of names, got {objectives!r}")
    names = tuple(checks.choice(f"objectives[{k}]", name, OBJECTIVES) for k, name in enumerate(objectives))
    exact = checks.boolean("exact", exact)
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"objectives must be two or three different ones, got {names!r}")
    n_points = checks.integer("n_points", n_points, 2)
    mip_gap = checks.real("mip_gap", mip_gap, 0.0)
    clock = Clock(time_limit)
    model = LinearProgram(problem)
    vectors = np.array([model.vectors[name] for name in names])
    directed = burning_pays(problem)
    if "peak" in names:
        directed |= (has_battery(problem) & (problem.efficiency < 1))[:, None]

    def minimise(vector: Array, limits: list[Limit]) -> Solution:
        solution = optimise(model, vector, limits, directed, mip_gap if exact else None, clock)
        if solution.status != "optimal":
            raise TimeoutError(f"pareto_front did not end within time_limit = {time_limit:g} s")
        return solution

    found = [_lexicographic([vectors[k], *np.delete(vectors, k, axis=0)], minimise) for k in range(len(names))]
    table = np.array([vectors @ solution.x for solution in found])
    best, spread = table.min(axis=0), np.ptp(table, axis=0)
    conflict = spread > SLACK * (1 + np.abs(best))
    scale = np.where(conflict, spread, 1 + np.abs(best))
    augmented = vectors[0] + AUGMENTATION * scale[0] * (vectors[1:] / scale[1:, None]).sum(axis=0)
    grids = [
        [Limit.near(vectors[k], value) for value in np.linspace(best[k], best[k] + spread[k], n_points)]
        for k in range(1, len(names))
        if conflict[k]
    ]
    for limits in itertools.product(*grids):
        with contextlib.suppress(InfeasibleError):
            found.append(minimise(augmented, list(limits)))
    values = np.array([vectors @ solution.x for solution in found])
    kept = _non_dominated(values / scale)
    kept = kept[np.lexsort(values[kept].T[::-1])]
    units = np.array([model.units[name] for name in names])
    plans = tuple(as_plan(model, found[k], math.inf) for k in kept)
    return ParetoFront(names, values[kept] * units, plans, table * units)


def _lexicographic(vectors: Sequence[Array], minimise: Callable[[Array, list[Limit]], Solution]) -> Solution:
    """Minimise the first objective, then the second among its optima, and so on."""
    solution = minimise(vectors[0], [])
    limits = [Limit.near(vectors[0], float(vectors[0] @ solution.x))]
    for vector in vectors[1:]:
        with contextlib.suppress(InfeasibleError):  # By rounding only: what is known stays the answer then.
            solution = minimise(vector, limits)
        limits.append(Limit.near(vector, float(vector @ solution.x)))
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
