"""Pages of the classic games, as Markdown: what the docstrings of a class say, and what was computed."""

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

from benchmarks.markdown import markdown_table
from mfenvs import FiniteGame

LONGEST_DEFAULT = 60
"""Longest default value that is shown, in characters."""
INDEX = """\
# Classic mean-field games

A page for each game of MFGLib, OpenSpiel, Bench-MFG and gmfg-learning that is registered here, and for two with
common noise. `python -m benchmarks reproduce classic-games` writes these pages: definitions and constants are
those of the classes' docstrings, equilibria are what `mfenvs.solve` finds (CPU seconds on one thread, after a
first call that compiles).

S and A are the numbers of states and actions, H that of steps, "-" where a game is discounted and goes on for
ever. Exploitability is what a single agent gains by its best response, the largest among the populations if there
are several.
"""
UNIFORM = "exploitability of the uniform policy"
INDEX_HEAD = ("game", "what", "S", "A", "H", UNIFORM, "of the solution", "CPU s", "method")
USAGE = """\
```python
import mfenvs

game = mfenvs.make("NAME", n_agents=1000)
engine = mfenvs.Engine(game, n_worlds=16)  # the N-player game
solution = mfenvs.solve("NAME")  # the mean-field game
```"""
TAGS = (
    "Tags say where a definition comes from: [S] the source states it; [R] the source is ambiguous or misprinted,"
    " and this was resolved here; [O] it is ours."
)


def slug(name: str) -> str:
    """The name of a game's files: ``beach-bar`` for ``BeachBar-v0``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "-", name.partition("-v")[0]).lower()


def heading(name: str, summary: str) -> tuple[str, str]:
    """The title of a game's page, and what the game is, by the summary line of its class."""
    title, colon, what = summary.removesuffix(".").partition(": ")
    return (title, what) if colon else (slug(name).replace("-", " ").capitalize(), title)


def index_page(rows: dict[str, dict[str, Any]]) -> str:
    """The table of all games, each with a link to its page."""
    games = []
    for name, row in rows.items():
        several = f" ({row['n_populations']} populations)" if row["n_populations"] > 1 else ""
        title, what = heading(name, row["summary"])
        cells = [
            f"[{title}]({slug(name)}.md)",
            what,
            f"{row['n_states']}{several}",
            row["n_actions"],
            row["horizon"] or "-",
            f"{max(row['uniform_exploitabilities']):.6g}",
            f"{row['exploitability']:.1e}" + ("" if row["is_solved"] else ", not solved"),
            f"{row['cpu_seconds']:.2g}",
            row["method"],
        ]
        games.append(cells)
    return f"{INDEX}\n{markdown_table(INDEX_HEAD, games)}\n"


def game_page(name: str, game: FiniteGame, row: dict[str, Any]) -> str:
    """The page of one game.

    Parameters
    ----------
    name:
        Its registered name.
    game:
        The game with its default constants.
    row:
        What was computed, as in ``results.json``.
    """
    title, _, text = inspect.cleandoc(type(game).__doc__ or "").partition("\n")
    what = markdown(heading(name, title)[1])
    populations = f", {game.n_populations} populations" if game.n_populations > 1 else ""
    steps = f"discounted by {game.discount:g} a step, for ever" if game.is_infinite else f"{game.horizon} steps"
    return (
        "\n\n".join(
            [
                f"# {heading(name, title)[0]}",
                f"{what[:1].upper()}{what[1:]}.",
                f"![The equilibrium: where agents are, and what they do]({slug(name)}.png)",
                "## Usage",
                USAGE.replace("NAME", name),
                "## Definition",
                markdown(text.strip()).replace("; tags as in `mfenvs.games`", ""),
                TAGS,
                "## Size",
                f"{game.n_states} states{populations}, {game.n_actions} actions, {steps}.",
                "## Constants",
                constants_table(game),
                "## Equilibrium",
                _equilibrium(row),
                f"Class `{type(game).__module__}.{type(game).__name__}`. [All games](README.md)",
            ]
        )
        + "\n"
    )


def _equilibrium(row: dict[str, Any]) -> str:
    def listed(values: list[float], form: str) -> str:
        return ", ".join(format(value, form) for value in values)

    end = "" if row["is_solved"] else f", where it stopped ({row['stopped']}): 1e-6 was not reached"
    of_each = " (of each population)" if row["n_populations"] > 1 else ""
    return (
        f"Exploitability of the uniform policy{of_each}: {listed(row['uniform_exploitabilities'], '.6f')}.\n"
        f"`mfenvs.solve` reached {listed(row['exploitabilities'], '.1e')} in {row['cpu_seconds']:.2g} CPU seconds"
        f" on one thread (method: {row['method']}, {row['iterations']} iterations){end}."
    )


def constants_table(game: FiniteGame) -> str:
    """The fields of a game as a table: name, default value, meaning."""
    meanings = field_meanings(type(game))
    constants = []
    for field in dataclasses.fields(game):
        if not field.init or field.name not in meanings:
            continue
        shown = repr(getattr(game, field.name))
        default = f"`{shown}`" if len(shown) <= LONGEST_DEFAULT else "see the class"
        constants.append((f"`{field.name}`", default, markdown(" ".join(meanings[field.name].split()))))
    return markdown_table(("constant", "default", "meaning"), constants)


def field_meanings(cls: type) -> dict[str, str]:
    """The docstring under each field of a class and of those from which it inherits."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                text = after.value.value if isinstance(after.value, ast.Constant) else None
                if isinstance(field.target, ast.Name) and isinstance(text, str):
                    found[field.target.id] = text
    return found


def markdown(text: str) -> str:
    """A docstring's reStructuredText as Markdown: code, and references by their last name."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{_last(found)}`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _last(found: re.Match[str]) -> str:
    name = found[1]
    return name.rpartition(".")[2] if found[0].startswith((":class:", ":func:", ":meth:", ":attr:")) else name
