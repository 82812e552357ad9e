"""``solve``: what stops a solver, what its result says, and what it evaluates; time is a clock of the test."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tabulated import Tabulated, random_tabulated

from baselines.solvers.fixed_point import FictitiousPlay, FixedPoint, OnlineMirrorDescent
from baselines.solvers.population_iteration import ThreeStepFixedPoint
from baselines.solvers.solver import SLICE
from mfenvs.meanfield.stopping import Stopped

CROWDED = {"pull": 0.0, "crowding": 1.5, "discount": 1.0}


def monotone(seed: int = 1) -> Tabulated:
    return random_tabulated(seed, **CROWDED)


def chases() -> Tabulated:
    """All do what few do: best responses to everybody swap for ever."""
    return Tabulated(pay=((0.0, 0.3),) * 3, crowding=1.0, horizon=1)


class Watched(OnlineMirrorDescent):
    """Mirror descent that records how many iterations it was asked for at a time."""

    name = "watched"

    def run(self, n_iterations: int) -> None:
        super().run(n_iterations)
        self.asked = [*getattr(self, "asked", []), n_iterations]


def count_evaluations(solver, monkeypatch) -> list[int]:
    calls, evaluate = [], solver.induced.exploitability

    def counted(policy):
        calls.append(solver.iteration)
        return evaluate(policy)

    monkeypatch.setattr(solver.induced, "exploitability", counted)
    return calls


def test_it_stops_at_the_tolerance() -> None:
    solver = OnlineMirrorDescent(monotone(), learning_rate=0.3)
    result = solver.solve(tolerance=1e-3)
    assert result.stopped is Stopped.TOLERANCE
    assert result.is_solved
    assert result.exploitability == solver.induced.exploitability(result.policy) <= 1e-3
    assert result.iterations == solver.iteration == solver.num_timesteps == result.history[-1].iteration
    assert [report.exploitability > 1e-3 for report in result.history] == [True] * (len(result.history) - 1) + [
        False
    ]
    assert solver.result is result
    again = solver.solve(tolerance=1e-3)
    assert (again.stopped, again.iterations, len(again.history)) == (Stopped.TOLERANCE, 0, 1)


def test_it_does_as_many_iterations_as_allowed_and_goes_on() -> None:
    whole, parts = OnlineMirrorDescent(monotone()), OnlineMirrorDescent(monotone())
    for n in (0, 7, 40):
        result = parts.solve(tolerance=0.0, iterations=n)
        assert (result.stopped, result.iterations, result.is_solved) == (Stopped.ITERATIONS, n, False)
        assert result.history[-1].iteration == n
    whole.run(47)
    assert parts.iteration == 47
    assert_array_equal(whole.policy.probabilities, parts.policy.probabilities)


@pytest.mark.parametrize(("pace", "seconds", "expected"), [(1.0, 10.0, 10), (1e-4, 0.2, 2000), (3.0, 10.0, 4)])
def test_it_respects_the_time(pace, seconds, expected) -> None:
    solver = Watched(monotone())
    result = solver.solve(tolerance=None, seconds=seconds, clock=lambda: pace * solver.iteration)
    assert result.stopped is Stopped.TIME
    assert result.iterations == pytest.approx(expected, abs=1)
    assert result.seconds == pytest.approx(pace * result.iterations)
    # Ctrl-C is never kept waiting for longer than a slice, or an iteration.
    assert max(solver.asked) * pace <= max(SLICE * 1.01, pace)


def test_it_leaves_time_to_evaluate_the_last_policy(monkeypatch) -> None:
    solver = OnlineMirrorDescent(monotone())
    calls = count_evaluations(solver, monkeypatch)
    result = solver.solve(tolerance=0.0, seconds=100.0, clock=lambda: solver.iteration + 20.0 * len(calls))
    assert result.stopped is Stopped.TIME
    assert result.history[-1].iteration == result.iterations > 0
    assert result.seconds <= 100.0


def test_the_clock_does_not_change_the_iterates() -> None:
    fast, slow = Watched(monotone()), Watched(monotone())
    fast.solve(tolerance=None, iterations=500, clock=lambda: 0.0)
    slow.solve(tolerance=None, iterations=500, clock=lambda: 0.02 * slow.iteration)
    assert max(slow.asked) <= 4 < max(fast.asked)
    assert_array_equal(fast.policy.probabilities, slow.policy.probabilities)


def test_exploitability_is_evaluated_rarely_or_never(monkeypatch) -> None:
    solver = OnlineMirrorDescent(monotone())
    calls = count_evaluations(solver, monkeypatch)
    result = solver.solve(tolerance=None, iterations=1000)
    assert not calls
    assert result.exploitability is None
    assert_array_equal(result.policy.probabilities, solver.policy.probabilities)
    assert {report.exploitability for report in result.history} == {None}
    solver.solve(tolerance=0.0, iterations=1000)
    assert 10 < len(calls) < 40
    calls.clear()
    result = solver.solve(tolerance=0.0, iterations=95, report_every=10)
    assert [report.iteration for report in result.history] == [*range(0, 91, 10), 95]
    assert len(calls) == 12  # one of them compiles


def test_it_stalls_where_it_cycles() -> None:
    solver = FixedPoint(chases())
    result = solver.solve(tolerance=1e-6)
    assert result.stopped is Stopped.STALL
    assert result.iterations < 20
    assert FixedPoint(chases()).solve(iterations=2000, stalls=False).stopped is Stopped.ITERATIONS


def test_it_stalls_where_it_gets_no_better() -> None:
    result = OnlineMirrorDescent(chases(), learning_rate=30.0).solve(tolerance=1e-9)
    assert result.stopped is Stopped.STALL
    assert 1000 <= result.iterations < 2000


def test_it_does_not_stall_while_it_gets_better() -> None:
    """Fictitious play is slow here, about 1 / k, and steady."""
    result = FictitiousPlay(monotone()).solve(tolerance=1e-4, iterations=20_000)
    assert result.stopped in (Stopped.TOLERANCE, Stopped.ITERATIONS)
    assert result.iterations > 1000


def test_it_stalls_when_nothing_changes() -> None:
    result = FixedPoint(Tabulated(pay=((1.0, 0.0),) * 3)).solve(tolerance=None, seconds=1e9, clock=lambda: 0.0)
    assert result.stopped is Stopped.STALL
    assert result.iterations <= 3


def test_a_solver_that_converges_says_so() -> None:
    solver = ThreeStepFixedPoint(Tabulated(pay=((1.0, 0.0),) * 3, discount=0.8), n_pairs=2)
    result = solver.solve(tolerance=None, iterations=10_000, stalls=False)
    assert result.stopped is Stopped.CONVERGED
    assert result.iterations < 10_000


def test_the_callback_is_told_and_obeyed() -> None:
    reports = []

    def callback(report):
        reports.append(report)
        return None if report.iteration < 10 else False

    result = OnlineMirrorDescent(monotone()).solve(tolerance=0.0, callback=callback, report_every=5)
    assert result.stopped is Stopped.CALLBACK
    assert [report.iteration for report in reports] == [0, 5, 10]
    assert tuple(reports) == result.history
    assert all(report.exploitability > 0 for report in reports)


@pytest.mark.parametrize("where", ["callback", "clock"])
def test_an_interrupt_keeps_the_best_so_far(where) -> None:
    solver = OnlineMirrorDescent(monotone(), learning_rate=0.3)

    raised = []

    def interrupt(*_):
        if solver.iteration >= 20 and not raised:
            raised.append(True)
            raise KeyboardInterrupt
        return 0.0

    given = {"callback": interrupt} if where == "callback" else {"clock": interrupt}
    try:
        result = solver.solve(tolerance=0.0, **given)
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C went through")
    assert result.stopped is Stopped.INTERRUPTED
    assert result.exploitability == min(report.exploitability for report in result.history)
    assert result.exploitability == solver.induced.exploitability(result.policy)
    whole = OnlineMirrorDescent(monotone(), learning_rate=0.3)
    whole.run(solver.iteration)
    assert solver.iteration >= 20
    assert_array_equal(solver.policy.probabilities, whole.policy.probabilities)


def test_the_result_is_the_best_policy_not_the_last() -> None:
    """Best responses to a uniform crowd are worse than the crowd."""
    result = FixedPoint(chases()).solve(tolerance=0.0, iterations=5)
    gaps = [report.exploitability for report in result.history]
    assert result.exploitability == min(gaps) < gaps[-1]
    assert FixedPoint(chases()).induced.exploitability(result.policy) == min(gaps)


def test_values_that_overflow_are_an_error() -> None:
    solver = OnlineMirrorDescent(Tabulated(pay=((1e308, 1e308),) * 3))
    with pytest.raises(ValueError, match="Tabulated overflow in iteration 1 of OnlineMirrorDescent"):
        solver.solve(tolerance=None, iterations=3)
    assert solver.iteration == 0
    assert_array_equal(solver.policy.probabilities, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": None}, "one of tolerance, seconds, iterations and callback must be given, got none"),
        ({"tolerance": -1.0}, r"tolerance must be a finite number in \[0, inf\), got -1"),
        ({"tolerance": math.nan}, "tolerance must be a finite number"),
        ({"seconds": 0.0}, r"seconds must be a finite number in \(0, inf\), got 0"),
        ({"iterations": -1}, "iterations must be an integer in"),
        ({"report_every": 0}, "report_every must be an integer in"),
    ],
)
def test_arguments_that_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        OnlineMirrorDescent(monotone()).solve(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callback": 3}, "callback must be a function of a Report, got 3"),
        ({"clock": 3}, "clock must be a function that returns the time, got 3"),
        ({"stalls": 1}, "stalls must be True or False, got 1"),
        ({"iterations": 2.5}, "iterations must be an integer in"),
    ],
)
def test_arguments_of_other_types_are_refused(arguments, message) -> None:
    with pytest.raises(TypeError, match=message):
        OnlineMirrorDescent(monotone()).solve(**arguments)


def test_a_result_does_not_change_later() -> None:
    solver = OnlineMirrorDescent(monotone())
    result = solver.solve(tolerance=None, iterations=3)
    before = result.policy.probabilities.copy()
    solver.run(10)
    assert_array_equal(result.policy.probabilities, before)
    assert np.abs(solver.policy.probabilities - before).max() > 1e-3
