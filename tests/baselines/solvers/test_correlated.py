"""Devices whose gaps are worked by hand or by brute force, and the regret of the minimisers."""

import itertools

import numpy as np
import oracles
import pytest
from numpy.testing import assert_allclose
from tabulated import Tabulated, random_tabulated, tabulated_arrays

from baselines.solvers.correlated import coarse_correlated_gap, correlated_gap, mean_field_psro
from baselines.solvers.fixed_point import OnlineMirrorDescent
from baselines.solvers.regret import MINIMISERS, InternalRegret, stationary_weights
from mfenvs import InducedGame
from mfenvs.meanfield.stopping import Stopped

LEFT, RIGHT = (np.broadcast_to(np.eye(2)[a], (1, 3, 2)).copy() for a in (0, 1))


def roads() -> InducedGame:
    """Two equal roads, each worth less by the share of those on it."""
    return InducedGame(Tabulated(pay=((0.0, 0.0),) * 3, crowding=1.0, horizon=1))


def laws_of(game, policy):
    rho, laws = game.initial_distribution, []
    for law in policy:
        laws.append(rho[:, None] * law)
        rho = np.einsum("sa,sat->t", laws[-1], np.array(game.moves))
    return np.array(laws)


def gaps_by_brute_force(game, device):
    """Gains over all deterministic policies, by the laws and rewards of the description."""
    laws = np.array([laws_of(game, policy.probabilities) for policy in device.policies])
    others = np.array([laws_of(game, p) for p in oracles.deterministic_policies(*game.policy_shape)])
    rewards = [
        np.array([tabulated_arrays(game, mu)[1] for mu in np.tensordot(nu, laws, 1)]) for nu in device.mixtures
    ]
    own = np.array([[(law * r).sum() for law in laws] for r in rewards])
    free = np.array([[(law * r).sum() for law in others] for r in rewards])
    chances = device.weights[:, None] * device.mixtures
    coarse = (device.weights @ free).max() - (chances * own).sum()
    fine = sum((chances[:, i] @ free).max() - chances[:, i] @ own[:, i] for i in range(len(laws)))
    return coarse, fine


@pytest.mark.parametrize(
    ("mixtures", "weights", "coarse", "fine"),
    [
        # All on one road, which is drawn: to know it is worth 1, not to know it 1/2.
        ([[1, 0], [0, 1]], [0.5, 0.5], 0.5, 1.0),
        # Half of all on each road.
        ([[0.5, 0.5]], [1.0], 0.0, 0.0),
        # Three in four on one road: own -5/8, left or right -1/2; told left, the crowd is on the left.
        ([[0.75, 0.25], [0.25, 0.75]], [0.5, 0.5], 0.125, 0.25),
    ],
)
def test_gaps_worked_by_hand(mixtures, weights, coarse, fine) -> None:
    induced = roads()
    assert coarse_correlated_gap(induced, [LEFT, RIGHT], mixtures, weights) == pytest.approx(coarse, abs=1e-12)
    assert correlated_gap(induced, [LEFT, RIGHT], mixtures, weights) == pytest.approx(fine, abs=1e-12)


def test_the_gaps_of_a_nash_equilibrium_are_its_exploitability() -> None:
    solver = OnlineMirrorDescent(random_tabulated(1, discount=1.0, pull=0.0, crowding=1.5), learning_rate=0.5)
    for n, small in ((3, 1.0), (20_000, 1e-8)):
        solver.run(n)
        gap = solver.induced.exploitability(solver.policy)
        assert 0 <= gap < small
        for function in (coarse_correlated_gap, correlated_gap):
            assert function(solver.induced, [solver.policy], [[1.0]], [1.0]) == pytest.approx(gap, abs=1e-10)


@pytest.mark.parametrize("concept", ["coarse-correlated", "correlated"])
@pytest.mark.parametrize(
    ("minimiser", "crowding", "tolerance"),
    [
        ("hedge", 1.5, 0.02),
        ("polynomial-weights", 1.5, 0.02),
        ("regret-matching", 1.5, 1e-3),
        ("hedge", -1.0, 1e-3),
    ],
)
def test_psro_finds_a_device(concept, minimiser, crowding, tolerance) -> None:
    """In crowds that like company there are several equilibria."""
    game = random_tabulated(4, discount=1.0, pull=0.0, crowding=crowding)
    found = mean_field_psro(game, concept=concept, tolerance=tolerance, minimiser=minimiser, rounds=100)
    assert found.stopped is Stopped.TOLERANCE
    assert found.gap <= tolerance
    assert_allclose(found.mixtures.sum(axis=1), 1.0)
    assert found.weights.sum() == pytest.approx(1.0)
    coarse, fine = gaps_by_brute_force(game, found)
    assert (coarse if concept == "coarse-correlated" else fine) == pytest.approx(found.gap, abs=1e-9)
    # Whoever does not gain by knowing the recommendation does not gain without it.
    assert coarse <= fine + 1e-12


