"""The contract of a game: what a game declares, once, for every API, engine and solver.

A game is a dataclass whose fields are its constants and whose static methods are its rules, scalar
functions of one agent (:mod:`mfenvs.rules`). Two classes:

``Game``
    any local state and any action. Its rules:
    ``start(agent, initial, key) -> state``; ``cell(state, action, agent) -> int`` and optionally
    ``weight(state, action, agent) -> float`` (where and with what weight the agent is counted);
    optionally ``aggregate(world, signal)`` (from everyone's counts to a public signal);
    ``step(state, action, agent, world, key) -> (next_state, reward)``;
    ``observe(out, state, agent, public)``, which writes float32 features into zeroed ``out``.
    Optional are also
    ``place(state) -> int``: where others see the agent, for mean-field observations, infos and rendering;
    ``count(counts, mass, state, action, agent, world)`` in the place of ``cell`` and ``weight``, where an agent is
    counted in several cells: it adds to the counts, in proportion to ``mass``, what ``mass`` agents like this one
    do (one of them in the simulator);
    ``publish(signal, constants, time, key)``: draws what everybody gets to know before the actions of a step
    (time 0 is the beginning of an episode), and writes it into the public signal, which lasts from step to step;
    ``allowed(action, state, agent, public) -> bool``: the action masks of a game with discrete actions that agents
    may take but to no purpose;
    ``account(out, state, action, agent, world, key)``: writes into ``out`` (n_accounts,), in double precision,
    what an agent's step is made up of (:attr:`Game.account_names`), from the draws that ``step`` makes.
``FiniteGame``
    finitely many states and actions, both integers. Its rules are
    ``transition(next_state, state, action, agent, world) -> probability`` and
    ``reward(state, action, agent, world) -> float``; ``start``, ``cell``, ``step``, ``observe`` and ``place``
    follow from these. It has a mean-field side, since the same rules give the arrays P(mu) and R(mu).
    A game in which what is earned and where one goes hang together, or that is more than a row and a number,
    draws its rounds in a ``step`` of its own, of which ``transition`` and ``reward`` must be the law and the mean
    (the repeated auction: a bidder meets opponents, and pays what it wins by). Such a game may declare
    ``met(state, action, agent, world, key) -> float``, the mean action of those whom an agent met in that
    step, drawn from the same key; without it everybody meets everybody.

In every step the engine counts all agents by ``cell``, applies ``aggregate``, steps each agent against that
world, and then lets ``publish`` speak. The order cannot leak: all agents see the population of (state, action)
pairs from before the step.

How a game of another kind will fit this contract (the sketch on which it was settled; design, not yet code)
----------------------------------------------------------------------------------------------------------
* *Linear-quadratic typed game.* State: one float, Box actions (rules receive ``action[0]``). The population
  enters through its mean: ``cell`` is the type and ``weight`` is the state x itself, so the counts
  are N lambda_tau E[x^tau]; ``aggregate`` sums them into xbar. Nothing to add but normal draws.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.random import uniform
from mfenvs.rules import plain, rule

Rule = Callable[..., Any]

MAX_AGENTS = 2**24
"""Counts are kept in single precision, which is exact up to here."""

RULE_ARGUMENTS = {
    "start": ("agent", "initial", "key"),
    "cell": ("state", "action", "agent"),
    "weight": ("state", "action", "agent"),
    "count": ("counts", "mass", "state", "action", "agent", "world"),
    "aggregate": ("world", "signal"),
    "publish": ("signal", "constants", "time", "key"),
    "step": ("state", "action", "agent", "world", "key"),
    "observe": ("out", "state", "agent", "public"),
    "allowed": ("action", "state", "agent", "public"),
    "account": ("out", "state", "action", "agent", "world", "key"),
    "place": ("state",),
    "met": ("state", "action", "agent", "world", "key"),
    "transition": ("next_state", "state", "action", "agent", "world"),
    "reward": ("state", "action", "agent", "world"),
}
"""What each rule is called with."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules of a game: all that the engine compiles, and the key under which kernels are shared."""

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
    """A game of N agents with local states, who meet through what is counted of them.

    Subclasses are dataclasses: fields are the game's constants, with the paper's values as
    defaults. They declare ``agent_dtype``, ``state_dtype``, ``n_cells``, ``n_features``, ``action_space``
    and, as static methods under ``@rule``, the rules of this module's docstring.

    Raises
    ------
    TypeError, ValueError
        On construction, if a rule is missing or takes other arguments than it is given, or if a
        constant is not allowed; the message names it.
    """

    n_agents: int
    """Number of agents N, from 2 to 2^24."""
    horizon: int
    """Number of steps H of an episode."""
    agents_seed: int = 0
    """Seed of the agents' own parameters; episodes have their own."""
    discount: float = 1.0
    """Discount gamma in (0, 1]. With 1 the game ends after ``horizon`` steps, and what counts is the total reward.
    Below 1 it goes on for ever and later rewards count less: its policies are stationary, its rules must not
    read the time, and ``horizon`` only says where simulated episodes are cut (truncated, not terminated)."""

    agent_prefix: ClassVar[str] = "agent"
    """Agents are called ``<prefix>_<int>`` in dict APIs."""
    n_signals: ClassVar[int] = 0
    """Length of the public signal that ``aggregate`` and ``publish`` write."""
    account_names: ClassVar[tuple[str, ...]] = ()
    """What the rule ``account`` writes, entry by entry."""
    cell: ClassVar[Rule | None] = None
    weight: ClassVar[Rule | None] = None
    count: ClassVar[Rule | None] = None
    aggregate: ClassVar[Rule | None] = None
    publish: ClassVar[Rule | None] = None
    place: ClassVar[Rule | None] = None
    allowed: ClassVar[Rule | None] = None
    account: ClassVar[Rule | None] = None
    met: ClassVar[Rule | None] = None

    def __post_init__(self) -> None:
        self.n_agents = checks.integer("n_agents", self.n_agents, 2, MAX_AGENTS)
        self.horizon = checks.integer("horizon", self.horizon, 1)
        self.agents_seed = checks.integer("agents_seed", self.agents_seed, 0)
        self.discount = checks.real("discount", self.discount, 0.0, 1.0, exclude_low=True)
        self.check()
        drawn = np.asarray(self.draw_agents(np.random.default_rng(self.agents_seed)))
        if drawn.dtype != self.agent_dtype or drawn.shape != (self.n_agents,):
            raise ValueError(
                f"draw_agents must return {self.n_agents} records of {self.agent_dtype},"
                f" got shape {drawn.shape} of {drawn.dtype}"
            )
        agents: np.recarray[Any, Any] = drawn.copy().view(np.recarray)
        agents.flags.writeable = False
        self._agents = agents

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to change a game that is made: its agents and compiled rules follow from its constants."""
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
        """Draw the parameters of all agents, shape (n_agents,) of ``agent_dtype``."""
        return np.zeros(self.n_agents, self.agent_dtype)

    @property
    def agents(self) -> "np.recarray[Any, Any]":
        """The agents' own parameters: a read-only record array of shape (n_agents,)."""
        return self._agents

    @property
    def is_infinite(self) -> bool:
        """Whether the game goes on for ever, discounted; else it ends at the horizon."""
        return self.discount < 1.0

    @property
    def agent_names(self) -> list[str]:
        """Names of the agents in dict APIs, in the order of ``agents``."""
        return [f"{self.agent_prefix}_{i}" for i in range(self.n_agents)]

    @property
    def constants(self) -> tuple[Any, ...]:
        """Numbers and arrays common to all agents that rules read as ``world.constants``."""
        return ()

    @property
    def initial(self) -> NDArray[np.float32]:
        """Numbers that the rule ``start`` reads, shape (any,)."""
        return np.zeros(0, np.float32)

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """One agent's own parameters theta_i: a structured dtype of single-precision fields."""
        raise _undeclared(self, "agent_dtype")

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """Local state: a scalar dtype, or a structured one, of which rules return a tuple of fields."""
        raise _undeclared(self, "state_dtype")

    @property
    def n_cells(self) -> int:
        """Number of cells in which agents are counted."""
        raise _undeclared(self, "n_cells")

    @property
    def n_places(self) -> int:
        """Number of places in which agents are seen by others; 0 without a rule ``place``."""
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
        raise _undeclared(self, "n_features")

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """The space of one agent's action."""
        raise _undeclared(self, "action_space")

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
        """What a place is called in pictures."""
        return str(place)

    def audit(self, accounts: NDArray[np.float64], signal: NDArray[np.float64]) -> None:
        """Check the accounts of a step: what the engine calls in ``debug`` mode if there is a rule ``account``.

        Parameters
        ----------
        accounts:
            Shape (n_worlds, n_agents, n_accounts).
        signal:
            The public signal of that step, shape (n_worlds, n_signals).

        Raises
        ------
        ValueError
            If the books do not balance. By default nothing is checked.
        """

    def describe(self) -> dict[str, Any]:
        """The constants with which an equal game can be made: keyword arguments of its class."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    def _check_optional_rules(self) -> None:
        kind, rules = type(self).__name__, self.rules
        for name in ("cell", "weight", "count", "aggregate", "publish", "place", "allowed", "account", "met"):
            if getattr(rules, name) is not None:
                self._check_arguments(name, getattr(rules, name))
        for name in ("cell", "weight"):
            if rules.count is not None and getattr(rules, name) is not None:
                raise TypeError(f"{kind} must count agents by the rule count or by {name}, not by both")
        for name in ("aggregate", "publish"):
            if getattr(rules, name) is not None and self.n_signals < 1:
                raise TypeError(f"{kind} must declare n_signals, the length of what {name} writes")
        if (rules.account is not None) != bool(self.account_names):
            raise TypeError(f"{kind} must declare account_names and the rule account together")
        if rules.allowed is not None and not isinstance(self.action_space, gymnasium.spaces.Discrete):
            raise TypeError(f"{kind} has a rule allowed, which is for discrete actions, got {self.action_space}")
        for name, entry in self.reported.items():
            checks.integer(f"the entry of the signal that is reported as {name!r}", entry, 0, self.n_signals - 1)
        if rules.place is not None and self.n_places < 1:
            raise TypeError(f"{type(self).__name__} must declare n_places, the number of values of place")
        if self.regions and self.n_places < 1:
            raise TypeError(f"{type(self).__name__} has regions and must declare the rule place(state)")
        for name, places in self.regions.items():
            for place in places:
                checks.integer(f"a place of region {name!r}", place, 0, self.n_places - 1)

    def _check_rule(self, name: str) -> None:
        function = getattr(self, name, None)
        if function is None:
            takes = f"{name}({', '.join(RULE_ARGUMENTS[name])})"
            raise TypeError(f"{type(self).__name__} must declare the rule {takes}")
        self._check_arguments(name, function)

    def _check_arguments(self, name: str, function: Rule) -> None:
        takes = f"{name}({', '.join(RULE_ARGUMENTS[name])})"
        if not hasattr(function, "py_func"):
            raise TypeError(f"{type(self).__name__}.{name} must be compiled: put @rule on it")
        found = list(inspect.signature(plain(function)).parameters)
        if len(found) != len(RULE_ARGUMENTS[name]):
            raise TypeError(f"{type(self).__name__}.{name} must take {takes}, got {name}({', '.join(found)})")
        expected = RULE_ARGUMENTS[name]
        for place, argument in enumerate(found):
            if argument in expected and expected.index(argument) != place:
                raise TypeError(
                    f"{type(self).__name__}.{name} is called as {takes}: its arguments"
                    f" ({', '.join(found)}) are in another order"
                )


@dataclasses.dataclass(kw_only=True)
class FiniteGame(Game):
    """A game with finitely many states and actions.

    A finite-horizon dynamic game (Yardim & He, Definition 1), or with a ``discount`` below 1 an infinite-horizon
    discounted one (Guo et al., arXiv 1901.09585).

    Declares ``n_states``, ``n_actions`` and the rules

    ``transition(next_state, state, action, agent, world) -> float``
        P^i(next_state | state, action, others). Over next_state it must be a probability row: the
        mean-field side checks that always, the engine in ``debug`` mode.
    ``reward(state, action, agent, world) -> float``
        R^i(state, action, others).

    An agent is counted in the cell ``state * n_actions + action``, so that ``share(world, cell)`` is
    sigma(rho^{-i})(state, action), and observes its own state one-hot and the elapsed time h / H, shape
    (n_states + 1,), in an infinite game its state only, (n_states,). The initial law is uniform. Each of these
    can be overridden, and so can ``step``.
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    """Names of the states, by default their numbers."""
    action_names: ClassVar[tuple[str, ...]] = ()
    """Names of the actions, by default their numbers."""
    transition: ClassVar[Rule]
    reward: ClassVar[Rule]

    def check(self) -> None:
        """Check sizes, rules and the initial law."""
        checks.integer("n_states", self.n_states, 1)
        checks.integer("n_actions", self.n_actions, 1)
        self._check_rule("transition")
        self._check_rule("reward")
        if hasattr(self, "step"):
            self._check_rule("step")
        if self.publish is not None:
            raise TypeError(
                f"{type(self).__name__} is a finite game, which has a mean-field side, and so no common noise: its"
                " rule publish must be left out"
            )
        self._check_optional_rules()
        checks.probabilities("initial_distribution", self.initial_distribution, (self.n_states,))
        for name, size in (("state_names", self.n_states), ("action_names", self.n_actions)):
            given = getattr(self, name)
            if given and len(given) != size:
                raise ValueError(f"{name} must hold {size} names or none, got {given!r}")

    @property
    def n_states(self) -> int:
        """Number of local states |S|."""
        raise _undeclared(self, "n_states")

    @property
    def n_actions(self) -> int:
        """Number of actions |A|."""
        raise _undeclared(self, "n_actions")

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The law rho_0 of every agent's first state, shape (n_states,)."""
        return np.full(self.n_states, 1.0 / self.n_states)

    @property
    def initial(self) -> NDArray[np.float32]:
        """Cumulative initial law, shape (n_states,)."""
        return cumulative(self.initial_distribution)

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer that holds a state."""
        return index_dtype(self.n_states)

    @property
    def n_cells(self) -> int:
        """|S| |A|: agents are counted by state and action."""
        return self.n_states * self.n_actions

    @property
    def policy_shape(self) -> tuple[int, int, int]:
        """Shape (T, S, A) of a policy: a law over actions for every time and state.

        T is the horizon H, or 1 in an infinite game, whose policies are stationary.
        """
        return 1 if self.is_infinite else self.horizon, self.n_states, self.n_actions

    @property
    def n_places(self) -> int:
        """|S|: agents are seen in their states."""
        return self.n_states

    @property
    def n_features(self) -> int:
        """Own state one-hot and, where the game ends, elapsed time."""
        return self.n_states + (not self.is_infinite)

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Discrete(n_actions)."""
        return gymnasium.spaces.Discrete(self.n_actions)

    @property
    def rules(self) -> Rules:
        """The declared rules, and those that follow from ``transition`` and ``reward``."""
        counted = self.cell is not None or self.count is not None
        return Rules(
            start=getattr(self, "start", start_from_distribution),
            step=getattr(self, "step", sampled_step(self.transition, self.reward, self.n_states)),
            observe=getattr(self, "observe", (one_hot if self.is_infinite else one_hot_and_time)(self.n_states)),
            cell=self.cell if counted else state_action_cell(self.n_actions),
            weight=self.weight,
            count=self.count,
            aggregate=self.aggregate,
            place=self.place or own_state,
            allowed=self.allowed,
            account=self.account,
            met=self.met,
        )

    @property
    def counts_state_actions(self) -> bool:
        """Whether the counts are just sigma(rho): no weights and the default cell."""
        return self.weight is None and self.cell is None and self.count is None

    def check_states(self, states: NDArray[Any]) -> None:
        """Check what a game's own ``start`` or ``step`` made: ValueError if there is no such state."""
        if (hasattr(self, "step") or hasattr(self, "start")) and (outside := states >= self.n_states).any():
            raise ValueError(
                f"the rules start and step of {type(self).__name__} must return states in [0,"
                f" {self.n_states - 1}], got {states[outside][0]}"
            )

    def place_name(self, place: int) -> str:
        """The name of a state."""
        return self.state_name(place)

    def state_name(self, state: int) -> str:
        """The name of a state."""
        return self.state_names[state] if self.state_names else str(state)


