"""The mean-field game that a black box induces, as a finite game that every solver takes.

Yardim & He (arXiv 2408.15173), Definition 6: P(s, a, mu) is the mean over agents of Ext(Sym(P^i(s, a, .)))(mu),
and R(s, a, mu) likewise, in full generality: the rules may tell the others apart. Sym is exact, by enumeration,
and Ext that of McShane and Whitney, for transitions followed by the projection onto the simplex.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.finite_game import FiniteGame
from mfenvs.game import NO_PARAMETERS
from mfenvs.meanfield.black_box import BlackBoxGame, JointTables, tabulate_black_box
from mfenvs.meanfield.extension import Kirszbraun, McShaneWhitney, McShaneWhitneyRows, Norm, Side
from mfenvs.rules import individual, rule

Array = NDArray[np.float64]

L1, L2 = 0, 1
UPPER, LOWER = 1, 2


class ExtensionTables(NamedTuple):
    """What the rules read as ``world.constants``: the symmetrised rules of K kinds of agents at n points."""

    n_states: int
    n_actions: int
    norm: int
    """0 for l1, 1 for l2, 2 for the largest coordinate."""
    side: int
    """0 for the middle, 1 for the upper, 2 for the lower extension."""
    shares: Any
    """Share of the agents of each kind, (K,)."""
    points: Any
    """The lattice's points as distributions over pairs, (n, S * A)."""
    values: Any
    """Sym(P^i) and, last, Sym(R^i), (K, S * A, S + 1, n)."""
    moduli: Any
    """Their Lipschitz moduli, (K, S * A, S + 1)."""


@rule
def distance_to_point(world: Any, pair: Any, k: Any) -> Any:
    """Distance of the others' distribution, for an agent in the state with the action ``pair``, from point k."""
    constants, total = world.constants, 0.0
    for x in range(len(world.counts)):
        own = individual(world) if x == pair else individual(world) * 0
        apart = abs((world.counts[x] - own) * world.per_other - constants.points[k, x])
        if constants.norm == L1:
            total += apart
        elif constants.norm == L2:
            total += apart * apart
        else:
            total = max(total, apart)
    return math.sqrt(total) if constants.norm == L2 else total


@rule
def extended(kind: Any, pair: Any, j: Any, constants: Any, distances: Any, first: Any) -> Any:
    """The McShane-Whitney extension of one function; ``distances[first:]`` holds those from the points."""
    modulus = constants.moduli[kind, pair, j]
    lowest = highest = constants.values[kind, pair, j, 0]
    upper, lower = math.inf, -math.inf
    for k in range(len(constants.points)):
        value = constants.values[kind, pair, j, k]
        lowest, highest = min(lowest, value), max(highest, value)
        upper = min(upper, value + modulus * distances[first + k])
        lower = max(lower, value - modulus * distances[first + k])
    found = upper if constants.side == UPPER else (lower if constants.side == LOWER else 0.5 * (upper + lower))
    return min(max(found, lowest), highest)


@rule
def threshold_of_projection(row: Any, first: Any, n: Any) -> Any:
    """The number that is taken off ``row[first:first + n]`` to project it; the row is sorted in place."""
    for i in range(1, n):
        value = row[first + i]
        j = i
        while j > 0 and row[first + j - 1] < value:
            row[first + j] = row[first + j - 1]
            j -= 1
        row[first + j] = value
    total, threshold = -1.0, 0.0
    for i in range(n):
        total += row[first + i]
        if row[first + i] > total / (i + 1):
            threshold = total / (i + 1)
    return threshold


