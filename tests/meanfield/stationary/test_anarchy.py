"""Several equilibria and their prices, worked by hand."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_games import crowd
from tabulated import Tabulated

from mfenvs import InducedGame, make
from mfenvs.meanfield.stationary import (
    find_equilibria,
    find_social_optimum,
    price_of_anarchy,
    social_welfare,
    threshold_search,
)

COMPANY = crowd(crowding=-1.0)
"""An agent, always at home, earns 1 + p by action 0 and .8 + 1 - p by action 1, p being the share of action 0.

Equilibria: p = 1 (worth 2 a step), p = 0 (1.8) and p = .4 (1.4); with discount 1/2 totals are twice as much.
"""


def test_a_coordination_game_has_both_pure_equilibria():
    found = find_equilibria(InducedGame(COMPANY))
    shares = [point.mean_field[0, 0] for point in found]
    assert_allclose(found[0].value, 4.0, atol=1e-6)
    assert_allclose(shares[0], 1.0, atol=1e-9)
    assert any(
        abs(share) < 1e-9 and abs(point.value - 3.6) < 1e-6 for share, point in zip(shares, found, strict=True)
    )
    # Besides, there is the unstable one only, which searches may or may not meet.
    assert all(min(abs(share - s) for s in (0.0, 0.4, 1.0)) < 1e-6 for share in shares)
    assert len(found) in (2, 3)
    assert [point.value for point in found] == sorted((point.value for point in found), reverse=True)


def test_prices_by_hand():
    induced = InducedGame(COMPANY)
    all_three = [social_welfare(induced, [[p, 1 - p]] * 3) for p in (0.0, 1.0, 0.4)]
    found = price_of_anarchy(induced, all_three)
    assert_allclose(found.anarchy, 4.0 / 2.8, atol=1e-6)
    assert_allclose(found.stability, 1.0, atol=1e-9)
    assert_allclose([found.anarchy_loss, found.stability_loss], [1.2, 0.0], atol=1e-6)
    pure = price_of_anarchy(induced, all_three[:1], all_three[1])
    assert_allclose([pure.anarchy, pure.stability], 4.0 / 3.6, atol=1e-6)
    assert found.reason == pure.reason == ""


def test_costs_are_compared_the_other_way_round():
    """Three less in each step: 6 less in total, so that values are costs -2, -2.4 and -3.2."""
    induced = InducedGame(dataclasses.replace(COMPANY, pay=((-2.0, -2.2),) * 3))
    points = [social_welfare(induced, [[p, 1 - p]] * 3) for p in (0.0, 1.0, 0.4)]
    found = price_of_anarchy(induced, points)
    assert_allclose([found.anarchy, found.stability], [3.2 / 2.0, 1.0], atol=1e-6)
    assert_allclose([point.value for point in found.equilibria], [-2.0, -2.4, -3.2], atol=1e-6)


def test_mixed_signs_have_no_ratio_but_a_difference():
    """3.5 less in total: .5, .1 and -.7."""
    induced = InducedGame(dataclasses.replace(COMPANY, pay=((-0.75, -0.95),) * 3))
    points = [social_welfare(induced, [[p, 1 - p]] * 3) for p in (0.0, 1.0, 0.4)]
    found = price_of_anarchy(induced, points)
    assert found.anarchy is None
    assert found.stability is None
    assert "neither all positive nor all negative: from -0.7" in found.reason
    assert_allclose([found.anarchy_loss, found.stability_loss], [1.2, 0.0], atol=1e-6)
    # The two pure ones have one.
    assert_allclose(price_of_anarchy(induced, points[:2]).anarchy, 5.0, atol=1e-5)


def test_the_crowd_by_hand():
    """One equilibrium, p = .6, worth .8 in total; the optimum is p = .55, worth .81."""
    found = price_of_anarchy(InducedGame(crowd()))
    assert len(found.equilibria) == 1
    assert_allclose([found.anarchy, found.stability], 0.81 / 0.8, atol=1e-6)


def test_malware():
    induced = InducedGame(make("Malware-v0"))
    search = threshold_search(induced)
    found = price_of_anarchy(induced, search.equilibria, search.social_optimum)
    assert_allclose(found.anarchy, search.equilibria[0].value / -3.780905, atol=1e-6)
    assert 1.034 < found.anarchy < 1.0345
    (equilibrium,) = find_equilibria(induced, n_random=2)
    assert_allclose(equilibrium.value, search.equilibria[0].value, atol=1e-7)


def test_without_interaction_nothing_is_lost():
    found = price_of_anarchy(InducedGame(Tabulated(discount=0.8)))
    assert_allclose([found.anarchy, found.stability], 1.0, atol=1e-7)
    assert min(found.anarchy, found.stability) >= 1.0


def test_a_better_equilibrium_replaces_the_optimum():
    induced = InducedGame(COMPANY)
    low, high = (social_welfare(induced, [[p, 1 - p]] * 3) for p in (0.0, 1.0))
    found = price_of_anarchy(induced, [high], low)
    assert found.optimum is high
    assert found.anarchy == 1.0
    assert find_social_optimum(induced).value >= high.value - 1e-9


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda induced: price_of_anarchy(induced, []), ValueError, "equilibria must hold at least one"),
        (
            lambda induced: price_of_anarchy(induced, [3.0]),
            TypeError,
            r"equilibria\[0\] must be a StationaryPoint",
        ),
        (
            lambda induced: price_of_anarchy(induced, [social_welfare(induced, np.full((3, 2), 0.5))], 1.0),
            TypeError,
            "optimum must be a StationaryPoint",
        ),
        (lambda induced: find_equilibria(induced, [np.ones((3, 2))]), ValueError, r"starts\[0\]"),
        (lambda induced: find_equilibria(induced, n_random=-1), ValueError, "n_random must be"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(InducedGame(COMPANY))
