"""softmax_c and argmax-e by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.meanfield.responses import respond

VALUES = [[0.0, math.log(2.0), -math.log(4.0)]]
values = st.lists(st.floats(-50, 50), min_size=1, max_size=6).map(np.array)
temperatures = st.floats(0.01, 20)


@pytest.mark.parametrize(
    ("c", "weights"),
    [
        (1.0, [1, 2, 1 / 4]),
        (2.0, [1, 4, 1 / 16]),  # c multiplies: 2^2, 4^-2. A temperature would take roots.
        (0.5, [1, math.sqrt(2), 1 / 2]),
    ],
)
def test_c_multiplies_the_values(c, weights) -> None:
    assert_allclose(respond(VALUES, c), [np.array(weights) / sum(weights)], rtol=1e-14)


@given(x=values, c=temperatures)
def test_odds_are_exponentials_of_differences(x, c) -> None:
    law = respond(x, c)
    assert law.shape == x.shape
    assert_allclose(law.sum(), 1.0, rtol=1e-13)
    assert_allclose(law, law.max() * np.exp(c * (x - x.max())), rtol=1e-9, atol=1e-300)


@given(x=values, c=temperatures, shift=st.floats(-1000, 1000))
def test_only_differences_matter(x, c, shift) -> None:
    assert_allclose(respond(x + shift, c), respond(x, c), atol=1e-11 * c + 1e-13)
    assert_allclose(respond(x * 4.0, c / 4.0), respond(x, c), atol=1e-12)


@pytest.mark.parametrize("c", [1e-3, 1.0, 1e6])
def test_huge_values_do_not_overflow(c) -> None:
    with np.errstate(all="raise"):
        assert_array_equal(respond([1e300, -1e300, 0.0], c), [1, 0, 0])
        assert_array_equal(respond([-1e300, 1e300], c), [0, 1])
    assert_allclose(respond([1e3, 1e3, 999.0], 1e2), [0.5, 0.5, 0.0], atol=1e-10)


@pytest.mark.parametrize(("value", "c"), [(1e300, 1.0), (-1e300, 1.0), (1e6, 1e6), (1e3, 1e12)])
def test_a_law_sums_to_one_however_large_its_exponents_are(value, c) -> None:
    assert_allclose(respond([value, value], c), [0.5, 0.5], rtol=1e-12)


@given(x=st.lists(st.integers(-9, 9), min_size=1, max_size=6).map(np.array))
def test_softmax_goes_to_argmax_e(x) -> None:
    best = (x == x.max()) / (x == x.max()).sum()
    assert_array_equal(respond(x), best)
    assert_array_equal(respond(x, math.inf), best)
    assert_allclose(respond(x, 1e3), best, atol=1e-15)
    assert_allclose(respond(x, 1e-9), np.full(len(x), 1 / len(x)), atol=1e-7)


def test_every_maximiser_has_the_same_probability() -> None:
    q = np.array([[[3.0, 3.0, 1.0], [0.0, -1.0, -1.0]], [[2.0, 2.0, 2.0], [-5.0, -7.0, -5.0]]])
    third = 1 / 3
    expected = [[[0.5, 0.5, 0], [1, 0, 0]], [[third] * 3, [0.5, 0, 0.5]]]
    assert_array_equal(respond(q), expected)
    assert_array_equal(respond(q[0, 0]), [0.5, 0.5, 0])


def test_rounding_does_not_break_a_tie() -> None:
    assert 0.1 + 0.2 != 0.3
    assert_array_equal(respond([0.1 + 0.2, 0.3]), [0.5, 0.5])
    big = 1e6 * (1 + 2**-52)  # one rounding up
    assert_array_equal(respond([1e6, big, -1e6]), [0.5, 0.5, 0.0])
    assert_array_equal(respond([-1e6, -big]), [0.5, 0.5])
    # What is more than rounding is no tie: 1e-10, relative to large values, absolute for small ones.
    assert_array_equal(respond([1.0, 1.0 - 1e-9]), [1, 0])
    assert_array_equal(respond([1.0, 1.0 - 1e-11]), [0.5, 0.5])
    assert_array_equal(respond([1e6, 1e6 - 1e-3]), [1, 0])
    assert_array_equal(respond([1e6, 1e6 - 1e-5]), [0.5, 0.5])
    assert_array_equal(respond([-1e6, -1e6 - 1e-3]), [1, 0])
    assert_array_equal(respond([1e-6, 1e-6 - 1e-9]), [1, 0])


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 1e-6])
def test_argmax_e_is_not_lipschitz(epsilon) -> None:
    """The paper's example: x = (1, 1) and y = (1, 1 - epsilon)."""
    x, y = np.array([1.0, 1.0]), np.array([1.0, 1.0 - epsilon])
    assert_array_equal(respond(x), [0.5, 0.5])
    assert_array_equal(respond(y), [1.0, 0.0])
    # In l1 the ratio is the paper's 1 / epsilon; in its l2, 1 / (sqrt(2) epsilon).
    l1, l2 = (np.linalg.norm(respond(x) - respond(y), p) / np.linalg.norm(x - y, p) for p in (1, 2))
    assert l1 == pytest.approx(1 / epsilon, rel=1e-6)
    assert l2 == pytest.approx(1 / (math.sqrt(2) * epsilon), rel=1e-6)
    # softmax_c is, with the modulus c / 2 in l1 / l1 for two actions.
    for c in (1.0, 4.0):
        law = np.abs(respond(x, c) - respond(y, c)).sum()
        assert law <= c / 2 * epsilon * (1 + 1e-9)
        assert law == pytest.approx(c / 2 * epsilon, rel=c * epsilon)


def test_the_argument_is_left_alone() -> None:
    q = np.array([[1.0, 2.0]])
    for c in (1.0, math.inf):
        respond(q, c)
        assert_array_equal(q, [[1.0, 2.0]])


@pytest.mark.parametrize("q", [1.0, [], [[], []], [1.0, math.nan], [[1.0], [math.inf]]])
def test_values_must_be_finite_rows(q) -> None:
    with pytest.raises(ValueError, match="q must hold finite values over at least one action"):
        respond(q, 1.0)


@pytest.mark.parametrize(
    ("c", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (-math.inf, ValueError), (math.nan, ValueError), ("hot", TypeError)],
)
def test_c_must_be_positive(c, error) -> None:
    with pytest.raises(error, match=r"inverse_temperature must be a finite number in \(0, inf\)"):
        respond([1.0, 2.0], c)
