"""``python -m benchmarks peers``: solvers of other libraries beside ours; a table, a figure and JSON."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import tyro

from benchmarks.peers.child import PEERS
from benchmarks.peers.figure import draw
from benchmarks.peers.report import markdown, results
from benchmarks.peers.runs import FAILED, Run, seconds_to
from mfenvs.files import read_json, write_json

ONE_THREAD = {
    **dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
"""Environment variables of the processes that are measured."""
PATIENCE = 40.0, 300.0
"""A process may last so many times the limit of a run, and so many seconds besides: measuring is not limited."""


@dataclasses.dataclass
class Flags:
    """Time to an exploitability of mfenvs.solve, MFGLib, OpenSpiel and Bench-MFG on the games that both have.

    Every library solves its own copy of a game with each of its algorithms; all policies are measured by the
    exploitability of mfenvs, whose time is not counted. Libraries that are not installed are named and left out.
    """

    peers: tuple[str, ...] = tuple(PEERS)
    """Libraries to compare with: MFGLib, OpenSpiel, Bench-MFG."""
    games: tuple[str, ...] = ()
    """Registered names of games, by default all that a library has."""
    seconds: float = 10.0
    """Limit of the CPU time of an algorithm on a game."""
    python: tuple[str, ...] = ()
    """Interpreters of libraries that have an environment of their own, as PEER=PATH; mfenvs must be importable
    there. By default the interpreter that runs the command."""
    jobs: int = 1
    """Number of processes at a time; each is single-threaded and its CPU time is measured."""
    out: Path = Path("runs") / "peers"
    """Folder for results.json, README.md and peers.png."""
    resume: bool = False
    """Go on where an interrupted comparison stopped: games that results.json holds are not measured again."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A library on a game."""

    peer: str
    game: str
    python: str
    seconds: float


def main(words: list[str]) -> int:
    """Measure and write; return the exit status: 130 if interrupted, with what was complete kept."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks peers")
    try:
        pythons = interpreters(flags)
    except ValueError as error:
        print(f"python -m benchmarks peers: {error}", file=sys.stderr)
        return 2
    versions = {peer: installed(peer, pythons[peer]) for peer in flags.peers}
    for peer, found in versions.items():
        text = ", ".join(f"{name} {version}" for name, version in found.items())
        print(f"{peer}: {text or 'NOT INSTALLED, left out'}", flush=True)
    try:
        runs = kept(flags, versions) if flags.resume else []
    except ValueError as error:
        print(f"python -m benchmarks peers: {error}", file=sys.stderr)
        return 2
    done = {(run["solver"], run["game"]) for run in runs}
    # The first game of every library, the second one ...: an interrupted comparison has some of each.
    by_library = [
        [
            Task(peer, game, pythons[peer], flags.seconds)
            for game in PEERS[peer].GAMES
            if (not flags.games or game in flags.games) and (peer, game) not in done
        ]
        for peer in flags.peers
        if versions[peer]
    ]
    tasks = [task for turn in itertools.zip_longest(*by_library) for task in turn if task is not None]
    status = 0
    try:
        for of_task in measured(tasks, flags.jobs):
            runs += of_task
            write(flags, runs, versions, is_complete=False)
    except KeyboardInterrupt:
        status = 130
    write(flags, runs, versions, is_complete=status == 0)
    print((flags.out / "README.md").read_text())
    return status


def interpreters(flags: Flags) -> dict[str, str]:
    """The interpreter of each library, after a check of the flags."""
    unknown = [peer for peer in flags.peers if peer not in PEERS]
    if unknown:
        raise ValueError(f"unknown peer {unknown[0]!r}; known: {', '.join(PEERS)}")
    known = {game for peer in flags.peers for game in PEERS[peer].GAMES}
    unknown = [game for game in flags.games if game not in known]
    if unknown:
        raise ValueError(f"unknown game {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if not flags.seconds > 0.0 or flags.jobs < 1:
        raise ValueError("seconds must be > 0 and jobs >= 1")
    found = dict.fromkeys(PEERS, sys.executable)
    for pair in flags.python:
        peer, separator, path = pair.partition("=")
        if peer not in PEERS or not separator or not Path(path).exists():
            raise ValueError(f"python must be PEER=PATH, with a path that exists, got {pair!r}")
        found[peer] = path
    return found


def kept(flags: Flags, versions: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """The runs that an interrupted comparison left, of the same time limit and versions."""
    path = flags.out / "results.json"
    if not path.exists():
        return []
    before = read_json(path)
    if before["seconds"] != flags.seconds:
        raise ValueError(f"resume needs the limit of {path}, {before['seconds']:g} seconds, got {flags.seconds:g}")
    for peer, found in before["peers"].items():
        if found and found != versions.setdefault(peer, found):
            raise ValueError(f"resume needs the versions of {path}, {found}, got {versions[peer]}")
    return [run for row in before["rows"] for run in (row["ours"], *row["runs"]) if run is not None]


def environment() -> dict[str, str]:
    """Environment variables of a process that is measured."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": path}


def installed(peer: str, python: str) -> dict[str, str]:
    """Versions of a library's distributions; empty if it is not installed."""
    command = [python, "-m", "benchmarks.peers.child", peer]
    answer = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"{python} cannot import mfenvs and benchmarks:\n{answer.stderr}")
    versions: dict[str, str] = json.loads(answer.stdout)
    return versions


def measured(tasks: list[Task], jobs: int) -> Iterator[list[dict[str, Any]]]:
    """The runs of every task, as they come."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(measure, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                found = future.result()
                print(f"{futures[future].peer}: {futures[future].game}", flush=True)
                yield found
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def measure(task: Task) -> list[dict[str, Any]]:
    """The runs of a library on a game, by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.jsonl"
        words = [task.peer, task.game, str(task.seconds), str(path)]
        command = [task.python, "-m", "benchmarks.peers.child", *words]
        longest = PATIENCE[0] * task.seconds + PATIENCE[1]
        error = ""
        try:
            done = subprocess.run(
                command, env=environment(), capture_output=True, text=True, check=False, timeout=longest
            )
            if done.returncode != 0:
                error = f"its process ended with status {done.returncode}: {done.stderr.strip()[-300:]}"
        except subprocess.TimeoutExpired:
            error = f"its process was ended after {longest:g} seconds"
        runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if error:
        runs.append(failure(task, error))
    return runs


def failure(task: Task, error: str) -> dict[str, Any]:
    """A run of which nothing is known but that it failed."""
    return dataclasses.asdict(
        Run(task.game, task.peer, "all that is missing", FAILED, seconds_to([]), None, 0.0, 0, [], error)
    )


def write(flags: Flags, runs: list[dict[str, Any]], versions: dict[str, Any], *, is_complete: bool) -> None:
    """Write results, table and figure."""
    flags.out.mkdir(parents=True, exist_ok=True)
    found = results(runs, versions, seconds=flags.seconds, jobs=flags.jobs, is_complete=is_complete)
    write_json(flags.out / "results.json", found)
    (flags.out / "README.md").write_text(markdown(found))
    if found["rows"]:
        draw(found, flags.out / "peers.png")
