"""PPO against SB3's, against dynamic programming, and against what users of SB3 do with it."""

import copy
import dataclasses
import functools
import itertools
import random
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import supersuit
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from torch import nn

import mfenvs
from baselines.neural.hyper_parameters import TABLE_2
from baselines.neural.independent_ppo import IndependentPPO
from baselines.neural.perceptrons import PolicyAndValue
from baselines.neural.ppo import PPO
from baselines.neural.rollout import TensorRollout
from mfenvs import FiniteGame, Game, make, rule, vec_env
from mfenvs.evaluation import evaluate

SMALL = {"policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 32, "n_epochs": 2, "device": "cpu"}
EPIDEMIC = {"n_agents": 7, "horizon": 5}


def epidemic(n_worlds=2, **kwargs):
    return mfenvs.vec_env("Epidemic-v0", n_worlds, **{**EPIDEMIC, **kwargs})


def small(env=None, seed=3, **kwargs):
    return PPO("MlpPolicy", epidemic() if env is None else env, seed=seed, **{**SMALL, **kwargs})


def parameters(model):
    return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def are_equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def assert_same(a, b):
    """Two runs have come to the same place."""
    assert a.num_timesteps == b.num_timesteps
    assert a._n_updates == b._n_updates
    assert are_equal(parameters(a), parameters(b))
    one, other = a.policy.optimizer.state_dict()["state"], b.policy.optimizer.state_dict()["state"]
    assert one.keys() == other.keys()
    assert len(one) > 0
    for key in one:
        assert are_equal(one[key], other[key])
    np.testing.assert_array_equal(a._last_obs, b._last_obs)
    np.testing.assert_array_equal(a._last_episode_starts, b._last_episode_starts)
    np.testing.assert_array_equal(a._returns, b._returns)


class StopAt(BaseCallback):
    """Stops, or fails, in the n-th step."""

    def __init__(self, step, error=None):
        super().__init__()
        self.step, self.error = step, error

    def _on_step(self):
        if self.n_calls == self.step and self.error is not None:
            raise self.error
        return self.n_calls < self.step


class Recorder(BaseCallback):
    """Keeps what happens, what was logged of every update and the optimiser's rate after it."""

    def __init__(self):
        super().__init__()
        self.logs, self.rates, self.returns, self.actions, self.dones = [], [], [], [], []

    def _on_step(self):
        self.actions.append(np.copy(self.locals["actions"]))
        self.dones.append(np.copy(self.locals["dones"]))
        return True

    def _on_rollout_end(self):
        self.returns.append(self.logger.name_to_value.get("rollout/ep_rew_mean"))

    def _note(self):
        self.logs.append(dict(self.model.measured))
        self.rates.append(self.model.policy.optimizer.param_groups[0]["lr"])

    def _on_rollout_start(self):
        if self.n_calls:
            self._note()

    def _on_training_end(self):
        self._note()


def collected(model):
    """The model with a rollout, not yet trained on."""
    _, callback = model._setup_learn(10**6)
    callback.on_training_start({}, {})
    assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return model


# One update.


@pytest.mark.parametrize("path", ["own gradients", "autograd"])
@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh])
@pytest.mark.parametrize(
    "extra",
    [{}, {"normalize_advantage": False, "max_grad_norm": 0.05}, {"clip_range": 0.001}, {"target_kl": 1e-3}],
)
def test_an_update_is_that_of_stock_sb3(monkeypatch, path, activation, extra):
    if path == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
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


# Learning.


