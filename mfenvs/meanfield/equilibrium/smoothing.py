"""The smoothed decision problem of the log barrier, in which every action keeps a positive probability.

For a barrier parameter eps > 0, a policy pi, values V and action values Q = R + gamma P V' satisfy

    pi(a | s) (V(s) - Q(s, a)) = eps,   sum_a pi(a | s) = 1

at every time: pi maximises sum_a pi(a) Q(a) + eps sum_a log pi(a), and the slack V - Q is how much an action loses,
up to a constant. Arrays: policy, rewards and slacks (T, S, A); values (T + 1, S) with those after the last step at
the end, or (1, S) in an infinite game, whose values are ahead of themselves; tables of transitions as in
:mod:`mfenvs.engine.tabulation`.
"""

from typing import Any

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import at_time
from mfenvs.meanfield.dynamic_programming import evaluate, mean_value
from mfenvs.rules import rule


@rule
def value_ahead(transitions: Any, successors: Any, h: Any, s: Any, a: Any, values: Any) -> Any:
    """Mean of ``values`` (S,) one step after action a in state s at time h."""
    row = at_time(transitions, h)[s, a]
    total = 0.0
    if successors is None:
        for k in range(len(row)):
            total += row[k] * values[k]
    else:
        reached = at_time(successors, h)[s, a]
        for k in range(len(row)):
            total += row[k] * values[reached[k]]
    return total


@kernel
def slacks_of(transitions: Any, successors: Any, rewards: Any, discount: Any, values: Any, slacks: Any) -> None:
    """Write V - Q to ``slacks``, with Q = R + gamma P V' of the given ``values``."""
    horizon, n_states, n_actions = rewards.shape
    for h in range(horizon):
        ahead = values[h] if discount < 1.0 else values[h + 1]
        for s in range(n_states):
            for a in range(n_actions):
                mean = value_ahead(transitions, successors, h, s, a, ahead)
                slacks[h, s, a] = values[h, s] - rewards[h, s, a] - discount * mean


@kernel
def values_of(policy: Any, arrays: Any, eps: Any, q: Any, values: Any, slacks: Any) -> None:
    """Write the values V = sum_a pi Q + A eps of a policy, and its slacks, against the flow of ``arrays``.

    These are the equations of the smoothed problem summed over actions. ``q`` (T, S, A) is scratch.
    """
    horizon, n_states, n_actions = policy.shape
    discount = arrays.discount
    evaluate(policy, arrays.transitions, arrays.successors, arrays.rewards, 0.0, discount, q, arrays.values)
    for h in range(horizon):
        # What the barrier adds from here on.
        bonus = n_actions * eps * (horizon - h) if discount == 1.0 else n_actions * eps / (1.0 - discount)
        for s in range(n_states):
            own = mean_value(policy[h, s], q[h, s])
            values[h, s] = own + bonus
            for a in range(n_actions):
                slacks[h, s, a] = own - q[h, s, a] + n_actions * eps
    if discount == 1.0:
        values[horizon] = 0.0
