"""Scores of probabilistic forecasts, and tests of whether a difference of scores is significant."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.forecast import HORIZON, WEEK, Forecast, Forecaster, checked_series

LEAST_TEST_DAYS = 2 * WEEK
"""Fewest days that forecasters are compared on: standard errors allow for dependence of days up to a week
apart."""

INTERVALS = (0.5, 0.9)
"""Probabilities of the central intervals whose coverage is reported."""


def crps(forecast: Forecast, observed: ArrayLike) -> NDArray[np.float64]:
    """Continuous ranked probability score (CRPS) of each hour: the lower the better.

    The CRPS is the integral of the squared difference between the law's distribution function and the step
    function of the observed value; for a law without spread it is the absolute error.

    Parameters
    ----------
    forecast:
        Laws of n hours, with more than one degree of freedom: at one the score is infinite.
    observed:
        Observed values, shape (n,).

    Returns
    -------
    NDArray
        CRPS in the series' unit, shape (n,).

    Raises
    ------
    ImportError
        If the package scoringrules is missing, which ``pip install "mfenvs[energy]"`` installs.
    TypeError, ValueError
        If ``forecast`` is no forecast, ``observed`` is not finite numbers of this shape, or a law has one degree
        of freedom or less.

    References
    ----------
    The closed forms: Jordan, Krüger and Lerch, Journal of Statistical Software 90(12), 2019.
    """
    # It compiles kernels whenever it is imported, for seconds; users who only forecast do not wait for it.
    import scoringrules

    values = _observed(forecast, observed)
    location, scale, nu = forecast.location, forecast.scale, forecast.degrees_of_freedom
    if not (nu > 1).all():
        raise ValueError(f"degrees_of_freedom must be > 1 for the CRPS to be finite, got {float(nu.min())!r}")
    gaussian = nu == math.inf
    scores = np.empty(len(forecast))
    scores[gaussian] = scoringrules.crps_normal(values[gaussian], location[gaussian], scale[gaussian])
    scores[~gaussian] = scoringrules.crps_t(
        values[~gaussian], nu[~gaussian], location[~gaussian], scale[~gaussian]
    )
    return scores


def log_score(forecast: Forecast, observed: ArrayLike) -> NDArray[np.float64]:
    """Logarithmic score of each hour, shape (n,): minus the log density of the observed value; lower is better."""
    values = _observed(forecast, observed)
    return -forecast.log_density(values)


def covered(forecast: Forecast, observed: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Whether each hour's observed value lies in the central interval of probability ``level``, shape (n,)."""
    values = _observed(forecast, observed)
    low, high = forecast.interval(level)
    return (low <= values) & (values <= high)


def pit(forecast: Forecast, observed: ArrayLike) -> NDArray[np.float64]:
    """Probability integral transform (PIT) of each hour, shape (n,): uniform on [0, 1] if the laws are right."""
    values = _observed(forecast, observed)
    return forecast.cdf(values)


def hac_standard_error(values: ArrayLike, n_lags: int) -> float:
    """Standard error of the mean of a dependent series, by the estimator of Newey and West (HAC).

    It is heteroscedasticity- and autocorrelation-consistent: it sums autocovariances with Bartlett's weights.

    Parameters
    ----------
    values:
        Observations in order of time, shape (n,), n > ``n_lags``.
    n_lags:
        Largest lag of the autocovariances, >= 0; lag k has the weight 1 - k / (n_lags + 1).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    References
    ----------
    Newey and West, Econometrica 55, 1987.
    """
    array = checks.finite_numbers("values", values, (checks.array("values", values).size,))
    n_lags = checks.integer("n_lags", n_lags, 0, len(array) - 1)
    centred = array - array.mean()
    n = len(array)
    autocovariances = np.array([centred[lag:] @ centred[: n - lag] / n for lag in range(n_lags + 1)])
    weights = 2.0 * (1.0 - np.arange(n_lags + 1) / (n_lags + 1))
    weights[0] = 1.0
    # Bartlett's weights make the estimate non-negative, but for rounding.
    return math.sqrt(max(float(weights @ autocovariances), 0.0) / n)


