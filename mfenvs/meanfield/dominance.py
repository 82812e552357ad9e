"""How much a single other agent matters in an N-player game: the constants of Lemma 2 and the rules' sparsity.

Yardim & He (arXiv 2408.15173), Definition 8 and Lemma 2. Where no agent dominates, C_1 and C_2 are of order 1 / N,
and the induced game's Lipschitz moduli do not grow with N.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED
from mfenvs.meanfield.bounds import dominance_moduli
from mfenvs.meanfield.closed_path import RulesAmongOthers
from mfenvs.meanfield.lipschitz import Constant, largest_distance
from mfenvs.meanfield.probing import MOST_NUMBERS, MOST_TABLES, MOST_WORK, TOLERANCE

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST_CELLS, SOME_CELLS = 128, 32
"""Largest number of cells (s, a) all of which an agent is moved to, and the number of those drawn from more."""

MOST_POINTS = 24
"""Largest number of configurations of the others, of all time steps together."""


@dataclasses.dataclass(frozen=True)
class Dominance:
    """The constants of Lemma 2 and Definition 8, the largest over agents and time steps."""

    n_agents: int
    """Number N of agents."""
    c_1: Constant
    """C_1: largest l1 change of a row P^i(. | s, a, others) as one other agent changes its state and action."""
    c_2: Constant
    """C_2: largest change of a reward R^i(s, a, others) likewise."""
    sparsity: Constant
    """kappa: for every (s, a) the rules depend on who is in kappa cells (s', a') only."""

    @property
    def moduli(self) -> tuple[Constant, Constant]:
        """Lemma 2's moduli (l2) of the induced P and R, C_1 N sqrt(kappa) and C_2 N sqrt(kappa)."""
        found = dominance_moduli(self.c_1.value, self.c_2.value, self.n_agents, round(self.sparsity.value))
        parts = self.c_1, self.c_2
        rows, rewards = (
            Constant(value, part.is_exact and self.sparsity.is_exact)
            for value, part in zip(found, parts, strict=True)
        )
        return rows, rewards

    def summary(self) -> dict[str, Any]:
        """All constants as a dict for JSON."""
        rows, rewards = self.moduli
        return {
            "C_1": self.c_1.summary(),
            "C_2": self.c_2.summary(),
            "kappa": self.sparsity.summary(),
            "lemma_2_transitions_l2": rows.summary(),
            "lemma_2_rewards_l2": rewards.summary(),
        }


def dominance(game: FiniteGame, *, n_points: int = 6, seed: int = 0) -> Dominance:
    """Compute C_1, C_2 and kappa of an N-player game, or estimate them from below.

    They are exact where every agent's rules are proven to be affine in the counts of the others
    (:mod:`mfenvs.meanfield.dependence`). Otherwise an agent is moved between all cells among some configurations
    of the others.

    Parameters
    ----------
    game:
        A finite game that counts agents by states and actions, not by who they are.
    n_points:
        Number of configurations of the others, at least 2; fewer in large games.
    seed:
        Random seed of the configurations, an integer in [0, 2^64 - 1].

    Returns
    -------
    The constants; each says whether it is exact.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the game counts agents by who they are, or its rules return bad values.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 8 and Lemma 2.
    """
    rules = RulesAmongOthers(game)
    n_points = checks.integer("n_points", n_points, 2)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    found = [_at_one_time(rules, time, n_points, rng) for time in rules.times]
    c_1, c_2, sparsity = (
        Constant(max(one.value for one in values), all(one.is_exact for one in values))
        for values in zip(*found, strict=True)
    )
    return Dominance(game.n_agents, c_1, c_2, sparsity)


