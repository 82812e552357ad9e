"""Ascent steps of all runs' parameters: ADAM with a constant rate, or decreasing steps along the gradient."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""The constants of ADAM (Kingma & Ba, 2015)."""


def adam_step(gradient: Array, moments: Array, iteration: int, rate: float) -> tuple[Array, Array]:
    """An ascent step of ADAM (Kingma & Ba, 2015, algorithm 1).

    Parameters
    ----------
    gradient:
        The gradient estimates, any shape.
    moments:
        Moving averages of the gradients and of their squares, along a first axis of length 2; zeros before the
        first step.
    iteration:
        Number of the step, from 0.
    rate:
        The step size.

    Returns
    -------
    The step, and the moments after it.
    """
    first = FIRST_DECAY * moments[0] + (1.0 - FIRST_DECAY) * gradient
    second = SECOND_DECAY * moments[1] + (1.0 - SECOND_DECAY) * gradient**2
    mean = first / (1.0 - FIRST_DECAY ** (iteration + 1))
    square = second / (1.0 - SECOND_DECAY ** (iteration + 1))
    return rate * mean / (np.sqrt(square) + EPSILON), np.stack([first, second])


def sgd_step(gradient: Array, iteration: int, rate: float, exponent: float) -> Array:
    """The step alpha_k times the gradient, with alpha_k = rate / (iteration + 1)^exponent."""
    step: Array = rate / (iteration + 1.0) ** exponent * gradient
    return step
