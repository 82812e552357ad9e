"""PPO with the agents' identity by index, against networks that see it one-hot."""

import contextlib

import numpy as np
import pytest
import torch
from small_ppo import StopAt, assert_same, collected, epidemic, parameters, small
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize
from torch import nn

import mfenvs
from baselines.neural.collecting import RolloutCollector
from baselines.neural.grouping_kernels import read_one_hot
from baselines.neural.independent_ppo import IndependentPPO
from baselines.neural.policy_and_value import PolicyAndValue
from baselines.neural.ppo import PPO
from baselines.neural.risk_ppo import RiskAversePPO
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.evaluation import evaluate
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget

OBSERVE = ("own-parameters", "one-hot-identity", "mean-field")


def dense(monkeypatch):
    """Let networks see the identity as it is observed."""
    monkeypatch.setattr(PPO, "_takes_agents", lambda self, networks: False)
    original = PolicyAndValue.__init__
    monkeypatch.setattr(PolicyAndValue, "__init__", lambda self, policy, identity=None: original(self, policy))


def trained(n_updates=3, **kwargs):
    model = small(epidemic(max_episode_steps=4, observe=OBSERVE), n_steps=6, learning_rate=0.01, **kwargs)
    return model.learn(n_updates * 6 * 14)


def assert_learned_alike(ours, other):
    """A model whose identities are told by index has the rollout and the parameters of one that sees them."""
    np.testing.assert_array_equal(
        ours.rollout_buffer.observations,
        np.delete(other.rollout_buffer.observations.numpy(), ours.env.identity_columns, axis=2),
    )
    for name in ("actions", "episode_starts"):
        assert torch.equal(getattr(ours.rollout_buffer, name), getattr(other.rollout_buffer, name)), name
    for name in ("rewards", "log_probs", "value_estimates", "advantages", "value_targets"):
        one, two = (getattr(model.rollout_buffer, name) for model in (ours, other))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(ours._last_obs, other._last_obs)
    theirs = parameters(other)
    for name, value in parameters(ours).items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=2e-4)


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh])
def test_training_is_that_with_one_hot_columns(monkeypatch, activation):
    """Episodes are truncated within the rollout; the identity is between other features."""
    kwargs = {"policy_kwargs": {"net_arch": {"pi": [8, 8], "vf": [9]}, "activation_fn": activation}}
    ours = trained(**kwargs)
    assert ours.rollout_buffer.observations.shape == (6, 14, ours.observation_space.shape[0] - 7)
    assert ours._last_obs.shape == (14, ours.observation_space.shape[0])
    dense(monkeypatch)
    other = trained(**kwargs)
    assert other.rollout_buffer.observations.shape == (6, 14, *ours.observation_space.shape)
    assert_learned_alike(ours, other)
    moments = [model.policy.optimizer.state_dict()["state"] for model in (ours, other)]
    for key, state in moments[1].items():
        assert state["step"] == moments[0][key]["step"]
        torch.testing.assert_close(moments[0][key]["exp_avg"], state["exp_avg"], rtol=0, atol=1e-4)
    identity = ours.env.identity_columns
    first = ours.policy.mlp_extractor.policy_net[0].weight[:, identity].detach()
    assert float(first.std(dim=1).min()) > 1e-3  # agents are told apart


def deviators(**kwargs):
    """Three agents in each of two worlds, others in every episode, which is cut off after five steps."""
    constants = {"n_agents": 7, "horizon": 5, "discount": 0.9, "observe": OBSERVE}
    return RepresentativeVecEnv("Epidemic-v0", n_worlds=2, agents_per_world=3, **{**constants, **kwargs})


def test_deviators_learn_as_with_one_hot_columns(monkeypatch):
    """Who acts changes within the rollouts; truncated episodes have the values of who ended them."""
    ours = small(VecMonitor(deviators()), n_steps=8, learning_rate=0.01).learn(4 * 8 * 6)
    assert ours.rollout_buffer.observations.shape == (8, 6, ours.observation_space.shape[0] - 7)
    assert len(np.unique(ours.rollout_buffer.agents, axis=0)) >= 2
    dense(monkeypatch)
    other = small(VecMonitor(deviators()), n_steps=8, learning_rate=0.01).learn(4 * 8 * 6)
    assert other.rollout_buffer.agents is None
    assert_learned_alike(ours, other)
    assert ours.rollout_buffer.episode_starts[1:].any()
    assert ours._last_obs.shape == (6, ours.observation_space.shape[0])


