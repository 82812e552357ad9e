"""Four rooms with aversion to crowds, for ever."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame
from mfenvs.games.classic.layouts import checked_text
from mfenvs.rules import crowd, rule

CROSS = ("     #     ",) * 2 + ("           ",) + ("     #     ",) * 2 + ("## ##### ##",)
ROOMS = (*CROSS, "     #     ", "     #     ", "           ", "     #     ", "     #     ")
"""Bench-MFG's four rooms: row 5 and column 5 are walls with two doors each."""

MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1), (0, 0))
"""Rows and columns by which actions and noise 0 .. 4 move."""
N_MOVES = len(MOVES)


class Rooms(NamedTuple):
    """The constants of the four rooms, as their rules read them."""

    reached: NDArray[np.int64]
    """The cell after an action and a noise, shape (n_cells, 5, 5)."""
    noise: NDArray[np.float64]
    """Probability of each move as noise, shape (5,)."""
    aversion: float
    least: float


@functools.cache
def cells_reached(text: tuple[str, ...]) -> NDArray[np.int64]:
    """The cell after an action and a noise, shape (n_cells, 5, 5): the cell itself if a wall is there."""
    n_rows, n_columns = len(text), len(text[0])
    reached = np.empty((n_rows * n_columns, N_MOVES, N_MOVES), np.int64)
    for cell, action, noise in np.ndindex(reached.shape):
        row = cell // n_columns + MOVES[action][0] + MOVES[noise][0]
        column = cell % n_columns + MOVES[action][1] + MOVES[noise][1]
        is_free = 0 <= row < n_rows and 0 <= column < n_columns and text[row][column] != "#"
        reached[cell, action, noise] = row * n_columns + column if is_free else cell
    return reached


@dataclasses.dataclass(kw_only=True)
class FourRooms(StateCountingGame):
    """Four rooms: agents spread through rooms with doors, for ever.

    ``four_rooms_obstacles`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: all cells of the map, walls included, numbered row * n_columns + column. Actions: 0 next row, 1 next
    column, 2 row before, 3 column before, 4 stay.

    * s' = s + a + e, e being one of the five moves with probabilities ``noise``; the agent stays in s if s' would
      be a wall or beyond a border. What is in between does not matter [S]
    * r = -aversion log max(mu(s), least) [S]
    * the first cell is uniform on the free cells [R: in the source on all, walls included, which agents can leave
      and never enter again, so that nobody is where it is best to be]

    Known: with uniform noise the uniform policy is an equilibrium of value 46.443909, since its stationary law is
    uniform on the free cells. (Bench-MFG gives it an exploitability of .002807: after 50 steps some agents
    are still in the walls.)
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    layout: Sequence[str] = ROOMS
    """The map, a text for each row: ``#`` wall, else free [S]."""
    noise: Sequence[float] = (0.2, 0.2, 0.2, 0.2, 0.2)
    """Probability of each of the five moves as noise [S]."""
    aversion: float = 1.0
    """Factor alpha of the aversion to crowds [S]."""
    least: float = 1e-12
    """Smallest mu(s) of which the logarithm is taken [S]."""

    action_names = ("next row", "next column", "row before", "column before", "stay")
    n_actions = N_MOVES
    n_branches = N_MOVES

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The cell that noise k leads to, and its probability."""
        rooms = world.constants
        return rooms.reached[state, action, k], rooms.noise[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu)."""
        rooms = world.constants
        return -rooms.aversion * math.log(max(crowd(world, state), rooms.least))

    def check(self) -> None:
        """Check the map, the noise and the rewards."""
        self.layout = checked_text("layout", self.layout, 1000)
        given = checks.sequence("noise", self.noise, "hold the probability of each of the five moves")
        self.noise = tuple(checks.probabilities("noise", given, (N_MOVES,)).tolist())
        self.aversion = checks.real("aversion", self.aversion, -LARGEST, LARGEST)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        super().check()

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Uniform on the free cells."""
        free = np.array([cell != "#" for row in self.layout for cell in row])
        return np.asarray(free / free.sum(), np.float64)

    @property
    def n_states(self) -> int:
        """|S|: cells."""
        return len(self.layout) * len(self.layout[0])

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The cells by row and column, -1 for walls."""
        numbers = np.arange(self.n_states).reshape(len(self.layout), -1)
        return np.where([[cell == "#" for cell in row] for row in self.layout], -1, numbers)

    def state_name(self, state: int) -> str:
        """Row and column of a cell."""
        return f"{state // len(self.layout[0])}, {state % len(self.layout[0])}"

    @property
    def constants(self) -> Rooms:
        """The map, the noise and the rewards."""
        return Rooms(cells_reached(tuple(self.layout)), np.array(self.noise), self.aversion, self.least)
