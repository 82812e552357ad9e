"""Equilibria of finite mean-field games by the log-barrier path.

In the smoothed equilibrium of a barrier parameter eps (:mod:`mfenvs.meanfield.equilibrium.smoothing`) the
population is the flow of the policy itself. It is at most H eps exploitable, or eps / (1 - gamma) in an
infinite game. For large eps it is the reference policy, such as the uniform one. From there the path of
equilibria is followed to small eps, in log pi and log eps, by steps of a given length and Newton's method at
right angles to them: where the path folds, eps rises for a while [O].
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.directions import ALONG, NEWTON, Linearised
from mfenvs.meanfield.equilibrium.local_directions import local_work
from mfenvs.meanfield.equilibrium.secants import Secants, can_keep
from mfenvs.meanfield.equilibrium.sensitivity import Reads, Sensitivity, Slopes
from mfenvs.meanfield.equilibrium.smoothing import values_of
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

FIRST_STEP, LONGEST_STEP, SHORTEST_STEP = 0.3, 2.5, 1e-7
"""Lengths of steps along the path: the root mean square change of log pi, with that of log eps."""
MOST_CORRECTIONS, MOST_HALVINGS = 10, 4
"""Newton steps for a point of the path, and how often each is halved as long as errors grow."""
LITTLE = 0.5
"""A step that leaves more than this share of the errors has gained little."""
ON_THE_PATH, FARTHEST_OFF = 1e-3, 4e-3
"""Relative error of pi (V - Q) = eps rho on the path, root mean square: relative to the length of the step to it,
and at most."""
ROUNDING = 100 * np.finfo(float).eps
"""Rounding error of values, relative to the largest."""
SHARPEST_TURN = 0.8
"""Smallest cosine of the angle between the directions of two points in a row."""
FARTHEST_FROM_PREDICTED = 0.3
"""Largest distance of a point from where its step led, relative to the step's length: farther off is a jump to
another branch."""
CLOSE = 0.01
"""Log eps may be so much above the last one."""
ENTRIES = 1.0, 10.0, 100.0, 1000.0
"""Factors of eps that are tried where the path is entered."""
JUMPS = 0.9, 0.5, 0.1, 0.01
"""Factors of eps that are tried where the path breaks off."""
MOST_LOG_CHANGE, MOST_FALL = 1.5, 16.0
"""Largest change of log pi in a correction, and in a step."""
OPERATIONS = 10.0
"""Floating-point operations of the elimination at a time, per cube of the number of states."""
ENTRIES_IN_A_ROW = 15.0
"""Number of entries in a row of a sparse system, roughly."""
TINY = np.finfo(float).tiny


@dataclasses.dataclass(frozen=True)
class Point:
    """A policy near the barrier path."""

    policy: Array
    """Probabilities, shape (T, S, A), all positive; or what :meth:`BarrierProblem.unknowns` makes of them."""
    eps: float
    """Barrier parameter."""


class BarrierProblem:
    """The smoothed equilibrium conditions of a finite mean-field game, and Newton's method for them.

    Parameters
    ----------
    induced:
        The game.
    sensitivity:
        Its derivatives by the population.
    reference:
        The policy to which the path leads for large eps, (T, S, A), positive for all allowed actions.
    """

    def __init__(self, induced: InducedGame, sensitivity: Sensitivity, reference: Array) -> None:
        self.induced, self.reference = induced, reference
        self.discount = induced.game.discount
        self.n_newton = 0
        """Number of linear systems solved so far."""
        self.rounding = 0.0
        """What rounding adds to the errors of the last policy."""
        self._arrays = induced.flow_arrays()
        self._sensitivity = sensitivity
        self._secants = Secants(induced, sensitivity) if can_keep(induced, sensitivity) else None
        n_times, n_states, _ = shape = induced.policy_shape
        self._q, self._slacks = np.empty(shape), np.empty(shape)
        self._values = np.zeros((1 if self.discount < 1.0 else n_times + 1, n_states))
        mass = self._flow(reference).mu.sum(axis=-1)
        # Where P varies with the population, what can be reached may vary too.
        everything = induced.kernels.varies or self.discount < 1.0
        self._is_reachable = (mass > 0.0) | everything
        self.is_free = self._is_reachable[..., None] & (reference > 0.0)
        """Whether an action is allowed in a state that can be reached at each time, (T, S, A)."""
        self.n_free = float(self.is_free.sum())
        """Number of free probabilities."""

    @property
    def bound(self) -> float:
        """The largest exploitability of a smoothed equilibrium, per eps."""
        n_times = self.induced.policy_shape[0]
        return n_times if self.discount == 1.0 else 1.0 / (1.0 - self.discount)

    @property
    def work(self) -> float:
        """Number of floating-point operations of a Newton step, roughly."""
        sizes, reads = self._is_reachable.sum(axis=1), self._sensitivity.reads
        if reads in (Reads.NOTHING, Reads.OWN_STATE) and self.discount == 1.0:
            return min(local_work(sizes, ENTRIES_IN_A_ROW))
        size = sizes.astype(float)
        if reads is Reads.PAIRS:
            size *= self.induced.policy_shape[2]
        return float(OPERATIONS * (size**3).sum())

    def first_eps(self) -> float:
        """An eps for which the reference policy is near the path."""
        self._flow(self.reference)
        self._policy_errors(self.reference, 1.0)
        gains = 1.0 - self._slacks[self.is_free]
        return max(float(gains.max()), 1e-3 * float(np.abs(self._values).max()), np.finfo(float).tiny)

    def unknowns(self, policy: Array) -> Array:
        """What Newton's method changes: here the policy, whose population is its flow."""
        return policy

    def policy_of(self, unknowns: Array) -> Array:
        """The policy that is part of unknowns, (T, S, A), or its changes that are part of those of unknowns."""
        return unknowns

    def law_of(self, unknowns: Array) -> Array | None:
        """In an infinite game, the stationary law of that policy, (S,), if it is known."""
        return None

    def errors(self, policy: Array, eps: float) -> Array:
        """Relative errors of pi (V - Q) = eps reference, shape (T, S, A), with the values V of the policy."""
        self._flow(policy)
        return self._policy_errors(policy, eps)

    def _policy_errors(self, policy: Array, eps: float) -> Array:
        """The errors in the population that is tabulated."""
        values_of(policy, self._arrays, eps, self._q, self._values, self._slacks)
        self.rounding = ROUNDING * float(np.abs(self._values).max()) / eps
        shares = np.where(self.is_free, policy * self._slacks / (eps * np.maximum(self.reference, TINY)), 1.0)
        return 1.0 - shares

    def directions(self, policy: Array, eps: float, errors: Array) -> tuple[Array, Array]:
        """Changes of log pi towards the path and along it, by log eps, (T, S, A) each, after :meth:`errors`.

        Raises
        ------
        numpy.linalg.LinAlgError
            If there are none.
        """
        changes, _ = self._linearised(policy, eps).directions(self._towards(policy, errors))
        logs = self._relative(changes, policy)
        return logs[..., NEWTON], logs[..., ALONG]

    def size(self, errors: Array) -> float:
        """The root mean square of errors, or of a change of log pi."""
        return math.sqrt(float((errors * errors).sum()) / self.n_free)

    def moved(self, policy: Array, log_change: Array) -> Array:
        """The policy after a change of log pi."""
        weights = policy * np.exp(np.where(self.is_free, np.clip(log_change, -MOST_FALL, MOST_FALL), 0.0))
        law: Array = weights / weights.sum(axis=-1, keepdims=True)
        return law

    def _linearised(self, policy: Array, eps: float) -> Linearised:
        """The conditions near a policy whose errors are known."""
        arrays, self.n_newton = self._arrays, self.n_newton + 1
        return Linearised(
            policy,
            np.where(self.is_free, policy * policy / (eps * np.maximum(self.reference, TINY)), 0.0),
            arrays.mu.sum(axis=-1),
            arrays.transitions,
            arrays.successors,
            self.discount,
            self._slopes(),
            self._is_reachable,
            self.induced.game.population_of_state,
        )

    def doubt(self) -> None:
        """Take notice that a Newton step gained little: derivatives that are not exact may be the reason."""
        if self._secants is not None:
            self._secants.doubt()
            if self._secants.is_useless:
                self._secants = None

    def _slopes(self) -> Slopes:
        """Derivatives by the population."""
        return (self._secants or self._sensitivity).slopes(self._arrays, self._values)

    def _towards(self, policy: Array, errors: Array) -> Array:
        """Right-hand sides of the linearised conditions."""
        return np.stack((policy * errors, np.where(self.is_free, policy, 0.0)), axis=-1)

    def _relative(self, changes: Array, policy: Array) -> Array:
        """Changes of a policy as those of its logarithm."""
        if not np.isfinite(changes).all():
            raise np.linalg.LinAlgError("the smoothed equilibrium conditions are singular")
        return np.where(self.is_free[..., None], changes / np.maximum(policy, TINY)[..., None], 0.0)

    def _flow(self, policy: Array) -> FlowArrays:
        kernels = self.induced.kernels
        _, self._arrays = self.induced.filled(lambda arrays: kernels.flow(policy, arrays), self._arrays)
        return self._arrays


