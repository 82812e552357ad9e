"""Rules compiled once more with every index checked, which debug mode runs beside the engine's own.

A rule and all rules that it calls are compiled again, with the compiler's own check that an index is within its
array, and with a :func:`share` and a :func:`crowd` that refuse cells which do not exist. (For the compiler -1 is
the last element.)
"""

import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core.dispatcher import Dispatcher

from mfenvs.game import Rules
from mfenvs.rules import COMPILE_OPTIONS, World, crowd, plain, rule, share

NO_SUCH_CELL = "asked share or crowd for a cell that is not in [0, n_cells)"


@rule
def _share(world: World, cell: Any) -> Any:
    if cell < 0 or cell >= len(world.counts):
        raise IndexError(NO_SUCH_CELL)
    own = world.own_weight if cell == world.own_cell else world.own_weight * 0
    return (world.counts[cell] - own) * world.per_other


@rule
def _crowd(world: World, cell: Any) -> Any:
    if cell < 0 or cell >= len(world.counts):
        raise IndexError(NO_SUCH_CELL)
    return world.counts[cell] * world.per_agent


_CHECKED: dict[Any, Any] = {share: _share, crowd: _crowd}
"""The checked counterpart of :func:`share` and :func:`crowd`, by the original rule."""


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
        original = plain(function)
        scope = dict(original.__globals__)
        for name in _names(original.__code__):
            if name in scope:
                scope[name] = _checked_value(scope[name], original.__code__)
        cells = tuple(
            types.CellType(_checked_value(cell.cell_contents, original.__code__))
            for cell in original.__closure__ or ()
        )
        copy = types.FunctionType(original.__code__, scope, original.__name__, original.__defaults__, cells)
        copy.__kwdefaults__ = original.__kwdefaults__
        copy.__module__, copy.__qualname__ = original.__module__, original.__qualname__
        _CHECKED[function] = numba.njit(boundscheck=True, **COMPILE_OPTIONS)(copy)
    return _CHECKED[function]  # type: ignore[no-any-return]


def _checked_value(value: Any, code: types.CodeType, within: tuple[types.ModuleType, ...] = ()) -> Any:
    """The value of a name in a rule's code, with rules, and rules within a module, replaced by checked ones."""
    if isinstance(value, Dispatcher):
        return checked(value)
    if not isinstance(value, types.ModuleType) or value in within:
        return value
    own = {name: vars(value)[name] for name in _names(code) if name in vars(value)}
    found = {name: _checked_value(item, code, (*within, value)) for name, item in own.items()}
    if all(found[name] is item for name, item in own.items()):
        return value
    module = types.ModuleType(value.__name__)
    vars(module).update(vars(value) | found)
    return module


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
