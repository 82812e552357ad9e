"""Scalar Riccati equations against a numerical integrator, and against solutions known by heart."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import simpson, solve_ivp

from baselines.continuous.linear_quadratic.coefficients import coefficients
from baselines.continuous.linear_quadratic.riccati import ScalarRiccati
from mfenvs import make


def one_type(a, b, q, r, last, duration):
    game = make(
        "LinearQuadratic-v0",
        n_agents=2,
        types=("only",),
        proportions=(1.0,),
        duration=duration,
        transition="exact",
        drift=(a,),
        control_gain=(b,),
        state_cost=(q,),
        control_cost=(r,),
        terminal_cost=(last,),
        **dict.fromkeys(("coupling", "volatility", "coupling_cost", "initial_mean", "initial_variance"), (0.0,)),
    )
    return ScalarRiccati(coefficients(game), game.types)


@pytest.mark.parametrize(
    ("a", "b", "q", "r", "last", "duration"),
    [
        (-0.2, 1.0, 1.0, 1.0, 0.5, 2.0),
        (0.7, 1.5, 0.3, 0.5, 0.0, 3.0),
        (0.4, 0.0, 1.0, 1.0, 0.5, 2.0),
        (0.0, 0.0, 1.0, 1.0, 0.5, 2.0),
        (0.0, 1.0, 0.0, 1.0, 2.0, 2.0),
        (-0.5, 1.0, -1.0, 1.0, 0.0, 1.0),
        (-1.0, 1.0, -1.0, 1.0, 0.0, 5.0),
        (0.3, 1.0, -0.1, 1.0, 3.0, 4.0),
        (-3.0, 2.0, 5.0, 0.1, 20.0, 4.0),
    ],
    ids=[
        "default",
        "grows",
        "no-control",
        "no-control-nor-drift",
        "no-running-cost",
        "complex-roots",
        "double-root",
        "negative-cost",
        "stiff",
    ],
)
def test_it_solves_the_equation(a, b, q, r, last, duration):
    found = one_type(a, b, q, r, last, duration)
    times = np.linspace(0.0, duration, 7)
    path = solve_ivp(
        lambda theta, p: q + 2 * a * p - b**2 / r * p**2,
        (0.0, duration),
        [last],
        "LSODA",
        duration - times[::-1],
        rtol=1e-11,
        atol=1e-12,
    )
    assert_allclose(found(times)[:, 0], path.y[0, ::-1], rtol=1e-8, atol=1e-9)
    # The integral of a - S P from the first time to the last.
    fine = np.linspace(0.0, duration, 200_001)
    grown = simpson(a - b**2 / r * found(fine)[:, 0], x=fine)
    flow = found.log_flow(np.array([0.0, duration]))[:, 0]
    assert flow[1] - flow[0] == pytest.approx(grown, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "q", "last", "expected"),
    [
        # P = -tan(theta).
        (0.0, -1.0, 0.0, math.pi / 2),
        # P = 1 / (theta - 1).
        (0.0, 0.0, -1.0, 1.0),
        # P = -coth(theta0 - theta) with coth(theta0) = 2.
        (0.0, 1.0, -2.0, math.atanh(0.5)),
        # P = tan(pi / 4 - theta).
        (0.0, -1.0, 1.0, 3 * math.pi / 4),
    ],
)
def test_it_escapes_where_it_is_known_to(a, q, last, expected):
    before = one_type(a, 1.0, q, 1.0, last, expected * (1 - 1e-6))
    assert before.escape_horizons()[0] == pytest.approx(expected, rel=1e-12)
    assert before(0.0)[0] < -1e5
    with pytest.raises(ValueError, match=rf"type 'only' .* the time to go {expected:.6g}, which is at t = "):
        one_type(a, 1.0, q, 1.0, last, expected * 1.1)


def test_times_have_any_shape_and_long_horizons_do_not_overflow():
    found = one_type(-0.2, 1.0, 1.0, 1.0, 0.5, 2000.0)
    assert found(np.zeros((2, 3))).shape == (2, 3, 1)
    assert found(0.0)[0] == pytest.approx(-0.2 + math.sqrt(1.04), rel=1e-14)
    assert math.isinf(found.escape_horizons()[0])
