"""How symmetric an N-player game is: the constants alpha and beta, and the agents who break the symmetry.

Yardim & He (arXiv 2408.15173), Definition 7: with P and R of the induced mean-field game,

    alpha = max over i, s, a, others of ||P^i(. | s, a, others) - P(. | s, a, sigma(others))||_1
    beta  = max over i, s, a, others of |R^i(s, a, others) - R(s, a, sigma(others))|.

Small games are enumerated. Where rules are proven to be affine in the counts of the others, the maximum over
others is at a corner of the lattice, all others doing the same, at any N: the norms are convex. Elsewhere the
maximum is searched, which gives a lower estimate.
"""

import dataclasses
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED
from mfenvs.meanfield.black_box import (
    BlackBoxGame,
    as_black_box,
    check_sees_counts,
    number_of_evaluations,
    tabulate_black_box,
)
from mfenvs.meanfield.closed_path import RulesAmongOthers
from mfenvs.meanfield.dependence import ProvenDependence, ProvenDependences
from mfenvs.meanfield.lattice import Counts, in_order, lattice, n_arguments
from mfenvs.meanfield.lattice_search import search_lattice
from mfenvs.meanfield.sampled_symmetry import SampledSymmetry, sample_symmetry
from mfenvs.meanfield.symmetrisation import MOST_EVALUATIONS

Array = NDArray[np.float64]
Kind = Literal["exact", "lower estimate"]
Measure = Literal["alpha", "beta", "treated_apart"]

NEGLIGIBLE = 1e-9
"""Asymmetries up to here do not tell who breaks the symmetry: they can be rounding."""


@dataclasses.dataclass(frozen=True)
class Witness:
    """Where a maximum was found."""

    agent: int
    """Index of the agent i whose rule deviates most."""
    state: int
    action: int
    """Its state and action."""
    others: Counts
    """How many of the N - 1 others are in which state with which action, shape (S, A)."""
    time: int = 0
    """The time step, for rules that read the time."""


@dataclasses.dataclass(frozen=True)
class ApproximateSymmetry:
    """alpha and beta of a game, and every agent's part in them."""

    alpha: float
    """Asymmetry of the transitions, in [0, 2]."""
    beta: float
    """Asymmetry of the rewards, in their units."""
    alpha_kind: Kind
    """``exact`` (to rounding), or ``lower estimate`` where the maximum over others was searched."""
    beta_kind: Kind
    """The same for beta."""
    n_points: int
    """Number of empirical distributions of others that were evaluated, once for every time; 0 if all agents have
    the same rules, which read counts only."""
    alpha_of_agent: Array
    """max over s, a, others of ||P^i - P||_1 for each agent i, shape (N,): how far its own dynamics are from the
    induced game's. A single odd agent i has (N - 1) / N of its distance from the others, each of those 1 / N."""
    beta_of_agent: Array
    """The same for the rewards, shape (N,)."""
    alpha_at: Witness
    """Where alpha was found."""
    beta_at: Witness
    """Where beta was found."""
    treated_apart: Array | None
    """How differently the others' rules treat agent j, shape (N,): the largest change of a rule (transitions in
    l1, or a reward) when j exchanges its state and action with another agent k, averaged over k. All 0 where rules
    read counts; None where it was not computed, in games that are not enumerated."""
    alpha_standard_error: float = 0.0
    """Standard error of alpha: 0 unless the symmetrisation was sampled."""
    beta_standard_error: float = 0.0
    """Standard error of beta: 0 unless the symmetrisation was sampled."""
    n_permutations: int = 0
    """Number of permutations of a sampled symmetrisation; 0 if it is exact."""

    @property
    def kind(self) -> Kind:
        """``exact`` if both alpha and beta are, else ``lower estimate``."""
        return "exact" if self.alpha_kind == self.beta_kind == "exact" else "lower estimate"

    def most_asymmetric(self, n: int = 1, by: Measure | None = None) -> NDArray[np.int64]:
        """The n agents who break the symmetry most, the first one most, as indices.

        Parameters
        ----------
        n:
            Number of agents.
        by:
            ``alpha``, ``beta`` or ``treated_apart`` for the agents with the largest of that measure. By default an
            agent counts by that measure in which it stands out most: its distance from the median, as a share of
            the largest value. Values below 1e-9 are rounding there.
        """
        n = checks.integer("n", n, 1, len(self.alpha_of_agent))
        measures = {"alpha": self.alpha_of_agent, "beta": self.beta_of_agent}
        if self.treated_apart is not None:
            measures["treated_apart"] = self.treated_apart
        if by is not None:
            return np.argsort(-measures[checks.choice("by", by, list(measures))], kind="stable")[:n]
        score = np.zeros(len(self.alpha_of_agent))
        for measure in measures.values():
            if measure.max() > NEGLIGIBLE:
                score = np.maximum(score, (measure - np.median(measure)) / measure.max())
        return np.argsort(-score, kind="stable")[:n]

    def summary(self) -> dict[str, Any]:
        """The main results as a dict for JSON."""
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "alpha_kind": self.alpha_kind,
            "beta_kind": self.beta_kind,
            "n_points": self.n_points,
            "alpha_standard_error": self.alpha_standard_error,
            "beta_standard_error": self.beta_standard_error,
            "n_permutations": self.n_permutations,
            "alpha_agent": self.alpha_at.agent,
            "beta_agent": self.beta_at.agent,
        }

    def __str__(self) -> str:
        parts = (
            f"{name} {'=' if kind == 'exact' else '>='} {value:.6g} ({kind}, agent {at.agent})"
            for name, kind, value, at in (
                ("alpha", self.alpha_kind, self.alpha, self.alpha_at),
                ("beta", self.beta_kind, self.beta, self.beta_at),
            )
        )
        return f"{', '.join(parts)}, {self.n_points} points"


