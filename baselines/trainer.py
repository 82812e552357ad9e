"""The contract of all trainers: Stable-Baselines3's ``learn``, ``predict``, ``save``, ``load`` and ``logger``."""

from __future__ import annotations

import abc
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.progress import Progress
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger

from mfenvs import checks
from mfenvs.game import FiniteGame
from mfenvs.registry import make, name_of, registered_games

from .files import read_arrays, replacing
from .logging import configure
from .policies import TabularPolicy

MaybeCallback = None | BaseCallback | list[BaseCallback] | Callable[[dict[str, Any], dict[str, Any]], bool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Hyper-parameters that all trainers have."""

    seed: int = 0
    """Seed of everything random in the training."""

    def __post_init__(self) -> None:
        checks.integer("seed", self.seed, 0, 2**63 - 1)
        for field in dataclasses.fields(self):
            if field.type == "bool" or field.type is bool:
                checks.boolean(field.name, getattr(self, field.name))


ConfigT = TypeVar("ConfigT", bound=TrainerConfig)


class Trainer(abc.ABC, Generic[ConfigT]):
    """Learns a policy of a finite game, one iteration after the other.

    Parameters
    ----------
    game:
        A finite game, or the name of a registered one.
    config:
        Hyper-parameters; by default the class's ``config_class`` with its defaults.
    overrides:
        Single hyper-parameters by name, in the place of ``config``'s.

    Raises
    ------
    TypeError, ValueError
        If the game is not finite, or infinite and the algorithm for games that end, or a hyper-parameter is
        unknown or not allowed.

    Notes
    -----
    An iteration is all or nothing: the state that is saved is that after the last whole iteration. All
    randomness is a function of (seed, iteration), so that a run which is saved, loaded and continued ends
    where an uninterrupted one does.
    """

    config_class: ClassVar[type[TrainerConfig]]
    name: ClassVar[str]
    """What the command line calls the algorithm."""
    needs_horizon: ClassVar[bool] = False
    """Whether it learns only games that end, not infinite ones (``discount`` < 1)."""

    def __init__(self, game: FiniteGame | str, config: ConfigT | None = None, **overrides: Any) -> None:
        made = make(game)
        if not isinstance(made, FiniteGame):
            raise TypeError(f"{type(self).__name__} needs a finite game, got {type(made).__name__}")
        if self.needs_horizon and made.is_infinite:
            raise ValueError(
                f"{type(self).__name__} needs a game that ends: make it with discount=1, got {made.discount:g}"
            )
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
        """What the last iteration logged."""
        self._set_up()

    @property
    @abc.abstractmethod
    def timesteps_per_iteration(self) -> int:
        """Agent-steps that an iteration simulates; 1 for a solver that simulates nothing."""

    @property
    @abc.abstractmethod
    def policy(self) -> TabularPolicy:
        """What has been learned so far: the policy that the algorithm outputs."""

    @property
    def has_converged(self) -> bool:
        """Whether there is nothing left to do, so that :meth:`learn` ends; never, by default."""
        return False

    @abc.abstractmethod
    def _set_up(self) -> None:
        """Set the state before the first iteration."""

    @abc.abstractmethod
    def _iterate(self) -> dict[str, float]:
        """Do one iteration and return what to log of it."""

    @abc.abstractmethod
    def _state(self) -> dict[str, NDArray[Any]]:
        """Everything that the next iteration depends on, except the iteration's number."""

    @abc.abstractmethod
    def _set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over what :meth:`_state` returned."""

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
            How much more to train, in agent-steps (in iterations for a solver that simulates nothing). Less is
            done by an algorithm that notices that it has converged.
        callback:
            As in SB3: a callback, a list of them, or a function of (locals, globals); called after
            every iteration; training stops when it returns False.
        progress_bar:
            Show one.
        log_interval:
            Log every so many iterations.

        Returns
        -------
        The trainer.

        Raises
        ------
        ValueError, TypeError
            If a number is not allowed.
        """
        if isinstance(total_timesteps, float) and total_timesteps.is_integer():
            total_timesteps = int(total_timesteps)  # 1e6 is how people write it
        total_timesteps = checks.integer("total_timesteps", total_timesteps, 1)
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
                measured = self.measured = self._iterate()
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

    def set_logger(self, logger: Logger) -> None:
        """Log with another logger (:func:`baselines.logging.configure`)."""
        self.logger = logger

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.game!r}, {self.config!r}), {self.iteration} iterations done"

    def get_env(self) -> None:
        """SB3's callbacks ask for the environment; a tabular trainer simulates with the engine and has none."""

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file from which :meth:`load` continues."""
        header = {
            "trainer": type(self).__name__,
            "game": name_of(self.game),
            "constants": self.game.describe(),
            "config": dataclasses.asdict(self.config),
            "iteration": self.iteration,
            "num_timesteps": self.num_timesteps,
        }
        with replacing(path) as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **self._state())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path, game: FiniteGame | None = None) -> Self:
        """Read a trainer that :meth:`save` wrote.

        Parameters
        ----------
        path:
            The file.
        game:
            The game to go on with; by default it is made again from its registered name and constants.

        Raises
        ------
        ValueError
            If the file is not a saved trainer of this class, or its game is not registered and none is given.
        """
        state = read_arrays(path, "trainer")
        if "header" not in state:
            raise ValueError(f"{path} is not a saved trainer: it has no header")
        header = json.loads(str(state.pop("header")))
        if header["trainer"] != cls.__name__:
            raise ValueError(f"{path} holds a {header['trainer']}, not a {cls.__name__}")
        if game is None:
            if header["game"] not in registered_games():
                raise ValueError(
                    f"the game of {path} ({header['game'] or 'without a name'}) is not registered: import the"
                    " module that registers it, or pass the game as game="
                )
            made = make(header["game"], **header["constants"])
            assert isinstance(made, FiniteGame)
            game = made
        trainer = cls(game, **header["config"])
        trainer._set_state(state)
        trainer.iteration, trainer.num_timesteps = header["iteration"], header["num_timesteps"]
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


def _as_callback(callback: MaybeCallback) -> BaseCallback:
    if isinstance(callback, list):
        return CallbackList(callback)
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)
