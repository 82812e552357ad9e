"""The barrier path of a game and a reference policy: down beside it while that works, and then along it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mfenvs.meanfield.equilibrium.barrier import BarrierProblem, Point, follow
from mfenvs.meanfield.equilibrium.candidate import Candidate
from mfenvs.meanfield.equilibrium.descent import descend_by_curves
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity
from mfenvs.meanfield.equilibrium.stationary_barrier import StationaryProblem
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

SMALLEST = 1e-13
"""Smallest barrier parameter, relative to the first."""
BACK = 0.1
"""Share of the reference policy that is mixed into a policy from which a barrier path begins."""


class BarrierPath:
    """Policies on the barrier path of a reference policy, from that policy or from near another one.

    Parameters
    ----------
    induced, sensitivity:
        The game, and its derivatives.
    reference:
        The policy to which the path leads for large barrier parameters, (T, S, A), positive for allowed actions.
    wanted:
        The exploitability for which the path is made.
    start:
        Another policy from near which it begins.
    exploitability:
        That of the start.
    """

    def __init__(
        self,
        induced: InducedGame,
        sensitivity: Sensitivity,
        reference: Array,
        wanted: float,
        *,
        start: Array | None = None,
        exploitability: float = np.inf,
    ) -> None:
        kind = StationaryProblem if induced.game.is_infinite else BarrierProblem
        self._problem = problem = kind(induced, sensitivity, reference)
        self._goes_down = start is None and not induced.game.is_infinite
        first_eps = problem.first_eps()
        self._last_eps = max(wanted / problem.bound, SMALLEST * first_eps)
        self._point, self._n_told = Point(problem.unknowns(reference), first_eps), 0
        if start is not None:
            mixed = (1.0 - BACK) * start + BACK * reference
            self._point = Point(problem.unknowns(mixed), max(exploitability / problem.bound, self._last_eps))

    def n_new_steps(self) -> int:
        """Number of Newton steps since the last call."""
        done = self._problem.n_newton - self._n_told
        self._n_told += done
        return done

    def points(self) -> Iterator[Candidate | None]:
        """All that is found, None after steps that were too long."""
        yield from self.by_curves()
        yield from self.followed()

    def by_curves(self) -> Iterator[Candidate]:
        """Policies beside the path from the reference on, of a game that ends, as far as that works."""
        if self._goes_down:
            for found in descend_by_curves(self._problem, self._point, self._last_eps):
                self._point = found
                yield self._candidate(found)

    def followed(self) -> Iterator[Candidate | None]:
        """Policies on the path from the last point of :meth:`by_curves` on, or from the beginning."""
        for found in follow(self._problem, self._point, self._last_eps):
            yield None if found is None else self._candidate(found)

    def _candidate(self, found: Point) -> Candidate:
        return Candidate(self._problem.policy_of(found.policy), self._problem.law_of(found.policy))
