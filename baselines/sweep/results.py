"""Results of cells: a file for each, with a checksum, and one table of all."""

import dataclasses
import hashlib
import importlib
import json
import shutil
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from mfenvs.files import FileError, plain, read_json, replacing, write_json

from .cells import FORMAT, Cell

CELLS, ATTEMPTS, TABLE = "cells", "attempts", "results.parquet"
"""Names in a sweep's folder: of the folder of finished cells, of that of running ones, and of the table."""

RESULT = "result.json"
"""Name of the file in a cell's folder that holds its result, written last."""

TYPES_OF_NONE = {
    "exploitability": "float64",
    "uniform_exploitability": "float64",
    "exploitability_measure": "string",
    "return": "float64",
    "error": "string",
}
"""Types of the columns of the table that may hold no value at all."""

Status = Literal["done", "failed", "killed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Result of a cell."""

    fingerprint: str
    """The cell's fingerprint."""
    status: Status
    """"done"; "failed" if an exception was raised; "killed" if the processes that ran it died again and again."""
    error: str | None = None
    """The traceback of a failed cell, or how the processes of a killed one ended."""
    attempt: int
    """Number of the attempt, from 1: above 1 if processes died."""
    token: str
    """A random word that tells this run of the cell from all others."""
    host: str
    """Name of the machine."""
    started: str
    """When the attempt began, UTC, ISO 8601."""
    iterations: int = 0
    """Number of iterations done."""
    timesteps: int = 0
    """Number of timesteps done, as the trainer counts them."""
    has_converged: bool = False
    """Whether the algorithm noticed that it had converged, and ended."""
    training_seconds: float = 0.0
    """Duration of the training. The first cells of a process include compilation."""
    measuring_seconds: float = 0.0
    """Duration of the measurements."""
    measures: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Measures of the learned policy (:func:`baselines.policy_measures.measure_policy`)."""
    uniform: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The same measures of the policy that plays all actions with the same probability."""
    versions: dict[str, str]
    """Versions of Python and the packages that a result depends on."""

    @classmethod
    def of_json(cls, content: Any) -> Self:
        """The result that a JSON object holds; ValueError if it has other keys, or values of other types."""
        hints = typing.get_type_hints(cls)
        if not isinstance(content, dict) or content.keys() != hints.keys():
            raise ValueError(f"it must hold {', '.join(hints)}, got {content!r:.200}")
        for name, kind in hints.items():
            value = content[name]
            if typing.get_origin(kind) is Literal:
                is_right = value in typing.get_args(kind)
            elif typing.get_origin(kind) is dict:
                is_right = isinstance(value, dict)
            else:
                is_right = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
            if not is_right:
                raise ValueError(f"{name} must be {kind}, got {value!r:.100}")
        return cls(**content)


def write_result(folder: Path, result: Result) -> None:
    """Write the result of a cell into its folder, with a checksum."""
    content = dataclasses.asdict(result)
    write_json(folder / RESULT, {"format": FORMAT, "checksum": _checksum(content), "result": content})


def read_result(folder: Path, fingerprint: str) -> Result:
    """Read the result of a cell from its folder.

    Raises
    ------
    FileError
        If the file is missing or damaged, or is that of another cell; the message names it.
    """
    path = folder / RESULT
    content = read_json(path)
    if not isinstance(content, dict) or content.keys() != {"format", "checksum", "result"}:
        raise FileError(f"{path} is not the result of a cell")
    if content["format"] != FORMAT:
        raise FileError(f"{path} is of format {content['format']!r:.20}, not {FORMAT}")
    if content["checksum"] != _checksum(content["result"]):
        raise FileError(f"{path} is damaged: its content does not have its checksum")
    try:
        result = Result.of_json(content["result"])
    except ValueError as error:
        raise FileError(f"{path} is not the result of a cell: {error}") from error
    if result.fingerprint != fingerprint:
        raise FileError(f"{path} is the result of another cell")
    return result


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=plain).encode()).hexdigest()


