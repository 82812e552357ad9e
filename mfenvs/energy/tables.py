"""Tables of a user's own: CSV and Parquet files, dataframes and dicts of columns, whose errors name the place."""

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mfenvs import checks
from mfenvs.energy.entsoe.file import MAX_BYTES, NUMBER, SourceFile, encoding_of, shown
from mfenvs.energy.entsoe.table import table, tidy

MISSING_TEXTS = frozenset({"", "-", "n/a", "n/e", "na", "nan", "null", "none"})
"""Cells that hold no value, in lower case."""

YES, NO = frozenset({"yes", "true", "1"}), frozenset({"no", "false", "0"})

PARQUET = ".parquet"


class TableError(ValueError):
    """A table that is not as it should be; the text names the file or argument, the place and the column."""


class TableFile(SourceFile):
    """A file of a user's own; its errors are :class:`TableError`."""

    error_class = TableError


class Row(NamedTuple):
    """A row of a table."""

    place: str
    """Where it is: ``line 3`` of a file, or ``row 1`` (from 0) of a table in memory."""
    cells: Sequence[Any]
    """A cell for each column."""


class Table(NamedTuple):
    """A table as it was given; cells are texts of a CSV file, and else Python's or NumPy's objects."""

    source: str
    """The path of the file, or the name of the argument."""
    columns: tuple[str, ...]
    """Names of the columns."""
    rows: Iterator[Row]
    """The rows in their order."""

    def error(self, problem: str, place: str | None = None, column: str | None = None) -> TableError:
        """The error that names the table, the row and the column."""
        where = self.source
        where += "" if place is None else f", {place}"
        where += "" if column is None else f", column {shown(column)}"
        return TableError(f"{where}: {problem}")


def read_table(name: str, given: Any, max_bytes: int = MAX_BYTES) -> Table:
    """Read a table.

    Parameters
    ----------
    name:
        Name of the argument, for errors about tables in memory.
    given:
        Path of a CSV file (comma, semicolon or tab; UTF-8 or UTF-16; plain or gzip) or of a Parquet file
        (``.parquet``; needs ``pyarrow``); a dict of columns; a dataframe of pandas or polars; or any object with
        ``__arrow_c_stream__`` or ``__dataframe__`` (needs ``pyarrow``).
    max_bytes:
        Most bytes of a CSV file once it is unpacked.

    Raises
    ------
    TableError
        If the file is damaged or no table.
    TypeError
        If ``given`` is none of these.
    ImportError
        If ``pyarrow`` is needed and not installed.
    OSError
        If the file cannot be read.
    """
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        return _parquet(path) if path.suffix.lower() == PARQUET else _csv(path, max_bytes)
    if isinstance(given, Mapping):
        return _in_memory(name, {str(column): values for column, values in given.items()})
    names = list(getattr(given, "columns", ()))
    if names and all(isinstance(column, str) for column in names):
        # Dataframes of pandas and polars: their columns can be asked for without pyarrow.
        return _in_memory(name, {column: given[column] for column in names})
    if hasattr(given, "__arrow_c_stream__"):
        return _arrow(name, _pyarrow(name).table(given))
    if hasattr(given, "__dataframe__"):
        _pyarrow(name)
        from pyarrow.interchange import from_dataframe

        return _arrow(name, from_dataframe(given))
    raise TypeError(
        f"{name} must be the path of a CSV or Parquet file, a dict of columns, or a dataframe, got"
        f" {checks.shown(given)}"
    )


