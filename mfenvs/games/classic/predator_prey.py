"""Predators and prey: three or four populations that chase each other in a square."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, ClassicPopulationGame
from mfenvs.games.classic.grids import MOVE_NAMES, MOVES, grid_of, noise_of
from mfenvs.population_rules import crowd_in, share_in
from mfenvs.populations import Population
from mfenvs.rules import rule

NAMES = "red", "green", "blue", "yellow"


class HuntingGround(NamedTuple):
    """The constants of the predators and prey, as their rules read them."""

    neighbours: NDArray[np.int64]
    """The cell that each move leads to, shape (n_cells, 5)."""
    noise: NDArray[np.float64]
    """Probability of each move as noise, shape (5,)."""
    attraction: NDArray[np.float64]
    """What a population gains by others being where it is, shape (P, P)."""
    aversion: float
    least: float


@dataclasses.dataclass(kw_only=True)
class PredatorPrey(ClassicPopulationGame):
    """Predators and prey: three populations in a square, each of which chases one and flees from another.

    ``python_mfg_predator_prey`` of OpenSpiel, after Perolat et al., "Scaling up mean field games with online
    mirror descent" (arXiv 2103.00623), section 5.4; tags as in :mod:`mfenvs.games`.

    States: cells x + size y. Actions: 0 stay, 1 next column, 2 next row, 3 row before, 4 column before.

    * the agent moves, then noise moves it again: with probability ``noise`` in one of four directions, all equally
      likely. Moves beyond a border stay, or lead to the opposite one on a torus [S]
    * r_p = -aversion log(mu_p(s) + least) + sum_q attraction[p][q] mu_q(s), mu_q being the law *within* population
      q [S]
    * each population starts in a cell of its own [S]

    Red flees from green and chases blue, green chases red and flees from blue [S; its comment says the opposite].
    In the source the rewards at time 0 read the initial laws in another order than they are stored in. That shifts
    values by constants; here they are right [R].

    Known: the uniform policy has exploitability 12.453971 (red), 12.041921 (green) and 12.472492 (blue). OpenSpiel
    prints the sum, 36.968384.
    """

    horizon: int = 10
    """Number of steps H [S]."""
    size: int = 5
    """Number of rows and of columns [S]."""
    noise: float = 0.8
    """Probability that noise moves an agent [S]."""
    torus: bool = False
    """Whether opposite borders are joined [S]."""
    attraction: Sequence[Sequence[float]] = ((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0))
    """What each population gains by each other's share in its cell, (P, P) [S]."""
    starts: Sequence[Sequence[int]] = ((0, 0), (4, 0), (0, 4))
    """Column and row in which each population starts [S]."""
    aversion: float = 1.0
    """Factor of the aversion to crowds of the own population [S]."""
    least: float = 1e-25
    """What is added to mu(s) in its logarithm [S]."""

    action_names = MOVE_NAMES
    n_branches = len(MOVES)

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The cell that noise k leads to after the action, and its probability."""
        ground = world.constants
        return ground.neighbours[ground.neighbours[state, action], k], ground.noise[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu) of the agent's population."""
        ground, own = world.constants, agent.population
        total = -ground.aversion * math.log(crowd_in(world, own, state) + ground.least)
        for other in range(len(ground.attraction)):
            total += ground.attraction[own, other] * share_in(world, other, state)
        return total

    def check(self) -> None:
        """Check the square, the noise and the factors of the reward."""
        self.size = checks.integer("size", self.size, 2, 1000)
        self.noise = checks.real("noise", self.noise, 0.0, 1.0)
        self.torus = checks.boolean("torus", self.torus)
        self.aversion = checks.real("aversion", self.aversion, -LARGEST, LARGEST)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        starts = checks.sequence("starts", self.starts, "hold a column and a row for each population")
        n = len(starts)
        cells = checks.indices("starts", np.asarray(starts), (n, 2), 0, self.size - 1)
        self.starts = tuple(tuple(cell) for cell in cells.tolist())
        factors = checks.finite_numbers("attraction", self.attraction, (n, n))
        if n and np.abs(factors).max() > LARGEST:
            raise ValueError(f"attraction must hold numbers of size at most {LARGEST:g}")
        self.attraction = tuple(tuple(row) for row in factors.tolist())
        super().check()

    @property
    def populations(self) -> Sequence[Population]:
        """One for each start."""
        n, n_cells = len(self.starts), self.size**2
        return [
            Population(
                name=NAMES[p] if n <= len(NAMES) else f"population{p}",
                share=1.0 / n,
                n_states=n_cells,
                n_actions=len(MOVES),
                initial=np.eye(n_cells)[x + self.size * y],
                state_names=tuple(f"{cell % self.size}, {cell // self.size}" for cell in range(n_cells)),
            )
            for p, (x, y) in enumerate(self.starts)
        ]

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The cells by row and column."""
        return np.arange(self.size**2).reshape(self.size, self.size)

    @property
    def constants(self) -> HuntingGround:
        """The square, the noise and the factors of the reward."""
        neighbours = grid_of((" " * self.size,) * self.size, self.torus).neighbours
        return HuntingGround(
            neighbours, noise_of(self.noise), np.array(self.attraction), self.aversion, self.least
        )


@dataclasses.dataclass(kw_only=True)
class FourPopulationPredatorPrey(PredatorPrey):
    """Predators and prey with four populations, one in each corner.

    OpenSpiel's setting with four populations: :class:`PredatorPrey` in which each population is attracted by the
    next one and repelled by the one before [S].

    Known: under the uniform policy all four have exploitability 16.974691, by the symmetry of the square.
    """

    horizon: int = 20
    """Number of steps H [S]."""
    attraction: Sequence[Sequence[float]] = (
        (0.0, 1.0, 0.0, -1.0),
        (-1.0, 0.0, 1.0, 0.0),
        (0.0, -1.0, 0.0, 1.0),
        (1.0, 0.0, -1.0, 0.0),
    )
    """What each population gains by each other's share in its cell, (P, P) [S]."""
    starts: Sequence[Sequence[int]] = ((0, 0), (0, 4), (4, 4), (4, 0))
    """Column and row in which each population starts [S]."""
