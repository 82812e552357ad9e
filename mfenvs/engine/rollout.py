"""The arguments of :meth:`mfenvs.Engine.rollout`, checked."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.cumulated import cumulative
from mfenvs.engine.snapshot import MAX_EPISODE
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED


class Rollout(NamedTuple):
    """Checked arguments of episodes to be played."""

    policy: NDArray[np.float32]
    """Policies of all agents, cumulated over actions, shape (1 or n_agents, T, S, A)."""
    seed: int
    episode: int
    world_ids: NDArray[np.uint64]
    """Ids of the worlds, shape (n_worlds,)."""
    deviators: NDArray[np.int64]
    """Index of the agent that deviates in each world, -1 for none, shape (n_worlds,)."""
    deviations: NDArray[np.float32]
    """Policies of the deviators, cumulated over actions, shape (n_worlds, T, S, A), or with the horizon for T."""
    starts: NDArray[np.int64] | None
    """Initial states of all agents, shape (n_worlds, n_agents); None if they are to be drawn."""


def checked_rollout(
    game: FiniteGame,
    own_world_ids: NDArray[np.uint64],
    policy: Any,
    seed: int,
    episode: int,
    world_ids: ArrayLike | None,
    deviators: ArrayLike | None,
    deviations: ArrayLike | None,
    starts: ArrayLike | None,
) -> Rollout:
    """Check the arguments of :meth:`mfenvs.Engine.rollout`; ``own_world_ids`` are those of the engine's worlds.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed; the message names it and what is allowed.
    """
    table = game.policy_shape
    law = game.policy_table("policy", policy)
    ids = own_world_ids if world_ids is None else _checked_ids(world_ids)
    n_worlds = len(ids)
    if (deviators is None) != (deviations is None):
        raise ValueError("deviators and deviations must be given together")
    who, other = np.full(n_worlds, -1), np.zeros((n_worlds, *table), np.float32)
    if deviators is not None and deviations is not None:
        who = checks.indices("deviators", deviators, (n_worlds,), -1, game.n_agents - 1)
        given = checks.array("deviations", deviations)
        has_horizon = given.ndim == 4 and given.shape[1] == game.horizon
        length = game.horizon if has_horizon else table[0]
        other = cumulative(checks.probabilities("deviations", given, (n_worlds, length, *table[1:])))
    placed = None
    if starts is not None:
        placed = checks.indices("starts", starts, (n_worlds, game.n_agents), 0, game.n_states - 1)
        game.check_members("starts", placed)
    return Rollout(
        policy=cumulative(law.reshape(-1, *table)),
        seed=checks.integer("seed", seed, 0, MAX_SEED),
        episode=checks.integer("episode", episode, 0, MAX_EPISODE),
        world_ids=ids,
        deviators=who,
        deviations=other,
        starts=placed,
    )


def _checked_ids(world_ids: ArrayLike) -> NDArray[np.uint64]:
    found = checks.array("world_ids", world_ids)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"world_ids must hold the id of at least one world, got shape {found.shape}")
    return checks.indices("world_ids", found, found.shape, 0, 2**64 - 1)
