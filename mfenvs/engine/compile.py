"""Compilation of kernels, with the machine code kept on disk between processes.

A kernel is made in a closure over one game's rules. numba's own disk cache identifies a closure by
pickling the rules, whose pickles differ between processes, so it would never find them again. Here a
kernel is identified by what it consists of (:mod:`mfenvs.engine.fingerprint`): two games with equal rules share
code, and an edited rule is compiled again. The files are those of :mod:`mfenvs.engine.kernel_cache`.
"""

import itertools
import os
import secrets
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba import config
from numba._dispatcher import compute_fingerprint
from numba.core.bytecode import FunctionIdentity

from mfenvs.engine.kernel_cache import KernelCache
from mfenvs.rules import COMPILE_OPTIONS

P = ParamSpec("P")
R = TypeVar("R")


def _number_functions_apart() -> None:
    """Let numba's numbering of compiled functions begin with a number that no other process begins with.

    The number is part of a rule's symbol in the machine code, and counts from 1 in every process. Kernels that
    were compiled in two processes can then have one symbol for two rules (one game's at two sizes, say): a third
    process that loads both then runs one rule in the place of the other.
    """
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))


_number_functions_apart()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_number_functions_apart)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel: a function over arrays that releases the GIL, allocates nothing and is cached on disk."""
    return _cached(function, numba.njit(nogil=True, **COMPILE_OPTIONS))


def checked_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function like :func:`kernel`, with every index checked: for debug mode."""
    return _cached(function, numba.njit(nogil=True, boundscheck=True, **COMPILE_OPTIONS))


def solver(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that may allocate arrays (solvers, not simulation), cached on disk."""
    options: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}
    return _cached(function, numba.njit(nogil=True, **options))


def for_types_of(function: Callable[P, R], *arguments: Any) -> Callable[P, R]:
    """The machine code of a kernel for arguments of the types of these, to be called without looking at types.

    A call of a kernel itself finds out the type of every argument, which takes a microsecond where there are many
    arrays, and may take longer than the kernel. The caller of what this returns must pass arguments of the same
    types: arrays of the same dtype and number of axes, aligned and C-contiguous where these are (they may be
    read-only), and float and int where these are.

    Parameters
    ----------
    function:
        A compiled kernel. If it is not yet compiled for these types, it is now.
    arguments:
        All its arguments, which are not used but for their types.
    """
    if config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
        return function
    dispatcher: Any = function
    known = _machine_code.setdefault(dispatcher, {})
    # numba's own digest of types, by which it finds compiled code too, takes far less time than the types.
    try:
        types = compute_fingerprint(arguments)
    except NotImplementedError:  # numba has no digest of constants of some kinds, and looks at them itself.
        return function
    if types not in known:
        known[types] = dispatcher.compile(tuple(dispatcher.typeof_pyval(argument) for argument in arguments))
    return cast(Callable[P, R], known[types])


_machine_code: weakref.WeakKeyDictionary[Any, dict[bytes, Callable[..., Any]]] = weakref.WeakKeyDictionary()
"""What :func:`for_types_of` found for each kernel."""


def _cached(function: Callable[P, R], compile_: Callable[..., Any]) -> Callable[P, R]:
    if config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
        # Rules are Python functions then: see mfenvs.rules.rule.
        return function
    dispatcher = compile_(function)
    dispatcher._cache = KernelCache(function, dispatcher.targetoptions)
    return cast(Callable[P, R], dispatcher)
