"""Rules of thumb against what they are meant to do, and binned policies where the two games are one."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from baselines.market.policies import BinnedPolicy, Idle, SelfConsumption
from mfenvs import Engine, InducedGame, evaluate, make
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.prosumer_types import LAW_V0, STORAGE
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0

CALM = {"weather_sd": 0.0, "n_days": 1, "first_day": 100}
KINDS = pytest.mark.parametrize("actions", ["box", "discrete"])


def market(**constants):
    return EnergyMarketV0(**({"n_agents": 40} | CALM | constants))


def data_of(game):
    """Expected inelastic and flexible load and generation by hour and agent, on a day without weather."""
    agents, days, day = game.agents, game.days, game.first_day
    load = agents["load_scale"] * days.load[(day + agents["shift"]) % days.n_days, :, agents["profile"]].T
    made = agents["pv_kwp"] * days.pv[day][:, agents["profile"]] + np.outer(days.wind[day], agents["wind_kw"])
    flexible = agents["flexible_share"] * load
    return load - flexible, flexible, made


@KINDS
def test_idle_batteries_rest_and_flexible_load_is_served_where_it_is_worth_it(actions):
    game = market(actions=actions, orders="step")
    record = record_days(game, Idle(game), n_worlds=1)
    assert (record.account("charge") == 0).all()
    assert (record.account("discharge") == 0).all()
    inelastic, flexible, made = data_of(game)
    served, price = record.account("flexible")[0], record.price[0][:, None]
    value = game.agents["flexible_value"]
    # Discrete bids are at the step below the value.
    bid = value if actions == "box" else game.feed_in + np.floor((np.minimum(value, 0.32) - 0.08) / 0.06) * 0.06
    buys = inelastic > made
    clearly = np.abs(bid - price) > 2e-3
    served_share = served / flexible
    assert_allclose(served_share[buys & clearly & (bid > price)], 1, atol=1e-4)
    # Of those who have to buy it: what is left of a surplus serves it in any case.
    assert_allclose(served_share[buys & clearly & (bid < price)], 0, atol=1e-4)
    assert_allclose(served_share[made > inelastic + flexible], 1, atol=1e-4)
    assert (buys & clearly & (bid > price)).any()


def test_self_consumption_covers_own_demand_and_stores_own_surplus():
    game = market(orders="step", first_day=200)
    record = record_days(game, SelfConsumption(game), n_worlds=1)
    inelastic, flexible, made = data_of(game)
    net = inelastic + flexible - made
    agents = game.agents
    capacity, power = agents["capacity"].astype(float), agents["power"].astype(float)
    stored = record.charge[0, :-1] * capacity
    covers = np.minimum(np.minimum(np.maximum(net, 0), power), stored * game.efficiency)
    assert_allclose(record.account("discharge")[0], covers, atol=1e-4)
    takes = np.minimum(np.minimum(np.maximum(-net, 0), power), (capacity - stored) / game.efficiency)
    assert_allclose(record.account("charge")[0], takes, atol=1e-4)
    assert covers.max() > 0.5
    assert takes.max() > 0.5


def test_self_consumption_with_discrete_actions_sells_no_charge_and_buys_none():
    game = market(n_agents=200, actions="discrete", orders="step", first_day=246)
    record = record_days(game, SelfConsumption(game), n_worlds=1)
    inelastic, flexible, made = data_of(game)
    net = inelastic + flexible - made
    between = (record.price[0] > game.feed_in + 1e-3) & (record.price[0] < game.retail - 1e-3)
    assert between.any()
    delivered, drawn = record.account("discharge")[0][between], record.account("charge")[0][between]
    assert (delivered <= np.maximum(net[between], 0) + 1e-4).all()
    surplus = np.maximum(made - inelastic, 0)[between]
    assert (np.where(drawn > 0, drawn + record.account("flexible")[0][between], 0) <= surplus + 1e-4).all()
    assert delivered.max() > 0.1
    assert drawn.max() > 0.1


@pytest.mark.parametrize("policy", [Idle, SelfConsumption])
def test_rules_of_thumb_are_for_the_market(policy):
    with pytest.raises(TypeError, match="game must be an EnergyMarket, got Epidemic"):
        policy(make("Epidemic-v0", n_agents=4))


def random_table(game, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(30, 0.3), game.policy_shape[:2])


@pytest.fixture(scope="module")
def binned():
    return BinnedEnergyMarketV0(n_agents=40, n_bins=5, day=100, groups_per_type=2)


def observations_of(game, charge, elapsed):
    rows = np.zeros((game.n_agents, game.n_features), np.float32)
    rows[:, 5], rows[:, 7] = charge, elapsed
    return rows


@pytest.mark.parametrize(
    ("charge", "lower", "above"), [(0.5, 2, 0.0), (0.3125, 1, 0.25), (1.0, 4, 0.0), (0.0, 0, 0.0)]
)
def test_laws_between_bins(binned, charge, lower, above):
    table, time = random_table(binned), 7
    policy = BinnedPolicy(binned, table)
    laws = policy.action_probabilities(observations_of(binned.market, charge, time / 24))
    for agent, law in enumerate(laws):
        kind = binned.market.agents["type"][agent]
        group = binned.group_of_agent[agent]
        states = np.flatnonzero(binned.constants.group_of == group)
        if kind == STORAGE:
            expected = (1 - above) * table[time, states[lower]]
            expected = expected + (above * table[time, states[lower + 1]] if above else 0)
        else:
            (state,) = states
            expected = table[time, state]
        assert_allclose(law, expected, atol=1e-12)


def test_rows_of_some_agents_only(binned):
    policy = BinnedPolicy(binned, random_table(binned))
    rows = observations_of(binned.market, 0.6, 0.5)
    some = np.array([39, 3, 17])
    assert_array_equal(policy.action_probabilities(rows[some], some), policy.action_probabilities(rows)[some])
    with pytest.raises(ValueError, match="multiple of n_agents = 40"):
        policy.action_probabilities(rows[:3])


def test_groups_are_parts_of_a_type_by_what_flexible_load_is_worth(binned):
    agents = binned.market.agents
    for kind in range(5):
        members = np.flatnonzero(agents["type"] == kind)
        groups, worth = binned.group_of_agent[members], agents["flexible_value"][members]
        assert len(np.unique(groups)) == min(2, len(members))
        if len(np.unique(groups)) == 2:
            assert worth[groups == groups.min()].max() <= worth[groups == groups.max()].min()
            assert abs((groups == groups.min()).sum() * 2 - len(members)) <= 1


@pytest.mark.slow
def test_where_prosumers_are_alike_both_games_are_one(tmp_path, monkeypatch):
    """The return of a random policy in the market, and in the mean-field game of its image."""
    alike = dataclasses.replace(
        LAW_V0,
        annual_load_log_sd=0.0, pv_kwp=(5.0, 5.0), wind_kw=(60.0, 60.0), capacity_kwh=(8.0, 8.0),
        flexible_share=(0.2, 0.2), flexible_value=(0.2, 0.2), error_scale=(0.1, 0.1), spiky_share=0.0,
        most_weeks_shifted=0,
    )  # fmt: skip
    monkeypatch.setattr(EnergyMarketV0, "law", alike)
    MarketSeries.synthetic(3, 1, 0).save(tmp_path / "one.npz")
    image = BinnedEnergyMarketV0(n_agents=5_000, day=1, n_bins=21, series=str(tmp_path / "one.npz"))
    table = random_table(image)
    table[:, np.flatnonzero(image.constants.group_of == 2)] = table[:, :1, :]
    induced = InducedGame(image)
    limit = induced.value(table)
    found = evaluate(image.market, BinnedPolicy(image, table), n_worlds=6, seed=1).mean_return
    # Error rate 1e-8 if they agree; .02 for what 5,000 agents and 21 charges are from infinitely many.
    assert abs(found.value - limit) < 5.7 * found.standard_error + 0.02
    assert found.standard_error < 0.005


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda b: (b.market, None)), TypeError, "binned must be a BinnedEnergyMarket"),
        ((lambda b: (b, random_table(b), b)), TypeError, "market must be an EnergyMarket"),
        ((lambda b: (b, random_table(b)[:, :3])), ValueError, "policy must have shape"),
        ((lambda b: (b, random_table(b), market())), ValueError, "discrete actions and 24 steps"),
        (
            (lambda b: (b, random_table(b), market(actions="discrete", step_minutes=15))),
            ValueError,
            "24 steps of an hour, got actions 'discrete' and 96 steps of 15 minutes",
        ),
    ],
)
def test_arguments_that_are_not_allowed(binned, arguments, error, message):
    with pytest.raises(error, match=message):
        BinnedPolicy(*arguments(binned))


def test_agents_of_groups_that_are_not_there():
    few = BinnedEnergyMarketV0(n_agents=40, proportions=(1.0, 0.0, 0.0, 0.0, 0.0), n_bins=3)
    with pytest.raises(ValueError, match="got pv_0, whose group has no member"):
        BinnedPolicy(few, random_table(few), market(actions="discrete"))


def test_other_days_and_other_agents():
    image = BinnedEnergyMarketV0(n_agents=40, n_bins=3)
    other = EnergyMarketV0(n_agents=60, actions="discrete")
    engine = Engine(other, 2)
    engine.reset(0)
    laws = BinnedPolicy(image, random_table(image), other).action_probabilities(engine.observe().reshape(120, -1))
    assert_allclose(laws.sum(axis=1), 1, atol=1e-9)


TARIFFS = [(0.1, 0.5), (0.07, 0.31), (-0.05, 0.33), (0.03, 0.29), (0.123, 0.456), (1.0, 3.0)]


@pytest.mark.parametrize("policy", [Idle, SelfConsumption])
@pytest.mark.parametrize(("feed_in", "retail"), TARIFFS)
def test_prices_are_within_all_tariffs_in_spite_of_rounding(policy, feed_in, retail):
    """A price outside is an error of the engine's."""
    game = market(feed_in=feed_in, retail=retail)
    assert np.isfinite(record_days(game, policy(game), n_worlds=1).accounts).all()


@pytest.mark.parametrize("policy", [Idle, SelfConsumption])
@pytest.mark.parametrize("day", [152, 0, 360])
def test_prices_are_within_dynamic_tariffs(policy, day):
    """Day 152 has the lowest price of the series, which is the bound of the box."""
    game = market(dynamic_tariffs=True, first_day=day)
    assert np.isfinite(record_days(game, policy(game), n_worlds=1).accounts).all()
