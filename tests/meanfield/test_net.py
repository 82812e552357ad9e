"""Projection to the net of laws with probabilities k / m, against all such laws."""

import itertools

import numpy as np
import pytest
from hunt import Hunt
from hypothesis import given
from hypothesis import strategies as st
from local_crowd import LocalCrowd
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.meanfield.net import fixed_masses, net_radius, project_to_net, round_within_blocks

sizes = st.integers(1, 5)
resolutions = st.integers(1, 6)


def law_of(weights):
    return np.array(weights) / np.sum(weights)


laws = st.lists(st.floats(0, 1), min_size=1, max_size=5).filter(lambda x: sum(x) > 1e-3).map(law_of)


def net(n, m):
    """All laws over n outcomes whose probabilities are multiples of 1/m."""
    return np.array([x for x in itertools.product(range(m + 1), repeat=n) if sum(x) == m]) / m


@given(laws, resolutions)
def test_no_law_on_the_net_is_nearer(law, m):
    projected = project_to_net(law, m)
    everywhere = net(len(law), m)
    assert np.abs(everywhere - projected).sum(axis=1).min() < 1e-14  # it is one of them
    nearest = np.abs(everywhere - law).sum(axis=1).min()
    assert np.abs(projected - law).sum() == pytest.approx(nearest, abs=1e-8)


@given(st.integers(1, 40), st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_projection_is_a_law_on_the_net_within_its_radius(n, m, seed):
    law = np.random.default_rng(seed).dirichlet(np.full(n, 0.5))
    projected = project_to_net(law, m)
    assert projected.sum() == pytest.approx(1.0, abs=1e-12)
    assert projected.min() >= 0
    counts = projected * m
    assert_allclose(counts, counts.round(), atol=1e-9 * m)
    assert counts.round().sum() == m
    assert np.abs(projected - law).sum() <= net_radius(n, m) + 1e-9
    assert np.abs(projected - law).max() <= 1 / m + 1e-12
    assert_array_equal(project_to_net(projected, m), projected)


@given(st.integers(1, 30), st.integers(1, 10**4), st.integers(0, 10**6))
def test_what_is_on_the_net_stays(n, m, seed):
    """Also where k / m * m is not k."""
    law = np.random.default_rng(seed).multinomial(m, np.full(n, 1 / n)) / m
    assert_array_equal(project_to_net(law, m), law)


def test_a_multiple_that_rounding_moved_stays():
    """0.29 * 100 is 28.999999999999996."""
    assert 0.29 * 100 < 29
    assert_array_equal(project_to_net([0.0, 0.29, 0.71], 100), [0.0, 0.29, 0.71])
    assert_array_equal(project_to_net([0.29, 0.57, 0.14], 100), [0.29, 0.57, 0.14])


@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 1), (2, 5), (3, 4), (4, 3), (5, 7), (6, 3)])
def test_the_radius_is_attained_where_half_of_the_outcomes_are_rounded_up(n, m):
    """All remainders are k / n with k = floor(n / 2) <= m; what is left of m is whole and on the first outcome."""
    k = n // 2
    law = np.full(n, k / n / m)
    law[0] += 1 - law.sum()
    assert np.abs(project_to_net(law, m) - law).sum() == pytest.approx(net_radius(n, m), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "m", "radius"), [(1, 4, 0), (2, 4, 0.25), (3, 1, 4 / 3), (3, 2, 2 / 3), (4, 10, 0.2), (5, 2, 1.2)]
)
def test_radii_by_hand(n, m, radius):
    assert net_radius(n, m) == pytest.approx(radius)


@pytest.mark.parametrize(
    ("law", "m", "projected"),
    [
        ([0.5, 0.5], 1, [1, 0]),
        ([0.25, 0.25, 0.25, 0.25], 2, [0.5, 0.5, 0, 0]),
        ([1 / 3, 1 / 3, 1 / 3], 2, [0.5, 0.5, 0]),
        ([0.125, 0.375, 0.375, 0.125], 2, [0, 0.5, 0.5, 0]),
        ([0.1, 0.45, 0.45], 1, [0, 1, 0]),
    ],
)
def test_ties_go_to_the_first(law, m, projected):
    assert_array_equal(project_to_net(law, m), projected)


