"""How far frequencies and means of independent draws may be from what they should be."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def assert_frequencies(counts: ArrayLike, n_draws: int, probabilities: ArrayLike, error: float = 1e-9) -> None:
    """Counts of events among n independent draws: exact binomial tails, each wrong with less than ``error``.

    What has probability zero must never have happened.
    """
    k, p = np.broadcast_arrays(np.asarray(counts), np.clip(np.asarray(probabilities, float), 0.0, 1.0))
    # Sums of single-precision numbers are zero or one only nearly.
    p = np.where(p < 1e-12, 0.0, np.where(p > 1 - 1e-12, 1.0, p))
    tail = np.minimum(stats.binom.cdf(k, n_draws, p), stats.binom.sf(k - 1, n_draws, p))
    worst = np.unravel_index(tail.argmin(), tail.shape)
    assert tail[worst] > error / 2, f"{k[worst]} of {n_draws} with probability {p[worst]} (index {worst})"


def assert_mean(mean: float, variance: float, n_draws: int, expected: float, width: float, error: float = 1e-9):
    """The mean of n independent draws, with their variance, from an interval of this width.

    Maurer & Pontil's empirical Bernstein bound (2009, Theorem 4), wrong with less than ``error``; beyond it,
    2e-6 of the width for single precision.
    """
    log = math.log(4 / error)
    bound = math.sqrt(2 * variance * log / n_draws) + 7 * width * log / (3 * (n_draws - 1))
    assert abs(mean - expected) <= bound + 2e-6 * width, f"mean {mean} instead of {expected}, allowed {bound}"
