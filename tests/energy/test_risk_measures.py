"""CVaR against hand-worked samples, the minimisation that defines it, and closed forms of two laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import integrate, stats

from mfenvs.energy.risk_measures import cvar, risk_adjusted

LOSSES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)
SHARES = st.floats(1e-3, 1.0)


def minimised(losses, alpha):
    """Rockafellar and Uryasev's objective at every point where it can have its minimum: the losses themselves."""
    c = np.asarray(losses)
    return min(z + np.maximum(c - z, 0).mean() / alpha for z in c)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    # Of 1, 2, 3, 4: the worst 4; two worst; the worst and half the next, (4 + 3 / 2) / 1.5; the mean.
    [(0.25, 4.0), (0.1, 4.0), (0.5, 3.5), (0.375, 5.5 / 1.5), (1.0, 2.5)],
)
def test_by_hand(alpha, expected):
    value = cvar([3, 1, 4, 2], alpha)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=1e-14)


@given(LOSSES, SHARES)
def test_is_the_minimum_that_defines_it(losses, alpha):
    assert_allclose(cvar(losses, alpha), minimised(losses, alpha), rtol=1e-9, atol=1e-9)


@given(LOSSES, SHARES, st.floats(-100, 100), st.floats(0, 10))
def test_is_coherent(losses, alpha, shift, factor):
    c = np.array(losses)
    risk = cvar(c, alpha)
    assert c.mean() - 1e-9 <= risk <= c.max() + 1e-9
    assert_allclose(cvar(factor * c + shift, alpha), factor * risk + shift, rtol=1e-9, atol=1e-7)
    assert cvar(c + c[::-1], alpha) <= risk + cvar(c[::-1], alpha) + 1e-7


def upper_mean(law, nu, x):
    """E[X; X > x]: f(x) of the Gaussian law, f(x) (nu + x^2) / (nu - 1) of Student's."""
    x = np.asarray(x)
    return law.pdf(x) * (1.0 if nu == math.inf else (nu + x**2) / (nu - 1))


@pytest.mark.parametrize(("nu", "expected"), [(math.inf, 2.062713), (5, 2.890129)])
def test_the_known_limits_on_a_grid_of_quantiles(nu, expected):
    """A law's means between 1,000 of its quantiles: a sample with the law's CVaR, the tail being 50 of them."""
    law = stats.norm() if nu == math.inf else stats.t(nu)
    mass_above = np.concatenate([[0.0], upper_mean(law, nu, law.ppf(np.arange(1, 1000) / 1000)), [0.0]])
    losses = 1000 * (mass_above[:-1] - mass_above[1:])
    assert cvar(losses, 0.05) == pytest.approx(expected, abs=1e-6)
    q = law.ppf(0.95)
    assert integrate.quad(lambda x: x * law.pdf(x), q, math.inf)[0] / 0.05 == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("law", "expected"), [(stats.norm(), 2.062713), (stats.t(5), 2.890129)])
def test_the_known_limits_by_samples(law, expected):
    """Within 6 standard errors, wrong with about 2e-9; they are of z + (c - z)+ / alpha at the true quantile z."""
    n = 400_000
    losses = law.rvs(n, random_state=np.random.default_rng(5))
    terms = law.ppf(0.95) + np.maximum(losses - law.ppf(0.95), 0) / 0.05
    assert abs(cvar(losses, 0.05) - expected) < 6 * terms.std() / math.sqrt(n)


def test_many_samples_at_once():
    losses = np.random.default_rng(1).normal(size=(3, 2, 37))
    expected = [[cvar(losses[i, j], 0.3) for j in range(2)] for i in range(3)]
    assert_allclose(cvar(losses, 0.3), expected, rtol=1e-13)
    gamma = np.array([[0.0, 1.0], [0.25, 0.5], [0.75, 0.1]])
    expected = [[risk_adjusted(losses[i, j], gamma[i, j], 0.3) for j in range(2)] for i in range(3)]
    assert_allclose(risk_adjusted(losses, gamma, 0.3), expected, rtol=1e-13)
    assert_allclose(
        risk_adjusted(losses, 0.25, 0.3), 0.75 * losses.mean(-1) + 0.25 * cvar(losses, 0.3), rtol=1e-13
    )


def test_risk_adjusted_by_hand():
    # Mean 2.5, mean of the worst half 3.5.
    value = risk_adjusted([1, 2, 3, 4], 0.25, 0.5)
    assert isinstance(value, float)
    assert value == pytest.approx(0.75 * 2.5 + 0.25 * 3.5, rel=1e-14)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.01, math.nan])
def test_refuses_a_share_outside(alpha):
    with pytest.raises(ValueError, match="alpha must be a finite number in"):
        cvar([1.0], alpha)


@pytest.mark.parametrize("losses", [[], 1.0, np.empty((2, 0)), [1.0, math.nan], [math.inf]])
def test_refuses_losses_that_are_no_sample(losses):
    with pytest.raises(ValueError, match=r"losses(\[\d\])? must"):
        cvar(losses, 0.5)


def test_refuses_other_arguments():
    with pytest.raises(TypeError, match="losses must be an array of numbers"):
        cvar(["high"], 0.5)
    for gamma in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="gamma must be in"):
            risk_adjusted([1.0, 2.0], gamma, 0.5)
    with pytest.raises(ValueError, match="gamma must have shape"):
        risk_adjusted([[1.0, 2.0]], [0.5, 0.5], 0.5)
