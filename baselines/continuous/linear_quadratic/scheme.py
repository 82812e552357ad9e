"""The mean field in the game's own discrete time: laws under a feedback, and optimal gains."""

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.linear_quadratic.game import LinearQuadratic

from .coefficients import coefficients
from .solution import LinearQuadraticSolution

Array = NDArray[np.float64]


def scheme_moments(solution: LinearQuadraticSolution) -> tuple[Array, Array]:
    """Means and variances of the states of each type in the game's steps, with infinitely many agents.

    All agents play the feedback u = -(b / r) (P x + xi), evaluated at the beginning of each step. The laws are
    normal. They differ from those in continuous time, ``solution.mean`` and ``solution.variance``, by the order of
    ``dt``. N agents have these means and covariances among their expectations exactly, if their numbers are the
    proportions times N.

    Parameters
    ----------
    solution:
        Equilibrium or social optimum of a game, whose ``horizon`` and ``transition`` are taken.

    Returns
    -------
    Two arrays of shape (horizon + 1, n_types).

    Raises
    ------
    ValueError
        If the game has common noise, under which the means are random.
    """
    game, c = solution.game, solution.parameters
    if c.common_volatility > 0.0:
        raise ValueError(
            f"the moments of the scheme need a game without common noise, got common_volatility"
            f" {c.common_volatility:g}"
        )
    step, times = game.step_coefficients, game.dt * np.arange(game.horizon)
    gains, constants = solution.riccati(times), solution.xi(times)
    means, variances = (np.empty((game.horizon + 1, len(c.share))) for _ in range(2))
    means[0], variances[0] = c.first_mean, c.first_variance
    for h in range(game.horizon):
        control = -c.response * (gains[h] * means[h] + constants[h])
        means[h + 1] = step.stay * means[h] + step.push * control + step.pull * (c.share @ means[h])
        factor = step.stay - step.push * c.response * gains[h]
        variances[h + 1] = factor**2 * variances[h] + step.noise**2
    return means, variances


def scheme_gains(game: LinearQuadratic) -> Array:
    """Gains g of the equilibrium u = -(g x + o) in the game's own discrete time, by the Riccati recursion.

    As in continuous time they depend on an agent's own type alone. They tend to (b / r) P as ``dt`` tends to 0: an
    agent who holds its control for a step steers less. What learners of the game can find is these gains.

    Parameters
    ----------
    game:
        The game, whose ``horizon`` and ``transition`` are taken.

    Returns
    -------
    Shape (horizon, n_types).

    Raises
    ------
    TypeError
        If it is another game.
    ValueError
        If a type's costs are unbounded below in discrete time.
    """
    c = coefficients(game)
    step = game.step_coefficients
    gains = np.empty((game.horizon, len(c.share)))
    to_go = c.terminal_cost
    for h in reversed(range(game.horizon)):
        curvature = c.control_cost * game.dt + step.push**2 * to_go
        if not (curvature > 0.0).all():
            kind = game.types[int(np.argmin(curvature))]
            raise ValueError(
                f"the costs of type {kind!r} are unbounded below in steps of dt = {game.dt:g}, got state_cost"
                f" {game.state_cost} and terminal_cost {game.terminal_cost}"
            )
        gains[h] = step.stay * step.push * to_go / curvature
        to_go = c.state_cost * game.dt + step.stay**2 * to_go - curvature * gains[h] ** 2
    return gains
