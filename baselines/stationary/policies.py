"""Parametrised policies: maps from the parameters of all runs to tables of probabilities, and their gradients."""

import abc
import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame

from .config import MOST_NUMBERS, StationaryPGConfig, policy_of
from .tables import logit_gradient, softmax, threshold_tables

Array = NDArray[np.float64]
Tables = NDArray[np.float32]


class PolicyClass(abc.ABC):
    """A class of policies pi_theta of a game, theta being a vector of P parameters.

    The parameters of R runs are an array (R, P), their policies tables of shape (R, S, A) in single precision.
    """

    bounds: tuple[float, float]
    """The interval onto which each parameter is projected."""
    first: tuple[Array, Array]
    """Bounds of the uniform law of the first parameters, shape (P,) each."""

    @property
    def n_parameters(self) -> int:
        """Number P of parameters."""
        return len(self.first[0])

    @abc.abstractmethod
    def tables(self, parameters: Array) -> Tables:
        """The policies of all runs."""

    def gradient(self, parameters: Array, weights: Array) -> Array:
        """The gradient of sum_{s,a} weights[s, a] log pi_theta(a | s) of every run, shape (R, P)."""
        raise NotImplementedError

    def project(self, parameters: Array) -> Array:
        """The nearest parameters within the bounds."""
        projected: Array = np.clip(parameters, *self.bounds)
        return projected


class ThresholdPolicies(PolicyClass):
    """Deterministic policies of a game with states in [0, 1]^d and 2^d actions, a threshold for each coordinate.

    Bit j of the action (of value 2^j) is 1 if and only if coordinate j of the state is at or above its threshold,
    or with ``direction`` "below" if it is below it. Perturbed thresholds may lie outside [0, 1]
    [O].
    """

    bounds = 0.0, 1.0

    def __init__(self, levels: Array, direction: str) -> None:
        n = levels.shape[1]
        self.first = np.zeros(n), np.ones(n)
        self._levels, self._is_above = np.ascontiguousarray(levels, np.float64), direction == "above"

    def tables(self, parameters: Array) -> Tables:
        """The policies of all runs."""
        found = np.empty((len(parameters), len(self._levels), 2 ** self._levels.shape[1]), np.float32)
        threshold_tables(self._levels, parameters, self._is_above, found)
        return found


class SmoothPolicies(PolicyClass):
    """Base class of policies that are a softmax of logits, which torch differentiates."""

    def __init__(self, bound: float) -> None:
        self.bounds = -bound, bound

    @abc.abstractmethod
    def logits(self, parameters: torch.Tensor) -> torch.Tensor:
        """The logits of all runs, shape (R, S, A)."""

    def tables(self, parameters: Array) -> Tables:
        """The policies of all runs."""
        with torch.no_grad():
            logits = self.logits(torch.from_numpy(parameters).float())
        return _softmax(logits)

    def gradient(self, parameters: Array, weights: Array) -> Array:
        """The gradient of sum_{s,a} weights[s, a] log pi_theta(a | s) of every run, shape (R, P)."""
        theta = torch.from_numpy(parameters).float().requires_grad_()
        logits = self.logits(theta)
        by_logits = _softmax(logits.detach())
        logit_gradient(by_logits, weights)
        (gradient,) = torch.autograd.grad(logits, theta, torch.from_numpy(by_logits))
        return gradient.double().numpy()


def _softmax(logits: torch.Tensor) -> Tables:
    found = np.empty(tuple(logits.shape), np.float32)
    softmax(logits.contiguous().numpy(), found)
    return found


class TabularPolicies(SmoothPolicies):
    """A softmax of a table of logits, which are the parameters; all begin at the uniform policy."""

    def __init__(self, n_states: int, n_actions: int, bound: float) -> None:
        super().__init__(bound)
        self._shape = n_states, n_actions
        self.first = np.zeros(n_states * n_actions), np.zeros(n_states * n_actions)

    def logits(self, parameters: torch.Tensor) -> torch.Tensor:
        """The logits of all runs, shape (R, S, A)."""
        return parameters.reshape(-1, *self._shape)


class NetworkPolicies(SmoothPolicies):
    """A softmax of a perceptron with tanh, of the state's coordinates or, without any, of the one-hot state.

    The first weights and biases are those of ``torch.nn.Linear``: uniform within 1 / sqrt(number of inputs) [O].
    """

    def __init__(
        self, n_states: int, levels: Array | None, hidden_sizes: tuple[int, ...], n_actions: int, bound: float
    ) -> None:
        super().__init__(bound)
        self._levels = None if levels is None else torch.from_numpy(levels).float()
        sizes = n_states if levels is None else levels.shape[1], *hidden_sizes, n_actions
        self._layers = list(itertools.pairwise(sizes))
        n_parameters = sum((inputs + 1) * outputs for inputs, outputs in self._layers)
        checks.at_most("the number of a network's parameters", n_parameters, MOST_NUMBERS)
        widths = [np.full((inputs + 1) * outputs, inputs**-0.5) for inputs, outputs in self._layers]
        width = np.minimum(np.concatenate(widths), bound)
        self.first = -width, width

    def logits(self, parameters: torch.Tensor) -> torch.Tensor:
        """The logits of all runs, shape (R, S, A)."""
        rest, values = parameters, self._levels
        for place, (inputs, outputs) in enumerate(self._layers):
            n = inputs * outputs
            weights, biases = rest[:, :n].reshape(-1, inputs, outputs), rest[:, n : n + outputs]
            rest = rest[:, n + outputs :]
            if place == 0:
                # Of one-hot states the product with the weights is the weights.
                values = weights if values is None else values.expand(len(parameters), -1, -1).bmm(weights)
                values = values + biases[:, None, :]
            else:
                assert values is not None
                values = torch.baddbmm(biases[:, None, :], values.tanh(), weights)
        assert values is not None
        return values


def policy_class(game: FiniteGame, config: StationaryPGConfig) -> PolicyClass:
    """The policies that the hyper-parameters name; ValueError if the game has none of that kind."""
    kind, levels = policy_of(game, config), game.state_levels
    if kind == "threshold":
        assert levels is not None
        return ThresholdPolicies(np.asarray(levels), config.direction)
    if kind == "tabular":
        return TabularPolicies(game.n_states, game.n_actions, config.bound)
    return NetworkPolicies(game.n_states, levels, config.hidden_sizes, game.n_actions, config.bound)


def normalised(tables: NDArray[Any]) -> Array:
    """Tables of probabilities in double precision, whose rows sum to one to round-off."""
    found = np.asarray(tables, np.float64)
    total: Array = found / found.sum(axis=-1, keepdims=True)
    return total
