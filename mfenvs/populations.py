"""Finite games with several populations, such as predators and prey: states, actions and rewards of their own.

The rules are written once for all, in *local* states, and find out by ``agent.population`` whose they are. The
suite makes of them *one* finite game on the disjoint union of the populations' state spaces, in which no agent
leaves the states of its population. So engine, APIs, mean-field side, solvers and trainers work on it as on any
finite game.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.cumulated import cumulative
from mfenvs.finite_game import FiniteGame
from mfenvs.finite_rules import transition_of_branches
from mfenvs.game import Rules
from mfenvs.games.typed_agents import names_by_type, stratified
from mfenvs.population_rules import (
    PopulationTables,
    cell_of_own_action,
    has_action,
    member_rule,
    start_in_population,
    state_cell,
    step_in_population,
    union_allowed,
    union_arrival,
    union_branch,
    union_observe,
    union_reward,
    union_terminal,
    union_transition,
)
from mfenvs.rule_checks import check_arguments

Rule = Callable[..., Any]
Array = NDArray[np.float64]

UNION_RULES: dict[str, Callable[[Rule, Rule], Rule]] = {
    "transition": union_transition,
    "branch": union_branch,
    "reward": union_reward,
    "arrival": union_arrival,
    "terminal": union_terminal,
    "allowed": union_allowed,
    "observe": union_observe,
}
"""The rules that are written in local states, and what makes the rules of the union of them."""
OTHER_RULES = ("start", "step", "cell", "weight", "count", "place", "account", "met", "publish", "public_chain")
"""What a game with several populations cannot declare."""
OF_UNION = {
    "n_states": "populations",
    "n_actions": "populations",
    "n_cells": "populations and counts_actions",
    "state_names": "populations",
    "initial": "populations",
    "initial_distribution": "populations",
    "initial_by_population": "populations",
    "agent_dtype": "parameter_dtype",
    "draw_agents": "draw_parameters",
    "agent_names": "populations",
    "policy_shape": "populations",
}
"""What the suite makes for the union of the populations, and a game declares by something else."""
SUM_TOLERANCE = 1e-9
"""Largest distance from one that is allowed for the sum of the populations' shares."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population:
    """One population of a game: its name, its size and its local states and actions."""

    name: str
    """Name, from which those of its agents are made: ``predator_0``, ``predator_1``, ..."""
    share: float
    """Share of all agents, in (0, 1]. Numbers of agents are rounded by largest remainders."""
    n_states: int
    """Number of local states."""
    n_actions: int
    """Number of actions."""
    initial: ArrayLike | None = None
    """Distribution of the initial local state, shape (n_states,); uniform by default."""
    state_names: tuple[str, ...] = ()
    """Names of the local states, by default their numbers."""


