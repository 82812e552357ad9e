"""Neural trainers as the command line runs them: a game and a config in, a checkpoint out."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from torch import nn

from mfenvs import checks
from mfenvs.api.sb3 import PopulationVecEnv, vec_env
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.wrappers.observations import observation_blocks
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget

from ..config import TrainerConfig
from .independent_ppo import IndependentPPO
from .ppo import PPO, TABLE_2
from .risk_ppo import RiskAversePPO

ACTIVATIONS: dict[str, type[nn.Module]] = {"leaky-relu": nn.LeakyReLU, "relu": nn.ReLU, "tanh": nn.Tanh}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig(TrainerConfig):
    """Hyper-parameters of PPO; defaults are table 2 and appendix E.2 of Yardim & He, arXiv 2408.15173 [S].

    An episode per update, one world and the layers are the paper's too [S].
    """

    observe: tuple[str, ...] = ()
    """Seen beside one's own observation: one-hot-identity, integer-identity, own-parameters, mean-field,
    type-means."""
    n_worlds: int = 1
    """Worlds that are simulated together."""
    n_steps: int | None = None
    """Steps per update; by default the game's horizon."""
    learning_rate: float = 2.5e-4
    """Of Adam, at the beginning."""
    schedule: Literal["linear", "constant"] = "linear"
    """linear: the learning rate falls to 0 over the run."""
    batch_size: int = TABLE_2["batch_size"]
    """Minibatch, over all agents."""
    n_epochs: int = TABLE_2["n_epochs"]
    """Passes over what was collected, per update."""
    gamma: float | None = None
    """Discount; by default that of an infinite game, else the paper's 0.999."""
    gae_lambda: float = TABLE_2["gae_lambda"]
    """Of generalised advantage estimation."""
    clip_range: float = TABLE_2["clip_range"]
    """Of the ratio of probabilities."""
    ent_coef: float = TABLE_2["ent_coef"]
    """Weight of the entropy bonus."""
    vf_coef: float = TABLE_2["vf_coef"]
    """Weight of the value loss."""
    max_grad_norm: float = TABLE_2["max_grad_norm"]
    """Gradients are clipped to this norm."""
    hidden: tuple[int, ...] = (128, 128)
    """Neurons of the hidden layers, of the policy and the value network each."""
    activation: Literal["leaky-relu", "relu", "tanh"] = "leaky-relu"
    """Between the layers."""
    device: str = "auto"
    """Where networks are trained: auto, cpu, cuda, ..."""

    def __post_init__(self) -> None:
        super().__post_init__()
        observation_blocks(self.observe)
        checks.integer("n_worlds", self.n_worlds, 1)
        if self.n_steps is not None:
            checks.integer("n_steps", self.n_steps, 1)
        checks.real("learning_rate", self.learning_rate, 0.0, exclude_low=True)
        checks.choice("schedule", self.schedule, ("linear", "constant"))
        checks.integer("batch_size", self.batch_size, 2)
        checks.integer("n_epochs", self.n_epochs, 1)
        if self.gamma is not None:
            checks.real("gamma", self.gamma, 0.0, 1.0)
        checks.real("gae_lambda", self.gae_lambda, 0.0, 1.0)
        checks.real("clip_range", self.clip_range, 0.0, exclude_low=True)
        checks.real("ent_coef", self.ent_coef, 0.0)
        checks.real("vf_coef", self.vf_coef, 0.0)
        checks.real("max_grad_norm", self.max_grad_norm, 0.0, exclude_low=True)
        for layer, size in enumerate(self.hidden):
            checks.integer(f"hidden[{layer}]", size, 1)
        checks.choice("activation", self.activation, tuple(ACTIVATIONS))

    def hyper_parameters(self) -> dict[str, Any]:
        """Arguments of :class:`baselines.PPO` that follow from these."""
        linear = self.schedule == "linear"
        rate = LinearSchedule(self.learning_rate, 0.0, 1.0) if linear else ConstantSchedule(self.learning_rate)
        alike = ("n_steps", "batch_size", "n_epochs", "gae_lambda", "clip_range", "ent_coef", "vf_coef")
        network = {"pi": list(self.hidden), "vf": list(self.hidden)}
        return {
            **{name: getattr(self, name) for name in (*alike, "max_grad_norm", "seed", "device")},
            **({} if self.gamma is None else {"gamma": self.gamma}),
            "learning_rate": rate,
            "policy_kwargs": {"net_arch": network, "activation_fn": ACTIVATIONS[self.activation]},
        }


