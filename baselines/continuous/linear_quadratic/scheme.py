"""The law of the mean field in the game's own discrete time: exact moments of its scheme under a feedback."""

import numpy as np
from numpy.typing import NDArray

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
