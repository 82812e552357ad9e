"""PPO's update of every agent from its own rows: by compiled code on a CPU, by autograd on other devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from .independent_kernels import Scratch, Settings, Trajectories, act, update_networks
from .independent_policies import IndependentPolicies
from .ppo_kernels import CLIPPED, ENTROPY, KL, POLICY_LOSS, VALUE_LOSS, Floats

BLOCK_AGENTS = 8
"""Number of agents whose values are estimated together: their activations (128 rows, two layers of 128: 1 MB) stay
in the second-level cache."""


class IndependentNetworks:
    """The networks of all agents in the CPU's memory, evaluated and trained by compiled kernels.

    Parameters
    ----------
    policies:
        The policies, whose parameters are read, and changed in place.
    """

    def __init__(self, policies: IndependentPolicies) -> None:
        self._policies = policies
        self._parameters: Floats = policies.flat.detach().numpy()
        self._width = int(max(policies.policy_layers[:, :2].max(), policies.value_layers[:, :2].max()))
        self._hidden = _aligned(2, self._width)

    def act(
        self, observations: torch.Tensor, actions: NDArray[np.int64], log_probs: Floats, values: Floats
    ) -> None:
        """Sample an action for every row from torch's random numbers.

        Parameters
        ----------
        observations:
            Rows of whole worlds, in the agents' order, shape (n_worlds * n_agents, n_features).
        actions, log_probs:
            Arrays to which actions and their log-probabilities are written, shape (n_worlds * n_agents,).
        values:
            Left as it is. Values are estimated for all steps together when the rollout is complete: with one row
            of each agent at a time, all weights would pass through memory once more in every step.
        """
        policies = self._policies
        by_world = observations.numpy().reshape(-1, policies.n_agents, policies.policy_layers[0, 0])
        draws = torch.rand(len(observations)).numpy()
        layers, slope = policies.policy_layers, policies.slope
        act(self._parameters, layers, by_world, draws, slope, self._hidden, actions, log_probs)

    def evaluate(self, observations: torch.Tensor, values: torch.Tensor) -> None:
        """Estimate the values of observations.

        Parameters
        ----------
        observations:
            Shape (n_rows, n_agents, n_features).
        values:
            Tensor to which the values are written, shape (n_rows, n_agents).
        """
        policies, by_agent = self._policies, observations.transpose(0, 1)
        with torch.no_grad():
            for first in range(0, policies.n_agents, BLOCK_AGENTS):
                block = slice(first, first + BLOCK_AGENTS)
                found = policies.run(policies.value_layers, policies.flat[block], by_agent[block])
                values[:, block] = found.squeeze(-1).t()

    def update(self, trajectories: Trajectories, orders: torch.Tensor, settings: Settings) -> NDArray[np.float64]:
        """Update every agent's networks from its own rows, as :func:`update_by_autograd` does."""
        policies = self._policies
        sums = np.zeros((orders.shape[1], 5))
        state = _adam_state(policies)
        update_networks(
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
            self._scratch(trajectories.observations, settings.minibatch_size),
            sums,
        )
        state["step"] += orders.shape[1] * -(-orders.shape[2] // settings.minibatch_size)
        return sums

    def _scratch(self, observations: torch.Tensor, minibatch: int) -> Scratch:
        n_rows, _, n_features = observations.shape
        n_layers = max(len(self._policies.policy_layers), len(self._policies.value_layers))
        return Scratch(
            gradient=_aligned(self._parameters.shape[1]),
            inputs=_aligned(n_rows, n_features),
            batch_inputs=_aligned(minibatch * n_features),
            outputs=_aligned(n_layers, minibatch * self._width),
            output_gradients=_aligned(n_layers, minibatch * self._width),
            transposed_gradient=_aligned(minibatch * self._width),
            transposed_input_gradient=_aligned(minibatch * self._width),
        )


def update_by_autograd(
    policies: IndependentPolicies, trajectories: Trajectories, orders: torch.Tensor, settings: Settings
) -> NDArray[np.float64]:
    """Update every agent's networks by PPO from the agent's own rows, each optimiser step for all agents at once.

    Parameters
    ----------
    policies:
        The networks, changed in place, with their optimiser.
    trajectories:
        The rollouts, :class:`Trajectories`.
    orders:
        The order in which each agent's rows are taken in each pass, shape (n_agents, n_passes, n_rows).
    settings:
        Hyper-parameters.

    Returns
    -------
    Sums over all rows for the log, shape (n_passes, 5).
    """
    orders = orders.to(policies.device)
    agents = torch.arange(len(orders), device=policies.device)[:, None]
    sums = np.zeros((orders.shape[1], 5))
    for number in range(orders.shape[1]):
        for rows in torch.split(orders[:, number], settings.minibatch_size, dim=1):
            batch = Trajectories(*(tensor[rows, agents] for tensor in trajectories))
            figures = _losses(policies, batch, settings)
            sums[number] += [float(figure.detach().sum()) for figure in figures]
            by_agent = (
                figures[POLICY_LOSS].mean(dim=1)
                - float(settings.entropy_weight) * figures[ENTROPY].mean(dim=1)
                + float(settings.value_weight) * figures[VALUE_LOSS].mean(dim=1)
            )
            policies.optimizer.zero_grad()
            torch.autograd.backward(by_agent.sum())
            gradient = policies.flat.grad
            assert gradient is not None
            norms = gradient.norm(dim=1, keepdim=True)
            gradient.mul_((float(settings.max_gradient_norm) / (norms + 1e-6)).clamp(max=1.0))
            policies.optimizer.step()
    return sums


def _losses(policies: IndependentPolicies, batch: Trajectories, settings: Settings) -> list[torch.Tensor]:
    """The logged figures of every row of a minibatch, PPO's losses among them, shape (n_agents, size) each."""
    advantages, clip_range = batch.advantages, float(settings.clip_range)
    if settings.normalise_advantages and advantages.shape[1] > 1:
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


def _aligned(*shape: int) -> Floats:
    array: Floats = torch.zeros(*shape).numpy()  # torch's memory begins at multiples of 64 bytes, numpy's does not
    return array


def _adam_state(policies: IndependentPolicies) -> dict[str, torch.Tensor]:
    """The state of Adam; if there is none yet, it is made as in Adam's first step."""
    state: dict[str, torch.Tensor] = policies.optimizer.state[policies.flat]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(policies.flat, requires_grad=False)
        state["exp_avg_sq"] = torch.zeros_like(policies.flat, requires_grad=False)
    return state


@contextlib.contextmanager
def flushing_denormals() -> Iterator[None]:
    """Compute with denormal numbers as zeros: Adam takes 16 times as long when its moments become denormal."""
    was_flushing = bool(torch.full((1,), 2e-38).mul(0.1).item() == 0.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushing)
