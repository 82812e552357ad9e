"""Random numbers that a rule draws from elsewhere than its key, as its code says."""

import dis
import itertools
import random
import types
from typing import Any

import numpy as np


def foreign_randomness(function: types.FunctionType) -> str:
    """The module of random numbers, other than ours, from which a function draws; nothing if there is none."""
    values = function.__globals__
    if not any(_is_random(values.get(name)) or name == "random" for name in function.__code__.co_names):
        return ""  # Without the search, which would take a tenth of a second for all rules of this package.
    steps = [step for step in dis.get_instructions(function) if step.opname != "CACHE"]
    for step, following in itertools.pairwise(steps):
        value = values.get(step.argval) if step.opname == "LOAD_GLOBAL" else None
        source = _is_random(np.random if value is np and following.argval == "random" else value)
        if source:
            return source
    return ""


def _is_random(value: Any) -> str:
    """The name of the module if a value is one of random numbers, or a function of one; else nothing."""
    for module, generator in ((random, random.Random), (np.random, np.random.RandomState)):
        if value is module or isinstance(getattr(value, "__self__", None), generator):
            return module.__name__
    return ""
