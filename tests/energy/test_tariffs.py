"""Tariff schedules against prices worked by hand, hour by hour."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tariffs import ByHour, ByStep, DayAhead, Flat, Period, Sum, TimeOfUse, schedule

MONDAY, FRIDAY, SATURDAY, SUNDAY = "2024-01-01", "2024-07-05", "2024-07-06", "2024-11-03"


def days(*dates, steps=24, price=None):
    shape = (len(dates), steps)
    return MarketSeries(
        load=np.ones((*shape, 1)),
        pv=np.ones((*shape, 1)),
        wind=np.ones(shape),
        price=np.zeros(shape) if price is None else price,
        co2=np.ones(shape),
        step_hours=24 / steps,
        dates=dates,
    )


def test_flat_and_by_hour():
    assert_array_equal(schedule("retail", 0.3).by_step(days(MONDAY)), np.full((1, 24), 0.3))
    hours = np.arange(24) / 100
    by_hour = schedule("retail", hours)
    assert by_hour == ByHour(tuple(hours.tolist()))
    assert_array_equal(by_hour.by_step(days(MONDAY, SUNDAY)), [hours, hours])
    assert_array_equal(by_hour.by_step(days(MONDAY, steps=96))[0], np.repeat(hours, 4))
    weekend = ByHour(hours.tolist(), weekend=[0.5] * 24)
    assert_array_equal(weekend.by_step(days(FRIDAY, SATURDAY, SUNDAY)), [hours, [0.5] * 24, [0.5] * 24])


def test_time_of_use_by_hand():
    tariff = TimeOfUse(
        0.3,
        (
            Period(0.4, hours="17-21", days="weekdays", months="11-3"),
            Period(0.2, hours="22-6", months="6 - 8"),
            Period(0.1, hours="10:30-14, 15-15:15", days="sunday"),
        ),
    )
    found = tariff.by_step(days(MONDAY, FRIDAY, SATURDAY, SUNDAY, steps=96))
    monday = np.full(96, 0.3)
    monday[68:84] = 0.4
    friday = np.full(96, 0.3)
    friday[:24] = friday[88:] = 0.2
    sunday = np.full(96, 0.3)
    sunday[42:56] = sunday[60] = 0.1
    assert_array_equal(found, [monday, friday, friday, sunday])
    # Of an hour of which half or a quarter is cheaper, the mean.
    hourly = tariff.by_step(days(SUNDAY))[0]
    assert_allclose(hourly[[9, 10, 11, 13, 14, 15, 16]], [0.3, 0.2, 0.1, 0.1, 0.3, 0.25, 0.3])


def test_the_first_and_the_last_month_of_a_period():
    tariff = TimeOfUse(0.3, (Period(0.4, months="11-2"),))
    dates = [f"2024-{month:02d}-{day}" for month in range(1, 13) for day in ("01", "29")]
    found = tariff.by_step(days(*dates))[:, 0].reshape(12, 2)
    assert_array_equal(found, np.array([0.4] * 2 + [0.3] * 8 + [0.4] * 2)[:, None] * [1, 1])


def test_day_ahead_and_sums():
    price = np.linspace(-0.1, 0.2, 24)[None]
    series = days(MONDAY, price=price)
    assert_allclose(DayAhead(0.05, 1.19).by_step(series), 1.19 * price + 0.05)
    assert_allclose(DayAhead(least=0.0).by_step(series), np.maximum(price, 0))
    network = [0.02] * 6 + [0.1] * 18
    for total in (DayAhead(0.05) + network, 0.05 + DayAhead() + ByHour(network), Sum((network, 0.05, DayAhead()))):
        assert_allclose(total.by_step(series), price + 0.05 + np.array(network))
    with pytest.raises(
        ValueError, match="series must have day-ahead prices for a day-ahead tariff, got 0 in every"
    ):
        DayAhead().by_step(days(MONDAY))
    with pytest.raises(ValueError, match=r"series must have prices in \[-1000, 1000\] EUR/kWh .* got -2000"):
        DayAhead().by_step(days(MONDAY, price=np.full((1, 24), -2000.0)))


def test_by_step():
    prices = np.arange(48.0).reshape(2, 24)
    tariff = schedule("feed_in", prices)
    assert_array_equal(tariff.by_step(days(MONDAY, SUNDAY)), prices)
    assert_array_equal(tariff.by_step(days(MONDAY, SUNDAY, steps=96)), np.repeat(prices, 4, 1))
    quarters = ByStep(np.arange(96.0)[None])
    assert_array_equal(quarters.by_step(days(MONDAY))[0], np.arange(24) * 4 + 1.5)
    with pytest.raises(ValueError, match="prices must be of the 1 days of the series, got 2"):
        tariff.by_step(days(MONDAY))
    prices[0] = 9
    assert tariff.prices[0, 0] == 0


SCHEDULES = [
    Flat(0.3),
    ByHour(tuple(range(24))),
    ByHour((0.1,) * 24, (0.2,) * 24),
    TimeOfUse(0.3, (Period(0.4, "17-21"), Period(0.2, "21-5", "weekend", "1, 12"))),
    DayAhead(0.06, 1.19, 0.0),
    DayAhead() + 0.1,
    ByStep(np.ones((2, 24))),
]


@pytest.mark.parametrize("tariff", SCHEDULES, ids=lambda tariff: tariff.kind)
def test_a_schedule_comes_back_from_plain_values(tariff):
    again = schedule("retail", json.loads(json.dumps(tariff.plain())))
    assert again == tariff
    assert hash(again) == hash(tariff)
    assert schedule("retail", tariff) is tariff


@given(st.integers(0, 95), st.integers(1, 96), st.sampled_from([24, 96]))
def test_a_period_keeps_the_mean_price(begin, length, steps):
    """Over a day the mean price is that of its quarters, also over midnight."""
    end = (begin + length) % 96 or 96
    if end == begin:
        end, begin = 96, 0
        length = 96

    def clock(quarter):
        return f"{quarter // 4}:{15 * (quarter % 4):02d}" if quarter < 96 else "24"

    tariff = TimeOfUse(0.25, (Period(0.75, f"{clock(begin)}-{clock(end)}"),))
    mean = tariff.by_step(days(MONDAY, steps=steps)).mean()
    assert mean == pytest.approx(0.25 + 0.5 * length / 96)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0.3", "retail: price must be a finite number"),
        (None, "retail: price must be a finite number"),
        (2e3, r"retail: price must be a finite number in \[-1000, 1000\], got 2000"),
        (np.nan, "retail: price must be a finite number"),
        ([0.1] * 23, "retail: prices must hold 24 prices, one an hour, got 23"),
        ([0.1] * 23 + ["x"], r"retail: prices\[23\] must be a"),
        (np.ones((2, 25)), r"retail: prices must have shape \(n_days, 24 or 96\), got \(2, 25\)"),
        ([[np.inf] * 24], r"retail: prices\[0, 0\] must be finite"),
        ({"price": 1}, "retail: kind must be one of 'flat', 'by-hour', 'time-of-use'"),
        ({"kind": "flat"}, "retail: price is missing"),
        ({"kind": "day-ahead", "mark_up": 0.1}, r"retail: 'mark_up' is unknown \(did you mean 'markup'\?\)"),
        ({"kind": "time-of-use", "otherwise": 1, "periods": 3}, "retail: periods must hold periods, got 3"),
        ({"kind": "time-of-use", "otherwise": 1, "periods": [3]}, r"retail: periods\[0\] must be a Period"),
        (
            {"kind": "time-of-use", "otherwise": 1, "periods": [{"price": 1, "hour": "1-2"}]},
            r"retail: periods\[0\]: 'hour' is unknown \(did you mean 'hours'\?\)",
        ),
        ({"kind": "sum", "parts": []}, "retail: parts must hold at least one schedule"),
        ({"kind": "sum", "parts": [0.1, "x"]}, r"retail: parts\[1\]: price must be"),
    ],
)
def test_what_is_no_schedule(value, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        schedule("retail", value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hours": "17"}, "hours must be hours such as '17-21'"),
        ({"hours": "17-25"}, "hours must be"),
        ({"hours": "24-3"}, "hours must be"),
        ({"hours": "5-5"}, "hours must be"),
        ({"hours": "5:10-6"}, "hours must be"),
        ({"hours": ""}, "hours must be"),
        ({"days": "workdays"}, "days must be one of 'all', 'weekdays'"),
        ({"months": "0-3"}, "months must be months such as"),
        ({"months": "13"}, "months must be"),
        ({"price": "x"}, "price must be"),
    ],
)
def test_what_is_no_period(change, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Period(**{"price": 0.1, **change})


def test_periods_do_not_share_a_time():
    with pytest.raises(
        ValueError, match=r"must not share a time, got periods\[0\] = .*17-21.* and periods\[1\] = "
    ):
        TimeOfUse(0.3, (Period(0.4, "17-21", months="12"), Period(0.2, "20:45-24", "friday")))
    TimeOfUse(0.3, (Period(0.4, "17-21", "weekend"), Period(0.2, "20:45-24", "friday")))


def test_days_that_a_series_does_not_know():
    unknown = days("a", "b")
    TimeOfUse(0.3, (Period(0.4, "17-21"),)).by_step(unknown)
    with pytest.raises(ValueError, match="series must have weekdays"):
        TimeOfUse(0.3, (Period(0.4, "17-21", "weekend"),)).by_step(unknown)
    with pytest.raises(ValueError, match="dates must be mm-dd or yyyy-mm-dd for prices by month, got 'a'"):
        TimeOfUse(0.3, (Period(0.4, months="1"),)).by_step(unknown)
    with pytest.raises(ValueError, match="series must have weekdays"):
        ByHour((0.1,) * 24, (0.2,) * 24).by_step(unknown)
