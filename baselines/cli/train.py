"""``mfenvs train``: train an algorithm on a game and leave a run folder."""

import contextlib
import dataclasses
import datetime
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import tyro

from mfenvs import checks
from mfenvs.engine.diagnose import COMPILE_ERRORS
from mfenvs.game import Game
from mfenvs.registry import registered_games

from ..callbacks import EvaluationCallback, ExploitabilityCallback, SaveEvery, StopOnInterrupt
from ..config import SimulationConfig
from ..logging import configure, continue_from
from ..named_games import game_class_and_module, plain_name
from ..neural.config import NetworkConfig, RiskAversePPOConfig
from ..neural.hyper_parameters import environment_device
from ..neural.trainers import PPOTrainer
from ..run_folders import RUN_FILES, check_is_unused, locked, make_folder
from ..runs import (
    ALGORITHMS,
    AnyTrainer,
    algorithm,
    load_trainer,
    make_game,
    make_hyper_parameters,
    read_config,
    save_results,
    write_config,
)
from .devices import check_network_device, check_simulation_device
from .measures import describe

SECONDS_BETWEEN_SAVES = 30.0
"""Time between two saves of a training run: about what a crash can lose of it."""

DEFAULT_ITERATIONS = 50


@dataclasses.dataclass(kw_only=True)
class RunFlags:
    """Settings of a training run beside its hyper-parameters."""

    total_timesteps: int | None = None
    """Length of the training in agent-steps (for solvers that simulate nothing: in iterations), at least 1,
    rounded up to whole iterations. A resumed run trains for so many more. By default 50 iterations, or what a
    resumed run has left to do."""
    folder: Path | None = None
    """Run folder; by default a new one, runs/<algorithm>-<game>-<date>-<time>."""
    resume: bool = False
    """Continue the run in --folder, with its game and hyper-parameters.
    A run that has done all of its timesteps does nothing more, unless --total-timesteps asks for it."""
    evaluate_every: int = 0
    """Number of iterations between measurements of the exploitability (of neural policies: of the mean return);
    0: nothing is measured."""
    tensorboard: bool = False
    """Whether to log for TensorBoard too."""
    progress: bool = True
    """Whether to show a progress bar."""

    def check(self) -> None:
        """Raise a ValueError if a number is not allowed."""
        if self.total_timesteps is not None:
            checks.integer("total_timesteps", self.total_timesteps, 1, 2**63 - 1)
        checks.integer("evaluate_every", self.evaluate_every, 0)


def run(words: list[str]) -> int:
    """Train as the words after ``mfenvs train`` say; return the exit status."""
    asks_for_help = "--help" in words or "-h" in words
    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        print(_usage(), file=sys.stdout if asks_for_help else sys.stderr)
        return 0 if asks_for_help else 2
    trainer_class = algorithm(words[0])
    game_class, module = game_class_and_module(words[1])
    config_class, learner = trainer_class.config_class, getattr(trainer_class, "model_class", trainer_class)
    defaults: tuple[Callable[[], Game], Callable[[], Any]] = game_class, config_class
    if "--resume" in words and not asks_for_help:
        # The run's own constants and hyper-parameters are the defaults: any other value is a contradiction.
        game, config = _settings_to_resume(words)
        defaults = (lambda: game), (lambda: config)
    flags_class = dataclasses.make_dataclass(
        "Train",
        [
            ("run", Annotated[RunFlags, tyro.conf.arg(name="")], dataclasses.field(default_factory=RunFlags)),
            (
                "algorithm",
                Annotated[config_class, tyro.conf.arg(name="")],
                dataclasses.field(default_factory=defaults[1]),
            ),
            ("game", game_class, dataclasses.field(default_factory=defaults[0])),
        ],
    )
    with warnings.catch_warnings():
        # Members of a market that were read from a file are the default of a resumed run, which no flag can state.
        warnings.filterwarnings("ignore", message=".* does not match any type in Union")
        flags: Any = tyro.cli(
            flags_class,
            args=words[2:],
            prog=f"mfenvs train {words[0]} {words[1]}",
            description=f"Train {learner.__name__} on {words[1]}. Constants of the game are --game.* flags.",
        )
    flags.run.check()
    if flags.run.folder is not None and not flags.run.resume:
        check_is_unused(flags.run.folder)  # Early: the game may take long to make.
    _check_device(flags.algorithm)
    if flags.run.resume:
        return _resume(words[0], flags.game, flags.algorithm, flags.run, module)
    return _begin(trainer_class(flags.game, flags.algorithm), flags.run, module)


def _check_device(config: Any) -> None:
    """Raise a ValueError if this machine does not have the device of a config, or not the software for it."""
    if isinstance(config, SimulationConfig):
        check_simulation_device(config.device)
    elif hasattr(config, "device"):
        check_network_device(config.device)
        if isinstance(config, NetworkConfig) and not isinstance(config, RiskAversePPOConfig):
            check_simulation_device(environment_device(config.device))


