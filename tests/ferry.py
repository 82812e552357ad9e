"""A finite game with weights, its own cells, an aggregate, constants and time: what A-SIS and A-RPS lack.

The agents' formulas stand beside it in plain Python, for the game among N agents.
"""

import dataclasses

import numpy as np

from mfenvs import FiniteGame, crowd, rule, share


@rule
def by_state(state, action, agent):
    return state


@rule
def by_size(state, action, agent):
    return agent.size * (1 + action)


@rule
def fullness(world, signal):
    signal[0] = world.constants[0] * crowd(world, 1)
    signal[1] = share(world, 0)


@rule
def ferry_transition(next_state, state, action, agent, world):
    full = min(world.signal[0] * agent.pull, 1.0)
    crossing = full if state != action else 0.25
    return crossing if next_state == 1 else 1 - crossing


@rule
def ferry_reward(state, action, agent, world):
    return agent.pull * world.signal[1] + share(world, state) - 0.1 * action + world.time


@dataclasses.dataclass(kw_only=True)
class Ferry(FiniteGame):
    n_agents: int = 5
    horizon: int = 3
    slope: float = 0.2
    agent_dtype = np.dtype([("size", np.float32), ("pull", np.float32)])
    n_states = 2
    n_actions = 2
    n_cells = 2
    n_signals = 2
    cell = staticmethod(by_state)
    weight = staticmethod(by_size)
    aggregate = staticmethod(fullness)
    transition = staticmethod(ferry_transition)
    reward = staticmethod(ferry_reward)

    @property
    def constants(self):
        return (self.slope,)

    def draw_agents(self, rng):
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["size"], agents["pull"] = rng.uniform(0.5, 1.5, (2, self.n_agents))
        return agents


def row(game, i, states, actions, time):
    """P^i(. | everyone's states and actions)."""
    weights = game.agents["size"].astype(float) * (1 + np.array(actions))
    in_one = weights[np.array(states) == 1].sum() / game.n_agents
    full = min(game.slope * in_one * float(game.agents["pull"][i]), 1.0)
    crossing = full if states[i] != actions[i] else 0.25
    return np.array([1 - crossing, crossing])


def earned(game, i, states, actions, time):
    """R^i(everyone's states and actions)."""
    n, states = game.n_agents, np.array(states)
    weights = game.agents["size"].astype(float) * (1 + np.array(actions))
    in_zero = weights[states == 0].sum() / (n - 1)
    beside = (weights[states == states[i]].sum() - weights[i]) / (n - 1)
    return float(game.agents["pull"][i]) * in_zero + beside - 0.1 * actions[i] + time
