"""Settlement against tiny networks worked by hand, networkx's simple paths, brute force, and books kept here.

Frequencies are compared by exact binomial tails of 1e-9 or less (:mod:`bounds`), and the seeds are fixed.
"""

import dataclasses
import itertools
import math
import pickle

import networkx
import numpy as np
import pytest
from bounds import assert_frequencies
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from mfenvs.energy.settlement import (
    MOST_MSAT,
    ChannelBalances,
    Ledger,
    PaymentChannels,
    PaymentNetwork,
    Router,
    net_transfers,
    summary,
    whole_units,
)

EUR = 1_000_000  # msat in one EUR, at the default of 1,000 sat


def network(n_nodes, *channels):
    """A network of channels (a, b, balance of a, balance of b[, base fee, ppm, latency]), msat."""
    rows = [(*channel, *(0, 0, 0.0)[len(channel) - 4 :]) for channel in channels]
    a, b, mine, theirs, base, ppm, latency = map(list, zip(*rows, strict=True))
    return PaymentNetwork(
        n_nodes=n_nodes,
        ends=np.stack([a, b], 1),
        capacity_msat=np.add(mine, theirs),
        balance_msat=np.array(mine),
        base_fee_msat=np.array(base),
        fee_ppm=np.array(ppm),
        latency_ms=np.array(latency, float),
    )


def chain():
    """0 - 1 - 2 - 3, whose channels ask 7 sat, 1 sat and 1 ppm, 1 sat and 1 %."""
    rich = 5 * EUR
    return network(4, (0, 1, rich, rich, 7000), (2, 1, rich, rich, 1000, 1), (2, 3, rich, rich, 1000, 10_000))


def nodes_of(net, route):
    """The nodes along a route."""
    ends = net.ends.ravel()
    return [int(ends[route[0]]), *(int(ends[channel ^ 1]) for channel in route)]


def pair(amount):
    """Agent 0 pays agent 1."""
    return [amount, -amount]


# Rounding and netting.


def test_rounding_by_hand():
    assert_array_equal(whole_units([1 / 3, 1 / 3, 1 / 3, -1], 100), [34, 33, 33, -100])
    assert_array_equal(whole_units([-0.25, 0.125, 0.125], 10), [-2, 1, 1])
    assert_array_equal(whole_units([0.016, 0.024, 0.0, -0.04], 100), [2, 2, 0, -4])
    assert_array_equal(whole_units([-0.006, 0.024, 0.006, -0.024], 100), [-1, 2, 1, -2])
    assert_array_equal(whole_units([0.001, -0.001], 100), [0, 0])
    assert_array_equal(whole_units([], 100), [])


@given(
    st.lists(st.floats(1e-9, 5.0), min_size=1, max_size=30), st.integers(1, 30), st.sampled_from([10, 1e6, 1e8])
)
def test_rounding_keeps_sum_and_sign(debts, n_creditors, units_per_eur):
    payments = np.array([*debts, *[-sum(debts) / n_creditors] * n_creditors])
    face = whole_units(payments, units_per_eur)
    assert face.sum() == 0
    assert (face * payments >= 0).all()
    assert abs(face - payments * units_per_eur).max() <= 1.5 + 1e-6
    assert abs(face[face > 0].sum() - sum(debts) * units_per_eur) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("payments", "message"),
    [
        ([1.0, -1.0 - 2e-9], "payments must sum to zero within 1e-09"),
        ([1.0, 0.0], "payments must sum to zero"),
        ([1.0, math.nan], r"payments\[1\] must be finite"),
        ([[1.0], [-1.0]], r"payments must have shape \(2,\)"),
        ([1e12, -1e12], "payments must be at most .* EUR in total"),
    ],
)
def test_payments_are_checked(payments, message):
    for settle in (Ledger().settle, PaymentChannels(chain(), [0, 3]).settle):
        with pytest.raises(ValueError, match=message):
            settle(payments)
    with pytest.raises(TypeError, match="payments must be an array of numbers"):
        Ledger().settle(["a", "b"])


def test_tolerance_of_the_sum():
    assert_array_equal(Ledger().settle([1.0, -1.0 - 5e-10]).face_units, [10**8, -(10**8)])


def test_netting_by_hand():
    debtor, creditor, amount = net_transfers(np.array([5, 3, 2, -4, -6, 0]))
    assert list(zip(debtor, creditor, amount, strict=True)) == [(0, 4, 5), (1, 4, 1), (1, 3, 2), (2, 3, 2)]
    debtor, creditor, amount = net_transfers(np.array([-2, 1, -1, 1, 1]))
    assert list(zip(debtor, creditor, amount, strict=True)) == [(1, 0, 1), (3, 0, 1), (4, 2, 1)]


def two_pointers(face):
    """The walk, one transfer after another."""
    debts = sorted(([x, i] for i, x in enumerate(face) if x > 0), key=lambda pair: (-pair[0], pair[1]))
    credits = sorted(([-x, i] for i, x in enumerate(face) if x < 0), key=lambda pair: (-pair[0], pair[1]))
    while debts:
        amount = min(debts[0][0], credits[0][0])
        yield debts[0][1], credits[0][1], amount
        for side in (debts, credits):
            side[0][0] -= amount
            if side[0][0] == 0:
                del side[0]


