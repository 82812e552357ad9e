"""PPO with separate networks for every agent, each trained from its own trajectory only ("Ind-NN")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.game import Game

from .independent_kernels import Settings, Trajectories
from .independent_networks import IndependentNetworks, flushing_denormals, update_by_autograd
from .independent_policies import IndependentPolicies
from .ppo import PPO
from .ppo_kernels import KL
from .rollout import TensorRollout
from .updating import loss_weights


class IndependentPPO(PPO):
    """PPO with separate networks for every agent: the "Ind-NN" of Yardim & He, arXiv 2408.15173.

    Each agent's policy and value network are trained from its own trajectory only, by its own optimiser, on
    minibatches of its own rows whose advantages are normalised among themselves and whose gradient is clipped by
    its own norm: N runs of PPO that share nothing but the environment. Everything else is as in :class:`PPO`, with
    these exceptions:

    * A minibatch has ``batch_size // n_agents`` rows of each agent (at least two, if advantages are normalised),
      so that an update takes as many optimiser steps as that of shared networks [O]. If that does not divide an
      agent's ``n_steps`` times ``n_worlds`` rows, the last minibatch of a pass is smaller.
    * On a CPU, compiled code takes all steps of one agent before the next agent's
      (:mod:`baselines.neural.independent_kernels`); on other devices, autograd takes each step for all agents. The
      numbers are the same up to round-off. Activations are LeakyReLU, ReLU or Tanh.
    * Logged figures are means over all agents and the whole update; ``approx_kl`` and ``loss`` over its last pass.
    * ``predict`` and ``action_probabilities`` take the rows of whole worlds, ordered by world, then by agent.

    Parameters
    ----------
    policy:
        ``"MlpPolicy"``, or a subclass of :class:`IndependentPolicies`.
    env:
        A game, the name of a registered one, or a VecEnv of a game whose rows are all agents of every world, as
        :func:`mfenvs.vec_env` makes it. With several worlds every agent has one trajectory in each.
    hyper_parameters:
        As in :class:`PPO`; ``policy_kwargs`` may hold only ``net_arch`` and ``activation_fn``, and ``target_kl``
        and ``clip_range_vf`` must be None.

    Raises
    ------
    TypeError, ValueError
        If the environment's rows are not all agents of every world, or an argument is not allowed.
    """

    policy_aliases = {"MlpPolicy": IndependentPolicies}
    policy: IndependentPolicies  # type: ignore[assignment]
    _networks: IndependentNetworks | None  # type: ignore[assignment]

    @property
    def n_agents(self) -> int:
        """Number of agents, each of whom has its own policy."""
        return self.policy.n_agents

    def action_probabilities(
        self, observations: NDArray[np.float32], agents: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities of all actions.

        Parameters
        ----------
        observations:
            As the game gives them, shape (n_rows, width); a ``VecNormalize`` of the environment is applied.
        agents:
            Index of each row's agent, shape (n_rows,); by default rows are whole worlds, in the agents' order.

        Returns
        -------
        Probabilities, shape (n_rows, n_actions).

        Raises
        ------
        ValueError
            If the policies were trained on observations of another shape, the rows are not whole worlds and
            ``agents`` is not given, or it is not one agent per row.
        """
        rows = self._rows_of(observations)
        with torch.no_grad():
            law: Any = self.policy.get_distribution(rows, agents)
        probabilities: NDArray[np.float32] = law.distribution.probs.cpu().numpy()
        return probabilities

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Continue in another environment with as many agents; TypeError or ValueError for any other."""
        self._check_agents(env)
        super().set_env(env, force_reset)

    def _setup_model(self) -> None:
        if self.target_kl is not None or self.clip_range_vf is not None:
            raise ValueError(
                "IndependentPPO supports neither target_kl nor clip_range_vf: they must be None, got"
                f" {self.target_kl!r} and {self.clip_range_vf!r}"
            )
        if not issubclass(self.policy_class, IndependentPolicies):
            raise TypeError(f"policy must be 'MlpPolicy' or IndependentPolicies, got {self.policy_class!r}")
        if self.env is not None or "n_agents" not in self.policy_kwargs:
            self._check_agents(self.env)
            self.policy_kwargs = {**self.policy_kwargs, "n_agents": _agents_of(self.env)}
        super()._setup_model()

    def _check_agents(self, env: Any) -> None:
        """Refuse an environment whose rows are not all agents of every world, or of another number of agents."""
        found = _agents_of(env)
        expected = self.policy_kwargs.get("n_agents", found)
        if found != expected:
            raise ValueError(f"env must have {expected} agents, as many as there are policies, got {found}")

    def _build_networks(self) -> IndependentNetworks | None:  # type: ignore[override]
        return IndependentNetworks(self.policy) if self.device.type == "cpu" else None

    def _values(self, observations: torch.Tensor, rows: Sequence[int] | None = None) -> torch.Tensor:
        agents = None if rows is None else np.asarray(rows) % self.n_agents
        with torch.no_grad():
            return self.policy.predict_values(observations, agents).flatten()

    def _estimate_advantages(self, rollout: TensorRollout) -> None:
        if self._networks is not None:
            values = rollout.value_estimates.view(-1, self.n_agents)
            self._networks.evaluate(self._trajectories().observations, values)
        super()._estimate_advantages(rollout)

    def _update(self) -> None:
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        trajectories = self._trajectories()
        n_rows, n_agents = trajectories.actions.shape
        clip_range = float(self.clip_range(self._current_progress_remaining))  # type: ignore[operator]
        settings = self._settings(n_rows, clip_range)
        orders = self._draw_orders(n_rows)
        with flushing_denormals():
            if self._networks is not None:
                sums = self._networks.update(trajectories, orders, settings)
            else:
                sums = update_by_autograd(self.policy, trajectories, orders, settings)
        self._n_updates += self.n_epochs
        means = sums / (n_rows * n_agents)
        loss = float(means[-1] @ loss_weights(self.ent_coef, self.vf_coef))
        self._record_update(means.mean(axis=0), float(means[-1, KL]), loss, clip_range)

    def _trajectories(self) -> Trajectories:
        rollout = self.rollout_buffer
        observations = rollout.observations.flatten(2)
        return Trajectories(
            observations.view(-1, self.n_agents, observations.shape[2]),
            *(
                tensor.view(-1, self.n_agents)
                for tensor in (rollout.actions, rollout.log_probs, rollout.advantages, rollout.value_targets)
            ),
        )

    def _settings(self, n_rows: int, clip_range: float) -> Settings:
        group = self.policy.optimizer.param_groups[0]
        smallest = 2 if self.normalize_advantage else 1
        return Settings(
            minibatch_size=min(max(self.batch_size // self.n_agents, smallest), n_rows),
            normalise_advantages=bool(self.normalize_advantage),
            clip_range=np.float32(clip_range),
            entropy_weight=np.float32(self.ent_coef),
            value_weight=np.float32(self.vf_coef),
            max_gradient_norm=np.float32(self.max_grad_norm),
            learning_rate=float(group["lr"]),
            beta1=float(group["betas"][0]),
            beta2=float(group["betas"][1]),
            epsilon=np.float32(group["eps"]),
        )

    def _draw_orders(self, n_rows: int) -> torch.Tensor:
        """The order in which each agent's rows are taken in each pass, shape (n_agents, n_passes, n_rows)."""
        return torch.rand(self.n_agents, self.n_epochs, n_rows).argsort(dim=-1)


def _agents_of(env: Any) -> int:
    """The number of agents of an environment whose rows are all agents of every world."""
    try:
        game = env.get_attr("game")[0]
    except AttributeError:
        game = None
    if not isinstance(game, Game) or isinstance(env.unwrapped, RepresentativeVecEnv):
        raise TypeError(
            "env must be a game or a VecEnv whose rows are all agents of a game, as mfenvs.vec_env makes them,"
            f" got {env!r}"
        )
    if env.num_envs % game.n_agents:
        raise ValueError(f"env must have a multiple of n_agents = {game.n_agents} rows, got {env.num_envs}")
    return game.n_agents