@dataclasses.dataclass(frozen=True)
class _Direction:
    """A unit direction along the path."""

    log_policy: Array
    """That of log pi, shape (T, S, A)."""
    log_eps: float
    """That of log eps."""


def follow(problem: BarrierProblem, start: Point, last_eps: float) -> Iterator[Point | None]:
    """Follow the path from a point near it to ``last_eps``, also where it folds, and yield its points.

    None is yielded after a step that was too long, for callers who watch the time.

    Where the path breaks off, as where rules are not continuous, smaller eps are tried from there. If nothing is
    found, the iteration ends before ``last_eps``.

    Parameters
    ----------
    problem, start:
        The game's conditions, and where to begin.
    last_eps:
        The barrier parameter at which to end.
    """
    last = math.log(last_eps)
    found, length = None, FIRST_STEP
    for factor in ENTRIES:
        if found := _on_path(problem, start.policy, math.log(factor * start.eps), None, math.inf):
            break
        yield None
    while found is not None:
        policy, log_eps, ahead, n_corrections = found
        yield Point(policy, math.exp(log_eps))
        if log_eps <= last + CLOSE:
            return
        length *= 1.6 if n_corrections <= 3 else 1.0 if n_corrections <= 5 else 0.7
        length = min(length, LONGEST_STEP)
        if ahead.log_eps < 0.0:
            length = min(length, max(CLOSE, (last - log_eps) / ahead.log_eps))
        found = None
        while found is None and length > SHORTEST_STEP:
            predicted = problem.moved(policy, length * ahead.log_policy)
            found = _on_path(problem, predicted, log_eps + length * ahead.log_eps, ahead, length)
            if found is None:
                length *= 0.5
                yield None
        for factor in JUMPS if found is None else ():
            length = FIRST_STEP
            if found := _on_path(problem, policy, max(last, log_eps + math.log(factor)), None, math.inf):
                break


