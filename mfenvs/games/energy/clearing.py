"""Clearing of a sealed-bid call auction at one price, from the histogram of its orders.

A k-double auction with k = 1/2 between the grid's two tariffs: the grid buys any amount at the feed-in tariff and
sells any amount at the retail tariff, so the price lies between them [S, R]. Limit prices are *levels*: 0 is the
feed-in and 1 the retail tariff. Orders are counted on a grid of ``n_ticks`` levels (+ ``width`` for interpolated
orders), buys first, then sells: what matters is the law of the orders, not whose they are, so the same rules clear
the market of N agents and that of a mean field. Three kinds of orders:

``step``
    An order is filled at every price that is better than its limit, not at all at a worse one, and *pro rata* at
    its limit (the exact auction, on ticks). The price is the midpoint of all prices at which demand meets supply.
``interpolated``
    An order is filled in part over a range of prices of ``width`` ticks, linearly: demand and supply are
    continuous in the price, and the price is Lipschitz in the law where they cross [O]. The ranges are laid such
    that a buy at level 1 is filled at any price and a buy at level 0 at none; sells the other way round.
``linear``
    All orders are filled at the price clip(intercept + slope x net demand per agent, feed-in, retail), whatever
    their limits [O]. What the community does not settle within itself is the grid's.

Whatever the kind: bought is matched with sold, and what is left over on one side is the grid's, shared among all
orders of that side in proportion. At the retail tariff every buy at level 1 is filled, at the feed-in tariff every
sell at level 0: the grid is the backstop.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.rules import rule

ORDERS = ("interpolated", "step", "linear")
"""The kinds of orders."""

PRICE, LOCAL_BUY, LOCAL_SELL, VOLUME, MARGIN, BUY_SHARE, SELL_SHARE = range(7)
"""What the clearing of a market writes: entries of the array ``cleared``.

The price, in EUR/kWh; which part of what is bought, and of what is sold, is traded within the community; how much
that is, in kWh per agent; then what the rules ``fill`` read: the price in ticks, and which part of the buys and
the sells at just that price is filled.
"""
N_CLEARED = 7

BALANCED = 1e-7
"""Interpolated demand and supply that differ by less than this part of all orders are equal: counts are
rounded."""


class Book(NamedTuple):
    """The terms of an auction, as rules read them."""

    n_ticks: Any
    """Number of steps in which the range from feed-in to retail tariff is divided."""
    width: Any
    """Over how many of them an interpolated order is filled."""
    per_width: Any
    """The reciprocal of that."""
    intercept: Any
    slope: Any
    """Of linear orders: EUR/kWh, and EUR/kWh per kWh of net demand per agent."""


class ClearingRules(NamedTuple):
    """The rules of one kind of orders."""

    add: Callable[..., Any]
    """``add(counts, is_sale, level, quantity, book)``: count an order."""
    clear: Callable[..., Any]
    """``clear(counts, per_agent, feed_in, retail, book, cleared)``: find the price."""
    fill: Callable[..., Any]
    """``fill(is_sale, level, book, cleared)``: which part of an order is filled."""


def n_levels(orders: str, n_ticks: int, width: int) -> int:
    """Number of levels at which buys, and sells, are counted."""
    return {"step": n_ticks + 1, "interpolated": n_ticks + width + 1, "linear": 1}[orders]


@functools.cache
def clearing_rules(orders: str) -> ClearingRules:
    """The rules of one of :data:`ORDERS`."""
    return {
        "step": ClearingRules(add_step, clear_step, fill_step),
        "interpolated": ClearingRules(add_interpolated, clear_interpolated, fill_interpolated),
        "linear": ClearingRules(add_linear, clear_linear, fill_linear),
    }[orders]


ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@rule
def share_out(bought: Any, sold: Any, per_agent: Any, cleared: Any) -> None:
    """Match what is bought with what is sold; the rest of the longer side is the grid's, in proportion."""
    traded = min(bought, sold)
    cleared[LOCAL_BUY] = traded / bought if bought > 0.0 else 0.0
    cleared[LOCAL_SELL] = traded / sold if sold > 0.0 else 0.0
    cleared[VOLUME] = traded * per_agent


# Steps: the exact auction.


@rule
def add_step(counts: Any, is_sale: Any, level: Any, quantity: Any, book: Any) -> None:
    """Count an order at the nearest tick."""
    tick = int(level * book.n_ticks + HALF)
    counts[tick + (book.n_ticks + 1 if is_sale else 0)] += quantity


