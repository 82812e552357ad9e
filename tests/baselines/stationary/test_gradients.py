"""Estimated gradients, compared with finite differences of the exact objective on a small chain.

All runs have the same parameters, so that their estimates are independent draws of one (error rates below 1e-6).
"""

import itertools

import numpy as np
import pytest
from chain import (
    LAW,
    assert_means,
    chain,
    law_after,
    objective,
    stationary_law,
    tabular,
)

from baselines.stationary.policies import NetworkPolicies, normalised
from baselines.stationary.policy_gradient import StationaryPolicyGradient
from mfenvs import make

N_RUNS = 8000
THETA = np.array([0.25, -0.5, 0.0, 0.75, -0.25, 0.5])
C = 0.4


def trainer(game, theta=THETA, law=LAW, **options) -> StationaryPolicyGradient:
    """Runs with equal parameters, whose mean field stays where it is."""
    still = {"mean_field_start": "last", "mean_field_rate": 1e-12, "mean_field_steps": 1}
    short = {"n_trajectories": 2, "trajectory_length": 60, "n_runs": N_RUNS, "evaluation_interval": 0}
    made = StationaryPolicyGradient(game, **({"policy": "tabular"} | still | short | options))
    made._theta = np.tile(theta, (N_RUNS, 1))
    made._laws = np.tile(law, (N_RUNS, 1))
    return made


def central_differences(function, theta: np.ndarray, h: float = 1e-5) -> np.ndarray:
    return np.array([(function(theta + h * e) - function(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])


def spsa_mean(function, theta: np.ndarray, c: float) -> np.ndarray:
    """The exact mean of SPSA's estimate: over all signs."""
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(theta))))
    return np.mean([(function(theta + c * d) - function(theta - c * d)) / (2 * c * d) for d in signs], axis=0)


def assert_tells(samples: np.ndarray, exact: np.ndarray) -> None:
    """The largest entry is known to a twentieth: a wrong gradient would be seen."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.abs(exact).max() > 20 * error[np.abs(exact).argmax()]


@pytest.mark.parametrize("baseline", [False, True])
def test_the_likelihood_ratio_is_the_derivative_with_the_mean_field_held(baseline) -> None:
    game = chain()
    found = trainer(game, gradient="likelihood-ratio", baseline=baseline)._equilibrium_gradient()
    population = tabular(THETA)
    exact = central_differences(lambda theta: objective(game, tabular(theta), LAW, population), THETA)
    assert_means(found[0], exact)
    assert_tells(found[0], exact)
    assert_means(found[1], objective(game, population, LAW, population))
    np.testing.assert_allclose(found[2], np.tile(LAW, (N_RUNS, 1)), atol=1e-9)


def test_the_baseline_takes_noise_away() -> None:
    """Where everything earns at least 2, most of the noise is the size of the returns."""
    game = chain(pay=((3.0, 2.0), (3.5, 5.0), (4.0, 7.0)))
    plain, less = (
        trainer(game, gradient="likelihood-ratio", baseline=has, n_trajectories=5)._equilibrium_gradient()[0]
        for has in (False, True)
    )
    assert (less.var(axis=0) < 0.5 * plain.var(axis=0)).all()


def test_the_likelihood_ratio_of_networks() -> None:
    game, sizes = chain(), (2,)
    policies = NetworkPolicies(3, None, sizes, 2, 10.0)
    theta = np.linspace(-1.0, 1.0, policies.n_parameters) ** 3

    def table(theta: np.ndarray) -> np.ndarray:
        return normalised(policies.tables(theta[None]))[0]

    found = trainer(game, theta, policy="network", hidden_sizes=sizes)._equilibrium_gradient()[0]
    # Networks are in single precision: differences are over wider steps.
    exact = central_differences(lambda t: objective(game, table(t), LAW, table(theta)), theta, 0.01)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - exact) <= 5.5 * error + 1e-4).all()
    assert_tells(found, exact)


@pytest.mark.parametrize("common", [False, True])
def test_spsa_is_the_central_difference_along_random_signs(common) -> None:
    game, population = chain(), tabular(THETA)
    made = trainer(game, gradient="spsa", perturbation=C, common_random_numbers=common, trajectory_length=40)
    found = made._equilibrium_gradient()[0]
    exact = spsa_mean(lambda theta: objective(game, tabular(theta), LAW, population), THETA, C)
    assert_means(found, exact)
    if common:
        assert_tells(found, exact)


@pytest.mark.parametrize("common", [False, True])
def test_spsa_of_the_social_optimum_lets_the_mean_field_follow(common) -> None:
    """The reward is linear in the mean field, whose expectation after any number of steps is known exactly."""
    game = chain(pull=0.0, crowding=4.0)
    options = {"mean_field_rate": 1.0, "mean_field_start": "initial", "mean_field_steps": 30, "perturbation": C}
    theta = THETA + np.tile([1.0, -1.0], 3)  # Most do the same.
    made = trainer(game, theta, objective="social-welfare", common_random_numbers=common, **options)
    found = made._social_gradient()[0]
    rates = (1.0 + np.arange(30)) ** -made.config.mean_field_exponent

    def after_steps(theta: np.ndarray) -> float:
        policy = tabular(theta)
        return objective(game, policy, law_after(game, np.array(game.first), policy, rates), policy)

    exact = spsa_mean(after_steps, theta, C)
    assert_means(found, exact)
    # It is the total derivative of which that is the estimate, not the partial one.
    population = tabular(theta)
    law = stationary_law(game, population)
    partial = spsa_mean(lambda t: objective(game, tabular(t), law, population), theta, C)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - partial) > 10 * error).any()
    if common:
        assert_tells(found, exact)


def test_spsa_of_thresholds_sees_the_states_between_theta_minus_c_and_theta_plus_c() -> None:
    game = make("Malware-v0", n_levels=2)
    small = {
        "n_runs": 3,
        "mean_field_steps": 2,
        "n_trajectories": 1,
        "trajectory_length": 3,
        "evaluation_interval": 0,
    }
    made = StationaryPolicyGradient(game, **small)
    made._theta = np.array([[0.5], [0.95], [1.0]])
    gradient = made._equilibrium_gradient()[0]
    assert gradient[0, 0] == 0.0
    assert (gradient[1:, 0] != 0.0).all()
