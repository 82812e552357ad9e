"""Exact values and gaps of stationary policies, each policy evaluated once."""

import dataclasses
import hashlib

import numpy as np
from numpy.typing import NDArray

from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MOST_ENTRIES = 2**28
"""Largest number of transition probabilities S A S of a game that is evaluated exactly: two gigabytes."""
MOST_ENTRIES_BY_DEFAULT = 2**24
"""Number up to which a game is evaluated without being asked for."""
MOST_KEPT = 100_000
"""Number of policies whose values are kept: runs with threshold policies share a few hundred."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Exact values of the policies of all runs, each at its own stationary mean field."""

    values: Array
    """J(pi, z_pi), shape (R,)."""
    gaps: Array
    """Exploitability max_pi' J(pi', z_pi) - J(pi, z_pi) >= 0, shape (R,)."""


def n_entries(game: FiniteGame) -> int:
    """Number of transition probabilities: S A S, or S A n_branches of a game with branches."""
    return game.n_states * game.n_actions * (game.n_branches or game.n_states)


def check_size(game: FiniteGame) -> None:
    """Raise a ValueError if a game is too large for exact values."""
    if n_entries(game) > MOST_ENTRIES:
        raise ValueError(
            f"exact values need a game with at most {MOST_ENTRIES} transition probabilities, got"
            f" {n_entries(game)}: {type(game).__name__} has {game.n_states} states and {game.n_actions} actions"
            " (use evaluation_interval=0)"
        )


class Evaluator:
    """Evaluates stationary policies of a finite discounted game exactly, by its induced mean-field game."""

    def __init__(self, game: FiniteGame) -> None:
        check_size(game)
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
            best, own = self._induced.response_values(policy[None], self._induced.flow(policy[None]))
            self._kept[key] = own, max(0.0, best - own)
        return self._kept[key]
