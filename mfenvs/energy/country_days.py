"""Days of the market made of a country's series: power in MW and prices in EUR/MWh to energy per home or kW."""

import os
import warnings
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import DAYS_PER_YEAR, HOURS_PER_DAY, STEP_MINUTES, time_zone, whole_days
from mfenvs.energy.entsoe import Series, joined, read_entsoe

MOST_PROFILES = 10_000
"""Most home profiles of a series."""

PRODUCTION_TYPES = {"solar": "Solar", "wind": "Wind Onshore"}
"""What is read of a file of generation, by the name of the series."""

Given = Series | str | os.PathLike[str]
"""A series, or the file that holds it."""

NIGHT_SHARE = 0.01
"""Negative solar power down to this share of the capacity is what solar farms draw at night, and counts as 0."""


def country_days(
    given: Mapping[str, Given | Sequence[Given]],
    capacities_mw: Mapping[str, float | None],
    *,
    profiles: int,
    annual_load_kwh: float,
    co2_kg_per_kwh: float,
    step_minutes: int,
    timezone: str,
) -> dict[str, Any]:
    """The fields of :meth:`mfenvs.energy.series.MarketSeries.from_entsoe`, where they are described."""
    profiles = checks.integer("profiles", profiles, 1, MOST_PROFILES)
    step_minutes = checks.choice("step_minutes", step_minutes, STEP_MINUTES)
    annual_load_kwh = checks.real("annual_load_kwh", annual_load_kwh, 0.0, exclude_low=True)
    co2_kg_per_kwh = checks.real("co2_kg_per_kwh", co2_kg_per_kwh, 0.0)
    zone = time_zone("timezone", timezone)
    of_name = {name: _one_series(name, series, timezone) for name, series in given.items()}
    cut = {name: _days_of(series, step_minutes, zone) for name, series in of_name.items()}
    days = sorted(set.intersection(*(set(each) for each in cut.values())))
    if not days:
        spans = "; ".join(f"{name} {series.start[0]} to {series.start[-1]}" for name, series in of_name.items())
        raise ValueError(f"load, solar, wind and price share no whole day of {timezone}: {spans} (UTC)")
    powers = {name: np.stack([each[day] for day in days]) for name, each in cut.items()}
    mean_load = powers["load"].mean()
    if not mean_load > 0:
        raise ValueError(f"load must have a mean above 0 MW, got {mean_load:g}")
    capacities = {name: _capacity(name, mw, powers[name]) for name, mw in capacities_mw.items()}
    powers["solar"] = _without_night_losses(powers["solar"], capacities["solar"])
    for name in ("load", "solar", "wind"):
        if powers[name].min() < 0:
            day, step = np.argwhere(powers[name] < 0)[0].tolist()
            raise ValueError(
                f"{name} must be >= 0 MW, got {powers[name][day, step]:g} on {days[day]}, step {step}"
            )
    step_hours = step_minutes / 60
    home = powers["load"] / mean_load * annual_load_kwh / (DAYS_PER_YEAR * HOURS_PER_DAY) * step_hours
    sun, blown = (powers[name] / capacities[name] * step_hours for name in ("solar", "wind"))
    return {
        "load": np.repeat(home[:, :, None].astype(np.float32), profiles, 2),
        "pv": np.repeat(sun[:, :, None].astype(np.float32), profiles, 2),
        "wind": blown.astype(np.float32),
        "price": powers["price"] / 1000,
        "co2": np.full(home.shape, co2_kg_per_kwh),
        "step_hours": step_hours,
        "dates": tuple(map(str, days)),
    }


def _one_series(name: str, given: Any, timezone: str) -> Series:
    """A series or several joined, in the unit of its name; files are read, and brought to the finest step."""
    found = given if isinstance(given, list | tuple) and given else [given]
    parts = []
    for part in found:
        if isinstance(part, str | os.PathLike):
            production = PRODUCTION_TYPES.get(name)
            part = read_entsoe(part, production_type=production, step_minutes="finest", timezone=timezone)
        if not isinstance(part, Series):
            raise TypeError(
                f"{name} must be a Series as of read_entsoe or the path of a file, or several, got"
                f" {type(part).__name__}"
            )
        unit = "EUR/MWh" if name == "price" else "MW"
        if part.unit != unit:
            raise ValueError(f"the unit of {name} must be {unit}, got {part.unit!r}")
        parts.append(part)
    finest = min(part.resolution for part in parts)
    return joined(*(part.resampled(finest) for part in parts))


def _without_night_losses(solar: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """Solar power in which small negative values are 0, with a warning."""
    is_small = (solar < 0) & (solar >= -NIGHT_SHARE * capacity)
    if not is_small.any():
        return solar
    warnings.warn(
        f"{int(is_small.sum())} steps of solar power between {solar[is_small].min():g} and 0 MW count as 0",
        UserWarning,
        stacklevel=4,
    )
    return np.where(is_small, 0.0, solar)


def _days_of(series: Series, minutes: int, zone: zoneinfo.ZoneInfo) -> dict[date, NDArray[np.float64]]:
    """The values of each whole local day in steps of ``minutes``: means of shorter steps, repeated longer ones."""
    start = series.start[0].astype(datetime).replace(tzinfo=UTC)
    n_steps = HOURS_PER_DAY * 60 // series.resolution
    days = {}
    for day, first in whole_days(start, len(series.values), series.resolution, zone).items():
        # Through the finest step, since half-hours are no whole part of a quarter.
        quarters = np.repeat(series.values[first : first + n_steps], series.resolution // min(STEP_MINUTES))
        days[day] = quarters.reshape(-1, minutes // min(STEP_MINUTES)).mean(1)
    return days


def _capacity(name: str, given: float | None, power: NDArray[np.float64]) -> float:
    """The installed capacity in MW: as given, or the highest power."""
    if given is not None:
        return checks.real(f"{name}_capacity_mw", given, 0.0, exclude_low=True)
    highest = float(power.max())
    if not highest > 0:
        raise ValueError(f"{name} is never above 0 MW, so {name}_capacity_mw must be given, got None")
    return highest
