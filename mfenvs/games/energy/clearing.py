"""Clearing of a sealed-bid call auction at one price, from the histogram of its orders.

A k-double auction with k = 1/2 between the grid's two tariffs: the grid buys any amount at the feed-in tariff and
sells any amount at the retail tariff, so the price lies between them [S, R]. Limit prices are given as *levels*: 0
is the feed-in tariff and 1 the retail tariff. Orders are counted on a grid of ``n_ticks`` + 1 levels (``width``
more for interpolated orders), buys first, then sells: what matters is the law of the orders, not whose they are,
so the same rules clear the market of N agents and that of a mean field. Three kinds of orders:

``step``
    An order is filled at every price that is better than its limit, not at all at a worse one, and *pro rata* at
    its limit (the exact auction, on ticks). The price is the midpoint of all prices at which demand meets supply.
``interpolated``
    An order is filled in part over a range of prices of ``width`` ticks, linearly: demand and supply are
    continuous in the price, and the price is Lipschitz in the law where they cross [O]. The ranges are laid such
    that a buy at level 1 is filled at any price and a buy at level 0 at none; sells the other way round. Where
    demand meets supply over a range of prices, the price is its midpoint.
``linear``
    All orders are filled at the price clip(intercept + slope x net demand per agent, feed-in, retail), whatever
    their limits [O]. What the community does not settle within itself is the grid's.

Demand and supply at a price meet, and a book *balances* there, if the larger of them is at most :data:`BALANCED`
above the smaller one, in relative terms. So the price does not hang on the order in which amounts are added, nor
on whether somebody places one order or its parts. The price of linear orders is continuous in the amounts and
needs no such tolerance.

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
from mfenvs.games.energy.single_precision import HALF, ONE, ZERO
from mfenvs.rules import rule

ORDERS = ("interpolated", "step", "linear")
"""The kinds of orders."""

PRICE, LOCAL_BUY, LOCAL_SELL, VOLUME, MARGIN, BUY_SHARE, SELL_SHARE, BOUGHT, SOLD = range(9)
"""What the clearing of a market writes: entries of the array ``cleared``.

The price in EUR/kWh; the share of what is bought, and of what is sold, that is traded within the community; the
amount of that, in kWh per agent; then what the rules ``fill`` read: the price in ticks, and the shares of the buys
and of the sells at just that price that are filled; and all that is bought and sold, in kWh per agent.
"""
N_CLEARED = 9

MOST_TICKS = 100_000
"""Largest number of price steps."""
MOST = 1e12
"""Largest price (EUR/kWh) and quantity (kWh) in a book that a user gives."""

BALANCED = 1e-6
"""Demand and supply are equal if they differ by at most this part of the smaller one, which at the price is the
traded volume. More than the rounding of amounts and sums in single precision (6e-8 each); what is not matched is
the grid's."""

ROUNDING = 1e-12
"""They are also equal if they differ by no more than this part of all orders from whose sum they are found by
subtraction, in double precision."""


class Book(NamedTuple):
    """The terms of an auction, as rules read them."""

    n_ticks: Any
    """Number of price steps between the tariffs."""
    width: Any
    """Number of price steps over which an interpolated order is filled."""
    per_width: Any
    """The reciprocal of ``width``, not rounded down (:func:`reciprocal`)."""
    intercept: Any
    """Price of linear orders at a net demand of zero, EUR/kWh."""
    slope: Any
    """Rise of the price of linear orders with the net demand of a step per agent, EUR/kWh per kWh."""


def reciprocal(width: int) -> np.float32:
    """1 / ``width`` in single precision, rounded such that ``width`` times it is at least 1.

    Firm orders would otherwise be filled by a little less than 1 where the market is cleared.
    """
    rounded = np.float32(1.0 / width)
    return rounded if float(rounded) * width >= 1.0 else np.nextafter(rounded, np.float32(1.0))


