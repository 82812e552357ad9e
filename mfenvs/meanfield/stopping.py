"""Why an iteration stopped, and how far it was."""

import enum
from typing import NamedTuple


class Stopped(enum.StrEnum):
    """Why a solver stopped."""

    TOLERANCE = "tolerance"
    """The exploitability is at most the tolerance."""
    CONVERGED = "converged"
    """The solver's own criterion says that nothing is left to do."""
    TIME = "time"
    """The time limit."""
    ITERATIONS = "iterations"
    """The largest number of iterations."""
    STALL = "stall"
    """Iterations no longer lower the exploitability, or no longer change anything."""
    CALLBACK = "callback"
    """The callback returned False."""
    INTERRUPTED = "interrupted"
    """Ctrl-C (``KeyboardInterrupt``)."""


class Report(NamedTuple):
    """Where a solver is."""

    iteration: int
    """Number of iterations that this call has done."""
    seconds: float
    """Time since the call began, without that of compilation."""
    exploitability: float | None
    """Exploitability of the policy; None if it was not evaluated."""
