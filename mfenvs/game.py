"""The contract of a game: the rules and sizes that a game declares, once, for every API, engine and solver.

A game is a dataclass. Its fields are its constants; its static methods under ``@rule`` are its rules, scalar
functions of one agent (:mod:`mfenvs.rules`). There are these kinds:

:class:`Game`
    Any local state and any action.
:class:`mfenvs.FiniteGame`
    Finitely many states and actions, both integers. Its rules also give the mean-field arrays P(mu) and R(mu)
    (:mod:`mfenvs.finite_game`).
:class:`mfenvs.PopulationGame`
    A finite game with several populations, whose states, actions and initial distributions differ; its rules are
    written in the states of the agent's own population (:mod:`mfenvs.populations`).
:class:`mfenvs.graphons.GraphonGame`
    One on a graphon: agents meet some others more than others (:mod:`mfenvs.graphons`).

One step of the engine:

1. ``cell`` and ``weight`` (or ``count``): all agents are counted.
2. ``aggregate``: the counts are turned into the public signal.
3. ``step``: every agent moves and is rewarded, given the counts and the signal.
4. ``publish``: public news before the next step is drawn.

Every agent's step therefore depends on the population of (state, action) pairs from before the step, and not on
the order in which agents are stepped.

Rules of every game
-------------------
``start(agent, initial, key) -> state``
    Draws the initial state.
``cell(state, action, agent) -> int`` and ``weight(state, action, agent) -> float``
    The cell in which the agent is counted, in [0, n_cells), and the weight with which it is (1 without this rule).
``count(counts, mass, state, action, agent, world)``
    In the place of ``cell`` and ``weight``, for an agent that is counted in several cells: adds to ``counts`` the
    contribution of ``mass`` agents like this one (one agent in the simulator). ``world.counts`` is not yet known.
``aggregate(world, signal)``, optional
    Computes public quantities, such as a price, from the counts of all agents, and writes them into the signal,
    which holds what was in it in the last step (zeros in a finite game, whose population has no other memory).
``step(state, action, agent, world, key) -> (next_state, reward)``
    The agent's next state and reward.
``observe(out, state, agent, public)``
    Writes float32 features into ``out``, which holds zeros. ``public.signal`` holds what ``aggregate`` wrote in
    the *last* step (zeros after a reset, when nobody has acted yet) and what ``publish`` has written since.
``place(state) -> int``, optional
    The place in which others see the agent, in [0, n_places): for mean-field observations, infos and pictures.
``publish(signal, constants, time, key)``, optional
    Draws public news before the actions of a step, time 0 being the beginning of an episode, and writes it into
    the public signal. Entries keep their values from step to step until they are written again. A finite game
    declares a :attr:`mfenvs.FiniteGame.public_chain` in its place.
``allowed(action, state, agent, public) -> bool``, optional
    Action masks of a game with discrete actions. Masked actions can be taken too, but serve no purpose.
``account(out, state, action, agent, world, key)``, optional
    Writes into ``out`` (n_accounts,), in double precision, the parts of an agent's step, such as its payments
    (:attr:`Game.account_names`), from the same random draws as ``step``.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.field_values import as_python, in_kind
from mfenvs.rule_checks import (
    check_constants,
    check_is_dataclass,
    check_names,
    check_optional_rules,
    check_rule,
    is_of_this_package,
)

Rule = Callable[..., Any]

MAX_AGENTS = 2**24
"""Largest number of agents: counts are in single precision, in which whole numbers are exact up to here."""
MAX_HORIZON = 2**31 - 1
"""Largest number of steps of an episode."""
MAX_SEED = 2**64 - 1
"""Largest random seed."""

NO_PARAMETERS = np.dtype([("unused", np.float32)])
"""The ``agent_dtype`` of a game whose agents are all alike; it needs no ``draw_agents``."""

SIZES = {"n_cells": 1, "n_features": 0, "n_places": 0, "n_signals": 0}
"""Sizes of arrays that a game declares, with the smallest value allowed for each."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules of a game, which the engine compiles; games with equal rules share kernels."""

    start: Rule
    step: Rule
    observe: Rule
    cell: Rule | None = None
    weight: Rule | None = None
    count: Rule | None = None
    aggregate: Rule | None = None
    publish: Rule | None = None
    place: Rule | None = None
    allowed: Rule | None = None
    account: Rule | None = None
    met: Rule | None = None


