"""Lemke's method against the conditions that define a solution, and against enumeration."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.meanfield.stationary.complementarity import complementary_solution


def by_enumeration(matrix, constants):
    """All solutions in which a set of variables is positive and their constraints are equalities."""
    n, found = len(constants), []
    for size in range(n + 1):
        for positive in itertools.combinations(range(n), size):
            z, at = np.zeros(n), list(positive)
            if at:
                block = matrix[np.ix_(at, at)]
                if abs(np.linalg.det(block)) < 1e-9:
                    continue
                z[at] = np.linalg.solve(block, -constants[at])
            if z.min() >= -1e-9 and (matrix @ z + constants).min() >= -1e-9:
                found.append(z)
    return found


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6))
def test_positive_definite_problems_have_one_solution(seed, n):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n))
    skew = rng.normal(size=(n, n))
    matrix = half @ half.T + 0.1 * np.eye(n) + skew - skew.T
    constants = rng.normal(size=n)
    z = complementary_solution(matrix, constants)
    assert z is not None
    w = matrix @ z + constants
    assert z.min() >= 0.0
    assert w.min() >= -1e-8
    assert abs(z @ w) <= 1e-7
    if n <= 4:
        assert_allclose(z, by_enumeration(matrix, constants)[0], atol=1e-7)


def test_nothing_to_do():
    assert_allclose(complementary_solution(-np.eye(2), np.array([0.0, 1.0])), 0.0)


def test_a_problem_without_solution():
    """-z - 1 >= 0 has no solution with z >= 0."""
    assert complementary_solution(np.array([[-1.0]]), np.array([-1.0])) is None


def test_the_equilibrium_of_a_matrix_game():
    """Rock-paper-scissors with costs 2 + A: the only symmetric equilibrium is uniform."""
    costs = 2.0 + np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0.0]])
    matrix = np.block([[costs, -np.ones((3, 1))], [np.ones((1, 3)), np.zeros((1, 1))]])
    z = complementary_solution(matrix, np.array([0.0, 0, 0, -1]))
    assert_allclose(z[:3], 1 / 3, atol=1e-12)
