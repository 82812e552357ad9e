"""C_1, C_2 and kappa against hand-worked numbers and brute force over single moves of single agents."""

import itertools

import ferry
import numpy as np
import pytest
import random_game
from random_game import RandomGame

from mfenvs import InducedGame, make
from mfenvs.meanfield.dominance import dominance
from mfenvs.meanfield.lipschitz import lipschitz_constants


def test_the_epidemic_by_hand():
    """One of 10 others catches or does not matter: 2 * .9 / 10. Only (I, U) matters."""
    found = dominance(make("Epidemic-v0", n_agents=11, heterogeneity=0))
    assert found.c_1.value == pytest.approx(0.18)
    assert found.c_2.value == 0
    assert found.sparsity.value == 1
    assert found.c_1.is_exact
    assert found.c_2.is_exact
    assert found.sparsity.is_exact
    rows, rewards = found.moduli
    assert rows.value == pytest.approx(0.18 * 11)
    assert rewards.value == 0


def test_rock_paper_scissors_by_hand():
    """In scissors, playing rock: 3 for a paper that does not, -6 - 3 for a rock that does: a change of 12 / 4.

    Two of the nine cells do not matter: those in the own state, where play differs.
    """
    found = dominance(make("RockPaperScissors-v0", n_agents=5, heterogeneity=0))
    assert found.c_2.value == pytest.approx(3.0)
    assert found.c_1.value == 0
    assert found.sparsity.value == 7
    assert found.summary()["lemma_2_rewards_l2"]["value"] == pytest.approx(15 * np.sqrt(7))


@pytest.mark.parametrize("n_agents", [4, 40])
def test_a_congestion_game_is_1_sparse_and_nobody_dominates(n_agents):
    """The steepest cost: .8 (1 - (1 - 1 / (N - 1))^2), the last agent that joins all others."""
    game = make("Congestion-v0", n_agents=n_agents, n_sites=3, n_routes=2, heterogeneity=0, exponent=2.0)
    found = dominance(game)
    assert found.sparsity.value == 1
    assert not found.c_2.is_exact
    assert found.c_2.value == pytest.approx(0.8 * (1 - (1 - 1 / (n_agents - 1)) ** 2), rel=1e-6)
    assert 0.8 < found.moduli[1].value <= 0.8 * 2 * n_agents / (n_agents - 1)


@pytest.mark.parametrize("seed", range(4))
def test_affine_games_by_trying_every_move_of_every_agent(seed):
    game = RandomGame(n_agents=3, tables=seed, pull=0.4, interest=0.7)
    best = np.zeros(2)
    for i, cells in itertools.product(range(3), itertools.product(range(4), repeat=2)):
        for x in range(4):
            before, after = (np.bincount(c, minlength=4).reshape(2, 2) / 2 for c in (cells, (x, cells[1])))
            (p, r), (q, t) = random_game.arrays(game, i, before), random_game.arrays(game, i, after)
            best = np.maximum(best, [np.abs(p - q).sum(axis=-1).max(), np.abs(r - t).max()])
    found = dominance(game)
    assert (found.c_1.value, found.c_2.value) == pytest.approx(tuple(best), abs=1e-6)
    assert found.c_1.is_exact
    assert found.sparsity.value == 3  # Three shares tell the fourth.


@pytest.mark.parametrize(
    "game",
    [
        make("Epidemic-v0", n_agents=20),
        make("RockPaperScissors-v0", n_agents=30),
        make("Congestion-v0", n_agents=20, n_sites=3, n_routes=2),
        RandomGame(n_agents=5),
    ],
    ids=lambda game: type(game).__name__,
)
def test_lemma_2_bounds_the_induced_moduli(game):
    """The l2 modulus is at least that for moves of mass: |e_x - e_y|_2 = sqrt(2), and l1 <= sqrt(S) l2.

    With the l1 modulus K, some move changes a row by 2 K t in l1, so by 2 K t / sqrt(S) at least in l2.
    """
    found, constants = dominance(game), lipschitz_constants(InducedGame(game))
    rows, rewards = found.moduli
    assert rows.value >= 2 * constants.k_mu.value / np.sqrt(2 * game.n_states) - 1e-9
    assert rewards.value >= 2 * constants.l_mu.value / np.sqrt(2) - 1e-9


def test_agents_that_are_counted_by_who_they_are():
    with pytest.raises(TypeError, match="counts agents by who they are"):
        dominance(ferry.Ferry(n_agents=4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"game": 3}, TypeError, "game must be a FiniteGame, got int"),
        ({"n_points": 1}, ValueError, "n_points must be an integer >= 2, got 1"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        dominance(**({"game": make("Epidemic-v0", n_agents=5)} | arguments))
