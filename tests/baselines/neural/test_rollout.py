"""The rollout against plain loops, closed forms and SB3's buffer."""

import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from baselines.neural.rollout import TensorRollout

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)


def filled(n_steps=9, n_envs=4, gamma=0.9, gae_lambda=0.8, seed=0, ends=0.3, action_space=None):
    """A rollout of random numbers, with ends of episodes inside; also what follows its last step."""
    rng = np.random.default_rng(seed)
    rollout = TensorRollout(
        n_steps,
        OBSERVATIONS,
        action_space or spaces.Discrete(3),
        gamma=gamma,
        gae_lambda=gae_lambda,
        n_envs=n_envs,
    )
    for tensor in (rollout.observations, rollout.rewards, rollout.value_estimates, rollout.log_probs):
        tensor.copy_(torch.from_numpy(rng.normal(size=tensor.shape)))
    rollout.actions.copy_(torch.from_numpy(rng.integers(0, 3, rollout.actions.shape)))
    rollout.episode_starts.copy_(torch.from_numpy(rng.random((n_steps, n_envs)) < ends))
    last_values = torch.from_numpy(rng.normal(size=n_envs).astype(np.float32))
    last_dones = torch.from_numpy((rng.random(n_envs) < 0.5).astype(np.float32))
    return rollout, last_values, last_dones


def by_definition(rollout, last_values, last_dones):
    """Advantage of step t: the sum of (gamma lambda)^k times the k-th next error, to the episode's end."""
    rewards, values = rollout.rewards.double().numpy(), rollout.value_estimates.double().numpy()
    starts = rollout.episode_starts.numpy()
    n_steps, n_envs = rewards.shape
    advantages = np.zeros((n_steps, n_envs))
    for env in range(n_envs):
        for t in range(n_steps):
            factor = 1.0
            for k in range(t, n_steps):
                is_last = k == n_steps - 1
                ends = bool(last_dones[env]) if is_last else bool(starts[k + 1, env])
                following = 0.0 if ends else float(last_values[env]) if is_last else values[k + 1, env]
                advantages[t, env] += factor * (rewards[k, env] + rollout.gamma * following - values[k, env])
                if ends:
                    break
                factor *= rollout.gamma * rollout.gae_lambda
    return advantages


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.9, 0.8), (1.0, 0.5), (0.5, 1.0), (0.99, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_advantages_are_those_of_the_definition(gamma, gae_lambda, n_steps):
    rollout, *last = filled(n_steps, 6, gamma, gae_lambda)
    rollout.estimate_advantages(*last)
    expected = by_definition(rollout, *last)
    np.testing.assert_allclose(rollout.advantages.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(rollout.returns, expected + rollout.values, atol=1e-5)


def test_without_discount_targets_are_sums_of_rewards():
    rollout, last_values, _ = filled(gamma=1.0, gae_lambda=1.0, ends=0.0)
    rollout.estimate_advantages(last_values, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    to_go = rollout.rewards.numpy()[::-1].cumsum(axis=0)[::-1]
    expected = to_go + last_values.numpy() * np.array([1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(rollout.returns, expected, atol=1e-5)


def test_equals_the_buffer_of_sb3():
    rollout, last_values, last_dones = filled()
    buffer = RolloutBuffer(9, OBSERVATIONS, spaces.Discrete(3), gamma=0.9, gae_lambda=0.8, n_envs=4)
    for t in range(9):
        buffer.add(
            rollout.observations[t].numpy(),
            rollout.actions[t].numpy().reshape(-1, 1),
            rollout.rewards[t].numpy(),
            rollout.episode_starts[t].numpy(),
            rollout.value_estimates[t],
            rollout.log_probs[t],
        )
    buffer.compute_returns_and_advantage(last_values, last_dones.numpy())
    rollout.estimate_advantages(last_values, last_dones)
    np.testing.assert_allclose(rollout.advantages.numpy(), buffer.advantages, atol=1e-6)
    np.testing.assert_allclose(rollout.returns, buffer.returns, atol=1e-6)


def test_a_pass_takes_every_row_once_in_an_order_of_chance():
    rollout, *last = filled()
    rollout.estimate_advantages(*last)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        orders = [[rows.tolist() for rows in rollout.minibatches(10)] for _ in range(2)]
        torch.manual_seed(0)
        samples = list(rollout.get(10))
    for order in orders:
        assert [len(rows) for rows in order] == [10, 10, 10, 6]
        assert sorted(itertools.chain(*order)) == list(range(36))
    assert orders[0] != orders[1]
    assert list(itertools.chain(*orders[0])) != list(range(36))
    for rows, sample in zip(orders[0], samples, strict=True):
        for k, row in enumerate(rows):
            t, env = divmod(row, 4)
            assert torch.equal(sample.observations[k], rollout.observations[t, env])
            assert sample.actions[k] == rollout.actions[t, env]
            assert sample.old_values[k] == rollout.value_estimates[t, env]
            assert sample.old_log_prob[k] == rollout.log_probs[t, env]
            assert sample.advantages[k] == rollout.advantages[t, env]
            assert sample.returns[k] == rollout.value_targets[t, env]


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Discrete(3), (9, 4), torch.int64),
        (spaces.Box(-1.0, 1.0, (2,), np.float32), (9, 4, 2), torch.float32),
        (spaces.MultiDiscrete([2, 3, 4]), (9, 4, 3), torch.float32),
    ],
    ids=str,
)
def test_shapes(space, shape, dtype):
    rollout, *_ = filled(action_space=space)
    assert rollout.actions.shape == shape
    assert rollout.actions.dtype == dtype
    assert rollout.observations.shape == (9, 4, 2)
    assert rollout.values.shape == rollout.returns.shape == (9, 4)
    assert next(rollout.get(5)).actions.shape == (5, *shape[2:])


def test_observations_must_be_arrays():
    with pytest.raises(TypeError, match="observations must be arrays, got Dict"):
        TensorRollout(9, spaces.Dict({"place": OBSERVATIONS}), spaces.Discrete(3))
