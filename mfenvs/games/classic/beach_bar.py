"""The beach bar: places near the bar are better, and crowded places worse."""

import dataclasses
from typing import Any, NamedTuple

from mfenvs import checks
from mfenvs.games.classic.classic_game import MOST_PLACES, StateCountingGame, crowding
from mfenvs.games.classic.line import with_noise
from mfenvs.rules import rule


class Beach(NamedTuple):
    """The constants of the beach bar, as its rules read them."""

    n_places: int
    bar: int
    still: float
    least: float


@dataclasses.dataclass(kw_only=True)
class BeachBar(StateCountingGame):
    """Beach bar: agents want to be near the bar, but not where all others are.

    ``beach_bar`` of MFGLib, after Perrin et al., "Fictitious play for mean field games" (NeurIPS 2020); tags as in
    :mod:`mfenvs.games`.

    States: places 0 .. n_towels - 1 of a beach. Actions: 0 left, 1 stay, 2 right.

    * s' = s + a + e, held back at the ends of the beach; e = 0 with probability ``still``, else -1 or 1 [S]
    * r = -d(s, bar) - 1{moves} / n_towels - log(mu(s) + least) [S]
    * the first place is uniform [S]

    d is the distance on a ring, although agents move on a line: as in the source [S].

    Known: the uniform policy has value .556222 and exploitability 1.221262.
    """

    horizon: int = 3
    """Number of steps H [S]."""
    n_towels: int = 4
    """Number of places |S| [S]."""
    bar: int = 2
    """The place of the bar [S]."""
    still: float = 0.5
    """Probability that noise does not move an agent [S]."""
    least: float = 1e-20
    """What is added to mu(s) in its logarithm [S]."""

    action_names = ("left", "stay", "right")
    n_actions = 3
    n_branches = 3

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that noise k leads to, and its probability."""
        beach = world.constants
        return with_noise(k, state + action - 1, beach.n_places - 1, beach.still)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu)."""
        beach = world.constants
        apart = abs(state - beach.bar)
        distance = min(apart, beach.n_places - apart)
        walk = 0.0 if action == 1 else 1.0 / beach.n_places
        return crowding(world, state, beach.least) - distance - walk

    def check(self) -> None:
        """Check the size of the beach, the place of the bar and the noise."""
        self.n_towels = checks.integer("n_towels", self.n_towels, 1, MOST_PLACES)
        self.bar = checks.integer("bar", self.bar, 0, self.n_towels - 1)
        self.still = checks.real("still", self.still, 0.0, 1.0)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_towels

    @property
    def constants(self) -> Beach:
        """The beach."""
        return Beach(self.n_towels, self.bar, self.still, self.least)
