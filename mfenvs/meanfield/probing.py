"""Populations at which the induced game's rules are probed, and whether the rules are affine in the population."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

MOST_NUMBERS = 2**25
"""Largest number of entries of tables that are held at a time: 256 MB."""
MOST_TABLES = 6000
"""Largest number of populations, of all time steps together, at which tables are computed for one question."""
MOST_WORK = 2**29
"""Largest number of entries of all these tables."""
TOLERANCE = 1e-9
"""Relative tolerance within which rules count as affine, or as independent of the population."""
N_KINDS, FEW = 4, 3
"""Number of kinds of random populations, and the largest number of cells of those in few cells."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """P(mu) and R(mu) at k populations, for one time step."""

    populations: Array
    """The populations, shape (k, S, A)."""
    transitions: Array
    """Shape (k, S, A, S)."""
    rewards: Array
    """Shape (k, S, A)."""


def tables(induced: InducedGame, populations: Array, time: int) -> Tables:
    """P(mu) and R(mu) of a time step at populations (k, S, A)."""
    found = [induced.arrays(mu, time) for mu in populations]
    return Tables(populations, np.stack([p for p, _ in found]), np.stack([r for _, r in found]))


def random_populations(rng: np.random.Generator, induced: InducedGame, n: int) -> Array:
    """Random state-action laws of four kinds by turns, shape (n, S, A).

    They are in a few cells, spread over all cells, in one cell, and unevenly spread: rules that react to extreme
    populations only would look constant among spread ones.
    """
    size = induced.n_states * induced.n_actions
    laws = np.zeros((n, size))
    for k in range(n):
        kind = k % N_KINDS
        if kind % 2 == 0:
            cells = rng.choice(size, min(size, FEW if kind == 0 else 1), replace=False)
            laws[k, cells] = rng.dirichlet(np.ones(len(cells)))
        else:
            weights = rng.gamma(1.0 if kind == 1 else 0.1, size=size) + 1e-12
            laws[k] = weights / weights.sum()
    return laws.reshape(n, induced.n_states, induced.n_actions)


def point_populations(induced: InducedGame) -> Array:
    """The populations in which all agents are in the same state and take the same action, shape (SA, S, A)."""
    size = induced.n_states * induced.n_actions
    return np.eye(size).reshape(size, induced.n_states, induced.n_actions)


def n_affordable(induced: InducedGame, n: int, least: int = 3) -> int:
    """Number of populations, at most n, whose tables can be held at a time; ``least`` of them always."""
    entries = induced.n_states * induced.n_actions * (induced.n_states + 1)
    return min(n, max(least, MOST_NUMBERS // entries))


def n_tables(induced: InducedGame, n_times: int) -> int:
    """Number of populations per time step at which tables may be computed for one question."""
    entries = induced.n_states * induced.n_actions * (induced.n_states + 1)
    return min(MOST_TABLES, MOST_WORK // entries) // n_times


def is_constant(values: Array) -> bool:
    """Whether tables (k, ...) are the same at all k populations, to rounding."""
    return bool(np.abs(values - values[0]).max() <= TOLERANCE * _scale(values))


def is_affine(at_points: Array, probes: Array, values: Array) -> bool:
    """Whether tables at probes are the mixtures of those at the point populations, to rounding.

    Parameters
    ----------
    at_points:
        Tables at the point populations, shape (SA, ...).
    probes:
        Populations, shape (k, S, A).
    values:
        The tables there, shape (k, ...).
    """
    mixed = np.tensordot(probes.reshape(len(probes), -1), at_points, axes=1)
    return bool(np.abs(mixed - values).max() <= TOLERANCE * _scale(values))


def _scale(values: Array) -> float:
    return max(1.0, float(np.abs(values).max()))
