"""Action probabilities and predictions of PPO's policies."""

import numpy as np
import pytest
import torch
from line import Line
from small_ppo import Recorder, assert_same, epidemic, small

import mfenvs
from baselines.neural.policy_and_value import PolicyAndValue
from baselines.neural.ppo import PPO
from mfenvs.evaluation import evaluate


@pytest.mark.parametrize("n_distinct", [2000, 700])
@pytest.mark.parametrize("path", ["own gradients", "autograd"])
def test_action_probabilities_are_the_policy_s(monkeypatch, path, n_distinct):
    if path == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
    model = small(mfenvs.vec_env("Taxi-v0", n_agents=6, horizon=8), learning_rate=0.02, n_epochs=10)
    rng = np.random.default_rng(0)
    distinct = rng.random((n_distinct, *model.observation_space.shape), np.float32)
    observations = distinct[rng.permutation(2000) % n_distinct]
    before = model.action_probabilities(observations)
    for steps in (48, 96):
        model.learn(steps)
        laws = model.action_probabilities(observations)
        with torch.no_grad():
            expected = model.policy.get_distribution(torch.from_numpy(observations)).distribution.probs.numpy()
        assert laws.dtype == np.float32
        np.testing.assert_allclose(laws, expected, atol=1e-6)
        np.testing.assert_allclose(laws.sum(axis=1), 1.0, atol=1e-5)
    assert np.abs(laws - before).max() > 0.01


@pytest.mark.parametrize("width", [5, 20])
def test_action_probabilities_follow_parameters_that_are_set(width):
    """With weights that products read where they are, and with copies of them."""
    model, other = (small(seed=seed, policy_kwargs={"net_arch": [width, width]}) for seed in (3, 4))
    observations = np.random.default_rng(0).random((5, *model.observation_space.shape), np.float32)
    before = model.action_probabilities(observations)
    model.set_parameters(other.get_parameters())
    after = model.action_probabilities(observations)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(after, other.action_probabilities(observations))


def test_evaluation_does_not_disturb_training():
    whole, watched = small().learn(140), small()
    game = epidemic().game

    def look(local, _):
        model = local["self"]
        evaluate(game, model, n_worlds=2)
        model.predict(np.zeros((2, *model.observation_space.shape), np.float32), deterministic=True)
        return True

    assert_same(watched.learn(140, callback=look), whole)


@pytest.mark.parametrize("use_sde", [False, True])
def test_box_actions_are_learned_by_autograd(tmp_path, use_sde):
    game = Line(n_agents=20, horizon=4, origin=1.0)
    squashed = {"squash_output": True} if use_sde else {}
    kwargs = {"net_arch": [8], **squashed}
    model = PPO(env=game, seed=0, learning_rate=0.02, batch_size=80, policy_kwargs=kwargs, use_sde=use_sde)
    recorder = Recorder()
    model.learn(80 * 60, callback=recorder)
    assert np.abs(recorder.actions).max() <= 1.0
    assert evaluate(game, model, n_worlds=2).mean_return.value > 3.0  # of 4
    with pytest.raises(TypeError, match="needs discrete actions"):
        model.action_probabilities(np.zeros((1, 1), np.float32))
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", device="cpu")
    rows = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(
        loaded.predict(rows, deterministic=True)[0], model.predict(rows, deterministic=True)[0]
    )
