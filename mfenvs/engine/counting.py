"""Rules that count the agents of a world by the game's rules ``cell`` and ``weight``, or ``count``.

Counts are kept in single precision. Sums of weights are not accumulated in it: among 10^7 agents of weight .7,
each addition in single precision is rounded by up to a half, always in the same direction. Weights are therefore
added up in double precision, in an array of their own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32, float64, int32
from numpy.typing import NDArray

from mfenvs.engine.layout import Layout, rule_from
from mfenvs.game import Rules
from mfenvs.rules import rule

SMALL_CELL_COUNT = 16
"""Up to this many cells agents are counted in one vectorised pass; with more cells by scattered increments."""


SMALL_SUM_COUNT = 4
"""Up to this many cells weights are added up in variables; with more cells in an array."""


def new_sums(rules: Rules, n_worlds: int, n_cells: int) -> NDArray[np.float64]:
    """The array in which weights are added up, shape (n_worlds, n_cells), or (n_worlds, 0) without weights."""
    has_weights = rules.weight is not None or rules.count is not None
    return np.zeros((n_worlds, n_cells if has_weights else 0))


def count_rule(rules: Rules, layout: Layout) -> Callable[..., Any]:
    """Make the rule that counts all agents of a world into ``world.counts``.

    Called as ``count(states, actions, agents, world, sums)``, with a row of :func:`new_sums`; in double precision
    ``sums`` may be ``world.counts`` itself.
    """
    cell, weight, add, n_cells = rules.cell, rules.weight, rules.count, layout.n_cells
    if add is not None:

        @rule
        def count_added(states: Any, actions: Any, agents: Any, world: Any, sums: Any) -> None:
            sums[:] = 0
            for i in range(len(states)):
                add(sums, float32(1.0), states[i], actions[i], agents[i], world)
            for c in range(len(sums)):
                world.counts[c] = sums[c]

        return count_added
    assert cell is not None
    cells = range(n_cells)
    if weight is not None:
        if n_cells <= SMALL_SUM_COUNT:
            # Sums in variables wait for the last addition alone, and not for memory too.
            source = "\n".join(
                [
                    "def add_in_variables(states, actions, agents, world, sums):",
                    *(f"    sum_{c} = 0.0" for c in cells),
                    "    for i in range(len(states)):",
                    "        place = cell(states[i], actions[i], agents[i])",
                    "        mass = float64(weight(states[i], actions[i], agents[i]))",
                    *(f"        sum_{c} += mass if place == {c} else 0.0" for c in cells),
                    *(f"    sums[{c}] = sum_{c}" for c in cells),
                    *(f"    world.counts[{c}] = sum_{c}" for c in cells),
                ]
            )
            return rule_from(source, "add_in_variables", cell=cell, weight=weight, float64=float64)

        @rule
        def count_weights(states: Any, actions: Any, agents: Any, world: Any, sums: Any) -> None:
            sums[:] = 0
            for i in range(len(states)):
                place = cell(states[i], actions[i], agents[i])
                sums[place] += weight(states[i], actions[i], agents[i])
            for c in range(len(sums)):
                world.counts[c] = sums[c]

        return count_weights
    if n_cells > SMALL_CELL_COUNT:

        @rule
        def count_scattered(states: Any, actions: Any, agents: Any, world: Any, sums: Any) -> None:
            world.counts[:] = 0
            for i in range(len(states)):
                world.counts[cell(states[i], actions[i], agents[i])] += 1

        return count_scattered

    # One sum per cell, each a variable of its own: a single pass that vectorises. As a loop over the cells
    # around the loop over the agents it takes three times as long.
    source = "\n".join(
        [
            "def count_in_variables(states, actions, agents, world, sums):",
            *(f"    sum_{c} = int32(0)" for c in cells),
            "    for i in range(len(states)):",
            "        place = int32(cell(states[i], actions[i], agents[i]))",
            *(f"        sum_{c} += int32(place == {c})" for c in cells),
            *(f"    world.counts[{c}] = sum_{c}" for c in cells),
        ]
    )
    return rule_from(source, "count_in_variables", cell=cell, int32=int32)


def own_count_rules(rules: Rules) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two rules: the cell in which an agent is counted, and the weight with which it is.

    In a game that counts by a rule ``count``, an agent has no single cell: the rules return -1 and 0.
    """
    if rules.count is not None:
        return _in_no_cell, _weightless
    assert rules.cell is not None
    return rules.cell, rules.weight or _one


@rule
def _in_no_cell(state: Any, action: Any, agent: Any) -> Any:
    return -1


@rule
def _weightless(state: Any, action: Any, agent: Any) -> Any:
    return float32(0.0)


@rule
def _one(state: Any, action: Any, agent: Any) -> Any:
    return float32(1.0)


@rule
def no_aggregate(world: Any, signal: Any) -> None:
    """The aggregate of a game whose rules read the counts themselves."""
