"""Figures of played days: against days worked by hand, a planner written out here, and what must always hold."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, sparse, stats

import mfenvs
from mfenvs.energy.outcomes import (
    best_plans,
    local_payments,
    losses,
    market_outcome,
    planning_problem,
    realised_welfare,
    risk_outcome,
    settle,
    settlement_charges,
)
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.settlement import Ledger, PaymentChannels, PaymentNetwork
from mfenvs.energy.welfare import plan
from mfenvs.games.energy.conditions import DAY, FEED_IN, RETAIL, WEATHER_SEEN
from mfenvs.games.energy.version_0 import EnergyMarketV0

SMALL = {"n_agents": 12, "proportions": (0.2, 0.2, 0.4, 0.1, 0.1)}
PRICES = MarketSeries.embedded().price
NEGATIVE_DAY = int(PRICES.min(axis=1).argmin())
NEGATIVE_END = int(PRICES[:, -1].argmin())


class Everybody:
    """All do the same: battery, flexible fraction and limit price as functions of the time in [0, 1]."""

    def __init__(self, game, battery=lambda time: 0.0, flexible=1.0, limit=lambda time: 0.2):
        self.game, self.battery, self.flexible, self.limit = game, battery, flexible, limit

    def predict(self, observations):
        time = float(observations[0, 7])
        space = self.game.action_space
        action = np.clip(np.float32([self.battery(time), self.flexible, self.limit(time)]), space.low, space.high)
        return np.tile(action, (len(observations), 1)), None


class Truthful:
    """Idle batteries; flexible load is bid at what it is worth, generation offered at any price."""

    def __init__(self, game):
        self.game = game

    def predict(self, observations):
        game, n_worlds = self.game, len(observations) // self.game.n_agents
        generates = game.agents["pv_kwp"] + game.agents["wind_kw"] > 0
        limit = np.where(
            generates, game.feed_in, np.clip(game.agents["flexible_value"], game.feed_in, game.retail)
        )
        actions = np.stack([0 * limit, ~generates, limit], axis=1)
        return np.tile(np.clip(actions, game.action_space.low, game.action_space.high), (n_worlds, 1)), None


def arbitrage(game):
    """Charges in the sun and discharges after it, at any price."""
    return Everybody(
        game,
        lambda time: 1.0 if 0.3 < time < 0.7 else -1.0,
        limit=lambda time: 10.0 if time < 0.7 else -10.0,
    )


def emptying(game):
    """Empties the batteries in the last steps, for the market to refill."""
    return Everybody(game, lambda time: -1.0 if time > 0.75 else 0.0, limit=lambda time: -10.0)


def filling(game):
    """Ends the day with full batteries."""
    return Everybody(game, lambda time: 1.0 if time > 0.75 else 0.0, limit=lambda time: 10.0)


POLICIES = (lambda game: None, arbitrage, emptying, filling, Everybody)


def one_day(tmp_path, load, pv, price=None):
    """A series of one day, whose first hours are given, with one profile."""
    shape = (1, 24, 1)
    arrays = {"load": np.zeros(shape), "pv": np.zeros(shape), "price": np.zeros((1, 24))}
    for name, values in (("load", load), ("pv", pv), ("price", price or [0.0])):
        arrays[name].reshape(-1)[: len(values)] = values
    zeros = np.zeros((1, 24))
    series = MarketSeries(arrays["load"], arrays["pv"], zeros, arrays["price"], zeros, 1.0, ("a day",))
    series.save(tmp_path / "day.npz")
    return str(tmp_path / "day.npz")


@dataclasses.dataclass(kw_only=True)
class Quiet(EnergyMarketV0):
    """Nobody errs, and the weather is as in the data."""

    weather_sd: float = 0.0
    flexible: bool = True

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["error_scale"] = 0
        if not self.flexible:
            agents["flexible_share"] = 0
        return agents


@dataclasses.dataclass(kw_only=True)
class Pair(Quiet):
    """A consumer of three profiles' load and a neighbour with one, 5 kWp, and perhaps a battery of 10 kWh."""

    n_agents: int = 2
    horizon: int = 2
    orders: str = "step"
    flexible: bool = False
    neighbour: tuple[float, float, float] = (1.0, 5.0, 0.0)

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["profile"] = agents["shift"] = 0
        load, pv, capacity = self.neighbour
        agents["load_scale"], agents["pv_kwp"] = (3, load), (0, pv)
        agents["capacity"], agents["power"] = (0, capacity), (0, capacity / 2)
        return agents


