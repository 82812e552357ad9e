"""Going on from where an engine was."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mfenvs import Engine, rule
from mfenvs.engine.engine import run_in_threads
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.taxi import Taxi

GAMES = [Epidemic(n_agents=7, horizon=5), Taxi(n_agents=6, horizon=5, city=("111", "HSH", "222"), jam=2.0)]
by_game = pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)


def go_on(engine, n_steps):
    """States, rewards and drawn actions of further steps, through the ends of episodes."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n_steps):
        if not engine.is_playing:
            engine.reset()
        n_actions = int(engine.game.action_space.n)
        drawn = engine.draw_actions(np.full((*engine.states.shape, n_actions), 1 / n_actions))
        rewards = engine.step(rng.integers(0, n_actions, engine.states.shape))
        found.append((drawn, rewards, engine.states.copy(), engine.observe(), engine.time, engine.episode))
    return found


def assert_equal(one, other):
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert_array_equal(a, b)


@by_game
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 7])
def test_the_same_engine_and_a_fresh_one_go_on_alike(game, steps):
    engine = Engine(game, 3, first_world=2)
    engine.reset(seed=2**64 - 3)
    go_on(engine, steps)
    snapshot = engine.snapshot()
    expected = go_on(engine, 8)
    fresh = Engine(game, 3, first_world=2)
    for other in (engine, fresh):
        other.restore(snapshot)
        assert (other.time, other.episode) == (snapshot.time, snapshot.episode)
        assert_array_equal(other.states, snapshot.states)
        assert_equal(go_on(other, 8), expected)
    fresh.restore(pickle.loads(pickle.dumps(snapshot)))
    assert_equal(go_on(fresh, 8), expected)


@by_game
def test_a_snapshot_is_a_copy(game):
    engine = Engine(game)
    engine.reset(seed=1)
    snapshot = engine.snapshot()
    kept = snapshot.states.copy()
    engine.restore(snapshot)
    go_on(engine, 4)
    assert_array_equal(snapshot.states, kept)


def test_a_snapshot_of_an_engine_that_has_not_begun():
    engine = Engine(GAMES[0])
    snapshot = engine.snapshot()
    engine.reset(seed=5)
    engine.restore(snapshot)
    assert (engine.episode, engine.is_playing) == (-1, False)
    with pytest.raises(RuntimeError, match=r"before reset\(\)"):
        engine.step(np.zeros((1, 7), int))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"states": np.zeros((2, 7), np.uint8)}, ValueError, "must have shape (1, 7) and dtype uint8"),
        ({"states": np.zeros((1, 6), np.uint8)}, ValueError, "got (1, 6) and uint8"),
        ({"states": np.zeros((1, 7), np.int32)}, ValueError, "got (1, 7) and int32"),
        ({"time": 6}, ValueError, "snapshot.time must be an integer in [0, 5], got 6"),
        ({"time": -1}, ValueError, "snapshot.time must be an integer in [0, 5], got -1"),
        ({"episode": -2}, ValueError, "snapshot.episode must be an integer >= -1, got -2"),
    ],
)
def test_snapshots_that_do_not_fit(changes, error, message):
    engine = Engine(GAMES[0])
    engine.reset(seed=1)
    engine.step(np.zeros((1, 7), int))
    snapshot = engine.snapshot()
    with pytest.raises(error, match=re.escape(message)):
        engine.restore(dataclasses.replace(snapshot, **changes))
    assert engine.time == 1
    assert_array_equal(engine.states, snapshot.states)


def test_a_finite_games_snapshot_is_no_taxis():
    engine = Engine(GAMES[1])
    with pytest.raises(ValueError, match=r"snapshot\.states must have shape"):
        engine.restore(Engine(GAMES[0]).snapshot())


@by_game
def test_occupancy_is_counted_in_every_world(game):
    engine = Engine(game, 3)
    engine.reset(seed=1)
    go_on(engine, 3)
    places = engine.states["cell"] if game.state_dtype.names else engine.states
    expected = [[(world == place).mean() for place in range(game.n_places)] for world in places]
    out = np.full((3, game.n_places), np.nan, np.float32)
    assert engine.occupancy(out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="out must be a float32 array of shape"):
        engine.occupancy(np.zeros((3, game.n_places)))


def test_a_place_out_of_range_is_refused():
    @rule
    def nowhere(state):
        return state.cell + 70

    class Lost(Taxi):
        place = staticmethod(nowhere)

    for n_threads in (1, 2):
        engine = Engine(Lost(n_agents=50_000), 2, n_threads=n_threads)
        engine.reset(seed=0)
        with pytest.raises(
            ValueError, match=r"place of Lost must be in \[0, 20\] for all agents, .* agent 0 in state"
        ):
            engine.occupancy()


def test_what_a_later_thread_finds_is_not_lost():
    assert run_in_threads(2, 4, lambda first, last: -1 if first == 0 else first) == 2
    assert run_in_threads(2, 4, lambda first, last: -1) == -1
