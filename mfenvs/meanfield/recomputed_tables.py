"""Values in the flow of a policy without its tables of transitions, of which one at a time is in memory.

A game with 10^5 states has tables of gigabytes. Here each is made twice: on the way forward in time, which leaves
the population of every step, and on the way back, where it is made again from that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.compile import kernel
from mfenvs.engine.model import check_model
from mfenvs.engine.tabulation import spread
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.bellman import add_expected, entropy, forbid, mean_value, soft_maximum
from mfenvs.meanfield.transition_tables import TransitionTables

Array = NDArray[np.float64]

MOST_KEPT_ENTRIES = 2**26
"""Number of entries T S A K of sparse tables above which they are not kept for all times: 800 MB."""


def is_too_large(tables: TransitionTables) -> bool:
    """Whether the tables of a flow are so large that it is better to make them twice than to keep them."""
    game = tables.game
    n_times, n_states, n_actions = game.policy_shape
    n_entries = n_times * n_states * n_actions * tables.n_kept
    return tables.is_sparse and tables.varies and not game.is_infinite and n_entries > MOST_KEPT_ENTRIES


@kernel
def _occupy(present: Any, policy: Any, mu: Any) -> None:
    """Write the law of states and actions (S, A) where ``present`` (S,) is who is where and ``policy`` (S, A)."""
    for s in range(len(present)):
        for a in range(policy.shape[1]):
            mu[s, a] = present[s] * policy[s, a]


@kernel
def _move(mu: Any, transitions: Any, successors: Any, present: Any) -> None:
    """Write the law of the next state (S,) of a population (S, A), by a sparse table."""
    present[:] = 0.0
    spread(mu, transitions, successors, present)
    for s in range(len(present)):
        present[s] = max(present[s], 0.0)


@kernel
def _step_back(
    policy: Any,
    transitions: Any,
    successors: Any,
    rewards: Any,
    allowed: Any,
    time: Any,
    temperature: Any,
    q: Any,
    best: Any,
    own: Any,
) -> None:
    """Replace the values (S,) of the best response and of a policy (S, A) at the next time by those at ``time``.

    ``q`` (S, A) is scratch.
    """
    n_states, n_actions = q.shape
    for s in range(n_states):
        bonus = temperature * entropy(policy[s]) if temperature > 0.0 else 0.0
        for a in range(n_actions):
            q[s, a] = rewards[s, a] + bonus
    add_expected(transitions, successors, 1.0, own, q)
    for s in range(n_states):
        own[s] = mean_value(policy[s], q[s])
        for a in range(n_actions):
            q[s, a] = rewards[s, a]
    add_expected(transitions, successors, 1.0, best, q)
    forbid(allowed, time, q)
    for s in range(n_states):
        best[s] = soft_maximum(q[s], temperature)


class RecomputedTables:
    """The flow of a policy and its values in a game that ends, with the table of one time in memory.

    Parameters
    ----------
    tables:
        Makes the tables of the game.
    initial:
        The law of the initial state, shape (S,).
    allowed:
        Which actions are allowed, shape (T, S, A) or (1, S, A); None if all are.
    whose:
        What error messages call the owner of the rows.
    """

    def __init__(
        self, tables: TransitionTables, initial: Array, allowed: NDArray[np.bool_] | None, whose: str
    ) -> None:
        self._tables, self._initial, self._allowed, self._whose = tables, initial, allowed, whose
        self._game: FiniteGame = tables.game
        self.mu: Array
        """The flow of the policy that was evaluated last, shape (T, S, A)."""
        self.best_actions: NDArray[np.int64]
        """The best response to it: an action for each time and state, shape (T, S); the lowest of equal ones."""

    def laws(self, policy: Array) -> Array:
        """State-action laws of the flow of a policy, shape (T, S, A); ValueError if the rules are wrong in it."""
        mu, present = np.empty(policy.shape), self._initial.copy()
        self.mu = mu
        for time, law in enumerate(policy):
            _occupy(present, law, mu[time])
            transitions, successors, rewards = self._tables.at(mu[time], time)
            check_model(self._game, transitions, rewards, self._whose)
            _move(mu[time], transitions, successors, present)
        return mu

    def start_values(self, policy: Array, temperature: float) -> tuple[Array, Array]:
        """Values at the beginning of the best response to the flow of a policy, and of the policy, (S,) each."""
        mu = self.laws(policy)
        n_times, n_states, n_actions = policy.shape
        self.best_actions = np.empty((n_times, n_states), np.int64)
        best, own, q = np.zeros(n_states), np.zeros(n_states), np.empty((n_states, n_actions))
        for time in reversed(range(n_times)):
            tables = self._tables.at(mu[time], time)
            _step_back(policy[time], *tables, self._allowed, time, temperature, q, best, own)
            q.argmax(axis=-1, out=self.best_actions[time])
        return best, own
