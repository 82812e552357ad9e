"""The market in bins against a simulation in plain Python of its mean field, and against the market itself."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

from baselines import OnlineMirrorDescent
from mfenvs import Engine, InducedGame
from mfenvs.engine.random import ADVANCE, agent_key, step_key, student_t, uniform
from mfenvs.games.energy.binned_averages import error_excess
from mfenvs.games.energy.clearing import clear_orders
from mfenvs.games.energy.prosumer_types import LAW_V0, TYPES
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0


def binned(**constants):
    return BinnedEnergyMarketV0(**({"n_agents": 40, "n_bins": 5, "groups_per_type": 1} | constants))


def member_of(game, state):
    """Group, type, data of each hour (load, generation), parameters, charge in kWh."""
    group = int(game.constants.group_of[state])
    member = game.groups[group]
    capacity = float(member["capacity"])
    return group, member, capacity, float(game.constants.charge_of[state]) * capacity


def plan_of(game, state, action, hour):
    """What somebody wants and offers, as the specification has it, on the group's mean data."""
    group, member, capacity, stored = member_of(game, state)
    load, made = float(game.constants.load[0, hour, group]), float(game.constants.pv[0, hour, group])
    made += float(member["wind_kw"]) * float(game.constants.wind[0, hour])
    battery, rest = divmod(action, 10)
    flexible, price = divmod(rest, 5)
    battery -= 1
    limit = game.feed_in + price / 4 * (game.retail - game.feed_in)
    share = float(member["flexible_share"])
    draw = min(max(battery, 0) * capacity / 2, (capacity - stored) / game.efficiency)
    deliver = min(max(-battery, 0) * capacity / 2, stored * game.efficiency)
    wanted, need, supply = flexible * share * load, (1 - share) * load, made + deliver
    firm, spare = max(need - supply, 0), max(supply - need, 0)
    buy, sell = max(wanted + draw - spare, 0), max(spare - wanted - draw, 0)
    return {
        "need": need, "made": made, "stored": stored, "draw": draw, "deliver": deliver, "wanted": wanted,
        "firm": firm, "buy": buy, "sell": sell, "limit": limit, "member": member, "capacity": capacity,
    }  # fmt: skip


def book_of(game, mu, hour):
    """All orders of a population mu (S, A), and who made them."""
    buys, sells, makers = [], [], []
    for state in range(game.n_states):
        for action in range(30):
            if mu[state, action] > 0:
                p = plan_of(game, state, action, hour)
                buys += [(game.retail, mu[state, action] * p["firm"]), (p["limit"], mu[state, action] * p["buy"])]
                sells.append((p["limit"], mu[state, action] * p["sell"]))
                makers.append((state, action, p))
    terms = {"orders": game.orders, "n_ticks": game.n_ticks, "width": game.market.width_in_ticks}
    if game.orders == "linear":
        terms |= {"intercept": game.intercept, "slope": game.slope * len(buys + sells)}
    return clear_orders(buys, sells, feed_in=game.feed_in, retail=game.retail, **terms), makers


def result_of(game, cleared, k, mass, p):
    """Charge afterwards in kWh and reward without imbalance, of what was filled of the k-th maker's orders."""
    bought = (cleared.bought[2 * k] + cleared.bought[2 * k + 1]) / mass
    sold = cleared.sold[k] / mass
    missing = p["buy"] - cleared.bought[2 * k + 1] / mass
    wanted, draw = p["wanted"], p["draw"]
    if wanted + draw > 0:
        kept = 1 - missing / (wanted + draw)
        wanted, draw = kept * wanted, kept * draw
    undelivered = min(p["sell"] - sold, p["deliver"])
    deliver, exported = p["deliver"] - undelivered, p["sell"] - sold - undelivered
    paid = bought * (cleared.local_buy * cleared.price + (1 - cleared.local_buy) * game.retail)
    paid -= sold * (cleared.local_sell * cleared.price + (1 - cleared.local_sell) * game.feed_in)
    paid -= exported * game.feed_in
    after = p["stored"] + game.efficiency * draw - deliver / game.efficiency
    return after, p["member"]["flexible_value"] * wanted - paid - game.degradation * (draw + deliver)


