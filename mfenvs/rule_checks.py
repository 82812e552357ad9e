"""Checks of a game's declarations: the rules that are there, their arguments, and rules that need each other."""

import dataclasses
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import gymnasium
import numba

from mfenvs import checks
from mfenvs.rules import plain

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
    "branch": ("branch", "state", "action", "agent", "world"),
    "reward": ("state", "action", "agent", "world"),
    "arrival": ("next_state", "state", "action", "agent", "world"),
    "terminal": ("state", "agent", "world"),
}
"""Names of the arguments with which each rule is called."""

NEARLY = 0.9
"""Similarity, as of difflib, from which on a name is taken for another one that is misspelt."""

OPTIONAL_RULES = ("cell", "weight", "count", "aggregate", "publish", "place", "allowed", "account", "met")


def is_of_this_package(kind: type) -> bool:
    """Whether a class is one of mfenvs, whose tests check its games, and not its user's."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def check_rule(game: Any, name: str) -> None:
    """Check that a game declares a rule, and that the rule takes its arguments; TypeError if not."""
    function = getattr(game, name, None)
    if function is None:
        raise TypeError(f"{type(game).__name__} must declare the rule {_call(name)}")
    check_arguments(game, name, function)


def check_arguments(
    game: Any, name: str, function: Callable[..., Any], arguments: tuple[str, ...] | None = None
) -> None:
    """Check that a rule is compiled and takes the arguments with which it is called; TypeError if not.

    ``arguments`` are the names of those, by default what :data:`RULE_ARGUMENTS` says.
    """
    kind, expected = type(game).__name__, arguments or RULE_ARGUMENTS[name]
    call = f"{name}({', '.join(expected)})"
    if not hasattr(function, "py_func"):
        raise TypeError(f"{kind}.{name} must be compiled: put @rule on it")
    found = list(inspect.signature(plain(function)).parameters)
    if len(found) != len(expected):
        raise TypeError(f"{kind}.{name} must take {call}, got {name}({', '.join(found)})")
    for position, argument in enumerate(found):
        if argument in expected and expected.index(argument) != position:
            raise TypeError(
                f"{kind}.{name} is called as {call}: its arguments ({', '.join(found)}) are in another order"
            )


def check_is_dataclass(kind: type) -> None:
    """Check that a class which annotates constants is a dataclass; TypeError if not, as they would be ignored."""
    if "__dataclass_fields__" in vars(kind):
        return
    for name, annotation in inspect.get_annotations(kind).items():
        if "ClassVar" not in str(annotation):
            raise TypeError(
                f"put @dataclasses.dataclass(kw_only=True) on {kind.__name__}: it declares the constant {name}"
            )


def check_names(game: Any) -> None:
    """Refuse attributes of a user's class whose names are nearly those of rules or declarations that it lacks.

    Raises
    ------
    TypeError
        If there is one: as it is called, nobody would ask for it. The message names both.
    """
    kinds = type(game).__mro__
    own = list(itertools.takewhile(lambda kind: not is_of_this_package(kind), kinds))
    if not own:
        return
    base = kinds[len(own)]
    declared = {name: value for kind in reversed(own) for name, value in vars(kind).items()}
    known = {name for name in dir(base) if not name.startswith("_")}.union(RULE_ARGUMENTS)
    constants = {field.name for field in dataclasses.fields(game)}
    for name, value in declared.items():
        if name.startswith("_") or name in known or name in constants:
            continue
        is_rule = hasattr(getattr(value, "__func__", value), "py_func")
        missing = [k for k in sorted(known) if (k in RULE_ARGUMENTS) == is_rule and k not in declared]
        near = checks.nearest(name, missing, NEARLY)
        if near:
            raise TypeError(
                f"{type(game).__name__} declares {name}, which no game has: did you mean {near}? (If not, give"
                " it another name, or one that begins with an underscore.)"
            )


def check_constants(game: Any) -> None:
    """Check that compiled rules can take what they get as ``world.constants``; TypeError if not."""
    constants = game.constants
    must = f"{type(game).__name__}.constants must be a (named) tuple of numbers and arrays"
    if not isinstance(constants, tuple):
        raise TypeError(f"{must}, got {checks.shown(constants)}")
    for name, value in zip(getattr(constants, "_fields", range(len(constants))), constants, strict=True):
        if not _compiles(value):
            raise TypeError(f"{must}, got {checks.shown(value)} as {name}")


def _compiles(value: Any) -> bool:
    """Whether compiled rules can take a constant: a number, an array, or a tuple of such."""
    if isinstance(value, tuple):
        return all(map(_compiles, value))
    try:
        numba.typeof(value)  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return not isinstance(value, list | set)


def check_optional_rules(game: Any) -> None:
    """Check the optional rules that a game declares, and the declarations that they need.

    Raises
    ------
    TypeError
        If a rule takes other arguments than it is called with, or needs a declaration that is missing.
    ValueError
        If an entry of ``reported`` or a place of ``regions`` is out of range.
    """
    kind, rules = type(game).__name__, game.rules
    for name in OPTIONAL_RULES:
        if getattr(rules, name) is not None:
            check_arguments(game, name, getattr(rules, name))
    for name in ("cell", "weight"):
        if rules.count is not None and getattr(rules, name) is not None:
            raise TypeError(f"{kind} must count agents by the rule count or by {name}, not by both")
    for name in ("aggregate", "publish"):
        if getattr(rules, name) is not None and game.n_signals < 1:
            raise TypeError(f"{kind} must declare n_signals, the length of what {name} writes")
    if (rules.account is not None) != bool(game.account_names):
        raise TypeError(f"{kind} must declare account_names and the rule account together")
    if rules.allowed is not None and not isinstance(game.action_space, gymnasium.spaces.Discrete):
        raise TypeError(f"{kind} has a rule allowed, which is for discrete actions, got {game.action_space}")
    for name, entry in game.reported.items():
        checks.integer(f"the entry of the signal that is reported as {name!r}", entry, 0, game.n_signals - 1)
    if rules.place is not None and game.n_places < 1:
        raise TypeError(f"{kind} must declare n_places, the number of values of place")
    if game.regions and game.n_places < 1:
        raise TypeError(f"{kind} has regions and must declare the rule place(state)")
    for name, places in game.regions.items():
        for place in places:
            checks.integer(f"a place of region {name!r}", place, 0, game.n_places - 1)


def _call(name: str) -> str:
    return f"{name}({', '.join(RULE_ARGUMENTS[name])})"
