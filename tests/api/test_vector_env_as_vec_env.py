"""A gymnasium VectorEnv handed to Stable-Baselines3."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from replay import Recording
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

import baselines
import mfenvs
from mfenvs.api.sb3 import VectorEnvAsVecEnv
from mfenvs.wrappers import MeanField

TAXI = {"n_agents": 6, "horizon": 4}


def make(game="mfenvs/Taxi-v0", **kwargs):
    return VectorEnvAsVecEnv(gymnasium.make_vec(game, autoreset_mode="SameStep", **{**TAXI, **kwargs}))


@pytest.mark.parametrize("name", ["Taxi-v0", "Epidemic-v0"])
@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
def test_steps_are_those_of_dummy_vec_env(name, cut):
    game = mfenvs.make(name, **TAXI)
    steps = 3 if cut else 4
    recording = Recording(game, n_worlds=2, n_episodes=3, steps=steps)
    expected = DummyVecEnv(recording.slots())
    ours = make(f"mfenvs/{name}", n_worlds=2, max_episode_steps=3 if cut else None)
    ours.seed(recording.seed)
    np.testing.assert_array_equal(ours.reset(), expected.reset())
    for episode in range(2):
        for t in range(steps):
            mine, other = (env.step(recording.rows(episode, t)) for env in (ours, expected))
            for array, same in zip(mine[:3], other[:3], strict=True):
                np.testing.assert_array_equal(array, same)
            # DummyVecEnv says TimeLimit.truncated in every step, ours as SB3 reads it, at an end.
            for info, theirs in zip(mine[3], other[3], strict=True):
                if t < steps - 1:
                    theirs.pop("TimeLimit.truncated")
                assert data_equivalence(info, theirs, exact=False)


def test_stock_and_our_ppo_train_on_it():
    for model_class in (PPO, baselines.PPO):
        model = model_class("MlpPolicy", make(), n_steps=8, batch_size=16, n_epochs=1, device="cpu")
        assert model.learn(48).num_timesteps == 48


def test_another_reset_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="make the environment with autoreset_mode='SameStep'"):
        VectorEnvAsVecEnv(gymnasium.make_vec("mfenvs/Taxi-v0", **TAXI))


def test_what_agents_observe_is_known_to_the_model():
    model = baselines.PPO("MlpPolicy", make(observe="mean-field"), n_steps=4, device="cpu", seed=0)
    assert model.observe == (MeanField(),)
    assert mfenvs.evaluate(mfenvs.make("Taxi-v0", **TAXI), model, n_worlds=2).returns.shape == (2, 6)


def test_it_knows_its_game_and_needs_actions():
    env = make()
    assert env.game.n_agents == 6
    assert env.get_attr("game", [0, 2]) == [env.game] * 2
    env.reset()
    with pytest.raises(RuntimeError, match="call step_async"):
        env.step_wait()
    env.close()
