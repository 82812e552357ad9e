"""Checks of the fields of a market's series."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy.calendar import weekday_of


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array, which can no longer be written to."""
    array.flags.writeable = False
    return array


def checked_array(
    name: str, given: ArrayLike, shape: tuple[int, ...], dtype: Any, dates: tuple[str, ...], least: float = -np.inf
) -> NDArray[Any]:
    """A read-only copy of an array of days, whose numbers are finite and at least ``least``.

    Raises
    ------
    TypeError, ValueError
        If it is not; the message names the first place, with its date.
    """
    array = np.array(checks.numbers(name, given, shape, dtype))
    allowed = "finite" if least == -np.inf else f"finite and >= {least:g}"
    wrong = ~(np.isfinite(array) & (array >= least))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, where))}]"
        raise ValueError(f"{place} ({dates[where[0]]}) must be {allowed}, got {array[where]}")
    return read_only(array)


def checked_weekdays(given: Any, dates: tuple[str, ...]) -> tuple[int, ...] | None:
    """Checked days of the week; if none are given, those of the labels, or None if they do not tell them."""
    if given is None:
        found = [weekday_of(label) for label in dates]
        return None if None in found else tuple(found)  # type: ignore[arg-type]
    days = checks.sequence("weekdays", given, "hold a day of the week for each day")
    if len(days) != len(dates):
        raise ValueError(f"weekdays must be one for each of {len(dates)} days, got {len(days)}")
    return tuple(checks.integer(f"weekdays[{at}]", day, 0, 6) for at, day in enumerate(days))


def checked_names(name: str, given: Any, n: int) -> tuple[str, ...]:
    """Checked names of profiles; their numbers if none are given."""
    names = checks.sequence(name, given, "hold a name for each profile") or tuple(map(str, range(n)))
    if len(names) != n:
        raise ValueError(f"{name} must be one for each of {n} profiles, got {len(names)}")
    return tuple(checks.text(f"{name}[{at}]", each) for at, each in enumerate(names))
