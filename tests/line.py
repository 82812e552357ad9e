"""A game with Box actions and without a rule ``place``."""

import dataclasses

import gymnasium
import numpy as np

from mfenvs import Game, rule


@dataclasses.dataclass(kw_only=True)
class Line(Game):
    """Each agent is on a line, and moves by its action."""

    n_agents: int = 3
    horizon: int = 2
    agent_dtype = np.dtype([("pace", np.float32)])
    state_dtype = np.dtype(np.float32)
    n_cells = 1
    n_features = 1
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def observation_space(self):
        return gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)

    @staticmethod
    @rule
    def start(agent, initial, key):
        return np.float32(0.0)

    @staticmethod
    @rule
    def cell(state, action, agent):
        return 0

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        return state + agent.pace * action[0], -action[0]

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = state

    def draw_agents(self, rng):
        return np.linspace(0.25, 1.0, self.n_agents, dtype=np.float32).view(self.agent_dtype)