def _on_path(
    problem: BarrierProblem, predicted: Array, predicted_log_eps: float, ahead: _Direction | None, length: float
) -> tuple[Array, float, _Direction, int] | None:
    """The point of the path that is found by steps at right angles to a direction, and the direction there.

    None if it is not found, is another branch's, or if the path turns sharply. Without a direction the path is
    entered at a given eps, towards smaller ones.
    """

    def product(one: Array, other: Array) -> float:
        # Changes are 0 where actions are not free, and how a law follows is not part of their length.
        return float((problem.policy_of(one) * problem.policy_of(other)).sum()) / problem.n_free

    log_direction = np.zeros_like(predicted) if ahead is None else ahead.log_policy
    towards_smaller = -1.0 if ahead is None else ahead.log_eps
    policy, log_eps = predicted, predicted_log_eps
    errors = problem.errors(policy, math.exp(log_eps))
    error = problem.size(errors)
    for n_corrections in range(MOST_CORRECTIONS):
        is_near = error < max(problem.rounding, min(ON_THE_PATH * length, FARTHEST_OFF))
        try:
            to_path, along = problem.directions(policy, math.exp(log_eps), errors)
        except np.linalg.LinAlgError:
            return None
        parallel = product(along, log_direction) + towards_smaller
        if is_near:
            norm = math.copysign(math.sqrt(product(along, along) + 1.0), parallel)
            found = _Direction(along / norm, 1.0 / norm)
            if ahead is not None:
                cosine = product(found.log_policy, log_direction) + found.log_eps * towards_smaller
                off = np.log(np.maximum(policy, TINY) / np.maximum(predicted, TINY))
                distance = math.sqrt(product(off, off) + (log_eps - predicted_log_eps) ** 2)
                if cosine < SHARPEST_TURN or distance > FARTHEST_FROM_PREDICTED * length + problem.rounding:
                    return None
            return policy, log_eps, found, n_corrections
        by_log_eps = 0.0 if ahead is None else -product(to_path, log_direction) / parallel
        step = np.clip(to_path + by_log_eps * along, -MOST_LOG_CHANGE, MOST_LOG_CHANGE)
        by_log_eps = min(max(by_log_eps, -MOST_LOG_CHANGE), MOST_LOG_CHANGE)
        for halvings in range(MOST_HALVINGS):
            share = 0.5**halvings
            there, log_there = problem.moved(policy, share * step), log_eps + share * by_log_eps
            errors = problem.errors(there, math.exp(log_there))
            if problem.size(errors) < error:
                break
        if problem.size(errors) > LITTLE * error:
            problem.doubt()
        policy, log_eps, error = there, log_there, problem.size(errors)
        if not abs(log_eps - predicted_log_eps) < MOST_FALL:
            return None
    return None
