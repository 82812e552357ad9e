"""Single measurements of the scaling report, each in a process of its own; as a script it does one of them.

``python -m benchmarks.reproduce.scaling_tasks TASK`` reads a task as JSON, and prints what it measured as JSON.
"""

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.reproduce.scaling_routes import ROUTES, TRAINERS, Stepper
from mfenvs import Engine, Game, make

ROOT = Path(__file__).parents[2]
ENDLESS = 10**9
"""Horizon of a game whose steps are timed within an episode."""
FEW_AGENTS = 100
SHARE_OF_MEMORY = 0.7
"""Share of the device's free memory that the next, larger number of agents may be expected to need."""
TOO_SLOW, TOO_LARGE, DONE = "time", "memory", "done"
"""Why no larger number of agents was measured: a step took too long, memory would not suffice, or all were
done."""

COMPILE_STAGES = "make", "reset and step", "observe"
Kind = Literal["time", "train", "memory", "compile"]
KINDS: tuple[Kind, ...] = ("time", "train", "memory", "compile")


@dataclasses.dataclass(frozen=True)
class Task:
    """A measurement in a process of its own."""

    kind: Kind
    """``"time"``: cost of steps; ``"train"``: cost of a trainer's updates; ``"memory"``: peak memory;
    ``"compile"``: first use of a game."""
    game: str
    route: str = "engine"
    device: str = "cpu"
    sizes: tuple[tuple[int, int], ...] = ()
    """Numbers of agents and of worlds, in the order in which they are measured."""
    repetitions: int = 5
    seconds: float = 0.1
    """About how long a repetition is to take."""
    longest_step: float = 1.0
    """Seconds of a step beyond which no larger size is measured."""
    seed: int = 0


def run_in_process(task: Task) -> dict[str, Any]:
    """Do a task in a process of its own, on one thread.

    The process of a first use begins with an empty cache of machine code, and a second one uses what it left.
    """
    if task.kind != "compile":
        return _run_child(task, {})
    with tempfile.TemporaryDirectory() as folder:
        cache = {"NUMBA_CACHE_DIR": folder}
        return {"first": _run_child(task, cache), "later": _run_child(task, cache)}


