"""Loads, PV and prices of one's own by column: tables written here by hand, and days worked out by hand."""

import datetime as dt
import gzip
import re
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.profiles import Profiles, read_profiles
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tables import TableError

BERLIN = ZoneInfo("Europe/Berlin")


def local_times(first, n, minutes=60, zone=BERLIN):
    """Times on the wall from a local midnight on, the clock's changes included."""
    begin = dt.datetime.fromisoformat(first).replace(tzinfo=zone).astimezone(dt.UTC)
    return [(begin + dt.timedelta(minutes=minutes * k)).astimezone(zone) for k in range(n)]


def text_of(times, *columns, names=("a", "b"), form="%Y-%m-%d %H:%M", separator=","):
    rows = [separator.join(["time", *names[: len(columns)]])]
    rows += [
        separator.join([f"{at:{form}}", *map(str, cells)]) for at, *cells in zip(times, *columns, strict=True)
    ]
    return "\n".join(rows) + "\n"


@pytest.fixture
def file(tmp_path):
    def write(text, name="load.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("unit", "factor", "kept"),
    [
        ("kWh", 1, "kWh"),
        ("Wh", 1e-3, "kWh"),
        ("kW", 1, "kWh"),
        ("W", 1e-3, "kWh"),
        ("EUR/MWh", 1e-3, "EUR/kWh"),
        ("EUR/kWh", 1, "EUR/kWh"),
        ("g/kWh", 1e-3, "kg/kWh"),
    ],
)
def test_hours_by_hand(file, unit, factor, kept):
    hours = np.arange(48)
    path = file(text_of(local_times("2024-01-09", 48), hours, 100 - hours))
    found = read_profiles(path, unit)
    assert (found.names, found.dates, found.unit) == (("a", "b"), ("2024-01-09", "2024-01-10"), kept)
    assert_allclose(found.values, factor * np.stack([hours, 100 - hours], axis=1).reshape(2, 24, 2))
    with pytest.raises(ValueError, match="read-only"):
        found.values[0, 0, 0] = 1


@pytest.mark.parametrize(("minutes", "steps"), [(15, 96), (30, 96), (60, 24)])
def test_power_becomes_energy_of_the_step(file, minutes, steps):
    n = 24 * 60 // minutes
    found = read_profiles(file(text_of(local_times("2024-01-09", n, minutes), np.arange(n))), "kW")
    assert found.values.shape == (1, steps, 1)
    assert found.values.sum() == pytest.approx(np.arange(n).sum() * minutes / 60)
    assert_allclose(found.resampled(60).values[0, :, 0], np.arange(n).reshape(24, -1).mean(1))
    prices = read_profiles(file(text_of(local_times("2024-01-09", n, minutes), np.arange(n))), "EUR/kWh")
    assert_allclose(prices.resampled(60).values[0, :, 0], np.arange(n).reshape(24, -1).mean(1))
    assert_allclose(prices.resampled(15).values.mean(), np.arange(n).mean())


@pytest.mark.parametrize("minutes", [15, 60])
def test_days_on_which_the_clock_changes_are_left_out(file, minutes):
    """Three days around each change: of 71 and of 73 hours."""
    for first, hours, kept in (
        ("2024-03-30", 71, ("2024-03-30", "2024-04-01")),
        ("2024-10-26", 73, ("2024-10-26", "2024-10-28")),
    ):
        n = hours * 60 // minutes
        times = local_times(first, n, minutes)
        found = read_profiles(file(text_of(times, np.arange(n))), "kWh")
        per_day = 24 * 60 // minutes
        assert found.dates == kept
        assert_array_equal(found.values[:, :, 0], [np.arange(per_day), np.arange(n - per_day, n)])


def test_forms_of_times_and_files(file):
    hours = np.arange(24)
    times = local_times("2024-07-02", 24)
    plain = text_of(times, hours)
    expected = read_profiles(file(plain), "kWh")
    for text in (
        text_of(times, hours, form="%d.%m.%Y %H:%M", separator=";"),
        text_of(times, hours, form="%Y-%m-%dT%H:%M:%S", separator="\t"),
        text_of(times, hours, form="%Y-%m-%d %H:%M:%S%z"),
        text_of([at.astimezone(dt.UTC) for at in times], hours, form="%Y-%m-%dT%H:%MZ"),
        "\ufeff" + plain.replace("\n", "\r\n"),
        plain.encode("utf-16"),
        gzip.compress(plain.encode()),
    ):
        found = read_profiles(file(text), "kWh")
        assert_array_equal(found.values, expected.values)
        assert found.dates == expected.dates == ("2024-07-02",)


