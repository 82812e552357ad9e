"""Equilibria of finite mean-field games by the log-barrier path.

The smoothed equilibrium of a barrier parameter eps (:mod:`mfenvs.meanfield.equilibrium.smoothing`), in which the
population is the flow of the policy itself, is at most H |A| eps exploitable, or |A| eps / (1 - gamma) in an infinite
game. It is the uniform policy for large eps. There are two ways from there to small eps [O]:

:func:`descend`
    An interior-point method: eps falls by a factor, and Newton's method in the policy and the values, kept apart as
    in primal-dual methods, finds the next smoothed equilibrium from the last. Some 15 to 40 Newton steps solve a
    game.
:func:`follow`
    Steps along the path, with log eps as one more unknown, for games whose path folds: eps then rises for a while.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.directions import ALONG, NEWTON, Linearised
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.equilibrium.smoothing import slacks_of, values_of
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

FIRST_FACTOR, SMALLEST_FACTOR, LARGEST_FACTOR = 0.1, 0.003, 0.95
"""Factor by which eps falls at first, at most, and at least before the path is said to fold."""
MOST_CORRECTIONS = 12
"""Newton steps after which a fall of eps has failed."""
NEAR, AT_THE_END = 0.5, 1e-2
"""Largest relative error of pi (V - Q) = eps on the way, and at the end."""
TO_THE_BOUNDARY = 0.9
"""Share of the way to the boundary of positive probabilities that a step may go."""
SHORTEST = 1e-3
"""Share of a Newton step below which the fall of eps has failed."""
LOST_SLACK = 0.02
"""A step leaves every action at least this share of its slack."""

FIRST_STEP, LONGEST_STEP, SHORTEST_STEP = 0.3, 2.0, 1e-9
"""Lengths of steps along the path: the root mean square change of log pi, with that of log eps."""
MOST_PATH_CORRECTIONS = 7
ON_THE_PATH = 1e-7
"""Relative error of pi (V - Q) = eps on the path."""
SHARPEST_TURN = 0.8
"""Smallest cosine of the angle between the directions of two points in a row."""
FARTHEST_FROM_PREDICTED = 0.3
"""Largest distance of a point from where its step led, relative to the step's length: farther off is a jump to
another branch."""
MOST_LOG_CHANGE = 1.5
"""Largest change of log pi in a correction."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A policy near the barrier path."""

    policy: Array
    """Probabilities, shape (T, S, A), all positive."""
    values: Array
    """Values V, shape (T + 1, S), or (1, S) in an infinite game."""
    eps: float
    """Barrier parameter."""


