"""Checks of texts, paths, time zones and arrays that users pass in, beside those of :mod:`mfenvs.checks`."""

import os
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks


def text(name: str, value: Any) -> str:
    """``value``, which must be a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {_shown(value)}")
    return str(value)


def optional_text(name: str, value: Any) -> str | None:
    """``value``, which must be a str or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text or None, got {_shown(value)}")
    return None if value is None else str(value)


def path(name: str, value: Any) -> Path:
    """``value`` as a path; an open file or its number is none."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path (a text or os.PathLike), got {_shown(value)}")
    place = os.fspath(value)
    if not isinstance(place, str) or not place or "\0" in place:
        raise ValueError(f"{name} must be a path (a text that is not empty), got {_shown(value)}")
    return Path(place)


def time_zone(name: str, value: Any) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name such as ``Europe/Berlin``."""
    key = text(name, value)
    try:
        return zoneinfo.ZoneInfo(key)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as Europe.
        raise ValueError(f"{name} must be the name of an IANA time zone, got {_shown(value)}") from error


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """The member of ``allowed`` that equals ``value``, which must be a single number or text and no bool."""
    is_single = isinstance(value, str | int | float | np.integer | np.floating) and not isinstance(value, bool)
    found = [one for one in allowed if is_single and one == value]
    if not found:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {_shown(value)}")
    return found[0]


def numbers(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """``value`` as finite float64 numbers of this shape (by default: of its own); bools are no numbers.

    The array is ``value`` itself where that is float64 already.
    """
    array = shaped(name, value, shape)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise ValueError(f"{place} must be finite, got {float(array[where])!r}")
    return array


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """``value`` as float64 numbers of this shape (by default: of its own), finite or not; bools are no numbers."""
    given = _regular(name, value)
    if given.dtype.kind == "b":
        raise TypeError(f"{name} must be an array of numbers, got dtype bool")
    return checks.shaped(name, given, given.shape if shape is None else shape, np.float64)


def size(name: str, value: ArrayLike) -> int:
    """Number of entries of ``value``, which must be a regular array."""
    return int(_regular(name, value).size)


def integers(name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
    """``value`` as a new int64 array of this shape, each entry within [low, high]."""
    array = _regular(name, value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an array of integers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    outside = (array < low) | (array > high)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name}[{', '.join(map(str, where))}] must be in [{low}, {high}], got {array[where]}")
    return array.astype(np.int64)


def _regular(name: str, value: ArrayLike) -> NDArray[Any]:
    """``value`` as an array, which must not be masked, nor have rows of different lengths."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be an array that is not masked, got {type(value).__name__}")
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a regular array, got {_shown(value)}") from None


def _shown(value: Any) -> str:
    """``value`` as errors show it: its ``repr``, cut where it is long."""
    try:
        written = repr(value)
    except ValueError:  # Python writes out no integer of more than 4,300 digits.
        written = f"a value of type {type(value).__name__}"
    return written if len(written) <= 200 else f"{written[:200]}..."
