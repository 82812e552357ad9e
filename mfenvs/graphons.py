"""Graphon games: finite games on the limit of a dense network, in which agents meet some others more than others.

An agent has a latent position alpha in [0, 1], and interacts with agents at beta with the strength W(alpha, beta),
the graphon. Positions are cut into ``n_points`` intervals of equal length, each of which is a population.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.populations import Population, PopulationGame
from mfenvs.rules import rule

Graphon = Callable[[float, float], float]

MOST_POINTS = 1000
"""Largest number of intervals of positions."""


def uniform_attachment(x: float, y: float) -> float:
    """The limit of uniform attachment networks, W(x, y) = 1 - max(x, y)."""
    return 1.0 - max(x, y)


def ranked_attachment(x: float, y: float) -> float:
    """The limit of ranked attachment networks, W(x, y) = 1 - x y."""
    return 1.0 - x * y


def erdos_renyi(probability: float = 0.5) -> Graphon:
    """The limit of Erdos-Renyi networks: all are equally likely to be neighbours.

    Parameters
    ----------
    probability:
        Probability of an edge, in [0, 1].
    """
    probability = checks.real("probability", probability, 0.0, 1.0)
    return lambda x, y: probability


def stochastic_block(
    sizes: Sequence[float] = (0.7, 0.3), probabilities: ArrayLike = ((0.9, 0.3), (0.3, 0.9))
) -> Graphon:
    """The limit of stochastic block models: positions are cut into communities.

    Parameters
    ----------
    sizes:
        Length of the interval of each of n communities; they sum to 1.
    probabilities:
        Probability of an edge between members of two communities, shape (n, n), symmetric.
    """
    sizes = checks.sequence("sizes", sizes, "hold the length of each community")
    lengths = checks.probabilities("sizes", sizes, (len(sizes),))
    edges = checks.finite_numbers("probabilities", probabilities, (len(lengths), len(lengths)))
    if not (edges.min() >= 0.0 and edges.max() <= 1.0 and (edges == edges.T).all()):
        raise ValueError(f"probabilities must be symmetric and in [0, 1], got {checks.shown(probabilities)}")
    ends = np.cumsum(lengths)[:-1]
    return lambda x, y: float(edges[np.searchsorted(ends, x, "right"), np.searchsorted(ends, y, "right")])


GRAPHONS: dict[str, Graphon] = {
    "uniform attachment": uniform_attachment,
    "ranked attachment": ranked_attachment,
    "erdos-renyi": erdos_renyi(),
    "stochastic block": stochastic_block(),
}
"""Graphons by name."""


def blocks(graphon: str | Graphon | ArrayLike, n_points: int) -> NDArray[np.float64]:
    """A graphon between the middles of ``n_points`` intervals of equal length, shape (n_points, n_points).

    Parameters
    ----------
    graphon:
        A name among :data:`GRAPHONS`, a function of two positions, or the matrix itself.
    n_points:
        Number of intervals.

    Raises
    ------
    TypeError, ValueError
        If the graphon is none of these, not symmetric, negative somewhere, or not finite.
    """
    if isinstance(graphon, str):
        graphon = GRAPHONS[checks.choice("graphon", graphon, tuple(GRAPHONS))]
    if callable(graphon):
        middles = (np.arange(n_points) + 0.5) / n_points
        graphon = [[graphon(float(x), float(y)) for y in middles] for x in middles]
    matrix = checks.finite_numbers("graphon", graphon, (n_points, n_points))
    if not (matrix >= 0.0).all() or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0.0):
        raise ValueError(f"graphon must be symmetric and at least 0, got {checks.shown(matrix)}")
    return matrix.copy()


@rule
def neighbours_in(world: Any, population: Any, state: Any) -> Any:
    """Weighted share of an agent's neighbours in a state: the sum over j of W(i, j) 1{s_j = state} / (N - 1).

    In the limit it is the integral of W(alpha, beta) mu_beta(state) over beta. The agent itself is left out.

    Parameters
    ----------
    world:
        The rule's argument ``world``.
    population:
        The agent's own population, ``agent.population``.
    state:
        A state, counted from 0.
    """
    constants = world.constants
    tables = constants.populations
    first = tables.first_states[population]
    n_states = tables.n_states[0]
    everyone = world.signal[population * n_states + state] / world.per_agent
    cell = (first + state) * tables.cells_per_state
    is_there = world.own_cell >= cell and world.own_cell < cell + tables.cells_per_state
    own = constants.graphon[population, population] * world.own_weight if is_there else 0.0
    return (everyone - own) * world.per_other


@rule
def weigh_neighbours(world: Any, signal: Any) -> None:
    """The rule ``aggregate``: the weighted share of all agents in each state, as each population sees it."""
    constants = world.constants
    tables = constants.populations
    per_state, n_states = tables.cells_per_state, tables.n_states[0]
    n_points = len(tables.n_states)
    for k in range(n_points * n_states):
        signal[k] = 0.0
    for q in range(n_points):
        for state in range(n_states):
            first = (q * n_states + state) * per_state
            present = 0.0
            for k in range(per_state):
                present += world.counts[first + k]
            present *= world.per_agent
            for p in range(n_points):
                signal[p * n_states + state] += constants.graphon[p, q] * present


@dataclasses.dataclass(kw_only=True)
class GraphonGame(PopulationGame):
    """A finite game on a graphon, after Cui & Koeppl, "Learning graphon mean field games" (ICLR 2022).

    A subclass declares ``n_local_states``, ``n_actions_each``, ``initial_local`` if the initial distribution is
    not uniform, and the rules in local states, which read the neighbourhood by :func:`neighbours_in` ``(world,
    agent.population, state)``. Each of ``n_points`` intervals of positions is a population; the state, the policy
    and the exploitability of each are those of a :class:`mfenvs.PopulationGame`. What is sampled in simulations is
    who is in which interval and what they do; the edges of the network are averaged over [O].

    >>> import dataclasses
    >>> from mfenvs import InducedGame, rule
    >>> from mfenvs.graphons import GraphonGame, neighbours_in
    >>> @dataclasses.dataclass(kw_only=True)
    ... class Fashion(GraphonGame):
    ...     n_agents: int = 100
    ...     horizon: int = 1
    ...     n_local_states = 2
    ...     n_actions_each = 1
    ...
    ...     @staticmethod
    ...     @rule
    ...     def transition(next_state, state, action, agent, world):
    ...         return 1.0 if next_state == state else 0.0
    ...
    ...     @staticmethod
    ...     @rule
    ...     def reward(state, action, agent, world):
    ...         return neighbours_in(world, agent.population, state)
    >>> game = Fashion(n_points=4, graphon="ranked attachment")
    >>> induced = InducedGame(game)
    >>> induced.flow(induced.uniform_policy()).rewards[0, ::2, 0].tolist()  # (1 - alpha / 2) / 2 at the middles
    [0.46875, 0.40625, 0.34375, 0.28125]
    """

    n_points: int = 10
    """Number of intervals into which positions are cut [O]."""
    graphon: str | Graphon | ArrayLike = "uniform attachment"
    """Graphon: a name among :data:`GRAPHONS`, a function of two positions, or a matrix (n_points, n_points)."""

    n_local_states: ClassVar[int]
    """Number of states of an agent."""
    n_actions_each: ClassVar[int]
    """Number of actions of an agent."""
    local_state_names: ClassVar[tuple[str, ...]] = ()
    """Names of an agent's states, by default their numbers."""
    aggregate = staticmethod(weigh_neighbours)

    @property
    def initial_local(self) -> ArrayLike | None:
        """Distribution of an agent's initial state; None if it is uniform."""
        return None

    @property
    def populations(self) -> Sequence[Population]:
        """The intervals of positions."""
        return [
            Population(
                name=f"interval{p}",
                share=1.0 / self.n_points,
                n_states=self.n_local_states,
                n_actions=self.n_actions_each,
                initial=self.initial_local,
                state_names=self.local_state_names,
            )
            for p in range(self.n_points)
        ]

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """One for each interval and state."""
        return self.n_points * self.n_local_states

    def _added_constants(self) -> dict[str, Any]:
        return {**super()._added_constants(), "graphon": self._blocks}

    def check(self) -> None:
        """Check the number of intervals and the graphon."""
        self.n_points = checks.integer("n_points", self.n_points, 1, MOST_POINTS)
        self._blocks = blocks(self.graphon, self.n_points)
        super().check()
