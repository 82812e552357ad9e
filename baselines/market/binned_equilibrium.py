"""Approximate equilibrium of the binned energy market that holds in the market itself, too."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mfenvs import InducedGame, checks
from mfenvs.games.energy.binned import BinnedEnergyMarket

from ..solvers.fixed_point import FictitiousPlay

Array = NDArray[np.float64]

LITTLE_MASS = 1e-6
"""Mass, as a share of the group's, of which best responses are added to a policy in every state."""


@dataclasses.dataclass(frozen=True, eq=False)
class BinnedEquilibrium:
    """What :func:`binned_equilibrium` returns."""

    policy: Array
    """Policy of the binned game, shape (H, S, 30); :class:`baselines.market.policies.BinnedPolicy` plays it in the
    market."""
    exploitability: float
    """Its exploitability in the binned game, EUR per agent and day."""
    iterations: int
    """Number of iterations."""


def binned_equilibrium(
    game: BinnedEnergyMarket,
    *,
    tolerance: float = 1e-3,
    seconds: float = 60.0,
    clock: Callable[[], float] = time.perf_counter,
) -> BinnedEquilibrium:
    """Approach an equilibrium of the binned market by fictitious play [O].

    :func:`mfenvs.solve` takes any game and any policy of little exploitability. This one is for policies that are
    played in the market, whose charges lie between the bins and whose prices differ a little from the binned
    game's. So of limit prices that are worth the same all are played: were all of a group's orders to have one
    limit, a little too much supply would let the price fall to the feed-in tariff. And states that nobody reaches
    in the binned game have best responses, not whatever the average of policies holds there.

    Parameters
    ----------
    game:
        The binned market.
    tolerance:
        Exploitability at which to stop, >= 0, EUR per agent and day.
    seconds:
        Time limit, > 0, without compilation.
    clock:
        Function that returns the time in seconds.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    """
    if not isinstance(game, BinnedEnergyMarket):
        raise TypeError(f"game must be a BinnedEnergyMarket, got {checks.shown(game)}")
    solver = FictitiousPlay(game, ties="shared", step_delay=1.0)
    solver.solve(tolerance=tolerance, seconds=seconds, stalls=False, clock=clock)
    policy = with_replies(game, solver.induced, solver.policy.probabilities)
    return BinnedEquilibrium(policy, solver.induced.exploitability(policy), solver.iteration)


def with_replies(game: BinnedEnergyMarket, induced: InducedGame, policy: Array) -> Array:
    """A policy with best responses where next to nobody is, (H, S, 30)."""
    mass = induced.flow(policy).mu.sum(axis=-1, keepdims=True)
    induced.exploitability(policy)
    added = LITTLE_MASS * game.group_sizes[game.constants.group_of][:, None]
    found: Array = (mass * policy + added * induced.last_best_response()) / (mass + added)
    return found
