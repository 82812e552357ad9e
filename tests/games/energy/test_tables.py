"""Tables of the market against sums written out, and against series that are made to have a correlation."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.tables import (
    community_net,
    measured_correlations,
    mixing_matrix,
    sums_ahead,
    sums_before,
)

DATA = np.random.default_rng(0).uniform(0, 1, (3, 24, 2)).astype(np.float32)


@pytest.mark.parametrize("n_steps", [1, 4, 24, 30])
def test_sums_go_on_beyond_midnight(n_steps):
    flat = np.concatenate([DATA.reshape(-1, 2)] * 3)
    ahead, before = sums_ahead(DATA, n_steps), sums_before(DATA, n_steps)
    for at in range(72):
        day, step = divmod(at, 24)
        assert_allclose(ahead[day, step], flat[72 + at : 72 + at + n_steps].sum(axis=0), rtol=1e-5)
        assert_allclose(before[day, step], flat[73 + at - n_steps : 73 + at].sum(axis=0), rtol=1e-5)


def test_a_window_longer_than_the_series_is_all_of_it():
    assert_allclose(sums_before(DATA[:1], 96), np.broadcast_to(DATA[0].sum(axis=0), (1, 24, 2)), rtol=1e-5)


def test_the_communitys_net_demand_is_that_of_its_members():
    game = EnergyMarket(n_agents=40, proportions=(0.3, 0.2, 0.2, 0.2, 0.1))
    days, agents = game.days, game.agents.view(np.ndarray)
    net = community_net(agents, days.load, days.pv, days.wind)
    for day, step in ((0, 0), (5, 12), (362, 23)):
        expected = 0.0
        for one in game.agents:
            expected += one.load_scale * days.load[(day + one.shift) % days.n_days, step, one.profile]
            expected -= one.pv_kwp * days.pv[day, step, one.profile] + one.wind_kw * days.wind[day, step]
        assert net[day, step] == pytest.approx(expected / 40, rel=1e-4, abs=1e-5)


def test_correlations_are_measured_in_the_anomalies():
    """Of a made series: load and sun deviate from their daily course together, wind on its own."""
    series, rng, n = MarketSeries.synthetic(300, 3, 0), np.random.default_rng(0), 300
    common, own = rng.standard_normal((2, n, 24, 1))
    course = np.sin(np.pi * np.arange(24) / 23)[:, None] + 0.01
    made = dataclasses.replace(
        series,
        load=np.float32(np.broadcast_to(course * (2 + 0.1 * common), (n, 24, 3))),
        pv=np.float32(np.broadcast_to(course * (2 - 0.1 * common), (n, 24, 3))),
        wind=np.float32((2 + 0.1 * own)[:, :, 0]),
    )
    load_sun, load_wind, sun_wind = measured_correlations(made)
    assert load_sun == pytest.approx(-1, abs=0.02)
    assert abs(load_wind) < 6 / np.sqrt(n * 22)
    assert abs(sun_wind) < 6 / np.sqrt(n * 22)
    still = dataclasses.replace(made, wind=np.ones_like(made.wind))
    assert measured_correlations(still)[1:] == (0.0, 0.0)
    assert measured_correlations(MarketSeries.synthetic(9, 3, 0)) == (0.0, 0.0, 0.0)


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9), st.tuples(*[st.floats(0.01, 0.3)] * 3))
def test_a_mixing_matrix_gives_its_covariance(numbers, sd):
    """Of any three vectors' correlations; of what cannot be correlations there is none."""
    vectors = np.array(numbers).reshape(3, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    if lengths.min() < 0.1:
        return
    angles = (vectors @ vectors.T) / np.outer(lengths, lengths)
    if np.linalg.eigvalsh(angles).min() < 1e-6:
        return
    mixing = mixing_matrix(sd, (angles[0, 1], angles[0, 2], angles[1, 2]))
    assert_allclose(mixing @ mixing.T, np.outer(sd, sd) * angles, atol=1e-9)


@pytest.mark.parametrize("correlations", [(0.9, -0.9, 0.9), (1.0, 0.5, 0.0), (-1.0, 1.0, 1.0)])
def test_what_cannot_be_correlations(correlations):
    assert mixing_matrix((1.0, 1.0, 1.0), correlations) is None


def test_wholly_correlated_factors_are_one():
    assert_allclose(mixing_matrix((0.1, 0.1, 0.1), (1.0, 1.0, 1.0)), [[0.1, 0, 0]] * 3)
