"""Loggers: SB3's, with a ``metrics.csv`` that a resumed run continues."""

import csv
from collections.abc import Sequence
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


class MetricsFile(KVWriter):
    """Appends one row per dump to a CSV file; rows are on disk when ``write`` returns.

    A file that is already there is continued. When a new quantity appears the file is rewritten with
    one more column.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._columns: list[str] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                self._columns = next(csv.reader(file), [])

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """Append one row; quantities excluded for "csv" are left out."""
        row = {k: v for k, v in key_values.items() if "csv" not in (key_excluded.get(k) or ())}
        new = [column for column in row if column not in self._columns]
        if new:
            self._add_columns(new)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([row.get(column, "") for column in self._columns])

    def close(self) -> None:
        """Do nothing: no file stays open between rows."""

    def _add_columns(self, new: list[str]) -> None:
        rows: list[list[str]] = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = list(csv.reader(file))[1:]
        self._columns = self._columns + new
        lines = [",".join(self._columns)] + [",".join(row + [""] * len(new)) for row in rows]
        with replacing(self.path) as out:
            out.write(("\r\n".join(lines) + "\r\n").encode())


def drop_rows_after(path: str | Path, num_timesteps: int) -> None:
    """Drop the rows of a metrics file that are later than a checkpoint from which a run goes on."""
    path = Path(path)
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    place = header.index("time/total_timesteps") if "time/total_timesteps" in header else None
    kept = [row for row in rows if place is None or int(row[place]) <= num_timesteps]
    if len(kept) < len(rows):
        with replacing(path) as out:
            out.write("".join(",".join(row) + "\r\n" for row in (header, *kept)).encode())


def configure(folder: str | Path | None, formats: Sequence[str] = ("csv",)) -> Logger:
    """Make a logger.

    Parameters
    ----------
    folder:
        Where ``metrics.csv`` and TensorBoard's files go; None keeps values in memory only (``name_to_value``).
    formats:
        Any of "csv", "tensorboard", "stdout".

    Raises
    ------
    ValueError
        If a format is unknown.
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
        writers.append(TensorBoardOutputFormat(str(folder)))
    if "stdout" in formats:
        import sys

        writers.append(HumanOutputFormat(sys.stdout))
    return Logger(folder=str(folder), output_formats=writers)
