"""Several equilibria of a stationary mean-field game, and what they cost: prices of anarchy and stability."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.stationary.equilibrium import find_equilibrium
from mfenvs.meanfield.stationary.points import (
    TOLERANCE,
    Array,
    StationaryPoint,
    check_discounted,
    policy_of,
)
from mfenvs.meanfield.stationary.social_optimum import find_social_optimum
from mfenvs.meanfield.stationary.thresholds import threshold_search

SAME = 1e-5
"""Largest l1 distance of the mean fields of two equilibria that count as one."""
ROUNDING = 1e-12
"""Values no larger than this, relative to the others, count as zero."""


@dataclasses.dataclass(frozen=True)
class PriceOfAnarchy:
    """What the lack of coordination costs: equilibria compared with the social optimum.

    With costs, which are negative values, a price is cost(equilibrium) / cost(optimum); with positive values it is
    value(optimum) / value(equilibrium). Both are at least 1. As not all equilibria need have been found, and
    the optimum may be a local one, ``anarchy`` is a lower bound as far as these are concerned, and ``stability``
    is an upper bound as far as equilibria are.
    """

    anarchy: float | None
    """Price of anarchy, of the worst equilibrium; None where no ratio exists."""
    stability: float | None
    """Price of stability, of the best equilibrium; None where no ratio exists."""
    anarchy_loss: float
    """Value of the social optimum less that of the worst equilibrium; always defined."""
    stability_loss: float
    """Value of the social optimum less that of the best equilibrium; always defined."""
    reason: str
    """Why there is no ratio; empty if there is one."""
    optimum: StationaryPoint
    equilibria: tuple[StationaryPoint, ...]
    """Equilibria by descending value."""


def find_equilibria(
    induced: InducedGame,
    starts: Sequence[Any] = (),
    *,
    n_random: int = 16,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    max_iterations: int = 200,
) -> tuple[StationaryPoint, ...]:
    """Search several stationary mean-field equilibria: from many starts, and among threshold policies.

    Equilibria with the same mean field have the same values and count as one. The list need not be complete, and
    equilibria whose mean fields are not isolated appear as often as searches end in them.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    starts:
        First policies in addition to the uniform one, each action everywhere, and random ones.
    n_random:
        Number of random policies, half of them deterministic.
    seed:
        Random seed of these.
    tolerance:
        Largest gap, over all states, of an equilibrium.
    max_iterations:
        Number of best responses for each start.

    Returns
    -------
    The different equilibria found, by descending value; there may be none.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.
    """
    check_discounted(induced)
    n_random, seed = checks.integer("n_random", n_random, 0), checks.integer("seed", seed, 0)
    policies = [policy_of(induced, policy, f"starts[{i}]") for i, policy in enumerate(starts)]
    policies += _starts(induced, n_random, seed)
    found: list[StationaryPoint] = []
    for policy in policies:
        end = find_equilibrium(induced, policy, tolerance=tolerance, max_iterations=max_iterations)
        if end.converged:
            _add(found, end)
    levels = induced.game.state_levels
    if induced.n_actions == 2 and levels is not None and np.shape(levels) == (induced.n_states, 1):
        for point in threshold_search(induced, tolerance=tolerance).equilibria:
            _add(found, point)
    return tuple(sorted(found, key=lambda point: -point.value))


def price_of_anarchy(
    induced: InducedGame,
    equilibria: Sequence[StationaryPoint] | None = None,
    optimum: StationaryPoint | None = None,
) -> PriceOfAnarchy:
    """Compute the prices of anarchy and stability.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    equilibria:
        Equilibria, at least one; by default those of :func:`find_equilibria`.
    optimum:
        The social optimum; by default that of :func:`mfenvs.meanfield.stationary.find_social_optimum`. An
        equilibrium of a higher value takes its place.

    Returns
    -------
    The ratios, or why there are none, and the differences.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, an argument is not allowed, or no equilibrium is given or found.
    """
    check_discounted(induced)
    points = find_equilibria(induced) if equilibria is None else tuple(equilibria)
    if not points:
        raise ValueError("equilibria must hold at least one equilibrium, got none: give some, or search by hand")
    for i, point in enumerate(points):
        if not isinstance(point, StationaryPoint):
            raise TypeError(f"equilibria[{i}] must be a StationaryPoint, got {checks.shown(point)}")
    if optimum is None:
        optimum = find_social_optimum(induced)
    elif not isinstance(optimum, StationaryPoint):
        raise TypeError(f"optimum must be a StationaryPoint, got {checks.shown(optimum)}")
    ordered = tuple(sorted(points, key=lambda point: -point.value))
    best, worst = ordered[0].value, ordered[-1].value
    if best > optimum.value:
        optimum = ordered[0]
    top = optimum.value
    zero = ROUNDING * max(abs(top), abs(worst), abs(best))
    losses = top - worst, top - best
    if max(losses) <= zero:
        return PriceOfAnarchy(1.0, 1.0, *losses, "", optimum, ordered)
    if top < -zero:
        return PriceOfAnarchy(worst / top, best / top, *losses, "", optimum, ordered)
    if worst > zero:
        return PriceOfAnarchy(top / worst, top / best, *losses, "", optimum, ordered)
    reason = (
        f"no ratio of values exists where they are neither all positive nor all negative: from {worst:g} of the"
        f" worst equilibrium to {top:g} of the optimum"
    )
    return PriceOfAnarchy(None, None, *losses, reason, optimum, ordered)


def _starts(induced: InducedGame, n_random: int, seed: int) -> list[Array]:
    uniform, n_states, n_actions = induced.uniform_policy(), induced.n_states, induced.n_actions
    deterministic = np.eye(n_actions)
    rng = np.random.default_rng(seed)
    starts = [uniform]
    starts += [np.ascontiguousarray(np.broadcast_to(deterministic[a], uniform.shape)) for a in range(n_actions)]
    for i in range(n_random):
        if i % 2:
            starts.append(rng.dirichlet(np.ones(n_actions), n_states)[None])
        else:
            starts.append(deterministic[rng.integers(0, n_actions, n_states)][None])
    return starts


def _add(found: list[StationaryPoint], new: StationaryPoint) -> None:
    """Add an equilibrium unless its mean field is one's that was found; the one of the smaller gap is kept."""
    for i, old in enumerate(found):
        if np.abs(old.mean_field - new.mean_field).sum() <= SAME:
            if new.largest_gap < old.largest_gap:
                found[i] = new
            return
    found.append(new)
