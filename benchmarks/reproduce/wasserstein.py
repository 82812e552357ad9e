"""Exact Wasserstein distances on the line between an empirical law and a law that is known.

On the line the best coupling joins quantiles: the i-th of n sorted samples is joined with the cell of the law
between its quantiles (i - 1) / n and i / n, so that

    W_p^p = sum_i int_{(i-1)/n}^{i/n} |x_(i) - Q(u)|^p du.

For p = 1 and 2 these integrals are known from the law's distribution function and its partial means.

References
----------
Bobkov & Ledoux (2019). One-dimensional empirical measures, order statistics, and Kantorovich transport distances.
Memoirs of the AMS 261.
"""

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

TAIL = 12.0
"""Quantiles are looked for within so many standard deviations of some component."""
MOST_ITERATIONS = 100
"""Bisection alone reaches double precision in fewer."""
ROUNDING = 1e-15
"""Quantiles are found up to so much probability."""


class Law(Protocol):
    """A law on the line with a second moment."""

    @property
    def mean_square(self) -> float:
        """E Y^2."""

    def cdf(self, x: Array) -> Array:
        """P(Y <= x)."""

    def partial_mean(self, x: Array) -> Array:
        """E[Y; Y <= x]."""

    def quantiles(self, probabilities: Array) -> Array:
        """Quantiles of ascending probabilities in (0, 1)."""


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of normal laws."""

    weights: Array
    """Weights of the components, which sum to 1, shape (n,)."""
    means: Array
    """Means, shape (n,)."""
    deviations: Array
    """Standard deviations above 0, shape (n,)."""

    @property
    def mean_square(self) -> float:
        """E Y^2."""
        return float(self.weights @ (self.means**2 + self.deviations**2))

    def cdf(self, x: Array) -> Array:
        """P(Y <= x)."""
        found: Array = ndtr(self._scores(x)) @ self.weights
        return found

    def partial_mean(self, x: Array) -> Array:
        """E[Y; Y <= x]."""
        z = self._scores(x)
        found: Array = ndtr(z) @ (self.weights * self.means) - _bell(z) @ (self.weights * self.deviations)
        return found

    def quantiles(self, probabilities: Array) -> Array:
        """Quantiles, by Newton's method within brackets that bisection shrinks."""
        low = float((self.means - TAIL * self.deviations).min())
        high = float((self.means + TAIL * self.deviations).max())
        nodes = np.linspace(low, high, 4096)
        at_nodes = self.cdf(nodes)
        above = np.clip(np.searchsorted(at_nodes, probabilities), 1, len(nodes) - 1)
        low_of, high_of = nodes[above - 1], nodes[above]
        x = 0.5 * (low_of + high_of)
        for _ in range(MOST_ITERATIONS):
            excess = self.cdf(x) - probabilities
            if np.abs(excess).max(initial=0.0) <= ROUNDING:
                break
            low_of, high_of = np.where(excess <= 0.0, x, low_of), np.where(excess >= 0.0, x, high_of)
            density = _bell(self._scores(x)) @ (self.weights / self.deviations)
            with np.errstate(divide="ignore", invalid="ignore"):
                following = x - excess / density
            is_inside = (following >= low_of) & (following <= high_of)
            x = np.where(is_inside, following, 0.5 * (low_of + high_of))
        return x

    def _scores(self, x: Array) -> Array:
        """(x - mean) / deviation of each component, shape (*x.shape, n)."""
        scores: Array = (np.asarray(x)[..., None] - self.means) / self.deviations
        return scores