class PPOTrainer:
    """A :class:`baselines.PPO` on one of our games, with what a run folder needs of a trainer.

    Where actions are a Box, by :class:`baselines.neural.unit_box.UnitBoxPolicy`.

    Parameters
    ----------
    game:
        The game, or the name of a registered one.
    config:
        Hyper-parameters.
    model:
        A model to go on with; by default a new one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    name: ClassVar[str] = "ppo"
    config_class: ClassVar[type[PPOConfig]] = PPOConfig
    model_class: ClassVar[type[PPO]] = PPO

    def __init__(self, game: Game | str, config: PPOConfig | None = None, model: PPO | None = None) -> None:
        self.game = make(game)
        self.config = config or PPOConfig()
        if model is None:
            env = self.make_env(self.game, self.config)
            is_box = isinstance(self.game.action_space, spaces.Box)
            policy = (
                "UnitBoxPolicy" if is_box and "UnitBoxPolicy" in self.model_class.policy_aliases else "MlpPolicy"
            )
            model = self.model_class(policy, env, **self.config.hyper_parameters())
        self.model = model

    @classmethod
    def make_env(cls, game: Game, config: Any) -> PopulationVecEnv:
        """The environment that is learned in."""
        return vec_env(game, config.n_worlds, observe=config.observe)

    @classmethod
    def load(cls, path: str | Path, game: Game, config: PPOConfig) -> Self:
        """Go on with a saved model; ValueError if the file is none."""
        env = cls.make_env(game, config)
        try:
            model = cls.model_class.load(path, env=env, device=config.device)
        except Exception as error:
            raise ValueError(f"{path} is not a saved {cls.model_class.__name__}: {error}") from error
        return cls(game, config, model)

    @property
    def num_timesteps(self) -> int:
        """Agent-steps done."""
        return int(self.model.num_timesteps)

    @property
    def timesteps_per_iteration(self) -> int:
        """Agent-steps between updates."""
        return int(self.model.n_steps * self.model.n_envs)

    @property
    def iteration(self) -> int:
        """Updates done."""
        return self.num_timesteps // self.timesteps_per_iteration

    @property
    def measured(self) -> dict[str, float]:
        """What was logged of the last update."""
        return self.model.measured

    def learn(self, total_timesteps: int, callback: list[BaseCallback], progress_bar: bool = False) -> Self:
        """Train for so many more agent-steps, rounded up to whole updates."""
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
        """Log with another logger (:func:`baselines.logging.configure`)."""
        self.model.set_logger(logger)

    def save(self, path: str | Path) -> None:
        """Write the model."""
        self.model.save(path)


class IndependentPPOTrainer(PPOTrainer):
    """The same for :class:`baselines.IndependentPPO`."""

    name: ClassVar[str] = "ind-ppo"
    model_class: ClassVar[type[PPO]] = IndependentPPO


@dataclasses.dataclass(frozen=True, kw_only=True)
class RiskAversePPOConfig(PPOConfig):
    """Hyper-parameters of risk-averse PPO: those of PPO, and what risk is."""

    gamma: float | None = None
    """Discount; by default 1: risk is that of the total reward."""
    risk_aversion: float | None = None
    """Weight of the tail in everyone's objective, from 0 to 1; by default each agent has its own."""
    alpha: float = 0.05
    """Tail share."""
    step_size: float = 0.02
    """Of the budgets z, relative to the spread of losses."""
    warm_up_episodes: int = 64
    """Episodes of random play, from which the budgets begin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.risk_aversion is not None:
            checks.real("risk_aversion", self.risk_aversion, 0.0, 1.0)
        checks.real("alpha", self.alpha, 0.0, 1.0, exclude_low=True)
        checks.real("step_size", self.step_size, 0.0, exclude_low=True)
        checks.integer("warm_up_episodes", self.warm_up_episodes, 2)


class RiskAversePPOTrainer(PPOTrainer):
    """The same for :class:`baselines.RiskAversePPO`."""

    name: ClassVar[str] = "risk-ppo"
    config_class: ClassVar[type[PPOConfig]] = RiskAversePPOConfig
    model_class: ClassVar[type[PPO]] = RiskAversePPO

    @classmethod
    def make_env(cls, game: Game, config: Any) -> PopulationVecEnv:
        """The environment that is learned in, with budgets from random play."""
        budget = RiskBudget.from_random_play(
            game,
            config.risk_aversion,
            alpha=config.alpha,
            step_size=config.step_size,
            n_episodes=config.warm_up_episodes,
        )
        return RiskAverseVecEnv(game, config.n_worlds, observe=(*observation_blocks(config.observe), budget))
