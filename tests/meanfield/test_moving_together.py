"""Columns that are moved together: a tridiagonal matrix, and properties of any."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from mfenvs.meanfield.moving_together import columns_moved_together


def test_a_tridiagonal_matrix_needs_three_groups():
    near = np.abs(np.subtract.outer(np.arange(7), np.arange(7))) <= 1
    groups = columns_moved_together(near)
    assert len(groups) == 3
    assert_array_equal(groups[0], [0, 0, 3, 3, 3, 6, 6])


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_every_entry_is_in_one_group(reads):
    found = np.zeros_like(reads)
    for group in columns_moved_together(reads):
        rows = np.flatnonzero(group >= 0)
        assert not found[rows, group[rows]].any()
        found[rows, group[rows]] = True
    assert_array_equal(found, reads)