def approximate_symmetry(
    game: FiniteGame | BlackBoxGame, *, n_points: int = 256, n_permutations: int = 256, seed: int = 0
) -> ApproximateSymmetry:
    """Compute alpha and beta of an N-player game, and who breaks its symmetry.

    A finite game whose agents are counted by state and action is symmetrised without permutations, at any N: a
    point costs O(N). Where all agents' rules are proven to be affine in the counts of the others
    (:mod:`mfenvs.meanfield.dependence`), the corners of the lattice (all others alike) are enough for exact
    results; there are |S| |A| of them, for each time step if rules read the time. Otherwise a game with more than
    ``n_points`` points has lower estimates: from the corners first, then random points, then those of local
    searches from the best. A finite game whose agents are counted by who they are is treated as a black box.

    A black box is enumerated if that takes a million evaluations at most. Otherwise the symmetrisation at a point
    is estimated from random permutations, and from random agents if there are more than 32. Then alpha and beta
    are evaluated with permutations other than those by which the point, the agent and the signs of the l1 norm
    were chosen, so that they are unbiased estimates of lower bounds, with standard errors.

    Parameters
    ----------
    game:
        A finite game, or one given by callables.
    n_points:
        Largest number of points that are evaluated, from 1 to 10^6, unless a black box is enumerated.
    n_permutations:
        Number of permutations with which a sampled symmetrisation is evaluated, from 2 to 10^6.
    seed:
        Random seed of the search, an integer in [0, 2^64 - 1].

    Returns
    -------
    alpha, beta, where they were found, and every agent's part in them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, a rule returns a row that is no probability row or a reward that is not
        finite, or the game is an average over agents (:func:`mfenvs.from_parallel_env`), whose differences are not
        in it.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 7.
    """
    n_points = checks.integer("n_points", n_points, 1, MOST_EVALUATIONS)
    n_permutations = checks.integer("n_permutations", n_permutations, 2, MOST_EVALUATIONS)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    if isinstance(game, FiniteGame):
        if game.is_average:
            raise ValueError(
                f"the rules of {type(game).__name__} are an average over all agents: how much these differ is not"
                " in the game, whose own alpha and beta are 0"
            )
        rules = RulesAmongOthers(game)
        if rules.counts_everyone_alike:
            return _of_counts(rules, n_points, rng)
        if len(rules.times) > 1:
            raise ValueError(
                f"{type(game).__name__} counts agents by who they are and reads the time: choose a time by"
                " approximate_symmetry(as_black_box(game, time))"
            )
        game = as_black_box(game)
    if not isinstance(game, BlackBoxGame):
        raise TypeError(f"game must be a FiniteGame or a BlackBoxGame, got {checks.shown(game)}")
    if number_of_evaluations(game) <= MOST_EVALUATIONS:
        return _of_tables(game)
    if game.sees_counts:
        check_sees_counts(game)
        return _searched(_BlackBoxAtCounts(game), n_points, rng)
    return _sampled(sample_symmetry(game, n_points, n_permutations, rng), n_permutations)


class _PointRules(Protocol):
    """Rules of n kinds of agents that are compared with their mean at points of the lattice."""

    n_others: int
    kind_of_agent: NDArray[np.int64]
    first_of_kind: NDArray[np.int64]
    times: range
    shape: tuple[int, int]
    dependences: ProvenDependences

    def deviations(self, counts: Counts, time: int) -> Any: ...


