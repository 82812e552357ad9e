"""The social optimum: known answers, grids of all policies, and what the search says of itself."""

import itertools

import numpy as np
import pytest
from malware_arrays import malware_value, repair_from
from numpy.testing import assert_allclose
from oracles import deterministic_policies, forever
from small_games import crowd
from stationary_models import busy, malware
from tabulated import Tabulated, random_tabulated, tabulated_arrays

from mfenvs import InducedGame, make
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.meanfield.stationary import find_equilibrium, find_social_optimum, welfare_gradient
from mfenvs.meanfield.stationary.social_optimum import project


def test_malwares_optimum_is_a_threshold_from_every_start():
    """Random restarts find nothing better among stochastic policies."""
    rng = np.random.default_rng(0)
    starts = [malware().uniform_policy(), *rng.dirichlet(np.ones(2), (3, 101))]
    found = find_social_optimum(malware(), starts)
    assert found.converged
    assert round(found.value, 4) == -3.7809
    assert_allclose(found.policy[0], repair_from(21), atol=1e-9)
    value, law, gap, _ = malware_value(repair_from(21))
    assert_allclose([found.value, found.gap], [value, gap], atol=1e-7)
    assert_allclose(found.state_law, law, atol=1e-12)
    assert [ascent.start for ascent in found.ascents] == [f"starts[{i}]" for i in range(4)]
    assert_allclose([ascent.value for ascent in found.ascents], found.value, atol=1e-9)


def grid_of_policies(n):
    shares = np.linspace(0.0, 1.0, n)
    for share in itertools.product(shares, repeat=3):
        yield np.column_stack([share, 1.0 - np.array(share)])


@pytest.mark.parametrize("seed", range(5))
def test_no_policy_of_a_fine_grid_is_better(seed):
    induced = InducedGame(random_tabulated(seed))
    found = find_social_optimum(induced)
    best = max(induced.value(policy[None]) for policy in grid_of_policies(11))
    # Between two points of the grid little can be gained: J is smooth.
    assert best - 1e-9 <= found.value <= best + 0.03
    assert found.converged
    assert found.projected_gradient <= 1e-7
    assert_allclose(found.value, induced.value(found.policy), atol=1e-11)
    assert max(ascent.value for ascent in found.ascents) == pytest.approx(found.value, abs=1e-11)


def test_by_hand_the_crowd_is_split_for_all():
    """All earn p (1 - p) + (1 - p) (.8 - (1 - p)) = -2 p^2 + 2.2 p - .2, most at p = .55, where it is .405."""
    found = find_social_optimum(InducedGame(crowd()))
    assert_allclose(found.policy[0, 0], [0.55, 0.45], atol=1e-6)
    assert_allclose(found.value, 2 * 0.405, atol=1e-7)


def test_without_interaction_it_is_the_best_policy_and_the_equilibrium():
    game = Tabulated(discount=0.8)
    p, r = tabulated_arrays(game, np.full((3, 2), 1 / 6))
    values = [np.array(game.first) @ forever(policy, p, r, 0.8) for (policy,) in deterministic_policies(1, 3, 2)]
    induced = InducedGame(game)
    found = find_social_optimum(induced)
    assert_allclose([found.value, find_equilibrium(induced).value], max(values), atol=1e-7)


def test_an_equilibrium_is_not_better_than_the_optimum():
    induced = busy()
    equilibrium = find_equilibrium(induced)
    assert find_social_optimum(induced).value > equilibrium.value + 0.01
    # From the equilibrium the ascent reaches it, too.
    again = find_social_optimum(induced, [equilibrium.policy])
    assert_allclose(again.value, find_social_optimum(induced).value, atol=1e-9)


def test_where_welfare_jumps_the_result_says_so_and_the_best_threshold_is_kept():
    """Firms that never invest are best off, but nobody could climb there: each quality is a class of its own."""
    induced = InducedGame(make("Investment-v0").one_product(0, 41))
    found = find_social_optimum(induced, n_random=0)
    assert_allclose(found.value, 0.5, atol=1e-6)
    assert not found.converged
    assert found.start == "best threshold"
    assert "social welfare jumps at this policy" in found.reason
    assert np.isnan(found.projected_gradient)


def test_an_ascent_that_gets_nowhere_ends():
    """Rock-paper-scissors is best for all who hardly ever move on, the less the better: there is no optimum."""
    induced = InducedGame(RockPaperScissors(n_agents=6, horizon=3, beta=0.4, discount=0.7))
    found = find_social_optimum(induced, [induced.uniform_policy()])
    assert not found.converged
    assert found.reason == "social welfare does not rise any more"
    assert found.iterations < 500
    assert found.value > induced.value(induced.uniform_policy()) + 1.0


def test_an_ascent_that_is_cut_short_says_so():
    found = find_social_optimum(busy(), [np.full((3, 2), 0.5)], max_iterations=1)
    assert not found.converged
    assert "above 1e-07 after 1 iterations" in found.reason
    assert found.projected_gradient > 1e-7


def test_the_gradient_vanishes_at_the_optimum():
    induced = busy()
    policy = find_social_optimum(induced).policy
    total = welfare_gradient(induced, policy).total
    best = total.max(axis=1, keepdims=True)
    # Actions that are played are the best of their state.
    assert (total >= best - 1e-6)[policy[0] > 1e-6].all()


def test_projection_on_the_simplex():
    tables = np.random.default_rng(0).normal(size=(50, 4))
    found = project(tables)
    assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    assert found.min() >= 0.0
    # The nearest point: no vertex lies in an acute direction (the variational inequality of projections).
    for vertex in np.eye(4):
        assert ((tables - found) * (vertex - found)).sum(axis=1).max() <= 1e-12
    assert_allclose(project(np.array([[0.2, 0.8]])), [[0.2, 0.8]])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"starts": []}, ValueError, "starts must hold at least one"),
        ({"starts": [np.ones((3, 2))]}, ValueError, r"starts\[0\]"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be"),
        ({"n_random": -1}, ValueError, "n_random must be"),
        ({"seed": 0.5}, TypeError, "seed must be"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        find_social_optimum(busy(), **arguments)
