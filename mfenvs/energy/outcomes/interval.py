"""A number with its confidence interval."""

from typing import NamedTuple


class Interval(NamedTuple):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float
