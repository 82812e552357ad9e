"""The base class of solvers of induced mean-field games: compiled iterations, run until something says stop."""

import abc
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.population_flow import Flow
from mfenvs.meanfield.stopping import Report, Stopped

from ..exploitability_measures import exploitability_measures
from ..policies import TabularPolicy
from ..trainer import MOST_ITERATIONS, Trainer
from .result import SolverResult

SLICE = 0.05
"""Seconds that compiled iterations run at a time: so long does Ctrl-C wait."""
GROWTH = 1.25
"""Ratio of one report's number of iterations to that of the report before."""
STALL_FACTOR = 4
STALL_GAIN = 0.01
FEWEST_BEFORE_STALL = 1000
"""A solver stalls if ``STALL_FACTOR`` times as many iterations, at least ``FEWEST_BEFORE_STALL``, have lowered its
best exploitability by no more than the share ``STALL_GAIN``."""


class MeanFieldSolver(Trainer[Any]):
    """Base class of solvers that iterate on the arrays of the induced game in compiled code.

    A timestep is an iteration.
    """

    @property
    def timesteps_per_iteration(self) -> int:
        """One: nothing is simulated."""
        return 1

    @property
    def policy(self) -> TabularPolicy:
        """The current policy, shared by all agents; uniform before the first iteration."""
        return self._as_policy(self._law)

    def _set_up(self) -> None:
        self.induced = InducedGame(self.game)
        """The induced mean-field game, which is solved."""
        self.result: SolverResult | None = None
        """What the last call of :meth:`solve` returned."""
        self._law = self.induced.uniform_policy()

    @abc.abstractmethod
    def _advance(self, n_before: int, n_iterations: int) -> None:
        """Do ``n_iterations`` iterations in place, after ``n_before`` that have been done."""

    def _compile(self) -> None:
        """Compile what an iteration calls, so that the time for it is not taken for that of an iteration."""
        self._advance(self.iteration, 0)

    def run(self, n_iterations: int) -> None:
        """Do ``n_iterations`` iterations in compiled code, without logging, callbacks or measuring in between.

        Raises
        ------
        TypeError, ValueError
            If the number is not allowed, or a result overflows or is not a number; then nothing is done.
        """
        n_iterations = checks.integer("n_iterations", n_iterations, 0)
        if n_iterations == 0:
            return
        with self._undone_if_it_fails() as before:
            self._advance(self.iteration, n_iterations)
            if not self._is_finite():
                self._set_state({name: array.copy() for name, array in before.items()})
                self._advance_checked(n_iterations)
        self.iteration += n_iterations
        self.num_timesteps += n_iterations * self.timesteps_per_iteration

    def solve(
        self,
        *,
        tolerance: float | None = 1e-6,
        seconds: float | None = None,
        iterations: int | None = None,
        callback: Callable[[Report], Any] | None = None,
        report_every: int | None = None,
        stalls: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> SolverResult:
        """Iterate until the policy is good enough, or a limit is reached; a further call goes on from there.

        Parameters
        ----------
        tolerance:
            Exploitability in the mean-field game at which to stop, >= 0. None if exploitability is not to be
            evaluated at all: it costs about as much as an iteration or two.
        seconds:
            Time limit, > 0, without the time of compilation. A single iteration is never broken off.
        iterations:
            Largest number of iterations, >= 0.
        callback:
            Function of a :class:`~mfenvs.meanfield.stopping.Report`, called after each one; the solver stops when
            it returns False.
        report_every:
            Number of iterations from one report to the next, >= 1. By default reports become rarer, as the number
            of iterations grows by a quarter, so that evaluating the exploitability takes little of the time.
        stalls:
            Whether to stop when four times as many iterations, at least 1000, have lowered the exploitability by
            less than 1 %, or everything is as it was at the report before.
        clock:
            Function that returns the time in seconds.

        Returns
        -------
        The result, which also becomes the attribute :attr:`result`. Ctrl-C ends the call, not the program, and the
        result holds the best policy so far.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed or nothing is given that could stop the solver; if values overflow or are
            not numbers. The solver is then as after the last iterations that were right.
        """
        run = _Run(
            self,
            None if tolerance is None else checks.real("tolerance", tolerance, 0.0),
            None if seconds is None else checks.real("seconds", seconds, 0.0, exclude_low=True),
            None if iterations is None else checks.integer("iterations", iterations, 0, MOST_ITERATIONS),
            callback,
            None if report_every is None else checks.integer("report_every", report_every, 1, MOST_ITERATIONS),
            checks.boolean("stalls", stalls),
            clock,
        )
        self.result = run.until_it_stops()
        return self.result

    def _iterate(self) -> dict[str, float]:
        self._advance_checked(1)
        return exploitability_measures(self.induced, self._law)

    def _advance_checked(self, n_iterations: int) -> None:
        """Do iterations one by one; if one leaves numbers that are not finite, a ValueError says why."""
        for n_before in range(self.iteration, self.iteration + n_iterations):
            before = {name: array.copy() for name, array in self._state().items()}
            self._advance(n_before, 1)
            if not self._is_finite():
                self._set_state(before)
                largest = np.abs(self._faced().rewards).max()
                raise ValueError(
                    f"the values of {type(self.game).__name__} overflow in iteration {n_before + 1} of"
                    f" {type(self).__name__}: its rewards are too large, of up to {largest:g}"
                )

    def _faced(self) -> Flow:
        """The decision problem that the next iteration solves; ValueError if a rule returns a bad value."""
        return self.induced.flow(self._law)

    def _is_finite(self) -> bool:
        """Whether the last iteration computed finite numbers only."""
        return all(bool(np.isfinite(array).all()) for array in self._state().values())

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        return {"law": ArraySpecification(np.float64, game.policy_shape, low=0.0, total=1.0)}

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"law": self._law}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._law = state["law"]


