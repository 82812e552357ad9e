"""Figures of the grid and the batteries against days worked by hand."""

import numpy as np
import pytest
from hand_worked_community import CARBON, four_members, record_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.merit import grid_exchange, grid_figures
from mfenvs.energy.merit.seasons import season_of
from mfenvs.games.energy.conditions import DAY

SEASONS = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
IMPORTS = np.array([[4, 0, 0, 0], [1, 0, 0, 0], [4, 3, 0, 0], [0, 0, 2, 0]])
EXPORTS = np.array([[0, 0, 7, 1], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])


def test_members_exchange_is_netted_and_batteries_end_as_they_began(tmp_path):
    """Net imports of -4, 0, 6 and 2 kWh; one battery lacks 2 kWh, which takes 4, one has 4 left, for 2."""
    game = four_members(tmp_path)
    full = np.tile([0, 0, 0.5, 0.5], (1, 5, 1))
    full[0, -1] = 0, 0, 0.3, 0.9
    found = grid_exchange(record_of(game, full=full, imports=IMPORTS, exports=EXPORTS))
    assert_allclose(found.band, [4 - 2])
    assert_allclose(found.net, [[-3.5, 0.5, 6.5, 2.5]])
    assert_allclose(found.power, found.net)


def test_a_day_worked_by_hand(tmp_path):
    game = four_members(tmp_path)
    full = np.tile([0, 0, 0.5, 0.5], (1, 5, 1))
    full[0, -1, 2] = 0.3
    moved = {"charge": np.diag([0, 3, 0, 0]), "discharge": np.diag([0, 0, 2, 0])}
    flexible = np.full((4, 4), 0.5)
    found = grid_figures(record_of(game, full=full, imports=IMPORTS, exports=EXPORTS, flexible=flexible, **moved))
    # With the band of 4 kWh net imports are -3, 1, 7 and 3 kWh; all members together use 26 kWh and 8 flexible.
    assert_allclose(found.consumption, [34])
    assert_allclose(found.generation, [16])
    assert_allclose(found.imports, [11])
    assert_allclose(found.exports, [3])
    assert_allclose(found.end_charge_band, [4])
    assert_allclose(found.self_sufficiency, [1 - 11 / 34])
    assert_allclose(found.self_consumption, [1 - 3 / 16])
    assert_allclose(found.peak_import, [7])
    assert_allclose(found.peak_export, [3])
    assert_allclose(found.load_factor, [11 / 4 / 7])
    assert_allclose(found.ramping, [4 + 6 + 4])
    assert_allclose(found.co2, [1 * CARBON[1] + 7 * CARBON[2] + 3 * CARBON[3]])
    # 3 kWh drawn put 1.5 kWh into the store, and 2 kWh delivered take 4 kWh out, of 20 kWh.
    assert_allclose(found.battery_cycles, [5.5 / 40])
    assert_array_equal(found.world, [0])
    assert_array_equal(found.day, [1])
    assert found.date == ("12-01",)
    assert found.seasonal_peak_import == {"winter": pytest.approx(7)}


def test_peaks_are_powers_also_in_quarters_of_an_hour(tmp_path):
    game = four_members(tmp_path, step_minutes=15)
    found = grid_figures(record_of(game, imports=IMPORTS, exports=EXPORTS))
    assert_allclose(found.peak_import, [4 * 6])
    assert_allclose(found.peak_export, [4 * 4])
    assert_allclose(found.ramping, [4 * (4 + 6 + 4)])
    assert_allclose(found.load_factor, [8 / 1 / 24])
    assert_allclose(found.co2, [8 * CARBON[0]])


def test_what_cannot_be_had_is_nan(tmp_path):
    nothing = np.zeros((4, 4))
    found = grid_figures(record_of(four_members(tmp_path), load=nothing, generation=nothing))
    for name in ("self_sufficiency", "self_consumption", "load_factor"):
        assert np.isnan(getattr(found, name)).all()
    assert found.peak_import == 0


def test_worlds_and_seasons(tmp_path):
    game = four_members(tmp_path)
    record = record_of(game, n_worlds=3, imports=IMPORTS, exports=EXPORTS)
    record.signals[1, :, DAY] = 0
    record.account("imports")[2] *= 2
    found = grid_figures(record)
    assert_array_equal(found.world, [0, 1, 2])
    assert found.date == ("12-01", "06-30", "12-01")
    assert_allclose(found.peak_import, [6, 6, 13])
    assert found.seasonal_peak_import == {"winter": 13, "summer": 6}


def test_vehicles_and_curtailment(tmp_path):
    """A vehicle that comes at 2 h for 9 kWh has got 4; one that has departed needs nothing; a third got 1 kWh."""
    game = four_members(tmp_path, ev_share=0.5)
    charged = np.array([[4, 4, 0, 0], [2, 4, 0, 0], [0, 4, 4, 0], [0, 0, 0, 0]])
    found = grid_figures(record_of(game, ev_charge=charged, curtailed=np.diag([0, 0, 3, 1]), imports=IMPORTS))
    assert_allclose(found.end_charge_band, [5])
    assert_allclose(found.consumption, [26 + 22])
    assert_allclose(found.curtailed, [4])
    assert_allclose(found.self_consumption, [1 - 4 / 16])
    assert_allclose(found.imports, [4 + 1 + 7 + 2 + 5])


@pytest.mark.parametrize("horizon", [48, 30])
def test_days_of_an_episode_are_figures_of_their_own(tmp_path, horizon):
    game = four_members(tmp_path, n_episode_days=2, horizon=horizon)
    rng = np.random.default_rng(0)
    net = rng.normal(size=(horizon, 4))
    taken = {"imports": np.maximum(net, 0), "exports": np.maximum(-net, 0)}
    made = {"load": rng.random((horizon, 4)), "generation": rng.random((horizon, 4))}
    found = grid_figures(record_of(game, n_worlds=2, day=0, **taken, **made))
    assert_array_equal(found.world, [0, 0, 1, 1])
    assert found.date == ("06-30", "12-01") * 2
    carbon, power = game.days.co2, net.sum(axis=1)
    for k, day in enumerate([power[:24], power[24:]] * 2):
        bought = np.maximum(day, 0)
        assert found.peak_import[k] == pytest.approx(day.max())
        assert found.peak_export[k] == pytest.approx(-day.min())
        assert found.imports[k] == pytest.approx(bought.sum())
        assert found.co2[k] == pytest.approx(bought @ carbon[k % 2, : len(day)])
        assert found.load_factor[k] == pytest.approx(bought.mean() / day.max())
        overnight = abs(power[24] - power[23]) if k % 2 else 0
        assert found.ramping[k] == pytest.approx(overnight + np.abs(np.diff(day)).sum())
    assert_allclose(found.generation[:2], [made["generation"][:24].sum(), made["generation"][24:].sum()])


@given(st.dates())
def test_seasons_of_dates(date):
    season = next(name for name, months in SEASONS.items() if date.month in months)
    assert season_of(f"{date:%m-%d}") == season_of(date.isoformat()) == season


@pytest.mark.parametrize("text", ["", "monday", "13-01", "00-10", "2018", "1-1", "2018-07-01T00", "99-07-01"])
def test_texts_that_are_no_dates_have_no_season(text):
    assert season_of(text) is None
