"""Whole episodes of all agents."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Whole episodes of all agents, as :meth:`mfenvs.Engine.rollout` returns them."""

    states: NDArray[Any]
    """Local states at times 0..horizon, shape (n_worlds, horizon + 1, n_agents)."""
    actions: NDArray[Any]
    """Actions of every step, shape (n_worlds, horizon, n_agents)."""
    rewards: NDArray[np.float32]
    """Rewards of every step, shape (n_worlds, horizon, n_agents)."""
    counts: NDArray[np.float32]
    """Weight of all agents in each cell in every step, shape (n_worlds, horizon, n_cells)."""
    discount: float = 1.0
    """The game's discount factor gamma."""
    public_states: NDArray[np.int32] | None = None
    """Public states of every step, shape (n_worlds, horizon), of a game with a public chain."""

    @property
    def returns(self) -> NDArray[np.float64]:
        """Total reward of every agent, discounted by gamma^h, shape (n_worlds, n_agents)."""
        total: NDArray[np.float64]
        if self.discount == 1.0:
            total = self.rewards.sum(axis=1, dtype=np.float64)
        else:
            factors = self.discount ** np.arange(self.rewards.shape[1])
            total = np.einsum("h,whi->wi", factors, self.rewards)
        return total
