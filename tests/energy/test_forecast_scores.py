"""Scores against numerical integration and scipy, tests of significance against hand-worked and simulated losses.

Statistical tests err with less than 1e-6, and their seeds are fixed.
"""

import math

import numpy as np
import pytest
from bounds import assert_frequencies
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from mfenvs.energy.forecast import Forecast
from mfenvs.energy.forecast_scores import (
    covered,
    crps,
    diebold_mariano,
    evaluate_forecasters,
    hac_standard_error,
    log_score,
    pit,
    rolling_origin,
)
from mfenvs.energy.linear_forecasters import LinearGaussian, LinearStudentT, SeasonalNaive


def one_law(nu, location=0.0, scale=1.0, n=1):
    return Forecast(np.full(n, location), np.asarray(scale), np.asarray(nu))


def simulated(n_days, nu, seed):
    """Hours that do not depend on one another, of one Student-t law."""
    return np.random.default_rng(seed).standard_t(nu, 24 * n_days)


# Scores.


def test_crps_known_answer():
    assert crps(one_law(5.0), [0.0])[0] == pytest.approx(0.2570253629, abs=5e-11)
    # Of the Gaussian law at its mean: (sqrt(2) - 1) / sqrt(pi).
    assert crps(one_law(math.inf), [0.0])[0] == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), rel=1e-12)


@pytest.mark.parametrize("nu", [1.5, 2.5, 5.0, 200.0, math.inf])
@pytest.mark.parametrize("observed", [-4.0, 0.3, 2.0])
def test_crps_is_the_integral_that_defines_it(nu, observed):
    law = stats.norm(0.5, 2.0) if nu == math.inf else stats.t(nu, 0.5, 2.0)
    below = integrate.quad(lambda x: law.cdf(x) ** 2, -math.inf, observed, limit=200)[0]
    above = integrate.quad(lambda x: law.sf(x) ** 2, observed, math.inf, limit=200)[0]
    assert crps(one_law(nu, 0.5, 2.0), [observed])[0] == pytest.approx(below + above, rel=1e-6)


def test_each_hour_has_its_own_law():
    forecast = Forecast(np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.array([3.0, math.inf, 7.0]))
    x = np.array([0.5, -1.0, 4.0])
    for score in (crps, log_score, pit):
        parts = [
            score(one_law(*law), [v])[0]
            for law, v in zip([(3.0, 0.0, 1.0), (math.inf, 1.0, 2.0), (7.0, 2.0, 3.0)], x, strict=True)
        ]
        assert_allclose(score(forecast, x), parts)
    expected = [stats.t.logpdf(0.5, 3), stats.norm.logpdf(-1, 1, 2), stats.t.logpdf(4, 7, 2, 3)]
    assert_allclose(log_score(forecast, x), -np.array(expected))
    assert_allclose(pit(forecast, x), [stats.t.cdf(0.5, 3), stats.norm.cdf(-1), stats.t.cdf(2 / 3, 7)])