def commit(sweep: Path, cell: Cell, attempt_folder: Path, result: Result) -> Result:
    """Make the folder of an attempt that of the cell, all at once, unless the cell has a result already.

    A process that was given up as dead may still finish its cell, at the same time as the one that took it over.
    The first result counts.

    Returns
    -------
    The result that the cell has now.
    """
    # As it will be read again: numbers of NumPy become plain ones.
    result = Result.of_json(json.loads(json.dumps(dataclasses.asdict(result), default=plain)))
    write_result(attempt_folder, result)
    final = sweep / CELLS / cell.name
    try:
        attempt_folder.rename(final)
    except OSError:
        if not (final / RESULT).exists():
            raise
        shutil.rmtree(attempt_folder, ignore_errors=True)
        return read_result(final, cell.fingerprint)
    return result


def discard(sweep: Path, cell: Cell, token: str) -> None:
    """Take the folder of a cell away, all at once, and delete it."""
    trash = sweep / ATTEMPTS / f"{cell.name}-{token}-discarded"
    (sweep / CELLS / cell.name).rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def table_rows(cells: Sequence[Cell], results: Sequence[Result]) -> list[dict[str, Any]]:
    """One flat row for each cell and its result, all with the same columns.

    Constants and hyper-parameters that the sweep sets have columns ``constants.<name>`` and
    ``hyper_parameters.<name>``, measures ``measures.<name>`` and ``uniform.<name>``; an interval becomes two
    columns that end in ``_low`` and ``_high``. What does not apply is None.
    """
    rows = [_row(cell, result) for cell, result in zip(cells, results, strict=True)]
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def exploitability_of(measures: dict[str, Any]) -> tuple[str | None, float | None]:
    """The name and the value of the exploitability among measures: in the mean-field game, else among N agents."""
    for name in ("mean_field_exploitability", "max"):
        if name in measures:
            return name, measures[name]
    return None, None


def _row(cell: Cell, result: Result) -> dict[str, Any]:
    kind, exploitability = exploitability_of(result.measures)
    row: dict[str, Any] = {
        "cell": cell.name,
        "game": cell.game,
        "game_label": cell.game_label,
        "algorithm": cell.algorithm,
        "algorithm_label": cell.algorithm_label,
        "seed": cell.seed,
        "status": result.status,
        "exploitability": exploitability,
        "uniform_exploitability": None if kind is None else result.uniform.get(kind),
        "exploitability_measure": kind,
        "return": result.measures.get("return"),
        "iterations": result.iterations,
        "timesteps": result.timesteps,
        "has_converged": result.has_converged,
        "training_seconds": result.training_seconds,
        "measuring_seconds": result.measuring_seconds,
        "length_unit": cell.length.unit,
        "length": float(cell.length.amount),
        "measuring_seed": cell.measurement["seed"],
        "error": result.error,
        "attempt": result.attempt,
        "token": result.token,
        "host": result.host,
        "started": result.started,
        "fingerprint": cell.fingerprint,
        "versions": json.dumps(result.versions, sort_keys=True),
    }
    for name, values in (("constants", cell.constants), ("hyper_parameters", cell.hyper_parameters)):
        row |= {f"{name}.{key}": _scalar(value) for key, value in values.items()}
    for name, values in (("measures", result.measures), ("uniform", result.uniform)):
        for key, value in values.items():
            if isinstance(value, list) and len(value) == 2:
                row |= {f"{name}.{key}_low": value[0], f"{name}.{key}_high": value[1]}
            else:
                row[f"{name}.{key}"] = _scalar(value)
    return row


def _scalar(value: Any) -> Any:
    """A value that a column can hold: lists become JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows with the same columns to a parquet file.

    A column of numbers of which some are no integers becomes one of floats; one of several kinds of values, or of
    integers beyond 64 bits, becomes one of texts.
    """
    arrow: Any = importlib.import_module("pyarrow")
    columns = {
        name: arrow.array(_of_one_kind([row[name] for row in rows]), TYPES_OF_NONE.get(name))
        for name in (rows[0] if rows else ())
    }
    table = arrow.table(columns)
    with replacing(path) as file:
        importlib.import_module("pyarrow.parquet").write_table(table, file)


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a parquet file; FileError that names the file if it cannot be read."""
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except Exception as error:  # OSError or ArrowInvalid, whichever part is damaged.
        raise FileError(f"{path} is not a parquet file, or is damaged: {error}") from error
    return rows


def _of_one_kind(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and any(value is not None and not -(2**63) <= value < 2**63 for value in values):
        return [None if value is None else str(value) for value in values]
    if len(kinds) < 2:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
