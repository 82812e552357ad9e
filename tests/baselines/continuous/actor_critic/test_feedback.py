"""What a policy does in the linear-quadratic game, as an affine feedback, and what its errors cost."""

import numpy as np
import pytest
from linear_quadratic_games import three, two

import mfenvs
from baselines.continuous.actor_critic.feedback import control_error, fitted_feedback, step_gains
from baselines.continuous.linear_quadratic import LinearQuadraticPolicy, competitive_equilibrium, deviation_cost


@pytest.mark.parametrize("follows_means", [False, True])
def test_the_closed_forms_gains_are_found_again(follows_means) -> None:
    game = two(n_agents=200, horizon=5)
    solution = competitive_equilibrium(game)
    found = fitted_feedback(game, LinearQuadraticPolicy(solution, follows_means=follows_means), seed=3)
    response = solution.parameters.response
    tolerance = 0.05 if follows_means else 1e-4  # the means of N agents are not those of the mean field
    np.testing.assert_allclose(found.gain, response * solution.riccati(found.times), rtol=tolerance)
    np.testing.assert_allclose(found.constant, response * solution.xi(found.times), atol=tolerance)
    assert found.unexplained.max() < (0.01 if follows_means else 1e-6)
    np.testing.assert_allclose(found.at(0.6, 1), [found.gain[1:3, 1].mean(), 0, 0, found.constant[1:3, 1].mean()])


class Squares:
    """Controls that are no affine function of the state: x^2 / 10."""

    def predict(self, observation, **_):
        return (0.1 * observation[:, :1] ** 2).astype(np.float32), None


class Exploring:
    """Controls u = 2 - x / 2, and noise unless deterministic actions are asked for."""

    def predict(self, observation, deterministic=False):
        noise = 0.0 if deterministic else np.random.default_rng(0).normal(size=(len(observation), 1))
        return (2.0 - 0.5 * observation[:, :1] + noise).astype(np.float32), None


def test_deterministic_actions_are_fitted() -> None:
    found = fitted_feedback(two(n_agents=20, horizon=2), Exploring())
    np.testing.assert_allclose(found.gain, 0.5, rtol=1e-4)
    np.testing.assert_allclose(found.constant, -2.0, rtol=1e-4)
    assert found.unexplained.max() < 1e-6


def test_what_is_not_affine_is_told() -> None:
    found = fitted_feedback(two(n_agents=200, horizon=2), Squares())
    assert (found.unexplained > 0.005).all()


@pytest.mark.parametrize("game", [two(), three()])
def test_the_error_is_what_a_deviation_costs_to_leading_order(game) -> None:
    solution = competitive_equilibrium(game)
    n, response = len(game.types), solution.parameters.response
    rng = np.random.default_rng(1)
    shift = rng.normal(size=(n, n + 2)) * 1e-2

    def feedback(time):
        exact = np.zeros((n, n + 2))
        exact[:, 0], exact[:, -1] = response * solution.riccati(time), response * solution.xi(time)
        return exact + shift * np.cos(time)

    n_times = 400
    times = (np.arange(n_times) + 0.5) * game.duration / n_times
    found = control_error(solution, -np.stack([feedback(t) for t in times]), times)
    for kind in range(n):
        cost = deviation_cost(solution, kind, lambda t, kind=kind: feedback(t)[kind])
        assert found[kind] == pytest.approx(cost - solution.costs[kind], rel=0.05)


@pytest.mark.parametrize("transition", ["euler", "exact"])
def test_gains_in_steps_approach_those_of_continuous_time(transition) -> None:
    errors = []
    for horizon in (50, 100, 200):
        game = two(horizon=horizon, transition=transition)
        solution = competitive_equilibrium(game)
        times = game.dt * np.arange(horizon)
        errors.append(np.abs(step_gains(game) - solution.parameters.response * solution.riccati(times)).max())
    assert errors[0] < 0.1
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2.0, rtol=0.1)


def test_gains_in_steps_are_the_best_ones() -> None:
    """The cost of two steps, from the state 1 without noise, is least at the gains."""
    game = two(horizon=2)
    a, b = 1.0 + game.dt * np.array(game.drift), game.dt * np.array(game.control_gain)
    q, r, last = (np.array(x) for x in (game.state_cost, game.control_cost, game.terminal_cost))

    def cost(gains):
        state, total = np.ones(2), np.zeros(2)
        for gain in gains:
            total += game.dt * (q * state**2 + r * (gain * state) ** 2)
            state = (a - b * gain) * state
        return total + last * state**2

    best = step_gains(game)
    for h in range(2):
        for change in (-1e-3, 1e-3):
            assert (cost(best + change * np.eye(2)[h][:, None]) > cost(best)).all()


def test_the_equilibrium_has_no_error() -> None:
    solution = competitive_equilibrium(two())
    times = np.linspace(0.0, 2.0, 7)
    exact = np.zeros((7, 2, 4))
    exact[..., 0] = -solution.parameters.response * solution.riccati(times)
    exact[..., -1] = -solution.parameters.response * solution.xi(times)
    np.testing.assert_allclose(control_error(solution, exact, times), 0.0, atol=1e-25)


def test_arguments_that_are_not_allowed() -> None:
    with pytest.raises(TypeError, match="game must be a LinearQuadratic game"):
        fitted_feedback(mfenvs.make("Epidemic-v0"), Squares())
    with pytest.raises(ValueError, match="n_worlds must be"):
        fitted_feedback(two(n_agents=10, horizon=2), Squares(), n_worlds=1)
    with pytest.raises(ValueError, match=r"every type must have an agent, got \[2, 0\]"):
        fitted_feedback(two(n_agents=2, horizon=2, proportions=(1.0, 0.0)), Squares())
