"""A cell of a sweep: one training and what is measured after it, as plain data that can be sent to a process."""

import dataclasses
import hashlib
import json
from typing import Any, Literal

from mfenvs.files import plain
from mfenvs.game import Game

from ..config import TrainerConfig

FORMAT = 1
"""Version of what cells and results hold; results of another version are not read."""

FINGERPRINT_DIGITS = 12
"""Number of hexadecimal digits of the fingerprint that stand in the name of a cell's folder."""

Unit = Literal["iterations", "timesteps", "seconds"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Length:
    """Length of a training."""

    unit: Unit
    amount: float
    """Number of iterations, of agent-steps (rounded up to whole iterations), or of seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of an algorithm on a game with one seed, and what is measured after it."""

    game: str
    """The game's registered name."""
    module: str | None
    """The module that registers the game; None for a game of mfenvs."""
    constants: dict[str, Any]
    """Constants of the game that the sweep sets; the others are the game's defaults."""
    algorithm: str
    """Name of the algorithm on the command line."""
    hyper_parameters: dict[str, Any]
    """Hyper-parameters that the sweep sets, without the seed; the others are the algorithm's defaults."""
    seed: int
    """Random seed of the training."""
    length: Length
    """Length of the training."""
    measurement: dict[str, Any]
    """Fields of :class:`baselines.policy_measures.MeasurementSettings`."""
    game_label: str
    """The game and its constants in tables."""
    algorithm_label: str
    """The algorithm and its hyper-parameters in tables."""
    game_fingerprint: str
    """Fingerprint of the game with all its constants, and of how policies are measured."""
    fingerprint: str
    """Fingerprint of everything that the result depends on, apart from versions of packages."""

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return f"{self.algorithm}-{self.game}-seed{self.seed}-{self.fingerprint[:FINGERPRINT_DIGITS]}"

    def __str__(self) -> str:
        return f"{self.algorithm_label} on {self.game_label}, seed {self.seed}"


def fingerprints(
    game: Game,
    module: str | None,
    algorithm: str,
    config: TrainerConfig,
    length: Length,
    measurement: dict[str, Any],
    *,
    name: str,
) -> tuple[str, str]:
    """The fingerprint of a game and its measurement, and that of the whole cell.

    They are made of *all* constants and hyper-parameters, not only of those that a sweep sets, so that a changed
    default makes another cell.
    """
    measured = {"format": FORMAT, "game": name, "module": module, "measurement": measurement}
    measured["constants"] = game.describe()
    trained = {"algorithm": algorithm, "hyper_parameters": dataclasses.asdict(config)}
    return _digest(measured), _digest({**measured, **trained, "length": dataclasses.asdict(length)})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=plain).encode()).hexdigest()
