"""Tianshou: its collectors store what the engine did, of all agents, and its learners learn from it."""

import numpy as np
import pytest

pytest.importorskip("tianshou")

import torch
from framework_examples import BOX, ENDS, GOES_ON, MASKED, assert_routes_step, load
from replay import Recording
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.data import Batch, Collector, VectorReplayBuffer
from tianshou.utils.net.common import Net

import mfenvs
from mfenvs import Engine
from mfenvs.api.tianshou import PopulationTianshouEnv, tianshou_env

example = load("tianshou_ppo")


@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED, BOX], ids=["ends", "goes-on", "masked", "box"])
def test_episodes_are_the_engines(game, cut):
    steps = game.horizon - 1 if cut else game.horizon
    recording = Recording(game, n_worlds=2, n_episodes=2, steps=steps)
    n = 2 * game.n_agents
    env = tianshou_env(game, 2, max_episode_steps=steps)
    assert env.seed(recording.seed) == [recording.seed] * n

    def assert_seen(found, e, t):
        observations = recording.observations[e, t].reshape(n, -1)
        if game is MASKED:
            np.testing.assert_array_equal(found.obs, observations)
            np.testing.assert_array_equal(found.mask, recording.masks[e][t].reshape(n, -1))
        else:
            np.testing.assert_array_equal(found, observations)

    for e in range(2):
        found, infos = env.reset()
        assert_seen(found, e, 0)
        for t in range(steps):
            found, rewards, terminated, truncated, infos = env.step(recording.rows(e, t), np.arange(n))
            np.testing.assert_array_equal(rewards, recording.rewards[e, t].reshape(-1))
            over, goes_on = t == steps - 1, cut or game is GOES_ON
            assert (terminated == (over and not goes_on)).all()
            assert (truncated == (over and goes_on)).all()
            assert infos.tolist() == [{}] * n
            # At the end, the last observation: the collector resets by itself.
            assert_seen(found, e, t + 1)


@pytest.mark.parametrize("game", [ENDS, GOES_ON], ids=["ends", "goes-on"])
def test_a_collector_stores_what_the_engine_did(game):
    env = PopulationTianshouEnv(game, 2)
    buffer = VectorReplayBuffer(10 * 7, 10)
    collector = Collector(example.ppo(env), env, buffer)
    collector.reset(gym_reset_kwargs={"seed": 3})
    stats = collector.collect(n_step=10 * 7)
    assert stats.n_collected_episodes == 20
    rows = buffer[buffer.sample_indices(0)]  # in the order of environments
    engine = Engine(game, 2)

    def at(name, t):
        return rows[name].reshape(10, 7, -1)[:, t]

    for t in range(7):
        if t % 3 == 0:
            engine.reset(3 if t == 0 else None)
        np.testing.assert_array_equal(at("obs", t), engine.observe().reshape(10, -1))
        rewards = engine.step(at("act", t).reshape(2, 5))
        np.testing.assert_array_equal(at("rew", t)[:, 0], rewards.reshape(-1).astype(at("rew", t).dtype))
        np.testing.assert_array_equal(at("obs_next", t), engine.observe().reshape(10, -1))
        over = engine.time == 3
        assert (at("terminated", t) == (over and game is ENDS)).all()
        assert (at("truncated", t) == (over and game is GOES_ON)).all()


def test_q_learners_take_no_masked_action():
    env = PopulationTianshouEnv(MASKED, 2)
    net = Net(state_shape=env.observation_space[0].shape, action_shape=30)
    policy = DiscreteQLearningPolicy(
        model=net, action_space=env.action_space[0], eps_training=0.5, eps_inference=0.5
    )
    collector = Collector(policy, env, VectorReplayBuffer(18 * 8, 18), exploration_noise=True)
    collector.reset(gym_reset_kwargs={"seed": 3})
    collector.collect(n_step=18 * 8)
    rows = collector.buffer[collector.buffer.sample_indices(0)]
    assert len(rows) == 18 * 8
    assert rows.obs.mask.mean() < 0.5
    assert rows.obs.mask[np.arange(len(rows)), rows.act].all()


def test_environments_are_reset_and_stepped_together():
    env = PopulationTianshouEnv(ENDS, 2)
    message = (
        r"env_id must be None or all 10 environments, which run in lockstep, got \[0, 1\]: collect a multiple"
    )
    with pytest.raises(ValueError, match=message):
        env.reset([0, 1])
    env.reset(np.arange(10), seed=1)
    with pytest.raises(ValueError, match="id must be None or all 10"):
        env.step([0], 3)
    with pytest.raises(ValueError, match=r"actions must have shape \(10,\), got \(9,\)"):
        env.step(np.zeros(9, int))
    assert env.engine.time == 0
    for _ in range(3):
        env.step(np.zeros(10, int))
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(10, int))


def test_attributes_are_shared():
    env = PopulationTianshouEnv("Epidemic-v0", 2, n_agents=5, observe="mean-field")
    assert len(env) == 10
    assert env.observation_space == [env.game.observation_space.__class__(0.0, 1.0, (5,), np.float32)] * 10
    assert env.action_space == [env.game.action_space] * 10
    assert env.get_env_attr("n_worlds", [0, 4]) == [2, 2]
    env.set_env_attr("note", 7)
    assert env.get_env_attr("note", 3) == [7]
    with pytest.raises(ValueError, match="lockstep"):
        env.set_env_attr("note", 8, 0)
    with pytest.raises(TypeError, match="discrete"):
        PopulationTianshouEnv(BOX).action_masks()


def test_seeds_last_for_one_reset():
    env = PopulationTianshouEnv(ENDS, 9)
    env.seed([4, 5])
    first, second = env.reset()[0], env.reset()[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(env.reset(seed=4)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)


def test_probabilities_are_the_softmax_of_the_network():
    env = PopulationTianshouEnv(ENDS)
    torch.manual_seed(0)
    policy = example.ppo(env).policy
    observations = env.reset(seed=0)[0]
    found = example.PolicyPlayer(policy).action_probabilities(observations)
    with torch.no_grad():
        logits = policy.actor(Batch(obs=observations).obs)[0].numpy().astype(float)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-6)
    assert mfenvs.evaluate(ENDS, example.PolicyPlayer(policy)).mean_return.value < 0


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn():
    """Random taxis earn .58, trained ones more than 4."""
    at_random, trained = example.main(16)
    assert 0.4 < at_random < 0.8
    assert trained > 1.6
