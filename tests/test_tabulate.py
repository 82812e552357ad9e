"""Policies on observations as tables of finite games."""

import numpy as np
import pytest
from oracles import random_policy

from baselines import PPO
from baselines.policies import TabularPolicy
from mfenvs import evaluate, make, n_player_exploitability, tabulate
from mfenvs.wrappers import joint_policy

GAME = make("Epidemic-v0", n_agents=5, horizon=4)


class Reading:
    """Looks its law up in a table by what it observes."""

    def __init__(self, table):
        self.table = table

    def action_probabilities(self, observations):
        state = observations[:, :2].argmax(axis=1)
        time = np.rint(observations[:, 2] * 4).astype(int)
        return self.table[time, state]


def test_a_table_is_found_again():
    table = random_policy(np.random.default_rng(0), 4, 2, 2)
    np.testing.assert_allclose(tabulate(GAME, Reading(table)), table, rtol=1e-12)


def test_a_joint_policy_gives_a_table_each():
    tables = [random_policy(np.random.default_rng(i), 4, 2, 2) for i in range(5)]
    found = tabulate(GAME, joint_policy([Reading(table) for table in tables]))
    np.testing.assert_allclose(found, np.stack(tables), rtol=1e-12)


def test_a_network_plays_as_its_table_does():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    table = tabulate(GAME, model)
    assert TabularPolicy(table).is_shared
    as_network, as_table = (evaluate(GAME, policy, n_worlds=40, seed=1).returns for policy in (model, table))
    np.testing.assert_array_equal(as_network, as_table)


def test_exploitability_takes_a_network():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", policy_kwargs={"net_arch": [4]})
    by_network, by_table = (
        n_player_exploitability(GAME, policy, n_worlds=8, deviators_per_world=2).per_agent
        for policy in (model, tabulate(GAME, model))
    )
    np.testing.assert_array_equal(by_network, by_table)


def test_what_else_is_observed_has_no_place_in_a_table():
    model = PPO("MlpPolicy", GAME, seed=0, device="cpu", observe="mean-field")
    with pytest.raises(TypeError, match="policy observes 'mean-field', which changes with what all agents do"):
        tabulate(GAME, model)
