"""Networks with their optimisers as arrays, and the policies that they are."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from mfenvs import checks
from mfenvs.files import ArraySpecification

from ..neural.config import ACTIVATIONS
from .targets import log_policy

ADAM = "exp_avg", "exp_avg_sq", "step"
"""The state of Adam for each parameter: the first two moments of its gradient, and the number of steps."""

LARGEST_PARAMETER = 1e6
"""Largest size of a parameter: the squares of what networks with larger ones compute may overflow."""
LARGEST_RATIO = 8.0
"""The first moment of Adam is at most 7.3 times the root of the second: by Cauchy and Schwarz the square of that
number is (1 - .9)^2 / ((1 - .999) (1 - .9^2 / .999))."""
LEAST_MOMENT = 1e-15
"""First moments below this have gradients whose squares underflow single precision."""


def layer_sizes(width: int, hidden: tuple[int, ...], n_actions: int) -> list[int]:
    """Widths of all layers of a network, from the observations to the actions."""
    return [width, *hidden, n_actions]


class Learner:
    """A perceptron with a number for each action, and its optimiser, Adam.

    Parameters
    ----------
    sizes:
        Widths of all layers, from the observations to the actions.
    activation:
        Name of the activation function of hidden layers.
    learning_rate, max_grad_norm:
        Learning rate of Adam, and the norm to which gradients are clipped.
    device:
        Device of the network.
    seed:
        Random seed of the first weights of hidden layers. Those of the last layer are 0, so that all actions are
        alike at first.
    """

    def __init__(
        self,
        sizes: list[int],
        activation: str,
        *,
        learning_rate: float,
        max_grad_norm: float,
        device: torch.device,
        seed: int,
    ) -> None:
        layers: list[nn.Module] = []
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            for inputs, outputs in itertools.pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers[:-1]).to(device)
        self.max_grad_norm = max_grad_norm
        self.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate)
        for parameter in self.network.parameters():
            self.optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def copied(self) -> nn.Sequential:
        """A copy of the network, which does not learn."""
        return copy.deepcopy(self.network).requires_grad_(False)

    def descend(self, loss: torch.Tensor) -> float:
        """Take a gradient step, and return the loss.

        Raises
        ------
        ValueError
            If the loss is not finite.
        """
        value = float(loss.detach())
        if not np.isfinite(value):
            raise ValueError(
                f"the loss must be finite, got {value}: a learning rate that is too large makes it so, or rewards"
                " that are too large"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return value

    def check_parameters(self) -> None:
        """Raise a ValueError if a parameter is not finite, or too large."""
        for name, parameter in self.network.named_parameters():
            largest = float(parameter.detach().abs().max())
            if not largest <= LARGEST_PARAMETER:  # Written such that a NaN fails the comparison.
                raise ValueError(
                    f"the networks' parameters must be at most {LARGEST_PARAMETER:g} in size, those of {name} are"
                    f" as large as {largest:g}: a learning rate that is too large makes them so"
                )

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The parameters and the optimiser's state, by name."""
        for name, parameter in self.network.named_parameters():
            yield name, parameter.detach().cpu().numpy()
            for key in ADAM:
                yield f"{name}.{key}", self.optimizer.state[parameter][key].cpu().numpy()

    def set_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`arrays` gave; ValueError if no gradients lead to these moments."""
        for name, _ in self.network.named_parameters():
            first, second = arrays[f"{name}.exp_avg"], arrays[f"{name}.exp_avg_sq"]
            if not (np.abs(first) <= LARGEST_RATIO * np.sqrt(second) + LEAST_MOMENT).all():
                raise ValueError(f"{name}.exp_avg must be at most {LARGEST_RATIO:g} times the root of exp_avg_sq")
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(torch.from_numpy(arrays[name]))
                for key in ADAM:
                    self.optimizer.state[parameter][key].copy_(torch.from_numpy(arrays[f"{name}.{key}"]))


def learner_specification(sizes: list[int]) -> dict[str, ArraySpecification]:
    """Specifications of the arrays of a :class:`Learner`, by name."""
    found = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        for name, shape in ((f"{2 * layer}.weight", (outputs, inputs)), (f"{2 * layer}.bias", (outputs,))):
            found[name] = ArraySpecification(np.float32, shape, low=-LARGEST_PARAMETER, high=LARGEST_PARAMETER)
            found[f"{name}.exp_avg"] = ArraySpecification(np.float32, shape)
            found[f"{name}.exp_avg_sq"] = ArraySpecification(np.float32, shape, low=0.0)
            found[f"{name}.step"] = ArraySpecification(np.float32, (), low=0.0)
    return found


class NetworkPolicy:
    """The policy softmax(network / temperature) over the actions that are allowed.

    Parameters
    ----------
    network:
        A network from observations to a number for each action.
    temperature:
        Temperature, > 0.
    observe:
        Names of the observation blocks that agents see beside their own observation.
    seed:
        Random seed of the actions that :meth:`predict` draws.
    """

    def __init__(
        self, network: nn.Module, temperature: float, observe: tuple[str, ...] = (), seed: int = 0
    ) -> None:
        self.network, self.temperature, self.observe = network, temperature, observe
        self._device = next(network.parameters()).device
        self._rng = np.random.default_rng(seed)

    def action_probabilities(
        self, observations: NDArray[np.float32], action_masks: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities of all actions, shape (n_rows, n_actions).

        Parameters
        ----------
        observations:
            Shape (n_rows, n_features), one row per agent.
        action_masks:
            Which actions are allowed, shape (n_rows, n_actions); by default all are.
        """
        with torch.no_grad():
            numbers = self.network(torch.as_tensor(observations, dtype=torch.float32, device=self._device))
            masks = torch.ones_like(numbers, dtype=torch.bool)
            if action_masks is not None:
                masks = torch.as_tensor(action_masks, device=self._device)
            laws: NDArray[np.float32] = log_policy(numbers, masks, self.temperature).exp().cpu().numpy()
        return laws

    def predict(
        self,
        observation: ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], None]:
        """Actions for observations, shape (..., n_features), as SB3's ``predict`` gives them."""
        deterministic = checks.boolean("deterministic", deterministic)
        seen = checks.numbers("observation", observation, None, np.float32)
        rows = seen.reshape(-1, seen.shape[-1])
        masks = None if action_masks is None else np.asarray(action_masks).reshape(len(rows), -1)
        laws = self.action_probabilities(rows, masks)
        if deterministic:
            actions = laws.argmax(axis=1)
        else:
            reached = self._rng.random((len(rows), 1)) * laws.sum(axis=1, keepdims=True) >= laws.cumsum(axis=1)
            # A draw that rounding takes beyond the sum is the last action that has a probability.
            last = laws.shape[1] - 1 - (laws[:, ::-1] > 0).argmax(axis=1)
            actions = np.minimum(reached.sum(axis=1), last)
        return actions.reshape(seen.shape[:-1]), None