@rule
def extend_all(world: Any, signal: Any) -> None:
    """The rule ``aggregate``: write P and R at the others' distribution of each pair of a state and an action.

    The signal holds S + 1 numbers for every pair; behind them is scratch, two rows and the points' distances.
    """
    constants = world.constants
    n_states, n_points = constants.n_states, len(constants.points)
    n_pairs = n_states * constants.n_actions
    rows = n_pairs * (n_states + 1)
    distances = rows + 2 * n_states
    for pair in range(n_pairs):
        for k in range(n_points):
            signal[distances + k] = distance_to_point(world, pair, k)
        mine = pair * (n_states + 1)
        for j in range(n_states + 1):
            signal[mine + j] = 0.0
        for kind in range(len(constants.shares)):
            for j in range(n_states):
                signal[rows + j] = extended(kind, pair, j, constants, signal, distances)
                signal[rows + n_states + j] = signal[rows + j]
            threshold = threshold_of_projection(signal, rows + n_states, n_states)
            for j in range(n_states):
                signal[mine + j] += constants.shares[kind] * max(signal[rows + j] - threshold, 0.0)
            earned = extended(kind, pair, n_states, constants, signal, distances)
            signal[mine + n_states] += constants.shares[kind] * earned


@dataclasses.dataclass(kw_only=True)
class SymmetrisedGame(FiniteGame):
    """A black box made symmetric: agents who are all alike and follow the rules of its induced game.

    Each of N agents follows P(s, a, sigma(others)) and R(s, a, sigma(others)) of Definition 6, the means over the
    agents of the symmetrised black box. The game's own mean-field game, ``mfenvs.InducedGame(game)``, is the one
    that the black box induces. It is a finite game like any other: solvers, trainers and simulations take it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the black box is too large to be enumerated (:func:`tabulate_black_box`), or
        a callable returns a row that is no probability row or a reward that is not finite.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 6 and appendix A.
    """

    n_agents: int = dataclasses.field(init=False)
    """Number of agents N, that of the black box."""
    horizon: int = dataclasses.field(init=False)
    """Number of steps H, that of the black box."""
    agents_seed: int = dataclasses.field(init=False, default=0)
    """Without effect: agents have no parameters."""
    discount: float = dataclasses.field(init=False)
    """Discount factor, that of the black box."""
    black_box: BlackBoxGame
    """The game by its callables."""
    norm: Norm = "l2"
    """Norm of distances between distributions: ``l1``, ``l2`` or ``largest``."""
    side: Side = "middle"
    """``upper`` or ``lower`` for the largest or the smallest Lipschitz extension, ``middle`` for their mean."""

    agent_dtype: ClassVar[np.dtype[Any]] = NO_PARAMETERS
    aggregate = staticmethod(extend_all)

    def __post_init__(self) -> None:
        if not isinstance(self.black_box, BlackBoxGame):
            raise TypeError(f"black_box must be a BlackBoxGame, got {checks.shown(self.black_box)}")
        for name in ("n_agents", "horizon", "discount"):
            setattr(self, name, getattr(self.black_box, name))
        super().__post_init__()

    def check(self) -> None:
        """Check the extension, and evaluate the black box."""
        checks.choice("norm", self.norm, get_args(Norm))
        checks.choice("side", self.side, get_args(Side))
        self.tables: JointTables = tabulate_black_box(self.black_box)
        """All values of the black box, and its symmetrisation on the lattice."""
        self._extension = _extension_tables(self)
        super().check()

    @staticmethod
    @rule
    def transition(next_state: Any, state: Any, action: Any, agent: Any, world: Any) -> Any:
        """P(next_state | state, action, sigma(others))."""
        constants = world.constants
        return world.signal[(state * constants.n_actions + action) * (constants.n_states + 1) + next_state]

    @staticmethod
    @rule
    def reward(state: Any, action: Any, agent: Any, world: Any) -> Any:
        """R(state, action, sigma(others))."""
        constants = world.constants
        pair = state * constants.n_actions + action
        return world.signal[pair * (constants.n_states + 1) + constants.n_states]

    @property
    def n_states(self) -> int:
        """|S|, that of the black box."""
        return self.black_box.n_states

    @property
    def n_actions(self) -> int:
        """|A|, that of the black box."""
        return self.black_box.n_actions

    @property
    def n_signals(self) -> int:  # type: ignore[override]
        """S + 1 numbers for every pair of a state and an action, and scratch."""
        return self.n_cells * (self.n_states + 1) + 2 * self.n_states + len(self.tables.points)

    @property
    def initial_distribution(self) -> Array:
        """The law of an agent's first state, that of the black box."""
        return self.black_box.initial_distribution

    @property
    def constants(self) -> ExtensionTables:
        """The symmetrised rules on the lattice."""
        return self._extension


