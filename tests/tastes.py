"""A game in which every agent wants an action of its own."""

import dataclasses
from typing import ClassVar

import numpy as np

from mfenvs import FiniteGame, rule


@dataclasses.dataclass(kw_only=True)
class OwnTastes(FiniteGame):
    """Agent i is paid for action i % n_actions; nobody observes who they are."""

    n_agents: int = 12
    horizon: int = 4
    n_actions: int = 3
    agent_dtype: ClassVar[np.dtype] = np.dtype([("taste", np.int32)])
    n_states = 1

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 1.0 if action == agent.taste else 0.0

    def draw_agents(self, rng):
        return (np.arange(self.n_agents, dtype=np.int32) % self.n_actions).view(self.agent_dtype)
