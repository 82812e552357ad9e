"""Processes of this machine that run cells, one cell at a time each.

A process that dies is noticed by the end of its pipe, and another takes its place. The processes end when the
process that started them does, however it ends: their end of the pipe tells them.
"""

import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from .pools import Ended, Task, environment_of_one_thread
from .results import Result
from .running import run_cell

SECONDS_TO_DIE = 10.0
"""Time that is waited for a killed process to be gone."""


class LocalPool:
    """Processes of this machine that run cells; each is started when it is needed first.

    Parameters
    ----------
    sweep:
        Folder of the sweep.
    n_workers:
        Number of processes.
    """

    def __init__(self, sweep: Path, n_workers: int) -> None:
        self.capacity = n_workers
        self.description = f"{n_workers} process{'es' if n_workers > 1 else ''} of this machine"
        self._sweep = sweep
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    def submit(self, task: Task) -> None:
        """Let a process run a task; there must be fewer than ``capacity`` that run."""
        while True:
            worker = self._idle.pop() if self._idle else _Worker(self._sweep)
            try:
                worker.connection.send(task)
            except OSError:
                worker.kill()  # It died while it had nothing to do: the task is not touched by that.
                continue
            worker.task = task
            self._busy[worker.connection] = worker
            return

    def wait(self) -> list[Ended]:
        """Wait until at least one task ends."""
        ended = []
        for connection in multiprocessing.connection.wait(list(self._busy)):
            assert isinstance(connection, Connection)
            worker = self._busy.pop(connection)
            assert worker.task is not None
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                ended.append(Ended(worker.task, None, worker.death()))
                continue
            if not isinstance(answer, Result):
                raise OSError(answer)
            ended.append(Ended(worker.task, answer))
            self._idle.append(worker)
        return ended

    def close(self) -> None:
        """Kill all processes."""
        for worker in (*self._busy.values(), *self._idle):
            worker.kill()
        self._busy.clear()
        self._idle.clear()


class _Worker:
    """A process that runs cells, seen from the process that started it."""

    def __init__(self, sweep: Path) -> None:
        # A forked process would keep the sweep's lock, and threads of numba and torch do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=_serve, args=(its_end, sweep, str(Path.cwd())), daemon=True)
        with environment_of_one_thread(), _interrupt_held_back():
            self._process.start()
        its_end.close()

    def death(self) -> str:
        """How the process ended, whose pipe has; it is killed if it lives on."""
        self._process.join(SECONDS_TO_DIE)
        code = self._process.exitcode
        self.kill()
        if code is None:
            return "it closed its pipe and did not end"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """Kill the process, if it lives."""
        self._process.kill()
        self._process.join(SECONDS_TO_DIE)
        self.connection.close()


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """A context in which processes that are started inherit that Ctrl-C is not for them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, sweep: Path, search_path: str) -> None:
    """Run tasks that come through a pipe, until it ends: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    while True:
        task = tasks.get()
        answer: Result | str
        try:
            answer = run_cell(sweep, task.cell, task.attempt, search_path)
        except OSError as error:
            answer = f"{error} (while {task.cell} was run)"
        except Exception:
            answer = traceback.format_exc()
        connection.send(answer)


def _receive(connection: Connection, tasks: "queue.SimpleQueue[Task]") -> None:
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(1)  # The sweep has ended, or was killed: nobody waits for a result.
