"""What the environments of all APIs tell of the population that they show."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.api.population import Population
from mfenvs.engine.engine import Engine
from mfenvs.game import Game
from mfenvs.wrappers.observations import ObservationBlock


class PopulationView:
    """Base of the environments that show a population, beside the base class of their framework."""

    game: Game
    """The game."""
    engine: Engine
    """The engine that simulates all worlds."""
    n_worlds: int
    """Number of independent copies of the game."""
    observe: tuple[ObservationBlock, ...]
    """The observation blocks that agents see beside their own observation."""
    render_mode: str | None
    """How world 0 is shown."""
    _population: Population

    def _show(self, population: Population) -> None:
        """Take the attributes from a population, after or before the constructor of the framework's base class."""
        self._population = population
        self.game = population.game
        self.engine = population.engine
        self.n_worlds = population.engine.n_worlds
        self.observe = population.observer.blocks
        self.render_mode = population.render_mode

    def action_masks(self) -> NDArray[np.bool_]:
        """Action masks now, a row for each agent, ordered by world, then by agent: False for an action of no use.

        Returns
        -------
        Shape (n_worlds * n_agents, n_actions).

        Raises
        ------
        TypeError
            If actions are not discrete.
        """
        return self.engine.action_masks().reshape(self._population.n_rows, -1)

    def render(self) -> Any:
        """Show world 0 since its last reset: as a text, an image (height, width, 3) of uint8, or None."""
        return self._population.render()
