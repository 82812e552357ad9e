"""The Gini coefficient against all pairs, and at its ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfenvs.energy.merit import gini


def test_known_values():
    assert gini([1, 2, 3]) == pytest.approx(8 / 24)
    assert gini([5, 5, 5, 5]) == 0
    assert gini([0, 0, 7]) == pytest.approx(1)
    assert gini([-2, -2]) == 0
    assert gini([-1, 1]) == pytest.approx(1)
    assert math.isnan(gini([0, 0]))


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9))
def test_mean_difference_of_all_pairs(numbers):
    pairs = sum(abs(x - y) for x in numbers for y in numbers)
    size = sum(map(abs, numbers))
    if size:
        assert gini(numbers) == pytest.approx(pairs / (2 * (len(numbers) - 1) * size), abs=1e-12)
        assert 0 <= gini(numbers) <= 1 + 1e-12


@pytest.mark.parametrize("wrong", [[1], [], 3, [[1, 2]], [1, math.nan], [1, math.inf], ["a", "b"]])
def test_what_is_not_allowed(wrong):
    with pytest.raises((TypeError, ValueError), match=r"^values"):
        gini(np.array(wrong))
