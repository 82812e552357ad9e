"""What conformance tests are given: a game, from which they make engines and environments."""

import dataclasses
from typing import Any

from pettingzoo.utils import parallel_to_aec

from mfenvs.api.gymnasium import PopulationVectorEnv, RepresentativeAgentEnv
from mfenvs.api.pettingzoo import PopulationParallelEnv
from mfenvs.engine.engine import Engine
from mfenvs.game import Game
from mfenvs.wrappers.observations import Observe


@dataclasses.dataclass(frozen=True)
class Subject:
    """A game whose environments are tested."""

    game: Game
    observe: Observe = ()
    """Observation blocks that agents see beside their own observation."""
    debug: bool = False
    """Whether environments check the results of the game's rules."""
    n_cycles: int = 20
    """Number of steps of PettingZoo's tests."""

    def engine(self, n_worlds: int, first_world: int = 0) -> Engine:
        """An engine of worlds of the game."""
        return Engine(self.game, n_worlds, first_world=first_world, debug=self.debug)

    def parallel(self) -> PopulationParallelEnv:
        """All agents as a ParallelEnv of PettingZoo."""
        return PopulationParallelEnv(self.game, observe=self.observe, debug=self.debug)

    def aec(self) -> Any:
        """All agents as an AECEnv of PettingZoo."""
        return parallel_to_aec(self.parallel())

    def representative(self) -> RepresentativeAgentEnv:
        """One agent among others who act at random, as an Env of gymnasium."""
        return RepresentativeAgentEnv(self.game, observe=self.observe, debug=self.debug)

    def vector(self, n_worlds: int) -> PopulationVectorEnv:
        """All agents as a VectorEnv of gymnasium."""
        return PopulationVectorEnv(self.game, n_worlds=n_worlds, observe=self.observe, debug=self.debug)
