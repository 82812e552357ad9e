"""Neural trainers for the command line: made from a game and hyper-parameters, saved as a checkpoint."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self

from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv, vec_env
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.wrappers.observations import observation_blocks
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget

from .checkpoint import load_checkpoint, save_checkpoint
from .config import NetworkConfig, PPOConfig, RiskAversePPOConfig
from .hyper_parameters import environment_device
from .independent_ppo import IndependentPPO
from .population_policy import population_policy
from .ppo import MAX_TIMESTEPS, PPO
from .risk_ppo import RiskAversePPO


class PPOTrainer:
    """A :class:`baselines.PPO` on one of our games, with the methods that a run folder needs of a trainer.

    Where actions are a Box, the policy is a :class:`baselines.neural.unit_box.UnitBoxPolicy`; in a game with
    several populations, a :class:`baselines.neural.population_policy.PopulationPolicy`, one policy for each.

    Parameters
    ----------
    game:
        The game, or the name of a registered one.
    config:
        Hyper-parameters; by default those of the class's ``config_class``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    name: ClassVar[str] = "ppo"
    config_class: ClassVar[type[NetworkConfig]] = PPOConfig
    model_class: ClassVar[type[PPO]] = PPO

    def __init__(self, game: Game | str, config: NetworkConfig | None = None) -> None:
        self.game = make(game)
        if config is not None and not isinstance(config, self.config_class):
            raise TypeError(f"config must be a {self.config_class.__name__}, got {config!r}")
        self.config = self.config_class() if config is None else config
        env = self.make_env(self.game, self.config)
        self.model = self.model_class(env=env, **self.model_arguments())

    def model_arguments(self) -> dict[str, Any]:
        """The arguments of the model, apart from its environment."""
        is_box = isinstance(self.game.action_space, spaces.Box)
        has_unit_box = "UnitBoxPolicy" in self.model_class.policy_aliases
        given = self.config.hyper_parameters()
        if has_unit_box and not is_box:
            return {**given, **population_policy(self.game, given["policy_kwargs"])}
        return {"policy": "UnitBoxPolicy" if is_box and has_unit_box else "MlpPolicy", **given}

    @classmethod
    def make_env(cls, game: Game, config: Any) -> PopulationVecEnv:
        """Make the environment of the training."""
        return vec_env(game, config.n_worlds, observe=config.observe, device=environment_device(config.device))

    @classmethod
    def load(cls, path: str | Path, game: Game, config: NetworkConfig) -> Self:
        """Read a trainer that :meth:`save` wrote, to continue its training.

        Raises
        ------
        ValueError
            If the file is damaged, or was written for another class, game or config.
        """
        trainer = cls(game, config)
        load_checkpoint(path, trainer.model)
        return trainer

    @property
    def num_timesteps(self) -> int:
        """Number of agent-steps done."""
        return int(self.model.num_timesteps)

    @property
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps between two updates."""
        return int(self.model.n_steps * self.model.n_envs)

    @property
    def iteration(self) -> int:
        """Number of updates done."""
        return self.num_timesteps // self.timesteps_per_iteration

    @property
    def measured(self) -> dict[str, float]:
        """The figures that the last update logged, by name."""
        return self.model.measured

    def learn(self, total_timesteps: int, callback: list[BaseCallback], progress_bar: bool = False) -> Self:
        """Train for ``total_timesteps`` more agent-steps, at least one, rounded up to whole updates."""
        total_timesteps = checks.integer("total_timesteps", total_timesteps, 1, MAX_TIMESTEPS)
        n_iterations = math.ceil(total_timesteps / self.timesteps_per_iteration)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="rich is experimental")  # SB3's bar
            self.model.learn(
                n_iterations * self.timesteps_per_iteration,
                callback=callback,
                reset_num_timesteps=False,
                progress_bar=progress_bar,
            )
        return self

    def set_logger(self, logger: Logger) -> None:
        """Set the logger (:func:`baselines.logging.configure`)."""
        self.model.set_logger(logger)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that holds data only, and from which :meth:`load` continues."""
        save_checkpoint(path, self.model)


class IndependentPPOTrainer(PPOTrainer):
    """A :class:`baselines.IndependentPPO` on one of our games."""

    name: ClassVar[str] = "ind-ppo"
    model_class: ClassVar[type[PPO]] = IndependentPPO


class RiskAversePPOTrainer(PPOTrainer):
    """A :class:`baselines.RiskAversePPO` on one of our games."""

    name: ClassVar[str] = "risk-ppo"
    config_class: ClassVar[type[NetworkConfig]] = RiskAversePPOConfig
    model_class: ClassVar[type[PPO]] = RiskAversePPO

    @classmethod
    def make_env(cls, game: Game, config: Any) -> PopulationVecEnv:
        """Make the environment of the training, with initial budgets from random play."""
        budget = RiskBudget.from_random_play(
            game,
            config.risk_aversion,
            alpha=config.alpha,
            step_size=config.step_size,
            n_episodes=config.warm_up_episodes,
        )
        return RiskAverseVecEnv(game, config.n_worlds, observe=(*observation_blocks(config.observe), budget))
