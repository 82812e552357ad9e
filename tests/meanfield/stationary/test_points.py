"""Evaluated policies against linear algebra in plain numpy, and errors of arguments."""

import functools

import numpy as np
import pytest
from malware_arrays import malware_value, never, repair_from
from numpy.testing import assert_allclose
from oracles import best_forever, chain, forever, stationary
from small_games import auction, auction_arrays, crowd, epidemic
from stationary_models import BUSY, busy, malware
from tabulated import Tabulated, tabulated_arrays

from mfenvs import InducedGame
from mfenvs.meanfield import stationary as stationary_games
from mfenvs.meanfield.stationary import StationaryPoint, best_response_gap, social_welfare


def a_policy(seed, n_states=3, n_actions=2):
    return np.random.default_rng(seed).dirichlet(np.ones(n_actions), n_states)


def a_law(seed, size=3):
    return np.random.default_rng(seed).dirichlet(np.ones(size))


@pytest.mark.parametrize("level", [21, 49, 77])
def test_malware_is_worth_what_linear_algebra_says(level):
    point = social_welfare(malware(), repair_from(level))
    value, law, gap, largest = malware_value(repair_from(level))
    assert_allclose([point.value, point.gap, point.largest_gap], [value, gap, largest], atol=1e-7)
    assert_allclose(point.state_law, law, atol=1e-12)
    assert point.is_stationary


def test_two_values_of_the_malware_game_to_four_decimals():
    assert round(social_welfare(malware(), repair_from(49)).value, 4) == -3.9105
    assert round(social_welfare(malware(), repair_from(21)).value, 4) == -3.7809


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_in_a_mean_field_that_is_not_the_policys_own(seed):
    policy, z = a_policy(seed), a_law(seed + 10)
    p, r = tabulated_arrays(BUSY, z[:, None] * policy)
    found = best_response_gap(busy(), policy, z)
    own = forever(policy, p, r, 0.8)
    best = best_forever(p, r, 0.8)
    assert_allclose(found.state_gaps, best - own, atol=1e-7)
    assert_allclose(found.largest_gap, (best - own).max(), atol=1e-7)
    assert_allclose(found.gap, np.array(BUSY.first) @ (best - own), atol=1e-7)
    assert_allclose(found.consistency_error, np.abs(z @ chain(policy, p) - z).sum(), atol=1e-7)


def test_a_law_of_states_and_actions_need_not_be_the_policys():
    policy, mu = a_policy(3), a_law(4, 6).reshape(3, 2)
    p, r = tabulated_arrays(BUSY, mu)
    found = best_response_gap(busy(), policy[None], mu[None])
    own = forever(policy, p, r, 0.8)
    assert_allclose(found.value, np.array(BUSY.first) @ own, atol=1e-7)
    after = (mu.sum(axis=1) @ chain(policy, p))[:, None] * policy
    assert_allclose(found.consistency_error, np.abs(after - mu).sum(), atol=1e-7)
    assert found.consistency_error > np.abs(mu.sum(axis=1) @ chain(policy, p) - mu.sum(axis=1)).sum() + 0.01


def test_in_its_own_mean_field_the_gap_is_the_exploitability():
    policy = a_policy(5)
    point, found = social_welfare(busy(), policy), best_response_gap(busy(), policy)
    assert_allclose([point.gap, found.gap], busy().exploitability(policy[None]), atol=1e-12)
    assert_allclose(point.value, busy().value(policy[None]), atol=1e-12)
    again = best_response_gap(busy(), policy, point.state_law)
    assert_allclose([again.gap, again.value, again.consistency_error], [found.gap, found.value, 0], atol=1e-11)


def test_the_auction_in_its_stationary_law():
    game = auction(discount=0.8)
    policy = a_policy(1, 3, 3)
    point = social_welfare(InducedGame(game), policy)
    p, r = auction_arrays(game, point.mean_field)
    assert_allclose(point.state_law, stationary(chain(policy, p)), atol=1e-7)
    own = forever(policy, p, r, 0.8)
    assert_allclose(point.value, own.mean(), atol=1e-6)


