"""``mfenvs check``: all conformance tests of a game, printed."""

import dataclasses
import sys
from typing import Annotated, Any

import tyro

from mfenvs.conformance.check import check

from ..named_games import game_class_and_module

USAGE = """\
usage: mfenvs check GAME [FLAGS]
GAME: a registered game, or MODULE:GAME for one that a module of yours registers
flags: mfenvs check GAME --help"""


@dataclasses.dataclass(kw_only=True)
class CheckFlags:
    """How the game is tested."""

    max_agents: int = 10
    """Largest number of agents; a game with more is made smaller."""
    max_horizon: int = 20
    """Largest number of steps of an episode; a game with more is made shorter."""
    observe: tuple[str, ...] = ()
    """Observation blocks that agents see beside their own observation."""


def run(words: list[str]) -> int:
    """Print what passed, what failed and why; return 0 if nothing failed, and 1 if something did."""
    asks_for_help = bool({"--help", "-h"} & set(words))
    if not words or words[0].startswith("-"):
        print(USAGE, file=sys.stdout if asks_for_help else sys.stderr)
        return 0 if asks_for_help else 2
    game_class, _ = game_class_and_module(words[0])
    flags: Any = tyro.cli(
        dataclasses.make_dataclass(
            "Check",
            [
                (
                    "how",
                    Annotated[CheckFlags, tyro.conf.arg(name="")],
                    dataclasses.field(default_factory=CheckFlags),
                ),
                ("game", game_class, dataclasses.field(default_factory=game_class)),
            ],
        ),
        args=words[1:],
        prog=f"mfenvs check {words[0]}",
        description=f"Conformance tests of {words[0]}. Constants of the game are --game.* flags.",
    )
    report = check(flags.game, **vars(flags.how))
    return 1 if report.failed else 0
