import pytest

pytest.importorskip("torchrl")

import numpy as np
import torch
from replay import Recording

import mfenvs
from mfenvs.conformance import libraries
from mfenvs.conformance.subject import Subject


def test_specs(case, observe):
    libraries.torchrl_env_specs(Subject(case.game(), observe))


@pytest.mark.parametrize("cut", [False, True], ids=["horizon", "cut"])
def test_steps_are_those_of_the_engine(case, cut):
    """Bit for bit, with the last observation of an episode and the first one of the next at its end."""
    game = case.game()
    if cut and game.horizon == 1:
        pytest.skip("an episode of one step cannot be cut")
    steps = game.horizon - 1 if cut else game.horizon
    recording = Recording(game, n_worlds=2, n_episodes=4, steps=steps)
    env = mfenvs.torchrl_env(game, 2, seed=recording.seed, max_episode_steps=steps if cut else None)
    assert env.max_steps == steps
    now = env.reset()
    for episode in range(3):
        for t in range(steps):
            assert_seen(now, recording, episode, t)
            assert_flags(now, False, False)
            now["agents", "action"] = torch.as_tensor(recording.actions[episode, t])
            now, following = env.step_and_maybe_reset(now)
            assert_seen(now, recording, episode, t)
            assert_seen(now["next"], recording, episode, t + 1)
            ends, goes_on = t == steps - 1, cut or game.is_infinite
            assert_flags(now["next"], ends and not goes_on, ends and goes_on)
            reward = now["next", "agents", "reward"]
            assert reward.dtype == torch.float32
            np.testing.assert_array_equal(reward[..., 0], recording.rewards[episode, t])
            now = following
    assert_seen(now, recording, 3, 0)


def assert_seen(now, recording, episode, t):
    """Observations, action masks and infos are the recorded ones, and there is nothing else."""
    observations, masks = now["agents", "observation"], recording.masks[episode][t]
    np.testing.assert_array_equal(observations, recording.observations[episode, t])
    if masks is None:
        assert ("agents", "action_mask") not in now.keys(True)
    else:
        assert now["agents", "action_mask"].dtype == torch.bool
        np.testing.assert_array_equal(now["agents", "action_mask"], masks.astype(bool))
    told = recording.told[episode][t]
    assert set(now.get("info", {}).keys()) == set(told[0])
    for name in told[0]:
        expected = np.array([[world[name]] for world in told], np.float32)
        np.testing.assert_array_equal(now["info", name], expected)


def assert_flags(now, terminated, truncated):
    for key, flag in (("done", terminated or truncated), ("terminated", terminated), ("truncated", truncated)):
        assert now[key].tolist() == [[flag]] * 2
