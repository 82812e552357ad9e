"""``mfenvs list``: the registered games. It needs no more than the core installation."""

import shutil
import sys
import textwrap

from mfenvs.finite_game import FiniteGame
from mfenvs.game import Game
from mfenvs.populations import PopulationGame
from mfenvs.registry import NAMESPACE, make, registered_games

USAGE = """\
usage: mfenvs list

List the registered games: their ids, numbers of agents N, horizons H, local states and actions.
"""

INDENT = "    "


def run(words: list[str]) -> int:
    """Print a table of the registered games of each family, made from the games, as wide as the terminal."""
    if words in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if words:
        print(f"mfenvs list: error: unknown argument {words[0]!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    for family in dict.fromkeys(kind.family for kind in registered_games().values()):
        rows = {f"{NAMESPACE}/{name}": game_row(make(name)) for name in registered_games(family)}
        if family:
            print(f"\n{family} games\n")
        print(as_table(rows, shutil.get_terminal_size().columns))
    return 0


def game_row(game: Game) -> tuple[str, ...]:
    """Describe a game for a table: N, H, states, actions, title."""
    fields = len(game.state_dtype.names or ())
    states = f"{fields} fields" if fields else "a number"
    if isinstance(game, PopulationGame):
        states = f"{game.n_states} of {game.n_populations} populations"
    elif isinstance(game, FiniteGame):
        states = str(game.n_states)
    space = game.action_space
    actions = str(getattr(space, "n", f"Box{space.shape}".replace(",)", ")")))
    return str(game.n_agents), str(game.horizon), states, actions, _title(type(game))


def as_table(rows: dict[str, tuple[str, ...]], width: int) -> str:
    """Lay out the :func:`game_row` of each id in lines of at most ``width`` characters, titles below."""
    head = ("id", "N", "H", "states", "actions")
    cells = [head, *((name, *row[:-1]) for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    titles = ["", *(row[-1] for row in rows.values())]
    lines: list[str] = []
    for row, title in zip(cells, titles, strict=True):
        figures = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        lines += textwrap.wrap(figures, width, subsequent_indent=INDENT, break_on_hyphens=False)
        lines += textwrap.wrap(title, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)


def _title(game_class: type[Game]) -> str:
    """The first line of the class's docstring; empty if there is only the docstring that dataclasses generate."""
    first = (game_class.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return "" if first.startswith(f"{game_class.__name__}(") else first
