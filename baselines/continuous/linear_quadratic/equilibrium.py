"""Competitive equilibrium and social optimum of the linear-quadratic game in the mean field, in closed form.

Both have the same form. The control of an agent of type tau is affine in its state,

    u = -(b / r) (P(t) x + xi(t)),

with P of a scalar Riccati equation of the type alone [R: the source couples the types' Riccati equations; they are
coupled in xi only]. With the costate y = P m + xi of the mean state m of each type, (m, y) solves a linear system
of constant coefficients: by Pontryagin's principle

    m' = a m + kappa xbar - S y,   y' = -q m - s xbar - a y,   m(0) = m_0,   y(T) = q_T m(T)

in equilibrium, S = b^2 / r and xbar = sum_tau lambda_tau m_tau. The social planner, who minimises the sum of
lambda_tau J_tau, sees the effect of xbar on all: its y' has one term more, the sum over all types of
-lambda_tau (s m + kappa y)_tau.

Under common noise, certainty equivalence holds: the gains P stay, and xi follows the means given the common noise,
xi = (Pi(t) - diag(P)) m, where y = Pi m on the solutions of the linear system.

All quantities are those of continuous time and of infinitely many agents.
"""

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.linear_quadratic.game import LinearQuadratic

from .coefficients import Coefficients, coefficients
from .riccati import ScalarRiccati
from .solution import LinearQuadraticSolution
from .two_point import LEAST_ANGLE, TwoPointProblem

Array = NDArray[np.float64]


def competitive_equilibrium(game: LinearQuadratic) -> LinearQuadraticSolution:
    """The mean-field equilibrium: every agent's feedback is optimal for it, given the mean that all bring about.

    Parameters
    ----------
    game:
        The game; the mean field has its proportions of types.

    Returns
    -------
    LinearQuadraticSolution
        Its boundary-value problem is solved to round-off.

    Raises
    ------
    TypeError
        If it is another game.
    ValueError
        If a type's costs are unbounded below, or if the equilibrium is not unique. The messages name the type, and
        the durations at which uniqueness is lost. There, equilibria are infinitely many or none; for all other
        durations there is exactly one.

    References
    ----------
    "Math Deep Dive: Understanding Mean-Field-Type Games", sections 2.2 and 8.
    Bensoussan, Sung, Yam & Yung (2016). Linear-quadratic mean field games. Journal of Optimization Theory and
    Applications 169.
    """
    c, riccati, problem = _equations(game, is_equilibrium=True)
    if _is_singular(riccati, problem):
        lost = min(
            problem.critical_horizons, key=lambda horizon: abs(horizon - game.duration), default=game.duration
        )
        raise ValueError(
            f"the equilibrium is not unique: uniqueness is lost at the duration {lost:.9g}, got duration"
            f" {game.duration:.9g}, at which the determinant of the boundary conditions is zero (least singular"
            f" value {problem.angle:.2g}); take another duration"
        )
    return LinearQuadraticSolution(game, c, True, riccati, problem, problem.path(c.first_mean))


def social_optimum(game: LinearQuadratic) -> LinearQuadraticSolution:
    """The feedback of all agents that minimises the sum of lambda_tau J_tau: mean-field control.

    Parameters
    ----------
    game:
        The game; the population has its proportions of types.

    Returns
    -------
    LinearQuadraticSolution
        Its boundary-value problem is solved to round-off.

    Raises
    ------
    TypeError
        If it is another game.
    ValueError
        If the costs are unbounded below; the message names the duration from which on they are.
    """
    c, riccati, problem = _equations(game, is_equilibrium=False)
    if problem.critical_horizons or _is_singular(riccati, problem):
        lost = min((*problem.critical_horizons, game.duration))
        raise ValueError(
            f"the social planner's costs are unbounded below from a duration of {lost:.9g} on, got duration"
            f" {game.duration:.9g} (coupling_cost or coupling is too negative)"
        )
    return LinearQuadraticSolution(game, c, False, riccati, problem, problem.path(c.first_mean))


def price_of_anarchy(game: LinearQuadratic) -> float:
    """The total cost in the competitive equilibrium over that in the social optimum, at least 1.

    Raises
    ------
    TypeError, ValueError
        As of :func:`competitive_equilibrium` and :func:`social_optimum`, and if the optimal cost is not positive,
        as a ratio then says nothing.
    """
    best = social_optimum(game).total_cost
    if not best > 0.0:
        raise ValueError(f"the price of anarchy is a ratio of positive costs, but the optimal cost is {best:g}")
    return competitive_equilibrium(game).total_cost / best


def critical_horizons(game: LinearQuadratic) -> tuple[float, ...]:
    """The durations, up to the game's own, for which the competitive equilibrium is not unique, ascending.

    Raises
    ------
    TypeError, ValueError
        If it is another game, or a type's costs are unbounded below.
    """
    *_, problem = _equations(game, is_equilibrium=True)
    return problem.critical_horizons


def _equations(
    game: LinearQuadratic, *, is_equilibrium: bool
) -> tuple[Coefficients, ScalarRiccati, TwoPointProblem]:
    """A game's equations, of which it is not known yet whether they have a unique solution."""
    c = coefficients(game)
    riccati = ScalarRiccati(c, game.types)
    problem = TwoPointProblem(_hamiltonian(c, is_equilibrium), np.diag(c.terminal_cost), c.duration)
    return c, riccati, problem


def _is_singular(riccati: ScalarRiccati, problem: TwoPointProblem) -> bool:
    """Whether the boundary conditions at the game's own duration are singular to working precision.

    The angle is compared with that of a feedback y = P m: it is small too where P is large.
    """
    usual = min(1.0, problem.scale / max(float(np.abs(riccati(0.0)).max()), 1e-300))
    return problem.angle < LEAST_ANGLE * usual


def _hamiltonian(c: Coefficients, is_equilibrium: bool) -> Array:
    """The matrix H of (m, y)' = H (m, y): that of the module's docstring, shape (2 n_types, 2 n_types)."""
    n = len(c.share)
    own = np.diag(c.drift)
    matrix = np.empty((2 * n, 2 * n))
    matrix[:n, :n] = own + np.outer(c.coupling, c.share)
    matrix[:n, n:] = -np.diag(c.strength)
    matrix[n:, :n] = -np.diag(c.state_cost) - np.outer(c.coupling_cost, c.share)
    matrix[n:, n:] = -own
    if not is_equilibrium:
        matrix[n:, :n] -= c.share * c.coupling_cost
        matrix[n:, n:] -= c.share * c.coupling
    return matrix