@rule
def clear_step(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """Match the highest bids with the lowest offers, as long as they agree."""
    last, sells = book.n_ticks, book.n_ticks + 1
    buyer, seller = last, 0
    lowest_filled, highest_filled = last + 1, -1
    left_to_buy, left_to_sell = counts[buyer], counts[sells]
    traded = counts[0] * 0
    while True:
        while buyer >= 0 and left_to_buy <= 0.0:
            buyer -= 1
            left_to_buy = counts[buyer] if buyer >= 0 else counts[0] * 0
        while seller <= last and left_to_sell <= 0.0:
            seller += 1
            left_to_sell = counts[sells + seller] if seller <= last else counts[0] * 0
        if buyer < seller or buyer < 0 or seller > last:
            break
        matched = min(left_to_buy, left_to_sell)
        traded += matched
        left_to_buy -= matched
        left_to_sell -= matched
        lowest_filled, highest_filled = buyer, seller
    # A price is one at which demand meets supply if no bid that was not filled is above it, and none that was is
    # below it; the same the other way round for offers.
    low, high = max(buyer, highest_filled, 0), min(lowest_filled, seller, last)
    price = 0.5 * (low + high)
    cleared[PRICE] = feed_in + price / last * (retail - feed_in)
    cleared[MARGIN] = price
    cleared[BUY_SHARE], cleared[SELL_SHARE] = 1.0, 1.0
    bought, sold = traded, traded
    if buyer == last:  # The grid sells what is missing at the retail tariff.
        bought += left_to_buy
    elif buyer == lowest_filled:
        cleared[BUY_SHARE] = 1.0 - left_to_buy / counts[buyer]
    if seller == 0:  # It takes what is too much at the feed-in tariff.
        sold += left_to_sell
    elif seller == highest_filled:
        cleared[SELL_SHARE] = 1.0 - left_to_sell / counts[sells + seller]
    share_out(bought, sold, per_agent, cleared)


@rule
def fill_step(is_sale: Any, level: Any, book: Any, cleared: Any) -> Any:
    """All at a better limit than the price, a share at the price itself, nothing else."""
    tick = int(level * book.n_ticks + HALF)
    beyond = cleared[MARGIN] - tick if is_sale else tick - cleared[MARGIN]
    at_margin = cleared[SELL_SHARE] if is_sale else cleared[BUY_SHARE]
    return (ONE if beyond > ZERO else ZERO) + (at_margin if beyond == ZERO else ZERO)


# Interpolated: the ramp of an order ends at its cell. A buy is filled up to (cell - price) / width, a sell to the
# rest.


@rule
def cell_of(level: Any, book: Any) -> Any:
    """The first of the two cells between which an order is counted, and how much of it is in the second."""
    position = level * np.float32(book.n_ticks + book.width)
    cell = min(int(position), book.n_ticks + book.width - 1)
    return cell, position - cell


@rule
def add_interpolated(counts: Any, is_sale: Any, level: Any, quantity: Any, book: Any) -> None:
    """Count an order at the two cells next to its own, so that what is counted is continuous in its level."""
    cell, upper = cell_of(level, book)
    first = cell + (book.n_ticks + book.width + 1 if is_sale else 0)
    counts[first] += (ONE - upper) * quantity
    counts[first + 1] += upper * quantity


@rule
def ramp(cell: Any, price: Any, per_width: Any) -> Any:
    """Which part of a buy in a cell is filled at a price, both in ticks."""
    return min(max((np.float32(cell) - price) * per_width, ZERO), ONE)


@rule
def clear_interpolated(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """Walk along the excess demand, which falls linearly from tick to tick, to where it is zero."""
    last, width = book.n_ticks, book.width
    sells = last + width + 1
    # Filling a sell less is like buying more: excess demand is what all orders buy, less all that is offered.
    excess, orders = 0.0, 0.0
    for cell in range(sells):
        both = np.float64(counts[cell]) + np.float64(counts[sells + cell])
        orders += both
        excess += both * ramp(cell, 0, book.per_width) - counts[sells + cell]
    tolerance = BALANCED * orders
    in_ramp = 0.0
    for cell in range(1, width + 1):
        in_ramp += np.float64(counts[cell]) + np.float64(counts[sells + cell])
    low, high = 0.0, 0.0
    has_low, has_high = excess <= tolerance, excess < -tolerance
    tick = 0
    while tick < last and not has_high:
        after = excess - in_ramp / width
        if not has_low and after <= tolerance:
            low, has_low = tick + (excess - tolerance) / (excess - after), True
        if after < -tolerance:
            high, has_high = tick + (excess + tolerance) / (excess - after), True
        excess = after
        tick += 1
        if tick < last:
            upper, lower = tick + width, tick
            in_ramp += np.float64(counts[upper]) + np.float64(counts[sells + upper])
            in_ramp -= np.float64(counts[lower]) + np.float64(counts[sells + lower])
    if not has_low:
        low = np.float64(last)
    if not has_high:
        high = np.float64(last)
    price = 0.5 * (low + high)
    bought, sold = 0.0, 0.0
    for cell in range(sells):
        filled = ramp(cell, price, book.per_width)
        bought += filled * counts[cell]
        sold += (1.0 - filled) * counts[sells + cell]
    cleared[PRICE] = feed_in + price / last * (retail - feed_in)
    cleared[MARGIN] = price
    share_out(bought, sold, per_agent, cleared)


@rule
def fill_interpolated(is_sale: Any, level: Any, book: Any, cleared: Any) -> Any:
    """The height of the order's ramp at the price; an order is filled as it was counted, in two cells."""
    cell, upper = cell_of(level, book)
    price = cleared[MARGIN]
    here, above = ramp(cell, price, book.per_width), ramp(cell + 1, price, book.per_width)
    bought = here + upper * (above - here)
    return ONE - bought if is_sale else bought


# Linear: a price, and no auction.


@rule
def add_linear(counts: Any, is_sale: Any, level: Any, quantity: Any, book: Any) -> None:
    """Count an order, whatever its limit."""
    counts[1 if is_sale else 0] += quantity


@rule
def clear_linear(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """The price rises with the net demand per agent."""
    price = book.intercept + book.slope * (counts[0] - counts[1]) * per_agent
    cleared[PRICE] = min(max(price, feed_in), retail)
    share_out(counts[0], counts[1], per_agent, cleared)


@rule
def fill_linear(is_sale: Any, level: Any, book: Any, cleared: Any) -> Any:
    """All of it."""
    return ONE


# For books of orders that no game makes.


@dataclasses.dataclass(frozen=True)
class Clearing:
    """How a book of orders was cleared."""

    price: float
    """EUR/kWh."""
    volume: float
    """What was traded among the orders, in the unit of the quantities."""
    bought: tuple[float, ...]
    sold: tuple[float, ...]
    """What of every order was filled, by others or by the grid."""
    local_buy: float
    local_sell: float
    """Which part of that was filled by others."""


def clear_orders(
    buys: Sequence[tuple[float, float]],
    sells: Sequence[tuple[float, float]],
    *,
    feed_in: float = 0.08,
    retail: float = 0.32,
    orders: str = "step",
    n_ticks: int = 240,
    width: int = 20,
    intercept: float = 0.2,
    slope: float = 0.05,
) -> Clearing:
    """Clear a book of orders as the game does, in double precision.

    Parameters
    ----------
    buys, sells:
        Limit prices in EUR/kWh, within the tariffs, and quantities >= 0.
    feed_in, retail:
        The tariffs between which the price lies, in EUR/kWh.
    orders, n_ticks, width, intercept, slope:
        As in :class:`mfenvs.games.energy.EnergyMarket`; ``intercept`` and ``slope`` are those of linear orders,
        whose net demand is taken per order.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    checks.choice("orders", orders, ORDERS)
    feed_in = checks.real("feed_in", feed_in)
    retail = checks.real("retail", retail, feed_in, exclude_low=True)
    n_ticks, width = checks.integer("n_ticks", n_ticks, 1), checks.integer("width", width, 1)
    prices, quantities = [], []
    for name, side in (("buys", buys), ("sells", sells)):
        for i, (price, quantity) in enumerate(side):
            prices.append(checks.real(f"the price of {name}[{i}]", price, feed_in, retail))
            quantities.append(checks.real(f"the quantity of {name}[{i}]", quantity, 0.0))
    levels = (np.array(prices) - feed_in) / (retail - feed_in)
    are_sales = np.arange(len(prices)) >= len(buys)
    book = Book(n_ticks, width, 1.0 / width, checks.real("intercept", intercept), checks.real("slope", slope, 0.0))
    counts, cleared = np.zeros(2 * n_levels(orders, n_ticks, width)), np.zeros(N_CLEARED)
    filled = np.zeros(len(prices))
    per_order = 1.0 / max(1, len(prices))
    _clear_kernel(orders)(
        *(levels, np.array(quantities), are_sales, per_order, feed_in, retail, book, counts, cleared, filled)
    )
    return Clearing(
        price=float(cleared[PRICE]),
        volume=float(cleared[VOLUME] / per_order),
        bought=tuple(filled[: len(buys)].tolist()),
        sold=tuple(filled[len(buys) :].tolist()),
        local_buy=float(cleared[LOCAL_BUY]),
        local_sell=float(cleared[LOCAL_SELL]),
    )


@functools.cache
def _clear_kernel(orders: str) -> Callable[..., Any]:
    add, clear, fill = clearing_rules(orders)

    @kernel
    def clear_book(
        levels: Any,
        quantities: Any,
        are_sales: Any,
        per_order: Any,
        feed_in: Any,
        retail: Any,
        book: Any,
        counts: Any,
        cleared: Any,
        filled: Any,
    ) -> None:
        for i in range(len(levels)):
            add(counts, are_sales[i], levels[i], quantities[i], book)
        clear(counts, per_order, feed_in, retail, book, cleared)
        for i in range(len(levels)):
            filled[i] = quantities[i] * fill(are_sales[i], levels[i], book, cleared)

    return clear_book
