"""Policies from parameters, compared with hand-worked tables and with torch's own layers."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from baselines.stationary.policies import NetworkPolicies, TabularPolicies, ThresholdPolicies

LEVELS = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [1.0, 1.0]])


def actions(policies: ThresholdPolicies, *parameters: tuple[float, ...]) -> list[list[int]]:
    tables = policies.tables(np.array(parameters))
    assert_array_equal(np.sort(tables, axis=2)[..., :-1], 0.0)
    assert_array_equal(tables.sum(axis=2), 1.0)
    return tables.argmax(axis=2).tolist()


def test_a_threshold_is_reached_at_its_own_level() -> None:
    above = ThresholdPolicies(np.array([[0.0], [0.25], [0.5], [1.0]]), "above")
    assert actions(above, (0.25,), (0.26,), (-0.1,), (1.1,)) == [[0, 1, 1, 1], [0, 0, 1, 1], [1] * 4, [0] * 4]
    below = ThresholdPolicies(np.array([[0.0], [0.25], [0.5], [1.0]]), "below")
    assert actions(below, (0.25,), (0.26,), (-0.1,), (1.1,)) == [[1, 0, 0, 0], [1, 1, 0, 0], [0] * 4, [1] * 4]


def test_each_coordinate_decides_a_bit() -> None:
    assert actions(ThresholdPolicies(LEVELS, "above"), (0.5, 0.75), (0.75, 0.5)) == [[0, 1, 0, 3], [0, 0, 2, 3]]
    assert actions(ThresholdPolicies(LEVELS, "below"), (0.5, 0.75)) == [[3, 2, 3, 0]]


def test_parameters_are_projected_on_the_box() -> None:
    given = np.array([[-2.0, 0.25], [1.5, 0.75]])
    assert_array_equal(ThresholdPolicies(LEVELS, "above").project(given), [[0.0, 0.25], [1.0, 0.75]])
    assert_array_equal(TabularPolicies(1, 2, 1.25).project(given), [[-1.25, 0.25], [1.25, 0.75]])


@pytest.mark.parametrize("levels", [None, LEVELS], ids=["one-hot", "levels"])
@pytest.mark.parametrize("sizes", [(5, 5), (3,), (8, 16, 4)])
def test_networks_are_torch_s(levels, sizes) -> None:
    """Of each run by itself: nn.Linear and nn.Tanh with the run's parameters in the layers' order."""
    policies = NetworkPolicies(4, levels, sizes, 3, 10.0)
    rng = np.random.default_rng(1)
    parameters = rng.normal(size=(3, policies.n_parameters))
    weights = rng.normal(size=(3, 4, 3))
    tables, gradients = policies.tables(parameters), policies.gradient(parameters, weights)
    assert tables.shape == (3, 4, 3)
    assert tables.dtype == np.float32
    widths = [4 if levels is None else 2, *sizes, 3]
    for run in range(3):
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise(widths):
            layers += [nn.Linear(i, o), nn.Tanh()]
        network = nn.Sequential(*layers[:-1]).double()
        rest = torch.from_numpy(parameters[run])
        with torch.no_grad():
            for layer in network[::2]:
                i, o = layer.in_features, layer.out_features
                layer.weight.copy_(rest[: i * o].reshape(i, o).T)
                layer.bias.copy_(rest[i * o : (i + 1) * o])
                rest = rest[(i + 1) * o :]
        assert not len(rest)
        log = network(torch.from_numpy(np.eye(4) if levels is None else levels)).log_softmax(-1)
        assert_allclose(tables[run], log.detach().exp(), rtol=1e-4, atol=1e-6)
        (log * torch.from_numpy(weights[run])).sum().backward()
        expected = [part for layer in network[::2] for part in (layer.weight.grad.T.ravel(), layer.bias.grad)]
        assert_allclose(gradients[run], torch.cat(expected), rtol=1e-3, atol=1e-5)


def test_first_weights_are_torch_s() -> None:
    low, high = NetworkPolicies(4, LEVELS, (9,), 2, 10.0).first
    assert_array_equal(low, -high)
    assert_allclose(high, [2**-0.5] * (3 * 9) + [1 / 3] * (10 * 2))
    bound = float(nn.Linear(9, 2).weight.detach().abs().max())
    assert bound <= 1 / 3


def test_the_gradient_of_a_table() -> None:
    """d log pi(a) / d theta(b) = 1{a = b} - pi(b)."""
    policies = TabularPolicies(2, 3, 10.0)
    rng = np.random.default_rng(2)
    parameters, weights = rng.normal(size=(2, 6)), rng.normal(size=(2, 2, 3))
    e = np.exp(parameters.reshape(2, 2, 3))
    law = e / e.sum(axis=2, keepdims=True)
    assert_allclose(policies.tables(parameters), law, rtol=1e-6)
    expected = weights - law * weights.sum(axis=2, keepdims=True)
    assert_allclose(policies.gradient(parameters, weights), expected.reshape(2, 6), atol=1e-6)


@pytest.mark.parametrize("levels", [None, LEVELS], ids=["one-hot", "levels"])
def test_no_run_depends_on_the_others(levels) -> None:
    policies = NetworkPolicies(4, levels, (5, 5), 3, 10.0)
    rng = np.random.default_rng(3)
    parameters, weights = rng.normal(size=(100, policies.n_parameters)), rng.normal(size=(100, 4, 3))
    assert_array_equal(policies.tables(parameters[:1]), policies.tables(parameters)[:1])
    assert_array_equal(policies.gradient(parameters[:1], weights[:1]), policies.gradient(parameters, weights)[:1])
