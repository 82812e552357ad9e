"""PufferLib: the PufferEnv steps in PufferLib's arrays what the engine steps, in one process and in workers."""

import numpy as np
import pytest

pytest.importorskip("pufferlib")

import pufferlib.vector
import torch
from framework_examples import BOX, ENDS, GOES_ON, MASKED, assert_routes_step, load
from replay import Recording, random_actions

import mfenvs
from mfenvs import Engine
from mfenvs.api.pufferlib import PopulationPufferEnv, puffer_env

example = load("pufferlib_ppo")

TAXI = mfenvs.make("Taxi-v0", n_agents=5, horizon=6)


@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
@pytest.mark.parametrize(
    "game", [ENDS, GOES_ON, MASKED, BOX, TAXI], ids=["ends", "goes-on", "masked", "box", "taxi"]
)
def test_episodes_are_the_engines(game, cut):
    steps = game.horizon - 1 if cut else game.horizon
    recording = Recording(game, n_worlds=2, n_episodes=3, steps=steps)
    n = 2 * game.n_agents
    env = puffer_env(game, 2, max_episode_steps=steps)
    arrays = env.observations, env.rewards, env.terminals, env.truncations
    observations, infos = env.reset(recording.seed)
    assert infos == []
    for e in range(2):
        for t in range(steps):
            np.testing.assert_array_equal(observations, recording.observations[e, t].reshape(n, -1))
            if game is MASKED:
                np.testing.assert_array_equal(env.action_masks(), recording.masks[e][t].reshape(n, -1))
            *results, infos = env.step(recording.rows(e, t))
            observations = results[0]
            assert all(result is array for result, array in zip(results, arrays, strict=True))
            np.testing.assert_array_equal(env.rewards, recording.rewards[e, t].reshape(-1))
            over = t == steps - 1
            goes_on = cut or game is GOES_ON
            assert (env.terminals == (over and not goes_on)).all()
            assert (env.truncations == (over and goes_on)).all()
            assert len(infos) == over
        told = infos[0]
        mean = recording.rewards[e].sum(axis=0, dtype=float).mean()
        assert told.pop("episode_return") == pytest.approx(mean, rel=1e-5)
        assert told.pop("episode_length") == steps
        for name, value in told.items():
            assert value == pytest.approx(np.mean([world[name] for world in recording.told[e][steps]]))
        assert told.keys() == recording.told[e][steps][0].keys()
    # In the step that ended the second episode the third has begun.
    np.testing.assert_array_equal(observations, recording.observations[2, 0].reshape(n, -1))
    assert env.masks.all()


def test_a_reset_clears_what_the_last_step_left():
    env = puffer_env(ENDS)
    env.reset(0)
    for _ in range(3):
        env.step(np.ones(5, int))
    assert env.terminals.all()
    assert env.rewards.any()
    env.reset(0)
    assert not env.terminals.any()
    assert not env.rewards.any()


def test_spaces_and_settings_are_those_of_the_game():
    env = pufferlib.vector.make(
        PopulationPufferEnv, env_args=["Epidemic-v0", 3], env_kwargs={"n_agents": 4, "observe": "mean-field"}
    )
    assert env.num_agents == 12
    assert env.observations.shape == (12, 5)
    assert env.observations.dtype == np.float32
    assert env.actions.shape == (12,)
    assert env.single_action_space == env.game.action_space


def replayed(game, seed, n_steps):
    """Observations and rewards of an engine in which everybody takes action 1."""
    engine = Engine(game)
    engine.reset(seed)
    seen, earned = [engine.observe()[0]], []
    for _ in range(n_steps):
        earned.append(engine.step(np.ones((1, game.n_agents), int))[0])
        if engine.time == game.horizon:
            engine.reset()
        seen.append(engine.observe()[0])
    return np.array(seen), np.array(earned)


