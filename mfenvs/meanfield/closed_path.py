"""The rules of a finite game among N agents at given counts of the others: symmetrisation without permutations.

Where agents are counted by state and action alone, not by who they are, P^i(s, a, others) and R^i(s, a, others)
are symmetric in the others. Then Sym leaves them as they are, and the values of the induced game on the lattice
(Yardim & He, arXiv 2408.15173, Definition 6) are the means of the rules over the agents, at any N. Rules see the
world of N agents here, and not the mean-field limit that :class:`mfenvs.InducedGame` takes: for rules that read
``share`` only the two are equal; otherwise, where rules are smooth, they differ by O(1/N).
"""

import contextlib
import dis
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import no_aggregate, own_count_rules
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import check_model, in_double_precision
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Rule, Rules
from mfenvs.meanfield.dependence import ProvenDependences, proven_dependences, times_that_matter
from mfenvs.public_chain import refuse_public_chain
from mfenvs.rules import World, plain, rule

Array = NDArray[np.float64]


class Deviations(NamedTuple):
    """The induced game at a point of the lattice, and how far every kind of agents is from it."""

    transitions: Array
    """P(s, a, mu) of the induced game, shape (S, A, S)."""
    rewards: Array
    """R(s, a, mu) of the induced game, shape (S, A)."""
    alpha: Array
    """max over s, a of ||P^i(s, a, others) - P(s, a, mu)||_1, shape (n_kinds,)."""
    beta: Array
    """max over s, a of |R^i(s, a, others) - R(s, a, mu)|, shape (n_kinds,)."""
    alpha_pair: NDArray[np.int64]
    """The pair s * A + a where alpha is attained, shape (n_kinds,)."""
    beta_pair: NDArray[np.int64]
    """The pair s * A + a where beta is attained, shape (n_kinds,)."""