def test_of_several_stationary_laws_it_is_the_one_reached_from_the_first():
    """Below level 50 repaired, above it not: what starts above ends at the top, all others stay at 0."""
    policy = repair_from(50)[:, ::-1]
    point = social_welfare(malware(), policy)
    assert_allclose(point.state_law[[0, 100]], [50 / 101, 51 / 101], atol=1e-10)
    assert point.state_law[1:100].max() < 1e-10


def test_the_law_where_nobody_repairs_is_at_the_top():
    assert_allclose(social_welfare(malware(), never()).state_law, np.eye(101)[100], atol=1e-12)


def test_a_chain_that_mixes_slowly_is_solved_at_once():
    """Two states that are left once in a million steps: the law is (2/3, 1/3) of the chances."""
    moves = (((1 - 1e-6, 1e-6, 0.0),) * 2, ((2e-6, 1 - 2e-6, 0.0),) * 2, ((1.0, 0.0, 0.0),) * 2)
    game = Tabulated(discount=0.8, moves=moves, crowding=0.5)
    point = social_welfare(InducedGame(game), a_policy(0))
    assert_allclose(point.state_law, [2 / 3, 1 / 3, 0.0], atol=1e-9)
    assert point.is_stationary


def test_points_take_policies_of_every_form():
    policy = a_policy(2)
    values = {social_welfare(busy(), form).value for form in (policy, policy[None], policy.tolist())}
    assert len(values) == 1
    assert isinstance(social_welfare(busy(), policy), StationaryPoint)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: social_welfare(BUSY, a_policy(0)), TypeError, "induced must be an InducedGame"),
        (lambda: social_welfare(busy(), np.ones((3, 2))), ValueError, "must be probabilities"),
        (lambda: social_welfare(busy(), np.full((2, 2), 0.5)), ValueError, r"shape \(1, 3, 2\)"),
        (lambda: best_response_gap(busy(), a_policy(0), np.ones(3)), ValueError, "mean_field must be prob"),
        (
            lambda: best_response_gap(busy(), a_policy(0), np.ones(4) / 4),
            ValueError,
            r"mean_field must have.*\(3,\)",
        ),
        (lambda: best_response_gap(busy(), a_policy(0), [0.5, 0.5, np.nan]), ValueError, r"mean_field\[2\]"),
        (lambda: best_response_gap(busy(), a_policy(0), np.ones((3, 2))), ValueError, "mean_field"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@functools.cache
def ends():
    return InducedGame(epidemic())


@pytest.mark.parametrize(
    "function",
    [
        lambda: social_welfare(ends(), ends().uniform_policy()),
        lambda: best_response_gap(ends(), ends().uniform_policy()),
        lambda: stationary_games.find_equilibrium(ends()),
        lambda: stationary_games.find_equilibria(ends()),
        lambda: stationary_games.find_social_optimum(ends()),
        lambda: stationary_games.threshold_search(ends()),
        lambda: stationary_games.price_of_anarchy(ends()),
        lambda: stationary_games.welfare_gradient(ends(), ends().uniform_policy()),
        lambda: stationary_games.local_equilibrium_residual(ends(), [0.5], lambda theta: ends().uniform_policy()),
        lambda: stationary_games.local_welfare_residual(ends(), [0.5], lambda theta: ends().uniform_policy()),
    ],
)
def test_a_game_that_ends_is_refused(function):
    with pytest.raises(ValueError, match=r"discount < 1.*Epidemic, which ends after 4 steps"):
        function()


def test_an_equilibrium_by_hand_has_no_gap():
    """Action 0 is worth 1 - p and action 1 .8 - (1 - p) to an agent at home, p being the share of action 0."""
    induced = InducedGame(crowd())
    point = social_welfare(induced, [[0.6, 0.4]] * 3)
    assert_allclose([point.value, point.gap, point.largest_gap], [0.8, 0.0, 0.0], atol=1e-7)
    # All play action 0: it is worth 0, the other .8 now and for ever, twice as much in total.
    assert_allclose(social_welfare(induced, [[1.0, 0.0]] * 3).gap, 1.6, atol=1e-7)
