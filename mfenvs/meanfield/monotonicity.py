"""Monotonicity of an induced mean-field game, and whether its rewards have a potential.

A game is monotone (Yardim & He, arXiv 2408.15173, Definition 10) if P does not depend on the population and

    <mu - mu', R(mu) - R(mu')> <= 0

for all populations mu, mu'. [R] The paper prints < 0; its proofs (Lemma 12) and its references need <= 0, and with
< 0 no game whose reward ignores part of the population would be monotone. Results say whether it is strict.

Two domains are meant in practice: all populations mu on S x A, as Definition 10 says ("free" populations), and the
flows of policies, the only populations that the proofs compare; there the pairing is summed over time steps.

The pairing of two populations is the integral of the quadratic form <d, DR d> along the segment between them, with
d = mu - mu' and DR the derivative of the rewards. So the game is monotone if and only if the largest eigenvalue of
the symmetrised derivative, on the domain's tangent space, is nowhere positive. Where rewards are proven to be
affine in the population (:mod:`mfenvs.meanfield.dependence`) the derivative is constant and the eigenvalue is a
certificate. If it is positive, its eigenvector gives two populations with a positive pairing.

Rewards have a potential (they are the gradient of a function of the population) if and only if the derivative is
symmetric on the tangent space: the one-form <R, dmu> is closed, and the domain is convex.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, helmert, qr

from mfenvs import checks
from mfenvs.game import MAX_SEED
from mfenvs.meanfield.dependence import proven_dependences, times_that_matter
from mfenvs.meanfield.induced import InducedGame, refuse_fixed_masses
from mfenvs.meanfield.probing import (
    MOST_TABLES,
    MOST_WORK,
    N_KINDS,
    is_affine,
    is_constant,
    n_affordable,
    point_populations,
    random_populations,
)

Array = NDArray[np.float64]

Method = Literal["certificate", "sampled derivatives", "sampled pairs"]

MOST_DIMENSIONS = 1200
"""Largest number of coordinates (of all time steps) whose eigenvalues are computed."""
MOST_EIGENVALUE_WORK = 4e9
"""Largest number of derivatives times the cube of their size."""
N_PAIRS = 200
"""Number of random pairs whose pairings are tried where no eigenvalues are computed."""
STEP = 1e-6
"""Share of the population that is moved to a cell for a difference quotient."""
DEPENDENT = 1e-5
"""Size up to which a constraint on flows follows from the others. Rows of probabilities in single precision do not
sum to 1 exactly."""
EXACT, DIFFERENCED = 1e-9, 1e-4
"""Relative tolerances of results from exact derivatives, and from difference quotients."""


@dataclasses.dataclass(frozen=True)
class CounterExample:
    """Two populations, or flows, with a positive pairing."""

    one: Array
    """Shape (S, A); of flows (T, S, A)."""
    other: Array
    """Of the same shape."""
    pairing: float
    """<one - other, R(one) - R(other)>, summed over time steps: > 0."""
    time: int | None
    """The time step whose rewards were taken; None for flows."""


@dataclasses.dataclass(frozen=True)
class Monotonicity:
    """Whether an induced game is monotone, and why."""

    along_flows: bool
    """Whether the flows of policies were compared; else all populations."""
    transitions_depend: bool
    """Whether P was seen to depend on the population: then the game is not monotone, whatever its rewards."""
    transitions_are_certain: bool
    """Whether P is for certain as ``transitions_depend`` says: seen to depend, or proven not to."""
    method: Method
    """``certificate``: rewards are proven to be affine in the population, and ``largest_eigenvalue`` is exact.
    ``sampled derivatives``: it is the largest at the populations that were tried. ``sampled pairs``: it is the
    largest pairing found, divided by the squared l2 distance: a lower estimate."""
    largest_eigenvalue: float
    """Largest eigenvalue of the symmetrised derivative of the rewards on the tangent space."""
    tolerance: float
    """Eigenvalues within this distance of 0 count as 0."""
    counter_example: CounterExample | None
    """Two populations with a positive pairing, if any were found."""
    asymmetry: float | None
    """Norm of the antisymmetric part of the derivative on the tangent space, the largest found, relative to the
    derivative's; None if no derivatives were computed."""
    is_potential: bool | None
    """Whether the derivative is symmetric, so that the rewards have a potential; from difference quotients at
    the populations tried unless the method is ``certificate``. None if no derivatives were computed."""
    n_populations: int
    """Number of populations, or pairs of them, that were tried; 1 for a certificate."""

    @property
    def is_monotone(self) -> bool | None:
        """Whether the game is monotone (with <= 0); None if nothing speaks against it, but it is not certain."""
        if self.transitions_depend or self.counter_example is not None:
            return False
        return True if self.method == "certificate" and self.transitions_are_certain else None

    @property
    def is_strict(self) -> bool | None:
        """Whether it is strictly monotone, as Definition 10 is printed; None if that is not certain."""
        if self.is_monotone is False or self.largest_eigenvalue >= -self.tolerance:
            return False
        return self.is_monotone

    def __str__(self) -> str:
        where = "along flows" if self.along_flows else "over all populations"
        found = f"largest eigenvalue {self.largest_eigenvalue:.4g}, {self.method}"
        if self.transitions_depend:
            rewards = "its rewards alone would not be, either" if self.counter_example else "whatever its rewards"
            return f"not monotone {where}: the transitions depend on the population ({rewards}; {found})"
        if self.counter_example is not None:
            return f"not monotone {where}: a pairing of {self.counter_example.pairing:.4g} > 0 ({found})"
        if self.is_monotone:
            return f"{'strictly ' if self.is_strict else ''}monotone {where} ({found})"
        return f"no counter-example {where} ({found} of {self.n_populations})"

    def summary(self) -> dict[str, Any]:
        """The results without the populations, as a dict for JSON."""
        kept = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "counter_example"
        }
        pairing = None if self.counter_example is None else self.counter_example.pairing
        return kept | {
            "positive_pairing": pairing,
            "is_monotone": self.is_monotone,
            "is_strict": self.is_strict,
            "verdict": str(self),
        }


