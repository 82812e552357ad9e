"""The registry of games: their names and versions, and making a game from its name."""

import dataclasses
from typing import Any

import gymnasium
import pettingzoo

from mfenvs import checks
from mfenvs.game import Game

NAMESPACE = "mfenvs"

_GAMES: dict[str, type[Game]] = {}


def register(name: str, game_class: type[Game]) -> None:
    """Register a game under ``mfenvs/<name>``: here, with gymnasium, and with PettingZoo from 1.27 on.

    Parameters
    ----------
    name:
        ``<Name>-v<version>``, as in ``"Epidemic-v0"``. A change of a game that alters results gets a new
        version.
    game_class:
        A dataclass derived from :class:`mfenvs.Game`, all of whose fields have defaults.

    Raises
    ------
    TypeError
        If ``game_class`` is not a dataclass derived from :class:`mfenvs.Game`, or ``name`` is not a text.
    ValueError
        If the name is not of this form, or is taken by another game.
    """
    if not (isinstance(game_class, type) and issubclass(game_class, Game)):
        raise TypeError(f"game_class must be a subclass of mfenvs.Game, got {checks.shown(game_class)}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a text of the form 'Name-v0', got {checks.shown(name)}")
    stem, _, version = name.rpartition("-v")
    if not stem.isidentifier() or not version.isdigit():
        raise ValueError(f"name must be of the form 'Name-v0', got {checks.shown(name)}")
    if "__dataclass_fields__" not in vars(game_class):
        raise TypeError(f"put @dataclasses.dataclass(kw_only=True) on {game_class.__name__}")
    if name in _GAMES:
        if _full_name(_GAMES[name]) != _full_name(game_class):
            raise ValueError(f"name {name!r} is already the game {_GAMES[name].__name__}: choose another")
        _GAMES[name] = game_class  # The same class, defined again, as by running a notebook's cell twice.
        return
    _GAMES[name] = game_class
    gymnasium.register(
        f"{NAMESPACE}/{name}",
        entry_point="mfenvs.api.gymnasium:RepresentativeAgentEnv",
        vector_entry_point="mfenvs.api.gymnasium:PopulationVectorEnv",
        disable_env_checker=True,
        order_enforce=False,
        kwargs={"game": name},
    )
    if hasattr(pettingzoo, "register"):  # its registry came with version 1.27
        for kind, function in (("aec", "env"), ("parallel", "parallel_env")):
            pettingzoo.register(
                kind,
                f"{NAMESPACE}/{name}",
                f"mfenvs.api.pettingzoo:{function}",
                kwargs={"game": name},
            )


def registered_games(family: str | None = None) -> dict[str, type[Game]]:
    """Registered games by name, in the order of registration.

    Parameters
    ----------
    family:
        If given, only games of this family, such as ``"classic"``; ``""`` are the games that belong to none.

    Raises
    ------
    ValueError
        If no game is of this family.
    """
    families = sorted({kind.family for kind in _GAMES.values()})
    if family is not None and family not in families:
        raise ValueError(f"family must be one of {', '.join(map(repr, families))}, got {checks.shown(family)}")
    return {name: kind for name, kind in _GAMES.items() if family is None or kind.family == family}


def make(name: str | Game, **constants: Any) -> Game:
    """Make a game from its registered name and constants.

    Parameters
    ----------
    name:
        A registered name, with or without ``mfenvs/`` before it; a game is returned as it is.
    constants:
        Fields of the game's dataclass to set, such as ``n_agents=100``.

    Raises
    ------
    ValueError
        If the name is unknown, or constants are given together with a game.
    TypeError
        If the game has no such constant, or ``name`` is neither a name nor a game.
    """
    if isinstance(name, Game):
        if constants:
            raise ValueError(
                f"constants {sorted(constants)} cannot be set on a game that is already made (and no option has"
                " this name)"
            )
        return name
    if not isinstance(name, str):
        raise TypeError(f"a game must be a registered name or a Game, got {checks.shown(name)}")
    game_class = game_class_of(name)
    allowed = [field.name for field in dataclasses.fields(game_class) if field.init]
    for constant in constants:
        if constant not in allowed:
            raise TypeError(
                # The words of Python's own error: libraries that try out keyword arguments look for them.
                f"{name} got an unexpected keyword argument {constant!r}: it has no constant"
                f" {constant!r}{checks.suggestion(constant, allowed)}; allowed: {', '.join(allowed)}"
            )
    return game_class(**constants)


def game_class_of(name: str) -> type[Game]:
    """The class of a registered game; ValueError if the name is unknown."""
    short = name.removeprefix(f"{NAMESPACE}/")
    if short not in _GAMES:
        raise ValueError(
            f"unknown game {checks.shown(name)}{checks.suggestion(short, _GAMES)}; registered: {', '.join(_GAMES)}"
        )
    return _GAMES[short]


def name_of(game: Game) -> str | None:
    """The name under which a game's class is registered, or None."""
    declared = game.declared_class()
    return next((name for name, game_class in _GAMES.items() if game_class is declared), None)


def _full_name(game_class: type[Game]) -> tuple[str, str]:
    return game_class.__module__, game_class.__qualname__
