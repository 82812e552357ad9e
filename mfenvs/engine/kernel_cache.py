"""Files of machine code of compiled kernels, in a format whose reading runs no code.

numba keeps compiled functions as pickles, which name the modules whose rules they were compiled from, and
import (and so run) them when they are read. Here a file holds the machine code, the names of its symbols and a
checksum; the types and modules are those of the function that is being called.

The file's name is a digest of everything that the code depends on, see :mod:`mfenvs.engine.fingerprint`. Files
that are damaged, cut short, unreadable or another kernel's are not found, and are replaced.
"""

import contextlib
import hashlib
import json
import logging
import secrets
import stat
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import numba
import numpy as np
from numba.core import caching, compiler, config, environment, funcdesc
from numba.core.typing import templates

from mfenvs.engine.fingerprint import CompilationRecord, UnknownContentError, fingerprint, types_fingerprint

# Parts of numba that declare no types.
types: Any = numba.types
CompileResult: Any = compiler.CompileResult
CompileResultCacheImpl: Any = caching.CompileResultCacheImpl
CacheLocator: Any = caching._CacheLocator
Environment: Any = environment.Environment
lookup_environment: Any = environment.lookup_environment
PythonFunctionDescriptor: Any = funcdesc.PythonFunctionDescriptor
Signature: Any = templates.Signature

MAGIC = b"mfenvs machine code, format 4\n"
"""First bytes of every file, and part of every file's name."""

LARGEST_FILE = 2**28
"""Largest size of a file that is read, in bytes."""

COMPILER_SETTINGS = (
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "DEBUG_NRT",
    "ENABLE_AVX",
    "ENABLE_PROFILING",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "NRT_STATS",
    "OPT",
    "SLP_VECTORIZE",
    "USING_SVML",
)
"""Settings of numba (``NUMBA_...`` in the environment) on which machine code depends."""

ENVIRONMENT_PREFIX = "_ZN08NumbaEnv"
"""Prefix of numba's names for the run-time environments of functions."""

logger = logging.getLogger("mfenvs")


class CacheWarning(UserWarning):
    """Compiled code cannot be kept on disk, so that every process compiles again."""


class KernelCache(CompilationRecord):
    """The compiled code of one function on disk, in the place of numba's own cache.

    No error of the disk stops a run: the function is compiled instead.

    Parameters
    ----------
    function:
        The Python function.
    options:
        The compiler's options for it.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function)
        self._options = sorted(options.items())
        self._keys: dict[Any, str] = {}

    @property
    def cache_path(self) -> str:
        """The directory of the files."""
        return str(_directory_of(self._function)[0])

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kept code for these argument types, or None."""
        target_context.refresh()
        key = self._key(tuple(sig), target_context.codegen())
        if key is None:
            return None
        content = _read(self._path(key), key)
        if content is not None:
            try:
                return _unpacked(content, self._function, tuple(sig), target_context)
            except Exception as error:
                logger.info("%s is compiled anew: what is kept of it cannot be loaded: %r", self._name, error)
        self._keys[tuple(sig)] = key
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, where that is possible."""
        key = self._keys.pop(tuple(sig), None)
        if key is None:
            return
        try:
            content = _packed(data)
        except UnknownContentError as found:
            logger.info("%s is compiled in every process: it has %s", self._name, found)
            return
        directory, reason = _directory_of(self._function)
        if reason is None:
            try:
                _write(self._path(key), key, content)
            except OSError as error:
                # Another process may have been faster.
                if _read(self._path(key), key) is None:
                    reason = error.strerror or str(error)
        if reason is not None:
            _warn_once(directory, reason)

    @property
    def _name(self) -> str:
        return f"{self._function.__module__}.{self._function.__qualname__}".replace("<locals>.", "")

    def _path(self, key: str) -> Path:
        stem = "".join(c for c in self._name if c.isalnum() or c in "._")[-100:]
        return _directory_of(self._function)[0] / f"{stem}-{key[:32]}.nbc"

    def _key(self, argument_types: tuple[Any, ...], codegen: Any) -> str | None:
        """A digest of everything on which the machine code depends; None if that cannot be determined.

        It is computed for every call with new types: when a function is decorated, the functions below it in its
        module do not exist yet, and numbers of a module may change.
        """
        try:
            content = fingerprint(self._function)
            self.compiled_from.add(content)
            parts = (
                MAGIC.decode(),
                f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version}",
                repr(codegen.magic_tuple()),
                repr([(name, getattr(config, name, None)) for name in COMPILER_SETTINGS]),
                repr(self._options),
                content,
                types_fingerprint(argument_types),
            )
        except UnknownContentError as found:
            self.compiled_from.add(None)
            logger.info("%s is compiled in every process: it reaches %s", self._name, found)
            return None
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


_directories: dict[tuple[str, str], tuple[Path, str | None]] = {}


def _directory_of(function: Callable[..., Any]) -> tuple[Path, str | None]:
    """The directory for the code of a source file's functions, and why it cannot be written (or None)."""
    source = function.__code__.co_filename, str(config.CACHE_DIR)  # type: ignore[attr-defined]
    if source not in _directories:
        _directories[source] = _found_directory(function, *source)
    return _directories[source]


