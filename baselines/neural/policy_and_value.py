"""PPO's gradients for a policy and a value network on one CPU core, without autograd.

The numbers are those of Stable-Baselines3's ``PPO.train`` up to round-off. Parameters and optimiser are the
policy's own. Where few of a minibatch's observations are distinct, only these pass through the networks, and the
first layer is applied to the parts of which they consist (:mod:`baselines.neural.distinct_observations`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from .distinct_observations import DistinctMinibatch, Numbers, ObservationSums, Part, as_slice, numbered
from .grouping_kernels import policy_gradient_of_sums, read_one_hot, sample_actions_of, value_gradient_of_sums
from .perceptrons import BLOCK_ROWS, Network
from .ppo_kernels import Floats, policy_gradient, sample_actions, softmax, value_gradient


@dataclasses.dataclass(frozen=True)
class Minibatch:
    """A minibatch of a rollout; everything but the observations has one entry for each of ``rows``."""

    observations: torch.Tensor
    """Observations of the whole rollout, (n, n_features)."""
    rows: torch.Tensor
    """Indices of the rows of the minibatch, (size,)."""
    actions: NDArray[np.int64]
    old_log_probs: Floats
    advantages: Floats
    """Advantages, normalised if that is asked for."""
    returns: Floats

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows)


Inputs = Sequence[tuple[slice, torch.Tensor | Numbers]]
"""Blocks of observations, or of their places in tables of parts, each with the places of its rows."""


class LossWeights(NamedTuple):
    """The numbers with which the rows of a minibatch enter PPO's loss."""

    clip_range: np.float32
    entropy: np.float32
    value: np.float32
    row: np.float32
    """1 / size of the minibatch: the loss is a mean."""


