"""What a planner knows of an episode: against the series read by hand, and the market played."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mfenvs.energy.outlook import (
    charging_sessions,
    data_of_episode,
    outlook,
    paid_peak,
    problem_of,
    sessions_from,
    waiting_load,
)
from mfenvs.games.energy.community import PEAK
from mfenvs.games.energy.conditions import WEATHER_SEEN, StepData
from mfenvs.games.energy.market import EnergyMarket

SMALL = {"n_agents": 20, "proportions": (0.3, 0.1, 0.4, 0.1, 0.1)}


@dataclasses.dataclass(kw_only=True)
class Vehicles(EnergyMarket):
    """Four vehicles: out by day, out by night, out all day long, and one that comes and goes at the same hour."""

    n_agents: int = 6
    ev_share: float = 0.5
    hours: tuple = ((18, 7), (6, 20), (0, 24), (9, 9))

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["vehicle_energy"], agents["vehicle_power"] = 0, 0
        agents["vehicle_energy"][:4] = 8, 9, 10, 11
        agents["vehicle_power"][:4] = 4
        agents["vehicle_arrival"][:4], agents["vehicle_departure"][:4] = np.minimum(np.transpose(self.hours), 23.9)
        return agents


def test_data_of_two_days():
    game = EnergyMarket(**SMALL, n_episode_days=2, horizon=30)
    days, data = game.days, data_of_episode(game, 200)
    for i, agent in enumerate(game.agents):
        for time, (day, hour) in {3: (200, 3), 29: (201, 5)}.items():
            load = agent.load_scale * days.load[(day + agent.shift) % days.n_days, hour, agent.profile]
            found = [entry[i, time] for entry in data]
            sun, wind = agent.pv_kwp * days.pv[day, hour, agent.profile], agent.wind_kw * days.wind[day, hour]
            share = agent.flexible_share
            assert found == pytest.approx([(1 - share) * load, share * load, sun, wind], rel=1e-5)
    assert data.inelastic.shape == (20, 30)


def test_the_weather_that_was_seen_fades():
    game = EnergyMarket(**SMALL)
    data, signal = data_of_episode(game, 100), np.zeros(game.n_signals)
    signal[WEATHER_SEEN : WEATHER_SEEN + 3] = 0.1, -0.2, 0.3
    found = outlook(game, data, signal, 10, 8)
    fade = 0.8 ** np.arange(1, 9)
    assert_allclose(found.load, data.inelastic[:, 10:18] * (1 + 0.1 * fade), rtol=1e-6)
    assert_allclose(found.flexible, data.flexible[:, 10:18] * (1 + 0.1 * fade), rtol=1e-6)
    made = data.sun[:, 10:18] * (1 - 0.2 * fade) + data.wind[:, 10:18] * (1 + 0.3 * fade)
    assert_allclose(found.generation, made, rtol=1e-6)


def test_sessions_of_vehicles():
    game = Vehicles(n_episode_days=2, horizon=44)
    cars = charging_sessions(game)
    found = [tuple(row) for row in zip(cars.agent, cars.arrival, cars.departure, cars.energy, strict=True)]
    assert found == [
        *[(0, 0, 7, 8), (0, 18, 31, 8), (0, 42, 45, 8)],
        *[(1, 6, 20, 9), (1, 30, 44, 9)],
        # Hours are rounded up to a step, the last to midnight; and nobody comes before the first step.
        (2, 24, 45, 10),
        *[(3, 9, 33, 11), (3, 33, 45, 11)],
    ]
    assert_allclose(cars.power, 4)
    assert (cars.penalty == game.ev_penalty).all()
    # From the twentieth step on: what has come needs what its state says.
    later = sessions_from(cars, 20, np.array([3.0, 0, 5, 1, 0, 0]))
    rows = zip(later.agent, later.arrival, later.departure, later.energy, strict=True)
    assert [tuple(row) for row in rows] == [
        *[(0, 0, 11, 3), (0, 22, 25, 8), (1, 10, 24, 9), (2, 4, 25, 10)],
        *[(3, 0, 13, 1), (3, 13, 25, 11)],
    ]


def test_what_vehicles_cost_at_the_end_of_a_plan():
    game = Vehicles(n_episode_days=2, horizon=42, ev_penalty=0.7)
    data, cars = data_of_episode(game, 10), charging_sessions(game)
    ahead = outlook(game, data, np.zeros(game.n_signals), 20, 99)
    terms = {"soc0": 0 * game.agents["capacity"], "co2": np.zeros(22)}
    last = float(game.constants.retail[11, 17])
    whole = problem_of(game, 10, 20, ahead, sessions=sessions_from(cars, 20, np.full(6, 2.0)), **terms).sessions
    # One comes home just at the end, and needs all.
    rows = zip(whole.agent, whole.arrival, whole.departure, whole.energy, whole.penalty, strict=True)
    assert [row[:4] for row in rows if row[0] == 0] == [(0, 0, 11, 2), (0, 21, 21, 8)]
    assert_allclose(whole.penalty, [0.7, last, last, last, 0.7, last])
    short = outlook(game, data, np.zeros(game.n_signals), 20, 5)
    terms["co2"] = np.zeros(5)
    part = problem_of(game, 10, 20, short, sessions=sessions_from(cars, 20, np.full(6, 2.0)), **terms).sessions
    assert part.agent.tolist() == [0, 2, 3]
    assert part.departure.tolist() == [5, 5, 5]
    now = float(game.constants.retail[11, 0])
    assert_allclose(part.penalty, now)


def test_what_waits_is_the_latest():
    game = EnergyMarket(**SMALL, shift_hours=3)
    flexible = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], (20, 1))
    data = StepData(flexible, flexible, flexible, flexible)
    backlog = np.linspace(0, 12, 20)
    waiting = waiting_load(game, data, backlog, 4)
    assert_allclose(waiting.sum(axis=1), np.minimum(backlog, 9))
    assert_allclose(waiting[4], [0, 0, backlog[4]])
    assert_allclose(waiting[10], [0, backlog[10] - 4, 4])
    assert_allclose(waiting_load(game, data, backlog, 1), np.minimum(backlog, 1)[:, None] * [0, 0, 1])
    assert waiting_load(EnergyMarket(**SMALL), data, backlog, 1) is None


def test_peaks_that_are_paid():
    game = EnergyMarket(**SMALL, peak_charge=0.3, n_episode_days=3)
    signal = np.zeros(game.n_signals)
    signal[PEAK] = 2.0
    members = np.arange(20.0)
    assert_allclose(paid_peak(game, signal, members, 30, 42), [40, 0])
    assert_allclose(paid_peak(game, signal, members, 24, 20), [0])
    own = EnergyMarket(**SMALL, peak_charge=0.3, peak_of="member")
    assert_allclose(paid_peak(own, signal, members, 5, 19), members[:, None])
    assert_allclose(paid_peak(own, signal, members, 0, 24), np.zeros((20, 1)))
    assert_allclose(paid_peak(EnergyMarket(**SMALL), signal, members, 5, 19), [0])
