"""Markets of one's own: members of a table, laws, series in memory and tariff schedules, by hand."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.members import Member
from mfenvs.energy.merit import grid_exchange, grid_figures
from mfenvs.energy.outcomes import planning_problem
from mfenvs.energy.record import record_days
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tariffs import ByHour, DayAhead, Period, TimeOfUse
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.observations import ELAPSED_SEEN
from mfenvs.games.energy.prosumer_types import LAW, ProsumerLaw, draw_prosumers
from mfenvs.games.energy.version_0 import BinnedEnergyMarketV0, EnergyMarketV0

MEMBERS = {
    "type": ["storage", "consumer", "pv", "consumer", "commercial"],
    "annual_load_kwh": [4000, 3000, None, 2500, 20_000],
    "load": [None, "b", "a", None, "b"],
    "pv_kwp": [8, None, 5, None, None],
    "battery_kwh": [10, None, None, None, None],
}


def series(n_days=3, steps=24):
    """Loads a and b of 1 and 2 kWh an hour, the sun from 10:00 to 14:00, prices rising from .00 to .23."""
    shape = (n_days, steps)
    hours = np.arange(steps) * 24 / steps
    load = np.ones((*shape, 2)) * [1, 2] * 24 / steps
    sun = np.broadcast_to((hours >= 10) & (hours < 14), shape)[..., None] * [0.5, 0.5] * 24 / steps
    return MarketSeries(
        load=load,
        pv=sun,
        wind=np.zeros(shape),
        price=np.tile(np.floor(hours) / 100, (n_days, 1)),
        co2=np.zeros(shape),
        step_hours=24 / steps,
        dates=tuple(f"2024-07-{5 + n:02d}" for n in range(n_days)),  # a Friday
        load_names=("a", "b"),
        pv_names=("roof", "roof"),
    )


def own_market(**terms):
    return EnergyMarket(**{"members": MEMBERS, "series": series(), **terms})


def test_members_make_the_agents():
    game = own_market()
    assert (game.n_agents, game.proportions, game.efficiency) == (5, (2, 1, 1, 1, 0), 0.95)
    assert game.agent_names == ["consumer_0", "consumer_1", "pv_0", "storage_0", "commercial_0"]
    yearly = game.agents["load_scale"] * game.days.load.sum((0, 1))[game.agents["profile"]] * 365 / 3
    assert_allclose(yearly, [3000, 2500, 8760, 4000, 20_000], rtol=1e-6)
    assert_allclose(game.agents["pv_kwp"], [0, 0, 5, 8, 0])
    assert_allclose(game.agents["capacity"], [0, 0, 0, 10, 0])
    assert_allclose(game.agents["power"], [0, 0, 0, 10 * LAW.c_rate, 0])
    assert_array_equal(game.agents["vehicle_energy"], 0)
    same, other = own_market(), own_market(agents_seed=1)
    assert same == game
    assert_array_equal(same.agents, game.agents)
    assert (other.agents["error_scale"] != game.agents["error_scale"]).all()
    assert_array_equal(other.agents["pv_kwp"], game.agents["pv_kwp"])


def test_a_day_of_members_is_the_series():
    """Without chance all the load and the generation are the table's, whatever is played."""
    law = ProsumerLaw(error_scale=(0.0, 0.0), flexible_share=(0.0, 0.0))
    game = own_market(law=law, weather_sd=0.0)
    record = record_days(game, n_worlds=2)
    of_day = np.array([3000, 2500, 8760, 4000, 20_000]) / 365
    assert_allclose(record.account("load").sum(axis=1), [of_day, of_day], rtol=1e-5)
    assert_allclose(record.account("generation").sum(axis=1), [[0, 0, 10, 16, 0]] * 2, rtol=1e-5)
    assert record.account("discharge")[:, :, :3].max() == 0


