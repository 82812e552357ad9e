"""Lipschitz extensions of functions from finitely many points to the whole space, and projection onto the simplex.

The symmetrised rules of an N-player game are known at the empirical distributions of N - 1 agents only. The
mean-field game needs them at every distribution (Yardim & He, arXiv 2408.15173, Lemma 1 and Definition 6).

========================================  =====================  ==============================================
extension                                 norm of the points     keeps
========================================  =====================  ==============================================
:class:`McShaneWhitney`                   l1, l2 or largest      the modulus of every coordinate, the range
:class:`McShaneWhitneyRows`               l1, l2 or largest      probabilities; l2 modulus up to sqrt(D) times
:class:`Kirszbraun`                       l2 only                the l2 modulus of the vector, the convex hull
:func:`interpolate_counts`                one count              modulus, monotonicity and range
========================================  =====================  ==============================================

An extension is not unique. All of these equal the function at its points.
"""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.meanfield.simplex_program import minimise_on_simplex

Array = NDArray[np.float64]
Norm = Literal["l1", "l2", "largest"]
Side = Literal["middle", "upper", "lower"]

ROUNDING = 1e-9
"""Relative tolerance by which values may exceed a modulus that is given."""
NUMBERS_AT_A_TIME = 2**22
"""Number of entries of a table of distances that is held in memory at a time: 32 MB."""


def project_to_simplex(vectors: ArrayLike) -> Array:
    """The nearest probability vectors in the Euclidean norm.

    The projection does not increase Euclidean distances, so that it keeps a Lipschitz modulus.

    Parameters
    ----------
    vectors:
        Finite numbers, shape (..., D), D >= 1.

    Returns
    -------
    Probabilities, shape (..., D): max(v - t, 0) with the number t of each row for which they sum to one, found
    exactly by sorting.

    Raises
    ------
    TypeError, ValueError
        If ``vectors`` does not hold finite numbers, or has no last axis.

    References
    ----------
    Held, Wolfe & Crowder, "Validation of subgradient optimization", Mathematical Programming 6, 1974.
    """
    given = checks.finite_numbers("vectors", vectors)
    if given.ndim < 1 or given.shape[-1] < 1:
        raise ValueError(f"vectors must have shape (..., D) with D >= 1, got {given.shape}")
    # A shift of a row does not change its projection; without it large numbers would lose their differences.
    shifted = given - given.max(axis=-1, keepdims=True)
    descending = -np.sort(-shifted, axis=-1)
    ranks = np.arange(1, given.shape[-1] + 1)
    thresholds = (np.cumsum(descending, axis=-1) - 1.0) / ranks
    n_positive = (descending > thresholds).sum(axis=-1, keepdims=True)
    rows: Array = np.maximum(shifted - np.take_along_axis(thresholds, n_positive - 1, axis=-1), 0.0)
    return rows


def lipschitz_modulus(points: ArrayLike, values: ArrayLike, norm: Norm = "l2") -> float:
    """The Lipschitz modulus of a function that is given at finitely many points.

    Parameters
    ----------
    points:
        Different points, shape (n, d), n >= 1.
    values:
        Values there, numbers of shape (n,), or vectors of shape (n, D), whose distances are Euclidean.
    norm:
        Norm of the distances between points: ``l1``, ``l2`` (Euclidean) or ``largest`` (the largest coordinate).

    Returns
    -------
    The largest ratio of the distance of two values to that of their points; 0 for a single point.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or two points are equal.
    """
    where, found = _function(points, values)
    norm = checks.choice("norm", norm, get_args(Norm))
    return float(_moduli(where, found.reshape(len(found), 1, -1), norm)[0])


