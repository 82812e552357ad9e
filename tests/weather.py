"""A game with common noise that declares all that a finite game can declare, and the same in numpy alone."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import numpy as np

from mfenvs import FiniteGame, PublicChain, crowd, public_state, rule, share
from mfenvs.game import NO_PARAMETERS
from mfenvs.public_chain import ChainTables

GOOD, BAD = 0, 1
MOVES = ((0.7, 0.3), (0.2, 0.8))


class WeatherConstants(NamedTuple):
    public_chain: ChainTables
    crowding: float


@dataclasses.dataclass(kw_only=True)
class Weather(FiniteGame):
    """Agents are at home (state 0) or out (1), and choose where to be next.

    Being out pays 1 in good weather and costs 1 in bad; where one is, a share x of the others costs ``crowding``
    x. The choice succeeds with the probability .9 in good weather and .6 in bad, less .3 times the share of all
    who choose to be out. Each change of place pays .25, being out in bad weather at the end pays .5, and in bad
    weather who is at home may not choose to go out.
    """

    n_agents: int = 50
    horizon: int = 3
    crowding: float = 1.0
    first: tuple[float, ...] = (1.0, 0.0)
    moves: tuple[tuple[float, ...], ...] = MOVES

    agent_dtype = NO_PARAMETERS
    n_states = 2
    n_actions = 2
    n_signals = 2

    @property
    def public_chain(self) -> PublicChain:
        return PublicChain(self.first, self.moves)

    @property
    def constants(self) -> WeatherConstants:
        return WeatherConstants(self.public_chain.tables, self.crowding)

    @property
    def initial_distribution(self) -> np.ndarray:
        return np.array([0.75, 0.25])

    @staticmethod
    @rule
    def aggregate(world: Any, signal: Any) -> None:
        signal[0] = crowd(world, 1) + crowd(world, 3)

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        success = (0.9 if public_state(world) == 0 else 0.6) - 0.3 * world.signal[0]
        return success if next_state == action else 1.0 - success

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        weather = 1.0 if public_state(world) == 0 else -1.0
        here = share(world, 2 * state) + share(world, 2 * state + 1)
        return state * weather - world.constants.crowding * here

    @staticmethod
    @rule
    def arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        return 0.25 if next_state != state else 0.0

    @staticmethod
    @rule
    def terminal(state: Any, agent: Any, world: Any) -> Any:
        return 0.5 * state * public_state(world)

    @staticmethod
    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        return action == 0 or state == 1 or public_state(public) == 0


def arrays(weather, mu, is_last, crowding=1.0):
    """P (S, A, S) and R (S, A) at a law mu (S, A) of state and action, from the description."""
    going, where = mu[:, 1].sum(), mu.sum(axis=1)
    success = (0.9, 0.6)[weather] - 0.3 * going
    p, r = np.zeros((2, 2, 2)), np.zeros((2, 2))
    for s, a in np.ndindex(2, 2):
        p[s, a, a], p[s, a, 1 - a] = success, 1 - success
        r[s, a] = s * (1, -1)[weather] - crowding * where[s] + 0.25 * p[s, a, 1 - s]
        if is_last:
            r[s, a] += 0.5 * weather * p[s, a, 1]
    return p, r


def histories(first, moves, horizon):
    """All histories of positive probability of each length, with their probabilities."""
    found = []
    for length in range(1, horizon + 1):
        layer = {}
        for history in itertools.product(range(len(first)), repeat=length):
            chance = first[history[0]]
            for now, then in itertools.pairwise(history):
                chance *= moves[now][then]
            if chance > 0:
                layer[history] = chance
        found.append(layer)
    return found


def flow(policy, first, moves, horizon, rho=(0.75, 0.25)):
    """The law mu (S, A) of each history, and P and R there; ``policy`` is a function of the history, (S, A)."""
    laws, problem = {}, {}
    for layer in histories(first, moves, horizon):
        for history in layer:
            if len(history) == 1:
                present = np.array(rho)
            else:
                before = history[:-1]
                present = np.einsum("sa,sat->t", laws[before], problem[before][0])
            laws[history] = present[:, None] * policy(history)
            problem[history] = arrays(history[-1], laws[history], len(history) == horizon)
    return laws, problem


def value(policy, problem, first, moves, horizon, rho=(0.75, 0.25)):
    """Expected total reward of an agent who plays ``policy`` against a frozen flow, history by history."""
    total = 0.0
    for whole, chance in histories(first, moves, horizon)[-1].items():
        law = np.array(rho)
        for h in range(horizon):
            p, r = problem[whole[: h + 1]]
            pairs = law[:, None] * policy(whole[: h + 1])
            total += chance * (pairs * r).sum()
            law = np.einsum("sa,sat->t", pairs, p)
    return total


def is_allowed(history, state, action):
    return action == 0 or state == 1 or history[-1] == GOOD