class BarrierProblem:
    """The smoothed equilibrium conditions of a finite mean-field game, and Newton's method for them.

    Parameters
    ----------
    induced:
        The game.
    rng:
        Random numbers from which :class:`Sensitivity` finds what rows read.
    """

    def __init__(self, induced: InducedGame, rng: np.random.Generator) -> None:
        self.induced = induced
        self.discount = induced.game.discount
        self.n_newton = 0
        """Number of linear systems solved so far."""
        self._arrays = induced.flow_arrays()
        self._sensitivity = Sensitivity(induced, rng)
        shape = n_times, n_states, n_actions = induced.policy_shape
        self._q, self._slacks = np.empty(shape), np.empty(shape)
        self.value_shape = (1 if self.discount < 1.0 else n_times + 1), n_states
        self._towards = np.empty((*shape, 2))
        self._set_reachable()

    @property
    def smallest_bound(self) -> float:
        """Exploitability of a smoothed equilibrium per eps, at most."""
        n_times, _, n_actions = self.induced.policy_shape
        return n_actions * (n_times if self.discount == 1.0 else 1.0 / (1.0 - self.discount))

    def flow(self, policy: Array) -> FlowArrays:
        """The population flow of a policy; valid until the next call."""
        kernels = self.induced.kernels
        _, self._arrays = self.induced.filled(lambda arrays: kernels.flow(policy, arrays), self._arrays)
        return self._arrays

    def slacks(self, values: Array) -> Array:
        """V - Q against the last flow, shape (T, S, A); valid until the next call."""
        arrays = self._arrays
        slacks_of(arrays.transitions, arrays.successors, arrays.rewards, self.discount, values, self._slacks)
        return self._slacks

    def smoothed_values(self, policy: Array, eps: float) -> tuple[Array, Array]:
        """The values V = sum_a pi Q + A eps of a policy in its own flow, and its slacks."""
        arrays = self.flow(policy)
        values = np.empty(self.value_shape)
        values_of(policy, arrays, eps, self._q, values, self._slacks)
        return values, self._slacks

    def start(self) -> Point:
        """The uniform policy, with an eps for which it is near the path."""
        policy = self.induced.uniform_policy()
        values, slacks = self.smoothed_values(policy, 0.0)
        largest_gain = float(-slacks[self.is_reachable].min())
        eps = max(largest_gain, 1e-3 * float(np.abs(values).max()), np.finfo(float).tiny)
        values, _ = self.smoothed_values(policy, eps)
        return Point(policy, values, eps)

    def directions(self, policy: Array, values: Array, ratio: Array, towards: Array) -> tuple[Array, Array]:
        """Changes of the policy (T, S, A, 2) and the values, for two right-hand sides (T, S, A, 2)."""
        arrays, self.n_newton = self._arrays, self.n_newton + 1
        linearised = Linearised(
            policy,
            ratio,
            towards,
            arrays.mu.sum(axis=-1),
            arrays.transitions,
            arrays.successors,
            self.discount,
            self._sensitivity.slopes(arrays, values),
        )
        if self.discount < 1.0:
            return linearised.stationary_directions()
        return linearised.finite_directions(self._reachable)

    def primal_dual(self, point: Point, eps: float) -> tuple[Array, Array]:
        """Newton's direction towards the smoothed equilibrium of eps, from a policy and values of their own.

        The slacks must be those of the point, as :meth:`slacks` left them.
        """
        share = eps / self._slacks
        self._towards[..., NEWTON], self._towards[..., ALONG] = share - point.policy, share
        changes, value_changes = self.directions(
            point.policy, point.values, point.policy / self._slacks, self._towards
        )
        return changes[..., NEWTON], value_changes[..., NEWTON]

    def primal(self, policy: Array, eps: float) -> tuple[Array, Array]:
        """Relative errors of pi (V - Q) = eps, and d log pi towards the path and along it, (T, S, A, 2).

        The values are those of the policy.
        """
        values, slacks = self.smoothed_values(policy, eps)
        errors = np.where(self.is_reachable[..., None], 1.0 - policy * slacks / eps, 0.0)
        self._towards[..., NEWTON], self._towards[..., ALONG] = policy * errors, policy
        changes, _ = self.directions(policy, values, policy * policy / eps, self._towards)
        return errors, changes / policy[..., None]

    def _set_reachable(self) -> None:
        """Find the states that can be reached at each time; where P varies, that is taken to be all."""
        n_times, n_states, _ = self.induced.policy_shape
        mass = self.flow(self.induced.uniform_policy()).mu.sum(axis=-1)
        everything = self.induced.kernels.varies or self.discount < 1.0
        self.is_reachable = np.ones_like(mass, bool) if everything else mass > 0.0
        """Whether a state can be reached at each time, (T, S)."""
        self._reachable = [np.flatnonzero(row) for row in self.is_reachable]


def descend(problem: BarrierProblem, start: Point, last_eps: float, keep_on: Callable[[Point], bool]) -> Point:
    """Let eps fall from a point near the path to ``last_eps``, as far as that goes.

    Parameters
    ----------
    problem, start:
        The game's conditions, and where to begin.
    last_eps:
        The barrier parameter at which to end.
    keep_on:
        Called with every point; the descent ends when it returns False.

    Returns
    -------
    The last point near the path: its eps is ``last_eps`` if nothing stopped the descent.
    """
    point, factor = start, FIRST_FACTOR
    while point.eps > last_eps and factor < LARGEST_FACTOR and keep_on(point):
        eps = max(point.eps * factor, last_eps)
        found, n_corrections = _corrected(problem, point, eps, AT_THE_END if eps == last_eps else NEAR)
        if found is None:
            factor = math.sqrt(factor)
            continue
        point = found
        power = 1.7 if n_corrections <= 3 else 1.0 if n_corrections <= 6 else 0.7
        factor = max(SMALLEST_FACTOR, factor**power)
    return point


def _corrected(problem: BarrierProblem, start: Point, eps: float, tolerance: float) -> tuple[Point | None, int]:
    """The smoothed equilibrium of eps, from a point near that of a larger one; None if it is not found."""
    point, mask = start, problem.is_reachable
    problem.flow(point.policy)
    slacks = problem.slacks(point.values)
    for n_corrections in range(MOST_CORRECTIONS):
        if n_corrections and np.abs(point.policy * slacks / eps - 1.0)[mask].max() < tolerance:
            return dataclasses.replace(point, eps=eps), n_corrections
        before = np.where(mask[..., None], slacks, 0.0)
        try:
            change, value_change = problem.primal_dual(point, eps)
        except np.linalg.LinAlgError:
            break
        if not (np.isfinite(change).all() and np.isfinite(value_change).all()):
            break
        room = np.where(change < 0.0, -point.policy / np.minimum(change, -np.finfo(float).tiny), np.inf)
        length = min(1.0, TO_THE_BOUNDARY * float(room[mask].min()))
        while length > SHORTEST:
            policy = np.where(mask[..., None], point.policy + length * change, point.policy)
            policy /= policy.sum(axis=-1, keepdims=True)
            moved = Point(policy, point.values + length * value_change, eps)
            problem.flow(policy)
            slacks = problem.slacks(moved.values)
            least = LOST_SLACK * (1.0 - 0.98 * length) * before
            if (slacks > least)[mask].all():
                break
            length *= 0.5
        else:
            break
        point = moved
    return None, MOST_CORRECTIONS


