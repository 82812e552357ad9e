"""Solvers and trainers on the mean-field game that a black box of explicit others induces."""

import numpy as np
import pytest

from baselines import SymmPMD
from baselines.solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from mfenvs import InducedGame, n_player_exploitability
from mfenvs.meanfield.black_box import BlackBoxGame
from mfenvs.meanfield.symmetrised_game import SymmetrisedGame

TASTES = 1.1, 0.7, 0.3, -0.5
"""What the first road is worth to each agent; 0.4 on average."""


def two_roads() -> SymmetrisedGame:
    """Four agents choose a road; each is less worth by the share of the others on it.

    In equilibrium x take the first: .4 - x = 0 - (1 - x), so x = .7. For agent 0, agent 3 counts twice and agent 2
    not at all: Sym makes that one each.
    """

    def reward(i, s, action, others):
        weights = np.array([1.0, 0.0, 2.0]) if i == 0 else np.ones(3)
        return (TASTES[i] if action == 0 else 0.0) - (weights * (others[:, 1] == action)).sum() / 3

    box = BlackBoxGame(lambda *_: [1.0], reward, n_agents=4, n_states=1, n_actions=2, horizon=1)
    return SymmetrisedGame(black_box=box)


@pytest.mark.parametrize("solver", [OnlineMirrorDescent, pytest.param(FictitiousPlay, marks=pytest.mark.slow)])
def test_solvers_find_the_equilibrium_of_a_black_box(solver):
    trainer = solver(two_roads())
    trainer.run(4000)
    assert InducedGame(trainer.game).exploitability(trainer.policy) < 2e-3
    assert trainer.policy.probabilities[0, 0, 0] == pytest.approx(0.7, abs=2e-3)


def test_trainers_learn_from_simulations_and_are_saved(tmp_path):
    game = two_roads()
    trainer = SymmPMD(game, seed=0)
    trainer.learn(2 * trainer.timesteps_per_iteration)
    trainer.save(tmp_path / "trainer.npz")
    again = SymmPMD.load(tmp_path / "trainer.npz", game=game)
    assert (again.policy.probabilities == trainer.policy.probabilities).all()
    # Half of them each: the first road is worth .4 more, half of which is gained. The share of three others has
    # the standard deviation .29, so that the mean over 1024 worlds has the standard error .009.
    found = n_player_exploitability(game, np.full((1, 1, 2), 0.5), n_worlds=1024)
    assert found.max == pytest.approx(0.2, abs=6.5 * 0.009)
