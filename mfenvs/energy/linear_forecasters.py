"""Probabilistic day-ahead forecasts of hourly series: Student-t laws, and linear models that predict them.

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
from mfenvs.energy.student_t_regression import StudentTFit, fit_student_t

HORIZON = 24
"""Hours of a day-ahead forecast."""

LAGS = (24, 48, 168)
"""Hours back of the past values that the models read: none less than a day, so that all are known at midnight."""

WEEK = 7
LONGEST_LAG_DAYS = max(LAGS) // HORIZON

LEAST_TRAINING_DAYS = 28
"""Four weeks: the first is only read through the lags, and three remain for 24 scales and 33 coefficients."""

SCALE_FLOOR = 1e-3
"""Least scale as a share of the training series' standard deviation: PV at night is known, and its likelihood has
no maximum without this [O]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Forecast:
    """Predictive laws location + scale x T, T Student-t: one for each of n hours, each by itself.

    Parameters
    ----------
    location:
        Median of each law in the series' unit, shape (n,).
    scale:
        Scale (not standard deviation) in the series' unit, > 0, shape (n,) or one number for all.
    degrees_of_freedom:
        nu > 0, shape (n,) or one number for all; ``inf`` is the Gaussian law.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above or, but for ``inf``, not finite.
    """

    location: NDArray[np.float64]
    scale: NDArray[np.float64]
    degrees_of_freedom: NDArray[np.float64]

    def __post_init__(self) -> None:
        location = np.asarray(self.location)
        if location.ndim != 1:
            raise ValueError(f"location must have shape (n,), got {location.shape}")
        for field in dataclasses.fields(self):
            given = np.asarray(getattr(self, field.name))
            array = checks.shaped(field.name, given, location.shape if given.ndim else (), np.float64)
            lowest = -math.inf if field.name == "location" else 0.0
            allowed_infinity = (array == math.inf) & (field.name == "degrees_of_freedom")
            if not ((array > lowest) & (np.isfinite(array) | allowed_infinity)).all():
                least = "" if lowest else " and > 0"
                raise ValueError(f"{field.name} must be finite{least}, got {given!r}")
            object.__setattr__(self, field.name, np.broadcast_to(array, location.shape))

    def __len__(self) -> int:
        return len(self.location)

    def quantile(self, q: ArrayLike) -> NDArray[np.float64]:
        """Quantiles of each law.

        Parameters
        ----------
        q:
            Probabilities in (0, 1): one number, or shape (k,).

        Returns
        -------
        Shape (n,) for one number, (n, k) for k.

        Raises
        ------
        TypeError, ValueError
            If ``q`` is not as above.
        """
        given = np.asarray(q)
        levels: NDArray[np.float64] = checks.shaped("q", given, given.shape, np.float64).reshape(given.shape)
        if levels.ndim > 1 or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(f"q must be in (0, 1), one number or of shape (k,), got {q!r}")
        laws = self.location, self.scale, self.degrees_of_freedom
        location, scale, nu = (a[:, None] for a in laws) if levels.ndim else laws
        return np.asarray(location + scale * stats.t.ppf(levels, nu), np.float64)

    def interval(self, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Low and high end of the central interval of this probability in (0, 1), each of shape (n,)."""
        level = checks.real("level", level, 0.0, 1.0, exclude_low=True, exclude_high=True)
        return self.quantile((1.0 - level) / 2.0), self.quantile((1.0 + level) / 2.0)

    def cdf(self, values: ArrayLike) -> NDArray[np.float64]:
        """Each law's distribution function at its value of ``values`` (n,)."""
        return np.asarray(stats.t.cdf(self._standardised(values), self.degrees_of_freedom), np.float64)

    def log_density(self, values: ArrayLike) -> NDArray[np.float64]:
        """Each law's log density at its value of ``values`` (n,)."""
        densities = stats.t.logpdf(self._standardised(values), self.degrees_of_freedom) - np.log(self.scale)
        return np.asarray(densities, np.float64)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """``n`` independent draws of every law, shape (n, hours): no dependence between hours."""
        n = checks.integer("n", n, 1)
        draws = rng.standard_normal((n, len(self)))
        heavy = np.isfinite(self.degrees_of_freedom)
        nu = self.degrees_of_freedom[heavy]
        draws[:, heavy] /= np.sqrt(rng.chisquare(nu, (n, len(nu))) / nu)
        return self.location + self.scale * draws

    def _standardised(self, values: ArrayLike) -> NDArray[np.float64]:
        array: NDArray[np.float64] = checks.shaped("values", values, (len(self),), np.float64)
        return (array - self.location) / self.scale


class Forecaster(Protocol):
    """What makes day-ahead forecasts of an hourly series."""

    def fit(self, series: ArrayLike) -> Self:
        """Learn from whole days, shape (24 x days,), and return itself."""

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast days ``first_day`` to ``first_day + n_days - 1`` (24 x n_days hours), day 0 being the first.

        The hours of a day are forecast from ``series[: 24 * day]`` alone; ``series`` must reach to the midnight
        before the last of the days.
        """


class SeasonalNaive:
    """The value of the same hour one or more days ago, with the law of that forecast's past errors.

    The errors have location 0, a scale for each hour of the day and common degrees of freedom, all estimated by
    maximum likelihood.

    Parameters
    ----------
    season_days:
        1 for yesterday's value, 7 for that of a week ago; 1 to 7.

    Raises
    ------
    TypeError, ValueError
        If ``season_days`` is not as above.
    """

    fitted: StudentTFit

    def __init__(self, season_days: int = WEEK) -> None:
        self.season_days = checks.integer("season_days", season_days, 1, WEEK)

    def fit(self, series: ArrayLike) -> Self:
        """Estimate the law of the errors; see :class:`Forecaster`. Series as in :func:`training_series`."""
        values = training_series(series)
        lag = HORIZON * self.season_days
        errors = values[lag:] - values[:-lag]
        self.fitted = fit_student_t(
            np.empty((len(errors), 0)), errors, hours_of_day(len(errors)), scale_floor=scale_floor(values)
        )
        return self

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast whole days; see :class:`Forecaster`."""
        if not hasattr(self, "fitted"):
            raise RuntimeError("fit the forecaster before it predicts")
        values, first, n = known_series(series, first_day, n_days)
        lag = HORIZON * self.season_days
        scale = self.fitted.scale[hours_of_day(n)]
        return Forecast(values[first - lag : first - lag + n], scale, np.asarray(self.fitted.degrees_of_freedom))


class LinearStudentT:
    """Linear regression with Student-t errors whose scale depends on the hour of the day, by maximum likelihood.

    Regressors: the values 24, 48 and 168 hours before, the hour of the day and the day of the week
    (:func:`regressors`). The degrees of freedom are common to all hours. A heteroscedastic Student-t law [S] with
    the simplest of its models [O].

    Parameters
    ----------
    degrees_of_freedom:
        nu if it shall not be estimated, > 1; ``inf`` for Gaussian errors.

    Raises
    ------
    TypeError, ValueError
        If ``degrees_of_freedom`` is not as above.
    """

    fitted: StudentTFit
    """Estimates for the standardised series, in multiples of its standard deviation."""
    mean: float
    deviation: float

    def __init__(self, degrees_of_freedom: float | None = None) -> None:
        if degrees_of_freedom not in (None, math.inf):
            degrees_of_freedom = checks.real("degrees_of_freedom", degrees_of_freedom, 1.0, exclude_low=True)
        self.degrees_of_freedom = degrees_of_freedom

    def fit(self, series: ArrayLike) -> Self:
        """Estimate the model; see :class:`Forecaster`. Series as in :func:`training_series`."""
        values = training_series(series)
        self.mean, self.deviation = float(values.mean()), float(values.std())
        standard = (values - self.mean) / self.deviation
        first = HORIZON * LONGEST_LAG_DAYS
        n = len(values) - first
        self.fitted = fit_student_t(
            regressors(standard, first, n),
            standard[first:],
            hours_of_day(n),
            degrees_of_freedom=self.degrees_of_freedom,
            scale_floor=SCALE_FLOOR,
        )
        return self

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast whole days; see :class:`Forecaster`."""
        if not hasattr(self, "fitted"):
            raise RuntimeError("fit the forecaster before it predicts")
        values, first, n = known_series(series, first_day, n_days)
        standard = (values - self.mean) / self.deviation
        return Forecast(
            self.mean + self.deviation * (regressors(standard, first, n) @ self.fitted.coefficients),
            self.deviation * self.fitted.scale[hours_of_day(n)],
            np.asarray(self.fitted.degrees_of_freedom),
        )


class LinearGaussian(LinearStudentT):
    """The Gaussian twin of :class:`LinearStudentT`: same location and scale model, nu = inf."""

    def __init__(self) -> None:
        super().__init__(math.inf)


def regressors(series: NDArray[np.float64], first: int, n: int) -> NDArray[np.float64]:
    """What the models read of hours ``first`` to ``first + n - 1``, both multiples of 24, shape (n, 33).

    The values ``LAGS`` hours before, then 24 indicators of the hour of the day, then 6 of the day of the week (a
    week begins on day 0).
    """
    lags = [series[first - lag : first - lag + n] for lag in LAGS]
    day_of_week = (first // HORIZON + np.arange(n) // HORIZON) % WEEK
    return np.column_stack([*lags, np.eye(HORIZON)[hours_of_day(n)], np.eye(WEEK)[day_of_week, 1:]])


def hours_of_day(n: int) -> NDArray[np.int64]:
    """Hour of the day, 0 to 23, of ``n`` hours from midnight on."""
    return np.arange(n) % HORIZON


def scale_floor(series: NDArray[np.float64]) -> float:
    """Least scale of forecasts of a series, in its unit."""
    return SCALE_FLOOR * float(series.std())


def training_series(series: ArrayLike) -> NDArray[np.float64]:
    """A series to learn from, as float64: finite, not constant, whole days, at least 28 of them.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    values = checked_series(series)
    if len(values) % HORIZON or len(values) < HORIZON * LEAST_TRAINING_DAYS:
        raise ValueError(
            f"series must have whole days of {HORIZON} hours, at least {LEAST_TRAINING_DAYS} of them,"
            f" got {len(values)} hours"
        )
    if np.ptp(values) == 0:
        raise ValueError(f"series must not be constant, got {values[0]!r} at every hour")
    return values


def known_series(series: ArrayLike, first_day: int, n_days: int) -> tuple[NDArray[np.float64], int, int]:
    """What is known when the last of some days is forecast, the first hour of the days, and how many they have.

    Raises
    ------
    TypeError, ValueError
        If a week does not lie before ``first_day``, or the series ends before the last of the days begins.
    """
    first_day = checks.integer("first_day", first_day, LONGEST_LAG_DAYS)
    n_days = checks.integer("n_days", n_days, 1)
    needed = HORIZON * (first_day + n_days - 1)
    given = np.asarray(series)
    if given.ndim == 1 and len(given) < needed:
        raise ValueError(
            f"series must have at least {needed} hours to forecast day {first_day + n_days - 1}, got {len(given)}"
        )
    # Hours that nobody may know yet may also be missing.
    return checked_series(given[:needed]), HORIZON * first_day, HORIZON * n_days


def checked_series(series: Any) -> NDArray[np.float64]:
    """A series as float64; TypeError or ValueError if it is not finite numbers of shape (hours,)."""
    given = np.asarray(series)
    if given.ndim != 1:
        raise ValueError(f"series must have shape (hours,), got {given.shape}")
    values: NDArray[np.float64] = checks.shaped("series", given, given.shape, np.float64)
    if not np.isfinite(values).all():
        hour = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"series must be finite, got {values[hour]!r} at hour {hour}")
    return values
