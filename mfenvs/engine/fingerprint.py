"""Fingerprints: digests of everything on which a function's machine code depends.

Machine code is kept on disk under the fingerprint of what it was compiled from: byte code, constants, and the
content of whatever they reach (rules, numbers, the fields of named tuples and records, the members of
enumerations, the implementations behind ``numba.extending.overload``), and the types of the arguments. Functions
with equal fingerprints have equal machine code. A function that reaches an object whose content cannot be
determined has no fingerprint, and is compiled in every process.
"""

import enum
import hashlib
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numba.core.extending
import numpy as np
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.typing.templates import builtin_registry
from numba.np.ufunc.dufunc import DUFunc

# Parts of numba that declare no types.
numba_types: Any = numba.types
Intrinsic: Any = numba.core.extending._Intrinsic

LIBRARIES = frozenset(
    ("_operator", "builtins", "cmath", "enum", "llvmlite", "math", "numba", "numpy", "operator", "typing")
)
"""Packages whose content is determined by their names, since their versions are part of every file's name."""

SCALARS = (bool, int, float, complex, str, bytes)

PLAIN_TYPES = (
    numba_types.Boolean,
    numba_types.Number,
    numba_types.NoneType,
    numba_types.UnicodeType,
    numba_types.NumberClass,
    numba_types.NPDatetime,
    numba_types.NPTimedelta,
)
"""Numba's types that are described in full by their names."""


LIBRARY_OBJECTS = (type, types.BuiltinFunctionType, type(np.clip))
"""Kinds of objects, besides Python functions and ufuncs, that compiled code may take from a library by name."""


class UnknownContentError(Exception):
    """A function reaches an object whose content cannot be determined."""


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest of everything of which the code of a function consists.

    Raises
    ------
    UnknownContentError
        If the function reaches an object whose content cannot be determined.
    """
    original: Any = getattr(function, "py_func", function)
    return _Reader().function(original)


def types_fingerprint(argument_types: tuple[Any, ...]) -> str:
    """A digest of everything in the types of arguments on which compiled code depends.

    Raises
    ------
    UnknownContentError
        If the content of a type cannot be determined.
    """
    reader = _Reader()
    return _digest(part for argument in argument_types for part in reader.type(argument))


class CompilationRecord(NullCache):
    """A record of the contents from which a function was compiled, in the place of numba's cache on disk.

    Numba freezes global numbers when it compiles. If a rule's numbers have changed since, its compiled code no
    longer matches its content, and code that contains it must not be kept.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.compiled_from: set[str | None] = set()

    def load_overload(self, sig: Any, target_context: Any) -> None:
        """Record the content of the function, which is about to be compiled."""
        try:
            self.compiled_from.add(fingerprint(self._function))
        except UnknownContentError:
            self.compiled_from.add(None)


