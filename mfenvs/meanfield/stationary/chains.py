"""Recurrent classes of a Markov chain, and the limit of its powers."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]

POSSIBLE = 1e-12
"""Probability below which a transition counts as impossible."""


def recurrent_classes(moves: Array) -> list[NDArray[np.intp]]:
    """Find the recurrent classes of a transition matrix (S, S): sets of states that are never left.

    Returns
    -------
    The states of every class, in the order of their first states.
    """
    linked = moves > POSSIBLE
    n_classes, owner = connected_components(csr_array(linked), directed=True, connection="strong")
    is_left = np.zeros(n_classes, bool)
    origin, goal = np.nonzero(linked)
    is_left[owner[origin[owner[origin] != owner[goal]]]] = True
    found = [np.flatnonzero(owner == k) for k in np.flatnonzero(~is_left)]
    return sorted(found, key=lambda members: int(members[0]))


def limit_matrix(moves: Array, classes: list[NDArray[np.intp]]) -> Array:
    """Compute P* = lim (1 / n) sum_t P^t: where the chain ends from every state, shape (S, S).

    ``classes`` are its :func:`recurrent_classes`.
    """
    n_states = len(moves)
    limit = np.zeros((n_states, n_states))
    transient = np.setdiff1d(np.arange(n_states), np.concatenate(classes))
    system = np.eye(len(transient)) - moves[np.ix_(transient, transient)]
    for members in classes:
        size = len(members)
        within = np.eye(size) - moves[np.ix_(members, members)]
        law = np.linalg.solve(within.T + 1.0 / size, np.full(size, 1.0 / size))
        limit[np.ix_(members, members)] = law
        entered = np.linalg.solve(system, moves[np.ix_(transient, members)].sum(axis=1))
        limit[np.ix_(transient, members)] = entered[:, None] * law
    return limit
