"""The closed-form feedback as a policy: by hand, through the APIs, and its returns against exact moments."""

import gymnasium
import numpy as np
import pytest
from gaussian_chain import chain_costs
from linear_quadratic_games import two
from numpy.testing import assert_allclose, assert_array_equal
from stable_baselines3.common.evaluation import evaluate_policy

import mfenvs
from baselines.continuous.linear_quadratic import LinearQuadraticPolicy, competitive_equilibrium, social_optimum
from mfenvs.games.linear_quadratic.game import LinearQuadratic

SMALL = {"n_agents": 5, "horizon": 8}
QUIET = competitive_equilibrium(two(**SMALL))
NOISY = competitive_equilibrium(two(common_volatility=0.3, **SMALL))


def test_controls_by_hand():
    """A consumer with x = 2 at time 0 and a PV owner with x = -1 at time 3 / 4 (b / r = 1 and 2.4)."""
    policy = LinearQuadraticPolicy(QUIET)
    assert policy.observe == ()
    rows = np.array([[2.0, 1, 0, 0], [-1.0, 0, 1, 0.375]], np.float32)
    controls, state = policy.predict(rows)
    expected = [-(2 * 0.813406 + 0.1159375), -2.4 * (-QUIET.riccati(0.75)[1] + QUIET.xi(0.75)[1])]
    assert_allclose(controls, np.array(expected)[:, None], atol=2e-6)
    assert state is None
    assert controls.dtype == np.float32
    single, _ = policy.predict(rows[0], deterministic=False)
    assert single.shape == (1,)
    assert_array_equal(single, controls[0])
    assert_array_equal(policy.predict(np.array([[1e4, 1, 0, 0]]))[0], [[-10.0]])


def test_following_the_means_by_hand():
    policy = LinearQuadraticPolicy(NOISY)
    assert policy.observe == ("type-means",)
    engine = mfenvs.Engine(NOISY.game)
    states = engine.reset(seed=1)[0]
    player = mfenvs.play.Player(NOISY.game, policy)
    controls = player.actions(engine)[0, :, 0]
    means = np.array([states[:4].mean(), states[4]])
    p, following = NOISY.riccati(0.0), NOISY.xi_of_means(0.0) @ means
    kinds = NOISY.game.agents["type"]
    assert_allclose(controls, -np.array([1.0, 2.4])[kinds] * (p[kinds] * states + following[kinds]), atol=1e-5)


@pytest.mark.parametrize(
    "policy",
    [LinearQuadraticPolicy(QUIET), LinearQuadraticPolicy(QUIET, follows_means=True), LinearQuadraticPolicy(NOISY)],
    ids=["quiet", "follows", "noisy"],
)
def test_it_plays_in_every_api(policy):
    game = policy.game
    vector = mfenvs.vector_env(game, 2, observe=policy.observe)
    observations, _ = vector.reset(seed=0)
    rewards = vector.step(policy.predict(observations)[0])[1]
    dicts = mfenvs.parallel_env(game, observe=policy.observe)
    first, _ = dicts.reset(seed=0)
    actions = {name: policy.predict(observation)[0] for name, observation in first.items()}
    assert_allclose(list(dicts.step(actions)[1].values()), rewards[: game.n_agents], rtol=1e-6)
    venv = mfenvs.vec_env(game, observe=policy.observe)
    mean, _ = evaluate_policy(policy, venv, n_eval_episodes=game.n_agents, warn=False)
    assert mean < 0.0
    single = gymnasium.make(
        "mfenvs/LinearQuadratic-v0", population_policy=policy, observe=policy.observe, **game.describe()
    )
    observation, _ = single.reset(seed=0)
    *_, terminated, truncated, _ = single.step(policy.predict(observation)[0])
    assert not terminated
    assert not truncated
    gain = mfenvs.evaluation.deviation_gain(game, policy, policy, n_worlds=2)
    assert gain.value == 0.0


@pytest.mark.parametrize("solution", [QUIET, social_optimum(two(**SMALL))], ids=["equilibrium", "optimum"])
def test_returns_are_those_of_exact_moments(solution):
    """2000 worlds; five means beyond 6.5 standard errors have a probability below 1e-9."""
    found = mfenvs.evaluate(solution.game, LinearQuadraticPolicy(solution), n_worlds=2000, seed=3).returns
    times, response = np.arange(8) / 4.0, solution.parameters.response
    expected = chain_costs(solution.game, response * solution.riccati(times), response * solution.xi(times))
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(abs(found.mean(axis=0) + expected) < 6.5 * errors)


def test_it_plays_games_with_other_numbers_of_agents_and_steps():
    game = two(n_agents=12, horizon=16)
    policy = LinearQuadraticPolicy(QUIET, game)
    rows = np.array([[1.0, 1, 0, 1 / 16]], np.float32)
    assert policy.predict(rows)[0].item() == pytest.approx(-(QUIET.riccati(0.125) + QUIET.xi(0.125))[0], rel=1e-6)
    assert mfenvs.evaluate(game, policy, n_worlds=2).returns.shape == (2, 12)


def test_the_default_bound_is_never_reached():
    """Ten standard deviations, as the game's documentation says."""
    solution = competitive_equilibrium(two())
    times, response = np.linspace(0.0, 2.0, 201), solution.parameters.response
    spread = response * solution.riccati(times) * np.sqrt(solution.variance(times))
    assert (response * abs(solution.costate(times)) + 10.0 * spread).max() < LinearQuadratic().control_bound


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (
            {"control_bound": 2.0},
            r"control_bound must be at least \d\.\d+, so that the feedback is not clipped, got 2",
        ),
        ({"duration": 1.0}, "game must have the types .* and the duration 2 of the solution, got .* and 1"),
        ({"types": ("a", "b")}, "game must have the types"),
    ],
)
def test_games_that_it_does_not_fit_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        LinearQuadraticPolicy(QUIET, two(**SMALL | constants))


def test_steps_that_are_too_long_are_refused():
    solution = competitive_equilibrium(two(state_cost=(40.0, 0.8), horizon=100, control_bound=100.0))
    LinearQuadraticPolicy(solution)
    with pytest.raises(
        ValueError, match=r"horizon must be larger for the feedback: with dt = 0\.4 .* got horizon 5"
    ):
        LinearQuadraticPolicy(solution, two(state_cost=(40.0, 0.8), horizon=5, control_bound=100.0))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="solution must be a LinearQuadraticSolution"):
        LinearQuadraticPolicy(QUIET.game)
    with pytest.raises(TypeError, match="game must be a LinearQuadratic game"):
        LinearQuadraticPolicy(QUIET, mfenvs.make("Epidemic-v0", n_agents=2))
    with pytest.raises(
        ValueError, match=r"observation must have 4 features, the agent's own 4, got shape \(2, 6\)"
    ):
        LinearQuadraticPolicy(QUIET).predict(np.zeros((2, 6)))
    with pytest.raises(ValueError, match="observation must have 6 features, the agent's own 4, type-means, got"):
        LinearQuadraticPolicy(NOISY).predict(np.zeros(4))
