"""The mean-field game that an N-player finite game induces, its flow and its exploitability."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.flow import FlowArrays
from mfenvs.engine.model import check_model, in_double_precision, model_kernels
from mfenvs.game import FiniteGame, kind_of
from mfenvs.meanfield.dynamic_programming import best_response_kernel, evaluate_kernel, gap_kernel, linear_system
from mfenvs.play import tabulate

Array = NDArray[np.float64]

ON_AVERAGE = " on average over agents"
NUMBERS_AT_A_TIME = 2**22
"""Number of entries of agents' own tables that are checked at a time: 32 MB."""

NEARLY_STATIONARY = 1e-8
"""Residual of a stationary flow above which a warning is given."""


@dataclasses.dataclass(frozen=True)
class Flow:
    """The population flow of a policy and the decision problem that a single agent faces in it."""

    mu: Array
    """State-action laws Lambda(pi), shape (T, S, A)."""
    transitions: Array
    """P(s, a, mu_h) of every step, shape (T, S, A, S)."""
    rewards: Array
    """R(s, a, mu_h) of every step, shape (T, S, A)."""
    residual: float = 0.0
    """Residual of a stationary flow: the l1 distance by which one more step changes its law; 0 in a game that
    ends. Where the population moves ever more slowly, as at the threshold of an epidemic, the law itself may be
    farther off."""


