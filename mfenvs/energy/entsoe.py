"""Reader of a user's own ENTSO-E Transparency Platform files, offline, in the three formats that it hands out.

``gui-csv``
    The web page's CSV export: local-time or UTC intervals in a column ``MTU (...)`` or ``Time (...)``; headers of
    the old platform (``Day-ahead Price [EUR/MWh]``, ``Solar  - Actual Aggregated [MW]``) and of the one of 2024 on
    (``Day-ahead Price (EUR/MWh)``, ``Production Type`` + ``Generation (MW)``).
``file-library``
    The tab-separated monthly files of the SFTP and FMS servers, in UTC: ``DateTime`` or ``DateTime(UTC)``,
    ``ResolutionCode``, areas, and ``Price``, ``TotalLoadValue``, ``ActualGenerationOutput`` or their later names.
``xml``
    The web API's ``Publication_MarketDocument`` and ``GL_MarketDocument``, curve types A01 and A03.

No library is needed: ``entsoe-py`` (MIT) parses the XML only, needs pandas, and checks neither gaps nor numbers.
The layouts are from its ``parsers.py`` and ``series_parsers.py`` (0.8.1) and from public copies of the files.
"""

import collections
import csv
import dataclasses
import io
import itertools
import math
import os
import re
import xml.etree.ElementTree as ET
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

Format = Literal["gui-csv", "file-library", "xml"]
FORMATS: tuple[Format, ...] = ("gui-csv", "file-library", "xml")

RESOLUTIONS = (15, 30, 60)
"""Minutes of a step that the platform publishes for loads, generation and prices."""

MAX_GAP_MINUTES = 180
"""The longest gap that ``missing="interpolate"`` fills unless told otherwise [O]."""

MISSING_CELLS = frozenset({"", "-", "n/e", "n/a"})

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

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
RESOLUTION_CODES = {"PT15M": 15, "PT30M": 30, "PT60M": 60, "PT1H": 60}

TIME_HEADER = re.compile(r"(?:MTU|Time)(?: \((?P<zone>[^)]*)\))?")
INTERVAL_END = r"(\d\d)[./](\d\d)[./](\d{4}) (\d\d):(\d\d)(?::(\d\d))?(?: \((\w+)\))?"
INTERVAL = re.compile(rf"{INTERVAL_END} - {INTERVAL_END}", re.ASCII)
GUI_VALUES = (
    re.compile(r"Day-ahead Price [\[(](?P<unit>[A-Z]{3}/MWh)[\])]"),
    re.compile(r"Actual Total Load [\[(](?P<unit>MW)[\])](?: - (?P<area>.+))?"),
    re.compile(r"(?P<production>.+?) - Actual Aggregated [\[(](?P<unit>MW)[\])](?: - (?P<area>.+))?"),
    re.compile(r"Generation [\[(](?P<unit>MW)[\])]"),
)

LIBRARY_TIMES = ("DateTime(UTC)", "DateTime")
LIBRARY_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.0+)?)?Z?", re.ASCII)
LIBRARY_AREAS = ("AreaCode", "AreaName", "AreaDisplayName", "MapCode", "AreaMapCode")
LIBRARY_VALUES = {
    "Price": "/MWh",
    "Price[Currency/MWh]": "/MWh",
    "TotalLoadValue": "MW",
    "TotalLoad[MW]": "MW",
    "ActualGenerationOutput": "MW",
    "ActualGenerationOutput[MW]": "MW",
}
"""Value columns and their units; a price's is completed by the row's ``Currency``."""

XML_ROOTS = ("Publication_MarketDocument", "GL_MarketDocument")
XML_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?Z", re.ASCII)
XML_AREAS = ("in_Domain.mRID", "out_Domain.mRID", "inBiddingZone_Domain.mRID", "outBiddingZone_Domain.mRID")
XML_UNITS = {"MAW": "MW", "MWH": "MWh"}


