"""Kernels are compiled into the images by playing: any registered game must be playable so."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mfenvs
from mfenvs import Engine

PATH = Path(__file__).parents[2] / "docker" / "warm.py"
specification = importlib.util.spec_from_file_location("warm", PATH)
warm = importlib.util.module_from_spec(specification)
specification.loader.exec_module(warm)


@pytest.mark.parametrize("horizon", [1, 3])
def test_games_are_played_whatever_their_horizon(horizon, monkeypatch):
    """Integers of both kinds are taken as actions, since kernels are compiled for each."""
    kinds = set()
    step = Engine.step

    def recorded(engine, actions, *rest):
        kinds.add(str(actions.dtype))
        return step(engine, actions, *rest)

    monkeypatch.setattr(Engine, "step", recorded)
    warm.play(mfenvs.make("Epidemic-v0", n_agents=5, horizon=horizon))
    assert {"int32", "int64"} <= kinds


def test_games_are_small_when_they_are_compiled(monkeypatch, capsys):
    played = []
    for name in ("play", "play_tables", "measure"):
        monkeypatch.setattr(warm, name, lambda game: None)
    monkeypatch.setattr(warm, "play_through_apis", lambda name, game: played.append(game))
    monkeypatch.setattr(warm, "train", lambda algorithm, game: algorithm == "omd")
    assert warm.compile_games(["Taxi-v0", "LeftRight-v0"], ThreadPoolExecutor(1)) == 0
    assert [(game.n_agents, game.horizon) for game in played] == [(20, 6), (20, 2)]
    assert capsys.readouterr().out.count("; omd\n") == 2
    # Of all games, each algorithm must train one.
    assert warm.compile_games([], ThreadPoolExecutor(1)) == 1
    assert len(played) == 2 + len(mfenvs.registered_games())
    assert "no game could be trained by" in capsys.readouterr().err


def test_a_game_that_cannot_be_compiled_is_named_and_ends_the_build(monkeypatch):
    def fail(game):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(warm, "play", fail)
    pool = ThreadPoolExecutor(1)
    with pytest.raises(RuntimeError, match="no such kernel") as caught:
        warm.compile_games([], pool)
    assert caught.value.__notes__[0].startswith("while kernels of ")
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


@pytest.mark.parametrize("name", warm.SMALL_CONSTANTS)
def test_small_constants_make_the_game_smaller(name):
    assert mfenvs.make(name, **warm.SMALL_CONSTANTS[name]).n_states < mfenvs.make(name).n_states


def test_exploitability_of_large_games_is_measured_at_a_small_size(monkeypatch):
    measured = []
    for name in ("play", "play_tables"):
        monkeypatch.setattr(warm, name, lambda game: None)
    monkeypatch.setattr(warm, "play_through_apis", lambda name, game: None)
    monkeypatch.setattr(warm, "train", lambda algorithm, game: False)
    monkeypatch.setattr(warm, "measure", measured.append)
    for name in ("MeanFieldGarnet-v0", "LeftRight-v0"):
        warm.compile_game(name)
    assert [game.n_states for game in measured] == [5, mfenvs.make("LeftRight-v0").n_states]
