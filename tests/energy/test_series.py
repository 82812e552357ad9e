"""The market's series against the published files, solar geometry, hand-worked days and closed forms.

Random checks fail with probability below 1e-6 each; seeds are fixed.
"""

import dataclasses
import json
import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from mfenvs.energy.embedded_data import EMBEDDED, Homes, germany_2018, homes
from mfenvs.energy.entsoe import Series
from mfenvs.energy.series import MarketSeries

BERLIN = ZoneInfo("Europe/Berlin")


def market(n_days=2, steps=24, n_profiles=3, **changes):
    days = (n_days, steps)
    fields = {
        "load": np.ones((*days, n_profiles), np.float32),
        "pv": np.ones((*days, n_profiles), np.float32),
        "wind": np.ones(days, np.float32),
        "price": np.zeros(days),
        "co2": np.ones(days),
        "step_hours": 24 / steps,
        "dates": tuple(f"01-{1 + n:02d}" for n in range(n_days)),
    }
    return MarketSeries(**(fields | changes))


def series(values, start="2024-01-09T23:00", minutes=60, unit="MW"):
    values = np.asarray(values, float)
    times = np.datetime64(start, "s") + np.arange(len(values)) * np.timedelta64(minutes, "m")
    return Series(times, values, minutes, "made up", unit)


def test_homes_are_read_only_and_loaded_once():
    assert homes() is homes()
    assert homes().load_kwh.shape == homes().pv_kw_per_kwp.shape == (8760, 17)
    for owner in (homes(), germany_2018()):
        for field in dataclasses.fields(owner):
            array = getattr(owner, field.name)
            assert array.shape[0] == 8760
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    with np.load(EMBEDDED / "homes.npz") as published:
        assert_allclose(homes().pv_kw_per_kwp, published["pv_w_per_kw"] / 1000, rtol=1e-6)
    assert isinstance(homes(), Homes)


def test_licences_come_with_the_series():
    text = (EMBEDDED / "DATA_LICENSES").read_text()
    for owed in ("CityLearn 2.1.2 (MIT licence)", "SMARD.de (Bundesnetzagentur), CC BY 4.0", "ENTSO-E"):
        assert owed in text


def test_the_hours_of_homes_begin_at_midnight():
    """Rows are whole clock days: peak tariff from 16:00 to 21:00, and PV around Fontana's solar noon."""
    hour_of_row = np.arange(8760) % 24
    assert_array_equal(homes().hour % 24, hour_of_row)
    assert set(hour_of_row[homes().tariff_usd_per_kwh > 0.3]) == {16, 17, 18, 19, 20}
    # Longitude 117.4 degrees west: 11:50 standard time, 12:50 summer time, give or take the equation of time.
    pv = homes().pv_kw_per_kwp[:, :14].mean(1, dtype=float).reshape(365, 24)
    centre = (pv * (np.arange(24) + 0.5)).sum(1) / pv.sum(1)
    first = date(2016, 8, 1)
    for begin, end, noon in ((0, 97, 12.83), (97, 223, 11.83), (223, 365, 12.83)):
        assert abs(centre[begin:end].mean() - noon) < 0.45
    assert first + timedelta(97) == date(2016, 11, 6)  # The first Sunday of November.
    assert first + timedelta(223) == date(2017, 3, 12)  # The second of March.
    for change, moved in ((97, -1), (223, 1)):
        assert abs(np.median(centre[change : change + 7]) - np.median(centre[change - 7 : change]) - moved) < 0.4


def test_the_calendar_of_homes_is_one_hour_late():
    days = [date(2016, 8, 1) + timedelta(n) for n in range(365)]
    hours = [(d, h) for d in days for h in range(24)]
    late = [(d if h else d - timedelta(1)) for d, h in hours]
    assert_array_equal(homes().month, [d.month for d in late])
    assert_array_equal(homes().day_type, [d.isoweekday() for d in late])