def _undeclared(game: Game, name: str) -> TypeError:
    return TypeError(f"{type(game).__name__} must declare {name}")


def index_dtype(size: int) -> np.dtype[Any]:
    """The smallest integer dtype in which the engine keeps indices below ``size``."""
    return np.dtype(np.uint8 if size <= 256 else np.int32)


def cumulative(law: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cumulative sums along the last axis, from which :func:`mfenvs.engine.random.uniform` samples.

    Entries that reach the total are set to 2, above every draw, so that rounding in the sums can
    never select an outcome of probability zero behind the last possible one.
    """
    sums = np.cumsum(law, axis=-1)
    reached = sums >= sums[..., -1:]
    return np.where(reached, 2.0, sums).astype(np.float32)


@rule
def start_from_distribution(agent: Any, initial: Any, key: Any) -> int:
    """Draw the first state from the cumulative law ``initial``."""
    draw = uniform(key, 0)
    state = 0
    for candidate in range(len(initial) - 1):
        state += draw >= initial[candidate]
    return state


@rule
def own_state(state: Any) -> Any:
    """Be seen in one's state."""
    return state


@functools.cache
def state_action_cell(n_actions: int) -> Rule:
    """Count an agent by its state and action."""

    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        return state * n_actions + action

    return cell


@functools.cache
def one_hot(n_states: int) -> Rule:
    """Observe one's own state one-hot."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0

    return observe


@functools.cache
def one_hot_and_time(n_states: int) -> Rule:
    """Observe one's own state one-hot, then the elapsed time."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        out[state] = 1.0
        out[n_states] = public.elapsed

    return observe


ALMOST_ONE = np.float32(1.0 - 4e-7)
"""A cumulated row that has come this far is complete: what is missing is rounding, not another state."""


@functools.cache
def sampled_step(transition: Rule, reward: Rule, n_states: int) -> Rule:
    """The step of a finite game: one uniform draw against the cumulated transition row."""
    last = n_states - 1

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        draw = uniform(key, 0)
        reached = np.float32(0.0)
        next_state = 0
        for candidate in range(last):
            reached += transition(candidate, state, action, agent, world)
            next_state += (draw >= reached) & (reached < ALMOST_ONE)
        return next_state, reward(state, action, agent, world)

    return step
