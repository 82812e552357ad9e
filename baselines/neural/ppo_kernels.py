"""The compiled loops between PPO's matrix products: activations, action probabilities, gradients of the losses."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import solver
from mfenvs.rules import rule

Floats = NDArray[np.float32]

ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)

POLICY_LOSS, ENTROPY, CLIPPED, KL, VALUE_LOSS = range(5)
"""Columns of the logged sums over rows: policy loss, entropy, clipped ratios, KL divergence and value loss."""


@solver
def add_bias_and_leaky_relu(h: Any, bias: Any, slope: Any) -> None:
    """Replace h by the leaky ReLU of h + bias; slope 0 makes it a ReLU."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            x = h[i, j] + bias[j]
            h[i, j] = x if x > ZERO else x * slope


@solver
def leaky_relu_backward(g: Any, h: Any, slope: Any, bias_gradient: Any) -> None:
    """Multiply g by the derivative of a leaky ReLU with output h; add g's column sums to the bias's gradient."""
    sums = np.zeros(h.shape[1], np.float32)
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            x = g[i, j] * (ONE if h[i, j] > ZERO else slope)
            g[i, j] = x
            sums[j] += x
    for j in range(h.shape[1]):
        bias_gradient[j] += sums[j]


@solver
def tanh_backward(g: Any, h: Any, slope: Any, bias_gradient: Any) -> None:
    """Multiply g by the derivative 1 - h^2 of tanh with output h; add g's column sums to the bias's gradient."""
    sums = np.zeros(h.shape[1], np.float32)
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            x = g[i, j] * (ONE - h[i, j] * h[i, j])
            g[i, j] = x
            sums[j] += x
    for j in range(h.shape[1]):
        bias_gradient[j] += sums[j]


@rule
def write_law(logits: Any, bias: Any, i: Any, p: Any, log_p: Any) -> Any:
    """Write the probabilities of row i of logits, to which ``bias`` is still to be added, and their logarithms.

    Returns the entropy.
    """
    n_actions = logits.shape[1]
    largest = logits[i, 0] + bias[0]
    for j in range(n_actions):
        log_p[j] = logits[i, j] + bias[j]
        largest = max(largest, log_p[j])
    total = ZERO
    for j in range(n_actions):
        log_p[j] -= largest
        p[j] = math.exp(log_p[j])
        total += p[j]
    log_total, entropy = np.float32(math.log(total)), ZERO
    for j in range(n_actions):
        log_p[j] -= log_total
        p[j] /= total
        entropy -= p[j] * log_p[j]
    return entropy


@solver
def policy_gradient(
    logits: Any,
    bias: Any,
    actions: Any,
    old_log_probs: Any,
    advantages: Any,
    clip_range: Any,
    entropy_coefficient: Any,
    row_weight: Any,
    out: Any,
    bias_gradient: Any,
    sums: Any,
) -> None:
    """Write the gradient of PPO's clipped objective and entropy bonus with respect to the logits.

    ``bias`` is still to be added to ``logits``. ``row_weight`` is 1 / minibatch size: the loss is a mean. Where
    the ratio is clipped and the clipped term is the smaller one, the objective does not depend on the logits.
    """
    n_actions = logits.shape[1]
    p, log_p = np.empty(n_actions, np.float32), np.empty(n_actions, np.float32)
    added = np.zeros(n_actions, np.float32)
    for i in range(logits.shape[0]):
        entropy = write_law(logits, bias, i, p, log_p)
        log_ratio = log_p[actions[i]] - old_log_probs[i]
        ratio = np.float32(math.exp(log_ratio))
        clipped = min(max(ratio, ONE - clip_range), ONE + clip_range)
        gain, clipped_gain = advantages[i] * ratio, advantages[i] * clipped
        sums[POLICY_LOSS] -= min(gain, clipped_gain)
        sums[ENTROPY] += entropy
        sums[CLIPPED] += abs(ratio - ONE) > clip_range
        sums[KL] += (ratio - ONE) - log_ratio
        slope = -gain * row_weight if (clipped == ratio or gain < clipped_gain) else ZERO
        for j in range(n_actions):
            x = entropy_coefficient * row_weight * p[j] * (log_p[j] + entropy) - slope * p[j]
            if j == actions[i]:
                x += slope
            out[i, j] = x
            added[j] += x
    for j in range(n_actions):
        bias_gradient[j] += added[j]


@solver
def value_gradient(
    values: Any,
    bias: Any,
    returns: Any,
    coefficient: Any,
    row_weight: Any,
    out: Any,
    bias_gradient: Any,
    sums: Any,
) -> None:
    """Write the gradient of the mean squared error of the values, to which ``bias`` is still to be added."""
    added, squares = ZERO, 0.0
    for i in range(values.shape[0]):
        error = values[i, 0] + bias[0] - returns[i]
        squares += error * error
        out[i, 0] = TWO * coefficient * row_weight * error
        added += out[i, 0]
    bias_gradient[0] += added
    sums[VALUE_LOSS] += squares


@solver
def sample_actions(logits: Any, bias: Any, draws: Any, actions: Any, log_probs: Any) -> None:
    """Sample an action for every row by inverting the cumulated probabilities; write its log-probability too.

    ``bias`` is still to be added to ``logits``; ``draws`` are uniform random numbers in [0, 1).
    """
    n_actions = logits.shape[1]
    p = np.empty(n_actions, np.float32)
    for i in range(logits.shape[0]):
        largest = logits[i, 0] + bias[0]
        for j in range(1, n_actions):
            largest = max(largest, logits[i, j] + bias[j])
        total = ZERO
        for j in range(n_actions):
            p[j] = math.exp(logits[i, j] + bias[j] - largest)
            total += p[j]
        reached, action = ZERO, 0
        for j in range(n_actions - 1):
            reached += p[j]
            action += draws[i] * total >= reached
        actions[i] = action
        log_probs[i] = logits[i, action] + bias[action] - largest - np.float32(math.log(total))


@solver
def softmax(logits: Any, bias: Any, out: Any) -> None:
    """Write the action probabilities of each row of logits, to which ``bias`` is still to be added."""
    n_actions = logits.shape[1]
    for i in range(logits.shape[0]):
        largest = logits[i, 0] + bias[0]
        for j in range(1, n_actions):
            largest = max(largest, logits[i, j] + bias[j])
        total = ZERO
        for j in range(n_actions):
            out[i, j] = math.exp(logits[i, j] + bias[j] - largest)
            total += out[i, j]
        for j in range(n_actions):
            out[i, j] /= total
