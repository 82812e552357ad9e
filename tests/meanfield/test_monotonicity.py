"""Monotonicity and potentials against hand-worked eigenvalues, known facts, and pairs of populations."""

import dataclasses

import ferry
import numpy as np
import pytest
from numpy.testing import assert_allclose
from random_game import RandomGame
from rising import Rising
from tabulated import CORRIDOR, HOME, Tabulated

from mfenvs import InducedGame, make
from mfenvs.meanfield.monotonicity import _Search, monotonicity
from mfenvs.meanfield.probing import random_populations

R, P, S = 0, 1, 2


def rps(**constants):
    return InducedGame(make("RockPaperScissors-v0", n_agents=10, heterogeneity=0, **constants))


def threshold(orientation):
    """The largest eigenvalue of the symmetrised duel on vectors of sum 0, from the printed coefficients."""
    losses, wins = ((2, 4, 6), (1, 2, 3)) if orientation == "paper" else ((1, 2, 3), (2, 4, 6))
    duel = np.zeros((3, 3))
    for state, beaten_by, beats in ((R, P, S), (P, S, R), (S, R, P)):
        duel[state, beaten_by], duel[state, beats] = -losses[state], wins[state]
    basis = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    return np.linalg.eigvalsh(basis @ (duel + duel.T) @ basis.T / 2).max()


@pytest.mark.parametrize(("orientation", "expected"), [("paper", 2.53), ("cui-koeppl", 0.53)])
def test_rock_paper_scissors_is_monotone_along_flows_from_a_crowding_on(orientation, expected):
    """Monotone along flows iff c > 2.53 (paper) or 0.53 (Cui & Koeppl); over free populations for no c."""
    c = threshold(orientation)
    assert c == pytest.approx(expected, abs=0.005)
    for crowding in (0.0, c - 0.01, c + 0.01, 3.0, 50.0):
        induced = rps(crowding=crowding, orientation=orientation)
        flows, free = monotonicity(induced, along_flows=True), monotonicity(induced)
        assert flows.method == free.method == "certificate"
        assert not flows.transitions_depend
        assert flows.is_monotone == (crowding > c)
        assert free.is_monotone is False
        for found in (free, flows):
            if found.is_monotone is False:
                check_counter_example(induced, found)
        assert flows.is_strict is False  # Two flows with the same marginals earn the same.
        assert flows.is_potential is False
        if crowding < c:
            assert str(flows).startswith("not monotone along flows: a pairing of")
        else:
            assert str(flows).startswith("monotone along flows (largest eigenvalue")


def check_counter_example(induced, found):
    """The populations are what they should be, and their pairing is positive."""
    example = found.counter_example
    pairing = 0.0
    if found.along_flows:
        for mu in (example.one, example.other):
            policy = mu / np.maximum(mu.sum(axis=2, keepdims=True), 1e-300)
            assert_allclose(induced.flow(policy).mu, mu, atol=1e-6)
        earned = [
            np.stack([induced.arrays(law, h)[1] for h, law in enumerate(mu)]) for mu in example_pair(example)
        ]
    else:
        for mu in example_pair(example):
            assert mu.min() >= 0
            assert mu.sum() == pytest.approx(1)
        earned = [induced.arrays(mu, example.time)[1] for mu in example_pair(example)]
    pairing = ((example.one - example.other) * (earned[0] - earned[1])).sum()
    assert pairing > 0
    assert pairing == pytest.approx(example.pairing, rel=1e-6)


def example_pair(example):
    return example.one, example.other


def test_the_epidemic_is_not_monotone_as_its_transitions_depend_on_the_population():
    """Its rewards do not: no pairing is positive or negative, and a constant reward has a potential."""
    induced = InducedGame(make("Epidemic-v0", n_agents=50))
    for along_flows in (False, True):
        found = monotonicity(induced, along_flows=along_flows)
        assert found.transitions_depend
        assert found.is_monotone is False
        assert found.is_strict is False
        assert found.counter_example is None
        assert abs(found.largest_eigenvalue) < 1e-12
        assert "the transitions depend on the population (whatever its rewards" in str(found)
    assert monotonicity(induced).is_potential