class _Reader:
    """A reader of the content of objects; functions that are reached twice are read once."""

    def __init__(self) -> None:
        self._finished: dict[int, str] = {}
        self._open: dict[int, int] = {}
        """Depth of the functions that are being read."""
        self._lowest = 0
        """The smallest depth of a function that was reached again within the one that is being read."""

    def function(self, function: types.FunctionType) -> str:
        """The digest of a Python function."""
        key, depth = id(function), len(self._open)
        if key in self._finished:
            return self._finished[key]
        if key in self._open:
            self._lowest = min(self._lowest, self._open[key])
            return f"again:{depth - self._open[key]}"
        before, self._lowest = self._lowest, depth
        self._open[key] = depth
        try:
            digest = _digest(self._function_content(function))
        finally:
            del self._open[key]
        # Within a recursion the text depends on where the reading began.
        if self._lowest >= depth:
            self._finished[key] = digest
        self._lowest = min(before, self._lowest)
        return digest

    def _function_content(self, function: types.FunctionType) -> Iterator[str]:
        names = function.__code__.co_names
        yield from self._code(function.__code__, function.__globals__)
        yield from self.content(function.__defaults__)
        for name, default in sorted((function.__kwdefaults__ or {}).items()):
            yield name
            yield from self.content(default)
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                raise UnknownContentError(f"a variable of {function.__qualname__} that has no value yet") from None
            yield from self._reached(value, names)

    def _code(self, code: types.CodeType, scope: dict[str, Any]) -> Iterator[str]:
        yield code.co_code.hex()
        yield code.co_exceptiontable.hex()
        # The names of parameters, for calls with keywords.
        yield repr((code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags))
        yield repr((code.co_varnames, code.co_cellvars, code.co_freevars))
        for constant in code.co_consts:
            yield from self._code(constant, scope) if isinstance(constant, types.CodeType) else _literal(constant)
        yield from _overloads.everywhere(self)
        for name in code.co_names:
            yield name
            yield from _overloads.of_name(name, self)
            if name in scope:
                yield from self._reached(scope[name], code.co_names)

    def _reached(self, value: Any, names: tuple[str, ...]) -> Iterator[str]:
        """The content of an object that code reaches; for a user's module, the members that the code names."""
        yield from self.content(value)
        yield from self._attributes(value, names, [])

    def _attributes(self, module: Any, names: tuple[str, ...], within: list[Any]) -> Iterator[str]:
        if not isinstance(module, types.ModuleType) or module in within or _root(module) in LIBRARIES:
            return
        scope = vars(module)
        if "__getattr__" in scope:
            raise UnknownContentError(f"{module.__name__}, which computes its attributes")
        for name in names:
            if name in scope:
                yield name
                yield from self.content(scope[name])
                yield from self._attributes(scope[name], names, [*within, module])

    def content(self, value: Any) -> Iterator[str]:
        """The parts of an object on which code depends, in a fixed order."""
        if value is None or type(value) in SCALARS:
            yield f"{type(value).__name__}:{value!r}"
        elif isinstance(value, enum.Enum):
            yield f"member:{value.name}"
            yield from self.content(type(value))
        elif isinstance(value, np.generic):
            yield f"{value.dtype!r}:{value.tobytes().hex()}"
        elif isinstance(value, np.dtype):
            yield f"dtype:{value!r}"
        elif isinstance(value, tuple):
            yield f"tuple:{len(value)}"
            if type(value) is not tuple:
                yield from self.content(type(value))
            for item in value:
                yield from self.content(item)
        elif isinstance(value, Dispatcher):
            yield from self._dispatcher(value)
        elif isinstance(value, DUFunc):
            yield from self._compiled_ufunc(value)
        elif isinstance(value, Intrinsic):
            yield from self.content(value._defn)
        elif isinstance(value, numba_types.Type):
            yield from self.type(value)
        elif isinstance(value, types.ModuleType):
            yield f"module:{value.__name__}"
        elif _is_of_a_library(value):
            yield f"{getattr(value, '__module__', 'numpy')}.{getattr(value, '__qualname__', value.__name__)}"
        elif isinstance(value, types.FunctionType):
            yield self.function(value)
            yield from _overloads.of_function(value, self)
        elif isinstance(value, type):
            yield from self._class(value)
        else:
            raise UnknownContentError(repr(value))

    def _dispatcher(self, dispatcher: Any) -> Iterator[str]:
        if _root(dispatcher.py_func) == "numba":
            yield f"{dispatcher.__module__}.{dispatcher.__qualname__}"
            return
        function = dispatcher.py_func
        digest = self.function(function)
        yield digest
        for name, option in sorted(dispatcher.targetoptions.items()):
            yield name
            yield from _literal(option)
        yield from _literal(sorted((name, str(kind)) for name, kind in dispatcher.locals.items()))
        if type(dispatcher._cache) is NullCache and not dispatcher.overloads:
            dispatcher._cache = CompilationRecord(function)
        # Within a recursion the digest is not that of the record.
        if dispatcher.overloads and id(function) in self._finished:
            compiled_from = getattr(dispatcher._cache, "compiled_from", None)
            if compiled_from != {digest}:
                raise UnknownContentError(
                    f"{function.__qualname__}, which may have been compiled with other numbers"
                )

    def _compiled_ufunc(self, ufunc: Any) -> Iterator[str]:
        dispatcher = ufunc._dispatcher
        digest = self.function(dispatcher.py_func)
        if _first_content_of_ufuncs.setdefault(ufunc, digest) != digest:
            raise UnknownContentError(f"{ufunc!r}, which was compiled with other numbers")
        yield digest
        yield f"{ufunc.identity!r}"
        for name, option in sorted(dispatcher.targetoptions.items()):
            yield name
            yield from _literal(option)

    def _class(self, kind: type) -> Iterator[str]:
        if issubclass(kind, enum.Enum):
            yield f"enumeration:{len(kind.__members__)}:{issubclass(kind, enum.IntEnum)}"
            for name, member in kind.__members__.items():
                yield name
                yield from self.content(member.value)
        elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
            yield f"named tuple:{kind._fields!r}"
            for name, default in getattr(kind, "_field_defaults", {}).items():
                yield name
                yield from self.content(default)
        else:
            raise UnknownContentError(repr(kind))

    def type(self, kind: Any) -> Iterator[str]:
        """The parts of one of numba's types on which code depends."""
        if not isinstance(kind, numba_types.Type) or _root(type(kind)) != "numba":
            raise UnknownContentError(f"the type {kind}")
        yield type(kind).__name__
        if isinstance(kind, numba_types.Omitted):
            yield from self.content(kind.value)
        elif isinstance(kind, numba_types.Literal):
            yield from self.content(kind.literal_value)
        elif isinstance(kind, PLAIN_TYPES):
            yield str(kind)
        elif isinstance(kind, numba_types.Array):
            yield f"{kind.ndim}{kind.layout}{kind.mutable}{kind.aligned}{getattr(kind, 'shape', '')}"
            yield from self.type(kind.dtype)
        elif isinstance(kind, numba_types.Record):
            yield f"{kind.size}:{kind.aligned}"
            for name, field in kind.fields.items():
                yield f"{name}:{field.offset}:{field.alignment}:{field.title}"
                yield from self.type(field.type)
        elif isinstance(kind, numba_types.BaseTuple):
            yield f"{len(kind)}"
            if isinstance(kind, numba_types.BaseNamedTuple):
                yield from self._class(kind.instance_class)
            for item in kind:
                yield from self.type(item)
        elif isinstance(kind, numba_types.EnumMember | numba_types.EnumClass):
            yield from self._class(kind.instance_class)
            yield from self.type(kind.dtype)
        elif isinstance(kind, numba_types.Optional):
            yield from self.type(kind.type)
        elif isinstance(kind, numba_types.Dispatcher):
            yield from self._dispatcher(kind.dispatcher)
        else:
            raise UnknownContentError(f"the type {kind}")


