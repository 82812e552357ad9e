"""Dynamic programming on tabulated transitions and rewards, compiled; shared by every solver and measure.

Arrays: policy (T, S, A), transitions P (T, S, A, S), rewards R (T, S, A), values Q (T, S, A), all float64. A
table of transitions may be sparse, (T, S, A, K) with ``successors`` (T, S, A, K), which is None for a dense one
(:mod:`mfenvs.engine.tabulation`); and it may be the same at all times, with 1 in the place of T.

A problem that ends has T = H steps and is solved by backward induction. One that goes on for ever has T = 1 and a
``discount`` below 1. With a dense table it is solved by linear equations and policy iteration, with a sparse one
by iterating values. ``scratch`` is what :func:`value_scratch` makes. ``temperature`` is the tau of entropy
regularisation: the reward of a step gains tau times the entropy of the policy that acts (Yardim & He, Definition
9), and tau = 0 is the plain game.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import at_time, index_at
from mfenvs.rules import rule


@rule
def entropy(law: Any) -> Any:
    """Shannon entropy of a probability vector in nats."""
    total = 0.0
    for p in law:
        if p > 0.0:
            total -= p * math.log(p)
    return total


@rule
def soft_maximum(values: Any, temperature: Any) -> Any:
    """Maximum over distributions u of <u, values> + temperature * entropy(u); max(values) at temperature 0."""
    best = values[0]
    for v in values:
        best = max(best, v)
    if temperature == 0.0:
        return best
    total = 0.0
    for v in values:
        total += math.exp((v - best) / temperature)
    return best + temperature * math.log(total)


FORBIDDEN = -1e200
"""The value of an action that is not allowed, far below all others."""


@rule
def forbid(allowed: Any, time: Any, q: Any) -> None:
    """Give actions that are not allowed at a time a value below all others, in ``q`` (S, A).

    ``allowed`` has shape (T, S, A), or (1, S, A) for all times; None allows all actions.
    """
    if allowed is None:
        return
    now = index_at(allowed, time)
    for s in range(q.shape[0]):
        for a in range(q.shape[1]):
            if not allowed[now, s, a]:
                q[s, a] = FORBIDDEN


@rule
def is_open(allowed: Any, time: Any, s: Any, a: Any) -> Any:
    """Whether an action is allowed in a state at a time."""
    if allowed is None:
        return True
    return allowed[index_at(allowed, time), s, a]


@rule
def add_expected(transitions: Any, successors: Any, discount: Any, values: Any, q: Any) -> None:
    """Add the discounted mean of ``values`` (S,) at the successors of a sparse table (S, A, K) to ``q`` (S, A)."""
    n_states, n_actions, n_kept = transitions.shape
    for s in range(n_states):
        for a in range(n_actions):
            ahead = 0.0
            for k in range(n_kept):
                ahead += transitions[s, a, k] * values[successors[s, a, k]]
            q[s, a] += discount * ahead


@rule
def mean_value(law: Any, values: Any) -> Any:
    """Mean of ``values`` (A,) under a law (A,)."""
    total = 0.0
    for a in range(len(law)):
        total += law[a] * values[a]
    return total


@rule
def evaluate_backward(
    policy: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Do :func:`evaluate` over H steps, discounted; ``policy`` may be stationary, (1, S, A)."""
    horizon, n_states, n_actions = rewards.shape
    for step in range(horizon):
        h = horizon - 1 - step
        now = index_at(policy, h)
        for s in range(n_states):
            bonus = temperature * entropy(policy[now, s]) if temperature > 0.0 else 0.0
            for a in range(n_actions):
                q[h, s, a] = rewards[h, s, a] + bonus
        if step > 0:
            later, index = index_at(policy, h + 1), index_at(transitions, h)
            if successors is None:
                for t in range(n_states):
                    value = 0.0
                    for b in range(n_actions):
                        value += policy[later, t, b] * q[h + 1, t, b]
                    for s in range(n_states):
                        for a in range(n_actions):
                            q[h, s, a] += discount * transitions[index, s, a, t] * value
            else:
                for t in range(n_states):
                    scratch[0, t] = mean_value(policy[later, t], q[h + 1, t])
                add_expected(transitions[index], at_time(successors, h), discount, scratch[0], q[h])


