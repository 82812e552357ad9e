"""Snapshots of an engine within its episodes, and the checks before an engine continues from one."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.game import MAX_SEED, Game

MAX_EPISODE = 2**62
"""Largest number of an episode: numbers of episodes are counted and hashed in 64 bits."""


def signed(seed: int) -> int:
    """The 64 bits of a seed as the signed integer that kernels take fastest."""
    return seed - 2**64 if seed >= 2**63 else seed


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The state of an engine within its episodes, as :meth:`mfenvs.Engine.snapshot` returns it."""

    seed: int
    """Random seed of the episodes, from 0 to 2^64 - 1."""
    episode: int
    """Number of the episode since the seed, from 0; -1 before the first."""
    time: int
    """Number of steps taken in the episode."""
    states: NDArray[Any]
    """Local states, shape (n_worlds, n_agents)."""
    signal: NDArray[np.float32] | None = None
    """The public signal, shape (n_worlds, n_signals); None stands for zeros."""
    returns: NDArray[np.float64] | None = None
    """Total rewards of this episode so far, shape (n_worlds, n_agents); None if the engine does not keep them."""


def checked_snapshot(snapshot: Snapshot, game: Game, n_worlds: int) -> Snapshot:
    """Check that all parts of a snapshot are possible for an engine of this game, and return the snapshot.

    Raises
    ------
    TypeError, ValueError
        If a part is not possible; the message names the part and what is allowed.
    """
    if not isinstance(snapshot, Snapshot):
        raise TypeError(f"snapshot must be a Snapshot, got {checks.shown(snapshot)}")
    shape = n_worlds, game.n_agents
    episode = checks.integer("snapshot.episode", snapshot.episode, -1, MAX_EPISODE)
    time = checks.integer("snapshot.time", snapshot.time, 0, game.horizon)
    if episode < 0 < time:
        raise ValueError(f"snapshot.time must be 0 before the first episode, got {time} of episode {episode}")
    states = checks.array("snapshot.states", snapshot.states)
    if states.shape != shape or states.dtype != game.state_dtype:
        raise ValueError(
            f"snapshot.states must have shape {shape} and dtype {game.state_dtype},"
            f" got {states.shape} and {states.dtype}"
        )
    signal_shape = n_worlds, game.n_signals
    signal = np.zeros(signal_shape, np.float32)
    if snapshot.signal is not None:
        signal = checks.shaped("snapshot.signal", snapshot.signal, signal_shape, np.float32)
    if episode >= 0:
        game.check_snapshot(states, signal)
    elif signal.any() or (states != np.zeros((), states.dtype)).any():
        # Zeros need not be a state of the game; an engine that has not begun an episode never reads them.
        raise ValueError("snapshot.states and snapshot.signal must be zeros before the first episode")
    returns = snapshot.returns
    if returns is not None:
        returns = checks.shaped("snapshot.returns", returns, shape, np.float64)
        if not np.isfinite(returns).all():
            raise ValueError(f"snapshot.returns must be finite, got {returns[~np.isfinite(returns)][0]}")
    return dataclasses.replace(
        snapshot,
        seed=checks.integer("snapshot.seed", snapshot.seed, 0, MAX_SEED),
        episode=episode,
        time=time,
        states=states,
        signal=signal,
        returns=returns,
    )
