"""Derivatives of an infinite game that are computed seldom, and corrected by what changed from step to step.

Where the rules read the mass in every one of many states, derivatives take a tabulation for each of them. Here
they are kept, and Broyden's method makes them agree with the change of P and R that a step of the population has
brought about. They are computed anew when steps gain too little.
"""

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.sensitivity import MOST_SLOPES, Sensitivity, Slopes
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MANY_TABULATIONS = 16
"""Number of populations that derivatives need at least, if they shall be kept."""
STEP = 1e-6
"""Change of a column's mass, relative to it or to the mean of all columns, whichever is larger."""
SMALLEST_MOVE = 1e-12
"""Moves of the population by less, in l1, say nothing about derivatives: rounding is too large a part."""
YOUNG = 3
"""Derivatives that are not older than so many steps are not to blame for steps that gain little."""


def can_keep(induced: InducedGame, sensitivity: Sensitivity) -> bool:
    """Whether derivatives of a game are worth keeping, and fit into memory."""
    if not induced.game.is_infinite or induced.is_sparse or not induced.kernels.varies:
        return False
    n_entries = induced.n_states**2 * induced.n_actions * sensitivity.n_columns
    return sensitivity.n_tabulations >= MANY_TABULATIONS and n_entries <= MOST_SLOPES


class Secants:
    """Kept derivatives of the rows of an infinite game with dense tables, by the population.

    Parameters
    ----------
    induced, sensitivity:
        The game, and what its rows read.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity) -> None:
        self.reads = sensitivity.reads
        self._induced, self._n_columns = induced, sensitivity.n_columns
        self._beside = induced.flow_arrays()
        self._age = -1
        """Number of corrections since derivatives were computed, -1 if they have to be."""

    def doubt(self) -> None:
        """Take notice that a step gained little."""
        if self._age > YOUNG:
            self._age = -1

    def slopes(self, arrays: FlowArrays, values: Array) -> Slopes:
        """Derivatives at a flow, with the values V, shape (1, S)."""
        if self._age < 0:
            self._compute(arrays)
        else:
            self._correct(arrays)
        n_states, n_actions = arrays.mu.shape[1:]
        ahead, law = arrays.discount * values[0], arrays.mu[0].ravel()
        pairs = self._of_rewards + self._of_transitions @ ahead
        shifts = np.matmul(law, self._of_transitions)
        for move, (missed, missed_rewards) in self._corrections:
            pairs += np.outer(move, missed_rewards + missed @ ahead)
            shifts += np.outer(move, law @ missed)
        by_columns = np.ascontiguousarray(pairs.T).reshape(1, n_states, n_actions, self._n_columns)
        none = np.empty((0, n_states, n_actions)), np.empty((0, 1, 1, 1))
        return Slopes(*none, by_columns, np.ascontiguousarray(shifts.T)[None])

    def _compute(self, arrays: FlowArrays) -> None:
        """Compute derivatives by one tabulation for every column."""
        law, n_columns = arrays.mu[0], self._n_columns
        rows, rewards, columns = self._tabulated(arrays)
        self._of_transitions = np.empty((n_columns, *rows.shape))
        self._of_rewards = np.empty((n_columns, len(rewards)))
        steps = STEP * np.maximum(columns, columns.mean())
        for column, step in enumerate(steps):
            moved = law.copy().reshape(n_columns, -1)
            moved[column] += step / moved.shape[1]
            population = moved.reshape(1, *law.shape)
            freeze = self._induced.kernels.freeze
            _, self._beside = self._induced.filled(lambda tables: freeze(population, tables), self._beside)  # noqa: B023
            there, there_rewards, _ = self._tabulated(self._beside)
            np.subtract(there, rows, out=self._of_transitions[column])
            self._of_transitions[column] /= step
            self._of_rewards[column] = (there_rewards - rewards) / step
        self._last = rows.copy(), rewards.copy(), columns
        self._corrections: list[tuple[Array, tuple[Array, Array]]] = []
        self._age = 0

    def _correct(self, arrays: FlowArrays) -> None:
        """Make the derivatives agree with the change since the last population (Broyden)."""
        rows, rewards, columns = self._tabulated(arrays)
        before, rewards_before, columns_before = self._last
        move = columns - columns_before
        if np.abs(move).sum() < SMALLEST_MOVE:
            return
        missed = rows - before - np.tensordot(move, self._of_transitions, 1)
        missed_rewards = rewards - rewards_before - move @ self._of_rewards
        for earlier, (by_rows, by_rewards) in self._corrections:
            missed -= float(earlier @ move) * by_rows
            missed_rewards -= float(earlier @ move) * by_rewards
        self._corrections.append((move / float(move @ move), (missed, missed_rewards)))
        self._last = rows.copy(), rewards.copy(), columns
        self._age += 1

    def _tabulated(self, arrays: FlowArrays) -> tuple[Array, Array, Array]:
        """P (S A, S), R (S A,) and the mass of columns (C,)."""
        n_states = arrays.mu.shape[1]
        columns = arrays.mu[0].reshape(self._n_columns, -1).sum(axis=-1)
        return arrays.transitions[0].reshape(-1, n_states), arrays.rewards[0].ravel(), columns