def monotonicity(
    induced: InducedGame, *, along_flows: bool = False, n_populations: int = 8, seed: int = 0
) -> Monotonicity:
    """Find out whether an induced game is monotone, and whether its rewards have a potential.

    Parameters
    ----------
    induced:
        The mean-field game. In an infinite game the flows of policies are stationary laws.
    along_flows:
        Whether to compare the flows of policies only; by default all populations, at every time step. Where the
        transitions depend on the population, the flows of random policies are compared.
    n_populations:
        Number of populations at which derivatives are taken where rewards are not affine, at least 1; fewer in
        large games.
    seed:
        Random seed of the populations and policies, an integer in [0, 2^64 - 1].

    Returns
    -------
    A certificate, a counter-example, or the largest eigenvalue found where neither can be had.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or the game's rules return bad values at one of the populations.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 10 and Lemma 12.
    """
    if not isinstance(induced, InducedGame):
        raise TypeError(f"induced must be an InducedGame, got {checks.shown(induced)}")
    refuse_fixed_masses(induced, "monotonicity")
    along_flows = checks.boolean("along_flows", along_flows)
    n_populations = checks.integer("n_populations", n_populations, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, MAX_SEED))
    search = _Search(induced, along_flows, rng)
    n_coordinates = search.n_cells * (induced.n_times if along_flows else 1)
    if n_coordinates > MOST_DIMENSIONS or (along_flows and search.transitions_depend):
        return search.by_pairs()
    return search.by_derivatives(n_populations)


