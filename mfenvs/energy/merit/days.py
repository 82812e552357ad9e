"""Days of an episode."""

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.calendar import HOURS_PER_DAY


def first_steps(n_steps: int, step_hours: float) -> NDArray[np.int64]:
    """The first step of each day of an episode, which begins at midnight; its last day may be a part of one."""
    return np.arange(0, n_steps, round(HOURS_PER_DAY / step_hours))
