"""The market in bins in several weathers, and groups by need."""

import functools
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs import Engine, InducedGame
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.binned_averages import spread_normals
from mfenvs.games.energy.binned_groups import day_need, stripes
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0

SMALL = {"n_agents": 40, "n_bins": 5, "groups_per_type": 1, "day": 100}
WEATHER = {"weather_sd": (0.1, 0.3, 0.3), "n_weathers": 5}


@pytest.mark.parametrize("n", [4, 9, 17])
def test_points_stand_for_normal_numbers(n):
    points = spread_normals(n)
    assert points.shape == (n, 3)
    assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert_allclose(points.T @ points / n, np.eye(3), atol=1e-12)


def test_projections_of_the_points_are_spread():
    """The middles of 17 equal parts of a normal law are up to 1.89 from its mean: so are projections, roughly."""
    points = np.sort(spread_normals(17), axis=0)
    assert (np.diff(points, axis=0) > 1e-3).all()
    assert_allclose(points[-1], 1.89, atol=0.5)
    assert_allclose(points[0], -1.89, atol=0.5)


def test_weathers_have_the_covariance_of_the_market():
    game = BinnedEnergyMarket(**SMALL, weather_sd=(0.1, 0.3, 0.2), weather_correlation=(0.5, -0.2, 0.1))
    assert len(game.weathers) == 9
    assert_allclose(game.weathers.mean(axis=0), 0, atol=1e-7)
    covariance = game.weathers.T @ game.weathers / 9
    assert_allclose(covariance, [[0.01, 0.015, -0.004], [0.015, 0.09, 0.006], [-0.004, 0.006, 0.04]], atol=1e-7)
    assert game.market.weather_sd == (0.1, 0.3, 0.2)


def test_without_weather_there_is_one():
    assert_array_equal(BinnedEnergyMarket(**SMALL).weathers, np.zeros((1, 3)))
    assert BinnedEnergyMarket(**SMALL, n_weathers=50).n_branches == 2
    assert BinnedEnergyMarketV0(**SMALL, weather_sd=0.1).market.weather_correlation == (1.0, 1.0, 1.0)


class Changed(BinnedEnergyMarket):
    """A market without weather whose load and sun are other ones."""

    factors = 1.0, 1.0

    @functools.cached_property
    def constants(self):
        terms = super().constants
        return terms._replace(
            load=np.float32(terms.load * self.factors[0]), pv=np.float32(terms.pv * self.factors[1])
        )


def law_of(game, seed, n_played=80):
    """A random law of states and actions that are allowed."""
    rng = np.random.default_rng(seed)
    allowed = np.flatnonzero(InducedGame(game).uniform_policy()[0].ravel() > 0)
    mu = np.zeros(game.n_states * game.n_actions)
    mu[rng.choice(allowed, n_played, replace=False)] = rng.dirichlet(np.full(n_played, 0.5))
    return mu.reshape(game.n_states, game.n_actions)


@pytest.mark.slow
@pytest.mark.parametrize("hour", [3, 13, 23])
def test_rewards_and_charges_are_means_over_weathers(hour):
    """Against one market without weather for each, in which .8 of the weather before changes load and sun."""
    game = BinnedEnergyMarket(**SMALL, **WEATHER)
    mu = law_of(game, hour)
    transitions, rewards = InducedGame(game).arrays(mu, hour)
    expected_transitions, expected_rewards, prices = 0.0, 0.0, []
    for load, sun, _ in 1 + 0.8 * game.weathers:
        one = type("Changed", (Changed,), {"factors": (load, sun)})(**SMALL)
        row, reward = InducedGame(one).arrays(mu, hour)
        expected_transitions, expected_rewards = expected_transitions + row / 5, expected_rewards + reward / 5
        prices.append(reward)
    assert_allclose(rewards, expected_rewards, atol=2e-5)
    assert_allclose(transitions, expected_transitions, atol=2e-5)
    assert np.ptp(np.array(prices), axis=0).max() > 0.01


@pytest.mark.slow
def test_simulated_agents_meet_the_weathers_equally_often():
    """Mean rewards and states of many agents against the mean field of what they do."""
    game = BinnedEnergyMarket(**(SMALL | {"n_agents": 4000}), **WEATHER)
    induced, engine = InducedGame(game), Engine(game, 30, debug=True)
    engine.reset(3)
    largest = []
    for hour in range(14):
        states = engine.states.copy()
        has_battery = game.bins[game.constants.group_of[states]] > 1
        # From noon on, batteries are charged at a limit price at which little is to be had.
        actions = np.where(has_battery & (hour >= 12) & (states != game.n_states - 1), 26, 17)
        actions[~induced.uniform_policy()[0].astype(bool)[states, actions]] = 17
        rewards = engine.step(actions)
        if hour < 12:
            continue
        mu = np.zeros((game.n_states, 30))
        np.add.at(mu, (states.ravel(), actions.ravel()), 1.0 / states.size)
        transitions, expected = induced.arrays(mu, hour)
        for state, action in np.argwhere(mu > 0.01):
            found, came = rewards[states == state], engine.states[states == state]
            error = found.std() / len(found) ** 0.5
            assert found.mean() == pytest.approx(expected[state, action], abs=5 * float(error))
            shares = np.bincount(came, minlength=game.n_states) / len(came)
            assert_allclose(shares, transitions[state, action], atol=3 / len(came) ** 0.5)
            largest.append(shares.max())
    assert min(largest) < 0.99


