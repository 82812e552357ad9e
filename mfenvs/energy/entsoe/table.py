"""A text table (CSV): its headers, and its rows cell by cell."""

import collections
import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from mfenvs.energy.entsoe.file import SourceFile, shown


class Table(NamedTuple):
    """A text table."""

    column: dict[str, int]
    """Number of the column by its header."""
    records: Iterator[tuple[int, list[str]]]
    """Line and cells of each row; a row has as many cells as there are headers."""

    @property
    def headers(self) -> list[str]:
        """The headers, from left to right."""
        return list(self.column)


def tidy(header: str) -> str:
    """A header with single spaces: the old platform writes two before a dash."""
    return " ".join(header.split())


def unit_of(header: str) -> str:
    """The unit of a column: the text in the header's last brackets, round or square."""
    brackets = re.findall(r"[\[(]([^\[(\])]*)[\])]", header)
    return brackets[-1] if brackets else ""


def table(source: SourceFile, stream: io.BufferedReader, encoding: str) -> Table:
    """The table that a file holds; of tab, comma and semicolon the most frequent of its first line separates."""
    lines = source.lines(stream, encoding)
    first = next(lines, "")
    cells = _cells(source, first, lines, max("\t,;", key=first.count))
    headers = [tidy(cell) for cell in next(cells, (1, []))[1]]
    repeated = [name for name, count in collections.Counter(headers).items() if count > 1 and name]
    if repeated:
        raise source.error(f"the header {shown(repeated[0])} stands twice", 1, repeated[0])

    def records() -> Iterator[tuple[int, list[str]]]:
        n = len(headers)
        for line, row in cells:
            if len(row) == n:
                yield line, row
            elif row:
                raise source.error(
                    f"has {len(row)} columns where the header has {n}; the file may be cut off",
                    line,
                    headers[min(len(row), n) - 1],
                )

    return Table({name: at for at, name in enumerate(headers)}, records())


def _cells(
    source: SourceFile, first: str, lines: Iterator[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each line; a cell that goes on in the next line is refused."""
    is_open = False

    def one_by_one() -> Iterator[str]:
        nonlocal is_open
        line = first
        while line:
            if is_open:
                raise source.error("the quotes are wrong (a cell goes on in the next line)", reader.line_num)
            is_open = True
            yield line
            line = next(lines, "")

    reader = csv.reader(one_by_one(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            is_open = False
            yield reader.line_num, row
    except csv.Error as error:
        raise source.error(f"the quotes are wrong ({error}); the file may be cut off", reader.line_num) from error