def test_embedded_days_match_by_month_and_day_on_the_clock():
    days = MarketSeries.embedded()
    assert days.load.shape == days.pv.shape == (363, 24, 17)
    assert (days.load.dtype, days.wind.dtype, days.price.dtype) == (np.float32, np.float32, np.float64)
    assert (days.dates[0], days.dates[-1], days.step_hours) == ("08-01", "07-31", 1.0)
    calendar = [f"{date(2016, 8, 1) + timedelta(n):%m-%d}" for n in range(365)]
    assert [label for label in calendar if label not in days.dates] == ["10-28", "03-25"]
    raw = germany_2018()
    for label in ("08-01", "10-27", "10-29", "12-31", "01-01", "03-24", "03-26", "07-31"):
        at = days.dates.index(label)
        row = 24 * calendar.index(label)
        assert_array_equal(days.load[at], homes().load_kwh[row : row + 24])
        assert_array_equal(days.pv[at], homes().pv_kw_per_kwp[row : row + 24])
        assert_allclose(days.co2[at], homes().co2_kg_per_kwh[row : row + 24])
        month, day = map(int, label.split("-"))
        begin = datetime(2018, month, day, tzinfo=BERLIN).astimezone(UTC)
        hour = int((begin - datetime(2017, 12, 31, 23, tzinfo=UTC)).total_seconds()) // 3600
        assert_allclose(days.price[at], raw.day_ahead_price_eur_per_mwh[hour : hour + 24].astype(float) / 1000)
        assert_allclose(days.wind[at], raw.wind_onshore_mw[hour : hour + 24] / 40389.25, rtol=1e-6)
    # New Year's morning, from the table of the exchange: -76.01 EUR/MWh from 7:00 to 8:00.
    assert days.price[days.dates.index("01-01"), 7] == pytest.approx(-0.07601)
    # The Monday after the clock changed: the morning peak is the local hour that begins at 8:00.
    assert days.price[days.dates.index("03-26")].argmax() == 8


def test_the_home_without_pv_is_left_out():
    days = MarketSeries.embedded()
    assert_array_equal(days.pv_profiles, [*range(14), 15, 16])


@pytest.mark.parametrize(
    ("shares", "usable"), [([1, 1, 0.11], [0, 1, 2]), ([1, 1, 0.09], [0, 1]), ([0, 0, 0], [0, 1, 2])]
)
def test_pv_profiles(shares, usable):
    assert_array_equal(market(pv=np.ones((2, 24, 3)) * shares).pv_profiles, usable)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load": np.ones((2, 23, 3))}, r"load must have shape \(n_days >= 1, 24"),
        ({"load": np.ones((0, 24, 3))}, "load must have shape"),
        ({"load": np.ones((2, 24, 0))}, "load must have shape"),
        ({"load": np.ones((2, 24))}, "load must have shape"),
        ({"pv": np.ones((2, 24, 2))}, r"pv must have shape \(2, 24, 3\), got \(2, 24, 2\)"),
        ({"wind": np.ones((2, 25))}, "wind must have shape"),
        ({"price": np.ones(2)}, "price must have shape"),
        ({"co2": np.ones((3, 24))}, "co2 must have shape"),
        ({"dates": ("01-01",)}, "dates must have one label for each of 2 days, got 1"),
        ({"step_hours": 0.5}, "step_hours must be one of 0.25, 1.0, got 0.5"),
    ],
)
def test_wrong_shapes(change, words):
    with pytest.raises(ValueError, match=words):
        market(**change)


@pytest.mark.parametrize("field", ["load", "pv", "wind", "price", "co2"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-9])
def test_wrong_values_are_placed(field, value):
    array = np.array(getattr(market(), field), float)
    where = (1, 7, 2)[: array.ndim]
    array[where] = value
    if field == "price" and np.isfinite(value):
        assert market(price=array).price[1, 7] == value
        return
    with pytest.raises(
        ValueError, match=re.escape(f"{field}[{', '.join(map(str, where))}] (01-02) must be finite")
    ):
        market(**{field: array})


def test_dates_are_texts():
    with pytest.raises(TypeError, match=r"dates\[1\] must be a text, got 2"):
        market(dates=("01-01", 2))


