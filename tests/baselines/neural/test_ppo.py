"""PPO's updates and rollouts, against SB3's and against the game played again."""

import copy

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from small_ppo import Recorder, are_equal, collected, epidemic, parameters, small
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

import mfenvs
from baselines.neural.distinct_observations import DistinctMinibatch, DistinctObservations
from baselines.neural.hyper_parameters import TABLE_2
from baselines.neural.perceptrons import Network
from baselines.neural.policy_and_value import Minibatch, PolicyAndValue
from baselines.neural.ppo import PPO
from baselines.neural.rollout import TensorRollout

# One update.


@pytest.mark.parametrize("path", ["distinct observations", "rows", "autograd"])
@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh])
@pytest.mark.parametrize(
    "extra",
    [{}, {"normalize_advantage": False, "max_grad_norm": 0.05}, {"clip_range": 0.001}, {"target_kl": 1e-3}],
)
def test_an_update_is_that_of_stock_sb3(monkeypatch, path, activation, extra):
    if path == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
    if path == "rows":
        monkeypatch.setattr(DistinctObservations, "of", lambda *args: None)
    arguments = {
        **{key: value for key, value in TABLE_2.items() if key != "batch_size"},
        "learning_rate": 5e-3,
        "policy_kwargs": {"net_arch": {"pi": [16, 8], "vf": [12]}, "activation_fn": activation},
        "batch_size": 30,
        "n_epochs": 2,
        "n_steps": 7,
        "device": "cpu",
        **extra,
    }
    ours = PPO("MlpPolicy", epidemic(max_episode_steps=3), seed=5, **arguments)
    ours.learn(98)  # so that laws are not uniform and the optimiser has its moments
    with pytest.warns(UserWarning, match="mini-batch size of 30"):
        stock = stable_baselines3.PPO("MlpPolicy", epidemic(max_episode_steps=3), **arguments)
    stock.set_parameters(copy.deepcopy(ours.get_parameters()))
    rollout = collected(ours).rollout_buffer
    assert (ours._networks is None) == (path == "autograd")
    if path != "autograd":
        made = ours._minibatches()(torch.arange(98))
        assert isinstance(made, Minibatch if path == "rows" else DistinctMinibatch)
    buffer = stock.rollout_buffer
    for t in range(7):
        row = (
            rollout.observations[t],
            rollout.actions[t].reshape(-1, 1),
            rollout.rewards[t],
            rollout.episode_starts[t],
        )
        buffer.add(*(tensor.numpy() for tensor in row), rollout.value_estimates[t], rollout.log_probs[t])
    with torch.no_grad():
        last = stock.policy.predict_values(torch.from_numpy(ours._last_obs))
    buffer.compute_returns_and_advantage(last, ours._last_episode_starts)
    np.testing.assert_allclose(rollout.advantages.numpy(), buffer.advantages, atol=1e-5)
    np.testing.assert_allclose(rollout.returns, buffer.returns, atol=1e-5)

    rng = np.random.default_rng(0)
    orders = [rng.permutation(98) for _ in range(2)]  # 4 minibatches each, the last of 8 rows

    passes = iter(orders)

    def minibatches(self, batch_size):
        return iter(torch.split(torch.from_numpy(next(passes)), batch_size))

    # SB3 numbers the rows by environment, then by step.
    theirs = iter([rows % 14 * 7 + rows // 14 for rows in orders])
    monkeypatch.setattr(TensorRollout, "minibatches", minibatches)
    before = parameters(ours)
    ours.train()
    monkeypatch.setattr(np.random, "permutation", lambda n: next(theirs))
    stock.set_logger(configure(None, []))
    stock.train()
    for name, value in parameters(stock).items():
        torch.testing.assert_close(ours.policy.state_dict()[name], value, rtol=0, atol=1e-5)
    assert max(float((before[name] - value).abs().max()) for name, value in parameters(ours).items()) > 1e-3
    if extra.get("target_kl"):
        steps = [model.policy.optimizer.state_dict()["state"][0]["step"] for model in (ours, stock)]
        assert steps[0] == steps[1] < 16
    logged = ours.logger.name_to_value
    assert stock.logger.name_to_value.keys() <= logged.keys()
    for name, value in stock.logger.name_to_value.items():
        if name != "train/n_updates":
            assert logged[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    if extra.get("clip_range"):
        assert logged["train/clip_fraction"] > 0.1


def test_only_distinct_observations_of_the_epidemic_pass_through_the_networks(monkeypatch):
    """Agents see one of two states and the time: 2 x 20 observations of 2000 rows."""
    rows = {"forward": [], "backward": []}
    for name, found in rows.items():
        original = getattr(Network, name)
        monkeypatch.setattr(Network, name, lambda self, x, f=found, o=original: (f.append(len(x)), o(self, x))[1])
    model = small(mfenvs.vec_env("Epidemic-v0", n_agents=100, horizon=20), batch_size=1500)
    model.learn(2000)
    n_minibatches = 2 * model.n_epochs
    # Two networks; a forward pass also in each of 20 steps, of two states at most, and for the last values.
    assert len(rows["backward"]) == 2 * n_minibatches
    assert 20 < max(rows["backward"]) <= 40
    assert max(rows["forward"][: 2 * 20]) <= 2
    assert sum(rows["forward"]) <= 2 * 20 * 2 + 2 * n_minibatches * 40 + 100


@pytest.mark.parametrize(
    "arguments",
    [
        {"policy_kwargs": {"net_arch": [8], "activation_fn": nn.ELU}},
        {"policy_kwargs": {"net_arch": []}},
        {"policy_kwargs": {"net_arch": {"pi": [8], "vf": []}}},
        {"clip_range_vf": 0.2},
    ],
    ids=str,
)
def test_other_networks_are_trained_by_sb3(arguments, monkeypatch):
    trained = []
    original = stable_baselines3.PPO.train
    monkeypatch.setattr(stable_baselines3.PPO, "train", lambda self: trained.append(original(self)))
    model = small(**arguments)
    before = parameters(model)
    model.learn(70)
    assert len(trained) == 1
    assert not are_equal(before, parameters(model))
    small().learn(70)
    assert len(trained) == 1


def test_frozen_parts_stay():
    model = small()
    model.policy.mlp_extractor.policy_net.requires_grad_(False)
    before = parameters(model)
    model.learn(140)
    for name, tensor in parameters(model).items():
        assert torch.equal(tensor, before[name]) == ("policy_net" in name), name


def test_target_kl_stops_an_update():
    free, bound = (small(target_kl=kl, learning_rate=0.03, n_epochs=6) for kl in (None, 1e-3))
    recorders = [Recorder(), Recorder()]
    for model, recorder in zip((free, bound), recorders, strict=True):
        model.learn(70, callback=recorder)
    assert free._n_updates == 6
    assert bound._n_updates < 6
    assert bound.policy.optimizer.state_dict()["state"][0]["step"] < 6 * 3
    assert recorders[1].logs[0]["train/approx_kl"] < recorders[0].logs[0]["train/approx_kl"]
    # With a bound so small that the second minibatch exceeds it, one step is taken.
    once = small(target_kl=1e-12, learning_rate=0.03).learn(70)
    assert once.policy.optimizer.state_dict()["state"][0]["step"] == 1


# Rollouts.


@pytest.mark.parametrize("path", ["own gradients", "autograd"])
@pytest.mark.parametrize("cut", [None, 3])
def test_what_is_collected(monkeypatch, cut, path):
    """Every number of a rollout, from the game played again with the same actions."""
    if path == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
    model = collected(
        small(epidemic(max_episode_steps=cut), n_steps=8, gamma=0.7, policy_kwargs={"net_arch": [64]})
    )
    rollout, again = model.rollout_buffer, epidemic(max_episode_steps=cut)
    again.seed(3)
    observations, starts = again.reset(), np.ones(14)
    n_ends, returns, ended = 0, np.zeros(14), []
    for t in range(8):
        np.testing.assert_array_equal(rollout.observations[t].numpy(), observations)
        np.testing.assert_array_equal(rollout.episode_starts[t].numpy(), starts)
        with torch.no_grad():
            values, log_probs, _ = model.policy.evaluate_actions(
                torch.from_numpy(observations), rollout.actions[t]
            )
        np.testing.assert_allclose(rollout.value_estimates[t], values[:, 0], atol=1e-5)
        np.testing.assert_allclose(rollout.log_probs[t], log_probs, atol=1e-5)
        observations, rewards, starts, infos = again.step(rollout.actions[t].numpy())
        returns += rewards
        expected = rewards
        if starts.all():
            n_ends += 1
            ended.append(returns.mean())
            returns[:] = 0
            if cut:
                last = torch.from_numpy(np.stack([info["terminal_observation"] for info in infos]))
                with torch.no_grad():
                    expected = rewards + 0.7 * model.policy.predict_values(last)[:, 0].numpy()
                assert np.abs(expected - rewards).max() > 1e-3
        np.testing.assert_allclose(rollout.rewards[t], expected, atol=1e-5)
    assert n_ends == (2 if cut else 1)
    assert len({tuple(row.tolist()) for row in rollout.actions}) > 1
    np.testing.assert_array_equal(model._last_obs, observations)
    assert model.logger.name_to_value["rollout/ep_rew_mean"] == pytest.approx(ended[-1], abs=1e-6)
    np.testing.assert_allclose(model._returns, returns, atol=1e-6)
    with torch.no_grad():
        last = model.policy.predict_values(torch.from_numpy(observations))[:, 0]
    fresh = TensorRollout(8, model.observation_space, model.action_space, "cpu", 0.7, 0.95, 14)
    for name in ("rewards", "value_estimates", "episode_starts"):
        getattr(fresh, name).copy_(getattr(rollout, name))
    fresh.estimate_advantages(last, torch.from_numpy(starts.astype(np.float32)))
    torch.testing.assert_close(rollout.advantages, fresh.advantages, rtol=0, atol=1e-5)


class Half(gymnasium.Env):
    """One of the rows' episodes is cut in every second step, the other's end in every third; float64 features."""

    observation_space = spaces.Box(-10.0, 10.0, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, cut):
        self.cut = cut

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.array([self.cut, 0.0]), {}

    def step(self, action):
        self.time += 1
        observation = np.array([self.cut, self.time])
        return observation, 1.0, not self.cut and self.time == 3, self.cut and self.time == 2, {}


def test_rows_end_at_times_of_their_own_and_features_are_double():
    model = collected(small(DummyVecEnv([lambda: Half(True), lambda: Half(False)]), n_steps=6, gamma=0.5))
    rollout = model.rollout_buffer
    np.testing.assert_array_equal(rollout.episode_starts.numpy().T, [[1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0]])
    with torch.no_grad():
        value = model.policy.predict_values(torch.tensor([[1.0, 2.0]])).item()
    expected = [[1, 1 + 0.5 * value] * 3, [1] * 6]
    np.testing.assert_allclose(rollout.rewards.numpy().T, expected, atol=1e-6)
    model.train()
    model.learn(24)
    assert model.action_probabilities(np.zeros((3, 2))).shape == (3, 2)


class Anything(gymnasium.Env):
    """Observes at random; takes any action of its space; ends after three steps."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == 3, False, {}


@pytest.mark.parametrize(
    ("observation_space", "action_space", "policy"),
    [
        (Half.observation_space, spaces.MultiDiscrete([2, 3]), "MlpPolicy"),
        (Half.observation_space, spaces.MultiBinary(3), "MlpPolicy"),
        (Half.observation_space, spaces.Box(-1.0, 1.0, (2, 2), np.float32), "MlpPolicy"),
        (spaces.Discrete(5), spaces.Discrete(2), "MlpPolicy"),
        (spaces.Box(-1.0, 1.0, (2, 3), np.float32), spaces.Discrete(2), "MlpPolicy"),
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Discrete(2), "MlpPolicy"),
        (spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Discrete(2), "CnnPolicy"),
    ],
    ids=str,
)
def test_environments_of_other_kinds(observation_space, action_space, policy):
    env = DummyVecEnv([lambda: Anything(observation_space, action_space)] * 2)
    model = PPO(policy, env, n_steps=4, batch_size=8, device="cpu", policy_kwargs={}, seed=0)
    before = parameters(model)
    model.learn(16)
    assert model.num_timesteps == 16
    assert not are_equal(before, parameters(model))
    rows = np.stack([observation_space.sample() for _ in range(3)])
    assert np.shape(model.predict(rows)[0]) == (3, *action_space.shape)
    if isinstance(action_space, spaces.Discrete):
        np.testing.assert_allclose(model.action_probabilities(rows).sum(axis=1), 1.0, atol=1e-5)


def test_squashed_actions_are_scaled_to_the_box():
    box = spaces.Box(0.0, 4.0, (1,), np.float32)
    env = DummyVecEnv([lambda: Anything(Half.observation_space, box)])
    kwargs = {"squash_output": True}
    model = PPO(
        "MlpPolicy", env, n_steps=16, batch_size=8, device="cpu", policy_kwargs=kwargs, use_sde=True, seed=0
    )
    recorder = Recorder()
    model.learn(16, callback=recorder)
    taken = np.array(recorder.actions)
    np.testing.assert_allclose(taken, 2 + 2 * model.rollout_buffer.actions.numpy(), atol=1e-5)
    assert taken.max() > 2 > taken.min()
