"""Going on from where an engine was."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mfenvs import Engine, Game, rule
from mfenvs.games.energy.conditions import CLOCK, DAY
from mfenvs.games.energy.version_0 import EnergyMarketV0
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
        ({"episode": -2}, ValueError, "snapshot.episode must be an integer in [-1, 4611686018427387904], got -2"),
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


def everything(engine):
    return dataclasses.astuple(engine.snapshot()), engine.is_playing


@by_game
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seed": -1}, ValueError, "snapshot.seed must be an integer in [0, 18446744073709551615], got -1"),
        (
            {"seed": 2**64},
            ValueError,
            "snapshot.seed must be an integer in [0, 18446744073709551615], got 184",
        ),
        ({"seed": 0.5}, TypeError, "snapshot.seed must be an integer in"),
        ({"seed": True}, ValueError, "snapshot.seed must be an integer in"),
        (
            {"episode": 2**62 + 1},
            ValueError,
            "snapshot.episode must be an integer in [-1, 4611686018427387904], got",
        ),
        (
            {"episode": 10**400},
            ValueError,
            "snapshot.episode must be an integer in [-1, 4611686018427387904], got",
        ),
        ({"episode": -1}, ValueError, "snapshot.time must be 0 before the first episode, got 1 of episode -1"),
        ({"episode": -1, "time": 0}, ValueError, "must be zeros before the first episode"),
        ({"time": "1"}, TypeError, "snapshot.time must be an integer in [0, 5], got '1'"),
        (
            {"signal": np.zeros((1, 3), np.float32)},
            ValueError,
            "snapshot.signal must have shape (1, 0), got",
        ),
        ({"returns": np.zeros((1, 5))}, ValueError, "snapshot.returns must have shape (1, 6), got (1, 5)"),
        ({"returns": np.full((1, 6), np.inf)}, ValueError, "snapshot.returns must be finite, got inf"),
        ({"returns": np.full((1, 6), "a")}, TypeError, "snapshot.returns must be an array of numbers"),
        ({"states": None}, ValueError, "snapshot.states must have shape (1, 6)"),
    ],
)
def test_nothing_changes_when_any_part_is_refused(game, changes, error, message):
    """Whatever else in the snapshot is another engine's: time, states, seed, returns."""
    engine = Engine(dataclasses.replace(game, n_agents=6))
    engine.keep_returns()
    engine.reset(seed=1)
    go_on(engine, 2)
    before = everything(engine)
    other = Engine(engine.game)
    other.keep_returns()
    other.reset(seed=9)
    go_on(other, 1)
    with pytest.raises(error, match=re.escape(message)):
        engine.restore(dataclasses.replace(other.snapshot(), **changes))
    after = everything(engine)
    for mine, theirs in zip(before[0], after[0], strict=True):
        assert_array_equal(mine, theirs)
    assert before[1] == after[1]
    engine.restore(other.snapshot())
    assert engine.time == 1


def test_states_that_a_game_does_not_have():
    """They are indices: read as such they would reach beyond arrays."""
    engine = Engine(GAMES[0], 2)
    engine.reset(seed=1)
    snapshot = engine.snapshot()
    states = snapshot.states.copy()
    states[1, 4] = 255
    with pytest.raises(ValueError, match=r"^snapshot\.states\[1, 4\] must be in \[0, 1\], got 255"):
        engine.restore(dataclasses.replace(snapshot, states=states))
    taxis = Engine(GAMES[1])
    taxis.reset(seed=1)
    snapshot = taxis.snapshot()
    snapshot.states["cell"][0, 3] = 255
    with pytest.raises(
        ValueError, match=r"^snapshot\.states\[0, 3\]\['cell'\] must be a start or a place of a zone"
    ):
        taxis.restore(snapshot)


def test_states_and_signals_are_finite():
    game = GAMES[0]
    states, signal = np.zeros((1, 2), [("charge", np.float32)]), np.zeros((1, 1), np.float32)
    Game.check_snapshot(game, states, signal)
    states["charge"][0, 1] = np.nan
    with pytest.raises(ValueError, match=r"^snapshot\.states\['charge'\] must hold finite numbers, got nan at"):
        Game.check_snapshot(game, states, signal)
    with pytest.raises(ValueError, match=r"^snapshot\.signal must hold finite numbers, got inf at \[0, 0\]"):
        Game.check_snapshot(game, np.zeros((1, 2), np.uint8), signal + np.float32(np.inf))


@pytest.mark.parametrize("given", [None, {}, (0, 0, 0)])
def test_what_is_no_snapshot(given):
    with pytest.raises(TypeError, match=r"^snapshot must be a Snapshot, got "):
        Engine(GAMES[0]).restore(given)


def test_seeds_are_kept_as_given():
    engine = Engine(GAMES[0])
    engine.reset(seed=2**64 - 1)
    assert engine.snapshot().seed == 2**64 - 1
    expected = engine.states.copy()
    other = Engine(GAMES[0])
    other.restore(engine.snapshot())
    assert_array_equal(other.states, expected)
    assert_array_equal(other.reset(), engine.reset())


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


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("type", 255, r"states\['type'\] must be the types of the game's agents, which is not so at \[1, 3\]"),
        ("charge", 1.5, r"states\['charge'\] must be in \[0, 1\], which is not so at \[1, 3\]"),
        ("error", np.nan, r"states\['error'\] must hold finite numbers, got nan at \[1, 3\]"),
        ("day", 1e7, r"signal must name one of the 3 days from 2 to 4, which is not so at \[1\]"),
        ("day", 2.5, r"signal must name one of the 3 days from 2 to 4"),
        ("day", 1, r"signal must name one of the 3 days from 2 to 4"),
        ("clock", 24, r"signal must name a step of the day in \[0, 23\], which is not so at \[1\]"),
        ("clock", 0.5, r"signal must name a step of the day in \[0, 23\]"),
        ("backlog", -1.0, r"states\['backlog'\] must be >= 0, which is not so at \[1, 3\]"),
        ("weather", 1.5, r"signal must hold weather in \[-0.9, 0.9\]"),
        ("feed_in", 0.4, "signal must hold a feed-in tariff below the retail tariff"),
    ],
)
def test_states_and_signals_of_the_energy_market(entry, value, message):
    """The day, the step of the day and the type are read as indices."""
    game = EnergyMarketV0(preset="village", first_day=2, n_days=3)
    states, signal = np.zeros((2, 17), game.state_dtype), np.zeros((2, game.n_signals), np.float32)
    entries = game.reported | {"day": DAY, "clock": CLOCK}
    states["type"], signal[:, entries["day"]], signal[:, entries["retail"]] = game.agents["type"], 4, 0.3
    game.check_snapshot(states, signal)
    if entry in entries:
        signal[1, entries[entry]] = value
    else:
        states[entry][1, 3] = value
    with pytest.raises(ValueError, match=rf"^snapshot\.{message}"):
        game.check_snapshot(states, signal)
