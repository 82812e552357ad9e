"""Proximal policy optimisation for populations: Stable-Baselines3's, with rollouts of many agents in mind."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import LinearSchedule, explained_variance
from stable_baselines3.common.vec_env import VecCheckNan, VecEnv, VecMonitor
from torch import nn

from mfenvs.api.sb3 import PopulationVecEnv, vec_env
from mfenvs.engine.snapshot import Snapshot
from mfenvs.game import Game
from mfenvs.registry import NAMESPACE, make
from mfenvs.wrappers.observations import Observe, observation_blocks
from mfenvs.wrappers.rewards import ScaledRewards

from ..files import replacing
from .perceptrons import Minibatch, PolicyAndValue
from .ppo_kernels import CLIPPED, ENTROPY, KL, POLICY_LOSS, VALUE_LOSS
from .rollout import TensorRollout
from .unit_box import UnitBoxPolicy

TABLE_2: dict[str, Any] = {
    "learning_rate": LinearSchedule(2.5e-4, 0.0, 1.0),
    "batch_size": 16_384,
    "n_epochs": 4,
    "gamma": 0.999,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "normalize_advantage": True,
    "ent_coef": 6e-3,
    "vf_coef": 0.9,
    "max_grad_norm": 0.5,
    "policy_kwargs": {"net_arch": {"pi": [128, 128], "vf": [128, 128]}, "activation_fn": nn.LeakyReLU},
}
"""Hyper-parameters of Yardim & He, arXiv 2408.15173, table 2 and appendix E.2 [S]: the defaults of :class:`PPO`.