def test_members_with_vehicles():
    cars = [True, False, True, None, None]
    game = own_market(members={**MEMBERS, "ev": cars})
    assert game.traits.has_vehicles
    assert game.action_space.shape == (6,)
    assert_array_equal(game.agents["vehicle_energy"] > 0, [False, False, True, True, False])
    low, high = LAW.vehicle_power_kw
    assert ((game.agents["vehicle_power"][2:4] >= low) & (game.agents["vehicle_power"][2:4] <= high)).all()
    # An empty cell says no; without a column the share decides.
    assert not own_market(members={**MEMBERS, "ev": [False] * 5}, ev_share=1.0).traits.has_vehicles
    by_share = own_market(ev_share=1.0)
    assert_array_equal(by_share.agents["vehicle_energy"] > 0, [True] * 4 + [False])
    # The vehicle of a member is the one that it would have by chance.
    all_homes = own_market(members={**MEMBERS, "ev": [True] * 4 + [False]})
    for field in ("vehicle_energy", "vehicle_power", "vehicle_arrival", "vehicle_departure"):
        assert_array_equal(all_homes.agents[field], by_share.agents[field])
    some = (Member(type="pv", ev=True), Member(type="pv"))
    assert_array_equal(own_market(members=some).agents["vehicle_energy"] > 0, [True, False])
    assert own_market(members=some).traits.has_vehicles
    with pytest.raises(
        ValueError, match="prices must be 'separate' in a market with members' vehicles, got 'one'"
    ):
        own_market(members={**MEMBERS, "ev": cars}, prices="one")
    with pytest.raises(ValueError, match="members must have no electric vehicles in a binned market"):
        BinnedEnergyMarket(members={**MEMBERS, "ev": cars}, series=series(), day=0)


def test_profiles_that_members_name_are_not_drawn_by_others():
    """One member has its own pair of load and PV: the third profile. The others draw the first two."""
    given = series()
    pv = np.array(given.pv) * [1.0, 2.0]
    days = dataclasses.replace(given, pv=pv, pv_names=("x", "y"))
    members = {"type": ["pv"] * 61, "load": ["a"] + [None] * 60, "pv": ["y"] + [None] * 60}
    game = own_market(members=members, series=days)
    assert game.days.n_profiles == 3
    assert set(game.agents["profile"].tolist()) == {0, 1, 2}
    assert game.agents["profile"][0] == 2
    assert game.agents["profile"][1:].max() == 1


def test_batteries_of_members_have_efficiencies_of_their_own():
    """All charge 1 kWh and then offer all they can deliver, at any price: by hand."""
    stated = {"type": ["storage"] * 3, "efficiency": [None, 0.9, 0.5]}
    stated |= {"battery_kwh": [8.0] * 3, "battery_kw": [1.0, 1.0, 4.0]}
    game = own_market(members=stated, efficiency=0.8, weather_sd=0.0)
    assert game.agents["efficiency"] == pytest.approx([0.8, 0.9, 0.5])
    low, high = game.action_space.low[1], game.action_space.high[1]
    policy = Steps(
        [[1.0, high, 0.0, low], [1.0, high, 0.0, low], [0.25, high, 0.0, low]], [[-1.0, low, 0.0, low]] * 3
    )
    record = record_days(game, policy, n_worlds=1)
    stored = 8.0 * record.charge[0]
    assert stored[0] == pytest.approx([4.0] * 3)
    assert stored[1] == pytest.approx([4.8, 4.9, 4.5])
    assert record.account("discharge")[0, 1] == pytest.approx([1.0, 1.0, 4.5 * 0.5])
    assert stored[2] == pytest.approx([4.8 - 1 / 0.8, 4.9 - 1 / 0.9, 0.0], abs=1e-5)
    # The rest of the day everybody delivers until the battery is empty, which is refilled at the retail tariff.
    assert stored[-1] == pytest.approx([0.0] * 3, abs=1e-5)
    retail = float(game.constants.retail[record.day[0], -1])
    assert record.account("terminal")[0, -1] == pytest.approx([4 / 0.8 * retail, 4 / 0.9 * retail, 8 * retail])
    assert planning_problem(record, 0).efficiency == pytest.approx([0.8, 0.9, 0.5])
    # What goes into the stores and comes out of them, of 24 kWh; and the band that fills them again.
    assert grid_figures(record).battery_cycles[0] == pytest.approx((4.8 + 4.9 + 4.5 + 0.8 + 0.9 + 0.5) / 48)
    assert grid_exchange(record).band[0] == pytest.approx(4 / 0.8 + 4 / 0.9 + 8)


