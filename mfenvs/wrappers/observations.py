"""Observation blocks: features that agents may see beside their own observation.

Every API takes the argument ``observe``: names or objects of these blocks, whose features are appended to every
agent's own observation in the order in which they are given. A network that all agents share is OH-NN or ID-NN in
the terms of Yardim & He (arXiv 2408.15173, appendix E.2) if it observes the agent's identity, and Symm-NN if it
does not.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.game import Game

Write = Callable[[NDArray[np.float32], Engine], None]
"""A function that writes the features of a block into an array (n_worlds, n_agents, width), from an engine's
state."""


class ObservationBlock(abc.ABC):
    """Base class of observation blocks: features in [0, 1] that are appended to every agent's observation.

    Subclass it for features of your own, and pass an object of the class among ``observe``. Blocks that are equal
    are the same block (make it a frozen dataclass), and are saved with models that observe them.
    """

    name: ClassVar[str]
    """Name of the block in the argument ``observe``."""
    is_fixed: ClassVar[bool] = False
    """Whether an agent's features never change, since they follow from the game and the agent's identity. Policies
    that observe only such blocks beside their own state and the time can be tabulated
    (:func:`mfenvs.tabulate`)."""

    @abc.abstractmethod
    def width(self, game: Game) -> int:
        """Number of features."""

    @abc.abstractmethod
    def bind(self, game: Game) -> Write:
        """Make the function that writes the features in a game."""


@dataclasses.dataclass(frozen=True)
class OneHotIdentity(ObservationBlock):
    """The agent's index, one-hot: n_agents features (OH-NN in Yardim & He, arXiv 2408.15173)."""

    name: ClassVar[str] = "one-hot-identity"
    is_fixed: ClassVar[bool] = True

    def width(self, game: Game) -> int:
        """One feature per agent."""
        return game.n_agents

    def bind(self, game: Game) -> Write:
        """Write the unit vectors."""
        everyone = np.arange(game.n_agents)

        def write(out: NDArray[np.float32], engine: Engine) -> None:
            out[...] = 0.0
            out[:, everyone, everyone] = 1.0

        return write


@dataclasses.dataclass(frozen=True)
class IntegerIdentity(ObservationBlock):
    """The agent's index i as one number, i / (n_agents - 1) (ID-NN in Yardim & He; the scale is ours [O])."""

    name: ClassVar[str] = "integer-identity"
    is_fixed: ClassVar[bool] = True

    def width(self, game: Game) -> int:
        """One feature."""
        return 1

    def bind(self, game: Game) -> Write:
        """Write the scaled numbers."""
        return _write_constant(np.linspace(0.0, 1.0, game.n_agents, dtype=np.float32)[:, None])


