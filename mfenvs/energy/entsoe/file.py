"""The file that is read: its content within limits, its errors, and the numbers and times of its cells."""

import codecs
import contextlib
import dataclasses
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

MAX_BYTES = 2**28
"""Most bytes of a file once it is unpacked, 256 MiB, unless ``max_bytes`` says otherwise."""

MAX_STEPS = 400_000
"""Most steps that are read of a file, and most that a series has: eleven years of quarter-hours."""

MAX_LINE_LENGTH = 65_536
"""Most characters in a line of a CSV file, and most bytes in a tag of XML."""

FIRST_YEAR, LAST_YEAR = 1970, 2100
"""Years in which a file's times may lie; the platform's data begin in 2014."""

HEAD_BYTES = 65_536
"""From how many bytes at the beginning the format and the encoding are found out."""

MISSING_CELLS = frozenset({"", "-", "n/e", "n/a"})
"""The platform's marks of a missing value, in lower case."""

RESOLUTION_CODES = {"PT15M": 15, "PT30M": 30, "PT60M": 60, "PT1H": 60}
"""Minutes of a step by its ISO 8601 duration."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)

UTF_16 = {b"<\0": "utf-16-le", b"\0<": "utf-16-be", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class EntsoeFormatError(ValueError):
    """A file that is not what the platform hands out, or that leaves open which of its series is meant.

    The text names the file, the line (from 1) and the column or XML element.
    """


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """The file that is read; it makes the errors, which name it, and reads the cells."""

    path: Path

    error_class: ClassVar[type[ValueError]] = EntsoeFormatError

    def error(self, problem: str, line: int | None = None, column: str | None = None) -> ValueError:
        """The error that names the file, the line and the column."""
        where = f"{self.path}"
        where += "" if line is None else f", line {line}"
        where += "" if column is None else f", column {shown(column)}"
        return self.error_class(f"{where}: {problem}")

    @contextlib.contextmanager
    def opened(self, max_bytes: int) -> Iterator[io.BufferedReader]:
        """The file's content, unpacked if it is a gzip file; reading more than ``max_bytes`` of it is an error."""
        with self.path.open("rb") as file:
            start = file.peek(4)[:4]
            if start.startswith(b"PK\3\4"):
                raise self.error("is a zip archive; unpack it, and give the file that is in it")
            is_gzip = start.startswith(b"\x1f\x8b")
            content = gzip.GzipFile(fileobj=file) if is_gzip else file
            raw: Any = _Content(self, content, max_bytes)
            with io.BufferedReader(raw, HEAD_BYTES) as stream:
                yield stream

    def number(self, cell: str, line: int, column: str) -> float:
        """A cell's number, nan if it is one of the platform's marks of a missing value."""
        cell = cell.strip()
        if cell.lower() in MISSING_CELLS:
            return math.nan
        number = float(cell) if NUMBER.fullmatch(cell) else math.nan
        if not math.isfinite(number):
            raise self.error(
                f"must be a number with a decimal point, or n/e, N/A, - or nothing, got {shown(cell)}",
                line,
                column,
            )
        return number

    def time(self, parts: Sequence[Any], cell: str, form: str, line: int, column: str) -> datetime:
        """The time, without a zone, of year, month, day, hour, minute and second; None for no seconds."""
        try:
            year, month, day, hour, minute, second = parts
            moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
        except ValueError as error:
            raise self.error(f"must be {form}, got {shown(cell)} ({error})", line, column) from error
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            raise self.error(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}, got {shown(cell)}", line, column)
        return moment

    def instant(self, pattern: re.Pattern[str], cell: str, form: str, line: int, column: str) -> int:
        """A UTC time in seconds since 1970, its parts from year to second matched by ``pattern``."""
        match = pattern.fullmatch(cell.strip())
        if match is None:
            raise self.error(f"must be a time {form}, got {shown(cell)}", line, column)
        moment = self.time(match.groups(), cell, f"a time {form}", line, column)
        return int(moment.replace(tzinfo=UTC).timestamp())

    def minutes(self, code: str, line: int, column: str) -> int:
        """The minutes of a resolution code."""
        if code.strip() not in RESOLUTION_CODES:
            raise self.error(f"must be one of {', '.join(RESOLUTION_CODES)}, got {shown(code)}", line, column)
        return RESOLUTION_CODES[code.strip()]

    def lines(self, stream: io.BufferedReader, encoding: str) -> Iterator[str]:
        """The lines of the content, each with its end."""
        text = io.TextIOWrapper(stream, encoding, newline="")
        number = 0
        while True:
            try:
                line = text.readline(MAX_LINE_LENGTH + 1)
            except UnicodeDecodeError as error:
                # The reader has handed out all lines of the bytes before those that it could not decode.
                number += 1 + error.object.count(b"\n", 0, error.start)
                name, byte = encoding.removesuffix("-sig").upper(), error.object[error.start]
                problem = f"must be {name}, but byte {byte:#04x} is not ({error.reason})"
                raise self.error(problem, number) from error
            if not line:
                return
            number += 1
            if len(line) > MAX_LINE_LENGTH:
                raise self.error(f"must have at most {MAX_LINE_LENGTH} characters in a line, got more", number)
            yield line


class _Content(io.RawIOBase):
    """Content of a file up to a limit, whose errors name the file."""

    def __init__(self, source: SourceFile, content: BinaryIO | gzip.GzipFile, max_bytes: int) -> None:
        self._source, self._content, self._max_bytes, self._n_read = source, content, max_bytes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``, within ``max_bytes`` of the whole file; return the number of bytes."""
        n = 0
        while n < len(buffer):
            try:
                # GzipFile raises EOFError where the file ends too early.
                data = self._content.read(len(buffer) - n)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise self._source.error(f"is a damaged gzip file ({error}); it may be cut off") from error
            if not data:
                break
            buffer[n : n + len(data)] = data
            n += len(data)
        self._n_read += n
        if self._n_read > self._max_bytes:
            raise self._source.error(f"holds more than max_bytes={self._max_bytes} bytes")
        return n


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins so: UTF-16 or UTF-8, with or without a byte order mark."""
    if head[:2] in UTF_16:
        return UTF_16[head[:2]]
    if head[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if head[:1] == b"\0" else "utf-8-sig"


def shown(cell: str) -> str:
    """A cell as errors quote it, cut if it is long."""
    return repr(cell) if len(cell) <= 120 else f"{cell[:120]!r} and so on"
