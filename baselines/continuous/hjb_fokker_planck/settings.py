"""Settings of the solver."""

import dataclasses

from mfenvs import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Scheme, stopping rule and fixed-point iteration of the solver.

    Raises
    ------
    TypeError, ValueError
        If a setting is not of its kind or out of its range.
    """

    scheme: str = "hybrid"
    """Differences of the drift: ``hybrid`` (central where that is monotone, upwind elsewhere) or ``upwind``."""
    method: str = "fixed-point"
    """Iteration: ``fixed-point`` (damped and accelerated, fast where optimal controls depend continuously on the
    densities) or ``fictitious-play`` (slow, for games in which they jump)."""
    tolerance: float = 1e-7
    """Largest residual at which the iteration stops, both of the densities (L1 distance at any time, between the
    flow that agents respond to and the one they make) and of the values. That is their change in one iteration,
    relative to 1 plus the largest value; in fictitious play, the exploitability relative to 1 plus the cost."""
    max_iterations: int = 200
    """Number of iterations after which the solver gives up, with a warning."""
    damping: float = 1.0
    """Largest step of the fixed-point iteration, in (0, 1], from the flow that agents respond to towards the one
    that they make. Steps are shortened while the residual grows."""
    memory: int = 5
    """Number of earlier iterations that Anderson's acceleration of it uses; 0 for a plain damped iteration."""
    max_policy_iterations: int = 50
    """Largest number of policy iterations in one best response."""
    n_controls: int = 33
    """Number of controls on the grid of types that declare no minimiser, at least 3."""
    control_precision: float = 1e-7
    """Precision of the refined control of such types, relative to the length of their interval."""
    boundary_mass: float = 1e-4
    """Largest mass of a type within the outermost 2 per cent of the grid that is not warned of; 1 never warns."""

    def __post_init__(self) -> None:
        for name, value in (
            ("scheme", checks.choice("scheme", self.scheme, ("hybrid", "upwind"))),
            ("method", checks.choice("method", self.method, ("fixed-point", "fictitious-play"))),
            ("tolerance", checks.real("tolerance", self.tolerance, 0.0, exclude_low=True)),
            ("max_iterations", checks.integer("max_iterations", self.max_iterations, 1)),
            ("damping", checks.real("damping", self.damping, 0.0, 1.0, exclude_low=True)),
            ("memory", checks.integer("memory", self.memory, 0, 50)),
            ("max_policy_iterations", checks.integer("max_policy_iterations", self.max_policy_iterations, 1)),
            ("n_controls", checks.integer("n_controls", self.n_controls, 3)),
            ("control_precision", checks.real("control_precision", self.control_precision, 1e-12, 1.0)),
            ("boundary_mass", checks.real("boundary_mass", self.boundary_mass, 0.0, 1.0)),
        ):
            object.__setattr__(self, name, value)
