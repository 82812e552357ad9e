"""Estimated mean fields and returns, compared with numpy on a small chain.

Statistical tests compare means over thousands of independent runs with exact numbers
(:func:`chain.assert_means`: error rates below 1e-6).
"""

import numpy as np
import pytest
from chain import (
    LAW,
    POLICY,
    assert_means,
    chain,
    decision_problem,
    law_after,
    next_law,
    objective,
    stationary_law,
    values,
)
from numpy.testing import assert_allclose, assert_array_equal
from small_games import auction
from tabulated import CORRIDOR, RING

from baselines.stationary.simulation import Simulator
from mfenvs import make

N_RUNS = 4000


def tables(policy: np.ndarray, n_runs: int = N_RUNS) -> np.ndarray:
    return np.tile(policy.astype(np.float32), (n_runs, 1, 1))


def laws(n_runs: int = N_RUNS) -> np.ndarray:
    return np.tile(LAW, (n_runs, 1))


def test_a_minibatch_is_an_unbiased_estimate_of_the_next_mean_field() -> None:
    before = laws()
    found = Simulator(chain(), N_RUNS, 1).mean_fields(tables(POLICY), before, np.ones(1), 3, 0, 0).laws
    p = next_law(chain(), LAW, POLICY)
    assert_means(found, p)
    # Of three independent samples: the variance of the share in a state is p (1 - p) / 3.
    assert_means((found - p) ** 2, p * (1 - p) / 3)
    assert_allclose(found * 3, np.rint(found * 3), atol=1e-12)
    assert_array_equal(before, laws())


@pytest.mark.parametrize("rates", [[0.5, 1.0, 0.25, 0.625, 0.125], [0.5, 0.25, 0.25, 0.75, 0.125, 0.5]])
@pytest.mark.parametrize("moves", [CORRIDOR, RING], ids=["corridor", "ring"])
def test_the_mean_field_after_several_steps(moves, rates) -> None:
    """Where the dynamics do not depend on the population, the expected mean field follows the same recursion.

    On the ring each step turns the mean field round: minibatches of different ages have very different laws.
    """
    game, steps = chain(pull=0.0, moves=moves), np.array(rates)
    policy = np.array([[0.875, 0.125]] * 3)
    found = Simulator(game, N_RUNS, 2).mean_fields(tables(policy), laws(), steps, 2, 0, 0).laws
    assert_means(found, law_after(game, LAW, policy, steps))
    assert_allclose(found.sum(axis=1), 1.0, atol=1e-14)


def test_a_sample_is_any_member_of_a_minibatch() -> None:
    """Where all move one place on, two whole steps draw three of three states, each time with replacement."""
    game, still = chain(pull=0.0, moves=RING), np.array([[1.0, 0.0]] * 3)
    found = Simulator(game, N_RUNS, 4).mean_fields(tables(still), laws(), np.ones(2), 3, 0, 0).laws
    p = np.roll(LAW, 2)
    assert_means(found, p)
    assert_means((found - p) ** 2, p * (1 - p) * (1 - (2 / 3) ** 2))


def test_thousands_of_steps_end_near_the_stationary_law() -> None:
    rates = (1.0 + np.arange(5000)) ** -0.75
    found = Simulator(chain(), 4, 3).mean_fields(tables(POLICY, 4), laws(4), rates, 4, 0, 0).laws
    assert_allclose(found, np.tile(stationary_law(chain(), POLICY), (4, 1)), atol=0.04)
    assert np.abs(found - LAW).max() > 0.2


@pytest.mark.parametrize("rates", [np.zeros(1), np.array([0.5, 0.25, 1.0, 0.125])], ids=["still", "moving"])
def test_what_the_rules_read_belongs_to_the_mean_field(rates) -> None:
    rng = np.random.default_rng(4)
    for game, counted in (
        (chain(), lambda mu: mu.ravel()),
        (auction(discount=0.8, heterogeneity=0.5), lambda mu: mu.sum(axis=0)),
        (make("Malware-v0"), lambda mu: [mu.sum(axis=1) @ np.linspace(0, 1, 101)]),
    ):
        policies = rng.dirichlet(np.ones(game.n_actions), (2, game.n_states)).astype(np.float32)
        first = rng.dirichlet(np.ones(game.n_states), 2)
        found = Simulator(game, 2, 5).mean_fields(policies, first, rates, 3, 7, 1)
        for law, policy, counts in zip(found.laws, policies, found.counts, strict=True):
            assert_allclose(counts, counted(law[:, None] * policy.astype(float)), atol=2e-7)
        if not rates.any():
            assert_allclose(found.laws, first, atol=1e-15)
        if game.n_signals == 1:
            assert_array_equal(found.signals, found.counts)


def test_returns_and_weights_of_an_agent_in_a_population_that_stays() -> None:
    """The agent's policy is another than the population's. After 60 steps less than 1e-7 of the return is left."""
    game, other = chain(crowding=4.0), np.array([[1.0, 0.0], [0.75, 0.25], [0.875, 0.125]])
    simulator = Simulator(game, N_RUNS, 6)
    population = simulator.mean_fields(tables(POLICY), laws(), np.zeros(1), 1, 0, 0)
    found = simulator.returns(tables(other), population, 2, 60, 0, 1)
    assert_means(found, objective(game, other, LAW, POLICY))
    assert abs(objective(game, other, LAW, POLICY) - objective(game, other, LAW, other)) > 0.5
    weights, same = simulator.weights(tables(other), population, 2, 60, 0, 1)
    assert_allclose(same, found, rtol=1e-12)
    # The expected weight of (s, a) is the discounted number of visits times Q(s, a).
    p, r = decision_problem(game, LAW, POLICY)
    q = r + game.discount * p @ values(game, other, LAW, POLICY)
    moves = np.einsum("sa,sat->st", other, p)
    visits = np.linalg.solve(np.eye(3) - game.discount * moves.T, np.array(game.first))
    assert_means(weights, visits[:, None] * other * q)
    # With a baseline, it is that times the advantage, up to what does not depend on the action.
    weights, same = simulator.weights(tables(other), population, 2, 60, 0, 1, has_baseline=True)
    assert_allclose(same, found, rtol=1e-12)
    relative = weights - other * weights.sum(axis=2, keepdims=True)
    expected = visits[:, None] * other * (q - (other * q).sum(axis=1, keepdims=True))
    assert_means(relative, expected)
    assert np.abs(expected).max() > 0.1


def test_random_numbers_are_those_of_the_run_the_iteration_and_the_stage() -> None:
    many, few, another = (Simulator(chain(), n_runs, seed) for n_runs, seed in ((7, 8), (2, 8), (7, 9)))

    def play(simulator: Simulator, iteration: int, stage: int) -> np.ndarray:
        n = simulator.n_runs
        population = simulator.mean_fields(tables(POLICY, n), laws(n), np.full(4, 0.5), 3, iteration, stage)
        returns = simulator.returns(tables(POLICY, n), population, 2, 9, iteration, stage)
        return np.column_stack([population.laws, returns, simulator.uniform(2, iteration, stage)])

    assert_array_equal(play(few, 3, 1), play(many, 3, 1)[:2])
    found = np.concatenate([play(many, 3, 1), play(many, 4, 1), play(many, 3, 2), play(another, 3, 1)])
    assert all(len(np.unique(column)) == 28 for column in found.T[3:])
