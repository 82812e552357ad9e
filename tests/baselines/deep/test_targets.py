"""Targets of Q values against numbers worked out by hand, and against mirror descent."""

import math

import numpy as np
import pytest
import torch

from baselines.deep.targets import Transitions, best_response_targets, log_policy, munchausen_targets

ALL = [True, True, True]


def transitions(**changed):
    """Two transitions with three actions, the second of which ends the game."""
    columns = {
        "observations": torch.zeros(2, 1),
        "masks": torch.tensor([ALL, ALL]),
        "actions": torch.tensor([1, 0]),
        "rewards": torch.tensor([0.5, -2.0]),
        "next_observations": torch.zeros(2, 1),
        "next_masks": torch.tensor([ALL, ALL]),
        "goes_on": torch.tensor([1.0, 0.0]),
    }
    return Transitions(**(columns | changed))


Q = torch.tensor([[0.0, math.log(2.0), math.log(5.0)]] * 2)
"""At temperature 1 the policy (1, 2, 5) / 8."""
NEXT = torch.tensor([[math.log(3.0), 0.0, 0.0]] * 2)
"""At temperature 1 the policy (3, 1, 1) / 5."""
TARGET = torch.tensor([[1.0, 2.0, -4.0]] * 2)
OPTIONS = {"temperature": 1.0, "munchausen": 0.9, "discount": 0.8, "least_probability": 1e-6}


def test_munchausen_by_hand():
    found = munchausen_targets(transitions(), Q, NEXT, TARGET, **OPTIONS)
    entropy = -(3 * math.log(3 / 5) + 2 * math.log(1 / 5)) / 5
    first = 0.5 + 0.9 * math.log(2 / 8) + 0.8 * ((3 * 1.0 + 2.0 - 4.0) / 5 + entropy)
    assert found.tolist() == pytest.approx([first, -2.0 + 0.9 * math.log(1 / 8)], abs=1e-6)


def test_the_temperature_multiplies_logarithms():
    found = munchausen_targets(transitions(), 4 * Q, 4 * NEXT, TARGET, **OPTIONS | {"temperature": 4.0})
    entropy = -(3 * math.log(3 / 5) + 2 * math.log(1 / 5)) / 5
    first = 0.5 + 3.6 * math.log(2 / 8) + 0.8 * ((3 * 1.0 + 2.0 - 4.0) / 5 + 4 * entropy)
    assert found.tolist() == pytest.approx([first, -2.0 + 3.6 * math.log(1 / 8)], abs=1e-5)


def test_masked_actions_have_no_part_in_targets():
    masks, next_masks = torch.tensor([[True, True, False], ALL]), torch.tensor([[False, True, True], ALL])
    batch = transitions(masks=masks, next_masks=next_masks)
    wild = torch.tensor([[1e4, 2.0, -4.0]] * 2)
    found = munchausen_targets(batch, Q, NEXT, wild, **OPTIONS)
    first = 0.5 + 0.9 * math.log(2 / 3) + 0.8 * ((2.0 - 4.0) / 2 + math.log(2))
    assert found[0].item() == pytest.approx(first, abs=1e-5)
    assert best_response_targets(batch, wild, discount=0.8).tolist() == pytest.approx([0.5 + 0.8 * 2.0, -2.0])
    assert log_policy(Q, masks, 1.0).exp()[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0.0])


def test_logarithms_are_cut_off():
    q = torch.tensor([[0.0, -100.0, 0.0]] * 2)
    found = munchausen_targets(transitions(), q, q, TARGET, **OPTIONS | {"least_probability": 1e-2})
    first = 0.5 + 0.9 * math.log(1e-2) + 0.8 * ((1.0 - 4.0) / 2 + math.log(2))
    assert found[0].item() == pytest.approx(first, abs=1e-5)


def test_best_responses_by_hand():
    found = best_response_targets(transitions(), TARGET, discount=0.5)
    assert found.tolist() == [0.5 + 0.5 * 2.0, -2.0]


@pytest.mark.parametrize("munchausen", [1.0, 0.7])
def test_the_fixed_point_is_a_step_of_mirror_descent(munchausen):
    """Of a random decision problem: the policy of the new Q values is pi^alpha exp(q / tau), normalised.

    q are the values of pi, with its entropy at the temperature (1 - alpha) tau.
    """
    rng, (n, m), discount, tau = np.random.default_rng(5), (4, 3), 0.8, 0.6
    rewards, successors = rng.normal(size=(n, m)), rng.integers(0, n, (n, m))
    last = rng.normal(size=(n, m))
    pi = np.exp(last / tau) / np.exp(last / tau).sum(1, keepdims=True)

    states, actions = (index.ravel() for index in np.indices((n, m)))
    batch = Transitions(
        *(torch.tensor(states), torch.ones(n * m, m, dtype=torch.bool), torch.tensor(actions)),
        *(torch.tensor(rewards.ravel()), torch.tensor(successors.ravel())),
        *(torch.ones(n * m, m, dtype=torch.bool), torch.ones(n * m)),
    )
    old, q = torch.tensor(last), torch.zeros(n, m, dtype=torch.float64)
    for _ in range(200):
        tables = old[batch.observations], old[batch.next_observations], q[batch.next_observations]
        options = {"temperature": tau, "munchausen": munchausen, "least_probability": 1e-30}
        q = munchausen_targets(batch, *tables, discount=discount, **options).reshape(n, m)
    found = torch.softmax(q / tau, dim=1).numpy()

    bonus = -(1 - munchausen) * tau * (pi * np.log(pi)).sum(1)
    moves = np.zeros((n, n))
    for s in range(n):
        np.add.at(moves[s], successors[s], pi[s])
    value = np.linalg.solve(np.eye(n) - discount * moves, (pi * rewards).sum(1) + bonus)
    expected = pi**munchausen * np.exp((rewards + discount * value[successors]) / tau)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-9)