# Days by hand.


@pytest.mark.parametrize("fee", [0.0, 0.01])
def test_a_day_without_batteries_by_hand(tmp_path, fee):
    """1 of 5 kWh of sun is used at home, 3 are sold next door at the feed-in tariff, 1 to the grid; then night."""
    series = one_day(tmp_path, [1, 1], [1, 0])
    game = Pair(series=series, proportions=(1, 1, 0, 0, 0), feed_in=0.1, retail=0.3, fee=fee)
    record = record_days(game, Everybody(game, limit=lambda time: 0.1), n_worlds=1)
    outcome = market_outcome(record)
    expected = {
        "welfare": 0.1 - 4 * 0.3,
        "no_trade": -3 * 0.3 + 4 * 0.1 - 4 * 0.3,
        "best": 0.1 - 4 * 0.3,
        "efficiency": 1.0,
        "peak_import": 4,
        "peak_export": 1,
        "imports": 4,
        "exports": 1,
        "local_share": 3 / 7,
        "price_mean": 0.2,
        "price_sd": 0.1,
        "price_min": 0.1,
        "price_max": 0.3,
        "mean_return": -1.1 / 2 - 3 * fee,
    }
    assert set(expected) == {field.name for field in dataclasses.fields(outcome)}
    for name, value in expected.items():
        found = getattr(outcome, name)
        assert found.shape == (1,)
        assert found.dtype == np.float64
        assert found[0] == pytest.approx(value, abs=1e-6), name
    assert_allclose(local_payments(record, 0), [[0.3, -0.3], [0, 0]], atol=1e-7)
    settlements, figures = settle(record, 0, Ledger(fee_per_payment=0.02))
    assert [one.amount_eur.tolist() for one in settlements] == [pytest.approx([0.3], abs=1e-7), []]
    assert figures.n_transfers == 1
    assert_allclose(settlement_charges(settlements), [0.02, 0], atol=1e-9)


def emptied_at_the_peak(tmp_path, **more):
    """The battery sells 4.5 kWh at .5 EUR or more in the first hour; in the second all of it is refilled at .3."""
    series = one_day(tmp_path, [2 / 3, 2 / 3], [0, 0], [0.5, 0.1])
    terms = {"dynamic_tariffs": True, "feed_in": 0.1, "retail": 0.3, "efficiency": 0.9, "degradation": 0.01}
    game = Pair(series=series, proportions=(1, 0, 1, 0, 0), neighbour=(0, 0, 10), **(terms | more))
    policy = Everybody(game, lambda time: -1.0 if time == 0 else 0.0, limit=lambda time: -10.0)
    return record_days(game, policy, n_worlds=1)


