"""A finite game's rules evaluated over all states and actions, against a population given as counts.

The simulator samples from the rules; these kernels tabulate them. They serve debug mode, the mean-field
side and the exploitability of the N-player game. Everything here is in double precision.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.cpu import Layout, count_rule, no_aggregate, own_count_rules
from mfenvs.game import FiniteGame, Rule, Rules
from mfenvs.rules import World, plain, rule


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
    mean_fields: Callable[..., Any]
    """P(mu) and R(mu), of everybody or of groups of agents."""
    flow: Callable[..., Any]
    flow_rule: Callable[..., Any]
    """The flow as a rule, for kernels that iterate it."""
    freeze: Callable[..., Any]
    freeze_rule: Callable[..., Any]
    """P(mu) and R(mu) at all times of a given population, likewise."""
    advance: Callable[..., Any]
    advance_rule: Callable[..., Any]
    """Gamma_2, one step of a population in which P is frozen, likewise."""
    count_rule: Callable[..., Any]
    """What rules read of a population, likewise."""
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
        game.is_infinite,
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
    is_infinite: bool,
) -> ModelKernels:
    count = _count_mean_field_rule(rules, n_states, n_actions, counts_state_actions)
    mean_field = _mean_field_rule(count, transition, reward, n_states, n_actions)
    flow = (_stationary_flow_rule if is_infinite else _flow_rule)(mean_field)
    freeze = _freeze_rule(mean_field)
    advance: Callable[..., Any] = step_population if is_infinite else _replay_rule(flow)
    return ModelKernels(
        rows=_rows_kernel(rules, layout, transition, n_states),
        mean_fields=_mean_fields_kernel(mean_field),
        flow=kernel(flow.py_func),  # type: ignore[attr-defined]
        flow_rule=flow,
        freeze=kernel(freeze.py_func),  # type: ignore[attr-defined]
        freeze_rule=freeze,
        advance=kernel(plain(advance)),
        advance_rule=advance,
        count_rule=count,
        responses=_responses_kernel(rules, transition, reward, n_states, n_actions),
    )


def _rows_kernel(rules: Rules, layout: Layout, transition: Rule, n_states: int) -> Callable[..., Any]:
    count, aggregate = count_rule(rules, layout), rules.aggregate or no_aggregate
    cell, own_weight = own_count_rules(rules)

    @kernel
    def rows(
        states: Any, actions: Any, agents: Any, constants: Any, counts: Any, signal: Any, time: Any, out: Any
    ) -> None:
        """The transition row of every agent of a world where it is, into ``out`` (n_agents, S)."""
        n_agents = len(states)
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        count(states, actions, agents, everyone)
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
            """As ``count`` below, by the game's own rule."""
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
        """Write what rules read of a population mu (S, A) into ``counts`` and ``signal``; return their world."""
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


def _mean_field_rule(
    count: Callable[..., Any], transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> Callable[..., Any]:
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
        world = count(mu, agents, shares, constants, time, counts, signal)
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


def _mean_fields_kernel(mean_field: Callable[..., Any]) -> Callable[..., Any]:
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
    ) -> None:
        """P(mu) and R(mu) of groups of agents, each averaged over the group.

        Group k consists of ``agents[firsts[k]:firsts[k + 1]]``, whose ``shares`` of the group sum to one; its
        tables go into ``transitions`` (n_groups, S, A, S) and ``rewards`` (n_groups, S, A).
        """
        for k in range(len(rewards)):
            first, last = firsts[k], firsts[k + 1]
            mean_field(
                *(mu, agents[first:last], shares[first:last], constants, time, counts, signal),
                *(transitions[k], rewards[k]),
            )

    return mean_fields


@rule
def mass_in_state(initial: Any, mu: Any, transitions: Any, h: Any, state: Any) -> Any:
    """Mass that is in a state at time h: of the initial law, or what mu_{h-1} (S, A) sends there."""
    if h == 0:
        return initial[state]
    present = 0.0
    for s in range(mu.shape[1]):
        for a in range(mu.shape[2]):
            present += mu[h - 1, s, a] * transitions[h - 1, s, a, state]
    return max(present, 0.0)  # A row may be a rounding error below 0 where it should be 0.


