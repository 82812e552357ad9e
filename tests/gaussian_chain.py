"""Exact moments of the N-player linear-quadratic game in discrete time, whose states are jointly Gaussian."""

import numpy as np


def chain_costs(game, gains, constants):
    """Expected cost of each agent of the N-player chain u = -(g x + o), from its mean and second moments."""
    n, kinds = game.n_agents, game.agents["type"]
    a, b, kappa, sigma, q, r, s, last = (
        np.array(getattr(game, name))[kinds]
        for name in (
            *("drift", "control_gain", "coupling", "volatility"),
            *("state_cost", "control_cost", "coupling_cost", "terminal_cost"),
        )
    )
    dt, average = game.duration / game.horizon, np.full(n, 1.0 / n)
    mean = np.array(game.initial_mean)[kinds]
    square = np.outer(mean, mean) + np.diag(np.array(game.initial_variance)[kinds])
    cost = np.zeros(n)
    for h in range(game.horizon):
        g, o = gains[h][kinds], constants[h][kinds]
        control = g**2 * np.diag(square) + 2 * g * o * mean + o**2
        cost += dt * (0.5 * q * np.diag(square) + 0.5 * r * control + s * (square @ average))
        flow = np.eye(n) + dt * (np.diag(a - b * g) + np.outer(kappa, average))
        moved = flow @ mean
        shift = -dt * b * o
        square = flow @ square @ flow.T + np.outer(moved, shift) + np.outer(shift, moved) + np.outer(shift, shift)
        square += dt * (np.diag(sigma**2) + game.common_volatility**2)
        mean = moved + shift
    return cost + 0.5 * last * np.diag(square)
