"""Exploitability of our games in MFGLib, and of MFGLib's games in ours."""

import numpy as np
import pytest
from classic_oracles import policies

from mfenvs import InducedGame, make
from mfenvs.games.classic.random_linear import RandomLinearTables
from mfenvs.peers import to_mfglib

torch = pytest.importorskip("torch")
pytest.importorskip("mfglib.alg")  # First: mfglib.scoring alone cannot be imported.

from mfglib.env import Environment  # noqa: E402
from mfglib.scoring import exploitability_score  # noqa: E402
from mfglib.utils import mean_field_from_policy  # noqa: E402


@pytest.fixture(autouse=True)
def _double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


OURS = {
    "BeachBar-v0": {},
    "TreasureHunting-v0": {},
    "Epidemic-v0": {"n_agents": 20, "horizon": 5},
    "RockPaperScissors-v0": {"n_agents": 20, "horizon": 3},
}


@pytest.mark.parametrize("name", OURS)
def test_our_games_in_mfglib(name):
    game = make(name, **OURS[name])
    induced, environment = InducedGame(game), to_mfglib(game)
    for policy in policies(game.policy_shape):
        theirs = torch.as_tensor(policy)
        laws = mean_field_from_policy(theirs, env=environment).numpy()
        np.testing.assert_allclose(laws, induced.flow(policy).mu, atol=1e-12)
        expected = induced.exploitability(policy)
        assert exploitability_score(environment, theirs) == pytest.approx(expected, abs=1e-9)


def test_what_mfglib_cannot_have_is_refused():
    with pytest.raises(ValueError, match=r"game must end, as MFGLib's games do, got ContractionGame"):
        to_mfglib(make("ContractionGame-v0"))
    with pytest.raises(TypeError, match="game must be a FiniteGame"):
        to_mfglib(make("LinearQuadratic-v0"))
    with pytest.raises(ValueError, match="r_max must be a finite number in"):
        to_mfglib(make("BeachBar-v0"), r_max=-1.0)
    assert to_mfglib(make("LeftRight-v0")).r_max == pytest.approx(1.0)
    assert to_mfglib(make("LeftRight-v0"), r_max=2.0).r_max == 2.0


THEIRS = {
    "BeachBar-v0": ("beach_bar", {}),
    "WeightedRockPaperScissors-v0": ("rock_paper_scissors", {}),
    "LeftRight-v0": ("left_right", {}),
    "SusceptibleInfected-v0": ("susceptible_infected", {}),
    "TreasureHunting-v0": ("conservative_treasure_hunting", {}),
    "EquilibriumPrice-v0": ("equilibrium_price", {}),
    "BuildingEvacuation-v0": ("building_evacuation", {}),
    "LinearQuadraticChain-v0": ("linear_quadratic", {"twice": True}),
    "CrowdMotion-v0": ("crowd_motion", {}),
    "RandomLinear-v0": ("random_linear", {}),
}


def with_their_constants(name, environment):
    """Our game with what MFGLib drew from torch's generator."""
    if name == "RandomLinear-v0":
        moves, rewards = environment.transition_fn, environment.reward_fn
        tables = RandomLinearTables(
            coupled_moves=moves.p1.numpy(),
            moves=moves.p2.numpy(),
            coupled_rewards=rewards.r1.numpy(),
            rewards=rewards.r2.numpy(),
        )
        return make(name, tables=tables)
    if name == "CrowdMotion-v0":
        # Its rewards fall in the distance from the bar.
        bar = [np.unravel_index(int(near[..., 0].argmax()), (20, 20)) for near in environment.reward_fn.c1s]
        return make(name, bar=[tuple(map(int, place)) for place in bar])
    return make(name, **THEIRS[name][1])


@pytest.mark.parametrize("name", THEIRS)
def test_their_games_are_ours(name):
    environment = getattr(Environment, THEIRS[name][0])()
    game = with_their_constants(name, environment)
    induced = InducedGame(game)
    for policy in policies(game.policy_shape, 2):
        theirs = torch.as_tensor(policy).reshape(len(policy), *environment.S, *environment.A)
        expected = exploitability_score(environment, theirs)
        assert induced.exploitability(policy) == pytest.approx(expected, abs=1e-6)
