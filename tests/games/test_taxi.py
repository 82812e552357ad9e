"""A-Taxi against hand-worked steps, a plain simulator written from the specification, and frequencies.

Random checks fail with probability below 1e-7 each; seeds are fixed.
"""

import collections
import dataclasses
import json
import math
import re

import numpy as np
import pytest
from draws import first_zero
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

import mfenvs
from mfenvs import Engine
from mfenvs.engine.random import ADVANCE
from mfenvs.games.taxi import Taxi
from mfenvs.games.taxi.city import City

UP, DOWN, LEFT, RIGHT, WAIT = range(5)
NOBODY = 64
LEVEL = 1e-7

SMALL = ("111", "HSH", "222")
"""Places 0-2 are zone 1, 4 is the start, 6-8 are zone 2."""


@dataclasses.dataclass(kw_only=True)
class Known(Taxi):
    """A taxi game whose w_j and beta^i are given."""

    jam_weights: tuple[float, ...] = (0.0, 0.0)
    multipliers: tuple[tuple[float, ...], ...] | None = None
    city: tuple[str, ...] = SMALL
    n_agents: int = 2
    horizon: int = 9
    arrival: float = 0.0

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["weight"] = self.n_agents * np.array(self.jam_weights)
        if self.multipliers is not None:
            agents["multiplier"] = self.multipliers
        return agents


def started(game, taxis, n_worlds=1, seed=0):
    """An engine in all of whose worlds the taxis are (place, target or None, places of customers)."""
    engine = Engine(game, n_worlds)
    engine.reset(seed=seed)
    for i, (place, target, customers) in enumerate(taxis):
        engine.states["cell"][:, i] = place
        engine.states["target"][:, i] = NOBODY if target is None else target
        engine.states["customers"][:, i] = sum(1 << p for p in customers)
    return engine


def taxis_of(engine, world=0):
    found = []
    for cell, target, customers in engine.states[world].tolist():
        found.append((cell, None if target == NOBODY else target, {p for p in range(64) if customers >> p & 1}))
    return found


