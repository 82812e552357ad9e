"""The mean-field game that an N-player finite game induces, its flow and its exploitability."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import check_model, in_double_precision, model_kernels
from mfenvs.game import FiniteGame
from mfenvs.meanfield.dynamic_programming import best_response_kernel, evaluate_kernel, gap

Array = NDArray[np.float64]

ON_AVERAGE = " on average over agents"


@dataclasses.dataclass(frozen=True)
class Flow:
    """The population flow of a policy and the decision problem that a single agent faces in it."""

    mu: Array
    """State-action laws Lambda(pi), shape (H, S, A)."""
    transitions: Array
    """P(s, a, mu_h) of every step, shape (H, S, A, S)."""
    rewards: Array
    """R(s, a, mu_h) of every step, shape (H, S, A)."""


class InducedGame:
    """MFG(G), the finite-horizon mean-field game induced by an N-player game G (Yardim & He, Definition 6).

    The rules of our games read the others through an empirical distribution only, so that
    symmetrisation and extension are exact, and P(s, a, mu) and R(s, a, mu) are the averages of the
    rules over the agents' parameters. Everything is in float64. An instance is not for use by several
    threads at once.

    Parameters
    ----------
    game:
        A finite game. Agents with equal parameters are evaluated once.

    Raises
    ------
    TypeError
        If the game is not finite.
    ValueError
        If its transition rule returns rows that are not probabilities, or its reward rule numbers that are not
        finite, for any agent at a uniform population; later, if their average does in any flow.
    """

    def __init__(self, game: FiniteGame) -> None:
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {type(game).__name__}")
        self.game = game
        self.horizon, self.n_states, self.n_actions = game.horizon, game.n_states, game.n_actions
        self.initial = np.ascontiguousarray(game.initial_distribution, np.float64)
        """The law of the first state, shape (S,)."""
        distinct, copies = np.unique(game.agents.view(np.ndarray), return_counts=True)
        self.agents = in_double_precision(distinct)
        """The distinct agents' parameters."""
        self.shares = copies / game.n_agents
        """The share of the population that has them."""
        # What exploitability() works in. A flow that nobody keeps need not be allocated again and again.
        self._work = self.flow_arrays(), np.empty(self.policy_shape)
        self.kernels = model_kernels(game)
        """The compiled rules, for solvers that iterate in compiled code."""
        self._gap = _gap_kernel(self.kernels.flow_rule)
        self._check_every_agent()
        self.flow(self.uniform_policy())

    @property
    def policy_shape(self) -> tuple[int, int, int]:
        """(H, S, A)."""
        return self.horizon, self.n_states, self.n_actions

    def uniform_policy(self) -> Array:
        """The policy that takes every action with the same probability, shape (H, S, A)."""
        return np.full(self.policy_shape, 1.0 / self.n_actions)

    def arrays(self, mu: ArrayLike, time: int = 0) -> tuple[Array, Array]:
        """P(., ., mu) of shape (S, A, S) and R(., ., mu) of shape (S, A) at a state-action law mu (S, A)."""
        law = checks.shaped("mu", mu, (self.n_states, self.n_actions), np.float64)
        checks.probabilities("mu.ravel()", law.ravel(), (law.size,))
        checks.integer("time", time, 0, self.horizon - 1)
        transitions, rewards = np.empty((*law.shape, self.n_states)), np.empty(law.shape)
        self.kernels.mean_field(
            law, self.agents, self.shares, self.game.constants, time, *self._scratch(), transitions, rewards
        )
        check_model(self.game, transitions, rewards, ON_AVERAGE)
        return transitions, rewards

    def flow(self, policy: Any) -> Flow:
        """The population flow Lambda(policy) and what it makes of the game (Yardim & He, Definition 5)."""
        flow = self._flow(self._policy("policy", policy))
        check_model(self.game, flow.transitions, flow.rewards, ON_AVERAGE)
        return flow

    def evaluate(self, policy: Any, flow: Flow | None = None, *, temperature: float = 0.0) -> Array:
        """Q^{tau,pi}_h(s, a) of a policy against a flow (its own by default), shape (H, S, A).

        Yardim & He, Definition 9: with tau = ``temperature`` the entropy of the policy at step h is part of Q_h.
        """
        law, tau = self._policy("policy", policy), _temperature(temperature)
        flow = self.flow(law) if flow is None else flow
        q = np.empty(self.policy_shape)
        evaluate_kernel(law, flow.transitions, flow.rewards, tau, q)
        return q

    def value(self, policy: Any, flow: Flow | None = None, *, temperature: float = 0.0) -> float:
        """V^tau(mu, policy): expected total reward against a flow, the policy's own by default."""
        law = self._policy("policy", policy)
        q = self.evaluate(law, flow, temperature=temperature)
        return float(np.einsum("s,sa,sa->", self.initial, law[0], q[0]))

    def best_response(self, flow: Flow, *, temperature: float = 0.0) -> Array:
        """A best response to a frozen flow, shape (H, S, A); at a temperature, the unique soft one."""
        q, policy = np.empty(self.policy_shape), np.empty(self.policy_shape)
        best_response_kernel(flow.transitions, flow.rewards, _temperature(temperature), q, policy)
        return policy

    def exploitability(self, policy: Any, *, temperature: float = 0.0) -> float:
        """E(pi) = max_{pi'} V(Lambda(pi), pi') - V(Lambda(pi), pi) >= 0 (Yardim & He, Definition 5), or E^tau."""
        law, tau = self._policy("policy", policy), _temperature(temperature)
        best, own, is_valid = self._gap(law, tau, *self._work)
        if not is_valid:
            self.flow(law)  # says what is wrong
        # Rounding can take the difference of two equal values below zero.
        return max(0.0, float(best - own))

    def flow_arrays(self) -> tuple[Any, ...]:
        """What the compiled flow works on: one argument for kernels that iterate it.

        (initial law, distinct agents, their shares, the game's constants; scratch: counts, signal; results: mu
        (H, S, A), transitions (H, S, A, S), rewards (H, S, A)).
        """
        shape = self.policy_shape
        results = np.empty(shape), np.empty((*shape, self.n_states)), np.empty(shape)
        return (self.initial, self.agents, self.shares, self.game.constants, *self._scratch(), *results)

    def _flow(self, policy: Array) -> Flow:
        arrays = self.flow_arrays()
        self.kernels.flow(policy, arrays)
        mu, transitions, rewards = arrays[-3:]
        return Flow(mu, transitions, rewards)

    def _scratch(self) -> tuple[Array, Array]:
        """Arrays that the kernels work in: counts (n_cells,) and signal (n_signals,)."""
        return np.empty(self.game.n_cells), np.empty(self.game.n_signals)

    def _policy(self, name: str, policy: Any) -> Array:
        return checks.probabilities(name, getattr(policy, "probabilities", policy), self.policy_shape)

    def _check_every_agent(self) -> None:
        """Check all agents' own rows at one population: in the average, wrong rows could cancel."""
        mu = np.full((self.n_states, self.n_actions), 1.0 / (self.n_states * self.n_actions))
        transitions, rewards = np.empty((*mu.shape, self.n_states)), np.empty(mu.shape)
        try:
            wrong = self.kernels.mean_field_rows(
                *(mu, self.agents, np.ones(1), self.game.constants, *self._scratch()),
                *(transitions, rewards, checks.PROBABILITY_TOLERANCE),
            )
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None
        if wrong >= 0:
            check_model(self.game, transitions, rewards, f" for an agent with parameters {self.agents[wrong]}")


@functools.cache
def _gap_kernel(flow: Callable[..., Any]) -> Callable[..., Any]:
    tolerance = checks.PROBABILITY_TOLERANCE

    @kernel
    def flow_and_gap(policy: Any, temperature: Any, arrays: Any, q: Any) -> Any:
        """Value of the best response to a policy's flow, of the policy in it, and whether the flow is valid."""
        flow(policy, arrays)
        initial, _, _, _, _, _, _, transitions, rewards = arrays
        best, own = gap(policy, initial, transitions, rewards, temperature, q)
        is_valid = math.isfinite(best - own)
        for h in range(policy.shape[0]):
            for s in range(policy.shape[1]):
                for a in range(policy.shape[2]):
                    is_valid &= checks.is_row(transitions[h, s, a], tolerance, -tolerance)
        return best, own, is_valid

    return flow_and_gap


def _temperature(value: float) -> float:
    return 0.0 if value == 0.0 else checks.real("temperature", value, 0.0)
