"""The series that a market plays, by its name or file."""

import functools
from pathlib import Path

from mfenvs.energy.series import MarketSeries


def read_series(name: str, minutes: int) -> MarketSeries:
    """A series by its name or file, in steps of ``minutes``; kept until the file changes."""
    allowed = f"series must be 'embedded', 'synthetic' or the path of a file, got {name!r}"
    if not isinstance(name, str):
        raise TypeError(allowed)
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
