"""The exact derivative of social welfare: of the policy and of the stationary mean field that follows it.

With z the stationary law, mu(s, a) = z(s) pi(a|s), the counts n = n(mu), which are linear in mu, and
P and R functions of n, the social welfare is J(pi) = rho_0 . V with V = (I - gamma P_pi)^-1 R_pi at z = z(pi):

    dJ = sum d(s) Q(s, a) dpi(a|s) + sum G(s, a) dmu(s, a),

with d the discounted visits from rho_0, and G the derivative of J with respect to the population in which an agent
acts. dmu contains dz, which solves the linearised z = Phi(z, pi). Adjoint equations give the products with all
directions dpi at once: one for d, one for the multiplier of the stationary law.

Derivatives with respect to counts are taken by difference quotients of fourth order in double precision: to
rounding where rules are polynomials of degree 4 in the counts, which covers linear ones.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.meanfield.induced import InducedGame
from mfenvs.meanfield.population_flow import NEARLY_STATIONARY
from mfenvs.meanfield.stationary.chains import limit_matrix, recurrent_classes
from mfenvs.meanfield.stationary.points import (
    SINGULAR,
    Array,
    Evaluated,
    check_discounted,
    discounted_visits,
    evaluate,
    policy_of,
    solution,
)

STEP = 1e-3
"""Step of difference quotients, as a share of the range of a count."""
CENTRAL: tuple[tuple[float, float], ...] = ((-2.0, 1 / 12), (-1.0, -2 / 3), (1.0, 2 / 3), (2.0, -1 / 12))
"""Positions, in steps, and weights of a difference quotient of fourth order."""
FORWARD: tuple[tuple[float, float], ...] = ((0.0, -25 / 12), (1.0, 4.0), (2.0, -3.0), (3.0, 4 / 3), (4.0, -1 / 4))
"""The same at the end of a range."""
DOUBTFUL = 100.0
"""Derivatives are doubtful where the squared reciprocal condition number is below this times a law's residual."""
NEGLIGIBLE = 1e-9
"""Size, relative to one, of what must vanish where a population has several recurrent classes."""


MOST_NUMBERS = 2**27
"""Largest number of entries of the table of counts: a gigabyte."""


class NotDifferentiableError(ValueError):
    """Social welfare has no derivative at this policy."""


@dataclasses.dataclass(frozen=True)
class WelfareGradient:
    """Social welfare of a policy and its derivatives.

    Policies are probabilities, so that only differences between the actions of a state have a meaning.
    """

    value: float
    """Social welfare J(pi)."""
    total: Array
    """dJ(pi, z(pi)) / dpi(a|s), with the mean field that follows the policy, shape (S, A)."""
    partial: Array
    """dJ(pi, z) / dpi(a|s) at z = z(pi) held fixed, shape (S, A): what a single agent can gain."""
    visits: Array
    """Discounted visits d(s) of a single agent from the initial law, shape (S,)."""
    evaluated: Evaluated


def welfare_gradient(induced: InducedGame, policy: Any) -> WelfareGradient:
    """Compute the exact derivatives of social welfare J with respect to a policy.

    Parameters
    ----------
    induced:
        The mean-field game of a discounted finite game. Its counts must be linear in the population.
    policy:
        Probabilities of actions, shape (1, S, A) or (S, A), or any policy that can be tabulated.

    Returns
    -------
    The value, the total derivative (social welfare) and the partial one (equilibrium).

    Raises
    ------
    NotDifferentiableError
        If the stationary law has no derivative: the population does not settle, or its law is not an isolated
        solution of z = Phi(z, pi). With several recurrent classes the masses of the classes are those reached
        from the initial law. They have a derivative if the population does not affect P, unless a class
        can be left by an action that the policy does not play: the law then jumps.
    TypeError, ValueError
        If the game is not a discounted one, or the policy is not allowed.
    """
    check_discounted(induced)
    return gradient_at(induced, evaluate(induced, policy_of(induced, policy)))


