"""The beach bar that may close: a coin that everybody sees decides it half-way."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.classic.classic_game import MOST_PLACES, StateCountingGame, crowding
from mfenvs.games.classic.line import held
from mfenvs.public_chain import ChainTables, PublicChain, public_state
from mfenvs.rules import rule

CLOSED, OPEN = 0, 1
"""Public states."""
FARTHEST_MOVE, FARTHEST_NOISE = 5, 2


class Beach(NamedTuple):
    """The constants of the closing beach bar, as its rules read them."""

    public_chain: ChainTables
    n_places: int
    bar: int
    closing_time: int
    closing: float
    aversion: float
    least: float
    noise: NDArray[np.float64]


@rule
def blocked(place: Any, before: Any, bar: Any) -> Any:
    """A place that is reached from ``before``, or the one in front of the bar, which nobody crosses."""
    if before < bar and place >= bar:
        return bar - 1
    if before > bar and place <= bar:
        return bar + 1
    return place


@dataclasses.dataclass(kw_only=True)
class ClosingBeachBar(StateCountingGame):
    """Closing beach bar: agents want to be near the bar while it is open, and not next to it when it closes.

    ``beach_bar_1d`` of MFAX, with common noise; tags as in :mod:`mfenvs.games`.

    States: places 0 .. n_places - 1 of a beach. Actions: moves a = -5 .. 5, numbered from 0. Public states: 0
    closed, 1 open. The bar is open until ``closing_time``, when it closes for good with the probability
    ``closing``.

    * s' = s + a, then + e with e in -2 .. 2; after each of the two moves held back at the ends of the beach and in
      front of the bar, which nobody crosses [S]
    * r = -|s - bar| z - n_places 1{|s - bar| = 1} 1{z' = 0} - |a| / n_places - aversion z log(mu(s) + least),
      where z' is the public state of the next step; what is paid is the mean over z' [R]
    * the first place is uniform over all but the bar [S]

    The docstring of the source promises an aversion to crowds, but its code clips the logarithm, which is
    negative, to 0: ``aversion=0`` is the source's game, and the default mends it [R]. The source draws the place
    of the bar anew in every episode, uniformly from [n_places / 4, 3 n_places / 4]; here it is a constant [O].

    Known: the uniform policy has value -506.204569 and exploitability 476.452771; with ``aversion=0`` -609.390019
    and 485.187452.
    """

    horizon: int = 30
    """Number of steps H [S]."""
    n_places: int = 101
    """Number of places |S| [S]."""
    bar: int = 50
    """The place of the bar, which is at neither end [O]."""
    closing_time: int = 15
    """The time at which it is decided whether the bar closes; it stays open in a game that ends before [S]."""
    closing: float = 0.5
    """The probability that it closes [S]."""
    aversion: float = 1.0
    """Factor of the aversion to crowds [R]."""
    least: float = 1e-8
    """What is added to mu(s) in its logarithm [S]."""
    noise: tuple[float, ...] = (0.05, 0.1, 0.7, 0.1, 0.05)
    """Probabilities of the noise -2, ..., 2 [S]."""

    family: ClassVar[str] = "common-noise"
    action_names = tuple(f"{a:+d}" if a else "stay" for a in range(-FARTHEST_MOVE, FARTHEST_MOVE + 1))
    n_actions = 2 * FARTHEST_MOVE + 1
    n_branches = 2 * FARTHEST_NOISE + 1
    n_signals = 1

    @staticmethod
    @rule
    def branch(k: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """The place that the k-th noise leads to, and its probability."""
        beach = world.constants
        last = beach.n_places - 1
        moved = blocked(held(state + action - FARTHEST_MOVE, last), state, beach.bar)
        return blocked(held(moved + k - FARTHEST_NOISE, last), state, beach.bar), beach.noise[k]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, mu) at the present time and public state."""
        beach, is_open = world.constants, public_state(world) == OPEN
        distance = abs(state - beach.bar)
        earned = -abs(action - FARTHEST_MOVE) / beach.n_places
        if is_open:
            earned += beach.aversion * crowding(world, state, beach.least) - distance
        if distance == 1:
            decides = world.time == beach.closing_time - 1
            earned -= beach.n_places * ((beach.closing if decides else 0.0) if is_open else 1.0)
        return earned

    def check(self) -> None:
        """Check the beach, the time of closing and the probabilities."""
        self.n_places = checks.integer("n_places", self.n_places, 3, MOST_PLACES)
        self.bar = checks.integer("bar", self.bar, 1, self.n_places - 2)
        self.closing_time = checks.integer("closing_time", self.closing_time, 1)
        self.closing = checks.real("closing", self.closing, 0.0, 1.0)
        self.aversion = checks.real("aversion", self.aversion, 0.0, 1e6)
        self.least = checks.real("least", self.least, 0.0, 1.0, exclude_low=True)
        law = checks.probabilities("noise", self.noise, (self.n_branches,))
        self.noise = tuple(law.tolist())
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: places."""
        return self.n_places

    @functools.cached_property
    def public_chain(self) -> PublicChain:
        """Open; then perhaps closed for good."""
        n_matrices = max(1, self.horizon - 1)
        moves = np.tile(np.eye(2), (n_matrices, 1, 1))
        if self.closing_time <= self.horizon - 1:
            moves[self.closing_time - 1, OPEN] = self.closing, 1.0 - self.closing
        return PublicChain([0.0, 1.0], moves)

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """Uniform over all places but the bar."""
        law = np.full(self.n_places, 1.0 / (self.n_places - 1))
        law[self.bar] = 0.0
        return law

    @property
    def constants(self) -> Beach:
        """The beach."""
        return Beach(
            self.public_chain.tables,
            self.n_places,
            self.bar,
            self.closing_time,
            self.closing,
            self.aversion,
            self.least,
            np.array(self.noise),
        )
