"""A population that leaves the state in which the many are: it may never settle."""

import dataclasses

import numpy as np

from mfenvs import FiniteGame, rule, share


@rule
def zero(state, action, agent, world):
    return 0.0


@rule
def away_from_the_many(next_state, state, action, agent, world):
    """To state 1 with probability 1/2 - slope (mass in 1 - 1/2), cut off."""
    crowded = share(world, 2) + share(world, 3)
    there = min(max(0.5 - agent.slope * (crowded - 0.5), 0.0), 1.0)
    return there if next_state == 1 else 1.0 - there


@dataclasses.dataclass(kw_only=True)
class Shy(FiniteGame):
    """The map of the mass in state 1 has the slope -slope at its only fixed point, 1/2."""

    n_agents: int = 4
    horizon: int = 5
    discount: float = 0.9
    slope: float = 1.0
    begin: float = 0.1
    n_states = n_actions = 2
    agent_dtype = np.dtype([("slope", np.float32)])
    transition = staticmethod(away_from_the_many)
    reward = staticmethod(zero)

    @property
    def initial_distribution(self):
        return np.array([1 - self.begin, self.begin])

    def draw_agents(self, rng):
        agents = np.zeros(self.n_agents, self.agent_dtype)
        agents["slope"] = self.slope
        return agents