class ClearingRules(NamedTuple):
    """The rules of an auction for one kind of orders."""

    add: Callable[..., Any]
    """``add(counts, is_sale, level, quantity, book)``: count an order."""
    add_firm: Callable[..., Any]
    """``add_firm(counts, bought, sold, book)``: count a buy at level 1 and a sell at level 0, which are filled at
    any price."""
    clear: Callable[..., Any]
    """``clear(counts, per_agent, feed_in, retail, book, cleared)``: find the price."""
    fill: Callable[..., Any]
    """``fill(is_sale, level, book, cleared)``: the share of an order that is filled."""


def n_levels(orders: str, n_ticks: int, width: int) -> int:
    """Number of levels at which buys, and sells, are counted."""
    return {"step": n_ticks + 1, "interpolated": n_ticks + width + 1, "linear": 1}[orders]


@functools.cache
def clearing_rules(orders: str) -> ClearingRules:
    """The rules of one of :data:`ORDERS`."""
    rules = {
        "step": (add_step, add_firm_step, clear_step, fill_step),
        "interpolated": (add_interpolated, add_firm_interpolated, clear_interpolated, fill_interpolated),
        "linear": (add_linear, add_firm_linear, clear_linear, fill_linear),
    }
    return ClearingRules(*rules[orders])


@rule
def share_out(bought: Any, sold: Any, per_agent: Any, cleared: Any) -> None:
    """Match what is bought with what is sold; the grid takes the rest of the larger side, in proportion."""
    traded = min(bought, sold)
    cleared[LOCAL_BUY] = traded / bought if bought > 0.0 else 0.0
    cleared[LOCAL_SELL] = traded / sold if sold > 0.0 else 0.0
    cleared[VOLUME] = traded * per_agent
    cleared[BOUGHT], cleared[SOLD] = bought * per_agent, sold * per_agent


@rule
def lead(more: Any, less: Any, rounding: Any) -> Any:
    """By how much one side of the market exceeds what balances the other; not above zero if they balance."""
    return more - (1.0 + BALANCED) * less - rounding


# Steps: the exact auction.


@rule
def add_step(counts: Any, is_sale: Any, level: Any, quantity: Any, book: Any) -> None:
    """Count an order at the nearest tick."""
    tick = int(level * book.n_ticks + HALF)
    counts[tick + (book.n_ticks + 1 if is_sale else 0)] += quantity


@rule
def add_firm_step(counts: Any, bought: Any, sold: Any, book: Any) -> None:
    """Count orders at the last tick and at the first one."""
    counts[book.n_ticks] += bought
    counts[book.n_ticks + 1] += sold


