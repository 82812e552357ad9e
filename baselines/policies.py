"""Tabular policies: a distribution over actions for every time and state, shared by all agents or one per agent.

A table has (T, S, A) entries: T is the horizon H, or 1 for the stationary policies of infinite games. In a game
with a public chain it has (T, M S, A), with the row z S + s for the public state z and the own state s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.files import ArraySpecification, SavedArrays, write_arrays
from mfenvs.finite_game import FiniteGame
from mfenvs.play import tabulate

NUMBERS_AT_A_TIME = 2**20
"""Number of differences of levels that are computed at a time: 8 MB."""


class TabularPolicy:
    """A policy pi_h(a | s) as a table of probabilities.

    Parameters
    ----------
    probabilities:
        Shape (T, S, A) for one policy that all agents share, or (n_agents, T, S, A) for every agent's own; in a
        game with a public chain (T, M S, A) or (n_agents, T, M S, A), as :meth:`for_game` makes them.
    seed:
        Random seed of the actions that :meth:`predict` samples.
    state_levels:
        Of a game whose agents see their state as levels and not one-hot: those of all states, shape (S, d), as
        :func:`observed_levels` returns them.
    n_public_states:
        Number M of public states of a game with a public chain; 1 for other games.

    Raises
    ------
    TypeError, ValueError
        If the array has another number of axes or its last axis does not hold probabilities, the seed is not an
        integer >= 0, the levels are not finite numbers of that shape, or the number of rows is no multiple of the
        number of public states.
    """

    def __init__(
        self,
        probabilities: ArrayLike,
        seed: int = 0,
        *,
        state_levels: ArrayLike | None = None,
        n_public_states: int = 1,
    ) -> None:
        seed = checks.integer("seed", seed, 0)
        array = _array("probabilities", probabilities)
        if array.ndim not in (3, 4) or not array.size:
            raise ValueError(f"probabilities must have shape (T, S, A) or (n_agents, T, S, A), got {array.shape}")
        # A copy: solvers go on changing theirs in place, and so may the caller.
        self.probabilities = checks.probabilities("probabilities", array, array.shape).copy()
        """The table, float64."""
        self.n_public_states = checks.integer("n_public_states", n_public_states, 1)
        """Number M of public states, 1 in a game without a public chain."""
        if array.shape[-2] % self.n_public_states:
            raise ValueError(
                f"probabilities must have a row for each of {self.n_public_states} public states and each own"
                f" state, got {array.shape[-2]} rows"
            )
        self.state_levels: NDArray[np.float64] | None = None
        """What agents see of each state, shape (S, d); None if they see their state one-hot."""
        if state_levels is not None:
            width = np.shape(state_levels)[-1] if np.ndim(state_levels) == 2 else 1
            levels = checks.finite_numbers("state_levels", state_levels, (self.n_states, width))
            self.state_levels = levels.copy()
        self._rng = np.random.default_rng(seed)

    @classmethod
    def uniform(cls, game: FiniteGame) -> TabularPolicy:
        """The policy that plays all allowed actions equally often; TypeError unless the game is finite."""
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {game!r}")
        return cls.for_game(game, tabulate(game, None))

    @classmethod
    def for_game(cls, game: FiniteGame, probabilities: ArrayLike, seed: int = 0) -> TabularPolicy:
        """A table of a game as a policy that acts on what its agents observe.

        Parameters
        ----------
        game:
            A finite game.
        probabilities:
            A table as :meth:`mfenvs.FiniteGame.policy_table` takes it; with a public chain also (T, M, S, A).
        seed:
            Random seed of the actions that :meth:`predict` samples.

        Raises
        ------
        TypeError, ValueError
            If the table does not fit the game.
        """
        return cls(
            game.policy_table("probabilities", probabilities),
            seed,
            state_levels=observed_levels(game),
            n_public_states=game.n_public_states,
        )

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
        """Number of an agent's own states |S|."""
        return int(self.probabilities.shape[-2]) // self.n_public_states

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
            Shape (..., n_features): own state (one-hot, or its levels if the policy has ``state_levels``), elapsed
            time h / H unless T = 1, then anything. In a game with a public chain the time is always there, and
            the public state follows, one-hot. With one policy per agent the number of observations must be a
            multiple of n_agents, in the agents' order.
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
            If the observations are not numbers or have the wrong shape, do not show the public state, or
            ``deterministic`` is not a boolean.
        """
        deterministic = checks.boolean("deterministic", deterministic)
        features = _array("observation", observation)
        if features.dtype.kind not in "biuf":
            raise TypeError(f"observation must be an array of numbers, got dtype {features.dtype}")
        n_own = self.n_states if self.state_levels is None else self.state_levels.shape[1]
        n_public = self.n_public_states
        needed = n_own + (1 + n_public if n_public > 1 else self.n_times > 1)
        if features.ndim < 1 or features.shape[-1] < needed:
            raise ValueError(f"observation must have shape (..., at least {needed}), got {features.shape}")
        rows = features.reshape(-1, features.shape[-1])
        own = self._states(rows[:, :n_own])
        time = np.zeros(len(rows), np.int64)
        if self.n_times > 1:
            elapsed = rows[:, n_own] * self.n_times
            time = np.rint(elapsed).astype(np.int64).clip(0, self.n_times - 1)
        if n_public > 1:
            own += self.n_states * _one_hot_places("the public state", rows[:, n_own + 1 : n_own + 1 + n_public])
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

    def _states(self, seen: NDArray[Any]) -> NDArray[np.int64]:
        """The states of which agents see this, shape (n_rows, n_own): of levels, the nearest."""
        if self.state_levels is None:
            found: NDArray[np.int64] = seen.argmax(axis=1)
            return found
        at_a_time = max(1, NUMBERS_AT_A_TIME // self.state_levels.size)
        nearest = [
            ((seen[first : first + at_a_time, None] - self.state_levels) ** 2).sum(axis=-1).argmin(axis=-1)
            for first in range(0, len(seen), at_a_time)
        ]
        return np.concatenate(nearest) if nearest else np.zeros(0, np.int64)

    def save(self, path: str | Path) -> None:
        """Write the table to an ``.npz`` file.

        The arrays are ``probabilities`` and, if the policy has them, ``state_levels`` and ``n_public_states``.
        """
        others: dict[str, NDArray[Any]] = {} if self.state_levels is None else {"state_levels": self.state_levels}
        if self.n_public_states > 1:
            others["n_public_states"] = np.array(self.n_public_states, np.int64)
        write_arrays(path, {"probabilities": self.probabilities, **others})

    @classmethod
    def load(cls, path: str | Path, seed: int = 0) -> TabularPolicy:
        """Read a table that :meth:`save` wrote; a ValueError names the file if it holds no such table."""
        with SavedArrays(path, cls.__name__) as saved, saved.blamed():
            n_axes = len(saved.shape("probabilities"))
            if n_axes not in (3, 4):
                raise ValueError(f"probabilities must have 3 or 4 axes, got {n_axes}")
            expected = {"probabilities": ArraySpecification(np.float64, (None,) * n_axes, low=0.0, total=1.0)}
            n_states: int | None = saved.shape("probabilities")[-2]
            if "n_public_states" in saved.names:
                expected["n_public_states"] = ArraySpecification(np.int64, (), low=2)
                n_states = None  # It follows when this number has been read.
            if "state_levels" in saved.names:
                expected["state_levels"] = ArraySpecification(np.float64, (n_states, None))
            arrays = saved.arrays(expected)
            return cls(
                arrays["probabilities"],
                seed,
                state_levels=arrays.get("state_levels"),
                n_public_states=int(arrays.get("n_public_states", 1)),
            )


def observed_levels(game: FiniteGame) -> NDArray[np.float64] | None:
    """What agents see of each state as the first features of their observation, shape (S, d).

    None if they see their state one-hot: in a game without a rule ``observe`` of its own, or without
    :attr:`mfenvs.FiniteGame.state_levels`.
    """
    return game.state_levels if hasattr(game, "observe") else None


def _one_hot_places(name: str, features: NDArray[Any]) -> NDArray[np.int64]:
    """The place of the one in each row of features that are one-hot; ValueError if they are not."""
    wrong = ~(((features == 0.0) | (features == 1.0)).all(axis=1) & (features.sum(axis=1) == 1.0))
    if wrong.any():
        raise ValueError(f"observation must show {name} one-hot, got {checks.shown(features[wrong][0])}")
    found: NDArray[np.int64] = features.argmax(axis=1)
    return found


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"{name} must be an array: {error}") from None
