"""Tabular policies: a distribution over actions for every time and state, shared by all agents or one per agent.

A table has (T, S, A) entries: T is the horizon H, or 1 for the stationary policies of infinite games.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification, SavedArrays, write_arrays
from mfenvs.game import FiniteGame


class TabularPolicy:
    """A policy pi_h(a | s) as a table of probabilities.

    Parameters
    ----------
    probabilities:
        Shape (T, S, A) for one policy that all agents share, or (n_agents, T, S, A) for every agent's own.
    seed:
        Random seed of the actions that :meth:`predict` samples.

    Raises
    ------
    TypeError, ValueError
        If the array has another number of axes or its last axis does not hold probabilities, or the seed is not an
        integer >= 0.
    """

    def __init__(self, probabilities: ArrayLike, seed: int = 0) -> None:
        seed = checks.integer("seed", seed, 0)
        array = _array("probabilities", probabilities)
        if array.ndim not in (3, 4) or not array.size:
            raise ValueError(f"probabilities must have shape (T, S, A) or (n_agents, T, S, A), got {array.shape}")
        # A copy: solvers go on changing theirs in place, and so may the caller.
        self.probabilities = checks.probabilities("probabilities", array, array.shape).copy()
        """The table, float64."""
        self._rng = np.random.default_rng(seed)

    @classmethod
    def uniform(cls, game: FiniteGame) -> TabularPolicy:
        """The policy that plays all actions with equal probability; TypeError if the game is not finite."""
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {game!r}")
        return cls(np.full(game.policy_shape, 1.0 / game.n_actions))

    @property
    def is_shared(self) -> bool:
        """Whether all agents share one table."""
        return self.probabilities.ndim == 3

    @property
    def n_times(self) -> int:
        """Number of times T that the policy tells apart: the horizon, or 1 if it is stationary."""
        return int(self.probabilities.shape[-3])

    @property
    def n_states(self) -> int:
        """Number of states |S|."""
        return int(self.probabilities.shape[-2])

    def predict(
        self,
        observation: ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], None]:
        """Actions for observations as the environments give them (SB3's signature).

        Parameters
        ----------
        observation:
            Shape (..., n_features): own state one-hot, elapsed time h / H unless T = 1, then anything. With one
            policy per agent the number of observations must be a multiple of n_agents, in the agents' order.
        state, episode_start:
            Ignored: the policy has no memory.
        deterministic:
            Take the most probable action instead of sampling.

        Returns
        -------
        Integer actions, shape (...), and None.

        Raises
        ------
        TypeError, ValueError
            If the observations are not numbers or have the wrong shape, or ``deterministic`` is not a boolean.
        """
        deterministic = checks.boolean("deterministic", deterministic)
        features = _array("observation", observation)
        if features.dtype.kind not in "biuf":
            raise TypeError(f"observation must be an array of numbers, got dtype {features.dtype}")
        needed = self.n_states + (self.n_times > 1)
        if features.ndim < 1 or features.shape[-1] < needed:
            raise ValueError(f"observation must have shape (..., at least {needed}), got {features.shape}")
        rows = features.reshape(-1, features.shape[-1])
        own = rows[:, : self.n_states].argmax(axis=1)
        time = np.zeros(len(rows), np.int64)
        if self.n_times > 1:
            elapsed = rows[:, self.n_states] * self.n_times
            time = np.rint(elapsed).astype(np.int64).clip(0, self.n_times - 1)
        if self.is_shared:
            law = self.probabilities[time, own]
        else:
            n_agents = len(self.probabilities)
            if len(rows) % n_agents:
                raise ValueError(
                    f"observation must hold a multiple of n_agents = {n_agents} rows, got {len(rows)}"
                )
            law = self.probabilities[np.arange(len(rows)) % n_agents, time, own]
        if deterministic:
            actions = law.argmax(axis=1)
        else:
            draws = self._rng.random((len(rows), 1))
            actions = np.minimum((draws >= law.cumsum(axis=1)).sum(axis=1), law.shape[1] - 1)
        return actions.reshape(features.shape[:-1]), None

    def save(self, path: str | Path) -> None:
        """Write the table to an ``.npz`` file (array ``probabilities``)."""
        write_arrays(path, {"probabilities": self.probabilities})

    @classmethod
    def load(cls, path: str | Path, seed: int = 0) -> TabularPolicy:
        """Read a table that :meth:`save` wrote; a ValueError names the file if it holds no such table."""
        with SavedArrays(path, cls.__name__) as saved, saved.blamed():
            n_axes = len(saved.shape("probabilities"))
            if n_axes not in (3, 4):
                raise ValueError(f"probabilities must have 3 or 4 axes, got {n_axes}")
            law = ArraySpecification(np.float64, (None,) * n_axes, low=0.0, total=1.0)
            return cls(saved.arrays({"probabilities": law})["probabilities"], seed)


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"{name} must be an array: {error}") from None
