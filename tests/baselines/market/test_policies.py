"""Rules of thumb against what they are meant to do, and binned policies where the two games are one."""

import dataclasses
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from baselines.market.policies import BinnedPolicy, EveningRule, Idle, SelfConsumption
from mfenvs import Engine, InducedGame, evaluate, make
from mfenvs.energy.outcomes import realised_welfare
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.observations import (
    CAPACITY_SEEN,
    CHARGE_SEEN,
    COSINE_SEEN,
    ELAPSED_SEEN,
    FEED_IN_SEEN,
    NET_SEEN,
    RETAIL_SEEN,
    SHARE_SEEN,
    SINE_SEEN,
    VALUE_SEEN,
)
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


@pytest.fixture(scope="module")
def rules():
    """The evening rule of version 1, whose tariff is highest from 17 to 21 h, .40 EUR/kWh, and .32 at the end."""
    return {actions: EveningRule(EnergyMarket(n_agents=40, actions=actions)) for actions in ("box", "discrete")}


def row_of(step, net, charge, retail, capacity=10.0):
    """An observation; ``net`` are the forecasts of four hours. Flexible load is worth .2 EUR/kWh."""
    row = np.zeros((1, 30), np.float32)
    angle = 2 * np.pi * step / 24
    row[0, SINE_SEEN], row[0, COSINE_SEEN] = 0.5 + 0.5 * np.sin(angle), 0.5 + 0.5 * np.cos(angle)
    row[0, CHARGE_SEEN], row[0, CAPACITY_SEEN] = charge, capacity / (10 + capacity)
    row[0, VALUE_SEEN] = 0.5 * (WORTH - 0.08) / (retail - 0.08)
    forecasts = ((NET_SEEN + 1 + 3 * ahead, kwh, 2.0) for ahead, kwh in enumerate(net))
    for at, value, scale in ((FEED_IN_SEEN, 0.08, 0.2), (RETAIL_SEEN, retail, 0.2), *forecasts):
        row[0, at] = 0.5 + 0.5 * value / (scale + abs(value))
    return row


DEAR = 0.4
"""A retail tariff above what energy costs to replace, EUR/kWh."""
REPLACEMENT = 0.32 / 0.95**2 + 0.01
WORTH = 0.2
EVENING_CASES = {
    # Step, net demands, charge, retail tariff; battery and its price in a Box; steps of both with discrete ones.
    "a surplus is stored by day": (12, [-3, 0, 0, 0], 0.5, 0.32, (0.6, 0.08), (1, 0)),
    "as far as the power goes": (12, [-9, 0, 0, 0], 0.5, 0.32, (1, 0.08), (1, 0)),
    "a small one not with discrete actions": (12, [-2, 0, 0, 0], 0.5, 0.32, (0.4, 0.08), (0, 0)),
    "but not in the evening": (18, [-3, 0, 0, 0], 0.0, 0.32, (0, 0.08), (0, 0)),
    # 9.5 kWh can be delivered: a quarter in this hour, of which 1 kWh for the owner.
    "a dear evening's first hour": (17, [1, 1, 1, 1], 1.0, DEAR, (-2.375 / 5, REPLACEMENT), (-1, 4)),
    "a dear evening's last hour": (20, [1, 1, 1, 1], 1.0, DEAR, (-1, REPLACEMENT), (-1, 3)),
    "the owner's demand is covered first": (17, [4, 1, 1, 1], 1.0, DEAR, (-0.8, DEAR), (-1, 4)),
    # Beyond the first charge are 3 kWh, which deliver 2.85, or .7125 an hour.
    "a cheap evening leaves the first charge": (17, [1, 1, 1, 1], 0.8, 0.32, (-0.2, 0.32), (-1, 4)),
    "and sells beyond it at any price": (17, [0.1, 1, 1, 1], 0.8, 0.32, (-0.7125 / 5, 0.08), (-1, 4)),
    "nothing is beyond it": (17, [1, 1, 1, 1], 0.5, 0.32, (0, 0.08), (0, 2)),
    # A surplus of 2 kWh gives back 2 x .95^2.
    "the morning uses what will be refilled": (7, [2, -1, -1, 1], 0.5, 0.32, (-0.361, 0.32), (-1, 4)),
    "and nothing else": (7, [2, 1, 1, 1], 1.0, 0.32, (0, 0.08), (0, 2)),
    "the night uses what is beyond it": (22, [1.5, 1, 1, 1], 0.6, 0.32, (-0.19, 0.32), (-1, 4)),
}


