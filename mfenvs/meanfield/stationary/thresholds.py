"""Threshold policies of games with ordered states and two actions: all of them, equilibria and social optimum."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mfenvs import checks
from mfenvs.engine.flow import STATIONARY
from mfenvs.engine.model import check_model
from mfenvs.meanfield.induced import ON_AVERAGE, InducedGame
from mfenvs.meanfield.stationary.points import (
    TOLERANCE,
    Array,
    StationaryPoint,
    check_discounted,
    evaluate,
    point_fields,
    response_gap,
)
from mfenvs.meanfield.stationary.resolvent import change_row, reached_law

MOST_STEPS = 1000
"""Number of steps of the resolvent's chain after which a law is searched by the population's flow instead."""
SMALLEST_ADVANTAGE = 1e-12
"""Difference of two actions' values, relative to the largest value, below which it is a rounding error."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThresholdPoint(StationaryPoint):
    """An evaluated threshold policy, or a mixture of two neighbouring ones."""

    threshold: float
    """The policy plays ``upper_action`` at and above this level and the other action below; infinite if
    nowhere."""
    upper_action: int
    """The action above the threshold, 0 or 1."""
    probability: float = 1.0
    """Probability of ``upper_action`` at the level of the threshold itself; below 1 in a mixture with the next
    threshold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThresholdSearch:
    """All threshold policies of a game. Row a of an array is for action a at and above the threshold."""

    thresholds: Array
    """Levels in ascending order, and infinity, shape (S + 1,)."""
    values: Array
    """Social welfare J of every policy, shape (2, S + 1)."""
    one_step_gains: Array
    """The largest gain over states from changing the action once, shape (2, S + 1). The largest best-response gap
    is between this number and this number over 1 - gamma."""
    candidates: tuple[ThresholdPoint, ...]
    """Equilibria, mixtures of neighbouring thresholds included, and local minima of the gain, by ascending gap."""
    social_optimum: ThresholdPoint
    """The threshold policy of the highest value: SMF-SO among threshold policies."""
    tolerance: float

    @property
    def equilibria(self) -> tuple[ThresholdPoint, ...]:
        """The candidates whose largest gap is within the tolerance, by ascending gap; there may be none."""
        return tuple(c for c in self.candidates if c.is_equilibrium(self.tolerance))

    @property
    def best_candidate(self) -> ThresholdPoint:
        """The candidate with the smallest gap, whether it is an equilibrium or not."""
        return self.candidates[0]

    @property
    def best_pure_candidate(self) -> ThresholdPoint:
        """The candidate with the smallest gap among policies that do not mix actions."""
        return next(c for c in self.candidates if c.probability == 1.0)


def threshold_policy(induced: InducedGame, threshold: float, upper_action: int = 1) -> Array:
    """Make the policy that plays ``upper_action`` at and above a threshold, and the other action below it.

    Parameters
    ----------
    induced:
        The mean-field game of a game with two actions and states ordered along a line.
    threshold:
        Level of the state (``game.state_levels``); infinity for a policy that never plays ``upper_action``.
    upper_action:
        The action above the threshold, 0 or 1.

    Returns
    -------
    Probabilities, shape (1, S, 2).

    Raises
    ------
    TypeError, ValueError
        If the game is another one, or an argument is not allowed.
    """
    levels = state_levels(induced)
    if not np.isinf(threshold):
        threshold = checks.real("threshold", threshold)
    return _threshold_table(levels, threshold, checks.integer("upper_action", upper_action, 0, 1))


def threshold_search(induced: InducedGame, *, tolerance: float = TOLERANCE) -> ThresholdSearch:
    """Evaluate all threshold policies, in both directions; find the equilibria among them, and the best one.

    Where the advantage of the upper action at the threshold changes its sign between a threshold and the next one,
    the mixture of the two that is indifferent at this level is a candidate, too: often the exact equilibrium is
    one. The search is exhaustive for threshold policies, but a game's equilibria need not be of this kind
    (:func:`mfenvs.meanfield.stationary.find_equilibrium` has no such restriction).

    Parameters
    ----------
    induced:
        The mean-field game of a discounted game with two actions and states ordered along a line: its
        ``state_levels`` must have shape (S, 1), without repetitions.
    tolerance:
        Largest gap, over all states, of a candidate that counts as an equilibrium.

    Returns
    -------
    The values of all policies, the candidates and the social optimum.

    Raises
    ------
    TypeError, ValueError
        If the game is another one, or the tolerance is not allowed.
    """
    levels = state_levels(induced)
    tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
    order = np.argsort(levels)
    thresholds = np.append(levels[order], np.inf)
    sweeps = [_sweep(induced, order, upper) for upper in (0, 1)]
    values, gains = np.array([s.values for s in sweeps]), np.array([s.gains for s in sweeps])
    scale = SMALLEST_ADVANTAGE * max(1.0, float(np.abs(values).max()))
    candidates: list[ThresholdPoint] = []
    for upper, sweep in enumerate(sweeps):
        for k in _least(sweep.gains, (1.0 - induced.game.discount) * tolerance, scale):
            # Both directions contain the two constant policies.
            if not (upper == 0 and k in (0, len(order))):
                candidates.append(_point(induced, levels, thresholds[k], upper))
        changes = sweep.own_advantages[:, 0] * sweep.own_advantages[:, 1] < 0.0
        for place in np.flatnonzero(changes & (np.abs(sweep.own_advantages).min(axis=1) > scale)):
            mixed = _indifferent(induced, levels, order, int(place), upper)
            if mixed.is_equilibrium(tolerance):
                candidates.append(mixed)
    if not candidates:  # The only minima are constant policies, which the other direction has left out.
        candidates.append(_point(induced, levels, -np.inf if gains[1, 0] < gains[1, -1] else np.inf, 1))
    best_of_each = values.max(axis=1)
    direction = int(best_of_each[1] >= best_of_each[0])
    best = _point(induced, levels, thresholds[int(values[direction].argmax())], direction)
    return ThresholdSearch(
        thresholds=thresholds,
        values=values,
        one_step_gains=gains,
        candidates=tuple(sorted(candidates, key=lambda c: c.largest_gap)),
        social_optimum=best,
        tolerance=tolerance,
    )


def state_levels(induced: InducedGame) -> Array:
    """Return the levels (S,) of a discounted game with two actions and states along a line, or raise an error."""
    check_discounted(induced)
    game, levels = induced.game, induced.game.state_levels
    name = type(game).__name__
    if levels is None:
        raise ValueError(f"a threshold search needs ordered states, but {name}.state_levels is None")
    if induced.n_actions != 2:
        raise ValueError(f"a threshold search needs 2 actions, got {induced.n_actions} of {name}")
    levels = checks.finite_numbers(f"{name}.state_levels", levels)
    if levels.shape != (induced.n_states, 1):
        raise ValueError(
            f"a threshold search needs {name}.state_levels of shape {(induced.n_states, 1)}, one level a"
            f" state, got {levels.shape}"
        )
    if len(np.unique(levels)) < len(levels):
        raise ValueError(f"a threshold search needs different levels in all states of {name}, got repetitions")
    return levels[:, 0].copy()


def _threshold_table(levels: Array, threshold: float, upper: int, probability: float = 1.0) -> Array:
    above = (levels >= threshold).astype(np.float64)
    above[levels == threshold] = probability
    policy = np.empty((1, len(levels), 2))
    policy[0, :, upper], policy[0, :, 1 - upper] = above, 1.0 - above
    return policy


def _point(
    induced: InducedGame, levels: Array, threshold: float, upper: int, probability: float = 1.0
) -> ThresholdPoint:
    evaluated = evaluate(induced, _threshold_table(levels, threshold, upper, probability))
    fields = point_fields(evaluated, response_gap(induced, evaluated))
    return ThresholdPoint(**fields, threshold=float(threshold), upper_action=upper, probability=float(probability))


def _least(gains: Array, zero: float, rounding: float) -> Iterator[int]:
    """Positions of zeros and of local minima; of several equal minima in a row the first."""
    for k, gain in enumerate(gains):
        before, after = gains[k - 1] if k else np.inf, gains[k + 1] if k + 1 < len(gains) else np.inf
        if gain <= zero or (gain < before - rounding and gain <= after + rounding):
            yield k


def _indifferent(
    induced: InducedGame, levels: Array, order: NDArray[np.intp], k: int, upper: int
) -> ThresholdPoint:
    """The mixture of thresholds k and k + 1 in which both actions have the same value at level k."""
    state, discount = order[k], induced.game.discount

    def advantage(probability: float) -> float:
        policy = _threshold_table(levels, levels[state], upper, probability)
        q = evaluate(induced, policy).action_values(discount)[state]
        return float(q[upper] - q[1 - upper])

    root = brentq(advantage, 0.0, 1.0, xtol=1e-15, rtol=1e-14)
    return _point(induced, levels, levels[state], upper, float(root))


@dataclasses.dataclass(frozen=True)
class _Sweep:
    """All thresholds of a direction, in ascending order."""

    values: Array
    """(S + 1,)."""
    gains: Array
    """(S + 1,)."""
    own_advantages: Array
    """Advantage of the upper action at level k under threshold k, where it is played, and under threshold k + 1,
    where it is not, shape (S, 2)."""


def _sweep(induced: InducedGame, order: NDArray[np.intp], upper: int) -> _Sweep:
    """Evaluate the thresholds of a direction one after the other.

    A threshold's chain differs from the last one's in one row, as long as the population does not change P.
    """
    n_states, discount, initial = induced.n_states, induced.game.discount, induced.initial
    arrays, kernels = induced.flow_arrays(dense=True), induced.kernels
    law, row, ahead = np.empty((3, n_states))
    policy, states = np.zeros(induced.policy_shape), np.arange(n_states)
    policy[0, :, upper] = 1.0
    actions = np.full(n_states, upper)
    values, gains = np.empty((2, n_states + 1))
    own = np.empty((n_states, 2))
    tables: Array | None = None
    resolvent = np.empty((n_states, n_states))
    mu = np.empty(induced.policy_shape)

    def has_same_moves(present: Array) -> bool:
        np.multiply(present[:, None], policy[0], out=mu[0])
        kernels.freeze(mu, arrays)
        return tables is not None and bool((arrays.transitions == tables).all())

    for k in range(n_states + 1):
        if k > 0:
            state = order[k - 1]
            policy[0, state] = policy[0, state, ::-1].copy()
            actions[state] = 1 - upper
            if tables is not None:
                change = tables[0, state, 1 - upper] - tables[0, state, upper]
                change_row(resolvent, state, change, discount, row)
        # The flow is searched from the initial law: the first and the last population must both leave P as it is.
        known = tables is not None and has_same_moves(initial)
        if known:
            distance = reached_law(resolvent, discount, initial, STATIONARY, MOST_STEPS, law, ahead)
            np.maximum(law, 0.0, out=law)
            known = distance <= STATIONARY and has_same_moves(law)
        if not known:
            kernels.flow(policy, arrays)
            check_model(induced.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
            tables = arrays.transitions.copy()
            resolvent = np.linalg.inv(np.eye(n_states) - discount * tables[0, states, actions])
        rewards = arrays.rewards[0]
        found = resolvent @ rewards[states, actions]
        q = rewards + discount * (arrays.transitions.reshape(-1, n_states) @ found).reshape(n_states, 2)
        values[k], gains[k] = initial @ found, max(0.0, (np.maximum(q[:, 0], q[:, 1]) - found).max())
        advantages = q[:, upper] - q[:, 1 - upper]
        if k < n_states:
            own[k, 0] = advantages[order[k]]
        if k > 0:
            own[k - 1, 1] = advantages[order[k - 1]]
    checks.finite("the values of threshold policies", values)
    return _Sweep(values, gains, own)
