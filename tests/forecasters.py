"""What every forecaster of an hourly series must do, linear or neural."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal


def series(n_days, seed=0, nu=4.0):
    """A daily and weekly shape with Student-t errors whose scale grows over the day."""
    rng = np.random.default_rng(seed)
    t = np.arange(24 * n_days)
    shape = 40 + 10 * np.sin(2 * np.pi * t / 24) + 5 * (t // 24 % 7 >= 5)
    return shape + (1 + t % 24 / 12) * rng.standard_t(nu, len(t))


def check_the_future_does_not_change_a_forecast(forecaster):
    y = series(45, seed=4)
    forecaster.fit(y[: 24 * 35])
    whole = forecaster.predict(y, 38, 3)
    later = y.copy()
    later[24 * 40 :] = -1e6
    changed = forecaster.predict(later, 38, 3)
    assert_array_equal(whole.location, changed.location)
    for field in ("location", "scale", "degrees_of_freedom"):
        parts = [getattr(forecaster.predict(y[: 24 * day], day), field) for day in (38, 39, 40)]
        assert_allclose(getattr(whole, field), np.concatenate(parts), rtol=1e-12)
    unknown = y.copy()
    unknown[24 * 40 :] = math.nan
    assert_array_equal(whole.location, forecaster.predict(unknown, 38, 3).location)


def check_the_last_known_day_does(forecaster):
    y = series(45, seed=4)
    forecaster.fit(y[: 24 * 35])
    other = y.copy()
    other[24 * 33 : 24 * 40] += 3
    assert (forecaster.predict(y, 40).location != forecaster.predict(other, 40).location).all()


def check_bad_series_are_refused(forecaster):
    with pytest.raises(RuntimeError, match="fit the forecaster before"):
        forecaster.predict(series(30), 30)
    with pytest.raises(ValueError, match="at least 28 of them, got 648 hours"):
        forecaster.fit(series(27))
    with pytest.raises(ValueError, match="whole days"):
        forecaster.fit(series(30)[:-1])
    with pytest.raises(ValueError, match="constant"):
        forecaster.fit(np.ones(24 * 30))
    with pytest.raises(ValueError, match=r"shape \(hours,\)"):
        forecaster.fit(series(30).reshape(30, 24))
    with_gap = series(30)
    with_gap[100] = math.nan
    with pytest.raises(ValueError, match=r"finite, got .*nan.* at hour 100"):
        forecaster.fit(with_gap)
    with pytest.raises(TypeError, match="array of numbers"):
        forecaster.fit(["one"] * 24 * 30)
    forecaster.fit(series(30))
    with pytest.raises(ValueError, match="at least 744 hours to forecast day 31, got 720"):
        forecaster.predict(series(30), 30, 2)
    with pytest.raises(ValueError, match="first_day must be an integer >= 7"):
        forecaster.predict(series(30), 6)
    with pytest.raises(ValueError, match="n_days must be"):
        forecaster.predict(series(30), 10, 0)
