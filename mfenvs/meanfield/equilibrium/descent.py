"""Going down beside the log-barrier path without waiting for it: few linear systems where the path does not fold.

A linear system gives Newton's step towards the smoothed equilibrium and the direction along the path, both as
straight lines in log pi and log eps. The curve pi (V - Q) = eps rho is not straight there. As eps goes to 0,
probabilities of likely actions are linear in eps, and so are the slacks V - Q of unlikely ones. Steps in these
coordinates are several times as long for the same error [O].

Newton's steps are not damped. While the method converges, errors grow by orders of magnitude, as they are relative
to eps: the length of its next step says whether it does, and errors do not.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mfenvs.meanfield.equilibrium.barrier import LITTLE, ON_THE_PATH, BarrierProblem, Point

Array = NDArray[np.float64]

FIRST_FALL, LONGEST_FALL, SHORTEST_FALL, SHORTER = 1.0, 6.0, 0.5, 0.7
"""Steps of log eps, and the factor by which those that lead too far are shortened, down to the shortest."""
NEAR, WANTED, FAR = 0.1, 0.3, 3.0
"""Lengths of Newton's step, as the root mean square change of log pi: up to which a step down is made, which it
should lead to, and beyond which it has been too long."""
MOST_ERROR = 1e3
"""Errors up to which a step down is made, and to which it may lead."""
SMALLEST_FACTOR, LARGEST_FACTOR = 0.4, 2.5
"""Change of the next step down by what Newton's step is after the last one."""
MOST_CORRECTIONS, MOST_IN_VAIN = 12, 2
"""Newton steps after a step down, and how many in a row may be no shorter than one before."""
MOST_RETREATS = 1
"""How often a step down may be taken back."""
LIKELY = 0.05
"""Smallest probability of a likely action."""
LARGEST_RISE, LARGEST_SHARE = 1.5, 0.8
"""Largest rise of log pi of likely actions in a Newton step, and the largest share of its slack that an unlikely
action loses."""
TURNING = 0.1, 0.3, 1.0
"""Changes of log pi by log eps at which an action is halfway between likely and unlikely ones: what leads to the
smallest errors is taken. Errors cost a hundredth of a linear system."""


@dataclasses.dataclass(frozen=True)
class _Near:
    """A policy near the path, and how log pi changes from there."""

    policy: Array
    log_eps: float
    to_path: Array
    along: Array

    def below(self, problem: BarrierProblem, fall: float) -> tuple[Array, float]:
        """A policy beside the path where log eps has fallen by so much or less, and that log eps."""
        while True:
            log_eps, least = self.log_eps - fall, math.inf
            for turning in TURNING:
                change = self.to_path + lowered(self.along, fall, turning)
                tried = problem.moved(self.policy, change)
                error = problem.size(problem.errors(tried, math.exp(log_eps)))
                if error < least:
                    least, policy = error, tried
            if least <= MOST_ERROR or (fall <= SHORTEST_FALL and least < math.inf):
                return policy, log_eps
            if fall <= SHORTEST_FALL:
                return self.policy, log_eps
            fall *= SHORTER


def descend_by_curves(problem: BarrierProblem, start: Point, last_eps: float) -> Iterator[Point]:
    """Go down to ``last_eps`` near the path of a game that ends, and yield policies on the way.

    If Newton's method fails after a step down, that is made shorter. If it fails again, or where the path folds,
    the iteration ends with the last policy that was near the path.

    Parameters
    ----------
    problem, start, last_eps:
        As for :func:`~mfenvs.meanfield.equilibrium.barrier.follow`.
    """
    policy, log_eps, last, fall = start.policy, math.log(start.eps), math.log(last_eps), FIRST_FALL
    near: _Near | None = None
    lengths: list[float] = []
    n_retreats = 0
    while True:
        errors = problem.errors(policy, math.exp(log_eps))
        if log_eps <= last and problem.size(errors) < max(ON_THE_PATH, problem.rounding):
            return
        try:
            to_path, along = problem.directions(policy, math.exp(log_eps), errors)
            to_path = corrected(policy, to_path)
            lengths.append(problem.size(to_path))
        except np.linalg.LinAlgError:
            lengths.append(math.inf)
        length = lengths[-1]
        if len(lengths) > 1 and length > LITTLE * lengths[-2]:
            problem.doubt()
        if length > FAR or len(lengths) > MOST_CORRECTIONS or (length > NEAR and _is_in_vain(lengths)):
            n_retreats += 1
            if near is None:
                return
            if n_retreats > MOST_RETREATS:
                yield Point(near.policy, math.exp(near.log_eps))
                return
            fall, is_step_down = SMALLEST_FACTOR * (near.log_eps - log_eps), True
        else:
            if near is not None and len(lengths) == 1:
                factor = math.sqrt(WANTED / max(length, np.finfo(float).tiny))
                fall = min(LONGEST_FALL, fall * min(LARGEST_FACTOR, max(SMALLEST_FACTOR, factor)))
            is_step_down = length <= NEAR and problem.size(errors) <= MOST_ERROR and log_eps > last
            if is_step_down:
                near = _Near(policy, log_eps, to_path, along)
        if near is not None and is_step_down:
            policy, log_eps = near.below(problem, min(fall, near.log_eps - last))
            fall, lengths = near.log_eps - log_eps, []
        else:
            policy = problem.moved(policy, to_path)
        yield Point(policy, math.exp(log_eps))


def _is_in_vain(lengths: list[float]) -> bool:
    """Whether none of the last Newton steps is shorter than the shortest one before."""
    last = lengths[-MOST_IN_VAIN - 1 :]
    return len(last) < len(lengths) and min(last) >= min(lengths[: -len(last)])


def corrected(policy: Array, to_path: Array) -> Array:
    """The change of log pi that is made of Newton's step d.

    In the linearised conditions a slack becomes (1 - d) (V - Q). For unlikely actions, and where probabilities
    fall, that is kept, and the new probability is pi / (1 - d).

    Parameters
    ----------
    policy, to_path:
        The policy and Newton's step, as a change of its logarithm, (T, S, A).
    """
    falling, rising = -np.log1p(np.maximum(-to_path, 0.0)), np.minimum(to_path, LARGEST_RISE)
    of_unlikely = -np.log1p(-np.clip(to_path, 0.0, LARGEST_SHARE))
    return np.where(to_path < 0.0, falling, np.where(policy < LIKELY, of_unlikely, rising))


def lowered(along: Array, fall: float, turning: float) -> Array:
    """The change of log pi when log eps falls by so much.

    Probabilities of likely actions, for which it changes little by log eps, are taken to be linear in eps, and
    slacks of unlikely ones, for which it changes by 1.

    Parameters
    ----------
    along:
        Derivative of log pi by log eps, (T, S, A).
    fall:
        The change of log eps, >= 0.
    turning:
        The derivative of actions that are half likely, > 0.
    """
    share, within = -math.expm1(-fall), np.clip(along, 0.0, 1.0)
    beyond = share * (along - within)
    of_likely = np.log1p(-share * within) - beyond
    of_unlikely = np.where(along < 0.0, -fall * along, -fall - np.log1p(-share * (1.0 - within)) - beyond)
    weight = along * along / (along * along + turning * turning)
    change: Array = (1.0 - weight) * of_likely + weight * of_unlikely
    return change