class FlowArrays(NamedTuple):
    """What the compiled flow of an induced game works on, and what it leaves behind."""

    initial: Any
    """The law of the first state, (S,)."""
    agents: Any
    """The distinct agents' parameters."""
    shares: Any
    """The share of the population that has them."""
    constants: Any
    """The game's ``constants``."""
    discount: Any
    """The game's discount; below 1 the flow is stationary."""
    counts: Any
    signal: Any
    """Scratch: what the rules read of the population at the last time for which they were tabulated."""
    present: Any
    ahead: Any
    """Scratch, (S,) each."""
    values: Any
    """Scratch for decision problems: :func:`mfenvs.meanfield.dynamic_programming.linear_system`."""
    moves: Any
    """Scratch, (S, S)."""
    mu: Any
    """Result: state-action laws, (T, S, A)."""
    transitions: Any
    """Result: P(mu), (T, S, A, S)."""
    rewards: Any
    """Result: R(mu), (T, S, A)."""


STATIONARY = 1e-13
"""A law is stationary if one step changes it by no more than this, in l1."""
MOST_POPULATIONS = 10_000
"""The search for a stationary law gives up after so many populations."""
MOST_STEPS_ALONE = 100_000
"""The search for the stationary law of a single agent gives up after so many steps."""
SLOWEST = 0.999
"""Where one population leaves more than this part of the residual of the one before, it goes round or astray."""
STEPS_PER_POPULATION = 1024
"""So many steps at first does the search take in the frozen dynamics of one population."""


@rule
def move(present: Any, moves: Any, ahead: Any) -> Any:
    """Send a law one step ahead by a matrix (S, S) of transitions; return how far it went, in l1.

    Rows may be a rounding error below 0 where they should be 0; a law may not.
    """
    n_states = len(present)
    ahead[:] = 0.0
    for s in range(n_states):
        for t in range(n_states):
            ahead[t] += present[s] * moves[s, t]
    distance = 0.0
    for s in range(n_states):
        ahead[s] = max(ahead[s], 0.0)
        distance += abs(ahead[s] - present[s])
    return distance


@rule
def count_moves(policy: Any, transitions: Any, moves: Any) -> None:
    """The chain of an agent who plays a policy (S, A) in frozen dynamics (S, A, S), into ``moves`` (S, S)."""
    n_states, n_actions = policy.shape
    moves[:] = 0.0
    for s in range(n_states):
        for a in range(n_actions):
            for t in range(n_states):
                moves[s, t] += policy[s, a] * transitions[s, a, t]


@rule
def relax(present: Any, moves: Any, ahead: Any, n_steps: Any, tolerance: Any) -> None:
    """Take a law up to n steps towards the stationary one of a chain.

    Each goes half the way: the fixed points are the same, and periodic chains converge.
    """
    for _ in range(n_steps):
        distance = move(present, moves, ahead)
        for s in range(len(present)):
            present[s] = 0.5 * (present[s] + ahead[s])
        if distance <= tolerance:
            break


@rule
def follow(policy: Any, arrays: Any) -> None:
    """The laws of a single agent who plays ``policy`` (T, S, A) in a frozen flow, into ``mu`` of ``arrays``.

    In an infinite game the stationary law that it reaches from where the population is.
    """
    horizon, n_states, n_actions = policy.shape
    present = arrays.present
    for h in range(horizon):
        if arrays.discount < 1.0:
            count_moves(policy[h], arrays.transitions[h], arrays.moves)
            relax(present, arrays.moves, arrays.ahead, MOST_STEPS_ALONE, STATIONARY)
        else:
            for s in range(n_states):
                present[s] = mass_in_state(arrays.initial, arrays.mu, arrays.transitions, h, s)
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = present[s] * policy[h, s, a]


def _tabulate_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def tabulate(policy: Any, h: Any, arrays: Any) -> None:
        """Write mu_h, given who is where, and P(mu_h) and R(mu_h)."""
        _, n_states, n_actions = policy.shape
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = arrays.present[s] * policy[h, s, a]
        mean_field(
            arrays.mu[h],
            arrays.agents,
            arrays.shares,
            arrays.constants,
            h,
            arrays.counts,
            arrays.signal,
            arrays.transitions[h],
            arrays.rewards[h],
        )

    return tabulate


