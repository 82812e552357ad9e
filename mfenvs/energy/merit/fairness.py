"""How unequal a quantity is among members."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks


def gini(values: ArrayLike) -> float:
    """Gini coefficient of numbers that may be negative, as bills of those who sell are.

    It is the sum of |x_i - x_j| over all ordered pairs, divided by 2 (N - 1) times the sum of all |x_i|: 0 if all
    are equal, 1 if one has everything. For numbers >= 0 it is N / (N - 1) times the usual coefficient.

    Parameters
    ----------
    values:
        Numbers, shape (N,) with N >= 2.

    Returns
    -------
    float
        In [0, 1]; nan if all numbers are 0.

    Raises
    ------
    TypeError, ValueError
        If the values are no such numbers.

    References
    ----------
    Raffinetti, Siletti & Vernizzi, "On the Gini coefficient normalization when attributes with negative values are
    considered", Statistical Methods & Applications 24, 2015.
    """
    numbers = checks.finite_numbers("values", values)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(f"values must have shape (N,) with N >= 2, got {numbers.shape}")
    return float(gini_of_rows(numbers[None])[0])


def gini_of_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`gini` of each row, shape (n_rows, N) to (n_rows,)."""
    n, ordered = rows.shape[1], np.sort(rows, axis=1)
    # Of sorted numbers the k-th is above k others and below n - 1 - k.
    pairs = 2.0 * (ordered * (2 * np.arange(n) - n + 1)).sum(axis=1)
    total = np.abs(rows).sum(axis=1)
    shares: NDArray[np.float64] = np.full(len(rows), np.nan)
    np.divide(pairs, 2 * (n - 1) * total, out=shares, where=total > 0.0)
    return shares
