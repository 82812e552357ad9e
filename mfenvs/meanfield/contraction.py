"""Estimates of the Lipschitz moduli of the three-step fixed-point iteration."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.meanfield.induced import InducedGame, refuse_public_tree
from mfenvs.meanfield.responses import respond

Array = NDArray[np.float64]

DISTANCES = (1.0, 0.1, 0.01, 0.001)
"""Distances between the members of a random pair, as a share of the way from one random point to another."""


@dataclasses.dataclass(frozen=True)
class ContractionModuli:
    """Lower estimates of the Lipschitz moduli of Gamma_1 and Gamma_2: the largest ratios found.

    If d1 d2 + d3 < 1, then Gamma_2(Gamma_1(L), L) contracts, the equilibrium is unique and the three-step
    iteration converges to it. As the estimates are from below, they can refute the condition but not prove it.

    References
    ----------
    Guo, Hu, Xu & Zhang, "Learning Mean-Field Games", arXiv 1901.09585.
    """

    d1: float
    """Modulus of the map L -> Gamma_1(L) from populations to the policies that answer them."""
    d2: float
    """Modulus of the map pi -> Gamma_2(pi, L) from policies to next populations."""
    d3: float
    """Modulus of the map L -> Gamma_2(pi, L) from populations to next populations."""
    n_pairs: int
    """Number of random pairs that were tried for each modulus."""

    @property
    def modulus(self) -> float:
        """The modulus d1 d2 + d3 of the whole iteration."""
        return self.d1 * self.d2 + self.d3

    @property
    def may_contract(self) -> bool:
        """Whether the estimated d1 d2 + d3 is below 1, so that the iteration may contract."""
        return self.modulus < 1.0


def contraction_moduli(
    induced: InducedGame, inverse_temperature: float = np.inf, *, n_pairs: int = 32, seed: int = 0
) -> ContractionModuli:
    """Estimate the Lipschitz moduli of the three-step iteration by trying random pairs.

    Populations are compared in total variation (the l1 Wasserstein distance for the discrete metric), the largest
    over times; policies likewise, the largest over times and states [O on the metric].

    Parameters
    ----------
    induced:
        The mean-field game.
    inverse_temperature:
        Inverse temperature c > 0 of the response softmax_c(Q*_L). Infinity stands for argmax-e, which is not
        Lipschitz: the nearer the pairs, the larger its d1.
    n_pairs:
        Number of random pairs for each modulus, at least 1.
    seed:
        Random seed of the pairs, an integer >= 0.

    Returns
    -------
    The estimated moduli.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    if not isinstance(induced, InducedGame):
        raise TypeError(f"induced must be an InducedGame, got {induced!r}")
    refuse_public_tree(induced, "contraction_moduli")
    n_pairs = checks.integer("n_pairs", n_pairs, 1)
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    d1 = d2 = d3 = 0.0
    for pair in range(n_pairs):
        distance = DISTANCES[pair % len(DISTANCES)]
        here, there = (_with_shares(induced, law) for law in _random_pair(rng, induced, distance))
        policy, other = (law / law.sum(axis=-1, keepdims=True) for law in _random_pair(rng, induced, distance))
        apart, tables_apart = _populations_apart(here, there), _policies_apart(policy, other)
        answers = (respond(induced.optimal_q(induced.frozen(law)), inverse_temperature) for law in (here, there))
        after = induced.next_population(policy, here)
        d1 = max(d1, _policies_apart(*answers) / apart)
        d2 = max(d2, _populations_apart(after, induced.next_population(other, here)) / tables_apart)
        d3 = max(d3, _populations_apart(after, induced.next_population(policy, there)) / apart)
    return ContractionModuli(d1, d2, d3, n_pairs)


def _random_pair(rng: np.random.Generator, induced: InducedGame, distance: float) -> tuple[Array, Array]:
    """Two random populations (T, S, A); the second lies a share ``distance`` of the way to a third one."""
    size = induced.n_states * induced.n_actions
    first, goal = rng.dirichlet(np.ones(size), (2, induced.n_times)).reshape(2, *induced.policy_shape)
    return first, (1.0 - distance) * first + distance * goal


def _with_shares(induced: InducedGame, laws: Array) -> Array:
    """Populations (T, S, A) with the mass of each population of the game changed to its share."""
    n, whose = induced.game.n_populations, induced.game.population_of_state
    if n == 1:
        return laws
    shares = np.bincount(whose, induced.initial, n)
    masses = np.stack([np.bincount(whose, law, n) for law in laws.sum(axis=-1)])
    found: Array = laws * (shares / masses)[:, whose, None]
    return found


def _populations_apart(one: Array, other: Array) -> float:
    return 0.5 * float(np.abs(one - other).sum(axis=(1, 2)).max())


def _policies_apart(one: Array, other: Array) -> float:
    return 0.5 * float(np.abs(one - other).sum(axis=-1).max())
