"""The ENTSO-E reader against small files in the platform's layouts, written here by hand."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mfenvs.energy.entsoe import EntsoeFormatError, read_entsoe

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def file(tmp_path):
    def write(text, name="export.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


def utc(text, n=1, minutes=60):
    return np.datetime64(text, "s") + np.arange(n) * np.timedelta64(minutes, "m")


def clock(begin, n, minutes=60, form="%d.%m.%Y %H:%M"):
    """Intervals as the clock on the wall shows them, from a UTC time on."""
    times = [
        (datetime.fromisoformat(begin).replace(tzinfo=UTC) + timedelta(minutes=minutes * k)).astimezone(BERLIN)
        for k in range(n + 1)
    ]
    return [f"{times[k]:{form}} - {times[k + 1]:{form}}" for k in range(n)]


OLD_PRICES = '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"\n'


def old_prices(intervals, values, header=OLD_PRICES):
    return header + "".join(f'"{at}","{value}","EUR",""\n' for at, value in zip(intervals, values, strict=True))


def test_old_prices_quoted(file):
    text = old_prices(["01.01.2023 00:00 - 01.01.2023 01:00", "01.01.2023 01:00 - 01.01.2023 02:00"], [-5.17, 2])
    series = read_entsoe(file(text))
    assert_array_equal(series.start, utc("2022-12-31T23:00", 2))
    assert_array_equal(series.values, [-5.17, 2.0])
    assert (series.resolution, series.unit, series.name) == (60, "EUR/MWh", "Day-ahead Price [EUR/MWh]")
    assert series.start.dtype == "datetime64[s]"
    assert series.values.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 0


def test_white_space_in_cells_does_not_matter(file):
    text = old_prices([" 01.01.2023  00:00 -  01.01.2023\u00a001:00 "], ["  5 "])
    series = read_entsoe(file(text))
    assert_array_equal(series.start, utc("2022-12-31T23:00"))
    assert_array_equal(series.values, [5])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_old_load_unquoted(file, encoding, end):
    text = end.join(
        [
            "Time (CET/CEST),Day-ahead Total Load Forecast [MW] - BZN|DE-LU,Actual Total Load [MW] - BZN|DE-LU",
            "01.07.2023 00:00 - 01.07.2023 00:15,1,42000",
            "01.07.2023 00:15 - 01.07.2023 00:30,2,41000.5",
            "",
        ]
    )
    series = read_entsoe(file(text, encoding=encoding))
    assert_array_equal(series.start, utc("2023-06-30T22:00", 2, 15))
    assert_array_equal(series.values, [42000, 41000.5])
    assert (series.resolution, series.unit) == (15, "MW")


OLD_GENERATION = (
    '"Area","MTU","Biomass  - Actual Aggregated [MW]","Solar  - Actual Aggregated [MW]",'
    '"Wind Onshore  - Actual Aggregated [MW]","Hydro Pumped Storage  - Actual Consumption [MW]"\n'
    '"Germany (DE)","01.01.2023 00:00 - 01.01.2023 01:00 (CET/CEST)","4","0","17","n/e"\n'
).replace(" (CET/CEST)", "")


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        ({"production_type": "Solar"}, 0),
        ({"production_type": "wind onshore"}, 17),
        ({"production_type": "B01"}, 4),
        ({"column": "Wind Onshore - Actual Aggregated [MW]"}, 17),
        ({"column": "Wind Onshore  - Actual Aggregated [MW]"}, 17),
    ],
)
def test_old_generation_by_type(file, choice, value):
    series = read_entsoe(file(OLD_GENERATION), **choice)
    assert_array_equal(series.values, [value])
    assert series.unit == "MW"


NEW_PRICES = (
    '"MTU (UTC)","Area","Sequence","Day-ahead Price (EUR/MWh)","Intraday Period (UTC)","Intraday Price (EUR/MWh)"\n'  # noqa: E501
    '"30/09/2025 20:00:00 - 30/09/2025 21:00:00","BZN|DE-LU","Sequence Sequence 1","90.5","",""\n'
    '"30/09/2025 20:00:00 - 30/09/2025 20:15:00","BZN|DE-LU","Sequence Sequence 2","81","",""\n'
    '"30/09/2025 20:15:00 - 30/09/2025 20:30:00","BZN|DE-LU","Sequence Sequence 2","82","",""\n'
    '"30/09/2025 21:00:00 - 30/09/2025 22:00:00","BZN|DE-LU","Sequence Sequence 1","91.5","",""\n'
    '"30/09/2025 22:00:00 - 30/09/2025 22:15:00","BZN|DE-LU","Sequence Sequence 1","70","",""\n'
    '"30/09/2025 22:15:00 - 30/09/2025 22:30:00","BZN|DE-LU","Sequence Sequence 1","71","",""\n'
)


@pytest.mark.parametrize(
    ("choice", "start", "minutes", "values"),
    [
        ({"resolution": 60}, "2025-09-30T20:00", 60, [90.5, 91.5]),
        ({"resolution": 15, "sequence": 1}, "2025-09-30T22:00", 15, [70, 71]),
        ({"sequence": 2, "area": "DE-LU"}, "2025-09-30T20:00", 15, [81, 82]),
    ],
)
def test_new_prices_of_mixed_resolution_and_sequence(file, choice, start, minutes, values):
    series = read_entsoe(file(NEW_PRICES), **choice)
    assert_array_equal(series.start, utc(start, len(values), minutes))
    assert_array_equal(series.values, values)
    assert series.resolution == minutes


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({}, "line 3: has more than one resolution in minutes (resolution=): [60, 15]"),
        ({"sequence": 1}, "line 6: has more than one resolution in minutes"),
        ({"resolution": 15}, "line 6: has more than one sequence (sequence=): [2, 1]"),
        ({"resolution": 30}, "has no row of resolution=30 minutes, only of [15, 60]"),
        ({"area": "FR"}, "has no row that fits area='FR'"),
    ],
)
def test_what_several_series_need(file, choice, words):
    path = file(NEW_PRICES)
    with pytest.raises(EntsoeFormatError, match=re.escape(words)) as error:
        read_entsoe(path, **choice)
    assert str(path) in str(error.value)


def test_without_sequence(file):
    text = (
        NEW_PRICES.splitlines()[0]
        + '\n"01/01/2025 00:00:00 - 01/01/2025 00:15:00","BZN|FR","Without Sequence","18.92","",""'
    )
    for choice in ({}, {"sequence": 0}):
        assert_array_equal(read_entsoe(file(text), **choice).values, [18.92])


def test_new_generation_in_rows(file):
    text = (
        '"MTU (CET/CEST)","Area","Production Type","Generation (MW)"\n'
        '"01/07/2025 00:00:00 - 01/07/2025 00:15:00","BZN|DE-LU","Solar","0"\n'
        '"01/07/2025 00:00:00 - 01/07/2025 00:15:00","BZN|DE-LU","Wind Onshore","7"\n'
        '"01/07/2025 00:15:00 - 01/07/2025 00:30:00","BZN|DE-LU","Solar","1"\n'
        '"01/07/2025 00:15:00 - 01/07/2025 00:30:00","BZN|DE-LU","Wind Onshore","x"\n'
    )
    series = read_entsoe(file(text), production_type="Solar")
    assert_array_equal(series.values, [0, 1])
    assert_array_equal(series.start, utc("2025-06-30T22:00", 2, 15))
    assert series.name == "Solar: Generation (MW)"
    with pytest.raises(EntsoeFormatError, match=r"line 5, column 'Generation \(MW\)': must be a number.*got 'x'"):
        read_entsoe(file(text), production_type="Wind Onshore")


@pytest.mark.parametrize("minutes", [15, 30, 60])
@pytest.mark.parametrize(
    ("begin", "n_hours"), [("2023-03-25T23:00", 23), ("2023-10-28T22:00", 25), ("2023-10-28T22:00", 49)]
)
def test_days_when_the_clock_changes(file, minutes, begin, n_hours):
    """The wall shows times twice or not at all; UTC goes on evenly."""
    n = n_hours * 60 // minutes
    series = read_entsoe(file(old_prices(clock(begin, n, minutes), range(n))))
    assert_array_equal(series.start, utc(begin, n, minutes))
    assert_array_equal(series.values, range(n))
    assert series.resolution == minutes


def test_the_hour_that_spring_skips(file):
    hours = ["01:00", "02:00", "03:00", "04:00"]
    intervals = [f"26.03.2023 {a} - 26.03.2023 {b}" for a, b in itertools.pairwise(hours)]
    series = read_entsoe(file(old_prices(intervals, [1, "", 3])))
    assert_array_equal(series.start, utc("2023-03-26T00:00", 2))
    assert_array_equal(series.values, [1, 3])
    with pytest.raises(EntsoeFormatError, match=r"line 3, column 'MTU \(CET/CEST\)'.*the clock skips it"):
        read_entsoe(file(old_prices(intervals, [1, 2, 3])))


def test_autumn_hours_with_marks(file):
    """Marks tell the hours apart, whatever the order says."""
    intervals = [
        "26/10/2025 01:00:00 (CEST) - 26/10/2025 02:00:00 (CEST)",
        "26/10/2025 02:00:00 (CEST) - 26/10/2025 02:00:00 (CET)",
        "26/10/2025 02:00:00 (CET) - 26/10/2025 03:00:00 (CET)",
    ]
    series = read_entsoe(file(old_prices(intervals, [1, 2, 3])))
    assert_array_equal(series.start, utc("2025-10-25T23:00", 3))
    series = read_entsoe(file(old_prices(intervals[2:], [3])))
    assert_array_equal(series.start, utc("2025-10-26T01:00"))
    with pytest.raises(EntsoeFormatError, match=r"line 2.*EET is no clock of Europe/Berlin"):
        read_entsoe(file(old_prices([intervals[2].replace("CET", "EET")], [3])))


CELLS_WITH_THE_CLOCK = (
    '"Area","MTU","Solar  - Actual Aggregated [MW]"\n'
    '"Germany (DE)","01.01.2023 00:00 - 01.01.2023 01:00 (CET/CEST)","4"\n'
    '"Germany (DE)","01.01.2023 01:00 - 01.01.2023 02:00 (CET/CEST)","5"\n'
)


def test_the_clock_may_stand_in_the_cells(file):
    series = read_entsoe(file(CELLS_WITH_THE_CLOCK))
    assert_array_equal(series.start, utc("2022-12-31T23:00", 2))
    assert_array_equal(series.values, [4, 5])
    series = read_entsoe(file(CELLS_WITH_THE_CLOCK.replace("CET/CEST", "UTC")))
    assert_array_equal(series.start, utc("2023-01-01T00:00", 2))
    with pytest.raises(
        EntsoeFormatError, match=r"line 3, column 'MTU'.*clock is EET/EEST, but timezone='Europe/Be"
    ):
        read_entsoe(file(CELLS_WITH_THE_CLOCK.replace("02:00 (CET/CEST)", "02:00 (EET/EEST)")))
    for mark in ("CET/CEST", "CET"):
        text = CELLS_WITH_THE_CLOCK.replace('"MTU"', '"MTU (UTC)"').replace("00:00 -", f"00:00 ({mark[:3]}) -")
        with pytest.raises(EntsoeFormatError, match=r"line 2, column 'MTU \(UTC\)': the clock is UTC, but got"):
            read_entsoe(file(text.replace("CET/CEST", mark)))


def test_a_mark_must_be_of_the_clock_all_year(file):
    """In January too, when no hour is repeated."""
    interval = "01/01/2025 01:00:00 (CEST) - 01/01/2025 02:00:00 (CEST)"
    with pytest.raises(EntsoeFormatError, match=r"line 2.*CEST is no clock of Europe/Berlin"):
        read_entsoe(file(old_prices([interval], [1])))
    series = read_entsoe(file(old_prices([interval.replace("CEST", "CET")], [1])))
    assert_array_equal(series.start, utc("2025-01-01T00:00"))


def test_an_autumn_hour_thrice(file):
    with pytest.raises(EntsoeFormatError, match=r"line 4.*third time"):
        read_entsoe(file(old_prices(["29.10.2023 02:00 - 29.10.2023 03:00"] * 3, [1, 2, 3])))


def test_the_clock_must_be_the_headers(file):
    text = "MTU (EET/EEST),Actual Total Load [MW]\n01.07.2023 00:00 - 01.07.2023 01:00,5\n"
    series = read_entsoe(file(text), timezone="Europe/Helsinki")
    assert_array_equal(series.start, utc("2023-06-30T21:00"))
    with pytest.raises(EntsoeFormatError, match=r"line 1.*EET/EEST, but timezone='Europe/Berlin' is CET/CEST"):
        read_entsoe(file(text))
    with pytest.raises(ValueError, match="timezone must be the name of an IANA time zone, got 'Mars'"):
        read_entsoe(file(text), timezone="Mars")


@pytest.mark.parametrize("mark", ["n/e", "-", "N/A", ""])
def test_missing_values(file, mark):
    path = file(old_prices(clock("2023-01-01T00:00", 6), [10, mark, mark, 40, 50, 60]))
    with pytest.raises(EntsoeFormatError) as error:
        read_entsoe(path)
    assert f"{path}, line 3, column 'Day-ahead Price [EUR/MWh]': the value of 2023-01-01 01:00 UTC" in str(
        error.value
    )
    assert_array_equal(read_entsoe(path, missing="interpolate").values, [10, 20, 30, 40, 50, 60])
    assert len(read_entsoe(path, missing="interpolate", max_gap=120).values) == 6
    with pytest.raises(
        EntsoeFormatError, match=r"line 5.*no value for 120 minutes from 2023-01-01 01:00.*max_gap=119"
    ):
        read_entsoe(path, missing="interpolate", max_gap=119)


def test_absent_rows(file):
    hours = clock("2023-01-01T00:00", 5)
    path = file(old_prices([hours[k] for k in (0, 3, 4)], [0, 30, 40]))
    with pytest.raises(
        EntsoeFormatError, match=r"line 3.*nothing from 2023-01-01 01:00 UTC to 2023-01-01 03:00 UTC"
    ):
        read_entsoe(path)
    series = read_entsoe(path, missing="interpolate")
    assert_array_equal(series.values, [0, 10, 20, 30, 40])
    assert_array_equal(series.start, utc("2023-01-01T00:00", 5))


@pytest.mark.parametrize("values", [["", 1, 2], [1, 2, "n/e"], ["-"] * 3])
def test_nothing_is_filled_at_an_end(file, values):
    with pytest.raises(EntsoeFormatError, match="at an end, has no neighbour"):
        read_entsoe(file(old_prices(clock("2023-01-01T00:00", 3), values)), missing="interpolate")


def test_duplicates(file):
    hours = clock("2023-01-01T00:00", 2)
    twice = [hours[0], hours[0], hours[1]]
    assert_array_equal(read_entsoe(file(old_prices(twice, [1, 1, 2]))).values, [1, 2])
    with pytest.raises(EntsoeFormatError, match=r"line 3.*2023-01-01 00:00 UTC has the value 7, but 1 in line 2"):
        read_entsoe(file(old_prices(twice, [1, 7, 2])))


def test_unordered_rows(file):
    hours = clock("2023-01-01T00:00", 3)
    with pytest.raises(
        EntsoeFormatError, match=r"line 4: the rows must be in order of time, but 2023-01-01 01:00"
    ):
        read_entsoe(file(old_prices([hours[k] for k in (0, 2, 1)], [1, 3, 2])))


@pytest.mark.parametrize("cell", ["5,17", "1_000", "nan", "inf", "1e999", "12a", "1 000", "٣", "--1"])
def test_wrong_numbers(file, cell):
    with pytest.raises(EntsoeFormatError) as error:
        read_entsoe(file(old_prices(clock("2023-01-01T00:00", 2), [1, cell])))
    assert "line 3, column 'Day-ahead Price [EUR/MWh]': must be a number" in str(error.value)
    assert repr(cell) in str(error.value)


@pytest.mark.parametrize(
    "cell",
    [
        "01.01.2023 00:00",
        "2023-01-01 00:00 - 2023-01-01 01:00",
        "32.01.2023 00:00 - 32.01.2023 01:00",
        "01.01.2023 00:00 - 01.01.2023 02:00",
        "01.01.2023 01:00 - 01.01.2023 01:00",
        "01.01.2023 02:00 - 01.01.2023 01:00",
    ],
)
def test_wrong_times(file, cell):
    with pytest.raises(EntsoeFormatError, match=r"line 2, column 'MTU \(CET/CEST\)': must (be an interval|span)"):
        read_entsoe(file(old_prices([cell], [1])))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: is no ENTSO-E file"),
        ("a,b\n1,2\n", "line 1: is no ENTSO-E file"),
        ("MTU (CET/CEST),Price\n", "line 1: has no column of day-ahead prices"),
        ("MTU,MTU,Actual Total Load [MW]\n", "line 1, column 'MTU': the header 'MTU' stands twice"),
        ("MTU,Time (UTC),Actual Total Load [MW]\n", "line 1: must have one column MTU"),
        (OLD_GENERATION, "line 1: has 3 value columns that fit no choice"),
        (OLD_PRICES, "has no row that fits no choice"),
        (
            OLD_PRICES + '"01.01.2023 00:00 - 01.01.2023 01:00","5"\n',
            "line 2, column 'Day-ahead Price [EUR/MWh]': has 2",
        ),
        (OLD_PRICES + '"01.01.2023 00:00 - 01.01.2023 01:00","5","EU', "line 2: the quotes are wrong"),
        (b"MTU,Actual Total Load [MW]\n\xff,1\n", "line 2: must be UTF-8, but byte 0xff"),
        (
            "DateTime\tAreaCode\tPrice\n",
            "line 1: must have a column DateTime(UTC) or DateTime, and ResolutionCode",
        ),
        ("DateTime\tResolutionCode\tCapacity\n", "line 1: must have one value column, Price or"),
    ],
)
def test_wrong_tables(file, text, words):
    with pytest.raises(EntsoeFormatError, match=re.escape(words)):
        read_entsoe(file(text))


def test_wrong_arguments(file):
    path = file(OLD_GENERATION)
    with pytest.raises(EntsoeFormatError, match=re.escape("line 1: has no column 'Sun'; its columns are ['Area'")):
        read_entsoe(path, column="Sun")
    for change in ({"format": "json"}, {"missing": "drop"}, {"resolution": 5}, {"sequence": -1}, {"max_gap": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
            read_entsoe(path, **change)
    for name, value in (
        *itertools.product(("column", "area", "area_type", "production_type"), (3, True, b"Solar", ["Solar"])),
        *itertools.product(("timezone",), (None, 3, b"Europe/Berlin")),
        *itertools.product(("sequence", "max_gap", "max_bytes"), ("1", 1.5, np.ones(1), np.nan)),
    ):
        with pytest.raises(TypeError, match=f"{name} must be .*, got "):
            read_entsoe(path, **{name: value})
    for name, value in (
        *itertools.product(("format", "missing"), (3, True, ["xml"], np.array(["xml", "error"]))),
        *itertools.product(("resolution",), ("15", True, np.array([15, 30]), np.nan)),
        *itertools.product(("sequence", "max_gap", "max_bytes"), (True, -1)),
        *itertools.product(("timezone",), ("", "Europe", "../etc/passwd", "a\0b", "x" * 999)),
    ):
        with pytest.raises(ValueError, match=f"{name} must be .*, got "):
            read_entsoe(path, **{name: value})
    for wrong in (3, None, True, b"a.csv", open):
        with pytest.raises(TypeError, match="path must be a path"):
            read_entsoe(wrong)
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match="path must be a path"):
            read_entsoe(wrong)
    with pytest.raises(FileNotFoundError):
        read_entsoe(path.with_name("none.csv"))
    with pytest.raises(IsADirectoryError):
        read_entsoe(path.parent)
    with pytest.raises(EntsoeFormatError, match="no well-formed XML"):
        read_entsoe(path, format="xml")


LIBRARY = [
    "DateTime\tResolutionCode\tAreaCode\tAreaTypeCode\tAreaName\tMapCode\tProductionType\tActualGenerationOutput\t"
    "ActualConsumption\tUpdateTime",
    "2023-03-26 01:00:00.000\tPT60M\t10Y1\tBZN\tDE_LU BZN\tDE_LU\tSolar\t11.5\t\t2023-04-01 00:00:00",
    "2023-03-26 00:00:00.000\tPT60M\t10Y1\tBZN\tDE_LU BZN\tDE_LU\tSolar\t10\t\t2023-04-01 00:00:00",
    "2023-03-26 00:00:00.000\tPT60M\t10Y1\tBZN\tDE_LU BZN\tDE_LU\tWind Onshore\t99\t\t2023-04-01 00:00:00",
    "2023-03-26 00:00:00.000\tPT60M\t10Y2\tCTY\tGermany CTY\tDE_LU\tSolar\t9\t\t2023-04-01 00:00:00",
    "2023-03-26 02:00:00.000\tPT60M\t10Y1\tBZN\tDE_LU BZN\tDE_LU\tSolar\t12\t\t2023-04-01 00:00:00",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "area", [{"area": "10Y1"}, {"area": "DE_LU BZN"}, {"area": "de_lu", "area_type": "BZN"}, {"area_type": "bzn"}]
)
def test_file_library(file, encoding, area):
    series = read_entsoe(file("\n".join(LIBRARY), encoding=encoding), production_type="Solar", **area)
    assert_array_equal(series.start, utc("2023-03-26T00:00", 3))
    assert_array_equal(series.values, [10, 11.5, 12])
    assert (series.unit, series.name) == ("MW", "Solar: ActualGenerationOutput")


@pytest.mark.parametrize(
    ("updates", "value"),
    [(("04-01", "04-02", "04-03"), 12), (("04-03", "04-01", "04-02"), 10), (("04-01", "04-03", "04-02"), 11)],
)
def test_the_value_that_was_updated_later_holds(file, updates, value):
    row = "2023-03-26 00:00:00\tPT60M\t10Y1\tCTY\tDE\t{}\t2023-{} 00:00:00"
    head = "DateTime\tResolutionCode\tAreaCode\tAreaTypeCode\tMapCode\tTotalLoadValue\tUpdateTime"
    lines = [row.format(10 + k, update) for k, update in enumerate(updates)]
    assert_array_equal(read_entsoe(file("\n".join([head, *lines]))).values, [value])


def test_equal_updates_decide_nothing(file):
    row = "2023-03-26 00:00:00\tPT60M\t10Y1\t{}\t2023-04-01 00:00:00"
    head = "DateTime(UTC)\tResolutionCode\tAreaCode\tTotalLoad[MW]\tUpdateTime(UTC)"
    with pytest.raises(EntsoeFormatError, match=r"line 3.*has the value 2, but 1 in line 2"):
        read_entsoe(file("\n".join([head, row.format(1), row.format(2)])))
    text = "\n".join([head, row.format(1), row.format(2).replace("2023-04-01 00", "2023-04-31 00")])
    with pytest.raises(EntsoeFormatError, match=r"line 3, column 'UpdateTime': must be a time yyyy-mm-dd"):
        read_entsoe(file(text))


def test_equal_values_count_as_their_later_update(file):
    row = "2023-03-26 00:00:00\tPT60M\t10Y1\t{}\t2023-04-0{} 00:00:00"
    head = "DateTime(UTC)\tResolutionCode\tAreaCode\tTotalLoad[MW]\tUpdateTime(UTC)"
    lines = [row.format(*pair) for pair in ((1, 1), (1, 3), (2, 2))]
    assert_array_equal(read_entsoe(file("\n".join([head, *lines]))).values, [1])


def test_file_library_choices(file):
    path = file("\n".join(LIBRARY))
    with pytest.raises(EntsoeFormatError, match=re.escape("line 5: has more than one area (area=, area_type=)")):
        read_entsoe(path, production_type="Solar", area="DE_LU")
    with pytest.raises(EntsoeFormatError, match=r"line 4: has more than one production type"):
        read_entsoe(path, area="10Y1")


def test_file_library_of_today(file):
    text = (
        "InstanceCode\tDateTime(UTC)\tResolutionCode\tAreaCode\tAreaDisplayName\tAreaTypeCode\tAreaMapCode\t"
        "ContractType\tSequence\tPrice[Currency/MWh]\tCurrency\tUpdateTime(UTC)\n"
        "a\t2025-10-01 00:00:00\tPT15M\t10Y\tFrance (FR)\tBZN/CTA\tFR\tDay-ahead\t\t-1.5\tEUR\t2025-10-01 00:00:00\n"  # noqa: E501
        "a\t2025-10-01 00:15:00\tPT15M\t10Y\tFrance (FR)\tBZN/CTA\tFR\tDay-ahead\t\t2\tEUR\t2025-10-01 00:00:00\n"
        "a\t2025-10-01 00:15:00\tPT15M\t10Y\tFrance (FR)\tBZN/CTA\tFR\tIntraday\t\t8\tEUR\t2025-10-01 00:00:00\n"
    )
    series = read_entsoe(file(text), area="FR", area_type="CTA")
    assert_array_equal(series.values, [-1.5, 2])
    assert_array_equal(series.start, utc("2025-10-01T00:00", 2, 15))
    assert series.unit == "EUR/MWh"
    for old, new, words in (
        ("PT15M", "PT5M", "line 2, column 'ResolutionCode': must be one of PT15M, PT30M, PT60M, PT1H, got 'PT5M'"),
        ("2025-10-01 00:15", "2025-13-01 00:15", "line 3, column 'DateTime(UTC)': must be a time"),
        ("\t-1.5", "\t-1,5", "line 2, column 'Price[Currency/MWh]': must be a number"),
        (
            "\tEUR\t2025-10-01 00:00:00\na\t2025-10-01 00:15",
            "\tPLN\t2025-10-01 00:00:00\na\t2025-10-01 00:15",
            "unit",
        ),
        ("\t\t2\t", "\tfirst\t2\t", "line 3, column 'Sequence': must be Sequence and a number"),
    ):
        assert old in text
        with pytest.raises(EntsoeFormatError, match=re.escape(words)):
            read_entsoe(file(text.replace(old, new, 1)))


def point(position, value, name="price.amount"):
    return f"      <Point><position>{position}</position>\n      <{name}>{value}</{name}></Point>\n"


def xml(points, curve="A03", end="2025-01-01T03:00Z", resolution="PT60M", sequence="", start="2025-01-01T00:00Z"):
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3">\n'
        "  <type>A44</type>\n  <TimeSeries>\n    <in_Domain.mRID codingScheme='A01'>10Y1</in_Domain.mRID>\n"
        "    <currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>\n"
        f"    {sequence}<curveType>{curve}</curveType>\n    <Period><timeInterval><start>{start}</start>\n"
        f"      <end>{end}</end></timeInterval><resolution>{resolution}</resolution>\n{points}"
        "    </Period>\n  </TimeSeries>\n</Publication_MarketDocument>\n"
    )


def test_xml_with_all_points(file):
    series = read_entsoe(file(xml(point(1, 5) + point(2, -1.25) + point(3, 7), "A01")))
    assert_array_equal(series.start, utc("2025-01-01T00:00", 3))
    assert_array_equal(series.values, [5, -1.25, 7])
    assert (series.unit, series.resolution) == ("EUR/MWh", 60)


def test_xml_that_leaves_out_repeated_points(file):
    points = point(1, 5) + point(4, 6) + point(6, 7)
    series = read_entsoe(file(xml(points, end="2025-01-01T02:00Z", resolution="PT15M")))
    assert_array_equal(series.values, [5, 5, 5, 6, 6, 7, 7, 7])
    assert_array_equal(series.start, utc("2025-01-01T00:00", 8, 15))
    with pytest.raises(EntsoeFormatError, match=r"nothing from 2025-01-01 00:15 UTC to 2025-01-01 00:45 UTC"):
        read_entsoe(file(xml(points, "A01", end="2025-01-01T02:00Z", resolution="PT15M")))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=24))
def test_xml_compression_comes_back(tmp_path_factory, values):
    points = "".join(point(k + 1, v) for k, v in enumerate(values) if k == 0 or values[k - 1] != v)
    end = datetime(2025, 1, 1) + timedelta(hours=len(values))
    path = tmp_path_factory.mktemp("xml") / "a.xml"
    path.write_text(xml(points, end=f"{end:%Y-%m-%dT%H:%MZ}"))
    assert_array_equal(read_entsoe(path).values, values)


def test_xml_periods_in_any_order_and_sequences(file):
    tag = "classificationSequence_AttributeInstanceComponent.position"
    place = f"<{tag}>{{}}</{tag}>"
    first, second, other = (
        re.search(
            "<TimeSeries>.*</TimeSeries>", xml(point(1, value), start=a, end=b, sequence=place.format(n)), re.S
        )[0]
        for value, a, b, n in (
            (1, "2025-01-01T00:00Z", "2025-01-01T02:00Z", 1),
            (2, "2025-01-01T02:00Z", "2025-01-01T03:00Z", 1),
            (9, "2025-01-01T00:00Z", "2025-01-01T01:00Z", 2),
        )
    )
    path = file(f"<Publication_MarketDocument>{second}{other}{first}</Publication_MarketDocument>")
    assert_array_equal(read_entsoe(path, sequence=1).values, [1, 1, 2])
    assert_array_equal(read_entsoe(path, sequence=2).values, [9])
    with pytest.raises(EntsoeFormatError, match="more than one sequence"):
        read_entsoe(path)


def test_xml_generation(file):
    def generation(domain, kind, value):
        return (
            f"<TimeSeries><{domain}BiddingZone_Domain.mRID>10Y1</{domain}BiddingZone_Domain.mRID>"
            "<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>A01</curveType>"
            f"<MktPSRType><psrType>{kind}</psrType></MktPSRType><Period><timeInterval><start>2025-01-01T00:00Z</start>"
            "<end>2025-01-01T01:00Z</end></timeInterval><resolution>PT60M</resolution>"
            f"{point(1, value, 'quantity')}</Period></TimeSeries>"
        )

    parts = generation("in", "B16", 3) + generation("out", "B16", 1) + generation("in", "B19", 8)
    path = file(f'<GL_MarketDocument xmlns="urn:x">{parts}</GL_MarketDocument>')
    for kind, value in (("Solar", 3), ("B16", 3), ("Wind Onshore", 8)):
        series = read_entsoe(path, production_type=kind, area="10Y1")
        assert_array_equal(series.values, [value])
        assert series.unit == "MW"
    with pytest.raises(EntsoeFormatError, match="more than one production type"):
        read_entsoe(path)
    with pytest.raises(ValueError, match="column is not for xml"):
        read_entsoe(path, column="quantity")


def test_xml_acknowledgement(file):
    text = (
        "<Acknowledgement_MarketDocument xmlns='urn:y'>\n<Reason><code>999</code><text>No matching data found</text>"  # noqa: E501
        "</Reason></Acknowledgement_MarketDocument>"
    )
    with pytest.raises(EntsoeFormatError, match="the API returned no data \\(999: No matching data found\\)"):
        read_entsoe(file(text))


def test_xml_with_entities_is_refused(file):
    for dtd in ('<!DOCTYPE a [<!ENTITY b "bb">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">'):
        with pytest.raises(EntsoeFormatError, match=r"line 2: declares a document type \(DTD\)"):
            read_entsoe(file(f"<?xml version='1.0'?>\n{dtd}\n<Publication_MarketDocument/>"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (xml(point(1, 5))[:-60], "is no well-formed XML"),
        (xml(""), "line 8, column 'TimeSeries/Period': has no Point"),
        (xml(point(2, 5)), "line 10, column 'Period/Point/position': the first of curve type A03 must be 1, got 2"),  # noqa: E501
        (xml(point(1, 5) + point(1, 6)), "line 12, column 'Period/Point/position': must be an integer in [2, 3]"),
        (xml(point(1, 5) + point(4, 6)), "must be an integer in [2, 3], growing from point to point, got '4'"),
        (xml(point(0, 5)), "must be an integer in [1, 3]"),
        (xml(point("x", 5)), "must be an integer in [1, 3]"),
        (xml(point(1, "5,5")), "line 11, column 'Point/price.amount': must be a number"),
        (xml(point(1, "")), "line 10, column 'Point/price.amount': has no element price.amount within Point"),
        (xml(point(1, 5), "A02"), "curve type must be A01 or A03, got 'A02'"),
        (xml(point(1, 5), resolution="P1D"), "line 9, column 'Period/resolution': must be one of PT15M"),
        (xml(point(1, 5), end="2025-01-01T02:30Z"), "the interval must be a whole number >= 1 of 60 minutes, got 150"),  # noqa: E501
        (xml(point(1, 5), end="2025-01-01T00:00Z"), "got 0 minutes"),
        (xml(point(1, 5), end="yesterday"), "line 9, column 'Period/timeInterval/end': must be a time"),
        (xml(point(1, 5)).replace("<currency_Unit.name>EUR</currency_Unit.name>", ""), "has no element currency_Unit.name"),  # noqa: E501
        (xml(point(1, 5) + point(2, 6)).replace("</position>", "</position><Point/>", 1), "line 10: Point must be within Period"),  # noqa: E501
        (xml(point(1, 5)).replace("<resolution>", f"{point(1, 4)}<Period/><resolution>"), "line 11: Period must be within TimeSeries"),  # noqa: E501
        (xml(point(1, 5)).replace("<position>", "<position>2</position><position>"), "line 10, column 'Point/position': has more than one element position within Point"),  # noqa: E501
        (xml(point(1, 5)).replace("</start>", "</start><start>2025-01-01T00:00Z</start>"), "line 8, column 'Period/timeInterval/start': has more than one element timeInterval/start"),  # noqa: E501
        (xml(point(1, 5)).replace("<resolution>", "<resolution>PT15M</resolution><resolution>"), "has more than one element resolution within Period"),  # noqa: E501
        ("<html/>", "line 1, column 'html': the document must be Publication_MarketDocument or GL_MarketDocument"),
        ("<Publication_MarketDocument/>", "has no row that fits no choice"),
    ],
)  # fmt: skip
def test_wrong_xml(file, text, words):
    with pytest.raises(EntsoeFormatError, match=re.escape(words)):
        read_entsoe(file(text))


def test_errors_show_values_of_any_size(file):
    path = file(OLD_GENERATION)
    for name, value in (("resolution", 10**5000), ("missing", "x" * 10**6), ("format", [0] * 10**6)):
        with pytest.raises(ValueError, match=f"{name} must be one of") as error:
            read_entsoe(path, **{name: value})
        assert len(str(error.value)) < 400


def test_a_file_over_the_change_of_resolution_is_read_whole(file):
    """Hours until 30 September 2025 22:00 UTC, then quarters: by repetition, by means, and in the finest step."""
    path = file(NEW_PRICES)
    series = read_entsoe(path, sequence=1, step_minutes=15)
    assert_array_equal(series.start, utc("2025-09-30T20:00", 10, 15))
    assert_array_equal(series.values, [90.5] * 4 + [91.5] * 4 + [70, 71])
    assert_array_equal(read_entsoe(path, sequence=1, step_minutes="finest").values, series.values)
    half = read_entsoe(path, sequence=1, step_minutes=30)
    assert_array_equal(half.values, [90.5, 90.5, 91.5, 91.5, 70.5])
    assert half.resolution == 30
    with pytest.raises(EntsoeFormatError, match=r"step_minutes=60 does not fit: .* whole step of minutes=60"):
        read_entsoe(path, sequence=1, step_minutes=60)
    assert_array_equal(read_entsoe(path, sequence=2, step_minutes=30).values, [81.5])
    assert_array_equal(read_entsoe(path, resolution=60, step_minutes=30).values, [90.5, 90.5, 91.5, 91.5])
    with pytest.raises(EntsoeFormatError, match=r"line 3.*20:00 UTC has the value 81, but 90.5 in line 2"):
        read_entsoe(file(NEW_PRICES.replace("Sequence Sequence 2", "Sequence Sequence 1")), step_minutes=15)
    for wrong in (5, "15", True, "coarsest"):
        with pytest.raises(ValueError, match="step_minutes must be one of 15, 30, 60, 'finest'"):
            read_entsoe(path, step_minutes=wrong)


@pytest.mark.parametrize("zone", [(None, "CET/CEST"), ("CET/CEST", None), ("UTC", None), (None, "UTC")])
def test_a_year_of_quarters_is_that_of_utc(file, zone):
    """Every quarter-hour of a year, with its two changes of the clock, wherever the clock is named."""
    header, label = zone
    n = 366 * 96
    form = "%d/%m/%Y %H:%M:%S"
    is_utc = "UTC" in zone
    begin = datetime(2023, 12, 31, 23, tzinfo=UTC)
    times = [begin + timedelta(minutes=15 * k) for k in range(n + 1)]
    written = [f"{(at if is_utc else at.astimezone(BERLIN)):{form}}" for at in times]
    column = "MTU" if header is None else f"MTU ({header})"
    behind = "" if label is None else f" ({label})"
    text = f'"Area","{column}","Actual Total Load [MW]"\n' + "".join(
        f'"DE","{written[k]} - {written[k + 1]}{behind}","{k}"\n' for k in range(n)
    )
    series = read_entsoe(file(text))
    assert_array_equal(series.start, utc("2023-12-31T23:00", n, 15))
    assert_array_equal(series.values, range(n))


@pytest.mark.parametrize(
    "interval",
    [
        "01.01.2023 24:00 - 01.01.2023 25:00",
        "01.01.2023 10:60 - 01.01.2023 11:60",
        "01.01.2023 10:00:30 - 01.01.2023 11:00:00",
        "01.01.2023 10:00 - 01.01.2023 10:20",
        "01.01.2023 10:00 - 01.01.2023 09:00",
        "01.01.2023 10:00 - 02.01.2023 11:00",
    ],
)
def test_wrong_times_of_a_day_that_is_known(file, interval):
    """The day was read in the first row; the second is checked all the same."""
    path = file(old_prices(["01.01.2023 09:00 - 01.01.2023 10:00", interval], [1, 2]))
    with pytest.raises(EntsoeFormatError, match=r"line 3, column 'MTU \(CET/CEST\)': must (be an interval|span)"):
        read_entsoe(path)


def test_a_known_day_is_one_of_its_clock(file):
    """The second row says UTC: the same day begins at another time."""
    rows = [
        '"Germany (DE)","01.01.2023 01:00 - 01.01.2023 02:00 (CET/CEST)","4"',
        '"Germany (DE)","01.01.2023 01:00 - 01.01.2023 02:00 (UTC)","5"',
    ]
    path = file("\n".join([CELLS_WITH_THE_CLOCK.splitlines()[0], *rows]))
    assert_array_equal(read_entsoe(path).start, utc("2023-01-01T00:00", 2))
