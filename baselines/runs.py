"""Run folders: the files of a training run, written and read.

A run folder holds ``config.json`` (:class:`RunConfig`) and ``metrics.csv`` (one row per iteration). Tabular
trainers add ``policy.npz`` (the learned policy) and ``checkpoint.npz`` (the trainer's state, from which the run
can be resumed), neural ones ``checkpoint.zip``, which is both. Deep solvers add the files of tabular ones, without
``policy.npz`` where their policy is no table.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from mfenvs import checks
from mfenvs.files import FileError, read_json, write_json
from mfenvs.game import Game
from mfenvs.registry import game_class_of, make, name_of, registered_games

from .continuous.actor_critic.trainer import ActorCriticTrainer
from .deep.fictitious_play import AverageNetworkFictitiousPlay
from .deep.mirror_descent import DeepMirrorDescent
from .deep.trainer import DeepTrainer
from .neural.trainers import IndependentPPOTrainer, PPOTrainer, RiskAversePPOTrainer
from .policies import TabularPolicy
from .solvers.fixed_point import (
    BoltzmannPolicyIteration,
    DampedFixedPoint,
    FictitiousPlay,
    FixedPoint,
    Munchausen,
    OnlineMirrorDescent,
    PriorDescent,
    SmoothPolicyIteration,
)
from .solvers.mf_omo import MFOMO
from .solvers.occupation_measures import OccupationMeasureInclusion
from .solvers.population_iteration import GMFV, ThreeStepFixedPoint
from .stationary.policy_gradient import StationaryPolicyGradient
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
        ActorCriticTrainer,
        OnlineMirrorDescent,
        FictitiousPlay,
        FixedPoint,
        DampedFixedPoint,
        SmoothPolicyIteration,
        BoltzmannPolicyIteration,
        PriorDescent,
        Munchausen,
        MFOMO,
        OccupationMeasureInclusion,
        TDLearning,
        GMFQ,
        GMFV,
        NaiveQ,
        ThreeStepFixedPoint,
        IndependentQ,
        MFQ,
        StationaryPolicyGradient,
        DeepMirrorDescent,
        AverageNetworkFictitiousPlay,
    )
}
"""The trainers by their names on the command line."""


def algorithm(name: str) -> type[Trainer[Any]] | type[PPOTrainer]:
    """Return the trainer of this name; ValueError if there is none."""
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}; known: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


class RunConfig(TypedDict):
    """Content of ``config.json``."""

    algorithm: str
    """A key of :data:`ALGORITHMS`."""
    game: str
    """The game's registered name."""
    module: str | None
    """The module that registers the game, as it was named on the command line; None for a game of mfenvs."""
    constants: dict[str, Any]
    """The game's constants, all of them (:meth:`mfenvs.Game.describe`)."""
    hyper_parameters: dict[str, Any]
    """The fields of the algorithm's config, all of them."""
    seed: int
    """Random seed of the training."""
    total_timesteps: int
    """Number of timesteps that were asked for in all, those before a run was resumed included."""
    versions: dict[str, str]
    """Versions of Python and the packages that a result depends on."""


def write_config(folder: Path, trainer: AnyTrainer, total_timesteps: int, module: str | None = None) -> None:
    """Write ``config.json`` into a run folder."""
    name = name_of(trainer.game)
    if name is None:
        raise ValueError(f"a run needs a registered game, got {trainer.game!r}: register() its class first")
    config = RunConfig(
        algorithm=trainer.name,
        game=name,
        module=module,
        constants=trainer.game.describe(),
        hyper_parameters=dataclasses.asdict(trainer.config),
        seed=trainer.config.seed,
        total_timesteps=total_timesteps,
        versions=versions(),
    )
    write_json(folder / "config.json", config)


def read_config(folder: Path) -> RunConfig:
    """Read ``config.json`` of a run folder.

    Raises
    ------
    FileError
        If the file is missing, or does not hold exactly the keys of :class:`RunConfig` with values of their types;
        the message names the file and the key.
    """
    path = folder / "config.json"
    content = read_json(path)
    with _blaming(path):
        _check_kind("the content", content, dict)
        _check_names("it", "key", content, list(get_type_hints(RunConfig)))
        for name, kind in (("algorithm", str), ("game", str), ("constants", dict), ("hyper_parameters", dict)):
            _check_kind(name, content[name], kind)
        if content["module"] is not None:
            _check_kind("module", content["module"], str)
        _check_kind("versions", content["versions"], dict)
        for package, version in content["versions"].items():
            _check_kind(f"versions: {package}", version, str)
        checks.integer("seed", content["seed"], 0, 2**63 - 1)
        checks.integer("total_timesteps", content["total_timesteps"], 1, 2**63 - 1)
    config: RunConfig = content
    return config


