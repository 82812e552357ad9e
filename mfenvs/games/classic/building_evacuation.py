"""Building evacuation: a crowd on its way downstairs, through corners in which it is crowded."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, MOST_PLACES, StateCountingGame
from mfenvs.games.classic.line import held
from mfenvs.rules import crowd, rule

DOWNSTAIRS, UPSTAIRS = 4, 5


class Building(NamedTuple):
    """The constants of the evacuation, as its rules read them."""

    n_floors: int
    length: int
    width: int
    aversion: float
    worth: float
    least: float


@rule
def walk(building: Any, state: Any, action: Any) -> Any:
    """The place that an action leads to."""
    floor, tile = state // (building.length * building.width), state % (building.length * building.width)
    row, column = tile // building.width, tile % building.width
    last_row, last_column = building.length - 1, building.width - 1
    is_exit = row == 0 and column == 0
    is_entry = row == last_row and column == last_column
    down = 1 if action == DOWNSTAIRS and is_exit else 0
    up = 1 if action == UPSTAIRS and is_entry else 0
    new_floor = held(floor + up - down, building.n_floors - 1)
    new_row = held(row + (1 if action == 0 else (-1 if action == 1 else 0)), last_row)
    new_column = held(column + (1 if action == 3 else (-1 if action == 2 else 0)), last_column)
    return (new_floor * building.length + new_row) * building.width + new_column


@dataclasses.dataclass(kw_only=True)
class BuildingEvacuation(StateCountingGame):
    """Building evacuation: agents want to get to the ground floor, and away from each other.

    ``building_evacuation`` of MFGLib, after Perolat et al., "Scaling up mean field games with online mirror
    descent" (2021); tags as in :mod:`mfenvs.games`.

    States: floor, row and column, numbered (floor * length + row) * width + column. Actions: 0 next row, 1 row
    before, 2 column before, 3 next column, 4 downstairs, 5 upstairs.

    * moves are certain, and held back at the walls. Stairs lead down from the tile (0, 0) of a floor only, and up
      from the last tile only; elsewhere actions 4 and 5 stay [S]
    * r = -aversion log max(mu(s), least) + worth 1{ground floor} [S]
    * the first place is uniform [S]

    Known: the uniform policy has value 32.859508 and exploitability .321265.
    """

    horizon: int = 4
    """Number of steps H [S]."""
    n_floors: int = 5
    """Number of floors [S]."""
    length: int = 10
    """Number of rows of a floor [S]."""
    width: int = 10
    """Number of columns of a floor [S]."""
    aversion: float = 1.0
    """Factor eta of the aversion to crowds [S]."""
    worth: float = 10.0
    """Reward of a step on the ground floor [S]."""
    least: float = 1e-20
    """Smallest mu(s) of which the logarithm is taken [S]."""

    action_names = ("next row", "row before", "column before", "next column", "downstairs", "upstairs")
    n_actions = 6
    n_branches = 1

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The only next place."""
        return walk(world.constants, state, action), 1.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, mu)."""
        building = world.constants
        safe = building.worth if state < building.length * building.width else 0.0
        return safe - building.aversion * math.log(max(crowd(world, state), building.least))

    def check(self) -> None:
        """Check the building and the rewards."""
        for name in ("n_floors", "length", "width"):
            setattr(self, name, checks.integer(name, getattr(self, name), 1, MOST_PLACES))
        for name in ("aversion", "worth"):
            setattr(self, name, checks.real(name, getattr(self, name), 0.0, LARGEST))
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: tiles of all floors."""
        return self.n_floors * self.length * self.width

    @property
    def map_of_states(self) -> NDArray[np.int64]:
        """The tiles by row and column: floors side by side, the lowest first, with a gap in between."""
        floors = np.arange(self.n_states).reshape(self.n_floors, self.length, self.width)
        apart = np.pad(floors, ((0, 0), (0, 0), (0, 1)), constant_values=-1)
        return np.concatenate(list(apart), axis=1)[:, :-1]

    def state_name(self, state: int) -> str:
        """Floor, row and column."""
        tile = state % (self.length * self.width)
        return f"floor {state // (self.length * self.width)}, {tile // self.width}, {tile % self.width}"

    @property
    def constants(self) -> Building:
        """The building and the rewards."""
        return Building(self.n_floors, self.length, self.width, self.aversion, self.worth, self.least)
