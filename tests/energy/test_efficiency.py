"""Efficiencies of several days and the price of anarchy, by hand; statistical error below 1e-6, seeds fixed."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mfenvs.energy.outcomes import price_of_anarchy, relative_efficiency


def test_days_with_much_to_gain_count_more():
    # 1 of 2 EUR are gained on the first day, 9 of 10 on the second; on the third there is nothing to gain.
    found = relative_efficiency([-9, -1, -5], [-10, -10, -5], [-8, 0, -5])
    assert_allclose(found.daily, [0.5, 0.9, np.nan])
    assert found.pooled.value == pytest.approx(10 / 12)
    assert found.mean == pytest.approx((0.7, *stats.t.interval(0.95, 1, 0.7, 0.2)))
    # With two days that are alike in all, nothing is uncertain.
    same = relative_efficiency([1, 1], [0, 0], [4, 4])
    assert same.pooled == pytest.approx((0.25, 0.25, 0.25))


def test_the_interval_resamples_days_with_all_of_their_figures():
    # Two days: resamples are AA, AB, BA, BB, so that the ratio is 0, 1/4, 1/4 or 1 with a quarter each.
    found = relative_efficiency([0, 1], [0, 0], [3, 1])
    assert found.pooled == pytest.approx((0.25, 0, 1))
    inner = relative_efficiency([0, 1], [0, 0], [3, 1], level=0.4)
    assert inner.pooled == pytest.approx((0.25, 0.25, 0.25))
    assert relative_efficiency([0, 1], [0, 0], [3, 1], seed=1).pooled == found.pooled


def test_the_interval_holds_the_ratio_about_as_often_as_it_says():
    """In 300 samples of 40 days: binomial, 95 % nominal; percentile intervals of ratios hold it in 92 to 95 %."""
    rng, held = np.random.default_rng(0), 0
    for sample in range(300):
        possible = rng.lognormal(0, 0.5, 40)
        gained = possible * rng.uniform(0.2, 1.0, 40)
        _, low, high = relative_efficiency(gained, np.zeros(40), possible, seed=sample).pooled
        held += low <= 0.6 <= high
    # Of 300 at 92 % fewer than 246 have probability 4e-8; at 95 % all 300 have 2e-7.
    assert 246 <= held < 300


def test_one_day_has_no_interval():
    found = relative_efficiency([1], [0], [2])
    assert found.pooled.value == found.mean.value == 0.5
    assert all(math.isnan(x) for x in (*found.pooled[1:], *found.mean[1:]))


def test_price_of_anarchy():
    # The optimum gains 12, the agents 8: each EUR that they gain could have been 1.5.
    found = price_of_anarchy([-7, -5], [-4, -4], [-10, -10])
    assert found.value == pytest.approx(1.5)
    assert found.low == pytest.approx(6 / 5)
    assert found.high == pytest.approx(6 / 3)
    assert price_of_anarchy([-10, -11], [-4, -4], [-10, -10]).value == math.inf
    assert price_of_anarchy([-4, -4], [-4, -4], [-10, -10]) == pytest.approx((1, 1, 1))
    assert math.isnan(price_of_anarchy([-5], [-4], [-10]).low)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0, 0], [0, 0]), "ceiling must exceed floor on the sum of the days"),
        (([1, 2], [0, 0], [1]), r"ceiling must have shape \(2,\), got \(1,\)"),
        (([[1]], [0], [1]), r"welfare must have shape \(n_days,\)"),
        (([], [], []), r"welfare must have shape \(n_days,\)"),
        (([np.nan], [0], [1]), r"welfare\[0\] must be finite"),
        ((["a"], [0], [1]), "welfare must"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        relative_efficiency(*arguments)


def test_bad_options():
    for name, wrong in (("level", 1), ("level", "95"), ("seed", -1)):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must"):
            relative_efficiency([1, 2], [0, 0], [3, 3], **{name: wrong})
