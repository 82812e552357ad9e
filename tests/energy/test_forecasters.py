"""Forecasts against scipy's laws, simulated series whose parameters are known, and a generic optimiser.

Statistical tests err with less than 1e-6 each where an error rate is stated, and their seeds are fixed.
"""

import math

import numpy as np
import pytest
from bounds import assert_frequencies
from forecasters import (
    check_bad_series_are_refused,
    check_the_future_does_not_change_a_forecast,
    check_the_last_known_day_does,
    series,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats

from mfenvs.energy import student_t_regression
from mfenvs.energy.forecast import Forecast
from mfenvs.energy.linear_forecasters import (
    LinearGaussian,
    LinearStudentT,
    SeasonalNaive,
    hours_of_day,
    regressors,
)
from mfenvs.energy.student_t_regression import fit_student_t

FORECASTERS = {
    "naive day": lambda: SeasonalNaive(1),
    "naive week": SeasonalNaive,
    "linear": LinearStudentT,
    "gaussian": LinearGaussian,
}


@pytest.fixture(params=FORECASTERS)
def forecaster(request):
    return FORECASTERS[request.param]()


@pytest.fixture
def forecast():
    return Forecast(np.array([1.0, -2.0, 0.0]), np.array([0.5, 2.0, 1.0]), np.array([3.0, 1.5, math.inf]))


# Predictive laws.


def laws(forecast):
    """The same laws by scipy, one at a time, the Gaussian by its own name."""
    for mu, sigma, nu in zip(forecast.location, forecast.scale, forecast.degrees_of_freedom, strict=True):
        yield stats.norm(mu, sigma) if nu == math.inf else stats.t(nu, mu, sigma)


def test_law_agrees_with_scipy(forecast):
    x = np.array([1.3, 4.0, -0.7])
    assert_allclose(forecast.cdf(x), [law.cdf(v) for law, v in zip(laws(forecast), x, strict=True)])
    assert_allclose(forecast.log_density(x), [law.logpdf(v) for law, v in zip(laws(forecast), x, strict=True)])
    one, many = forecast.quantile(0.3), forecast.quantile([0.1, 0.3, 0.9, 0.95])
    assert one.shape == (3,)
    assert many.shape == (3, 4)
    assert_allclose(one, [law.ppf(0.3) for law in laws(forecast)])
    assert_allclose(many, [law.ppf([0.1, 0.3, 0.9, 0.95]) for law in laws(forecast)])
    low, high = forecast.interval(0.8)
    assert low.shape == high.shape == (3,)
    assert_allclose(low, [law.ppf(0.1) for law in laws(forecast)])
    assert_allclose(high, [law.ppf(0.9) for law in laws(forecast)])
    assert len(forecast) == 3


def test_samples_have_the_law(forecast):
    """Counts below three quantiles of each law: exact binomial tails, 1e-9 each."""
    n = 50_000
    draws = forecast.sample(np.random.default_rng(11), n)
    assert draws.shape == (n, 3)
    for column, law in zip(draws.T, laws(forecast), strict=True):
        assert_frequencies([(column < law.ppf(q)).sum() for q in (0.02, 0.4, 0.9)], n, [0.02, 0.4, 0.9])
    assert_array_equal(forecast.sample(np.random.default_rng(11), n), draws)


def test_one_number_stands_for_all():
    forecast = Forecast(np.arange(3.0), 2.0, math.inf)
    assert_array_equal(forecast.scale, [2.0, 2.0, 2.0])
    assert_allclose(forecast.quantile(0.975), np.arange(3) + 2 * stats.norm.ppf(0.975))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1.0, 3.0), r"location must have shape \(n,\)"),
        (([0.0], [1.0, 1.0], 3.0), r"scale must have shape \(1,\)"),
        (([0.0], 0.0, 3.0), "scale must be finite and > 0"),
        (([0.0], math.inf, 3.0), "scale must be finite and > 0"),
        (([math.nan], 1.0, 3.0), "location must be finite, got"),
        (([math.inf], 1.0, 3.0), "location must be finite, got"),
        (([0.0], 1.0, 0.0), "degrees_of_freedom must be finite and > 0"),
        (([0.0], 1.0, math.nan), "degrees_of_freedom must be finite and > 0"),
    ],
)
def test_refuses_what_is_no_law(arguments, message):
    with pytest.raises(ValueError, match=message):
        Forecast(*arguments)


def test_refuses_levels_outside(forecast):
    for q in (0.0, 1.0, [0.5, math.nan], [[0.5]]):
        with pytest.raises(ValueError, match=r"q must be in \(0, 1\)"):
            forecast.quantile(q)
    with pytest.raises(ValueError, match="level must be"):
        forecast.interval(1.0)
    with pytest.raises(ValueError, match=r"values must have shape \(3,\)"):
        forecast.cdf([1.0])
    with pytest.raises(ValueError, match="n must be"):
        forecast.sample(np.random.default_rng(0), 0)


# Estimation.


