"""Compiled PPO updates of many agents with separate networks, one agent after the other.

In an update agents do not depend on each other, so that all optimiser steps of one agent are taken before those of
the next: its parameters, gradient and Adam's moments (0.8 MB with the networks of Yardim & He) stay in the core's
cache, whereas steps for all agents at a time would pass everything through memory in every step. The loops between
the matrix products are those of :mod:`baselines.neural.ppo_kernels`.
"""

from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.compile import solver

from .adam import adam
from .ppo_kernels import (
    ONE,
    ZERO,
    Floats,
    add_bias_and_leaky_relu,
    leaky_relu_backward,
    policy_gradient,
    sample_actions,
    tanh_backward,
    value_gradient,
)
from .small_products import multiply, multiply_transposed

TANH = np.float32(-1.0)
"""Value of the argument ``slope`` that stands for tanh; others are the slope below zero of a (leaky) ReLU."""


class Trajectories(NamedTuple):
    """A rollout by agent: the rows of an agent are its steps in all worlds."""

    observations: Any
    """What the agents observed, shape (n_rows, n_agents, n_features)."""
    actions: Any
    """Indices of the actions, shape (n_rows, n_agents), as of all fields below."""
    log_probs: Any
    """Log-probabilities of the actions under the policies that drew them."""
    advantages: Any
    returns: Any
    """Targets of the value estimates."""


class Settings(NamedTuple):
    """Hyper-parameters of an update, in the precision in which kernels compute."""

    minibatch_size: int
    """Rows of one agent in a minibatch; the last one of a pass may be smaller."""
    normalise_advantages: bool
    clip_range: np.float32
    entropy_weight: np.float32
    value_weight: np.float32
    max_gradient_norm: np.float32
    learning_rate: float
    # Adam's are in double precision: 1 - float32(0.999) is off by 1e-5.
    beta1: float
    beta2: float
    epsilon: np.float32


class Scratch(NamedTuple):
    """Buffers for one agent's rows; buffers that are cut to several shapes have one axis for all numbers."""

    gradient: Floats
    """Gradient of all parameters, (n_parameters,)."""
    inputs: Floats
    """Observations of the agent's rows, (n_rows, n_features)."""
    batch_inputs: Floats
    """Observations of a minibatch, (minibatch_size * n_features,)."""
    outputs: Floats
    """Outputs of the layers, (n_layers, minibatch_size * width), ``width`` being that of the widest layer."""
    output_gradients: Floats
    """Gradients of the layers' outputs, with the same shape."""
    transposed_gradient: Floats
    """Transposed gradient of a layer's output, (minibatch_size * width,)."""
    transposed_input_gradient: Floats
    """Transposed gradient of a layer's input, (minibatch_size * width,)."""


