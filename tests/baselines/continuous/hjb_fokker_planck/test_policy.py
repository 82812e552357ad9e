"""Feedback policies: interpolation, and actions for observations."""

import numpy as np
import pytest
from continuous_games import walks

from baselines.continuous.hjb_fokker_planck import FeedbackPolicy, Grid, StateTypeTime, solve

T, X = np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.0, 1.0, 2.0])


def bilinear(kind: int, t: float, x: float) -> float:
    return 2.0 * t - 3.0 * x + t * x + 10.0 * kind


def policy(read=None) -> FeedbackPolicy:
    table = [[[bilinear(kind, t, x) for x in X] for t in T] for kind in range(2)]
    return FeedbackPolicy(T, X, table, read)


def test_controls_are_bilinear_between_grid_points_and_constant_beyond() -> None:
    rng = np.random.default_rng(0)
    t, x, kind = rng.uniform(0, 2, 50), rng.uniform(-1, 2, 50), rng.integers(0, 2, 50)
    exact = [bilinear(*point) for point in zip(kind, t, x, strict=True)]
    np.testing.assert_allclose(policy()(t, x, kind), exact, atol=1e-12)
    assert policy()(2.0, 2.0, 1) == pytest.approx(bilinear(1, 2.0, 2.0))
    assert policy()(-5.0, 9.0, 0) == pytest.approx(bilinear(0, 0.0, 2.0))
    assert policy()(7.0, -9.0, 0) == pytest.approx(bilinear(0, 2.0, -1.0))
    assert policy()(T[:, None], X, 0).shape == (3, 4)


def test_predict_reads_state_type_and_elapsed_time() -> None:
    observations = np.array([[0.5, 1, 0, 0.25, 99.0], [1.5, 0, 1, 1.0, 98.0]], np.float32)
    actions, memory = policy().predict(observations)
    assert memory is None
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions, [[bilinear(0, 0.5, 0.5)], [bilinear(1, 2.0, 1.5)]])
    single, _ = policy().predict(observations[1], deterministic=True)
    assert single.shape == (1,)
    worlds, _ = policy().predict(np.stack([observations, observations[::-1]]))
    np.testing.assert_array_equal(worlds, [actions, actions[::-1]])


def test_another_reading_of_observations() -> None:
    time_first = policy(lambda rows: (rows[:, 0], rows[:, 1], np.ones(len(rows), int)))
    np.testing.assert_allclose(time_first.predict([1.5, 0.5])[0], [bilinear(1, 1.5, 0.5)])


def test_an_equilibriums_policy_has_its_controls() -> None:
    found = solve(walks(), Grid(low=-2, high=2, n_cells=20, n_steps=10))
    t, x = np.meshgrid(found.t, found.x, indexing="ij")
    np.testing.assert_allclose(found.policy()(t, x, 0), found.controls[0], atol=1e-12)
    action, _ = found.policy().predict(np.array([found.x[3], 1.0, found.t[4] / 0.5]))
    np.testing.assert_allclose(action, found.controls[0, 4, 3], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((T, X, np.zeros((2, 3, 3))), ValueError, r"controls must have shape \(n_types, 3, 4\), n_types > 0, got"),
        ((T, X, np.zeros((0, 3, 4))), ValueError, r"controls must have shape \(n_types, 3, 4\), n_types > 0, got"),
        ((T, X, np.zeros((3, 4))), ValueError, r"controls must have shape \(n_types, 3, 4\)"),
        ((T, X, np.full((1, 3, 4), np.nan)), ValueError, r"controls\[0, 0, 0\] must be finite, got nan"),
        ((T, [0.0, 1.0, 3.0, 4.0], np.zeros((1, 3, 4))), ValueError, "x must be at least 2 numbers increasing"),
        ((T[::-1], X, np.zeros((1, 3, 4))), ValueError, "t must be at least 2 numbers increasing by equal steps"),
        ((T[:1], X, np.zeros((1, 1, 4))), ValueError, "t must be at least 2 numbers increasing by equal steps"),
        ((T, X, np.zeros((1, 3, 4)), 3), TypeError, "read must be a function, got 3"),
    ],
)
def test_wrong_tables_are_named(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        FeedbackPolicy(*arguments)


@pytest.mark.parametrize(
    ("observation", "read", "error", "message"),
    [
        ([0.0, 1.0, 0.0], None, ValueError, r"observation must have shape \(..., at least 4\), got \(..., 3\)"),
        ([0.0, 1.0, 0.0, np.nan], None, ValueError, r"observation\[3\] must be finite, got nan"),
        (3.0, None, ValueError, r"observation must have shape \(..., n_features\), got \(\)"),
        (["a"], None, TypeError, "observation must be"),
        (
            [0.0],
            lambda rows: ([0.0] * 3, [0.0] * 3, [0] * 3),
            ValueError,
            r"read must return arrays of shape \(1,\)",
        ),
        ([0.0], lambda rows: ([0.0], [0.0], [2]), ValueError, r"kind\[0\] must be an integer in \[0, 1\], got 2"),
        ([0.0], lambda rows: ([0.0], [0.0], [0.5]), TypeError, "kind must be integers"),
        ([0.0], lambda rows: ([np.inf], [0.0], [0]), ValueError, r"t\[0\] must be finite, got inf"),
    ],
)
def test_wrong_observations_are_named(observation, read, error, message) -> None:
    with pytest.raises(error, match=message):
        policy(read).predict(observation)


def test_wrong_parameters_of_the_reading_are_named() -> None:
    with pytest.raises(ValueError, match="n_types must be an integer >= 1, got 0"):
        StateTypeTime(0, 1.0)
    with pytest.raises(ValueError, match="horizon must be"):
        StateTypeTime(1, 0.0)