def bits_of(customers):
    """Whether there is a customer, by place: a last axis of 64."""
    return (customers[..., None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1) == 1


def is_binomial(successes, n, p):
    return stats.binomtest(int(successes), n, p).pvalue > LEVEL


# What is certain, by hand.


def test_everyone_begins_at_the_start_with_nothing():
    engine = Engine(mfenvs.make("Taxi-v0", n_agents=7), 3)
    engine.reset(seed=4)
    assert [taxis_of(engine, w) for w in range(3)] == [[(10, None, set())] * 7] * 3


def test_from_the_start_up_and_down_lead_out_and_nothing_leads_back():
    engine = started(Known(n_agents=5, jam_weights=(0,) * 5), [(4, None, ())] * 5)
    engine.step([[UP, DOWN, LEFT, RIGHT, WAIT]])
    assert engine.states["cell"].tolist() == [[1, 7, 4, 4, 4]]
    engine.step([[DOWN, UP, UP, DOWN, UP]])
    assert engine.states["cell"].tolist() == [[1, 7, 1, 7, 1]]


@pytest.mark.parametrize(
    ("place", "after"),
    [
        (0, (0, 0, 0, 1)),  # a corner above a barrier
        (2, (2, 2, 1, 2)),
        (6, (6, 6, 6, 7)),
        (8, (8, 8, 7, 8)),
        (1, (1, 1, 0, 2)),  # above the start
    ],
)
def test_edges_barriers_and_starts_are_walls(place, after):
    engine = started(Known(n_agents=4, jam_weights=(0,) * 4), [(place, None, ())] * 4)
    engine.step([[UP, DOWN, LEFT, RIGHT]])
    assert tuple(engine.states["cell"][0].tolist()) == after


def test_a_fare_in_each_zone_by_hand():
    """Two taxis of multipliers (0.5, 2) and (3, 0.25), base rewards 1.1 and 1."""
    game = Known(multipliers=((0.5, 2.0), (3.0, 0.25)))
    engine = started(game, [(0, 2, {0, 6}), (7, 8, {7})])
    assert engine.step([[RIGHT, WAIT]]).tolist() == [[0, 0]]  # waiting with a passenger where it does not want out
    assert taxis_of(engine) == [(1, 2, {0, 6}), (7, 8, {7})]
    assert engine.step([[RIGHT, RIGHT]]).tolist() == [[0, 0]]
    assert taxis_of(engine) == [(2, 2, {0, 6}), (8, 8, {7})]
    assert engine.step([[UP, DOWN]]).tolist() == [[0, 0]]  # at the target, but not waiting
    assert_allclose(engine.step([[WAIT, WAIT]]), [[1.1 * 0.5, 1.0 * 0.25]], rtol=1e-6)
    assert taxis_of(engine) == [(2, None, {0, 6}), (8, None, {7})]
    assert engine.step([[WAIT, WAIT]]).tolist() == [[0, 0]]
    assert taxis_of(engine) == [(2, None, {0, 6}), (8, None, {7})]


@pytest.mark.parametrize(("place", "zone"), [(1, {0, 1, 2}), (7, {6, 7, 8})])
def test_a_pick_up(place, zone):
    engine = started(Known(), [(place, None, {0, 1, 7}), (place, None, ())])
    assert engine.step([[WAIT, WAIT]]).tolist() == [[0, 0]]
    (cell, target, customers), other = taxis_of(engine)
    assert (cell, customers) == (place, {0, 1, 7} - {place})
    assert target in zone
    assert other == (place, None, set())


def test_customers_are_private():
    """In one place one taxi picks up its customer; the other's customer there stays."""
    engine = started(Known(), [(1, None, {1}), (1, None, {1, 2})])
    engine.step([[WAIT, LEFT]])
    mine, other = taxis_of(engine)
    assert mine[1] is not None
    assert mine[2] == set()
    assert other == (0, None, {1, 2})


def test_passing_by_picks_nobody_up():
    engine = started(Known(), [(0, None, {0, 1}), (0, None, {0, 1})])
    engine.step([[RIGHT, UP]])
    assert taxis_of(engine) == [(1, None, {0, 1}), (0, None, {0, 1})]


def test_with_a_passenger_nobody_else_is_picked_up_not_even_after_a_delivery_in_the_same_step():
    engine = started(Known(), [(0, 1, {0}), (1, 1, {1})])
    assert (engine.step([[WAIT, WAIT]]) > 0).tolist() == [[False, True]]
    assert taxis_of(engine) == [(0, 1, {0}), (1, None, {1})]


def test_customers_appear_last_in_a_step():
    """One appears where one was picked up in the same step, but cannot be picked up in it."""
    engine = started(Known(arrival=1.0), [(1, None, {1}), (1, None, ())])
    engine.step([[WAIT, WAIT]])
    picked, empty = taxis_of(engine)
    assert picked[1] is not None
    assert picked[2] == {0, 1, 2, 6, 7, 8}
    assert empty == (1, None, {0, 1, 2, 6, 7, 8})


def test_a_jam_is_that_of_the_place_before_the_move_and_counts_those_who_wait():
    """Taxi 1 has weight 2, the others none: who shares its place is stuck, who drives there is not."""
    game = Known(n_agents=4, jam_weights=(0, 2, 0, 0), jam_cap=1.0)
    engine = started(game, [(0, None, ()), (1, None, ()), (1, None, ()), (2, None, ())])
    engine.step([[RIGHT, WAIT, LEFT, LEFT]])
    assert engine.states["cell"].tolist() == [[1, 1, 1, 1]]
    engine.step([[LEFT, LEFT, RIGHT, RIGHT]])
    assert engine.states["cell"].tolist() == [[1, 1, 1, 1]]


def test_nobody_is_jammed_at_a_cap_of_zero_and_nobody_who_waits_at_any():
    for cap in (0.0, 1.0):
        engine = started(Known(jam_weights=(9, 9), jam_cap=cap), [(1, 1, ()), (1, None, {1})])
        rewards = engine.step([[WAIT, WAIT]])
        assert rewards[0, 0] > 0.9
        assert taxis_of(engine)[1][1] is not None
        engine.step([[LEFT, RIGHT]])
        assert engine.states["cell"].tolist() == [[0, 2] if cap == 0.0 else [1, 1]]


def test_the_smallest_draw_of_all_does_not_jam_where_nobody_weighs_anything():
    world, agent = first_zero(ADVANCE, 1000)
    engine = Engine(Known(n_agents=1000, jam_weights=(0.0,) * 1000), first_world=world)
    engine.reset(seed=0)
    engine.step(np.full((1, 1000), UP))
    assert engine.states["cell"][0, agent] == 1


# A simulator from the specification, of places as (row, column).


def after(rows, place, action):
    row, column = place
    if action in (UP, DOWN):
        row += 1 if action == DOWN else -1
    else:
        column += 1 if action == RIGHT else -1
    if row < 0 or column < 0 or row >= len(rows) or column >= len(rows[0]) or rows[row][column] in "HS":
        return place
    return row, column


def zone_places(rows, symbol):
    return {(r, c) for r, row in enumerate(rows) for c, found in enumerate(row) if found == symbol}


def simulate(game, taxis, actions, heavy):
    """By taxi: next place, the targets that it may have (None for none), customers, reward."""
    rows, found = game.city, []
    jams = {taxis[j][0] for j in heavy}
    everywhere = set().union(*(zone_places(rows, str(z + 1)) for z in range(len(game.base_rewards))))
    for i, ((place, target, customers), action) in enumerate(zip(taxis, actions, strict=True)):
        customers, targets, reward = set(customers), {target}, 0.0
        if action != WAIT:
            if place not in jams:
                place = after(rows, place, action)
        elif target is None:
            if place in customers:
                customers.remove(place)
                targets = zone_places(rows, rows[place[0]][place[1]])
        elif target == place:
            zone = int(rows[place[0]][place[1]]) - 1
            reward = game.base_rewards[zone] * game.agents["multiplier"][i, zone]
            targets = {None}
        if game.arrival == 1.0:
            customers = everywhere
        found.append((place, targets, customers, reward))
    return found


def fault(rows):
    """What is wrong with a map of known characters that has a start, or None: by flooding it."""

    def flood(place):
        reached, queue = {place}, [place]
        while queue:
            here = queue.pop()
            for action in (UP, DOWN, LEFT, RIGHT):
                there = after(rows, here, action)
                if there not in reached:
                    reached.add(there)
                    queue.append(there)
        return reached

    starts = zone_places(rows, "S")
    reached = set().union(*(flood(start) for start in starts))
    zones = sorted({symbol for row in rows for symbol in row} - set("SH"))
    if zones != [str(z + 1) for z in range(len(zones))] or not zones:
        return "without a gap"
    if any(flood(start) == {start} for start in starts):
        return "no taxi can leave"
    for zone in zones:
        places = zone_places(rows, zone)
        if not places <= reached:
            return "no taxi can reach"
        if any(not places <= flood(place) for place in places):
            return "is in parts"
    return None


def random_map(rng, n_rows, n_columns):
    """A map with two zones, often sound, and a few changes."""
    cut = rng.integers(1, n_rows)
    grid = np.array([["1" if r < cut else "2"] * n_columns for r in range(n_rows)])
    for symbol in ("S", *rng.choice(list("SH12"), rng.integers(0, 6))):
        grid[rng.integers(n_rows), rng.integers(n_columns)] = symbol
    return tuple("".join(row) for row in grid)


def test_maps_are_refused_exactly_where_flooding_finds_a_fault():
    rng = np.random.default_rng(0)
    seen = collections.Counter()
    for _ in range(1500):
        rows = random_map(rng, *rng.integers([2, 2], [6, 5]))
        if not zone_places(rows, "S"):
            continue
        reason = fault(rows)
        seen[reason] += 1
        if reason is None:
            assert City(rows).symbols == "".join(rows)
        else:
            with pytest.raises(ValueError, match="without a gap" if reason == "without a gap" else "no taxi can"):
                City(rows)
    reasons = (None, "without a gap", "no taxi can leave", "no taxi can reach", "is in parts")
    assert min(seen[reason] for reason in reasons) > 10


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([(4, 4), (5, 3)]), st.sampled_from([0.0, 1.0]))
def test_steps_are_those_of_the_plain_simulator(seed, shape, arrival):
    rng = np.random.default_rng(seed)
    rows = random_map(rng, *shape)
    while not zone_places(rows, "S") or fault(rows):
        rows = random_map(rng, *shape)
    n, n_worlds = 6, 20
    heavy = np.flatnonzero(rng.random(n) < 0.3)
    game = Known(
        city=rows,
        n_agents=n,
        arrival=arrival,
        jam_cap=1.0,
        jam_weights=tuple(1.5 * np.isin(np.arange(n), heavy)),
        base_rewards=tuple(rng.uniform(0.5, 2, 2)),
        multipliers=tuple(map(tuple, rng.uniform(0.5, 2, (n, 2)))),
    )
    width = len(rows[0])
    free = sorted(zone_places(rows, "1") | zone_places(rows, "2"))
    anywhere = free + sorted(zone_places(rows, "S"))
    engine = Engine(game, n_worlds)
    engine.reset(seed=seed)
    worlds = []
    for w in range(n_worlds):
        taxis = []
        for i in range(n):
            place = anywhere[rng.integers(len(anywhere))]
            target = [None, place if place in free else None, free[rng.integers(len(free))]][rng.integers(3)]
            customers = {p for p in free if rng.random() < 0.5}
            taxis.append((place, target, customers))
            code = NOBODY if target is None else target[0] * width + target[1]
            bits = sum(1 << r * width + c for r, c in customers)
            engine.states[w, i] = (place[0] * width + place[1], code, bits)
        worlds.append(taxis)
    actions = rng.integers(0, 5, (n_worlds, n))
    actions[rng.random((n_worlds, n)) < 0.4] = WAIT
    rewards = engine.step(actions)
    for w, taxis in enumerate(worlds):
        for i, (place, targets, customers, reward) in enumerate(simulate(game, taxis, actions[w], heavy)):
            cell, target, bits = engine.states[w, i].tolist()
            assert divmod(cell, width) == place
            assert (None if target == NOBODY else divmod(target, width)) in targets
            assert {divmod(p, width) for p in range(64) if bits >> p & 1} == customers
            assert rewards[w, i] == pytest.approx(reward, rel=1e-6)