def tiny_problem(seed):
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(80), rng.normal(size=80)])
    groups = np.arange(80) % 2
    return design, design @ [1.0, -2.0] + np.array([0.5, 2.0])[groups] * rng.standard_t(3, 80), groups


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("nu", [None, 5.0, math.inf])
def test_likelihood_is_at_least_that_of_a_generic_optimiser(seed, nu):
    """The oracle is scipy's density, maximised by Nelder and Mead from the truth and by BFGS from there."""
    design, target, groups = tiny_problem(seed)

    def minus(p):
        free = min(max(math.exp(min(p[4], 20)), 1.1), 1e3) if nu is None else nu
        law = stats.norm if nu == math.inf else stats.t(free)
        scale = np.exp(p[2:4])[groups]
        return -(law.logpdf((target - design @ p[:2]) / scale) - np.log(scale)).sum()

    start = [1.0, -2.0, math.log(0.5), math.log(2.0), math.log(3.0)]
    rough = optimize.minimize(minus, start, method="Nelder-Mead", options={"maxiter": 1500, "adaptive": True})
    best = optimize.minimize(minus, rough.x, method="BFGS")
    found = fit_student_t(design, target, groups, degrees_of_freedom=nu, scale_floor=1e-9)
    assert found.log_likelihood > -best.fun - 1e-5
    at_found = [*found.coefficients, *np.log(found.scale), math.log(min(found.degrees_of_freedom, 1e6))]
    assert minus(at_found) == pytest.approx(-found.log_likelihood, rel=1e-9)


def test_scales_have_a_floor():
    found = fit_student_t(np.ones((60, 1)), np.ones(60), np.arange(60) % 2, scale_floor=0.25)
    assert_array_equal(found.scale, [0.25, 0.25])


def test_says_when_it_has_not_converged(monkeypatch):
    monkeypatch.setattr(student_t_regression, "MOST_ITERATIONS", 2)
    design, target, groups = tiny_problem(0)
    with pytest.warns(RuntimeWarning, match="still grows after 2 iterations"):
        fit_student_t(design, target, groups, scale_floor=1e-9)


def test_linear_model_recovers_known_parameters():
    """A simulated autoregression of 372 days: 6 standard errors of maximum likelihood (Lange et al., JASA 84).

    For nu = 4 an hour's log scale has the error sqrt((nu + 3) / (2 nu 365)) = .049; a lag's coefficient, the lag
    varying sqrt(2) times as much as the errors' scale, sqrt(7 / 5 / 2 / 8760) = .009; nu about .2; an hour's
    location .2 or less.
    """
    rng = np.random.default_rng(2)
    n_days, nu, weights = 400, 4.0, (0.3, 0.2, 0.25)
    scale = 1 + np.arange(24) / 12
    y = np.zeros(24 * n_days)
    for t in range(168, len(y)):
        mean = weights[0] * y[t - 24] + weights[1] * y[t - 48] + weights[2] * y[t - 168] + 3 * (t % 24 >= 12)
        y[t] = mean + scale[t % 24] * rng.standard_t(nu)
    y = y[24 * 28 :]
    model = LinearStudentT().fit(y)
    assert_allclose(model.fitted.coefficients[:3], weights, atol=0.06)
    assert_allclose(np.log(model.deviation * model.fitted.scale / scale), 0, atol=0.3)
    assert 2.8 < model.fitted.degrees_of_freedom < 5.2
    forecast = model.predict(y, 300)
    t = 24 * 300 + np.arange(24)
    expected = weights[0] * y[t - 24] + weights[1] * y[t - 48] + weights[2] * y[t - 168] + 3 * (t % 24 >= 12)
    assert_allclose(forecast.location, expected, atol=1.2)
    assert_allclose(forecast.scale, model.deviation * model.fitted.scale, rtol=1e-12)


def test_gaussian_twin_is_weighted_least_squares():
    y = series(60)
    model = LinearGaussian().fit(y)
    X, z = regressors((y - y.mean()) / y.std(), 168, 24 * 53), ((y - y.mean()) / y.std())[168:]  # noqa: N806
    errors = z - X @ model.fitted.coefficients
    hours = hours_of_day(len(z))
    by_hand = np.array([np.sqrt(np.mean(errors[hours == hour] ** 2)) for hour in range(24)])
    assert_allclose(model.fitted.scale, by_hand, rtol=1e-4)
    normal_equations = X.T @ (errors / model.fitted.scale[hours] ** 2)
    assert_allclose(normal_equations, 0, atol=0.05)
    assert (model.predict(y, 60).degrees_of_freedom == math.inf).all()


def test_units_do_not_matter():
    y = series(60)
    original, scaled = LinearStudentT().fit(y).predict(y, 60), LinearStudentT().fit(7 - 1000 * y)
    scaled = scaled.predict(7 - 1000 * y, 60)
    assert_allclose(scaled.location, 7 - 1000 * original.location, rtol=1e-6)
    assert_allclose(scaled.scale, 1000 * original.scale, rtol=1e-5)
    assert_allclose(scaled.degrees_of_freedom, original.degrees_of_freedom, rtol=1e-4)


