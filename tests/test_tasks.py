"""Tasks of reproductions: what is kept, and what is run again."""

import functools
import json

import pytest

from benchmarks.reproduce.tasks import file_name, kept_in, run_all


def counted(folder, name):
    """Leave a mark for every call; return how many there are."""
    marks = folder / f"{name}.marks"
    with marks.open("a") as file:
        file.write("x")
    return {"calls": len(marks.read_text())}


@pytest.fixture
def tasks(tmp_path):
    return {("game", name, 0.5): functools.partial(counted, tmp_path, name) for name in ("a", "b")}


def run(tasks, tmp_path, settings=(1, 2)):
    found, interrupted = run_all(kept_in(tmp_path / "kept", tasks, settings), 1, "tasks")
    assert not interrupted
    return {key[1]: value["calls"] for key, value in found.items()}


def test_what_was_run_is_not_run_again(tasks, tmp_path):
    assert run(tasks, tmp_path) == {"a": 1, "b": 1}
    assert run(tasks, tmp_path) == {"a": 1, "b": 1}


def test_other_settings_run_again(tasks, tmp_path):
    run(tasks, tmp_path)
    assert run(tasks, tmp_path, (1, 3)) == {"a": 2, "b": 2}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"key": 1}', '{"key": ["game", "b", 0.5]}'])
def test_a_file_that_is_not_whole_is_replaced(tasks, tmp_path, content):
    run(tasks, tmp_path)
    (tmp_path / "kept" / file_name(("game", "a", 0.5))).write_text(content)
    assert run(tasks, tmp_path) == {"a": 2, "b": 1}
    assert run(tasks, tmp_path) == {"a": 2, "b": 1}


def test_a_file_of_another_task_is_not_taken(tasks, tmp_path):
    run(tasks, tmp_path)
    kept = tmp_path / "kept"
    (kept / file_name(("game", "a", 0.5))).write_text((kept / file_name(("game", "b", 0.5))).read_text())
    assert run(tasks, tmp_path) == {"a": 2, "b": 1}


def test_a_task_that_fails_keeps_those_before(tasks, tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run({**tasks, ("game", "c", 0.5): fail}, tmp_path)
    assert run(tasks, tmp_path) == {"a": 1, "b": 1}
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_names_of_files_tell_keys_apart():
    keys = [("a", "b"), ("a-b",), ("a", 1), ("a", "1"), ("x" * 200,), ("x" * 201,), ({"a": 1},), ()]
    names = {file_name(key) for key in keys}
    assert len(names) == len(keys)
    assert all(len(name) < 100 for name in names)
    assert file_name(("A-SIS", {"episodes": 5})).startswith("A-SIS-episodes-5-")


def test_results_are_those_that_the_file_gives_back(tmp_path):
    tasks = {("t",): lambda: {"pair": (1, 2)}}
    kept = kept_in(tmp_path, tasks, {})
    assert run_all(kept, 1, "tasks")[0] == {("t",): {"pair": [1, 2]}}
    assert json.loads((tmp_path / file_name(("t",))).read_text())["result"] == {"pair": [1, 2]}
