"""What a rule reads of its arguments, as its code says."""

import dis
from collections.abc import Callable
from typing import Any

from mfenvs.rules import plain

FIXED = ("constants",)
"""Fields of a world that are the same in all populations and at all times."""


def reads_population(function: Callable[..., Any]) -> bool:
    """Whether a rule, whose last argument is a world, may depend on the population or the time.

    It does not if its code uses the world as ``world.constants`` only. A rule that hands its world on to another
    one counts as dependent.
    """
    code = plain(function).__code__
    name = code.co_varnames[code.co_argcount - 1]
    if name in code.co_cellvars:
        return True
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        # Newer versions of Python load two variables by one instruction, whose value is then both names.
        named = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if name not in named:
            continue
        is_load = step.opname.startswith("LOAD_FAST") and named[-1] == name and named.count(name) == 1
        reads = following is not None and following.opname == "LOAD_ATTR" and following.argval in FIXED
        if not (is_load and reads):
            return True
    return False
