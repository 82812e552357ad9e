"""Rules of the linear-quadratic game: scalar functions of one agent."""

import functools
from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.random import normal
from mfenvs.game import Rules
from mfenvs.games.squashing import squashed
from mfenvs.rules import crowd, rule

STAY, PUSH, PULL, NOISE, STATE_COST, CONTROL_COST, MEAN_COST, TERMINAL_COST = range(8)
"""Columns of :attr:`Constants.by_type`."""
N_COLUMNS = 8

MEAN = 0
"""Entry of the public signal: the mean of all agents' states in the last step; then each type's common noise."""

BINS = 20
"""Others see an agent's state in so many bins."""


class Constants(NamedTuple):
    """What the rules read as ``world.constants``."""

    by_type: Any
    """Coefficients of a step and of its cost (:data:`STAY` and what follows), shape (n_types, N_COLUMNS)."""
    common: Any
    """Lower triangular factor of the covariance of the types' common noise, shape (n_types, n_types)."""
    last_step: Any
    """The last step of an episode, which bears the terminal cost."""


@rule
def start(agent: Any, initial: Any, key: Any) -> Any:
    """A Gaussian state: ``initial`` holds the mean and the standard deviation of each type in turn."""
    return initial[2 * agent.type] + initial[2 * agent.type + 1] * normal(key, 0)


@rule
def cell(state: Any, action: Any, agent: Any) -> Any:
    """Agents are counted by type."""
    return agent.type


@rule
def weight(state: Any, action: Any, agent: Any) -> Any:
    """The states of each type are added up."""
    return state


@rule
def aggregate(world: Any, signal: Any) -> None:
    """Write xbar, the mean of all N agents' states."""
    total = crowd(world, 0)
    for kind in range(1, len(world.constants.common)):
        total += crowd(world, kind)
    signal[MEAN] = total


@rule
def publish(signal: Any, constants: Any, time: Any, key: Any) -> None:
    """Draw the common noise of the coming step, which agents do not observe."""
    for kind in range(len(constants.common)):
        shock = np.float32(0.0)
        for source in range(kind + 1):
            if constants.common[kind, source] != 0:
                shock += constants.common[kind, source] * normal(key, 2 * source)
        signal[MEAN + 1 + kind] = shock


@rule
def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
    """Move, and pay the running cost of the state before the step; the last step pays the terminal cost too."""
    own, control, mean = world.constants.by_type[agent.type], action[0], world.signal[MEAN]
    shock = own[NOISE] * normal(key, 0) + world.signal[MEAN + 1 + agent.type]
    moved = own[STAY] * state + own[PUSH] * control + own[PULL] * mean + shock
    cost = (own[STATE_COST] * state + own[MEAN_COST] * mean) * state + own[CONTROL_COST] * control * control
    if world.time == world.constants.last_step:
        cost += own[TERMINAL_COST] * moved * moved
    return moved, -cost


@rule
def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
    """Write the state, the type one-hot, and the elapsed time."""
    out[0] = state
    out[1 + agent.type] = 1.0
    out[len(out) - 1] = public.elapsed


@functools.cache
def linear_quadratic_rules(scale: float) -> Rules:
    """The rules of a game whose states are of the size of ``scale``."""
    size = np.float32(scale)

    @rule
    def place(state: Any) -> Any:
        """Others see a state in bins that are finest around 0."""
        return min(int(squashed(state, size) * BINS), BINS - 1)

    return Rules(
        start=start,
        cell=cell,
        weight=weight,
        aggregate=aggregate,
        publish=publish,
        step=step,
        observe=observe,
        place=place,
    )
