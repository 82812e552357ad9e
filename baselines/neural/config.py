"""Hyper-parameters of the neural trainers as plain values, for the command line and run folders."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from torch import nn

from mfenvs import checks
from mfenvs.wrappers.observations import observation_blocks

from ..config import TrainerConfig
from .hyper_parameters import TABLE_2, parsed_device

ACTIVATIONS: dict[str, type[nn.Module]] = {"leaky-relu": nn.LeakyReLU, "relu": nn.ReLU, "tanh": nn.Tanh}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(TrainerConfig):
    """Hyper-parameters of all trainers of networks that learn from rollouts.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    observe: tuple[str, ...] = ()
    """Observation blocks that agents see beside their own observation: one-hot-identity, integer-identity,
    own-parameters, mean-field, type-means."""
    n_worlds: int = 1
    """Number of worlds that are simulated together."""
    n_steps: int | None = None
    """Number of steps in the rollout before each update; by default the game's horizon."""
    batch_size: int = TABLE_2["batch_size"]
    """Number of rows (steps of single agents) in a minibatch, over all agents."""
    n_epochs: int = TABLE_2["n_epochs"]
    """Number of passes over the rollout in each update."""
    gamma: float | None = None
    """Discount factor; by default the game's own if it is infinite, else the paper's 0.999."""
    gae_lambda: float = TABLE_2["gae_lambda"]
    """Weight lambda of generalised advantage estimation."""
    ent_coef: float = TABLE_2["ent_coef"]
    """Weight of the entropy bonus in the loss."""
    max_grad_norm: float = TABLE_2["max_grad_norm"]
    """Norm to which gradients are clipped."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers, the same for the policy network and the value network."""
    activation: Literal["leaky-relu", "relu", "tanh"] = "leaky-relu"
    """Activation function of the hidden layers."""
    device: str = "auto"
    """Device on which the networks are trained and the worlds simulated: auto, cpu, cuda, cuda:1, ... (risk-ppo
    simulates on the CPU). auto is a GPU if torch finds one, for the worlds if numba-cuda finds it too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("observe", "hidden"):
            if not isinstance(getattr(self, name), tuple | list):
                raise TypeError(f"{name} must be a tuple, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in self.observe:
            if not isinstance(name, str):
                raise TypeError(f"observe must hold names of what is observed, got {name!r}")
        observation_blocks(self.observe)
        checks.integer("n_worlds", self.n_worlds, 1)
        if self.n_steps is not None:
            checks.integer("n_steps", self.n_steps, 1)
        checks.integer("batch_size", self.batch_size, 2)
        checks.integer("n_epochs", self.n_epochs, 1)
        if self.gamma is not None:
            checks.real("gamma", self.gamma, 0.0, 1.0)
        checks.real("gae_lambda", self.gae_lambda, 0.0, 1.0)
        checks.real("ent_coef", self.ent_coef, 0.0)
        checks.real("max_grad_norm", self.max_grad_norm, 0.0, exclude_low=True)
        for layer, size in enumerate(self.hidden):
            checks.integer(f"hidden[{layer}]", size, 1)
        checks.choice("activation", self.activation, tuple(ACTIVATIONS))
        parsed_device(self.device)

    def hyper_parameters(self) -> dict[str, Any]:
        """These hyper-parameters as arguments of the model's class."""
        alike = ("n_steps", "batch_size", "n_epochs", "gae_lambda", "ent_coef", "max_grad_norm", "seed", "device")
        network = {"pi": list(self.hidden), "vf": list(self.hidden)}
        return {
            **{name: getattr(self, name) for name in alike},
            **({} if self.gamma is None else {"gamma": self.gamma}),
            "policy_kwargs": {"net_arch": network, "activation_fn": ACTIVATIONS[self.activation]},
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig(NetworkConfig):
    """Hyper-parameters of PPO; defaults: Yardim & He, arXiv 2408.15173, table 2 and appendix E.2 [S].

    One episode per update, a single world and the hidden layers are the paper's too [S].

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    learning_rate: float = 2.5e-4
    """Initial learning rate of Adam."""
    schedule: Literal["linear", "constant"] = "linear"
    """Schedule of the learning rate; linear: it falls linearly to 0 over the run."""
    clip_range: float = TABLE_2["clip_range"]
    """Distance from 1 at which the ratio of new to old probabilities is clipped."""
    vf_coef: float = TABLE_2["vf_coef"]
    """Weight of the value loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("learning_rate", self.learning_rate, 0.0, exclude_low=True)
        checks.choice("schedule", self.schedule, ("linear", "constant"))
        checks.real("clip_range", self.clip_range, 0.0, exclude_low=True)
        checks.real("vf_coef", self.vf_coef, 0.0)

    def hyper_parameters(self) -> dict[str, Any]:
        """These hyper-parameters as arguments of :class:`baselines.PPO`."""
        linear = self.schedule == "linear"
        rate = LinearSchedule(self.learning_rate, 0.0, 1.0) if linear else ConstantSchedule(self.learning_rate)
        only_here = {"learning_rate": rate, "clip_range": self.clip_range, "vf_coef": self.vf_coef}
        return super().hyper_parameters() | only_here


@dataclasses.dataclass(frozen=True, kw_only=True)
class RiskAversePPOConfig(PPOConfig):
    """Hyper-parameters of risk-averse PPO: those of PPO, and those of the risk measure.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    gamma: float | None = None
    """Discount factor; by default 1, since the risk is that of the undiscounted total reward."""
    risk_aversion: float | None = None
    """Weight of the CVaR in every agent's objective, from 0 to 1; by default each agent's own risk aversion in the
    game."""
    alpha: float = 0.05
    """Level alpha of the CVaR: the CVaR is the mean loss in the worst share alpha of the episodes."""
    step_size: float = 0.02
    """Step size of the budgets z, which follow the quantile of losses that a share alpha exceeds; relative to the
    spread of losses."""
    warm_up_episodes: int = 64
    """Number of episodes of random play, whose losses give the initial budgets z."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.risk_aversion is not None:
            checks.real("risk_aversion", self.risk_aversion, 0.0, 1.0)
        checks.real("alpha", self.alpha, 0.0, 1.0, exclude_low=True)
        checks.real("step_size", self.step_size, 0.0, exclude_low=True)
        checks.integer("warm_up_episodes", self.warm_up_episodes, 2)
