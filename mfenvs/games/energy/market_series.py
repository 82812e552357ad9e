"""The series that a market plays, by its name or file."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from mfenvs.energy.series import MarketSeries

if TYPE_CHECKING:
    AnySeries = str | Path | MarketSeries
else:
    # The annotation that fields of games have when they run: command lines make flags of it.
    AnySeries = str
"""A series in memory, or by its name or file."""


def read_series(given: AnySeries, minutes: int) -> MarketSeries:
    """A series in memory, or by its name or file, in steps of ``minutes``; a file's is kept until it changes."""
    if isinstance(given, MarketSeries):
        return given.resampled(minutes)
    allowed = f"series must be 'embedded', 'synthetic' or the path of a file, or be a MarketSeries, got {given!r}"
    if not isinstance(given, str | Path):
        raise TypeError(allowed)
    name = str(given)
    if name in ("embedded", "synthetic"):
        return _kept_series(name, minutes, 0)
    try:
        is_file, changed = Path(name).is_file(), Path(name).stat().st_mtime_ns
    except (OSError, ValueError):  # Also where the name is no name of a file at all.
        is_file, changed = False, 0
    if not is_file:
        raise ValueError(allowed)
    return _kept_series(name, minutes, changed)


@functools.cache
def _kept_series(name: str, minutes: int, changed: int) -> MarketSeries:
    if name == "embedded":
        return MarketSeries.embedded().resampled(minutes)
    if name == "synthetic":
        return MarketSeries.synthetic(365, 17, 0, step_minutes=minutes)
    return MarketSeries.read(name).resampled(minutes)
