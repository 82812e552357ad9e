"""Small PPO models for tests, and callbacks that look at them."""

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

import mfenvs
from baselines.neural.ppo import PPO

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
