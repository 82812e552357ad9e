"""The limit law of a Markov chain against powers of its lazy transition matrix."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.engine.compile import kernel
from mfenvs.engine.limit_law import go_to_limit


@kernel
def _limit(law, moves, share, left, owner):
    go_to_limit(law, moves, share, left, owner)


def limit(law, moves):
    found = np.array(law, np.float64)
    _limit(found, np.array(moves, np.float64), *np.empty((3, len(found))))
    return found


def by_powers(law, moves):
    """The limit by squaring (I + P) / 2 eighty times."""
    lazy = (np.eye(len(moves)) + moves) / 2
    for _ in range(80):
        lazy = lazy @ lazy
        lazy /= lazy.sum(axis=1, keepdims=True)
    return law @ lazy


@settings(max_examples=200)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.sampled_from([0.15, 0.3, 0.6]))
def test_chains_with_any_number_of_classes(n_states, seed, density):
    rng = np.random.default_rng(seed)
    moves = rng.random((n_states, n_states)) * 10.0 ** -rng.integers(0, 5, (n_states, n_states))
    moves *= rng.random(moves.shape) < density
    moves[moves.sum(axis=1) == 0, rng.integers(n_states)] = 1.0
    moves /= moves.sum(axis=1, keepdims=True)
    law = rng.dirichlet(np.ones(n_states))
    assert_allclose(limit(law, moves), by_powers(law, moves), atol=1e-12)


def test_two_rare_steps_in_a_row_are_not_impossible():
    """From 0 to 1 and from 1 on to 2 with 1e-12 each; from 2 back with 1e-12: balance by hand."""
    moves = [[1 - 1e-12, 1e-12, 0.0], [1.0 - 1e-12, 0.0, 1e-12], [1e-12, 0.0, 1 - 1e-12]]
    # x1 = 1e-12 x0, x2 1e-12 = 1e-12 x1.
    assert_allclose(limit([0.0, 0.0, 1.0], moves), [1.0, 1e-12, 1e-12], rtol=1e-9)


def test_rounding_errors_are_no_moves():
    assert_allclose(limit([0.5, 0.5], [[1.0, 1e-17], [0.0, 1.0]]), [0.5, 0.5], atol=0)


def test_mass_divides_between_the_states_that_are_never_left():
    """From the middle one goes left twice as often as right."""
    moves = np.eye(5)
    moves[1:4, :] = 0.0
    for s in (1, 2, 3):
        moves[s, s - 1], moves[s, s + 1] = 2 / 3, 1 / 3
    # Gambler's ruin with ratio 2: (2^4 - 2^2) / (2^4 - 1) of the middle's mass ends on the left.
    assert_allclose(limit([0.0, 0.0, 1.0, 0.0, 0.0], moves), [12 / 15, 0, 0, 0, 3 / 15], atol=1e-15)
