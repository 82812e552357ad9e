"""Peaks, limits, shifted demand and electric vehicles in the planner: by hand, and against all schedules tried."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mfenvs.energy.welfare import (
    SETTLEMENT,
    ChargingSessions,
    PlanningProblem,
    burning_pays,
    no_trade,
    no_trade_welfare,
    pareto_front,
    plan,
    plan_scenarios,
    pool,
)


def problem(load, retail, feed_in=0.0, **more):
    """A problem in which all that is not given is absent; tariffs may be one number."""
    load = np.array(load, float)
    fields = dict.fromkeys(("flexible_value", "capacity", "power", "soc0", "degradation"), 0.0)
    fields = {name: np.full(len(load), more.pop(name, value)) for name, value in fields.items()}
    return PlanningProblem(
        load=load,
        generation=more.pop("generation", 0 * load),
        flexible=more.pop("flexible", 0 * load),
        retail=np.full(load.shape[1], retail),
        feed_in=np.full(load.shape[1], feed_in),
        co2=np.ones(load.shape[1]),
        efficiency=np.full(len(load), more.pop("efficiency", 1.0)),
        **fields,
        **more,
    )


# Peaks, by hand.


def test_a_battery_flattens_a_peak_that_is_charged():
    # 1 and 5 kWh at one price: the battery moves 2 to the first step, so that 3 are imported in each.
    p = problem([[1, 5]], 0.3, capacity=9, power=9, degradation=0.01, peak_charge=0.5)
    found = plan(p)
    assert_allclose(found.imported, [3, 3], atol=1e-7)
    assert found.welfare == pytest.approx(-(6 * 0.3 + 4 * 0.01 + 3 * 0.5))
    assert no_trade_welfare(p) == pytest.approx(-(6 * 0.3 + 5 * 0.5))
    # A kW less costs two kWh of throughput: below .02 EUR/kW it is not worth it.
    assert_allclose(plan(dataclasses.replace(p, peak_charge=0.019)).imported, [1, 5], atol=1e-7)
    # 3 kWh in a quarter of an hour are 12 kW.
    quarters = plan(dataclasses.replace(p, step_hours=0.25))
    assert quarters.welfare == pytest.approx(-(6 * 0.3 + 4 * 0.01 + 12 * 0.5))


def test_what_has_been_reached_is_paid():
    # Up to 4 kW nothing is charged: only one kWh is moved.
    p = problem([[1, 5]], 0.3, capacity=9, power=9, degradation=0.01, peak_charge=0.5, peak_so_far=[4])
    assert_allclose(plan(p).imported, [2, 4], atol=1e-7)
    assert plan(p).welfare == pytest.approx(-(6 * 0.3 + 2 * 0.01))
    assert no_trade_welfare(p) == pytest.approx(-(6 * 0.3 + 1 * 0.5))
    beyond = dataclasses.replace(p, peak_so_far=[2.5])
    assert_allclose(plan(beyond).imported, [3, 3], atol=1e-7)
    assert plan(beyond).welfare == pytest.approx(-(6 * 0.3 + 4 * 0.01 + 0.5 * 0.5))


def test_every_day_has_its_peak_and_settlement_none():
    day = np.array([0, 0, 1, 1, SETTLEMENT])
    p = problem([[1, 2, 4, 3, 9]], 0.1, peak_charge=1, day=day)
    assert plan(p).welfare == pytest.approx(-(19 * 0.1 + 2 + 4))
    assert no_trade_welfare(p) == pytest.approx(plan(p).welfare)
    assert (p.n_days, p.days.tolist()) == (2, day.tolist())
    assert plan(dataclasses.replace(p, peak_so_far=[5, 3])).welfare == pytest.approx(-(19 * 0.1 + 1))
    # An export is no peak.
    sells = problem([[0, 1]], 0.1, generation=[[9, 0]], peak_charge=1)
    assert plan(sells).welfare == pytest.approx(-(0.1 + 1))


def test_without_trade_the_peak_is_that_of_the_transformer():
    # In the first step one exports 3 kWh and the other imports 3, in the second they import 1 and 2.
    p = problem([[0, 1], [3, 2]], 0.1, generation=[[3, 0], [0, 0]], peak_charge=1)
    found = no_trade(p)
    assert_allclose(found.welfare, [-0.1 - 1, -0.5 - 2])
    assert plan(p).welfare == pytest.approx(-(3 * 0.1 + 3))
    # A rise is paid by those who import in that step, in proportion: 3 by the second, then 1 of which 1/4 each.
    rises = problem([[0, 1], [3, 3]], 0.0, peak_charge=1)
    assert_allclose(no_trade(rises).welfare, [-0.25, -3.75])


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_the_charge_is_the_best_of_all_peaks(seed):
    """Whoever pays for the peak chooses the best import limit; the one is tried by the other on a grid."""
    rng = np.random.default_rng(seed)
    p = problem(
        rng.uniform(0, 3, (2, 5)), rng.uniform(0.1, 0.5, 5), capacity=2.0, power=1.0, efficiency=0.9, soc0=1.0
    )
    p = dataclasses.replace(p, flexible=rng.uniform(0, 1, (2, 5)), flexible_value=np.array([0.2, 0.4]))
    charged = plan(dataclasses.replace(p, peak_charge=0.4)).welfare
    limits = np.linspace(0.5, 1, 30) * plan(p).peak
    tried = []
    for limit in limits:
        try:
            tried.append(plan(dataclasses.replace(p, import_limit=limit)).welfare - 0.4 * limit)
        except ValueError:  # The inelastic demand is above this limit.
            continue
    assert max(tried) <= charged + 1e-7
    assert charged <= max(tried) + 0.4 * (limits[1] - limits[0])


def test_members_who_pay_for_their_own_peaks():
    # The neighbour's sun does not lower the peak at one's own meter, its battery does not either.
    p = problem(
        [[1, 5], [0, 0]],
        0.3,
        generation=[[0, 0], [5, 5]],
        capacity=[9, 9],
        power=[0.5, 9],
        peak_charge=0.5,
        peak_of="member",
    )
    found = plan(p)
    assert_allclose(found.charge[0] - found.discharge[0], [0.5, -0.5], atol=1e-6)
    assert found.welfare == pytest.approx(-4.5 * 0.5)
    community = plan(dataclasses.replace(p, peak_of="community"))
    assert community.welfare == pytest.approx(0, abs=1e-7)
    assert_allclose(no_trade(p).welfare, [-6 * 0.3 - 5 * 0.5, 0])
    # Each is paid up to a peak of its own, on each day.
    two_days = dataclasses.replace(p, day=[0, 1], peak_so_far=[[1.25, 4.75], [0, 0]])
    assert plan(two_days).welfare == pytest.approx(0, abs=1e-7)
    assert_allclose(no_trade(two_days).welfare, [-6 * 0.3 - 0.25 * 0.5, 0])
    settled = dataclasses.replace(p, day=[0, SETTLEMENT])
    assert_allclose(no_trade(settled).welfare, [-6 * 0.3 - 1 * 0.5, 0])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_of_one_agent_the_member_is_the_community(seed):
    rng = np.random.default_rng(seed)
    p = problem(
        rng.uniform(0, 3, (1, 6)),
        rng.uniform(0.2, 0.5, 6),
        flexible=rng.uniform(0, 1, (1, 6)),
        generation=rng.uniform(0, 4, (1, 6)) * (rng.random(6) < 0.4),
        flexible_value=0.4,
        capacity=2,
        power=1,
        efficiency=0.9,
        shift_steps=2,
        peak_charge=0.3,
        day=[0, 0, 0, 1, 1, SETTLEMENT],
        sessions=sessions(),
    )
    own = dataclasses.replace(p, peak_of="member", peak_so_far=[[0.5, 1.0]])
    all_ = dataclasses.replace(p, peak_so_far=[0.5, 1.0])
    assert plan(own).welfare == pytest.approx(plan(all_).welfare, abs=1e-6)
    assert no_trade_welfare(own) == pytest.approx(no_trade_welfare(all_))
    load, sun = np.stack([p.load, 1.5 * p.load]), np.stack([p.generation, 0.5 * p.generation])
    costs = [plan_scenarios(q, load, sun, gamma=0.5).objective for q in (own, all_)]
    assert costs[0] == pytest.approx(costs[1], abs=1e-6)
    assert pool(own).problem is own


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_peaks_of_members_are_what_their_meters_read(seed):
    rng = np.random.default_rng(seed)
    p = problem(
        rng.uniform(0, 3, (3, 5)),
        rng.uniform(0.2, 0.5, 5),
        flexible=rng.uniform(0, 1, (3, 5)),
        generation=rng.uniform(0, 4, (3, 5)),
        flexible_value=0.4,
        capacity=rng.uniform(0, 2, 3),
        power=1,
        peak_charge=0.3,
        peak_of="member",
        sessions=sessions((1,), (1,), (4,)),
    )
    found = plan(p)
    net = p.load + found.served + found.charge - found.discharge - p.generation
    net[1] += found.vehicles[0]
    peaks = np.maximum(net.max(axis=1), 0)
    bill = p.retail @ np.maximum(net.sum(axis=0), 0) + 0.3 * peaks.sum() + 3 - found.vehicles.sum()
    assert found.welfare == pytest.approx(0.4 * found.served.sum() - bill, abs=1e-6)
    community = plan(dataclasses.replace(p, peak_of="community"))
    assert no_trade_welfare(p) - 1e-9 <= found.welfare <= community.welfare + 1e-9


# Limits, by hand.


def test_limits_of_the_exchange():
    # The battery must move what goes beyond 2 kWh, at a loss of half.
    p = problem([[0, 3]], [0.5, 0.1], capacity=9, power=9, efficiency=0.5**0.5, import_limit=2)
    found = plan(p)
    assert_allclose(found.imported, [2, 2], atol=1e-7)
    assert found.welfare == pytest.approx(-(2 * 0.5 + 2 * 0.1))
    with pytest.raises(ValueError, match="problem must have a schedule that keeps import_limit"):
        plan(dataclasses.replace(p, import_limit=[2, 1]))
    # 5 kWh of sun, of which 2 may go out.
    sun = problem([[1]], 0.3, 0.1, generation=[[6]], export_limit=2, curtailment=True)
    assert_allclose([plan(sun).exported, plan(sun).curtailed], [[2], [3]], atol=1e-7)
    assert plan(sun).welfare == pytest.approx(0.2)
    with pytest.raises(ValueError, match="problem must have a schedule"):
        plan(dataclasses.replace(sun, curtailment=False))


def test_burning_to_keep_the_export_limit_is_no_schedule():
    # A full battery could burn what may not go out, if it could charge and discharge at once.
    p = problem([[0]], 0.3, 0.1, generation=[[2]], export_limit=1.5, capacity=4, power=2, soc0=4, efficiency=0.5)
    assert burning_pays(p).all()
    with pytest.raises(ValueError, match="problem must have a schedule"):
        plan(p)
    assert plan(dataclasses.replace(p, curtailment=True)).welfare == pytest.approx(0.15)


def test_the_end_of_the_charge():
    p = problem([[1, 1]], [0.1, 0.4], capacity=4, power=4, soc0=1, soc_end=[3])
    assert plan(p).welfare == pytest.approx(-(4 * 0.1))
    assert_allclose(plan(p).soc[:, -1], 3, atol=1e-7)
    assert plan(dataclasses.replace(p, soc_end=[0])).welfare == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="problem must have a schedule"):
        plan(dataclasses.replace(p, power=[0.5]))


# Shifted demand, by hand.


@pytest.mark.parametrize(("steps", "served", "welfare"), [(0, 0, 0), (1, 2, 0.4), (2, 2, 0.8), (3, 2, 0.8)])
def test_demand_waits_for_a_lower_price(steps, served, welfare):
    # 2 kWh worth .5 arise in the first step: at .6, .3, .1 and .2.
    p = problem([[0] * 4], [0.6, 0.3, 0.1, 0.2], flexible=[[2, 0, 0, 0]], flexible_value=0.5, shift_steps=steps)
    found = plan(p)
    assert found.served.sum() == pytest.approx(served)
    assert found.welfare == pytest.approx(welfare)
    assert no_trade_welfare(p) == 0  # Nobody waits without a plan.


def test_the_backlog_is_served_in_time_or_never():
    # What arose two steps ago must be served at once, what arose one step ago by the second.
    p = problem(
        [[0] * 3], [0.4, 0.2, 0.1], flexible=[[0, 0, 1]], flexible_value=0.5, shift_steps=2, backlog=[[1, 2]]
    )
    found = plan(p)
    assert_allclose(found.served, [[1, 2, 1]], atol=1e-7)
    assert found.welfare == pytest.approx(0.1 + 2 * 0.3 + 0.4)
    never = plan(dataclasses.replace(p, day=[0, SETTLEMENT, SETTLEMENT]))
    assert_allclose(never.served, [[3, 0, 0]], atol=1e-7)


# Vehicles, by hand.


def sessions(agent=(0,), arrival=(0,), departure=(2,), energy=(3,), power=(2,), penalty=(1,)):
    return ChargingSessions(*(np.array(field) for field in (agent, arrival, departure, energy, power, penalty)))


def test_a_vehicle_is_charged_when_it_is_cheap_and_by_its_departure():
    p = problem([[0] * 4], [0.3, 0.2, 0.4, 0.1], sessions=sessions(departure=(3,)))
    found = plan(p)
    assert_allclose(found.vehicles, [[1, 2, 0, 0]], atol=1e-7)
    assert found.welfare == pytest.approx(-(0.3 + 0.4))
    assert no_trade_welfare(p) == pytest.approx(-(2 * 0.3 + 0.2))  # On arrival.
    # Where missing energy costs .25 the dear kWh is not charged; and no vehicle charges beyond its need.
    cheap = plan(dataclasses.replace(p, sessions=sessions(departure=(3,), penalty=(0.25,))))
    assert cheap.welfare == pytest.approx(-(2 * 0.2 + 0.25))
    free = plan(dataclasses.replace(p, retail=np.full(4, -0.1), feed_in=np.full(4, -0.1)))
    assert free.vehicles.sum() == pytest.approx(3)


def test_a_vehicle_that_leaves_at_once_or_stays_beyond_the_end():
    p = problem([[0] * 3], 0.1, sessions=sessions((0, 0), (1, 2), (1, 9), (3, 3), (2, 2), (1, 2)))
    found = plan(p)
    assert_allclose(found.vehicles, [[0, 0, 0], [0, 0, 2]], atol=1e-7)
    assert found.welfare == pytest.approx(-(3 * 1 + 2 * 0.1 + 1 * 2))
    assert_allclose(no_trade(p).welfare, [found.welfare])


def test_sun_of_one_charges_the_vehicle_of_another():
    p = problem([[0, 0], [0, 0]], 0.3, 0.1, generation=[[0, 3], [0, 0]], sessions=sessions(agent=(1,), power=(3,)))
    assert plan(p).welfare == pytest.approx(0)
    found = no_trade(p)
    assert_allclose(found.welfare, [0.3, -0.9])
    assert_allclose(found.net, [[0, -3], [3, 0]])


# Against all schedules.


def best_of_all(p, cars):
    """Largest welfare of all schedules in whole kWh; as batteries are lossless the optimum is among them."""
    n_steps, window = p.n_steps, p.shift_steps
    units = [t for t in range(n_steps) for _ in range(int(p.flexible[0, t]))]

    def placements():
        choices = [[None, *(s for s in range(t, min(t + window, n_steps - 1) + 1))] for t in units]
        for chosen in itertools.product(*choices):
            served = np.zeros(n_steps)
            for step in chosen:
                if step is not None:
                    served[step] += 1
            yield served

    battery = []
    for flows in itertools.product((-1, 0, 1), repeat=n_steps):
        soc = p.soc0[0] + np.cumsum(flows)
        if soc.min() >= 0 and soc.max() <= p.capacity[0] and soc[-1] >= p.end_soc[0]:
            battery.append(np.array(flows))
    vehicles = [np.zeros(n_steps)]
    if cars:
        (arrival, departure, energy), ranges = cars, []
        for t in range(n_steps):
            ranges.append((0, 1) if arrival <= t < departure else (0,))
        vehicles = [np.array(way) for way in itertools.product(*ranges) if sum(way) <= energy]
    net, best = p.load[0] - p.generation[0], -np.inf
    for served, flows, way in itertools.product(set(map(tuple, placements())), battery, vehicles):
        total = net + served + flows + way
        if (total > p.import_limit).any() or (-total > p.export_limit).any():
            continue
        money = p.flexible_value[0] * sum(served) - p.degradation[0] * abs(flows).sum()
        money -= np.where(total > 0, p.retail, p.feed_in) @ total
        best = max(best, money - (p.sessions.penalty[0] * (cars[2] - way.sum()) if cars else 0))
    return best


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(0, 3), st.booleans(), st.booleans())
def test_no_schedule_in_whole_kwh_is_better(seed, window, limited, driving):
    rng = np.random.default_rng(seed)
    retail = rng.uniform(0.2, 0.6, 4)
    cars = (int(rng.integers(2)), int(rng.integers(2, 5)), int(rng.integers(1, 4)))
    p = problem(
        rng.integers(0, 3, (1, 4)),
        retail,
        retail - 0.15,
        generation=rng.integers(0, 4, (1, 4)).astype(float),
        flexible=rng.integers(0, 2, (1, 4)).astype(float),
        flexible_value=0.4,
        capacity=2,
        power=1,
        soc0=1,
        degradation=0.02,
        shift_steps=window,
        import_limit=3 if limited else np.inf,
        export_limit=3 if limited else np.inf,
    )
    if driving:
        arrival, departure, energy = cars
        p = dataclasses.replace(p, sessions=sessions((0,), (arrival,), (departure,), (energy,), (1,), (0.5,)))
    expected = best_of_all(p, cars if driving else None)
    found = plan(p)
    assert found.welfare == pytest.approx(expected, abs=1e-6)
    # What is returned keeps the rules.
    assert found.imported.max() <= 3 + 1e-6 or not limited
    assert found.vehicles.sum() <= cars[2] + 1e-6
    served, arrived = found.served[0].cumsum(), p.flexible[0].cumsum()
    assert (served <= arrived + 1e-6).all()
    assert no_trade_welfare(p) <= found.welfare + 1e-9 or limited


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_one_scenario_with_everything_is_the_plan(seed):
    rng = np.random.default_rng(seed)
    p = problem(
        rng.uniform(0, 2, (2, 6)),
        rng.uniform(0.2, 0.5, 6),
        flexible=rng.uniform(0, 1, (2, 6)),
        flexible_value=0.4,
        capacity=2,
        power=1,
        efficiency=0.9,
        shift_steps=2,
        backlog=rng.uniform(0, 1, (2, 2)),
        peak_charge=0.3,
        day=[0, 0, 0, 1, 1, SETTLEMENT],
        sessions=sessions((0, 1), (0, 2), (4, 5), (3, 2), (2, 1), (1, 2)),
    )
    found = plan(p)
    twice = np.stack([p.load, p.load])
    for gamma in (0, 0.5):
        same = plan_scenarios(p, twice, 0 * twice, gamma=gamma)
        assert_allclose(same.costs, -found.welfare, atol=1e-6)
        assert_allclose(same.vehicles.sum(), found.vehicles.sum(), atol=1e-6)
    assert pareto_front(p, ("cost", "peak"), n_points=2).payoff[0, 0] == pytest.approx(-found.welfare, abs=1e-4)


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_charge": -1}, "peak_charge must be a finite number"),
        ({"peak_of": "house"}, "peak_of must be one of 'community', 'member'"),
        ({"peak_of": "member", "peak_so_far": [1]}, r"peak_so_far must have shape \(1, 1\), got \(1,\)"),
        ({"step_hours": 0}, "step_hours must be a finite number"),
        ({"shift_steps": -1}, "shift_steps must be an integer"),
        ({"shift_steps": 1, "backlog": [[1, 1]]}, r"backlog must have shape \(1, 1\), got \(1, 2\)"),
        ({"day": [0, 1, 0]}, "day must not fall"),
        ({"day": [0, 1]}, r"day must have shape \(3,\)"),
        ({"day": [0.0, 1.0, 1.0]}, "day must be integers"),
        ({"day": [-2, 0, 0]}, r"day\[0\] must be an integer in \[-1, 1000000\]"),
        ({"peak_so_far": [1, 2]}, r"peak_so_far must have shape \(1,\)"),
        ({"soc_end": [3]}, r"soc_end\[0\] must be a finite number in \[0, capacity = 2\], got 3.0"),
        ({"import_limit": -1}, r"import_limit must be a number in \[0, inf\], got -1.0"),
        ({"import_limit": np.nan}, r"import_limit must be a number in \[0, inf\], got nan"),
        ({"export_limit": [1, np.nan, 1]}, r"export_limit\[1\] must be a number in \[0, inf\], got nan"),
        ({"export_limit": [1, 1]}, r"export_limit must have shape \(3,\)"),
        ({"sessions": None}, "sessions must be ChargingSessions"),
        ({"sessions": sessions(agent=(1,))}, r"sessions.agent\[0\] must be an integer in \[0, 0\], got 1"),
        ({"sessions": sessions(arrival=(3,), departure=(4,))}, r"sessions.arrival\[0\] must be an integer"),
    ],
)
def test_bad_terms_are_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        dataclasses.replace(problem([[1, 1, 1]], 0.1, capacity=2), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"departure": (-1,)}, r"departure\[0\] must be an integer in \[0"),
        ({"arrival": (3,)}, r"departure\[0\] must be at least arrival = 3, got 2"),
        ({"energy": (np.nan,)}, r"energy\[0\] must be finite"),
        ({"power": (-1.0,)}, r"power\[0\] must be in \[0, 1e\+12\], got -1.0"),
        ({"penalty": (1, 2)}, r"penalty must have shape \(1,\)"),
        ({"agent": ((0,),)}, r"agent must have shape \(S,\), got \(1, 1\)"),
    ],
)
def test_bad_sessions_are_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        sessions(**change)


def test_sessions_keep_their_own_arrays():
    mine = sessions()
    with pytest.raises(ValueError, match="read-only"):
        mine.energy[:] = 0
    assert len(ChargingSessions()) == 0
    assert_array_equal(mine.is_plugged_in(3), [[True, True, False]])
