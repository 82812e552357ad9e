"""Risk of a sample of losses: Conditional Value-at-Risk and the risk-adjusted objective."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks


def cvar(losses: ArrayLike, alpha: float) -> Any:
    """Conditional Value-at-Risk (CVaR) of a sample of losses: the mean of its worst share ``alpha``.

    It is min_z z + mean((c - z)+) / alpha [S] in closed form: the objective is convex and piecewise linear in z
    with its minimum at an order statistic, where it is the sum of the largest alpha K losses divided by alpha K,
    the last of them counted in part.

    Parameters
    ----------
    losses:
        Equally likely losses along the last axis, shape (..., K), in any unit.
    alpha:
        Tail share in (0, 1]: .05 is the worst twentieth, 1 the mean.

    Returns
    -------
    float or NDArray
        CVaR in the losses' unit, shape (...): a float for a single sample, else a float64 array.

    Raises
    ------
    TypeError, ValueError
        If ``losses`` are not finite numbers, at least one a sample, or ``alpha`` is not in (0, 1].

    References
    ----------
    Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2, 2000.
    """
    sample, alpha = _sample(losses), checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
    n = sample.shape[-1]
    # How much of each loss, from the largest on, lies in the tail: 1, ..., 1, a part, 0, ..., 0.
    shares = np.clip(alpha * n - np.arange(n), 0.0, 1.0)
    tail = np.sort(sample, axis=-1)[..., ::-1] @ shares / (alpha * n)
    return tail if sample.ndim > 1 else float(tail)


def risk_adjusted(losses: ArrayLike, gamma: ArrayLike, alpha: float) -> Any:
    """The risk-adjusted objective (1 - gamma) E[c] + gamma CVaR_alpha(c) of a sample of losses c [S].

    It is that of the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games".

    Parameters
    ----------
    losses:
        Equally likely losses along the last axis, shape (..., K).
    gamma:
        Risk aversion in [0, 1], one number or one a sample, shape (...).
    alpha:
        Tail share of the CVaR in (0, 1].

    Returns
    -------
    float or NDArray
        Objective in the losses' unit, shape (...): a float for a single sample, else a float64 array.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    sample = _sample(losses)
    given = checks.numbers("gamma", gamma)
    shape = sample.shape[:-1] if given.ndim else ()
    aversion = checks.numbers("gamma", given, shape).reshape(shape)
    if not ((aversion >= 0) & (aversion <= 1)).all():
        raise ValueError(f"gamma must be in [0, 1], got {gamma!r}")
    adjusted = (1.0 - aversion) * sample.mean(axis=-1) + aversion * cvar(sample, alpha)
    return adjusted if sample.ndim > 1 else float(adjusted)


def _sample(losses: ArrayLike) -> NDArray[np.float64]:
    array = checks.finite_numbers("losses", losses)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"losses must have shape (..., K) with K >= 1, got {array.shape}")
    return array
