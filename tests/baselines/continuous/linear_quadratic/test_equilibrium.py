"""The competitive equilibrium against published digits, scipy's boundary-value solver, and its own optimality."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_quadratic_games import one, parameters, three, two
from numpy.testing import assert_allclose
from scipy import linalg
from scipy.integrate import simpson, solve_bvp, solve_ivp

from baselines.continuous.linear_quadratic import competitive_equilibrium, critical_horizons, deviation_cost
from mfenvs import make

TWO, THREE = competitive_equilibrium(two()), competitive_equilibrium(three())


def test_the_known_answer():
    assert_allclose(TWO.riccati(0.0), [0.813406, 0.493481], atol=5e-7)
    assert_allclose(TWO.xi(0.0), [0.1159375, 0.0713902], atol=5e-8)
    assert_allclose(TWO.costs, [0.67853438, 0.24482372], atol=5e-9)
    assert TWO.total_cost == pytest.approx(0.7 * 0.67853438 + 0.3 * 0.24482372, abs=1e-8)


def by_scipy(game):
    """The equilibrium's P, xi, zeta and m, and the costs, by collocation of the equations as they are stated."""
    a, b, kappa, sigma, q, r, s, last = (x[:, None] for x in parameters(game))
    share, strength, n = np.array(game.proportions), b**2 / r, len(a)

    def rates(times, values):
        p, xi, _, m = values.reshape(4, n, -1)
        xbar = share @ m
        return np.concatenate(
            [
                -(q + 2 * a * p - strength * p**2),
                -((a - strength * p) * xi + (s + kappa * p) * xbar),
                -(kappa * xbar * xi - strength * xi**2 / 2 + sigma**2 * p / 2),
                (a - strength * p) * m - strength * xi + kappa * xbar,
            ]
        )

    def ends(first, final):
        at_end = [final[:n] - last[:, 0], final[n : 2 * n], final[2 * n : 3 * n]]
        return np.concatenate([*at_end, first[3 * n :] - game.initial_mean])

    times = np.linspace(0.0, game.duration, 41)
    found = solve_bvp(rates, ends, times, np.full((4 * n, 41), 0.1), tol=1e-9, max_nodes=20_000)
    assert found.success
    return found.sol


@pytest.mark.parametrize("solution", [TWO, THREE], ids=["two", "three"])
def test_scipys_boundary_value_solver_finds_the_same(solution):
    game = solution.game
    path, n = by_scipy(game), len(game.types)
    times = np.linspace(0.0, game.duration, 23)
    p, xi, zeta, m = path(times).reshape(4, n, -1)
    assert_allclose(solution.riccati(times), p.T, atol=2e-8)
    assert_allclose(solution.xi(times), xi.T, atol=2e-8)
    assert_allclose(solution.zeta(times), zeta.T, atol=2e-8)
    assert_allclose(solution.mean(times), m.T, atol=2e-8)
    first = np.array(game.initial_mean)
    costs = p[:, 0] * (np.array(game.initial_variance) + first**2) / 2 + xi[:, 0] * first + zeta[:, 0]
    assert_allclose(solution.costs, costs, atol=2e-8)


@pytest.mark.parametrize("solution", [TWO, THREE], ids=["two", "three"])
def test_the_boundary_value_problem_is_solved_to_ten_digits(solution):
    """Integrated forward from its first values, m and xi arrive where they should."""
    a, b, kappa, _, _, r, s, _ = parameters(solution.game)
    share, strength, n = np.array(solution.game.proportions), b**2 / r, len(a)

    def rates(time, values):
        m, xi, p = values[:n], values[n:], solution.riccati(time)
        xbar = share @ m
        own = a - strength * p
        return np.concatenate([own * m - strength * xi + kappa * xbar, -own * xi - (s + kappa * p) * xbar])

    times = np.linspace(0.0, solution.game.duration, 17)
    start = np.concatenate([solution.game.initial_mean, solution.xi(0.0)])
    path = solve_ivp(rates, (0.0, times[-1]), start, "DOP853", times, rtol=1e-13, atol=1e-14).y
    assert_allclose(np.concatenate([solution.mean(times), solution.xi(times)], axis=1), path.T, atol=1e-10)
    assert_allclose(solution.xi(times[-1]), 0.0, atol=1e-14)