def test_a_planner_who_must_be_back_in_time_can_be_beaten(tmp_path):
    """By the settlement of the charge that is missing, at any power and without wear: the reason for its steps."""
    record = emptied_at_the_peak(tmp_path)
    refill = 5 / 0.9 * 0.3
    welfare = 2.5 * 0.5 - 2 * 0.3 - 4.5 * 0.01 - refill
    assert realised_welfare(record)[0] == pytest.approx(welfare, abs=1e-5)
    # Without: 5 kWh can be drawn in the second hour, for .81 x 5 in the first, both with wear.
    back = 2.05 * 0.5 - (2 + 5) * 0.3 - (4.05 + 5) * 0.01
    assert plan(planning_problem(record, 0, settles_charge=False)).bound == pytest.approx(back, abs=1e-5)
    assert back < welfare - 0.1
    outcome = market_outcome(record)
    assert outcome.best[0] == pytest.approx(welfare, abs=1e-5)
    assert outcome.no_trade[0] == pytest.approx(-2 * 0.7 - 2 * 0.3, abs=1e-6)
    assert outcome.efficiency[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("degradation", [0.0, 0.3])
def test_wear_beyond_the_spread_of_the_tariffs(tmp_path, degradation):
    """Tariffs of the settlement stay in order, and it has no wear: W* is what the market can reach."""
    record = emptied_at_the_peak(tmp_path, degradation=degradation, retail=0.2)
    outcome = market_outcome(record)
    refill = 5 / 0.9 * 0.2
    welfare = 2.5 * 0.5 - 2 * 0.2 - 4.5 * degradation - refill
    assert outcome.welfare[0] == pytest.approx(welfare, abs=1e-5)
    assert outcome.best[0] >= outcome.welfare[0] - 1e-5


def test_charge_that_is_left_is_sold(tmp_path):
    """Feed-in is .1 in the first hour, .5 in the second: fill up at .3, and let the market sell."""
    series = one_day(tmp_path, [0, 0, 1], [0, 0], [0.1, 0.5])
    game = Pair(
        series=series,
        proportions=(1, 0, 1, 0, 0),
        neighbour=(0, 0, 10),
        dynamic_tariffs=True,
        feed_in=0.1,
        retail=0.3,
        efficiency=1.0,
    )
    record = record_days(
        game, Everybody(game, lambda time: 1.0 if time == 0 else 0.0, limit=lambda time: 10), n_worlds=1
    )
    outcome = market_outcome(record)
    assert outcome.welfare[0] == pytest.approx(5 * (0.5 - 0.3) - 5 * 0.01, abs=1e-5)
    # In the second hour 5 kWh more can be delivered from what was there, but not refilled for less than .7.
    assert outcome.best[0] == pytest.approx(outcome.welfare[0], abs=1e-5)
    problem = planning_problem(record, 0)
    assert problem.n_steps == 2 + 1 + 1
    assert_allclose(problem.retail, [0.3, 0.7, 0.69, 0.7], atol=1e-6)
    assert_allclose(problem.feed_in, [0.1, 0.5, 0.5, 0.51], atol=1e-6)


# The planning problem.


@pytest.mark.parametrize("more", [{}, {"step_minutes": 15, "horizon": 90, "dynamic_tariffs": True}])
def test_the_planning_problem_of_a_day(more):
    game = EnergyMarketV0(**SMALL, initial_charge=0.3, **more)
    record = record_days(game, n_worlds=3, seed=5)
    world, days = 2, game.days
    problem = planning_problem(record, world, settles_charge=False)
    signal = record.signals[world]
    assert problem.load.shape == (12, game.horizon)
    assert not problem.curtailment
    assert_array_equal(problem.load, record.account("load")[world].T)
    assert_array_equal(problem.generation, record.account("generation")[world].T)
    assert_array_equal(problem.retail, signal[:, RETAIL])
    assert_array_equal(problem.feed_in, signal[:, FEED_IN])
    day = int(signal[0, DAY])
    for i, agent in enumerate(game.agents):
        load = days.load[(day + agent.shift) % days.n_days, : game.horizon, agent.profile]
        flexible = agent.flexible_share * agent.load_scale * load * (1 + 0.8 * signal[:, WEATHER_SEEN])
        assert_allclose(problem.flexible[i], flexible, rtol=1e-5)
    capacity = game.agents["capacity"]
    assert_allclose(problem.capacity, capacity)
    assert_allclose(problem.power, capacity / 2 * days.step_hours)
    assert_allclose(problem.soc0, 0.3 * capacity, rtol=1e-6)
    assert_allclose(problem.efficiency, 0.95)
    assert_allclose(problem.degradation, 0.01)
    assert_allclose(problem.flexible_value, game.agents["flexible_value"])
    assert (problem.co2 == 0.4).all()
    assert np.ptp(signal[:, WEATHER_SEEN]) > 0.05


def test_who_wants_all_flexible_load_at_any_price_gets_what_the_planner_has():
    game = EnergyMarketV0(**SMALL)
    record = record_days(game, Everybody(game, limit=lambda time: 10), n_worlds=2)
    served = record.account("flexible")
    for world in range(2):
        problem = planning_problem(record, world, settles_charge=False)
        buyers = game.agents["pv_kwp"] + game.agents["wind_kw"] == 0
        assert_allclose(served[world].T[buyers], problem.flexible[buyers], rtol=1e-9)
        assert (served[world].T - problem.flexible * (1 + 1e-9)).max() <= 0


def test_steps_of_settlement():
    game = EnergyMarketV0(**SMALL, initial_charge=0.25)
    record = record_days(game, n_worlds=1)
    day, whole = (planning_problem(record, 0, settles_charge=settles) for settles in (False, True))
    # From .25 of the capacity at a C-rate of 1/2: .25 / .95 / .5 and .75 x .95 / .5 hours.
    assert whole.n_steps == 24 + 1 + 2
    for name in ("load", "generation", "flexible"):
        assert_array_equal(getattr(whole, name)[:, :24], getattr(day, name))
        assert (getattr(whole, name)[:, 24:] == 0).all()
    assert_allclose(whole.retail[24:], [0.31, 0.32, 0.32], atol=1e-7)
    assert_allclose(whole.feed_in[24:], [0.08, 0.09, 0.09], atol=1e-7)
    assert planning_problem(record, 0, co2=np.arange(24)).co2.tolist() == [*range(24), 23, 23, 23]
    nobody = record_days(EnergyMarketV0(n_agents=5, proportions=(1, 0, 0, 0, 0)), n_worlds=1)
    assert planning_problem(nobody, 0).n_steps == 24


def market_optimum(record, world):
    """The largest sum of rewards and fees, by a linear program with each agent's own settlement of its charge.

    It is exact where burning energy does not pay: the market may not charge and discharge at once.
    """
    game, signal = record.game, record.signals[world]
    n, h = game.n_agents, game.horizon
    problem = planning_problem(record, world, settles_charge=False)
    net = (problem.load - problem.generation).sum(axis=0)
    size = n * h
    draw, deliver, soc, served = (np.arange(k * size, (k + 1) * size).reshape(n, h) for k in range(4))
    bought, sold = (np.arange(4 * size + k * h, 4 * size + (k + 1) * h) for k in range(2))
    missing, left = (np.arange(4 * size + 2 * h + k * n, 4 * size + 2 * h + (k + 1) * n) for k in range(2))
    width = left[-1] + 1
    cost, low, high = np.zeros(width), np.zeros(width), np.full(width, np.inf)
    retail, feed_in, capacity = signal[:, RETAIL], signal[:, FEED_IN], game.agents["capacity"].astype(float)
    cost[draw] = cost[deliver] = 0.01
    cost[served] = -game.agents["flexible_value"].astype(float)[:, None]
    cost[bought], cost[sold] = retail, -feed_in
    cost[missing], cost[left] = retail[-1] / 0.95, -feed_in[-1] * 0.95
    high[draw] = high[deliver] = (capacity / 2)[:, None]
    high[soc], high[served] = capacity[:, None], problem.flexible
    rows, right = sparse.lil_array((size + h + n, width)), np.zeros(size + h + n)
    for i in range(n):
        for t in range(h):
            row = i * h + t
            rows[row, soc[i, t]], rows[row, draw[i, t]], rows[row, deliver[i, t]] = 1, -0.95, 1 / 0.95
            if t:
                rows[row, soc[i, t - 1]] = -1
            else:
                right[row] = 0.5 * capacity[i]
            for column, sign in ((draw, 1), (deliver, -1), (served, 1)):
                rows[size + t, column[i, t]] = sign
        rows[size + h + i, soc[i, -1]], rows[size + h + i, missing[i]], rows[size + h + i, left[i]] = 1, 1, -1
        right[size + h + i] = 0.5 * capacity[i]
    for t in range(h):
        rows[size + t, bought[t]], rows[size + t, sold[t]], right[size + t] = -1, 1, -net[t]
    found = optimize.linprog(cost, A_eq=rows.tocsr(), b_eq=right, bounds=np.stack([low, high], 1))
    assert found.success
    return -found.fun


@pytest.mark.parametrize("horizon", [19, 24])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_bound_is_the_best_that_the_market_allows(horizon, dynamic):
    """The planner's passing of energy between batteries at the end is worth next to nothing."""
    game = EnergyMarketV0(**SMALL, dynamic_tariffs=dynamic, first_day=20, n_days=40, horizon=horizon)
    record = record_days(game, n_worlds=4, seed=4)
    assert not dynamic or record.signals[:, :, FEED_IN].min() > 0
    outcome = market_outcome(record)
    for world, best in enumerate(outcome.best):
        exact = market_optimum(record, world)
        assert -1e-5 <= best - exact <= 1e-3 * (exact - outcome.no_trade[world])


# What must always hold.


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(POLICIES),
    st.sampled_from(["interpolated", "step", "linear"]),
    st.sampled_from([0, NEGATIVE_DAY, NEGATIVE_END, 200]),
    st.booleans(),
    st.sampled_from([{}, {"horizon": 20}, {"degradation": 0.0}, {"efficiency": 0.7}, {"initial_charge": 0.0}]),
)
def test_no_policy_beats_the_planner(seed, policy, orders, day, dynamic, more):
    """On any day, with whatever tariffs; and welfare is the rewards and the fees."""
    terms = SMALL | {"first_day": day, "n_days": 1, "dynamic_tariffs": dynamic, "fee": 0.02} | more
    game = EnergyMarketV0(**terms, orders=orders)
    record = record_days(game, policy(game), n_worlds=2, seed=seed)
    outcome = market_outcome(record)
    earned = (record.account("reward") + record.account("fee")).sum(axis=(1, 2))
    assert_allclose(outcome.welfare, earned, atol=1e-9 * np.abs(record.accounts).sum())
    scale = np.abs(record.accounts).sum(axis=(1, 2, 3))
    assert (outcome.welfare <= outcome.best + 1e-7 * scale).all()
    assert (outcome.no_trade <= outcome.best + 1e-7 * scale).all()
    assert (outcome.efficiency <= 1 + 1e-5).all()
    assert (outcome.price_min >= record.signals[:, :, FEED_IN].min(axis=1)).all()
    assert (outcome.local_share >= 0).all()
    assert (outcome.local_share <= 1).all()


