"""One library on one game, in a process of its own.

``python -m benchmarks.peers.child SOLVER [GAME SECONDS FILE]``: without a game it says whether the library is
installed. The runs are appended to the file as lines of JSON, so that nothing is lost when the process ends.
"""

import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from benchmarks.peers import bench_mfg, mfglib, open_spiel, ours
from benchmarks.peers.runs import FAILED, Run, compete, seconds_to

PEERS: dict[str, ModuleType] = {"MFGLib": mfglib, "OpenSpiel": open_spiel, "Bench-MFG": bench_mfg}
"""The module of each library."""
DISTRIBUTIONS = {
    "MFGLib": ("mfglib", "torch"),
    "OpenSpiel": ("open_spiel",),
    "Bench-MFG": ("bench-mfg-suite", "jax"),
}
"""Distributions whose versions are recorded."""


def main(words: list[str]) -> int:
    """Write the runs of a library on a game to a file, or print what is installed."""
    solver = words[0]
    if len(words) == 1:
        print(json.dumps(installed(solver)))
        return 0
    game, seconds, path = words[1], float(words[2]), Path(words[3])
    with path.open("a") as file:
        try:
            for run in runs(solver, game, seconds):
                file.write(json.dumps(dataclasses.asdict(run)) + "\n")
                file.flush()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            nothing = Run(game, solver, "all that is missing", FAILED, seconds_to([]), None, 0.0, 0, [], said)
            file.write(json.dumps(dataclasses.asdict(nothing)) + "\n")
    return 0


def runs(solver: str, game: str, seconds: float) -> Iterator[Run]:
    """The runs of a library's algorithms on a game, and that of ``mfenvs.solve`` on the same game."""
    contest = PEERS[solver].contest(game)
    yield ours.run(game, contest.game, seconds)
    yield from compete(game, solver, contest, seconds)


def installed(solver: str) -> dict[str, str]:
    """Versions of a library's distributions; empty if it is not installed."""
    if importlib.util.find_spec(PEERS[solver].PACKAGE) is None:
        return {}
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS[solver]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
