"""Checks of a market's terms, which give back plain numbers and texts."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.prosumer_types import TYPES
from mfenvs.games.energy.tables import measured_correlations, mixing_matrix

MOST_SHARE = 1e9
"""Largest number in ``proportions``."""
MOST_YIELD = 1e6
"""Largest PV or wind generation in a step of a series, kWh per kW."""
MOST_WEATHER_SD = 0.3
"""Largest standard deviation of a weather factor."""
MOST_KW = 1e9
"""Largest transformer limit, kW per agent."""
FROM_DATA = "data"
"""Correlations of the weather factors that are measured in the series."""


def word(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """``value``, which must be one of these strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(checks.choice(name, value, allowed))


def shares(value: Any) -> tuple[float, ...]:
    """The proportions of the types as floats."""
    allowed = f"proportions must hold a share >= 0 of each of {', '.join(TYPES)}, not all 0, got {value!r}"
    try:
        is_complete = len(value) == len(TYPES)
    except TypeError:
        raise TypeError(allowed) from None
    if not is_complete:
        raise ValueError(allowed)
    found = tuple(checks.real(f"proportions[{i}]", p, 0.0, MOST_SHARE) for i, p in enumerate(value))
    if not sum(found) > 0.0:
        raise ValueError(allowed)
    return found


def three_numbers(name: str, value: Any, low: float, high: float, what: str) -> tuple[float, float, float]:
    """Three numbers in [low, high], ``what`` they are of."""
    found = checks.scalar(value)
    if isinstance(found, str | bytes) or not hasattr(found, "__len__") or len(found) != 3:
        raise TypeError(f"{name} must hold three numbers, of {what}, got {checks.shown(value)}")
    first, second, third = (checks.real(f"{name}[{i}]", one, low, high) for i, one in enumerate(found))
    return first, second, third


def weather_sd(value: Any) -> float | tuple[float, float, float]:
    """Standard deviations of the weather factors of load, sun and wind; one number is that of all three."""
    found = checks.scalar(value)
    if hasattr(found, "__len__") and not isinstance(found, str | bytes):
        return three_numbers("weather_sd", found, 0.0, MOST_WEATHER_SD, "load, sun and wind")
    return checks.real("weather_sd", found, 0.0, MOST_WEATHER_SD)


def weather_correlation(value: Any) -> str | tuple[float, float, float]:
    """Correlations of load and sun, load and wind, sun and wind; ``data`` if they are to be measured."""
    if isinstance(value, str):
        return str(checks.choice("weather_correlation", value, (FROM_DATA,)))
    pairs = "load and sun, load and wind, sun and wind"
    found = three_numbers("weather_correlation", value, -1.0, 1.0, pairs)
    if mixing_matrix((1.0, 1.0, 1.0), found) is None:
        raise ValueError(f"weather_correlation must be possible correlations, of {pairs}, got {value!r}")
    return found


def correlations_in(series: MarketSeries, given: str | tuple[float, float, float]) -> tuple[float, float, float]:
    """The correlations of the weather factors, measured in the series if they are to be."""
    return measured_correlations(series) if isinstance(given, str) else given


def limit(name: str, value: Any) -> float | None:
    """A transformer's limit, kW per agent; None for none."""
    return None if value is None else checks.real(name, value, 0.0, MOST_KW)


def check_yields(days: MarketSeries) -> None:
    """Refuse a series with more generation than single precision can take."""
    for name in ("pv", "wind"):
        if not getattr(days, name).max() <= MOST_YIELD:
            raise ValueError(
                f"series must have at most {MOST_YIELD:g} kWh per kW of {name} in a step, got"
                f" {getattr(days, name).max():g}"
            )


def steps_of(name: str, hours: float, step_hours: float) -> int:
    """Whole steps of a time in hours; ValueError if it is no multiple of a step."""
    steps = round(hours / step_hours)
    if not math.isclose(steps * step_hours, hours, abs_tol=1e-9):
        raise ValueError(f"{name} must be a multiple of a step, {step_hours:g} hours, got {hours:g}")
    return steps


def excluded_days(value: Any, n_days: int) -> tuple[int, ...]:
    """Days of a series that are not played: different indices in [0, n_days - 1], in order."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"excluded_days must be a tuple of days of the series, got {value!r}")
    days = tuple(checks.integer(f"excluded_days[{k}]", day, 0, n_days - 1) for k, day in enumerate(value))
    if len(set(days)) < len(days):
        raise ValueError(f"excluded_days must be different days, got {checks.shown(days)}")
    return tuple(sorted(days))


def start_days(first: int, n_days: int, n_episode_days: int, excluded: tuple[int, ...]) -> NDArray[np.int64]:
    """Days with which an episode can begin, in order: those from which on it plays no other and no excluded day.

    Parameters
    ----------
    first, n_days:
        First of the days that may be played, and their number.
    n_episode_days:
        Days of an episode.
    excluded:
        Days that are not played.

    Raises
    ------
    ValueError
        If there is none.
    """
    days = np.setdiff1d(np.arange(first, first + n_days), excluded)
    # An episode's last day is so many places later among the days if none between is left out.
    begins, ends = days[: max(0, len(days) - n_episode_days + 1)], days[n_episode_days - 1 :]
    found: NDArray[np.int64] = begins[ends - begins == n_episode_days - 1]
    if not len(found):
        raise ValueError(
            f"n_episode_days must fit into the days that are played, {n_days} from {first} on without the"
            f" excluded_days, {checks.shown(excluded)}; got {n_episode_days}"
        )
    return found
