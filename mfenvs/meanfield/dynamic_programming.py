"""Dynamic programming on tabulated transitions and rewards, compiled; shared by every solver and measure.

Arrays: policy (T, S, A), transitions P (T, S, A, S), rewards R (T, S, A), values Q (T, S, A), all float64. A
problem that ends has T = H steps and is solved by backward induction; one that goes on for ever has T = 1, a
``discount`` below 1, and is solved by linear equations and policy iteration, in the scratch array ``system`` of
:func:`linear_system`. ``temperature`` is the tau of entropy regularisation: the reward of a step gains
tau times the entropy of the policy that acts (Yardim & He, Definition 9), and tau = 0 is the plain game.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
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


@rule
def evaluate_backward(
    policy: Any, transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any
) -> None:
    """Do :func:`evaluate` over H steps, discounted; ``policy`` may be stationary, (1, S, A)."""
    last = len(policy) - 1
    horizon, n_states, n_actions = rewards.shape
    for step in range(horizon):
        h = horizon - 1 - step
        for s in range(n_states):
            bonus = temperature * entropy(policy[min(h, last), s]) if temperature > 0.0 else 0.0
            for a in range(n_actions):
                q[h, s, a] = rewards[h, s, a] + bonus
        if step > 0:
            for t in range(n_states):
                value = 0.0
                for b in range(n_actions):
                    value += policy[min(h + 1, last), t, b] * q[h + 1, t, b]
                for s in range(n_states):
                    for a in range(n_actions):
                        q[h, s, a] += discount * transitions[h, s, a, t] * value


@rule
def optimise_backward(transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any) -> None:
    """Do :func:`optimise` over H steps, discounted."""
    horizon, n_states, n_actions = rewards.shape
    for step in range(horizon):
        h = horizon - 1 - step
        for s in range(n_states):
            for a in range(n_actions):
                q[h, s, a] = rewards[h, s, a]
        if step > 0:
            for t in range(n_states):
                value = soft_maximum(q[h + 1, t], temperature)
                for s in range(n_states):
                    for a in range(n_actions):
                        q[h, s, a] += discount * transitions[h, s, a, t] * value


SETTLED = 1e-15
"""Policy iteration ends when no state gains more than this share of the largest value, times the number of states:
the rounding error of the linear equations."""
MOST_IMPROVEMENTS = 1000
"""Number of policies after which policy iteration gives up; it needs some ten."""


def linear_system(n_states: int, discount: float) -> NDArray[np.float64]:
    """Make the scratch array for the linear equations of an infinite problem, (S, S + 1), else an empty array."""
    return np.empty((n_states, n_states + 1) if discount < 1.0 else (0, 1))


@rule
def solve_linear(system: Any) -> None:
    """Solve A x = b in place: ``system`` (n, n + 1) holds A and b, and afterwards x in its last column.

    The method is elimination without pivoting, which is stable for A = I - gamma P: the matrix is diagonally
    dominant, and stays so.
    """
    n = len(system)
    for i in range(n):
        for row in range(i + 1, n):
            factor = system[row, i] / system[i, i]
            if factor != 0.0:
                for column in range(i + 1, n + 1):
                    system[row, column] -= factor * system[i, column]
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
def evaluate_forever(
    policy: Any, transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> None:
    """Do :func:`evaluate` for a stationary policy in an infinite problem, by linear equations."""
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
def optimise_forever(transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any) -> None:
    """Do :func:`optimise` for an infinite problem, by policy iteration (Howard; with entropy: Newton's method).

    Every policy is evaluated exactly, so that the number of iterations hardly depends on the discount.
    """
    _, n_states, n_actions = rewards.shape
    for s in range(n_states):
        system[s, n_states] = 0.0
    look_ahead(transitions, rewards, discount, system, q)
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


@rule
def evaluate(
    policy: Any, transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> None:
    """Write Q^{tau,pi} of a policy to ``q``: Yardim & He, Definition 9 (Q_h includes the entropy of step h).

    A discount below 1 stands for an infinite problem; ``system`` (:func:`linear_system`) is scratch.
    """
    if discount < 1.0:
        evaluate_forever(policy, transitions, rewards, temperature, discount, q, system)
    else:
        evaluate_backward(policy, transitions, rewards, temperature, 1.0, q)


@rule
def optimise(transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any) -> None:
    """Write the optimal values of the (regularised) decision problem to ``q``.

    Here ``q[h, s, a]`` leaves out the entropy of step h, so that the optimal policy is its
    greedy policy (or its softmax at this temperature) and the optimal value its soft maximum. A discount below 1
    stands for an infinite problem; ``system`` (:func:`linear_system`) is scratch.
    """
    if discount < 1.0:
        optimise_forever(transitions, rewards, temperature, discount, q, system)
    else:
        optimise_backward(transitions, rewards, temperature, 1.0, q)


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
    policy: Any, initial: Any, transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any
) -> tuple[Any, Any]:
    """Values of the best response and of the policy in a decision problem; ``q`` and ``system`` are scratch."""
    evaluate(policy, transitions, rewards, temperature, discount, q, system)
    own = policy_value(initial, policy, q)
    optimise(transitions, rewards, temperature, discount, q, system)
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


evaluate_kernel = kernel(evaluate.py_func)  # type: ignore[attr-defined]
gap_kernel = kernel(gap.py_func)  # type: ignore[attr-defined]


@kernel
def best_response_kernel(
    transitions: Any, rewards: Any, temperature: Any, discount: Any, q: Any, system: Any, policy: Any
) -> None:
    """Write optimal values to ``q`` and an optimal policy to ``policy``; ``system`` is scratch."""
    optimise(transitions, rewards, temperature, discount, q, system)
    act_optimally(q, temperature, policy)


@kernel
def evaluate_each(policies: Any, transitions: Any, rewards: Any, discount: Any, values: Any, q: Any) -> None:
    """Write the values at time 0, (n, S), of policies (1 or n, T, S, A) in n decision problems of H steps.

    ``q`` is scratch.
    """
    n_problems, _, n_states, n_actions = rewards.shape
    for i in range(n_problems):
        policy = policies[i if len(policies) > 1 else 0]
        evaluate_backward(policy, transitions[i], rewards[i], 0.0, discount, q)
        for s in range(n_states):
            values[i, s] = 0.0
            for a in range(n_actions):
                values[i, s] += policy[0, s, a] * q[0, s, a]


@kernel
def answer_each(transitions: Any, rewards: Any, discount: Any, answers: Any, q: Any) -> None:
    """Write an optimal policy of each of n decision problems of H steps to ``answers`` (n, H, S, A)."""
    for i in range(len(rewards)):
        optimise_backward(transitions[i], rewards[i], 0.0, discount, q)
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
        evaluate_backward(policy, transitions[i], rewards[i], 0.0, discount, q)
        for h in range(horizon):
            for s in range(n_states):
                own_values[i, h, s] = 0.0
                for a in range(n_actions):
                    own_values[i, h, s] += policy[min(h, len(policy) - 1), s, a] * q[h, s, a]
        optimise_backward(transitions[i], rewards[i], 0.0, discount, q)
        act_optimally(q, 0.0, best_policies[i])
        for h in range(horizon):
            for s in range(n_states):
                best_values[i, h, s] = soft_maximum(q[h, s], 0.0)
        own_values[i, horizon] = 0.0
        best_values[i, horizon] = 0.0
