"""Products of matrices with few entries against numpy's products of dense ones."""

import numpy as np
import pytest
from compressed import compressed

from mfenvs.meanfield.equilibrium.compressed_rows import MANY, add, product


@pytest.mark.parametrize("share", [0.0, 0.5 * MANY, 2.0 * MANY, 1.0])
def test_products_and_sums_are_those_of_dense_matrices(share: float) -> None:
    """Rows have from none to eleven entries."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(40, 11)) * (rng.random((40, 11)) < share)
    dense = rng.normal(size=(11, 5))
    for given in (matrix, compressed(matrix)):
        np.testing.assert_allclose(product(given, dense), matrix @ dense, atol=1e-14)
        beside = np.ones((40, 13))
        add(given, beside[:, 1:-1])
        np.testing.assert_allclose(beside[:, 1:-1], 1.0 + matrix, atol=1e-14)
        np.testing.assert_array_equal(beside[:, [0, -1]], 1.0)


def test_entries_are_added_row_by_row() -> None:
    """One row for each number of entries, since four are taken at a time."""
    matrix = np.tril(np.arange(1.0, 122.0).reshape(11, 11))
    np.testing.assert_array_equal(product(compressed(matrix), np.eye(11)), matrix)
