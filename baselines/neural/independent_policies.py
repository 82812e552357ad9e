"""A policy and a value network for each agent, as one policy of Stable-Baselines3."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from mfenvs.wrappers.symmetrise import rows_of_agents

from .independent_kernels import TANH
from .perceptrons import slope_below_zero

ALIGNED = 16
"""Every tensor of an agent begins at a multiple of this many float32 numbers: 64 bytes, a cache line."""

Layers = NDArray[np.int64]
"""The layers of a network: numbers of inputs and of outputs, and the first index of the weights and of the biases
among an agent's parameters, shape (n_layers, 4)."""


class IndependentPolicies(BasePolicy):
    """A policy and a value network for each of N agents, all in one tensor.

    The parameter ``flat``, shape (n_agents, n_parameters), has a row for each agent: weights as (inputs, outputs)
    and biases by layer, first the policy's. Adam treats every number on its own, so the one optimiser of ``flat``
    is N separate ones. Networks are drawn as SB3 draws them, independently for every agent.

    The rows of observations are those of whole worlds, in the agents' order, unless the argument ``agents`` of a
    method gives the agent of each row.

    Parameters
    ----------
    observation_space:
        A Box, which is flattened.
    action_space:
        Discrete.
    lr_schedule:
        The learning rate as a function of the remaining progress (from 1 to 0).
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
        leak = slope_below_zero(self.activation)
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
        """The distribution of each row's action."""
        logits = self._by_agent(self.policy_layers, observations, agents)
        return CategoricalDistribution(logits.shape[1]).proba_distribution(logits)

    def predict_values(self, observations: torch.Tensor, agents: NDArray[np.int64] | None = None) -> torch.Tensor:
        """The value estimate of each row, shape (n_rows, 1)."""
        return self._by_agent(self.value_layers, observations, agents)

    def evaluate_actions(
        self, observations: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Values (n_rows, 1), log-probabilities of the actions and entropies of the policies (n_rows,)."""
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
