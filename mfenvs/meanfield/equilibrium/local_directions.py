"""Newton's direction for a game whose rows read the mass in their own state only: a sparse linear system.

The equations are those of :mod:`mfenvs.meanfield.equilibrium.directions`, of all times at once. In a game that
ends, the unknowns are *relative* changes of the mass of a state: masses range over dozens of orders of magnitude
where a crowd spreads from a corner, and -log mu has the slope -1 / mu [O].
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import splu

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import probability_of, successor_of
from mfenvs.meanfield.equilibrium.compressed_rows import CompressedRows
from mfenvs.meanfield.equilibrium.elimination import Matrices, eliminate
from mfenvs.meanfield.equilibrium.linear_conditions import LinearConditions
from mfenvs.rules import rule

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_MASS = 1e-100
"""Changes of a smaller mass are relative to this one."""
DENSE_OPERATIONS, SPARSE_OPERATIONS = 1.2, 3.2
"""Costs of the elimination time by time, per cube of the number of states, and of the factorised sparse system,
per power 1.5 of its size and square of the entries in a row: on maps. In units of .2 ns, measured on one core."""


MANY_STATES = 150
"""With fewer states than these, products of dense matrices are as fast as those of sparse ones."""
VALUES_BY_MASS, VALUES_BY_VALUES, MASS_BY_MASS, MASS_BY_VALUES = range(4)
"""Blocks of a time: how the changes of values, and those of the mass one step ahead, hang on the changes of mass,
and on those of the values one step ahead."""


class LocalSystem:
    """The conditions as a linear system, factorised.

    Parameters
    ----------
    linearised:
        The conditions.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the conditions are singular.
    """

    def __init__(self, linearised: LinearConditions) -> None:
        is_reachable = linearised.is_reachable
        n_times, n_states, n_actions = linearised.policy.shape
        self._is_endless = is_endless = linearised.discount < 1.0
        # Unknowns: changes of mass and of values of a time, time after time.
        self._sizes = is_reachable.sum(axis=1)
        self._starts = 2 * np.cumsum(self._sizes) - 2 * self._sizes
        places = np.where(is_reachable, self._starts[:, None] + np.cumsum(is_reachable, axis=1) - 1, -1)
        self._n = int(2 * self._sizes.sum())
        scale = np.ones_like(linearised.mass) if is_endless else np.maximum(linearised.mass, LEAST_MASS)
        slopes, population_of = linearised.slopes, linearised.population_of
        self._is_conserved = population_of[:, None] == population_of
        self._parts = linearised.parts, slopes.own, slopes.own_shifts, places, self._sizes, scale
        scratch = np.empty((n_actions + 1, n_states)), np.full(n_states, -1), np.empty(n_states, np.int64)
        ends = np.zeros(n_times + 1, np.int64)
        # Counted first, then written.
        nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        n_entries = write_local_system(self._parts, *nothing, ends, *scratch)
        triplets = np.empty(n_entries, np.int64), np.empty(n_entries, np.int64), np.empty(n_entries)
        write_local_system(self._parts, *triplets, ends, *scratch)
        self._solve: Callable[[Array], Array]
        dense, by_factors = local_work(self._sizes, n_entries / self._n)
        if is_endless:
            self._solve = self._factorised_endless(*triplets)
        elif dense <= by_factors:
            self._solve = functools.partial(self._eliminated, functools.partial(self._matrices, *triplets, ends))
        else:
            self._solve = self._factorised(*triplets)

    def directions(self, towards: Array, gained: Array | None = None) -> tuple[Array, Array]:
        """Changes of the policy, (T, S, A, 2), and in an infinite game those of mass, (S, 2).

        Parameters are those of :meth:`mfenvs.meanfield.equilibrium.directions.Linearised.directions`.
        """
        known = np.zeros((self._n, 2))
        write_local_rests(self._parts, towards, known)
        if gained is not None:
            known[: len(gained), 0] += gained
        changes, found = np.zeros_like(towards), self._solve(known)
        write_local_changes(self._parts, towards, found, changes)
        return changes, found[: self._n // 2 if self._is_endless else 0]

    def _factorised_endless(self, rows: Indices, columns: Indices, entries: Array) -> Callable[[Array], Array]:
        system = sparse.coo_array((entries, (rows, columns)), shape=(self._n, self._n)).toarray()
        # The mass of a population does not change. Added to all its equations of mass, this makes them regular.
        system[: self._n // 2, : self._n // 2] += (2.0 / self._n) * self._is_conserved
        factors, pivots, info = lapack.dgetrf(system)
        if info != 0:
            raise np.linalg.LinAlgError("the conditions are singular")
        return lambda known: np.asarray(lapack.dgetrs(factors, pivots, known)[0], np.float64)

    def _factorised(self, rows: Indices, columns: Indices, entries: Array) -> Callable[[Array], Array]:
        try:
            factors = splu(sparse.csc_array((entries, (rows, columns)), shape=(self._n, self._n)))
        except (RuntimeError, MemoryError) as error:  # which is what SuperLU raises
            raise np.linalg.LinAlgError(str(error)) from None
        return lambda known: np.asarray(factors.solve(known), np.float64)

    def _eliminated(self, matrices: Callable[[int], Matrices], known: Array) -> Array:
        rests = []
        for h, (start, n) in enumerate(zip(self._starts, self._sizes, strict=True)):
            is_last = h == len(self._sizes) - 1
            ahead = 0 if is_last else self._starts[h + 1]
            arrived = np.zeros((1, 2)) if is_last else known[ahead : ahead + self._sizes[h + 1]]
            rests.append((known[start + n : start + 2 * n], arrived))
        return np.concatenate([np.concatenate(pair) for pair in eliminate(matrices, rests)])

    def _matrices(self, rows: Indices, columns: Indices, entries: Array, ends: Indices, h: int) -> Matrices:
        """The matrices of time h."""
        n, start, is_last = int(self._sizes[h]), int(self._starts[h]), h == len(self._sizes) - 1
        # Behind the last time is no state, which is one without entries.
        n_next, next_start = (1, self._n) if is_last else (int(self._sizes[h + 1]), int(self._starts[h + 1]))
        part = slice(ends[h], ends[h + 1])
        of_time = rows[part], columns[part], entries[part]
        if min(n, n_next) < MANY_STATES:
            shapes = (n, n_next), (n, n), (n_next, n), (n_next, n_next)
            v_v, v_m, m_m, m_v = (np.zeros(shape) for shape in shapes)
            write_dense_blocks(*of_time, start, next_start, v_v, v_m, m_m, m_v)
            return v_v, v_m, m_m, m_v
        starts, place_of = np.zeros((4, max(n, n_next) + 1), np.int32), np.full(max(n, n_next), -1, np.int32)
        kept, values = np.empty(len(of_time[0]), np.int32), np.empty(len(of_time[0]))
        write_sparse_blocks(*of_time, start, n, next_start, n_next, starts, place_of, kept, values)
        return (
            CompressedRows((n, n_next), starts[VALUES_BY_VALUES, : n + 1], kept, values),
            CompressedRows((n, n), starts[VALUES_BY_MASS, : n + 1], kept, values),
            CompressedRows((n_next, n), starts[MASS_BY_MASS, : n_next + 1], kept, values),
            CompressedRows((n_next, n_next), starts[MASS_BY_VALUES, : n_next + 1], kept, values),
        )


def local_work(sizes: Indices, entries_in_a_row: float) -> tuple[float, float]:
    """Costs of the elimination and of the sparse system, with so many states at each time."""
    n = 2.0 * float(sizes.sum())
    return (
        DENSE_OPERATIONS * float((sizes.astype(float) ** 3).sum()),
        SPARSE_OPERATIONS * n**1.5 * entries_in_a_row**2,
    )


@rule
def place_in_blocks(row: Any, column: Any, start: Any, n: Any, next_start: Any, n_next: Any) -> Any:
    """The block of an entry of a time, its row and its column there; block -1 for the diagonal of the system."""
    if row < next_start:
        i, block = row - start - n, VALUES_BY_MASS
    else:
        i, block = row - next_start, MASS_BY_MASS
    j = column - start
    if column >= next_start:
        j = column - next_start - n_next
        block += VALUES_BY_VALUES
    elif i < 0 or j >= n:
        block = -1
    return block, i, j


@kernel
def write_dense_blocks(
    rows: Any,
    columns: Any,
    entries: Any,
    start: Any,
    next_start: Any,
    v_v: Any,
    v_m: Any,
    m_m: Any,
    m_v: Any,
) -> None:
    """Add up the entries of a time, whose signs are those of unknowns brought to the left, from zeros."""
    n, n_next = v_v.shape
    for e in range(len(entries)):
        block, i, j = place_in_blocks(rows[e], columns[e], start, n, next_start, n_next)
        if block == VALUES_BY_VALUES:
            v_v[i, j] -= entries[e]
        elif block == VALUES_BY_MASS:
            v_m[i, j] -= entries[e]
        elif block == MASS_BY_MASS:
            m_m[i, j] -= entries[e]
        elif block == MASS_BY_VALUES:
            m_v[i, j] -= entries[e]


@kernel
def write_sparse_blocks(
    rows: Any,
    columns: Any,
    entries: Any,
    start: Any,
    n: Any,
    next_start: Any,
    n_next: Any,
    starts: Any,
    place_of: Any,
    kept: Any,
    values: Any,
) -> None:
    """Add up the entries of a time as :func:`write_dense_blocks` does, in compressed rows.

    The rows of all blocks are in ``kept`` and ``values``, as long as ``entries``, and begin where ``starts``
    (4, number of rows + 1), from zeros, says. Scratch: ``place_of`` (largest number of columns,), which is -1.
    """
    for e in range(len(entries)):
        block, i, _ = place_in_blocks(rows[e], columns[e], start, n, next_start, n_next)
        if block >= 0:
            starts[block, i + 1] += 1
    last = 0
    for block in range(4):
        starts[block, 0] = last
        for i in range(starts.shape[1] - 1):
            last += starts[block, i + 1]
            starts[block, i + 1] = last
    # Row by row, each from its start on, which moves to its end.
    for e in range(len(entries)):
        block, i, j = place_in_blocks(rows[e], columns[e], start, n, next_start, n_next)
        if block >= 0:
            kept[starts[block, i]], values[starts[block, i]] = j, -entries[e]
            starts[block, i] += 1
    begin = 0
    for block in range(4):
        n_kept = begin
        for i in range(starts.shape[1] - 1):
            end, own = starts[block, i], n_kept
            starts[block, i] = n_kept
            for e in range(begin, end):
                j = kept[e]
                if place_of[j] >= own:
                    values[place_of[j]] += values[e]
                else:
                    place_of[j], kept[n_kept], values[n_kept] = n_kept, j, values[e]
                    n_kept += 1
            begin = end
        starts[block, -1] = n_kept


@kernel
def write_local_system(
    parts: Any,
    rows: Any,
    columns: Any,
    entries: Any,
    ends: Any,
    on: Any,
    place_of: Any,
    reached: Any,
) -> Any:
    """Write the system's entries, time after time; return their number.

    ``ends`` (T + 1,) become the numbers of entries before each time and of all.

    With ``rows`` of length 0 they are counted only. Scratch: ``on`` (A + 1, S), ``place_of`` (S,), which is -1,
    and ``reached`` (S,).
    """
    conditions, own, own_shifts, places, sizes, scale = parts
    policy, ratio, mass, transitions, successors, discount = conditions
    n_times, n_states, n_actions = policy.shape
    n_kept, counts_only, found = transitions.shape[3], len(rows) == 0, 0
    for h in range(n_times):
        ahead = 0 if discount < 1.0 else h + 1
        for s in range(n_states):
            here = places[h, s]
            if here < 0:
                continue
            value_here = here + sizes[h]
            # The states that can come next, and the probabilities of each by every action and by the weights D.
            n_reached = 0
            for a in range(n_actions if ahead < n_times else 0):
                for k in range(n_kept):
                    if probability_of(transitions, h, s, a, k) != 0.0 or len(own_shifts) > 0:
                        to = successor_of(successors, h, s, a, k)
                        if place_of[to] < 0 and places[ahead, to] >= 0:
                            place_of[to], reached[n_reached] = n_reached, to
                            on[:, n_reached] = 0.0
                            n_reached += 1
            if counts_only:
                found += 3 + 2 * n_reached + n_reached * n_reached
                for j in range(n_reached):
                    place_of[reached[j]] = -1
                continue
            total, slope = 0.0, 0.0
            for a in range(n_actions):
                total += ratio[h, s, a]
            for a in range(n_actions):
                slope += ratio[h, s, a] / total * own[h, s, a]
                for k in range(n_kept if ahead < n_times else 0):
                    j = place_of[successor_of(successors, h, s, a, k)]
                    if j >= 0:
                        p = probability_of(transitions, h, s, a, k)
                        on[a, j] += p
                        on[n_actions, j] += p * ratio[h, s, a] / total
            rows[found], columns[found], entries[found] = here, here, 1.0
            rows[found + 1], columns[found + 1], entries[found + 1] = value_here, value_here, 1.0
            rows[found + 2], columns[found + 2] = value_here, here
            entries[found + 2] = -slope * scale[h, s]
            found += 3
            for i in range(n_reached):
                to = reached[i]
                arrival, width = places[ahead, to], scale[ahead, to]
                moved = 0.0
                for a in range(n_actions):
                    weight = mass[h, s] * ratio[h, s, a]
                    moved += on[a, i] * (policy[h, s, a] + weight * (own[h, s, a] - slope))
                if len(own_shifts) > 0:
                    for a in range(n_actions):
                        for k in range(n_kept):
                            if successor_of(successors, h, s, a, k) == to:
                                moved += mass[h, s] * policy[h, s, a] * own_shifts[h, s, a, k]
                rows[found], columns[found] = arrival, here
                entries[found] = -moved * scale[h, s] / width
                rows[found + 1], columns[found + 1] = value_here, arrival + sizes[ahead]
                entries[found + 1] = -discount * on[n_actions, i]
                found += 2
                for j in range(n_reached):
                    # What all actions share does not move the policy.
                    spread = -total * on[n_actions, i] * on[n_actions, j]
                    for a in range(n_actions):
                        spread += ratio[h, s, a] * on[a, i] * on[a, j]
                    rows[found], columns[found] = arrival, places[ahead, reached[j]] + sizes[ahead]
                    entries[found] = -discount * mass[h, s] * spread / width
                    found += 1
            for j in range(n_reached):
                place_of[reached[j]] = -1
        ends[h + 1] = found
    return found


@kernel
def write_local_rests(parts: Any, towards: Any, known: Any) -> None:
    """Write the system's right-hand sides into zeros (n, 2)."""
    conditions, _, _, places, sizes, scale = parts
    policy, ratio, mass, transitions, successors, discount = conditions
    n_times, n_states, n_actions = policy.shape
    for h in range(n_times):
        ahead = 0 if discount < 1.0 else h + 1
        for s in range(n_states):
            here = places[h, s]
            if here < 0:
                continue
            total = 0.0
            for a in range(n_actions):
                total += ratio[h, s, a]
            for c in range(2):
                offset = 0.0
                for a in range(n_actions):
                    offset += towards[h, s, a, c] / total
                known[here + sizes[h], c] = offset
                for a in range(n_actions if ahead < n_times else 0):
                    gain = mass[h, s] * (towards[h, s, a, c] - ratio[h, s, a] * offset)
                    for k in range(transitions.shape[3]):
                        to = successor_of(successors, h, s, a, k)
                        if places[ahead, to] >= 0:
                            p = probability_of(transitions, h, s, a, k)
                            known[places[ahead, to], c] += gain * p / scale[ahead, to]


@kernel
def write_local_changes(parts: Any, towards: Any, found: Any, changes: Any) -> None:
    """Write the changes of the policy that belong to a solution (n, 2)."""
    conditions, own, _, places, sizes, scale = parts
    policy, ratio, _, transitions, successors, discount = conditions
    n_times, n_states, n_actions = policy.shape
    for h in range(n_times):
        ahead = 0 if discount < 1.0 else h + 1
        for s in range(n_states):
            here = places[h, s]
            if here < 0:
                continue
            for c in range(2):
                value = found[here + sizes[h], c]
                for a in range(n_actions):
                    q = own[h, s, a] * scale[h, s] * found[here, c]
                    for k in range(transitions.shape[3] if ahead < n_times else 0):
                        to = places[ahead, successor_of(successors, h, s, a, k)]
                        if to >= 0:
                            p = probability_of(transitions, h, s, a, k)
                            q += discount * p * found[to + sizes[ahead], c]
                    changes[h, s, a, c] = towards[h, s, a, c] - ratio[h, s, a] * (value - q)