@dataclasses.dataclass(frozen=True)
class OwnParameters(ObservationBlock):
    """The agent's own parameters, each scaled to [0, 1] over the population; 1/2 [O] if all have the same."""

    name: ClassVar[str] = "own-parameters"
    is_fixed: ClassVar[bool] = True

    def width(self, game: Game) -> int:
        """One feature per number in ``game.agents``."""
        return int(_parameters(game).shape[1])

    def bind(self, game: Game) -> Write:
        """Write the scaled parameters."""
        values = _parameters(game)
        low, high = values.min(axis=0), values.max(axis=0)
        differ = high > low
        scaled = np.where(differ, (values - low) / np.where(differ, high - low, 1.0), 0.5)
        return _write_constant(scaled.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class MeanField(ObservationBlock):
    """The mean field: the share of all agents in each place (in a finite game: in each state)."""

    name: ClassVar[str] = "mean-field"

    def width(self, game: Game) -> int:
        """One feature per place; TypeError if the game has no rule ``place``."""
        if game.rules.place is None:
            raise TypeError(f"observing the mean field needs a game with a rule place, got {type(game).__name__}")
        return game.n_places

    def bind(self, game: Game) -> Write:
        """Write the occupancy of each agent's world."""

        def write(out: NDArray[np.float32], engine: Engine) -> None:
            out[...] = engine.occupancy()[:, None]

        return write


@dataclasses.dataclass(frozen=True)
class TypeMeans(ObservationBlock):
    """Averages over the agents of each type: a short summary of the mean field.

    For games with a method ``type_means(states)``: states of shape (n_worlds, n_agents) in, numbers in [0, 1] of
    shape (n_worlds, width) out.
    """

    name: ClassVar[str] = "type-means"

    def width(self, game: Game) -> int:
        """Width of the game's ``type_means``; TypeError if the game has no such method."""
        if not hasattr(game, "type_means"):
            raise TypeError(f"observing means of types needs a game with type_means, got {type(game).__name__}")
        return int(game.type_means(np.zeros((1, game.n_agents), game.state_dtype)).shape[1])

    def bind(self, game: Game) -> Write:
        """Write the means of each agent's world."""
        means: Callable[[NDArray[Any]], NDArray[np.float32]] = game.type_means  # type: ignore[attr-defined]

        def write(out: NDArray[np.float32], engine: Engine) -> None:
            out[...] = means(engine.states)[:, None]

        return write


BLOCKS: dict[str, type[ObservationBlock]] = {
    block.name: block for block in (OneHotIdentity, IntegerIdentity, OwnParameters, MeanField, TypeMeans)
}
"""The blocks that can be asked for by name."""

Observe = str | ObservationBlock | Sequence[str | ObservationBlock]
"""The argument ``observe``: names or objects of blocks, one or several."""


def observation_blocks(observe: Observe) -> tuple[ObservationBlock, ...]:
    """The observation blocks that ``observe`` names, in order.

    Raises
    ------
    ValueError
        If a name is unknown, or a block is asked for twice.
    TypeError
        If an entry is neither a name nor a block.
    """
    entries = tuple(observe) if isinstance(observe, Sequence) and not isinstance(observe, str) else (observe,)
    blocks: list[ObservationBlock] = []
    for entry in entries:
        if isinstance(entry, str):
            if entry not in BLOCKS:
                raise ValueError(f"observe must be among {', '.join(BLOCKS)} or ObservationBlocks, got {entry!r}")
            entry = BLOCKS[entry]()
        if not isinstance(entry, ObservationBlock):
            raise TypeError(f"observe must be among {', '.join(BLOCKS)} or ObservationBlocks, got {entry!r}")
        if entry in blocks:
            raise ValueError(f"observe must not hold {entry!r} twice")
        blocks.append(entry)
    return tuple(blocks)


class Observer:
    """Observations of all agents of an engine: their own observations, then the blocks. It can be pickled.

    Parameters
    ----------
    game:
        The game.
    observe:
        Names or objects of blocks.

    Raises
    ------
    TypeError, ValueError
        If a block is unknown, is asked for twice, or does not fit the game.
    """

    def __init__(self, game: Game, observe: Observe = ()) -> None:
        self._game = game
        self.blocks = observation_blocks(observe)
        widths = [checks.integer(f"the width of {block!r}", block.width(game), 1) for block in self.blocks]
        own = game.observation_space
        added = sum(widths)
        self.space = own
        """The space of one agent's observation: Box of shape (width,), float32."""
        if added:
            low = np.concatenate([own.low, np.zeros(added, np.float32)])
            high = np.concatenate([own.high, np.ones(added, np.float32)])
            self.space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.width = game.n_features + added
        """Number of features."""
        ends = np.cumsum([game.n_features, *widths]).tolist()
        self._places = [slice(first, last) for first, last in itertools.pairwise(ends)]
        self._writes = [block.bind(game) for block in self.blocks]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the functions that write features, which are made again."""
        return {name: value for name, value in vars(self).items() if name != "_writes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._writes = [block.bind(self._game) for block in self.blocks]

    def __call__(self, engine: Engine, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The observations of all agents now, shape (n_worlds, n_agents, width); written to ``out`` if given."""
        if not self._writes:
            return engine.observe(out)
        if out is None:
            out = np.empty((engine.n_worlds, engine.game.n_agents, self.width), np.float32)
        engine.observe(out[..., : self._game.n_features])
        for place, write in zip(self._places, self._writes, strict=True):
            write(out[..., place], engine)
        return out

    def of_agents(self, engine: Engine, agents: NDArray[np.integer]) -> NDArray[np.float32]:
        """The observations of some agents of each world now: a new array.

        The one-hot identity, as wide as there are agents, is made for these agents only.

        Parameters
        ----------
        engine:
            The engine.
        agents:
            Indices of the agents, shape (n_worlds, n).

        Returns
        -------
        Observations, shape (n_worlds, n, width).
        """
        identity = self.identity
        worlds = np.arange(engine.n_worlds)[:, None]
        if identity is None:
            everyone = self(engine)
            return np.asarray(everyone[worlds, agents])
        out = np.zeros((*agents.shape, self.width), np.float32)
        out[..., np.delete(np.arange(self.width), identity)] = self.without_identity(engine)[worlds, agents]
        np.put_along_axis(out[..., identity], agents[..., None], np.float32(1.0), axis=-1)
        return out

    def parts(self) -> list[tuple[ObservationBlock, slice, Write]]:
        """Each block, the places of its features in an observation, and the function that writes them."""
        return list(zip(self.blocks, self._places, self._writes, strict=True))

    @property
    def identity(self) -> slice | None:
        """The places of the one-hot identity in an observation; None if agents do not observe it."""
        return next((place for block, place, _ in self.parts() if type(block) is OneHotIdentity), None)

    @functools.cached_property
    def without_identity(self) -> "Observer":
        """An observer of everything but the one-hot identity."""
        return Observer(self._game, [block for block in self.blocks if type(block) is not OneHotIdentity])

    def fixed_features(self) -> NDArray[np.float32]:
        """The blocks' features of every agent, shape (n_agents, any), if all blocks are fixed."""
        everyone = np.zeros((1, self._game.n_agents, self.width), np.float32)
        for block, place, write in self.parts():
            assert block.is_fixed, block
            write(everyone[..., place], Engine(self._game))
        return everyone[0, :, self._game.n_features :]


def _write_constant(features: NDArray[np.float32]) -> Write:
    def write(out: NDArray[np.float32], engine: Engine) -> None:
        out[...] = features

    return write


def _parameters(game: Game) -> NDArray[Any]:
    """All agents' parameters as plain numbers, (n_agents, any)."""
    return np.asarray(structured_to_unstructured(game.agents.view(np.ndarray)))
