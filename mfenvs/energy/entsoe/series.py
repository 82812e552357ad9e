"""A time series in equal steps without a gap: what the reader returns."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks

RESOLUTIONS = (15, 30, 60)
"""Minutes of a step that the platform publishes for loads, generation and prices."""


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A time series of power or price in equal steps without a gap.

    Parameters
    ----------
    start:
        Where each step begins, UTC, datetime64[s], shape (n,), read-only.
    values:
        Mean power of the step, or its price, float64, shape (n,), finite, read-only.
    resolution:
        Length of a step in minutes: 15, 30 or 60.
    name:
        The column, or the production type or document, that was read.
    unit:
        ``MW``, or a currency per MWh such as ``EUR/MWh``.

    Raises
    ------
    TypeError
        If ``start`` holds no times, ``values`` no numbers, or ``name`` or ``unit`` is no text.
    ValueError
        If the shapes differ, there is no step, a value is not finite, or the steps are not ``resolution`` apart.
    """

    start: NDArray[np.datetime64]
    values: NDArray[np.float64]
    resolution: int
    name: str
    unit: str

    def __post_init__(self) -> None:
        resolution = checks.choice("resolution", self.resolution, RESOLUTIONS)
        checks.text("name", self.name)
        checks.text("unit", self.unit)
        given = np.asarray(self.start)
        if given.dtype.kind != "M":
            raise TypeError(f"start must be an array of times (datetime64), got dtype {given.dtype}")
        start, values = given.astype("datetime64[s]"), checks.finite_numbers("values", self.values).copy()
        if start.ndim != 1 or len(start) == 0 or values.shape != start.shape:
            raise ValueError(
                f"start and values must have one shape (n,), n >= 1, got {start.shape} and {values.shape}"
            )
        if np.isnat(start).any():
            raise ValueError(f"start[{int(np.argmax(np.isnat(start)))}] must be a time, got NaT")
        wrong = np.flatnonzero(np.diff(start) != np.timedelta64(60 * resolution, "s"))
        if len(wrong):
            at = int(wrong[0]) + 1
            raise ValueError(
                f"start[{at}] must be {resolution} minutes after start[{at - 1}], got {start[at - 1]} and"
                f" {start[at]}"
            )
        object.__setattr__(self, "resolution", resolution)
        for name, array in (("start", start), ("values", values)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def resampled(self, minutes: int) -> "Series":
        """The same series in steps of another length.

        Longer steps take the mean of the shorter ones; shorter steps repeat the longer one's value.

        Parameters
        ----------
        minutes:
            Length of the new steps: 15, 30 or 60.

        Raises
        ------
        ValueError
            If ``minutes`` is another number, or the series does not begin and end with a whole step of that
            length.
        """
        minutes = checks.choice("minutes", minutes, RESOLUTIONS)
        if minutes <= self.resolution:
            values = np.repeat(self.values, self.resolution // minutes)
        else:
            parts, offset = minutes // self.resolution, int(self.start[0].astype(np.int64)) % (60 * minutes)
            if offset or len(self.values) % parts:
                raise ValueError(
                    f"the series must begin and end with a whole step of minutes={minutes}, got {len(self.values)}"
                    f" steps of {self.resolution} minutes from {self.start[0]} UTC on"
                )
            values = self.values.reshape(-1, parts).mean(axis=1)
        start = self.start[0] + np.arange(len(values)) * np.timedelta64(60 * minutes, "s")
        return Series(start, values, minutes, self.name, self.unit)


def joined(*parts: Series) -> Series:
    """One series of several that follow each other, in any order, such as those of several files.

    Steps that two of them have must agree. A file whose resolution changes is read once for each resolution, and
    the parts are brought to a common one: ``joined(hours.resampled(15), quarters)``.

    Returns
    -------
    Series
        With the name of the first of ``parts``.

    Raises
    ------
    TypeError
        If there is no part, or one is no :class:`Series`.
    ValueError
        If resolutions or units differ, a step is missing between two parts, or two disagree about a step.
    """
    if not parts:
        raise TypeError("parts must be at least one Series, got none")
    for at, part in enumerate(parts):
        if not isinstance(part, Series):
            raise TypeError(f"parts[{at}] must be a Series, got {part!r}")
        for field in ("resolution", "unit"):
            if getattr(part, field) != getattr(parts[0], field):
                raise ValueError(
                    f"parts must have one {field}, got {getattr(parts[0], field)!r} of parts[0] and"
                    f" {getattr(part, field)!r} of parts[{at}]"
                )
    times = np.concatenate([part.start for part in parts])
    values = np.concatenate([part.values for part in parts])
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    is_repeated = np.append(False, times[1:] == times[:-1])
    for at in np.flatnonzero(is_repeated).tolist():
        if values[at] != values[at - 1]:
            raise ValueError(
                f"parts must agree where they overlap, got {values[at - 1]:g} and {values[at]:g} at"
                f" {times[at]} UTC"
            )
    return Series(times[~is_repeated], values[~is_repeated], parts[0].resolution, parts[0].name, parts[0].unit)
