"""Policies that depend on the whole public history, played among N agents."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.public_tree import NO_NODE, PublicTree
from mfenvs.meanfield.public_tree_game import PublicTreeGame

Memory = tuple[NDArray[np.int64], NDArray[np.int64]]


class HistoryPolicy:
    """A policy of the nodes of a public tree, as a model that remembers the public states it has seen.

    It is played as models with a memory are: by :func:`mfenvs.evaluate`, and as one of the policies of any API
    that calls ``predict``. It reads the default observations of a game with a public chain: the own state,
    one-hot, the elapsed time and the public state, one-hot.

    Parameters
    ----------
    induced:
        The mean-field game on the tree.
    policy:
        A policy of it, shape (T, W S, A), or any other that :meth:`InducedGame.policy` takes.
    seed:
        Random seed of the actions, an integer >= 0.

    Raises
    ------
    TypeError, ValueError
        If the game has no public chain or a rule ``observe`` of its own, or the policy does not fit.
    """

    def __init__(self, induced: InducedGame, policy: Any, seed: int = 0) -> None:
        if not isinstance(induced, InducedGame) or not isinstance(induced.game, PublicTreeGame):
            raise TypeError(
                f"induced must be the InducedGame of a game with a public chain, got {checks.shown(induced)}"
            )
        game: FiniteGame = induced.game.game
        if hasattr(game, "observe"):
            raise TypeError(
                f"{type(game).__name__} declares the rule observe, and a HistoryPolicy reads default observations"
            )
        self.tree: PublicTree = induced.tree or induced.game.tree
        self._n_states, self._n_features = game.n_states, game.n_features
        law = induced.policy("policy", policy).reshape(self.tree.horizon, self.tree.width, game.n_states, -1)
        self.table = law.copy()
        """The probabilities, shape (T, W, S, A)."""
        self._rng = np.random.default_rng(checks.integer("seed", seed, 0))
        shape = self.tree.horizon, self.tree.width + 1, self.tree.n_public_states
        # The last row of a time is that of no node, from which the first nodes come.
        self._next = np.full(shape, NO_NODE, np.int64)
        for time, node in np.argwhere(self.tree.exists):
            self._next[time, self.tree.parents[time, node], self.tree.states[time, node]] = node

    def predict(
        self,
        observation: ArrayLike,
        state: Memory | None = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], Memory]:
        """Draw actions, as a model of Stable-Baselines3 with a memory does.

        Parameters
        ----------
        observation:
            Observations of one agent, (n_features,), or of several, (n, n_features).
        state:
            What the last call returned; None at the beginning of an episode.
        episode_start:
            Whether an episode begins now, for each row, (n,).
        deterministic:
            Whether to take the most probable action.

        Returns
        -------
        The actions, shape (n,) or (), and the memory: the time of the next step and the present node of each row.

        Raises
        ------
        ValueError
            If observations have another shape, or show a public state that is impossible after the ones before.
        """
        given = np.asarray(observation, np.float32)
        rows = np.atleast_2d(given)
        if rows.ndim != 2 or rows.shape[1] != self._n_features:
            raise ValueError(f"observation must have shape (n, {self._n_features}), got {given.shape}")
        n_rows = len(rows)
        times, nodes = (np.zeros(n_rows, np.int64), np.full(n_rows, NO_NODE)) if state is None else state
        if episode_start is not None:
            begins = np.broadcast_to(np.asarray(episode_start, bool), (n_rows,))
            times, nodes = np.where(begins, 0, times), np.where(begins, NO_NODE, nodes)
        if n_rows and times.max() >= self.tree.horizon:
            raise ValueError(f"observation must be of one of the {self.tree.horizon} steps of an episode")
        public = rows[:, self._n_states + 1 :].argmax(axis=1)
        nodes = self._next[times, nodes, public]
        if (nodes == NO_NODE).any():
            row = int(np.argmax(nodes == NO_NODE))
            raise ValueError(
                f"observation must show a possible public state, got {public[row]} at time {times[row]} in row"
                f" {row}"
            )
        laws = self.table[times, nodes, rows[:, : self._n_states].argmax(axis=1)]
        if deterministic:
            actions = laws.argmax(axis=1)
        else:
            sums = np.cumsum(laws, axis=1)
            actions = (self._rng.random((n_rows, 1)) * sums[:, -1:] >= sums).sum(axis=1)
        return actions.reshape(given.shape[:-1]), (times + 1, nodes)