@given(st.lists(st.integers(-9, 9), max_size=12))
def test_netting_is_the_walk(values):
    face = np.array([*values, -sum(values)])
    transfers = list(zip(*(part.tolist() for part in net_transfers(face)), strict=True))
    assert transfers == list(two_pointers(face.tolist()))
    assert len(transfers) <= max((face != 0).sum() - 1, 0)


# The ledger.


def test_ledger():
    payments = np.array([0.1234567891, 0.3, -0.4, -0.0234567891])
    settled = Ledger().settle(payments)
    settled.check_conservation()
    assert_allclose(settled.net_eur, payments, rtol=0, atol=1e-16)
    assert abs(settled.rounding_eur).max() <= 1e-8
    assert settled.succeeded.all()
    assert not settled.configured_latency_ms.any()
    assert not settled.routing_income_eur.any()

    settled = Ledger(fee_per_payment=0.02).settle([0.5, 0.5, -0.25, -0.75])
    settled.check_conservation()
    # The second pays the rest of .75 and then .25: two transfers.
    assert_allclose(settled.net_eur, [0.52, 0.54, -0.25, -0.75], rtol=1e-12)
    assert settled.operator_income_eur == pytest.approx(0.06, rel=1e-12)
    figures = summary(settled)
    assert (figures.n_transfers, figures.success_rate, figures.parts_per_payment) == (3, 1.0, 1.0)
    assert figures.fees_per_eur == pytest.approx(0.06, rel=1e-12)


def test_nobody_trades():
    for settled in (Ledger().settle(np.zeros(3)), PaymentChannels(chain(), [0, 1, 2]).settle(np.zeros(3))):
        settled.check_conservation()
        assert_array_equal(settled.net_eur, np.zeros(3))
        figures = summary(settled)
        assert figures.n_transfers == 0
        assert math.isnan(figures.success_rate)
        assert math.isnan(figures.configured_latency_p99_ms)


# Fees and balances along a route.


def test_fees_to_the_msat():
    # 3 is to get 1 EUR. Node 2 asks 1,000 + 10,000, so it must get 1,011,000; node 1 asks 1,000 + floor(1.011).
    channels = PaymentChannels(chain(), [0, 3], latency_log_sd=0.0)
    settled = channels.settle(pair(1.0))
    settled.check_conservation()
    assert settled.fee_units.tolist() == [12_001]
    assert settled.routing_income_node_units.tolist() == [0, 1001, 11_000, 0]
    assert channels.balances_msat.tolist() == [
        [5 * EUR - 1_012_001, 5 * EUR + 1_012_001],
        [5 * EUR + 1_011_000, 5 * EUR - 1_011_000],
        [4 * EUR, 6 * EUR],
    ]
    assert settled.node_balance_change_units.tolist() == [-1_012_001, 1001, 11_000, EUR]
    assert_allclose(settled.net_eur, [1.012001, -1.0], rtol=1e-14)
    assert settled.configured_latency_ms.tolist() == [pytest.approx(47.0)]
    assert settled.n_parts.tolist() == [1]
    # Back: node 2 forwards over channel 1, node 1 over channel 0, whose fees count now.
    back = channels.settle(pair(-1.0))
    assert back.routing_income_node_units.tolist() == [0, 7000, 1001, 0]


def test_neighbours_pay_no_fee():
    settled = PaymentChannels(chain(), [2, 3]).settle(pair(1.0))
    assert settled.fee_units.tolist() == [0]
    assert settled.node_balance_change_units.tolist() == [0, 0, -EUR, EUR]


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 5), st.sampled_from([0, 1, 30_000, 400_000])),
        min_size=1,
        max_size=4,
    )
)
def test_room_is_the_most_that_fits(hops):
    net = network(len(hops) + 1, *((i, i + 1, have, 1, base, ppm) for i, (have, base, ppm) in enumerate(hops)))
    balances, route = ChannelBalances(net), tuple(range(0, 2 * len(hops), 2))

    def fits(amount):
        # From the receiver backwards, by the definition of a fee.
        for i in reversed(range(len(hops))):
            have, base, ppm = hops[i]
            if amount > have:
                return False
            amount += base + amount * ppm // 10**6
        return True

    assert balances.room(route, {}) == max((x for x in range(1, 62) if fits(x)), default=0)


# Ranking.


def diamond(first, second):
    """0 - 1 - 3 and 0 - 2 - 3, which differ in the channel to 3: (capacity, base fee, latency)."""
    rich = 10 * EUR
    (c1, f1, l1), (c2, f2, l2) = first, second
    return network(
        4,
        (0, 1, rich, 0, 9_000_000),
        (0, 2, rich, 0),
        (1, 3, c1, 0, f1, 0, l1),
        (2, 3, c2, 0, f2, 0, l2),
    )


@pytest.mark.parametrize(
    ("weights", "middle"),
    [
        ((1, 0, 0), 1),  # The cheaper one, though its sender's own channel has a fee of 9,000 sat.
        ((0, 1, 0), 2),  # The larger one.
        ((0, 0, 1), 2),  # The quicker one.
        ((1, 0, 0.1), 1),  # 1 + 1 against 4 + .5
        ((1, 0, 1), 2),  # 1 + 10 against 4 + 5
        ((1, 4, 0), 1),  # 1 + 4 (1 - .4) against 4 + 4 (1 - .8)
        ((1, 10, 0), 2),  # 1 + 10 (1 - .4) against 4 + 10 (1 - .8)
    ],
)
def test_weights_decide(weights, middle):
    net = diamond((4 * EUR, 1000, 10.0), (8 * EUR, 4000, 5.0))
    alpha, beta, gamma = weights
    router = Router(net, alpha=alpha, beta=beta, gamma=gamma)
    found = router.routes(0, 3, EUR, 2)
    assert [nodes_of(net, route) for route in found] == [[0, middle, 3], [0, 3 - middle, 3]]
    assert router.routes(0, 3, EUR, 1) == found[:1]


