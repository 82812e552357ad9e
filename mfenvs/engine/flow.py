"""Population flows: the mean field of a finite game under a policy, step by step or in the long run.

The functions are rules over the arrays of :class:`FlowArrays`, in double precision, and use a game's tabulated
rules (:mod:`mfenvs.engine.model`). Tables of transitions are dense or sparse (:mod:`mfenvs.engine.tabulation`). A
rule that cannot fill a sparse table returns at once, before anything else has changed, and says so: flows by a
negative residual, others by False.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mfenvs.engine.limit_law import go_to_limit
from mfenvs.engine.tabulation import TIME, at_time, index_at, spread
from mfenvs.rules import rule


@rule
def mass_in_state(initial: Any, mu: Any, transitions: Any, h: Any, state: Any) -> Any:
    """Mass in a state at time h: that of the initial law, or the mass that mu_{h-1} (S, A) sends there."""
    if h == 0:
        return initial[state]
    present, before = 0.0, index_at(transitions, h - 1)
    for s in range(mu.shape[1]):
        for a in range(mu.shape[2]):
            present += mu[h - 1, s, a] * transitions[before, s, a, state]
    return max(present, 0.0)  # A row may be a rounding error below 0 where it should be 0.


@rule
def arrive(h: Any, initial: Any, mu: Any, transitions: Any, successors: Any, present: Any) -> None:
    """Write the law of the state at time h to ``present`` (S,): the initial one, or where mu_{h-1} goes."""
    if successors is None:
        for s in range(len(present)):
            present[s] = mass_in_state(initial, mu, transitions, h, s)
    else:
        if h == 0:
            for s in range(len(present)):
                present[s] = initial[s]
        else:
            present[:] = 0.0
            spread(mu[h - 1], at_time(transitions, h - 1), at_time(successors, h - 1), present)
            for s in range(len(present)):
                present[s] = max(present[s], 0.0)


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
    allowed: Any
    """Which actions are allowed, (T, S, A) or (1, S, A); None if all are."""
    counts: Any
    signal: Any
    """Scratch: counts (n_cells,) and signal (n_signals,) at the last time for which the rules were tabulated."""
    present: Any
    ahead: Any
    """Scratch: laws of the state at the present and the next time, (S,) each."""
    values: Any
    """Scratch for decision problems: :func:`mfenvs.meanfield.dynamic_programming.value_scratch`."""
    moves: Any
    """Scratch for the transition matrix of a policy, (S, S), of an infinite game with a dense table."""
    mu: Any
    """Result: state-action laws, (T, S, A)."""
    transitions: Any
    """Result: P(mu), (T, S, A, K), or (1, S, A, K) if it is the same at all times; K = S in a dense table."""
    successors: Any
    """Result: the successors of each state and action, (T, S, A, K) or (1, S, A, K); None for a dense table."""
    room: Any
    """:class:`mfenvs.engine.tabulation.Room` to fill a sparse table; None for a dense one."""
    status: Any
    """Why a table could not be filled (:mod:`mfenvs.engine.tabulation`)."""
    rewards: Any
    """Result: R(mu), (T, S, A)."""


STATIONARY = 1e-13
"""Largest l1 distance by which one step may change a law that counts as stationary."""
MOST_POPULATIONS = 10_000
"""Number of populations after which the search for a stationary law gives up."""
MOST_POPULATIONS_OF_SPARSE = 200
"""The same with a sparse table, whose slow chains take no leap."""
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
    # Four rows at a time, added in their order: a law is then read and written a quarter as often.
    n_in_fours = n_states - n_states % 4
    for s in range(0, n_in_fours, 4):
        p, q, u, v = present[s], present[s + 1], present[s + 2], present[s + 3]
        for t in range(n_states):
            total = ahead[t] + p * moves[s, t]
            total += q * moves[s + 1, t]
            total += u * moves[s + 2, t]
            ahead[t] = total + v * moves[s + 3, t]
    for s in range(n_in_fours, n_states):
        for t in range(n_states):
            ahead[t] += present[s] * moves[s, t]
    distance = 0.0
    for s in range(n_states):
        ahead[s] = max(ahead[s], 0.0)
        distance += abs(ahead[s] - present[s])
    return distance


@rule
def move_along(present: Any, policy: Any, transitions: Any, successors: Any, ahead: Any) -> Any:
    """Do what :func:`move` does, under a policy (S, A) and by a sparse table (S, A, K)."""
    n_states, n_actions, n_kept = transitions.shape
    ahead[:] = 0.0
    for s in range(n_states):
        for a in range(n_actions):
            mass = present[s] * policy[s, a]
            if mass != 0.0:
                for k in range(n_kept):
                    ahead[successors[s, a, k]] += mass * transitions[s, a, k]
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
def step_ahead(policy: Any, successors: Any, arrays: Any) -> Any:
    """Move the present law one step; write where it goes to ``ahead`` and return the l1 distance.

    ``successors`` are those of ``arrays``. With a dense table the step is that of ``arrays.moves``, which
    :func:`count_moves` writes.
    """
    if successors is None:
        return move(arrays.present, arrays.moves, arrays.ahead)
    return move_along(arrays.present, policy, arrays.transitions[0], successors[0], arrays.ahead)


@rule
def relax(policy: Any, arrays: Any, n_steps: Any, tolerance: Any) -> Any:
    """Take the present law up to ``n_steps`` steps towards the stationary law of a policy (S, A).

    Each step goes half the way: the fixed points are the same, and periodic chains converge. Returns the l1
    distance by which the last step's law changes in a whole step.
    """
    present, ahead, distance = arrays.present, arrays.ahead, math.inf
    for _ in range(n_steps):
        distance = step_ahead(policy, arrays.successors, arrays)
        for s in range(len(present)):
            present[s] = 0.5 * (present[s] + ahead[s])
        if distance <= tolerance:
            break
    return distance


@rule
def leap(successors: Any, arrays: Any) -> None:
    """Take the present law to the limit that it reaches in frozen dynamics, whose ``moves`` are destroyed.

    With a sparse table the law stays where it is.
    """
    if successors is None:
        go_to_limit(arrays.present, arrays.moves, arrays.ahead, arrays.values[0], arrays.values[-1])


@rule
def prepare_steps(policy: Any, successors: Any, arrays: Any) -> None:
    """Make ready for steps under a policy (S, A) in frozen dynamics."""
    if successors is None:
        count_moves(policy, arrays.transitions[0], arrays.moves)


@rule
def follow(policy: Any, arrays: Any) -> None:
    """Write the laws of a single agent who plays ``policy`` (T, S, A) in a frozen flow into ``arrays.mu``.

    In an infinite game this is the stationary law that the agent reaches from the population's law.
    """
    horizon, n_states, n_actions = policy.shape
    present = arrays.present
    for h in range(horizon):
        if arrays.discount < 1.0:
            prepare_steps(policy[h], arrays.successors, arrays)
            if relax(policy[h], arrays, STEPS_PER_POPULATION, STATIONARY) > STATIONARY:
                leap(arrays.successors, arrays)
        else:
            arrive(h, arrays.initial, arrays.mu, arrays.transitions, arrays.successors, present)
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = present[s] * policy[h, s, a]


def dynamics_rule(
    count: Callable[..., Any], fill: Callable[..., Any], earn: Callable[..., Any], varies: bool
) -> Callable[..., Any]:
    """Make the rule that tabulates a population at one time, by the rules that count it, P and R.

    ``varies`` says whether P depends on the population or the time; if not, its table is left as it is.
    """

    @rule
    def dynamics(population: Any, h: Any, arrays: Any) -> Any:
        """Write P(L_h) and R(L_h) of a population L_h (S, A) at time h to ``arrays``; return whether it could."""
        agents, shares = arrays.agents, arrays.shares
        world = count(population, agents, shares, arrays.constants, h, arrays.counts, arrays.signal)
        if varies:
            transitions, successors = at_time(arrays.transitions, h), at_time(arrays.successors, h)
            rewards = arrays.rewards[h]
            if not fill(world, agents, shares, transitions, successors, arrays.room, arrays.status, rewards):
                arrays.status[TIME] = h
                return False
        else:
            earn(world, agents, shares, arrays.rewards[h])
        return True

    return dynamics


def _tabulate_rule(dynamics: Callable[..., Any]) -> Callable[..., Any]:
    @rule
    def tabulate(policy: Any, h: Any, arrays: Any) -> Any:
        """Write mu_h, given who is where, and P(mu_h) and R(mu_h); return whether it could."""
        _, n_states, n_actions = policy.shape
        for s in range(n_states):
            for a in range(n_actions):
                arrays.mu[h, s, a] = arrays.present[s] * policy[h, s, a]
        return dynamics(arrays.mu[h], h, arrays)

    return tabulate


FAILED = -1.0
"""The residual of a flow that could not be tabulated."""


def stationary_flow_rule(dynamics: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that finds the stationary flow of an infinite game with this rule of :func:`dynamics_rule`."""
    tabulate = _tabulate_rule(dynamics)

    @rule
    def settle(policy: Any, arrays: Any) -> Any:
        """Find the stationary flow of an infinite game: a law mu = mu P(mu, policy).

        The search begins at the initial law. The law, P(mu) and R(mu) are written to the results of ``arrays``.
        Returns the residual: the l1 distance by which one more step changes the law. Many steps in the dynamics
        frozen at one population cost less than one tabulation; when they do not make the residual smaller, the
        search takes fewer steps per population. Where rare moves decide, as under a policy that hardly ever takes
        an action, steps take for ever, and the limit is computed in their place.
        """
        present, is_dense = arrays.present, arrays.successors is None
        for s in range(len(present)):
            present[s] = arrays.initial[s]
        n_steps, residual = STEPS_PER_POPULATION, math.inf
        for _ in range(MOST_POPULATIONS if is_dense else MOST_POPULATIONS_OF_SPARSE):
            if not tabulate(policy, 0, arrays):
                return FAILED
            prepare_steps(policy[0], arrays.successors, arrays)
            before, residual = residual, step_ahead(policy[0], arrays.successors, arrays)
            if not residual > STATIONARY:
                break
            if residual > SLOWEST * before:
                n_steps = max(1, n_steps // 2)
            distance = relax(policy[0], arrays, n_steps, 0.1 * STATIONARY)
            if is_dense and n_steps == STEPS_PER_POPULATION and distance > max(SLOW * residual, STATIONARY):
                leap(arrays.successors, arrays)
        return residual

    return settle


def flow_rule(dynamics: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that computes the population flow of a game that ends, with this rule of its dynamics."""
    tabulate = _tabulate_rule(dynamics)

    @rule
    def flow(policy: Any, arrays: Any) -> Any:
        """Write the population flow Lambda(policy) to the results of ``arrays`` (Yardim & He, Definition 5).

        Returns 0, in the place of the residual of a stationary flow.
        """
        for h in range(len(policy)):
            arrive(h, arrays.initial, arrays.mu, arrays.transitions, arrays.successors, arrays.present)
            if not tabulate(policy, h, arrays):
                return FAILED
        return 0.0

    return flow


def freeze_rule(dynamics: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that tabulates P and R of a given population at all times, with this rule of its dynamics."""

    @rule
    def freeze(population: Any, arrays: Any) -> Any:
        """Write P(L_h) and R(L_h) of a population L (T, S, A) to ``arrays``, whose ``mu`` does not change.

        Returns whether it could.
        """
        for h in range(len(population)):  # noqa: SIM110
            if not dynamics(population[h], h, arrays):
                return False
        return True

    return freeze


@rule
def step_population(policy: Any, population: Any, arrays: Any) -> Any:
    """Apply Gamma_2 in place: move a population L (1, S, A) one step ahead under ``policy`` (1, S, A).

    Guo et al., arXiv 1901.09585: s ~ the states of L, a_0 ~ pi(s), s_1 ~ P(. | s, a_0, L), a_1 ~ pi(s_1). P(L)
    must be in ``arrays`` already. Returns True.
    """
    _, n_states, n_actions = policy.shape
    prepare_steps(policy[0], arrays.successors, arrays)
    for s in range(n_states):
        arrays.present[s] = 0.0
        for a in range(n_actions):
            arrays.present[s] += population[0, s, a]
    step_ahead(policy[0], arrays.successors, arrays)
    for s in range(n_states):
        for a in range(n_actions):
            population[0, s, a] = arrays.ahead[s] * policy[0, s, a]
    return True


def replay_rule(flow: Callable[..., Any]) -> Callable[..., Any]:
    """Make the rule that applies Gamma_2 in a game that ends, with this rule for its flow."""

    @rule
    def replay(policy: Any, population: Any, arrays: Any) -> Any:
        """Apply Gamma_2 in place in a game that ends: the next population is the flow of ``policy`` [O].

        Returns whether it could; if not, the population is left as it was.
        """
        horizon, n_states, n_actions = policy.shape
        if flow(policy, arrays) < 0.0:
            return False
        for h in range(horizon):
            for s in range(n_states):
                for a in range(n_actions):
                    population[h, s, a] = arrays.mu[h, s, a]
        return True

    return replay
