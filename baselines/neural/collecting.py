"""Collection of rollouts for PPO: as tensors, reproducible, and undone if they are not completed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecCheckNan, VecEnv, VecMonitor

from mfenvs.api.sb3 import LockstepVecEnv, PopulationVecEnv
from mfenvs.engine.snapshot import Snapshot
from mfenvs.wrappers.rewards import ScaledRewards

from .device_rollout import DeviceRollout
from .distinct_observations import Numbers
from .finite import check_observations, check_rewards, check_rollout
from .hyper_parameters import cuda_number
from .policy_and_value import PolicyAndValue
from .rollout import TensorRollout


class RolloutCollector(stable_baselines3.PPO):
    """Stable-Baselines3's PPO with rollouts made for many agents: a base class of :class:`baselines.PPO`.

    Rollouts are tensors on the training device; advantages are estimated for all agents at once; values of
    truncated episodes are bootstrapped in one batch. Where the environment is on the training device too
    (``vec_env(game, device="cuda")``), nothing is copied to the host in a step. A rollout that is not completed,
    because a callback or an exception stopped it or a number in it is not finite, is undone on our VecEnvs:
    nothing of it is kept.
    """

    rollout_buffer: TensorRollout  # type: ignore[assignment]
    _networks: PolicyAndValue | None
    """The policy's networks as compiled code takes them, or None where torch runs the policy."""
    _returns: NDArray[np.float64]
    """Total reward of each environment's current episode so far, shape (n_envs,)."""
    _row_agents: Numbers | None = None
    """Who acted in the last step in each environment, shape (n_envs,), if the networks are told."""
    _on_device: DeviceRollout | None = None
    """The rollout that is being collected, if its environment is on the training device."""
    _rollout_start: dict[str, Any]
    """The training position (counters and environment) at the start of the rollout that is being collected or
    trained on, or that a loaded run is to begin with; empty between updates."""

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TensorRollout,  # type: ignore[override]
        n_rollout_steps: int,
    ) -> bool:
        """Collect a rollout of ``n_rollout_steps`` steps into ``rollout_buffer``.

        Returns
        -------
        Whether the rollout was completed; False if a callback stopped it. On our VecEnvs nothing of it is kept
        then.

        Raises
        ------
        ValueError
            If a reward, an observation or an output of the networks is not finite. On our VecEnvs the model and
            the environment are then as they were before the rollout.
        """
        self._rollout_start = self._training_position(env)
        try:
            return self._fill(env, callback, rollout_buffer, n_rollout_steps)
        except ValueError:
            self._undo_rollout(env)
            raise

    def _fill(self, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, n_steps: int) -> bool:
        with self._own_randomness(0):
            self.policy.set_training_mode(False)
            self._networks = self._build_networks()
            with self._leaving_out_identity(env, rollout):
                return self._collect(env, callback, rollout, n_steps)

    def _collect(self, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, n_steps: int) -> bool:
        self._on_device = self._device_rollout(env, rollout)
        callback.on_rollout_start()
        for step in range(n_steps):
            if self.use_sde and (step == 0 or (self.sde_sample_freq > 0 and step % self.sde_sample_freq == 0)):
                self.policy.reset_noise(env.num_envs)
            self._notice_agents(env, rollout, step)
            if not self._collect_step(env, callback, rollout, step):
                self._on_device = None
                self._return_to_rollout_start(env)
                return False
        if self._on_device is not None:
            self._leave_device(self._on_device, env, rollout)
            self._on_device = None
        self._estimate_advantages(rollout)
        last = torch.as_tensor(self._last_obs, device=self.device)
        check_rollout(rollout, last, env, self._first_time(), self.policy.named_parameters())
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    @contextlib.contextmanager
    def _leaving_out_identity(self, env: VecEnv, rollout: TensorRollout) -> Iterator[None]:
        """Within this context, leave out the columns of a one-hot identity where the networks can do without."""
        networks, ours = self._networks, lockstep_env(env)
        identity = ours.identity_columns if ours is not None and self._takes_agents(networks) else None
        rollout.leave_out(identity)
        if ours is None or identity is None:
            yield
            return
        assert isinstance(self._last_obs, np.ndarray)
        self._last_obs = self._last_obs[:, rollout.own_columns]
        try:
            with ours.without_identity():
                yield
        finally:
            self._last_obs, self._row_agents = ours.observe_rows(), None

    def _notice_agents(self, env: VecEnv, rollout: TensorRollout, step: int) -> None:
        """Find out who acts in a step, if the networks are told."""
        if rollout.agents is not None:
            ours = lockstep_env(env)
            assert ours is not None
            rollout.agents[step] = self._row_agents = ours.row_agents.astype(np.int32)

    def _takes_agents(self, networks: Any) -> bool:
        """Whether networks, and what learns from their rollouts, can be given agents by index."""
        return False

    def _device_rollout(self, env: VecEnv, rollout: TensorRollout) -> DeviceRollout | None:
        """The rollout of an environment on the networks' device; None where arrays of NumPy are exchanged."""
        population = env.tensors if isinstance(env, PopulationVecEnv) else None
        if population is None or not is_same_device(population.tensor_device, self.device):
            return None
        # All environments begin and end their episodes together.
        begins = bool(np.all(self._last_episode_starts))
        return DeviceRollout(population, rollout, self._returns, begins)

    def _leave_device(self, on_device: DeviceRollout, env: VecEnv, rollout: TensorRollout) -> None:
        """Copy to the host what the next rollout begins with; ValueError if a step or a reward was wrong."""
        on_device.synchronize()
        step = on_device.first_wrong_step()
        if step is not None:
            check_rewards(rollout.rewards[step].cpu().numpy(), rollout, step, env, self._first_time())
        self._last_obs = on_device.observations()
        self._last_episode_starts = np.full(env.num_envs, on_device.begins)
        self._returns = on_device.returns
        if on_device.mean_return is not None:
            self.logger.record("rollout/ep_rew_mean", on_device.mean_return)

    def _collect_device_step(
        self, on_device: DeviceRollout, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, step: int
    ) -> bool:
        """As :meth:`_collect_step`, on a device; callbacks see tensors as ``rewards``, and empty ``infos``."""
        on_device.observe(step)
        rewards = on_device.advance(step, self._played_tensors(self._act(env, rollout, step)))
        dones = np.full(env.num_envs, on_device.begins)
        infos: list[dict[str, Any]] = [{}] * env.num_envs
        self.num_timesteps += env.num_envs
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        if on_device.begins:
            last = on_device.last_observations()
            if last is not None:
                rewards += self.gamma * self._values(last, range(env.num_envs))
            on_device.begin_episode()
        return True

    def _collect_step(self, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, step: int) -> bool:
        if self._on_device is not None:
            return self._collect_device_step(self._on_device, env, callback, rollout, step)
        assert self._last_obs is not None
        observations = rollout.observations[step]
        observations.copy_(torch.from_numpy(self._last_obs))
        rollout.episode_starts[step] = torch.from_numpy(self._last_episode_starts)
        actions = self._played(self._act(env, rollout, step))
        new_obs, rewards, dones, infos = env.step(actions)
        normalised = self._vec_normalize_env
        paid = rewards if normalised is None else normalised.get_original_reward()
        check_rewards(paid, rollout, step, env, self._first_time())
        dones = dones.astype(np.bool_, copy=False)  # SuperSuit's are numbers
        self.num_timesteps += env.num_envs
        callback.update_locals(locals())
        if not callback.on_step():
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
            return False
        self._returns += rewards
        if dones.any():
            self._update_info_buffer(infos, dones)
            self.logger.record("rollout/ep_rew_mean", float(self._returns[dones].mean()))
            self._returns[dones] = 0.0
            rewards = self._bootstrapped(rewards, dones, infos)
        rollout.rewards[step] = torch.from_numpy(rewards)
        self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        return True

    def _act(self, env: VecEnv, rollout: TensorRollout, step: int) -> torch.Tensor:
        """Draw the networks' actions; write them, their log-probabilities and the values to the rollout."""
        observations = rollout.observations[step]
        if self._networks is not None:
            actions: NDArray[np.int64] = rollout.actions[step].numpy()
            log_probs, values = rollout.log_probs[step].numpy(), rollout.value_estimates[step].numpy()
            self._networks.act(observations, actions, log_probs, values, *self._agents())
            return rollout.actions[step]
        try:
            chosen: torch.Tensor
            with torch.no_grad():
                chosen, value, log_prob = self.policy(observations)
            # Some libraries switch torch's own checks of distributions off when they are imported.
            if self._on_device is None and not bool(torch.isfinite(log_prob).all()):
                raise ValueError(f"the log-probabilities of actions {INVALID}")
        except (ValueError, RuntimeError) as error:
            if is_refusal_of_torch(error):
                seen = rollout.observations[: step + 1]
                check_observations(seen, rollout, env, self._first_time(), self.policy.named_parameters())
            raise
        rollout.actions[step] = chosen.reshape(rollout.actions[step].shape)
        rollout.value_estimates[step], rollout.log_probs[step] = value.flatten(), log_prob
        return chosen

    def _played(self, chosen: torch.Tensor) -> NDArray[Any]:
        """The actions that are played for those of the networks: within the bounds of a Box."""
        played: NDArray[Any] = chosen.cpu().numpy()
        if self.policy.squash_output:
            played = self.policy.unscale_action(played)
        elif isinstance(self.action_space, spaces.Box):
            played = np.clip(played, self.action_space.low, self.action_space.high)
        return played

    def _played_tensors(self, chosen: torch.Tensor) -> torch.Tensor:
        """As :meth:`_played`, on the training device."""
        if not isinstance(self.action_space, spaces.Box):
            return chosen
        space = self.action_space
        low, high = (torch.as_tensor(bound, device=chosen.device) for bound in (space.low, space.high))
        if self.policy.squash_output:
            chosen = low + 0.5 * (chosen + 1.0) * (high - low)
        return torch.minimum(torch.maximum(chosen, low), high)

    def _estimate_advantages(self, rollout: TensorRollout) -> None:
        """Finish a rollout that has been collected."""
        last = torch.as_tensor(self._last_obs, dtype=torch.float32, device=self.device)
        ended = torch.as_tensor(self._last_episode_starts, dtype=torch.float32, device=self.device)
        rollout.estimate_advantages(self._values(last), ended)

    def _bootstrapped(
        self, rewards: NDArray[np.float32], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> NDArray[np.float32]:
        """Rewards, plus the discounted value of the last observation where an episode was truncated."""
        rows = [row for row in np.flatnonzero(dones).tolist() if infos[row].get("TimeLimit.truncated", False)]
        if not rows:
            return rewards
        last = np.stack([infos[row]["terminal_observation"] for row in rows])
        if not np.isfinite(last).all():
            raise ValueError("observations must be finite, got one that is not at the end of a truncated episode")
        rewards = rewards.copy()
        seen = torch.from_numpy(last).to(self.device, torch.float32)
        rewards[rows] += self.gamma * self._values(seen, rows).cpu().numpy()
        return rewards

    def _values(self, observations: torch.Tensor, rows: Sequence[int] | None = None) -> torch.Tensor:
        """Value estimates of observations made in the given rows of the VecEnv, by default in all rows."""
        if self._networks is not None:
            values = np.empty(len(observations), np.float32)
            self._networks.evaluate(observations, values, *self._agents(rows))
            return torch.from_numpy(values)
        with torch.no_grad():
            return self.policy.predict_values(observations).flatten()

    def _agents(self, rows: Sequence[int] | None = None) -> list[NDArray[np.int32]]:
        """The agents of the given rows of the VecEnv, by default of all; nothing if observations tell them."""
        agents = self._row_agents
        if agents is None:
            return []
        return [agents if rows is None else agents[np.asarray(rows)]]

    def _build_networks(self) -> PolicyAndValue | None:
        """The policy's networks with compiled gradients, or None if gradients are left to autograd."""
        if not PolicyAndValue.supports(self.policy):
            return None
        ours = None if self.env is None else lockstep_env(self.env)
        return PolicyAndValue(self.policy, None if ours is None else ours.identity_columns)

    @contextlib.contextmanager
    def _own_randomness(self, purpose: int) -> Iterator[None]:
        """Make torch's random numbers follow from the seed, the timesteps and the purpose; restore them after."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            entropy = (int(self.seed or 0), self.num_timesteps, purpose)
            number = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
            # torch.manual_seed would also seed every GPU of a process that trains on the CPU.
            torch.default_generator.manual_seed(number)
            if devices:
                with torch.cuda.device(self.device):
                    torch.cuda.manual_seed(number)
            yield

    def _training_position(self, env: VecEnv) -> dict[str, Any]:
        """The counters and the environment's state, which are restored if the rollout is not completed."""
        ours = population_env(env)
        return {
            "num_timesteps": self.num_timesteps,
            "returns": self._returns.copy(),
            "episode_starts": np.copy(self._last_episode_starts),  # type: ignore[arg-type]
            "snapshot": None if ours is None else ours.snapshot(),
        }

    def _return_to_rollout_start(self, env: VecEnv) -> None:
        """Go back to where the rollout began, if the environment is one of ours and of the same size."""
        start, self._rollout_start = self._rollout_start, {}
        snapshot: Snapshot | None = start.get("snapshot")
        ours = population_env(env)
        if ours is None or snapshot is None:
            return
        if snapshot.states.shape == ours.engine.states.shape:
            self.num_timesteps = start["num_timesteps"]
            self._returns = start["returns"]
            self._last_obs = ours.restore(snapshot)
            self._last_episode_starts = start["episode_starts"]

    def _undo_rollout(self, env: VecEnv | None) -> None:
        """Undo the rollout after an error; with an environment that is not ours that is left to ``learn``."""
        if env is not None and self._rollout_start and population_env(env) is not None:
            self._return_to_rollout_start(env)

    def _first_time(self) -> int | None:
        """The time within the episode at which the rollout began; None if it is not known."""
        snapshot: Snapshot | None = self._rollout_start.get("snapshot")
        return None if snapshot is None else snapshot.time


def is_same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two devices of torch are the same, which have several names: ``"cuda"`` may be ``"cuda:0"``."""
    if one.type != "cuda" or other.type != "cuda":
        return one.type == other.type
    return cuda_number(one) == cuda_number(other)


def lockstep_env(env: VecEnv) -> LockstepVecEnv | None:
    """Our VecEnv within wrappers that leave observations as they are; None if there is no such VecEnv."""
    while isinstance(env, VecMonitor | VecCheckNan | ScaledRewards):
        env = env.venv
    return env if isinstance(env, LockstepVecEnv) else None


def population_env(env: VecEnv) -> PopulationVecEnv | None:
    """As :func:`lockstep_env`, if its environments are all agents of every world."""
    ours = lockstep_env(env)
    return ours if isinstance(ours, PopulationVecEnv) else None


INVALID = "found invalid values"
"""What torch's refusal of a distribution says."""


def is_refusal_of_torch(error: Exception) -> bool:
    """Whether an error is torch's refusal of a probability distribution whose parameters are not finite."""
    return INVALID in str(error) or "probability tensor contains" in str(error)
