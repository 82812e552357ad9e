"""Common noise of a finite game: a finite Markov chain whose state everybody sees before acting."""

from typing import Any, NamedTuple

import numpy as np
from numba import int32
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.cumulated import cumulative
from mfenvs.engine.random import uniform
from mfenvs.rules import rule

Array = NDArray[np.float64]

MOST_PUBLIC_STATES = 4096
"""Largest number of public states: a transition matrix then takes 128 MB."""


class ChainTables(NamedTuple):
    """The arrays of a public chain, as rules read them: ``world.constants.public_chain``."""

    initial: Any
    """Law of the first public state, cumulated over states, (M,), in single precision."""
    cumulated: Any
    """Transition probabilities, cumulated over next states, (L, M, M), in single precision."""
    transition: Any
    """Transition probabilities Q_h(z, z'), (L, M, M); L = 1 if they are the same at all times."""


class OnlyChain(NamedTuple):
    """The constants of a game that has no others than its public chain."""

    public_chain: ChainTables


class PublicChain:
    """A finite Markov chain of public states z_0, z_1, ..., the common noise of a game.

    The law of z_{h+1} depends on z_h and the time, and on nothing that agents do.

    Parameters
    ----------
    initial:
        Law of z_0, shape (M,).
    transition:
        Q(z, z') = P(z_{h+1} = z' | z_h = z), shape (M, M), or one matrix for each step from time h to h + 1, shape
        (H - 1, M, M), where H is the horizon of the game.

    Raises
    ------
    TypeError, ValueError
        If these are not probabilities or do not fit each other.

    Examples
    --------
    A state that is left with the probability .1 in each step and never entered again:

    >>> PublicChain([1.0, 0.0], [[0.9, 0.1], [0.0, 1.0]]).n_states
    2
    """

    def __init__(self, initial: ArrayLike, transition: ArrayLike) -> None:
        first = checks.array("initial", initial)
        if first.ndim != 1 or not first.size:
            raise ValueError(f"initial must be the law of the first public state, (M,), got shape {first.shape}")
        checks.at_most("the number of public states", first.size, MOST_PUBLIC_STATES)
        matrices = checks.array("transition", transition)
        each = (len(matrices),) if matrices.ndim == 3 and len(matrices) else ()
        shape = (*each, first.size, first.size)
        found = checks.probabilities("transition", matrices, shape).reshape(-1, first.size, first.size)
        self.initial: Array = np.array(checks.probabilities("initial", first, first.shape))
        """Law of the first public state, shape (M,)."""
        self.transition: Array = np.array(found)
        """Transition probabilities, shape (L, M, M): L is 1 if they are the same at all times, else H - 1."""
        for law in (self.initial, self.transition):
            law /= law.sum(axis=-1, keepdims=True)
            law.flags.writeable = False

    @property
    def n_states(self) -> int:
        """Number of public states M."""
        return len(self.initial)

    @property
    def tables(self) -> ChainTables:
        """The arrays for rules: the entry ``public_chain`` of a game's ``constants``."""
        return ChainTables(cumulative(self.initial), cumulative(self.transition), self.transition)

    def at(self, time: int) -> Array:
        """Transition probabilities from time ``time`` to the next, shape (M, M)."""
        found: Array = self.transition[time if len(self.transition) > 1 else 0]
        return found

    def check_horizon(self, horizon: int) -> None:
        """Raise a ValueError if the matrices are not those of a game with this horizon."""
        if len(self.transition) not in (1, horizon - 1):
            raise ValueError(
                f"public_chain.transition must be one matrix, or horizon - 1 = {horizon - 1} matrices, got"
                f" {len(self.transition)}"
            )

    def paths(self, n_paths: int, horizon: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw independent paths z_0, ..., z_{H-1}, shape (n_paths, horizon)."""
        found = np.empty((n_paths, horizon), np.int64)
        laws = np.broadcast_to(self.initial, (n_paths, self.n_states))
        for time in range(horizon):
            sums = np.cumsum(laws, axis=1)
            # Against the actual sum: a state of probability zero at the end is never reached.
            draws = rng.random(n_paths) * sums[:, -1]
            found[:, time] = (draws[:, None] >= sums).sum(axis=1)
            if time < horizon - 1:
                laws = self.at(time)[found[:, time]]
        return found


def refuse_public_chain(game: Any, what: str) -> None:
    """Raise a TypeError if a game has a public chain, for which ``what`` is not made."""
    if getattr(game, "public_chain", None) is not None:
        raise TypeError(
            f"{what} is for games without common noise, got {type(game).__name__}, which has a public chain"
        )


@rule
def public_state(world: Any) -> Any:
    """The public state z, an integer in [0, M), of a game with a public chain.

    ``world`` is a :class:`~mfenvs.rules.World` or the :class:`~mfenvs.rules.Public` of ``observe`` and
    ``allowed``. The state is the last entry of the public signal.
    """
    return int32(world.signal[len(world.signal) - 1])


@rule
def publish_state(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """The rule ``publish`` of a game with a public chain: draw its next state into the signal's last entry."""
    chain, last = constants.public_chain, len(signal) - 1
    n_states, n_matrices = len(chain.initial), len(chain.cumulated)
    # After the last matrix of a chain that depends on time, no step is left to be played.
    if time <= n_matrices or n_matrices == 1:
        now = min(max(int32(signal[last]), 0), n_states - 1)
        step = 0 if n_matrices == 1 or time == 0 else time - 1
        draw, state = uniform(key, 0), 0
        for k in range(n_states - 1):
            reached = chain.initial[k] if time == 0 else chain.cumulated[step, now, k]
            state += draw >= reached
        signal[last] = state