def test_coverage_by_hand():
    # The central half of a standard Gaussian law is within .6745 of its mean, nine tenths within 1.6449.
    x = [-1.65, -1.64, -0.68, -0.67, 0.0, 0.67, 0.68, 1.64, 1.65]
    forecast = one_law(math.inf, n=9)
    assert_array_equal(covered(forecast, x, 0.5), [0, 0, 0, 1, 1, 1, 0, 0, 0])
    assert_array_equal(covered(forecast, x, 0.9), [0, 1, 1, 1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("nu", [1.3, 4.0])
def test_right_laws_cover_what_they_say(nu):
    """Exact binomial tails of 1e-9 for each count."""
    n = 40_000
    x = np.random.default_rng(7).standard_t(nu, n) * 3 + 1
    forecast = one_law(nu, 1.0, 3.0, n)
    assert_frequencies([covered(forecast, x, level).sum() for level in (0.5, 0.9)], n, [0.5, 0.9])
    assert_frequencies([(pit(forecast, x) < p).sum() for p in (0.05, 0.3, 0.8)], n, [0.05, 0.3, 0.8])


def test_scores_refuse_bad_input():
    for score in (crps, log_score, pit):
        with pytest.raises(ValueError, match=r"observed must have shape \(1,\)"):
            score(one_law(3.0), [0.0, 1.0])
        with pytest.raises(ValueError, match=r"observed\[0\] must be finite, got nan"):
            score(one_law(3.0), [math.nan])
    with pytest.raises(ValueError, match="degrees_of_freedom must be > 1 for the CRPS"):
        crps(one_law(1.0), [0.0])
    with pytest.raises(ValueError, match="level must be"):
        covered(one_law(3.0), [0.0], 0.0)


# Standard errors and significance.


def test_hac_by_hand():
    # Mean 2, deviations -1, 1, -1, 1: autocovariances 1 and -3/4; 1 - 2 (1/2) (3/4) = 1/4 of variance.
    assert hac_standard_error([1, 3, 1, 3], 1) == pytest.approx(math.sqrt(0.25 / 4))
    assert hac_standard_error([1, 3, 1, 3], 0) == pytest.approx(math.sqrt(1 / 4))
    with pytest.raises(ValueError, match=r"n_lags must be an integer in \[0, 3\]"):
        hac_standard_error([1, 3, 1, 3], 4)


def test_hac_allows_for_dependence():
    """A moving sum of 3 has a mean with thrice the independent standard deviation; Bartlett keeps most of it."""
    rng = np.random.default_rng(4)
    x = np.convolve(rng.normal(size=100_002), np.ones(3), "valid")
    assert hac_standard_error(x, 100) == pytest.approx(3 / math.sqrt(100_000), rel=0.1)


def test_diebold_mariano_by_hand():
    # d = 1, 3, 1, 3 as above, and lag 1 has the weight 1/2: the mean has variance 1/16, and 2 / (1/4) = 8.
    # Corrected by sqrt((4 + 1 - 4 + 2 / 4) / 4), it is compared with the t law of 3 degrees of freedom.
    statistic, p_value = diebold_mariano([2, 4, 2, 4], [1, 1, 1, 1], horizon=2)
    assert statistic == pytest.approx(8 * math.sqrt(1.5 / 4), rel=1e-9)
    assert p_value == pytest.approx(2 * stats.t.sf(8 * math.sqrt(1.5 / 4), 3), rel=1e-6)


def test_diebold_mariano_is_antisymmetric_and_detects_a_difference():
    rng = np.random.default_rng(9)
    good, bad = rng.exponential(1.0, 500), rng.exponential(2.0, 500)
    statistic, p_value = diebold_mariano(good, bad)
    assert statistic < -5
    assert p_value < 1e-6
    assert_allclose(diebold_mariano(bad, good), (-statistic, p_value), rtol=1e-9)
    assert diebold_mariano(good, good) == (0.0, 1.0)
    assert diebold_mariano([1, 2] * 20, [2, 1] * 20, horizon=2) == (0.0, 1.0)


def test_diebold_mariano_rejects_equals_as_often_as_it_says():
    """Independent losses of one law at the 5 % level: binomial tails of 1e-9, when 3 to 7 % would do."""
    rng = np.random.default_rng(12)
    n = 300
    rejected = sum(diebold_mariano(*rng.normal(size=(2, 200)), horizon=3)[1] < 0.05 for _ in range(n))
    assert stats.binom.cdf(rejected, n, 0.03) > 1e-9
    assert stats.binom.sf(rejected - 1, n, 0.07) > 1e-9


def test_diebold_mariano_refuses_bad_input():
    with pytest.raises(ValueError, match=r"others must have shape \(30,\)"):
        diebold_mariano(np.zeros(30), np.zeros(29))
    with pytest.raises(ValueError, match=r"horizon must be an integer in \[1, 9\]"):
        diebold_mariano(np.zeros(10), np.ones(10))
    with pytest.raises(ValueError, match="by the same at every time"):
        diebold_mariano(np.zeros(30), np.ones(30))
    with pytest.raises(ValueError, match="must be finite"):
        diebold_mariano(np.full(30, math.nan), np.ones(30))


# Evaluation.


class Recorder(SeasonalNaive):
    """Notes what it is shown."""

    def __init__(self):
        super().__init__(1)
        self.seen = []

    def fit(self, series):
        self.seen.append(len(series) // 24)
        return super().fit(series)


def test_rolling_origin_learns_from_the_past_only():
    y = simulated(60, 4.0, 1)
    once, often = Recorder(), Recorder()
    forecast = rolling_origin(y, once, 40)
    assert once.seen == [40]
    assert_array_equal(forecast.location, y[24 * 39 : 24 * 59])
    refitted = rolling_origin(y, often, 40, refit_days=8)
    assert often.seen == [40, 48, 56]
    assert_array_equal(refitted.location, forecast.location)
    assert_array_equal(refitted.scale[: 24 * 8], forecast.scale[: 24 * 8])
    assert_array_equal(refitted.scale[-24:], SeasonalNaive(1).fit(y[: 24 * 56]).fitted.scale)
    changed = y.copy()
    changed[24 * 50 :] = 1e3
    for refit in (None, 8):
        before, after = (rolling_origin(s, LinearStudentT(), 40, refit) for s in (y, changed))
        assert_array_equal(before.location[: 24 * 10], after.location[: 24 * 10])
        assert_array_equal(before.scale[: 24 * 10], after.scale[: 24 * 10])


def test_evaluation_agrees_with_its_parts():
    y = simulated(100, 4.0, 2)
    result = evaluate_forecasters(
        y, {"naive": SeasonalNaive(1), "t": LinearStudentT(), "gauss": LinearGaussian()}, 0.6
    )
    assert result.names == ("naive", "t", "gauss")
    assert result.n_days == 40
    observed = y[24 * 60 :]
    models = [SeasonalNaive(1), LinearStudentT(), LinearGaussian()]
    forecasts = [model.fit(y[: 24 * 60]).predict(y, 60, 40) for model in models]
    losses = [crps(forecast, observed) for forecast in forecasts]
    assert_allclose(result.crps, np.mean(losses, axis=1))
    assert_allclose(result.log_score, [log_score(f, observed).mean() for f in forecasts])
    assert_allclose(result.coverage[1], [covered(forecasts[1], observed, level).mean() for level in (0.5, 0.9)])
    daily = losses[2].reshape(40, 24).mean(axis=1)
    assert result.crps_standard_error[2] == pytest.approx(hac_standard_error(daily, 7))
    assert_allclose(
        (result.statistic[1, 0], result.p_value[1, 0]), diebold_mariano(losses[1], losses[0]), rtol=1e-9
    )
    assert_allclose(result.statistic, -result.statistic.T)
    assert_allclose(result.p_value, result.p_value.T)
    # What happened yesterday says nothing here: the regression is better, and the test sees it.
    assert result.statistic[1, 0] < 0
    assert result.p_value[1, 0] < 1e-6
    head, _, *rows = result.table(against=("naive",)).splitlines()
    assert head == "| forecaster | CRPS | s.e. | log score | in 50 % | in 90 % | p against naive |"
    assert [row.split(" | ")[0] for row in rows] == ["| naive", "| t", "| gauss"]
    assert rows[0].endswith(" |  |")
    assert rows[1].split(" | ")[1] == f"{result.crps[1]:.4g}"
    assert rows[2].endswith(f"| {result.p_value[2, 0]:.2g} |")
    with pytest.raises(ValueError, match="against must be one of 'naive', 't', 'gauss'"):
        result.table(against=("other",))


def test_kinds_of_arguments():
    """Bools, texts, nan and arrays are refused by name."""
    law, y = one_law(3.0), simulated(60, 3, 0)
    for score in (crps, log_score, pit):
        with pytest.raises(TypeError, match="forecast must be a Forecast, got 3"):
            score(3, [0.0])
        for wrong in ([True], ["0"], [[0.0], [1.0, 2.0]], np.ma.zeros(1), None):
            with pytest.raises((TypeError, ValueError), match="observed must"):
                score(law, wrong)
    for wrong in (True, "0.5", math.nan, np.array([0.5, 0.9])):
        with pytest.raises((TypeError, ValueError), match="level must be"):
            covered(law, [0.0], wrong)
    for wrong in ([1.0, math.nan, 3.0], [True, False], ["a", "b"], [[1.0, 2.0, 3.0]]):
        with pytest.raises((TypeError, ValueError), match=r"values(\[1\])? must"):
            hac_standard_error(wrong, 0)
        with pytest.raises((TypeError, ValueError), match=r"losses(\[1\])? must"):
            diebold_mariano(wrong, [1.0, 2.0, 3.0], 1)
    for wrong in (True, "1", 1.5):
        with pytest.raises((TypeError, ValueError), match="n_lags must be"):
            hac_standard_error([1.0, 2.0, 3.0], wrong)
        with pytest.raises((TypeError, ValueError), match="horizon must be"):
            diebold_mariano([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], wrong)
        for name in ("first_day", "refit_days"):
            with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
                rolling_origin(y, SeasonalNaive(), **({"first_day": 40} | {name: wrong}))
    for wrong in (None, 3, "naive"):
        with pytest.raises(TypeError, match="forecaster must be a forecaster with methods fit and predict"):
            rolling_origin(y, wrong, 40)
        with pytest.raises(ValueError, match="forecasters must have at least one by name"):
            evaluate_forecasters(y, wrong)
    with pytest.raises(TypeError, match=r"forecasters\['a'\] must be a forecaster with methods fit and predict"):
        evaluate_forecasters(y, {"a": 3})
    with pytest.raises(TypeError, match="a name of forecasters must be a text, got 3"):
        evaluate_forecasters(y, {3: SeasonalNaive()})
    for wrong in (True, "0.7", math.nan):
        with pytest.raises((TypeError, ValueError), match="train_share must be"):
            evaluate_forecasters(y, {"a": SeasonalNaive()}, wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(24 * 60 + 1), {"naive": SeasonalNaive()}), "whole days of 24 hours, got 1441"),
        ((np.ones(24 * 60), {}), "forecasters must have at least one"),
        ((simulated(60, 3, 0), {"naive": SeasonalNaive()}, 1.0), "train_share must be a finite number in"),
        ((simulated(60, 3, 0), {"naive": SeasonalNaive()}, 0.9), "at least 14 of 60 days, got 0.9, leaving 6"),
        ((simulated(60, 3, 0), {"naive": SeasonalNaive()}, 0.2), "at least 28 of them, got 288 hours"),
        ((simulated(60, 3, 0), {"naive": SeasonalNaive()}, 0.6, 0), "refit_days must be an integer >= 1"),
    ],
)
def test_evaluation_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_forecasters(*arguments)
