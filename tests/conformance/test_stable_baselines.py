import gymnasium
import numpy as np
import pytest
import supersuit
from gymnasium.utils.env_checker import data_equivalence
from replay import Recording
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import mfenvs


@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
def test_steps_are_those_of_dummy_vec_env(case, cut):
    game = case.game()
    if cut and game.horizon == 1:
        pytest.skip("an episode of one step cannot be cut")
    steps = game.horizon - 1 if cut else game.horizon
    recording = Recording(game, n_worlds=2, n_episodes=4, steps=steps)
    expected = DummyVecEnv(recording.slots(with_masks=False))
    ours = mfenvs.vec_env(game, 2, max_episode_steps=steps if cut else None)
    ours.seed(recording.seed)
    assert ours.num_envs == expected.num_envs
    assert ours.observation_space == expected.observation_space
    assert ours.action_space == expected.action_space
    np.testing.assert_array_equal(ours.reset(), expected.reset())
    assert data_equivalence(ours.reset_infos, expected.reset_infos, exact=True)
    for episode in range(3):
        for t in range(steps):
            mine, other = (env.step(recording.rows(episode, t)) for env in (ours, expected))
            for array, same in zip(mine[:3], other[:3], strict=True):
                np.testing.assert_array_equal(array, same)
                assert array.dtype == same.dtype
            assert isinstance(mine[3], list)
            if t == steps - 1:
                assert all(info["TimeLimit.truncated"] is (cut or game.is_infinite) for info in mine[3])
            else:
                # SB3 says in every step that episodes are not cut, we only where they end.
                assert [info.pop("TimeLimit.truncated") for info in other[3]] == [False] * ours.num_envs
            assert data_equivalence(mine[3], other[3], exact=True)
            assert data_equivalence(ours.reset_infos, expected.reset_infos, exact=True)


def test_attributes_and_methods_are_those_of_all(case):
    ours = mfenvs.vec_env(case.game(), 2)
    n = ours.num_envs
    assert ours.get_attr("render_mode") == [None] * n
    assert ours.get_attr("game", indices=[0, 3]) == [ours.game] * 2
    assert ours.get_attr("n_worlds", indices=1) == [2]
    assert ours.has_attr("engine")
    assert not ours.has_attr("nothing")
    ours.set_attr("note", 5)
    assert ours.get_attr("note") == [5] * n
    with pytest.raises(ValueError, match=f"indices must be None or all {n}, since attributes are shared, got 0"):
        ours.set_attr("note", 6, indices=0)
    assert ours.env_is_wrapped(Monitor) == [False] * n
    assert ours.env_is_wrapped(Monitor, indices=[1]) == [False]
    assert ours.env_method("has_attr", "note", indices=[2, 3]) == [True, True]
    with pytest.raises(AttributeError):
        ours.env_method("nothing")
    assert ours.unwrapped is ours
    ours.close()


def test_seeds_last_for_one_reset(case):
    ours = mfenvs.vec_env(case.game(), 3)
    assert ours.seed(4) == [4 + i for i in range(ours.num_envs)]
    first, second = ours.reset(), ours.reset()
    assert ours.engine.episode == 1
    ours.seed(4)
    np.testing.assert_array_equal(ours.reset(), first)
    np.testing.assert_array_equal(ours.reset(), second)


def test_ppo_learns_from_all_agents(case):
    venv = VecMonitor(mfenvs.vec_env(case.game(), 2))
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=4 * venv.num_envs, n_epochs=1, seed=1, device="cpu")
    model.learn(16 * venv.num_envs)
    assert model.num_timesteps == 16 * venv.num_envs
    assert len(model.ep_info_buffer) > 0
    mean, _ = evaluate_policy(model, venv, n_eval_episodes=venv.num_envs, warn=False)
    assert np.isfinite(mean)


def test_ppo_takes_the_representative_agent(case):
    single = gymnasium.make(case.id, **case.constants)
    model = PPO("MlpPolicy", single, n_steps=16, batch_size=16, n_epochs=1, seed=1, device="cpu").learn(16)
    assert model.num_timesteps == 16


def test_supersuit_converts_parallel_environments(case):
    game = case.game()
    venv = supersuit.pettingzoo_env_to_vec_env_v1(mfenvs.parallel_env(game))
    assert venv.num_envs == game.n_agents
    venv = supersuit.concat_vec_envs_v1(venv, 2, base_class="stable_baselines3")
    assert venv.num_envs == 2 * game.n_agents
    observations = venv.reset()
    assert observations.shape == (2 * game.n_agents, game.n_features)
    for _ in range(game.horizon):
        actions = np.array([venv.action_space.sample() for _ in range(venv.num_envs)])
        observations, _, dones, infos = venv.step(actions)
    assert dones.all()
    assert all("terminal_observation" in info for info in infos)
    PPO("MlpPolicy", venv, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(8 * venv.num_envs)