def is_missing(cell: Any) -> bool:
    """Whether a cell holds no value."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_TEXTS
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):  # pandas' own
        return True
    return isinstance(cell, float | np.floating) and math.isnan(cell)


def number(found: Table, row: Row, at: int, low: float = -math.inf, high: float = math.inf) -> float:
    """The number in a cell, nan if it holds none.

    Raises
    ------
    TableError
        If the cell holds something else, or a number outside [low, high].
    """
    cell, column = row.cells[at], found.columns[at]
    if is_missing(cell):
        return math.nan
    bounds = "" if low == -math.inf and high == math.inf else f" in [{low:g}, {high:g}]"
    if isinstance(cell, str):
        value = float(cell) if NUMBER.fullmatch(cell.strip()) else math.nan
    else:
        plain = checks.scalar(cell)
        try:
            is_number = not isinstance(plain, bool | np.bool_ | bytes)
            value = float(plain) if is_number else math.nan
        except (TypeError, ValueError, OverflowError):
            value = math.nan
    if not low <= value <= high or not math.isfinite(value):
        raise found.error(f"must be a number{bounds} with a decimal point, got {_shown(cell)}", row.place, column)
    return value


def text(found: Table, row: Row, at: int) -> str:
    """The text in a cell without blanks around it, "" if it holds none; a number is written out."""
    cell = row.cells[at]
    if is_missing(cell):
        return ""
    plain = checks.scalar(cell)
    if isinstance(plain, bool) or not isinstance(plain, str | int):
        raise found.error(f"must be a text, got {_shown(cell)}", row.place, found.columns[at])
    return str(plain).strip()


def yes_or_no(found: Table, row: Row, at: int) -> bool:
    """Whether a cell says yes; a cell without a value says no."""
    cell = row.cells[at]
    if is_missing(cell):
        return False
    plain = checks.scalar(cell)
    word = str(plain).strip().lower() if isinstance(plain, str | bool | int) else ""
    if word not in YES | NO:
        raise found.error(f"must be yes or no, got {_shown(cell)}", row.place, found.columns[at])
    return word in YES


def _shown(cell: Any) -> str:
    return shown(cell) if isinstance(cell, str) else checks.shown(cell)


def _csv(path: Path, max_bytes: int) -> Table:
    """A CSV file; it is opened at once, and read as the rows are taken."""
    source = TableFile(path)

    def parts() -> Iterator[Any]:
        with source.opened(max_bytes) as stream:
            head = stream.peek()
            if not head.strip():
                raise source.error("is empty; the first line must name the columns", 1)
            yield from _header_and_rows(source, stream, encoding_of(head))

    taken = parts()
    return Table(str(path), next(taken), taken)


def _header_and_rows(source: TableFile, stream: io.BufferedReader, encoding: str) -> Iterator[Any]:
    content = table(source, stream, encoding)
    if not content.headers:
        raise source.error("must name the columns, got an empty line", 1)
    if "" in content.headers:
        raise source.error(f"column {content.headers.index('') + 1} must have a name, got none", 1)
    yield tuple(content.headers)
    for line, cells in content.records:
        yield Row(f"line {line}", cells)


def _parquet(path: Path) -> Table:
    pyarrow = _pyarrow(f"reading {path}")
    from pyarrow import parquet

    try:
        found = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TableError(f"{path}: is no Parquet file ({error})") from error
    return _arrow(str(path), found)


def _pyarrow(purpose: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{purpose} needs pyarrow: pip install pyarrow", name="pyarrow") from error
    return pyarrow


def _arrow(name: str, found: Any) -> Table:
    repeated = {column for column in found.column_names if found.column_names.count(column) > 1}
    if repeated:
        raise TableError(f"{name}: the column {shown(min(repeated))} stands twice")
    return _in_memory(name, {column: found[column].to_pylist() for column in found.column_names})


def _in_memory(name: str, columns: Mapping[str, Any]) -> Table:
    """A table of columns, each a list, an array, or an object with ``tolist`` or ``to_list``."""
    if not columns:
        raise TableError(f"{name}: has no column")
    listed = {tidy(column): _listed(name, column, values) for column, values in columns.items()}
    if len(listed) < len(columns):
        raise TableError(f"{name}: two columns have one name, got {', '.join(map(repr, columns))}")
    lengths = {column: len(values) for column, values in listed.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{name}: the columns must have one length, got {lengths}")
    rows = (Row(f"row {at}", cells) for at, cells in enumerate(zip(*listed.values(), strict=True)))
    return Table(name, tuple(listed), rows)


def _listed(name: str, column: str, values: Any) -> Sequence[Any]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        values = values.astype("datetime64[us]")  # whose times become Python's; of nanoseconds it makes integers
    for method in ("to_list", "tolist"):
        if hasattr(values, method):
            values = getattr(values, method)()
            break
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise TableError(f"{name}, column {shown(column)}: must be a list or array, got {checks.shown(values)}")
    return values
