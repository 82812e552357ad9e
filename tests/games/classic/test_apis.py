"""Every classic game through PettingZoo, Stable-Baselines3 and gymnasium, and with all checks."""

import contextlib
import io
import re

import gymnasium
import numpy as np
import pytest
from classic_names import NAMES, by_name
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test

import mfenvs
from mfenvs import Engine, make, registered_games
from mfenvs.api.versions import classic

SMALL = {
    "MeanFieldGarnet-v0": {"n_nodes": 8},
    "MazeExploration-v0": {"layout": ("S #", "   ")},
    "GraphonEpidemic-v0": {"n_points": 3},
    "GraphonInvestment-v0": {"n_points": 3},
}
"""Constants with which large games are small."""


def small(name, **constants):
    return make(name, **SMALL.get(name, {}), **constants)


@by_name
def test_apis(name):
    game = small(name, n_agents=6)
    with contextlib.redirect_stdout(io.StringIO()):
        parallel_api_test(mfenvs.parallel_env(game), num_cycles=5)
    venv = mfenvs.vec_env(game, 2)
    venv.reset()
    assert venv.step(np.zeros(venv.num_envs, int))[1].shape == (12,)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_with_all_checks(name):
    """In debug mode indices, states, rows of probabilities, rewards and observations are checked."""
    game = small(name, n_agents=6)
    engine = Engine(game, 2, debug=True)
    engine.reset(seed=1)
    for _ in range(min(game.horizon, 5)):
        engine.step(engine.random_actions())
        assert np.isfinite(engine.observe()).all()
    check_env(gymnasium.make(f"mfenvs/{name}", n_agents=6, **SMALL.get(name, {})).unwrapped)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_of_the_family_and_have_a_page(name):
    game_class = registered_games()[name]
    assert game_class.family == "classic"
    assert game_class.__doc__ is not None
    text = " ".join(game_class.__doc__.split())
    assert re.search("States:|States and actions:|One state|CrowdModelling2D|PredatorPrey", text)
    assert re.search("Known|[Rr]andom|exploitability|bar in the plane", text)
    assert any(source in text for source in ("MFGLib", "OpenSpiel", "Bench-MFG", "gmfg-learning"))
    assert "[S" in text or "[O]" in text


def test_each_is_a_module_of_the_family():
    turns = classic.beach_bar_v0.env(n_agents=3)
    assert type(turns.unwrapped.game).__name__ == "BeachBar"
    assert classic.crowd_modelling_2d_v0.parallel_env(n_agents=3, horizon=4).max_cycles == 4
    assert len(dir(classic)) == len(NAMES)
    for name in dir(classic):
        assert callable(getattr(classic, name).parallel_env)
    with pytest.raises(AttributeError, match="has no game 'beach_bar_v1'"):
        _ = classic.beach_bar_v1
