"""The parts of the smoothed equilibrium conditions, linearised at a policy (:mod:`.directions` says how)."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.meanfield.equilibrium.sensitivity import Slopes

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LinearConditions:
    """The smoothed equilibrium conditions, linearised at a policy in its own flow."""

    policy: Array
    """pi, shape (T, S, A)."""
    ratio: Array
    """D, shape (T, S, A)."""
    mass: Array
    """mu, shape (T, S)."""
    transitions: Array
    """Probabilities of successors, (T or 1, S, A, K)."""
    successors: NDArray[np.int32] | None
    """The successors, or None for a dense table."""
    discount: float
    """gamma."""
    slopes: Slopes
    """Derivatives by the population."""
    is_reachable: NDArray[np.bool_]
    """The states that can be reached at each time, (T, S); others do not change. In an infinite game all can."""
    population_of: NDArray[np.int64]
    """The population to which a state belongs, (S,): no agent ever leaves its population."""

    @property
    def parts(self) -> tuple[Any, ...]:
        """What kernels read of it."""
        return (
            self.policy,
            self.ratio,
            self.mass,
            self.transitions,
            self.successors,
            self.discount,
        )
