"""Slopes on log axes of means against the number of samples, with bootstrap intervals."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Slope:
    """A slope with its interval."""

    value: float
    """Slope of the logarithm of the mean against that of the size, by least squares."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def fitted_slope(
    sizes: Sequence[int],
    samples: Sequence[Array],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Slope:
    """Slope of log E[sample] against log size, with its percentile interval.

    Parameters
    ----------
    sizes:
        Sizes, two or more different ones.
    samples:
        Independent positive repetitions at each size.
    resamples:
        Number of bootstrap samples: of the repetitions at each size, with replacement.
    confidence:
        Of the interval.
    seed:
        Random seed of the bootstrap.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or a size has no repetitions.
    """
    if len(set(sizes)) < 2 or len(sizes) != len(samples) or not all(len(values) for values in samples):
        raise ValueError(f"a slope needs samples of two sizes or more, got sizes {list(sizes)}")
    rng = np.random.default_rng(seed)
    x = np.log(np.array(sizes, np.float64))
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    means = np.empty((len(sizes), resamples))
    for row, values in zip(means, samples, strict=True):
        # Counts of a bootstrap sample are multinomial: no need to pick the repetitions one by one.
        counts = rng.multinomial(len(values), np.full(len(values), 1.0 / len(values)), size=resamples)
        row[:] = counts @ values / len(values)
    slopes = weights @ np.log(means)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(slopes, [tail, 100.0 - tail])
    value = weights @ np.log([values.mean() for values in samples])
    return Slope(float(value), float(low), float(high))
