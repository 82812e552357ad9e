"""What a solver returns: the policy, its exploitability, and why the solver stopped."""

import dataclasses

from mfenvs.meanfield.stopping import Report, Stopped

from ..policies import TabularPolicy


@dataclasses.dataclass(frozen=True)
class SolverResult:
    """Result of a solver, from :meth:`baselines.solvers.solver.MeanFieldSolver.solve`."""

    policy: TabularPolicy
    """The policy of least exploitability among those that were evaluated; the last one if none was."""
    exploitability: float | None
    """Exploitability of ``policy`` in the mean-field game; None if none was evaluated."""
    exploitabilities: tuple[float, ...] | None
    """The same for each population; ``exploitability``, which is compared with the tolerance, is the largest."""
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
