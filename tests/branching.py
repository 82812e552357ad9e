"""A random game, declared by its branches and by its rows, whose agents differ; and its formulas in numpy."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mfenvs import FiniteGame, rule, share

S, A, B = 5, 2, 3


class Tables(NamedTuple):
    where: Any
    calm: Any
    busy: Any
    pay: Any
    crowd: Any
    shift: Any
    beyond: Any
    leak: Any


@rule
def lean_of(agent: Any, world: Any) -> Any:
    """How much the busy table weighs: by the share of the others in state 0 that do 0."""
    return agent.pull * max(share(world, 0) - world.constants.crowd, 0.0)


@rule
def goes(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    tables, is_moved = world.constants, agent.pull > 0.5 and lean_of(agent, world) > 0.0
    there = (tables.where[state, action, branch] + (tables.shift if is_moved else 0)) % S
    return there + (tables.beyond if is_moved else 0)


@rule
def weight_of(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    """The probability of a branch: between two tables."""
    tables, lean = world.constants, lean_of(agent, world)
    lost = tables.leak * (agent.pull - 0.5) if branch == 1 else 0.0
    return (1.0 - lean) * tables.calm[state, action, branch] + lean * tables.busy[state, action, branch] - lost


@rule
def leads(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    return goes(branch, state, action, agent, world), weight_of(branch, state, action, agent, world)


@rule
def law(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
    total = 0.0
    for k in range(B):
        if goes(k, state, action, agent, world) == next_state:
            total += weight_of(k, state, action, agent, world)
    return total


@rule
def paid(state: Any, action: Any, agent: Any, world: Any) -> Any:
    return world.constants.pay[state, action] - agent.pull * share(world, A * state + action)


@dataclasses.dataclass(kw_only=True)
class Random(FiniteGame):
    """Random tables. Agents have a pull of 1/4 or 3/4, by turns.

    Branches may lead to one state, unless ``in_order``: then they lead to different states in ascending order.
    Beyond a ``crowd`` in state 0 agents with the larger pull go to states that are ``shift`` higher, modulo S, and
    ``beyond`` that to states that do not exist. With a ``crowd`` > 0 everybody goes where branch 1 leads until
    then. ``leak`` is lost from the rows of one half of the agents and won in those of the other.
    """

    n_agents: int = 6
    horizon: int = 3
    tables: int = 0
    in_order: bool = False
    crowd: float = 0.0
    shift: int = 0
    beyond: int = 0
    leak: float = 0.0
    first: int = -1
    """The state in which all begin; -1 for a random law."""
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
        if self.first >= 0:
            return np.eye(S)[self.first]
        return np.random.default_rng(self.tables).dirichlet(np.ones(S))

    @property
    def constants(self) -> Tables:
        rng = np.random.default_rng(self.tables)
        where = rng.integers(0, S, (S, A, B))
        if self.in_order:
            where = np.sort(rng.permuted(np.broadcast_to(np.arange(S), (S, A, S)), axis=-1)[..., :B], axis=-1)
        calm, busy = rng.dirichlet(np.ones(B), (2, S, A))
        calm[0, 0] = [0.0, 1.0, 0.0]
        if self.crowd > 0.0:
            calm[:] = [0.0, 1.0, 0.0]
        pay = rng.normal(size=(S, A))
        return Tables(where, calm, busy, pay, float(self.crowd), self.shift, self.beyond, float(self.leak))


@dataclasses.dataclass(kw_only=True)
class ByBranches(Random):
    n_branches = B
    branch = staticmethod(leads)


@dataclasses.dataclass(kw_only=True)
class ByRows(Random):
    transition = staticmethod(law)


def arrays(game: Random, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(mu) (S, A, S) and R(mu) (S, A) on average over agents, of whom one half has each pull."""
    tables = game.constants
    p, r = np.zeros((S, A, S)), np.zeros((S, A))
    for pull in (0.25, 0.75):
        lean = pull * max(mu[0, 0] - game.crowd, 0.0)
        shift = game.shift if pull > 0.5 and lean > 0 else 0
        for s, a, k in np.ndindex(S, A, B):
            chance = (1 - lean) * tables.calm[s, a, k] + lean * tables.busy[s, a, k]
            p[s, a, (tables.where[s, a, k] + shift) % S] += 0.5 * chance
        r += 0.5 * (tables.pay - pull * mu)
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
