"""Classic mean-field games: a page for each, with its definition, its constants and an equilibrium.

The games of MFGLib, OpenSpiel, Bench-MFG and gmfg-learning, and two with common noise. Definitions and constants
are those of the classes' docstrings; equilibria are found by :func:`mfenvs.solve`, on one thread each, after a
first call that compiles.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any, cast

import tyro

from baselines.versions import versions
from benchmarks.reproduce.classic_games_figure import draw
from benchmarks.reproduce.classic_games_page import game_page, heading, index_page, slug
from benchmarks.reproduce.tasks import Tasks, run_all
from mfenvs import FiniteGame, InducedGame, checks, make, registered_games, solve
from mfenvs.files import read_json, replacing, write_json

RESULTS = Path("runs") / "classic-games"
FAMILIES = "classic", "common-noise"
COMPILATION = 20.0
"""Time limit of the first call, which compiles, in seconds of CPU time."""


@dataclasses.dataclass
class Flags:
    """Classic mean-field games: a page for each, with its definition, its constants and an equilibrium."""

    games: tuple[str, ...] = ()
    """Registered names of the games; by default all classic ones, and those with common noise. Pages of others
    that are in the folder stay."""
    seconds: float = 60.0
    """Time limit of ``mfenvs.solve`` for each game, in seconds of CPU time."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where pages, figures and JSON go; committed are those in benchmarks/results/classic-games."""


def main(words: list[str]) -> int:
    """Write the pages; 130 if interrupted, when those of the games that were solved were written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce classic-games")
    checks.real("seconds", flags.seconds, 0.0, exclude_low=True)
    known = [name for family in FAMILIES for name in registered_games(family)]
    for name in flags.games:
        if name not in known:
            raise ValueError(f"games must be among {', '.join(known)}, got {name!r}")
    names = [name for name in known if name in flags.games] or known
    flags.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    tasks: Tasks = {(name,): functools.partial(solved, name, flags.seconds, flags.out) for name in names}
    found, interrupted = run_all(tasks, flags.jobs, "classic games")
    path = flags.out / "results.json"
    before = read_json(path)["games"] if path.exists() else {}
    rows = {
        name: found[name,] if (name,) in found else before[name]
        for name in known
        if (name,) in found or name in before
    }
    content = {
        "complete": len(rows) == len(known),
        "seconds_limit": flags.seconds,
        "seed": 0,
        "games": rows,
        "versions": versions(),
    }
    write_json(path, content)
    if content["complete"]:
        with replacing(flags.out / "README.md") as file:
            file.write(index_page(rows).encode())
    seconds = time.perf_counter() - began
    print(f"{'interrupted, ' if interrupted else ''}{seconds:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def solved(name: str, seconds: float, out: Path) -> dict[str, Any]:
    """Solve a game and write its figure and its page; what is written of it as JSON."""
    game = cast(FiniteGame, make(name))
    solve(game, seconds=COMPILATION, clock=time.process_time)
    found = solve(game, seconds=seconds, clock=time.process_time)
    induced = InducedGame(game)
    uniform = induced.exploitabilities(induced.uniform_policy())
    row: dict[str, Any] = {
        "summary": (type(game).__doc__ or "").partition("\n")[0],
        "n_states": game.n_states,
        "n_actions": game.n_actions,
        "horizon": None if game.is_infinite else game.horizon,
        "n_populations": game.n_populations,
        "uniform_exploitabilities": uniform.tolist(),
        "exploitabilities": found.exploitabilities.tolist(),
        "exploitability": found.exploitability,
        "is_solved": found.is_solved,
        "stopped": found.stopped.value,
        "method": found.method,
        "iterations": found.iterations,
        "cpu_seconds": found.seconds,
    }
    with replacing(out / f"{slug(name)}.png") as file:
        draw(game, found, heading(name, row["summary"])[0]).savefig(file, format="png")
    with replacing(out / f"{slug(name)}.md") as file:
        file.write(game_page(name, game, row).encode())
    return row
