"""Rewards on each agent's own scale."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mfenvs
from baselines import PPO
from mfenvs.wrappers.rewards import ScaledRewards


def environments(n_worlds=3, **constants):
    return mfenvs.vec_env("EnergyMarket-v0", n_worlds, n_agents=20, horizon=4, **constants)


def test_rewards_are_divided_and_nothing_else_changes():
    scale = np.linspace(0.5, 10, 20)
    plain, scaled = environments(), ScaledRewards(environments(), scale)
    for env in (plain, scaled):
        env.seed(3)
    assert_array_equal(scaled.reset(), plain.reset())
    rng = np.random.default_rng(0)
    for _ in range(6):
        actions = rng.uniform([-1, 0, 0.08], [1, 1, 0.32], (60, 3)).astype(np.float32)
        seen, rewards, dones, _ = plain.step(actions)
        others, divided, over, _ = scaled.step(actions)
        assert_array_equal(others, seen)
        assert_array_equal(over, dones)
        assert_allclose(divided.reshape(3, 20), rewards.reshape(3, 20) / scale, rtol=1e-6)
        assert divided.dtype == np.float32


def test_the_default_scale_is_the_spread_of_random_play():
    game = mfenvs.make("EnergyMarket-v0", n_agents=20, horizon=4)
    returns = mfenvs.evaluate(game, None, n_worlds=64, seed=2**32).returns
    spread = [np.mean([abs(r - np.median(of_agent)) for r in of_agent]) for of_agent in returns.T]
    assert_allclose(ScaledRewards(environments(2)).scale, np.array(spread) / 2, rtol=1e-6)
    assert max(spread) > 5 * min(spread)


def test_a_run_that_is_saved_and_continued_ends_where_an_uninterrupted_one_does(tmp_path):
    def parameters(model):
        return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])

    def model():
        return PPO(
            "MlpPolicy", ScaledRewards(environments(1)), seed=1, batch_size=40, device="cpu", learning_rate=1e-3
        )

    whole = model().learn(4 * 80)
    model().learn(2 * 80).save(tmp_path / "part.zip")
    resumed = PPO.load(tmp_path / "part.zip", env=ScaledRewards(environments(1)), device="cpu")
    resumed.learn(2 * 80, reset_num_timesteps=False)
    assert_array_equal(parameters(resumed), parameters(whole))
    other = PPO.load(tmp_path / "part.zip", env=environments(1), device="cpu")
    other.learn(2 * 80, reset_num_timesteps=False)
    assert not np.array_equal(parameters(other), parameters(whole))


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (np.ones(3), ValueError, "scale must have shape"),
        (np.zeros(20), ValueError, "scale must be > 0 and finite, got 0.0 of agent 0"),
        (np.full(20, np.inf), ValueError, "scale must be > 0 and finite, got inf of agent 0"),
    ],
)
def test_scales_that_are_not_allowed(scale, error, message):
    with pytest.raises(error, match=message):
        ScaledRewards(environments(1), scale)


def test_only_populations_are_scaled():
    with pytest.raises(TypeError, match="venv must be a PopulationVecEnv"):
        ScaledRewards(mfenvs.make("Epidemic-v0"))