class _Run:
    """One call of :meth:`MeanFieldSolver.solve`."""

    def __init__(
        self,
        solver: MeanFieldSolver,
        tolerance: float | None,
        seconds: float | None,
        iterations: int | None,
        callback: Callable[[Report], Any] | None,
        report_every: int | None,
        stalls: bool,
        clock: Callable[[], float],
    ) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be a function of a Report, got {checks.shown(callback)}")
        if not callable(clock):
            raise TypeError(f"clock must be a function that returns the time, got {checks.shown(clock)}")
        if tolerance is None and seconds is None and iterations is None and callback is None:
            raise ValueError("one of tolerance, seconds, iterations and callback must be given, got none")
        self.solver, self.callback, self.clock = solver, callback, clock
        self.tolerance, self.seconds, self.iterations = tolerance, seconds, iterations
        self.report_every, self.stalls = report_every, stalls
        self.first_iteration, self.next_report = solver.iteration, 0
        self.history: list[Report] = []
        self.best: float | None = None
        """The least exploitability so far, if any was evaluated."""
        self.best_law = solver._law
        self.cost = 0.0
        """Seconds that an evaluation of the exploitability took."""
        self.pace, self.chunk = 0.0, 1
        """Seconds an iteration took, and number of iterations that were run, at the last time."""
        self.next_check = FEWEST_BEFORE_STALL
        """Number of iterations at which to look next whether the solver has stalled."""
        self.last_state: dict[str, NDArray[Any]] = {}

    def until_it_stops(self) -> SolverResult:
        """Run the solver until something stops it."""
        self.began = self.clock()
        try:
            self.solver._compile()
            if self.tolerance is not None:
                self.solver.induced.exploitability(self.solver._law)
            self.began = self.clock()
            stopped = self._reason()
            while stopped is None:
                self._advance()
                stopped = self._reason()
            if self.history[-1].iteration < self.done:
                self._report()
                if self._is_solved():
                    stopped = Stopped.TOLERANCE
        except KeyboardInterrupt:
            stopped = Stopped.INTERRUPTED
        law = self.solver._law if self.best is None else self.best_law
        return SolverResult(
            policy=self.solver._as_policy(law),
            exploitability=self.best,
            exploitabilities=None if self.best is None else self._exploitabilities(law, self.best),
            iterations=self.done,
            seconds=self._elapsed(),
            stopped=stopped,
            history=tuple(self.history),
        )

    def _exploitabilities(self, law: NDArray[np.float64], largest: float) -> tuple[float, ...]:
        if self.solver.game.n_populations == 1:
            return (largest,)
        return tuple(self.solver.induced.exploitabilities(law).tolist())

    @property
    def done(self) -> int:
        """Number of iterations that were done."""
        return self.solver.iteration - self.first_iteration

    def _elapsed(self) -> float:
        return self.clock() - self.began

    def _reason(self) -> Stopped | None:
        """Why to stop now, if there is a reason; make the report that is due."""
        if self.done == self.next_report:
            report = self._report()
            every = self.report_every or max(1, int(self.done * (GROWTH - 1.0)))
            self.next_report = self.done + every
            if self._is_solved():
                return Stopped.TOLERANCE
            if self.callback is not None and self.callback(report) is False:
                return Stopped.CALLBACK
            if self.stalls and self._has_stalled():
                return Stopped.STALL
        if self.iterations is not None and self.done >= self.iterations:
            return Stopped.ITERATIONS
        if self.solver.has_converged:
            return Stopped.CONVERGED
        # What is left must suffice to evaluate the last policy.
        if self.seconds is not None and self._elapsed() + self.cost >= self.seconds:
            return Stopped.TIME
        return None

    def _advance(self) -> None:
        """Run as many iterations as fit into a slice of time, but none beyond the next report or a limit."""
        n = self.next_report - self.done
        if self.iterations is not None:
            n = min(n, self.iterations - self.done)
        left = SLICE
        if self.seconds is not None:
            left = min(left, self.seconds - self._elapsed() - self.cost)
        fitting = 4 * self.chunk if self.pace <= 0.0 else min(4 * self.chunk, int(left / self.pace))
        n = max(1, min(n, fitting))
        began = self.clock()
        self.solver.run(n)
        self.pace, self.chunk = (self.clock() - began) / n, n

    def _report(self) -> Report:
        """Evaluate the policy if that is wanted, and add a report to the history."""
        gap = None
        if self.tolerance is not None:
            began = self.clock()
            gap = self.solver.induced.exploitability(self.solver._law)
            self.cost = self.clock() - began
            if self.best is None or gap < self.best:
                self.best, self.best_law = gap, self.solver._law.copy()
        report = Report(self.done, self._elapsed(), gap)
        self.history.append(report)
        return report

    def _is_solved(self) -> bool:
        return self.tolerance is not None and self.best is not None and self.best <= self.tolerance

    def _has_stalled(self) -> bool:
        """Whether nothing has changed since the last report, or the exploitability falls too slowly."""
        state, before = self.solver._state(), self.last_state
        if self.done and all(np.array_equal(array, before[name]) for name, array in state.items()):
            return True
        self.last_state = {name: array.copy() for name, array in state.items()}
        if self.best is None or self.done < self.next_check:
            return False
        self.next_check = int(self.done * GROWTH)
        early = [
            report.exploitability
            for report in self.history
            if report.exploitability is not None and report.iteration * STALL_FACTOR <= self.done
        ]
        return self.best > (1.0 - STALL_GAIN) * min(early)
