"""Gradients without autograd, against autograd; sampling, against the laws."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from baselines.neural.distinct_observations import DistinctObservations, DistinctRows
from baselines.neural.perceptrons import BLOCK_ROWS
from baselines.neural.policy_and_value import Minibatch, PolicyAndValue
from baselines.neural.ppo_kernels import CLIPPED, ENTROPY, KL, POLICY_LOSS, VALUE_LOSS, sample_actions

N_FEATURES, N_ACTIONS = 6, 4
BOX = spaces.Box(-np.inf, np.inf, (N_FEATURES,), np.float32)


def make_policy(
    pi=(16, 8), vf=(16, 8), activation=nn.LeakyReLU, observation_space=BOX, action_space=None, **kwargs
):
    """An SB3 policy whose heads have weights of the size of the others, so that laws are far from uniform."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        policy = ActorCriticPolicy(
            observation_space,
            spaces.Discrete(N_ACTIONS) if action_space is None else action_space,
            lambda _: 1e-3,
            net_arch={"pi": list(pi), "vf": list(vf)},
            activation_fn=activation,
            **kwargs,
        )
        for parameter in policy.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return policy


def make_batch(policy, n_rows, size, seed=0):
    """A minibatch of ``size`` rows of a rollout of ``n_rows``, collected by a somewhat different policy."""
    rng = np.random.default_rng(seed)
    observations = torch.from_numpy(rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32))
    rows = torch.from_numpy(rng.permutation(n_rows)[:size])
    actions = rng.integers(0, N_ACTIONS, size)
    with torch.no_grad():
        _, now, _ = policy.evaluate_actions(observations[rows], torch.from_numpy(actions))
    old = now.numpy() + rng.normal(0.0, 0.3, size)
    return Minibatch(
        observations,
        rows,
        actions,
        old.astype(np.float32),
        rng.normal(0.2, 1.0, size).astype(np.float32),
        rng.normal(1.0, 2.0, size).astype(np.float32),
    )


def by_autograd(policy, batch, clip_range, entropy_coefficient, value_coefficient):
    """Gradients of PPO's loss and the means that are logged, in double precision, written plainly."""
    double = copy.deepcopy(policy).double()
    x = batch.observations[batch.rows].double()
    latent_pi, latent_vf = double.mlp_extractor(x)
    log_laws = torch.log_softmax(double.action_net(latent_pi), dim=1)
    log_probs = log_laws[torch.arange(len(x)), torch.from_numpy(batch.actions)]
    log_ratio = log_probs - torch.from_numpy(batch.old_log_probs).double()
    ratio, advantages = log_ratio.exp(), torch.from_numpy(batch.advantages).double()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    policy_loss = -torch.minimum(advantages * ratio, advantages * clipped).mean()
    entropy = -(log_laws.exp() * log_laws).sum(dim=1).mean()
    value_loss = ((double.value_net(latent_vf)[:, 0] - torch.from_numpy(batch.returns).double()) ** 2).mean()
    (policy_loss - entropy_coefficient * entropy + value_coefficient * value_loss).backward()
    means = np.zeros(5)
    means[POLICY_LOSS], means[ENTROPY], means[VALUE_LOSS] = policy_loss.item(), entropy.item(), value_loss.item()
    means[CLIPPED] = ((ratio - 1).abs() > clip_range).double().mean().item()
    means[KL] = (ratio - 1 - log_ratio).mean().item()
    for side, sign in itertools.product((ratio > 1 + clip_range, ratio < 1 - clip_range), (1, -1)):
        assert (side & (sign * advantages > 0)).sum() > 0.02 * len(ratio) or len(ratio) < 100
    return {name: parameter.grad.numpy() for name, parameter in double.named_parameters()}, means