def _stationary_flow_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    tabulate = _tabulate_rule(mean_field)

    @rule
    def settle(policy: Any, arrays: Any) -> Any:
        """The stationary flow of an infinite game: a law mu = mu P(mu, policy), sought from the initial law on.

        It and P(mu), R(mu) go into the results of ``arrays``. Returns the residual, by how much a step still
        changes the law, in l1. Many small steps in the dynamics that are frozen at one population cost less than
        one tabulation; when following them does not make the residual smaller, the search takes fewer at a time.
        """
        present, ahead, moves = arrays.present, arrays.ahead, arrays.moves
        for s in range(len(present)):
            present[s] = arrays.initial[s]
        n_steps, residual = STEPS_PER_POPULATION, math.inf
        for _ in range(MOST_POPULATIONS):
            tabulate(policy, 0, arrays)
            count_moves(policy[0], arrays.transitions[0], moves)
            before, residual = residual, move(present, moves, ahead)
            if not residual > STATIONARY:
                break
            if residual > SLOWEST * before:
                n_steps = max(1, n_steps // 2)
            relax(present, moves, ahead, n_steps, 0.1 * STATIONARY)
        return residual

    return settle


def _flow_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    tabulate = _tabulate_rule(mean_field)

    @rule
    def flow(policy: Any, arrays: Any) -> Any:
        """The population flow Lambda(policy) into the results of ``arrays``: Yardim & He, Definition 5.

        Returns the residual of a stationary flow, which it has none of.
        """
        horizon, n_states, _ = policy.shape
        for h in range(horizon):
            for s in range(n_states):
                arrays.present[s] = mass_in_state(arrays.initial, arrays.mu, arrays.transitions, h, s)
            tabulate(policy, h, arrays)
        return 0.0

    return flow


def _freeze_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def freeze(population: Any, arrays: Any) -> None:
        """P(L_h) and R(L_h) of a population L (T, S, A) into ``arrays``, whose ``mu`` is left alone."""
        for h in range(len(population)):
            mean_field(
                population[h],
                arrays.agents,
                arrays.shares,
                arrays.constants,
                h,
                arrays.counts,
                arrays.signal,
                arrays.transitions[h],
                arrays.rewards[h],
            )

    return freeze


@rule
def step_population(policy: Any, population: Any, arrays: Any) -> None:
    """Gamma_2 in place: from a population L (1, S, A) to that of one step later under ``policy`` (1, S, A).

    Guo et al., arXiv 1901.09585: s ~ the states of L, a_0 ~ pi(s), s_1 ~ P(. | s, a_0, L), a_1 ~ pi(s_1). P(L)
    must be in ``arrays`` already.
    """
    _, n_states, n_actions = policy.shape
    count_moves(policy[0], arrays.transitions[0], arrays.moves)
    for s in range(n_states):
        arrays.present[s] = 0.0
        for a in range(n_actions):
            arrays.present[s] += population[0, s, a]
    move(arrays.present, arrays.moves, arrays.ahead)
    for s in range(n_states):
        for a in range(n_actions):
            population[0, s, a] = arrays.ahead[s] * policy[0, s, a]


def _replay_rule(flow: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def replay(policy: Any, population: Any, arrays: Any) -> None:
        """Gamma_2 in place, in a game that ends: a population is a whole flow, the next is the policy's [O]."""
        horizon, n_states, n_actions = policy.shape
        flow(policy, arrays)
        for h in range(horizon):
            for s in range(n_states):
                for a in range(n_actions):
                    population[h, s, a] = arrays.mu[h, s, a]

    return replay


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
                    everyone = World(scratch, signal, constants, h, -1, 0.0, per_other, per_agent)
                    if counts_itself:
                        add(scratch, -1.0, state, action, agent, everyone)
                    else:
                        scratch[cell(state, action, agent)] -= own_weight(state, action, agent)
                    own, weight = -1, 0.0
                    for a in range(n_actions):
                        for s in range(n_states):
                            there, heavy = cell(s, a, agent), np.float64(own_weight(s, a, agent))
                            if counts_itself:
                                add(scratch, 1.0, s, a, agent, everyone)
                                aggregate(everyone, signal)
                            elif there != own or heavy != weight:
                                # What the agent does changes the counts only as far as it is counted elsewhere.
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
