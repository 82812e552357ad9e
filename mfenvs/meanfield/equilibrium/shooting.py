"""Equilibria of games with two states that end, by shooting.

With two states the population is one number x, the mass in state 1, and what an agent has to know of the future
is another, delta = V(1) - V(0). At a given x and delta, the delta of the next time follows from the Bellman
equation, and x of the next time from the best actions. Solutions begin at the given x and must end with delta = 0.
From too large a first delta, later ones grow without bound, from too small a one they fall: in between, one stays
and ends at 0. It is found by bisection, again and again along its way, since nearby ones part exponentially.

Where the best action jumps, nothing in between may end at 0. Then agents are indifferent at the jump, and a
mixture of the actions leads to every x in between: the bisection goes on over the mixture. So there is always a
solution, and it has the mixtures that an equilibrium needs [O].
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.tabulation import new_status
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

HALVINGS = 60
"""Number of halvings of an interval."""
APART = 1e-10
"""Relative distance of two solutions at which they are no longer taken for one."""
ESCAPED = 10.0
"""Solutions are given up at so many times the largest possible delta."""
BISECTIONS_PER_TIME = 4
"""The search gives up after so many bisections, times the number of times."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a solution is at a time."""

    x: float
    """Mass in state 1."""
    delta: float
    """V(1) - V(0)."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """How a solution goes on."""

    place: Place
    """Where it is at the next time."""
    actions: tuple[int, int]
    """The best actions in both states."""


class _LostError(Exception):
    """No solution goes on from a place."""


def can_shoot(induced: InducedGame, *, reads_actions: bool) -> bool:
    """Whether a game has one population, two states and an end, and its rules read no masses of actions."""
    has_two_states = induced.n_states == 2 and induced.game.n_populations == 1
    return has_two_states and induced.game.discount == 1.0 and not reads_actions


def shoot(induced: InducedGame) -> Array | None:
    """The policy of a solution, shape (T, 2, A); None if none is found.

    That is so where the next delta does not follow from the present one: where it does not matter much, for what
    comes next, in which state an agent is.

    Parameters
    ----------
    induced:
        A game for which :func:`can_shoot` holds.
    """
    try:
        return _Shooting(induced).solution()
    except _LostError:
        return None


class _Shooting:
    """One call of :func:`shoot`."""

    def __init__(self, induced: InducedGame) -> None:
        self.induced = induced
        self.n_times, _, self.n_actions = induced.policy_shape
        self.open = [
            [[a for a in range(self.n_actions) if law[s, a] > 0.0] for s in range(2)]
            for law in induced.uniform_policy()
        ]
        rewards = [np.abs(induced.flow(np.eye(self.n_actions)[play]).rewards).max() for play in self._plays()]
        self.largest = 2.0 * self.n_times * max(float(max(rewards)), np.finfo(float).tiny)
        arrays = induced.flow_arrays(dense=True)
        self._model = arrays.agents, arrays.shares, arrays.constants
        self._transitions, self._rewards = np.empty((2, self.n_actions, 2)), np.empty((2, self.n_actions))
        self._scratch = arrays.counts, arrays.signal, new_status()

    def _plays(self) -> list[NDArray[np.int64]]:
        """Policies by their actions, (T, 2): the first open ones and the last."""
        return [np.array([[which[k] for which in states] for states in self.open]) for k in (0, -1)]

    def solution(self) -> Array:
        """The policy; raises :class:`_LostError` if none is found."""
        induced, policy = self.induced, np.zeros(self.induced.policy_shape)
        x = float(induced.initial[1])
        low, high = Place(x, -self.largest), Place(x, self.largest)
        time, mixed = 0, None
        for _ in range(BISECTIONS_PER_TIME * self.n_times):
            share, low, high = self._bisected(time, low, high)
            if mixed is not None:
                before, after = mixed
                policy[time - 1] *= 0.0
                for s in range(2):
                    policy[time - 1, s, before[s]] += 1.0 - share
                    policy[time - 1, s, after[s]] += share
            mixed = None
            while time < self.n_times and mixed is None:
                one, other = self._step(time, low), self._step(time, high)
                policy[time] = np.eye(self.n_actions)[list(one.actions)]
                low, high = one.place, other.place
                time += 1
                if one.actions != other.actions:
                    mixed = one.actions, other.actions
                elif abs(low.x - high.x) + abs(low.delta - high.delta) / self.largest > APART:
                    break
            if time == self.n_times and mixed is None:
                return policy
        raise _LostError

    def _bisected(self, time: int, low: Place, high: Place) -> tuple[float, Place, Place]:
        """Neighbours between two places, of which one ends above 0 and one below, and their share of the way."""
        begins, ends = self._ends_above(time, low), self._ends_above(time, high)
        if begins == ends:
            raise _LostError
        left, right = 0.0, 1.0
        first, last = low, high
        for _ in range(HALVINGS):
            share = 0.5 * (left + right)
            there = Place(first.x + share * (last.x - first.x), first.delta + share * (last.delta - first.delta))
            if there in (low, high) or share in (left, right):
                break
            if self._ends_above(time, there) == begins:
                left, low = share, there
            else:
                right, high = share, there
        return 0.5 * (left + right), low, high

    def _ends_above(self, time: int, place: Place) -> bool:
        """Whether the solution from a place ends with a delta above 0."""
        while time < self.n_times and abs(place.delta) < ESCAPED * self.largest:
            place = self._step(time, place).place
            time += 1
        return place.delta > 0.0

    def _step(self, time: int, place: Place) -> _Step:
        """How the solution goes on: the next delta with B(delta') = delta, and the next x."""
        x, goes, pays = place.x, self._transitions, self._rewards
        population = np.array([[1.0 - x], [x]]) * np.full((1, self.n_actions), 1.0 / self.n_actions)
        counts, signal, status = self._scratch
        arguments = population, *self._model, time, counts, signal, goes, None, None, status, pays
        self.induced.kernels.tabulate(*arguments)
        up, earned = goes[:, :, 1].tolist(), pays.tolist()
        found = None
        for a in self.open[time][0]:
            for b in self.open[time][1]:
                slope = up[1][b] - up[0][a]
                if slope == 0.0:
                    continue
                ahead = (place.delta - earned[1][b] + earned[0][a]) / slope
                loss = sum(
                    max(earned[s][c] + up[s][c] * ahead for c in self.open[time][s])
                    - (earned[s][own] + up[s][own] * ahead)
                    for s, own in ((0, a), (1, b))
                )
                if found is None or loss < found[0]:
                    found = loss, ahead, a, b
        if found is None:
            raise _LostError
        _, ahead, a, b = found
        there = (1.0 - x) * up[0][a] + x * up[1][b]
        return _Step(Place(min(max(there, 0.0), 1.0), ahead), (a, b))
