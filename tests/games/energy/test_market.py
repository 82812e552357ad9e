"""The market against a simulation in plain Python, hour by hour and agent by agent, and what must always hold.

The oracle knows the specification: what is in the data, what a battery can do, what a book of orders is. It reads
of the game the drawn parameters, the day, the weather and the errors (which agents see afterwards), nothing else.
"""

import dataclasses
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import mfenvs
from mfenvs import Engine, make
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.clearing import clear_orders
from mfenvs.games.energy.conditions import DAY, FEED_IN, RETAIL, WEATHER, WEATHER_SEEN
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_accounts import ACCOUNTS
from mfenvs.games.energy.prosumer_types import PROPORTIONS_V0, TYPES
from mfenvs.games.energy.version_0 import EnergyMarketV0
from mfenvs.games.typed_agents import stratified
from mfenvs.wrappers.observations import Observer

PRICE, LOCAL_BUY, LOCAL_SELL, VOLUME = range(4)
SMALL = {"n_agents": 17, "n_days": 30, "first_day": 180, "proportions": (0.35, 0.2, 0.3, 0.1, 0.05)}
"""Days on which there are prices of all kinds."""
ORDERS = ("interpolated", "step", "linear")


def market(**constants):
    return EnergyMarketV0(**(SMALL | constants))


def random_actions(game, rng, n_worlds=1):
    space = game.action_space
    if game.actions == "discrete":
        return rng.integers(space.n, size=(n_worlds, game.n_agents))
    return rng.uniform(space.low, space.high, (n_worlds, game.n_agents, 3)).astype(np.float32)


def read_action(game, action, feed_in, retail):
    """Battery, flexible fraction, limit price."""
    if game.actions == "box":
        return float(action[0]), float(action[1]), min(max(float(action[2]), feed_in), retail)
    battery, rest = divmod(int(action), 10)
    flexible, price = divmod(rest, 5)
    return battery - 1.0, float(flexible), feed_in + price / 4 * (retail - feed_in)


@dataclasses.dataclass
class Outcome:
    """What the oracle says of an agent's step."""

    charge: float
    error: float
    reward: float


def simulate(game, states, actions, time, signal, errors):
    """One step of one world in plain Python; also price and traded volume."""
    days, hours = game.days, game.days.step_hours
    day, seen, weather = int(signal[DAY]), float(signal[WEATHER_SEEN]), float(signal[WEATHER])
    feed_in, retail = float(signal[FEED_IN]), float(signal[RETAIL])
    eff = game.efficiency
    plans, buys, sells = [], [], []
    for agent, state, action in zip(game.agents, states, actions, strict=True):
        load = float(agent.load_scale) * days.load[(day + agent.shift) % days.n_days, time, agent.profile]
        made = (
            float(agent.pv_kwp) * days.pv[day, time, agent.profile] + float(agent.wind_kw) * days.wind[day, time]
        )
        flexible, firm_load = agent.flexible_share * load, (1 - agent.flexible_share) * load
        expected = 1 + game.weather_memory * seen
        battery, wanted, limit = read_action(game, action, feed_in, retail)
        stored, capacity = float(state["charge"]) * float(agent.capacity), float(agent.capacity)
        power = float(agent.power) * hours
        draw = min(max(battery, 0) * power, (capacity - stored) / eff)
        deliver = min(max(-battery, 0) * power, stored * eff)
        wanted *= expected * flexible
        supply = expected * made + deliver
        need = expected * firm_load
        firm, spare = max(need - supply, 0), max(supply - need, 0)
        buy, sell = max(wanted + draw - spare, 0), max(spare - wanted - draw, 0)
        plans.append((agent, firm_load, made, expected, stored, draw, deliver, wanted, firm, buy, sell, limit))
        buys += [(retail, firm), (limit, buy)]
        sells.append((limit, sell))
    cleared = clear_orders(
        buys,
        sells,
        feed_in=feed_in,
        retail=retail,
        orders=game.orders,
        n_ticks=game.n_ticks,
        width=game.width_in_ticks,
        intercept=game.intercept,
        slope=game.slope * len(buys + sells) / game.n_agents,
    )
    found = []
    for i, (agent, firm_load, made, expected, stored, draw, deliver, wanted, _, buy, sell, _) in enumerate(plans):
        bought, sold = cleared.bought[2 * i] + cleared.bought[2 * i + 1], cleared.sold[i]
        missing = buy - cleared.bought[2 * i + 1]
        if wanted + draw > 0:
            kept = 1 - missing / (wanted + draw)
            wanted, draw = kept * wanted, kept * draw
        undelivered = min(sell - sold, deliver)
        deliver -= undelivered
        exported = sell - sold - undelivered
        paid = bought * (cleared.local_buy * cleared.price + (1 - cleared.local_buy) * retail)
        paid -= sold * (cleared.local_sell * cleared.price + (1 - cleared.local_sell) * feed_in)
        paid -= exported * feed_in
        error = float(errors[i])
        load = (1 + weather) * firm_load * max(1 + error, 0)
        generation = (1 + weather) * made * max(1 - error, 0)
        imbalance = load - expected * firm_load - generation + expected * made
        paid += retail * imbalance if imbalance > 0 else feed_in * imbalance
        after = stored + eff * draw - deliver / eff
        local = bought * cleared.local_buy + sold * cleared.local_sell
        reward = agent.flexible_value * wanted - paid - game.degradation * (draw + deliver) - game.fee * local
        if time == game.horizon - 1:
            lacking = game.initial_charge * agent.capacity - after
            reward -= retail * lacking / eff if lacking > 0 else feed_in * lacking * eff
        charge = after / agent.capacity if agent.capacity > 0 else 0.0
        found.append(Outcome(charge, error, reward))
    return found, cleared.price, cleared.volume / game.n_agents


