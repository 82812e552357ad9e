"""Crowd avoidance: two populations pass each other on their ways to targets."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, ClassicPopulationGame
from mfenvs.games.classic.grids import MOVE_NAMES, MOVES, grid_of, noise_of
from mfenvs.games.classic.layouts import checked_text
from mfenvs.population_rules import share_in
from mfenvs.populations import Population
from mfenvs.rules import rule

CROSSING = ("#######", "#  #  #", "#     #", "#  #  #", "#     #", "#  #  #", "#######")
"""OpenSpiel's map of two halls with two doors."""
NAMES = "eastbound", "westbound"


class Crossing(NamedTuple):
    """The constants of the crowd avoidance, as its rules read them."""

    neighbours: NDArray[np.int64]
    """The cell that each move leads to, shape (n_cells, 5)."""
    noise: NDArray[np.float64]
    """Probability of each move as noise, shape (5,)."""
    congestion: NDArray[np.float64]
    """What the share of each population in its cell costs an agent, by its own population, (2, 2)."""
    targets: NDArray[np.int64]
    """The cell that each population wants to be in, shape (2,)."""
    worth: float


@dataclasses.dataclass(kw_only=True)
class CrowdAvoidance(ClassicPopulationGame):
    """Crowd avoidance: two populations want to be on the other's side and avoid each other on the way.

    ``python_mfg_crowd_avoidance`` of OpenSpiel with its congestion switched on; tags as in :mod:`mfenvs.games`.

    States: the free cells of the map, numbered row by row. Actions: 0 stay, 1 next column, 2 next row, 3 row
    before, 4 column before.

    * the agent moves, then noise moves it again: with probability ``noise`` in one of four directions, all equally
      likely. Moves into walls stay [S]
    * r_p = worth 1{s is the target of p} - congestion sum_q avoids[p][q] mu_q(s), mu_q being the law *within*
      population q [S]

    By default the source has congestion 0, with which the populations do not affect each other; here it is 1 [O].
    In the source the rewards at time 0 read the initial laws in another order than they are stored in; here they
    are right [R].

    Known: the uniform policy has exploitability 2.711634 for both populations.
    """

    horizon: int = 10
    """Number of steps H [S]."""
    layout: Sequence[str] = CROSSING
    """The map, a text for each row: ``#`` wall, else free [S]."""
    noise: float = 0.5
    """Probability that noise moves an agent [S]."""
    congestion: float = 1.0
    """Factor of the aversion to those who are avoided [O]."""
    avoids: Sequence[Sequence[float]] = ((0.0, 1.0), (1.0, 0.0))
    """How much each population avoids each, (2, 2) [S]."""
    worth: float = 1.0
    """Reward of a step in the target [S]."""
    targets: Sequence[Sequence[int]] = ((5, 3), (1, 3))
    """Column and row of each population's target [S]."""
    starts: Sequence[Sequence[Sequence[float]]] = (
        ((1, 2, 0.4), (2, 2, 0.4), (1, 4, 0.2)),
        ((5, 2, 0.2), (4, 4, 0.4), (5, 4, 0.4)),
    )
    """Columns and rows in which each population starts, with their probabilities [S]."""

    action_names = MOVE_NAMES
    n_branches = len(MOVES)

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The cell that noise k leads to after the action, and its probability."""
        crossing = world.constants
        return crossing.neighbours[crossing.neighbours[state, action], k], crossing.noise[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu) of the agent's population."""
        crossing, own = world.constants, agent.population
        total = crossing.worth if state == crossing.targets[own] else 0.0
        for other in range(len(crossing.targets)):
            total -= crossing.congestion[own, other] * share_in(world, other, state)
        return total

    def check(self) -> None:
        """Check the map, the starts and targets, and the factors of the reward."""
        self.layout = checked_text("layout", self.layout, 1000)
        self.noise = checks.real("noise", self.noise, 0.0, 1.0)
        for name in ("congestion", "worth"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        avoids = checks.finite_numbers("avoids", self.avoids, (2, 2))
        if np.abs(avoids).max() > LARGEST:
            raise ValueError(f"avoids must hold numbers of size at most {LARGEST:g}")
        self.avoids = tuple(tuple(row) for row in avoids.tolist())
        targets = checks.finite_numbers("targets", self.targets, (2, 2))
        self._targets = [self._cell(f"targets[{p}]", place) for p, place in enumerate(targets)]
        self.targets = tuple((int(x), int(y)) for x, y in targets)
        self.starts, self._laws = self._checked_starts()
        super().check()

    def _cell(self, name: str, place: NDArray[np.float64]) -> int:
        """The number of the free cell in a column and row; ValueError if there is none."""
        number = grid_of(tuple(self.layout)).number
        if tuple(place) not in number:
            raise ValueError(f"{name} must be column and row of a free cell, got {checks.shown(tuple(place))}")
        return number[place[0], place[1]]

    def _checked_starts(self) -> tuple[Any, list[NDArray[np.float64]]]:
        given = checks.sequence("starts", self.starts, "hold the starts of two populations")
        if len(given) != 2:
            raise ValueError(f"starts must hold the starts of 2 populations, got {len(given)}")
        starts, laws = [], []
        for p, places in enumerate(given):
            places = checks.sequence(f"starts[{p}]", places, "hold columns, rows and probabilities")
            rows = checks.finite_numbers(f"starts[{p}]", places, (len(places), 3))
            law = np.zeros(len(grid_of(tuple(self.layout)).number))
            for row in rows:
                law[self._cell(f"starts[{p}]", row[:2])] += row[2]
            laws.append(checks.probabilities(f"the probabilities of starts[{p}]", law, law.shape))
            starts.append(tuple((int(x), int(y), probability) for x, y, probability in rows.tolist()))
        return tuple(starts), laws

    @property
    def populations(self) -> Sequence[Population]:
        """Those who go east and those who go west."""
        names = tuple(f"{x}, {y}" for x, y in grid_of(tuple(self.layout)).number)
        return [
            Population(
                name=name,
                share=0.5,
                n_states=len(law),
                n_actions=len(MOVES),
                initial=law,
                state_names=names,
            )
            for name, law in zip(NAMES, self._laws, strict=True)
        ]

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The cells by row and column, -1 for walls."""
        found = np.full((len(self.layout), len(self.layout[0])), -1)
        for (x, y), cell in grid_of(tuple(self.layout)).number.items():
            found[y, x] = cell
        return found

    @property
    def constants(self) -> Crossing:
        """The map, the noise and the factors of the reward."""
        return Crossing(
            grid_of(tuple(self.layout)).neighbours,
            noise_of(self.noise),
            self.congestion * np.array(self.avoids),
            np.array(self._targets),
            self.worth,
        )
