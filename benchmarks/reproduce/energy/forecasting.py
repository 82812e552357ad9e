"""Day-ahead forecasts of the real series and their scores; PV is scored in hours of daylight only."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.market.student_t_network import StudentTHead
from mfenvs.energy.embedded_data import HOMES_FIRST_DAY, germany_2018, homes
from mfenvs.energy.forecast import HORIZON, WEEK, Forecast, Forecaster
from mfenvs.energy.forecast_scores import (
    INTERVALS,
    Evaluation,
    covered,
    crps,
    diebold_mariano,
    hac_standard_error,
    log_score,
    pit,
    rolling_origin,
)
from mfenvs.energy.linear_forecasters import LinearGaussian, LinearStudentT, SeasonalNaive

Array = NDArray[np.float64]

FORECASTERS: dict[str, Callable[[], Forecaster]] = {
    "seasonal naive": SeasonalNaive,
    "linear Gaussian": LinearGaussian,
    "linear Student-t": LinearStudentT,
    "network Student-t": StudentTHead,
}
UNITS = {"price": "EUR/kWh", "load": "kWh", "PV": "kW/kWp"}
"""Series that are forecast, and their units."""

TRAIN_SHARE = 0.75
"""Share of the days from which forecasters learn."""

DAYLIGHT = 0.02
"""An hour of the day is daylight in a month if PV yields on average this share of the month's highest hour [O]."""


def forecasts() -> dict[str, Any]:
    """Scores and probability integral transforms (PIT) of each forecaster on each series.

    Returns
    -------
    dict
        ``evaluations``: by series the fields of :class:`~mfenvs.energy.forecast_scores.Evaluation`, and ``hours``,
        the number of hours scored. ``pits``: by series and forecaster, the PIT of each hour scored, (n,), and the
        day of each, (n,), under ``day``.
    """
    torch.set_num_threads(1)
    found: dict[str, Any] = {"evaluations": {}, "pits": {}}
    for name, series in real_series().items():
        first_day = int(TRAIN_SHARE * (len(series) // HORIZON))
        made = {k: rolling_origin(series, make(), first_day) for k, make in FORECASTERS.items()}
        observed = series[HORIZON * first_day :]
        counts = daylight(series) if name == "PV" else np.ones(len(series), np.bool_)
        scored = counts[HORIZON * first_day :]
        found["evaluations"][name] = {
            **dataclasses.asdict(evaluate(made, observed, scored)),
            "hours": int(scored.sum()),
        }
        found["pits"][name] = {
            "day": np.flatnonzero(scored) // HORIZON,
            **{k: pit(one, observed)[scored] for k, one in made.items()},
        }
    return found


def real_series() -> dict[str, Array]:
    """Whole days of the day-ahead price (EUR/kWh), the load of all homes (kWh) and PV (kWh per kWp)."""
    prices, people = germany_2018().day_ahead_price_eur_per_mwh / 1000, homes()
    series = {"price": prices, "load": people.load_kwh.sum(axis=1), "PV": people.pv_kw_per_kwp.mean(axis=1)}
    return {name: np.asarray(x[: len(x) // HORIZON * HORIZON], np.float64) for name, x in series.items()}


def daylight(pv: Array) -> NDArray[np.bool_]:
    """Whether each hour of a PV series from 1 August on is one of daylight, shape (24 x days,).

    It depends on the month and the hour of the day alone, so that hours are not chosen by what happened in them.
    """
    days = pv.reshape(-1, HORIZON)
    months = np.array([(HOMES_FIRST_DAY + timedelta(days=k)).month for k in range(len(days))])
    is_light = np.zeros(days.shape, np.bool_)
    for month in np.unique(months):
        mean = days[months == month].mean(axis=0)
        is_light[months == month] = mean > DAYLIGHT * mean.max()
    return is_light.ravel()


def evaluate(forecasts: Mapping[str, Forecast], observed: Array, scored: NDArray[np.bool_]) -> Evaluation:
    """Scores of forecasts in some of the hours.

    Parameters
    ----------
    forecasts:
        Laws of all hours, by forecaster.
    observed:
        Observed values of all hours, shape (24 x days,).
    scored:
        Whether each hour counts, shape (24 x days,); at least one hour of each day must.
    """
    losses = {name: crps(forecast, observed)[scored] for name, forecast in forecasts.items()}
    day = np.flatnonzero(scored) // HORIZON
    n_days, n = len(observed) // HORIZON, len(losses)
    hours_of_day = np.bincount(day, minlength=n_days)
    statistic, p_value = np.zeros((n, n)), np.ones((n, n))
    names = list(losses)
    for i in range(n):
        for j in range(i):
            test = diebold_mariano(losses[names[i]], losses[names[j]], round(hours_of_day.mean()))
            statistic[i, j], p_value[i, j] = test
            statistic[j, i], p_value[j, i] = -test[0], test[1]

    def standard_error(loss: Array) -> float:
        # Of the ratio of sums over days: hours of light differ from day to day.
        residual = np.bincount(day, loss - loss.mean(), n_days) / hours_of_day.mean()
        return hac_standard_error(residual, WEEK)

    def share_covered(forecast: Forecast, level: float) -> float:
        return float(covered(forecast, observed, level)[scored].mean())

    return Evaluation(
        names=tuple(forecasts),
        n_days=n_days,
        crps=np.array([loss.mean() for loss in losses.values()]),
        crps_standard_error=np.array([standard_error(loss) for loss in losses.values()]),
        log_score=np.array([log_score(one, observed)[scored].mean() for one in forecasts.values()]),
        coverage=np.array([[share_covered(one, level) for level in INTERVALS] for one in forecasts.values()]),
        statistic=statistic,
        p_value=p_value,
    )