@dataclasses.dataclass(kw_only=True)
class PopulationGame(FiniteGame):
    """A finite game with several populations, each with states, actions and an initial distribution of its own.

    A subclass declares ``populations``, and the rules of a :class:`mfenvs.FiniteGame`: ``transition`` or
    ``branch``, ``reward``, and ``arrival``, ``terminal``, ``allowed``, ``observe`` and ``aggregate`` if it likes.
    In all of them states and actions are those of the agent's population, counted from 0, and ``agent.population``
    is its index. They read the others by

    * :func:`mfenvs.share_in` ``(world, population, state, action)``: the share *within* a population of its agents
      other than this one who are in a state (and take an action);
    * :func:`mfenvs.crowd_in`: the same with the agent itself.

    ``share`` and ``crowd`` read single cells of all populations together, which are seldom of use here. Constants
    reach rules as in any game; the suite adds ``world.constants.populations`` (:class:`PopulationTables`). A game
    whose agents differ within a population declares ``parameter_dtype`` and :meth:`draw_parameters`, and reads
    ``agent.<parameter>``.

    Everything else sees one game on the union of the state spaces: a state is ``first_states[population]`` plus
    the local state, there are as many actions as any population has, and ``allowed`` masks those that are too
    many. An agent who takes such an action nevertheless takes action 0. Observations are the state of the union,
    one-hot, so that each population has features of its own, and zeros in those of others; then the elapsed time.
    With a rule ``observe`` the game declares ``n_features``, and features that it does not write are zeros.

    The law of the union has the mass ``shares[p]`` in population p; :meth:`laws_by_population` divides by it.
    Policies of the union, shape (T, S, A), and one for each population, (P, T, S, A), are turned into each other
    by :meth:`policies_by_population` and :meth:`union_policy`. Exploitability is that of each population
    (:meth:`mfenvs.InducedGame.exploitabilities`), and never a sum: where one number is needed, it is the largest.

    Predators who see where the prey is, and prey who can be in one place more:

    >>> import dataclasses
    >>> from mfenvs import InducedGame, Population, PopulationGame, rule, share_in
    >>> PREDATOR, PREY = 0, 1
    >>> @dataclasses.dataclass(kw_only=True)
    ... class Chase(PopulationGame):
    ...     n_agents: int = 10
    ...     horizon: int = 2
    ...     populations = (
    ...         Population(name="predator", share=0.2, n_states=2, n_actions=2),
    ...         Population(name="prey", share=0.8, n_states=3, n_actions=3, initial=(0.5, 0.5, 0.0)),
    ...     )
    ...
    ...     @staticmethod
    ...     @rule
    ...     def transition(next_state, state, action, agent, world):
    ...         return 1.0 if next_state == action else 0.0
    ...
    ...     @staticmethod
    ...     @rule
    ...     def reward(state, action, agent, world):
    ...         if agent.population == PREDATOR:
    ...             return share_in(world, PREY, state)
    ...         return -share_in(world, PREDATOR, state) if state < 2 else -0.25
    >>> game = Chase()
    >>> game.agent_names[:3], [game.state_name(s) for s in range(5)]
    (['predator_0', 'predator_1', 'prey_0'], ['predator: 0', 'predator: 1', 'prey: 0', 'prey: 1', 'prey: 2'])
    >>> induced = InducedGame(game)
    >>> policy = induced.uniform_policy()  # (T, S, A) = (2, 5, 3), without the third action of predators
    >>> induced.exploitabilities(policy).round(6).tolist()
    [0.0, 0.166667]
    >>> game.policies_by_population(policy).shape  # (P, T, S, A), padded with zeros
    (2, 2, 3, 3)
    """

    local_constants: ClassVar[Any] = ()
    counts_actions: ClassVar[bool] = True
    """Whether agents are counted by state and action; by state only where no rule reads what others do."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the rules in local states that the class declares, and its constants, as ``local_<name>``."""
        super().__init_subclass__(**kwargs)
        for name in (*UNION_RULES, "constants"):
            ours = vars(PopulationGame)[name]
            found = next(base for base in cls.__mro__ if name in vars(base))
            if vars(found)[name] is not ours:
                setattr(cls, f"local_{name}", vars(found)[name])
                setattr(cls, name, ours)

    @property
    def populations(self) -> Sequence[Population]:
        """The populations, in whose order the agents are."""
        raise TypeError(f"{type(self).__name__} must declare populations")

    @property
    def parameter_dtype(self) -> np.dtype[Any] | None:
        """An agent's own parameters: a structured dtype of numbers, or None, the default, if it has none."""
        return None

    def draw_parameters(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the agents' own parameters, shape (n_agents,) of ``parameter_dtype``, in the order of the agents.

        :attr:`population_of_agent` tells whose they are.
        """
        raise TypeError(f"{type(self).__name__} declares parameter_dtype and must declare draw_parameters(rng)")

    @property
    def n_populations(self) -> int:  # type: ignore[override]
        """Number of populations P."""
        return len(self._populations)

    @property
    def tables(self) -> PopulationTables:
        """Sizes of the populations and their places in the union."""
        return self._tables

    @property
    def constants(self) -> tuple[Any, ...]:
        """The constants that the class declares, and what the suite adds to them."""
        found: tuple[Any, ...] = _extended(self.local_constants, self._added_constants())
        return found

    def _added_constants(self) -> dict[str, Any]:
        """What the suite adds to the constants, by name."""
        return {"populations": self._tables}

    @property
    def member(self) -> Rule:
        """The rule that makes of an agent's record what the game's rules see as ``agent``."""
        dtype = self.parameter_dtype
        return member_rule(() if dtype is None else tuple(np.dtype(dtype).names or ()))

    def local_rule(self, name: str) -> Rule | None:
        """A rule that the class declares, in local states; None if it does not."""
        found: Rule | None = getattr(self, f"local_{name}", None)
        return found

    def _of_union(self, name: str) -> Rule | None:
        local = self.local_rule(name)
        return None if local is None else UNION_RULES[name](local, self.member)

    def _required(self, name: str) -> Rule:
        found = self._of_union(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} declares no rule {name}")
        return found

    @property
    def transition(self) -> Rule:
        """The rule ``transition`` of the union, which follows from ``branch`` in a game that declares branches."""
        branch = self.branch
        return self._required("transition") if branch is None else transition_of_branches(branch, self.n_branches)

    @property
    def branch(self) -> Rule | None:  # type: ignore[override]
        """The rule ``branch`` of the union."""
        return self._of_union("branch")

    @property
    def reward(self) -> Rule:  # type: ignore[override]
        """The rule ``reward`` of the union."""
        return self._required("reward")

    @property
    def arrival(self) -> Rule | None:  # type: ignore[override]
        """The rule ``arrival`` of the union."""
        return self._of_union("arrival")

    @property
    def terminal(self) -> Rule | None:  # type: ignore[override]
        """The rule ``terminal`` of the union."""
        return self._of_union("terminal")

    @property
    def allowed(self) -> Rule | None:  # type: ignore[override]
        """The rule ``allowed`` of the union, which also masks actions that a population does not have."""
        found = self._of_union("allowed")
        return has_action if found is None and len(set(self._tables.n_actions)) > 1 else found

    @property
    def observe(self) -> Rule:
        """The rule ``observe`` of the union."""
        return self._required("observe")

    @property
    def cell(self) -> Rule | None:  # type: ignore[override]
        """The state in a game that does not count actions; else None if all populations have as many of them."""
        if not self.counts_actions:
            return state_cell
        n_actions = tuple(self._tables.n_actions.tolist())
        if len(set(n_actions)) == 1:
            return None
        return cell_of_own_action(tuple(self._tables.first_states.tolist()), n_actions)

    @property
    def n_cells(self) -> int:
        """The number of states, times that of actions if these are counted."""
        return self.n_states * self._tables.cells_per_state

    @property
    def rules(self) -> Rules:
        """The rules of the union."""
        rules = dataclasses.replace(super().rules, start=start_in_population)
        local = self.local_rule("transition")
        if local is None:
            return rules
        step = step_in_population(local, self.member, self.reward, self._paid_on_arrival)
        return dataclasses.replace(rules, step=step)

    @property
    def _declares_transition(self) -> bool:
        return self.local_rule("transition") is not None

    def check(self) -> None:
        """Check the populations, the rules in local states, and what follows from them."""
        kind = type(self)
        declared = {name for base in kind.__mro__[: kind.__mro__.index(PopulationGame)] for name in vars(base)}
        for name in OTHER_RULES:
            if name in declared:
                raise TypeError(f"{kind.__name__} has several populations and must not declare {name}")
        for name, by in OF_UNION.items():
            if name in declared:
                raise TypeError(f"{kind.__name__} has several populations and must declare {by} and not {name}")
        parameters = () if self.parameter_dtype is None else np.dtype(self.parameter_dtype).names or ()
        for name in ("population", "first_state", "last_state"):
            if name in parameters:
                raise TypeError(f"{kind.__name__} must give its parameter {name!r} another name: agents have one")
        self._populations = _checked_populations(self.populations)
        checks.boolean("counts_actions", self.counts_actions)
        n_actions = max(population.n_actions for population in self._populations)
        self._tables = _tables_of(self._populations, self.n_agents, n_actions if self.counts_actions else 1)
        for name in UNION_RULES:
            local = self.local_rule(name)
            if local is not None:
                check_arguments(self, name, local)
        super().check()

    @property
    def n_states(self) -> int:
        """|S|: the states of all populations together."""
        return len(self._tables.population_of)

    @property
    def n_actions(self) -> int:
        """|A|: the largest number of actions of a population."""
        return int(self._tables.n_actions.max())

    @property
    def initial_by_population(self) -> Array:
        """The distribution of the initial state of an agent of each population, shape (P, S)."""
        laws = np.zeros((self.n_populations, self.n_states))
        for p, population in enumerate(self._populations):
            laws[p, self.states_of(p)] = population.initial
        return laws

    @property
    def initial_distribution(self) -> Array:
        """The distribution of the initial state of an agent drawn from all of them, shape (n_states,)."""
        law: Array = self._tables.shares @ self.initial_by_population
        return law

    @property
    def initial(self) -> NDArray[np.float32]:
        """The initial distribution of each population, cumulated over its states, shape (n_states,)."""
        return np.concatenate([cumulative(np.asarray(each.initial)) for each in self._populations])

    @property
    def population_of_agent(self) -> NDArray[np.int64]:
        """Index of each agent's population, shape (n_agents,)."""
        return np.repeat(np.arange(self.n_populations), self._tables.sizes.astype(np.int64))

    @property
    def population_of_state(self) -> NDArray[np.int64]:
        """Index of the population whose agents can be in each state, shape (n_states,)."""
        return self._tables.population_of

    def states_of(self, population: int) -> slice:
        """The states of a population in the union."""
        first = int(self._tables.first_states[population])
        return slice(first, first + int(self._tables.n_states[population]))

    @property
    def agent_names(self) -> list[str]:
        """Names ``<population>_<int>`` of the agents, counted within each population."""
        return names_by_type([population.name for population in self._populations], self.population_of_agent)

    def check_snapshot(self, states: NDArray[Any], signal: NDArray[np.float32]) -> None:
        """As :meth:`mfenvs.FiniteGame.check_snapshot`; agents must be in states of their population."""
        super().check_snapshot(states, signal)
        self.check_members("snapshot.states", states)

    def check_members(self, name: str, states: NDArray[Any]) -> None:
        """Raise a ValueError if agents are in states of another population, (n_worlds, n_agents) of the union."""
        outside = self._tables.population_of[states] != self.population_of_agent
        if outside.any():
            world, agent = (int(i) for i in np.argwhere(outside)[0])
            own = self.states_of(int(self.population_of_agent[agent]))
            raise ValueError(
                f"{name}[{world}, {agent}] must be in [{own.start}, {own.stop - 1}], as the states of its"
                f" population are, got {states[world, agent]}"
            )

    def state_name(self, state: int) -> str:
        """The population's name and that of the local state."""
        p = int(self._tables.population_of[state])
        local, population = state - int(self._tables.first_states[p]), self._populations[p]
        return f"{population.name}: {population.state_names[local] if population.state_names else local}"

    @property
    def agent_dtype(self) -> np.dtype[Any]:
        """An agent's parameters, its population, and where its states begin and end.

        A parameter has an entry for each population: the agent's own, and for other populations that of their
        first agent, with which rules can be asked about states in which the agent never is.
        """
        own = [("population", np.int32), ("first_state", np.int32), ("last_state", np.int32)]
        # Records that begin alike would be subtypes of each other for numba, which warns of that.
        return np.dtype([*self._parameter_fields(), *own])

    def _parameter_fields(self) -> list[tuple[str, Any, tuple[int]]]:
        if self.parameter_dtype is None:
            return []
        dtype, shape = np.dtype(self.parameter_dtype), (self.n_populations,)
        return [(name, dtype[name], shape) for name in dtype.names or ()]

    def draw_agents(self, rng: np.random.Generator) -> NDArray[Any]:
        """The agents, ordered by population, with the parameters that :meth:`draw_parameters` draws."""
        agents, whose = np.zeros(self.n_agents, self.agent_dtype), self.population_of_agent
        agents["population"], agents["first_state"] = whose, self._tables.first_states[whose]
        agents["last_state"] = agents["first_state"] + self._tables.n_states[whose] - 1
        if self.parameter_dtype is not None:
            drawn, dtype = np.asarray(self.draw_parameters(rng)), np.dtype(self.parameter_dtype)
            if drawn.dtype != dtype or drawn.shape != (self.n_agents,):
                raise ValueError(
                    f"draw_parameters must return {self.n_agents} records of {dtype}, got shape {drawn.shape} of"
                    f" {drawn.dtype}"
                )
            first = np.searchsorted(whose, np.arange(self.n_populations))
            for name in dtype.names or ():
                agents[name] = drawn[name][first]
                agents[name][np.arange(self.n_agents), whose] = drawn[name]
        return agents

    def distinct_agents(self) -> tuple[NDArray[Any], Array]:
        """Records of which the average, in any state, is that over the agents of the state's population.

        Each record holds the parameters of one agent of every population: those at the same quantile, in the order
        of their parameters.
        """
        if self.parameter_dtype is None:
            return self.agents.view(np.ndarray)[:1], np.ones(1)
        agents, whose, columns, ends = self.agents.view(np.ndarray), self.population_of_agent, [], []
        names = [name for name, *_ in self._parameter_fields()]
        for p in range(self.n_populations):
            own = agents[whose == p]
            table = np.empty(len(own), [(name, agents.dtype[name].base) for name in names])
            for name in names:
                table[name] = own[name][:, p]
            distinct, copies = np.unique(table, return_counts=True)
            columns.append(distinct)
            ends.append(np.cumsum(copies) / len(own))
        cuts = np.unique(np.concatenate(ends))
        # Cuts that differ by rounding are one.
        cuts = cuts[np.append(np.diff(cuts) > 1e-12, True)]
        widths = np.diff(cuts, prepend=0.0)
        records = np.repeat(agents[:1], len(cuts))
        for p, (column, end) in enumerate(zip(columns, ends, strict=True)):
            place = np.searchsorted(end, cuts - 0.5 * widths)
            for name in names:
                records[name][:, p] = column[name][place]
        return records, widths / widths.sum()

    def policies_by_population(self, policy: ArrayLike) -> Array:
        """The part of each population in a policy of the union, shape (P, T, S, A).

        S is the largest number of local states and A that of actions; what a population does not have is padded
        with zeros.
        """
        return self._separated(policy)

    def union_policy(self, policies: Sequence[ArrayLike]) -> Array:
        """One policy of the union, shape (T, S, A), of one for each population.

        Parameters
        ----------
        policies:
            For each population an array (T, n_states, n_actions) of its own size, or padded as
            :meth:`policies_by_population` returns it.

        Raises
        ------
        ValueError
            If one has another shape or holds no probabilities.
        """
        listed = list(policies) if isinstance(policies, np.ndarray) and policies.ndim == 4 else policies
        given = checks.sequence("policies", listed, "hold a policy for each population")
        if len(given) != self.n_populations:
            raise ValueError(f"policies must hold {self.n_populations} policies, got {len(given)}")
        n_times, _, n_actions = self.policy_shape
        largest = int(self._tables.n_states.max())
        law = np.zeros(self.policy_shape)
        for p, (policy, population) in enumerate(zip(given, self._populations, strict=True)):
            own = n_times, population.n_states, population.n_actions
            found = np.asarray(policy)
            if found.shape == (n_times, largest, n_actions) and found.shape != own:
                beyond = found.copy()
                beyond[:, : own[1], : own[2]] = 0.0
                if beyond.any():
                    raise ValueError(f"policies[{p}] must be padded with zeros beyond shape {own}")
                found = found[:, : own[1], : own[2]]
            law[:, self.states_of(p), : own[2]] = checks.probabilities(f"policies[{p}]", found, own)
        return law

    def laws_by_population(self, mu: ArrayLike) -> Array:
        """The laws over states and actions within each population, shape (P, T, S, A).

        They are those of a law of the union (T, S, A), such as ``Flow.mu``, padded with zeros as policies are;
        each has the mass 1.
        """
        return self._separated(mu) / self._tables.shares[:, None, None, None]

    def _separated(self, table: ArrayLike) -> Array:
        found = checks.shaped("the table", table, self.policy_shape, np.float64)
        largest = int(self._tables.n_states.max())
        separate = np.zeros((self.n_populations, found.shape[0], largest, found.shape[2]))
        for p, population in enumerate(self._populations):
            separate[p, :, : population.n_states] = found[:, self.states_of(p)]
        return separate


def _checked_populations(given: Any) -> tuple[Population, ...]:
    """The populations of a game, checked, with initial distributions as arrays."""
    populations = checks.sequence("populations", given, "hold Populations")
    if not populations:
        raise ValueError("populations must hold at least one Population, got none")
    checked = []
    for k, population in enumerate(populations):
        name = f"populations[{k}]"
        if not isinstance(population, Population):
            raise TypeError(f"{name} must be a Population, got {checks.shown(population)}")
        if not checks.text(f"{name}.name", population.name).isidentifier():
            raise ValueError(f"{name}.name must be a word of letters and digits, got {population.name!r}")
        checks.real(f"{name}.share", population.share, 0.0, 1.0, exclude_low=True)
        n_states = checks.size(f"{name}.n_states", population.n_states, 1)
        checks.size(f"{name}.n_actions", population.n_actions, 1)
        initial = population.initial
        law = np.full(n_states, 1.0 / n_states) if initial is None else initial
        law = checks.probabilities(f"{name}.initial", law, (n_states,)).copy()
        names = checks.sequence(f"{name}.state_names", population.state_names, "hold names")
        if names and len(names) != n_states:
            raise ValueError(f"{name}.state_names must hold {n_states} names or none, got {names!r}")
        checked.append(dataclasses.replace(population, initial=law, state_names=names))
    words = [population.name for population in checked]
    twice = [word for word in words if words.count(word) > 1]
    if twice:
        raise ValueError(f"populations must have different names, got {twice[0]!r} twice")
    total = sum(population.share for population in checked)
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        raise ValueError(f"the shares of populations must sum to 1, got {total}")
    return tuple(checked)


def _tables_of(populations: tuple[Population, ...], n_agents: int, cells_per_state: int) -> PopulationTables:
    sizes = stratified([population.share for population in populations], n_agents)
    if sizes.min() < 1:
        raise ValueError(
            f"n_agents must be so large that every population has an agent, got {n_agents} and no"
            f" {populations[int(sizes.argmin())].name}"
        )
    n_states = np.array([population.n_states for population in populations], np.int64)
    return PopulationTables(
        first_states=np.cumsum(n_states) - n_states,
        n_states=n_states,
        n_actions=np.array([population.n_actions for population in populations], np.int64),
        population_of=np.repeat(np.arange(len(populations)), n_states),
        sizes=sizes.astype(np.float64),
        shares=sizes / n_agents,
        cells_per_state=cells_per_state,
    )


@functools.cache
def _extended_class(fields: tuple[str, ...]) -> Any:
    return NamedTuple("Constants", [(field, Any) for field in fields])


def _extended(constants: Any, added: dict[str, Any]) -> Any:
    """The constants of a game with more of them at the end, as a named tuple."""
    fields = getattr(constants, "_fields", None) or tuple(f"constant_{k}" for k in range(len(constants)))
    for field in added:
        if field in fields:
            raise TypeError(f"constants must not have the entry {field!r}, which the suite adds to them")
    return _extended_class((*fields, *added))(*constants, *added.values())
