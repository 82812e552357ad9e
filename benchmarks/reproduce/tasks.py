"""Independent tasks in a few processes, of which an interruption keeps what is complete."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from rich.progress import Progress

Tasks = dict[tuple[Any, ...], Callable[[], Any]]


def run_all(tasks: Tasks, n_processes: int, what: str) -> tuple[dict[tuple[Any, ...], Any], bool]:
    """What each task returns, by its key, and whether it was interrupted: then of those that were done.

    Parameters
    ----------
    tasks:
        Functions without arguments that can be pickled, by key.
    n_processes:
        How many run at a time; with 1 they run in this process.
    what:
        What the progress bar calls them.
    """
    found: dict[tuple[Any, ...], Any] = {}
    if n_processes == 1:
        try:
            for key, task in tasks.items():
                found[key] = task()
        except KeyboardInterrupt:
            return found, True
        return found, False
    context = multiprocessing.get_context("spawn")
    interrupted = False
    with Progress() as progress, ProcessPoolExecutor(n_processes, context, _begin_worker) as pool:
        bar = progress.add_task(what, total=len(tasks))
        futures: dict[tuple[Any, ...], Future[Any]] = {key: pool.submit(task) for key, task in tasks.items()}
        try:
            while (done := sum(future.done() for future in futures.values())) < len(futures):
                progress.update(bar, completed=done)
                time.sleep(0.2)
        except KeyboardInterrupt:
            interrupted = True
            for future in futures.values():
                future.cancel()
    return {key: future.result() for key, future in futures.items() if not future.cancelled()}, interrupted


def _begin_worker() -> None:
    # Ctrl-C reaches the whole group: the first process decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
