"""One random game declared twice, by its branches and by its rows, whose agents differ; and its formulas in numpy."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from mfenvs import FiniteGame, rule, share

S, A, B = 5, 2, 3


@rule
def weight_of(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    """The probability of a branch: between two tables, by the share of the others in state 0 that do 0."""
    _, calm, busy, _ = world.constants
    lean = agent.pull * share(world, 0)
    return (1.0 - lean) * calm[state, action, branch] + lean * busy[state, action, branch]


@rule
def leads(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    return world.constants[0][state, action, branch], weight_of(branch, state, action, agent, world)


@rule
def law(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    total = 0.0
    for k in range(B):
        if world.constants[0][state, action, k] == next_state:
            total += weight_of(k, state, action, agent, world)
    return total


@rule
def paid(state: Any, action: Any, agent: Any, world: Any) -> Any:
    return world.constants[3][state, action] - agent.pull * share(world, 2 * state + action)


@dataclasses.dataclass(kw_only=True)
class Random(FiniteGame):
    """Tables of a random seed; ``where`` may name a state twice, unless ``in_order``."""

    n_agents: int = 6
    horizon: int = 3
    tables: int = 0
    in_order: bool = False
    agent_dtype: ClassVar[np.dtype[Any]] = np.dtype([("pull", np.float32)])
    n_states = S
    n_actions = A
    reward = staticmethod(paid)

    def draw_agents(self, rng: np.random.Generator) -> np.ndarray:
        agents = np.empty(self.n_agents, self.agent_dtype)
        agents["pull"] = np.resize([0.25, 0.75], self.n_agents)
        return agents

    @property
    def initial_distribution(self) -> np.ndarray:
        return np.random.default_rng(self.tables).dirichlet(np.ones(S))

    @property
    def constants(self) -> tuple[Any, ...]:
        rng = np.random.default_rng(self.tables)
        where = rng.integers(0, S, (S, A, B))
        if self.in_order:
            where = np.sort(rng.permuted(np.broadcast_to(np.arange(S), (S, A, S)), axis=-1)[..., :B], axis=-1)
        calm, busy = rng.dirichlet(np.ones(B), (2, S, A))
        calm[0, 0] = [0.0, 1.0, 0.0]
        return where, calm, busy, rng.normal(size=(S, A))


@dataclasses.dataclass(kw_only=True)
class ByBranches(Random):
    n_branches = B
    branch = staticmethod(leads)


@dataclasses.dataclass(kw_only=True)
class ByRows(Random):
    transition = staticmethod(law)


def arrays(game: Random, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(mu) (S, A, S) and R(mu) (S, A) on average over agents, of whom one half has each pull."""
    where, calm, busy, pay = game.constants
    p, r = np.zeros((S, A, S)), np.zeros((S, A))
    for pull in (0.25, 0.75):
        lean = pull * mu[0, 0]
        for s, a, k in np.ndindex(S, A, B):
            p[s, a, where[s, a, k]] += 0.5 * ((1 - lean) * calm[s, a, k] + lean * busy[s, a, k])
        r += 0.5 * (pay - pull * mu)
    return p, r


def flow(game: Random, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mu (H, S, A), P (H, S, A, S) and R (H, S, A) step by step."""
    law, laws, ps, rs = game.initial_distribution, [], [], []
    for now in policy:
        mu = law[:, None] * now
        p, r = arrays(game, mu)
        laws, ps, rs = [*laws, mu], [*ps, p], [*rs, r]
        law = np.einsum("sa,sat->t", mu, p)
    return np.array(laws), np.array(ps), np.array(rs)