def optimal_and_random_return(street, arrival, horizon):
    """What the best policy and the uniformly random one earn in a street of one zone, by dynamic programming."""
    n = len(street)
    zone = [place for place in range(n) if street[place] == "1"]
    none = -1

    def arrivals(customers):
        empty = [place for place in zone if place not in customers]
        for new in itertools.product((False, True), repeat=len(empty)):
            probability = arrival ** sum(new) * (1 - arrival) ** (len(new) - sum(new))
            yield probability, customers | {place for place, came in zip(empty, new, strict=True) if came}

    def outcomes(cell, target, customers, action):
        """(probability, reward, cell, target, customers) before new customers appear."""
        if action in ("left", "right"):
            to = cell + (1 if action == "right" else -1)
            yield 1.0, 0.0, to if to in zone else cell, target, customers
        elif action == "wait" and target == cell:
            yield 1.0, 1.0, cell, none, customers
        elif action == "wait" and target == none and cell in customers:
            for to in zone:
                yield 1 / len(zone), 0.0, cell, to, customers - {cell}
        else:  # up and down lead nowhere
            yield 1.0, 0.0, cell, target, customers

    @functools.cache
    def value(time, cell, target, customers, plays_best):
        if time == horizon:
            return 0.0
        found = [
            sum(
                p * (reward + sum(q * value(time + 1, *to, then, plays_best) for q, then in arrivals(waiting)))
                for p, reward, *to, waiting in outcomes(cell, target, customers, action)
            )
            for action in ("up", "down", "left", "right", "wait")
        ]
        return max(found) if plays_best else sum(found) / 5

    start = (0, street.index("S"), none, frozenset())
    return value(*start, True), value(*start, False)


@pytest.mark.parametrize(("street", "arrival"), [("S1", 0.3), ("S11", 0.5)])
def test_finds_the_optimum_of_a_taxi_alone(street, arrival):
    constants = {"city": (street,), "base_rewards": (1.0,), "arrival": arrival, "jam": 0.0, "heterogeneity": 0.0}
    game = mfenvs.make("Taxi-v0", n_agents=200, horizon=10, **constants)
    best, at_random = optimal_and_random_return(street, arrival, 10)
    untrained = evaluate(game, n_worlds=16, seed=1).mean_return
    # 3200 agents; an interval of 95% is wrong for one seed in 20, twice as wide for one in 10,000.
    assert abs(untrained.value - at_random) < 2 * (untrained.interval[1] - untrained.value)
    model = PPO(env=game, seed=1, learning_rate=3e-3, batch_size=500, gamma=1.0, ent_coef=1e-3, **net(32))
    model.learn(60 * 2000)
    found = evaluate(game, model, n_worlds=16, seed=1).mean_return
    error = found.interval[1] - found.value
    assert best * 0.95 - error < found.value < best + 2 * error
    assert found.value > 5 * at_random


def net(width):
    return {"policy_kwargs": {"net_arch": [width, width], "activation_fn": nn.LeakyReLU}, "device": "cpu"}


@dataclasses.dataclass(kw_only=True)
class Parity(FiniteGame):
    """Agent i is paid for action i % 2."""

    n_agents: int = 8
    horizon: int = 4
    agent_dtype: ClassVar[np.dtype] = np.dtype([("wants", np.int64)])
    n_states = 1
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 1.0 if action == agent.wants else 0.0

    def draw_agents(self, rng):
        return (np.arange(self.n_agents) % 2).view(self.agent_dtype)


@pytest.mark.parametrize(
    ("n_agents", "observe", "reward"),
    [
        (8, (), 0.5),
        (8, "one-hot-identity", 1.0),
        (8, "own-parameters", 1.0),
        (2, "integer-identity", 1.0),
        (3, ["integer-identity"], 1.0),
        (3, (), 2 / 3),
    ],
    ids=str,
)
def test_identity_is_information(n_agents, observe, reward):
    game = Parity(n_agents=n_agents)
    model = PPO(
        env=game,
        observe=observe,
        seed=0,
        n_steps=32,
        batch_size=128,
        learning_rate=0.01,
        gamma=0.0,
        ent_coef=0.1,  # less, and a third of the seeds end where agent 1 of 3 does as its neighbours
        **net(32),
    )
    model.learn(40 * 32 * n_agents)
    found = evaluate(game, model, n_worlds=32).mean_return
    # Without identity the best policy is one for all: it can be no better, whatever is drawn.
    assert found.value / 4 == pytest.approx(reward, abs=0.05)


