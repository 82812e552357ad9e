"""An equilibrium of planned policies: regrets against what replies gain in play, and smaller ones in the end."""

import numpy as np
import pytest
from calm_energy_market import calm
from numpy.testing import assert_allclose, assert_array_equal

from baselines.market.planned_equilibrium import PlannedPolicies, planned_equilibrium
from mfenvs.energy.exploitability import market_exploitability
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.observations import CHARGE_SEEN, ELAPSED_SEEN
from mfenvs.games.energy.version_0 import EnergyMarketV0


def test_the_first_regret_is_what_replies_gain_in_play():
    """Measured by paired simulations of every agent's reply.

    Nobody moves the price much: there are 400 agents, and orders are wide.
    """
    game = calm(width=0.24)
    found = planned_equilibrium(game, n_iterations=1, memory=1, n_charges=101, share_planned=1.0)
    assert found.iteration == 0
    played = market_exploitability(game, found.policy, n_sampled=400, n_records=1, n_worlds=2)
    assert found.regrets == pytest.approx([played.mean.value], abs=0.005)
    assert played.mean.value > 0.2


def test_little_is_left_to_gain_in_the_end():
    game = calm(n_agents=100)
    found = planned_equilibrium(game, n_iterations=30, n_records=1, memory=6, share_planned=1.0)
    assert found.iteration == found.regrets[5:].argmin() + 5
    assert found.regrets[found.iteration] < 0.1 * found.regrets[0]
    played = market_exploitability(game, found.policy, n_sampled=100, n_records=1, n_worlds=2)
    assert played.mean.value < 0.03
    assert found.prices.shape == (30, 2)
    assert (found.prices >= game.feed_in - 1e-6).all()
    assert (found.prices <= game.retail + 1e-6).all()


def test_nothing_is_regretted_where_wind_makes_energy_cost_the_feed_in_tariff():
    """Nobody has a battery, so that a reply to that price is best whatever the others do."""
    game = calm(n_agents=100, proportions=(0.5, 0.2, 0.0, 0.0, 0.3), first_day=180)
    found = planned_equilibrium(game, n_iterations=3, memory=2)
    assert_allclose(found.prices, game.feed_in, atol=1e-3)
    assert_allclose(found.regrets, 0.0, atol=1e-3)


def test_the_seed_decides_which_agents_are_planned():
    game = calm(n_agents=40)
    first, second, other = (planned_equilibrium(game, n_iterations=8, memory=2, seed=s) for s in (1, 1, 2))
    assert_array_equal(first.policy.actions, second.policy.actions)
    assert_array_equal(first.regrets, second.regrets)
    assert not np.array_equal(first.regrets, other.regrets)


def test_an_agent_acts_by_the_time_and_the_nearest_charge():
    game = calm(n_agents=3, proportions=(0.0, 0.0, 1.0, 0.0, 0.0))
    actions = np.arange(3 * 2 * 4).reshape(3, 2, 4)  # States of charge 0, 1/3, 2/3 and 1.
    policy = PlannedPolicies(game, actions)
    rows = np.zeros((4, game.n_features), np.float32)
    rows[:, ELAPSED_SEEN], rows[:, CHARGE_SEEN] = [0.0, 0.5, 0.5, 1.0], [0.15, 0.2, 0.5 + 1e-3, 0.9]
    laws = policy.action_probabilities(rows, np.array([0, 1, 2, 0]))
    assert laws.shape == (4, 30)
    assert_array_equal(
        laws.argmax(axis=1), [actions[0, 0, 0], actions[1, 1, 1], actions[2, 1, 2], actions[0, 1, 3]]
    )
    assert_array_equal(laws.sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="multiple of n_agents = 3"):
        policy.action_probabilities(rows)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"game": 3}, TypeError, "game must be an EnergyMarket, got 3"),
        ({"game": EnergyMarket(n_agents=20)}, ValueError, "game must have discrete actions, got actions='box'"),
        (
            {"game": EnergyMarket(n_agents=20, actions="discrete", ev_share=0.5)},
            ValueError,
            "ev_share must be 0",
        ),
        ({"n_iterations": 3}, ValueError, "n_iterations must be .*got 3"),
        ({"memory": 0}, ValueError, "memory must be .*got 0"),
        ({"n_records": 0}, ValueError, "n_records must be .*got 0"),
        ({"n_charges": 1}, ValueError, "n_charges must be .*got 1"),
        ({"share_planned": 0.0}, ValueError, "share_planned must be .*got 0"),
        ({"share_switching": 1.5}, ValueError, "share_switching must be .*got 1.5"),
        ({"seed": -1}, ValueError, "seed must be .*got -1"),
    ],
)
def test_arguments_that_are_not_allowed(given, error, message):
    terms = {"game": EnergyMarketV0(n_agents=20, horizon=2, actions="discrete")} | given
    with pytest.raises(error, match=message):
        planned_equilibrium(terms.pop("game"), **terms)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 2), int), r"actions must have shape \(3, 2, 2\)"),
        (np.zeros((3, 2, 1), int), r"actions must have shape \(3, 2, 2\)"),
        (np.zeros((3, 1, 4), int), r"actions must have shape \(3, 2, 4\)"),
        (np.full((3, 2, 4), 30), r"actions\[0, 0, 0\] must be an integer in \[0, 29\], got 30"),
        (np.full((3, 2, 4), -1), r"actions\[0, 0, 0\] must be an integer in \[0, 29\], got -1"),
    ],
)
def test_actions_that_are_not_allowed(actions, message):
    with pytest.raises(ValueError, match=message):
        PlannedPolicies(calm(n_agents=3, proportions=(0.0, 0.0, 1.0, 0.0, 0.0)), actions)


def test_actions_that_are_no_integers():
    with pytest.raises(TypeError, match=r"actions must be integers in \[0, 29\], got dtype float64"):
        PlannedPolicies(calm(n_agents=3, proportions=(0.0, 0.0, 1.0, 0.0, 0.0)), np.zeros((3, 2, 4)))
