"""The contract of all trainers: Stable-Baselines3's ``learn``, ``predict``, ``save``, ``load`` and ``logger``."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.progress import Progress
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger

from mfenvs import checks
from mfenvs.files import JSON_BYTES, ArraySpecification, FileError, SavedArrays, plain, write_arrays
from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game, kind_of
from mfenvs.registry import make, name_of, registered_games

from .config import TrainerConfig
from .logging import configure
from .policies import TabularPolicy

MaybeCallback = None | BaseCallback | list[BaseCallback] | Callable[[dict[str, Any], dict[str, Any]], bool]

MOST_ITERATIONS = 2**40
"""Largest number of iterations: more than any training does, and few enough to count everything in 64 bits."""

MOST_EPISODES = 2**22
"""The largest number of episodes in an iteration."""

LARGEST = 1e300
"""The largest value that a saved table may hold: it leaves room for the next iteration."""

SAVED = ("trainer", "game", "constants", "config", "iteration", "num_timesteps")
"""Keys of the header of a saved trainer: the class's name, the game's name and constants, and the trainer's
hyper-parameters and counters."""

ConfigT = TypeVar("ConfigT", bound=TrainerConfig)


class Trainer(abc.ABC, Generic[ConfigT]):
    """Base class of trainers that learn a policy of a finite game, one iteration after the other.

    Parameters
    ----------
    game:
        A finite game, or the name of a registered one.
    config:
        Hyper-parameters; by default the class's ``config_class`` with its defaults.
    overrides:
        Single hyper-parameters by name, which replace those of ``config``.

    Raises
    ------
    TypeError, ValueError
        If the game does not have finite sets of states and actions, or has no end and the algorithm is for games
        that end, or a hyper-parameter is unknown or not allowed.

    Notes
    -----
    An iteration is all or nothing: the state that is saved is that after the last whole iteration. (Trainers with
    a table for every agent do not copy the tables before each iteration. After a failed iteration they cannot be
    used any more, and say so.) All randomness is a function of (seed, iteration), so that a run which is saved,
    loaded and continued ends where an uninterrupted one does.

    A subclass declares what its state consists of (``_state_specification``): a file is loaded only if its arrays
    are exactly those.
    """

    config_class: ClassVar[type[TrainerConfig]]
    name: ClassVar[str]
    """Name of the algorithm on the command line."""
    needs_horizon: ClassVar[bool] = False
    """Whether the algorithm learns only games that end, and no infinite ones (``discount`` < 1)."""

    def __init__(self, game: FiniteGame | str, config: ConfigT | None = None, **overrides: Any) -> None:
        made = self._check_game(make(game))
        if config is not None and not isinstance(config, self.config_class):
            raise TypeError(f"config must be a {self.config_class.__name__}, got {config!r}")
        self.game = made
        self.config: ConfigT = _override(config or self.config_class(), overrides)  # type: ignore[assignment]
        self.iteration = 0
        """Number of iterations done."""
        self.num_timesteps = 0
        """Number of timesteps done, over all calls of :meth:`learn`."""
        self.logger: Logger = configure(None)
        self.measured: dict[str, float] = {}
        """Metrics that the last iteration logged, by name."""
        self._set_up()

    @classmethod
    def _check_game(cls, game: Game) -> FiniteGame:
        """Check that the algorithm can learn a game, and return the game."""
        if not isinstance(game, FiniteGame):
            raise TypeError(f"{cls.__name__} needs a finite game, got {kind_of(game)}")
        if cls.needs_horizon and game.is_infinite:
            raise ValueError(
                f"{cls.__name__} needs a game that ends: make it with discount=1, got {game.discount:g}"
            )
        if game.public_chain is not None:
            raise ValueError(
                f"{cls.__name__} needs a game without common noise, got {type(game).__name__}, which has a public"
                " chain: mfenvs.solve finds its equilibrium, PPO learns it (observations show the public state),"
                " and mean-field solvers such as OnlineMirrorDescent take mfenvs.InducedGame(game).game, its game"
                " on the tree of public histories"
            )
        return game

    @property
    @abc.abstractmethod
    def timesteps_per_iteration(self) -> int:
        """Number of agent-steps that an iteration simulates; 1 for a solver that simulates nothing."""

    @property
    @abc.abstractmethod
    def policy(self) -> TabularPolicy:
        """The policy that the algorithm has learned so far."""

    @property
    def has_converged(self) -> bool:
        """Whether nothing is left to do, so that :meth:`learn` ends; by default False."""
        return False

    @abc.abstractmethod
    def _set_up(self) -> None:
        """Set the state before the first iteration."""

    @abc.abstractmethod
    def _iterate(self) -> dict[str, float]:
        """Do one iteration and return the metrics to log, by name."""

    @abc.abstractmethod
    def _state(self) -> dict[str, NDArray[Any]]:
        """Everything that the next iteration depends on, except the iteration's number."""

    @contextlib.contextmanager
    def _undone_if_it_fails(self) -> Iterator[dict[str, NDArray[Any]]]:
        """A context that restores the state if its block raises; it gives the block a copy of the state."""
        before = {name: array.copy() for name, array in self._state().items()}
        try:
            yield before
        except BaseException:
            self._set_state(before)
            raise

    @classmethod
    @abc.abstractmethod
    def _state_specification(
        cls, game: FiniteGame, config: Any, iteration: int
    ) -> Mapping[str, ArraySpecification]:
        """Specifications of the arrays of :meth:`_state` after ``iteration`` iterations, by name."""

    @abc.abstractmethod
    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over what :meth:`_state` returned; the arrays are as specified.

        ValueError if they do not fit each other.
        """

    def learn(
        self,
        total_timesteps: float,
        callback: MaybeCallback = None,
        progress_bar: bool = False,
        log_interval: int = 1,
    ) -> Self:
        """Train for ``total_timesteps`` more timesteps, rounded up to whole iterations.

        Parameters
        ----------
        total_timesteps:
            Length of the training in agent-steps (in iterations for a solver that simulates nothing). An algorithm
            that notices that it has converged ends earlier.
        callback:
            As in SB3: a callback, a list of them, or a function of (locals, globals); called after
            every iteration; training stops when it returns False.
        progress_bar:
            Whether to show a progress bar.
        log_interval:
            Number of iterations from one logged row to the next, >= 1.

        Returns
        -------
        The trainer.

        Raises
        ------
        TypeError, ValueError
            If an argument is not allowed, or the game's rules return a value that is not allowed, such as a reward
            that is not finite. The trainer is then as after its last whole iteration.
        """
        if isinstance(total_timesteps, float | np.floating) and total_timesteps.is_integer():
            total_timesteps = int(total_timesteps)  # 1e6 is how people write it
        total_timesteps = checks.integer("total_timesteps", total_timesteps, 1)
        progress_bar = checks.boolean("progress_bar", progress_bar)
        log_interval = checks.integer("log_interval", log_interval, 1)
        n_iterations = math.ceil(total_timesteps / self.timesteps_per_iteration)
        hook = _as_callback(callback)
        hook.init_callback(self)  # type: ignore[arg-type]
        hook.on_training_start(locals(), globals())
        began = time.perf_counter()
        with Progress(disable=not progress_bar) as progress:
            bar = progress.add_task(type(self).__name__, total=n_iterations)
            for done in range(1, n_iterations + 1):
                if self.has_converged:
                    break
                hook.on_rollout_start()
                with self._undone_if_it_fails():
                    measured = self._iterate()
                self.measured = measured
                self.iteration += 1
                self.num_timesteps += self.timesteps_per_iteration
                hook.update_locals(locals())
                goes_on = hook.on_step()
                hook.on_rollout_end()
                if done % log_interval == 0 or not goes_on or self.has_converged:
                    self._log(measured, time.perf_counter() - began)
                progress.advance(bar)
                if not goes_on:
                    break
        hook.on_training_end()
        return self

    def predict(
        self,
        observation: ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], None]:
        """Actions of the learned policy: see :meth:`baselines.policies.TabularPolicy.predict`."""
        return self.policy.predict(observation, state, episode_start, deterministic)

    def _as_policy(self, law: NDArray[np.float64]) -> TabularPolicy:
        """A table of this trainer's game as a policy that acts on what agents of the game observe."""
        return TabularPolicy.for_game(self.game, law)

    def set_logger(self, logger: Logger) -> None:
        """Set the logger (:func:`baselines.logging.configure`); TypeError if ``logger`` is not a logger."""
        if not isinstance(logger, Logger):
            raise TypeError(f"logger must be a Logger of stable_baselines3, got {logger!r}")
        self.logger = logger

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.game!r}, {self.config!r}), {self.iteration} iterations done"

    def get_env(self) -> None:
        """None: a tabular trainer simulates with the engine. SB3's callbacks ask for the environment."""

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file from which :meth:`load` continues."""
        state = self._state()
        specification = self._state_specification(self.game, self.config, self.iteration)
        if state.keys() != specification.keys():
            raise TypeError(f"{type(self).__name__} must specify {sorted(state)}, got {sorted(specification)}")
        for name, array in state.items():
            specification[name].check_form(name, array.dtype.str, array.shape)
        header = {
            "trainer": type(self).__name__,
            "game": name_of(self.game),
            "constants": _constants(self.game),
            "config": dataclasses.asdict(self.config),
            "iteration": self.iteration,
            "num_timesteps": self.num_timesteps,
        }
        write_arrays(_path(path), state, header)

    @classmethod
    def load(cls, path: str | Path, game: FiniteGame | str | None = None, device: str | None = None) -> Self:
        """Read a trainer that :meth:`save` wrote.

        Parameters
        ----------
        path:
            Path of the file.
        game:
            The game to continue with, which must have as many states, actions and times as the saved one; by
            default the saved one is made again from its registered name and constants.
        device:
            Device to continue on, for trainers with this hyper-parameter; by default the saved one.

        Raises
        ------
        TypeError
            If ``device`` is given and the trainer has no such hyper-parameter.
        ValueError
            If the file is not a saved trainer of this class, is damaged, or does not fit ``game``; or if its game
            cannot be made again and none is given. The message names the file.
        """
        given = None if game is None else make(game)
        what = "trainer" if given is None else f"trainer of this {type(given).__name__}"
        with SavedArrays(_path(path), what) as saved:
            with saved.blamed():
                header = _checked_header(saved.header())
            if header["trainer"] != cls.__name__:
                raise FileError(f"{path} holds a {header['trainer']}, not a {cls.__name__}")
            made = _game_of(path, saved, header) if given is None else given
            with saved.blamed():
                iteration = checks.integer("iteration", header["iteration"], 0, MOST_ITERATIONS)
                num_timesteps = checks.integer("num_timesteps", header["num_timesteps"], 0)
                config = cls.config_class(**_exactly("config", header["config"], cls.config_class))
                if device is not None:
                    config = _override(config, {"device": device})
                learnable = cls._check_game(made)
                state = saved.arrays(cls._state_specification(learnable, config, iteration))
                trainer = cls(learnable, config)  # type: ignore[arg-type]
                trainer._set_state(state)
        trainer.iteration, trainer.num_timesteps = iteration, num_timesteps
        return trainer

    def _log(self, measured: dict[str, float], seconds: float) -> None:
        self.logger.record("time/iterations", self.iteration)
        self.logger.record("time/total_timesteps", self.num_timesteps)
        self.logger.record("time/seconds", seconds)
        for key, value in measured.items():
            self.logger.record(key, value)
        self.logger.dump(self.num_timesteps)


def _override(config: TrainerConfig, overrides: dict[str, Any]) -> TrainerConfig:
    allowed = [field.name for field in dataclasses.fields(config)]
    for name in overrides:
        if name not in allowed:
            raise TypeError(f"unknown hyper-parameter {name!r}; allowed: {', '.join(allowed)}")
    return dataclasses.replace(config, **overrides)


def _as_callback(callback: Any) -> BaseCallback:
    if isinstance(callback, list | tuple):
        for place, entry in enumerate(callback):
            if not isinstance(entry, BaseCallback):
                raise TypeError(f"callback[{place}] must be a BaseCallback of stable_baselines3, got {entry!r}")
        return CallbackList(list(callback))
    if isinstance(callback, BaseCallback):
        return callback
    if callback is not None and not callable(callback):
        raise TypeError(
            "callback must be None, a BaseCallback of stable_baselines3, a list of them or a function of (locals,"
            f" globals), got {callback!r}"
        )
    return ConvertCallback(callback)


def _path(path: Any) -> Path:
    if not isinstance(path, str | Path):
        raise TypeError(f"path must be a string or a Path, got {path!r}")
    return Path(path)


def _constants(game: FiniteGame) -> dict[str, Any] | None:
    """The constants of a game if a header can hold them; else None, and loading needs the game itself."""
    constants = game.describe()
    try:
        size = len(json.dumps(constants, default=plain))
    except (TypeError, ValueError):
        return None
    return constants if size <= JSON_BYTES // 2 else None


def _checked_header(header: Any) -> dict[str, Any]:
    """Check the names and types in the header of a saved trainer, and return the header."""
    if not isinstance(header, dict) or set(header) != set(SAVED):
        found = ", ".join(map(repr, header)) if isinstance(header, dict) else repr(header)
        raise ValueError(f"its header must hold {', '.join(map(repr, SAVED))}, got {found}")
    kinds = {"trainer": str, "game": str | None, "constants": dict | None, "config": dict}
    for name, kind in kinds.items():
        if not isinstance(header[name], kind):
            raise ValueError(f"{name} in its header must be a {kind}, got {header[name]!r}")
    return header


def _game_of(path: str | Path, saved: SavedArrays, header: dict[str, Any]) -> Game:
    """Make the game of a saved trainer from its registered name and constants."""
    name, constants = header["game"], header["constants"]
    if name not in registered_games():
        raise FileError(
            f"the game of {path} ({name or 'without a name'}) is not registered: import the module that registers"
            " it, or pass the game as game="
        )
    if constants is None:
        raise FileError(f"{path} does not hold the constants of its game, {name}: pass the game as game=")
    with saved.blamed():
        game_class = registered_games()[name]
        return make(name, **_exactly("constants", constants, game_class))


def _exactly(what: str, values: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """``values``, which must have the names of a dataclass's fields."""
    expected = {field.name for field in dataclasses.fields(kind) if field.init}
    if values.keys() != expected:
        raise ValueError(f"{what} in its header must hold {sorted(expected)}, got {sorted(values)}")
    return values
