"""One class of games with two forms, wherever the rest of the package looks at a game's class."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest

import mfenvs
from mfenvs import Engine, FiniteGame, InducedGame, make, register, registry, rule
from mfenvs.games.investment import Investment
from mfenvs.games.levels import LevelGame
from mfenvs.games.malware import Malware
from mfenvs.registry import name_of


@rule
def free(level, action, mean, constants):
    return level * 0


GAMES = [
    Malware(n_agents=5, n_levels=4),
    Malware(n_agents=5, states="continuous", cost=free),
    Investment(n_agents=5, states="grid", n_levels=3),
    Investment(n_agents=5),
]
by_game = pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{type(game).__name__}-{game.states}")


@by_game
class TestClass:
    def test_it_is_named_as_the_class_that_was_written(self, game):
        declared = Malware if "Malware" in repr(game) else Investment
        assert isinstance(game, declared)
        assert type(game).__name__ == type(game).__qualname__ == declared.__name__
        assert type(game).__doc__ == declared.__doc__
        assert game.declared_class() is declared
        assert isinstance(game, FiniteGame) is (game.states == "grid")

    def test_the_registry_knows_it(self, game):
        assert name_of(game) in ("Malware-v0", "Investment-v0")
        assert make(name_of(game), **game.describe()) == game
        assert type(make(name_of(game), **game.describe())) is type(game)

    def test_it_makes_equal_games(self, game):
        assert type(game)(**game.describe()) == game
        assert dataclasses.replace(game) == game
        assert dataclasses.replace(game, n_agents=6).n_agents == 6

    def test_it_can_be_replaced_by_the_other_form_and_back(self, game):
        other = dataclasses.replace(game, states="continuous" if game.states == "grid" else "grid", n_levels=3)
        assert isinstance(other, FiniteGame) is not isinstance(game, FiniteGame)
        assert other != game
        back = dataclasses.replace(other, states=game.states, n_levels=game.n_levels)
        assert back == game
        assert type(back) is type(game)

    def test_copies_are_equal_and_play(self, game):
        for again in (copy.copy(game), copy.deepcopy(game), pickle.loads(pickle.dumps(game))):
            assert again == game
            assert type(again) is type(game)
            assert again.rules == game.rules
            assert np.array_equal(again.agents, game.agents)
            with pytest.raises(AttributeError, match="n_agents is fixed once a game is made"):
                again.n_agents = 7

    def test_what_it_is_called_with_is_checked_as_ever(self, game):
        with pytest.raises(TypeError, match="unexpected keyword argument 'n_agent'"):
            type(game)(n_agent=3)
        with pytest.raises(TypeError, match="positional"):
            type(game)(3)
        with pytest.raises(ValueError, match="states must be one of 'grid', 'continuous', got 'cells'"):
            type(game)(states="cells")


def test_another_process_reads_a_pickle(tmp_path):
    """There the class of the form does not exist yet, nor the rule that this file has."""
    games = [
        Malware(n_agents=3, cost=free, states="continuous"),
        Investment(n_agents=3, states="grid", n_levels=3),
    ]
    (tmp_path / "games.pickle").write_bytes(pickle.dumps(games))
    code = f"""
import pickle, numpy as np, mfenvs
games = pickle.loads(open({str(tmp_path / "games.pickle")!r}, "rb").read())
engine = mfenvs.Engine(games[0])
engine.reset(seed=0)
assert (engine.step(np.zeros((1, 3), int)) == 0).all()
assert isinstance(games[1], mfenvs.FiniteGame) and not isinstance(games[0], mfenvs.FiniteGame)
assert games[1] == mfenvs.make("Investment-v0", n_agents=3, states="grid", n_levels=3)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_games_of_one_form_share_their_rules():
    """Whatever their numbers of levels: the kernels of the simulator are compiled once."""
    assert Malware(n_levels=5).rules == Malware(n_levels=300, spread=0.5).rules
    assert Malware(states="continuous").rules == Malware(states="continuous", risk=1.0).rules
    assert Malware().rules != Malware(states="continuous").rules


class PondConstants(NamedTuple):
    n_levels: int
    top: np.float32


