"""What every API is a view of: worlds of one game as flat rows of agents, observed, cut short, recorded."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfenvs import checks
from mfenvs.engine.engine import Engine
from mfenvs.engine.snapshot import Snapshot
from mfenvs.game import Game
from mfenvs.registry import make
from mfenvs.rendering import drawing_classes, make_recorder
from mfenvs.wrappers.observations import Observe, Observer

RENDER_MODES = ("ansi", "rgb_array")
FRAMES_PER_SECOND = 4
"""For videos: an episode of 20 steps lasts 5 seconds."""


class Population:
    """``n_worlds`` copies of a game, in which every agent of every world has one row.

    Rows are ordered by world, then by agent. All worlds run in lockstep: they begin and end together.

    Parameters
    ----------
    game:
        A registered name or a game.
    constants:
        The game's constants, if it is given by name.
    n_worlds:
        Number of copies.
    observe:
        What agents see beside their own observation (:mod:`mfenvs.wrappers.observations`).
    max_steps:
        Episodes are truncated after so many steps if the horizon has not come before; None for no cut.
    max_steps_name:
        What the API calls that argument.
    render_mode:
        None, ``"ansi"`` or ``"rgb_array"``.
    debug, first_world:
        Passed on to :class:`mfenvs.Engine`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, or ``observe`` or ``render_mode`` does not fit the game.
    ImportError
        If ``render_mode`` needs a package that is not installed.
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
    ) -> None:
        self.game = make(game, **constants)
        self.engine = Engine(self.game, n_worlds, debug=debug, first_world=first_world)
        self.n_rows = n_worlds * self.game.n_agents
        self._max_steps_name = max_steps_name
        self.max_steps = max_steps
        self.render_mode = checks.choice("render_mode", render_mode, (None, *RENDER_MODES))
        self.terminated = False
        """Whether the game is over: at the horizon, unless it goes on for ever."""
        self.truncated = False
        """Whether the episode was cut while the game goes on."""
        self.action_space = self.game.action_space
        self.observer = Observer(self.game, observe)
        self.observation_space = self.observer.space
        width = self.observer.width
        self._observations_shape = (n_worlds, self.game.n_agents, width)
        self._rows_shape = (self.n_rows, width)
        action_shape = self.action_space.shape or ()
        self._actions_shape = (self.n_rows, *action_shape)
        self._world_actions_shape = (n_worlds, self.game.n_agents, *action_shape)
        self._recorder = None if render_mode is None else make_recorder(self.game)
        self._regions = _region_matrix(self.game)
        self._reported = self.game.reported
        self.has_masks = self.game.rules.allowed is not None
        """Whether there is an action mask."""
        if render_mode == "rgb_array":
            drawing_classes()  # fail when the environment is made, not in the middle of a run

    @property
    def max_steps(self) -> int:
        """Steps after which an episode ends: at most the horizon has an effect."""
        return self._max_steps

    @max_steps.setter
    def max_steps(self, value: int | None) -> None:
        horizon = self.game.horizon
        self._max_steps = horizon if value is None else checks.integer(self._max_steps_name, value, 1)

    @property
    def is_over(self) -> bool:
        """Whether the episode has ended."""
        return self.terminated or self.truncated

    def first_seed(self, seed: int | None) -> int | None:
        """``seed``, or a fresh one if none is given and nothing has been seeded yet."""
        if seed is None and self.engine.episode < 0:
            return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        return seed

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode in all worlds; without a seed the next one of the last seed."""
        self.engine.reset(self.first_seed(seed))
        self.terminated = self.truncated = False
        if self._recorder is not None:
            self._recorder.clear()
            self._recorder.record(self.engine)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot taken within an episode; what was rendered is forgotten."""
        if not 0 <= snapshot.time < self._max_steps or snapshot.episode < 0:
            raise ValueError(
                f"snapshot must be from within an episode (time below {self._max_steps}), got time"
                f" {snapshot.time} of episode {snapshot.episode}"
            )
        self.engine.restore(snapshot)
        self.terminated = self.truncated = False
        if self._recorder is not None:
            self._recorder.clear()
            self._recorder.record(self.engine)

    def check_playing(self) -> None:
        """Raise a RuntimeError if there is no episode to step."""
        if self.engine.episode < 0:
            raise RuntimeError("step() was called before reset(): call reset() first")
        if self.is_over:
            raise RuntimeError("step() was called after the end of the episode: call reset() first")

    def step(self, actions: ArrayLike, rewards: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Take one step in all worlds.

        Parameters
        ----------
        actions:
            Shape (n_rows,), with a Box's shape behind.
        rewards:
            Where to write the rewards, shape (n_worlds, n_agents); a new array by default.

        Returns
        -------
        The rewards, shape (n_rows,).

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As :meth:`mfenvs.Engine.step` does; nothing has moved then.
        """
        self.check_playing()
        chosen = checks.array("actions", actions)
        if chosen.shape != self._actions_shape:
            raise ValueError(f"actions must have shape {self._actions_shape}, got {chosen.shape}")
        engine = self.engine
        rewards = engine.step(chosen.reshape(self._world_actions_shape), rewards)
        is_at_horizon = engine.time >= self.game.horizon
        self.terminated = is_at_horizon and not self.game.is_infinite
        self.truncated = not self.terminated and (is_at_horizon or engine.time >= self._max_steps)
        if self._recorder is not None:
            self._recorder.record(engine)
        return rewards.reshape(-1)

    def observe(self, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """What every agent sees now, shape (n_rows, width of the space); written to ``out`` if given."""
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

    def reports(self) -> dict[str, NDArray[np.float64]]:
        """What infos tell of every world, (n_worlds,) each: shares of regions, and what the game reports."""
        told = self.region_shares()
        for name, entry in self._reported.items():
            told[name] = self.engine.signal[:, entry].astype(np.float64)
        return told

    def action_masks(self) -> NDArray[np.int8] | None:
        """1 for every action that serves a purpose, (n_rows, n_actions), as PettingZoo and gymnasium have it.

        None if the game has no rule ``allowed``.
        """
        if not self.has_masks:
            return None
        return self.engine.action_masks().reshape(self.n_rows, -1).astype(np.int8)

    def render(self) -> Any:
        """World 0 since its last reset: a text, an image (height, width, 3) of uint8, or None.

        Raises
        ------
        RuntimeError
            Before the first reset.
        """
        if self._recorder is None:
            gymnasium.logger.warn(
                f"render() shows nothing without a render_mode: choose one of {', '.join(RENDER_MODES)}"
                " when making the environment"
            )
            return None
        return self._recorder.ansi() if self.render_mode == "ansi" else self._recorder.rgb_array()


def _region_matrix(game: Game) -> tuple[list[str], NDArray[np.float64]] | None:
    """Names of the infos on regions, and which places make up each, shape (n_places, number of regions)."""
    if not game.regions:
        return None
    matrix = np.zeros((game.n_places, len(game.regions)))
    for column, places in enumerate(game.regions.values()):
        matrix[list(places), column] = 1.0
    return [f"share_{name}" for name in game.regions], matrix
