"""The lattice of empirical distributions of K agents over finitely many outcomes, and the orders behind a point.

A point of Delta_{X,K} is kept as counts: integers of sum K, shape (m,) for m = |X| outcomes. The share of an
outcome is its count over K.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

LARGEST_CODE = 2**63 - 1
"""Largest number that stands for a point of a lattice."""
BEYOND_COUNTING = 300.0
"""Decimal logarithm from which on a number of vectors is not computed: the largest have millions of digits."""


def lattice_size(n_outcomes: int, n_agents: int) -> int:
    """Number of points of the lattice: (K + m - 1 choose m - 1)."""
    return math.comb(n_agents + n_outcomes - 1, n_outcomes - 1)


def n_arguments(n_outcomes: int, n_agents: int, *, as_counts: bool) -> float:
    """Number of different arguments of a function of K agents' outcomes.

    These are all m^K vectors or, ``as_counts``, the points of the lattice. It is a whole number up to 1e300, and
    from there on infinite.
    """
    if as_counts:
        total = n_agents + n_outcomes
        logarithm = (math.lgamma(total) - math.lgamma(n_agents + 1) - math.lgamma(n_outcomes)) / math.log(10.0)
    else:
        logarithm = n_agents * math.log10(n_outcomes)
    if logarithm > BEYOND_COUNTING:
        return math.inf
    return lattice_size(n_outcomes, n_agents) if as_counts else n_outcomes**n_agents


def number_in_words(number: float) -> str:
    """A number of :func:`n_arguments` for error messages."""
    return str(number) if math.isfinite(number) else f"more than 1e{BEYOND_COUNTING:g}"


def lattice(n_outcomes: int, n_agents: int) -> Counts:
    """All points of the lattice in lexicographic order, shape (n_points, n_outcomes)."""
    points = np.zeros((lattice_size(n_outcomes, n_agents), n_outcomes), np.int64)
    _fill(points, n_agents)
    return points


def _fill(points: Counts, n_agents: int) -> None:
    n_outcomes = points.shape[1]
    if n_outcomes == 1:
        points[:, 0] = n_agents
        return
    first = 0
    for count in range(n_agents + 1):
        size = lattice_size(n_outcomes - 1, n_agents - count)
        points[first : first + size, 0] = count
        _fill(points[first : first + size, 1:], n_agents - count)
        first += size


def n_orders(counts: Counts) -> int:
    """Number of different orders of a multiset: K! / (c_1! ... c_m!)."""
    total, number = 0, 1
    for count in counts:
        total += int(count)
        number *= math.comb(total, int(count))
    return number


def in_order(counts: Counts) -> NDArray[np.int64]:
    """The outcomes of a multiset in ascending order, shape (K,)."""
    return np.repeat(np.arange(len(counts)), counts)


def orders(counts: Counts) -> NDArray[np.int64]:
    """All different orders of a multiset, shape (n_orders, K)."""
    rows = np.empty((n_orders(counts), int(counts.sum())), np.int64)
    _fill_orders(rows, counts.copy())
    return rows


def _fill_orders(rows: NDArray[np.int64], left: Counts) -> None:
    if not rows.shape[1]:
        return
    first = 0
    for outcome in np.flatnonzero(left):
        left[outcome] -= 1
        size = n_orders(left)
        rows[first : first + size, 0] = outcome
        _fill_orders(rows[first : first + size, 1:], left)
        first += size
        left[outcome] += 1


def joint_outcomes(n_outcomes: int, n_agents: int) -> NDArray[np.int64]:
    """All vectors of outcomes of K agents in lexicographic order, shape (m^K, K)."""
    return np.stack(np.unravel_index(np.arange(n_outcomes**n_agents), (n_outcomes,) * n_agents), axis=-1)


def counts_of(vectors: NDArray[np.int64], n_outcomes: int) -> Counts:
    """The counts of vectors of outcomes, shape (n, K), as (n, n_outcomes)."""
    n = len(vectors)
    flat = (np.arange(n)[:, None] * n_outcomes + vectors).ravel()
    return np.bincount(flat, minlength=n * n_outcomes).reshape(n, n_outcomes)


def point_of(vectors: NDArray[np.int64], points: Counts) -> NDArray[np.int64]:
    """The index among the lattice's ``points`` of every vector of outcomes, shape (n,)."""
    base = int(points.sum(axis=1)[0]) + 1
    digits = base ** np.arange(points.shape[1] - 1, -1, -1, dtype=np.float64)
    if digits[0] * base > LARGEST_CODE:
        table = {row.tobytes(): k for k, row in enumerate(points)}
        return np.array([table[row.tobytes()] for row in counts_of(vectors, points.shape[1])])
    weights = digits.astype(np.int64)
    found: NDArray[np.int64] = np.searchsorted(points @ weights, counts_of(vectors, points.shape[1]) @ weights)
    return found


def random_counts(rng: np.random.Generator, n_outcomes: int, n_agents: int, concentration: float) -> Counts:
    """A random point near a Dirichlet distributed law: the smaller the concentration, the fewer outcomes."""
    law: Any = rng.dirichlet(np.full(n_outcomes, concentration))
    if not np.isfinite(law).all():  # All of a very concentrated law's weights can be rounded to zero.
        law = np.eye(n_outcomes)[rng.integers(n_outcomes)]
    return rounded(law, n_agents)


def rounded(law: NDArray[np.float64], n_agents: int) -> Counts:
    """The point of the lattice that is nearest to a law, by largest remainders."""
    exact = law / law.sum() * n_agents
    counts: Counts = np.floor(exact).astype(np.int64)
    missing = n_agents - int(counts.sum())
    largest = np.argsort(counts - exact, kind="stable")[:missing]
    counts[largest] += 1
    return counts
