"""Wasserstein distances between empirical laws, against scipy and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from baselines.neural.rollout_law import RolloutLaw, coordinate_of, wasserstein_1

NUMBERS = st.lists(st.integers(-40, 40).map(lambda k: k / 8), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, NUMBERS)
def test_the_distance_is_scipys(first, second) -> None:
    found = wasserstein_1(np.sort(first), np.sort(second))
    assert found == pytest.approx(wasserstein_distance(first, second), abs=1e-12)


def test_distances_of_many_laws_at_once() -> None:
    rng = np.random.default_rng(0)
    first, second = np.sort(rng.normal(size=(3, 2, 6))), np.sort(rng.normal(1.0, size=(3, 2, 4)))
    found = wasserstein_1(first, second)
    assert found.shape == (3, 2)
    for place in np.ndindex(3, 2):
        assert found[place] == pytest.approx(wasserstein_distance(first[place], second[place]), abs=1e-12)


def test_types_are_weighted_by_their_shares_and_steps_alike() -> None:
    types = np.array([4, 1, 4])
    # Two steps, one world. First type 1 moves by 3, and type 4 by 1 and 1 (1 to 2, 5 to 6); then nothing moves.
    first = RolloutLaw.of(np.array([[[5, 0, 1]], [[0, 0, 0]]], np.float32), types)
    second = RolloutLaw.of(np.array([[[2, 3, 6]], [[0, 0, 0]]], np.float32), types)
    at_first_step = (1 * 3.0 + 2 * 1.0) / 3
    assert second.distance(first) == pytest.approx(at_first_step / 2)
    assert first.types.tolist() == [1, 4]
    assert first.numbers.tolist() == [1, 2]


def test_worlds_are_pooled() -> None:
    types = np.zeros(2, int)
    one = RolloutLaw.of(np.array([[[0, 1], [2, 3]]], np.float32), types)
    other = RolloutLaw.of(np.array([[[3, 2], [1, 0]]], np.float32), types)
    assert one.distance(other) == 0.0
    assert one.numbers.tolist() == [4]


def test_populations_may_have_other_numbers_and_types() -> None:
    first = RolloutLaw.of(np.array([[[0.0, 10.0]]], np.float32), np.array([0, 1]))
    second = RolloutLaw.of(np.array([[[1.0, 3.0, 9.0]]], np.float32), np.array([0, 0, 2]))
    # Type 0 is at 1 and 3 instead of at 0, and two thirds of the second population; 1 and 2 are not compared.
    assert second.distance(first) == pytest.approx(2 / 3 * 2.0)
    assert first.distance(second) == pytest.approx(1 / 2 * 2.0)


def test_rollouts_of_other_lengths_are_refused() -> None:
    one, two = (RolloutLaw.of(np.zeros((steps, 1, 2), np.float32), np.zeros(2, int)) for steps in (1, 2))
    with pytest.raises(ValueError, match="equal length, got 1 and 2 steps"):
        two.distance(one)


def test_coordinates() -> None:
    plain = np.arange(3.0).astype(np.float32)
    copied = coordinate_of(plain, None)
    assert copied.tolist() == [0, 1, 2]
    assert not np.shares_memory(copied, plain)
    record = np.zeros(2, [("charge", np.float32), ("seen", np.float32, (2,)), ("time", np.int32)])
    record["time"] = 1, 2
    assert coordinate_of(record, "time").tolist() == [1, 2]
    with pytest.raises(ValueError, match="None for a game whose states are plain numbers, got 'charge'"):
        coordinate_of(plain, "charge")
    for wrong in (None, "seen", "power"):
        with pytest.raises(ValueError, match=r"coordinate must name .* \(charge, time\), got"):
            coordinate_of(record, wrong)
