"""Groups of columns of a sparse matrix that can be moved together, since no row reads two of them."""

import numpy as np
from numpy.typing import NDArray


def columns_moved_together(reads: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Share out the columns that are read at all, each into the first group that it fits into.

    Parameters
    ----------
    reads:
        Whether a row reads a column, shape (n_rows, n_columns).

    Returns
    -------
    For each group, the column of it that each row reads, or -1 if it reads none, shape (n_rows,).

    References
    ----------
    Curtis, Powell & Reid, "On the estimation of sparse Jacobian matrices", IMA Journal of Applied Mathematics 13,
    1974.
    """
    groups: list[NDArray[np.int64]] = []
    for column in np.flatnonzero(reads.any(axis=0)).tolist():
        readers = reads[:, column]
        for group in groups:
            if not (group[readers] >= 0).any():
                break
        else:
            group = np.full(len(reads), -1, np.int64)
            groups.append(group)
        group[readers] = column
    return groups
