"""A game given by its tables, whose parts can be switched off: what learning rules are tested on."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from mfenvs import FiniteGame, rule, share

Rows = tuple[tuple[tuple[float, ...], ...], ...]

CORRIDOR: Rows = (
    ((0.75, 0.25, 0.0), (0.25, 0.5, 0.25)),
    ((0.5, 0.25, 0.25), (0.0, 0.25, 0.75)),
    ((0.25, 0.5, 0.25), (0.5, 0.0, 0.5)),
)
"""P(. | s, a)."""
RING: Rows = (
    ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
)
"""One step on, or two, on a ring of three states: nothing is left to chance."""
HOME: Rows = (((1.0, 0.0, 0.0),) * 2,) * 3
"""Everybody goes to state 0, whatever they do."""


@dataclasses.dataclass(kw_only=True)
class Tabulated(FiniteGame):
    """Three states, two actions, P and R from tables, to which the others add what they are allowed to.

    Busy others are those who play 1. P = (1 - pull busy) moves + pull busy (to state 0), and R = pay + taste_i 1{a
    = 1} - crowding (share of the others who do the same).
    """

    n_agents: int = 4
    horizon: int = 3
    moves: Rows = CORRIDOR
    pay: tuple[tuple[float, float], ...] = ((0.0, -0.25), (0.5, 0.0), (1.0, 1.5))
    crowding: float = 0.0
    pull: float = 0.0
    tastes: tuple[float, ...] = (0.0,)
    """Of agents 0, 1, ..., over and over again."""
    first: tuple[float, float, float] = (0.5, 0.25, 0.25)

    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("taste", np.float32)])
    n_states = 3
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        moves, _, _, pull = world.constants
        busy = share(world, 1) + share(world, 3) + share(world, 5)
        home = 1.0 if next_state == 0 else 0.0
        return (1.0 - pull * busy) * moves[state, action, next_state] + pull * busy * home

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        _, pay, crowding, _ = world.constants
        same = share(world, action) + share(world, 2 + action) + share(world, 4 + action)
        return pay[state, action] + (agent.taste if action == 1 else 0.0) - crowding * same

    def draw_agents(self, rng: np.random.Generator) -> np.ndarray:
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["taste"] = np.resize(self.tastes, self.n_agents)
        return agents

    @property
    def initial_distribution(self) -> np.ndarray:
        return np.array(self.first)

    @property
    def constants(self) -> tuple[Any, ...]:
        return np.array(self.moves), np.array(self.pay), float(self.crowding), float(self.pull)


def random_tabulated(seed: int, **constants: Any) -> Tabulated:
    """A game with random moves and pay, in which others matter for both."""
    rng = np.random.default_rng(seed)
    moves, pay = rng.dirichlet(np.ones(3), (3, 2)), rng.normal(size=(3, 2))
    crowding, pull = rng.uniform(-2.0, 2.0), rng.uniform(0.0, 0.9)
    drawn = {"moves": moves.tolist(), "pay": pay.tolist(), "crowding": crowding, "pull": pull, "discount": 0.8}
    return Tabulated(**{**drawn, **constants})


# Solvers in plain numpy.


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def optimal_q(p: np.ndarray, r: np.ndarray, discount: float) -> np.ndarray:
    """Q* of P (T, S, A, S) and R (T, S, A): backwards in time, or if T = 1 and discounted by value iteration."""
    q = np.zeros(r.shape)
    if discount < 1:
        for _ in range(int(np.log(1e-15) / np.log(discount)) + 1):
            q = r + discount * p @ q[0].max(axis=-1)
        return q
    for h in reversed(range(len(r))):
        q[h] = r[h] + (p[h] @ q[h + 1].max(axis=-1) if h + 1 < len(r) else 0.0)
    return q


def tabulated_arrays(game: Tabulated, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(mu) and R(mu) of the game above from its description."""
    doing = mu.sum(axis=0)
    p = (1 - game.pull * doing[1]) * np.array(game.moves) + game.pull * doing[1] * np.eye(3)[0]
    r = np.array(game.pay) - game.crowding * doing
    r[:, 1] += np.resize(game.tastes, game.n_agents).mean()
    return p, r
