"""Games with finitely many states and actions, whose rules also give the mean-field arrays P(mu) and R(mu).

Rules of a finite game, beside those of every game (:mod:`mfenvs.game`):

``transition(next_state, state, action, agent, world) -> float``
    The probability of the next state.
``reward(state, action, agent, world) -> float``
    The expected reward.
``branch(branch, state, action, agent, world) -> (next_state, probability)``
    In the place of ``transition``, for a game with many states of which few can come next: the successor and the
    probability of each of ``n_branches`` branches (:class:`FiniteGame`).
``arrival(next_state, state, action, agent, world) -> float``, optional
    A reward that depends on the next state and is added to ``reward``.
``terminal(state, agent, world) -> float``, optional
    A reward for the state at the horizon of a game that ends, paid in the last step. ``world`` is that of the last
    step. Where the reward depends on the population at the horizon, give the game one more step, in which nothing
    is to be decided, and let ``reward`` read ``world.time``.

The population of a finite game has no memory beyond its states: its rule ``aggregate`` finds zeros in the signal,
and not what it wrote in the step before.

``transition``, ``branch``, ``reward`` and ``arrival`` of a game that ends may read ``world.time``. The rule
``allowed`` of a finite game may read the state, the time and the constants: on the mean-field side best and soft
responses take no masked action, and the uniform policy is uniform over the others. A policy may take masked
actions, which have probabilities and rewards as others have. A game with all of these:

>>> import dataclasses
>>> from mfenvs import FiniteGame, InducedGame, rule
>>> from mfenvs.game import NO_PARAMETERS
>>> @dataclasses.dataclass(kw_only=True)
... class Climb(FiniteGame):
...     n_agents: int = 10
...     horizon: int = 2
...     agent_dtype = NO_PARAMETERS
...     n_states = 3
...     n_actions = 2
...
...     @staticmethod
...     @rule
...     def transition(next_state, state, action, agent, world):  # Steps succeed less often as time goes on.
...         success = action / (1.0 + world.time) if state < 2 else 0.0
...         return success if next_state == state + 1 else 1.0 - success if next_state == state else 0.0
...
...     @staticmethod
...     @rule
...     def reward(state, action, agent, world):
...         return -0.125 * action
...
...     @staticmethod
...     @rule
...     def arrival(next_state, state, action, agent, world):  # A step up pays 1 in the moment.
...         return 1.0 if next_state > state else 0.0
...
...     @staticmethod
...     @rule
...     def terminal(state, agent, world):  # Who ends at the top earns 4.
...         return 4.0 if state == 2 else 0.0
...
...     @staticmethod
...     @rule
...     def allowed(action, state, agent, public):  # There is no step up from the top.
...         return state < 2 or action == 0
>>> induced = InducedGame(Climb())
>>> induced.uniform_policy()[0].tolist()
[[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]
>>> induced.best_response(induced.flow(induced.uniform_policy()))[0].argmax(axis=1).tolist()
[1, 1, 0]

All other rules have defaults that follow from these two, and each can be declared by the game. A game whose reward
and next state are dependent declares its own ``step``; ``transition`` must then be the distribution of its next
state and ``reward`` the mean of its reward (as in the repeated auction, where the price decides both). It may then
also declare

``met(state, action, agent, world, key) -> float``
    The mean action of those whom the agent met in that step, drawn from the same key. Without it everybody meets
    everybody.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.cumulated import cumulative
from mfenvs.distinct_records import distinct_records
from mfenvs.finite_rules import (
    aggregate_beside_public_state,
    aggregate_from_zeros,
    arrival_and_end,
    branched_step,
    expected_over_branches,
    expected_over_rows,
    one_hot,
    one_hot_and_time,
    one_hot_time_and_public_state,
    own_state,
    sampled_step,
    start_from_distribution,
    state_action_cell,
    transition_of_branches,
)
from mfenvs.game import Game, Rule, Rules, index_dtype, undeclared
from mfenvs.public_chain import ChainTables, OnlyChain, PublicChain, publish_state

MAX_CELLS = 2**26
"""Largest number of pairs of a state and an action: one distribution over these takes half a gigabyte."""
MAX_BRANCHES = 2**20
"""Largest number of branches of a state and an action."""


@dataclasses.dataclass(kw_only=True)
class FiniteGame(Game):
    """A game with finitely many states and actions.

    It is a finite-horizon dynamic game (Yardim & He, arXiv 2408.15173, Definition 1), or with a ``discount`` below
    1 an infinite-horizon discounted game (Guo et al., arXiv 1901.09585).

    A subclass declares ``n_states``, ``n_actions`` and the rules

    ``transition(next_state, state, action, agent, world) -> float``
        P^i(next_state | state, action, others). Over next_state it must be a probability row: the
        mean-field side checks that always, the engine in ``debug`` mode.
    ``reward(state, action, agent, world) -> float``
        R^i(state, action, others).

    An agent is counted in the cell ``state * n_actions + action``, so that ``share(world, cell)`` is
    sigma(rho^{-i})(state, action). It observes its own state one-hot and the elapsed time h / H, shape
    (n_states + 1,); in an infinite game its state only, shape (n_states,). The initial distribution is uniform.
    Each of these can be overridden, and so can ``step``. A game whose states are ordered declares their
    coordinates, :attr:`state_levels`.

    A game on a map has many states, of which few can come next. It declares ``n_branches`` and in the place of
    ``transition`` the rule

    ``branch(branch, state, action, agent, world) -> (next_state, probability)``
        Where branch 0, 1, ..., ``n_branches`` - 1 leads, and its probability. Probabilities must sum to 1 over the
        branches. Several branches may lead to one state, and unused ones have the probability 0; every
        ``next_state`` must be a state.

    Time and memory then grow with S A ``n_branches`` and no longer with S A S, in the simulator and on the
    mean-field side. A random walk on a ring of 1000 places, with a step to either side:

    >>> import dataclasses
    >>> from mfenvs import FiniteGame, InducedGame, crowd, rule
    >>> from mfenvs.game import NO_PARAMETERS
    >>> @dataclasses.dataclass(kw_only=True)
    ... class Ring(FiniteGame):
    ...     n_agents: int = 100
    ...     horizon: int = 20
    ...     agent_dtype = NO_PARAMETERS
    ...     n_states = 1000
    ...     n_actions = 3
    ...     n_branches = 3
    ...
    ...     @staticmethod
    ...     @rule
    ...     def branch(branch, state, action, agent, world):
    ...         return (state + action - 1 + branch - 1) % 1000, 0.8 if branch == 1 else 0.1
    ...
    ...     @staticmethod
    ...     @rule
    ...     def reward(state, action, agent, world):
    ...         return -crowd(world, 3 * state) - crowd(world, 3 * state + 1) - crowd(world, 3 * state + 2)
    >>> InducedGame(Ring()).exploitability(InducedGame(Ring()).uniform_policy()) < 1e-12
    True
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    """Names of the states, by default their numbers."""
    action_names: ClassVar[tuple[str, ...]] = ()
    """Names of the actions, by default their numbers."""
    n_populations: ClassVar[int] = 1
    """Number of populations (:class:`mfenvs.PopulationGame`)."""
    is_average: ClassVar[bool] = False
    """Whether the rules are an average over agents who may differ: how much they do is then not in the game."""
    reward: ClassVar[Rule]
    branch: ClassVar[Rule | None] = None
    arrival: ClassVar[Rule | None] = None
    terminal: ClassVar[Rule | None] = None

    def check(self) -> None:
        """Check sizes, rules and the initial law."""
        n_pairs = checks.size("n_states", self.n_states, 1) * checks.size("n_actions", self.n_actions, 1)
        checks.at_most("n_states * n_actions", n_pairs, MAX_CELLS)
        self._check_branches()
        self._check_rule("transition")
        self._check_rule("reward")
        for name in ("arrival", "terminal", "aggregate"):
            if getattr(self, name) is not None:
                self._check_rule(name)
        if self.terminal is not None and self.is_infinite:
            raise TypeError(
                f"{type(self).__name__} with discount {self.discount:g} goes on for ever, and must not declare the"
                " rule terminal(state, agent, world)"
            )
        if hasattr(self, "step"):
            self._check_rule("step")
        if self.publish is not None:
            raise TypeError(
                f"{type(self).__name__} is a finite game, which has a mean-field side, and declares its common"
                " noise as public_chain: its rule publish must be left out"
            )
        self._check_public_chain()
        self._check_optional_rules()
        checks.probabilities("initial_distribution", self.initial_distribution, (self.n_states,))
        self._check_state_levels()
        for name, size in (("state_names", self.n_states), ("action_names", self.n_actions)):
            given = getattr(self, name)
            if given and len(given) != size:
                raise ValueError(f"{name} must hold {size} names or none, got {given!r}")

    @property
    def n_states(self) -> int:
        """Number of local states |S|."""
        raise undeclared(self, "n_states")

    @property
    def n_actions(self) -> int:
        """Number of actions |A|."""
        raise undeclared(self, "n_actions")

    @property
    def n_branches(self) -> int:
        """Number of branches of the rule ``branch``; 0 for a game that declares ``transition``."""
        return 0

    @property
    def public_chain(self) -> PublicChain | None:
        """Common noise: the Markov chain of public states, which all see before they act; by default None.

        The game must end (``discount`` 1), and declare ``n_signals``, the length of what ``aggregate`` writes and
        one more: the public state is the last entry of the public signal, which ``aggregate`` leaves as it is and
        all rules with an argument ``world`` or ``public`` read as ``mfenvs.public_state(world)``. The game's
        ``constants`` are a named tuple with the chain's ``tables`` as its entry ``public_chain``; a game that has
        no other constants need not declare any. Policies know the public state: :attr:`policy_shape`. Observations
        of a game without a rule ``observe`` end with the public state, one-hot.

        The mean-field side is described in :mod:`mfenvs.meanfield.public_tree`. A bar that closes at some time,
        after which nobody earns anything there:

        >>> import dataclasses
        >>> from mfenvs import FiniteGame, InducedGame, PublicChain, public_state, rule
        >>> from mfenvs.game import NO_PARAMETERS
        >>> @dataclasses.dataclass(kw_only=True)
        ... class Bar(FiniteGame):
        ...     n_agents: int = 10
        ...     horizon: int = 3
        ...     agent_dtype = NO_PARAMETERS
        ...     n_states = 2
        ...     n_actions = 2
        ...     n_signals = 1
        ...     public_chain = PublicChain([1.0, 0.0], [[0.75, 0.25], [0.0, 1.0]])
        ...
        ...     @staticmethod
        ...     @rule
        ...     def transition(next_state, state, action, agent, world):
        ...         return 1.0 if next_state == action else 0.0
        ...
        ...     @staticmethod
        ...     @rule
        ...     def reward(state, action, agent, world):
        ...         return state * (1.0 if public_state(world) == 0 else -1.0)
        >>> Bar().policy_shape  # Rows of the open and of the closed bar.
        (3, 4, 2)
        >>> induced = InducedGame(Bar())
        >>> induced.policy_shape  # At most three histories at a time: open, closed just now, closed before.
        (3, 6, 2)
        >>> round(induced.exploitability(induced.uniform_policy()), 6)
        0.5625
        """
        return None

    @functools.cached_property
    def _chain(self) -> PublicChain | None:
        """The public chain, made once."""
        return self.public_chain

    @property
    def n_public_states(self) -> int:
        """Number M of states of the public chain; 1 in a game without one."""
        return 1 if self._chain is None else self._chain.n_states

    @property
    def constants(self) -> tuple[Any, ...]:
        """As :attr:`Game.constants`; by default the tables of the public chain, if there is one."""
        return () if self._chain is None else OnlyChain(self._chain.tables)

    @property
    def transition(self) -> Rule:
        """The rule ``transition``, which follows from ``branch`` in a game that declares branches."""
        if self.branch is None:
            raise AttributeError(f"{type(self).__name__} declares no rule transition")
        return transition_of_branches(self.branch, self.n_branches)

    @property
    def expected_reward(self) -> Rule:
        """The rule ``reward`` with what ``arrival`` and ``terminal`` add to it on average."""
        arrival = self._paid_on_arrival
        if arrival is None:
            return self.reward
        only_at = self.horizon - 1 if self.arrival is None else -1
        if self.branch is not None:
            return expected_over_branches(
                self.branch, self.reward, arrival, self.n_branches, self.n_states, only_at
            )
        return expected_over_rows(self.transition, self.reward, arrival, self.n_states, only_at)

    @property
    def _paid_on_arrival(self) -> Rule | None:
        """The rule ``arrival`` with ``terminal`` in the last step."""
        if self.terminal is None:
            return self.arrival
        return arrival_and_end(self.arrival, self.terminal, self.horizon - 1)

    @property
    def initial_distribution(self) -> NDArray[np.float64]:
        """The distribution rho_0 of every agent's initial state, shape (n_states,)."""
        return np.full(self.n_states, 1.0 / self.n_states)

    @property
    def initial_by_population(self) -> NDArray[np.float64]:
        """The distribution of the initial state of an agent of each population, shape (P, S)."""
        return self.initial_distribution[None]

    @property
    def population_of_agent(self) -> NDArray[np.int64]:
        """Index of each agent's population, shape (n_agents,)."""
        return np.zeros(self.n_agents, np.int64)

    @property
    def population_of_state(self) -> NDArray[np.int64]:
        """Index of the population whose agents can be in each state, shape (n_states,)."""
        return np.zeros(self.n_states, np.int64)

    @property
    def own_states(self) -> NDArray[np.int64]:
        """The states in which each agent can be: the first one and one more than the last, shape (n_agents, 2)."""
        ends = np.bincount(self.population_of_state).cumsum()
        return np.stack([np.append(0, ends[:-1]), ends], axis=1)[self.population_of_agent]

    def policies_by_population(self, policy: NDArray[np.float64]) -> NDArray[np.float64]:
        """A policy (T, S, A) as one for each population, shape (P, T, S, A), padded with zeros."""
        return policy[None]

    def distinct_agents(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The distinct parameters of agents, shape (n,), and the share of agents with each, shape (n,).

        Averages over these are averages over all agents of a population.
        """
        distinct, copies = distinct_records(self.agents.view(np.ndarray))
        return distinct, copies / self.n_agents

    @property
    def state_levels(self) -> NDArray[np.float64] | None:
        """Coordinates in [0, 1] of the states of a game whose states are ordered, shape (n_states, d).

        Threshold policies and networks read them. None, the default, if the states are not ordered.

        If a game with ordered states declares a rule ``observe``, an observation begins with these d coordinates
        of the own state; in a game that ends the elapsed time comes next.
        """
        return None

    @property
    def initial(self) -> NDArray[np.float32]:
        """The initial distribution, cumulated over states, shape (n_states,)."""
        return cumulative(self.initial_distribution)

    @property
    def state_dtype(self) -> np.dtype[Any]:
        """The smallest integer that holds a state, and in a game with branches a number that is none."""
        return index_dtype(self.n_states + (self.branch is not None))

    @property
    def n_cells(self) -> int:
        """|S| |A|: there is a cell for each pair of a state and an action."""
        return self.n_states * self.n_actions

    @property
    def policy_shape(self) -> tuple[int, int, int]:
        """Shape (T, S, A) of a policy: a distribution over actions for every time and state.

        T is the horizon H, or 1 in an infinite game, whose policies are stationary. In a game with a public chain
        of M states, policies know the public state z: the shape is (T, M S, A), with the row z S + s for the state
        s. Arrays of shape (T, M, S, A) are taken too (:meth:`policy_table`).
        """
        n_states = self.n_public_states * self.n_states
        return 1 if self.is_infinite else self.horizon, n_states, self.n_actions

    def policy_table(self, name: str, policy: Any) -> NDArray[np.float64]:
        """Check a tabular policy of this game, and return it in its :attr:`policy_shape`.

        Parameters
        ----------
        name:
            Name of the argument, for error messages.
        policy:
            An array, or an object with an array as its attribute ``probabilities``: of the ``policy_shape`` (T, S,
            A), or (n_agents, T, S, A) for a policy each; in a game with a public chain also (T, M, S, A). A
            stationary policy, for which T = 1, may lack the time axis.

        Returns
        -------
        Shape (T, S, A) if all agents share the policy, else (n_agents, T, S, A).

        Raises
        ------
        TypeError, ValueError
            If it is not one of these.
        """
        if self._chain is not None:
            n_times, _, n_actions = self.policy_shape
            found = checks.array(name, getattr(policy, "probabilities", policy))
            if found.shape == (n_times, self.n_public_states, self.n_states, n_actions):
                policy = found.reshape(self.policy_shape)
            elif found.ndim == 3 and found.shape[1] > self.policy_shape[1] and found.shape[1] % self.n_states == 0:
                raise ValueError(
                    f"{name} must have shape {self.policy_shape}, got {found.shape}: a policy of the public"
                    f" histories of {type(self).__name__} is played by"
                    " mfenvs.HistoryPolicy(mfenvs.InducedGame(game), policy)"
                )
        return checks.policy_table(name, policy, self.policy_shape, self.n_agents)

    @property
    def n_places(self) -> int:
        """|S|: an agent's place is its state."""
        return self.n_states

    @property
    def n_features(self) -> int:
        """|S| for the own state, one-hot, and 1 for the elapsed time in a game that ends.

        In a game with a public chain also M for the public state, one-hot.
        """
        shown = 0 if self._chain is None else self.n_public_states
        return self.n_states + (not self.is_infinite) + shown

    @property
    def action_space(self) -> "gymnasium.Space[Any]":
        """Discrete(n_actions)."""
        return gymnasium.spaces.Discrete(self.n_actions)

    @property
    def rules(self) -> Rules:
        """The declared rules, and those that follow from ``transition`` or ``branch``, and ``reward``."""
        counted = self.cell is not None or self.count is not None
        arrival = self._paid_on_arrival
        if hasattr(self, "step"):
            step = self.step
        elif self.branch is not None:
            step = branched_step(self.branch, self.reward, arrival, self.n_branches, self.n_states)
        else:
            step = sampled_step(self.transition, self.reward, arrival, self.n_states)
        return Rules(
            start=getattr(self, "start", start_from_distribution),
            step=step,
            observe=getattr(self, "observe", None) or self._default_observe(),
            cell=self.cell if counted else state_action_cell(self.n_actions),
            weight=self.weight,
            count=self.count,
            aggregate=self._aggregate_rule(),
            publish=None if self._chain is None else publish_state,
            place=self.place or own_state,
            allowed=self.allowed,
            account=self.account,
            met=self.met,
        )

    @property
    def counts_state_actions(self) -> bool:
        """Whether the counts are the plain sigma(rho): the default cells, without weights."""
        return self.weight is None and self.cell is None and self.count is None

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`Game.check_snapshot`; states must be in [0, n_states)."""
        super().check_snapshot(states, signal)
        outside = (states < 0) | (states >= self.n_states)
        if outside.any():
            world, agent = (int(i) for i in np.argwhere(outside)[0])
            raise ValueError(
                f"snapshot.states[{world}, {agent}] must be in [0, {self.n_states - 1}],"
                f" got {states[world, agent]}"
            )
        if self._chain is not None:
            told, n_public = signal[:, -1], self.n_public_states
            wrong = ~((told >= 0) & (told < n_public) & (told == np.floor(told)))
            if wrong.any():
                world = int(np.argmax(wrong))
                raise ValueError(
                    f"snapshot.signal[{world}, -1] must be a public state in [0, {n_public - 1}], got"
                    f" {told[world]}"
                )

    def check_members(self, name: str, states: NDArray[Any]) -> None:
        """Check states of all agents, (n_worlds, n_agents); ValueError if one is of another population."""

    def check_states(self, states: NDArray[Any]) -> None:
        """Check states that a game's own ``start`` or ``step`` returned; ValueError if one does not exist."""
        is_own = hasattr(self, "step") or hasattr(self, "start")
        if is_own and (outside := (states < 0) | (states >= self.n_states)).any():
            raise ValueError(
                f"the rules start and step of {type(self).__name__} must return states in [0,"
                f" {self.n_states - 1}], got {states[outside][0]}"
            )

    @property
    def _declares_transition(self) -> bool:
        return type(self).transition is not FiniteGame.transition

    def _default_observe(self) -> Rule:
        if self._chain is not None:
            return one_hot_time_and_public_state(self.n_states)
        return (one_hot if self.is_infinite else one_hot_and_time)(self.n_states)

    def _aggregate_rule(self) -> Rule | None:
        if self.aggregate is None:
            return None
        return (aggregate_from_zeros if self._chain is None else aggregate_beside_public_state)(self.aggregate)

    def _check_public_chain(self) -> None:
        kind, chain = type(self).__name__, self.public_chain
        if chain is None:
            return
        if not isinstance(chain, PublicChain):
            raise TypeError(f"public_chain must be a PublicChain or None, got {checks.shown(chain)}")
        if self.is_infinite:
            raise ValueError(
                f"discount must be 1 in a game with a public chain, whose population depends on the whole history"
                f" and has no stationary law, got {self.discount:g}: let {kind} end after horizon steps"
            )
        chain.check_horizon(self.horizon)
        if self.n_signals < 1:
            raise TypeError(
                f"{kind} has a public chain and must declare n_signals, one more than aggregate writes: the last"
                " entry of the signal is the public state"
            )
        found = getattr(self.constants, "public_chain", None)
        if not (isinstance(found, ChainTables) and all(map(np.array_equal, found, chain.tables))):
            raise TypeError(
                f"the constants of {kind} must be a named tuple with the entry public_chain ="
                f" self.public_chain.tables, got {checks.shown(found)} there"
            )

    def _check_branches(self) -> None:
        if self.branch is None:
            if self.n_branches != 0:
                raise TypeError(
                    f"{type(self).__name__} declares n_branches {checks.shown(self.n_branches)} and must declare"
                    " the rule branch(branch, state, action, agent, world)"
                )
            return
        if self._declares_transition:
            raise TypeError(f"{type(self).__name__} must declare the rule branch or the rule transition, not both")
        if type(self).n_branches is FiniteGame.n_branches:
            raise undeclared(self, "n_branches")
        checks.size("n_branches", self.n_branches, 1)
        checks.at_most("n_branches", self.n_branches, MAX_BRANCHES)
        self._check_rule("branch")

    def _check_state_levels(self) -> None:
        levels = self.state_levels
        if levels is None:
            return
        found = checks.array("state_levels", levels)
        if found.ndim != 2 or len(found) != self.n_states or found.shape[1] < 1:
            raise ValueError(
                f"state_levels must have shape ({self.n_states}, d) with d >= 1, or be None, got {found.shape}"
            )
        if found.dtype != np.float64:
            raise TypeError(f"state_levels must be an array of float64, got dtype {found.dtype}")
        outside = ~((found >= 0.0) & (found <= 1.0))  # Written such that a NaN is outside.
        if outside.any():
            state, place = (int(i) for i in np.argwhere(outside)[0])
            raise ValueError(f"state_levels[{state}, {place}] must be in [0, 1], got {found[state, place]}")

    def place_name(self, place: int) -> str:
        """The name of a state."""
        return self.state_name(place)

    def state_name(self, state: int) -> str:
        """The name of a state."""
        return self.state_names[state] if self.state_names else str(state)
