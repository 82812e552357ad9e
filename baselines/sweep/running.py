"""Running a cell: train, measure, and leave a run folder with the result in it."""

import contextlib
import dataclasses
import datetime
import secrets
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from mfenvs.files import FileError
from mfenvs.game import Game
from mfenvs.registry import make

from ..callbacks import StopAfter
from ..logging import configure
from ..named_games import import_module
from ..neural.trainers import PPOTrainer
from ..policy_measures import MeasurementSettings, measure_policy
from ..runs import AnyTrainer, algorithm, save_results, write_config
from ..trainer import MOST_ITERATIONS
from ..versions import versions
from .cells import Cell
from .results import ATTEMPTS, CELLS, Result, commit, read_result
from .specification import make_config

OUTPUT = "output.txt"
"""Name of the file in a cell's folder that holds what was printed while it ran, warnings included."""

_uniform: dict[str, dict[str, Any]] = {}
"""Measures of uniform policies, by the games' fingerprints: they are the same in all cells of a game."""


def run_cell(sweep: Path, cell: Cell, attempt: int, search_path: str) -> Result:
    """Train and measure a cell in a new folder, which becomes the cell's when everything is done.

    Parameters
    ----------
    sweep:
        Folder of the sweep.
    cell:
        The cell.
    attempt:
        Number of the attempt, from 1.
    search_path:
        Folder in which modules that register games are searched first.

    Returns
    -------
    The cell's result. An exception that is raised by the training or by the measurements is a result too.

    Raises
    ------
    OSError
        If the result cannot be written.
    """
    if not (sweep / CELLS).is_dir():
        raise FileNotFoundError(
            f"there is no folder {sweep / CELLS} on {socket.gethostname()}: a sweep's folder must be on a file"
            " system that all machines share, under the same path"
        )
    with contextlib.suppress(FileError):
        # A process that was taken for dead, or whose sweep was killed, may have finished the cell meanwhile.
        return read_result(sweep / CELLS / cell.name, cell.fingerprint)
    begun = new_result(cell, attempt)
    folder = sweep / ATTEMPTS / f"{cell.name}-{begun.token}"
    folder.mkdir(parents=True)
    output = folder / OUTPUT
    with output.open("w", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            result = dataclasses.replace(begun, status="done", **_train_and_measure(cell, folder, search_path))
        except (Exception, SystemExit):
            result = dataclasses.replace(begun, status="failed", error=traceback.format_exc())
    if not output.stat().st_size:
        output.unlink()
    return commit(sweep, cell, folder, result)


def new_result(cell: Cell, attempt: int) -> Result:
    """The result of a cell that has only begun, with the status "killed"."""
    return Result(
        fingerprint=cell.fingerprint,
        status="killed",
        attempt=attempt,
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=versions(),
    )


def _train_and_measure(cell: Cell, folder: Path, search_path: str) -> dict[str, Any]:
    """Train and measure a cell, write its run folder, and return the fields of the result that this gives."""
    if cell.module is not None:
        if search_path not in sys.path:
            sys.path.insert(0, search_path)
        import_module(cell.module)
    game = make(cell.game, **cell.constants)
    config = make_config(cell.algorithm, cell.hyper_parameters, cell.seed)
    trainer_class: Any = algorithm(cell.algorithm)
    trainer: AnyTrainer = trainer_class(game, config)
    began = time.perf_counter()
    _learn(trainer, cell, folder)
    trained = time.perf_counter()
    save_results(folder, trainer)
    write_config(folder, trainer, max(1, trainer.num_timesteps), cell.module)
    settings = MeasurementSettings(**cell.measurement)
    policy = trainer.model if isinstance(trainer, PPOTrainer) else trainer.policy
    return {
        "measures": measure_policy(game, policy, settings).summary,
        "measuring_seconds": time.perf_counter() - trained,
        "uniform": _uniform_measures(game, cell, settings),
        "training_seconds": trained - began,
        "iterations": trainer.iteration,
        "timesteps": trainer.num_timesteps,
        "has_converged": bool(getattr(trainer, "has_converged", False)),
    }


def _learn(trainer: AnyTrainer, cell: Cell, folder: Path) -> None:
    total, callbacks = MOST_ITERATIONS * trainer.timesteps_per_iteration, list[BaseCallback]()
    match cell.length.unit:
        case "iterations":
            total = int(cell.length.amount) * trainer.timesteps_per_iteration
        case "timesteps":
            total = int(cell.length.amount)
        case "seconds":
            callbacks.append(StopAfter(cell.length.amount))
    with contextlib.closing(configure(folder)) as logger:
        trainer.set_logger(logger)
        trainer.learn(total, callback=callbacks)


def _uniform_measures(game: Game, cell: Cell, settings: MeasurementSettings) -> dict[str, Any]:
    if cell.game_fingerprint not in _uniform:
        _uniform[cell.game_fingerprint] = measure_policy(game, None, settings).summary
    return _uniform[cell.game_fingerprint]