def test_customers_and_fares_are_conserved():
    game = mfenvs.make("Taxi-v0", n_agents=40, jam=2.0)
    n_worlds, rng = 3, np.random.default_rng(1)
    engine = Engine(game, n_worlds)
    before = engine.reset(seed=1).copy()
    zone_of = np.array([0] * 12 + [1] * 9)
    spawned, picked, delivered = np.zeros((3, n_worlds, 40), int)
    while engine.is_playing:
        # Drivers wait where there is something to do, often.
        here = np.take_along_axis(bits_of(before["customers"]), before["cell"][..., None].astype(int), -1)[..., 0]
        useful = (here & (before["target"] == NOBODY)) | (before["target"] == before["cell"])
        actions = np.where(useful & (rng.random(useful.shape) < 0.8), WAIT, rng.integers(0, 5, useful.shape))
        rewards, now = engine.step(actions), engine.states
        got_in = (before["target"] == NOBODY) & (now["target"] != NOBODY)
        got_out = (before["target"] != NOBODY) & (now["target"] == NOBODY)
        assert (before["target"] == before["cell"])[got_out].all()
        assert ((actions == WAIT) & here)[got_in].all()
        taken = np.where(got_in, np.uint64(1) << before["cell"].astype(np.uint64), np.uint64(0))
        left = before["customers"] & ~taken
        assert ((now["customers"] & left) == left).all()
        zone = zone_of[before["cell"]]
        fare = np.array([1.1, 1.0])[zone] * game.agents["multiplier"][np.arange(40), zone]
        assert_allclose(rewards, np.where(got_out, fare, 0), rtol=1e-6)
        spawned += bits_of(now["customers"] & ~left).sum(axis=-1)
        picked, delivered = picked + got_in, delivered + got_out
        before = now.copy()
    assert (picked - delivered == (before["target"] != NOBODY)).all()
    assert (spawned - picked == bits_of(before["customers"]).sum(axis=-1)).all()
    assert delivered.mean() > 2


