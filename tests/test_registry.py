import dataclasses
import importlib.metadata

import gymnasium
import numpy as np
import pettingzoo
import pytest

import mfenvs
from mfenvs import registry
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors


@dataclasses.dataclass(kw_only=True)
class Flu(Epidemic):
    horizon: int = 3


@pytest.fixture
def clean_registry(monkeypatch):
    """Whatever is registered in a test is gone after it."""
    monkeypatch.setattr(registry, "_GAMES", dict(registry._GAMES))
    registries = [gymnasium.registry]
    if hasattr(pettingzoo, "register"):
        registries += [pettingzoo.aec_registry, pettingzoo.parallel_registry]
    known = [dict(each) for each in registries]
    yield
    for each, before in zip(registries, known, strict=True):
        each.clear()
        each.update(before)


def test_the_two_games_of_the_paper_have_the_papers_size():
    games = mfenvs.registered_games()
    assert games["RockPaperScissors-v0"] is RockPaperScissors
    assert games["Epidemic-v0"] is Epidemic
    rps, sis = mfenvs.make("mfenvs/RockPaperScissors-v0"), mfenvs.make("Epidemic-v0")
    assert (rps.n_agents, rps.horizon, sis.n_agents, sis.horizon) == (2000, 10, 1000, 20)


def test_make_sets_constants():
    game = mfenvs.make("Epidemic-v0", n_agents=10, recovery=0.4)
    assert (game.n_agents, game.recovery) == (10, 0.4)


def test_make_returns_a_game_as_it_is():
    game = Epidemic(n_agents=3)
    assert mfenvs.make(game) is game
    with pytest.raises(ValueError, match=r"constants \['n_agents'\] cannot be set on a game that is already made"):
        mfenvs.make(game, n_agents=4)


def test_unknown_names_and_constants_come_with_a_suggestion():
    with pytest.raises(
        ValueError, match=r"unknown game 'Epidemc-v0' \(did you mean 'Epidemic-v0'\?\); registered: "
    ):
        mfenvs.make("Epidemc-v0")
    with pytest.raises(TypeError, match="a game must be a registered name or a Game, got 5"):
        mfenvs.make(5)
    with pytest.raises(ValueError, match=r"unknown game 'mfenvs/x'; registered: .*RockPaperScissors-v0"):
        mfenvs.make("mfenvs/x")
    with pytest.raises(
        TypeError, match=r"no constant 'n_agent' \(did you mean 'n_agents'\?\); allowed: n_agents, "
    ):
        mfenvs.make("Epidemic-v0", n_agent=3)


def test_an_unknown_constant_is_refused_in_pythons_words():
    """TorchRL's GymEnv tries ``frameskip`` and goes on without it if the error has this phrase."""
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        mfenvs.make("Epidemic-v0", frameskip=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip"):
        gymnasium.make("mfenvs/Epidemic-v0", frameskip=1)


def test_the_version_is_the_installed_one():
    assert mfenvs.__version__ == importlib.metadata.version("mfenvs")


def test_the_listing_is_a_copy():
    mfenvs.registered_games().clear()
    assert mfenvs.registered_games()


@pytest.mark.usefixtures("clean_registry")
class TestRegister:
    def test_a_new_game_is_known_here_and_to_gymnasium(self):
        mfenvs.register("Flu-v0", Flu)
        assert isinstance(mfenvs.make("mfenvs/Flu-v0"), Flu)
        assert gymnasium.spec("mfenvs/Flu-v0").kwargs == {"game": "Flu-v0"}

    def test_again_is_allowed_but_not_another_game_under_the_same_name(self):
        mfenvs.register("Flu-v0", Flu)
        mfenvs.register("Flu-v0", Flu)
        with pytest.raises(ValueError, match="name 'Flu-v0' is already the game Flu"):
            mfenvs.register("Flu-v0", Epidemic)

    def test_a_class_that_is_defined_anew_takes_the_place_of_the_old(self):
        mfenvs.register("Flu-v0", Flu)
        anew = dataclasses.dataclass(kw_only=True)(
            type("Flu", (Epidemic,), {"__module__": Flu.__module__, "__qualname__": Flu.__qualname__})
        )
        mfenvs.register("Flu-v0", anew)
        assert type(mfenvs.make("Flu-v0")) is anew
        mfenvs.register("Flu-v0", Flu)

    def test_a_game_is_a_dataclass(self):
        with pytest.raises(TypeError, match=r"put @dataclasses\.dataclass\(kw_only=True\) on Plain"):
            mfenvs.register("Plain-v0", type("Plain", (Epidemic,), {}))

    @pytest.mark.parametrize("name", ["Flu", "Flu-v", "Flu-vx", "-v0", "a b-v0", "mfenvs/Flu-v0", "Flu-v-1"])
    def test_names_have_a_version(self, name):
        with pytest.raises(ValueError, match=r"name must be of the form 'Name-v0', got "):
            mfenvs.register(name, Flu)

    @pytest.mark.parametrize("value", [Flu(n_agents=2), dict, None])
    def test_only_games_are_registered(self, value):
        with pytest.raises(TypeError, match=r"game_class must be a subclass of mfenvs\.Game, got "):
            mfenvs.register("Flu-v0", value)


def test_everything_exported_exists():
    assert mfenvs.__all__ == sorted(mfenvs.__all__)
    assert {"BlackBoxGame", "GameConstants", "SymmetrisedGame", "approximate_symmetry"} < set(mfenvs.__all__)
    for name in mfenvs.__all__:
        assert getattr(mfenvs, name) is not None
    assert isinstance(mfenvs.make("Epidemic-v0").agents, np.recarray)


def test_games_of_a_family_are_listed_by_it():
    classic, others = mfenvs.registered_games("classic"), mfenvs.registered_games("")
    assert {"BeachBar-v0", "Garnet-v0"} <= set(classic)
    assert {"Taxi-v0", "Epidemic-v0"} <= set(others)
    noisy = mfenvs.registered_games("common-noise")
    assert {"ClosingBeachBar-v0", "SystemicRisk-v0"} <= set(noisy)
    assert others | classic | noisy == mfenvs.registered_games()
    assert not set(others) & set(classic)
    with pytest.raises(ValueError, match="family must be one of '', 'classic', 'common-noise', got 'clasic'"):
        mfenvs.registered_games("clasic")
