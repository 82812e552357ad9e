"""Conservative treasure hunting: treasures are safe to find and to keep where nobody else is doing the same."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, ClassicGame
from mfenvs.rules import crowd, rule


class Island(NamedTuple):
    """The constants of the treasure hunt, as its rules read them."""

    n_treasures: int
    treasures: NDArray[np.float64]
    turmoil: float


@dataclasses.dataclass(kw_only=True)
class TreasureHunting(ClassicGame):
    """Conservative treasure hunting: agents move between treasures, the surer the more do what they do.

    ``conservative_treasure_hunting`` of MFGLib, which cites Guo et al. (2022); tags as in
    :mod:`mfenvs.games`.

    States and actions: places 0 .. n - 1, one with each treasure. L_t(s, a) is the law of states and actions and
    D_s = sum_{s', a'} (L_t(s', a') - 1{s' = a' = s})^2.

    * at time 0, s' = a; later s' is each place with probability c D_s / (1 + n c D_s), and a with the rest [S]
    * r = treasures[s] (1 - D_s / 2) for staying, a = s, from time 1 on; else 0 [S]
    * the first place is uniform [S]

    Rules read the whole law L_t, the agent itself included [R]. The source has a c for every time, all 1.

    Known: the uniform policy has value .925926 and exploitability 1.851852.
    """

    horizon: int = 6
    """Number of steps H [S]."""
    treasures: Sequence[float] = (1.0, 1.0, 1.0)
    """Treasure of each place [S]."""
    turmoil: float = 1.0
    """The factor c: how much an uneven population disturbs moves [S]."""

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        """Write D_s of every place into the signal."""
        n = world.constants.n_treasures
        squares = 0.0
        for cell in range(n * n):
            squares += crowd(world, cell) ** 2
        for place in range(n):
            signal[place] = squares - 2.0 * crowd(world, place * n + place) + 1.0

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, L)."""
        island = world.constants
        strength = island.turmoil * world.signal[state] if world.time > 0 else 0.0
        total = 1.0 + island.n_treasures * strength
        return (strength + (1.0 if next_state == action else 0.0)) / total

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, L)."""
        worth = world.constants.treasures[state] * (1.0 - 0.5 * world.signal[state])
        return worth if action == state and world.time > 0 else 0.0

    def check(self) -> None:
        """Check the treasures and the turmoil."""
        given = checks.sequence("treasures", self.treasures, "hold the treasure of each place")
        checks.integer("the number of treasures", len(given), 1, 1000)
        self.treasures = tuple(
            checks.real(f"treasures[{place}]", worth, -LARGEST, LARGEST) for place, worth in enumerate(given)
        )
        self.turmoil = checks.real("turmoil", self.turmoil, 0.0, LARGEST)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return len(self.treasures)

    @property
    def n_actions(self) -> int:
        """|A|: places to go to."""
        return len(self.treasures)

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """One D_s for each place."""
        return len(self.treasures)

    @property
    def constants(self) -> Island:
        """The treasures and the turmoil."""
        return Island(len(self.treasures), np.array(self.treasures), self.turmoil)