def test_days_with_negative_prices_are_among_them():
    assert PRICES[NEGATIVE_DAY].min() < -0.05
    assert PRICES[NEGATIVE_END, -1] < 0


@pytest.mark.parametrize("orders", ["interpolated", "step", "linear"])
def test_local_trade_alone_gains_the_spread_on_each_kwh(orders):
    """Idle batteries, no flexible load, no surprises: what is traded locally is bought and sold by nobody else.

    So such a market is never worse than none. With surprises it may be: a position that was traded is not undone
    at the price at which it was made; nor is it sure when flexible load is not served.
    """
    game = Quiet(**SMALL, flexible=False, orders=orders, dynamic_tariffs=True)
    record = record_days(game, Everybody(game), n_worlds=5, seed=1)
    outcome = market_outcome(record)
    traded = record.account("local_bought").sum(axis=2)
    spread = record.signals[:, :, RETAIL] - record.signals[:, :, FEED_IN]
    assert_allclose(outcome.welfare - outcome.no_trade, (spread * traded).sum(axis=1), rtol=1e-6)
    assert (outcome.efficiency > 0).all()


def test_who_bids_the_truth_does_not_lose_by_the_market():
    """In the exact auction; whose own generation serves flexible load whatever it is worth has none here."""

    @dataclasses.dataclass(kw_only=True)
    class Apart(Quiet):
        def draw_agents(self, rng):
            agents = super().draw_agents(rng)
            agents["flexible_share"][agents["pv_kwp"] + agents["wind_kw"] > 0] = 0
            return agents

    game = Apart(**SMALL, orders="step", n_ticks=2000)
    outcome = market_outcome(record_days(game, Truthful(game), n_worlds=5, seed=1))
    assert (outcome.efficiency > 0).all()


