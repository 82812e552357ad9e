"""Files that are written as a whole or not at all, and whose content is checked before it is used.

A file is written under a temporary name in the same folder, and then renamed. Arrays are kept in ``.npz`` files,
with a header of JSON. :class:`SavedArrays` reads them against a specification of every array,
:class:`ArraySpecification`. Names, shapes and dtypes in the file are compared with it before a number is read, so
that neither a damaged nor a malicious file takes more memory than a valid one; then the numbers are checked.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import secrets
import socket
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

COMPRESSED_BYTES = 2**28
"""Total size of arrays, in bytes, up to which they are compressed; larger arrays are stored as they are. So the
content of a file exceeds this size only if the file itself is as large; a file that claims more is refused."""

JSON_BYTES = 2**24
"""Largest JSON text that is read, in bytes, in a file or a header: lists of empty lists take twenty times its size
in memory."""

SUM_TOLERANCE = 1e-6
"""Largest relative distance from ``total`` that is allowed for a sum."""

HEADER = "header"
"""The member of an ``.npz`` file that holds JSON, as bytes of UTF-8."""

NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_HEADER = re.compile(
    rb"\{'descr': '([^']{1,16})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), \} *\n"
)
"""The header that NumPy writes before the numbers of a plain array. It is matched, not evaluated as NumPy does."""


class FileError(ValueError):
    """A file cannot be read, or its content is not what it should be; the message names the file."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` only when the block ends without an error.

    Until then it is a hidden file in the same folder. Hidden files that killed processes have left are removed.

    Raises
    ------
    OSError
        If the file cannot be written; IsADirectoryError before the block if ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of ``path`` whose processes, on this machine, are dead."""
    if os.name != "posix":  # On other systems os.kill(pid, 0) does not just ask whether the process exists.
        return
    name = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_host())}\.(\d{{1,9}})\.[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError):  # A failure to tidy up must not raise an error.
        for entry in os.listdir(path.parent):  # noqa: PTH208 - names are enough.
            found = name.fullmatch(entry)
            if found and not _is_alive(int(found[1])):
                (path.parent / entry).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    """The name of this machine, as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NumPy's numbers and arrays become plain numbers and lists."""
    text = json.dumps(content, indent=2, default=plain) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file; FileError if it cannot be read or is not JSON."""
    with _named(path, "is not JSON"), _open_file(path) as file:
        if os.fstat(file.fileno()).st_size > JSON_BYTES:
            raise ValueError(f"it is larger than {JSON_BYTES} bytes")
        return _parse_json(file.read(JSON_BYTES))


def plain(value: Any) -> Any:
    """Convert a NumPy number or array to a plain number or list: the ``default`` of :func:`json.dumps`."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write {value!r} as JSON")


