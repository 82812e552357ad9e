"""A series of equal steps: its checks, other steps, and several series as one, by hand."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mfenvs.energy.entsoe import Series, joined


def utc(text, n=1, minutes=60):
    return np.datetime64(text, "s") + np.arange(n) * np.timedelta64(minutes, "m")


def series(values, start="2025-01-01T00:00", minutes=60, unit="MW"):
    return Series(utc(start, len(values), minutes), np.array(values, float), minutes, "made up", unit)


def test_series_checks_itself():
    start = utc("2025-01-01T00:00", 3)
    Series(start, np.ones(3), 60, "", "MW")
    for change, words in (
        ((start, np.ones(2), 60), "start and values must have one shape"),
        ((start[:0], np.ones(0), 60), "start and values must have one shape"),
        ((start, np.array([1, np.nan, 1]), 60), r"values\[1\] must be finite, got .*nan"),
        ((start, np.ones(3), 15), r"start\[1\] must be 15 minutes after start\[0\]"),
        ((start, np.ones(3), 20), "resolution must be one of 15, 30, 60, got 20"),
    ):
        with pytest.raises(ValueError, match=words):
            Series(*change, "", "MW")
    for change, words in (
        ((np.arange(3), np.ones(3), 60, "", "MW"), "start must be an array of times"),
        ((start, np.array(["a"] * 3), 60, "", "MW"), "values must be an array of numbers"),
        ((start, np.ones(3, bool), 60, "", "MW"), "values must be an array of numbers, got dtype bool"),
        ((start, np.ones(3), 60, None, "MW"), "name must be a text, got None"),
        ((start, np.ones(3), 60, "", 3), "unit must be a text, got 3"),
    ):
        with pytest.raises(TypeError, match=words):
            Series(*change)
    with pytest.raises(ValueError, match="start\\[1\\] must be a time, got NaT"):
        Series(np.array(["2025", "NaT"], "datetime64[s]"), np.ones(2), 60, "", "MW")
    for resolution in (True, "60", np.array([60])):
        with pytest.raises(ValueError, match="resolution must be one of 15, 30, 60"):
            Series(start, np.ones(3), resolution, "", "MW")
    assert type(Series(start, np.ones(3), np.int64(60), "", "MW").resolution) is int


def test_resampled_by_hand():
    hours = series([1, 3])
    quarters = hours.resampled(15)
    assert_array_equal(quarters.values, [1, 1, 1, 1, 3, 3, 3, 3])
    assert_array_equal(quarters.start, utc("2025-01-01T00:00", 8, 15))
    assert (quarters.resolution, quarters.unit, quarters.name) == (15, "MW", "made up")
    assert_array_equal(quarters.resampled(60).values, [1, 3])
    assert_array_equal(series([1, 2, 4, 8], minutes=15).resampled(30).values, [1.5, 6])
    assert_array_equal(series([1, 2, 4, 8], minutes=15).resampled(60).values, [3.75])
    assert_array_equal(series([1, 2], minutes=30).resampled(15).values, [1, 1, 2, 2])


def test_resampled_wants_whole_steps():
    for part in (series([1, 2, 3], minutes=15), series([1] * 4, "2025-01-01T00:15", 15)):
        with pytest.raises(
            ValueError, match=r"must begin and end with a whole step of minutes=60, got [34] steps of 15"
        ):
            part.resampled(60)
    for minutes in (20, True, "15", None):
        with pytest.raises(ValueError, match="minutes must be one of 15, 30, 60"):
            series([1]).resampled(minutes)


def test_joined_by_hand():
    first, second = series([1, 2]), series([2, 3], "2025-01-01T01:00")
    for parts in ((first, second), (second, first)):
        one = joined(*parts)
        assert_array_equal(one.values, [1, 2, 3])
        assert_array_equal(one.start, utc("2025-01-01T00:00", 3))
    change = joined(first.resampled(15), series([5, 6], "2025-01-01T02:00", 15))
    assert_array_equal(change.values, [1] * 4 + [2] * 4 + [5, 6])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (series([3], "2025-01-01T03:00"), r"start\[2\] must be 60 minutes after start\[1\]"),
        (series([3], "2025-01-01T01:00"), "must agree where they overlap, got 2 and 3 at 2025-01-01T01:00:00"),
        (series([3], "2025-01-01T02:00", unit="EUR/MWh"), r"parts must have one unit, got 'MW' of parts\[0\]"),
        (series([3], "2025-01-01T02:00", 15), r"parts must have one resolution, got 60 .* 15 of parts\[1\]"),
    ],
)
def test_what_cannot_be_joined(second, words):
    with pytest.raises(ValueError, match=words):
        joined(series([1, 2]), second)


def test_only_series_are_joined():
    with pytest.raises(TypeError, match="at least one Series"):
        joined()
    with pytest.raises(TypeError, match=r"parts\[1\] must be a Series, got 3"):
        joined(series([1]), 3)
