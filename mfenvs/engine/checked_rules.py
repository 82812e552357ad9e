"""Rules compiled once more with every index checked, which debug mode runs beside the engine's own.

A rule and all rules that it calls are compiled again, with the compiler's own check that an index is within its
array, and with a :func:`share` and a :func:`crowd` that refuse cells which do not exist. (For the compiler -1 is
the last element.)
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numba

from mfenvs.engine.rebinding import rebound
from mfenvs.game import Rules
from mfenvs.rules import COMPILE_OPTIONS, World, crowd, rule, share

NO_SUCH_CELL = "asked share or crowd for a cell that is not in [0, n_cells)"


@rule
def share_of_existing_cells(world: World, cell: Any) -> Any:
    """Do what :func:`share` does; IndexError if there is no such cell."""
    if cell < 0 or cell >= len(world.counts):
        raise IndexError(NO_SUCH_CELL)
    own = world.own_weight if cell == world.own_cell else world.own_weight * 0
    return (world.counts[cell] - own) * world.per_other


@rule
def crowd_of_existing_cells(world: World, cell: Any) -> Any:
    """Do what :func:`crowd` does; IndexError if there is no such cell."""
    if cell < 0 or cell >= len(world.counts):
        raise IndexError(NO_SUCH_CELL)
    return world.counts[cell] * world.per_agent


OF_EXISTING_CELLS: dict[Any, Any] = {share: share_of_existing_cells, crowd: crowd_of_existing_cells}
"""The checked counterpart of :func:`share` and :func:`crowd`, by the original rule."""
_CHECKED = dict(OF_EXISTING_CELLS)
"""Those of all rules that have been compiled with checks."""


def checked_rules(rules: Rules) -> Rules:
    """All rules of a game, compiled with every index checked."""
    declared = {field.name: getattr(rules, field.name) for field in dataclasses.fields(rules)}
    return Rules(**{name: function and checked(function) for name, function in declared.items()})


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a rule, and the rules that it calls, with every index checked.

    Returns
    -------
    A rule that raises IndexError where the original reads or writes outside of an array.
    """
    if function not in _CHECKED:
        _CHECKED[function] = numba.njit(boundscheck=True, **COMPILE_OPTIONS)(rebound(function, checked))
    return _CHECKED[function]  # type: ignore[no-any-return]
