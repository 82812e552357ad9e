"""Tables of members: what they say, what is wrong with them, and the agents that they become."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.members import (
    COLUMNS,
    Member,
    as_agents,
    numbers_by_type,
    plain,
    played_series,
    read_members,
)
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tables import TableError
from mfenvs.games.energy.prosumer_types import TYPES, ProsumerLaw, draw_prosumers

TABLE = """\
name,type,annual_load_kwh,load,pv_kwp,pv,wind_kw,battery_kwh,battery_kw,efficiency,flexible_share,flexible_value,ev
Ada,storage,4200,,8.5,,,10,5,0.9,0.2,0.3,yes
Bert,consumer,,b,,,,,,,,,no
Shop,commercial,30000,a,20,south,0,0,,,0,,
Mill,wind,5000,,,,80,,,,,,
Carl,consumer,3100,,,,,,,,.1,,1
Dora,pv,,b,6,south,,,,,,,0
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="members.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def series(n_days=2, loads=("a", "b", "c"), pv=("south", "south", "no PV"), sun=(1, 1, 0), wind=1.0):
    shape = (n_days, 24)
    return MarketSeries(
        load=np.ones((*shape, 1)) * (1 + np.arange(len(loads))),
        pv=np.ones((*shape, 1)) * np.array(sun),
        wind=np.full(shape, wind),
        price=np.zeros(shape),
        co2=np.zeros(shape),
        step_hours=1.0,
        dates=tuple(f"2024-01-{1 + n:02d}" for n in range(n_days)),
        load_names=loads,
        pv_names=pv,
    )


def agents_of(members, days, law=None, seed=0):
    law = law or ProsumerLaw()
    drawn, with_vehicles = (
        draw_prosumers(numbers_by_type(members), len(members), days, np.random.default_rng(seed), law, share)
        for share in (0.0, 1.0)
    )
    played, profiles = played_series(members, days)
    return as_agents(members, drawn, played, profiles, law, with_vehicles), played, drawn


def test_a_table_by_hand(file):
    members = read_members(file(TABLE))
    assert [member.name for member in members] == ["Bert", "Carl", "Dora", "Ada", "Shop", "Mill"]
    assert members[3] == Member(
        type="storage",
        name="Ada",
        annual_load_kwh=4200,
        pv_kwp=8.5,
        battery_kwh=10,
        battery_kw=5,
        efficiency=0.9,
        flexible_share=0.2,
        flexible_value=0.3,
        ev=True,
    )
    assert members[0] == Member(type="consumer", name="Bert", load="b", ev=False)
    assert [member.ev for member in members] == [False, True, False, True, False, False]
    assert numbers_by_type(members) == (2, 1, 1, 1, 1)
    assert members[3].place == f"{file(TABLE)}, line 2"
    assert read_members(members) == members
    assert read_members(members[::-1]) == (members[1], members[0], *members[2:])


def test_forms_of_tables(file, tmp_path):
    members = read_members(file(TABLE))
    columns = json.loads(json.dumps(plain(members)))
    assert list(columns) == [column for column in COLUMNS if column in columns]
    assert read_members(columns) == members
    assert read_members(file(TABLE.replace(",", ";"))) == members
    assert "wind_kw" not in plain(members[:4])
    frame = {name: np.array(cells, object) for name, cells in columns.items()}
    assert read_members(frame) == members
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(columns)
    parquet.write_table(table, tmp_path / "members.parquet")
    for form in (table, str(tmp_path / "members.parquet")):
        assert read_members(form) == members


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes(library, file):
    frames = pytest.importorskip(library)
    members = read_members(file(TABLE))
    assert read_members(frames.DataFrame(plain(members))) == members
    assert read_members(frames.read_csv(file(TABLE))) == members


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"reading .*m\.parquet needs pyarrow: pip install pyarrow"):
        read_members(tmp_path / "m.parquet")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            raise AssertionError

    with pytest.raises(ImportError, match="members needs pyarrow"):
        read_members(Stream())


ROWS = "type,{}\nconsumer,\n{},{}\n"