def test_fields_are_read_only_copies():
    mine = np.ones((2, 24))
    days = market(wind=mine)
    mine[0] = 5
    assert days.wind.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        days.wind[0, 0] = 2


def test_resampled_to_quarters_by_hand():
    wind = np.zeros((1, 24))
    wind[0, :2] = 4.0, 8.0
    hourly = market(n_days=1, wind=wind, price=wind - 5, co2=wind / 2)
    quarters = hourly.resampled(15)
    assert (quarters.steps, quarters.step_hours, quarters.dates) == (96, 0.25, hourly.dates)
    assert_array_equal(quarters.wind[0, :9], [1, 1, 1, 1, 2, 2, 2, 2, 0])
    assert_array_equal(quarters.price[0, :9], [-1, -1, -1, -1, 3, 3, 3, 3, -5])
    assert_array_equal(quarters.co2[0, :5], [2, 2, 2, 2, 4])
    assert_array_equal(quarters.load, np.full((1, 96, 3), 0.25))
    assert hourly.resampled(60) is hourly


def test_resampled_to_hours_by_hand():
    ramp = np.arange(96.0)[None]
    hourly = market(n_days=1, steps=96, wind=ramp, price=ramp, co2=ramp).resampled(60)
    assert_array_equal(hourly.wind[0, :2], [0 + 1 + 2 + 3, 4 + 5 + 6 + 7])
    assert_array_equal(hourly.price[0, :2], [1.5, 5.5])
    assert_array_equal(hourly.co2[0, -1], 93.5)
    assert_array_equal(hourly.load, np.full((1, 24, 3), 4.0))
    with pytest.raises(ValueError, match="minutes must be one of 15, 60, got 30"):
        hourly.resampled(30)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99), st.sampled_from([15, 60]))
def test_resampling_keeps_energy_and_comes_back(n_days, n_profiles, seed, minutes):
    days = MarketSeries.synthetic(n_days, n_profiles, seed, step_minutes=minutes)
    other = days.resampled(75 - minutes)
    for name in ("load", "pv", "wind"):
        assert_allclose(getattr(other, name).sum(1), getattr(days, name).sum(1), rtol=1e-5)
    assert_allclose(other.price.mean(1), days.price.mean(1))
    if minutes == 60:
        again = other.resampled(60)
        for name in ("load", "pv", "wind", "price", "co2"):
            assert_allclose(getattr(again, name), getattr(days, name), rtol=1e-6)


def test_synthetic_is_fixed_by_its_seed():
    one, same, other = (MarketSeries.synthetic(3, 2, seed) for seed in (5, 5, 6))
    for name in ("load", "pv", "wind", "price", "co2"):
        assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
    assert MarketSeries.synthetic(3, 1, 0, first_date="12-30").dates == ("12-30", "12-31", "01-01")