@dataclasses.dataclass(kw_only=True)
class Pond(LevelGame):
    """A game of levels of one's own: water rises, and falls to 0 where it is let out."""

    n_agents: int = 3
    horizon: int = 4
    states: str = "grid"
    n_levels: int = 3
    n_actions = 2
    offset = np.float32(1.0)

    @staticmethod
    @rule
    def rise(component, action, mean, constants):
        return np.float32(-1.0) if action == 1 else np.float32(1.0)

    @staticmethod
    @rule
    def full(component, level, action, mean, constants):
        return level - mean

    component_reward = property(lambda self: self.full)
    constants = property(lambda self: PondConstants(self.n_levels, np.float32(self.n_levels - 1)))


class TestOwnGames:
    @pytest.mark.parametrize("states", [pytest.param("grid", marks=pytest.mark.slow), "continuous"])
    def test_of_levels(self, states):
        engine = Engine(Pond(states=states), debug=True)
        first = engine.game.levels_of(engine.reset(seed=0))[0, :, 0]
        assert np.allclose(engine.step([[0, 1, 1]]), first - first.mean())
        assert engine.states[0, 1:].tolist() == [0, 0]
        assert engine.observe().shape == (1, 3, 2)

    def test_a_subclass_has_both_forms_too(self):
        @dataclasses.dataclass(kw_only=True)
        class Worm(Malware):
            n_levels: int = 6
            strength: float = 2.0

        assert isinstance(Worm(), FiniteGame)
        assert (Worm().n_states, type(Worm()).__name__) == (6, "Worm")
        assert not isinstance(dataclasses.replace(Worm(strength=3.0), states="continuous"), FiniteGame)
        assert Worm(strength=3.0) != Worm()
        assert name_of(Worm()) is None

    def test_a_subclass_of_one_form_has_that_form_only(self):
        class Grid(type(Malware())):
            pass

        assert type(Grid(n_agents=4)) is Grid
        assert pickle.loads(pickle.dumps(GAMES[0])) == GAMES[0]
        assert copy.copy(Grid(n_agents=4)) == Grid(n_agents=4)
        with pytest.raises(ValueError, match="Grid has states='grid' only, got 'continuous'"):
            Grid(states="continuous")

    def test_a_game_without_a_default_form_needs_one(self):
        @dataclasses.dataclass(kw_only=True)
        class Undecided(LevelGame):
            n_levels: int = 3

        with pytest.raises(TypeError, match=r"missing .* 'states'"):
            Undecided(n_agents=3, horizon=3)

    def test_what_is_not_declared_is_named(self):
        for name in ("component_reward", "n_actions"):
            kind = dataclasses.dataclass(kw_only=True)(type("Dry", (Pond,), {name: getattr(LevelGame, name)}))
            with pytest.raises(TypeError, match=f"Dry must declare {name}"):
                kind()


class TestApis:
    def test_gymnasium_takes_the_form_as_a_keyword(self):
        single = gymnasium.make("mfenvs/Malware-v0", n_agents=5, states="continuous", population_policy=None)
        assert not isinstance(single.unwrapped.game, FiniteGame)
        vector = gymnasium.make_vec("mfenvs/Investment-v0", n_agents=5, states="grid", n_levels=3)
        assert isinstance(vector.unwrapped.game, FiniteGame)

    def test_pettingzoo_names_it(self):
        parallel = mfenvs.parallel_env("Malware-v0", n_agents=5, states="continuous")
        assert parallel.metadata["name"] == "Malware-v0"

    def test_it_is_registered_as_one_game(self, monkeypatch):
        monkeypatch.setattr(registry, "_GAMES", dict(registry._GAMES))
        register("Malware-v0", Malware)
        with pytest.raises(ValueError, match="name 'Malware-v0' is already the game Malware"):
            register("Malware-v0", Investment)

    def test_errors_name_the_game(self):
        """And its form, which is what has to be changed."""
        with pytest.raises(TypeError, match="game must be a FiniteGame, got Malware with states='continuous'"):
            InducedGame(Malware(states="continuous"))
        with pytest.raises(TypeError, match="game must be a FiniteGame, got EnergyMarket"):
            InducedGame(make("EnergyMarket-v0", n_agents=5))
        with pytest.raises(TypeError, match="game must be a FiniteGame, got str"):
            InducedGame("Malware-v0")