def test_nothing_to_gain():
    game = Quiet(n_agents=3, proportions=(1, 0, 0, 0, 0), flexible=False)
    outcome = market_outcome(record_days(game, n_worlds=2))
    assert np.isnan(outcome.efficiency).all()
    assert (outcome.local_share == 0).all()
    assert_allclose(outcome.welfare, outcome.no_trade, rtol=1e-6)
    with pytest.raises(ValueError, match="an interval of efficiency needs at least 2 days that have it, got 0"):
        outcome.interval("efficiency")


# Plans and intervals.


def test_plans_serve_for_other_policies():
    game = EnergyMarketV0(**SMALL)
    one = record_days(game, n_worlds=2, seed=3)
    other = record_days(game, arbitrage(game), n_worlds=2, seed=3)
    plans = best_plans(one)
    shared, own = market_outcome(other, plans=plans), market_outcome(other)
    assert_array_equal(shared.best, own.best)
    assert_array_equal(shared.efficiency, own.efficiency)
    assert shared.best[0] != shared.best[1]
    with pytest.raises(ValueError, match="plans must be one for each of the 2 days, got 1"):
        market_outcome(other, plans=plans[:1])
    shorter = plan(planning_problem(one, 0, settles_charge=False))
    with pytest.raises(
        ValueError, match=r"plans\[1\] must be of 12 agents in 27 steps, got one of shape \(12, 24\)"
    ):
        market_outcome(other, plans=[plans[0], shorter])
    with pytest.raises(ValueError, match=r"plans\[0\] must be of the day of world 0, but it does not balance"):
        market_outcome(other, plans=plans[::-1])
    beaten = dataclasses.replace(plans[0], bound=own.welfare[0] - 0.01)
    with pytest.raises(ValueError, match=r"plans\[0\] must be of the day of world 0, but that day's welfare"):
        market_outcome(other, plans=[beaten, plans[1]])