class Steps:
    """Every agent's action in the first step, and the one of all later steps."""

    def __init__(self, first, later):
        self.plans = np.array([first, later], np.float32)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return self.plans[int(observation[0, ELAPSED_SEEN] > 0)], None


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"n_agents": 6}, "n_agents must be left out or that of the members, 5, got 6"),
        ({"proportions": (1, 1, 1, 1, 1)}, "proportions must be left out or that of the members"),
        ({"preset": "village"}, "n_agents must be left out or that of the members, 5, got 17|preset"),
        ({"members": "nowhere.csv"}, "members must be a table that can be read, got 'nowhere.csv' .*No such file"),
        (
            {"members": {"type": ["pv", "pv"], "load": ["c", None]}},
            "members, row 0, column 'load': must be a name",
        ),
        ({"law": {"c_rates": 1.0}}, r"law: 'c_rates' is unknown \(did you mean 'c_rate'\?\)"),
        ({"law": 3}, "law must be a ProsumerLaw or a dict of its fields, got 3"),
        ({"law": {"c_rate": -1}}, "the law's c_rate must be"),
        (
            {"retail": DayAhead(0.05)},
            r"above feed_in = 0.08 .* got 0.05 with a network_charge of 0.02 on 2024-07-05",
        ),
        ({"retail": [0.3] * 23}, "retail: prices must hold 24 prices"),
        ({"feed_in": {"kind": "flat"}}, "feed_in: price is missing"),
        ({"network_charge": {"kind": "day"}}, "network_charge: kind must be one of"),
        (
            {"dynamic_tariffs": True, "retail": [0.3] * 24},
            "retail must be a number in a market with dynamic_tariffs",
        ),
        (
            {"series": 3},
            "series must be 'embedded', 'synthetic' or the path of a file, or be a MarketSeries, got 3",
        ),
    ],
)
def test_what_is_refused(terms, words):
    with pytest.raises((TypeError, ValueError), match=words):
        own_market(**terms)


def test_schedules_are_the_tariffs():
    peak = TimeOfUse(0.3, (Period(0.45, "17-21", "weekdays"),))
    game = own_market(retail=peak, feed_in=DayAhead(-0.02), network_charge=0.01)
    hours = np.arange(24)
    expected = np.full((3, 24), 0.31)
    expected[0, 17:21] = 0.46
    assert_allclose(game.tariffs.retail, expected)
    assert_allclose(game.tariffs.feed_in, np.tile(hours / 100 - 0.02, (3, 1)))
    assert_allclose(game.constants.retail, expected, rtol=1e-6)
    assert game.action_space.low[1] == pytest.approx(-0.02)
    assert game.action_space.high[1] == pytest.approx(0.46)
    by_hour = own_market(network_charge=ByHour([0.1] * 24, [0.05] * 24))
    assert_allclose(by_hour.tariffs.retail, 0.22 + np.array([[0.1], [0.05], [0.05]]) * np.ones(24))
    quarters = own_market(series=series(steps=96), step_minutes=15, retail=peak)
    assert_allclose(quarters.tariffs.retail[0, 67:69], [0.3 + 0.10, 0.45 + 0.18])


def test_the_flat_tariffs_of_before_are_their_schedules():
    """A number, the same number by hour, and a table of it make the same game."""
    usual = EnergyMarketV0(n_agents=20, n_days=2)
    for retail in ([0.32] * 24, np.full((363, 24), 0.32), {"kind": "flat", "price": 0.32}):
        other = EnergyMarketV0(n_agents=20, n_days=2, retail=retail)
        assert_array_equal(other.constants.retail, usual.constants.retail)
        assert other.width_in_ticks == usual.width_in_ticks == 20


def test_series_in_memory_and_by_path(tmp_path):
    series().save(tmp_path / "days.npz")
    games = [own_market(), own_market(series=tmp_path / "days.npz"), own_market(series=str(tmp_path / "days.npz"))]
    for game in games[1:]:
        assert_array_equal(game.constants.load, games[0].constants.load)
        assert_array_equal(game.agents, games[0].agents)
    assert own_market(step_minutes=15).days.steps == 96


def test_the_binned_market_of_members():
    game = BinnedEnergyMarket(members=MEMBERS, series=series(), day=1, groups_per_type=1, n_bins=3)
    assert game.n_agents == 5
    assert_allclose(game.group_sizes, [0.4, 0.2, 0.2, 0.2])
    assert game.constants.load[0].sum(0) @ game.group_sizes == pytest.approx(
        (3000 + 2500 + 8760 + 4000 + 20_000) / 365 / 5, rel=1e-5
    )


def test_laws_as_dicts():
    law = ProsumerLaw(c_rate=0.25, capacity_kwh=(4.0, 6.0))
    fields = json.loads(json.dumps({"c_rate": 0.25, "capacity_kwh": (4.0, 6.0)}))
    game = EnergyMarket(n_agents=30, law=fields, n_days=2)
    assert game.law == law
    expected = draw_prosumers(game.proportions, 30, game.days, np.random.default_rng(0), law)
    capacity = game.agents["capacity"][game.agents["capacity"] > 0]
    assert ((capacity >= 4) & (capacity <= 6)).all()
    assert_allclose(game.agents["power"], 0.25 * game.agents["capacity"], rtol=1e-6)
    assert expected.dtype == game.agents.dtype


