"""The congestion game against hand-worked numbers, its formula, and the known facts of such games."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from mfenvs import Engine, InducedGame, congestion_v0, make
from mfenvs.games.congestion import Congestion
from mfenvs.meanfield.symmetry import approximate_symmetry

ALIKE = {"heterogeneity": 0, "n_sites": 3, "n_routes": 2, "horizon": 4}


def step(game, profiles, seed=0):
    """Rewards and next states of given profiles, (n_worlds, n_agents, 2), through the engine."""
    states, actions = np.moveaxis(np.array(profiles), -1, 0)
    engine = Engine(game, len(states))
    engine.reset(seed=seed)[...] = states
    return engine.step(actions), engine.states


def row(game, agent, site, route):
    """P(. | s, a) from the description: even routes lead on, odd routes back, and with the slip one stays."""
    law = np.zeros(game.n_sites)
    law[(site + (1 if route % 2 == 0 else -1)) % game.n_sites] += 1 - float(agent["slip"])
    law[site] += float(agent["slip"])
    return law


def earned(agent, site, route, share):
    return float(agent["preference"][site, route]) - float(agent["cost"]) * share ** float(agent["exponent"])


def test_three_agents_by_hand():
    """Alone on its route: the preference .1. With one of two others, at an exponent of 1.5: .1 - .8 / 2^1.5."""
    game = Congestion(n_agents=3, **ALIKE)
    rewards, _ = step(game, [[(0, 0), (0, 0), (0, 1)], [(0, 0), (1, 0), (2, 0)], [(1, 1), (1, 1), (1, 1)]])
    shared = 0.1 - 0.8 / 2**1.5
    assert_allclose(rewards, [[shared, shared, 0.1], [0.1, 0.1, 0.1], [-0.7, -0.7, -0.7]], atol=1e-6)


def test_two_agents_by_hand():
    """The population is the other one alone: nobody, or everybody."""
    game = Congestion(n_agents=2, **ALIKE)
    rewards, _ = step(game, [[(0, 0), (0, 0)], [(0, 0), (0, 1)], [(0, 0), (1, 0)]])
    assert_allclose(rewards, [[-0.7, -0.7], [0.1, 0.1], [0.1, 0.1]], atol=1e-6)


def test_routes_lead_around_the_ring():
    game = Congestion(n_agents=2, slip=0.0, **ALIKE)
    for site, route, reached in ((0, 0, 1), (1, 0, 2), (2, 0, 0), (0, 1, 2), (1, 1, 0), (2, 1, 1)):
        _, following = step(game, [[(site, route)] * 2])
        assert following.tolist() == [[reached, reached]]
    _, stays = step(Congestion(n_agents=2, slip=1.0, **ALIKE), [[(2, 0), (1, 1)]])
    assert stays.tolist() == [[2, 1]]


def test_slips_are_as_frequent_as_each_agent_is_prone_to_them():
    """Pearson's z of every agent, 8 tests at 1e-8 each, seed fixed."""
    game = Congestion(n_agents=8, slip=0.3, slip_width=0.25, n_sites=4, horizon=2)
    profiles = np.zeros((4000, 8, 2), int)
    _, following = step(game, profiles, seed=3)
    p = game.agents["slip"].astype(float)
    assert np.ptp(p) > 0.2
    z = ((following == 0).mean(axis=0) - p) / np.sqrt(p * (1 - p) / 4000)
    assert np.abs(z).max() < stats.norm.isf(0.5e-8)


@given(st.integers(0, 10**6))
def test_every_profile_of_four_different_agents_agrees_with_the_formula(seed):
    rng = np.random.default_rng(seed)
    game = Congestion(n_agents=4, n_sites=3, n_routes=2, slip_width=0.1, agents_seed=seed)
    profile = np.stack([rng.integers(0, 3, 4), rng.integers(0, 2, 4)], axis=1)
    rewards, _ = step(game, [profile])
    for i, agent in enumerate(game.agents):
        same = sum(tuple(profile[j]) == tuple(profile[i]) for j in range(4) if j != i)
        assert rewards[0, i] == pytest.approx(earned(agent, *profile[i], same / 3), abs=1e-6)


