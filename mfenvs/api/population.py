"""Worlds of one game as rows of agents that are observed, truncated and rendered: the common base of all APIs."""

import copy
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.api.terminal import Display
from mfenvs.engine.engine import Engine
from mfenvs.engine.snapshot import Snapshot
from mfenvs.game import MAX_SEED, Game
from mfenvs.registry import make
from mfenvs.rendering import drawing_classes, make_recorder
from mfenvs.wrappers.observations import Observe, Observer

RENDER_MODES = ("ansi", "rgb_array", "human")
FRAMES_PER_SECOND = 4
"""Frame rate of videos: an episode of 20 steps lasts 5 seconds."""


class Population:
    """Independent copies of a game, the worlds, in which every agent of every world has one row.

    Rows are ordered by world, then by agent. All worlds run in lockstep: they begin and end together.

    Parameters
    ----------
    game:
        A registered name or a game.
    constants:
        The game's constants, if the game is given by name.
    n_worlds:
        Number of worlds.
    observe:
        Observation blocks that agents see beside their own observation (:mod:`mfenvs.wrappers.observations`).
    max_steps:
        Number of steps after which episodes are truncated, if the horizon has not come before; None for no
        truncation.
    max_steps_name:
        Name of the argument ``max_steps`` in the API, for error messages.
    render_mode:
        None, ``"ansi"``, ``"rgb_array"`` or ``"human"``.
    debug, first_world, device:
        Passed on to :class:`mfenvs.Engine`. On a CUDA device actions are copied there, and everything that is
        returned is copied from there.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or ``observe`` or ``render_mode`` does not fit the game.
    ImportError
        If ``render_mode`` or ``device`` needs a package that is not installed.
    RuntimeError
        If there is no such device.
    """

    def __init__(
        self,
        game: str | Game,
        constants: dict[str, Any],
        n_worlds: int = 1,
        *,
        observe: Observe = (),
        max_steps: int | None = None,
        max_steps_name: str = "max_episode_steps",
        render_mode: str | None = None,
        debug: bool = False,
        first_world: int = 0,
        device: Any = "cpu",
    ) -> None:
        self.game = make(game, **constants)
        self._engine_on_device: Any = Engine(
            self.game, n_worlds, debug=debug, first_world=first_world, device=device
        )
        self.engine: Engine = self._engine_on_device.on_host
        self.n_rows = n_worlds * self.game.n_agents
        self._max_steps_name = max_steps_name
        self.max_steps = max_steps
        self.render_mode = checks.choice("render_mode", render_mode, (None, *RENDER_MODES))
        self.action_space = _own(self.game.action_space)
        """The space of one agent's action; a copy for this population alone, since spaces have random states."""
        self.observer = Observer(self.game, observe)
        self.observation_space = _own(self.observer.space)
        """The space of one agent's observation; a copy for this population alone."""
        width = self.observer.width
        self._observations_shape = (n_worlds, self.game.n_agents, width)
        self._rows_shape = (self.n_rows, width)
        action_shape = self.action_space.shape or ()
        self._actions_shape = (self.n_rows, *action_shape)
        self._world_actions_shape = (n_worlds, self.game.n_agents, *action_shape)
        self._recorder = None if render_mode is None else make_recorder(self.game)
        self._display = Display() if render_mode == "human" else None
        self._regions = _region_matrix(self.game)
        self._reported = self.game.reported
        self.has_masks = self.game.rules.allowed is not None
        """Whether the game has action masks."""
        if render_mode == "rgb_array":
            drawing_classes()  # fail when the environment is made, not in the middle of a run

    @property
    def max_steps(self) -> int:
        """Number of steps after which an episode ends; values above the horizon have no effect."""
        return self._max_steps

    @max_steps.setter
    def max_steps(self, value: int | None) -> None:
        horizon = self.game.horizon
        self._max_steps = horizon if value is None else checks.integer(self._max_steps_name, value, 1)

    @property
    def terminated(self) -> bool:
        """Whether the game is over: true at the horizon of a game that ends."""
        return not self.game.is_infinite and self.engine.time >= self.game.horizon

    @property
    def truncated(self) -> bool:
        """Whether the episode was cut off while the game goes on."""
        return self.is_over and not self.terminated

    @property
    def is_over(self) -> bool:
        """Whether the episode has ended."""
        return self.engine.time >= min(self._max_steps, self.game.horizon)

    def first_seed(self, seed: int | None) -> int | None:
        """Check a random seed; for None, draw one if nothing has been seeded yet."""
        if seed is None and self.engine.episode < 0:
            return drawn_seed()
        return checked_seed(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode in all worlds; without a seed, the next episode of the last seed."""
        self.engine.reset(self.first_seed(seed))
        self._record(begins=True)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot taken within an episode; what was rendered is forgotten."""
        if not 0 <= snapshot.time < self._max_steps or snapshot.episode < 0:
            raise ValueError(
                f"snapshot must be from within an episode (time below {self._max_steps}), got time"
                f" {snapshot.time} of episode {snapshot.episode}"
            )
        self.engine.restore(snapshot)
        self._record(begins=True)

    def check_playing(self) -> None:
        """Raise a RuntimeError if there is no episode to step."""
        if self.engine.episode < 0:
            raise RuntimeError("step() was called before reset(): call reset() first")
        if self.is_over:
            raise RuntimeError("step() was called after the end of the episode: call reset() first")

    def _check_step(self, shape: tuple[int, ...]) -> None:
        """Raise an error if the episode has ended, or if this is not the shape of all rows' actions."""
        self.check_playing()
        if shape != self._actions_shape:
            raise ValueError(f"actions must have shape {self._actions_shape}, got {shape}")

    def step(self, actions: ArrayLike, rewards: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Shape (n_rows,), followed by the shape of a Box.
        rewards:
            Array to which the rewards are written, shape (n_worlds, n_agents); by default a new one.

        Returns
        -------
        The rewards, shape (n_rows,).

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As in :meth:`mfenvs.Engine.step`; no world has moved then.
        """
        chosen = checks.array("actions", actions)
        self._check_step(chosen.shape)
        rewards = self.engine.step(chosen.reshape(self._world_actions_shape), rewards)
        self._record()
        return rewards.reshape(-1)

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Every agent's observation now, shape (n_rows, n_features); written to ``out`` if given."""
        if out is None:
            out = np.empty(self._rows_shape, np.float32)
        self.observer(self.engine, out.reshape(self._observations_shape))
        return out

    def region_shares(self) -> dict[str, NDArray[np.float64]]:
        """The share of agents in each of the game's regions now, (n_worlds,), as ``share_<name>``."""
        if self._regions is None:
            return {}
        names, matrix = self._regions
        n_agents = self.game.n_agents
        # Summed as whole numbers: shares do not depend on how many worlds or places are added up, and end at 1.
        counts = np.rint(self.engine.occupancy().astype(np.float64) * n_agents)
        return dict(zip(names, (counts @ matrix).T / n_agents, strict=True))

    @property
    def report_names(self) -> list[str]:
        """The names of the infos in :meth:`reports`."""
        return [*(self._regions[0] if self._regions else []), *self._reported]

    def reports(self) -> dict[str, NDArray[np.float64]]:
        """The infos of every world, (n_worlds,) each: shares of regions, and the entries that the game reports."""
        told = self.region_shares()
        for name, entry in self._reported.items():
            told[name] = self.engine.signal[:, entry].astype(np.float64)
        return told

    def action_masks(self) -> NDArray[np.int8] | None:
        """Action masks for PettingZoo and gymnasium, shape (n_rows, n_actions): 0 for an action of no use now.

        None if the game has no rule ``allowed``.
        """
        if not self.has_masks:
            return None
        return self.engine.action_masks().reshape(self.n_rows, -1).astype(np.int8)

    @property
    def state_space(self) -> gymnasium.spaces.Box:
        """The space of :meth:`state` of one world: Box of shape (width,), float32."""
        game, own = self.game, self.game.observation_space
        has_places = game.rules.place is not None
        low = np.zeros(game.n_places, np.float32) if has_places else own.low
        high = np.ones(game.n_places, np.float32) if has_places else own.high
        low, high = (np.append(bound, end).astype(np.float32) for bound, end in ((low, 0.0), (high, 1.0)))
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def state(self) -> NDArray[np.float32]:
        """The population of every world as one vector, shape (n_worlds, width of ``state_space``): a new array.

        The share of agents in each place (in a finite game: in each state), or the mean of all agents' own
        observations where the game has no rule ``place``; then the elapsed time h / horizon.

        Raises
        ------
        RuntimeError
            Before the first reset.
        """
        engine = self.engine
        if engine.episode < 0:
            raise RuntimeError("state() was called before reset(): call reset() first")
        if self.game.rules.place is not None:
            population = engine.occupancy()
        else:
            own = self.game.observation_space
            # In double precision and cut: a mean that is rounded may leave the bounds.
            population = np.clip(engine.observe().mean(axis=1, dtype=np.float64), own.low, own.high)
        elapsed = np.full((engine.n_worlds, 1), engine.time / self.game.horizon)
        return np.concatenate([population, elapsed], axis=1).astype(np.float32)

    def render(self) -> Any:
        """Show world 0 since its last reset: as a text, an image (height, width, 3) of uint8, or None.

        In the mode ``"human"`` None is returned: the text is printed in every step.

        Raises
        ------
        RuntimeError
            Before the first reset.
        """
        if self._recorder is None:
            modes = render_modes(self.game)
            chosen = (
                f"choose one of {', '.join(modes)} when making the environment" if modes else "this game has none"
            )
            gymnasium.logger.warn(f"render() shows nothing without a render_mode: {chosen}")
            return None
        if self.render_mode == "human":
            return None
        return self._recorder.ansi() if self.render_mode == "ansi" else self._recorder.rgb_array()

    def _record(self, begins: bool = False) -> None:
        """Record the agents' places for :meth:`render`, if there is a render mode; ``begins`` forgets the past."""
        if self._recorder is None:
            return
        if begins:
            self._recorder.clear()
        self._recorder.record(self.engine)
        if self._display is not None:
            self._display.show(self._recorder.ansi(), anew=begins)


def checked_seed(seed: int | None) -> int | None:
    """The random seed as an integer; ValueError or TypeError if it is neither None nor an integer >= 0."""
    return None if seed is None else checks.integer("seed", seed, 0, MAX_SEED)


def drawn_seed() -> int:
    """A random seed from the operating system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def render_modes(game: Game) -> list[str]:
    """The render modes of a game: none if it has nothing to show."""
    has_recorder = make_recorder.dispatch(type(game)) is not make_recorder.dispatch(object)
    return list(RENDER_MODES) if has_recorder or game.rules.place is not None else []


def _own(space: Any) -> Any:
    """A copy of a space, with a random state of its own: games may return the same object to everybody."""
    mine = copy.deepcopy(space)
    mine.seed()
    return mine


def _region_matrix(game: Game) -> tuple[list[str], NDArray[np.float64]] | None:
    """Names of the infos on regions, and the places of each region, shape (n_places, number of regions)."""
    if not game.regions:
        return None
    matrix = np.zeros((game.n_places, len(game.regions)))
    for column, places in enumerate(game.regions.values()):
        matrix[list(places), column] = 1.0
    return [f"share_{name}" for name in game.regions], matrix
