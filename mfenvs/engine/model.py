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
from mfenvs.engine.counting import count_rule, no_aggregate, own_count_rules
from mfenvs.engine.flow import (
    dynamics_rule,
    flow_rule,
    freeze_rule,
    replay_rule,
    stationary_flow_rule,
    step_population,
)
from mfenvs.engine.layout import Layout
from mfenvs.engine.rule_code import reads_population
from mfenvs.engine.tabulation import branches_rule, earn_rule, rows_rule
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rule, Rules
from mfenvs.rules import World, plain, rule


def in_double_precision(records: NDArray[Any]) -> NDArray[Any]:
    """A copy of an array of records with its single-precision fields widened."""
    kinds = [(name, records.dtype[name]) for name in records.dtype.names or ()]
    widened = [(name, np.float64 if k.base == np.float32 else k.base, k.shape) for name, k in kinds]
    return records.view(np.ndarray).astype(np.dtype(widened))


def check_model(
    game: FiniteGame, transitions: NDArray[np.float64], rewards: NDArray[np.float64], whose: str = ""
) -> None:
    """Check tabulated rules: P (..., S, A, K) must hold probabilities, R (..., S, A) finite numbers.

    Raises
    ------
    ValueError
        If they do not; the message names the rule, the state, the action, the result and ``whose`` agent it is.
    """
    tolerance = checks.PROBABILITY_TOLERANCE
    bad = checks.first_invalid_row(transitions.reshape(-1, transitions.shape[-1]), tolerance, -tolerance)
    if bad >= 0:
        where = np.unravel_index(bad, transitions.shape[:-1])
        raise wrong_row(game, transitions[where], int(where[-2]), int(where[-1]), whose)
    if not checks.are_finite(rewards.reshape(-1)):
        where = tuple(np.argwhere(~np.isfinite(rewards))[0])
        paid_with = [name for name in ("arrival", "terminal") if getattr(game, name, None) is not None]
        also = f" (and so must {' and '.join(paid_with)})" if paid_with else ""
        raise ValueError(
            f"{type(game).__name__}.reward must return finite numbers{also}, got {rewards[where]}{whose} in state"
            f" {where[-2]} with action {where[-1]}"
        )


def wrong_row(game: FiniteGame, row: NDArray[np.float64], state: int, action: int, whose: str) -> ValueError:
    """The error of a row (K,) that holds no probabilities; ``whose`` it is follows the row in the message."""
    name, over = ("transition", "next_state") if game.branch is None else ("branch", "the branches")
    return ValueError(
        f"{type(game).__name__}.{name} must return probabilities that sum to 1 over {over}, got"
        f" {checks.shown(row.tolist())}{whose} in state {state} with action {action}"
    )


@dataclasses.dataclass(frozen=True)
class ModelKernels:
    """The compiled tabulations of a finite game."""

    rows: Callable[..., Any]
    """Kernel that computes the transition rows of all agents of a world."""
    first_wrong_branch: Callable[..., Any] | None
    """Kernel that checks the branches of all agents of a world; None if the game declares none."""
    first_wrong_agent: Callable[..., Any]
    """Kernel that checks every agent's own rows of a sparse table."""
    tabulate: Callable[..., Any]
    """Kernel that tabulates P(mu), in either form, and R(mu)."""
    varies: bool
    """Whether P may depend on the population or the time."""
    mean_fields: Callable[..., Any]
    """Kernel that computes P(mu) and R(mu), of all agents or of groups of agents."""
    flow: Callable[..., Any]
    flow_rule: Callable[..., Any]
    """Rule that computes the population flow, for kernels that iterate it."""
    freeze: Callable[..., Any]
    freeze_rule: Callable[..., Any]
    """Rule that computes P(mu) and R(mu) of a given population at all times."""
    advance: Callable[..., Any]
    advance_rule: Callable[..., Any]
    """Rule that applies Gamma_2: one step of a population in which P is frozen."""
    count_rule: Callable[..., Any]
    """Rule that computes the counts and the signal that the game's rules read of a population."""
    at_counts: Callable[..., Any]
    """Kernel that computes P and R of given counts (n_cells,), which need not be those of a population."""
    responses: Callable[..., Any]


