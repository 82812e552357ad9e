"""Newton's direction for a game whose rows read the mass in their own state only: a sparse linear system.

The equations are those of :mod:`mfenvs.meanfield.equilibrium.directions`, of all times at once. In a game that
ends, the unknowns are *relative* changes of the mass of a state: masses range over dozens of orders of magnitude
where a crowd spreads from a corner, and -log mu has the slope -1 / mu [O].
"""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import probability_of, successor_of
from mfenvs.meanfield.equilibrium.elimination import Equations, eliminated

if TYPE_CHECKING:
    from mfenvs.meanfield.equilibrium.directions import Linearised

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_MASS = 1e-100
"""Changes of a smaller mass are relative to this one."""
DENSE_OPERATIONS, SPARSE_OPERATIONS = 1.2, 3.2
"""Costs of the elimination time by time, per cube of the number of states, and of the factorised sparse system,
per power 1.5 of its size and square of the entries in a row: on maps. In units of .2 ns, measured on one core."""


def local_directions(linearised: "Linearised", is_reachable: NDArray[np.bool_]) -> Array:
    """Changes of the policy, (T, S, A, 2).

    Parameters
    ----------
    linearised:
        The conditions.
    is_reachable:
        The states that can be reached at each time, (T, S); others do not change.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the conditions are singular.
    """
    n_times, n_states, n_actions = linearised.policy.shape
    is_endless = linearised.discount < 1.0
    # Unknowns: changes of mass and of values of a time, time after time.
    sizes = is_reachable.sum(axis=1)
    starts = 2 * np.cumsum(sizes) - 2 * sizes
    places = np.where(is_reachable, starts[:, None] + np.cumsum(is_reachable, axis=1) - 1, -1)
    n = int(2 * sizes.sum())
    scale = np.ones_like(linearised.mass) if is_endless else np.maximum(linearised.mass, LEAST_MASS)
    parts = linearised.parts, linearised.slopes.own, linearised.slopes.own_shifts, places, sizes, scale
    known = np.zeros((n, 2))
    scratch = np.empty((n_actions + 1, n_states)), np.full(n_states, -1), np.empty(n_states, np.int64)
    # Counted first, then written.
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.zeros(n_times + 1, np.int64)
    n_entries = write_local_system(parts, *nothing, known, *scratch)
    triplets = np.empty(n_entries, np.int64), np.empty(n_entries, np.int64), np.empty(n_entries)
    ends = np.zeros(n_times + 1, np.int64)
    write_local_system(parts, *triplets, ends, known, *scratch)
    if is_endless:
        found = _solved_endless(*triplets, known)
    elif local_work(sizes, n_entries / n)[0] <= local_work(sizes, n_entries / n)[1]:
        equations = functools.partial(_equations, *triplets, ends, known, starts, sizes)
        found = np.concatenate([np.concatenate(pair) for pair in eliminated(n_times, equations)])
    else:
        found = _solved(*triplets, known)
    changes = np.zeros_like(linearised.towards)
    write_local_changes(parts, found, changes)
    return changes


def local_work(sizes: Indices, entries_in_a_row: float) -> tuple[float, float]:
    """Costs of the elimination and of the sparse system, with so many states at each time."""
    n = 2.0 * float(sizes.sum())
    return (
        DENSE_OPERATIONS * float((sizes.astype(float) ** 3).sum()),
        SPARSE_OPERATIONS * n**1.5 * entries_in_a_row**2,
    )


