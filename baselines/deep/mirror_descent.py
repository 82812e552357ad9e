"""Deep Munchausen online mirror descent: the policy is the softmax of a single Q-network."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from .config import DeepConfig, DeepMirrorDescentConfig
from .networks import NetworkPolicy
from .targets import Transitions, munchausen_targets
from .trainer import DeepTrainer


class DeepMirrorDescent(DeepTrainer):
    """Deep Munchausen online mirror descent (D-MOMD) for the N-player game.

    In iteration k the population plays pi_k = softmax(Q_k / tau), from the uniform policy on. Meanwhile the
    Q-network learns Q_{k+1} from the target

        r + alpha tau log pi_k(a | s) + gamma sum_b pi_k(b | s') (Q_target(s', b) - tau log pi_k(b | s')).

    With alpha = 1 and exact values that is online mirror descent with the learning rate 1 / tau: pi_{k+1} is
    proportional to pi_k exp(Q^{pi_k} / tau), without a sum of all networks so far. Q^{pi_k} are the values in the
    population that plays pi_k: here of N agents in the simulator, a share ``explorers`` of whom play at random
    with probability ``epsilon``.

    Parameters
    ----------
    game:
        A game with discrete actions, or the name of a registered one.
    config, overrides:
        Hyper-parameters (:class:`~baselines.deep.config.DeepMirrorDescentConfig`), or single ones by name.

    Raises
    ------
    TypeError, ValueError
        If the game's actions are not discrete or a hyper-parameter is not allowed; by ``learn``, if a reward, an
        observation or a parameter is not finite: the trainer is then as after its last whole iteration.

    References
    ----------
    Lauriere, Perrin, Girgin, Muller, Jain, Cabannes, Piliouras, Perolat, Elie, Pietquin & Geist, "Scalable deep
    reinforcement learning algorithms for mean field games" (ICML 2022, arXiv 2203.11973), algorithm 2.
    """

    name: ClassVar[str] = "deep-mirror-descent"
    config_class: ClassVar[type[DeepConfig]] = DeepMirrorDescentConfig

    @property
    def network_policy(self) -> NetworkPolicy:
        """The policy softmax(Q / tau)."""
        config = self.config
        return NetworkPolicy(self._q.copied(), config.temperature, config.observe, config.seed)

    def _iterate(self) -> dict[str, float]:
        self._last = self._q.copied()
        self._played = NetworkPolicy(self._last, self.config.temperature)
        return self._learn_q(self._played.action_probabilities)

    def _explore(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        return self._played.action_probabilities(observations, masks)

    def _targets(self, batch: Transitions, target: torch.nn.Module) -> torch.Tensor:
        config: Any = self.config
        return munchausen_targets(
            batch,
            self._last(batch.observations),
            self._last(batch.next_observations),
            target(batch.next_observations),
            temperature=config.temperature,
            munchausen=config.munchausen,
            discount=self.game.discount,
            least_probability=config.least_probability,
        )
