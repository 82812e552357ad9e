"""Games by name: ``Taxi-v0``, or ``module:BeachBar-v0`` for a game that a module of the user registers."""

import importlib
import sys
import sysconfig
import traceback
from pathlib import Path

import mfenvs
from mfenvs.game import Game
from mfenvs.registry import NAMESPACE, game_class_of


def game_class_and_module(word: str) -> tuple[type[Game], str | None]:
    """The class of a game, and the module that had to be imported for it, if any.

    Parameters
    ----------
    word:
        ``GAME`` or ``MODULE:GAME``, with or without ``mfenvs/`` before the game's name.

    Raises
    ------
    ValueError
        If there is no such module, or the game is not registered.
    """
    module, colon, name = word.rpartition(":")
    if not colon:
        return game_class_of(name), None
    import_module(module)
    return game_class_of(name), module


def plain_name(word: str) -> str:
    """The name under which a game is registered: the word without its module and ``mfenvs/``."""
    return word.rpartition(":")[2].removeprefix(f"{NAMESPACE}/")


def import_module(name: str) -> None:
    """Import the module that registers a game; as with ``python -m``, the working directory is searched first.

    Raises
    ------
    ValueError
        If ``name`` is not the name of a module, or there is no such module.
    ImportError
        If the module's own code raises an error; the message says what and where.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"a module is named as Python imports it (package.module, without .py), got {name!r}")
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.insert(0, here)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # The module is there; something that it imports is not.
        raise ValueError(f"no module {name!r} in {here} or among the installed packages") from None
    except Exception as error:
        raise ImportError(f"the module {name} cannot be imported: {_with_place(error)}") from error


def _with_place(error: Exception) -> str:
    """What an error says, its kind, and the line of the user's code that raised it (a SyntaxError tells that)."""
    said = f"{type(error).__name__}: {error}"
    libraries = [Path(folder) for folder in sysconfig.get_paths().values()]
    libraries += [Path(__file__).parent, Path(mfenvs.__file__).parent]
    places = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in libraries)
        and not frame.filename.startswith("<")
    ]
    if not places or isinstance(error, SyntaxError):
        return said
    return f"{said} ({places[-1].filename}, line {places[-1].lineno})"
