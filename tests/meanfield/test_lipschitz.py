"""Lipschitz constants against hand-worked numbers, and against brute force over pairs of populations."""

import itertools

import ferry
import numpy as np
import pytest
from numpy.testing import assert_allclose
from random_game import RandomGame
from rising import Rising
from tabulated import CORRIDOR, Tabulated

from mfenvs import InducedGame, make
from mfenvs.meanfield.lipschitz import lipschitz_constants
from mfenvs.meanfield.probing import random_populations


def values(constants):
    names = ("k_mu", "l_mu", "k_s", "k_a", "l_s", "l_a", "reward_span", "l_pop")
    return {name: getattr(constants, name).value for name in names}


def all_exact(constants):
    names = ("k_mu", "l_mu", "k_s", "k_a", "l_s", "l_a", "reward_span", "l_pop")
    return all(getattr(constants, name).is_exact for name in names)


def test_the_epidemic_by_hand():
    """P(I | H, U) = .9 sigma(I, U): moving mass m into (I, U) costs 2 m and changes that row by 2 * .9 m."""
    found = lipschitz_constants(InducedGame(make("Epidemic-v0", heterogeneity=0)))
    expected = {
        "k_mu": 0.9,
        "l_mu": 0,
        "k_s": 1.4,
        "k_a": 1.8,
        "l_s": 1,
        "l_a": 0.5,
        "reward_span": 1.5,
        "l_pop": 1.6,
    }
    # L_pop: all at (I, U), who stay with .7, against mass at (H, U), who catch it with .9: the share of the
    # infected has the slope |.7 - .9 s| + .9 u <= .7 + .9 in the mass moved, which costs twice as much.
    assert values(found) == pytest.approx(expected, abs=1e-6)
    assert all_exact(found)
    assert (found.transitions, found.rewards) == ("affine", "none")
    assert found.regime == "expansive"
    assert found.lemma_9.value == pytest.approx(2.5, abs=1e-6)
    assert found.lemma_9.is_exact


def test_rock_paper_scissors_by_hand():
    """Scissors: 3 for a paper, -6 - 3 for a rock that plays scissors: half of 12. At one population, 3 to -8."""
    found = lipschitz_constants(InducedGame(make("RockPaperScissors-v0", heterogeneity=0)))
    expected = {"k_mu": 0, "l_mu": 6, "k_s": 0, "k_a": 2, "l_s": 8, "l_a": 3, "reward_span": 11, "l_pop": 1}
    assert values(found) == pytest.approx(expected, abs=1e-5)
    assert all_exact(found)
    assert found.regime == "non-expansive"


def test_a_game_that_forgets_is_contractive():
    """All go home from everywhere, but for their pull by busy others: half of 2 * .5 in l1."""
    induced = InducedGame(Tabulated(moves=(((0.0, 0.0, 1.0),) * 2,) * 3, pull=0.5, crowding=0.4))
    found = lipschitz_constants(induced)
    assert found.k_mu.value == found.l_pop.value == pytest.approx(0.5)
    assert found.l_mu.value == pytest.approx(0.2)
    assert found.k_s.value == found.k_a.value == 0
    assert found.regime == "contractive"


