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
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import check_model, in_double_precision
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.closed_path_kernels import kernels_among_others
from mfenvs.meanfield.dependence import ProvenDependences, proven_dependences, times_that_matter
from mfenvs.public_chain import refuse_public_chain
from mfenvs.rules import plain

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
        self._compiled = kernels_among_others(
            game.rules, game.transition, game.expected_reward, game.n_states, game.n_actions
        )
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
