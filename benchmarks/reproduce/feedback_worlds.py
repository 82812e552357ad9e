"""Worlds of the linear-quadratic game whose agents all play the feedback of its closed form."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from baselines.continuous.linear_quadratic import LinearQuadraticSolution
from mfenvs import Engine
from mfenvs.games.linear_quadratic.game import LinearQuadratic


class FeedbackWorlds:
    """Plays episodes of the feedback u = -(b / r) (P(t) x + xi(t)), whose coefficients are computed once.

    Parameters
    ----------
    solution:
        Solution in closed form.
    game:
        Game that is played: of any number of agents and steps.
    """

    def __init__(self, solution: LinearQuadraticSolution, game: LinearQuadratic) -> None:
        self.game = game
        times = game.dt * np.arange(game.horizon)
        response = solution.parameters.response
        self._gains = response * solution.riccati(times)
        self._constants = response * solution.xi(times)
        ends = np.cumsum(game.numbers)
        self.of_type = [slice(end - number, end) for end, number in zip(ends, game.numbers, strict=True)]
        """Agents of each type, as slices."""

    def play(self, engine: Engine, seed: int) -> Iterator[NDArray[np.float32]]:
        """One episode of all worlds of an engine: the states at each time, shape (n_worlds, n_agents).

        The arrays are views, overwritten by the second next step.
        """
        controls = np.empty((engine.n_worlds, self.game.n_agents, 1), np.float32)
        rewards = np.empty((engine.n_worlds, self.game.n_agents), np.float32)
        yield engine.reset(seed)
        for gains, constants in zip(self._gains, self._constants, strict=True):
            states = engine.states
            for kind, agents in enumerate(self.of_type):
                controls[:, agents, 0] = -(
                    np.float32(gains[kind]) * states[:, agents] + np.float32(constants[kind])
                )
            engine.step(controls, rewards)
            yield engine.states
