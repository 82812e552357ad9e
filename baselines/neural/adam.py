"""Steps of Adam with clipped gradients, compiled: for small networks torch's take longer than the gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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


class ClippedSteps:
    """Steps of an optimiser with the norm of the gradient clipped, as by torch's ``clip_grad_norm_``.

    Steps of plain Adam on the CPU are taken in compiled code, which leaves gradients as they are. All others, and
    the first one, in which an optimiser makes its state, are left to torch.

    Parameters
    ----------
    parameters:
        All parameters of the optimiser.
    optimizer:
        The optimiser. Its learning rate, the tensors of its state and those of the gradients must stay the same.
    max_gradient_norm:
        Largest norm of the gradient.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer, max_gradient_norm: float
    ) -> None:
        self._parameters, self._optimizer = parameters, optimizer
        self._max_gradient_norm = max_gradient_norm
        self._tensors: _Tensors | None = None

    def step(self) -> None:
        """Clip the gradient and take a step."""
        if self._tensors is None:
            self._tensors = _tensors_of(self._parameters, self._optimizer)
        if self._tensors is None:
            nn.utils.clip_grad_norm_(self._parameters, self._max_gradient_norm)
            self._optimizer.step()
            return
        found = self._tensors
        # NumPy, since torch's calls on a dozen small tensors take longer than the gradients of few observations.
        norm = math.sqrt(sum(float(np.dot(gradient, gradient)) for _, gradient, _, _ in found.arrays))
        scale = self._max_gradient_norm / (norm + 1e-6)
        clipped = np.float32(scale if scale < 1.0 or math.isnan(scale) else 1.0)
        for step in found.steps:
            step += 1
        taken = float(found.steps[0][0])
        for parameter, gradient, first, second in found.arrays:
            adam(parameter, gradient, first, second, clipped, taken, found.settings)


class _Tensors(NamedTuple):
    """What compiled steps read and write."""

    steps: list[NDArray[np.float32]]
    """The optimiser's number of steps, one for each parameter, shape (1,)."""
    arrays: list[list[NDArray[np.float32]]]
    """Each parameter, its gradient and Adam's first and second moment, flat."""
    settings: AdamSettings


def _tensors_of(parameters: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer) -> _Tensors | None:
    """What compiled steps read and write; None if torch must take the next step."""
    states = [optimizer.state.get(parameter) for parameter in parameters]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not all(states) or len(gradients) < len(parameters) or not is_plain_adam(optimizer):
        return None
    steps = [state["step"] for state in states if state]
    if len({float(step) for step in steps}) != 1:
        return None
    moments = [(state["exp_avg"], state["exp_avg_sq"]) for state in states if state]
    tensors = zip(parameters, gradients, moments, strict=True)
    arrays = [[x.detach().view(-1).numpy() for x in (p, g, *both)] for p, g, both in tensors]
    group = optimizer.param_groups[0]
    first, second = group["betas"]
    settings = AdamSettings(float(group["lr"]), float(first), float(second), np.float32(group["eps"]))
    return _Tensors([step.view(1).numpy() for step in steps], arrays, settings)


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
