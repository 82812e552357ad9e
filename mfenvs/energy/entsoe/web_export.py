"""The CSV export of the platform's web page (``gui-csv``)."""

import io
import math
import re
import zoneinfo
from collections.abc import Iterator, Sequence

from mfenvs.energy.entsoe.file import SourceFile, shown
from mfenvs.energy.entsoe.local_clock import LocalClock
from mfenvs.energy.entsoe.rows import Row, Selection, sequence_number
from mfenvs.energy.entsoe.table import table, tidy, unit_of

TIME_HEADER = re.compile(r"(?:MTU|Time)(?: \((?P<zone>[^)]*)\))?")

VALUE_HEADERS = (
    re.compile(r"Day-ahead Price [\[(](?P<unit>[A-Z]{3}/MWh)[\])]"),
    re.compile(r"Actual Total Load [\[(](?P<unit>MW)[\])](?: - (?P<area>.+))?"),
    re.compile(r"(?P<production>.+?) - Actual Aggregated [\[(](?P<unit>MW)[\])](?: - (?P<area>.+))?"),
    re.compile(r"Generation [\[(](?P<unit>MW)[\])]"),
)


def is_web_export(headers: Sequence[str]) -> bool:
    """Whether a table with these headers is an export of the web page."""
    return any(TIME_HEADER.fullmatch(name) for name in headers)


def web_export_rows(
    source: SourceFile, stream: io.BufferedReader, encoding: str, selection: Selection, zone: zoneinfo.ZoneInfo
) -> Iterator[Row]:
    """The wanted rows of an export whose clock is that of ``zone``, unless it says UTC."""
    export = table(source, stream, encoding)
    times = [name for name in export.headers if TIME_HEADER.fullmatch(name)]
    if len(times) != 1:
        raise source.error(
            f"must have one column MTU (...) or Time (...), got {_shown_headers(export.headers)}", 1
        )
    label = TIME_HEADER.fullmatch(times[0])["zone"]  # type: ignore[index]
    clock = LocalClock(source, times[0], label, zone)
    value = _value_column(source, export.headers, selection)
    named = _parts(value) or {}
    unit = named.get("unit") or unit_of(value)
    time_at, value_at = export.column[times[0]], export.column[value]
    area_at, sequence_at, production_at = (
        export.column.get(name) for name in ("Area", "Sequence", "Production Type")
    )
    of_column = named.get("production") or ""
    for line, cells in export.records:
        area = "" if area_at is None else cells[area_at].strip()
        sequence = None if sequence_at is None else sequence_number(source, cells[sequence_at].strip(), line)
        production = of_column if production_at is None else cells[production_at].strip() or of_column
        if not selection.admits(area, production, sequence):
            continue
        amount = source.number(cells[value_at], line, value)
        interval = clock.interval(cells[time_at], (area, production, sequence), line, math.isnan(amount))
        if interval is not None:
            yield Row(*interval, amount, line, value, unit, area, production, sequence)


def _parts(header: str) -> dict[str, str | None] | None:
    """Unit, area and production type in the header of a value column; None if it is another column's."""
    match = next((match for pattern in VALUE_HEADERS if (match := pattern.fullmatch(header))), None)
    return match.groupdict() if match else None


def _value_column(source: SourceFile, headers: Sequence[str], selection: Selection) -> str:
    if selection.column is not None:
        if tidy(selection.column) not in headers:
            raise source.error(
                f"has no column {shown(selection.column)}; its columns are {_shown_headers(headers)}", 1
            )
        return tidy(selection.column)
    known = [header for header in headers if _parts(header)]
    fits = []
    for header in known:
        parts = _parts(header) or {}
        if selection.admits(parts.get("area") or "", parts.get("production") or "", None):
            fits.append(header)
    if len(fits) == 1:
        return fits[0]
    if not known:
        raise source.error(
            "has no column of day-ahead prices, actual total load or actual generation; its columns are"
            f" {_shown_headers(headers)}; choose one by column=",
            1,
        )
    raise source.error(
        f"has {len(fits)} value columns that fit {selection.described()}, of {_shown_headers(known)}; choose one"
        " by production_type=, area= or column=",
        1,
    )


def _shown_headers(headers: Sequence[str]) -> str:
    more = " and more" if len(headers) > 60 else ""
    return f"{list(headers[:60])}{more}"
