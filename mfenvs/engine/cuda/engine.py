"""The engine on a CUDA device: the worlds of a game as arrays that stay there."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.counting import new_sums
from mfenvs.engine.cuda.device import device_index, open_device
from mfenvs.engine.cuda.errors import describe_error, describe_next_state
from mfenvs.engine.cuda.kernels import (
    AGENTS_PER_SHARED_CELL,
    MAX_SHARED_CELLS,
    CudaKernels,
    build_cuda_kernels,
)
from mfenvs.engine.cuda.on_host import EngineOnHost
from mfenvs.engine.cuda.step_kernels import NO_ERROR, OF_PLACE, OF_STATE, WRONG
from mfenvs.engine.cuda.trajectories import DeviceTrajectories
from mfenvs.engine.diagnose import COMPILE_ERRORS, shortened
from mfenvs.engine.engine import Engine
from mfenvs.engine.layout import Layout
from mfenvs.engine.rollout import checked_rollout
from mfenvs.engine.snapshot import Snapshot, checked_snapshot, signed
from mfenvs.engine.trajectories import Trajectories
from mfenvs.game import MAX_SEED, Game, index_dtype

INTEGERS, FLOATS = "iu", "f"
"""Kinds of dtypes."""
MOST_AGENTS_OF_BLOCK = 4096
"""Largest number of agents of a world that one block of threads steps by itself."""
NOTHING = ()
"""Stands for an array that a kernel does not use: an array would cost 4 microseconds of every launch."""
ALL_WELL = (NO_ERROR, -1)
"""What ``status`` holds on the device as long as there was no error."""


class CudaEngine(Engine):
    """Simulator of ``n_worlds`` worlds of a game on a CUDA device: ``Engine(game, n_worlds, device="cuda")``.

    The methods are those of :class:`mfenvs.Engine`, and so are the trajectories: integers are equal for one seed,
    and floating-point numbers equal up to rounding in single precision. (Weights of agents are added up in double
    precision, in an order that may differ from run to run.) Arrays that methods return are on the device. Torch
    and CuPy take them without a copy (:func:`mfenvs.engine.tensors.as_torch`), and methods take theirs, also to
    write to; the array's method ``copy_to_host()`` gives a NumPy array. Arrays of the host are copied.
    :attr:`on_host` is the same engine for those who want arrays of NumPy throughout.

    A step copies nothing to the host or from there, and so does not wait for the device; nor do observations,
    masks, occupancies, and actions that are drawn at random, from a table that stays the same, or from arrays on
    the device. Accounts are the exception: an engine that keeps them copies signal and actions in every step.

    Invalid actions and probabilities are therefore found on the device: no world moves any more, and the error is
    raised by the next method that looks, :meth:`synchronize` or :meth:`reset` or one that gives arrays of the
    host. The engine is then as it was before that step, but for what it last counted and, if a rule returned a
    state or a place that does not exist, for the public signal.

    Parameters
    ----------
    game, n_worlds, first_world, n_threads, debug, keep_accounts, device:
        As for :class:`mfenvs.Engine`. Rules are debugged on the CPU.
    """

    def __init__(
        self,
        game: Game | str,
        n_worlds: int = 1,
        *,
        first_world: int = 0,
        n_threads: int | None = None,
        debug: bool = False,
        keep_accounts: bool = False,
        device: Any = "cuda",
    ) -> None:
        index = device_index(device)
        if index is None:
            raise ValueError(f'device of a CudaEngine must be "cuda" or "cuda:<number>", got {device!r}')
        if checks.boolean("debug", debug):
            raise ValueError('debug must be False with device="cuda": the same rules are debugged on the CPU')
        self._device = open_device(index)
        super().__init__(game, n_worlds, first_world=first_world, n_threads=n_threads, keep_accounts=keep_accounts)
        if self._n_actions is None and len(self._action_shape) != 3:
            raise ValueError(
                f'actions must be Discrete or a Box of shape (K,) with device="cuda", got {self.game.action_space}'
            )

    def _allocate(self) -> None:
        game, device, shape = self.game, self._device, self._shape
        sums = new_sums(game.rules, self.n_worlds, game.n_cells)
        enough = game.n_agents >= AGENTS_PER_SHARED_CELL * game.n_cells
        self._programs: CudaKernels = build_cuda_kernels(
            game.rules, Layout.of(game), enough and game.n_cells <= MAX_SHARED_CELLS
        )
        self._host_constants = self._constants
        self._agents, self._initial = device.upload(self._agents), device.upload(self._initial)
        self._constants = device.constants(self._constants)
        self._ids = device.upload(self._world_ids)
        self._states, self._next_states = (device.zeros(shape, game.state_dtype) for _ in range(2))
        # Which of the two is which changes in every step of a large world (:meth:`_advance`).
        self._counts, self._spare = (device.zeros((self.n_worlds, game.n_cells), np.float32) for _ in range(2))
        self._signal = device.zeros((self.n_worlds, game.n_signals), np.float32)
        self._sums = device.upload(sums) if sums.size else None
        self._bounds: tuple[Any, Any] = NOTHING, NOTHING
        if self._n_actions is None:
            low, high = self._action_bounds
            self._bounds = device.upload(np.ravel(low)), device.upload(np.ravel(high))
        self._status = device.upload(np.array(ALL_WELL))
        self._is_checked = True
        """Whether nothing has been launched since ``status`` was looked at that could have noted an error."""
        self._chosen: Any = None
        """Actions of the last step."""
        self._drawn: tuple[int, Any] = -1, None
        """Time and probabilities, or table, of the last draw."""
        self._kept: dict[str, Any] = {}
        """Arrays on the device that are used in many calls, by what they hold."""
        self._uploaded: NDArray[np.float32] | None = None
        """A copy of the table that was last copied to the device."""

    @property
    def device(self) -> str:
        """Where the worlds are: ``"cuda:<number>"``."""
        return self._device.name

    @property
    def tensor_device(self) -> str:
        """Name of torch's device whose tensors share memory with the engine's arrays.

        That is :attr:`device`, and in numba's simulator of a GPU the CPU.
        """
        return self._device.tensor_device

    @property
    def on_host(self) -> Engine:
        """The engine with methods that take and return arrays of NumPy."""
        return cast(Engine, EngineOnHost(self))

    def copied_to_host(self, array: Any) -> NDArray[Any]:
        """A copy of an array on the device as one of NumPy; the device is waited for."""
        return self._device.download(array) if array.size else np.zeros(array.shape, array.dtype)

    def kept_array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array on the device for results that are used up at once: made once for each name."""
        if name not in self._kept:
            self._kept[name] = self._device.empty(shape, dtype)
        return self._kept[name]

    @property
    def signal(self) -> Any:
        """The public signal now, shape (n_worlds, n_signals): a view."""
        return self._signal[:, : self.game.n_signals]

    def keep_returns(self) -> None:
        """Keep :attr:`returns` from now on; as :meth:`mfenvs.Engine.keep_returns`."""
        if self._returns is None:
            if self.time:
                raise RuntimeError(f"keep_returns() must be called when an episode begins, got time {self.time}")
            self._returns = self._device.zeros(self._shape, np.float64)

    def reset(self, seed: int | None = None) -> Any:
        """Begin an episode in all worlds; as :meth:`mfenvs.Engine.reset`.

        Returns
        -------
        The initial states, shape (n_worlds, n_agents), on the device.
        """
        new_seed, episode = self._seed, self._episode + 1
        if seed is not None:
            new_seed, episode = signed(checks.integer("seed", seed, 0, MAX_SEED)), 0
        self._end_steps()
        self._seed, self._episode = new_seed, episode
        self._clear_counts()
        self._begin(self._states, self._counts, self._signal, self._ids, new_seed, episode)
        if self._returns is not None:
            self._launch(self._programs.clear, self.game.n_agents, self._returns)
        self._last_actions = None
        self.time = 0
        self.is_playing = True
        return self._states

    def step(self, actions: Any, rewards: Any = None) -> Any:
        """Take one step in all worlds; as :meth:`mfenvs.Engine.step`.

        Parameters
        ----------
        actions:
            Integers of shape (n_worlds, n_agents); for a Box, numbers of shape (n_worlds, n_agents, *shape of the
            Box). An array on the device is not copied, and must not be changed before the step is done.
        rewards:
            Array on the device to which the rewards are written, float32 of shape (n_worlds, n_agents); by default
            a new one.

        Returns
        -------
        The rewards, shape (n_worlds, n_agents), on the device.

        Raises
        ------
        RuntimeError
            Before the first reset, or after the end of the episode.
        TypeError, ValueError
            If an array has the wrong shape or kind. An action that is out of range is found on the device, and
            reported by the next method that looks: see the class.
        """
        if not self.is_playing:
            what = "before reset()" if self._episode < 0 else "after the end of the episode"
            raise RuntimeError(f"step() was called {what}: call reset() first")
        chosen = self._actions_on_device(actions)
        rewards = self._buffer("rewards", rewards, self._shape, np.float32)
        if self._keeps_accounts:
            self.synchronize()
            self._signal_before = self._device.download(self.signal)
            self._last_actions = self._device.download(chosen)
        self._chosen = chosen
        before, after = self._states, self._next_states
        counts, spare = self._counts, self._spare
        if self._sums is None and not self._is_one_block:
            # The spare counts are zeros, and the others will be.
            counts, spare = spare, counts
        moved = before, chosen, after, rewards, counts, self._sums, spare, self._signal, self._ids
        self._is_checked = False
        self._advance(*moved, self.time, self._seed, self._episode)
        self._states, self._next_states, self._counts, self._spare = after, before, counts, spare
        if self._returns is not None:
            factor = self.game.discount**self.time
            added = self._returns, rewards, factor, self._status
            self._launch(self._programs.add_returns, self.game.n_agents, *added)
        self.time += 1
        self.is_playing = self.time < self.game.horizon
        return rewards

    def synchronize(self) -> None:
        """Wait until the device has done all steps, and raise the error of one, if there was any.

        Raises
        ------
        ValueError
            If an action was out of range, or a rule returned a state or a place that does not exist. The engine is
            then as it was before that step: see the class.
        """
        wrong, time = (int(n) for n in self._device.download(self._status))
        self._is_checked = True
        if wrong == NO_ERROR:
            return
        self._forget_error()
        # Neither that step nor those after it were taken, but each has exchanged the two arrays of states.
        n_vain = self.time - time
        if n_vain % 2:
            self._states, self._next_states = self._next_states, self._states
        self.time, self.is_playing, self._last_actions = time, time < self.game.horizon, None
        actions = self._chosen if n_vain == 1 else None
        drawn, rows = self._drawn
        seen = actions, rows if drawn == time else None, self._device.download
        raise ValueError(describe_error(self.game, self.n_worlds, wrong, time, *seen))

    def raise_error(self) -> None:
        """Raise the error of a step, as :meth:`synchronize`, but do not wait where there can be none."""
        if not self._is_checked:
            self.synchronize()

    def _end_steps(self) -> None:
        """Raise the error of a step; one from before the first episode is none, since nothing had begun."""
        if self._episode >= 0:
            self.raise_error()
        else:
            self._forget_error()

    def _forget_error(self) -> None:
        """Let kernels take steps again."""
        self._device.copy(np.array(ALL_WELL), onto=self._status)
        self._is_checked = True

    def _clear_counts(self) -> None:
        """Set to zero where the agents of large worlds are counted in the next step.

        Steps leave zeros there, but not one that was interrupted between its launches.
        """
        if not self._is_one_block:
            self._launch(
                self._programs.clear, self.game.n_cells, self._spare if self._sums is None else self._sums
            )

    def observe(self, out: Any = None) -> Any:
        """Every agent's observation now, (n_worlds, n_agents, n_features), on the device; written to ``out``."""
        out = self._buffer("out", out, (*self._shape, self.game.n_features), np.float32)
        self._launch(self._programs.observe, self.game.n_agents, out, *self._public())
        return out

    def action_masks(self, out: Any = None) -> Any:
        """Action masks of all agents now, (n_worlds, n_agents, n_actions), on the device; written to ``out``.

        As :meth:`mfenvs.Engine.action_masks`: False for an action of no use.
        """
        if self._n_actions is None:
            raise TypeError(f"action_masks() needs discrete actions, got {self.game.action_space}")
        shape = *self._shape, self._n_actions
        out = self._buffer("out", out, shape, np.bool_)
        self._launch(self._programs.masks, self.game.n_agents, out, *self._public())
        return out

    def accounts(self) -> NDArray[np.float64]:
        """Every agent's account of the last step, as :meth:`mfenvs.Engine.accounts`: computed on the CPU."""
        if not self._keeps_accounts:
            raise RuntimeError("accounts() needs an engine that keeps them: Engine(game, keep_accounts=True)")
        self.synchronize()
        if self._last_actions is None or self._signal_before is None:
            raise RuntimeError("accounts() was called before the first step of the episode")
        states = self._device.download(self._next_states)
        return self._accounts(states, self._last_actions, self._signal_before, self._host_constants)

    def occupancy(self, out: Any = None) -> Any:
        """Share of all N agents in each place now, (n_worlds, n_places), on the device; written to ``out``.

        As :meth:`mfenvs.Engine.occupancy`. A place that does not exist is reported by the next method that looks.
        """
        if self._programs.count_places is None:
            raise TypeError(
                f"occupancy() needs a game with a rule place, which {type(self.game).__name__} has not"
            )
        out = self._buffer("out", out, (self.n_worlds, self.game.n_places), np.float32)
        self._is_checked = False
        counted = out, self._states, self.time, self._status
        self._launch(self._programs.clear, self.game.n_places, out)
        self._launch(self._programs.count_places, self.game.n_agents, *counted)
        self._launch(self._programs.divide, self.game.n_places, out, np.float32(self.game.n_agents))
        return out

    def snapshot(self) -> Snapshot:
        """Copy the engine's state to the host; the CPU's engine can continue from it too."""
        if self._episode >= 0:
            self.synchronize()
        download = self._device.download
        returns = None if self._returns is None else download(self._returns)
        signal = np.ascontiguousarray(download(self._signal)[:, : self.game.n_signals])
        return Snapshot(self._seed % 2**64, self._episode, self.time, download(self._states), signal, returns)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of an engine, also one of the CPU; as :meth:`mfenvs.Engine.restore`."""
        found = checked_snapshot(snapshot, self.game, self.n_worlds)
        if found.episode >= 0 and self._programs.count_places is not None:
            self._check_places(found)
        if found.returns is None and self._returns is not None and found.time:
            raise ValueError("snapshot.returns must be given, since this engine keeps returns, got None")
        device = self._device
        if found.returns is not None:
            self._returns = device.upload(found.returns)
        elif self._returns is not None:
            self._returns = device.zeros(self._shape, np.float64)
        self.time, self._seed, self._episode = found.time, signed(found.seed), found.episode
        assert found.signal is not None
        self._states, self._signal = device.upload(found.states), device.upload(found.signal)
        self._forget_error()
        self._clear_counts()
        self._last_actions = None
        self.is_playing = self._episode >= 0 and self.time < self.game.horizon

    def _check_places(self, snapshot: Snapshot) -> None:
        """Raise a ValueError if an agent of a snapshot is in no place: every state of a game has one."""
        device, status = self._device, self._device.upload(np.array(ALL_WELL))
        counted = device.zeros((self.n_worlds, self.game.n_places), np.float32)
        states = device.upload(snapshot.states)
        self._launch(self._programs.count_places, self.game.n_agents, counted, states, snapshot.time, status)
        wrong = int(device.download(status)[WRONG])
        if wrong != NO_ERROR:
            world, agent = divmod(wrong - OF_PLACE * snapshot.states.size, self.game.n_agents)
            raise ValueError(
                f"snapshot.states: place of {type(self.game).__name__} must be in [0, {self.game.n_places - 1}]"
                f" for all agents, which it is not for agent {agent} in state {snapshot.states[world, agent]} of"
                f" world {world}"
            )

    def draw_actions(self, probabilities: Any) -> Any:
        """Draw every agent's action from given probabilities, (n_worlds, n_agents, n_actions); on the device.

        As :meth:`mfenvs.Engine.draw_actions`. Probabilities that are on the device are not copied. They are
        checked there: see the class.
        """
        if self._n_actions is None:
            raise TypeError(f"draw_actions() needs discrete actions, got {self.game.action_space}")
        self._check_playing("draw_actions")
        return self._draw(
            self._device.view("probabilities", probabilities, (*self._shape, self._n_actions), FLOATS)
        )

    def _draw(self, laws: Any) -> Any:
        """Draw actions from probabilities on the device, (n_worlds, n_agents, n_actions) or (1, 1, n_actions)."""
        actions = self._device.empty(self._shape, np.int32)
        self._is_checked = False
        self._drawn = self.time, laws
        when = self.time, self._seed, self._episode, self._ids
        self._launch(self._programs.draw, self.game.n_agents, laws, actions, *when, self._status)
        return actions

    def random_actions(self) -> Any:
        """Draw every agent's action uniformly, on the device; as :meth:`mfenvs.Engine.random_actions`."""
        self._check_playing("random_actions")
        kept, device = self._kept, self._device
        if self._n_actions is not None and self.game.rules.allowed is None:
            if "law" not in kept:
                kept["law"] = device.upload(np.full((1, 1, self._n_actions), 1.0 / self._n_actions, np.float32))
            return self._draw(kept["law"])
        if self._n_actions is not None:
            shape = *self._shape, self._n_actions
            masks, laws = self.kept_array("masks", shape, np.bool_), self.kept_array("laws", shape, np.float32)
            self._launch(self._programs.masks, self.game.n_agents, masks, *self._public())
            self._launch(self._programs.uniform_laws, self.game.n_agents, masks, laws)
            return self._draw(laws)
        low, high = self._bounds
        actions = device.empty((*self._shape, low.size), np.float32)
        when = self.time, self._seed, self._episode, self._ids
        self._launch(self._programs.draw_box, self.game.n_agents, low, high, actions, *when)
        return actions.reshape(self._action_shape)

    def sample_actions(self, policy: Any, actions: Any = None) -> Any:
        """Draw every agent's action from a cumulated table; as :meth:`mfenvs.Engine.sample_actions`.

        A table of the host is copied to the device when it differs from that of the call before; one that is on
        the device, float32, is not copied. Its rows are checked on the device: see the class.
        """
        self._finite_game("sample_actions")
        self._check_playing("sample_actions")
        table = self._table_on_device(policy)
        if actions is None:
            actions = self._device.empty(self._shape, np.int32)
        else:
            actions = self._buffer("actions", actions, self._shape, *self._action_dtypes)
        self._drawn = self.time, table
        self._is_checked = False
        is_shared = table.shape[0] == 1
        n_worlds, n_items = (1, table.shape[2]) if is_shared else self._shape
        checked = table, self._states, self._signal, self.time, self._status
        self._launch_for(self._programs.check_table, n_worlds, n_items, *checked)
        if "nobody" not in self._kept:
            self._kept["nobody"] = self._device.upload(np.full(self.n_worlds, -1))
            self._kept["no deviations"] = self._device.zeros((1, 1, 1, 1), np.float32)
        nobody = self._kept["nobody"], self._kept["no deviations"]
        when = self.time, self._seed, self._episode, self._ids
        drawn = table, *nobody, self._states, actions, self._signal, *when, self._status
        self._launch(self._programs.act, self.game.n_agents, *drawn)
        return actions

    def _table_on_device(self, policy: Any) -> Any:
        """A cumulated table of policies on the device, whose shape and kind are checked."""
        borrowed = self._device.borrow("policy", policy)
        if borrowed is not None:
            n_groups = self.game.n_agents if len(borrowed.shape) == 4 and borrowed.shape[0] > 1 else 1
            return self._buffer("policy", borrowed, (n_groups, *self._policy_shape), np.float32)
        table = self._table(policy)
        if self._uploaded is None or not np.array_equal(self._uploaded, table):
            self._uploaded, self._kept["table"] = table.copy(), self._device.upload(table)
        return self._kept["table"]

    def rollout(self, policy: Any, **given: Any) -> Trajectories:
        """Play one whole episode by tabular policies in every world; as :meth:`mfenvs.Engine.rollout`.

        Returns
        -------
        States, actions, rewards and counts of the episodes, copied to the host when they have ended.
        """
        run = self.rollout_on_device(policy, **given).on_host()
        self._finite_game("rollout").check_states(run.states)
        return run

    def rollout_on_device(
        self,
        policy: Any,
        *,
        seed: int,
        episode: int = 0,
        world_ids: Sequence[int] | NDArray[Any] | None = None,
        deviators: Sequence[int] | NDArray[Any] | None = None,
        deviations: ArrayLike | None = None,
        starts: ArrayLike | None = None,
    ) -> DeviceTrajectories:
        """Play one whole episode by tabular policies in every world, and leave it on the device.

        Arguments and errors are those of :meth:`mfenvs.Engine.rollout`. Policies are copied to the device before
        the episode; from there nothing is copied but whether a rule returned a state that does not exist.

        Returns
        -------
        States, actions, rewards and counts of the episodes, on the device.
        """
        game, device = self._finite_game("rollout"), self._device
        self._end_steps()
        plan = checked_rollout(
            game, self._world_ids, policy, seed, episode, world_ids, deviators, deviations, starts
        )
        n_worlds, n, horizon = len(plan.world_ids), game.n_agents, game.horizon
        states = device.empty((horizon + 1, n_worlds, n), game.state_dtype)
        actions = device.empty((horizon, n_worlds, n), index_dtype(game.n_actions))
        rewards = device.empty((horizon, n_worlds, n), np.float32)
        counts = device.empty((horizon + 1, n_worlds, game.n_cells), np.float32)
        signal = device.zeros((n_worlds, game.n_signals), np.float32)
        sums = None if self._sums is None else device.zeros((n_worlds, game.n_cells), np.float64)
        public_states = None if game.public_chain is None else device.empty((horizon, n_worlds), np.int32)
        ids, table = device.upload(plan.world_ids), device.upload(plan.policy)
        deviating = device.upload(plan.deviators), device.upload(plan.deviations)
        when = signed(plan.seed), plan.episode
        self._begin(states[0], counts[0], signal, ids, *when)
        if plan.starts is not None:
            device.copy(plan.starts.astype(game.state_dtype), onto=states[0])
        assert self._programs.act is not None
        for h in range(horizon):
            if public_states is not None:
                self._launch_for(self._programs.read_public_states, 1, n_worlds, signal, public_states[h])
            chosen = table, *deviating, states[h], actions[h], signal, h, *when, ids, self._status
            self._launch_for(self._programs.act, n_worlds, n, *chosen)
            moved = states[h], actions[h], states[h + 1], rewards[h], counts[h], sums, counts[h + 1], signal, ids
            self._advance(*moved, h, *when)
        wrong = self._found()
        if wrong >= 0:
            raise ValueError(describe_next_state(game, *divmod(wrong - OF_STATE * n_worlds * n, n), None))

        return DeviceTrajectories(
            states, actions, rewards, counts[:horizon], game.discount, public_states, download=self.copied_to_host
        )

    def _launch(self, kernel: Any, n_items: int, *arguments: Any) -> None:
        """Launch a kernel on all worlds of the engine."""
        self._launch_for(kernel, self.n_worlds, n_items, *arguments)

    def _launch_for(
        self, kernel: Any, n_worlds: int, n_items: int, *arguments: Any, by_world: bool = False
    ) -> None:
        """Launch a kernel on worlds, if ``by_world`` one block for each; TypeError if a rule does not compile."""
        launch = self._device.launch_by_world if by_world else self._device.launch
        try:
            launch(kernel, n_worlds, n_items, *arguments)
        except COMPILE_ERRORS as error:
            raise TypeError(
                f"a rule of {type(self.game).__name__} does not compile for CUDA: {shortened(str(error))}\n"
                "Rules call scalar functions of math (math.exp), and not NumPy's (np.exp)"
            ) from error

    def _begin(self, states: Any, counts: Any, signal: Any, ids: Any, seed: int, episode: int) -> None:
        """Draw the initial states and the first news of worlds."""
        programs, n_worlds = self._programs, len(ids)
        key = seed, episode
        given = states, self._agents, self._initial, signal, counts, *key, ids
        self._launch_for(programs.start, n_worlds, self.game.n_agents, *given)
        if programs.publish is not None:
            news = signal, self._constants, ids, 0, *key, self._status
            self._launch_for(programs.publish, 1, n_worlds, *news)

    def _advance(
        self,
        states: Any,
        actions: Any,
        after: Any,
        rewards: Any,
        counts: Any,
        sums: Any,
        spare: Any,
        signal: Any,
        ids: Any,
        time: int,
        seed: int,
        episode: int,
    ) -> None:
        """Take worlds through one step: count, aggregate, step every agent, publish.

        In large worlds without weights ``counts`` must hold zeros, and so does ``spare`` afterwards.
        """
        programs, n_worlds, game = self._programs, len(ids), self.game
        launch, status, added = self._launch_for, self._status, counts if sums is None else sums
        arrays = (
            states,
            actions,
            after,
            rewards,
            *self._bounds,
            self._agents,
            self._constants,
            counts,
            added,
            spare if sums is None and not self._is_one_block else NOTHING,
        )
        given = *arrays, signal, ids, time, seed, episode, status
        if self._is_one_block:
            launch(programs.check, n_worlds, game.n_agents, actions, *self._bounds, time, status)
            launch(programs.step, n_worlds, game.n_agents, *given, by_world=True)
            return
        launch(programs.count, n_worlds, game.n_agents, *given)
        if programs.settle is not None:
            launch(programs.settle, n_worlds, game.n_cells, *given, by_world=True)
        launch(programs.advance, n_worlds, game.n_agents, *given)
        if programs.publish is not None:
            news = signal, self._constants, ids, time + 1, seed, episode, status
            launch(programs.publish, 1, n_worlds, *news)

    @property
    def _is_one_block(self) -> bool:
        """Whether each world is stepped by one block of threads."""
        return self.game.n_agents <= MOST_AGENTS_OF_BLOCK

    def _public(self) -> tuple[Any, ...]:
        elapsed = np.float32(self.time / self.game.horizon)
        return self._states, self._agents, self._constants, self._signal, self.time, elapsed

    def _found(self) -> int:
        """The index at which the last kernel found something wrong, or -1; the device is waited for."""
        wrong = int(self._device.download(self._status)[WRONG])
        if wrong == NO_ERROR:
            return -1
        self._forget_error()
        return wrong

    def _actions_on_device(self, actions: Any) -> Any:
        """Actions of a step on the device, of the right shape and kind; numbers of a Box are float32 there."""
        if self._n_actions is not None:
            return self._device.view("actions", actions, self._action_shape, INTEGERS)
        borrowed = self._device.borrow("actions", actions)
        if borrowed is None:
            return self._device.upload(checks.shaped("actions", actions, self._action_shape, np.float32))
        return self._of_dtype("actions", borrowed, self._action_shape, np.float32)

    def _buffer(self, name: str, array: Any, shape: tuple[int, ...], *dtypes: Any) -> Any:
        """An array on the device for kernels to write to: the caller's, which is checked, or a new one."""
        if array is None:
            return self._device.empty(shape, dtypes[0])
        borrowed = self._device.borrow(name, array)
        if borrowed is None:
            raise TypeError(f"{name} must be an array on the device, got {checks.shown(array)}")
        return self._of_dtype(name, borrowed, shape, *dtypes)

    def _of_dtype(self, name: str, array: Any, shape: tuple[int, ...], *dtypes: Any) -> Any:
        """The given array on the device; an error if it has another shape, or none of these dtypes."""
        found = self._device.checked(name, array, shape, np.dtype(dtypes[0]).kind + "u")
        if np.dtype(found.dtype) not in [np.dtype(dtype) for dtype in dtypes]:
            raise TypeError(f"{name} must be an array of {np.dtype(dtypes[0])}, got dtype {found.dtype}")
        return found
