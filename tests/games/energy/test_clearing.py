"""Clearing against books by hand, a linear programme, and brute force over prices."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from mfenvs.games.energy.clearing import (
    N_CLEARED,
    ORDERS,
    PRICE,
    VOLUME,
    Book,
    clear_orders,
    clearing_rules,
    n_levels,
    reciprocal,
)

FEED_IN, RETAIL, TICK = 0.08, 0.32, 0.001
PRICES = st.integers(81, 319).map(lambda k: k / 1000)
QUANTITIES = st.integers(1, 64).map(lambda k: k / 16)
BOOKS = st.lists(st.tuples(PRICES, QUANTITIES), max_size=8)


# By hand: the exact auction.


@pytest.mark.parametrize(
    ("buys", "sells", "price", "volume"),
    [
        ([(0.25, 2)], [(0.10, 3)], 0.10, 2),
        ([(0.25, 2)], [(0.10, 2)], 0.175, 2),
        ([(0.10, 2)], [(0.25, 2)], 0.175, 0),
        ([(0.30, 1), (0.20, 1)], [(0.12, 1), (0.18, 1)], 0.19, 2),
        ([(0.25, 3)], [(0.10, 2)], 0.25, 2),
        # The last buyer is not filled and keeps the price up; the last seller keeps it down.
        ([(0.25, 2), (0.15, 1)], [(0.10, 2)], 0.20, 2),
        ([(0.25, 2)], [(0.10, 2), (0.20, 1)], 0.15, 2),
        # No orders, one side only.
        ([], [], 0.20, 0),
        ([(0.25, 1)], [], (0.25 + RETAIL) / 2, 0),
        ([], [(0.25, 1)], (FEED_IN + 0.25) / 2, 0),
    ],
)
def test_books_by_hand(buys, sells, price, volume):
    found = clear_orders(buys, sells)
    assert found.price == pytest.approx(price, abs=1e-12)
    assert found.volume == pytest.approx(volume, abs=1e-12)


def test_the_margin_is_filled_pro_rata():
    found = clear_orders([(0.25, 3)], [(0.10, 1), (0.20, 1), (0.20, 3)])
    assert found.price == pytest.approx(0.20)
    assert_allclose(found.bought, [3])
    assert_allclose(found.sold, [1, 0.5, 1.5])
    assert (found.local_buy, found.local_sell) == (1, 1)
    found = clear_orders([(0.25, 1), (0.15, 1), (0.15, 3)], [(0.10, 3)])
    assert_allclose(found.bought, [1, 0.5, 1.5])


@pytest.mark.parametrize("orders", ["step", "interpolated"])
def test_the_grid_is_the_backstop(orders):
    """At the retail tariff all that is bought at any price is there, at the feed-in tariff all that is sold so."""
    short = clear_orders([(RETAIL, 4), (0.2, 1)], [(FEED_IN, 1)], orders=orders)
    assert short.price == pytest.approx(RETAIL)
    assert_allclose(short.bought, [4, 0])
    assert (short.volume, short.local_buy, short.local_sell) == pytest.approx((1, 0.25, 1))
    long = clear_orders([(RETAIL, 1)], [(FEED_IN, 4), (0.2, 1)], orders=orders)
    assert long.price == pytest.approx(FEED_IN)
    assert_allclose(long.sold, [4, 0])
    assert (long.volume, long.local_buy, long.local_sell) == pytest.approx((1, 1, 0.25))
    alone = clear_orders([(RETAIL, 2)], [], orders=orders)
    assert (alone.price, alone.volume, alone.bought) == (pytest.approx(RETAIL), 0, (2.0,))
    assert clear_orders([], [(FEED_IN, 2)], orders=orders).sold == (2.0,)


def test_linear_prices_by_hand():
    found = clear_orders([(0.1, 4), (0.3, 2)], [(0.3, 3)], orders="linear", intercept=0.2, slope=0.06)
    assert found.price == pytest.approx(0.2 + 0.06 * 3 / 3)
    assert_allclose(found.bought + found.sold, [4, 2, 3])
    assert (found.volume, found.local_buy, found.local_sell) == pytest.approx((3, 0.5, 1))
    assert clear_orders([(0.3, 90)], [], orders="linear").price == pytest.approx(RETAIL)
    assert clear_orders([], [(0.3, 90)], orders="linear").price == pytest.approx(FEED_IN)


def test_an_interpolated_book_by_hand():
    """Two limits a width apart: the ramp of a buy falls, that of a sell rises.

    With 100 ticks and a width of 50, a buy at level l is filled by clip((150 l - p) / 50), a sell by the rest. A
    buy of 1 at 2/3 (150 l = 100) and a sell of 1 at 1/3 (50): excess clip((100 - p) / 50) + clip((50 - p) / 50)
    - 1 is 0 at p = 50 only: all is filled.
    """
    found = clear_orders(
        [(2 / 3, 1)], [(1 / 3, 1)], feed_in=0, retail=1, orders="interpolated", n_ticks=100, width=50
    )
    assert found.price == pytest.approx(0.5, abs=1e-6)
    assert_allclose(found.bought + found.sold, [1, 1], atol=1e-6)
    # A sell of 3: clip((100 - p) / 50) + 3 clip((50 - p) / 50) = 3, so p = 50 / 3 where the buy is full: sold 1.
    found = clear_orders(
        [(2 / 3, 1)], [(1 / 3, 3)], feed_in=0, retail=1, orders="interpolated", n_ticks=100, width=50
    )
    assert found.price == pytest.approx(1 / 6, abs=1e-6)
    assert_allclose(found.bought + found.sold, [1, 1], atol=1e-6)


# Against a linear programme and brute force.


def most_surplus(buys, sells):
    """What trade is worth at most: sum of limits of buys less those of sells, by a linear programme."""
    n = len(buys) + len(sells)
    if not buys or not sells:
        return 0.0
    worth = [-p for p, _ in buys] + [p for p, _ in sells]
    balance = [[1.0] * len(buys) + [-1.0] * len(sells)]
    solved = linprog(worth, A_eq=balance, b_eq=[0], bounds=[(0, q) for _, q in (*buys, *sells)])
    assert solved.status == 0
    assert len(solved.x) == n
    return -solved.fun


@settings(max_examples=150)
@given(BOOKS, BOOKS)
def test_the_exact_auction_makes_the_most_of_trade(buys, sells):
    found = clear_orders(buys, sells)
    worth = sum(p * b for (p, _), b in zip(buys, found.bought, strict=True))
    cost = sum(p * s for (p, _), s in zip(sells, found.sold, strict=True))
    assert worth - cost == pytest.approx(most_surplus(buys, sells), abs=1e-9)
    assert sum(found.bought) == pytest.approx(sum(found.sold), abs=1e-9)
    assert sum(found.bought) == pytest.approx(found.volume, abs=1e-9)


@settings(max_examples=150)
@given(BOOKS, BOOKS)
def test_the_price_is_the_middle_of_those_at_which_demand_meets_supply(buys, sells):
    """By brute force over all ticks and the points between them."""

    def meets(price):
        least_bought = sum(q for p, q in buys if p > price + 1e-9)
        most_bought = sum(q for p, q in buys if p > price - 1e-9)
        least_sold = sum(q for p, q in sells if p < price - 1e-9)
        most_sold = sum(q for p, q in sells if p < price + 1e-9)
        return least_bought <= most_sold and least_sold <= most_bought

    prices = np.arange(160, 641) / 2000
    good = [p for p in prices if meets(p)]
    assert clear_orders(buys, sells).price == pytest.approx((good[0] + good[-1]) / 2, abs=TICK / 2 + 1e-9)
    on_ticks = [p for p in good if round(p * 2000) % 2 == 0]
    if len(on_ticks) == len(good) == 1:
        assert clear_orders(buys, sells).price == pytest.approx(good[0], abs=1e-9)


@settings(max_examples=100)
@given(BOOKS, BOOKS, st.sampled_from(ORDERS))
def test_nobody_trades_at_a_worse_price_than_its_limit(buys, sells, orders):
    """Interpolated orders: by no more than their width."""
    found = clear_orders(buys, sells, orders=orders)
    if orders == "linear":
        return
    slack = 0.0201 if orders == "interpolated" else 1e-9
    for (limit, q), bought in zip(buys, found.bought, strict=True):
        assert bought == pytest.approx(0, abs=1e-6) or found.price <= limit + slack
        assert bought == pytest.approx(q, abs=1e-6) or found.price >= limit - slack
    for (limit, q), sold in zip(sells, found.sold, strict=True):
        assert sold == pytest.approx(0, abs=1e-6) or found.price >= limit - slack
        assert sold == pytest.approx(q, abs=1e-6) or found.price <= limit + slack


@settings(max_examples=60)
@given(BOOKS, BOOKS, st.sampled_from(ORDERS), st.randoms(use_true_random=False), st.integers(2, 5))
def test_only_the_law_of_orders_matters(buys, sells, orders, random, k):
    """Permuted, the same; k-fold, the same price and shares, and k times the volume."""
    found = clear_orders(buys, sells, orders=orders)
    permuted = random.sample(buys, len(buys))
    again = clear_orders(permuted, sells, orders=orders)
    assert again.price == pytest.approx(found.price, abs=1e-7)
    assert again.volume == pytest.approx(found.volume, abs=1e-6)
    many = clear_orders(buys * k, sells * k, orders=orders)
    assert many.price == pytest.approx(found.price, abs=1e-7)
    assert many.volume == pytest.approx(k * found.volume, abs=1e-6)
    assert_allclose(many.bought, found.bought * k, atol=1e-6)


@settings(max_examples=60)
@given(BOOKS, BOOKS, PRICES, QUANTITIES)
def test_interpolated_prices_rise_with_demand_and_what_is_bought_is_sold(buys, sells, price, quantity):
    found = clear_orders(buys, sells, orders="interpolated")
    more = clear_orders([*buys, (price, quantity)], sells, orders="interpolated")
    assert more.price >= found.price - 1e-7
    within = [found.local_buy * b for b in found.bought], [found.local_sell * s for s in found.sold]
    assert sum(within[0]) == pytest.approx(sum(within[1]), abs=1e-9)
    assert sum(within[0]) == pytest.approx(found.volume, abs=1e-9)
    if FEED_IN + 1e-6 < found.price < RETAIL - 1e-6:  # The grid has no part in it.
        assert sum(found.bought) == pytest.approx(sum(found.sold), abs=1e-5)


def test_interpolated_prices_are_continuous_where_exact_ones_jump():
    """A buyer with a little more or less than the seller's 2 kWh moves an exact price by .15 EUR."""
    jump = [clear_orders([(0.25, q)], [(0.10, 2)]).price for q in (1.999, 2.001)]
    assert jump == pytest.approx([0.10, 0.25])
    limits = np.linspace(0.2, 0.22, 401)
    prices = [
        clear_orders([(RETAIL, 1), (p, 2)], [(FEED_IN, 1), (0.21, 1)], orders="interpolated").price for p in limits
    ]
    assert np.abs(np.diff(prices)).max() < 1e-4
    assert prices[-1] - prices[0] > 1e-3