def brute_force(induced, seed):
    """The largest quotients of K_mu, L_mu and L_pop,mu among random pairs and small moves near the corners."""
    rng = np.random.default_rng(seed)
    shape = induced.n_states, induced.n_actions
    n, best = shape[0] * shape[1], np.zeros(3)
    pairs = [random_populations(rng, induced, 2) for _ in range(100)]
    for x, y, z in itertools.product(range(n), repeat=3):
        mu = np.zeros((2, n))
        mu[:, z] = 1 - 1e-5
        mu[0, x] += 1e-5
        mu[1, y] += 1e-5
        pairs.append(mu.reshape(2, *shape))
    for one, other in pairs:
        distance = np.abs(one - other).sum()
        if distance < 1e-9:
            continue
        (p, r), (q, t) = induced.arrays(one), induced.arrays(other)
        after = np.einsum("sa,sat->t", one, p) - np.einsum("sa,sat->t", other, q)
        quotients = np.abs(p - q).sum(axis=-1).max(), np.abs(r - t).max(), np.abs(after).sum()
        best = np.maximum(best, np.array(quotients) / distance)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_affine_rules_attain_their_constants_and_no_pair_exceeds_them(seed):
    games = [
        RandomGame(tables=seed, n_agents=4, pull=0.2 + 0.2 * seed),
        Tabulated(moves=CORRIDOR, pull=0.3 * seed, crowding=1.0),
    ]
    for induced in map(InducedGame, games):
        found = lipschitz_constants(induced)
        assert all_exact(found)
        exact = np.array([found.k_mu.value, found.l_mu.value, found.l_pop.value])
        best = brute_force(induced, seed)
        assert (best <= exact * (1 + 1e-6) + 1e-9).all()
        assert_allclose(best, exact, rtol=1e-3, atol=1e-9)
        assert found.l_pop.value <= found.lemma_9.value + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_differences_between_states_and_actions_are_the_largest_over_populations(seed):
    induced = InducedGame(RandomGame(tables=seed, n_agents=3))
    found = lipschitz_constants(induced)
    best = np.zeros(5)
    for mu in [*random_populations(np.random.default_rng(seed), induced, 100), *np.eye(4).reshape(4, 2, 2)]:
        p, r = induced.arrays(mu)
        here = (
            np.abs(p[0] - p[1]).sum(axis=-1).max(),
            np.abs(p[:, 0] - p[:, 1]).sum(axis=-1).max(),
            np.abs(r[0] - r[1]).max(),
            np.abs(r[:, 0] - r[:, 1]).max(),
            np.ptp(r),
        )
        best = np.maximum(best, here)
    parts = found.k_s, found.k_a, found.l_s, found.l_a, found.reward_span
    assert_allclose([part.value for part in parts], best, atol=1e-12)


@pytest.mark.parametrize("n_agents", [5, 200])
def test_rules_that_are_not_affine_are_estimated_from_below(n_agents):
    """A cost .8 u^2 has the slope 1.6 at u = 1, and moving mass costs twice as much: .8, whatever N."""
    constants = {"heterogeneity": 0, "exponent": 2.0, "n_sites": 3, "n_routes": 2}
    found = lipschitz_constants(InducedGame(make("Congestion-v0", n_agents=n_agents, **constants)))
    assert not found.l_mu.is_exact
    assert 0.79 < found.l_mu.value <= 0.8 + 1e-6
    assert str(found.l_mu).startswith(">= 0.79") or str(found.l_mu).startswith(">= 0.8")
    assert (found.transitions, found.rewards) == ("none", "other")
    assert found.k_mu.value == 0
    assert found.k_mu.is_exact
    # On three sites any two routes have a site in common, which one of them reaches by a slip of .1.
    assert found.l_pop.value == pytest.approx(0.9)
    assert found.l_pop.is_exact
    assert found.regime == "contractive"


def test_the_largest_over_time_steps():
    """The ferry's rewards read the time, which all of its pairs (s, a) gain alike."""
    games = ferry.Ferry(n_agents=5, horizon=1), ferry.Ferry(n_agents=5, horizon=3)
    one, three = (values(lipschitz_constants(InducedGame(game))) for game in games)
    assert one == pytest.approx(three, rel=0.05)
    assert one["l_mu"] > 0.5


@pytest.mark.parametrize(("horizon", "largest"), [(1, 0.5), (2, 0.5), (3, 0.5), (5, 1.5)])
def test_the_largest_slope_of_all_steps(horizon, largest):
    """Half of |h - 1|, the largest over h < H."""
    found = lipschitz_constants(InducedGame(Rising(horizon=horizon)))
    assert found.l_mu.value == pytest.approx(largest)
    assert found.l_mu.is_exact
    assert found.rewards == "affine"


def test_the_summary_says_what_is_exact():
    summary = lipschitz_constants(InducedGame(make("Epidemic-v0", heterogeneity=0))).summary()
    assert summary["k_mu"] == {"value": pytest.approx(0.9), "is_exact": True}
    assert summary["regime"] == "expansive"
    assert summary["transitions_depend_on_population"] == "affine"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"induced": "Epidemic-v0"}, TypeError, "induced must be an InducedGame, got 'Epidemic-v0'"),
        ({"n_populations": 3}, ValueError, r"n_populations must be an integer in \[4, 100000\], got 3"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        lipschitz_constants(**({"induced": InducedGame(make("Epidemic-v0"))} | arguments))