def gradient_at(induced: InducedGame, here: Evaluated) -> WelfareGradient:
    """Compute :func:`welfare_gradient` at an evaluated policy."""
    if not here.flow.residual <= NEARLY_STATIONARY:
        raise NotDifferentiableError(
            f"social welfare has no derivative where the population does not settle (residual"
            f" {here.flow.residual:.1e})"
        )
    table, law, discount = here.policy[0], here.law, induced.game.discount
    transitions = here.flow.transitions[0]
    visits = discounted_visits(induced, here)
    partial = visits[:, None] * here.action_values(discount)
    counting = _counting(induced)
    slopes = _count_slopes(induced, here, visits, counting)
    # The effect of one more unit of mass in (s, a), on J of an agent and on the next law.
    on_value = np.tensordot(slopes.values, counting, 1)
    by_state = (table * on_value).sum(axis=1)
    if not slopes.laws.any() and not by_state.any():
        # Without interaction the law does not matter.
        through_law = np.zeros_like(partial)
    else:
        through_law = _through_law(induced, here, transitions, law, counting, slopes, by_state)
    total = partial + law[:, None] * on_value + through_law
    return WelfareGradient(here.value, total, partial, visits, here)


@dataclasses.dataclass(frozen=True)
class _Slopes:
    """Derivatives with respect to the counts n_k."""

    values: Array
    """Of the value J of an agent in a population that is held fixed, shape (n_cells,)."""
    laws: Array
    """Of the next law of the population, shape (n_cells, S)."""


def _through_law(
    induced: InducedGame,
    here: Evaluated,
    transitions: Array,
    law: Array,
    counting: Array,
    slopes: _Slopes,
    by_state: Array,
) -> Array:
    """The part of dJ / dpi(a|s) that acts through the change dz of the stationary law, shape (S, A)."""
    table, n_states = here.policy[0], induced.n_states
    counted = (table * counting).sum(axis=2)
    # One step changes z + dz into z + dz (P_pi + effect of the population on P_pi).
    step = here.moves + counted.T @ slopes.laws
    system = np.eye(n_states) - step + 1.0 / n_states
    # Where the population affects P, an error of the law is one of the system, and grows with its condition.
    doubt = np.sqrt(DOUBTFUL * here.flow.residual) if slopes.laws.any() else 0.0
    multiplier = solution(system, by_state, max(SINGULAR, float(doubt)))
    if multiplier is not None:
        effect = np.tensordot(slopes.laws @ multiplier, counting, 1)
        through: Array = law[:, None] * (transitions @ multiplier + effect)
        return through
    return _through_masses_of_classes(induced, here, transitions, law, slopes, by_state)


def _through_masses_of_classes(
    induced: InducedGame, here: Evaluated, transitions: Array, law: Array, slopes: _Slopes, by_state: Array
) -> Array:
    """The same with several recurrent classes, by the derivative of the limit P* = lim P^t.

    As long as the number of classes stays, dP* = P* dP D + D dP P* with the deviation matrix D = (I - P + P*)^-1 -
    P* (Schweitzer, "Perturbation theory and finite Markov chains", 1968).
    """
    moves, table = here.moves, here.policy[0]
    classes = recurrent_classes(moves)
    if len(classes) < 2:
        raise NotDifferentiableError(
            "social welfare has no derivative here: the stationary law is not an isolated solution of z ="
            " Phi(z, pi), or nearly not"
        )
    limit = limit_matrix(moves, classes)
    at_first = induced.arrays(induced.initial[:, None] * table)[0]
    if (
        np.abs(slopes.laws).max() > NEGLIGIBLE
        or np.abs(at_first - transitions).max() > NEGLIGIBLE
        or np.abs(induced.initial @ limit - law).sum() > NEGLIGIBLE
    ):
        raise NotDifferentiableError(
            f"social welfare has no derivative here that could be computed: the policy's chain has {len(classes)}"
            " recurrent classes, whose masses depend on the path of a population that affects transitions"
        )
    reached = np.array([limit[:, members].sum(axis=1) for members in classes]).T
    for k, members in enumerate(classes):
        leaving = transitions[members] @ (1.0 - reached[:, k])
        jumps = (leaving > NEGLIGIBLE) & (table[members] <= 0.0)
        if jumps.any():
            state, action = members[int(np.argwhere(jumps)[0][0])], int(np.argwhere(jumps)[0][1])
            raise NotDifferentiableError(
                f"social welfare jumps at this policy: with the smallest probability of action {action} in state"
                f" {state} the population would leave a recurrent class, one of {len(classes)}"
            )
    deviation = np.linalg.inv(np.eye(len(law)) - moves + limit) - limit
    first, second = deviation @ by_state, limit @ by_state
    through: Array = law[:, None] * (transitions @ first)
    through += (induced.initial @ deviation)[:, None] * (transitions @ second)
    return through


