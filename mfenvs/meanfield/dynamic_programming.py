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

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import at_time, index_at
from mfenvs.meanfield.bellman import act_optimally, add_expected, entropy, forbid, mean_value, soft_maximum
from mfenvs.meanfield.infinite_horizon import (
    evaluate_by_equations,
    evaluate_by_sweeps,
    optimise_by_equations,
    optimise_by_sweeps,
)
from mfenvs.rules import rule


def value_scratch(n_states: int, discount: float, *, is_sparse: bool = False) -> NDArray[np.float64]:
    """Make the scratch array of a decision problem.

    With a dense table it is (S, S + 1) for the linear equations of an infinite problem, and empty for one that
    ends; with a sparse one it is (1, S) for values.
    """
    if is_sparse:
        return np.empty((1, n_states))
    return np.empty((n_states, n_states + 1) if discount < 1.0 else (0, 1))


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
