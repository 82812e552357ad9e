"""Kinetic congestion: full places cannot be entered, so that a crowd gets in its own way."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, MOST_PLACES, StateCountingGame
from mfenvs.games.classic.line import held
from mfenvs.rules import rule, share

STAY = 4
LINEAR, EXPONENTIAL = "linear", "exponential"


class Floor(NamedTuple):
    """The constants of the kinetic congestion, as its rules read them."""

    n_rows: int
    n_columns: int
    target: int
    move_cost: float
    capacity: float
    is_linear: bool


@rule
def next_cell(floor: Any, state: Any, action: Any) -> Any:
    """The cell to which an action leads, held back at the borders."""
    up, right = (action == 0) * 1 - (action == 2) * 1, (action == 1) * 1 - (action == 3) * 1
    row = held(state // floor.n_columns + up, floor.n_rows - 1)
    return row * floor.n_columns + held(state % floor.n_columns + right, floor.n_columns - 1)


@rule
def room(floor: Any, density: Any) -> Any:
    """The probability that an agent gets into a cell in which this share of all others is."""
    load = density / floor.capacity
    return max(0.0, 1.0 - load) if floor.is_linear else math.exp(-load)


@dataclasses.dataclass(kw_only=True)
class KineticCongestion(StateCountingGame):
    """Kinetic congestion: agents walk to a corner, and moves into crowded cells fail.

    ``kinetic_congestion`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: cells of a grid, numbered row * n_columns + column. Actions: 0 next row, 1 next column, 2 row before,
    3 column before, 4 stay.

    * a move to another cell s' succeeds with probability 1 - min(1, mu(s') / capacity), else the agent stays where
      it is [S]; with ``success="exponential"`` exp(-mu(s') / capacity), which has no kinks [O]
    * r = -1{s is not the target} - move_cost 1{a is not stay} [S]
    * the first cell is uniform [S]

    The source rounds probabilities to hundredths, as its noise has a hundred values; here they are exact [R].

    Known: weighing by its stationary law, which is uniform, the uniform policy has value -10.4 and exploitability
    6.081177.
    """

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    n_rows: int = 5
    """Number of rows [S]."""
    n_columns: int = 5
    """Number of columns [S]."""
    target: int = 24
    """The cell where agents want to be [S]."""
    move_cost: float = 0.1
    """Cost of an attempt to move [S]."""
    capacity: float = 0.18
    """Share of the population that fills a cell [S]."""
    success: str = LINEAR
    """Whether the probability that a move succeeds is ``linear`` [S] or ``exponential`` [O] in mu(s')."""

    action_names = ("next row", "next column", "row before", "column before", "stay")
    n_actions = 5
    n_branches = 2

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The cell after a success (k = 0) or a failure (k = 1) of a move, and its probability."""
        floor = world.constants
        target = next_cell(floor, state, action)
        succeeds = 1.0 if target == state else room(floor, share(world, target))
        return (target if k == 0 else state), (succeeds if k == 0 else 1.0 - succeeds)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action)."""
        floor = world.constants
        return (0.0 if state == floor.target else -1.0) - (0.0 if action == STAY else floor.move_cost)

    def check(self) -> None:
        """Check the grid, the target and the constants."""
        for name in ("n_rows", "n_columns"):
            setattr(self, name, checks.integer(name, getattr(self, name), 1, MOST_PLACES))
        self.target = checks.integer("target", self.target, 0, self.n_states - 1)
        self.move_cost = checks.real("move_cost", self.move_cost, -LARGEST, LARGEST)
        self.capacity = checks.real("capacity", self.capacity, 1e-9, LARGEST)
        self.success = checks.choice("success", self.success, (LINEAR, EXPONENTIAL))
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: cells."""
        return self.n_rows * self.n_columns

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The cells by row and column."""
        return np.arange(self.n_states).reshape(self.n_rows, self.n_columns)

    def state_name(self, state: int) -> str:
        """Row and column of a cell."""
        return f"{state // self.n_columns}, {state % self.n_columns}"

    @property
    def constants(self) -> Floor:
        """The grid, the target and the costs."""
        sizes = self.n_rows, self.n_columns, self.target
        return Floor(*sizes, self.move_cost, self.capacity, self.success == LINEAR)
