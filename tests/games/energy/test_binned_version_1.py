"""Version 1 of the market in bins: its mean field against plain Python, imbalances as their expectations."""

import itertools
import types

import numpy as np
import pytest
from energy_market_oracle import BUYS, SELLS, Home, clear, order
from numpy.testing import assert_allclose
from scipy import integrate, stats

import mfenvs
from mfenvs import InducedGame
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0

LIMITS = {"import_limit_kw": 0.3, "export_limit_kw": 0.02}


def binned(**constants):
    return BinnedEnergyMarket(**({"n_agents": 40, "n_bins": 5, "groups_per_type": 1} | constants))


def expected(member, function):
    """The mean of a function of the relative forecast error, with breaks at -1, 0 and 1."""
    law = stats.t(float(member["degrees_of_freedom"]), scale=float(member["error_scale"]))
    ends = [-np.inf, -1.0, 0.0, 1.0, np.inf]
    return sum(
        integrate.quad(lambda e: function(e) * law.pdf(e), low, high)[0] for low, high in itertools.pairwise(ends)
    )


def gap(load, made, error):
    return load * (max(1 + error, 0) - 1) - made * (max(1 - error, 0) - 1)


def homes_of(game, mu, hour):
    """What each state and action of a population wants and orders, for its mass."""
    terms, homes = game.constants, {}
    feed_in, retail = float(terms.feed_in[hour]), float(terms.retail[hour])
    for state, action in zip(*np.nonzero(mu), strict=True):
        group = int(terms.group_of[state])
        member = game.groups[group]
        battery, rest = divmod(int(action), 10)
        flexible, level = divmod(rest, 5)
        price = feed_in + level / 4 * (retail - feed_in)
        load, made = float(terms.load[0, hour, group]), float(terms.pv[0, hour, group])
        share, capacity = float(member["flexible_share"]), float(member["capacity"])
        stored, power = float(terms.charge_of[state]) * capacity, float(member["power"])
        draw = min(max(battery - 1, 0) * power, (capacity - stored) / game.efficiency)
        deliver = min(max(1 - battery, 0) * power, stored * game.efficiency)
        home = Home((1 - share) * load, made, flexible * share * load, 0.0, draw, deliver)
        order(home, (0, price, 0, price, 0, price), feed_in, retail)
        home.orders = {name: mu[state, action] * amount for name, amount in home.orders.items()}
        home.account = {"member": member, "stored": stored, "capacity": capacity}
        homes[state, action] = home
    return homes, feed_in, retail


@pytest.mark.slow
@pytest.mark.parametrize("terms", [{}, {"imbalance": "individual"}, LIMITS], ids=str)
@pytest.mark.parametrize("hour", [3, 12, 18])
def test_the_mean_field_is_that_of_the_specification(terms, hour):
    """Rewards and transitions at a random population, of all that is played in it."""
    game = binned(**terms)
    induced = InducedGame(game)
    mu = np.random.default_rng(hour).dirichlet(np.full(game.n_states * 30, 0.2)).reshape(game.n_states, 30)
    mu = np.where(mu > 1e-4, mu, 0)
    mu /= mu.sum()
    transitions, rewards = induced.arrays(mu, hour)
    homes, feed_in, retail = homes_of(game, mu, hour)
    unit = types.SimpleNamespace(n_agents=1, days=types.SimpleNamespace(step_hours=1.0))
    for name in (
        "orders",
        "n_ticks",
        "width_in_ticks",
        "intercept",
        "slope",
        "import_limit_kw",
        "export_limit_kw",
    ):
        setattr(unit, name, getattr(game.market, name))
    price, bought, sold = clear(unit, list(homes.values()), feed_in, retail)
    local_buy, local_sell = min(bought, sold) / bought, min(bought, sold) / sold if sold > 0 else 0.0
    short, surplus = {}, {}
    for (state, action), home in homes.items():
        made, load, member = home.made, home.need, home.account["member"]
        short[state, action] = expected(member, lambda e, a=load, b=made: max(gap(a, b, e), 0))
        surplus[state, action] = expected(member, lambda e, a=load, b=made: max(-gap(a, b, e), 0))
    total_short = sum(mu[at] * short[at] for at in homes)
    total_surplus = sum(mu[at] * surplus[at] for at in homes)
    matched = 0.0 if game.imbalance == "individual" else min(total_short, total_surplus)
    assert game.imbalance == "individual" or matched > 0.01
    for (state, action), home in homes.items():
        mass, done, lacks = mu[state, action], home.filled, home.orders
        kept = {name: (lacks[name] - done[name]) / mass for name in (*BUYS, *SELLS)}
        flexible, draw = home.flexible - kept["flexible"], home.draw - kept["draw"]
        deliver = home.deliver - kept["sell"]
        bought, sold = (sum(done[name] for name in side) / mass for side in (BUYS, SELLS))
        paid = bought * (local_buy * price + (1 - local_buy) * retail)
        paid -= sold * (local_sell * price + (1 - local_sell) * feed_in)
        for amount, share, tariff in (
            (short[state, action], matched / total_short, retail),
            (-surplus[state, action], matched / total_surplus, feed_in),
        ):
            paid += amount * (share * price + (1 - share) * tariff)
        reward = float(home.account["member"]["flexible_value"]) * flexible - paid
        reward -= game.degradation * (draw + deliver)
        assert rewards[state, action] == pytest.approx(reward, abs=4e-4, rel=2e-4)
        if home.account["capacity"] > 0:
            after = home.account["stored"] + game.efficiency * draw - deliver / game.efficiency
            mean = transitions[state, action] @ game.constants.charge_of
            assert mean * home.account["capacity"] == pytest.approx(after, abs=2e-4)
    if terms == LIMITS:
        exchanged = sum(home.filled[name] for home in homes.values() for name in BUYS)
        exchanged -= sum(home.filled[name] for home in homes.values() for name in SELLS)
        firm = sum(home.filled["need"] for home in homes.values())
        assert exchanged <= max(0.3, firm) + 1e-9
        assert exchanged >= -0.02 - 1e-9


def test_versions():
    old, new = mfenvs.make("BinnedEnergyMarket-v0"), mfenvs.make("BinnedEnergyMarket-v1")
    assert (type(old), type(new)) == (BinnedEnergyMarketV0, BinnedEnergyMarket)
    assert type(old.market) is EnergyMarketV0
    assert (old.imbalance, new.imbalance) == ("individual", "pooled")
    assert_allclose(old.constants.retail, 0.32, rtol=1e-6)
    assert_allclose(new.constants.retail, new.market.tariffs.retail[180], rtol=1e-6)
    assert mfenvs.make("BinnedEnergyMarket-v1", **new.describe()).describe() == new.describe()


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"imbalance": "ex-post"}, "imbalance must be 'pooled' or 'individual' in a binned market"),
        ({"imbalance": "none"}, "imbalance must be one of 'pooled', 'individual', 'ex-post', got 'none'"),
        ({"prices": "one", "import_limit_kw": 1.0}, "prices must be 'separate' in a market with import_limit_kw"),
    ],
)
def test_constants_that_are_not_allowed(constants, message):
    with pytest.raises(ValueError, match=message):
        binned(**constants)
