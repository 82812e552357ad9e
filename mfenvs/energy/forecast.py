"""Probabilistic day-ahead forecasts of hourly series: the predictive laws, and what makes them.

Every series starts at midnight, and every forecast is made at midnight: the 24 hours of a day are forecast from
the hours before that day, and from nothing else.
"""

import dataclasses
import math
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mfenvs import checks

HORIZON = 24
"""Hours of a day-ahead forecast."""

WEEK = 7
"""Days of a week: forecasters read at most that far back."""

LEAST_TRAINING_DAYS = 28
"""Four weeks: the first is only read through the lags, and three remain for 24 scales and 33 coefficients."""

LARGEST_VALUE = 1e100
"""Largest size of a series' values: their squares stay finite."""


@dataclasses.dataclass(frozen=True, eq=False)
class Forecast:
    """Predictive laws location + scale x T, with T Student-t distributed: one law for each of n hours.

    The laws are marginal: they say nothing of the dependence between hours.

    Parameters
    ----------
    location:
        Median of each law in the series' unit, shape (n,).
    scale:
        Scale (not standard deviation) of each law in the series' unit, > 0, shape (n,) or one number for all.
    degrees_of_freedom:
        Degrees of freedom of each law, > 0, shape (n,) or one number for all; ``inf`` is the Gaussian law.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or, but for ``inf``, not finite.
    """

    location: NDArray[np.float64]
    scale: NDArray[np.float64]
    degrees_of_freedom: NDArray[np.float64]

    def __post_init__(self) -> None:
        location = checks.numbers("location", self.location)
        if location.ndim != 1:
            raise ValueError(f"location must have shape (n,), got {location.shape}")
        for field in dataclasses.fields(self):
            given = checks.numbers(field.name, getattr(self, field.name))
            array = checks.numbers(field.name, given, location.shape if given.ndim else ())
            lowest = -math.inf if field.name == "location" else 0.0
            allowed_infinity = (array == math.inf) & (field.name == "degrees_of_freedom")
            if not ((array > lowest) & (np.isfinite(array) | allowed_infinity)).all():
                least = "" if lowest else " and > 0"
                raise ValueError(f"{field.name} must be finite{least}, got {given!r}")
            kept = np.broadcast_to(array, location.shape).copy()
            kept.flags.writeable = False
            object.__setattr__(self, field.name, kept)

    def __len__(self) -> int:
        return len(self.location)

    def quantile(self, q: ArrayLike) -> NDArray[np.float64]:
        """Quantiles of each law, in the series' unit.

        Parameters
        ----------
        q:
            Probabilities in (0, 1): one number, or shape (k,).

        Returns
        -------
        NDArray
            Shape (n,) for one number, (n, k) for k.

        Raises
        ------
        TypeError, ValueError
            If ``q`` is not as above.
        """
        levels = checks.numbers("q", q)
        if levels.ndim > 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q must be in (0, 1), one number or of shape (k,), got {q!r}")
        laws = self.location, self.scale, self.degrees_of_freedom
        location, scale, nu = (a[:, None] for a in laws) if levels.ndim else laws
        return np.asarray(location + scale * stats.t.ppf(levels, nu), np.float64)

    def interval(self, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Low and high ends of the laws' central intervals of probability ``level`` in (0, 1), each (n,)."""
        level = checks.real("level", level, 0.0, 1.0, exclude_low=True, exclude_high=True)
        return self.quantile((1.0 - level) / 2.0), self.quantile((1.0 + level) / 2.0)

    def cdf(self, values: ArrayLike) -> NDArray[np.float64]:
        """Cumulative distribution function of each law at its entry of ``values``, both of shape (n,)."""
        return np.asarray(stats.t.cdf(self._standardised(values), self.degrees_of_freedom), np.float64)

    def log_density(self, values: ArrayLike) -> NDArray[np.float64]:
        """Natural logarithm of each law's density at its entry of ``values``, both of shape (n,)."""
        densities = stats.t.logpdf(self._standardised(values), self.degrees_of_freedom) - np.log(self.scale)
        return np.asarray(densities, np.float64)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """``n`` independent draws of every law, shape (n, hours), without dependence between hours.

        Raises
        ------
        TypeError, ValueError
            If ``rng`` is no numpy Generator, or ``n`` no integer >= 1.
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng must be a numpy Generator, got {rng!r}")
        n = checks.integer("n", n, 1)
        draws = rng.standard_normal((n, len(self)))
        heavy = np.isfinite(self.degrees_of_freedom)
        nu = self.degrees_of_freedom[heavy]
        draws[:, heavy] /= np.sqrt(rng.chisquare(nu, (n, len(nu))) / nu)
        return self.location + self.scale * draws

    def _standardised(self, values: ArrayLike) -> NDArray[np.float64]:
        array = checks.numbers("values", values, (len(self),))
        return (array - self.location) / self.scale


class Forecaster(Protocol):
    """A forecaster of an hourly series, which makes day-ahead forecasts."""

    def fit(self, series: ArrayLike) -> Self:
        """Learn from a series of whole days, shape (24 x days,); returns the forecaster itself."""

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast the 24 x ``n_days`` hours of days ``first_day`` to ``first_day + n_days - 1``, counted from 0.

        The hours of a day are forecast from ``series[: 24 * day]`` alone; ``series`` must reach to the midnight
        before the last of the days.
        """


def training_series(series: ArrayLike) -> NDArray[np.float64]:
    """A series to learn from, as float64: finite, not constant, whole days, at least 28 of them.

    Raises
    ------
    TypeError, ValueError
        If ``series`` is not as above.
    """
    values = checked_series(series)
    if len(values) % HORIZON or len(values) < HORIZON * LEAST_TRAINING_DAYS:
        raise ValueError(
            f"series must have whole days of {HORIZON} hours, at least {LEAST_TRAINING_DAYS} of them,"
            f" got {len(values)} hours"
        )
    # A spread so small that its square vanishes is none either.
    if not (np.ptp(values) > 0 and float(values.std()) > 0):
        raise ValueError(f"series must not be constant, got {float(values[0])!r} at every hour")
    return values


def known_series(series: ArrayLike, first_day: int, n_days: int) -> tuple[NDArray[np.float64], int, int]:
    """The known hours when the last of some days is forecast, the days' first hour, and their number of hours.

    Raises
    ------
    TypeError, ValueError
        If a week does not lie before ``first_day``, or the series ends before the last of the days begins.
    """
    first_day = checks.integer("first_day", first_day, WEEK)
    n_days = checks.integer("n_days", n_days, 1)
    needed = HORIZON * (first_day + n_days - 1)
    given = checks.numbers("series", series)
    if given.ndim == 1 and len(given) < needed:
        raise ValueError(
            f"series must have at least {needed} hours to forecast day {first_day + n_days - 1}, got {len(given)}"
        )
    # Hours that nobody may know yet may also be missing.
    return checked_series(given[:needed]), HORIZON * first_day, HORIZON * n_days


def checked_series(series: Any) -> NDArray[np.float64]:
    """A series as float64; TypeError or ValueError if it is not finite numbers of shape (hours,)."""
    values = checks.numbers("series", series)
    if values.ndim != 1:
        raise ValueError(f"series must have shape (hours,), got {values.shape}")
    allowed = np.abs(values) <= LARGEST_VALUE
    if not allowed.all():
        hour = int(np.argmin(allowed))
        limit = f"at most {LARGEST_VALUE:g} in size" if np.isfinite(values[hour]) else "finite"
        raise ValueError(f"series must be {limit}, got {float(values[hour])!r} at hour {hour}")
    return values
