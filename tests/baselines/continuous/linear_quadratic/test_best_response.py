"""The best response among N agents against the Riccati equation of all N states in discrete time."""

import dataclasses

import numpy as np
import pytest
from gaussian_chain import chain_costs
from linear_quadratic_games import extrapolated, parameters, three, two
from numpy.testing import assert_allclose

from baselines.continuous.linear_quadratic import (
    competitive_equilibrium,
    n_player_best_response,
    n_player_gaps,
    social_optimum,
)

TWO = competitive_equilibrium(two())


def kinds_of(numbers, kind):
    """The types of N agents; the first is the deviator."""
    numbers = np.array(numbers)
    numbers[kind] -= 1
    return np.concatenate([[kind], np.repeat(np.arange(len(numbers)), numbers)])


def brute_force(solution, kind, numbers, n_steps, follows=False, gains=None):
    """Cost of the deviator by its discrete-time Riccati equation in all N states and 1, by Euler's scheme.

    Others play the mean-field feedback; the deviator plays the best response, or ``gains(t)`` of the N states and
    1, or, for "feedback", what all others play.
    """
    game = solution.game
    a, b, kappa, sigma, q, r, s, last = (x[kinds_of(numbers, kind)] for x in parameters(game))
    kinds = kinds_of(numbers, kind)
    n, dt = len(kinds), game.duration / n_steps
    average = np.append(np.full(n, 1.0 / n), 0.0)
    first = np.append(np.array(game.initial_mean)[kinds], 1.0)
    moments = np.outer(first, first) + np.diag(np.append(np.array(game.initial_variance)[kinds], 0.0))
    noise = dt * np.diag(np.append(sigma**2, 0.0))
    noise[:-1, :-1] += dt * game.common_volatility**2
    value, own = np.zeros((n + 1, n + 1)), np.eye(n + 1)[0]
    value[0, 0] = last[0]
    constant = 0.0
    by_type = np.array([np.append(kinds == k, 0) / max((kinds == k).sum(), 1) for k in range(len(numbers))])
    for h in reversed(range(n_steps)):
        t = h * dt
        rows = np.zeros((n, n + 1))
        rows[:, :-1] = np.diag(solution.riccati(t)[kinds])
        if follows:
            rows += (solution.xi_of_means(t) @ by_type)[kinds]
        else:
            rows[:, -1] = solution.xi(t)[kinds]
        rows *= (b / r)[:, None]
        flow = np.eye(n + 1)
        flow[:-1] += dt * (kappa[:, None] * average - b[:, None] * rows)
        flow[np.arange(n), np.arange(n)] += dt * a
        flow[0] += dt * b[0] * rows[0]
        constant += np.trace(noise @ value)
        running = dt * (q[0] * np.outer(own, own) + s[0] * (np.outer(own, average) + np.outer(average, own)))
        push = dt * b[0] * own
        if gains is None:
            cross = push @ value @ flow
            value = running + flow.T @ value @ flow - np.outer(cross, cross) / (dt * r[0] + push @ value @ push)
        else:
            f = gains(t) if callable(gains) else rows[0]
            moved = flow - np.outer(push, f)
            value = running + dt * r[0] * np.outer(f, f) + moved.T @ value @ moved
    return 0.5 * (np.vdot(value, moments) + constant)


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("common_volatility", [0.0, 0.3])
def test_three_agents_by_brute_force(kind, follows, common_volatility):
    """Two consumers and a PV owner."""
    solution = competitive_equilibrium(two(common_volatility=common_volatility))
    found = n_player_best_response(solution, kind, 3, follows_means=follows)
    assert found.numbers.tolist() == [2, 1]
    if follows == (common_volatility > 0.0):  # It is the default then.
        assert n_player_best_response(solution, kind, 3).gap == found.gap
    best = extrapolated(lambda n: brute_force(solution, kind, (2, 1), n, follows), 25)
    cost = extrapolated(lambda n: brute_force(solution, kind, (2, 1), n, follows, "feedback"), 25)
    assert found.best_cost == pytest.approx(best, abs=1e-6)
    assert found.cost == pytest.approx(cost, abs=1e-6)
    assert found.gap == pytest.approx(cost - best, rel=2e-4)