# Saving, loading and going on.


@pytest.mark.parametrize("n_steps", [5, 3, 7], ids=["horizon", "shorter", "longer"])
@pytest.mark.parametrize("stop", [1, 8, 14])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, n_steps, stop):
    total = 4 * n_steps * 14
    whole, part, recorder = small(n_steps=n_steps), small(n_steps=n_steps), Recorder()
    whole.learn(total, callback=recorder)
    part.learn(total, callback=StopAt(stop))
    assert part.num_timesteps == (stop - 1) // n_steps * n_steps * 14
    part.save(tmp_path / "part")
    resumed = PPO.load(tmp_path / "part", env=epidemic(), device="cpu")
    assert resumed.seed == 3
    for model in (resumed, part):
        again = Recorder()
        model.learn(total - model.num_timesteps, reset_num_timesteps=False, callback=again)
        assert_same(model, whole)
        assert again.returns == recorder.returns[4 - len(again.returns) :]
        assert again.rates == recorder.rates[4 - len(again.rates) :]
    assert resumed.learn(total, reset_num_timesteps=False).num_timesteps == 2 * total


def test_a_run_that_is_resumed_often(tmp_path):
    whole = small(n_steps=3, learning_rate=1e-3).learn(8 * 42)
    path = tmp_path / "model.zip"
    small(n_steps=3, learning_rate=1e-3).learn(42).save(path)
    for steps in (42, 3 * 42, 2 * 42, 1):
        model = PPO.load(path, env=VecMonitor(epidemic()), device="cpu")
        model.save(path)
        PPO.load(path, device="cpu").save(path)  # without an environment, nothing is lost
        model = PPO.load(path, device="cpu")
        model.set_env(epidemic())
        model.learn(steps, reset_num_timesteps=False).save(path)
    assert_same(model, whole)


def test_a_checkpoint_from_within_a_rollout_begins_with_the_rollout(tmp_path):
    total = 5 * 5 * 14
    whole = small()
    # In steps 4, 8, ..., 24 of 25: within the rollouts, at the end of one and at the beginning of another.
    whole.learn(total, callback=CheckpointCallback(4, tmp_path, "at"))
    found = sorted(tmp_path.glob("at_*_steps.zip"))
    assert len(found) == 6
    for path in found:
        resumed = PPO.load(path, env=epidemic(), device="cpu")
        calls = int(path.stem.split("_")[1]) // 14
        assert resumed.num_timesteps == (calls - 1) // 5 * 5 * 14
        resumed.learn(total - resumed.num_timesteps, reset_num_timesteps=False)
        assert_same(resumed, whole)


class SaveAt(BaseCallback):
    def __init__(self, folder):
        super().__init__()
        self.folder, self.n = folder, 0

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.model.save(self.folder / f"start{self.n}")

    def _on_rollout_end(self):
        self.model.save(self.folder / f"end{self.n}")
        self.n += 1

    def _on_training_end(self):
        self.model.save(self.folder / "finish")


def test_saves_around_a_rollout_resume_too(tmp_path):
    total = 3 * 5 * 14
    whole = small().learn(total, callback=SaveAt(tmp_path))
    for name, done in {"start0": 0, "end0": 0, "start1": 70, "end2": 140, "finish": 210}.items():
        resumed = PPO.load(tmp_path / name, env=epidemic(), device="cpu")
        assert resumed.num_timesteps == done
        if done < total:
            resumed.learn(total - done, reset_num_timesteps=False)
        else:
            assert are_equal(parameters(resumed), parameters(whole))
            continue
        assert_same(resumed, whole)


