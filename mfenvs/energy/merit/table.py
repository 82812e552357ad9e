"""Long tables as data frames and Parquet files; pandas and pyarrow are needed only here."""

import importlib
from pathlib import Path
from typing import Any

from mfenvs.files import replacing

INTEGERS, NUMBERS = ("world", "day"), ("value", "low", "high")
"""Columns of integers and of numbers, in which entries may be missing; the others hold texts."""

Columns = dict[str, list[Any]]


def to_dataframe(columns: Columns) -> Any:
    """A ``pandas.DataFrame`` of these columns, its integers nullable (``Int64``).

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    pandas = _needed("pandas", "a data frame")
    frame = pandas.DataFrame(columns)
    return frame.astype(dict.fromkeys(INTEGERS, "Int64") | dict.fromkeys(NUMBERS, "float64"))


def write_parquet(path: str | Path, columns: Columns) -> None:
    """Write these columns as a Parquet file, whole or not at all.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    arrow = _needed("pyarrow", "a Parquet file")
    kinds = {name: arrow.int64() for name in INTEGERS} | {name: arrow.float64() for name in NUMBERS}
    arrays = {name: arrow.array(column, kinds.get(name, arrow.string())) for name, column in columns.items()}
    table = arrow.table(arrays)
    with replacing(path) as file:
        importlib.import_module("pyarrow.parquet").write_table(table, file)


def _needed(package: str, what: str) -> Any:
    """An optional package."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModuleNotFoundError(f"{what} needs {package}; run `pip install {package}`", name=package) from error
