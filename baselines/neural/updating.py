"""PPO's updates of its networks from a rollout: as a whole or not at all, without autograd where possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import explained_variance

from .adam import ClippedSteps
from .collecting import RolloutCollector, is_refusal_of_torch
from .distinct_observations import DistinctMinibatch, DistinctObservations, DistinctRows
from .finite import ParameterBackup, check_update, update_error
from .policy_and_value import Minibatch, PolicyAndValue
from .ppo_kernels import CLIPPED, ENTROPY, KL, POLICY_LOSS, VALUE_LOSS

LOSSES = ("loss", "value_loss", "policy_gradient_loss")
"""Logged figures that must be finite: gradients of infinite losses are clipped to zero, and nothing is learned."""


class RolloutLearner(RolloutCollector):
    """A collector of rollouts that learns from them: the base of :class:`baselines.PPO`.

    An update that fails is undone: parameters, optimiser and counters are as before. Perceptrons with discrete
    actions are trained on a CPU by :mod:`baselines.neural.policy_and_value`, everything else by SB3's ``train``.
    """

    measured: dict[str, float]
    """The figures that the last update logged, by name."""
    after_update: list[Callable[[], None]]
    """Functions without arguments that are called after every update, before its log is written."""
    _to_log: int | None
    """The number of the update whose log is to be written, or None."""
    _backup: ParameterBackup

    def train(self) -> None:
        """Update the networks from the rollout, as a whole or not at all.

        Raises
        ------
        ValueError
            If parameters, the optimiser's state or losses would not be finite. Nothing has changed then.
        """
        n_updates = self._n_updates
        try:
            with self._own_randomness(1), self._backup.restored_on_error(self.policy):
                self._update_to_finite()
        except BaseException:
            self._n_updates = n_updates
            self._undo_rollout(self.env)
            raise
        self._rollout_start = {}
        for function in self.after_update:
            function()
        if self._to_log is not None:
            found = self.logger.name_to_value.items()
            self.measured = {name: float(value) for name, value in found if isinstance(value, float | int)}
            super().dump_logs(self._to_log)
            self._to_log = None

    def dump_logs(self, iteration: int = 0) -> None:
        """Ask for the log to be written after the update (SB3 writes it before: its figures come one row late)."""
        self._to_log = iteration

    def _update_to_finite(self) -> None:
        """Update the networks; ValueError if they are not finite after it."""
        optimizer = self.policy.optimizer
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
                self._update()
        except ValueError as error:
            if is_refusal_of_torch(error):
                rate = optimizer.param_groups[0]["lr"]
                raise update_error("the probabilities of actions", self.rollout_buffer, rate) from error
            raise
        losses = {name: self.logger.name_to_value.get(f"train/{name}", 0.0) for name in LOSSES}
        check_update(self.policy, losses, self.rollout_buffer, optimizer.param_groups[0]["lr"])

    def _update(self) -> None:
        if self._networks is None or self.clip_range_vf is not None:
            super().train()
        else:
            self._train_networks(self._networks)

    def _train_networks(self, networks: PolicyAndValue) -> None:
        """Do what SB3's ``train`` does, with the compiled gradients of ``networks``."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        make_minibatch = self._minibatches()
        steps = ClippedSteps(networks.parameters, self.policy.optimizer, self.max_grad_norm)
        log: list[NDArray[np.float64]] = []
        kl_of_pass: list[float] = []
        goes_on = True
        for _ in range(self.n_epochs):
            kl_of_pass.clear()
            for rows in self.rollout_buffer.minibatches(self.batch_size):
                batch = make_minibatch(rows)
                means = networks.compute_gradients(batch, clip_range, self.ent_coef, self.vf_coef) / len(rows)
                log.append(means)
                kl_of_pass.append(means[KL])
                if self.target_kl is not None and means[KL] > 1.5 * self.target_kl:
                    goes_on = False
                    break
                steps.step()
                networks.refresh()
            self._n_updates += 1
            if not goes_on:
                break
        loss = float(log[-1] @ loss_weights(self.ent_coef, self.vf_coef))
        self._record_update(np.mean(log, axis=0), float(np.mean(kl_of_pass)), loss, clip_range)

    def _record_update(self, means: NDArray[np.float64], kl: float, loss: float, clip_range: float) -> None:
        """Log an update.

        Parameters
        ----------
        means:
            Means over all minibatches of the figures that :mod:`baselines.neural.ppo_kernels` sums, shape (5,).
        kl:
            Approximate Kullback-Leibler divergence of the last pass.
        loss:
            Loss of the last minibatch.
        clip_range:
            Clip range of the update.
        """
        rollout = self.rollout_buffer
        for name, value in {
            "entropy_loss": -means[ENTROPY],
            "policy_gradient_loss": means[POLICY_LOSS],
            "value_loss": means[VALUE_LOSS],
            "approx_kl": kl,
            "clip_fraction": means[CLIPPED],
            "loss": loss,
            "explained_variance": explained_variance(rollout.values.flatten(), rollout.returns.flatten()),
            "clip_range": clip_range,
        }.items():
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _takes_agents(self, networks: Any) -> bool:
        return isinstance(networks, PolicyAndValue) and self.clip_range_vf is None

    def _minibatches(self) -> Callable[[torch.Tensor], Minibatch | DistinctMinibatch]:
        """The function that makes the minibatch of some rows: of distinct observations, where these are few."""
        rollout, networks = self.rollout_buffer, self._networks
        observations = rollout.observations.flatten(2).numpy()
        if networks is None or rollout.identity is None:
            distinct = DistinctObservations.of(observations, self.batch_size)
        else:
            identity = networks.own_columns, networks.identity, rollout.agents
            distinct = DistinctObservations.of(observations, self.batch_size, *identity)
        if distinct is None:
            return self._minibatch
        rows_of = DistinctRows(
            distinct,
            rollout.actions.numpy().reshape(-1),
            rollout.log_probs.numpy().reshape(-1),
            rollout.advantages.numpy().reshape(-1),
            rollout.value_targets.numpy().reshape(-1),
            int(self.action_space.n),  # type: ignore[attr-defined]
        )
        return lambda rows: rows_of.minibatch(rows, self.normalize_advantage)

    def _minibatch(self, rows: torch.Tensor) -> Minibatch:
        rollout, chosen = self.rollout_buffer, rows.numpy()
        advantages = rollout.advantages.numpy().reshape(-1)[chosen]
        if self.normalize_advantage and len(chosen) > 1:
            mean, deviation = advantages.mean(dtype=np.float64), advantages.std(ddof=1, dtype=np.float64)
            advantages = ((advantages - mean) / (deviation + 1e-8)).astype(np.float32)
        return Minibatch(
            rollout.observations.flatten(0, 1).flatten(1),
            rows,
            rollout.actions.numpy().reshape(-1)[chosen],
            rollout.log_probs.numpy().reshape(-1)[chosen],
            advantages,
            rollout.value_targets.numpy().reshape(-1)[chosen],
        )


def loss_weights(entropy: float, value: float) -> NDArray[np.float64]:
    """The weights with which the logged sums add up to PPO's loss, shape (5,).

    Parameters
    ----------
    entropy, value:
        Coefficients of the entropy bonus and of the value loss.
    """
    weights = np.zeros(5)
    weights[POLICY_LOSS], weights[ENTROPY], weights[VALUE_LOSS] = 1.0, -entropy, value
    return weights
