"""Tariffs that change over time: by hour, weekday and month, with the day-ahead price, or as given for every step.

A *schedule* gives the price of energy in every step of a series, in EUR/kWh. The game takes one as its feed-in
tariff, retail tariff and network charge, each in any form that :func:`schedule` reads. Schedules add up:
``DayAhead(markup=0.06) + ByHour(network_charge)`` is a day-ahead tariff with a network charge by hour.

Hours, weekdays and months are those of the local clock of the series. A price that changes within a step counts
with its share of the step. Public holidays are no weekend.
"""

import abc
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import HOURS_PER_DAY
from mfenvs.energy.series import MarketSeries

MOST_EUR = 1e3
"""Largest price, EUR/kWh, positive or negative."""

QUARTERS_PER_DAY = 4 * HOURS_PER_DAY
DAYS_PER_WEEK = 7
MONTHS_PER_YEAR = 12

WEEKDAYS = {
    "all": range(7),
    "weekdays": range(5),
    "weekend": range(5, 7),
    "monday": range(1),
    "tuesday": range(1, 2),
    "wednesday": range(2, 3),
    "thursday": range(3, 4),
    "friday": range(4, 5),
    "saturday": range(5, 6),
    "sunday": range(6, 7),
}
"""Days of the week, Monday being 0, by the words for them."""

HOUR_RANGE = re.compile(r"(\d{1,2})(?::(00|15|30|45))?\s*-\s*(\d{1,2})(?::(00|15|30|45))?", re.ASCII)
MONTH_RANGE = re.compile(r"(\d{1,2})(?:\s*-\s*(\d{1,2}))?", re.ASCII)


class Schedule(abc.ABC):
    """A price of energy for every step of a series, EUR/kWh."""

    kind: ClassVar[str]
    """Its name in scenario files."""

    @abc.abstractmethod
    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """The price in each day and step of a series, EUR/kWh, shape (n_days, steps).

        Raises
        ------
        ValueError
            If the series lacks what the schedule needs: weekdays, months or prices, or has other days or steps.
        """

    def plain(self) -> Any:
        """The schedule as numbers, texts, lists and dicts, from which :func:`schedule` makes an equal one."""
        return {"kind": self.kind, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    def __add__(self, other: Any) -> "Schedule":
        return Sum((self, schedule("the schedule that is added", other)))

    def __radd__(self, other: Any) -> "Schedule":
        return Sum((schedule("the schedule that is added", other), self))


@dataclasses.dataclass(frozen=True)
class Flat(Schedule):
    """The same price at all times."""

    kind = "flat"
    price: float
    """EUR/kWh."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "price", _price("price", self.price))

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        return np.full((series.n_days, series.steps), self.price)

    def plain(self) -> Any:
        """The number."""
        return self.price


@dataclasses.dataclass(frozen=True)
class ByHour(Schedule):
    """A price for each hour of the day, at weekends another if wanted."""

    kind = "by-hour"
    prices: tuple[float, ...]
    """24 prices, EUR/kWh, the first from 00:00 to 01:00."""
    weekend: tuple[float, ...] | None = None
    """24 prices on Saturdays and Sundays; None for the same as on other days."""

    def __post_init__(self) -> None:
        for name in ("prices", "weekend"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _hourly(name, given))

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        per_hour = series.steps // HOURS_PER_DAY
        by_step = np.tile(np.repeat(np.array(self.prices), per_hour), (series.n_days, 1))
        if self.weekend is not None:
            is_weekend = np.isin(series.known_weekdays(), list(WEEKDAYS["weekend"]))
            by_step[is_weekend] = np.repeat(np.array(self.weekend), per_hour)
        return by_step

    def plain(self) -> Any:
        """24 numbers, or a dict where weekends have prices of their own."""
        if self.weekend is None:
            return list(self.prices)
        return {"kind": self.kind, "prices": list(self.prices), "weekend": list(self.weekend)}


@dataclasses.dataclass(frozen=True)
class Period:
    """When a price of :class:`TimeOfUse` holds."""

    price: float
    """EUR/kWh."""
    hours: str = "0-24"
    """Hours of the day such as ``17-21`` (from 17:00 to 21:00), ``6:30-9, 17-21`` or ``22-6``, to the quarter."""
    days: str = "all"
    """``all``, ``weekdays`` (Monday to Friday), ``weekend``, or one day such as ``sunday``."""
    months: str = "1-12"
    """Months such as ``11-3`` (November to March) or ``1, 7-8``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "price", _price("price", self.price))
        _ranges("hours", self.hours)
        checks.choice("days", checks.text("days", self.days), tuple(WEEKDAYS))
        _months("months", self.months)

    def holds(self) -> NDArray[np.bool_]:
        """Whether it holds, shape (months 12, days of the week 7, quarters of the day 96)."""
        quarters = np.zeros(QUARTERS_PER_DAY, bool)
        for begin, end in _ranges("hours", self.hours):
            quarters[begin:end] = True
        days, months = np.zeros(DAYS_PER_WEEK, bool), np.zeros(MONTHS_PER_YEAR, bool)
        days[list(WEEKDAYS[self.days])] = True
        months[[month - 1 for month in _months("months", self.months)]] = True
        return months[:, None, None] & days[:, None] & quarters


