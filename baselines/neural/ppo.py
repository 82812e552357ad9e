"""Proximal policy optimisation (PPO) for populations: Stable-Baselines3's, with rollouts made for many agents."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv, vec_env
from mfenvs.files import replacing
from mfenvs.game import Game
from mfenvs.registry import NAMESPACE, make
from mfenvs.wrappers.observations import Observe, observation_blocks

from .checkpoint import is_checkpoint
from .finite import ParameterBackup, first_not_finite, tensors_within
from .hyper_parameters import (
    LARGEST_COUNT,
    TABLE_2,
    checked_callback,
    checked_device,
    checked_hyper_parameters,
    checked_seed,
    environment_device,
)
from .policy_and_value import PolicyAndValue
from .rollout import TensorRollout
from .unit_box import UnitBoxPolicy
from .updating import RolloutLearner
from .wasserstein import WassersteinCallback, WassersteinSchedule

MAX_TIMESTEPS = 2**62


class PPO(RolloutLearner):
    """PPO with one policy that all agents share; symmetrised PPO, if agents do not observe their identity.

    Everything that holds for Stable-Baselines3's PPO holds here: ``policy_kwargs``, callbacks, ``save`` and
    ``load``, TensorBoard, any VecEnv whose observations are arrays. What differs:

    * Hyper-parameters that are not given are those of Yardim & He (``TABLE_2``), and ``n_steps`` is the game's
      horizon: one trajectory of all agents per update. For an infinite game ``gamma`` is the game's discount. An
      update uses the learning rate that is scheduled for its beginning.
    * Rollouts are tensors on the training device; advantages are estimated for all agents at once; values of
      truncated episodes are bootstrapped in one batch.
    * On a CPU, perceptrons (LeakyReLU, ReLU or Tanh) with discrete actions are trained without autograd
      (:mod:`baselines.neural.policy_and_value`), to the same numbers up to round-off; everything else by SB3's
      ``train``. Observations that many agents share pass through the networks once. A one-hot identity is not kept
      in rollouts: ``new_obs`` of callbacks and ``rollout_buffer.observations`` lack its columns.
    * All randomness follows from ``seed`` and the number of timesteps. The random state of the caller's process is
      left alone, and a run that is saved, loaded and continued on one of our VecEnvs ends where an uninterrupted
      one does. ``save`` keeps the state at the beginning of the current update's rollout.
    * Numbers that are not finite are refused: ``learn`` raises a ValueError that names the agent and the time of a
      reward or an observation before it learns from it, and one that names the likely cause of an update that
      would make parameters infinite or not a number. The networks are then as they were before.

    Parameters
    ----------
    policy:
        As in SB3; for Box actions also ``"UnitBoxPolicy"`` (:class:`baselines.neural.unit_box.UnitBoxPolicy`).
    env:
        A VecEnv, or a game or its name.
    n_steps:
        Steps per update; by default the horizon of the environment's game, else 128.
    n_worlds:
        If ``env`` is a game: number of worlds that are simulated together, by default 1.
    observe:
        If ``env`` is a game: observation blocks that agents see beside their own observation.
    seed:
        Random seed of the networks, the environment and the training, in [0, 2^63 - 1]; by default drawn by
        chance.
    device:
        Device on which networks are trained: "auto", "cpu", "cuda", ... If ``env`` is a game, its worlds are
        simulated there too: on a GPU with "cuda", which needs numba-cuda, and with "auto" where numba-cuda finds
        the GPU. A VecEnv has its own ``device``; on the same one a rollout copies nothing to the host in a step.
    hyper_parameters:
        The other arguments of SB3's PPO, except those of its rollout buffer. ``learning_rate`` may also be a
        :class:`baselines.WassersteinSchedule`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    ImportError, RuntimeError
        If ``device`` is "cuda", ``env`` is a game and numba-cuda is not installed or finds no GPU, though torch
        does.
    """

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
        n_worlds: int | None = None,
        observe: Observe = (),
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
        **hyper_parameters: Any,
    ) -> None:
        self._check_policy(policy)
        given = self._environment(env, n_worlds, observe, device) if _init_setup_model else env
        game = getattr(given, "game", None)
        if isinstance(game, Game) and game.is_infinite:
            hyper_parameters = {"gamma": game.discount, **hyper_parameters}
        if n_steps is None:
            n_steps = game.horizon if isinstance(game, Game) else 128
        checked = checked_hyper_parameters({**TABLE_2, **hyper_parameters, "n_steps": n_steps})
        n_rows = checked["n_steps"] * getattr(given, "num_envs", 1)
        if _init_setup_model and checked["normalize_advantage"] and n_rows < 2:
            raise ValueError("n_steps must be at least 2 with one agent, where advantages are normalised, got 1")
        self.observe: Observe = getattr(given, "observe", ())
        """The observation blocks that agents see beside their own observation, if the environment is ours."""
        self._networks: PolicyAndValue | None = None
        self.measured: dict[str, float] = {}
        """The figures that the last update logged, by name."""
        self.after_update: list[Callable[[], None]] = []
        """Functions without arguments that are called after every update, before its log is written."""
        self._to_log: int | None = None
        self._returns: NDArray[np.float64] = np.zeros(0)
        self._rollout_start: dict[str, Any] = {}
        self._backup = ParameterBackup()
        with warnings.catch_warnings():
            # The paper's minibatch does not divide its batch either.
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            super().__init__(
                policy,
                given,  # type: ignore[arg-type]
                seed=checked_seed(seed),
                device=checked_device(device),
                rollout_buffer_class=TensorRollout,  # type: ignore[arg-type]
                _init_setup_model=_init_setup_model,
                **checked,
            )

    def action_probabilities(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of all actions.

        Parameters
        ----------
        observations:
            As the game gives them, shape (n_rows, n_features), one row per agent; a ``VecNormalize`` of the
            model's environment is applied.

        Returns
        -------
        Probabilities, shape (n_rows, n_actions).

        Raises
        ------
        TypeError
            If actions are not discrete.
        ValueError
            If the policy was trained on observations of another shape.
        """
        rows = self._rows_of(observations)
        networks = self._compiled_networks()
        if networks is not None:
            networks.refresh()
            return networks.action_probabilities(rows.flatten(1))
        self.policy.set_training_mode(False)
        with torch.no_grad():
            found: Any = self.policy.get_distribution(rows)
        laws: NDArray[np.float32] = found.distribution.probs.cpu().numpy()
        return laws

    def takes_agents_by_index(self, identity: slice) -> bool:
        """Whether :meth:`action_probabilities_of_agents` can be asked.

        Parameters
        ----------
        identity:
            The columns of observations that hold the agent's one-hot identity.
        """
        networks = self._compiled_networks()
        known = networks.identity if isinstance(networks, PolicyAndValue) else None
        return known is not None and known.columns == identity and self._vec_normalize_env is None

    def action_probabilities_of_agents(
        self, observations: NDArray[np.float32], agents: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Probabilities of all actions, of agents who are told apart by their index.

        Parameters
        ----------
        observations:
            As the game gives them, but without the columns of the one-hot identity, shape (n_rows, any).
        agents:
            Index of each row's agent, shape (n_rows,).

        Returns
        -------
        Probabilities, shape (n_rows, n_actions): those of :meth:`action_probabilities` with these columns.

        Raises
        ------
        TypeError, ValueError
            If the networks were not trained by this class, on the CPU, on observations with the identity, or an
            argument is not allowed.
        """
        networks = self._compiled_networks()
        identity = networks.identity if isinstance(networks, PolicyAndValue) else None
        if networks is None or identity is None or self._vec_normalize_env is not None:
            raise ValueError("the networks do not take agents by index: see takes_agents_by_index()")
        networks.refresh()
        n_rows = len(np.atleast_1d(agents))
        indices = checks.indices("agents", agents, (n_rows,), 0, identity.n_rows - 1)
        rows = np.ascontiguousarray(observations, np.float32)
        expected = n_rows, len(networks.own_columns)
        if rows.shape != expected:
            raise ValueError(f"observations must have shape {expected}, without the identity, got {rows.shape}")
        return networks.action_probabilities(torch.from_numpy(rows), indices.astype(np.int32))

    def _compiled_networks(self) -> PolicyAndValue | None:
        """The networks with compiled gradients, made if need be; None if there are none for such a policy."""
        self._networks = self._networks or self._build_networks()
        return self._networks

    def _rows_of(self, observations: NDArray[np.float32]) -> torch.Tensor:
        """Observations as the policy takes them: checked, and normalised if the environment normalises."""
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
        return torch.as_tensor(observations, dtype=torch.float32, device=self.device)

    def learn(
        self,
        total_timesteps: float,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str = "PPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for ``total_timesteps`` agent-steps, rounded up to whole updates, as SB3's ``learn`` does.

        Parameters
        ----------
        total_timesteps:
            Length of the training in agent-steps.
        callback:
            A callback of SB3, a list of them, or a function of (locals, globals), called after every step;
            training stops when it returns False.
        log_interval:
            Number of updates between two logged rows; None: nothing is logged.
        tb_log_name:
            Name of the run for TensorBoard.
        reset_num_timesteps:
            True starts the count of timesteps at zero, and new episodes. False trains for ``total_timesteps``
            more, from where the last call or the saved run had stopped.
        progress_bar:
            Whether to show a progress bar.

        Returns
        -------
        The model.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed.
        ValueError
            If a reward, an observation or a parameter after an update is not finite.
        """
        if isinstance(total_timesteps, float | np.floating) and total_timesteps.is_integer():
            total_timesteps = int(total_timesteps)  # 1e6 is how people write it
        if not isinstance(tb_log_name, str):
            raise TypeError(f"tb_log_name must be a string, got {tb_log_name!r}")
        return super().learn(
            checks.integer("total_timesteps", total_timesteps, 0, MAX_TIMESTEPS),
            checked_callback(callback),
            None if log_interval is None else checks.integer("log_interval", log_interval, 1),  # type: ignore[arg-type]
            tb_log_name,
            checks.boolean("reset_num_timesteps", reset_num_timesteps),
            checks.boolean("progress_bar", progress_bar),
        )

    def save(self, path: str | Path | io.BufferedIOBase, exclude: Any = None, include: Any = None) -> None:
        """Write everything that :meth:`load` needs to continue to a zip file, as a whole or not at all.

        The file is in Stable-Baselines3's format: it holds pickled Python objects, and loading it can run any
        code. :func:`baselines.neural.checkpoint.save_checkpoint` writes a file that holds data only, as in the run
        folders of the command line.

        Parameters
        ----------
        path:
            Path of the file, to which ``.zip`` is added if it has no suffix; or an open binary file.
        exclude, include:
            Names of attributes that are left out, or written too, as in SB3.

        Raises
        ------
        OSError
            If the file cannot be written; what was there before is there still.
        """
        if isinstance(path, io.BufferedIOBase):
            self._save_to(path, exclude, include)
            return
        path = Path(path)
        with replacing(path if path.suffix else path.with_suffix(".zip")) as file:
            buffer = io.BytesIO()
            self._save_to(buffer, exclude, include)
            file.write(buffer.getvalue())

    @classmethod
    def load(
        cls, path: Any, env: Any = None, device: torch.device | str = "auto", *args: Any, **kwargs: Any
    ) -> Self:
        """Read a model that :meth:`save` wrote, as SB3's ``load`` does; ``env`` may also be a game, or its name.

        Parameters
        ----------
        path:
            Path of the file, with or without ``.zip``; or an open binary file.
        env:
            The environment to continue in, a game or its name; by default the model has none and only acts.
        device:
            Where its network is: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        args, kwargs:
            Further arguments of SB3's ``load``: other hyper-parameters than the saved ones.

        Warnings
        --------
        Stable-Baselines3's loader unpickles Python objects: a file from someone you do not trust can run any code
        on your machine. Run folders (``mfenvs evaluate RUN``, :func:`baselines.runs.read_run`) hold data only.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file is not a saved model of this class or has parameters that are not finite, or the
            observations of ``env`` differ from those that the model was trained on.
        """
        if is_checkpoint(path):
            raise ValueError(
                f"{path} is the checkpoint of a run folder, or of a trainer with tables, which holds no model of"
                " SB3: read the folder by baselines.runs.read_run, the trainer by its own class's load"
            )
        device = checked_device(device)
        is_env = isinstance(env, VecEnv | gymnasium.Env)
        game = None if env is None or is_env else make(env)
        try:
            model: Self = super().load(path, env if is_env else None, device, *args, **kwargs)
        except (AssertionError, AttributeError, KeyError, TypeError) as error:  # what SB3 says of foreign files
            if is_env or args or kwargs:
                raise  # It may be of these.
            raise ValueError(f"{path} is not a saved {cls.__name__}: {error}") from error
        seen = getattr(env, "observe", None) if is_env else None
        if game is not None:
            worlds = max(1, int(model.n_envs) // game.n_agents)
            model.set_env(cls._vec_env(game, worlds, model.observe, environment_device(device)))
        is_averse = any(block.name == "risk-budget" for block in observation_blocks(model.observe))
        if is_averse and cls._vec_env is PPO._vec_env:
            raise ValueError(f"{path} holds a model that is averse to risk (RiskAversePPO), not a {cls.__name__}")
        if model.policy_class not in cls.policy_aliases.values() and hasattr(model.policy, "n_agents"):
            raise ValueError(f"{path} holds a model with a policy for each agent, not a {cls.__name__}")
        if seen is not None and observation_blocks(seen) != observation_blocks(model.observe):
            raise ValueError(f"env must show agents {model.observe!r}, as the saved model observes, got {seen!r}")
        return model

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Take over parameters and the optimiser's state from a file or a dict, as SB3's ``set_parameters`` does.

        Raises
        ------
        ValueError
            If a number is not finite (nothing has changed then), or the parameters do not fit the model.
        """
        found = load_path_or_dict
        if not isinstance(found, dict):
            found = load_from_zip_file(found, device=device, load_data=False)[1]
        name = first_not_finite(tensors_within(found))
        if name is not None:
            raise ValueError(f"parameters must be finite, those of {name} are not")
        super().set_parameters(found, exact_match, device)

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
    def _vec_env(game: Game | str, n_worlds: int, observe: Observe, device: str = "cpu") -> PopulationVecEnv:
        """Make the environment for a game that was given in place of a VecEnv."""
        return vec_env(game, n_worlds, observe=observe, device=device)

    def _setup_model(self) -> None:
        with self._own_randomness(2):
            super()._setup_model()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        begins = args[2] if len(args) > 2 else kwargs.get("reset_num_timesteps", True)
        if begins or self._last_obs is None or len(self._returns) != self.n_envs:
            self._returns = np.zeros(self.n_envs)
        # An exception may have ended the last call in the middle of a rollout.
        self.num_timesteps = self._rollout_start.get("num_timesteps", self.num_timesteps)
        found = super()._setup_learn(*args, **kwargs)
        if self._rollout_start and not begins and self.env is not None:
            self._return_to_rollout_start(self.env)
        self._rollout_start = {}
        return found

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if isinstance(self.learning_rate, WassersteinSchedule):
            given = callback if isinstance(callback, list) else [callback]
            parts = [part if isinstance(part, BaseCallback) else ConvertCallback(part) for part in given]
            callback = [WassersteinCallback(), *parts]
        return super()._init_callback(callback, progress_bar)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        # SB3 takes the rate at an update's end, so that the last update of a linear schedule is lost.
        super()._update_current_progress_remaining(num_timesteps - self.n_steps * self.n_envs, total_timesteps)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "ActorCriticPolicy") -> None:
        """Do nothing: SB3 warns against GPUs, which pay with rollouts of thousands of rows."""

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_networks", "_on_device", "_backup", "after_update"]

    @classmethod
    def _check_policy(cls, policy: Any) -> None:
        """Raise an error if ``policy`` is neither the name of a policy nor a class of policies."""
        names = ", ".join(repr(name) for name in cls.policy_aliases)
        if isinstance(policy, str):
            if policy not in cls.policy_aliases:
                raise ValueError(f"policy must be one of {names}, or a class of policies, got {policy!r}")
        elif not (isinstance(policy, type) and issubclass(policy, BasePolicy)):
            raise TypeError(f"policy must be one of {names}, or a class of policies, got {policy!r}")

    @classmethod
    def _environment(cls, env: Any, n_worlds: int | None, observe: Observe, device: Any = "cpu") -> Any:
        """The environment of the training; if ``env`` is a game, it is made for networks on ``device``."""
        is_name = isinstance(env, str) and (env.startswith(f"{NAMESPACE}/") or env not in gymnasium.registry)
        if isinstance(env, Game) or is_name:
            worlds = 1 if n_worlds is None else checks.integer("n_worlds", n_worlds, 1, LARGEST_COUNT)
            return cls._vec_env(env, worlds, observe, environment_device(device))
        if not isinstance(env, VecEnv | gymnasium.Env | str):
            raise TypeError(f"env must be a VecEnv, a game or the name of a registered one, got {env!r}")
        for name, value, default in (("n_worlds", n_worlds, None), ("observe", observe, ())):
            if value != default:
                raise ValueError(f"{name}={value!r} is for a game: give it to the VecEnv that is made")
        return env

    def _save_to(self, file: Any, exclude: Any, include: Any) -> None:
        kept = self._rollout_start, self.num_timesteps
        if not self._rollout_start and self.env is not None and self._last_obs is not None:
            self._rollout_start = self._training_position(self.env)
        try:
            self.num_timesteps = self._rollout_start.get("num_timesteps", self.num_timesteps)
            super().save(file, exclude, include)
        finally:
            self._rollout_start, self.num_timesteps = kept
