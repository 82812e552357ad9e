"""The rollout buffer of PPO: tensors of shape (steps, environments) on the training device."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import RolloutBufferSamples


class TensorRollout:
    """A rollout of n_steps steps of n_envs environments, in the place of SB3's ``RolloutBuffer``.

    Parameters
    ----------
    buffer_size:
        Number of steps.
    observation_space, action_space:
        The spaces of one environment.
    device:
        Device of the tensors.
    gamma, gae_lambda:
        Discount and weight lambda of generalised advantage estimation.
    n_envs:
        Number of environments.

    Raises
    ------
    TypeError
        If observations are not arrays (Dict).
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Box,
        action_space: "spaces.Space[Any]",
        device: torch.device | str = "cpu",
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        n_envs: int = 1,
    ) -> None:
        self.n_steps, self.n_envs, self.device = buffer_size, n_envs, torch.device(device)
        self.gamma, self.gae_lambda = gamma, gae_lambda
        if observation_space.shape is None:
            raise TypeError(f"observations must be arrays, got {observation_space}")
        shape = (buffer_size, n_envs)
        discrete = isinstance(action_space, spaces.Discrete)
        action_shape = () if discrete else (get_action_dim(action_space),)
        action_dtype = torch.int64 if discrete else torch.float32
        self._observation_shape: tuple[int, ...] = observation_space.shape
        self._observations: torch.Tensor | None = None
        self.identity: slice | None = None
        """The columns of observations that are left out, which hold the agent's one-hot identity."""
        self.agents: NDArray[np.int32] | None = None
        """The agent of each row, shape (n_steps, n_envs), if its identity is left out."""
        self.actions = torch.zeros(*shape, *action_shape, dtype=action_dtype, device=self.device)
        self.numbers = torch.zeros(6, *shape, device=self.device)
        """The six tensors below in one, shape (6, n_steps, n_envs); all of its numbers must be finite."""
        (
            self.rewards,
            self.value_estimates,
            self.log_probs,
            self.episode_starts,
            self.advantages,
            self.value_targets,
        ) = self.numbers

    @property
    def observations(self) -> torch.Tensor:
        """The observations, without the columns of ``identity``; shape (n_steps, n_envs, ...)."""
        if self._observations is None:
            shape = self._observation_shape
            if self.identity is not None:
                shape = (len(self.own_columns),)
            self._observations = torch.zeros(self.n_steps, self.n_envs, *shape, device=self.device)
        return self._observations

    @property
    def own_columns(self) -> NDArray[np.int64]:
        """Indices of the columns other than those of ``identity``."""
        columns = np.arange(self._observation_shape[0])
        return columns if self.identity is None else np.delete(columns, self.identity)

    def leave_out(self, identity: slice | None) -> None:
        """Choose the columns of a one-hot identity that are left out, None for no columns."""
        if identity != self.identity:
            self.identity, self._observations = identity, None
            self.agents = None if identity is None else np.zeros((self.n_steps, self.n_envs), np.int32)

    @property
    def values(self) -> NDArray[np.float32]:
        """The value estimates, (n_steps, n_envs), as SB3's logging takes them."""
        values: NDArray[np.float32] = self.value_estimates.cpu().numpy()
        return values

    @property
    def returns(self) -> NDArray[np.float32]:
        """The value targets, (n_steps, n_envs), as SB3's logging takes them."""
        targets: NDArray[np.float32] = self.value_targets.cpu().numpy()
        return targets

    def estimate_advantages(self, last_values: torch.Tensor, last_dones: torch.Tensor) -> None:
        """Generalised advantage estimation (Schulman et al., arXiv 1506.02438) for all environments at once.

        Parameters
        ----------
        last_values:
            Values of the observations after the last step, shape (n_envs,).
        last_dones:
            1 where the last step ended an episode, else 0; shape (n_envs,).
        """
        next_values, alive = last_values, 1.0 - last_dones
        running = torch.zeros_like(last_values)
        for step in reversed(range(self.n_steps)):
            values = self.value_estimates[step]
            error = self.rewards[step] + self.gamma * next_values * alive - values
            running = error + self.gamma * self.gae_lambda * alive * running
            self.advantages[step] = running
            next_values, alive = values, 1.0 - self.episode_starts[step]
        torch.add(self.advantages, self.value_estimates, out=self.value_targets)

    def minibatches(self, batch_size: int) -> Iterator[torch.Tensor]:
        """Rows (step * n_envs + environment) of every minibatch of one pass, in an order drawn by torch."""
        return iter(torch.split(torch.randperm(self.n_steps * self.n_envs, device=self.device), batch_size))

    def get(self, batch_size: int) -> Iterator[RolloutBufferSamples]:
        """The minibatches of one pass, as SB3's ``PPO.train`` takes them."""
        for rows in self.minibatches(batch_size):
            yield RolloutBufferSamples(
                self.observations.flatten(0, 1)[rows],
                self.actions.flatten(0, 1)[rows],
                self.value_estimates.flatten()[rows],
                self.log_probs.flatten()[rows],
                self.advantages.flatten()[rows],
                self.value_targets.flatten()[rows],
            )
