"""Local equilibria and local social optima of parametrised policies: residuals that certify learned points."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mfenvs import checks
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.stationary.gradient import welfare_gradient
from mfenvs.meanfield.stationary.points import Array, check_discounted, discounted_visits, in_mean_field, policy_of

STEP = 1e-4
"""Step of difference quotients in theta, relative to max(1, |theta|): they are of fourth order."""


def local_equilibrium_residual(
    induced: InducedGame,
    theta: ArrayLike,
    policy_of_theta: Callable[[Array], Any],
    jacobian: ArrayLike | None = None,
    *,
    mean_field: ArrayLike | None = None,
    bounds: tuple[float, float] | None = None,
) -> Array:
    """Compute dJ_{theta,z} / dtheta with the mean field z held fixed: zero at a local equilibrium (LSMFE).

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    theta:
        The policy's parameters, shape (n,).
    policy_of_theta:
        Function from parameters to a policy, shape (1, S, A) or (S, A). It must be differentiable: a threshold
        policy on a grid of states is not, and its residual is 0 almost everywhere.
    jacobian:
        The derivative d pi / d theta at ``theta``, shape (n, S, A) or (n, 1, S, A). By default difference
        quotients.
    mean_field:
        The mean field z, a law of the state (S,) or of state and action (S, A); by default the policy's own. An
        LSMFE also needs that it is consistent (:func:`mfenvs.meanfield.stationary.best_response_gap`).
    bounds:
        Smallest and largest value allowed of every parameter. The residual is then that of projected ascent,
        Proj(theta + gradient) - theta.

    Returns
    -------
    The residual, shape (n,).

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019, LSMFE.
    """
    point, policy, slopes = _parametrised(induced, theta, policy_of_theta, jacobian)
    evaluated = in_mean_field(induced, policy, mean_field)
    q = evaluated.action_values(induced.game.discount)
    return _residual(point, slopes, discounted_visits(induced, evaluated)[:, None] * q, bounds)


def local_welfare_residual(
    induced: InducedGame,
    theta: ArrayLike,
    policy_of_theta: Callable[[Array], Any],
    jacobian: ArrayLike | None = None,
    *,
    bounds: tuple[float, float] | None = None,
) -> Array:
    """Compute the total derivative dJ_{theta,z(theta)} / dtheta: zero at a local social optimum (LSMF-SO).

    Parameters
    ----------
    induced, theta, policy_of_theta, jacobian, bounds:
        As for :func:`local_equilibrium_residual`.

    Returns
    -------
    The residual, shape (n,).

    Raises
    ------
    NotDifferentiableError
        If the stationary law has no derivative (:func:`mfenvs.meanfield.stationary.welfare_gradient`).
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019, LSMF-SO.
    """
    point, policy, slopes = _parametrised(induced, theta, policy_of_theta, jacobian)
    return _residual(point, slopes, welfare_gradient(induced, policy).total, bounds)


def _parametrised(
    induced: InducedGame, theta: ArrayLike, policy_of_theta: Callable[[Array], Any], jacobian: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """The parameters (n,), the policy (1, S, A) and its derivatives (n, S, A)."""
    check_discounted(induced)
    point = checks.finite_numbers("theta", theta)
    if point.ndim != 1 or not point.size:
        raise ValueError(f"theta must have shape (n,) with n >= 1, got {point.shape}")
    if not callable(policy_of_theta):
        raise TypeError(f"policy_of_theta must be a function of parameters, got {checks.shown(policy_of_theta)}")

    def table(at: Array) -> Array:
        found: Array = policy_of(induced, policy_of_theta(at), "policy_of_theta(theta)")[0]
        return found

    policy = table(point.copy())
    shape = (len(point), *policy.shape)
    if jacobian is not None:
        found = checks.array("jacobian", jacobian)
        if found.shape == (len(point), 1, *policy.shape):
            found = found[:, 0]
        return point, policy[None], checks.finite_numbers("jacobian", found, shape)
    slopes = np.empty(shape)
    for i in range(len(point)):
        step = np.zeros(len(point))
        step[i] = STEP * max(1.0, abs(point[i]))
        near = table(point + step) - table(point - step)
        far = table(point + 2.0 * step) - table(point - 2.0 * step)
        slopes[i] = (8.0 * near - far) / (12.0 * step[i])
    return point, policy[None], slopes


def _residual(point: Array, slopes: Array, gradient: Array, bounds: tuple[float, float] | None) -> Array:
    ascent: Array = np.tensordot(slopes, gradient, 2)
    if bounds is None:
        return ascent
    wanted = "be two numbers, the smallest and the largest value"
    found = checks.sequence("bounds", bounds, wanted)
    if len(found) != 2:
        raise ValueError(f"bounds must {wanted}, got {checks.shown(bounds)}")
    low, high = checks.real("bounds[0]", found[0]), checks.real("bounds[1]", found[1])
    if not (low <= point.min() and point.max() <= high):
        raise ValueError(f"theta must be within bounds [{low:g}, {high:g}], got {checks.shown(point.tolist())}")
    projected: Array = np.clip(point + ascent, low, high) - point
    return projected
