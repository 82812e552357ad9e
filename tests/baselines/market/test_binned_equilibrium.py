"""The equilibrium of the binned market for play in the market itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from baselines.market.binned_equilibrium import LITTLE_MASS, binned_equilibrium, with_replies
from mfenvs import InducedGame, make
from mfenvs.games.energy.binned import BinnedEnergyMarket


@pytest.fixture(scope="module")
def game():
    return BinnedEnergyMarket(n_agents=60, day=110, n_bins=5, groups_per_type=1)


@pytest.mark.slow
def test_fictitious_play_comes_near_an_equilibrium(game):
    induced = InducedGame(game)
    found = binned_equilibrium(game, tolerance=0.05, seconds=60.0)
    assert found.exploitability == induced.exploitability(found.policy)
    assert found.exploitability < 0.1 * induced.exploitability(induced.uniform_policy())
    assert found.iterations > 1
    assert_allclose(found.policy.sum(axis=-1), 1)
    assert (found.policy[induced.uniform_policy() == 0] == 0).all()


def test_replies_are_played_where_nobody_is(game):
    """Who idles keeps the first charge: other states have the best response, its own state the policy."""
    induced = InducedGame(game)
    idle = np.zeros(game.policy_shape)
    idle[..., 12] = 1.0
    found = with_replies(game, induced, idle)
    induced.exploitability(idle)
    best = induced.last_best_response()
    mass = induced.flow(idle).mu.sum(axis=-1)
    storage = np.flatnonzero(game.bins[game.constants.group_of] > 1)
    assert (mass[:, storage] > 0).sum(axis=1).tolist() == [1] * 24
    empty = mass == 0
    assert_allclose(found[empty], best[empty])
    assert_allclose(found[~empty], idle[~empty], atol=2 * LITTLE_MASS)
    assert np.abs(best - idle)[empty].max() == 1


def test_it_is_for_the_binned_market():
    with pytest.raises(TypeError, match="game must be a BinnedEnergyMarket, got"):
        binned_equilibrium(make("Epidemic-v0", n_agents=4))


def test_limits_are_checked(game):
    with pytest.raises(ValueError, match="tolerance"):
        binned_equilibrium(game, tolerance=-1.0)
    with pytest.raises(ValueError, match="seconds"):
        binned_equilibrium(game, seconds=0.0)
