"""The engine: ``n_worlds`` copies of one game, stepped as arrays. Every API is a view of this class."""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.acting import draw_actions, draw_box_actions, first_invalid_action, first_invalid_table_row
from mfenvs.engine.compile import for_types_of
from mfenvs.engine.counting import new_sums
from mfenvs.engine.cpu import build_kernels
from mfenvs.engine.debug import RuleChecks, check_rows
from mfenvs.engine.diagnose import COMPILE_ERRORS, explained
from mfenvs.engine.interpreted_rules import try_out
from mfenvs.engine.layout import Layout
from mfenvs.engine.model import in_double_precision
from mfenvs.engine.rollout import checked_rollout
from mfenvs.engine.snapshot import Snapshot, checked_snapshot, signed
from mfenvs.engine.threads import run_in_threads
from mfenvs.engine.trajectories import Trajectories
from mfenvs.finite_game import FiniteGame
from mfenvs.game import MAX_SEED, Game, index_dtype, kind_of
from mfenvs.registry import make

FLOAT32 = np.dtype(np.float32)
CUDA_MODULE = "mfenvs.engine.cuda.engine"
"""Where the engine of a GPU is."""

MAX_WORLDS = 2**24

AGENT_STEPS_WORTH_A_THREAD = 50_000
"""Number of agent-steps below which a thread costs more than it saves (handing a task over takes tens of
microseconds)."""


