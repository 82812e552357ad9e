"""Cells in processes of this machine: processes that die, their threads, and their end."""

import os
import re
import signal
from pathlib import Path

import pytest
from tiny_sweeps import read, troubled, wait_until

from baselines.sweep.local_pool import LocalPool
from baselines.sweep.pools import Task
from baselines.sweep.results import CELLS
from baselines.sweep.sweep import SweepSettings, run_sweep


@pytest.mark.slow
def test_a_process_that_is_killed_is_noticed_and_its_cell_run_again(game_in_cwd, tmp_path) -> None:
    """The first cell kills its process once, the second raises an exception, the third does neither."""
    pytest.importorskip("pyarrow", reason="sweeps write parquet files")
    specification = read(tmp_path, troubled(game_in_cwd, "[1.0, 0.5, 3.0]", 1))
    lines: list[str] = []
    folder, settings = tmp_path / "out", SweepSettings(retries=1, retry_failed=False)
    sweep = run_sweep(folder, specification, settings, lambda n: LocalPool(folder, 1), lines.append)
    found = [sweep.results[cell.name] for cell in sweep.cells]
    assert [(result.status, result.attempt) for result in found] == [("done", 2), ("failed", 1), ("done", 1)]
    assert "ArithmeticError: no such crowd" in str(found[1].error)
    again = [line for line in lines if "died (killed by SIGKILL): the cell will be run again" in line]
    assert len(again) == 1
    assert len(list((folder / CELLS).iterdir())) == 3


def test_processes_have_one_thread_and_end_when_they_are_told_to(game_in_cwd, tmp_path, monkeypatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    specification = read(tmp_path, troubled(game_in_cwd, "[2.0]", 1))
    folder = tmp_path / "out"
    (folder / CELLS).mkdir(parents=True)
    pool = LocalPool(folder, 1)
    pool.submit(Task(specification.cells[0], 1))
    wait_until(lambda: list(tmp_path.glob("waiting-*")), "the cell did not begin")
    (process,) = (int(path.name.partition("-")[2]) for path in tmp_path.glob("waiting-*"))
    settings = Path(f"/proc/{process}/environ")
    if settings.exists():  # Linux only.
        environment = dict(pair.split("=", 1) for pair in settings.read_text().split("\0") if "=" in pair)
        assert {environment[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "NUMBA")} == {"1"}
        # Ctrl-C reaches all processes of a terminal; it is not for this one.
        ignored = re.search(r"SigIgn:\s*([0-9a-f]+)", Path(f"/proc/{process}/status").read_text())
        assert ignored is not None
        assert int(ignored[1], 16) >> (signal.SIGINT - 1) & 1
    assert os.environ["OMP_NUM_THREADS"] == "2"
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.slow
def test_a_result_that_cannot_be_written_ends_the_sweep(tmp_path) -> None:
    """Every other cell would be lost too."""
    specification = read(tmp_path)
    pool = LocalPool(tmp_path / "gone", 1)
    pool.submit(Task(specification.cells[0], 1))
    with pytest.raises(
        OSError, match=r"there is no folder .*gone/cells on .* \(while omd learning_rate=0.1 on rps"
    ):
        pool.wait()
    pool.close()
