"""A finite game's rules evaluated over all states and actions, against a population given as counts.

The simulator samples from the rules; these kernels tabulate them. They serve debug mode, the mean-field
side and the exploitability of the N-player game. Everything here is in double precision.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.cpu import Layout, count_rule, no_aggregate, own_weight_rule
from mfenvs.game import FiniteGame, Rule, Rules
from mfenvs.rules import World, rule


def in_double_precision(records: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array of records with its single-precision fields widened."""
    names = records.dtype.names or ()
    widened = [(n, np.float64 if records.dtype[n] == np.float32 else records.dtype[n]) for n in names]
    return records.view(np.ndarray).astype(np.dtype(widened))


def check_model(
    game: FiniteGame, transitions: NDArray[np.float64], rewards: NDArray[np.float64], whose: str = ""
) -> None:
    """Check tabulated rules: P (..., S, A, S) must hold probabilities, R (..., S, A) finite numbers.

    Raises
    ------
    ValueError
        Naming the rule, the state, the action and what it returned, for ``whose`` agent.
    """
    tolerance = checks.PROBABILITY_TOLERANCE
    bad = checks.first_invalid_row(transitions.reshape(-1, game.n_states), tolerance, -tolerance)
    if bad >= 0:
        where = np.unravel_index(bad, transitions.shape[:-1])
        raise ValueError(
            f"{type(game).__name__}.transition must return probabilities that sum to 1 over next_state, got"
            f" {transitions[where].tolist()}{whose} in state {where[-2]} with action {where[-1]}"
        )
    finite = np.isfinite(rewards)
    if not finite.all():
        where = tuple(np.argwhere(~finite)[0])
        raise ValueError(
            f"{type(game).__name__}.reward must return finite numbers, got {rewards[where]}{whose} in state"
            f" {where[-2]} with action {where[-1]}"
        )


@dataclasses.dataclass(frozen=True)
class ModelKernels:
    """The compiled tabulations of a finite game."""

    rows: Callable[..., Any]
    mean_field: Callable[..., Any]
    mean_field_rows: Callable[..., Any]
    flow: Callable[..., Any]
    flow_rule: Callable[..., Any]
    """The flow as a rule, for kernels that iterate it."""
    responses: Callable[..., Any]


def model_kernels(game: FiniteGame) -> ModelKernels:
    """The tabulations of a game, shared between games of equal rules and sizes."""
    return _build(
        game.rules,
        game.transition,
        game.reward,
        Layout.of(game),
        game.n_states,
        game.n_actions,
        game.counts_state_actions,
    )


@functools.cache
def _build(
    rules: Rules,
    transition: Rule,
    reward: Rule,
    layout: Layout,
    n_states: int,
    n_actions: int,
    counts_state_actions: bool,
) -> ModelKernels:
    mean_field = _mean_field_rule(rules, transition, reward, n_states, n_actions, counts_state_actions)
    flow = _flow_rule(mean_field)
    return ModelKernels(
        rows=_rows_kernel(rules, layout, transition, n_states),
        mean_field=kernel(mean_field.py_func),  # type: ignore[attr-defined]
        mean_field_rows=_mean_field_rows_kernel(mean_field, n_states, n_actions),
        flow=kernel(flow.py_func),  # type: ignore[attr-defined]
        flow_rule=flow,
        responses=_responses_kernel(rules, transition, reward, n_states, n_actions),
    )


def _rows_kernel(rules: Rules, layout: Layout, transition: Rule, n_states: int) -> Callable[..., Any]:
    count, cell, own_weight = count_rule(rules, layout), rules.cell, own_weight_rule(rules.weight)
    aggregate = rules.aggregate or no_aggregate

    @kernel
    def rows(
        states: Any, actions: Any, agents: Any, constants: Any, counts: Any, signal: Any, time: Any, out: Any
    ) -> None:
        """The transition row of every agent of a world where it is, into ``out`` (n_agents, S)."""
        n_agents = len(states)
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        count(states, actions, agents, counts)
        aggregate(World(counts, signal, constants, time, -1, 0.0, per_other, per_agent), signal)
        for i in range(n_agents):
            state, action, agent = states[i], actions[i], agents[i]
            own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
            world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
            for successor in range(n_states):
                out[i, successor] = transition(successor, state, action, agent, world)

    return rows


def _mean_field_rule(
    rules: Rules,
    transition: Rule,
    reward: Rule,
    n_states: int,
    n_actions: int,
    counts_state_actions: bool,
) -> Callable[..., Any]:
    cell, weight, aggregate = rules.cell, own_weight_rule(rules.weight), rules.aggregate or no_aggregate

    @rule
    def mean_field(
        mu: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        time: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
    ) -> None:
        """P(mu) into ``transitions`` (S, A, S) and R(mu) into ``rewards`` (S, A): Yardim & He, Definition 6.

        The average of the rules over ``agents``, each of whom makes up a share of ``shares`` of the
        population; mu has shape (S, A).
        """
        counts[:] = 0.0
        for s in range(n_states):
            for a in range(n_actions):
                if counts_state_actions:
                    counts[s * n_actions + a] = mu[s, a]
                else:
                    for i in range(len(agents)):
                        mass = mu[s, a] * shares[i] * weight(s, a, agents[i])
                        counts[cell(s, a, agents[i])] += mass
        world = World(counts, signal, constants, time, -1, 0.0, 1.0, 1.0)
        aggregate(world, signal)
        for s in range(n_states):
            for a in range(n_actions):
                for successor in range(n_states):
                    probability = 0.0
                    for i in range(len(agents)):
                        probability += shares[i] * transition(successor, s, a, agents[i], world)
                    transitions[s, a, successor] = probability
                earned = 0.0
                for i in range(len(agents)):
                    earned += shares[i] * reward(s, a, agents[i], world)
                rewards[s, a] = earned

    return mean_field


