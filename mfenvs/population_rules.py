"""Rules of a game with several populations: from local states, in which the user writes them, to union states.

A state of the union is the first state of the population plus the local state. All rules here find out the
population from the state, so that they are valid for every agent in every state; an agent never leaves the states
of its population. Their tables, :class:`PopulationTables`, are ``world.constants.populations``.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.layout import rule_from
from mfenvs.engine.random import uniform
from mfenvs.engine.rule_code import reads_population
from mfenvs.finite_rules import ALMOST_ONE, pay_rule
from mfenvs.rules import rule

Rule = Callable[..., Any]


class PopulationTables(NamedTuple):
    """Sizes of the populations, as rules read them: ``world.constants.populations``."""

    first_states: NDArray[np.int64]
    """The first state of each population in the union of the state spaces, shape (P,)."""
    n_states: NDArray[np.int64]
    """Number of states of each population, shape (P,)."""
    n_actions: NDArray[np.int64]
    """Number of actions of each population, shape (P,)."""
    population_of: NDArray[np.int64]
    """The population of each state of the union, shape (S,)."""
    sizes: NDArray[np.float64]
    """Number of agents of each population, shape (P,)."""
    shares: NDArray[np.float64]
    """Share of all agents that each population has, shape (P,)."""
    cells_per_state: int
    """Number of cells in which the agents of one state are counted: the actions, or 1."""


@rule
def share_in(world: Any, population: Any, state: Any, action: Any = -1) -> Any:
    """Share of the *other* agents of a population who are in a state, and take an action if one is given.

    The agent itself is left out of its own population, exactly at any N; 0 if nobody else is in that.

    Parameters
    ----------
    world:
        The rule's argument ``world``.
    population:
        Index of the population.
    state:
        A state of that population, counted from 0.
    action:
        An action, in a game that counts states and actions; by default all actions.
    """
    tables = world.constants.populations
    per_state = tables.cells_per_state
    first = (tables.first_states[population] + state) * per_state
    present, n_own = 0.0, 0.0
    for k in range(per_state):
        if action < 0 or action == k:
            present += world.counts[first + k]
            n_own += world.own_weight if world.own_cell == first + k else 0.0
    begin = tables.first_states[population] * per_state
    is_member = world.own_cell >= begin and world.own_cell < begin + tables.n_states[population] * per_state
    everyone = tables.sizes[population] if world.per_agent < 1.0 else tables.shares[population]
    n_others = everyone - (world.own_weight if is_member else 0.0)
    return (present - n_own) / n_others if n_others > 0.0 else 0.0


@rule
def crowd_in(world: Any, population: Any, state: Any, action: Any = -1) -> Any:
    """Share of a population that is in one of its states, the agent itself included.

    The parameters are those of :func:`share_in`.
    """
    tables = world.constants.populations
    first = (tables.first_states[population] + state) * tables.cells_per_state
    present = 0.0
    for k in range(tables.cells_per_state):
        if action < 0 or action == k:
            present += world.counts[first + k]
    return present / (tables.sizes[population] if world.per_agent < 1.0 else tables.shares[population])


class Member(NamedTuple):
    """An agent without parameters of its own, as the rules of a game with several populations see it."""

    population: Any
    """Index of the agent's population."""


@functools.cache
def member_rule(parameters: tuple[str, ...]) -> Rule:
    """Make the rule that turns a record into what the user's rules see as ``agent``."""
    if not parameters:

        @rule
        def member(agent: Any, population: Any) -> Any:
            return Member(population)

        return member
    kind = NamedTuple("MemberWithParameters", [(name, Any) for name in ("population", *parameters)])  # type: ignore[misc]
    own = ", ".join(f"agent.{name}[population]" for name in parameters)
    source = f"def member_with_parameters(agent, population):\n    return kind(population, {own})"
    return rule_from(source, "member_with_parameters", kind=kind)


class Fixed(NamedTuple):
    """What a rule that does not depend on the population reads of a world."""

    constants: Any


@rule
def start_in_population(agent: Any, initial: Any, key: Any) -> Any:
    """Draw the initial state from the cumulative distribution ``initial`` of the agent's population."""
    draw = uniform(key, 0)
    state = agent.first_state
    for candidate in range(agent.first_state, agent.last_state):
        state += draw >= initial[candidate]
    return state


@rule
def state_cell(state: Any, action: Any, agent: Any) -> Any:
    """The rule ``cell`` of a game that counts agents by their state."""
    return state


@functools.cache
def cell_of_own_action(first_states: tuple[int, ...], n_actions: tuple[int, ...]) -> Rule:
    """Make the rule ``cell`` of populations with different numbers of actions.

    An action that a population does not have is counted as its action 0.
    """
    most = max(n_actions)

    @rule
    def cell(state: Any, action: Any, agent: Any) -> Any:
        has = n_actions[0]
        for k in range(len(first_states)):
            has = n_actions[k] if state >= first_states[k] else has
        return state * most + (action if action < has else 0)

    return cell