by_form = pytest.mark.parametrize(
    ("orders", "actions"),
    [
        # One form is compiled in ``make test``, the default one.
        pytest.param(
            orders, actions, marks=() if (orders, actions) == ("interpolated", "box") else pytest.mark.slow
        )
        for actions in ("box", "discrete")
        for orders in ORDERS
    ],
)


@by_form
@pytest.mark.parametrize("more", [{}, {"dynamic_tariffs": True, "fee": 0.01, "step_minutes": 15, "horizon": 96}])
def test_a_day_step_by_step(orders, actions, more):
    game, rng = market(orders=orders, actions=actions, **more), np.random.default_rng(1)
    engine = Engine(game, debug=True)
    engine.reset(4)
    prices = []
    for time in range(game.horizon):
        states, signal = engine.states[0].copy(), engine.signal[0].copy()
        chosen = random_actions(game, rng)
        rewards = engine.step(chosen)[0]
        expected, price, volume = simulate(game, states, chosen[0], time, signal, engine.states[0]["error"])
        assert engine.signal[0, PRICE] == pytest.approx(price, abs=2e-5)
        assert engine.signal[0, VOLUME] == pytest.approx(volume, abs=1e-4)
        assert_allclose(engine.states[0]["charge"], [one.charge for one in expected], atol=3e-5)
        assert_allclose(rewards, [one.reward for one in expected], rtol=1e-4, atol=5e-4)
        prices.append(price)
    assert len(set(prices)) > 3


# What must always hold.


@by_form
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shares=st.sampled_from([PROPORTIONS_V0, (0, 0, 1, 0, 0), (1, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0, 1, 1, 0, 0)]),
    dynamic=st.booleans(),
)
def test_energy_and_money_are_conserved_and_batteries_keep_their_limits(orders, actions, seed, shares, dynamic):
    """Whatever is done, on any day. The sums are taken here, in the accounts' double precision."""
    game = EnergyMarketV0(
        n_agents=40, orders=orders, actions=actions, proportions=shares, dynamic_tariffs=dynamic, fee=0.02
    )
    engine, rng = Engine(game, keep_accounts=True), np.random.default_rng(seed)
    engine.reset(seed)
    for time in range(game.horizon):
        signal = engine.signal[0].astype(float)
        rewards = engine.step(random_actions(game, rng))
        accounts = engine.accounts()[0]
        a = dict(zip(ACCOUNTS, accounts.T, strict=True))
        scale = np.abs(accounts).sum()
        used = (a["load"] + a["flexible"] - a["generation"] + a["charge"] - a["discharge"]).sum()
        assert used == pytest.approx((a["imports"] - a["exports"]).sum(), abs=1e-9 * scale)
        paid = (a["trade_payment"] + a["imbalance_payment"]).sum()
        owed = signal[RETAIL] * a["imports"].sum() - signal[FEED_IN] * a["exports"].sum()
        assert paid == pytest.approx(owed, abs=1e-9 * scale)
        assert a["fee"].sum() == pytest.approx(0.02 * (a["local_bought"] + a["local_sold"]).sum(), rel=1e-6)
        assert min(a[name].min() for name in ACCOUNTS[:9]) >= -1e-9
        total = a["utility"] - a["trade_payment"] - a["imbalance_payment"] - a["fee"] - a["degradation"]
        assert_allclose(a["reward"], total - a["terminal"], atol=1e-9 * scale)
        assert (a["terminal"] == 0).all() or time == game.horizon - 1
        assert_allclose(rewards[0], a["reward"], rtol=1e-4, atol=1e-3 * max(1, np.abs(a["reward"]).max()))
        charge = engine.states["charge"]
        assert charge.min() >= 0
        assert charge.max() <= 1
        power = game.agents["power"]
        assert (a["charge"] <= power * (1 + 1e-6)).all()
        assert (a["discharge"] <= power * (1 + 1e-6)).all()