def test_intervals_are_students():
    game = EnergyMarketV0(**SMALL)
    outcome = market_outcome(record_days(game, n_worlds=4))
    values = outcome.imports
    for level in (0.95, 0.5):
        mean, low, high = outcome.interval("imports", level)
        expected = stats.t.interval(level, 3, values.mean(), stats.sem(values))
        assert mean == pytest.approx(values.mean())
        assert (low, high) == pytest.approx(expected)
    partly = dataclasses.replace(outcome, efficiency=np.array([0.2, math.nan, 0.4, math.nan]))
    assert partly.interval("efficiency").value == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"name must be one of 'welfare', .*, got 'w'"):
        outcome.interval("w")
    with pytest.raises(ValueError, match=r"level must be a finite number in \(0, 1\), got 1"):
        outcome.interval("welfare", 1)


# Risk.


def test_losses_are_minus_returns():
    game = EnergyMarketV0(**SMALL)
    policy = arbitrage(game)
    found = losses(game, policy, n_worlds=3, seed=2)
    assert_array_equal(found, -mfenvs.evaluate(game, policy, n_worlds=3, seed=2).returns)
    assert losses(game, None).shape == (200, 12)


def test_risk_by_hand():
    """Of two days one is bad: a resample has it but once in four times."""
    days, gamma = np.array([[1.0, 2.0], [3.0, 8.0]]), np.array([0.5, 0.25])
    found = risk_outcome(days, gamma, alpha=0.5)
    assert found.expected == pytest.approx((3.5, 1.5, 5.5))
    # Resamples' CVaR is 1.5 or 5.5, of which the latter is the sample's: reflected, from there upwards.
    assert found.cvar == pytest.approx((5.5, 5.5, 9.5))
    by_agent = (0.5 * 2 + 0.5 * 3 + 0.75 * 5 + 0.25 * 8) / 2
    assert found.adjusted == pytest.approx((by_agent, 2 * by_agent - 5.5, 2 * by_agent - 1.5))


def test_days_are_resampled_with_all_their_agents():
    """Two who bet against each other lose nothing together on any day."""
    bet = np.random.default_rng(0).standard_normal(30)
    found = risk_outcome(np.stack([bet, -bet], axis=1), 0.3)
    assert found.expected == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.cvar.low < found.cvar.value - 0.1
    assert found.cvar.value < found.cvar.high - 0.1


def test_repeats_of_a_day_are_resampled_together():
    """Repeating every day makes nothing more certain; as days of their own the repeats would."""
    days = np.random.default_rng(0).standard_normal((30, 2))
    repeated = np.repeat(days[:, None], 4, axis=1)
    for field in ("expected", "cvar", "adjusted"):
        one, other = (risk_outcome(sample, 0.3, alpha=0.2) for sample in (repeated, days))
        assert getattr(one, field) == pytest.approx(getattr(other, field))
    apart = risk_outcome(repeated.reshape(120, 2), 0.3, alpha=0.2).expected
    together = risk_outcome(repeated, 0.3, alpha=0.2).expected
    assert apart.value == pytest.approx(together.value)
    assert apart.high - apart.low < 0.7 * (together.high - together.low)