def test_an_exception_in_a_rollout_costs_the_rollout_only(tmp_path):
    total = 4 * 3 * 14
    whole = small(n_steps=3).learn(total)
    model = small(n_steps=3)
    with pytest.raises(KeyboardInterrupt):
        model.learn(total, callback=StopAt(8, KeyboardInterrupt()))
    model.save(tmp_path / "model")
    resumed = PPO.load(tmp_path / "model", env=epidemic(), device="cpu")
    for each in (resumed, model):
        each.learn(2 * 3 * 14, reset_num_timesteps=False)
        assert_same(each, whole)
    with pytest.raises(KeyboardInterrupt):
        model.learn(total, callback=StopAt(2, KeyboardInterrupt()))
    model.learn(42)  # begins anew
    assert model.num_timesteps == 42


def test_a_loaded_model_may_have_more_worlds_or_another_environment(tmp_path):
    model = small(n_steps=3).learn(42)
    model.save(tmp_path / "model")
    larger = PPO.load(tmp_path / "model", env=epidemic(5), device="cpu")
    larger.learn(3 * 35, reset_num_timesteps=False)
    assert larger.num_timesteps == 42 + 3 * 35
    assert larger.rollout_buffer.observations.shape[:2] == (3, 35)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(epidemic(5))
    model.set_env(epidemic(heterogeneity=0.0))
    model.learn(42)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        PPO.load(tmp_path / "model", env=epidemic(observe="mean-field"))


def test_a_model_without_environment_predicts(tmp_path):
    model = small(epidemic(observe=["mean-field"]))
    model.learn(140)
    model.save(str(tmp_path / "model"))
    loaded = PPO.load(tmp_path / "model.zip", device="cpu")
    observations = np.random.default_rng(0).random((50, *model.observation_space.shape), np.float32)
    np.testing.assert_array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    laws = loaded.action_probabilities(observations)
    np.testing.assert_array_equal(laws, model.action_probabilities(observations))
    game = epidemic().game
    mine, other = (evaluate(game, each, n_worlds=2).returns for each in (model, loaded))
    np.testing.assert_array_equal(mine, other)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    model = small().learn(70)
    model.save(tmp_path / "model")
    before = (tmp_path / "model.zip").read_bytes()

    def fail(file, *args, **kwargs):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("stable_baselines3.common.base_class.save_to_zip_file", fail)
    model.learn(70, reset_num_timesteps=False)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    assert (tmp_path / "model.zip").read_bytes() == before
    assert model.num_timesteps == 140


def test_saves_to_a_file_object_and_takes_exclude(tmp_path):
    model = small().learn(70)
    with (tmp_path / "file.zip").open("wb") as file:
        model.save(file, exclude=["tensorboard_log"])
    with (tmp_path / "file.zip").open("rb") as file:
        assert are_equal(parameters(PPO.load(file, device="cpu")), parameters(model))


# Randomness.


def test_the_seed_decides():
    runs = [parameters(small(seed=seed).learn(140)) for seed in (3, 3, 4, 0)]
    beginnings = [parameters(small(seed=seed)) for seed in (3, 3, 4)]
    for found in (runs, beginnings):
        assert are_equal(found[0], found[1])
        assert not are_equal(found[0], found[2])
    first, second = (small(seed=None) for _ in range(2))
    assert first.seed != second.seed
    assert not are_equal(parameters(first), parameters(second))
    again = small(seed=first.seed)
    assert are_equal(parameters(first.learn(70)), parameters(again.learn(70)))


def test_every_rollout_and_update_has_random_numbers_of_its_own(monkeypatch):
    drawn = []
    original = torch.rand, torch.randperm
    monkeypatch.setattr(torch, "rand", lambda n: drawn.append(original[0](n)) or drawn[-1])
    monkeypatch.setattr(torch, "randperm", lambda n, device: drawn.append(original[1](n)) or drawn[-1])
    small(n_steps=2).learn(3 * 28)
    assert len(drawn) == 3 * (2 + 2)  # a rollout of two steps, an update of two passes
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == len(drawn)