def _run_child(task: Task, environment: dict[str, str]) -> dict[str, Any]:
    threads = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.reproduce.scaling_tasks", json.dumps(dataclasses.asdict(task))]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | threads | environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with status {done.returncode}"]
        return {"error": last[0][:300]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(task: Task) -> dict[str, Any]:
    """Do a task in this process."""
    return {
        "time": measure_times,
        "train": measure_training,
        "memory": measure_memory,
        "compile": measure_compilation,
    }[task.kind](task)


def measure_times(task: Task) -> dict[str, Any]:
    """Seconds of a step at each size, up to the first that takes too long or for whose successor memory lacks.

    Processor time on the CPU, which hardly depends on what else the machine does; elapsed time on a GPU.
    """
    is_on_cpu = task.device == "cpu"
    clock = time.process_time if is_on_cpu else time.perf_counter
    start, game_for = (ROUTES | TRAINERS)[task.route], make_game if task.route in TRAINERS else game_of
    # What a few agents need is the code, which does not grow.
    start(game_for(task.game, FEW_AGENTS), 1, task.device, task.seed)(1)
    idle, rows, ended = memory_in_use(task.device), [], DONE
    for place, (n_agents, n_worlds) in enumerate(task.sizes):
        try:
            began = clock()
            take = start(game_for(task.game, n_agents), n_worlds, task.device, task.seed)
            set_up = clock() - began
            n_steps = steps_in(task.seconds, take, clock)
            spent = [timed(take, n_steps, clock) / n_steps for _ in range(task.repetitions)]
        except Exception as error:
            # Of the smaller sizes the times are known; libraries have errors of their own for this.
            if not rows or "memory" not in f"{type(error).__name__} {error}".lower():
                raise
            ended = TOO_LARGE
            break
        taken = most_memory_in_use(task.device) - idle
        del take
        rows.append(
            {"n_agents": n_agents, "n_worlds": n_worlds, "n_steps": n_steps, "set_up": set_up, "seconds": spent}
        )
        if place + 1 == len(task.sizes):
            break
        if float(np.median(spent)) > task.longest_step:
            ended = TOO_SLOW
            break
        growth = np.prod(task.sizes[place + 1]) / (n_agents * n_worlds)
        if taken * growth > SHARE_OF_MEMORY * free_memory(task.device):
            ended = TOO_LARGE
            break
    return {"rows": rows, "ended": ended}


def measure_training(task: Task) -> dict[str, Any]:
    """Seconds of an update at each size, as :func:`measure_times`, and the number of steps that it learns from."""
    return {**measure_times(task), "horizon": make_game(task.game, FEW_AGENTS).horizon}


def steps_in(seconds: float, take: Stepper, clock: Callable[[], float]) -> int:
    """About how many steps take some seconds, at least 1; what is compiled in the first step does not count."""
    take(1)
    n_steps = 1
    while (spent := timed(take, n_steps, clock)) < seconds / 4:
        n_steps *= 4
    return max(1, round(n_steps * seconds / spent))


def timed(take: Stepper, n_steps: int, clock: Callable[[], float]) -> float:
    """Seconds of some steps."""
    began = clock()
    take(n_steps)
    return clock() - began


def measure_memory(task: Task) -> dict[str, Any]:
    """Memory in bytes before an environment is made, and at most until it has taken two steps.

    That of the process, or, on a GPU, that of the card. An environment of a few agents before it imports and
    compiles.
    """
    ((n_agents, n_worlds),) = task.sizes
    ROUTES[task.route](game_of(task.game, FEW_AGENTS), n_worlds, task.device, task.seed)(2)
    before = memory_in_use(task.device)
    take = ROUTES[task.route](game_of(task.game, n_agents), n_worlds, task.device, task.seed)
    take(2)
    peak = most_memory_in_use(task.device)
    return {"n_agents": n_agents, "n_worlds": n_worlds, "before": before, "peak": peak}


def measure_compilation(task: Task) -> dict[str, Any]:
    """Seconds of processor time to make a game, for its first reset and step, and for its first observation."""
    times = [time.process_time()]
    game = make(task.game)
    times.append(time.process_time())
    engine: Any = Engine(game, 1, device=task.device)
    engine.reset(task.seed)
    engine.step(_first_actions(game))
    if task.device != "cpu":
        engine.synchronize()
    times.append(time.process_time())
    engine.observe()
    times.append(time.process_time())
    return dict(zip(COMPILE_STAGES, np.diff(times).tolist(), strict=True))


def _first_actions(game: Game) -> Any:
    space = game.action_space
    if hasattr(space, "n"):
        return np.zeros((1, game.n_agents), np.int32)
    low = np.broadcast_to(space.low, (1, game.n_agents, *space.shape))  # type: ignore[attr-defined]
    return np.ascontiguousarray(low)


def make_game(name: str, n_agents: int) -> Game:
    """A game of N agents."""
    return make(name, n_agents=n_agents)


def game_of(name: str, n_agents: int) -> Game:
    """A game of N agents, whose episodes do not end while it is timed if its horizon can be chosen."""
    try:
        return make(name, n_agents=n_agents, horizon=ENDLESS)
    except (TypeError, ValueError):  # The energy market's is that of its data, a taxi's day has a largest length.
        return make_game(name, n_agents)


def memory_in_use(device: str) -> int:
    """Memory in use now, in bytes: of the process, whose peak begins anew, or of a GPU."""
    if device == "cpu":
        return reset_peak_memory()
    free, total = _memory_of_gpu()
    return total - free


def most_memory_in_use(device: str) -> int:
    """Peak of the process's memory since :func:`memory_in_use`; of a GPU, which tells none, the memory in use."""
    return peak_memory() if device == "cpu" else memory_in_use(device)


def _memory_of_gpu() -> tuple[int, int]:
    """Free and total memory of the GPU, in bytes."""
    from numba import cuda

    free, total = cuda.current_context().get_memory_info()
    return int(free), int(total)


def peak_memory() -> int:
    """Largest memory that this process has had since it began or :func:`reset_peak_memory`, in bytes."""
    with contextlib.suppress(OSError):
        return _kilobytes(Path("/proc/self/status"), "VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> int:
    """Let the peak begin with the memory now, in bytes; where that is not possible, with the peak so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def free_memory(device: str = "cpu") -> int:
    """Memory that the machine, or its GPU, has to give, in bytes; a gigabyte where the machine does not say."""
    if device != "cpu":
        return _memory_of_gpu()[0]
    with contextlib.suppress(OSError):
        return _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    return 2**30


def _kilobytes(path: Path, name: str) -> int:
    """An entry of a file of Linux that is in kilobytes, in bytes."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no {name}")


def main(words: list[str]) -> int:
    """Do the task that the first word describes, and print what it measured."""
    content = json.loads(words[0])
    content["sizes"] = tuple(tuple(size) for size in content["sizes"])
    print(json.dumps(measure(Task(**content))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