@pytest.mark.parametrize("solution", [TWO, THREE], ids=["two", "three"])
def test_variances_are_those_of_the_linear_equation(solution):
    a, b, _, sigma, _, r, _, _ = parameters(solution.game)
    times = np.linspace(0.0, solution.game.duration, 9)
    path = solve_ivp(
        lambda t, v: 2 * (a - b**2 / r * solution.riccati(t)) * v + sigma**2,
        (0.0, times[-1]),
        solution.game.initial_variance,
        "DOP853",
        times,
        rtol=1e-11,
        atol=1e-13,
    )
    assert_allclose(solution.variance(times), path.y.T, atol=1e-11)


def test_controls_are_the_feedback():
    """b / r = 2.4 for the PV owners."""
    p, xi = TWO.riccati(0.5)[1], TWO.xi(0.5)[1]
    assert_allclose(TWO.control(0.5, [[1.0, -2.0]], 1), [[-2.4 * (p + xi), -2.4 * (-2 * p + xi)]])
    followed = TWO.xi_of_means(0.5)[1] @ [0.3, -0.4]
    assert_allclose(TWO.control(0.5, [1.0], 1, means=[0.3, -0.4]), [-2.4 * (p + followed)])
    assert_allclose(TWO.control(0.5, 1.0, 1, TWO.mean(0.5)), TWO.control(0.5, 1.0, 1))


def feedback_with(solution, kind, change):
    """The equilibrium feedback of a type plus ``change(t)``, in the coefficients of (x, m, 1)."""
    response = solution.parameters.response[kind]

    def feedback(time):
        own = np.zeros(len(solution.game.types) + 2)
        own[0], own[-1] = response * solution.riccati(time)[kind], response * solution.xi(time)[kind]
        return own + change(time)

    return feedback


@pytest.mark.parametrize(("solution", "kind"), [(TWO, 0), (TWO, 1), (THREE, 0), (THREE, 1), (THREE, 2)])
def test_the_equilibrium_feedback_costs_what_it_should(solution, kind):
    assert deviation_cost(solution, kind, feedback_with(solution, kind, lambda t: 0.0)) == pytest.approx(
        solution.costs[kind], abs=1e-10
    )


@settings(max_examples=25)
@given(st.sampled_from([(TWO, 0), (TWO, 1), (THREE, 0), (THREE, 2)]), st.integers(0, 2**32 - 1))
def test_no_random_deviation_of_the_feedback_lowers_the_cost(which, seed):
    solution, kind = which
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-3, 0.5)
    level, slope = size * rng.standard_normal((2, len(solution.game.types) + 2))
    cost = deviation_cost(solution, kind, feedback_with(solution, kind, lambda t: level + slope * (t - 1.0)))
    assert cost > solution.costs[kind]


@pytest.mark.parametrize(("solution", "kind"), [(TWO, 0), (TWO, 1), (THREE, 0), (THREE, 1), (THREE, 2)])
def test_dropping_xi_costs_half_of_s_times_its_square(solution, kind):
    """J without xi less J is S / 2 times the integral of xi^2 [R: b^2 / (2 r) int xi^2]."""
    _, b, _, _, _, r, _, _ = parameters(solution.game)

    def without(time):
        change = np.zeros(len(solution.game.types) + 2)
        change[-1] = -solution.parameters.response[kind] * solution.xi(time)[kind]
        return change

    times = np.linspace(0.0, solution.game.duration, 2001)
    expected = b[kind] ** 2 / r[kind] / 2 * simpson(solution.xi(times)[:, kind] ** 2, x=times)
    found = deviation_cost(solution, kind, feedback_with(solution, kind, without)) - solution.costs[kind]
    assert found == pytest.approx(expected, abs=1e-10)
    assert expected > 1e-4


