"""Work that is shared by threads."""

import threading

import pytest

from mfenvs.engine.threads import MOST_THREADS, run_in_threads


def test_what_a_later_thread_finds_is_not_lost():
    assert run_in_threads(2, 4, lambda first, last: -1 if first == 0 else first) == 2
    assert run_in_threads(2, 4, lambda first, last: -1) == -1


def test_all_items_are_covered_once():
    for n_threads in (1, 3, 7, 10**6):
        ranges = []
        run_in_threads(n_threads, 7, lambda first, last, found=ranges: found.append((first, last)))
        assert sorted(item for first, last in ranges for item in range(first, last)) == list(range(7))
        assert len(ranges) == min(n_threads, MOST_THREADS)


def test_threads_are_shared_by_all_calls():
    """As many stay as were busy at once: here eight, not one pool of each size."""
    before = threading.active_count()
    for n_threads in range(2, 9):
        run_in_threads(n_threads, n_threads, lambda first, last: -1)
    assert threading.active_count() <= max(before, 1 + MOST_THREADS)
    barrier = threading.Barrier(8)
    run_in_threads(8, 8, lambda first, last: barrier.wait(timeout=20))
    most = threading.active_count()
    for n_threads in range(2, 9):
        run_in_threads(n_threads, n_threads, lambda first, last: -1)
    assert threading.active_count() == most


def test_an_error_is_raised_after_all_have_ended():
    ended = []

    def task(first, last):
        if first == 0:
            raise KeyError("first")
        ended.append(first)

    with pytest.raises(KeyError, match="first"):
        run_in_threads(4, 4, task)
    assert sorted(ended) == [1, 2, 3]
