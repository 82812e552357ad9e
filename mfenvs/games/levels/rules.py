"""Rules of games of levels: the same ones for levels on a grid and for continuous levels.

An agent's state has d components, each with a level: a number x in [0, 1], or on a grid a cell s in 0..top, which
stands for x = s / top. A game says how components move and what they earn by two rules:

``rise(component, action, mean, constants) -> float``
    How far the level can go up in a step, as a share of the way to the top: x' = x + (1 - x) rise w with w uniform
    on [0, 1]. With :data:`FALLS` the level goes to 0.
``component_reward(component, level, action, mean, constants) -> float``
    The reward for a component, of which an agent's reward is the sum.

``mean`` is the mean level <z> of the component in the population, all agents included.

On a grid the next cell is floor(s + (top - s) rise w + offset), at most ``top``. An ``offset`` of 1/2 takes the
nearest cell; 1 takes one that is strictly above s.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from mfenvs.engine.layout import rule_from
from mfenvs.engine.random import uniform
from mfenvs.game import Rule
from mfenvs.rules import crowd, rule

ZERO, ONE = np.float32(0.0), np.float32(1.0)
FALLS = np.float32(-1.0)
"""What ``rise`` returns for a component whose level goes to 0."""


class LevelRules(NamedTuple):
    """The rules of a game of levels."""

    start: Rule
    step: Rule
    observe: Rule
    count: Rule
    place: Rule
    reward: Rule


@rule
def moved_level(level: Any, share: Any, draw: Any) -> Any:
    """The next level in [0, 1], from a uniform draw."""
    return ZERO if share < ZERO else min(level + (ONE - level) * share * draw, ONE)


@functools.cache
def moved_cell(offset: np.float32) -> Rule:
    """Make the rule of the next cell of a grid, from a uniform draw."""

    @rule
    def moved(cell: Any, share: Any, draw: Any, top: Any) -> Any:
        rise = np.int32((top - cell) * share * draw + offset)
        return np.int32(0) if share < ZERO else min(np.int32(cell) + rise, np.int32(top))

    return moved


@functools.cache
def chance_of_cell(offset: np.float32) -> Rule:
    """Make the rule of the law of the next cell: of the draws w in [0, 1], the part that leads to it."""

    @rule
    def chance(next_cell: Any, cell: Any, share: Any, top: Any) -> Any:
        length = (top - cell) * share
        if length <= 0:
            goal = cell if share >= ZERO else cell * 0
            return length * 0 + (1 if next_cell == goal else 0)
        low = max(next_cell - cell - offset, length * 0)
        high = min(next_cell - cell - offset + 1, length)
        return max(high - low, length * 0) / length

    return chance


def _of_all_components(function: Rule, n_components: int, arguments: str) -> Rule:
    """Make the rule that returns the tuple of function(c, arguments) over all components c."""
    values = "".join(f"function({c}, {arguments}), " for c in range(n_components))
    return rule_from(
        f"def all_components({arguments}):\n    return ({values})", "all_components", function=function
    )


class Form(NamedTuple):
    """How a state holds the levels of its components."""

    read: Rule
    """(state, n_levels) -> what the state holds of every component, a tuple."""
    unit: Rule
    """(held, top) -> the level in [0, 1]."""
    first: Rule
    """(draw, n_levels) -> the first level, uniform."""
    moved: Rule
    """(held, share, draw, top) -> the next one."""
    pack: Rule
    """(tuple, n_levels) -> the state."""
    place: Rule


@functools.cache
def grid_form(n_components: int, offset: np.float32) -> Form:
    """States that are numbers: sum_c s_c n_levels^c of the cells s_c."""

    @rule
    def cell_of(component: Any, state: Any, n_levels: Any) -> Any:
        # Without a sign, division is faster.
        rest, base = np.uint32(state), np.uint32(n_levels)
        for _ in range(component):
            rest = np.uint32(rest // base)
        return np.int32(rest % base)

    @rule
    def only_cell(component: Any, state: Any, n_levels: Any) -> Any:
        return state

    @rule
    def unit(cell: Any, top: Any) -> Any:
        return cell / top

    @rule
    def first(draw: Any, n_levels: Any) -> Any:
        return min(np.int32(draw * n_levels), np.int32(n_levels) - 1)

    @rule
    def pack(cells: Any, n_levels: Any) -> Any:
        state, factor = cells[0] * 1, 1
        for component in range(1, n_components):
            factor *= n_levels
            state += cells[component] * factor
        return state

    @rule
    def place(state: Any) -> Any:
        return state

    read = _of_all_components(only_cell if n_components == 1 else cell_of, n_components, "state, n_levels")
    return Form(read, unit, first, moved_cell(offset), pack, place)


@functools.cache
def continuous_form(n_components: int, n_bins: int) -> Form:
    """States that are levels: a number, or a record of one for every component."""

    @rule
    def unit(level: Any, top: Any) -> Any:
        return level

    @rule
    def first(draw: Any, n_levels: Any) -> Any:
        return draw

    @rule
    def moved(level: Any, share: Any, draw: Any, top: Any) -> Any:
        return moved_level(level, share, draw)

    @rule
    def the_only(levels: Any, n_levels: Any) -> Any:
        return levels[0]

    @rule
    def as_record(levels: Any, n_levels: Any) -> Any:
        return levels

    fields = ["state"] if n_components == 1 else [f"state.{name}" for name in level_names(n_components)]
    read = rule_from(
        f"def read(state, n_levels):\n    return ({''.join(f'{field}, ' for field in fields)})", "read"
    )

    @rule
    def place(state: Any) -> Any:
        levels = read(state, 0)
        found, factor = 0, 1
        for component in range(n_components):
            found += min(int(levels[component] * n_bins), n_bins - 1) * factor
            factor *= n_bins
        return found

    return Form(read, unit, first, moved, the_only if n_components == 1 else as_record, place)


def level_names(n_components: int) -> tuple[str, ...]:
    """The fields of a record of levels.

    They bear the number of components: numba takes a record for another one that has some more fields.
    """
    return tuple(f"level_{component}_of_{n_components}" for component in range(n_components))


@functools.cache
def level_rules(form: Form, rise: Rule, component_reward: Rule, n_components: int, shows_time: bool) -> LevelRules:
    """The rules of a game of levels whose states have this form."""
    read, unit = form.read, form.unit
    first, moved, pack = form.first, form.moved, form.pack

    @rule
    def first_of(component: Any, key: Any, n_levels: Any) -> Any:
        return first(uniform(key, component), n_levels)

    @rule
    def next_of(component: Any, held: Any, action: Any, world: Any, key: Any) -> Any:
        constants = world.constants
        share = rise(component, action, crowd(world, component), constants)
        return moved(held[component], share, uniform(key, component), constants.top)

    first_of_all = _of_all_components(first_of, n_components, "key, n_levels")
    next_of_all = _of_all_components(next_of, n_components, "held, action, world, key")

    @rule
    def start(agent: Any, initial: Any, key: Any) -> Any:
        n_levels = np.int32(initial[0])
        return pack(first_of_all(key, n_levels), n_levels)

    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        constants, total = world.constants, world.per_agent * 0
        held = read(state, constants.n_levels)
        for component in range(n_components):
            level = unit(held[component], constants.top)
            total += component_reward(component, level, action, crowd(world, component), constants)
        return total

    @rule
    def step(state: Any, action: Any, agent: Any, world: Any, key: Any) -> Any:
        n_levels = world.constants.n_levels
        after = next_of_all(read(state, n_levels), action, world, key)
        return pack(after, n_levels), reward(state, action, agent, world)

    @rule
    def observe(out: Any, state: Any, agent: Any, public: Any) -> None:
        held = read(state, public.constants.n_levels)
        for component in range(n_components):
            out[component] = unit(held[component], public.constants.top)
        if shows_time:
            out[n_components] = public.elapsed

    @rule
    def count(counts: Any, mass: Any, state: Any, action: Any, agent: Any, world: Any) -> None:
        held = read(state, world.constants.n_levels)
        for component in range(n_components):
            counts[component] += mass * unit(held[component], world.constants.top)

    return LevelRules(start, step, observe, count, form.place, reward)


@functools.cache
def law_of_cells(form: Form, rise: Rule, n_components: int, offset: np.float32) -> Rule:
    """Make the rule ``transition`` of a game of levels on a grid."""
    read, chance = form.read, chance_of_cell(offset)

    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        constants, total = world.constants, world.per_agent * 0 + 1
        cells, goals = read(state, constants.n_levels), read(next_state, constants.n_levels)
        for component in range(n_components):
            share = rise(component, action, crowd(world, component), constants)
            total *= chance(goals[component], cells[component], share, constants.top)
        return total

    return transition
