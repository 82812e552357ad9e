"""Whole episodes of all agents, as arrays on a CUDA device."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.trajectories import Trajectories


@dataclasses.dataclass(frozen=True)
class DeviceTrajectories:
    """Whole episodes of all agents on a device, as :meth:`CudaEngine.rollout_on_device` returns them.

    Time comes first, and so the arrays of a step are whole. Torch takes them without a copy
    (:func:`mfenvs.engine.tensors.as_torch`).
    """

    states: Any
    """Local states at times 0..horizon, shape (horizon + 1, n_worlds, n_agents)."""
    actions: Any
    """Actions of every step, shape (horizon, n_worlds, n_agents)."""
    rewards: Any
    """Rewards of every step, float32, shape (horizon, n_worlds, n_agents)."""
    counts: Any
    """Weight of all agents in each cell in every step, float32, shape (horizon, n_worlds, n_cells)."""
    discount: float
    """The game's discount factor gamma."""
    public_states: Any
    """Public states of every step, shape (horizon, n_worlds), of a game with a public chain; else None."""
    download: Callable[[Any], NDArray[Any]]
    """Function that copies an array from the device."""

    def on_host(self) -> Trajectories:
        """The episodes as arrays of NumPy, copied from the device; worlds come first there."""
        return Trajectories(
            self._copied(self.states),
            self._copied(self.actions),
            self._copied(self.rewards),
            self._copied(self.counts),
            discount=self.discount,
            public_states=None if self.public_states is None else self._copied(self.public_states),
        )

    def _copied(self, array: Any) -> NDArray[Any]:
        return np.ascontiguousarray(self.download(array).swapaxes(0, 1))
