"""Recurrent classes and limits of Markov chains, against powers of their matrices."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.meanfield.stationary.chains import limit_matrix, recurrent_classes
from mfenvs.meanfield.stationary.resolvent import change_row, reached_law


def a_chain(seed, n):
    """Sparse rows, so that there are often several classes."""
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(n, n)) * (rng.random((n, n)) < 0.3)
    weights[np.arange(n), np.arange(n)] += 0.1
    return weights / weights.sum(axis=1, keepdims=True)


def limit_of_powers(moves):
    power = 0.5 * (np.eye(len(moves)) + moves)
    for _ in range(40):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return power


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8))
def test_limits_are_those_of_powers(seed, n):
    moves = a_chain(seed, n)
    classes, limit = recurrent_classes(moves), limit_of_powers(moves)
    recurrent = np.flatnonzero(np.diag(limit) > 1e-9)
    assert sorted(np.concatenate(classes).tolist()) == recurrent.tolist()
    # The rank of the limit is the number of classes.
    assert np.linalg.matrix_rank(limit, tol=1e-8) == len(classes)
    assert_allclose(limit_matrix(moves, classes), limit, atol=1e-8)


def test_a_chain_by_hand():
    """0 and 1 swap for ever, 2 stays; 3 moves to 0 with chance 1/4 and to 2 with 3/4."""
    moves = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0.25, 0, 0.75, 0]])
    classes = recurrent_classes(moves)
    assert [members.tolist() for members in classes] == [[0, 1], [2]]
    assert_allclose(limit_matrix(moves, classes)[3], [0.125, 0.125, 0.75, 0.0])


@given(seed=st.integers(0, 10**6), n=st.integers(1, 8))
def test_changes_of_rows_keep_the_resolvent(seed, n):
    rng, moves, row = np.random.default_rng(seed), a_chain(seed, n), np.empty(n)
    resolvent = np.linalg.inv(np.eye(n) - 0.9 * moves)
    for state in rng.integers(0, n, 6):
        new = a_chain(int(rng.integers(10**6)), n)[state]
        change_row(resolvent, state, new - moves[state], 0.9, row)
        moves[state] = new
    assert_allclose(resolvent, np.linalg.inv(np.eye(n) - 0.9 * moves), atol=1e-10)
    law, initial = np.empty(n), rng.dirichlet(np.ones(n))
    # Rounding in the resolvent moves the law by some 1e-14 a step, on some processors more than on others.
    distance = reached_law(resolvent, 0.9, initial, 1e-12, 100_000, law, row)
    assert distance <= 1e-12
    assert_allclose(law, initial @ limit_of_powers(moves), atol=1e-8)
