"""Policies of a stationary mean-field game, evaluated: value, mean field and best-response gap."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack

from mfenvs import checks
from mfenvs.engine.flow import STATIONARY, FlowArrays
from mfenvs.engine.model import check_model
from mfenvs.meanfield.induced import ON_AVERAGE, InducedGame
from mfenvs.meanfield.population_flow import NEARLY_STATIONARY, Flow, flow_of

Array = NDArray[np.float64]

SINGULAR = 1e-13
"""Reciprocal condition number below which a linear system counts as singular."""
TOLERANCE = 1e-9
"""Largest best-response gap of a policy that counts as an equilibrium, by default."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StationaryPoint:
    """A stationary policy with the mean field that a population of its players reaches, and its values there.

    Arrays have no time axis; ``policy`` has one of length 1, as everywhere.
    """

    policy: Array
    """Probabilities of actions, shape (1, S, A)."""
    state_law: Array
    """Stationary law z of the state, shape (S,)."""
    mean_field: Array
    """Stationary law mu of state and action, shape (S, A)."""
    value: float
    """Social welfare J = E V(s) of the policy in its own mean field, with s from the initial law."""
    gap: float
    """Best-response gap (exploitability): expected gain of a single agent's best response, with s from the initial
    law."""
    largest_gap: float
    """The largest gain of a best response over all states: 0 at a stationary mean-field equilibrium."""
    residual: float
    """Stationarity residual ||z - Phi(z, pi)||_1: the l1 distance by which one more step changes the mean
    field."""

    @property
    def is_stationary(self) -> bool:
        """Whether the search for the mean field converged; if not, the population may cycle for ever."""
        return self.residual <= NEARLY_STATIONARY

    def is_equilibrium(self, tolerance: float = TOLERANCE) -> bool:
        """Whether this is a stationary mean-field equilibrium: no agent gains more than ``tolerance`` anywhere."""
        return self.is_stationary and self.largest_gap <= tolerance


