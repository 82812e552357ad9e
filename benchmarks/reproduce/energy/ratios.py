"""Ratios of sums over days, with intervals that take days as independent."""

import numpy as np
from numpy.typing import ArrayLike

from mfenvs.energy.outcomes.interval import Interval

N_RESAMPLES = 2000
"""Bootstrap samples of a ratio's interval."""


def ratio(part: ArrayLike, whole: ArrayLike) -> Interval:
    """The sum of one figure of days over that of another, with a percentile bootstrap interval over days."""
    above, below = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    if not below.sum() > 0.0:
        return Interval(float("nan"), float("nan"), float("nan"))
    drawn = np.random.default_rng(0).integers(len(above), size=(N_RESAMPLES, len(above)))
    sums = below[drawn].sum(axis=1)
    shares = above[drawn].sum(axis=1)[sums > 0.0] / sums[sums > 0.0]
    ends = np.quantile(shares, (0.025, 0.975)).tolist() if len(above) > 1 else (float("nan"), float("nan"))
    return Interval(float(above.sum() / below.sum()), *ends)