@pytest.mark.parametrize(("minutes", "n_years"), [(15, 60), (60, 200)])
def test_synthetic_energy_totals(minutes, n_years):
    """A year of one home from each of many seeds, against the stated means at 6.5 standard errors."""
    years = [MarketSeries.synthetic(365, 1, seed, step_minutes=minutes) for seed in range(n_years)]
    assert 2 * stats.t.sf(6.5, n_years - 1) < 1e-6
    logs = np.log([year.load.sum(dtype=float) for year in years])
    low, high = stats.chi2.ppf([2.5e-7, 1 - 2.5e-7], n_years - 1) * 0.23**2 / (n_years - 1)
    assert low < logs.var(ddof=1) < high

    def curve(v):
        return np.clip((v**3 - 27) / (12**3 - 27), 0, 1) * (v <= 25)

    speed = stats.rayleigh(scale=5.2)
    factor = integrate.quad(lambda v: curve(v) * speed.pdf(v), 0, 40, points=[3, 12, 25])[0]
    assert factor == pytest.approx(0.25, abs=0.001)
    for found, stated in (
        (logs, np.log(10_400)),
        ([year.pv.sum(dtype=float) for year in years], 1000),
        ([year.wind.sum(dtype=float) / 8760 for year in years], factor),
    ):
        assert abs(np.mean(found) - stated) < 6.5 * np.std(found, ddof=1) / np.sqrt(n_years)
        assert np.std(found, ddof=1) / np.mean(found) < 0.15
    first = years[0]
    assert first.price.min() < 0 < first.price.mean() < 0.2
    assert np.corrcoef(first.price.ravel(), first.wind.ravel())[0, 1] < -0.3
    assert first.wind.max() <= minutes / 60
    assert (first.steps, first.step_hours) == (1440 // minutes, minutes / 60)


def test_synthetic_shapes():
    days = MarketSeries.synthetic(364, 50, 2)
    weekdays = days.load[np.arange(364) % 7 < 5].mean((0, 2))
    weekend = days.load[np.arange(364) % 7 >= 5].mean((0, 2))
    assert weekdays[:14].argmax() in (6, 7)
    assert weekend[:14].argmax() in (8, 9)
    assert weekdays.argmax() in (18, 19)
    morning = [days.load[np.arange(364) % 7 == day].mean((0, 2))[:14].argmax() for day in range(7)]
    assert [hour >= 8 for hour in morning] == [False] * 5 + [True] * 2
    assert days.pv.mean((0, 2)).argmax() in (11, 12)
    assert_allclose(days.pv, days.pv[:, ::-1], rtol=1e-4, atol=1e-6)
    assert weekdays.argmin() in range(5)
    by_month = {month: [d.startswith(f"{month:02d}-") for d in days.dates] for month in (1, 6, 7)}
    assert days.load[by_month[1]].mean() > 1.2 * days.load[by_month[7]].mean()
    assert days.pv[by_month[6]].mean() > 3 * days.pv[by_month[1]].mean()
    assert days.pv[:, [0, 1, 22, 23]].max() == 0
    assert days.pv.max() < 1
    cloud = days.pv.sum((1, 2), dtype=float)
    assert np.corrcoef(cloud[160:200][:-1], cloud[160:200][1:])[0, 1] > 0
    wind = days.wind.ravel()
    assert np.corrcoef(wind[:-1], wind[1:])[0, 1] > 0.8
    assert abs(np.corrcoef(wind[:-240], wind[240:])[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_days": 0}, r"n_days must be an integer in \[1, 36500\], got 0"),
        ({"n_profiles": 0}, "n_profiles must be"),
        ({"seed": -1}, "seed must be"),
        ({"step_minutes": 30}, "step_minutes must be one of 15, 60, got 30"),
        ({"first_date": "02-30"}, "first_date must be mm-dd, got '02-30'"),
    ],
)
def test_wrong_arguments_of_synthetic(change, words):
    with pytest.raises(ValueError, match=words):
        MarketSeries.synthetic(**({"n_days": 1, "n_profiles": 1, "seed": 0} | change))


def test_from_entsoe_by_hand():
    """10 and 11 January 2024 Berlin, hour by hour: MW and EUR/MWh to kWh and EUR/kWh."""
    hours = np.arange(48.0)
    days = MarketSeries.from_entsoe(
        series(50_000 + 0 * hours),
        series(hours),
        series(100 - hours),
        series(hours - 10, unit="EUR/MWh"),
        profiles=2,
        solar_capacity_mw=200,
    )
    assert days.dates == ("2024-01-10", "2024-01-11")
    assert days.load.shape == (2, 24, 2)
    assert_allclose(days.load, 10_400 / 8760, rtol=1e-6)
    assert_allclose(days.pv[1, :, 1], np.arange(24, 48) / 200, rtol=1e-6)
    assert_allclose(days.wind.ravel(), (100 - hours) / 100, rtol=1e-6)
    assert_allclose(days.price.ravel(), (hours - 10) / 1000)
    assert_allclose(days.co2, 0.38)


def test_from_entsoe_mixes_resolutions():
    load = series(np.repeat(np.arange(1.0, 25), 4), minutes=15)
    half = series(np.arange(48.0), minutes=30)
    price = series(np.arange(24.0), unit="EUR/MWh")
    quarters = MarketSeries.from_entsoe(load, half, load, price, profiles=1, step_minutes=15, wind_capacity_mw=48)
    assert_allclose(quarters.price[0, :8] * 1000, [0, 0, 0, 0, 1, 1, 1, 1])
    assert_allclose(quarters.pv[0, :4, 0] * 4 * 47, [0, 0, 1, 1], rtol=1e-6)
    assert_allclose(quarters.wind[0, 4:8], 2 / 48 / 4, rtol=1e-6)
    assert quarters.load.sum() == pytest.approx(10_400 / 365)
    hours = MarketSeries.from_entsoe(
        load, half, load, price, profiles=1, solar_capacity_mw=100, annual_load_kwh=365
    )
    assert_allclose(hours.pv[0, :, 0], np.arange(0.5, 48, 2) / 100, rtol=1e-6)
    assert_allclose(hours.load[0, :, 0], np.arange(1, 25) / 300, rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "n_hours", "kept"),
    [
        ("2018-03-23T23:00", 24 + 23 + 24, ("2018-03-24", "2018-03-26")),
        ("2018-10-26T22:00", 24 + 25 + 24, ("2018-10-27", "2018-10-29")),
        ("2018-01-01T00:00", 47, ("2018-01-02",)),
        ("2017-12-31T23:00", 47, ("2018-01-01",)),
    ],
)
def test_from_entsoe_keeps_whole_days_of_24_hours(start, n_hours, kept):
    power = series(np.arange(1.0, n_hours + 1), start)
    days = MarketSeries.from_entsoe(power, power, power, series(np.arange(n_hours), start, unit="EUR/MWh"))
    assert days.dates == kept
    for label, prices in zip(kept, days.price, strict=True):
        midnight = datetime.fromisoformat(label).replace(tzinfo=BERLIN)
        first = (midnight - datetime.fromisoformat(start).replace(tzinfo=UTC)) // timedelta(hours=1)
        assert_allclose(prices * 1000, np.arange(first, first + 24))


