"""Real numbers mapped into [0, 1], as observations of them are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.rules import rule

HALF = np.float32(0.5)


@rule
def squashed(value: Any, scale: Any) -> Any:
    """Map a real number into [0, 1]: 1/2 for 0, 3/4 for ``scale``."""
    return HALF + HALF * value / (scale + abs(value))


def unsquashed(feature: NDArray[Any], scale: float | np.float32) -> NDArray[np.float64]:
    """The number of which :func:`squashed` made a feature, away from 0 and 1."""
    turned = 2.0 * np.asarray(feature, np.float64) - 1.0
    value: NDArray[np.float64] = scale * turned / np.maximum(1.0 - np.abs(turned), 1e-9)
    return value