class RulesAmongOthers:
    """A finite game's P^i and R^i, for all agents at once, given the counts of the other agents.

    Parameters
    ----------
    game:
        A finite game.

    Raises
    ------
    TypeError
        If the game is not finite, has a public chain or several populations, or one of its rules does not compile.
    """

    def __init__(self, game: FiniteGame) -> None:
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {type(game).__name__}")
        refuse_public_chain(game, "an analysis of the rules among N agents")
        if game.n_populations > 1:
            raise TypeError(
                "an analysis of the rules among N agents puts others into any states, and is for games with one"
                f" population, got {type(game).__name__} with {game.n_populations}"
            )
        self.game = game
        self._everyone = in_double_precision(game.agents)
        distinct, first, self.kind_of_agent, copies = np.unique(
            game.agents.view(np.ndarray), return_index=True, return_inverse=True, return_counts=True
        )
        self.first_of_kind: NDArray[np.int64] = first
        """The first agent of every kind, that is with its own parameters, shape (n_kinds,)."""
        self.shares: Array = copies / game.n_agents
        """The share of the population of each kind, shape (n_kinds,)."""
        self._kinds = in_double_precision(distinct)
        self._compiled = _kernels(game.rules, game.transition, game.expected_reward, game.n_states, game.n_actions)
        self.times = times_that_matter(game)
        """The times at which rules can differ: all of them if a rule reads the time, else 0 only."""

    @property
    def n_others(self) -> int:
        """N - 1."""
        return self.game.n_agents - 1

    @functools.cached_property
    def counts_everyone_alike(self) -> bool:
        """Whether agents are counted by their states and actions alone, not by who they are."""
        rules = self.game.rules
        counting = (rules.cell, 2), (rules.weight, 2), (rules.count, 4)
        if len(self._kinds) == 1 or not any(function and _loads(function, k) for function, k in counting):
            return True
        scratch = np.empty((2, self.game.n_cells)), np.zeros(self.game.n_signals)
        with _explaining(self.game):
            return all(
                self._compiled.alike(self._kinds, self.game.constants, time, self.game.n_agents, *scratch)
                for time in self.times
            )

    @functools.cached_property
    def dependences(self) -> ProvenDependences:
        """What is proven of how P^i and R^i depend on the counts of the others."""
        return proven_dependences(self.game, in_mean_field=False)

    def own_tables(self, agent: int, others: NDArray[np.int64], time: int = 0) -> tuple[Array, Array]:
        """P^i(., ., others), shape (S, A, S), and R^i(., ., others), shape (S, A), of one agent i.

        Parameters
        ----------
        agent:
            Index of the agent.
        others:
            States and actions of the other agents in their order, shape (N - 1, 2).
        time:
            The time step.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or a rule returns a row that is no probability row, or a reward that is
            not finite.
        """
        agent = checks.integer("agent", agent, 0, self.n_others)
        time = checks.integer("time", time, 0, self.game.horizon - 1)
        sizes = self.game.n_states, self.game.n_actions
        others = checks.indices("others", others, (self.n_others, 2), 0, max(sizes) - 1)
        for column, (name, size) in enumerate(zip(("states", "actions"), sizes, strict=True)):
            checks.indices(f"{name} of others", others[:, column], (self.n_others,), 0, size - 1)
        counted, signal = np.zeros(self.game.n_cells), np.zeros(self.game.n_signals)
        with _explaining(self.game):
            self._compiled.count_others(
                *(agent, others, self._everyone, self.game.constants, time, self.game.n_agents, signal, counted)
            )
        transitions, rewards = self._tables(self._everyone[agent : agent + 1], counted, time)
        check_model(self.game, transitions, rewards, f" for agent {agent} among others {others.tolist()}")
        return transitions[0], rewards[0]

    def arrays(self, counts: ArrayLike, time: int = 0) -> tuple[Array, Array]:
        """P (S, A, S) and R (S, A) of the induced game where the N - 1 others have these counts (S, A).

        Raises
        ------
        TypeError, ValueError
            As for :meth:`deviations`.
        """
        found = self.deviations(counts, time)
        return found.transitions, found.rewards

    def tables_of_kinds(self, counts: ArrayLike, time: int = 0) -> tuple[Array, Array]:
        """P^i (n_kinds, S, A, S) and R^i (n_kinds, S, A) of every kind of agents, among others with these counts.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`deviations`.
        """
        counts, time = self._checked_point(counts, time)
        transitions, rewards = self._tables(self._kinds, self._counted(counts, time), time)
        check_model(self.game, transitions, rewards, f" among others {counts.tolist()}")
        return transitions, rewards

    def deviations(self, counts: ArrayLike, time: int = 0) -> "Deviations":
        """Compare every kind's rules with the induced game's, where the N - 1 others have these counts (S, A).

        Raises
        ------
        TypeError
            If agents are counted by who they are, or counts are not integers.
        ValueError
            If counts are negative or do not sum to N - 1, or a rule returns a row that is no probability row, or a
            reward that is not finite, for any agent.
        """
        n, game = len(self._kinds), self.game
        counts, time = self._checked_point(counts, time)
        counted = self._counted(counts, time)
        transitions = np.empty((game.n_states, game.n_actions, game.n_states))
        rewards = np.empty(transitions.shape[:2])
        found = Deviations(transitions, rewards, *np.zeros((2, n)), *np.zeros((2, n), np.int64))
        with _explaining(game):
            wrong = self._compiled.compare(
                *(self._kinds, self.shares, counted, game.constants, time, game.n_agents),
                *(np.empty(game.n_cells), np.empty(game.n_signals), *found, checks.PROBABILITY_TOLERANCE),
            )
        if wrong >= 0:
            own = self._tables(self._kinds[wrong : wrong + 1], counted, time)
            check_model(game, *own, f" for agent {self.first_of_kind[wrong]} among others {counts.tolist()}")
        return found

    def _checked_point(self, counts: ArrayLike, time: int) -> tuple[NDArray[np.int64], int]:
        shape = self.game.n_states, self.game.n_actions
        found: NDArray[np.int64] = checks.indices("counts", counts, shape, 0, self.n_others)
        if found.sum() != self.n_others:
            raise ValueError(f"counts must sum to N - 1 = {self.n_others}, got a sum of {found.sum()}")
        return found, checks.integer("time", time, 0, self.game.horizon - 1)

    def _counted(self, counts: NDArray[np.int64], time: int) -> Array:
        """The others' contributions to the game's counts, shape (n_cells,)."""
        if not self.counts_everyone_alike:
            raise TypeError(
                f"{type(self.game).__name__} counts agents by who they are (its cell, weight or count reads the"
                " agent's parameters), so that counts of states and actions do not tell what the others do"
            )
        counted, signal = np.zeros(self.game.n_cells), np.zeros(self.game.n_signals)
        with _explaining(self.game):
            self._compiled.count_pairs(
                *(counts, self._kinds[0], self.game.constants, time, self.game.n_agents, signal, counted)
            )
        return counted

    def _tables(self, agents: NDArray[Any], counted: Array, time: int) -> tuple[Array, Array]:
        shape = len(agents), self.game.n_states, self.game.n_actions
        transitions, rewards = np.empty((*shape, self.game.n_states)), np.empty(shape)
        scratch = np.empty(self.game.n_cells), np.empty(self.game.n_signals)
        with _explaining(self.game):
            self._compiled.tabulate(
                *(agents, counted, self.game.constants, time, self.game.n_agents),
                *(*scratch, transitions, rewards),
            )
        return transitions, rewards


