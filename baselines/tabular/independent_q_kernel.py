"""The compiled loop in which tabular Q-learners play the N-player game and learn from every round of it."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import own_count_rules
from mfenvs.engine.cpu import advance_world_rule, start_world_rule
from mfenvs.engine.layout import Layout
from mfenvs.engine.random import ACT, ADVANCE, START, agent_key, step_key, uniform
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rules
from mfenvs.rules import World, rule

from .q_learning import greatest

SMALLEST_WEIGHT = 1e-30
"""The weights of a row are computed anew when the largest of them leaves [SMALLEST_WEIGHT, 1 /
SMALLEST_WEIGHT]."""
MOST_VISITS = 2**31 - 1
"""Largest number of visits that is counted, in 32 bits; further visits have the step size of this one."""

FINE, MET, STEP, REWARD = range(4)
"""Codes that the kernel returns: all rules of the game are right, or the rule (``met``, ``step``) or reward whose
value is not allowed."""


def refuse(game: FiniteGame, wrong: int, value: float, step: int, agent: int, state: int, action: int) -> None:
    """Raise the ValueError for what the kernel returned, unless that was FINE."""
    kind, last = type(game).__name__, game.n_actions - 1
    where = f"at step {step} for agent {agent}, in state {state} with action {action}"
    if wrong == MET:
        raise ValueError(f"{kind}.met must return a mean action in [0, {last}], got {value:g} {where}")
    if wrong == STEP:
        raise ValueError(f"{kind}.step must return a state in [0, {game.n_states - 1}], got {value:g} {where}")
    if wrong == REWARD:
        raise ValueError(f"{kind}'s reward must be finite, got {value:g} {where}")


@rule
def draw_by(weights: Any, draw: Any) -> Any:
    """Draw an action with probabilities proportional to its weights."""
    total = 0.0
    for weight in weights:
        total += weight
    reached, action = weights[0], 0
    while action < len(weights) - 1 and draw * total >= reached:
        action += 1
        reached += weights[action]
    return action


@rule
def mean_by(weights: Any, values: Any) -> Any:
    """The mean of values with these weights."""
    total, weighted = 0.0, 0.0
    for a in range(len(values)):
        total += weights[a]
        weighted += weights[a] * values[a]
    return weighted / total


# The weights of a row after the value of one action has changed, by the way in which agents explore. Both return
# the row's level.


@rule
def reweigh_boltzmann(values: Any, weights: Any, action: Any, level: Any, inverse_temperature: Any) -> Any:
    """Weights exp(c (value - level)) of the Boltzmann policy.

    The level is moved to the largest value before weights can leave the range of numbers.
    """
    weights[action] = math.exp(min(inverse_temperature * (values[action] - level), 700.0))
    largest = greatest(weights)
    if SMALLEST_WEIGHT <= largest <= 1.0 / SMALLEST_WEIGHT:
        return level
    best = greatest(values)
    for a in range(len(values)):
        weights[a] = math.exp(inverse_temperature * (values[a] - best))
    return best


@rule
def reweigh_greedily(values: Any, weights: Any, action: Any, level: Any, epsilon: Any) -> Any:
    """Weights of the epsilon-greedy policy, in which the best actions have equal shares of 1 - epsilon."""
    best, n_best = greatest(values), 0
    for value in values:
        n_best += value == best
    for a in range(len(values)):
        weights[a] = epsilon / len(values) + ((1.0 - epsilon) / n_best if values[a] == best else 0.0)
    return level


@functools.cache
def _mean_action_rule(rules: Rules, of_all: bool) -> Callable[..., Any]:
    """A rule for an agent's mean action: of those whom it met, by the game's own rule, or of all other agents."""
    (cell, own_weight), met = own_count_rules(rules), rules.met

    if met is None or of_all:

        @rule
        def of_all_others(
            i: Any,
            state: Any,
            actions: Any,
            total: Any,
            agent: Any,
            counts: Any,
            signal: Any,
            constants: Any,
            time: Any,
            key: Any,
        ) -> Any:
            """The mean action of all agents but agent i."""
            return (total - actions[i]) / (len(actions) - 1)

        return of_all_others

    @rule
    def of_those_met(
        i: Any,
        state: Any,
        actions: Any,
        total: Any,
        agent: Any,
        counts: Any,
        signal: Any,
        constants: Any,
        time: Any,
        key: Any,
    ) -> Any:
        """The mean action that the game's rule ``met`` draws for agent i."""
        n, action = len(actions), actions[i]
        per_other, per_agent = np.float32(1.0 / (n - 1)), np.float32(1.0 / n)
        own, weight = cell(state, action, agent), np.float32(own_weight(state, action, agent))
        world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
        return met(state, action, agent, world, key)

    return of_those_met


