"""Running a sweep: what has been done is kept, the rest is handed out, and everything is gathered."""

import collections
import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mfenvs.files import FileError, replacing, write_json

from ..run_folders import locked
from .cells import Cell
from .pools import Ended, Pool, Task
from .results import (
    ATTEMPTS,
    CELLS,
    TABLE,
    Result,
    commit,
    discard,
    read_result,
    read_table,
    table_rows,
    write_table,
)
from .running import new_result
from .specification import Specification
from .summary import summarise

SUMMARY = "summary.json"
SPECIFICATION = "specification.toml"

SECONDS_BETWEEN_TABLES = 30.0
"""Least time between two writings of the table while cells are run."""

Report = Callable[[str], None]
"""A function that shows a line of text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """How cells are run."""

    retries: int
    """Number of times that a cell is run again whose process has died."""
    retry_failed: bool
    """Whether cells are run again that have failed, or whose processes have died too often, in an earlier run."""


@dataclasses.dataclass
class Sweep:
    """A sweep and what has been done of it.

    Attributes
    ----------
    folder:
        Folder of the sweep.
    specification:
        What to run.
    results:
        The results so far, by the cells' names.
    damaged:
        Messages about results that cannot be read, by the cells' names. These cells are to be run again.
    summary:
        The summary (:func:`baselines.sweep.summary.summarise`) that was written last.
    """

    folder: Path
    specification: Specification
    results: dict[str, Result]
    damaged: dict[str, str]
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, specification: Specification) -> "Sweep":
        """A sweep with the results that are in its folder, which need not exist.

        Raises
        ------
        ValueError
            If there are files in the folder, and they are not those of a sweep.
        """
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"folder must be a folder, got the file {folder}")
        if folder.exists() and not (folder / CELLS).is_dir() and _holds_anything(folder):
            raise ValueError(f"folder {folder} holds files, and not those of a sweep: choose another")
        results: dict[str, Result] = {}
        damaged: dict[str, str] = {}
        for cell in specification.cells:
            path = folder / CELLS / cell.name
            if path.exists():
                try:
                    results[cell.name] = read_result(path, cell.fingerprint)
                except FileError as error:
                    damaged[cell.name] = str(error)
        return cls(folder, specification, results, damaged)

    @property
    def cells(self) -> list[Cell]:
        """All cells of the sweep."""
        return self.specification.cells

    def state(self, cell: Cell) -> str:
        """The state of a cell: that of its result, "damaged" or "to run"."""
        if cell.name in self.results:
            return self.results[cell.name].status
        return "damaged" if cell.name in self.damaged else "to run"

    def to_run(self, settings: SweepSettings) -> list[Cell]:
        """The cells that are to be run."""
        kept = ("done",) if settings.retry_failed else ("done", "failed", "killed")
        return [cell for cell in self.cells if self.state(cell) not in kept]

    def write_table(self) -> None:
        """Write the table of results."""
        cells = [cell for cell in self.cells if cell.name in self.results]
        write_table(self.folder / TABLE, table_rows(cells, [self.results[cell.name] for cell in cells]))

    def write(self) -> None:
        """Write the table of results, and the summary."""
        self.write_table()
        results = [self.results.get(cell.name) for cell in self.cells]
        self.summary = summarise(self.cells, results, self.specification.summary)
        write_json(self.folder / SUMMARY, self.summary)


def run_sweep(
    folder: Path,
    specification: Specification,
    settings: SweepSettings,
    make_pool: Callable[[int], Pool],
    report: Report,
) -> Sweep:
    """Run the cells of a sweep that have not been run, and write the table of all results and the summary.

    Parameters
    ----------
    folder:
        Folder of the sweep. No two processes can run a sweep in one folder at the same time.
    specification:
        What to run.
    settings:
        How to run it.
    make_pool:
        A function that starts the processes, given the number of cells to run. It is not called if nothing is to
        be run.
    report:
        A function that shows a line of text.

    Returns
    -------
    The sweep with all results.

    Raises
    ------
    ValueError
        If another process runs a sweep in the folder, or it holds other files.
    OSError
        If results cannot be written, or cells cannot be run at all. Finished cells are kept.
    KeyboardInterrupt
        After Ctrl-C, when all processes have been ended and the table has been written.
    """
    Sweep.of(folder, specification)  # A folder that is refused is left as it is.
    with locked(folder):
        sweep = Sweep.of(folder, specification)
        (folder / CELLS).mkdir(exist_ok=True)
        _clear_attempts(folder)
        with replacing(folder / SPECIFICATION) as file:
            file.write(specification.text.encode())
        _report_damage(sweep, report)
        (folder / ATTEMPTS).mkdir(exist_ok=True)
        cells = sweep.to_run(settings)
        if len(cells) < len(sweep.cells):
            report(f"{len(sweep.cells) - len(cells)} of {len(sweep.cells)} cells have been run before")
        for cell in cells:
            if cell.name in sweep.results or cell.name in sweep.damaged:
                discard(folder, cell, new_result(cell, 1).token)
                sweep.results.pop(cell.name, None)
        with _cleared_in_the_end(folder), _written_in_the_end(sweep):
            if cells:
                with _closed_in_the_end(make_pool(len(cells))) as pool:
                    report(f"{len(cells)} cells to run, by {pool.description}")
                    _run_cells(sweep, cells, pool, settings.retries, report)
    return sweep


def _run_cells(sweep: Sweep, cells: Sequence[Cell], pool: Pool, retries: int, report: Report) -> None:
    waiting = collections.deque(Task(cell, 1) for cell in cells)
    n_running, n_finished, written = 0, 0, time.monotonic()
    while waiting or n_running:
        while waiting and n_running < pool.capacity:
            pool.submit(waiting.popleft())
            n_running += 1
        for ended in pool.wait():
            n_running -= 1
            cell = ended.task.cell
            result = ended.result or _result_before_death(sweep.folder, cell)
            if result is None and ended.task.attempt <= retries:
                report(f"the process of {cell} died ({ended.death}): the cell will be run again")
                waiting.append(Task(cell, ended.task.attempt + 1))
                continue
            result = result or _give_up(sweep.folder, ended)
            sweep.results[cell.name] = result
            n_finished += 1
            report(f"[{n_finished}/{len(cells)}] {cell}: {_outcome(result)}")
        if time.monotonic() - written >= SECONDS_BETWEEN_TABLES:
            sweep.write_table()
            written = time.monotonic()


def _result_before_death(folder: Path, cell: Cell) -> Result | None:
    """The result of a cell whose process has died, if it was written before."""
    try:
        return read_result(folder / CELLS / cell.name, cell.fingerprint)
    except FileError:
        return None


def _give_up(folder: Path, ended: Ended) -> Result:
    """The result of a cell whose processes have died too often."""
    cell, attempt = ended.task.cell, ended.task.attempt
    error = f"all {attempt} processes that ran the cell died, the last so: {ended.death}"
    result = dataclasses.replace(new_result(cell, attempt), error=error)
    own = folder / ATTEMPTS / f"{cell.name}-{result.token}"
    own.mkdir()
    return commit(folder, cell, own, result)


def _outcome(result: Result) -> str:
    if result.status != "done":
        return f"{result.status}: {(result.error or '').strip().splitlines()[-1]}"
    shown = [
        f"{name} {result.measures[name]:.4g}"
        for name in ("mean_field_exploitability", "max", "return")
        if name in result.measures
    ]
    return f"{shown[0]}, {result.iterations} iterations, {result.training_seconds:.1f} s"


def _report_damage(sweep: Sweep, report: Report) -> None:
    for message in sweep.damaged.values():
        report(f"warning: {message}; the cell is run again")
    table = sweep.folder / TABLE
    if table.exists():
        try:
            read_table(table)
        except FileError as error:
            report(f"warning: {error}; it is written anew")
    expected = {cell.name for cell in sweep.cells}
    others = [path for path in (sweep.folder / CELLS).iterdir() if path.name not in expected]
    if others:
        report(f"{len(others)} finished cells in {sweep.folder / CELLS} are not in the specification: left alone")


@contextlib.contextmanager
def _closed_in_the_end(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.close()


@contextlib.contextmanager
def _cleared_in_the_end(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _clear_attempts(folder)


@contextlib.contextmanager
def _written_in_the_end(sweep: Sweep) -> Iterator[None]:
    """A context that writes the table and the summary when it ends, also by an error or Ctrl-C."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # The first error says more.
            sweep.write()
        raise
    sweep.write()


def _clear_attempts(folder: Path) -> None:
    """Delete the folders of cells that have not been finished."""
    shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)


def _holds_anything(folder: Path) -> bool:
    return any(path.name != ".lock" for path in folder.iterdir())