def test_the_reported_price_is_the_mean_over_weathers():
    game = BinnedEnergyMarket(**SMALL, **WEATHER)
    engine, rng, spreads = Engine(game, 1), np.random.default_rng(0), []
    engine.reset(0)
    while engine.is_playing:
        allowed = engine.action_masks()
        engine.step(np.where(allowed, rng.random(allowed.shape), 0).argmax(axis=-1))
        signal = engine.signal[0]
        prices = signal[:-2].reshape(5, -1)[:, 0]
        assert signal[game.reported["price"]] == pytest.approx(prices.mean(), rel=1e-6)
        spreads.append(np.ptp(prices))
    assert max(spreads) > 1e-3


def test_stripes_by_hand():
    kinds = np.array([0, 2, 2, 0, 2, 2, 2])
    keys = np.array([5.0, 3.0, 9.0, 1.0, 4.0, 1.0, 7.0])
    # Of type 2 the order is 5, 1, 4, 6, 2: three of them are the first half.
    assert_array_equal(stripes(kinds, keys, 2), [1, 4, 5, 0, 4, 4, 5])


def test_need_is_load_beyond_generation_hour_by_hour():
    market = EnergyMarketV0(n_agents=40)
    agents, days = market.agents, market.days
    for i in (0, 20, 30, 39):
        total = 0.0
        for hour in range(24):
            load = agents.load_scale[i] * days.load[(100 + agents.shift[i]) % days.n_days, hour, agents.profile[i]]
            made = agents.pv_kwp[i] * days.pv[100, hour, agents.profile[i]]
            total += max(load - made - agents.wind_kw[i] * days.wind[100, hour], 0)
        assert day_need(market, 100)[i] == pytest.approx(total, rel=1e-5)


def test_groups_by_need():
    """Owners of batteries in the order of need per kWh of battery, others in that of value."""
    game = BinnedEnergyMarket(**(SMALL | {"n_agents": 100, "groups_per_type": 4}), groups_by="need")
    agents, group = game.market.agents, game.group_of_agent
    need = day_need(game.market, 100)
    for kind, key in ((2, need / np.maximum(agents.capacity, 1e-9)), (0, agents.flexible_value)):
        members = np.flatnonzero(agents.type == kind)
        numbers = np.unique(group[members])
        assert len(numbers) == 4
        for low, high in itertools.pairwise(numbers):
            assert key[group == low].max() <= key[group == high].min()
        assert_array_equal(np.bincount(group[members])[numbers], len(members) // 4)
    assert game.group_sizes.sum() == pytest.approx(1)
    assert game.n_states == 12 + 4 * 5
    assert_allclose(game.constants.load[0] @ game.group_sizes, _mean_load(game), rtol=1e-5)


def _mean_load(game):
    agents, days = game.market.agents, game.market.days
    return (agents.load_scale[:, None] * days.load[(100 + agents.shift) % days.n_days, :, agents.profile]).mean(
        axis=0
    )


def test_agents_of_another_market_are_grouped_by_its_own_need():
    game = BinnedEnergyMarket(**(SMALL | {"groups_per_type": 2}), groups_by="need")
    other = EnergyMarket(n_agents=90, actions="discrete", first_day=7, n_days=1)
    groups = game.groups_of(other)
    need = day_need(other, 100) / np.maximum(other.agents.capacity, 1e-9)
    low, high = np.unique(groups[other.agents.type == 2])
    assert need[groups == low].max() <= need[groups == high].min()
    assert_array_equal(game.groups_of(game.market), game.group_of_agent)


def test_the_day_of_the_need_must_be_in_the_series():
    game = BinnedEnergyMarket(**SMALL, groups_by="need")
    few = EnergyMarket(n_agents=40, actions="discrete", series=MarketSeries.synthetic(30, 10, 0))
    with pytest.raises(
        ValueError, match="market must have day 100, by the need on which agents are put into groups"
    ):
        game.groups_of(few)


def test_the_smallest_community():
    game = BinnedEnergyMarket(**(SMALL | {"n_agents": 2, "groups_per_type": 3}), **WEATHER, groups_by="need")
    assert game.group_sizes.sum() == pytest.approx(1)
    assert game.initial_distribution.sum() == pytest.approx(1)
    transitions, _ = InducedGame(game).arrays(np.full((game.n_states, 30), 1 / 30 / game.n_states), 12)
    assert_allclose(transitions.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"groups_by": "net"}, "groups_by must be one of 'value', 'need', got 'net'"),
        ({"n_weathers": 3}, r"n_weathers must be an integer in \[4, 1000\], got 3"),
        ({"weather_sd": -0.1}, "weather_sd"),
        ({"weather_memory": 1.0}, "weather_memory"),
    ],
)
def test_terms_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        BinnedEnergyMarket(**SMALL, **constants)
