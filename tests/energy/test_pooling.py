"""Pooled planning problems: as good as the whole, and their schedules can be followed by every agent."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mfenvs.energy.welfare import SETTLEMENT, ChargingSessions, PlanningProblem, plan, pool

N, H, WINDOW = 9, 7, 2


def problem(seed, window=WINDOW, kinds=3):
    """A problem of nine agents of three kinds each of battery, worth of flexible demand and vehicle."""
    rng = np.random.default_rng(seed)
    battery, worth, car = rng.integers(kinds, size=(3, N))
    capacity = rng.uniform(1, 5, N) * (battery > 0)
    feed_in = rng.uniform(0, 0.2, H)
    of_kind = {name: rng.uniform(0.3, 0.9, kinds)[battery] for name in ("soc0", "soc_end", "power")}
    return PlanningProblem(
        load=rng.uniform(0, 2, (N, H)),
        generation=rng.uniform(0, 4, (N, H)) * (rng.random((N, H)) < 0.6),
        flexible=rng.uniform(0, 1, (N, H)) * (rng.random((N, H)) < 0.7),
        flexible_value=rng.uniform(0, 0.5, kinds)[worth],
        capacity=capacity,
        power=of_kind["power"] * capacity,
        efficiency=rng.uniform(0.8, 1, kinds)[battery],
        soc0=of_kind["soc0"] * capacity,
        soc_end=of_kind["soc_end"] * np.minimum(of_kind["soc0"], 0.5) * capacity,
        degradation=rng.uniform(0, 0.03, kinds)[battery],
        retail=feed_in + rng.uniform(0, 0.3, H),
        feed_in=feed_in,
        co2=np.ones(H),
        day=[0, 0, 0, 1, 1, 1, SETTLEMENT],
        peak_charge=0.2,
        shift_steps=window,
        backlog=rng.uniform(0, 1, (N, window)),
        sessions=ChargingSessions(
            np.arange(N),
            np.array([0, 1, 3])[car],
            np.array([4, 5, 20])[car],
            2.0 * np.arange(1, N + 1),
            1.0 * np.arange(1, N + 1),
            np.array([0.3, 1.0, 0.2])[car],
        ),
    )


def welfare(p, found):
    """What a schedule is worth, from its flows alone; it must keep every rule."""
    assert (np.minimum(found.charge, found.discharge) <= 1e-7).all()
    for flow in (found.charge, found.discharge):
        assert (flow >= -1e-9).all()
        assert (flow <= p.power[:, None] + 1e-6).all()
    soc = p.soc0[:, None] + np.cumsum(
        p.efficiency[:, None] * found.charge - found.discharge / p.efficiency[:, None], axis=1
    )
    assert_allclose(found.soc[:, 1:], soc, atol=1e-6)
    assert (soc >= -1e-6).all()
    assert (soc <= p.capacity[:, None] + 1e-6).all()
    assert (soc[:, -1] >= p.end_soc - 1e-6).all()
    # Nobody is served before it demands, nor more than what arose in the window: in all runs of steps.
    arrivals = p.arrivals
    for first in range(H):
        for last in range(first, H):
            most = arrivals[:, first : last + p.shift_steps + 1].sum(axis=1)
            assert (found.served[:, first : last + 1].sum(axis=1) <= most + 1e-6).all()
    cars = p.sessions
    assert (found.vehicles >= -1e-9).all()
    assert (found.vehicles <= cars.power[:, None] * cars.is_plugged_in(H) + 1e-6).all()
    missing = cars.energy - found.vehicles.sum(axis=1)
    assert (missing >= -1e-6).all()
    flows = found.served + found.charge - found.discharge + p.load - p.generation
    net = flows.sum(axis=0) + found.vehicles.sum(axis=0)
    peaks = [max(net[p.days == day].max(), 0) for day in range(p.n_days)]
    bill = np.where(net > 0, p.retail, p.feed_in) @ net + p.peak_charge * sum(peaks)
    wear = p.degradation @ (found.charge + found.discharge).sum(axis=1)
    return p.flexible_value @ found.served.sum(axis=1) - wear - bill - cars.penalty @ missing


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_the_pooled_optimum_is_that_of_all_agents(seed, window):
    p = problem(seed, window)
    whole, pooled = plan(p), pool(p)
    assert pooled.problem.n_agents <= 2 + 3
    assert len(pooled.problem.sessions) <= 3
    found = plan(pooled.problem)
    assert found.welfare == pytest.approx(whole.welfare, abs=1e-6)
    assert welfare(p, pooled.plan(found)) == pytest.approx(whole.welfare, abs=1e-5)
    assert welfare(p, whole) == pytest.approx(whole.welfare, abs=1e-6)


def test_what_is_not_alike_stays_apart():
    p = problem(0)
    for field in ("soc0", "soc_end", "power", "efficiency", "degradation"):
        changed = getattr(p, field).copy()
        changed[np.argmax(p.capacity)] *= 0.9
        apart = pool(dataclasses.replace(p, **{field: changed}))
        assert apart.battery.max() == pool(p).battery.max() + 1
        # Unless the tolerance says that it is the same.
        assert pool(dataclasses.replace(p, **{field: changed}), tolerance=10).battery.max() == 0
    assert pool(p, value_tolerance=10).demand.max() == pool(p).battery.max() + 1


def test_agents_who_have_nothing_are_one():
    bare = dataclasses.replace(problem(1), capacity=np.zeros(N), soc0=np.zeros(N), soc_end=None, backlog=None)
    bare = dataclasses.replace(bare, flexible=np.zeros((N, H)), sessions=ChargingSessions())
    pooled = pool(bare)
    assert pooled.problem.n_agents == 1
    assert_allclose(pooled.problem.load[0], bare.load.sum(axis=0))
    assert pooled.plan(plan(pooled.problem)).served.shape == (N, H)


def test_bad_arguments():
    with pytest.raises(TypeError, match="problem must be a PlanningProblem, got 3"):
        pool(3)
    for name in ("tolerance", "value_tolerance"):
        with pytest.raises(ValueError, match=f"^{name} must"):
            pool(problem(0), **{name: 0})
