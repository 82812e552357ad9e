"""Interquartile means and bootstrap intervals against hand-worked numbers, enumeration and coverage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from baselines.sweep.statistics import bootstrap_interval, interquartile_mean


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 9.0], 4.0),  # fewer than four: none is left out
        ([9.0, 1.0, 2.0, 100.0], 5.5),  # one of four on each side
        ([5.0, 1.0, 2.0, 3.0, 100.0], 10 / 3),  # floor(5 / 4) = 1
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 50.0, 60.0], 2.5),
        ([[4.0, 3.0], [50.0, 0.0], [1.0, 60.0], [2.0, 0.0]], 2.5),  # runs and games count alike
    ],
)
def test_interquartile_means_worked_by_hand(scores, mean: float) -> None:
    assert interquartile_mean(scores) == pytest.approx(mean, rel=1e-15)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=40))
def test_the_middle_half_is_what_is_left_when_the_ends_are_taken_away(scores: list[int]) -> None:
    left = list(scores)
    for _ in range(len(scores) // 4):
        left.remove(max(left))
        left.remove(min(left))
    assert interquartile_mean(scores) == pytest.approx(sum(left) / len(left), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("wrong", [[], [1.0, math.nan], [math.inf], ["a"], [True]])
def test_scores_that_are_no_finite_numbers_are_refused(wrong) -> None:
    with pytest.raises((TypeError, ValueError), match="scores"):
        interquartile_mean(wrong)


def test_two_runs_in_two_games_are_resampled_as_enumerated() -> None:
    """The middle two of four scores are the larger one of the first game and the smaller one of the second.

    They are 0 (1/4) or 1 (3/4), and 30 (1/4) or 10 (3/4): the means are 5 (3/16), 5.5 (9/16), 15 (1/16) and 15.5
    (3/16). So 1/8 lies within the first and 7/8 within the last, 0.22 and 0.78 within the others: each at least
    0.03 from the ends, which 20,000 resamples miss with a probability below 1e-20.
    """
    strata = [[0.0, 1.0], [10.0, 30.0]]
    assert bootstrap_interval(strata, confidence=0.75, n_resamples=20_000, seed=3) == (5.0, 15.5)
    assert bootstrap_interval(strata, confidence=0.56, n_resamples=20_000, seed=3) == (5.5, 15.0)


def test_runs_are_resampled_within_their_game() -> None:
    """Resampled over all runs, the interval of two constant games would be wide."""
    assert bootstrap_interval([[0.0] * 4, [1.0] * 4]) == (0.5, 0.5)


def test_the_interval_contains_the_mean_as_often_as_it_says() -> None:
    """800 experiments of 4 games with 30 normal runs each.

    The interquartile mean of the law is 0 by symmetry, if all games have one law. By the binomial law, a true
    coverage in [0.92, 0.97] leaves the interval of counts that is tested with a probability below 1e-6. (For means
    of 30 runs, a percentile interval that is meant to cover 0.95 covers about 0.94.)
    """
    rng, n_experiments = np.random.default_rng(1), 800
    covered = 0
    for experiment in range(n_experiments):
        strata = list(rng.standard_normal((4, 30)))
        low, high = bootstrap_interval(strata, n_resamples=400, seed=experiment)
        covered += low <= 0.0 <= high
    least, most = binom.ppf(5e-7, n_experiments, 0.92), binom.isf(5e-7, n_experiments, 0.97)
    assert least <= covered <= most


def test_the_seed_and_nothing_else_is_random() -> None:
    strata = [np.arange(5.0), np.arange(7.0) ** 2]
    first = bootstrap_interval(strata, n_resamples=100, seed=1)
    assert first == bootstrap_interval(strata, n_resamples=100, seed=1)
    assert first != bootstrap_interval(strata, n_resamples=100, seed=2)


def test_resamples_are_drawn_in_batches_that_fit_into_memory(monkeypatch) -> None:
    strata = [np.arange(5.0), np.arange(7.0)]
    whole = bootstrap_interval(strata, n_resamples=3000, seed=1)
    monkeypatch.setattr("baselines.sweep.statistics.SCORES_AT_A_TIME", 100)
    assert bootstrap_interval(strata, n_resamples=3000, seed=1) == pytest.approx(whole, abs=0.2)


def test_a_single_run_has_no_interval() -> None:
    assert bootstrap_interval([[1.0, 2.0], [3.0]]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strata": []}, "strata must hold at least one"),
        ({"strata": [[]]}, "strata must hold at least one"),
        ({"strata": [[1.0, math.nan]]}, r"strata\[0\]\[1\] must be finite"),
        ({"confidence": 1.0}, "confidence must be"),
        ({"n_resamples": 0}, "n_resamples must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_what_is_not_allowed_is_named(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**{"strata": [[1.0, 2.0]], **arguments})