def test_the_induced_game_is_the_mean_over_agents():
    game = Congestion(n_agents=7, n_sites=3, n_routes=4, slip_width=0.1)
    mu = np.random.default_rng(0).dirichlet(np.ones(12)).reshape(3, 4)
    p, r = InducedGame(game).arrays(mu)
    for s, a in np.ndindex(3, 4):
        assert_allclose(p[s, a], np.mean([row(game, x, s, a) for x in game.agents], axis=0), atol=1e-12)
        assert r[s, a] == pytest.approx(np.mean([earned(x, s, a, mu[s, a]) for x in game.agents]), abs=1e-12)


# Known facts (Yardim & He, Example 1 and appendix D.1).


@functools.cache
def induced_game():
    return InducedGame(Congestion(n_agents=30, n_sites=3, n_routes=2))


@given(st.integers(0, 10**6))
def test_it_is_monotone_extendable(seed):
    """sum (R(mu) - R(mu')) (mu - mu') < 0 for any two populations: Definition 10."""
    rng = np.random.default_rng(seed)
    induced = induced_game()
    size = induced.n_states * induced.n_actions
    one, other = rng.dirichlet(np.full(size, rng.choice([0.05, 1.0])), 2).reshape(
        2, induced.n_states, induced.n_actions
    )
    (p, r), (p_other, r_other) = induced.arrays(one), induced.arrays(other)
    assert np.array_equal(p, p_other)
    assert ((r - r_other) * (one - other)).sum() < 0


def cost_of_count(game, agent, k):
    """h_i(k) of D.1: the (negative) cost where k others take the same route."""
    return -float(agent["cost"]) * (k / (game.n_agents - 1)) ** float(agent["exponent"])


def exact_beta(game):
    """max_{i, s, a, k} |h_i(k) - mean_j h_j(k) + r_i(s, a) - mean_j r_j(s, a)| by explicit loops."""
    h = np.array([[cost_of_count(game, x, k) for k in range(game.n_agents)] for x in game.agents])
    r = game.agents["preference"].astype(float)
    off_h, off_r = h - h.mean(axis=0), r - r.mean(axis=0)
    return max(
        float(np.abs(off_h[i] + off_r[i, s, a]).max())
        for i, s, a in itertools.product(range(game.n_agents), range(game.n_sites), range(game.n_routes))
    )


def test_beta_is_at_most_the_spread_of_costs_and_preferences():
    """beta <= sup |h_i(k) - h_j(k)| + sup |r_i - r_j|, and at rest beta is what deviates from the mean reward."""
    game = Congestion(n_agents=9, n_sites=3, n_routes=2)
    h = np.array([[cost_of_count(game, x, k) for k in range(9)] for x in game.agents])
    r = game.agents["preference"].astype(float)
    beta = exact_beta(game)
    assert 0.1 < beta <= np.ptp(h, axis=0).max() + np.ptp(r, axis=0).max()
    # The deviation that the induced game's rewards show on the lattice of the others.
    induced, worst = InducedGame(game), 0.0
    for k, (s, a) in itertools.product(range(9), np.ndindex(3, 2)):
        mu = np.zeros((3, 2))
        mu[s, a] = k / 8
        mu[(s + 1) % 3, a] = 1 - k / 8
        mean = induced.arrays(mu)[1][s, a]
        worst = max(worst, *(abs(earned(x, s, a, k / 8) - mean) for x in game.agents))
    assert worst == pytest.approx(beta, abs=1e-12)


def test_its_asymmetry_is_what_the_closed_forms_say():
    """Definition 7, all counts enumerated, against beta above and alpha = 2 max_i |slip_i - mean slip|."""
    game = Congestion(n_agents=7, n_sites=2, n_routes=2, slip=0.3, slip_width=0.2)
    found = approximate_symmetry(game, n_points=200)
    assert found.kind == "exact"
    assert found.beta == pytest.approx(exact_beta(game), abs=1e-12)
    slips = game.agents["slip"].astype(float)
    assert found.alpha == pytest.approx(2 * np.abs(slips - slips.mean()).max(), abs=1e-7)
    assert approximate_symmetry(Congestion(n_agents=50, heterogeneity=0)).beta == 0


