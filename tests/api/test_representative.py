import re

import gymnasium
import numpy as np
import pytest
from oracles import random_policy
from stable_baselines3 import PPO

import mfenvs
from mfenvs.games.epidemic import DISTANCE, GO_OUT

SHAPE = (4, 2, 2)


def make(policy=None, agent=None, **kwargs):
    constants = {"n_agents": 6, "horizon": 4} | kwargs
    return gymnasium.make("mfenvs/Epidemic-v0", population_policy=policy, agent=agent, **constants).unwrapped


def deterministic(choice):
    """A policy that takes ``choice(h, s)`` for certain."""
    policy = np.zeros(SHAPE)
    for h in range(4):
        for s in range(2):
            policy[h, s, choice(h, s)] = 1
    return policy


class WithProbabilities:
    def __init__(self, probabilities):
        self.probabilities = probabilities


@pytest.mark.parametrize("how", ["shared", "one each", "object"])
def test_the_others_play_their_policy(how):
    def choice(agent, h, s):
        return (h + s + (agent if how == "one each" else 0)) % 2

    each = np.stack([deterministic(lambda h, s, i=i: choice(i, h, s)) for i in range(6)])
    policy = {"shared": each[0], "one each": each, "object": WithProbabilities(each[0])}[how]
    single, engine = make(policy, agent=2), mfenvs.Engine(mfenvs.make("Epidemic-v0", n_agents=6, horizon=4))
    observation, info = single.reset(seed=5)
    states = engine.reset(seed=5)
    for h, own in enumerate([1, 0, 1, 1]):
        np.testing.assert_array_equal(observation, engine.observe()[0, 2])
        assert info == {"agent": 2}
        actions = [[own if i == 2 else choice(i, h, states[0, i]) for i in range(6)]]
        rewards = engine.step(actions)
        states = engine.states
        observation, reward, terminated, truncated, info = single.step(own)
        assert reward == rewards[0, 2]
        assert (terminated, truncated) == (h == 3, False)
    np.testing.assert_array_equal(observation, engine.observe()[0, 2])


def test_all_following_the_policy_is_a_rollout():
    policy = random_policy(np.random.default_rng(0), *SHAPE)
    game = mfenvs.make("Epidemic-v0", n_agents=6, horizon=4)
    run = mfenvs.Engine(game).rollout(policy, seed=9)
    single = make(policy, agent=3)
    single.reset(seed=9)
    for h in range(4):
        assert single.step(int(run.actions[0, h, 3]))[1] == run.rewards[0, h, 3]
        np.testing.assert_array_equal(single.engine.states, run.states[:, h + 1])


def test_no_policy_is_a_uniform_one():
    runs = []
    for policy in (None, np.full(SHAPE, 0.5)):
        single = make(policy, agent=0)
        single.reset(seed=3)
        for _ in range(4):
            single.step(1)
            runs.append(single.engine.states.tolist())
    assert runs[:4] == runs[4:]


def test_an_agent_is_drawn_in_each_episode():
    single = make()
    drawn = [single.reset(seed=1 if e == 0 else None)[1]["agent"] for e in range(300)]
    counts = np.bincount(drawn, minlength=6)
    assert len(counts) == 6
    # 50 expected each, with a standard deviation of 6.5
    assert counts.min() > 20
    again = [single.reset(seed=1 if e == 0 else None)[1]["agent"] for e in range(300)]
    assert drawn == again
    single.reset()
    assert single.reset()[1] == single.step(0)[4]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": np.full((4, 2, 3), 1 / 3)}, ValueError, "population_policy must have shape (4, 2, 2)"),
        ({"policy": np.full((5, *SHAPE), 0.5)}, ValueError, "must have shape (6, 4, 2, 2), got (5, 4, 2, 2)"),
        ({"policy": np.full(SHAPE, 0.4)}, ValueError, "population_policy[0, 0] must be probabilities"),
        (
            {"policy": "best"},
            TypeError,
            "population_policy must be None, a table of probabilities, or an object with action_probabilities,"
            " predict or actions, got 'best'",
        ),
        ({"policy": [[0.5, 0.5]]}, ValueError, "population_policy must have shape (4, 2, 2), got (1, 2)"),
        ({"agent": 6}, ValueError, "agent must be an integer in [0, 5], got 6"),
        ({"agent": -1}, ValueError, "agent must be an integer in [0, 5], got -1"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(**arguments)


@pytest.mark.parametrize(
    ("action", "error"), [(2, ValueError), (-1, ValueError), (0.5, TypeError), ([1], TypeError), (None, TypeError)]
)
def test_actions_that_are_none(action, error):
    single = make()
    single.reset(seed=0)
    with pytest.raises(error, match=r"action must be an integer in \[0, 1\], got "):
        single.step(action)
    assert single.engine.time == 0


def test_steps_outside_an_episode():
    single = make()
    with pytest.raises(RuntimeError, match=r"before reset\(\): call reset\(\) first"):
        single.step(0)
    single.reset(seed=0)
    for _ in range(4):
        single.step(np.int64(1))
    with pytest.raises(RuntimeError, match=r"after the end of the episode: call reset\(\) first"):
        single.step(0)


def test_gymnasiums_time_limit_truncates():
    single = gymnasium.make("mfenvs/Epidemic-v0", n_agents=6, horizon=4, max_episode_steps=2)
    single.reset(seed=0)
    assert [single.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]


@pytest.mark.slow
def test_stock_ppo_finds_the_best_response():
    """Two steps, everyone else always goes out, isolation costs 0.2.

    A healthy agent that goes out first falls ill with probability 0.9 * 1/2 and then loses 1: isolation is
    better then, and at no other place, since illness after the last step costs nothing.
    """
    out = np.zeros((2, 2, 2))
    out[..., GO_OUT] = 1.0
    constants = {"n_agents": 200, "horizon": 2, "aversion": 0.2, "heterogeneity": 0.0}
    single = gymnasium.make("mfenvs/Epidemic-v0", population_policy=out, agent=0, **constants)
    model = PPO(
        "MlpPolicy", single, n_steps=256, batch_size=64, learning_rate=3e-3, ent_coef=0.0, seed=0, device="cpu"
    )
    model.learn(256 * 24)
    seen = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0.5], [0, 1, 0.5]], np.float32)
    actions, _ = model.predict(seen, deterministic=True)
    assert actions.tolist() == [GO_OUT, DISTANCE, GO_OUT, GO_OUT]