# What is drawn, by frequencies.


@pytest.mark.parametrize(
    ("weights", "cap", "expected"),
    [
        ((0.15, 0.3, 0.25), 0.7, (0.45, 0.45, 0.25)),  # the first two are in one place, and count themselves
        ((0.4, 0.5, 0.05), 0.7, (0.7, 0.7, 0.05)),
        ((0.02, 0.1, 3.0), 0.35, (0.12, 0.12, 0.35)),
        ((0.0, 0.6, 0.0), 0.7, (0.6, 0.6, 0.0)),
    ],
)
def test_the_probability_of_a_jam(weights, cap, expected):
    n = 30_000
    engine = started(Known(n_agents=3, jam_weights=weights, jam_cap=cap), [(1, None, ())] * 2 + [(7, None, ())], n)
    engine.step(np.tile([LEFT, RIGHT, LEFT], (n, 1)))
    stays = engine.states["cell"] == [1, 1, 7]
    for i, p in enumerate(expected):
        assert is_binomial(stays[:, i].sum(), n, p)
    if expected[0] > 0:
        # Everyone is jammed by a draw of its own.
        assert is_binomial((stays[:, 0] & stays[:, 1]).sum(), n, expected[0] * expected[1])


def test_the_defaults_jam_a_full_start_with_the_cap_and_a_place_of_fifty_with_a_half():
    game = Taxi(heterogeneity=0.0)
    engine = started(game, [(10, None, ())] * 950 + [(1, None, ())] * 50, 30)
    engine.step(np.full((30, 1000), UP))
    assert is_binomial((engine.states["cell"][:, :950] == 10).sum(), 30 * 950, 0.7)
    engine = started(game, [(10, None, ())] * 950 + [(4, None, ())] * 50, 30)
    engine.step(np.full((30, 1000), LEFT))
    assert is_binomial((engine.states["cell"][:, 950:] == 4).sum(), 30 * 50, 0.5)


