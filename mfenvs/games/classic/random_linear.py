"""Random linear: rewards and the logits of transitions are random linear functions of the population."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.games.classic.classic_game import LARGEST, ClassicGame
from mfenvs.games.classic.tables import Tables
from mfenvs.rules import crowd, rule


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RandomLinearTables(Tables):
    """The random constants of a :class:`RandomLinear` game of n states, finite numbers in float64."""

    coupled_moves: NDArray[np.float64]
    """P1(s', s, j): slope of the logit of s -> s' in the population of state j, shape (n, n, n)."""
    moves: NDArray[np.float64]
    """P2(s', s, a): the logit of s -> s' with action a, shape (n, n, n)."""
    coupled_rewards: NDArray[np.float64]
    """R1(s, j): slope of the reward in s in the population of state j, shape (n, n)."""
    rewards: NDArray[np.float64]
    """R2(s, a): the reward in s with action a, shape (n, n)."""

    @classmethod
    def drawn(cls, n: int, scale: float, seed: int) -> "RandomLinearTables":
        """Tables with independent entries, uniform in [-scale, scale]."""
        rng = np.random.default_rng(seed)
        shapes = {"coupled_moves": (n, n, n), "moves": (n, n, n), "coupled_rewards": (n, n), "rewards": (n, n)}
        return cls(**{name: rng.uniform(-scale, scale, shape) for name, shape in shapes.items()})


class LinearMaps(NamedTuple):
    """The constants of the random linear game, as its rules read them."""

    n: int
    coupled_moves: NDArray[np.float64]
    moves: NDArray[np.float64]
    coupled_rewards: NDArray[np.float64]
    rewards: NDArray[np.float64]


@rule
def logit(world: Any, next_state: Any, state: Any, action: Any) -> Any:
    """Logit of a transition: sum_j P1(s', s, j) L(j, a) + P2(s', s, a)."""
    maps = world.constants
    total = maps.moves[next_state, state, action]
    for j in range(maps.n):
        total += maps.coupled_moves[next_state, state, j] * crowd(world, j * maps.n + action)
    return total


@dataclasses.dataclass(kw_only=True)
class RandomLinear(ClassicGame):
    """Random linear: a game without structure, for solvers that should need none.

    ``random_linear`` of MFGLib; tags as in :mod:`mfenvs.games`.

    States and actions: 0 .. n - 1. L(s, a) is the law of states and actions, the agent itself included [R].

    * P(s' | s, a) is proportional to exp(sum_j P1(s', s, j) L(j, a) + P2(s', s, a)) [S]
    * r = sum_j R1(s, j) L(j, a) + R2(s, a) [S]
    * the first state is uniform [S]

    The entries of P1, P2, R1 and R2 are independent and uniform in [-scale, scale] [S]. They follow from
    ``game_seed``, where the source draws from torch's global generator, or are given as ``tables`` [R].
    """

    horizon: int = 4
    """Number of steps H [S]."""
    n: int = 5
    """Number of states, and of actions [S]."""
    scale: float = 10.0
    """Largest size of the drawn entries [S]."""
    game_seed: int = 0
    """Random seed of the drawn entries [O]."""
    tables: RandomLinearTables | None = None
    """Entries in the place of drawn ones [O]."""

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write the rows of transition probabilities into the signal."""
        n = world.constants.n
        for state in range(n):
            for action in range(n):
                row = (state * n + action) * n
                largest = logit(world, 0, state, action)
                for next_state in range(n):
                    signal[row + next_state] = logit(world, next_state, state, action)
                    largest = max(largest, signal[row + next_state])
                total = 0.0
                for next_state in range(n):
                    signal[row + next_state] = math.exp(signal[row + next_state] - largest)
                    total += signal[row + next_state]
                for next_state in range(n):
                    signal[row + next_state] /= total

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, L)."""
        n = world.constants.n
        return world.signal[(state * n + action) * n + next_state]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, L)."""
        maps = world.constants
        total = maps.rewards[state, action]
        for j in range(maps.n):
            total += maps.coupled_rewards[state, j] * crowd(world, j * maps.n + action)
        return total

    def check(self) -> None:
        """Check the size and the tables, which are drawn unless they are given."""
        self.n = checks.integer("n", self.n, 1, 200)
        self.scale = checks.real("scale", self.scale, 0.0, 1e6)
        self.game_seed = checks.integer("game_seed", self.game_seed, 0, MAX_SEED)
        n = self.n
        shapes = {"coupled_moves": (n, n, n), "moves": (n, n, n), "coupled_rewards": (n, n), "rewards": (n, n)}
        self._tables = (
            RandomLinearTables.drawn(n, self.scale, self.game_seed)
            if self.tables is None
            else RandomLinearTables.checked("tables", self.tables, shapes, LARGEST)
        )
        super().check()

    @property
    def n_states(self) -> int:
        """|S| = n."""
        return self.n

    @property
    def n_actions(self) -> int:
        """|A| = n."""
        return self.n

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """All entries of the transition rows."""
        return self.n**3

    @property
    def constants(self) -> LinearMaps:
        """The tables."""
        tables = self._tables
        return LinearMaps(self.n, tables.coupled_moves, tables.moves, tables.coupled_rewards, tables.rewards)