@solver
def add_bias_and_tanh(h: Any, bias: Any) -> None:
    """Replace h by tanh(h + bias)."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = np.tanh(h[i, j] + bias[j])


@solver
def forward(p: Any, layers: Any, x: Any, outputs: Any, slope: Any) -> Any:
    """The product of the last layer's input with its weights, without its bias.

    The outputs of all layers are written to ``outputs``.
    """
    n_rows, last, h = x.shape[0], layers.shape[0] - 1, x
    for k in range(last + 1):
        n_in, n_out, weights, bias = layers[k]
        out = outputs[k, : n_rows * n_out].reshape(n_rows, n_out)
        multiply(h, p[weights : weights + n_in * n_out].reshape(n_in, n_out), out)
        if k < last:
            if slope >= ZERO:
                add_bias_and_leaky_relu(out, p[bias : bias + n_out], slope)
            else:
                add_bias_and_tanh(out, p[bias : bias + n_out])
        h = out
    return h


@solver
def transpose(a: Any, out: Any) -> None:
    """Write the transpose of a matrix."""
    for j in range(a.shape[1]):
        for i in range(a.shape[0]):
            out[j, i] = a[i, j]


@solver
def backward(p: Any, g: Any, layers: Any, x: Any, scratch: Any, slope: Any) -> None:
    """Write the gradients of one network's weights, and add those of its hidden layers' biases.

    ``scratch`` holds the outputs that :func:`forward` wrote, and the gradient of the last layer's output.
    """
    n_rows = x.shape[0]
    for k in range(layers.shape[0] - 1, -1, -1):
        n_in, n_out, weights, _ = layers[k]
        by_output = scratch.output_gradients[k, : n_rows * n_out].reshape(n_rows, n_out)
        by_weights = g[weights : weights + n_in * n_out].reshape(n_in, n_out)
        if k == 0:
            multiply_transposed(x, by_output, by_weights)
            continue
        h = scratch.outputs[k - 1, : n_rows * n_in].reshape(n_rows, n_in)
        multiply_transposed(h, by_output, by_weights)
        # g W^T as the transpose of W g^T, since W is in the order of memory then.
        transposed_gradient = scratch.transposed_gradient[: n_out * n_rows].reshape(n_out, n_rows)
        transpose(by_output, transposed_gradient)
        transposed_input_gradient = scratch.transposed_input_gradient[: n_in * n_rows].reshape(n_in, n_rows)
        multiply(
            p[weights : weights + n_in * n_out].reshape(n_in, n_out),
            transposed_gradient,
            transposed_input_gradient,
        )
        by_input = scratch.output_gradients[k - 1, : n_rows * n_in].reshape(n_rows, n_in)
        transpose(transposed_input_gradient, by_input)
        bias = layers[k - 1, 3]
        if slope >= ZERO:
            leaky_relu_backward(by_input, h, slope, g[bias : bias + n_in])
        else:
            tanh_backward(by_input, h, slope, g[bias : bias + n_in])


@solver
def clear_biases(g: Any, layers: Any) -> None:
    """Set the gradients of the biases to zero: they are added up, those of weights are written."""
    for k in range(layers.shape[0]):
        g[layers[k, 3] : layers[k, 3] + layers[k, 1]] = ZERO


@solver
def normalise(x: Any) -> None:
    """Replace x by (x - mean) / standard deviation."""
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
def update_networks(
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
    """Update every agent's networks by PPO from the agent's own rows.

    Parameters
    ----------
    parameters, first_moments, second_moments:
        Shape (n_agents, n_parameters), changed in place.
    step:
        Number of steps that Adam has taken.
    policy, value:
        The layers of both networks: number of inputs, number of outputs, first index of the weights and of the
        biases among the parameters, shape (n_layers, 4).
    trajectories:
        The rollouts, :class:`Trajectories`.
    orders:
        The order in which each agent's rows are taken in each pass, shape (n_agents, n_passes, n_rows).
    settings:
        Hyper-parameters, :class:`Settings`.
    slope:
        Slope of the activation below zero, or ``TANH``.
    scratch:
        Buffers, :class:`Scratch`.
    sums:
        Array to which the logged sums over all rows are added, shape (n_passes, 5); the columns are those of
        :mod:`baselines.neural.ppo_kernels`.
    """
    observations = trajectories.observations
    n_rows, n_agents, n_features = observations.shape
    size = min(settings.minibatch_size, n_rows)
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
                if settings.normalise_advantages and n > 1:
                    normalise(batch[1, :n])
                row_weight = ONE / np.float32(n)
                clear_biases(g, policy)
                policy_gradient(
                    forward(p, policy, x, scratch.outputs, slope),
                    p[policy_bias],
                    batch_actions,
                    batch[0],
                    batch[1],
                    settings.clip_range,
                    settings.entropy_weight,
                    row_weight,
                    scratch.output_gradients[policy.shape[0] - 1, : n * policy_head[1]].reshape(n, policy_head[1]),
                    g[policy_bias],
                    sums[which],
                )
                backward(p, g, policy, x, scratch, slope)
                clear_biases(g, value)
                value_gradient(
                    forward(p, value, x, scratch.outputs, slope),
                    p[value_bias],
                    batch[2],
                    settings.value_weight,
                    row_weight,
                    scratch.output_gradients[value.shape[0] - 1, :n].reshape(n, 1),
                    g[value_bias],
                    sums[which],
                )
                backward(p, g, value, x, scratch, slope)
                scale = min(settings.max_gradient_norm / (np.sqrt(np.dot(g, g)) + np.float32(1e-6)), ONE)
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
        As in :func:`update_networks`, the layers being the policy's.
    observations:
        Shape (n_worlds, n_agents, n_features).
    draws:
        Uniform random numbers, shape (n_worlds * n_agents,).
    hidden:
        A buffer, shape (2, width).
    actions, log_probs:
        Arrays to which the result is written, shape (n_worlds * n_agents,).
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