@pytest.mark.parametrize(("place", "zone"), [(4, range(9)), (20, range(12, 21)), (12, range(12, 21))])
def test_targets_are_uniform_in_the_zone(place, zone):
    n = 20_000
    engine = started(Taxi(n_agents=2), [(place, None, {place})] * 2, n)
    engine.step(np.full((n, 2), WAIT))
    counts = np.bincount(engine.states["target"].ravel(), minlength=65)
    assert counts[list(zone)].sum() == 2 * n
    assert stats.chisquare(counts[list(zone)]).pvalue > LEVEL
    together = engine.states["target"].astype(int) @ [1, 100]
    pairs = [a + 100 * b for a in zone for b in zone]
    assert stats.chisquare([(together == pair).sum() for pair in pairs]).pvalue > LEVEL


@pytest.mark.parametrize("arrival", [0.2, 0.65])
def test_customers_appear_in_every_empty_place_of_a_zone_independently(arrival):
    n, waiting = 20_000, {1, 13}
    engine = started(Taxi(n_agents=2, arrival=arrival), [(10, None, waiting), (10, None, ())], n)
    engine.step(np.full((n, 2), WAIT))
    bits = bits_of(engine.states["customers"])
    places = [p for p in range(21) if p not in (9, 10, 11)]
    assert not np.delete(bits, places, axis=-1).any()
    assert bits[:, 0, sorted(waiting)].all()
    drawn = np.concatenate([bits[:, 0, [p for p in places if p not in waiting]], bits[:, 1, places]], axis=1)
    for column in drawn.T:
        assert is_binomial(column.sum(), n, arrival)
    correlations = np.corrcoef(drawn.T)[np.triu_indices(drawn.shape[1], 1)]
    # 561 pairs at 1e-10 each
    assert np.abs(correlations).max() * math.sqrt(n) < stats.norm.isf(0.5e-10)
    # The next step's arrivals have nothing to do with this one's.
    empty = ~bits[:, 1]
    engine.step(np.full((n, 2), WAIT))
    again = bits_of(engine.states["customers"][:, 1])
    for place in places:
        assert is_binomial(again[empty[:, place], place].sum(), int(empty[:, place].sum()), arrival)


def test_what_is_drawn_in_a_step_is_independent():
    """Jam, target and arrivals of one agent: who is jammed does not see more customers, nor who goes far."""
    n = 40_000
    engine = started(Known(arrival=0.5, jam_weights=(0.5, 0.0)), [(1, None, ()), (1, None, {1})], n)
    engine.step(np.tile([LEFT, WAIT], (n, 1)))
    states = engine.states
    bits = bits_of(states["customers"])[..., [0, 1, 2, 6, 7, 8]].reshape(n, -1)
    target = states["target"][:, 1]
    series = np.column_stack([states["cell"][:, 0] == 0, target == 0, target == 2, bits])
    correlations = np.corrcoef(series.T.astype(float))
    correlations[1, 2] = 0.0  # a target is one place
    assert np.abs(np.triu(correlations, 1)).max() * math.sqrt(n) < stats.norm.isf(0.5e-10)


def test_starts_are_drawn_uniformly():
    game = Taxi(city=("S1S", "111", "1S1"), base_rewards=(1.0,), n_agents=1000)
    cells = Engine(game, 20).reset(seed=0)["cell"]
    counts = np.bincount(cells.ravel(), minlength=9)
    assert counts[[0, 2, 7]].sum() == 20_000
    assert stats.chisquare(counts[[0, 2, 7]]).pvalue > LEVEL


# What agents are like and see.