def diebold_mariano(losses: ArrayLike, others: ArrayLike, horizon: int = HORIZON) -> tuple[float, float]:
    """Diebold-Mariano test of whether two forecasters have the same expected loss.

    It has the small-sample correction of Harvey, Leybourne and Newbold, and is computed by ``dieboldmariano``.
    Autocovariances up to lag ``horizon`` - 1 have Bartlett's weights, without which the estimated variance may be
    negative. Dependence of losses more than a horizon apart is not allowed for, so that p-values of hourly losses
    that persist from day to day are too small.

    Parameters
    ----------
    losses, others:
        Losses of the two forecasters, such as their CRPS, in order of time, both of shape (n,), n > ``horizon``.
    horizon:
        Number of steps ahead that were forecast.

    Returns
    -------
    tuple
        The statistic, negative if ``losses`` are lower, and the two-sided p-value; 0 and 1 if the losses are
        equal.

    Raises
    ------
    ImportError
        If the package dieboldmariano is missing, which ``pip install "mfenvs[energy]"`` installs.
    TypeError, ValueError
        If an argument is not as above, or all differences are the same but not zero.

    References
    ----------
    Diebold and Mariano, Journal of Business and Economic Statistics 13, 1995; Harvey, Leybourne and Newbold,
    International Journal of Forecasting 13, 1997.
    """
    # Imported here, as scoringrules is: the other scores need neither.
    from dieboldmariano import NegativeVarianceException, ZeroVarianceException, dm_test

    first = checks.finite_numbers("losses", losses, (checks.array("losses", losses).size,))
    second = checks.finite_numbers("others", others, first.shape)
    horizon = checks.integer("horizon", horizon, 1, len(first) - 1)
    differences = first - second
    if not differences.any():
        return 0.0, 1.0
    if np.ptp(differences) == 0:
        raise ValueError(f"losses must not differ from others by the same at every time, got {differences[0]!r}")
    # The package takes observations, forecasts and a loss; here the losses are there already.
    try:
        statistic, p_value = dm_test(
            [0.0] * len(first),
            first.tolist(),
            second.tolist(),
            loss=lambda _, loss: loss,
            h=horizon,
            variance_estimator="bartlett",
        )
    except (ZeroVarianceException, NegativeVarianceException):
        raise ValueError("losses - others vary too little to estimate a variance") from None
    except ValueError:
        # The package's p-value fails, at the logarithm of 0, where the statistic is 0 but for rounding.
        return 0.0, 1.0
    return float(statistic), float(p_value)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of K forecasters over the same days."""

    names: tuple[str, ...]
    """Names of the forecasters."""
    n_days: int
    """Number of days that were forecast."""
    crps: NDArray[np.float64]
    """Continuous ranked probability score (CRPS), mean over all hours, in the series' unit, shape (K,)."""
    crps_standard_error: NDArray[np.float64]
    """Standard error of the CRPS, by :func:`hac_standard_error` of the daily means with lags up to a week,
    (K,)."""
    log_score: NDArray[np.float64]
    """Logarithmic score, mean over all hours, shape (K,)."""
    coverage: NDArray[np.float64]
    """Share of the hours within the central 50 % and 90 % intervals, shape (K, 2)."""
    statistic: NDArray[np.float64]
    """Statistic of :func:`diebold_mariano` on the hourly CRPS: negative at (i, j) if i is better, shape (K, K)."""
    p_value: NDArray[np.float64]
    """Two-sided p-value of each pair, not corrected for the number of pairs, shape (K, K)."""

    def table(self, against: Sequence[str] = ()) -> str:
        """The scores as a Markdown table, with p-values against the forecasters named in ``against``.

        Raises
        ------
        TypeError, ValueError
            If ``against`` is no sequence of names of forecasters.
        """
        if not isinstance(against, Sequence) or isinstance(against, str):
            raise TypeError(f"against must be a sequence of names, got {against!r}")
        columns = [self.names.index(checks.choice("against", name, self.names)) for name in against]
        head = ["forecaster", "CRPS", "s.e.", "log score", "in 50 %", "in 90 %"]
        rows = [head + [f"p against {name}" for name in against], ["---"] * (len(head) + len(against))]
        for i, name in enumerate(self.names):
            rows.append(
                [
                    name,
                    f"{self.crps[i]:.4g}",
                    f"{self.crps_standard_error[i]:.2g}",
                    f"{self.log_score[i]:.3f}",
                    *(f"{share:.3f}" for share in self.coverage[i]),
                    *("" if i == j else f"{self.p_value[i, j]:.2g}" for j in columns),
                ]
            )
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def rolling_origin(
    series: ArrayLike, forecaster: Forecaster, first_day: int, refit_days: int | None = None
) -> Forecast:
    """Day-ahead forecasts from ``first_day`` to the end of a series, each from what was known at that midnight.

    Parameters
    ----------
    series:
        Hourly series of whole days, shape (24 x days,).
    forecaster:
        The forecaster; it is fitted here to the days before ``first_day``.
    first_day:
        Index of the first day to forecast, counted from 0.
    refit_days:
        Number of days after which it is fitted again to all days before; None for never.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    values = checked_series(series)
    _check_forecaster("forecaster", forecaster)
    n_days = len(values) // HORIZON
    first_day = checks.integer("first_day", first_day, 1, n_days - 1)
    step = n_days if refit_days is None else checks.integer("refit_days", refit_days, 1)
    parts = []
    for day in range(first_day, n_days, step):
        forecaster.fit(values[: HORIZON * day])
        parts.append(forecaster.predict(values, day, min(step, n_days - day)))
    fields = (field.name for field in dataclasses.fields(Forecast))
    return Forecast(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def evaluate_forecasters(
    series: ArrayLike,
    forecasters: Mapping[str, Forecaster],
    train_share: float = 0.75,
    refit_days: int | None = None,
) -> Evaluation:
    """Scores of day-ahead forecasts of the last part of a series, by forecasters that learned from the first part.

    Parameters
    ----------
    series:
        Hourly series of whole days from midnight on, shape (24 x days,).
    forecasters:
        Forecasters by name, at least one; they are fitted here.
    train_share:
        Share of the days to learn from, in (0, 1), rounded down to a day; at least two weeks must remain.
    refit_days:
        Number of days after which each is fitted again to all days before; None for never.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    values = checked_series(series)
    n_days, hours_left = divmod(len(values), HORIZON)
    if hours_left:
        raise ValueError(f"series must have whole days of {HORIZON} hours, got {len(values)} hours")
    if not isinstance(forecasters, Mapping) or not forecasters:
        raise ValueError(f"forecasters must have at least one by name, got {forecasters!r}")
    for name, forecaster in forecasters.items():
        _check_forecaster(f"forecasters[{checks.text('a name of forecasters', name)!r}]", forecaster)
    share = checks.real("train_share", train_share, 0.0, 1.0, exclude_low=True, exclude_high=True)
    first_day = int(share * n_days)
    n_test = n_days - first_day
    if n_test < LEAST_TEST_DAYS:
        raise ValueError(
            f"train_share must leave at least {LEAST_TEST_DAYS} of {n_days} days, got {train_share!r}, leaving"
            f" {n_test}"
        )
    observed = values[HORIZON * first_day :]
    forecasts = [rolling_origin(values, forecaster, first_day, refit_days) for forecaster in forecasters.values()]
    losses = [crps(forecast, observed) for forecast in forecasts]
    n = len(losses)
    statistic, p_value = np.zeros((n, n)), np.ones((n, n))
    for i in range(n):
        for j in range(i):
            statistic[i, j], p_value[i, j] = diebold_mariano(losses[i], losses[j])
            statistic[j, i], p_value[j, i] = -statistic[i, j], p_value[i, j]
    daily = [loss.reshape(n_test, HORIZON).mean(axis=1) for loss in losses]
    return Evaluation(
        names=tuple(forecasters),
        n_days=n_test,
        crps=np.array([loss.mean() for loss in losses]),
        crps_standard_error=np.array([hac_standard_error(means, WEEK) for means in daily]),
        log_score=np.array([log_score(forecast, observed).mean() for forecast in forecasts]),
        coverage=np.array([[covered(f, observed, level).mean() for level in INTERVALS] for f in forecasts]),
        statistic=statistic,
        p_value=p_value,
    )


def _observed(forecast: Forecast, observed: ArrayLike) -> NDArray[np.float64]:
    if not isinstance(forecast, Forecast):
        raise TypeError(f"forecast must be a Forecast, got {forecast!r}")
    return checks.finite_numbers("observed", observed, (len(forecast),))


def _check_forecaster(name: str, forecaster: object) -> None:
    if not (callable(getattr(forecaster, "fit", None)) and callable(getattr(forecaster, "predict", None))):
        raise TypeError(f"{name} must be a forecaster with methods fit and predict, got {forecaster!r}")
