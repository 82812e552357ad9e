"""The actions that a finite game allows, as the mean-field side knows them."""

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.cpu import build_kernels
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.layout import Layout
from mfenvs.game import FiniteGame

SIGNALS = (0.0, 1.0, np.nan)
"""Values of the public signal at which the rule ``allowed`` is asked, to see whether it reads it."""


def allowed_actions(game: FiniteGame) -> NDArray[np.bool_] | None:
    """Tabulate the rule ``allowed`` of a game.

    On the mean-field side, where a policy is a function of time and state for all agents, the rule may read the
    state, the time and the constants. It may not read the public signal, and must allow all agents the same.

    Returns
    -------
    Whether each action is allowed, shape (T, S, A), or (1, S, A) if that does not depend on the time. None if the
    game has no such rule, or allows everything.

    Raises
    ------
    TypeError
        If the rule reads the public signal, or does not compile.
    ValueError
        If it allows different agents different actions, or none at all in some state.
    """
    if game.allowed is None:
        return None
    kernel = build_kernels(game.rules, Layout.of(game)).masks
    assert kernel is not None
    kind, (n_times, n_states, n_actions) = type(game).__name__, game.policy_shape
    distinct = np.unique(game.agents.view(np.ndarray))
    states = np.arange(n_states, dtype=game.state_dtype)[None]
    found = np.empty((n_times, n_states, n_actions), np.bool_)

    def ask(agent: NDArray[np.void], signal: float, time: int) -> NDArray[np.bool_]:
        masks = np.empty((1, n_states, n_actions), np.bool_)
        agents, told = np.full(n_states, agent, distinct.dtype), np.full((1, game.n_signals), signal, np.float32)
        try:
            kernel(masks, states, agents, game.constants, told, time, np.float32(time / game.horizon), 0, 1)
        except COMPILE_ERRORS as error:
            raise explained(game, error) from None
        return masks.reshape(n_states, n_actions)

    for time in range(n_times):
        found[time] = ask(distinct[0], SIGNALS[0], time)
        for signal in SIGNALS[1:] if game.n_signals else ():
            if not np.array_equal(ask(distinct[0], signal, time), found[time]):
                raise TypeError(
                    f"the rule allowed of {kind} reads the public signal, which is not known on the mean-field"
                    " side: there it may read the state, the time and the constants"
                )
        for agent in distinct[1:]:
            other = ask(agent, SIGNALS[0], time)
            if not np.array_equal(other, found[time]):
                state, action = (int(i) for i in np.argwhere(other != found[time])[0])
                raise ValueError(
                    f"the rule allowed of {kind} must allow all agents the same on the mean-field side, where they"
                    f" have one policy: agents with parameters {distinct[0]} and {agent} differ in action {action}"
                    f" of state {state} at time {time}"
                )
    stuck = ~found.any(axis=-1)
    if stuck.any():
        time, state = (int(i) for i in np.argwhere(stuck)[0])
        raise ValueError(f"the rule allowed of {kind} must allow an action in state {state} at time {time}")
    if found.all():
        return None
    return found[:1].copy() if (found == found[0]).all() else found
