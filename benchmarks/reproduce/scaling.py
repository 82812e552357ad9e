"""How cost grows: an agent-step by numbers of agents and worlds, API and device; training; memory; first use.

Every measurement is done in a process of its own, one after the other, on one thread. An interrupted report is
finished by ``--resume``. Who has a GPU gets its figures, and nothing else, by ``--device cuda``. A report can be
made in parts, such as ``--measure time --device cpu`` and then ``--measure time train --resume``.
"""

import dataclasses
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.progress import Progress

from baselines.versions import versions
from benchmarks.reproduce.scaling_report import draw_costs, draw_games, error_of, page
from benchmarks.reproduce.scaling_routes import ON_A_GPU, PETTINGZOO, ROUTES, TRAINERS
from benchmarks.reproduce.scaling_tasks import KINDS, Kind, Task, run_in_process
from mfenvs import checks, registered_games
from mfenvs.engine.cuda.device import open_device
from mfenvs.files import read_json, replacing, write_json

RESULTS = Path("runs") / "scaling"
GAME = "Epidemic-v0"
"""The game of the comparison of APIs: its rules cost least, and so an API's own cost shows most."""
GAMES = ("Epidemic-v0", "RockPaperScissors-v0", "Taxi-v0", "Auction-v0", "EnergyMarket-v0")
"""Games whose steps are timed in the bare engine."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Sizes and lengths of the measurements."""

    sizes: tuple[int, ...] = (100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)
    """Numbers of agents of one world."""
    worlds: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    """Numbers of worlds, of ``agents_per_world`` agents each."""
    agents_per_world: int = 1000
    games: tuple[str, ...] = GAMES
    compiled_games: tuple[str, ...] = dataclasses.field(default_factory=lambda: tuple(registered_games()))
    """Games whose first use is timed; on a GPU, where compilation takes longer, that of ``games``."""
    trained_game: str = "Taxi-v0"
    """The game in which PPO's updates are timed."""
    trained_sizes: tuple[int, ...] = (1000, 10_000, 100_000)
    """Numbers of agents of the one world in which PPO learns."""
    longest_update: float = 60.0
    """Seconds of an update beyond which no larger number of agents is trained."""
    agents_in_memory: int = 1_000_000
    """Number of agents at which memory is measured; a tenth in PettingZoo's dicts."""
    repetitions: int = 5
    seconds: float = 0.1
    """About how long a repetition takes."""
    longest_step: float = 1.0
    """Seconds of a step beyond which a route is not measured at larger sizes."""


QUICK = Protocol(
    sizes=(100, 1000),
    worlds=(1, 4),
    agents_per_world=100,
    games=("Epidemic-v0",),
    compiled_games=("Epidemic-v0",),
    trained_sizes=(50,),
    agents_in_memory=100_000,
    repetitions=2,
    seconds=0.01,
)


@dataclasses.dataclass
class Flags:
    """Cost of an agent-step, of learning and of memory, and first use of a game, by API, device and size."""

    quick: bool = False
    """Whether to measure a few small sizes only, to see that everything runs."""
    resume: bool = False
    """Whether to keep what the report in --out has measured, with the same protocol, machine and versions."""
    device: Literal["all", "cpu", "cuda"] = "all"
    """Device that is measured: the CPU, the first GPU (an error if there is none), or all that are there."""
    measure: tuple[Kind, ...] = KINDS
    """What is measured: cost of steps (time), of PPO's updates (train), memory, first use of games (compile)."""
    seed: int = 0
    """Random seed of the simulations and of the actions."""
    out: Path = RESULTS
    """Where page, figures and JSON go; committed are those in benchmarks/results/scaling."""