def _usage() -> str:
    return (
        "usage: mfenvs train ALGORITHM GAME [FLAGS]\n"
        f"algorithms: {', '.join(ALGORITHMS)}\n"
        f"games: {', '.join(registered_games())}, or MODULE:GAME for a game that a module of yours registers\n"
        "flags: mfenvs train ALGORITHM GAME --help"
    )


def _begin(trainer: AnyTrainer, flags: RunFlags, module: str | None) -> int:
    """Train a new run. Everything has been checked by now, so that a refused run leaves no folder behind."""
    folder = flags.folder
    if folder is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = make_folder(Path("runs"), f"{trainer.name}-{type(trainer.game).__name__}-{stamp}")
    total = flags.total_timesteps or DEFAULT_ITERATIONS * trainer.timesteps_per_iteration
    with locked(folder):
        check_is_unused(folder)
        try:
            save_results(folder, trainer)
            write_config(folder, trainer, total, module)
        except BaseException:
            _clear(folder)
            raise
        try:
            return _learn(folder, trainer, total, flags)
        except (ValueError, *COMPILE_ERRORS):
            # Rules are compiled and tried when they are first called: there is no run to go on with.
            if trainer.iteration == 0:
                _clear(folder)
            raise


def _clear(folder: Path) -> None:
    """Remove the files of a run that has not begun."""
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)


def _resume(name: str, game: Game, config: Any, flags: RunFlags, module: str | None) -> int:
    """Continue a run, unless it has done all of its timesteps and no more are asked for."""
    assert flags.folder is not None
    folder = flags.folder
    with locked(folder):
        trainer = load_trainer(folder, name, game, config)
        left = read_config(folder)["total_timesteps"] - trainer.num_timesteps
        if flags.total_timesteps is None and (left <= 0 or getattr(trainer, "has_converged", False)):
            print(f"finished before: {_progress(trainer)}, in {folder}; --total-timesteps trains it further")
            return 0
        total = flags.total_timesteps or left
        metrics = folder / "metrics.csv"
        missing = continue_from(metrics, trainer.num_timesteps, trainer.timesteps_per_iteration)
        if missing:
            print(f"warning: {metrics} was damaged: it has lost {missing} of the rows so far", file=sys.stderr)
        write_config(folder, trainer, trainer.num_timesteps + total, module)
        return _learn(folder, trainer, total, flags)


def _learn(folder: Path, trainer: Any, total: int, flags: RunFlags) -> int:
    """Train for ``total`` timesteps in a folder that holds a run, and print the outcome."""
    stop = StopOnInterrupt()
    callbacks: list[Any] = [stop, SaveEvery(SECONDS_BETWEEN_SAVES, lambda: save_results(folder, trainer))]
    if flags.evaluate_every:
        is_neural = isinstance(trainer, PPOTrainer)
        callbacks.insert(0, (EvaluationCallback if is_neural else ExploitabilityCallback)(flags.evaluate_every))
    formats = ("csv", "tensorboard") if flags.tensorboard else ("csv",)
    logging = configure(folder, formats, trainer.num_timesteps)
    with contextlib.closing(logging) as logger, _interruptible(stop.interrupt):
        trainer.set_logger(logger)
        trainer.learn(total, callback=callbacks, progress_bar=flags.progress)
    save_results(folder, trainer)
    state = "interrupted; saved what there is" if stop.is_interrupted else "done"
    print(f"{state}: {_progress(trainer)}, in {folder}")
    print(describe(trainer.measured, shutil.get_terminal_size().columns))
    return 130 if stop.is_interrupted else 0


def _progress(trainer: AnyTrainer) -> str:
    return f"{trainer.iteration} iterations, {trainer.num_timesteps} timesteps"


def _settings_to_resume(words: list[str]) -> tuple[Game, Any]:
    """The game and the hyper-parameters of the run that ``train`` is to resume."""
    places = [i for i, word in enumerate(words[:-1]) if word == "--folder"]
    named = [word.removeprefix("--folder=") for word in words if word.startswith("--folder=")]
    if not places and not named:
        raise ValueError("--resume needs --folder: the run to go on with")
    folder = Path(named[-1] if named else words[places[-1] + 1])
    config = read_config(folder)
    asked = words[0], plain_name(words[1])
    if (config["algorithm"], config["game"]) != asked:
        raise ValueError(
            f"{folder} holds a run of {config['algorithm']} on {config['game']}, not {asked[0]} on {asked[1]}"
        )
    return make_game(folder, config), make_hyper_parameters(folder, config)


@contextlib.contextmanager
def _interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one raises as usual."""

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        print("stopping after this iteration; Ctrl-C again to abort", file=sys.stderr)
        interrupt()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore()