def test_tables_in_memory():
    hours = np.arange(24.0)
    naive = np.datetime64("2024-07-02") + np.arange(24) * np.timedelta64(1, "h")
    for times in (
        naive.astype("datetime64[ns]"),
        naive.astype("datetime64[s]").tolist(),
        local_times("2024-07-02", 24),
        [str(at) for at in naive.astype("datetime64[s]")],
    ):
        found = read_profiles({"time": times, "a": hours}, "kWh")
        assert_array_equal(found.values[0, :, 0], hours)
        assert found.dates == ("2024-07-02",)
    with pytest.raises(
        TableError, match=r"^the table of profiles, row 3, column 'a': must be a number .* got 'x'"
    ):
        read_profiles({"time": naive.astype("datetime64[s]"), "a": [*range(3), "x", *range(20)]}, "kWh")


def test_arrow_tables_and_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    times = local_times("2024-07-02", 24)
    table = pyarrow.table({"time": times, "a": np.arange(24.0)})
    parquet.write_table(table, tmp_path / "load.parquet")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    class Interchange:
        def __dataframe__(self, **options):
            return table.__dataframe__(**options)

    for form in (table, Stream(), Interchange(), tmp_path / "load.parquet"):
        assert_array_equal(read_profiles(form, "kWh").values[0, :, 0], np.arange(24))
    (tmp_path / "load.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"load\.parquet: is no Parquet file"):
        read_profiles(tmp_path / "load.parquet", "kWh")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes(library):
    frames = pytest.importorskip(library)
    times, hours = local_times("2024-07-02", 24), np.arange(24.0)
    for column in (times, [at.replace(tzinfo=None) for at in times]):
        frame = frames.DataFrame({"time": column, "a": hours})
        assert_array_equal(read_profiles(frame, "kWh").values[0, :, 0], hours)


def without(text, line):
    lines = text.splitlines(keepends=True)
    return "".join(lines[: line - 1] + lines[line:])


def replaced(text, line, old, new):
    lines = text.splitlines(keepends=True)
    assert old in lines[line - 1]
    return "".join([*lines[: line - 1], lines[line - 1].replace(old, new), *lines[line:]])


DAY = text_of(local_times("2024-07-02", 24), range(10, 34), range(24))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "load.csv, line 1: is empty; the first line must name the columns"),
        ("time\n2024-07-02 00:00\n", "load.csv, line 1: must have a column of times and then"),
        ("time,a\n", "load.csv: has no row"),
        ("time,,b\n", "load.csv, line 1: column 2 must have a name, got none"),
        ("time,a,a\n", "load.csv, line 1, column 'a': the header 'a' stands twice"),
        (DAY + "2024-07-03 00:00,1\n", "line 26, column 'a': has 2 columns where the header has 3"),
        (replaced(DAY, 5, "13,", "1_3,"), "line 5, column 'a': must be a number with a decimal point, got '1_3'"),
        (replaced(DAY, 5, ",3\n", ",inf\n"), "line 5, column 'b': must be a number"),
        (replaced(DAY, 5, ",3\n", ",-3\n"), "line 5, column 'b': must be >= 0, got -3"),
        (replaced(DAY, 5, ",3\n", ",n/a\n"), "line 5, column 'b': the number of 2024-07-02 01:00 UTC is missing"),
        (without(DAY, 5), "before line 5, column 'a': the number of 2024-07-02 01:00 UTC is missing"),
        (replaced(DAY, 5, "-02 03", "-02 02"), "line 5, column 'time': must be later than the time before it"),
        (
            replaced(DAY, 5, "03:00", "03:30"),
            "line 5, column 'time': must be a whole number of steps of 60 minutes",
        ),
        (
            text_of(local_times("2024-07-02", 9, 10), range(9)),
            "line 3, column 'time': must be one of 15, 30, 60 m",
        ),
        (text_of(local_times("2024-07-02", 1), [1]), "load.csv: must have at least two rows, got one"),
        (replaced(DAY, 5, "-02 03", "-32 03"), "line 5, column 'time': must be a time 'yyyy-mm-dd hh:mm'"),
        (replaced(DAY, 5, "2024-", "1024-"), "in the years 1970 to 2100, got '1024-07-02 03:00'"),
        (replaced(DAY, 5, "2024-07-02 03", "03"), "line 5, column 'time': must be a time"),
        (without(DAY, 2), "load.csv: holds no whole day of Europe/Berlin"),
        (DAY.replace("07-02", "03-31"), "is no time in Europe/Berlin: the clock skips it (timezone='UTC'"),
    ],
)
def test_wrong_tables(file, text, words):
    with pytest.raises(TableError, match=re.escape(words)):
        read_profiles(file(text), "kWh")


