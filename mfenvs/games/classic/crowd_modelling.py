"""Crowd modelling on a ring: the beach bar with noise in both directions, as OpenSpiel has it."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import MOST_PLACES, StateCountingGame, crowding
from mfenvs.rules import rule


class Shore(NamedTuple):
    """The constants of the crowd modelling, as its rules read them."""

    n_places: int
    last_time: int
    least: float


@dataclasses.dataclass(kw_only=True)
class CrowdModelling(StateCountingGame):
    """Crowd modelling in one dimension: agents on a ring want to be at its middle, but not in a crowd.

    ``mfg_crowd_modelling`` of OpenSpiel, after Perrin et al., "Fictitious play for mean field games" (NeurIPS
    2020); tags as in :mod:`mfenvs.games`.

    States: places x = 0 .. n_places - 1 of a ring. Actions: 0 back, 1 stay, 2 ahead.

    * x' = x + a + e on the ring, e uniform on {-1, 0, 1} [S]
    * r = 1 - |x - h| / h - |a| / n_places - log(mu(x) + least) with h = floor(n_places / 2); the last action is
      free [S, where it is paid for one step later]
    * the first place is uniform [S]

    Known: the uniform policy has value 27.425851 and exploitability 2.786682. OpenSpiel's own solvers print
    2.8135: they do not tell states with different last actions apart.
    """

    horizon: int = 10
    """Number of steps H [S]."""
    n_places: int = 10
    """Number of places |S| [S]."""
    least: float = 1e-25
    """What is added to mu(x) in its logarithm [S]."""

    action_names = ("back", "stay", "ahead")
    n_actions = 3
    n_branches = 3

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that noise k - 1 leads to, and its probability."""
        return (state + action + k - 2) % world.constants.n_places, 1.0 / 3.0

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu) at the present time."""
        shore = world.constants
        half = shore.n_places // 2
        walk = abs(action - 1) / shore.n_places if world.time < shore.last_time else 0.0
        return 1.0 - abs(state - half) / half - walk + crowding(world, state, shore.least)

    def check(self) -> None:
        """Check the number of places and the smallest crowd."""
        self.n_places = checks.integer("n_places", self.n_places, 2, MOST_PLACES)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_places

    @property
    def constants(self) -> Shore:
        """The ring."""
        return Shore(self.n_places, self.horizon - 1, self.least)
