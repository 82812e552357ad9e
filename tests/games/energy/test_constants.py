"""Constants of the energy markets: what is accepted is kept as a plain number and can be played."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mfenvs import Engine
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.actions import within_unit
from mfenvs.games.energy.clearing import PRICE
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.market_rules import place
from mfenvs.games.energy.prosumer_types import PROPORTIONS, PROPORTIONS_V0, ProsumerLaw
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0

SMALL = {
    EnergyMarketV0: {"n_agents": 9, "horizon": 3},
    BinnedEnergyMarketV0: {"n_agents": 9, "horizon": 3, "n_bins": 3, "groups_per_type": 1},
}
BOTH = pytest.mark.parametrize("game_class", [EnergyMarketV0, BinnedEnergyMarketV0])


def play(game, n_steps=3):
    """Rewards and public signals of random actions in two worlds."""
    engine, rng = Engine(game, 2), np.random.default_rng(0)
    engine.reset(0)
    rewards, signals = [], []
    for _ in range(n_steps):
        shape, space = (2, game.n_agents), game.action_space
        if hasattr(space, "n"):
            actions = rng.integers(space.n, size=shape)
        else:
            drawn = rng.uniform(space.low, space.high, (*shape, 3)).astype(np.float32)
            actions = np.clip(drawn, space.low, space.high)
        rewards.append(engine.step(actions).copy())
        signals.append(engine.signal.copy())
        observed = engine.observe()
        assert ((observed >= 0) & (observed <= 1)).all()
    return np.array(rewards), np.array(signals)


# Anything may be given.

ODD = [
    None, True, False, "", "x", "24", b"1", (), [], {}, object(), 1j, math.nan, math.inf, -math.inf,
    1e308, -1e308, 1e39, 1e-39, 1e-300, 5e-324, -1e-9, 0, -0.0, 1, 2, 3, -1, 0.5, 1.0, 60.0, 2**31, 2**63, 2**70,
    np.uint8(0), np.uint8(1), np.uint8(24), np.uint8(60), np.int8(-1), np.int16(5), np.float16(0.25),
    np.float32(0.3), np.float64(0.3), np.bool_(True), np.array(0.3), np.array(3), np.array([1, 2]),
    np.zeros((2, 2)), (1, 1, 1, 1, 1), (1e308,) * 5, (1e-320,) * 5, (5e-324, 0, 0, 0, 0), [0, 0, 0, 0, 1],
    np.full(5, 60, np.uint8), (math.nan,) * 5, "abcde", (1, 2), "box", "discrete", "step",
    "village", "synthetic", "\0", "x" * 5000,
]  # fmt: skip


@BOTH
@settings(max_examples=100)
@given(data=st.data())
def test_odd_constants_are_refused_by_name_or_can_be_played(game_class, data):
    names = [field.name for field in dataclasses.fields(game_class)]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    odd = {name: ODD[data.draw(st.integers(0, len(ODD) - 1))] for name in chosen}
    try:
        game, refusal = game_class(**(SMALL[game_class] | odd)), ""
    except (TypeError, ValueError) as error:
        game, refusal = None, str(error)
    if game is None:
        assert any(name in refusal for name in odd), refusal
        return
    for name in names:
        assert type(getattr(game, name)) in (int, float, bool, str, tuple, type(None), ProsumerLaw), name
    rewards, signals = play(game, min(3, game.horizon))
    assert np.isfinite(rewards).all()
    assert np.isfinite(signals).all()
    assert np.abs(rewards).max() < 1e7


@BOTH
def test_every_constant_refuses_what_is_no_number(game_class):
    for field in dataclasses.fields(game_class):
        for value in (math.nan, object(), [], -1j):
            if field.name == "excluded_days" and value == []:
                continue  # There may be none.
            with pytest.raises((TypeError, ValueError), match=field.name):
                game_class(**{field.name: value})


# Small integers of numpy.


@BOTH
@pytest.mark.parametrize("orders", ["interpolated", "step"])
def test_small_numpy_integers_are_kept_as_integers(game_class, orders):
    """In eight bits 255 + 1 is 0, and so would be the number of levels."""
    small = SMALL[game_class] | {"orders": orders, "n_ticks": 255}
    as_bytes = {name: np.uint8(value) if isinstance(value, int) else value for name, value in small.items()}
    game = game_class(**as_bytes)
    assert game.describe() == game_class(**small).describe()
    assert all(type(value) is not np.uint8 for value in game.describe().values())
    assert_array_equal(play(game)[0], play(game_class(**small))[0])


def test_numbers_of_other_kinds_are_kept_as_pythons():
    game = EnergyMarketV0(
        n_agents=np.int16(9),
        step_minutes=np.uint8(60),
        first_day=np.uint8(200),
        n_days=np.uint8(100),
        efficiency=np.float32(0.5),
        proportions=np.ones(5, np.uint8),
        dynamic_tariffs=np.bool_(False),
        orders=np.str_("step"),
    )
    assert (game.horizon, game.n_days, game.proportions) == (24, 100, (1.0,) * 5)
    kinds = {type(value) for value in game.describe().values()}
    assert kinds == {int, float, bool, str, tuple, type(None), dict}  # the law's fields are a dict


# Tariffs.

NEARLY_EQUAL = [
    {"feed_in": 100, "retail": 100.000001, "width": 1e-6},
    {"feed_in": 0.3, "retail": 0.30000001, "width": 1e-9},
    {"feed_in": 0.0, "retail": 1e-9, "width": 1e-9},
    {"feed_in": 0.08, "retail": 0.08 + 1e-9, "width": 1e-9, "dynamic_tariffs": True},
]


@BOTH
@pytest.mark.parametrize("tariffs", NEARLY_EQUAL)
def test_tariffs_that_are_equal_in_single_precision_are_refused(game_class, tariffs):
    with pytest.raises(ValueError, match=r"retail must be at least .* EUR/kWh above feed_in"):
        game_class(**SMALL[game_class], **tariffs)


@BOTH
@pytest.mark.parametrize(
    "tariffs",
    [
        {"feed_in": 100, "retail": 100.0101, "width": 1e-9},
        {"feed_in": -1000, "retail": 1000, "width": 2000},
        {"feed_in": 0.0, "retail": 1.01e-6, "width": 1e-6},
        {"feed_in": 0.08, "retail": 0.08 + 5e-5, "width": 1e-9, "dynamic_tariffs": True},
    ],
)
def test_tariffs_that_are_as_close_or_as_far_as_allowed_are_played(game_class, tariffs):
    game = game_class(**SMALL[game_class], **tariffs)
    rewards, signals = play(game)
    assert np.isfinite(rewards).all()
    if game_class is EnergyMarketV0:
        # The price was cleared between the tariffs of the step before.
        feed_in, retail = game.constants.feed_in, game.constants.retail
        assert (feed_in < retail).all()
        assert (signals[:, :, PRICE] >= feed_in.min()).all()
        assert (signals[:, :, PRICE] <= retail.max()).all()
        assert (signals[:, :, FEED_IN] < signals[:, :, RETAIL]).all()


def test_no_index_is_made_of_nan():
    nan = np.float32(math.nan)
    assert within_unit(nan) == 0
    assert [float(within_unit(np.float32(x))) for x in (-1, 0.25, 2, math.inf)] == [0, 0.25, 1, 1]
    state = np.zeros(1, EnergyMarketV0.state_dtype)
    state["type"], state["charge"] = 2, nan
    assert place(state[0]) == 2


# Extremes.


@BOTH
def test_the_least_efficiency_is_played(game_class):
    game = game_class(**SMALL[game_class], efficiency=0.01)
    assert np.isfinite(play(game)[0]).all()
    with pytest.raises(ValueError, match=r"efficiency must be a finite number in \[0.01, 1\], got 1e-300"):
        game_class(**SMALL[game_class], efficiency=1e-300)


@BOTH
@pytest.mark.parametrize("proportions", [3, None, 0.5])
def test_proportions_are_one_for_each_type(game_class, proportions):
    with pytest.raises(TypeError, match=f"proportions must hold a share >= 0 of each of .*, got {proportions}"):
        game_class(proportions=proportions)


# Series and laws of the agents' parameters.


@pytest.mark.parametrize(
    ("change", "terms", "message"),
    [
        ({"pv": 1e30}, {}, "series must have at most 1e.06 kWh per kW of pv in a step, got 1e.30"),
        ({"wind": 1e30}, {}, "series must have at most 1e.06 kWh per kW of wind in a step, got 1e.30"),
        (
            {"load": 0.0},
            {},
            r"series must have a load of at least .* in every profile, got 0 in profile 1",
        ),
        (
            {"price": -1e30},
            {"dynamic_tariffs": True},
            r"series must have prices in \[-1000, 1000\] .* -1e.30",
        ),
    ],
)
def test_series_that_cannot_be_played(tmp_path, change, terms, message):
    series = MarketSeries.synthetic(3, 2, 0)
    for name, value in change.items():
        array = np.array(getattr(series, name))
        array[..., -1] = value
        if name == "load":
            array[..., :] = np.array([1.0, 0.0])
        series = dataclasses.replace(series, **{name: array})
    series.save(tmp_path / "odd.npz")
    with pytest.raises(ValueError, match=message):
        EnergyMarketV0(n_agents=5, series=str(tmp_path / "odd.npz"), **terms)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"c_rate": math.nan}, ValueError, "the law's c_rate must be a finite number"),
        ({"capacity_kwh": (5.0, 2.0)}, ValueError, "the upper bound of the law's capacity_kwh must be"),
        ({"capacity_kwh": (-5.0, 2.0)}, ValueError, "the lower bound of the law's capacity_kwh must be"),
        ({"pv_kwp": 5.0}, TypeError, "the law's pv_kwp must be a pair of bounds, got 5.0"),
        ({"nu": 1.0}, ValueError, r"the law's nu must be a finite number in \(1, 1e\+06\], got 1.0"),
        ({"most_weeks_shifted": 1.5}, TypeError, "the law's most_weeks_shifted must be an integer"),
    ],
)
def test_laws_that_are_not_allowed(change, error, message):
    with pytest.raises(error, match=message):
        ProsumerLaw(**change)


def test_default_proportions():
    assert EnergyMarketV0().proportions == PROPORTIONS_V0
    assert EnergyMarket().proportions == PROPORTIONS
