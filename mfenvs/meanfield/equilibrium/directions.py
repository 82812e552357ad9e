"""Newton's direction for the smoothed equilibrium, by one elimination over time.

The unknowns are the policy pi, the population's mass mu of states and the values V. Linearised, with
D = pi^2 / (eps rho), which is pi / (V - Q) on the path, and w = D / sum_a D,

    d pi = r - D (dV - dQ),   sum_a d pi = 0,   dQ = gamma P dV' + (dQ / d mu) d mu,
    d mu' = sum_a (pi d mu + mu d pi) P + (how P itself changes with mu).

In a game that ends, mu goes forward and V backward. With dV' = X' d mu' + x', eliminated from the last time to the
first, there is one linear system with a dense matrix of the states that are reachable at each time. In an infinite
game all is one system. Right-hand sides r have two columns: towards the smoothed equilibrium, and along the path
of equilibria, by log eps.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import probability_of, successor_of
from mfenvs.meanfield.equilibrium.compressed_rows import product
from mfenvs.meanfield.equilibrium.elimination import Rests, eliminate
from mfenvs.meanfield.equilibrium.linear_conditions import LinearConditions
from mfenvs.meanfield.equilibrium.local_directions import LocalSystem

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

NEWTON, ALONG = 0, 1
"""Columns of right-hand sides."""
MOST_KEPT = 2**23
"""Number of changes of Q that are kept while a system is solved: 64 MB. Others are computed again."""


@dataclasses.dataclass(frozen=True)
class Linearised(LinearConditions):
    """The smoothed equilibrium conditions, linearised at a policy in its own flow."""

    @functools.cached_property
    def _local(self) -> LocalSystem:
        return LocalSystem(self)

    def directions(self, towards: Array, gained: Array | None = None) -> tuple[Array, Array]:
        """Changes of the policy, (T, S, A, 2), and in an infinite game those of mass, (S, 2).

        Parameters
        ----------
        towards:
            Right-hand sides r, shape (T, S, A, 2).
        gained:
            In an infinite game, the mass that every state gains in a step, shape (S,), which the first column
            makes up for; by default there is none.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the conditions are singular.
        """
        if len(self.slopes.pairs) == 0:
            return self._local.directions(towards, gained)
        if self.discount < 1.0:
            return self._stationary_directions(towards, gained)
        return self._finite_directions(towards), np.empty((0, 2))

    def moves(self) -> Array:
        """How the mass of states, one step ahead, changes with that of states under the same policy, (S, S).

        In an infinite game. Columns are the states whose mass changes.
        """
        policy, slopes = self.policy[0], self.slopes
        n_states, n_actions, n_kept = self.transitions.shape[1:]
        everywhere = np.ones((n_states, n_actions, n_kept), np.int64)
        here = np.arange(n_states)[:, None, None] * everywhere
        ahead = (np.arange(n_kept) if self.successors is None else self.successors[0]) * everywhere
        moved = policy[..., None] * self.transitions[0]
        if len(slopes.own_shifts) > 0:
            moved = moved + (self.mass[0][:, None] * policy)[..., None] * slopes.own_shifts[0]
        found = np.zeros((n_states, n_states))
        np.add.at(found, (ahead, here), moved)
        if len(slopes.shifts) > 0:
            shifts = slopes.shifts[0]
            if shifts.shape[1] != n_states:
                shifts = (shifts.reshape(n_states, n_states, n_actions) * policy).sum(axis=-1)
            found += shifts
        return found

    def _finite_directions(self, towards: Array) -> Array:
        """The changes in a game that ends."""
        n_times, n_states, _ = self.policy.shape
        reachable = [np.flatnonzero(row) for row in self.is_reachable]
        ahead = [*reachable[1:], np.zeros(1, np.int64)]
        places = np.zeros((n_times, n_states), np.int64)
        for h in range(n_times - 1):
            places[h, ahead[h]] = np.arange(len(ahead[h]))
        kept: list[Array | None] = []
        parts, n_kept = [], 0
        for h in range(n_times):
            q_changes = self._q_changes(h, reachable[h], places[h], len(ahead[h]), towards)
            parts.append(self._equations(h, reachable[h], ahead[h], places[h], towards, q_changes))
            n_kept += q_changes.size
            kept.append(q_changes if n_kept <= MOST_KEPT else None)
        found = eliminate(lambda h: parts[h][0], [rests for _, rests in parts])
        changes = np.zeros_like(towards)
        for h, (mass, values) in enumerate(found):
            values_ahead = found[h + 1][1] if h + 1 < n_times else np.zeros((1, 2))
            known = kept[h]
            if known is None:
                known = self._q_changes(h, reachable[h], places[h], len(ahead[h]), towards)
            self._write_changes(h, reachable[h], known, mass, values, values_ahead, towards, changes)
        return changes

    def _stationary_directions(self, towards: Array, gained: Array | None) -> tuple[Array, Array]:
        """The changes in an infinite game."""
        n = self.policy.shape[1]
        every = np.arange(n)
        q_changes = self._q_changes(0, every, every, n, towards)
        (v_v, v_m, m_m, m_v), (value_rest, mass_rest) = self._equations(0, every, every, every, towards, q_changes)
        if gained is not None:
            mass_rest[:, NEWTON] += gained
        # The mass of a population does not change. Added to all of its first equations, this makes them regular.
        conserved = (self.population_of[:, None] == self.population_of) / n
        system = np.block([[np.eye(n) - m_m + conserved, -m_v], [-v_m, np.eye(n) - v_v]])
        found = np.linalg.solve(system, np.concatenate((mass_rest, value_rest)))
        changes = np.zeros_like(towards)
        self._write_changes(0, every, q_changes, found[:n], found[n:], found[n:], towards, changes)
        return changes, found[:n]

    def _equations(
        self, h: int, here: Indices, ahead: Indices, place: Indices, towards: Array, q_changes: Array
    ) -> tuple[tuple[Array, Array, Array, Array], Rests]:
        """The matrices of time h, and what is left, given :meth:`_q_changes`."""
        n, n_next = len(here), len(ahead)
        by_values, by_mass, rest = np.zeros((n, n_next)), np.zeros((n, n)), np.zeros((n, 2))
        slopes = self.slopes
        arrival, shift = np.zeros((n_next, len(q_changes))), np.zeros((n_next, n))
        pairs = np.empty_like(q_changes)
        given = h, here, ahead, place, self.parts, towards, slopes.shifts, slopes.pairs.shape[3], q_changes
        write_global_equations(*(*given, by_values, by_mass, rest, arrival, shift, pairs))
        arrived = product(arrival, pairs)
        matrices = by_values, by_mass, arrived[:, n_next:-2] + shift, arrived[:, :n_next]
        return matrices, (rest, arrived[:, -2:])

    def _q_changes(self, h: int, here: Indices, place: Indices, n_next: int, towards: Array) -> Array:
        """Columns of dQ of every pair by dV' (n_next), by d mu (n), and the rest (2), of a game read anywhere."""
        slopes, n_actions = self.slopes.pairs, self.policy.shape[2]
        size, by_pairs = len(here) * n_actions, slopes.shape[3] != slopes.shape[1]
        known = np.zeros((size, n_next + len(here) + 2))
        system = np.eye(size) if by_pairs else np.empty((0, 0))
        write_q_changes(*(h, here, place, n_next, self.parts, towards, slopes, system, known))
        # Where rows read actions, what the policy's own change does to Q is solved for.
        return _solved(system, known) if by_pairs else known

    def _write_changes(
        self,
        h: int,
        here: Indices,
        q_changes: Array,
        mass_change: Array,
        value_change: Array,
        value_ahead: Array,
        towards: Array,
        changes: Array,
    ) -> None:
        """Write d pi of time h into ``changes``, given :meth:`_q_changes`."""
        n_actions = self.policy.shape[2]
        q_change = q_changes[:, :-2] @ np.concatenate((value_ahead, mass_change)) + q_changes[:, -2:]
        loss = value_change[:, None] - q_change.reshape(len(here), n_actions, 2)
        changes[h, here] = towards[h, here] - self.ratio[h, here][..., None] * loss


