"""Run folders: what a training run leaves behind, and how to read it again.

``config.json`` (algorithm, game, constants, hyper-parameters, seed, versions), ``metrics.csv``, ``policy.npz``
(the learned policy) and ``checkpoint.npz`` (the trainer's state, from which the run can go on).
"""

import dataclasses
from pathlib import Path
from typing import Any

from baselines.files import read_json, versions, write_json
from baselines.fixed_point import FictitiousPlay, OnlineMirrorDescent
from baselines.mirror_descent import IPMD, SymmPMD
from baselines.policies import TabularPolicy
from baselines.temporal_difference import TDLearning
from baselines.trainer import Trainer
from mfenvs.game import FiniteGame
from mfenvs.registry import make, name_of

ALGORITHMS: dict[str, type[Trainer[Any]]] = {
    trainer.name: trainer for trainer in (SymmPMD, IPMD, OnlineMirrorDescent, FictitiousPlay, TDLearning)
}
"""The trainers by the name that the command line knows them by."""


def algorithm(name: str) -> type[Trainer[Any]]:
    """Return the trainer of this name; ValueError if there is none."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; known: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def write_config(folder: Path, trainer: Trainer[Any], total_timesteps: int) -> None:
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


def save_results(folder: Path, trainer: Trainer[Any]) -> None:
    """Write ``policy.npz`` and ``checkpoint.npz``."""
    trainer.policy.save(folder / "policy.npz")
    trainer.save(folder / "checkpoint.npz")


def read_run(folder: Path) -> tuple[FiniteGame, TabularPolicy, dict[str, Any]]:
    """Read the game, the learned policy and the configuration of a run.

    Raises
    ------
    ValueError
        If the folder is not a run folder, or has no policy yet.
    """
    config = read_json(folder / "config.json")
    game = make(config["game"], **config["constants"])
    assert isinstance(game, FiniteGame)
    return game, TabularPolicy.load(folder / "policy.npz"), config
