"""Finite games with random tables, affine in the population, whose agents differ; and their formulas in numpy."""

import dataclasses
from typing import Any

import numpy as np

from mfenvs import FiniteGame, rule, share

S, A = 2, 2
PAIRS = S * A


@dataclasses.dataclass(kw_only=True)
class RandomGame(FiniteGame):
    """P^i = (1 - pull) own_i(s, a) + pull sum_x sigma(x) led_i(x), and rewards alike.

    R^i = (1 - interest) pay_i(s, a) + interest sum_x sigma(x) taste_i(s, a, x), within [0, 1].
    ``heterogeneity`` mixes a common table with an agent's own.
    """

    n_agents: int = 3
    horizon: int = 2
    pull: float = 0.5
    interest: float = 0.5
    """Weight of the others in rewards, in [0, 1]."""
    heterogeneity: float = 0.3
    tables: int = 0
    """Random seed of the tables."""

    agent_dtype = np.dtype(
        [
            ("own", np.float32, (S, A, S)),
            ("led", np.float32, (PAIRS, S)),
            ("pay", np.float32, (S, A)),
            ("taste", np.float32, (S, A, PAIRS)),
        ]
    )
    n_states = S
    n_actions = A

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        pull, _ = world.constants
        total = (1.0 - pull) * agent.own[state, action, next_state]
        for x in range(PAIRS):
            total += pull * share(world, x) * agent.led[x, next_state]
        return total

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        _, interest = world.constants
        total = (1.0 - interest) * agent.pay[state, action]
        for x in range(PAIRS):
            total += interest * share(world, x) * agent.taste[state, action, x]
        return total

    def draw_agents(self, rng: np.random.Generator) -> np.ndarray:
        rng = np.random.default_rng(self.tables)
        agents = np.empty(self.n_agents, self.agent_dtype)
        mix = self.heterogeneity
        for name, shape in (("own", (S, A)), ("led", (PAIRS,))):
            common, own = rng.dirichlet(np.ones(S), shape), rng.dirichlet(np.ones(S), (self.n_agents, *shape))
            # Multiples of 1/1024, which single precision holds, so that rows sum to 1 exactly.
            first = np.round(1024 * ((1 - mix) * common + mix * own)[..., 0]) / 1024
            agents[name] = np.stack([first, 1 - first], axis=-1)
        for name, shape in (("pay", (S, A)), ("taste", (S, A, PAIRS))):
            agents[name] = (1 - mix) * rng.random(shape) + mix * rng.random((self.n_agents, *shape))
        return agents

    @property
    def constants(self) -> tuple[float, float]:
        return float(self.pull), float(self.interest)


def arrays(game: RandomGame, i: int, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P^i (S, A, S) and R^i (S, A) among others with the empirical distribution sigma (S, A)."""
    agent, sigma = game.agents[i], sigma.reshape(-1)
    led, taste = (np.asarray(agent[name], float) for name in ("led", "taste"))
    p = (1 - game.pull) * np.asarray(agent["own"], float) + game.pull * (sigma @ led)
    return p, (1 - game.interest) * np.asarray(agent["pay"], float) + game.interest * (taste @ sigma)


def others(game: RandomGame, i: int, states: Any, actions: Any) -> np.ndarray:
    sigma = np.zeros((S, A))
    for j in range(game.n_agents):
        if j != i:
            sigma[states[j], actions[j]] += 1 / (game.n_agents - 1)
    return sigma


def row(game: RandomGame, i: int, states: Any, actions: Any, time: int) -> np.ndarray:
    return arrays(game, i, others(game, i, states, actions))[0][states[i], actions[i]]


def earned(game: RandomGame, i: int, states: Any, actions: Any, time: int) -> float:
    return float(arrays(game, i, others(game, i, states, actions))[1][states[i], actions[i]])