def _solved_endless(rows: Indices, columns: Indices, entries: Array, known: Array) -> Array:
    """The solution in an infinite game."""
    n = len(known)
    dense = sparse.coo_array((entries, (rows, columns)), shape=(n, n)).toarray()
    # The whole mass does not change. Added to all equations of mass, this makes them regular.
    dense[: n // 2, : n // 2] += 2.0 / n
    return np.asarray(np.linalg.solve(dense, known), np.float64)


def _solved(rows: Indices, columns: Indices, entries: Array, known: Array) -> Array:
    """The solution of the sparse system."""
    n = len(known)
    try:
        return np.asarray(
            splu(sparse.csc_array((entries, (rows, columns)), shape=(n, n))).solve(known), np.float64
        )
    except RuntimeError as error:  # which is what SuperLU raises
        raise np.linalg.LinAlgError(str(error)) from None


def _equations(
    rows: Indices,
    columns: Indices,
    entries: Array,
    ends: Indices,
    known: Array,
    starts: Indices,
    sizes: Indices,
    h: int,
) -> Equations:
    """The equations of time h, as dense matrices."""
    n, is_last = int(sizes[h]), h == len(sizes) - 1
    n_next, next_start = (1, -1) if is_last else (int(sizes[h + 1]), int(starts[h + 1]))
    by_values, by_mass = np.zeros((n, n_next)), np.zeros((n, n))
    mass_by_mass, mass_by_values = np.zeros((n_next, n)), np.zeros((n_next, n_next))
    part = slice(ends[h], ends[h + 1])
    blocks = by_values, by_mass, mass_by_mass, mass_by_values
    write_blocks(rows[part], columns[part], entries[part], starts[h], next_start, *blocks)
    arrived = np.zeros((1, 2)) if is_last else known[next_start : next_start + n_next]
    return by_values, by_mass, known[starts[h] + n : starts[h] + 2 * n], mass_by_mass, mass_by_values, arrived


@kernel
def write_blocks(
    rows: Any,
    columns: Any,
    entries: Any,
    start: Any,
    next_start: Any,
    by_values: Any,
    by_mass: Any,
    mass_by_mass: Any,
    mass_by_values: Any,
) -> None:
    """Write a time's entries, whose signs are those of unknowns brought to the left, into zeros."""
    n, n_next = by_values.shape
    for e in range(len(entries)):
        i, j = rows[e], columns[e]
        if i == j:
            continue
        if next_start >= 0 and i >= next_start:
            if j >= next_start:
                mass_by_values[i - next_start, j - next_start - n_next] -= entries[e]
            else:
                mass_by_mass[i - next_start, j - start] -= entries[e]
        elif next_start >= 0 and j >= next_start:
            by_values[i - start - n, j - next_start - n_next] -= entries[e]
        else:
            by_mass[i - start - n, j - start] -= entries[e]


@kernel
def write_local_system(
    parts: Any,
    rows: Any,
    columns: Any,
    entries: Any,
    ends: Any,
    known: Any,
    on: Any,
    place_of: Any,
    reached: Any,
) -> Any:
    """Write the system's entries, time after time, and right-hand sides (n, 2); return the number of entries.

    ``ends`` (T + 1,) become the numbers of entries before each time and of all.

    With ``rows`` of length 0 they are counted only. Scratch: ``on`` (A + 1, S), ``place_of`` (S,), which is -1,
    and ``reached`` (S,).
    """
    (policy, ratio, towards, mass, transitions, successors, discount), own, own_shifts, places, sizes, scale = (
        parts
    )
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
            total, slope, offset, other_offset = 0.0, 0.0, 0.0, 0.0
            for a in range(n_actions):
                total += ratio[h, s, a]
            for a in range(n_actions):
                slope += ratio[h, s, a] / total * own[h, s, a]
                offset += towards[h, s, a, 0] / total
                other_offset += towards[h, s, a, 1] / total
                for k in range(n_kept if ahead < n_times else 0):
                    j = place_of[successor_of(successors, h, s, a, k)]
                    if j >= 0:
                        p = probability_of(transitions, h, s, a, k)
                        on[a, j] += p
                        on[n_actions, j] += p * ratio[h, s, a] / total
            known[value_here, 0], known[value_here, 1] = offset, other_offset
            rows[found], columns[found], entries[found] = here, here, 1.0
            rows[found + 1], columns[found + 1], entries[found + 1] = value_here, value_here, 1.0
            rows[found + 2], columns[found + 2] = value_here, here
            entries[found + 2] = -slope * scale[h, s]
            found += 3
            for i in range(n_reached):
                to = reached[i]
                arrival, width = places[ahead, to], scale[ahead, to]
                moved, gain, other_gain = 0.0, 0.0, 0.0
                for a in range(n_actions):
                    weight = mass[h, s] * ratio[h, s, a]
                    moved += on[a, i] * (policy[h, s, a] + weight * (own[h, s, a] - slope))
                    gain += on[a, i] * (mass[h, s] * towards[h, s, a, 0] - weight * offset)
                    other_gain += on[a, i] * (mass[h, s] * towards[h, s, a, 1] - weight * other_offset)
                known[arrival, 0] += gain / width
                known[arrival, 1] += other_gain / width
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
def write_local_changes(parts: Any, found: Any, changes: Any) -> None:
    """Write the changes of the policy that belong to a solution (n, 2)."""
    conditions, own, _, places, sizes, scale = parts
    policy, ratio, towards, _, transitions, successors, discount = conditions
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