def test_by_hand():
    """.26, .33, .41 in tenths: 2, 3, 4 and one for the largest remainder .6."""
    assert_array_equal(project_to_net([0.26, 0.33, 0.41], 10), [0.3, 0.3, 0.4])
    assert_array_equal(project_to_net([0.26, 0.33, 0.41], 1), [0, 0, 1])


def test_all_axes_together_hold_one_law():
    law = np.array([[0.26, 0.33], [0.0, 0.41]])
    before = law.copy()
    projected = project_to_net(law, 10)
    assert_array_equal(projected, [[0.3, 0.3], [0.0, 0.4]])
    assert_array_equal(law, before)  # the caller's array is its own
    assert project_to_net([[[1.0]]], 3).shape == (1, 1, 1)


@given(st.integers(2, 8), st.integers(1, 1000), st.integers(0, 10**6))
def test_laws_in_single_precision(n, m, seed):
    """Their sum is one within 1e-6 only: the projection's is one."""
    law = np.random.default_rng(seed).dirichlet(np.ones(n)).astype(np.float32)
    projected = project_to_net(law, m)
    assert projected.dtype == np.float64
    assert projected.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("excess", [1e-7, 9e-7])
def test_a_sum_slightly_above_one_is_one_on_a_fine_net(excess):
    projected = project_to_net([0.5 + excess / 2, 0.5 + excess / 2], 10**8)
    assert projected.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("law", "m", "error", "message"),
    [
        ([0.5, 0.6], 3, ValueError, "law must hold probabilities"),
        ([1.5, -0.5], 3, ValueError, "law must hold probabilities"),
        ([np.nan, 1.0], 3, ValueError, "law must hold probabilities"),
        ([0.5, 0.5], 0, ValueError, r"m must be an integer in \[1, 2147483648\], got 0"),
        ([0.5, 0.5], 2**31 + 1, ValueError, r"m must be an integer in \[1, 2147483648\]"),
        ([0.5, 0.5], 2.0, TypeError, r"m must be an integer in \[1, 2147483648\], got 2.0"),
        (["a"], 1, TypeError, "law must be an array of numbers"),
        ([], 1, ValueError, "law must hold probabilities .*, got a least of nothing"),
    ],
)
def test_arguments_that_are_not_allowed(law, m, error, message):
    with pytest.raises(error, match=message):
        project_to_net(law, m)


@pytest.mark.parametrize(("n", "m", "name"), [(0, 1, "n"), (1, 0, "m")])
def test_sizes_that_are_not_allowed(n, m, name):
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1, got 0"):
        net_radius(n, m)


@pytest.mark.parametrize("m", [1, 4, 1000])
def test_each_population_keeps_its_mass(m):
    """Hunt has 2 states of hawks and 3 of doves, with 3 actions each: 6 and 9 pairs."""
    fixed = fixed_masses(Hunt())
    assert fixed.firsts.tolist() == [0, 6, 15]
    hawks, doves = (np.random.default_rng(m).dirichlet(np.ones(n)) for n in (6, 9))
    law = np.concatenate([0.3 * hawks, 0.7 * doves])
    round_within_blocks(law, m, fixed)
    assert_allclose(law[:6], 0.3 * project_to_net(hawks, m), rtol=1e-15)
    assert_allclose(law[6:], 0.7 * project_to_net(doves, m), rtol=1e-15)
    empty = np.concatenate([np.zeros(6), doves])
    round_within_blocks(empty, m, fixed)
    assert_allclose(empty[:6], 0.0)
    assert_allclose(empty[6:], project_to_net(doves, m), rtol=1e-15)


def test_one_population_is_one_block():
    fixed = fixed_masses(LocalCrowd())
    assert fixed.firsts.tolist() == [0, 8]
    law = np.random.default_rng(0).dirichlet(np.ones(8))
    projected = project_to_net(law, 30)
    round_within_blocks(law, 30, fixed)
    assert_array_equal(law, projected)