@dataclasses.dataclass(kw_only=True)
class Game:
    """A game of N agents, each with a local state, who affect each other through counts of the population.

    Subclasses are dataclasses whose fields are the game's constants. They declare ``agent_dtype``,
    ``state_dtype``, ``n_cells``, ``n_features``, ``action_space`` and, as static methods under ``@rule``, the
    rules that the docstring of :mod:`mfenvs.game` lists. Rules do not see ``self``: what the property
    ``constants`` returns reaches them as ``world.constants``.

    Constants given as NumPy numbers, or as arrays or tensors without axes, are kept as Python numbers. Sizes
    (``n_cells``, ``n_states``, ...) must be Python ints.

    Raises
    ------
    TypeError, ValueError
        On construction, if a rule is missing or takes other arguments than it is called with, or if a constant is
        not allowed. The message names it.
    """

    n_agents: int
    """Number of agents N, from 2 to 2^24."""
    horizon: int
    """Number of steps H of an episode."""
    agents_seed: int = 0
    """Random seed of the agents' parameters, from 0 to 2^64 - 1. Episodes have seeds of their own."""
    discount: float = 1.0
    """Discount factor gamma in (0, 1]. With 1 the game ends after ``horizon`` steps, and agents maximise their
    total reward. Below 1 the game has an infinite horizon: policies are stationary, rules must not read the time,
    and simulated episodes are truncated after ``horizon`` steps."""

    family: ClassVar[str] = ""
    """Family of games to which it belongs, such as ``"classic"``: listings show the games of a family together."""
    agent_prefix: ClassVar[str] = "agent"
    """Prefix of the agents' names in dict APIs: ``<prefix>_<int>``."""
    n_signals: ClassVar[int] = 0
    """Length of the public signal that ``aggregate`` and ``publish`` write."""
    account_names: ClassVar[tuple[str, ...]] = ()
    """Names of the entries that the rule ``account`` writes."""
    cell: ClassVar[Rule | None] = None
    weight: ClassVar[Rule | None] = None
    count: ClassVar[Rule | None] = None
    aggregate: ClassVar[Rule | None] = None
    publish: ClassVar[Rule | None] = None
    place: ClassVar[Rule | None] = None
    allowed: ClassVar[Rule | None] = None
    account: ClassVar[Rule | None] = None
    met: ClassVar[Rule | None] = None

    def __new__(cls, *arguments: Any, **constants: Any) -> Self:
        """Make an instance; TypeError if the class, or one above it, declares constants and is no dataclass."""
        for kind in cls.__mro__:
            if issubclass(kind, Game):
                check_is_dataclass(kind)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_names(self)
        fields = dataclasses.fields(self)
        for field in fields:
            setattr(self, field.name, as_python(field.name, field.type, getattr(self, field.name)))
        self.n_agents = checks.integer("n_agents", self.n_agents, 2, MAX_AGENTS)
        self.horizon = checks.integer("horizon", self.horizon, 1)
        checks.at_most("horizon", self.horizon, MAX_HORIZON)
        self.agents_seed = checks.integer("agents_seed", self.agents_seed, 0)
        checks.at_most("agents_seed", self.agents_seed, MAX_SEED)
        self.discount = checks.real("discount", self.discount, 0.0, 1.0, exclude_low=True)
        self.check()
        for field in fields:
            setattr(self, field.name, in_kind(field.name, field.type, getattr(self, field.name)))
        self._check_sizes()
        self._agents = self._drawn_agents()
        if not is_of_this_package(type(self)):
            check_constants(self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a game after its construction: agents and compiled rules follow from its constants."""
        if "_agents" in self.__dict__:
            raise AttributeError(
                f"{name} is fixed once a game is made: make another with dataclasses.replace(game, {name}=...)"
            )
        super().__setattr__(name, value)

    def check(self) -> None:
        """Check constants and rules. Subclasses with constants extend it by their own checks."""
        for name in ("start", "step", "observe"):
            self._check_rule(name)
        if self.count is None:
            self._check_rule("cell")
        self._check_optional_rules()

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the parameters of all agents: finite numbers, shape (n_agents,) of ``agent_dtype``.

        By default all are zero. A game whose ``agent_dtype`` is not :data:`NO_PARAMETERS` must override this
        method.
        """
        return np.zeros(self.n_agents, self.agent_dtype)

    @property
    def agents(self) -> "np.recarray[Any, Any]":
        """The agents' own parameters: a read-only record array of shape (n_agents,)."""
        return self._agents

    @property
    def is_infinite(self) -> bool:
        """Whether the game has an infinite horizon (``discount`` < 1); otherwise it ends at ``horizon``."""
        return self.discount < 1.0

    @property
    def agent_names(self) -> list[str]:
        """Names of the agents in dict APIs, in the order of ``agents``."""
        return [f"{self.agent_prefix}_{i}" for i in range(self.n_agents)]

    @property
    def constants(self) -> tuple[Any, ...]:
        """Numbers and arrays common to all agents that rules read as ``world.constants``.

        They keep their precision: Python floats are in double precision, also on the mean-field side, and
        ``np.float32`` makes the simulator faster.
        """
        return ()

    @property
    def initial(self) -> NDArray[np.float32]:
        """Numbers that the rule ``start`` reads, shape (any,)."""
        return np.zeros(0, np.float32)

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """One agent's own parameters theta_i: a structured dtype of fields in single precision.

        Fields may be in double precision where the mean-field side needs it; the simulator is then slower.
        :data:`NO_PARAMETERS` if all agents are alike.
        """
        raise undeclared(self, "agent_dtype")

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """Local state: a scalar dtype, or a structured one, of which rules return a tuple of fields."""
        raise undeclared(self, "state_dtype")

    @property
    def n_cells(self) -> int:
        """Number of cells in which agents are counted."""
        raise undeclared(self, "n_cells")

    @property
    def n_places(self) -> int:
        """Number of places in which others see agents; 0 without a rule ``place``."""
        return 0

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """Named groups of places: every API reports the share of agents in each as ``info["share_<name>"]``."""
        return {}

    @property
    def reported(self) -> dict[str, int]:
        """Entries of the public signal that every API reports as ``info["<name>"]``, by name."""
        return {}

    @property
    def n_features(self) -> int:
        """Length of an agent's own observation."""
        raise undeclared(self, "n_features")

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """The space of one agent's action."""
        raise undeclared(self, "action_space")

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """The space of one agent's observation: Box of shape (n_features,), float32, in [0, 1]."""
        return gymnasium.spaces.Box(0.0, 1.0, (self.n_features,), np.float32)

    @property
    def rules(self) -> Rules:
        """The rules from which the engine compiles its kernels."""
        declared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Rules)}
        return Rules(**declared)

    def place_name(self, place: int) -> str:
        """The name of a place in pictures."""
        return str(place)

    def audit(self, accounts: NDArray[np.float64], signal: NDArray[np.float64]) -> None:
        """Check the accounts of a step. The engine calls it in ``debug`` mode if there is a rule ``account``.

        Parameters
        ----------
        accounts:
            Accounts of all agents, shape (n_worlds, n_agents, n_accounts).
        signal:
            The public signal of that step, shape (n_worlds, n_signals).

        Raises
        ------
        ValueError
            If the accounts do not balance. By default nothing is checked.
        """

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """Check that the game can be in these states, before an engine continues from a snapshot.

        Rules use states and signals as indices without a check. Games extend this method by checks of ranges.

        Parameters
        ----------
        states:
            Local states, shape (n_worlds, n_agents) of ``state_dtype``.
        signal:
            The public signal, shape (n_worlds, n_signals).

        Raises
        ------
        ValueError
            If a number is not finite. The message names the entry of the snapshot.
        """
        for field in states.dtype.names or ("",):
            numbers, name = states[field] if field else states, f"snapshot.states{field and f'[{field!r}]'}"
            if numbers.dtype.kind == "f":
                _check_finite(name, numbers)
        _check_finite("snapshot.signal", signal)

    def describe(self) -> dict[str, Any]:
        """The constants from which an equal game can be made, as keyword arguments of its class."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    @property
    def kind(self) -> str:
        """The game's class in error messages."""
        return type(self).__name__

    @classmethod
    def declared_class(cls) -> "type[Game]":
        """The class under which games of this class are registered: the class itself, if it was declared as one.

        A game that is made in several forms (:mod:`mfenvs.games.levels.two_forms`) returns the class that was
        declared.
        """
        return cls

    def _check_sizes(self) -> None:
        for name, least in SIZES.items():
            if getattr(type(self), name) is not getattr(Game, name):
                checks.size(name, getattr(self, name), least)

    def _drawn_agents(self) -> "np.recarray[Any, Any]":
        kind, dtype = type(self), self.agent_dtype
        if kind.draw_agents is Game.draw_agents and dtype != NO_PARAMETERS:
            raise TypeError(
                f"{kind.__name__} declares agent_dtype {dtype} and must declare draw_agents(rng), which fills its"
                " fields (agents without parameters: agent_dtype = mfenvs.game.NO_PARAMETERS)"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # What is not finite is refused below.
            drawn = np.asarray(self.draw_agents(np.random.default_rng(self.agents_seed)))
        if drawn.dtype != dtype or drawn.shape != (self.n_agents,):
            raise ValueError(
                f"draw_agents must return {self.n_agents} records of {dtype}, got shape {drawn.shape} of"
                f" {drawn.dtype}"
            )
        for name in dtype.names or ():
            if dtype[name].base.kind == "f" and not np.isfinite(drawn[name]).all():
                raise ValueError(
                    f"draw_agents must return finite numbers, got {drawn[name][~np.isfinite(drawn[name])][0]} as"
                    f" {name} of an agent of {self!r}"
                )
        agents: np.recarray[Any, Any] = drawn.copy().view(np.recarray)
        agents.flags.writeable = False
        return agents

    def _check_optional_rules(self) -> None:
        check_optional_rules(self)

    def _check_rule(self, name: str) -> None:
        check_rule(self, name)


def kind_of(game: Any) -> str:
    """The class of a game, or of what is none, in error messages; with its form if it is made in several."""
    if isinstance(game, str):
        return "str (mfenvs.make makes a game from its name)"
    return game.kind if isinstance(game, Game) else type(game).__name__


def undeclared(game: Game, name: str) -> TypeError:
    """The error of a game that lacks a declaration."""
    return TypeError(f"{type(game).__name__} must declare {name}")


def _check_finite(name: str, numbers: NDArray[Any]) -> None:
    if not np.isfinite(numbers).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise ValueError(f"{name} must hold finite numbers, got {numbers[where]} at {list(where)}")


def index_dtype(size: int) -> np.dtype[Any]:
    """The smallest integer dtype in which the engine keeps indices below ``size``."""
    return np.dtype(np.uint8 if size <= 256 else np.int32)
