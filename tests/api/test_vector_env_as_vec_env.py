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
from mfenvs.api.vector_env_as_vec_env import VectorEnvAsVecEnv, rows_of_infos
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


def test_statistics_of_gymnasiums_wrapper_reach_sb3():
    vector = gymnasium.make_vec("mfenvs/Epidemic-v0", autoreset_mode="SameStep", n_worlds=2, **TAXI)
    env = VectorEnvAsVecEnv(gymnasium.wrappers.vector.RecordEpisodeStatistics(vector))
    env.reset()
    for _ in range(2):
        returns = np.zeros(12)
        for t in range(4):
            _, rewards, dones, infos = env.step(np.arange(12) % 2)
            returns += rewards
            assert dones.tolist() == [t == 3] * 12
            assert all(("episode" in info) is (t == 3) for info in infos)
        np.testing.assert_allclose([info["episode"]["r"] for info in infos], returns, rtol=1e-6)
        assert {(info["episode"]["l"], type(info["episode"]["r"])) for info in infos} == {(4, float)}
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=96, n_epochs=1, device="cpu").learn(96)
    assert {episode["l"] for episode in model.ep_info_buffer} == {4}


def test_rows_have_what_their_masks_say():
    yes, some = np.ones(3, bool), np.array([True, False, True])
    infos = {
        "speed": np.array([1.0, 0.0, 3.0]),
        "_speed": some,
        "place": np.arange(6).reshape(3, 2),
        "_place": yes,
        "deep": {"x": np.array([5, 0, 7]), "_x": some, "y": np.array([1, 2, 3])},
        "_deep": np.array([True, True, False]),
        "name": np.array(["a", None, "c"], object),
        "_alone": np.array([7, 8, 9]),
        "common": "all",
        "final_obs": "left out",
    }
    rows = rows_of_infos(infos, 3)
    places = [row.pop("place").tolist() for row in rows]
    assert places == [[0, 1], [2, 3], [4, 5]]
    assert rows == [
        {"speed": 1.0, "deep": {"x": 5, "y": 1}, "name": "a", "_alone": 7, "common": "all"},
        {"deep": {"y": 2}, "name": None, "_alone": 8, "common": "all"},
        {"speed": 3.0, "name": "c", "_alone": 9, "common": "all"},
    ]


class Once(gymnasium.Env):
    """Ends after as many steps as it is told, and says the count of its steps."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length):
        self.length, self.render_mode, self.episode = length, None, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.episode = 0, self.episode + 1
        return np.zeros(1, np.float32), {"begun": self.episode}

    def step(self, action):
        self.time += 1
        info = {"late": self.time} if self.time > 1 else {}
        return np.full(1, self.time, np.float32), 1.0, self.time == self.length, False, info


def test_environments_that_end_apart_are_those_of_dummy_vec_env():
    lengths = (2, 3)
    ours = VectorEnvAsVecEnv(
        gymnasium.vector.SyncVectorEnv([lambda n=n: Once(n) for n in lengths], autoreset_mode="SameStep")
    )
    expected = DummyVecEnv([lambda n=n: Once(n) for n in lengths])
    np.testing.assert_array_equal(ours.reset(), expected.reset())
    assert ours.reset_infos == expected.reset_infos
    for _ in range(7):
        mine, other = (env.step(np.zeros(2, int)) for env in (ours, expected))
        for array, same in zip(mine[:3], other[:3], strict=True):
            np.testing.assert_array_equal(array, same)
        for info, theirs, done in zip(mine[3], other[3], mine[2], strict=True):
            if not done:
                theirs.pop("TimeLimit.truncated")
            info.pop("begun", None)  # of the reset in the same step, which gymnasium tells too
            assert data_equivalence(info, theirs)
        assert ours.reset_infos == expected.reset_infos


def test_action_masks_come_through():
    market = {"actions": "discrete", "n_agents": 9, "horizon": 4, "n_days": 1, "weather_sd": 0.0}
    vector = gymnasium.make_vec("mfenvs/EnergyMarket-v0", autoreset_mode="SameStep", n_worlds=2, **market)
    env = VectorEnvAsVecEnv(gymnasium.wrappers.vector.RecordEpisodeStatistics(vector))
    assert env.has_attr("action_masks")
    env.reset()
    for _ in range(6):
        expected = vector.unwrapped.engine.action_masks().reshape(18, -1)
        assert not expected.all()
        np.testing.assert_array_equal(env.action_masks(), expected)
        np.testing.assert_array_equal(np.stack(env.env_method("action_masks", indices=[3, 5])), expected[[3, 5]])
        np.testing.assert_array_equal(vector.unwrapped.action_masks(), expected)
        env.step(expected.argmax(axis=1))
    everything = make("mfenvs/Epidemic-v0")
    everything.reset()
    assert everything.action_masks().tolist() == [[True, True]] * 6


def test_one_image_for_all_agents_of_a_world():
    env = make("mfenvs/Epidemic-v0", render_mode="rgb_array")
    env.reset()
    assert env.render().shape == (440, 720, 3)