def test_each_agent_balances_and_pays_for_what_it_takes():
    game = market(orders="step")
    engine, rng = Engine(game, keep_accounts=True), np.random.default_rng(3)
    engine.reset(3)
    for _ in range(game.horizon):
        engine.step(random_actions(game, rng))
        a = dict(zip(ACCOUNTS, engine.accounts()[0].T, strict=True))
        net = a["load"] + a["flexible"] - a["generation"] + a["charge"] - a["discharge"]
        assert_allclose(net, a["imports"] - a["exports"] + a["local_bought"] - a["local_sold"], atol=1e-9)


@pytest.mark.parametrize(
    "orders",
    [
        "interpolated",
        *(pytest.param(orders, marks=pytest.mark.slow) for orders in ORDERS if orders != "interpolated"),
    ],
)
def test_permuting_the_agents_changes_nothing(orders):
    """The same people in another order, without errors of their own: the same price, and each the same reward."""

    @dataclasses.dataclass(kw_only=True)
    class Permuted(EnergyMarketV0):
        def draw_agents(self, rng):
            agents = super().draw_agents(rng)
            agents["error_scale"] = 0
            return agents[::-1].copy() if self.agents_seed == 1 else agents

    games = [Permuted(**SMALL, orders=orders), Permuted(**SMALL, orders=orders, agents_seed=1)]
    # Seeds of agents differ: take the first one's people for both.
    games[1]._agents.flags.writeable = True
    games[1]._agents[:] = games[0].agents[::-1]
    engines, rng = [Engine(game) for game in games], np.random.default_rng(0)
    for engine in engines:
        engine.reset(5)
    for _ in range(24):
        chosen = random_actions(games[0], rng)
        one, other = engines[0].step(chosen), engines[1].step(chosen[:, ::-1].copy())
        assert engines[0].signal[0, PRICE] == pytest.approx(engines[1].signal[0, PRICE], abs=1e-6)
        assert_allclose(one[0], other[0, ::-1], rtol=1e-4, atol=1e-4)


