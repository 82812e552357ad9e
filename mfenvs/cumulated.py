"""Distributions in the form from which random numbers are drawn."""

import numpy as np
from numpy.typing import NDArray


def cumulative(law: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cumulative sums along the last axis, from which :func:`mfenvs.engine.random.uniform` samples.

    Entries that reach the total are set to 2, above every draw, so that rounding in the sums can
    never select an outcome of probability zero behind the last possible one.
    """
    sums = np.cumsum(law, axis=-1)
    reached = sums >= sums[..., -1:]
    return np.where(reached, 2.0, sums).astype(np.float32)
