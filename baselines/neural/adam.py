"""Steps of Adam with clipped gradients, compiled: for small networks torch's take longer than the gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mfenvs.engine.compile import solver


class AdamSettings(NamedTuple):
    """Hyper-parameters of Adam."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: np.float32


@solver
def adam(p: Any, g: Any, m: Any, v: Any, scale: Any, step: Any, settings: Any) -> None:
    """One step of ``torch.optim.Adam``, in place; the gradient is ``scale`` times ``g``.

    ``settings`` has the attributes of :class:`AdamSettings`.
    """
    new1, new2 = np.float32(1.0 - settings.beta1), np.float32(1.0 - settings.beta2)
    old2, eps = np.float32(settings.beta2), settings.epsilon
    size = np.float32(settings.learning_rate / (1.0 - settings.beta1**step))
    correction = np.float32(1.0 / np.sqrt(1.0 - settings.beta2**step))
    for i in range(p.shape[0]):
        x = g[i] * scale
        mean = m[i] + new1 * (x - m[i])
        square = old2 * v[i] + new2 * x * x
        m[i], v[i] = mean, square
        p[i] -= size * mean / (np.sqrt(square) * correction + eps)


def clip_and_step(
    parameters: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer, max_gradient_norm: float
) -> None:
    """Clip the norm of the gradient, as torch's ``clip_grad_norm_`` does, and take a step of the optimiser.

    Steps of plain Adam on the CPU are taken in compiled code; gradients are then left as they are. All others are
    left to torch.

    Parameters
    ----------
    parameters:
        All parameters of the optimiser, each with a gradient.
    optimizer:
        The optimiser, whose state is that of torch.
    max_gradient_norm:
        Largest norm of the gradient.
    """
    states = [optimizer.state.get(parameter) for parameter in parameters]
    if not all(states) or not is_plain_adam(optimizer):  # torch makes the state in the first step
        nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
        optimizer.step()
        return
    gradients = [parameter.grad for parameter in parameters]
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    scale = max_gradient_norm / (norm + 1e-6)
    scale = np.float32(scale if scale < 1.0 or math.isnan(scale) else 1.0)
    group = optimizer.param_groups[0]
    settings = AdamSettings(float(group["lr"]), *(float(b) for b in group["betas"]), np.float32(group["eps"]))
    torch._foreach_add_([state["step"] for state in states], 1)
    for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
        adam(
            parameter.detach().view(-1).numpy(),
            gradient.view(-1).numpy(),
            state["exp_avg"].view(-1).numpy(),
            state["exp_avg_sq"].view(-1).numpy(),
            scale,
            float(state["step"]),
            settings,
        )


OTHER_KINDS = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "weight_decay")
"""Options of torch's Adam that change what a step does."""


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step of an optimiser is one of Adam without options and without anyone's hooks, on the CPU."""
    if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) != 1:
        return False
    group = optimizer.param_groups[0]
    return (
        not any(group.get(option) for option in OTHER_KINDS)
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
        and "step" not in vars(optimizer)  # schedulers of torch put one there
        and all(
            parameter.device.type == "cpu" and parameter.dtype == torch.float32 and parameter.is_contiguous()
            for parameter in group["params"]
        )
    )
