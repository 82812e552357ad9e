"""Actions that are learned in [-1, 1] and played within the bounds of the box."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import mfenvs
from baselines import PPO
from baselines.neural.config import PPOConfig
from baselines.neural.trainers import PPOTrainer
from baselines.neural.unit_box import UnitBoxPolicy


def model(policy="UnitBoxPolicy", **choices):
    env = mfenvs.vec_env("EnergyMarket-v0", n_agents=20, horizon=4)
    return PPO(policy, env, seed=0, batch_size=40, device="cpu", **choices)


def test_predictions_are_scaled_to_the_bounds():
    made = model()
    with torch.no_grad():
        made.policy.action_net.bias.copy_(torch.tensor([0.0, -3.0, 1.7]))
        made.policy.action_net.weight.zero_()
    rows = made.env.reset()
    played = made.predict(rows, deterministic=True)[0]
    # The middle of [-1, 1], the lower end of [0, 1] and the upper one of [.08, .32].
    assert_allclose(played, np.tile([0.0, 0.0, 0.32], (20, 1)), atol=1e-6)
    drawn = made.predict(np.repeat(rows, 50, axis=0))[0]
    assert made.action_space.contains(drawn.min(axis=0))
    assert made.action_space.contains(drawn.max(axis=0))
    assert np.ptp(drawn[:, 0]) > 1


def test_what_is_played_in_training_is_what_is_scaled():
    """The rollout keeps the network's own actions; the market gets them scaled."""
    made, sent = model(), []
    step = made.env.step
    made.env.step = lambda actions: sent.append(actions.copy()) or step(actions)
    made.learn(80)
    kept = made.rollout_buffer.actions.numpy()
    low, high = np.array([-1, 0, 0.08]), np.array([1, 1, 0.32])
    assert len(sent) == 4
    assert_allclose(np.array(sent), low + (np.clip(kept, -1, 1) + 1) / 2 * (high - low), atol=1e-6)
    assert np.abs(kept).max() > 1


def test_it_is_the_policy_of_box_games_and_is_saved(tmp_path):
    trainer = PPOTrainer(mfenvs.make("EnergyMarket-v0", n_agents=20, horizon=4))
    assert isinstance(trainer.model.policy, UnitBoxPolicy)
    trainer.save(tmp_path / "checkpoint.zip")
    trainer.model.save(tmp_path / "model.zip")
    rows = trainer.model.env.reset()
    expected = trainer.model.predict(rows, deterministic=True)[0]
    for again in (
        PPO.load(tmp_path / "model.zip", device="cpu"),
        PPOTrainer.load(tmp_path / "checkpoint.zip", trainer.game, PPOConfig(seed=1)).model,
    ):
        assert isinstance(again.policy, UnitBoxPolicy)
        assert_allclose(again.predict(rows, deterministic=True)[0], expected, rtol=0)
    assert type(PPOTrainer(mfenvs.make("Epidemic-v0", n_agents=20)).model.policy) is not UnitBoxPolicy


def test_bounds_are_kept_in_spite_of_rounding():
    """Day-ahead tariffs: -.07601 to .36826 EUR/kWh, which single precision misses by a bit."""
    game = mfenvs.make("EnergyMarket-v0", n_agents=20, horizon=4, dynamic_tariffs=True)
    made = PPO("UnitBoxPolicy", game, seed=0, batch_size=40, device="cpu")
    for bias in (9.0, -9.0):
        with torch.no_grad():
            made.policy.action_net.bias.fill_(bias)
        rows = made.env.reset()
        assert all(made.action_space.contains(action) for action in made.predict(rows)[0])
        made.learn(80)


def test_it_needs_a_box():
    with pytest.raises(TypeError, match=r"UnitBoxPolicy needs actions of a Box, got Discrete\(2\)"):
        PPO("UnitBoxPolicy", mfenvs.make("Epidemic-v0", n_agents=4))
