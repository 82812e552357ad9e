"""Exact solvers of stationary mean-field games: equilibria and social optima of discounted finite games.

A population plays a stationary policy pi; its mean field settles at z = Phi(z, pi), reached from the initial law;
a single agent earns the discounted value in it. At a *stationary mean-field equilibrium* (SMFE) pi is a best
response to its own z. The *social optimum* (SMF-SO) maximises the value of pi at its own z. (Subramanian &
Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019.) Which function to use:

* :func:`social_welfare` evaluates a policy: mean field, value, best-response gap. :func:`best_response_gap` does
  so for a policy in any mean field, such as a learned one.
* :func:`find_equilibrium` searches one equilibrium in any game, mixed ones included. :func:`find_equilibria`
  starts it from many policies; use it before a statement about *the* equilibrium.
* :func:`threshold_search` looks at all threshold policies of a game with two actions and states along a line. It
  is exhaustive, fast, and needs no derivatives, but sees nothing else.
* :func:`find_social_optimum` ascends on the exact gradient over all stochastic policies, from several starts:
  local optima, of which the best is returned. Where the population has several recurrent classes and social
  welfare jumps, compare it with :func:`threshold_search`.
* :func:`price_of_anarchy` compares equilibria with the social optimum.
* :func:`welfare_gradient`, :func:`local_equilibrium_residual` and :func:`local_welfare_residual` are derivatives,
  of tables and of parametrised policies: they certify the local points (LSMFE, LSMF-SO) that policy gradients
  reach.

Iterative results say whether they converged (``converged``, ``reason``); nothing is certified that did not.
"""

from mfenvs.meanfield.stationary.anarchy import PriceOfAnarchy, find_equilibria, price_of_anarchy
from mfenvs.meanfield.stationary.equilibrium import Equilibrium, find_equilibrium
from mfenvs.meanfield.stationary.gradient import NotDifferentiableError, WelfareGradient, welfare_gradient
from mfenvs.meanfield.stationary.local import local_equilibrium_residual, local_welfare_residual
from mfenvs.meanfield.stationary.points import ResponseGap, StationaryPoint, best_response_gap, social_welfare
from mfenvs.meanfield.stationary.social_optimum import Ascent, SocialOptimum, find_social_optimum
from mfenvs.meanfield.stationary.thresholds import (
    ThresholdPoint,
    ThresholdSearch,
    threshold_policy,
    threshold_search,
)

__all__ = [
    "Ascent",
    "Equilibrium",
    "NotDifferentiableError",
    "PriceOfAnarchy",
    "ResponseGap",
    "SocialOptimum",
    "StationaryPoint",
    "ThresholdPoint",
    "ThresholdSearch",
    "WelfareGradient",
    "best_response_gap",
    "find_equilibria",
    "find_equilibrium",
    "find_social_optimum",
    "local_equilibrium_residual",
    "local_welfare_residual",
    "price_of_anarchy",
    "social_welfare",
    "threshold_policy",
    "threshold_search",
    "welfare_gradient",
]
