"""Mean-field equilibria of small finite games to high accuracy, by a log-barrier path.

For a barrier parameter eps > 0 the smoothed equilibrium is the policy pi with

    pi_h(a|s) (V_h(s) - Q_h(s, a)) = eps,   V_h(s) = sum_a pi_h(a|s) Q_h(s, a) + |A| eps

for all h, s, a, where Q are the values of pi in its own population flow. It is at most H |A| eps exploitable. The
path starts near the uniform policy, where eps is large, and is followed in log pi and log eps, by steps of a given
length along the path, as eps need not fall all the way: paths can fold. Jacobians are by finite differences, one
population flow for each entry of the policy, so that this is for small games only [O].
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame, InducedGame

Array = NDArray[np.float64]

LARGEST_BARRIER, SMALLEST_BARRIER = 30.0, 1e-8
"""Barrier parameters eps at the two ends of the path."""
DIFFERENCE = 1e-7
"""Probability that is moved from one action to another for the Jacobian."""
TOLERANCE = 1e-5
"""Largest relative error of pi (V - Q) = eps at which Newton's method ends."""
MOST_NEWTON_STEPS = 8
"""Largest number of Newton steps at one point of the path."""
MOST_PATH_STEPS = 2000
"""Largest number of points on the path."""
FIRST_STEP, LONGEST_STEP, SHORTEST_STEP = 0.5, 3.0, 1e-6
"""Lengths of steps: the root mean square change of log pi, with that of log eps."""
SHARPEST_TURN = 0.7
"""Smallest cosine of the angle between the path's directions at two points in a row."""


@dataclasses.dataclass(frozen=True)
class Equilibrium:
    """A policy near an equilibrium of the induced game."""

    policy: Array
    """Probabilities, shape (T, S, A)."""
    exploitability: float
    """Its exact exploitability in the induced game."""
    n_path_steps: int
    """Number of steps along the path."""


def find_equilibrium(game: FiniteGame) -> Equilibrium:
    """Follow the log-barrier path to an equilibrium of the induced mean-field game.

    Parameters
    ----------
    game:
        A finite game with a finite horizon.

    Returns
    -------
    The policy at the end of the path, with its exploitability.

    Raises
    ------
    RuntimeError
        If the path cannot be followed to its end.
    """
    induced = InducedGame(game)
    policy, n_steps = _follow_path(induced)
    return Equilibrium(policy, induced.exploitability(policy), n_steps)


@dataclasses.dataclass(frozen=True)
class _Direction:
    """A unit direction along the path."""

    log_policy: Array
    """That of log pi, shape (T, S, A)."""
    log_eps: float
    """That of log eps."""

    def cosine(self, other: "_Direction") -> float:
        return float((self.log_policy * other.log_policy).mean()) + self.log_eps * other.log_eps


@dataclasses.dataclass(frozen=True)
class _Point:
    """A point of the path, and where the path leads from there."""

    policy: Array
    log_eps: float
    ahead: _Direction


def _follow_path(induced: InducedGame) -> tuple[Array, int]:
    """The policy at the end of the path, and the number of steps."""
    start, end = math.log(LARGEST_BARRIER), math.log(SMALLEST_BARRIER)
    towards_smaller = _Direction(np.zeros(induced.policy_shape), -1.0)
    point = _corrected(induced, induced.uniform_policy(), start, towards_smaller)
    if point is None:
        raise RuntimeError("the start of the barrier path was not found")
    length = FIRST_STEP
    for n in range(MOST_PATH_STEPS):
        if point.ahead.log_eps < 0.0:
            length = min(length, max(0.01, (end - point.log_eps) / point.ahead.log_eps))
        while (found := _stepped(induced, point, length)) is None:
            length *= 0.5
            if length < SHORTEST_STEP:
                raise RuntimeError(f"the path cannot be followed beyond eps = {math.exp(point.log_eps):.2g}")
        point = found
        length = min(1.5 * length, LONGEST_STEP)
        if point.log_eps <= end + 0.01:
            return point.policy, n + 1
    raise RuntimeError(f"the barrier path does not end within {MOST_PATH_STEPS} steps")


