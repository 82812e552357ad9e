"""``mfenvs sweep``: train and measure games x algorithms x hyper-parameters x seeds, by many processes."""

import dataclasses
import importlib
import os
import sys
from pathlib import Path

import tyro
from rich.console import Console

from mfenvs import checks

from ..sweep.local_pool import LocalPool
from ..sweep.pools import Pool
from ..sweep.ray_pool import RayPool
from ..sweep.results import TABLE
from ..sweep.specification import read_specification
from ..sweep.summary import summary_table
from ..sweep.sweep import SUMMARY, Sweep, SweepSettings, run_sweep

USAGE = """\
usage: mfenvs sweep SPEC.toml [FLAGS]

Train and measure all cells of a sweep: games x algorithms x hyper-parameters x seeds. Cells that have been run are
not run again, so that the same command continues a sweep that was interrupted, or killed.
flags: mfenvs sweep SPEC.toml --help
"""


@dataclasses.dataclass(kw_only=True)
class SweepFlags:
    """How to run a sweep."""

    folder: Path | None = None
    """Folder of the sweep; by default sweeps/<name of the file>. It holds results.parquet, summary.json and one
    run folder a cell."""
    workers: int | None = None
    """Number of processes on this machine, of one thread each; by default one a core."""
    address: str | None = None
    """Address of a Ray cluster that runs the cells instead: auto for the one that this machine belongs to. All its
    machines must have mfenvs, and see the sweep's folder under the same path."""
    cpus_per_cell: float = 1.0
    """Number of CPUs that Ray reserves for each cell."""
    gpus_per_cell: float = 0.0
    """Number of GPUs that Ray reserves for each cell, or share of one."""
    retries: int = 2
    """Number of times that a cell is run again whose process has died."""
    retry_failed: bool = False
    """Whether to run cells again that have failed, or whose processes have died too often, in an earlier run."""
    dry_run: bool = False
    """Only list the cells, and what has been done of them."""

    def check(self) -> None:
        """Raise a TypeError or ValueError if a value is not allowed."""
        if self.workers is not None:
            checks.integer("workers", self.workers, 1, 4096)
            if self.address is not None:
                raise ValueError("--workers is for this machine, --address for a cluster: give one of them")
        checks.real("cpus_per_cell", self.cpus_per_cell, 0.0)
        checks.real("gpus_per_cell", self.gpus_per_cell, 0.0)
        checks.integer("retries", self.retries, 0, 1000)


def run(words: list[str]) -> int:
    """Run a sweep; return the exit status, which is 1 if a cell has failed."""
    asks_for_help = bool({"--help", "-h"} & set(words))
    if not words or words[0].startswith("-"):
        print(USAGE, file=sys.stdout if asks_for_help else sys.stderr)
        return 0 if asks_for_help else 2
    flags = tyro.cli(
        SweepFlags,
        args=words[1:],
        prog="mfenvs sweep SPEC.toml",
        description="Train and measure all cells of a sweep that have not been run.",
    )
    flags.check()
    specification = read_specification(words[0])
    folder = (flags.folder or Path("sweeps") / specification.path.stem).absolute()
    settings = SweepSettings(retries=flags.retries, retry_failed=flags.retry_failed)
    if flags.dry_run:
        _list_cells(Sweep.of(folder, specification))
        return 0
    _check_parquet()
    try:
        sweep = run_sweep(folder, specification, settings, lambda n: _pool(folder, flags, n), _report)
    except KeyboardInterrupt:
        _report(f"interrupted: finished cells are kept in {folder}; the same command continues the sweep")
        return 130
    return _show(sweep)


def _pool(folder: Path, flags: SweepFlags, n_cells: int) -> Pool:
    if flags.address is not None:
        return RayPool(folder, flags.address, flags.cpus_per_cell, flags.gpus_per_cell)
    return LocalPool(folder, min(flags.workers or _n_cores(), n_cells))


def _n_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _check_parquet() -> None:
    """Raise an error before anything is trained whose results could not be written."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("sweeps need pyarrow; run `pip install mfenvs[sweep]`") from error


def _report(line: str) -> None:
    print(line, file=sys.stderr if line.startswith("warning") else sys.stdout, flush=True)


def _list_cells(sweep: Sweep) -> None:
    """Print the cells of a sweep, one a line, and how many have been run."""
    for cell in sweep.cells:
        print(f"{sweep.state(cell):8}  {cell}  ({cell.length.amount:g} {cell.length.unit})")
    for message in sweep.damaged.values():
        _report(f"warning: {message}; the cell will be run again")
    n_run = len(sweep.results)
    print(f"{len(sweep.cells)} cells, {n_run} of them run before, in {sweep.folder}")


def _show(sweep: Sweep) -> int:
    """Print the summary of a finished sweep; return the exit status."""
    summary = sweep.summary
    table = summary_table(summary)
    if table is not None:
        Console().print(table)
    for line in summary["left_out"]:
        print(f"not in the summary: {line}")
    for package, versions in summary["versions"].items():
        if len(versions) > 1:
            print(f"results of several versions of {package}: {', '.join(versions)}")
    for line in summary["not_done"]:
        print(f"{line['status']}: {line['cell']}: {line['error']}")
    print(f"written to {sweep.folder / TABLE} and {sweep.folder / SUMMARY}")
    if not summary["not_done"]:
        return 0
    print("cells that failed are run again with --retry-failed")
    return 1