def save_results(folder: Path, trainer: AnyTrainer) -> None:
    """Write the learned policy, and the state from which the run can be resumed."""
    if isinstance(trainer, PPOTrainer):
        trainer.save(folder / "checkpoint.zip")
    else:
        policy = trainer.policy
        if isinstance(
            policy, TabularPolicy
        ):  # That of a deep solver may be a network, which the checkpoint holds.
            policy.save(folder / "policy.npz")
        trainer.save(folder / "checkpoint.npz")


def load_trainer(folder: Path, name: str, game: Game, config: Any) -> AnyTrainer:
    """Read the trainer of a run, to continue it with the same game and hyper-parameters.

    Raises
    ------
    ValueError
        If there is no checkpoint, or it was made with another game or other hyper-parameters.
    """
    saved_config = read_config(folder)
    trainer_class = algorithm(name)
    saved_game, saved_parameters = make_game(folder, saved_config), make_hyper_parameters(folder, saved_config)
    for what, saved, given in (("game", saved_game, game), ("hyper-parameters", saved_parameters, config)):
        if saved != given:
            raise ValueError(f"a resumed run keeps its {what}: {_differences(saved, given)}")
    if issubclass(trainer_class, PPOTrainer):
        return trainer_class.load(folder / "checkpoint.zip", game, config)
    trainer = trainer_class.load(folder / "checkpoint.npz")
    for what, saved, given in (("game", trainer.game, game), ("hyper-parameters", trainer.config, config)):
        if saved != given:
            wrong = f"its {what}: {_differences(saved, given)}"
            raise FileError(f"{folder / 'checkpoint.npz'} is of another run: {wrong}")
    return trainer


def _differences(saved: Any, given: Any) -> str:
    """The fields in which two games or hyper-parameters of one class differ, with both values."""
    if type(saved) is not type(given):
        return f"{saved!r}, got {given!r}"
    names = [field.name for field in dataclasses.fields(saved) if field.compare]
    pairs = {name: (getattr(saved, name), getattr(given, name)) for name in names}
    return "; ".join(
        f"{name} = {checks.shown(old)}, got {checks.shown(new)}"
        for name, (old, new) in pairs.items()
        if old != new
    )


def read_run(folder: Path) -> tuple[Game, Any, RunConfig]:
    """Read the game, the learned policy (a table, or a PPO model) and the configuration of a run.

    A policy that was learned on a GPU is read onto a GPU if the machine has one, else onto the CPU.

    Raises
    ------
    ValueError
        If the folder is not a run folder, has no policy yet, or its game is not registered: no module that the
        folder names is imported.
    """
    config = read_config(folder)
    game, hyper_parameters = make_game(folder, config), make_hyper_parameters(folder, config)
    trainer_class = algorithm(config["algorithm"])
    if issubclass(trainer_class, PPOTrainer):
        hyper_parameters = dataclasses.replace(hyper_parameters, device="auto")
        return game, trainer_class.load(folder / "checkpoint.zip", game, hyper_parameters).model, config
    if issubclass(trainer_class, DeepTrainer):
        return game, trainer_class.load(folder / "checkpoint.npz", game).policy, config  # type: ignore[arg-type]
    return game, TabularPolicy.load(folder / "policy.npz"), config


def make_game(folder: Path, config: RunConfig) -> Game:
    """Make the game of a run; FileError if it is not registered, or a constant is missing or not allowed."""
    name, module = config["game"], config["module"]
    with _blaming(folder / "config.json"):
        if name not in registered_games() and module is not None:
            raise ValueError(f"game {name!r} is not registered: import {module}, which registers it")
        allowed = [field.name for field in dataclasses.fields(game_class_of(name)) if field.init]
        _check_names("constants", "constant", config["constants"], allowed)
        return make(name, **config["constants"])


def make_hyper_parameters(folder: Path, config: RunConfig) -> Any:
    """Make the config of a run's algorithm; FileError if it is unknown, or a field is missing or not allowed."""
    with _blaming(folder / "config.json"):
        config_class: type[Any] = algorithm(config["algorithm"]).config_class
        allowed = [field.name for field in dataclasses.fields(config_class)]
        _check_names("hyper_parameters", "hyper-parameter", config["hyper_parameters"], allowed)
        return config_class(**{name: _without_lists(value) for name, value in config["hyper_parameters"].items()})


def _without_lists(value: Any) -> Any:
    """A hyper-parameter with the lists that JSON made of tuples turned back into tuples."""
    return tuple(value) if isinstance(value, list) else value


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn any error about the content of a file into one that names the file."""
    try:
        yield
    except (FileError, ImportError):
        raise
    except Exception as error:
        raise FileError(f"{path}: {error}") from error


def _check_names(where: str, what: str, content: dict[str, Any], allowed: list[str]) -> None:
    """Raise a ValueError unless the keys of ``content`` are those that are allowed, all of them."""
    for name in allowed:
        if name not in content:
            raise ValueError(f"{where} must have the {what} {name!r}")
    for name in content:
        if name not in allowed:
            raise ValueError(f"{where} must have no {what} {name!r}; allowed: {', '.join(allowed)}")


def _check_kind(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {'an object' if kind is dict else 'a string'}, got {value!r:.100}")
