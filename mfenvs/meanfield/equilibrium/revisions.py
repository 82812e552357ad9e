"""Equilibria of games that end, by best responses of some states at a time.

Where some protect themselves today, others need not do so tomorrow, and the other way round. Best responses of
all states at once then overshoot for ever, and paths of smoothed equilibria fold. Such games have a great many
equilibria, and in most of them next to nobody mixes. A random walk finds one. In each round it computes the flow
of the policy and the optimal values in it. Some of the states in which the policy loses, drawn at random, take
their best actions, and all others keep what they do.

Where no state loses, the policy is an equilibrium. From any policy from which a sequence of such revisions leads
to one, the walk gets there with probability 1. That is known of weakly acyclic games, as best responses with
inertia; here the decisions at all times and states are the players [O]. The walk never ends where an equilibrium
needs mixtures that the first policy does not have.

References
----------
H. P. Young, "The evolution of conventions", Econometrica 61, 57-84 (1993).

J. R. Marden, G. Arslan and J. S. Shamma, "Joint strategy fictitious play with inertia for potential games", IEEE
Trans. Autom. Control 54, 208-220 (2009).
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.meanfield.dynamic_programming import best_response_kernel
from mfenvs.meanfield.induced import InducedGame

Array = NDArray[np.float64]

ROUNDING = 1e-14
"""Losses up to this share of the largest value are none."""
BETTER = 0.5
"""A policy is worth a certificate if it loses at most this share of what the last one lost that was."""


def can_revise(induced: InducedGame) -> bool:
    """Whether a game ends, and its tables of all times fit into memory."""
    return not induced.game.is_infinite and not induced.recomputes_tables


def revise(
    induced: InducedGame, start: Array, tolerance: float, rng: np.random.Generator
) -> Iterator[Array | None]:
    """Let states revise what they do, and yield policies (T, S, A) that lose ever less; None after other rounds.

    The square root of the number of states that lose is the number of those that revise in a round [O]: one at a
    time takes more rounds, and a constant share of all does not always come to rest. The iteration ends after a
    policy that loses nothing.

    Parameters
    ----------
    induced:
        A game for which :func:`can_revise` holds.
    start:
        The first policy, shape (T, S, A).
    tolerance:
        Losses that need no revision: of all states together, for an agent of any population, >= 0.
    rng:
        Random numbers of who revises.
    """
    game, policy = induced.game, start.copy()
    arrays = induced.flow_arrays()
    q, response, losses = np.empty(policy.shape), np.empty(policy.shape), np.empty(policy.shape[:2])
    least_share = min(
        float(induced.initial[game.population_of_state == p].sum()) for p in range(game.n_populations)
    )
    bearable, least = tolerance * least_share / losses.size, math.inf
    by_state, best_by_state = policy.reshape(-1, policy.shape[2]), response.reshape(-1, policy.shape[2])
    while True:
        _, arrays = induced.filled(lambda tables: induced.kernels.flow(policy, tables), arrays)
        problem = arrays.transitions, arrays.successors, arrays.rewards, induced.allowed, 0.0, arrays.discount
        best_response_kernel(*problem, q, arrays.values, response)
        largest = write_losses(policy, arrays.mu, q, losses)
        losing = np.flatnonzero(losses > max(bearable, ROUNDING * largest))
        total = float(losses.sum())
        if len(losing) == 0 or total <= BETTER * least:
            least = total
            yield policy
        else:
            yield None
        if len(losing) == 0:
            return
        revising = rng.choice(losing, math.isqrt(len(losing) - 1) + 1, replace=False)
        by_state[revising] = best_by_state[revising]


@kernel
def write_losses(policy: Any, population: Any, q: Any, losses: Any) -> Any:
    """Write what every state loses against its best action, times its mass, (T, S); return the largest value.

    Over all times and states these losses sum to the exploitability of the policy whose flow ``population`` is,
    as ``q`` are optimal values in it (Kakade & Langford, "Approximately optimal approximate reinforcement
    learning", ICML 2002, Lemma 6.1).
    """
    horizon, n_states, n_actions = policy.shape
    largest = 0.0
    for h in range(horizon):
        for s in range(n_states):
            best = q[h, s, 0]
            for a in range(n_actions):
                best = max(best, q[h, s, a])
            loss = 0.0
            for a in range(n_actions):
                if population[h, s, a] > 0.0:
                    loss += population[h, s, a] * (best - q[h, s, a])
            losses[h, s] = loss
            largest = max(largest, abs(best))
    return largest
