"""The monthly files of the platform's file library (``file-library``), in UTC."""

import io
import re
from collections.abc import Iterator, Sequence

from mfenvs.energy.entsoe.file import SourceFile
from mfenvs.energy.entsoe.rows import Row, Selection, sequence_number
from mfenvs.energy.entsoe.table import table, tidy, unit_of

TIMES = ("DateTime(UTC)", "DateTime")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.0+)?)?Z?", re.ASCII)
AREAS = ("AreaCode", "AreaName", "AreaDisplayName", "MapCode", "AreaMapCode")
UPDATES = ("UpdateTime(UTC)", "UpdateTime")
VALUES = {
    "Price": "/MWh",
    "Price[Currency/MWh]": "/MWh",
    "TotalLoadValue": "MW",
    "TotalLoad[MW]": "MW",
    "ActualGenerationOutput": "MW",
    "ActualGenerationOutput[MW]": "MW",
}
"""Value columns and their units; a price's is completed by the row's ``Currency``."""


def is_library_file(headers: Sequence[str]) -> bool:
    """Whether a table with these headers is a file of the library."""
    return any(name in TIMES for name in headers)


def library_rows(
    source: SourceFile, stream: io.BufferedReader, encoding: str, selection: Selection
) -> Iterator[Row]:
    """The wanted rows of a file of the library."""
    file = table(source, stream, encoding)
    time = next((name for name in TIMES if name in file.column), None)
    if time is None or "ResolutionCode" not in file.column:
        raise source.error(
            "must have a column DateTime(UTC) or DateTime, and ResolutionCode, separated by tabs; got"
            f" {file.headers[:60]}",
            1,
        )
    wanted = VALUES if selection.column is None else (tidy(selection.column),)
    values = [name for name in file.headers if name in wanted]
    if len(values) != 1:
        raise source.error(f"must have one value column, {' or '.join(wanted)}, got {file.headers[:60]}", 1)
    value = values[0]
    unit = VALUES.get(value) or unit_of(value)
    areas = [file.column[name] for name in AREAS if name in file.column]
    update = next((name for name in UPDATES if name in file.column), None)
    column = file.column
    for line, cells in file.records:

        def cell(name: str, otherwise: str = "", cells: list[str] = cells) -> str:
            return cells[column[name]].strip() if name in column else otherwise

        if cell("ContractType", "Day-ahead").lower() != "day-ahead":
            continue
        area_names = [name for at in areas if (name := cells[at].strip())]
        types = cell("AreaTypeCode")
        if selection.area is not None and not any(map(selection.names_area, area_names)):
            continue
        if selection.area_type is not None and selection.area_type.upper() not in types.upper().split("/"):
            continue
        production = cell("ProductionType")
        sequence = sequence_number(source, cell("Sequence"), line) if "Sequence" in column else None
        if not selection.admits("", production, sequence):
            continue
        start = source.instant(TIME, cell(time), "yyyy-mm-dd hh:mm:ss (UTC)", line, time)
        minutes = source.minutes(cell("ResolutionCode"), line, "ResolutionCode")
        amount = source.number(cell(value), line, value)
        row_unit = cell("Currency") + unit if unit == "/MWh" else unit
        area = f"{area_names[0] if area_names else ''} {types}".strip()
        updated = "" if update is None else cell(update)
        yield Row(start, minutes, amount, line, value, row_unit, area, production, sequence, updated)
