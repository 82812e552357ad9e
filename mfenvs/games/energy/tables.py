"""Tables that a market computes once from its series: forecasts, arrivals of flexible load, the weather's law."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.series import MarketSeries

Array = NDArray[np.float64]

WINDOW_DAYS = 31
"""Anomalies are deviations from the mean of so many days around a day, at the same time of the day."""
LEAST_SHARE = 0.1
"""Times of the day at which the mean is below this part of the mean of all times are left out: nights of PV."""
LEAST_DAYS = 10
"""With fewer days correlations are not measured, and taken to be 0."""


def sums_ahead(data: NDArray[np.float32], n_steps: int) -> NDArray[np.float32]:
    """Sums of ``n_steps`` consecutive steps from each on, beyond midnight, the first day following the last.

    ``data`` has shape (n_days, steps, ...), and so have the sums.
    """
    if n_steps == 1:
        return data
    flat = data.reshape(-1, *data.shape[2:]).astype(np.float64)
    total = sum(np.roll(flat, -k, axis=0) for k in range(n_steps))
    return np.asarray(total, np.float32).reshape(data.shape)


def sums_before(data: NDArray[np.float32], n_steps: int) -> NDArray[np.float32]:
    """Sums of the last ``n_steps`` steps up to each, as :func:`sums_ahead`; of at most all steps there are."""
    flat = data.reshape(-1, *data.shape[2:]).astype(np.float64)
    n_steps = min(n_steps, len(flat))
    around = np.concatenate([flat[len(flat) - n_steps :], flat]).cumsum(axis=0)
    total = around[n_steps:] - around[:-n_steps]
    return np.asarray(total, np.float32).reshape(data.shape)


def community_net(agents: NDArray[Any], load: Any, pv: Any, wind: Any) -> NDArray[np.float32]:
    """Net demand of the community in the series, kWh per agent, shape (n_days, steps).

    Parameters
    ----------
    agents:
        The agents, of :data:`mfenvs.games.energy.prosumer_types.PROSUMER`.
    load, pv:
        As :class:`MarketSeries` has them, shape (n_days, steps, n_profiles).
    wind:
        Likewise, shape (n_days, steps).
    """
    n_profiles = load.shape[2]
    net: Array = -agents["wind_kw"].sum(dtype=np.float64) * wind.astype(np.float64)
    net -= pv @ np.bincount(agents["profile"], agents["pv_kwp"], n_profiles)
    for shift in np.unique(agents["shift"]):
        some = agents[agents["shift"] == shift]
        net += np.roll(load @ np.bincount(some["profile"], some["load_scale"], n_profiles), -int(shift), axis=0)
    return np.asarray(net / len(agents), np.float32)


def measured_correlations(series: MarketSeries) -> tuple[float, float, float]:
    """Correlations of load and sun, load and wind, sun and wind in a series.

    They are those of relative anomalies of the mean load of all profiles, the mean PV output of those fit for PV,
    and the wind: deviations from the mean of the 31 days around, at the same time of the day. 0 where a series
    does not vary, and of series of fewer than 10 days.
    """
    if series.n_days < LEAST_DAYS:
        return 0.0, 0.0, 0.0
    load, sun = series.load.mean(axis=2), series.pv[..., series.pv_profiles].mean(axis=2)
    found = [_anomalies(np.asarray(one, np.float64)) for one in (load, sun, series.wind)]
    known = ~np.isnan(found).any(axis=0)
    if known.sum() < 2:
        return 0.0, 0.0, 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # A series that does not vary has no correlation.
        matrix = np.nan_to_num(np.corrcoef([one[known] for one in found]))
    return float(matrix[0, 1]), float(matrix[0, 2]), float(matrix[1, 2])


def _anomalies(data: Array) -> Array:
    """Relative anomalies of each step, shape (n_days, steps); nan where the mean is near zero."""
    half = min(WINDOW_DAYS, len(data)) // 2
    padded = np.concatenate([data[len(data) - half :], data, data[:half]])
    mean = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0).mean(axis=-1)
    is_known = mean > LEAST_SHARE * data.mean()
    relative: Array = np.divide(data - mean, mean, out=np.full(data.shape, np.nan), where=is_known)
    return relative


def mixing_matrix(sd: tuple[float, float, float], correlations: tuple[float, float, float]) -> Array | None:
    """Cholesky factor (3, 3) of the covariance of load, sun and wind; None if these are no correlations.

    Factors that are wholly correlated are allowed.
    """
    load_sun, load_wind, sun_wind = correlations
    rest = 1.0 - load_sun**2
    low = np.zeros((3, 3))
    low[0, 0] = 1.0
    low[1, 0], low[1, 1] = load_sun, np.sqrt(max(rest, 0.0))
    low[2, 0] = load_wind
    if low[1, 1] > 0.0:
        low[2, 1] = (sun_wind - load_sun * load_wind) / low[1, 1]
    elif abs(sun_wind - load_sun * load_wind) > 1e-9:
        return None
    left = 1.0 - low[2, 0] ** 2 - low[2, 1] ** 2
    if left < -1e-9:
        return None
    low[2, 2] = np.sqrt(max(left, 0.0))
    mixing: Array = np.asarray(sd)[:, None] * low
    return mixing
