"""The sparse linear system for the values of all times, of :mod:`mfenvs.meanfield.equilibrium.interior_point`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mfenvs.engine.compile import kernel
from mfenvs.meanfield.equilibrium.pairs import Pairs

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MOST_ENTRIES = 2_000_000
"""Largest number of entries of the linear system, those in one place counted apart."""
PIVOT = 0.01
"""Relative size of a diagonal entry down to which it is taken as a pivot."""
LEAST = 1e-300
"""Diagonal entries are never smaller."""


class ValueSystem:
    """Where the entries of the system are, and in which order it is factorised: found once for all weights.

    Parameters
    ----------
    pairs:
        The pairs whose states have values.
    is_first:
        Whether a state is of the first time, whose mass does not change, (n,).

    Raises
    ------
    MemoryError
        If the system is too large.
    """

    def __init__(self, pairs: Pairs, is_first: NDArray[np.bool_]) -> None:
        moves, n = pairs.moves, pairs.n
        self._pairs, self._is_first = pairs, is_first
        self._ends = ends = np.append(pairs.firsts, len(pairs.own))
        places, listed = np.full(n, -1), np.empty(n, np.int64)
        self._local = np.empty(len(moves.indices), np.int64)
        self._starts = np.zeros(n + 1, np.int64)
        nothing = np.empty(0, np.int64), np.empty(0, np.int64)
        given = ends, moves.indptr, moves.indices, places, listed, self._local, self._starts
        list_entries(*given, *nothing)
        n_entries = int(self._starts[-1])
        if n_entries > MOST_ENTRIES:
            raise MemoryError(f"the linear system has {n_entries} entries")
        rows, columns = np.empty(n_entries, np.int64), np.empty(n_entries, np.int64)
        list_entries(*given, rows, columns)
        keys, self._places = np.unique(columns * n + rows, return_inverse=True)
        self._rows, self._columns = keys % n, keys // n
        most = int(np.sqrt(np.diff(self._starts).max(initial=0)))
        self._scratch = np.empty(most), np.empty(most)
        self._ordering = "MMD_AT_PLUS_A"
        self._order_by(np.arange(n))

    def solver(self, weights: Array, slopes: Array, total: Array, answer: Array) -> Callable[[Array], Array]:
        """A function that solves the system for the changes of V, given what :func:`write_entries` takes.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the system is singular.
        """
        n, moves = self._pairs.n, self._pairs.moves
        entries = np.zeros(len(self._rows))
        write_entries(
            *(self._ends, moves.indptr, moves.data, self._local, self._starts, self._places),
            *(weights, slopes, total, answer, self._is_first, *self._scratch, entries),
        )
        # Masses range over dozens of orders of magnitude: rows and columns are scaled.
        scale = np.zeros(n)
        is_diagonal = self._rows == self._columns
        scale[self._rows[is_diagonal]] = 1.0 / np.sqrt(np.maximum(np.abs(entries[is_diagonal]), LEAST))
        entries *= scale[self._rows] * scale[self._columns]
        matrix = sparse.csc_array((entries, self._indices, self._indptr), shape=(n, n))
        try:
            factors = splu(
                matrix, permc_spec=self._ordering, diag_pivot_thresh=PIVOT, options={"SymmetricMode": True}
            )
        except (RuntimeError, MemoryError) as error:  # which is what SuperLU raises
            raise np.linalg.LinAlgError(str(error)) from None
        order = self._order
        if self._ordering != "NATURAL":
            # A good order is found by the first factorisation, and takes a quarter of its time.
            self._order_by(np.argsort(factors.perm_c))
            self._ordering = "NATURAL"

        def solved(known: Array) -> Array:
            found = np.empty(n)
            found[order] = factors.solve((scale * known)[order])
            return scale * found

        return solved

    def _order_by(self, order: Indices) -> None:
        """List rows and columns of the system in an order of the states."""
        n = len(order)
        position = np.empty(n, np.int64)
        position[order] = np.arange(n)
        rows, columns = position[self._rows], position[self._columns]
        entries = np.argsort(columns * n + rows)
        number = np.empty_like(entries)
        number[entries] = np.arange(len(entries))
        self._order, self._places = order, number[self._places]
        self._rows, self._columns = self._rows[entries], self._columns[entries]
        self._indices = rows[entries].astype(np.int32)
        self._indptr = np.searchsorted(columns[entries], np.arange(n + 1)).astype(np.int32)


@kernel
def list_entries(
    ends: Any,
    starts_of_rows: Any,
    ahead: Any,
    places: Any,
    listed: Any,
    local: Any,
    starts: Any,
    rows: Any,
    columns: Any,
) -> None:
    """List the entries of every state: all pairs of itself and the states that can come next.

    ``local`` becomes, for every entry of P, the number of its successor among those of the state, from 1. With
    ``rows`` of length 0 entries are counted only, in ``starts`` (n + 1,). ``places`` (n,) is -1, and ``listed``
    scratch.
    """
    n, counts_only = len(ends) - 1, len(rows) == 0
    for s in range(n):
        listed[0], n_listed = s, 1
        for p in range(ends[s], ends[s + 1]):
            for k in range(starts_of_rows[p], starts_of_rows[p + 1]):
                if places[ahead[k]] < 0:
                    places[ahead[k]], listed[n_listed] = n_listed, ahead[k]
                    n_listed += 1
                local[k] = places[ahead[k]]
        for i in range(1, n_listed):
            places[listed[i]] = -1
        if counts_only:
            starts[s + 1] = starts[s] + n_listed * n_listed
        else:
            for i in range(n_listed):
                for j in range(n_listed):
                    entry = starts[s] + i * n_listed + j
                    rows[entry], columns[entry] = listed[i], listed[j]


@kernel
def write_entries(
    ends: Any,
    starts_of_rows: Any,
    chances: Any,
    local: Any,
    starts: Any,
    places: Any,
    weights: Any,
    slopes: Any,
    total: Any,
    answer: Any,
    is_first: Any,
    arrivals: Any,
    bent: Any,
    entries: Any,
) -> None:
    """Add up the entries of the system in zeros.

    With W = sum_a D P and C = sum_a D c P of a state, sums E of D, and its ``answer`` b to a mass that changes
    (0 at the first time): rows of the state itself hold b (E - W), or E - W at the first time, and those of its
    successors P' D P - W' - C' b (E - W).
    """
    for s in range(len(ends) - 1):
        first = starts[s]
        size = int(np.sqrt(starts[s + 1] - first))
        for i in range(size):
            arrivals[i] = bent[i] = 0.0
        for p in range(ends[s], ends[s + 1]):
            for k in range(starts_of_rows[p], starts_of_rows[p + 1]):
                moved = weights[p] * chances[k]
                arrivals[local[k]] += moved
                bent[local[k]] += moved * slopes[p]
                for other in range(starts_of_rows[p], starts_of_rows[p + 1]):
                    entries[places[first + local[k] * size + local[other]]] += moved * chances[other]
        own = 1.0 if is_first[s] else answer[s]
        entries[places[first]] += own * total[s]
        for j in range(1, size):
            entries[places[first + j]] -= own * arrivals[j]
            entries[places[first + j * size]] -= arrivals[j] + bent[j] * answer[s] * total[s]
            for i in range(1, size):
                entries[places[first + i * size + j]] += bent[i] * answer[s] * arrivals[j]