def test_default_agents_lie_in_the_ranges_of_the_specification():
    agents = Taxi(n_agents=4000).agents
    columns = [agents["weight"] / 10, *agents["multiplier"].T]
    for values in columns:
        scaled = (values.astype(float) - 0.9) / 0.2
        assert scaled.min() >= -1e-5
        assert scaled.max() <= 1 + 1e-5
        assert stats.kstest(scaled, "uniform").pvalue > LEVEL
    correlations = np.corrcoef(columns)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() * math.sqrt(4000) < 5.7
    assert agents["weight"].sum() / 4000 == pytest.approx(10, rel=0.01)


def test_widths_scale_the_ranges_one_by_one():
    half = Taxi(heterogeneity=0.5).agents
    assert np.ptp(half["weight"]) == pytest.approx(1.0, rel=0.02)
    assert np.ptp(half["multiplier"], axis=0) == pytest.approx([0.1, 0.1], rel=0.02)
    other = Taxi(jam=3.0, jam_width=0.5, reward_width=0.0).agents
    assert np.ptp(other["weight"]) == pytest.approx(3.0, rel=0.02)
    assert (other["multiplier"] == 1).all()


def test_without_heterogeneity_all_agents_are_the_same():
    agents = Taxi(heterogeneity=0, city=("1S2", "3H2", "333"), base_rewards=(1, 2, 3)).agents
    assert (agents["weight"] == 10).all()
    assert agents["multiplier"].shape == (1000, 3)
    assert (agents["multiplier"] == 1).all()


def test_agents_are_drawn_by_their_seed():
    assert np.array_equal(Taxi(agents_seed=4).agents, Taxi(agents_seed=4).agents)
    assert (Taxi(agents_seed=4).agents["weight"] != Taxi(agents_seed=5).agents["weight"]).all()


def test_an_observation_by_hand():
    game = Known(horizon=4)
    engine = started(game, [(1, 8, {0, 7}), (4, None, ())])
    zeros = [0] * 9
    place, target, customers = ([*zeros] for _ in range(3))
    place[1] = target[8] = customers[0] = customers[7] = 1
    start = [*zeros]
    start[4] = 1
    expected = [[*place, *target, *customers, 0], [*start, *zeros, *zeros, 0]]
    np.testing.assert_array_equal(engine.observe()[0], expected)
    engine.step([[LEFT, WAIT]])
    expected[0][:2] = 1, 0
    expected[0][-1] = expected[1][-1] = 0.25
    np.testing.assert_array_equal(engine.observe()[0], expected)
    assert game.n_features == 28
    assert Taxi().observation_space.shape == (64,)


def test_an_observation_in_coordinates_by_hand():
    """On a map of three rows and three columns."""
    game = Known(horizon=4, observation="coordinates")
    engine = started(game, [(1, 8, {0, 7}), (6, None, ())])
    customers = [1, 0, 0, 0, 0, 0, 0, 1, 0]
    expected = [[0, 0.5, 1, 1, 1, *customers, 0], [1, 0, 0, 0, 0, *[0] * 9, 0]]
    np.testing.assert_array_equal(engine.observe()[0], expected)
    engine.step([[LEFT, WAIT]])
    expected[0][1] = 0
    expected[0][-1] = expected[1][-1] = 0.25
    np.testing.assert_array_equal(engine.observe()[0], expected)
    assert Taxi(observation="coordinates").observation_space.shape == (27,)
    street = started(Known(city=("S1",), base_rewards=(1.0,), observation="coordinates"), [(0, None, ())] * 2)
    assert street.observe()[0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0]


def test_places_zones_and_their_names():
    game = Taxi(n_agents=4)
    assert (game.n_places, game.n_cells) == (21, 21)
    assert game.regions == {"zone_1": tuple(range(9)), "zone_2": tuple(range(12, 21))}
    assert [game.place_name(p) for p in (1, 9, 10, 20)] == ["1 (0, 1)", "H (3, 0)", "S (3, 1)", "2 (6, 2)"]
    assert game.agent_names == ["taxi_0", "taxi_1", "taxi_2", "taxi_3"]
    engine = started(game, [(1, None, ()), (20, None, ()), (20, None, ()), (10, None, ())])
    occupancy = np.zeros(21)
    occupancy[[1, 20, 10]] = 0.25, 0.5, 0.25
    np.testing.assert_array_equal(engine.occupancy(), [occupancy])