def test_the_horizons_at_which_uniqueness_is_lost():
    """q = 1 and s = -2: m' = -y, y' = m, of which m(0) = 1 and y(T) = 0 have no solution at T = pi / 2."""
    game = one(duration=10.0, coupling_cost=-2.0)
    assert_allclose(critical_horizons(game), np.array([1, 3, 5]) * math.pi / 2, rtol=1e-12)
    with pytest.raises(
        ValueError,
        match=r"the equilibrium is not unique: uniqueness is lost at the duration 1\.57079633, got duration",
    ):
        competitive_equilibrium(one(duration=math.pi / 2, coupling_cost=-2.0))
    with pytest.raises(ValueError, match=r"uniqueness is lost at the duration 4\.71238898"):
        competitive_equilibrium(one(duration=3 * math.pi / 2, coupling_cost=-2.0))
    solution = competitive_equilibrium(one(duration=2.0, coupling_cost=-2.0))
    times = np.linspace(0.0, 2.0, 9)
    assert_allclose(solution.mean(times)[:, 0], np.cos(2 - times) / math.cos(2), rtol=1e-12)
    with pytest.raises(ValueError, match=r"with the time to go 1\.5708"):
        solution.xi_of_means(0.0)
    assert critical_horizons(two()) == ()


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9, 11])
def test_a_horizon_that_ends_where_uniqueness_is_lost(k):
    """To the last digits: how the determinant there is rounded, and so its sign, hangs on the processor."""
    duration = k * math.pi / 2
    for _ in range(4):
        duration = math.nextafter(duration, 0.0)
    for _ in range(9):
        found = critical_horizons(one(duration=duration, coupling_cost=-2.0))
        expected = np.arange(1, k + 1, 2) * math.pi / 2
        assert_allclose(found, expected[: len(found)], rtol=1e-12)
        assert len(found) == len(expected)
        duration = math.nextafter(duration, math.inf)


def test_a_type_whose_costs_are_unbounded_is_named():
    """Half of pi over the square root of 1.44 / .5 is .925601."""
    game = two(state_cost=(1.0, -1.0), terminal_cost=(0.5, 0.0), drift=(0.0, 0.0))
    with pytest.raises(ValueError, match=r"type 'pv' are unbounded below: .* 0\.925601, which is at t = 1\.0744"):
        competitive_equilibrium(game)


def test_long_horizons_end_in_the_stationary_feedback():
    """xi(0) = (Pi - P) m_0 with the stabilising solution Pi of the algebraic equation, by Schur vectors."""
    game = two(duration=60.0)
    a, b, kappa, _, q, r, s, _ = parameters(game)
    share = np.array(game.proportions)
    flow = np.block(
        [
            [np.diag(a) + np.outer(kappa, share), -np.diag(b**2 / r)],
            [-np.diag(q) - np.outer(s, share), -np.diag(a)],
        ]
    )
    _, vectors, n_stable = linalg.schur(flow, sort="lhp")
    assert n_stable == 2
    pi = vectors[2:, :2] @ np.linalg.inv(vectors[:2, :2])
    solution = competitive_equilibrium(game)
    assert_allclose(solution.costate(0.0), pi @ game.initial_mean, rtol=1e-12)
    assert_allclose(solution.problem.feedback(0.0), pi, rtol=1e-12)
    assert abs(solution.mean(30.0)).max() < 1e-9
    later = competitive_equilibrium(two(duration=90.0))
    assert_allclose(later.costs - solution.costs, 15.0 * np.array([0.4, 0.6]) ** 2 * later.riccati(0.0), rtol=1e-9)


def test_times_and_games_are_checked():
    with pytest.raises(ValueError, match=r"times must be in \[0, 2\], got 0 to 2.1"):
        TWO.xi([0.0, 2.1])
    with pytest.raises(ValueError, match="times"):
        TWO.mean(-0.1)
    with pytest.raises(TypeError, match="game must be a LinearQuadratic game, got Epidemic"):
        competitive_equilibrium(make("Epidemic-v0", n_agents=2))
    with pytest.raises(ValueError, match=r"kind must be an integer in \[0, 1\], got 2"):
        TWO.control(0.0, 1.0, 2)
    with pytest.raises(ValueError, match=r"means must have shape \(2,\), got \(3,\)"):
        TWO.control(0.0, 1.0, 0, [1.0, 2.0, 3.0])


def test_results_have_the_shape_of_the_times():
    times = np.zeros((2, 3))
    for function in (TWO.mean, TWO.costate, TWO.xi, TWO.variance, TWO.zeta, TWO.riccati):
        assert function(times).shape == (2, 3, 2)
        assert function(0.0).shape == (2,)
    assert TWO.xi_of_means(times).shape == (2, 3, 2, 2)
