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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mfenvs.engine.compile import kernel
from mfenvs.engine.tabulation import probability_of, successor_of
from mfenvs.meanfield.equilibrium.sensitivity import Slopes

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

NEWTON, ALONG = 0, 1
"""Columns of right-hand sides."""
MOST_STATES_OF_DENSE = 150
"""With more states at a time, and rows that read their own mass only, the equations are one sparse system."""


@dataclasses.dataclass(frozen=True)
class Linearised:
    """The smoothed equilibrium conditions, linearised at a policy in its own flow."""

    policy: Array
    """pi, shape (T, S, A)."""
    ratio: Array
    """D, shape (T, S, A)."""
    towards: Array
    """Right-hand sides r, shape (T, S, A, 2)."""
    mass: Array
    """mu, shape (T, S)."""
    transitions: Array
    """Probabilities of successors, (T or 1, S, A, K)."""
    successors: NDArray[np.int32] | None
    """The successors, or None for a dense table."""
    discount: float
    """gamma."""
    slopes: Slopes
    """Derivatives by the population."""

    @property
    def _state(self) -> tuple[Any, ...]:
        return (
            self.policy,
            self.ratio,
            self.towards,
            self.mass,
            self.transitions,
            self.successors,
            self.discount,
        )

    def finite_directions(self, reachable: list[Indices]) -> tuple[Array, Array]:
        """Changes of the policy and of the values in a game that ends.

        Parameters
        ----------
        reachable:
            The states that can be reached at each time; others do not change.

        Returns
        -------
        d pi, shape (T, S, A, 2), and dV, shape (T + 1, S, 2).

        Raises
        ------
        numpy.linalg.LinAlgError
            If the conditions are singular.
        """
        if len(self.slopes.pairs) == 0 and max(len(states) for states in reachable) > MOST_STATES_OF_DENSE:
            return self._sparse_directions(reachable)
        horizon, n_states, _ = self.policy.shape
        changes, value_changes = np.zeros_like(self.towards), np.zeros((horizon + 1, n_states, 2))
        # dV = x_mass d mu + x_offset, and d mu' = on d mu + off.
        x_mass, x_offset = np.zeros((1, 1)), np.zeros((1, 2))
        ahead, place = np.zeros(1, np.int64), np.zeros(n_states, np.int64)
        steps: list[tuple[Array, Array, Array, Indices]] = []
        for h in reversed(range(horizon)):
            here = reachable[h]
            v_v, v_m, v_0, m_m, m_v, m_0 = self._equations(h, here, ahead, place)
            known = np.concatenate((m_m, m_0 + m_v @ x_offset), axis=1)
            found = _solved(np.eye(len(ahead)) - m_v @ x_mass, known)
            steps.append((found, x_mass, x_offset, place))
            seen = v_v @ (x_mass @ found)
            x_mass, x_offset = v_m + seen[:, :-2], v_0 + v_v @ x_offset + seen[:, -2:]
            ahead, place = here, np.zeros(n_states, np.int64)
            place[here] = np.arange(len(here))
        mass_change = np.zeros((len(reachable[0]), 2))
        value_change = x_mass @ mass_change + x_offset
        for h, (found, x_mass, x_offset, place) in enumerate(reversed(steps)):
            value_changes[h, reachable[h]] = value_change
            mass_ahead = found[:, :-2] @ mass_change + found[:, -2:]
            value_ahead = x_mass @ mass_ahead + x_offset
            self._write_changes(h, reachable[h], place, mass_change, value_change, value_ahead, changes)
            mass_change, value_change = mass_ahead, value_ahead
        return changes, value_changes

    def _sparse_directions(self, reachable: list[Indices]) -> tuple[Array, Array]:
        """The same by one sparse system of all times, where rows read the mass in their own state only."""
        horizon, n_states, _ = self.policy.shape
        sizes = np.array([len(states) for states in reachable])
        # Unknowns: d mu and dV of a time, time after time. d mu of the first is 0.
        ends = np.cumsum(2 * sizes)
        starts = ends - 2 * sizes
        rows, columns, entries = [np.arange(ends[-1])], [np.arange(ends[-1])], [np.ones(ends[-1])]
        known = np.zeros((ends[-1], 2))

        def add(row: int, column: int, block: Array) -> None:
            i, j = np.nonzero(block)
            rows.append(row + i)
            columns.append(column + j)
            entries.append(-block[i, j])

        places = []
        for h, here in enumerate(reachable):
            is_last = h == horizon - 1
            ahead = np.zeros(1, np.int64) if is_last else reachable[h + 1]
            place = np.zeros(n_states, np.int64)
            if not is_last:
                place[ahead] = np.arange(len(ahead))
            places.append(place)
            v_v, v_m, v_0, m_m, m_v, m_0 = self._equations(h, here, ahead, place)
            mass_at, value_at = starts[h], starts[h] + sizes[h]
            add(value_at, mass_at, v_m)
            known[value_at : ends[h]] = v_0
            if not is_last:
                next_mass, next_value = starts[h + 1], starts[h + 1] + sizes[h + 1]
                add(value_at, next_value, v_v)
                add(next_mass, mass_at, m_m)
                add(next_mass, next_value, m_v)
                known[next_mass:next_value] = m_0
        shape = ends[-1], ends[-1]
        triplets = np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))
        try:
            found = splu(sparse.csc_array(triplets, shape=shape)).solve(known)
        except RuntimeError as error:  # which is what SuperLU raises
            raise np.linalg.LinAlgError(str(error)) from None
        changes, value_changes = np.zeros_like(self.towards), np.zeros((horizon + 1, n_states, 2))
        for h, here in enumerate(reachable):
            mass_change, value_change = np.split(found[starts[h] : ends[h]], 2)
            value_changes[h, here] = value_change
            value_ahead = (
                np.zeros((1, 2)) if h == horizon - 1 else np.split(found[starts[h + 1] : ends[h + 1]], 2)[1]
            )
            self._write_changes(h, here, places[h], mass_change, value_change, value_ahead, changes)
        return changes, value_changes

    def stationary_directions(self, population_of: Indices) -> tuple[Array, Array]:
        """Changes of the policy, (1, S, A, 2), and of the values, (1, S, 2), in an infinite game.

        ``population_of`` (S,) says whose state a state is: no agent ever leaves those of its population.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the conditions are singular.
        """
        n = self.policy.shape[1]
        every = np.arange(n)
        v_v, v_m, v_0, m_m, m_v, m_0 = self._equations(0, every, every, every)
        # The mass of a population does not change. Added to all of its first equations, this makes them regular.
        conserved = (population_of[:, None] == population_of) / n
        system = np.block([[np.eye(n) - m_m + conserved, -m_v], [-v_m, np.eye(n) - v_v]])
        found = np.linalg.solve(system, np.concatenate((m_0, v_0)))
        changes = np.zeros_like(self.towards)
        self._write_changes(0, every, every, found[:n], found[n:], found[n:], changes)
        return changes, found[None, n:]

    def _equations(self, h: int, here: Indices, ahead: Indices, place: Indices) -> tuple[Array, ...]:
        """Matrices of time h: dV by dV', by d mu, and what is left; d mu' by d mu, by dV', and what is left."""
        n, n_next = len(here), len(ahead)
        by_values, by_mass, rest = np.zeros((n, n_next)), np.zeros((n, n)), np.zeros((n, 2))
        mass_by_mass, mass_by_values = np.zeros((n_next, n)), np.zeros((n_next, n_next))
        mass_rest = np.zeros((n_next, 2))
        slopes = self.slopes
        if len(slopes.pairs) == 0:
            given = h, here, place, *self._state, slopes.own, slopes.own_shifts, np.empty(n_next, np.int64)
            written = by_values, by_mass, rest, mass_by_mass, mass_by_values, mass_rest
            add_local_equations(*(*given, *written))
            return written
        q_changes = self._q_changes(h, here, place, n_next)
        arrival, shift = np.zeros((n_next, len(q_changes))), np.zeros((n_next, n))
        pairs = np.empty_like(q_changes)
        given = h, here, ahead, place, *self._state, slopes.shifts, slopes.pairs.shape[3], q_changes
        write_global_equations(*(*given, by_values, by_mass, rest, arrival, shift, pairs))
        arrived = arrival @ pairs
        return (
            *(by_values, by_mass, rest),
            *(arrived[:, n_next:-2] + shift, arrived[:, :n_next], arrived[:, -2:]),
        )

    def _q_changes(self, h: int, here: Indices, place: Indices, n_next: int) -> Array:
        """Columns of dQ of every pair by dV' (n_next), by d mu (n), and the rest (2), of a game read anywhere."""
        slopes, n_actions = self.slopes.pairs, self.policy.shape[2]
        size, by_pairs = len(here) * n_actions, slopes.shape[3] != slopes.shape[1]
        known = np.zeros((size, n_next + len(here) + 2))
        system = np.eye(size) if by_pairs else np.empty((0, 0))
        write_q_changes(*(h, here, place, n_next, *self._state, slopes, system, known))
        # Where rows read actions, what the policy's own change does to Q is solved for.
        return _solved(system, known) if by_pairs else known

    def _write_changes(
        self,
        h: int,
        here: Indices,
        place: Indices,
        mass_change: Array,
        value_change: Array,
        value_ahead: Array,
        changes: Array,
    ) -> None:
        """Write d pi of time h into ``changes``."""
        n_actions = self.policy.shape[2]
        q_change = np.zeros((len(here) * n_actions, 2))
        if len(self.slopes.pairs) == 0:
            given = h, here, place, *self._state, self.slopes.own, mass_change, value_ahead, q_change
            write_local_q_change(*given)
        else:
            found = self._q_changes(h, here, place, len(value_ahead))
            q_change = found[:, :-2] @ np.concatenate((value_ahead, mass_change)) + found[:, -2:]
        loss = value_change[:, None] - q_change.reshape(len(here), n_actions, 2)
        changes[h, here] = self.towards[h, here] - self.ratio[h, here][..., None] * loss


