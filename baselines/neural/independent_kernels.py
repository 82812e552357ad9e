"""PPO of many agents with networks of their own, compiled: one agent after the other.

Agents do not meet in an update, so one agent's optimiser steps are all taken before the next agent's: its
parameters, gradient and Adam's moments (.8 MB with Table 2's networks) stay in the core's cache, whereas steps for
all agents at a time would pass everything through memory in every step. What lies between the matrix products is
that of :mod:`baselines.neural.ppo_kernels`.
"""

from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.compile import solver

from .ppo_kernels import (
    ONE,
    ZERO,
    Floats,
    add_bias_and_leak,
    back_through_leak,
    back_through_tanh,
    policy_gradient,
    sample_actions,
    value_gradient,
)

TANH = np.float32(-1.0)
"""Stands for tanh where a kernel takes the slope below zero of a (leaky) ReLU."""


class Trajectories(NamedTuple):
    """What was collected: (n_rows, n_agents) each, the rows of one agent being its steps in all worlds."""

    observations: Any
    """With the features as a third axis."""
    actions: Any
    log_probs: Any
    advantages: Any
    returns: Any


class Settings(NamedTuple):
    """The hyper-parameters of an update, in the precision in which kernels compute."""

    minibatch: int
    """Rows of one agent; the last minibatch of a pass may be smaller."""
    normalise: bool
    clip_range: np.float32
    entropy: np.float32
    value: np.float32
    max_norm: np.float32
    learning_rate: float
    # In double precision: 1 - float32(.999) is off by 1e-5.
    beta1: float
    beta2: float
    eps: np.float32


class Scratch(NamedTuple):
    """Buffers for one agent's rows, in one dimension where they are cut to different shapes."""

    gradient: Floats
    """(n_parameters,)"""
    inputs: Floats
    """(n_rows, n_features)"""
    batch_inputs: Floats
    outputs: Floats
    """(n_layers, minibatch * width), width being that of the widest layer"""
    gradients: Floats
    """The same."""
    turned: Floats
    """(minibatch * width,)"""
    turned_back: Floats


@solver
def add_bias_and_tanh(h: Any, bias: Any) -> None:
    """H <- tanh of h + bias, in place."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = np.tanh(h[i, j] + bias[j])


@solver
def forward(p: Any, layers: Any, x: Any, outputs: Any, slope: Any) -> Any:
    """The last layer's product with its weights, without its bias; activations of the others go to ``outputs``."""
    n_rows, last, h = x.shape[0], layers.shape[0] - 1, x
    for k in range(last + 1):
        n_in, n_out, weights, bias = layers[k]
        out = outputs[k, : n_rows * n_out].reshape(n_rows, n_out)
        np.dot(h, p[weights : weights + n_in * n_out].reshape(n_in, n_out), out)
        if k < last:
            if slope >= ZERO:
                add_bias_and_leak(out, p[bias : bias + n_out], slope)
            else:
                add_bias_and_tanh(out, p[bias : bias + n_out])
        h = out
    return h


@solver
def transpose(a: Any, out: Any) -> None:
    """Write the transpose."""
    for j in range(a.shape[1]):
        for i in range(a.shape[0]):
            out[j, i] = a[i, j]


@solver
def backward(p: Any, g: Any, layers: Any, x: Any, scratch: Any, slope: Any) -> None:
    """Write the gradients of one network's weights, and add those of its hidden layers' biases.

    ``scratch`` holds what :func:`forward` left, and the gradient of the last layer's output.
    """
    n_rows = x.shape[0]
    for k in range(layers.shape[0] - 1, -1, -1):
        n_in, n_out, weights, _ = layers[k]
        by_output = scratch.gradients[k, : n_rows * n_out].reshape(n_rows, n_out)
        by_weights = g[weights : weights + n_in * n_out].reshape(n_in, n_out)
        if k == 0:
            np.dot(x.T, by_output, by_weights)
            continue
        h = scratch.outputs[k - 1, : n_rows * n_in].reshape(n_rows, n_in)
        np.dot(h.T, by_output, by_weights)
        # g W^T as the transpose of W g^T: with 16 rows the product with a transposed W takes 2.4 times as long.
        turned = scratch.turned[: n_out * n_rows].reshape(n_out, n_rows)
        transpose(by_output, turned)
        turned_back = scratch.turned_back[: n_in * n_rows].reshape(n_in, n_rows)
        np.dot(p[weights : weights + n_in * n_out].reshape(n_in, n_out), turned, turned_back)
        by_input = scratch.gradients[k - 1, : n_rows * n_in].reshape(n_rows, n_in)
        transpose(turned_back, by_input)
        bias = layers[k - 1, 3]
        if slope >= ZERO:
            back_through_leak(by_input, h, slope, g[bias : bias + n_in])
        else:
            back_through_tanh(by_input, h, slope, g[bias : bias + n_in])