def assert_gradients(policy, batch, clip_range=0.2, entropy=0.05, value=0.7, networks=None, distinct=None):
    networks = networks or PolicyAndValue(policy)
    given = batch if distinct is None else as_distinct(batch, distinct)
    sums = networks.compute_gradients(given, clip_range, entropy, value)
    gradients, means = by_autograd(policy, batch, clip_range, entropy, value)
    for name, parameter in policy.named_parameters():
        scale = np.abs(gradients[name]).max()
        np.testing.assert_allclose(
            parameter.grad.numpy(), gradients[name], rtol=0, atol=1e-5 * scale, err_msg=name
        )
    np.testing.assert_allclose(sums / len(batch.rows), means, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("pi", "vf"),
    [((16, 8), (16, 8)), ((12,), (5, 9, 7)), ((3, 20, 4), (33,))],
    ids=["equal", "deep value", "deep law"],
)
@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.ReLU, nn.Tanh])
def test_gradients_are_those_of_autograd(pi, vf, activation):
    policy = make_policy(pi, vf, activation)
    assert PolicyAndValue.supports(policy)
    assert_gradients(policy, make_batch(policy, 3 * BLOCK_ROWS, 2 * BLOCK_ROWS + 37))


@pytest.mark.parametrize("size", [1, 2, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_gradients_of_batches_of_any_size(size):
    policy = make_policy()
    assert_gradients(policy, make_batch(policy, 2 * BLOCK_ROWS, size))


def as_distinct(batch, distinct):
    """The minibatch made of distinct observations."""
    of_rows = batch.actions, batch.old_log_probs, batch.advantages, batch.returns
    of_rollout = [np.zeros(len(batch.observations), array.dtype) for array in of_rows]
    for whole, array in zip(of_rollout, of_rows, strict=True):
        whole[batch.rows.numpy()] = array
    return DistinctRows(distinct, *of_rollout, N_ACTIONS).minibatch(batch.rows, False)


def with_few_observations(policy, batch, n_steps):
    """The minibatch with other observations, few of which are distinct, and their distinct observations."""
    n, rng = len(batch.observations), np.random.default_rng(7)
    values = rng.normal(size=3)
    private = values[rng.integers(0, 3, (n, 3))]
    common = np.repeat(rng.normal(size=(n_steps, 3)), n // n_steps, axis=0)
    observations = np.concatenate([common[:, :1], private, common[:, 1:]], axis=1).astype(np.float32)
    batch = dataclasses.replace(batch, observations=torch.from_numpy(observations))
    with torch.no_grad():
        log_laws = policy.get_distribution(batch.observations).distribution.logits.numpy()
    # Old log-probabilities are a function of the observation and the action, some of them far from today's.
    _, of_row = np.unique(observations, axis=0, return_inverse=True)
    old = (log_laws + rng.normal(0.0, 0.3, (n, N_ACTIONS))[of_row])[batch.rows, batch.actions]
    batch.old_log_probs[:] = old
    distinct = DistinctObservations.of(observations.reshape(n_steps, -1, N_FEATURES), len(batch.rows))
    return batch, distinct


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.ReLU, nn.Tanh])
@pytest.mark.parametrize(("n_steps", "n_rows", "size"), [(10, 3000, 2500), (60, 15_000, 10_000)])
def test_gradients_by_distinct_observations_are_those_of_autograd(n_steps, n_rows, size, activation):
    policy = make_policy(activation=activation)
    batch, distinct = with_few_observations(policy, make_batch(policy, n_rows, size), n_steps)
    n_distinct = len(np.unique(batch.observations[batch.rows], axis=0))
    assert n_distinct < 300 or n_distinct > BLOCK_ROWS
    networks = PolicyAndValue(policy)
    assert_gradients(policy, batch, networks=networks, distinct=distinct)
    assert_gradients(policy, batch, networks=networks)
    other = make_policy((16, 8), (3,), activation)
    assert_gradients(other, batch, distinct=distinct)


def test_gradients_with_an_infinite_ratio_of_an_advantage():
    """The objective is clipped: a ratio that overflows single precision does not matter to it."""
    policy = make_policy()
    batch = make_batch(policy, 30, 30)
    batch.observations[:] = 1.0
    batch.advantages[:] = np.abs(batch.advantages)
    batch.old_log_probs[batch.actions == 2] = -200.0
    distinct = DistinctObservations.of(batch.observations.numpy().reshape(5, 6, N_FEATURES), 30)
    networks, found = PolicyAndValue(policy), []
    with np.errstate(over="ignore"):
        for given in (batch, as_distinct(batch, distinct)):
            log = networks.compute_gradients(given, 0.2, 0.05, 0.7)[[POLICY_LOSS, ENTROPY, VALUE_LOSS]]
            found.append([log, *(parameter.grad.numpy().copy() for parameter in policy.parameters())])
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("clip_range", "entropy", "value"), [(0.1, 0.0, 0.0), (0.3, 1.0, 0.0), (0.2, 0.0, 2.0), (0.2, -0.5, 0.5)]
)
def test_coefficients_weigh_the_parts_of_the_loss(clip_range, entropy, value):
    policy = make_policy(vf=(7,))
    batch = make_batch(policy, 500, 400)
    networks = PolicyAndValue(policy)
    networks.compute_gradients(batch, clip_range, entropy, value)
    if value == 0:
        for name, parameter in policy.named_parameters():
            if "value" in name:
                assert not parameter.grad.any()
    gradients, _ = by_autograd(policy, batch, clip_range, entropy, value)
    for name, parameter in policy.named_parameters():
        scale = max(np.abs(gradients[name]).max(), 1e-6)
        np.testing.assert_allclose(
            parameter.grad.numpy(), gradients[name], rtol=0, atol=1e-5 * scale, err_msg=name
        )


