"""The specification of a sweep, read from a TOML file and checked key by key."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

from mfenvs import checks
from mfenvs.game import Game
from mfenvs.registry import make

from ..config import TrainerConfig
from ..named_games import game_class_and_module, plain_name
from ..policy_measures import MeasurementSettings
from ..runs import ALGORITHMS, algorithm
from ..trainer import MOST_ITERATIONS, Trainer
from .cells import Cell, Length, Unit, fingerprints
from .summary import SummarySettings
from .toml_document import Document, SpecificationError, Table

UNITS: tuple[Unit, ...] = get_args(Unit)

MOST_CELLS = 100_000
"""Largest number of cells of a sweep."""

MOST_SECONDS = 1e7
"""Longest training in seconds: four months."""


@dataclasses.dataclass(frozen=True)
class Specification:
    """What a TOML file describes: the cells of a sweep, and how their results are summarised."""

    path: Path
    """Path of the file."""
    text: str
    """Content of the file."""
    cells: list[Cell]
    """The cells: all combinations with the first seed, then all with the second, and so on."""
    summary: SummarySettings
    """How results are summarised."""


@dataclasses.dataclass(frozen=True)
class _Game:
    """A game with one choice of its constants."""

    label: str
    name: str
    module: str | None
    constants: dict[str, Any]
    made: Game
    group: str
    """Label of the entry that it comes from."""


@dataclasses.dataclass(frozen=True)
class _Learner:
    """An algorithm with one choice of its hyper-parameters."""

    label: str
    name: str
    hyper_parameters: dict[str, Any]
    length: Length
    groups: tuple[str, ...]
    """Labels of the games' entries that it is trained on."""
    entry: Table


def read_specification(path: str | Path) -> Specification:
    """Read the specification of a sweep.

    Parameters
    ----------
    path:
        Path of a TOML file::

            seeds = 5                # 0 to 4; or a list of seeds
            iterations = 200         # length of each training; or timesteps = ..., or seconds = ...

            [[games]]                # one table a game
            game = "Epidemic-v0"     # or "MODULE:GAME"
            label = "epidemic"       # in tables; by default the name
            constants = { horizon = 10 }
            grid = { n_agents = [100, 1000] }

            [[algorithms]]           # one table an algorithm
            algorithm = "omd"
            label = "OMD"
            hyper_parameters = { temperature = 0.01 }
            grid = { learning_rate = [0.1, 0.5] }
            iterations = 500         # replaces the length above
            games = ["epidemic"]     # labels of the games that it learns; by default all

            [measures]               # fields of MeasurementSettings
            [summary]                # fields of SummarySettings

        ``constants``, ``hyper_parameters``, ``grid``, labels and the last two tables may be missing. A grid holds
        a list of values for each name; all combinations are trained. A module that is named is imported, which
        runs its code.

    Raises
    ------
    SpecificationError
        If the file cannot be read, a key is unknown, missing or has a value that is not allowed, or a cell would
        be run twice. The message names the file, the line and the key.
    """
    document = Document(path)
    root = document.table()
    root.check_names(("seeds", *UNITS, "games", "algorithms", "measures", "summary"))
    seeds = _seeds(root)
    length = _length(root)
    games = _games(root)
    learners = _learners(root, length, sorted({game.group for game in games}))
    measurement = _settings(root.table("measures"), MeasurementSettings())
    summary = _settings(root.table("summary"), SummarySettings())
    n_cells = len(seeds) * sum(game.group in learner.groups for game in games for learner in learners)
    if n_cells > MOST_CELLS:
        document.refuse((), f"must describe at most {MOST_CELLS} cells, got {n_cells}")
    _check_that_games_can_be_learned(games, learners)
    cells: list[Cell] = []
    for seed, game, learner in itertools.product(seeds, games, learners):
        if game.group in learner.groups:
            cells.append(_cell(seed, game, learner, dataclasses.asdict(measurement)))
    _check_that_cells_differ(document, cells)
    return Specification(document.path, document.text, cells, summary)


