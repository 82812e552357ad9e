"""Moves along a line of places, with noise of one place, held back at the ends."""

from typing import Any

from mfenvs.rules import rule


@rule
def held(place: Any, last: Any) -> Any:
    """A place moved into [0, last]."""
    return min(max(place, 0), last)


@rule
def with_noise(k: Any, place: Any, last: Any, still: Any) -> Any:
    """Where noise k = 0, 1, 2 takes an agent from a place, which may be beyond an end, and its probability.

    The noise is k - 1: 0 with probability ``still``, else -1 or 1.
    """
    return held(place + k - 1, last), still if k == 1 else 0.5 * (1.0 - still)
