"""The neural forecaster: what every forecaster must do, and simulated series whose laws are known."""

import math

import numpy as np
import pytest
import torch
from forecasters import (
    check_bad_series_are_refused,
    check_the_future_does_not_change_a_forecast,
    check_the_last_known_day_does,
    series,
)
from numpy.testing import assert_array_equal

from baselines.market.student_t_network import StudentTHead


@pytest.fixture(params=[False, True])
def forecaster(request):
    return StudentTHead(gaussian=request.param, max_epochs=1, seed=3)


def test_the_future_does_not_change_a_forecast(forecaster):
    check_the_future_does_not_change_a_forecast(forecaster)


def test_the_last_day_that_is_known_does(forecaster):
    check_the_last_known_day_does(forecaster)


def test_refuses_bad_series(forecaster):
    check_bad_series_are_refused(forecaster)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gaussian", ("yes", 1, None)),
        ("hidden", (True, "32", 2.5, 0, 10**6)),
        ("learning_rate", (True, "0.1", math.nan, 0)),
        ("weight_decay", (True, "0.1", math.nan, -1)),
        ("batch_size", (True, "256", 2.5, 0, 10**20)),
        ("max_epochs", (True, "2", 2.5, 0)),
        ("patience", (True, "2", 2.5, 0)),
        ("validation_share", (True, "0.1", math.nan, 1.0)),
        ("seed", (True, "1", 0.5, -1, 2**63)),
    ],
)
def test_kinds_of_arguments(name, values):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
            StudentTHead(**{name: value})


@pytest.mark.parametrize("gaussian", [False, True])
def test_learning_that_diverges_is_an_error(gaussian):
    """The forecaster is as it was: it forecasts what it learned before."""
    y = series(35)
    model = StudentTHead(gaussian=gaussian, max_epochs=2).fit(y)
    before = model.predict(y, 35).location
    model.learning_rate = 1e30
    with pytest.raises(
        ValueError, match=r"diverged: the loss is (inf|nan) after epoch 2 with learning_rate=1e\+30"
    ):
        model.fit(100 * y)
    assert_array_equal(model.predict(y, 35).location, before)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_head_is_determined_by_its_seed_and_leaves_torch_as_it_was():
    y = series(35)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = StudentTHead(max_epochs=2, seed=5).fit(y).predict(y, 35)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2
    again = StudentTHead(max_epochs=2, seed=5).fit(y).predict(y, 35)
    other = StudentTHead(max_epochs=2, seed=6).fit(y).predict(y, 35)
    assert_array_equal(first.location, again.location)
    assert_array_equal(first.scale, again.scale)
    assert_array_equal(first.degrees_of_freedom, again.degrees_of_freedom)
    assert (first.location != other.location).all()
    assert (first.degrees_of_freedom > 2).all()


def test_head_learns_location_and_scale():
    """Nearer to the series' own mean than half of what its errors are, and a scale that grows over the day."""
    y = series(150, seed=8)
    model = StudentTHead(learning_rate=5e-3, max_epochs=40).fit(y[: 24 * 140])
    forecast = model.predict(y, 140, 7)
    t = 24 * 140 + np.arange(24 * 7)
    assert np.abs(forecast.location - (40 + 10 * np.sin(2 * np.pi * t / 24) + 5 * (t // 24 % 7 >= 5))).mean() < 1.2
    by_hour = forecast.scale.reshape(7, 24).mean(0)
    assert np.corrcoef(by_hour, 1 + np.arange(24) / 12)[0, 1] > 0.85
    assert 0.6 < by_hour.sum() / (1 + np.arange(24) / 12).sum() < 1.6
    gaussian = StudentTHead(gaussian=True, max_epochs=2).fit(y).predict(y, 150)
    assert (gaussian.degrees_of_freedom == math.inf).all()


def test_head_keeps_the_best_epoch_and_stops(monkeypatch):
    """Learning so fast that it only gets worse: what is kept is an early epoch, whatever was allowed."""
    y, epochs, permutation = series(40), [], torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n: (epochs.append(n), permutation(n))[1])
    patient = StudentTHead(learning_rate=0.3, patience=3, max_epochs=40, seed=1).fit(y)
    assert patient.n_epochs < 37
    assert len(epochs) == patient.n_epochs + 3
    # Of 33 days 15 %, 5, are not learned from.
    assert epochs[0] == 24 * 28
    short = StudentTHead(learning_rate=0.3, max_epochs=patient.n_epochs, seed=1).fit(y)
    assert_array_equal(patient.predict(y, 40).location, short.predict(y, 40).location)


def test_head_stops_by_hours_that_it_does_not_learn_from():
    """Noise can be learned by heart, which fits ever better for 60 epochs, but says nothing of what follows."""
    noise = np.random.default_rng(6).normal(size=24 * 40)
    assert StudentTHead(learning_rate=1e-2, batch_size=64, patience=60, max_epochs=60).fit(noise).n_epochs < 40
