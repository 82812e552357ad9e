"""Transition probabilities of a finite game, tabulated against a population.

A table is kept in one of two forms. A *dense* one, ``transitions`` (S, A, S), has every state as a successor, and
``successors`` is None. A *sparse* one keeps K successors of each state and action: ``successors`` (S, A, K) says
which, ``transitions`` (S, A, K) with what probability. A row may name a state several times, and names state 0
with the probability 0 where it has fewer than K. The compiler drops the branch of a rule that is not for the form
that it is called with.

Rules that fill a table return whether they could. If not, they leave the reason in ``status``, and the caller
starts again with more room (:class:`mfenvs.meanfield.transition_tables.TransitionTables`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import int64

from mfenvs.engine.limit_law import IMPOSSIBLE
from mfenvs.rules import rule

Rule = Callable[..., Any]

NEEDS_ROOM, NO_SUCH_STATE = 1, 2
"""Reasons why a table could not be filled."""
REASON, STATE, ACTION, NUMBER, BRANCH, AGENT, TIME = range(7)
"""Entries of ``status``. NUMBER is the number of successors that a row needs, or the state that does not exist."""
STATUS_SIZE = 7

ROUNDING = 1e-9
"""Rows whose sum differs by no more from what it was when all states were asked for have lost no successor."""


class Room(NamedTuple):
    """What filling a sparse table needs beside the table."""

    places: Any
    """Scratch, (S,): 1 plus a state's place in the row that is being written, 0 if it has none."""
    n_found: Any
    """Number of successors found for each state and action, (S, A), in a game that declares ``transition``."""
    lowest: Any
    highest: Any
    """Range of a row's sums when all states were asked for, (S, A)."""


@rule
def at_time(tables: Any, time: Any) -> Any:
    """The table of a time, of tables (T, ...) or of one for all times (1, ...); None if there are none."""
    if tables is None:
        return None
    return tables[time if len(tables) > 1 else 0]


@rule
def index_at(tables: Any, time: Any) -> Any:
    """The index of a time's table in tables (T, ...), or (1, ...) for all times."""
    return time if len(tables) > 1 else 0


@rule
def successor_of(successors: Any, time: Any, state: Any, action: Any, k: Any) -> Any:
    """The state to which entry k of a row belongs, in tables (T, ...) or one for all times (1, ...)."""
    if successors is None:
        return k
    return successors[index_at(successors, time), state, action, k]


@rule
def probability_of(transitions: Any, time: Any, state: Any, action: Any, k: Any) -> Any:
    """Entry k of a row, in tables (T, ...) or one for all times (1, ...)."""
    return transitions[index_at(transitions, time), state, action, k]


@rule
def spread(mass: Any, transitions: Any, successors: Any, ahead: Any) -> None:
    """Add to ``ahead`` (S,) where mass (S, A) goes by a sparse table."""
    n_states, n_actions, n_kept = transitions.shape
    for s in range(n_states):
        for a in range(n_actions):
            if mass[s, a] != 0.0:
                for k in range(n_kept):
                    ahead[successors[s, a, k]] += mass[s, a] * transitions[s, a, k]


@functools.cache
def earn_rule(reward: Rule) -> Rule:
    """Make the rule that tabulates a game's rule ``reward``."""

    @rule
    def earn(world: Any, agents: Any, shares: Any, rewards: Any) -> None:
        """Write R(mu) to ``rewards`` (S, A): the average over ``agents``, weighted by their ``shares``."""
        n_states, n_actions = rewards.shape
        for s in range(n_states):
            for a in range(n_actions):
                earned = 0.0
                for i in range(len(agents)):
                    earned += shares[i] * reward(s, a, agents[i], world)
                rewards[s, a] = earned

    return earn


@functools.cache
def rows_rule(transition: Rule, reward: Rule, n_states: int, n_actions: int) -> Rule:
    """Make the rule that tabulates a game's rules ``transition`` and ``reward``.

    The numbers of states and actions are known to the compiler.
    """
    earn = earn_rule(reward)

    @rule
    def average(successor: Any, s: Any, a: Any, world: Any, agents: Any, shares: Any) -> Any:
        probability = 0.0
        for i in range(len(agents)):
            probability += shares[i] * transition(successor, s, a, agents[i], world)
        return probability

    @rule
    def search(
        s: Any,
        a: Any,
        world: Any,
        agents: Any,
        shares: Any,
        transitions: Any,
        successors: Any,
        room: Any,
        status: Any,
        total: Any,
    ) -> Any:
        """Ask for all states that are not yet known as successors of s and a, and keep those that are."""
        n_kept = transitions.shape[2]
        known = room.n_found[s, a]
        for k in range(known):
            room.places[successors[s, a, k]] = 1
        found = known
        for t in range(n_states):
            if room.places[t] == 0:
                probability = average(t, s, a, world, agents, shares)
                # Written such that a NaN is kept, for the check of rows to find.
                if not abs(probability) <= IMPOSSIBLE:
                    if found < n_kept:
                        successors[s, a, found], transitions[s, a, found] = t, probability
                        total += probability
                    found += 1
        for k in range(known):
            room.places[successors[s, a, k]] = 0
        if found > n_kept:
            status[REASON], status[STATE], status[ACTION], status[NUMBER] = NEEDS_ROOM, s, a, found
            return False
        room.n_found[s, a] = found
        room.lowest[s, a], room.highest[s, a] = min(room.lowest[s, a], total), max(room.highest[s, a], total)
        return True

    @rule
    def fill(
        world: Any,
        agents: Any,
        shares: Any,
        transitions: Any,
        successors: Any,
        room: Any,
        status: Any,
        rewards: Any,
    ) -> Any:
        """Write P(mu) and R(mu), averaged over ``agents`` by their ``shares``; return whether there was room."""
        n_kept = transitions.shape[2]
        if successors is None:
            # In one loop, in which the compiler finds what the two rules have in common.
            for s in range(n_states):
                for a in range(n_actions):
                    for successor in range(n_states):
                        transitions[s, a, successor] = average(successor, s, a, world, agents, shares)
                    earned = 0.0
                    for i in range(len(agents)):
                        earned += shares[i] * reward(s, a, agents[i], world)
                    rewards[s, a] = earned
            return True
        earn(world, agents, shares, rewards)
        for s in range(n_states):
            for a in range(n_actions):
                total, found = 0.0, room.n_found[s, a]
                for k in range(found):
                    transitions[s, a, k] = average(successors[s, a, k], s, a, world, agents, shares)
                    total += transitions[s, a, k]
                for k in range(found, n_kept):
                    transitions[s, a, k] = 0.0
                is_whole = total >= room.lowest[s, a] - ROUNDING and total <= room.highest[s, a] + ROUNDING
                if not is_whole and not search(
                    s, a, world, agents, shares, transitions, successors, room, status, total
                ):
                    return False
        return True

    return fill