def test_risk_of_everything_is_expectation_and_seeds_matter():
    sample = np.random.default_rng(0).standard_normal((40, 3)) + 2
    found = risk_outcome(sample, 0.7, alpha=1.0)
    assert found.cvar == pytest.approx(found.expected)
    assert found.adjusted == pytest.approx(found.expected)
    # A thousand resamples give the normal interval of the mean, within a few percent.
    half = 1.96 * sample.mean(axis=1).std() / math.sqrt(40)
    assert found.expected.high - found.expected.low == pytest.approx(2 * half, rel=0.15)
    assert risk_outcome(sample, 0.7, seed=1) == risk_outcome(sample, 0.7, seed=1)
    assert risk_outcome(sample, 0.7, seed=1) != risk_outcome(sample, 0.7, seed=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3), bool), 0.5), "losses must be an array of numbers, got dtype bool"),
        ((np.ma.zeros((2, 3)), 0.5), "losses must be an array without a mask"),
        (([[1, 2], [3]], 0.5), "losses must be an array, got"),
        ((np.zeros((2, 3)), "low"), "gamma must be an array of numbers"),
        ((np.zeros((2, 3)), True), "gamma must be an array of numbers, got dtype bool"),
        ((np.zeros((2, 3)), 0.5, "0.05"), "alpha must be a finite number"),
        ((np.zeros((2, 3)), 0.5, 0.05, "1"), "seed must be an integer"),
    ],
)
def test_risk_of_other_kinds(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        risk_outcome(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), 0.5), r"losses must have shape \(n_days, N\) or .* with n_days >= 2, got \(3,\)"),
        ((np.zeros((1, 3)), 0.5), r"losses must have shape \(n_days, N\) or .* with n_days >= 2, got \(1, 3\)"),
        ((np.full((2, 3), np.nan), 0.5), r"losses\[0, 0\] must be finite, got nan"),
        ((np.zeros((2, 3)), np.zeros(2)), r"gamma must have shape \(3,\), got \(2,\)"),
        ((np.zeros((2, 3)), 1.5), r"gamma must be in \[0, 1\], got"),
        ((np.zeros((2, 3)), 0.5, 0.0), r"alpha must be a finite number in \(0, 1\], got 0"),
        ((np.zeros((2, 3)), 0.5, 0.05, -1), "seed must be an integer >= 0, got -1"),
    ],
)
def test_risk_of_what_is_not_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        risk_outcome(*arguments)


# Settlement.


def test_local_payments_sum_to_zero_and_are_part_of_the_trade():
    game = EnergyMarketV0(**SMALL, dynamic_tariffs=True, first_day=NEGATIVE_DAY, n_days=1)
    record = record_days(game, n_worlds=2, seed=1)
    for world in range(2):
        paid = local_payments(record, world)
        assert paid.shape == (24, 12)
        assert_allclose(paid.sum(axis=1), 0, atol=1e-10)
        signal = record.signals[world]
        grid = signal[:, RETAIL, None] * record.account("imports")[world]
        grid -= signal[:, FEED_IN, None] * record.account("exports")[world]
        all_paid = record.account("trade_payment")[world] + record.account("imbalance_payment")[world]
        assert_allclose(paid, all_paid - grid, atol=1e-9)
    assert np.abs(paid).max() > 0.1


def test_the_ledger_settles_exactly():
    record = record_days(EnergyMarketV0(**SMALL), n_worlds=2, seed=1)
    settlements, figures = settle(record, 1)
    assert_allclose([one.net_eur for one in settlements], local_payments(record, 1), atol=1e-12)
    assert figures.success_rate == 1
    assert_array_equal(settlement_charges(settlements), np.zeros(12))


