"""Tables of random constants that a game draws from its seed, or that are given."""

import dataclasses
from typing import Any, Self

import numpy as np

from mfenvs import checks


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Tables:
    """Arrays of constants. Two of them are equal if they are the same object."""

    @classmethod
    def checked(cls, name: str, given: Any, shapes: dict[str, tuple[int, ...]], largest: float) -> Self:
        """A copy of given tables, whose arrays must have these shapes and numbers in [-largest, largest].

        Raises
        ------
        TypeError
            If ``given`` are no tables of this class.
        ValueError
            If an array has another shape, or a number is not finite or larger.
        """
        if not isinstance(given, cls):
            raise TypeError(f"{name} must be None or {cls.__name__}, got {checks.shown(given)}")
        arrays = {}
        for entry, shape in shapes.items():
            array = checks.finite_numbers(f"{name}.{entry}", getattr(given, entry), shape)
            if array.size and np.abs(array).max() > largest:
                raise ValueError(f"{name}.{entry} must hold numbers of size at most {largest:g}")
            arrays[entry] = array.copy()
        return dataclasses.replace(given, **arrays)