@functools.cache
def branches_rule(branch: Rule, reward: Rule, n_branches: int) -> Rule:
    """Make the rule that tabulates a game's rules ``branch`` and ``reward``."""
    earn = earn_rule(reward)

    @rule
    def refuse(s: Any, a: Any, successor: Any, k: Any, i: Any, status: Any) -> None:
        status[REASON], status[STATE], status[ACTION], status[NUMBER] = NO_SUCH_STATE, s, a, successor
        status[BRANCH], status[AGENT] = k, i

    @rule
    def fill_dense(world: Any, agents: Any, shares: Any, transitions: Any, status: Any) -> Any:
        n_states, n_actions, _ = transitions.shape
        for s in range(n_states):
            for a in range(n_actions):
                transitions[s, a, :] = 0.0
                for i in range(len(agents)):
                    for k in range(n_branches):
                        given, probability = branch(k, s, a, agents[i], world)
                        successor = int64(given)
                        if not (successor == given and successor >= 0 and successor < n_states):
                            refuse(s, a, successor, k, i, status)
                            return False
                        transitions[s, a, successor] += shares[i] * probability
        return True

    @rule
    def copy(world: Any, agent: Any, transitions: Any, successors: Any, status: Any) -> Any:
        """Fill a sparse table with an only agent's branches as they are."""
        n_states, n_actions, _ = transitions.shape
        for s in range(n_states):
            for a in range(n_actions):
                for k in range(n_branches):
                    given, probability = branch(k, s, a, agent, world)
                    successor = int64(given)
                    if not (successor == given and successor >= 0 and successor < n_states):
                        refuse(s, a, successor, k, 0, status)
                        return False
                    successors[s, a, k], transitions[s, a, k] = successor, probability
        return True

    @rule
    def merge(
        world: Any, agents: Any, shares: Any, transitions: Any, successors: Any, room: Any, status: Any
    ) -> Any:
        """Fill a sparse table, in which every successor of a row has one place."""
        n_states, n_actions, n_kept = transitions.shape
        needed, places = 0, room.places
        for s in range(n_states):
            for a in range(n_actions):
                found = 0
                for i in range(len(agents)):
                    for k in range(n_branches):
                        given, probability = branch(k, s, a, agents[i], world)
                        successor = int64(given)
                        if not (successor == given and successor >= 0 and successor < n_states):
                            places[:] = 0
                            refuse(s, a, successor, k, i, status)
                            return False
                        place = places[successor]
                        if place == 0:
                            found += 1
                            places[successor] = place = found
                            if found <= n_kept:
                                successors[s, a, found - 1], transitions[s, a, found - 1] = successor, 0.0
                        if place <= n_kept:
                            transitions[s, a, place - 1] += shares[i] * probability
                if found > n_kept:
                    places[:] = 0
                    status[REASON], status[STATE], status[ACTION], status[NUMBER] = NEEDS_ROOM, s, a, found
                    return False
                for k in range(found):
                    places[successors[s, a, k]] = 0
                for k in range(found, n_kept):
                    successors[s, a, k], transitions[s, a, k] = 0, 0.0
                needed = max(needed, found)
        status[NUMBER] = needed
        return True

    @rule
    def fill(
        world: Any,
        agents: Any,
        shares: Any,
        transitions: Any,
        successors: Any,
        room: Any,
        status: Any,
        rewards: Any,
    ) -> Any:
        """Write P(mu) and R(mu), averaged over ``agents`` by their ``shares``; return whether it could.

        A sparse table with as many successors as there are branches, for an only agent, takes the branches as they
        are. Otherwise those with the same successor are merged, and ``status[NUMBER]`` is the number of successors
        that the largest row has.
        """
        earn(world, agents, shares, rewards)
        if successors is None:
            return fill_dense(world, agents, shares, transitions, status)
        if len(agents) == 1 and transitions.shape[2] == n_branches:
            status[NUMBER] = n_branches
            return copy(world, agents[0], transitions, successors, status)
        return merge(world, agents, shares, transitions, successors, room, status)

    return fill


def new_status() -> Any:
    """The array in which a rule that fills a table says why it could not."""
    return np.zeros(STATUS_SIZE, np.int64)
