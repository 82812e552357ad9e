"""The rules of a finite game among N agents at given counts of the others: symmetrisation without permutations.

Where agents are counted by state and action alone, not by who they are, P^i(s, a, others) and R^i(s, a, others)
are symmetric in the others. Then Sym leaves them as they are, and the values of the induced game on the lattice
(Yardim & He, arXiv 2408.15173, Definition 6) are the means of the rules over the agents, at any N. Rules see the
world of N agents here, and not the mean-field limit that :class:`mfenvs.InducedGame` takes: for rules that read
``share`` only the two are equal, otherwise they differ by O(1/N).
"""

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.engine.compile import kernel
from mfenvs.engine.counting import no_aggregate, own_count_rules
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import check_model, in_double_precision
from mfenvs.game import FiniteGame, Rule, Rules
from mfenvs.rules import World, plain, rule

Array = NDArray[np.float64]

NUMBERS_AT_A_TIME = 2**22
"""Number of entries of agents' own tables that are held in memory at a time: 32 MB."""


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
        If the game is not finite, or one of its rules does not compile.
    """

    def __init__(self, game: FiniteGame) -> None:
        if not isinstance(game, FiniteGame):
            raise TypeError(f"game must be a FiniteGame, got {type(game).__name__}")
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
        self._tabulate, self._compare, self._contribute = _kernels(
            game.rules, game.transition, game.reward, game.n_states, game.n_actions
        )
        self._known_contributions: dict[tuple[int, int], Array] = {}
        self.times = self._times()
        """The times at which rules can differ: all of them if a rule reads the time, else 0 only."""

    @property
    def n_others(self) -> int:
        """N - 1."""
        return self.game.n_agents - 1

    @functools.cached_property
    def counts_everyone_alike(self) -> bool:
        """Whether agents are counted by their states and actions alone, not by who they are."""
        if len(self._kinds) == 1 or self.game.counts_state_actions:
            return True
        per_kind = self.game.n_states * self.game.n_actions * self.game.n_cells
        at_a_time = max(1, NUMBERS_AT_A_TIME // per_kind)
        for time in self.times:
            one = self._contributions(self._kinds[:1], time)
            for first in range(0, len(self._kinds), at_a_time):
                if (self._contributions(self._kinds[first : first + at_a_time], time) != one).any():
                    return False
        return True

    def own_tables(self, agent: int, others: NDArray[np.int64], time: int = 0) -> tuple[Array, Array]:
        """P^i(., ., others), shape (S, A, S), and R^i(., ., others), shape (S, A), of one agent i.

        ``others`` holds the states and actions of the other agents in their order, shape (N - 1, 2).
        """
        counted = np.zeros(self.game.n_cells)
        for j, pair in zip(np.delete(np.arange(self.game.n_agents), agent), others, strict=True):
            counted += self._contribution_of(int(j), time)[pair[0], pair[1]]
        transitions, rewards = self._tables(self._everyone[agent : agent + 1], counted, time)
        check_model(self.game, transitions, rewards, f" for agent {agent} among others {others.tolist()}")
        return transitions[0], rewards[0]

    def arrays(self, counts: NDArray[np.int64], time: int = 0) -> tuple[Array, Array]:
        """P (S, A, S) and R (S, A) of the induced game where the N - 1 others have these counts (S, A)."""
        found = self.deviations(counts, time)
        return found.transitions, found.rewards

    def tables_of_kinds(self, counts: NDArray[np.int64], time: int = 0) -> tuple[Array, Array]:
        """P^i (n_kinds, S, A, S) and R^i (n_kinds, S, A) of every kind of agents, among others with these counts.

        Raises
        ------
        TypeError
            If agents are counted by who they are.
        ValueError
            If a rule returns a row that is no probability row, or a reward that is not finite.
        """
        transitions, rewards = self._tables(self._kinds, self._counted(counts, time), time)
        check_model(self.game, transitions, rewards, f" among others {counts.tolist()}")
        return transitions, rewards

    def deviations(self, counts: NDArray[np.int64], time: int = 0) -> "Deviations":
        """Compare every kind's rules with the induced game's, where the N - 1 others have these counts (S, A).

        Raises
        ------
        TypeError
            If agents are counted by who they are.
        ValueError
            If a rule returns a row that is no probability row, or a reward that is not finite, for any agent.
        """
        counted, n, game = self._counted(counts, time), len(self._kinds), self.game
        transitions = np.empty((game.n_states, game.n_actions, game.n_states))
        rewards = np.empty(transitions.shape[:2])
        found = Deviations(transitions, rewards, *np.zeros((2, n)), *np.zeros((2, n), np.int64))
        with _explaining(game):
            wrong = self._compare(
                *(self._kinds, self.shares, counted, game.constants, time, game.n_agents),
                *(np.empty(game.n_cells), np.empty(game.n_signals), *found, checks.PROBABILITY_TOLERANCE),
            )
        if wrong >= 0:
            own = self._tables(self._kinds[wrong : wrong + 1], counted, time)
            check_model(game, *own, f" for agent {self.first_of_kind[wrong]} among others {counts.tolist()}")
        return found

    def _counted(self, counts: NDArray[np.int64], time: int) -> Array:
        """The others' contributions to the game's counts, shape (n_cells,)."""
        if not self.counts_everyone_alike:
            raise TypeError(
                f"{type(self.game).__name__} counts agents by who they are (its cell, weight or count reads the"
                " agent's parameters), so that counts of states and actions do not tell what the others do"
            )
        if self.game.counts_state_actions:
            return counts.reshape(-1).astype(np.float64)
        counted: Array = np.tensordot(counts, self._contributions(self._kinds[:1], time)[0], 2)
        return counted

    def _contribution_of(self, agent: int, time: int) -> Array:
        key = int(self.kind_of_agent[agent]), time
        if key not in self._known_contributions:
            self._known_contributions[key] = self._contributions(self._everyone[agent : agent + 1], time)[0]
        return self._known_contributions[key]

    def _contributions(self, agents: NDArray[Any], time: int) -> Array:
        """What each of n agents adds to the counts in every state with every action, (n, S, A, n_cells)."""
        out = np.zeros((len(agents), self.game.n_states, self.game.n_actions, self.game.n_cells))
        signal = np.zeros(self.game.n_signals)
        with _explaining(self.game):
            self._contribute(agents, self.game.constants, time, self.game.n_agents, signal, out)
        return out

    def _tables(self, agents: NDArray[Any], counted: Array, time: int) -> tuple[Array, Array]:
        shape = len(agents), self.game.n_states, self.game.n_actions
        transitions, rewards = np.empty((*shape, self.game.n_states)), np.empty(shape)
        scratch = np.empty(self.game.n_cells), np.empty(self.game.n_signals)
        with _explaining(self.game):
            self._tabulate(
                *(agents, counted, self.game.constants, time, self.game.n_agents),
                *(*scratch, transitions, rewards),
            )
        return transitions, rewards

    def _times(self) -> range:
        rules = self.game.rules
        read = (self.game.transition, self.game.reward, rules.aggregate, rules.cell, rules.weight, rules.count)
        reads_time = not self.game.is_infinite and any(_names_time(function) for function in read if function)
        return range(self.game.horizon if reads_time else 1)


class _explaining:  # noqa: N801  # A context manager, used like a function.
    """Turn a compiler's error into one that names the game's rule."""

    def __init__(self, game: FiniteGame) -> None:
        self.game = game

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, COMPILE_ERRORS):
            raise explained(self.game, error) from None


def _names_time(function: Any) -> bool:
    """Whether a rule, or a rule that it calls, mentions an attribute ``time``: only such a rule can read it."""
    return any("time" in code.co_names for code in _codes(plain(function), set()))


def _codes(function: Any, seen: set[int]) -> Iterator[types.CodeType]:
    """The byte code of a function and of all functions that it can reach by name."""
    if id(function) in seen or not isinstance(function, types.FunctionType):
        return
    seen.add(id(function))
    yield function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    names = function.__code__.co_names
    reached = [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [found for found in reached if isinstance(found, types.ModuleType)]
    members = [getattr(module, name) for module in modules for name in names if hasattr(module, name)]
    for found in (*cells, *reached, *members):
        yield from _codes(plain(found), seen)


@functools.cache
def _kernels(
    rules: Rules, transition: Rule, reward: Rule, n_states: int, n_actions: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """The compiled tabulation of rules, their comparison, and that of what an agent adds to the counts."""
    aggregate, add = rules.aggregate or no_aggregate, rules.count
    cell, own_weight = own_count_rules(rules)

    @kernel
    def contribute_by_cell(agents: Any, constants: Any, time: Any, n_agents: Any, signal: Any, out: Any) -> None:
        for i in range(len(agents)):
            for s in range(n_states):
                for a in range(n_actions):
                    out[i, s, a, cell(s, a, agents[i])] += own_weight(s, a, agents[i])

    @kernel
    def contribute_by_count(agents: Any, constants: Any, time: Any, n_agents: Any, signal: Any, out: Any) -> None:
        per_other, per_agent = 1.0 / (n_agents - 1), 1.0 / n_agents
        for i in range(len(agents)):
            for s in range(n_states):
                for a in range(n_actions):
                    world = World(out[i, s, a], signal, constants, time, -1, 0.0, per_other, per_agent)
                    add(out[i, s, a], 1.0, s, a, agents[i], world)  # type: ignore[misc]

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
        own, weight = cell(state, action, agent), np.float64(own_weight(state, action, agent))
        everyone = World(counts, signal, constants, time, -1, 0.0, per_other, per_agent)
        if add is not None:
            add(counts, 1.0, state, action, agent, everyone)
        else:
            counts[own] += weight
        aggregate(everyone, signal)
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

    return tabulate, compare, contribute_by_cell if add is None else contribute_by_count
