"""The rules that follow from a finite game's ``transition`` and ``reward``."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from mfenvs.engine.random import uniform
from mfenvs.rules import rule

Rule = Callable[..., Any]


@rule
def start_from_distribution(agent: Any, initial: Any, key: Any) -> int:
    """Draw the first state from the cumulative law ``initial``."""
    draw = uniform(key, 0)
    state = 0
    for candidate in range(len(initial) - 1):
        state += draw >= initial[candidate]
    return state


@rule
def own_state(state: Any) -> Any:
    """Be seen in one's state."""
    return state


@functools.cache
def state_action_cell(n_actions: int) -> Rule:
    """Count an agent by its state and action."""

    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        return state * n_actions + action

    return cell


@functools.cache
def one_hot(n_states: int) -> Rule:
    """Observe one's own state one-hot."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0

    return observe


@functools.cache
def one_hot_and_time(n_states: int) -> Rule:
    """Observe one's own state one-hot, then the elapsed time."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0
        out[n_states] = public.elapsed

    return observe


ALMOST_ONE = np.float32(1.0 - 4e-7)
"""A cumulated row that has come this far is complete: what is missing is rounding, not another state."""


@functools.cache
def sampled_step(transition: Rule, reward: Rule, n_states: int) -> Rule:
    """The step of a finite game: one uniform draw against the cumulated transition row."""
    last = n_states - 1

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        draw = uniform(key, 0)
        reached = np.float32(0.0)
        next_state = 0
        for candidate in range(last):
            reached += transition(candidate, state, action, agent, world)
            next_state += (draw >= reached) & (reached < ALMOST_ONE)
        return next_state, reward(state, action, agent, world)

    return step
