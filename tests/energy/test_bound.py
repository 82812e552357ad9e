"""The planner's bound is never beaten, whatever the market has and is played; and it is reached."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mfenvs.energy.outcomes import best_plans, market_outcome, planning_problem
from mfenvs.energy.record import record_days
from mfenvs.energy.welfare import SETTLEMENT, plan
from mfenvs.games.energy.market import EnergyMarket

SMALL = {"n_agents": 15, "first_day": 250, "n_days": 100}
DEVICES = {"peak_charge": 0.5, "shift_hours": 3, "ev_share": 0.4, "n_episode_days": 2, "horizon": 43}
LIMITS = {"import_limit_kw": 0.4, "export_limit_kw": 0.3}


class Extremes:
    """Everything at full power or not at all, at the best price or at the worst, drawn for all agents together."""

    def __init__(self, game, seed):
        self.space, self.rng = game.action_space, np.random.default_rng(seed)

    def actions(self, engine):
        ends = np.stack([self.space.low, self.space.high])
        drawn = self.rng.integers(2, size=len(self.space.low))
        one = ends[drawn, np.arange(len(drawn))]
        return np.tile(one, (engine.n_worlds, engine.game.n_agents, 1))


class Eager(Extremes):
    """Charges and wants everything at first, and empties the batteries in the evening."""

    def actions(self, engine):
        late = engine.time % 24 >= 17
        wanted = self.space.high.copy()
        wanted[0] = -1.0 if late else 1.0
        if late and len(wanted) > 3:
            wanted[1] = self.space.low[1]
        return np.tile(wanted, (engine.n_worlds, engine.game.n_agents, 1))


def assert_not_beaten(game, seed):
    plans = None
    for policy in (None, Extremes(game, seed), Eager(game, seed)):
        record = record_days(game, policy, n_worlds=2, seed=seed)
        plans = best_plans(record) if plans is None else plans
        outcome = market_outcome(record, plans=plans)  # It raises where the bound is beaten.
        assert (outcome.efficiency <= 1 + 1e-5).all()
        earned = (record.account("reward") + record.account("fee")).sum(axis=(1, 2))
        assert_allclose(outcome.welfare, earned, atol=1e-9 * np.abs(record.accounts).sum())


@pytest.mark.parametrize("seed", range(3))
def test_in_version_1_nobody_beats_the_planner(seed):
    assert_not_beaten(EnergyMarket(**SMALL, fee=0.01), seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imbalance", "more"),
    [
        *itertools.product(("pooled", "individual", "ex-post"), (DEVICES | LIMITS, LIMITS)),
        ("pooled", DEVICES | {"peak_of": "member"}),
        ("individual", {"prices": "one", "shift_hours": 2, "peak_of": "member", "peak_charge": 1.0}),
        ("pooled", {"dynamic_tariffs": True, "step_minutes": 15, **LIMITS}),
    ],
)
def test_nobody_beats_the_planner_whatever_the_market_has(imbalance, more):
    for seed, bad in itertools.product(range(3), ({}, {"weather_sd": 0.3})):
        assert_not_beaten(EnergyMarket(**SMALL, imbalance=imbalance, **more, **bad), seed)


@pytest.mark.slow
def test_the_terms_of_a_market_are_those_of_its_planning_problem():
    game = EnergyMarket(**SMALL, **DEVICES, network_charge=0.1)
    record = record_days(game, n_worlds=1)
    problem = planning_problem(record, 0, settles_charge=False)
    assert problem.days.tolist() == [0] * 24 + [1] * 19
    assert (problem.peak_charge, problem.step_hours, problem.shift_steps) == (pytest.approx(0.5), 1, 3)
    assert not problem.curtailment
    assert np.isinf(problem.import_limit).all()
    assert len(problem.sessions) > 3
    assert_allclose(problem.retail, record.signals[0, :, -1])
    whole = planning_problem(record, 0)
    assert (whole.days[43:] == SETTLEMENT).all()
    assert plan(whole).bound >= plan(problem).bound - 1e-6
    # Load that can be shifted comes as the series has it.
    first, days, day = game.agents[0], game.days, int(record.day[0])
    load = days.load[(day + 1 + first.shift) % days.n_days, 5, first.profile]
    assert problem.flexible[0, 29] == pytest.approx(first.flexible_share * first.load_scale * load, rel=1e-5)


@pytest.mark.slow
def test_limits_leave_room_for_what_the_market_does_not_cut():
    game = EnergyMarket(**SMALL, **LIMITS)
    record = record_days(game, n_worlds=2)
    problem = planning_problem(record, 1, settles_charge=False)
    assert problem.curtailment
    net = record.account("imports")[1].sum(axis=1) - record.account("exports")[1].sum(axis=1)
    assert (net <= problem.import_limit + 1e-4).all()
    assert (-net <= problem.export_limit + 1e-4).all()
    # They are not so wide that they never bind.
    assert (problem.export_limit < record.account("generation")[1].sum(axis=1).max()).any()
    assert problem.import_limit.min() < 15 * 0.4 + 5
