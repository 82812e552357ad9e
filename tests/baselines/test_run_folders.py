"""Run folders, by processes that want the same one at the same time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.run_folders import check_is_unused, locked, make_folder

MAKE = """
import sys
from pathlib import Path
from baselines.run_folders import make_folder
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
print(make_folder(Path("runs"), "omd-Epidemic").name)
"""

HOLD = """
import sys
from pathlib import Path
from baselines.run_folders import locked
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
try:
    with locked(Path("run")):
        sys.stdout.write("holds it\\n"); sys.stdout.flush()
        sys.stdin.readline()
except ValueError as error:
    print(error)
"""


def started(code: str, folder: Path) -> subprocess.Popen[str]:
    """A process that is about to want a folder, and waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert answer(process) == "ready"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_of_many_processes_makes_a_folder_of_its_own(tmp_path) -> None:
    processes = [started(MAKE, tmp_path) for _ in range(6)]
    for process in processes:
        go(process)
    made = [process.communicate()[0].strip() for process in processes]
    assert sorted(made) == ["omd-Epidemic", *(f"omd-Epidemic-{i}" for i in range(2, 7))]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(made)


def test_one_process_holds_a_folder_until_it_ends_or_is_killed(tmp_path) -> None:
    processes = [started(HOLD, tmp_path) for _ in range(3)]
    for process in processes:
        go(process)
    answers = [answer(process) for process in processes]
    assert (
        sorted(answers)[0]
        == sorted(answers)[1]
        == ("folder run belongs to a run that is going on: wait for it or choose another")
    )
    assert answers.count("holds it") == 1
    holder = processes[answers.index("holds it")]
    with pytest.raises(ValueError, match="belongs to a run that is going on"), locked(tmp_path / "run"):
        pass
    if sys.platform == "win32":
        holder.kill()
    else:
        holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        pass
    for process in processes:
        process.communicate()


def test_a_folder_is_held_against_the_same_process_too(tmp_path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(ValueError, match="belongs to a run that is going on"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass


def test_a_file_of_a_run_is_enough_to_refuse_a_folder(tmp_path) -> None:
    make_folder(tmp_path, "run")
    check_is_unused(tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").touch()
    with pytest.raises(ValueError, match=r"run already holds a run \(metrics.csv\): choose another"):
        check_is_unused(tmp_path / "run")