@pytest.mark.parametrize("case", EVENING_CASES)
def test_the_evening_rule_worked_by_hand(rules, case):
    step, net, charge, retail, box, discrete = EVENING_CASES[case]
    row = row_of(step, net, charge, retail)
    assert_allclose(rules["box"].predict(row)[0], [[*box, 1, WORTH]], atol=1e-4)
    (action,), _ = rules["discrete"].predict(row)
    assert action == ((discrete[0] + 1) * 2 + 1) * 5 + discrete[1]


def test_the_evening_rule_without_a_battery(rules):
    row = row_of(18, [1, 1, 1, 1], 0.0, DEAR, capacity=0.0)
    assert_allclose(rules["box"].predict(row)[0], [[0, 0.08, 1, WORTH]], atol=1e-4)


@pytest.mark.parametrize(
    ("case", "price"),
    [
        ("a surplus is stored by day", 0.08),
        ("and sells beyond it at any price", 0.08),
        ("a dear evening's last hour", REPLACEMENT),
        ("a cheap evening leaves the first charge", WORTH),
    ],
)
def test_the_evening_rule_with_one_limit_price(case, price):
    step, net, charge, retail, box, _ = EVENING_CASES[case]
    rule = EveningRule(EnergyMarket(n_agents=40, prices="one"))
    assert_allclose(rule.predict(row_of(step, net, charge, retail))[0], [[box[0], 1, price]], atol=1e-4)


@pytest.mark.parametrize("actions", ["box", "discrete"])
@pytest.mark.parametrize(
    ("step", "need", "steps_left", "is_charged"),
    [
        (16, 12.0, 15, True),
        (16, 0.0, 15, False),
        (18, 12.0, 13, False),
        # After the evening's 3 hours 2 are left, the last one in part, enough for 8 kWh of 4 kW.
        (18, 7.9, 5, False),
        (18, 7.9, 4.5, False),
        (18, 8.1, 5, True),
        (18, 4.1, 4, True),
        (21, 8.0, 10, True),
    ],
)
def test_vehicles_wait_for_the_end_of_the_evening(actions, step, need, steps_left, is_charged):
    rule = EveningRule(EnergyMarket(n_agents=40, actions=actions, ev_share=0.5))
    row = np.concatenate([row_of(step, [1, 1, 1, 1], 0.5, DEAR), np.zeros((1, 17), np.float32)], axis=1)
    row[0, 44:] = need / (10 + need), 4 / (10 + 4), steps_left / 24
    (action,), _ = rule.predict(row)
    (usual,), _ = Idle(EnergyMarket(n_agents=40, actions=actions, ev_share=0.5)).predict(row)
    if actions == "box":
        assert_allclose(action[4:], [is_charged, DEAR], atol=1e-6)
        assert usual[4] == (need > 0)
    else:
        assert action // 5 % 2 == is_charged
        assert usual // 5 % 2 == (need > 0)
        assert usual % 5 == (4 if need > 0 else 1)


def test_forecasts_of_hours_are_spread_over_their_quarters():
    """A surplus of 4 kWh in an hour is 1 kWh in each quarter, of 1.25 kWh that the battery can take up."""
    row = row_of(12, [-4, 0, 0, 0], 0.5, 0.32)
    for game, power in (
        (EnergyMarket(n_agents=40, step_minutes=15), 0.8),
        (EnergyMarketV0(n_agents=40, step_minutes=15), 1.0),
    ):
        assert EveningRule(game).predict(row)[0][0, 0] == pytest.approx(power, abs=1e-4)


def test_the_evening_is_when_tariffs_are_high_or_else_demand(rules):
    """With a flat tariff, against the net demand of all members on all days."""
    assert np.flatnonzero(rules["box"].evening).tolist() == [17, 18, 19, 20]
    game = market()
    net = np.zeros(24)
    for day in range(game.days.n_days):
        inelastic, flexible, made = data_of(dataclasses.replace(game, first_day=day))
        net += (inelastic + flexible - made).sum(axis=1)
    assert set(np.flatnonzero(EveningRule(game, hours=5).evening)) == set(np.argsort(net)[-5:])
    dynamic = market(dynamic_tariffs=True)
    dearest = np.argsort(game.days.price.mean(axis=0))[-2:]
    assert set(np.flatnonzero(EveningRule(dynamic, hours=2).evening)) == set(dearest)
    quarters = EveningRule(market(step_minutes=15), hours=0.5)
    assert quarters.evening.shape == (96,)
    assert quarters.evening.sum() == 2
    # Of the evening's hours with the highest tariff those with the highest demand.
    assert set(np.flatnonzero(EveningRule(EnergyMarket(n_agents=40), hours=2).evening)) < {17, 18, 19, 20}
    for hours in (0, 0.5, 24, math.nan, "4"):
        with pytest.raises((TypeError, ValueError), match="hours must"):
            EveningRule(game, hours)