@pytest.mark.parametrize("backend", ["Serial", "Multiprocessing"])
def test_several_environments_have_a_seed_each(backend):
    """PufferLib gives them consecutive ones, and they write into parts of its arrays."""
    workers = {"num_workers": 2} if backend == "Multiprocessing" else {}
    env = pufferlib.vector.make(PopulationPufferEnv, env_args=[ENDS], num_envs=2, backend=backend, **workers)
    expected = [replayed(ENDS, seed, 5) for seed in (11, 12)]
    try:
        env.async_reset(11)
        for t in range(6):
            observations, rewards, *_ = env.recv()
            np.testing.assert_array_equal(observations, np.concatenate([seen[t] for seen, _ in expected]))
            if t > 0:
                np.testing.assert_array_equal(rewards, np.concatenate([earned[t - 1] for _, earned in expected]))
            env.send(np.ones(10, int))
    finally:
        if backend == "Multiprocessing":
            env.recv()
        env.close()


def test_the_first_reset_takes_the_constructors_seed():
    first, second, third = puffer_env(ENDS, 9, seed=5), puffer_env(ENDS, 9, seed=0), puffer_env(ENDS, 9, seed=0)
    first.reset()
    second.reset(5)
    np.testing.assert_array_equal(first.observations, second.observations)
    first.reset()
    second.reset()
    np.testing.assert_array_equal(first.observations, second.observations)
    third.reset()
    assert not np.array_equal(second.observations, third.observations)


def test_wrong_arguments_are_named():
    env = puffer_env(ENDS)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(5, int))
    env.reset(0)
    with pytest.raises(ValueError, match=r"actions must have shape \(5,\), got \(4,\)"):
        env.step(np.zeros(4, int))
    with pytest.raises(ValueError, match="seed"):
        puffer_env(ENDS, seed=-1)
    buffers = {
        name: np.zeros(10, kind)[::2]
        for name, kind in (("rewards", np.float32), ("terminals", bool), ("truncations", bool), ("masks", bool))
    }
    buffers |= {"observations": env.observations, "actions": env.actions, "teacher_actions": env.actions}
    with pytest.raises(ValueError, match=r"buf\['rewards'\] must be contiguous"):
        PopulationPufferEnv(ENDS, 1, buf=buffers)


def test_advantages_are_v_traces():
    """Against sums over pairs of steps: the error of step k reaches back by factors gamma lambda c."""
    rng = np.random.default_rng(0)
    values, rewards = rng.normal(size=(2, 3, 6))
    ratio = rng.uniform(0.2, 2.0, (3, 6))
    ends = np.zeros((3, 6))
    ends[0, 3] = ends[2, 5] = 1.0
    arrays = [torch.as_tensor(a, dtype=torch.float32) for a in (values, rewards, ends, ratio)]
    found = example.advantages(*arrays, torch.zeros(3, 6), 0.9, 0.8, 1.0, 0.7).numpy()
    for i in range(3):
        for t in range(5):
            expected, weight = 0.0, 1.0
            for k in range(t, 5):
                goes_on = 1.0 - ends[i, k + 1]
                after = rewards[i, k + 1] + 0.9 * values[i, k + 1] * goes_on
                expected += weight * min(ratio[i, k], 1.0) * (after - values[i, k])
                if not goes_on:
                    break
                if k + 1 < 5:
                    # c of step k weighs what comes after it.
                    weight *= 0.72 * min(ratio[i, k], 0.7)
            assert found[i, t] == pytest.approx(expected, abs=1e-5)
        assert found[i, 5] == 0.0


def test_box_actions_are_taken_as_they_are():
    env = puffer_env(BOX, 2)
    env.reset(1)
    actions = random_actions(np.random.default_rng(0), BOX.action_space, (10,))
    engine = Engine(BOX, 2)
    engine.reset(1)
    np.testing.assert_array_equal(env.step(actions)[1], engine.step(actions.reshape(2, 5, 1)).reshape(-1))


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_taxis_learn():
    """Random taxis earn .58, trained ones more than 4."""
    at_random, trained = example.main(60_000)
    assert 0.4 < at_random < 0.8
    assert trained > 1.6