def test_the_last_of_64_places():
    """A column of 32 rows of 2: the start is place 0, the last place is bit 63 of the customers."""
    game = Known(city=("S1", *["11"] * 15, *["22"] * 16))
    engine = started(game, [(63, None, {63, 62}), (61, 63, {63})], 200)
    engine.step(np.tile([WAIT, DOWN], (200, 1)))
    targets = set(engine.states["target"][:, 0].tolist())
    assert targets <= set(range(32, 64))
    assert len(targets) > 20
    assert (engine.states["customers"] == [1 << 62, 1 << 63]).all()
    seen = engine.observe()
    assert (seen[:, 1, [63, 127, 191]] == 1).all()
    assert (seen[:, 1].sum(axis=1) == np.float32(3 + 1 / 9)).all()
    rewards = engine.step(np.tile([UP, WAIT], (200, 1)))
    assert_allclose(rewards[:, 1], game.agents["multiplier"][1, 1], rtol=1e-6)
    assert taxis_of(engine)[1] == (63, None, {63})
    engine = started(dataclasses.replace(game, arrival=1.0), [(0, None, ()), (0, None, ())])
    engine.step([[RIGHT, DOWN]])
    assert engine.states["customers"].tolist() == [[2**64 - 2] * 2]
    assert engine.states["cell"].tolist() == [[1, 2]]


# What is refused.


@pytest.mark.parametrize(
    ("city", "error", "message"),
    [
        ((), ValueError, "city must have at least one row, got none"),
        ("", ValueError, "city must have at least one row, got none"),
        ((1, 2), TypeError, "city must be rows of text, got (1, 2)"),
        (("",), ValueError, "city must be rectangular"),
        (("1S2", "12"), ValueError, "city must be rectangular: row 0 ('1S2') has 3 places, row 1 ('12') has 2"),
        (("1S2", "1x2"), ValueError, "city[1][1] must be S (start), H (barrier) or a zone 1 to 9, got 'x'"),
        (("1S2", "102"), ValueError, "city[1][1] must be S (start), H (barrier) or a zone 1 to 9, got '0'"),
        (("112", "122"), ValueError, "city must have a start (S), got ('112', '122')"),
        (("1S3", "133"), ValueError, "the zones of city must be 1, 2, ... without a gap, got 1, 3"),
        (("2S3", "223"), ValueError, "the zones of city must be 1, 2, ... without a gap, got 2, 3"),
        (("SHS",), ValueError, "the zones of city must be 1, 2, ... without a gap, got none"),
        (("1S2", "1H2", "1HH", "1H2"), ValueError, "no taxi can reach city[3][2] from a start"),
        (("HSH", "HHH", "122"), ValueError, "no taxi can leave the start city[0][1]"),
        (("S1H", "2HS"), ValueError, "no taxi can leave the start city[1][2]"),
        (5, TypeError, "city must be rows of text, got 5"),
        (
            ("1S1", "1S2"),
            ValueError,
            "zone 1 is in parts: no taxi can get from city[0][0] to city[0][2] to deliver a customer",
        ),
        (("2S1", "HS2"), ValueError, "zone 2 is in parts: no taxi can get from city[0][0] to city[1][2]"),
        (("S1212", *["12121"] * 12), ValueError, "city must have at most 64 places, got 65"),
    ],
)
def test_maps_that_are_not_allowed(city, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Taxi(city=city)


@pytest.mark.parametrize(
    ("constants", "error", "message"),
    [
        ({"base_rewards": (1.0,)}, ValueError, "base_rewards must hold one number per zone of city (2), got"),
        ({"city": "S1"}, ValueError, "base_rewards must hold one number per zone of city (1), got (1.1, 1.0)"),
        ({"base_rewards": (1.0, math.nan)}, ValueError, "base_rewards[1] must be a finite number"),
        ({"base_rewards": 1.0}, TypeError, "base_rewards must hold one number per zone of city, got 1.0"),
        ({"base_rewards": ("a", 1.0)}, TypeError, "base_rewards[0] must be a finite number"),
        ({"arrival": 1.1}, ValueError, "arrival must be a finite number in [0, 1], got 1.1"),
        ({"arrival": -0.1}, ValueError, "arrival must be a finite number in [0, 1], got -0.1"),
        ({"jam": -1}, ValueError, "jam must be a finite number in [0, inf), got -1"),
        ({"jam_cap": 1.5}, ValueError, "jam_cap must be a finite number in [0, 1], got 1.5"),
        ({"jam_cap": -0.5}, ValueError, "jam_cap must be a finite number in [0, 1], got -0.5"),
        ({"jam_width": -0.1}, ValueError, "jam_width must be a finite number in [0, inf), got -0.1"),
        ({"reward_width": -0.1}, ValueError, "reward_width must be a finite number in [0, inf), got -0.1"),
        ({"heterogeneity": -1}, ValueError, "heterogeneity must be a finite number in [0, inf), got -1"),
        ({"jam_width": 1.5}, ValueError, "heterogeneity * jam_width must be a finite number in [0, 1], got 1.5"),
        ({"observation": "text"}, ValueError, "observation must be one of 'one-hot', 'coordinates', got 'text'"),
        ({"n_agents": 1}, ValueError, "n_agents must be an integer in [2, 16777216], got 1"),
        ({"horizon": 0}, ValueError, "horizon must be an integer >= 1, got 0"),
    ],
)
def test_constants_that_are_not_allowed(constants, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Taxi(**constants)


def test_actions_that_are_none():
    engine = Engine(Taxi(n_agents=2))
    engine.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions\[0, 1\] must be in \[0, 4\], got 5"):
        engine.step([[0, 5]])


def test_tables_need_a_finite_game():
    engine = Engine(Taxi(n_agents=2))
    engine.reset(seed=0)
    for call in (
        lambda: engine.rollout(np.ones((128, 21, 5)) / 5, seed=0),
        lambda: engine.sample_actions(np.ones((1, 128, 21, 5)) / 5),
    ):
        with pytest.raises(TypeError, match="needs a FiniteGame, got Taxi"):
            call()


# How a city is given.


def test_a_city_is_rows_or_one_text():
    rows = ("111", "HSH", "222")
    for city in (rows, list(rows), "111\nHSH\n222", "\n  111\n  HSH\n  222\n"):
        assert Taxi(city=city, n_agents=4).city == rows
    assert Taxi().city == ("111", "111", "111", "HSH", "222", "222", "222")


def test_describe_makes_an_equal_game_also_through_json():
    game = Taxi(n_agents=5, city="1S2\n1H2\n133", base_rewards=[1, 2, 3], jam=4.0, agents_seed=3)
    for constants in (game.describe(), json.loads(json.dumps(game.describe()))):
        again = mfenvs.make("Taxi-v0", **constants)
        assert again == game
        assert np.array_equal(again.agents, game.agents)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("cell", 255, "must be a start or a place of a zone, got 255"),
        ("cell", 3, "must be a start or a place of a zone, got 3"),
        ("target", 65, "must be a place of a zone or 64 for none, got 65"),
        ("target", 4, "must be a place of a zone or 64 for none, got 4"),
        ("customers", 1 << 3, "must be bits of places of zones, got 8"),
    ],
)
def test_states_that_no_taxi_can_have(field, value, message):
    """On the map 111 / HSH / 222 the barriers are 3 and 5, the start is 4."""
    game = Taxi(n_agents=6, horizon=5, city=("111", "HSH", "222"), jam=2.0)
    engine = Engine(game, 2)
    states = engine.reset(0).copy()
    game.check_snapshot(states, engine.signal)
    states[field][1, 2] = value
    with pytest.raises(ValueError, match=re.escape(f"snapshot.states[1, 2]['{field}'] {message}")):
        game.check_snapshot(states, engine.signal)


