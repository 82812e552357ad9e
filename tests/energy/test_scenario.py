"""Scenario files: what they make, what is wrong with them, and that a written one comes back."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.scenario import ScenarioError, read_scenario, write_scenario
from mfenvs.energy.tariffs import ByHour, DayAhead, Period, Sum, TimeOfUse
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.version_0 import EnergyMarketV0

MEMBERS = "type,load,pv_kwp,battery_kwh,name\nstorage,a,8,10,Ada\nconsumer,b,,,\npv,a,5,,Bert\n"

SCENARIO = """\
game = "EnergyMarket-v1"

[market]
step_minutes = 15
imbalance = "individual"
peak_of = "community"

[members]
file = "tables/members.csv"

[tariffs]
feed_in = 0.05
retail = {kind = "day-ahead", markup = 0.2}
network_charge = {kind = "time-of-use", otherwise = 0.1, periods = [{price = 0.2, hours = "17-21"}]}
peak_charge = 0.3

[law]
c_rate = 0.25
capacity_kwh = [4.0, 6.0]

[series]
load = {file = "load.csv", unit = "kW", timezone = "UTC"}
pv = {file = "pv.csv", unit = "Wh", timezone = "UTC"}
price = {file = "price.csv", unit = "EUR/MWh", timezone = "UTC"}
co2 = 0.2
"""


def table(name, *columns):
    rows = [f"2024-07-{1 + hour // 24:02d} {hour % 24:02d}:00" for hour in range(48)]
    lines = [",".join(["time", *name])]
    lines += [",".join([at, *(str(column[hour]) for column in columns)]) for hour, at in enumerate(rows)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path):
    """A scenario and its tables."""
    (tmp_path / "tables").mkdir()
    hours = np.arange(48)
    for name, text in (
        ("tables/members.csv", MEMBERS),
        ("load.csv", table("ab", 1 + hours, 2 + 0 * hours)),
        ("pv.csv", table(["roof"], 1000 * (hours % 24 == 12))),
        ("price.csv", table(["price"], hours - 5)),
        ("market.toml", SCENARIO.replace('peak_of = "community"\n', "")),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_scenario_by_hand(folder):
    game = read_scenario(folder / "market.toml")
    assert type(game) is EnergyMarket
    assert (game.n_agents, game.step_minutes, game.imbalance, game.peak_charge) == (3, 15, "individual", 0.3)
    assert [member.name for member in game.members] == [None, "Bert", "Ada"]
    assert game.law.c_rate == 0.25
    assert game.law.capacity_kwh == (4.0, 6.0)
    assert game.retail == DayAhead(0.2)
    assert game.network_charge == TimeOfUse(0.1, (Period(0.2, "17-21"),))
    days = game.days
    assert days.dates == ("2024-07-01", "2024-07-02")
    assert_allclose(days.load[0, :8, 0], [0.25] * 4 + [0.5] * 4)
    assert_allclose(days.pv[1, 48:52], 0.25)
    assert_allclose(days.price[0, 95], 0.018)
    assert_allclose(game.tariffs.retail[0, [0, 68]], [-0.005 + 0.3, 0.012 + 0.4])
    assert_allclose(days.co2, 0.2)


def test_a_small_scenario(tmp_path):
    (tmp_path / "a.toml").write_text('game = "EnergyMarket-v0"\n[market]\nn_agents = 20\n')
    game = read_scenario(str(tmp_path / "a.toml"))
    assert type(game) is EnergyMarketV0
    assert game == EnergyMarketV0(n_agents=20)
    (tmp_path / "a.toml").write_text('[series]\nsource = "synthetic"\n[members]\ntype = ["pv", "storage"]\n')
    game = read_scenario(tmp_path / "a.toml")
    assert (game.series, game.n_agents) == ("synthetic", 2)


def test_scenarios_of_entsoe_files(tmp_path):
    def write(name, header, first, step):
        rows = (f"01.07.2024 {h:02d}:00 - {1 + (h == 23):02d}.07.2024 {(h + 1) % 24:02d}:00" for h in range(24))
        lines = [f"MTU (CET/CEST),{header}", *(f"{at},{first + step * h}" for h, at in enumerate(rows))]
        (tmp_path / name).write_text("\n".join(lines))

    write("load.csv", "Actual Total Load [MW]", 10, 0)
    write("solar.csv", "Solar - Actual Aggregated [MW]", 0, 1)
    write("wind.csv", "Wind Onshore - Actual Aggregated [MW]", 46, -1)
    write("price.csv", "Day-ahead Price [EUR/MWh]", 0, 1)
    text = (
        "[series.entsoe]\nload = 'load.csv'\nsolar = ['solar.csv']\nwind = 'wind.csv'\nprice = 'price.csv'\n"
        "solar_capacity_mw = 46\nprofiles = 3\n"
    )
    (tmp_path / "a.toml").write_text(text)
    days = read_scenario(tmp_path / "a.toml").days
    assert_allclose(days.pv[0, :, 2], np.arange(24) / 46, rtol=1e-6)
    assert_allclose(days.price[0], np.arange(24) / 1000)
    for old, new, words in (
        ("'wind.csv'", "'blow.csv'", r"\[series.entsoe\]: wind: there is no file .*blow.csv"),
        ("profiles", "profile", r"\[series.entsoe\]: the key 'profile' is unknown \(did you mean 'profiles'\?\)"),
        ("price = 'price.csv'\n", "", r"\[series.entsoe\]: price is missing"),
        ("'price.csv'", "'load.csv'", r"\[series.entsoe\]: the unit of price must be EUR/MWh, got 'MW'"),
    ):
        (tmp_path / "a.toml").write_text(text.replace(old, new))
        with pytest.raises(ScenarioError, match=f"a.toml: {words}"):
            read_scenario(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[market]", "[markets]", "the key 'markets' is unknown (did you mean 'market'?); allowed: game"),
        ("step_minutes", "step_minute", "[market]: the key 'step_minute' is unknown (did you mean 'step"),
        ("imbalance", "retail", "[market]: the key 'retail' is unknown"),
        ("feed_in", "feedin", "[tariffs]: the key 'feedin' is unknown (did you mean 'feed_in'?)"),
        ("c_rate", "crate", "law: 'crate' is unknown (did you mean 'c_rate'?)"),
        ("markup", "mark", "retail: 'mark' is unknown (did you mean 'markup'?)"),
        ("hours", "hour", "network_charge: periods[0]: 'hour' is unknown (did you mean 'hours'?)"),
        ("unit", "units", "[series.load]: the key 'units' is unknown (did you mean 'unit'?)"),
        ('"kW",', '"kW", columns = ["c"],', "[series.load]: names must be one of 'a', 'b', got 'c'"),
        ('"kW",', '"kW", columns = "a",', "[series.load]: columns must hold names of columns, got 'a'"),
        (', unit = "kW"', "", "[series.load]: unit is missing"),
        ('"kW"', '"MW"', "[series.load]: unit must be one of 'kWh', 'Wh', 'kW'"),
        ('"load.csv"', '"loads.csv"', "[series.load]: there is no file"),
        ("load = {", "loads = {", "[series]: must have one of source, file, load and entsoe, got none"),
        ("co2 = 0.2", "source = 'embedded'", "must have one of source, file, load and entsoe, got source, load"),
        ("co2 = 0.2", "co2 = -1", "[series]: co2 must be"),
        ('"tables/members.csv"', '"members.csv"', "[members]: there is no file"),
        ("[members]", "[members]\nfiles = 3", "[members]: the key 'files' is unknown (did you mean 'file'?)"),
        ('"EnergyMarket-v1"', '"EnergyMarket-v9"', "game: unknown game 'EnergyMarket-v9'"),
        ('"EnergyMarket-v1"', '"Taxi-v0"', "game must be an energy market such as EnergyMarket-v1, got 'Taxi-v0'"),
        ('"EnergyMarket-v1"', "3", "game must be the name of a game, got 3"),
        ("step_minutes = 15", "step_minutes = 30", "step_minutes must be one of 15, 60"),
        ("step_minutes = 15", "step_minutes = ", "is no TOML: Invalid value (at line 4"),
        ("step_minutes = 15", "step_minutes = 15\nstep_minutes = 60", "is no TOML: Cannot overwrite a value"),
        ("0.05", "5.0", "retail must be at least"),
        ("0.3", "-0.3", "peak_charge must be"),
        ("[law]", "[[law]]", "law must be a table, got"),
    ],
)  # fmt: skip
def test_wrong_scenarios(folder, old, new, words):
    text = (folder / "market.toml").read_text()
    assert old in text
    (folder / "market.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ScenarioError, match=re.escape(f"{folder / 'market.toml'}: ") + ".*" + re.escape(words)):
        read_scenario(folder / "market.toml")


def test_errors_of_tables_name_their_place(folder):
    (folder / "load.csv").write_text((folder / "load.csv").read_text().replace(",7,", ",x,"))
    with pytest.raises(
        ScenarioError, match=r"market\.toml: \[series\.load\]: .*load\.csv, line 8, column 'a': must be"
    ):
        read_scenario(folder / "market.toml")
    (folder / "tables" / "members.csv").write_text(MEMBERS.replace("8", "-8"))
    (folder / "market.toml").write_text('[members]\nfile = "tables/members.csv"\n')
    with pytest.raises(
        ScenarioError, match=r"market\.toml: .*members\.csv, line 2, column 'pv_kwp': must be a number"
    ):
        read_scenario(folder / "market.toml")


@pytest.mark.parametrize(
    "terms",
    [
        {"n_agents": 20, "n_days": 3, "preset": None, "weather_sd": 0.1, "import_limit_kw": 2.0},
        {
            "members": {"type": ["pv", "storage"], "name": ['Ü "quoted" \\ 🏠', None], "ev": [True, False]},
            "retail": Sum((DayAhead(0.5), ByHour([0.1] * 24, [0.2] * 24))),
            "feed_in": TimeOfUse(-0.01, (Period(-0.02, "22-6", "sunday", "11-2"),)),
            "network_charge": np.full((363, 24), 0.01),
            "series": "embedded",
        },
    ],
)
def test_a_written_scenario_comes_back(tmp_path, terms):
    game = EnergyMarket(**terms)
    write_scenario(game, tmp_path / "a.toml")
    again = read_scenario(tmp_path / "a.toml")
    assert again == game
    assert_array_equal(again.agents, game.agents)
    write_scenario(again, tmp_path / "b.toml")
    assert (tmp_path / "a.toml").read_text() == (tmp_path / "b.toml").read_text()


def test_a_series_by_a_relative_path(folder, monkeypatch):
    """Written elsewhere, the scenario still finds the series."""
    monkeypatch.chdir(folder)
    read_scenario("market.toml").days.save("days.npz")
    write_scenario(EnergyMarket(n_agents=5, series="days.npz"), folder / "tables" / "a.toml")
    monkeypatch.chdir(folder.parent)
    assert read_scenario(folder / "tables" / "a.toml").days.dates == ("2024-07-01", "2024-07-02")


def test_quarters_stay_quarters(folder):
    """Of a load in steps of 15 minutes, in a market of such steps."""
    times = np.datetime64("2024-07-01T00:00") + np.arange(192) * np.timedelta64(15, "m")
    rows = [f"{at},{k},1".replace("T", " ") for k, at in enumerate(times.astype("datetime64[m]").tolist())]
    (folder / "load.csv").write_text("\n".join(["time,a,b", *rows]))
    game = read_scenario(folder / "market.toml")
    assert_allclose(game.days.load[1, :, 0], np.arange(96, 192) / 4)


@pytest.mark.parametrize("taken", ["b.toml", "b.npz"])
def test_a_scenario_is_written_with_its_series_or_not_at_all(folder, tmp_path, taken):
    game = read_scenario(folder / "market.toml")
    (tmp_path / "new" / taken).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_scenario(game, tmp_path / "new" / "b.toml")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [taken]


def test_a_written_scenario_keeps_a_series_in_memory(folder, tmp_path):
    game = read_scenario(folder / "market.toml")
    (tmp_path / "other").mkdir()
    write_scenario(game, tmp_path / "other" / "b.toml")
    again = read_scenario(tmp_path / "other" / "b.toml")
    assert_array_equal(again.agents, game.agents)
    for name in ("load", "pv", "price"):
        assert_array_equal(getattr(again.days, name), getattr(game.days, name))
    assert {**again.describe(), "series": None} == {**game.describe(), "series": None}
    write_scenario(again, tmp_path / "c.toml")
    assert read_scenario(tmp_path / "c.toml").describe() == again.describe() | {
        "series": str((tmp_path / "other" / "b.npz").resolve())
    }


PIECES = [
    b"",
    b'"',
    b"\n",
    b"=",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\xff",
    b"\0",
    b"1e400",
    b"-3",
    b"nan",
    b"[[",
    b"true",
    b"'x'",
    b"[1]",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20), st.sampled_from(PIECES)), min_size=1, max_size=3)
)
def test_damaged_scenarios_are_read_or_refused(folder, damages):
    content = SCENARIO.replace('peak_of = "community"\n', "").encode()
    for at, length, piece in damages:
        content = content[:at] + piece + content[at + length :]
    (folder / "damaged.toml").write_bytes(content)
    game, said = read_or_refused(folder / "damaged.toml")
    assert str(folder / "damaged.toml") in said if game is None else game.n_agents >= 2


def read_or_refused(path):
    """The market, or what the reader's own error says; any other error goes through."""
    try:
        return read_scenario(path), ""
    except ScenarioError as error:
        return None, str(error)
