"""Figures of merit of played days of an energy market: the grid, batteries, bills, participation, fairness."""

from mfenvs.energy.merit.exchange import GridExchange, grid_exchange
from mfenvs.energy.merit.fairness import gini
from mfenvs.energy.merit.figures import UNITS, FiguresOfMerit, figures_of_merit
from mfenvs.energy.merit.grid import GridFigures, grid_figures
from mfenvs.energy.merit.members import MemberFigures, member_figures
from mfenvs.energy.merit.without_market import StatusQuo, status_quo

__all__ = [
    "UNITS",
    "FiguresOfMerit",
    "GridExchange",
    "GridFigures",
    "MemberFigures",
    "StatusQuo",
    "figures_of_merit",
    "gini",
    "grid_exchange",
    "grid_figures",
    "member_figures",
    "status_quo",
]
