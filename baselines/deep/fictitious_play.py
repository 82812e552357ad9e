"""Average-network fictitious play: a network learns the average of all best responses so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs.files import ArraySpecification
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game

from .buffers import Reservoir
from .config import AverageNetworkConfig, DeepConfig
from .networks import NetworkPolicy, learner_specification
from .targets import Transitions, best_response_targets, log_policy
from .trainer import ANSWER, AVERAGE, DeepTrainer, Laws, below


class AverageNetworkFictitiousPlay(DeepTrainer):
    """Average-network fictitious play (D-AFP) for the N-player game.

    In iteration k the population plays the average policy, from the uniform policy on. Meanwhile a Q-network
    learns a best response by Q-learning (DQN) from all agents' transitions; explorers play what it has learned so
    far, and at random with probability ``epsilon``. Then explorers play the best response itself, and what they do
    goes into a reservoir: a uniform sample of the actions of all best responses so far. The average network learns
    to predict these actions, by their cross-entropy.

    So the average policy is that of fictitious play, sum_k mu_k(s) br_k(a | s) / sum_k mu_k(s), where mu_k(s) is
    the probability with which the best response br_k is in state s: each iteration counts alike.

    Parameters
    ----------
    game:
        A game with discrete actions, or the name of a registered one.
    config, overrides:
        Hyper-parameters (:class:`~baselines.deep.config.AverageNetworkConfig`), or single ones by name.

    Raises
    ------
    TypeError, ValueError
        If the game's actions are not discrete or a hyper-parameter is not allowed; by ``learn``, if a reward, an
        observation or a parameter is not finite: the trainer is then as after its last whole iteration.

    References
    ----------
    Lauriere et al., "Scalable deep reinforcement learning algorithms for mean field games" (ICML 2022, arXiv
    2203.11973), algorithm 1; Heinrich & Silver, "Deep reinforcement learning from self-play in
    imperfect-information games" (arXiv 1603.01121).
    """

    name: ClassVar[str] = "deep-fictitious-play"
    config_class: ClassVar[type[DeepConfig]] = AverageNetworkConfig

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps in an iteration's episodes."""
        return self._steps_of(self.config.episodes + self.config.answer_episodes)

    @property
    def network_policy(self) -> NetworkPolicy:
        """The average policy."""
        return NetworkPolicy(self._average.copied(), 1.0, self.config.observe, self.config.seed)

    def _set_up(self) -> None:
        super()._set_up()
        self._average = self._new_learner(self.config.average_learning_rate, 1)
        self._reservoir = Reservoir(self.config.reservoir_size, self._sizes[0], self._sizes[-1])

    def _iterate(self) -> dict[str, float]:
        population = NetworkPolicy(self._average.copied(), 1.0).action_probabilities
        measured = self._learn_q(population)
        rng = self._rng(ANSWER)
        for episode in range(self.config.answer_episodes):
            self._observe_answer(episode, population, rng)
        return measured | {"train/cross_entropy": self._learn_average()}

    def _explore(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        return self._greedy(observations, masks)

    def _targets(self, batch: Transitions, target: torch.nn.Module) -> torch.Tensor:
        return best_response_targets(batch, target(batch.next_observations), discount=self.game.discount)

    def _observe_answer(self, episode: int, population: Laws, rng: np.random.Generator) -> None:
        """Let explorers play the best response for an episode, and put what they do into the reservoir."""
        engine, game = self._engine, self.game
        engine.reset(seed=self._seed_of(ANSWER, episode))
        answering = self._drawn_explorers(rng)
        for time in range(game.horizon):
            seen = self._seen()
            masks = engine.action_masks().reshape(len(seen), -1)
            laws = population(seen, masks)
            laws[answering] = self._greedy(seen[answering], masks[answering])
            actions, _ = self._stepped(laws)
            if time >= self._warm_up:
                self._reservoir.add(seen[answering], masks[answering], actions[answering], rng)

    def _learn_average(self) -> float:
        """Let the average network learn from the reservoir; return the mean cross-entropy."""
        config, rng, losses = self.config, self._rng(AVERAGE), []
        for _ in range(config.n_average_updates):
            observations, masks, actions = self._reservoir.sample(config.batch_size, rng, self._device)
            logs = log_policy(self._average.network(observations), masks, 1.0)
            losses.append(self._average.descend(-logs.gather(1, actions[:, None]).mean()))
        self._average.check_parameters()
        return float(np.mean(losses))

    def _state(self) -> dict[str, NDArray[Any]]:
        n, kept = self._reservoir.n_stored, self._reservoir
        reservoir = {"observations": kept.observations, "masks": kept.masks, "actions": kept.actions}
        return {
            **super()._state(),
            **{f"average/{name}": array for name, array in self._average.arrays()},
            **{f"reservoir/{name}": array[:n] for name, array in reservoir.items()},
            "reservoir/n_seen": np.array(kept.n_seen, np.int64),
        }

    @classmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        sizes = cls._layers(game, config)
        n_seen = iteration * cls._answers_per_iteration(game, config)
        n = min(n_seen, config.reservoir_size)
        return {
            **super()._state_specification(game, config, iteration),
            **{f"average/{name}": each for name, each in learner_specification(sizes).items()},
            "reservoir/observations": ArraySpecification(np.float32, (n, sizes[0])),
            "reservoir/masks": ArraySpecification(np.bool_, (n, sizes[-1])),
            "reservoir/actions": ArraySpecification(np.int64, (n,), low=0, high=sizes[-1] - 1),
            "reservoir/n_seen": ArraySpecification(np.int64, (), low=n_seen, high=n_seen),
        }

    @classmethod
    def _answers_per_iteration(cls, game: Game, config: Any) -> int:
        """Number of actions of best responses that an iteration adds to the reservoir."""
        n_steps = game.horizon - cls._first_learned_step(game, config)
        return int(config.answer_episodes * n_steps * config.n_worlds * cls._n_explorers(game, config))

    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        kept = below(state, "reservoir/")
        rows = np.arange(len(kept["actions"]))
        if not kept["masks"][rows, kept["actions"]].all():
            raise ValueError("reservoir/actions must be allowed by reservoir/masks")
        super()._set_state(state)
        self._average.set_arrays(below(state, "average/"))
        self._reservoir.restore(**kept)
