"""Dynamic programming for many decision problems of H steps at once, as those of single agents; compiled.

Arrays have one problem per index on their first axis: transitions (n, H, S, A, S) and rewards (n, H, S, A), both
float64. There is no entropy regularisation. Optimal policies take actions that are ``allowed``: an array of shape
(1 or n, T, S, A) with T = 1 or H, or None, which allows all.
"""

from typing import Any

from mfenvs.engine.compile import kernel
from mfenvs.meanfield.bellman import act_optimally, soft_maximum
from mfenvs.meanfield.dynamic_programming import evaluate_backward, optimise_backward
from mfenvs.rules import rule


@rule
def _allowed_in(allowed: Any, problem: Any) -> Any:
    if allowed is None:
        return None
    return allowed[min(problem, len(allowed) - 1)]


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
def answer_each(transitions: Any, rewards: Any, allowed: Any, discount: Any, answers: Any, q: Any) -> None:
    """Write an optimal policy of each of n decision problems of H steps to ``answers`` (n, H, S, A)."""
    for i in range(len(rewards)):
        optimise_backward(transitions[i], None, rewards[i], _allowed_in(allowed, i), 0.0, discount, q, q)
        act_optimally(q, 0.0, answers[i])


@kernel
def solve_each(
    policies: Any,
    transitions: Any,
    rewards: Any,
    allowed: Any,
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
        optimise_backward(transitions[i], None, rewards[i], _allowed_in(allowed, i), 0.0, discount, q, q)
        act_optimally(q, 0.0, best_policies[i])
        for h in range(horizon):
            for s in range(n_states):
                best_values[i, h, s] = soft_maximum(q[h, s], 0.0)
        own_values[i, horizon] = 0.0
        best_values[i, horizon] = 0.0
