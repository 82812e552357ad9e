"""PPO that minimises the risk-adjusted objective (1 - gamma) E[c] + gamma CVaR_alpha(c) of every agent's loss."""

from __future__ import annotations

from typing import Any, Self

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from mfenvs.game import Game
from mfenvs.wrappers.observations import Observe, observation_blocks
from mfenvs.wrappers.risk import RiskAverseVecEnv, RiskBudget

from .ppo import PPO
from .rollout import TensorRollout


class RiskAversePPO(PPO):
    """PPO with one network that all agents share, for agents who are averse to risk [S].

    It is :class:`baselines.PPO` on a :class:`mfenvs.wrappers.risk.RiskAverseVecEnv`: the policy observes what is
    left of its agent's budget z for losses, and the agent's risk aversion; z is learned along with the policy.
    What differs:

    * The discount is 1 by default, since the risk is that of the undiscounted total reward [O].
    * ``risk/expected_loss``, ``risk/cvar``, ``risk/objective``, ``risk/z_mean`` and ``risk/exceeded`` (share of
      losses above z; alpha when z is the quantile) are logged. They refer to the agents' losses in the game, and
      are means over agents and the episodes that ended since the last log. ``cvar`` and ``objective`` are
      Rockafellar and Uryasev's expressions at the current z, in expectation upper bounds
      (:meth:`RiskBudget.measures`).
    * The budgets are saved with the model. It is evaluated like any other: ``mfenvs.evaluate(game, model)``.

    Parameters
    ----------
    policy, n_steps, n_worlds, observe, seed, device, hyper_parameters:
        As in :class:`baselines.PPO`; all but ``policy`` and ``observe`` are among ``hyper_parameters``.
    env:
        A :class:`RiskAverseVecEnv`, possibly in SB3's wrappers, or a game whose agents have a parameter
        ``risk_aversion``, or the name of such a game.

    Raises
    ------
    TypeError, ValueError
        If the environment is of another kind, or an argument is not allowed.
    """

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy] = "MlpPolicy",
        env: VecEnv | Game | str | None = None,
        *,
        observe: Observe = (),
        **hyper_parameters: Any,
    ) -> None:
        super().__init__(policy, env, observe=observe, **{"gamma": 1.0, **hyper_parameters})

    @property
    def budget(self) -> RiskBudget:
        """The agents' budgets, which the environment goes on learning."""
        return next(block for block in observation_blocks(self.observe) if isinstance(block, RiskBudget))

    @classmethod
    def load(
        cls, path: Any, env: Any = None, device: torch.device | str = "auto", *args: Any, **kwargs: Any
    ) -> Self:
        """Read a model that :meth:`save` wrote, as PPO's ``load`` does; ``env`` gets the saved z and scale.

        Warnings
        --------
        As with :meth:`baselines.PPO.load`, a file from someone you do not trust can run any code on your machine.

        Raises
        ------
        ValueError
            If the file holds a model of another class, or the observations of ``env`` differ from those that the
            model was trained on.
        """
        model = super().load(path, env, device, *args, **kwargs)
        if not any(isinstance(block, RiskBudget) for block in observation_blocks(model.observe)):
            raise ValueError(f"{path} holds a model that observes no risk budget, not a {cls.__name__}")
        if model.env is not None:
            model._share_budget(model.env)
        return model

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Continue in another environment, with this model's budgets z and scale.

        Raises
        ------
        TypeError, ValueError
            If ``env`` is not a RiskAverseVecEnv, or its agents or its ``observe`` differ from the model's.
        """
        found = _risk_averse(env)
        if observation_blocks(found.observe) != observation_blocks(self.observe):
            raise ValueError(
                f"env must show agents {self.observe!r}, as the model observes, got {found.observe!r}"
            )
        super().set_env(env, force_reset)
        self._share_budget(env)

    @staticmethod
    def _vec_env(game: Game | str, n_worlds: int, observe: Observe, device: str = "cpu") -> RiskAverseVecEnv:
        # Its budgets and rewards are computed by NumPy: the worlds are simulated on the CPU.
        return RiskAverseVecEnv(game, n_worlds, observe=observe)

    def _setup_model(self) -> None:
        if self.env is not None:
            _risk_averse(self.env)
        super()._setup_model()

    def _share_budget(self, env: VecEnv) -> None:
        """Give the environment this model's budgets, so that both go on with the same ones."""
        found = _risk_averse(env)
        found.budget.z, found.budget.scale = self.budget.z, self.budget.scale
        self.observe = found.observe

    def _collect_step(self, env: VecEnv, callback: BaseCallback, rollout: TensorRollout, step: int) -> bool:
        if not super()._collect_step(env, callback, rollout, step):
            return False
        if self._last_episode_starts is not None and self._last_episode_starts.any():
            for name, value in _risk_averse(env).measured.items():
                self.logger.record_mean(f"risk/{name}", value)
        return True


def _risk_averse(env: Any) -> RiskAverseVecEnv:
    """The risk-averse environment within wrappers; TypeError if there is none."""
    inner = env
    while isinstance(inner, VecEnvWrapper):
        inner = inner.venv
    if not isinstance(inner, RiskAverseVecEnv):
        raise TypeError(f"env must be a RiskAverseVecEnv (mfenvs.wrappers.risk), got {type(inner).__name__}")
    return inner