def model_kernels(game: FiniteGame) -> ModelKernels:
    """The tabulations of a game, shared between games of equal rules and sizes."""
    return _build(
        game.rules,
        game.transition,
        game.branch,
        game.n_branches,
        game.expected_reward,
        Layout.of(game),
        game.n_states,
        game.n_actions,
        game.counts_state_actions,
        game.is_infinite,
    )


@functools.cache
def _build(
    rules: Rules,
    transition: Rule,
    branch: Rule | None,
    n_branches: int,
    reward: Rule,
    layout: Layout,
    n_states: int,
    n_actions: int,
    counts_state_actions: bool,
    is_infinite: bool,
) -> ModelKernels:
    count = _count_mean_field_rule(rules, n_states, n_actions, counts_state_actions)
    fill = (
        rows_rule(transition, reward, n_states, n_actions)
        if branch is None
        else branches_rule(branch, reward, n_branches)
    )
    varies = reads_population(transition if branch is None else branch)
    dynamics = dynamics_rule(count, fill, earn_rule(reward), varies)
    flow = (stationary_flow_rule if is_infinite else flow_rule)(dynamics)
    freeze = freeze_rule(dynamics)
    advance: Callable[..., Any] = step_population if is_infinite else replay_rule(flow)
    return ModelKernels(
        rows=_rows_kernel(rules, layout, transition, n_states),
        first_wrong_branch=branch and _first_wrong_branch_kernel(rules, layout, branch, n_branches, n_states),
        first_wrong_agent=_first_wrong_agent_kernel(count, transition, branch, n_branches, reward),
        tabulate=_tabulate_kernel(count, fill),
        varies=varies,
        mean_fields=_mean_fields_kernel(count, fill),
        flow=kernel(flow.py_func),  # type: ignore[attr-defined]
        flow_rule=flow,
        freeze=kernel(freeze.py_func),  # type: ignore[attr-defined]
        freeze_rule=freeze,
        advance=kernel(plain(advance)),
        advance_rule=advance,
        count_rule=count,
        at_counts=_at_counts_kernel(rules, fill),
        responses=_responses_kernel(rules, transition, reward, n_states, n_actions),
    )


def _rows_kernel(rules: Rules, layout: Layout, transition: Rule, n_states: int) -> Callable[..., Any]:
    count, aggregate = count_rule(rules, layout), rules.aggregate or no_aggregate
    cell, own_weight = own_count_rules(rules)

    @kernel
    def rows(
        states: Any, actions: Any, agents: Any, constants: Any, counts: Any, signal: Any, time: Any, out: Any
    ) -> None:
        """Write the transition row of every agent of a world in its current state to ``out`` (n_agents, S)."""
        n_agents = len(states)
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        count(states, actions, agents, everyone, counts)
        aggregate(everyone, signal)
        for i in range(n_agents):
            state, action, agent = states[i], actions[i], agents[i]
            own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
            world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
            for successor in range(n_states):
                out[i, successor] = transition(successor, state, action, agent, world)

    return rows


def _count_mean_field_rule(
    rules: Rules, n_states: int, n_actions: int, counts_state_actions: bool
) -> Callable[..., Any]:
    add, aggregate = rules.count, rules.aggregate or no_aggregate
    if add is not None:

        @rule
        def count_added(
            mu: Any, agents: Any, shares: Any, constants: Any, time: Any, counts: Any, signal: Any
        ) -> Any:
            """Do what ``count`` below does, by the game's own rule ``count``."""
            counts[:] = 0.0
            world = World(counts, signal, constants, time, -1, 0.0, 1.0, 1.0)
            for s in range(n_states):
                for a in range(n_actions):
                    # Most actions of most states are played by nobody, once a policy is nearly deterministic.
                    if mu[s, a] > 0.0:
                        for i in range(len(agents)):
                            add(counts, mu[s, a] * shares[i], s, a, agents[i], world)
            aggregate(world, signal)
            return world

        return count_added
    cell, weight = own_count_rules(rules)

    @rule
    def count(mu: Any, agents: Any, shares: Any, constants: Any, time: Any, counts: Any, signal: Any) -> Any:
        """Write the counts and the signal of a population mu (S, A); return the world that rules read."""
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
        return world

    return count


