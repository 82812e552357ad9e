"""A convex quadratic programme over the probability simplex, solved exactly by an active-set method."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-13
"""Largest improvement, relative to the size of the gradient, that no longer counts as one."""
DEPENDENT = 1e-10
"""Residual, relative to the vectors' size, below which a vector counts as an affine combination of others."""
STEPS_PER_VECTOR = 20
"""Number of steps per vector after which the search gives up; it usually needs about as many as dimensions."""


def minimise_on_simplex(vectors: Array, linear: Array) -> Array:
    """Minimise |sum_i w_i b_i|^2 + sum_i w_i l_i over probabilities w.

    The vectors of positive weight are kept affinely independent, as in Wolfe's algorithm for the point of least
    norm, so that every step solves a regular system of linear equations.

    Parameters
    ----------
    vectors:
        The vectors b_i, shape (n, d).
    linear:
        The numbers l_i, shape (n,).

    Returns
    -------
    The weights w, shape (n,). Where several are optimal, sum_i w_i b_i is the same for all.

    Raises
    ------
    ArithmeticError
        If the search does not end, which exact arithmetic excludes.

    References
    ----------
    Wolfe, "Finding the nearest point in a polytope", Mathematical Programming 11, 1976.
    """
    n = len(vectors)
    weights = np.zeros(n)
    weights[np.argmin((vectors**2).sum(axis=1) + linear)] = 1.0
    for _ in range(STEPS_PER_VECTOR * (n + 1)):
        gradient = 2.0 * vectors @ (weights @ vectors) + linear
        enters = int(np.argmin(gradient))
        gain = weights @ gradient - gradient[enters]
        if weights[enters] > 0.0 or gain <= TOLERANCE * np.abs(gradient).max():
            return weights
        _add(vectors, linear, weights, enters)
    raise ArithmeticError(f"a quadratic programme over {n} vectors did not end")


def _add(vectors: Array, linear: Array, weights: Array, enters: int) -> None:
    """Give weight to one more vector, and move to the optimum over the vectors that have weight."""
    support = np.flatnonzero(weights)
    combination = _affine_combination(vectors[support], vectors[enters])
    if combination is not None:
        # The sum stays as it is while weight moves from the others to the new vector: only l changes, downwards.
        positive = combination > 0.0
        ratios = np.full(len(support), np.inf)
        ratios[positive] = weights[support][positive] / combination[positive]
        leaves = int(np.argmin(ratios))
        weights[support] = np.maximum(weights[support] - ratios[leaves] * combination, 0.0)
        weights[enters] = ratios[leaves]
        weights[support[leaves]] = 0.0
    else:
        support = np.append(support, enters)
    members = np.union1d(support[weights[support] > 0.0], [enters])
    while True:
        optimum = _optimum_on(vectors[members], linear[members])
        if (optimum > 0.0).all():
            weights[members] = optimum
            return
        # The way to the optimum ends at the first weight that becomes zero.
        present = weights[members]
        falling = optimum <= 0.0
        ratios = np.full(len(members), np.inf)
        ratios[falling] = present[falling] / (present[falling] - optimum[falling])
        leaves = int(np.argmin(ratios))
        weights[members] = np.maximum(present + min(ratios[leaves], 1.0) * (optimum - present), 0.0)
        weights[members[leaves]] = 0.0
        members = np.delete(members, leaves)


def _affine_combination(base: Array, vector: Array) -> Array | None:
    """Coefficients that sum to one and give ``vector`` from the rows of ``base``, or None if there are none."""
    origin = base[0]
    directions, target = (base[1:] - origin).T, vector - origin
    scale = max(float(np.abs(directions).max(initial=0.0)), float(np.abs(target).max()))
    if directions.shape[1]:
        found = np.linalg.lstsq(directions, target, rcond=None)[0]
        residual = target - directions @ found
    else:
        found, residual = np.zeros(0), target
    if np.abs(residual).max() > DEPENDENT * scale:
        return None
    return np.concatenate([[1.0 - found.sum()], found])


def _optimum_on(vectors: Array, linear: Array) -> Array:
    """The minimiser over weights that sum to one, of either sign, for affinely independent vectors."""
    origin = vectors[0]
    directions = vectors[1:] - origin
    if not len(directions):
        return np.ones(1)
    # By orthogonal factors, which lose half as many digits as the normal equations.
    triangle: Any = np.linalg.qr(directions.T, mode="r")
    slope = -(2.0 * directions @ origin + linear[1:] - linear[0])
    half = np.linalg.solve(triangle.T, slope)
    inner = 0.5 * np.linalg.solve(triangle, half)
    return np.concatenate([[1.0 - inner.sum()], inner])
