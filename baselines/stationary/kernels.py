"""Compiled simulation of independent runs in a mean-field game: estimates of the mean field, and trajectories.

A run r has a policy, a table of probabilities (S, A), and a mean field, a law z of the state (S,). Its random
numbers are functions of (seed, r, iteration, stage) and of the number of the draw, so that they do not depend on
how many runs are simulated together. Transitions are drawn by the game's own rule ``step``, in the mean-field
world of z and the policy, for an agent drawn from the game's agents at each transition: on average over the agents
this is the induced mean-field game.

Two things make a step of the mean field cheap, however many states there are:

* z_{k+1} = (1 - beta_k) z_k + beta_k Phihat_k is a mixture of the first law and of the minibatches since. A state
  is drawn from it by drawing a minibatch by its weight, and then one of its members. No law is written down until
  the last step.
* The counts that the rules read are linear in the population z x policy. They are moved along with z, by what each
  pair of a state and an action contributes to them.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import uint64

from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import no_aggregate, own_count_rules
from mfenvs.engine.random import ACT, ADVANCE, agent_key, step_key, uniform
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rules
from mfenvs.rules import World, rule

from ..tabular.q_learning import FINE, wrong_transition

ACTION, AGENT, BATCH, MEMBER = range(4)
"""Streams of a sample's draws; MEMBER is also that of a state drawn from a law."""

HALF_A_STEP = 2.0**-25
"""Half the distance of two values of :func:`mfenvs.engine.random.uniform`."""

FORGOTTEN = 20.0
"""Most by which the age grows in a step, even if beta = 1: the logarithm of no draw is below -17.4."""


class Scene(NamedTuple):
    """What all runs have in common: the game as the kernels read it."""

    agents: Any
    """All agents' parameters, (n_agents,); a single one if all are equal."""
    constants: Any
    """The game's ``constants``."""
    discount: Any
    """The game's discount factor gamma."""
    reached: Any
    """The law of the first state, cumulated, (S,)."""
    starts: Any
    """Where the contributions of each pair ``state * n_actions + action`` begin in the next two, (S A + 1,)."""
    cells: Any
    """The cells to which a pair contributes."""
    masses: Any
    """The mass that a pair contributes to each of these, on average over the agents."""


class Draws(NamedTuple):
    """What the random numbers of a call are functions of, beside the run."""

    seed: Any
    iteration: Any
    stage: Any
    """Number of the call within the iteration."""


class Kernels(NamedTuple):
    """The compiled functions of a game."""

    contributions: Callable[..., Any]
    mean_fields: Callable[..., Any]
    returns: Callable[..., Any]
    weights: Callable[..., Any]


def simulation_kernels(game: FiniteGame) -> Kernels:
    """The kernels of a game, shared between games of equal rules."""
    return _build(game.rules, game.rules.step)


@kernel
def fill_uniform(seed: Any, iteration: Any, stage: Any, out: Any) -> None:
    """Fill ``out`` (R, P) with uniform random numbers, a row for each run."""
    for r in range(out.shape[0]):
        key = step_key(seed, r, iteration, stage, ACT)
        for p in range(out.shape[1]):
            out[r, p] = uniform(agent_key(key, p), 0)


@rule
def first_above(values: Any, n: Any, bound: Any) -> Any:
    """Index of the first of ``n`` ascending values that is greater than ``bound``; n - 1 if none is."""
    low, high = 0, n - 1
    while low < high:
        middle = (low + high) >> 1
        if values[middle] > bound:
            high = middle
        else:
            low = middle + 1
    return low


@rule
def draw_batch(now: Any, draw: Any, ages: Any, guide: Any) -> Any:
    """The minibatch, from 1, from which a member of the mixture before step ``now`` comes; 0 for the first law.

    It is the first whose age is above that of the step plus the logarithm of a uniform number.
    """
    age = ages[now] + math.log(draw + HALF_A_STEP)
    if age < 0.0:
        return 0
    batch = guide[min(int(age * (len(guide) / ages[len(ages) - 1])), len(guide) - 1)]
    while ages[batch] <= age:
        batch += 1
    return batch


@rule
def draw_action(law: Any, draw: Any) -> Any:
    """The action that a uniform number selects in a cumulated law (A,)."""
    last = len(law) - 1
    action = 0
    while action < last and draw >= law[action]:
        action += 1
    return action


@rule
def add_contribution(counts: Any, pair: Any, mass: Any, scene: Any) -> None:
    """Add to ``counts`` what a mass of agents in this state and action contributes."""
    for k in range(scene.starts[pair], scene.starts[pair + 1]):
        counts[scene.cells[k]] += mass * scene.masses[k]


