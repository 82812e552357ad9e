"""Hyper-parameters of the deep solvers."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mfenvs import checks
from mfenvs.wrappers.observations import observation_blocks

from ..config import TrainerConfig
from ..neural.config import ACTIVATIONS
from ..neural.hyper_parameters import parsed_device
from ..trainer import MOST_EPISODES

MOST_ROWS = 2**31 - 1
"""Largest number of rows of a buffer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepConfig(TrainerConfig):
    """Hyper-parameters of all deep solvers. Defaults are ours [O], where nothing else is said.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    observe: tuple[str, ...] = ()
    """Observation blocks that agents see beside their own observation: one-hot-identity, integer-identity,
    own-parameters, mean-field, type-means."""
    n_worlds: int = 1
    """Number of worlds that are simulated together."""
    episodes: int = 4
    """Number of episodes that every world plays in an iteration; the Q-network learns after each of them."""
    warm_up: int | None = None
    """Number of steps at the beginning of an episode from which nothing is learned, while the population finds its
    stationary law; by default half of the episode in an infinite game, and 0 in a game that ends."""
    explorers: float = 0.1
    """Share of the agents who explore in an episode."""
    epsilon: float = 0.5
    """Probability with which an explorer's action is uniformly random."""
    buffer_size: int = 100_000
    """Number of transitions in the replay buffer. It is emptied in every iteration, since transitions belong to
    the population in which they were made; of more transitions in an iteration, a random subset is kept."""
    n_updates: int = 2000
    """Number of gradient steps of the Q-network in an iteration."""
    batch_size: int = 128
    """Number of transitions in the minibatch of a gradient step [S: OpenSpiel's example]."""
    learning_rate: float = 1e-3
    """Learning rate of Adam for the Q-network, at most 1: about the size of a change of a parameter."""
    target_every: int = 50
    """Number of gradient steps after which the target network becomes a copy of the Q-network. A game that ends
    needs as many copies as it has steps for values to travel from its end to its beginning."""
    max_grad_norm: float = 10.0
    """Norm to which gradients are clipped."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers; without any, networks are linear."""
    activation: Literal["leaky-relu", "relu", "tanh"] = "relu"
    """Activation function of the hidden layers."""
    device: str = "auto"
    """Device on which the networks are trained: auto, cpu, cuda, cuda:1, ... Worlds are simulated on the CPU,
    where the replay buffer is: on a GPU every step would copy what it keeps from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("observe", "hidden"):
            if not isinstance(getattr(self, name), tuple | list):
                raise TypeError(f"{name} must be a tuple, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in self.observe:
            if not isinstance(name, str):
                raise TypeError(f"observe must hold names of what is observed, got {name!r}")
        observation_blocks(self.observe)
        checks.integer("n_worlds", self.n_worlds, 1)
        checks.integer("episodes", self.episodes, 1, MOST_EPISODES)
        if self.warm_up is not None:
            checks.integer("warm_up", self.warm_up, 0)
        checks.real("explorers", self.explorers, 0.0, 1.0)
        checks.real("epsilon", self.epsilon, 0.0, 1.0)
        for name in ("buffer_size", "n_updates", "batch_size", "target_every"):
            checks.integer(name, getattr(self, name), 1, MOST_ROWS)
        checks.real("learning_rate", self.learning_rate, 0.0, 1.0, exclude_low=True)
        checks.real("max_grad_norm", self.max_grad_norm, 0.0, exclude_low=True)
        for layer, size in enumerate(self.hidden):
            checks.integer(f"hidden[{layer}]", size, 1, MOST_ROWS)
        checks.choice("activation", self.activation, tuple(ACTIVATIONS))
        parsed_device(self.device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepMirrorDescentConfig(DeepConfig):
    """Hyper-parameters of deep Munchausen online mirror descent.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    temperature: float = 1.0
    """Temperature tau of the policy softmax(Q / tau), in the unit of rewards: 1 / tau is the learning rate of
    mirror descent."""
    munchausen: float = 0.99
    """Weight alpha of the term tau log pi in the target [S: OpenSpiel's example]. 1 is mirror descent; below 1 the
    policy is regularised by its entropy, with the temperature (1 - alpha) tau."""
    least_probability: float = 1e-6
    """Probability below which logarithms in the target are cut off [S: OpenSpiel]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("temperature", self.temperature, 0.0, exclude_low=True)
        checks.real("munchausen", self.munchausen, 0.0, 1.0)
        checks.real("least_probability", self.least_probability, 1e-30, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AverageNetworkConfig(DeepConfig):
    """Hyper-parameters of average-network fictitious play.

    Raises
    ------
    TypeError, ValueError
        If a value is not of its field's type or not allowed; the message names the field.
    """

    answer_episodes: int = 4
    """Number of episodes in an iteration in which the best response is observed: explorers play it, all others the
    average policy."""
    reservoir_size: int = 100_000
    """Number of actions of best responses, of all iterations so far, that are kept."""
    n_average_updates: int = 2000
    """Number of gradient steps of the average network in an iteration [S: OpenSpiel's example]."""
    average_learning_rate: float = 1e-3
    """Learning rate of Adam for the average network, at most 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("answer_episodes", self.answer_episodes, 1, MOST_EPISODES)
        for name in ("reservoir_size", "n_average_updates"):
            checks.integer(name, getattr(self, name), 1, MOST_ROWS)
        checks.real("average_learning_rate", self.average_learning_rate, 0.0, 1.0, exclude_low=True)
        checks.real("explorers", self.explorers, 0.0, 1.0, exclude_low=True)
