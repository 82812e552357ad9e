"""The social optimum against a numerical optimisation that knows nothing of it, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_quadratic_games import one, parameters, three, two
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from baselines.continuous.linear_quadratic import (
    competitive_equilibrium,
    population_costs,
    price_of_anarchy,
    social_optimum,
)

TWO, THREE = social_optimum(two()), social_optimum(three())


def total_costs(game, batch, n_steps=40):
    """Total cost of affine feedbacks u = -(g x + o), by Runge-Kutta steps of the moments.

    ``batch`` (k, 2, n_types, degree + 1) holds polynomials in t / T: gains, then constants.
    """
    a, b, kappa, sigma, q, r, s, last = parameters(game)
    share, dt = np.array(game.proportions), game.duration / n_steps

    def rates(time, m, v):
        g, o = (np.polynomial.polynomial.polyval(time / game.duration, batch[:, k].T).T for k in range(2))
        g, o = g.reshape(m.shape), o.reshape(m.shape)
        xbar = (m @ share)[:, None]
        cost = 0.5 * q * (m**2 + v) + 0.5 * r * (g**2 * v + (g * m + o) ** 2) + s * m * xbar
        own = a - b * g
        return own * m - b * o + kappa * xbar, 2 * own * v + sigma**2, cost @ share

    m = np.tile(game.initial_mean, (len(batch), 1))
    v = np.tile(game.initial_variance, (len(batch), 1))
    total = np.zeros(len(batch))
    for h in range(n_steps):
        time = h * dt
        one_ = rates(time, m, v)
        two_ = rates(time + dt / 2, m + dt / 2 * one_[0], v + dt / 2 * one_[1])
        three_ = rates(time + dt / 2, m + dt / 2 * two_[0], v + dt / 2 * two_[1])
        four = rates(time + dt, m + dt * three_[0], v + dt * three_[1])
        m, v, total = (
            x + dt / 6 * (p + 2 * q_ + 2 * r_ + s_)
            for x, p, q_, r_, s_ in zip((m, v, total), one_, two_, three_, four, strict=True)
        )
    return total + 0.5 * (m**2 + v) @ (share * last)


@pytest.mark.parametrize("solution", [TWO, THREE], ids=["two", "three"])
def test_no_numerical_optimisation_over_affine_feedbacks_finds_a_better_one(solution):
    """Polynomials of the fifth degree come within 1e-5 of the optimum, and not below it."""
    game, n = solution.game, len(solution.game.types)
    shape = (2, n, 6)

    def value_and_slope(x):
        points = np.concatenate([[x], x + 1e-5 * np.eye(len(x)), x - 1e-5 * np.eye(len(x))])
        values = total_costs(game, points.reshape(-1, *shape))
        return values[0], (values[1 : len(x) + 1] - values[len(x) + 1 :]) / 2e-5

    found = minimize(value_and_slope, np.zeros(np.prod(shape)), jac=True, method="BFGS", options={"maxiter": 300})
    assert solution.total_cost - 2e-7 < found.fun < solution.total_cost + 1e-5
    assert competitive_equilibrium(game).total_cost > found.fun + 1e-3


@settings(max_examples=20)
@given(st.sampled_from([TWO, THREE]), st.integers(0, 2**32 - 1))
def test_no_random_change_of_the_feedback_lowers_the_total_cost(solution, seed):
    rng, response = np.random.default_rng(seed), solution.parameters.response
    g, o = 10.0 ** rng.uniform(-3, 0) * rng.standard_normal((2, 2, len(response)))
    costs = population_costs(
        solution.game,
        lambda t: response * solution.riccati(t) + g[0] + g[1] * t,
        lambda t: response * solution.xi(t) + o[0] + o[1] * t,
    )
    assert solution.parameters.share @ costs > solution.total_cost


@pytest.mark.parametrize("solution", [TWO, THREE], ids=["two", "three"])
def test_the_feedback_costs_what_it_should(solution):
    response = solution.parameters.response
    costs = population_costs(
        solution.game, lambda t: response * solution.riccati(t), lambda t: response * solution.xi(t)
    )
    assert_allclose(costs, solution.costs, atol=1e-10)


def test_without_coupling_the_equilibrium_is_optimal():
    game = two(coupling=(0.0, 0.0), coupling_cost=(0.0, 0.0))
    assert_allclose(social_optimum(game).costs, competitive_equilibrium(game).costs, atol=1e-13)
    assert price_of_anarchy(game) == pytest.approx(1.0, abs=1e-13)


def test_one_type_by_hand():
    """r = 1, q = 0, s = 1/2, no noise: the planner has m' = -y, y' = -2 s m; a selfish agent y' = -s m.

    y(T) = 0 makes m = cosh(w (T - t)) / cosh(w T) with w^2 = 2 s or s, and y = w sinh(w (T - t)) / cosh(w T).
    """
    game = one(duration=1.5, state_cost=0.0, coupling_cost=0.5, initial_variance=0.0)
    times = np.linspace(0.0, 1.5, 20_001)
    costs = []
    for solution, w in ((social_optimum(game), 1.0), (competitive_equilibrium(game), math.sqrt(0.5))):
        m, y = np.cosh(w * (1.5 - times)) / math.cosh(1.5 * w), w * np.sinh(w * (1.5 - times)) / math.cosh(1.5 * w)
        assert_allclose(solution.mean(times)[:, 0], m, rtol=1e-12)
        costs.append(np.trapezoid(y**2 / 2 + m**2 / 2, times))
        assert solution.costs[0] == pytest.approx(costs[-1], rel=1e-8)
    assert price_of_anarchy(game) == pytest.approx(costs[1] / costs[0], rel=1e-8)
    assert costs[1] > 1.01 * costs[0]


def test_an_unbounded_problem_is_refused_with_its_horizon():
    """q = 1, s = -1: the planner's y' = m turns m' = -y into an oscillator, conjugate at pi / 2."""
    assert social_optimum(one(duration=1.5, coupling_cost=-1.0)).total_cost < 0.6
    for duration in (1.6, 4.0):
        with pytest.raises(ValueError, match=r"costs are unbounded below from a duration of 1\.57079633 on, got"):
            social_optimum(one(duration=duration, coupling_cost=-1.0))


def test_a_ratio_of_negative_costs_is_refused():
    game = one(duration=1.0, state_cost=0.2, coupling_cost=-0.9, initial_variance=0.0)
    with pytest.raises(ValueError, match=r"ratio of positive costs, but the optimal cost is -2\.00273"):
        price_of_anarchy(game)


def test_an_agent_of_the_social_optimum_has_no_zeta():
    with pytest.raises(ValueError, match="zeta is defined in the competitive equilibrium"):
        TWO.zeta(0.0)
