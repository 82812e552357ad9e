"""A step's demand and supply, exactly as the auction was cleared."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import Engine, checks
from mfenvs.games.energy.clearing import PRICE, VOLUME, n_levels
from mfenvs.games.energy.conditions import DAY
from mfenvs.games.energy.market import EnergyMarket

Array = NDArray[np.float64]


class OrderBook(NamedTuple):
    """A step's demand and supply as polylines, and how the market was cleared."""

    prices: Array
    """EUR/kWh, ascending, shape (n_points,); a price appears twice where a curve jumps."""
    demand: Array
    supply: Array
    """What is bought, and sold, at these prices, kWh per agent, shape (n_points,)."""
    feed_in: float
    retail: float
    price: float
    """The tariffs and the clearing price, EUR/kWh."""
    volume: float
    """Traded within the community, kWh per agent."""


def order_book(engine: Engine, world: int = 0) -> OrderBook:
    """The order book of an energy market's last step, exactly as it was cleared.

    Where demand and supply jump (``step`` orders), all that may be bought, or sold, at that price lies between the
    two ends of the jump. Interpolated orders make lines that are straight between ticks.

    Parameters
    ----------
    engine:
        Of an :class:`EnergyMarket`, after a step.
    world:
        Which of its worlds.

    Raises
    ------
    RuntimeError
        Before the first step of an episode.
    TypeError, ValueError
        If an argument is not as above.
    """
    game = engine.game
    if not isinstance(game, EnergyMarket):
        raise TypeError(f"engine must be that of an EnergyMarket, got one of {type(game).__name__}")
    world = checks.integer("world", world, 0, engine.n_worlds - 1)
    if engine.time == 0:
        raise RuntimeError("order_book() was called before the first step of the episode")
    signal = engine.signal[world].astype(np.float64)
    # The signal already tells the tariffs of the coming step.
    day, step = int(signal[DAY]), engine.time - 1
    step %= game.days.steps
    feed_in, retail = float(game.constants.feed_in[day, step]), float(game.constants.retail[day, step])
    levels = n_levels(game.orders, game.n_ticks, game.width_in_ticks)
    per_capita = engine.counts[world].astype(np.float64) / game.n_agents
    ticks, demand, supply = _curves(
        game.orders, per_capita[:levels], per_capita[levels : 2 * levels], game.n_ticks, game.width_in_ticks
    )
    prices = feed_in + ticks / game.n_ticks * (retail - feed_in)
    return OrderBook(prices, demand, supply, feed_in, retail, float(signal[PRICE]), float(signal[VOLUME]))


def _curves(orders: str, buys: Array, sells: Array, n_ticks: int, width: int) -> tuple[Array, Array, Array]:
    """Prices in ticks, demand and supply, from what is counted at each level."""
    if orders == "linear":
        return np.array([0.0, n_ticks]), np.repeat(buys, 2), np.repeat(sells, 2)
    if orders == "step":
        above = np.append(np.cumsum(buys[::-1])[::-1], 0.0)
        below = np.append(0.0, np.cumsum(sells))
        # Before and after each tick: what is willing at it may be filled or not.
        ends = np.column_stack([np.arange(n_ticks + 1), np.arange(1, n_ticks + 2)]).ravel()
        return np.repeat(np.arange(n_ticks + 1.0), 2), above[ends], below[ends]
    ticks = np.arange(n_ticks + 1.0)
    bought = np.clip((np.arange(len(buys)) - ticks[:, None]) / width, 0.0, 1.0)
    return ticks, bought @ buys, (1.0 - bought) @ sells