def _solved(system: Array, known: Array) -> Array:
    """The solution of a dense linear system."""
    return np.asarray(np.linalg.solve(system, known), np.float64)


@kernel
def add_local_equations(
    h: Any,
    here: Any,
    place: Any,
    policy: Any,
    ratio: Any,
    towards: Any,
    mass: Any,
    transitions: Any,
    successors: Any,
    discount: Any,
    own: Any,
    own_shifts: Any,
    seen: Any,
    values_by_values: Any,
    values_by_mass: Any,
    values_offset: Any,
    mass_by_mass: Any,
    mass_by_values: Any,
    mass_offset: Any,
) -> None:
    """Write the equations of time h into zeros, for a game in which a state's rows read its own mass only.

    ``here`` are the reachable states, ``place`` says where a state is among those of the next time, and ``seen``
    is scratch of their number.
    """
    n_actions, n_kept = transitions.shape[2:]
    for i in range(len(here)):
        s = here[i]
        total = 0.0
        for a in range(n_actions):
            total += ratio[h, s, a]
        slope = 0.0
        for c in range(2):
            values_offset[i, c] = 0.0
        for a in range(n_actions):
            weight = ratio[h, s, a] / total
            slope += weight * own[h, s, a]
            for c in range(2):
                values_offset[i, c] += towards[h, s, a, c] / total
            for k in range(n_kept):
                p = probability_of(transitions, h, s, a, k)
                if p != 0.0:
                    values_by_values[i, place[successor_of(successors, h, s, a, k)]] += discount * weight * p
        values_by_mass[i, i] = slope
        for a in range(n_actions):
            moved = mass[h, s] * ratio[h, s, a]
            for k in range(n_kept):
                p = probability_of(transitions, h, s, a, k)
                to = place[successor_of(successors, h, s, a, k)]
                if p != 0.0:
                    mass_by_mass[to, i] += p * (policy[h, s, a] + moved * (own[h, s, a] - slope))
                    for c in range(2):
                        gain = towards[h, s, a, c] - ratio[h, s, a] * values_offset[i, c]
                        mass_offset[to, c] += p * mass[h, s] * gain
                    for other in range(n_kept):
                        q = probability_of(transitions, h, s, a, other)
                        if q != 0.0:
                            there = place[successor_of(successors, h, s, a, other)]
                            mass_by_values[to, there] += discount * moved * p * q
                if len(own_shifts) > 0 and own_shifts[h, s, a, k] != 0.0:
                    mass_by_mass[to, i] += mass[h, s] * policy[h, s, a] * own_shifts[h, s, a, k]
        # What all actions share does not move the policy.
        n_seen = 0
        for j in range(values_by_values.shape[1]):
            if values_by_values[i, j] != 0.0:
                seen[n_seen] = j
                n_seen += 1
        for j in seen[:n_seen]:
            moved = mass[h, s] * total * values_by_values[i, j] / discount
            for k in seen[:n_seen]:
                mass_by_values[j, k] -= moved * values_by_values[i, k]


