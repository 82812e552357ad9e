"""MaskablePPO of sb3-contrib: the masks that it plays and learns by are the engine's."""

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from framework_examples import MASKED, assert_routes_step, load
from replay import Recording
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.vec_env import VecMonitor

import mfenvs
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