@functools.cache
def union_transition(local: Rule, member: Rule) -> Rule:
    """Make the rule ``transition`` of the union."""
    if not reads_population(local):

        @rule
        def fixed_transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
            tables = world.constants.populations
            population = tables.population_of[state]
            first, size = tables.first_states[population], tables.n_states[population]
            own = action if action < tables.n_actions[population] else 0
            inside = next_state >= first and next_state < first + size
            return (
                local(next_state - first, state - first, own, member(agent, population), Fixed(world.constants))
                if inside
                else 0.0
            )

        return fixed_transition

    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        first, size = tables.first_states[population], tables.n_states[population]
        own = action if action < tables.n_actions[population] else 0
        inside = next_state >= first and next_state < first + size
        return local(next_state - first, state - first, own, member(agent, population), world) if inside else 0.0

    return transition


@rule
def _successor(tables: Any, population: Any, local_state: Any) -> Any:
    """A successor's state in the union; one that does not exist stays one that does not exist."""
    n_states = tables.n_states[population]
    beyond = len(tables.population_of) - n_states
    first = tables.first_states[population] if local_state < n_states else beyond
    return local_state + (first if local_state >= 0 else 0)


@functools.cache
def union_branch(local: Rule, member: Rule) -> Rule:
    """Make the rule ``branch`` of the union."""
    if not reads_population(local):

        @rule
        def fixed_branch(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
            tables = world.constants.populations
            population = tables.population_of[state]
            own = action if action < tables.n_actions[population] else 0
            here, fixed = state - tables.first_states[population], Fixed(world.constants)
            successor, probability = local(branch, here, own, member(agent, population), fixed)
            return _successor(tables, population, successor), probability

        return fixed_branch

    @rule
    def branch_of_union(branch: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        own = action if action < tables.n_actions[population] else 0
        here = state - tables.first_states[population]
        successor, probability = local(branch, here, own, member(agent, population), world)
        return _successor(tables, population, successor), probability

    return branch_of_union


@functools.cache
def union_reward(local: Rule, member: Rule) -> Rule:
    """Make the rule ``reward`` of the union."""

    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        own = action if action < tables.n_actions[population] else 0
        return local(state - tables.first_states[population], own, member(agent, population), world)

    return reward


@functools.cache
def union_arrival(local: Rule, member: Rule) -> Rule:
    """Make the rule ``arrival`` of the union."""

    @rule
    def arrival(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        first, size = tables.first_states[population], tables.n_states[population]
        own = action if action < tables.n_actions[population] else 0
        inside = next_state >= first and next_state < first + size
        return local(next_state - first, state - first, own, member(agent, population), world) if inside else 0.0

    return arrival


@functools.cache
def union_terminal(local: Rule, member: Rule) -> Rule:
    """Make the rule ``terminal`` of the union."""

    @rule
    def terminal(state: Any, agent: Any, world: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        return local(state - tables.first_states[population], member(agent, population), world)

    return terminal


@rule
def has_action(action: Any, state: Any, agent: Any, public: Any) -> Any:
    """The rule ``allowed`` of populations with different numbers of actions."""
    tables = public.constants.populations
    return action < tables.n_actions[tables.population_of[state]]


@functools.cache
def union_allowed(local: Rule, member: Rule) -> Rule:
    """Make the rule ``allowed`` of the union."""

    @rule
    def allowed(action: Any, state: Any, agent: Any, public: Any) -> Any:
        tables = public.constants.populations
        population = tables.population_of[state]
        here = state - tables.first_states[population]
        return action < tables.n_actions[population] and local(action, here, member(agent, population), public)

    return allowed


@functools.cache
def union_observe(local: Rule, member: Rule) -> Rule:
    """Make the rule ``observe`` of the union."""

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        tables = public.constants.populations
        population = tables.population_of[state]
        local(out, state - tables.first_states[population], member(agent, population), public)

    return observe


@functools.cache
def step_in_population(local: Rule, member: Rule, reward: Rule, arrival: Rule | None) -> Rule:
    """Make the rule ``step``: one uniform draw against the cumulated transition row of the own population.

    ``local`` is the user's rule ``transition``; ``reward`` and ``arrival`` are those of the union.
    """
    pay = pay_rule(reward, arrival)

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        tables = world.constants.populations
        population = tables.population_of[state]
        first, last = tables.first_states[population], tables.n_states[population] - 1
        own = action if action < tables.n_actions[population] else 0
        draw = uniform(key, 0)
        reached = np.float32(0.0)
        next_state = first
        for candidate in range(last):
            reached += local(candidate, state - first, own, member(agent, population), world)
            next_state += (draw >= reached) & (reached < ALMOST_ONE)
        return next_state, pay(next_state, state, action, agent, world)

    return step