@solver
def clear_biases(g: Any, layers: Any) -> None:
    """Set the gradients of the biases to zero: they are added up, those of weights are written."""
    for k in range(layers.shape[0]):
        g[layers[k, 3] : layers[k, 3] + layers[k, 1]] = ZERO


@solver
def normalise(x: Any) -> None:
    """X <- x less its mean, over its standard deviation."""
    mean = 0.0
    for i in range(x.shape[0]):
        mean += x[i]
    mean /= x.shape[0]
    squares = 0.0
    for i in range(x.shape[0]):
        squares += (x[i] - mean) ** 2
    scale = 1.0 / (np.sqrt(squares / (x.shape[0] - 1)) + 1e-8)
    for i in range(x.shape[0]):
        x[i] = (x[i] - mean) * scale


@solver
def adam(p: Any, g: Any, m: Any, v: Any, scale: Any, step: Any, settings: Any) -> None:
    """One step of ``torch.optim.Adam``, in place; the gradient is ``scale`` times ``g``."""
    new1, new2 = np.float32(1.0 - settings.beta1), np.float32(1.0 - settings.beta2)
    old2, eps = np.float32(settings.beta2), settings.eps
    size = np.float32(settings.learning_rate / (1.0 - settings.beta1**step))
    correction = np.float32(1.0 / np.sqrt(1.0 - settings.beta2**step))
    for i in range(p.shape[0]):
        x = g[i] * scale
        mean = m[i] + new1 * (x - m[i])
        square = old2 * v[i] + new2 * x * x
        m[i], v[i] = mean, square
        p[i] -= size * mean / (np.sqrt(square) * correction + eps)