def test_the_process_keeps_its_random_states(tmp_path):
    def states():
        of_numpy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), of_numpy[1].tolist(), of_numpy[2], torch.get_rng_state().tolist()

    for arguments in ({}, {"policy_kwargs": {"net_arch": [4], "activation_fn": nn.ELU}}):
        before = states()
        model = small(**arguments)
        assert states() == before
        model.learn(140, callback=StopAt(8))
        assert states() == before
        model.save(tmp_path / "model")
        assert states() == before
        PPO.load(tmp_path / "model", env=epidemic(), device="cpu").learn(70, reset_num_timesteps=False)
        model.action_probabilities(np.zeros((1, *model.observation_space.shape), np.float32))
        assert states() == before
    # What the caller seeds does not matter to the run.
    torch.manual_seed(17)
    mine = small().learn(70)
    torch.manual_seed(18)
    assert_same(small().learn(70), mine)


# As users of SB3 expect.


def test_defaults_are_the_paper_s_and_can_be_overridden():
    game = mfenvs.make("Taxi-v0", n_agents=3, horizon=6)
    model = PPO(env=game)
    assert (model.n_steps, model.n_envs, model.batch_size, model.n_epochs) == (6, 3, 16_384, 4)
    assert (model.gamma, model.gae_lambda, model.ent_coef, model.vf_coef) == (0.999, 0.95, 6e-3, 0.9)
    assert (model.max_grad_norm, model.clip_range(1.0), model.normalize_advantage) == (0.5, 0.2, True)
    assert [model.lr_schedule(left) for left in (1.0, 0.5)] == [2.5e-4, 1.25e-4]
    for module in (model.policy.mlp_extractor.policy_net, model.policy.mlp_extractor.value_net):
        assert [type(layer) for layer in module] == [nn.Linear, nn.LeakyReLU] * 2
        assert [layer.out_features for layer in module[::2]] == [128, 128]
    kwargs = {"net_arch": [5], "activation_fn": nn.Tanh, "optimizer_class": torch.optim.SGD}
    model = PPO("MlpPolicy", "Epidemic-v0", policy_kwargs=kwargs, n_steps=2, learning_rate=0.1)
    assert model.n_envs == 1000
    before = parameters(model)
    model.learn(1)
    assert model.num_timesteps == 2000
    assert isinstance(model.policy.optimizer, torch.optim.SGD)
    assert [type(layer) for layer in model.policy.mlp_extractor.policy_net] == [nn.Linear, nn.Tanh]
    assert not are_equal(before, parameters(model))
    assert PPO(env="mfenvs/Epidemic-v0").n_steps == 20
    assert PPO(env="CartPole-v1", device="cpu").n_steps == 128


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="observe='mean-field' is for a game"):
        PPO(env=epidemic(), observe="mean-field")
    with pytest.raises(TypeError, match="learning_rat"):
        PPO(env=epidemic(), learning_rat=1.0)
    with pytest.raises(ValueError, match="observe must be among"):
        PPO(env=epidemic().game, observe="means")


def test_learning_rates():
    def rates(**kwargs):
        recorder = Recorder()
        small(n_steps=5, **kwargs).learn(4 * 70, callback=recorder)
        assert [log["train/learning_rate"] for log in recorder.logs] == recorder.rates
        return recorder.rates

    assert rates() == pytest.approx([2.5e-4, 1.875e-4, 1.25e-4, 0.625e-4])
    assert rates(learning_rate=1e-3) == [1e-3] * 4
    assert rates(learning_rate=lambda left: left**2) == pytest.approx([1.0, 0.5625, 0.25, 0.0625])


