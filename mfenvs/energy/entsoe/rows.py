"""Rows of a file: which of them are wanted, whether they belong to one series, and the series that they make."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from mfenvs.energy.entsoe.file import MAX_STEPS, MISSING_CELLS, SourceFile, shown
from mfenvs.energy.entsoe.series import Series

MAX_GAP_MINUTES = 180
"""The longest gap that ``missing="interpolate"`` fills unless told otherwise [O]."""

PRODUCTION_TYPES = {
    "B01": "Biomass",
    "B02": "Fossil Brown coal/Lignite",
    "B03": "Fossil Coal-derived gas",
    "B04": "Fossil Gas",
    "B05": "Fossil Hard coal",
    "B06": "Fossil Oil",
    "B07": "Fossil Oil shale",
    "B08": "Fossil Peat",
    "B09": "Geothermal",
    "B10": "Hydro Pumped Storage",
    "B11": "Hydro Run-of-river and poundage",
    "B12": "Hydro Water Reservoir",
    "B13": "Marine",
    "B14": "Nuclear",
    "B15": "Other renewable",
    "B16": "Solar",
    "B17": "Waste",
    "B18": "Wind Offshore",
    "B19": "Wind Onshore",
    "B20": "Other",
    "B25": "Energy storage",
}
"""The platform's code list of production types (psrType)."""

SEQUENCE = re.compile(r"(?:Sequence )*(\d{1,9})", re.ASCII)
UPDATE_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?Z?", re.ASCII)


class Selection(NamedTuple):
    """Which of a file's series is wanted; None where the caller made no choice."""

    column: str | None
    area: str | None
    area_type: str | None
    production: str | None
    sequence: int | None
    resolution: int | None
    brings_to_one_step: bool = False
    """Whether rows of several resolutions may be mixed, since they are brought to one step."""

    def names_area(self, written: str) -> bool:
        """Whether the file writes the wanted area so: ``DE-LU`` is also written ``BZN|DE-LU``."""
        return self.area is None or self.area.lower() in (written.lower(), written.rpartition("|")[2].lower())

    def admits(self, area: str, production: str, sequence: int | None) -> bool:
        """Whether a row of these is wanted; what a row does not say, as "" or None, is no hindrance."""
        return (
            (not area or self.names_area(area))
            and (self.production is None or not production or production.lower() == self.production.lower())
            and (self.sequence is None or sequence is None or sequence == self.sequence)
        )

    def described(self) -> str:
        """The caller's choices, for errors."""
        given = ", ".join(f"{name}={value!r}" for name, value in self._choices().items() if value is not None)
        return given or "no choice"

    def _choices(self) -> dict[str, object]:
        return {name: value for name, value in self._asdict().items() if name != "brings_to_one_step"}


class Row(NamedTuple):
    """One step as read from a file."""

    start: int
    """Beginning of the step, UTC, in seconds since 1970."""
    minutes: int
    """Length of the step."""
    value: float
    """Power or price of the step; nan where the file has none."""
    line: int
    column: str
    unit: str
    area: str
    production: str
    sequence: int | None
    """Number of the auction sequence of day-ahead prices, if the file has sequences."""
    updated: str = ""
    """When the platform last changed the value, as written; "" where the file does not say."""


def sequence_number(source: SourceFile, cell: str, line: int) -> int:
    """1 of ``Sequence 1``, ``Sequence Sequence 1`` or ``1``; 0 of ``Without Sequence`` or nothing."""
    match = SEQUENCE.fullmatch(cell)
    if match:
        return int(match[1])
    if cell.lower() in MISSING_CELLS or cell.lower() == "without sequence":
        return 0
    raise source.error(f"must be Sequence and a number, or Without Sequence, got {shown(cell)}", line, "Sequence")


def gathered(source: SourceFile, rows: Iterable[Row], selection: Selection) -> list[Row]:
    """All wanted rows, which must be at most ``MAX_STEPS`` and belong to one series."""
    kept = list(itertools.islice(rows, MAX_STEPS + 1))
    if len(kept) > MAX_STEPS:
        # Where the file holds several series, that is the more helpful error.
        _of_one_series(source, kept, selection)
        raise source.error(
            f"holds more than {MAX_STEPS} steps of the series, the most that are read of a file", kept[-1].line
        )
    return _of_one_series(source, kept, selection)