def _stepped(induced: InducedGame, point: _Point, length: float) -> _Point | None:
    """The point of the path at this distance; None if it is not found, or if the path turns sharply before it."""
    predicted = _normalised(point.policy * np.exp(length * point.ahead.log_policy))
    log_eps = point.log_eps + length * point.ahead.log_eps
    if log_eps > math.log(10.0 * LARGEST_BARRIER):
        return None
    return _corrected(induced, predicted, log_eps, point.ahead)


def _corrected(induced: InducedGame, policy: Array, log_eps: float, direction: _Direction) -> _Point | None:
    """The point of the path nearest to a predicted one, by Newton steps at right angles to a direction."""
    predicted, predicted_log_eps = np.log(policy), log_eps
    for _ in range(MOST_NEWTON_STEPS):
        system = _System(induced, policy, math.exp(log_eps))
        to_path, along = np.linalg.solve(system.jacobian, -np.stack([system.error, system.by_log_eps], axis=1)).T
        slope = system.log_changes(along)
        along_it = float((slope * direction.log_policy).mean()) + direction.log_eps
        if np.abs(system.error).max() < TOLERANCE:
            norm = math.copysign(math.sqrt(float((slope**2).mean()) + 1.0), along_it)
            ahead = _Direction(slope / norm, 1.0 / norm)
            return _Point(policy, log_eps, ahead) if ahead.cosine(direction) > SHARPEST_TURN else None
        step = system.log_changes(to_path)
        by_log_eps = -float((step * direction.log_policy).mean()) / along_it
        step = step + by_log_eps * slope
        policy, log_eps = _normalised(policy * np.exp(np.clip(step, -1.0, 1.0))), log_eps + by_log_eps
        if not abs(log_eps - predicted_log_eps) + np.abs(np.log(policy) - predicted).max() < 2.0:
            return None
    return None


def _normalised(weights: Array) -> Array:
    law: Array = weights / weights.sum(axis=-1, keepdims=True)
    return law


def _relative_error(induced: InducedGame, policy: Array, eps: float) -> Array:
    """The relative error of pi (V - Q) = eps, shape (T, S, A); its sum over actions is 0."""
    q = induced.evaluate(policy)
    values = (policy * q).sum(axis=-1, keepdims=True)
    error: Array = policy * (values - q) / eps + policy.shape[-1] * policy - 1.0
    return error


class _System:
    """The linearised equations at one policy and eps: unknowns are log pi of all actions but the likeliest."""

    def __init__(self, induced: InducedGame, policy: Array, eps: float) -> None:
        self.policy = policy
        self.likeliest = policy.argmax(axis=-1)[..., None]
        self.free = np.ones(policy.shape, bool)
        np.put_along_axis(self.free, self.likeliest, False, axis=-1)
        error = _relative_error(induced, policy, eps)
        self.error: Array = error[self.free]
        self.by_log_eps: Array = (policy.shape[-1] * policy - 1.0 - error)[self.free]
        at = np.argwhere(self.free)
        self.jacobian = np.empty((len(at), len(at)))
        for column, (h, s, a) in enumerate(at):
            moved = policy.copy()
            moved[h, s, a] += DIFFERENCE
            moved[h, s, self.likeliest[h, s, 0]] -= DIFFERENCE
            change = _relative_error(induced, moved, eps)[self.free] - self.error
            self.jacobian[:, column] = change * (policy[h, s, a] / DIFFERENCE)

    def log_changes(self, moves: Array) -> Array:
        """Changes of log pi of all actions, shape (T, S, A), from those of the unknowns."""
        changes = np.zeros(self.policy.shape)
        changes[self.free] = moves
        lost = -(self.policy * changes).sum(axis=-1, keepdims=True)
        np.put_along_axis(changes, self.likeliest, lost / np.take_along_axis(self.policy, self.likeliest, -1), -1)
        return changes
