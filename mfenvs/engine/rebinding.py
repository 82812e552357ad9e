"""Copies of rules in which the rules that they call are replaced by others."""

import types
from collections.abc import Callable, Iterator
from typing import Any

from numba.core.dispatcher import Dispatcher

from mfenvs.rules import plain

Replacement = Callable[[Callable[..., Any]], Callable[..., Any]]


def rebound(function: Callable[..., Any], replacement: Replacement) -> Callable[..., Any]:
    """A copy of a rule's Python function that calls replacements of the rules that the original calls.

    Parameters
    ----------
    function:
        A rule, or a plain Python function.
    replacement:
        A function that returns what is called in the place of a rule.

    Returns
    -------
    The copy. Rules are replaced where the original finds them: among its module's names, in its closure, and in
    modules that it names.
    """
    original = plain(function)
    scope = dict(original.__globals__)
    for name in _names(original.__code__):
        if name in scope:
            scope[name] = _replaced(scope[name], original.__code__, replacement)
    cells = tuple(
        types.CellType(_replaced(cell.cell_contents, original.__code__, replacement))
        for cell in original.__closure__ or ()
    )
    copy = types.FunctionType(original.__code__, scope, original.__name__, original.__defaults__, cells)
    copy.__kwdefaults__ = original.__kwdefaults__
    copy.__module__, copy.__qualname__ = original.__module__, original.__qualname__
    return copy


def _replaced(
    value: Any, code: types.CodeType, replacement: Replacement, within: tuple[types.ModuleType, ...] = ()
) -> Any:
    """The value of a name in a rule's code, with rules, and rules within a module, replaced."""
    if isinstance(value, Dispatcher):
        return replacement(value)
    if not isinstance(value, types.ModuleType) or value in within:
        return value
    own = {name: vars(value)[name] for name in _names(code) if name in vars(value)}
    found = {name: _replaced(item, code, replacement, (*within, value)) for name, item in own.items()}
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
