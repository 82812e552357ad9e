"""Slopes on log axes of estimates with known standard errors, by weighted least squares."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


@dataclasses.dataclass(frozen=True)
class WeightedSlope:
    """A line log y = intercept + value log x through measured points."""

    value: float
    half_width: float
    """Half of the 95 % interval of the slope."""
    intercept: float
    n_points: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the slope."""
        return self.value - self.half_width, self.value + self.half_width


def weighted_slope(x: ArrayLike, y: ArrayLike, standard_errors: ArrayLike) -> WeightedSlope:
    """Fit a line on log axes by weighted least squares.

    Points weigh as their standard errors say. Where they scatter more than that about the line, the interval is
    wider in proportion, and Student's with n - 2 degrees of freedom in any case.

    Parameters
    ----------
    x, y:
        Positive numbers, shape (n,), n >= 3.
    standard_errors:
        Positive standard errors of y, shape (n,).

    Raises
    ------
    ValueError
        If there are fewer than three points, or numbers are not positive.
    """
    abscissae, ordinates, errors = (np.asarray(values, np.float64) for values in (x, y, standard_errors))
    if not (abscissae.ndim == 1 and abscissae.shape == ordinates.shape == errors.shape):
        raise ValueError(f"x, y and standard_errors must be of one shape (n,), got {abscissae.shape}")
    n = len(abscissae)
    if n < 3:
        raise ValueError(f"a slope with an interval needs at least 3 points, got {n}")
    for name, values in (("x", abscissae), ("y", ordinates), ("standard_errors", errors)):
        if not (np.isfinite(values) & (values > 0.0)).all():
            raise ValueError(f"{name} must be positive numbers, got {values.tolist()}")
    log_x, log_y, weights = np.log(abscissae), np.log(ordinates), (ordinates / errors) ** 2
    middle = np.average(log_x, weights=weights)
    spread = float((weights * (log_x - middle) ** 2).sum())
    value = float((weights * (log_x - middle) * log_y).sum() / spread)
    intercept = float(np.average(log_y, weights=weights) - value * middle)
    scatter = float((weights * (log_y - intercept - value * log_x) ** 2).sum()) / (n - 2)
    half_width = float(stdtrit(n - 2, 0.975)) * np.sqrt(max(1.0, scatter) / spread)
    return WeightedSlope(value, float(half_width), intercept, n)
