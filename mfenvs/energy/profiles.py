"""Series of one's own by column: loads and PV of members or types of homes, prices, carbon intensities."""

import collections
import dataclasses
import itertools
import math
import re
import warnings
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.calendar import HOURS_PER_DAY, STEP_MINUTES, time_zone, whole_days
from mfenvs.energy.country_days import NIGHT_SHARE
from mfenvs.energy.embedded_data import GERMANY_CLOCK
from mfenvs.energy.entsoe.file import FIRST_YEAR, LAST_YEAR, MAX_BYTES, MAX_STEPS
from mfenvs.energy.entsoe.rows import MAX_GAP_MINUTES
from mfenvs.energy.entsoe.series import RESOLUTIONS
from mfenvs.energy.tables import Row, Table, number, read_table

ENERGIES = {"kWh": 1.0, "Wh": 1e-3}
"""Units of the energy of a step, and how many kWh they are."""
POWERS = {"kW": 1.0, "W": 1e-3}
"""Units of the mean power of a step, and how many kW they are."""
MEANS = {
    "EUR/kWh": ("EUR/kWh", 1.0),
    "EUR/MWh": ("EUR/kWh", 1e-3),
    "kg/kWh": ("kg/kWh", 1.0),
    "g/kWh": ("kg/kWh", 1e-3),
}
"""Units of prices and carbon intensities, with the unit that they are kept in and the factor to it."""
UNITS = (*ENERGIES, *POWERS, *MEANS)

