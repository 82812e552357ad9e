"""Speed of the reader of ENTSO-E files: nine years of quarter-hours, in two of the formats."""

import tempfile
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measuring import Row, medians
from mfenvs.energy.entsoe import read_entsoe

FIRST, LAST = datetime(2016, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def readers(repetitions: int) -> Iterator[Row]:
    """Measure reading nine years of quarter-hours: a web export with local times, and the file library's table."""
    starts = [FIRST + k * QUARTER for k in range((LAST - FIRST) // QUARTER)]
    with tempfile.TemporaryDirectory() as folder:
        export, library = Path(folder) / "export.csv", Path(folder) / "library.csv"
        export.write_text(web_export(starts))
        library.write_text(file_library(starts))
        times = medians(repetitions, (lambda: check(export, starts), 1), (lambda: check(library, starts), 1))
    for what, seconds in zip(("a web export with local times", "the file library's table"), times, strict=True):
        yield Row(f"9 years of quarter-hours, {what}", seconds, "s", "< 5", seconds < 5.0)


def check(path: Path, starts: list[datetime]) -> None:
    """Read a file, which must hold all quarters."""
    series = read_entsoe(path)
    if len(series.values) != len(starts) or series.values[-1] != (len(starts) - 1) % 1000:
        raise RuntimeError(f"{path} was not read as it was written")


def web_export(starts: list[datetime]) -> str:
    """Solar power in the form that people download, its times on the clock of Berlin."""
    clock = zoneinfo.ZoneInfo("Europe/Berlin")
    local = [start.astimezone(clock).strftime("%d.%m.%Y %H:%M") for start in [*starts, LAST]]
    lines = ['"Area","MTU","Solar  - Actual Aggregated [MW]"']
    for k in range(len(starts)):
        lines.append(f'"Germany (DE)","{local[k]} - {local[k + 1]} (CET/CEST)","{k % 1000}"')
    return "\n".join(lines)


def file_library(starts: list[datetime]) -> str:
    """Load in the form of the platform's file library, in UTC, with the time of each row's update."""
    lines = ["DateTime(UTC)\tResolutionCode\tAreaCode\tTotalLoad[MW]\tUpdateTime(UTC)"]
    lines += [
        f"{start:%Y-%m-%d %H:%M:%S}\tPT15M\t10Y1\t{k % 1000}\t2025-02-01 00:00:00"
        for k, start in enumerate(starts)
    ]
    return "\n".join(lines)
