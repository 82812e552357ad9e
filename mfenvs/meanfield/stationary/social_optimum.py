"""The stationary social optimum (SMF-SO) by projected gradient ascent on exact derivatives, from many starts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.stationary.gradient import NotDifferentiableError, WelfareGradient, gradient_at
from mfenvs.meanfield.stationary.points import (
    Array,
    StationaryPoint,
    check_discounted,
    evaluate,
    point_fields,
    policy_of,
    response_gap,
)
from mfenvs.meanfield.stationary.thresholds import threshold_search

TOLERANCE = 1e-7
"""Largest entry of the projected gradient at which an ascent counts as converged, by default."""
SUFFICIENT = 1e-4
"""Share of the increase that the gradient promises, which a step must reach (Armijo)."""
SHORTEST_STEP = 1e-14
"""Factor on the first step below which an ascent gives up."""
ROUNDING = 1e-12
"""Rounding error of a value (relative, or absolute for values below 1): smaller losses do not stop a step."""
PATIENCE = 30
"""Number of iterations after which social welfare must be higher than before, by more than rounding."""
LARGEST_STEP = 1e6
"""Bound on the step, relative to the inverse of the largest value."""
INWARDS = 0.1
"""Share of the uniform policy in a start from a policy that always takes one action."""


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How one ascent ended."""

    start: str
    """Name of the first policy."""
    value: float
    """Social welfare at the end."""
    converged: bool
    """Whether the projected gradient is within the tolerance."""
    reason: str
    """Why it ended."""
    iterations: int
    projected_gradient: float
    """Largest entry of Proj(pi + gradient) - pi; not a number where social welfare has no derivative."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SocialOptimum(StationaryPoint):
    """The best policy that was found, a local optimum, and how its ascent ended."""

    converged: bool
    """Whether the ascent that found the policy converged to a point where the projected gradient vanishes."""
    reason: str
    """Why that ascent ended."""
    iterations: int
    """Number of its iterations."""
    projected_gradient: float
    """Largest entry of Proj(pi + gradient) - pi at the policy."""
    start: str
    """Name of the policy from which it began."""
    ascents: tuple[Ascent, ...]
    """All ascents, in the order of their starts."""


def find_social_optimum(
    induced: InducedGame,
    starts: Sequence[Any] | None = None,
    *,
    n_random: int = 4,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    max_iterations: int = 500,
) -> SocialOptimum:
    """Search the stationary social optimum (SMF-SO) over all stochastic policies by projected gradient ascent.

    Social welfare J(pi, z(pi)) is in general not concave: every ascent ends at a local optimum, and the best of
    several is returned. The gradient is exact (:func:`mfenvs.meanfield.stationary.welfare_gradient`). Each state
    has a step of its own, by how often it is visited; steps are spectral (Barzilai & Borwein) and are shortened
    until J rises enough.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    starts:
        First policies, shape (1, S, A) or (S, A) each. By default: uniform; each action everywhere, moved towards
        the uniform policy; ``n_random`` random ones; and in a game with two actions and states along a line the
        best threshold policy.
    n_random:
        Number of random policies among the default starts.
    seed:
        Random seed of these.
    tolerance:
        Largest entry of the projected gradient Proj(pi + gradient) - pi at which an ascent ends.
    max_iterations:
        Number of gradients after which an ascent gives up.

    Returns
    -------
    The policy of the highest value. Where social welfare has no derivative, an ascent ends, and says so.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019, SMF-SO and LSMF-SO.
    The exact ascent is ours.
    """
    check_discounted(induced)
    n_random, seed = checks.integer("n_random", n_random, 0), checks.integer("seed", seed, 0)
    tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    if starts is None:
        named = _default_starts(induced, n_random, seed)
    else:
        given = list(starts)
        if not given:
            raise ValueError("starts must hold at least one policy, got none")
        named = [(f"starts[{i}]", policy_of(induced, policy, f"starts[{i}]")) for i, policy in enumerate(given)]
    found = [_ascend(induced, name, policy, tolerance, max_iterations) for name, policy in named]
    policy, best = max(found, key=lambda end: end[1].value)
    evaluated = evaluate(induced, policy)
    return SocialOptimum(
        **point_fields(evaluated, response_gap(induced, evaluated)),
        converged=best.converged,
        reason=best.reason,
        iterations=best.iterations,
        projected_gradient=best.projected_gradient,
        start=best.start,
        ascents=tuple(ascent for _, ascent in found),
    )


def _default_starts(induced: InducedGame, n_random: int, seed: int) -> list[tuple[str, Array]]:
    uniform, game = induced.uniform_policy(), induced.game
    starts = [("uniform", uniform)]
    for action in range(induced.n_actions):
        corner = np.zeros_like(uniform)
        corner[..., action] = 1.0
        starts.append((f"action {action} everywhere", (1.0 - INWARDS) * corner + INWARDS * uniform))
    rng = np.random.default_rng(seed)
    for i in range(n_random):
        starts.append((f"random {i}", rng.dirichlet(np.ones(induced.n_actions), induced.n_states)[None]))
    levels = game.state_levels
    if induced.n_actions == 2 and levels is not None and np.shape(levels) == (induced.n_states, 1):
        starts.append(("best threshold", threshold_search(induced).social_optimum.policy))
    return starts


def _ascend(
    induced: InducedGame, name: str, policy: Array, tolerance: float, max_iterations: int
) -> tuple[Array, Ascent]:
    """Ascend from a policy; return the last one and how the ascent ended."""
    here = evaluate(induced, policy)
    norm, step, value = np.nan, np.nan, here.value
    before: tuple[Array, Array] | None = None
    highest, since = value, 0
    for k in range(max_iterations + 1):
        try:
            gradient = gradient_at(induced, here)
        except NotDifferentiableError as error:
            return here.policy, Ascent(name, here.value, False, str(error), k, np.nan)
        table, slopes = here.policy[0], gradient.total
        norm = float(np.abs(project(table + slopes) - table).max())
        if norm <= tolerance:
            reason = f"the projected gradient is within {tolerance:g}"
            return here.policy, Ascent(name, here.value, True, reason, k, norm)
        if k == max_iterations:
            break
        scaled, weights = _scaled(induced, gradient)
        longest = LARGEST_STEP / max(1e-300, float(np.ptp(scaled, axis=1).max()))
        step = _spectral_step(table, scaled, weights, before, step, longest)
        before = table, scaled
        length = 1.0
        while length > SHORTEST_STEP:
            moved = project(table + length * step * scaled)
            there = evaluate(induced, moved[None])
            rise = float((slopes * (moved - table)).sum())
            if there.value >= value + SUFFICIENT * rise - ROUNDING * max(1.0, abs(value)):
                break
            length *= 0.3
        else:
            return here.policy, Ascent(name, here.value, False, "no step raises social welfare", k, norm)
        step *= length
        here, value = there, there.value
        since = 0 if value > highest + ROUNDING * max(1.0, abs(highest)) else since + 1
        highest = max(highest, value)
        if since > PATIENCE:
            return here.policy, Ascent(name, value, False, "social welfare does not rise any more", k + 1, norm)
    reason = f"the projected gradient is above {tolerance:g} after {max_iterations} iterations"
    return here.policy, Ascent(name, here.value, False, reason, max_iterations, norm)


def _scaled(induced: InducedGame, gradient: WelfareGradient) -> tuple[Array, Array]:
    """The gradient by unit of visits of a state, less its mean over actions, and the visits, (S, A) and (S, 1)."""
    visits = (1.0 - induced.game.discount) * gradient.visits + gradient.evaluated.law
    weights = np.maximum(visits, 1e-12)[:, None]
    scaled = gradient.total / weights
    return scaled - scaled.mean(axis=1, keepdims=True), weights


def _spectral_step(
    table: Array, scaled: Array, weights: Array, before: tuple[Array, Array] | None, step: float, longest: float
) -> float:
    """The step of Barzilai & Borwein, in the metric of the visits."""
    if before is None:
        return min(longest, 1.0 / max(1e-300, float(np.ptp(scaled, axis=1).max())))
    moved, turned = table - before[0], scaled - before[1]
    curvature = -float((weights * moved * turned).sum())
    if curvature <= 0.0:
        return min(longest, 4.0 * step)
    return min(longest, float((weights * moved * moved).sum()) / curvature)


def project(tables: Array) -> Array:
    """Project the rows of a table (S, A) onto the probability simplex."""
    ordered = -np.sort(-tables, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1.0) / np.arange(1, tables.shape[1] + 1)
    last = (ordered > excess).sum(axis=1) - 1
    shift = excess[np.arange(len(tables)), last]
    rows = np.maximum(tables - shift[:, None], 0.0)
    law: Array = rows / rows.sum(axis=1, keepdims=True)
    return law
