"""The tariffs of a market as tables of days and steps, and what they must keep to."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import HOURS_PER_DAY
from mfenvs.energy.series import MarketSeries

MOST_EUR = 1e3
"""Largest price or cost, EUR/kWh."""
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
        return float((self.retail - self.feed_in).mean())


def tariff_tables(
    days: MarketSeries, feed_in: float, retail: float, network_charge: tuple[float, ...], dynamic: bool
) -> Tariffs:
    """The tariffs of every step of a series.

    Parameters
    ----------
    days:
        The series.
    feed_in, retail:
        Feed-in and retail tariff, EUR/kWh.
    network_charge:
        Network charge of each hour of the day, EUR/kWh, which is added to the retail tariff.
    dynamic:
        Whether the feed-in tariff is the day-ahead price of the series, and the retail tariff above it by
        ``retail - feed_in`` [O].
    """
    paid = days.price if dynamic else np.full(days.price.shape, feed_in)
    charged = paid + (retail - feed_in) if dynamic else np.full(days.price.shape, retail)
    return Tariffs(paid, charged + np.repeat(network_charge, days.steps // HOURS_PER_DAY))


def hourly_charge(network_charge: Any) -> tuple[float, ...]:
    """The network charge of each hour of the day as floats; one number is that of all hours.

    Raises
    ------
    TypeError, ValueError
        If it is neither one number nor 24.
    """
    allowed = f"network_charge must be a number or hold {HOURS_PER_DAY}, one for each hour of the day"
    found = checks.scalar(network_charge)
    if isinstance(found, str | bytes):
        raise TypeError(f"{allowed}, got {checks.shown(network_charge)}")
    if not hasattr(found, "__len__"):
        return (checks.real("network_charge", found, -MOST_EUR, MOST_EUR),) * HOURS_PER_DAY
    if len(found) != HOURS_PER_DAY:
        raise ValueError(f"{allowed}, got {checks.shown(network_charge)}")
    return tuple(
        checks.real(f"network_charge[{hour}]", charge, -MOST_EUR, MOST_EUR) for hour, charge in enumerate(found)
    )


def checked_tariffs(
    days: MarketSeries, feed_in: float, retail: float, network_charge: tuple[float, ...], dynamic: bool
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
    charged = min(network_charge)
    spread = retail - feed_in + charged
    largest = max(LEAST_TARIFF, float(np.abs(tariffs.feed_in).max()), float(np.abs(tariffs.retail).max()))
    if spread < LEAST_SPREAD * largest:
        with_charge = f" with a network_charge of {charged:g}" if charged else ""
        raise ValueError(
            f"retail must be at least {LEAST_SPREAD * largest:g} EUR/kWh above feed_in = {feed_in!r} (as tariffs"
            f" of up to {largest:g} EUR/kWh are kept in single precision), got {retail!r}{with_charge}"
        )
    return tariffs