def test_payment_channels_conserve_money():
    game = EnergyMarketV0(n_agents=40)
    record = record_days(game, n_worlds=1, seed=1)
    settlements, figures = settle(record, 0, "payment-channels", seed=3)
    assert len(settlements) == 24
    assert_array_equal(settlements[0].agent_nodes, game.agents["node"] % 300)
    assert len(settlements[0].routing_income_node_units) == 300
    charges = settlement_charges(settlements)
    assert charges.sum() == pytest.approx(figures.fees_eur + figures.penalties_eur, rel=1e-9)
    assert charges.min() > -1e-12
    assert figures.fees_eur > 0
    channels = PaymentChannels(PaymentNetwork.scale_free(300, seed=3), game.agents["node"] % 300, seed=3)
    assert settle(record, 0, channels)[1] == figures
    assert settle(record, 0, "payment-channels", seed=4)[1] != figures


def test_money_that_is_lost_is_noticed():
    class Leaky(Ledger):
        def settle(self, payments):
            return dataclasses.replace(super().settle(payments), operator_income_units=1)

    with pytest.raises(AssertionError, match="money is not conserved"):
        settle(record_days(EnergyMarketV0(**SMALL), n_worlds=1), 0, Leaky())


def test_failed_payments_are_credit_of_the_retailer():
    """Channels of a thousandth of a EUR carry nothing: everyone is paid, and who owes pays the penalty too."""
    record = record_days(EnergyMarketV0(**SMALL), n_worlds=1, seed=1)
    network = dataclasses.replace(
        PaymentNetwork.scale_free(20, seed=0),
        capacity_msat=np.full(51, 1000),
        balance_msat=np.full(51, 500),
    )
    channels = PaymentChannels(network, np.arange(12), penalty_share=0.1)
    settlements, figures = settle(record, 0, channels)
    assert figures.success_rate < 0.1
    credit = np.sum([one.retailer_credit_eur for one in settlements], axis=0)
    charges = settlement_charges(settlements)
    assert_allclose(charges, 0.1 * credit, atol=1e-3)
    owed = np.maximum(local_payments(record, 0), 0).sum(axis=0)
    assert_allclose(credit, owed, atol=0.05)
    assert charges.max() > 0.1


def test_what_is_not_allowed():
    record = record_days(EnergyMarketV0(**SMALL), n_worlds=2)
    for function in (planning_problem, local_payments, settle):
        for world in (2, -1):
            with pytest.raises(ValueError, match=rf"world must be an integer in \[0, 1\], got {world}"):
                function(record, world)
    with pytest.raises(ValueError, match=r"co2 must have shape \(24,\), got \(2,\)"):
        planning_problem(record, 0, co2=[0.4, 0.5])
    with pytest.raises(ValueError, match=r"co2\[0\] must be a finite number in \[0, 1e\+12\], got -1"):
        planning_problem(record, 0, co2=-1)
    with pytest.raises(TypeError, match="settles_charge must be True or False, got 1"):
        planning_problem(record, 0, settles_charge=1)
    with pytest.raises(ValueError, match="how must be one of 'ledger', 'payment-channels', got 'cash'"):
        settle(record, 0, "cash")
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        settle(record, 0, seed=-1)
    with pytest.raises(ValueError, match="settlements must be at least one, got none"):
        settlement_charges([])
    for wrong in (3, None, [3], "ab"):
        with pytest.raises(TypeError, match="settlements must be a sequence of settlements"):
            settlement_charges(wrong)
    for function in (realised_welfare, market_outcome, best_plans):
        with pytest.raises(TypeError, match="record must be a MarketRecord, got 3"):
            function(3)
    for function in (planning_problem, local_payments, settle):
        with pytest.raises(TypeError, match="record must be a MarketRecord, got None"):
            function(None, 0)
        for world in (True, "0", 0.5, np.zeros(2)):
            with pytest.raises((TypeError, ValueError), match=r"world must be an integer in \[0, 1\]"):
                function(record, world)
    for how in (3, True, None, np.array(["ledger"])):
        with pytest.raises(ValueError, match="how must be one of 'ledger', 'payment-channels'"):
            settle(record, 0, how)
    for plans in (3, [3, 3]):
        with pytest.raises(TypeError, match=r"plans(\[0\])? must be a"):
            market_outcome(record, plans=plans)
    for co2 in ("0.4", True, [0.4, [0.5]], np.nan):
        with pytest.raises((TypeError, ValueError), match=r"co2(\[0\])? must be"):
            planning_problem(record, 0, co2=co2)
