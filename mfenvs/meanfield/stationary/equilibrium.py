"""Stationary mean-field equilibria by damped best responses, finished by equations of indifference.

Best responses are deterministic, but equilibria often mix in a few states. There the iteration of best responses
oscillates between neighbouring policies, and its averages converge slowly. Once it oscillates, the actions between
which an equilibrium mixes are among those of the last best responses. Their probabilities are found by Newton's
method for complementarity problems (Josephy): actions that are played have the largest value of their state.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.population_flow import NEARLY_STATIONARY
from mfenvs.meanfield.stationary.complementarity import complementary_solution
from mfenvs.meanfield.stationary.points import (
    TOLERANCE,
    Array,
    Evaluated,
    ResponseGap,
    StationaryPoint,
    check_discounted,
    discounted_visits,
    evaluate,
    point_fields,
    policy_of,
    response_gap,
)

Mask = NDArray[np.bool_]

SMALLEST_SHARE = 1e-12
"""Mass of a state below which the average of two policies is, in this state, the best response."""
PROGRESS = 0.9
"""Factor by which an iteration must reduce the gap, or else the damping becomes stronger."""
MOST_UNKNOWNS = 64
"""Largest number of probabilities for which complementarity problems are solved."""
MOST_NEWTON_STEPS = 20
"""Number of Newton's steps for one set of actions."""
PATIENCE = 5
"""Number of Newton's steps after which the gap must be smaller than before."""
LIKELY = 0.01
"""Probability above which an action of the averaged policy may be one that the equilibrium plays."""
DIFFERENCE = 1e-6
"""Step of the difference quotients in Newton's method."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equilibrium(StationaryPoint):
    """The result of a search for a stationary mean-field equilibrium: the best policy found, and how it ended."""

    converged: bool
    """Whether ``largest_gap`` is within the tolerance and the mean field is stationary."""
    reason: str
    """Why the search ended."""
    iterations: int
    """Number of best responses that were computed."""
    gaps: Array
    """Largest gap of every iteration's policy, Newton's steps aside, shape (iterations,)."""


def find_equilibrium(
    induced: InducedGame,
    start: Any = None,
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = 500,
    polish: bool = True,
) -> Equilibrium:
    """Search for a stationary mean-field equilibrium (SMFE) by damped best responses.

    The population's policy moves towards the best response pi' to its own mean field, both mixed by the masses m
    of their states: pi(a|s) ~ (1 - alpha) m(s) pi(a|s) + alpha m'(s) pi'(a|s). The share alpha begins at 1 and is
    halved when the gap does not fall, down to 1 / (k + 2) in iteration k (fictitious play). From time to time the
    probabilities of the actions that the iteration alternates between are solved for, by Newton's method: an
    equilibrium that mixes actions is found to rounding, and so are equilibria that are not isolated.

    There is no guarantee: where it fails, the best policy found is returned with ``converged`` False.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    start:
        The first policy, shape (1, S, A) or (S, A); uniform by default. Different starts can reach different
        equilibria (:func:`mfenvs.meanfield.stationary.find_equilibria`).
    tolerance:
        Largest gain of a best response, over all states, at which the search ends.
    max_iterations:
        Number of best responses after which the search gives up.
    polish:
        Whether to use Newton's method; without, this is the damped fixed-point iteration alone.

    Returns
    -------
    The policy with the smallest gap that was found.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019, SMFE. The damping
    and Newton's method are ours.
    """
    check_discounted(induced)
    policy = induced.uniform_policy() if start is None else policy_of(induced, start, "start")
    tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
    max_iterations = checks.integer("max_iterations", max_iterations, 1)
    polish = checks.boolean("polish", polish)
    search = _Search(induced, tolerance)
    alpha, next_polish, answers = 1.0, 4, list[Array]()
    for k in range(max_iterations):
        here, gap = search.visit(policy)
        if search.is_solved:
            break
        answers.append(gap.best_response)
        if polish and k + 1 >= next_polish and k + 1 < max_iterations:
            if any(_polish(search, here, candidates) for candidates in _candidates(here, answers)):
                break
            next_polish *= 2
        if k > 0 and search.gaps[-1] > PROGRESS * min(search.gaps[:-1]):
            alpha = max(0.5 * alpha, 1.0 / (k + 2))
        policy = _mixed_by_mass(induced, here, evaluate(induced, gap.best_response), alpha)
    return search.result()


class _Search:
    """The best policy seen so far, and the gaps of the iterations."""

    def __init__(self, induced: InducedGame, tolerance: float) -> None:
        self.induced, self.tolerance = induced, tolerance
        self.gaps: list[float] = []
        # A mean field that is not stationary is no equilibrium's, however small the gap in it.
        self._rank = True, np.inf
        self._best: tuple[Evaluated, ResponseGap] | None = None

    @property
    def is_solved(self) -> bool:
        """Whether the best policy's mean field is stationary and its gap within the tolerance."""
        return self._rank <= (False, self.tolerance)

    def visit(self, policy: Array) -> tuple[Evaluated, ResponseGap]:
        """Evaluate the policy of an iteration."""
        here, gap = self.consider(evaluate(self.induced, policy))
        self.gaps.append(gap.largest_gap)
        return here, gap

    def consider(self, here: Evaluated) -> tuple[Evaluated, ResponseGap]:
        """Compare an evaluated policy with its best response; keep it if it is the best so far."""
        gap = response_gap(self.induced, here)
        rank = here.flow.residual > NEARLY_STATIONARY, gap.largest_gap
        if self._best is None or rank < self._rank:
            self._best, self._rank = (here, gap), rank
        return here, gap

    def result(self) -> Equilibrium:
        """The best policy, and how the search ended."""
        assert self._best is not None
        if self.is_solved:
            reason = f"the largest gap is within {self.tolerance:g}"
        elif self._rank[0]:
            reason = f"the population did not settle under any of {len(self.gaps)} policies"
        else:
            reason = f"no policy with a gap within {self.tolerance:g} in {len(self.gaps)} iterations"
        return Equilibrium(
            **point_fields(*self._best),
            converged=self.is_solved,
            reason=reason,
            iterations=len(self.gaps),
            gaps=np.array(self.gaps),
        )


