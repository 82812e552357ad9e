"""Population flows: the mean field of a finite game under a policy, step by step or in the long run.

The functions are rules over the arrays of :class:`FlowArrays`, in double precision, and use a game's tabulated
rules (:mod:`mfenvs.engine.model`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mfenvs.engine.limit_law import go_to_limit
from mfenvs.rules import rule


@rule
def mass_in_state(initial: Any, mu: Any, transitions: Any, h: Any, state: Any) -> Any:
    """Mass in a state at time h: that of the initial law, or the mass that mu_{h-1} (S, A) sends there."""
    if h == 0:
        return initial[state]
    present = 0.0
    for s in range(mu.shape[1]):
        for a in range(mu.shape[2]):
            present += mu[h - 1, s, a] * transitions[h - 1, s, a, state]
    return max(present, 0.0)  # A row may be a rounding error below 0 where it should be 0.


class FlowArrays(NamedTuple):
    """Inputs, scratch arrays and results of the compiled flow of an induced game."""

    initial: Any
    """The law of the initial state, (S,)."""
    agents: Any
    """The parameters of the distinct agents, (n,)."""
    shares: Any
    """The share of the population that has each of these parameters, (n,)."""
    constants: Any
    """The game's property ``constants``: numbers and arrays common to all agents."""
    discount: Any
    """The game's discount; below 1 the flow is stationary."""
    counts: Any
    signal: Any
    """Scratch: counts (n_cells,) and signal (n_signals,) at the last time for which the rules were tabulated."""
    present: Any
    ahead: Any
    """Scratch: laws of the state at the present and the next time, (S,) each."""
    values: Any
    """Scratch for decision problems: :func:`mfenvs.meanfield.dynamic_programming.linear_system`."""
    moves: Any
    """Scratch for the transition matrix of a policy, (S, S)."""
    mu: Any
    """Result: state-action laws, (T, S, A)."""
    transitions: Any
    """Result: P(mu), (T, S, A, S)."""
    rewards: Any
    """Result: R(mu), (T, S, A)."""


STATIONARY = 1e-13
"""Largest l1 distance by which one step may change a law that counts as stationary."""
MOST_POPULATIONS = 10_000
"""Number of populations after which the search for a stationary law gives up."""
SLOWEST = 0.999
"""Ratio of successive residuals above which the search counts as cycling or diverging."""
STEPS_PER_POPULATION = 1024
"""Number of steps that the search takes at first in the dynamics frozen at one population."""
SLOW = 0.5
"""If so many steps leave this share of the residual, the chain is slow, and its limit is computed directly."""