def test_a_passenger_can_be_delivered() -> None:
    """On the map 1S2 / 1H3 the taxi of zone 2 can travel to zone 3, and from zone 1 to neither."""
    game = Taxi(n_agents=3, horizon=5, city=("1S2", "1H3"), base_rewards=(1.0, 1.0, 1.0))
    engine = Engine(game)
    states = engine.reset(0).copy()
    for cell, target, is_possible in (
        *((0, 3, True), (2, 5, True), (5, 2, True), (0, 64, True), (1, 64, True)),
        *((0, 2, False), (2, 3, False), (1, 0, False)),
    ):
        states[0, 1] = (cell, target, 0)
        if is_possible:
            game.check_snapshot(states, engine.signal)
            continue
        with pytest.raises(ValueError, match=r"\[0, 1\]\['target'\] must be a place that the taxi can reach"):
            game.check_snapshot(states, engine.signal)


def test_a_large_crowd_is_not_rounded_away():
    """A million taxis of weight .7 at the start: added up in single precision they would weigh .693 each."""
    game = Taxi(n_agents=10**6, jam=0.7, heterogeneity=0.0)
    engine = Engine(game)
    engine.reset(seed=0)
    engine.step(np.full((1, 10**6), 4, np.int32))
    assert_allclose(engine.counts.max() / 10**6, 0.7, rtol=1e-6)
    assert np.count_nonzero(engine.counts) == 1
