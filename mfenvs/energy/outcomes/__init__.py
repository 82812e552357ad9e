"""Figures of played days of an energy market: welfare and efficiency, grid and prices, risk, settlement.

The welfare of a day, in EUR, is what the community as a whole gets: the worth of the flexible load served, less
the wear of the batteries, less the bill of the grid with the charge on its peaks, less the penalty of vehicles
that were not charged, less the settlement of charge that is missing or left at the end. Payments for local trade
are transfers between agents, and settlement fees are transfers to the operator or to routing nodes: both drop out,
so that welfare is the sum of the rewards and the fees.
"""

from mfenvs.energy.outcomes.day_outcome import MarketOutcome, market_outcome, realised_welfare
from mfenvs.energy.outcomes.efficiency import EfficiencyOutcome, price_of_anarchy, relative_efficiency
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.energy.outcomes.planning import GRID_CO2, best_plans, planning_problem
from mfenvs.energy.outcomes.risk import RiskOutcome, losses, risk_outcome
from mfenvs.energy.outcomes.settled_days import local_payments, settle, settlement_charges

__all__ = [
    "GRID_CO2",
    "EfficiencyOutcome",
    "Interval",
    "MarketOutcome",
    "RiskOutcome",
    "best_plans",
    "local_payments",
    "losses",
    "market_outcome",
    "planning_problem",
    "price_of_anarchy",
    "realised_welfare",
    "relative_efficiency",
    "risk_outcome",
    "settle",
    "settlement_charges",
]