def test_regressors_by_hand():
    rows = regressors(np.arange(24.0 * 9), 24 * 8, 48)
    assert rows.shape == (48, 33)
    # Hour 5 of day 9, a week and two days after day 0: its day of the week is 2.
    expected = np.zeros(33)
    expected[:3] = 24 * 9 + 5 - 24, 24 * 9 + 5 - 48, 24 * 9 + 5 - 168
    expected[3 + 5] = expected[3 + 24 + 2 - 1] = 1
    assert_array_equal(rows[24 + 5], expected)
    # Day 7 is the first of a week, which has no indicator.
    assert not regressors(np.arange(24.0 * 7), 24 * 7, 24)[:, 27:].any()


# Forecasters.


@pytest.mark.parametrize("days", [1, 7])
def test_seasonal_naive_by_hand(days):
    y = series(40)
    model = SeasonalNaive(days).fit(y)
    forecast = model.predict(y, 40 - 2, 2)
    assert_array_equal(forecast.location, y[24 * (38 - days) : 24 * (40 - days)])
    errors = y[24 * days :] - y[: -24 * days]
    found = fit_student_t(np.empty((len(errors), 0)), errors, np.arange(len(errors)) % 24, scale_floor=1e-9)
    assert_allclose(forecast.scale, np.tile(found.scale, 2))
    assert_allclose(forecast.degrees_of_freedom, found.degrees_of_freedom)


def test_seasonal_naive_knows_the_law_of_its_errors():
    """Errors of a Student-t law around a repeated day, of 300 days: scale 1 / nu 3 within 6 standard errors."""
    rng = np.random.default_rng(3)
    increments = rng.standard_t(3.0, (1500, 24))
    model = SeasonalNaive(1).fit(np.cumsum(increments, axis=0).ravel())
    # The information of a log scale is 2 nu / (nu + 3) = 1 for each observation, so that its error is 1 / sqrt(n).
    assert_allclose(np.log(model.fitted.scale), 0.0, atol=6 / math.sqrt(1499))
    assert model.fitted.degrees_of_freedom == pytest.approx(3.0, abs=0.4)


def test_the_future_does_not_change_a_forecast(forecaster):
    check_the_future_does_not_change_a_forecast(forecaster)


def test_the_last_day_that_is_known_does(forecaster):
    check_the_last_known_day_does(forecaster)


def test_refuses_bad_series(forecaster):
    check_bad_series_are_refused(forecaster)


def test_refuses_bad_settings():
    with pytest.raises(ValueError, match=r"season_days must be an integer in \[1, 7\]"):
        SeasonalNaive(8)
    for nu in (1.0, -3.0, math.nan):
        with pytest.raises(ValueError, match="degrees_of_freedom must be"):
            LinearStudentT(nu)


def test_kinds_of_arguments(forecast):
    """Bools, texts, nan and arrays are refused by name; numbers of numpy's are taken."""
    for wrong in (True, "5", np.array([5.0, math.inf]), np.array([math.inf])[None]):
        with pytest.raises((TypeError, ValueError), match="degrees_of_freedom must be"):
            LinearStudentT(wrong)
    assert LinearStudentT(np.float64(math.inf)).degrees_of_freedom == math.inf
    for wrong in (True, "7", 2.5, np.ones(2)):
        with pytest.raises((TypeError, ValueError), match="season_days must be"):
            SeasonalNaive(wrong)
    for fields in (
        (np.array([True]), 1, 3),
        (["a"], 1, 3),
        ([0.0], True, 3),
        ([0.0], 1, "3"),
        ([[1], [1, 2]], 1, 3),
    ):
        with pytest.raises((TypeError, ValueError), match=r"(location|scale|degrees_of_freedom) must be"):
            Forecast(*fields)
    for rng in (None, 3, np.random.RandomState(0)):
        with pytest.raises(TypeError, match="rng must be a numpy Generator"):
            forecast.sample(rng, 1)
    for q in (True, "0.5", None):
        with pytest.raises((TypeError, ValueError), match="q must be"):
            forecast.quantile(q)
    with pytest.raises(ValueError, match="read-only"):
        forecast.scale[0] = 3
    design, target, groups = tiny_problem(0)
    good = {"design": design, "target": target, "groups": groups, "scale_floor": 1e-9}
    for name, wrong in (
        ("design", np.full(design.shape, math.nan)),
        ("design", design[:, 0]),
        ("target", target[:-1]),
        ("target", target > 0),
        ("groups", groups + 1),
        ("groups", groups - 1),
        ("groups", groups * 1.0),
        ("scale_floor", 0),
        ("scale_floor", "1"),
        ("degrees_of_freedom", -1),
        ("degrees_of_freedom", True),
    ):
        with pytest.raises((TypeError, ValueError), match=rf"{name}(\[.*\])? (and target )?must"):
            fit_student_t(**(good | {name: wrong}))
