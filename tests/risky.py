"""Two games whose risk-averse and risk-neutral optima are computed by hand, and one with a known law of losses."""

import dataclasses
from typing import Any, ClassVar

import gymnasium
import numpy as np

from mfenvs import FiniteGame, Game, rule
from mfenvs.engine.random import uniform

POOR, RICH, CHOOSE, WON, LOST, SAFE = range(6)
GAMBLE = 1
P_LOSS = 0.2
AVERSION = np.dtype([("risk_aversion", np.float32)])


@rule
def next_row(next_state: Any, state: Any, action: Any) -> Any:
    if state == CHOOSE:
        gambles = action == GAMBLE
        if next_state == SAFE:
            return 0.0 if gambles else 1.0
        if next_state == WON:
            return 1.0 - P_LOSS if gambles else 0.0
        return P_LOSS if gambles and next_state == LOST else 0.0
    return 1.0 if next_state == (CHOOSE if state < CHOOSE else state) else 0.0


@dataclasses.dataclass(kw_only=True)
class Gamble(FiniteGame):
    """A windfall or none, half each, which the state forgets; then a gamble or nothing, and what came of it.

    Action 1 in the second step wins 2 with probability .8 and loses 4 with probability .2: .8 on average.
    """

    n_agents: int = 2
    horizon: int = 3
    windfall: float = 4.0
    risk_aversion: float = 0.5
    agent_dtype: ClassVar[np.dtype[Any]] = AVERSION
    n_states = 6
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return next_row(next_state, state, action)

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        windfall = world.constants[0] if state == RICH else 0.0
        return windfall if state < CHOOSE else 2.0 if state == WON else -4.0 if state == LOST else 0.0

    @property
    def constants(self):
        return (np.float32(self.windfall),)

    @property
    def initial_distribution(self):
        return np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.0])

    def draw_agents(self, rng):
        return np.full(self.n_agents, self.risk_aversion, np.float32).view(self.agent_dtype)


@dataclasses.dataclass(kw_only=True)
class Lottery(Game):
    """Whatever they do, agent i loses i U with U uniform in [0, 1], in the first of two steps."""

    n_agents: int = 3
    horizon: int = 2
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("size", np.float32)])
    state_dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int32)
    n_cells = 1
    n_features = 1

    @property
    def action_space(self):
        return gymnasium.spaces.Discrete(2)

    @staticmethod
    @rule
    def start(agent, initial, key):
        return 0

    @staticmethod
    @rule
    def cell(state, action, agent):
        return 0

    @staticmethod
    @rule
    def step(state, action, agent, world, key):
        return state, -agent.size * uniform(key, 0) if world.time == 0 else 0.0

    @staticmethod
    @rule
    def observe(out, state, agent, public):
        out[0] = public.elapsed

    def draw_agents(self, rng):
        return np.arange(self.n_agents, dtype=np.float32).view(self.agent_dtype)
