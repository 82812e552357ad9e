"""The linear-quadratic game of typed agents in closed form: equilibrium, social optimum, best response among N."""

from .best_response import NPlayerBestResponse, n_player_best_response, n_player_gaps
from .coefficients import Coefficients, coefficients
from .costs import deviation_cost, population_costs
from .equilibrium import competitive_equilibrium, critical_horizons, price_of_anarchy, social_optimum
from .partial_differential import continuous_game
from .policies import LinearQuadraticPolicy
from .scheme import scheme_gains, scheme_moments
from .solution import LinearQuadraticSolution

__all__ = [
    "Coefficients",
    "LinearQuadraticPolicy",
    "LinearQuadraticSolution",
    "NPlayerBestResponse",
    "coefficients",
    "competitive_equilibrium",
    "continuous_game",
    "critical_horizons",
    "deviation_cost",
    "n_player_best_response",
    "n_player_gaps",
    "population_costs",
    "price_of_anarchy",
    "scheme_gains",
    "scheme_moments",
    "social_optimum",
]