@dataclasses.dataclass(frozen=True)
class ResponseGap:
    """How far a policy and a mean field are from a stationary mean-field equilibrium."""

    value: float
    """Value of the policy in this mean field, with the state from the initial law."""
    best_value: float
    """Value of a best response to this mean field, with the state from the initial law."""
    state_gaps: Array
    """Gap in sequential rationality max_pi' V_{pi',z}(s) - V_{pi,z}(s) in every state, shape (S,)."""
    consistency_error: float
    """||z - Phi(z, pi)||_1: the l1 distance by which one step under the policy changes the law of the state, and
    of the action where the mean field was given with actions."""
    best_response: Array
    """A best response to this mean field, shape (1, S, A)."""

    @property
    def gap(self) -> float:
        """Gain of the best response, with the state from the initial law."""
        return max(0.0, self.best_value - self.value)

    @property
    def largest_gap(self) -> float:
        """The largest gain of the best response over states."""
        return float(self.state_gaps.max())


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A policy in its own mean field, for solvers; arrays as in :class:`mfenvs.meanfield.population_flow.Flow`."""

    policy: Array
    flow: Flow
    values: Array
    """V(s), shape (S,)."""
    value: float

    @property
    def law(self) -> Array:
        """The stationary law of the state, shape (S,)."""
        law: Array = self.flow.mu[0].sum(axis=1)
        return law

    @property
    def moves(self) -> Array:
        """The transition matrix of the policy in its mean field, shape (S, S)."""
        return policy_transitions(self.policy[0], self.flow.transitions[0])

    def action_values(self, discount: float) -> Array:
        """Q(s, a) of the policy in its mean field, shape (S, A)."""
        ahead = self.flow.transitions.reshape(-1, len(self.values)) @ self.values
        q: Array = self.flow.rewards[0] + discount * ahead.reshape(self.flow.rewards[0].shape)
        return q


def best_response_gap(induced: InducedGame, policy: Any, mean_field: ArrayLike | None = None) -> ResponseGap:
    """Compute how far a policy and a mean field are from an equilibrium: rationality and consistency.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    policy:
        Probabilities of actions, shape (1, S, A) or (S, A), or any policy that can be tabulated.
    mean_field:
        The mean field in which the agent acts, which need not be the policy's own: a law z of the state, shape
        (S,), whose members play ``policy``, or a law of state and action, shape (S, A) or (1, S, A). By default
        the mean field that a population of the policy's players reaches.

    Returns
    -------
    The gaps; both ``largest_gap`` and ``consistency_error`` are 0 exactly at a stationary mean-field equilibrium.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or an argument is not allowed.

    References
    ----------
    Subramanian & Mahajan, "Reinforcement Learning in Stationary Mean-field Games", AAMAS 2019, SMFE.
    """
    check_discounted(induced)
    return response_gap(induced, in_mean_field(induced, policy_of(induced, policy), mean_field))


def social_welfare(induced: InducedGame, policy: Any) -> StationaryPoint:
    """Evaluate a policy that everybody plays: its stationary mean field, its value there, its best-response gap.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game.
    policy:
        Probabilities of actions, shape (1, S, A) or (S, A), or any policy that can be tabulated.

    Returns
    -------
    The evaluated policy; ``value`` is the social welfare J.

    Raises
    ------
    TypeError, ValueError
        If the game is not a discounted one, or the policy is not allowed.
    """
    check_discounted(induced)
    evaluated = evaluate(induced, policy_of(induced, policy))
    return StationaryPoint(**point_fields(evaluated, response_gap(induced, evaluated)))


def point_fields(evaluated: Evaluated, gap: ResponseGap) -> dict[str, Any]:
    """The fields of a :class:`StationaryPoint`."""
    return {
        "policy": evaluated.policy,
        "state_law": evaluated.law,
        "mean_field": evaluated.flow.mu[0],
        "value": evaluated.value,
        "gap": gap.gap,
        "largest_gap": gap.largest_gap,
        "residual": evaluated.flow.residual,
    }


def check_discounted(induced: InducedGame) -> None:
    """Raise a TypeError or ValueError unless this is the mean-field game of a discounted game."""
    if not isinstance(induced, InducedGame):
        raise TypeError(f"induced must be an InducedGame, got {checks.shown(induced)}")
    if not induced.game.is_infinite:
        raise ValueError(
            f"induced must be of a discounted game (discount < 1), got {type(induced.game).__name__}, which ends"
            f" after {induced.game.horizon} steps: its policies are not stationary"
        )


def policy_of(induced: InducedGame, policy: Any, name: str = "policy") -> Array:
    """Check a policy and return a copy of its table, shape (1, S, A)."""
    found = getattr(policy, "probabilities", policy)
    if np.shape(found) == induced.policy_shape[1:]:
        policy = checks.probabilities(name, found, induced.policy_shape[1:])[None]
    return induced.policy(name, policy).copy()


def evaluate(induced: InducedGame, policy: Array) -> Evaluated:
    """Evaluate a policy (1, S, A) in the mean field that it reaches; the policy is not checked.

    The mean field is that of :meth:`mfenvs.meanfield.InducedGame.flow`. If the population does not affect P, and
    the chain has one recurrent class, linear equations give it at once, also where the chain mixes slowly.
    """
    arrays = induced.flow_arrays(dense=True)
    residual = _settled_at_once(induced, policy, arrays)
    if residual is None:
        found, arrays = induced.filled(lambda arrays: induced.kernels.flow(policy, arrays), arrays)
        residual = float(found)
    check_model(induced.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
    return in_flow(induced, policy, flow_of(arrays, residual))


def _settled_at_once(induced: InducedGame, policy: Array, arrays: FlowArrays) -> float | None:
    """Write the stationary flow by linear equations; return its residual, or None if that is not possible."""
    arrays.mu[0] = induced.initial[:, None] * policy[0]
    induced.kernels.freeze(arrays.mu, arrays)
    first = arrays.transitions.copy()
    moves = policy_transitions(policy[0], first[0])
    share = 1.0 / induced.n_states
    law = solution(np.eye(induced.n_states) - moves.T + share, np.full(induced.n_states, share))
    if law is None or not np.isfinite(law).all():
        return None
    law = np.maximum(law, 0.0)
    law /= law.sum()
    arrays.mu[0] = law[:, None] * policy[0]
    induced.kernels.freeze(arrays.mu, arrays)
    residual = float(np.abs(law @ moves - law).sum())
    return residual if residual <= STATIONARY and np.array_equal(arrays.transitions, first) else None


def solution(system: Array, right: Array, smallest: float = SINGULAR) -> Array | None:
    """Solve a linear system; None if its reciprocal condition number is not above ``smallest``."""
    factors, pivots, failed = lapack.dgetrf(system)
    if failed:
        return None
    norm = float(np.abs(system).sum(axis=0).max())
    reciprocal_condition, _ = lapack.dgecon(factors, norm)
    if not reciprocal_condition > smallest:
        return None
    solved: Array = lapack.dgetrs(factors, pivots, right)[0]
    return solved


def in_flow(induced: InducedGame, policy: Array, flow: Flow) -> Evaluated:
    """Evaluate a policy (1, S, A) in a given population."""
    moves = policy_transitions(policy[0], flow.transitions[0])
    rewards = (policy[0] * flow.rewards[0]).sum(axis=1)
    values = np.linalg.solve(np.eye(induced.n_states) - induced.game.discount * moves, rewards)
    checks.finite("the values of the policy", values)
    return Evaluated(policy, flow, values, float(induced.initial @ values))


def in_mean_field(induced: InducedGame, policy: Array, mean_field: ArrayLike | None) -> Evaluated:
    """Evaluate a policy (1, S, A) in a mean field (S,), (S, A) or (1, S, A), by default its own."""
    if mean_field is None:
        return evaluate(induced, policy)
    given = checks.finite_numbers("mean_field", mean_field)
    if given.shape == (induced.n_states,):
        given = checks.probabilities("mean_field", given, given.shape)[:, None] * policy[0]
    elif given.shape not in (induced.policy_shape[1:], induced.policy_shape):
        raise ValueError(
            f"mean_field must have shape ({induced.n_states},), a law of the state, or"
            f" {induced.policy_shape[1:]}, a law of state and action, got {given.shape}"
        )
    else:
        checks.whole_law("mean_field", given)
    flow = induced.frozen(np.ascontiguousarray(given.reshape(induced.policy_shape))).dense()
    return in_flow(induced, policy, flow)


def response_gap(induced: InducedGame, evaluated: Evaluated) -> ResponseGap:
    """Compare a policy with the best response to the population in which it was evaluated."""
    q = induced.optimal_q(evaluated.flow)[0]
    best, law = q.max(axis=1), evaluated.law
    response = np.zeros(induced.policy_shape)
    response[0, np.arange(len(q)), q.argmax(axis=1)] = 1.0
    return ResponseGap(
        evaluated.value,
        float(induced.initial @ best),
        np.maximum(best - evaluated.values, 0.0),
        float(np.abs((law @ evaluated.moves)[:, None] * evaluated.policy[0] - evaluated.flow.mu[0]).sum()),
        response,
    )


def discounted_visits(induced: InducedGame, evaluated: Evaluated) -> Array:
    """Discounted numbers of visits sum_t gamma^t P(s_t = s), with s_0 from the initial law, shape (S,)."""
    system = np.eye(induced.n_states) - induced.game.discount * evaluated.moves.T
    visits: Array = np.linalg.solve(system, induced.initial).astype(np.float64, copy=False)
    return visits


def policy_transitions(policy: Array, transitions: Array) -> Array:
    """The transition matrix (S, S) of a policy (S, A) in transitions (S, A, S)."""
    moves = np.empty((len(policy), len(policy)))
    np.matmul(policy[:, None, :], transitions, out=moves[:, None])
    return moves
