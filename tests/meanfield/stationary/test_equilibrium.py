"""The search for an equilibrium: known answers, games without any that it finds, and what it says of itself."""

import numpy as np
import pytest
from malware_arrays import malware_value, repair_from
from numpy.testing import assert_allclose
from oracles import best_forever, chain, deterministic_policies, forever, stationary
from shy import Shy
from small_games import auction, auction_arrays, crowd
from stationary_models import busy, malware
from tabulated import Tabulated, random_tabulated, tabulated_arrays

from mfenvs import InducedGame, make
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors
from mfenvs.meanfield.stationary import Equilibrium, find_equilibrium, threshold_search


def test_malware_mixes_at_one_level():
    found = find_equilibrium(malware())
    assert found.converged
    assert found.largest_gap <= 1e-9
    (mixed,) = np.flatnonzero(found.policy[0].max(axis=1) < 1.0)
    assert mixed == 48
    share = found.policy[0, 48, 1]
    value, law, _, largest = malware_value(share * repair_from(48) + (1 - share) * repair_from(49))
    assert_allclose([found.value, largest], [value, 0.0], atol=1e-7)
    assert_allclose(found.state_law, law, atol=1e-10)
    (exact,) = threshold_search(malware()).equilibria
    assert_allclose(found.value, exact.value, atol=1e-8)


def test_the_damped_iteration_alone_is_slow_and_says_so():
    found = find_equilibrium(malware(), max_iterations=30, polish=False)
    assert not found.converged
    assert found.reason == "no policy with a gap within 1e-09 in 30 iterations"
    assert found.iterations == len(found.gaps) == 30
    assert found.largest_gap == found.gaps.min() > 1e-9
    assert found.largest_gap < 1e-4 < found.gaps[0]
    # The best of all iterations is returned, and not the last.
    assert found.gaps[-1] > found.gaps.min() or found.gaps.argmin() == 29


def check_equilibrium(found: Equilibrium, arrays, discount):
    """No action has an advantage at the stationary law of the policy, by plain numpy."""
    assert found.converged, found.reason
    policy = found.policy[0]
    p, r = arrays(found.mean_field)
    own, best = forever(policy, p, r, discount), best_forever(p, r, discount)
    assert_allclose(best, own, atol=2e-6)
    assert_allclose(found.state_law @ chain(policy, p), found.state_law, atol=1e-7)
    assert_allclose(found.mean_field, found.state_law[:, None] * policy, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_small_random_games(seed):
    game = random_tabulated(seed)
    found = find_equilibrium(InducedGame(game))
    check_equilibrium(found, lambda mu: tabulated_arrays(game, mu), 0.8)


def test_the_small_auction():
    game = auction(discount=0.8)
    check_equilibrium(find_equilibrium(InducedGame(game)), lambda mu: auction_arrays(game, mu), 0.8)


@pytest.mark.slow
def test_the_auction_of_ten_budgets_and_bids():
    """Several budgets are nearly indifferent, through a price that all of them move: a nearly singular system."""
    found = find_equilibrium(InducedGame(make("Auction-v0")))
    assert found.converged
    assert found.largest_gap <= 1e-9


def test_rock_paper_scissors_whose_equilibria_are_a_continuum():
    game = RockPaperScissors(n_agents=6, horizon=3, beta=0.4, discount=0.7)
    found = find_equilibrium(InducedGame(game))
    assert found.converged
    assert found.policy[0].max(axis=1).max() < 1.0
    assert_allclose(found.state_law, stationary(found.policy[0]), atol=1e-9)


def test_averages_of_rock_paper_scissors_move_where_nobody_is():
    """A best response may leave a state for good; without the visits on the way the policy there would be kept."""
    game = RockPaperScissors(n_agents=6, horizon=3, beta=0.4, discount=0.7)
    found = find_equilibrium(InducedGame(game), max_iterations=60, polish=False)
    assert found.largest_gap < 0.4 < 0.7 < found.gaps[0]


def test_a_population_that_never_settles_has_no_equilibrium():
    """Rewards are 0, so that no best response gains anything; but the mean field is not stationary."""
    with pytest.warns(RuntimeWarning, match="does not settle"):
        induced = InducedGame(Shy(slope=20.0))
    found = find_equilibrium(induced, max_iterations=2)
    assert found.largest_gap == 0.0
    assert not found.converged
    assert not found.is_equilibrium()
    assert found.reason == "the population did not settle under any of 2 policies"
    assert found.residual > 0.1


def test_an_epidemic_mixes_when_healthy():
    found = find_equilibrium(InducedGame(Epidemic(n_agents=7, horizon=6, discount=0.9, initial_infected=0.3)))
    assert found.converged
    assert 0.0 < found.policy[0, 1, 0] < 1.0


def test_by_hand_the_crowd_splits():
    """Action 0 is worth 1 - p and action 1 .8 - (1 - p): they are equal at p = .6, where both are worth .4."""
    found = find_equilibrium(InducedGame(crowd()))
    assert_allclose(found.policy[0, 0], [0.6, 0.4], atol=1e-7)
    assert_allclose(found.value, 0.8, atol=1e-7)


def test_starts_lead_to_different_equilibria():
    """With a reward for company, to an agent at home: 1 + p for action 0 and .8 + 1 - p for action 1."""
    induced = InducedGame(crowd(crowding=-1.0))
    for action, value in ((0, 4.0), (1, 3.6)):
        found = find_equilibrium(induced, np.tile(np.eye(2)[action], (3, 1)))
        assert_allclose(found.value, value, atol=1e-6)
        assert found.iterations == 1


def test_without_interaction_it_is_the_best_policy_of_all():
    game = Tabulated(discount=0.8)
    p, r = tabulated_arrays(game, np.full((3, 2), 1 / 6))
    first = np.array(game.first)
    values = [first @ forever(policy, p, r, 0.8) for (policy,) in deterministic_policies(1, 3, 2)]
    found = find_equilibrium(InducedGame(game))
    assert_allclose(found.value, max(values), atol=1e-7)
    assert found.converged


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"start": np.ones((3, 2))}, ValueError, "start"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be"),
        ({"polish": 1}, TypeError, "polish must be True or False"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        find_equilibrium(busy(), **arguments)
