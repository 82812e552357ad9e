"""Lipschitz constants of an induced mean-field game in the population, the state and the action.

Yardim & He (arXiv 2408.15173), Lemma 9 and appendix B.3. All distances of populations and of transition rows are
in the l1 norm, as in these proofs.

On the simplex the l1 norm is a path length: one population is turned into another by moving mass between pairs of
cells (s, a), within the simplex, at a cost of twice the mass. So a modulus in the population is the supremum over
single moves of mass t from a cell y to a cell x, |f(mu + t (e_x - e_y)) - f(mu)| / (2 t). Where f is affine the
quotient depends on x and y only, and the modulus is computed exactly from the values at the |S||A| point
populations. Otherwise it is the largest quotient found: a lower estimate.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.meanfield.dependence import (
    ProvenDependence,
    ProvenDependences,
    proven_dependences,
    times_that_matter,
)
from mfenvs.meanfield.induced import InducedGame, refuse_fixed_masses
from mfenvs.meanfield.probing import (
    MOST_NUMBERS,
    Tables,
    is_affine,
    is_constant,
    n_affordable,
    n_tables,
    point_populations,
    random_populations,
    tables,
)

Array = NDArray[np.float64]

Dependence = Literal["none", "affine", "other"]
"""How rules depend on the population where they were tried."""

STEPS = (1.0, 0.1, 0.001)
"""Masses t that are moved from cell to cell in the search for large quotients."""
MOST_CELLS = 32
"""Largest number of cells between which mass is moved at one population."""
MOST_ROWS = 1024
"""Largest number of transition rows that are compared pair by pair; of more, this many are drawn at random."""
MOST_POPULATIONS = 100_000
"""Largest number of random populations that a caller may ask for."""
N_ROUNDS = 4
"""Number of rounds of the search. Those after the first look around the best population so far, too."""
FARTHEST = 2.0 - 1e-12
"""No two probability rows are farther apart than 2: from here on an l1 distance is the largest possible one."""
REGIME_TOLERANCE = 1e-9
"""Distance of L_pop,mu from 1 within which the population update counts as non-expansive."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant of a game, computed exactly or estimated from below."""

    value: float
    is_exact: bool
    """Whether the value is exact (to rounding); else it is the largest that a search found: a lower estimate."""

    def __str__(self) -> str:
        return f"{'=' if self.is_exact else '>='} {self.value:.4g}"

    def summary(self) -> dict[str, Any]:
        """The value, and whether it is exact, as a dict for JSON."""
        return {"value": self.value, "is_exact": self.is_exact}


@dataclasses.dataclass(frozen=True)
class LipschitzConstants:
    """The constants of Lemma 9 and appendix B.3, in the l1 norm, the largest over time steps.

    A constant is exact where the rules are proven to be affine in the population or not to depend on it
    (:mod:`mfenvs.meanfield.dependence`). Otherwise it is a lower estimate, also if the rules look affine at all
    populations that were tried. Where a rule jumps it has no modulus in the population, and the estimate is as
    large as the smallest moves of mass (1/1000) show it.
    """

    k_mu: Constant
    """Modulus of the transition rows in the population: sup ||P(s,a,mu) - P(s,a,mu')||_1 / ||mu - mu'||_1."""
    l_mu: Constant
    """Modulus of the rewards in the population: sup |R(s,a,mu) - R(s,a,mu')| / ||mu - mu'||_1."""
    k_s: Constant
    """Largest distance of transition rows of two states, for the same action and population."""
    k_a: Constant
    """Largest distance of transition rows of two actions, for the same state and population."""
    l_s: Constant
    """Largest difference of rewards between two states, for the same action and population."""
    l_a: Constant
    """Largest difference of rewards between two actions, for the same state and population."""
    reward_span: Constant
    """Largest difference of rewards between two pairs of a state and an action, for the same population."""
    l_pop: Constant
    """Modulus L_pop,mu of the population update Gamma(., pi), the same for all policies."""
    transitions: Dependence
    """How the transition rows depend on the population, at the populations that were tried."""
    rewards: Dependence
    """How the rewards depend on the population, at the populations that were tried."""
    n_populations: int
    """Number of random populations at which the rules were checked, per time step."""

    @property
    def lemma_9(self) -> Constant:
        """The upper bound (K_s + K_a) / 2 + K_mu on L_pop,mu; an estimate of it, if its parts are."""
        parts = self.k_s, self.k_a, self.k_mu
        return Constant(
            0.5 * (self.k_s.value + self.k_a.value) + self.k_mu.value, all(part.is_exact for part in parts)
        )

    @property
    def regime(self) -> str:
        """Whether the population update is ``contractive``, ``non-expansive`` or ``expansive`` (L_pop,mu : 1).

        If L_pop,mu is an estimate from below, only ``expansive`` is certain.
        """
        excess = self.l_pop.value - 1.0
        if abs(excess) <= REGIME_TOLERANCE:
            return "non-expansive"
        return "expansive" if excess > 0.0 else "contractive"

    def summary(self) -> dict[str, Any]:
        """All constants as a dict for JSON."""
        constants = {
            field.name: found.summary()
            for field in dataclasses.fields(self)
            if isinstance(found := getattr(self, field.name), Constant)
        }
        return constants | {
            "lemma_9": self.lemma_9.summary(),
            "regime": self.regime,
            "transitions_depend_on_population": self.transitions,
            "rewards_depend_on_population": self.rewards,
            "n_populations": self.n_populations,
        }


