"""Crowd motion: a crowd in the plane follows a bar that moves, and keeps apart."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.games.classic.classic_game import LARGEST, MOST_PLACES, StateCountingGame, crowding
from mfenvs.games.classic.line import held
from mfenvs.rules import rule

STAY = 4


class Square(NamedTuple):
    """The constants of the crowd motion, as its rules read them."""

    length: int
    width: int
    still: float
    attraction: float
    least: float
    bar: NDArray[np.int64]
    """Row and column of the bar at every time, shape (horizon, 2)."""


@rule
def rows_moved(move: Any) -> Any:
    """Rows by which a move leads away: moves 0 and 1."""
    return 1 if move == 0 else (-1 if move == 1 else 0)


@rule
def columns_moved(move: Any) -> Any:
    """Columns by which a move leads away: moves 2 and 3."""
    return 1 if move == 2 else (-1 if move == 3 else 0)


@dataclasses.dataclass(kw_only=True)
class CrowdMotion(StateCountingGame):
    """Crowd motion: the beach bar in the plane, with a bar that jumps.

    ``crowd_motion`` of MFGLib, after Perolat et al., "Scaling up mean field games with online mirror descent"
    (2021); tags as in :mod:`mfenvs.games`.

    States: tiles, numbered row * width + column. Actions: 0 next row, 1 row before, 2 next column, 3 column
    before, 4 stay.

    * s' = s + a + e, held back at the borders; e = 0 with probability ``still``, else a move to one of the four
      sides [S]
    * r = attraction (1 - |s - bar_t|_1 / (length + width)) - log(mu(s) + least) [S]
    * the first tile is uniform [S]
    * the bar begins in the centre and jumps diagonally every ``period`` steps, both directions drawn from
      {-1, 1}; a jump across a border does not take place [S]

    The source draws the bar from torch's global generator, which it seeds anew. Here it follows from
    ``game_seed``, or is given as ``bar`` [R].
    """

    horizon: int = 4
    """Number of steps H [S]."""
    length: int = 20
    """Number of rows [S]."""
    width: int = 20
    """Number of columns [S]."""
    still: float = 0.5
    """Probability that noise does not move an agent [S]."""
    attraction: float = 10.0
    """Reward c of being at the bar [S]."""
    least: float = 1e-10
    """What is added to mu(s) in its logarithm [S]."""
    period: int = 2
    """Number of steps between jumps of the bar [S]."""
    game_seed: int = 0
    """Random seed of the jumps of the bar [O]."""
    bar: Sequence[Sequence[int]] | None = None
    """Row and column of the bar at every time, in the place of drawn ones, shape (horizon, 2) [O]."""

    action_names = ("next row", "row before", "next column", "column before", "stay")
    n_actions = 5
    n_branches = 5

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The tile that noise k = 0 .. 4 leads to, and its probability."""
        square = world.constants
        row = state // square.width + rows_moved(action) + rows_moved(k)
        column = state % square.width + columns_moved(action) + columns_moved(k)
        reached = held(row, square.length - 1) * square.width + held(column, square.width - 1)
        return reached, square.still if k == STAY else 0.25 * (1.0 - square.still)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu) at the present time."""
        square, time = world.constants, world.time
        rows = abs(state // square.width - square.bar[time, 0])
        columns = abs(state % square.width - square.bar[time, 1])
        near = 1.0 - (rows + columns) / (square.length + square.width)
        return square.attraction * near + crowding(world, state, square.least)

    def check(self) -> None:
        """Check the square, the noise and the bar, which is drawn unless it is given."""
        for name in ("length", "width"):
            setattr(self, name, checks.integer(name, getattr(self, name), 1, MOST_PLACES))
        self.still = checks.real("still", self.still, 0.0, 1.0)
        self.attraction = checks.real("attraction", self.attraction, -LARGEST, LARGEST)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        self.period = checks.integer("period", self.period, 1)
        self.game_seed = checks.integer("game_seed", self.game_seed, 0, MAX_SEED)
        if self.bar is None:
            self._bar = self._drawn_bar()
        else:
            self._bar = checks.shaped("bar", self.bar, (self.horizon, 2), np.int64).copy()
            checks.indices("bar[:, 0]", self._bar[:, 0], (self.horizon,), 0, self.length - 1)
            checks.indices("bar[:, 1]", self._bar[:, 1], (self.horizon,), 0, self.width - 1)
            self.bar = tuple(map(tuple, self._bar.tolist()))
        super().check()

    def _drawn_bar(self) -> NDArray[np.int64]:
        rng, size = np.random.default_rng(self.game_seed), np.array([self.length, self.width])
        path = np.empty((self.horizon, 2), np.int64)
        place = size // 2
        for time in range(self.horizon):
            if time > 0 and time % self.period == 0:
                ahead = place + rng.choice([-1, 1], 2)
                place = ahead if (ahead >= 0).all() and (ahead < size).all() else place
            path[time] = place
        return path

    @property
    def n_states(self) -> int:
        """|S|: tiles."""
        return self.length * self.width

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The tiles by row and column."""
        return np.arange(self.n_states).reshape(self.length, self.width)

    def state_name(self, state: int) -> str:
        """Row and column."""
        return f"{state // self.width}, {state % self.width}"

    @property
    def constants(self) -> Square:
        """The square, the noise and the bar."""
        return Square(self.length, self.width, self.still, self.attraction, self.least, self._bar)
