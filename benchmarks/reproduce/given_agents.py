"""Games whose agents are given instead of drawn."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame


def with_agents(game: FiniteGame, agents: NDArray[Any], n_agents: int) -> FiniteGame:
    """The same game among N agents with given parameters, repeated in turn if there are fewer of them.

    Parameters
    ----------
    game:
        A finite game.
    agents:
        Parameters, shape (n,) of its ``agent_dtype``, 1 <= n <= N.
    n_agents:
        Number of agents N of the new game.
    """
    kind: Any = type(game)

    class WithAgents(kind):  # type: ignore[misc]
        def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
            return np.resize(np.asarray(agents), self.n_agents)

    constants = {field.name: getattr(game, field.name) for field in dataclasses.fields(game) if field.init}
    made: FiniteGame = WithAgents(**{**constants, "n_agents": n_agents})
    return made