# Amounts whose sums are rounded. The oracle counts in whole thousandths of EUR and tenths of kWh.

TENTHS = st.integers(1, 30)
DECIMAL_BOOKS = st.lists(st.tuples(st.integers(81, 319), TENTHS), max_size=7)
ROUNDED = pytest.mark.parametrize("orders", ["step", "interpolated"])


def in_floats(book):
    return [(price / 1000, quantity / 10) for price, quantity in book]


@st.composite
def balanced_books(draw):
    """Buys above a price and sells below it of the same sum, and orders that are not filled at it."""
    between = draw(st.integers(90, 310))
    above, below = st.integers(between, 319), st.integers(81, between)
    buys = draw(st.lists(st.tuples(above, TENTHS), min_size=1, max_size=6))
    total = sum(quantity for _, quantity in buys)
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=9)))
    parts = [end - start for start, end in itertools.pairwise([0, *cuts, total])]
    sells = [(draw(below), part) for part in parts]
    buys += draw(st.lists(st.tuples(below, TENTHS), max_size=3))
    sells += draw(st.lists(st.tuples(above, TENTHS), max_size=3))
    return buys, sells


def exact_price(orders, buys, sells):
    """The middle of all prices at which demand meets supply, in integers up to the last step."""
    if orders == "step":

        def meets(half_tick):
            demand = [sum(q for p, q in buys if 2 * (p - 80) + closed > half_tick) for closed in (0, 1)]
            supply = [sum(q for p, q in sells if 2 * (p - 80) - closed < half_tick) for closed in (0, 1)]
            return demand[0] <= supply[1] and supply[0] <= demand[1]

        good = [half_tick for half_tick in range(481) if meets(half_tick)]
        return 0.08 + (good[0] + good[-1]) / 4000
    # A level t is between the cells 13 t / 12: amounts below are 240-fold.

    def filled(price, tick):
        cell, twelfths = divmod(13 * (price - 80), 12)
        here, above = (min(max(c - tick, 0), 20) for c in (cell, cell + 1))
        return (12 - twelfths) * here + twelfths * above

    excess = [
        sum(q * filled(p, tick) for p, q in buys) - sum(q * (240 - filled(p, tick)) for p, q in sells)
        for tick in range(241)
    ]
    low = next((tick for tick in range(241) if excess[tick] <= 0), 240)
    high = next((tick for tick in range(240, -1, -1) if excess[tick] >= 0), 0)
    if low > 0 and excess[low] < 0:
        low += Fraction(excess[low], excess[low - 1] - excess[low]) if excess[low - 1] > 0 else 0
    if high < 240 and excess[high] > 0:
        high += Fraction(excess[high], excess[high] - excess[high + 1])
    return 0.08 + float(low + high) / 2000


