"""What a method that searches for equilibria hands over."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass
class Candidate:
    """A policy that may be an equilibrium."""

    policy: Array
    """Shape (T, S, A)."""
    law: Array | None = None
    """In an infinite game, the stationary law of states, (S,), if it is known."""
    exploitability: float = np.inf
    """Its exploitability, once it is evaluated. In the history of a search others may have come after it."""