@pytest.mark.parametrize(
    ("column", "kind", "cell", "words"),
    [
        (
            "pv_kw",
            "pv",
            "5",
            "line 1: the column 'pv_kw' is unknown (did you mean 'pv_kwp'?); allowed: type, name",
        ),
        ("roof", "pv", "5", "line 1: the column 'roof' is unknown; allowed: type, name"),
        (
            "pv_kwp",
            "pv",
            "five",
            "line 3, column 'pv_kwp': must be a number in [0, 1e+06] with a decimal point, got",
        ),
        ("pv_kwp", "pv", "-5", "line 3, column 'pv_kwp': must be a number in [0, 1e+06]"),
        ("pv_kwp", "pv", "0", "line 3, column 'pv_kwp': must be at least 0.001 for type 'pv', got 0"),
        ("pv_kwp", "consumer", "5", "line 3, column 'pv_kwp': is only for pv, storage, commercial, got 5 of type"),
        ("wind_kw", "pv", "5", "column 'wind_kw': is only for wind"),
        ("wind_kw", "wind", "0", "column 'wind_kw': must be at least 0.001 for type 'wind'"),
        ("battery_kwh", "storage", "0", "column 'battery_kwh': must be at least 0.001 for type 'storage', got 0"),
        (
            "battery_kwh",
            "commercial",
            "9",
            "column 'battery_kwh': is only for storage, got 9 of type 'commercial'",
        ),
        ("battery_kw", "storage", "0", "column 'battery_kw': must be above 0 for type 'storage', got 0"),
        ("efficiency", "storage", "1.01", "column 'efficiency': must be a number in [0.01, 1]"),
        ("efficiency", "pv", "0.9", "column 'efficiency': is only for storage"),
        ("annual_load_kwh", "pv", "0", "column 'annual_load_kwh': must be a number in [0.001, 1e+06]"),
        ("flexible_share", "pv", "1.5", "column 'flexible_share': must be a number in [0, 1]"),
        ("ev", "pv", "maybe", "line 3, column 'ev': must be yes or no, got 'maybe'"),
        ("ev", "wind", "yes", "line 3, column 'ev': is only for consumer, pv, storage, got yes of type 'wind'"),
        (
            "name",
            "house",
            "x",
            "line 3, column 'type': must be one of consumer, pv, storage, commercial, wind, got",
        ),
        (
            "name",
            "",
            "x",
            "line 3, column 'type': must be one of consumer, pv, storage, commercial, wind, got nothing",
        ),
    ],
)
def test_wrong_tables(file, column, kind, cell, words):
    path = file(ROWS.format(column, kind, cell))
    with pytest.raises(TableError, match=re.escape(f"{path}, ") + ".*" + re.escape(words)):
        read_members(path)


def test_tables_without_what_they_need(file):
    with pytest.raises(TableError, match="line 1: must have the column 'type', got name, load"):
        read_members(file("name,load\na,b\n"))
    with pytest.raises(TableError, match="must have at least 2 members, got 1"):
        read_members(file("type\nconsumer\n"))
    with pytest.raises(TableError, match="members: the columns must have one length"):
        read_members({"type": ["pv"] * 2, "load": ["a"]})
    with pytest.raises(TableError, match=r"^members, row 1, column 'type': must be a text, got 1.5"):
        read_members({"type": ["pv", 1.5]})
    with pytest.raises(TypeError, match="members must be the path of a CSV or Parquet file"):
        read_members(3)


def test_members_check_themselves():
    for fields, words in (
        (
            {"type": "house"},
            "a member, column 'type': must be one of consumer, pv, storage, commercial, wind, got 'house'",
        ),
        ({"type": ["pv"]}, "a member, column 'type': must be one of"),
        ({"load": 3}, "a member, column 'load': must be a text, got 3"),
        ({"pv_kwp": -1}, "a member, column 'pv_kwp': pv_kwp must be"),
        ({"pv_kwp": "5"}, "a member, column 'pv_kwp': pv_kwp must be"),
        ({"wind_kw": 5}, "a member, column 'wind_kw': is only for wind, got 5 of type 'pv'"),
        ({"ev": "yes"}, "a member, column 'ev': must be True, False or None, got 'yes'"),
    ):
        with pytest.raises(TableError, match=re.escape(words)):
            Member(**{"type": "pv", **fields})
    assert type(Member(type="pv", pv_kwp=np.int64(5)).pv_kwp) is float


