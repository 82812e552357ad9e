"""Single-agent environments that replay recorded trajectories.

Put into gymnasium's SyncVectorEnv or SB3's DummyVecEnv they say what a vector environment must return,
independently of ours.
"""

import gymnasium
import numpy as np

import mfenvs


class Recording:
    """Episodes of all agents, played on the bare engine."""

    def __init__(self, game, n_worlds=1, n_episodes=3, seed=0, steps=None):
        self.game, self.n_worlds, self.seed = game, n_worlds, seed
        self.steps = steps or game.horizon
        """Length of an episode: less than the horizon if it is cut."""
        rng = np.random.default_rng(5)
        shape = (n_episodes, self.steps, n_worlds, game.n_agents)
        self.actions = rng.integers(0, game.action_space.n, shape)
        self.rewards = np.zeros(shape, np.float32)
        self.observations = np.zeros((n_episodes, self.steps + 1, *shape[2:], game.n_features), np.float32)
        self.shares = [[None] * (self.steps + 1) for _ in range(n_episodes)]
        """Share of agents in each region, by world."""
        engine = mfenvs.Engine(game, n_worlds)
        for e in range(n_episodes):
            engine.reset(seed if e == 0 else None)
            self.observations[e, 0] = engine.observe()
            self.shares[e][0] = region_shares(engine)
            for t in range(self.steps):
                self.rewards[e, t] = engine.step(self.actions[e, t])
                self.observations[e, t + 1] = engine.observe()
                self.shares[e][t + 1] = region_shares(engine)

    def slots(self):
        """Constructors of one environment per agent of every world, in the order of rows."""
        return [
            lambda w=w, i=i: Replay(self, w, i) for w in range(self.n_worlds) for i in range(self.game.n_agents)
        ]

    def rows(self, episode, step):
        """Actions of all rows, shape (n_worlds * n_agents,)."""
        return self.actions[episode, step].reshape(-1)


def region_shares(engine):
    """By world, the share of agents in each of the game's regions, counted from the infos' definition."""
    place, regions = engine.game.rules.place.py_func, engine.game.regions.items()
    # Records as rules get them: fields are attributes.
    places = [[place(state) for state in world] for world in engine.states.view(np.recarray)]
    return [
        {f"share_{name}": float(np.isin(world, members).mean()) for name, members in regions} for world in places
    ]


class Replay(gymnasium.Env):
    """One agent's part of a recording; its actions must be the recorded ones."""

    def __init__(self, recording, world, agent):
        self.recording, self.world, self.agent = recording, world, agent
        self.render_mode = None
        self.observation_space = recording.game.observation_space
        self.action_space = recording.game.action_space
        self.episode, self.time = -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._observation(), self._info()

    def step(self, action):
        recording, here = self.recording, (self.episode, self.time, self.world, self.agent)
        assert action == recording.actions[here]
        self.time += 1
        terminated = self.time == recording.game.horizon and not recording.game.is_infinite
        truncated = self.time == recording.steps and not terminated
        return self._observation(), float(recording.rewards[here]), terminated, truncated, self._info()

    def _info(self):
        return self.recording.shares[self.episode][self.time][self.world].copy()

    def _observation(self):
        return self.recording.observations[self.episode, self.time, self.world, self.agent].copy()