def test_one_gradient_is_that_with_one_hot_columns(monkeypatch):
    found = []
    for whole in (False, True):
        if whole:
            dense(monkeypatch)
        model = collected(trained(1))
        model.policy.load_state_dict(found[0][0] if found else model.policy.state_dict())
        model._networks.refresh()
        batch = model._minibatches()(torch.from_numpy(np.random.default_rng(0).permutation(84)[:70]))
        sums = model._networks.compute_gradients(batch, 0.2, 0.01, 0.5)
        gradients = {name: p.grad.clone() for name, p in model.policy.named_parameters()}
        found.append((parameters(model), sums, gradients))
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)
    for name, gradient in found[1][2].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[0][2][name], gradient, rtol=0, atol=1e-5 * scale)


def test_probabilities_are_the_policy_s():
    model = trained()
    env = epidemic(observe=OBSERVE)
    env.seed(4)
    observations = env.reset()
    of_two = observations.copy()
    of_two[0, env.identity_columns] = 1.0
    anything = np.random.default_rng(0).random(observations.shape, np.float32)
    for seen in (observations, anything, 2 * observations, of_two):
        with torch.no_grad():
            expected = model.policy.get_distribution(torch.from_numpy(seen)).distribution.probs.numpy()
        np.testing.assert_allclose(model.action_probabilities(seen), expected, atol=1e-6)
    assert np.ptp(model.action_probabilities(observations)[:7, 0]) > 1e-3


def test_a_population_is_played_without_one_hot_columns_as_with_them(monkeypatch):
    model = trained()
    env = epidemic(observe=OBSERVE)
    assert model.takes_agents_by_index(env.identity_columns)
    env.seed(4)
    rows, agents = env.reset(), np.tile(np.arange(7), 2)
    own = np.delete(rows, env.identity_columns, axis=1)
    found = model.action_probabilities_of_agents(own, agents)
    np.testing.assert_allclose(found, model.action_probabilities(rows), atol=1e-6)
    asked = []
    by_index = type(model).action_probabilities_of_agents
    monkeypatch.setattr(
        type(model), "action_probabilities_of_agents", lambda *given: asked.append(1) or by_index(*given)
    )
    game = env.game
    played = evaluate(game, model, n_worlds=4, seed=1)
    assert len(asked) == game.horizon
    monkeypatch.setattr(type(model), "takes_agents_by_index", lambda self, identity: False)
    np.testing.assert_array_equal(played.returns, evaluate(game, model, n_worlds=4, seed=1).returns)


def test_probabilities_by_index_follow_parameters_and_environments_that_are_set():
    of_width = {"policy_kwargs": {"net_arch": [20, 20]}}
    model, other = (trained(1, seed=seed, **of_width) for seed in (3, 4))
    agents = np.arange(7)
    own = np.random.default_rng(0).random((7, model.observation_space.shape[0] - 7), np.float32)
    before = model.action_probabilities_of_agents(own, agents)
    model.set_parameters(other.get_parameters())
    after = model.action_probabilities_of_agents(own, agents)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(after, other.action_probabilities_of_agents(own, agents))
    model.set_env(VecNormalize(epidemic(observe=OBSERVE)))
    assert not model.takes_agents_by_index(epidemic(observe=OBSERVE).identity_columns)
    with pytest.raises(ValueError, match="do not take agents by index"):
        model.action_probabilities_of_agents(own, agents)


def test_agents_are_not_told_by_index_where_the_identity_is_elsewhere_or_normalised():
    model, others = trained(), epidemic(observe=("one-hot-identity", "own-parameters", "mean-field"))
    assert others.identity_columns != epidemic(observe=OBSERVE).identity_columns
    assert not model.takes_agents_by_index(others.identity_columns)
    there = epidemic(observe=OBSERVE).identity_columns
    normalised = PPO("MlpPolicy", VecNormalize(epidemic(observe=OBSERVE)))
    independent = IndependentPPO("MlpPolicy", epidemic(observe=OBSERVE))
    for other in (normalised, independent, PPO("MlpPolicy", epidemic())):
        assert not other.takes_agents_by_index(there)
        with pytest.raises(ValueError, match="do not take agents by index"):
            other.action_probabilities_of_agents(np.zeros((1, 7), np.float32), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("rows", "agents", "error", "message"),
    [
        (np.zeros((2, 7)), [0, 7], ValueError, r"agents\[1\] must be an integer in \[0, 6\], got 7"),
        (np.zeros((2, 7)), [-1, 0], ValueError, r"agents\[0\] must be an integer in \[0, 6\], got -1"),
        (np.zeros((2, 7)), [0.5, 1], TypeError, "agents must be integers"),
        (np.zeros((3, 7)), [0, 1], ValueError, r"observations must have shape \(2, \d+\), without the identity"),
        (np.zeros((2, 30)), [0, 1], ValueError, r"got \(2, 30\)"),
    ],
)
def test_rows_of_agents_by_index_are_checked(rows, agents, error, message):
    with pytest.raises(error, match=message):
        PPO("MlpPolicy", epidemic(observe=OBSERVE)).action_probabilities_of_agents(rows, agents)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 4, 1], [2]])
