"""Tiny sweeps for tests: specifications, and games that wait, die or fail inside a cell."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baselines.sweep.pools import Ended, Task
from baselines.sweep.running import run_cell
from baselines.sweep.specification import Specification, read_specification
from baselines.sweep.sweep import Sweep, SweepSettings, run_sweep

TINY = """\
seeds = 2
iterations = 2
[[games]]
game = "RockPaperScissors-v0"
label = "rps"
constants = { n_agents = 20, horizon = 3 }
[[algorithms]]
algorithm = "omd"
grid = { learning_rate = [0.1, 0.2] }
[measures]
n_worlds = 2
deviators_per_world = 2
[summary]
resamples = 50
"""

GAME = '''\
"""Rock-paper-scissors whose crowding decides what becomes of the cell: it waits, its process dies, or it fails."""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

from mfenvs import register
from mfenvs.games.rock_paper_scissors import RockPaperScissors

HERE = Path(__file__).parent
WAITS, DIES_ONCE, ALWAYS_DIES, FAILS = 2.0, 1.0, 0.75, 0.5


@dataclasses.dataclass(kw_only=True)
class Troubled(RockPaperScissors):
    def __post_init__(self):
        super().__post_init__()
        if Path(getattr(sys.stdout, "name", "")).name != "output.txt":
            return  # The specification is being read; what a cell prints goes to a file of this name.
        with (HERE / "begun").open("a") as file:
            print(self.crowding, file=file)
        if self.crowding == WAITS:
            (HERE / f"waiting-{os.getpid()}").touch()
            while not (HERE / "open").exists():
                time.sleep(0.02)
        if self.crowding == ALWAYS_DIES or (self.crowding == DIES_ONCE and not (HERE / "died").exists()):
            (HERE / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.crowding == FAILS:
            raise ArithmeticError("no such crowd")


register("Troubled{number}-v0", Troubled)
'''

_numbers = iter(range(1000))


def write_specification(folder: Path, text: str = TINY) -> Path:
    """A file with the text of a specification."""
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def read(folder: Path, text: str = TINY) -> Specification:
    return read_specification(write_specification(folder, text))


def write_game(folder: Path) -> str:
    """Write a module with a game that waits, dies or fails in a cell; return its name as MODULE:GAME."""
    number = next(_numbers)
    (folder / f"troubled_{number}.py").write_text(GAME.replace("{number}", str(number)))
    return f"troubled_{number}:Troubled{number}-v0"


def troubled(game: str, crowding: str, seeds: int, length: str = "iterations = 2") -> str:
    """A specification of the game that :func:`write_game` wrote, with these values of its crowding."""
    text = TINY.replace("RockPaperScissors-v0", game).replace("grid = { learning_rate = [0.1, 0.2] }\n", "")
    text = text.replace("seeds = 2", f"seeds = {seeds}").replace("iterations = 2", length)
    return text.replace("[[algorithms]]", f"grid = {{ crowding = {crowding} }}\n[[algorithms]]")


class InlinePool:
    """A pool that runs cells in this process, and does other things with them if asked to."""

    capacity = 3
    description = "this process"

    def __init__(self, sweep: Path, ends: Callable[[Task], Ended | None] = lambda task: None) -> None:
        self._sweep, self._ends = sweep, ends
        self._submitted: list[Task] = []
        self.tasks: list[Task] = []
        self.is_closed = False

    def submit(self, task: Task) -> None:
        assert len(self._submitted) < self.capacity
        self._submitted.append(task)
        self.tasks.append(task)

    def wait(self) -> list[Ended]:
        assert self._submitted
        task = self._submitted.pop(0)
        return [self._ends(task) or Ended(task, run_cell(self._sweep, task.cell, task.attempt, str(self._sweep)))]

    def close(self) -> None:
        self.is_closed = True


def sweep_inline(
    folder: Path,
    specification: Specification,
    ends: Callable[[Task], Ended | None] = lambda task: None,
    **settings: Any,
) -> tuple[Sweep, list[Task], list[str]]:
    """Run a sweep in this process; the sweep, the tasks that were run, and the lines that were reported."""
    pool, lines = InlinePool(folder, ends), list[str]()
    sweep = run_sweep(
        folder,
        specification,
        SweepSettings(**{"retries": 2, "retry_failed": False, **settings}),
        lambda n: pool,
        lines.append,
    )
    assert pool.is_closed or not pool.tasks
    return sweep, pool.tasks, lines


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120.0) -> None:
    """Wait until a condition holds; the test fails if it does not within a generous time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
