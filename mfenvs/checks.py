"""Checks of arguments: every error names the argument, the value and what is allowed."""

import difflib
import math
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs.engine.compile import kernel
from mfenvs.rules import rule

INT32, INT64, FLOAT64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float64)

READY: tuple[Literal["C_CONTIGUOUS"], Literal["ALIGNED"]] = "C_CONTIGUOUS", "ALIGNED"
"""What compiled code needs of arrays whose dtype is right."""

PROBABILITY_TOLERANCE = 1e-6
"""Largest distance from one that is allowed for the sum of a probability vector."""


SHOWN_CHARACTERS = 200
"""Number of characters of a value that error messages show."""


def shown(value: Any) -> str:
    """``value`` as error messages show it: its ``repr`` in one line, cut where it is long."""
    try:
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except Exception:
        # Python refuses to write out an integer of more than 4,300 digits; other objects' ``repr`` may fail too.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def scalar(value: Any) -> Any:
    """Convert a NumPy number, or an array or tensor without axes, to a Python number.

    Anything else is returned as it is. NumPy numbers must not be kept: small integers wrap when the sizes of
    arrays are computed from them (``np.uint8(200) * 2`` is 144).
    """
    if isinstance(value, np.ma.MaskedArray) or not _has_no_axes(value) or not hasattr(value, "item"):
        return value
    # NumPy's texts and dates are not numbers; a tensor's dtype has no kind.
    if getattr(getattr(value, "dtype", None), "kind", "f") not in "biuf":
        return value
    found = value.item()
    return float(found) if isinstance(found, np.floating) else found  # numpy's long double gives itself


def _has_no_axes(value: Any) -> bool:
    axes = getattr(value, "ndim", None)
    return isinstance(axes, int) and axes == 0


def _is_array(value: Any) -> bool:
    """Whether ``value`` has axes, or is masked: an array of one element is not a number."""
    axes = getattr(value, "ndim", 0)
    return isinstance(value, np.ma.MaskedArray) or (isinstance(axes, int) and axes > 0)


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Check that ``value`` is an integer within [low, high], and return it as an int.

    Raises
    ------
    TypeError
        If ``value`` is not an integer.
    ValueError
        If it is out of range, or a boolean.
    """
    allowed = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    found = scalar(value)
    try:
        if _is_array(found):
            raise TypeError
        number = operator.index(found)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}, got {shown(value)}") from None
    if isinstance(found, bool) or number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    return number


def at_most(name: str, number: int, most: int) -> None:
    """Check the upper bound of a number that :func:`integer` has checked; ValueError if it is above ``most``."""
    if number > most:
        raise ValueError(f"{name} must be at most {most}, got {shown(number)}")


def size(name: str, value: Any, low: int) -> int:
    """Check a size that a game declares: a Python int >= ``low``; return it.

    Raises
    ------
    TypeError
        If ``value`` is not an int. NumPy's small integers wrap when array sizes are computed from them.
    ValueError
        If it is below ``low``.
    """
    number = integer(name, value, low)
    if not isinstance(value, int | np.int64):
        raise TypeError(f"{name} must be a Python int, got {shown(value)}: use int(...)")
    return number


def boolean(name: str, value: Any) -> bool:
    """Check that ``value`` is True or False, and return it; TypeError if it is neither."""
    found = scalar(value)
    if not isinstance(found, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return found


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    exclude_low: bool = False,
    exclude_high: bool = False,
) -> float:
    """Check that ``value`` is a finite number within [low, high], and return it as a float.

    ``exclude_low`` and ``exclude_high`` exclude the ends of the interval.

    Raises
    ------
    TypeError
        If ``value`` is not a number, such as a boolean, a text or an array with axes.
    ValueError
        If it is out of range, not finite, or an integer beyond the range of floats.
    """
    left = "(" if exclude_low or low == -math.inf else "["
    right = ")" if exclude_high or high == math.inf else "]"
    allowed = f"a finite number in {left}{low:g}, {high:g}{right}"
    found = scalar(value)
    try:
        # An array or scalar that `scalar` left alone is text, a date, or complex.
        if isinstance(found, str | bytes | bytearray | bool) or _is_array(found) or _is_odd(found):
            raise TypeError
        number = float(found)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {allowed}, got {shown(value)}") from None
    except OverflowError:
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}") from None
    below = number <= low if exclude_low else number < low
    above = number >= high if exclude_high else number > high
    if not math.isfinite(number) or below or above:
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    return number


def _is_odd(value: Any) -> bool:
    return isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "biuf"


def finite(what: str, numbers: ArrayLike) -> None:
    """Raise a ValueError unless numbers that were computed are finite: sums of finite rewards can overflow."""
    is_ready = type(numbers) is np.ndarray and numbers.dtype is FLOAT64 and numbers.flags.carray
    if is_ready and are_finite(numbers.reshape(-1)):  # type: ignore[union-attr]
        return  # The usual case, kept short: evaluating a small game takes microseconds.
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        first = np.asarray(numbers)[wrong][0]
        raise ValueError(f"{what} must be finite, got {first}: the rewards add up to more than 1.8e308")


def centre(name: str, value: Any, half_width: float, low: float, high: float = math.inf) -> float:
    """Check that the interval of this half-width around ``value`` lies within [low, high]; return ``value``."""
    number = real(name, value)
    if number - half_width < low or number + half_width > high:
        end = "" if high == math.inf else f" and {name} + {half_width:g} <= {high:g}"
        raise ValueError(f"{name} must satisfy {name} - {half_width:g} >= {low:g}{end}, got {shown(value)}")
    return number


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Check that ``value`` is one of the options ``allowed``, and return that option; ValueError if it is none."""
    found = scalar(value)
    for option in allowed:
        # Only values of the option's type are compared: arrays compare element by element, and True == 1.
        if isinstance(found, type(option)) and isinstance(found, bool) == isinstance(option, bool):
            if found == option:
                return option
        elif _is_number(found) and _is_number(option) and found == option:
            return option
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def nearest(word: str, words: Iterable[str], similarity: float = 0.6) -> str | None:
    """The most similar word, if difflib finds it as similar as ``similarity``, from 0 to 1; None if none is."""
    near = difflib.get_close_matches(word, list(words), 1, similarity)
    return near[0] if near else None