def _seeds(root: Table) -> list[int]:
    found = root.content.get("seeds")
    if found is None:
        root.document.refuse((), "must have the key 'seeds'")
    try:
        if isinstance(found, list):
            seeds = [checks.integer(f"seed {place}", seed, 0, 2**63 - 1) for place, seed in enumerate(found, 1)]
        else:
            seeds = list(range(checks.integer("it", found, 1, MOST_CELLS)))
    except (TypeError, ValueError) as error:
        root.refuse("seeds", f"must be a number of seeds, or a list of them: {error}")
    if not seeds or len(set(seeds)) < len(seeds):
        root.refuse("seeds", f"must hold at least one seed, and none twice, got {found}")
    return seeds


def _length(table: Table) -> Length | None:
    """The length of the trainings that a table gives, if any; an error if it gives two."""
    given = {unit: amount for unit, amount in table.content.items() if unit in UNITS}
    if len(given) > 1:
        first, second, *_ = given
        table.refuse(second, f"and {first} are both given: a training has one length")
    for unit, amount in given.items():
        try:
            if unit == "seconds":
                return Length(
                    unit="seconds", amount=checks.real("it", amount, 0.0, MOST_SECONDS, exclude_low=True)
                )
            return Length(unit=cast(Unit, unit), amount=checks.integer("it", amount, 1, MOST_ITERATIONS))
        except (TypeError, ValueError) as error:
            table.refuse(unit, str(error).removeprefix("it "))
    return None


def _games(root: Table) -> list[_Game]:
    found: list[_Game] = []
    for entry in root.tables("games"):
        entry.check_names(("game", "label", "constants", "grid"))
        word = entry.text("game")
        try:
            game_class, module = game_class_and_module(word)
        except Exception as error:  # Importing a user's module may raise anything.
            entry.refuse("game", f"cannot be used: {error}")
        name = plain_name(word)
        label = _new_label(entry, name, [game.group for game in found])
        allowed = [field.name for field in dataclasses.fields(game_class) if field.init]
        for constants, variant in _combinations(entry, "constants", allowed, "constant"):
            with _Blaming(entry, "constants"):
                made = make(name, **constants)
            found.append(_Game(f"{label}{variant}", name, module, constants, made, label))
    return found


def _learners(root: Table, length: Length | None, groups: list[str]) -> list[_Learner]:
    found: list[_Learner] = []
    labels: list[str] = []
    for entry in root.tables("algorithms"):
        entry.check_names(("algorithm", "label", "hyper_parameters", "grid", "games", *UNITS))
        name = entry.text("algorithm")
        if name not in ALGORITHMS:
            entry.refuse("algorithm", f"is an unknown one, {name!r}; known: {', '.join(ALGORITHMS)}")
        label = _new_label(entry, name, labels)
        labels.append(label)
        own_length = _length(entry) or length
        if own_length is None:
            root.document.refuse((), f"must have one of the keys {', '.join(UNITS)}")
        chosen = _chosen_groups(entry, groups)
        allowed = [field.name for field in dataclasses.fields(algorithm(name).config_class)]
        for values, variant in _combinations(entry, "hyper_parameters", allowed, "hyper-parameter"):
            with _Blaming(entry, "hyper_parameters"):
                make_config(name, values, 0)
            found.append(_Learner(f"{label}{variant}", name, values, own_length, chosen, entry))
    return found