def test_gradients_do_not_add_up_over_batches_and_follow_the_parameters():
    policy = make_policy()
    networks = PolicyAndValue(policy)
    for seed in range(3):
        assert_gradients(policy, make_batch(policy, 300, 200, seed), networks=networks)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter -= 0.1 * parameter.grad
        networks.refresh()


def test_another_slope_and_extreme_logits():
    policy = make_policy(activation=lambda: nn.LeakyReLU(0.3))
    policy.action_net.bias.data += torch.tensor([60.0, 0.0, -60.0, 59.0])
    rng = np.random.default_rng(0)
    batch = make_batch(policy, 100, 90)
    batch.actions[:] = rng.choice([0, 3], 90)  # what has no probability is never chosen
    with torch.no_grad():
        _, now, _ = policy.evaluate_actions(batch.observations[batch.rows], torch.from_numpy(batch.actions))
    batch.old_log_probs[:] = now.numpy() + rng.normal(0.0, 0.3, 90)
    assert_gradients(policy, batch)


def test_values_and_log_probabilities_are_the_policy_s():
    policy = make_policy((9, 5), (4,), nn.Tanh)
    n = 2 * BLOCK_ROWS + 11
    observations = torch.from_numpy(np.random.default_rng(3).normal(size=(n, N_FEATURES)).astype(np.float32))
    actions, log_probs, values = np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)
    PolicyAndValue(policy).act(observations, actions, log_probs, values)
    with torch.no_grad():
        expected = policy.evaluate_actions(observations, torch.from_numpy(actions))
    np.testing.assert_allclose(values, expected[0][:, 0].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_probs, expected[1].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_distinct", [1, 7, 2 * BLOCK_ROWS])
def test_rows_with_the_same_observation_share_their_law_and_value(n_distinct):
    policy, n = make_policy((9, 5), (4,)), 5 * BLOCK_ROWS
    rng = np.random.default_rng(3)
    of_row = rng.permutation(np.arange(n) % n_distinct)
    observations = torch.from_numpy(rng.normal(size=(n_distinct, N_FEATURES)).astype(np.float32)[of_row])
    actions, log_probs, values = np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)
    draws = torch.from_numpy(rng.random(n, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda n: draws)
        PolicyAndValue(policy).act(observations, actions, log_probs, values)
    with torch.no_grad():
        expected = policy.evaluate_actions(observations, torch.from_numpy(actions))
        laws = policy.get_distribution(observations).distribution.probs.double().numpy()
    np.testing.assert_allclose(values, expected[0][:, 0].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_probs, expected[1].numpy(), rtol=1e-5, atol=1e-5)
    # The action at which the cumulated probabilities exceed the draw.
    reached = np.cumsum(laws, axis=1)[np.arange(n), actions]
    assert (draws.numpy() < reached + 1e-6).all()
    assert (draws.numpy() > reached - laws[np.arange(n), actions] - 1e-6).all()


@pytest.mark.parametrize("n_distinct", [50, None])
def test_actions_follow_each_row_s_own_law(n_distinct):
    policy = make_policy()
    n = 40 * BLOCK_ROWS + 5
    rng = np.random.default_rng(4)
    observations = torch.from_numpy(rng.normal(size=(n, N_FEATURES)).astype(np.float32))
    if n_distinct is not None:
        observations = observations[torch.arange(n) % n_distinct].contiguous()
    actions, unused = np.empty(n, np.int64), np.empty(n, np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        PolicyAndValue(policy).act(observations, actions, unused, unused)
    with torch.no_grad():
        laws = policy.get_distribution(observations).distribution.probs.double().numpy()
    # Beyond 5.5 standard deviations in one of 8 sums: probability 3e-7, if laws are right.
    for weight in (np.ones(n), observations[:, 0].numpy()):
        for action in range(N_ACTIONS):
            p = laws[:, action]
            deviation = np.sum(weight * ((actions == action) - p)) / np.sqrt(np.sum(weight**2 * p * (1 - p)))
            assert abs(deviation) < 5.5


def sample(logits, bias, draws):
    rows = np.tile(np.asarray(logits, np.float32), (len(draws), 1))
    actions, log_probs = np.empty(len(draws), np.int64), np.empty(len(draws), np.float32)
    sample_actions(rows, np.asarray(bias, np.float32), np.asarray(draws, np.float32), actions, log_probs)
    return actions, log_probs


def test_equally_spaced_draws_give_every_action_its_share():
    logits, bias = np.array([0.3, -1.0, 2.0, 0.0, -3.0]), np.array([0.5, 0.0, -1.0, 0.2, 1.0])
    law = np.exp(logits + bias) / np.exp(logits + bias).sum()
    n = 10_000
    actions, log_probs = sample(logits, bias, (np.arange(n) + 0.5) / n)
    assert np.abs(np.bincount(actions, minlength=5) - n * law).max() <= 1.5
    np.testing.assert_allclose(log_probs, np.log(law)[actions], rtol=1e-5)


@pytest.mark.parametrize("possible", [[1, 3], [0], [4], [2, 4], [0, 3]])
def test_an_action_without_probability_is_never_chosen(possible):
    logits = np.full(5, -200.0)
    logits[possible] = np.log(np.arange(1.0, len(possible) + 1))
    rng = np.random.default_rng(6)
    # The least and the greatest numbers that torch.rand gives.
    draws = np.concatenate([[0.0, 2.0**-24, 1 - 2.0**-23, 1 - 2.0**-24], rng.random(1000, np.float32)])
    for shift in rng.uniform(-3, 3, 50):
        actions, log_probs = sample(logits, np.full(5, shift), draws)
        assert set(actions.tolist()) == set(possible)
        assert np.isfinite(log_probs).all()


class Halved(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, N_FEATURES)

    def forward(self, x):
        return x / 2


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


class OwnPolicy(ActorCriticPolicy):
    pass


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": nn.GELU},
        {"activation": Doubled},
        {"activation": lambda: nn.LeakyReLU(-0.1)},
        {"pi": (), "vf": (4,)},
        {"pi": (4,), "vf": ()},
        {"pi": (), "vf": ()},
        {"action_space": spaces.Box(-1.0, 1.0, (2,), np.float32)},
        {"action_space": spaces.MultiDiscrete([2, 3])},
        {"features_extractor_class": Halved},
        {"observation_space": spaces.Discrete(5)},
        {"observation_space": spaces.MultiBinary(5)},
        {"observation_space": spaces.Box(-1.0, 1.0, (2, 3), np.float32)},
        {"observation_space": spaces.Box(0, 255, (3, 36, 36), np.uint8)},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_what_it_cannot_compute_is_left_to_autograd(arguments):
    assert not PolicyAndValue.supports(make_policy(**arguments))


def test_policies_of_other_classes_or_with_frozen_parts_are_left_to_autograd():
    assert not PolicyAndValue.supports(OwnPolicy(BOX, spaces.Discrete(3), lambda _: 1e-3))
    image = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    assert not PolicyAndValue.supports(ActorCriticCnnPolicy(image, spaces.Discrete(3), lambda _: 1e-3))
    policy = make_policy()
    assert PolicyAndValue.supports(policy)
    policy.mlp_extractor.policy_net.requires_grad_(False)
    assert not PolicyAndValue.supports(policy)
    elsewhere = make_policy().to("meta")
    assert not PolicyAndValue.supports(elsewhere)
    narrow = make_policy().double()
    assert not PolicyAndValue.supports(narrow)
