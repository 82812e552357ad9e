"""Result files, the folders that hold them, and the table."""

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_sweeps import read

from baselines.sweep.results import (
    ATTEMPTS,
    CELLS,
    RESULT,
    Result,
    commit,
    discard,
    read_result,
    read_table,
    table_rows,
    write_result,
    write_table,
)
from baselines.sweep.running import new_result
from mfenvs.files import FileError


@pytest.fixture
def cell(tmp_path):
    return read(tmp_path).cells[0]


@pytest.fixture
def result(cell) -> Result:
    return dataclasses.replace(
        new_result(cell, 1), status="done", measures={"max": 0.25, "max_95": [0.1, 0.5]}, uniform={"max": 1.0}
    )


def attempt(sweep: Path, name: str) -> Path:
    (sweep / CELLS).mkdir(parents=True, exist_ok=True)
    folder = sweep / ATTEMPTS / name
    folder.mkdir(parents=True)
    (folder / "policy").write_text(name)
    return folder


def test_a_result_is_read_as_it_was_written(cell, result, tmp_path) -> None:
    write_result(tmp_path, result)
    assert read_result(tmp_path, cell.fingerprint) == result


def test_every_changed_byte_is_noticed(cell, result, tmp_path) -> None:
    write_result(tmp_path, result)
    path = tmp_path / RESULT
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytes([whole[place] ^ 1])
        if changed.isspace() and whole[place : place + 1].isspace():
            continue
        path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        with pytest.raises(FileError, match=RESULT):
            read_result(tmp_path, cell.fingerprint)
    for end in range(0, len(whole) - 1, 50):
        path.write_bytes(whole[:end])
        with pytest.raises(FileError, match=RESULT):
            read_result(tmp_path, cell.fingerprint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "finished"}, "status must be"),
        ({"iterations": 2.0}, "iterations must be"),
        ({"iterations": True}, "iterations must be"),
        ({"has_converged": 1}, "has_converged must be"),
        ({"error": 3}, "error must be"),
        ({"measures": []}, "measures must be"),
        ({"extra": 1}, "it must hold fingerprint, status"),
    ],
)
def test_results_of_another_form_are_refused_whatever_their_checksum(changes, message: str, cell, result) -> None:
    with pytest.raises(ValueError, match=message):
        Result.of_json({**dataclasses.asdict(result), **changes})


def test_the_result_of_another_cell_is_refused(result, tmp_path) -> None:
    write_result(tmp_path, result)
    with pytest.raises(FileError, match="is the result of another cell"):
        read_result(tmp_path, "another")
    content = json.loads((tmp_path / RESULT).read_text())
    (tmp_path / RESULT).write_text(json.dumps({**content, "format": 0}))
    with pytest.raises(FileError, match="is of format 0"):
        read_result(tmp_path, result.fingerprint)


def test_the_first_of_two_that_finish_a_cell_counts(cell, result, tmp_path) -> None:
    first, second = attempt(tmp_path, "one"), attempt(tmp_path, "two")
    other = dataclasses.replace(result, token="other")
    assert commit(tmp_path, cell, first, result) == result
    assert commit(tmp_path, cell, second, other) == result
    assert (tmp_path / CELLS / cell.name / "policy").read_text() == "one"
    assert not list((tmp_path / ATTEMPTS).iterdir())


def test_a_folder_that_is_in_the_way_and_holds_no_result_is_an_error(cell, result, tmp_path) -> None:
    folder = attempt(tmp_path, "one")
    (tmp_path / CELLS / cell.name / "something").mkdir(parents=True)
    with pytest.raises(OSError, match=cell.name):
        commit(tmp_path, cell, folder, result)


def test_a_discarded_cell_is_gone(cell, result, tmp_path) -> None:
    commit(tmp_path, cell, attempt(tmp_path, "one"), result)
    discard(tmp_path, cell, "token")
    assert not list((tmp_path / CELLS).iterdir())


def test_the_table_has_a_row_for_each_cell_and_one_type_in_each_column(tmp_path, result) -> None:
    pytest.importorskip("pyarrow")
    cells = read(tmp_path).cells
    mixed = [
        dataclasses.replace(cells[0], hyper_parameters={"a": 1, "b": 0.5, "c": [1, 2], "d": "x", "e": 2**63}),
        dataclasses.replace(cells[1], hyper_parameters={"a": 0.5, "d": 3}),
    ]
    failed = dataclasses.replace(result, status="failed", error="no", measures={}, uniform={})
    write_table(tmp_path / "t.parquet", table_rows(mixed, [result, failed]))
    rows = read_table(tmp_path / "t.parquet")
    assert [row["seed"] for row in rows] == [0, 0]
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert [row["error"] for row in rows] == [None, "no"]
    assert [row["exploitability"] for row in rows] == [0.25, None]
    assert [row["uniform_exploitability"] for row in rows] == [1.0, None]
    assert [row["exploitability_measure"] for row in rows] == ["max", None]
    assert [(row["measures.max_95_low"], row["measures.max_95_high"]) for row in rows] == [
        (0.1, 0.5),
        (None, None),
    ]
    assert [row["hyper_parameters.a"] for row in rows] == [1.0, 0.5]
    assert [row["hyper_parameters.b"] for row in rows] == [0.5, None]
    assert [row["hyper_parameters.c"] for row in rows] == ["[1, 2]", None]
    assert [row["hyper_parameters.d"] for row in rows] == ["x", "3"]
    assert [row["hyper_parameters.e"] for row in rows] == [str(2**63), None]
    assert [row["constants.n_agents"] for row in rows] == [20, 20]


def test_a_damaged_table_is_named(tmp_path, result) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    write_table(path, table_rows(read(tmp_path).cells[:1], [result]))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileError, match=r"t\.parquet is not a parquet file, or is damaged"):
        read_table(path)
