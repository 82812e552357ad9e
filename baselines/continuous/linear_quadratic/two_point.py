"""Linear two-point boundary-value problems of constant coefficients, to round-off.

A mean m and a costate y of n components each follow (m, y)' = H (m, y) with m(0) = m_0 and y(T) = Q_T m(T). The
solutions that satisfy the terminal condition form a subspace at each time, which is carried backward by matrix
exponentials over short panels, with an orthonormal basis of it. The exponentials are Taylor sums to round-off:
there is no error of discretisation. The basis turns the subspace's poles y = Pi m, Pi infinite, into ordinary
points.
"""

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar

Array = NDArray[np.float64]

TERMS = 20
"""Number of terms of Taylor sums: over a panel, at most 1 / |H| long, the rest is below 1e-18."""
LEAST_PANELS = 4
MOST_PANELS = 100_000
PIECES = 8
"""Number of pieces of a panel in which critical horizons are looked for."""

NODES, WEIGHTS = (0.5 * np.polynomial.legendre.leggauss(10)[0] + 0.5, 0.5 * np.polynomial.legendre.leggauss(10)[1])
"""Gauss-Legendre nodes in [0, 1] and their weights, for integrals over a panel."""

LEAST_ANGLE = 1e-8
"""Least singular value of the basis's part m at which the problem counts as uniquely solvable."""


class TwoPointProblem:
    """The linear two-point boundary-value problem (m, y)' = H (m, y), m(0) = m_0, y(T) = Q_T m(T).

    Parameters
    ----------
    matrix:
        H, shape (2 n, 2 n).
    terminal:
        Q_T, shape (n, n).
    duration:
        T.

    Raises
    ------
    ValueError
        If the duration is too long for the rates in ``matrix``.
    """

    def __init__(self, matrix: Array, terminal: Array, duration: float) -> None:
        self.n, self.duration = len(terminal), duration
        scale = self.scale = _scale_of(matrix, terminal, duration)
        """Size of y / m that makes the parts of the matrix comparable: bases are of m and y / scale."""
        units = np.repeat([1.0, scale], self.n)
        self._matrix = matrix * units / units[:, None]
        wanted = math.ceil(np.linalg.norm(self._matrix, 1) * duration)
        if wanted > MOST_PANELS:
            raise ValueError(
                f"duration times the rates of the linear system must be at most {MOST_PANELS}, got {wanted}"
            )
        self.n_panels = max(LEAST_PANELS, wanted)
        self.panel = duration / self.n_panels
        """Length of a panel."""
        powers = _taylor_terms(-self._matrix)
        step = np.tensordot(self.panel ** np.arange(TERMS), powers, 1)
        self._backward_terms = powers
        self._bases = np.empty((self.n_panels + 1, 2 * self.n, self.n))
        self._factors = np.empty((self.n_panels + 1, self.n, self.n))
        basis: NDArray[Any] = np.concatenate([np.eye(self.n), terminal / scale])
        for k in range(self.n_panels + 1):
            self._bases[k], self._factors[k] = _oriented_qr(basis)
            basis = step @ self._bases[k]

    @functools.cached_property
    def angle(self) -> float:
        """Least singular value of the basis's part m at t = 0: solutions are not unique where it vanishes."""
        return float(np.linalg.svd(self._bases[-1, : self.n], compute_uv=False)[-1])

    @functools.cached_property
    def critical_horizons(self) -> tuple[float, ...]:
        """The durations up to T for which the problem would have no unique solution, ascending."""
        to_go = np.linspace(0.0, self.duration, PIECES * self.n_panels + 1)
        carried = self._carried(to_go)
        signs = np.sign(np.linalg.det(carried[:, : self.n]))
        angles = _least_singular(carried, self.n)
        # The subspace turns by at most |H| per unit of time: elsewhere the angle cannot have vanished in between.
        reach = np.linalg.norm(self._matrix, 2) * (to_go[1] - to_go[0])
        found: list[float] = []
        for k in np.flatnonzero(angles[:-1] + angles[1:] <= 1.001 * reach):
            low, high = to_go[k], to_go[k + 1]
            if signs[k] * signs[k + 1] < 0.0:
                found.append(self._root_between(low, high))
                continue
            # Two roots at once change no sign.
            lowest = minimize_scalar(
                self._angle_at, bounds=(low, high), method="bounded", options={"xatol": 1e-10 * (high - low)}
            )
            # The minimiser does not look at the ends of the interval.
            at, angle = min(
                ((low, angles[k]), (high, angles[k + 1]), (lowest.x, lowest.fun)), key=lambda point: point[1]
            )
            if angle < 1e-6:
                found.append(float(at))
        found.sort()
        new = np.diff(found, prepend=-np.inf) > 1e-5 * self.panel
        return tuple(horizon for horizon, is_new in zip(found, new, strict=True) if is_new)

    def _carried(self, to_go: Array) -> Array:
        """Bases of the subspace at these times to go, not orthonormal, shape (k, 2 n, n)."""
        k = np.clip((to_go / self.panel).astype(np.int64), 0, self.n_panels - 1)
        within = to_go - k * self.panel
        flows = np.tensordot(within[:, None] ** np.arange(TERMS), self._backward_terms, 1)
        carried: Array = flows @ self._bases[k]
        return carried

    def _root_between(self, low: float, high: float) -> float:
        """A time to go at which the determinant vanishes, between two at which it has different signs."""
        ends = {to_go: self._determinant(to_go) for to_go in (low, high)}
        if ends[low] * ends[high] >= 0.0:
            # One time alone is rounded otherwise than many at once: the root is at an end.
            return float(min(ends, key=lambda to_go: abs(ends[to_go])))
        return float(brentq(self._determinant, low, high, xtol=1e-15 * self.duration))

    def _determinant(self, to_go: float) -> float:
        return float(np.linalg.det(self._carried(np.array([to_go]))[0, : self.n]))

    def _angle_at(self, to_go: float) -> float:
        return float(_least_singular(self._carried(np.array([to_go])), self.n)[0])

    def path(self, first: Array) -> "LinearPath":
        """The solution with m(0) = ``first``; the problem must have a unique one.

        Parameters
        ----------
        first:
            m_0, shape (n,).
        """
        knots = np.empty((self.n_panels, 2 * self.n))
        weight = np.linalg.solve(self._bases[-1, : self.n], first)
        for k in range(self.n_panels, 0, -1):
            knots[self.n_panels - k] = self._bases[k] @ weight
            weight = np.linalg.solve(self._factors[k], weight)
        return LinearPath(self._matrix, knots, self.panel, self.scale)

    def feedback(self, times: ArrayLike) -> Array:
        """Pi at these times, where y = Pi m on the solutions; shape (*times.shape, n, n).

        It solves the matrix Riccati equation of H, and is infinite where the time to go is a critical horizon.
        """
        now: Array = np.asarray(times, np.float64)
        carried = self._carried(self.duration - now.ravel())
        part_m, part_y = carried[:, : self.n], carried[:, self.n :]
        # Pi X = Y, solved from the right.
        found = np.linalg.solve(part_m.transpose(0, 2, 1), part_y.transpose(0, 2, 1)).transpose(0, 2, 1)
        pi: NDArray[Any] = self.scale * found.reshape(*now.shape, self.n, self.n)
        return pi


