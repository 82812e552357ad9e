"""Equilibria of typed mean-field games with a one-dimensional state, from their partial differential equations.

``solve(game, grid)`` solves a :class:`ContinuousGame`, given by plain functions for each :class:`AgentType`, on a
:class:`Grid`, and returns an :class:`Equilibrium`: densities, values, feedback controls, costs, residuals and
errors.
"""

from .game import AgentType, ContinuousGame, Grid
from .mean_field import MeanField
from .policy import FeedbackPolicy, StateTypeTime
from .result import Equilibrium, ErrorEstimate
from .settings import Settings
from .solver import BoundaryWarning, ConvergenceWarning, solve

__all__ = [
    "AgentType",
    "BoundaryWarning",
    "ContinuousGame",
    "ConvergenceWarning",
    "Equilibrium",
    "ErrorEstimate",
    "FeedbackPolicy",
    "Grid",
    "MeanField",
    "Settings",
    "StateTypeTime",
    "solve",
]
