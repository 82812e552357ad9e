"""Regressions on the population: against closed forms, and errors that are as large as they say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mfenvs.estimation.regression import regress


def clustered(rng, n_groups, rows, slopes, noise, common):
    """Populations of three groups; outcomes with noise of their own, and noise that a group of episodes shares."""
    phi = rng.dirichlet(np.ones(3), n_groups * rows)
    groups = np.repeat(np.arange(n_groups), rows)
    shared = common * rng.standard_normal(n_groups)[groups]
    outcomes = phi @ slopes + shared + noise * rng.standard_normal(len(phi))
    return phi, np.ones(len(phi)), outcomes[:, None], groups


def test_linear_outcomes_are_found_without_error() -> None:
    rng = np.random.default_rng(0)
    slopes = np.array([1.0, -2.0, 0.5])
    fit = regress(*clustered(rng, 5, 10, slopes, 0.0, 0.0), 5)
    assert_allclose(fit.values[0], slopes, atol=1e-12)
    assert_allclose(fit.without[:, 0], np.tile(slopes, (5, 1)), atol=1e-12)
    assert not fit.is_constant
    assert_allclose(fit.unseen, np.full((3, 3), 1 / 3), atol=1e-9)  # shares sum to one: that never varies


def test_rows_count_as_often_as_they_weigh() -> None:
    """A row of weight 3 is three equal rows, and one without group 1 is the fit of the others."""
    rng = np.random.default_rng(1)
    phi, weights, outcomes, groups = clustered(rng, 4, 8, np.array([1.0, 2.0, 3.0]), 0.3, 0.0)
    weights = rng.integers(1, 4, len(phi)).astype(float)
    often = np.repeat(np.arange(len(phi)), weights.astype(int))
    fit = regress(phi, weights, outcomes, groups, 4)
    same = regress(phi[often], np.ones(len(often)), outcomes[often], groups[often], 4)
    assert_allclose(fit.values, same.values, atol=1e-10)
    assert_allclose(fit.without, same.without, atol=1e-10)
    kept = groups != 1
    alone = regress(phi[kept], weights[kept], outcomes[kept], groups[kept], 4)
    assert_allclose(fit.without[1], alone.values, atol=1e-10)
    expected = np.linalg.lstsq(phi * np.sqrt(weights)[:, None], outcomes * np.sqrt(weights)[:, None])[0]
    assert_allclose(fit.values[0], expected[:, 0], atol=1e-10)


def test_a_mean_without_population() -> None:
    """One group of pairs: the fit is the mean, and its jackknife error that of the means of equal groups."""
    outcomes = np.array([[1.0], [3.0], [2.0], [8.0]])
    fit = regress(np.ones((4, 1)), np.ones(4), outcomes, np.arange(4), 4)
    assert_allclose(fit.values, [[3.5]])
    assert_allclose(fit.without[:, 0, 0], (14.0 - outcomes[:, 0]) / 3)
    variance = ((fit.without - fit.values) ** 2).sum() * 3 / 4
    assert_allclose(variance, outcomes.var(ddof=1) / 4)
    assert not fit.is_constant


def test_directions_that_never_varied_have_slope_zero() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0.0, 0.5, 40)
    phi = np.column_stack([x, 0.5 - x, np.full(40, 0.5)])
    fit = regress(phi, np.ones(40), (2.0 * x)[:, None], np.arange(40) % 4, 4)
    assert_allclose(phi @ fit.values[0], 2.0 * x, atol=1e-12)
    towards_the_last = np.array([-0.5, -0.5, 1.0])
    assert_allclose(fit.values[0] @ towards_the_last, 0.0, atol=1e-12)
    assert_allclose(fit.unseen @ towards_the_last, towards_the_last, atol=1e-12)
    assert_allclose(fit.unseen @ [1.0, -1.0, 0.0], 0.0, atol=1e-12)


def test_too_few_populations_are_averaged() -> None:
    rng = np.random.default_rng(3)
    phi, weights, outcomes, groups = clustered(rng, 4, 1, np.array([1.0, 2.0, 3.0]), 0.0, 0.0)
    fit = regress(phi, weights, outcomes, groups, 4)
    assert fit.is_constant
    assert_allclose(fit.values, np.full((1, 3), outcomes.mean()))


def test_a_slope_that_one_group_decides_is_not_fitted() -> None:
    phi = np.tile([0.5, 0.5], (40, 1))
    groups = np.repeat(np.arange(4), 10)
    phi[groups == 2, 0], phi[groups == 2, 1] = 0.9, 0.1
    phi[20] = 0.8, 0.2
    fit = regress(phi, np.ones(40), phi[:, :1], groups, 4)
    assert fit.is_constant


def test_a_penalty_shrinks_slopes_by_its_closed_form() -> None:
    """With one direction d and variance v of the shares along it, the slope is v / (v + ridge) of the true one."""
    x = np.linspace(0.2, 0.8, 50)
    phi = np.column_stack([x, 1.0 - x])
    fit = regress(phi, np.ones(50), (3.0 * x)[:, None], np.arange(50) % 5, 5, ridge=0.02)
    variance = 2.0 * x.var()  # along (1, -1) / sqrt(2)
    assert_allclose(fit.values[0, 0] - fit.values[0, 1], 3.0 * variance / (variance + 0.02))
    assert_allclose(phi.mean(axis=0) @ fit.values[0], 3.0 * x.mean())


@pytest.mark.parametrize("common", [0.0, 0.5])
def test_errors_are_right_also_where_an_episode_has_noise_of_its_own(common: float) -> None:
    """Squared z-scores of 400 data sets: their mean is 1 (Student, 29 degrees: 1.07) within 6 standard errors.

    The naive error of independent rows would give a mean square of 5 with common noise.
    """
    rng = np.random.default_rng(4)
    slopes, at = np.array([1.0, -1.0, 2.0]), np.array([0.2, 0.3, 0.5])
    z = np.empty(400)
    for k in range(len(z)):
        fit = regress(*clustered(rng, 30, 12, slopes, 0.7, common), 30)
        error = np.sqrt((((fit.without - fit.values) @ at) ** 2).sum() * 29 / 30)
        z[k] = (fit.values[0] - slopes) @ at / error
    mean, spread = (z**2).mean(), (z**2).std() / 20
    assert abs(mean - 1.05) < 0.1 + 6 * spread
    assert abs(z.mean()) < 6 / 20
