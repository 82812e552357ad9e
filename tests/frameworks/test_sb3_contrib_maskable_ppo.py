"""MaskablePPO of sb3-contrib: the masks that it plays and learns by are the engine's."""

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

import torch
from framework_examples import ENDS, GOES_ON, MASKED, assert_routes_step, load
from replay import Recording
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.vec_env import VecMonitor

import mfenvs
from mfenvs import Engine
from mfenvs.wrappers.rewards import ScaledRewards

example = load("sb3_contrib_maskable_ppo")


def test_masks_are_the_engines_through_wrappers_and_over_the_end_of_an_episode():
    recording = Recording(MASKED, n_worlds=2, n_episodes=2)
    inner = mfenvs.vec_env(MASKED, 2)
    inner.seed(recording.seed)
    env = VecMonitor(ScaledRewards(inner, np.ones(9)))
    env.reset()
    assert not np.array_equal(recording.masks[0][0], recording.masks[0][3])
    for e in range(2):
        for t in range(4):
            np.testing.assert_array_equal(get_action_masks(env), recording.masks[e][t].reshape(18, -1))
            env.step(recording.rows(e, t))


@pytest.mark.parametrize("game", [ENDS, GOES_ON, MASKED], ids=["ends", "goes-on", "masked"])
def test_a_rollout_is_what_the_engine_did(game):
    env = mfenvs.vec_env(game, 2)
    n, n_steps = env.num_envs, 2 * game.horizon
    settings = {"n_steps": n_steps, "batch_size": n, "n_epochs": 1, "learning_rate": 0.0, "gamma": 0.9}
    model = MaskablePPO("MlpPolicy", env, seed=7, device="cpu", **settings).learn(n * n_steps)
    stored = model.rollout_buffer

    def at(name, t):
        # The buffer was flattened for training, environment by environment.
        return getattr(stored, name).reshape(n, n_steps, -1)[:, t]

    engine = Engine(game, 2)
    for t in range(n_steps):
        if t % game.horizon == 0:
            engine.reset(7 if t == 0 else None)
        np.testing.assert_array_equal(at("observations", t), engine.observe().reshape(n, -1))
        np.testing.assert_array_equal(at("action_masks", t), engine.action_masks().reshape(n, -1))
        rewards = engine.step(at("actions", t).astype(int).reshape(2, -1)).reshape(-1)
        if game is GOES_ON and engine.time == game.horizon:
            last = torch.as_tensor(engine.observe().reshape(n, -1))
            with torch.no_grad():
                rewards = rewards + 0.9 * model.policy.predict_values(last).numpy().reshape(-1)
        # Rewards and starts of episodes are not flattened.
        np.testing.assert_allclose(stored.rewards[t], rewards, rtol=1e-5)
        assert (stored.episode_starts[t] == (t % game.horizon == 0)).all()


def test_no_masked_action_is_taken_or_learned_from():
    env = mfenvs.vec_env(MASKED, 2)
    model = MaskablePPO("MlpPolicy", env, seed=0, n_steps=8, batch_size=72, n_epochs=1, device="cpu").learn(144)
    buffer = model.rollout_buffer
    masks = buffer.action_masks.reshape(-1, 30).astype(bool)
    taken = buffer.actions.reshape(-1).astype(int)
    assert len(taken) == 8 * 18
    assert 0 < masks.mean() < 1
    assert masks[np.arange(len(taken)), taken].all()
    # Uniformly random actions would be masked more often than not.
    assert masks.mean() < 0.5


def test_all_routes_step():
    assert_routes_step(example)


@pytest.mark.slow
def test_prosumers_learn():
    """The means' standard errors are .09, and the two share their random numbers; .5 was gained in a run."""
    at_random, trained = example.main(100_000)
    assert trained > at_random + 0.25
