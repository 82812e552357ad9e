"""Linear regressions of outcomes on the population, with standard errors from leaving out groups of episodes.

Episodes are independent; steps and agents within an episode are not. So errors come from the delete-a-group
jackknife: the estimate is computed again without each group of episodes, and

    variance = (G - 1) / G  sum_g (estimate without g - estimate)^2.

It asks nothing of how outcomes within an episode depend on each other.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-9
"""Directions of the population whose variance is below this part of the largest count as never varied."""
LEAST_LEFT = 1e-6
"""Part of a direction's variance that must be left without any group for its slope to have an error."""
ROWS_PER_COEFFICIENT = 2
"""Number of distinct populations for each coefficient below which outcomes are averaged, not regressed."""


@dataclasses.dataclass(frozen=True)
class Regression:
    """A fitted linear function of the shares phi (F,) of the population's groups, which sum to one."""

    values: Array
    """Outcomes where all others are in one group, shape (n_outcomes, F): the fit at phi is values @ phi."""
    without: Array
    """The same without each group of episodes, shape (G, n_outcomes, F)."""
    unseen: Array
    """Projection onto the directions in which phi never varied, shape (F, F)."""
    centre: Array
    """Mean of phi, shape (F,)."""
    is_constant: bool
    """Whether too few populations were seen to regress: then the fit is the mean outcome."""


def regress(
    phi: Array, weights: Array, outcomes: Array, groups: NDArray[np.int64], n_groups: int, ridge: float = 0.0
) -> Regression:
    """Fit outcomes by weighted least squares on the population.

    Directions in which the population never varied have slope 0.

    Parameters
    ----------
    phi:
        Shares of the population's groups, rows summing to one, shape (n, F).
    weights:
        Number of outcomes of which each row is the mean, shape (n,).
    outcomes:
        Mean outcomes, shape (n, n_outcomes).
    groups:
        The group of episodes that a row comes from, shape (n,).
    n_groups:
        Number G of groups.
    ridge:
        Penalty on the squared slopes, added to the mean squared residual. Errors do not contain the bias that it
        causes.
    """
    total = weights.sum()
    centre = weights @ phi / total
    offsets = phi - centre
    variances, directions = np.linalg.eigh((offsets.T * weights) @ offsets / total)
    varied = variances > max(SMALLEST_VARIANCE * variances[-1], 1e-15)
    scales = np.sqrt(variances[varied])
    # Slopes in units in which the design's covariance is the identity.
    to_units = directions[:, varied] / scales
    unseen = directions[:, ~varied] @ directions[:, ~varied].T
    for to_slopes in (to_units, to_units[:, :0]):
        is_constant = not to_slopes.shape[1]
        design = np.column_stack([np.ones(len(phi)), offsets @ to_slopes])
        penalty = np.zeros(design.shape[1])
        penalty[1:] = 0.0 if is_constant else ridge / scales**2
        products, moments = _sums(design, weights, outcomes, groups, n_groups)
        all_products, all_moments = products.sum(axis=0), moments.sum(axis=0)
        left, left_moments = all_products - products, all_moments - moments
        # If all the rows come from one group, there is nothing to compare with.
        nothing = left[:, 0, 0] < 0.5
        left[nothing], left_moments[nothing] = all_products, all_moments
        if is_constant or _is_settled(left, len(phi)):
            break
    left = np.concatenate([all_products[None], left])
    penalties = left[:, :1, :1] * np.diag(penalty)
    fits = np.linalg.solve(left + penalties, np.concatenate([all_moments[None], left_moments]))
    slopes = to_slopes @ fits[:, 1:]
    at_zero = fits[:, 0] - np.einsum("f,gfo->go", centre, slopes)
    values = np.swapaxes(at_zero[:, None] + slopes, 1, 2)
    return Regression(values[0], values[1:], unseen, centre, bool(is_constant and varied.any()))


def _sums(
    design: Array, weights: Array, outcomes: Array, groups: NDArray[np.int64], n_groups: int
) -> tuple[Array, Array]:
    """Products of the design with itself (G, p, p) and with the outcomes (G, p, n_outcomes), by group."""
    p = design.shape[1]
    products, moments = np.zeros((n_groups, p, p)), np.zeros((n_groups, p, outcomes.shape[1]))
    for g in np.unique(groups):
        rows = groups == g
        weighted = design[rows].T * weights[rows]
        products[g], moments[g] = weighted @ design[rows], weighted @ outcomes[rows]
    return products, moments


def _is_settled(left: Array, n_rows: int) -> bool:
    """Whether all slopes can be fitted without any one group (G, p, p)."""
    enough = n_rows >= ROWS_PER_COEFFICIENT * left.shape[1]
    return bool(enough and (np.linalg.eigvalsh(left / left[:, :1, :1])[:, 0] > LEAST_LEFT).all())
