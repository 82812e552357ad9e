"""The values of a game's fields: NumPy's numbers and tensors become Python numbers, and their types are checked.

A small NumPy integer that was kept would wrap when the sizes of arrays are computed from it, and compiled code
would then write beyond the arrays.
"""

import types
import typing
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

from mfenvs import checks

KINDS: dict[Any, type] = {
    **{kind: kind for kind in (int, float, bool)},
    **{kind.__name__: kind for kind in (int, float, bool)},
}
"""Annotations of fields that hold one number: types, or names under ``from __future__ import annotations``."""

KIND_NAMES = {bool: "True or False", int: "an integer", float: "a number"}

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""Range of the integers that compiled code takes."""


def declared_kinds(annotation: Any) -> set[type]:
    """The types of number that a field is declared to hold; empty if it holds something else."""
    if isinstance(annotation, str):
        members = [part.strip() for part in annotation.split("|")]
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        members = list(typing.get_args(annotation))
    else:
        members = [annotation]
    declared = [member for member in members if member not in (None, types.NoneType, "None")]
    return {KINDS[member] for member in declared} if all(_is_kind(member) for member in declared) else set()


def _is_kind(member: Any) -> bool:
    return isinstance(member, str | type) and member in KINDS


def as_python(name: str, annotation: Any, value: Any) -> Any:
    """A field's value, with a NumPy number, or an array or tensor without axes, converted to a Python number.

    Fractions and decimals become floats if the field is declared to hold a float.

    Raises
    ------
    TypeError
        If the field is declared to hold a number and ``value`` is an array or tensor with axes, or masked.
    """
    found = checks.scalar(value)
    if declared_kinds(annotation) and hasattr(found, "ndim"):
        raise TypeError(f"{name} must be one number, got an array or tensor: {checks.shown(value)}")
    is_exact = isinstance(found, Fraction | Decimal)
    return _as_float(name, found) if is_exact and float in declared_kinds(annotation) else found


def in_kind(name: str, annotation: Any, value: Any) -> Any:
    """A field's value in the type of number that is declared: an int in a float field becomes a float.

    None, and values of fields that hold anything but a single number, are returned as they are.

    Raises
    ------
    TypeError
        If the value is of another type.
    ValueError
        If it is an integer that does not fit into 64 bits, or into a float.
    """
    kinds = declared_kinds(annotation)
    if not kinds or value is None or (isinstance(value, bool) and bool in kinds):
        return value
    if int in kinds and isinstance(value, Integral) and not isinstance(value, bool):
        return checks.integer(name, value, LOWEST, HIGHEST)
    if float in kinds and isinstance(value, Real) and not isinstance(value, bool):
        return _as_float(name, value)
    wanted = " or ".join(KIND_NAMES[kind] for kind in (bool, int, float) if kind in kinds)
    raise TypeError(f"{name} must be {wanted}, got {checks.shown(value)}")


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):  # The latter for a decimal that signals that it is no number.
        raise ValueError(f"{name} must be a number that is a float, got {checks.shown(value)}") from None
