"""Several deviators in several worlds. Random checks fail with probability below 1e-7; seeds are fixed."""

import itertools
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import mfenvs
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv

GAME = mfenvs.make("Epidemic-v0", n_agents=6, horizon=4)
CITY = mfenvs.make("Taxi-v0", n_agents=5, horizon=4, city=("111", "HSH", "222"), jam=1.0)


def begun(game=GAME, policy=None, agent=None, seed=3, **arguments):
    env = RepresentativeVecEnv(game, policy, agent, **arguments)
    env.seed(seed)
    return env, env.reset()


class Counting:
    """Taxi i of every world goes in direction i mod 4, and remembers what it saw."""

    def __init__(self):
        self.seen = []

    def action_probabilities(self, observations):
        self.seen.append(observations.copy())
        return np.eye(5)[np.arange(len(observations)) % 5 % 4]


def test_acting_agents_act_and_all_others_play_the_policy():
    policy = Counting()
    env, observations = begun(CITY, policy, n_worlds=3, agents_per_world=2)
    engine = mfenvs.Engine(CITY, 3)
    engine.reset(seed=3)
    rng = np.random.default_rng(0)
    worlds, acting = np.arange(3)[:, None], env.acting.copy()
    assert observations.shape == (6, CITY.n_features)
    for t in range(4):
        assert_array_equal(observations, engine.observe()[worlds, acting].reshape(6, -1))
        own = rng.integers(0, 5, (3, 2))
        expected = np.tile([0, 1, 2, 3, 0], (3, 1))
        expected[worlds, acting] = own
        seen = engine.observe().reshape(15, -1)
        earned = engine.step(expected)
        observations, rewards, dones, infos = env.step(own.ravel())
        assert_array_equal(policy.seen[-1], seen)
        assert_array_equal(rewards, earned[worlds, acting].ravel())
        assert rewards.dtype == np.float32
        assert dones.tolist() == [t == 3] * 6
        places = engine.states["cell"]
        for row, info in enumerate(infos):
            assert info["share_zone_1"] == np.isin(places[row // 2], [0, 1, 2]).mean()
            assert info["share_zone_2"] == np.isin(places[row // 2], [6, 7, 8]).mean()
            assert ("terminal_observation" in info) is (t == 3)
    last = engine.observe()[worlds, acting].reshape(6, -1)
    assert_array_equal([info["terminal_observation"] for info in infos], last)
    assert all(info["TimeLimit.truncated"] is False for info in infos)
    engine.reset()
    assert_array_equal(observations, engine.observe()[worlds, env.acting].reshape(6, -1))
    assert env.reset_infos == [{"share_zone_1": 0.0, "share_zone_2": 0.0}] * 6
    assert env.engine.episode == 1


@pytest.mark.parametrize("agent", [None, 2])
def test_in_one_world_it_is_the_environment_of_one_agent(agent):
    env, rows = begun(agent=agent)
    single = RepresentativeAgentEnv(GAME, agent=agent)
    own, info = single.reset(seed=3)
    for t in itertools.count():
        assert env.acting.tolist() == [[info["agent"]]]
        assert_array_equal(rows, [own])
        if t == 12:
            break
        rows, rewards, dones, infos = env.step([t % 2])
        own, reward, terminated, _, _ = single.step(t % 2)
        assert rewards.tolist() == [reward]
        assert dones.tolist() == [terminated]
        if terminated:
            assert_array_equal(infos[0]["terminal_observation"], own)
            own, info = single.reset()


def test_when_everyone_acts_nobody_else_does():
    env, _ = begun(agents_per_world=6, n_worlds=2)
    all_agents = mfenvs.vec_env(GAME, 2)
    all_agents.seed(3)
    all_agents.reset()
    assert sorted(env.acting[0]) == sorted(env.acting[1]) == list(range(6))
    order = (env.acting + 6 * np.arange(2)[:, None]).ravel()
    rng = np.random.default_rng(0)
    for _ in range(3):
        actions = rng.integers(0, 2, 12)
        rows, rewards, _, _ = env.step(actions[order])
        expected = all_agents.step(actions)
        assert_array_equal(rows, expected[0][order])
        assert_array_equal(rewards, expected[1][order])


def test_acting_agents_are_distinct_and_uniform_and_drawn_anew():
    env, _ = begun(n_worlds=500, agents_per_world=2)
    drawn = []
    for _ in range(20):
        drawn.append(env.acting.copy())
        env.reset()
    drawn = np.concatenate(drawn)
    pairs = np.zeros((6, 6))
    np.add.at(pairs, tuple(drawn.T), 1)
    assert not pairs.diagonal().any()
    assert stats.chisquare(pairs[~np.eye(6, dtype=bool)]).pvalue > 1e-8
    episodes = drawn.reshape(20, 500, 2)[..., 0]
    changes = (episodes[1:] != episodes[:-1]).sum()
    assert stats.binomtest(int(changes), 19 * 500, 5 / 6).pvalue > 1e-8


def test_a_seed_repeats_worlds_and_who_acts():
    env, first = begun(CITY, n_worlds=4, agents_per_world=2)

    def episodes():
        rows = [env.acting.copy()]
        for _ in range(8):
            rows += env.step(np.full(8, 4))[:2]
            rows.append(env.acting.copy())
        return rows

    one = episodes()
    env.seed(3)
    assert_array_equal(env.reset(), first)
    for mine, other in zip(one, episodes(), strict=True):
        assert_array_equal(mine, other)
    env.seed(4)
    env.reset()
    assert any(not np.array_equal(mine, other) for mine, other in zip(one, episodes(), strict=True))


def test_without_a_seed_who_acts_is_random():
    runs = []
    for _ in range(2):
        env = RepresentativeVecEnv(GAME, n_worlds=100)
        env.reset()
        runs.append(env.acting.copy())
    assert not np.array_equal(*runs)


def test_deviators_of_different_runs_meet_the_same_others():
    """The others' law does not depend on what they see, so that only the two deviators' places can differ."""
    runs = []
    for action in (0, 1):
        env, _ = begun(CITY, agent=1, n_worlds=10)
        env.step(np.full(10, action))
        runs.append(env.engine.states.copy())
    others = [0, 2, 3, 4]
    assert_array_equal(runs[0][:, others], runs[1][:, others])
    assert not np.array_equal(runs[0][:, 1], runs[1][:, 1])


def test_observations_are_the_callers():
    env, first = begun(n_worlds=2)
    kept = first.copy()
    for _ in range(4):
        second = env.step([1, 1])[0]
        assert not np.shares_memory(first, second)
    assert_array_equal(first, kept)
    assert first.base is None or first.base.size == first.size


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"agents_per_world": 7}, ValueError, "agents_per_world must be an integer in [1, 6], got 7"),
        ({"agents_per_world": 0}, ValueError, "agents_per_world must be an integer in [1, 6], got 0"),
        ({"agents_per_world": 2, "agent": 1}, ValueError, "agents_per_world must be an integer in [1, 1], got 2"),
        ({"agent": 6}, ValueError, "agent must be an integer in [0, 5], got 6"),
        ({"n_worlds": 0}, ValueError, "n_worlds must be an integer >= 1, got 0"),
        ({"n_worlds": 1.5}, TypeError, "n_worlds must be an integer >= 1, got 1.5"),
        ({"population_policy": "best"}, TypeError, "population_policy must be None, a table"),
        ({"observe": "identity"}, ValueError, "observe must be among"),
        ({"n_agents": 3}, ValueError, "cannot be set on a game that is already made"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        RepresentativeVecEnv(GAME, **arguments)


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        ([0, 1, 0], ValueError, "actions must have shape (4,), got (3,)"),
        ([[0, 1], [0, 1]], ValueError, "actions must have shape (4,), got (2, 2)"),
        ([0, 1, 2, 0], ValueError, "must be in [0, 1], got 2"),
        ([0, 1, 0, -1], ValueError, "must be in [0, 1], got -1"),
        ([0.0] * 4, TypeError, "actions must be integers, got dtype float64"),
    ],
)
def test_wrong_actions_move_nothing(actions, error, message):
    env, _ = begun(n_worlds=2, agents_per_world=2)
    before = env.engine.states.copy()
    with pytest.raises(error, match=re.escape(message)):
        env.step(actions)
    assert_array_equal(env.engine.states, before)
    env.step(np.zeros(4, np.int32))


def test_steps_outside_an_episode():
    env = RepresentativeVecEnv(GAME)
    with pytest.raises(RuntimeError, match=r"before reset\(\): call reset\(\) first"):
        env.step([0])
    env.reset()
    for _ in range(9):  # episodes begin anew by themselves
        env.step([0])


def test_a_new_policy_for_everyone_by_name_and_constants():
    env = RepresentativeVecEnv("Epidemic-v0", n_worlds=2, n_agents=7, observe="one-hot-identity")
    assert (env.game.n_agents, env.num_envs, env.n_worlds) == (7, 2, 2)
    assert env.observation_space.shape == (10,)
    first = env.reset()
    assert first[:, 3:].argmax(axis=1).tolist() == env.acting[:, 0].tolist()


def test_stock_ppo_runs_on_it():
    env = VecMonitor(RepresentativeVecEnv(CITY, n_worlds=3, agents_per_world=2))
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=24, n_epochs=1, seed=1, device="cpu").learn(96)
    assert model.num_timesteps == 96
    assert len(model.ep_info_buffer) > 0
