"""Stable-Baselines3 over the three VecEnvs of its example; the package's own have tests of their own."""

import numpy as np
import pytest
from framework_examples import ENDS, GOES_ON, assert_routes_step, load
from replay import Recording
from stable_baselines3 import PPO

import mfenvs

example = load("stable_baselines3_ppo")


@pytest.mark.parametrize("route", ["vec_env", "gymnasium.make_vec"])
@pytest.mark.parametrize("game", [ENDS, GOES_ON], ids=["ends", "goes-on"])
def test_episodes_are_the_engines(route, game):
    recording = Recording(game, n_worlds=2, n_episodes=2)
    env = example.ROUTES[route](game, 2)
    env.seed(recording.seed)
    observations = env.reset()
    for e in range(2):
        for t in range(3):
            np.testing.assert_array_equal(observations, recording.observations[e, t].reshape(10, -1))
            observations, rewards, dones, infos = env.step(recording.rows(e, t))
            np.testing.assert_array_equal(rewards, recording.rewards[e, t].reshape(-1))
            assert (dones == (t == 2)).all()
        last = [info["terminal_observation"] for info in infos]
        np.testing.assert_array_equal(last, recording.observations[e, 3].reshape(10, -1))
        assert [info["TimeLimit.truncated"] for info in infos] == [game is GOES_ON] * 10


def test_what_the_example_says_of_supersuit():
    """It has the last observations, but not why the episode ended; and it cannot be seeded."""
    env = example.supersuit_vec_env(GOES_ON, 2)
    env.reset()
    for _ in range(3):
        _, _, dones, infos = env.step(np.ones(10, int))
    assert dones.all()
    assert all("terminal_observation" in info for info in infos)
    assert not any(info.get("TimeLimit.truncated") for info in infos)
    with pytest.raises(AttributeError, match="seed"):
        PPO("MlpPolicy", env, seed=0)


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn_over_every_route():
    """Random taxis earn .58; with 40,000 steps they earned 3.5 to 4.2 in six runs over each route."""
    found = example.main(40_000)
    assert found.keys() == example.ROUTES.keys()
    for at_random, trained in found.values():
        assert 0.4 < at_random < 0.8
        assert trained > 1.6


def test_one_network_serves_all_agents():
    model = PPO("MlpPolicy", mfenvs.vec_env(ENDS, 2), n_steps=4, batch_size=40, device="cpu")
    assert model.n_envs == 2 * ENDS.n_agents
    assert model.policy.action_net.weight.shape[0] == 2
