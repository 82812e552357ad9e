"""Read one series of a file of the ENTSO-E Transparency Platform."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from mfenvs import checks
from mfenvs.energy.calendar import time_zone
from mfenvs.energy.entsoe.api_xml import xml_rows
from mfenvs.energy.entsoe.file import MAX_BYTES, SourceFile, encoding_of, shown
from mfenvs.energy.entsoe.file_library import TIMES, is_library_file, library_rows
from mfenvs.energy.entsoe.rows import (
    MAX_GAP_MINUTES,
    PRODUCTION_TYPES,
    Selection,
    check_order,
    gathered,
    in_finest_steps,
    series_of,
)
from mfenvs.energy.entsoe.series import RESOLUTIONS, Series
from mfenvs.energy.entsoe.table import tidy
from mfenvs.energy.entsoe.web_export import is_web_export, web_export_rows

Format = Literal["gui-csv", "file-library", "xml"]
FORMATS: tuple[Format, ...] = ("gui-csv", "file-library", "xml")


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
    step_minutes: int | Literal["finest"] | None = None,
    timezone: str = "Europe/Berlin",
    missing: Literal["error", "interpolate"] = "error",
    max_gap: int = MAX_GAP_MINUTES,
    max_bytes: int = MAX_BYTES,
) -> Series:
    """Read one series of a file.

    A file that holds several (areas, production types, auction sequences, resolutions) needs the argument that
    chooses among them; the error says which, and what the file offers. Equal rows for one time count once; of
    different ones the row with the later ``UpdateTime`` holds, where the file has that column, and else they are
    an error. Rows of the file library and periods of XML carry UTC times and are put in order; a CSV export must
    be in order, since its repeated autumn hour is told by the order (or by its marks CEST and CET, where it has
    them).

    Parameters
    ----------
    path:
        The file, plain or compressed by gzip. Text is UTF-8 or UTF-16; XML may also declare US-ASCII, ISO-8859-1
        or windows-1252.
    format:
        ``gui-csv``, ``file-library`` or ``xml``; None finds out from the content.
    column:
        The value column's header, if the reader's own choice is not wanted; not for XML. Its unit is taken from
        the header's last brackets.
    area:
        EIC code (the market's code of an area), map code or name, as written in the file; ``DE-LU`` also means
        ``BZN|DE-LU``.
    area_type:
        File library only: ``BZN`` (bidding zone), ``CTA`` (control area) or ``CTY`` (country), where one name
        means areas of several types.
    production_type:
        For instance ``Solar`` or ``Wind Onshore``, in any case; or its code such as ``B16``.
    sequence:
        Number of the auction sequence of day-ahead prices; 0 is the export's ``Without Sequence``.
    resolution:
        15, 30 or 60 minutes, where a file mixes them: rows of the others are left out.
    step_minutes:
        15, 30 or 60: bring the series to this step, by means of shorter steps and by repetition of longer ones
        (:meth:`Series.resampled`). Rows of several resolutions, as in a file over 1 October 2025 when day-ahead
        prices went from hours to quarters of an hour, then make one series; where two cover the same time, they
        must agree. ``finest`` takes the shortest step that the wanted rows have. None allows one resolution only.
    timezone:
        IANA name of the clock of a CSV export that is not in UTC. A header or cell that names another clock is an
        error.
    missing:
        ``error`` refuses a file with an absent step or value, naming the first; ``interpolate`` draws a straight
        line over at most ``max_gap`` minutes; it never goes beyond the first or last value.
    max_gap:
        Longest gap in minutes that is filled.
    max_bytes:
        Most bytes of the file once it is unpacked. Whatever it is, a series has at most
        :data:`~mfenvs.energy.entsoe.MAX_STEPS` steps, and times lie in the years 1970 to 2100.

    Returns
    -------
    Series
        The steps in UTC.

    Raises
    ------
    EntsoeFormatError
        If the file has another form, wrong columns, numbers or times, repeats a time with another value, has a gap
        that is not filled, is an acknowledgement (the API's error message), declares a DTD (document type), holds
        several series, is damaged, or exceeds a limit.
    OSError
        If the file cannot be read.
    TypeError, ValueError
        If an argument is none of those allowed.
    """
    if format is not None:
        checks.choice("format", format, FORMATS)
    checks.choice("missing", missing, ("error", "interpolate"))
    max_gap = checks.integer("max_gap", max_gap, 1)
    max_bytes = checks.integer("max_bytes", max_bytes, 1)
    zone = time_zone("timezone", timezone)
    selection = Selection(
        column=_optional_text("column", column),
        area=_optional_text("area", area),
        area_type=_optional_text("area_type", area_type),
        production=_production(production_type),
        sequence=None if sequence is None else checks.integer("sequence", sequence, 0),
        resolution=None if resolution is None else checks.choice("resolution", resolution, RESOLUTIONS),
    )
    if step_minutes is not None:
        step_minutes = checks.choice("step_minutes", step_minutes, (*RESOLUTIONS, "finest"))
        selection = selection._replace(brings_to_one_step=True)
    source = SourceFile(_path("path", path))
    with source.opened(max_bytes) as stream:
        head = stream.peek()
        encoding = encoding_of(head)
        found = _format_of(source, head, encoding) if format is None else format
        if found == "xml":
            if column is not None:
                raise ValueError(f"column is not for xml, whose values have one name each; got {column!r}")
            rows = gathered(source, xml_rows(source, stream, encoding, selection), selection)
        elif found == "gui-csv":
            rows = gathered(source, web_export_rows(source, stream, encoding, selection, zone), selection)
            check_order(source, rows)
        else:
            rows = gathered(source, library_rows(source, stream, encoding, selection), selection)
    if step_minutes is None:
        return series_of(source, rows, missing, max_gap)
    series = series_of(source, in_finest_steps(rows), missing, max_gap)
    if step_minutes == "finest":
        return series
    try:
        return series.resampled(step_minutes)
    except ValueError as error:
        raise source.error(f"step_minutes={step_minutes} does not fit: {error}") from error


def _path(name: str, value: Any) -> Path:
    """``value`` as a path; an open file or its number is none."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path (a text or os.PathLike), got {checks.shown(value)}")
    place = os.fspath(value)
    if not isinstance(place, str) or not place or "\0" in place:
        raise ValueError(f"{name} must be a path (a text that is not empty), got {checks.shown(value)}")
    return Path(place)


def _optional_text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text or None, got {checks.shown(value)}")
    return None if value is None else str(value)


def _production(wanted: Any) -> str | None:
    name = _optional_text("production_type", wanted)
    return None if name is None else PRODUCTION_TYPES.get(name.upper(), name)


def _format_of(source: SourceFile, head: bytes, encoding: str) -> Format:
    text = head.decode(encoding, "replace").lstrip("\ufeff")
    if text.lstrip().startswith("<"):
        return "xml"
    header = re.split(r"[\r\n]", text, maxsplit=1)[0]
    names = [tidy(name) for name in re.split(r'[",;\t]', header)]
    if is_web_export(names):
        return "gui-csv"
    if is_library_file(names):
        return "file-library"
    raise source.error(
        "is no ENTSO-E file: the first line must be XML, or have a column MTU (...) or Time (...) (CSV export) or"
        f" one of {', '.join(TIMES)} (file library), got {shown(header)}",
        1,
    )
