"""Synthetic days of the energy market: load, sun, wind, prices and carbon with plausible shapes and memory.

All laws and numbers are ours [O]. PV means photovoltaics; its capacity is in kWp, kilowatts at peak sun.
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats

from mfenvs.energy.calendar import ANNUAL_LOAD_KWH, DAYS_PER_YEAR, HOURS_PER_DAY

LOAD_LOG_SD = 0.23
"""Standard deviation of the logarithm of the homes' annual loads [O]."""

LOAD_SEASON = 0.2
"""Relative amplitude of the load over the year, highest on 15 January."""

LOAD_NOISE_SHAPE = 4.0
"""Shape parameter of the gamma factor (mean one) by which the load of each home and step varies."""

PV_YIELD_KWH = 1_000.0
"""Expected PV output per installed kWp in a year of 365 days, kWh."""

LATITUDE = np.radians(50.0)
"""Geographic latitude, in radians, for which the sun's height is computed."""

CLOUDINESS = stats.beta(2.0, 1.2)
"""Law of a day's PV output as a share of that under a clear sky."""

CLOUD_MEMORY = 0.6
"""Correlation of the cloudiness, transformed to a normal variable, from one day to the next."""

WIND_SPEED = stats.rayleigh(scale=5.2)
"""Law of the wind speed at the hub in m/s, mean 6.5."""

WIND_MEMORY_HOURS = 14.0
"""Hours in which the correlation of the wind speed, transformed to a normal variable, falls to 1/e."""

CUT_IN, RATED, CUT_OUT = 3.0, 12.0, 25.0
"""Wind speeds in m/s: where a turbine starts, from where it gives its rated power, and where it stops."""

PRICE_LEVEL, PRICE_LOAD, PRICE_WIND, PRICE_PV, PRICE_NOISE = 0.02, 0.07, 0.09, 0.08, 0.01
"""Terms of the price in EUR/kWh: the constant, per mean load, per rated wind power, per rated PV power, and the
standard deviation of the noise [O]."""

CARBON_OF_REST = 0.5
"""Carbon intensity of the power that is neither from wind nor from the sun, kg CO2/kWh."""


def days(n_days: int, n_profiles: int, rng: np.random.Generator, step_minutes: int, first: date) -> dict[str, Any]:
    """The fields of :meth:`mfenvs.energy.series.MarketSeries.synthetic`, where they are described."""
    step_hours = step_minutes / 60
    hours = np.arange(step_hours / 2, HOURS_PER_DAY, step_hours)
    of_year = (first.timetuple().tm_yday - 1 + np.arange(n_days)) % DAYS_PER_YEAR

    load = _synthetic_load(rng, hours, of_year, n_profiles)
    sun = _sun(hours, of_year) * CLOUDINESS.ppf(stats.norm.cdf(_memory(rng, n_days, CLOUD_MEMORY)))[:, None]
    factors = rng.uniform(0.9, 1.1, n_profiles)
    memory = np.exp(-step_hours / WIND_MEMORY_HOURS)
    speed = WIND_SPEED.ppf(stats.norm.cdf(_memory(rng, n_days * len(hours), memory))).reshape(n_days, -1)
    wind = _power_curve(speed)
    demand = load.mean(2) / (ANNUAL_LOAD_KWH / DAYS_PER_YEAR / len(hours))
    kw = sun / step_hours
    price = PRICE_LEVEL + PRICE_LOAD * demand - PRICE_WIND * wind - PRICE_PV * kw
    price += PRICE_NOISE * rng.standard_normal(price.shape)
    return {
        "load": load.astype(np.float32),
        "pv": (sun[:, :, None] * factors).astype(np.float32),
        "wind": (wind * step_hours).astype(np.float32),
        "price": price,
        "co2": CARBON_OF_REST * (1.0 - np.clip(0.6 * wind + 0.6 * kw, 0.0, 0.9)),
        "step_hours": step_hours,
        "dates": tuple(f"{date(2018, 1, 1) + timedelta(days=int(n)):%m-%d}" for n in of_year),
        "weekdays": tuple((np.arange(n_days) % 7).tolist()),
    }


def _memory(rng: np.random.Generator, n: int, correlation: float) -> NDArray[np.float64]:
    """Standard normal variables of shape (n,), each with ``correlation`` to the one before (stationary AR(1))."""
    shocks = rng.standard_normal(n)
    shocks[1:] *= np.sqrt(1.0 - correlation**2)
    path: NDArray[np.float64] = signal.lfilter([1.0], [1.0, -correlation], shocks)
    return path


def _synthetic_load(
    rng: np.random.Generator, hours: NDArray[np.float64], of_year: NDArray[np.int64], n_profiles: int
) -> NDArray[np.float64]:
    """Load of each step, kWh, shape (n_days, steps, n_profiles)."""
    annual = ANNUAL_LOAD_KWH * np.exp(LOAD_LOG_SD * rng.standard_normal(n_profiles))
    shift = 0.7 * rng.standard_normal(n_profiles)

    def shape(morning: float) -> NDArray[np.float64]:
        """One day's load relative to its mean, shape (steps, n_profiles)."""
        peaks = np.full((len(hours), n_profiles), 0.5)
        for centre, width, height in ((morning, 1.5, 0.6), (19.0, 2.2, 1.1)):
            # Around the clock, since a shifted peak may pass midnight.
            distance = (hours[:, None] - centre - shift + HOURS_PER_DAY / 2) % HOURS_PER_DAY - HOURS_PER_DAY / 2
            peaks += height * np.exp(-0.5 * (distance / width) ** 2)
        return np.asarray(peaks / peaks.mean(0))

    is_weekend = np.arange(len(of_year)) % 7 >= 5
    day = np.where(is_weekend[:, None, None], shape(9.5), shape(7.5))
    season = 1.0 + LOAD_SEASON * np.cos(2 * np.pi * (of_year - 14) / DAYS_PER_YEAR)
    noise = rng.gamma(LOAD_NOISE_SHAPE, 1 / LOAD_NOISE_SHAPE, day.shape)
    mean = annual / DAYS_PER_YEAR / len(hours)
    load: NDArray[np.float64] = mean * season[:, None, None] * day * noise
    return load


def _sun(hours: NDArray[np.float64], of_year: NDArray[np.int64]) -> NDArray[np.float64]:
    """PV output under a clear sky, kWh per kWp, shape (n_days, steps); 365 mean days yield ``PV_YIELD_KWH``."""

    def clear(days: NDArray[np.int64]) -> NDArray[np.float64]:
        declination = np.radians(-23.44) * np.cos(2 * np.pi * (days + 10.5) / DAYS_PER_YEAR)
        angle = 2 * np.pi * (hours - 12.0) / HOURS_PER_DAY
        height = np.add.outer(np.sin(LATITUDE) * np.sin(declination), np.zeros(len(hours)))
        height += np.cos(LATITUDE) * np.outer(np.cos(declination), np.cos(angle))
        return np.asarray(np.maximum(height, 0.0) ** 1.15)

    year: float = clear(np.arange(DAYS_PER_YEAR)).sum() * CLOUDINESS.mean()
    scaled: NDArray[np.float64] = clear(of_year) * (PV_YIELD_KWH / year)
    return scaled


def _power_curve(speed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the rated power at a wind speed: cubic from cut-in to rated speed, then 1 until cut-out."""
    rising: NDArray[np.float64] = (speed**3 - CUT_IN**3) / (RATED**3 - CUT_IN**3)
    return np.asarray(np.where((speed < CUT_IN) | (speed > CUT_OUT), 0.0, np.minimum(rising, 1.0)))
