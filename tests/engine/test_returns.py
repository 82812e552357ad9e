"""Total rewards that an engine keeps where something asks for them."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs import Engine
from mfenvs.games.epidemic import Epidemic
from mfenvs.games.rock_paper_scissors import RockPaperScissors

GAME = Epidemic(n_agents=7, horizon=4)


def step(engine):
    return engine.step(engine.random_actions()).astype(np.float64)


@pytest.mark.parametrize(
    "game", [GAME, RockPaperScissors(n_agents=5, horizon=4, discount=0.75)], ids=lambda game: type(game).__name__
)
def test_returns_are_sums_of_discounted_rewards(game):
    engine = Engine(game, 3)
    engine.keep_returns()
    for seed in (1, None):
        engine.reset(seed)
        total = np.zeros((3, game.n_agents))
        while engine.is_playing:
            assert_allclose(engine.returns, total, rtol=1e-12, atol=1e-12)
            total += game.discount**engine.time * step(engine)
            engine.keep_returns()  # changes nothing
        assert np.ptp(total) > 0.1
        assert engine.returns.dtype == np.float64
        assert_allclose(engine.returns, total, rtol=1e-12, atol=1e-12)


def test_returns_are_kept_on_request_and_from_the_beginning_of_an_episode():
    engine = Engine(GAME)
    with pytest.raises(RuntimeError, match=r"call keep_returns\(\) first"):
        _ = engine.returns
    engine.reset(seed=0)
    step(engine)
    assert engine.snapshot().returns is None
    with pytest.raises(RuntimeError, match="when an episode begins, got time 1"):
        engine.keep_returns()
    engine.reset()
    engine.keep_returns()
    rewards = step(engine)
    assert_array_equal(engine.returns, rewards)


def test_snapshots_hold_them():
    engine = Engine(GAME, 2)
    engine.keep_returns()
    engine.reset(seed=5)
    first = step(engine)
    snapshot = engine.snapshot()
    second = step(engine)
    assert_array_equal(snapshot.returns, first)
    for other in (engine, Engine(GAME, 2)):
        other.restore(snapshot)
        assert_array_equal(other.returns, first)
        assert_array_equal(step(other), second)
        assert_array_equal(other.returns, first + second)
    assert_array_equal(snapshot.returns, first)


def test_a_snapshot_without_them():
    silent, engine = Engine(GAME, 2), Engine(GAME, 2)
    engine.keep_returns()
    for each in (silent, engine):
        each.reset(seed=5)
    beginning = silent.snapshot()
    step(silent)
    kept = step(engine)
    with pytest.raises(ValueError, match=r"snapshot\.returns must be given"):
        engine.restore(silent.snapshot())
    assert engine.time == 1
    assert_array_equal(engine.returns, kept)
    engine.restore(beginning)
    assert_array_equal(engine.returns, np.zeros((2, 7)))
    with pytest.raises(ValueError, match=r"snapshot\.returns must have shape \(2, 7\)"):
        engine.restore(dataclasses.replace(beginning, returns=np.zeros(7)))
