"""The order book of a step: by hand, and against the classical definition of what is traded."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.reproduce.energy.order_book import order_book
from mfenvs import Engine, make
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.version_0 import EnergyMarketV0


def played(n_steps=1, actions=None, **constants):
    game = EnergyMarketV0(**({"n_agents": 20, "first_day": 150, "n_days": 1} | constants))
    engine, rng = Engine(game), np.random.default_rng(0)
    engine.reset(0)
    space = game.action_space
    before = None
    for _ in range(n_steps):
        before = engine.signal[0].copy()
        engine.step(rng.uniform(space.low, space.high, (1, game.n_agents, 3)).astype(np.float32))
    return engine, before


def test_the_book_of_step_orders_by_hand():
    engine, _ = played(orders="step", n_ticks=4)
    engine.counts[0] = 20 * np.array([0, 0, 0, 2, 1, 3, 0, 1, 0, 0])
    book = order_book(engine)
    assert_allclose(book.prices, np.repeat([0.08, 0.14, 0.20, 0.26, 0.32], 2), rtol=1e-6)
    assert_allclose(book.demand, [3, 3, 3, 3, 3, 3, 3, 1, 1, 0])
    assert_allclose(book.supply, [0, 3, 3, 3, 3, 4, 4, 4, 4, 4])


def test_the_book_of_interpolated_orders_by_hand():
    # Levels 0 to 4 of two ticks that are filled over two: a buy at level 4 always, one at level 2 half at price 1.
    engine, _ = played(orders="interpolated", n_ticks=2, width=0.24)
    engine.counts[0] = 20 * np.array([5, 0, 2, 0, 1, 3, 0, 4, 0, 7])
    book = order_book(engine)
    assert_allclose(book.prices, [0.08, 0.20, 0.32], rtol=1e-6)
    assert_allclose(book.demand, [1 + 2, 1 + 1, 1])
    assert_allclose(book.supply, [3, 3 + 2, 3 + 4])


def test_the_book_of_linear_orders_by_hand():
    engine, _ = played(orders="linear")
    engine.counts[0] = 40, 20
    book = order_book(engine)
    assert_allclose([book.prices, book.demand, book.supply], [[0.08, 0.32], [2, 2], [1, 1]], rtol=1e-6)


@pytest.mark.parametrize("orders", ["interpolated", "step"])
def test_what_is_traded_is_the_most_that_both_sides_agree_on(orders):
    """The classical definition, on prices between which curves are straight or constant."""
    inside = 0
    for hour in (3, 9, 11, 13, 15):
        engine, before = played(hour, orders=orders)
        book = order_book(engine)
        assert (book.feed_in, book.retail) == (before[FEED_IN], before[RETAIL])
        if orders == "step":
            agreed = np.minimum(book.demand[::2], book.supply[1::2]).max()
        else:
            fine = np.linspace(book.feed_in, book.retail, 100_001)
            curves = (np.interp(fine, book.prices, side) for side in (book.demand, book.supply))
            agreed = np.minimum(*curves).max()
        assert book.volume == pytest.approx(agreed, abs=1e-4)
        if book.feed_in < book.price < book.retail:
            inside += 1
            if orders == "interpolated":
                for side in (book.demand, book.supply):
                    assert np.interp(book.price, book.prices, side) == pytest.approx(book.volume, abs=1e-4)
    assert inside


def test_the_book_has_the_tariffs_of_its_own_step():
    engine, before = played(6, dynamic_tariffs=True)
    assert engine.signal[0, FEED_IN] != before[FEED_IN]
    book = order_book(engine)
    assert (book.feed_in, book.retail) == (before[FEED_IN], before[RETAIL])


def test_books_there_are_not():
    engine, _ = played()
    with pytest.raises(ValueError, match="world must be"):
        order_book(engine, 1)
    engine.reset()
    with pytest.raises(RuntimeError, match="before the first step"):
        order_book(engine)
    with pytest.raises(TypeError, match="EnergyMarket"):
        order_book(Engine(make("Epidemic-v0", n_agents=2)))