def suggestion(word: str, words: Iterable[str]) -> str:
    """What an error about an unknown word asks: whether the nearest of these is meant; "" if none is near."""
    near = nearest(word, words)
    return "" if near is None else f" (did you mean {near!r}?)"


def unknown_name(given: Iterable[Any], allowed: Iterable[str]) -> str:
    """What an error says of the first name that is not allowed, with the nearest that is; "" if all are."""
    allowed = list(allowed)
    for found in given:
        if found not in allowed:
            return f"{shown(found)} is unknown{suggestion(str(found), allowed)}; allowed: {', '.join(allowed)}"
    return ""


def text(name: str, value: Any) -> str:
    """``value``, which must be a text; TypeError if it is not."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {shown(value)}")
    return str(value)


def sequence(name: str, value: Any, what: str) -> tuple[Any, ...]:
    """Check that ``value`` is a list, a tuple or an array of one axis, and return it as a tuple.

    ``what`` completes the message "``name`` must ..." of the TypeError that is raised otherwise.
    """
    if isinstance(value, np.ma.MaskedArray) or not isinstance(value, Sequence | np.ndarray):
        is_listing = False
    else:
        is_listing = not isinstance(value, str | bytes | bytearray) and getattr(value, "ndim", 1) == 1
    if not is_listing:
        raise TypeError(f"{name} must {what}, got {shown(value)}")
    return tuple(value.tolist() if isinstance(value, np.ndarray) else value)


def array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Convert ``value`` to an array, a view where possible.

    Raises
    ------
    TypeError
        If ``value`` is a masked array, whose mask would be lost, or cannot be made an array.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be an array without a mask, got a masked array: fill it first (.filled(...))"
        )
    try:
        return np.asarray(value)
    except Exception as error:
        # Lists of unequal lengths, tensors on a device or with a gradient, objects with a faulty __array__.
        raise TypeError(f"{name} must be an array, got {shown(value)} ({error})") from None


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Check that ``value`` has this shape, and return it as a C-contiguous, aligned array of this dtype.

    Raises
    ------
    TypeError
        If ``value`` does not hold numbers, or, for an integer ``dtype``, holds numbers other than integers.
    ValueError
        If its shape is different, or a number does not fit into ``dtype``.
    """
    dtype = np.dtype(dtype)
    if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape and value.flags.carray:
        return value  # The usual case, kept short: evaluating a small game takes microseconds.
    found = array(name, value)
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {found.shape}")
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got dtype {found.dtype}")
    if dtype.kind in "iu" and found.dtype != dtype:
        if found.dtype.kind not in "iu":
            raise TypeError(f"{name} must be an array of integers, got dtype {found.dtype}")
        limits = np.iinfo(dtype)
        if found.size and (int(found.min()) < limits.min or int(found.max()) > limits.max):
            raise ValueError(
                f"{name} must hold integers in [{limits.min}, {limits.max}], got {found.min()} to {found.max()}"
            )
    # numpy makes a vector of a number that is made contiguous. A number beyond the range becomes infinite.
    with np.errstate(over="ignore"):
        return np.require(found, dtype, READY).reshape(shape)