_first_content_of_ufuncs: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()


class _Overloads:
    """The implementations that other packages have given to numba (``numba.extending.overload`` and the like).

    Code that calls a function does not show whether the function has such an implementation.
    """

    def __init__(self) -> None:
        self._n_read = [0, 0]
        self._by_name: dict[str, list[tuple[Any, Any]]] = {}
        self._of_operators: list[Any] = []

    def of_function(self, function: Any, reader: _Reader) -> Iterator[str]:
        """The implementations of a user's function; nothing else of it is compiled."""
        self._read_new_ones()
        for target, implementation in self._by_name.get(function.__name__, ()):
            if target is function:
                if implementation is None:
                    raise UnknownContentError(f"{function.__qualname__}, whose code numba was given")
                yield reader.function(implementation)

    def of_name(self, name: str, reader: _Reader) -> Iterator[str]:
        """The implementations of a library's function, method or attribute of this name."""
        self._read_new_ones()
        for target, implementation in self._by_name.get(name, ()):
            if implementation is not None and (target is None or _root(target) in LIBRARIES):
                yield _of_a_library(implementation, reader)

    def everywhere(self, reader: _Reader) -> Iterator[str]:
        """The implementations of operators, which byte code does not name."""
        self._read_new_ones()
        for implementation in self._of_operators:
            yield _of_a_library(implementation, reader)

    def _read_new_ones(self) -> None:
        templates = builtin_registry.globals, builtin_registry.attributes
        if self._n_read == [len(found) for found in templates]:
            return
        new_globals, new_attributes = (found[n:] for found, n in zip(templates, self._n_read, strict=True))
        self._n_read = [len(found) for found in templates]
        for target, kind in new_globals:
            for template in getattr(kind, "templates", ()):
                self._add(getattr(target, "__name__", ""), target, template)
        for template in new_attributes:
            self._add(getattr(template, "_attr", ""), None, template)

    def _add(self, name: str, target: Any, template: Any) -> None:
        implementation = getattr(template, "_overload_func", None)
        if implementation is None:
            if target is not None and _root(target) not in LIBRARIES:
                self._by_name.setdefault(name, []).append((target, None))
        elif _root(implementation) == "numba":
            return
        elif target is not None and _root(target) == "_operator":
            self._of_operators.append(implementation)
        else:
            self._by_name.setdefault(name, []).append((target, implementation))


_overloads = _Overloads()


def _of_a_library(implementation: Any, reader: _Reader) -> str:
    """The content of an implementation; if it cannot be determined, that of the file which defines it."""
    try:
        return reader.function(implementation)
    except UnknownContentError:
        try:
            return hashlib.sha256(Path(implementation.__code__.co_filename).read_bytes()).hexdigest()
        except OSError:
            raise UnknownContentError(f"{implementation.__qualname__}, whose source is not to be found") from None


def _is_of_a_library(value: Any) -> bool:
    if isinstance(value, types.FunctionType):
        return _root(value) in LIBRARIES
    if isinstance(value, np.ufunc):
        return getattr(np, value.__name__, None) is value
    if not isinstance(value, LIBRARY_OBJECTS) or _root(value) not in LIBRARIES:
        return False
    # A class that was made by `exec` may claim to be from `builtins`.
    found: Any = sys.modules.get(value.__module__)
    for name in getattr(value, "__qualname__", value.__name__).split("."):
        found = getattr(found, name, None)
    return found is value


def _root(value: Any) -> str:
    """The top-level package of a module, a class or a function."""
    name: str | None
    if isinstance(value, types.ModuleType):
        name = value.__name__
    elif isinstance(value, types.FunctionType):
        # A wrapper of a library's function bears the library's name.
        name = value.__globals__.get("__name__")
    else:
        name = getattr(value, "__module__", None)
    return (name or "").partition(".")[0]


def _literal(value: Any) -> Iterator[str]:
    """The text of a constant of byte code or an option of the compiler, the same in every process."""
    if isinstance(value, frozenset | set):
        yield f"set:{sorted(map(repr, value))}"
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__}:{len(value)}"
        for item in value:
            yield from _literal(item)
    elif value is None or value is ... or type(value) in SCALARS:
        yield f"{type(value).__name__}:{value!r}"
    else:
        raise UnknownContentError(repr(value))


def _digest(parts: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # The length, so that no two lists of parts make one text.
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()