def _solved(system: Array, known: Array) -> Array:
    """The solution of a dense linear system."""
    return np.asarray(np.linalg.solve(system, known), np.float64)


@kernel
def write_q_changes(
    h: Any,
    here: Any,
    place: Any,
    n_next: Any,
    parts: Any,
    towards: Any,
    slopes: Any,
    system: Any,
    known: Any,
) -> None:
    """Write dQ by dV', by d mu and what is left into ``known``, and into ``system`` how it hangs on itself.

    ``slopes`` (T, S, A, C) are dQ by the population: C = S columns if rows read the mass in each state, and
    C = S A if they read the mass that takes each action there. Then d pi hangs on dQ, and the mass that it moves
    changes Q again.
    """
    policy, ratio, mass, transitions, successors, discount = parts
    n, n_actions, n_kept = len(here), transitions.shape[2], transitions.shape[3]
    by_pairs = slopes.shape[3] != slopes.shape[1]
    for i in range(n):
        for a in range(n_actions):
            row = i * n_actions + a
            for k in range(n_kept):
                p = probability_of(transitions, h, here[i], a, k)
                if p != 0.0:
                    known[row, place[successor_of(successors, h, here[i], a, k)]] += discount * p
            for j in range(n):
                s = here[j]
                if not by_pairs:
                    known[row, n_next + j] = slopes[h, here[i], a, s]
                else:
                    total = 0.0
                    for b in range(n_actions):
                        total += ratio[h, s, b]
                    mean = 0.0
                    for b in range(n_actions):
                        slope = slopes[h, here[i], a, s * n_actions + b]
                        known[row, n_next + j] += slope * policy[h, s, b]
                        mean += slope * ratio[h, s, b] / total
                    for b in range(n_actions):
                        slope = slopes[h, here[i], a, s * n_actions + b]
                        system[row, j * n_actions + b] -= mass[h, s] * ratio[h, s, b] * (slope - mean)
                        for c in range(2):
                            known[row, n_next + n + c] += mass[h, s] * (slope - mean) * towards[h, s, b, c]