class EntsoeFormatError(ValueError):
    """A file that is not what the platform hands out, or that leaves open which of its series is meant.

    The text names the file, the line (from 1) and the column or XML element.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One series in equal steps without a gap.

    Parameters
    ----------
    start:
        Where each step begins, UTC, datetime64[s], shape (n,), read-only.
    values:
        Mean power of the step, or its price, float64, shape (n,), finite, read-only.
    resolution:
        Minutes of a step: 15, 30 or 60.
    name:
        The column, or the production type or document, that was read.
    unit:
        ``MW``, or a currency per MWh such as ``EUR/MWh``.

    Raises
    ------
    ValueError
        If the shapes differ, there is no step, a value is not finite, or the steps are not ``resolution`` apart.
    """

    start: NDArray[np.datetime64]
    values: NDArray[np.float64]
    resolution: int
    name: str
    unit: str

    def __post_init__(self) -> None:
        checks.choice("resolution", self.resolution, RESOLUTIONS)
        start = np.array(self.start, "datetime64[s]")
        values = np.array(self.values, np.float64)
        if start.ndim != 1 or len(start) == 0 or values.shape != start.shape:
            raise ValueError(
                f"start and values must have one shape (n,), n >= 1, got {start.shape} and {values.shape}"
            )
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"values[{at}] must be finite, got {values[at]!r}")
        wrong = np.flatnonzero(np.diff(start) != np.timedelta64(60 * self.resolution, "s"))
        if len(wrong):
            at = int(wrong[0]) + 1
            raise ValueError(
                f"start[{at}] must be {self.resolution} minutes after start[{at - 1}], got {start[at - 1]} and"
                f" {start[at]}"
            )
        for name, array in (("start", start), ("values", values)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)


def read_entsoe(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    column: str | None = None,
    area: str | None = None,
    area_type: str | None = None,
    production_type: str | None = None,
    sequence: int | None = None,
    resolution: int | None = None,
    timezone: str = "Europe/Berlin",
    missing: Literal["error", "interpolate"] = "error",
    max_gap: int = MAX_GAP_MINUTES,
) -> Series:
    """Read one series of a file.

    A file that holds several (areas, production types, auction sequences, resolutions) needs the argument that
    chooses among them; the error says which, and what the file offers. Equal rows for one time count once. Rows of
    the file library and periods of XML carry UTC times and are put in order; a CSV export must be in order, since
    its repeated autumn hour is told by the order (or by its marks CEST and CET, where it has them).

    Parameters
    ----------
    path:
        The file: UTF-8 with or without byte order mark (XML: as it declares).
    format:
        ``gui-csv``, ``file-library`` or ``xml``; None finds out from the content.
    column:
        The value column's header, if the reader's own choice is not wanted; not for XML. Its unit is taken from
        the header's last brackets.
    area:
        EIC code, map code or name, as written in the file; ``DE-LU`` also means ``BZN|DE-LU``.
    area_type:
        File library only: ``BZN``, ``CTA`` or ``CTY``, where one name means areas of several types.
    production_type:
        For instance ``Solar`` or ``Wind Onshore``, in any case; or its code such as ``B16``.
    sequence:
        Number of the auction sequence of day-ahead prices; 0 is the export's ``Without Sequence``.
    resolution:
        15, 30 or 60 minutes, where a file mixes them: rows of the others are left out.
    timezone:
        Clock of a CSV export that is not in UTC. A header that names another clock is an error.
    missing:
        ``error`` refuses a file with an absent step or value, naming the first; ``interpolate`` draws a straight
        line over at most ``max_gap`` minutes; it never goes beyond the first or last value.
    max_gap:
        Longest gap in minutes that is filled.

    Returns
    -------
    Series
        The steps in UTC.

    Raises
    ------
    EntsoeFormatError
        If the file has another form, wrong columns, numbers or times, repeats a time with another value, has a gap
        that is not filled, is an acknowledgement (the API's error message), declares a DTD, or holds several
        series.
    OSError
        If the file cannot be read.
    ValueError
        If an argument is none of those allowed.
    """
    if format is not None:
        checks.choice("format", format, FORMATS)
    checks.choice("missing", missing, ("error", "interpolate"))
    if resolution is not None:
        checks.choice("resolution", resolution, RESOLUTIONS)
    if sequence is not None:
        checks.integer("sequence", sequence, 0)
    checks.integer("max_gap", max_gap, 1)
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"timezone must be the name of an IANA time zone, got {timezone!r}") from error
    wanted = _Wanted(column, area, area_type, _production_name(production_type), sequence, resolution)
    source = _Source(Path(path))
    data = source.path.read_bytes()
    found = format or _format_of(source, data)
    if found == "xml":
        if column is not None:
            raise ValueError(f"column is not for xml, whose values have one name each; got {column!r}")
        rows = list(_xml_rows(source, data, wanted))
    else:
        text = _text(source, data)
        rows = _gui_rows(source, text, wanted, zone) if found == "gui-csv" else _library_rows(source, text, wanted)
    rows = _one_series(source, rows, wanted)
    if found == "gui-csv":
        _check_order(source, rows)
    return _series(source, rows, missing, max_gap)


