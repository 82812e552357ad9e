"""What a solver returns: the policy, its exploitability, and why the solver stopped."""

import dataclasses
import enum
from typing import NamedTuple

from ..policies import TabularPolicy


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


@dataclasses.dataclass(frozen=True)
class SolverResult:
    """Result of a solver, from :meth:`baselines.solvers.solver.MeanFieldSolver.solve`."""

    policy: TabularPolicy
    """The policy of least exploitability among those that were evaluated; the last one if none was."""
    exploitability: float | None
    """Exploitability of ``policy`` in the mean-field game; None if none was evaluated."""
    iterations: int
    """Number of iterations that the call did."""
    seconds: float
    """Time that the call took, without that of compilation."""
    stopped: Stopped
    """Why the solver stopped."""
    history: tuple[Report, ...]
    """The reports in the order of iterations; the first one is of the policy at the start."""

    @property
    def is_solved(self) -> bool:
        """Whether the exploitability that was asked for was reached."""
        return self.stopped is Stopped.TOLERANCE