def test_a_resumed_schedule_goes_on():
    recorder = Recorder()
    model = small(clip_range=lambda left: 0.4 * left)
    model.learn(4 * 70, callback=[StopAt(13), recorder])
    model.learn(2 * 70, callback=recorder, reset_num_timesteps=False)
    assert recorder.rates[-2:] == pytest.approx([1.25e-4, 0.625e-4])
    assert recorder.logs[-1]["train/clip_range"] == pytest.approx(0.1)


def test_learns_twice_and_rounds_up():
    model = small(n_steps=3).learn(43)
    assert model.num_timesteps == 84
    before = parameters(model)
    model.learn(42)
    assert model.num_timesteps == 42
    assert not are_equal(before, parameters(model))
    assert not model._returns.any() or model._last_episode_starts.sum() == 0


def test_logs_and_callbacks(tmp_path):
    model = small(VecMonitor(epidemic()), tensorboard_log=str(tmp_path / "tb"), stats_window_size=14)
    evaluation = EvalCallback(
        VecMonitor(epidemic(1)),
        n_eval_episodes=7,
        eval_freq=5,
        log_path=tmp_path,
        best_model_save_path=tmp_path,
        verbose=0,
    )
    recorder = Recorder()
    model.learn(
        210, callback=[evaluation, CheckpointCallback(5, tmp_path / "checkpoints"), recorder], progress_bar=False
    )
    assert list((tmp_path / "tb").glob("PPO_1/events.out.tfevents*"))
    assert np.load(tmp_path / "evaluations.npz")["results"].shape == (3, 7)
    assert len(list((tmp_path / "checkpoints").glob("*.zip"))) == 3
    best = PPO.load(tmp_path / "best_model", device="cpu")
    assert np.isfinite(evaluate_policy(best, VecMonitor(epidemic()), n_eval_episodes=14)[0])
    assert len(recorder.actions) == 15
    assert recorder.actions[0].shape == (14,)
    assert len(model.ep_info_buffer) == 14
    assert {info["l"] for info in model.ep_info_buffer} == {5}
    names = {"loss", "entropy_loss", "value_loss", "approx_kl", "explained_variance", "learning_rate", "n_updates"}
    assert {f"train/{name}" for name in names} <= recorder.logs[-1].keys()
    # The mean that is logged without a Monitor is the same.
    monitored = np.mean([info["r"] for info in model.ep_info_buffer])
    assert recorder.returns[-1] == pytest.approx(monitored, abs=1e-5)


def test_functions_are_callbacks():
    seen = []
    model = small()
    model.learn(70, callback=lambda local, _global: bool(seen.append(local["self"])) or True)
    assert seen == [model] * 5


def test_normalised_environments():
    env = VecNormalize(epidemic(), gamma=0.9)
    model = small(env, n_steps=4)
    model.learn(112)
    model.learn(112, callback=StopAt(2), reset_num_timesteps=False)
    # What the next rollout begins with is what the wrapper showed last.
    np.testing.assert_allclose(model._last_obs, env.normalize_obs(env.get_original_obs()), atol=1e-5)
    model.learn(56, reset_num_timesteps=False)
    assert np.isfinite(model.rollout_buffer.returns).all()


def test_a_normalised_run_is_loaded_with_its_wrapper(tmp_path):
    env = VecNormalize(epidemic())
    model = small(env, n_steps=4).learn(112)
    model.save(tmp_path / "model")
    env.save(tmp_path / "normalize.pkl")
    again = VecNormalize.load(tmp_path / "normalize.pkl", epidemic())
    resumed = PPO.load(tmp_path / "model", env=again, device="cpu")
    first = []
    resumed.learn(
        56,
        callback=lambda local, _: bool(first.append(local["observations"].clone())) or True,
        reset_num_timesteps=False,
    )
    assert resumed.num_timesteps == 168
    np.testing.assert_allclose(resumed._returns, resumed.rollout_buffer.rewards.sum(dim=0), atol=1e-5)
    assert first[0].abs().max() > 1.01  # features of the game are within [0, 1]: these are normalised