@ROUNDED
@pytest.mark.parametrize(
    ("buys", "sells", "price"),
    [
        ([(0.3, 0.3)], [(0.1, 0.3), (0.28, 5)], 0.19),
        ([(0.3, 0.3)], [(0.1, 0.1), (0.1, 0.2), (0.28, 5)], 0.19),
        ([(0.3, 1.0)], [(0.1, 0.1)] * 10 + [(0.28, 1)], 0.19),
        ([(0.3, 0.1)] * 10 + [(0.12, 1)], [(0.1, 1.0)], 0.21),
        ([(0.3, 0.3)], [(0.1, 0.1), (0.1, 0.2), (0.28, 5e7)], 0.19),
        ([(0.26, 0.1)], [(0.28, 5e7)], 0.27),
    ],
)
def test_rounded_sums_do_not_set_the_price(orders, buys, sells, price):
    """The middle between a buy and a sell that fill each other; large orders that are not filled have no say."""
    found = clear_orders(buys, sells, orders=orders)
    # An interpolated order's range is up to a width off its limit.
    assert found.price == pytest.approx(price, abs=1e-12 if orders == "step" else 0.01)


@ROUNDED
@settings(max_examples=150, deadline=None)
@given(balanced_books())
def test_prices_of_books_that_balance_are_exact(orders, book):
    buys, sells = book
    price = clear_orders(in_floats(buys), in_floats(sells), orders=orders).price
    assert price == pytest.approx(exact_price(orders, buys, sells), abs=1e-12 if orders == "step" else 2e-4)


