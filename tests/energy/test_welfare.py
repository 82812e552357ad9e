"""The planner against cases by hand, enumeration, and a dense program written agent by agent.

The oracles know the statement of the problem only. Energy is in kWh, money in EUR.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog, milp

from mfenvs.energy.welfare import (
    PlanningProblem,
    burning_pays,
    efficiency,
    no_trade,
    no_trade_welfare,
    pareto_front,
    plan,
    plan_scenarios,
)


def problem(load, retail, feed_in, generation=None, flexible=None, curtailment=False, co2=None, **agents):
    """A problem in which all that is not given is absent."""
    load = np.array(load, float)
    n = len(load)
    fields = {"flexible_value": 0, "capacity": 0, "power": 0, "efficiency": 1, "soc0": 0, "degradation": 0}
    fields = {name: np.full(n, agents.pop(name, value), float) for name, value in fields.items()}
    assert not agents
    return PlanningProblem(
        load=load,
        generation=np.zeros_like(load) if generation is None else generation,
        flexible=np.zeros_like(load) if flexible is None else flexible,
        retail=retail,
        feed_in=feed_in,
        co2=np.ones(load.shape[1]) if co2 is None else co2,
        curtailment=curtailment,
        **fields,
    )


def random_problem(seed, n=3, h=4, lowest=-0.1, batteries=0.7, curtailment=False, wear=0.03):
    rng = np.random.default_rng(seed)
    capacity = rng.uniform(0.5, 4, n) * (rng.random(n) < batteries)
    feed_in = rng.uniform(lowest, 0.2, h)
    return PlanningProblem(
        load=rng.uniform(0, 2, (n, h)),
        generation=rng.uniform(0, 4, (n, h)) * (rng.random((n, h)) < 0.6),
        flexible=rng.uniform(0, 1, (n, h)) * (rng.random((n, h)) < 0.7),
        flexible_value=rng.uniform(0, 0.5, n),
        capacity=capacity,
        power=rng.uniform(0.2, 2, n),
        efficiency=rng.uniform(0.8, 1, n),
        soc0=rng.uniform(0, 1, n) * capacity,
        degradation=rng.uniform(0, wear, n),
        retail=feed_in + rng.uniform(0, 0.3, h),
        feed_in=feed_in,
        co2=rng.uniform(0.1, 0.6, h),
        curtailment=curtailment,
    )


# Oracles.


class Written:
    """The problem written agent by agent, with the state of charge as a sum; columns are named."""

    def __init__(self, p):
        self.p, self.names, self.bounds = p, {}, []
        self.upper, self.equal = [], []
        n, h = p.load.shape
        for i, t in itertools.product(range(n), range(h)):
            most = p.power[i] if p.capacity[i] > 0 else 0.0
            self.column(("c", i, t), most)
            self.column(("d", i, t), most)
            self.column(("f", i, t), p.flexible[i, t])
        for t in range(h):
            self.column(("m", t), None)
            self.column(("x", t), None)
            self.column(("u", t), p.generation[:, t].sum() if p.curtailment else 0.0)
        self.column("peak", None)
        for i in range(n):
            for t in range(h):
                soc = {}
                for s in range(t + 1):
                    soc["c", i, s], soc["d", i, s] = p.efficiency[i], -1 / p.efficiency[i]
                self.upper.append((soc, p.capacity[i] - p.soc0[i]))
                least = p.soc0[i] if t < h - 1 else 0.0
                self.upper.append(({name: -a for name, a in soc.items()}, least))
        for t in range(h):
            row = {("m", t): -1, ("x", t): 1, ("u", t): 1}
            for i in range(n):
                row |= {("c", i, t): 1, ("d", i, t): -1, ("f", i, t): 1}
            self.equal.append((row, sum(p.generation[i, t] - p.load[i, t] for i in range(n))))
            self.upper += [({("m", t): 1, "peak": -1}, 0.0), ({("x", t): 1, "peak": -1}, 0.0)]
        self.cost = {}
        for i, t in itertools.product(range(n), range(h)):
            self.cost |= {("c", i, t): p.degradation[i], ("d", i, t): p.degradation[i]}
            self.cost["f", i, t] = -p.flexible_value[i]
        for t in range(h):
            self.cost |= {("m", t): p.retail[t], ("x", t): -p.feed_in[t]}
        self.co2 = {("m", t): p.co2[t] for t in range(h)}

    def column(self, name, most):
        self.names[name] = len(self.names)
        self.bounds.append((0, most))

    def dense(self, row):
        vector = np.zeros(len(self.names))
        for name, a in row.items():
            vector[self.names[name]] = a
        return vector

    def least(self, objective, limits=(), directed=False):
        """Least value of the objective; ``limits`` are pairs (objective, most)."""
        upper = self.upper + list(limits)
        a_ub, b_ub = np.array([self.dense(row) for row, _ in upper]), [b for _, b in upper]
        a_eq, b_eq = np.array([self.dense(row) for row, _ in self.equal]), [b for _, b in self.equal]
        c = self.dense(objective)
        if not directed:
            result = linprog(c, a_ub, b_ub, a_eq, b_eq, self.bounds, method="highs")
            return result.fun
        # Directions by enumeration: each battery may either charge or discharge in each step.
        n, h = self.p.load.shape
        cells = [(i, t) for i in range(n) if self.p.capacity[i] > 0 for t in range(h)]
        best = np.inf
        for ways in itertools.product("cd", repeat=len(cells)):
            bounds = list(self.bounds)
            for (i, t), shut in zip(cells, ways, strict=True):
                bounds[self.names[shut, i, t]] = (0, 0)
            best = min(best, linprog(c, a_ub, b_ub, a_eq, b_eq, bounds, method="highs").fun)
        return best


def assert_feasible(p, found, directed=True):
    """Every rule of the problem holds, and W is what the flows say."""
    tolerance = 1e-6 * max(p.load.max(), p.generation.max(), p.capacity.max(), p.flexible.max())
    c, d, eff = found.charge, found.discharge, p.efficiency[:, None]
    has = (p.capacity > 0)[:, None]
    for flow, most in ((c, p.power[:, None] * has), (d, p.power[:, None] * has), (found.served, p.flexible)):
        assert (flow >= 0).all()
        assert (flow <= most + tolerance).all()
    assert_array_equal(found.soc[:, 0], p.soc0)
    assert_allclose(np.diff(found.soc, axis=1), eff * c - d / eff, atol=tolerance)
    assert (found.soc >= -tolerance).all()
    assert (found.soc <= p.capacity[:, None] + tolerance).all()
    assert (found.soc[:, -1] >= p.soc0 - tolerance).all()
    assert (found.curtailed >= 0).all()
    assert (found.curtailed <= p.generation.sum(axis=0) * p.curtailment + tolerance).all()
    net = (p.load + found.served + c - d - p.generation).sum(axis=0) + found.curtailed
    assert_allclose(found.imported - found.exported, net, atol=tolerance)
    assert_allclose(np.minimum(found.imported, found.exported), 0, atol=0)
    if directed:
        assert np.minimum(c, d).max() <= tolerance
    wear = p.degradation @ (c + d).sum(axis=1)
    bill = p.retail @ found.imported - p.feed_in @ found.exported
    assert found.welfare == pytest.approx(p.flexible_value @ found.served.sum(axis=1) - wear - bill, abs=1e-9)
    assert found.emissions == pytest.approx(p.co2 @ found.imported)
    assert found.bound >= found.welfare


# By hand.


def test_one_battery_moves_energy_from_the_cheap_step_to_the_dear_one():
    # 2 kWh are drawn at .10, 1.8 stored, 1.62 delivered at .40; wear .01 on 3.62 kWh of throughput.
    p = problem([[1, 5]], [0.10, 0.40], [0, 0], capacity=10, power=2, efficiency=0.9, soc0=0, degradation=0.01)
    found = plan(p)
    assert_allclose(found.charge, [[2, 0]], atol=1e-12)
    assert_allclose(found.discharge, [[0, 1.62]], atol=1e-12)
    assert_allclose(found.soc, [[0, 1.8, 0]], atol=1e-12)
    assert_allclose(found.imported, [3, 3.38])
    assert found.welfare == pytest.approx(-(0.3 + 0.4 * 3.38 + 0.0362), abs=1e-12)
    assert (found.status, found.method, found.mip_gap) == ("optimal", "lp", 0)
    assert found.peak == pytest.approx(3.38)
    assert no_trade_welfare(p) == pytest.approx(-2.1, abs=1e-12)


def test_the_battery_is_left_as_full_as_it_was():
    # Prices rise, then there is no later step to refill: 1 kWh of it may be used only as far as it is put back.
    p = problem([[5, 5]], [0.40, 0.10], [0, 0], capacity=4, power=3, efficiency=0.8, soc0=2)
    found = plan(p)
    # Takes out 2 (delivers 1.6), and must store 2 again, which draws 2.5.
    assert_allclose(found.soc, [[2, 0, 2]], atol=1e-12)
    assert found.welfare == pytest.approx(-(3.4 * 0.4 + 7.5 * 0.1), abs=1e-12)
    falling = problem([[5, 5]], [0.10, 0.40], [0, 0], capacity=4, power=3, efficiency=0.8, soc0=4)
    idle = plan(falling)  # Full, and what is taken out in the dear step could not be put back.
    assert_allclose(idle.soc, 4, atol=1e-9)
    assert idle.welfare == pytest.approx(-2.5)


def test_what_one_has_left_another_needs():
    p = problem([[0, 1], [2, 2]], [0.3, 0.3], [0.1, 0.1], generation=[[3, 0], [0, 0]])
    assert plan(p).welfare == pytest.approx(0.1 * 1 - 0.3 * 3)
    assert no_trade_welfare(p) == pytest.approx(0.1 * 3 - 0.3 * 5)
    # Half of the gain of .4.
    assert efficiency(-1.0, no_trade_welfare(p), plan(p).welfare) == pytest.approx(0.5)


def test_flexible_demand_is_served_where_it_is_worth_the_energy():
    # Worth .05, .2 and .4 with tariffs of .1 and .3: the first never, the second from
    # the surplus, the last always.
    p = problem(
        [[0], [0], [0], [0]],
        [0.3],
        [0.1],
        generation=[[0], [0], [0], [5]],
        flexible=[[4], [4], [4], [0]],
        flexible_value=[0.05, 0.2, 0.4, 0],
    )
    found = plan(p)
    assert_allclose(found.served, [[0], [1], [4], [0]], atol=1e-12)
    assert found.welfare == pytest.approx(0.2 + 1.6)
    # Alone the owner sells all, and of the others only the last buys.
    assert no_trade_welfare(p) == pytest.approx(0.5 + 4 * 0.1)


@pytest.mark.parametrize(("value", "served"), [(0.05, 0), (0.2, 1), (0.4, 3)])
def test_no_trade_serves_up_to_the_own_surplus(value, served):
    p = problem([[1]], [0.3], [0.1], generation=[[2]], flexible=[[3]], flexible_value=value)
    bill = {0: -0.1, 1: 0, 3: 0.6}[served]
    assert no_trade_welfare(p) == pytest.approx(value * served - bill)
    assert plan(p).welfare == pytest.approx(value * served - bill)


@pytest.mark.parametrize(
    ("retail", "feed_in", "alone", "curtailing"),
    [(0.3, -0.1, -0.2, 0.0), (-0.05, -0.1, -0.2, 0.05), (0.3, 0.1, 0.2, 0.2)],
)
def test_curtailment_by_hand(retail, feed_in, alone, curtailing):
    # 3 kWh generated, 1 needed: 2 are exported, or curtailed; where even the import pays, all are curtailed.
    for curtailment, welfare_ in ((False, alone), (True, curtailing)):
        p = problem([[1]], [retail], [feed_in], generation=[[3]], curtailment=curtailment)
        assert plan(p).welfare == pytest.approx(welfare_, abs=1e-12)
        assert no_trade_welfare(p) == pytest.approx(welfare_, abs=1e-12)
        assert_feasible(p, plan(p))


BURNING = {"capacity": 4, "power": 2, "efficiency": 0.5, "soc0": 4, "degradation": 0.01}


def test_a_negative_price_needs_the_milp():
    # Full, 2 kWh of surplus at -1. The relaxation draws 2 and delivers .5 of them: it exports .5 for .025 of wear.
    p = problem([[0]], [1], [-1], generation=[[2]], **BURNING)
    assert Written(p).least(Written(p).cost) == pytest.approx(0.525)
    found = plan(p)
    assert found.welfare == pytest.approx(-2, abs=1e-12)
    assert found.method == "milp"
    assert found.bound == pytest.approx(-2, rel=1e-4)
    assert_feasible(p, found)
    # One that may curtail need not burn.
    assert plan(dataclasses.replace(p, curtailment=True)).welfare == pytest.approx(0, abs=1e-12)


def test_burning_pays_beyond_the_wear():
    # Per kWh drawn: .75 burned, 1.25 of throughput: it pays below a price of -1.25 / .75 x wear.
    for price, pays in ((-0.0166, False), (-0.0168, True), (0.1, False)):
        p = problem([[0]], [1], [price], generation=[[2]], **BURNING)
        assert_array_equal(burning_pays(p), [[pays]])
        assert (plan(p).method == "milp") == pays
    assert not burning_pays(problem([[0]], [1], [-9], generation=[[2]])).any()


def test_several_plans_are_as_good_and_one_of_them_keeps_directions():
    # Nothing is lost, worn or paid: every schedule is optimal, but none with simultaneous flows is returned.
    p = problem([[1, 1, 1]], [0.2] * 3, [0.2] * 3, capacity=2, power=1, efficiency=1, soc0=1)
    found = plan(p)
    assert_feasible(p, found)
    assert found.welfare == pytest.approx(-0.6)


# Against other programs.


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_planner_is_as_good_as_the_program_written_out(seed, n, h, curtailment):
    p = random_problem(seed, n, h, lowest=0.0, curtailment=curtailment)
    found = plan(p)
    written = Written(p)
    assert found.welfare == pytest.approx(-written.least(written.cost), abs=1e-7)
    assert found.method == "lp"
    assert_feasible(p, found)
    assert no_trade_welfare(p) <= found.welfare + 1e-9


@pytest.mark.parametrize("curtailment", [False, True])
def test_planner_is_as_good_as_all_directions_tried(curtailment):
    strict = 0
    for seed in range(6):
        p = random_problem(seed, 1 + seed % 2, 3, lowest=-0.6, batteries=1, curtailment=curtailment, wear=0.01)
        found = plan(p, mip_gap=0)
        written = Written(p)
        relaxed, exact = -written.least(written.cost), -written.least(written.cost, directed=True)
        assert found.welfare == pytest.approx(exact, abs=1e-6)
        assert relaxed >= found.welfare - 1e-7
        strict += relaxed > exact + 1e-3
        assert_feasible(p, found)
        assert no_trade_welfare(p) <= found.welfare + 1e-9
    assert curtailment or strict >= 2


def test_no_schedule_on_a_grid_is_better():
    p = problem(
        [[1, 2, 1], [0, 1, 3]],
        [0.2, 0.3, 0.5],
        [0.05, 0.1, 0.1],
        generation=[[0, 0, 0], [3, 1, 0]],
        capacity=[0, 2],
        power=1,
        efficiency=0.5,
        soc0=[0, 1],
        degradation=0.02,
    )
    net, best = (p.load - p.generation).sum(axis=0), -np.inf
    for change in itertools.product(np.arange(-0.5, 0.51, 0.125), repeat=3):  # of the state of charge
        change = np.array(change)
        soc = 1 + np.cumsum(change)
        flow = np.where(change > 0, change / 0.5, change * 0.5)
        if soc.min() < 0 or soc.max() > 2 or soc[-1] < 1 or np.abs(flow).max() > 1:
            continue
        total = net + flow
        bill = np.where(total > 0, p.retail, p.feed_in) @ total
        best = max(best, -bill - 0.02 * np.abs(flow).sum())
    found = plan(p).welfare
    assert best <= found + 1e-9
    assert found <= best + 0.05
    assert best > no_trade_welfare(p)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_trade_is_the_best_of_each_agent_alone(seed):
    p = random_problem(seed, 3, 3, lowest=-0.3, batteries=0, curtailment=bool(seed % 2))
    total = 0.0
    for i in range(3):
        own = {name: getattr(p, name)[[i]] for name in AGENTS}
        written = Written(dataclasses.replace(p, **own))
        total -= written.least(written.cost)
    assert no_trade_welfare(p) == pytest.approx(total, abs=1e-8)


# Properties.

QUANTITIES = ("load", "generation", "flexible", "capacity", "power", "soc0")
PRICES = ("flexible_value", "degradation", "retail", "feed_in")
AGENTS = (*QUANTITIES, "flexible_value", "efficiency", "degradation")


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
@pytest.mark.parametrize("names", [QUANTITIES, PRICES])
def test_welfare_is_homogeneous(names, factor):
    p = random_problem(4, 6, 6)
    scaled = dataclasses.replace(p, **{name: factor * getattr(p, name) for name in names})
    assert plan(scaled).welfare == pytest.approx(factor * plan(p).welfare, rel=1e-9)
    assert no_trade_welfare(scaled) == pytest.approx(factor * no_trade_welfare(p), rel=1e-9)
    assert_feasible(scaled, plan(scaled))


def test_twice_the_population_has_twice_the_welfare():
    p = random_problem(5, 5, 6)
    twice = dataclasses.replace(p, **{name: np.concatenate([getattr(p, name)] * 2) for name in AGENTS})
    assert plan(twice).welfare == pytest.approx(2 * plan(p).welfare, rel=1e-9)
    assert no_trade_welfare(twice) == pytest.approx(2 * no_trade_welfare(p), rel=1e-9)


def test_without_sun_and_batteries_there_is_nothing_to_plan():
    p = problem([[1, 2], [3, 4]], [0.3, 0.2], [0.1, 0.1])
    assert plan(p).welfare == pytest.approx(-(4 * 0.3 + 6 * 0.2))
    assert no_trade_welfare(p) == pytest.approx(plan(p).welfare)
    with pytest.raises(ValueError, match="nothing to gain"):
        efficiency(-2.4, no_trade_welfare(p), plan(p).welfare)


def test_a_battery_without_power_keeps_its_charge():
    p = problem([[1, 1]], [0.1, 0.4], [0, 0], capacity=3, power=0, soc0=2)
    assert_array_equal(plan(p).soc, [[2, 2, 2]])
    assert plan(problem([[0]], [0], [0])).welfare == 0


def test_efficiency():
    assert efficiency(-3.0, -4.0, -2.0) == 0.5
    assert efficiency(-5.0, -4.0, -2.0) == -0.5
    for best in (-4.0, -4.0 + 1e-10, -5.0):
        with pytest.raises(ValueError, match="best must exceed no_trade"):
            efficiency(-4.0, -4.0, best)
    with pytest.raises(ValueError, match="welfare must be a finite number"):
        efficiency(np.nan, 0, 1)


# Limits.


def test_time_limit():
    with pytest.raises(TimeoutError, match="time_limit = 1e-09"):
        plan(random_problem(0, 200, 24), time_limit=1e-9)


def test_at_the_time_limit_the_best_plan_known_is_returned_with_a_bound(monkeypatch):
    p = problem([[0]], [1], [-1], generation=[[2]], **BURNING)
    real = milp

    def stops(*args, integrality=None, **kwargs):
        result = real(*args, integrality=None, **kwargs)
        if integrality is not None:
            result.x, result.status, result.mip_dual_bound = None, 1, -np.inf
        return result

    monkeypatch.setattr("mfenvs.energy.welfare.solver.milp", stops)
    found = plan(p, time_limit=60)
    assert (found.status, found.method) == ("limit", "milp")
    assert found.welfare == pytest.approx(-2)
    assert found.bound == pytest.approx(-0.525)  # The relaxation's.
    assert found.mip_gap == pytest.approx(1.475 / 2)
    assert_feasible(p, found)


# The front.


def test_front_by_hand():
    # A battery may move up to 2 kWh to the dear step, at a price: cost falls by .2 per kWh, the peak grows by 1.
    p = problem([[3, 3]], [0.1, 0.3], [0, 0], capacity=2, power=2, efficiency=1)
    front = pareto_front(p, ("cost", "peak"), n_points=3)
    assert_allclose(front.values, [[0.8, 5], [1.0, 4], [1.2, 3]], atol=1e-5)
    assert_allclose(front.payoff, [[0.8, 5], [1.2, 3]], atol=1e-5)
    for values, found in zip(front.values, front.plans, strict=True):
        assert_allclose(values, [-found.welfare, found.peak])


@pytest.mark.parametrize("seed", range(4))
def test_no_point_of_the_front_can_be_improved(seed):
    p = random_problem(seed, 3, 4, lowest=0.02)
    front = pareto_front(p, n_points=3)
    written = Written(p)
    rows = {"cost": written.cost, "peak": {"peak": 1}, "co2": written.co2}
    assert_allclose(np.diag(front.payoff), [written.least(row) for row in rows.values()], atol=1e-5)
    assert len(front.values) >= 3
    for values, found in zip(front.values, front.plans, strict=True):
        assert_feasible(p, found, directed=False)
        assert_allclose(values, [-found.welfare, found.peak, found.emissions], atol=1e-9)
        for name, value in zip(rows, values, strict=True):
            others = [(rows[o], v + 1e-9) for o, v in zip(rows, values, strict=True) if o != name]
            assert value <= written.least(rows[name], others) + 2e-3
        better = (front.values <= values + 1e-9).all(axis=1) & (front.values < values - 1e-4).any(axis=1)
        assert not better.any()
    # The ends of the payoff table are on the front.
    for end in front.payoff:
        assert (np.abs(front.values - end).max(axis=1) < 1e-3).any()


def test_burning_relieves_the_peak_unless_directions_are_chosen():
    # Full, 2 kWh of surplus: burning cuts the export to .5.
    p = problem([[0, 0]], [1, 1], [0.1, 0.1], generation=[[2, 2]], **BURNING)
    relaxed = pareto_front(p, ("cost", "peak"), n_points=3)
    assert relaxed.payoff[1, 1] == pytest.approx(0.5, abs=1e-5)
    assert relaxed.plans[-1].method == "relaxation"
    exact = pareto_front(p, ("cost", "peak"), n_points=3, exact=True)
    assert exact.values[:, 1].min() == pytest.approx(Written(p).least({"peak": 1}, directed=True), abs=1e-4)
    assert exact.values[:, 1].min() > 0.6
    for found in exact.plans:
        assert_feasible(p, found)


def test_front_without_conflict_is_one_point():
    p = problem([[1, 2]], [0.3, 0.3], [0.1, 0.1])
    assert_allclose(pareto_front(p).values, [[0.9, 2, 3]])


# Scenarios.


def test_one_scenario_is_the_plan():
    p = random_problem(3, 4, 5, lowest=0)
    for gamma in (0, 0.7):
        found = plan_scenarios(p, p.load[None], p.generation[None], gamma=gamma)
        assert found.objective == pytest.approx(-plan(p).welfare)
        assert_allclose(found.costs, [-plan(p).welfare])


def test_the_risk_averse_fill_the_battery_for_the_bad_day():
    # Buys 1 kWh at .3 that is worth .5 on the dark day (chance .2) and 0 on the bright one: mean .1, so
    # not worth it, but the tail gains .2. Tail of .2: the dark day alone.
    p = problem([[0, 0]], [0.3, 0.5], [0, 0], capacity=1, power=1, efficiency=1)
    load = np.array([[[0, 1]], [[0, 0]]], float)
    sun = np.zeros_like(load)
    chance = [0.2, 0.8]
    neutral = plan_scenarios(p, load, sun, gamma=0, alpha=0.2, probability=chance)
    assert_allclose(neutral.costs, [0.5, 0], atol=1e-9)
    assert neutral.objective == pytest.approx(0.1)
    averse = plan_scenarios(p, load, sun, gamma=1, alpha=0.2, probability=chance)
    assert averse.charge[0, 0] == pytest.approx(1)
    assert_allclose(averse.costs, [0.3, 0.3])
    assert averse.objective == pytest.approx(0.3)
    # Where the tail is everything, it is the mean.
    everything = plan_scenarios(p, load, sun, gamma=1, alpha=1, probability=chance)
    assert everything.objective == pytest.approx(0.1)
    # A tail of .4 is half the dark day: (.2 x .5 + .2 x 0) / .4 if idle, .3 if filled.
    half = plan_scenarios(p, load, sun, gamma=1, alpha=0.4, probability=chance)
    assert half.objective == pytest.approx(0.25)


def test_scenarios_are_checked():
    p = random_problem(0)
    with pytest.raises(ValueError, match=r"load must have shape \(K, N, H\)"):
        plan_scenarios(p, 0.0, p.generation, gamma=0)
    with pytest.raises(ValueError, match=r"generation must have shape \(1, 3, 4\)"):
        plan_scenarios(p, p.load[None], p.generation, gamma=0)
    with pytest.raises(ValueError, match=r"load\[0, 0, 0\] must be a finite number in \[0, 1e\+12\]"):
        plan_scenarios(p, -1 - p.load[None], p.generation[None], gamma=0)
    with pytest.raises(ValueError, match="alpha must be"):
        plan_scenarios(p, p.load[None], p.generation[None], gamma=0, alpha=0)


# Scale and bad input.


def sunny_day(sun, price):
    """A thousand agents, a quarter of them with a battery, and a price of export for four hours around noon."""
    rng = np.random.default_rng(0)
    hours = np.arange(24)
    shine = np.maximum(np.sin((hours - 5) / 14 * np.pi), 0) * ((hours > 5) & (hours < 19))
    capacity = rng.uniform(5, 12, 1000) * (rng.permutation(1000) < 250)
    load = rng.lognormal(0, 0.5, (1000, 24))
    return PlanningProblem(
        load=0.85 * load,
        generation=sun * rng.uniform(3, 8, (1000, 1)) * (rng.random((1000, 1)) < 0.45) * shine,
        flexible=0.15 * load,
        flexible_value=rng.uniform(0.15, 0.5, 1000),
        capacity=capacity,
        power=capacity / 2,
        efficiency=np.full(1000, 0.95),
        soc0=rng.uniform(0, 1, 1000) * capacity,
        degradation=np.full(1000, 0.001),
        retail=np.where((hours > 16) & (hours < 21), 0.4, 0.3),
        feed_in=np.where((hours > 10) & (hours < 15), price, 0.08),
        co2=np.full(24, 0.3),
    )


@pytest.mark.parametrize("price", [0.05, -0.05])
def test_a_thousand_agents_are_planned_in_seconds(price):
    # With the negative price the optimum of the linear program burns, but another one as good does not.
    p = sunny_day(0.7, price)
    assert burning_pays(p).any() == (price < 0)
    found = plan(p, mip_gap=1e-6, time_limit=60)
    assert (found.status, found.method) == ("optimal", "lp")
    assert found.bound - found.welfare <= 1e-6 * abs(found.welfare)
    assert_feasible(p, found)


@pytest.mark.slow
def test_a_thousand_agents_burn_if_they_may():
    p = sunny_day(1.3, -0.3)
    found = plan(p, time_limit=300)
    assert (found.status, found.method) == ("optimal", "milp")
    assert found.mip_gap <= 1e-4
    assert_feasible(p, found)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("load", np.ones(3), r"load must have shape \(N, H\)"),
        ("generation", np.ones((3, 5)), r"generation must have shape \(3, 4\), got \(3, 5\)"),
        ("flexible", -np.ones((3, 4)), r"flexible\[0, 0\] must be a finite number in \[0, 1e\+12\], got -1.0"),
        ("efficiency", [1, 0, 1], r"efficiency\[1\] must be a finite number in \[1e-06, 1\], got 0.0"),
        ("efficiency", [1, 1e-300, 1], r"efficiency\[1\] must be a finite number in \[1e-06, 1\], got 1e-300"),
        ("soc0", [0, 0, 9], r"soc0\[2\] must be a finite number in \[0, capacity = .*\], got 9.0"),
        ("feed_in", [9, 0, 0, 0], r"feed_in\[0\] must be a finite number in \[-1e\+12, retail = .*\], got 9.0"),
        ("retail", [0, np.nan, 0, 0], r"retail\[1\] must be a finite number in \[-1e\+12, 1e\+12\], got nan"),
        ("co2", [0, 0, 0, -1], r"co2\[3\]"),
        ("curtailment", 1, "curtailment must be True or False"),
    ],
)
def test_bad_problems_are_refused(field, value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        dataclasses.replace(random_problem(0), **{field: value})


def test_bad_arguments_are_refused():
    p = random_problem(0)
    with pytest.raises(ValueError, match="mip_gap must be"):
        plan(p, mip_gap=-1)
    with pytest.raises(ValueError, match="time_limit must be"):
        plan(p, time_limit=0)
    with pytest.raises(ValueError, match=r"objectives\[1\] must be one of"):
        pareto_front(p, ("cost", "noise"))
    with pytest.raises(ValueError, match="two or three different ones"):
        pareto_front(p, ("cost", "cost"))
    with pytest.raises(ValueError, match="n_points must be"):
        pareto_front(p, n_points=1)


def test_kinds_of_arguments():
    """Bools, texts, nan and arrays are refused by name; numbers of numpy's are taken."""
    p = random_problem(0)
    days = p.load[None]
    limits = {"time_limit": (True, "1", np.nan, np.array([np.inf]), -1)}
    gaps = {"mip_gap": (True, "1", np.nan, np.array([1.0, 2.0]))}
    fronts = {
        "objectives": (3, None, "cost"),
        r"objectives\[0\]": ([True, "co2"], [3, "co2"], [np.array(["cost", "co2"]), "co2"]),
        "n_points": (True, "3", 2.5),
        "exact": (1, "yes", None),
    }
    risks = {
        "gamma": (True, "1", np.nan, 1.1),
        "alpha": (True, "1", np.nan, 0),
        "probability": ([0.5], ["a"], [np.nan]),
    }
    for call, wrong in (
        (lambda **change: plan(p, **change), limits | gaps),
        (lambda **change: pareto_front(p, **change), limits | gaps | fronts),
        (lambda **change: plan_scenarios(p, days, days, **({"gamma": 0.5} | change)), limits | risks),
        (
            lambda **change: efficiency(**({"welfare": 1, "no_trade": 0, "best": 2} | change)),
            {"best": (True, "1", None)},
        ),
    ):
        for name, values in wrong.items():
            for value in values:
                with pytest.raises((TypeError, ValueError), match=f"^{name} must"):
                    call(**{name.partition("\\")[0]: value})
    for field in ("load", "capacity", "retail", "co2"):
        right = getattr(p, field)
        for value in (
            right > 0,
            right.astype(str),
            np.ma.array(right, mask=True),
            None,
            np.full(right.shape, 1e13),
            [[1], [1, 2]],
        ):
            with pytest.raises((TypeError, ValueError), match=rf"^{field}(\[[\d, ]+\])? must"):
                dataclasses.replace(p, **{field: value})
    for function in (plan, pareto_front, no_trade, no_trade_welfare, burning_pays):
        with pytest.raises(TypeError, match="problem must be a PlanningProblem, got 3"):
            function(3)
    assert plan(p, mip_gap=np.float32(0.5), time_limit=np.int64(60)).status == "optimal"
    assert type(dataclasses.replace(p, curtailment=np.True_).curtailment) is bool


def test_a_problem_keeps_its_own_arrays():
    load = np.ones((1, 2))
    p = problem(load, [1, 1], [0, 0])
    load[:] = 5
    assert_array_equal(p.load, [[1, 1]])
    with pytest.raises(ValueError, match="read-only"):
        p.load[:] = 2


def test_no_trade_of_each_agent() -> None:
    """One who makes less than it needs, one who makes more; flexible demand worth .1 and .5."""
    two = problem(
        load=[[2.0], [1.0]],
        generation=[[0.5], [3.0]],
        flexible=[[1.0], [0.5]],
        flexible_value=np.array([0.1, 0.5]),
        retail=[0.3],
        feed_in=[0.05],
    )
    found = no_trade(two)
    assert_allclose(found.net, [[1.5], [-1.5]])
    assert_allclose(found.welfare, [-1.5 * 0.3, 0.5 * 0.5 + 1.5 * 0.05])
    assert no_trade_welfare(two) == pytest.approx(found.welfare.sum())