def mean_of(law, function, *breaks):
    """The mean of a function of a random number, smooth but at its breaks."""
    ends = [-np.inf, *breaks, np.inf]
    parts = (integrate.quad(lambda e: function(e) * law.pdf(e), *part)[0] for part in itertools.pairwise(ends))
    return sum(parts)


def errors_of(member):
    return float(member["error_scale"]), float(member["degrees_of_freedom"])


@functools.cache
def expected_settlement(retail, feed_in, need, made, scale, nu):
    """The mean payment for the imbalance of an agent that expects to need and make so much."""

    def settled(error):
        load, generation = need * max(1 + scale * error, 0), made * max(1 - scale * error, 0)
        imbalance = load - need - generation + made
        return retail * imbalance if imbalance > 0 else feed_in * imbalance

    return mean_of(stats.t(nu), settled, -1 / scale, 0, 1 / scale)


@pytest.mark.parametrize(
    "orders", ["interpolated", *(pytest.param(orders, marks=pytest.mark.slow) for orders in ("step", "linear"))]
)
@pytest.mark.parametrize("hour", [3, 12])
def test_the_mean_field_is_that_of_the_specification(orders, hour):
    """Price, rewards and transitions at a random population, of all that is played in it."""
    game = binned(orders=orders, groups_per_type=2)
    induced = InducedGame(game)
    mu = np.random.default_rng(hour).dirichlet(np.full(game.n_states * 30, 0.2)).reshape(game.n_states, 30)
    mu = np.where(mu > 1e-4, mu, 0)
    mu /= mu.sum()
    transitions, rewards = induced.arrays(mu, hour)
    cleared, makers = book_of(game, mu, hour)
    assert game.feed_in <= cleared.price <= game.retail
    for k, (state, action, p) in enumerate(makers):
        after, reward = result_of(game, cleared, k, mu[state, action], p)
        settled = expected_settlement(game.retail, game.feed_in, p["need"], p["made"], *errors_of(p["member"]))
        assert rewards[state, action] == pytest.approx(reward - settled, abs=3e-4, rel=1e-4)
        mean = transitions[state, action] @ game.constants.charge_of
        if p["capacity"] > 0:
            assert mean * p["capacity"] == pytest.approx(after, abs=1e-4)
        assert (transitions[state, action][game.constants.group_of != game.constants.group_of[state]] == 0).all()
        assert (transitions[state, action] > 1e-9).sum() <= 2


@pytest.mark.parametrize(("scale", "nu"), [(0.1, 4.0), (0.15, 30.0), (0.8, 2.5)])
def test_expected_excess_of_errors(scale, nu):
    law = stats.t(nu)
    plain, cut = error_excess(scale, nu)
    assert plain == pytest.approx(mean_of(law, lambda e: max(scale * e, 0), 0), rel=1e-6)
    assert cut == pytest.approx(mean_of(law, lambda e: min(max(scale * e, 0), 1), 0, 1 / scale), rel=1e-6)
    assert error_excess(0.0, nu) == (0.0, 0.0)


def test_the_end_of_the_day_settles_the_charge():
    """A full battery is paid for by the feed-in tariff, an empty one is charged at the retail tariff."""
    game = binned(n_bins=3)
    induced = InducedGame(game)
    mu = np.zeros((game.n_states, 30))
    mu[:, 10] = game.initial_distribution
    last, before = induced.arrays(mu, 23)[1], induced.arrays(mu, 22)[1]
    storage = np.flatnonzero(game.groups["type"][game.constants.group_of] == 2)
    capacity = float(game.groups["capacity"][game.constants.group_of[storage[0]]])
    half = capacity / 2
    # Idle: in an hour before nothing depends on the charge, in the last one only the end.
    assert np.ptp(before[storage, 10]) == pytest.approx(0, abs=1e-6)
    lost, gained = last[storage[0], 10] - last[storage[1], 10], last[storage[2], 10] - last[storage[1], 10]
    assert lost == pytest.approx(-game.retail * half / game.efficiency, rel=1e-4)
    assert gained == pytest.approx(game.feed_in * half * game.efficiency, rel=1e-4)


