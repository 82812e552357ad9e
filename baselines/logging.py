"""Loggers of Stable-Baselines3, with a file ``metrics.csv`` that a resumed run continues."""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    HumanOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
)

from mfenvs.files import replacing

FORMATS = ("csv", "tensorboard", "stdout")

TIMESTEPS = "time/total_timesteps"
"""Name of the column with the number of timesteps that the run had done when a row was written."""


class MetricsFile(KVWriter):
    """Writer of a CSV file with one row per dump; when ``write`` returns, the row is in the file as a whole.

    A row that cannot be written as a whole is not written at all. An existing file is continued; an incomplete
    last line, as a full disk leaves one, is cut off. When a new quantity appears, the file is rewritten with one
    more column.

    Parameters
    ----------
    path:
        Path of the file.

    Raises
    ------
    ValueError
        If the file exists and one of its rows does not have as many fields as the header.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._columns: list[str] = []
        if self.path.exists():
            self._columns, _ = _read_table(self.path)
            _cut_incomplete_line(self.path)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """Append one row; quantities excluded for "csv" are left out."""
        row = {k: v for k, v in key_values.items() if "csv" not in (key_excluded.get(k) or ())}
        new = [column for column in row if column not in self._columns]
        if new:
            self._add_columns(new)
        left = _lines([[row.get(column, "") for column in self._columns]])
        with self.path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[file.write(left) :]
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise

    def close(self) -> None:
        """Do nothing: no file stays open between rows."""

    def _add_columns(self, new: list[str]) -> None:
        rows = _read_table(self.path)[1] if self.path.exists() else []
        columns = self._columns + new
        with replacing(self.path) as out:
            out.write(_lines([columns, *(row + [""] * len(new) for row in rows)]))
        self._columns = columns


def continue_from(path: str | Path, num_timesteps: int, timesteps_per_row: int) -> int:
    """Prepare the metrics file of a run that is resumed from a checkpoint.

    An incomplete last line is cut off, and rows that are later than the checkpoint are dropped: their iterations
    are repeated.

    Parameters
    ----------
    path:
        Path of the file, which need not exist.
    num_timesteps:
        Number of timesteps that were done at the checkpoint.
    timesteps_per_row:
        Number of timesteps in an iteration; every iteration has a row.

    Returns
    -------
    Number of rows before the checkpoint that the file lacks and that cannot be recovered.

    Raises
    ------
    ValueError
        If a row does not have as many fields as the header, a field is not a number, or rows are not in order. The
        file is then left as it is.
    """
    path = Path(path)
    expected = num_timesteps // timesteps_per_row
    if not path.exists():
        return expected
    header, rows = _read_table(path)
    if header and TIMESTEPS not in header:
        raise ValueError(f"{path} has no column {TIMESTEPS!r}: it does not hold the metrics of a run")
    kept, before = [], 0
    for line, row in enumerate(rows, 2):
        for name, field in zip(header, row, strict=True):
            if not _is_number(field):
                raise ValueError(f"{path}, line {line} is damaged: {name} must be a number, got {field!r}")
        timesteps = row[header.index(TIMESTEPS)]
        if not (timesteps.isascii() and timesteps.isdigit()) or int(timesteps) <= before:
            raise ValueError(
                f"{path}, line {line} is damaged: {TIMESTEPS} must be an integer > {before} (the last line's),"
                f" got {timesteps!r}"
            )
        before = int(timesteps)
        if before <= num_timesteps:
            kept.append(row)
    if len(kept) < len(rows):
        with replacing(path) as out:
            out.write(_lines([header, *kept]))
    else:
        _cut_incomplete_line(path)
    return expected - len(kept)


def configure(folder: str | Path | None, formats: Sequence[str] = ("csv",), num_timesteps: int = 0) -> Logger:
    """Make a logger of Stable-Baselines3.

    Parameters
    ----------
    folder:
        Folder of ``metrics.csv`` and TensorBoard's files; None keeps values in memory only (``name_to_value``).
    formats:
        Any of "csv", "tensorboard", "stdout".
    num_timesteps:
        Number of timesteps that the run has done. Later values that TensorBoard's files of the folder hold, of
        iterations that are now repeated, are marked as outdated. (``metrics.csv``: :func:`continue_from`.)

    Returns
    -------
    The logger. Its method ``close`` ends the thread that writes for TensorBoard.

    Raises
    ------
    ValueError
        If a format is unknown, or the folder's ``metrics.csv`` cannot be continued.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ValueError(f"formats must be among {', '.join(FORMATS)}, got {unknown[0]!r}")
    if folder is None:
        return Logger(folder=None, output_formats=[])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writers: list[KVWriter] = []
    if "csv" in formats:
        writers.append(MetricsFile(folder / "metrics.csv"))
    if "tensorboard" in formats:
        tensorboard = TensorBoardOutputFormat(str(folder))
        if num_timesteps > 0:
            _outdate_events_after(num_timesteps, tensorboard.writer)
        writers.append(tensorboard)
    if "stdout" in formats:
        writers.append(HumanOutputFormat(sys.stdout))
    return Logger(folder=str(folder), output_formats=writers)


def _outdate_events_after(step: int, writer: Any) -> None:
    """Tell whoever reads the events of a ``SummaryWriter``'s folder to forget what is later than a step."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    # What ``SummaryWriter(purge_step=...)`` writes; Stable-Baselines3 makes the writer without it.
    writer.file_writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header (empty if there is none) and the rows of a CSV file, without an incomplete last line."""
    content = path.read_bytes()
    try:
        text = content[: content.rfind(b"\n") + 1].decode()
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    if len(set(header)) < len(header):
        raise ValueError(f"{path}, line 1 is damaged: a column is named twice in {', '.join(header)}")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {line} is damaged: it has {len(row)} fields, the header {len(header)}")
    return header, rows


def _cut_incomplete_line(path: Path) -> None:
    """Cut off what follows the last line's end."""
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _is_number(field: str) -> bool:
    """Whether a field of a row is empty or a number."""
    try:
        float(field or 0)
    except ValueError:
        return False
    return True