class Engine:
    """Simulator of ``n_worlds`` independent copies of a game, the worlds, in lockstep.

    Parameters
    ----------
    game:
        A game, or the registered name of one.
    n_worlds:
        Number of worlds.
    first_world:
        Id of the first world. Random numbers follow the id, so that worlds 4..7 of a batch of eight are the
        worlds of ``Engine(game, 4, first_world=4)``.
    n_threads:
        Largest number of threads that share the worlds when there is enough work; by default
        ``NUMBA_NUM_THREADS``, which is the number of cores unless the environment variable is set.
    debug:
        Whether to check the rules in every reset, step and observation, before their results are used (several
        times slower): that indices are within their arrays (a negative index counts from the end of an array, as
        in Python, but is refused for cells in ``cell``, ``share`` and ``crowd``), that ``start`` and ``step``
        return states of the game's dtype, that rows of ``transition`` are probabilities, that rewards are finite,
        and that observations are in the observation space. If the game has a rule ``account``, every step is
        audited too. :meth:`rollout` is not checked.
    keep_accounts:
        Whether to keep what :meth:`accounts` needs, if the game has a rule ``account``.
    device:
        ``"cpu"``, or ``"cuda"`` or ``"cuda:<number>"`` for a GPU of NVIDIA (:mod:`mfenvs.engine.cuda.engine`).

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.
    ImportError, RuntimeError
        If the device's software is not installed, or there is no such device.
    """

    def __new__(cls, *arguments: Any, device: Any = "cpu", **options: Any) -> "Engine":
        """Make the engine of the device."""
        if cls is Engine and str(device) != "cpu":
            # By name, and only where it is asked for: the module extends this one, and needs numba-cuda.
            engine: Engine = object.__new__(importlib.import_module(CUDA_MODULE).CudaEngine)
            return engine
        return object.__new__(cls)

    def __init__(
        self,
        game: Game | str,
        n_worlds: int = 1,
        *,
        first_world: int = 0,
        n_threads: int | None = None,
        debug: bool = False,
        keep_accounts: bool = False,
        device: Any = "cpu",
    ) -> None:
        if not isinstance(game, Game | str):
            raise TypeError(f"game must be a Game or the name of one, got {checks.shown(game)}")
        game = self.game = make(game)
        self.n_worlds = checks.integer("n_worlds", n_worlds, 1)
        checks.at_most("n_worlds", self.n_worlds, MAX_WORLDS)
        self.n_threads = (
            int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
            if n_threads is None
            else checks.integer("n_threads", n_threads, 1)
        )
        self.debug = checks.boolean("debug", debug)
        if isinstance(game, FiniteGame):
            try_out(game, indices=not self.debug, rows=not self.debug)
        self.time = 0
        """Number of steps taken in this episode."""
        self.is_playing = False
        """Whether an episode has begun and not ended."""
        first_world = checks.integer("first_world", first_world, 0)
        checks.at_most("first_world", first_world, 2**64 - self.n_worlds)
        self._world_ids = np.uint64(first_world) + np.arange(self.n_worlds, dtype=np.uint64)
        self._rules, layout = game.rules, Layout.of(game)
        self._kernels = build_kernels(self._rules, layout)
        self._step_of_types: Callable[..., Any] = self._kernels.step
        self._stepped_dtype: np.dtype[Any] | None = None
        if checks.boolean("keep_accounts", keep_accounts) and self._kernels.accounts is None:
            raise TypeError(f"keep_accounts needs a game with a rule account, got {type(game).__name__}")
        self._keeps_accounts = keep_accounts or (debug and self._kernels.accounts is not None)
        self._last_actions: NDArray[Any] | None = None
        self._signal_before: NDArray[np.float32] | None = None
        self._audited_signal: NDArray[np.float64] | None = None
        self._returns: NDArray[np.float64] | None = None
        self._agents = game.agents.view(np.ndarray)
        self._constants, self._initial = game.constants, game.initial
        self._shape = self.n_worlds, game.n_agents
        self._observed_shape = *self._shape, game.n_features
        self._n_actions, self._states_of_chain = layout.n_actions, layout.states_of_chain
        self._action_shape = self._shape + (() if self._n_actions is not None else game.action_space.shape or ())
        if self._n_actions is None:
            assert isinstance(game.action_space, gymnasium.spaces.Box)
            self._action_bounds = game.action_space.low, game.action_space.high
        if isinstance(game, FiniteGame):
            self._policy_shape = game.policy_shape
            self._action_dtypes = np.dtype(np.int32), np.dtype(np.int64), index_dtype(game.n_actions)
        self._rule_checks = RuleChecks(game, self._world_ids) if self.debug else None
        self._seed, self._episode = 0, -1
        self._allocate()

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: everything but machine code."""
        return {**self.__dict__, "_step_of_types": self._kernels.step, "_stepped_dtype": None}

    def _allocate(self) -> None:
        """Make the arrays of all worlds."""
        game, shape = self.game, self._shape
        self._states = np.zeros(shape, game.state_dtype)
        self._next_states = np.zeros(shape, game.state_dtype)
        self._counts = np.zeros((self.n_worlds, game.n_cells), np.float32)
        self._signal = np.zeros((self.n_worlds, game.n_signals), np.float32)
        # The arguments that all steps' kernel calls have in common, put together once: a step takes microseconds.
        sums = new_sums(self._rules, self.n_worlds, game.n_cells)
        self._fixed = (self._agents, self._constants, self._counts, sums, self._signal, self._world_ids)
        self._no_rows = np.zeros(self.n_worlds, np.int64)
        self._step_threads = self._threads_for(self.n_worlds, game.n_agents)

    @property
    def device(self) -> str:
        """Where the worlds are: ``"cpu"`` or ``"cuda:<number>"``."""
        return "cpu"

    @property
    def on_host(self) -> "Engine":
        """The engine with methods that take and return arrays of NumPy, whatever the device."""
        return self

    @property
    def states(self) -> NDArray[Any]:
        """Current local states, shape (n_worlds, n_agents): a view, overwritten by the second next step."""
        return self._states

    @property
    def counts(self) -> NDArray[np.float32]:
        """Weight of all agents in each cell in the last step, shape (n_worlds, n_cells): a view."""
        return self._counts

    @property
    def signal(self) -> NDArray[np.float32]:
        """The public signal now, shape (n_worlds, n_signals): a view."""
        return self._signal

    def keep_returns(self) -> None:
        """Keep :attr:`returns` from now on.

        Raises
        ------
        RuntimeError
            If an episode has begun whose rewards so far are not known.
        """
        if self._returns is None:
            if self.time:
                raise RuntimeError(f"keep_returns() must be called when an episode begins, got time {self.time}")
            self._returns = np.zeros(self._shape)

    @property
    def returns(self) -> NDArray[np.float64]:
        """Discounted reward of every agent in this episode so far, shape (n_worlds, n_agents): a view.

        The reward of step h is discounted by gamma^h.

        Raises
        ------
        RuntimeError
            Unless :meth:`keep_returns` was called.
        """
        if self._returns is None:
            raise RuntimeError("returns needs an engine that keeps them: call keep_returns() first")
        return self._returns

    @property
    def episode(self) -> int:
        """Number of this episode since the last seed, from 0; -1 before the first."""
        return self._episode

    @property
    def drawing_key(self) -> tuple[int, int, int, int]:
        """Seed, episode, first world and time: what random numbers that are drawn now follow from."""
        return self._seed % 2**64, max(self._episode, 0), int(self._world_ids[0]), self.time

    def reset(self, seed: int | None = None) -> NDArray[Any]:
        """Begin an episode in all worlds.

        Parameters
        ----------
        seed:
            Random seed of this and the following episodes; None begins the next episode of the last seed (0 if
            none was given).

        Returns
        -------
        The initial states, shape (n_worlds, n_agents).
        """
        new_seed, episode = self._seed, self._episode + 1
        if seed is not None:
            new_seed, episode = signed(checks.integer("seed", seed, 0, MAX_SEED)), 0
        if self._rule_checks is not None:
            self._rule_checks.check_start(new_seed, episode)
        self._seed, self._episode = new_seed, episode
        self._for_worlds(
            self.n_worlds,
            self._kernels.start,
            *(self._states, self._agents, self._initial, self._constants, self._signal),
            *(self._seed, self._episode, self._world_ids),
        )
        self._last_actions = None
        if self._returns is not None:
            self._returns[...] = 0.0
        self.time = 0
        self.is_playing = True
        return self._states

    def step(self, actions: ArrayLike, rewards: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Integers of shape (n_worlds, n_agents); for a Box, numbers of shape (n_worlds, n_agents, *shape of the
            Box).
        rewards:
            Array to which the rewards are written, shape (n_worlds, n_agents); by default a new one.

        Returns
        -------
        The rewards, shape (n_worlds, n_agents).

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of the episode.
        ValueError, TypeError
            If an action is out of range or the array has the wrong shape or kind. No world has moved then.
        """
        if not self.is_playing:
            what = "before reset()" if self._episode < 0 else "after the end of the episode"
            raise RuntimeError(f"step() was called {what}: call reset() first")
        if self._n_actions is not None:
            checked = checks.actions(actions, self._action_shape)
        else:
            checked = checks.box_actions(actions, self._action_shape, *self._action_bounds)
        has_known_types = checked.dtype is self._stepped_dtype
        if rewards is None:
            rewards = np.empty(self._shape, np.float32)
        else:
            rewards = _buffer("rewards", rewards, self._shape)
            has_known_types &= rewards.flags.carray
        if self._n_actions is not None and (self._step_threads > 1 or self.debug):
            # A thread that finds a bad action must not find that the other has already moved its worlds.
            self._refuse_action(checked, first_invalid_action(checked, self._n_actions, 0, self.n_worlds))
        if self._rule_checks is not None:
            self._check_step(self._rule_checks, checked)
        before, after, fixed = self._states, self._next_states, self._fixed
        if self._keeps_accounts:
            signal_before, actions_now = self._signal.copy(), checked.copy()
        if self._step_threads == 1:
            try:
                step = self._step_of_types if has_known_types else self._step_for(checked, rewards)
                wrong = step(
                    before, checked, after, rewards, *fixed, self.time, self._seed, self._episode, 0, self.n_worlds
                )
            except COMPILE_ERRORS as error:
                raise explained(self.game, error) from None
        else:
            arguments = before, checked, after, rewards, *fixed, self.time, self._seed, self._episode
            wrong = self._for_worlds(self.n_worlds, self._kernels.step, *arguments)
        if wrong >= self._states.size:
            self._refuse_branch(
                divmod(int(wrong) - self._states.size, self.game.n_agents), before, checked, self.time
            )
        if wrong >= 0:
            self._refuse_action(checked, wrong)
        if self.debug:
            self._refuse_rewards(rewards, checked)
            if isinstance(self.game, FiniteGame):
                self.game.check_states(after)
        self._states, self._next_states = after, before
        if self._returns is not None:
            self._returns += np.float64(self.game.discount**self.time) * rewards
        self.time += 1
        if self._keeps_accounts:
            self._signal_before, self._last_actions = signal_before, actions_now
        if self.debug and self._keeps_accounts:
            self.accounts()
        self.is_playing = self.time < self.game.horizon
        return rewards

    def _step_for(self, actions: NDArray[Any], rewards: NDArray[np.float32]) -> Callable[..., Any]:
        """The compiled step for arrays of the types of these, which is kept if they are of the usual form."""
        when = self.time, self._seed, self._episode, 0, self.n_worlds
        arrays = self._states, actions, self._next_states, rewards
        step = for_types_of(self._kernels.step, *arrays, *self._fixed, *when)
        if rewards.flags.carray:
            self._step_of_types, self._stepped_dtype = step, actions.dtype
        return step

    def synchronize(self) -> None:
        """Wait until all steps are done, and raise the error of one: on the CPU they are, and have raised it."""

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Every agent's observation now, shape (n_worlds, n_agents, n_features), written to ``out`` if given."""
        out = _buffer("out", out, self._observed_shape)
        if self._rule_checks is not None:
            states, _, _, signal, time, elapsed = self._public()
            self._run(self._rule_checks.check_observations, states, signal, time, elapsed)
        self._for_worlds(self.n_worlds, self._kernels.observe, out, *self._public())
        return out

    def action_masks(self) -> NDArray[np.bool_]:
        """Action masks of all agents now, shape (n_worlds, n_agents, n_actions): False for an action of no use.

        All are True if the game has no rule ``allowed``. Masked actions may be taken nevertheless.

        Raises
        ------
        TypeError
            If actions are not discrete.
        """
        if self._n_actions is None:
            raise TypeError(f"action_masks() needs discrete actions, got {self.game.action_space}")
        masks = np.ones((*self._shape, self._n_actions), np.bool_)
        if self._kernels.masks is not None:
            self._for_worlds(self.n_worlds, self._kernels.masks, masks, *self._public())
        return masks

    def accounts(self) -> NDArray[np.float64]:
        """Every agent's account of the last step, shape (n_worlds, n_agents, n_accounts).

        The entries are the parts of an agent's step (payments and quantities, say), named by the game's
        ``account_names``. They are computed again in double precision, from the same rules and random draws.

        Raises
        ------
        RuntimeError
            If the engine keeps no accounts, or before the first step of an episode.
        ValueError
            If the accounts do not balance (:meth:`mfenvs.Game.audit`).
        """
        if not self._keeps_accounts:
            raise RuntimeError("accounts() needs an engine that keeps them: Engine(game, keep_accounts=True)")
        if self._last_actions is None or self._signal_before is None:
            raise RuntimeError("accounts() was called before the first step of the episode")
        return self._accounts(self._next_states, self._last_actions, self._signal_before, self._constants)

    def _accounts(
        self, states: NDArray[Any], actions: NDArray[Any], signal_before: NDArray[np.float32], constants: Any
    ) -> NDArray[np.float64]:
        """The audited accounts of the last step, from states, actions and the signal before it."""
        game = self.game
        accounts = np.zeros((*self._shape, len(game.account_names)))
        counts, signal = np.empty((self.n_worlds, game.n_cells)), signal_before.astype(np.float64)
        self._for_worlds(
            self.n_worlds,
            self._kernels.accounts,  # type: ignore[arg-type]
            *(accounts, states, actions, in_double_precision(game.agents)),
            *(constants, counts, signal, self._world_ids, self.time - 1, self._seed, self._episode),
        )
        game.audit(accounts, signal)
        self._audited_signal = signal
        return accounts

    @property
    def audited_signal(self) -> NDArray[np.float64]:
        """The public signal of the step of the last :meth:`accounts`, (n_worlds, n_signals), double precision.

        It holds what was published before that step and what ``aggregate`` wrote in it, whereas :attr:`signal` may
        hold what was published since.

        Raises
        ------
        RuntimeError
            Before the first call of :meth:`accounts`.
        """
        if self._audited_signal is None:
            raise RuntimeError("audited_signal was asked for before accounts() was called")
        return self._audited_signal

    def occupancy(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Share of all N agents in each place now, shape (n_worlds, n_places), written to ``out`` if given.

        In a finite game places are states.

        Raises
        ------
        TypeError
            If the game has no rule ``place``.
        ValueError
            If that rule returns a number that is not a place.
        """
        if self._kernels.occupancy is None:
            raise TypeError(
                f"occupancy() needs a game with a rule place, which {type(self.game).__name__} has not"
            )
        return self._shares(_buffer("out", out, (self.n_worlds, self.game.n_places)), self._states)

    def snapshot(self) -> Snapshot:
        """Copy the engine's state, from which :meth:`restore` can continue, also in another process."""
        returns = None if self._returns is None else self._returns.copy()
        seed = self._seed % 2**64
        return Snapshot(seed, self._episode, self.time, self._states.copy(), self._signal.copy(), returns)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of an engine of the same game, number of worlds and first world.

        Raises
        ------
        TypeError, ValueError
            If a part of the snapshot is not possible in this game (:meth:`Game.check_snapshot`), or this engine
            keeps returns and the snapshot was taken within an episode by an engine that did not. This engine is
            then left as it was.
        """
        found = checked_snapshot(snapshot, self.game, self.n_worlds)
        if found.episode >= 0 and self._kernels.occupancy is not None:
            # Every state of a game has a place: a check of states that applies to all games.
            self._shares(
                np.empty((self.n_worlds, self.game.n_places), np.float32), found.states, "snapshot.states"
            )
        if found.returns is None and self._returns is not None and found.time:
            raise ValueError("snapshot.returns must be given, since this engine keeps returns, got None")
        if found.returns is not None:
            self._returns = found.returns.copy()
        elif self._returns is not None:
            self._returns[...] = 0.0
        self.time, self._seed, self._episode = found.time, signed(found.seed), found.episode
        self._states[...], self._signal[...] = found.states, found.signal
        self._last_actions = None
        self.is_playing = self._episode >= 0 and self.time < self.game.horizon

    def draw_actions(self, probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
        """Draw every agent's action from given probabilities, at the current time.

        Parameters
        ----------
        probabilities:
            Probabilities of each agent's actions, shape (n_worlds, n_agents, n_actions).

        Returns
        -------
        Actions, shape (n_worlds, n_agents). The random numbers are those of :meth:`sample_actions`.

        Raises
        ------
        RuntimeError
            Outside an episode.
        TypeError, ValueError
            If actions are not discrete, or ``probabilities`` are not probability vectors of this shape.
        """
        if self._n_actions is None:
            raise TypeError(f"draw_actions() needs discrete actions, got {self.game.action_space}")
        self._check_playing("draw_actions")
        laws = checks.shaped("probabilities", probabilities, (*self._shape, self._n_actions), np.float32)
        actions = np.empty(self._shape, np.int32)
        wrong = draw_actions(
            laws, actions, self.time, self._seed, self._episode, self._world_ids, 0, self.n_worlds
        )
        if wrong >= 0:
            world, agent = divmod(int(wrong), self.game.n_agents)
            raise ValueError(
                f"probabilities[{world}, {agent}] must be non-negative and sum to 1, got"
                f" {laws[world, agent].tolist()}"
            )
        return actions

    def random_actions(self) -> NDArray[Any]:
        """Draw every agent's action uniformly from those that are allowed (or from all, if none is) now.

        Returns
        -------
        Actions, shape (n_worlds, n_agents), followed by the shape of a Box.

        Raises
        ------
        RuntimeError
            Outside an episode.
        """
        if self._n_actions is not None and self._kernels.masks is None:
            law = np.full(self._n_actions, 1.0 / self._n_actions, np.float32)
            return self.draw_actions(np.broadcast_to(law, (*self._shape, self._n_actions)))
        self._check_playing("random_actions")
        if self._n_actions is not None:
            return self.draw_actions(self._uniform_over(self.action_masks()))
        low, high = (bound.reshape(-1) for bound in self._action_bounds)
        actions = np.empty((*self._shape, low.size), np.float32)
        when = self.time, self._seed, self._episode, self._world_ids
        draw_box_actions(low, high, actions, *when, 0, self.n_worlds)
        return actions.reshape(self._action_shape)

    def sample_actions(
        self, policy: NDArray[np.float32], actions: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Draw every agent's action from a tabular policy, at the current time.

        Parameters
        ----------
        policy:
            A cumulated table (:func:`mfenvs.cumulated.cumulative`), shape (1 or n_agents, T, S, A), where
            (T, S, A) is the game's ``policy_shape``.
        actions:
            Array to which the actions are written, shape (n_worlds, n_agents); by default a new one.

        Returns
        -------
        Actions, shape (n_worlds, n_agents). The random numbers are those of :meth:`rollout`.

        Raises
        ------
        RuntimeError
            Outside an episode.
        TypeError, ValueError
            If the game is not finite, an array has the wrong shape or kind, or a row of the table that would be
            drawn from is not a cumulative distribution.
        """
        game = self._finite_game("sample_actions")
        self._check_playing("sample_actions")
        cumulated = self._table(policy)
        if actions is None:
            actions = np.empty(self._shape, np.int32)
        else:
            actions = checks.buffer("actions", actions, self._shape, self._action_dtypes)
        game.check_states(self._states)
        first_rows = self._no_rows
        if self._states_of_chain is not None:
            first_rows = self._states_of_chain * self._signal[:, -1].astype(np.int64)
        row = first_invalid_table_row(cumulated, self._states, first_rows, self.time)
        if row >= 0:
            where = tuple(int(i) for i in np.unravel_index(row, cumulated.shape[:-1]))
            raise ValueError(
                f"policy[{', '.join(map(str, where))}] must be a cumulated law (rising from 0 to at least 1, as"
                f" mfenvs.cumulated.cumulative makes it), got {checks.shown(cumulated[where].tolist())}"
            )
        self._for_worlds(
            self.n_worlds,
            self._kernels.act,
            *(cumulated, self._states, actions, self._signal, self.time),
            *(self._seed, self._episode, self._world_ids),
        )
        return actions

    def rollout(
        self,
        policy: Any,
        *,
        seed: int,
        episode: int = 0,
        world_ids: Sequence[int] | NDArray[Any] | None = None,
        deviators: Sequence[int] | NDArray[Any] | None = None,
        deviations: ArrayLike | None = None,
        starts: ArrayLike | None = None,
    ) -> Trajectories:
        """Play one whole episode by tabular policies in every world; the engine's own state does not change.

        With the same seed, episode, world and actions, :meth:`step` goes through the same states.

        Parameters
        ----------
        policy:
            Probabilities of actions, shape (T, S, A) for one policy that all agents share, or (n_agents, T, S, A),
            with (T, S, A) the game's ``policy_shape``; or an object with these as its attribute ``probabilities``.
        seed, episode, world_ids:
            Random seed, number of the episode and ids of the worlds, which together identify the random numbers.
            By default the worlds are the engine's own.
        deviators:
            Index of the agent that deviates in each world, -1 for none, shape (number of worlds,).
        deviations:
            The policies that the deviators play, shape (number of worlds, T, S, A), or with the horizon in the
            place of T.
        starts:
            The initial states of all agents, shape (number of worlds, n_agents); by default they are drawn.

        Returns
        -------
        States, actions, rewards and counts of the episodes.

        Raises
        ------
        TypeError, ValueError
            If the game is not finite or an array is not as described.
        """
        game = self._finite_game("rollout")
        plan = checked_rollout(
            game, self._world_ids, policy, seed, episode, world_ids, deviators, deviations, starts
        )
        n_worlds = len(plan.world_ids)
        n, h = game.n_agents, game.horizon
        run = Trajectories(
            states=np.empty((n_worlds, h + 1, n), game.state_dtype),
            actions=np.empty((n_worlds, h, n), index_dtype(game.n_actions)),
            rewards=np.empty((n_worlds, h, n), np.float32),
            counts=np.empty((n_worlds, h, game.n_cells), np.float32),
            discount=game.discount,
            public_states=None if game.public_chain is None else np.empty((n_worlds, h), np.int32),
        )
        if plan.starts is not None:
            run.states[:, 0] = plan.starts
        wrong = self._for_worlds(
            n_worlds,
            self._kernels.rollout,
            *(plan.policy, plan.deviators, plan.deviations),
            *(run.states, run.actions, run.rewards, self._agents, self._constants, self._initial, run.counts),
            *(new_sums(self._rules, n_worlds, game.n_cells), np.empty((n_worlds, game.n_signals), np.float32)),
            np.empty((0, 0), np.int32) if run.public_states is None else run.public_states,
            *(signed(plan.seed), plan.episode, plan.world_ids, plan.starts is not None),
            steps=h,
        )
        if wrong >= 0:
            world, time, agent = (int(i) for i in np.unravel_index(wrong, run.actions.shape))
            self._refuse_branch((world, agent), run.states[:, time], run.actions[:, time], time)
        game.check_states(run.states)
        return run

    def _uniform_over(self, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Equal probabilities of the actions that masks (n_worlds, n_agents, A) allow, or of all if none."""
        masks = masks | ~masks.any(axis=2, keepdims=True)
        laws: NDArray[np.float32] = masks / masks.sum(axis=2, keepdims=True, dtype=np.float32)
        return laws

    def _shares(self, out: NDArray[np.float32], states: NDArray[Any], whose: str = "") -> NDArray[np.float32]:
        """Write the share of agents in each place to ``out``; error messages call the states ``whose``."""
        wrong = self._for_worlds(self.n_worlds, self._kernels.occupancy, out, states)  # type: ignore[arg-type]
        if wrong >= 0:
            world, agent = divmod(int(wrong), self.game.n_agents)
            raise ValueError(
                f"{whose and f'{whose}: '}place of {type(self.game).__name__} must be in"
                f" [0, {self.game.n_places - 1}] for all agents, which it is not for agent {agent} in state"
                f" {states[world, agent]} of world {world}"
            )
        return out

    def _check_step(self, rule_checks: RuleChecks, actions: NDArray[Any]) -> None:
        when = self.time, self._seed, self._episode
        self._run(rule_checks.check_step, self._states, actions, self._signal, *when)
        if isinstance(self.game, FiniteGame):
            self._run(check_rows, self.game, self._states, actions, self._signal, self.time)

    def _public(self) -> tuple[Any, ...]:
        """The arguments of the kernels that compute what agents see now."""
        elapsed = np.float32(self.time / self.game.horizon)
        return self._states, self._agents, self._constants, self._signal, self.time, elapsed

    def _table(self, policy: Any) -> NDArray[np.float32]:
        """A cumulated table of policies, whose shape and kind are checked."""
        is_ready = type(policy) is np.ndarray and policy.dtype == FLOAT32 and policy.flags.c_contiguous
        given, shape = policy if is_ready else checks.array("policy", policy), self._policy_shape
        if (
            given.ndim != 4
            or given.shape[0] not in (1, self.game.n_agents)
            or given.shape[1:] != self._policy_shape
        ):
            raise ValueError(f"policy must have shape (1 or {self.game.n_agents}, *{shape}), got {given.shape}")
        return given if is_ready else checks.shaped("policy", given, given.shape, np.float32)

    def _check_playing(self, method: str) -> None:
        if not self.is_playing:
            raise RuntimeError(f"{method}() was called outside an episode: call reset() first")

    def _finite_game(self, what: str) -> FiniteGame:
        if not isinstance(self.game, FiniteGame):
            raise TypeError(f"{what}() needs a FiniteGame, got {kind_of(self.game)}")
        return self.game

    def _refuse_action(self, actions: NDArray[Any], wrong: int) -> None:
        if wrong < 0:
            return
        world, agent = divmod(int(wrong), self.game.n_agents)
        raise ValueError(
            f"actions[{world}, {agent}] must be in [0, {(self._n_actions or 0) - 1}], got {actions[world, agent]}"
        )

    def _refuse_branch(
        self, whose: tuple[int, int], states: NDArray[Any], actions: NDArray[Any], time: int
    ) -> None:
        """Raise the error that a branch leads an agent (world, agent) to a state that does not exist."""
        game = self._finite_game("step")
        raise ValueError(
            f"the rule {'step' if hasattr(game, 'step') else 'branch'} of {type(game).__name__} must return states"
            f" in [0, {game.n_states - 1}], which it does not for agent {whose[1]} in state {states[whose]} with"
            f" action {actions[whose]} at time {time} of world {whose[0]} (debug=True names the branch)"
        )

    def _refuse_rewards(self, rewards: NDArray[np.float32], actions: NDArray[Any]) -> None:
        wrong = ~np.isfinite(rewards)
        if wrong.any():
            world, agent = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"the rewards of {type(self.game).__name__} must be finite, got {rewards[world, agent]} for agent"
                f" {agent} in state {self._states[world, agent]} with action {actions[world, agent]} at time"
                f" {self.time} of world {world}"
            )

    def _threads_for(self, n_worlds: int, agent_steps_per_world: int) -> int:
        affordable = n_worlds * agent_steps_per_world // AGENT_STEPS_WORTH_A_THREAD
        return max(1, min(self.n_threads, n_worlds, affordable))

    def _for_worlds(self, n_worlds: int, kernel: Callable[..., Any], *arguments: Any, steps: int = 1) -> Any:
        """Call a kernel on all worlds, in several threads if there is enough work."""
        n_threads = self._threads_for(n_worlds, self.game.n_agents * steps)
        try:
            if n_threads == 1:
                return kernel(*arguments, 0, n_worlds)
            return run_in_threads(n_threads, n_worlds, functools.partial(kernel, *arguments))
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that may compile the game's rules; if one does not compile, the error names it."""
        try:
            return function(*arguments)
        except COMPILE_ERRORS as error:
            raise explained(self.game, error) from None


def _buffer(name: str, array: NDArray[np.float32] | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array for the kernels to write to: the caller's, which is checked, or a new one."""
    if array is None:
        return np.empty(shape, np.float32)
    if type(array) is np.ndarray and array.dtype is FLOAT32 and array.shape == shape and array.flags.writeable:
        return array  # The usual case, kept short: an observation takes microseconds.
    return checks.buffer(name, array, shape, (FLOAT32,))
