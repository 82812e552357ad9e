"""Normal and Student-t draws against their laws."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mfenvs.engine.compile import kernel
from mfenvs.engine.random import START, agent_key, cosine_of_turns, normal, step_key, student_t

GRID = np.linspace(0.0, 1.0, 100_001)


def applied(function, values):
    @kernel
    def apply(given, found):
        for i in range(len(given)):
            found[i] = function(given[i])

    given = np.asarray(values, np.float32)
    found = np.empty_like(given)
    apply(given, found)
    return given.astype(np.float64), found


def test_cosine_of_turns():
    given, found = applied(cosine_of_turns, GRID)
    assert_allclose(found, np.cos(2 * math.pi * given), atol=3e-7)
    assert_allclose(applied(cosine_of_turns, [0.0, 0.25, 0.5, 0.75, 1.0])[1], [1, 0, -1, 0, 1], atol=1e-7)


N = 1_000_000


def drawn(draw, *parameters):
    @kernel
    def fill(found, key):
        for i in range(len(found)):
            found[i] = draw(agent_key(key, i), 0, *parameters)

    found = np.empty(N, np.float32)
    fill(found, np.uint64(step_key(3, 0, 0, 0, START)))
    return found.astype(np.float64)


@pytest.mark.parametrize("nu", [None, 1.0, 2.5, 4.0, 30.0])
def test_draws_follow_their_law(nu):
    """The largest distance of the distribution functions (Kolmogorov and Smirnov), at an error rate of 1e-8."""
    law = stats.norm() if nu is None else stats.t(nu)
    found = np.sort(drawn(normal) if nu is None else drawn(student_t, np.float32(nu)))
    assert np.isfinite(found).all()
    above = np.arange(1, N + 1) / N - law.cdf(found)
    distance = max(above.max(), (1 / N - above).max())
    # P(sqrt(n) D > x) <= 2 exp(-2 x^2) (Massart).
    assert distance < math.sqrt(math.log(2 / 1e-8) / 2 / N)


def test_tails_of_student_t_are_there():
    """Beyond the 1e-5 quantile: as many as a binomial law allows at 1e-8, on both sides."""
    found = drawn(student_t, np.float32(2.5))
    edge = stats.t(2.5).isf(1e-5)
    low, high = stats.binom(N, 1e-5).ppf([5e-9, 1 - 5e-9])
    for beyond in ((found > edge).sum(), (found < -edge).sum()):
        assert low <= beyond <= high
