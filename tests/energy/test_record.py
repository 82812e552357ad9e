"""Records of played days: against a day worked by hand, :func:`mfenvs.evaluate`, and what must always hold."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mfenvs
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.conditions import DAY, FEED_IN, RETAIL, WEATHER, WEATHER_SEEN
from mfenvs.games.energy.market_accounts import ACCOUNTS
from mfenvs.games.energy.version_0 import EnergyMarketV0

PRICE = 0
SMALL = {"n_agents": 12, "proportions": (0.3, 0.2, 0.3, 0.1, 0.1)}


@dataclasses.dataclass(kw_only=True)
class OneConsumerOnePV(EnergyMarketV0):
    """Loads of 3 and 1 kWh an hour, 5 kWp; nobody errs and no load is flexible."""

    def draw_agents(self, rng):
        agents = super().draw_agents(rng)
        for name in ("shift", "profile", "error_scale", "flexible_share", "spread"):
            agents[name] = 0
        agents["load_scale"] = 3, 1
        agents["pv_kwp"] = 0, 5
        return agents


class Schedule:
    """Everybody's actions at each time, shape (H, N, 3)."""

    def __init__(self, actions):
        self.actions = np.asarray(actions, np.float32)

    def predict(self, observations):
        horizon, n_agents = self.actions.shape[:2]
        now = self.actions[round(float(observations[0, 7]) * horizon)]
        return np.tile(now, (len(observations) // n_agents, 1)), None


class Laws:
    """Likes actions by their numbers, the more the later it is."""

    def action_probabilities(self, observations):
        weights = np.ones((len(observations), 30)) + np.arange(30) * observations[:, 7:8]
        return weights / weights.sum(axis=1, keepdims=True)


class Greedy:
    """Charges before noon and discharges afterwards, and wants all it can have."""

    def predict(self, observations):
        actions = np.ones((len(observations), 3), np.float32)
        actions[:, 0] = np.where(observations[:, 7] < 0.5, 1, -1)
        actions[:, 2] = 0.2
        return actions, None


def test_a_day_by_hand(tmp_path):
    """In the first hour 5 kWh of sun: 1 is used at home, 3 are sold to the neighbour, 1 to the grid."""
    shape = (1, 24, 1)
    sun = np.zeros(shape)
    sun[0, 0] = 1
    series = MarketSeries(
        np.ones(shape), sun, np.zeros((1, 24)), np.zeros((1, 24)), np.zeros((1, 24)), 1.0, ("a",)
    )
    series.save(tmp_path / "day.npz")
    game = OneConsumerOnePV(
        n_agents=2,
        proportions=(1, 1, 0, 0, 0),
        horizon=2,
        weather_sd=0,
        series=str(tmp_path / "day.npz"),
        orders="step",
        feed_in=0.1,
        retail=0.3,
        fee=0.01,
    )
    record = record_days(game, Schedule(np.tile([0, 0, 0.1], (2, 2, 1))), n_worlds=1)
    expected = {
        "load": [[3, 1], [3, 1]],
        "flexible": [[0, 0], [0, 0]],
        "generation": [[0, 5], [0, 0]],
        "imports": [[0, 0], [3, 1]],
        "exports": [[0, 1], [0, 0]],
        "local_bought": [[3, 0], [0, 0]],
        "local_sold": [[0, 3], [0, 0]],
        "trade_payment": [[0.3, -0.4], [0.9, 0.3]],
        "imbalance_payment": [[0, 0], [0, 0]],
        "fee": [[0.03, 0.03], [0, 0]],
        "reward": [[-0.33, 0.37], [-0.9, -0.3]],
    }
    for name, values in expected.items():
        assert_allclose(record.account(name)[0], values, atol=1e-7)
    assert_allclose(record.price, [[0.1, 0.3]], atol=1e-7)
    assert_allclose(record.returns, [[-1.23, 0.07]], atol=1e-7)
    assert record.day.tolist() == [0]
    assert (record.charge == 0).all()
    assert record.n_worlds == 1


@pytest.mark.parametrize(
    ("constants", "policy"),
    [
        ({}, None),
        ({"dynamic_tariffs": True, "step_minutes": 15, "horizon": 50}, Greedy()),
        pytest.param({"actions": "discrete", "orders": "step"}, Laws(), marks=pytest.mark.slow),
    ],
)
def test_returns_are_those_of_evaluate(constants, policy):
    game = EnergyMarketV0(**SMALL, **constants)
    record = record_days(game, policy, n_worlds=3, seed=7)
    shape = (3, game.horizon, 12)
    assert record.accounts.shape == (*shape, len(ACCOUNTS))
    assert record.signals.shape == (3, game.horizon, game.n_signals)
    assert record.charge.shape == (3, game.horizon + 1, 12)
    assert {array.dtype for array in (record.accounts, record.signals, record.charge)} == {np.dtype(np.float64)}
    returns = mfenvs.evaluate(game, policy, n_worlds=3, seed=7).returns
    assert_allclose(record.returns, returns, rtol=1e-4, atol=1e-4)
    assert np.ptp(returns) > 1


def test_what_a_policy_sees_is_passed_on():
    seen = []

    class Sees:
        def predict(self, observations):
            seen.append(observations.shape[1])
            return np.zeros((len(observations), 3), np.float32) + np.float32([0, 0, 0.2]), None

    game = EnergyMarketV0(**SMALL)
    record_days(game, Sees(), observe="mean-field", n_worlds=1)
    assert set(seen) == {game.n_features + game.n_places}


def test_the_same_seed_gives_the_same_days_whatever_is_played():
    game = EnergyMarketV0(**SMALL)
    records = [record_days(game, policy, n_worlds=4, seed=2) for policy in (None, Greedy())]
    one, other = records
    for entry in (DAY, WEATHER_SEEN, WEATHER, FEED_IN, RETAIL):
        assert_array_equal(one.signals[:, :, entry], other.signals[:, :, entry])
    for name in ("load", "generation"):  # made of the data, the weather and the errors
        assert_array_equal(one.account(name), other.account(name))
    assert not np.array_equal(one.price, other.price)
    assert not np.array_equal(one.charge, other.charge)
    # A world is the same among any number of worlds, and another with another seed.
    fewer, again = record_days(game, n_worlds=2, seed=2), record_days(game, n_worlds=4, seed=3)
    assert_array_equal(fewer.accounts, one.accounts[:2])
    assert not np.array_equal(again.account("load"), one.account("load"))
    assert len(set(one.day.tolist())) > 1


@pytest.mark.parametrize("orders", ["interpolated", "step"])
def test_prices_and_tariffs_are_those_of_the_step(orders):
    """An agent pays the price for what it trades locally, and the tariffs for the rest, in double precision."""
    game = EnergyMarketV0(**SMALL, orders=orders, dynamic_tariffs=True, first_day=200)
    record = record_days(game, n_worlds=3, seed=1)
    price, retail, feed_in = (record.signals[:, :, entry, None] for entry in (PRICE, RETAIL, FEED_IN))
    local = record.account("local_bought") - record.account("local_sold")
    paid = price * local + retail * record.account("imports") - feed_in * record.account("exports")
    assert_allclose(paid, record.account("trade_payment") + record.account("imbalance_payment"), atol=1e-10)
    assert_array_equal(record.price, price[..., 0])
    assert np.abs(local).max() > 1
    days = game.days.price[record.day]
    assert_allclose(feed_in[..., 0], days, atol=1e-7)
    assert_allclose(retail[..., 0], days + 0.24, atol=1e-7)


def test_charge_is_before_each_step_and_at_the_end():
    game = EnergyMarketV0(**SMALL, initial_charge=0.3)
    record = record_days(game, n_worlds=2, seed=1)
    capacity = game.agents["capacity"].astype(float)
    stored = record.charge * capacity
    flows = 0.95 * record.account("charge") - record.account("discharge") / 0.95
    assert_allclose(np.diff(stored, axis=1), flows, atol=1e-5)
    assert_allclose(record.charge[:, 0], 0.3 * (capacity > 0)[None].repeat(2, 0), rtol=1e-6)
    assert np.abs(flows).max() > 1


def test_every_step_is_audited():
    audited = []

    @dataclasses.dataclass(kw_only=True)
    class Audited(EnergyMarketV0):
        def audit(self, accounts, signal):
            super().audit(accounts, signal)
            audited.append(accounts.shape)
            if len(audited) == 30:
                raise ValueError("books are wrong")

    game = Audited(**SMALL)
    assert record_days(game, n_worlds=2).game is game
    assert audited == 24 * [(2, 12, len(ACCOUNTS))]
    with pytest.raises(ValueError, match="books are wrong"):
        record_days(game, n_worlds=2)
    assert "audit" not in vars(game)


def test_what_is_not_allowed():
    game = EnergyMarketV0(**SMALL)
    with pytest.raises(TypeError, match="game must be an EnergyMarket, got 'EnergyMarket-v0'"):
        record_days("EnergyMarket-v0")
    with pytest.raises(ValueError, match="n_worlds must be an integer >= 1, got 0"):
        record_days(game, n_worlds=0)
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        record_days(game, seed=-1)
    with pytest.raises(TypeError, match="policy must be None, a table of probabilities, or an object with"):
        record_days(game, 3)
    record = record_days(game, n_worlds=2)
    for name in ("accounts", "signals", "charge"):
        right = getattr(record, name)
        for wrong in (
            None,
            3,
            right[:, 1:],
            right[..., 1:],
            right > 0,
            np.full(right.shape, np.nan),
            right.astype(str),
        ):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[[\d, ]+\])? must"):
                dataclasses.replace(record, **{name: wrong})
    with pytest.raises(TypeError, match="game must be an EnergyMarket, got 3"):
        dataclasses.replace(record, game=3)
    for name in (3, True, None, np.array(["load"])):
        with pytest.raises(ValueError, match="name must be one of 'load'"):
            record.account(name)
    with pytest.raises(ValueError, match=r"name must be one of 'load', .*, got 'loads'"):
        record_days(game, n_worlds=1).account("loads")