@pytest.mark.slow
@KINDS
def test_the_evening_rule_is_worth_more_than_self_consumption_and_that_more_than_idle_batteries(actions):
    """In version 1, on the same six days."""
    game = EnergyMarket(n_agents=300, actions=actions)
    welfare = [
        realised_welfare(record_days(game, policy(game), n_worlds=6, seed=2))
        for policy in (Idle, SelfConsumption, EveningRule)
    ]
    idle, own, evening = (days.sum() for days in welfare)
    assert idle < own < evening
    assert evening - own > 0.5 * (own - idle)


@pytest.mark.parametrize("policy", [Idle, SelfConsumption, EveningRule])
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
    policy = BinnedPolicy(binned, table, truthful=False)
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


@pytest.mark.parametrize(
    ("net", "share", "rests_with"),
    [(-1.0, 0.2, 15), (1.0, 0.2, 17), (-1.0, 0.0, 10), (1.0, 0.0, 12)],
)
def test_where_batteries_rest_bids_are_true(binned, net, share, rests_with):
    """Surplus is at the lowest price step; flexible load worth .2 EUR/kWh at the middle one, if there is any."""
    table = random_table(binned)
    rows = np.repeat(row_of(7, [net, 0, 0, 0], 0.5, 0.32), 40, axis=0)
    rows[:, ELAPSED_SEEN], rows[:, SHARE_SEEN] = 7 / 24, share
    told = BinnedPolicy(binned, table).action_probabilities(rows)
    laws = BinnedPolicy(binned, table, truthful=False).action_probabilities(rows)
    assert_allclose(told[:, :10], laws[:, :10])
    assert_allclose(told[:, 20:], laws[:, 20:])
    assert_allclose(told[:, rests_with], laws[:, 10:20].sum(axis=1))
    assert_allclose(told.sum(axis=1), 1)


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
    found = evaluate(image.market, BinnedPolicy(image, table, truthful=False), n_worlds=6, seed=1).mean_return
    # Error rate 1e-8 if they agree; .02 for what 5,000 agents and 21 charges are from infinitely many.
    assert abs(found.value - limit) < 5.7 * found.standard_error + 0.02
    assert found.standard_error < 0.005


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda b: (b.market, None)), TypeError, "binned must be a BinnedEnergyMarket"),
        ((lambda b: (b, random_table(b), b)), TypeError, "market must be an EnergyMarket"),
        ((lambda b: (b, random_table(b)[:, :3])), ValueError, "policy must have shape"),
        (
            (lambda b: (b, random_table(b), EnergyMarket(n_agents=40, actions="discrete", ev_share=0.5))),
            ValueError,
            "market must have no electric vehicles, got ev_share=0.5",
        ),
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


def test_whether_bids_are_true_is_a_boolean(binned):
    with pytest.raises(TypeError, match="truthful must be"):
        BinnedPolicy(binned, random_table(binned), truthful=1)


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


@pytest.mark.parametrize("policy", [Idle, SelfConsumption, EveningRule])
@pytest.mark.parametrize(("feed_in", "retail"), TARIFFS)
def test_prices_are_within_all_tariffs_in_spite_of_rounding(policy, feed_in, retail):
    """A price outside is an error of the engine's."""
    game = market(feed_in=feed_in, retail=retail)
    assert np.isfinite(record_days(game, policy(game), n_worlds=1).accounts).all()


@pytest.mark.parametrize("policy", [Idle, SelfConsumption, EveningRule])
@pytest.mark.parametrize("day", [152, 0, 360])
def test_prices_are_within_dynamic_tariffs(policy, day):
    """Day 152 has the lowest price of the series, which is the bound of the box."""
    game = market(dynamic_tariffs=True, first_day=day)
    assert np.isfinite(record_days(game, policy(game), n_worlds=1).accounts).all()
