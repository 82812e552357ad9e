"""Matrices in compressed rows, made from dense ones."""

import numpy as np
from scipy import sparse

from mfenvs.meanfield.equilibrium.compressed_rows import CompressedRows


def compressed(matrix: np.ndarray) -> CompressedRows:
    """A matrix in compressed rows, with entries of another one before and behind."""
    rows = sparse.csr_array(matrix)
    columns, values = np.append(0, [*rows.indices, 0]).astype(np.int32), np.append(7.0, [*rows.data, 7.0])
    return CompressedRows(matrix.shape, (rows.indptr + 1).astype(np.int32), columns, values)
