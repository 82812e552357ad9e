"""What the speed table compares with: A-SIS in plain numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import FiniteGame


class NumpyEpidemic:
    """A-SIS in plain vectorised numpy: what a careful user would write; a peer, not part of the package."""

    def __init__(self, game: FiniteGame) -> None:
        self.rng = np.random.default_rng(0)
        self.agents = game.agents
        self.n = game.n_agents
        self.states = self.rng.integers(0, 2, self.n)

    def step(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Take one step and return the rewards."""
        infected = self.states == 0
        out = actions == 1
        others = ((infected & out).sum() - (infected & out)) / (self.n - 1)
        chance = np.where(
            infected, 1 - self.agents.recovery, np.where(out, self.agents.susceptibility * others, 0.0)
        )
        rewards = -(infected.astype(np.float32)) - self.agents.aversion * ~out
        self.states = (self.rng.random(self.n) >= chance).astype(np.int64)
        return rewards  # type: ignore[no-any-return]


class NumpyEpidemicWithObservations(NumpyEpidemic):
    """A-SIS in plain numpy with float32 observations and flags, as a vector environment returns them."""

    def step(self, actions: NDArray[Any]) -> Any:
        """Take one step and return (observations, rewards, terminations, truncations, infos)."""
        rewards = super().step(actions)
        observations = np.zeros((self.n, 3), np.float32)
        observations[np.arange(self.n), self.states] = 1.0
        observations[:, 2] = 0.5
        return observations, rewards, np.zeros(self.n, bool), np.zeros(self.n, bool), {}
