"""The compiled functions of a finite game's rules among N agents, at given counts of the others."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import no_aggregate, own_count_rules
from mfenvs.game import Rule, Rules
from mfenvs.rules import World, rule


class Kernels(NamedTuple):
    """The compiled functions of a game's rules among N agents."""

    tabulate: Callable[..., Any]
    compare: Callable[..., Any]
    alike: Callable[..., Any]
    count_pairs: Callable[..., Any]
    count_others: Callable[..., Any]


@functools.cache
def kernels_among_others(rules: Rules, transition: Rule, reward: Rule, n_states: int, n_actions: int) -> Kernels:
    """The kernels of a game, shared between games of equal rules and sizes."""
    contribute = _contribute_rule(rules)
    look = _look_rule(rules, contribute)
    return Kernels(
        _tabulate_kernel(look, transition, reward, n_states, n_actions),
        _compare_kernel(look, transition, reward, n_states, n_actions),
        _alike_kernel(rules, contribute, n_states, n_actions),
        *_counting_kernels(contribute, n_states, n_actions),
    )


def _contribute_rule(rules: Rules) -> Callable[..., Any]:
    add = rules.count
    cell, own_weight = own_count_rules(rules)

    @rule
    def contribute(
        mass: Any,
        state: Any,
        action: Any,
        agent: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        signal: Any,
        counts: Any,
    ) -> None:
        """Add ``mass`` agents in this state with this action to the counts."""
        if add is not None:
            per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
            world = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
            add(counts, mass, state, action, agent, world)
        else:
            counts[cell(state, action, agent)] += mass * own_weight(state, action, agent)

    return contribute


def _look_rule(rules: Rules, contribute: Callable[..., Any]) -> Callable[..., Any]:
    aggregate = rules.aggregate or no_aggregate
    cell, own_weight = own_count_rules(rules)

    @rule
    def look(
        state: Any,
        action: Any,
        agent: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
    ) -> Any:
        """The world of an agent in this state with this action, whose others have the counts ``others``."""
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for c in range(len(counts)):
            counts[c] = others[c]
        contribute(1.0, state, action, agent, constants, time, n_agents, signal, counts)
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        aggregate(everyone, signal)
        own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
        return World(counts, signal, constants, time, own, weight, per_other, per_agent)

    return look


def _alike_kernel(
    rules: Rules, contribute: Callable[..., Any], n_states: int, n_actions: int
) -> Callable[..., Any]:
    add = rules.count
    cell, own_weight = own_count_rules(rules)

    @kernel
    def alike(agents: Any, constants: Any, time: Any, n_agents: Any, scratch: Any, signal: Any) -> Any:
        """Whether all agents add the same to the counts, in every state with every action."""
        for s in range(n_states):
            for a in range(n_actions):
                scratch[:] = 0.0
                contribute(1.0, s, a, agents[0], constants, time, n_agents, signal, scratch[0])
                for i in range(1, len(agents)):
                    if add is None:
                        if cell(s, a, agents[i]) != cell(s, a, agents[0]):
                            return False
                        if own_weight(s, a, agents[i]) != own_weight(s, a, agents[0]):
                            return False
                    else:
                        scratch[1] = 0.0
                        contribute(1.0, s, a, agents[i], constants, time, n_agents, signal, scratch[1])
                        for c in range(scratch.shape[1]):
                            if scratch[1, c] != scratch[0, c]:
                                return False
        return True

    return alike


def _counting_kernels(
    contribute: Callable[..., Any], n_states: int, n_actions: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    @kernel
    def count_pairs(
        pairs: Any, agent: Any, constants: Any, time: Any, n_agents: Any, signal: Any, counts: Any
    ) -> None:
        """Add as many agents like ``agent`` as ``pairs`` (S, A) tells in every state with every action."""
        for s in range(n_states):
            for a in range(n_actions):
                if pairs[s, a] > 0:
                    contribute(np.float64(pairs[s, a]), s, a, agent, constants, time, n_agents, signal, counts)

    @kernel
    def count_others(
        agent: Any, others: Any, agents: Any, constants: Any, time: Any, n_agents: Any, signal: Any, counts: Any
    ) -> None:
        """Add all agents but one, with the pairs ``others`` (N - 1, 2), to the counts."""
        for k in range(len(others)):
            j = k if k < agent else k + 1
            contribute(1.0, others[k, 0], others[k, 1], agents[j], constants, time, n_agents, signal, counts)

    return count_pairs, count_others


def _tabulate_kernel(
    look: Callable[..., Any], transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> Callable[..., Any]:
    @kernel
    def tabulate(
        agents: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
    ) -> None:
        """Write P^i (n, S, A, S) and R^i (n, S, A) of n agents who all add alike to the counts ``others``."""
        for s in range(n_states):
            for a in range(n_actions):
                world = look(s, a, agents[0], others, constants, time, n_agents, counts, signal)
                for i in range(len(agents)):
                    for successor in range(n_states):
                        transitions[i, s, a, successor] = transition(successor, s, a, agents[i], world)
                    rewards[i, s, a] = reward(s, a, agents[i], world)

    return tabulate


def _compare_kernel(
    look: Callable[..., Any], transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> Callable[..., Any]:
    @kernel
    def compare(
        agents: Any,
        shares: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        alpha: Any,
        beta: Any,
        alpha_pair: Any,
        beta_pair: Any,
        tolerance: Any,
    ) -> Any:
        """Write the means of n agents' rules, and the largest distances from them with their pairs (n,).

        Returns the first agent whose rows are no probabilities or whose rewards are not finite, or -1.
        """
        for s in range(n_states):
            for a in range(n_actions):
                world = look(s, a, agents[0], others, constants, time, n_agents, counts, signal)
                pair = s * n_actions + a
                # Means are taken of differences from the first agent: those of equal numbers are then exact.
                for successor in range(n_states):
                    reference, mean = np.float64(transition(successor, s, a, agents[0], world)), 0.0
                    for i in range(len(agents)):
                        mean += shares[i] * (transition(successor, s, a, agents[i], world) - reference)
                    transitions[s, a, successor] = reference + mean
                reference, mean = np.float64(reward(s, a, agents[0], world)), 0.0
                for i in range(len(agents)):
                    mean += shares[i] * (reward(s, a, agents[i], world) - reference)
                rewards[s, a] = reference + mean
                for i in range(len(agents)):
                    distance, total, lowest = 0.0, 0.0, 0.0
                    for successor in range(n_states):
                        chance = np.float64(transition(successor, s, a, agents[i], world))
                        distance += abs(chance - transitions[s, a, successor])
                        total += chance
                        lowest = min(lowest, chance)
                    earned = np.float64(reward(s, a, agents[i], world))
                    # Written such that a NaN fails the comparisons.
                    if not (abs(total - 1.0) <= tolerance and lowest >= -tolerance and abs(earned) < np.inf):
                        return i
                    if distance > alpha[i]:
                        alpha[i], alpha_pair[i] = distance, pair
                    if abs(earned - rewards[s, a]) > beta[i]:
                        beta[i], beta_pair[i] = abs(earned - rewards[s, a]), pair
        return -1

    return compare