def _count_slopes(induced: InducedGame, here: Evaluated, visits: Array, counting: Array) -> _Slopes:
    """Difference quotients of J and of the next law with respect to every count."""
    n_cells, discount = len(counting), induced.game.discount
    mu = here.flow.mu[0]
    counts = np.tensordot(counting, mu, 2)
    low, high = counting.min(axis=(1, 2)), counting.max(axis=(1, 2))
    mass, visited = mu.ravel(), (visits[:, None] * here.policy[0]).ravel()
    arrays, given = induced.flow_arrays(), counts.copy()
    transitions, rewards = np.empty_like(here.flow.transitions[0]), np.empty_like(here.flow.rewards[0])
    next_laws, earned = transitions.reshape(mass.size, -1), rewards.ravel()
    tables = transitions, None, None, arrays.status, rewards
    values, laws = np.zeros(n_cells), np.zeros((n_cells, induced.n_states))
    model = induced.agents, induced.shares, induced.game.constants, 0, arrays.counts, arrays.signal
    for k in np.flatnonzero(high > low):
        step = STEP * (high[k] - low[k])
        stencil = CENTRAL
        if counts[k] - low[k] < 2.0 * step:
            stencil = FORWARD
        elif high[k] - counts[k] < 2.0 * step:
            stencil, step = FORWARD, -step
        for i, (position, weight) in enumerate(stencil):
            given[k] = counts[k] + position * step
            induced.kernels.at_counts(given, *model, *tables)
            law, value = mass @ next_laws, visited @ earned + discount * (visited @ next_laws) @ here.values
            if i == 0:
                first_law, first_value = law, value
            # The weights add up to zero; less the first, equal numbers give exactly zero.
            laws[k] += weight / step * (law - first_law)
            values[k] += weight / step * (value - first_value)
        given[k] = counts[k]
    checks.finite("derivatives with respect to the population", values)
    checks.finite("derivatives with respect to the population", laws)
    return _Slopes(values, laws)


def _counting(induced: InducedGame) -> Array:
    """The counts to which a unit of mass in each state and action contributes, shape (n_cells, S, A)."""
    shape = induced.game.n_cells, induced.n_states, induced.n_actions
    checks.at_most("n_cells * n_states * n_actions, for a gradient,", math.prod(shape), MOST_NUMBERS)
    counting = np.empty(shape)
    arrays = induced.flow_arrays()
    _counting_kernel(induced.kernels.count_rule)(
        induced.agents,
        induced.shares,
        induced.game.constants,
        arrays.counts,
        arrays.signal,
        arrays.mu[0],
        counting,
    )
    mu = induced.uniform_policy() / induced.n_states
    induced.kernels.freeze(mu, arrays)
    if not np.allclose(np.tensordot(counting, mu[0], 2), arrays.counts, rtol=1e-9, atol=1e-12):
        raise NotDifferentiableError(
            f"derivatives need counts that are linear in the population, which those of"
            f" {type(induced.game).__name__} are not"
        )
    return counting


@functools.cache
def _counting_kernel(count: Callable[..., Any]) -> Callable[..., Any]:
    @kernel
    def counting(
        agents: Any, shares: Any, constants: Any, counts: Any, signal: Any, population: Any, out: Any
    ) -> None:
        """Write the counts of a unit of mass in every state and action; ``population`` (S, A) is scratch."""
        n_cells, n_states, n_actions = out.shape
        population[:] = 0.0
        for s in range(n_states):
            for a in range(n_actions):
                population[s, a] = 1.0
                count(population, agents, shares, constants, 0, counts, signal)
                for k in range(n_cells):
                    out[k, s, a] = counts[k]
                population[s, a] = 0.0

    return counting