@kernel
def write_global_equations(
    h: Any,
    here: Any,
    ahead: Any,
    place: Any,
    parts: Any,
    towards: Any,
    shifts: Any,
    n_columns: Any,
    q_changes: Any,
    values_by_values: Any,
    values_by_mass: Any,
    values_rest: Any,
    arrival: Any,
    shift: Any,
    pairs: Any,
) -> None:
    """Write the equations of time h of a game read anywhere, but for one product of matrices.

    ``pairs`` becomes the change of the mass of each pair, mass d pi + pi d mu, by columns as in ``q_changes``, and
    ``arrival`` where that mass goes. ``shifts`` (T, S, C) say how the mass that arrives in each state changes as P
    does; they are empty if P does not change, and what C = S columns say goes into ``shift``.
    """
    policy, ratio, mass, transitions, successors, _ = parts
    n, n_next, n_actions, n_kept = len(here), len(ahead), transitions.shape[2], transitions.shape[3]
    by_pairs = n_columns != policy.shape[1]
    n_known = n_next + n
    for i in range(n):
        s = here[i]
        total = 0.0
        for a in range(n_actions):
            total += ratio[h, s, a]
        for a in range(n_actions):
            row, weight = i * n_actions + a, ratio[h, s, a] / total
            for j in range(n_next):
                values_by_values[i, j] += weight * q_changes[row, j]
            for j in range(n):
                values_by_mass[i, j] += weight * q_changes[row, n_next + j]
            for c in range(2):
                values_rest[i, c] += towards[h, s, a, c] / total + weight * q_changes[row, n_known + c]
        for a in range(n_actions):
            row, moved = i * n_actions + a, mass[h, s] * ratio[h, s, a]
            for j in range(n_next):
                pairs[row, j] = moved * (q_changes[row, j] - values_by_values[i, j])
            for j in range(n):
                pairs[row, n_next + j] = moved * (q_changes[row, n_next + j] - values_by_mass[i, j])
            pairs[row, n_next + i] += policy[h, s, a]
            for c in range(2):
                change = moved * (q_changes[row, n_known + c] - values_rest[i, c])
                pairs[row, n_known + c] = change + mass[h, s] * towards[h, s, a, c]
            for k in range(n_kept):
                p = probability_of(transitions, h, s, a, k)
                if p != 0.0:
                    arrival[place[successor_of(successors, h, s, a, k)], row] += p
            if len(shifts) > 0 and by_pairs:
                for j in range(n_next):
                    arrival[j, row] += shifts[h, ahead[j], s * n_actions + a]
        if len(shifts) > 0 and not by_pairs:
            for j in range(n_next):
                shift[j, i] = shifts[h, ahead[j], s]
