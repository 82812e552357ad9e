"""Compiled operations on the tables of all runs' policies, shape (R, S, A), in single precision."""

import math
from typing import Any

import numpy as np

from mfenvs.engine.compile import kernel


@kernel
def cumulate(probabilities: Any, cumulated: Any) -> None:
    """Write probabilities (R, S, A), cumulated over actions, to ``cumulated``.

    Entries that reach the total are set to 2, above every draw: rounding can never select an action of probability
    zero behind the last possible one.
    """
    n_runs, n_states, n_actions = probabilities.shape
    for r in range(n_runs):
        for s in range(n_states):
            total = np.float32(0.0)
            for a in range(n_actions):
                total += probabilities[r, s, a]
                cumulated[r, s, a] = total
            a = n_actions - 1
            while a >= 0 and cumulated[r, s, a] >= total:
                cumulated[r, s, a] = np.float32(2.0)
                a -= 1


@kernel
def threshold_tables(levels: Any, thresholds: Any, is_above: Any, out: Any) -> None:
    """Write the policies of thresholds (R, d), in states at ``levels`` (S, d), to ``out`` (R, S, 2^d).

    Bit j of the action is 1 if and only if coordinate j is at or above its threshold; the other way round unless
    ``is_above``.
    """
    out[:] = np.float32(0.0)
    for r in range(len(thresholds)):
        for s in range(len(levels)):
            action = 0
            for j in range(levels.shape[1]):
                if (levels[s, j] >= thresholds[r, j]) == is_above:
                    action += 1 << j
            out[r, s, action] = np.float32(1.0)


@kernel
def softmax(logits: Any, out: Any) -> None:
    """Write the softmax over actions of logits (R, S, A) to ``out``, which may be ``logits``."""
    n_runs, n_states, n_actions = logits.shape
    for r in range(n_runs):
        for s in range(n_states):
            most = logits[r, s, 0]
            for a in range(1, n_actions):
                most = max(most, logits[r, s, a])
            total = np.float32(0.0)
            for a in range(n_actions):
                out[r, s, a] = math.exp(logits[r, s, a] - most)
                total += out[r, s, a]
            scale = np.float32(1.0) / total
            for a in range(n_actions):
                out[r, s, a] *= scale


@kernel
def logit_gradient(probabilities: Any, weights: Any) -> None:
    """Turn probabilities, in place, into the derivatives of sum_a weights[a] log pi(a) by the logits of pi.

    They are weights[a] - pi(a) sum_b weights[b].
    """
    n_runs, n_states, n_actions = probabilities.shape
    for r in range(n_runs):
        for s in range(n_states):
            total = 0.0
            for a in range(n_actions):
                total += weights[r, s, a]
            for a in range(n_actions):
                probabilities[r, s, a] = weights[r, s, a] - probabilities[r, s, a] * total
