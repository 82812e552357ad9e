"""Version 1 of the market: step by step against plain Python, and what must hold of each of its options."""

import dataclasses

import numpy as np
import pytest
from energy_market_oracle import simulate
from numpy.testing import assert_allclose, assert_array_equal

import mfenvs
from mfenvs import Engine
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.community import PEAK
from mfenvs.games.energy.conditions import DAY, RETAIL, WEATHER, WEATHER_SEEN
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_accounts import ACCOUNTS
from mfenvs.games.energy.market_tariffs import EVENING_CHARGE
from mfenvs.games.energy.version_0 import EnergyMarketV0

SMALL = {"n_agents": 17, "first_day": 260, "n_days": 30}
WINDY = (0.4, 0.1, 0.4, 0.05, 0.05)
EVERYTHING = {
    "n_episode_days": 2,
    "shift_hours": 3.0,
    "ev_share": 0.6,
    "peak_charge": 0.3,
    "import_limit_kw": 0.6,
    "export_limit_kw": 0.3,
    "fee": 0.01,
}
"""All that version 1 can have. The limits cut in many steps, in both directions."""
KINDS = [
    {},
    EVERYTHING,
    EVERYTHING
    | {"imbalance": "individual", "step_minutes": 15, "n_episode_days": 1, "dynamic_tariffs": True}
    | {"proportions": WINDY, "export_limit_kw": None},
    EVERYTHING | {"imbalance": "ex-post", "peak_of": "member", "orders": "step"},
    {"imbalance": "ex-post", "peak_charge": 0.3, "orders": "linear", "step_minutes": 15},
    {"actions": "discrete", "ev_share": 0.6, "orders": "step", "export_limit_kw": 0.2},
]


def market(**constants):
    return EnergyMarket(**(SMALL | constants))