def make_config(name: str, hyper_parameters: dict[str, Any], seed: int) -> TrainerConfig:
    """The config of an algorithm with these hyper-parameters, of which lists become tuples, and this seed."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in hyper_parameters.items()}
    config_class: type[Any] = algorithm(name).config_class
    config: TrainerConfig = config_class(**values, seed=seed)
    return config


def _new_label(entry: Table, default: str, labels: list[str]) -> str:
    label = entry.text("label", default)
    if label in labels:
        key = "label" if "label" in entry.content else next(iter(entry.content))
        entry.refuse(key, f'begins a second entry that is labelled {label!r}: give it another label = "..."')
    return label


def _chosen_groups(entry: Table, groups: list[str]) -> tuple[str, ...]:
    chosen = entry.content.get("games", groups)
    if not isinstance(chosen, list) or not chosen or any(label not in groups for label in chosen):
        entry.refuse(
            "games", f"must be a list of labels among {', '.join(map(repr, groups))}, got {chosen!r:.100}"
        )
    return tuple(chosen)


def _combinations(
    entry: Table, fixed_name: str, allowed: list[str], what: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """All choices of values that an entry describes, each with the words that tell it from the others."""
    fixed, grid = entry.table(fixed_name), entry.table("grid")
    for table in (fixed, grid):
        for name, value in table.content.items():
            if name == "seed" and fixed_name == "hyper_parameters":
                table.refuse(name, "must not be here: the sweep sets it (seeds, at the top of the file)")
            _check_is_plain(table, name, value)
        table.check_names(allowed, what)
    for name, values in grid.content.items():
        if name in fixed.content:
            grid.refuse(name, f"is set in {fixed_name} too: it has one value or a list of them, not both")
        if not isinstance(values, list) or not values:
            grid.refuse(name, f"must be a list of the values to try, got {values!r:.100}")
        if len(set(map(repr, values))) < len(values):
            grid.refuse(name, f"must hold no value twice, got {values!r:.100}")
    for choice in itertools.product(*grid.content.values()):
        chosen = dict(zip(grid.content, choice, strict=True))
        words = "".join(f" {name}={_shown_value(value)}" for name, value in chosen.items())
        yield {**fixed.content, **chosen}, words


def _shown_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_is_plain(table: Table, name: str, value: Any) -> None:
    """Refuse dates, and other values that neither games nor algorithms take."""
    if isinstance(value, list):
        for entry in value:
            _check_is_plain(table, name, entry)
    elif isinstance(value, dict):
        for entry in value.values():
            _check_is_plain(table, name, entry)
    elif not isinstance(value, bool | int | float | str):
        table.refuse(name, f"must be a number, a text, a truth value or a list of them, got {value!r:.100}")


class _Blaming:
    """A context that turns an error of a game or an algorithm into one that names the key and its line."""

    def __init__(self, entry: Table, fixed_name: str) -> None:
        self._entry, self._fixed_name = entry, fixed_name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, Exception):
            return
        document = self._entry.document
        for table in (self._fixed_name, "grid"):
            for name in self._entry.content.get(table, {}):
                # The checks of games and algorithms begin with the name of the field.
                if re.match(rf"{re.escape(name)}\b", str(error)):
                    said = str(error)[len(name) :].strip()
                    document.refuse((*self._entry.key, table, name), said)
        document.refuse(self._entry.key, f"is not allowed: {error}")


def _settings(table: Table, settings: Any) -> Any:
    """Settings with the values of a table; an error that names the key if one is unknown or not allowed."""
    table.check_names([field.name for field in dataclasses.fields(settings)])
    for name, value in table.content.items():
        try:
            settings = dataclasses.replace(settings, **{name: value})
            settings.check()
        except (TypeError, ValueError) as error:
            table.refuse(name, str(error).removeprefix(f"{name} "))
    return settings


def _check_that_games_can_be_learned(games: list[_Game], learners: list[_Learner]) -> None:
    for game, learner in itertools.product(games, learners):
        trainer_class = algorithm(learner.name)
        if game.group not in learner.groups or not issubclass(trainer_class, Trainer):
            continue
        try:
            trainer_class._check_game(game.made)
        except (TypeError, ValueError) as error:
            learner.entry.refuse(
                "algorithm", f"cannot learn {game.label}: {error}. Name the games that it is for: games = [...]"
            )


def _cell(seed: int, game: _Game, learner: _Learner, measurement: dict[str, Any]) -> Cell:
    config = make_config(learner.name, learner.hyper_parameters, seed)
    of_game, of_all = fingerprints(
        game.made, game.module, learner.name, config, learner.length, measurement, name=game.name
    )
    return Cell(
        game=game.name,
        module=game.module,
        constants=game.constants,
        algorithm=learner.name,
        hyper_parameters=learner.hyper_parameters,
        seed=seed,
        length=learner.length,
        measurement=measurement,
        game_label=game.label,
        algorithm_label=learner.label,
        game_fingerprint=of_game,
        fingerprint=of_all,
    )


def _check_that_cells_differ(document: Document, cells: list[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.fingerprint in seen:
            before = seen[cell.fingerprint]
            raise SpecificationError(f"{document.path}: {cell} is the same training as {before}: remove one")
        seen[cell.fingerprint] = cell
