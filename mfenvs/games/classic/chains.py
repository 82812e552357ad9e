"""Chains: discounted games on a line of places, with noise of one place, that differ in what agents earn there."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import LARGEST, MOST_PLACES, StateCountingGame
from mfenvs.games.classic.line import with_noise
from mfenvs.rules import crowd, rule


class Chain(NamedTuple):
    """The constants of a chain, as its rules read them."""

    still: float
    worth: NDArray[np.float64]
    """The reward for each place, shape (n_places,)."""
    move_cost: float
    attraction: float
    """The reward for mu(s) = 1; negative if agents avoid each other."""


@dataclasses.dataclass(kw_only=True)
class ChainGame(StateCountingGame):
    """What the games on a chain have in common: r = worth(s) - move_cost 1{moves} + attraction mu(s)."""

    horizon: int = 100
    """Number of steps of a simulated episode [S]."""
    discount: float = 0.9
    """Discount factor gamma [S]."""
    n_places: int = 7
    """Number of places |S| [S]."""
    still: float = 0.95
    """Probability that noise does not move an agent [S]."""
    move_cost: float = 0.0
    """Cost of a move to the left or right [S]."""

    action_names = ("left", "stay", "right")
    n_actions = 3
    n_branches = 3

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that noise k leads to, and its probability."""
        chain = world.constants
        return with_noise(k, state + action - 1, len(chain.worth) - 1, chain.still)

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu)."""
        chain = world.constants
        paid = 0.0 if action == 1 else chain.move_cost
        return chain.worth[state] - paid + chain.attraction * crowd(world, state)

    def check(self) -> None:
        """Check the size, the noise and the cost."""
        self.n_places = checks.integer("n_places", self.n_places, 1, MOST_PLACES)
        self.still = checks.real("still", self.still, 0.0, 1.0)
        self.move_cost = checks.real("move_cost", self.move_cost, -LARGEST, LARGEST)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_places

    @property
    def worth(self) -> NDArray[np.float64]:
        """The reward for each place, shape (n_places,)."""
        raise NotImplementedError(f"{type(self).__name__} must declare worth")

    @property
    def attraction_of_crowd(self) -> float:
        """The reward for mu(s) = 1."""
        return 0.0

    @property
    def constants(self) -> Chain:
        """The noise and the rewards."""
        return Chain(self.still, self.worth, self.move_cost, self.attraction_of_crowd)


@dataclasses.dataclass(kw_only=True)
class LasryLionsChain(ChainGame):
    """Lasry-Lions chain: agents like the centre of a line and avoid each other, which is a monotone game.

    ``lasry_lions_chain`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: places 0 .. n_places - 1, the centre being c = (n_places - 1) / 2. Actions: 0 left, 1 stay, 2 right.

    * s' = s + a + e, held back at the ends; e = 0 with probability ``still``, else -1 or 1 [S]
    * r = -move_cost 1{moves} - pull (s - c)^2 - aversion mu(s) [S]
    * the first place is uniform [S]

    Known: the game is monotone, so that all equilibria have the same population. Weighing by its stationary law,
    the uniform policy has value -191.521666 and exploitability 112.533260.
    """

    move_cost: float = 2.0
    """Cost of a move to the left or right [S]."""
    pull: float = 3.0
    """Cost of the squared distance from the centre [S]."""
    aversion: float = 40.0
    """Cost of a place where everybody is [S]."""

    def check(self) -> None:
        """Check the coefficients."""
        for name in ("pull", "aversion"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()

    @property
    def worth(self) -> NDArray[np.float64]:
        """-pull (s - c)^2."""
        return np.asarray(-self.pull * (np.arange(self.n_places) - 0.5 * (self.n_places - 1)) ** 2, np.float64)

    @property
    def attraction_of_crowd(self) -> float:
        """-aversion."""
        return -self.aversion


@dataclasses.dataclass(kw_only=True)
class NoInteractionChain(ChainGame):
    """Chain without interaction: a decision problem in which the others do not matter, as a baseline.

    ``no_interaction_game`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: places 0 .. n_places - 1. Actions: 0 left, 1 stay, 2 right.

    * s' = s + a + e, held back at the ends; e = 0 with probability ``still``, else -1 or 1 [S]
    * r = s - move_cost 1{moves} [S]
    * the first place is uniform [S]

    Known: everybody goes right. Weighing by its stationary law, the uniform policy has value 29.333333 and
    exploitability 23.089666.
    """

    move_cost: float = 0.1
    """Cost of a move to the left or right [S]."""

    @property
    def worth(self) -> NDArray[np.float64]:
        """The number of the place."""
        return np.arange(float(self.n_places))


@dataclasses.dataclass(kw_only=True)
class MultipleEquilibria(ChainGame):
    """Multiple equilibria: two bars on a line, between which a crowd that likes company must choose.

    ``multiple_equilibria`` of Bench-MFG; tags as in :mod:`mfenvs.games`.

    States: places 0 .. n_places - 1. Actions: 0 left, 1 stay, 2 right.

    * s' = s + a + e, held back at the ends; e = 0 with probability ``still``, else -1 or 1 [S]
    * r = -move_cost 1{moves} - pull min_b |s - b| + company mu(s), b being the bars [S]
    * the first place is uniform [S]

    Known: there are several equilibria. Weighing by its stationary law, the uniform policy has value -220.907241
    and exploitability 188.127564.
    """

    move_cost: float = 4.0
    """Cost of a move to the left or right [S]."""
    pull: float = 20.0
    """Cost of the distance from the nearest bar [S]."""
    company: float = 5.0
    """Reward of a place where everybody is [S]."""
    bars: Sequence[int] = (2, 4)
    """Places of the bars [S]."""

    def check(self) -> None:
        """Check the coefficients and the bars."""
        for name in ("pull", "company"):
            setattr(self, name, checks.real(name, getattr(self, name), -LARGEST, LARGEST))
        super().check()
        given = checks.sequence("bars", self.bars, "hold the places of the bars")
        checks.integer("the number of bars", len(given), 1)
        self.bars = tuple(checks.integer(f"bars[{k}]", bar, 0, self.n_places - 1) for k, bar in enumerate(given))

    @property
    def worth(self) -> NDArray[np.float64]:
        """-pull min_b |s - b|."""
        apart = np.abs(np.arange(self.n_places)[:, None] - np.array(self.bars))
        return np.asarray(-self.pull * apart.min(1), np.float64)

    @property
    def attraction_of_crowd(self) -> float:
        """Company."""
        return self.company