def test_supersuit_s_conversion():
    parallel = supersuit.pettingzoo_env_to_vec_env_v1(mfenvs.parallel_env("Epidemic-v0", **EPIDEMIC))
    env = supersuit.concat_vec_envs_v1(parallel, 2, base_class="stable_baselines3")
    recorder = Recorder()
    with pytest.warns(UserWarning, match="SB3VecEnvWrapper cannot be seeded"):
        model = small(env, n_steps=5).learn(140, callback=recorder)
    assert model.num_timesteps == 140
    assert recorder.dones[4].all()
    assert recorder.dones[4].dtype == bool
    assert not model._returns.any()
    assert len(recorder.returns) == 2
    assert recorder.returns[-1] == pytest.approx(float(model.rollout_buffer.rewards.sum() / 14), abs=1e-5)
    assert model.rollout_buffer.episode_starts.sum() == 14


@pytest.mark.parametrize("trainer", [stable_baselines3.PPO, PPO])
def test_single_agents_made_by_gymnasium(trainer):
    """SB3 takes no VectorEnv of gymnasium's; ``make_vec_env`` is its way from an id to several environments."""
    constants = {"n_agents": 5, "horizon": 6}
    env = make_vec_env("mfenvs/Taxi-v0", 2, seed=0, env_kwargs=constants)
    model = trainer("MlpPolicy", env, n_steps=12, batch_size=12, device="cpu").learn(48)
    assert model.num_timesteps == 48
    assert {info["l"] for info in model.ep_info_buffer} == {6}
    model = trainer(
        "MlpPolicy", gymnasium.make("mfenvs/Taxi-v0", **constants), n_steps=12, batch_size=12, device="cpu"
    )
    assert model.learn(24).num_timesteps == 24


@pytest.mark.parametrize("observe", [(), ["own-parameters", "mean-field"]], ids=str)
def test_stock_ppo_on_a_city_of_all_agents(observe):
    env = mfenvs.vec_env("Taxi-v0", 2, n_agents=5, horizon=6, observe=observe)
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=12, batch_size=24, device="cpu").learn(240)
    assert model.num_timesteps == 240
    assert np.isfinite(evaluate(env.game, model, observe=observe, n_worlds=2).returns).all()


# Policies.


@pytest.mark.parametrize("path", ["own gradients", "autograd"])
def test_action_probabilities_are_the_policy_s(monkeypatch, path):
    if path == "autograd":
        monkeypatch.setattr(PolicyAndValue, "supports", staticmethod(lambda policy: False))
    model = small(mfenvs.vec_env("Taxi-v0", n_agents=6, horizon=8), learning_rate=0.02, n_epochs=10)
    observations = np.random.default_rng(0).random((2000, *model.observation_space.shape), np.float32)
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


def test_action_probabilities_follow_parameters_that_are_set(tmp_path):
    model, other = small(), small(seed=4)
    observations = np.random.default_rng(0).random((5, *model.observation_space.shape), np.float32)
    model.action_probabilities(observations)
    model.set_parameters(other.get_parameters())
    np.testing.assert_array_equal(
        model.action_probabilities(observations), other.action_probabilities(observations)
    )


def test_evaluation_does_not_disturb_training():
    whole, watched = small().learn(140), small()
    game = epidemic().game

    def look(local, _):
        model = local["self"]
        evaluate(game, model, n_worlds=2)
        model.predict(np.zeros((2, *model.observation_space.shape), np.float32), deterministic=True)
        return True

    assert_same(watched.learn(140, callback=look), whole)