@pytest.mark.parametrize("game_class", [BinnedEnergyMarket, BinnedEnergyMarketV0])
def test_a_described_binned_market_can_be_made_again(game_class):
    game = game_class(n_agents=6, n_bins=2, day=3, retail=TimeOfUse(0.3, [Period(0.4, hours="17-21")]))
    again = game_class(**json.loads(json.dumps(game.describe())))
    assert again == game
    assert again.describe() == game.describe()
    text = str(game.describe())
    assert "with 6 members" in text
    assert "n_bins = 2" in text
    assert "days played: 1 of 363, 08-04" in text


def test_a_described_market_can_be_made_again(tmp_path):
    series().save(tmp_path / "days.npz")
    game = own_market(
        series=tmp_path / "days.npz",
        retail=TimeOfUse(0.3, (Period(0.45, "17-21", "weekdays"),)),
        feed_in=DayAhead(-0.02),
        law=ProsumerLaw(c_rate=0.25),
    )
    again = EnergyMarket(**json.loads(json.dumps(game.describe())))
    assert again.describe() == game.describe()
    assert_array_equal(again.agents, game.agents)
    assert (again.members, again.retail, again.law) == (game.members, game.retail, game.law)
    assert_array_equal(pickle.loads(pickle.dumps(game)).agents, game.agents)
    with pytest.raises(TypeError, match="MarketSeries"):
        json.dumps(own_market().describe())


def test_descriptions_are_dicts_in_results_and_pickles():
    @dataclasses.dataclass
    class Result:
        constants: dict

    description = EnergyMarket(n_agents=5).describe()
    for again in (
        dataclasses.asdict(Result(description))["constants"],
        pickle.loads(pickle.dumps(description)),
        copy.deepcopy(description),
    ):
        assert again == description
        assert "'members': None" in str(again)
    assert str(description) == repr(description)
    assert len(pickle.dumps(description)) < 5000


def test_the_text_of_a_description():
    retail = TimeOfUse(0.3, (Period(0.45, "17-21", "weekdays"),))
    text = str(own_market(retail=retail, network_charge=0.0).describe())
    for line in (
        "EnergyMarket with 5 members",
        "  consumer          2         5.5       0        0            0           0         0",
        "  all               5        38.3      13        0           10           5         0",
        "  retail on 2024-07-05: 0-17 0.3, 17-21 0.45, 21-24 0.3",
        "  retail on 2024-07-06, 2024-07-07: 0-24 0.3",
        "  feed-in: 0-24 0.08",
        "  source: in memory",
        "  days played: 3 of 3, 2024-07-05 to 2024-07-07, in 24 steps each",
        "  profiles: 2, of 8,760 to 17,520 kWh load and 730 to 730 kWh per kWp of PV in 365 days",
        "  imbalance = 'pooled'",
        "  c_rate = 0.5",
    ):
        assert line in text.splitlines(), line
    many = EnergyMarket(n_agents=20, n_days=30, first_day=100, feed_in=DayAhead(-0.5), series="embedded")
    text = str(many.describe())
    price = many.days.price[100:130]
    mean, low, high = price[:, 7].mean() - 0.5, price[:, 7].min() - 0.5, price[:, 7].max() - 0.5
    assert "feed-in, which changes from day to day: mean (lowest to highest)" in text
    assert f"     7-8   {mean:.3f} ({low:.3f} to {high:.3f})" in text.splitlines()
    assert "  days played: 30 of 363, 11-10 to 12-09, in 24 steps each" in text.splitlines()
    assert "  source: embedded" in text


def test_command_lines_can_say_tariffs_members_and_laws(tmp_path):
    tyro = pytest.importorskip("tyro")
    (tmp_path / "members.csv").write_text("type,pv_kwp\npv,5\nconsumer,\n")
    hours = [str(0.3 + hour / 100) for hour in range(24)]
    words = ["--members", str(tmp_path / "members.csv"), "--retail", *hours, "--feed-in", "0.07"]
    game = tyro.cli(EnergyMarket, args=[*words, "--law.c-rate", "0.25", "--series", "synthetic"])
    assert game.retail == ByHour(tuple(map(float, hours)))
    assert (game.n_agents, game.feed_in, game.law.c_rate, game.series) == (2, 0.07, 0.25, "synthetic")