def test_from_entsoe_takes_several_files():
    """Two files of a day each, in either order, are one of two days."""
    first, second = series(np.arange(24.0)), series(np.arange(24.0, 48), "2024-01-10T23:00")
    prices = [series(np.ones(24), part.start[0], unit="EUR/MWh") for part in (first, second)]
    days = MarketSeries.from_entsoe([second, first], (first, second), (first, second), prices)
    assert days.dates == ("2024-01-10", "2024-01-11")
    assert_allclose(days.wind.ravel(), np.arange(48) / 47, rtol=1e-6)
    with pytest.raises(ValueError, match=r"start\[24\] must be 60 minutes after start\[23\]"):
        MarketSeries.from_entsoe([first, series(np.ones(24), "2024-01-12T23:00")], first, first, prices[0])


def test_what_solar_farms_draw_at_night_counts_as_nothing():
    power, price = series(np.ones(24)), series(np.ones(24), unit="EUR/MWh")
    solar = np.ones(24)
    solar[:3] = -0.01, -0.004, 0
    with pytest.warns(UserWarning, match=r"2 steps of solar power between -0.01 and 0 MW count as 0") as warned:
        days = MarketSeries.from_entsoe(power, series(solar), power, price)
    assert warned[0].filename == __file__
    assert_array_equal(days.pv[0, :4, 0], [0, 0, 0, 1])
    solar[1] = -0.011
    with (
        pytest.warns(UserWarning, match="1 steps of solar"),
        pytest.raises(ValueError, match=r"solar must be >= 0 MW, got -0.011 on 2024-01-10, step 1"),
    ):
        MarketSeries.from_entsoe(power, series(solar), power, price)
    for name, at in (("load", 0), ("wind", 2)):
        parts = [power, power, power, price]
        parts[at] = series(np.append(np.ones(23), -0.001))
        with pytest.raises(ValueError, match=f"{name} must be >= 0 MW, got -0.001 on 2024-01-10, step 23"):
            MarketSeries.from_entsoe(*parts)