@dataclasses.dataclass(frozen=True)
class TimeOfUse(Schedule):
    """A price that changes with the hour of the day, and with weekday and month if wanted."""

    kind = "time-of-use"
    otherwise: float
    """Price at all times that are in no period, EUR/kWh."""
    periods: tuple[Period, ...] = ()
    """Times with another price; no two may share a time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "otherwise", _price("otherwise", self.otherwise))
        periods = tuple(
            _period(f"periods[{at}]", period)
            for at, period in enumerate(checks.sequence("periods", self.periods, "hold periods"))
        )
        object.__setattr__(self, "periods", periods)
        taken = np.full((MONTHS_PER_YEAR, DAYS_PER_WEEK, QUARTERS_PER_DAY), -1)
        for at, period in enumerate(periods):
            holds = period.holds()
            earlier = taken[holds].max(initial=-1)
            if earlier >= 0:
                raise ValueError(
                    f"periods must not share a time, got periods[{earlier}] = {periods[earlier]} and"
                    f" periods[{at}] = {period}"
                )
            taken[holds] = at

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        prices = np.full((MONTHS_PER_YEAR, DAYS_PER_WEEK, QUARTERS_PER_DAY), self.otherwise)
        for period in self.periods:
            prices[period.holds()] = period.price
        months = weekdays = np.zeros(series.n_days, int)
        if any(len(_months("months", period.months)) < MONTHS_PER_YEAR for period in self.periods):
            months = series.known_months() - 1
        if any(period.days != "all" for period in self.periods):
            weekdays = series.known_weekdays()
        by_step: NDArray[np.float64] = (
            prices[months, weekdays].reshape(series.n_days, series.steps, -1).mean(axis=2)
        )
        return by_step


@dataclasses.dataclass(frozen=True)
class DayAhead(Schedule):
    """The day-ahead price of the series, times a factor, plus a markup."""

    kind = "day-ahead"
    markup: float = 0.0
    """EUR/kWh."""
    factor: float = 1.0
    """Such as 1.19 for a value added tax of 19 %."""
    least: float | None = None
    """Lowest price, EUR/kWh, such as 0 for a feed-in tariff that is never negative; None for no bound."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "markup", _price("markup", self.markup))
        object.__setattr__(self, "factor", checks.real("factor", self.factor, 0.0, MOST_EUR))
        if self.least is not None:
            object.__setattr__(self, "least", _price("least", self.least))

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        if not series.price.any():
            raise ValueError("series must have day-ahead prices for a day-ahead tariff, got 0 in every step")
        if not np.abs(series.price).max() <= MOST_EUR:
            raise ValueError(
                f"series must have prices in [{-MOST_EUR:g}, {MOST_EUR:g}] EUR/kWh for a day-ahead tariff, got"
                f" {series.price.flat[np.abs(series.price).argmax()]:g}"
            )
        prices = self.factor * series.price + self.markup
        return prices if self.least is None else np.maximum(prices, self.least)