@pytest.mark.slow
def test_simulated_steps_draw_what_the_mean_field_averages():
    """By the draws themselves: bins by a uniform number, errors by a Student-t one."""
    game = binned(orders="step")
    engine, seed = Engine(game, debug=True), 5
    engine.reset(seed)
    rng = np.random.default_rng(0)
    for hour in range(4):
        states, actions = engine.states[0].copy(), rng.integers(30, size=game.n_agents)
        rewards = engine.step(actions[None])[0]
        counts = np.zeros((game.n_states, 30))
        np.add.at(counts, (states, actions), 1.0)
        cleared, makers = book_of(game, counts, hour)
        results = {
            (state, action): (*result_of(game, cleared, k, counts[state, action], p), p)
            for k, (state, action, p) in enumerate(makers)
        }
        assert engine.signal[0, 0] == pytest.approx(cleared.price, abs=1e-5)
        key = np.uint64(step_key(seed, 0, 0, hour, ADVANCE))
        for i in range(game.n_agents):
            after, reward, p = results[int(states[i]), int(actions[i])]
            own = agent_key(key, i)
            error = float(p["member"]["error_scale"]) * student_t(own, 1, p["member"]["degrees_of_freedom"])
            load, made = p["need"] * max(1 + error, 0), p["made"] * max(1 - error, 0)
            imbalance = load - p["need"] - made + p["made"]
            reward -= game.retail * imbalance if imbalance > 0 else game.feed_in * imbalance
            assert rewards[i] == pytest.approx(reward, abs=2e-4, rel=1e-4)
            if p["capacity"] > 0:
                moved = (after - p["stored"]) / p["capacity"] * (game.n_bins - 1)
                up = uniform(own, 0) < moved - np.floor(moved)
                if abs(moved - round(moved)) > 1e-4:
                    assert engine.states[0, i] == states[i] + np.floor(moved) + up


def test_groups_and_states():
    game = binned(n_agents=1000, groups_per_type=3, n_bins=7)
    assert len(game.groups) == 15
    assert game.n_states == 12 + 3 * 7
    assert game.group_sizes.sum() == pytest.approx(1)
    by_type = [game.group_sizes[game.groups["type"] == kind].sum() for kind in range(5)]
    assert_allclose(by_type, [0.4, 0.2, 0.25, 0.1, 0.05])
    assert game.initial_distribution.sum() == pytest.approx(1)
    # Means over groups are those over agents: of load on the day, in kWh per agent.
    market, days = game.market, game.market.days
    agents = market.agents
    load = agents.load_scale[:, None] * days.load[(180 + agents.shift) % days.n_days, :, agents.profile]
    assert_allclose(game.constants.load[0] @ game.group_sizes, load.mean(axis=0), rtol=1e-5)
    assert game.state_name(0) == "consumer group 0"
    assert binned().state_name(2) == f"{TYPES[2]}, charge 0.00"


def test_groups_have_the_degrees_of_freedom_of_the_markets_law():
    game = binned(n_agents=41, law=dataclasses.replace(LAW_V0, nu=6.0, aggregate_nu=20.0))
    assert_allclose(game.groups["degrees_of_freedom"], np.where(game.groups["type"] == 3, 20, 6))


@pytest.mark.slow
def test_mirror_descent_finds_its_equilibrium():
    game = binned(n_agents=1000)
    trainer = OnlineMirrorDescent(game, learning_rate=0.5)
    trainer.learn(600)
    induced = InducedGame(game)
    uniform_policy = induced.uniform_policy()
    assert induced.exploitability(trainer.policy.probabilities) < 1e-3
    assert induced.exploitability(uniform_policy) > 1


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"n_bins": 1}, r"n_bins must be an integer in \[2, 10000\], got 1"),
        ({"groups_per_type": 0}, r"groups_per_type must be an integer in \[1, 1000\], got 0"),
        ({"day": 363}, r"day must be an integer in \[0, 362\], got 363"),
        ({"orders": "best"}, "orders must be one of"),
        ({"retail": 0.01}, "retail must be at least 8e-06 EUR/kWh above feed_in"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        binned(**constants)
