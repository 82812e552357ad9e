"""Threads that share the worlds of an engine: one pool for the whole process."""

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

MOST_THREADS = 256
"""Largest number of threads that share a call."""


def run_in_threads(n_threads: int, n_items: int, task: Callable[[int, int], Any]) -> Any:
    """Call ``task(first, last)`` on consecutive ranges that make up 0..n_items, one per thread.

    Returns
    -------
    The first index >= 0 that a call returned, which tells of an error; else the result of the first call.

    Raises
    ------
    Exception
        The exception of a call, after all calls have ended.
    """
    n_threads = min(n_threads, MOST_THREADS)
    bounds = [n_items * t // n_threads for t in range(n_threads + 1)]
    calls = [_pool().submit(task, first, last) for first, last in itertools.pairwise(bounds)]
    concurrent.futures.wait(calls)
    results = [call.result() for call in calls]
    return next((found for found in results if isinstance(found, int) and found >= 0), results[0])


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    """The process's pool of threads. A thread is started only when a task finds none idle."""
    return concurrent.futures.ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="mfenvs")


if hasattr(os, "register_at_fork"):
    # A forked child has none of its parent's threads: it needs a pool of its own.
    os.register_at_fork(after_in_child=_pool.cache_clear)
