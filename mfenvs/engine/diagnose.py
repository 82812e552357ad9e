"""Short error messages, which name the rule and its error, for games whose kernels do not compile.

The compiler's own message is about the kernel that reaches the rule, and pages long.
"""

import re
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.rule_checks import RULE_ARGUMENTS
from mfenvs.rules import Public, World

MESSAGE_LINES = 3
NOISE = re.compile(r"^(Failed in nopython mode|During:|Use of unsupported|For more information|This error)|^\s*$")
UNCOMPILED = re.compile(r"Untyped global name '(\w+)':.*<class 'function'>")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

COMPILE_ERRORS = (NumbaError, NotImplementedError, KeyError, TypeError)
"""Errors that numba raises where it cannot compile; KeyError for an unknown field of a record, and TypeError for
an optional value that is None."""

WRITING_RULES = ("observe", "count", "aggregate", "publish", "account")
"""Rules that return nothing."""
NUMBER_RULES = ("weight", "allowed", "transition", "reward", "arrival", "terminal")
"""Rules that return a number, or whether something holds."""
INDEX_RULES = ("cell", "place")
"""Rules that return an index."""
OF_FINITE_GAMES = ("branch", "transition", "reward", "arrival", "terminal")
"""Rules of which others are made for a finite game: a fault is theirs, and they are looked at first."""


def explained(game: Game, error: Exception) -> Exception:
    """Find the rule that does not compile by itself.

    Returns
    -------
    A TypeError that names the rule, or ``error`` if every rule compiles.
    """
    for name, function in _declared_rules(game):
        fields = ", ".join(game.agent_dtype.names or ())
        constants = getattr(game.constants, "_fields", range(len(game.constants)))
        advice = (
            "Rules take and return numbers, allocate no arrays, and know only their arguments and module-level"
            f" numbers (the game's constants as world.constants). Fields of agent: {fields}. Fields of"
            f" world.constants: {', '.join(map(str, constants)) or 'none'}."
        )
        try:
            function.compile(_argument_types(game, name))
        except KeyError as found:
            return TypeError(f"{type(game).__name__}.{name} reads an unknown field {found}\n{advice}")
        except COMPILE_ERRORS as found:
            called = UNCOMPILED.search(COLOUR.sub("", str(found)))
            hint = f"\nPut @rule on {called[1]}, which it calls." if called else ""
            said = shortened(str(found))
            return TypeError(f"{type(game).__name__}.{name} does not compile: {said}{hint}\n{advice}")
        returned = next(reversed(function.overloads.values())).signature.return_type
        gives_none = isinstance(returned, types.NoneType | types.Optional)
        if gives_none and name not in WRITING_RULES:
            return TypeError(f"{type(game).__name__}.{name} must return a value on every path, got None\n{advice}")
        if name in NUMBER_RULES and not _is_number(returned):
            return TypeError(f"{type(game).__name__}.{name} must return a number, got {returned}\n{advice}")
        if name in INDEX_RULES and not isinstance(returned, types.Integer | types.Boolean):
            return TypeError(f"{type(game).__name__}.{name} must return an integer, got {returned}\n{advice}")
        if name == "branch" and not _is_pair(returned):
            must = "must return the successor and its probability"
            return TypeError(f"{type(game).__name__}.{name} {must}, got {returned}\n{advice}")
    return error


def check_compiles(name: str, function: Any, examples: tuple[Any, ...]) -> None:
    """Check that a rule compiles and returns a value, given examples of its arguments; TypeError if not."""
    arguments = tuple(map(numba.typeof, examples))
    try:
        function.compile(arguments)
    except COMPILE_ERRORS as found:
        raise TypeError(f"{name} does not compile: {shortened(str(found))}") from None
    returned = function.overloads[arguments].signature.return_type
    if not _is_number(returned):
        raise TypeError(f"{name} must return a number on every path, got {returned}")


def _is_number(returned: Any) -> bool:
    """Whether a type that numba infers is a number that can be compared, or a truth value."""
    return isinstance(returned, types.Number | types.Boolean) and not isinstance(returned, types.Complex)


def _is_pair(returned: Any) -> bool:
    """Whether a type that numba infers is a tuple of two numbers."""
    kinds = getattr(returned, "types", ())  # of a tuple's elements
    return len(kinds) == 2 and all(_is_number(kind) for kind in kinds)


def _declared_rules(game: Game) -> Iterator[tuple[str, Any]]:
    for name in dict.fromkeys((*OF_FINITE_GAMES, *RULE_ARGUMENTS)):
        # A rule that the game did not declare is derived from those that it did, or made by a property of its own.
        function = getattr(game, name, None)
        if function is None and not isinstance(game, FiniteGame):
            function = getattr(game.rules, name, None)
        if function is not None:
            yield name, function


def _argument_types(game: Game, name: str) -> tuple[Any, ...]:
    """The types of the arguments with which the simulator calls a rule."""
    numbers = np.zeros(1, np.float32)
    share = np.float32(1.0)
    world = World(numbers, numbers, game.constants, 0, 0, share, share, share)
    is_discrete = hasattr(game.action_space, "n")
    number, vector = types.float32, types.Array(types.float32, 1, "C")
    written = {"account": types.Array(types.float64, 1, "C")}.get(name, vector)
    known = {
        "action": types.int32 if is_discrete else vector,
        "agent": numba.from_dtype(game.agent_dtype),
        "branch": types.int64,
        "constants": numba.typeof(game.constants),  # type: ignore[no-untyped-call]
        "counts": vector,
        "initial": vector,
        "key": types.uint32,
        "mass": number,
        "next_state": types.int64,
        "out": written,
        "public": numba.typeof(Public(numbers, game.constants, 0, share)),  # type: ignore[no-untyped-call]
        "signal": vector,
        "state": numba.from_dtype(game.state_dtype),
        "time": types.int64,
        "world": numba.typeof(world),  # type: ignore[no-untyped-call]
    }
    return tuple(known[argument] for argument in RULE_ARGUMENTS[name])


def shortened(message: str) -> str:
    """The lines of a compiler's message that say what is wrong, and where: of code, the line with the fault."""
    kept: list[str] = []
    for line in COLOUR.sub("", message).splitlines():
        if line.strip() == "^":  # Below the line with the fault, which follows others since the file's name.
            begun = next((i for i, earlier in enumerate(kept) if earlier.startswith("File ")), len(kept))
            kept[begun + 1 : -1] = []
        elif not NOISE.search(line):
            kept.append(line.rstrip())
    return "\n".join(kept[:MESSAGE_LINES])