def test_kinds_of_arguments():
    """Bools, texts, nan and arrays are refused by name; numpy's numbers are taken."""
    power, price = series(np.ones(24)), series(np.ones(24), unit="EUR/MWh")
    good = (power, power, power, price)
    for name, values in {
        "profiles": ("3", True, np.ones(2), 10_001),
        "solar_capacity_mw": ("3", True, np.ones(2), np.nan),
        "annual_load_kwh": ("3", True, np.ones(2), np.nan),
        "co2_kg_per_kwh": ("3", True, np.ones(2), np.nan),
        "step_minutes": ("15", True, np.array([15, 60]), np.nan, None),
        "timezone": (None, 3, True, "Europe"),
    }.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
                MarketSeries.from_entsoe(*good, **{name: value})
    days = MarketSeries.from_entsoe(
        *good, profiles=np.uint8(2), step_minutes=np.int64(60), wind_capacity_mw=np.float32(2)
    )
    assert (days.n_profiles, days.step_hours) == (2, 1.0)
    for name, values in {
        "n_days": (True, "3", 2.5, 36_501),
        "n_profiles": (True, "3", np.ones(1), 10_001),
        "step_minutes": (True, "15", np.array([15])),
        "first_date": (None, 3, True, ["01-01"]),
    }.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
                MarketSeries.synthetic(**({"n_days": 1, "n_profiles": 1, "seed": 0} | {name: value}))
    for name, values in {
        "step_hours": (True, "1", np.ones(1), np.nan, None),
        "dates": (None, "ab", 3),
        "price": (np.ones((2, 24), bool), np.full((2, 24), "a")),
    }.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
                market(**{name: value})
    for value in (True, "15", np.array([15]), None):
        with pytest.raises(ValueError, match=r"^minutes must be one of 15, 60"):
            market().resampled(value)
    assert type(market(step_hours=np.float64(1)).step_hours) is float


def test_from_entsoe_takes_files(tmp_path):
    """Two days of Berlin: hours in one file of prices, quarters in the next, and a file of generation."""

    def intervals(first, n, minutes):
        times = [datetime(2024, 1, first) + timedelta(minutes=minutes * k) for k in range(n + 1)]
        return [f"{times[k]:%d.%m.%Y %H:%M} - {times[k + 1]:%d.%m.%Y %H:%M}" for k in range(n)]

    def write(name, header, intervals, values):
        rows = (f"{at},{','.join(map(str, row))}" for at, row in zip(intervals, values, strict=True))
        (tmp_path / name).write_text("\n".join([header, *rows, ""]))
        return tmp_path / name

    hours = range(48)
    load = write("load.csv", "MTU (CET/CEST),Actual Total Load [MW]", intervals(10, 48, 60), [[5]] * 48)
    header = "MTU (CET/CEST),Solar - Actual Aggregated [MW],Wind Onshore - Actual Aggregated [MW]"
    generation = write("generation.csv", header, intervals(10, 48, 60), [[k, 100 - k] for k in hours])
    first, second = (
        write(f"{day}.csv", "MTU (CET/CEST),Day-ahead Price [EUR/MWh]", intervals(day, n, minutes), values)
        for day, n, minutes, values in (
            (10, 24, 60, [[k] for k in range(24)]),
            (11, 96, 15, [[k] for k in range(96)]),
        )
    )
    given = str(load), generation, [generation], [second, str(first)]
    days = MarketSeries.from_entsoe(*given, profiles=1)
    assert days.dates == ("2024-01-10", "2024-01-11")
    assert_allclose(days.pv.ravel(), np.arange(48) / 47, rtol=1e-6)
    assert_allclose(days.wind.ravel(), (100 - np.arange(48)) / 100, rtol=1e-6)
    assert_allclose(days.price * 1000, [np.arange(24), np.arange(24) * 4 + 1.5])
    quarters = MarketSeries.from_entsoe(*given, profiles=1, step_minutes=15)
    assert_allclose(quarters.price * 1000, [np.repeat(np.arange(24), 4), np.arange(96)])
    both = intervals(10, 24, 60) + intervals(11, 96, 15)
    prices = [[k] for k in range(24)] + [[k] for k in range(96)]
    whole = write("both.csv", "MTU (CET/CEST),Day-ahead Price [EUR/MWh]", both, prices)
    again = MarketSeries.from_entsoe(*given[:3], whole, profiles=1, step_minutes=15)
    assert_array_equal(again.price, quarters.price)


