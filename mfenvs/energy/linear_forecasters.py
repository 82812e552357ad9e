"""Forecasters that are linear in the past values of an hourly series, with Student-t or Gaussian errors."""

import math
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.forecast import HORIZON, WEEK, Forecast, known_series, training_series
from mfenvs.energy.student_t_regression import StudentTFit, fit_student_t

LAGS = (24, 48, 168)
"""Hours back of the past values that the models read: none less than a day, so that all are known at midnight."""

LONGEST_LAG_DAYS = max(LAGS) // HORIZON

SCALE_FLOOR = 1e-3
"""Least scale as a share of the training series' standard deviation [O]: the output of photovoltaics at night is
known, and its likelihood has no maximum without this."""


class SeasonalNaive:
    """The seasonal naive forecast: the value of the same hour one or more days ago.

    Its law is that of the forecast's past errors: Student-t with location 0, a scale for each hour of the day and
    common degrees of freedom, estimated by maximum likelihood.

    Parameters
    ----------
    season_days:
        Age of the value in days, 1 to 7: 1 for yesterday's, 7 for that of a week ago.

    Raises
    ------
    TypeError, ValueError
        If ``season_days`` is not as above.
    """

    fitted: StudentTFit

    def __init__(self, season_days: int = WEEK) -> None:
        self.season_days = checks.integer("season_days", season_days, 1, WEEK)

    def fit(self, series: ArrayLike) -> Self:
        """Estimate the law of the errors; see :class:`~mfenvs.energy.forecast.Forecaster`."""
        values = training_series(series)
        lag = HORIZON * self.season_days
        errors = values[lag:] - values[:-lag]
        self.fitted = fit_student_t(
            np.empty((len(errors), 0)), errors, hours_of_day(len(errors)), scale_floor=scale_floor(values)
        )
        return self

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast whole days; see :class:`~mfenvs.energy.forecast.Forecaster`."""
        if not hasattr(self, "fitted"):
            raise RuntimeError("fit the forecaster before it predicts")
        values, first, n = known_series(series, first_day, n_days)
        lag = HORIZON * self.season_days
        scale = self.fitted.scale[hours_of_day(n)]
        return Forecast(values[first - lag : first - lag + n], scale, np.asarray(self.fitted.degrees_of_freedom))


class LinearStudentT:
    """Linear regression with Student-t errors whose scale depends on the hour of the day, by maximum likelihood.

    Regressors are the values 24, 48 and 168 hours before, the hour of the day and the day of the week
    (:func:`regressors`). The degrees of freedom are common to all hours. This is the simplest [O] of the
    heteroscedastic Student-t forecasts that the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games"
    asks for [S].

    Parameters
    ----------
    degrees_of_freedom:
        Degrees of freedom of the errors, > 1; ``inf`` for Gaussian errors; None estimates them.

    Raises
    ------
    TypeError, ValueError
        If ``degrees_of_freedom`` is not as above.
    """

    fitted: StudentTFit
    """Estimates for the standardised series, in multiples of its standard deviation."""
    mean: float
    """Mean of the training series, in its unit."""
    deviation: float
    """Standard deviation of the training series, in its unit."""

    def __init__(self, degrees_of_freedom: float | None = None) -> None:
        is_gaussian = isinstance(degrees_of_freedom, float | np.floating) and degrees_of_freedom == math.inf
        if degrees_of_freedom is not None and not is_gaussian:
            degrees_of_freedom = checks.real("degrees_of_freedom", degrees_of_freedom, 1.0, exclude_low=True)
        self.degrees_of_freedom = degrees_of_freedom

    def fit(self, series: ArrayLike) -> Self:
        """Estimate the model; see :class:`~mfenvs.energy.forecast.Forecaster`."""
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
        """Forecast whole days; see :class:`~mfenvs.energy.forecast.Forecaster`."""
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
    """The Gaussian twin of :class:`LinearStudentT`: the same model of location and scale, with Gaussian errors."""

    def __init__(self) -> None:
        super().__init__(math.inf)


def regressors(series: NDArray[np.float64], first: int, n: int) -> NDArray[np.float64]:
    """Regressors of hours ``first`` to ``first + n - 1``, both multiples of 24, shape (n, 33).

    They are the values ``LAGS`` hours before, then 24 indicators of the hour of the day, then 6 of the day of the
    week (a week begins on day 0).
    """
    lags = [series[first - lag : first - lag + n] for lag in LAGS]
    day_of_week = (first // HORIZON + np.arange(n) // HORIZON) % WEEK
    return np.column_stack([*lags, np.eye(HORIZON)[hours_of_day(n)], np.eye(WEEK)[day_of_week, 1:]])


def hours_of_day(n: int) -> NDArray[np.int64]:
    """Hour of the day, 0 to 23, of ``n`` hours from midnight on."""
    return np.arange(n) % HORIZON


def scale_floor(series: NDArray[np.float64]) -> float:
    """Least scale of the forecasts of a series, in its unit."""
    return SCALE_FLOOR * float(series.std())