@dataclasses.dataclass(frozen=True)
class _Direction:
    """A unit direction along the path."""

    log_policy: Array
    """That of log pi, shape (T, S, A)."""
    log_eps: float
    """That of log eps."""


def follow(
    problem: BarrierProblem, start: Point, last_eps: float, keep_on: Callable[[Point], bool]
) -> Point:
    """Follow the path from a point near it to ``last_eps``, also where it folds.

    Parameters and result are those of :func:`descend`.
    """
    found = _on_path(problem, start.policy, math.log(start.eps), None, math.inf)
    if found is None:
        return start
    policy, log_eps, ahead, _ = found
    last, length = math.log(last_eps), FIRST_STEP
    point = start
    while True:
        point = Point(policy, problem.smoothed_values(policy, math.exp(log_eps))[0], math.exp(log_eps))
        if log_eps <= last + 0.01 or not keep_on(point):
            return point
        if ahead.log_eps < 0.0:
            length = min(length, max(0.01, (last - log_eps) / ahead.log_eps))
        found = None
        while found is None:
            moved = _moved(problem, policy, length * ahead.log_policy)
            found = _on_path(problem, moved, log_eps + length * ahead.log_eps, ahead, length)
            if found is None:
                length *= 0.5
                if length < SHORTEST_STEP:
                    return point
        policy, log_eps, ahead, n_corrections = found
        length = min(length * (1.6 if n_corrections <= 3 else 1.0 if n_corrections <= 5 else 0.7), LONGEST_STEP)


def _moved(problem: BarrierProblem, policy: Array, log_change: Array) -> Array:
    """The policy after a change of log pi."""
    reachable = problem.is_reachable[..., None]
    weights = policy * np.exp(np.where(reachable, np.clip(log_change, -6.0, 6.0), 0.0))
    law: Array = weights / weights.sum(axis=-1, keepdims=True)
    return law


def _on_path(
    problem: BarrierProblem, predicted: Array, predicted_log_eps: float, ahead: _Direction | None, length: float
) -> tuple[Array, float, _Direction, int] | None:
    """The point of the path that is found by steps at right angles to a direction, and the direction there.

    None if it is not found, is another branch's, or if the path turns sharply. Without a direction the path is
    entered at a given eps, towards smaller ones.
    """
    reachable = problem.is_reachable[..., None]
    weight = 1.0 / (reachable.sum() * predicted.shape[-1])

    def product(one: Array, other: Array) -> float:
        return float((one * other * reachable).sum()) * weight

    log_direction = np.zeros_like(predicted) if ahead is None else ahead.log_policy
    towards_smaller = -1.0 if ahead is None else ahead.log_eps
    policy, log_eps, log_predicted = predicted, predicted_log_eps, np.log(predicted)
    for n_corrections in range(MOST_PATH_CORRECTIONS):
        try:
            errors, changes = problem.primal(policy, math.exp(log_eps))
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(changes).all():
            return None
        to_path, along = changes[..., NEWTON], changes[..., ALONG]
        parallel = product(along, log_direction) + towards_smaller
        if np.abs(errors).max() < ON_THE_PATH:
            norm = math.copysign(math.sqrt(product(along, along) + 1.0), parallel)
            found = _Direction(along / norm, 1.0 / norm)
            if ahead is not None:
                cosine = product(found.log_policy, log_direction) + found.log_eps * towards_smaller
                off = np.log(policy) - log_predicted
                distance = math.sqrt(product(off, off) + (log_eps - predicted_log_eps) ** 2)
                if cosine < SHARPEST_TURN or distance > FARTHEST_FROM_PREDICTED * length + ON_THE_PATH:
                    return None
            return policy, log_eps, found, n_corrections
        by_log_eps = 0.0 if ahead is None else -product(to_path, log_direction) / parallel
        step = to_path + by_log_eps * along
        policy = _moved(problem, policy, np.clip(step, -MOST_LOG_CHANGE, MOST_LOG_CHANGE))
        log_eps += min(max(by_log_eps, -MOST_LOG_CHANGE), MOST_LOG_CHANGE)
        if not abs(log_eps - predicted_log_eps) < 4.0:
            return None
    return None
