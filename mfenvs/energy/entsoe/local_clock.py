"""The local clock of a CSV export: its intervals as the clock on the wall shows them, turned into UTC."""

import collections
import re
import zoneinfo
from datetime import UTC, datetime, timedelta

from mfenvs.energy.entsoe.file import SourceFile, shown
from mfenvs.energy.entsoe.series import RESOLUTIONS
from mfenvs.energy.entsoe.table import tidy

_END = r"(\d\d)[./](\d\d)[./](\d{4}) (\d\d):(\d\d)(?::(\d\d))?(?: \((\w+)\))?"
INTERVAL = re.compile(rf"{_END} - {_END}(?: \((?P<label>\w+/\w+)\))?", re.ASCII)
"""Beginning and end, each perhaps with a mark such as (CEST), or both with a label such as (CET/CEST) behind."""

SECONDS_PER_DAY = 24 * 60 * 60
EPOCH, MINUTE, SECOND = datetime(1970, 1, 1), timedelta(minutes=1), timedelta(seconds=1)

SECONDS: dict[tuple[str | None, ...], int] = {
    (f"{minute // 60:02d}", f"{minute % 60:02d}"): 60 * minute for minute in range(24 * 60)
}
"""Seconds since midnight by hour and minute as written."""

WHOLE_MINUTES = ((None,) * 4, ("00", None, "00", None))
"""Seconds and mark of the beginning and of the end, of an interval without marks."""

INTERVAL_FORM = "an interval 'dd.mm.yyyy hh:mm - dd.mm.yyyy hh:mm', with points or slashes"


class LocalClock:
    """Turns local intervals into UTC; counts how often each reading of the clock has come.

    Parameters
    ----------
    source:
        The file, for errors.
    header:
        Header of the column of times, for errors.
    label:
        Clock that the header names: ``UTC``, the zone's names such as ``CET/CEST``, or None.
    zone:
        The user's time zone; it must be the one that the header or a cell names.

    Raises
    ------
    EntsoeFormatError
        If ``label`` names another clock than ``zone``.
    """

    def __init__(self, source: SourceFile, header: str, label: str | None, zone: zoneinfo.ZoneInfo) -> None:
        self.source, self.header = source, header
        self.zone = self._zone_named(label, zone, 1)
        self.seen: collections.Counter[tuple[object, datetime, int]] = collections.Counter()
        self._midnights: dict[tuple[str | None, ...], int | None] = {}
        """When each day that occurred begins, in seconds since 1970, by day, month, year and label as written;
        None if the clock changes on it. So years of quarter-hours are read faster."""

    def interval(self, cell: str, series: object, line: int, is_missing: bool) -> tuple[int, int] | None:
        """Beginning in seconds since 1970 and length in minutes of the interval in a cell.

        None for a missing value of the hour that the clock skips in spring. ``series`` tells apart series in which
        the clock's repeated hour of autumn comes twice each.
        """
        # Only a cell with other white space than single blanks needs to be tidied.
        match = INTERVAL.fullmatch(cell) or INTERVAL.fullmatch(tidy(cell))
        if match is None:
            raise self.source.error(f"must be {INTERVAL_FORM}, got {shown(cell)}", line, self.header)
        parts = match.groups()
        if (quickly := self._within_known_day(parts)) is not None:
            return quickly
        begin, end = (
            self.source.time((year, month, day, hour, minute, second), cell, INTERVAL_FORM, line, self.header)
            for day, month, year, hour, minute, second, _ in (parts[:7], parts[7:14])
        )
        begin_mark, end_mark = parts[6], parts[13]
        label = match["label"] or ("UTC" if end_mark == "UTC" else None)
        zone = self.zone
        if label is not None and zone is not None:
            zone = self._zone_named(label, zone, line)
        minutes = self._minutes(begin, end, zone, cell, line)
        self._midnights[*parts[:3], match["label"]] = _midnight(begin, zone)
        if zone is None:
            if label not in (None, "UTC") or begin_mark not in (None, "UTC"):
                raise self.source.error(f"the clock is UTC, but got {shown(cell)}", line, self.header)
            return (begin - EPOCH) // SECOND, minutes
        first, second = begin.replace(tzinfo=zone), begin.replace(tzinfo=zone, fold=1)
        before, after = zone.utcoffset(first) or timedelta(), zone.utcoffset(second) or timedelta()
        if begin_mark is not None and begin_mark not in (first.tzname(), second.tzname()):
            raise self.source.error(
                f"{begin_mark} is no clock of {zone.key}, got {shown(cell)}", line, self.header
            )
        if before == after:
            return (begin - EPOCH - before) // SECOND, minutes
        if before < after:
            if not is_missing:
                raise self.source.error(
                    f"{shown(cell)} is no time in {zone.key}: the clock skips it", line, self.header
                )
            return None
        if begin_mark is not None:
            return int((first if begin_mark == first.tzname() else second).timestamp()), minutes
        times = self.seen[series, begin, minutes]
        self.seen[series, begin, minutes] += 1
        if times > 1:
            raise self.source.error(
                f"{shown(cell)} stands for the third time; it occurs twice that day", line, self.header
            )
        return int((second if times else first).timestamp()), minutes

    def _within_known_day(self, parts: tuple[str | None, ...]) -> tuple[int, int] | None:
        """The interval, if it is written without marks and lies within a known day of 24 hours."""
        midnight = self._midnights.get((parts[0], parts[1], parts[2], parts[14]))
        if midnight is None or parts[:3] != parts[7:10] or parts[5:7] + parts[12:14] not in WHOLE_MINUTES:
            return None
        begin, end = SECONDS.get(parts[3:5]), SECONDS.get(parts[10:12])
        if begin is None or end is None or (end - begin) // 60 not in RESOLUTIONS:
            return None
        return midnight + begin, (end - begin) // 60

    def _zone_named(self, label: str | None, zone: zoneinfo.ZoneInfo, line: int) -> zoneinfo.ZoneInfo | None:
        """The clock of a label, None for UTC."""
        if label == "UTC":
            return None
        names = "/".join(str(datetime(2024, month, 1, tzinfo=zone).tzname()) for month in (1, 7))
        if label is not None and label != names:
            raise self.source.error(
                f"says that the clock is {label}, but timezone={zone.key!r} is {names}; give the timezone of the"
                " export",
                line,
                self.header,
            )
        return zone

    def _minutes(
        self, begin: datetime, end: datetime, zone: zoneinfo.ZoneInfo | None, cell: str, line: int
    ) -> int:
        minutes = (end - begin) // MINUTE
        if minutes in RESOLUTIONS:
            return minutes
        if zone is not None:
            # An interval that meets the change of the clock reads an hour too long or too short.
            before, after = ((begin + timedelta(hours=h)).replace(tzinfo=zone).utcoffset() for h in (-3, 3))
            shift = (after - before) // MINUTE  # type: ignore[operator]
            if shift and minutes - shift in RESOLUTIONS:
                return minutes - shift
        raise self.source.error(f"must span one of {RESOLUTIONS} minutes, got {shown(cell)}", line, self.header)


def _midnight(begin: datetime, zone: zoneinfo.ZoneInfo | None) -> int | None:
    """When the local day begins, in seconds since 1970; None if it does not have 24 hours."""
    first = datetime(begin.year, begin.month, begin.day)
    start, end = ((day.replace(tzinfo=zone or UTC)).timestamp() for day in (first, first + timedelta(days=1)))
    return int(start) if end - start == SECONDS_PER_DAY else None
