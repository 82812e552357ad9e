"""Policies from Q values: argmax-e and softmax_c (Guo et al., arXiv 1901.09585)."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.meanfield.bellman import act_optimally
from mfenvs.rules import rule

TIE = 1e-10
"""Relative tolerance within which two values count as equal, so that rounding does not break ties."""


@rule
def respond_rule(q: Any, inverse_temperature: Any, policy: Any) -> None:
    """Write softmax_c of Q (T, S, A) to ``policy``; argmax-e if the inverse temperature c is infinite."""
    if inverse_temperature < math.inf:
        act_optimally(q, 1.0 / inverse_temperature, policy)
        return
    horizon, n_states, n_actions = q.shape
    for h in range(horizon):
        for s in range(n_states):
            best = q[h, s, 0]
            for a in range(n_actions):
                best = max(best, q[h, s, a])
            lowest = best - TIE * max(1.0, abs(best))
            n_best = 0
            for a in range(n_actions):
                n_best += q[h, s, a] >= lowest
            for a in range(n_actions):
                policy[h, s, a] = 1.0 / n_best if q[h, s, a] >= lowest else 0.0


respond_kernel = kernel(respond_rule.py_func)  # type: ignore[attr-defined]


def respond(q: ArrayLike, inverse_temperature: float = math.inf) -> NDArray[np.float64]:
    """Make a policy from values: softmax_c(x)_i = exp(c x_i) / sum_j exp(c x_j), or argmax-e.

    Parameters
    ----------
    q:
        Values, shape (..., A): finite, or -infinity for an action that is not to be taken.
    inverse_temperature:
        The factor c > 0 on the values. Infinity stands for argmax-e: the maximisers (values within a relative
        1e-10 of the largest) have equal probability.

    Returns
    -------
    Probabilities, shape (..., A).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    values = checks.shaped("q", q, np.shape(q), np.float64)
    is_fine = np.isfinite(values) | (values == -math.inf)
    if values.ndim < 1 or not values.size or not (is_fine.all() and np.isfinite(values.max(axis=-1)).all()):
        raise ValueError(f"q must hold finite values over at least one action, got {q!r}")
    if inverse_temperature != math.inf:
        inverse_temperature = checks.real("inverse_temperature", inverse_temperature, 0.0, exclude_low=True)
    table = np.ascontiguousarray(values.reshape(1, -1, values.shape[-1]))
    policy = np.empty(table.shape)
    respond_kernel(table, inverse_temperature, policy)
    return policy.reshape(values.shape)
