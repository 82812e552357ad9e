"""Projection onto the polytope of flows: the state-action laws that agents can have in frozen dynamics.

A flow d (T, S, A) satisfies d >= 0, sum_a d_0(s, a) = mu_0(s), and sum_a d_{t+1}(s, a) = sum d_t(s', a') P_t(s |
s', a'): in short A d = b. The nearest flow to v is d = max(0, v + A' lambda), where lambda (T, S) maximises the
concave dual b'lambda - |max(0, v + A' lambda)|^2 / 2. Its gradient b - A d is piecewise linear, so that Newton's
method with a line search (a semismooth Newton method) ends in a few steps at rounding. Each of them solves one
sparse linear system in T S unknowns, A D A' with D the entries that are positive.

References
----------
Li, Sun & Toh, "On the efficient computation of a generalized Jacobian of the projector over the Birkhoff
polytope", Mathematical Programming 179, 2020.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mfenvs.meanfield.population_flow import Flow

Array = NDArray[np.float64]

ROUNDING = 1e-13
"""Largest error of the constraints, times the number of states, at which a projection is exact."""
ENOUGH = 1e-10
"""Largest error of the constraints that is accepted where steps no longer halve it."""
MOST_STEPS = 200
"""Number of Newton steps after which the method gives up; it needs some ten."""
SUFFICIENT = 1e-4
"""Share of the slope's gain that a step must have."""
SHORTEST = 1e-12
"""Shortest step that is tried."""
EPSILON = 1e-14
"""Rounding error of the dual value, relative to it."""
REGULARISATION = 1e-12
"""Added to the system's diagonal, relative to its mean: states that cannot be reached have empty rows."""


def constraints(flow: Flow, n_states: int) -> sparse.csr_array:
    """The matrix A (T S, T S A) of the polytope in the dynamics of a flow."""
    n_times, _, n_actions = flow.rewards.shape
    size = n_times * n_states * n_actions
    columns = np.arange(size)
    shape = n_times * n_states, size
    leave: sparse.csr_array = sparse.csr_array((np.ones(size), (columns // n_actions, columns)), shape=shape)
    if n_times == 1:
        return leave
    early = columns[: size - n_states * n_actions]
    # A table of one time stands for all.
    every = (n_times, *flow.transitions.shape[1:])
    chances = np.broadcast_to(flow.transitions, every)[:-1].reshape(len(early), -1)
    ends: NDArray[Any]
    if flow.successors is None:
        ends = np.broadcast_to(np.arange(n_states), chances.shape)
    else:
        ends = np.broadcast_to(flow.successors, every)[:-1].reshape(chances.shape)
    rows = (early // (n_states * n_actions) + 1)[:, None] * n_states + ends
    arrive = sparse.csr_array((chances.ravel(), (rows.ravel(), np.repeat(early, chances.shape[1]))), shape=shape)
    arrive.eliminate_zeros()
    return sparse.csr_array(leave - arrive)


def project_to_flows(
    point: Array, matrix: sparse.csr_array, initial: Array, multipliers: Array
) -> tuple[Array, Array]:
    """Find the flow that is nearest to a point in the Euclidean norm.

    Parameters
    ----------
    point:
        Shape (T, S, A); -infinity where the flow must have no mass.
    matrix:
        The constraints, from :func:`constraints`.
    initial:
        Law of the initial state, shape (S,).
    multipliers:
        Where the search begins, shape (T, S): zeros, or the multipliers of a similar projection.

    Returns
    -------
    The flow (T, S, A) and its multipliers (T, S).

    Raises
    ------
    ValueError
        If the method does not converge, or the point is not a number.
    """
    is_open = point != -np.inf
    if not np.isfinite(point[is_open]).all():
        raise ValueError("the point to project must be finite: the rewards or the step are too large")
    vector, dual = point.ravel(), multipliers.ravel().copy()
    total = np.zeros(len(dual))
    total[: len(initial)] = initial
    transposed = sparse.csr_array(matrix.T)

    def at(dual: Array) -> tuple[Array, float]:
        """The primal point and the dual value (to be minimised: its negative)."""
        primal = np.maximum(0.0, vector + transposed @ dual)
        return primal, 0.5 * float(primal @ primal) - float(total @ dual)

    primal, value = at(dual)
    exact = ROUNDING * len(initial) * max(1.0, float(np.abs(point[is_open]).max()))
    error, n_steps = np.inf, 0
    while True:
        slope = total - matrix @ primal
        before, error = error, float(np.abs(slope).max())
        if error <= exact or (error <= ENOUGH and error > 0.5 * before):
            break
        if n_steps == MOST_STEPS:
            raise ValueError("the projection onto flows does not converge: the rewards or the step are too large")
        active = matrix[:, np.flatnonzero(primal > 0.0)]
        system = sparse.csc_array(active @ active.T)
        shift = REGULARISATION * max(1.0, float(system.diagonal().mean())) + min(1e-6, 1e-3 * error**2)
        step = splu(sparse.csc_array(system + shift * sparse.eye_array(len(dual)))).solve(slope)
        gain, length, slack = float(slope @ step), 1.0, EPSILON * max(1.0, abs(value))
        while True:
            primal, reached = at(dual + length * step)
            if reached <= value - SUFFICIENT * length * gain + slack or length < SHORTEST:
                break
            length *= 0.5
        dual, value, n_steps = dual + length * step, reached, n_steps + 1
    return primal.reshape(point.shape), dual.reshape(multipliers.shape)