class _Wanted(NamedTuple):
    """Which of a file's series is meant."""

    column: str | None
    area: str | None
    area_type: str | None
    production: str | None
    sequence: int | None
    resolution: int | None


class _Row(NamedTuple):
    """One step as read; ``value`` is nan where it is missing."""

    start: int
    minutes: int
    value: float
    line: int
    column: str
    unit: str
    area: str
    production: str
    sequence: int | None


class _Source(NamedTuple):
    path: Path

    def error(self, problem: str, line: int | None = None, column: str | None = None) -> EntsoeFormatError:
        """The error that names the file, the line and the column."""
        where = f"{self.path}"
        where += "" if line is None else f", line {line}"
        where += "" if column is None else f", column {column!r}"
        return EntsoeFormatError(f"{where}: {problem}")

    def number(self, cell: str, line: int, column: str) -> float:
        """A cell's number, nan if it is one of the platform's marks of a missing value."""
        cell = cell.strip()
        if cell.lower() in MISSING_CELLS:
            return math.nan
        if not NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
            raise self.error(
                f"must be a number with a decimal point, or n/e, N/A, - or nothing, got {cell!r}", line, column
            )
        return float(cell)

    def instant(self, pattern: re.Pattern[str], cell: str, form: str, line: int, column: str) -> int:
        """A UTC time in seconds since 1970, its parts from year to second matched by ``pattern``."""
        match = pattern.fullmatch(cell.strip())
        if match is None:
            raise self.error(f"must be a time {form}, got {cell!r}", line, column)
        try:
            return int(datetime(*(int(part or 0) for part in match.groups()), tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]
        except ValueError as error:
            raise self.error(f"must be a time {form}, got {cell!r} ({error})", line, column) from error

    def minutes(self, code: str, line: int, column: str) -> int:
        """The minutes of a resolution code."""
        if code.strip() not in RESOLUTION_CODES:
            raise self.error(f"must be one of {', '.join(RESOLUTION_CODES)}, got {code!r}", line, column)
        return RESOLUTION_CODES[code.strip()]


def _production_name(wanted: str | None) -> str | None:
    return None if wanted is None else PRODUCTION_TYPES.get(wanted.upper(), wanted)


def _text(source: _Source, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise source.error(
            f"must be UTF-8, but byte {data[error.start]:#04x} is not ({error.reason})", line
        ) from error


def _format_of(source: _Source, data: bytes) -> Format:
    if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "xml"
    header = _text(source, data).partition("\n")[0]
    names = [_tidy(name) for name in re.split(r'[",;\t]', header)]
    if any(TIME_HEADER.fullmatch(name) for name in names):
        return "gui-csv"
    if any(name in LIBRARY_TIMES for name in names):
        return "file-library"
    raise source.error(
        "is no ENTSO-E file: the first line must be XML, or have a column MTU (...) or Time (...) (CSV export) or"
        f" one of {', '.join(LIBRARY_TIMES)} (file library), got {header[:120]!r}",
        1,
    )


def _tidy(header: str) -> str:
    """A header with single spaces: the old platform writes two before a dash."""
    return " ".join(header.split())


class _Table(NamedTuple):
    """A text table: its headers, and an iterator over (line, cells by header)."""

    headers: list[str]
    records: Iterator[tuple[int, dict[str, str]]]


def _table(source: _Source, text: str) -> _Table:
    first = text.partition("\n")[0]
    delimiter = max("\t,;", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def lines() -> Iterator[list[str]]:
        try:
            yield from reader
        except csv.Error as error:
            raise source.error(
                f"the quotes are wrong ({error}); the file may be cut off", reader.line_num
            ) from error

    cells = lines()
    headers = [_tidy(cell) for cell in next(cells, [])]
    repeated = [name for name, count in collections.Counter(headers).items() if count > 1 and name]
    if repeated:
        raise source.error(f"the header {repeated[0]!r} stands twice", 1, repeated[0])

    def records() -> Iterator[tuple[int, dict[str, str]]]:
        for row in cells:
            if not row:
                continue
            if len(row) != len(headers):
                raise source.error(
                    f"has {len(row)} columns where the header has {len(headers)}; the file may be cut off",
                    reader.line_num,
                    headers[min(len(row), len(headers)) - 1],
                )
            yield reader.line_num, dict(zip(headers, (cell.strip() for cell in row), strict=True))

    return _Table(headers, records())


def _unit_of(header: str) -> str:
    brackets = re.findall(r"[\[(]([^\])]*)[\])]", header)
    return brackets[-1] if brackets else ""


def _gui_rows(source: _Source, text: str, wanted: _Wanted, zone: zoneinfo.ZoneInfo) -> list[_Row]:
    table = _table(source, text)
    times = [name for name in table.headers if TIME_HEADER.fullmatch(name)]
    if len(times) != 1:
        raise source.error(f"must have one column MTU (...) or Time (...), got {table.headers}", 1)
    label = TIME_HEADER.fullmatch(times[0])["zone"]  # type: ignore[index]
    clock = _Clock(source, times[0], _zone_named(source, label, zone, times[0]))
    value = _gui_value_column(source, table.headers, wanted)
    match = next((match for pattern in GUI_VALUES if (match := pattern.fullmatch(value))), None)
    named = match.groupdict() if match else {}
    rows = []
    for line, record in table.records:
        area = record.get("Area", "")
        sequence = _sequence_number(source, record["Sequence"], line) if "Sequence" in record else None
        production = record.get("Production Type") or named.get("production") or ""
        if not _is_wanted(wanted, area, production, sequence):
            continue
        amount = source.number(record[value], line, value)
        interval = clock.interval(record[times[0]], (area, production, sequence), line, math.isnan(amount))
        if interval is not None:
            unit = named.get("unit") or _unit_of(value)
            rows.append(_Row(*interval, amount, line, value, unit, area, production, sequence))
    return rows


def _zone_named(
    source: _Source, label: str | None, zone: zoneinfo.ZoneInfo, header: str
) -> zoneinfo.ZoneInfo | None:
    """The clock of an export, None for UTC; the user's zone must be the one that the header names."""
    if label == "UTC":
        return None
    names = [datetime(2024, month, 1, tzinfo=zone).tzname() for month in (1, 7)]
    if label is not None and label != "/".join(map(str, names)):
        raise source.error(
            f"says that the clock is {label}, but timezone={zone.key!r} is {'/'.join(map(str, names))};"
            " give the timezone of the export",
            1,
            header,
        )
    return zone


def _gui_value_column(source: _Source, headers: Sequence[str], wanted: _Wanted) -> str:
    if wanted.column is not None:
        if _tidy(wanted.column) not in headers:
            raise source.error(f"has no column {wanted.column!r}; its columns are {list(headers)}", 1)
        return _tidy(wanted.column)
    fits: list[str] = []
    known: list[str] = []
    for header in headers:
        match = next((match for pattern in GUI_VALUES if (match := pattern.fullmatch(header))), None)
        if match is None:
            continue
        known.append(header)
        parts = match.groupdict()
        area_fits = wanted.area is None or not parts.get("area") or _names_area(parts["area"], wanted.area)
        production_fits = (
            wanted.production is None
            or "production" not in parts
            or parts["production"].lower() == wanted.production.lower()
        )
        if area_fits and production_fits:
            fits.append(header)
    if len(fits) == 1:
        return fits[0]
    if not known:
        raise source.error(
            "has no column of day-ahead prices, actual total load or actual generation; its columns are"
            f" {list(headers)}; choose one by column=",
            1,
        )
    raise source.error(
        f"has {len(fits)} value columns that fit {_asked(wanted)}, of {known}; choose one by production_type=,"
        " area= or column=",
        1,
    )


def _asked(wanted: _Wanted) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in wanted._asdict().items() if value is not None)
    return given or "no choice"


def _sequence_number(source: _Source, cell: str, line: int) -> int:
    """1 of ``Sequence 1``, ``Sequence Sequence 1`` or ``1``; 0 of ``Without Sequence`` or nothing."""
    if cell.lower() in MISSING_CELLS | {"without sequence"}:
        return 0
    match = re.fullmatch(r"(?:Sequence )*(\d+)", cell, re.ASCII)
    if match is None:
        raise source.error(f"must be Sequence and a number, or Without Sequence, got {cell!r}", line, "Sequence")
    return int(match[1])


def _names_area(written: str, area: str) -> bool:
    return area.lower() in (written.lower(), written.rpartition("|")[2].lower())


def _is_wanted(wanted: _Wanted, area: str, production: str, sequence: int | None) -> bool:
    return (
        (wanted.area is None or not area or _names_area(area, wanted.area))
        and (wanted.production is None or not production or production.lower() == wanted.production.lower())
        and (wanted.sequence is None or sequence is None or sequence == wanted.sequence)
    )


class _Clock:
    """Turns a CSV export's local intervals into UTC; counts how often each reading of the clock has come."""

    def __init__(self, source: _Source, header: str, zone: zoneinfo.ZoneInfo | None) -> None:
        self.source, self.header, self.zone = source, header, zone
        self.seen: collections.Counter[tuple[object, datetime, int]] = collections.Counter()

    def interval(self, cell: str, series: object, line: int, is_missing: bool) -> tuple[int, int] | None:
        """Start in seconds since 1970 and minutes; None for a missing value of the hour that spring leaves out."""
        form = "'dd.mm.yyyy hh:mm - dd.mm.yyyy hh:mm', with points or slashes"
        match = INTERVAL.fullmatch(_tidy(cell))
        if match is None:
            raise self.source.error(f"must be an interval {form}, got {cell!r}", line, self.header)
        parts = match.groups()
        try:
            begin, end = (
                datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
                for day, month, year, hour, minute, second, _ in (parts[:7], parts[7:])
            )
        except ValueError as error:
            raise self.source.error(
                f"must be an interval {form}, got {cell!r} ({error})", line, self.header
            ) from error
        minutes = self._minutes(begin, end, cell, line)
        if self.zone is None:
            return int(begin.replace(tzinfo=UTC).timestamp()), minutes
        first, second = (begin.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        if _is_skipped(first):
            if not is_missing:
                raise self.source.error(
                    f"{cell!r} is no time in {self.zone.key}: the clock skips it", line, self.header
                )
            return None
        if first.utcoffset() == second.utcoffset():
            return int(first.timestamp()), minutes
        mark = parts[6]
        if mark is not None and mark not in (first.tzname(), second.tzname()):
            raise self.source.error(f"{mark} is no clock of {self.zone.key}, got {cell!r}", line, self.header)
        if mark is not None:
            return int((first if mark == first.tzname() else second).timestamp()), minutes
        times = self.seen[series, begin, minutes]
        self.seen[series, begin, minutes] += 1
        if times > 1:
            raise self.source.error(
                f"{cell!r} stands for the third time; it occurs twice that day", line, self.header
            )
        return int((second if times else first).timestamp()), minutes

    def _minutes(self, begin: datetime, end: datetime, cell: str, line: int) -> int:
        minutes = (end - begin) // timedelta(minutes=1)
        if minutes in RESOLUTIONS:
            return minutes
        if self.zone is not None:
            # An interval that meets the change of the clock reads an hour too long or too short.
            before, after = ((begin + timedelta(hours=h)).replace(tzinfo=self.zone).utcoffset() for h in (-3, 3))
            shift = (after - before) // timedelta(minutes=1)  # type: ignore[operator]
            if shift and minutes - shift in RESOLUTIONS:
                return minutes - shift
        raise self.source.error(f"must span one of {RESOLUTIONS} minutes, got {cell!r}", line, self.header)


def _is_skipped(moment: datetime) -> bool:
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) != moment.replace(tzinfo=None)


def _library_rows(source: _Source, text: str, wanted: _Wanted) -> list[_Row]:
    table = _table(source, text)
    time = next((name for name in LIBRARY_TIMES if name in table.headers), None)
    if time is None or "ResolutionCode" not in table.headers:
        raise source.error(
            "must have a column DateTime(UTC) or DateTime, and ResolutionCode, separated by tabs; got"
            f" {table.headers}",
            1,
        )
    values = [name for name in table.headers if name in LIBRARY_VALUES]
    if wanted.column is not None:
        values = [name for name in table.headers if name == _tidy(wanted.column)]
    if len(values) != 1:
        raise source.error(
            f"must have one value column, {wanted.column or ' or '.join(LIBRARY_VALUES)}, got {table.headers}", 1
        )
    value = values[0]
    rows = []
    for line, record in table.records:
        if record.get("ContractType", "Day-ahead").lower() != "day-ahead":
            continue
        area_names = [record[name] for name in LIBRARY_AREAS if record.get(name)]
        types = record.get("AreaTypeCode", "")
        if wanted.area is not None and not any(_names_area(name, wanted.area) for name in area_names):
            continue
        if wanted.area_type is not None and wanted.area_type.upper() not in types.upper().split("/"):
            continue
        production = record.get("ProductionType", "")
        sequence = _sequence_number(source, record["Sequence"], line) if "Sequence" in record else None
        if not _is_wanted(wanted, "", production, sequence):
            continue
        start = source.instant(LIBRARY_TIME, record[time], "yyyy-mm-dd hh:mm:ss (UTC)", line, time)
        minutes = source.minutes(record["ResolutionCode"], line, "ResolutionCode")
        amount = source.number(record[value], line, value)
        unit = LIBRARY_VALUES.get(value) or _unit_of(value)
        unit = record.get("Currency", "") + unit if unit == "/MWh" else unit
        area = f"{area_names[0] if area_names else ''} {types}".strip()
        rows.append(_Row(start, minutes, amount, line, value, unit, area, production, sequence))
    return rows


class _Document:
    """An XML tree that knows its lines; a document type declaration, and with it any entity, is refused."""

    def __init__(self, source: _Source, data: bytes) -> None:
        self.source = source
        self.lines: dict[ET.Element, int] = {}
        builder = ET.TreeBuilder()
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True

        def begin(tag: str, attributes: dict[str, str]) -> None:
            self.lines[builder.start(tag.rpartition("}")[2], attributes)] = parser.CurrentLineNumber

        def refuse(*_: object) -> None:
            raise source.error(
                "declares a document type (DTD), which ENTSO-E's files never do", parser.CurrentLineNumber
            )

        parser.StartElementHandler = begin
        parser.EndElementHandler = lambda tag: builder.end(tag.rpartition("}")[2])
        parser.CharacterDataHandler = builder.data
        parser.StartDoctypeDeclHandler = refuse
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise source.error(
                f"is no well-formed XML ({error}); the file may be cut off", error.lineno
            ) from error
        self.root = builder.close()

    def text(self, parent: ET.Element, path: str) -> str:
        """The text of a descendant, which must be there."""
        found = parent.find(path)
        if found is None or not (found.text or "").strip():
            raise self.source.error(
                f"has no element {path} within {parent.tag}", self.lines[parent], f"{parent.tag}/{path}"
            )
        return (found.text or "").strip()

    def line(self, parent: ET.Element, path: str) -> int:
        """The line of a descendant that is there."""
        found = parent.find(path)
        return self.lines[parent if found is None else found]


def _xml_rows(source: _Source, data: bytes, wanted: _Wanted) -> Iterator[_Row]:
    document = _Document(source, data)
    root = document.root
    if root.tag == "Acknowledgement_MarketDocument":
        reasons = [
            f"{reason.findtext('code', '?').strip()}: {reason.findtext('text', '').strip()}"
            for reason in root.iter("Reason")
        ]
        raise source.error(
            f"is an acknowledgement, so the API returned no data ({'; '.join(reasons) or 'no reason'})",
            document.lines[root],
            root.tag,
        )
    if root.tag not in XML_ROOTS:
        raise source.error(
            f"the document must be {' or '.join(XML_ROOTS)}, got {root.tag}", document.lines[root], root.tag
        )
    for series in root.iter("TimeSeries"):
        # A type's consumption (pumps, auxiliaries) comes as a series of its own, out of the zone.
        if series.find("MktPSRType") is not None and series.find("outBiddingZone_Domain.mRID") is not None:
            continue
        areas = [(series.findtext(name) or "").strip() for name in XML_AREAS]
        area = next((name for name in areas if name), "")
        production = (series.findtext("MktPSRType/psrType") or "").strip()
        production = PRODUCTION_TYPES.get(production, production)
        path = "classificationSequence_AttributeInstanceComponent.position"
        place = (series.findtext(path) or "").strip()
        sequence = _sequence_number(source, place, document.line(series, path)) if place else None
        if not _is_wanted(wanted, area, production, sequence):
            continue
        quantity = "price.amount" if series.find("quantity_Measure_Unit.name") is None else "quantity"
        unit = _xml_unit(document, series, quantity)
        for period in series.iter("Period"):
            curve = (series.findtext("curveType") or "A01").strip()
            for start, minutes, value, line in _xml_period(document, period, curve, quantity):
                path = f"TimeSeries/Period/Point/{quantity}"
                yield _Row(start, minutes, value, line, path, unit, area, production, sequence)


def _xml_unit(document: _Document, series: ET.Element, quantity: str) -> str:
    if quantity == "quantity":
        unit = document.text(series, "quantity_Measure_Unit.name")
        return XML_UNITS.get(unit, unit)
    per = document.text(series, "price_Measure_Unit.name")
    return f"{document.text(series, 'currency_Unit.name')}/{XML_UNITS.get(per, per)}"


def _xml_period(
    document: _Document, period: ET.Element, curve: str, quantity: str
) -> Iterator[tuple[int, int, float, int]]:
    """Start, minutes, value and line of each step; curve A03 leaves out the points that repeat the last value."""
    source = document.source
    if curve not in ("A01", "A03"):
        raise source.error(
            f"curve type must be A01 or A03, got {curve!r}", document.lines[period], "TimeSeries/curveType"
        )
    paths = ("timeInterval/start", "timeInterval/end")
    begin, end = (
        source.instant(
            XML_TIME,
            document.text(period, path),
            "yyyy-mm-ddThh:mmZ",
            document.line(period, path),
            f"Period/{path}",
        )
        for path in paths
    )
    minutes = source.minutes(
        document.text(period, "resolution"), document.line(period, "resolution"), "Period/resolution"
    )
    n_steps, rest = divmod(end - begin, 60 * minutes)
    if n_steps < 1 or rest:
        raise source.error(
            f"the interval must be a whole number >= 1 of {minutes} minutes, got {(end - begin) / 60:g} minutes",
            document.line(period, "timeInterval"),
            "Period/timeInterval",
        )
    points: list[tuple[int, float, int]] = []
    for point in period.iter("Point"):
        cell = document.text(point, "position")
        line = document.line(point, "position")
        last = points[-1][0] if points else 0
        if not re.fullmatch(r"\d+", cell, re.ASCII) or not last < int(cell) <= n_steps:
            raise source.error(
                f"must be an integer in [{last + 1}, {n_steps}], growing from point to point, got {cell!r}",
                line,
                "Period/Point/position",
            )
        if curve == "A03" and not points and int(cell) != 1:
            raise source.error(f"the first of curve type A03 must be 1, got {cell}", line, "Period/Point/position")
        line = document.line(point, quantity)
        points.append((int(cell), source.number(document.text(point, quantity), line, f"Point/{quantity}"), line))
    if not points:
        raise source.error("has no Point", document.lines[period], "TimeSeries/Period")
    positions = [position for position, _, _ in points] + [n_steps + 1]
    for (position, value, line), following in zip(points, positions[1:], strict=True):
        for step in range(position, following if curve == "A03" else position + 1):
            yield begin + 60 * minutes * (step - 1), minutes, value, line


def _one_series(source: _Source, rows: list[_Row], wanted: _Wanted) -> list[_Row]:
    """The rows of the wanted resolution, which must belong to one series."""
    if not rows:
        raise source.error(f"has no row that fits {_asked(wanted)}")
    choices: tuple[tuple[str, Callable[[_Row], object]], ...] = (
        ("area (area=, area_type=)", lambda row: row.area),
        ("production type (production_type=)", lambda row: row.production),
        ("resolution in minutes (resolution=)", lambda row: row.minutes),
        ("sequence (sequence=)", lambda row: row.sequence),
        ("unit", lambda row: row.unit),
    )
    for name, key in choices:
        if name.startswith("resolution") and wanted.resolution is not None:
            offered = sorted({row.minutes for row in rows})
            rows = [row for row in rows if row.minutes == wanted.resolution]
            if not rows:
                raise source.error(f"has no row of resolution={wanted.resolution} minutes, only of {offered}")
        found: dict[object, int] = {}
        for row in rows:
            found.setdefault(key(row), row.line)
        if len(found) > 1:
            line = list(found.values())[1]
            more = " ..." if len(found) > 8 else ""
            raise source.error(f"has more than one {name}: {list(found)[:8]}{more}; choose one", line)
    return rows


def _check_order(source: _Source, rows: Sequence[_Row]) -> None:
    for before, row in itertools.pairwise(rows):
        if row.start < before.start:
            raise source.error(
                f"the rows must be in order of time, but {_utc(row.start)} comes after {_utc(before.start)}",
                row.line,
            )


def _utc(start: int) -> str:
    return f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC"


def _series(source: _Source, rows: list[_Row], missing: str, max_gap: int) -> Series:
    """The rows in order, each time once, gaps refused or filled."""
    rows = sorted(rows, key=lambda row: row.start)
    kept: list[_Row] = []
    for row in rows:
        if not kept or row.start != kept[-1].start:
            kept.append(row)
        elif row.value != kept[-1].value and not (math.isnan(row.value) and math.isnan(kept[-1].value)):
            first, second = sorted((kept[-1], row), key=lambda row: row.line)
            raise source.error(
                f"{_utc(row.start)} has the value {second.value:g}, but {first.value:g} in line {first.line}",
                second.line,
                row.column,
            )
    step = 60 * kept[0].minutes
    last = kept[0]
    for row in kept:
        if (row.start - kept[0].start) % step:
            raise source.error(
                f"{_utc(row.start)} is no whole number of {last.minutes}-minute steps after the first row",
                row.line,
            )
        if missing == "error" and row.start > last.start + step:
            raise source.error(
                f"nothing from {_utc(last.start + step)} to {_utc(row.start)} (rows are missing before this line);"
                " missing='interpolate' fills short gaps",
                row.line,
                row.column,
            )
        if missing == "error" and math.isnan(row.value):
            raise source.error(
                f"the value of {_utc(row.start)} is missing; missing='interpolate' fills short gaps",
                row.line,
                row.column,
            )
        last = row
    times = np.arange(kept[0].start, kept[-1].start + step, step)
    given = [row for row in kept if not math.isnan(row.value)]
    for row in (kept[0], kept[-1]):
        if math.isnan(row.value):
            raise source.error(
                f"the value of {_utc(row.start)}, at an end, has no neighbour to fill it", row.line, row.column
            )
    for before, after in itertools.pairwise(given):
        absent = (after.start - before.start) // 60 - kept[0].minutes
        if absent > max_gap:
            raise source.error(
                f"no value for {absent} minutes from {_utc(before.start + step)}, more than max_gap={max_gap}",
                after.line,
                after.column,
            )
    values = np.interp(times, [row.start for row in given], [row.value for row in given])
    row = kept[0]
    name = f"{row.production}: {row.column}" if row.production and row.production not in row.column else row.column
    return Series(times.astype("datetime64[s]"), values, row.minutes, name, row.unit)
