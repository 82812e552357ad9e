"""``mfenvs sweep`` through its entry point and as a process that is interrupted and killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_sweeps import InlinePool, troubled, wait_until, write_specification

from baselines.cli.main import main
from baselines.sweep.results import ATTEMPTS, CELLS, RESULT, TABLE, read_table

ROOT = Path(__file__).parents[3]


def sweep(*words: str | Path) -> int:
    return main(["sweep", *map(str, words)])


def test_a_dry_run_lists_the_cells_and_runs_nothing(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_specification(tmp_path)
    assert sweep(path, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "to run    omd learning_rate=0.1 on rps, seed 0  (2 iterations)"
    assert lines[-1] == f"4 cells, 0 of them run before, in {tmp_path / 'sweeps' / 'spec'}"
    assert len(lines) == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: mfenvs sweep SPEC.toml"),
        (["--dry-run"], "usage: mfenvs sweep SPEC.toml"),
        (["none.toml"], "cannot read none.toml: No such file"),
        (["{}", "--workers", "0"], "workers must be an integer in [1, 4096], got 0"),
        (["{}", "--retries", "-1"], "retries must be an integer in [0, 1000], got -1"),
        (["{}", "--gpus-per-cell", "-1"], "gpus_per_cell must be"),
        (["{}", "--workers", "2", "--address", "auto"], "--workers is for this machine, --address for a cluster"),
    ],
)
def test_errors_name_what_is_wrong(words: list[str], message: str, tmp_path, capsys) -> None:
    path = write_specification(tmp_path)
    assert sweep(*(word.format(path) for word in words)) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_help_explains_all_flags(capsys) -> None:
    assert sweep("--help") == 0
    with pytest.raises(SystemExit) as stopped:
        sweep("spec.toml", "--help")
    assert stopped.value.code == 0
    assert "--retry-failed" in capsys.readouterr().out


def test_what_is_not_installed_is_said_before_anything_is_run(tmp_path, capsys, monkeypatch) -> None:
    path = write_specification(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert sweep(path, "--folder", tmp_path / "out") == 2
    assert "sweeps need pyarrow; run `pip install mfenvs[sweep]`" in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip("pyarrow")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sweep(path, "--folder", tmp_path / "out", "--address", "auto") == 2
    assert "--address needs Ray; run `pip install mfenvs[ray]`" in capsys.readouterr().err
    assert not list((tmp_path / "out" / CELLS).iterdir())


def started(folder: Path, specification: Path) -> "subprocess.Popen[str]":
    """A process that sweeps, with two cells finished, and two others that wait in processes of their own."""
    for path in folder.glob("waiting-*"):
        path.unlink()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "baselines.cli",
            "sweep",
            specification,
            "--folder",
            folder / "out",
            "--workers",
            "2",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )

    def has_begun() -> bool:
        assert process.poll() is None, process.communicate()
        return len(waiting(folder)) == len(finished(folder / "out")) == 2

    wait_until(has_begun, "the sweep did not begin")
    return process


def finished(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob(f"{CELLS}/*/{RESULT}")}


def waiting(folder: Path) -> list[int]:
    """The processes of the cells that wait."""
    return [int(path.name.partition("-")[2]) for path in folder.glob("waiting-*")]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_killed_and_an_interrupted_sweep_are_continued(game_in_cwd, tmp_path, capsys) -> None:
    """Of six cells (two values of a constant, three seeds) those with the one value wait until a file is there."""
    pytest.importorskip("pyarrow", reason="sweeps write parquet files")
    specification = write_specification(tmp_path, troubled(game_in_cwd, "[3.0, 2.0]", 3))
    out = tmp_path / "out"

    process = started(tmp_path, specification)
    kept = finished(out)
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(is_alive, waiting(tmp_path))), "processes outlived the sweep that was killed")

    process = started(tmp_path, specification)
    assert sweep(specification, "--folder", out, "--workers", "1") == 2
    assert "belongs to a run that is going on" in capsys.readouterr().err
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: the processes of the cells get it too.
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "2 of 6 cells have been run before" in shown
    assert f"interrupted: finished cells are kept in {out}; the same command continues the sweep" in shown
    assert not errors
    assert not any(map(is_alive, waiting(tmp_path)))
    assert not (out / ATTEMPTS).exists()
    assert finished(out) == kept
    assert {row["cell"] for row in read_table(out / TABLE)} == kept.keys()

    (tmp_path / "open").touch()
    assert sweep(specification, "--folder", out, "--workers", "1") == 0
    shown = capsys.readouterr().out
    assert "2 of 6 cells have been run before" in shown
    assert "[4/4]" in shown
    assert len(finished(out)) == 6
    assert kept.items() <= finished(out).items()
    rows = read_table(out / TABLE)
    assert {row["cell"] for row in rows} == finished(out).keys()
    assert [row["status"] for row in rows] == ["done"] * 6
    # Two that finished, two that were killed, two that were interrupted, and the four that were left.
    assert len((tmp_path / "begun").read_text().split()) == 10
    assert [(row["seed"], row["constants.crowding"]) for row in rows] == [
        (seed, crowding) for seed in range(3) for crowding in (3.0, 2.0)
    ]
    assert not (out / ATTEMPTS).exists()


def test_a_failed_cell_is_told_and_the_status_is_1(game_in_cwd, tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("pyarrow", reason="sweeps write parquet files")
    monkeypatch.setattr("baselines.cli.sweep.LocalPool", lambda folder, n_workers: InlinePool(folder))
    specification = write_specification(tmp_path, troubled(game_in_cwd, "[0.5]", 1))
    assert sweep(specification, "--folder", tmp_path / "out", "--workers", "1") == 1
    shown = capsys.readouterr().out
    assert re.search(r"failed: omd-Troubled\d+-v0-seed0-[0-9a-f]{12}: ArithmeticError: no such crowd", shown)
    assert "--retry-failed" in shown


def test_the_example_is_a_specification(capsys) -> None:
    assert sweep(ROOT / "examples" / "sweep.toml", "--dry-run") == 0
    assert "27 cells, 0 of them run before" in capsys.readouterr().out