@dataclasses.dataclass(frozen=True)
class ArraySpecification:
    """Specification of an array in a file: its dtype, its shape and the values allowed.

    Raises
    ------
    TypeError
        If ``dtype`` is not a dtype of numbers.
    """

    dtype: DTypeLike
    """The dtype that the array must have: booleans, integers or floats."""
    shape: tuple[int | None, ...]
    """The shape that the array must have; an axis of None may have any length."""
    low: float = -math.inf
    """Smallest value allowed."""
    high: float = math.inf
    """Largest value allowed."""
    may_be_infinite: bool = False
    """Whether floats may be infinite. NaN is never allowed."""
    total: float | None = None
    """The sum that the numbers along the last ``summed_axes`` axes must have, such as 1 for probabilities."""
    summed_axes: int = 1
    """Number of last axes that are summed over."""

    def __post_init__(self) -> None:
        if np.dtype(self.dtype).kind not in "biuf":
            raise TypeError(f"dtype must be one of numbers, got {self.dtype!r}")

    def check_form(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Compare a dtype (as ``dtype.str``) and a shape with the specification; ValueError if they differ."""
        expected = np.dtype(self.dtype)
        if dtype != expected.str:
            raise ValueError(f"{name} must have dtype {expected} ({expected.str}), got {dtype}")
        if len(shape) != len(self.shape) or any(
            length not in (None, found) for length, found in zip(self.shape, shape, strict=True)
        ):
            allowed = ", ".join("any" if length is None else str(length) for length in self.shape)
            raise ValueError(f"{name} must have shape ({allowed}), got {shape}")

    def check(self, name: str, array: NDArray[Any]) -> None:
        """Check the form and all numbers of an array; ValueError that names the array, the place and the value."""
        self.check_form(name, array.dtype.str, array.shape)
        if not array.size:
            return
        # A nan becomes the least and the greatest, and fails the comparison.
        least, most = array.min(), array.max()
        is_within = self.low <= least and most <= self.high
        if not is_within or not (self.may_be_infinite or (math.isfinite(least) and math.isfinite(most))):
            self._refuse_number(name, array)
        if self.total is not None:
            self._check_sums(name, array, self.total)

    def _refuse_number(self, name: str, array: NDArray[Any]) -> None:
        wrong = ~((array >= self.low) & (array <= self.high))
        if not self.may_be_infinite:
            wrong |= ~np.isfinite(array)
        where = np.unravel_index(int(np.argmax(wrong)), array.shape)
        kind = "a number" if self.may_be_infinite else "a finite number"
        allowed = f"{kind} in [{self.low:g}, {self.high:g}]"
        raise ValueError(f"{_place(name, where)} must be {allowed}, got {array[where]}")

    def _check_sums(self, name: str, array: NDArray[Any], total: float) -> None:
        sums = array.sum(axis=tuple(range(array.ndim - self.summed_axes, array.ndim)))
        wrong = ~(np.abs(sums - total) <= SUM_TOLERANCE * abs(total))
        if wrong.any():
            where = np.unravel_index(int(np.argmax(wrong)), np.shape(sums))
            raise ValueError(f"{_place(name, where)} must sum to {total:g}, got {float(sums[where])!r}")


def _place(name: str, where: tuple[Any, ...]) -> str:
    return f"{name}[{', '.join(str(int(i)) for i in where)}]" if where else name


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]], header: Any = None) -> None:
    """Write arrays of numbers, and a header if one is given, to an ``.npz`` file for :class:`SavedArrays`.

    Parameters
    ----------
    path:
        Path of the file.
    arrays:
        Arrays of booleans, integers or floats, by name.
    header:
        Anything that JSON can hold; NumPy's numbers and arrays become plain numbers and lists.

    Raises
    ------
    TypeError
        If an array does not hold numbers, or JSON cannot hold the header.
    ValueError
        If the header is too long.
    """
    members = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in members.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} must be an array of numbers, got dtype {array.dtype}")
    if header is not None:
        text = json.dumps(header, default=plain).encode()
        if len(text) > JSON_BYTES:
            raise ValueError(f"the header must have at most {JSON_BYTES} bytes, got {len(text)}")
        members[HEADER] = np.frombuffer(text, np.uint8)
    is_small = sum(array.nbytes for array in members.values()) <= COMPRESSED_BYTES // 2
    write = np.savez_compressed if is_small else np.savez
    with replacing(path) as file:
        write(file, **members)  # type: ignore[arg-type]


class SavedArrays:
    """An ``.npz`` file of :func:`write_arrays` that is open for reading, as a context manager.

    Parameters
    ----------
    path:
        Path of the file.
    what:
        Word for the saved object in error messages: "trainer" makes "... is not a saved trainer: ...".

    Raises
    ------
    FileError
        By all methods, if the file cannot be read or is not a valid file of this kind. The message names the file
        and what is wrong.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self._path, self._what = path, what
        with self.blamed(), contextlib.ExitStack() as opened:
            file = opened.enter_context(_open_file(path))
            self._zip = opened.enter_context(zipfile.ZipFile(file))
            self._members = self._list_members(os.fstat(file.fileno()).st_size)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def blamed(self) -> contextlib.AbstractContextManager[None]:
        """A context that turns any error within its block into a :class:`FileError` that names the file."""
        return _named(self._path, f"is not a saved {self._what}")

    @property
    def names(self) -> list[str]:
        """Names of the arrays, without the header."""
        return [name for name in self._members if name != HEADER]

    def header(self) -> Any:
        """The content of the JSON header."""
        with self.blamed():
            if HEADER in self._members and self._members[HEADER].file_size > JSON_BYTES + 2**16:
                raise ValueError(f"its header is larger than {JSON_BYTES} bytes")
            return _parse_json(self._read(HEADER, ArraySpecification(np.uint8, (None,))).tobytes())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array according to the file."""
        with self.blamed(), self._open(name) as member:
            return _read_form(member)[1]

    def arrays(self, specifications: Mapping[str, ArraySpecification]) -> dict[str, NDArray[Any]]:
        """Read and check all arrays.

        Parameters
        ----------
        specifications:
            Specification of each array by its name. The file must hold exactly these arrays, and may hold a
            header.

        Returns
        -------
        New arrays in C order, by name.
        """
        with self.blamed():
            if set(self.names) != set(specifications):
                expected, found = (", ".join(map(repr, sorted(names))) for names in (specifications, self.names))
                raise ValueError(f"it must hold the arrays {expected}, got {found or 'none'}")
            # All dtypes and shapes before the first number: a file of the wrong kind costs nothing.
            for name, specification in specifications.items():
                with self._open(name) as member:
                    specification.check_form(name, *_read_form(member))
            arrays = {name: self._read(name, specification) for name, specification in specifications.items()}
            for name, specification in specifications.items():
                specification.check(name, arrays[name])
            return arrays

    def _list_members(self, file_size: int) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in members:
                raise ValueError(f"{member.filename!r} in it is no array, or not the only one of this name")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename!r} in it is compressed by another method")
            members[name] = member
        size = sum(member.file_size for member in members.values())
        if size > max(COMPRESSED_BYTES, file_size):
            raise ValueError(f"its content would take {size} bytes")
        return members

    def _open(self, name: str) -> Any:
        if name not in self._members:
            raise ValueError(f"it has no array {name!r}" if name != HEADER else "it has no header")
        return self._zip.open(self._members[name])

    def _read(self, name: str, specification: ArraySpecification) -> NDArray[Any]:
        with self._open(name) as member:
            dtype, shape = _read_form(member)
            specification.check_form(name, dtype, shape)
            n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            if n_bytes > (size := self._members[name].file_size):
                raise ValueError(f"{name} of shape {shape} does not fit into its {size} bytes")
            array = np.empty(shape, dtype)
            buffer, filled = array.reshape(-1).view(np.uint8).data, 0
            while filled < n_bytes and (count := member.readinto(buffer[filled:])):
                filled += count
            # The checksum is compared where the member ends, so that end has to be seen.
            if filled < n_bytes or member.read(1):
                raise ValueError(f"{name} does not have the length of its shape {shape}")
            return array


def _read_form(member: Any) -> tuple[str, tuple[int, ...]]:
    """Read the dtype (as ``dtype.str``) and the shape of an array from the beginning of an ``.npy`` file."""
    magic = member.read(len(NPY_MAGIC))
    if magic != NPY_MAGIC:
        raise ValueError(f"an array in it begins with {magic!r}")
    header = member.read(int.from_bytes(member.read(2), "little"))
    found = NPY_HEADER.fullmatch(header)
    if found is None or found[2] != b"False":
        raise ValueError(f"an array in it is described by {header[:100]!r}")
    return found[1].decode(), tuple(int(length) for length in found[3].split(b",") if length.strip())


def _open_file(path: str | Path) -> BinaryIO:
    """Open a regular file; other files, such as pipes, are refused, since reading them may never end."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    return path.open("rb")


def _parse_json(text: bytes) -> Any:
    return json.loads(text.decode(), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name occurs twice among {', '.join(repr(name) for name, _ in pairs)}")
    return found


@contextlib.contextmanager
def _named(path: str | Path, wrong: str) -> Iterator[None]:
    """Turn any error within the block into one error that names the file.

    Damaged bytes make the readers of zip files, JSON and numbers raise a dozen kinds of errors.
    """
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename == str(Path(path)):
            raise FileError(f"cannot read {path}: {error.strerror}") from error
        raise FileError(f"{path} {wrong}: {error or type(error).__name__}") from error
