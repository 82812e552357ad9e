"""The distinct observations among the rows of a rollout, in parts that occur again and again.

In games with many agents few observations are distinct: agents in the same local state see the same. Observations
also consist of parts. The *common* part are the columns that are the same for all agents in a step (the time, the
mean field), the *private* part the other ones; the agent's identity, if it is observed, is a part of its own. Each
part has far fewer distinct values than there are rows, and what a linear layer makes of an observation is the sum
of what it makes of the parts.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .grouping_kernels import ROW, advantage_scale, mark_differing_columns, number_rows, sum_rows_by_observation
from .ppo_kernels import Floats

Numbers = NDArray[np.int32]

_multipliers = np.random.default_rng(0).integers(0, 2**63, 4096, np.uint64) * np.uint64(2) + np.uint64(1)


@dataclasses.dataclass(frozen=True)
class Part:
    """Columns of observations, in which every observation is a row of a table."""

    columns: torch.Tensor | slice
    """Indices of the columns, ascending."""
    table: torch.Tensor | None
    """The rows, shape (n_rows, number of columns); None for the unit vectors (a one-hot code)."""
    n_rows: int
    """Number of rows of the table."""


class ObservationSums(NamedTuple):
    """The distinct observations of a minibatch with sums over their rows, as compiled loops take them."""

    places: Numbers
    """Each observation's rows in the tables of parts, which follow each other, shape (n, n_parts)."""
    counts: Numbers
    """Number of rows with each action, shape (n, n_actions)."""
    log_probs: Floats
    """Log-probability of each action when it was drawn, if it was; shape (n, n_actions)."""
    gains: NDArray[np.float64]
    """Sum of the positive advantages of each action, shape (n, n_actions)."""
    losses: NDArray[np.float64]
    """Sum of the negative advantages of each action, shape (n, n_actions)."""
    returns: NDArray[np.float64]
    """Sum and sum of squares of the returns, shape (n, 2)."""
    private: Numbers
    """Numbers of the private parts that occur, shape (n_private,)."""
    first_private: int
    """The place of the first private part in the tables."""


