"""Compilation of kernels, with the machine code kept on disk between processes.

A kernel is made in a closure over one game's rules. numba's own disk cache identifies a closure by
pickling the rules, whose pickles differ between processes, so it would never find them again. Here a
kernel is identified by what it consists of: the byte code and constants of its function and of every
rule and number that it reaches. Two games with equal rules share code; an edited rule is recompiled.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import secrets
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

from mfenvs.rules import COMPILE_OPTIONS

LIBRARIES = ("math", "numpy", "numba")
"""Modules whose contents are told by their names."""

CACHE_FORMAT = "3"
"""Part of every kept file's name: files of another format are not found."""

P = ParamSpec("P")
R = TypeVar("R")


def _number_functions_apart() -> None:
    """Let numba number the functions that it compiles from a number that no other process begins with.

    The number is part of a rule's symbol in the machine code, and counts from 1 in every process. Kernels that
    were compiled in two processes can then have one symbol for two rules (one game's at two sizes, say): a third
    process that loads both then runs one rule in the place of the other.
    """
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))


_number_functions_apart()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_number_functions_apart)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function over arrays that releases the GIL, allocates nothing and is cached on disk."""
    return _cached(function, numba.njit(nogil=True, **COMPILE_OPTIONS))


def checked_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function like :func:`kernel`, with every index checked: for debug mode."""
    return _cached(function, numba.njit(nogil=True, boundscheck=True, **COMPILE_OPTIONS))


def solver(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that may allocate arrays (solvers, not simulation), cached on disk."""
    return _cached(function, numba.njit(nogil=True, error_model="numpy"))


def _cached(function: Callable[P, R], compile_: Callable[..., Any]) -> Callable[P, R]:
    dispatcher = compile_(function)
    # Without a directory to write to, everything works, and is compiled in every process.
    with contextlib.suppress(RuntimeError):
        bounds = numba.config.BOUNDSCHECK  # type: ignore[attr-defined]
        options = [*sorted(dispatcher.targetoptions.items()), ("NUMBA_BOUNDSCHECK", bounds)]
        dispatcher._cache = _ContentCache(function, options)
    return cast(Callable[P, R], dispatcher)


class _ContentCache(FunctionCache):
    """numba's function cache with the kernel's content in the place of its closure's pickle.

    Raises
    ------
    RuntimeError
        If there is no directory in which numba may write.
    """

    def __init__(self, function: Callable[..., Any], options: list[tuple[str, Any]]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        stem = f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
        self._cache_file = _OneFilePerKey(self._cache_path, stem, None)  # type: ignore[no-untyped-call]
        self._function, self._options = function, options

    @functools.cached_property
    def _fingerprint(self) -> str | None:
        """What the code consists of; None if that cannot be told, and then nothing is kept.

        Taken when the code is first needed: when a function is decorated, those that stand below it in its module
        are not there yet.
        """
        return _fingerprint(self._function)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kept code for these argument types, or None."""
        if self._fingerprint is None:
            return None
        code = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        # A class of the main script (a named tuple of constants, say) is another class in every process. Code
        # for the other one would not answer this call, and would be read from disk again in every step.
        return code if code is None or code.signature.args == tuple(sig) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code."""
        if self._fingerprint is not None:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return signature, codegen.magic_tuple(), f"{self._fingerprint} {self._options}"


class _OneFilePerKey(IndexDataCacheFile):
    """Files of machine code, named by what they were compiled from.

    numba numbers its files and keeps an index of the numbers; two processes that compile at the same time can
    give one number to two kernels, and a third process then runs the wrong code. (In a kernel made in a closure
    all games would share one index: this is what parallel test runs did.) Here a name belongs to one content;
    files are written beside their place and renamed into it.
    """

    def load(self, key: tuple[Any, ...]) -> Any:
        """The compiled code under a key, or None."""
        try:
            return self._load_data(self._file_name(key))  # type: ignore[no-untyped-call]
        except (FileNotFoundError, ImportError):
            # Code names the module whose rules it was compiled from, which may be none that this process can
            # import: a notebook's, a test's, another script's.
            return None

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        """Keep compiled code."""
        self._save_data(self._file_name(key), data)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Leave the files alone: other processes may be using them, and none can be stale."""

    def _file_name(self, key: tuple[Any, ...]) -> str:
        signature, target, fingerprint = key
        parts = (CACHE_FORMAT, numba.__version__, sys.version, str(signature), repr(target), fingerprint)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        stem: str = self._index_name.removesuffix(".nbi")
        return f"{stem}-{digest[:32]}.nbc"


class _UnknownContentError(Exception):
    """The function reaches an object whose content cannot be told: it is not cached on disk."""


def _fingerprint(function: Callable[..., Any]) -> str | None:
    digest = hashlib.sha256()
    try:
        for part in _content(function, {}):
            digest.update(part.encode())
            digest.update(b"\0")
    except _UnknownContentError:
        return None
    return digest.hexdigest()


def _content(value: Any, seen: dict[int, int]) -> Iterator[str]:
    """The parts of ``value`` on which generated code depends, as text, in a fixed order."""
    if isinstance(value, Dispatcher):
        value = value.py_func
    if isinstance(value, types.FunctionType):
        if id(value) in seen:
            yield f"again:{seen[id(value)]}"
            return
        seen[id(value)] = len(seen)
        yield from _code_content(value.__code__, value.__globals__, seen)
        yield from _content(value.__defaults__, seen)
        for cell in value.__closure__ or ():
            yield from _content(cell.cell_contents, seen)
    elif value is None or isinstance(value, bool | int | float | str | np.generic | np.dtype):
        yield f"{type(value).__name__}:{value!r}"
    elif isinstance(value, tuple):
        yield f"tuple:{len(value)}"
        for item in value:
            yield from _content(item, seen)
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType | type | np.ufunc):
        name = getattr(value, "__qualname__", value.__name__)
        yield f"{getattr(value, '__module__', '')}.{name}:{getattr(value, '_fields', '')}"
    elif type(value).__module__.partition(".")[0] == "numba":
        yield f"numba:{value!r}"
    else:
        raise _UnknownContentError(repr(value))


def _code_content(code: types.CodeType, scope: dict[str, Any], seen: dict[int, int]) -> Iterator[str]:
    yield code.co_code.hex()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_content(constant, scope, seen)
        else:
            yield repr(constant)
    for name in code.co_names:
        yield name
        if name in scope:
            yield from _content(scope[name], seen)
            for attribute in _attributes(scope[name], code.co_names, []):
                yield from _content(attribute, seen)


def _attributes(module: Any, names: tuple[str, ...], within: list[Any]) -> Iterator[Any]:
    """What code may read of a module of a user's (``module.NAME``): what it has under the code's names."""
    is_module = isinstance(module, types.ModuleType) and module not in within
    if is_module and module.__name__.partition(".")[0] not in LIBRARIES:
        for name in names:
            if name in vars(module):
                yield vars(module)[name]
                yield from _attributes(vars(module)[name], names, [*within, module])
