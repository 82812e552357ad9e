"""Environments of others, small, whose parts can be spoiled."""

import gymnasium
import numpy as np
import pettingzoo

import mfenvs


class Disguised(pettingzoo.ParallelEnv):
    """A finite game of ours under other names, whose agents see a picture of their state and nothing else."""

    metadata = {"name": "disguised"}

    def __init__(self, game):
        self.inner = mfenvs.parallel_env(game)
        self.ours = dict(zip("abcdefghijklmnopqrstuvwxyz", self.inner.possible_agents, strict=False))
        if len(self.ours) < len(self.inner.possible_agents):
            self.ours = {f"someone{i}": name for i, name in enumerate(self.inner.possible_agents)}
        self.theirs = {our: their for their, our in self.ours.items()}
        self.possible_agents = list(self.ours)
        self.agents = []

    def observation_space(self, agent):
        return gymnasium.spaces.Box(-2.0, 2.0, (2, 1))

    def action_space(self, agent):
        return self.inner.action_space(self.ours[agent])

    def _renamed(self, values):
        return {self.theirs[name]: value for name, value in values.items()}

    def _pictures(self, observations):
        return {
            name: np.array([[1.0], [3.0]]) - 2.0 * seen[1] for name, seen in self._renamed(observations).items()
        }

    def reset(self, seed=None, options=None):
        observations, infos = self.inner.reset(seed)
        self.agents = list(self.possible_agents)
        return self._pictures(observations), self._renamed(infos)

    def step(self, actions):
        found = self.inner.step({self.ours[name]: action for name, action in actions.items()})
        self.agents = [self.theirs[name] for name in self.inner.agents]
        return self._pictures(found[0]), *map(self._renamed, found[1:])


def looks(picture, name):
    """The state of an agent in the pictures above: 1 - 2 s and 3 - 2 s."""
    return int(picture[0, 0] < 0)


class Coins(pettingzoo.ParallelEnv):
    """Agents show heads or tails; the next state is what was shown, and likeness pays.

    The reward is the share of the others who show the same, plus bonus time. Attributes spoil it.
    """

    metadata = {"name": "coins"}
    render_mode = None

    def __init__(self, n_agents=2, length=3, bonus=0.0, **spoiled):
        self.possible_agents = [f"p{i}" for i in range(n_agents)]
        self.agents, self.length, self.bonus, self.episode = [], length, bonus, 0
        self.actions = {name: gymnasium.spaces.Discrete(2) for name in self.possible_agents}
        self.observations = {name: gymnasium.spaces.Discrete(2) for name in self.possible_agents}
        self.first, self.seeded, self.leaver, self.reward = 0, True, None, None
        self.lengths = self.begin = None
        for name, value in spoiled.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def observation_space(self, agent):
        return self.observations[agent]

    def action_space(self, agent):
        return self.actions[agent]

    def reset(self, seed=None, options=None):
        rng = np.random.default_rng(seed if self.seeded else None)
        self.agents, self.time = list(self.possible_agents), 0
        if self.lengths:
            self.length = self.lengths[self.episode % len(self.lengths)]
        self.episode += 1
        states = rng.integers(2, size=len(self.agents)) if self.begin is None else [self.begin] * len(self.agents)
        return {name: int(s) + self.first for name, s in zip(self.agents, states, strict=True)}, {
            name: {} for name in self.agents
        }

    def step(self, actions):
        shown = {name: action - self.actions[name].start for name, action in actions.items()}
        n_others = len(shown) - 1
        rewards = {
            name: (sum(other == coin for other in shown.values()) - 1) / n_others + self.bonus * self.time
            for name, coin in shown.items()
        }
        if self.reward is not None:
            rewards["p1"] = self.reward
        self.time += 1
        over = dict.fromkeys(shown, self.time == self.length)
        observations = {name: coin + self.first for name, coin in shown.items()}
        if self.leaver == self.time:
            over["p0"] = True
        self.agents = [name for name in self.agents if not over[name]]
        return observations, rewards, over, dict.fromkeys(shown, False), {name: {} for name in shown}
