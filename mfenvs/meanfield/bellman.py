"""What one step of dynamic programming is made of: values of actions, soft maxima, action masks, greedy policies.

Compiled, for tables in float64: ``values`` or a law of one state's actions (A,), or ``q`` (S, A) of one time.
"""

import math
from typing import Any

from mfenvs.engine.tabulation import index_at
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
def mean_value(law: Any, values: Any) -> Any:
    """Mean of ``values`` (A,) under a law (A,)."""
    total = 0.0
    for a in range(len(law)):
        total += law[a] * values[a]
    return total


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
