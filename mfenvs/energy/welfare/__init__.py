"""Welfare of a day's energy community: the planner's optimum, the day without trade, efficiency, Pareto fronts.

The welfare W of a day, in EUR, is what the community as a whole gets: the worth of the flexible demand served,
less the wear of batteries, less the bill of the pooled exchange with the grid, the charge on its daily peaks and
the penalty of vehicles that were not charged. Local trade is a transfer between agents and drops out.

A central planner who knows the whole day in advance (perfect foresight) schedules every battery, all flexible
demand, which may be shifted for a while, and the charging of vehicles, within the limits of the exchange. Each
battery ends the day with at least its initial charge [R]. Its welfare W* is the best that any policy of the agents
can reach. W_0 is the welfare without local trade and with idle batteries. The efficiency of a policy with welfare
W is (W - W_0) / (W* - W_0) [S], after the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games". The
programs, linear (LP) or with integers (MILP), are solved by HiGHS through :func:`scipy.optimize.milp`.

Charging and discharging a battery in the same step burns energy. That can only pay where energy has a negative
price below the wear that it causes (:func:`burning_pays`) or where it relieves the export, its peak or its limit.
Everywhere else an exchange argument shows that the linear program is exact: replacing both flows by the one that
moves the state of charge by as much lowers the community's net load and the throughput, hence never the welfare.
"""

from mfenvs.energy.welfare.charging_sessions import NO_SESSIONS, ChargingSessions
from mfenvs.energy.welfare.pareto import OBJECTIVES, ParetoFront, pareto_front
from mfenvs.energy.welfare.planner import Plan, plan
from mfenvs.energy.welfare.pooling import Pool, pool
from mfenvs.energy.welfare.problem import (
    SETTLEMENT,
    NoTrade,
    PlanningProblem,
    burning_pays,
    efficiency,
    no_trade,
    no_trade_welfare,
)
from mfenvs.energy.welfare.scenarios import ScenarioPlan, plan_scenarios

__all__ = [
    "NO_SESSIONS",
    "OBJECTIVES",
    "SETTLEMENT",
    "ChargingSessions",
    "NoTrade",
    "ParetoFront",
    "Plan",
    "PlanningProblem",
    "Pool",
    "ScenarioPlan",
    "burning_pays",
    "efficiency",
    "no_trade",
    "no_trade_welfare",
    "pareto_front",
    "plan",
    "plan_scenarios",
    "pool",
]