def test_from_entsoe_refuses():
    power, price = series(np.ones(24)), series(np.ones(24), unit="EUR/MWh")
    good = (power, power, power, price)
    with pytest.raises(ValueError, match="the unit of price must be EUR/MWh, got 'MW'"):
        MarketSeries.from_entsoe(power, power, power, power)
    with pytest.raises(ValueError, match="the unit of load must be MW, got 'EUR/MWh'"):
        MarketSeries.from_entsoe(price, power, power, price)
    with pytest.raises(
        TypeError, match="solar must be a Series as of read_entsoe or the path of a file, or several, got ndarray"
    ):
        MarketSeries.from_entsoe(power, np.ones(24), power, price)
    with pytest.raises(ValueError, match="share no whole day of Europe/Berlin: load 2024-01-09T23:00:00"):
        MarketSeries.from_entsoe(*good[:3], series(np.ones(24), "2024-02-01T23:00", unit="EUR/MWh"))
    with pytest.raises(ValueError, match="solar is never above 0 MW, so solar_capacity_mw must be given"):
        MarketSeries.from_entsoe(power, series(np.zeros(24)), power, price)
    with pytest.raises(ValueError, match="load must have a mean above 0 MW, got 0"):
        MarketSeries.from_entsoe(series(np.zeros(24)), power, power, price)
    for change in (
        {"profiles": 0},
        {"solar_capacity_mw": 0},
        {"wind_capacity_mw": -1},
        {"annual_load_kwh": 0},
        {"co2_kg_per_kwh": -1},
        {"step_minutes": 30},
        {"timezone": "Europe/Nowhere"},
    ):
        with pytest.raises(ValueError, match=next(iter(change))):
            MarketSeries.from_entsoe(*good, **change)


def assert_same_series(one, other):
    for field in dataclasses.fields(MarketSeries):
        assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_series_comes_back_from_its_file(tmp_path):
    named = market(weekdays=(5, 6), load_names=("a", "b", "c"), pv_names=["south"] * 3)
    for number, days in enumerate((market(), named, MarketSeries.synthetic(2, 3, 0, step_minutes=15))):
        days.save(tmp_path / f"{number}.npz")
        found = MarketSeries.read(tmp_path / f"{number}.npz")
        assert_same_series(found, days)
        assert (found.step_hours, found.dates) == (days.step_hours, days.dates)
        with pytest.raises(ValueError, match="read-only"):
            found.wind[0, 0] = 2


ARRAYS = {name: getattr(market(), name) for name in ("load", "pv", "wind", "price", "co2")}
HEADER = {
    "step_hours": 1.0,
    "dates": list(market().dates),
    "weekdays": [0, 1],
    "load_names": ["a", "b", "c"],
    "pv_names": [],
}