def _function(points: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    where = checks.finite_numbers("points", points)
    if where.ndim != 2 or not where.size:
        raise ValueError(f"points must have shape (n, d) with n, d >= 1, got {where.shape}")
    found = checks.finite_numbers("values", values)
    if found.ndim not in (1, 2) or len(found) != len(where) or not found.size:
        shapes = f"({len(where)},) or ({len(where)}, D), as there are {len(where)} points"
        raise ValueError(f"values must have shape {shapes}, got {found.shape}")
    return where, found


def _distances(left: Array, right: Array, norm: Norm) -> Array:
    """Distances between all points of two lists, shapes (m, d) and (n, d), as (m, n)."""
    difference = np.abs(left[:, None] - right[None])
    if norm == "l1":
        table: Array = difference.sum(axis=-1)
    elif norm == "l2":
        table = np.sqrt((difference**2).sum(axis=-1))
    else:
        table = difference.max(axis=-1)
    return table


def _moduli(points: Array, values: Array, norm: Norm) -> Array:
    """The Lipschitz moduli of n_functions functions, whose values are vectors (n, n_functions, D)."""
    n, moduli = len(points), np.zeros(values.shape[1])
    at_a_time = max(1, NUMBERS_AT_A_TIME // (n * max(points.shape[1], values[0].size)))
    for first in range(0, n, at_a_time):
        some = slice(first, first + at_a_time)
        apart = _distances(points[some], points, norm)
        np.fill_diagonal(apart[:, first:], np.inf)
        if not apart.min(initial=np.inf) > 0.0:
            i, j = np.argwhere(apart == 0.0)[0]
            raise ValueError(
                f"points must all be different, got {checks.shown(points[j].tolist())} at {first + int(i)} and"
                f" at {int(j)}"
            )
        changes = np.sqrt(((values[some, None] - values[None]) ** 2).sum(axis=-1))
        moduli = np.maximum(moduli, (changes / apart[..., None]).max(axis=(0, 1), initial=0.0))
    return moduli


def _modulus_at_least(given: float | None, found: float) -> float:
    """The modulus that a caller gives, which the values must have, or by default their own."""
    if given is None:
        return found
    modulus = checks.real("modulus", given, 0.0)
    if found > modulus * (1 + ROUNDING):
        raise ValueError(f"modulus must be at least that of the values, {found:g}, got {modulus:g}")
    return modulus


def _at(x: ArrayLike, dimension: int) -> Array:
    where = checks.finite_numbers("x", x)
    if where.ndim < 1 or where.shape[-1] != dimension:
        raise ValueError(f"x must have shape (..., {dimension}), got {where.shape}")
    return where


class McShaneWhitney:
    """Extension of a real function from finitely many points, with its Lipschitz modulus L.

    The largest extension is min_z f(z) + L |x - z|, the smallest max_z f(z) - L |x - z|, over the points z. By
    default it is their mean [O]: at every x, no other number is nearer to the farthest of the possible values of a
    function of modulus L. Results are cut off at the range of the values, which keeps the modulus.

    Parameters
    ----------
    points:
        Different points, shape (n, d).
    values:
        The function's values there, shape (n,); or of D functions, shape (n, D), each of which is extended with
        its own modulus.
    modulus:
        Modulus L, at least that of the values; by default that of the values. One number for all functions.
    norm:
        Norm of the distances between points: ``l1``, ``l2`` or ``largest``.
    side:
        ``upper`` or ``lower`` for the largest or the smallest extension, ``middle`` for their mean.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or two points are equal.

    References
    ----------
    McShane, "Extension of range of functions", Bull. AMS 40, 1934; for the mean Sukharev, USSR Comput. Math. Math.
    Phys. 18, 1978.
    """

    def __init__(
        self,
        points: ArrayLike,
        values: ArrayLike,
        modulus: float | None = None,
        *,
        norm: Norm = "l2",
        side: Side = "middle",
    ) -> None:
        self.points, self.values = _function(points, values)
        self.norm: Norm = checks.choice("norm", norm, get_args(Norm))
        self.side: Side = checks.choice("side", side, get_args(Side))
        columns = self.values.reshape(len(self.points), -1)
        own = _moduli(self.points, columns[:, :, None], self.norm)
        largest = _modulus_at_least(modulus, float(own.max()))
        self.moduli: Array = own if modulus is None else np.full(len(own), largest)
        """The Lipschitz modulus of every function, shape (D,)."""
        self._columns = columns

    @property
    def modulus(self) -> float:
        """The largest of the moduli."""
        return float(self.moduli.max())

    def __call__(self, x: ArrayLike) -> Array:
        """The extension at points x, shape (..., d): numbers of shape (...), or of shape (..., D)."""
        where = _at(x, self.points.shape[1])
        flat = where.reshape(-1, where.shape[-1])
        out = np.empty((len(flat), self._columns.shape[1]))
        at_a_time = max(1, NUMBERS_AT_A_TIME // (len(self.points) * max(where.shape[-1], out.shape[1])))
        for first in range(0, len(flat), at_a_time):
            some = slice(first, first + at_a_time)
            reach = _distances(flat[some], self.points, self.norm)[..., None] * self.moduli
            upper, lower = (self._columns + reach).min(axis=1), (self._columns - reach).max(axis=1)
            out[some] = {"upper": upper, "lower": lower, "middle": 0.5 * (upper + lower)}[self.side]
        out = np.clip(out, self._columns.min(axis=0), self._columns.max(axis=0))
        return out.reshape(where.shape[:-1] + self.values.shape[1:])


class McShaneWhitneyRows:
    """Extension of probability rows: McShane-Whitney for each probability, then projection onto the simplex.

    It is quick, for any norm. If the probabilities have moduli L_1 ... L_D, the row has the Euclidean modulus
    sqrt(L_1^2 + ... + L_D^2) at most, which can exceed that of the given rows; :class:`Kirszbraun` keeps it.

    Parameters
    ----------
    points:
        Different points, shape (n, d).
    rows:
        Probabilities, shape (n, D).
    norm:
        Norm of the distances between points: ``l1``, ``l2`` or ``largest``.
    side:
        ``middle``, ``upper`` or ``lower``, as for :class:`McShaneWhitney`. With two outcomes the mean of the
        largest and the smallest extension sums to one already.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or two points are equal.

    References
    ----------
    Yardim & He, arXiv 2408.15173, appendix A (the remark on Lemma 1 and the simplex).
    """

    def __init__(self, points: ArrayLike, rows: ArrayLike, *, norm: Norm = "l2", side: Side = "middle") -> None:
        found = checks.array("rows", rows)
        if found.ndim != 2 or not found.size:
            raise ValueError(f"rows must have shape (n, D) with n, D >= 1, got {found.shape}")
        rows_ = checks.probabilities("rows", found, found.shape)
        where = checks.array("points", points)
        if where.ndim > 0 and len(where) != len(rows_):
            raise ValueError(
                f"rows must have shape ({len(where)}, D), one for each of the points, got {rows_.shape}"
            )
        self._extension = McShaneWhitney(where, rows_, norm=norm, side=side)

    @property
    def modulus(self) -> float:
        """A bound on the modulus of the rows in the Euclidean norm, the points being measured in ``norm``."""
        return math.sqrt(float((self._extension.moduli**2).sum()))

    def __call__(self, x: ArrayLike) -> Array:
        """Probabilities at points x, shape (..., d), as (..., D)."""
        return project_to_simplex(self._extension(x))


class Kirszbraun:
    """Extension of a vector-valued function from finitely many points, with its Euclidean Lipschitz modulus L.

    With points z_i, values f_i and M = L, the extension of Azagra, Le Gruyer & Mudarra is

        F(x) = grad_y conv(g)(x, y) at y = 0,
        g(x, y) = min_i { <f_i, y> + M/2 |(x - z_i, y)|^2 } + M/2 |(x, y)|^2,

    conv being the convex envelope. Since g is a minimum of quadratic functions with one Hessian, its envelope at
    (x, 0) is a convex quadratic programme over weights w on the points, and F(x) = sum_i w_i f_i with

        w = argmin over the simplex of 2 |sum_i w_i (z_i - x)|^2 + Var_w(z) - Var_w(f) / M^2.

    So values stay in the convex hull of the f_i: extended probability rows are probability rows, without a
    projection. The programme is solved exactly, by an active-set method; every point costs about
    (d + D) n (d + D) operations, so that this is for small problems.

    The theorem holds for Euclidean norms only, for points as well as for values.

    Parameters
    ----------
    points:
        Different points, shape (n, d).
    values:
        The function's values there, shape (n, D).
    modulus:
        Modulus L, at least that of the values; by default that of the values.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or two points are equal.

    References
    ----------
    Azagra, Le Gruyer & Mudarra, "Kirszbraun's theorem via an explicit formula", arXiv 1810.10288; Yardim & He,
    arXiv 2408.15173, Lemma 1.
    """

    def __init__(self, points: ArrayLike, values: ArrayLike, modulus: float | None = None) -> None:
        self.points, self.values = _function(points, values)
        if self.values.ndim != 2:
            raise ValueError(
                f"values must have shape ({len(self.points)}, D), got {self.values.shape}: a real function has"
                " the simpler extension McShaneWhitney"
            )
        self.modulus = _modulus_at_least(modulus, lipschitz_modulus(self.points, self.values))
        """The Lipschitz modulus L in the Euclidean norms."""

    def weights(self, x: ArrayLike) -> Array:
        """Weights of the n values at points x, shape (..., d): probabilities of shape (..., n)."""
        where = _at(x, self.points.shape[1])
        flat = where.reshape(-1, where.shape[-1])
        n = len(self.points)
        out = np.empty((len(flat), n))
        if self.modulus == 0.0:
            out[:] = 1.0 / n  # All values are equal.
        else:
            # Both terms are invariant to a shift of the values, and the points are taken relative to x.
            values = (self.values - self.values.mean(axis=0)) / self.modulus
            for k, point in enumerate(flat):
                apart = self.points - point
                linear = (apart**2).sum(axis=1) - (values**2).sum(axis=1)
                out[k] = minimise_on_simplex(np.concatenate([apart, values], axis=1), linear)
        return out.reshape((*where.shape[:-1], n))

    def __call__(self, x: ArrayLike) -> Array:
        """The extension at points x, shape (..., d): vectors of shape (..., D)."""
        extended: Array = self.weights(x) @ self.values
        return extended


def interpolate_counts(values: ArrayLike, share: ArrayLike) -> Array:
    """Extend a function of a count to shares of the population, by linear interpolation.

    h~(u) = (k + 1 - K u) h(k) + (K u - k) h(k + 1) for k = floor(K u) [R: appendix D.1 prints the two weights
    exchanged, and so zero at whole counts]. It is monotone if h is, and has the modulus K max_k |h(k + 1) - h(k)|.

    Parameters
    ----------
    values:
        h(0), ..., h(K): finite numbers, shape (K + 1, ...), for counts among K agents, K >= 1 (in a game, the
        N - 1 others).
    share:
        Shares u in [0, 1] of these agents, any shape.

    Returns
    -------
    h~(u), of the shape of ``share`` followed by that of one value.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Yardim & He, arXiv 2408.15173, appendix D.1.
    """
    table = checks.finite_numbers("values", values)
    if table.ndim < 1 or len(table) < 2:
        raise ValueError(f"values must hold h(0), ..., h(K) with K >= 1, got shape {table.shape}")
    shares = checks.finite_numbers("share", share)
    outside = (shares < 0.0) | (shares > 1.0)
    if outside.any():
        raise ValueError(f"share must hold numbers in [0, 1], got {float(shares[outside][0])!r}")
    position = shares * (len(table) - 1)
    lower = np.minimum(np.floor(position).astype(np.int64), len(table) - 2)
    fraction = (position - lower).reshape(shares.shape + (1,) * (table.ndim - 1))
    between: Array = (1.0 - fraction) * table[lower] + fraction * table[lower + 1]
    return between
