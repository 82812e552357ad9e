"""How the decision problem of a single agent changes with the population, by finite differences.

A rule of a game is a black box, but one that mostly reads little: the crowd in the own state, a mean, a few cells.
What is read is found once, at random populations, and then a tabulation or two at a time give all derivatives:
states that no row reads together are moved together.
"""

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.flow import FlowArrays
from mfenvs.engine.tabulation import at_time, successor_of
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.moving_together import columns_moved_together
from mfenvs.rules import rule

Array = NDArray[np.float64]
Table = tuple[Array, NDArray[np.int32] | None, Array]
"""P, its successors and R at one time."""

STEP = 1e-5
"""Relative change of a mass in central differences: rounding and curvature then cost some ten digits each."""
UNREAD = 1e-9
"""Largest relative derivative of what is not read: it is rounding, divided by the step."""
AGREES = 1e-6
"""Largest relative difference of derivatives in two directions of a row that reads its own mass only."""


FEW_COLUMNS = 8
"""Number of columns that are tried at first."""
POPULATIONS = 2
"""Number of random populations at which it is found out what rows read."""
MOST_SLOPES = 2**25
"""Largest number of derivatives: a quarter of a gigabyte."""


class NoDerivatives(ValueError):  # noqa: N818
    """Derivatives by the population do not fit into memory, or say nothing about what rows read."""


class Reads(enum.Enum):
    """What the rows of a game, P(s, a, .) and R(s, a), read of the population."""

    NOTHING = "nothing"
    OWN_STATE = "the mass in their own state"
    STATES = "the mass in other states"
    PAIRS = "which actions are taken where"


@dataclasses.dataclass(frozen=True)
class Slopes:
    """Derivatives by the population, as :mod:`mfenvs.meanfield.equilibrium.directions` takes them.

    Those that do not apply have length 0.
    """

    own: Array
    own_shifts: Array
    pairs: Array
    shifts: Array


