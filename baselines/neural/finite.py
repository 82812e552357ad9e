"""Checks that rollouts before an update, and parameters after it, hold finite numbers only."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from mfenvs.api.sb3 import LockstepVecEnv, PopulationVecEnv

from .rollout import TensorRollout

LARGE_TARGET = 1e18
"""Value targets beyond this have squared errors that overflow single precision (largest number: 3.4e38)."""

LARGE_LEARNING_RATE = 1.0
"""Learning rates above this are named as a likely cause of overflow: a step of Adam moves every parameter by
about the learning rate, and parameters are of the order of 0.1."""


def check_rewards(
    rewards: NDArray[np.floating[Any]], rollout: TensorRollout, step: int, env: VecEnv, first_time: int | None
) -> None:
    """Refuse rewards that are not finite numbers.

    Parameters
    ----------
    rewards:
        Rewards of this step, before any normalisation, shape (n_envs,).
    rollout:
        The rollout, filled with the observations and actions of the steps up to ``step``.
    step:
        Number of the step in the rollout.
    env:
        The environment.
    first_time:
        The time within the episode at which the rollout began, if it is known.

    Raises
    ------
    ValueError
        If a reward is infinite or not a number; the message names the agent, the world, the time and the action.
    """
    is_finite = np.isfinite(rewards)
    if is_finite.all():
        return
    row = int(np.argmin(is_finite))
    others = int((~is_finite).sum()) - 1
    more = f"; so are those of {others} more" if others else ""
    raise ValueError(
        f"rewards must be finite, got {rewards[row]:g} of {_place(env, row)}"
        f" {_moment(rollout, step, row, first_time)} for action {rollout.actions[step, row].tolist()}"
        f" at observation {_shown(rollout.observations[step, row])}{more}. The networks have not learned from it"
    )


def check_observations(
    observations: torch.Tensor,
    rollout: TensorRollout,
    env: VecEnv,
    first_time: int | None,
    parameters: Iterable[tuple[str, torch.Tensor]],
) -> None:
    """Raise the error that says why the networks' outputs are not finite numbers.

    Parameters
    ----------
    observations:
        Observations of the rollout's steps so far, shape (n_steps_so_far, n_envs, ...).
    rollout, env, first_time:
        As in :func:`check_rewards`.
    parameters:
        The networks' parameters by name.

    Raises
    ------
    ValueError
        Always. The message names the agent, the world and the time of the first observation that is not finite;
        if there is none, a parameter that is not finite; else the largest observation and parameter.
    """
    wrong = ~torch.isfinite(observations).reshape(*observations.shape[:2], -1).all(dim=2)
    if wrong.any():
        step, row = (int(index) for index in wrong.nonzero()[0])
        raise ValueError(
            f"observations must be finite, got {_shown(observations[step, row])} of {_place(env, row)}"
            f" {_moment(rollout, step, row, first_time)}"
        )
    named = dict(parameters)
    name = first_not_finite(named.items())
    if name is not None:
        raise ValueError(f"the networks' parameters must be finite, those of {name} are not")
    largest = max(named, key=lambda name: float(named[name].detach().abs().max()))
    raise ValueError(
        "the networks' outputs overflow single precision: observations are as large as"
        f" {float(observations.abs().max()):g}, parameters as {float(named[largest].detach().abs().max()):g}"
        f" ({largest}). A learning rate that is too large does this, or observations that are far from [-1, 1]"
    )


def check_rollout(
    rollout: TensorRollout,
    last_observations: torch.Tensor,
    env: VecEnv,
    first_time: int | None,
    parameters: Iterable[tuple[str, torch.Tensor]],
) -> None:
    """Refuse a finished rollout whose values, log-probabilities, advantages or value targets are not finite.

    Parameters
    ----------
    rollout, env, first_time, parameters:
        As in :func:`check_observations`; rewards have been checked.
    last_observations:
        Observations after the last step, shape (n_envs, ...).

    Raises
    ------
    ValueError
        If one is not finite; the message names it, and where it is.
    """
    if is_finite(rollout.numbers):
        return
    if not all(is_finite(tensor) for tensor in (rollout.log_probs, rollout.value_estimates, last_observations)):
        observations = torch.cat([rollout.observations, last_observations[None]])
        check_observations(observations, rollout, env, first_time, parameters)
    raise ValueError(
        "sums of rewards overflow single precision (3.4e38): rewards are as large as"
        f" {float(rollout.rewards.abs().max()):g}, value estimates as"
        f" {float(rollout.value_estimates.abs().max()):g}. Train with smaller units of the reward"
    )


def first_not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """The name of the first tensor that holds a number that is not finite, or None."""
    return next((name for name, tensor in tensors if not is_finite(tensor)), None)


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are finite."""
    # A sum takes a tenth of the time of torch.isfinite; where finite numbers overflow it, they are looked at.
    return math.isfinite(float(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())


def tensors_within(found: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested dicts, with the names that lead to them."""
    if isinstance(found, torch.Tensor):
        yield name, found
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from tensors_within(value, f"{name}.{key}" if name else str(key))


def optimizer_tensors(policy: BasePolicy) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the optimiser's state, such as Adam's moments, with their names."""
    assert policy.optimizer is not None
    for name, parameter in policy.named_parameters():
        for key, value in policy.optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.{key}", value


class ParameterBackup:
    """A copy of a policy's parameters and of its optimiser's state, for updates that are all or nothing.

    The memory of the copy is used again in the next update, if the shapes are the same.
    """

    def __init__(self) -> None:
        self._parameters: dict[str, torch.Tensor] = {}
        self._optimizer: dict[str, torch.Tensor] = {}
        self._had_state = False

    @contextlib.contextmanager
    def restored_on_error(self, policy: BasePolicy) -> Iterator[None]:
        """Restore the parameters and the optimiser's state in place if the block raises."""
        with torch.no_grad():
            _copy(policy.state_dict(), self._parameters)
            optimizer = dict(optimizer_tensors(policy))
            self._had_state = bool(optimizer)
            _copy(optimizer, self._optimizer)
        try:
            yield
        except BaseException:
            with torch.no_grad():
                _copy(self._parameters, policy.state_dict())
                if self._had_state:
                    _copy(self._optimizer, dict(optimizer_tensors(policy)))
                else:
                    assert policy.optimizer is not None
                    policy.optimizer.state.clear()
            raise


def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in source.items():
        if name in target and target[name].shape == tensor.shape:
            target[name].copy_(tensor)
        else:
            target[name] = tensor.detach().clone()


def check_update(
    policy: BasePolicy, losses: dict[str, float], rollout: TensorRollout, learning_rate: float
) -> None:
    """Refuse an update after which parameters, the optimiser's state or the losses are not finite.

    Parameters
    ----------
    policy:
        The networks, with their optimiser.
    losses:
        The losses of the update by name.
    rollout, learning_rate:
        The rollout and the learning rate of the update, in which the likely cause is looked for.

    Raises
    ------
    ValueError
        If one is not finite; the message names it and the likely cause.
    """
    tensors = {**policy.state_dict(), **dict(optimizer_tensors(policy))}
    name = first_not_finite(tensors.items())
    if name is not None and hasattr(policy, "n_agents"):
        # The tensors of separate networks have one row per agent.
        agent = int((~torch.isfinite(tensors[name])).any(dim=1).nonzero()[0])
        name = f"{name} of agent {agent}"
    if name is None:
        name = next((name for name, value in losses.items() if not math.isfinite(value)), None)
    if name is not None:
        raise update_error(name, rollout, learning_rate)


def update_error(name: str, rollout: TensorRollout, learning_rate: float) -> ValueError:
    """Make the error for an update that would make the parameter or loss ``name`` infinite or not a number."""
    target, observation = (float(x.abs().max()) for x in (rollout.value_targets, rollout.observations))
    if learning_rate > LARGE_LEARNING_RATE:
        cause = f"a learning rate that is too large: learning_rate is {learning_rate:g} in this update"
    elif target > LARGE_TARGET:
        cause = f"rewards that are too large: value targets of {target:g}; train with smaller units of the reward"
    elif observation > LARGE_TARGET:
        cause = f"observations that are too large: {observation:g}; they should be near [-1, 1]"
    else:
        cause = (
            f"steps that are too large: learning_rate is {learning_rate:g}, value targets are up to {target:g},"
            f" observations up to {observation:g}"
        )
    return ValueError(
        f"the update is not finite ({name}); the networks stay as they were before it. The likely cause is {cause}"
    )


def _place(env: VecEnv, row: int) -> str:
    """Words for the agent and the world of a row of the environment."""
    ours = env.unwrapped
    if not isinstance(ours, LockstepVecEnv):
        return f"environment {row}"
    world, place = divmod(row, ours.num_envs // ours.n_worlds)
    # Of a few deviators among many agents, others may act in the next episode, which may have begun.
    return f"{'agent' if isinstance(ours, PopulationVecEnv) else 'deviator'} {place} in world {world}"


def _moment(rollout: TensorRollout, step: int, row: int, first_time: int | None) -> str:
    """Words for the time of a step of the rollout: within the episode if that is known."""
    starts = rollout.episode_starts[: step + 1, row].nonzero().flatten()
    of_rollout = f"step {step} of the rollout"
    if len(starts):
        return f"at time {step - int(starts[-1])} ({of_rollout})"
    return f"in {of_rollout}" if first_time is None else f"at time {first_time + step} ({of_rollout})"


def _shown(numbers: torch.Tensor) -> str:
    return np.array2string(numbers.cpu().numpy().reshape(-1), precision=4, threshold=8, edgeitems=3)
