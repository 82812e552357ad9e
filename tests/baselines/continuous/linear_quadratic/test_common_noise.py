"""Under common noise the gains stay, and xi follows the means given the common noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_quadratic_games import euler_costs, extrapolated, parameters, three, two
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

from baselines.continuous.linear_quadratic import competitive_equilibrium, deviation_cost, social_optimum

NOISY = {
    "two": competitive_equilibrium(two(common_volatility=0.4)),
    "three": competitive_equilibrium(three(common_volatility=0.3)),
    "planner": social_optimum(three(common_volatility=0.3)),
}
each = pytest.mark.parametrize("name", NOISY)


def rows_of(solution):
    """The feedback of all types, in the coefficients of (x, m, 1)."""
    n, response = len(solution.game.types), solution.parameters.response

    def feedback(time):
        rows = np.zeros((n, n + 2))
        rows[:, 0], rows[:, 1:-1] = (
            response * solution.riccati(time),
            response[:, None] * solution.xi_of_means(time),
        )
        return rows

    return feedback


@pytest.mark.parametrize("make_game", [two, three])
@pytest.mark.parametrize("solve", [competitive_equilibrium, social_optimum])
def test_the_gains_are_those_without_common_noise_and_follow_the_mean_to_the_same_xi(make_game, solve):
    quiet, noisy = solve(make_game()), solve(make_game(common_volatility=0.7))
    times = np.linspace(0.0, quiet.game.duration, 11)
    assert_array_equal(noisy.riccati(times), quiet.riccati(times))
    assert_array_equal(noisy.xi_of_means(times), quiet.xi_of_means(times))
    assert_allclose(
        np.einsum("tij,tj->ti", quiet.xi_of_means(times), quiet.mean(times)), quiet.xi(times), atol=1e-13
    )


@each
def test_the_feedback_on_means_solves_its_riccati_equation(name):
    """-Pi' = Pi A + A' Pi ... with the matrices of either problem, integrated backward."""
    solution = NOISY[name]
    a, b, kappa, _, q, r, s, last = parameters(solution.game)
    share = np.array(solution.game.proportions)
    flow, of_mean = np.diag(a) + np.outer(kappa, share), np.outer(s, share)
    back, cost = np.diag(a), np.diag(q) + of_mean
    if not solution.is_equilibrium:
        back, cost = back + np.outer(np.ones(3), share * kappa), cost + np.outer(np.ones(3), share * s)

    def rate(to_go, values):
        pi = values.reshape(len(a), len(a))
        return (back @ pi + pi @ flow + cost - pi @ np.diag(b**2 / r) @ pi).ravel()

    times = np.linspace(0.0, solution.game.duration, 7)
    path = solve_ivp(
        rate, (0.0, times[-1]), np.diag(last).ravel(), "DOP853", times[-1] - times[::-1], rtol=1e-12, atol=1e-13
    )
    expected = path.y.T[::-1].reshape(-1, len(a), len(a)).copy()
    for pi, p in zip(expected, solution.riccati(times), strict=True):
        pi -= np.diag(p)
    assert_allclose(solution.xi_of_means(times), expected, atol=1e-10)


@each
def test_costs_are_those_of_the_gaussian_means(name):
    solution = NOISY[name]
    expected = extrapolated(lambda n: euler_costs(solution.game, rows_of(solution), n), 25)
    assert_allclose(solution.costs, expected, rtol=1e-5)
    if solution.is_equilibrium:
        for kind, cost in enumerate(solution.costs):
            found = deviation_cost(solution, kind, lambda t, kind=kind: rows_of(solution)(t)[kind])
            assert found == pytest.approx(cost, abs=1e-9)


@settings(max_examples=20)
@given(st.sampled_from(["two", "three"]), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_no_random_change_of_the_gains_lowers_the_cost(name, kind, seed):
    """By exact moments; also of the gains on the means alone."""
    solution = NOISY[name]
    n = len(solution.game.types)
    kind %= n
    rng, feedback = np.random.default_rng(seed), rows_of(solution)
    level, slope = 10.0 ** rng.uniform(-2.5, 0.0) * rng.standard_normal((2, n + 2))
    if seed % 2:
        level[[0, -1]], slope[[0, -1]] = 0.0, 0.0
    cost = deviation_cost(solution, kind, lambda t: feedback(t)[kind] + level + slope * (t - 1.0))
    assert cost > solution.costs[kind]


def test_not_following_the_means_costs_more():
    solution = NOISY["two"]
    response = solution.parameters.response
    for kind in range(2):

        def fixed(time, kind=kind):
            gain, xi = solution.riccati(time)[kind], solution.xi(time)[kind]
            return response[kind] * np.array([gain, 0.0, 0.0, xi])

        assert deviation_cost(solution, kind, fixed) > solution.costs[kind] + 1e-3


def test_the_planner_does_better_under_common_noise_too():
    noisy = NOISY["three"]
    assert NOISY["planner"].total_cost < noisy.total_cost - 1e-3
    quiet = competitive_equilibrium(three())
    assert np.all(noisy.costs > quiet.costs)


def test_variances_have_the_part_of_the_common_noise():
    """Near the start it is sigma_0^2 t."""
    quiet, noisy = competitive_equilibrium(two()), NOISY["two"]
    added = noisy.variance([0.0, 1e-4]) - quiet.variance([0.0, 1e-4])
    assert_allclose(added, [[0.0, 0.0], [1.6e-5, 1.6e-5]], rtol=1e-3, atol=1e-12)


def test_zeta_is_not_a_function_of_time_alone():
    with pytest.raises(ValueError, match="without common noise"):
        NOISY["two"].zeta(0.0)
