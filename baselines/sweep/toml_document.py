"""A TOML document whose tables are read key by key, with errors that name the key and its line."""

from __future__ import annotations

import bisect
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mfenvs import checks

MOST_BYTES = 2**18
"""Largest document that is read."""

Key = tuple[str | int, ...]
"""Place of a value in a document: names of keys, and positions in arrays."""


class SpecificationError(ValueError):
    """A document does not describe a sweep; the message names the file, the line and the key."""


class Document:
    """A TOML document and where its keys are.

    Parameters
    ----------
    path:
        Path of the file.

    Raises
    ------
    SpecificationError
        If the file cannot be read, is larger than :data:`MOST_BYTES` or is not TOML.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise SpecificationError(f"cannot read {self.path}: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise SpecificationError(f"{self.path} must have at most {MOST_BYTES} bytes")
        try:
            self.text = content.decode()
            self.root: dict[str, Any] = tomllib.loads(self.text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise SpecificationError(f"{self.path} is not TOML: {error}") from error
        self._lines = self.text.replace("\r\n", "\n").split("\n")

    def table(self) -> Table:
        """The whole document as a table."""
        return Table(self, (), self.root)

    def refuse(self, key: Key, message: str) -> NoReturn:
        """Raise a SpecificationError about a key of the document."""
        name = shown_key(key)
        where = f"line {self.line(key)}: {name}" if key else "it"
        raise SpecificationError(f"{self.path}, {where} {message}")

    def line(self, key: Key) -> int:
        """The number, from 1, of the line on which the statement begins that defines a key or its beginning.

        A document that ends before this line lacks the key; a document that ends with the statement has it.
        """
        found = bisect.bisect_left(range(len(self._lines)), True, key=lambda n: _has(self._beginning(n), key))
        return found if found > 0 else 1

    def _beginning(self, n_lines: int) -> dict[str, Any]:
        """The content of the shortest beginning of the document, of at least ``n_lines`` lines, that is TOML."""
        for end in range(n_lines, len(self._lines)):
            try:
                return tomllib.loads("\n".join(self._lines[:end]))
            except tomllib.TOMLDecodeError:
                continue  # The statement goes on in the next line.
        return self.root


class Table:
    """A table of a document.

    Parameters
    ----------
    document:
        The document.
    key:
        Place of the table in it.
    content:
        The content of the table.
    """

    def __init__(self, document: Document, key: Key, content: dict[str, Any]) -> None:
        self.document, self.key, self.content = document, key, content

    def check_names(self, allowed: Sequence[str], what: str = "key") -> None:
        """Raise a SpecificationError if the table has other keys than those that are allowed."""
        for name in self.content:
            if name not in allowed:
                suggestion = checks.suggestion(name, allowed)
                self.refuse(name, f"is an unknown {what}{suggestion}; allowed: {', '.join(allowed)}")

    def text(self, name: str, default: str | None = None) -> str:
        """The value of a key, a text that is not empty; an error if it is missing and has no default."""
        value = self.content.get(name, default)
        if value is None:
            self.document.refuse(self.key, f"must have the key {name!r}")
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.refuse(name, f"must be a text, got {value!r:.100}")
        return str(value)

    def table(self, name: str) -> Table:
        """The table under a key; an empty one if it is missing."""
        value = self.content.get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, f"must be a table, got {value!r:.100}")
        return Table(self.document, (*self.key, name), value)

    def tables(self, name: str) -> list[Table]:
        """The tables of an array of tables, at least one."""
        value = self.content.get(name)
        if value is None:
            self.document.refuse(self.key, f"must have at least one table [[{name}]]")
        if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
            self.refuse(name, f"must be an array of tables, [[{name}]], got {value!r:.100}")
        return [Table(self.document, (*self.key, name, place), entry) for place, entry in enumerate(value)]

    def refuse(self, name: str, message: str) -> NoReturn:
        """Raise a SpecificationError about a key of this table."""
        self.document.refuse((*self.key, name), message)


def shown_key(key: Key) -> str:
    """A key as error messages show it: ``games[1].constants.n_agents``; positions count from 1."""
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _has(content: Any, key: Key) -> bool:
    for part in key:
        if isinstance(part, int):
            if not isinstance(content, list) or part >= len(content):
                return False
        elif not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True
