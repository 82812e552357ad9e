"""Scenarios of weather and errors: mean and spread against closed forms; error rates below 1e-6, seeds fixed."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.outlook import data_of_episode, outlook
from mfenvs.energy.weather_scenarios import draw_scenarios
from mfenvs.games.energy.conditions import WEATHER, WEATHER_SEEN, StepData
from mfenvs.games.energy.market import EnergyMarket

N_AHEAD, N_SCENARIOS = 6, 4000
SEEN = np.array([0.05, -0.2, 0.1])


@dataclasses.dataclass(kw_only=True)
class Calm(EnergyMarket):
    """Nobody errs."""

    n_agents: int = 8
    proportions: tuple = (1, 1, 1, 0, 1)

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["error_scale"] = 0
        return agents


def drawn(game, seed=0, n_scenarios=N_SCENARIOS, hidden=0.0):
    signal = np.zeros(game.n_signals)
    signal[WEATHER_SEEN : WEATHER_SEEN + 3], signal[WEATHER : WEATHER + 3] = SEEN, hidden
    data = StepData(*(entry[:, 9 : 9 + N_AHEAD] for entry in data_of_episode(game, 300)))
    return draw_scenarios(game, data, signal, n_scenarios, seed), data, outlook(game, data, signal, 0, N_AHEAD)


def test_the_weather_goes_on_from_what_was_seen():
    """A first-order autoregression from the last weather on, with correlated news."""
    game = Calm(weather_sd=(0.05, 0.1, 0.08), weather_correlation=(0.5, 0.0, -0.5))
    found, data, expected = drawn(game)
    steps = np.arange(1, N_AHEAD + 1)
    spread = np.sqrt(1 - 0.8 ** (2 * steps))
    load = found.load / data.inelastic.sum(axis=0) - 1
    # 5 standard errors of 6 means each: error rate 4e-6 / 2 a set, and of standard deviations, which are looser.
    error = 6 * 0.05 * spread / np.sqrt(N_SCENARIOS)
    assert (np.abs(load.mean(axis=0) - SEEN[0] * 0.8**steps) < error).all()
    assert_allclose(load.std(axis=0), 0.05 * spread, rtol=6 / np.sqrt(2 * N_SCENARIOS))
    total = expected.generation.sum(axis=0)
    sun, wind = data.sun.sum(axis=0), data.wind.sum(axis=0)
    sd = spread * np.sqrt((0.1 * sun) ** 2 + (0.08 * wind) ** 2 - 2 * 0.5 * 0.1 * 0.08 * sun * wind)
    assert (np.abs(found.generation.mean(axis=0) - total) < 6 * sd / np.sqrt(N_SCENARIOS)).all()
    assert_allclose(found.generation.std(axis=0), sd, rtol=6 / np.sqrt(2 * N_SCENARIOS))
    # From one step to the next the memory is that of an hour.
    after = np.corrcoef(load[:, 3], load[:, 4])[0, 1]
    assert after == pytest.approx(0.8 * spread[3] / spread[4], abs=6 / np.sqrt(N_SCENARIOS))


def test_errors_are_of_every_agent_apart():
    calm, erring = Calm(weather_sd=0.0), EnergyMarket(weather_sd=0.0, n_agents=8, proportions=(1, 1, 1, 0, 1))
    exact, data, expected = drawn(calm, n_scenarios=3)
    assert_allclose(
        exact.load, np.tile(data.inelastic.sum(axis=0) * (1 + SEEN[0] * 0.8 ** np.arange(1, 7)), (3, 1))
    )
    assert_allclose(exact.generation, np.tile(expected.generation.sum(axis=0), (3, 1)), rtol=1e-6)
    found, data, expected = drawn(erring)
    # Relative errors of finite variance nu / (nu - 2) x scale^2; a few are cut off at -1.
    agents = erring.agents
    freedom = agents["degrees_of_freedom"].astype(float)
    variance = agents["error_scale"] ** 2 * freedom / (freedom - 2)
    sd = np.sqrt((variance[:, None] * expected.load**2).sum(axis=0))
    assert_allclose(found.load.std(axis=0), sd, rtol=0.3)
    assert (np.abs(found.load.mean(axis=0) - expected.load.sum(axis=0)) < 0.2 * sd).all()
    assert np.abs(np.corrcoef(found.load.T)[0, 1:]).max() < 0.15


def test_where_imbalance_is_the_retailers_scenarios_are_forecasts():
    game = EnergyMarket(n_agents=8, proportions=(1, 1, 1, 0, 1), imbalance="individual")
    found, _, expected = drawn(game, n_scenarios=50)
    # What is cleared in the first step is known; later forecasts depend on the weather until then.
    assert_allclose(found.load[:, 0], expected.load[:, 0].sum(), rtol=1e-6)
    assert found.load[:, 1].std() > 0.01 * expected.load[:, 1].sum()


def test_scenarios_follow_from_their_seed_and_not_from_what_is_to_come():
    game = Calm()
    first, again, other, hidden = (
        drawn(game, seed, 5, weather)[0] for seed, weather in ((1, 0.0), (1, 0.0), (2, 0.0), (1, 0.9))
    )
    assert_array_equal(first.load, again.load)
    assert_array_equal(first.generation, hidden.generation)
    assert np.abs(first.load - other.load).min() > 0
    assert len(np.unique(first.load[:, 0])) == 5
