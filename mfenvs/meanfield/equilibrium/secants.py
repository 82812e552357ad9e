"""Derivatives of a game that are computed seldom, and corrected by what changed from step to step.

Where the rules read the mass in every one of many states, derivatives take a tabulation for each of them. Here
they are kept, and Broyden's method makes them agree with the change of P and R, at every time, that a step of the
population has brought about. They are computed anew when steps gain too little.
"""

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.sensitivity import MOST_SLOPES, Sensitivity, Slopes
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MANY_TABULATIONS = 100
"""Number of populations that derivatives need at least, if they shall be kept."""
STEP, LEAST_MASS = 1e-6, 1e-4
"""Change of a column's mass, relative to it or to this share of the mean of all columns, whichever is larger."""
MOST_RENEWALS = 4
"""Derivatives that have been computed anew more often than this are no better than exact ones."""
SMALLEST_MOVE = 1e-12
"""Moves of the population by less, in l1, say nothing about derivatives: rounding is too large a part."""
MOST_CORRECTIONS = 30
"""Number of corrections of low rank that are kept apart."""
YOUNG = 3
"""Derivatives that are not older than so many steps are not to blame for steps that gain little."""


def can_keep(induced: InducedGame, sensitivity: Sensitivity) -> bool:
    """Whether derivatives of a game are worth keeping, and fit into memory."""
    n_times, n_states, n_actions = induced.policy_shape
    if sensitivity.n_tabulations < MANY_TABULATIONS or (induced.kernels.varies and induced.is_sparse):
        return False
    n_entries = n_times * n_states * n_actions * sensitivity.n_columns
    return n_entries * (n_states if induced.kernels.varies else 1) <= MOST_SLOPES


class Secants:
    """Kept derivatives of a game's rows by the population; its tables must be dense unless P is always the same.

    Parameters
    ----------
    induced, sensitivity:
        The game, and what its rows read.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity) -> None:
        self._induced, self._n_columns = induced, sensitivity.n_columns
        self._varies = induced.kernels.varies
        self._beside = induced.flow_arrays()
        self._age = -1
        """Number of corrections since derivatives were computed, -1 if they have to be."""
        self._n_renewals = 0

    @property
    def is_useless(self) -> bool:
        """Whether derivatives had to be computed so often that they need not be kept."""
        return self._n_renewals > MOST_RENEWALS

    def doubt(self) -> None:
        """Take notice that a step gained little."""
        if self._age > YOUNG:
            self._age, self._n_renewals = -1, self._n_renewals + 1

    def slopes(self, arrays: FlowArrays, values: Array) -> Slopes:
        """Derivatives at a flow, with the values V, shape (T + 1, S), or (1, S) in an infinite game."""
        if self._age < 0:
            self._compute(arrays)
        else:
            self._correct(arrays)
        n_times, n_states, n_actions = arrays.mu.shape
        ahead = arrays.discount * values if arrays.discount < 1.0 else values[1:]
        law = arrays.mu.reshape(n_times, -1)
        none, pairs = (np.empty((0, n_states, n_actions)), np.empty((0, 1, 1, 1))), self._of_rewards
        shape = n_times, n_states, n_actions, self._n_columns
        if not self._varies:
            return Slopes(*none, pairs.reshape(shape), np.empty((0, 1, 1)))
        pairs = pairs + np.swapaxes(np.matmul(self._of_rows, ahead[:, None, :, None])[..., 0], 1, 2)
        shifts = np.swapaxes(np.matmul(law[:, None, None, :], self._of_rows)[:, :, 0], 1, 2)
        for move, missed in self._corrections:
            pairs += np.matmul(missed, ahead[..., None]) * move[:, None, :]
            shifts = shifts + np.matmul(law[:, None, :], missed)[:, 0, :, None] * move[:, None, :]
        return Slopes(*none, pairs.reshape(shape), np.ascontiguousarray(shifts))

    def _compute(self, arrays: FlowArrays) -> None:
        """Compute derivatives by one tabulation for every column."""
        n_times, n_columns = len(arrays.mu), self._n_columns
        rows, rewards, columns = self._tabulated(arrays)
        self._of_rows = np.zeros((n_times, n_columns, *rows.shape[1:]) if self._varies else (0, 0, 0, 0))
        self._of_rewards = np.zeros((*rewards.shape, n_columns))
        least = LEAST_MASS * columns.mean(axis=1, keepdims=True)
        # Where nobody can be, nothing has to be known.
        steps = np.where(columns > 0.0, STEP * np.maximum(columns, least), 0.0)
        for column in range(n_columns):
            moved = arrays.mu.copy().reshape(n_times, n_columns, -1)
            moved[:, column] += steps[:, column, None] / moved.shape[2]
            population, freeze = moved.reshape(arrays.mu.shape), self._induced.kernels.freeze
            _, self._beside = self._induced.filled(lambda tables: freeze(population, tables), self._beside)  # noqa: B023
            there, there_rewards, _ = self._tabulated(self._beside)
            width = np.where(steps[:, column] > 0.0, steps[:, column], np.inf)[:, None]
            self._of_rewards[..., column] = (there_rewards - rewards) / width
            if self._varies:
                np.subtract(there, rows, out=self._of_rows[:, column])
                self._of_rows[:, column] /= width[..., None]
        self._last = rows.copy(), rewards.copy(), columns
        self._corrections: list[tuple[Array, Array]] = []
        """Corrections of the derivatives of P, which are not added to them as they are of low rank."""
        self._age = 0

    def _correct(self, arrays: FlowArrays) -> None:
        """Make the derivatives agree with the change since the last population (Broyden)."""
        rows, rewards, columns = self._tabulated(arrays)
        before, rewards_before, columns_before = self._last
        move = columns - columns_before
        move[np.abs(move).sum(axis=1) < SMALLEST_MOVE] = 0.0
        square = (move * move).sum(axis=1, keepdims=True)
        share = move / np.where(square > 0.0, square, np.inf)
        missed_rewards = rewards - rewards_before - np.matmul(self._of_rewards, move[..., None])[..., 0]
        self._of_rewards = self._of_rewards + missed_rewards[..., None] * share[:, None, :]
        if self._varies:
            flat = self._of_rows.reshape(*self._of_rows.shape[:2], -1)
            missed = rows - before - np.matmul(move[:, None, :], flat)[:, 0].reshape(rows.shape)
            for earlier, by_rows in self._corrections:
                missed -= (earlier * move).sum(axis=1)[:, None, None] * by_rows
            self._corrections.append((share, missed))
            if len(self._corrections) >= MOST_CORRECTIONS:
                self._add_corrections()
        self._last = rows.copy(), rewards.copy(), columns
        self._age += 1

    def _add_corrections(self) -> None:
        """Add the corrections to the derivatives of P."""
        moves = np.stack([move for move, _ in self._corrections], axis=-1)
        missed = np.stack([rows.reshape(len(rows), -1) for _, rows in self._corrections], axis=1)
        self._of_rows += np.matmul(moves, missed).reshape(self._of_rows.shape)
        self._corrections = []

    def _tabulated(self, arrays: FlowArrays) -> tuple[Array, Array, Array]:
        """P (T, S A, S), with T = 0 if it is always the same, R (T, S A), and the mass of columns (T, C)."""
        n_times, n_states, _ = arrays.mu.shape
        rows = arrays.transitions.reshape(n_times, -1, n_states) if self._varies else np.empty((0, 0, 0))
        columns = arrays.mu.reshape(n_times, self._n_columns, -1).sum(axis=-1)
        return rows, arrays.rewards.reshape(n_times, -1), columns
