"""Equilibria of finite mean-field games by the log-barrier path.

The smoothed equilibrium of a barrier parameter eps (:mod:`mfenvs.meanfield.equilibrium.smoothing`), in which the
population is the flow of the policy itself, is at most H |A| eps exploitable, or |A| eps / (1 - gamma) in an infinite
game. It is the uniform policy for large eps. From there the path of equilibria is followed to small eps in log pi and
log eps, by steps of a given length and Newton's method at right angles to them: where the path folds, eps rises for
a while [O].
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.flow import FlowArrays
from mfenvs.meanfield.equilibrium.directions import ALONG, NEWTON, Linearised
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.equilibrium.smoothing import values_of
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

FIRST_STEP, LONGEST_STEP, SHORTEST_STEP = 0.3, 2.0, 1e-7
"""Lengths of steps along the path: the root mean square change of log pi, with that of log eps."""
MOST_PATH_CORRECTIONS = 7
ON_THE_PATH, FARTHEST_OFF = 1e-3, 1e-2
"""Relative error of pi (V - Q) = eps on the path: relative to the length of the step that led there, and at most."""
ROUNDING = 100 * np.finfo(float).eps
"""Rounding error of values, relative to the largest."""
SHARPEST_TURN = 0.8
"""Smallest cosine of the angle between the directions of two points in a row."""
FARTHEST_FROM_PREDICTED = 0.3
"""Largest distance of a point from where its step led, relative to the step's length: farther off is a jump to
another branch."""
CLOSE = 0.01
"""Log eps may be so much above the last one."""
JUMPS = 0.9, 0.5, 0.1, 0.01
"""Factors of eps that are tried where the path breaks off."""
MOST_LOG_CHANGE = 1.5
"""Largest change of log pi in a correction."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A policy near the barrier path."""

    policy: Array
    """Probabilities, shape (T, S, A), all positive."""
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
        self.rounding = 0.0
        """Relative error of pi (V - Q) = eps that rounding makes at the last point."""
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
        return Point(policy, max(largest_gain, 1e-3 * float(np.abs(values).max()), np.finfo(float).tiny))

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

    def newton(self, policy: Array, eps: float) -> tuple[Array, Array]:
        """Relative errors of pi (V - Q) = eps, and d log pi towards the path and along it, (T, S, A, 2).

        The values are those of the policy.
        """
        values, slacks = self.smoothed_values(policy, eps)
        self.rounding = ROUNDING * float(np.abs(values).max()) / eps
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


@dataclasses.dataclass(frozen=True)
class _Direction:
    """A unit direction along the path."""

    log_policy: Array
    """That of log pi, shape (T, S, A)."""
    log_eps: float
    """That of log eps."""


def follow(problem: BarrierProblem, start: Point, last_eps: float, keep_on: Callable[[Point], bool]) -> Point:
    """Follow the path from a point near it to ``last_eps``, also where it folds.

    Where the path breaks off, as where rules are not continuous, smaller eps are tried from there.

    Parameters
    ----------
    problem, start:
        The game's conditions, and where to begin.
    last_eps:
        The barrier parameter at which to end.
    keep_on:
        Called with every point; the path is left when it returns False.

    Returns
    -------
    The last point of the path that was found: its eps is ``last_eps`` if nothing stopped it.
    """
    last = math.log(last_eps)
    found = _on_path(problem, start.policy, math.log(start.eps), None, math.inf)
    point, length = start, FIRST_STEP
    while found is not None:
        policy, log_eps, ahead, n_corrections = found
        point = Point(policy, math.exp(log_eps))
        if log_eps <= last + CLOSE or not keep_on(point):
            break
        length *= 1.6 if n_corrections <= 3 else 1.0 if n_corrections <= 5 else 0.7
        length = min(length, LONGEST_STEP)
        if ahead.log_eps < 0.0:
            length = min(length, max(CLOSE, (last - log_eps) / ahead.log_eps))
        found = None
        while found is None and length > SHORTEST_STEP:
            predicted = _moved(problem, policy, length * ahead.log_policy)
            found = _on_path(problem, predicted, log_eps + length * ahead.log_eps, ahead, length)
            length *= 1.0 if found else 0.5
        for factor in JUMPS if found is None else ():
            length = FIRST_STEP
            if found := _on_path(problem, policy, max(last, log_eps + math.log(factor)), None, math.inf):
                break
    return point


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
            errors, changes = problem.newton(policy, math.exp(log_eps))
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(changes).all():
            return None
        to_path, along = changes[..., NEWTON], changes[..., ALONG]
        parallel = product(along, log_direction) + towards_smaller
        if np.abs(errors).max() < max(problem.rounding, min(ON_THE_PATH * length, FARTHEST_OFF)):
            norm = math.copysign(math.sqrt(product(along, along) + 1.0), parallel)
            found = _Direction(along / norm, 1.0 / norm)
            if ahead is not None:
                cosine = product(found.log_policy, log_direction) + found.log_eps * towards_smaller
                off = np.log(policy) - log_predicted
                distance = math.sqrt(product(off, off) + (log_eps - predicted_log_eps) ** 2)
                if cosine < SHARPEST_TURN or distance > FARTHEST_FROM_PREDICTED * length + problem.rounding:
                    return None
            return policy, log_eps, found, n_corrections
        by_log_eps = 0.0 if ahead is None else -product(to_path, log_direction) / parallel
        step = to_path + by_log_eps * along
        policy = _moved(problem, policy, np.clip(step, -MOST_LOG_CHANGE, MOST_LOG_CHANGE))
        log_eps += min(max(by_log_eps, -MOST_LOG_CHANGE), MOST_LOG_CHANGE)
        if not abs(log_eps - predicted_log_eps) < 4.0:
            return None
    return None
