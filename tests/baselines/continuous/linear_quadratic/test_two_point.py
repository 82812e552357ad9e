"""Two-point boundary-value problems whose solutions are known by heart."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from baselines.continuous.linear_quadratic.two_point import TwoPointProblem


def oscillators(frequencies, duration):
    """m' = -w y, y' = w m and y(T) = 0: m = m_0 cos(w (T - t)) / cos(w T), y = -m_0 sin(w (T - t)) / cos(w T)."""
    w, zero = np.diag(frequencies), np.zeros((len(frequencies),) * 2)
    return TwoPointProblem(np.block([[zero, -w], [w, zero]]), zero, duration)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e3, 1e9])
def test_paths_and_feedback_of_an_oscillator(unit):
    """Whatever the unit of y is; cos(7) = .75."""
    duration = 7.0
    problem = TwoPointProblem(np.array([[0.0, -1.0 / unit], [unit, 0.0]]), np.zeros((1, 1)), duration)
    assert problem.n_panels == 7
    times = np.linspace(0.0, duration, 50).reshape(2, 25)
    to_go = duration - times
    path = problem.path(np.array([2.0]))(times)
    assert_allclose(path[..., 0], 2 * np.cos(to_go) / math.cos(duration), rtol=1e-12, atol=1e-13)
    assert_allclose(path[..., 1] / unit, -2 * np.sin(to_go) / math.cos(duration), rtol=1e-12, atol=1e-13)
    assert_allclose(problem.feedback(times)[..., 0, 0] / unit, -np.tan(to_go), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("effect", "cost", "terminal"), [(0.0, 1.0, 2.0), (1.0, 0.0, 1e6), (0.0, 0.0, 0.0)])
def test_parts_of_the_matrix_may_vanish(effect, cost, terminal):
    """m' = -effect y, y' = -cost m: without effect, y = terminal + cost (T - t); without cost y stays."""
    problem = TwoPointProblem(np.array([[0.0, -effect], [-cost, 0.0]]), np.full((1, 1), terminal), 3.0)
    assert problem.n_panels <= 6
    first = problem.path(np.array([1.0]))(0.0)
    assert_allclose(first, [1.0, terminal / (1.0 + 3.0 * effect * terminal) + 3.0 * cost], rtol=1e-12)


def test_critical_horizons_are_found():
    assert_allclose(oscillators([1.0], 10.0).critical_horizons, np.array([1, 3, 5]) * math.pi / 2, rtol=1e-13)
    assert oscillators([1.0], 1.5).critical_horizons == ()
    for duration in np.linspace(2.0, 4.5, 30):  # Wherever they are within the panels.
        assert_allclose(oscillators([1.0], duration).critical_horizons, [math.pi / 2], rtol=1e-13)
    both = oscillators([1.0, 2.5], 1.6).critical_horizons
    assert_allclose(both, [math.pi / 5, math.pi / 2], rtol=1e-13)


@pytest.mark.parametrize("duration", [2.0, math.pi, 5.0, 5.3])
def test_two_roots_at_once_are_found_too(duration):
    expected = [k * math.pi / 2 for k in (1, 3) if k * math.pi / 2 < duration]
    assert_allclose(oscillators([1.0, 1.0], duration).critical_horizons, expected, rtol=1e-7)


def test_the_angle_vanishes_where_the_problem_is_singular():
    assert oscillators([1.0], math.pi / 2).angle < 1e-15
    assert oscillators([1.0], 1.5).angle == pytest.approx(math.cos(1.5), rel=1e-12)


def test_long_horizons_keep_their_digits():
    """m'' = m with y(T) = 0: m = cosh(T - t) / cosh(T), of which e^1000 would overflow."""
    problem = TwoPointProblem(np.array([[0.0, -1.0], [-1.0, 0.0]]), np.zeros((1, 1)), 1000.0)
    times = np.array([0.0, 1.0, 20.0])
    path = problem.path(np.array([1.0]))(times)
    assert_allclose(path, np.exp(-times)[:, None] * [1.0, 1.0], rtol=1e-12)
    assert problem.critical_horizons == ()


def test_too_many_panels_are_refused():
    with pytest.raises(ValueError, match="duration times the rates of the linear system must be at most 100000"):
        TwoPointProblem(np.array([[0.0, -1.0], [-1.0, 0.0]]), np.zeros((1, 1)), 1e6)
