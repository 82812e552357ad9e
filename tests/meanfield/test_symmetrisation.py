"""Sym(f) and its lift against all K! permutations, by hand, and by sampling within its errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.meanfield.lattice import (
    counts_of,
    lattice,
    lattice_size,
    n_orders,
    orders,
    point_of,
    random_counts,
    rounded,
)
from mfenvs.meanfield.symmetrisation import Estimates, lift, symmetrise, symmetrise_by_sampling

seeds = st.integers(0, 10**6)


def random_function(seed: int, n_outcomes: int, n_agents: int, *shape: int):
    table = np.random.default_rng(seed).normal(size=(n_outcomes,) * n_agents + shape)
    return lambda x: table[x]


@given(m=st.integers(1, 5), k=st.integers(1, 5))
def test_the_lattice_holds_every_distribution_once(m, k):
    points = lattice(m, k)
    expected = [c for c in itertools.product(range(k + 1), repeat=m) if sum(c) == k]
    assert points.tolist() == [list(c) for c in expected]
    assert len(points) == lattice_size(m, k)
    vectors = np.array(list(itertools.product(range(m), repeat=k)))
    assert (points[point_of(vectors, points)] == counts_of(vectors, m)).all()


def test_points_are_found_on_lattices_whose_codes_exceed_64_bits():
    points = np.concatenate([np.eye(70, dtype=np.int64)[::-1] * 2])
    assert (points[point_of(np.array([[5, 5], [69, 69]]), points)].argmax(axis=1) == [5, 69]).all()


@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(lambda c: 0 < sum(c) <= 6))
def test_orders_are_the_different_permutations(counts):
    multiset = [j for j, c in enumerate(counts) for _ in range(c)]
    expected = sorted(set(itertools.permutations(multiset)))
    assert [tuple(row) for row in orders(np.array(counts))] == expected
    assert n_orders(np.array(counts)) == len(expected)


@given(seed=seeds, m=st.integers(1, 6), k=st.integers(1, 100))
def test_rounded_laws_are_points_within_one_agent_of_the_law(seed, m, k):
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.full(m, 0.5))
    counts = rounded(law, k)
    assert counts.sum() == k
    assert np.abs(counts - k * law).max() < 1.0
    assert random_counts(rng, m, k, 1e-3).sum() == k


def test_symmetrisation_by_hand():
    """f(x) = 1{x_1 = b}: its mean over orders is the share of b. f(x) = x_1 - x_2 cancels."""
    assert symmetrise(lambda x: float(x[0] == "b"), ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert symmetrise(lambda x: x[0] - x[1], [5, 2]) == 0.0
    assert symmetrise(lambda x: x[0] * x[1] ** 2, [1, 2, 3]) == pytest.approx((4 + 9 + 2 + 18 + 3 + 12) / 6)


@settings(max_examples=20)
@given(seed=seeds, m=st.integers(1, 3), k=st.integers(1, 5))
def test_symmetrisation_is_the_mean_over_all_permutations(seed, m, k):
    function, rng = random_function(seed, m, k, 2), np.random.default_rng(seed)
    x = tuple(rng.integers(m, size=k).tolist())
    plain = np.mean([function(order) for order in itertools.permutations(x)], axis=0)
    assert_allclose(symmetrise(function, x), plain, atol=1e-12)
    assert_allclose(symmetrise(function, np.array(x)), plain, atol=1e-12)
    # Lemma 3: it is symmetric.
    assert_allclose(symmetrise(function, tuple(rng.permutation(x).tolist())), plain, atol=1e-12)


@settings(max_examples=20)
@given(seed=seeds, m=st.integers(1, 3), k=st.integers(1, 4))
def test_the_lift_is_the_symmetrisation_at_every_point(seed, m, k):
    function = random_function(seed, m, k, 2)
    lifted = lift(function, m, k)
    assert_allclose(lifted.points.sum(axis=1), 1.0)
    for counts, value in zip(lifted.counts, lifted.values, strict=True):
        x = [j for j, c in enumerate(counts) for _ in range(c)]
        plain = np.mean([function(order) for order in itertools.permutations(x)], axis=0)
        assert_allclose(value, plain, atol=1e-12)
        assert (lifted(counts) == value).all()


def test_a_function_of_counts_is_evaluated_once_for_each_point():
    """Lemma 4: Sym(f) = f, to the last bit."""
    calls = []

    def function(x):
        calls.append(x)
        return math.sin(x.count(0)) + 0.1 * x.count(2)

    every = lift(function, 3, 4)
    assert len(calls) == 3**4
    calls.clear()
    once = lift(function, 3, 4, sees_counts=True)
    assert len(calls) == lattice_size(3, 4) == 15
    assert (every.values == once.values).all()
    assert (every.counts == once.counts).all()
    assert symmetrise(function, (0, 1, 2, 2)) == function((0, 1, 2, 2))


def test_many_alike_have_few_orders():
    """51 orders of 50 zeros and a one, of 51! permutations."""
    x = [0] * 50 + [1]
    assert symmetrise(lambda y: float(y[0]), x) == pytest.approx(1 / 51)


def test_sampling_is_within_its_errors_and_knows_them():
    """Six and a half standard errors are exceeded with a chance of 1e-10 for each of the 6 numbers."""
    function, x = random_function(3, 4, 5, 6), (0, 1, 2, 3, 3)
    found = symmetrise_by_sampling(function, x, 4000, seed=1)
    exact = symmetrise(function, x)
    assert (np.abs(found.value - exact) < 6.5 * found.standard_error).all()
    spread = np.std([function(order) for order in itertools.permutations(x)], axis=0)
    assert_allclose(found.standard_error, spread / math.sqrt(4000), rtol=0.1)
    low, high = found.interval
    assert_allclose(high - low, 2 * 1.9606 * found.standard_error, rtol=1e-4)
    assert found.n_samples == 4000
    again = symmetrise_by_sampling(function, x, 4000, seed=1)
    assert (found.value == again.value).all()
    assert (found.value != symmetrise_by_sampling(function, x, 4000, seed=2).value).all()


def test_a_symmetric_function_is_sampled_without_error():
    found = symmetrise_by_sampling(lambda x: float(sum(x)), (1, 2, 4), 10)
    assert (found.value, found.standard_error) == (7.0, 0.0)


def test_estimates_of_samples_by_hand():
    found = Estimates.of(np.array([[1.0, 0.0], [3.0, 0.0]]))
    assert_allclose(found.value, [2.0, 0.0])
    assert_allclose(found.standard_error, [1.0, 0.0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: symmetrise(sum, []), TypeError, "x must be a sequence of at least one outcome"),
        (lambda: symmetrise(sum, 3), TypeError, "x must be a sequence of at least one outcome, got 3"),
        (
            lambda: symmetrise(sum, range(11)),
            ValueError,
            r"x has 39916800 different orders \(of 11! permutations\)",
        ),
        (
            lambda: symmetrise(lambda x: np.nan, (1, 2)),
            ValueError,
            r"function\(\(1, 2\)\) must be finite, got nan",
        ),
        (lambda: symmetrise(lambda x: "one", (1, 2)), TypeError, r"function\(\(1, 2\)\)"),
        (
            lambda: symmetrise_by_sampling(sum, (1, 2), 1),
            ValueError,
            r"n_samples must be an integer in \[2, 1000000\], got 1",
        ),
        (lambda: symmetrise_by_sampling(sum, (1, 2), seed=-1), ValueError, "seed must be"),
        (
            lambda: lift(sum, 10, 7),
            ValueError,
            "takes 10000000 evaluations, more than 1000000: .*sees_counts=True",
        ),
        (lambda: lift(sum, 30, 30, sees_counts=True), ValueError, "evaluations, more than 1000000: estimate"),
        (lambda: lift(sum, 0, 2), ValueError, "n_outcomes must be"),
        (lambda: lift(sum, 3, 10**7), ValueError, "takes more than 1e300 evaluations, more than 1000000"),
        (lambda: lift(sum, 10**6, 10**6, sees_counts=True), ValueError, "takes more than 1e300 evaluations"),
        (
            lambda: symmetrise(sum, [np.arange(2), np.arange(2)]),
            TypeError,
            "x must hold outcomes that can be compared, got .*: give tuples in the place of arrays",
        ),
        (
            lambda: symmetrise(sum, np.ma.masked_array([1, 2], [True, False])),
            TypeError,
            "x must be an array without a mask",
        ),
        (
            lambda: symmetrise(lambda x: np.zeros(x[0]), (1, 2)),
            ValueError,
            r"function\(\(2, 1\)\) must have shape \(1,\) as before, got \(2,\)",
        ),
        (lambda: lift(sum, 2, 2)([1, 2]), ValueError, r"counts must have the sum 2, got \[1, 2\]"),
        (lambda: lift(sum, 2, 2)([3, -1]), ValueError, r"counts\[0\] must be an integer in \[0, 2\]"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
