"""Bills, participation and shares of the gain against communities worked by hand."""

import dataclasses

import numpy as np
import pytest
from hand_worked_community import four_members, record_of
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.merit import MemberFigures, member_figures, status_quo


def figures(gains, bill=None, types=(0, 0, 2, 2)):
    """Figures of members whose gains over self-consumption are these, and over idleness 1 EUR more."""
    gains = np.atleast_2d(np.asarray(gains, float))
    bill = np.zeros_like(gains) if bill is None else np.atleast_2d(np.asarray(bill, float))
    return MemberFigures(np.array(types), bill, bill + 2, bill + 1, gains + 1, gains)


def test_bills_and_gains_of_a_record(tmp_path):
    """The bill has all that is paid in money; the gain is of the whole return."""
    money = {
        "trade_payment": [1.0, 2.0, -3.0, 0.0],
        "imbalance_payment": [0.5, 0, 0, -0.25],
        "fee": [0.125, 0, 0, 0],
        "peak_payment": [0.25, 0, 0, 0.75],
        "terminal": [0, 0, 0.0625, 0],
        "utility": [3, 3, 3, 3],
        "degradation": [0, 0, 7, 0],
        "reward": [-0.25, -0.5, 0.75, 0],
    }
    record = record_of(four_members(tmp_path), **{name: np.array(row) for name, row in money.items()})
    found, without = member_figures(record), status_quo(record)
    assert_allclose(found.bill, [[4 * 1.875, 8, 4 * -2.9375, 2]])
    assert_allclose(found.bill_idle, without.idle_bill)
    assert_allclose(found.bill_self_consumption, without.self_consumption_bill)
    assert_allclose(found.gain_over_idle, np.array([[-1, -2, 3, 0]]) - without.idle_return)
    assert_allclose(found.gain_over_self_consumption, np.array([[-1, -2, 3, 0]]) - without.self_consumption_return)
    assert_array_equal(found.types, [0, 0, 2, 2])


def test_participation_counts_members_by_their_mean_gain():
    found = figures([[-2.0, 1.0, 3.0, 0.0], [1.0, 1.0, -2.0, 0.0]])
    assert found.participation("self_consumption") == 0.5
    assert found.participation("self_consumption", "consumer") == 0.5
    assert found.participation("idle") == 1.0
    assert np.isnan(found.participation("idle", "wind"))
    statistics = found.statistics()
    assert statistics["better_off_than_self_consumption", "community"].value == 0.5
    assert statistics["worse_off_than_self_consumption", "community"].value == 0.25
    assert statistics["worse_off_than_self_consumption", "consumer"].value == 0.5
    assert statistics["worse_off_than_self_consumption", "storage"].value == 0.0
    assert ("better_off_than_idle", "wind") not in statistics


def test_gains_within_rounding_count_for_neither():
    statistics = figures([5e-7, -5e-7, 2e-6, -2e-6]).statistics()
    assert statistics["better_off_than_self_consumption", "community"].value == 0.25
    assert statistics["worse_off_than_self_consumption", "community"].value == 0.25


def test_means_and_shares_of_the_gain_by_type():
    found = figures([-1.0, 0.0, 2.0, 3.0], bill=[1.0, 2.0, 3.0, 6.0]).statistics()
    assert found["bill", "community"].value == 3
    assert found["bill", "storage"].value == 4.5
    assert found["bill_idle", "consumer"].value == 3.5
    assert found["bill_self_consumption", "consumer"].value == 2.5
    assert found["gain_over_self_consumption", "storage"].value == 2.5
    assert found["share_of_gain_over_self_consumption", "consumer"].value == -0.25
    assert found["share_of_gain_over_self_consumption", "storage"].value == 1.25
    assert found["share_of_gain_over_idle", "consumer"].value == 1 / 8
    # Differences of the pairs 1, 2, 5, 1, 4, 3; twice these over 2 * 3 * 12.
    assert found["gini_of_bills", "community"].value == pytest.approx(32 / 72)
    assert np.isnan(figures([-1.0, 0, 0, 1]).statistics()["share_of_gain_over_self_consumption", "storage"].value)


def test_intervals_are_over_episodes():
    """The mean of 400 episodes' bills, against the standard error; one episode has no interval."""
    rng = np.random.default_rng(0)
    bill = rng.normal(3.0, 1.0, (400, 1)) + np.arange(4)
    found = figures(np.ones((400, 4)), bill=bill).statistics()["bill", "community"]
    error = bill.mean(axis=1).std(ddof=1) / 20
    assert found.value == pytest.approx(bill.mean())
    # Quantiles of 1,000 resamples have a standard error of .085 standard errors at either end: 6 of them.
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.5 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.5 * error)
    alone = figures([1.0, 2, 3, 4]).statistics()["gain_over_idle", "community"]
    assert alone.value == 3.5
    assert np.isnan(alone.low)
    assert np.isnan(alone.high)


def test_intervals_do_not_hang_on_how_many_are_resampled_at_a_time(monkeypatch):
    found = figures(np.random.default_rng(1).normal(size=(5, 4)))
    whole = found.statistics()
    monkeypatch.setattr("mfenvs.energy.merit.members.BLOCK", 4 * 7)
    parts = found.statistics()
    for key, interval in whole.items():
        assert_allclose(parts[key], interval)


def test_what_is_not_allowed():
    found = figures([1.0, 2, 3, 4])
    with pytest.raises(ValueError, match="status_quo must be one of 'idle', 'self_consumption', got 'none'"):
        found.participation("none")
    with pytest.raises(ValueError, match="kind must be one of 'consumer'"):
        found.participation("idle", "wizard")
    with pytest.raises(TypeError, match="record must be a MarketRecord, got 3"):
        member_figures(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.bill = 3
