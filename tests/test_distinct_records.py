"""Distinct records, against np.unique."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mfenvs.distinct_records import distinct_records

KINDS = {
    "numbers": np.dtype([("a", np.float32), ("b", np.int8), ("c", np.float64)]),
    "with an array": np.dtype([("a", np.float32, (2,)), ("b", np.int8)]),
    "nested": np.dtype([("a", [("b", np.int8)]), ("c", np.int8)]),
    "nothing": np.dtype([]),
}


@pytest.mark.parametrize("name", KINDS)
@given(n=st.integers(1, 30), n_values=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_as_numpy_tells_them(name, n, n_values, seed):
    dtype, rng = KINDS[name], np.random.default_rng(seed)
    if name == "nothing":
        records = np.zeros(n, dtype)
    else:
        bytes_ = rng.integers(0, n_values, (n, dtype.itemsize)).astype(np.uint8)
        records = bytes_.view(dtype).reshape(n)
        if name == "numbers":
            records["a"], records["c"] = rng.integers(-n_values, n_values, (2, n))
    found, copies = distinct_records(records)
    assert found.dtype == dtype
    assert copies.sum() == n
    if name == "nothing":
        assert len(found) == 1
        return
    expected, expected_copies = np.unique(records, return_counts=True)
    assert_array_equal(found, expected)
    assert_array_equal(copies, expected_copies)


def test_zeros_of_both_signs_are_equal():
    records = np.zeros(3, [("a", np.float64)])
    records["a"] = [0.0, -0.0, 0.0]
    found, copies = distinct_records(records)
    assert len(found) == 1
    assert copies.tolist() == [3]