def test_a_congestion_game_of_linear_costs_is_strictly_monotone_and_has_a_potential():
    """R(s, a) = -w mu(s, a) + const: the derivative is -w on the diagonal."""
    game = make("Congestion-v0", n_agents=8, n_sites=3, n_routes=2, exponent=1.0, exponent_width=0, horizon=4)
    cost = float(game.agents["cost"].mean())
    for along_flows in (False, True):
        found = monotonicity(InducedGame(game), along_flows=along_flows)
        assert found.method == "certificate"
        assert found.largest_eigenvalue == pytest.approx(-cost)
        assert found.is_monotone is True
        assert found.is_strict is True
        assert found.is_potential is True
        assert found.asymmetry < 1e-12
        assert str(found).startswith("strictly monotone")


def test_curved_costs_are_no_counter_example_but_not_certain():
    induced = InducedGame(make("Congestion-v0", n_agents=8, n_sites=3, n_routes=2, horizon=3))
    for along_flows in (False, True):
        found = monotonicity(induced, along_flows=along_flows)
        assert found.method == "sampled derivatives"
        assert found.largest_eigenvalue < 0
        assert found.is_monotone is None
        assert found.is_strict is None
        assert found.is_potential is True
        assert str(found).startswith("no counter-example")
        assert found.summary()["verdict"] == str(found)


def test_curved_rewards_that_attract_are_found_out():
    """Auctions: who bids low wins at a low price where others bid low."""
    found = monotonicity(InducedGame(make("Auction-v0", n_budgets=3, n_bids=3, n_bidders=3, n_agents=6)))
    assert found.method == "sampled derivatives"
    assert found.is_potential is False
    if found.counter_example is not None:
        check_counter_example(
            InducedGame(make("Auction-v0", n_budgets=3, n_bids=3, n_bidders=3, n_agents=6)), found
        )


@pytest.mark.parametrize("seed", range(6))
def test_eigenvalues_are_the_largest_quotients_of_pairs(seed):
    """No pair exceeds the certificate, and random directions in three dimensions come close to it."""
    induced = InducedGame(RandomGame(tables=seed, pull=0.0, interest=1.0))
    found = monotonicity(induced)
    assert found.method == "certificate"
    rng, best = np.random.default_rng(seed), -np.inf
    centre, points = np.full((2, 2), 0.25), rng.normal(size=(4000, 2, 2))
    for direction in points - points.mean(axis=(1, 2), keepdims=True):
        one = centre + 0.2 * direction / np.abs(direction).max()
        d = one - centre
        r, t = induced.arrays(one)[1], induced.arrays(centre)[1]
        best = max(best, (d * (r - t)).sum() / np.square(d).sum())
    assert best <= found.largest_eigenvalue + 1e-9
    assert best == pytest.approx(found.largest_eigenvalue, abs=0.02)
    if found.is_monotone is False:
        check_counter_example(induced, found)


@pytest.mark.filterwarnings("ignore:the population does not settle")
@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_no_pair_of_flows_exceeds_the_certificate_along_flows(seed, infinite):
    constants = {"discount": 0.9} if infinite else {}
    induced = InducedGame(RandomGame(tables=seed, pull=0.0, interest=1.0, horizon=3, **constants))
    found, free = monotonicity(induced, along_flows=True), monotonicity(induced)
    assert found.largest_eigenvalue <= free.largest_eigenvalue + 1e-9
    rng, best = np.random.default_rng(seed), -np.inf
    for _ in range(100 if infinite else 1000):
        concentration = rng.choice([0.2, 1.0])
        one, other = (
            induced.flow(rng.dirichlet(np.full(2, concentration), induced.policy_shape[:2])) for _ in range(2)
        )
        d = one.mu - other.mu
        best = max(best, (d * (one.rewards - other.rewards)).sum() / np.square(d).sum())
    assert best <= found.largest_eigenvalue + 1e-4  # Stationary laws are found to 1e-8.
    assert best == pytest.approx(found.largest_eigenvalue, abs=0.2)
    if found.is_monotone is False:
        check_counter_example(induced, found)