def lipschitz_constants(induced: InducedGame, *, n_populations: int = 48, seed: int = 0) -> LipschitzConstants:
    """Compute the Lipschitz constants of an induced game, or estimate them from below.

    Parameters
    ----------
    induced:
        The mean-field game.
    n_populations:
        Number of random populations at which the rules are checked, from 4 to 10^5. Where the rules are not
        affine, the search for large quotients tries as many in each of its four rounds.
    seed:
        Random seed of the populations, an integer in [0, 2^64 - 1].

    Returns
    -------
    The constants; each says whether it is exact.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game's rules return bad values at one of the populations.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Lemma 9 and appendix B.3.
    """
    if not isinstance(induced, InducedGame):
        raise TypeError(f"induced must be an InducedGame, got {checks.shown(induced)}")
    refuse_fixed_masses(induced, "lipschitz_constants")
    n_populations = checks.integer("n_populations", n_populations, 4, MOST_POPULATIONS)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    n = n_affordable(induced, n_populations)
    times, proof = times_that_matter(induced.game), proven_dependences(induced.game, in_mean_field=True)
    budget = n_tables(induced, len(times))
    found = [_AtOneTime(induced, time, n, budget, proof, rng).constants() for time in times]
    names = [field.name for field in dataclasses.fields(LipschitzConstants)]
    return LipschitzConstants(**{name: _merged([getattr(one, name) for one in found]) for name in names})


def _merged(values: list[Any]) -> Any:
    """The largest constant over time steps, or the most general kind of dependence."""
    if isinstance(values[0], Constant):
        return Constant(max(one.value for one in values), all(one.is_exact for one in values))
    if isinstance(values[0], str):
        return next(kind for kind in ("other", "affine", "none") if kind in values)
    return values[0]