class InducedGame:
    """MFG(G), the mean-field game induced by an N-player game G (Yardim & He, Definition 6).

    Arrays have a time axis of length T. In a game that ends, T is the horizon H, flows begin with the initial law,
    and values are total rewards. In an infinite game (``discount`` < 1), T = 1 and policies are stationary. The
    flow of a policy is then a *stationary* law, searched from the initial law by steps in dynamics that are frozen
    for a while. (Where a policy has several stationary laws, it need not be the one that the population itself
    reaches: see :meth:`next_population`.) Values are discounted: V = E sum_h gamma^h r_h with s_0 from the initial
    law (Guo et al., arXiv 1901.09585).

    P(s, a, mu) and R(s, a, mu) are the averages of the rules over the agents' parameters, in the limit of many
    agents. How near that is to Definition 6 for the game of N agents:

    * Rules that read the others through an empirical distribution are symmetric in them: Sym(P^i) = P^i.
    * At the distributions of N - 1 agents, rules that read it by :func:`mfenvs.share` only have exactly the values
      of Definition 6. Others, such as the auction's draws without replacement, differ by O(1/N) where smooth.
    * Between these, rules that are affine in the population extend their values with the same Lipschitz modulus;
      curved ones with a modulus that is larger by O(1/N).
    * Agents who are counted by who they are, by weights say, are averaged here [O]. Definition 6 would put every
      agent in every other agent's place.

    Where agents differ in their transitions (alpha > 0), this game's flow is not the limit of the empirical
    distributions of many agents. Their states come to depend on their parameters: in A-SIS, who recovers slowly is
    infected more often. The flow here averages P over all agents in every state, and not over those who are there.
    The difference is a covariance, of second order in alpha, and part of what Theorem 1 allows for alpha.

    All numbers are in float64, computed from constants and parameters that games keep in single precision. An
    instance must not be used by several threads at once.

    Parameters
    ----------
    game:
        A finite game. Agents with equal parameters are evaluated once.

    Raises
    ------
    TypeError
        If the game is not finite.
    ValueError
        If ``transition`` returns rows that are not probabilities, or ``reward`` numbers that are not finite, for
        any agent at a uniform population; by later calls, if the averages over agents do in a flow. If the rules
        of an infinite game read the time.
    """

    def __init__(self, game: FiniteGame) -> None:
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
        self.game = game
        self.n_times, self.n_states, self.n_actions = game.policy_shape
        self.initial = np.ascontiguousarray(game.initial_distribution, np.float64)
        """The law of the initial state, shape (S,)."""
        distinct, copies = np.unique(game.agents.view(np.ndarray), return_counts=True)
        self.agents = in_double_precision(distinct)
        """The parameters of the distinct agents, shape (n,)."""
        self.shares = copies / game.n_agents
        """The share of the population that has each of these parameters, shape (n,)."""
        # Scratch of exploitability(): a flow that nobody keeps need not be allocated again and again.
        self._work = self.flow_arrays()
        self._rows = self._work.transitions.reshape(-1, self.n_states)
        self.kernels = model_kernels(game)
        """The compiled rules, for solvers that iterate in compiled code."""
        self._q = np.empty(self.policy_shape)
        self._check_every_agent()
        if game.is_infinite:
            self._check_no_time()
        self.flow(self.uniform_policy())

    @property
    def policy_shape(self) -> tuple[int, int, int]:
        """The shape (T, S, A) of a policy."""
        return self.n_times, self.n_states, self.n_actions

    def uniform_policy(self) -> Array:
        """The policy that takes every action with the same probability, shape (T, S, A)."""
        return np.full(self.policy_shape, 1.0 / self.n_actions)

    def arrays(self, mu: ArrayLike, time: int = 0) -> tuple[Array, Array]:
        """P(., ., mu), shape (S, A, S), and R(., ., mu), shape (S, A), at a state-action law mu (S, A)."""
        law = checks.shaped("mu", mu, (self.n_states, self.n_actions), np.float64)
        checks.whole_law("mu", law)
        checks.integer("time", time, 0, self.n_times - 1)
        transitions, rewards = self._tabulate(law, time)
        check_model(self.game, transitions, rewards, ON_AVERAGE)
        return transitions, rewards

    def flow(self, policy: Any) -> Flow:
        """The population flow Lambda(policy) and the decision problem in it (Yardim & He, Definition 5).

        Parameters
        ----------
        policy:
            Probabilities, shape (T, S, A), or an object with these as its attribute ``probabilities``.

        Warns
        -----
        RuntimeWarning
            If the search for a stationary flow did not converge: the population may cycle for ever.
        """
        law, arrays = self.policy("policy", policy), self.flow_arrays()
        residual = float(self.kernels.flow(law, arrays))
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        _warn_unless_stationary(residual)
        return Flow(arrays.mu, arrays.transitions, arrays.rewards, residual)

    def next_population(self, policy: Any, population: ArrayLike) -> Array:
        """Gamma_2(pi, L): the population one step after L if all play ``policy`` (Guo et al., arXiv 1901.09585).

        s ~ the states of L, a_0 ~ pi(s), s_1 ~ P(. | s, a_0, L), a_1 ~ pi(s_1); the result is the law of (s_1,
        a_1). In a game that ends, a population is a whole flow, and the next one is the flow of the policy [O].

        Parameters
        ----------
        policy:
            Probabilities of actions, shape (T, S, A).
        population:
            Law over states and actions for every time, shape (T, S, A).

        Returns
        -------
        The next population, shape (T, S, A).
        """
        law, after = self.policy("policy", policy), self.population("population", population).copy()
        arrays = self.flow_arrays()
        self.kernels.freeze(after, arrays)
        self.kernels.advance(law, after, arrays)
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        return after

    def policy(self, name: str, policy: Any) -> Array:
        """Check a policy for all agents, and return its probabilities, shape (T, S, A)."""
        if type(policy) is np.ndarray and policy.shape == self.policy_shape:
            return checks.probabilities(name, policy, self.policy_shape)
        law = tabulate(self.game, policy, name)
        if law.ndim == 4:
            raise ValueError(
                f"{name} must be one policy for all, of shape {self.policy_shape}, got one for each agent, of"
                f" shape {law.shape}: mfenvs.wrappers.shared_policy makes their average"
            )
        return law

    def population(self, name: str, value: ArrayLike) -> Array:
        """Check a population, a law over states and actions for every time, shape (T, S, A), and return it."""
        array = checks.shaped(name, value, self.policy_shape, np.float64)
        size = self.n_states * self.n_actions
        checks.probabilities(f"{name} over (S, A)", array.reshape(self.n_times, size), (self.n_times, size))
        return array

    def evaluate(self, policy: Any, flow: Flow | None = None, *, temperature: float = 0.0) -> Array:
        """Q^{tau,pi}_h(s, a) of a policy against a flow (its own by default), shape (T, S, A).

        Yardim & He, Definition 9: with tau = ``temperature`` the entropy of the policy at step h is part of Q_h.
        """
        law, tau = self.policy("policy", policy), _temperature(temperature)
        flow = self.flow(law) if flow is None else self._checked_flow(flow)
        q, discount = np.empty(self.policy_shape), self.game.discount
        system = linear_system(self.n_states, discount)
        evaluate_kernel(law, flow.transitions, flow.rewards, tau, discount, q, system)
        checks.finite("the values of the policy", q)
        return q

    def value(self, policy: Any, flow: Flow | None = None, *, temperature: float = 0.0) -> float:
        """V^tau(mu, policy): expected total (discounted) reward against a flow, the policy's own by default."""
        law = self.policy("policy", policy)
        q = self.evaluate(law, flow, temperature=temperature)
        return float(np.einsum("s,sa,sa->", self.initial, law[0], q[0]))

    def best_response(self, flow: Flow, *, temperature: float = 0.0) -> Array:
        """A best response to a frozen flow, shape (T, S, A); at a temperature > 0, the unique soft one."""
        return self._optimise(flow, temperature)[1]

    def optimal_q(self, flow: Flow) -> Array:
        """Q*_h(s, a) of the decision problem in a frozen flow, shape (T, S, A)."""
        return self._optimise(flow, 0.0)[0]

    def exploitability(self, policy: Any, *, temperature: float = 0.0) -> float:
        """E(pi) = max_{pi'} V(Lambda(pi), pi') - V(Lambda(pi), pi) >= 0 (Yardim & He, Definition 5), or E^tau.

        Warns
        -----
        RuntimeWarning
            As for :meth:`flow`.
        """
        law, tau, work = self.policy("policy", policy), _temperature(temperature), self._work
        residual = self.kernels.flow(law, work)
        if checks.first_invalid_row(self._rows, checks.PROBABILITY_TOLERANCE, -checks.PROBABILITY_TOLERANCE) >= 0:
            check_model(self.game, work.transitions, work.rewards, ON_AVERAGE)
        _warn_unless_stationary(residual)
        problem = work.initial, work.transitions, work.rewards, tau, work.discount
        best, own = gap_kernel(law, *problem, self._q, work.values)
        if not math.isfinite(best - own):
            check_model(self.game, work.transitions, work.rewards, ON_AVERAGE)
            checks.finite("the values of the best response and of the policy", (best, own))
        # Rounding can take the difference of two equal values below zero.
        return max(0.0, float(best - own))

    def flow_arrays(self) -> FlowArrays:
        """The arrays of the compiled flow, as one argument for kernels that iterate it."""
        shape, n_states = self.policy_shape, self.n_states
        counts, signal = self._scratch()
        return FlowArrays(
            initial=self.initial,
            agents=self.agents,
            shares=self.shares,
            constants=self.game.constants,
            discount=self.game.discount,
            counts=counts,
            signal=signal,
            present=np.empty(n_states),
            ahead=np.empty(n_states),
            values=linear_system(n_states, self.game.discount),
            moves=np.empty((n_states, n_states)),
            mu=np.empty(shape),
            transitions=np.empty((*shape, n_states)),
            rewards=np.empty(shape),
        )

    def frozen(self, population: ArrayLike) -> Flow:
        """The decision problem of a single agent in a population (T, S, A) that stays as it is."""
        law, arrays = self.population("population", population), self.flow_arrays()
        self.kernels.freeze(law, arrays)
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        return Flow(law.copy(), arrays.transitions, arrays.rewards)

    def _optimise(self, flow: Flow, temperature: float) -> tuple[Array, Array]:
        """Optimal values in a frozen flow and an optimal policy, (T, S, A) each."""
        flow, tau, discount = self._checked_flow(flow), _temperature(temperature), self.game.discount
        q, policy = np.empty(self.policy_shape), np.empty(self.policy_shape)
        system = linear_system(self.n_states, discount)
        best_response_kernel(flow.transitions, flow.rewards, tau, discount, q, system, policy)
        checks.finite("the values of the best response", q)
        return q, policy

    def _checked_flow(self, flow: Flow) -> Flow:
        if not isinstance(flow, Flow):
            raise TypeError(f"flow must be a Flow, as InducedGame.flow() returns it, got {flow!r}")
        for name, shape in (("transitions", (*self.policy_shape, self.n_states)), ("rewards", self.policy_shape)):
            found = getattr(flow, name)
            if np.shape(found) != shape or np.asarray(found).dtype != np.float64:
                raise ValueError(
                    f"flow.{name} must be float64 of shape {shape}, as this game's flows are, got shape"
                    f" {np.shape(found)} of {np.asarray(found).dtype}"
                )
        return flow

    def _tabulate(self, law: Array, time: int) -> tuple[Array, Array]:
        """P (S, A, S) and R (S, A), averaged over all agents."""
        transitions, rewards = self._tabulate_groups(law, time, self.agents, self.shares, (0, len(self.agents)))
        return transitions[0], rewards[0]

    def _tabulate_groups(
        self, law: Array, time: int, agents: NDArray[Any], shares: Array, firsts: Sequence[int]
    ) -> tuple[Array, Array]:
        """P (n, S, A, S) and R (n, S, A) of n groups of agents, with group boundaries ``firsts`` (n + 1,)."""
        shape = len(firsts) - 1, self.n_states, self.n_actions
        transitions, rewards = np.empty((*shape, self.n_states)), np.empty(shape)
        try:
            self.kernels.mean_fields(
                *(law, agents, shares, np.asarray(firsts), self.game.constants, time, *self._scratch()),
                *(transitions, rewards),
            )
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None
        return transitions, rewards

    def _scratch(self) -> tuple[Array, Array]:
        """Arrays that the kernels work in: counts (n_cells,) and signal (n_signals,)."""
        return np.empty(self.game.n_cells), np.empty(self.game.n_signals)

    def _check_every_agent(self) -> None:
        """Check all agents' own rows at one population: in the average, wrong rows could cancel."""
        mu = np.full((self.n_states, self.n_actions), 1.0 / (self.n_states * self.n_actions))
        at_a_time = max(1, NUMBERS_AT_A_TIME // (self.n_states * mu.size))
        for first in range(0, len(self.agents), at_a_time):
            some = self.agents[first : first + at_a_time]
            transitions, rewards = self._tabulate_groups(mu, 0, some, np.ones(len(some)), range(len(some) + 1))
            try:
                check_model(self.game, transitions, rewards)
            except ValueError:
                for agent, own_transitions, own_rewards in zip(some, transitions, rewards, strict=True):
                    whose = f" for an agent with parameters {agent}"
                    check_model(self.game, own_transitions, own_rewards, whose)

    def _check_no_time(self) -> None:
        mu = np.full((self.n_states, self.n_actions), 1.0 / (self.n_states * self.n_actions))
        first, last = self._tabulate(mu, 0), self.game.horizon - 1
        later = {time for time in (1, 2, 3, last // 2, last) if time <= last}
        if not all(
            np.array_equal(a, b) for time in later for a, b in zip(first, self._tabulate(mu, time), strict=True)
        ):
            raise ValueError(
                f"{type(self.game).__name__} with discount {self.game.discount:g} goes on for ever, so its rules"
                " must not read world.time: make it with discount=1, or without the time"
            )


def _warn_unless_stationary(residual: float) -> None:
    if residual > NEARLY_STATIONARY:
        warnings.warn(
            f"the population does not settle: a step changes the law found by {residual:.1e} in l1",
            RuntimeWarning,
            stacklevel=3,
        )


def _temperature(value: float) -> float:
    return 0.0 if value == 0.0 else checks.real("temperature", value, 0.0)
