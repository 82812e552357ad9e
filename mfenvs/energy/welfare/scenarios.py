"""Storage scheduled before the day's scenario is known."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint

from mfenvs import checks
from mfenvs.energy.welfare.linear_program import LinearProgram
from mfenvs.energy.welfare.problem import MOST_NUMBER, PlanningProblem, burning_pays, check_problem, check_within
from mfenvs.energy.welfare.solver import OPTIMAL, Clock, InfeasibleError, no_schedule, solve

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class ScenarioPlan:
    """A schedule of storage that is decided before the scenario of the day is known."""

    method: str
    """As of :class:`~mfenvs.energy.welfare.Plan`: ``"lp"`` or ``"relaxation"``."""
    objective: float
    """Risk-adjusted cost (1 - gamma) E[cost] + gamma CVaR_alpha[cost], EUR."""
    costs: Array
    """Cost -W in each scenario, EUR, shape (K,)."""
    charge: Array
    """Energy that each battery draws at its terminals, kWh, shape (N, H)."""
    discharge: Array
    """Energy that each battery delivers at its terminals, kWh, shape (N, H)."""
    soc: Array
    """State of charge of each battery before each step and at the end, kWh, shape (N, H + 1)."""
    served: Array
    """Flexible demand served in each scenario, kWh, shape (K, N, H)."""
    vehicles: Array
    """Energy that each charging session draws in each step, kWh, shape (S, H)."""


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
    """Storage scheduled before the scenario is known, with the least risk-adjusted cost [O].

    It minimises (1 - gamma) E[cost] + gamma CVaR_alpha[cost] over K scenarios, where cost = -W and CVaR is the
    Conditional Value-at-Risk, the mean cost of the worst share alpha. Batteries and charging sessions are
    scheduled before the scenario is known; flexible demand, curtailment, the exchange with the grid and its peaks
    follow it. Where :func:`burning_pays`, simultaneous charging and discharging
    is not excluded.

    Parameters
    ----------
    problem:
        The day; its own load and generation do not matter.
    load:
        Inelastic demand in each scenario, kWh, shape (K, N, H), >= 0.
    generation:
        Energy generated in each scenario, kWh, shape (K, N, H), >= 0.
    gamma:
        Risk aversion: weight of the CVaR, in [0, 1].
    alpha:
        Tail share: worst part of the scenarios, by probability, in (0, 1].
    probability:
        Probability of each scenario, shape (K,); uniform by default.
    time_limit:
        Time limit in seconds, > 0.

    Returns
    -------
    ScenarioPlan
        The schedule, and its cost in each scenario.

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
    Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2, 2000.
    """
    check_problem(problem)
    gamma = checks.real("gamma", gamma, 0.0, 1.0)
    alpha = checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
    demand = checks.numbers("load", load)
    if demand.ndim != 3 or len(demand) == 0:
        raise ValueError(f"load must have shape (K, N, H) with K >= 1, got {demand.shape}")
    shape = (len(demand), *problem.load.shape)
    demand = checks.numbers("load", demand, shape)
    supply = checks.numbers("generation", generation, shape)
    check_within("load", demand, 0.0, MOST_NUMBER)
    check_within("generation", supply, 0.0, MOST_NUMBER)
    given = np.full(shape[0], 1 / shape[0]) if probability is None else probability
    chance = checks.probabilities("probability", given, shape[:1])
    clock = Clock(time_limit)
    model = LinearProgram(problem, demand, supply)
    # The program's own columns: z, then by how much the cost of each scenario exceeds it.
    padding = sparse.csr_array((model.rows.shape[0], shape[0] + 1))
    over = [model.costs, sparse.csr_array(-np.ones((shape[0], 1))), -sparse.eye_array(shape[0])]
    rows = sparse.vstack([sparse.hstack([model.rows, padding]), sparse.hstack(over)], format="csr")
    try:
        result = solve(
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
    except InfeasibleError as error:
        raise no_schedule(problem) from error
    if result.x is None or result.status != OPTIMAL:
        raise TimeoutError(f"plan_scenarios was not solved within time_limit = {time_limit:g} s")
    x = model.completed(result.x[: model.n_columns], ~burning_pays(problem))
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
        vehicles=model.vehicles(x),
    )


def _cvar(costs: Array, chance: Array, alpha: float) -> float:
    """Conditional Value-at-Risk: mean of the largest costs of total probability ``alpha``."""
    order = np.argsort(-costs)
    upto = np.minimum(np.cumsum(chance[order]), alpha)
    return float(np.diff(upto, prepend=0.0) @ costs[order]) / alpha