@contextlib.contextmanager
def _explaining(game: FiniteGame) -> Iterator[None]:
    """Turn a compiler's error into one that names the game's rule."""
    try:
        yield
    except COMPILE_ERRORS as error:
        raise explained(game, error) from None


def _loads(function: Any, position: int) -> bool:
    """Whether a rule uses its argument at this position."""
    code = plain(function).__code__
    name = code.co_varnames[position]
    # Newer versions of Python load two variables by one instruction, whose value is then both names.
    values = [step.argval for step in dis.get_instructions(code) if step.opname.startswith("LOAD")]
    return any(name in (value if isinstance(value, tuple) else (value,)) for value in values)


class _Kernels(NamedTuple):
    """The compiled functions of a game's rules among N agents."""

    tabulate: Callable[..., Any]
    compare: Callable[..., Any]
    alike: Callable[..., Any]
    count_pairs: Callable[..., Any]
    count_others: Callable[..., Any]


@functools.cache
def _kernels(rules: Rules, transition: Rule, reward: Rule, n_states: int, n_actions: int) -> _Kernels:
    aggregate, add = rules.aggregate or no_aggregate, rules.count
    cell, own_weight = own_count_rules(rules)

    @rule
    def contribute(
        mass: Any,
        state: Any,
        action: Any,
        agent: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        signal: Any,
        counts: Any,
    ) -> None:
        """Add ``mass`` agents in this state with this action to the counts."""
        if add is not None:
            per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
            world = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
            add(counts, mass, state, action, agent, world)
        else:
            counts[cell(state, action, agent)] += mass * own_weight(state, action, agent)

    @kernel
    def alike(agents: Any, constants: Any, time: Any, n_agents: Any, scratch: Any, signal: Any) -> Any:
        """Whether all agents add the same to the counts, in every state with every action."""
        for s in range(n_states):
            for a in range(n_actions):
                scratch[:] = 0.0
                contribute(1.0, s, a, agents[0], constants, time, n_agents, signal, scratch[0])
                for i in range(1, len(agents)):
                    if add is None:
                        if cell(s, a, agents[i]) != cell(s, a, agents[0]):
                            return False
                        if own_weight(s, a, agents[i]) != own_weight(s, a, agents[0]):
                            return False
                    else:
                        scratch[1] = 0.0
                        contribute(1.0, s, a, agents[i], constants, time, n_agents, signal, scratch[1])
                        for c in range(scratch.shape[1]):
                            if scratch[1, c] != scratch[0, c]:
                                return False
        return True

    @kernel
    def count_pairs(
        pairs: Any, agent: Any, constants: Any, time: Any, n_agents: Any, signal: Any, counts: Any
    ) -> None:
        """Add as many agents like ``agent`` as ``pairs`` (S, A) tells in every state with every action."""
        for s in range(n_states):
            for a in range(n_actions):
                if pairs[s, a] > 0:
                    contribute(np.float64(pairs[s, a]), s, a, agent, constants, time, n_agents, signal, counts)

    @kernel
    def count_others(
        agent: Any, others: Any, agents: Any, constants: Any, time: Any, n_agents: Any, signal: Any, counts: Any
    ) -> None:
        """Add all agents but one, with the pairs ``others`` (N - 1, 2), to the counts."""
        for k in range(len(others)):
            j = k if k < agent else k + 1
            contribute(1.0, others[k, 0], others[k, 1], agents[j], constants, time, n_agents, signal, counts)

    @rule
    def look(
        state: Any,
        action: Any,
        agent: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
    ) -> Any:
        """The world of an agent in this state with this action, whose others have the counts ``others``."""
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for c in range(len(counts)):
            counts[c] = others[c]
        contribute(1.0, state, action, agent, constants, time, n_agents, signal, counts)
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        aggregate(everyone, signal)
        own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
        return World(counts, signal, constants, time, own, weight, per_other, per_agent)

    @kernel
    def tabulate(
        agents: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
    ) -> None:
        """Write P^i (n, S, A, S) and R^i (n, S, A) of n agents who all add alike to the counts ``others``."""
        for s in range(n_states):
            for a in range(n_actions):
                world = look(s, a, agents[0], others, constants, time, n_agents, counts, signal)
                for i in range(len(agents)):
                    for successor in range(n_states):
                        transitions[i, s, a, successor] = transition(successor, s, a, agents[i], world)
                    rewards[i, s, a] = reward(s, a, agents[i], world)

    @kernel
    def compare(
        agents: Any,
        shares: Any,
        others: Any,
        constants: Any,
        time: Any,
        n_agents: Any,
        counts: Any,
        signal: Any,
        transitions: Any,
        rewards: Any,
        alpha: Any,
        beta: Any,
        alpha_pair: Any,
        beta_pair: Any,
        tolerance: Any,
    ) -> Any:
        """Write the means of n agents' rules, and the largest distances from them with their pairs (n,).

        Returns the first agent whose rows are no probabilities or whose rewards are not finite, or -1.
        """
        for s in range(n_states):
            for a in range(n_actions):
                world, pair = (
                    look(s, a, agents[0], others, constants, time, n_agents, counts, signal),
                    s * n_actions + a,
                )
                # Means are taken of differences from the first agent: those of equal numbers are then exact.
                for successor in range(n_states):
                    reference, mean = np.float64(transition(successor, s, a, agents[0], world)), 0.0
                    for i in range(len(agents)):
                        mean += shares[i] * (transition(successor, s, a, agents[i], world) - reference)
                    transitions[s, a, successor] = reference + mean
                reference, mean = np.float64(reward(s, a, agents[0], world)), 0.0
                for i in range(len(agents)):
                    mean += shares[i] * (reward(s, a, agents[i], world) - reference)
                rewards[s, a] = reference + mean
                for i in range(len(agents)):
                    distance, total, lowest = 0.0, 0.0, 0.0
                    for successor in range(n_states):
                        chance = np.float64(transition(successor, s, a, agents[i], world))
                        distance += abs(chance - transitions[s, a, successor])
                        total += chance
                        lowest = min(lowest, chance)
                    earned = np.float64(reward(s, a, agents[i], world))
                    # Written such that a NaN fails the comparisons.
                    if not (abs(total - 1.0) <= tolerance and lowest >= -tolerance and abs(earned) < np.inf):
                        return i
                    if distance > alpha[i]:
                        alpha[i], alpha_pair[i] = distance, pair
                    if abs(earned - rewards[s, a]) > beta[i]:
                        beta[i], beta_pair[i] = abs(earned - rewards[s, a]), pair
        return -1

    return _Kernels(tabulate, compare, alike, count_pairs, count_others)
