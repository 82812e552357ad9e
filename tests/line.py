"""A game with Box actions and without a rule ``place``."""

import dataclasses

import gymnasium
import numpy as np

from mfenvs import Game, rule


@dataclasses.dataclass(kw_only=True)
class Line(Game):
    """Each agent is on a line, moves by its action times its pace, and is paid for going left."""

    n_agents: int = 3
    horizon: int = 2
    origin: float = 0.0
    """Where agents start. Generalised state-dependent exploration adds no noise to what is observed as 0."""
    agent_dtype = np.dtype([("pace", np.float32)])
    state_dtype = np.dtype(np.float32)
    n_cells = 1
    n_features = 1
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    @property
    def observation_space(self):
        return gymnasium.spaces.Box(self.origin - self.horizon, self.origin + self.horizon, (1,), np.float32)

    @property
    def initial(self):
        return np.array([self.origin], np.float32)

    @staticmethod
    @rule
    def start(agent, initial, key):
        return initial[0]

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
