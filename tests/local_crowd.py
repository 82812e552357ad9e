"""A small game whose rows read the mass in their own state only."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from mfenvs import FiniteGame, rule, share
from mfenvs.game import NO_PARAMETERS


@dataclasses.dataclass(kw_only=True)
class LocalCrowd(FiniteGame):
    """A ring of four states, in which a crowd in the own state pays less and holds back."""

    n_agents: int = 10
    horizon: int = 4
    discount: float = 1.0
    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    n_states = 4
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        crowd = share(world, 2 * state) + share(world, 2 * state + 1)
        stays = 0.1 + 0.6 * crowd if action == 1 else 0.8
        return (stays if next_state == state else 0.0) + (1.0 - stays if next_state == (state + 1) % 4 else 0.0)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 0.3 * state - (share(world, 2 * state) + share(world, 2 * state + 1)) * (1.0 + 0.5 * action)

    @property
    def initial_distribution(self):
        return np.array([0.4, 0.3, 0.2, 0.1])
