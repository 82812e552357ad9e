"""Run folders: what a training run leaves behind, and how to read it again.

``config.json`` (algorithm, game, constants, hyper-parameters, seed, versions), ``metrics.csv``, and of tabular
trainers ``policy.npz`` (the learned policy) and ``checkpoint.npz`` (the trainer's state, from which the run can go
on), of neural ones ``checkpoint.zip``, which is both.
"""

import dataclasses
from pathlib import Path
from typing import Any

from mfenvs.files import read_json, write_json
from mfenvs.game import Game
from mfenvs.registry import make, name_of

from .neural.trainers import IndependentPPOTrainer, PPOTrainer, RiskAversePPOTrainer
from .policies import TabularPolicy
from .solvers.fixed_point import FictitiousPlay, OnlineMirrorDescent
from .solvers.population_iteration import GMFV, ThreeStepFixedPoint
from .tabular.gmf_q import GMFQ, NaiveQ
from .tabular.independent_q import MFQ, IndependentQ
from .tabular.mirror_descent import IPMD, SymmPMD
from .tabular.temporal_difference import TDLearning
from .trainer import Trainer
from .versions import versions

AnyTrainer = Trainer[Any] | PPOTrainer

ALGORITHMS: dict[str, type[Trainer[Any]] | type[PPOTrainer]] = {
    trainer.name: trainer
    for trainer in (
        SymmPMD,
        IPMD,
        PPOTrainer,
        IndependentPPOTrainer,
        RiskAversePPOTrainer,
        OnlineMirrorDescent,
        FictitiousPlay,
        TDLearning,
        GMFQ,
        GMFV,
        NaiveQ,
        ThreeStepFixedPoint,
        IndependentQ,
        MFQ,
    )
}
"""The trainers by the name that the command line knows them by."""


def algorithm(name: str) -> type[Trainer[Any]] | type[PPOTrainer]:
    """Return the trainer of this name; ValueError if there is none."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; known: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def write_config(folder: Path, trainer: AnyTrainer, total_timesteps: int) -> None:
    """Write ``config.json``."""
    write_json(
        folder / "config.json",
        {
            "algorithm": trainer.name,
            "game": name_of(trainer.game),
            "constants": trainer.game.describe(),
            "hyper_parameters": dataclasses.asdict(trainer.config),
            "seed": trainer.config.seed,
            "total_timesteps": total_timesteps,
            "versions": versions(),
        },
    )


def save_results(folder: Path, trainer: AnyTrainer) -> None:
    """Write what the run has learned, and from what it can go on."""
    if isinstance(trainer, PPOTrainer):
        trainer.save(folder / "checkpoint.zip")
    else:
        trainer.policy.save(folder / "policy.npz")
        trainer.save(folder / "checkpoint.npz")


def load_trainer(folder: Path, name: str, game: Game, config: Any) -> AnyTrainer:
    """Read the trainer of a run, to go on with the game and hyper-parameters that it has.

    Raises
    ------
    ValueError
        If there is no checkpoint, or it was made with another game or other hyper-parameters.
    """
    saved_config = read_json(folder / "config.json")
    saved_game = make(saved_config["game"], **saved_config["constants"])
    trainer_class = algorithm(name)
    saved_parameters = trainer_class.config_class(**as_tuples(saved_config["hyper_parameters"]))
    for what, saved, given in (("game", saved_game, game), ("hyper-parameters", saved_parameters, config)):
        if saved != given:
            raise ValueError(f"a resumed run keeps its {what}: {saved}, got {given}")
    if issubclass(trainer_class, PPOTrainer):
        return trainer_class.load(folder / "checkpoint.zip", game, config)
    return trainer_class.load(folder / "checkpoint.npz")


def read_run(folder: Path) -> tuple[Game, Any, dict[str, Any]]:
    """Read the game, the learned policy (a table, or a PPO model) and the configuration of a run.

    Raises
    ------
    ValueError
        If the folder is not a run folder, or has no policy yet.
    """
    config = read_json(folder / "config.json")
    game = make(config["game"], **config["constants"])
    trainer_class = algorithm(config["algorithm"])
    if issubclass(trainer_class, PPOTrainer):
        hyper_parameters = trainer_class.config_class(**as_tuples(config["hyper_parameters"]))
        return game, trainer_class.load(folder / "checkpoint.zip", game, hyper_parameters).model, config
    return game, TabularPolicy.load(folder / "policy.npz"), config


def as_tuples(hyper_parameters: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters as they were before JSON made lists of tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in hyper_parameters.items()}