class _FiniteGameAtCounts:
    """A finite game that reads counts, for the search."""

    def __init__(self, rules: RulesAmongOthers) -> None:
        self.n_others, self.times = rules.n_others, rules.times
        self.kind_of_agent, self.first_of_kind = rules.kind_of_agent, rules.first_of_kind
        self.shape = rules.game.n_states, rules.game.n_actions
        self.deviations, self.dependences = rules.deviations, rules.dependences


@dataclasses.dataclass(frozen=True)
class _Found:
    alpha: Array
    beta: Array
    alpha_pair: NDArray[np.int64]
    beta_pair: NDArray[np.int64]


class _BlackBoxAtCounts:
    """A black box that reads counts, for the search."""

    def __init__(self, game: BlackBoxGame) -> None:
        self.game, self.n_others, self.times = game, game.n_others, range(1)
        self.dependences = ProvenDependences("unknown", "unknown")
        self.kind_of_agent = self.first_of_kind = np.arange(game.n_agents)
        self.shape = game.n_states, game.n_actions

    def deviations(self, counts: Counts, time: int) -> _Found:
        vector = in_order(counts.ravel())
        found = [self.game.responses(agent, vector) for agent in range(self.game.n_agents)]
        rows, rewards = (np.stack(part) for part in zip(*found, strict=True))
        return _compared(rows, rewards)


def _compared(rows: Array, rewards: Array) -> _Found:
    """Compare the rules of n agents, (n, S, A, S) and (n, S, A), with their means."""
    mean_row, mean_reward = (t[0] + (t - t[0]).mean(axis=0) for t in (rows, rewards))
    alpha = np.abs(rows - mean_row).sum(axis=-1).reshape(len(rows), -1)
    beta = np.abs(rewards - mean_reward).reshape(len(rows), -1)
    return _Found(alpha.max(axis=1), beta.max(axis=1), alpha.argmax(axis=1), beta.argmax(axis=1))


def _of_counts(rules: RulesAmongOthers, n_points: int, rng: np.random.Generator) -> ApproximateSymmetry:
    if len(rules.first_of_kind) == 1:
        # All have the same rules of the others' counts, and so those of the induced game.
        zeros, shape = np.zeros(rules.game.n_agents), (rules.game.n_states, rules.game.n_actions)
        nowhere = Witness(0, 0, 0, np.eye(1, shape[0] * shape[1], dtype=np.int64).reshape(shape) * rules.n_others)
        return ApproximateSymmetry(0.0, 0.0, "exact", "exact", 0, zeros, zeros, nowhere, nowhere, zeros)
    return _searched(_FiniteGameAtCounts(rules), n_points, rng)


class _Records:
    """The largest deviations found so far, per kind of agents, and where."""

    def __init__(self, rules: _PointRules) -> None:
        n = len(rules.first_of_kind)
        self.rules, self.n_points = rules, 0
        self.alpha, self.beta = np.zeros(n), np.zeros(n)
        self.best = [-1.0, -1.0]
        self.at: list[Any] = [None, None]

    def evaluate(self, counts: Counts, time: int) -> tuple[float, float]:
        """Evaluate a point; return the largest of alpha and of beta over the agents."""
        found = self.rules.deviations(counts.reshape(self.rules.shape), time)
        self.n_points += 1
        np.maximum(self.alpha, found.alpha, out=self.alpha)
        np.maximum(self.beta, found.beta, out=self.beta)
        values = float(found.alpha.max()), float(found.beta.max())
        for which, (distances, pairs) in enumerate(
            ((found.alpha, found.alpha_pair), (found.beta, found.beta_pair))
        ):
            if values[which] > self.best[which]:
                kind = int(distances.argmax())
                state, action = divmod(int(pairs[kind]), self.rules.shape[1])
                agent = int(self.rules.first_of_kind[kind])
                self.best[which] = values[which]
                self.at[which] = Witness(agent, state, action, counts.reshape(self.rules.shape).copy(), time)
        return values

    def result(self, alpha_kind: Kind, beta_kind: Kind) -> ApproximateSymmetry:
        of_agent = self.rules.kind_of_agent
        return ApproximateSymmetry(
            alpha=self.best[0],
            beta=self.best[1],
            alpha_kind=alpha_kind,
            beta_kind=beta_kind,
            n_points=self.n_points,
            alpha_of_agent=self.alpha[of_agent],
            beta_of_agent=self.beta[of_agent],
            alpha_at=self.at[0],
            beta_at=self.at[1],
            treated_apart=np.zeros(len(of_agent)),
        )