def test_proportional_fee_depends_on_the_amount():
    # 1 sat against 100 ppm: equal at 10,000 sat.
    rich = 10**9
    net = network(4, (0, 1, rich, 0), (0, 2, rich, 0), (1, 3, rich, 0, 1000), (2, 3, rich, 0, 0, 100))
    router = Router(net, alpha=1, beta=0, gamma=0)
    assert nodes_of(net, router.routes(0, 3, 2**23, 1)[0]) == [0, 2, 3]
    assert nodes_of(net, router.routes(0, 3, 2**24, 1)[0]) == [0, 1, 3]
    # The class of an amount is the next power of two.
    assert nodes_of(net, router.routes(0, 3, 2**23 + 1, 1)[0]) == [0, 1, 3]


def test_pruning():
    net = network(4, (0, 1, 4000, 0), (1, 3, 512, 0), (0, 2, 4000, 0), (2, 3, 511, 0, 0, 0, 1.0))
    for theta, amount, expected in [
        (1.0, 512, [[0, 1, 3]]),
        (1.0, 511, [[0, 1, 3]]),  # The class of 511 is 512.
        (1.0, 513, []),
        (1.0, 256, [[0, 1, 3], [0, 2, 3]]),
        (0.5, 1024, [[0, 1, 3]]),
        (0.25, 1024, [[0, 1, 3], [0, 2, 3]]),
        (0.0, 10**6, [[0, 1, 3], [0, 2, 3]]),
    ]:
        routes = Router(net, beta=0, theta=theta).routes(0, 3, amount, 5)
        assert [nodes_of(net, route) for route in routes] == expected, (theta, amount)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_routes_are_the_shortest_simple_paths(seed, k):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 9))
    edges = list(networkx.gnp_random_graph(n, float(rng.uniform(0.3, 1.0)), seed=int(rng.integers(2**31))).edges)
    if not edges:
        return
    channels = [
        (
            a,
            b,
            *rng.integers(1, 600, 2).tolist(),
            int(rng.integers(0, 3)) * 700,
            int(rng.integers(0, 9)) * 10**5,
            rng.uniform(0, 40),
        )
        for a, b in edges
    ]
    net = network(n, *channels)
    source, target = map(int, rng.choice(n, 2, replace=False))
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(n))
    largest = max(channel[2] + channel[3] for channel in channels)
    for a, b, mine, theirs, base, ppm, latency in channels:
        if mine + theirs >= 0.3 * 1024:
            other = 2 * (1 - (mine + theirs) / largest) + 0.05 * latency
            fee = (base + 1024 * ppm // 10**6) / 1000
            for u, v in ((a, b), (b, a)):
                graph.add_edge(u, v, w=other + (0 if u == source else 1.5 * fee))
    paths = networkx.shortest_simple_paths(graph, source, target, weight="w")
    expected = list(itertools.islice(paths, k)) if networkx.has_path(graph, source, target) else []
    router = Router(net, alpha=1.5, beta=2, gamma=0.05, theta=0.3)
    assert [nodes_of(net, route) for route in router.routes(source, target, 1000, k)] == expected


def test_cache():
    net = PaymentNetwork.scale_free(40, seed=4)
    shared, forgetful = Router(net), Router(net, cache_size=1)
    channels = [
        PaymentChannels(router, net.place_agents(30, seed=1)) for router in (shared, forgetful, Router(net))
    ]
    rng = np.random.default_rng(5)
    payments = rng.normal(size=(4, 30))
    payments -= payments.mean(axis=1, keepdims=True)
    for step in payments:
        same = [c.settle(step) for c in channels]
        for other in same[1:]:
            assert_array_equal(other.fee_units, same[0].fee_units)
            assert_array_equal(other.node_balance_change_units, same[0].node_balance_change_units)
    ranked = shared.n_ranked
    assert 0 < ranked < forgetful.n_ranked
    # Balances do not matter to a ranking: the same payments on a shared router find everything ranked.
    again = PaymentChannels(shared, channels[0].agent_nodes)
    for step in payments:
        again.settle(step)
    assert shared.n_ranked == ranked


def test_pickled_between_steps():
    net = PaymentNetwork.scale_free(20, seed=4)
    router = Router(net, alpha=0.1, beta=0.2, gamma=0.3, theta=0.4, cache_size=50)
    channels = PaymentChannels(router, net.place_agents(8, seed=1), seed=2)
    payments = np.array([9.0, 8.0, 7.0, 6.0, -9.0, -8.0, -7.0, -6.0])
    channels.settle(payments)
    copy = pickle.loads(pickle.dumps(channels))
    for name in ("alpha", "beta", "gamma", "theta", "cache_size"):
        assert getattr(copy.router, name) == getattr(router, name)
    mine, its = channels.settle(payments), copy.settle(payments)
    assert_array_equal(its.fee_units, mine.fee_units)
    assert_array_equal(its.configured_latency_ms, mine.configured_latency_ms)
    assert_array_equal(copy.balances_msat, channels.balances_msat)


def test_the_agents_nodes_are_copied():
    nodes = np.array([0, 3])
    channels = PaymentChannels(chain(), nodes)
    nodes[:] = 0
    assert channels.settle(pair(1.0)).fee_units.tolist() == [12_001]


def test_alike_amount_classes_share_rankings():
    net = network(3, (0, 1, 2**30, 0), (1, 2, 2**30, 0, 1000, 1))
    router = Router(net, theta=1.0)
    for amount in (1, 5, 1000, 2**19):  # A fee of 1 ppm is below 1 msat.
        router.routes(0, 2, amount, 1)
    assert router.n_ranked == 1
    router.routes(0, 2, 2**20, 1)
    assert router.n_ranked == 2
    assert router.routes(0, 2, 2**31, 1) == ()


# Multi-part payments.


def test_split_over_two_routes():
    # Node 1 has .6 EUR for 3 and asks 1 sat; node 2 asks 2 sat and 1 %.
    net = network(
        4, (0, 1, 2 * EUR, 0), (1, 3, 600_000, 0, 1000), (0, 2, 2 * EUR, 0), (2, 3, EUR, 0, 2000, 10_000)
    )
    channels = PaymentChannels(Router(net, alpha=1, beta=0, gamma=0), [0, 3], latency_log_sd=0.0)
    settled = channels.settle(pair(1.0))
    settled.check_conservation()
    assert settled.n_parts.tolist() == [2]
    assert settled.succeeded.all()
    assert settled.fee_units.tolist() == [1000 + 2000 + 4000]
    assert settled.routing_income_node_units.tolist() == [0, 1000, 6000, 0]
    assert channels.balances_msat.tolist() == [
        [2 * EUR - 601_000, 601_000],
        [0, 600_000],
        [2 * EUR - 406_000, 406_000],
        [600_000, 400_000],
    ]
    assert settled.configured_latency_ms.tolist() == [pytest.approx(47.0)]  # The longest, not the sum.


def test_parts_share_a_channel():
    # Both routes leave by 0 - 1, which has 1,000: 400 go by node 2 and, with a fee of 50 each, 500 by node 3.
    net = network(
        5,
        (0, 1, 1000, 0),
        (1, 2, 450, 0),
        (2, 4, 400, 0, 50),
        (1, 3, 9000, 0, 0, 0, 5.0),
        (3, 4, 9000, 0, 50),
    )
    routes = Router(net, beta=0, theta=0).routes(0, 4, 900, 2)
    assert [nodes_of(net, route) for route in routes] == [[0, 1, 2, 4], [0, 1, 3, 4]]
    balances = ChannelBalances(net)
    refused = balances.send(routes, 901)
    assert (refused.delivered, refused.n_parts, refused.fee_msat, refused.earned) == (False, 2, 0, {})
    assert_array_equal(balances.array()[:, 0], net.balance_msat)
    sent = balances.send(routes, 900)
    assert (sent.delivered, sent.n_parts, sent.fee_msat, sent.earned) == (True, 2, 100, {1: 0, 2: 50, 3: 50})
    assert balances.array().tolist() == [[0, 1000], [0, 450], [0, 400], [8450, 550], [8500, 500]]


def test_a_part_in_flight_lends_nothing_to_another():
    net = network(4, (0, 1, 100, 0), (1, 2, 100, 0), (2, 3, 100, 0), (0, 2, 100, 0), (1, 3, 100, 0))
    there, back = (0, 2, 4), (6, 3, 8)  # 0-1-2-3, and 0-2-1-3 against it on the channel of 1 and 2.
    assert nodes_of(net, back) == [0, 2, 1, 3]
    balances = ChannelBalances(net)
    assert not balances.send([there, back], 150).delivered
    assert balances.send([there], 100).delivered
    assert balances.send([back], 50).delivered


# Failures, retries, persistence.


def test_failure_is_credit_and_penalty():
    net = network(2, (0, 1, EUR // 2, EUR))
    channels = PaymentChannels(net, [0, 1, 1], penalty_share=0.1, latency_log_sd=0.0)
    settled = channels.settle([1.0, -0.6, -0.4])  # .6 does not fit, .4 does.
    settled.check_conservation()
    assert settled.succeeded.tolist() == [False, True]
    assert settled.n_parts.tolist() == [0, 1]
    assert settled.penalty_units.tolist() == [60_000, 0]
    assert_allclose(settled.net_eur, [1.06, -0.6, -0.4], rtol=1e-12)
    assert_allclose(settled.retailer_credit_eur, [0.6, 0, 0], rtol=1e-12)
    assert_allclose(settled.penalties_eur, [0.06, 0, 0], rtol=1e-12)
    assert settled.configured_latency_ms.tolist() == [pytest.approx(47.0)] * 2
    assert channels.balances_msat.tolist() == [[100_000, 1_400_000]]
    figures = summary([settled, Ledger(fee_per_payment=0.01).settle([1.0, -1.0])])
    assert figures.n_transfers == 3
    assert figures.success_rate == pytest.approx(2 / 3)
    assert figures.success_rate_by_value == pytest.approx(1.4 / 2)
    assert figures.penalties_eur == pytest.approx(0.06)
    assert figures.fees_eur == pytest.approx(0.01)
    assert figures.fees_per_eur == pytest.approx(0.01 / 1.4)
    assert figures.n_routed == 2
    assert figures.configured_latency_p50_ms == pytest.approx(23.5)
    assert figures.configured_latency_p95_ms == pytest.approx(0.95 * 47)


def test_retries_add():
    net = diamond((600_000, 0, 1.0), (600_000, 0, 2.0))
    latencies = {}
    for n_paths, retries in [(1, 0), (1, 1), (2, 0), (2, 5)]:
        channels = PaymentChannels(net, [0, 3], n_paths=n_paths, retries=retries, latency_log_sd=0.0)
        settled = channels.settle(pair(1.0))
        latencies[n_paths, retries] = (bool(settled.succeeded[0]), round(settled.configured_latency_ms[0], 6))
    assert latencies == {(1, 0): (False, 47), (1, 1): (True, 94), (2, 0): (True, 47), (2, 5): (True, 47)}
    # With both routes tried there is nothing to retry.
    failed = PaymentChannels(net, [0, 3], n_paths=2, retries=5, latency_log_sd=0.0).settle(pair(1.3))
    assert (failed.succeeded[0], round(failed.configured_latency_ms[0], 6)) == (False, 47)


def test_unreachable_and_at_one_node():
    net = network(4, (0, 1, EUR, EUR), (2, 3, EUR, EUR))
    settled = PaymentChannels(net, [0, 3]).settle(pair(0.5))
    settled.check_conservation()
    assert (settled.succeeded[0], settled.configured_latency_ms[0]) == (False, 0.0)
    settled = PaymentChannels(net, [2, 2]).settle(pair(50.0))
    settled.check_conservation()
    assert settled.succeeded.all()
    assert (settled.n_parts[0], settled.fee_units[0], settled.configured_latency_ms[0]) == (0, 0, 0.0)
    assert summary(settled).n_routed == 0


def test_balances_persist_and_are_reset():
    channels = PaymentChannels(network(2, (0, 1, EUR, 0)), [0, 1])
    outcomes = [bool(channels.settle(pair(amount)).succeeded[0]) for amount in (0.7, 0.7, -0.7, 0.7, 0.3, 0.1)]
    assert outcomes == [True, False, True, True, True, False]
    assert channels.balances_msat.tolist() == [[0, EUR]]
    channels.reset_balances()
    assert channels.balances_msat.tolist() == [[EUR, 0]]
    assert channels.settle(pair(0.7)).succeeded.all()


# Conservation.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_money_is_made_or_lost(seed):
    rng = np.random.default_rng(seed)
    n_nodes, n_agents = int(rng.integers(2, 9)), int(rng.integers(2, 12))
    edges = list(networkx.gnp_random_graph(n_nodes, 0.6, seed=seed).edges) or [(0, 1)]
    scale = 10 ** rng.uniform(4, 7.5)  # From networks that carry hardly anything to those that carry all.
    net = network(
        n_nodes,
        *(
            (
                a,
                b,
                *rng.integers(1, scale, 2).tolist(),
                int(rng.integers(0, 2)) * 1000,
                int(rng.integers(0, 50_000)),
                1.0,
            )
            for a, b in edges
        ),
    )
    agent_nodes = rng.integers(0, n_nodes, n_agents)
    router = Router(net, theta=float(rng.uniform(0, 1)))
    channels = PaymentChannels(
        router, agent_nodes, n_paths=int(rng.integers(1, 4)), retries=int(rng.integers(0, 3))
    )
    wealth = np.zeros(n_nodes, int)
    for _ in range(4):
        payments = rng.normal(size=n_agents) * 10 ** rng.uniform(-6, 0)
        payments -= payments.mean()
        before = channels.balances_msat
        settled = channels.settle(payments)
        settled.check_conservation()
        after = channels.balances_msat
        assert (after >= 0).all()
        assert_array_equal(after.sum(axis=1), net.capacity_msat)
        # The nodes' books, kept here from the transfers alone.
        wealth[:] = 0
        for i, (d, c, amount) in enumerate(
            zip(settled.debtor, settled.creditor, settled.amount_units, strict=True)
        ):
            if settled.succeeded[i]:
                wealth[agent_nodes[d]] -= amount + settled.fee_units[i]
                wealth[agent_nodes[c]] += amount
            else:
                assert settled.fee_units[i] == 0
                assert settled.penalty_units[i] == round(0.05 * float(amount))
        wealth += settled.routing_income_node_units
        gained = np.zeros(n_nodes, int)
        np.add.at(gained, net.ends, after - before)
        assert_array_equal(gained, wealth)
        assert settled.routing_income_node_units.sum() == settled.fee_units.sum()
        for node in set(agent_nodes.tolist()):
            shares = settled.routing_income_units[agent_nodes == node]
            assert shares.sum() == settled.routing_income_node_units[node]
            assert np.ptp(shares) <= 1
        # Creditors are paid in full, and what debtors pay beyond is fees and penalties.
        receives = payments < 0
        assert_allclose(settled.net_eur[receives], payments[receives], rtol=0, atol=1e-12)
        extra = settled.fee_eur.sum() + settled.penalties_eur.sum()
        assert settled.net_eur.sum() == pytest.approx(extra, abs=1e-12)


def test_broken_books_are_found():
    settled = PaymentChannels(chain(), [0, 3, 1]).settle([1.0, -0.8, -0.2])
    failed = PaymentChannels(network(2, (0, 1, 1, 0)), [0, 1]).settle(pair(1.0))
    first = np.array([1, 0])
    broken = [
        dataclasses.replace(settled, face_units=np.add(settled.face_units, [1, 0, 0])),
        dataclasses.replace(settled, face_units=np.add(settled.face_units, [1, -1, 0])),
        dataclasses.replace(settled, amount_units=settled.amount_units + first),
        dataclasses.replace(settled, fee_units=settled.fee_units + first),
        dataclasses.replace(settled, penalty_units=settled.penalty_units + first),
        dataclasses.replace(settled, operator_income_units=1),
        dataclasses.replace(
            settled, routing_income_node_units=np.add(settled.routing_income_node_units, [0, 1, 0, 0])
        ),
        dataclasses.replace(
            settled, node_balance_change_units=np.add(settled.node_balance_change_units, [1, 0, 0, 0])
        ),
        dataclasses.replace(settled, succeeded=np.array([False, True])),
        dataclasses.replace(failed, fee_units=failed.penalty_units, operator_income_units=50_000),
    ]
    settled.check_conservation()
    failed.check_conservation()
    for wrong in broken:
        with pytest.raises(AssertionError, match="money is not conserved"):
            wrong.check_conservation()


def test_routing_income_of_agents():
    # Node 1 earns 1,001 msat and has three agents; node 2 earns 11,000 and has none.
    settled = PaymentChannels(chain(), [1, 0, 3, 1, 1]).settle([0.0, 1.0, -1.0, 0.0, 0.0])
    assert settled.routing_income_units.tolist() == [334, 0, 0, 334, 333]
    assert_allclose(settled.routing_income_eur, [334e-6, 0, 0, 334e-6, 333e-6], rtol=1e-12)
    assert_allclose(settled.routing_income_node_eur, [0, 1001e-6, 11e-3, 0], rtol=1e-12)


def test_rounding_is_accounted_for():
    channels = PaymentChannels(network(2, (0, 1, EUR, EUR)), [0, 1, 1], sat_per_eur=1.0)
    payments = np.array([0.0015, -0.0004, -0.0011])
    settled = channels.settle(payments)
    assert settled.units_per_eur == 1000.0
    assert settled.face_units.tolist() == [2, -1, -1]
    assert_allclose(settled.rounding_eur, [-0.0005, 0.0006, -0.0001], atol=1e-15)
    assert_allclose(settled.net_eur, payments, rtol=0, atol=1e-15)


# Symmetry, seeds and laws.


def test_agents_may_be_permuted():
    net = PaymentNetwork.scale_free(30, 2, seed=8)
    rng = np.random.default_rng(9)
    nodes, payments = net.place_agents(60, seed=3), 40 * rng.normal(size=(3, 60))
    payments -= payments.mean(axis=1, keepdims=True)
    order = rng.permutation(60)
    here, there = PaymentChannels(net, nodes), PaymentChannels(net, nodes[order])
    failures = 0
    for step in payments:
        a, b = here.settle(step), there.settle(step[order])
        failures += (~a.succeeded).sum()
        assert_array_equal(b.net_units, a.net_units[order])
        assert_array_equal(b.routing_income_node_units, a.routing_income_node_units)
        assert_array_equal(b.fee_units, a.fee_units)
        assert_array_equal(b.succeeded, a.succeeded)
        assert_array_equal(there.balances_msat, here.balances_msat)
    assert failures > 0


def test_seeds():
    def run(seed):
        net = PaymentNetwork.scale_free(30, seed=seed)
        channels = PaymentChannels(net, net.place_agents(20, seed=seed), seed=seed)
        steps = [channels.settle(np.r_[np.linspace(1, 2, 10), -np.linspace(1, 2, 10)]) for _ in range(2)]
        return net, [s.configured_latency_ms for s in steps], [s.fee_units for s in steps]

    (net, latency, fees), (same_net, same_latency, same_fees), (other, other_latency, _) = run(1), run(1), run(2)
    for field in dataclasses.fields(net):
        assert_array_equal(getattr(net, field.name), getattr(same_net, field.name))
    assert_array_equal(latency, same_latency)
    assert all(map(np.array_equal, fees, same_fees))
    assert not np.array_equal(net.capacity_msat, other.capacity_msat)
    assert not np.array_equal(latency[0], other_latency[0])
    assert not np.array_equal(latency[0], latency[1])
    payments = np.r_[np.ones(10), -np.ones(10)]
    a, b = (PaymentChannels(net, np.arange(20), seed=k).settle(payments).configured_latency_ms for k in (1, 2))
    assert not np.array_equal(a, b)


def settled_in_parts(n, *channels):
    """n transfers from node 0 to the last node."""
    net = network(max(b for _, b, *_ in channels) + 1, *channels)
    nodes = np.repeat([0, net.n_nodes - 1], n)
    return PaymentChannels(net, nodes, seed=7).settle(np.repeat([0.01, -0.01], n))


def test_latency_has_its_median():
    latency = settled_in_parts(4000, (0, 1, 100 * EUR, 0)).configured_latency_ms
    assert len(latency) == 4000
    for quantile in (0.01, 0.159, 0.5, 0.841, 0.99):
        bound = 47 * math.exp(0.5 * stats.norm.ppf(quantile))
        assert_frequencies((latency < bound).sum(), 4000, quantile)


def test_latency_of_parts_is_the_longest():
    channels = PaymentChannels(
        network(4, (0, 1, 60, 0), (1, 3, 60, 0), (0, 2, 60, 0), (2, 3, 60, 0)), [0, 3], seed=1
    )
    below = 0
    for _ in range(2000):
        settled = channels.settle(pair(1e-4))
        channels.reset_balances()
        assert settled.n_parts[0] == 2
        below += settled.configured_latency_ms[0] < 47
    assert_frequencies(below, 2000, 0.25)


def test_scale_free_network():
    net = PaymentNetwork.scale_free(3000, 3, seed=11)
    n = net.n_channels
    assert n == 3 * (3000 - 3)
    assert networkx.is_connected(networkx.Graph(net.ends.tolist()))
    assert (net.base_fee_msat == 1000).sum() == round(0.58 * n)
    assert set(net.base_fee_msat.tolist()) == {0, 1000}
    assert (net.fee_ppm == 1).sum() == round(0.67 * n)
    assert set(net.fee_ppm.tolist()) == {0, 1}
    # Drawn separately: both fees as often as independence has it (hypergeometric, nearly binomial).
    assert_frequencies(((net.base_fee_msat > 0) & (net.fee_ppm > 0)).sum(), n, 0.58 * 0.67)
    for fee, share in ((net.base_fee_msat, 0.58), (net.fee_ppm, 0.67)):  # And wherever the channel is.
        assert_frequencies((fee[: n // 2] > 0).sum(), n // 2, share)
    for quantile in (0.05, 0.5, 0.95):
        bound = 0.8e9 * math.exp(1.88 * stats.norm.ppf(quantile))
        assert_frequencies((net.capacity_msat < bound).sum(), n, quantile)
        latency_bound = 15 * math.exp(0.5 * stats.norm.ppf(quantile))
        assert_frequencies((net.latency_ms < latency_bound).sum(), n, quantile)
        assert_frequencies((net.balance_msat < quantile * net.capacity_msat).sum(), n, quantile)
    # The degrees' tail P(degree >= d) ~ d^-2: a random graph of mean degree 6 has no degree of 60.
    degrees = np.bincount(net.ends.ravel())
    assert degrees.max() >= 60
    assert degrees.min() >= 3
    half = PaymentNetwork.scale_free(50, seed=0, balance_split="half")
    assert_array_equal(half.balance_msat, half.capacity_msat // 2)


def test_agents_are_placed_uniformly():
    nodes = PaymentNetwork.scale_free(10, seed=0).place_agents(5000, seed=1)
    assert_frequencies(np.bincount(nodes), 5000, np.full(10, 0.1))


# Errors.


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_nodes", 1, "n_nodes must be"),
        ("ends", [[0, 1], [1, 4], [2, 3]], r"ends\[1, 1\] must be an integer in \[0, 3\], got 4"),
        ("ends", [[0, 1], [1, 1], [2, 3]], r"ends\[1\] must be two different nodes"),
        ("ends", [[0, 1], [1, 0], [2, 3]], r"ends\[1\] must join nodes that no other channel joins"),
        ("ends", [[0, 1]], r"ends must have shape \(3, 2\)"),
        ("capacity_msat", [1, 0, 1], r"capacity_msat\[1\] must be an integer in \[1"),
        ("capacity_msat", [], r"capacity_msat must have shape \(n_channels,\)"),
        ("capacity_msat", [MOST_MSAT] * 3, "capacity_msat must sum to at most"),
        ("balance_msat", [0, -1, 0], r"balance_msat\[1\] must be"),
        ("balance_msat", [0, 0, 10 * EUR + 1], r"balance_msat\[2\] must be in \[0, 10000000\], the capacity"),
        ("base_fee_msat", [0, 0], r"base_fee_msat must have shape \(3,\)"),
        ("fee_ppm", [0, -1, 0], r"fee_ppm\[1\] must be"),
        ("latency_ms", [0.0, math.inf, 0.0], r"latency_ms\[1\] must be finite"),
    ],
)
def test_networks_are_checked(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(
            chain(), **{field: value if field == "n_nodes" else np.array(value, None if value else int)}
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PaymentNetwork.scale_free(1, seed=0), "n_nodes must be"),
        (lambda: PaymentNetwork.scale_free(5, 5, seed=0), r"channels_per_node must be an integer in \[1, 4\]"),
        (lambda: PaymentNetwork.scale_free(5, seed=-1), "seed must be"),
        (lambda: PaymentNetwork.scale_free(5, seed=0, balance_split="all"), "balance_split must be one of"),
        (lambda: Router(chain(), alpha=-1), "alpha must be"),
        (lambda: Router(chain(), theta=math.nan), "theta must be"),
        (lambda: Router(chain(), cache_size=0), "cache_size must be"),
        (lambda: Router(chain()).routes(0, 4, 1, 1), r"target must be an integer in \[0, 3\]"),
        (lambda: Router(chain()).routes(2, 2, 1, 1), "target must differ from source"),
        (lambda: Router(chain()).routes(0, 1, 0, 1), "amount_msat must be"),
        (lambda: Router(chain()).routes(0, 1, 1, 0), "k must be"),
        (lambda: PaymentChannels(chain(), [0, 4]), r"agent_nodes\[1\] must be an integer in \[0, 3\], got 4"),
        (lambda: PaymentChannels(chain(), [[0, 1]]), r"agent_nodes must have shape \(2,\)"),
        (lambda: PaymentChannels(chain(), [0, 1]).settle([0.0]), r"payments must have shape \(2,\), got \(1,\)"),
        (lambda: PaymentChannels(chain(), [0], n_paths=0), "n_paths must be"),
        (lambda: PaymentChannels(chain(), [0], retries=-1), "retries must be"),
        (lambda: PaymentChannels(chain(), [0], penalty_share=1.1), "penalty_share must be"),
        (lambda: PaymentChannels(chain(), [0], sat_per_eur=0), "sat_per_eur must be"),
        (lambda: PaymentChannels(chain(), [0], latency_median_ms=-1), "latency_median_ms must be"),
        (lambda: Ledger(fee_per_payment=-0.1), "fee_per_payment must be"),
        (lambda: summary([]), "settlements must be at least one"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_kinds_of_arguments():
    """Bools, texts, nan and arrays are refused by name; numbers of numpy's are taken, also small ones."""
    pair_of_nodes = network(2, (0, 1, EUR, EUR))
    of_channels = {
        "n_paths": (True, "4", 2.5, np.array([1, 2]), 1025),
        "retries": (True, "4", 2.5, 21),
        "penalty_share": (True, ".1", math.nan, np.array([0.1, 0.2])),
        "sat_per_eur": (True, "1", math.nan, math.inf),
        "latency_median_ms": (True, "1", math.nan, math.inf),
        "latency_log_sd": (True, "1", math.nan, 10.5),
        "seed": (True, "1", 0.5, -1),
    }
    of_routers = dict.fromkeys(("alpha", "beta", "gamma", "theta"), (True, "1", math.nan, -1, 1e300))
    of_networks = {
        "n_nodes": (True, "9", 2.5, 10**7),
        "channels_per_node": (True, "1", 2.5, 9),
        "balance_split": (True, 1, None, np.array(["half"])),
        "channel_latency_median_ms": (True, "1", math.nan, 0, 1e300),
        "channel_latency_log_sd": (True, "1", math.nan, 1e300),
    }
    calls = (
        (lambda **change: PaymentChannels(pair_of_nodes, [0, 1], **change), of_channels),
        (lambda **change: Router(pair_of_nodes, **change), of_routers | {"cache_size": (True, "1", 2.5, 10**30)}),
        (lambda **change: PaymentNetwork.scale_free(**({"n_nodes": 9, "seed": 0} | change)), of_networks),
        (lambda **change: Ledger(**change), {"fee_per_payment": (True, "1", math.nan, math.inf)}),
        (lambda **change: whole_units([1, -1], **change), {"units_per_eur": (True, "1", math.nan, 0)}),
        (lambda **change: pair_of_nodes.place_agents(seed=0, **change), {"n_agents": (True, "1", 0, 2**31)}),
        (lambda **change: Router(pair_of_nodes).routes(0, 1, 5, **change), {"k": (True, "1", 10**30)}),
    )
    for call, wrong in calls:
        for name, values in wrong.items():
            for value in values:
                with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
                    call(**{name: value})
    PaymentChannels(pair_of_nodes, np.array([0, 1], np.uint8), n_paths=np.uint8(3), penalty_share=np.float32(0.5))


def test_small_integers_of_numpy_do_not_overflow():
    """255 + 1 nodes in eight bits would be none."""
    ends = np.array([[0, 254]], np.uint8)
    net = PaymentNetwork(
        np.uint8(255),
        ends,
        **{
            name: np.array([value], np.uint16)
            for name, value in (
                ("capacity_msat", 50_000),
                ("balance_msat", 50_000),
                ("base_fee_msat", 0),
                ("fee_ppm", 0),
            )
        },
        latency_ms=[0.0],
    )
    assert type(net.n_nodes) is int
    assert Router(net).routes(0, 254, 40_000, 3) == ((0,),)
    books = PaymentChannels(net, np.array([0, 254], np.uint8), sat_per_eur=1).settle([40.0, -40.0])
    books.check_conservation()
    assert books.succeeded.all()


@pytest.mark.parametrize(
    "wrong", [[True, False], ["1", "-1"], [[1], [1, 2]], np.ma.array([1.0, -1.0], mask=[0, 1]), None]
)
def test_what_are_no_payments(wrong):
    for settle in (Ledger().settle, PaymentChannels(chain(), [0, 3]).settle):
        with pytest.raises((TypeError, ValueError), match=r"^payments must"):
            settle(wrong)


def test_transfers_are_made_of_whole_units_with_sum_zero():
    with pytest.raises(TypeError, match=r"face must be integers in \[.*, got dtype float64"):
        net_transfers(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="face must sum to zero, got 1"):
        net_transfers(np.array([2, -1]))


def test_what_cannot_be_sent():
    balances = ChannelBalances(chain())
    for routes in ([()], [(6,)], [(0,), (-1,)]):
        with pytest.raises(ValueError, match=r"routes\[\d\] must be directed channels in \[0, 5\]"):
            balances.send(routes, 1)
    for amount in (0, -1, True, 1.5, "1", 10**30):
        with pytest.raises((TypeError, ValueError), match=r"^amount must be"):
            balances.send([(0,)], amount)
    for what in (ChannelBalances, Router):
        with pytest.raises(TypeError, match="network must be a PaymentNetwork"):
            what(None)
    for wrong in (3, "ab", [None], [[Ledger().settle([0.0])]]):
        with pytest.raises(TypeError, match="settlements"):
            summary(wrong)


def test_types_are_checked():
    with pytest.raises(TypeError, match=r"base_fee_msat must be integers in \[.*, got dtype float64"):
        dataclasses.replace(chain(), base_fee_msat=np.zeros(3))
    with pytest.raises(TypeError, match=r"agent_nodes must be integers in \[.*, got dtype"):
        PaymentChannels(chain(), [0.0, 1.0])
    with pytest.raises(TypeError, match="network must be a PaymentNetwork or a Router"):
        PaymentChannels(None, [0])