class _AtOneTime:
    """The constants of one time step."""

    def __init__(
        self,
        induced: InducedGame,
        time: int,
        n_populations: int,
        budget: int,
        proof: ProvenDependences,
        rng: np.random.Generator,
    ) -> None:
        self.induced, self.time, self.budget, self.rng = induced, time, budget, rng
        self.n_cells = induced.n_states * induced.n_actions
        self.probes = tables(induced, random_populations(rng, induced, n_populations), time)
        self.points = self._at_points()
        self.transitions = self._dependence("transitions")
        self.rewards = self._dependence("rewards")
        self.transitions_are_proven = self._is_proven(self.transitions, proof.transitions)
        self.rewards_are_proven = self._is_proven(self.rewards, proof.rewards)

    def _at_points(self) -> Tables | None:
        """The tables at all point populations; None if there are too many."""
        if 2 * self.n_cells > self.budget or self.n_cells**2 * (self.induced.n_states + 1) > MOST_NUMBERS:
            return None
        return tables(self.induced, point_populations(self.induced), self.time)

    def _dependence(self, name: str) -> Dependence:
        values: Array = getattr(self.probes, name)
        at_points = None if self.points is None else getattr(self.points, name)
        if is_constant(values if at_points is None else np.concatenate([values, at_points])):
            return "none"
        if at_points is not None and is_affine(at_points, self.probes.populations, values):
            return "affine"
        return "other"

    def _is_proven(self, seen: Dependence, proof: ProvenDependence) -> bool:
        """Whether rules are for certain as they look at the populations that were tried."""
        if seen == "none":
            return proof == "none" or (proof == "affine" and self.points is not None)
        return seen == "affine" and proof != "unknown"

    def constants(self) -> LipschitzConstants:
        k_mu, l_mu, l_pop = self._in_population()
        k_s, k_a, _ = self._of_rows()
        l_s, l_a, reward_span = self._of_rewards()
        return LipschitzConstants(
            *(k_mu, l_mu, k_s, k_a, l_s, l_a, reward_span, l_pop),
            transitions=self.transitions,
            rewards=self.rewards,
            n_populations=len(self.probes.populations),
        )

    def _in_population(self) -> tuple[Constant, Constant, Constant]:
        """K_mu, L_mu and L_pop,mu."""
        is_searched = "other" in (self.transitions, self.rewards)
        searched = self._search() if is_searched else (0.0, 0.0, 0.0)
        if self.transitions == "none":
            l_pop = self._of_rows()[2]
            k_mu = Constant(0.0, self.transitions_are_proven)
            l_pop = Constant(0.5 * l_pop.value, l_pop.is_exact and self.transitions_are_proven)
        elif self.transitions == "affine":
            assert self.points is not None
            k_mu = _largest_row_distance(self.points.transitions, self.rng)
            k_mu = Constant(0.5 * k_mu.value, k_mu.is_exact and self.transitions_are_proven)
            l_pop = _update_modulus(self.points.transitions, self.rng)
            l_pop = Constant(l_pop.value, l_pop.is_exact and self.transitions_are_proven)
        else:
            k_mu, l_pop = Constant(searched[0], False), Constant(searched[2], False)
        if self.rewards == "none":
            l_mu = Constant(0.0, self.rewards_are_proven)
        elif self.rewards == "affine":
            assert self.points is not None
            l_mu = Constant(0.5 * float(np.ptp(self.points.rewards, axis=0).max()), self.rewards_are_proven)
        else:
            l_mu = Constant(searched[1], False)
        return k_mu, l_mu, l_pop

    def _of_rows(self) -> tuple[Constant, Constant, Constant]:
        """K_s, K_a, and the largest distance of any two transition rows at one population.

        At a population these are norms of differences of P, so convex in the population where P is affine: the
        point populations attain them.
        """
        rows = self._where_it_matters("transitions")
        n, n_states, n_actions, _ = rows.shape
        by_action = np.moveaxis(rows, 2, 1).reshape(n * n_actions, n_states, n_states)
        by_state = rows.reshape(n * n_states, n_actions, n_states)
        every = rows.reshape(n, n_states * n_actions, n_states)
        found = [largest_distance(groups, self.rng) for groups in (by_action, by_state, every)]
        is_exact = self.transitions_are_proven
        k_s, k_a, both = (
            Constant(one.value, one.value >= FARTHEST or (one.is_exact and is_exact)) for one in found
        )
        return k_s, k_a, both

    def _of_rewards(self) -> tuple[Constant, Constant, Constant]:
        """L_s, L_a, and the span of rewards at one population, convex functions of affine rewards likewise."""
        earned = self._where_it_matters("rewards")
        spans = np.ptp(earned, axis=1), np.ptp(earned, axis=2), np.ptp(earned, axis=(1, 2))
        l_s, l_a, span = (Constant(float(one.max()), self.rewards_are_proven) for one in spans)
        return l_s, l_a, span

    def _where_it_matters(self, name: str) -> Array:
        """Tables at the populations at which the largest differences are looked for."""
        dependence = getattr(self, name)
        probes: Array = getattr(self.probes, name)
        if dependence == "none":
            return probes[:1]
        at_points: Array = probes if self.points is None else getattr(self.points, name)
        return at_points if dependence == "affine" else np.concatenate([probes, at_points])

    def _search(self) -> tuple[float, float, float]:
        """Lower estimates of K_mu, L_mu and L_pop,mu: the largest quotients found."""
        n_cells = n_affordable(self.induced, min(self.n_cells, MOST_CELLS), 2)
        left = self.budget - (0 if self.points is None else self.n_cells)
        n_bases = max(1, min(len(self.probes.populations), left // (n_cells * len(STEPS) * N_ROUNDS)))
        best, where = np.zeros(3), [self.probes.populations[0]] * 3
        for turn in range(N_ROUNDS):
            bases = random_populations(self.rng, self.induced, n_bases)
            for k in range(n_bases):
                if k % 2 == 0:
                    corner = np.zeros(self.n_cells)
                    corner[self.rng.integers(self.n_cells)] = 1.0
                    bases[k] = 0.99 * corner.reshape(bases[k].shape) + 0.01 * bases[k]
                elif turn > 0:
                    near = self.rng.choice(np.array([0.03, 0.3]))
                    bases[k] = (1.0 - near) * where[k % 3] + near * bases[k]
            for base in bases:
                for step in STEPS:
                    quotients = self._quotients(base, step, n_cells)
                    for which in range(3):
                        if quotients[which] > best[which]:
                            best[which], where[which] = quotients[which], base
        k_mu, l_mu, l_pop = (float(one) for one in best)
        return k_mu, l_mu, l_pop

    def _quotients(self, base: Array, step: float, n_cells: int) -> Array:
        """The largest quotients among populations in which a share ``step`` of one has moved to single cells."""
        cells = self.rng.choice(self.n_cells, n_cells, replace=False)
        moved = np.repeat((1.0 - step) * base.reshape(1, -1), n_cells, axis=0)
        moved[np.arange(n_cells), cells] += step
        moved /= moved.sum(axis=1, keepdims=True)
        found = tables(self.induced, moved.reshape(n_cells, *base.shape), self.time)
        quotients = np.zeros(3)
        if n_cells > 1:
            if self.transitions == "other":
                quotients[0] = _largest_row_distance(found.transitions, self.rng).value
                after = np.einsum("ksa,ksat->kt", found.populations, found.transitions)
                quotients[2] = pdist(after, "cityblock").max()
            quotients[1] = np.ptp(found.rewards, axis=0).max()
        return quotients / (2.0 * step)


def _largest_row_distance(transitions: Array, rng: np.random.Generator) -> Constant:
    """Largest l1 distance of P(. | s, a, mu) between two of k populations, for any (s, a); P is (k, S, A, S).

    Populations with equal tables are compared once.
    """
    different = {table.tobytes(): table for table in transitions}
    if len(different) < 2:
        return Constant(0.0, True)
    rows = np.moveaxis(np.stack(list(different.values())).reshape(len(different), -1, transitions.shape[-1]), 1, 0)
    return largest_distance(rows, rng)


def largest_distance(groups: Array, rng: np.random.Generator, farthest: float = FARTHEST) -> Constant:
    """Largest l1 distance of two rows of the same group, over all groups (n_groups, n_rows, S).

    No distance is larger than ``farthest``, so that the first one that reaches it ends the comparison.
    """
    n_rows = groups.shape[1]
    if n_rows < 2:
        return Constant(0.0, True)
    is_exact = n_rows <= MOST_ROWS
    if not is_exact:
        groups = groups[:, rng.choice(n_rows, MOST_ROWS, replace=False)]
    largest = 0.0
    if len(groups) > n_rows:
        distances = (np.abs(groups[:, :-k] - groups[:, k:]).sum(axis=-1).max() for k in range(1, n_rows))
    else:
        distances = (pdist(rows, "cityblock").max() for rows in groups)
    for distance in distances:
        largest = max(largest, float(distance))
        if largest >= farthest:
            return Constant(largest, True)
    return Constant(largest, is_exact)


def _update_modulus(at_points: Array, rng: np.random.Generator) -> Constant:
    """L_pop,mu where P is affine: P at the point populations has shape (SA, S, A, S).

    With mass moving from the cell y to x, Gamma(mu, pi) changes by P(x, mu) - P(y, mu) + sum_z mu(z) (P(z, e_x) -
    P(z, e_y)), times pi, which keeps l1 norms. That is affine in mu, and its norm largest at a point population
    e_z. So L_pop,mu = max_{x, y, z} ||f_z(x) - f_z(y)||_1 / 2 with f_z(x) = P(x, e_z) + P(z, e_x).
    """
    n, n_states = len(at_points), at_points.shape[-1]
    rows = at_points.reshape(n, n, n_states)  # [z, x]: P(. | x, e_z)
    found = largest_distance(rows + np.swapaxes(rows, 0, 1), rng, 2.0 * FARTHEST)
    return Constant(0.5 * found.value, found.is_exact)