That policy and value have a network each is the paper's too [S]; how these are initialised (as SB3 does) and
Adam's epsilon 1e-5 (SB3's and CleanRL's) are not in the paper [O].
"""


class PPO(stable_baselines3.PPO):
    """PPO with one network that all agents share; symmetrised PPO, if agents do not observe who they are.

    Everything that holds for SB3's PPO holds here: ``policy_kwargs``, callbacks, ``save`` and ``load``,
    TensorBoard, any VecEnv whose observations are arrays. What differs:

    * Hyper-parameters that are not given are the paper's (``TABLE_2``), and ``n_steps`` is the game's horizon: one
      trajectory of all agents an update. Of an infinite game ``gamma`` is the discount. The learning rate of an
      update is that of its beginning.
    * Rollouts are tensors on the training device; advantages are estimated for all agents at once; values of
      truncated episodes are bootstrapped in one batch.
    * On a CPU, perceptrons (LeakyReLU, ReLU or Tanh) with discrete actions are trained without autograd
      (:mod:`baselines.neural.perceptrons`), to the same numbers up to round-off; everything else by SB3's
      ``train``.
    * All randomness follows from ``seed`` and the number of timesteps. The random state of the caller's process is
      left alone, and a run that is saved, loaded and continued on one of our VecEnvs ends where an uninterrupted
      one does. ``save`` keeps the state at the beginning of the current update's rollout.

    Parameters
    ----------
    policy:
        As in SB3; for Box actions also ``"UnitBoxPolicy"`` (:class:`baselines.neural.unit_box.UnitBoxPolicy`).
    env:
        A VecEnv, or a game or its name, of which one world is made.
    n_steps:
        Steps per update; by default the horizon of the environment's game, else 128.
    observe:
        If ``env`` is a game: what agents see beside their own observation.
    seed:
        Of everything; drawn by chance if it is None.
    device:
        "auto", "cpu", "cuda", ...
    hyper_parameters:
        The other arguments of SB3's PPO.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    rollout_buffer: TensorRollout  # type: ignore[assignment]
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.PPO.policy_aliases,
        "UnitBoxPolicy": UnitBoxPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy] = "MlpPolicy",
        env: VecEnv | Game | str | None = None,
        *,
        n_steps: int | None = None,
        observe: Observe = (),
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        **hyper_parameters: Any,
    ) -> None:
        is_ours = isinstance(env, str) and (env.startswith(f"{NAMESPACE}/") or env not in gymnasium.registry)
        if isinstance(env, Game) or (isinstance(env, str) and is_ours):
            env = self._vec_env(env, 1, observe)
        elif env is None and _init_setup_model:
            raise TypeError("env must be a VecEnv, a game or the name of a registered one, got None")
        elif observe:
            raise ValueError(f"observe={observe!r} is for a game: give it to the VecEnv that was made")
        game = getattr(env, "game", None)
        if n_steps is None:
            n_steps = game.horizon if isinstance(game, Game) else 128
        if isinstance(game, Game) and game.is_infinite:
            hyper_parameters = {"gamma": game.discount, **hyper_parameters}
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.observe: Observe = getattr(env, "observe", ())
        """What agents see beside their own observation (of our VecEnvs)."""
        self._networks: PolicyAndValue | None = None
        self.measured: dict[str, float] = {}
        """What was logged of the last update."""
        self.after_update: list[Callable[[], None]] = []
        """Called after every update, before its log is written."""
        self._to_log: int | None = None
        self._returns: NDArray[np.float64] = np.zeros(0)
        self._boundary: dict[str, Any] = {}
        """Where the rollout began that is being collected or trained on, or that a loaded run is to begin with."""
        with warnings.catch_warnings():
            # The paper's minibatch does not divide its batch either.
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            super().__init__(
                policy,
                env,  # type: ignore[arg-type]
                n_steps=n_steps,
                seed=seed,
                device=device,
                rollout_buffer_class=TensorRollout,  # type: ignore[arg-type]
                _init_setup_model=_init_setup_model,
                **{**TABLE_2, **hyper_parameters},
            )

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The law of each row's action, shape (n_rows, n_actions).

        Observations are as the game gives them; a ``VecNormalize`` of the model's environment is applied.

        Raises
        ------
        TypeError
            If actions are not discrete.
        ValueError
            If the policy was trained on observations of another shape.
        """
        if not isinstance(self.action_space, spaces.Discrete):
            raise TypeError(f"action_probabilities() needs discrete actions, got {self.action_space}")
        expected = self.observation_space.shape or ()
        if np.shape(observations)[1:] != expected:
            raise ValueError(
                f"observations must have shape (n_rows, {', '.join(map(str, expected))}), as the policy was"
                f" trained on them, got {np.shape(observations)}: is it another game, city or observe=?"
            )
        if self._vec_normalize_env is not None:
            observations = np.asarray(self._vec_normalize_env.normalize_obs(observations))
        rows = torch.as_tensor(observations, dtype=torch.float32, device=self.device)
        networks = self._networks or self._build_networks()
        if networks is not None:
            self._networks = networks
            networks.refresh()
            return networks.laws(rows.flatten(1))
        self.policy.set_training_mode(False)
        with torch.no_grad():
            found: Any = self.policy.get_distribution(rows)
        laws: NDArray[np.float32] = found.distribution.probs.cpu().numpy()
        return laws

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TensorRollout,  # type: ignore[override]
        n_rollout_steps: int,
    ) -> bool:
        """Fill the rollout; False if a callback stopped it, and then nothing of it is kept (on our VecEnvs)."""
        self._boundary = self._where_it_is(env)
        with self._own_randomness(0):
            self.policy.set_training_mode(False)
            self._networks = self._build_networks()
            callback.on_rollout_start()
            for step in range(n_rollout_steps):
                if self.use_sde and (step == 0 or (self.sde_sample_freq > 0 and step % self.sde_sample_freq == 0)):
                    self.policy.reset_noise(env.num_envs)
                if not self._collect_step(env, callback, rollout_buffer, step):
                    self._go_back(env)
                    return False
            self._estimate_advantages(rollout_buffer)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Update the networks from the rollout."""
        with self._own_randomness(1):
            self._update()
        self._boundary = {}
        for function in self.after_update:
            function()
        if self._to_log is not None:
            found = self.logger.name_to_value.items()
            self.measured = {name: float(value) for name, value in found if isinstance(value, float | int)}
            super().dump_logs(self._to_log)
            self._to_log = None

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "PPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for ``total_timesteps`` agent-steps, rounded up to whole updates: as SB3's.

        With ``reset_num_timesteps=False`` for so many more, where the last call or the saved run had stopped.
        """
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )

    def dump_logs(self, iteration: int = 0) -> None:
        """Ask for the log to be written after the update (SB3 writes it before: its figures come one row late)."""
        self._to_log = iteration

    def save(self, path: str | Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """Write everything from which :meth:`load` continues to a zip file, at once or not at all."""
        if isinstance(path, io.BufferedIOBase):
            self._save_to(path, exclude, include)
            return
        path = Path(path)
        with replacing(path if path.suffix else path.with_suffix(".zip")) as file:
            buffer = io.BytesIO()
            self._save_to(buffer, exclude, include)
            file.write(buffer.getvalue())

    @classmethod
    def load(cls, path: Any, env: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Read what :meth:`save` wrote: as SB3's; ``env`` may be a game, or the name of one.

        Raises
        ------
        ValueError
            If the file holds another class's model, or ``env`` shows agents other things than it was trained on.
        """
        seen: Any = None
        if env is None or isinstance(env, VecEnv | gymnasium.Env):
            model: Self = super().load(path, env, *args, **kwargs)
            seen = getattr(env, "observe", None)
        else:
            model = super().load(path, None, *args, **kwargs)
            game = make(env)
            worlds = max(1, int(model.n_envs) // game.n_agents)
            model.set_env(cls._vec_env(game, worlds, model.observe))
        is_averse = any(block.name == "risk-budget" for block in observation_blocks(model.observe))
        if is_averse and cls._vec_env is PPO._vec_env:
            raise ValueError(f"{path} holds a model that is averse to risk (RiskAversePPO), not a {cls.__name__}")
        if model.policy_class not in cls.policy_aliases.values() and hasattr(model.policy, "n_agents"):
            raise ValueError(f"{path} holds a model with a policy for each agent, not a {cls.__name__}")
        if seen is not None and observation_blocks(seen) != observation_blocks(model.observe):
            raise ValueError(f"env must show agents {model.observe!r}, as the saved model observes, got {seen!r}")
        return model

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the environment; unlike SB3's, leave the random state of the process alone."""
        if seed is not None:
            self.action_space.seed(seed)
            if self.env is not None:
                try:
                    self.env.seed(seed)
                except AttributeError:
                    warnings.warn(
                        f"{type(self.env).__name__} cannot be seeded (SuperSuit's VecEnvs cannot): what it does"
                        " does not follow from the seed",
                        stacklevel=2,
                    )

    @staticmethod
    def _vec_env(game: Game | str, n_worlds: int, observe: Observe) -> PopulationVecEnv:
        """The environment in which a game is learned that is given itself."""
        return vec_env(game, n_worlds, observe=observe)

    def _setup_model(self) -> None:
        with self._own_randomness(2):
            super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        begins = args[2] if len(args) > 2 else kwargs.get("reset_num_timesteps", True)
        if begins or self._last_obs is None or len(self._returns) != self.n_envs:
            self._returns = np.zeros(self.n_envs)
        # An exception may have ended the last call in the middle of a rollout.
        self.num_timesteps = self._boundary.get("num_timesteps", self.num_timesteps)
        found = super()._setup_learn(*args, **kwargs)
        if self._boundary and not begins and self.env is not None:
            self._go_back(self.env)
        self._boundary = {}
        return found

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # SB3 takes the rate at an update's end, so that the last update of a linear schedule is lost.
        super()._update_current_progress_remaining(num_timesteps - self.n_steps * self.n_envs, total_timesteps)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "ActorCriticPolicy") -> None:
        """SB3 advises against GPUs for its own loop; with rollouts of thousands of rows they serve."""

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_networks", "after_update"]

    def _build_networks(self) -> PolicyAndValue | None:
        """The policy's networks with gradients of their own, or None if it is left to autograd."""
        return PolicyAndValue(self.policy) if PolicyAndValue.supports(self.policy) else None

    def _collect_step(self, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, step: int) -> bool:
        assert self._last_obs is not None
        observations = rollout.observations[step]
        observations.copy_(torch.from_numpy(self._last_obs))
        rollout.episode_starts[step] = torch.from_numpy(self._last_episode_starts)
        if self._networks is not None:
            actions = rollout.actions[step].numpy()
            log_probs, values = rollout.log_probs[step].numpy(), rollout.value_estimates[step].numpy()
            self._networks.act(observations, actions, log_probs, values)
        else:
            with torch.no_grad():
                chosen, value, log_prob = self.policy(observations)
            rollout.actions[step] = chosen.reshape(rollout.actions[step].shape)
            rollout.value_estimates[step], rollout.log_probs[step] = value.flatten(), log_prob
            actions = chosen.cpu().numpy()
            if self.policy.squash_output:
                actions = self.policy.unscale_action(actions)
            elif isinstance(self.action_space, spaces.Box):
                actions = np.clip(actions, self.action_space.low, self.action_space.high)
        new_obs, rewards, dones, infos = env.step(actions)
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

    def _estimate_advantages(self, rollout: TensorRollout) -> None:
        """Finish a rollout that has been collected."""
        last = torch.as_tensor(self._last_obs, dtype=torch.float32, device=self.device)
        ended = torch.as_tensor(self._last_episode_starts, dtype=torch.float32, device=self.device)
        rollout.estimate_advantages(self._values(last), ended)

    def _bootstrapped(
        self, rewards: NDArray[np.float32], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> NDArray[np.float32]:
        """Rewards with the discounted value of where truncated episodes were cut."""
        rows = [row for row in np.flatnonzero(dones).tolist() if infos[row].get("TimeLimit.truncated", False)]
        if not rows:
            return rewards
        last = np.stack([infos[row]["terminal_observation"] for row in rows])
        rewards = rewards.copy()
        seen = torch.from_numpy(last).to(self.device, torch.float32)
        rewards[rows] += self.gamma * self._values(seen, rows).cpu().numpy()
        return rewards

    def _values(self, observations: torch.Tensor, rows: Sequence[int] | None = None) -> torch.Tensor:
        """The values of observations that were made in these rows of the VecEnv, by default in all."""
        if self._networks is not None:
            values = np.empty(len(observations), np.float32)
            self._networks.evaluate(observations, values)
            return torch.from_numpy(values)
        with torch.no_grad():
            return self.policy.predict_values(observations).flatten()

    def _update(self) -> None:
        if self._networks is None or self.clip_range_vf is not None:
            super().train()
        else:
            self._train_networks(self._networks)

    def _train_networks(self, networks: PolicyAndValue) -> None:
        """SB3's ``train``, by the networks' own gradients."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        log: list[NDArray[np.float64]] = []
        kl_of_pass: list[float] = []
        goes_on = True
        for _ in range(self.n_epochs):
            kl_of_pass.clear()
            for rows in self.rollout_buffer.minibatches(self.batch_size):
                batch = self._minibatch(rows)
                means = networks.take_gradients(batch, clip_range, self.ent_coef, self.vf_coef) / len(rows)
                log.append(means)
                kl_of_pass.append(means[KL])
                if self.target_kl is not None and means[KL] > 1.5 * self.target_kl:
                    goes_on = False
                    break
                nn.utils.clip_grad_norm_(networks.parameters, self.max_grad_norm)
                self.policy.optimizer.step()
                networks.refresh()
            self._n_updates += 1
            if not goes_on:
                break
        loss = float(log[-1] @ loss_weights(self.ent_coef, self.vf_coef))
        self._record_update(np.mean(log, axis=0), float(np.mean(kl_of_pass)), loss, clip_range)

    def _record_update(self, means: NDArray[np.float64], kl: float, loss: float, clip_range: float) -> None:
        """Log an update: the means over its minibatches (5,), those of its end, and SB3's other figures."""
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

    def _where_it_is(self, env: VecEnv) -> dict[str, Any]:
        """What to go back to if the rollout that begins now is not completed."""
        ours = _ours(env)
        return {
            "num_timesteps": self.num_timesteps,
            "returns": self._returns.copy(),
            "episode_starts": np.copy(self._last_episode_starts),  # type: ignore[arg-type]
            "snapshot": None if ours is None else ours.snapshot(),
        }

    def _go_back(self, env: VecEnv) -> None:
        """Go back to the boundary, if the environment is one of ours and of the same size."""
        boundary, self._boundary = self._boundary, {}
        snapshot: Snapshot | None = boundary["snapshot"]
        ours = _ours(env)
        if ours is None or snapshot is None:
            return
        if snapshot.states.shape == ours.engine.states.shape:
            self.num_timesteps = boundary["num_timesteps"]
            self._returns = boundary["returns"]
            self._last_obs = ours.restore(snapshot)
            self._last_episode_starts = boundary["episode_starts"]

    def _save_to(self, file: Any, exclude: Any, include: Any) -> None:
        kept = self._boundary, self.num_timesteps
        if not self._boundary and self.env is not None and self._last_obs is not None:
            self._boundary = self._where_it_is(self.env)
        try:
            self.num_timesteps = self._boundary.get("num_timesteps", self.num_timesteps)
            super().save(file, exclude, include)
        finally:
            self._boundary, self.num_timesteps = kept


def _ours(env: VecEnv) -> PopulationVecEnv | None:
    """Our VecEnv, if nothing between it and the trainer changes what is observed (as VecNormalize does)."""
    while isinstance(env, VecMonitor | VecCheckNan | ScaledRewards):
        env = env.venv
    return env if isinstance(env, PopulationVecEnv) else None


def loss_weights(entropy: float, value: float) -> NDArray[np.float64]:
    """The coefficients with which the sums of the log add up to PPO's loss, (5,)."""
    weights = np.zeros(5)
    weights[POLICY_LOSS], weights[ENTROPY], weights[VALUE_LOSS] = 1.0, -entropy, value
    return weights
