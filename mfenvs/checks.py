"""Checks of what users pass in: every error names the argument, the value and what is allowed."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs.engine.compile import kernel
from mfenvs.rules import rule

INT32, INT64 = np.dtype(np.int32), np.dtype(np.int64)

PROBABILITY_TOLERANCE = 1e-6
"""How far the sum of a probability vector may be from one."""


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """``value`` as an int within [low, high]."""
    allowed = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}, got {value!r}") from None
    if isinstance(value, bool) or number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number


def boolean(name: str, value: Any) -> bool:
    """``value``, which must be True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
) -> float:
    """``value`` as a finite float within [low, high], either end excluded on request."""
    left = "(" if exclude_low or low == -math.inf else "["
    right = ")" if exclude_high or high == math.inf else "]"
    allowed = f"a finite number in {left}{low:g}, {high:g}{right}"
    try:
        if isinstance(value, str | bytes | bool | np.bool_):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {allowed}, got {value!r}") from None
    below = number <= low if exclude_low else number < low
    above = number >= high if exclude_high else number > high
    if not math.isfinite(number) or below or above:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number


def finite(what: str, numbers: ArrayLike) -> None:
    """Raise a ValueError unless numbers that were computed are finite: sums of finite rewards can overflow."""
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        first = np.asarray(numbers)[wrong][0]
        raise ValueError(f"{what} must be finite, got {first}: the rewards add up to more than 1.8e308")


def centre(name: str, value: Any, half_width: float, low: float, high: float = math.inf) -> float:
    """``value`` as the centre of an interval of this half-width that lies within [low, high]."""
    number = real(name, value)
    if number - half_width < low or number + half_width > high:
        end = "" if high == math.inf else f" and {name} + {half_width:g} <= {high:g}"
        raise ValueError(f"{name} must satisfy {name} - {half_width:g} >= {low:g}{end}, got {value!r}")
    return number


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """``value``, which must be one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """``value`` as a C-contiguous array of this shape and dtype."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got dtype {array.dtype}")
    # numpy makes a vector of a number that is made contiguous.
    return np.ascontiguousarray(array, dtype=dtype).reshape(shape)


def policy_table(name: str, policy: Any, table: tuple[int, ...], n_agents: int) -> NDArray[np.float64]:
    """A policy as probabilities: of ``table`` (T, S, A) if all share it, else (n_agents, T, S, A).

    ``policy`` is an array or an object with an attribute ``probabilities``; a stationary one, for which T = 1, may
    come without its axis of times.
    """
    array = np.asarray(getattr(policy, "probabilities", policy))
    if table[0] == 1 and array.shape == table[1:]:
        array = array[None]
    return probabilities(name, array, (n_agents, *table) if array.ndim == len(table) + 1 else table)


def probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """``value`` as float64 probability vectors along its last axis."""
    array: NDArray[np.float64] = shaped(name, value, shape, np.float64)
    wrong = first_invalid_row(array.reshape(-1, shape[-1]), PROBABILITY_TOLERANCE, 0.0)
    if wrong >= 0:
        where = tuple(int(i) for i in np.unravel_index(wrong, shape[:-1]))
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise ValueError(
            f"{place} must be probabilities (non-negative, summing to 1 within {PROBABILITY_TOLERANCE:g}),"
            f" got {array[where].tolist()} with sum {float(array[where].sum())!r}"
        )
    return array


def whole_law(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """``value``, one law over all of its axes, as a new float64 vector."""
    array: NDArray[np.float64] = shaped(name, value, np.shape(value), np.float64).ravel()
    if not array.size or not array.min() >= 0.0 or abs(array.sum() - 1.0) > PROBABILITY_TOLERANCE:
        least = f"{array.min():g}" if array.size else "nothing"
        raise ValueError(
            f"{name} must hold probabilities (non-negative, all together summing to 1 within"
            f" {PROBABILITY_TOLERANCE:g}), got a least of {least} and a sum of {float(array.sum())!r}"
        )
    return array.copy()


def box_actions(
    value: ArrayLike, shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]
) -> NDArray[np.float32]:
    """Continuous actions as a C-contiguous float32 array, each within [low, high] (which broadcast)."""
    array: NDArray[np.float32] = shaped("actions", value, shape, np.float32)
    wrong = first_outside(array.reshape(-1, low.size), low.reshape(-1), high.reshape(-1))
    if wrong >= 0:
        where = tuple(int(i) for i in np.unravel_index(wrong, shape))
        least, most = (np.broadcast_to(bound, shape)[where] for bound in (low, high))
        raise ValueError(
            f"actions[{', '.join(map(str, where))}] must be in [{least:g}, {most:g}], got {array[where]}"
        )
    return array


@kernel
def first_outside(rows: Any, low: Any, high: Any) -> Any:
    """Flat index of the first number of a 2-D array outside its column's bounds, or -1."""
    n_rows, n_columns = rows.shape
    for i in range(n_rows):
        for j in range(n_columns):
            # Written so that a nan fails the comparison.
            if not (rows[i, j] >= low[j] and rows[i, j] <= high[j]):
                return i * n_columns + j
    return -1


@rule
def is_row(row: Any, tolerance: Any, lowest: Any) -> Any:
    """Whether a vector sums to one within ``tolerance`` and has no entry below ``lowest``."""
    total = 0.0
    for p in row:
        # Written so that a nan fails the comparison.
        if not p >= lowest:
            return False
        total += p
    return abs(total - 1.0) <= tolerance


@kernel
def first_invalid_row(rows: Any, tolerance: Any, lowest: Any) -> Any:
    """Index of the first row of a 2-D array that :func:`is_row` refuses, or -1."""
    for i in range(rows.shape[0]):
        if not is_row(rows[i], tolerance, lowest):
            return i
    return -1


def actions(value: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Discrete actions as a C-contiguous int32 or int64 array; their range is the engine's to check."""
    is_ready = type(value) is np.ndarray and (value.dtype is INT32 or value.dtype is INT64)
    if is_ready and value.shape == shape and value.flags.c_contiguous:  # type: ignore[union-attr]
        return value  # type: ignore[return-value]  # The usual case, kept short: a step takes microseconds.
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"actions must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"actions must be integers, got dtype {array.dtype}")
    if array.dtype != INT32 and array.dtype != INT64:
        array = array.astype(np.int32 if np.can_cast(array.dtype, np.int32) else np.int64)
    return np.ascontiguousarray(array)
