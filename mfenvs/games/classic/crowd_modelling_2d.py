"""Crowd modelling in the plane: agents seek the centre, or spread through rooms or a maze."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, StateCountingGame, crowding
from mfenvs.games.classic.layouts import FOUR_ROOMS, MAZE, MOVES, OPEN, STAY, checked_text, layout_of
from mfenvs.rules import crowd, rule

N_MOVES = len(MOVES)


class Plane(NamedTuple):
    """The constants of the crowd modelling in the plane, as its rules read them."""

    neighbours: NDArray[np.int64]
    """The cell that each move leads to, shape (n_states, 5)."""
    is_open: NDArray[np.bool_]
    """Whether a move does not lead into a wall, shape (n_states, 5)."""
    noise: NDArray[np.float64]
    """Probability of each move as noise, shape (n_states, 5)."""
    near: NDArray[np.float64]
    """The reward for the place, shape (n_states,)."""
    costs: NDArray[np.float64]
    """The cost of each action, shape (5,)."""
    last_time: int
    aversion: float
    least: float
    congestion: bool


@dataclasses.dataclass(kw_only=True)
class CrowdModelling2D(StateCountingGame):
    """Crowd modelling in two dimensions: agents on a torus want to be in its centre, but not in a crowd.

    ``mfg_crowd_modelling_2d`` of OpenSpiel, after Perrin et al., "Fictitious play for mean field games" (NeurIPS
    2020); tags as in :mod:`mfenvs.games`.

    States: the free cells of the map, numbered row by row. Actions: 0 row before, 1 column before, 2 stay, 3 next
    column, 4 next row. Moves into walls are masked, and stay [S].

    * after the move, noise moves the agent again: with probability ``noise`` to one of the moves that are open
      there, the stay included, all equally likely [S]
    * r = attraction (2 - 2 |x - x_c| / n_columns - 2 |y - y_c| / n_rows) - move_cost c(a) - aversion log(mu(s) +
      least), the centre being (floor(n_columns / 2), floor(n_rows / 2)), c(a) = 1 / n_columns for a move to
      another column and 1 / n_rows for one to another row; the last action is free [S, where it is paid
      for one step later]. With ``congestion`` the cost of a move is c(a) mu(s) at the cell from which it leads
      away [R: in the source, at the one that the agent reaches, which it does not know yet]
    * the first cell is uniform, or on the cells marked ``S`` [S]

    Known: the uniform policy has value 55.331702 and exploitability 5.354777. OpenSpiel's own solvers print
    5.443: they do not tell states with different last actions apart.
    """

    horizon: int = 10
    """Number of steps H [S]."""
    layout: Sequence[str] = OPEN
    """The map, a text for each row: ``#`` wall, ``S`` start, else free; opposite borders are joined [S]."""
    noise: float = 1.0
    """Probability that noise draws a move [S]."""
    attraction: float = 1.0
    """Factor of the reward for the place [S]."""
    move_cost: float = 1.0
    """Factor of the cost of a move [S]."""
    aversion: float = 1.0
    """Factor of the aversion to crowds [S]."""
    congestion: bool = False
    """Whether moves cost more where it is crowded [S]."""
    least: float = 1e-25
    """What is added to mu(s) in its logarithm [S]."""

    action_names = ("row before", "column before", "stay", "next column", "next row")
    n_actions = N_MOVES
    n_branches = N_MOVES

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The cell that noise k leads to after the action, and its probability."""
        plane = world.constants
        moved = plane.neighbours[state, action]
        return plane.neighbours[moved, k], plane.noise[moved, k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu) at the present time."""
        plane = world.constants
        cost = plane.costs[action] * (crowd(world, state) if plane.congestion else 1.0)
        paid = cost if world.time < plane.last_time and plane.is_open[state, action] else 0.0
        return plane.near[state] - paid + plane.aversion * crowding(world, state, plane.least)

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        """Whether an action does not lead into a wall."""
        return public.constants.is_open[state, action]

    def check(self) -> None:
        """Check the map, the noise and the factors of the reward."""
        self.layout = checked_text("layout", self.layout, 1000)
        self.noise = checks.real("noise", self.noise, 0.0, 1.0)
        for name in ("attraction", "move_cost", "aversion"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        self.congestion = checks.choice("congestion", self.congestion, (False, True))
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        self._plane = self._drawn()
        super().check()

    def _drawn(self) -> Plane:
        text = tuple(self.layout)
        layout, n_rows, n_columns = layout_of(text), len(text), len(text[0])
        noise = self.noise * layout.is_open / layout.is_open.sum(1, keepdims=True)
        noise[:, STAY] += 1.0 - self.noise
        across, down = np.abs(layout.columns - n_columns // 2), np.abs(layout.rows - n_rows // 2)
        near = self.attraction * (2.0 - 2.0 * across / n_columns - 2.0 * down / n_rows)
        costs = np.array([self.move_cost * (abs(dx) / n_columns + abs(dy) / n_rows) for dx, dy in MOVES])
        ways = layout.neighbours, layout.is_open
        return Plane(*ways, noise, near, costs, self.horizon - 1, self.aversion, self.least, self.congestion)

    @property
    def n_states(self) -> int:
        """|S|: free cells."""
        return len(self._plane.near)

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Uniform on the cells marked ``S``, or on all."""
        return layout_of(tuple(self.layout)).starts

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The cells by row and column, -1 for walls."""
        layout, text = layout_of(tuple(self.layout)), self.layout
        found = np.full((len(text), len(text[0])), -1)
        found[layout.rows, layout.columns] = np.arange(self.n_states)
        return found

    def state_name(self, state: int) -> str:
        """Column and row of a cell."""
        layout = layout_of(tuple(self.layout))
        return f"{layout.columns[state]}, {layout.rows[state]}"

    @property
    def constants(self) -> Plane:
        """The map, the noise and the rewards."""
        return self._plane


@dataclasses.dataclass(kw_only=True)
class FourRoomsExploration(CrowdModelling2D):
    """Exploration of four rooms: agents who start in a corner spread through rooms with narrow doors.

    The setting ``crowd_modelling_2d_four_rooms`` of OpenSpiel: :class:`CrowdModelling2D` in which only the crowd
    counts, r = -log(mu(s) + least) [S].

    Known: the policy that is uniform on the moves that are not masked has value 139.094029 and exploitability
    167.660446. (OpenSpiel's values are larger by log 169: it pays the first reward as if the population were
    uniform on the whole square.)
    """

    horizon: int = 40
    """Number of steps H [S]."""
    layout: Sequence[str] = FOUR_ROOMS
    """The map, a text for each row: ``#`` wall, ``S`` start, else free [S]."""
    attraction: float = 0.0
    """Factor of the reward for the place [S]."""
    move_cost: float = 0.0
    """Factor of the cost of a move [S]."""


@dataclasses.dataclass(kw_only=True)
class MazeExploration(FourRoomsExploration):
    """Exploration of a maze: agents who start in a corner spread through a maze of 22 by 22 cells.

    The setting ``crowd_modelling_2d_maze`` of OpenSpiel: :class:`CrowdModelling2D` in which only the crowd counts,
    r = -log(mu(s) + least) [S].

    Known: the policy that is uniform on the moves that are not masked has value 348.262584 and exploitability
    2019.503330.
    """

    horizon: int = 100
    """Number of steps H [S]."""
    layout: Sequence[str] = MAZE
    """The map, a text for each row: ``#`` wall, ``S`` start, else free [S]."""