TIME = re.compile(
    r"(?:(\d{4})-(\d\d)-(\d\d)|(\d\d)\.(\d\d)\.(\d{4}))[ T](\d\d):(\d\d)(?::(\d\d)(?:\.0+)?)?"
    r"(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
TIME_FORM = "a time 'yyyy-mm-dd hh:mm' or 'dd.mm.yyyy hh:mm', perhaps with its distance from UTC such as +01:00"


@dataclasses.dataclass(frozen=True, eq=False)
class Profiles:
    """Columns of energies, prices or carbon intensities over whole days in equal steps from 00:00.

    Parameters
    ----------
    values:
        kWh of the step, or the step's mean in another unit; float64, shape (n_days, steps 24 or 96, n_columns),
        finite, read-only.
    names:
        Names of the columns.
    dates:
        Label of each day, such as ``2024-07-02``.
    unit:
        ``kWh``, ``EUR/kWh`` or ``kg/kWh``.

    Raises
    ------
    TypeError, ValueError
        If a shape, a name, a label or the unit is not allowed, or a number is not finite.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    dates: tuple[str, ...]
    unit: str

    def __post_init__(self) -> None:
        values = checks.finite_numbers("values", self.values).copy()
        allowed = tuple(HOURS_PER_DAY * 60 // minutes for minutes in STEP_MINUTES)
        if values.ndim != 3 or not values.size or values.shape[1] not in allowed:
            raise ValueError(f"values must have shape (n_days, 24 or 96, n_columns), got {values.shape}")
        for field, length in (("names", values.shape[2]), ("dates", values.shape[0])):
            given = checks.sequence(field, getattr(self, field), "hold texts")
            texts = tuple(checks.text(f"{field}[{at}]", each) for at, each in enumerate(given))
            if len(texts) != length or len(set(texts)) < length:
                raise ValueError(f"{field} must be {length} different texts, got {checks.shown(given)}")
            object.__setattr__(self, field, texts)
        checks.choice("unit", checks.text("unit", self.unit), ("kWh", "EUR/kWh", "kg/kWh"))
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def minutes(self) -> int:
        """Length of a step."""
        return HOURS_PER_DAY * 60 // int(self.values.shape[1])

    def resampled(self, minutes: int) -> Self:
        """The same in steps of 15 or 60 minutes: energies are added or split evenly, other units averaged."""
        minutes = checks.choice("minutes", minutes, STEP_MINUTES)
        n_days, steps, n = self.values.shape
        parts = max(self.minutes, minutes) // min(self.minutes, minutes)
        if minutes <= self.minutes:
            values = np.repeat(self.values, parts, 1) / (parts if self.unit == "kWh" else 1)
        else:
            values = self.values.reshape(n_days, steps // parts, parts, n).sum(2)
            values = values / (1 if self.unit == "kWh" else parts)
        return dataclasses.replace(self, values=values)

    def chosen(self, *names: str) -> Self:
        """The columns of these names; ValueError if there is none of one of them."""
        for name in names:
            checks.choice("names", checks.text("names", name), self.names)
        values = self.values[:, :, [self.names.index(name) for name in names]]
        return dataclasses.replace(self, values=values, names=names)

    def on(self, dates: Sequence[str]) -> NDArray[np.float64]:
        """The values of these days, which must all be among its own, shape (len(dates), steps, n_columns)."""
        at = {date: n for n, date in enumerate(self.dates)}
        return self.values[[at[date] for date in dates]]


def read_profiles(
    given: Any,
    unit: str,
    *,
    timezone: str = GERMANY_CLOCK,
    missing: Literal["error", "interpolate"] = "error",
    max_gap: int = MAX_GAP_MINUTES,
    max_bytes: int = MAX_BYTES,
) -> Profiles:
    """Read a table whose first column is the time, and each other column a series of numbers.

    A time is the beginning of its step; steps of 15, 30 or 60 minutes follow each other. Times are of the local
    clock: ``2024-07-02 13:15`` or ``02.07.2024 13:15``. The hour that the clock repeats in autumn stands twice,
    and that which it skips in spring is left out. Times with a distance from UTC (``+02:00`` or ``Z``) are that
    instant. Days of 23 or 25 hours, and days that the table does not hold whole, are left out [O].

    Energies and powers are >= 0; small negative ones, down to -1 % of the column's maximum, such as PV systems
    draw at night, count as 0 with a warning.

    Parameters
    ----------
    given:
        Path of a CSV or Parquet file, or a table in memory, as :func:`~mfenvs.energy.tables.read_table` takes it.
    unit:
        Of all numbers: ``kWh`` or ``Wh`` (energy of the step), ``kW`` or ``W`` (mean power of the step),
        ``EUR/kWh``, ``EUR/MWh``, ``kg/kWh`` or ``g/kWh``.
    timezone:
        IANA name of the clock of the times, and whose midnight begins a day. ``UTC`` fits tables of a clock that
        never changes.
    missing:
        ``error`` refuses an absent step or number, naming the first; ``interpolate`` draws a straight line over at
        most ``max_gap`` minutes, never beyond the first or last number.
    max_gap:
        Longest gap in minutes that is filled.
    max_bytes:
        Most bytes of a CSV file once it is unpacked.

    Returns
    -------
    Profiles
        In kWh, EUR/kWh or kg/kWh, with dates ``yyyy-mm-dd``, in steps of 15 minutes or of an hour (half-hours
        become quarters).

    Raises
    ------
    TableError
        If the table is not of this form; it names the file, the line and the column.
    TypeError, ValueError, ImportError, OSError
        If an argument is none of those allowed, ``pyarrow`` is needed, or the file cannot be read.

    Warns
    -----
    UserWarning
        If small negative numbers are set to 0.
    """
    checks.choice("unit", checks.text("unit", unit), UNITS)
    checks.choice("missing", missing, ("error", "interpolate"))
    max_gap = checks.integer("max_gap", max_gap, 1)
    max_bytes = checks.integer("max_bytes", max_bytes, 1)
    zone = time_zone("timezone", timezone)
    table = read_table("the table of profiles", given, max_bytes)
    if len(table.columns) < 2:
        raise table.error("must have a column of times and then at least one of numbers", "line 1")
    starts, rows, numbers = _steps(table, zone)
    minutes = _resolution(table, starts, rows)
    values, places = _on_grid(table, starts, rows, numbers, minutes)
    _fill(table, values, places, starts[0], minutes, missing, max_gap)
    if unit not in MEANS:
        _check_signs(table, values, places)
    first_of = whole_days(datetime.fromtimestamp(starts[0], UTC), len(values), minutes, zone)
    if not first_of:
        raise table.error(f"holds no whole day of {zone.key}; a day has 24 hours from 00:00 on")
    steps = HOURS_PER_DAY * 60 // minutes
    by_day = np.stack([values[first : first + steps] for first in first_of.values()])
    if unit in MEANS:
        kept_unit, factor = MEANS[unit]
    else:
        kept_unit, factor = "kWh", POWERS[unit] * minutes / 60 if unit in POWERS else ENERGIES[unit]
    by_day = by_day * factor
    if minutes not in STEP_MINUTES:
        finest = min(STEP_MINUTES)
        by_day = np.repeat(by_day, minutes // finest, 1) / (minutes // finest if kept_unit == "kWh" else 1)
    return Profiles(by_day, table.columns[1:], tuple(map(str, first_of)), kept_unit)


def _steps(table: Table, zone: zoneinfo.ZoneInfo) -> tuple[list[int], list[Row], NDArray[np.float64]]:
    """When each row begins, in seconds since 1970; the rows, without their cells; and the numbers."""
    starts: list[int] = []
    rows: list[Row] = []
    numbers: list[NDArray[np.float64]] = []
    seen: set[datetime] = set()
    for row in table.rows:
        if len(rows) == MAX_STEPS:
            raise table.error(f"has more than {MAX_STEPS} rows", row.place)
        starts.append(_instant(table, row, zone, seen))
        rows.append(row._replace(cells=()))
        numbers.append(_numbers(table, row))
    if not rows:
        raise table.error("has no row")
    return starts, rows, np.stack(numbers)


def _numbers(table: Table, row: Row) -> NDArray[np.float64]:
    """The numbers of a row, quickly where all cells hold one."""
    try:
        quickly = np.array([*map(float, row.cells[1:])])
        if np.isfinite(quickly).all() and not any("_" in str(cell) for cell in row.cells[1:]):
            return quickly
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array([number(table, row, at) for at in range(1, len(table.columns))])


def _instant(table: Table, row: Row, zone: zoneinfo.ZoneInfo, seen: set[datetime]) -> int:
    """The time of a row in seconds since 1970. Local times that were seen are those that autumn repeats."""
    cell, column = row.cells[0], table.columns[0]
    moment = _moment(cell)
    if moment is None or moment.microsecond or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise table.error(
            f"must be {TIME_FORM}, in the years {FIRST_YEAR} to {LAST_YEAR}, got {checks.shown(cell)}",
            row.place,
            column,
        )
    if moment.tzinfo is not None:
        return int(moment.timestamp())
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    before, after = first.utcoffset() or timedelta(), second.utcoffset() or timedelta()
    if before < after:
        raise table.error(
            f"{checks.shown(cell)} is no time in {zone.key}: the clock skips it (timezone='UTC' is a clock that"
            " never changes)",
            row.place,
            column,
        )
    is_second = before > after and moment in seen
    seen.add(moment)
    return int((second if is_second else first).timestamp())


def _moment(cell: Any) -> datetime | None:
    """The time that a cell holds; None if it holds none."""
    if isinstance(cell, datetime):  # also pandas' Timestamp
        return None if cell != cell else cell.replace(fold=0) if cell.tzinfo is None else cell
    if isinstance(cell, np.datetime64):
        found = cell.astype("datetime64[us]").item()
        return found if isinstance(found, datetime) else None
    match = TIME.fullmatch(cell.strip()) if isinstance(cell, str) else None
    if match is None:
        return None
    year, month, day = match.group(1, 2, 3) if match[1] else match.group(6, 5, 4)
    zone: tzinfo | None = None
    if match[10]:
        zone = datetime.strptime(match[10], "%z").tzinfo
    try:
        return datetime(
            int(year), int(month), int(day), int(match[7]), int(match[8]), int(match[9] or 0), tzinfo=zone
        )
    except ValueError:
        return None


def _resolution(table: Table, starts: list[int], rows: list[Row]) -> int:
    """Minutes of a step: the commonest distance of two rows; all rows must be whole steps behind the first."""
    distances = [after - before for before, after in itertools.pairwise(starts)]
    if not distances:
        raise table.error("must have at least two rows, got one")
    for distance, row in zip(distances, rows[1:], strict=True):
        if distance <= 0:
            raise table.error("must be later than the time before it", row.place, table.columns[0])
    step = collections.Counter(sorted(distances)).most_common(1)[0][0]
    if step not in [60 * minutes for minutes in RESOLUTIONS]:
        raise table.error(
            f"must be one of {', '.join(map(str, RESOLUTIONS))} minutes after the time before it, got"
            f" {step / 60:g} minutes",
            rows[1 + distances.index(step)].place,
            table.columns[0],
        )
    for start, row in zip(starts, rows, strict=True):
        if (start - starts[0]) % step:
            raise table.error(
                f"must be a whole number of steps of {step // 60} minutes after the first time",
                row.place,
                table.columns[0],
            )
    return step // 60


def _on_grid(
    table: Table, starts: list[int], rows: list[Row], numbers: NDArray[np.float64], minutes: int
) -> tuple[NDArray[np.float64], list[str]]:
    """The numbers of every step from the first row to the last, nan where there is none; and places for errors."""
    at = [(start - starts[0]) // (60 * minutes) for start in starts]
    n_steps = at[-1] + 1
    if n_steps > MAX_STEPS:
        raise table.error(f"spans {n_steps} steps of {minutes} minutes, more than {MAX_STEPS}", rows[-1].place)
    values = np.full((n_steps, numbers.shape[1]), math.nan)
    values[at] = numbers
    places = [""] * n_steps
    for step, row in zip(at, rows, strict=True):
        places[step] = row.place
    for step in range(n_steps - 2, -1, -1):
        places[step] = places[step] or f"before {places[step + 1].removeprefix('before ')}"
    return values, places


def _fill(
    table: Table,
    values: NDArray[np.float64],
    places: list[str],
    start: int,
    minutes: int,
    missing: str,
    max_gap: int,
) -> None:
    """Refuse missing numbers, or draw straight lines over short gaps, in place."""
    for column in np.flatnonzero(np.isnan(values).any(0)).tolist():
        is_absent = np.isnan(values[:, column])
        name = table.columns[1 + column]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], is_absent, [0]]))).reshape(-1, 2)
        for begin, end in edges.tolist():
            when = f"{datetime.fromtimestamp(start + 60 * minutes * begin, UTC):%Y-%m-%d %H:%M} UTC"
            if missing == "error":
                raise table.error(
                    f"the number of {when} is missing; missing='interpolate' fills short gaps", places[begin], name
                )
            if begin == 0 or end == len(values):
                raise table.error(
                    f"the number of {when}, at an end, has no neighbour to fill it", places[begin], name
                )
            if (end - begin) * minutes > max_gap:
                raise table.error(
                    f"no number for {(end - begin) * minutes} minutes from {when}, more than max_gap={max_gap}",
                    places[begin],
                    name,
                )
        known = np.flatnonzero(~is_absent)
        values[:, column] = np.interp(np.arange(len(values)), known, values[known, column])


def _check_signs(table: Table, values: NDArray[np.float64], places: list[str]) -> None:
    """Set small negative numbers to 0 with a warning, in place, and refuse lower ones."""
    is_wrong = values < -NIGHT_SHARE * values.max(0)
    if is_wrong.any():
        step, column = np.argwhere(is_wrong)[0].tolist()
        raise table.error(f"must be >= 0, got {values[step, column]:g}", places[step], table.columns[1 + column])
    if (is_small := values < 0).any():
        warnings.warn(
            f"{table.source}: {int(is_small.sum())} numbers between {values.min():g} and 0 count as 0",
            UserWarning,
            stacklevel=3,
        )
        values[is_small] = 0.0
