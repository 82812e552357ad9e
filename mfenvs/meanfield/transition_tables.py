"""The tables of transitions of an induced game: which form they have, how large they are, and when they grow."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.model import ModelKernels
from mfenvs.engine.tabulation import (
    ACTION,
    AGENT,
    BRANCH,
    NEEDS_ROOM,
    NUMBER,
    REASON,
    STATE,
    TIME,
    Room,
    new_status,
)
from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.public_tree_game import PublicTreeGame

Array = NDArray[np.float64]

MOST_STATES_OF_DENSE = 64
"""Number of states up to which the tables of a game that declares ``transition`` are dense by default."""
MOST_STATES_OF_DENSE_BRANCHES = 8
"""The same for a game that declares ``branch``. With 5 branches and dense tables, the exploitability of a game
that ends took twice as long as with sparse ones at 16 states, and nine times as long at 64."""
MOST_STATES_OF_DENSE_FOREVER = 256
"""The same for infinite games, whose linear equations are then solved by elimination."""
MOST_DENSE_ENTRIES = 2**28
"""Largest number of entries S A S of a dense table at one time: two gigabytes."""
FIRST_ROOM = 8
"""Number of successors for which a sparse table has room at first."""
FEW_SUCCESSORS = 0.5
"""Tables are sparse by default if rows have at most this share of all states as successors."""


class TransitionTables:
    """Makes and fills the transition tables of one induced game.

    Parameters
    ----------
    game:
        The game.
    kernels:
        Its compiled rules.
    model:
        The distinct agents, their shares of the population and the game's constants.
    n_times:
        Number of times T.
    sparse:
        Whether tables keep the possible successors only; by default that is decided by their number.
    """

    def __init__(
        self,
        game: FiniteGame,
        kernels: ModelKernels,
        model: tuple[Any, Array, Any],
        n_times: int,
        sparse: bool | None,
    ) -> None:
        self.game, self.kernels = game, kernels
        self.model, self._n_times = model, n_times
        self._whole: dict[bool, tuple[Array, NDArray[np.int32] | None]] = {}
        """The tables of a game whose P is always the same, by whether they are sparse."""
        self._room: Room | None = None
        self._pattern: NDArray[np.int32] | None = None
        """The possible successors of a game that declares ``transition``, shape (1, S, A, n_kept)."""
        self._n_needed = 0
        """Largest number of successors that a row needed so far."""
        n_states = game.n_states
        self.n_kept = n_states
        """Number K of successors of sparse tables."""
        few = MOST_STATES_OF_DENSE if game.branch is None else MOST_STATES_OF_DENSE_BRANCHES
        few = MOST_STATES_OF_DENSE_FOREVER if game.is_infinite else few
        self.is_sparse = n_states > few if sparse is None else sparse
        if self.is_sparse:
            self.n_kept = min(n_states, game.n_branches or FIRST_ROOM)
            self._discover()
            # A game whose states mostly lead everywhere is faster with dense tables.
            if sparse is None and self.n_kept > FEW_SUCCESSORS * n_states and self._is_affordable:
                self.is_sparse = False
        if not self.is_sparse:
            self.check_dense()

    @property
    def varies(self) -> bool:
        """Whether P may depend on the population or the time."""
        return self.kernels.varies

    @property
    def _is_affordable(self) -> bool:
        return self.game.n_states**2 * self.game.n_actions <= MOST_DENSE_ENTRIES

    @property
    def n_found(self) -> NDArray[np.int32]:
        """Number of successors found for each state and action, (S, A), in a game that declares ``transition``."""
        assert self._room is not None
        found: NDArray[np.int32] = self._room.n_found
        return found

    def check_dense(self) -> None:
        """Raise a ValueError if the game has too many states for dense tables."""
        n_states, n_actions = self.game.n_states, self.game.n_actions
        if not self._is_affordable:
            raise ValueError(
                f"a dense table of transitions, of shape ({n_states}, {n_actions}, {n_states}), has more than"
                f" {MOST_DENSE_ENTRIES} entries: this needs fewer than {n_states} states of"
                f" {type(self.game).__name__}, or a sparse table (Flow.transitions with Flow.successors)"
            )

    def new(self, *, dense: bool = False) -> tuple[Array, NDArray[np.int32] | None, Room | None]:
        """Tables to be filled, (T, S, A, K), and the room to fill them; those of a P that never changes are full.

        Parameters
        ----------
        dense:
            Whether the table shall be dense, also in a game that keeps sparse ones.

        Raises
        ------
        ValueError
            If the game has too many states for dense tables.
        """
        is_sparse = self.is_sparse and not dense
        if not is_sparse:
            self.check_dense()
        if not self.kernels.varies:
            return (*self._fixed(is_sparse), self._room if is_sparse else None)
        return self._empty(self._n_times, is_sparse)

    def scratch(self) -> tuple[Array, Array]:
        """Arrays that kernels work in: counts (n_cells,) and signal (n_signals,)."""
        return np.empty(self.game.n_cells), np.empty(self.game.n_signals)

    def more_room(self, status: NDArray[np.int64]) -> None:
        """Make room for what a table could not hold; ValueError if a branch leads to no state."""
        if status[REASON] != NEEDS_ROOM:
            self._refuse_branch(status)
        self._widen(int(status[NUMBER]))

    def at(self, mu: Array, time: int, *, dense: bool = False) -> tuple[Array, NDArray[np.int32] | None, Array]:
        """P(mu) of a time, (S, A, K), the successors (S, A, K) of a sparse table, and R(mu), (S, A)."""
        is_sparse = self.is_sparse and not dense
        if not is_sparse:
            self.check_dense()
        transitions, successors, rewards = self._filled([(mu, time)], is_sparse)
        return transitions[0], None if successors is None else successors[0], rewards

    def _fixed(self, is_sparse: bool) -> tuple[Array, NDArray[np.int32] | None]:
        if is_sparse not in self._whole:
            shape = self.game.n_states, self.game.n_actions
            mu = np.full(shape, 1.0 / (shape[0] * shape[1]))
            self._whole[is_sparse] = self._filled([(mu, 0)], is_sparse)[:2]
        return self._whole[is_sparse]

    def _empty(self, n_times: int, is_sparse: bool) -> tuple[Array, NDArray[np.int32] | None, Room | None]:
        shape = self.game.n_states, self.game.n_actions
        if not is_sparse:
            return np.empty((n_times, *shape, self.game.n_states)), None, None
        successors = self._pattern
        if successors is None:
            successors = np.zeros((n_times, *shape, self.n_kept), np.int32)
        return np.empty((n_times, *shape, self.n_kept)), successors, self._room

    def _filled(
        self, places: list[tuple[Array, int]], is_sparse: bool
    ) -> tuple[Array, NDArray[np.int32] | None, Array]:
        """Fill one table at populations (S, A) and times, one after the other; what is left is of the last one."""
        game, status = self.game, new_status()
        counts, signal = self.scratch()
        rewards = np.empty((game.n_states, game.n_actions))
        while True:
            transitions, successors, room = self._empty(1, is_sparse)
            for mu, time in places:
                now = None if successors is None else successors[0]
                arguments = mu, *self.model, time, counts, signal, transitions[0], now, room, status, rewards
                if not self._call(self.kernels.tabulate, *arguments):
                    status[TIME] = time
                    self.more_room(status)
                    break
                self._n_needed = max(self._n_needed, int(status[NUMBER]))
            else:
                return transitions, successors, rewards

    def _discover(self) -> None:
        """Find the successors that are possible at several populations."""
        game = self.game
        shape = game.n_states, game.n_actions
        self._make_room()
        rng = np.random.default_rng(0)
        law = game.initial_distribution
        populations = [np.full(shape, 1.0 / (shape[0] * shape[1]))]
        if self.kernels.varies:
            populations.append(np.repeat(law[:, None], shape[1], axis=1) / shape[1])
            for sharpness in (1.0, 0.1):
                weights = rng.gamma(sharpness, size=shape) + 1e-12
                populations.append(weights / weights.sum())
        times = np.linspace(0, self._n_times - 1, len(populations)).astype(int)
        places = [(mu, int(time)) for mu, time in zip(populations, times, strict=True)]
        if isinstance(game, PublicTreeGame):
            places = [(game.with_node_masses(mu, time), time) for mu, time in places]
        self._filled(places, True)
        if game.branch is None:
            assert self._room is not None
            self._resize(int(self._room.n_found.max()))
        elif not self.kernels.varies or self._n_needed <= FEW_SUCCESSORS * self.n_kept:
            self.n_kept = max(1, self._n_needed)

    def _make_room(self) -> None:
        game = self.game
        shape = (game.n_states, game.n_actions) if game.branch is None else (0, 0)
        self._room = Room(
            places=np.zeros(game.n_states, np.int32),
            n_found=np.zeros(shape, np.int32),
            lowest=np.ones(shape),
            highest=np.ones(shape),
        )
        if game.branch is None:
            self._pattern = np.zeros((1, *shape, self.n_kept), np.int32)

    def _widen(self, needed: int) -> None:
        if needed > self.n_kept:
            # Twice as many, so that this happens seldom.
            self._resize(min(self.game.n_states, max(needed, 2 * self.n_kept)))

    def _resize(self, n_kept: int) -> None:
        if self._pattern is not None:
            pattern = np.zeros((*self._pattern.shape[:-1], n_kept), np.int32)
            n_common = min(n_kept, self.n_kept)
            pattern[..., :n_common] = self._pattern[..., :n_common]
            self._pattern = pattern
        self.n_kept = n_kept

    def _call(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return kernel(*arguments)
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None

    def _refuse_branch(self, status: NDArray[np.int64]) -> None:
        raise ValueError(
            f"{type(self.game).__name__}.branch must return a next_state in [0, {self.game.n_states - 1}], got"
            f" {status[NUMBER]} for branch {status[BRANCH]} in state {status[STATE]} with action {status[ACTION]}"
            f" at time {status[TIME]}, for an agent with parameters {self.model[0][status[AGENT]]}"
        )