@dataclasses.dataclass(frozen=True)
class DistinctObservations:
    """The distinct observations of a rollout."""

    numbers: Numbers
    """Number of each row's observation, shape (n_steps * n_envs,)."""
    places: Numbers
    """The rows of each observation in the tables of ``common``, the identity if there is one, and ``private``,
    shape (n_observations, 2 or 3). Rows of the identity are counted on from those of the common part."""
    common: Part
    private: Part
    identity: Part | None

    @property
    def known_parts(self) -> list[Part]:
        """The parts other than the private one, in order."""
        return [self.common] if self.identity is None else [self.common, self.identity]

    @classmethod
    def of(
        cls,
        observations: NDArray[np.float32],
        batch_size: int,
        columns: NDArray[np.int64] | None = None,
        identity: Part | None = None,
        agents: Numbers | None = None,
    ) -> DistinctObservations | None:
        """Find the distinct observations of a rollout.

        Parameters
        ----------
        observations:
            Shape (n_steps, n_envs, n_columns), without the columns of the identity.
        batch_size:
            Size of the minibatches.
        columns:
            Where the columns are in an observation with the identity, by default 0, 1, ...
        identity:
            The identity of the agents. Observations are then always taken apart.
        agents:
            With the identity, the index of each row's agent, shape (n_steps, n_envs).

        Returns
        -------
        The distinct observations; None if a minibatch would have private parts of more than half as many distinct
        values as rows, so that it is not worth while to look at them.
        """
        n_steps, n_envs, n_columns = observations.shape
        bits = observations.view(np.uint32)
        differs = np.zeros(n_columns, np.uint32)
        mark_differing_columns(bits, differs)
        is_private = differs != 0
        n_rows = n_steps * n_envs
        found = numbered(bits.reshape(n_rows, n_columns), is_private, n_rows if identity else max(1, n_rows // 2))
        if found is None:
            return None
        privates, firsts = found
        # How many are expected in a minibatch, if rows were drawn one by one.
        missed = (1.0 - min(1.0, batch_size / n_rows)) ** np.bincount(privates)
        if identity is None and len(firsts) - missed.sum() > min(batch_size, n_rows) / 2:
            return None
        steps = observations[:, 0]
        commons = numbered(np.ascontiguousarray(bits[:, 0]), ~is_private, n_steps)
        assert commons is not None
        of_step, first_steps = commons
        # In the order of the parts' tables; numbers follow the order of the rows, which makes memory local.
        keys = [np.repeat(of_step, n_envs), privates]
        if identity is not None:
            assert agents is not None
            keys.insert(1, agents.reshape(n_rows))
        of_parts = np.stack(keys, axis=1)
        observed = numbered(of_parts.view(np.uint32), None, n_rows)
        assert observed is not None
        numbers, first_rows = observed
        places = of_parts[first_rows]
        if identity is not None:
            places[:, 1] += len(first_steps)
        where = np.arange(n_columns) if columns is None else columns
        rows = observations.reshape(n_rows, n_columns)
        return cls(
            numbers,
            places,
            _part(where, ~is_private, steps[first_steps]),
            _part(where, is_private, rows[firsts]),
            identity,
        )


@dataclasses.dataclass(frozen=True)
class DistinctMinibatch:
    """A minibatch of a rollout as distinct observations."""

    n_rows: int
    sums: ObservationSums
    parts: list[Part]
    """The parts to whose tables the places of the observations refer."""


class DistinctRows:
    """The rows of a rollout, whose minibatches are made of distinct observations.

    A minibatch is overwritten by the next one.

    Parameters
    ----------
    observations:
        The distinct observations.
    actions, old_log_probs, advantages, targets:
        What belongs to each row, shape (n_rows,) each; targets are those of the value.
    n_actions:
        Number of actions.
    """

    def __init__(
        self,
        observations: DistinctObservations,
        actions: NDArray[np.int64],
        old_log_probs: Floats,
        advantages: Floats,
        targets: Floats,
        n_actions: int,
    ) -> None:
        self._observations, self._n_actions = observations, n_actions
        self._records = np.empty(len(actions), ROW)
        columns = observations.numbers, actions, old_log_probs, advantages, targets
        for name, column in zip(ROW.names or (), columns, strict=True):
            self._records[name] = column
        self._slots = np.empty(len(observations.places), np.int32)
        self._private_slots = np.empty(observations.private.n_rows, np.int32)
        self._found = self._buffers(0)
        self._private = torch.empty(0)

    def minibatch(self, rows: torch.Tensor, normalises_advantages: bool) -> DistinctMinibatch:
        """The distinct observations of these rows, with sums over the rows.

        Parameters
        ----------
        rows:
            Indices, shape (size,).
        normalises_advantages:
            Whether advantages are divided by their standard deviation in the minibatch, after their mean has been
            subtracted. A single row is left as it is.
        """
        chosen = rows.numpy()
        if len(self._slots) > len(chosen) // 8:  # sums over many places: rows in order are found faster
            chosen = np.sort(chosen)
        if len(chosen) > len(self._found.places):
            self._found = self._buffers(len(chosen))
        mean, scale = 0.0, 1.0
        if normalises_advantages and len(chosen) > 1:
            mean, scale = advantage_scale(self._records, chosen)
        self._slots.fill(-1)
        self._private_slots.fill(-1)
        source, found = self._observations.places, self._found
        n, n_private = sum_rows_by_observation(
            self._records, chosen, mean, scale, source, self._slots, self._private_slots, found
        )
        sums = ObservationSums(
            found.places[:n],
            found.counts[:n],
            found.log_probs[:n],
            found.gains[:n],
            found.losses[:n],
            found.returns[:n],
            found.private[:n_private],
            found.first_private,
        )
        return DistinctMinibatch(len(chosen), sums, self._parts(sums.private))

    def _parts(self, numbers: Numbers) -> list[Part]:
        whole = self._observations.private
        assert whole.table is not None
        if len(numbers) > len(self._private):
            self._private = torch.empty(len(numbers), whole.table.shape[1])
        table = self._private[: len(numbers)]
        torch.index_select(whole.table, 0, torch.from_numpy(numbers), out=table)
        return [*self._observations.known_parts, Part(whole.columns, table, len(table))]

    def _buffers(self, size: int) -> ObservationSums:
        shape = (size, self._n_actions)
        return ObservationSums(
            np.empty((size, self._observations.places.shape[1]), np.int32),
            np.empty(shape, np.int32),
            np.empty(shape, np.float32),
            np.empty(shape),
            np.empty(shape),
            np.empty((size, 2)),
            np.empty(size, np.int32),
            sum(part.n_rows for part in self._observations.known_parts),
        )


def numbered(
    bits: NDArray[np.uint32], counts: NDArray[np.bool_] | None, most: int
) -> tuple[Numbers, Numbers] | None:
    """Number the distinct rows of an array in the order in which they first appear.

    Parameters
    ----------
    bits:
        The rows, as 32-bit integers; shape (n, n_columns).
    counts:
        Whether a column counts, shape (n_columns,); None if all do.
    most:
        The largest number of distinct rows that is looked for.

    Returns
    -------
    Each row's number, and the first row of each number; None if there are more than ``most`` distinct rows.
    """
    n_columns = bits.shape[1]
    masks = np.full(n_columns, 2**32 - 1, np.uint32)
    if counts is not None:
        masks *= counts
    multipliers = np.resize(_multipliers, n_columns) * (masks != 0)
    slots = np.full(2 << most.bit_length(), -1, np.int32)
    numbers, firsts = np.empty(len(bits), np.int32), np.empty(most, np.int32)
    n_found = number_rows(bits, multipliers, masks, slots, numbers, firsts)
    return None if n_found < 0 else (numbers, firsts[:n_found])


def _part(columns: NDArray[np.int64], chosen: NDArray[np.bool_], rows: Any) -> Part:
    """The part of some columns of all rows."""
    table = torch.from_numpy(np.ascontiguousarray(rows[:, chosen]))
    return Part(as_slice(columns[chosen]), table, len(table))


def as_slice(columns: NDArray[np.int64]) -> torch.Tensor | slice:
    """Indices of columns as a slice where they follow each other, since slices are views and take no time."""
    if len(columns) and columns[-1] - columns[0] == len(columns) - 1:
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return torch.from_numpy(columns)