def test_agents_are_what_the_table_says(file):
    """Bert, Carl, Dora, Ada, Shop, Mill; two days of loads of 1, 2 and 3 kWh an hour."""
    members = read_members(file(TABLE))
    law = ProsumerLaw(c_rate=0.25, flexible_share=(0.05, 0.05), flexible_value=(0.4, 0.4))
    agents, played, drawn = agents_of(members, series(), law)
    assert_array_equal(agents["type"], [0, 0, 1, 2, 3, 4])
    yearly = agents["load_scale"] * played.load.sum((0, 1))[agents["profile"]] * 365 / 2
    assert_allclose(yearly[[0, 2]], 2 * 8760, rtol=1e-6)  # Bert's and Dora's own load: 2 kWh an hour.
    assert_allclose(agents["load_scale"][[0, 2]], 1)
    assert_allclose(yearly[[1, 3, 4, 5]], [3100, 4200, 30_000, 5000], rtol=1e-6)
    assert played.load_names[agents["profile"][4]] == "a"
    assert_array_equal(agents["shift"][[0, 2, 4]], 0)
    assert_array_equal(agents["shift"][[1, 3, 5]], drawn["shift"][[1, 3, 5]])
    assert_allclose(agents["pv_kwp"], [0, 0, 6, 8.5, 20, 0])
    assert_allclose(agents["wind_kw"], [0, 0, 0, 0, 0, 80])
    assert_allclose(agents["capacity"], [0, 0, 0, 10, 0, 0])
    assert_allclose(agents["power"], [0, 0, 0, 5, 0, 0])
    assert_allclose(agents["flexible_share"], [0.05, 0.1, 0.05, 0.2, 0, 0.05], rtol=1e-6)
    assert_allclose(agents["flexible_value"], [0.4, 0.4, 0.4, 0.3, 0.4, 0.4], rtol=1e-6)
    for field in ("error_scale", "degrees_of_freedom", "risk_aversion", "node", "spread"):
        assert_array_equal(agents[field], drawn[field])


def test_what_is_open_is_drawn_by_the_law():
    members = read_members({"type": ["storage", "wind", "consumer"] * 40})
    law = ProsumerLaw(annual_load_kwh=2000, annual_load_log_sd=0.0, capacity_kwh=(7, 7), c_rate=2.0)
    agents, played, drawn = agents_of(members, series(), law)
    assert_allclose(agents["load_scale"] * played.load.sum((0, 1))[agents["profile"]] * 365 / 2, 2000, rtol=1e-5)
    for field in drawn.dtype.names:
        assert_allclose(agents[field], drawn[field], rtol=1e-6)
    assert_allclose(agents["power"][agents["type"] == TYPES.index("storage")], 14)


def test_a_battery_without_a_power_has_that_of_its_capacity():
    members = read_members({"type": ["storage", "storage"], "battery_kwh": [8, 12], "battery_kw": [None, 5]})
    agents, _, _ = agents_of(members, series(), ProsumerLaw(c_rate=0.25))
    assert_allclose(agents["power"], [2, 5])


def test_a_drawn_annual_load_does_not_hang_on_the_profile():
    members = read_members({"type": ["pv"] * 6, "pv": ["y"] * 6})
    days = series(pv=("x", "y", "no PV"))
    agents, played, drawn = agents_of(members, days)
    assert (agents["profile"] != drawn["profile"]).any()

    def yearly(agents, days):
        return agents["load_scale"] * days.load.sum((0, 1))[agents["profile"]]

    assert_allclose(yearly(agents, played), yearly(drawn, days), rtol=1e-6)