@ROUNDED
@settings(max_examples=100, deadline=None)
@given(DECIMAL_BOOKS, DECIMAL_BOOKS)
def test_prices_of_all_decimal_books_are_exact(orders, buys, sells):
    found = clear_orders(in_floats(buys), in_floats(sells), orders=orders)
    assert found.price == pytest.approx(exact_price(orders, buys, sells), abs=1e-12 if orders == "step" else 2e-4)
    # Nobody gets more than the whole, not even by rounding.
    assert all(0 <= bought <= q / 10 for bought, (_, q) in zip(found.bought, buys, strict=True))
    assert all(0 <= sold <= q / 10 for sold, (_, q) in zip(found.sold, sells, strict=True))


@settings(max_examples=100, deadline=None)
@given(
    balanced_books(),
    st.sampled_from(ORDERS),
    st.integers(2, 10),
    st.randoms(use_true_random=False),
)
def test_parts_and_permutations_of_orders_clear_as_the_whole(book, orders, n_parts, random):
    buys, sells = map(in_floats, book)
    found = clear_orders(buys, sells, orders=orders, slope=0.0)
    split = [(price, quantity / n_parts) for price, quantity in sells for _ in range(n_parts)]
    again = clear_orders(
        random.sample(buys, len(buys)), random.sample(split, len(split)), orders=orders, slope=0.0
    )
    assert again.price == pytest.approx(found.price, abs=1e-9)
    assert again.volume == pytest.approx(found.volume, rel=1e-9)
    assert sum(again.bought) == pytest.approx(sum(found.bought), rel=1e-9)


