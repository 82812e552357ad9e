"""Equilibria by an interior-point method, where P is fixed and rewards read the mass in the own state only.

The unknowns are the masses x of pairs of a state and an action at each time, the values V and the slacks
z = V - Q. An equilibrium has x >= 0, z >= 0 and x z = 0, x is a flow, and V = max Q. If rewards fall with mass,
for all actions alike, these are the optimality conditions of a convex program (the game is a potential game, and
monotone), and Mehrotra's predictor-corrector method finds them in ten to fifty linear systems. On the barrier path
(:mod:`mfenvs.meanfield.equilibrium.barrier`) pi z tends to 0 alike for all pairs; here x z does, and states of
little mass need not be near their optimum before they matter [O].

Linearised, with g = V - R - P V' - z, c = dR / dm <= 0 and D = x / z,

    dz = g + dV - c dm - P dV',   dx = (target - x z) / z - D dz,   sum_a dx = dm,   dm' = sum P dx.

The changes of mass m follow from those of V state by state, and what is left is one sparse system for V.

References
----------
S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optim. 2, 575-601 (1992).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mfenvs.engine.compile import kernel
from mfenvs.meanfield.equilibrium.sensitivity import Reads, Sensitivity
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MOST_ENTRIES = 2_000_000
"""Largest number of entries of the linear system, those in one place counted apart."""
MOST_ITERATIONS, PATIENCE, GAINS = 200, 12, 0.9
"""Iterations at most, and number of iterations that must bring the mean of x z to this share of what it was."""
ROUNDING = 1e-13
"""The method ends where x z of all pairs together is this share of the largest value."""
SHORTEST, MOST_SHORT = 1e-3, 3
"""The method ends after so many steps in a row of which less than this share can be made."""
NEAR_BOUNDARY = 0.995
"""Share of the way to the boundary that a step goes at most."""
CENTERING = 3
"""Power of the share of x z that a step without centering would leave: the smaller it is, the less is centered."""
PIVOT = 0.01
"""Relative size of a diagonal entry down to which it is taken as a pivot."""
LEAST = 1e-300
"""Masses and diagonal entries are never smaller."""
LEAST_MASS = 1e-30
"""The method is not for games in which a state has less mass under the uniform policy: no step could be made."""


def can_use_interior_point(induced: InducedGame, sensitivity: Sensitivity, rng: np.random.Generator) -> bool:
    """Whether a game ends, has one population, and a P that hangs on no population, and reads its own state only.

    Neither may there be states that next to nobody reaches by chance.

    Parameters
    ----------
    induced, sensitivity:
        The game, and what its rows read.
    rng:
        Random numbers of a population at which P is looked at.
    """
    if induced.game.is_infinite or induced.game.n_populations > 1:
        return False
    if sensitivity.reads not in (Reads.NOTHING, Reads.OWN_STATE):
        return False
    uniform = induced.flow(induced.uniform_policy())
    mass = uniform.mu.sum(axis=-1)
    if mass[mass > 0.0].min() < LEAST_MASS:
        return False
    if not induced.kernels.varies:
        return True
    weights = rng.exponential(size=induced.policy_shape) * (induced.uniform_policy() > 0.0)
    other = induced.flow(weights / weights.sum(axis=-1, keepdims=True))
    if not np.array_equal(uniform.transitions, other.transitions):
        return False
    if uniform.successors is None or other.successors is None:
        return uniform.successors is other.successors
    return np.array_equal(uniform.successors, other.successors)


class InteriorPoint:
    """The method for one game, for which :func:`can_use_interior_point` holds.

    Parameters
    ----------
    induced, sensitivity:
        The game, and its derivatives.

    Raises
    ------
    MemoryError
        If the linear system is too large.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity) -> None:
        self.induced, self._sensitivity = induced, sensitivity
        n_times, n_states, _ = induced.policy_shape
        self._uniform = uniform = induced.uniform_policy()
        _, self._arrays = induced.filled(
            lambda arrays: induced.kernels.flow(uniform, arrays), induced.flow_arrays()
        )
        mass = self._arrays.mu.sum(axis=-1)
        is_reachable = mass > 0.0
        self._pairs = np.nonzero(is_reachable[..., None] & (uniform > 0.0))
        """Times, states and actions of the pairs, (n_pairs,) each: those of a state next to each other."""
        times, states, _ = self._pairs
        self._n = int(is_reachable.sum())
        places = np.full((n_times, n_states), -1)
        places[is_reachable] = np.arange(self._n)
        self._own = places[times, states]
        self._firsts = np.flatnonzero(np.diff(self._own, prepend=-1))
        self._is_first = np.flatnonzero(is_reachable) < n_states
        self._moves, self._back = self._transitions(places)
        self._list_entries()

    def policies(self) -> Iterator[Array]:
        """Policies (T, S, A) that come nearer to an equilibrium, as far as rounding lets them."""
        x = self._arrays.mu[self._pairs].copy()
        rewards, slopes = self._at(x)
        values = self._best_values(rewards, 0.0)
        loss = float(x @ self._slacks(values, rewards))
        above = max(loss, ROUNDING * float(np.abs(values).max()), LEAST) / self.induced.n_times
        values = self._best_values(rewards, above)
        z = np.maximum(self._slacks(values, rewards), LEAST)
        means, n_short = [float(x @ z) / len(x)], 0
        for _ in range(MOST_ITERATIONS):
            try:
                step = self._step(x, z, values, rewards, slopes)
            except np.linalg.LinAlgError:
                return
            dx, dz, dv, share = step
            x, z, values = (
                np.maximum(x + share * dx, LEAST),
                np.maximum(z + share * dz, LEAST),
                values + share * dv,
            )
            yield self._policy(x)
            rewards, slopes = self._at(x)
            means.append(float(x @ z) / len(x))
            n_short = n_short + 1 if share < SHORTEST else 0
            is_stuck = len(means) > PATIENCE and not means[-1] <= GAINS * means[-1 - PATIENCE]
            is_done = means[-1] * len(x) <= ROUNDING * float(np.abs(values).max())
            if is_done or is_stuck or n_short >= MOST_SHORT:
                return

    def _step(
        self, x: Array, z: Array, values: Array, rewards: Array, slopes: Array
    ) -> tuple[Array, Array, Array, float]:
        """The changes of x, z and V, and how much of them is to be made."""
        missing, weights = self._slacks(values, rewards) - z, x / z
        total, fall = self._sum(weights), 1.0 - self._sum(weights * slopes)
        if not (fall > 0.0).all():
            raise np.linalg.LinAlgError("rewards rise with the crowd")
        answer = np.where(self._is_first, 0.0, 1.0 / fall)
        system = self._factorised(weights, slopes, total, answer)
        bent = weights * slopes

        def changes(target: Array) -> tuple[Array, Array, Array]:
            """The changes by which x z becomes what it is plus the target."""
            h = target / z - weights * missing
            left = self._sum(h)
            known = np.where(self._is_first, left, answer * left) - self._back @ (
                h + bent * (answer * left)[self._own]
            )
            dv: Array = system(known)
            dm = answer * (left - total * dv + self._sum(weights * (self._moves @ dv)))
            dz = missing + self._slacks(dv, 0.0) - slopes * dm[self._own]
            return (target - x * dz) / z, dz, dv

        dx, dz, _ = changes(-x * z)
        share = _farthest(x, dx, z, dz)
        mean = float(x @ z) / len(x)
        ahead = float((x + share * dx) @ (z + share * dz)) / len(x)
        dx, dz, dv = changes((ahead / mean) ** CENTERING * mean - x * z - dx * dz)
        if not (np.isfinite(dx).all() and np.isfinite(dz).all()):
            raise np.linalg.LinAlgError("the linear system is singular")
        return dx, dz, dv, _farthest(x, dx, z, dz)

    def _slacks(self, values: Array, rewards: Array | float) -> Array:
        """V - R - P V' of every pair."""
        slacks: Array = values[self._own] - self._moves @ values - rewards
        return slacks

    def _sum(self, of_pairs: Array) -> Array:
        """Sums over the actions of each state."""
        sums: Array = np.add.reduceat(of_pairs, self._firsts)
        return sums

    def _at(self, x: Array) -> tuple[Array, Array]:
        """Rewards of the pairs in a population, and their derivatives by the mass of the own state."""
        law = np.zeros(self.induced.policy_shape)
        law[self._pairs] = x
        freeze = self.induced.kernels.freeze
        _, self._arrays = self.induced.filled(lambda arrays: freeze(law, arrays), self._arrays)
        self._arrays.mu[:] = law
        none = np.zeros((len(law) + 1, self.induced.n_states))
        own = self._sensitivity.slopes(self._arrays, none).own
        return self._arrays.rewards[self._pairs], own[self._pairs]

    def _policy(self, x: Array) -> Array:
        """The policy whose flow x is; uniform where nobody can be."""
        policy = self._uniform.copy()
        policy[self._pairs] = x / self._sum(x)[self._own]
        return policy

    def _best_values(self, rewards: Array, above: float) -> Array:
        """Values that are by so much, at every time, above those of the best actions."""
        values, last = np.zeros(self._n), len(self._own)
        ends = np.append(self._firsts, last)
        times = self._pairs[0][self._firsts]
        for time in reversed(range(self.induced.n_times)):
            here = np.flatnonzero(times == time)
            if len(here) > 0:
                rows = slice(ends[here[0]], ends[here[-1] + 1])
                q = rewards[rows] + self._moves[rows] @ values
                values[here] = np.maximum.reduceat(q, self._firsts[here] - rows.start) + above
        return values

    def _transitions(self, places: Indices) -> tuple[sparse.csr_array, sparse.csr_array]:
        """P of pairs to the states of the next time, (n_pairs, n), and its transpose."""
        times, states, actions = self._pairs
        table, successors = self._arrays.transitions, self._arrays.successors
        which = times if len(table) > 1 else np.zeros_like(times)
        chances = table[which, states, actions]
        if successors is None:
            ahead = np.broadcast_to(np.arange(table.shape[-1]), chances.shape)
        else:
            ahead = successors[times if len(successors) > 1 else np.zeros_like(times), states, actions]
        is_last = times == self.induced.n_times - 1
        to = places[np.where(is_last, 0, times + 1)[:, None], ahead]
        # States of no mass have no place: rounding leads there, by probabilities that should be 0.
        rows, columns = np.nonzero((chances != 0.0) & ~is_last[:, None] & (to >= 0))
        shape = len(times), self._n
        moves = sparse.coo_array((chances[rows, columns], (rows, to[rows, columns])), shape=shape).tocsr()
        return moves, moves.T.tocsr()

    def _list_entries(self) -> None:
        """Find where the entries of the linear system are."""
        moves, n = self._moves, self._n
        ends = np.append(self._firsts, len(self._own))
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
        self._indices = self._rows.astype(np.int32)
        self._indptr = np.searchsorted(self._columns, np.arange(n + 1)).astype(np.int32)
        self._ends = ends
        most = int(np.sqrt(np.diff(self._starts).max()))
        self._scratch = np.empty(most), np.empty(most)

    def _factorised(self, weights: Array, slopes: Array, total: Array, answer: Array) -> Any:
        """A function that solves the linear system for V."""
        entries, moves = np.zeros(len(self._rows)), self._moves
        write_entries(
            *(self._ends, moves.indptr, moves.data, self._local, self._starts, self._places),
            *(weights, slopes, total, answer, self._is_first, *self._scratch, entries),
        )
        # Masses range over dozens of orders of magnitude: rows and columns are scaled.
        scale = np.zeros(self._n)
        is_diagonal = self._rows == self._columns
        scale[self._rows[is_diagonal]] = 1.0 / np.sqrt(np.maximum(np.abs(entries[is_diagonal]), LEAST))
        entries *= scale[self._rows] * scale[self._columns]
        matrix = sparse.csc_array((entries, self._indices, self._indptr), shape=(self._n, self._n))
        try:
            options = {"SymmetricMode": True}
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=PIVOT, options=options)
        except (RuntimeError, MemoryError) as error:  # which is what SuperLU raises
            raise np.linalg.LinAlgError(str(error)) from None
        return lambda known: scale * factors.solve(scale * known)


def _farthest(x: Array, dx: Array, z: Array, dz: Array) -> float:
    """The share of a step that keeps x and z positive."""
    fastest = max(float((-dx / x).max()), float((-dz / z).max()))
    return min(1.0, NEAR_BOUNDARY / max(fastest, NEAR_BOUNDARY))


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
