"""Exact values and gaps of stationary policies, each policy evaluated once."""

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from mfenvs.game import FiniteGame
from mfenvs.meanfield.dynamic_programming import gap_kernel, linear_system
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MOST_ENTRIES = 2**24
"""Number of transition probabilities S A S up to which policies are evaluated exactly unless asked for."""
MOST_KEPT = 100_000
"""Number of policies whose values are kept: runs with threshold policies share a few hundred."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Exact values of the policies of all runs, each at its own stationary mean field."""

    values: Array
    """J(pi, z_pi), shape (R,)."""
    gaps: Array
    """Exploitability max_pi' J(pi', z_pi) - J(pi, z_pi) >= 0, shape (R,)."""


class Evaluator:
    """Evaluates stationary policies of a finite discounted game exactly, by its induced mean-field game."""

    def __init__(self, game: FiniteGame) -> None:
        self._induced = InducedGame(game)
        self._kept: dict[bytes, tuple[float, float]] = {}

    def evaluate(self, policies: Array) -> Evaluation:
        """Evaluate policies (R, S, A)."""
        found = np.array([self._evaluate(policy) for policy in policies])
        return Evaluation(found[:, 0], found[:, 1])

    def _evaluate(self, policy: Array) -> tuple[float, float]:
        key = hashlib.sha256(policy.tobytes()).digest()
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            induced, law = self._induced, policy[None]
            flow = induced.flow(law)
            best, own = gap_kernel(
                *(law, induced.initial, flow.transitions, flow.rewards, 0.0, induced.game.discount),
                *(np.empty(law.shape), linear_system(induced.n_states, induced.game.discount)),
            )
            self._kept[key] = float(own), max(0.0, float(best - own))
        return self._kept[key]
