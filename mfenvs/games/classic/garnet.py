"""Garnet: random transitions to few states and random rewards, with an aversion to crowds."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame, crowding
from mfenvs.games.classic.tables import Tables
from mfenvs.rules import rule


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GarnetTables(Tables):
    """The random constants of a :class:`Garnet` of n states, m actions and b branches."""

    successors: NDArray[np.float64]
    """Whole numbers of the states that can follow, in [0, n), shape (n, m, b)."""
    probabilities: NDArray[np.float64]
    """Their probabilities, shape (n, m, b); those of a state that comes twice are added."""
    rewards: NDArray[np.float64]
    """R(s', a): the reward of reaching state s' by action a, shape (n, m)."""

    @classmethod
    def drawn(cls, n: int, m: int, b: int, density: float, seed: int) -> "GarnetTables":
        """Successors drawn with replacement, probabilities as the gaps of uniform numbers, rewards uniform."""
        rng = np.random.default_rng(seed)
        successors = rng.integers(0, n, (n, m, b)).astype(np.float64)
        cuts = np.sort(rng.uniform(size=(n, m, b - 1)), axis=-1)
        ends = np.zeros((n, m, 1)), np.ones((n, m, 1))
        probabilities = np.diff(np.concatenate([ends[0], cuts, ends[1]], axis=-1), axis=-1)
        rewards = np.where(rng.uniform(size=(n, m)) < density, rng.uniform(size=(n, m)), 0.0)
        return cls(successors=successors, probabilities=probabilities, rewards=rewards)


class Graph(NamedTuple):
    """The constants of the garnet, as its rules read them."""

    successors: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    """R(s', a), shape (n, m)."""
    last_time: int
    aversion: float
    least: float


@dataclasses.dataclass(kw_only=True)
class Garnet(StateCountingGame):
    """Garnet: a random finite decision problem whose agents avoid crowds.

    ``mfg_garnet`` of OpenSpiel, after Perolat et al., "Scaling up mean field games with online mirror descent"
    (2021), section 5.1; tags as in :mod:`mfenvs.games`.

    States: 0 .. n_nodes - 1. Actions: 0 .. n_choices - 1.

    * the next state is one of ``n_successors`` that were drawn for the state and the action, with probabilities
      that are the gaps between sorted uniform numbers [S]
    * r = R(s', a) - aversion log(mu(s) + least), R(s', a) being uniform in [0, 1] with probability ``density``,
      else 0. The last action earns nothing, and in the first step R(s, 0) is paid
      too: in the source, R is paid one step later, for the state reached and the last action [S]
    * the first state is uniform [S]

    The source draws the constants by a C++ generator from a seed, and draws others when a state is read from a
    text. Here they follow from ``game_seed``, or are given as ``tables`` [R].
    """

    horizon: int = 10
    """Number of steps H [S]."""
    n_nodes: int = 10
    """Number of states |S| [S]."""
    n_choices: int = 3
    """Number of actions |A| [S]."""
    n_successors: int = 3
    """Number of draws of successors for a state and an action [S]."""
    density: float = 1.0
    """Probability that a reward is not 0 [S]."""
    aversion: float = 1.0
    """Factor eta of the aversion to crowds [S]."""
    least: float = 1e-25
    """What is added to mu(s) in its logarithm [S]."""
    game_seed: int = 0
    """Random seed of the constants [S]."""
    tables: GarnetTables | None = None
    """Constants in the place of drawn ones [O]."""

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The k-th successor, and its probability."""
        graph = world.constants
        return graph.successors[state, action, k], graph.probabilities[state, action, k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """What a state is worth in a crowd, and at time 0 what reaching it by action 0 earns."""
        graph = world.constants
        first = graph.rewards[state, 0] if world.time == 0 else 0.0
        return first + graph.aversion * crowding(world, state, graph.least)

    @staticmethod
    @rule
    def arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(next_state, action), but in the last step."""
        graph = world.constants
        return graph.rewards[next_state, action] if world.time < graph.last_time else 0.0

    def check(self) -> None:
        """Check sizes, factors and the tables, which are drawn unless they are given."""
        for name in ("n_nodes", "n_choices", "n_successors"):
            setattr(self, name, checks.integer(name, getattr(self, name), 1, 1000))
        self.density = checks.real("density", self.density, 0.0, 1.0)
        self.aversion = checks.real("aversion", self.aversion, -LARGEST, LARGEST)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        self.game_seed = checks.integer("game_seed", self.game_seed, 0, MAX_SEED)
        self._graph = self._drawn()
        super().check()

    def _drawn(self) -> Graph:
        n, m, b = self.n_nodes, self.n_choices, self.n_successors
        shapes = {"successors": (n, m, b), "probabilities": (n, m, b), "rewards": (n, m)}
        if self.tables is None:
            tables = GarnetTables.drawn(n, m, b, self.density, self.game_seed)
        else:
            tables = GarnetTables.checked("tables", self.tables, shapes, LARGEST)
            checks.probabilities("tables.probabilities", tables.probabilities, (n, m, b))
        successors = tables.successors.astype(np.int64)
        if (successors != tables.successors).any():
            raise ValueError("tables.successors must hold whole numbers")
        checks.indices("tables.successors", successors, (n, m, b), 0, n - 1)
        rewards, last_time = tables.rewards, self.horizon - 1
        return Graph(successors, tables.probabilities, rewards, last_time, self.aversion, self.least)

    @property
    def n_states(self) -> int:
        """|S|: nodes."""
        return self.n_nodes

    @property
    def n_actions(self) -> int:
        """|A|: choices."""
        return self.n_choices

    @property
    def n_branches(self) -> int:
        """Number of draws of successors."""
        return self.n_successors

    @property
    def constants(self) -> Graph:
        """The transitions and rewards."""
        return self._graph
