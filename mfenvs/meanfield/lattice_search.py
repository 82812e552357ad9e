"""A search for the largest values of two functions on the lattice of empirical distributions."""

from collections.abc import Callable, Sequence

import numpy as np

from mfenvs.meanfield.lattice import Counts, random_counts, rounded

SHARE_OF_RANDOM_POINTS = 0.5
"""Share of the points behind the corners that are drawn at random; the others are those of the local searches."""
CONCENTRATIONS = (1.0, 0.1)
"""Dirichlet parameters of random points, in turns: spread over all outcomes, and over few."""

Evaluate = Callable[[Counts, int], tuple[float, float]]


def search_lattice(
    evaluate: Evaluate,
    n_outcomes: int,
    n_agents: int,
    times: Sequence[int],
    n_points: int,
    rng: np.random.Generator,
) -> None:
    """Evaluate two functions of counts and a time at up to ``n_points`` points, in search of their maxima.

    The points are the corners, the even distribution, random points, and those of local searches from the best
    point of either function, which move groups of agents from one outcome to another: half of all agents at first,
    single agents at last.

    Parameters
    ----------
    evaluate:
        ``evaluate(counts, time)`` returns both functions' values, at least 0.
    n_outcomes, n_agents:
        The lattice: m outcomes, K agents.
    times:
        The times, at least one.
    n_points:
        Number of evaluations.
    rng:
        Source of randomness.
    """
    search = _Search(evaluate, n_points)
    corners = [(outcome, time) for time in times for outcome in range(n_outcomes)]
    if len(corners) > n_points:
        chosen = rng.choice(len(corners), n_points, replace=False)
        corners = [corners[int(k)] for k in chosen]
    for outcome, time in corners:
        corner = np.zeros(n_outcomes, np.int64)
        corner[outcome] = n_agents
        search.visit(corner, time)
    if search.left:
        search.visit(rounded(np.ones(n_outcomes), n_agents), times[int(rng.integers(len(times)))])
    for k in range(int(SHARE_OF_RANDOM_POINTS * search.left)):
        counts = random_counts(rng, n_outcomes, n_agents, CONCENTRATIONS[k % len(CONCENTRATIONS)])
        search.visit(counts, times[int(rng.integers(len(times)))])
    for which in (0, 1):
        search.climb(which, search.left // (2 - which), rng)


class _Search:
    """The best points so far, and the number of points that are left."""

    def __init__(self, evaluate: Evaluate, n_points: int) -> None:
        self.evaluate, self.left = evaluate, n_points
        self.best: list[tuple[float, Counts, int]] = [(-1.0, np.zeros(0, np.int64), 0)] * 2

    def visit(self, counts: Counts, time: int) -> tuple[float, float]:
        self.left -= 1
        values = self.evaluate(counts, time)
        for which in (0, 1):
            if values[which] > self.best[which][0]:
                self.best[which] = values[which], counts.copy(), time
        return values

    def climb(self, which: int, n_points: int, rng: np.random.Generator) -> None:
        """Move groups of agents as long as one of the functions grows, for ``n_points`` points at most."""
        value, counts, time = self.best[which]
        if value <= 0.0:
            return  # Nothing to climb: there is no asymmetry at any point so far.
        size, end = max(1, int(counts.sum()) // 2), self.left - n_points
        while size >= 1 and self.left > end:
            grew = False
            for source, target in _pairs(counts, self.left, rng):
                if self.left <= end:
                    return
                moved = counts.copy()
                group = min(size, int(counts[source]))
                moved[source] -= group
                moved[target] += group
                found = self.visit(moved, time)[which]
                if found > value:
                    value, counts, grew = found, moved, True
                    break
            if not grew:
                size //= 2


def _pairs(counts: Counts, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of an outcome that has agents and another one, in random order; ``most`` of them at most."""
    sources, n_others = np.flatnonzero(counts), len(counts) - 1
    number = len(sources) * n_others
    chosen = rng.choice(number, min(most, number), replace=False, shuffle=True)
    pairs = [(int(sources[k // n_others]), int(k % n_others)) for k in chosen]
    return [(source, target + (target >= source)) for source, target in pairs]
