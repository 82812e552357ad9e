"""Dynamic programming for problems that go on for ever, with a discount below 1.

Arrays are those of :mod:`mfenvs.meanfield.dynamic_programming`, with T = 1. With a dense table of transitions such
a problem is solved by linear equations and policy iteration, with a sparse one by iterating values. ``evaluate``
and ``optimise`` there say what is written to ``q``.
"""

import math
from typing import Any

from mfenvs.meanfield.bellman import FORBIDDEN, add_expected, entropy, forbid, is_open, soft_maximum
from mfenvs.rules import rule

SETTLED = 1e-15
"""Policy iteration ends when no state gains more than this share of the largest value, times the number of states:
the rounding error of the linear equations."""
UNCHANGED = 3e-16
"""Sweeps over all states end when no value changes by more than this share of the largest one."""
FORGOTTEN = 40.0
"""Number of time constants after which a discounted iteration has forgotten its beginning."""
MOST_IMPROVEMENTS = 1000
"""Number of policies after which policy iteration gives up; it needs some ten."""


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
def add_entropy(policy: Any, temperature: Any, q: Any) -> None:
    """Add the entropy of a stationary policy in the state to ``q`` (1, S, A), times the temperature."""
    if temperature > 0.0:
        for s in range(q.shape[1]):
            bonus = temperature * entropy(policy[0, s])
            for a in range(q.shape[2]):
                q[0, s, a] += bonus


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
    """Do ``evaluate`` for a stationary policy in an infinite problem with a dense table."""
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        begin_equation(s, temperature * entropy(policy[0, s]) if temperature > 0.0 else 0.0, system)
        for a in range(n_actions):
            if policy[0, s, a] > 0.0:
                add_to_equation(s, a, policy[0, s, a], transitions, rewards, discount, system)
    solve_linear(system)
    look_ahead(transitions, rewards, discount, system, q)
    add_entropy(policy, temperature, q)


@rule
def optimise_by_equations(
    transitions: Any, rewards: Any, allowed: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> None:
    """Do ``optimise`` for an infinite problem with a dense table, by policy iteration.

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
    """Do ``evaluate`` for a stationary policy in an infinite problem with a sparse table.

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
    add_entropy(policy, temperature, q)


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
    """Do ``optimise`` for an infinite problem with a sparse table, by value iteration (Gauss-Seidel)."""
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