@functools.cache
def learning_kernel(
    rules: Rules, layout: Layout, looks_at_others: bool, of_all: bool, is_greedy: bool
) -> Callable[..., Any]:
    """Compile the loop of a game.

    Parameters
    ----------
    rules, layout:
        The game's rules and sizes.
    looks_at_others:
        Whether tables have an axis of mean actions, and targets average Q over the policy.
    of_all:
        Whether the mean action is that of all other agents also where the game says whom an agent met.
    is_greedy:
        Whether agents explore epsilon-greedily, and not by a Boltzmann policy.
    """
    reweigh = reweigh_greedily if is_greedy else reweigh_boltzmann
    start_world, advance_world = start_world_rule(rules, layout), advance_world_rule(rules, layout)
    mean_action = _mean_action_rule(rules, of_all)
    last_action = max(1, (layout.n_actions or 1) - 1)

    @kernel
    def learn(
        q: Any,
        visits: Any,
        seen: Any,
        bins: Any,
        weights: Any,
        levels: Any,
        states: Any,
        actions: Any,
        rewards: Any,
        counts: Any,
        sums: Any,
        signal: Any,
        agents: Any,
        constants: Any,
        initial: Any,
        discount: Any,
        horizon: Any,
        sharpness: Any,
        scale: Any,
        exponent: Any,
        steps: Any,
        seed: Any,
        first_episode: Any,
        n_episodes: Any,
        n_whole: Any,
    ) -> Any:
        """Play episodes of world 0 and learn from every step; return the sum of all agents' (discounted) returns.

        The loop stops at a value of the game's rules that is not allowed. The code of the rule (FINE if there is
        none), the value, the step, the agent, its state and its action are returned too. The tables are changed in
        place, and ``n_whole`` (1,) counts the calls that have not stopped. ``sharpness`` is the inverse
        temperature, or epsilon; the step size at the n-th visit is scale / n^exponent, of which ``steps`` holds
        the first. Random numbers are those of the
        engine's world 0 with this seed.
        """
        n_agents, n_states, n_bins, is_infinite = len(actions), q.shape[2], q.shape[3], discount < 1.0
        returns = 0.0
        for episode in range(first_episode, first_episode + n_episodes):
            now, then = states[0], states[1]
            start_world(now, agents, initial, step_key(seed, 0, episode, 0, START))
            worth = 1.0
            for h in range(horizon):
                t = 0 if is_infinite else h
                acts, moves = step_key(seed, 0, episode, h, ACT), step_key(seed, 0, episode, h, ADVANCE)
                total = 0
                for i in range(n_agents):
                    actions[i] = draw_by(weights[i, t, now[i], bins[i]], uniform(agent_key(acts, i), 0))
                    seen[i, t, now[i], bins[i]] = min(seen[i, t, now[i], bins[i]], MOST_VISITS - 1) + 1
                    total += actions[i]
                advance_world(now, actions, then, rewards, agents, constants, counts, sums, signal, h, moves)
                for i in range(n_agents):
                    state, action, following, bin_now = now[i], actions[i], then[i], 0
                    if following >= n_states:
                        return returns, STEP, np.float64(following), h, i, np.int64(state), np.int64(action)
                    if not math.isfinite(rewards[i]):
                        return returns, REWARD, np.float64(rewards[i]), h, i, np.int64(state), np.int64(action)
                    if looks_at_others:
                        mean = mean_action(
                            i, state, actions, total, agents[i], counts, signal, constants, h, agent_key(moves, i)
                        )
                        if not (0.0 <= mean <= last_action):
                            return returns, MET, np.float64(mean), h, i, np.int64(state), np.int64(action)
                        bin_now = int(mean / last_action * (n_bins - 1) + 0.5)
                        bins[i] = bin_now
                    target = np.float64(rewards[i])
                    if is_infinite or h + 1 < horizon:
                        after = 0 if is_infinite else h + 1
                        ahead = q[i, after, following, bin_now]
                        if looks_at_others:
                            target += discount * mean_by(weights[i, after, following, bin_now], ahead)
                        else:
                            target += discount * greatest(ahead)
                    row = q[i, t, state, bin_now]
                    n = min(visits[i, t, state, bin_now, action], MOST_VISITS - 1) + 1
                    visits[i, t, state, bin_now, action] = n
                    step = steps[n - 1] if n <= len(steps) else scale * np.float64(n) ** -exponent
                    row[action] += step * (target - row[action])
                    levels[i, t, state, bin_now] = reweigh(
                        row,
                        weights[i, t, state, bin_now],
                        action,
                        levels[i, t, state, bin_now],
                        sharpness,
                    )
                    returns += worth * rewards[i]
                worth *= discount
                now, then = then, now
        n_whole[0] += 1
        return returns, FINE, 0.0, 0, 0, np.int64(0), np.int64(0)

    return learn