@pytest.mark.parametrize(
    ("arrays", "header", "message"),
    [
        ({"load": ARRAYS["load"][0]}, {}, "wind must have shape|pv must have shape"),
        ({"load": np.float32(1)}, {}, "pv must have shape"),
        ({"load": ARRAYS["load"][:, :12]}, {}, "pv must have shape"),
        ({name: ARRAYS[name][:, :12] for name in ARRAYS}, {}, r"load must have shape \(n_days >= 1, 24"),
        ({"load": ARRAYS["load"].astype(np.float64)}, {}, "load must have dtype float32"),
        ({"wind": ARRAYS["wind"].ravel()}, {}, "wind must have shape"),
        ({"wind": ARRAYS["wind"] - 9}, {}, r"wind\[0, 0\] must be a finite number in \[0, inf\]"),
        ({"price": ARRAYS["price"] * np.nan}, {}, r"price\[0, 0\] must be a finite number"),
        ({"price": ARRAYS["price"].astype("M8[s]")}, {}, "price must have dtype float64"),
        ({"more": ARRAYS["price"]}, {}, "it must hold the arrays"),
        ({}, {"step_hours": 0.5}, "step_hours must be one of"),
        ({}, {"step_hours": []}, "step_hours must be one of"),
        ({}, {"step_hours": 0.25}, "load must have shape"),
        ({}, {"dates": "no"}, "dates must be one text for each day, got 'no'"),
        ({}, {"weekdays": [0]}, "weekdays must be one for each of 2 days, got 1"),
        ({}, {"weekdays": [0, 7]}, r"weekdays\[1\] must be an integer in \[0, 6\], got 7"),
        ({}, {"weekdays": 5}, "weekdays must hold a day of the week for each day, got 5"),
        ({}, {"load_names": ["a"]}, "load_names must be one for each of 3 profiles, got 1"),
        ({}, {"pv_names": [1, 2, 3]}, r"pv_names\[0\] must be a text, got 1"),
        ({}, {"pv_names": "abc"}, "pv_names must hold a name for each profile, got 'abc'"),
        ({}, {"dates": ["07-01"]}, "dates must have one label for each of 2 days, got 1"),
        ({}, {"dates": [1, 2]}, r"dates\[0\] must be a text, got 1"),
        ({}, {"more": 1}, "its header must hold"),
    ],
)
def test_a_file_that_is_no_series_is_refused(arrays, header, message, tmp_path):
    members = {name: np.asarray(array) for name, array in {**ARRAYS, **arrays}.items()}
    text = json.dumps({**HEADER, **header}).encode()
    np.savez(tmp_path / "days.npz", **members, header=np.frombuffer(text, np.uint8))
    with pytest.raises(ValueError, match=rf"days\.npz is not a saved market series: .*(?:{message})"):
        MarketSeries.read(tmp_path / "days.npz")


def test_damaged_and_absent_files_are_refused(tmp_path):
    market().save(tmp_path / "days.npz")
    whole = (tmp_path / "days.npz").read_bytes()
    for end in range(0, len(whole), 61):
        (tmp_path / "days.npz").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"days\.npz is not a saved market series"):
            MarketSeries.read(tmp_path / "days.npz")
    with pytest.raises(ValueError, match=r"cannot read .*absent\.npz"):
        MarketSeries.read(tmp_path / "absent.npz")


def test_series_are_equal_if_all_they_hold_is():
    one, same = market(), market()
    assert one == same
    assert hash(one) == hash(same)
    assert one != "one"
    for change in (
        {"load": np.full((2, 24, 3), 2.0)},
        {"price": np.ones((2, 24))},
        {"dates": ("01-01", "01-03")},
        {"weekdays": (0, 1)},
        {"pv_names": ("a", "b", "c")},
    ):
        assert one != market(**change)


def test_weekdays_and_months():
    """Of the embedded homes 1 August 2016 was a Monday; synthetic days begin with one; other labels may tell."""
    embedded = MarketSeries.embedded()
    assert embedded.known_weekdays()[embedded.dates.index("08-01")] == 0
    assert embedded.known_weekdays()[embedded.dates.index("01-01")] == 6  # New Year's Day 2017 was a Sunday.
    assert embedded.known_months()[[0, -1]].tolist() == [8, 7]
    assert_array_equal(MarketSeries.synthetic(9, 1, 0).known_weekdays(), [0, 1, 2, 3, 4, 5, 6, 0, 1])
    assert_array_equal(market(dates=("2024-02-29", "2024-03-01")).known_weekdays(), [3, 4])
    assert_array_equal(market(dates=("2024-02-29", "2024-03-01")).known_months(), [2, 3])
    for dates in (("2023-02-29", "2023-03-01"), ("02-29", "2024-03-01"), ("a", "b")):
        with pytest.raises(ValueError, match="series must have weekdays, or dates yyyy-mm-dd"):
            market(dates=dates).known_weekdays()
    with pytest.raises(ValueError, match="dates must be mm-dd or yyyy-mm-dd for prices by month, got 'a'"):
        market(dates=("a", "01-01")).known_months()