@rule
def optimise_backward(
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Do :func:`optimise` over H steps, discounted."""
    horizon, n_states, n_actions = rewards.shape
    for step in range(horizon):
        h = horizon - 1 - step
        for s in range(n_states):
            for a in range(n_actions):
                q[h, s, a] = rewards[h, s, a]
        if step > 0:
            index = index_at(transitions, h)
            if successors is None:
                for t in range(n_states):
                    value = soft_maximum(q[h + 1, t], temperature)
                    for s in range(n_states):
                        for a in range(n_actions):
                            q[h, s, a] += discount * transitions[index, s, a, t] * value
            else:
                for t in range(n_states):
                    scratch[0, t] = soft_maximum(q[h + 1, t], temperature)
                add_expected(transitions[index], at_time(successors, h), discount, scratch[0], q[h])
        forbid(allowed, h, q[h])


SETTLED = 1e-15
"""Policy iteration ends when no state gains more than this share of the largest value, times the number of states:
the rounding error of the linear equations."""
UNCHANGED = 3e-16
"""Sweeps over all states end when no value changes by more than this share of the largest one."""
FORGOTTEN = 40.0
"""Number of time constants after which a discounted iteration has forgotten its beginning."""
MOST_IMPROVEMENTS = 1000
"""Number of policies after which policy iteration gives up; it needs some ten."""


def value_scratch(n_states: int, discount: float, *, is_sparse: bool = False) -> NDArray[np.float64]:
    """Make the scratch array of a decision problem.

    With a dense table it is (S, S + 1) for the linear equations of an infinite problem, and empty for one that
    ends; with a sparse one it is (1, S) for values.
    """
    if is_sparse:
        return np.empty((1, n_states))
    return np.empty((n_states, n_states + 1) if discount < 1.0 else (0, 1))


@rule
def solve_linear(system: Any) -> None:
    """Solve A x = b in place: ``system`` (n, n + 1) holds A and b, and afterwards x in its last column.

    The method is elimination without pivoting, which is stable for A = I - gamma P: the matrix is diagonally
    dominant, and stays so.
    """
    n = len(system)
    # Two unknowns at a time: rows are then read and written half as often.
    for i in range(0, n - 1, 2):
        j = i + 1
        factor = system[j, i] / system[i, i]
        for column in range(j, n + 1):
            system[j, column] -= factor * system[i, column]
        for row in range(j + 1, n):
            first = system[row, i] / system[i, i]
            second = (system[row, j] - first * system[i, j]) / system[j, j]
            if first != 0.0 or second != 0.0:
                for column in range(j + 1, n + 1):
                    system[row, column] = (
                        system[row, column] - first * system[i, column] - second * system[j, column]
                    )
    for back in range(n):
        i = n - 1 - back
        for column in range(i + 1, n):
            system[i, n] -= system[i, column] * system[column, n]
        system[i, n] /= system[i, i]


@rule
def look_ahead(transitions: Any, rewards: Any, discount: Any, system: Any, q: Any) -> None:
    """Write R + gamma P v to ``q`` (1, S, A), with the values v in the last column of ``system`` (S, S + 1)."""
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        for a in range(n_actions):
            ahead = 0.0
            for t in range(n_states):
                ahead += transitions[0, s, a, t] * system[t, n_states]
            q[0, s, a] = rewards[0, s, a] + discount * ahead


@rule
def mean_ahead(transitions: Any, successors: Any, s: Any, a: Any, values: Any) -> Any:
    """Mean of ``values`` (S,) at the successors of a state and an action, by a sparse table (1, S, A, K)."""
    ahead = 0.0
    for k in range(transitions.shape[3]):
        ahead += transitions[0, s, a, k] * values[successors[0, s, a, k]]
    return ahead


@rule
def look_along(transitions: Any, successors: Any, rewards: Any, discount: Any, values: Any, q: Any) -> None:
    """Write R + gamma P v to ``q`` (1, S, A), with a sparse table and values (S,)."""
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        for a in range(n_actions):
            q[0, s, a] = rewards[0, s, a]
    add_expected(transitions[0], successors[0], discount, values, q[0])


@rule
def add_to_equation(
    s: Any, a: Any, probability: Any, transitions: Any, rewards: Any, discount: Any, system: Any
) -> None:
    """Add action a of state s with its probability to the policy's equations (I - gamma P) v = R."""
    n_states = len(system)
    for t in range(n_states):
        system[s, t] -= probability * discount * transitions[0, s, a, t]
    system[s, n_states] += probability * rewards[0, s, a]


@rule
def begin_equation(s: Any, bonus: Any, system: Any) -> None:
    """Write the equation of state s before any action is added: v(s) = bonus."""
    n_states = len(system)
    for t in range(n_states):
        system[s, t] = 0.0
    system[s, s] = 1.0
    system[s, n_states] = bonus


@rule
def evaluate_by_equations(
    policy: Any, transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> None:
    """Do :func:`evaluate` for a stationary policy in an infinite problem with a dense table."""
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        begin_equation(s, temperature * entropy(policy[0, s]) if temperature > 0.0 else 0.0, system)
        for a in range(n_actions):
            if policy[0, s, a] > 0.0:
                add_to_equation(s, a, policy[0, s, a], transitions, rewards, discount, system)
    solve_linear(system)
    look_ahead(transitions, rewards, discount, system, q)
    if temperature > 0.0:
        for s in range(n_states):
            bonus = temperature * entropy(policy[0, s])
            for a in range(n_actions):
                q[0, s, a] += bonus


@rule
def optimise_by_equations(
    transitions: Any, rewards: Any, allowed: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> None:
    """Do :func:`optimise` for an infinite problem with a dense table, by policy iteration.

    It is Howard's, and with entropy Newton's method.

    Every policy is evaluated exactly, so that the number of iterations hardly depends on the discount.
    """
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        system[s, n_states] = 0.0
    look_ahead(transitions, rewards, discount, system, q)
    forbid(allowed, 0, q[0])
    for improvement in range(MOST_IMPROVEMENTS):
        gain, largest, total = 0.0, 0.0, 0.0
        for s in range(n_states):
            value = soft_maximum(q[0, s], temperature)
            gain, largest = max(gain, value - system[s, n_states]), max(largest, abs(value))
            for a in range(n_actions):
                total += q[0, s, a]
        # The first values, zeros, are no policy's. Values that overflow are left for the caller to detect.
        if (improvement > 0 and gain <= SETTLED * n_states * largest) or not math.isfinite(total):
            break
        for s in range(n_states):
            best = soft_maximum(q[0, s], 0.0)
            if temperature > 0.0:
                total = 0.0
                for a in range(n_actions):
                    total += math.exp((q[0, s, a] - best) / temperature)
                # The soft maximum exceeds the softmax's mean by the temperature times the softmax's entropy.
                begin_equation(s, temperature * math.log(total), system)
                for a in range(n_actions):
                    chance = math.exp((q[0, s, a] - best) / temperature) / total
                    add_to_equation(s, a, chance, transitions, rewards, discount, system)
                    system[s, n_states] -= chance * (q[0, s, a] - best)
            else:
                begin_equation(s, 0.0, system)
                for a in range(n_actions):
                    if q[0, s, a] == best:
                        add_to_equation(s, a, 1.0, transitions, rewards, discount, system)
                        break
        solve_linear(system)
        look_ahead(transitions, rewards, discount, system, q)
        forbid(allowed, 0, q[0])


@rule
def most_sweeps(discount: Any) -> Any:
    """Number of sweeps after which iterated values have forgotten where they began, to rounding."""
    return 10 + int(FORGOTTEN / -math.log(discount)) if discount > 0.0 else 10


@rule
def evaluate_by_sweeps(
    policy: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Do :func:`evaluate` for a stationary policy in an infinite problem with a sparse table.

    Every sweep updates the values in place (Gauss-Seidel).
    """
    _, n_states, n_actions = rewards.shape
    values = scratch[0]
    values[:] = 0.0
    for _ in range(most_sweeps(discount)):
        change, largest = 0.0, 0.0
        for s in range(n_states):
            value = temperature * entropy(policy[0, s]) if temperature > 0.0 else 0.0
            for a in range(n_actions):
                if policy[0, s, a] > 0.0:
                    value += policy[0, s, a] * (
                        rewards[0, s, a] + discount * mean_ahead(transitions, successors, s, a, values)
                    )
            change, largest = max(change, abs(value - values[s])), max(largest, abs(value))
            values[s] = value
        if not change > UNCHANGED * largest:
            break
    look_along(transitions, successors, rewards, discount, values, q)
    if temperature > 0.0:
        for s in range(n_states):
            bonus = temperature * entropy(policy[0, s])
            for a in range(n_actions):
                q[0, s, a] += bonus


@rule
def optimise_by_sweeps(
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Do :func:`optimise` for an infinite problem with a sparse table, by value iteration (Gauss-Seidel)."""
    _, n_states, n_actions = rewards.shape
    values = scratch[0]
    values[:] = 0.0
    for _ in range(most_sweeps(discount)):
        change, largest = 0.0, 0.0
        for s in range(n_states):
            for a in range(n_actions):
                ahead = mean_ahead(transitions, successors, s, a, values)
                q[0, s, a] = rewards[0, s, a] + discount * ahead
                if not is_open(allowed, 0, s, a):
                    q[0, s, a] = FORBIDDEN
            value = soft_maximum(q[0, s], temperature)
            change, largest = max(change, abs(value - values[s])), max(largest, abs(value))
            values[s] = value
        # Written such that values that overflow, which the caller detects, end the sweeps.
        if not change > UNCHANGED * largest:
            break
    look_along(transitions, successors, rewards, discount, values, q)
    forbid(allowed, 0, q[0])


@rule
def evaluate(
    policy: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Write Q^{tau,pi} of a policy to ``q``: Yardim & He, Definition 9 (Q_h includes the entropy of step h).

    A discount below 1 stands for an infinite problem.
    """
    if discount < 1.0:
        if successors is None:
            evaluate_by_equations(policy, transitions, rewards, temperature, discount, q, scratch)
        else:
            evaluate_by_sweeps(policy, transitions, successors, rewards, temperature, discount, q, scratch)
    else:
        evaluate_backward(policy, transitions, successors, rewards, temperature, 1.0, q, scratch)


@rule
def optimise(
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> None:
    """Write the optimal values of the (regularised) decision problem to ``q``.

    Here ``q[h, s, a]`` leaves out the entropy of step h, so that the optimal policy is its
    greedy policy (or its softmax at this temperature) and the optimal value its soft maximum. A discount below 1
    stands for an infinite problem. ``allowed`` is as in :func:`forbid`.
    """
    if discount < 1.0:
        if successors is None:
            optimise_by_equations(transitions, rewards, allowed, temperature, discount, q, scratch)
        else:
            optimise_by_sweeps(transitions, successors, rewards, allowed, temperature, discount, q, scratch)
    else:
        optimise_backward(transitions, successors, rewards, allowed, temperature, 1.0, q, scratch)


@rule
def policy_value(initial: Any, policy: Any, q: Any) -> Any:
    """The value V of a policy from its ``q``, averaged over the initial law (S,)."""
    total = 0.0
    for s in range(len(initial)):
        for a in range(policy.shape[2]):
            total += initial[s] * policy[0, s, a] * q[0, s, a]
    return total


@rule
def optimal_value(initial: Any, q: Any, temperature: Any) -> Any:
    """The optimal value V from the ``q`` of :func:`optimise`, averaged over the initial law (S,)."""
    total = 0.0
    for s in range(len(initial)):
        total += initial[s] * soft_maximum(q[0, s], temperature)
    return total


@rule
def gap(
    policy: Any,
    initial: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
) -> tuple[Any, Any]:
    """Values of the best response and of the policy in a decision problem; ``q`` is scratch too."""
    evaluate(policy, transitions, successors, rewards, temperature, discount, q, scratch)
    own = policy_value(initial, policy, q)
    optimise(transitions, successors, rewards, allowed, temperature, discount, q, scratch)
    return optimal_value(initial, q, temperature), own


@rule
def act_optimally(q: Any, temperature: Any, policy: Any) -> None:
    """Write the greedy policy of ``q`` (ties go to the lowest action), or its softmax, to ``policy``."""
    horizon, n_states, n_actions = q.shape
    for h in range(horizon):
        for s in range(n_states):
            if temperature > 0.0:
                best_value, total = q[h, s, 0], 0.0
                for a in range(n_actions):
                    best_value = max(best_value, q[h, s, a])
                for a in range(n_actions):
                    policy[h, s, a] = math.exp((q[h, s, a] - best_value) / temperature)
                    total += policy[h, s, a]
                for a in range(n_actions):
                    policy[h, s, a] /= total
            else:
                best = 0
                for a in range(n_actions):
                    policy[h, s, a] = 0.0
                    if q[h, s, a] > q[h, s, best]:
                        best = a
                policy[h, s, best] = 1.0


@rule
def act_softly(y: Any, allowed: Any, q: Any, policy: Any) -> None:
    """Write the softmax of ``y`` (T, S, A) over allowed actions to ``policy``; ``q`` is scratch."""
    if allowed is None:
        act_optimally(y, 1.0, policy)
        return
    for h in range(y.shape[0]):
        for s in range(y.shape[1]):
            for a in range(y.shape[2]):
                q[h, s, a] = y[h, s, a]
        forbid(allowed, h, q[h])
    act_optimally(q, 1.0, policy)


evaluate_kernel = kernel(evaluate.py_func)  # type: ignore[attr-defined]
gap_kernel = kernel(gap.py_func)  # type: ignore[attr-defined]


@kernel
def start_values_kernel(
    policy: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
    best: Any,
    own: Any,
) -> None:
    """Write the values at the beginning of the best response and of the policy, (S,) each; ``q`` is scratch."""
    evaluate(policy, transitions, successors, rewards, temperature, discount, q, scratch)
    for s in range(len(own)):
        own[s] = 0.0
        for a in range(policy.shape[2]):
            if policy[0, s, a] > 0.0:
                own[s] += policy[0, s, a] * q[0, s, a]
    optimise(transitions, successors, rewards, allowed, temperature, discount, q, scratch)
    for s in range(len(best)):
        best[s] = soft_maximum(q[0, s], temperature)


@kernel
def best_response_kernel(
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    temperature: Any,
    discount: Any,
    q: Any,
    scratch: Any,
    policy: Any,
) -> None:
    """Write optimal values to ``q`` and an optimal policy to ``policy``."""
    optimise(transitions, successors, rewards, allowed, temperature, discount, q, scratch)
    act_optimally(q, temperature, policy)


@kernel
def evaluate_each(policies: Any, transitions: Any, rewards: Any, discount: Any, values: Any, q: Any) -> None:
    """Write the values at time 0, (n, S), of policies (1 or n, T, S, A) in n decision problems of H steps.

    ``q`` is scratch.
    """
    n_problems, _, n_states, n_actions = rewards.shape
    for i in range(n_problems):
        policy = policies[i if len(policies) > 1 else 0]
        evaluate_backward(policy, transitions[i], None, rewards[i], 0.0, discount, q, q)
        for s in range(n_states):
            values[i, s] = 0.0
            for a in range(n_actions):
                values[i, s] += policy[0, s, a] * q[0, s, a]


@kernel
def answer_each(transitions: Any, rewards: Any, discount: Any, answers: Any, q: Any) -> None:
    """Write an optimal policy of each of n decision problems of H steps to ``answers`` (n, H, S, A)."""
    for i in range(len(rewards)):
        optimise_backward(transitions[i], None, rewards[i], None, 0.0, discount, q, q)
        act_optimally(q, 0.0, answers[i])


@kernel
def solve_each(
    policies: Any,
    transitions: Any,
    rewards: Any,
    discount: Any,
    own_values: Any,
    best_values: Any,
    best_policies: Any,
    q: Any,
    first: Any,
    last: Any,
) -> None:
    """Evaluate and optimise one decision problem of H steps per agent, for the agents ``first <= i < last``.

    Reads policies (1 or n, T, S, A) with T = 1 or H, transitions (n, H, S, A, S) and rewards (n, H, S, A). Writes
    the values of the policies and the optimal values, (n, H + 1, S) each, and optimal policies (n, H, S, A).
    """
    horizon, n_states, n_actions = rewards.shape[1:]
    for i in range(first, last):
        policy = policies[i if len(policies) > 1 else 0]
        evaluate_backward(policy, transitions[i], None, rewards[i], 0.0, discount, q, q)
        for h in range(horizon):
            for s in range(n_states):
                own_values[i, h, s] = 0.0
                for a in range(n_actions):
                    own_values[i, h, s] += policy[min(h, len(policy) - 1), s, a] * q[h, s, a]
        optimise_backward(transitions[i], None, rewards[i], None, 0.0, discount, q, q)
        act_optimally(q, 0.0, best_policies[i])
        for h in range(horizon):
            for s in range(n_states):
                best_values[i, h, s] = soft_maximum(q[h, s], 0.0)
        own_values[i, horizon] = 0.0
        best_values[i, horizon] = 0.0