def _found_directory(function: Callable[..., Any], file: str, cache_dir: str) -> tuple[Path, str | None]:
    """Follow numba's choice: NUMBA_CACHE_DIR, ``__pycache__`` beside the source file, or the user's own cache."""
    try:
        return Path(CompileResultCacheImpl(function).locator.get_cache_path()), None
    except Exception:
        # numba looks for a directory that can be written to. Code that is in it already can still be read.
        if cache_dir:
            path = Path(cache_dir) / CacheLocator.get_suitable_cache_subpath(file)
        else:
            path = Path(file).parent / "__pycache__"
        return path, "no directory can be written to"


def _read(path: Path, key: str) -> bytes | None:
    """The code that was kept under a key; None if there is none, or the file is damaged."""
    head = MAGIC + bytes.fromhex(key)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    start = len(head) + hashlib.sha256().digest_size
    content = data[start:]
    is_whole = data.startswith(head) and data[len(head) : start] == hashlib.sha256(content).digest()
    return content if is_whole else None


def _write(path: Path, key: str, content: bytes) -> None:
    """Write a temporary file and rename it: other processes see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        beside.write_bytes(MAGIC + bytes.fromhex(key) + hashlib.sha256(content).digest() + content)
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


_warned: list[Path] = []


def _warn_once(directory: Path, reason: str) -> None:
    """Warn once per process that code cannot be kept, without stopping the run where warnings are errors."""
    if _warned:
        return
    _warned.append(directory)
    message = (
        f"Compiled code cannot be kept in {directory}: {reason}. Every process compiles it again, which takes some"
        " seconds. Set the environment variable NUMBA_CACHE_DIR to a directory that can be written to."
    )
    try:
        warnings.warn(message, CacheWarning, stacklevel=2)
    except CacheWarning:
        logger.warning(message)


def _packed(result: Any) -> bytes:
    """A compiled function as bytes.

    Raises
    ------
    UnknownContentError
        If the function holds anything but machine code for numbers and arrays, and their types.
    """
    if result.objectmode or result.lifted or result.reload_init or result.library.has_dynamic_globals:
        raise UnknownContentError("code that is bound to this process")
    name, kind, (machine_code, bit_code) = result.library.serialize_using_object_code()
    descriptor = result.fndesc
    environments = {descriptor.env_name: _constants(result.environment)}
    for variable in result.library._final_module.global_variables:
        if variable.name.startswith(ENVIRONMENT_PREFIX):
            found = lookup_environment(variable.name)
            if found is not None:
                environments[variable.name] = _constants(found)
    header = {
        "library": name,
        "kind": kind,
        "machine_code": len(machine_code),
        "returns": _type_as_json(result.signature.return_type),
        "environments": environments,
        "qualname": descriptor.qualname,
        "unique_name": descriptor.unique_name,
        "parameters": descriptor.args,
        "symbol": descriptor.mangled_name,
        "environment": descriptor.env_name,
        "inline": descriptor.inline,
        "noalias": descriptor.noalias,
        "abi_tags": descriptor.abi_tags,
        "uid": descriptor.uid,
    }
    text = json.dumps(header).encode()
    content: bytes = len(text).to_bytes(4, "little") + text + machine_code + bit_code
    return content


def _unpacked(
    content: bytes, function: Callable[..., Any], argument_types: tuple[Any, ...], target_context: Any
) -> Any:
    """Make a compiled function from the content of a file, for the types with which it is called now."""
    start = 4 + int.from_bytes(content[:4], "little")
    header = json.loads(content[4:start])
    end = start + header["machine_code"]
    return_type = _type_from_json(header["returns"])
    # numba imports the module of a function: none that is not there already.
    module = function.__module__ if function.__module__ in sys.modules else "<dynamic>"
    descriptor = PythonFunctionDescriptor(
        native=True,
        modname=module,
        qualname=header["qualname"],
        unique_name=header["unique_name"],
        doc="",
        typemap=None,
        restype=return_type,
        calltypes=None,
        args=tuple(header["parameters"]),
        kws=(),
        mangler=lambda *_, **__: header["symbol"],
        argtypes=argument_types,
        inline=header["inline"],
        noalias=header["noalias"],
        env_name=header["environment"],
        abi_tags=tuple(header["abi_tags"]),
        uid=header["uid"],
    )
    codegen = target_context.codegen()
    library = codegen.unserialize_library((header["library"], header["kind"], (content[start:end], content[end:])))
    environments = {name: _environment(name, constants) for name, constants in header["environments"].items()}
    own = environments[descriptor.env_name]
    entry_point = target_context.get_executable(library, descriptor, own)
    for name in environments:
        codegen.set_env(name, environments[name])
    return CompileResult(
        typing_context=target_context.typing_context,
        target_context=target_context,
        entry_point=entry_point,
        typing_error=None,
        type_annotation="",
        signature=Signature(return_type, argument_types, None),
        objectmode=False,
        lifted=(),
        fndesc=descriptor,
        library=library,
        call_helper=None,
        environment=own,
        metadata=None,
        reload_init=[],
        referenced_envs=list(environments.values()),
    )


def _constants(environment: Any) -> list[str]:
    """The Python objects that machine code takes from its environment: dtypes of arrays that it returns."""
    if not all(isinstance(c, np.dtype) and c.isbuiltin == 1 for c in environment.consts):
        raise UnknownContentError(f"constants that are Python objects: {environment.consts!r}")
    return [constant.str for constant in environment.consts]


def _environment(name: str, constants: list[str]) -> Any:
    """A function's run-time environment, without its module's variables: only interpreted code reads those."""
    environment = lookup_environment(name)
    if environment is None:
        environment = Environment({})
        environment.env_name = name
        environment.consts[:] = [np.dtype(constant) for constant in constants]
        Environment._memo[name] = environment
    return environment


def _type_as_json(kind: Any) -> Any:
    """A type of returned values: numbers, literal numbers, None, arrays of numbers, and tuples of these."""
    found: Any
    text: Any
    if isinstance(kind, types.IntegerLiteral | types.BooleanLiteral):
        found, text = kind, {"literal": kind.literal_value}
    elif isinstance(kind, types.Array):
        found = types.Array(kind.dtype, kind.ndim, kind.layout)
        text = {"dtype": _type_as_json(kind.dtype), "ndim": kind.ndim, "layout": kind.layout}
    elif isinstance(kind, types.BaseTuple) and not isinstance(kind, types.BaseNamedTuple):
        found, text = kind, [_type_as_json(item) for item in kind]
    else:
        found, text = getattr(types, str(kind), None), str(kind)
    if not isinstance(found, types.Type) or found != kind:
        raise UnknownContentError(f"returned values of type {kind}")
    return text


def _type_from_json(text: Any) -> Any:
    if isinstance(text, dict) and "literal" in text:
        return types.literal(text["literal"])
    if isinstance(text, dict):
        return types.Array(_type_from_json(text["dtype"]), text["ndim"], text["layout"])
    if isinstance(text, list):
        return types.BaseTuple.from_types([_type_from_json(item) for item in text])
    return getattr(types, text)
