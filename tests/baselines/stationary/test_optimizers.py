"""Ascent steps, compared with torch's ADAM and by hand."""

import numpy as np
import torch
from numpy.testing import assert_allclose

from baselines.stationary.optimizers import adam_step, sgd_step


def test_adam_is_torch_s() -> None:
    rng = np.random.default_rng(1)
    theta, moments = np.zeros((2, 3)), np.zeros((2, 2, 3))
    parameter = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=0.03, maximize=True)
    for iteration in range(5):
        gradient = rng.normal(size=(2, 3))
        step, moments = adam_step(gradient, moments, iteration, 0.03)
        theta = theta + step
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        assert_allclose(theta, parameter.detach(), rtol=1e-12)


def test_steps_along_the_gradient_decrease() -> None:
    gradient = np.array([[2.0, -4.0]])
    assert_allclose(sgd_step(gradient, 0, 0.5, 0.75), [[1.0, -2.0]])
    assert_allclose(sgd_step(gradient, 15, 0.5, 0.75), [[0.125, -0.25]])