class _Search:
    def __init__(self, induced: InducedGame, along_flows: bool, rng: np.random.Generator) -> None:
        self.induced, self.along_flows, self.rng = induced, along_flows, rng
        self.n_cells = induced.n_states * induced.n_actions
        self.probes = random_populations(rng, induced, n_affordable(induced, 12))
        self.times = times_that_matter(induced.game)
        """The time steps with rules of their own: the first one only, if the rules do not read the time."""
        self.proof = proven_dependences(induced.game, in_mean_field=True)
        self.transitions_depend, self.transitions_are_certain = self._of_transitions()

    def _of_transitions(self) -> tuple[bool, bool]:
        """Whether P depends on the population, and whether that is certain."""
        if self.proof.transitions == "none":
            return False, True
        if self.proof.transitions == "affine" and self._can_afford_points():
            # What is affine is constant if it is so at the point populations.
            return self._differ(point_populations(self.induced), self.times), True
        some_times = sorted({self.times[0], self.times[len(self.times) // 2], self.times[-1]})
        they_depend = self._differ(self.probes, some_times)
        return they_depend, they_depend

    def _differ(self, populations: Array, times: Sequence[int]) -> bool:
        """Whether P at one of the populations is not that at the first."""
        for time in times:
            first = self.induced.arrays(populations[0], time)[0]
            for mu in populations[1:]:
                if not is_constant(np.stack([first, self.induced.arrays(mu, time)[0]])):
                    return True
        return False

    def by_derivatives(self, n_populations: int) -> Monotonicity:
        """Eigenvalues of the symmetrised derivative at one population (if constant), or at several."""
        slopes = self._constant_derivatives()
        blocks, n_affordable_bases = self._affordable(n_populations)
        is_certain = slopes is not None and self.proof.rewards != "unknown" and len(blocks) == len(self._blocks())
        bases = [self._base(is_uniform=k == 0) for k in range(1 if slopes is not None else n_affordable_bases)]
        basis = self._basis()
        tolerance = EXACT if slopes is not None else DIFFERENCED
        best, scale, antisymmetric, example = -np.inf, 0.0, 0.0, None
        for base in bases:
            for times in blocks:
                block = [
                    slopes[time] if slopes is not None else self._derivative(base[time], time) for time in times
                ]
                form = self._restricted(block, basis)
                if not form.size:
                    best = max(best, 0.0)
                    continue
                n = len(form) - 1
                values, vectors = eigh(0.5 * (form + form.T), subset_by_index=[n, n])
                scale = max(scale, float(np.linalg.norm(form)))
                antisymmetric = max(antisymmetric, 0.5 * float(np.linalg.norm(form - form.T)))
                best = max(best, float(values[0]))
                if example is None and values[0] > tolerance * max(1.0, scale):
                    direction = (basis @ vectors[:, 0]).reshape(len(times), *base.shape[1:])
                    example = self._counter_example(base, times, direction)
        threshold = tolerance * max(1.0, scale)
        asymmetry = antisymmetric / scale if scale > threshold else 0.0
        return Monotonicity(
            along_flows=self.along_flows,
            transitions_depend=self.transitions_depend,
            transitions_are_certain=self.transitions_are_certain,
            method="certificate" if is_certain else "sampled derivatives",
            largest_eigenvalue=best,
            tolerance=threshold,
            counter_example=example,
            asymmetry=asymmetry,
            is_potential=asymmetry <= 10.0 * tolerance,
            n_populations=len(bases),
        )

    def _blocks(self) -> list[range]:
        """Times whose rewards are paired together: those of a flow, or every one with rules of its own."""
        if self.along_flows:
            return [range(self.induced.n_times)]
        return [range(time, time + 1) for time in self.times]

    def _affordable(self, n_populations: int) -> tuple[list[range], int]:
        """The blocks and the number of populations for which eigenvalues are computed."""
        blocks, size = self._blocks(), self.n_cells * (self.induced.n_times if self.along_flows else 1)
        n_forms = max(1, int(MOST_EIGENVALUE_WORK / size**3))
        if len(blocks) > n_forms:
            blocks = [blocks[k] for k in np.linspace(0, len(blocks) - 1, n_forms).astype(int)]
        return blocks, min(n_populations, max(1, n_forms // len(blocks)))

    def _constant_derivatives(self) -> list[Array] | None:
        """The derivative of every time step, (SA, SA), if rewards are affine in the population, else None.

        Its columns are the rewards at the point populations: on directions of sum 0 that is the derivative.
        """
        if not self._can_afford_points():
            return None
        found = []
        for time in self.times:
            at_points, at_probes = (
                np.stack([self.induced.arrays(mu, time)[1] for mu in populations])
                for populations in (point_populations(self.induced), self.probes)
            )
            if not is_affine(at_points, self.probes, at_probes):
                return None
            found.append(at_points.reshape(self.n_cells, self.n_cells).T)
        return found if len(found) == self.induced.n_times else found * self.induced.n_times

    def _can_afford_points(self) -> bool:
        """Whether tables at all point populations and at the probes, at all times, are not too much work."""
        entries = self.n_cells * (self.induced.n_states + 1)
        n_tables = (self.n_cells + len(self.probes)) * len(self.times)
        return n_tables <= MOST_TABLES and n_tables * entries <= MOST_WORK

    def _derivative(self, mu: Array, time: int) -> Array:
        """The derivative of the rewards at a population, (SA, SA), on directions of sum 0, by differences."""
        here = self.induced.arrays(mu, time)[1].ravel()
        columns = np.empty((self.n_cells, self.n_cells))
        for cell in range(self.n_cells):
            moved = (1.0 - STEP) * mu
            moved.ravel()[cell] += STEP
            columns[:, cell] = (self.induced.arrays(moved, time)[1].ravel() - here) / STEP
        return columns

    def _base(self, *, is_uniform: bool) -> Array:
        """A population for every time step within the domain, and not on its border, (T, S, A)."""
        shape = self.induced.policy_shape
        if self.along_flows:
            policy = np.full(shape, 1.0) if is_uniform else self.rng.exponential(size=shape) + 1e-3
            return self.induced.flow(policy / policy.sum(axis=-1, keepdims=True)).mu
        if is_uniform:
            return np.full(shape, 1.0 / self.n_cells)
        mu = random_populations(self.rng, self.induced, shape[0])
        return 0.99 * mu + 0.01 / self.n_cells

    def _basis(self) -> Array:
        """An orthonormal basis of the tangent space of the domain, shape (n_times * SA, dimension)."""
        if not self.along_flows:
            return np.ascontiguousarray(helmert(self.n_cells).T) if self.n_cells > 1 else np.zeros((1, 0))
        flow = self.induced.flow(self.induced.uniform_policy()).dense()
        reached = np.repeat((flow.mu.sum(axis=2) > 0.0)[:, :, None], self.induced.n_actions, axis=2).ravel()
        constraints = self._constraints(flow.transitions)[:, reached]
        q, r, _ = qr(constraints.T, pivoting=True)
        sizes = np.abs(np.diag(r))
        rank = int((sizes > DEPENDENT * max(1.0, sizes.max(initial=0.0))).sum())
        basis = np.zeros((len(reached), q.shape[1] - rank))
        basis[reached] = q[:, rank:]
        return basis

    def _constraints(self, transitions: Array) -> Array:
        """What differences of flows satisfy: what leaves a state came to it, shape (n_times * S, n_times * SA)."""
        n_times, n_states, n_actions = self.induced.policy_shape
        rows = np.zeros((n_times, n_states, n_times, n_states, n_actions))
        for h in range(n_times):
            for s in range(n_states):
                rows[h, s, h, s, :] = 1.0
                before = h if self.induced.game.is_infinite else h - 1
                if before >= 0:
                    rows[h, s, before] -= transitions[before, :, :, s]
        found = rows.reshape(n_times * n_states, -1)
        if self.induced.game.is_infinite:
            found = np.concatenate([found, np.ones((1, found.shape[1]))])
        return found

    def _restricted(self, block: list[Array], basis: Array) -> Array:
        """The derivatives of the block's times as one form on the tangent space."""
        form = np.zeros((basis.shape[1], basis.shape[1]))
        for k, slope in enumerate(block):
            part = basis[k * self.n_cells : (k + 1) * self.n_cells]
            form += part.T @ slope @ part
        return form

    def _counter_example(self, base: Array, times: range, direction: Array) -> CounterExample | None:
        """Two populations around the base in a direction of positive form, as far apart as it stays positive."""
        here = base[times.start : times.stop]
        room = np.min(here[direction != 0.0] / np.abs(direction[direction != 0.0]))
        for share in (0.9, 0.1, 0.01):
            pair = [np.maximum(here + sign * share * room * direction, 0.0) for sign in (1.0, -1.0)]
            one, other = (mu / mu.sum(axis=(1, 2), keepdims=True) for mu in pair)
            found = self._paired(one, other, times)
            if found is not None:
                return found
        return None

    def _paired(self, one: Array, other: Array, times: range) -> CounterExample | None:
        """The two as a counter-example, if their pairing is positive beyond rounding."""
        pairing, size = 0.0, 0.0
        for k, time in enumerate(times):
            earned = [self.induced.arrays(mu[k], time)[1] for mu in (one, other)]
            terms = (one[k] - other[k]) * (earned[0] - earned[1])
            pairing += float(terms.sum())
            size += float(np.abs(terms).sum()) + 1e-14 * float(np.abs(earned[0]).max()) * np.abs(one - other).sum()
        if pairing <= EXACT * size or pairing <= 0.0:
            return None
        if self.along_flows:
            return CounterExample(one, other, pairing, None)
        return CounterExample(one[0], other[0], pairing, times.start)

    def by_pairs(self) -> Monotonicity:
        """The largest pairing of random pairs over their squared distance."""
        domain = range(self.induced.n_times) if self.along_flows else self.times
        entries = self.n_cells * (self.induced.n_states + 1) * (len(domain) if self.along_flows else 1)
        n_pairs = max(3, min(N_PAIRS, MOST_WORK // (2 * entries)))
        best, example, scale = -np.inf, None, 1.0
        for pair in range(n_pairs):
            first = domain[0] if self.along_flows else domain[pair % len(domain)]
            times = range(first, domain[-1] + 1 if self.along_flows else first + 1)
            one, other = (self._drawn(times) for _ in range(2))
            square = float(np.square(one[0] - other[0]).sum())
            if square == 0.0:
                continue
            difference = one[1] - other[1]
            scale = max(scale, float(np.abs(difference).max()))
            quotient = float(((one[0] - other[0]) * difference).sum()) / square
            best = max(best, quotient)
            if quotient > EXACT * scale and (example is None or quotient >= best):
                found = self._paired(one[0], other[0], times)
                example = example if found is None else found
        return Monotonicity(
            along_flows=self.along_flows,
            transitions_depend=self.transitions_depend,
            transitions_are_certain=self.transitions_are_certain,
            method="sampled pairs",
            largest_eigenvalue=best,
            tolerance=EXACT * scale,
            counter_example=example,
            asymmetry=None,
            is_potential=None,
            n_populations=n_pairs,
        )

    def _drawn(self, times: range) -> tuple[Array, Array]:
        """A random population of the domain and its rewards, (n_times, S, A) each."""
        if self.along_flows:
            policy = self.rng.dirichlet(np.ones(self.induced.n_actions), self.induced.policy_shape[:2])
            flow = self.induced.flow(policy)
            return flow.mu, flow.rewards
        mu = random_populations(self.rng, self.induced, N_KINDS)[self.rng.integers(N_KINDS)]
        return mu[None], self.induced.arrays(mu, times.start)[1][None]
