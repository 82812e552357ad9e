"""A small game with two populations of different sizes, and the same written down again in plain numpy."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from mfenvs import Population, PopulationGame, crowd_in, rule, share_in

HAWK, DOVE = 0, 1
SIZES = (2, 3)
ACTIONS = (3, 2)
INITIAL = ((0.25, 0.75), (0.5, 0.2, 0.3))


class Hunger(NamedTuple):
    hunger: float
    fee: float


@dataclasses.dataclass(kw_only=True)
class Hunt(PopulationGame):
    """Hawks in two places and doves in three; doves differ in how shy they are, hawks in how quick."""

    n_agents: int = 12
    horizon: int = 2
    hunger: float = 1.5
    share_of_hawks: float = 0.25

    parameter_dtype = np.dtype([("nerve", np.float64), ("worth", np.float64)])
    n_branches = 0

    @property
    def populations(self):
        return (
            Population(name="hawk", share=self.share_of_hawks, n_states=2, n_actions=3, initial=INITIAL[0]),
            Population(
                name="dove",
                share=1.0 - self.share_of_hawks,
                n_states=3,
                n_actions=2,
                initial=INITIAL[1],
                state_names=("nest", "field", "wood"),
            ),
        )

    def draw_parameters(self, rng):
        parameters = np.zeros(self.n_agents, self.parameter_dtype)
        # Few distinct values, and other ones in each population.
        own = np.arange(self.n_agents) % 3
        parameters["nerve"] = np.where(self.population_of_agent == HAWK, 0.2 + 0.1 * own, 0.5 + 0.2 * own)
        parameters["worth"] = 1.0 + own
        return parameters

    @property
    def constants(self):
        return Hunger(self.hunger, 0.25)

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        if agent.population == HAWK:
            ahead = agent.nerve * (0.5 + 0.5 * share_in(world, DOVE, 1)) if action > 0 else 0.1
            return ahead if next_state != state else 1.0 - ahead
        away = agent.nerve * (1.0 - 0.8 * share_in(world, HAWK, 1, 2)) if action >= 1 else 0.05
        if next_state == state:
            return 1.0 - away
        return away if next_state == (state + 1) % 3 else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        if agent.population == HAWK:
            return (
                world.constants.hunger * share_in(world, DOVE, state) - 0.1 * action - crowd_in(world, HAWK, state)
            )
        return -agent.worth * share_in(world, HAWK, 0) * state - share_in(world, DOVE, state, action)

    @staticmethod
    @rule
    def arrival(next_state, state, action, agent, world):
        return -world.constants.fee * agent.worth if next_state != state else 0.0

    @staticmethod
    @rule
    def terminal(state, agent, world):
        return (1.0 + agent.population) if state == 1 else 0.0

    @staticmethod
    @rule
    def allowed(action, state, agent, public):
        return agent.population == HAWK or state < 2 or action == 0


def may(p, state, action):
    return action < ACTIONS[p] and (p == HAWK or state < 2 or action == 0)


def row(p, state, action, nerve, dove_field, hawk_wood_2):
    """A transition row over the states of population p."""
    law = np.zeros(SIZES[p])
    if p == HAWK:
        ahead = nerve * (0.5 + 0.5 * dove_field) if action > 0 else 0.1
        law[state], law[1 - state] = 1 - ahead, ahead
    else:
        away = nerve * (1 - 0.8 * hawk_wood_2) if action == 1 else 0.05
        law[state], law[(state + 1) % 3] = 1 - away, away
    return law


def earned(p, state, action, worth, hunger, others, everyone):
    """A reward; ``others`` and ``everyone`` are laws over (state, action) within each population."""
    if p == HAWK:
        return hunger * others[DOVE][state].sum() - 0.1 * action - everyone[HAWK][state].sum()
    return -worth * others[HAWK][0].sum() * state - others[DOVE][state, action]


class Oracle:
    """The game's mean-field limit by loops over populations, states, actions and agents."""

    def __init__(self, game):
        self.game, self.horizon = game, game.horizon
        n_hawks = round(game.share_of_hawks * game.n_agents)
        self.members = [range(n_hawks), range(n_hawks, game.n_agents)]
        own = np.arange(game.n_agents) % 3
        self.nerve = [0.2 + 0.1 * own[i] if i < n_hawks else 0.5 + 0.2 * own[i] for i in range(game.n_agents)]
        self.worth = [1.0 + k for k in own]

    def model(self, laws, time):
        """For each population P (S, A, S) and R (S, A), averaged over its agents."""
        found = []
        for p in (HAWK, DOVE):
            rows = np.zeros((SIZES[p], ACTIONS[p], SIZES[p]))
            rewards = np.zeros((SIZES[p], ACTIONS[p]))
            for s, a in np.ndindex(rewards.shape):
                for i in self.members[p]:
                    law = row(p, s, a, self.nerve[i], laws[DOVE][1].sum(), laws[HAWK][1, 2])
                    pay = earned(p, s, a, self.worth[i], self.game.hunger, laws, laws)
                    for t in range(SIZES[p]):
                        pay += law[t] * (-0.25 * self.worth[i] if t != s else 0.0)
                        if time == self.horizon - 1:
                            pay += law[t] * ((1.0 + p) if t == 1 else 0.0)
                    rows[s, a] += law / len(self.members[p])
                    rewards[s, a] += pay / len(self.members[p])
            found.append((rows, rewards))
        return found

    def flow(self, policies):
        """Laws over states, laws over pairs, and models, of every time."""
        states, steps = [np.array(law) for law in INITIAL], []
        for h in range(self.horizon):
            laws = [states[p][:, None] * policies[p][h] for p in (HAWK, DOVE)]
            model = self.model(laws, h)
            steps.append((laws, model))
            states = [np.einsum("sa,sat->t", laws[p], model[p][0]) for p in (HAWK, DOVE)]
        return steps

    def value(self, p, policy, steps):
        law, total = np.array(INITIAL[p]), 0.0
        for h, (_, model) in enumerate(steps):
            pairs = law[:, None] * policy[h]
            total += (pairs * model[p][1]).sum()
            law = np.einsum("sa,sat->t", pairs, model[p][0])
        return total

    def exploitability(self, p, policies):
        """The largest gain of any deterministic policy of one agent, by enumeration."""
        steps = self.flow(policies)
        choices = [[a for a in range(ACTIONS[p]) if may(p, s, a)] for s in range(SIZES[p])] * self.horizon
        best = -np.inf
        for chosen in itertools.product(*choices):
            policy = np.eye(ACTIONS[p])[np.array(chosen).reshape(self.horizon, SIZES[p])]
            best = max(best, self.value(p, policy, steps))
        return best - self.value(p, policies[p], steps)


def random_policies(rng, horizon=2):
    """A policy for each population, which takes allowed actions only."""
    found = []
    for p in (HAWK, DOVE):
        weights = rng.exponential(size=(horizon, SIZES[p], ACTIONS[p]))
        for s, a in np.ndindex(SIZES[p], ACTIONS[p]):
            weights[:, s, a] *= may(p, s, a)
        found.append(weights / weights.sum(-1, keepdims=True))
    return found