def test_linear_interpolation_between_counts_is_the_extension_of_a_linear_cost():
    """At exponent 1 the induced reward is D.1's interpolation of h; above 1 it is so on the lattice of counts."""
    grid = np.arange(5) / 4
    for exponent, everywhere in ((1.0, True), (2.0, False)):
        game = Congestion(n_agents=5, n_sites=1, n_routes=2, exponent=exponent, exponent_width=0)
        induced = InducedGame(game)
        h = np.mean([[cost_of_count(game, x, k) for k in range(5)] for x in game.agents], axis=0)
        r = game.agents["preference"].astype(float).mean(axis=0)[0]
        for u in np.linspace(0, 1, 33):
            found = induced.arrays([[u, 1 - u]])[1][0]
            expected = np.interp([u, 1 - u], grid, h) + r
            assert (np.abs(found - expected).max() < 1e-12) == (everywhere or u in grid)


@pytest.mark.parametrize("n_agents", [10, 1000])
def test_the_lipschitz_constants_do_not_grow_with_the_number_of_agents(n_agents):
    """(N - 1) times what one more agent on a route changes: between .8, the mean cost of all, and max w p."""
    game = Congestion(n_agents=n_agents, n_sites=1, n_routes=2)
    induced = InducedGame(game)
    rewards = np.array([induced.arrays([[u, 1 - u]])[1][0, 0] for u in np.linspace(0, 1, n_agents)])
    steps = -np.diff(rewards) * (n_agents - 1)
    assert steps.min() > 0
    assert 0.8 < steps.max() <= float((game.agents["cost"] * game.agents["exponent"]).max()) < 0.9 * 1.75


def test_agents_differ_by_heterogeneity_and_are_drawn_by_their_seed():
    assert len(np.unique(Congestion(heterogeneity=0).agents.view(np.ndarray))) == 1
    agents = Congestion(heterogeneity=0.5).agents
    assert_allclose(
        [np.ptp(agents[name]) for name in ("slip", "cost", "exponent", "preference")],
        [0, 0.1, 0.25, 0.1],
        rtol=0.01,
        atol=1e-7,
    )
    a, b, c = (Congestion(n_agents=5, agents_seed=seed).agents["preference"] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert (a != c).mean() > 0.99
    assert stats.kstest(agents["preference"].astype(float).ravel() * 10 - 0.5, "uniform").pvalue > 1e-8


def test_it_is_a_module_too():
    assert isinstance(congestion_v0.parallel_env(n_agents=3).game, Congestion)
    assert isinstance(make("Congestion-v0", n_agents=3), Congestion)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"n_sites": 0}, "n_sites must be an integer >= 1, got 0"),
        ({"n_routes": 0}, "n_routes must be an integer >= 1, got 0"),
        ({"n_sites": 2**20, "n_routes": 2**10}, r"n_sites \* n_routes must be at most"),
        ({"slip": 1.1}, r"slip must satisfy slip - 0 >= 0 and slip \+ 0 <= 1, got 1.1"),
        ({"slip_width": 0.2}, r"slip must satisfy slip - 0.2 >= 0"),
        ({"cost": 0.95}, r"cost must satisfy cost - 0.1 >= 0 and cost \+ 0.1 <= 1, got 0.95"),
        ({"exponent": 1.2}, "exponent must satisfy exponent - 0.25 >= 1"),
        ({"preference": math.nan}, "preference must be a finite number"),
        ({"cost_width": -1}, r"cost_width must be a finite number in \[0, inf\), got -1"),
        ({"heterogeneity": -1}, r"heterogeneity must be a finite number in \[0, inf\), got -1"),
        ({"heterogeneity": 5}, "exponent must satisfy|cost must satisfy"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        Congestion(**constants)