@rule
def move(present: Any, moves: Any, ahead: Any) -> Any:
    """Move a law by one step of a transition matrix (S, S); return the l1 distance by which it changed.

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
    """Write the transition matrix of a policy (S, A) in frozen dynamics (S, A, S) into ``moves`` (S, S)."""
    n_states, n_actions = policy.shape
    moves[:] = 0.0
    for s in range(n_states):
        for a in range(n_actions):
            for t in range(n_states):
                moves[s, t] += policy[s, a] * transitions[s, a, t]


@rule
def relax(present: Any, moves: Any, ahead: Any, n_steps: Any, tolerance: Any) -> Any:
    """Take a law up to ``n_steps`` steps towards the stationary law of a Markov chain.

    Each step goes half the way: the fixed points are the same, and periodic chains converge. Returns the l1
    distance by which the last step's law changes in a whole step.
    """
    distance = math.inf
    for _ in range(n_steps):
        distance = move(present, moves, ahead)
        for s in range(len(present)):
            present[s] = 0.5 * (present[s] + ahead[s])
        if distance <= tolerance:
            break
    return distance


@rule
def leap(arrays: Any) -> None:
    """Take the present law to the limit that it reaches in frozen dynamics, whose ``moves`` are destroyed."""
    go_to_limit(arrays.present, arrays.moves, arrays.ahead, arrays.values[0], arrays.values[-1])


@rule
def follow(policy: Any, arrays: Any) -> None:
    """Write the laws of a single agent who plays ``policy`` (T, S, A) in a frozen flow into ``arrays.mu``.

    In an infinite game this is the stationary law that the agent reaches from the population's law.
    """
    horizon, n_states, n_actions = policy.shape
    present = arrays.present
    for h in range(horizon):
        if arrays.discount < 1.0:
            count_moves(policy[h], arrays.transitions[h], arrays.moves)
            if relax(present, arrays.moves, arrays.ahead, STEPS_PER_POPULATION, STATIONARY) > STATIONARY:
                leap(arrays)
        else:
            for s in range(n_states):
                present[s] = mass_in_state(arrays.initial, arrays.mu, arrays.transitions, h, s)
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = present[s] * policy[h, s, a]


def _dynamics_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def dynamics(population: Any, h: Any, arrays: Any) -> None:
        """Write P(L_h) and R(L_h) of a population at time h, L_h (S, A), into the results of ``arrays``."""
        mean_field(
            population,
            arrays.agents,
            arrays.shares,
            arrays.constants,
            h,
            arrays.counts,
            arrays.signal,
            arrays.transitions[h],
            arrays.rewards[h],
        )

    return dynamics


def _tabulate_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    dynamics = _dynamics_rule(mean_field)

    @rule
    def tabulate(policy: Any, h: Any, arrays: Any) -> None:
        """Write mu_h, given who is where, and P(mu_h) and R(mu_h)."""
        _, n_states, n_actions = policy.shape
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = arrays.present[s] * policy[h, s, a]
        dynamics(arrays.mu[h], h, arrays)

    return tabulate


def stationary_flow_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that finds the stationary flow of an infinite game with this ``mean_field`` rule."""
    tabulate = _tabulate_rule(mean_field)

    @rule
    def settle(policy: Any, arrays: Any) -> Any:
        """Find the stationary flow of an infinite game: a law mu = mu P(mu, policy).

        The search begins at the initial law. The law, P(mu) and R(mu) are written to the results of ``arrays``.
        Returns the residual: the l1 distance by which one more step changes the law. Many steps in the dynamics
        frozen at one population cost less than one tabulation; when they do not make the residual smaller, the
        search takes fewer steps per population. Where rare moves decide, as under a policy that hardly ever takes
        an action, steps take for ever, and the limit is computed in their place.
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
            distance = relax(present, moves, ahead, n_steps, 0.1 * STATIONARY)
            if n_steps == STEPS_PER_POPULATION and distance > max(SLOW * residual, STATIONARY):
                leap(arrays)
        return residual

    return settle


def flow_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that computes the population flow of a game that ends, with this ``mean_field`` rule."""
    tabulate = _tabulate_rule(mean_field)

    @rule
    def flow(policy: Any, arrays: Any) -> Any:
        """Write the population flow Lambda(policy) to the results of ``arrays`` (Yardim & He, Definition 5).

        Returns 0, in the place of the residual of a stationary flow.
        """
        horizon, n_states, _ = policy.shape
        for h in range(horizon):
            for s in range(n_states):
                arrays.present[s] = mass_in_state(arrays.initial, arrays.mu, arrays.transitions, h, s)
            tabulate(policy, h, arrays)
        return 0.0

    return flow


def freeze_rule(mean_field: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that tabulates P and R of a given population at all times, with this ``mean_field`` rule."""
    dynamics = _dynamics_rule(mean_field)

    @rule
    def freeze(population: Any, arrays: Any) -> None:
        """Write P(L_h) and R(L_h) of a population L (T, S, A) to ``arrays``, whose ``mu`` does not change."""
        for h in range(len(population)):
            dynamics(population[h], h, arrays)

    return freeze


@rule
def step_population(policy: Any, population: Any, arrays: Any) -> None:
    """Apply Gamma_2 in place: move a population L (1, S, A) one step ahead under ``policy`` (1, S, A).

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


def replay_rule(flow: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that applies Gamma_2 in a game that ends, with this rule for its flow."""

    @rule
    def replay(policy: Any, population: Any, arrays: Any) -> None:
        """Apply Gamma_2 in place in a game that ends: the next population is the flow of ``policy`` [O]."""
        horizon, n_states, n_actions = policy.shape
        flow(policy, arrays)
        for h in range(horizon):
            for s in range(n_states):
                for a in range(n_actions):
                    population[h, s, a] = arrays.mu[h, s, a]

    return replay