def _mixed_by_mass(induced: InducedGame, here: Evaluated, there: Evaluated, alpha: float) -> Array:
    """The policy of a population of which a share ``alpha`` acts as ``there`` and the others as ``here``.

    Masses are those of the stationary law, and of the discounted visits from the initial law: a state that the
    population leaves for good would keep its policy for ever otherwise.
    """
    weights = (1.0 - alpha, alpha)
    masses = np.zeros_like(here.policy[0])
    for share, point in zip(weights, (here, there), strict=True):
        visits = (1.0 - induced.game.discount) * discounted_visits(induced, point)
        masses += share * (point.law + visits)[:, None] * point.policy[0]
    total = masses.sum(axis=1, keepdims=True)
    return _as_policy(np.where(total > SMALLEST_SHARE, masses, there.policy[0]))


def _candidates(here: Evaluated, answers: list[Array]) -> Iterator[Mask]:
    """Guesses at the actions that an equilibrium plays in every state, the narrowest first, shape (S, A) each."""
    n_actions = here.policy.shape[2]
    guesses = [np.any(np.concatenate(answers[-n:]) > 0.0, axis=0) for n in (2, 2 * n_actions, 4 * n_actions)]
    guesses.append((here.policy[0] > LIKELY) | guesses[0])
    for i, guess in enumerate(guesses):
        if not any(np.array_equal(guess, earlier) for earlier in guesses[:i]):
            yield guess


