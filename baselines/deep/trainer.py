"""The base class of the deep solvers: the population plays a policy, and a Q-network learns from it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import get_device

from mfenvs.engine.engine import Engine
from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game, kind_of
from mfenvs.play import tabulate
from mfenvs.wrappers.observations import Observer

from ..neural.hyper_parameters import checked_device
from ..policies import TabularPolicy
from ..trainer import Trainer
from .buffers import ReplayBuffer
from .config import DeepConfig
from .networks import Learner, NetworkPolicy, layer_sizes, learner_specification
from .targets import Transitions

Laws = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""Probabilities of actions, shape (n_rows, n_actions), from observations and action masks of so many rows."""

WEIGHTS, PLAY, LEARN, ANSWER, AVERAGE = range(5)
"""Purposes of random numbers: first weights, episodes, minibatches, best responses, the average network."""


class DeepTrainer(Trainer[Any]):
    """Base class of trainers with a Q-network that learns from a population in the N-player game.

    In every episode of an iteration the agents of all worlds play the population's policy, but for some explorers,
    who are drawn anew. The transitions of all agents go into a replay buffer, from which the Q-network learns. It
    never reads the game's model: every game with discrete actions can be learned, finite or not.

    A subclass says what the population and the explorers play, and what the Q-network's targets are.
    """

    config_class: ClassVar[type[DeepConfig]] = DeepConfig

    @classmethod
    def _check_game(cls, game: Game) -> FiniteGame:
        if not isinstance(game.action_space, gymnasium.spaces.Discrete):
            raise TypeError(
                f"{cls.__name__} needs a game with discrete actions, got {kind_of(game)} with {game.action_space}"
            )
        return cast(FiniteGame, game)  # Nothing here needs more than a game.

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps in an iteration's episodes."""
        return self._steps_of(self.config.episodes)

    @property
    def policy(self) -> TabularPolicy | NetworkPolicy:  # type: ignore[override]
        """The policy that has been learned: a table for a finite game, else :attr:`network_policy`.

        Of a finite game whose agents observe more than their own state it is the network too.
        """
        network = self.network_policy
        if not isinstance(self.game, FiniteGame):
            return network
        try:
            law = tabulate(self.game, network)
        except TypeError:  # It depends on what others do.
            return network
        return self._as_policy(law)

    @property
    @abc.abstractmethod
    def network_policy(self) -> NetworkPolicy:
        """The policy that has been learned, as a network of what agents observe."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], None]:
        """Actions of the network for observations: see :meth:`NetworkPolicy.predict`."""
        return self.network_policy.predict(observation, state, episode_start, deterministic)

    @abc.abstractmethod
    def _targets(self, batch: Transitions, target: torch.nn.Module) -> torch.Tensor:
        """Targets of the Q values of transitions, shape (n,), by a target network."""

    @abc.abstractmethod
    def _explore(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What explorers play when they do not play at random, as :data:`Laws`."""

    def _set_up(self) -> None:
        config, game = self.config, self.game
        self._observer = Observer(game, config.observe)
        self._sizes = self._layers(game, config)
        self._device = get_device(checked_device(config.device))
        self._warm_up = self._first_learned_step(game, config)
        self._engine = Engine(game, config.n_worlds)
        self._q = self._new_learner(config.learning_rate, 0)
        n_steps = game.horizon - self._warm_up - game.is_infinite
        if n_steps < 1:
            raise ValueError(
                "horizon must be at least 2 in an infinite game, whose last step has no transition, got"
                f" {game.horizon}"
            )
        n_rows = config.n_worlds * game.n_agents
        self._n_kept = min(n_rows, config.buffer_size // (config.episodes * n_steps))
        if not self._n_kept:
            raise ValueError(
                f"buffer_size must be at least {config.episodes * n_steps}, one transition of every step in the"
                f" {config.episodes} episodes, got {config.buffer_size}"
            )
        self._buffer = ReplayBuffer(self._n_kept * config.episodes * n_steps, self._sizes[0], self._sizes[-1])

    @classmethod
    def _layers(cls, game: Game, config: DeepConfig) -> list[int]:
        n_actions = int(cast(gymnasium.spaces.Discrete, game.action_space).n)
        return layer_sizes(Observer(game, config.observe).width, config.hidden, n_actions)

    @staticmethod
    def _first_learned_step(game: Game, config: DeepConfig) -> int:
        """The first step of an episode from which something is learned."""
        if config.warm_up is None:
            # At least one step is left, whose transition ends in the episode.
            return min(game.horizon // 2, max(0, game.horizon - 2)) if game.is_infinite else 0
        most = game.horizon - 1 - game.is_infinite
        if config.warm_up > max(most, 0):
            raise ValueError(
                f"warm_up must be at most {most}, of episodes of {game.horizon} steps, got {config.warm_up}"
            )
        return config.warm_up

    def _new_learner(self, learning_rate: float, which: int) -> Learner:
        config = self.config
        return Learner(
            self._sizes,
            config.activation,
            learning_rate=learning_rate,
            max_grad_norm=config.max_grad_norm,
            device=self._device,
            seed=self._seed_of(WEIGHTS, which) >> 1,
        )

    def _seed_of(self, purpose: int, number: int = 0) -> int:
        """A random seed below 2^64 that follows from the seed, the iteration, the purpose and a number."""
        entropy = self.config.seed, self.iteration, purpose, number
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])

    def _rng(self, purpose: int, number: int = 0) -> np.random.Generator:
        return np.random.default_rng(self._seed_of(purpose, number))

    def _steps_of(self, episodes: int) -> int:
        return int(episodes * self.config.n_worlds * self.game.n_agents * self.game.horizon)

    def _learn_q(self, population: Laws) -> dict[str, float]:
        """Let the population play, and the Q-network learn from it; return what is logged."""
        config = self.config
        self._buffer.clear()
        target = self._q.copied()
        losses, returns, done = [0.0], [], 0
        for episode in range(config.episodes):
            returns.append(self._play(episode, population))
            rng = self._rng(LEARN, episode)
            last = (config.n_updates * (episode + 1)) // config.episodes
            for n in range(done, last):
                if n % config.target_every == 0:
                    target.load_state_dict(self._q.network.state_dict())
                losses.append(self._update(target, rng))
            done = last
        self._q.check_parameters()
        return {
            "train/return": float(np.mean(returns)),
            "train/q_loss": float(np.mean(losses[-config.target_every :])),
        }

    def _update(self, target: torch.nn.Module, rng: np.random.Generator) -> float:
        """One gradient step of the Q-network; return the loss, the mean squared error."""
        batch = self._buffer.sample(self.config.batch_size, rng, self._device)
        with torch.no_grad():
            wanted = self._targets(batch, target)
        values = self._q.network(batch.observations).gather(1, batch.actions[:, None])[:, 0]
        return self._q.descend(torch.nn.functional.mse_loss(values, wanted))

    def _play(self, episode: int, population: Laws) -> float:
        """Play an episode into the replay buffer; return the agents' mean return."""
        engine, game, config = self._engine, self.game, self.config
        rng = self._rng(PLAY, episode)
        engine.reset(seed=self._seed_of(PLAY, episode))
        shape = config.n_worlds * game.n_agents, -1
        explorers = self._drawn_explorers(rng)
        total, seen, masks = 0.0, self._seen(), engine.action_masks().reshape(shape)
        for time in range(game.horizon):
            laws = population(seen, masks)
            if len(explorers):
                allowed = masks[explorers]
                uniform = allowed / allowed.sum(axis=1, keepdims=True)
                own = self._explore(seen[explorers], allowed)
                laws[explorers] = (1.0 - config.epsilon) * own + config.epsilon * uniform
            actions, rewards = self._stepped(laws)
            total += game.discount**time * float(rewards.mean(dtype=np.float64))
            next_seen, next_masks = self._seen(), engine.action_masks().reshape(shape)
            is_last = time == game.horizon - 1
            if time >= self._warm_up and not (is_last and game.is_infinite):
                if is_last:
                    next_masks = np.ones_like(next_masks)
                rows = self._kept_rows(rng)
                self._buffer.add(
                    *(seen[rows], masks[rows], actions[rows], rewards[rows]),
                    *(next_seen[rows], next_masks[rows], not is_last),
                )
            seen, masks = next_seen, next_masks
        return total

    def _stepped(self, laws: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Take a step by these laws of actions; return actions and rewards of all rows.

        Raises
        ------
        ValueError
            If a reward is not finite.
        """
        engine = self._engine
        drawn = engine.draw_actions(laws.reshape(engine.n_worlds, self.game.n_agents, -1))
        time, rewards = engine.time, engine.step(drawn)
        if not np.isfinite(rewards).all():
            world, agent = (int(i) for i in np.argwhere(~np.isfinite(rewards))[0])
            raise ValueError(
                f"rewards must be finite, got {rewards[world, agent]} of {self.game.agent_names[agent]} at time"
                f" {time} for action {drawn[world, agent]}. The networks have not learned from it"
            )
        return drawn.reshape(-1).astype(np.int64), rewards.reshape(-1)

    def _seen(self) -> NDArray[np.float32]:
        """What all agents observe now, one row each; ValueError if a number is not finite."""
        seen = np.array(self._observer(self._engine).reshape(-1, self._sizes[0]))
        if not np.isfinite(seen).all():
            row, feature = (int(i) for i in np.argwhere(~np.isfinite(seen))[0])
            raise ValueError(
                f"observations must be finite, got {seen[row, feature]} as feature {feature} of"
                f" {self.game.agent_names[row % self.game.n_agents]} at time {self._engine.time}"
            )
        return seen

    @staticmethod
    def _n_explorers(game: Game, config: DeepConfig) -> int:
        """Number of agents who explore in each world: at least one, if any shall."""
        return max(1, round(config.explorers * game.n_agents)) if config.explorers > 0.0 else 0

    def _drawn_explorers(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of the agents who explore in this episode, so many in each world."""
        n, number = self.game.n_agents, self._n_explorers(self.game, self.config)
        worlds = range(self.config.n_worlds)
        return np.concatenate([world * n + rng.choice(n, number, replace=False) for world in worlds])

    def _kept_rows(self, rng: np.random.Generator) -> Any:
        """The rows of a step that go into the replay buffer."""
        n_rows = self.config.n_worlds * self.game.n_agents
        if self._n_kept == n_rows:
            return slice(None)
        return rng.choice(n_rows, self._n_kept, replace=False, shuffle=False)

    def _greedy(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Laws that take the best allowed action by the Q-network."""
        with torch.no_grad():
            q = self._q.network(torch.from_numpy(observations).to(self._device)).cpu().numpy()
        best = np.where(masks, q, -np.inf).argmax(axis=1)
        laws: NDArray[np.float32] = (best[:, None] == np.arange(q.shape[1])).astype(np.float32)
        return laws

    def _state(self) -> dict[str, NDArray[Any]]:
        return {f"q/{name}": array for name, array in self._q.arrays()}

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        found = learner_specification(cls._layers(game, config))
        return {f"q/{name}": specification for name, specification in found.items()}

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        self._q.set_arrays(below(state, "q/"))


def below(state: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
