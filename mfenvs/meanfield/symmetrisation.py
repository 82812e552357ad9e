"""Symmetrisation of functions of K agents' outcomes, and their lift to empirical distributions.

Yardim & He (arXiv 2408.15173), Definition 3: Sym(f)(x) is the mean of f(g(x)) over all permutations g of the K
entries of x. It depends on x through its counts only, so that it is a function on the lattice Delta_{X,K}.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS
from mfenvs.game import MAX_AGENTS, MAX_SEED
from mfenvs.meanfield.lattice import (
    Counts,
    in_order,
    joint_outcomes,
    lattice,
    n_arguments,
    n_orders,
    number_in_words,
    orders,
    point_of,
)

Array = NDArray[np.float64]

MOST_EVALUATIONS = 1_000_000
"""Largest number of evaluations of a function that an exact symmetrisation makes."""


@dataclasses.dataclass(frozen=True)
class Estimates:
    """An array of numbers estimated from one sample, with their standard errors."""

    value: Array
    """The means, of any shape."""
    standard_error: Array
    """The standard error of each, of the same shape."""
    n_samples: int
    """Number of independent samples."""
    confidence: float = 0.95

    @property
    def interval(self) -> tuple[Array, Array]:
        """Two-sided Student intervals at this confidence, one for each number: the lower and the upper ends."""
        half = stdtrit(self.n_samples - 1, 0.5 + self.confidence / 2) * self.standard_error
        return self.value - half, self.value + half

    @classmethod
    def of(cls, samples: Array) -> "Estimates":
        """The means of independent samples, shape (n, ...), n >= 2."""
        n = len(samples)
        return cls(samples.mean(axis=0), samples.std(axis=0, ddof=1) / math.sqrt(n), n)


def symmetrise(function: Callable[..., ArrayLike], x: Sequence[Any] | ArrayLike) -> Array:
    """Sym(f)(x), exactly: the mean of f over all orders of x.

    Parameters
    ----------
    function:
        f(x), a function of a sequence of K outcomes, given as a tuple. It returns a finite number or an array of
        them.
    x:
        The K outcomes, K >= 1: any objects that can be compared for equality. Orders that differ by equal outcomes
        only are evaluated once: there are K! / (c_1! ... c_m!) of them, c_j being the counts.

    Returns
    -------
    The mean, of the shape of f(x).

    Raises
    ------
    TypeError
        If f is not a function, x no sequence of outcomes that can be compared, or empty, or f returns no numbers.
    ValueError
        If x has more than a million orders, or f returns numbers that are not finite or arrays of
        different shapes.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 3.
    """
    _check_callable(function)
    distinct, codes = _coded(x)
    counts = np.bincount(codes, minlength=len(distinct))
    number = n_orders(counts)
    if number > MOST_EVALUATIONS:
        raise ValueError(
            f"x has {checks.shown(number)} different orders (of {len(codes)}! permutations), more than"
            f" {MOST_EVALUATIONS}: use symmetrise_by_sampling, or, for a function of counts, f itself"
        )
    # Equal terms are added up exactly, so that a symmetric function is returned unchanged.
    return _mean(_table(function, distinct, orders(counts)))


def symmetrise_by_sampling(
    function: Callable[..., ArrayLike], x: Sequence[Any] | ArrayLike, n_samples: int = 1000, *, seed: int = 0
) -> Estimates:
    """Estimate Sym(f)(x) from random permutations, with a standard error.

    Parameters
    ----------
    function, x:
        As for :func:`symmetrise`.
    n_samples:
        Number of permutations, from 2 to 10^6, drawn independently and uniformly.
    seed:
        Random seed, an integer in [0, 2^64 - 1].

    Returns
    -------
    Means and standard errors, of the shape of f(x).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or f returns numbers that are not finite or arrays of different shapes.
    """
    _check_callable(function)
    n_samples = checks.integer("n_samples", n_samples, 2, MOST_EVALUATIONS)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    distinct, codes = _coded(x)
    return Estimates.of(_table(function, distinct, (rng.permutation(codes) for _ in range(n_samples))))


@dataclasses.dataclass(frozen=True)
class LatticeFunction:
    """A function on the lattice Delta_{X,K} of empirical distributions of K agents over m outcomes."""

    counts: Counts
    """The points as counts, shape (n_points, m), in lexicographic order."""
    values: Array
    """The values there, shape (n_points, ...)."""

    @property
    def points(self) -> Array:
        """The points as distributions, shape (n_points, m)."""
        shares: Array = self.counts / self.counts[0].sum()
        return shares

    def __call__(self, counts: ArrayLike) -> Array:
        """The value at one point, given as m counts of sum K; ValueError if it is no point of the lattice."""
        n_outcomes, n_agents = self.counts.shape[1], int(self.counts[0].sum())
        found = checks.indices("counts", counts, (n_outcomes,), 0, n_agents)
        if found.sum() != n_agents:
            raise ValueError(f"counts must have the sum {n_agents}, got {found.tolist()}")
        value: Array = self.values[point_of(in_order(found)[None], self.counts)[0]]
        return value


def lift(
    function: Callable[[tuple[int, ...]], ArrayLike], n_outcomes: int, n_agents: int, *, sees_counts: bool = False
) -> LatticeFunction:
    """Lift Sym(f) to the lattice of empirical distributions.

    Parameters
    ----------
    function:
        f(x), a function of a tuple of K = ``n_agents`` outcomes in [0, n_outcomes). It returns a finite number or
        an array of them.
    n_outcomes:
        Number m of outcomes, at least 1.
    n_agents:
        Number K of agents whose outcomes f reads, at least 1 (in a game, the N - 1 others).
    sees_counts:
        Whether f reads the counts only. Then Sym(f) = f, and f is evaluated once per point, instead of at all m^K
        vectors.

    Returns
    -------
    Sym(f) at all points of the lattice.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, f would be evaluated more than a million times, or f returns numbers that
        are not finite or arrays of different shapes.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 3.
    """
    _check_callable(function)
    n_outcomes = checks.integer("n_outcomes", n_outcomes, 1, MAX_CELLS)
    n_agents = checks.integer("n_agents", n_agents, 1, MAX_AGENTS)
    sees_counts = checks.boolean("sees_counts", sees_counts)
    number = n_arguments(n_outcomes, n_agents, as_counts=sees_counts)
    if number > MOST_EVALUATIONS:
        otherwise = "" if sees_counts else ", or, for a function of counts, say sees_counts=True"
        raise ValueError(
            f"a lift over {n_outcomes} outcomes of {n_agents} agents takes {number_in_words(number)} evaluations,"
            f" more than {MOST_EVALUATIONS}: estimate it at single points (symmetrise_by_sampling){otherwise}"
        )
    outcomes, points = range(n_outcomes), lattice(n_outcomes, n_agents)
    if sees_counts:
        return LatticeFunction(points, _table(function, outcomes, (in_order(counts) for counts in points)))
    vectors = joint_outcomes(n_outcomes, n_agents)
    values = _table(function, outcomes, vectors)
    return LatticeFunction(points, lifted_values(values, point_of(vectors, points), len(points)))


def lifted_values(values: Array, where: NDArray[np.int64], n_points: int) -> Array:
    """Means of values (n_vectors, ...) over the vectors of each point; ``where`` (n_vectors,) are their points."""
    sorted_ = np.argsort(where, kind="stable")
    firsts = np.searchsorted(where[sorted_], np.arange(n_points))
    grouped = values[sorted_]
    # Differences from one vector of each point: where all are equal, the mean is exactly that value.
    reference = grouped[firsts]
    sums = np.add.reduceat(grouped - np.repeat(reference, np.bincount(where, minlength=n_points), axis=0), firsts)
    sizes = np.bincount(where, minlength=n_points).reshape(-1, *[1] * (values.ndim - 1))
    means: Array = reference + sums / sizes
    return means


def _mean(values: Array) -> Array:
    mean: Array = values[0] + (values - values[0]).mean(axis=0)
    return mean


def _coded(x: Sequence[Any] | ArrayLike) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct outcomes of x, and the number of each of its entries among them."""
    try:
        entries = list(checks.array("x", x).tolist() if isinstance(x, np.ndarray) else x)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(x, np.ma.MaskedArray):
            raise
        entries = []
    if not entries:
        raise TypeError(f"x must be a sequence of at least one outcome, got {checks.shown(x)}")
    distinct: list[Any] = []
    codes = np.empty(len(entries), np.int64)
    for k, entry in enumerate(entries):
        codes[k] = next((j for j, known in enumerate(distinct) if _are_equal(known, entry)), len(distinct))
        if codes[k] == len(distinct):
            distinct.append(entry)
    return distinct, codes


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except ValueError:
        raise TypeError(
            f"x must hold outcomes that can be compared, got {checks.shown(one)} and {checks.shown(other)}: give"
            " tuples in the place of arrays"
        ) from None


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise TypeError(f"function must be a function of a tuple of outcomes, got {checks.shown(function)}")


def _table(
    function: Callable[..., ArrayLike], outcomes: Sequence[Any], orders_of_codes: Iterable[NDArray[np.int64]]
) -> Array:
    """The values of a function at several orders of outcomes, shape (n, ...)."""
    values: list[Array] = []
    for codes in orders_of_codes:
        given = tuple(outcomes[code] for code in codes)
        name = f"function({checks.shown(given)})"
        values.append(checks.finite_numbers(name, function(given)))
        if values[-1].shape != values[0].shape:
            raise ValueError(f"{name} must have shape {values[0].shape} as before, got {values[-1].shape}")
    return np.stack(values)
