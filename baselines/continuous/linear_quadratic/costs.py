"""Exact costs of affine feedbacks in the linear-quadratic game: the moments of the states solve linear ODEs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from mfenvs import checks
from mfenvs.games.linear_quadratic.game import LinearQuadratic

from .coefficients import coefficients
from .solution import LinearQuadraticSolution

Array = NDArray[np.float64]

ACCURACY = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13}
"""Method and tolerances of the ordinary differential equations."""


def deviation_cost(solution: LinearQuadraticSolution, kind: int, feedback: Callable[[float], ArrayLike]) -> float:
    """The expected cost of one agent who plays a feedback of its own in the mean field of a solution.

    In the competitive equilibrium no feedback costs less than ``solution.costs[kind]``.

    Parameters
    ----------
    solution:
        What all others play; their mean does not react to the agent.
    kind:
        Index of the agent's type.
    feedback:
        Function of the time that returns n_types + 2 coefficients f: the agent's control is
        u = -(f[0] x + sum_k f[1 + k] m_k + f[-1]), with the mean state m_k of each type, given the common noise if
        there is any.

    Raises
    ------
    TypeError, ValueError
        If the type does not exist, or the feedback returns something else.
    """
    c, n = solution.parameters, len(solution.parameters.share)
    kind = checks.integer("kind", kind, 0, n - 1)
    is_noisy = c.common_volatility > 0.0
    if is_noisy:
        solution.xi_of_means(0.0)  # Raises an error if the means have no feedback.
    a, b, q, r, s = (x[kind] for x in (c.drift, c.control_gain, c.state_cost, c.control_cost, c.coupling_cost))
    # The vector of the own state, the means of the types, and 1.
    linear = np.zeros((n + 2, n + 2))
    linear[0, 0], linear[0, 1:-1] = a, c.coupling[kind] * c.share
    linear[1:-1, 1:-1] = np.diag(c.drift) + np.outer(c.coupling, c.share)
    noise = np.full((n + 2, n + 2), c.common_volatility**2)
    noise[-1], noise[:, -1] = 0.0, 0.0
    noise[0, 0] += c.volatility[kind] ** 2

    def rate(time: float, values: Array) -> Array:
        moments = values[:-1].reshape(n + 2, n + 2)
        own = checks.finite_numbers("feedback", feedback(time), (n + 2,))
        flow = linear.copy()
        flow[0] -= b * own
        if is_noisy:
            flow[1:-1, 1:-1] -= c.strength[:, None] * solution.problem.feedback(time)
        else:
            flow[1:-1, -1] = -c.strength * solution.costate(time)
        moved = flow @ moments
        cost = 0.5 * q * moments[0, 0] + 0.5 * r * own @ moments @ own + s * moments[0, 1:-1] @ c.share
        return np.append((moved + moved.T + noise).ravel(), cost)

    first = np.concatenate([[c.first_mean[kind]], c.first_mean, [1.0]])
    moments = np.outer(first, first)
    moments[0, 0] += c.first_variance[kind]
    end = solve_ivp(rate, (0.0, c.duration), np.append(moments.ravel(), 0.0), **ACCURACY).y[:, -1]
    return float(end[-1] + 0.5 * c.terminal_cost[kind] * end[0])


def population_costs(
    game: LinearQuadratic, gain: Callable[[float], ArrayLike], constant: Callable[[float], ArrayLike]
) -> Array:
    """The expected cost of each type in the mean field in which all agents of each type play one affine feedback.

    Parameters
    ----------
    game:
        The game; the population has its proportions of types.
    gain, constant:
        Functions of the time that return g and o, each of shape (n_types,): controls are u = -(g x + o).

    Returns
    -------
    Costs, shape (n_types,).

    Raises
    ------
    TypeError, ValueError
        If it is another game, or a function returns something else.
    """
    c = coefficients(game)
    n = len(c.share)
    coupled = np.outer(c.coupling, c.share)

    def rate(time: float, values: Array) -> Array:
        m, v, shared = values[:n], values[n : 2 * n], values[2 * n : 2 * n + n * n].reshape(n, n)
        g, o = (
            checks.finite_numbers(*pair, (n,)) for pair in (("gain", gain(time)), ("constant", constant(time)))
        )
        own = c.drift - c.control_gain * g
        flow = np.diag(own) + coupled
        moved = flow @ shared
        square = m**2 + v + np.diag(shared)
        with_mean = m * (m @ c.share) + shared @ c.share
        control = g**2 * square + 2.0 * g * o * m + o**2
        return np.concatenate(
            [
                flow @ m - c.control_gain * o,
                2.0 * own * v + c.volatility**2,
                (moved + moved.T + c.common_volatility**2).ravel(),
                0.5 * (c.state_cost * square + c.control_cost * control) + c.coupling_cost * with_mean,
            ]
        )

    start = np.concatenate([c.first_mean, c.first_variance, np.zeros(n * n + n)])
    end = solve_ivp(rate, (0.0, c.duration), start, **ACCURACY).y[:, -1]
    last = end[:n] ** 2 + end[n : 2 * n] + np.diag(end[2 * n : 2 * n + n * n].reshape(n, n))
    costs: Array = end[-n:] + 0.5 * c.terminal_cost * last
    return costs