def random_actions(game, rng, n_worlds=1):
    space = game.action_space
    if game.actions == "discrete":
        return rng.integers(space.n, size=(n_worlds, game.n_agents))
    return rng.uniform(space.low, space.high, (n_worlds, game.n_agents, *space.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "terms", [pytest.param(terms, marks=() if terms == {} else pytest.mark.slow, id=str(terms)) for terms in KINDS]
)
def test_an_episode_step_by_step(terms):
    """Everything that every agent does, pays and keeps, in every step of random play."""
    game, rng = market(**terms), np.random.default_rng(2)
    engine = Engine(game, keep_accounts=True)
    engine.reset(5)
    prices, peak, moved = [], 0.0, dict.fromkeys(ACCOUNTS, 0.0)
    for time in range(game.horizon):
        states, signal = engine.states[0].copy(), engine.signal[0].copy()
        chosen = random_actions(game, rng)
        rewards = engine.step(chosen)[0]
        homes, price, peak = simulate(game, states, chosen[0], time, signal, peak)
        prices.append(price)
        after, accounts = engine.states[0], engine.accounts()[0]
        assert engine.signal[0, PRICE] == pytest.approx(price, abs=3e-5)
        for name in ("charge", "backlog", "vehicle_need", "peak"):
            assert_allclose(after[name], [getattr(home, name) for home in homes], atol=2e-4, err_msg=name)
        assert_array_equal(after["error"], states["coming_error"])
        for k, name in enumerate(ACCOUNTS):
            expected = [home.account[name] for home in homes]
            assert_allclose(accounts[:, k], expected, rtol=2e-4, atol=1e-3, err_msg=f"{name} at {time}")
            moved[name] += np.abs(expected).sum()
        assert_allclose(rewards, accounts[:, ACCOUNTS.index("reward")], rtol=1e-4, atol=1e-3)
        if game.traits.peak == "community":
            assert engine.signal[0, PEAK] * game.n_agents == pytest.approx(peak, rel=1e-4, abs=1e-3)
    assert len(set(prices)) > 3
    has = {
        "curtailed": game.export_limit_kw is not None,
        "ev_charge": game.ev_share > 0,
        "ev_penalty": game.ev_share > 0,
        "peak_payment": game.peak_charge > 0,
        "imbalance_payment": game.imbalance != "ex-post",
        "fee": game.fee > 0,
    }
    assert {name: moved[name] > 0 for name in has} == has


# The versions.


def test_version_0_has_the_constants_of_then():
    game = EnergyMarketV0()
    assert isinstance(game, EnergyMarket)
    assert (game.n_features, game.action_space.shape, game.retail, game.feed_in) == (30, (3,), 0.32, 0.08)
    assert (game.imbalance, game.prices, game.proportions) == ("individual", "one", (0.4, 0.2, 0.25, 0.1, 0.05))
    assert_allclose(game.constants.retail, np.full((363, 24), 0.32), rtol=1e-6)
    assert np.median(game.agents["load_scale"] * game.days.load.sum(axis=(0, 1))[game.agents["profile"]]) > 9_000
    assert type(mfenvs.make("EnergyMarket-v0")) is EnergyMarketV0
    assert mfenvs.energy_market_v0.parallel_env(preset="village").possible_agents[-1] == "wind_0"


def test_version_1_has_more_batteries_and_dear_evenings():
    game = mfenvs.make("EnergyMarket-v1")
    assert type(game) is EnergyMarket
    assert np.bincount(game.agents["type"], minlength=5).tolist() == [400, 100, 400, 100, 0]
    homes = game.agents[game.agents["type"] < 3]
    annual = homes["load_scale"] * game.days.load.sum(axis=(0, 1))[homes["profile"]] * 365 / 363
    assert np.median(annual) == pytest.approx(4_000, rel=0.1)
    batteries = game.agents["capacity"][game.agents["type"] == 2]
    assert (batteries.min() >= 5, batteries.max() <= 12) == (True, True)
    by_hour = game.tariffs.retail[7]
    assert_allclose(by_hour, [0.24] * 6 + [0.32] * 11 + [0.40] * 4 + [0.32] * 3)
    assert (game.action_space.shape, game.n_features) == ((4,), 44)
    again = mfenvs.make("EnergyMarket-v1", **game.describe())
    assert again.describe() == game.describe()
    assert mfenvs.energy_market_v1.parallel_env(preset="village").possible_agents[-1] == "commercial_0"


def test_a_community_with_wind_owners():
    game = EnergyMarket(preset="wind", n_agents=40)
    assert np.bincount(game.agents["type"]).tolist() == [16, 4, 14, 4, 2]
    assert (game.agents["wind_kw"][-2:] > 0.0).all()
    assert EnergyMarket(**game.describe()).describe() == game.describe()
    with pytest.raises(
        ValueError, match=r"preset 'wind' has proportions = \(0.4, .*, got \(1.0, 0.0, 0.0, 0.0, 0.0\)"
    ):
        EnergyMarket(preset="wind", proportions=(1, 0, 0, 0, 0))


def test_a_network_charge_of_quarter_hours_is_that_of_their_hour():
    game = market(step_minutes=15, retail=0.3)
    assert_allclose(game.tariffs.retail[0], np.repeat(0.3 + np.array(EVENING_CHARGE), 4))
    assert_allclose(market(network_charge=0.05).tariffs.retail, 0.27)


# Days and weather.


def test_an_episode_of_days_goes_on_from_day_to_day():
    game = market(n_episode_days=3, first_day=100, n_days=5, network_charge=tuple(np.arange(24) / 100))
    engine = Engine(game, 300)
    engine.reset(0)
    first = engine.signal[:, DAY].astype(int)
    assert set(first) == {100, 101, 102}
    idle = np.zeros((300, 17, 4), np.float32)
    idle[..., [1, 3]] = np.float32(0.1)
    charge = engine.states["charge"][:, :].copy()
    for time in range(72):
        assert_array_equal(engine.signal[:, DAY], first + time // 24)
        assert_allclose(engine.signal[:, RETAIL], 0.22 + time % 24 / 100, rtol=1e-6)
        engine.step(idle)
    assert not engine.is_playing
    assert_array_equal(engine.states["charge"], charge)
    # The last step's tariff stays, and so does its day.
    assert_array_equal(engine.signal[:, DAY], first + 2)
    assert_allclose(engine.signal[:, RETAIL], 0.45, rtol=1e-6)


BY_STEP = pytest.mark.parametrize("minutes", [60, pytest.param(15, marks=pytest.mark.slow)])


@BY_STEP
def test_weather_factors_have_their_deviations_correlations_and_memory(minutes):
    """Within seven standard errors of 1,500 worlds, after an hour whatever the step."""
    sd, correlations = (0.05, 0.1, 0.2), (0.5, -0.3, 0.4)
    game = market(step_minutes=minutes, weather_sd=sd, weather_correlation=correlations, weather_memory=0.7)
    n = 1500
    engine = Engine(game, n)
    engine.reset(3)
    weather = [engine.signal[:, WEATHER : WEATHER + 3].astype(float)]
    action = engine.random_actions()
    for _ in range(60 // minutes):
        engine.step(action)
    weather.append(engine.signal[:, WEATHER : WEATHER + 3].astype(float))
    for one in weather:
        assert_allclose(one.std(axis=0), sd, rtol=7 / np.sqrt(2 * n))
        found = np.corrcoef(one.T)[[0, 0, 1], [1, 2, 2]]
        assert_allclose(found, correlations, atol=7 / np.sqrt(n))
    memory = [np.corrcoef(weather[0][:, k], weather[1][:, k])[0, 1] for k in range(3)]
    assert_allclose(memory, 0.7, atol=7 * (1 - 0.49) / np.sqrt(n))


# Observations.


@BY_STEP
def test_observations_by_hand(minutes):
    """At 22:00 of the first of two days: forecasts are of whole hours, the third one is of the next day."""
    game = market(n_episode_days=2, step_minutes=minutes, weather_sd=0.2, dynamic_tariffs=True)
    engine, rng, per_hour = Engine(game), np.random.default_rng(0), 60 // minutes
    engine.reset(2)
    for _ in range(22 * per_hour):
        engine.step(random_actions(game, rng))
    seen, signal, days = engine.observe()[0], engine.signal[0].astype(float), game.days
    day, weather = int(signal[DAY]), signal[WEATHER_SEEN : WEATHER_SEEN + 3]
    assert_allclose(seen[:, [30, 31]], np.tile(0.5 + weather[1:] / 1.8, (17, 1)), atol=1e-6)
    load, pv = (np.concatenate([data[d] for d in range(day, day + 3)]) for data in (days.load, days.pv))
    community = np.zeros(4)
    for i, agent in enumerate(game.agents):
        moved = (day + agent.shift + np.arange(3)) % days.n_days
        load = np.concatenate(days.load[moved])[:, agent.profile] * agent.load_scale
        sun = pv[:, agent.profile] * agent.pv_kwp
        for ahead in range(4):
            hour = slice((22 + ahead) * per_hour, (23 + ahead) * per_hour)
            community[ahead] += (load[hour].sum() - sun[hour].sum()) / 17
            factors = 1 + weather * 0.8 ** (ahead + 1)
            used, made = factors[0] * load[hour].sum(), factors[1] * sun[hour].sum()
            spread = agent.spread * ((1 - agent.flexible_share) * used + made)
            for k, quantile in enumerate((used - made - spread, used - made, used - made + spread)):
                assert seen[i, 18 + 3 * ahead + k] == pytest.approx(squash(quantile, 2), abs=2e-5)
    assert_allclose(seen[:, 40:44], np.tile(squash(community, 2), (17, 1)), atol=2e-5)
    tables = game.tariffs.feed_in[day:], game.tariffs.retail[day:]
    tariffs = [np.concatenate(table)[: 3 * days.steps] for table in tables]
    for ahead in range(4):
        expected = [squash(table[(23 + ahead) * per_hour], 0.2) for table in tariffs]
        assert_allclose(seen[0, [32 + ahead, 36 + ahead]], expected, atol=1e-5)


def squash(value, scale):
    return 0.5 + 0.5 * value / (scale + np.abs(value))


@pytest.mark.slow
def test_what_a_market_has_is_seen():
    """The day's peak, the load that waits, the vehicle: at the end of an observation, in this order."""
    game = market(**EVERYTHING)
    assert game.n_features == 44 + 1 + 1 + 3
    engine, rng = Engine(game), np.random.default_rng(1)
    engine.reset(1)
    for _ in range(7):
        engine.step(random_actions(game, rng))
    seen, states, agents = engine.observe()[0], engine.states[0], game.agents
    peak = float(engine.signal[0, PEAK])
    assert peak > 0
    assert_allclose(seen[:, 44], peak / (2 + peak), rtol=1e-5)
    assert_allclose(seen[:, 45], states["backlog"] / (2 + states["backlog"]), rtol=1e-5)
    assert_allclose(seen[:, 46], states["vehicle_need"] / (10 + states["vehicle_need"]), rtol=1e-5)
    assert_allclose(seen[:, 47], agents["vehicle_power"] / (10 + agents["vehicle_power"]), rtol=1e-5)
    left = (agents["vehicle_departure"] - 7) % 24 / 24
    has_vehicle = agents["vehicle_power"] > 0
    assert 0 < has_vehicle.sum() < 17
    assert_allclose(seen[:, 48], np.where(has_vehicle, left, 0), atol=1e-6)
    assert (seen[:, 46][has_vehicle] > 0).any()


# Vehicles and the hours of the day.


HOURS = [(18.0, 7.0), (16.4, 6.2), (23.99, 8.0), (0.0, 5.0), (9.0, 17.5)]


@pytest.mark.slow
@pytest.mark.parametrize(("arrival", "departure"), HOURS)
def test_a_vehicle_comes_and_departs(arrival, departure):
    """Nobody charges: what is needed is that of its hours, and each departure costs all of it."""

    @dataclasses.dataclass(kw_only=True)
    class Timed(EnergyMarket):
        def draw_agents(self, rng):
            agents = super().draw_agents(rng)
            agents["vehicle_arrival"], agents["vehicle_departure"] = arrival, departure
            return agents

    game = Timed(**SMALL | {"n_episode_days": 2, "ev_share": 1.0, "ev_penalty": 2.0})
    engine = Engine(game, keep_accounts=True)
    engine.reset(0)
    away = np.zeros((1, 17, 6), np.float32)
    away[..., [1, 3, 5]] = np.float32(0.1)
    energy = game.agents["vehicle_energy"]
    assert_array_equal(energy > 0, game.agents["type"] < 3)
    is_home = arrival > departure
    comes, departs = int(np.ceil(arrival)) % 24, int(np.ceil(departure)) % 24
    for time in range(48):
        assert_array_equal(engine.states[0]["vehicle_need"], energy if is_home else 0 * energy)
        engine.step(away)
        coming = (time + 1) % 24
        lacked = energy if coming == departs and is_home else 0 * energy
        assert_allclose(engine.accounts()[0, :, ACCOUNTS.index("ev_penalty")], 2 * lacked)
        is_home = coming == comes or (is_home and coming != departs)


@pytest.mark.slow
def test_flexible_load_waits_first_in_first_out():
    """By hand, with a queue of kWh and ages: half of what waits is served in every other hour."""
    game = market(shift_hours=3.0, orders="linear", n_episode_days=2)
    engine, days = Engine(game, keep_accounts=True), game.days
    engine.reset(4)
    day = int(engine.signal[0, DAY])
    queues = [[] for _ in range(17)]
    for time in range(30):
        action = np.zeros((1, 17, 4), np.float32)
        action[..., [1, 3]], action[..., 2] = np.float32(0.1), 0.5 if time % 2 == 0 else 0.0
        engine.step(action)
        served = engine.accounts()[0, :, ACCOUNTS.index("flexible")]
        for i, agent in enumerate(game.agents):
            load_day = (day + time // 24 + agent.shift) % days.n_days
            load = agent.load_scale * days.load[load_day, time % 24, agent.profile]
            queues[i].append([agent.flexible_share * load, 0])
            left = expected = 0.5 * sum(kwh for kwh, _ in queues[i]) if time % 2 == 0 else 0.0
            assert served[i] == pytest.approx(expected, rel=1e-4, abs=1e-5)
            for item in queues[i]:
                taken = min(left, item[0])
                item[0], left, item[1] = item[0] - taken, left - taken, item[1] + 1
            queues[i] = [item for item in queues[i] if item[1] <= 3]
            waiting = sum(kwh for kwh, _ in queues[i])
            assert engine.states[0]["backlog"][i] == pytest.approx(waiting, rel=1e-4, abs=1e-5)


# Constants.


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"prices": "two"}, "prices must be one of 'separate', 'one', got 'two'"),
        ({"imbalance": "none"}, "imbalance must be one of 'pooled', 'individual', 'ex-post', got 'none'"),
        (
            {"n_episode_days": 31},
            r"n_episode_days must fit into the days that are played, 30 from 260 on .*; got 31",
        ),
        ({"excluded_days": range(261, 290, 2), "n_episode_days": 2}, "without the excluded_days, .*; got 2"),
        (
            {"excluded_days": range(250, 300)},
            "n_episode_days must fit into the days that are played, 30 from 260 on",
        ),
        ({"excluded_days": (3, 365)}, r"excluded_days\[1\] must be an integer in \[0, \d+\], got 365"),
        ({"excluded_days": (3, 3)}, r"excluded_days must be different days, got \(3, 3\)"),
        ({"n_episode_days": 0}, r"n_episode_days must be an integer in \[1, 36500\], got 0"),
        ({"network_charge": (0.1,) * 23}, "network_charge must be a number or hold 24, one for each hour"),
        ({"network_charge": (0.1,) * 23 + (-0.2,)}, "retail must be at least .* with a network_charge of -0.2"),
        ({"network_charge": (np.nan,) * 24}, r"network_charge\[0\] must be a finite number"),
        ({"weather_sd": (0.1, 0.2, 0.4)}, r"weather_sd\[2\] must be a finite number in \[0, 0.3\], got 0.4"),
        ({"weather_correlation": (0.9, -0.9, 0.9)}, "weather_correlation must be possible correlations, of load"),
        ({"weather_correlation": "all"}, "weather_correlation must be one of 'data', got 'all'"),
        ({"shift_hours": 0.5}, "shift_hours must be a multiple of a step, 1 hours, got 0.5"),
        ({"shift_hours": 25.0}, r"shift_hours must be a finite number in \[0, 24\], got 25.0"),
        ({"import_limit_kw": -1.0}, r"import_limit_kw must be a finite number in \[0, 1e\+09\], got -1.0"),
        (
            {"prices": "one", "ev_share": 0.1},
            "prices must be 'separate' in a market with ev_share = 0.1, got 'one'",
        ),
        (
            {"prices": "one", "export_limit_kw": 1.0},
            "'separate' in a market with export_limit_kw = 1.0, got 'one'",
        ),
        ({"prices": "one", "peak_charge": 1.0}, "prices must be 'separate' in a market with peak_charge = 1.0"),
        ({"peak_of": "all"}, "peak_of must be one of 'community', 'member', got 'all'"),
        ({"observations": "long"}, "observations must be one of 'full', 'short', got 'long'"),
        ({"time_unit": "day"}, "time_unit must be one of 'hour', 'step', got 'day'"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        market(**constants)


@pytest.mark.parametrize("value", [3, "3", None])
def test_excluded_days_of_another_type(value):
    with pytest.raises(TypeError, match=f"excluded_days must be a tuple of days of the series, got {value!r}"):
        market(excluded_days=value)


def test_excluded_days_are_never_played():
    excluded = (7, 4, 20)
    game = market(first_day=2, n_days=9, excluded_days=excluded, n_episode_days=2)
    assert game.excluded_days == (4, 7, 20)
    assert game.played_days.tolist() == [2, 3, 5, 6, 8, 9, 10]
    days = set()
    for seed in range(20):
        engine = Engine(game, 20)
        engine.reset(seed)
        days |= set(engine.signal[:, DAY].astype(int).tolist())
    assert days == {2, 5, 8, 9}  # A day is missed in 400 draws with a probability below 1e-49.
    assert mfenvs.make("EnergyMarket-v1", **game.describe()).played_days.tolist() == game.played_days.tolist()
    assert "days played: 7 of 363, 08-03 to 08-11" in str(game.describe())