def _searched(rules: _PointRules, n_points: int, rng: np.random.Generator) -> ApproximateSymmetry:
    records, n_pairs, n_times = _Records(rules), rules.shape[0] * rules.shape[1], len(rules.times)
    has_all_corners = n_pairs * n_times <= n_points
    kinds = [_kind_at_corners(proof, has_all_corners) for proof in rules.dependences]
    if kinds == ["exact", "exact"]:
        points = rules.n_others * np.eye(n_pairs if has_all_corners else 1, n_pairs, dtype=np.int64)
    elif n_arguments(n_pairs, rules.n_others, as_counts=True) * n_times <= n_points:
        points, kinds = lattice(n_pairs, rules.n_others), ["exact", "exact"]
    else:
        search_lattice(records.evaluate, n_pairs, rules.n_others, rules.times, n_points, rng)
        return records.result(*kinds)
    for time in rules.times:
        for counts in points:
            records.evaluate(counts, time)
    return records.result(*kinds)


def _kind_at_corners(proof: ProvenDependence, has_all_corners: bool) -> Kind:
    """What the largest deviation of rules at the corners, or at one of them, is."""
    is_enough = proof == "none" or (proof == "affine" and has_all_corners)
    return "exact" if is_enough else "lower estimate"


def _of_tables(game: BlackBoxGame) -> ApproximateSymmetry:
    tables = tabulate_black_box(game)
    values = []
    for own, symmetrised in (
        (tables.transitions, tables.symmetrised_transitions),
        (tables.rewards[..., None], tables.symmetrised_rewards[..., None]),
    ):
        mean = symmetrised[0] + (symmetrised - symmetrised[0]).mean(axis=0)
        values.append(np.abs(own - mean[tables.point]).sum(axis=-1))
    witnesses = []
    for distances in values:
        agent, vector, state, action = (int(k) for k in np.unravel_index(distances.argmax(), distances.shape))
        counts = tables.points[tables.point[vector]].reshape(game.n_states, game.n_actions)
        witnesses.append(Witness(agent, state, action, counts))
    of_agent = [distances.max(axis=(1, 2, 3)) for distances in values]
    return ApproximateSymmetry(
        alpha=float(of_agent[0].max()),
        beta=float(of_agent[1].max()),
        alpha_kind="exact",
        beta_kind="exact",
        n_points=len(tables.points),
        alpha_of_agent=of_agent[0],
        beta_of_agent=of_agent[1],
        alpha_at=witnesses[0],
        beta_at=witnesses[1],
        treated_apart=np.zeros(game.n_agents) if game.sees_counts else _treated_apart(game, tables),
    )


def _treated_apart(game: BlackBoxGame, tables: Any) -> Array:
    """The largest change of the others' rules when two agents exchange what they do, averaged over the second."""
    n, changes = game.n_agents, np.zeros((game.n_agents, game.n_agents))
    digits = game.n_pairs ** np.arange(game.n_others - 1, -1, -1)
    for agent in range(n):
        others = [j for j in range(n) if j != agent]
        for first in range(len(others)):
            for second in range(first):
                swapped = tables.vectors.copy()
                swapped[:, [first, second]] = swapped[:, [second, first]]
                order = swapped @ digits
                change = max(
                    float(np.abs(tables.transitions[agent] - tables.transitions[agent][order]).sum(axis=-1).max()),
                    float(np.abs(tables.rewards[agent] - tables.rewards[agent][order]).max()),
                )
                j, k = others[first], others[second]
                changes[j, k] = changes[k, j] = max(changes[j, k], change)
    average: Array = changes.sum(axis=1) / (n - 1)
    return average


def _sampled(found: SampledSymmetry, n_permutations: int) -> ApproximateSymmetry:
    witnesses = [
        Witness(part.agent, part.state, part.action, part.others) for part in (found.transitions, found.rewards)
    ]
    return ApproximateSymmetry(
        alpha=found.transitions.value,
        beta=found.rewards.value,
        alpha_kind="lower estimate",
        beta_kind="lower estimate",
        n_points=found.n_points,
        alpha_of_agent=found.transitions.of_agent,
        beta_of_agent=found.rewards.of_agent,
        alpha_at=witnesses[0],
        beta_at=witnesses[1],
        treated_apart=None,
        alpha_standard_error=found.transitions.standard_error,
        beta_standard_error=found.rewards.standard_error,
        n_permutations=n_permutations,
    )
