"""The mean-field game that an N-player finite game induces, its flow and its exploitability."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import for_types_of
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.flow import FlowArrays
from mfenvs.engine.interpreted_rules import try_out
from mfenvs.engine.model import check_model, in_double_precision, model_kernels
from mfenvs.engine.tabulation import new_status
from mfenvs.finite_game import FiniteGame
from mfenvs.game import kind_of
from mfenvs.meanfield.action_masks import allowed_actions
from mfenvs.meanfield.agent_checks import check_every_agent, check_no_time
from mfenvs.meanfield.dynamic_programming import (
    best_response_kernel,
    evaluate_kernel,
    gap_kernel,
    start_values_kernel,
    value_scratch,
)
from mfenvs.meanfield.population_flow import Flow, checked_flow, flow_of, tables_of, warn_unless_stationary
from mfenvs.meanfield.public_tree import public_tree
from mfenvs.meanfield.public_tree_game import PublicTreeGame
from mfenvs.meanfield.recomputed_tables import RecomputedTables, is_too_large
from mfenvs.meanfield.transition_tables import TransitionTables
from mfenvs.play import tabulate

Array = NDArray[np.float64]

ON_AVERAGE = " on average over agents"

MASKED_GAIN = 1e-9
"""Value, relative to that of the policy, above which masked actions count as better than allowed ones."""
N_INPUTS = FlowArrays._fields.index("mu")
"""Number of the arrays of a compiled flow before its results."""


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

    A game with common noise (:attr:`mfenvs.FiniteGame.public_chain`) lives on the tree of its public histories
    (:mod:`mfenvs.meanfield.public_tree`). There the states of all arrays are pairs of a node and a local state: S
    is W S_local, with the row ``node * S_local + s``, and a population's mass in a node is the probability of its
    history. A policy may depend on the whole history, or be given by time and public state (:meth:`policy`). A
    best response knows the history and not the future. :attr:`tree` tells which node is which history.

    Exploitability keeps the tables of all times in memory, unless sparse ones that depend on the population would
    take more than 800 MB: then they are made twice, one at a time (:mod:`mfenvs.meanfield.recomputed_tables`).

    All numbers are in float64, and so are constants and parameters that the game gives in double precision. An
    instance must not be used by several threads at once.

    Parameters
    ----------
    game:
        A finite game. Agents with equal parameters are evaluated once.
    sparse:
        Whether only the possible successors of states are kept (:attr:`Flow.successors`). By default that is so in
        a game with many states of which few can come next. A game that declares ``branch`` is then asked for its
        branches only; one that declares ``transition`` for all states at first, and later for those that were
        found possible, and for all again where their probabilities do not sum to what they did.

    Raises
    ------
    TypeError
        If the game is not finite.
    ValueError
        If ``transition`` returns rows that are not probabilities, or ``reward`` numbers that are not finite, for
        any agent at a uniform population; by later calls, if the averages over agents do in a flow. If the rules
        of an infinite game read the time.
    """

    def __init__(self, game: FiniteGame, *, sparse: bool | None = None) -> None:
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {kind_of(game)}")
        try_out(game)
        if game.public_chain is not None:
            game = PublicTreeGame(game=game, tree=public_tree(game.public_chain, game.horizon))
        self.game = game
        """The game whose arrays these are: that on the tree of public histories if there is a public chain."""
        self.tree = game.tree if isinstance(game, PublicTreeGame) else None
        """The tree of public histories; None in a game without a public chain."""
        self.n_times, self.n_states, self.n_actions = game.policy_shape
        self.initial = np.ascontiguousarray(game.initial_distribution, np.float64)
        """The law of the initial state, shape (S,)."""
        distinct, shares = game.distinct_agents()
        self.agents = in_double_precision(distinct)
        """The parameters of the distinct agents, shape (n,)."""
        self.shares: Array = shares
        """The share of the population that has each of these parameters, shape (n,)."""
        self.kernels = model_kernels(game)
        """The compiled rules, for solvers that iterate in compiled code."""
        if sparse is not None:
            sparse = checks.boolean("sparse", sparse)
        model = self.agents, self.shares, game.constants
        self._tables = TransitionTables(game, self.kernels, model, self.n_times, sparse)
        self.allowed = allowed_actions(game)
        """Whether the rule ``allowed`` allows an action, shape (T, S, A), or (1, S, A) if that is the same at all
        times; None if all are allowed. Best and soft responses take no others."""
        self._flow_kernel: Callable[..., float] | None = None
        self._gap_kernel: Callable[..., tuple[float, float]] | None = None
        check_every_agent(self._tables)
        if game.is_infinite:
            check_no_time(self._tables)
        self._work: FlowArrays
        """Scratch of exploitability(): a flow that nobody keeps need not be allocated again and again."""
        self._recomputed: RecomputedTables | None = None
        """What exploitability() uses in the place of :attr:`_work` where that would be too large."""
        if is_too_large(self._tables):
            self._recomputed = RecomputedTables(self._tables, self.initial, self.allowed, ON_AVERAGE)
            self._recomputed.laws(self.uniform_policy())
        else:
            self._q = np.empty(self.policy_shape)
            self._work_in(self.flow_arrays())
            warn_unless_stationary(self._flow_in_work(self.uniform_policy()))

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: everything but machine code."""
        return {**self.__dict__, "_flow_kernel": None, "_gap_kernel": None}

    @property
    def is_sparse(self) -> bool:
        """Whether flows keep the possible successors of states only (:attr:`Flow.successors`)."""
        return self._tables.is_sparse

    @property
    def recomputes_tables(self) -> bool:
        """Whether tables of all times would be too large, so that exploitability makes them one at a time."""
        return self._recomputed is not None

    @property
    def policy_shape(self) -> tuple[int, int, int]:
        """The shape (T, S, A) of a policy."""
        return self.n_times, self.n_states, self.n_actions

    def uniform_policy(self) -> Array:
        """The policy that takes every allowed action with the same probability, shape (T, S, A)."""
        if self.allowed is None:
            return np.full(self.policy_shape, 1.0 / self.n_actions)
        # In the order of other policies, for which kernels are compiled: a copy keeps the order of strides.
        law = self.allowed / self.allowed.sum(axis=-1, keepdims=True)
        return np.array(np.broadcast_to(law, self.policy_shape), order="C")

    def arrays(self, mu: ArrayLike, time: int = 0) -> tuple[Array, Array]:
        """P(., ., mu) and R(., ., mu) of one time.

        Parameters
        ----------
        mu:
            The law of states and actions, shape (S, A).
        time:
            The time h, 0 <= h < T.

        Returns
        -------
        Probabilities of the next state, shape (S, A, S), and rewards, shape (S, A). A game with too many states
        for an array of this shape has :meth:`frozen`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or a rule returns no probabilities or rewards that are not finite.
        """
        law = checks.shaped("mu", mu, (self.n_states, self.n_actions), np.float64)
        checks.whole_law("mu", law)
        checks.integer("time", time, 0, self.n_times - 1)
        transitions, _, rewards = self._tables.at(law, time, dense=True)
        check_model(self.game, transitions, rewards, ON_AVERAGE)
        return transitions, rewards

    def table(self, mu: Array, time: int = 0) -> tuple[Array, NDArray[np.int32] | None, Array]:
        """P, its successors and R at a state-action law mu (S, A), as flows keep them, of one time.

        The law need not sum to 1, so that derivatives can be taken by differences.

        Returns
        -------
        Probabilities (S, A, K), their successors (S, A, K), or None if K counts all states, and R (S, A).
        """
        law = checks.shaped("mu", mu, (self.n_states, self.n_actions), np.float64)
        return self._tables.at(law, checks.integer("time", time, 0, self.n_times - 1))

    def flow(self, policy: Any, *, start: ArrayLike | None = None) -> Flow:
        """The population flow Lambda(policy) and the decision problem in it (Yardim & He, Definition 5).

        Parameters
        ----------
        policy:
            Probabilities, shape (T, S, A), or an object with these as its attribute ``probabilities``.
        start:
            In an infinite game, the law of states, shape (S,), from which the stationary one is searched, such as
            one that is known to be near; by default the initial law.

        Warns
        -----
        RuntimeWarning
            If the search for a stationary flow did not converge: the population may cycle for ever.
        """
        law, arrays = self.policy("policy", policy), self._starting_at(start, self._new_results())
        residual = self._fill_flow(law, arrays)
        if residual < 0.0:
            residual, arrays = self.filled(
                lambda arrays: self.kernels.flow(law, self._starting_at(start, arrays)), self.more_room(arrays)
            )
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        warn_unless_stationary(residual)
        return flow_of(arrays, residual)

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
        _, arrays = self.filled(lambda arrays: self.kernels.freeze(after, arrays), self.flow_arrays())
        _, arrays = self.filled(lambda arrays: self.kernels.advance(law, after, arrays), arrays)
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        return after

    def policy(self, name: str, policy: Any) -> Array:
        """Check a policy for all agents, and return its probabilities, shape (T, S, A).

        In a game with a public chain it may also be one that knows the time and the public state, of the game's
        own ``policy_shape`` or (T, M, S_local, A), or any other that :func:`mfenvs.tabulate` takes.
        """
        if type(policy) is np.ndarray and policy.shape == self.policy_shape:
            return checks.probabilities(name, policy, self.policy_shape)
        if isinstance(self.game, PublicTreeGame):
            given = getattr(policy, "probabilities", policy)
            if np.shape(given) == self.policy_shape:
                return checks.probabilities(name, given, self.policy_shape)
            law = tabulate(self.game.game, policy, name)
            if law.ndim == 3:
                return self.game.tree.per_node(law)
        else:
            law = tabulate(self.game, policy, name)
        if law.ndim == 4:
            raise ValueError(
                f"{name} must be one policy for all, of shape {self.policy_shape}, got one for each agent, of"
                f" shape {law.shape}: mfenvs.wrappers.shared_policy(policy, game) makes their average"
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
        flow = self.flow(law) if flow is None else checked_flow(flow, self.policy_shape)
        q, problem, scratch = np.empty(self.policy_shape), tables_of(flow), self._scratch_for(flow)
        evaluate_kernel(law, *problem, flow.rewards, tau, self.game.discount, q, scratch)
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
        """Q*_h(s, a) of the decision problem in a frozen flow, shape (T, S, A); -infinity for a masked action."""
        return self._optimise(flow, 0.0)[0]

    def exploitability(self, policy: Any, *, temperature: float = 0.0, start: ArrayLike | None = None) -> float:
        """E(pi) = max_{pi'} V(Lambda(pi), pi') - V(Lambda(pi), pi) >= 0 (Yardim & He, Definition 5), or E^tau.

        In a game with several populations it is the largest of :meth:`exploitabilities`.

        Parameters
        ----------
        policy:
            One policy for all, shape (T, S, A).
        temperature:
            The temperature tau of the entropy, >= 0.
        start:
            As for :meth:`flow`.

        Warns
        -----
        RuntimeWarning
            As for :meth:`flow`.
        """
        if self._recomputed is not None or self.game.n_populations > 1:
            return float(self.exploitabilities(policy, temperature=temperature, start=start).max())
        law, tau = self.policy("policy", policy), _temperature(temperature)
        warn_unless_stationary(self._flow_in_work(law, start))
        if self._gap_kernel is None:
            self._gap_kernel = for_types_of(gap_kernel, law, *self._problem, tau, *self._in_values)
        return self._gain(*self._gap_kernel(law, *self._problem, tau, *self._in_values))

    def exploitabilities(self, policy: Any, *, temperature: float = 0.0, start: ArrayLike | None = None) -> Array:
        """Exploitability of each population, shape (P,): the gain of a best response for one of its agents.

        Parameters
        ----------
        policy:
            One policy for all, shape (T, S, A).
        temperature:
            As for :meth:`exploitability`.
        start:
            As for :meth:`flow`.

        Warns
        -----
        RuntimeWarning
            As for :meth:`flow`.
        """
        if self.game.n_populations == 1 and self._recomputed is None:
            return np.array([self.exploitability(policy, temperature=temperature, start=start)])
        law, tau = self.policy("policy", policy), _temperature(temperature)
        if self._recomputed is not None:
            self._refuse_start(start)
            best, own = self._recomputed.start_values(law, tau)
        else:
            warn_unless_stationary(self._flow_in_work(law, start))
            best, own = np.empty(self.n_states), np.empty(self.n_states)
            start_values_kernel(law, *self._problem[1:], tau, *self._in_values, best, own)
        laws = self.game.initial_by_population
        # States in which nobody starts may have values that are not finite.
        starts = [np.flatnonzero(row) for row in laws]
        return np.array(
            [self._gain(row[k] @ best[k], row[k] @ own[k]) for row, k in zip(laws, starts, strict=True)]
        )

    def _gain(self, best: float, own: float) -> float:
        """The gain of a best response, whose value is checked, over the policy."""
        if not math.isfinite(best - own):
            if self._recomputed is None:
                check_model(self.game, self._work.transitions, self._work.rewards, ON_AVERAGE)
            checks.finite("the values of the best response and of the policy", (best, own))
        if self.allowed is not None and best - own < -MASKED_GAIN * max(1.0, abs(own)):
            raise ValueError(
                f"the policy takes actions that the rule allowed of {type(self.game).__name__} masks, and gains by"
                f" them: its value is {own}, that of a best response by allowed actions {best}"
            )
        # Rounding can take the difference of two equal values below zero.
        return max(0.0, float(best - own))

    def last_population(self) -> Array:
        """The flow of the policy whose exploitability was computed last, (T, S, A): scratch, for a look only."""
        mu: Array = (self._work if self._recomputed is None else self._recomputed).mu
        return mu

    def last_best_response(self) -> Array:
        """A best response to the flow of the policy whose exploitability was computed last, shape (T, S, A).

        It comes from the values that the exploitability needs anyhow. Ties go to the lowest action.
        """
        best = self._q.argmax(axis=-1) if self._recomputed is None else self._recomputed.best_actions
        policy = np.zeros(self.policy_shape)
        np.put_along_axis(policy, best[..., None], 1.0, axis=-1)
        return policy

    def response_values(self, policy: Any, flow: Flow) -> tuple[float, float]:
        """Values of a best response and of a policy (T, S, A) against a frozen flow, from the initial law."""
        law, flow = self.policy("policy", policy), checked_flow(flow, self.policy_shape)
        problem = self.initial, *tables_of(flow), flow.rewards, self.allowed, 0.0, self.game.discount
        best, own = gap_kernel(law, *problem, np.empty(self.policy_shape), self._scratch_for(flow))
        checks.finite("the values of the best response and of the policy", (best, own))
        return float(best), float(own)

    def flow_arrays(self, *, dense: bool = False) -> FlowArrays:
        """The arrays of the compiled flow, as one argument for kernels that iterate it.

        Parameters
        ----------
        dense:
            Whether the table of transitions shall be of all states, also in a game that keeps sparse ones.

        Raises
        ------
        ValueError
            If there are too many states for that.
        """
        shape, n_states, discount = self.policy_shape, self.n_states, self.game.discount
        transitions, successors, room = self._tables.new(dense=dense)
        needs_moves = successors is None and self.game.is_infinite
        counts, signal = self._tables.scratch()
        return FlowArrays(
            initial=self.initial,
            agents=self.agents,
            shares=self.shares,
            constants=self.game.constants,
            discount=discount,
            allowed=self.allowed,
            counts=counts,
            signal=signal,
            present=np.empty(n_states),
            ahead=np.empty(n_states),
            values=value_scratch(n_states, discount, is_sparse=successors is not None),
            moves=np.empty((n_states, n_states) if needs_moves else (0, 0)),
            mu=np.empty(shape),
            transitions=transitions,
            successors=successors,
            room=room,
            status=new_status(),
            rewards=np.empty(shape),
        )

    def filled(self, fill: Callable[[FlowArrays], Any], arrays: FlowArrays) -> tuple[Any, FlowArrays]:
        """Call a kernel that tabulates populations, again with more room as long as a sparse table has too little.

        Parameters
        ----------
        fill:
            Calls the kernel, which returns False or a number below 0 if it could not, and has then changed nothing
            but the arrays.
        arrays:
            Its arrays.

        Returns
        -------
        What the kernel returned, and the arrays with the results: those given, or others with more room.

        Raises
        ------
        ValueError
            If a branch leads to a state that does not exist.
        """
        while True:
            try:
                found = fill(arrays)
            except COMPILE_ERRORS as error:
                raise explained(self.game, error) from None
            if found is not False and not found < 0.0:
                return found, arrays
            arrays = self.more_room(arrays)

    def more_room(self, arrays: FlowArrays) -> FlowArrays:
        """Arrays in which there is room for what a kernel could not write into these."""
        self._tables.more_room(arrays.status)
        return self.flow_arrays(dense=arrays.successors is None)

    def at_all_times(self, law: Array) -> Array:
        """A law over states and actions (S, A) as a population at all times, shape (T, S, A).

        On a tree of public histories the mass of each node is changed to its probability.
        """
        if isinstance(self.game, PublicTreeGame):
            return np.stack([self.game.with_node_masses(law, time) for time in range(self.n_times)])
        return np.broadcast_to(law, self.policy_shape)

    def frozen(self, population: ArrayLike) -> Flow:
        """The decision problem of a single agent in a population (T, S, A) that stays as it is."""
        law = self.population("population", population)
        _, arrays = self.filled(lambda arrays: self.kernels.freeze(law, arrays), self.flow_arrays())
        check_model(self.game, arrays.transitions, arrays.rewards, ON_AVERAGE)
        return dataclasses.replace(flow_of(arrays), mu=law.copy())

    def _refuse_start(self, start: ArrayLike | None) -> None:
        if start is not None and not self.game.is_infinite:
            raise ValueError("start is for infinite games: the flow of a game that ends begins at its initial law")

    def _new_results(self) -> FlowArrays:
        """Arrays for a flow that is kept; the others are those of :attr:`_work`."""
        if self._recomputed is not None:
            return self.flow_arrays()
        work, (transitions, successors, room) = self._work, self._tables.new()
        mu, rewards = np.empty(self.policy_shape), np.empty(self.policy_shape)
        return FlowArrays._make((*work[:N_INPUTS], mu, transitions, successors, room, work.status, rewards))

    def _fill_flow(self, law: Array, arrays: FlowArrays) -> float:
        """Call the kernel of the flow of a policy; return what it returns.

        ``arrays`` must be of the form in which this game keeps its tables.
        """
        try:
            if self._flow_kernel is None:
                self._flow_kernel = for_types_of(self.kernels.flow, law, arrays)
            return self._flow_kernel(law, arrays)
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None

    def _starting_at(self, start: ArrayLike | None, arrays: FlowArrays) -> FlowArrays:
        """Arrays whose flow begins at a law of states (S,) of an infinite game, if one is given."""
        if start is None:
            return arrays
        self._refuse_start(start)
        return arrays._replace(initial=checks.probabilities("start", start, (self.n_states,)))

    def _flow_in_work(self, law: Array, start: ArrayLike | None = None) -> float:
        """Compute the flow of a policy in the scratch arrays; return its residual."""
        residual = self._fill_flow(law, self._starting_at(start, self._work))
        if residual < 0.0:
            residual, arrays = self.filled(
                lambda arrays: self.kernels.flow(law, self._starting_at(start, arrays)),
                self.more_room(self._work),
            )
            self._work_in(arrays)
        if checks.first_invalid_row(self._rows, checks.PROBABILITY_TOLERANCE, -checks.PROBABILITY_TOLERANCE) >= 0:
            check_model(self.game, self._work.transitions, self._work.rewards, ON_AVERAGE)
        return residual

    def _work_in(self, arrays: FlowArrays) -> None:
        """Take arrays as :attr:`_work`, and put together what every call of a kernel has of them."""
        self._work, table = arrays, arrays.transitions
        self._rows = table.reshape(-1, table.shape[-1])
        self._problem = arrays.initial, table, arrays.successors, arrays.rewards, self.allowed
        self._in_values = arrays.discount, self._q, arrays.values

    def _scratch_for(self, flow: Flow) -> Array:
        return value_scratch(self.n_states, self.game.discount, is_sparse=flow.successors is not None)

    def _optimise(self, flow: Flow, temperature: float) -> tuple[Array, Array]:
        """Optimal values in a frozen flow and an optimal policy, (T, S, A) each."""
        flow, tau = checked_flow(flow, self.policy_shape), _temperature(temperature)
        q, policy = np.empty(self.policy_shape), np.empty(self.policy_shape)
        problem = *tables_of(flow), flow.rewards, self.allowed, tau, self.game.discount
        best_response_kernel(*problem, q, self._scratch_for(flow), policy)
        checks.finite("the values of the best response", q)
        if self.allowed is not None:
            q[~np.broadcast_to(self.allowed, q.shape)] = -math.inf
        return q, policy


def refuse_public_tree(induced: InducedGame, what: str) -> None:
    """Raise a TypeError if a game lives on a tree of histories, for which ``what`` is not made."""
    if induced.tree is not None:
        raise TypeError(
            f"{what} looks at arbitrary populations, and in a game with a public chain the mass of a node is"
            f" fixed: it is for games without common noise, got {type(induced.game).__name__}"
        )


def refuse_fixed_masses(induced: InducedGame, what: str) -> None:
    """Raise a TypeError if a game has several populations or a tree, for which ``what`` is not made."""
    refuse_public_tree(induced, what)
    if induced.game.n_populations > 1:
        raise TypeError(
            f"{what} looks at arbitrary laws over states, and in a game with several populations the share of each"
            f" is fixed: it is for games with one population, got {type(induced.game).__name__} with"
            f" {induced.game.n_populations}"
        )


def _temperature(value: float) -> float:
    return 0.0 if value == 0.0 else checks.real("temperature", value, 0.0)
