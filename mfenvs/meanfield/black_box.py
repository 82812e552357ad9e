"""N-player games whose rules are Python callables of what every single other agent does.

This is the general game of Yardim & He (arXiv 2408.15173), Definition 1: P^i(s, a, others) and R^i(s, a, others)
may tell the others apart, and differ from agent to agent. It is for games of a few agents, or for sampling.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.finite_game import MAX_CELLS, FiniteGame
from mfenvs.game import MAX_AGENTS, MAX_HORIZON
from mfenvs.meanfield.closed_path import RulesAmongOthers
from mfenvs.meanfield.lattice import (
    Counts,
    in_order,
    joint_outcomes,
    lattice,
    n_arguments,
    number_in_words,
    point_of,
)
from mfenvs.meanfield.symmetrisation import MOST_EVALUATIONS, lifted_values

Array = NDArray[np.float64]
Others = NDArray[np.int64]

POINTS_OF_CHECK = 16
"""Number of random joint vectors at which a claim ``sees_counts=True`` is checked."""


class BlackBoxGame:
    """An N-player game given by callables for its transitions and rewards.

    Parameters
    ----------
    transition:
        ``transition(agent, state, action, others)`` returns P^i(. | state, action, others): probabilities over the
        next state, shape (n_states,). ``others`` holds the states and actions of the N - 1 other agents, in the
        agents' order without ``agent`` itself: integers of shape (N - 1, 2), read-only.
    reward:
        ``reward(agent, state, action, others)`` returns the expected reward R^i(state, action, others), a finite
        number.
    n_agents, n_states, n_actions:
        Number of agents N, from 2, of local states |S| and of actions |A|.
    horizon:
        Number of steps H of an episode.
    initial_distribution:
        The law of every agent's first state, shape (n_states,); by default uniform.
    discount:
        Discount factor gamma in (0, 1]; below 1 the horizon is infinite, as in :class:`mfenvs.Game`.
    sees_counts:
        Whether the callables read only how many others are in which state with which action. Then a game is
        symmetrised without permutations. The claim is checked at random points.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 1.

    Examples
    --------
    Three agents choose one of two roads. Agent 2 drives a lorry, which slows down the others twice as much:

    >>> import mfenvs
    >>> def reward(agent, state, action, others):
    ...     who = [j for j in range(3) if j != agent]
    ...     return -float(sum(1 + (j == 2) for j, (_, road) in zip(who, others) if road == action))
    >>> game = mfenvs.BlackBoxGame(
    ...     lambda agent, state, action, others: [1.0], reward, n_agents=3, n_states=1, n_actions=2, horizon=1
    ... )
    >>> found = mfenvs.approximate_symmetry(game)
    >>> print(found)
    alpha = 0 (exact, agent 0), beta = 0.666667 (exact, agent 0), 3 points
    >>> found.most_asymmetric(by="treated_apart")
    array([2])
    >>> induced = mfenvs.InducedGame(mfenvs.SymmetrisedGame(black_box=game))
    >>> induced.exploitability(induced.uniform_policy())
    0.0
    """

    def __init__(
        self,
        transition: Callable[[int, int, int, Others], ArrayLike],
        reward: Callable[[int, int, int, Others], float],
        *,
        n_agents: int,
        n_states: int,
        n_actions: int,
        horizon: int,
        initial_distribution: ArrayLike | None = None,
        discount: float = 1.0,
        sees_counts: bool = False,
    ) -> None:
        for name, given in (("transition", transition), ("reward", reward)):
            if not callable(given):
                raise TypeError(
                    f"{name} must be a callable {name}(agent, state, action, others), got {checks.shown(given)}"
                )
        self.transition, self.reward = transition, reward
        self.n_agents = checks.integer("n_agents", n_agents, 2, MAX_AGENTS)
        self.n_states = checks.integer("n_states", n_states, 1)
        self.n_actions = checks.integer("n_actions", n_actions, 1)
        checks.at_most("n_states * n_actions", self.n_states * self.n_actions, MAX_CELLS)
        self.horizon = checks.integer("horizon", horizon, 1, MAX_HORIZON)
        if initial_distribution is None:
            initial_distribution = np.full(self.n_states, 1.0 / self.n_states)
        law = checks.probabilities("initial_distribution", initial_distribution, (self.n_states,)).copy()
        self.initial_distribution: Array = law
        self.discount = checks.real("discount", discount, 0.0, 1.0, exclude_low=True)
        self.sees_counts = checks.boolean("sees_counts", sees_counts)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_agents} agents, {self.n_states} states, {self.n_actions} actions,"
            f" horizon {self.horizon})"
        )

    @property
    def n_pairs(self) -> int:
        """|S| |A|: pairs of a state and an action are numbered by state * |A| + action."""
        return self.n_states * self.n_actions

    @property
    def n_others(self) -> int:
        """N - 1."""
        return self.n_agents - 1

    @property
    def agent_names(self) -> list[str]:
        """Names of the agents: ``agent_0``, ``agent_1`` and so on."""
        return [f"agent_{i}" for i in range(self.n_agents)]

    def responses(self, agent: int, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
        """P^i(., ., others), shape (S, A, S), and R^i(., ., others), shape (S, A), of agent i.

        Parameters
        ----------
        agent:
            Index of the agent, from 0.
        pairs:
            What the others do, in the agents' order: the numbers state * |A| + action, shape (N - 1,).

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or a callable returns something that is no probability row, or no finite
            reward. The message names the agent, its state and action, the others and the result.
        """
        agent, pairs = self._checked(agent, pairs)
        others = np.stack(np.divmod(pairs, self.n_actions), axis=-1)
        others.flags.writeable = False
        transitions = np.empty((self.n_states, self.n_actions, self.n_states))
        rewards = np.empty((self.n_states, self.n_actions))
        for state, action in np.ndindex(rewards.shape):
            asked = agent, state, action, others
            transitions[state, action] = self._checked_row(asked, self.transition(*asked))
            rewards[state, action] = _checked_reward(asked, self.reward(*asked))
        return transitions, rewards

    def _checked(self, agent: int, pairs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        agent = checks.integer("agent", agent, 0, self.n_others)
        return agent, checks.indices("pairs", pairs, (self.n_others,), 0, self.n_pairs - 1)

    def _checked_row(self, asked: tuple[int, int, int, Others], given: ArrayLike) -> Array:
        try:
            row: Array = checks.numbers("row", given, (self.n_states,))
        except (TypeError, ValueError):
            row = np.full(1, math.nan)
        # Written such that a NaN fails the comparisons.
        if not (row.min() >= 0.0 and abs(row.sum() - 1.0) <= checks.PROBABILITY_TOLERANCE):
            is_plain = isinstance(given, np.ndarray) and not isinstance(given, np.ma.MaskedArray)
            raise ValueError(
                f"transition{_call(asked)} must return {self.n_states} probabilities that sum to 1, got"
                f" {checks.shown(np.asarray(given).tolist() if is_plain else given)}"
            )
        return row


class _FiniteGameAsBlackBox(BlackBoxGame):
    """A finite game's rules at one time, as functions of what every other agent does."""

    def __init__(self, game: FiniteGame, time: int) -> None:
        if isinstance(game, FiniteGame) and game.n_populations > 1:
            raise ValueError(
                "game must have one population, whose agents all start alike, to be a black box, got"
                f" {game.n_populations} populations"
            )
        self._rules = RulesAmongOthers(game)
        self._time = time = checks.integer("time", time, 0, game.horizon - 1)

        def transition(agent: int, state: int, action: int, others: Others) -> Array:
            row: Array = self._rules.own_tables(agent, others, time)[0][state, action]
            return row

        def reward(agent: int, state: int, action: int, others: Others) -> float:
            return float(self._rules.own_tables(agent, others, time)[1][state, action])

        super().__init__(
            transition,
            reward,
            n_agents=game.n_agents,
            n_states=game.n_states,
            n_actions=game.n_actions,
            horizon=game.horizon,
            initial_distribution=game.initial_distribution,
            discount=game.discount,
        )

    def responses(self, agent: int, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
        """As :meth:`BlackBoxGame.responses`, all states and actions at once."""
        agent, pairs = self._checked(agent, pairs)
        return self._rules.own_tables(agent, np.stack(np.divmod(pairs, self.n_actions), axis=-1), self._time)


def as_black_box(game: FiniteGame, time: int = 0) -> BlackBoxGame:
    """A finite game's own rules as functions of what every single other agent does.

    It serves to compare general constructions with those that read counts, and games whose agents are counted by
    who they are.

    Parameters
    ----------
    game:
        A finite game.
    time:
        The time step at which its rules are evaluated, if they read the time.

    Returns
    -------
    The game as a black box; whether it reads counts only is not assumed.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed. By later calls, if a rule returns a row that is no probability row, or a
        reward that is not finite.
    """
    return _FiniteGameAsBlackBox(game, time)


@dataclasses.dataclass(frozen=True)
class JointTables:
    """All values of a black box, and its symmetrisation on the lattice."""

    vectors: NDArray[np.int64]
    """What N - 1 others do: all joint vectors of pairs or, for a game that reads counts, one for each point; shape
    (n_vectors, N - 1)."""
    points: Counts
    """The lattice of the others' empirical distributions, as counts of pairs, shape (n_points, S * A)."""
    point: NDArray[np.int64]
    """The point of each vector, shape (n_vectors,)."""
    transitions: Array
    """P^i(. | s, a, others), shape (N, n_vectors, S, A, S)."""
    rewards: Array
    """R^i(s, a, others), shape (N, n_vectors, S, A)."""
    symmetrised_transitions: Array
    """Sym(P^i) lifted to the lattice, shape (N, n_points, S, A, S)."""
    symmetrised_rewards: Array
    """Sym(R^i) lifted to the lattice, shape (N, n_points, S, A)."""


def number_of_evaluations(game: BlackBoxGame) -> float:
    """Number of calls of each callable that :func:`tabulate_black_box` makes; infinite from 1e300 on."""
    return game.n_agents * game.n_pairs * n_arguments(game.n_pairs, game.n_others, as_counts=game.sees_counts)


def tabulate_black_box(game: BlackBoxGame) -> JointTables:
    """Evaluate a black box for all agents, states, actions and others, and symmetrise it exactly.

    Parameters
    ----------
    game:
        The game, with N |S| |A| (|S| |A|)^(N-1) <= 10^6 evaluations; if it reads counts, the power is replaced by
        the number of points of the lattice.

    Returns
    -------
    All values and their means over the permutations of the others.

    Raises
    ------
    TypeError
        If ``game`` is not a black box.
    ValueError
        If there are too many evaluations, a callable returns something that is not allowed, or the game does not
        read the counts only as it says.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definitions 3 and 6.
    """
    if not isinstance(game, BlackBoxGame):
        raise TypeError(f"game must be a BlackBoxGame, got {checks.shown(game)}")
    number = number_of_evaluations(game)
    if number > MOST_EVALUATIONS:
        hint = "" if game.sees_counts else "say sees_counts=True if its rules read counts only, "
        raise ValueError(
            f"a game of {game.n_agents} agents with {game.n_states} states and {game.n_actions} actions takes"
            f" {number_in_words(number)} evaluations, more than {MOST_EVALUATIONS} ({_permutations(game)}): take"
            f" fewer agents, {hint}or"
            " estimate by sampling (approximate_symmetry does)"
        )
    points = lattice(game.n_pairs, game.n_others)
    if game.sees_counts:
        check_sees_counts(game)
        vectors, point = np.stack([in_order(counts) for counts in points]), np.arange(len(points))
    else:
        vectors = joint_outcomes(game.n_pairs, game.n_others)
        point = point_of(vectors, points)
    shape = game.n_agents, len(vectors), game.n_states, game.n_actions
    transitions, rewards = np.empty((*shape, game.n_states)), np.empty(shape)
    for agent in range(game.n_agents):
        for k, vector in enumerate(vectors):
            transitions[agent, k], rewards[agent, k] = game.responses(agent, vector)
    lifted = [
        np.stack([lifted_values(own, point, len(points)) for own in table]) for table in (transitions, rewards)
    ]
    return JointTables(vectors, points, point, transitions, rewards, lifted[0], lifted[1])


def check_sees_counts(game: BlackBoxGame) -> None:
    """Check at random points that a game reads counts only, as it says; ValueError if an order matters."""
    rng = np.random.default_rng(0)
    for _ in range(POINTS_OF_CHECK):
        vector, agent = rng.integers(game.n_pairs, size=game.n_others), int(rng.integers(game.n_agents))
        other = rng.permutation(vector)
        tables = zip(game.responses(agent, vector), game.responses(agent, other), strict=True)
        if not all(np.allclose(one, two, rtol=1e-9, atol=1e-12) for one, two in tables):
            raise ValueError(
                f"sees_counts must be False: agent {agent} answers others {vector.tolist()} and, in another order,"
                f" {other.tolist()} (numbers state * n_actions + action) differently"
            )


def _permutations(game: BlackBoxGame) -> str:
    orders = f"{game.n_others}!" if game.n_others > 20 else str(math.factorial(game.n_others))
    return f"{orders} permutations of the others"


def _checked_reward(asked: tuple[int, int, int, Others], given: Any) -> float:
    try:
        return checks.real("reward", given)
    except (TypeError, ValueError):
        message = f"reward{_call(asked)} must return a finite number, got {checks.shown(given)}"
        raise ValueError(message) from None


def _call(asked: tuple[int, int, int, Others]) -> str:
    agent, state, action, others = asked
    return f"(agent={agent}, state={state}, action={action}, others={checks.shown(others.tolist())})"
