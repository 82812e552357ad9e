"""Residuals of parametrised policies against difference quotients and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from stationary_models import busy, malware

from mfenvs.meanfield.stationary import (
    find_equilibrium,
    find_social_optimum,
    local_equilibrium_residual,
    local_welfare_residual,
)

LEVELS = np.arange(101) / 100


def logistic(theta):
    """Repair with a probability that rises with the level around theta."""
    repair = 1.0 / (1.0 + np.exp(-20.0 * (LEVELS - theta[0])))
    return np.column_stack([1.0 - repair, repair])


def table(theta):
    """The probability of action 1 in every state."""
    return np.column_stack([1.0 - theta, theta])


def derivative(f, step=1e-3):
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


@pytest.mark.parametrize("theta", [0.2, 0.5])
def test_both_residuals_of_a_logistic_policy(theta):
    own = malware().flow(logistic([theta])[None])
    total = derivative(lambda t: malware().value(logistic([theta + t])[None]))
    partial = derivative(lambda t: malware().value(logistic([theta + t])[None], own))
    assert_allclose(local_welfare_residual(malware(), [theta], logistic), [total], atol=1e-7)
    assert_allclose(local_equilibrium_residual(malware(), [theta], logistic), [partial], atol=1e-7)
    assert abs(total - partial) > 0.01


def test_a_jacobian_that_is_given_is_used():
    theta = np.array([0.3, 0.6, 0.2])
    jacobian = np.zeros((3, 3, 2))
    jacobian[range(3), range(3)] = [-1.0, 1.0]
    for residual in (local_welfare_residual, local_equilibrium_residual):
        expected = residual(busy(), theta, table)
        assert_allclose(residual(busy(), theta, table, jacobian), expected, atol=1e-9)
        assert_allclose(residual(busy(), theta, table, 2.0 * jacobian[:, None]), 2.0 * expected, atol=1e-9)


def test_the_mean_field_can_be_held_elsewhere():
    theta, z = np.array([0.3, 0.6, 0.2]), np.array([0.5, 0.25, 0.25])
    there = busy().frozen((z[:, None] * table(theta))[None])
    found = local_equilibrium_residual(busy(), theta, table, mean_field=z)
    for i in range(3):
        shift = np.eye(3)[i]
        expected = derivative(lambda t, e=shift: busy().value(table(theta + t * e)[None], there))
        assert_allclose(found[i], expected, atol=1e-8)


def test_residuals_vanish_where_they_should():
    """At the optimum and at the equilibrium, projected: probabilities are between 0 and 1."""
    optimum, equilibrium = find_social_optimum(busy()).policy[0, :, 1], find_equilibrium(busy()).policy[0, :, 1]

    def inside(theta):
        return table(np.clip(theta, 0.0, 1.0))

    jacobian = np.zeros((3, 3, 2))
    jacobian[range(3), range(3)] = [-1.0, 1.0]
    welfare = local_welfare_residual(busy(), optimum, inside, jacobian, bounds=(0.0, 1.0))
    rational = local_equilibrium_residual(busy(), equilibrium, inside, jacobian, bounds=(0.0, 1.0))
    assert_allclose(welfare, 0.0, atol=1e-6)
    assert_allclose(rational, 0.0, atol=1e-6)
    # Without bounds, actions that are never played push outwards.
    assert np.abs(local_welfare_residual(busy(), optimum, inside, jacobian)).max() > 0.01
    assert np.abs(local_welfare_residual(busy(), equilibrium, inside, jacobian, bounds=(0.0, 1.0))).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"theta": [[0.5]]}, ValueError, "theta must have shape"),
        ({"theta": [np.nan] * 3}, ValueError, r"theta\[0\] must be finite"),
        ({"policy_of_theta": table(np.full(3, 0.5))}, TypeError, "policy_of_theta must be a function"),
        ({"policy_of_theta": lambda theta: np.ones((3, 2))}, ValueError, r"policy_of_theta\(theta\)"),
        ({"jacobian": np.zeros((2, 3, 2))}, ValueError, "jacobian must have shape"),
        ({"bounds": (0.6, 1.0)}, ValueError, "theta must be within bounds"),
        ({"bounds": 1.0}, TypeError, "bounds must be two numbers"),
        ({"bounds": (0.0, 0.5, 1.0)}, ValueError, "bounds must be two numbers"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    given = {"theta": np.full(3, 0.5), "policy_of_theta": table, **arguments}
    for residual in (local_equilibrium_residual, local_welfare_residual):
        with pytest.raises(error, match=words):
            residual(busy(), **given)
