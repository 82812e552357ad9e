"""Risk of the agents' daily losses, with intervals over days."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.energy import risk_measures
from mfenvs.energy.outcomes.interval import Interval
from mfenvs.evaluation import evaluate
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.wrappers.observations import Observe

Array = NDArray[np.float64]

N_RESAMPLES = 1000
"""Number of bootstrap resamples."""

CONFIDENCE = 0.95
"""Confidence level of the bootstrap intervals."""


@dataclasses.dataclass(frozen=True)
class RiskOutcome:
    """Risk of the agents' daily losses c, mean over agents, EUR; each with a 95 % interval over days."""

    expected: Interval
    """Expected loss E[c]."""
    cvar: Interval
    """Conditional Value-at-Risk CVaR_alpha(c), each agent's over its own worst days."""
    adjusted: Interval
    """Risk-adjusted loss (1 - gamma_i) E[c] + gamma_i CVaR_alpha(c) [S] with each agent's own risk aversion."""


def losses(
    game: EnergyMarket, policy: Any, *, observe: Observe | None = None, n_worlds: int = 200, seed: int = 0
) -> Array:
    """Loss of every agent on every day, which is minus its return: EUR, shape (n_worlds, N).

    Parameters are those of :func:`mfenvs.evaluate`, which plays the days.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    return -evaluate(game, policy, observe=observe, n_worlds=n_worlds, seed=seed).returns


def risk_outcome(losses: ArrayLike, gamma: ArrayLike, alpha: float = 0.05, seed: int = 0) -> RiskOutcome:
    """Expected loss, CVaR and risk-adjusted loss of a population, with bootstrap intervals.

    Days are the independent units: agents of one day share its weather and its prices, so that a day is resampled
    with all of them (basic bootstrap, 1,000 resamples). CVaR (Conditional Value-at-Risk) is that of each agent's
    own losses, the mean over the worst alpha n of n days. It is too low if there are few days, and its interval is
    too narrow: in simulations with alpha = .05 the interval held the true CVaR of normal losses in 92 % of samples
    of 200 days and in 85 % of 50 days, of Student-t losses with 4 degrees of freedom in 82 % and 63 %. The
    interval of E[c] held in 93 to 95 %.

    Parameters
    ----------
    losses:
        Loss of every agent on every day, EUR, shape (n_days, N), n_days >= 2; or (n_days, n_repeats, N) where each
        day was played several times: then a day is resampled with all its repeats.
    gamma:
        Risk aversion of the agents, in [0, 1], one number or shape (N,), such as ``game.agents["risk_aversion"]``.
    alpha:
        Tail share of the CVaR, in (0, 1]: .05 is the worst twentieth of the days.
    seed:
        Random seed of the bootstrap, >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    sample = checks.finite_numbers("losses", losses)
    if sample.ndim not in (2, 3) or len(sample) < 2 or 0 in sample.shape:
        raise ValueError(
            f"losses must have shape (n_days, N) or (n_days, n_repeats, N) with n_days >= 2, got {sample.shape}"
        )
    n_agents = sample.shape[-1]
    given = checks.numbers("gamma", gamma)
    aversion = np.broadcast_to(given, n_agents) if given.ndim == 0 else given
    rng = np.random.default_rng(checks.integer("seed", seed, 0))
    found = _risks(sample.reshape(-1, n_agents).T, aversion, alpha)
    draws = rng.integers(len(sample), size=(N_RESAMPLES, len(sample)))
    resampled = [_risks(sample[days].reshape(-1, n_agents).T, aversion, alpha) for days in draws]
    below, above = np.quantile(resampled, (0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2), axis=0)
    # Reflected: a resample's tail is less bad than the sample's as the sample's is less bad than the law's.
    low, high = 2 * np.array(found) - below, 2 * np.array(found) - above
    return RiskOutcome(*(Interval(*row) for row in zip(found, low.tolist(), high.tolist(), strict=True)))


def _risks(sample: NDArray[Any], gamma: ArrayLike, alpha: float) -> tuple[float, float, float]:
    """Means over agents of expected loss, CVaR and risk-adjusted loss; ``sample`` has shape (N, n_days)."""
    cvar = risk_measures.cvar(sample, alpha)
    adjusted = risk_measures.risk_adjusted(sample, gamma, alpha)
    return float(sample.mean()), float(cvar.mean()), float(adjusted.mean())
