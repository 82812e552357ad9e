"""Rows of the speed table, and medians of repetitions taken in turns."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

N = 1000
"""Number of agents of most measurements."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: one measurement beside its goal."""

    what: str
    value: float
    unit: str
    """"M/s" (million agent-steps a second), "s", "ms", or "x" (a ratio)."""
    target: str
    met: bool | None
    """Whether the goal is met; None for a row that is shown for comparison only."""


def medians(repetitions: int, *tasks: tuple[Callable[[], Any], int]) -> list[float]:
    """Median seconds per call of several tasks, each (function, calls a repetition), run in turns."""
    for function, _ in tasks:
        function()
    seconds: list[list[float]] = [[] for _ in tasks]
    for _ in range(repetitions):
        for found, (function, calls) in zip(seconds, tasks, strict=True):
            began = time.perf_counter()
            for _ in range(calls):
                function()
            found.append((time.perf_counter() - began) / calls)
    return [statistics.median(found) for found in seconds]


def million_per_second(seconds: float, agent_steps: int) -> float:
    """Million agent-steps a second."""
    return agent_steps / seconds / 1e6