def test_gaps_are_filled_on_demand(file):
    path = file(replaced(without(DAY, 9), 5, ",3\n", ",\n"))
    with pytest.raises(TableError, match="is missing"):
        read_profiles(path, "kWh")
    found = read_profiles(path, "kWh", missing="interpolate")
    assert_array_equal(found.values[0], np.stack([np.arange(10, 34), np.arange(24)], axis=1))
    long = file("".join(line for at, line in enumerate(DAY.splitlines(keepends=True)) if at not in (4, 5, 6, 7)))
    with pytest.raises(
        TableError, match="no number for 240 minutes from 2024-07-02 01:00 UTC, more than max_gap=180"
    ):
        read_profiles(long, "kWh", missing="interpolate")
    assert read_profiles(long, "kWh", missing="interpolate", max_gap=240).values[0, 4, 1] == pytest.approx(4)
    for line, number in ((2, "10"), (25, "33")):
        end = file(replaced(DAY, line, f",{number},", ",,"))
        with pytest.raises(TableError, match=f"line {line}, column 'a': .* at an end, has no neighbour"):
            read_profiles(end, "kWh", missing="interpolate")


def test_small_negative_numbers_count_as_zero(file):
    pv = np.full(24, 10.0)
    pv[:3] = -0.1, -0.05, 0
    path = file(text_of(local_times("2024-07-02", 24), pv))
    with pytest.warns(UserWarning, match=r"load\.csv: 2 numbers between -0\.1 and 0 count as 0"):
        found = read_profiles(path, "kW")
    assert_array_equal(found.values[0, :4, 0], [0, 0, 0, 10])
    assert read_profiles(path, "EUR/kWh").values.min() == -0.1
    pv[0] = -0.11
    with pytest.raises(TableError, match=r"line 2, column 'a': must be >= 0, got -0\.11"):
        read_profiles(file(text_of(local_times("2024-07-02", 24), pv)), "kW")


def test_wrong_arguments(file):
    path = file(DAY)
    for change, words in (
        ({"unit": "MW"}, "unit must be one of 'kWh', 'Wh', 'kW'"),
        ({"timezone": "Mars"}, "timezone must be"),
        ({"missing": "drop"}, "missing must be"),
        ({"max_gap": 0}, "max_gap must be"),
        ({"max_bytes": 0}, "max_bytes must be"),
        ({"max_bytes": 99}, "load.csv: holds more than max_bytes=99 bytes"),
    ):
        with pytest.raises(ValueError, match=words):
            read_profiles(path, **{"unit": "kWh", **change})
    with pytest.raises(TypeError, match="the table of profiles must be the path of a CSV or Parquet file"):
        read_profiles(3, "kWh")
    with pytest.raises(FileNotFoundError):
        read_profiles(path.with_name("none.csv"), "kWh")


def profiles(names, n_days=2, steps=24, unit="kWh", first="2024-07-01", scale=1.0):
    dates = tuple(str(np.datetime64(first) + k) for k in range(n_days))
    values = scale * (1 + np.arange(len(names))) * np.ones((n_days, steps, 1))
    return Profiles(values, tuple(names), dates, unit)


def test_chosen_columns():
    found = profiles("abc").chosen("c", "a")
    assert found.names == ("c", "a")
    assert_array_equal(found.values[0, 0], [3, 1])
    with pytest.raises(ValueError, match="names must be one of 'a', 'b', 'c', got 'd'"):
        profiles("abc").chosen("d")


def test_series_of_own_profiles():
    load, pv = profiles("abc"), profiles(["roof"], n_days=3, first="2024-06-30", scale=0.5)
    series = MarketSeries.from_profiles(load, pv)
    assert series.dates == ("2024-07-01", "2024-07-02")
    assert_array_equal(series.known_weekdays(), [0, 1])
    assert (series.load_names, series.pv_names) == (("a", "b", "c"), ("roof",) * 3)
    assert_array_equal(series.load[0, 0], [1, 2, 3])
    assert_array_equal(series.pv, np.full((2, 24, 3), 0.5))
    assert (series.wind.max(), series.price.max(), series.co2.min()) == (0, 0, 0.38)
    quarters = MarketSeries.from_profiles(
        load,
        price=profiles(["p"], unit="EUR/kWh", scale=-0.1),
        co2=0.2,
        wind=profiles(["w"], steps=96, scale=0.2),
        step_minutes=15,
    )
    assert_allclose(quarters.load[0, 0], [0.25, 0.5, 0.75])
    assert_allclose(quarters.price, -0.1)
    assert_allclose(quarters.wind, 0.2)
    assert quarters.pv_names == ("no PV",) * 3
    assert quarters.pv.max() == 0


