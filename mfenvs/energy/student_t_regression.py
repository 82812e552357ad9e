"""Maximum likelihood of a linear regression with Student-t errors and a scale for each group."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

from mfenvs import checks

DEGREES_OF_FREEDOM = (1.1, 1e3)
"""Interval in which degrees of freedom are sought [O]: at 1 the continuous ranked probability score
is infinite, and beyond 1,000 the law is nearly Gaussian."""

FIRST_DEGREES_OF_FREEDOM = 8.0
"""Degrees of freedom from which the estimation starts."""

CONVERGED = 1e-10
"""The fit ends when an iteration gains less than this in log-likelihood per observation."""

MOST_ITERATIONS = 1000
"""Most iterations of a fit."""


class StudentTFit(NamedTuple):
    """Estimates of :func:`fit_student_t`."""

    coefficients: NDArray[np.float64]
    """Coefficients b of the location, shape (k,)."""
    scale: NDArray[np.float64]
    """Scale of each group, in the target's unit, shape (n_groups,)."""
    degrees_of_freedom: float
    """Degrees of freedom nu of the errors, ``inf`` for Gaussian ones."""
    log_likelihood: float
    """Natural logarithm of the likelihood, the sum over the observations."""


def fit_student_t(
    design: NDArray[np.float64],
    target: NDArray[np.float64],
    groups: NDArray[np.int64],
    *,
    degrees_of_freedom: float | None = None,
    scale_floor: float,
) -> StudentTFit:
    """Maximum likelihood of y = X b + scale[group] x T, with T Student-t, by expectation-maximisation.

    A Student-t variable is a Gaussian whose precision is Gamma-distributed. Given the expected precision of every
    observation, b is a weighted least-squares estimate, and the scales are weighted root mean squares, divided by
    the weights' sum (the parameter-expanded algorithm, which converges faster). The degrees of freedom nu then
    maximise the likelihood itself.

    Parameters
    ----------
    design:
        Design matrix X, shape (n, k), n >= 1, k >= 0; of collinear columns the solution of least norm is taken.
    target:
        Observations y, shape (n,).
    groups:
        Group of each observation, whose scale it has, shape (n,); every number from 0 to the largest occurs.
    degrees_of_freedom:
        Degrees of freedom nu, > 0, ``inf`` for Gaussian errors; None estimates them within
        ``DEGREES_OF_FREEDOM``.
    scale_floor:
        Least scale, > 0, in the target's unit.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or not finite.

    Warns
    -----
    RuntimeWarning
        If the likelihood still grows after ``MOST_ITERATIONS``.

    References
    ----------
    Liu and Rubin, Statistica Sinica 5, 1995; Liu, Rubin and Wu, Biometrika 85, 1998.
    """
    design, target = checks.finite_numbers("design", design), checks.finite_numbers("target", target)
    if design.ndim != 2 or len(design) == 0 or target.shape != design.shape[:1]:
        raise ValueError(
            f"design and target must have shapes (n, k) and (n,), n >= 1, got {design.shape} and {target.shape}"
        )
    groups = checks.indices("groups", groups, target.shape, 0, len(target) - 1)
    if not np.bincount(groups).all():
        raise ValueError(f"groups must hold every number from 0 to {groups.max()}")
    is_gaussian = isinstance(degrees_of_freedom, float | np.floating) and degrees_of_freedom == math.inf
    if degrees_of_freedom is not None and not is_gaussian:
        degrees_of_freedom = checks.real("degrees_of_freedom", degrees_of_freedom, 0.0, exclude_low=True)
    scale_floor = checks.real("scale_floor", scale_floor, 0.0, exclude_low=True)
    counts = np.bincount(groups)
    nu = FIRST_DEGREES_OF_FREEDOM if degrees_of_freedom is None else degrees_of_freedom
    scale, weights = np.ones(len(counts)), np.ones(len(target))
    squares = np.empty(len(target))
    before = -math.inf
    for iteration in range(MOST_ITERATIONS):
        coefficients = _least_squares(design, target, np.sqrt(weights) / scale[groups])
        residuals_squared = (target - design @ coefficients) ** 2
        if iteration:
            weights = _weights(residuals_squared / scale[groups] ** 2, nu)
        variances = np.bincount(groups, weights * residuals_squared) / np.bincount(groups, weights)
        scale = np.maximum(np.sqrt(variances), scale_floor)
        squares = residuals_squared / scale[groups] ** 2
        if degrees_of_freedom is None:
            nu = _likeliest_degrees_of_freedom(squares)
        weights = _weights(squares, nu)
        likelihood = _log_likelihood(squares, nu) - float(counts @ np.log(scale))
        if likelihood - before < CONVERGED * len(target):
            return StudentTFit(coefficients, scale, nu, likelihood)
        before = likelihood
    warnings.warn(
        f"the likelihood still grows after {MOST_ITERATIONS} iterations, by {likelihood - before:.2g} in the last",
        RuntimeWarning,
        stacklevel=2,
    )
    return StudentTFit(coefficients, scale, nu, likelihood)


def _least_squares(
    design: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    if design.shape[1] == 0:
        return np.zeros(0)
    solution, *_ = linalg.lstsq(
        design * weights[:, None], target * weights, lapack_driver="gelsy", check_finite=False
    )
    return np.asarray(solution, np.float64)


def _weights(squares: NDArray[np.float64], nu: float) -> NDArray[np.float64]:
    """Expected precision of each observation, given its squared standardised residual."""
    return np.ones_like(squares) if nu == math.inf else (nu + 1.0) / (nu + squares)


def _log_likelihood(squares: NDArray[np.float64], nu: float) -> float:
    """Log-likelihood of standardised residuals, given their squares."""
    if nu == math.inf:
        return -0.5 * float(squares.sum() + len(squares) * math.log(2.0 * math.pi))
    constant = special.gammaln((nu + 1.0) / 2.0) - special.gammaln(nu / 2.0) - 0.5 * math.log(nu * math.pi)
    return float(len(squares) * constant - (nu + 1.0) / 2.0 * np.log1p(squares / nu).sum())


def _likeliest_degrees_of_freedom(squares: NDArray[np.float64]) -> float:
    found = optimize.minimize_scalar(
        lambda log_nu: -_log_likelihood(squares, math.exp(log_nu)),
        bounds=tuple(map(math.log, DEGREES_OF_FREEDOM)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(found.x)
