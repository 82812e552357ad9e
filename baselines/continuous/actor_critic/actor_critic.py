"""Actor-critic whose policy sees its own state, its type and the population's law, on two timescales."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from mfenvs import checks
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.wrappers.observations import Observe

from ...neural.hyper_parameters import TABLE_2
from ...neural.ppo import PPO
from ...neural.wasserstein import WassersteinSchedule
from .affine_policy import AffinePolicy
from .timescales import CriticSteps, check_timescales

WITHOUT_USE = ("clip_range", "clip_range_vf", "target_kl", "vf_coef")
"""Hyper-parameters of PPO that an actor-critic does not have."""

DEFAULTS: dict[str, Any] = {
    "batch_size": 1024,
    "n_epochs": 8,
    "ent_coef": 0.0,
    "policy_kwargs": {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": nn.Tanh},
}
"""Hyper-parameters that differ from those of our PPO [O]."""

ACTOR_ROWS = 8192
"""Number of rows of the rollout whose part of the policy gradient is computed at once."""

ACTOR = ("action_net", "log_std", "mlp_extractor.policy_net", "pi_features_extractor")
CRITIC = ("value_net", "mlp_extractor.value_net", "vf_features_extractor")
"""Beginnings of the names of the actor's parameters, and of the critic's."""


class ActorCritic(PPO):
    """Actor-critic with a policy pi(u | x, type, mu^N) that all agents share, and steps on two timescales [S].

    Agents see the population's empirical law mu^N beside their own observation: by default the means of the types,
    or, in games that have none, the histogram of agents over the game's places. The policy is Gaussian for Box
    actions. The t-th update is from one rollout of all agents:

    * The actor takes one step of size alpha_t along the policy gradient, the mean over the rollout of
      A grad log pi(u | x, mu^N), with advantages A by TD(lambda) (``gae_lambda``).
    * The critic, which sees the same, takes ``n_epochs`` passes over the rollout with steps of size eta_t.

    Both steps are Adam's [O]. alpha_t is a :class:`baselines.WassersteinSchedule`; eta_t = eta_0 min(1, tau_0 /
    t)^critic_power [O], so that alpha_t / eta_t -> 0 (:func:`check_timescales`).

    The gradient is that of each agent's own return in its own action: a fixed point of the mean-field limit is an
    equilibrium, and not a social optimum.

    It is a :class:`baselines.PPO` otherwise: ``learn``, ``predict``, ``save``, ``load``, callbacks, logs, seeds,
    and what is refused. ``gamma`` is by default the game's own discount, 1 in a game that ends [O].

    Parameters
    ----------
    policy:
        As in :class:`baselines.PPO`; also ``"AffinePolicy"`` (:class:`AffinePolicy`). The actor and the critic
        must not share parameters.
    env, n_steps, n_worlds, seed, device:
        As in :class:`baselines.PPO`.
    observe:
        If ``env`` is a game: observation blocks that agents see beside their own observation; by default
        ``"type-means"`` if the game has them, else ``"mean-field"``.
    learning_rate:
        A :class:`baselines.WassersteinSchedule` of the actor's steps, or its ``initial_rate``; tau_0 is then 100
        and beta 1 [O].
    critic_learning_rate:
        eta_0.
    critic_power:
        Power with which the critic's steps decay.
    check_steps:
        Whether to refuse step sizes that are not of two timescales (:func:`check_timescales`).
    hyper_parameters:
        Those of :class:`baselines.PPO` but those that have no use here: clip_range, clip_range_vf, target_kl and
        vf_coef.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    "Math Deep Dive: Understanding Mean-Field-Type Games", section 4.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {**PPO.policy_aliases, "AffinePolicy": AffinePolicy}

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy] = "MlpPolicy",
        env: VecEnv | Game | str | None = None,
        *,
        n_worlds: int | None = None,
        observe: Observe | None = None,
        learning_rate: WassersteinSchedule | float = 1e-3,
        critic_learning_rate: float = 1e-2,
        critic_power: float = 0.6,
        check_steps: bool = True,
        _init_setup_model: bool = True,
        **hyper_parameters: Any,
    ) -> None:
        for name in WITHOUT_USE:
            if name in hyper_parameters:
                raise TypeError(f"{name} has no use in an actor-critic, got {hyper_parameters[name]!r}")
        if not isinstance(learning_rate, WassersteinSchedule):
            rate = checks.real("learning_rate", learning_rate, 0.0, exclude_low=True)
            learning_rate = WassersteinSchedule(rate, tau_0=100.0)
        checks.real("critic_learning_rate", critic_learning_rate, 0.0, exclude_low=True)
        self.critic_steps = CriticSteps(critic_learning_rate, checks.real("critic_power", critic_power, 0.0))
        """Step sizes of the critic."""
        if checks.boolean("check_steps", check_steps):
            check_timescales(learning_rate, self.critic_steps)
        self._check_policy(policy)
        device = hyper_parameters.get("device", "auto")
        given = self._environment(env, n_worlds, observe, device) if _init_setup_model else env
        game = getattr(given, "game", None)
        gamma = game.discount if isinstance(game, Game) else TABLE_2["gamma"]
        super().__init__(
            policy,
            given,
            learning_rate=learning_rate,
            _init_setup_model=_init_setup_model,
            **{**DEFAULTS, "gamma": gamma, **hyper_parameters},
        )

    @classmethod
    def _environment(cls, env: Any, n_worlds: int | None, observe: Observe | None, device: Any = "cpu") -> Any:
        if observe is None:
            observe = ()
            with contextlib.suppress(TypeError, ValueError):  # what is no game of ours is checked below
                env = make(env)
            if isinstance(env, Game):
                observe = population_blocks(env)
        return super()._environment(env, n_worlds, observe, device)

    def _setup_model(self) -> None:
        if not isinstance(self.learning_rate, WassersteinSchedule):  # as in a file of another class
            raise ValueError(
                f"learning_rate must be a WassersteinSchedule, got {self.learning_rate!r}:"
                " is it the model of a PPO?"
            )
        super()._setup_model()
        actor, critic = _separate_parameters(self.policy)
        optimizer_class, options = self.policy.optimizer_class, self.policy.optimizer_kwargs
        groups = [
            {"params": actor, "lr": self.lr_schedule(1.0)},
            {"params": critic, "lr": self.critic_steps.initial_rate},
        ]
        self.policy.optimizer = optimizer_class(groups, lr=groups[0]["lr"], **options)  # type: ignore[call-arg]

    def _update_learning_rate(self, optimizers: Any) -> None:
        """Set the step sizes of the actor and of the critic for the present update, and log them."""
        schedule = self.learning_rate
        assert isinstance(schedule, WassersteinSchedule)
        rates = schedule(0.0), self.critic_steps.rate_at(max(schedule.updates, 1), schedule.tau_0)
        for group, rate in zip(optimizers.param_groups, rates, strict=True):
            group["lr"] = rate
        self.logger.record("train/learning_rate", rates[0])
        self.logger.record("train/critic_learning_rate", rates[1])

    def _update(self) -> None:
        self.policy.set_training_mode(True)
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        rollout = self.rollout_buffer
        explained = explained_variance(rollout.values.flatten(), rollout.returns.flatten())
        # The advantages are those of the critic before this update: the rollout is new to it.
        policy_loss, entropy = self._actor_step(optimizer)
        value_loss = self._critic_steps(optimizer)
        self._n_updates += 1
        for name, value in {
            "policy_gradient_loss": policy_loss,
            "entropy_loss": -entropy,
            "value_loss": value_loss,
            "loss": policy_loss - self.ent_coef * entropy + value_loss,
            "explained_variance": float(explained),
        }.items():
            self.logger.record(f"train/{name}", value)
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", float(self.policy.log_std.detach().exp().mean()))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _actor_step(self, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
        """One step along the policy gradient of the whole rollout; return the loss and the mean entropy."""
        rollout = self.rollout_buffer
        advantages = rollout.advantages.flatten()
        if self.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        n_rows, loss_sum, entropy_sum = len(advantages), 0.0, 0.0
        optimizer.zero_grad()
        for rows in torch.split(torch.arange(n_rows, device=self.device), ACTOR_ROWS):
            observations, actions = self._chosen(rows)
            _, log_prob, entropy = self.policy.evaluate_actions(observations, actions)
            assert entropy is not None
            loss = -(advantages[rows] * log_prob).sum()
            ((loss - self.ent_coef * entropy.sum()) / n_rows).backward()
            loss_sum, entropy_sum = loss_sum + float(loss.detach()), entropy_sum + float(entropy.detach().sum())
        self._step(optimizer, group=0)
        return loss_sum / n_rows, entropy_sum / n_rows

    def _critic_steps(self, optimizer: torch.optim.Optimizer) -> float:
        """Fit the critic to the TD(lambda) returns; return the mean loss."""
        rollout, losses = self.rollout_buffer, []
        observations, targets = rollout.observations.flatten(0, 1), rollout.value_targets.flatten()
        for _ in range(self.n_epochs):
            for rows in rollout.minibatches(self.batch_size):
                optimizer.zero_grad()
                values = self.policy.predict_values(observations[rows]).flatten()
                loss = nn.functional.mse_loss(values, targets[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                self._step(optimizer, group=1)
                losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    def _step(self, optimizer: torch.optim.Optimizer, group: int) -> None:
        """Step the parameters of one group, whose gradient is clipped; those of the other have no gradient."""
        nn.utils.clip_grad_norm_(optimizer.param_groups[group]["params"], self.max_grad_norm)
        optimizer.step()

    def _chosen(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rollout = self.rollout_buffer
        return rollout.observations.flatten(0, 1)[rows], rollout.actions.flatten(0, 1)[rows]


def population_blocks(game: Game) -> tuple[str, ...]:
    """The observation block in which agents see the population's law: means of types, else a histogram.

    Raises
    ------
    TypeError
        If the game has neither.
    """
    if hasattr(game, "type_means"):
        return ("type-means",)
    if game.rules.place is not None:
        return ("mean-field",)
    raise TypeError(
        f"an actor-critic that sees the population needs a game with type_means or a rule place, got"
        f" {type(game).__name__}: pass observe=() for a policy that does not see it"
    )


def _separate_parameters(policy: ActorCriticPolicy) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of the actor and those of the critic.

    Raises
    ------
    TypeError
        If a parameter belongs to both.
    """
    found: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in policy.named_parameters(remove_duplicate=False):
        for place, prefixes in enumerate((ACTOR, CRITIC)):
            if name.startswith(prefixes):
                found[place].append(parameter)
    unique = tuple(list({id(p): p for p in group}.values()) for group in found)
    known = {id(p) for group in unique for p in group}
    shared = [name for name, p in policy.named_parameters() if id(p) not in known]
    both = {id(p) for p in unique[0]} & {id(p) for p in unique[1]}
    shared += [name for name, p in policy.named_parameters() if id(p) in both]
    if shared:
        raise TypeError(
            f"policy must have separate parameters for the actor and the critic, those of {shared[0]} are shared:"
            " use net_arch={'pi': [...], 'vf': [...]} and share_features_extractor=False"
        )
    return unique[0], unique[1]