def main(words: list[str], run: Callable[[Task], dict[str, Any]] = run_in_process) -> int:
    """Run the report; 130 if interrupted, with what was complete kept; 2 if there is no such device.

    Parameters
    ----------
    words:
        Flags on the command line.
    run:
        Function that does a task.
    """
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce scaling")
    checks.integer("seed", flags.seed, 0, 2**63 - 1)
    protocol = QUICK if flags.quick else Protocol()
    cuda = cuda_device()
    if flags.device == "cuda" and cuda["name"] is None:
        print(cuda["reason"], file=sys.stderr)
        return 2
    there = ("cpu",) if cuda["name"] is None else ("cpu", "cuda")
    tasks = all_tasks(protocol, flags.seed, there if flags.device == "all" else (flags.device,))
    tasks = [task for task in tasks if task.kind in flags.measure]
    content: dict[str, Any] = {
        "complete": False,
        "seed": flags.seed,
        "protocol": dataclasses.asdict(protocol),
        "machine": f"{processor()}, {os.cpu_count()} cores, one thread used",
        "cuda": cuda,
        "versions": versions(),
        "seconds": 0.0,
        "measured": [],
    }
    if flags.resume:
        content |= kept(flags.out / "results.json", content)
    done = [row["task"] for row in content["measured"]]
    left = [task for task in tasks if _plain(task) not in done]
    flags.out.mkdir(parents=True, exist_ok=True)
    began, before, interrupted = time.perf_counter(), content["seconds"], False
    with Progress() as progress:
        bar = progress.add_task("scaling", total=len(left))
        try:
            for task in left:
                content["measured"].append({"task": _plain(task), "found": run(task)})
                content["seconds"] = before + time.perf_counter() - began
                write_json(flags.out / "results.json", content)
                progress.advance(bar)
        except KeyboardInterrupt:
            interrupted = True
    content["complete"] = not interrupted
    write_json(flags.out / "results.json", content)
    if not interrupted:
        draw_costs(content, flags.out / "scaling.png")
        draw_games(content, flags.out / "games.png")
        with replacing(flags.out / "README.md") as file:
            file.write(page(content).encode())
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def all_tasks(protocol: Protocol, seed: int, devices: Sequence[str]) -> list[Task]:
    """The measurements in their order: times by API, times by game, training, memory, first uses."""
    lengths: dict[str, Any] = {
        "repetitions": protocol.repetitions,
        "seconds": protocol.seconds,
        "longest_step": protocol.longest_step,
        "seed": seed,
    }
    by_agents = tuple((n, 1) for n in protocol.sizes)
    by_worlds = tuple((protocol.agents_per_world, n) for n in protocol.worlds)
    routes = [(route, device) for device in devices for route in (ROUTES if device == "cpu" else ON_A_GPU)]
    tasks = [Task("time", GAME, route, device, by_agents, **lengths) for route, device in routes]
    tasks += [
        Task("time", GAME, route, device, by_worlds, **lengths) for route, device in routes if route != PETTINGZOO
    ]
    tasks += [
        Task("time", game, "engine", device, by_agents, **lengths)
        for device in devices
        for game in protocol.games
        if game != GAME
    ]
    trained = tuple((n, 1) for n in protocol.trained_sizes)
    of_updates = lengths | {"longest_step": protocol.longest_update}
    tasks += [
        Task("train", protocol.trained_game, trainer, device, trained, **of_updates)
        for device in devices
        for trainer in TRAINERS
        if trained
    ]
    for route, device in routes:
        n_agents = protocol.agents_in_memory // (10 if route == PETTINGZOO else 1)
        tasks.append(Task("memory", GAME, route, device, sizes=((n_agents, 1),), seed=seed))
    tasks += [
        Task("compile", game, device=device, seed=seed)
        for device in devices
        for game in (protocol.compiled_games if device == "cpu" else protocol.games)
    ]
    return tasks


def kept(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """What a report has measured, if its protocol, seed, machine and versions are these.

    Raises
    ------
    ValueError
        If they are not.
    """
    if not path.exists():
        return {}
    before = read_json(path)
    for name in ("protocol", "seed", "machine", "cuda", "versions"):
        if before.get(name) != _as_read(content[name]):
            raise ValueError(f"--resume needs the {name} of {path}, {before.get(name)}, got {content[name]}")
    # What failed is measured again.
    measured = [row for row in before["measured"] if not error_of(row["found"])]
    return {"measured": measured, "seconds": before["seconds"]}


def cuda_device() -> dict[str, str | None]:
    """Name of the GPU, or why there is none: the page says then that it did not run."""
    try:
        open_device(0)
    except (ImportError, RuntimeError) as error:
        return {"name": None, "reason": str(error)}
    from numba import cuda

    name = cuda.get_current_device().name
    return {"name": name.decode() if isinstance(name, bytes) else str(name), "reason": None}


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names and platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        names = [subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()]
    return names[0] if names and names[0] else platform.processor() or platform.machine()


def _plain(task: Task) -> Any:
    """A task as JSON has it."""
    return _as_read(dataclasses.asdict(task))


def _as_read(value: Any) -> Any:
    """A value as it is when it was written to JSON and read: tuples are lists."""
    if isinstance(value, dict):
        return {name: _as_read(entry) for name, entry in value.items()}
    return [_as_read(entry) for entry in value] if isinstance(value, list | tuple) else value
