"""Pairs of a state that can be reached and an action that is allowed there, listed time by time.

Arrays of states hold the states of all times, (n,), and arrays of pairs their pairs, (n_pairs,): those of a state
are next to each other.
"""

import dataclasses
import functools
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfenvs.engine.flow import FlowArrays

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The pairs of some states, and the moves between these states."""

    index: tuple[Indices, Indices, Indices]
    """Times, local states and actions of the pairs: an index of arrays (T, S, A)."""
    own: Indices
    """The state of each pair."""
    moves: sparse.csr_array
    """Probabilities P of the states of the next time, (n_pairs, n)."""

    @property
    def n(self) -> int:
        """Number of states of all times."""
        return int(self.moves.shape[1])

    @functools.cached_property
    def firsts(self) -> Indices:
        """The first pair of each state."""
        return np.flatnonzero(np.diff(self.own, prepend=-1))

    @functools.cached_property
    def times(self) -> Indices:
        """The time of each state."""
        return self.index[0][self.firsts]

    @functools.cached_property
    def back(self) -> sparse.csr_array:
        """The transpose of P, (n, n_pairs)."""
        return self.moves.T.tocsr()

    def sums(self, of_pairs: Array) -> Array:
        """Sums over the actions of each state."""
        totals: Array = np.add.reduceat(of_pairs, self.firsts)
        return totals

    def losses(self, values: Array, rewards: Array | float) -> Array:
        """V - R - P V' of every pair."""
        found: Array = values[self.own] - self.moves @ values - rewards
        return found

    def best_values(self, rewards: Array, above: float = 0.0) -> Array:
        """Values that are by ``above``, at every time, above those of the best actions."""
        values = np.zeros(self.n)
        for states, rows, moves in self._backwards:
            q = rewards[rows] + moves @ values
            values[states] = np.maximum.reduceat(q, self.firsts[states] - rows.start) + above
        return values

    def leading_to(self, states: Mask) -> Mask:
        """Some states, and all from which one of them can be reached."""
        found = states.copy()
        for here, rows, moves in self._backwards if not states.all() else ():
            leads = np.abs(moves) @ found.astype(float) > 0.0
            found[here] |= np.logical_or.reduceat(leads, self.firsts[here] - rows.start)
        return found

    def kept(self, states: Mask) -> "Pairs":
        """The pairs of some states. Moves to other states are left out."""
        if states.all():
            return self
        rows = states[self.own]
        times, places, actions = self.index
        number = np.cumsum(states) - 1
        moves = self.moves[rows][:, states].tocsr()
        return Pairs((times[rows], places[rows], actions[rows]), number[self.own[rows]], moves)

    @functools.cached_property
    def _backwards(self) -> list[tuple[slice, slice, sparse.csr_array]]:
        """The states and the pairs of each time and the moves from there, from the last time on."""
        if self.n == 0:
            return []
        ends = np.append(self.firsts, len(self.own))
        begins = np.append(np.flatnonzero(np.diff(self.times, prepend=-1)), self.n)
        spans = [(slice(i, j), slice(ends[i], ends[j])) for i, j in itertools.pairwise(begins)]
        return [(states, rows, self.moves[rows]) for states, rows in reversed(spans)]


def reachable_pairs(arrays: FlowArrays, is_allowed: Mask) -> Pairs:
    """The pairs that have mass in the flow of a policy that plays every allowed action.

    Parameters
    ----------
    arrays:
        That flow.
    is_allowed:
        Whether an action is allowed, (T, S, A).
    """
    n_times, n_states, _ = is_allowed.shape
    is_reachable = arrays.mu.sum(axis=-1) > 0.0
    times, states, actions = np.nonzero(is_reachable[..., None] & is_allowed)
    n = int(is_reachable.sum())
    places = np.full((n_times, n_states), -1)
    places[is_reachable] = np.arange(n)
    table, successors = arrays.transitions, arrays.successors
    which = times if len(table) > 1 else np.zeros_like(times)
    chances = table[which, states, actions]
    if successors is None:
        ahead = np.broadcast_to(np.arange(table.shape[-1]), chances.shape)
    else:
        ahead = successors[times if len(successors) > 1 else np.zeros_like(times), states, actions]
    is_last = times == n_times - 1
    to = places[np.where(is_last, 0, times + 1)[:, None], ahead]
    # States of no mass have no place: rounding leads there, by probabilities that should be 0.
    rows, columns = np.nonzero((chances != 0.0) & ~is_last[:, None] & (to >= 0))
    entries = chances[rows, columns], (rows, to[rows, columns])
    moves = sparse.coo_array(entries, shape=(len(times), n)).tocsr()
    return Pairs((times, states, actions), places[times, states], moves)
