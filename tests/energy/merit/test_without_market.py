"""Days without a market, against days worked by hand, the planner's bound, and what members do not alter."""

import numpy as np
import pytest
from hand_worked_community import four_members, record_of
from numpy.testing import assert_allclose

from mfenvs.energy.merit import status_quo
from mfenvs.energy.merit.without_market import peak_charges
from mfenvs.energy.outcomes import best_plans, planning_problem
from mfenvs.energy.record import record_days
from mfenvs.energy.welfare import no_trade
from mfenvs.games.energy.version_0 import EnergyMarketV0


def test_a_day_worked_by_hand(tmp_path):
    """The thrifty consumer forgoes its flexible load, and the sunny home serves 1 kWh of it in two hours.

    The sunny home has net demands of -7, -1, 6 and 2 kWh. Its battery stores 2 and .5 kWh of 4 and 1 kWh drawn,
    delivers all that it then has, 3.75 kWh, and lacks the 5 kWh that it began with: 10 kWh to be bought. The full
    one draws its surplus of 4 kWh, of which 2 kWh are left and give 1 kWh.
    """
    found = status_quo(record_of(four_members(tmp_path, degradation=0.01)))
    assert_allclose(found.idle_bill, [[16 * 0.32, 8 * 0.32, 8 * 0.32 - 8 * 0.08, -4 * 0.08]], rtol=1e-6)
    assert_allclose(found.idle_return, [[8 * 0.4 - 5.12, -2.56, 2 * 0.2 - 1.92, 0.32]], rtol=1e-6)
    sunny = -3 * 0.08 + 2.25 * 0.32 + 2 * 0.32 + 10 * 0.32
    assert_allclose(found.self_consumption_bill, [[5.12, 2.56, sunny, -0.08]], rtol=1e-6)
    own = [-1.92, -2.56, 0.4 - sunny - 0.01 * 8.75, 0.08 - 0.01 * 4]
    assert_allclose(found.self_consumption_return, [own], rtol=1e-6)


def test_of_several_worlds_each_is_a_day_of_its_own(tmp_path):
    game = four_members(tmp_path)
    record = record_of(game, n_worlds=2)
    record.account("load")[1] = 0.0
    found, alone = status_quo(record), status_quo(record_of(game, load=np.zeros((4, 4))))
    assert_allclose(found.self_consumption_bill[1], alone.self_consumption_bill[0])
    assert_allclose(found.self_consumption_bill[0], status_quo(record_of(game)).self_consumption_bill[0])
    assert found.idle_bill.shape == (2, 4)


@pytest.fixture(scope="module")
def small():
    return EnergyMarketV0(n_agents=12, proportions=(0.2, 0.2, 0.4, 0.1, 0.1))


def test_it_depends_on_the_days_only_and_is_below_the_planners_bound(small):
    class Still:
        def predict(self, observation):
            return np.tile(np.float32([0.0, 0.0, 0.2]), (len(observation), 1)), None

    record, other = record_days(small, n_worlds=3, seed=4), record_days(small, Still(), n_worlds=3, seed=4)
    found, same = status_quo(record), status_quo(other)
    for name in ("idle_bill", "idle_return", "self_consumption_bill", "self_consumption_return"):
        assert_allclose(getattr(same, name), getattr(found, name), rtol=1e-9)
    bounds = np.array([plan.bound for plan in best_plans(record)])
    assert (found.idle_return.sum(axis=1) < bounds).all()
    assert (found.self_consumption_return.sum(axis=1) < bounds).all()
    owns = small.agents["capacity"] > 0
    assert_allclose(found.self_consumption_return[:, ~owns], found.idle_return[:, ~owns])
    assert (found.self_consumption_return[:, owns] != found.idle_return[:, owns]).all()


def test_idle_batteries_are_those_of_the_welfare_without_trade(small):
    record = record_days(small, n_worlds=2, seed=5)
    alone = [no_trade(planning_problem(record, world, settles_charge=False)) for world in range(2)]
    assert_allclose(status_quo(record).idle_return, [day.welfare for day in alone], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_load_that_waits_and_vehicles_worked_by_hand(tmp_path):
    """The sunny home's flexible load of two hours is served at once when there is a surplus.

    One vehicle draws 4 and 2 kWh; one draws 4 kWh three times and lacks 8 kWh when it departs; one comes at 2 h,
    draws 4 kWh twice and needs 1 kWh more. The sunny home's net demands are 1, 1 + 2 - 9 = -6, and twice 5 kWh.
    Its battery, which begins with 5 kWh, first delivers 1 kWh (3 are left), then draws 4 kWh (5), and delivers
    2.5 kWh (0).
    """
    game = four_members(tmp_path, ev_share=0.5, shift_hours=2, ev_penalty=0.75, degradation=0.0)
    generation = np.array([[0, 0, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    load = np.array([[2, 2, 1, 0]] * 4)
    found = status_quo(record_of(game, load=load, generation=generation))
    eager, thrifty = (16 + 6) * 0.32, (8 + 12) * 0.32
    assert_allclose(found.idle_bill, [[eager, thrifty, 12 * 0.32 - 6 * 0.08, 0]], rtol=1e-6, atol=1e-9)
    returns = [8 * 0.4 - eager, -thrifty - 8 * 0.75, 2 * 0.2 - 12 * 0.32 + 6 * 0.08, 0]
    assert_allclose(found.idle_return, [returns], rtol=1e-6, atol=1e-9)
    sunny = (5 - 2.5 + 5 + 1) * 0.32 - 2 * 0.08 + 10 * 0.32
    assert_allclose(found.self_consumption_bill, [[eager, thrifty, sunny, 0]], rtol=1e-6, atol=1e-9)


def test_peaks_worked_by_hand():
    """Steps of 6 hours; the community's imports are 2, 5, 3, 0 kWh on one day, and 3, 6 kWh on the begun next one.

    Its peak rises by 2 and 3, 3 and 3 kWh in a step of 6 h.
    """
    metered = np.array([[2.0, -0.0], [4, 1], [3, 0], [1, -4], [5, -2], [4, 2]])
    shared = [2 + 3 * 4 / 5 + 3 + 3 * 4 / 6, 3 * 1 / 5 + 3 * 2 / 6]
    assert_allclose(peak_charges(metered, 0.3, "community", 6.0), 0.3 / 6 * np.array(shared))
    assert_allclose(peak_charges(metered, 0.3, "member", 6.0), 0.3 / 6 * np.array([4 + 5, 1 + 2]))


def test_peaks_are_on_the_bill(tmp_path):
    record = record_of(four_members(tmp_path, peak_charge=0.5))
    free = status_quo(record_of(four_members(tmp_path)))
    found = status_quo(record)
    # The net demands are 4 + 2 - 7 - 4 < 0, 4 + 2 - 1, 4 + 2 + 6 and 4 + 2 + 2 kWh.
    extra = 0.5 * (5 * np.array([4, 2, 0, 0]) / 6 + 7 * np.array([4, 2, 6, 0]) / 12)
    assert_allclose(found.idle_bill - free.idle_bill, [extra], rtol=1e-6, atol=1e-9)
    assert_allclose(free.idle_return - found.idle_return, [extra], rtol=1e-6, atol=1e-9)


def test_what_is_not_a_record():
    with pytest.raises(TypeError, match="record must be a MarketRecord, got 3"):
        status_quo(3)
