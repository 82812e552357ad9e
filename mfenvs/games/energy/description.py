"""What a market was made with, as a dict from which an equal one can be made and as a text to read."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import HOURS_PER_DAY
from mfenvs.energy.members import Member
from mfenvs.energy.members import plain as plain_members
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tariffs import Schedule
from mfenvs.game import Game
from mfenvs.games.energy.market_tariffs import Tariffs
from mfenvs.games.energy.prosumer_types import TYPES

MOST_KINDS_OF_DAYS = 6
"""Most kinds of days whose tariffs are shown one by one; of more, the mean of each hour and its range."""

ELSEWHERE = ("n_agents", "members", "series", "law")
"""Fields that have paragraphs of their own."""


class Description(dict[str, Any]):
    """The terms of a market as keyword arguments of its class; as a text, all that it was made with.

    Copies and pickles have the terms only.

    Parameters
    ----------
    terms:
        The terms.
    write:
        Makes the text when it is asked for; None for that of a dict.
    """

    def __init__(
        self, terms: Iterable[tuple[str, Any]] | Mapping[str, Any] = (), write: Callable[[], str] | None = None
    ) -> None:
        super().__init__(terms)
        self._write = write

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __str__(self) -> str:
        return dict.__repr__(self) if self._write is None else self._write()

    __repr__ = __str__


def plain_term(value: Any) -> Any:
    """A term of a market as numbers, texts, lists and dicts, as far as it can be: a series in memory cannot."""
    if isinstance(value, Schedule):
        return value.plain()
    if isinstance(value, tuple) and value and isinstance(value[0], Member):
        return plain_members(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | MarketSeries):
        return dataclasses.asdict(value)
    return value


def described(
    game: Game, agents: NDArray[Any], series: MarketSeries, days: NDArray[np.int64], tariffs: Tariffs
) -> str:
    """All that a market was made with, as a text.

    Parameters
    ----------
    game:
        The market, or its image in bins.
    agents:
        Its members, (N,) of :data:`mfenvs.games.energy.prosumer_types.PROSUMER`.
    series:
        The series that is played.
    days:
        Its days that are played, in order, shape (n,).
    tariffs:
        The tariffs of each day and step.
    """
    terms = {field.name: getattr(game, field.name) for field in dataclasses.fields(game) if field.init}
    law = dataclasses.asdict(terms["law"])
    parts = [
        f"{type(game).__name__} with {game.n_agents} members",
        _heading("Members", _members(agents, series)),
        _heading("Tariffs by hour, EUR/kWh; retail with the network charge", _tariffs(series, days, tariffs)),
        _heading("Series", _series(terms["series"], series, days)),
        _heading("Terms", [f"{name} = {_shown(each)}" for name, each in terms.items() if name not in ELSEWHERE]),
        _heading("Laws of what is drawn", [f"{name} = {each!r}" for name, each in law.items()]),
    ]
    return "\n\n".join(parts)


def _heading(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _shown(value: Any) -> str:
    return checks.shown(plain_term(value))


def _members(agents: NDArray[Any], series: MarketSeries) -> list[str]:
    """Number and totals of each type, and of all."""
    of_profile = series.load.sum(axis=(0, 1), dtype=np.float64) * 365 / series.n_days / 1000
    totals = {
        "members": np.ones(len(agents)),
        "load MWh/a": agents["load_scale"] * of_profile[agents["profile"]],
        "PV kWp": agents["pv_kwp"],
        "wind kW": agents["wind_kw"],
        "battery kWh": agents["capacity"],
        "battery kW": agents["power"],
        "vehicles": agents["vehicle_energy"] > 0,
    }
    rows = [["", *totals]]
    for at, kind in enumerate((*TYPES, "all")):
        is_one = agents["type"] == at if kind in TYPES else np.ones(len(agents), bool)
        if is_one.any():
            rows.append(
                [kind, *(_rounded(float(np.sum(each[is_one], dtype=np.float64))) for each in totals.values())]
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _rounded(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) or abs(number) >= 100 else f"{number:,.1f}"


def _tariffs(series: MarketSeries, days: NDArray[np.int64], tariffs: Tariffs) -> list[str]:
    """The tariffs of each kind of day, as ranges of hours with one price."""
    dates, lines = [series.dates[day] for day in days], []
    for name, prices in (("retail", tariffs.retail[days]), ("feed-in", tariffs.feed_in[days])):
        kinds, of_day = np.unique(prices, axis=0, return_inverse=True)
        of_day = of_day.reshape(-1)
        if len(kinds) > MOST_KINDS_OF_DAYS:
            hourly = prices.reshape(len(prices), HOURS_PER_DAY, -1)
            mean, low, high = hourly.mean((0, 2)), hourly.min((0, 2)), hourly.max((0, 2))
            lines.append(f"{name}, which changes from day to day: mean (lowest to highest)")
            lines += [
                f"  {hour:2d}-{hour + 1:<2d}  {mean[hour]:.3f} ({low[hour]:.3f} to {high[hour]:.3f})"
                for hour in range(HOURS_PER_DAY)
            ]
            continue
        for at, kind in enumerate(kinds):
            which = np.flatnonzero(of_day == at)
            label = name if len(kinds) == 1 else f"{name} on {_days_shown(dates, which)}"
            lines.append(f"{label}: {', '.join(_ranges(kind))}")
    return lines


def _days_shown(dates: Sequence[str], which: NDArray[np.int64]) -> str:
    if len(which) <= 3:
        return ", ".join(dates[at] for at in which)
    return f"{len(which)} days such as {dates[which[0]]} and {dates[which[1]]}"


def _ranges(prices: NDArray[np.float64]) -> list[str]:
    """Times of a day with one price each."""
    steps = len(prices)
    changes = [0, *(np.flatnonzero(np.diff(prices)) + 1).tolist(), steps]
    return [
        f"{_clock(begin, steps)}-{_clock(end, steps)} {prices[begin]:.4g}"
        for begin, end in itertools.pairwise(changes)
    ]


def _clock(step: int, steps: int) -> str:
    minutes = step * HOURS_PER_DAY * 60 // steps
    return f"{minutes // 60}" + (f":{minutes % 60:02d}" if minutes % 60 else "")


def _series(given: Any, series: MarketSeries, days: NDArray[np.int64]) -> list[str]:
    """Where the series is from, which days are played, and its amounts in a year."""
    dates = [series.dates[day] for day in days]
    n_days = len(dates)
    whole_year = 365 / n_days
    load, pv = (getattr(series, name)[days].sum((0, 1), dtype=np.float64) * whole_year for name in ("load", "pv"))
    price = series.price[days]
    return [
        f"source: {'in memory' if isinstance(given, MarketSeries) else given}",
        f"days played: {n_days} of {series.n_days}, {dates[0]} to {dates[-1]}, in {series.steps} steps each",
        f"profiles: {series.n_profiles}, of {load.min():,.0f} to {load.max():,.0f} kWh load and"
        f" {pv.min():,.0f} to {pv.max():,.0f} kWh per kWp of PV in 365 days",
        f"wind: {series.wind[days].sum(dtype=np.float64) * whole_year:,.0f} kWh per kW in 365 days",
        f"day-ahead price: {price.mean():.4f} EUR/kWh ({price.min():.4f} to {price.max():.4f})",
        f"carbon intensity: {series.co2[days].mean():.3f} kg/kWh",
    ]
