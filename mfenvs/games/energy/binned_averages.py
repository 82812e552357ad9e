"""Over what the market in bins averages: the common weather, and agents' own forecast errors."""

import math

import numpy as np
from numpy.typing import NDArray

SPREAD_STEPS = 0.7548776662466927, 0.5698402909980532
"""Steps of a sequence of even spread in the last two of three coordinates: 1 / g and 1 / g^2 of g^3 = g + 1."""


def spread_normals(n: int) -> NDArray[np.float64]:
    """Points of equal weight that stand for three independent standard normal numbers, shape (n, 3), n >= 4.

    Each coordinate takes all n quantiles in the middle of as many equal parts of the law, in the order in which a
    sequence of even spread goes through them; then means and covariances are made right [O].
    """
    from scipy.special import ndtri  # Here, as it takes long to import.

    places = (np.arange(n)[:, None] * np.array([1.0 / n, *SPREAD_STEPS])) % 1.0
    points = ndtri((places.argsort(axis=0).argsort(axis=0) + 0.5) / n)
    scales = np.linalg.cholesky(points.T @ points / n)
    scaled: NDArray[np.float64] = np.linalg.solve(scales, points.T).T
    return scaled


def error_excess(scale: float, nu: float) -> tuple[float, float]:
    """E[(s e)+], in closed form, and E[min((s e)+, 1)], for s = ``scale`` and Student-t distributed e, nu > 1."""
    from scipy import integrate  # Here, as it takes long to import.

    density_at_zero = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
    plain = scale * density_at_zero * nu / (nu - 1)
    if scale == 0.0:
        return 0.0, 0.0

    def density(x: float) -> float:
        return float(density_at_zero * (1 + x * x / nu) ** (-(nu + 1) / 2))

    def beyond(x: float) -> float:
        return (scale * x - 1.0) * density(x)

    cut = plain - integrate.quad(beyond, 1.0 / scale, np.inf)[0]
    return float(plain), float(cut)
