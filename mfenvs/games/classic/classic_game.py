"""What the classic games have in common."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs.finite_game import FiniteGame
from mfenvs.game import NO_PARAMETERS
from mfenvs.populations import PopulationGame
from mfenvs.rules import crowd, rule

LARGEST = 1e9
"""Largest size of a constant in rewards, which are in single precision in simulations."""
MOST_PLACES = 10_000
"""Largest number of places along a line or a side of a map."""


@rule
def crowding(world: Any, cell: Any, least: Any) -> Any:
    """-log(mu + least), mu being the share of all agents, the agent itself included, who are in ``cell``."""
    return -math.log(crowd(world, cell) + least)


@dataclasses.dataclass(kw_only=True)
class ClassicGame(FiniteGame):
    """A classic game: a finite game of agents who are all alike."""

    n_agents: int = 1000
    """Number of agents N [O]."""

    family: ClassVar[str] = "classic"
    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS

    @property
    def map_of_states(self) -> NDArray[np.int64] | None:
        """The state in each row and column of the game's map, -1 for none; None for a game without a map."""
        return None


@dataclasses.dataclass(kw_only=True)
class StateCountingGame(ClassicGame):
    """A classic game whose rules read who is in which state, and not what they do: agents are counted by state."""

    @staticmethod
    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        """The agent's state."""
        return state

    @property
    def n_cells(self) -> int:
        """|S|."""
        return self.n_states


@dataclasses.dataclass(kw_only=True)
class ClassicPopulationGame(PopulationGame):
    """A classic game with several populations, whose agents are counted by state."""

    n_agents: int = 1000
    """Number of agents N, of all populations together [O]."""

    family: ClassVar[str] = "classic"
    counts_actions: ClassVar[bool] = False

    @property
    def map_of_states(self) -> NDArray[np.int64] | None:
        """The local state in each row and column of the game's map, -1 for none; None for a game without a map."""
        return None