def _mean_field_rows_kernel(mean_field: Callable[..., Any], n_states: int, n_actions: int) -> Callable[..., Any]:
    @kernel
    def mean_field_rows(
        mu: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        tolerance: Any,
    ) -> Any:
        """Find an agent whose own rows at mu are no probabilities, or whose rewards are not finite.

        Returns its index, with what it has in ``transitions`` and ``rewards``, or -1.
        ``shares`` is the array [1.0].
        """
        for i in range(len(agents)):
            mean_field(mu, agents[i : i + 1], shares, constants, 0, counts, signal, transitions, rewards)
            for s in range(n_states):
                for a in range(n_actions):
                    if not (
                        checks.is_row(transitions[s, a], tolerance, -tolerance) and math.isfinite(rewards[s, a])
                    ):
                        return i
        return -1

    return mean_field_rows


@rule
def mass_in_state(initial: Any, mu: Any, transitions: Any, h: Any, state: Any) -> Any:
    """Mass that is in a state at time h: of the initial law, or what mu_{h-1} (S, A) sends there."""
    if h == 0:
        return initial[state]
    present = 0.0
    for s in range(mu.shape[1]):
        for a in range(mu.shape[2]):
            present += mu[h - 1, s, a] * transitions[h - 1, s, a, state]
    return present


def _flow_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def flow(policy: Any, arrays: Any) -> None:
        """The population flow Lambda(policy) into ``mu`` (H, S, A): Yardim & He, Definition 5.

        With it P(mu_h) into ``transitions`` (H, S, A, S) and R(mu_h) into ``rewards`` (H, S, A);
        ``arrays`` are those of :meth:`mfenvs.meanfield.induced.InducedGame.flow_arrays`.
        """
        initial, agents, shares, constants, counts, signal, mu, transitions, rewards = arrays
        horizon, n_states, n_actions = policy.shape
        for h in range(horizon):
            for s in range(n_states):
                present = mass_in_state(initial, mu, transitions, h, s)
                for a in range(n_actions):
                    mu[h, s, a] = present * policy[h, s, a]
            mean_field(mu[h], agents, shares, constants, h, counts, signal, transitions[h], rewards[h])

    return flow


def _responses_kernel(
    rules: Rules, transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> Callable[..., Any]:
    cell, own_weight, aggregate = rules.cell, own_weight_rule(rules.weight), rules.aggregate or no_aggregate

    @kernel
    def responses(
        states: Any,
        actions: Any,
        counts: Any,
        agent_ids: Any,
        world_bounds: Any,
        agents: Any,
        constants: Any,
        scratch: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        first: Any,
        last: Any,
    ) -> None:
        """What an agent would meet if it did otherwise, averaged over simulated worlds.

        For the agents i in ``agent_ids[first:last]``: P^i(. | s, a, rho^{-i}) added into ``transitions``
        (n_ids, H, S, A, S) and R^i(s, a, rho^{-i}) into ``rewards`` (n_ids, H, S, A), with the mean of
        rho^{-i} over the worlds ``world_bounds[k, 0]`` to ``world_bounds[k, 1]`` for the k-th id. Worlds
        are given by states and actions (n_worlds, H, N) and counts (n_worlds, H, n_cells).
        ``scratch`` has shape (n_cells,).
        """
        horizon, n_agents = actions.shape[1:]
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for k in range(first, last):
            i = agent_ids[k]
            agent = agents[i]
            n_worlds = world_bounds[k, 1] - world_bounds[k, 0]
            for w in range(world_bounds[k, 0], world_bounds[k, 1]):
                for h in range(horizon):
                    state, action = states[w, h, i], actions[w, h, i]
                    for c in range(len(scratch)):
                        scratch[c] = counts[w, h, c]
                    scratch[cell(state, action, agent)] -= own_weight(state, action, agent)
                    for s in range(n_states):
                        for a in range(n_actions):
                            own, weight = cell(s, a, agent), np.float64(own_weight(s, a, agent))
                            scratch[own] += weight
                            everyone = World(scratch, signal, constants, h, -1, 0.0, per_other, per_agent)
                            aggregate(everyone, signal)
                            world = World(scratch, signal, constants, h, own, weight, per_other, per_agent)
                            for successor in range(n_states):
                                chance = transition(successor, s, a, agent, world)
                                transitions[k, h, s, a, successor] += chance / n_worlds
                            rewards[k, h, s, a] += reward(s, a, agent, world) / n_worlds
                            scratch[own] -= weight

    return responses