@dataclasses.dataclass(kw_only=True)
class Line(Game):
    """Paid for going left, by as much as one goes."""

    n_agents: int = 20
    horizon: int = 4
    agent_dtype = np.dtype([("pace", np.float32)])
    state_dtype = np.dtype(np.float32)
    n_cells = 1
    n_features = 1
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def observation_space(self):
        return spaces.Box(-9.0, 9.0, (1,), np.float32)

    @staticmethod
    @rule
    def start(agent, initial, key):
        return np.float32(0.0)

    @staticmethod
    @rule
    def cell(state, action, agent):
        return 0

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        return state + agent.pace * action[0], -action[0]

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = np.float32(1.0) + state

    def draw_agents(self, rng):
        return np.ones(self.n_agents, np.float32).view(self.agent_dtype)


@pytest.mark.parametrize("use_sde", [False, True])
def test_box_actions_are_learned_by_autograd(tmp_path, use_sde):
    game = Line()
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


def test_a_box_run_resumes(tmp_path):
    def make():
        return PPO(env=Line(), seed=0, batch_size=30, n_steps=3, policy_kwargs={"net_arch": [8]}, device="cpu")

    whole, part = make().learn(240), make()
    part.learn(240, callback=StopAt(8))
    part.save(tmp_path / "part")
    resumed = PPO.load(tmp_path / "part", env=mfenvs.vec_env(Line()), device="cpu")
    assert_same(resumed.learn(120, reset_num_timesteps=False), whole)


# What a newcomer gets wrong.


def test_a_model_is_loaded_onto_a_game_or_an_environment_that_shows_the_same(tmp_path):
    seen = ["own-parameters", "mean-field"]
    game = make("Taxi-v0", n_agents=6, horizon=4)
    model = PPO("MlpPolicy", game, observe=seen, device="cpu", seed=0).learn(24)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip", env=game, device="cpu")
    assert again.learn(24, reset_num_timesteps=False).num_timesteps == 48
    with pytest.raises(ValueError, match=r"env must show agents \(OwnParameters\(\), MeanField\(\)\)"):
        PPO.load(tmp_path / "model.zip", env=vec_env(game, observe=seen[::-1]), device="cpu")


def test_a_policy_for_each_agent_is_not_one_for_all(tmp_path):
    game = make("Taxi-v0", n_agents=4, horizon=4)
    IndependentPPO("MlpPolicy", game, device="cpu", seed=0).save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="holds a model with a policy for each agent, not a PPO"):
        PPO.load(tmp_path / "model.zip", device="cpu")


def test_observations_of_another_shape_are_refused():
    model = PPO("MlpPolicy", make("Taxi-v0", n_agents=4, horizon=4), device="cpu", seed=0)
    small_city = make("Taxi-v0", n_agents=4, horizon=4, city=("1S2",))
    with pytest.raises(ValueError, match=r"observations must have shape \(n_rows, 64\).*got \(8, 10\)"):
        evaluate(small_city, model, n_worlds=2)


@pytest.mark.parametrize("name", ["Taxi-v1", "taxi"])
def test_unknown_games_are_named(name):
    with pytest.raises(ValueError, match=f"unknown game '{name}'"):
        PPO("MlpPolicy", name)


def test_an_environment_is_needed():
    with pytest.raises(TypeError, match="env must be a VecEnv, a game or the name of a registered one, got None"):
        PPO("MlpPolicy", None)


def test_normalised_observations_are_normalised_where_laws_are_asked_for():
    env = VecNormalize(vec_env(make("Taxi-v0", n_agents=6, horizon=4)), norm_reward=False)
    model = PPO("MlpPolicy", env, device="cpu", seed=0).learn(48)
    raw = env.get_original_obs()
    with torch.no_grad():
        expected = model.policy.get_distribution(
            torch.from_numpy(env.normalize_obs(raw)).float()
        ).distribution.probs
    np.testing.assert_allclose(model.action_probabilities(raw), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_functions_are_called_after_every_update():
    model = small()
    seen = []
    model.after_update.append(lambda: seen.append((model.num_timesteps, model._n_updates)))
    model.learn(140)
    assert seen == [(70, model.n_epochs), (140, 2 * model.n_epochs)]
    assert model.measured["train/n_updates"] == 2 * model.n_epochs