@dataclasses.dataclass(frozen=True, eq=False)
class ByStep(Schedule):
    """A price for every step of every day of one series."""

    kind = "by-step"
    prices: NDArray[np.float64]
    """EUR/kWh, shape (n_days, steps); steps may be those of 15 or 60 minutes whatever the series has."""

    def __post_init__(self) -> None:
        given = checks.array("prices", self.prices)
        prices = checks.finite_numbers("prices", given).copy()
        if prices.ndim != 2 or prices.shape[1] not in (HOURS_PER_DAY, QUARTERS_PER_DAY) or not len(prices):
            raise ValueError(f"prices must have shape (n_days, 24 or 96), got {prices.shape}")
        if not np.abs(prices).max() <= MOST_EUR:
            raise ValueError(
                f"prices must be in [{-MOST_EUR:g}, {MOST_EUR:g}] EUR/kWh, got"
                f" {prices.flat[np.abs(prices).argmax()]:g}"
            )
        prices.flags.writeable = False
        object.__setattr__(self, "prices", prices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByStep) and np.array_equal(self.prices, other.prices)

    def __hash__(self) -> int:
        return hash((self.prices.shape, self.prices.tobytes()))

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        if len(self.prices) != series.n_days:
            raise ValueError(f"prices must be of the {series.n_days} days of the series, got {len(self.prices)}")
        quarters = np.repeat(self.prices, QUARTERS_PER_DAY // self.prices.shape[1], 1)
        by_step: NDArray[np.float64] = quarters.reshape(series.n_days, series.steps, -1).mean(axis=2)
        return by_step

    def plain(self) -> Any:
        """A dict with the numbers."""
        return {"kind": self.kind, "prices": self.prices.tolist()}


@dataclasses.dataclass(frozen=True)
class Sum(Schedule):
    """The sum of schedules, such as of an energy tariff and a network charge."""

    kind = "sum"
    parts: tuple[Schedule, ...]
    """The schedules, in any form that :func:`schedule` reads."""

    def __post_init__(self) -> None:
        parts = checks.sequence("parts", self.parts, "hold schedules")
        if not parts:
            raise ValueError("parts must hold at least one schedule, got none")
        object.__setattr__(self, "parts", tuple(schedule(f"parts[{at}]", part) for at, part in enumerate(parts)))

    def by_step(self, series: MarketSeries) -> NDArray[np.float64]:
        """As :meth:`Schedule.by_step`."""
        total: NDArray[np.float64] = np.sum([part.by_step(series) for part in self.parts], axis=0)
        return total

    def plain(self) -> Any:
        """A dict with the parts."""
        return {"kind": self.kind, "parts": [part.plain() for part in self.parts]}


KINDS: dict[str, type[Schedule]] = {each.kind: each for each in (Flat, ByHour, TimeOfUse, DayAhead, ByStep, Sum)}
"""The schedules by the names that scenario files have for them."""


if TYPE_CHECKING:
    AnyTariff = float | Schedule | Sequence[float] | Mapping[str, Any] | NDArray[Any]
else:
    # The annotation that fields of games have when they run: command lines make flags of it.
    AnyTariff = float | tuple[float, ...]
"""A tariff in any form that :func:`schedule` reads."""


def schedule(name: str, value: Any) -> Schedule:
    """Read a schedule in any of its forms.

    Parameters
    ----------
    name:
        Name of the argument, for errors.
    value:
        A :class:`Schedule`; a number (:class:`Flat`); 24 numbers (:class:`ByHour`); an array of shape (n_days, 24
        or 96) (:class:`ByStep`); or a dict with the ``kind`` of a schedule and its fields, such as ``{"kind":
        "day-ahead", "markup": 0.06}``.

    Raises
    ------
    TypeError, ValueError
        If it is none of them, or a field is unknown or not allowed; the message begins with ``name``.
    """
    if isinstance(value, Schedule):
        return value
    try:
        if isinstance(value, Mapping):
            return _from_mapping(value)
        found = checks.scalar(value)
        if isinstance(found, Sequence | np.ndarray) and not isinstance(found, str | bytes):
            is_table = getattr(found, "ndim", 0) == 2 or (len(found) and isinstance(found[0], Sequence))
            return ByStep(found) if is_table else ByHour(found)  # type: ignore[arg-type]
        return Flat(found)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _from_mapping(value: Mapping[Any, Any]) -> Schedule:
    fields = dict(value)
    kind = KINDS[checks.choice("kind", fields.pop("kind", None), tuple(KINDS))]
    return kind(**_known(kind, fields))


def _period(name: str, value: Any) -> Period:
    if isinstance(value, Period):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a Period or a dict of its fields, got {checks.shown(value)}")
    try:
        return Period(**_known(Period, dict(value)))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _known(kind: type[Any], fields: dict[Any, Any]) -> dict[str, Any]:
    """The fields, all of which a dataclass has, and which are all that it needs."""
    allowed = {field.name: field.default for field in dataclasses.fields(kind)}
    if unknown := checks.unknown_name(fields, allowed):
        raise ValueError(unknown)
    for field, default in allowed.items():
        if default is dataclasses.MISSING and field not in fields:
            raise ValueError(f"{field} is missing")
    return fields


def _price(name: str, value: Any) -> float:
    return checks.real(name, value, -MOST_EUR, MOST_EUR)


def _hourly(name: str, value: Any) -> tuple[float, ...]:
    prices = checks.sequence(name, value, "hold 24 prices, one an hour")
    if len(prices) != HOURS_PER_DAY:
        raise ValueError(f"{name} must hold 24 prices, one an hour, got {len(prices)}")
    return tuple(_price(f"{name}[{at}]", price) for at, price in enumerate(prices))


def _ranges(name: str, value: Any) -> list[tuple[int, int]]:
    """Begin and end of ranges of hours, in quarters since midnight; one over midnight becomes two."""
    wanted = f"{name} must be hours such as '17-21' or '6:30-9, 22-5', got {checks.shown(value)}"
    ranges = []
    for part in checks.text(name, value).split(","):
        match = HOUR_RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(wanted)
        begin, end = (
            4 * int(hour) + int(minute or 0) // 15 for hour, minute in (match.group(1, 2), match.group(3, 4))
        )
        if begin >= QUARTERS_PER_DAY or end > QUARTERS_PER_DAY or begin == end:
            raise ValueError(wanted)
        ranges += [(begin, end)] if begin < end else [(begin, QUARTERS_PER_DAY), (0, end)]
    return ranges


def _months(name: str, value: Any) -> set[int]:
    """The months of ranges of months, which may go over the turn of the year."""
    wanted = f"{name} must be months such as '11-3' or '1, 7-8', got {checks.shown(value)}"
    months: set[int] = set()
    for part in checks.text(name, value).split(","):
        match = MONTH_RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(wanted)
        first, last = int(match[1]), int(match[2] or match[1])
        if not (1 <= first <= MONTHS_PER_YEAR and 1 <= last <= MONTHS_PER_YEAR):
            raise ValueError(wanted)
        following = (last - first) % MONTHS_PER_YEAR + 1
        months |= {(first - 1 + step) % MONTHS_PER_YEAR + 1 for step in range(following)}
    return months