def test_a_pair_that_the_series_has_is_its_profile():
    members = read_members({"type": ["pv", "pv"], "load": ["a", "b"], "pv": ["south", "south"]})
    days = series()
    played, profiles = played_series(members, days)
    assert played is days
    assert_array_equal(profiles, [0, 1])


def test_members_with_a_profile_of_their_own():
    """A named pair that the series lacks becomes a profile; one that it has is used as it is."""
    days = series(loads=("a", "b", "c"), pv=("x", "y", "no PV"), sun=(1, 2, 0))
    members = read_members(
        {
            "type": ["pv", "pv", "pv", "storage", "pv", "consumer"],
            "load": ["a", "a", "c", "c", None, "c"],
            "pv": ["x", "y", None, "y", "y", None],
        }
    )
    played, profiles = played_series(members, days)
    pairs = list(zip(played.load_names, played.pv_names, strict=True))
    assert pairs[:3] == [("a", "x"), ("b", "y"), ("c", "no PV")]
    found = [pairs[at] for at in profiles]
    assert found[:3] == [("c", "no PV"), ("a", "x"), ("a", "y")]
    # Without a PV column, an owner whose load has no PV takes one that has output.
    assert found[3][0] == "c"
    assert found[3][1] in ("x", "y")
    assert found[4][1] == "y"
    assert found[5] == ("c", "y")
    assert_allclose(played.pv[0, 0, profiles[[2, 4, 5]]], [2, 2, 2])
    assert_allclose(played.load[0, 0, profiles[[0, 1, 2]]], [3, 1, 1])
    same, none = played_series(read_members({"type": ["pv", "consumer"]}), days)
    assert same is days
    assert_array_equal(none, -1)


@pytest.mark.parametrize(
    ("columns", "change", "words"),
    [
        (
            {"load": ["z", None]},
            {},
            "members, row 0, column 'load': must be a name in the load table, a, b, c; got 'z'",
        ),
        (
            {"pv": [None, "z"]},
            {},
            "members, row 1, column 'pv': must be a name in the pv table, south, no PV; got 'z'",
        ),
        (
            {"pv_kwp": [3, None]},
            {"sun": (0, 0, 0)},
            "row 0, column 'pv_kwp': needs PV in the series, which has none",
        ),
        ({"pv_kwp": [3, None], "pv": ["no PV", None]}, {}, "row 0, column 'pv_kwp': needs PV in the series, but"),
    ],
)
def test_members_that_do_not_fit_the_series(columns, change, words):
    members = read_members({"type": ["pv", "pv"], **columns})
    with pytest.raises(TableError, match=re.escape(words)):
        played_series(members, series(**change))


def test_wind_owners_need_wind():
    members = read_members({"type": ["wind", "pv"], "wind_kw": [50, None]})
    with pytest.raises(TableError, match="row 0, column 'wind_kw': needs wind in the series, which has none"):
        played_series(members, series(wind=0.0))


PIECES = [
    b"",
    b'"',
    b"\n",
    b"\n\n",
    b",",
    b";",
    b"\0",
    b"\xff",
    b"-",
    b"e9",
    b"\xef\xbb\xbf",
    b"nan",
    b"pv",
    b"type",
]


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), st.sampled_from(PIECES)), min_size=1, max_size=4)
)
def test_damaged_tables_are_read_or_refused(tmp_path_factory, damages):
    """Bytes replaced anywhere: members, or an error that names the file."""
    content = TABLE.encode()
    for at, length, piece in damages:
        content = content[:at] + piece + content[at + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_bytes(content)
    members, said = read_or_refused(path)
    assert str(path) in said if members is None else all(member.type in TYPES for member in members)


def read_or_refused(path):
    """The members, or what the reader's own error says; any other error goes through."""
    try:
        return read_members(path), ""
    except TableError as error:
        return None, str(error)


@settings(max_examples=100)
@given(st.binary(max_size=100), st.sampled_from([".csv", ".parquet"]))
def test_arbitrary_bytes_are_no_members(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"arbitrary{ending}"
    path.write_bytes(content)
    with pytest.raises(TableError, match=re.escape(str(path))):
        read_members(path)