def _contributions_kernel(rules: Rules) -> Callable[..., Any]:
    cell, weight = own_count_rules(rules)
    add, counts_itself = rules.count or _no_count, rules.count is not None

    @kernel
    def contributions(
        n_actions: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        counts: Any,
        signal: Any,
        starts: Any,
        cells: Any,
        masses: Any,
    ) -> None:
        """Write what each pair of a state and an action contributes to the counts, averaged over the agents.

        ``starts`` (S A + 1,) is always written; ``cells`` and ``masses`` only if they are not empty. ``counts``
        and ``signal`` are scratch.
        """
        world = World(counts, signal, constants, 0, -1, 0.0, 1.0, 1.0)
        found = 0
        for pair in range(len(starts) - 1):
            starts[pair] = found
            s, a = pair // n_actions, pair % n_actions
            counts[:] = 0.0
            for i in range(len(agents)):
                if counts_itself:
                    add(counts, shares[i], s, a, agents[i], world)
                else:
                    counts[cell(s, a, agents[i])] += shares[i] * weight(s, a, agents[i])
            for c in range(len(counts)):
                if counts[c] != 0.0:
                    if len(cells) > 0:
                        cells[found], masses[found] = c, counts[c]
                    found += 1
        starts[len(starts) - 1] = found

    return contributions


def _transition_rule(step: Callable[..., Any]) -> Callable[..., Any]:
    """The rule that draws a transition of a game with this rule ``step``."""

    @rule
    def transition(s: Any, a: Any, scene: Any, world: Any, key: Any, sample: Any) -> Any:
        """One transition of an agent drawn from all: its next state and its reward."""
        who = 0
        if len(scene.agents) > 1:
            who = int(uniform(sample, AGENT) * np.float32(len(scene.agents)))
        return step(s, a, scene.agents[who], world, key)

    return transition


