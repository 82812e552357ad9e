"""All threshold policies, against plain numpy and against the slow way."""

import dataclasses
import functools

import numpy as np
import pytest
from malware_arrays import LEVELS, malware_value, repair_from
from numpy.testing import assert_allclose
from small_games import auction
from stationary_models import malware
from tabulated import Tabulated

from mfenvs import InducedGame, make
from mfenvs.meanfield.stationary import (
    best_response_gap,
    social_welfare,
    threshold_policy,
    threshold_search,
)


@functools.cache
def malwares_thresholds():
    return threshold_search(malware())


@dataclasses.dataclass(kw_only=True)
class Lined(Tabulated):
    """Three states along a line, in another order than their numbers."""

    levels: tuple[tuple[float, ...], ...] = ((0.5,), (0.0,), (1.0,))

    @property
    def state_levels(self):
        return np.array(self.levels)


@functools.cache
def lined():
    return InducedGame(Lined(discount=0.8, pull=0.7, crowding=0.6))


def test_malwares_equilibrium_and_social_optimum_to_four_decimals():
    pure, best = malwares_thresholds().best_pure_candidate, malwares_thresholds().social_optimum
    assert (pure.threshold, pure.upper_action, round(pure.value, 4)) == (0.49, 1, -3.9105)
    assert (best.threshold, best.upper_action, round(best.value, 4)) == (0.21, 1, -3.7809)
    value, _, gap, largest = malware_value(repair_from(49))
    assert_allclose([pure.value, pure.gap, pure.largest_gap], [value, gap, largest], atol=1e-7)


def test_malwares_exact_equilibrium_mixes_at_one_level():
    (exact,) = malwares_thresholds().equilibria
    assert exact.threshold == 0.48
    assert 0.05 < exact.probability < 0.1
    policy = exact.probability * repair_from(48) + (1 - exact.probability) * repair_from(49)
    assert_allclose(exact.policy[0], policy, atol=1e-12)
    value, _, _, largest = malware_value(policy)
    assert_allclose([exact.value, largest], [value, 0.0], atol=1e-7)
    assert exact.largest_gap < 1e-12
    # It lies between the values of the two thresholds.
    low, high = sorted(malware_value(repair_from(level))[0] for level in (48, 49))
    assert low < exact.value < high


def test_no_pure_threshold_of_malware_is_an_equilibrium():
    for level in range(40, 60):
        assert malware_value(repair_from(level))[2] > 1e-6


def test_every_value_is_that_of_the_policy():
    assert_allclose(malwares_thresholds().thresholds, np.append(LEVELS, np.inf))
    for level in range(0, 102, 3):
        assert_allclose(malwares_thresholds().values[1, level], malware_value(repair_from(level))[0], atol=1e-7)
    for k in range(0, 102, 7):
        other = repair_from(k)[:, ::-1]
        assert_allclose(
            malwares_thresholds().values[0, k], malware().value(np.ascontiguousarray(other)[None]), atol=1e-9
        )


def test_the_gap_is_bounded_by_one_step_gains():
    for upper in (0, 1):
        for k in range(0, 102, 10):
            gap = social_welfare(
                malware(), threshold_policy(malware(), malwares_thresholds().thresholds[k], upper)
            ).largest_gap
            step = malwares_thresholds().one_step_gains[upper, k]
            assert step * (1 - 1e-9) <= gap <= 10 * step + 1e-9


def test_a_population_that_affects_transitions_is_followed():
    """The rows of P change with every threshold, so that nothing can be kept from the last one."""
    found = threshold_search(lined())
    order = [1, 0, 2]
    for upper in (0, 1):
        for k in range(4):
            policy = np.empty((1, 3, 2))
            for place, state in enumerate(order):
                policy[0, state] = np.eye(2)[upper if place >= k else 1 - upper]
            assert_allclose(found.values[upper, k], lined().value(policy), atol=1e-10)
            gain = lined().evaluate(policy)[0]
            gain = (gain.max(axis=1) - (policy[0] * gain).sum(axis=1)).max()
            assert_allclose(found.one_step_gains[upper, k], gain, atol=1e-10)
    assert_allclose(found.thresholds, [0.0, 0.5, 1.0, np.inf])
    assert_allclose(found.social_optimum.value, found.values.max(), atol=1e-12)


def test_a_population_that_changes_transitions_on_its_way():
    """Firms grow fast until the mean quality reaches .7, which only some of the thresholds do."""
    induced = InducedGame(make("Investment-v0", threshold=0.7).one_product(0, 41))
    found, levels = threshold_search(induced), induced.game.state_levels[:, 0]
    means = []
    for upper in (0, 1):
        for k, threshold in enumerate(found.thresholds):
            policy = threshold_policy(induced, threshold, upper)
            assert_allclose(found.values[upper, k], induced.value(policy), atol=1e-9)
            means.append(induced.flow(policy).mu[0].sum(axis=1) @ levels)
    assert min(means) < 0.6 < 0.8 < max(means)


@pytest.mark.parametrize("crowding", [-1.0, 0.0, 0.6, 3.0])
def test_equilibria_are_equilibria_and_candidates_are_sorted(crowding):
    found = threshold_search(InducedGame(Lined(discount=0.8, pull=0.7, crowding=crowding)))
    for point in found.equilibria:
        induced = InducedGame(Lined(discount=0.8, pull=0.7, crowding=crowding))
        assert best_response_gap(induced, point.policy, point.state_law).largest_gap <= 1e-9
    gaps = [point.largest_gap for point in found.candidates]
    assert gaps == sorted(gaps)
    assert found.best_candidate.largest_gap == gaps[0]


