"""Independent tasks in a few processes, of which an interruption keeps what is complete."""

import functools
import json
import multiprocessing
import re
import signal
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import Progress

from mfenvs.files import FileError, plain, read_json, write_json

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


def kept_in(folder: Path, tasks: Tasks, settings: Any) -> Tasks:
    """The same tasks, each of which keeps its result in a file and takes it from there if it is run once more.

    A file that cannot be read, or was written with other settings, is replaced.

    Parameters
    ----------
    folder:
        Where the files go, one a task.
    tasks:
        Tasks whose results can be written as JSON.
    settings:
        Everything else that results depend on, in a form that can be written as JSON.
    """
    settings = json.loads(json.dumps(settings, default=plain))
    return {
        key: functools.partial(kept_result, folder / file_name(key), json.loads(json.dumps(key)), settings, task)
        for key, task in tasks.items()
    }


def file_name(key: tuple[Any, ...]) -> str:
    """A name of a JSON file that tells a key to a reader, and from all other keys."""
    text = json.dumps(key)
    return f"{re.sub('[^A-Za-z0-9.]+', '-', text).strip('-')[:80]}-{zlib.crc32(text.encode()):08x}.json"


def kept_result(path: Path, key: Any, settings: Any, task: Callable[[], Any]) -> Any:
    """What a file keeps of a task; if it keeps nothing, or of another key or settings, that of the task run now.

    Key and settings are as JSON gives them back.
    """
    try:
        content = read_json(path)
        if content["key"] == key and content["settings"] == settings:
            return content["result"]
    except (FileError, TypeError, KeyError):
        pass  # It is not there, or not whole.
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"key": key, "settings": settings, "result": task()})
    return read_json(path)["result"]


def _begin_worker() -> None:
    # Ctrl-C reaches the whole group: the first process decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
