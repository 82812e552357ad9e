"""Going down beside the barrier path: the shapes of its steps, and where it ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfenvs import FiniteGame, InducedGame
from mfenvs.games.classic.crowd_modelling import CrowdModelling
from mfenvs.games.classic.left_right import LeftRight
from mfenvs.games.classic.linear_quadratic import LinearQuadraticChain
from mfenvs.meanfield.equilibrium import descent
from mfenvs.meanfield.equilibrium.barrier import BarrierProblem, Point, follow
from mfenvs.meanfield.equilibrium.descent import corrected, descend_by_curves, lowered
from mfenvs.meanfield.equilibrium.sensitivity import Sensitivity


def problem_of(game: FiniteGame) -> BarrierProblem:
    induced = InducedGame(game)
    sensitivity = Sensitivity(induced, np.random.default_rng(0))
    return BarrierProblem(induced, sensitivity, induced.uniform_policy())


def start_of(problem: BarrierProblem) -> Point:
    return Point(problem.induced.uniform_policy(), problem.first_eps())


@pytest.mark.parametrize(
    "game",
    [CrowdModelling(), pytest.param(LinearQuadraticChain(pull=0.9), marks=pytest.mark.slow)],
    ids=lambda game: type(game).__name__,
)
def test_a_descent_ends_where_the_path_does(game: FiniteGame) -> None:
    problem = problem_of(game)
    *_, below = descend_by_curves(problem, start_of(problem), 1e-7)
    n_systems, problem.n_newton = problem.n_newton, 0
    *_, end = follow(problem, start_of(problem), 1e-7)
    assert end is not None
    assert below.eps == pytest.approx(1e-7)
    assert problem.induced.exploitability(below.policy) <= 1.03 * problem.bound * 1e-7
    free = problem.is_free
    np.testing.assert_allclose(below.policy[free], end.policy[free], rtol=0.05, atol=1e-4)
    assert n_systems <= 0.6 * problem.n_newton  # which is what it is for


def test_slacks_that_do_not_change_are_met_in_one_step() -> None:
    """Newton's step for pi s = kappa with a given s is d = 1 - pi s / kappa. Then kappa / s = pi / (1 - d)."""
    policy, right = np.array([0.5, 0.01, 0.001]), np.array([0.001, 0.004, 0.005])
    step = 1.0 - policy / right
    np.testing.assert_allclose(policy[:2] * np.exp(corrected(policy, step)[:2]), right[:2], rtol=1e-12)
    # From below, a slack is not reduced to less than a fifth at once.
    assert math.exp(corrected(policy, step)[2]) == pytest.approx(5.0)


def test_small_steps_are_newtons() -> None:
    rng = np.random.default_rng(1)
    policy, step = rng.random((2, 3, 4)), 1e-5 * rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(corrected(policy, step), step, rtol=1e-4, atol=0.0)


def path_of_one_decision(eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Log pi and its derivative by log eps where one of two actions pays 1 less.

    With the slack s of the better one, eps / s + eps / (s + 1) = 2, which is 2 s^2 + (2 - 2 eps) s = eps.
    """
    s = eps / (1.0 - eps + math.sqrt((1.0 - eps) ** 2 + 2.0 * eps))
    ds = (1.0 + 2.0 * s) / (4.0 * s + 2.0 - 2.0 * eps)
    slacks = np.array([s, s + 1.0])
    return np.log(0.5 * eps / slacks), 1.0 - eps * ds / slacks


@pytest.mark.parametrize("eps", [1e-2, 1e-4])
def test_the_path_of_one_decision_is_predicted(eps: float) -> None:
    """Errors of the likely action are of second order in eps, and those of a straight line of first order."""
    log_policy, along = path_of_one_decision(eps)
    step = 1e-5
    ahead, behind = path_of_one_decision(eps * math.exp(step))[0], path_of_one_decision(eps * math.exp(-step))[0]
    np.testing.assert_allclose(along, (ahead - behind) / (2.0 * step), rtol=1e-6, atol=1e-9)
    fall = 5.0
    change = path_of_one_decision(eps * math.exp(-fall))[0] - log_policy
    error = np.abs(lowered(along, fall, 0.1) - change)
    assert error[0] < 2.0 * eps**2
    assert np.abs(-fall * along - change)[0] > eps
    assert error[1] < 0.05  # it is told from a likely action by degrees


@given(st.floats(-3.0, 3.0), st.floats(0.0, 6.0), st.sampled_from(descent.TURNING))
def test_a_fall_starts_along_the_path(along: float, fall: float, turning: float) -> None:
    def change(fall: float) -> float:
        return float(lowered(np.array([along]), fall, turning)[0])

    assert change(0.0) == 0.0
    assert change(1e-6) == pytest.approx(-1e-6 * along, rel=1e-4, abs=1e-11)
    assert math.isfinite(change(fall))
    # A likely action cannot lose more than an unlikely one, which is proportional to eps.
    if 0.0 <= along <= 1.0:
        assert -fall - 1e-12 <= change(fall) <= 0.0


def test_steps_down_that_fail_are_taken_back_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below some eps nothing is found: the descent ends with the last policy above it."""
    problem, wall = problem_of(LeftRight()), 1e-3
    directions, below = problem.directions, []

    def failing(policy, eps, errors):
        if eps < wall:
            below.append(eps)
            raise np.linalg.LinAlgError("no directions")
        return directions(policy, eps, errors)

    monkeypatch.setattr(problem, "directions", failing)
    *_, last = descend_by_curves(problem, start_of(problem), 1e-9)
    assert len(below) == 1 + descent.MOST_RETREATS
    assert max(below) < wall <= last.eps
    assert problem.size(problem.errors(last.policy, last.eps)) < 1.0


def test_a_descent_without_a_first_point_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(LeftRight())

    def failing(policy, eps, errors):
        raise np.linalg.LinAlgError("no directions")

    monkeypatch.setattr(problem, "directions", failing)
    assert list(descend_by_curves(problem, start_of(problem), 1e-9)) == []
