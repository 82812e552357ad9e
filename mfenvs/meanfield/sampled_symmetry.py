"""Lower estimates of alpha and beta of a black box that is too large to be enumerated, with standard errors.

At a point of the lattice the induced game's P and R are means over all orders of the others, and over the agents;
here the orders are sampled. The norm of a difference from an estimated mean would be biased upwards, and so would
be the largest of many. Therefore the point, the order, the agent, its state and action, and the signs u of the
difference are chosen with some permutations, and then <u, P^i - P> <= ||P^i - P||_1 is estimated with others.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.meanfield.black_box import BlackBoxGame
from mfenvs.meanfield.lattice import Counts, in_order
from mfenvs.meanfield.lattice_search import search_lattice
from mfenvs.meanfield.symmetrisation import Estimates

Array = NDArray[np.float64]

PERMUTATIONS_OF_SEARCH = 8
"""Number of permutations with which a point of the search is judged."""


@dataclasses.dataclass(frozen=True)
class SampledPart:
    """The estimate of alpha, or of beta."""

    value: float
    standard_error: float
    agent: int
    state: int
    action: int
    others: Counts
    """Where it was found: others as counts, shape (S, A)."""
    of_agent: Array
    """Every agent's estimated distance from the induced game, at least 0, for that order of the others, (N,)."""


@dataclasses.dataclass(frozen=True)
class SampledSymmetry:
    """The results of :func:`sample_symmetry`."""

    transitions: SampledPart
    rewards: SampledPart
    n_points: int


def sample_symmetry(
    game: BlackBoxGame, n_points: int, n_permutations: int, rng: np.random.Generator
) -> SampledSymmetry:
    """Search for points where a black box is asymmetric, and estimate its asymmetry there.

    Parameters
    ----------
    game:
        The game. It is evaluated about (16 n_points + 2 n_permutations) N |S| |A| times.
    n_points:
        Number of points of the lattice that are searched.
    n_permutations:
        Number of permutations with which the points that were found are evaluated, at least 2.
    rng:
        Source of randomness.
    """
    search = _Search(game, rng)
    search_lattice(search.evaluate, game.n_pairs, game.n_others, range(1), n_points, rng)
    parts = [_measured(game, best, which, n_permutations, rng) for which, best in enumerate(search.best)]
    return SampledSymmetry(parts[0], parts[1], search.n_points)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    value: float
    order: NDArray[np.int64]
    agent: int
    own: Array
    """What is compared, for this order, of every agent: rows (N, S, A, S) or rewards (N, S, A, 1)."""
    mean: Array
    """The induced game's, estimated with the permutations of the search, (S, A, S) or (S, A, 1)."""


class _Search:
    def __init__(self, game: BlackBoxGame, rng: np.random.Generator) -> None:
        self.game, self.rng, self.n_points = game, rng, 0
        self.best: list[Any] = [None, None]

    def evaluate(self, counts: Counts, time: int) -> tuple[float, float]:
        self.n_points += 1
        ordered = in_order(counts)
        orders = [self.rng.permutation(ordered) for _ in range(PERMUTATIONS_OF_SEARCH)]
        values = []
        own = _responses(self.game, orders)
        means = _means(self.game, ordered, PERMUTATIONS_OF_SEARCH, self.rng)
        for which, tables in enumerate(own):
            mean = means[which].mean(axis=0)
            distances = np.abs(tables - mean).sum(axis=-1)
            k, agent = (int(j) for j in np.unravel_index(distances.argmax(), distances.shape)[:2])
            values.append(float(distances.max()))
            if self.best[which] is None or values[which] > self.best[which].value:
                self.best[which] = _Candidate(values[which], orders[k], agent, tables[k], mean)
        return values[0], values[1]


def _responses(game: BlackBoxGame, orders: list[NDArray[np.int64]]) -> tuple[Array, Array]:
    """Rows (n_orders, N, S, A, S) and rewards (n_orders, N, S, A, 1) of all agents for some orders of others."""
    shape = len(orders), game.n_agents, game.n_states, game.n_actions
    rows, rewards = np.empty((*shape, game.n_states)), np.empty((*shape, 1))
    for k, order in enumerate(orders):
        for agent in range(game.n_agents):
            rows[k, agent], rewards[k, agent, ..., 0] = game.responses(agent, order)
    return rows, rewards


def _means(
    game: BlackBoxGame, order: NDArray[np.int64], n_samples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Independent samples of P (n_samples, S, A, S) and R (n_samples, S, A, 1) at the point of some others.

    Each is the mean over agents of their rules, every one with a permutation of its own.
    """
    shape = n_samples, game.n_states, game.n_actions
    rows, rewards = np.zeros((*shape, game.n_states)), np.zeros((*shape, 1))
    for m in range(n_samples):
        for agent in range(game.n_agents):
            own = game.responses(agent, rng.permutation(order))
            rows[m] += own[0] / game.n_agents
            rewards[m, ..., 0] += own[1] / game.n_agents
    return rows, rewards


def _measured(
    game: BlackBoxGame, found: _Candidate, which: int, n_permutations: int, rng: np.random.Generator
) -> SampledPart:
    """Estimate the distances of all agents from the mean, with permutations that the search did not see."""
    samples = _means(game, found.order, n_permutations, rng)[which]
    differences = found.own - found.mean
    pairs = np.abs(differences).sum(axis=-1).reshape(game.n_agents, -1).argmax(axis=1)
    states, actions = np.divmod(pairs, game.n_actions)
    everyone = np.arange(game.n_agents)
    signs = np.sign(differences[everyone, states, actions])
    own = (signs * found.own[everyone, states, actions]).sum(axis=-1)
    means = np.einsum("md,mnd->nm", signs, samples[:, states, actions].swapaxes(0, 1))
    estimates = Estimates.of(own - means)
    return SampledPart(
        value=float(estimates.value[found.agent]),
        standard_error=float(estimates.standard_error[found.agent]),
        agent=found.agent,
        state=int(states[found.agent]),
        action=int(actions[found.agent]),
        others=np.bincount(found.order, minlength=game.n_pairs).reshape(game.n_states, game.n_actions),
        of_agent=np.maximum(estimates.value, 0.0),
    )