class LinearPath:
    """A solution of a linear differential equation, as a Taylor sum around the beginning of each panel.

    Parameters
    ----------
    matrix:
        Matrix of the equation, in which the second half of the components is divided by ``scale``.
    knots:
        Solution at the beginnings of the panels, shape (n_panels, 2 n).
    panel:
        Length of a panel.
    scale:
        Factor on the second half of the components.
    """

    def __init__(self, matrix: Array, knots: Array, panel: float, scale: float) -> None:
        self._terms = np.einsum("jab,kb->kja", _taylor_terms(matrix), knots)
        self._terms[..., knots.shape[1] // 2 :] *= scale
        self._panel = panel

    def __call__(self, times: ArrayLike) -> Array:
        """(m, y) at these times in [0, T], shape (*times.shape, 2 n)."""
        now: Array = np.asarray(times, np.float64)
        k = np.clip((now / self._panel).astype(np.int64), 0, len(self._terms) - 1)
        within = now - k * self._panel
        value: Array = ((within[..., None] ** np.arange(TERMS))[..., None, :] @ self._terms[k])[..., 0, :]
        return value


def _scale_of(matrix: Array, terminal: Array, duration: float) -> float:
    """The unit of y in which the norm of the matrix is about the smallest."""
    n = len(terminal)
    of_y, of_m = (float(np.linalg.norm(part, 1)) for part in (matrix[:n, n:], matrix[n:, :n]))
    if of_y > 0.0 and of_m > 0.0:
        return math.sqrt(of_m / of_y)
    if of_y > 0.0:
        return 1.0 / (of_y * duration)
    return max(of_m * duration, float(np.abs(terminal).max())) or 1.0


def _taylor_terms(matrix: Array) -> Array:
    """Coefficients matrix^j / j! of the powers of time in the matrix exponential, (TERMS, n, n)."""
    terms = np.empty((TERMS, *matrix.shape))
    terms[0] = np.eye(len(matrix))
    for j in range(1, TERMS):
        terms[j] = terms[j - 1] @ matrix / j
    return terms


def _least_singular(bases: Array, n: int) -> Array:
    """Least singular value of the first n rows of the orthonormalised bases, (k, 2 n, n)."""
    orthonormal = np.linalg.qr(bases)[0]
    smallest: NDArray[Any] = np.linalg.svd(orthonormal[:, :n], compute_uv=False)[:, -1]
    return smallest


def _oriented_qr(basis: Array) -> tuple[Array, Array]:
    """A QR decomposition with a positive diagonal of R, so that the basis keeps its orientation."""
    q, r = np.linalg.qr(basis)
    signs = np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return q * signs, signs[:, None] * r
