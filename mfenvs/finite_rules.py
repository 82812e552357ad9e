"""The default rules of a finite game, which follow from its ``transition`` or ``branch``, and its ``reward``."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import int32

from mfenvs.engine.random import uniform
from mfenvs.public_chain import public_state
from mfenvs.rules import rule

Rule = Callable[..., Any]


@rule
def start_from_distribution(agent: Any, initial: Any, key: Any) -> int:
    """Draw the initial state from the cumulative distribution ``initial``."""
    draw = uniform(key, 0)
    state = 0
    for candidate in range(len(initial) - 1):
        state += draw >= initial[candidate]
    return state


@rule
def own_state(state: Any) -> Any:
    """The rule ``place``: an agent's place is its state."""
    return state


@functools.cache
def state_action_cell(n_actions: int) -> Rule:
    """Make the rule ``cell`` that counts an agent by its state and action."""

    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        return state * n_actions + action

    return cell


@functools.cache
def one_hot(n_states: int) -> Rule:
    """Make the rule ``observe`` that shows an agent its own state, one-hot."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0

    return observe


@functools.cache
def one_hot_and_time(n_states: int) -> Rule:
    """Make the rule ``observe`` that shows an agent its own state, one-hot, and the elapsed time."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0
        out[n_states] = public.elapsed

    return observe


@functools.cache
def one_hot_time_and_public_state(n_states: int) -> Rule:
    """Make the rule ``observe`` that shows the own state and, behind the time, the public state, one-hot each."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0
        out[n_states] = public.elapsed
        out[n_states + 1 + public_state(public)] = 1.0

    return observe


@functools.cache
def aggregate_from_zeros(aggregate: Rule) -> Rule:
    """Make the rule ``aggregate`` of a finite game, whose signal holds zeros before it is written."""

    @rule
    def aggregate_anew(world: Any, signal: Any) -> None:
        for j in range(len(signal)):
            signal[j] = 0.0
        aggregate(world, signal)

    return aggregate_anew


@functools.cache
def aggregate_beside_public_state(aggregate: Rule) -> Rule:
    """As :func:`aggregate_from_zeros` in a game with a public chain; it leaves the public state as it is."""

    @rule
    def aggregate_others(world: Any, signal: Any) -> None:
        last = len(signal) - 1
        public = signal[last]
        for j in range(last):
            signal[j] = 0.0
        aggregate(world, signal)
        signal[last] = public

    return aggregate_others


ALMOST_ONE = np.float32(1.0 - 4e-7)
"""A cumulative probability from here on counts as 1: the difference is rounding, not the probability of a
state."""


def pay_rule(reward: Rule, arrival: Rule | None) -> Rule:
    """Make the rule of what a step pays, called as ``arrival`` is."""
    if arrival is None:

        @rule
        def pay(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
            return reward(state, action, agent, world)

        return pay

    @rule
    def pay_on_arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return reward(state, action, agent, world) + arrival(next_state, state, action, agent, world)

    return pay_on_arrival


@functools.cache
def sampled_step(transition: Rule, reward: Rule, arrival: Rule | None, n_states: int) -> Rule:
    """Make the rule ``step`` of a finite game: one uniform draw against the cumulated transition row."""
    last, pay = n_states - 1, pay_rule(reward, arrival)

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        draw = uniform(key, 0)
        reached = np.float32(0.0)
        next_state = 0
        for candidate in range(last):
            reached += transition(candidate, state, action, agent, world)
            next_state += (draw >= reached) & (reached < ALMOST_ONE)
        return next_state, pay(next_state, state, action, agent, world)

    return step


@functools.cache
def branched_step(branch: Rule, reward: Rule, arrival: Rule | None, n_branches: int, n_states: int) -> Rule:
    """Make the rule ``step`` of a game with branches: one uniform draw against their cumulated probabilities.

    If the branch that is drawn leads to a state that does not exist, the next state is ``n_states``, which the
    engine refuses before it uses it.
    """
    pay = pay_rule(reward, arrival)

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        draw = uniform(key, 0)
        reached = np.float32(0.0)
        next_state, is_drawn = 0, False
        for k in range(n_branches):
            successor, probability = branch(k, state, action, agent, world)
            # Until a branch is drawn, the last possible one is taken: rounding in the sum selects no other.
            next_state = next_state if is_drawn or not probability > 0.0 else successor
            reached += probability
            is_drawn = is_drawn or draw < reached or reached >= ALMOST_ONE
        whole = int32(next_state)
        exists = whole == next_state and whole >= 0 and whole < n_states
        return whole if exists else n_states, pay(whole if exists else 0, state, action, agent, world)

    return step


@functools.cache
def transition_of_branches(branch: Rule, n_branches: int) -> Rule:
    """Make the rule ``transition`` of a game with branches: the sum over the branches that lead to a state."""

    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        total = 0.0
        for k in range(n_branches):
            successor, probability = branch(k, state, action, agent, world)
            total += probability if successor == next_state else 0.0
        return total

    return transition


@functools.cache
def arrival_and_end(arrival: Rule | None, terminal: Rule, last: int) -> Rule:
    """Make the rule ``arrival`` of a game with a rule ``terminal``, which is paid in the step at time ``last``."""
    has_arrival, on_arrival = arrival is not None, arrival or terminal

    @rule
    def paid(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        total = np.float32(0.0)
        if has_arrival:
            total += on_arrival(next_state, state, action, agent, world)
        if world.time == last:
            total += terminal(next_state, agent, world)
        return total

    return paid


@functools.cache
def expected_over_branches(
    branch: Rule, reward: Rule, arrival: Rule, n_branches: int, n_states: int, only_at: int
) -> Rule:
    """Make the rule of the expected reward of a game with branches and a rule ``arrival``.

    ``only_at`` is the only time at which ``arrival`` pays anything, or -1.
    """

    @rule
    def expected(state: Any, action: Any, agent: Any, world: Any) -> Any:
        total = np.float64(reward(state, action, agent, world))
        if only_at < 0 or world.time == only_at:
            for k in range(n_branches):
                successor, probability = branch(k, state, action, agent, world)
                # A state that does not exist is refused where the table of transitions is made.
                exists = successor >= 0 and successor < n_states
                total += probability * arrival(successor if exists else 0, state, action, agent, world)
        return total

    return expected


@functools.cache
def expected_over_rows(transition: Rule, reward: Rule, arrival: Rule, n_states: int, only_at: int) -> Rule:
    """Make the rule of the expected reward of a game with a rule ``arrival`` that declares ``transition``.

    ``only_at`` is the only time at which ``arrival`` pays anything, or -1.
    """

    @rule
    def expected(state: Any, action: Any, agent: Any, world: Any) -> Any:
        total = np.float64(reward(state, action, agent, world))
        if only_at < 0 or world.time == only_at:
            for successor in range(n_states):
                probability = transition(successor, state, action, agent, world)
                total += probability * arrival(successor, state, action, agent, world)
        return total

    return expected
