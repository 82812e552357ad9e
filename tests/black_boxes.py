"""Games of explicit others for tests: random tables, and Definition 6 by its words."""

import itertools

import numpy as np

from mfenvs.meanfield.black_box import BlackBoxGame


def random_tables(
    rng: np.random.Generator, n: int, n_states: int, n_actions: int
) -> tuple[np.ndarray, np.ndarray]:
    """P (N, S, A, pairs of the first other, ..., of the last, S) and R without the last axis."""
    shape = (n, n_states, n_actions) + (n_states * n_actions,) * (n - 1)
    return rng.dirichlet(np.ones(n_states), size=shape), rng.random(shape)


def from_tables(p: np.ndarray, r: np.ndarray, **terms) -> BlackBoxGame:
    n, n_states, n_actions = p.shape[:3]

    def index(i, s, a, others):
        return i, s, a, *(int(t) * n_actions + int(b) for t, b in others)

    return BlackBoxGame(
        lambda i, s, a, others: p[index(i, s, a, others)],
        lambda i, s, a, others: r[index(i, s, a, others)],
        **{"n_agents": n, "n_states": n_states, "n_actions": n_actions, "horizon": 3, **terms},
    )


def definition_6(p: np.ndarray, r: np.ndarray) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """The induced P and R at every multiset of the others, by all K! permutations and an explicit mean."""
    n, pairs = len(p), p.shape[1] * p.shape[2]
    table = {}
    for others in itertools.combinations_with_replacement(range(pairs), n - 1):
        orders = list(itertools.permutations(others))
        rows = [p[(i, slice(None), slice(None), *order)] for i in range(n) for order in orders]
        rewards = [r[(i, slice(None), slice(None), *order)] for i in range(n) for order in orders]
        table[others] = np.mean(rows, axis=0), np.mean(rewards, axis=0)
    return table


def definition_7(p: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """alpha and beta of every agent, by all joint vectors of the others."""
    n, pairs = len(p), p.shape[1] * p.shape[2]
    induced, alpha, beta = definition_6(p, r), np.zeros(n), np.zeros(n)
    for others in itertools.product(range(pairs), repeat=n - 1):
        rows, rewards = induced[tuple(sorted(others))]
        for i in range(n):
            own = (i, slice(None), slice(None), *others)
            alpha[i] = max(alpha[i], np.abs(p[own] - rows).sum(axis=-1).max())
            beta[i] = max(beta[i], np.abs(r[own] - rewards).max())
    return alpha, beta