@rule
def clear_step(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """Walk up the ticks to all at which demand meets supply."""
    last, sells = book.n_ticks, book.n_ticks + 1
    demand = 0.0
    for tick in range(sells):
        demand += counts[tick]
    rounding = ROUNDING * demand
    # Demand and supply just above a tick. Prices are too low as long as there is too much demand just above them,
    # and not yet too high if there is not too much supply just below them.
    tick, supply = 0, 0.0 + counts[sells]
    demand -= counts[0]
    while tick < last and lead(demand, supply, rounding) > 0.0:
        tick += 1
        demand -= counts[tick]
        supply += counts[sells + tick]
    low = tick
    while tick < last and lead(supply, demand, rounding) <= 0.0:
        tick += 1
        demand -= counts[tick]
        supply += counts[sells + tick]
    high = tick
    # Everybody with a better limit than the price is filled; at the price itself one side may be in part.
    price = 0.5 * (low + high)
    at_price, has_orders = (low + high) // 2, (low + high) % 2 == 0
    demand, supply = 0.0, 0.0
    for tick in range(at_price + 1, sells):
        demand += counts[tick]
    for tick in range(at_price + (0 if has_orders else 1)):
        supply += counts[sells + tick]
    more_demand = np.float64(counts[at_price]) if has_orders else 0.0
    more_supply = np.float64(counts[sells + at_price]) if has_orders else 0.0
    bought = min(demand + more_demand, max(demand, supply + more_supply))
    sold = min(supply + more_supply, max(supply, demand + more_demand))
    if low == last:  # The grid sells what is missing at the retail tariff.
        bought = demand + more_demand
    if high == 0:  # It takes what is too much at the feed-in tariff.
        sold = supply + more_supply
    cleared[PRICE] = feed_in + price / last * (retail - feed_in)
    cleared[MARGIN] = price
    cleared[BUY_SHARE] = min((bought - demand) / more_demand, 1.0) if more_demand > 0.0 else 1.0
    cleared[SELL_SHARE] = min((sold - supply) / more_supply, 1.0) if more_supply > 0.0 else 1.0
    share_out(bought, sold, per_agent, cleared)


@rule
def fill_step(is_sale: Any, level: Any, book: Any, cleared: Any) -> Any:
    """Fill all of an order whose limit is better than the price, a share at the price itself, else nothing."""
    tick = int(level * book.n_ticks + HALF)
    beyond = cleared[MARGIN] - tick if is_sale else tick - cleared[MARGIN]
    at_margin = cleared[SELL_SHARE] if is_sale else cleared[BUY_SHARE]
    return (ONE if beyond > ZERO else ZERO) + (at_margin if beyond == ZERO else ZERO)


# Interpolated: the ramp of an order ends at its cell. A buy is filled up to (cell - price) / width, a sell to the
# rest.


@rule
def cell_of(level: Any, book: Any) -> Any:
    """The first of the two cells between which an order is counted, and the share of it in the second."""
    last = np.float32(book.n_ticks + book.width)
    position = level * last
    # A comparison as a number: a branch would often be guessed wrongly.
    cell = int(position) - int(position >= last)
    return cell, position - cell


@rule
def add_interpolated(counts: Any, is_sale: Any, level: Any, quantity: Any, book: Any) -> None:
    """Count an order at the two cells next to its own, so that what is counted is continuous in its level."""
    cell, upper = cell_of(level, book)
    first = cell + (book.n_ticks + book.width + 1 if is_sale else 0)
    counts[first] += (ONE - upper) * quantity
    counts[first + 1] += upper * quantity


@rule
def add_firm_interpolated(counts: Any, bought: Any, sold: Any, book: Any) -> None:
    """Count orders in the last cell of the buys and in the first one of the sells."""
    last = book.n_ticks + book.width
    counts[last] += bought
    counts[last + 1] += sold


@rule
def ramp(cell: Any, price: Any, per_width: Any) -> Any:
    """Share of a buy in a cell that is filled at a price, both in ticks."""
    return min(max((np.float32(cell) - price) * per_width, ZERO), ONE)


@rule
def clear_interpolated(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """Walk up the ticks, between which demand and supply are linear, along the prices at which they meet."""
    last, width = book.n_ticks, book.width
    sells = last + width + 1
    demand, supply, orders = 0.0, 0.0, 0.0
    for cell in range(sells):
        to_buy, to_sell = np.float64(counts[cell]), np.float64(counts[sells + cell])
        filled = ramp(cell, 0, book.per_width)
        demand += filled * to_buy
        supply += (1.0 - filled) * to_sell
        orders += to_buy + to_sell
    rounding, per_tick = ROUNDING * orders, 1.0 / width
    # Orders whose ramps go on above the tick.
    bids, offers = 0.0, 0.0
    for cell in range(1, width + 1):
        bids += counts[cell]
        offers += counts[sells + cell]
    tick, missing, surplus = 0, lead(demand, supply, rounding), lead(supply, demand, rounding)
    low = 1.0 * last if missing > 0.0 else 0.0
    high = 0.0 if surplus > 0.0 else 1.0 * last
    while tick < last and surplus <= 0.0:
        demand -= bids * per_tick
        supply += offers * per_tick
        missing_before, surplus_before = missing, surplus
        missing, surplus = lead(demand, supply, rounding), lead(supply, demand, rounding)
        if missing_before > 0.0 and missing <= 0.0:
            low = tick + missing_before / (missing_before - missing)
        if surplus > 0.0:
            high = tick + surplus_before / (surplus_before - surplus)
        tick += 1
        if tick < last:
            bids += np.float64(counts[tick + width]) - np.float64(counts[tick])
            offers += np.float64(counts[sells + tick + width]) - np.float64(counts[sells + tick])
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
    """Fill an order as it was counted, in two cells: up to the height of their ramps at the price."""
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
def add_firm_linear(counts: Any, bought: Any, sold: Any, book: Any) -> None:
    """Count orders."""
    counts[0] += bought
    counts[1] += sold


@rule
def clear_linear(counts: Any, per_agent: Any, feed_in: Any, retail: Any, book: Any, cleared: Any) -> None:
    """The price rises with the net demand per agent."""
    price = book.intercept + book.slope * (counts[0] - counts[1]) * per_agent
    cleared[PRICE] = min(max(price, feed_in), retail)
    share_out(counts[0], counts[1], per_agent, cleared)


@rule
def fill_linear(is_sale: Any, level: Any, book: Any, cleared: Any) -> Any:
    """Fill every order."""
    return ONE


# Books of orders that a user gives.


@dataclasses.dataclass(frozen=True)
class Clearing:
    """How a book of orders was cleared."""

    price: float
    """Price, EUR/kWh."""
    volume: float
    """Amount traded among the orders, kWh."""
    bought: tuple[float, ...]
    """What is bought for each buy, from the sells or from the grid, kWh."""
    sold: tuple[float, ...]
    """What is sold for each sell, to the buys or to the grid, kWh."""
    local_buy: float
    """Share of all that is bought that comes from the sells."""
    local_sell: float
    """Share of all that is sold that goes to the buys."""


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

    A book balances at a price if demand and supply differ by at most :data:`BALANCED` (1e-6) of the smaller one,
    the traded volume; such a rest is the grid's. If it balances over a range of prices, the price is the range's
    midpoint.

    Parameters
    ----------
    buys, sells:
        Pairs of a limit price within the tariffs, EUR/kWh, and a quantity >= 0, kWh.
    feed_in, retail:
        Feed-in and retail tariff, between which the price lies, EUR/kWh.
    orders:
        How orders are filled: ``step``, ``interpolated`` or ``linear``.
    n_ticks:
        Number of price steps between the tariffs; limit prices of ``step`` orders are rounded to them.
    width:
        Number of price steps over which an ``interpolated`` order is filled.
    intercept, slope:
        Price of ``linear`` orders at a net demand of zero, EUR/kWh, and its rise with the net demand per order,
        EUR/kWh per kWh.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    checks.choice("orders", orders, ORDERS)
    feed_in = checks.real("feed_in", feed_in, -MOST, MOST)
    retail = checks.real("retail", retail, feed_in, MOST, exclude_low=True)
    n_ticks = checks.integer("n_ticks", n_ticks, 1, MOST_TICKS)
    width = checks.integer("width", width, 1, MOST_TICKS)
    prices, quantities = [], []
    for name, side in (("buys", buys), ("sells", sells)):
        for i, (price, quantity) in enumerate(_pairs(name, side)):
            prices.append(checks.real(f"the price of {name}[{i}]", price, feed_in, retail))
            quantities.append(checks.real(f"the quantity of {name}[{i}]", quantity, 0.0, MOST))
    levels = (np.array(prices) - feed_in) / (retail - feed_in)
    are_sales = np.arange(len(prices)) >= len(buys)
    intercept, slope = checks.real("intercept", intercept, -MOST, MOST), checks.real("slope", slope, 0.0, MOST)
    book = Book(n_ticks, width, 1.0 / width, intercept, slope)
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


def _pairs(name: str, side: Any) -> list[Any]:
    """One side of a book, of which every order must be a pair."""
    if not isinstance(side, Sequence | np.ndarray):
        raise TypeError(f"{name} must be a sequence of pairs of price and quantity, got {side!r}")
    for i, order in enumerate(side):
        if not isinstance(order, Sequence | np.ndarray) or len(order) != 2:
            raise TypeError(f"{name}[{i}] must be a pair of price and quantity, got {order!r}")
    return list(side)


@functools.cache
def _clear_kernel(orders: str) -> Callable[..., Any]:
    add, _, clear, fill = clearing_rules(orders)

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
