"""Moves along a line of places, with noise of one place, held back at the ends."""

from typing import Any

from mfenvs.rules import rule


@rule
def held(place: Any, last: Any) -> Any:
    """A place moved into [0, last]."""
    return min(max(place, 0), last)


@rule
def reaches(next_place: Any, place: Any, last: Any, still: Any) -> Any:
    """Probability that noise takes an agent from ``place`` to ``next_place``, both ends of the line holding it.

    The noise is 0 with probability ``still``, else -1 or 1. ``place`` may be beyond an end.
    """
    astray = 0.5 * (1.0 - still)
    below = astray if next_place == held(place - 1, last) else 0.0
    here = still if next_place == held(place, last) else 0.0
    above = astray if next_place == held(place + 1, last) else 0.0
    return below + here + above