def test_flows_do_not_reach_every_state():
    """All are at home after the first step, where only the actions differ: -crowding / 2 of one direction."""
    induced = InducedGame(Tabulated(moves=HOME, crowding=1.0, first=(1.0, 0.0, 0.0)))
    found = monotonicity(induced, along_flows=True)
    # d = (1, -1) / sqrt(2) at home: <d, -(1, -1) / sqrt(2)> = -1.
    assert found.largest_eigenvalue == pytest.approx(-1.0)
    assert found.is_strict is True
    free = monotonicity(induced)
    assert free.is_monotone is True
    assert free.is_strict is False  # Who is where does not matter.


def test_a_potential_is_symmetry_of_the_derivative():
    """R(s, a) = -crowding mu(., a) is symmetric; adding a duel that rewards only one side is not."""
    assert monotonicity(InducedGame(Tabulated(moves=CORRIDOR, crowding=1.0))).is_potential is True
    found = monotonicity(InducedGame(RandomGame(tables=1, pull=0.0, interest=1.0)))
    derivative = np.zeros((4, 4))
    induced = InducedGame(RandomGame(tables=1, pull=0.0, interest=1.0))
    for x in range(4):
        derivative[:, x] = induced.arrays(np.eye(4)[x].reshape(2, 2))[1].ravel()
    centred = np.eye(4) - 0.25
    form = centred @ derivative @ centred
    assert found.is_potential is False
    assert found.asymmetry == pytest.approx(0.5 * np.linalg.norm(form - form.T) / np.linalg.norm(form))


def test_large_domains_are_tried_by_pairs(monkeypatch):
    monkeypatch.setattr("mfenvs.meanfield.monotonicity.MOST_DIMENSIONS", 3)
    attracting = InducedGame(RandomGame(tables=2, pull=0.0, interest=1.0))
    exact = max(monotonicity(attracting).largest_eigenvalue, 0)
    for along_flows in (False, True):
        found = monotonicity(attracting, along_flows=along_flows)
        assert found.method == "sampled pairs"
        assert found.is_potential is None
        assert found.largest_eigenvalue <= exact + 5
        if found.counter_example is not None:
            check_counter_example(attracting, found)
    repelling = monotonicity(rps(crowding=50.0), along_flows=True)
    assert repelling.is_monotone is None
    assert repelling.largest_eigenvalue < 0
    clashing = monotonicity(rps(crowding=0.0))
    assert clashing.is_monotone is False
    check_counter_example(rps(crowding=0.0), clashing)


def test_the_step_with_a_positive_pairing_is_named():
    """The eigenvalue at step h is h - 1: at the last one of three it is 1."""
    two, three = (InducedGame(Rising(horizon=horizon)) for horizon in (2, 3))
    for along_flows in (False, True):
        assert monotonicity(two, along_flows=along_flows).largest_eigenvalue == pytest.approx(0)
        found = monotonicity(three, along_flows=along_flows)
        assert found.largest_eigenvalue == pytest.approx(1)
        check_counter_example(three, found)
    assert monotonicity(three).counter_example.time == 2
    assert monotonicity(two).is_monotone is True
    assert monotonicity(two).is_potential is True


def test_only_a_positive_pairing_is_a_counter_example():
    search = _Search(InducedGame(Rising(horizon=1)), False, np.random.default_rng(0))
    one, other = np.array([[[[0.9, 0.1]]], [[[0.2, 0.8]]]])
    assert search._paired(one, other, range(1)) is None


def test_rules_that_read_the_time_are_looked_at_in_every_step():
    found = monotonicity(InducedGame(ferry.Ferry(n_agents=5)))
    assert found.transitions_depend
    assert found.method in ("certificate", "sampled derivatives")
    populations = random_populations(np.random.default_rng(0), InducedGame(ferry.Ferry(n_agents=5)), 4)
    assert_allclose(populations.sum(axis=(1, 2)), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"induced": 3}, TypeError, "induced must be an InducedGame, got 3"),
        ({"along_flows": "yes"}, TypeError, "along_flows must be True or False, got 'yes'"),
        ({"n_populations": 0}, ValueError, "n_populations must be an integer >= 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        monotonicity(**({"induced": rps()} | arguments))


def test_results_are_data():
    assert dataclasses.is_dataclass(monotonicity(rps()))
    assert monotonicity(rps()).summary()["positive_pairing"] > 0