@pytest.mark.parametrize(
    ("loads", "pv", "pairs"),
    [
        ("abc", "", ["a-no PV", "b-no PV", "c-no PV"]),
        ("abc", "b", ["a-no PV", "b-b", "c-no PV"]),
        ("abc", "xy", ["a-x", "b-y", "c-x"]),
        ("a", "xy", ["a-x", "a-y"]),
        ("ab", "bxyz", ["a-no PV", "b-b", "a-x", "b-y", "a-z"]),
    ],
)
def test_which_load_goes_with_which_pv(loads, pv, pairs):
    series = MarketSeries.from_profiles(profiles(loads), profiles(pv, scale=0.1) if pv else None)
    assert [f"{a}-{b}" for a, b in zip(series.load_names, series.pv_names, strict=True)] == pairs
    for at, pair in enumerate(pairs):
        a, _, b = pair.partition("-")
        assert series.load[0, 0, at] == 1 + loads.index(a)
        assert series.pv[0, 0, at] == pytest.approx(0.1 * (1 + pv.index(b)) if b != "no PV" else 0)


def test_paired_profiles():
    series = MarketSeries.from_profiles(profiles("abc"), profiles("xyz", scale=0.1))
    other = series.paired([(2, 0), (0, 0)])
    assert (other.load_names, other.pv_names) == (("c", "a"), ("x", "x"))
    assert_array_equal(other.load[1, 5], [3, 1])
    assert_allclose(other.pv[1, 5], [0.1, 0.1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load": np.ones((1, 24, 1))}, "load must be Profiles as of read_profiles"),
        ({"load": None}, "load must be Profiles"),
        ({"pv": "pv.csv"}, "pv must be Profiles"),
        ({"price": "x"}, "price must be"),
        ({"co2": -1}, "co2 must be"),
        ({"wind": profiles("ab")}, "wind must have one column, got 2: a, b"),
        ({"price": profiles("p")}, "the unit of price must be EUR/kWh, got 'kWh'"),
        (
            {"pv": profiles("p", first="2025-01-01")},
            "the tables share no day: load 2024-07-01 to 2024-07-02; pv 2025",
        ),
        ({"step_minutes": 30}, "step_minutes must be one of 15, 60"),
    ],
)
def test_wrong_profiles_of_a_series(change, words):
    with pytest.raises((TypeError, ValueError), match=words):
        MarketSeries.from_profiles(**{"load": profiles("ab"), **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"values": np.ones((2, 25, 1))},
            r"values must have shape \(n_days, 24 or 96, n_columns\), got \(2, 25, 1\)",
        ),
        ({"values": np.full((2, 24, 1), np.nan)}, "values.* must be finite"),
        ({"names": ("a", "b")}, "names must be 1 different texts"),
        ({"dates": ("a", "a")}, "dates must be 2 different texts"),
        ({"unit": "kW"}, "unit must be one of"),
    ],
)
def test_profiles_check_themselves(change, words):
    fields = {"values": np.ones((2, 24, 1)), "names": ("a",), "dates": ("x", "y"), "unit": "kWh", **change}
    with pytest.raises(ValueError, match=words):
        Profiles(**fields)


PIECES = [
    b"",
    b'"',
    b"\n",
    b",",
    b";",
    b"\0",
    b"\xff",
    b"-",
    b"e9",
    b"nan",
    b"2024-",
    b"00:30",
    b"+02:00",
    b"Z",
    b"9" * 30,
]


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 30), st.sampled_from(PIECES)), min_size=1, max_size=4),
    st.sampled_from(["kWh", "EUR/MWh"]),
    st.sampled_from(["error", "interpolate"]),
)
@pytest.mark.filterwarnings("ignore:.* count as 0")
def test_damaged_tables_are_read_or_refused(tmp_path_factory, damages, unit, missing):
    """Bytes replaced anywhere: finite numbers, or an error that names the file."""
    content = DAY.encode()
    for at, length, piece in damages:
        content = content[:at] + piece + content[at + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_bytes(content)
    found, said = read_or_refused(path, unit, missing)
    if found is None:
        assert str(path) in said
    else:
        assert np.isfinite(found.values).all()
        assert found.values.shape[1] in (24, 96)


def read_or_refused(path, unit, missing):
    """The profiles, or what the reader's own error says; any other error goes through."""
    try:
        return read_profiles(path, unit, missing=missing), ""
    except TableError as error:
        return None, str(error)