def _extension_tables(game: SymmetrisedGame) -> ExtensionTables:
    tables, box = game.tables, game.black_box
    points = tables.points / box.n_others
    rows = np.concatenate([tables.symmetrised_transitions, tables.symmetrised_rewards[..., None]], axis=-1)
    own = rows.reshape(box.n_agents, len(points), -1)
    distinct, copies = np.unique(own, axis=0, return_counts=True)
    moduli = np.stack([McShaneWhitney(points, kind, norm=game.norm).moduli for kind in distinct])
    shape = len(distinct), box.n_pairs, box.n_states + 1
    return ExtensionTables(
        n_states=box.n_states,
        n_actions=box.n_actions,
        norm=get_args(Norm).index(game.norm),
        side=get_args(Side).index(game.side),
        shares=copies / box.n_agents,
        points=points,
        values=np.ascontiguousarray(distinct.swapaxes(1, 2).reshape(*shape, len(points))),
        moduli=moduli.reshape(shape),
    )


Extension = Literal["mcshane", "kirszbraun"]


def induced_arrays(
    tables: JointTables, mu: ArrayLike, *, extension: Extension = "kirszbraun", norm: Norm = "l2"
) -> tuple[Array, Array]:
    """P(., ., mu) and R(., ., mu) of the induced game of a small black box, with a choice of extensions.

    Parameters
    ----------
    tables:
        The black box by its values, from :func:`mfenvs.meanfield.black_box.tabulate_black_box`.
    mu:
        A state-action law, shape (S, A).
    extension:
        For transitions ``kirszbraun``, the explicit formula, which keeps the Euclidean modulus of the rows; or
        ``mcshane``, each probability by itself and then the projection onto the simplex, as
        :class:`SymmetrisedGame` does it in compiled code. Rewards are extended as McShane and Whitney do.
    norm:
        Norm of distances between laws: ``l2``; with ``mcshane`` also ``l1`` or ``largest``.

    Returns
    -------
    Transitions, shape (S, A, S), and rewards, shape (S, A): means over the agents of the extensions of their
    symmetrised rules.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    References
    ----------
    Yardim & He, arXiv 2408.15173, Definition 6.
    """
    if not isinstance(tables, JointTables):
        raise TypeError(f"tables must be those of tabulate_black_box, got {checks.shown(tables)}")
    extension = checks.choice("extension", extension, get_args(Extension))
    norm = checks.choice("norm", norm, get_args(Norm))
    if extension == "kirszbraun" and norm != "l2":
        raise ValueError(
            f"norm must be 'l2' for Kirszbraun's theorem, which holds for Euclidean norms, got {norm!r}"
        )
    n_agents, _, n_states, n_actions, _ = tables.symmetrised_transitions.shape
    law = checks.shaped("mu", mu, (n_states, n_actions), np.float64)
    where, points = checks.whole_law("mu", law), tables.points / tables.points[0].sum()
    transitions, rewards = np.zeros((n_states, n_actions, n_states)), np.zeros((n_states, n_actions))
    for own_rows, own_rewards in zip(tables.symmetrised_transitions, tables.symmetrised_rewards, strict=True):
        for state, action in np.ndindex(rewards.shape):
            values = own_rows[:, state, action]
            rows = (
                Kirszbraun(points, values)
                if extension == "kirszbraun"
                else McShaneWhitneyRows(points, values, norm=norm)
            )
            transitions[state, action] += rows(where) / n_agents
            rewards[state, action] += (
                McShaneWhitney(points, own_rewards[:, state, action], norm=norm)(where) / n_agents
            )
    return transitions, rewards