class PolicyAndValue:
    """The policy network and the value network of an SB3 policy, with PPO's gradients.

    Parameters
    ----------
    policy:
        An ``MlpPolicy`` on the CPU, with separate networks of at least one hidden layer each; see
        :meth:`supports`.
    identity:
        The columns of observations with the agent's one-hot identity, if there are any. A product with them is a
        row of the weights, so that agents are given by their indices.

    Raises
    ------
    ValueError
        If ``policy`` is of another kind.
    """

    def __init__(self, policy: ActorCriticPolicy, identity: slice | None = None) -> None:
        extractor = policy.mlp_extractor
        self.policy = Network(extractor.policy_net, policy.action_net)
        self.value = Network(extractor.value_net, policy.value_net)
        self.parameters = list(policy.parameters())
        self.identity: Part | None = None
        """The part of observations that is the agent's one-hot identity."""
        n_columns = self.policy.n_inputs
        self.own_columns = np.arange(n_columns)
        """The other columns of observations."""
        if identity is not None:
            self.own_columns = np.delete(self.own_columns, identity)
            self.identity = Part(identity, None, identity.stop - identity.start)

    @staticmethod
    def supports(policy: Any) -> bool:
        """Whether a policy is of the kind that this class can compute; others are left to autograd."""
        if not (
            type(policy) is ActorCriticPolicy
            and isinstance(policy.action_space, spaces.Discrete)
            and type(policy.features_extractor) is FlattenExtractor
            and isinstance(policy.observation_space, spaces.Box)
            and len(policy.observation_space.shape) == 1
            and policy.device.type == "cpu"
            and all(p.requires_grad and p.dtype == torch.float32 for p in policy.parameters())
        ):
            return False
        networks = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
        try:
            for network in networks:
                Network(network, policy.action_net)
        except ValueError:
            return False
        return all(len(network) > 0 for network in networks)

    def refresh(self) -> None:
        """Read the parameters again, after they have changed."""
        self.policy.refresh()
        self.value.refresh()

    def act(
        self,
        observations: torch.Tensor,
        actions: NDArray[np.int64],
        log_probs: Floats,
        values: Floats,
        agents: Numbers | None = None,
    ) -> None:
        """Sample actions from torch's random numbers; write them, their log-probabilities and the values.

        Parameters
        ----------
        observations:
            Shape (n, n_features); with ``agents`` without the columns of the identity.
        actions, log_probs, values:
            Arrays to which is written, shape (n,) each.
        agents:
            The agent of each row, shape (n,), if the networks have columns of the identity.
        """
        draws = torch.rand(len(observations)).numpy()
        distinct, numbers = self._distinct(observations)
        bias = self.policy.head_bias
        if agents is None and numbers is not None:
            logits = np.empty((len(distinct), len(bias)), np.float32)
            for rows, x in self._inputs(distinct):
                logits[rows] = self.policy.forward(x)
            sample_actions_of(logits, bias, numbers, draws, actions, log_probs)
            of_distinct = np.empty(len(distinct), np.float32)
            self._evaluate(self._inputs(distinct), of_distinct)
            values[:] = of_distinct[numbers]
            return
        inputs = self._inputs(distinct, agents, numbers)
        for rows, x in inputs:
            sample_actions(self.policy.forward(x), bias, draws[rows], actions[rows], log_probs[rows])
        self._evaluate(inputs, values)

    def action_probabilities(self, observations: torch.Tensor, agents: Numbers | None = None) -> Floats:
        """Probabilities of the actions, shape (len(observations), n_actions).

        Observations are whole, or without the columns of the identity if ``agents`` are given.
        """
        own, agents = self._without_identity(observations) if agents is None else (observations, agents)
        distinct, numbers = self._distinct(own)
        n_laws = len(distinct if agents is None else agents)
        laws = np.empty((n_laws, len(self.policy.head_bias)), np.float32)
        for rows, x in self._inputs(distinct, agents, numbers):
            softmax(self.policy.forward(x), self.policy.head_bias, laws[rows])
        return laws if agents is not None or numbers is None else laws[numbers]

    def evaluate(self, observations: torch.Tensor, values: Floats, agents: Numbers | None = None) -> None:
        """Write the values, shape (len(observations),); arguments are those of :meth:`act`."""
        distinct, numbers = (observations, None) if agents is None else self._distinct(observations)
        self._evaluate(self._inputs(distinct, agents, numbers), values)

    def _evaluate(self, inputs: Inputs, values: Floats) -> None:
        for rows, x in inputs:
            np.add(self.value.forward(x)[:, 0], self.value.head_bias[0], out=values[rows])

    def _distinct(self, observations: torch.Tensor) -> tuple[torch.Tensor, Numbers | None]:
        """The distinct observations, and each row's number among them; all and None if these are too many."""
        # Many agents often observe the same. To find out takes a tenth of the time that two layers of 128 take.
        found = numbered(observations.numpy().view(np.uint32), None, max(1, 7 * len(observations) // 8))
        if found is None:
            return observations, None
        numbers, firsts = found
        return observations.index_select(0, torch.from_numpy(firsts)), numbers

    def _inputs(
        self, observations: torch.Tensor, agents: Numbers | None = None, numbers: Numbers | None = None
    ) -> Inputs:
        """Blocks of what both networks take, each with its rows.

        Parameters
        ----------
        observations:
            Shape (n, n_features); with ``agents`` without the columns of the identity.
        agents:
            The agent of each row, shape (n_rows,).
        numbers:
            With ``agents``, the place of each row's observation among these; None if they are the rows.
        """
        if agents is None:
            for network in (self.policy, self.value):
                network.set_parts(())
            return _blocks(observations)
        assert self.identity is not None
        own = Part(as_slice(self.own_columns), observations, len(observations))
        for network in (self.policy, self.value):
            network.set_parts((self.identity, own))
        of_rows = np.arange(len(agents), dtype=np.int32) if numbers is None else numbers
        return _blocks(np.stack([agents, of_rows + np.int32(self.identity.n_rows)], axis=1))

    def _without_identity(self, observations: torch.Tensor) -> tuple[torch.Tensor, Numbers | None]:
        """Observations without the columns of the identity, and agents; None if these columns are not one-hot."""
        if self.identity is None:
            return observations, None
        agents = np.empty(len(observations), np.int32)
        columns = self.identity.columns
        assert isinstance(columns, slice)
        if not read_one_hot(observations.numpy().view(np.uint32), columns.start, columns.stop, agents):
            return observations, None
        return observations[:, as_slice(self.own_columns)].contiguous(), agents

    def compute_gradients(
        self,
        batch: Minibatch | DistinctMinibatch,
        clip_range: float,
        entropy_coefficient: float,
        value_coefficient: float,
    ) -> NDArray[np.float64]:
        """Set every parameter's ``grad`` to that of PPO's loss on a minibatch; return the log's sums, (5,)."""
        weights = LossWeights(
            np.float32(clip_range),
            np.float32(entropy_coefficient),
            np.float32(value_coefficient),
            np.float32(1.0 / batch.n_rows),
        )
        log = np.zeros(5)
        if isinstance(batch, Minibatch):
            self._prepare(())
            self._add_gradients(batch, weights, log)
        else:
            self._prepare(batch.parts)
            self._add_gradients_of_sums(batch.sums, weights, log)
        self.policy.finish_gradients()
        self.value.finish_gradients()
        return log

    def _prepare(self, parts: Sequence[Part]) -> None:
        """Begin with a minibatch whose observations are in these parts."""
        for network in (self.policy, self.value):
            network.set_parts(parts)
            network.clear_gradients()

    def _add_gradients(self, batch: Minibatch, weights: LossWeights, log: NDArray[np.float64]) -> None:
        policy, value = self.policy, self.value
        for part, rows in _blocks(batch.rows):
            x = batch.observations.index_select(0, rows)
            policy_gradient(
                policy.forward(x),
                policy.head_bias,
                batch.actions[part],
                batch.old_log_probs[part],
                batch.advantages[part],
                weights.clip_range,
                weights.entropy,
                weights.row,
                policy.block(x.shape[0]).gradient_arrays[-1],
                policy.head_bias_gradient,
                log,
            )
            policy.backward(x)
            value_gradient(
                value.forward(x),
                value.head_bias,
                batch.returns[part],
                weights.value,
                weights.row,
                value.block(x.shape[0]).gradient_arrays[-1],
                value.head_bias_gradient,
                log,
            )
            value.backward(x)

    def _add_gradients_of_sums(
        self, sums: ObservationSums, weights: LossWeights, log: NDArray[np.float64]
    ) -> None:
        policy, value = self.policy, self.value
        for part, places in _blocks(sums.places):
            policy_gradient_of_sums(
                policy.forward(places),
                policy.head_bias,
                sums.counts[part],
                sums.log_probs[part],
                sums.gains[part],
                sums.losses[part],
                weights.clip_range,
                weights.entropy,
                weights.row,
                policy.block(len(places)).gradient_arrays[-1],
                policy.head_bias_gradient,
                log,
            )
            policy.backward(places)
            value_gradient_of_sums(
                value.forward(places),
                value.head_bias,
                sums.counts[part],
                sums.returns[part],
                weights.value,
                weights.row,
                value.block(len(places)).gradient_arrays[-1],
                value.head_bias_gradient,
                log,
            )
            value.backward(places)


def _blocks(rows: Any) -> list[tuple[slice, Any]]:
    """Consecutive blocks of rows of a tensor or an array, each with the places of its rows."""
    places = [slice(first, min(first + BLOCK_ROWS, len(rows))) for first in range(0, len(rows), BLOCK_ROWS)]
    return [(place, rows[place]) for place in places]
