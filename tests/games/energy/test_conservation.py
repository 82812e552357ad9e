"""Energy and money are conserved in markets with any options and constants, and amounts are not negative."""

import numpy as np
import pytest

from mfenvs import Engine
from mfenvs.games.energy.community import PEAK
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_accounts import ACCOUNTS

KINDS = [
    {},
    {"imbalance": "individual", "peak_charge": 0.4},
    {"imbalance": "ex-post", "import_limit_kw": 1.0, "peak_charge": 0.4},
    {"shift_hours": 4.0, "ev_share": 0.5, "peak_charge": 0.4, "import_limit_kw": 1.0, "n_episode_days": 2},
    {"ev_share": 0.5, "peak_charge": 0.4, "peak_of": "member", "orders": "step", "actions": "discrete"},
    {"shift_hours": 4.0, "export_limit_kw": 1.0, "peak_charge": 0.4, "orders": "linear"},
    {"prices": "one", "shift_hours": 4.0, "imbalance": "pooled", "peak_charge": 0.4, "peak_of": "member"},
    {"prices": "one", "imbalance": "ex-post", "orders": "step", "observations": "short"},
]
"""Options that are compiled into the rules, each value of each of them at least once."""


def drawn(kind, rng):
    """A market of these options with random constants."""
    terms = kind | {
        "n_agents": int(rng.integers(2, 30)),
        "agents_seed": int(rng.integers(2**32)),
        "proportions": tuple(rng.dirichlet(np.full(5, 0.4)).tolist()),
        "feed_in": float(rng.uniform(-0.1, 0.1)),
        "retail": float(rng.uniform(0.15, 0.6)),
        "network_charge": tuple(rng.uniform(0, 0.3, 24).tolist()),
        "dynamic_tariffs": bool(rng.random() < 0.3),
        "fee": float(rng.choice([0.0, 0.03])),
        "efficiency": float(rng.uniform(0.3, 1.0)),
        "degradation": float(rng.uniform(0.0, 0.1)),
        "initial_charge": float(rng.uniform()),
        "weather_sd": tuple(rng.uniform(0.0, 0.3, 3).tolist()),
        "width": float(rng.uniform(0.001, 0.05)),
    }
    for name in ("peak_charge", "import_limit_kw", "export_limit_kw"):
        if name in kind:
            terms[name] = float(10 ** rng.uniform(-3, 1))
    if "import_limit_kw" in kind:
        terms["export_limit_kw"] = float(10 ** rng.uniform(-3, 1))
    if "shift_hours" in kind:
        terms["shift_hours"] = float(rng.integers(1, 25))
    return EnergyMarket(**terms)


def extreme_actions(game, rng):
    """Actions of a world, often at their bounds."""
    space = game.action_space
    if game.actions == "discrete":
        return rng.integers(space.n, size=(1, game.n_agents))
    chosen = rng.uniform(space.low, space.high, (1, game.n_agents, *space.shape))
    return np.clip(np.where(rng.random(chosen.shape) < 0.3, rng.choice([-1e3, 1e3], chosen.shape), chosen),
                   space.low, space.high).astype(np.float32)  # fmt: skip


def check_a_market(game, rng, n_steps):
    """Sums are taken here, in the accounts' double precision, beside the market's own audit."""
    engine = Engine(game, keep_accounts=True)
    engine.reset(int(rng.integers(2**32)))
    peak_before = 0.0
    for time in range(min(n_steps, game.horizon)):
        signal = engine.signal[0].astype(float)
        charge = engine.states["charge"][0] * game.agents["capacity"].astype(float)
        engine.step(extreme_actions(game, rng))
        accounts = engine.accounts()[0]
        a = dict(zip(ACCOUNTS, accounts.T, strict=True))
        scale = 1e-9 * np.abs(accounts).sum()
        net = a["load"] + a["flexible"] + a["charge"] + a["ev_charge"] + a["curtailed"]
        net -= a["generation"] + a["discharge"]
        exchanged = a["imports"] - a["exports"]
        assert np.abs(net - exchanged - a["local_bought"] + a["local_sold"]).max() <= scale
        assert abs((net - exchanged).sum()) <= scale
        owed = signal[RETAIL] * a["imports"].sum() - signal[FEED_IN] * a["exports"].sum()
        assert abs((a["trade_payment"] + a["imbalance_payment"]).sum() - owed) <= scale
        assert abs(a["fee"].sum() - game.fee * (a["local_bought"] + a["local_sold"]).sum()) <= 1e2 * scale
        energies = [*ACCOUNTS[:9], "curtailed", "ev_charge", "peak_payment", "ev_penalty"]
        assert min(a[name].min() for name in energies) >= -scale
        states = engine.states[0]
        assert ((states["charge"] >= 0) & (states["charge"] <= 1)).all()
        stored = states["charge"] * game.agents["capacity"].astype(float)
        gained = game.efficiency * a["charge"] - a["discharge"] / game.efficiency
        np.testing.assert_allclose(stored - charge, gained, atol=1e-4)
        if game.traits.peak == "community":
            peak = float(engine.signal[0, PEAK]) * game.n_agents
            rise = peak - (peak_before if time % 24 else 0.0)
            assert a["peak_payment"].sum() == pytest.approx(game.peak_charge * rise, rel=1e-3, abs=1e-3)
            peak_before = peak


def test_a_few_markets_conserve():
    rng = np.random.default_rng(0)
    for _ in range(20):
        check_a_market(drawn(KINDS[0], rng), rng, 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_markets_conserve(kind):
    """Ten thousand markets, 1,250 of each kind of rules."""
    rng = np.random.default_rng(1)
    for _ in range(1250):
        check_a_market(drawn(kind, rng), rng, 12)