class Sensitivity:
    """Finds what a game's rows read of the population, and computes their derivatives.

    Parameters
    ----------
    induced:
        The mean-field game.
    rng:
        Random numbers of the populations at which it is found out what rows read.

    Raises
    ------
    NoDerivatives
        If derivatives do not fit into memory, or are zero although rows change, as where a rule rounds the
        population to a grid.
    """

    def __init__(self, induced: InducedGame, rng: np.random.Generator) -> None:
        self._induced = induced
        self._varies = induced.kernels.varies
        self._up, self._down = induced.flow_arrays(), induced.flow_arrays()
        n_times, n_states, n_actions = self._shape = induced.policy_shape
        uniform = induced.uniform_policy()
        _, tables = induced.filled(lambda tables: induced.kernels.flow(uniform, tables), induced.flow_arrays())
        self._size_of_rewards = max(float(np.abs(tables.rewards).max()), np.finfo(float).tiny)
        if self._is_stepwise(rng):
            raise NoDerivatives("rows change with the population, but by jumps only")
        self.reads = self._found(rng)
        """What the rows of the game read."""
        self.n_columns = 0
        """Of how many numbers, if they read the mass in other states or which actions are taken."""
        if self.reads in (Reads.STATES, Reads.PAIRS):
            n_columns = n_states if self.reads is Reads.STATES else n_states * n_actions
            if n_times * n_states * n_actions * n_columns > MOST_SLOPES:
                raise NoDerivatives(
                    f"{n_times} x {n_states} x {n_actions} rows read {self.reads.value}, of {n_columns} numbers"
                )
            self.n_columns = n_columns
            self._groups = self._grouped(rng)

    @property
    def n_tabulations(self) -> int:
        """Number of populations at which the rules are tabulated for all derivatives."""
        return 2 * len(self._groups) if self.n_columns else 2

    def slopes(self, arrays: FlowArrays, values: Array) -> Slopes:
        """Derivatives at a flow, with the values V, shape (T + 1, S), or (1, S) in an infinite game."""
        _, n_states, n_actions = self._shape
        ahead, discount = (values, arrays.discount) if arrays.discount < 1.0 else (values[1:], 1.0)
        if self.reads in (Reads.STATES, Reads.PAIRS):
            return self._slopes_by_columns(arrays, ahead, discount)
        own, own_shifts = np.zeros(self._shape), np.zeros((0, 1, 1, 1))
        if self.reads is Reads.OWN_STATE:
            self._tabulate_around(arrays.mu, 1.0)
            if self._do_moves_differ():
                own_shifts = np.zeros((*self._shape, arrays.transitions.shape[-1]))
            _own_slopes(arrays.mu, self._up, self._down, ahead, discount, STEP, own, own_shifts)
        return Slopes(own, own_shifts, np.empty((0, n_states, n_actions, 0)), np.empty((0, n_states, 0)))

    def reward_slopes(self, arrays: FlowArrays) -> Array:
        """Derivatives of rewards by the mass in the own state, (T, S, A), where rows read nothing else.

        They are differences forward from a population at which ``arrays`` are tabulated: one tabulation, and half
        of the digits of :meth:`slopes`.
        """
        own = np.zeros(self._shape)
        if self.reads is Reads.OWN_STATE:
            self._up = self._tabulated(arrays.mu * (1.0 + STEP), self._up)
            none, no_shifts = np.empty((self._shape[0], 0)), np.zeros((0, 1, 1, 1))
            _own_slopes(arrays.mu, self._up, arrays, none, 1.0, 0.5 * STEP, own, no_shifts)
        return own

    def _slopes_by_columns(self, arrays: FlowArrays, ahead: Array, discount: float) -> Slopes:
        n_times, n_states, n_actions = self._shape
        n_columns = self.n_columns
        pairs = np.zeros((*self._shape, n_columns))
        shifts = np.zeros((n_times, n_states, n_columns) if self._varies else (0, 1, 1))
        for readers in self._groups:
            moved = np.zeros(n_columns)
            moved[readers[readers >= 0]] = 1.0
            self._tabulate_around(arrays.mu, self._factors(moved))
            _column_slopes(arrays.mu, self._up, self._down, ahead, discount, STEP, readers, pairs, shifts)
        return Slopes(np.empty((0, n_states, n_actions)), np.empty((0, 1, 1, 1)), pairs, shifts)

    def _tabulate_around(self, law: Array, direction: Array | float) -> None:
        """Tabulate the populations law (1 + h v) and law (1 - h v) of a direction v."""
        self._up = self._tabulated(law * (1.0 + STEP * direction), self._up)
        self._down = self._tabulated(law * (1.0 - STEP * direction), self._down)

    def _tabulated(self, population: Array, arrays: FlowArrays) -> FlowArrays:
        """P and R of a population at all times, in the place of those in ``arrays``."""
        freeze = self._induced.kernels.freeze
        _, arrays = self._induced.filled(lambda tables: freeze(population, tables), arrays)
        return arrays

    def _do_moves_differ(self) -> bool:
        """Whether P differs between the two tabulated populations: mostly not, although on trees it could."""
        if not self._varies:
            return False
        up, down = self._up, self._down
        is_same = np.array_equal(up.transitions, down.transitions)
        if up.successors is not None:
            is_same = is_same and np.array_equal(up.successors, down.successors)
        return not is_same

    def _factors(self, columns: Array) -> Array:
        """Numbers of states (S,) or pairs (S A,) as numbers of pairs, (S, A) or (S, 1)."""
        return columns.reshape(self._shape[1], -1)

    def _is_stepwise(self, rng: np.random.Generator) -> bool:
        """Whether rows differ between random populations at some times, and none has a derivative at any."""
        n_times, do_differ = self._shape[0], False
        for time in sorted({0, n_times // 2, n_times - 1}):
            tables = []
            for law in self._random_crowds(rng):
                direction = rng.uniform(0.5, 1.5, law.shape)
                population = self._induced.at_all_times(law)[time]
                here, there = (
                    self._induced.table(population * (1.0 + step * direction), time) for step in (STEP, -STEP)
                )
                if _differ(here, there, UNREAD * STEP):
                    return False
                tables.append(here)
            do_differ = do_differ or _differ(tables[0], tables[1], UNREAD)
        return do_differ

    def _random_crowds(self, rng: np.random.Generator) -> Iterator[Array]:
        """Random populations (S, A), half of all in a few places: what nobody crowds may not change."""
        _, n_states, n_actions = self._shape
        n_pairs = n_states * n_actions
        for law in rng.dirichlet(np.ones(n_pairs), POPULATIONS):
            few = rng.choice(n_pairs, min(FEW_COLUMNS, n_pairs), replace=False)
            law *= 0.5
            law[few] += 0.5 * rng.dirichlet(np.ones(len(few)))
            yield law.reshape(n_states, n_actions)

    def _found(self, rng: np.random.Generator) -> Reads:
        _, n_states, n_actions = self._shape
        reads = Reads.NOTHING
        for _ in range(POPULATIONS):
            law = rng.dirichlet(np.ones(n_states * n_actions)).reshape(n_states, n_actions)
            everywhere = self._induced.at_all_times(law)
            between = rng.uniform(-1.0, 1.0, law.shape)
            between -= (law * between).sum(axis=-1, keepdims=True) / law.sum(axis=-1, keepdims=True)
            self._tabulate_around(everywhere, between)
            if self._differences().any():
                return Reads.PAIRS
            changes = []
            for _ in range(2):
                direction = rng.uniform(0.5, 1.5, (n_states, 1))
                self._tabulate_around(everywhere, direction)
                changes.append(self._changes() / direction)
            size = np.abs(changes[0]).max()
            if size > UNREAD:
                if _distance(*changes) > AGREES * size:
                    return Reads.STATES
                reads = Reads.OWN_STATE
        return reads

    def _grouped(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Groups of columns of which no row reads two: the column of each that a state reads, or -1, (S,)."""
        (_, n_states, n_actions), n_columns = self._shape, self.n_columns
        laws = rng.dirichlet(np.ones(n_states * n_actions), POPULATIONS).reshape(-1, n_states, n_actions)
        # A row that reads all of a few columns, far from each other, is taken to read every one.
        few = np.linspace(0, n_columns - 1, min(FEW_COLUMNS, n_columns)).astype(int)
        if self._readers(laws[0], few).all(axis=1).any():
            return [np.full(n_states, column) for column in range(n_columns)]
        reads = np.zeros((n_states, n_columns), np.bool_)
        for law in laws:
            open_columns = np.flatnonzero(~reads.all(axis=0))
            reads[:, open_columns] |= self._readers(law, open_columns)
        return columns_moved_together(reads)

    def _readers(self, law: Array, columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a state's rows read each of some columns, at a population (S, A), (S, number of columns)."""
        everywhere = self._induced.at_all_times(law)
        self._down = self._tabulated(everywhere, self._down)
        found = np.zeros((self._shape[1], len(columns)), np.bool_)
        for i, column in enumerate(columns):
            factors = np.ones(self.n_columns)
            factors[column] += STEP
            self._up = self._tabulated(everywhere * self._factors(factors), self._up)
            found[:, i] = self._differences()
        return found

    def _changes(self) -> Array:
        """Relative changes of every state's rows between the two tabulated populations, (S, any number).

        Those of P come last, if there are any.
        """
        up, down = self._up, self._down
        found = [(up.rewards - down.rewards) / self._size_of_rewards]
        if self._do_moves_differ():
            found.append(up.transitions - down.transitions)
            if up.successors is not None:
                found.append((up.successors != down.successors).astype(float))
        n_states = self._shape[1]
        flat = [np.swapaxes(x, 0, 1).reshape(n_states, -1) / (2.0 * STEP) for x in found]
        return np.concatenate(flat, axis=1)

    def _differences(self) -> NDArray[np.bool_]:
        """Whether a state's rows differ between the two tabulated populations, (S,)."""
        differ: NDArray[np.bool_] = np.abs(self._changes()).max(axis=1) > UNREAD
        return differ


def _differ(one: Table, other: Table, atol: float) -> bool:
    """Whether two tables differ, by more than a part of the largest entry."""
    pairs = [(x, y) for x, y in zip(one, other, strict=True) if x is not None and y is not None]
    return any(x.shape != y.shape or np.abs(x - y).max() > atol * np.abs(x).max() for x, y in pairs)


def _distance(one: Array, other: Array) -> float:
    """The largest difference of two arrays, of which one may have more columns: others are 0."""
    n = min(one.shape[1], other.shape[1])
    parts = one[:, :n] - other[:, :n], one[:, n:], other[:, n:]
    return max(float(np.abs(part).max(initial=0.0)) for part in parts)


@kernel
def _own_slopes(
    law: Any, up: Any, down: Any, ahead: Any, discount: Any, step: Any, slopes: Any, shifts: Any
) -> None:
    """Write derivatives of Q (T, S, A) and of P (T, S, A, K), by the mass in the own state, at frozen values."""
    n_times, n_states, n_actions = slopes.shape
    for h in range(n_times):
        for s in range(n_states):
            mass = 0.0
            for a in range(n_actions):
                mass += law[h, s, a]
            if mass > 0.0:
                width = 2.0 * step * mass
                for a in range(n_actions):
                    change = up.rewards[h, s, a] - down.rewards[h, s, a]
                    if len(shifts) > 0:
                        change += discount * _shift_of_value(h, s, a, up, down, ahead[h])
                    slopes[h, s, a] = change / width
                    if len(shifts) > 0:
                        for k in range(shifts.shape[3]):
                            moved = at_time(up.transitions, h)[s, a, k] - at_time(down.transitions, h)[s, a, k]
                            shifts[h, s, a, k] = moved / width


@kernel
def _column_slopes(
    law: Any, up: Any, down: Any, ahead: Any, discount: Any, step: Any, readers: Any, slopes: Any, shifts: Any
) -> None:
    """Add derivatives by the masses of a group of columns, of which the rows of a state read ``readers`` (S,)."""
    n_times, n_states, n_actions, n_columns = slopes.shape
    for h in range(n_times):
        for s in range(n_states):
            column = readers[s]
            if column >= 0:
                mass = 0.0
                if n_columns == n_states:
                    for a in range(n_actions):
                        mass += law[h, column, a]
                else:
                    mass = law[h, column // n_actions, column % n_actions]
                if mass > 0.0:
                    width = 2.0 * step * mass
                    for a in range(n_actions):
                        change = up.rewards[h, s, a] - down.rewards[h, s, a]
                        if len(shifts) > 0:
                            change += discount * _shift_of_value(h, s, a, up, down, ahead[h])
                        slopes[h, s, a, column] = change / width
                        if len(shifts) > 0 and law[h, s, a] > 0.0:
                            for k in range(up.transitions.shape[3]):
                                there = successor_of(up.successors, h, s, a, k)
                                moved = at_time(up.transitions, h)[s, a, k] - at_time(down.transitions, h)[s, a, k]
                                shifts[h, there, column] += law[h, s, a] * moved / width


@rule
def _shift_of_value(h: Any, s: Any, a: Any, up: Any, down: Any, ahead: Any) -> Any:
    """Change of the mean of the values that are ahead, between two tabulated populations."""
    total = 0.0
    upper, lower = at_time(up.transitions, h)[s, a], at_time(down.transitions, h)[s, a]
    for k in range(len(upper)):
        there = successor_of(up.successors, h, s, a, k)
        total += (upper[k] - lower[k]) * ahead[there]
    return total
