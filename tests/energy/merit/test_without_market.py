"""Days without a market, against days worked by hand, the planner's bound, and what members do not alter."""

import numpy as np
import pytest
from hand_worked_community import four_members, record_of
from numpy.testing import assert_allclose

from mfenvs.energy.merit import status_quo
from mfenvs.energy.outcomes import best_plans
from mfenvs.energy.record import record_days
from mfenvs.games.energy.market import EnergyMarket


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
    return EnergyMarket(n_agents=12, proportions=(0.2, 0.2, 0.4, 0.1, 0.1))


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


def test_what_is_not_a_record():
    with pytest.raises(TypeError, match="record must be a MarketRecord, got 3"):
        status_quo(3)
