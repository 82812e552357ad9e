"""Linear two-point equations of a game that ends, solved by one elimination over time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas, lapack

Array = NDArray[np.float64]
Matrix = Any
"""An array, or a sparse array in compressed rows."""

Matrices = tuple[Matrix, Matrix, Matrix, Matrix]
"""Matrices of a time: those of dV by dV' and by d mu, and those of d mu' by d mu and by dV'. Behind the last time
there is one state of value 0."""
Rests = tuple[Array, Array]
"""What is left of dV and of d mu' at a time, two columns each."""

BLOCK = 64
"""Number of rows that are solved for at a time. LAPACK's own solution of as many systems as there are rows takes
1.5 times as long, with 250 of them."""


class Elimination:
    """Equations of all times, factorised: they are solved for several rests.

    The mass of the first time does not change.

    Parameters
    ----------
    n_times:
        Number of times.
    matrices:
        Function that returns the matrices of a time, dense or sparse.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the equations are singular.
    """

    def __init__(self, n_times: int, matrices: Callable[[int], Matrices]) -> None:
        # dV' = x d mu' + rest, so that (1 - m_v x) d mu' = m_m d mu + m_v rest + what is left. What comes from
        # d mu is kept by itself: beside the rest, which is immense near an equilibrium, its digits would be lost.
        x = np.zeros((1, 1))
        self._steps = []
        for h in reversed(range(n_times)):
            v_v, v_m, m_m, m_v = matrices(h)
            system = -(m_v @ x)
            system.flat[:: len(system) + 1] += 1.0
            factors = _Factors(system)
            # What hangs on the first mass is not needed.
            by_mass = factors.solved_for_many(m_m) if h > 0 else np.zeros(m_m.shape)
            self._steps.append((factors, x, by_mass, v_v, m_v))
            if h > 0:
                x = v_v @ (x @ by_mass) + v_m

    def solved(self, rests: Sequence[Rests]) -> list[tuple[Array, Array]]:
        """The changes of mass, (n, 2), and of values, (n, 2), of each time, given what is left at each."""
        rest, ahead = np.zeros((1, 2)), []
        for (factors, x, _, v_v, m_v), (v_0, m_0) in zip(self._steps, reversed(rests), strict=True):
            arrived = factors.solved(m_0 + m_v @ rest)
            ahead.append((arrived, rest))
            rest = v_0 + v_v @ (rest + x @ arrived)
        mass, value, changes = np.zeros_like(rest), rest, []
        for (_, x, by_mass, _, _), (arrived, rest_ahead) in zip(
            reversed(self._steps), reversed(ahead), strict=True
        ):
            changes.append((mass, value))
            mass = by_mass @ mass + arrived
            value = x @ mass + rest_ahead
        return changes


class _Factors:
    """A square matrix, factorised."""

    def __init__(self, matrix: Array) -> None:
        self._factors, self._pivots, info = lapack.dgetrf(matrix)
        if info != 0:
            raise np.linalg.LinAlgError("the equations are singular")

    def solved(self, known: Array) -> Array:
        """The solution y of matrix y = known, for few columns."""
        return np.asarray(lapack.dgetrs(self._factors, self._pivots, known)[0], np.float64)

    def solved_for_many(self, known: Matrix) -> Array:
        """The solution y of matrix y = known, for many columns."""
        dense = known.toarray() if sparse.issparse(known) else known
        factors, n = self._factors, len(self._factors)
        if n <= 2 * BLOCK:
            return self.solved(dense)
        order = np.arange(n)
        for i, pivot in enumerate(self._pivots):
            order[i], order[pivot] = order[pivot], order[i]
        found = np.ascontiguousarray(dense[order])
        starts = range(0, n, BLOCK)
        for is_lower in (True, False):
            for i in starts if is_lower else reversed(starts):
                j = min(i + BLOCK, n)
                done = slice(i) if is_lower else slice(j, n)
                left = found[i:j] - factors[i:j, done] @ found[done]
                block = factors[i:j, i:j]
                options = {"side": 1, "trans_a": 1, "overwrite_b": 1, "lower": is_lower, "diag": is_lower}
                found[i:j] = blas.dtrsm(1.0, block, left.T, **options).T
        return found