def test_three_types_by_brute_force():
    """Seven agents, four homes, two shops and a farm without noise."""
    solution = competitive_equilibrium(three(n_agents=7))
    for kind in range(3):
        found = n_player_best_response(solution, kind)
        assert found.numbers.tolist() == [4, 2, 1]
        best = extrapolated(lambda n, kind=kind: brute_force(solution, kind, (4, 2, 1), n), 60)
        cost = extrapolated(lambda n, kind=kind: brute_force(solution, kind, (4, 2, 1), n, False, "feedback"), 60)
        assert found.best_cost == pytest.approx(best, abs=1e-6)
        assert found.gap == pytest.approx(cost - best, rel=2e-4)


def test_playing_the_gains_costs_the_best_cost():
    found = n_player_best_response(TWO, 1, 3)
    kinds = kinds_of((2, 1), 1)

    def gains(time):
        own, mean = found.gains(time), TWO.mean(time)
        row = np.zeros(4)
        row[0], row[-1] = own[0], own[-1]
        for k in range(2):
            for j in 1 + np.flatnonzero(kinds[1:] == k):
                row[j] += own[1 + k] / 3
                row[-1] -= own[1 + k] * mean[k] / 3
        return row

    cost = extrapolated(lambda n: brute_force(TWO, 1, (2, 1), n, False, gains), 25)
    assert found.best_cost == pytest.approx(cost, abs=1e-6)


def test_the_known_limit_of_the_gap():
    sizes = np.array([100, 1000, 10_000, 10**6])
    scaled = sizes[:, None] * n_player_gaps(TWO, sizes)
    assert_allclose(scaled[-1], [0.0031, 0.0037], atol=5e-5)
    # The rest decays as 1 / N.
    rest = sizes[:-1, None] * (scaled[:-1] - scaled[-1])
    assert_allclose(rest, np.tile(rest[1], (3, 1)), rtol=0.02)


def test_the_cost_among_many_agents_is_that_of_the_mean_field():
    for kind in range(2):
        found = n_player_best_response(TWO, kind, 10**6)
        assert found.cost == pytest.approx(TWO.costs[kind], abs=1e-5)
        assert 0.0 < found.gap < 1e-8


@pytest.mark.parametrize("common_volatility", [0.0, 0.3])
def test_the_cost_is_that_of_the_game_in_short_steps(common_volatility):
    """Five agents who all play the feedback of the mean field without common noise."""
    response = TWO.parameters.response
    game = two(n_agents=5, common_volatility=common_volatility)

    def costs(n_steps):
        shorter = dataclasses.replace(game, horizon=n_steps, dt=0.0)
        times = np.arange(n_steps) * shorter.dt
        return chain_costs(shorter, response * TWO.riccati(times), response * TWO.xi(times))

    expected = extrapolated(costs, 25)
    solution = competitive_equilibrium(game)
    for kind in range(2):
        found = n_player_best_response(solution, kind, follows_means=False)
        assert found.cost == pytest.approx(expected[0 if kind == 0 else -1], abs=1e-6)


def test_without_coupling_there_is_no_gap():
    solution = competitive_equilibrium(two(coupling=(0.0, 0.0), coupling_cost=(0.0, 0.0)))
    assert_allclose(n_player_gaps(solution, [3, 100]), 0.0, atol=1e-13)


def test_the_social_optimum_is_no_equilibrium():
    """Among any number of agents somebody gains what is lost by order 1, not 1 / N."""
    gaps = n_player_gaps(social_optimum(two()), [1000, 100_000])
    assert_allclose(gaps[0], gaps[1], rtol=0.02)
    assert gaps.min() > 1e-3


def test_types_without_agents_have_no_gap():
    gaps = n_player_gaps(competitive_equilibrium(two(proportions=(1.0, 0.0))), 10)
    assert gaps[0, 0] > 0.0
    assert np.isnan(gaps[0, 1])
    with pytest.raises(ValueError, match=r"kind must be a type with agents, got 'pv' among \[2, 0\] agents"):
        n_player_best_response(competitive_equilibrium(two(proportions=(1.0, 0.0))), 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2,), "kind"),
        ((0, 1), "n_agents"),
        ((0, 2**25), "n_agents"),
        (("consumer",), "kind"),
        ((0, 2.5), "n_agents"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises((TypeError, ValueError), match=f"{message} must be"):
        n_player_best_response(TWO, *arguments)
    with pytest.raises(TypeError, match="follows_means must be"):
        n_player_best_response(TWO, 0, follows_means="yes")