@dataclasses.dataclass(frozen=True)
class TwoClusters:
    """Two uniform laws with a gap between them, of equal weight.

    Their supports are [-gap / 2 - width, -gap / 2] and [gap / 2, gap / 2 + width].
    """

    gap: float = 1.0
    """Distance of the clusters."""
    width: float = 0.2
    """Width of either cluster."""

    @property
    def mean_square(self) -> float:
        """E Y^2."""
        return (0.5 * (self.gap + self.width)) ** 2 + self.width**2 / 12.0

    def cdf(self, x: Array) -> Array:
        """P(Y <= x)."""
        left, right = self._parts(x)
        return 0.5 * (left + right) / self.width

    def partial_mean(self, x: Array) -> Array:
        """E[Y; Y <= x]."""
        left, right = self._parts(x)
        start = -0.5 * self.gap - self.width
        of_left = left * (start + 0.5 * left)
        of_right = right * (0.5 * self.gap + 0.5 * right)
        return 0.5 * (of_left + of_right) / self.width

    def quantiles(self, probabilities: Array) -> Array:
        """Quantiles; that of 1/2 is the upper end of the left cluster."""
        along = 2.0 * self.width * np.asarray(probabilities)
        found: Array = along - self.width - 0.5 * self.gap + np.where(along > self.width, self.gap, 0.0)
        return found

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Independent samples."""
        return self.quantiles(rng.random(shape))

    @property
    def limit_of_w2(self) -> float:
        """The limit of n^(1/4) E W2 of n independent samples.

        The share of the left cluster is off by delta, n^(1/2) delta -> N(0, 1/4), so that a mass of |delta| is
        moved over the gap: W2 ~ gap |delta|^(1/2), while all else costs n^(-1/2).
        """
        # E |Z|^(1/2) = 2^(1/4) Gamma(3/4) / pi^(1/2) = .8221790 of a standard normal Z.
        return self.gap * 0.25**0.25 * 0.8221789586

    def _parts(self, x: ArrayLike) -> tuple[Array, Array]:
        """How much of each cluster's width is below x."""
        x = np.asarray(x, np.float64)
        left: Array = np.clip(x + 0.5 * self.gap + self.width, 0.0, self.width)
        right: Array = np.clip(x - 0.5 * self.gap, 0.0, self.width)
        return left, right


class QuantileCells:
    """A law cut into n cells of probability 1 / n.

    Parameters
    ----------
    law:
        The law.
    n:
        Number of cells: that of the samples with which the law is compared.
    """

    def __init__(self, law: Law, n: int) -> None:
        self.law, self.n = law, n
        inner = law.quantiles(np.arange(1, n) / n)
        means = np.concatenate([[0.0], law.partial_mean(inner), [float(law.partial_mean(np.array(np.inf)))]])
        self.edges: Array = np.concatenate([[-np.inf], inner, [np.inf]])
        """Quantiles of 0, 1 / n, ..., 1, shape (n + 1,)."""
        self.partial_means: Array = means
        """E[Y; Y <= edge], shape (n + 1,)."""

    def distances(self, samples: NDArray[np.floating]) -> tuple[Array, Array]:
        """W1 and W2 between the law and the empirical law of each row.

        Parameters
        ----------
        samples:
            Ascending in each row, shape (n_rows, n).

        Returns
        -------
        Two arrays of shape (n_rows,).
        """
        x, n, law = samples.astype(np.float64), self.n, self.law
        moments = np.diff(self.partial_means)
        squares = np.einsum("ri,ri->r", x, x) / n - 2.0 * x @ moments + law.mean_square
        costs = np.abs(x / n - moments)
        # A sample within its own cell is above a part of it and below the rest.
        rows, places = np.nonzero((x > self.edges[:-1]) & (x < self.edges[1:]))
        inside = x[rows, places]
        either = self.partial_means[places] + self.partial_means[places + 1] - 2.0 * law.partial_mean(inside)
        costs[rows, places] = inside * (2.0 * law.cdf(inside) - (2.0 * places + 1.0) / n) + either
        return costs.sum(axis=1), np.sqrt(np.maximum(squares, 0.0))


def _bell(z: Array) -> Array:
    """Density of the standard normal law."""
    found: Array = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return found
