"""The tariffs of a market as tables of days and steps, and what they must keep to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import HOURS_PER_DAY
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tariffs import MOST_EUR, AnyTariff, Flat, Schedule, schedule

LEAST_SPREAD = 1e-4
"""Least difference of the tariffs, relative to the larger one: prices are kept in single precision."""
LEAST_TARIFF = 1e-2
"""The larger tariff counts for at least this in that comparison, EUR/kWh."""

EVENING_CHARGE = (0.02,) * 6 + (0.10,) * 11 + (0.18,) * 4 + (0.10,) * 3
"""Network charge of each hour of the day, EUR/kWh, cheap at night and dear in the evening [O]: after the form of
time-variable network charges in Germany, whose low level is 10 to 40 % and whose high level at most twice the
standard one."""


class Tariffs(NamedTuple):
    """Tariffs of every day and step of a series, EUR/kWh, in double precision, shape (n_days, steps) each."""

    feed_in: NDArray[np.float64]
    """Feed-in tariff, which the grid pays for exports."""
    retail: NDArray[np.float64]
    """Retail tariff, network charge included, which the grid charges for imports."""

    @property
    def mean_spread(self) -> float:
        """Mean difference of the tariffs, EUR/kWh."""
        spread = self.retail - self.feed_in
        return float(spread.flat[0] if spread.min() == spread.max() else spread.mean())


def tariff(name: str, value: Any) -> float | Schedule:
    """A tariff: a number as it is, and any other form of :func:`mfenvs.energy.tariffs.schedule` as a schedule.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or not allowed.
    """
    if not isinstance(value, Schedule | Mapping | list | tuple) and not getattr(value, "ndim", 0):
        return checks.real(name, value, -MOST_EUR, MOST_EUR)
    found = schedule(name, value)
    return found.price if isinstance(found, Flat) else found


def hourly_charge(value: Any) -> tuple[float, ...] | Schedule:
    """The network charge: of each hour of the day as floats, one number being that of all hours; or a schedule.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if isinstance(value, Schedule | Mapping) or getattr(value, "ndim", 0) > 1:
        return schedule("network_charge", value)
    allowed = (
        f"network_charge must be a number or hold {HOURS_PER_DAY}, one for each hour of the day, or be a schedule"
    )
    found = checks.scalar(value)
    if isinstance(found, str | bytes):
        raise TypeError(f"{allowed}, got {checks.shown(value)}")
    if not hasattr(found, "__len__"):
        return (checks.real("network_charge", found, -MOST_EUR, MOST_EUR),) * HOURS_PER_DAY
    if len(found) != HOURS_PER_DAY:
        raise ValueError(f"{allowed}, got {checks.shown(value)}")
    return tuple(
        checks.real(f"network_charge[{hour}]", charge, -MOST_EUR, MOST_EUR) for hour, charge in enumerate(found)
    )


def tariff_tables(
    days: MarketSeries,
    feed_in: AnyTariff,
    retail: AnyTariff,
    network_charge: AnyTariff,
    dynamic: bool,
) -> Tariffs:
    """The tariffs of every step of a series.

    Parameters
    ----------
    days:
        The series.
    feed_in, retail:
        Feed-in and retail tariff, EUR/kWh.
    network_charge:
        Network charge, EUR/kWh, which is added to the retail tariff.
    dynamic:
        Whether the feed-in tariff is the day-ahead price of the series, and the retail tariff above it by
        ``retail - feed_in`` [O]; both are then numbers.

    Raises
    ------
    ValueError
        If the series lacks what a schedule needs, or ``dynamic`` meets a schedule.
    """
    charge = schedule("network_charge", network_charge).by_step(days)
    if not dynamic:
        paid, charged = (
            schedule(name, given).by_step(days) for name, given in (("feed_in", feed_in), ("retail", retail))
        )
        return Tariffs(paid, charged + charge)
    for name, given in (("feed_in", feed_in), ("retail", retail)):
        if isinstance(given, Schedule):
            raise ValueError(f"{name} must be a number in a market with dynamic_tariffs, got {given!r}")
    return Tariffs(days.price, days.price + (retail - feed_in) + charge)  # type: ignore[operator]


def checked_tariffs(
    days: MarketSeries,
    feed_in: AnyTariff,
    retail: AnyTariff,
    network_charge: AnyTariff,
    dynamic: bool,
) -> Tariffs:
    """The tariffs of every step of a series, where the retail tariff is always above the feed-in tariff.

    Raises
    ------
    ValueError
        If it is not, or they are nearly equal.
    """
    if dynamic and not np.abs(days.price).max() <= MOST_EUR:
        raise ValueError(
            f"series must have prices in [{-MOST_EUR:g}, {MOST_EUR:g}] EUR/kWh for dynamic tariffs, got"
            f" {days.price.flat[np.abs(days.price).argmax()]:g}"
        )
    tariffs = tariff_tables(days, feed_in, retail, network_charge, dynamic)
    largest = max(LEAST_TARIFF, float(np.abs(tariffs.feed_in).max()), float(np.abs(tariffs.retail).max()))
    spread = tariffs.retail - tariffs.feed_in
    # Written such that rounding does not decide where the numbers themselves would.
    if spread.min() < LEAST_SPREAD * largest * (1 - 1e-9):
        day, step = np.unravel_index(int(spread.argmin()), spread.shape)
        paid, charged = float(tariffs.feed_in[day, step]), float(tariffs.retail[day, step])
        charge = float(schedule("network_charge", network_charge).by_step(days)[day, step])
        with_charge = f" with a network_charge of {charge:g}" if charge else ""
        raise ValueError(
            f"retail must be at least {LEAST_SPREAD * largest:g} EUR/kWh above feed_in = {paid!r} (as tariffs of"
            f" up to {largest:g} EUR/kWh are kept in single precision), got {round(charged - charge, 12)!r}"
            f"{with_charge} on {days.dates[day]}, step {step}"
        )
    return tariffs
