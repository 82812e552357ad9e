"""A crowd on a torus, with noise: a game of many states of which few can come next."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame, checks, crowd, rule
from mfenvs.game import NO_PARAMETERS

STAY, FORTH, BACK, UP, DOWN = range(5)
"""Actions, and what the noise adds to them."""
SMALLEST = 1e-20
"""Added to the mass of a place, of which the logarithm is taken."""


class TorusConstants(NamedTuple):
    """The constants of the crowd on a torus, as its rules read them."""

    side: int
    noise: float
    cost: float
    aversion: float


@rule
def by_place(state: Any, action: Any, agent: Any) -> Any:
    """Count an agent by its place."""
    return state


@rule
def around(coordinate: Any, side: Any) -> Any:
    """A coordinate that is at most one side away, brought back to the torus."""
    return coordinate - side if coordinate >= side else coordinate + side if coordinate < 0 else coordinate


@rule
def moved(branch: Any, state: Any, action: Any, side: Any) -> Any:
    """The place to which an action and a push of the noise lead."""
    x, y = state // side, state % side
    x += (action == FORTH) - (action == BACK)
    y += (action == UP) - (action == DOWN)
    x = around(x, side) + (branch == FORTH) - (branch == BACK)
    y = around(y, side) + (branch == UP) - (branch == DOWN)
    return around(x, side) * side + around(y, side)


@dataclasses.dataclass(kw_only=True)
class CrowdOnTorus(FiniteGame):
    """Agents on a ``side`` x ``side`` torus move or stay, are pushed by noise, and avoid each other.

    With probability ``noise`` a step in one of four directions is added to an agent's own. A step pays the
    closeness to the centre in [0, 1], less ``cost`` for moving and ``aversion`` log mu(place).
    """

    n_agents: int = 1000
    horizon: int = 50
    side: int = 100
    noise: float = 0.5
    cost: float = 0.1
    aversion: float = 0.1
    agent_dtype = NO_PARAMETERS
    n_actions = 5
    n_branches = 5
    cell = staticmethod(by_place)

    def check(self) -> None:
        """Check the constants."""
        checks.integer("side", self.side, 2)
        checks.real("noise", self.noise, 0.0, 1.0)
        checks.real("cost", self.cost, 0.0)
        checks.real("aversion", self.aversion, 0.0)
        super().check()

    @property
    def n_states(self) -> int:
        """Number of places."""
        return self.side**2

    @property
    def n_cells(self) -> int:
        """Agents are counted by their places."""
        return self.side**2

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """A bell around a quarter of the way along both axes."""
        line = np.exp(-(((np.arange(self.side) / self.side - 0.25) / 0.125) ** 2))
        law: NDArray[np.float64] = np.outer(line, line).ravel() / line.sum() ** 2
        return law

    @property
    def constants(self) -> TorusConstants:
        """The constants that rules read."""
        return TorusConstants(self.side, float(self.noise), float(self.cost), float(self.aversion))

    @staticmethod
    @rule
    def branch(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Move by the action, and by the noise of this branch."""
        constants = world.constants
        side, noise = constants.side, constants.noise
        return moved(branch, state, action, side), 1.0 - noise if branch == STAY else 0.25 * noise

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Pay the closeness to the centre, less the cost of moving and of the crowd."""
        constants = world.constants
        side = constants.side
        away = abs(state // side - side // 2) + abs(state % side - side // 2)
        moving = 0.0 if action == STAY else constants.cost
        return 1.0 - away / side - moving - constants.aversion * math.log(crowd(world, state) + SMALLEST)


@dataclasses.dataclass(kw_only=True)
class JostlingCrowdOnTorus(CrowdOnTorus):
    """The same where a crowd jostles: an agent's own move succeeds the less, the more others are in its place.

    The noise is 1 - (1 - ``noise``) / (1 + S mu(place)), with S places: the table of transitions depends on the
    population, and is another one at every time.
    """

    @staticmethod
    @rule
    def branch(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """Move by the action, and by the noise of this branch."""
        constants = world.constants
        side = constants.side
        noise = 1.0 - (1.0 - constants.noise) / (1.0 + side * side * crowd(world, state))
        return moved(branch, state, action, side), 1.0 - noise if branch == STAY else 0.25 * noise