@ROUNDED
def test_a_thousand_orders_balance_in_single_precision(orders):
    """A thousand times .1 kWh against 333 times .3 and once .1: single precision has neither of them exactly."""
    rules, book = clearing_rules(orders), Book(240, 20, np.float32(1 / 20), np.float32(0), np.float32(0))
    sums = np.zeros(2 * n_levels(orders, 240, 20))
    cleared = np.zeros(N_CLEARED, np.float32)
    buys, sells = [(11 / 12, 0.1)] * 1000, [(1 / 12, 0.3)] * 333 + [(1 / 12, 0.1), (0.5, 9)]
    for side, is_sale in ((buys, False), (sells, True)):
        for level, quantity in side:
            rules.add(sums, is_sale, np.float32(level), np.float32(quantity), book)
    counts = sums.astype(np.float32)
    rules.clear(counts, np.float32(1e-3), np.float32(0.08), np.float32(0.32), book, cleared)
    # Between .10 and the sell at .20 that is not filled.
    assert cleared[PRICE] == pytest.approx(0.15, abs=1e-6 if orders == "step" else 0.01)
    assert cleared[VOLUME] == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(("sold", "price"), [(1 - 2e-6, 0.3), (1 - 5e-7, 0.2), (1 + 5e-7, 0.2), (1 + 2e-6, 0.1)])
def test_a_book_balances_within_a_millionth_of_its_volume(sold, price):
    """What is not matched within that is the grid's."""
    found = clear_orders([(0.3, 2.0)], [(0.1, 2 * sold)])
    assert found.price == pytest.approx(price, abs=1e-12)
    if price == 0.2:
        assert found.bought + found.sold == (2, 2 * sold)
        assert found.local_buy * 2 == pytest.approx(found.volume, rel=1e-12)
        assert found.local_sell * 2 * sold == pytest.approx(found.volume, rel=1e-12)


# Bad arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"buys": [(0.33, 1)]},
            ValueError,
            r"the price of buys\[0\] must be a finite number in \[0.08, 0.32\], got 0.33",
        ),
        (
            {"sells": [(0.2, 1), (0.2, -1)]},
            ValueError,
            r"the quantity of sells\[1\] must be a finite number in \[0, 1e.12\]",
        ),
        ({"buys": [(math.nan, 1)]}, ValueError, r"the price of buys\[0\]"),
        ({"retail": 0.08}, ValueError, "retail must be a finite number in"),
        ({"orders": "best"}, ValueError, "orders must be one of 'interpolated', 'step', 'linear', got 'best'"),
        ({"n_ticks": 0}, ValueError, r"n_ticks must be an integer in \[1, 100000\], got 0"),
        ({"width": 0}, ValueError, r"width must be an integer in \[1, 100000\], got 0"),
        ({"n_ticks": 10**12}, ValueError, r"n_ticks must be an integer in \[1, 100000\]"),
        ({"retail": 1e308, "feed_in": -1e308}, ValueError, "feed_in must be a finite number in"),
        ({"buys": [(0.1, 1e308)] * 9}, ValueError, r"the quantity of buys\[0\]"),
        ({"buys": 3}, TypeError, "buys must be a sequence of pairs of price and quantity, got 3"),
        ({"sells": [(0.1, 1), 0.2]}, TypeError, r"sells\[1\] must be a pair of price and quantity, got 0.2"),
        (
            {"sells": [(0.1, 1, 2)]},
            TypeError,
            r"sells\[0\] must be a pair of price and quantity, got \(0.1, 1, 2\)",
        ),
        ({"sells": ["ab"]}, TypeError, r"the price of sells\[0\] must be"),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        clear_orders(**{"buys": [], "sells": []} | arguments)


def test_the_reciprocal_of_a_width_is_not_rounded_down():
    """Else orders at level 1 would be filled by a little less than their whole where the market is cleared."""
    for width in range(1, 3000):
        assert 1.0 <= float(reciprocal(width)) * width < 1.0 + 2e-7
