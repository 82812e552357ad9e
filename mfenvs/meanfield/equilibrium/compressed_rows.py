"""Sparse matrices in compressed rows, and their products with dense ones.

In elimination over time there are thousands of products of matrices of a few hundred rows. What scipy does besides
the arithmetic takes as long as the arithmetic there.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel

Array = NDArray[np.float64]


MANY = 0.1
"""Share of entries that are not 0 from which on a product is that of dense matrices."""


class CompressedRows(NamedTuple):
    """A sparse matrix: the columns and the values of its entries, row after row."""

    shape: tuple[int, int]
    starts: NDArray[np.int32]
    """Where each row begins, and where the last ends, (n_rows + 1,)."""
    columns: NDArray[np.int32]
    values: Array
    """Like ``columns``, these may hold entries of other matrices before and behind."""


Matrix = Array | CompressedRows
"""A dense or a sparse matrix."""


def product(matrix: Matrix, dense: Array) -> Array:
    """``matrix @ dense``."""
    if not isinstance(matrix, CompressedRows) and np.count_nonzero(matrix) > MANY * matrix.size:
        return np.asarray(matrix @ dense, np.float64)
    found = np.zeros((matrix.shape[0], dense.shape[1]))
    if isinstance(matrix, CompressedRows):
        add_rows(matrix.starts, matrix.columns, matrix.values, dense, found)
    else:
        add_nonzero(matrix, dense, found)
    return found


def add(matrix: Matrix, to: Array) -> None:
    """Add a matrix to a dense one in place."""
    if isinstance(matrix, CompressedRows):
        add_entries(matrix.starts, matrix.columns, matrix.values, to)
    else:
        to += matrix


@kernel
def add_rows(starts: Any, columns: Any, values: Any, dense: Any, to: Any) -> None:
    """Add the product of a sparse and a dense matrix, (n_rows, n_columns) each, in place."""
    n_columns = dense.shape[1]
    for i in range(len(starts) - 1):
        e, end = starts[i], starts[i + 1]
        # Four entries at a time, so that a row is read and written more seldom.
        while e + 4 <= end:
            a, b, c, d = columns[e], columns[e + 1], columns[e + 2], columns[e + 3]
            of_a, of_b, of_c, of_d = values[e], values[e + 1], values[e + 2], values[e + 3]
            for j in range(n_columns):
                to[i, j] += (of_a * dense[a, j] + of_b * dense[b, j]) + (of_c * dense[c, j] + of_d * dense[d, j])
            e += 4
        while e < end:
            value, k = values[e], columns[e]
            for j in range(n_columns):
                to[i, j] += value * dense[k, j]
            e += 1


@kernel
def add_nonzero(matrix: Any, dense: Any, to: Any) -> None:
    """Add the product of two dense matrices in place, row by row, without entries that are 0."""
    for i in range(matrix.shape[0]):
        for k in range(matrix.shape[1]):
            value = matrix[i, k]
            if value != 0.0:
                for j in range(dense.shape[1]):
                    to[i, j] += value * dense[k, j]


@kernel
def add_entries(starts: Any, columns: Any, values: Any, to: Any) -> None:
    """Add the entries of a sparse matrix to a dense one in place."""
    for i in range(len(starts) - 1):
        for e in range(starts[i], starts[i + 1]):
            to[i, columns[e]] += values[e]
