"""The long table of all figures, as columns, Parquet file and data frame."""

import sys

import numpy as np
import pytest
from hand_worked_community import four_members, record_of

from mfenvs.energy.merit import UNITS, figures_of_merit


@pytest.fixture
def figures(tmp_path):
    imports = np.array([[4, 0, 0, 0], [1, 0, 0, 0], [4, 3, 0, 0], [0, 0, 2, 0]])
    return figures_of_merit(record_of(four_members(tmp_path), n_worlds=2, imports=imports))


def test_every_figure_has_its_rows(figures):
    table = figures.table()
    assert list(table) == ["figure", "unit", "group", "world", "day", "date", "value", "low", "high"]
    rows = list(zip(*table.values(), strict=True))
    assert {row[0] for row in rows} == set(UNITS)
    assert all(row[1] == UNITS[row[0]] for row in rows)
    assert ("peak_import", "kW", "community", 1, 1, "12-01", 7.0, None, None) in rows
    assert ("self_consumption", "1", "community", 0, 1, "12-01", 1.0, None, None) in rows
    assert ("seasonal_peak_import", "kW", "winter", None, None, None, 7.0, None, None) in rows
    assert ("bill", "EUR per member and day", "consumer", None, None, None, 0.0, 0.0, 0.0) in rows
    assert len({row[:6] for row in rows}) == len(rows)


def test_what_is_not_a_number_is_none(figures, tmp_path):
    table = figures.table()
    # Of bills that are all 0 there is no Gini coefficient.
    assert {name for name, value in zip(table["figure"], table["value"], strict=True) if value is None} == {
        "gini_of_bills"
    }
    alone = figures_of_merit(record_of(four_members(tmp_path), generation=np.zeros((4, 4)))).table()
    found = dict(zip(alone["figure"], alone["value"], strict=True))
    assert found["self_consumption"] is None
    assert alone["low"] == [None] * len(alone["low"])


def test_parquet(figures, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    figures.to_parquet(tmp_path / "figures.parquet")
    read = parquet.read_table(tmp_path / "figures.parquet")
    assert read.to_pydict() == figures.table()
    assert str(read.schema.field("world").type) == "int64"
    assert str(read.schema.field("high").type) == "double"


def test_a_data_frame(figures):
    pytest.importorskip("pandas")
    frame = figures.to_dataframe()
    table = figures.table()
    assert list(frame.columns) == list(table)
    assert [None if np.isnan(value) else value for value in frame["value"]] == table["value"]
    assert frame["value"].dtype == np.float64
    assert frame["world"].isna().tolist() == [world is None for world in table["world"]]
    assert frame.set_index(["figure", "group", "world"]).loc["peak_import", "community", 1]["value"] == 7.0


@pytest.mark.parametrize(("package", "what"), [("pandas", "a data frame"), ("pyarrow", "a Parquet file")])
def test_packages_that_are_missing(figures, tmp_path, monkeypatch, package, what):
    monkeypatch.setitem(sys.modules, package, None)
    write = (
        figures.to_dataframe if package == "pandas" else lambda: figures.to_parquet(tmp_path / "figures.parquet")
    )
    with pytest.raises(ImportError, match=f"{what} needs {package}; run `pip install {package}`"):
        write()
    assert not (tmp_path / "figures.parquet").exists()


def test_what_is_not_a_record():
    with pytest.raises(TypeError, match="record must be a MarketRecord, got None"):
        figures_of_merit(None)
