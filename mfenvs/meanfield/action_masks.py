"""The actions that a finite game allows, as tables know them, and the policy that None stands for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.cpu import build_kernels
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.layout import Layout
from mfenvs.finite_game import FiniteGame

Masks = NDArray[np.bool_]

SIGNALS = (0.0, 1.0, np.nan)
"""Values of the public signal at which the rule ``allowed`` is asked, to see whether it reads it."""


def allowed_actions(game: FiniteGame) -> Masks | None:
    """Tabulate the rule ``allowed`` of a game.

    On the mean-field side, where a policy is a function of time and state for all agents, the rule may read the
    state, the time, the constants and the state of a public chain. It may not read the public signal otherwise,
    and must allow all agents the same.

    Returns
    -------
    Whether each action is allowed, of the game's ``policy_shape`` (T, S, A), or (1, S, A) if that does not depend
    on the time. None if the game has no such rule, or allows everything.

    Raises
    ------
    TypeError
        If the rule reads the public signal, or does not compile.
    ValueError
        If it allows different agents different actions, or none at all in some state; or reads the time in an
        infinite game.
    """
    if game.allowed is None:
        return None
    distinct = np.unique(game.agents.view(np.ndarray))
    ask = _asker(game)
    found = ask(distinct[0])
    for agent in distinct[1:]:
        other = ask(agent)
        if not np.array_equal(other, found):
            time, row, action = (int(i) for i in np.argwhere(other != found)[0])
            raise ValueError(
                f"the rule allowed of {type(game).__name__} must allow all agents the same on the mean-field side,"
                f" where they have one policy: agents with parameters {distinct[0]} and {agent} differ in action"
                f" {action} of state {row % game.n_states} at time {time}"
            )
    if found.all():
        return None
    return found[:1].copy() if (found == found[0]).all() else found


def uniform_table(game: FiniteGame) -> NDArray[np.float64]:
    """The policy that takes every allowed action with the same probability: what None stands for.

    Returns
    -------
    Probabilities of the game's ``policy_shape`` (T, S, A), or (n_agents, T, S, A) if the rule ``allowed`` allows
    agents with different parameters different actions.

    Raises
    ------
    TypeError
        If the rule ``allowed`` reads the public signal, which a table does not know.
    ValueError
        If it allows no action in some state, or reads the time in an infinite game.
    """
    if game.allowed is None:
        return np.full(game.policy_shape, 1.0 / game.n_actions)
    distinct, kind_of_agent = np.unique(game.agents.view(np.ndarray), return_inverse=True)
    ask = _asker(game)
    # Masks that are equal are kept once: agents may be many, and all different.
    number_of: dict[bytes, int] = {}
    tables: list[NDArray[np.float64]] = []
    numbers = np.empty(len(distinct), np.int64)
    for k, agent in enumerate(distinct):
        mask = ask(agent)
        numbers[k] = number_of.setdefault(np.packbits(mask).tobytes(), len(tables))
        if numbers[k] == len(tables):
            tables.append(mask / mask.sum(axis=-1, keepdims=True))
    if len(tables) == 1:
        return tables[0]
    return np.stack(tables)[numbers[kind_of_agent.reshape(-1)]]


def actions_of_agents(game: FiniteGame) -> Masks | None:
    """Which actions each agent may take, shape (1 or n_agents, T, S, A); None if the game has no such rule.

    Raises
    ------
    TypeError, ValueError
        As :func:`uniform_table`.
    """
    if game.allowed is None:
        return None
    return (uniform_table(game) > 0.0).reshape(-1, *game.policy_shape)


def masks_of(allowed: Masks | None, agents: NDArray[np.integer[Any]] | list[int]) -> Masks | None:
    """The masks of some agents, shape (1 or n, T, S, A), of those of :func:`actions_of_agents`."""
    return allowed if allowed is None or len(allowed) == 1 else allowed[agents]


def _asker(game: FiniteGame) -> Callable[[NDArray[np.void]], Masks]:
    """A function of an agent's parameters that tells which actions the agent is allowed, (T, S, A)."""
    kernel = build_kernels(game.rules, Layout.of(game)).masks
    assert kernel is not None
    kind, (n_times, n_rows, n_actions) = type(game).__name__, game.policy_shape
    n_states, n_public = game.n_states, game.n_public_states
    states = np.tile(np.arange(n_states, dtype=game.state_dtype), (n_public, 1))
    has_chain = game.public_chain is not None
    values = SIGNALS if game.n_signals > has_chain else SIGNALS[:1]

    def ask_at(agent: NDArray[np.void], time: int, value: float) -> Masks:
        masks = np.empty((n_public, n_states, n_actions), np.bool_)
        signal = np.full((n_public, game.n_signals), value, np.float32)
        if has_chain:
            signal[:, -1] = np.arange(n_public)
        agents, elapsed = np.full(n_states, agent, agent.dtype), np.float32(time / game.horizon)
        try:
            kernel(masks, states, agents, game.constants, signal, time, elapsed, 0, n_public)
        except COMPILE_ERRORS as error:
            raise explained(game, error) from None
        return masks.reshape(n_rows, n_actions)

    def ask(agent: Any) -> Masks:
        found = np.empty((n_times, n_rows, n_actions), np.bool_)
        for time in range(n_times):
            found[time] = ask_at(agent, time, values[0])
            for value in values[1:]:
                if not np.array_equal(ask_at(agent, time, value), found[time]):
                    raise TypeError(
                        f"the rule allowed of {kind} reads the public signal, which a table does not know: on the"
                        " mean-field side it may read the state, the time, the constants and the state of a public"
                        " chain"
                    )
            stuck = ~found[time].any(axis=-1)
            if stuck.any():
                raise ValueError(
                    f"the rule allowed of {kind} must allow an action in state"
                    f" {int(stuck.argmax()) % n_states} at time {time}"
                )
        if game.is_infinite:
            for time in later_times(game):
                if not np.array_equal(ask_at(agent, time, values[0]), found[0]):
                    raise reads_time(game, "public.time")
        return found

    return ask


def later_times(game: FiniteGame) -> list[int]:
    """Times at which an infinite game must be as at time 0; some of those that an episode has."""
    last = game.horizon - 1
    return sorted({time for time in (1, 2, 3, last // 2, last) if 0 < time <= last})


def reads_time(game: FiniteGame, what: str) -> ValueError:
    """The error of an infinite game whose rules read the time."""
    return ValueError(
        f"{type(game).__name__} with discount {game.discount:g} goes on for ever, so its rules must not read"
        f" {what}: make it with discount=1, or without the time"
    )
