"""Flags and checks shared by the commands that read a run folder."""

import dataclasses
from pathlib import Path
from typing import TypeVar

import tyro

from mfenvs import checks
from mfenvs.registry import registered_games

from ..named_games import import_module
from ..runs import read_config

READS_ONLY_DATA = (
    "Only data are read from the run folder (JSON and arrays): no code in it is executed, and no module that it"
    " names is imported unless --module names it too."
)


@dataclasses.dataclass(kw_only=True)
class SavedRunFlags:
    """How to read a run folder."""

    module: str | None = None
    """Python module that registers the run's game, imported first; by default none. Importing a module runs its
    code."""
    seed: int = 0
    """Random seed of the simulations."""

    def check(self) -> None:
        """Raise a ValueError if a number is not allowed."""
        checks.integer("seed", self.seed, 0, 2**63 - 1)


FlagsType = TypeVar("FlagsType", bound=SavedRunFlags)


def read_command_line(
    command: str, words: list[str], kind: type[FlagsType], description: str
) -> tuple[Path, FlagsType]:
    """The run folder and the checked flags of a command; the run's game is registered.

    Parameters
    ----------
    command:
        Name of the command.
    words:
        The words behind it on the command line.
    kind:
        Class of its flags.
    description:
        What the command does, as its help says.

    Raises
    ------
    ValueError
        If no run folder is named, a number is not allowed, or the game cannot be registered
        (:func:`register_game_of_run`).
    """
    folder, rest = _folder_and_flags(command, words)
    flags = tyro.cli(kind, args=rest, prog=f"mfenvs {command} RUN", description=f"{description} {READS_ONLY_DATA}")
    flags.check()
    register_game_of_run(folder, flags.module)
    return folder, flags


def _folder_and_flags(command: str, words: list[str]) -> tuple[Path, list[str]]:
    """Split the words after a command into the run folder and its flags; ValueError if no folder is named."""
    if words and words[0] in ("-h", "--help"):
        return Path(), ["--help"]
    if not words or words[0].startswith("-"):
        raise ValueError(f"name a run folder: mfenvs {command} RUN [FLAGS]")
    return Path(words[0]), words[1:]


def register_game_of_run(folder: Path, module: str | None) -> None:
    """Import the module that registers a run's game, if the user names it.

    A module named only in the run's ``config.json`` is not imported: the folder may come from a stranger.

    Raises
    ------
    ValueError
        If the game is not registered, ``config.json`` says which module registers it, and the user names none.
    """
    if module is not None:
        import_module(module)
        return
    config = read_config(folder)
    if config["module"] is not None and config["game"] not in registered_games():
        raise ValueError(
            f"the run's game is {config['module']}:{config['game']}; to import a module is to run its code, which"
            f" is done only if you ask for it: add --module {config['module']} if you trust that module"
        )
