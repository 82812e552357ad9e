"""Exact moments of the scheme, and the game as input of the solver of its partial differential equations."""

import numpy as np
import pytest
from linear_quadratic_games import one, three, two

from baselines.continuous.hjb_fokker_planck import Grid, solve
from baselines.continuous.linear_quadratic import (
    LinearQuadraticPolicy,
    competitive_equilibrium,
    continuous_game,
    scheme_gains,
    scheme_moments,
    social_optimum,
)
from mfenvs import Engine


@pytest.mark.parametrize("transition", ["euler", "exact"])
@pytest.mark.parametrize("solve_game", [competitive_equilibrium, social_optimum])
def test_means_are_those_of_agents_without_noise(transition, solve_game) -> None:
    """Without noise and with equal starts, ten agents of each game follow the means in single precision."""
    for make_game in (two, three):
        n = 2 if make_game is two else 3
        game = make_game(n_agents=10, horizon=7, transition=transition)
        quiet = make_game(
            n_agents=10, horizon=7, transition=transition, volatility=(0.0,) * n, initial_variance=(0.0,) * n
        )
        means, _ = scheme_moments(solve_game(game))
        _check_path(solve_game(quiet), means)


def _check_path(solution, means) -> None:
    game = solution.game
    engine, policy = Engine(game), LinearQuadraticPolicy(solution)
    states = engine.reset(0)
    for h in range(game.horizon + 1):
        np.testing.assert_allclose(states[0], means[h][game.agents["type"]], atol=3e-6)
        if h < game.horizon:
            engine.step(policy.predict(engine.observe()[0])[0][None])
            states = engine.states


def test_a_hand_worked_step() -> None:
    """One type, one Euler step of length 1/2: P and xi at time 0 are known, and m and v follow by hand."""
    game = one(duration=0.5, horizon=1, drift=-0.4, volatility=0.6, coupling=0.2, initial_mean=2.0)
    solution = competitive_equilibrium(game)
    p, xi = float(solution.riccati(0.0)[0]), float(solution.xi(0.0)[0])
    means, variances = scheme_moments(solution)
    control = -(p * 2.0 + xi)
    assert means[:, 0] == pytest.approx([2.0, 2.0 + 0.5 * (-0.4 * 2.0 + control + 0.2 * 2.0)])
    assert variances[:, 0] == pytest.approx([1.0, (1.0 + 0.5 * (-0.4 - p)) ** 2 + 0.36 * 0.5])


def test_variances_are_those_of_many_agents() -> None:
    """200,000 agents of a type, 6 standard errors of a variance: below 2e-9 each, in 4 times and 2 types."""
    game = two(n_agents=400_000, horizon=4, proportions=(0.5, 0.5))
    solution = competitive_equilibrium(game)
    _, variances = scheme_moments(solution)
    engine, policy = Engine(game), LinearQuadraticPolicy(solution)
    engine.reset(3)
    for h in range(1, 5):
        engine.step(policy.predict(engine.observe()[0])[0][None])
        halves = engine.states[0].astype(np.float64).reshape(2, -1)
        np.testing.assert_allclose(halves.var(axis=1), variances[h], rtol=6 * np.sqrt(2 / 200_000))


def test_moments_converge_to_continuous_time_at_first_order() -> None:
    errors = []
    for horizon in (50, 100, 200):
        solution = competitive_equilibrium(three(horizon=horizon))
        times = solution.game.dt * np.arange(horizon + 1)
        means, variances = scheme_moments(solution)
        errors.append(
            [np.abs(means - solution.mean(times)).max(), np.abs(variances - solution.variance(times)).max()]
        )
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1.0, atol=0.1)


def test_common_noise_has_neither() -> None:
    game = two(common_volatility=0.3)
    with pytest.raises(ValueError, match=r"without common noise, got common_volatility 0\.3"):
        scheme_moments(competitive_equilibrium(game))
    with pytest.raises(ValueError, match=r"got common_volatility 0\.3: it must be 0"):
        continuous_game(game)


def test_states_need_a_density() -> None:
    with pytest.raises(ValueError, match=r"initial_variance must be above 0.*got \(0\.2, 0\.0, 0\.5\)"):
        continuous_game(three())
    with pytest.raises(TypeError, match="game must be a LinearQuadratic game, got 3"):
        continuous_game(3)


@pytest.mark.parametrize("game", [two(), three(initial_variance=(0.2, 0.3, 0.5))])
def test_the_solver_comes_to_the_closed_form(game) -> None:
    """Errors are of first order: halved from one grid to the next, and small on the finer."""
    exact, errors = competitive_equilibrium(game), []
    for n in (60, 120):
        found = solve(continuous_game(game), Grid(low=-5.0, high=5.0, n_cells=n, n_steps=n))
        assert found.game.names == game.types
        errors.append(np.abs(found.costs - exact.costs))
    assert np.all(errors[1] < 0.01)
    assert np.all(errors[1] < 0.7 * errors[0])


def test_gains_are_those_of_the_least_cost() -> None:
    """The first control of one agent is found by least squares over all controls, from two initial states."""
    for transition in ("euler", "exact"):
        game = three(horizon=5, transition=transition)
        gains = scheme_gains(game)
        step = game.step_coefficients
        for kind in range(3):
            q, r = game.state_cost[kind], game.control_cost[kind]
            # x_h = stay^h x_0 + sum of stay^(h - 1 - j) push u_j.
            powers = step.stay[kind] ** np.arange(6)
            effect = np.array(
                [[powers[h - 1 - j] * step.push[kind] if j < h else 0.0 for j in range(5)] for h in range(6)]
            )
            weights = np.array([q * game.dt] * 5 + [game.terminal_cost[kind]])
            curvature = effect.T @ (weights[:, None] * effect) + r * game.dt * np.eye(5)
            controls = -np.linalg.solve(curvature, effect.T @ (weights * powers))
            assert gains[0, kind] == pytest.approx(-controls[0])
            # Later gains by the path: u_h = -g_h x_h.
            states = powers + effect @ controls
            np.testing.assert_allclose(-controls / states[:5], gains[:, kind], rtol=1e-9)


def test_gains_tend_to_those_of_continuous_time() -> None:
    errors = []
    for horizon in (100, 200, 400):
        solution = competitive_equilibrium(three(horizon=horizon))
        times = solution.game.dt * np.arange(horizon)
        exact = solution.parameters.response * solution.riccati(times)
        errors.append(np.abs(scheme_gains(solution.game) - exact).max())
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 1.0, atol=0.1)


def test_costs_that_are_unbounded_below_have_no_gains() -> None:
    with pytest.raises(ValueError, match=r"type 'only' are unbounded below in steps of dt = 1, got state_cost"):
        scheme_gains(one(duration=2.0, horizon=2, terminal_cost=-1.0))
    with pytest.raises(TypeError, match="game must be a LinearQuadratic game"):
        scheme_gains("LinearQuadratic-v0")