def _at_one_time(
    rules: RulesAmongOthers, time: int, n_points: int, rng: np.random.Generator
) -> tuple[Constant, Constant, Constant]:
    """C_1, C_2 and kappa of one time step."""
    game = rules.game
    n_cells, n_others = game.n_states * game.n_actions, rules.n_others
    size = len(rules.shares) * n_cells * (game.n_states + 1)
    cells = np.arange(n_cells)
    exact = [Constant(0.0, True) if kind == "none" else None for kind in rules.dependences]
    if n_cells > MOST_CELLS or n_cells * size > MOST_NUMBERS:
        most = max(2, min(n_cells, SOME_CELLS, MOST_NUMBERS // size))
        cells = np.sort(rng.choice(n_cells, most, replace=False))
    else:
        is_affine = [kind != "unknown" for kind in rules.dependences]
        corners = _tables(rules, n_others * np.eye(n_cells, dtype=np.int64), time)
        changes = [Constant(change / n_others, True) for change in _differences(corners, rng)]
        if all(is_affine):
            return changes[0], changes[1], _sparsity([corners], True)
        exact = [change if proven else None for change, proven in zip(changes, is_affine, strict=True)]
    budget = min(MOST_TABLES, MOST_WORK // size) // (len(rules.times) * len(cells))
    n_points = max(1, min(n_points, budget, MOST_POINTS // len(rules.times)))
    c_1, c_2, moved = 0.0, 0.0, []
    for base in _random_counts(rng, n_cells, n_others - 1, n_points):
        points = np.repeat(base[None], len(cells), axis=0)
        points[np.arange(len(cells)), cells] += 1
        found = _tables(rules, points, time)
        distance, change = _differences(found, rng)
        c_1, c_2 = max(c_1, distance), max(c_2, change)
        moved.append(found)
        if len(moved) * found.size > MOST_NUMBERS:
            moved = moved[-1:]
    return exact[0] or Constant(c_1, False), exact[1] or Constant(c_2, False), _sparsity(moved, False)


def _random_counts(rng: np.random.Generator, n_cells: int, n_agents: int, n: int) -> Counts:
    """Counts of agents over cells: all in one cell, and spread at random, by turns, (n, n_cells)."""
    counts = np.zeros((n, n_cells), np.int64)
    for k in range(n):
        if k % 2 == 0:
            counts[k, rng.integers(n_cells)] = n_agents
        else:
            counts[k] = rng.multinomial(n_agents, rng.dirichlet(np.full(n_cells, rng.choice([0.2, 1.0]))))
    return counts


def _tables(rules: RulesAmongOthers, points: Counts, time: int) -> Array:
    """Every kind's transitions and, behind them, reward at counts (k, SA), shape (k, n_kinds, S, A, S + 1)."""
    shape = rules.game.n_states, rules.game.n_actions
    found = [rules.tables_of_kinds(counts.reshape(shape), time) for counts in points]
    return np.stack([np.concatenate([p, r[..., None]], axis=-1) for p, r in found])


def _differences(found: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Largest l1 distance of rows, and largest difference of rewards, between two of k tables."""
    change = float(np.ptp(found[..., -1], axis=0).max())
    if (found[..., :-1] == found[:1, ..., :-1]).all():
        return 0.0, change
    rows = np.moveaxis(found[..., :-1].reshape(len(found), -1, found.shape[-1] - 1), 1, 0)
    return largest_distance(rows, rng).value, change


def _sparsity(moved: list[Array], is_exact: bool) -> Constant:
    """The sparsity: k less the largest class of cells that make no difference, from tables with an agent in each.

    The rules do not tell apart the cells of that class; they are the cells outside U_{s,a} (Definition 8).
    """
    tables = np.concatenate([np.moveaxis(found, 0, -1) for found in moved])  # (bases * kinds, S, A, S + 1, k)
    tolerance = TOLERANCE * max(1.0, float(np.abs(tables).max()))
    n_cells, worst = tables.shape[-1], 0
    for s, a in np.ndindex(tables.shape[1:3]):
        columns = tables[:, s, a].reshape(-1, n_cells)
        left, largest = np.arange(n_cells), 0
        while len(left) > largest:
            same = np.abs(columns[:, left] - columns[:, left[:1]]).max(axis=0) <= tolerance
            largest = max(largest, int(same.sum()))
            left = left[~same]
        worst = max(worst, n_cells - largest)
    return Constant(float(worst), is_exact)
