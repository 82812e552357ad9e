"""PPO with separate networks for every agent, each trained from its own trajectory only ("Ind-NN")."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.game import Game
from mfenvs.wrappers.symmetrise import rows_of_agents

from .independent_kernels import TANH, Scratch, Settings, Trajectories, act, improve
from .perceptrons import leak_of
from .ppo import PPO, loss_weights
from .ppo_kernels import CLIPPED, ENTROPY, KL, POLICY_LOSS, VALUE_LOSS, Floats
from .rollout import TensorRollout

ALIGNED = 16
"""Every tensor of an agent begins at a multiple of so many numbers: 64 bytes, a line of the cache."""

BLOCK_AGENTS = 8
"""So many agents' activations (128 rows, two layers of 128: 1 MB) stay in the second-level cache."""

Layers = NDArray[np.int64]
"""Of each layer of a network: inputs, outputs, where the weights begin and where the biases, (n_layers, 4)."""


class IndependentPolicies(BasePolicy):
    """A policy and a value network for each of N agents, all in one tensor.

    The parameter ``flat``, shape (n_agents, n_parameters), has a row for each agent: weights as (inputs, outputs)
    and biases by layer, first the policy's. Adam treats every number on its own, so the one optimiser of ``flat``
    is N separate ones. Networks are drawn as SB3 draws them, independently for every agent.

    Rows of observations are whole worlds in the agents' order, or ``agents`` says whose each row is.

    Parameters
    ----------
    observation_space:
        A Box, which is flattened.
    action_space:
        Discrete.
    lr_schedule:
        The learning rate as a function of the remaining progress.
    n_agents:
        Number of agents.
    net_arch:
        Widths of the hidden layers, ``{"pi": [...], "vf": [...]}`` or one list for both; by default two of 64.
    activation_fn:
        ``torch.nn.LeakyReLU``, ``ReLU`` or ``Tanh``.
    use_sde:
        Must be False.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        n_agents: int,
        net_arch: dict[str, list[int]] | list[int] | None = None,
        activation_fn: Callable[[], nn.Module] = nn.Tanh,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde must be False: independent networks have discrete actions")
        if not isinstance(observation_space, spaces.Box):
            raise TypeError(f"independent networks need observations of a Box, got {observation_space}")
        if not isinstance(action_space, spaces.Discrete):
            raise TypeError(f"independent networks need discrete actions, got {action_space}")
        super().__init__(observation_space, action_space)
        if net_arch is None:
            net_arch = [64, 64]
        if isinstance(net_arch, list):
            net_arch = {"pi": net_arch, "vf": net_arch}
        self.n_agents, self.net_arch, self.activation_fn = n_agents, net_arch, activation_fn
        self.activation = activation_fn()
        leak = leak_of(self.activation)
        self.slope: np.float32 = TANH if leak is None else leak
        n_features = int(np.prod(observation_space.shape))
        self.policy_layers, middle = _layout([n_features, *net_arch["pi"], int(action_space.n)], 0)
        self.value_layers, n_parameters = _layout([n_features, *net_arch["vf"], 1], middle)
        self.flat = nn.Parameter(torch.zeros(n_agents, n_parameters))
        self._initialise(self.policy_layers, 0.01)
        self._initialise(self.value_layers, 1.0)
        self.optimizer = torch.optim.Adam([self.flat], lr=lr_schedule(1), eps=1e-5)

    def forward(
        self, observations: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions (n_rows,), values (n_rows, 1) and the actions' log-probabilities (n_rows,)."""
        law = self.get_distribution(observations)
        actions = law.get_actions(deterministic)
        return actions, self.predict_values(observations), law.log_prob(actions)

    def get_distribution(
        self, observations: torch.Tensor, agents: NDArray[np.int64] | None = None
    ) -> CategoricalDistribution:
        """The laws of the rows' actions."""
        logits = self._by_agent(self.policy_layers, observations, agents)
        return CategoricalDistribution(logits.shape[1]).proba_distribution(logits)

    def predict_values(self, observations: torch.Tensor, agents: NDArray[np.int64] | None = None) -> torch.Tensor:
        """The values of the rows, shape (n_rows, 1)."""
        return self._by_agent(self.value_layers, observations, agents)

    def evaluate_actions(
        self, observations: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Values (n_rows, 1), and the log-probabilities of actions and the entropies of laws (n_rows,)."""
        law = self.get_distribution(observations)
        return self.predict_values(observations), law.log_prob(actions), law.entropy()

    def run(self, layers: Layers, parameters: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The outputs of n agents' networks, shape (n, n_rows, n_outputs).

        Parameters
        ----------
        layers:
            ``policy_layers`` or ``value_layers``.
        parameters:
            Rows of ``flat``, (n, n_parameters).
        x:
            Shape (n, n_rows, n_features).
        """
        last = len(layers) - 1
        begin = layers[0, 2]
        # One split of consecutive pieces, since the gradient of each slice would be as large as all parameters.
        sizes = [_padded(size) for n_in, n_out, _, _ in layers for size in (n_in * n_out, n_out)]
        pieces = torch.split(parameters[:, begin : begin + sum(sizes)], sizes, dim=1)
        for k, (n_in, n_out, _, _) in enumerate(layers.tolist()):
            weights = pieces[2 * k][:, : n_in * n_out].view(-1, n_in, n_out)
            x = torch.baddbmm(pieces[2 * k + 1][:, None, :n_out], x, weights)
            if k < last:
                x = self.activation(x)
        return x

    def _by_agent(
        self, layers: Layers, observations: torch.Tensor, agents: NDArray[np.int64] | None
    ) -> torch.Tensor:
        x = observations.flatten(1).float()
        whose = rows_of_agents(len(x), self.n_agents, agents)
        if agents is None:
            by_agent = x.view(len(x) // self.n_agents, self.n_agents, x.shape[1]).transpose(0, 1)
            return self.run(layers, self.flat, by_agent).transpose(0, 1).flatten(0, 1)
        found = x.new_empty(len(x), int(layers[-1, 1]))
        order = np.argsort(whose, kind="stable")
        present, first = np.unique(whose[order], return_index=True)
        for agent, chosen in zip(present, np.split(order, first[1:]), strict=True):
            rows = torch.from_numpy(chosen).to(x.device)
            found[rows] = self.run(layers, self.flat[agent : agent + 1], x[rows][None])[0]
        return found

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        actions: torch.Tensor = self.get_distribution(observation).get_actions(deterministic)
        return actions

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "n_agents": self.n_agents,
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
        }

    def _initialise(self, layers: Layers, gain_of_head: float) -> None:
        """Orthogonal weights as in SB3, and biases of 0."""
        for k, (n_in, n_out, weights, _) in enumerate(layers.tolist()):
            gain = gain_of_head if k == len(layers) - 1 else 2.0**0.5
            drawn = gain * _orthogonal(self.n_agents, n_in, n_out)
            self.flat.data[:, weights : weights + n_in * n_out] = drawn.flatten(1)


class IndependentNetworks:
    """The networks of all agents in the CPU's memory, as the compiled kernels take them.

    Parameters
    ----------
    policies:
        Whose parameters are read, and changed in place.
    """

    def __init__(self, policies: IndependentPolicies) -> None:
        self._policies = policies
        self._parameters: Floats = policies.flat.detach().numpy()
        self._width = int(max(policies.policy_layers[:, :2].max(), policies.value_layers[:, :2].max()))
        self._hidden = _aligned(2, self._width)

    def act(
        self, observations: torch.Tensor, actions: NDArray[np.int64], log_probs: Floats, values: Floats
    ) -> None:
        """Sample actions from torch's random numbers; write them and their log-probabilities, but no values.

        Values are estimated for all steps together when the rollout is complete: one row of each agent at a time,
        all weights would pass through memory once more in every step.
        """
        policies = self._policies
        by_world = observations.numpy().reshape(-1, policies.n_agents, policies.policy_layers[0, 0])
        draws = torch.rand(len(observations)).numpy()
        layers, slope = policies.policy_layers, policies.slope
        act(self._parameters, layers, by_world, draws, slope, self._hidden, actions, log_probs)

    def evaluate(self, observations: torch.Tensor, values: torch.Tensor) -> None:
        """Write the values, (n_rows, n_agents), of observations, (n_rows, n_agents, n_features)."""
        policies, by_agent = self._policies, observations.transpose(0, 1)
        with torch.no_grad():
            for first in range(0, policies.n_agents, BLOCK_AGENTS):
                block = slice(first, first + BLOCK_AGENTS)
                found = policies.run(policies.value_layers, policies.flat[block], by_agent[block])
                values[:, block] = found.squeeze(-1).t()

    def update(self, trajectories: Trajectories, orders: torch.Tensor, settings: Settings) -> NDArray[np.float64]:
        """Improve every agent's networks from its own rows, as :func:`improve_by_autograd` does."""
        policies = self._policies
        sums = np.zeros((orders.shape[1], 5))
        state = _adam_state(policies)
        improve(
            self._parameters,
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            int(state["step"]),
            policies.policy_layers,
            policies.value_layers,
            Trajectories(*(tensor.numpy() for tensor in trajectories)),
            orders.numpy(),
            settings,
            policies.slope,
            self._scratch(trajectories.observations, settings.minibatch),
            sums,
        )
        state["step"] += orders.shape[1] * -(-orders.shape[2] // settings.minibatch)
        return sums

    def _scratch(self, observations: torch.Tensor, minibatch: int) -> Scratch:
        n_rows, _, n_features = observations.shape
        n_layers = max(len(self._policies.policy_layers), len(self._policies.value_layers))
        return Scratch(
            gradient=_aligned(self._parameters.shape[1]),
            inputs=_aligned(n_rows, n_features),
            batch_inputs=_aligned(minibatch * n_features),
            outputs=_aligned(n_layers, minibatch * self._width),
            gradients=_aligned(n_layers, minibatch * self._width),
            turned=_aligned(minibatch * self._width),
            turned_back=_aligned(minibatch * self._width),
        )


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
    * What is logged are means over all agents and the whole update; ``approx_kl`` and ``loss`` over its last pass.
    * ``predict`` and ``action_probabilities`` take the rows of whole worlds, ordered by world, then by agent.

    Parameters
    ----------
    policy:
        ``"MlpPolicy"``, or a subclass of :class:`IndependentPolicies`.
    env:
        A game, the name of one, or a VecEnv of one whose rows are all agents of every world, as of
        :func:`mfenvs.vec_env`. Each world gives every agent another trajectory.
    hyper_parameters:
        As in :class:`PPO`, and of ``policy_kwargs`` only ``net_arch`` and ``activation_fn``. ``target_kl`` and
        ``clip_range_vf`` must be None.

    Raises
    ------
    TypeError, ValueError
        If the environment is another, or an argument is not allowed.
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
        """The law of each row's action, shape (n_rows, n_actions).

        Parameters
        ----------
        observations:
            Shape (n_rows, width).
        agents:
            The agent of each row; by default rows are whole worlds, in the agents' order.

        Raises
        ------
        ValueError
            If the rows are not whole worlds and ``agents`` is not given, or it is not one agent per row.
        """
        if self._vec_normalize_env is not None:
            observations = np.asarray(self._vec_normalize_env.normalize_obs(observations))
        with torch.no_grad():
            rows = torch.as_tensor(observations, dtype=torch.float32, device=self.device)
            laws: NDArray[np.float32] = self.policy.get_distribution(rows, agents).distribution.probs.cpu().numpy()
        return laws

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Go on in another environment, of as many agents; TypeError or ValueError if it is none."""
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
        with _flushing_denormals():
            if self._networks is not None:
                sums = self._networks.update(trajectories, orders, settings)
            else:
                sums = improve_by_autograd(self.policy, trajectories, orders, settings)
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
            minibatch=min(max(self.batch_size // self.n_agents, smallest), n_rows),
            normalise=bool(self.normalize_advantage),
            clip_range=np.float32(clip_range),
            entropy=np.float32(self.ent_coef),
            value=np.float32(self.vf_coef),
            max_norm=np.float32(self.max_grad_norm),
            learning_rate=float(group["lr"]),
            beta1=float(group["betas"][0]),
            beta2=float(group["betas"][1]),
            eps=np.float32(group["eps"]),
        )

    def _draw_orders(self, n_rows: int) -> torch.Tensor:
        """In which order each agent's rows are taken in each pass, shape (n_agents, n_passes, n_rows)."""
        return torch.rand(self.n_agents, self.n_epochs, n_rows).argsort(dim=-1)


def improve_by_autograd(
    policies: IndependentPolicies, trajectories: Trajectories, orders: torch.Tensor, settings: Settings
) -> NDArray[np.float64]:
    """PPO's update of every agent from its own rows, each step for all agents at a time.

    Parameters
    ----------
    policies:
        The networks, changed in place, with their optimiser.
    trajectories:
        The rollouts, :class:`Trajectories`.
    orders:
        In which order rows are taken, shape (n_agents, n_passes, n_rows).
    settings:
        Hyper-parameters.

    Returns
    -------
    Sums over all rows for the log, shape (n_passes, 5).
    """
    orders = orders.to(policies.device)
    agents = torch.arange(len(orders), device=policies.device)[:, None]
    sums = np.zeros((orders.shape[1], 5))
    for which in range(orders.shape[1]):
        for rows in torch.split(orders[:, which], settings.minibatch, dim=1):
            batch = Trajectories(*(tensor[rows, agents] for tensor in trajectories))
            figures = _losses(policies, batch, settings)
            sums[which] += [float(figure.detach().sum()) for figure in figures]
            by_agent = (
                figures[POLICY_LOSS].mean(dim=1)
                - float(settings.entropy) * figures[ENTROPY].mean(dim=1)
                + float(settings.value) * figures[VALUE_LOSS].mean(dim=1)
            )
            policies.optimizer.zero_grad()
            torch.autograd.backward(by_agent.sum())
            gradient = policies.flat.grad
            assert gradient is not None
            norms = gradient.norm(dim=1, keepdim=True)
            gradient.mul_((float(settings.max_norm) / (norms + 1e-6)).clamp(max=1.0))
            policies.optimizer.step()
    return sums


def _losses(policies: IndependentPolicies, batch: Trajectories, settings: Settings) -> list[torch.Tensor]:
    """What the log adds up, of every row of a minibatch, (n_agents, size) each; it contains PPO's losses."""
    advantages, clip_range = batch.advantages, float(settings.clip_range)
    if settings.normalise and advantages.shape[1] > 1:
        deviations = advantages.std(dim=1, keepdim=True)
        advantages = (advantages - advantages.mean(dim=1, keepdim=True)) / (deviations + 1e-8)
    log_laws = policies.run(policies.policy_layers, policies.flat, batch.observations).log_softmax(dim=-1)
    values = policies.run(policies.value_layers, policies.flat, batch.observations).squeeze(-1)
    log_ratios = log_laws.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1) - batch.log_probs
    ratios = log_ratios.exp()
    clipped = ratios.clamp(1.0 - clip_range, 1.0 + clip_range)
    figures = [torch.empty(0)] * 5
    figures[POLICY_LOSS] = -torch.min(advantages * ratios, advantages * clipped)
    figures[ENTROPY] = -(log_laws.exp() * log_laws).sum(dim=-1)
    figures[VALUE_LOSS] = (values - batch.returns).square()
    figures[CLIPPED] = ((ratios - 1.0).abs() > clip_range).float()
    figures[KL] = (ratios - 1.0) - log_ratios
    return figures


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


def _layout(widths: list[int], begin: int) -> tuple[Layers, int]:
    """The layers of a network whose parameters begin at ``begin``, and where they end."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        bias = begin + _padded(n_in * n_out)
        layers.append((n_in, n_out, begin, bias))
        begin = bias + _padded(n_out)
    return np.array(layers, np.int64), begin


def _padded(size: int) -> int:
    return -(-int(size) // ALIGNED) * ALIGNED


def _orthogonal(n: int, n_in: int, n_out: int) -> torch.Tensor:
    """Random matrices with orthonormal columns or rows, (n, n_in, n_out), drawn like ``nn.init.orthogonal_``'s."""
    q: torch.Tensor
    q, r = torch.linalg.qr(torch.randn(n, max(n_in, n_out), min(n_in, n_out)))
    q *= r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return q if n_in >= n_out else q.transpose(1, 2)


def _aligned(*shape: int) -> Floats:
    array: Floats = torch.zeros(*shape).numpy()  # torch's memory begins at multiples of 64 bytes, numpy's does not
    return array


def _adam_state(policies: IndependentPolicies) -> dict[str, torch.Tensor]:
    """The optimiser's state, made as its first step makes it if there was none."""
    state: dict[str, torch.Tensor] = policies.optimizer.state[policies.flat]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(policies.flat, requires_grad=False)
        state["exp_avg_sq"] = torch.zeros_like(policies.flat, requires_grad=False)
    return state


@contextlib.contextmanager
def _flushing_denormals() -> Iterator[None]:
    """Compute with denormal numbers as zeros: Adam takes 16 times as long when its moments become denormal."""
    was_flushing = bool(torch.full((1,), 2e-38).mul(0.1).item() == 0.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushing)
