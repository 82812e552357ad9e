"""Rollouts on a CUDA device, where the environment and the networks exchange tensors, without a copy in a step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs.api.tensors import TensorPopulation

from .rollout import TensorRollout


class DeviceRollout:
    """The steps of a rollout between a population and a rollout buffer that are on the same device.

    The engine writes observations and rewards straight into the buffer. What is found wrong is looked at when the
    rollout has ended, since looking would wait for the device.

    Parameters
    ----------
    population:
        The population.
    rollout:
        The buffer.
    returns:
        Total reward of each row's episode so far, shape (n_envs,).
    begins:
        Whether the first step begins an episode.
    """

    def __init__(
        self, population: TensorPopulation, rollout: TensorRollout, returns: NDArray[np.float64], begins: bool
    ) -> None:
        self._population, self._rollout = population, rollout
        self.begins = begins
        """Whether the next step begins an episode."""
        self._returns = torch.from_numpy(returns).to(rollout.device)
        self._are_finite = torch.ones(rollout.n_steps, dtype=torch.bool, device=rollout.device)
        self._mean_return: torch.Tensor | None = None

    def observe(self, step: int) -> None:
        """Write what is seen before a step into the buffer."""
        self._population.observe_tensors(self._rollout.observations[step])
        self._rollout.episode_starts[step] = float(self.begins)

    def advance(self, step: int, actions: torch.Tensor) -> torch.Tensor:
        """Take a step by these actions, (n_envs, ...); return the rewards, which are in the buffer now."""
        rewards = self._population.step_tensors(actions, self._rollout.rewards[step])
        self._are_finite[step] = torch.isfinite(rewards).all()
        self._returns += rewards
        self.begins = self._population.is_over
        return rewards

    def last_observations(self) -> torch.Tensor | None:
        """Observations at the end of an episode that was truncated, shape (n_envs, ...), else None."""
        return self._population.observe_tensors() if self._population.truncated else None

    def begin_episode(self) -> None:
        """Begin the next episode."""
        self._mean_return = self._returns.mean()
        self._returns.zero_()
        self._population.reset()

    def observations(self) -> NDArray[np.float32]:
        """What is seen now, shape (n_envs, ...), copied to the host."""
        return self._population.observe()

    @property
    def returns(self) -> NDArray[np.float64]:
        """Total reward of each row's episode so far, (n_envs,), copied to the host."""
        found: NDArray[np.float64] = self._returns.cpu().numpy()
        return found

    @property
    def mean_return(self) -> float | None:
        """Mean total reward of the last episode that ended; None if none has."""
        return None if self._mean_return is None else float(self._mean_return)

    def synchronize(self) -> None:
        """Wait for the steps, and raise the error of one; ValueError if an action or a rule was wrong."""
        self._population.engine.synchronize()

    def first_wrong_step(self) -> int | None:
        """The first step with a reward that is not finite; None if there is none."""
        wrong = (~self._are_finite).nonzero().flatten().tolist()
        return int(wrong[0]) if wrong else None