def _tabulate_kernel(count: Callable[..., Any], fill: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def tabulate(
        mu: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        time: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        successors: Any,
        room: Any,
        status: Any,
        rewards: Any,
    ) -> Any:
        """Write P(mu) into a table, (S, A, S) or (S, A, K), and R(mu) (S, A) of one time.

        Returns whether it could (``status`` says why not).
        """
        world = count(mu, agents, shares, constants, time, counts, signal)
        return fill(world, agents, shares, transitions, successors, room, status, rewards)

    return tabulate


def _first_wrong_agent_kernel(
    count: Callable[..., Any], transition: Rule, branch: Rule | None, n_branches: int, reward: Rule
) -> Callable[..., Any]:
    has_branches = branch is not None
    ask = branch or transition

    @kernel
    def first_wrong_agent(
        mu: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        counts: Any,
        signal: Any,
        successors: Any,
        n_found: Any,
        tolerance: Any,
    ) -> Any:
        """The first agent, state and action whose row is no probabilities or whose reward is not finite; or -1s.

        Rows are asked for the successors that a sparse table holds, or for the branches, which have been checked
        to lead to states.
        """
        world = count(mu, agents, shares, constants, 0, counts, signal)
        n_states, n_actions, _ = successors.shape
        for i in range(len(agents)):
            for s in range(n_states):
                for a in range(n_actions):
                    total, lowest = 0.0, 0.0
                    for k in range(n_branches if has_branches else n_found[s, a]):
                        if has_branches:
                            _, probability = ask(k, s, a, agents[i], world)
                        else:
                            probability = ask(successors[s, a, k], s, a, agents[i], world)
                        total += probability
                        lowest = min(lowest, probability)
                    earned = np.float64(reward(s, a, agents[i], world))
                    # Written such that a NaN fails the comparisons.
                    if not (abs(total - 1.0) <= tolerance and lowest >= -tolerance and abs(earned) < np.inf):
                        return i, s, a
        return -1, -1, -1

    return first_wrong_agent


def _first_wrong_branch_kernel(
    rules: Rules, layout: Layout, branch: Rule, n_branches: int, n_states: int
) -> Callable[..., Any]:
    count, aggregate = count_rule(rules, layout), rules.aggregate or no_aggregate
    cell, own_weight = own_count_rules(rules)

    @kernel
    def first_wrong_branch(
        states: Any, actions: Any, agents: Any, constants: Any, counts: Any, signal: Any, time: Any, tolerance: Any
    ) -> Any:
        """The first agent of a world with a wrong branch, its branch, next state and the sum of probabilities.

        The branch is -1 if all next states exist and the probabilities are wrong. All are -1 if nothing is wrong.
        """
        n_agents = len(states)
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        count(states, actions, agents, everyone, counts)
        aggregate(everyone, signal)
        for i in range(n_agents):
            state, action, agent = states[i], actions[i], agents[i]
            own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
            world = World(counts, signal, constants, time, own, weight, per_other, per_agent)
            total, lowest = 0.0, 0.0
            for k in range(n_branches):
                successor, probability = branch(k, state, action, agent, world)
                given = np.float64(successor)
                if not (given == math.floor(given) and given >= 0.0 and given < n_states):
                    return i, k, given, 0.0
                total += probability
                lowest = min(lowest, probability)
            if not (abs(total - 1.0) <= tolerance and lowest >= -tolerance):
                return i, -1, -1.0, total
        return -1, -1, -1.0, -1.0

    return first_wrong_branch


def _at_counts_kernel(rules: Rules, fill: Callable[..., Any]) -> Callable[..., Any]:
    aggregate = rules.aggregate or no_aggregate

    @kernel
    def at_counts(
        given: Any,
        agents: Any,
        shares: Any,
        constants: Any,
        time: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        successors: Any,
        room: Any,
        status: Any,
        rewards: Any,
    ) -> Any:
        """Write P and R at counts (n_cells,) in the place of a population's; return whether the table has room."""
        for c in range(len(counts)):
            counts[c] = given[c]
        world = World(counts, signal, constants, time, -1, 0.0, 1.0, 1.0)
        aggregate(world, signal)
        return fill(world, agents, shares, transitions, successors, room, status, rewards)

    return at_counts


def _mean_fields_kernel(count: Callable[..., Any], fill: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def mean_fields(
        mu: Any,
        agents: Any,
        shares: Any,
        firsts: Any,
        constants: Any,
        time: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        status: Any,
    ) -> Any:
        """Write P(mu) and R(mu) of groups of agents, each averaged over the group; return whether it could.

        Group k consists of ``agents[firsts[k]:firsts[k + 1]]``, whose ``shares`` of the group sum to one; its
        tables go into ``transitions`` (n_groups, S, A, S) and ``rewards`` (n_groups, S, A).
        """
        for k in range(len(rewards)):
            some, their = agents[firsts[k] : firsts[k + 1]], shares[firsts[k] : firsts[k + 1]]
            world = count(mu, some, their, constants, time, counts, signal)
            if not fill(world, some, their, transitions[k], None, None, status, rewards[k]):
                return False
        return True

    return mean_fields


def _responses_kernel(
    rules: Rules, transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> Callable[..., Any]:
    aggregate = rules.aggregate or no_aggregate
    cell, own_weight = own_count_rules(rules)
    add, counts_itself = rules.count or _no_count, rules.count is not None

    @kernel
    def responses(
        states: Any,
        actions: Any,
        counts: Any,
        agent_ids: Any,
        world_bounds: Any,
        own_states: Any,
        agents: Any,
        constants: Any,
        scratch: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        first: Any,
        last: Any,
    ) -> None:
        """Transitions and rewards of an agent for all states and actions, averaged over simulated worlds.

        For the agents i in ``agent_ids[first:last]``: P^i(. | s, a, rho^{-i}) added into ``transitions``
        (n_ids, H, S, A, S) and R^i(s, a, rho^{-i}) into ``rewards`` (n_ids, H, S, A), with the mean of
        rho^{-i} over the worlds ``world_bounds[k, 0]`` to ``world_bounds[k, 1]`` for the k-th id. Worlds
        are given by states and actions (n_worlds, H, N) and counts (n_worlds, H, n_cells).
        An agent is only asked about states s with ``own_states[i, 0] <= s < own_states[i, 1]``, those of its
        population: in any other it stays, and earns nothing. ``scratch`` has shape (n_cells,).
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
                    everyone = World(scratch, signal, constants, h, -1, 0.0, per_other, per_agent)
                    if counts_itself:
                        add(scratch, -1.0, state, action, agent, everyone)
                    else:
                        scratch[cell(state, action, agent)] -= own_weight(state, action, agent)
                    own, weight = -1, 0.0
                    for a in range(n_actions):
                        for s in range(n_states):
                            if s < own_states[i, 0] or s >= own_states[i, 1]:
                                transitions[k, h, s, a, s] = 1.0
                                continue
                            there, heavy = cell(s, a, agent), np.float64(own_weight(s, a, agent))
                            if counts_itself:
                                add(scratch, 1.0, s, a, agent, everyone)
                                aggregate(everyone, signal)
                            elif there != own or heavy != weight:
                                # The action changes the counts only if it moves the agent to another cell.
                                if own >= 0:
                                    scratch[own] -= weight
                                own, weight = there, heavy
                                scratch[own] += weight
                                aggregate(everyone, signal)
                            world = World(scratch, signal, constants, h, own, weight, per_other, per_agent)
                            for successor in range(n_states):
                                chance = transition(successor, s, a, agent, world)
                                transitions[k, h, s, a, successor] += chance / n_worlds
                            rewards[k, h, s, a] += reward(s, a, agent, world) / n_worlds
                            if counts_itself:
                                add(scratch, -1.0, s, a, agent, everyone)

    return responses


@rule
def _no_count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
    """The rule ``count`` of a game that is counted by cells."""