def test_psro_stops_for_other_reasons() -> None:
    game = random_tabulated(4, discount=1.0, pull=0.0, crowding=1.5)
    assert mean_field_psro(game, tolerance=0.0, iterations=2, rounds=20).stopped is Stopped.ITERATIONS
    ticks = itertools.count(step=10.0)
    found = mean_field_psro(game, tolerance=0.0, seconds=5.0, rounds=20, clock=lambda: next(ticks))
    assert (found.stopped, found.iterations) == (Stopped.TIME, 1)


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (random_tabulated(4, discount=1.0, pull=0.5), "transitions that do not depend on the population"),
        (random_tabulated(4, discount=0.8), "need a game that ends, got discount 0.8"),
    ],
)
def test_games_that_are_refused(game, message) -> None:
    with pytest.raises(ValueError, match=message):
        mean_field_psro(game, rounds=5)


def test_arguments_that_are_refused() -> None:
    game = random_tabulated(4, discount=1.0, pull=0.0)
    for arguments, message in (
        ({"concept": "nash"}, "concept must be one of 'coarse-correlated', 'correlated', got 'nash'"),
        ({"minimiser": "best"}, "minimiser must be one of 'hedge', 'polynomial-weights', 'regret-matching'"),
        ({"tolerance": -1.0}, "tolerance must be a finite number"),
        ({"rounds": 0}, "rounds must be an integer in"),
    ):
        with pytest.raises(ValueError, match=message):
            mean_field_psro(game, **arguments)
    with pytest.raises(ValueError, match="mixtures must have shape"):
        coarse_correlated_gap(roads(), [LEFT, RIGHT], [[1.0]], [1.0])
    with pytest.raises(TypeError, match="induced must be an InducedGame, got 3"):
        correlated_gap(3, [LEFT], [[1.0]], [1.0])


def adversary(rng, n_rounds, n_choices):
    """Payoffs in [0, 1] whose best choice changes."""
    payoffs = rng.random((n_rounds, n_choices)) * 0.5
    payoffs[: n_rounds // 2, 0] += 0.5
    payoffs[n_rounds // 2 :, 1] += 0.4
    return payoffs


@pytest.mark.parametrize("name", MINIMISERS)
def test_external_regret_is_bounded(name) -> None:
    n_rounds, n = 2000, 5
    payoffs = adversary(np.random.default_rng(0), n_rounds, n)
    learner, paid = MINIMISERS[name](n, n_rounds), 0.0
    for row in payoffs:
        assert learner.weights.sum() == pytest.approx(1.0)
        assert (learner.weights >= 0).all()
        paid += learner.weights @ row
        learner.observe(row)
    # The bounds: 2 sqrt(T log n) of the multiplicative ones, sqrt(T n) of regret matching.
    assert payoffs.sum(axis=0).max() - paid <= max(2 * np.sqrt(n_rounds * np.log(n)), np.sqrt(n_rounds * n))


@pytest.mark.parametrize("name", MINIMISERS)
def test_internal_regret_is_bounded(name) -> None:
    n_rounds, n = 2000, 4
    payoffs = adversary(np.random.default_rng(1), n_rounds, n)
    learner, gains = InternalRegret(n, n_rounds, name), np.zeros((n, n))
    for row in payoffs:
        gains += learner.weights[:, None] * (row[None, :] - row[:, None])
        learner.observe(row)
    assert gains.max(axis=1).sum() <= n * max(2 * np.sqrt(n_rounds * np.log(n)), np.sqrt(n_rounds * n))
    assert gains.max(axis=1).sum() < 0.2 * n_rounds


def test_hedge_is_its_formula() -> None:
    learner = MINIMISERS["hedge"](3, 10)
    learner.observe(np.array([1.0, 0.0, 0.5]))
    weights = np.exp(min(np.sqrt(np.log(3) / 10), 0.5) * np.array([1.0, 0.0, 0.5]))
    assert_allclose(learner.weights, weights / weights.sum())


def test_stationary_weights() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        matrix = rng.dirichlet(np.ones(4), 4)
        assert_allclose(stationary_weights(matrix), oracles.stationary(matrix), atol=1e-12)
