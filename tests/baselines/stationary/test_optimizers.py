"""Ascent steps, by hand."""

import numpy as np
from numpy.testing import assert_allclose

from baselines.stationary.optimizers import adam_step, sgd_step


def test_adam_divides_a_mean_of_the_gradients_by_the_root_of_a_mean_of_their_squares() -> None:
    """Without bias both are weighted means, with weights .9 and .999 to the power of the age of a gradient."""
    gradients = np.random.default_rng(1).normal(size=(6, 2, 3))
    moments = np.zeros((2, 2, 3))
    for k, gradient in enumerate(gradients):
        step, moments = adam_step(gradient, moments, k, 0.03)
        age = k - np.arange(k + 1)
        mean = np.average(gradients[: k + 1], axis=0, weights=0.9**age)
        square = np.average(gradients[: k + 1] ** 2, axis=0, weights=0.999**age)
        assert_allclose(step, 0.03 * mean / (np.sqrt(square) + 1e-8), rtol=1e-9)


def test_steps_along_the_gradient_decrease() -> None:
    gradient = np.array([[2.0, -4.0]])
    assert_allclose(sgd_step(gradient, 0, 0.5, 0.75), [[1.0, -2.0]])
    assert_allclose(sgd_step(gradient, 15, 0.5, 0.75), [[0.125, -0.25]])
