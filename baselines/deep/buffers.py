"""Buffers of samples: transitions of one iteration, and a uniform sample of a stream of actions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .targets import Transitions

Floats = NDArray[np.float32]


class ReplayBuffer:
    """Transitions of single agents.

    Parameters
    ----------
    size:
        Number of transitions for which there is room.
    width, n_actions:
        Numbers of features and of actions.
    """

    def __init__(self, size: int, width: int, n_actions: int) -> None:
        self.size, self.n_stored = size, 0
        self._observations = np.empty((size, width), np.float32)
        self._masks = np.empty((size, n_actions), np.bool_)
        self._actions = np.empty(size, np.int64)
        self._rewards = np.empty(size, np.float32)
        self._next_observations = np.empty((size, width), np.float32)
        self._next_masks = np.empty((size, n_actions), np.bool_)
        self._goes_on = np.empty(size, np.float32)

    def clear(self) -> None:
        """Forget all transitions."""
        self.n_stored = 0

    def add(
        self,
        observations: Floats,
        masks: NDArray[np.bool_],
        actions: NDArray[np.int64],
        rewards: Floats,
        next_observations: Floats,
        next_masks: NDArray[np.bool_],
        goes_on: bool,
    ) -> None:
        """Add transitions, one a row, for which there must be room."""
        rows = slice(self.n_stored, self.n_stored + len(actions))
        self.n_stored = rows.stop
        self._observations[rows], self._masks[rows], self._actions[rows] = observations, masks, actions
        self._rewards[rows], self._goes_on[rows] = rewards, goes_on
        self._next_observations[rows], self._next_masks[rows] = next_observations, next_masks

    def sample(self, n: int, rng: np.random.Generator, device: torch.device) -> Transitions:
        """Draw n transitions uniformly, with replacement."""
        rows = rng.integers(0, self.n_stored, n)
        arrays = (
            *(self._observations, self._masks, self._actions, self._rewards),
            *(self._next_observations, self._next_masks, self._goes_on),
        )
        return Transitions(*(torch.from_numpy(array[rows]).to(device) for array in arrays))


class Reservoir:
    """A uniform sample, without replacement, of all rows that were ever added.

    Parameters
    ----------
    size:
        Largest number of rows that are kept.
    width, n_actions:
        Numbers of features and of actions.

    References
    ----------
    Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical Software 11 (1985), algorithm R.
    """

    def __init__(self, size: int, width: int, n_actions: int) -> None:
        self.size, self.n_seen = size, 0
        self.observations = np.empty((size, width), np.float32)
        self.masks = np.empty((size, n_actions), np.bool_)
        self.actions = np.empty(size, np.int64)

    @property
    def n_stored(self) -> int:
        """Number of rows that are kept."""
        return min(self.n_seen, self.size)

    def add(
        self,
        observations: Floats,
        masks: NDArray[np.bool_],
        actions: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> None:
        """Add rows: the n-th of all takes a random place among n, and is kept if there is such a place."""
        order = np.arange(self.n_seen, self.n_seen + len(actions))
        places = np.where(order < self.size, order, rng.integers(0, order + 1))
        # Of several rows that take one place the last is kept.
        places, last = np.unique(places[::-1], return_index=True)
        rows = len(actions) - 1 - last
        places, rows = places[places < self.size], rows[places < self.size]
        self.observations[places], self.masks[places] = observations[rows], masks[rows]
        self.actions[places] = actions[rows]
        self.n_seen += len(actions)

    def restore(
        self, observations: Floats, masks: NDArray[np.bool_], actions: NDArray[np.int64], n_seen: NDArray[np.int64]
    ) -> None:
        """Take over the rows that were kept of ``n_seen``."""
        self.n_seen = int(n_seen)
        self.observations[: len(actions)], self.masks[: len(actions)] = observations, masks
        self.actions[: len(actions)] = actions

    def sample(
        self, n: int, rng: np.random.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw n of the rows that are kept, with replacement: observations, masks and actions."""
        rows = rng.integers(0, self.n_stored, n)
        arrays = self.observations, self.masks, self.actions
        observations, masks, actions = (torch.from_numpy(array[rows]).to(device) for array in arrays)
        return observations, masks, actions