def test_one_hot_columns_are_read_in_any_order_and_nothing_else_is(order):
    rows = np.full((len(order), 9), 0.5, np.float32)
    rows[:, 2:7] = np.eye(5, dtype=np.float32)[order]
    places = np.empty(len(order), np.int32)
    assert read_one_hot(rows.view(np.uint32), 2, 7, places)
    assert places.tolist() == order
    for column in range(5):
        for value in (0.0, 0.25, 1.0, 2.0, np.nan):
            other = rows.copy()
            other[-1, 2 + column] = value
            is_one_hot = (value == 1.0) if column == order[-1] else (value == 0.0)
            assert read_one_hot(other.view(np.uint32), 2, 7, places) == is_one_hot


def test_saved_models_are_those_with_one_hot_columns(monkeypatch, tmp_path):
    model = trained()
    model.save(tmp_path / "model")
    width = model.observation_space.shape[0]
    weights = parameters(model)["mlp_extractor.policy_net.0.weight"]
    assert weights.shape == (8, width)
    again = PPO.load(tmp_path / "model", epidemic(max_episode_steps=4, observe=OBSERVE), device="cpu")
    for continued in (model, again):
        continued.learn(84, reset_num_timesteps=False)
    assert_same(model, again)
    game = mfenvs.make("Epidemic-v0", n_agents=7, horizon=5)
    ours = evaluate(game, model, n_worlds=3, seed=5)
    dense(monkeypatch)
    loaded = PPO.load(tmp_path / "model", device="cpu")
    loaded.set_parameters(model.get_parameters())
    assert evaluate(game, loaded, n_worlds=3, seed=5).mean_return == pytest.approx(ours.mean_return, abs=1e-5)


@pytest.mark.parametrize("stop", [None, RuntimeError("stopped")])
def test_a_rollout_that_is_stopped_leaves_whole_observations(stop):
    model = trained()
    before, width = np.copy(model._last_obs), model.observation_space.shape[0]
    with contextlib.nullcontext() if stop is None else pytest.raises(RuntimeError, match="stopped"):
        model.learn(84, callback=StopAt(3, stop), reset_num_timesteps=False)
    assert model._last_obs.shape == (14, width)
    assert model.env.step(np.zeros(14, np.int64))[0].shape == (14, width)
    if stop is None:
        np.testing.assert_array_equal(model._last_obs, before)
    other = trained()
    for continued in (model, other):
        continued.learn(84, reset_num_timesteps=False)
    if stop is not None:  # the step above was undone with the rollout
        assert_same(model, other)


@pytest.mark.parametrize("wrapper", [VecMonitor, VecNormalize])
def test_wrapped_environments(wrapper):
    env = wrapper(epidemic(observe=OBSERVE))
    model = small(env, n_steps=5).learn(140)
    is_whole = model.rollout_buffer.observations.shape[2] == env.observation_space.shape[0]
    assert is_whole == (wrapper is VecNormalize)  # normalised features are not one-hot


def test_what_learns_from_whole_observations_gets_them(monkeypatch):
    for arguments in ({"clip_range_vf": 0.2}, {"policy_kwargs": {"net_arch": [8], "activation_fn": nn.ELU}}):
        model = small(epidemic(observe=OBSERVE), **arguments).learn(70)
        assert model.rollout_buffer.observations.shape[2] == model.observation_space.shape[0]
    assert not RolloutCollector._takes_agents(model, model._networks)


def test_agents_averse_to_risk_have_their_budgets_and_their_identity():
    game = mfenvs.make("Epidemic-v0", n_agents=7, horizon=5)
    budget = RiskBudget.from_random_play(game, 0.5, n_episodes=5)
    env = RiskAverseVecEnv(game, 2, observe=("one-hot-identity", budget))
    width = env.observation_space.shape[0]
    arguments = {"policy_kwargs": {"net_arch": [8]}, "batch_size": 32, "n_epochs": 2, "device": "cpu", "seed": 1}
    model = RiskAversePPO("MlpPolicy", env, **arguments).learn(140)
    assert model.rollout_buffer.observations.shape == (5, 14, width - 7)
    assert model._last_obs.shape == (14, width)
