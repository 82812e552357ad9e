"""The smoothed decision problem of the log barrier, in which every action keeps a positive probability.

For a barrier parameter eps > 0 and a reference policy rho, a policy pi, values V and action values
Q = R + gamma P V' satisfy

    pi(a | s) (V(s) - Q(s, a)) = eps rho(a | s),   sum_a pi(a | s) = 1

at every time: pi maximises sum_a pi(a) Q(a) + eps sum_a rho(a) log pi(a), and the slack V - Q is how much an
action loses, up to a constant. Arrays: policy, rewards and slacks (T, S, A); values (T + 1, S) with those after
the last step at the end, or (1, S) in an infinite game, whose values are ahead of themselves.
"""

from typing import Any

from mfenvs.engine.compile import kernel
from mfenvs.meanfield.bellman import mean_value
from mfenvs.meanfield.dynamic_programming import evaluate


@kernel
def values_of(policy: Any, arrays: Any, eps: Any, q: Any, values: Any, slacks: Any) -> None:
    """Write the values V = sum_a pi Q + eps of a policy, and its slacks, against the flow of ``arrays``.

    These are the equations of the smoothed problem summed over actions. ``q`` (T, S, A) is scratch.
    """
    horizon, n_states, n_actions = policy.shape
    discount = arrays.discount
    evaluate(policy, arrays.transitions, arrays.successors, arrays.rewards, 0.0, discount, q, arrays.values)
    for h in range(horizon):
        # What the barrier adds from here on.
        bonus = eps * (horizon - h) if discount == 1.0 else eps / (1.0 - discount)
        for s in range(n_states):
            own = mean_value(policy[h, s], q[h, s])
            values[h, s] = own + bonus
            for a in range(n_actions):
                slacks[h, s, a] = own - q[h, s, a] + eps
    if discount == 1.0:
        values[horizon] = 0.0
