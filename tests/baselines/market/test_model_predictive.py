"""The receding-horizon planner: optimal where nothing surprises, blind to what is to come, below the bound."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from baselines.market.model_predictive import ModelPredictive
from baselines.market.policies import Idle, SelfConsumption
from mfenvs import Engine, evaluate
from mfenvs.energy.outcomes import market_outcome
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.conditions import WEATHER, WEATHER_SEEN
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.version_0 import EnergyMarketV0

EVERYTHING = {
    "peak_charge": 0.3,
    "import_limit_kw": 1.0,
    "export_limit_kw": 0.5,
    "shift_hours": 3,
    "ev_share": 0.3,
    "n_episode_days": 2,
    "horizon": 30,
    "first_day": 250,
    "n_days": 60,
}
SMALL = {"n_agents": 40, "proportions": (0.4, 0.1, 0.4, 0.1, 0)}


@dataclasses.dataclass(kw_only=True)
class Quiet(EnergyMarket):
    """Nobody errs, and the weather is as in the data."""

    weather_sd: float = 0.0

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        agents["error_scale"] = 0
        return agents


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"dynamic_tariffs": True, "first_day": 30, "n_days": 20, "retail": 0.32, "network_charge": 0.0},
        {"efficiency": 0.8, "initial_charge": 0.2, "horizon": 45, "n_episode_days": 2},
        pytest.param(EVERYTHING, marks=pytest.mark.slow),
        pytest.param(
            EVERYTHING | {"imbalance": "ex-post", "step_minutes": 15, "horizon": 36},
            marks=pytest.mark.slow,
        ),
        pytest.param({"orders": "step", "imbalance": "individual"}, marks=pytest.mark.slow),
        pytest.param({"orders": "linear", "imbalance": "individual"}, marks=pytest.mark.slow),
        pytest.param({"prices": "one"}, marks=pytest.mark.slow),
        pytest.param({"peak_charge": 0.5, "peak_of": "member", "ev_share": 0.3}, marks=pytest.mark.slow),
    ],
)
def test_where_nothing_surprises_it_does_what_perfect_foresight_does(more):
    """So what it wants is bought and sold as it is planned, in every step."""
    game = Quiet(**SMALL, **more)
    record = record_days(game, ModelPredictive(game, value_tolerance=1e-3), n_worlds=2, seed=2)
    outcome = market_outcome(record)
    assert_allclose(outcome.efficiency, 1, atol=5e-4)
    assert (market_outcome(record_days(game, n_worlds=2, seed=2)).efficiency < 0.99).all()
    for name, is_used in (
        ("peak_payment", "peak_charge" in more),
        ("ev_charge", "ev_share" in more),
        # Of 36 quarters of an hour the last is before the sun is high.
        ("curtailed", "export_limit_kw" in more and more["horizon"] < 36),
    ):
        assert (record.account(name).sum() > 0) == is_used


def test_a_day_by_hand(tmp_path):
    """It fills the battery with the sun that it sells in the evening, as far as that is worth the losses."""

    @dataclasses.dataclass(kw_only=True)
    class Pair(Quiet):
        def draw_agents(self, rng):
            agents = super().draw_agents(rng)
            agents["profile"] = agents["shift"] = agents["flexible_share"] = 0
            agents["load_scale"], agents["pv_kwp"] = (1, 0), (0, 4)
            agents["capacity"], agents["power"] = (0, 10), (0, 3)
            return agents

    load, sun = np.zeros((1, 24, 1)), np.zeros((1, 24, 1))
    load[0, 1], sun[0, 0] = 5, 1
    zeros = np.zeros((1, 24))
    MarketSeries(load, sun, zeros, zeros, zeros, 1.0, ("a day",)).save(tmp_path / "day.npz")
    terms = {"feed_in": 0.1, "retail": 0.3, "efficiency": 0.9, "degradation": 0.01, "initial_charge": 0.0}
    terms["network_charge"] = 0.0
    game = Pair(n_agents=2, proportions=(1, 0, 1, 0, 0), horizon=2, series=str(tmp_path / "day.npz"), **terms)
    record = record_days(game, ModelPredictive(game), n_worlds=1)
    # Of 4 kWh of sun 3 are drawn, at most; .81 of them are worth .3 instead of .1 in the next hour, less wear.
    assert_allclose(record.account("charge")[0], [[0, 3], [0, 0]], atol=1e-5)
    assert_allclose(record.account("discharge")[0], [[0, 0], [0, 2.43]], atol=1e-5)
    assert_allclose(record.account("exports")[0].sum(axis=1), [1, 0], atol=1e-5)
    assert market_outcome(record).welfare[0] == pytest.approx(0.1 - 0.3 * (5 - 2.43) - 0.01 * 5.43, abs=1e-5)


def test_it_does_not_see_what_is_to_come():
    game = EnergyMarket(**SMALL)
    engine, policy = Engine(game, 2), ModelPredictive(game)
    engine.reset(seed=3)
    for _ in range(9):
        engine.step(policy.actions(engine))
    chosen = policy.actions(engine)
    engine.signal[:, WEATHER : WEATHER + 3] = 0.5
    engine.states["coming_error"] = 0.5
    assert_array_equal(policy.actions(engine), chosen)
    engine.signal[:, WEATHER_SEEN] = 0.5
    assert np.abs(policy.actions(engine) - chosen).max() > 0.01
    states = engine.states["charge"].copy()
    engine.states["charge"] = 0.9 * states
    assert np.abs(policy.actions(engine) - chosen).max() > 0.01


@pytest.mark.slow
def test_a_horizon_of_some_hours():
    """As long as the rest of the episode it makes no difference; a short one knows less, and is faster."""
    game = EnergyMarket(**SMALL, n_episode_days=2, first_day=250, n_days=60)
    whole, day, hour = (
        market_outcome(record_days(game, ModelPredictive(game, lookahead_hours=hours), n_worlds=2, seed=4))
        for hours in (48, 24, 1)
    )
    assert_array_equal(
        whole.welfare, market_outcome(record_days(game, ModelPredictive(game), n_worlds=2, seed=4)).welfare
    )
    assert (whole.efficiency > day.efficiency - 0.01).all()
    assert (day.efficiency > hour.efficiency).all()


def test_scenarios():
    """One scenario of a day without surprises is the day; with surprises they are drawn by a seed of their own."""
    quiet = Quiet(**SMALL)
    planned = market_outcome(record_days(quiet, ModelPredictive(quiet, n_scenarios=1), n_worlds=2, seed=2))
    assert_allclose(planned.efficiency, 1, atol=5e-3)
    game = EnergyMarket(**SMALL)
    engine = Engine(game, 2)
    engine.reset(seed=3)
    one, again, other, averse = (
        ModelPredictive(game, n_scenarios=4, **more).actions(engine)
        for more in ({}, {"seed": 0}, {"seed": 1}, {"risk_aversion": 1.0, "tail": 0.25})
    )
    assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - averse).max() > 1e-3


def test_pooling_loses_next_to_nothing():
    game = EnergyMarket(**SMALL)
    welfare = [
        market_outcome(record_days(game, policy, n_worlds=2, seed=4))
        for policy in (ModelPredictive(game), ModelPredictive(game, tolerance=1e-6, value_tolerance=1e-6))
    ]
    gain = welfare[1].welfare - welfare[1].no_trade
    assert_allclose(welfare[0].welfare, welfare[1].welfare, atol=2e-3 * gain.min())


def test_planning_beats_rules_of_thumb_and_not_the_bound():
    game = EnergyMarketV0(**SMALL, first_day=300, n_days=60)
    idle, greedy, planned = (
        market_outcome(record_days(game, policy, n_worlds=4, seed=1))
        for policy in (Idle(game), SelfConsumption(game), ModelPredictive(game))
    )
    assert planned.welfare.sum() > max(greedy.welfare.sum(), idle.welfare.sum())
    assert (planned.efficiency <= 1).all()
    assert evaluate(game, ModelPredictive(game), n_worlds=4, seed=1).returns.mean() == pytest.approx(
        planned.mean_return.mean(), abs=1e-4
    )


def test_what_is_not_allowed():
    game = EnergyMarket(**SMALL)
    with pytest.raises(TypeError, match="game must be an EnergyMarket, got 3"):
        ModelPredictive(3)
    with pytest.raises(ValueError, match=r"game must have continuous actions, .* got actions='discrete'"):
        ModelPredictive(EnergyMarket(**SMALL, actions="discrete"))
    for name in ("tolerance", "value_tolerance", "lookahead_hours"):
        with pytest.raises(ValueError, match=f"^{name} must be a finite number"):
            ModelPredictive(game, **{name: 0})
    for name, wrong in (("n_scenarios", -1), ("risk_aversion", 1.1), ("tail", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            ModelPredictive(game, **{name: wrong})
    own_peaks = EnergyMarket(**SMALL, peak_charge=0.1, peak_of="member")
    with pytest.raises(ValueError, match="n_scenarios must be 0 where members pay for their own peaks, got 3"):
        ModelPredictive(own_peaks, n_scenarios=3)
    other = Engine(EnergyMarket(**SMALL))
    other.reset(seed=0)
    with pytest.raises(ValueError, match="engine must be one of the planner's game"):
        ModelPredictive(game).actions(other)