def _of_one_series(source: SourceFile, rows: list[Row], selection: Selection) -> list[Row]:
    """The rows of the wanted resolution, which must belong to one series."""
    if not rows:
        raise source.error(f"has no row that fits {selection.described()}")
    choices: tuple[tuple[str, Callable[[Row], object]], ...] = (
        ("area (area=, area_type=)", lambda row: row.area),
        ("production type (production_type=)", lambda row: row.production),
        ("resolution in minutes (resolution=)", lambda row: row.minutes),
        ("sequence (sequence=)", lambda row: row.sequence),
        ("unit", lambda row: row.unit),
    )
    for name, key in choices:
        if name.startswith("resolution") and selection.resolution is not None:
            offered = sorted({row.minutes for row in rows})
            rows = [row for row in rows if row.minutes == selection.resolution]
            if not rows:
                raise source.error(f"has no row of resolution={selection.resolution} minutes, only of {offered}")
        if name.startswith("resolution") and selection.brings_to_one_step:
            continue
        found: dict[object, int] = {}
        for row in rows:
            found.setdefault(key(row), row.line)
        if len(found) > 1:
            line = list(found.values())[1]
            more = " ..." if len(found) > 8 else ""
            other = "; step_minutes= brings all to one step" if name.startswith("resolution") else ""
            raise source.error(f"has more than one {name}: {list(found)[:8]}{more}; choose one{other}", line)
    return rows


def check_order(source: SourceFile, rows: Sequence[Row]) -> None:
    """Check that no row is earlier than the one before it."""
    for before, row in itertools.pairwise(rows):
        if row.start < before.start:
            raise source.error(
                f"the rows must be in order of time, but {_utc(row.start)} comes after {_utc(before.start)}",
                row.line,
            )


def in_finest_steps(rows: list[Row]) -> list[Row]:
    """The rows in steps of the shortest of them; a longer row is repeated."""
    finest = min(row.minutes for row in rows)
    if all(row.minutes == finest for row in rows):
        return rows
    return [
        row._replace(start=row.start + 60 * finest * part, minutes=finest)
        for row in rows
        for part in range(row.minutes // finest)
    ]


def series_of(source: SourceFile, rows: list[Row], missing: str, max_gap: int) -> Series:
    """The series of the rows: in order, each time once, gaps refused or filled."""
    kept = _each_time_once(source, sorted(rows, key=lambda row: row.start))
    first, step = kept[0], 60 * kept[0].minutes
    before = first
    for row in kept:
        if (row.start - first.start) % step:
            raise source.error(
                f"{_utc(row.start)} is no whole number of {first.minutes}-minute steps after the first row",
                row.line,
            )
        if missing == "error" and row.start > before.start + step:
            raise source.error(
                f"nothing from {_utc(before.start + step)} to {_utc(row.start)} (rows are missing before this"
                " line); missing='interpolate' fills short gaps",
                row.line,
                row.column,
            )
        if missing == "error" and math.isnan(row.value):
            raise source.error(
                f"the value of {_utc(row.start)} is missing; missing='interpolate' fills short gaps",
                row.line,
                row.column,
            )
        before = row
    for row in (first, kept[-1]):
        if math.isnan(row.value):
            raise source.error(
                f"the value of {_utc(row.start)}, at an end, has no neighbour to fill it", row.line, row.column
            )
    given = [row for row in kept if not math.isnan(row.value)]
    for before, after in itertools.pairwise(given):
        absent = (after.start - before.start) // 60 - first.minutes
        if absent > max_gap:
            raise source.error(
                f"no value for {absent} minutes from {_utc(before.start + step)}, more than max_gap={max_gap}",
                after.line,
                after.column,
            )
    n_steps = (kept[-1].start - first.start) // step + 1
    if n_steps > MAX_STEPS:
        raise source.error(
            f"would make {n_steps} steps from {_utc(first.start)} to {_utc(kept[-1].start)}, more than"
            f" {MAX_STEPS}",
            kept[-1].line,
        )
    times = first.start + step * np.arange(n_steps)
    values = np.interp(times, [row.start for row in given], [row.value for row in given])
    is_named = first.production and first.production not in first.column
    name = f"{first.production}: {first.column}" if is_named else first.column
    return Series(times.astype("datetime64[s]"), values, first.minutes, name, first.unit)


def _each_time_once(source: SourceFile, rows: Iterable[Row]) -> list[Row]:
    """Sorted rows without repetition: of two values for one time the one that was updated later holds."""
    kept: list[Row] = []
    for row in rows:
        if not kept or row.start != kept[-1].start:
            kept.append(row)
        elif row.value != kept[-1].value and not (math.isnan(row.value) and math.isnan(kept[-1].value)):
            kept[-1] = _later(source, *sorted((kept[-1], row), key=lambda row: row.line))
        elif row.updated > kept[-1].updated:
            kept[-1] = row
    return kept


def _later(source: SourceFile, first: Row, second: Row) -> Row:
    """The one of two rows for one time that was updated later."""
    if first.updated and second.updated:
        times = [
            source.instant(UPDATE_TIME, row.updated, "yyyy-mm-dd hh:mm:ss (UTC)", row.line, "UpdateTime")
            for row in (first, second)
        ]
        if times[0] != times[1]:
            return first if times[0] > times[1] else second
    raise source.error(
        f"{_utc(second.start)} has the value {second.value:g}, but {first.value:g} in line {first.line}",
        second.line,
        second.column,
    )


def _utc(start: int) -> str:
    return f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC"
