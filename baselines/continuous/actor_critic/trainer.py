"""The actor-critic for the command line: hyper-parameters as plain values, and the trainer."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

from mfenvs import checks
from mfenvs.games.linear_quadratic.game import LinearQuadratic

from ...neural.config import NetworkConfig
from ...neural.ppo import PPO
from ...neural.trainers import PPOTrainer
from ...neural.wasserstein import WassersteinSchedule
from .actor_critic import ActorCritic
from .affine_policy import AffinePolicy
from .timescales import CriticSteps, check_timescales


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(NetworkConfig):
    """Hyper-parameters of :class:`baselines.ActorCritic`; all defaults are ours [O].

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    observe: tuple[str, ...] = ("type-means",)
    """Observation blocks that agents see beside their own observation: the population by the means of its types
    (type-means) or as a histogram (mean-field); one-hot-identity, integer-identity, own-parameters."""
    policy: Literal["network", "affine"] = "network"
    """Form of the policy: a network, or affine in the state and the types' means (linear-quadratic game only)."""
    learning_rate: float = 1e-3
    """alpha_0: size of the actor's first steps."""
    tau_0: float = 100.0
    """Number of updates after which the actor's steps decay as 1 / t."""
    beta: float = 1.0
    """Strength with which the actor's steps shrink while the population's law changes."""
    coordinate: str | None = None
    """Name of the component of the local state whose law is compared, if states have several."""
    critic_learning_rate: float = 1e-2
    """eta_0: size of the critic's first steps, at least the actor's."""
    critic_power: float = 0.6
    """Power in (0.5, 1) with which the critic's steps decay."""
    batch_size: int = 1024
    """Number of rows (steps of single agents) in a minibatch of the critic, over all agents."""
    n_epochs: int = 8
    """Number of passes of the critic over the rollout in each update."""
    gae_lambda: float = 0.9
    """Weight lambda of the TD(lambda) advantages and returns."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus in the actor's loss."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, the same for the actor and the critic."""
    activation: Literal["leaky-relu", "relu", "tanh"] = "tanh"
    """Activation function of the hidden layers."""
    log_std_init: float = -1.5
    """Logarithm of the first standard deviation of Box actions, in units of half their range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("policy", self.policy, ("network", "affine"))
        checks.real("log_std_init", self.log_std_init, -20.0, 2.0)
        checks.real("critic_learning_rate", self.critic_learning_rate, 0.0, exclude_low=True)
        checks.real("critic_power", self.critic_power, 0.0)
        check_timescales(self.new_schedule(), CriticSteps(self.critic_learning_rate, self.critic_power))

    def new_schedule(self) -> WassersteinSchedule:
        """A new schedule of the actor's steps."""
        try:
            return WassersteinSchedule(
                self.learning_rate, tau_0=self.tau_0, beta=self.beta, coordinate=self.coordinate
            )
        except ValueError as error:
            raise ValueError(str(error).replace("initial_rate", "learning_rate")) from None

    def hyper_parameters(self) -> dict[str, Any]:
        """These hyper-parameters as arguments of :class:`baselines.ActorCritic`, with a network as policy."""
        found = super().hyper_parameters()
        found["policy_kwargs"]["log_std_init"] = self.log_std_init
        return found | {
            "learning_rate": self.new_schedule(),
            "critic_learning_rate": self.critic_learning_rate,
            "critic_power": self.critic_power,
        }


class ActorCriticTrainer(PPOTrainer):
    """A :class:`baselines.ActorCritic` on one of our games."""

    name: ClassVar[str] = "actor-critic"
    config_class: ClassVar[type[NetworkConfig]] = ActorCriticConfig
    model_class: ClassVar[type[PPO]] = ActorCritic

    def model_arguments(self) -> dict[str, Any]:
        """The arguments of the model, apart from its environment."""
        arguments = super().model_arguments()
        config = self.config
        assert isinstance(config, ActorCriticConfig)
        if config.policy == "affine":
            if not isinstance(self.game, LinearQuadratic):
                raise TypeError(f"policy 'affine' is for LinearQuadratic games, got {type(self.game).__name__}")
            kwargs = {**AffinePolicy.arguments(self.game), "log_std_init": config.log_std_init}
            arguments |= {"policy": "AffinePolicy", "policy_kwargs": kwargs}
        return arguments
