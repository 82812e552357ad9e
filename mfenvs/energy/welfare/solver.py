"""Solution of the planning program by HiGHS: within a time limit, and with limits on other objectives."""

import contextlib
import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from mfenvs import checks
from mfenvs.energy.welfare.linear_program import SLACK, LinearProgram
from mfenvs.energy.welfare.problem import ROUNDING, PlanningProblem

Array = NDArray[np.float64]

NO_SCHEDULE = "HiGHS found no schedule, though idle batteries are one: the numbers differ too much in size"

OPTIMAL, LIMIT_REACHED, INFEASIBLE = 0, 1, 2
"""Status of :func:`scipy.optimize.milp`."""


class InfeasibleError(Exception):
    """No schedule keeps within the limits."""


def no_schedule(problem: PlanningProblem) -> Exception:
    """What to raise where a problem has no schedule."""
    limits = np.append(problem.import_limit, problem.export_limit)
    if (problem.end_soc > problem.soc0).any() or np.isfinite(limits).any():
        return ValueError("problem must have a schedule that keeps import_limit, export_limit and soc_end")
    return RuntimeError(NO_SCHEDULE)


class Clock:
    """Time that is left of a time limit in seconds."""

    def __init__(self, time_limit: float) -> None:
        if not (isinstance(time_limit, float | np.floating) and time_limit == math.inf):
            time_limit = checks.real("time_limit", time_limit, 0.0, exclude_low=True)
        self.time_limit = time_limit
        self.end = time.monotonic() + time_limit

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self.end - time.monotonic(), 0.0)


class Limit(NamedTuple):
    """An upper limit of an objective, ``vector @ x <= most``."""

    vector: Array
    most: float

    @classmethod
    def near(cls, vector: Array, value: float) -> "Limit":
        """The limit at a value that the solver has reached, up to its tolerance."""
        return cls(vector, value + SLACK * (1 + abs(value)))

    def holds(self, x: Array) -> bool:
        """Whether the solver would take x for feasible."""
        return float(self.vector @ x) <= self.most + SLACK * (1 + abs(self.most))


class Solution(NamedTuple):
    """Solution of :func:`optimise`, in the model's units."""

    x: Array
    """All columns of the program."""
    bound: float
    """Lower bound of the objective, which is minimised."""
    status: str
    """As of :class:`~mfenvs.energy.welfare.Plan`."""
    method: str
    """As of :class:`~mfenvs.energy.welfare.Plan`."""


def optimise(
    model: LinearProgram,
    vector: Array,
    limits: list[Limit],
    directed: NDArray[np.bool_],
    mip_gap: float | None,
    clock: Clock,
) -> Solution:
    """Minimise ``vector @ x`` within the limits.

    Parameters
    ----------
    model:
        The program.
    vector:
        Coefficients of the objective, shape (n columns,).
    limits:
        Upper limits on other objectives.
    directed:
        Batteries and steps in which charging and discharging at once could pay and must be excluded, (N, H).
    mip_gap:
        Largest relative gap to the bound; None allows simultaneous flows even where ``directed``.
    clock:
        The time limit.

    Raises
    ------
    InfeasibleError
        If nothing keeps within the limits.
    TimeoutError
        If the time limit is reached before any solution is known.
    """
    try:
        relaxed = solve(vector, constraints_of(model, limits), Bounds(model.low, model.high), clock)
    except InfeasibleError as error:
        if limits:
            raise
        raise no_schedule(model.problem) from error
    if relaxed.x is None or relaxed.status != OPTIMAL:
        raise TimeoutError(f"the linear program was not solved within time_limit = {clock.time_limit:g} s")
    if mip_gap is None:
        x = model.completed(relaxed.x, ~directed)
        return Solution(x, float(vector @ x), "optimal", "relaxation" if model.burns(x) else "lp")

    bound = float(relaxed.fun)
    known: list[Array] = []

    def closes(x: Array) -> bool:
        """Take note of a solution; whether the best one is good enough."""
        x = model.completed(x, np.ones_like(directed))
        if model.keeps_limits(x) and all(limit.holds(x) for limit in limits):
            known.append(x)
        value = min((float(vector @ x) for x in known), default=math.inf)
        return value - bound <= max(mip_gap * abs(value), ROUNDING * (1 + abs(value))) if known else False

    def answer(status: str, method: str) -> Solution:
        return Solution(min(known, key=lambda x: float(vector @ x)), bound, status, method)

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
    with contextlib.suppress(InfeasibleError):
        fixed = solve(vector, constraints_of(model, limits), Bounds(model.low, high), clock)
        if fixed.status == OPTIMAL and closes(fixed.x):
            return answer("optimal", "lp")

    try:
        result = _solve_directed(model, vector, limits, chosen, mip_gap, clock)
    except InfeasibleError as error:
        if limits or known:
            raise
        raise no_schedule(model.problem) from error
    if result.mip_dual_bound is not None and math.isfinite(result.mip_dual_bound):
        bound = max(bound, float(result.mip_dual_bound))
    closed = result.x is not None and closes(result.x[: model.n_columns])
    if not known:
        raise TimeoutError(f"the MILP has no solution within time_limit = {clock.time_limit:g} s")
    return answer("optimal" if result.status == OPTIMAL or closed else "limit", "milp")


def _solve_directed(
    model: LinearProgram,
    vector: Array,
    limits: list[Limit],
    chosen: NDArray[np.bool_],
    mip_gap: float,
    clock: Clock,
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
    base = constraints_of(model, limits)
    wide = sparse.hstack([base.A, sparse.csr_array((base.A.shape[0], n_binaries))])
    return solve(
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


def constraints_of(model: LinearProgram, limits: list[Limit]) -> LinearConstraint:
    """The program's rows and the limits, as one constraint."""
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


def solve(
    vector: Array,
    constraints: LinearConstraint,
    bounds: Bounds,
    clock: Clock,
    integrality: Array | None = None,
    **options: float,
) -> Any:
    """Solve by HiGHS; the result is optimal, or what was known at the time limit."""
    if clock.time_limit < math.inf:
        options["time_limit"] = clock.left()
    result = milp(vector, constraints=constraints, bounds=bounds, integrality=integrality, options=options)
    if result.status == INFEASIBLE:
        raise InfeasibleError
    if result.status not in (OPTIMAL, LIMIT_REACHED):
        raise RuntimeError(f"HiGHS could not solve the planning problem: {result.message}")
    return result