def test_a_coordination_game_has_three_threshold_equilibria():
    """Worth of an action to an agent, who is always at home: action 0 1 + p, action 1 .8 + 1 - p.

    All play 0 (worth 2 in each step), all play 1 (1.8), or p = .4 (1.4); with discount 1/2 twice as much in total.
    """
    home = (((1.0, 0.0, 0.0),) * 2,) * 3
    levels = ((0.0,), (0.5,), (1.0,))
    game = Lined(moves=home, pay=((1.0, 0.8),) * 3, crowding=-1.0, discount=0.5, first=(1, 0, 0), levels=levels)
    found = threshold_search(InducedGame(game))
    assert_allclose(sorted({round(point.value, 6) for point in found.equilibria}), [2.8, 3.6, 4.0], atol=1e-6)
    assert found.social_optimum.value == pytest.approx(4.0, abs=1e-6)


def test_without_interaction_equilibrium_and_social_optimum_are_the_same_threshold():
    found = threshold_search(InducedGame(make("Malware-v0", interaction=0.0, risk=0.6)))
    equilibrium, best = found.best_candidate, found.social_optimum
    assert equilibrium.largest_gap <= 1e-9
    assert equilibrium.threshold == best.threshold
    values = [malware_value(repair_from(level), interaction=0.0, risk=0.6)[0] for level in range(20, 80)]
    assert_allclose([equilibrium.value, best.value], max(values), atol=1e-7)
    assert 20 < 20 + np.argmax(values) == round(100 * best.threshold) < 79
    # With interaction they are not.
    assert malwares_thresholds().best_pure_candidate.threshold != malwares_thresholds().social_optimum.threshold


def investments(n_levels):
    return [InducedGame(make("Investment-v0").one_product(j, n_levels)) for j in range(3)]


def investment_values(product, n_levels):
    """Best values (S,) at a mean of at least q, and those of investing never, by value iteration on the grid."""
    benefit, crowd, cost = (0.31, 0.32, 0.33)[product], (0.21, 0.22, 0.23)[product], (0.2, 0.21, 0.22)[product]
    top = n_levels - 1
    moves = np.zeros((n_levels, n_levels))
    for s in range(n_levels):
        # The nearest level to s + w (top - s) / 2, with w uniform.
        longest = 0.5 * (top - s)
        ends = np.clip((np.arange(s, n_levels + 1) - 0.5 - s) / longest, 0.0, 1.0) if longest else [0.0, 1.0]
        moves[s, s:] = np.diff(ends)
    levels = np.arange(n_levels) / top

    def best(mean):
        v = np.zeros(n_levels)
        for _ in range(350):
            v = np.maximum(
                benefit * levels - crowd * mean + 0.9 * v, benefit * levels - crowd * mean - cost + 0.9 * moves @ v
            )
        return v

    return best, lambda mean: (benefit * levels - crowd * mean) / 0.1


def check_investments(n_levels, equilibrium_value, gap):
    total, gaps = 0.0, 0.0
    for product, induced in enumerate(investments(n_levels)):
        best, never_values = investment_values(product, n_levels)
        never = social_welfare(induced, threshold_policy(induced, np.inf))
        assert_allclose(never.gap, (best(0.5) - never_values(0.5)).mean(), atol=1e-5)
        assert_allclose(never.value, 0.5, atol=1e-6)
        assert never.largest_gap > 0.5
        assert not never.is_equilibrium()
        found = threshold_search(induced)
        point = found.best_candidate
        # The best response to the mean field of the equilibrium is worth what the equilibrium is.
        mean = point.state_law @ induced.game.state_levels[:, 0]
        assert mean >= 0.4
        assert_allclose(point.value, best(mean).mean(), atol=1e-5)
        assert point in found.equilibria
        assert point.is_equilibrium()
        assert np.inf not in [c.threshold for c in found.equilibria]
        total, gaps = total + point.value, gaps + never.gap
    assert round(total, 4) == equilibrium_value
    assert round(gaps, 3) == gap


def test_never_to_invest_is_no_equilibrium_on_a_small_grid():
    check_investments(41, 0.5819, 1.029)


@pytest.mark.slow
def test_never_to_invest_is_no_equilibrium_of_the_paper():
    check_investments(401, 0.6007, 1.017)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: threshold_search(InducedGame(Tabulated(discount=0.8))),
            "ordered states, but Tabulated.state_levels",
        ),
        (lambda: threshold_search(InducedGame(auction(discount=0.8))), "needs 2 actions, got 3 of Auction"),
        (lambda: threshold_search(InducedGame(Lined(horizon=3))), "discount < 1"),
        (
            lambda: threshold_search(InducedGame(Lined(discount=0.8, levels=((0.0, 0.0), (0.5, 0), (1, 0))))),
            r"shape \(3, 1\).*got \(3, 2\)",
        ),
        (
            lambda: threshold_search(InducedGame(Lined(discount=0.8, levels=((0.0,), (0.5,), (0.5,))))),
            "different levels in all states",
        ),
        (lambda: threshold_search(lined(), tolerance=0.0), "tolerance must be"),
        (lambda: threshold_policy(lined(), np.nan), "threshold must be"),
        (lambda: threshold_policy(lined(), 0.5, 2), "upper_action must be"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_threshold_policies_by_level():
    assert_allclose(threshold_policy(lined(), 0.5)[0], [[0, 1], [1, 0], [0, 1]])
    assert_allclose(threshold_policy(lined(), 0.6, 0)[0], [[0, 1], [0, 1], [1, 0]])
    assert_allclose(threshold_policy(lined(), np.inf)[0, :, 0], 1.0)