@kernel
def write_local_q_change(
    h: Any,
    here: Any,
    place: Any,
    policy: Any,
    ratio: Any,
    towards: Any,
    mass: Any,
    transitions: Any,
    successors: Any,
    discount: Any,
    own: Any,
    mass_change: Any,
    value_ahead: Any,
    q_change: Any,
) -> None:
    """Write dQ of every pair of a reachable state and an action, (n A, 2), where rows read their own mass only."""
    n_actions, n_kept = transitions.shape[2:]
    for i in range(len(here)):
        s = here[i]
        for a in range(n_actions):
            for c in range(2):
                q_change[i * n_actions + a, c] = own[h, s, a] * mass_change[i, c]
            for k in range(n_kept):
                p = probability_of(transitions, h, s, a, k)
                if p != 0.0:
                    to = place[successor_of(successors, h, s, a, k)]
                    for c in range(2):
                        q_change[i * n_actions + a, c] += discount * p * value_ahead[to, c]


@kernel
def write_q_changes(
    h: Any,
    here: Any,
    place: Any,
    n_next: Any,
    policy: Any,
    ratio: Any,
    towards: Any,
    mass: Any,
    transitions: Any,
    successors: Any,
    discount: Any,
    slopes: Any,
    system: Any,
    known: Any,
) -> None:
    """Write dQ by dV', by d mu and what is left into ``known``, and into ``system`` how it hangs on itself.

    ``slopes`` (T, S, A, C) are dQ by the population: C = S columns if rows read the mass in each state, and
    C = S A if they read the mass that takes each action there. Then d pi hangs on dQ, and the mass that it moves
    changes Q again.
    """
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
    policy: Any,
    ratio: Any,
    towards: Any,
    mass: Any,
    transitions: Any,
    successors: Any,
    discount: Any,
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
