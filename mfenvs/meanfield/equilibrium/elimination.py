"""Linear two-point equations of a game that ends, solved by one elimination over time."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[np.float64]

Matrices = tuple[Array, Array, Array, Array]
"""Matrices of a time: those of dV by dV' and by d mu, and those of d mu' by d mu and by dV'. Behind the last time
there is one state of value 0."""
Rests = tuple[Array, Array]
"""What is left of dV and of d mu' at a time, two columns each."""


class Elimination:
    """Equations of all times, factorised: they are solved for several rests.

    The mass of the first time does not change.

    Parameters
    ----------
    n_times:
        Number of times.
    matrices:
        Function that returns the matrices of a time.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the equations are singular.
    """

    def __init__(self, n_times: int, matrices: Callable[[int], Matrices]) -> None:
        # dV' = x d mu' + rest, and d mu' = found d mu + rest.
        x = np.zeros((1, 1))
        self._steps = []
        for h in reversed(range(n_times)):
            v_v, v_m, m_m, m_v = matrices(h)
            factors, pivots, info = lapack.dgetrf(np.eye(len(m_v)) - m_v @ x)
            if info != 0:
                raise np.linalg.LinAlgError("the equations are singular")
            # What hangs on the first mass is not needed.
            found = lapack.dgetrs(factors, pivots, m_m)[0] if h > 0 else m_m[:, :0]
            self._steps.append((factors, pivots, x, found, v_v, m_v))
            x = v_m[:, : found.shape[1]] + v_v @ (x @ found)

    def solved(self, rests: Sequence[Rests]) -> list[tuple[Array, Array]]:
        """The changes of mass, (n, 2), and of values, (n, 2), of each time, given what is left at each."""
        rest, ahead = np.zeros((1, 2)), []
        for (factors, pivots, x, _, v_v, m_v), (v_0, m_0) in zip(self._steps, reversed(rests), strict=True):
            arrived = lapack.dgetrs(factors, pivots, m_0 + m_v @ rest)[0]
            ahead.append((arrived, rest))
            rest = v_0 + v_v @ (rest + x @ arrived)
        mass, value, changes = np.zeros_like(rest), rest, []
        for (_, _, x, found, _, _), (arrived, rest_ahead) in zip(
            reversed(self._steps), reversed(ahead), strict=True
        ):
            changes.append((mass, value))
            mass = found @ mass[: found.shape[1]] + arrived
            value = x @ mass + rest_ahead
        return changes
