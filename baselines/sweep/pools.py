"""What a sweep needs of the processes that run its cells, be they of this machine or of a cluster."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Protocol

from .cells import Cell
from .results import Result

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Environment variables of the processes that run cells: one thread each, as many processes share a machine."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A cell to run, and how often it was begun before, plus one."""

    cell: Cell
    attempt: int


@dataclasses.dataclass(frozen=True)
class Ended:
    """The end of a task: with a result, or by the death of the process that ran it."""

    task: Task
    result: Result | None
    """The cell's result; None if the process died."""
    death: str = ""
    """How the process died."""


class Pool(Protocol):
    """Processes that run cells."""

    capacity: int
    """Number of tasks that may be submitted and not have ended."""
    description: str
    """The processes in words: how many, and where."""

    def submit(self, task: Task) -> None:
        """Let a process run a task."""

    def wait(self) -> list[Ended]:
        """Wait until at least one of the submitted tasks ends, and return those that have ended.

        Raises
        ------
        OSError, RuntimeError
            If the tasks cannot be run at all: a result cannot be written, or the cluster is gone.
        """

    def close(self) -> None:
        """End all processes at once, whatever they do."""


@contextlib.contextmanager
def environment_of_one_thread() -> Iterator[None]:
    """A context in which processes that are started get :data:`ONE_THREAD`."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
