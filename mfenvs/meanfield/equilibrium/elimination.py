"""Linear two-point equations of a game that ends, solved by one elimination over time."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from mfenvs.meanfield.equilibrium.compressed_rows import Matrix, add, product

Array = NDArray[np.float64]

Matrices = tuple[Matrix, Matrix, Matrix, Matrix]
"""Matrices of a time: those of dV by dV' and by d mu, and those of d mu' by d mu and by dV'. Behind the last time
there is one state of value 0."""
Rests = tuple[Array, Array]
"""What is left of dV and of d mu' at a time, two columns each."""

BLOCK = 48
"""Number of rows that LAPACK solves for at a time. With some 250 rows, and as many systems, its own solution takes
1.5 times as long."""


def eliminate(matrices: Callable[[int], Matrices], rests: Sequence[Rests]) -> list[tuple[Array, Array]]:
    """The changes of mass and of values, (n, 2) each, of all times. The mass of the first time does not change.

    Parameters
    ----------
    matrices:
        Function that returns the matrices of a time, dense or sparse.
    rests:
        What is left at each time.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the equations are singular.
    """
    # dV' = x d mu' + rest, so that (1 - m_v x) d mu' = m_m d mu + m_v rest + what is left. What comes from d mu is
    # kept by itself: beside the rest, which is immense near an equilibrium, its digits would be lost.
    value_ahead = np.zeros((1, 3))  # x and the rest, side by side
    steps = []
    for h in reversed(range(len(rests))):
        (v_v, v_m, m_m, m_v), (v_0, m_0) = matrices(h), rests[h]
        n_next, n = m_m.shape
        if h == 0:
            n = 0  # what hangs on the first mass is not needed
        arrived = product(m_v, value_ahead)
        mass_ahead = np.zeros((n_next, n + 2))
        if h > 0:
            add(m_m, mass_ahead[:, :n])
        mass_ahead[:, n:] = m_0 + arrived[:, -2:]
        system = -arrived[:, :-2]
        system.flat[:: n_next + 1] += 1.0
        solve_in_place(system, mass_ahead)
        steps.append((mass_ahead, value_ahead))
        moved = value_ahead[:, :-2] @ mass_ahead
        moved[:, n:] += value_ahead[:, -2:]
        value_ahead = product(v_v, moved)
        value_ahead[:, n:] += v_0
        if h > 0:
            add(v_m, value_ahead[:, :n])
    mass, value, changes = np.zeros_like(value_ahead), value_ahead, []
    for mass_ahead, value_ahead in reversed(steps):
        changes.append((mass, value))
        by_mass = mass_ahead[:, :-2]
        mass = by_mass @ mass[: by_mass.shape[1]] + mass_ahead[:, -2:]
        value = value_ahead[:, :-2] @ mass + value_ahead[:, -2:]
    return changes


def solve_in_place(matrix: Array, known: Array) -> None:
    """Turn ``known`` into the solution y of matrix y = known.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is singular.
    """
    factors, pivots, info = lapack.dgetrf(matrix)
    if info != 0:
        raise np.linalg.LinAlgError("the equations are singular")
    order = np.arange(len(factors))
    for i, pivot in enumerate(pivots):
        order[i], order[pivot] = order[pivot], order[i]
    known[:] = known[order]
    _substitute(factors, known, is_lower=True)
    _substitute(factors, known, is_lower=False)


def _substitute(factors: Array, known: Array, *, is_lower: bool) -> None:
    """Solve in place with a triangle of the factors, the lower one with the diagonal 1."""
    n = len(factors)
    if n <= BLOCK:
        options = {"side": 1, "trans_a": 1, "overwrite_b": 1, "lower": is_lower, "diag": is_lower}
        known[:] = blas.dtrsm(1.0, factors, known.T, **options).T
        return
    # Halves: nearly all of the work is in products, which are faster.
    upper, lower = slice(n // 2), slice(n // 2, n)
    first, second = (upper, lower) if is_lower else (lower, upper)
    _substitute(factors[first, first], known[first], is_lower=is_lower)
    known[second] -= factors[second, first] @ known[first]
    _substitute(factors[second, second], known[second], is_lower=is_lower)
