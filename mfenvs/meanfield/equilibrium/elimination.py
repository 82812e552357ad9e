"""Linear two-point equations of a game that ends, solved by one elimination over time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Equations = tuple[Array, Array, Array, Array, Array, Array]
"""Matrices of a time: those of dV by dV' and by d mu, and the rest; of d mu' by d mu and by dV', and the rest.

Rests have two columns. Behind the last time there is one state of value 0."""


def eliminated(n_times: int, equations: Callable[[int], Equations]) -> list[tuple[Array, Array]]:
    """The changes of mass, (n, 2), and of values, (n, 2), of each time; the mass of the first does not change.

    Parameters
    ----------
    n_times:
        Number of times.
    equations:
        Function that returns the equations of a time.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the equations are singular.
    """
    # dV' = x_mass d mu' + x_rest, and d mu' = found (d mu, 1).
    x_mass, x_rest = np.zeros((1, 1)), np.zeros((1, 2))
    steps: list[tuple[Array, Array, Array]] = []
    for h in reversed(range(n_times)):
        v_v, v_m, v_0, m_m, m_v, m_0 = equations(h)
        # The first mass does not change: what hangs on it is not needed.
        by_mass = m_m if h > 0 else m_m[:, :0]
        known = np.concatenate((by_mass, m_0 + m_v @ x_rest), axis=1)
        found = np.linalg.solve(np.eye(len(m_v)) - m_v @ x_mass, known)
        steps.append((found, x_mass, x_rest))
        seen = v_v @ (x_mass @ found)
        x_mass, x_rest = v_m[:, : by_mass.shape[1]] + seen[:, :-2], v_0 + v_v @ x_rest + seen[:, -2:]
    mass, value = np.zeros((len(x_rest), 2)), x_rest
    changes = []
    for found, x_ahead, rest_ahead in reversed(steps):
        changes.append((mass, value))
        mass = found[:, :-2] @ mass[: found.shape[1] - 2] + found[:, -2:]
        value = x_ahead @ mass + rest_ahead
    return changes
