"""When a game's kernels do not compile: say which rule is wrong, and how, in a few lines.

The compiler's own message is about the kernel that reaches the rule, and pages long.
"""

import re
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError

from mfenvs.game import RULE_ARGUMENTS, Game
from mfenvs.rules import World

MESSAGE_LINES = 3
NOISE = re.compile(r"^(Failed in nopython mode|During:|Use of unsupported|For more information|This error)|^\s*$")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

COMPILE_ERRORS = (NumbaError, NotImplementedError, KeyError, TypeError)
"""What numba raises where it cannot compile; KeyError for an unknown field of a record, and TypeError when a
value that may be None turns out to be."""


def explained(game: Game, error: Exception) -> Exception:
    """Find the rule that does not compile by itself.

    Returns
    -------
    A TypeError that names it, or ``error`` if every rule compiles.
    """
    for name, function in _declared_rules(game):
        fields = ", ".join(game.agent_dtype.names or ())
        advice = (
            "Rules take and return numbers, allocate no arrays, and know only their arguments and module-level"
            f" numbers (the game's constants as world.constants). Fields of agent: {fields}."
        )
        try:
            function.compile(tuple(_argument_types(game)[argument] for argument in RULE_ARGUMENTS[name]))
        except KeyError as found:
            return TypeError(f"{type(game).__name__}.{name} reads an unknown field {found}\n{advice}")
        except COMPILE_ERRORS as found:
            return TypeError(f"{type(game).__name__}.{name} does not compile: {_shortened(str(found))}\n{advice}")
        returned = next(reversed(function.overloads.values())).signature.return_type
        gives_none = isinstance(returned, types.NoneType | types.Optional)
        if gives_none and name not in ("observe", "aggregate"):
            return TypeError(f"{type(game).__name__}.{name} must return a value on every path, got None\n{advice}")
    return error


def _declared_rules(game: Game) -> Iterator[tuple[str, Any]]:
    for name in RULE_ARGUMENTS:
        function = getattr(game, name, None)
        if function is not None:
            yield name, function


def _argument_types(game: Game) -> dict[str, Any]:
    """The types with which the simulator calls rules."""
    numbers = np.zeros(1, np.float32)
    share = np.float32(1.0)
    world = World(numbers, numbers, game.constants, 0, 0, share, share, share)
    is_discrete = hasattr(game.action_space, "n")
    return {
        "action": types.int32 if is_discrete else types.Array(types.float32, 1, "C"),
        "agent": numba.from_dtype(game.agent_dtype),
        "elapsed": types.float32,
        "initial": types.Array(types.float32, 1, "C"),
        "key": types.uint32,
        "next_state": types.int64,
        "out": types.Array(types.float32, 1, "C"),
        "signal": types.Array(types.float32, 1, "C"),
        "state": numba.from_dtype(game.state_dtype),
        "world": numba.typeof(world),  # type: ignore[no-untyped-call]
    }


def _shortened(message: str) -> str:
    lines = [line.rstrip() for line in COLOUR.sub("", message).splitlines()]
    return "\n".join([line for line in lines if not NOISE.search(line)][:MESSAGE_LINES])
