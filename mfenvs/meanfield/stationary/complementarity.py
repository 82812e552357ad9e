"""Linear complementarity problems by Lemke's method."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_PIVOTS_PER_VARIABLE = 50
"""Number of pivots, per variable, after which the method gives up."""
SMALLEST_PIVOT = 1e-11
"""Size of an entry, relative to its column's largest, below which it is a rounding error and no pivot."""


def complementary_solution(matrix: Array, constants: Array) -> Array | None:
    """Find z >= 0 with w = M z + q >= 0 and z . w = 0, by complementary pivoting.

    Parameters
    ----------
    matrix:
        M, shape (n, n).
    constants:
        q, shape (n,).

    Returns
    -------
    The solution z, shape (n,), or None if the method ends on a ray or does not end, as it may where M is not
    copositive-plus.

    References
    ----------
    Cottle, Pang & Stone, "The Linear Complementarity Problem", section 4.4.
    """
    n = len(constants)
    if constants.min() >= 0.0:
        return np.zeros(n)
    # Columns: w (0 .. n - 1), z (n .. 2n - 1), the artificial variable (2n), constants.
    table = np.hstack([np.eye(n), -matrix, -np.ones((n, 1)), constants[:, None]])
    basis = np.arange(n)
    row, entering = int(constants.argmin()), 2 * n
    for _ in range(MOST_PIVOTS_PER_VARIABLE * n):
        table[row] /= table[row, entering]
        others = np.arange(n) != row
        table[others] -= np.outer(table[others, entering], table[row])
        leaving, basis[row] = int(basis[row]), entering
        if leaving == 2 * n:
            solution = np.zeros(3 * n)
            solution[basis] = table[:, -1]
            return solution[n : 2 * n]
        entering = leaving + n if leaving < n else leaving - n
        column = table[:, entering]
        allowed = column > SMALLEST_PIVOT * max(1e-300, float(np.abs(column).max()))
        if not allowed.any():
            return None
        ratios = np.where(allowed, np.maximum(table[:, -1], 0.0) / np.where(allowed, column, 1.0), np.inf)
        tied = np.flatnonzero(ratios <= ratios.min() * (1.0 + 1e-12) + 1e-15)
        # The artificial variable leaves as soon as it can; other ties go to the largest pivot, for stability.
        artificial = tied[basis[tied] == 2 * n]
        row = int(artificial[0]) if len(artificial) else int(tied[column[tied].argmax()])
    return None
