"""AgileRL: what its vectors and rollouts hold is what the engine did, and one network learns for all agents."""

import numpy as np
import pytest

pytest.importorskip("agilerl")

import torch
from agilerl.algorithms import IPPO, PPO
from agilerl.components.rollout_buffer import RolloutBuffer
from agilerl.rollouts.on_policy import collect_rollouts
from agilerl.utils.algo_utils import concatenate_experiences_into_batches, vectorize_agent_experiences_flat
from framework_examples import ENDS, GOES_ON, MASKED, assert_routes_step, load
from gymnasium import spaces
from replay import Recording

import mfenvs
from mfenvs import Engine

example = load("agilerl_ppo")


def ppo_of(game, env):
    return PPO(
        env.single_observation_space, env.single_action_space, num_envs=env.num_envs, learn_step=env.num_envs
    )


@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED], ids=["ends", "goes-on", "masked"])
def test_a_rollout_of_ppo_is_what_the_engine_did(game):
    env = example.vector_env(game, 2)
    n, steps = env.num_envs, 2 * game.horizon
    agent = PPO(
        env.single_observation_space, env.single_action_space, num_envs=n, learn_step=n * steps, batch_size=n
    )
    env.reset(seed=3)
    collect_rollouts(agent, env, n_steps=steps)
    stored = agent.rollout_buffer.buffer
    engine = Engine(game, 2)
    engine.reset(3)
    # Its first call begins another episode.
    for t in range(steps):
        if t % game.horizon == 0:
            engine.reset()
        np.testing.assert_array_equal(stored["observations"][t], engine.observe().reshape(n, -1))
        actions = stored["actions"][t].numpy().astype(int).reshape(2, -1)
        if game is MASKED:
            masks = engine.action_masks().reshape(n, -1)
            np.testing.assert_array_equal(stored["action_masks"][t].bool(), masks)
            assert masks[np.arange(n), actions.reshape(-1)].all()
        rewards = engine.step(actions)
        np.testing.assert_array_equal(stored["rewards"][t].reshape(-1), rewards.reshape(-1))
        assert (stored["dones"][t].bool() == (engine.time == game.horizon)).all()


@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED], ids=["ends", "goes-on", "masked"])
def test_its_vector_of_processes_is_the_engine(game):
    """Worlds are environments of their own, with consecutive seeds."""
    recordings = [Recording(game, n_worlds=1, n_episodes=2, seed=seed) for seed in (11, 12)]
    names = game.agent_names
    env = example.pettingzoo_env(game, 2)
    try:
        observations, infos = env.reset(seed=11)
        for e in range(2):
            for t in range(game.horizon):
                for i, name in enumerate(names):
                    seen = [recording.observations[e, t, 0, i] for recording in recordings]
                    np.testing.assert_array_equal(observations[name], seen)
                    if game is MASKED:
                        masks = [recording.masks[e][t][0, i] for recording in recordings]
                        np.testing.assert_array_equal(infos[name]["action_mask"], masks)
                # Both recordings take the same actions.
                actions = {name: np.repeat(recordings[0].actions[e, t, 0, i], 2) for i, name in enumerate(names)}
                observations, rewards, terminated, truncated, infos = env.step(actions)
                over = t == game.horizon - 1
                for i, name in enumerate(names):
                    earned = [recording.rewards[e, t, 0, i] for recording in recordings]
                    np.testing.assert_array_equal(rewards[name], earned)
                    assert (terminated[name] == (over and game is not GOES_ON)).all()
                    assert (truncated[name] == (over and game is GOES_ON)).all()
    finally:
        env.close()


def ippo_of(game):
    names, space = game.agent_names, game.observation_space
    return IPPO([space] * len(names), [game.action_space] * len(names), agent_ids=names)


def test_agents_share_networks_by_the_stem_of_their_names():
    taxis = mfenvs.make("Taxi-v0", n_agents=5, horizon=4)
    assert list(ippo_of(taxis).actors) == ["taxi"]
    # Types of agents have names of their own.
    assert set(ippo_of(MASKED).actors) == {name.rsplit("_", 1)[0] for name in MASKED.agent_names}
    assert len(ippo_of(MASKED).actors) > 1


def test_what_the_example_says_of_ippo():
    """Observations and rewards, labelled 1 to 8 by step, agent and environment, come out in different orders."""
    labels = np.arange(1.0, 9.0, dtype=np.float32).reshape(2, 2, 2)  # step, agent, environment
    seen = {f"taxi_{i}": labels[:, i, :, None] for i in range(2)}
    got = {f"taxi_{i}": labels[:, i] for i in range(2)}

    def orders(seen, got):
        rows = concatenate_experiences_into_batches(seen, spaces.Box(0.0, 9.0, (1,)))
        return rows.flatten().tolist(), vectorize_agent_experiences_flat(got).flatten().tolist()

    observations, rewards = orders(seen, got)
    assert sorted(observations) == sorted(rewards)
    assert observations != rewards
    # As one agent in four environments they do.
    one = [
        {"taxi_0": np.array([next(iter(example.of_one_agent(step).values())) for step in steps])}
        for steps in (
            [{name: rows[t] for name, rows in values.items()} for t in range(2)] for values in (seen, got)
        )
    ]
    observations, rewards = orders(*one)
    assert observations == rewards == labels.flatten().tolist()


def test_ippo_fails_on_action_masks():
    agent = ippo_of(MASKED)
    parallel = mfenvs.parallel_env(MASKED)
    observations, infos = parallel.reset(seed=0)
    with pytest.raises(ValueError, match="ambiguous"):
        agent.get_action(observations, infos)
    without = {name: {} for name in infos}
    assert set(agent.get_action(observations, without)[0]) == set(MASKED.agent_names)


def test_what_the_example_says_of_ppo():
    """The reward of an episode's last step reaches the last action only, whatever gamma and lambda are."""
    of = {"observation_space": spaces.Box(0.0, 1.0, (2,)), "action_space": spaces.Discrete(2)}
    buffer = RolloutBuffer(capacity=4, num_envs=1, gamma=1.0, gae_lambda=1.0, **of)
    blank = {name: np.zeros((1, 2), np.float32) for name in ("obs", "next_obs")}
    blank |= {name: np.zeros(1) for name in ("action", "value", "log_prob")}
    for t in range(4):
        buffer.add(reward=np.array([float(t == 2)]), done=np.array([t == 2]), **blank)
    buffer.compute_returns_and_advantages(np.zeros(1), np.zeros(1))
    assert buffer.buffer["advantages"].flatten().tolist() == [0.0, 0.0, 1.0, 0.0]


def test_sampled_actions_are_allowed():
    env = example.vector_env(MASKED)
    observations, _ = env.reset(seed=0)
    torch.manual_seed(0)
    policy = example.ActorPolicy(ppo_of(MASKED, env).actor)
    masks = env.action_masks()
    for _ in range(20):
        actions, _ = policy.predict(observations, masks)
        assert masks[np.arange(len(actions)), actions].all()


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn_over_both_routes():
    """Random taxis earn .58, trained ones about 4."""
    found = example.main(16)
    assert found.keys() == example.ROUTES.keys()
    for at_random, trained in found.values():
        assert 0.4 < at_random < 0.8
        assert trained > 1.6
