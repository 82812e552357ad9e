"""Single-agent environments that replay recorded trajectories.

Put into gymnasium's SyncVectorEnv or SB3's DummyVecEnv they say what a vector environment must return,
independently of ours.
"""

import gymnasium
import numpy as np

import mfenvs
from mfenvs.rules import Public


class Recording:
    """Episodes of all agents, played on the bare engine."""

    def __init__(self, game, n_worlds=1, n_episodes=3, seed=0, steps=None):
        self.game, self.n_worlds, self.seed = game, n_worlds, seed
        self.steps = steps or game.horizon
        """Length of an episode: less than the horizon if it is cut."""
        rng = np.random.default_rng(5)
        shape = (n_episodes, self.steps, n_worlds, game.n_agents)
        self.actions = random_actions(rng, game.action_space, shape)
        self.rewards = np.zeros(shape, np.float32)
        self.observations = np.zeros((n_episodes, self.steps + 1, *shape[2:], game.n_features), np.float32)
        self.told = [[None] * (self.steps + 1) for _ in range(n_episodes)]
        """What infos tell of each world."""
        self.masks = [[None] * (self.steps + 1) for _ in range(n_episodes)]
        """Action masks of all agents."""
        engine = mfenvs.Engine(game, n_worlds)
        for e in range(n_episodes):
            engine.reset(seed if e == 0 else None)
            self.observations[e, 0] = engine.observe()
            self.told[e][0], self.masks[e][0] = told_of_worlds(engine), masks_of(engine)
            for t in range(self.steps):
                self.rewards[e, t] = engine.step(self.actions[e, t])
                self.observations[e, t + 1] = engine.observe()
                self.told[e][t + 1], self.masks[e][t + 1] = told_of_worlds(engine), masks_of(engine)

    def slots(self, with_masks=True):
        """Constructors of one environment per agent of every world, in the order of rows."""
        return [
            lambda w=w, i=i: Replay(self, w, i, with_masks)
            for w in range(self.n_worlds)
            for i in range(self.game.n_agents)
        ]

    def info(self, e, t, w, i, with_mask=True):
        """What is told agent i of world w."""
        masks = self.masks[e][t]
        mask = {} if masks is None or not with_mask else {"action_mask": masks[w, i]}
        return self.told[e][t][w] | mask

    def rows(self, episode, step):
        """Actions of all rows, shape (n_worlds * n_agents,)."""
        return self.actions[episode, step].reshape(-1, *self.game.action_space.shape)


def random_actions(rng, space, shape):
    """Actions of this shape, uniform on a discrete space or a box."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(0, space.n, shape)
    return rng.uniform(space.low, space.high, (*shape, *space.shape)).astype(space.dtype)


def told_of_worlds(engine):
    """By world, what infos tell: the shares of regions, counted from their definition, and what is reported."""
    game = engine.game
    told = [{name: float(signal[entry]) for name, entry in game.reported.items()} for signal in engine.signal]
    if game.regions:
        place = game.rules.place.py_func
        # Records as rules get them: fields are attributes.
        places = [[place(state) for state in world] for world in engine.states.view(np.recarray)]
        for world, seen in zip(told, places, strict=True):
            world |= {
                f"share_{name}": float(np.isin(seen, members).mean()) for name, members in game.regions.items()
            }
    return told


def masks_of(engine):
    """By world and agent, the action mask as the game's rule has it; None if it has none."""
    game = engine.game
    allowed = game.rules.allowed
    if allowed is None:
        return None
    everyone = zip(engine.states.view(np.recarray), engine.signal, strict=True)
    people = [(list(zip(world, game.agents, strict=True)), signal) for world, signal in everyone]
    now = engine.time, engine.time / game.horizon
    return np.array(
        [
            [
                [
                    allowed.py_func(action, *person, Public(signal, game.constants, *now))
                    for action in range(game.action_space.n)
                ]
                for person in world
            ]
            for world, signal in people
        ],
        np.int8,
    )


class Replay(gymnasium.Env):
    """One agent's part of a recording; its actions must be the recorded ones."""

    def __init__(self, recording, world, agent, with_masks):
        self.recording, self.world, self.agent = recording, world, agent
        self.with_masks = with_masks
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
        np.testing.assert_array_equal(action, recording.actions[here])
        self.time += 1
        terminated = self.time == recording.game.horizon and not recording.game.is_infinite
        truncated = self.time == recording.steps and not terminated
        return self._observation(), float(recording.rewards[here]), terminated, truncated, self._info()

    def _info(self):
        return self.recording.info(self.episode, self.time, self.world, self.agent, self.with_masks)

    def _observation(self):
        return self.recording.observations[self.episode, self.time, self.world, self.agent].copy()
