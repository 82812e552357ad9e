"""Exact costs of feedbacks against Euler's scheme, extrapolated to steps of length zero."""

import numpy as np
import pytest
from linear_quadratic_games import euler_costs, extrapolated, three, two
from numpy.testing import assert_allclose

from baselines.continuous.linear_quadratic import competitive_equilibrium, deviation_cost, population_costs


@pytest.mark.parametrize("common_volatility", [0.0, 0.5])
@pytest.mark.parametrize("make_game", [two, three])
def test_populations(make_game, common_volatility):
    game = make_game(common_volatility=common_volatility)
    n, rng = len(game.types), np.random.default_rng(1)
    g, o = rng.standard_normal((2, 2, n))

    def feedback(time):
        rows = np.zeros((n, n + 2))
        rows[:, 0], rows[:, -1] = 0.5 + 0.2 * g[0] * np.cos(time) + 0.1 * g[1], o[0] + o[1] * time
        return rows

    found = population_costs(game, lambda t: feedback(t)[:, 0], lambda t: feedback(t)[:, -1])
    assert_allclose(found, extrapolated(lambda k: euler_costs(game, feedback, k), 25), rtol=2e-5)


@pytest.mark.parametrize("common_volatility", [0.0, 0.5])
def test_a_deviator_is_a_type_of_no_weight(common_volatility):
    """A third type of proportion 0 is a consumer who plays as it likes, and moves nobody's mean."""
    game = two(common_volatility=common_volatility)
    solution = competitive_equilibrium(game)
    per_type = {
        name: (*values, values[0])
        for name, values in game.describe().items()
        if isinstance(values, tuple) and name not in ("types", "proportions")
    }
    wider = two(
        types=("consumer", "pv", "other"),
        proportions=(0.7, 0.3, 0.0),
        common_volatility=common_volatility,
        **per_type,
    )
    level = np.array([0.9, -0.2, 0.3, 0.4])

    def own(time):
        return level * (1.0 + 0.3 * time)

    def feedback(time):
        rows = np.zeros((3, 5))
        response = solution.parameters.response
        rows[[0, 1], 0] = response * solution.riccati(time)
        rows[:2, 1:3] = response[:, None] * solution.xi_of_means(time)
        rows[2] = np.insert(own(time), 3, 0.0)
        return rows

    expected = extrapolated(lambda k: euler_costs(wider, feedback, k), 25)
    assert deviation_cost(solution, 0, own) == pytest.approx(expected[2], rel=1e-5)
    assert_allclose(solution.costs, expected[:2], rtol=1e-5)


def test_what_feedbacks_return_is_checked():
    solution = competitive_equilibrium(two())
    with pytest.raises(ValueError, match=r"feedback must have shape \(4,\), got \(3,\)"):
        deviation_cost(solution, 0, lambda t: np.zeros(3))
    with pytest.raises(ValueError, match=r"gain\[1\] must be finite, got nan"):
        population_costs(two(), lambda t: [0.0, np.nan], lambda t: [0.0, 0.0])
    with pytest.raises(ValueError, match=r"constant must have shape \(2,\)"):
        population_costs(two(), lambda t: [0.0, 0.0], lambda t: 0.0)
    with pytest.raises(ValueError, match=r"kind must be an integer in \[0, 1\], got -1"):
        deviation_cost(solution, -1, lambda t: np.zeros(4))
