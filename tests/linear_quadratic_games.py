"""Linear-quadratic games that tests share, and the exact moments of their mean field in discrete time."""

import numpy as np

from mfenvs import make
from mfenvs.games.linear_quadratic.game import LinearQuadratic

NAME = "LinearQuadratic-v0"

THREE = {
    "types": ("home", "shop", "farm"),
    "proportions": (0.5, 0.3, 0.2),
    "duration": 3.0,
    "drift": (0.1, -0.4, -0.3),
    "control_gain": (0.8, -1.1, 0.5),
    "coupling": (-0.3, 0.4, 0.2),
    "volatility": (0.3, 0.5, 0.0),
    "state_cost": (0.6, 1.5, -0.05),
    "control_cost": (0.7, 1.2, 2.0),
    "coupling_cost": (0.4, -0.2, 0.5),
    "terminal_cost": (0.0, 0.8, 1.0),
    "initial_mean": (0.7, -1.2, 0.4),
    "initial_variance": (0.2, 0.0, 0.5),
}
"""A game of three types, one of them without noise and with a negative state cost."""


def two(**constants) -> LinearQuadratic:
    """The default game."""
    return make(NAME, **constants)


def three(**constants) -> LinearQuadratic:
    """The game of three types."""
    return make(NAME, **THREE | constants)


def one(**constants) -> LinearQuadratic:
    """A game of one type; numbers are its parameters."""
    zeros = dict.fromkeys(("drift", "coupling", "coupling_cost", "terminal_cost", "volatility"), 0.0)
    ones = dict.fromkeys(("control_gain", "state_cost", "control_cost", "initial_mean", "initial_variance"), 1.0)
    numbers = {name: (value,) for name, value in (zeros | ones | constants).items() if name in zeros | ones}
    others = {name: value for name, value in constants.items() if name not in numbers}
    return make(NAME, types=("only",), proportions=(1.0,), **numbers | others)


def parameters(game):
    """a, b, kappa, sigma, q, r, s and q_T of the types."""
    names = ("drift", "control_gain", "coupling", "volatility")
    return [
        np.array(getattr(game, name))
        for name in (*names, "state_cost", "control_cost", "coupling_cost", "terminal_cost")
    ]


def euler_costs(game, feedback, n_steps):
    """Cost of each type in the Euler scheme of the mean field, from the moments of (x_k, m, 1) given common noise.

    ``feedback(t)`` returns the rows f_k of controls u = -f_k . (x, m_1, ..., 1), shape (n, n + 2).
    """
    a, b, kappa, sigma, q, r, s, last = parameters(game)
    n, dt, share = len(a), game.duration / n_steps, np.array(game.proportions)
    xbar = np.concatenate([[0.0], share, [0.0]])
    first = np.array(game.initial_mean)
    moments = np.empty((n, n + 2, n + 2))
    for k in range(n):
        vector = np.concatenate([[first[k]], first, [1.0]])
        moments[k] = np.outer(vector, vector)
        moments[k, 0, 0] += game.initial_variance[k]
    shared = np.outer(xbar * 0 + 1, xbar * 0 + 1)
    shared[-1], shared[:, -1] = 0.0, 0.0
    cost = np.zeros(n)
    for h in range(n_steps):
        rows = np.asarray(feedback(h * dt))
        means = np.zeros((n, n + 2))
        means[:, 1:-1] = np.diag(a) + np.outer(kappa, share)
        # A type's mean is steered as the type's state is, with the mean in the place of the state.
        means -= b[:, None] * np.concatenate([np.zeros((n, 1)), rows[:, 1:]], axis=1)
        means[:, 1:-1] -= np.diag(b * rows[:, 0])
        for k in range(n):
            second = moments[k]
            running = 0.5 * q[k] * second[0, 0] + 0.5 * r[k] * rows[k] @ second @ rows[k]
            cost[k] += dt * (running + s[k] * second[0] @ xbar)
            flow = np.eye(n + 2)
            flow[0] += dt * (kappa[k] * xbar - b[k] * rows[k])
            flow[0, 0] += dt * a[k]
            flow[1:-1] += dt * means
            moments[k] = flow @ second @ flow.T + dt * game.common_volatility**2 * shared
            moments[k, 0, 0] += dt * sigma[k] ** 2
    return cost + 0.5 * last * moments[:, 0, 0]


def extrapolated(costs, n_steps):
    """Costs in continuous time from those of a first-order scheme with n, 2 n, 4 n and 8 n steps (Richardson)."""
    one_, two_, four, eight = (np.asarray(costs(n_steps * k)) for k in (1, 2, 4, 8))
    return (-one_ + 14 * two_ - 56 * four + 64 * eight) / 21