def numbers(
    name: str, value: ArrayLike, shape: tuple[int, ...] | None = None, dtype: Any = np.float64
) -> NDArray[Any]:
    """``value`` as an array of floating-point numbers of this shape (by default: of its own), finite or not.

    It is :func:`shaped`, except that booleans are no numbers.
    """
    found = array(name, value)
    if found.dtype.kind == "b":
        raise TypeError(f"{name} must be an array of numbers, got dtype bool")
    return shaped(name, found, found.shape if shape is None else shape, dtype)


def finite_numbers(name: str, value: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """:func:`numbers` in float64, all finite; a ValueError names the first that is not."""
    found = numbers(name, value, shape)
    wrong = ~np.isfinite(found)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise ValueError(f"{place} must be finite, got {float(found[where])!r}")
    return found


def indices(name: str, value: ArrayLike, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    """Check an array of integers within [low, high]; return it C-contiguous as int64, or uint64 if needed.

    Raises
    ------
    TypeError
        If ``value`` holds anything but integers (booleans are not integers).
    ValueError
        If its shape is different, or an integer is out of range; the message names the first such integer.
    """
    found = array(name, value)
    if found.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {found.shape}")
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers in [{low}, {high}], got dtype {found.dtype}")
    outside = (found < low) | (found > high)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"{name}[{', '.join(map(str, where))}] must be an integer in [{low}, {high}], got {found[where]}"
        )
    return np.ascontiguousarray(found, dtype=np.int64 if high < 2**63 else np.uint64)


def buffer(name: str, value: Any, shape: tuple[int, ...], dtypes: tuple[np.dtype[Any], ...]) -> NDArray[Any]:
    """Check an array for compiled code to write to: it must have this shape and one of these dtypes.

    Raises
    ------
    TypeError
        If ``value`` is not a plain NumPy array.
    ValueError
        If it has another shape or dtype, or is read-only.
    """
    # The usual case is told first: a step takes microseconds.
    if type(value) is not np.ndarray and (
        not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray)
    ):
        raise TypeError(f"{name} must be a numpy array to write to, got {shown(value)}")
    if value.shape != shape or value.dtype not in dtypes:
        kinds = " or ".join(map(str, dtypes))
        article = "an" if kinds.startswith("i") else "a"
        raise ValueError(
            f"{name} must be {article} {kinds} array of shape {shape}, got shape {value.shape} of {value.dtype}"
        )
    if not value.flags.writeable:
        raise ValueError(f"{name} must be an array to write to, got a read-only one")
    return value


def policy_table(name: str, policy: Any, table: tuple[int, ...], n_agents: int) -> NDArray[np.float64]:
    """Check a tabular policy, and return its probabilities.

    Parameters
    ----------
    name:
        Name of the argument, for error messages.
    policy:
        An array, or an object with an array as its attribute ``probabilities``. A stationary policy, for which
        T = 1, may lack the time axis.
    table:
        Shape (T, S, A) of one agent's policy.
    n_agents:
        Number of agents.

    Returns
    -------
    Shape (T, S, A) if all agents share the policy, else (n_agents, T, S, A).
    """
    found = array(name, getattr(policy, "probabilities", policy))
    if table[0] == 1 and found.shape == table[1:]:
        found = found[None]
    return probabilities(name, found, (n_agents, *table) if found.ndim == len(table) + 1 else table)


def probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Check that ``value`` holds probability vectors along its last axis, and return it in float64."""
    laws: NDArray[np.float64] = shaped(name, value, shape, np.float64)
    wrong = first_invalid_row(laws.reshape(-1, shape[-1]), PROBABILITY_TOLERANCE, 0.0)
    if wrong >= 0:
        where = tuple(int(i) for i in np.unravel_index(wrong, shape[:-1]))
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise ValueError(
            f"{place} must be probabilities (non-negative, summing to 1 within {PROBABILITY_TOLERANCE:g}),"
            f" got {shown(laws[where].tolist())} with sum {float(laws[where].sum())!r}"
        )
    return laws


def whole_law(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Check that all entries of ``value`` together are one probability vector; return it as float64 vector."""
    given = array(name, value)
    law: NDArray[np.float64] = shaped(name, given, given.shape, np.float64).ravel()
    # Written such that a NaN fails the comparisons.
    if not law.size or not law.min() >= 0.0 or not abs(law.sum() - 1.0) <= PROBABILITY_TOLERANCE:
        least = f"{law.min():g}" if law.size else "nothing"
        raise ValueError(
            f"{name} must hold probabilities (non-negative, all together summing to 1 within"
            f" {PROBABILITY_TOLERANCE:g}), got a least of {least} and a sum of {float(law.sum())!r}"
        )
    return law.copy()


def box_actions(
    value: ArrayLike, shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]
) -> NDArray[np.float32]:
    """Check continuous actions within [low, high] (which broadcast); return them C-contiguous in float32."""
    chosen: NDArray[np.float32] = shaped("actions", value, shape, np.float32)
    wrong = first_outside(chosen.reshape(-1, low.size), low.reshape(-1), high.reshape(-1))
    if wrong >= 0:
        where = tuple(int(i) for i in np.unravel_index(wrong, shape))
        least, most = (np.broadcast_to(bound, shape)[where] for bound in (low, high))
        raise ValueError(
            f"actions[{', '.join(map(str, where))}] must be in [{least:g}, {most:g}], got {chosen[where]}"
        )
    return chosen


@kernel
def first_outside(rows: Any, low: Any, high: Any) -> Any:
    """Flat index of the first number of a 2-D array outside its column's bounds, or -1."""
    n_rows, n_columns = rows.shape
    for i in range(n_rows):
        for j in range(n_columns):
            # Written such that a NaN fails the comparison.
            if not (rows[i, j] >= low[j] and rows[i, j] <= high[j]):
                return i * n_columns + j
    return -1


@rule
def is_row(row: Any, tolerance: Any, lowest: Any) -> Any:
    """Whether a vector sums to one within ``tolerance`` and has no entry below ``lowest``."""
    total = 0.0
    for p in row:
        # Written such that a NaN fails the comparison.
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


@kernel
def are_finite(numbers: Any) -> Any:
    """Whether all numbers of a vector are finite."""
    wrong = False
    for x in numbers:
        # Written such that a NaN fails the comparison.
        wrong |= not abs(x) < np.inf
    return not wrong


def actions(value: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Convert discrete actions to a C-contiguous, aligned int32 or int64 array; the engine checks their range."""
    is_ready = type(value) is np.ndarray and (value.dtype is INT32 or value.dtype is INT64)
    if is_ready and value.shape == shape and value.flags.carray:  # type: ignore[union-attr]
        return value  # type: ignore[return-value]  # The usual case, kept short: a step takes microseconds.
    chosen = array("actions", value)
    if chosen.shape != shape:
        raise ValueError(f"actions must have shape {shape}, got {chosen.shape}")
    if chosen.dtype.kind not in "iu":
        raise TypeError(f"actions must be integers, got dtype {chosen.dtype}")
    if chosen.dtype != INT32 and chosen.dtype != INT64:
        # The largest unsigned integers would become negative; the largest signed one is no action either.
        if chosen.dtype.kind == "u" and chosen.dtype.itemsize == INT64.itemsize:
            chosen = np.minimum(chosen, np.uint64(2**63 - 1))
        chosen = chosen.astype(np.int32 if np.can_cast(chosen.dtype, np.int32) else np.int64)
    return np.require(chosen, requirements=READY)