def _mean_fields_kernel(transition: Callable[..., Any], aggregate: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def mean_fields(
        probabilities: Any,
        cumulated: Any,
        laws: Any,
        scene: Any,
        rates: Any,
        ages: Any,
        guide: Any,
        draws: Any,
        batches: Any,
        reached: Any,
        counts: Any,
        signals: Any,
    ) -> Any:
        """Move every run's mean field by len(rates) steps z <- z + beta (Phihat - z).

        ``laws`` (R, S) holds the first mean fields and afterwards the last ones; ``counts`` (R, n_cells) and
        ``signals`` (R, n_signals) are what the rules read of the last ones. ``ages`` (len(rates) + 1,) are sums of
        -log(1 - beta) before each step, and ``guide`` is where they are searched from. ``batches`` (len(rates), m)
        and ``reached`` (S,) are scratch.

        Returns the code of what is not allowed in a result of the game's ``step`` (FINE for nothing), the value,
        the time (0), the state and the action.
        """
        n_runs, n_states, n_actions = probabilities.shape
        n_steps, size = batches.shape
        beyond = uint64(n_states)
        for r in range(n_runs):
            here = counts[r]
            world = World(here, signals[r], scene.constants, 0, -1, 0.0, 1.0, 1.0)
            here[:] = 0.0
            total = 0.0
            for s in range(n_states):
                total += laws[r, s]
                reached[s] = total
                if laws[r, s] > 0.0:
                    for a in range(n_actions):
                        if probabilities[r, s, a] > 0.0:
                            add_contribution(here, s * n_actions + a, laws[r, s] * probabilities[r, s, a], scene)
            samples = step_key(draws.seed, r, draws.iteration, draws.stage, ACT)
            moves = step_key(draws.seed, r, draws.iteration, draws.stage, ADVANCE)
            for b in range(n_steps):
                aggregate(world, signals[r])
                for i in range(size):
                    number = b * size + i
                    sample = agent_key(samples, number)
                    batch = draw_batch(b, uniform(sample, BATCH), ages, guide)
                    draw = uniform(sample, MEMBER)
                    if batch == 0:
                        s = first_above(reached, n_states, draw * total)
                    else:
                        s = batches[batch - 1, int(draw * np.float32(size))]
                    a = draw_action(cumulated[r, s], uniform(sample, ACTION))
                    successor, reward = transition(s, a, scene, world, agent_key(moves, number), sample)
                    # A state below 0 is beyond all states as an unsigned number.
                    if uint64(successor) >= beyond or not math.isfinite(reward):
                        return wrong_transition(successor, reward, beyond, 0, s, a)
                    batches[b, i] = successor
                beta, part = rates[b], rates[b] / size
                for c in range(len(here)):
                    here[c] *= 1.0 - beta
                for i in range(size):
                    s = batches[b, i]
                    for a in range(n_actions):
                        if probabilities[r, s, a] > 0.0:
                            add_contribution(here, s * n_actions + a, part * probabilities[r, s, a], scene)
            aggregate(world, signals[r])
            # Backwards: the weight of a batch is its beta times the 1 - beta of all later steps.
            remaining = 1.0
            reached[:] = 0.0
            for back in range(n_steps):
                b = n_steps - 1 - back
                for i in range(size):
                    reached[batches[b, i]] += remaining * rates[b] / size
                remaining *= 1.0 - rates[b]
            total = 0.0
            for s in range(n_states):
                laws[r, s] = remaining * laws[r, s] + reached[s]
                total += laws[r, s]
            for s in range(n_states):
                laws[r, s] /= total
        return FINE, 0.0, 0, 0, 0

    return mean_fields


def _returns_kernel(transition: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def returns(
        cumulated: Any,
        scene: Any,
        counts: Any,
        signals: Any,
        n_trajectories: Any,
        length: Any,
        draws: Any,
        out: Any,
    ) -> Any:
        """Write the mean discounted return of trajectories in frozen populations, one number a run, to ``out``.

        Returns what ``mean_fields`` returns.
        """
        n_runs, n_states, _ = cumulated.shape
        beyond, total = uint64(n_states), scene.reached[n_states - 1]
        for r in range(n_runs):
            world = World(counts[r], signals[r], scene.constants, 0, -1, 0.0, 1.0, 1.0)
            samples = step_key(draws.seed, r, draws.iteration, draws.stage, ACT)
            moves = step_key(draws.seed, r, draws.iteration, draws.stage, ADVANCE)
            out[r] = 0.0
            for j in range(n_trajectories):
                number = j * length
                s = first_above(scene.reached, n_states, uniform(agent_key(samples, number), MEMBER) * total)
                factor = 1.0 / n_trajectories
                for _ in range(length):
                    sample = agent_key(samples, number)
                    a = draw_action(cumulated[r, s], uniform(sample, ACTION))
                    successor, reward = transition(s, a, scene, world, agent_key(moves, number), sample)
                    if uint64(successor) >= beyond or not math.isfinite(reward):
                        return wrong_transition(successor, reward, beyond, 0, s, a)
                    out[r] += factor * reward
                    factor *= scene.discount
                    s = np.int64(successor)
                    number += 1
        return FINE, 0.0, 0, 0, 0

    return returns


def _weights_kernel(transition: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def weights(
        cumulated: Any,
        scene: Any,
        counts: Any,
        signals: Any,
        has_baseline: Any,
        draws: Any,
        states: Any,
        actions: Any,
        gains: Any,
        weight: Any,
        out: Any,
    ) -> Any:
        """Write the weights of the likelihood-ratio gradient, (R, S, A), and the mean returns (R,) to ``out``.

        The gradient of a run is the sum over (s, a) of its weight times the gradient of log pi(a | s): the weight
        is the mean over trajectories of the sum over the visits t of (s, a) of gamma^t (G_t - b_t), where G_t is
        the discounted return from t on, and b_t the mean of the other trajectories' G_t, or 0 without a baseline.
        ``states``, ``actions`` and ``gains`` (n_trajectories, length) are scratch.

        Returns what ``mean_fields`` returns.
        """
        n_runs, n_states, _ = cumulated.shape
        n_trajectories, length = gains.shape
        beyond, total = uint64(n_states), scene.reached[n_states - 1]
        weight[:] = 0.0
        for r in range(n_runs):
            world = World(counts[r], signals[r], scene.constants, 0, -1, 0.0, 1.0, 1.0)
            samples = step_key(draws.seed, r, draws.iteration, draws.stage, ACT)
            moves = step_key(draws.seed, r, draws.iteration, draws.stage, ADVANCE)
            out[r] = 0.0
            for j in range(n_trajectories):
                number = j * length
                s = first_above(scene.reached, n_states, uniform(agent_key(samples, number), MEMBER) * total)
                for t in range(length):
                    sample = agent_key(samples, number)
                    a = draw_action(cumulated[r, s], uniform(sample, ACTION))
                    successor, reward = transition(s, a, scene, world, agent_key(moves, number), sample)
                    if uint64(successor) >= beyond or not math.isfinite(reward):
                        return wrong_transition(successor, reward, beyond, 0, s, a)
                    states[j, t], actions[j, t], gains[j, t] = s, a, reward
                    s = np.int64(successor)
                    number += 1
                for back in range(1, length):
                    t = length - 1 - back
                    gains[j, t] += scene.discount * gains[j, t + 1]
                out[r] += gains[j, 0] / n_trajectories
            factor = 1.0 / n_trajectories
            for t in range(length):
                everyone = 0.0
                for j in range(n_trajectories):
                    everyone += gains[j, t]
                for j in range(n_trajectories):
                    baseline = (everyone - gains[j, t]) / (n_trajectories - 1) if has_baseline else 0.0
                    weight[r, states[j, t], actions[j, t]] += factor * (gains[j, t] - baseline)
                factor *= scene.discount
        return FINE, 0.0, 0, 0, 0

    return weights


@functools.cache
def _build(rules: Rules, step: Callable[..., Any]) -> Kernels:
    transition = _transition_rule(step)
    return Kernels(
        _contributions_kernel(rules),
        _mean_fields_kernel(transition, rules.aggregate or no_aggregate),
        _returns_kernel(transition),
        _weights_kernel(transition),
    )


@rule
def _no_count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
    """The rule ``count`` of a game that is counted by cells."""