def test_replicating_the_population_leaves_the_price():
    """Three times everybody: the same price and volume per agent."""

    @dataclasses.dataclass(kw_only=True)
    class Replicated(EnergyMarketV0):
        def draw_agents(self, rng):
            n = self.n_agents
            agents = EnergyMarketV0(**(SMALL | {"n_agents": 17})).agents.view(np.ndarray).copy()
            agents["error_scale"] = 0
            return np.tile(agents, n // 17)

    games = [Replicated(**SMALL), Replicated(**(SMALL | {"n_agents": 51}))]
    engines, rng = [Engine(game) for game in games], np.random.default_rng(0)
    for engine in engines:
        engine.reset(5)
    for _ in range(24):
        chosen = random_actions(games[0], rng)
        one, many = engines[0].step(chosen), engines[1].step(np.tile(chosen, (1, 3, 1)))
        assert_allclose(engines[0].signal[0, :4], engines[1].signal[0, :4], atol=1e-5)
        assert_allclose(np.tile(one, 3), many, rtol=1e-4, atol=1e-4)


def test_prices_go_to_their_limit_like_one_over_the_root_of_n():
    """Root-mean-square errors against the price of 64,000 agents, times the root of N: flat but for a factor 2."""

    @dataclasses.dataclass(kw_only=True)
    class Drawn(EnergyMarketV0):
        def draw_agents(self, rng):
            agents = super().draw_agents(rng)
            rng.shuffle(agents)  # who is first is chance, not its type
            return agents

    terms = {"n_days": 1, "first_day": 180, "weather_sd": 0.0}
    game = Drawn(n_agents=64_000, **terms)
    limit = midday_price(game)
    assert 0.1 < limit < 0.3
    scaled = []
    for n in (250, 1000, 4000):
        errors = []
        for k in range(16):
            part = Drawn(n_agents=n, **terms)
            part._agents.flags.writeable = True
            part._agents[:] = game.agents[k * n : (k + 1) * n]
            errors.append(midday_price(part) - limit)
        scaled.append(math.sqrt(np.mean(np.square(errors)) * n))
    assert 0 < max(scaled) < 2 * min(scaled)


def midday_price(game):
    """If nobody uses batteries, all want their flexible load, and limits are spread over the tariffs."""
    engine = Engine(game)
    engine.reset(0)
    action = np.zeros((1, game.n_agents, 3), np.float32)
    action[..., 1] = 1.0
    # By the agent's own numbers: everybody bids the same in any population.
    action[..., 2] = 0.08 + 0.24 * (game.agents["node"] % 1000 / 1000)
    for _ in range(12):
        engine.step(action)
    return float(engine.signal[0, PRICE])


# The population, the days, what agents see.


def test_types_are_stratified_and_named():
    game = EnergyMarketV0(preset="village")
    assert game.n_agents == 17
    assert np.bincount(game.agents["type"]).tolist() == [7, 3, 4, 2, 1]
    assert game.agent_names[:2] == ["consumer_0", "consumer_1"]
    assert game.agent_names[7:11] == ["pv_0", "pv_1", "pv_2", "storage_0"]
    assert game.agent_names[-3:] == ["commercial_0", "commercial_1", "wind_0"]
    assert stratified(PROPORTIONS_V0, 1000).tolist() == [400, 200, 250, 100, 50]
    assert EnergyMarketV0(preset="city").n_agents == 10_000
    assert EnergyMarketV0().n_agents == 1000
    assert dataclasses.replace(game, n_agents=30).n_agents == 30


def test_what_agents_own():
    agents = EnergyMarketV0(preset="city").agents
    kind = agents["type"]
    sunny = np.isin(kind, [1, 2])
    assert_array_equal(agents["pv_kwp"] > 0, sunny)
    assert_array_equal(agents["capacity"] > 0, kind == 2)
    assert_array_equal(agents["wind_kw"] > 0, kind == 4)
    assert agents["pv_kwp"][sunny].min() >= 3
    assert agents["pv_kwp"][sunny].max() <= 8
    assert_allclose(agents["power"], agents["capacity"] / 2)
    assert not np.isin(agents["profile"][sunny], 14).any()
    series = MarketSeries.embedded()
    annual = agents["load_scale"] * series.load.sum(axis=(0, 1))[agents["profile"]] * 365 / series.n_days
    for business, factor in ((False, 1), (True, 8)):
        logs = np.log(annual[(kind == 3) == business] / 10_400 / factor)
        # Mean and standard deviation of normals, within six standard errors.
        assert abs(logs.mean()) < 6 * 0.23 / math.sqrt(len(logs))
        assert abs(logs.std() - 0.23) < 6 * 0.23 / math.sqrt(2 * len(logs))
    homes = kind != 3
    assert set(agents["degrees_of_freedom"][~homes]) == {30}
    assert set(agents["degrees_of_freedom"][homes]) == {4, 2.5}
    assert_allclose(
        agents["spread"], agents["error_scale"] * stats.t.ppf(0.9, agents["degrees_of_freedom"]), rtol=1e-5
    )


def test_days_and_weather_are_drawn_for_all():
    game = EnergyMarketV0(n_agents=2, first_day=10, n_days=5, weather_sd=0.1, weather_memory=0.8)
    engine = Engine(game, 4000)
    engine.reset(0)
    days = engine.signal[:, DAY].astype(int)
    counts = np.bincount(days, minlength=15)
    assert counts[:10].sum() == 0
    low, high = stats.binom(4000, 0.2).ppf([1e-9, 1 - 1e-9])
    assert low <= counts[10:].min() <= counts[10:].max() <= high
    path = [engine.signal[:, WEATHER].astype(float)]
    action = engine.random_actions()
    for _ in range(3):
        engine.step(action)
        assert_array_equal(engine.signal[:, WEATHER_SEEN], path[-1].astype(np.float32))
        path.append(engine.signal[:, WEATHER].astype(float))
    for weather in path:  # stationary: variance of 4000 normals within 7 standard errors
        assert abs(weather.var() / 0.01 - 1) < 7 * math.sqrt(2 / 4000)
    correlation = np.corrcoef(path[1], path[2])[0, 1]
    assert abs(correlation - 0.8) < 7 * (1 - 0.64) / math.sqrt(4000)


def test_errors_are_student_t_of_ones_own():
    game = EnergyMarketV0(n_agents=50, proportions=(1, 0, 0, 0, 0), n_days=1, weather_sd=0.0)
    engine = Engine(game, 2000)
    engine.reset(1)
    engine.step(engine.random_actions())
    errors = engine.states["error"] / game.agents["error_scale"]
    for nu in (2.5, 4.0):
        some = np.sort(errors[:, game.agents["degrees_of_freedom"] == nu].ravel().astype(float))
        n = len(some)
        distance = np.abs(np.arange(1, n + 1) / n - stats.t(nu).cdf(some)).max()
        assert distance < math.sqrt(math.log(2 / 1e-9) / 2 / n) + 1 / n


def test_a_day_without_sun_or_wind(tmp_path):
    """Nobody has anything to sell but what is in the batteries: the price is the retail tariff."""
    series = MarketSeries.embedded()
    dark = dataclasses.replace(series, pv=np.zeros_like(series.pv), wind=np.zeros_like(series.wind))
    dark.save(tmp_path / "dark.npz")
    game = market(series=str(tmp_path / "dark.npz"))
    engine = Engine(game, debug=True)
    engine.reset(0)
    action = np.zeros((1, game.n_agents, 3), np.float32)
    action[..., 2] = np.float32(0.2)
    for _ in range(24):
        engine.step(action)
        assert engine.signal[0, PRICE] == pytest.approx(game.retail)
        assert engine.signal[0, VOLUME] == 0
        assert (engine.accounts()[0, :, ACCOUNTS.index("generation")] == 0).all()


def test_negative_prices_are_played():
    series = MarketSeries.embedded()
    day = int(np.argmin(series.price.min(axis=1)))
    windy = (0.3, 0.1, 0.2, 0.0, 0.4)
    game = EnergyMarketV0(n_agents=200, dynamic_tariffs=True, first_day=day, n_days=1, proportions=windy)
    assert game.action_space.low[2] == pytest.approx(series.price[day].min(), abs=0.2)
    engine = Engine(game, debug=True)
    engine.reset(0)
    seen = []
    for _ in range(24):
        engine.step(engine.random_actions())
        seen.append(float(engine.signal[0, PRICE]))
    assert min(seen) < 0


def test_masks_say_what_serves_a_purpose():
    game = market(actions="discrete")
    engine = Engine(game)
    engine.reset(0)
    masks = engine.action_masks()[0].reshape(-1, 3, 2, 5)
    has_battery = game.agents["capacity"] > 0
    assert masks[:, 1].all()
    assert_array_equal(masks[:, 0].all(axis=(1, 2)), has_battery)
    assert_array_equal(masks[:, 2].any(axis=(1, 2)), has_battery)
    for _ in range(6):  # at full power for a C-rate of 1/2 batteries are full
        engine.step(np.full((1, 17), 2 * 10 + 4))
    masks = engine.action_masks()[0].reshape(-1, 3, 2, 5)
    full = engine.states["charge"][0] >= 1
    assert full[has_battery].any()
    assert not masks[full, 2].any()


def test_what_is_masked_may_be_done_to_no_purpose():
    """A consumer that charges what it has not does as one that is idle."""
    game = market(actions="discrete", proportions=(1, 0, 0, 0, 0))
    rewards = []
    for battery in range(3):
        engine = Engine(game)
        engine.reset(0)
        rewards.append(engine.step(np.full((1, 17), battery * 10 + 9)))
    assert_array_equal(rewards[0], rewards[1])
    assert_array_equal(rewards[2], rewards[1])


def test_observations_by_hand():
    game = market()
    engine = Engine(game)
    engine.reset(2)
    engine.step(engine.random_actions())
    seen, signal, days = engine.observe()[0], engine.signal[0], game.days
    day, weather = int(signal[DAY]), float(signal[WEATHER_SEEN])
    for i, agent in enumerate(game.agents):
        state = engine.states[0, i]
        assert seen[i, :5].tolist() == np.eye(5)[agent.type].tolist()
        assert seen[i, 5] == state["charge"]
        assert seen[i, 7] == np.float32(1 / 24)
        capacity, spread = float(agent.capacity), float(agent.spread)
        value = (agent.flexible_value - game.feed_in) / (game.retail - game.feed_in) / 2
        own = [capacity / (10 + capacity), agent.flexible_share, value, spread / (0.2 + spread)]
        assert_allclose(seen[i, 14:18], own, atol=1e-6)
        for ahead in range(4):
            hour, factor = 1 + ahead, 1 + weather * 0.8 ** (ahead + 1)
            load = agent.load_scale * days.load[(day + agent.shift) % days.n_days, hour, agent.profile]
            made = agent.pv_kwp * days.pv[day, hour, agent.profile] + agent.wind_kw * days.wind[day, hour]
            spread = factor * agent.spread * ((1 - agent.flexible_share) * load + made)
            net = factor * (load - made)
            for k, quantile in enumerate((net - spread, net, net + spread)):
                expected = 0.5 + 0.5 * quantile / (2 + abs(quantile))
                assert seen[i, 18 + 3 * ahead + k] == pytest.approx(expected, abs=1e-5)


def test_a_file_of_ones_own_series(tmp_path):
    MarketSeries.synthetic(3, 4, 0).save(tmp_path / "days.npz")
    game = EnergyMarketV0(n_agents=5, series=str(tmp_path / "days.npz"))
    assert game.days.n_days == 3
    assert game.agents["profile"].max() < 4
    engine = Engine(game, debug=True)
    engine.reset(0)
    for _ in range(24):
        engine.step(engine.random_actions())


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"preset": "town"}, "preset must be one of 'village', 'district', 'city', 'wind', got 'town'"),
        ({"preset": "village", "n_agents": 5}, "preset 'village' has n_agents = 17, got 5"),
        ({"horizon": 25}, r"horizon must be an integer in \[0, 24\], got 25"),
        ({"step_minutes": 30}, "step_minutes must be one of 15, 60, got 30"),
        ({"actions": "both"}, "actions must be one of 'box', 'discrete', got 'both'"),
        ({"orders": "best"}, "orders must be one of 'interpolated', 'step', 'linear', got 'best'"),
        ({"proportions": (1, 0)}, "proportions must hold a share >= 0 of each of consumer, pv"),
        ({"proportions": (0, 0, 0, 0, 0)}, "proportions must hold a share >= 0 of each of consumer, pv"),
        ({"proportions": (1, 0, 0, 0, -1)}, r"proportions\[4\] must be a finite number in \[0, 1e\+09\], got -1"),
        ({"retail": 0.08}, r"retail must be at least 8e-06 EUR/kWh above feed_in = 0.08 .*, got 0.08"),
        ({"retail": 0.01}, r"retail must be at least 8e-06 EUR/kWh above feed_in = 0.08 .*, got 0.01"),
        ({"feed_in": 2}, r"retail must be at least 0.0002 EUR/kWh above feed_in = 2.0 .*, got 0.32"),
        ({"retail": 1001}, r"retail must be a finite number in \[-1000, 1000\], got 1001"),
        ({"width": 0.3}, r"width must be at most retail - feed_in = 0.24, got 0.3"),
        ({"width": 0}, r"width must be a finite number in \(0, inf\), got 0"),
        ({"efficiency": 0}, r"efficiency must be a finite number in \[0.01, 1\], got 0"),
        ({"first_day": 363}, r"first_day must be an integer in \[0, 362\], got 363"),
        ({"first_day": 360, "n_days": 4}, r"n_days must be an integer in \[0, 3\], got 4"),
        ({"weather_memory": 1.0}, r"weather_memory must be a finite number in \[0, 1\), got 1.0"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        EnergyMarketV0(**constants)


def test_it_is_made_by_name():
    game = mfenvs.make("EnergyMarket-v0", preset="village", actions="discrete")
    assert isinstance(game, EnergyMarket)
    assert mfenvs.make("EnergyMarket-v0", **game.describe()).describe() == game.describe()
    assert TYPES[2] == "storage"


def test_means_of_types_are_those_of_their_agents():
    game = EnergyMarketV0(n_agents=12, proportions=(3, 0, 2, 1, 0))
    engine = Engine(game, 3)
    engine.reset(seed=1)
    observer = Observer(game, "type-means")
    assert observer.space.shape == (game.n_features + 6,)
    engine.step(engine.random_actions())
    seen = observer(engine)[..., -6:]
    kinds = game.agents["type"].tolist()
    for world in range(3):
        states = engine.states[world]
        assert np.ptp(seen[world], axis=0).max() == 0
        charges = [float(states["charge"][i]) for i in range(12) if kinds[i] == 2]
        assert seen[world, 0, 0] == pytest.approx(sum(charges) / len(charges), rel=1e-5)
        for kind in range(5):
            errors = [float(states["error"][i]) for i in range(12) if kinds[i] == kind]
            mean = sum(errors) / max(1, len(errors))
            assert seen[world, 0, 1 + kind] == pytest.approx(0.5 + 0.5 * mean / (0.2 + abs(mean)), rel=1e-5)
    assert len(np.unique(seen[:, 0, 0])) == 3
    assert observer.space.contains(observer(engine)[0, 0])
    windy = EnergyMarketV0(n_agents=4, proportions=(0, 0, 0, 0, 1))
    engine = Engine(windy, 1)
    engine.reset(seed=1)
    assert Observer(windy, "type-means")(engine)[0, 0, -6:].tolist() == [0, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_only_games_with_types_have_their_means():
    with pytest.raises(TypeError, match="a game with type_means, got Epidemic"):
        Observer(make("Epidemic-v0", n_agents=4), "type-means")


def test_the_audited_signal_is_that_of_the_step():
    game = market(dynamic_tariffs=True)
    engine = Engine(game, 2, keep_accounts=True)
    engine.reset(0)
    with pytest.raises(RuntimeError, match=r"before accounts\(\) was called"):
        _ = engine.audited_signal
    changed = 0
    for _ in range(4):
        in_force = engine.signal[:, [DAY, WEATHER_SEEN, WEATHER, FEED_IN, RETAIL]].copy()
        engine.step(engine.random_actions())
        engine.accounts()
        seen = engine.audited_signal
        assert seen.dtype == np.float64
        assert_array_equal(seen[:, [DAY, WEATHER_SEEN, WEATHER, FEED_IN, RETAIL]], in_force)
        assert_allclose(seen[:, PRICE], engine.signal[:, PRICE], atol=2e-3)
        changed += (engine.signal[:, FEED_IN] != in_force[:, 3]).any()
    assert changed


def test_a_day_has_all_its_steps():
    assert [EnergyMarketV0(step_minutes=minutes).horizon for minutes in (60, 15)] == [24, 96]
    assert EnergyMarketV0(step_minutes=15, horizon=8).horizon == 8


def test_the_clock_is_that_of_the_day_however_short_the_episode():
    """Six hours after midnight the sun's sine is 1, in an episode of twelve hours too."""
    for horizon in (24, 12):
        engine = Engine(market(horizon=horizon))
        engine.reset(0)
        for _ in range(6):
            engine.step(engine.random_actions())
        assert_allclose(engine.observe()[0, :, 8:10], np.tile([1.0, 0.5], (17, 1)), atol=1e-6)


def test_a_day_ends():
    with pytest.raises(ValueError, match=r"discount must be 1, as a day ends, got 0\.9"):
        EnergyMarketV0(discount=0.9)


def test_a_series_that_changed_is_read_anew(tmp_path):
    path = tmp_path / "own.npz"
    sums = []
    for seed in (0, 1):
        MarketSeries.synthetic(3, 4, seed).save(path)
        os.utime(path, (seed, seed))
        sums.append(EnergyMarketV0(n_agents=5, series=str(path)).days.load.sum())
    assert sums[0] != sums[1]


@pytest.mark.parametrize("series", ["nowhere.npz", ".", 3])
def test_what_is_no_series(series):
    with pytest.raises(
        (ValueError, TypeError), match="series must be 'embedded', 'synthetic' or the path of a file"
    ):
        EnergyMarketV0(n_agents=5, series=series)
