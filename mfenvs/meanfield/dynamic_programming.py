"""Backward induction on tabulated transitions and rewards, compiled; shared by every solver and measure.

Arrays: policy (H, S, A), transitions P (H, S, A, S), rewards R (H, S, A), values Q (H, S, A), all float64.
``temperature`` is the tau of entropy regularisation: the reward of a step gains tau times the entropy of
the policy that acts (Yardim & He, Definition 9), and tau = 0 is the plain game.
"""

import math
from typing import Any

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
    """Max over laws u of <u, values> + temperature * entropy(u); the plain maximum at temperature 0."""
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
def evaluate(policy: Any, transitions: Any, rewards: Any, temperature: Any, q: Any) -> None:
    """Q^{tau,pi} of a policy into ``q``: Yardim & He, Definition 9 (the entropy of step h itself is in Q_h)."""
    horizon, n_states, n_actions = rewards.shape
    for step in range(horizon):
        h = horizon - 1 - step
        for s in range(n_states):
            bonus = temperature * entropy(policy[h, s]) if temperature > 0.0 else 0.0
            for a in range(n_actions):
                q[h, s, a] = rewards[h, s, a] + bonus
        if step > 0:
            for t in range(n_states):
                value = 0.0
                for b in range(n_actions):
                    value += policy[h + 1, t, b] * q[h + 1, t, b]
                for s in range(n_states):
                    for a in range(n_actions):
                        q[h, s, a] += transitions[h, s, a, t] * value


@rule
def optimise(transitions: Any, rewards: Any, temperature: Any, q: Any) -> None:
    """Optimal values of the (regularised) decision problem into ``q``.

    Here ``q[h, s, a]`` leaves out the entropy of step h, so that the optimal policy is its
    greedy policy (or its softmax at this temperature) and the optimal value its soft maximum.
    """
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
                        q[h, s, a] += transitions[h, s, a, t] * value


@rule
def policy_value(initial: Any, policy: Any, q: Any) -> Any:
    """V of a policy from its ``q``, averaged over the initial law (S,)."""
    total = 0.0
    for s in range(len(initial)):
        for a in range(policy.shape[2]):
            total += initial[s] * policy[0, s, a] * q[0, s, a]
    return total


@rule
def optimal_value(initial: Any, q: Any, temperature: Any) -> Any:
    """The optimal V from the ``q`` of :func:`optimise`, averaged over the initial law (S,)."""
    total = 0.0
    for s in range(len(initial)):
        total += initial[s] * soft_maximum(q[0, s], temperature)
    return total


@rule
def gap(policy: Any, initial: Any, transitions: Any, rewards: Any, temperature: Any, q: Any) -> tuple[Any, Any]:
    """Value of the best response, and of the policy, in one decision problem; ``q`` is scratch."""
    evaluate(policy, transitions, rewards, temperature, q)
    own = policy_value(initial, policy, q)
    optimise(transitions, rewards, temperature, q)
    return optimal_value(initial, q, temperature), own


@rule
def act_optimally(q: Any, temperature: Any, policy: Any) -> None:
    """The greedy policy of ``q`` (ties to the lowest action), or its softmax, into ``policy``."""
    horizon, n_states, n_actions = q.shape
    for h in range(horizon):
        for s in range(n_states):
            if temperature > 0.0:
                value = soft_maximum(q[h, s], temperature)
                for a in range(n_actions):
                    policy[h, s, a] = math.exp((q[h, s, a] - value) / temperature)
            else:
                best = 0
                for a in range(n_actions):
                    policy[h, s, a] = 0.0
                    if q[h, s, a] > q[h, s, best]:
                        best = a
                policy[h, s, best] = 1.0


evaluate_kernel = kernel(evaluate.py_func)  # type: ignore[attr-defined]


@kernel
def best_response_kernel(transitions: Any, rewards: Any, temperature: Any, q: Any, policy: Any) -> None:
    """Optimal values into ``q`` and an optimal policy into ``policy``."""
    optimise(transitions, rewards, temperature, q)
    act_optimally(q, temperature, policy)


@kernel
def solve_each(
    policies: Any,
    transitions: Any,
    rewards: Any,
    own_values: Any,
    best_values: Any,
    best_policies: Any,
    q: Any,
    first: Any,
    last: Any,
) -> None:
    """Evaluate and optimise one decision problem per agent, for the agents ``first <= i < last``.

    policies (1 or n, H, S, A), transitions (n, H, S, A, S), rewards (n, H, S, A); writes
    V of the policy and of the optimum into (n, H + 1, S) and the greedy policy into (n, H, S, A).
    """
    horizon, n_states, n_actions = rewards.shape[1:]
    for i in range(first, last):
        policy = policies[i if len(policies) > 1 else 0]
        evaluate(policy, transitions[i], rewards[i], 0.0, q)
        for h in range(horizon):
            for s in range(n_states):
                own_values[i, h, s] = 0.0
                for a in range(n_actions):
                    own_values[i, h, s] += policy[h, s, a] * q[h, s, a]
        optimise(transitions[i], rewards[i], 0.0, q)
        act_optimally(q, 0.0, best_policies[i])
        for h in range(horizon):
            for s in range(n_states):
                best_values[i, h, s] = soft_maximum(q[h, s], 0.0)
        own_values[i, horizon] = 0.0
        best_values[i, horizon] = 0.0
