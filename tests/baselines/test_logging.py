"""Metrics files: rows that are whole, none lost and none twice."""

import errno
import io
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.logging import MetricsFile, configure, continue_from

CONTENT = (
    b"time/iterations,time/total_timesteps,train/return\r\n1,400,-1.5\r\n2,800,-1.25\r\n3,1200,nan\r\n4,1600,\r\n"
)
LINES = CONTENT.splitlines(keepends=True)


def written(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


def test_wherever_a_file_is_cut_it_goes_on_with_whole_rows(tmp_path) -> None:
    """A full disk may cut a file at any byte."""
    new = {"time/iterations": 5, "time/total_timesteps": 2000, "train/return": -1.0}
    for end in range(len(CONTENT) + 1):
        path = written(tmp_path / "metrics.csv", CONTENT[:end])
        whole = [line for i, line in enumerate(LINES) if sum(map(len, LINES[: i + 1])) <= end]
        assert continue_from(path, 1600, 400) == 4 - max(0, len(whole) - 1)
        assert path.read_bytes() == b"".join(whole)
        path.write_bytes(CONTENT[:end])
        MetricsFile(path).write(new, {})
        assert path.read_bytes() == b"".join(whole or LINES[:1]) + b"5,2000,-1.0\r\n"


@pytest.mark.parametrize(("num_timesteps", "n_rows"), [(0, 0), (799, 1), (800, 2), (1600, 4), (9999, 4)])
def test_rows_after_the_checkpoint_are_dropped(num_timesteps, n_rows, tmp_path) -> None:
    path = written(tmp_path / "metrics.csv")
    continue_from(path, num_timesteps, 400)
    assert path.read_bytes() == b"".join(LINES[: 1 + n_rows])


def test_missing_rows_are_counted(tmp_path) -> None:
    assert continue_from(tmp_path / "metrics.csv", 1200, 400) == 3
    assert not (tmp_path / "metrics.csv").exists()
    assert continue_from(written(tmp_path / "metrics.csv", b""), 1200, 400) == 3
    assert continue_from(written(tmp_path / "metrics.csv"), 2000, 400) == 1
    assert continue_from(written(tmp_path / "metrics.csv", b"".join([*LINES[:2], *LINES[3:]])), 1600, 400) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"".join([*LINES[:2], b"2,8003,1200,0.5\r\n"]), "line 3 is damaged: it has 4 fields, the header 3"),
        (b"".join([*LINES[:2], b"\r\n"]), "line 3 is damaged: it has 0 fields"),
        (
            b"".join([*LINES[:2], b"2,800,-1.2-1.5\r\n"]),
            "line 3 is damaged: train/return must be a number, got '-1.2-1.5'",
        ),
        (b"".join([*LINES[:3], *LINES[2:]]), "line 4 is damaged: time/total_timesteps must be an integer > 800"),
        (b"".join([*LINES[:2], b"2,1e3,0.5\r\n"]), "time/total_timesteps must be an integer > 400"),
        (b"".join([*LINES[:2], b"2,,0.5\r\n"]), "time/total_timesteps must be an integer > 400"),
        (b"a,b\r\n1,2\r\n", "has no column 'time/total_timesteps'"),
        (b"a,b,a\r\n", "line 1 is damaged: a column is named twice"),
        (b"\xff\xfe\n", "is not a CSV file"),
        (b'a,"b\n', "is not a CSV file"),
    ],
)
def test_a_damaged_row_is_named_and_the_file_left_alone(content, message, tmp_path) -> None:
    path = written(tmp_path / "metrics.csv", content)
    with pytest.raises(ValueError, match=r"metrics.csv") as caught:
        continue_from(path, 1600, 400)
    assert message in str(caught.value)
    assert path.read_bytes() == content


def test_a_row_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    """As a full disk does it: part of the row is taken, then there is an error."""

    class FullDisk(io.FileIO):
        def write(self, data) -> int:  # type: ignore[override]
            if len(data) <= 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:-4])

    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    metrics.write({"time/total_timesteps": 400, "a": 0.5}, {})
    before = path.read_bytes()
    monkeypatch.setattr(Path, "open", lambda self, mode, buffering=-1: FullDisk(self, mode.replace("b", "")))
    with pytest.raises(OSError, match="No space left"):
        metrics.write({"time/total_timesteps": 800, "a": 0.25}, {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    metrics.write({"time/total_timesteps": 800, "a": 0.25}, {})
    assert path.read_bytes() == before + b"800,0.25\r\n"


def test_a_new_column_keeps_quotes(tmp_path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.write({"note": 'a "b", c'}, {})
    metrics.write({"note": "d", "e": 1}, {})
    assert (tmp_path / "metrics.csv").read_bytes() == b'note,e\r\n"a ""b"", c",\r\nd,1\r\n'


def test_a_closed_logger_leaves_no_thread(tmp_path) -> None:
    before = threading.active_count()
    logger = configure(tmp_path, ("csv", "tensorboard"))
    assert threading.active_count() == before + 1
    logger.close()
    assert threading.active_count() == before


def test_tensorboard_shows_repeated_iterations_once(tmp_path) -> None:
    for reached, values in ((0, {100: 1.0, 200: 2.0, 300: 3.0, 400: 4.0}), (200, {300: 30.0})):
        logger = configure(tmp_path, ("tensorboard",), reached)
        for step, value in values.items():
            logger.record("return", value)
            logger.dump(step)
        logger.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("return")
    assert [(event.step, event.value) for event in events] == [(100, 1.0), (200, 2.0), (300, 30.0)]
