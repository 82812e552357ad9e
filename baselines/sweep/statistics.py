"""Interquartile means over runs and games, and their stratified-bootstrap confidence intervals.

The definitions are those of rliable (Agarwal, Schwarzer, Castro, Courville & Bellemare, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice", NeurIPS 2021, arXiv 2108.13264, section 4): strata are the
games, runs are resampled within each, and intervals are percentile intervals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks

TRIMMED_SHARE = 0.25
"""Share of the scores that is left out on each side."""

SCORES_AT_A_TIME = 2**22
"""Number of resampled scores that are kept at a time: 32 MB."""


def interquartile_mean(scores: ArrayLike) -> float:
    """The mean of the middle half of all scores, of which floor(n / 4) are left out on each side.

    Parameters
    ----------
    scores:
        Finite numbers, of any shape: those of all runs and games count alike.

    Raises
    ------
    TypeError, ValueError
        If there is no score, or one is not a finite number.
    """
    found = checks.finite_numbers("scores", scores).ravel()
    if not found.size:
        raise ValueError("scores must hold at least one number, got none")
    return float(_interquartile_means(found[None])[0])


def bootstrap_interval(
    strata: Sequence[ArrayLike], *, confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """A stratified-bootstrap percentile interval for the interquartile mean.

    Parameters
    ----------
    strata:
        The scores of the runs in each game, shapes (n_runs,).
    confidence:
        Probability, within (0, 1), with which the interval is meant to contain the interquartile mean. Intervals
        of few runs contain it less often.
    n_resamples:
        Number of times that the runs of each game are drawn again, with replacement.
    seed:
        Random seed of the draws.

    Returns
    -------
    The lower and the upper end; None if a game has only one run, from which nothing can be resampled.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    confidence = checks.real("confidence", confidence, 0.0, 1.0, exclude_low=True, exclude_high=True)
    n_resamples = checks.integer("n_resamples", n_resamples, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    found = [checks.finite_numbers(f"strata[{i}]", runs) for i, runs in enumerate(strata)]
    if not found or any(runs.ndim != 1 or not runs.size for runs in found):
        raise ValueError(f"strata must hold at least one array of scores, none empty, got {checks.shown(strata)}")
    if any(runs.size == 1 for runs in found):
        return None
    n_scores = sum(runs.size for runs in found)
    at_a_time = max(1, SCORES_AT_A_TIME // n_scores)
    means = []
    for first in range(0, n_resamples, at_a_time):
        n = min(at_a_time, n_resamples - first)
        drawn = [runs[rng.integers(runs.size, size=(n, runs.size))] for runs in found]
        means.append(_interquartile_means(np.concatenate(drawn, axis=1)))
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(means), (outside, 1.0 - outside))
    return float(low), float(high)


def _interquartile_means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The interquartile mean of each row."""
    n = scores.shape[1]
    cut = int(TRIMMED_SHARE * n)
    middle: NDArray[np.float64] = np.sort(scores, axis=1)[:, cut : n - cut].mean(axis=1)
    return middle