@solver
def improve(
    parameters: Any,
    first_moments: Any,
    second_moments: Any,
    step: Any,
    policy: Any,
    value: Any,
    trajectories: Any,
    orders: Any,
    settings: Any,
    slope: Any,
    scratch: Any,
    sums: Any,
) -> None:
    """PPO's update of every agent from its own rows.

    Parameters
    ----------
    parameters, first_moments, second_moments:
        Shape (n_agents, n_parameters), changed in place.
    step:
        How many steps Adam has taken.
    policy, value:
        The layers: inputs, outputs, where the weights begin and where the biases, (n_layers, 4).
    trajectories:
        The rollouts, :class:`Trajectories`.
    orders:
        In which order rows are taken, shape (n_agents, n_passes, n_rows).
    settings, slope, scratch:
        Hyper-parameters; of the activation below zero, or ``TANH``; buffers.
    sums:
        What is added up for the log, shape (n_passes, 5).
    """
    observations = trajectories.observations
    n_rows, n_agents, n_features = observations.shape
    size = min(settings.minibatch, n_rows)
    rollout = np.empty((3, n_rows), np.float32)
    batch = np.empty((3, size), np.float32)
    actions, batch_actions = np.empty(n_rows, np.int64), np.empty(size, np.int64)
    policy_head, value_head = policy[-1], value[-1]
    g, inputs = scratch.gradient, scratch.inputs
    for agent in range(n_agents):
        p, m, v = parameters[agent], first_moments[agent], second_moments[agent]
        policy_bias = slice(policy_head[3], policy_head[3] + policy_head[1])
        value_bias = slice(value_head[3], value_head[3] + 1)
        for row in range(n_rows):
            inputs[row] = observations[row, agent]
            actions[row] = trajectories.actions[row, agent]
            rollout[0, row] = trajectories.log_probs[row, agent]
            rollout[1, row] = trajectories.advantages[row, agent]
            rollout[2, row] = trajectories.returns[row, agent]
        taken = step
        for which in range(orders.shape[1]):
            for first in range(0, n_rows, size):
                n = min(size, n_rows - first)
                x = scratch.batch_inputs[: n * n_features].reshape(n, n_features)
                for i in range(n):
                    row = orders[agent, which, first + i]
                    x[i] = inputs[row]
                    batch_actions[i] = actions[row]
                    for k in range(3):
                        batch[k, i] = rollout[k, row]
                if settings.normalise and n > 1:
                    normalise(batch[1, :n])
                per_row = ONE / np.float32(n)
                clear_biases(g, policy)
                policy_gradient(
                    forward(p, policy, x, scratch.outputs, slope),
                    p[policy_bias],
                    batch_actions,
                    batch[0],
                    batch[1],
                    settings.clip_range,
                    settings.entropy,
                    per_row,
                    scratch.gradients[policy.shape[0] - 1, : n * policy_head[1]].reshape(n, policy_head[1]),
                    g[policy_bias],
                    sums[which],
                )
                backward(p, g, policy, x, scratch, slope)
                clear_biases(g, value)
                value_gradient(
                    forward(p, value, x, scratch.outputs, slope),
                    p[value_bias],
                    batch[2],
                    settings.value,
                    per_row,
                    scratch.gradients[value.shape[0] - 1, :n].reshape(n, 1),
                    g[value_bias],
                    sums[which],
                )
                backward(p, g, value, x, scratch, slope)
                scale = min(settings.max_norm / (np.sqrt(np.dot(g, g)) + np.float32(1e-6)), ONE)
                taken += 1
                adam(p, g, m, v, scale, taken, settings)


@solver
def add_product(x: Any, w: Any, out: Any) -> None:
    """Add x W to ``out``; rows of W whose input is 0 are not read."""
    for i in range(x.shape[0]):
        factor = x[i]
        if factor != ZERO:
            for j in range(out.shape[0]):
                out[j] += factor * w[i, j]


@solver
def activate(h: Any, slope: Any) -> None:
    """Apply the activation in place."""
    for j in range(h.shape[0]):
        if slope >= ZERO:
            h[j] = h[j] if h[j] > ZERO else h[j] * slope
        else:
            h[j] = np.tanh(h[j])


@solver
def act(
    parameters: Any,
    layers: Any,
    observations: Any,
    draws: Any,
    slope: Any,
    hidden: Any,
    actions: Any,
    log_probs: Any,
) -> None:
    """Sample an action for every row from its agent's own policy.

    Parameters
    ----------
    parameters, layers, slope:
        As in :func:`improve`, the layers being the policy's.
    observations:
        Shape (n_worlds, n_agents, n_features).
    draws:
        Uniform random numbers, shape (n_worlds * n_agents,).
    hidden:
        A buffer, shape (2, width).
    actions, log_probs:
        What is written, shape (n_worlds * n_agents,).
    """
    n_worlds, n_agents, _ = observations.shape
    last = layers.shape[0] - 1
    logits = np.empty((n_worlds * n_agents, layers[last, 1]), np.float32)
    for agent in range(n_agents):
        p = parameters[agent]
        for world in range(n_worlds):
            x = observations[world, agent]
            for k in range(last + 1):
                n_in, n_out, weights, bias = layers[k]
                out = hidden[k % 2, :n_out]
                out[:] = p[bias : bias + n_out]
                add_product(x, p[weights : weights + n_in * n_out].reshape(n_in, n_out), out)
                if k < last:
                    activate(out, slope)
                x = out
            logits[world * n_agents + agent] = x
    sample_actions(logits, np.zeros(layers[last, 1], np.float32), draws, actions, log_probs)