def _polish(search: _Search, here: Evaluated, candidates: Mask) -> bool:
    """Solve for an equilibrium among candidate actions, adding better responses; return whether it is found."""
    smallest, since = np.inf, 0
    for _ in range(MOST_NEWTON_STEPS):
        if candidates.sum() - len(candidates) > MOST_UNKNOWNS:
            break
        policy = _linearised_equilibrium(search.induced, here, candidates)
        if policy is None:
            break
        here, gap = search.consider(evaluate(search.induced, policy))
        better = gap.best_response[0] > 0.0
        # Far from the solution the gap need not fall at every step.
        since = 0 if gap.largest_gap < smallest else since + 1
        if search.is_solved or since > PATIENCE:
            break
        smallest, candidates = min(smallest, gap.largest_gap), candidates | better
    return search.is_solved


def _linearised_equilibrium(induced: InducedGame, start: Evaluated, candidates: Mask) -> Array | None:
    """One of Newton's steps: the equilibrium among candidate actions if values were linear in the probabilities.

    In every state the actions played must have the largest value: a linear complementarity problem in the
    probabilities x >= 0 and the states' values u, with costs c = constant - Q,

        c(x) - u >= 0, complementary to x;  sum_a x - 1 >= 0, complementary to u >= 0.

    Returns None if Lemke's method does not find a solution.
    """
    is_mixed = candidates.sum(axis=1) > 1
    played = np.where(candidates, start.policy[0], 0.0)
    lost = ~(played.sum(axis=1) > SMALLEST_SHARE)
    played[lost] = candidates[lost]
    here = evaluate(induced, _as_policy(played))
    states, actions = np.nonzero(candidates & is_mixed[:, None])
    n, n_mixed = len(states), int(is_mixed.sum())
    if n == 0:
        return here.policy
    slopes = _slopes_of_values(induced, here, states, actions)
    # The proximal term keeps the step short where equilibria are not isolated; it vanishes with the gap.
    slopes -= response_gap(induced, here).largest_gap * np.eye(n)
    now = here.policy[0][states, actions]
    costs = slopes @ now - here.action_values(induced.game.discount)[states, actions]
    # Only differences within a state matter: a constant makes all costs positive, and a factor does no harm.
    costs -= (costs - np.maximum(slopes, 0.0).sum(axis=1)).min()
    scale = max(1e-300, float(np.abs(costs).max()))
    owners = (states[:, None] == np.flatnonzero(is_mixed)).astype(np.float64)
    solved = complementary_solution(
        np.block([[-slopes / scale, -owners], [owners.T, np.zeros((n_mixed, n_mixed))]]),
        np.concatenate([costs / scale + 1.0, -np.ones(n_mixed)]),
    )
    if solved is None:
        return None
    policy = here.policy[0].copy()
    policy[is_mixed] = 0.0
    policy[states, actions] = np.maximum(solved[:n], 0.0)
    is_policy = np.isfinite(policy).all() and (policy.sum(axis=1) > SMALLEST_SHARE).all()
    return _as_policy(policy) if is_policy else None


def _slopes_of_values(
    induced: InducedGame, here: Evaluated, states: NDArray[np.intp], actions: NDArray[np.intp]
) -> Array:
    """Derivatives of the values Q of actions by their probabilities, at the expense of the likeliest action."""
    discount, n = induced.game.discount, len(states)
    likeliest = here.policy[0].argmax(axis=1)
    q, slopes = here.action_values(discount)[states, actions], np.zeros((n, n))
    for j, (state, action) in enumerate(zip(states, actions, strict=True)):
        if action != likeliest[state]:
            moved = here.policy.copy()
            moved[0, state, action] += DIFFERENCE
            moved[0, state, likeliest[state]] -= DIFFERENCE
            there = evaluate(induced, moved).action_values(discount)[states, actions]
            slopes[:, j] = (there - q) / DIFFERENCE
    return slopes


def _as_policy(probabilities: Array) -> Array:
    return np.ascontiguousarray(probabilities / probabilities.sum(axis=1, keepdims=True))[None]
