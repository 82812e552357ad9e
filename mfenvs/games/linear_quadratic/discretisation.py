"""One step of the linear dynamics dx = (a x + b u + kappa xbar) dt + sigma dW + sigma_0 dW^0 in discrete time.

Over a step, the control u and the population mean xbar are frozen. Either scheme gives

    x' = stay x + push u + pull xbar + noise Z + common_noise,   Z standard normal,

with coefficients of each type. In the Euler-Maruyama scheme these are (1 + a dt, b dt, kappa dt, sigma sqrt(dt));
the exact Gaussian transition has exp(a dt), and integrals of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TRANSITIONS = ("euler", "exact")
"""Names of the two schemes."""


class Step(NamedTuple):
    """Coefficients of a step of each type, arrays of shape (n_types,), in double precision."""

    stay: Array
    """Factor on the state."""
    push: Array
    """Factor on the control."""
    pull: Array
    """Factor on the population mean."""
    noise: Array
    """Standard deviation of the agent's own noise."""
    common: Array
    """Lower triangular factor L of the covariance L L' of the common noise of the types, (n_types, n_types)."""


def step_of(
    transition: str,
    dt: float,
    drift: Array,
    control_gain: Array,
    coupling: Array,
    volatility: Array,
    sigma_0: float,
) -> Step:
    """The coefficients of one step.

    Parameters
    ----------
    transition:
        ``euler`` or ``exact``.
    dt:
        Length of the step.
    drift, control_gain, coupling, volatility:
        a, b, kappa and sigma of each type, shape (n_types,).
    sigma_0:
        Volatility of the common noise.
    """
    sums = drift[:, None] + drift
    if transition == "euler":
        held, spread, covariance = np.full_like(drift, dt), np.full_like(drift, dt), np.full_like(sums, dt)
        stay = 1.0 + drift * dt
    else:
        held, spread, covariance = _growth(drift, dt), _growth(2.0 * drift, dt), _growth(sums, dt)
        stay = np.exp(drift * dt)
    return Step(
        stay=stay,
        push=control_gain * held,
        pull=coupling * held,
        noise=volatility * np.sqrt(spread),
        common=sigma_0 * _triangular_factor(covariance),
    )


def _growth(rate: Array, dt: float) -> Array:
    """The integral of exp(rate s) over s in [0, dt]."""
    x = rate * dt
    small = np.abs(x) < 1e-8
    return dt * np.where(small, 1.0 + 0.5 * x, np.expm1(x) / np.where(small, 1.0, x))


def _triangular_factor(covariance: Array) -> Array:
    """The Cholesky factor of a covariance that may be singular: types of equal drift share all of the noise."""
    n = len(covariance)
    factor = np.zeros((n, n))
    for j in range(n):
        left = covariance[j:, j] - factor[j:, :j] @ factor[j, :j]
        if left[0] > 1e-12 * covariance[j, j]:
            factor[j:, j] = left / np.sqrt(left[0])
    return factor


def check_stability(
    step: Step, drift: Array, coupling: Array, proportions: Array, dt: float, types: object
) -> None:
    """Raise a ValueError if a scheme grows where the differential equation decays.

    Looked at are each type's deviation from its mean, of rate a, and the means of the types together, of the rates
    that are the eigenvalues of diag(a) + kappa lambda'.
    """
    for kind, rate in enumerate(drift):
        if rate < 0.0 and abs(step.stay[kind]) > 1.0:
            raise ValueError(
                f"dt must be at most {2.0 / -rate:g} for a stable scheme of drift[{kind}] = {rate:g}, got"
                f" {dt:g}, with which |1 + drift dt| = {abs(step.stay[kind]):g}: take a larger horizon or"
                " transition='exact'"
            )
    rates = np.linalg.eigvals(np.diag(drift) + np.outer(coupling, proportions))
    factors = np.linalg.eigvals(np.diag(step.stay) + np.outer(step.pull, proportions))
    if rates.real.max() < 0.0 and np.abs(factors).max() > 1.0:
        raise ValueError(
            f"dt must be smaller for a stable scheme of the means of types {types} (drift and coupling), got"
            f" {dt:g}, with which they grow by a factor of {np.abs(factors).max():g} in a step: take a larger"
            " horizon"
        )
