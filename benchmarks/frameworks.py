"""Speeds of other frameworks' routes to a game beside the bare engine's: ``python -m benchmarks frameworks NAME``.

NAME is a file in ``examples/frameworks``, whose framework is installed: ``nox -s NAME -- speed`` sees to that.
``python -m benchmarks frameworks table`` prints the table of the examples' page from what was measured.
One world, random actions, no learning. Every route is timed in turns with the engine, which writes observations
too, by the processor's time: it hardly depends on what else the machine does.
"""

import dataclasses
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mfenvs import Engine, Game, make
from mfenvs.files import read_json, write_json

EXAMPLES = Path(__file__).parents[1] / "examples" / "frameworks"
RESULTS = Path("runs") / "frameworks"
LABELS = {
    "cleanrl_ppo": "gymnasium",
    "stable_baselines3_ppo": "SB3",
    "sb3_contrib_maskable_ppo": "sb3-contrib",
    "pufferlib_ppo": "PufferLib",
    "torchrl_env": "TorchRL",
    "benchmarl_task": "BenchMARL",
    "tianshou_ppo": "Tianshou",
    "agilerl_ppo": "AgileRL",
    "rllib_ppo": "RLlib",
}
"""Names of the frameworks in the table, by their example, in the order of its rows."""

GAMES = {"A-SIS": "Epidemic-v0", "A-Taxi": "Taxi-v0"}
SIZES = (20, 1000)
"""Numbers of agents."""
REPETITIONS = 5
SECONDS = 0.2
"""About how long a repetition is to take."""

Stepper = Callable[[int], None]
"""A function that takes one world through some steps of random actions."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """The speed of a route for a game."""

    framework: str
    route: str
    game: str
    n_agents: int
    agent_steps_per_second: float
    engine_over_route: float
    """How many times as fast the engine is."""


def main(words: list[str]) -> int:
    """Measure the routes of an example, print them and write them as JSON; return the exit status."""
    if words == ["table"]:
        print(
            table([read_json(RESULTS / f"{name}.json") for name in LABELS if (RESULTS / f"{name}.json").exists()])
        )
        return 0
    known = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    if len(words) != 1 or words[0] not in known:
        print(f"usage: python -m benchmarks frameworks NAME   NAME: table, {', '.join(known)}", file=sys.stderr)
        return 2
    (name,) = words
    example = load(EXAMPLES / f"{name}.py")
    found: list[Speed] = []
    for label, registered in GAMES.items():
        for n_agents in SIZES:
            found += speeds(name, label, make(registered, n_agents=n_agents), example.stepping)
    for row in found:
        print(
            f"{row.route:24} {row.game:7} N = {row.n_agents:<5} {row.agent_steps_per_second:12,.0f} agent-steps/s,"
            f" engine {row.engine_over_route:,.1f} times as fast"
        )
    load_average = os.getloadavg()[0]
    write_json(
        RESULTS / f"{name}.json",
        {"rows": [dataclasses.asdict(row) for row in found], "load_average": load_average},
    )
    print(f"load average of the machine: {load_average:.1f}")
    return 0


def table(measured: list[dict[str, Any]]) -> str:
    """The speeds as a table in Markdown, a row for each route, with the load averages of the machine below."""
    columns = [(game, n_agents) for game in GAMES for n_agents in SIZES]
    lines = [
        "| route |" + "".join(f" {game}, N = {n_agents:,} |" for game, n_agents in columns),
        "|" + "---|" * (len(columns) + 1),
    ]
    for result in measured:
        rows = [Speed(**row) for row in result["rows"]]
        for route in dict.fromkeys(row.route for row in rows):
            cells = {(row.game, row.n_agents): row for row in rows if row.route == route}
            found = [cells[column] for column in columns]
            speeds = (
                f" {short(row.agent_steps_per_second)} ({two_digits(row.engine_over_route)}) |" for row in found
            )
            lines.append(f"| {LABELS[found[0].framework]}, {route} |" + "".join(speeds))
    loads = [result["load_average"] for result in measured]
    if loads:
        lines.append(f"\nLoad averages of the machine: {min(loads):.1f} to {max(loads):.1f}.")
    return "\n".join(lines)


def two_digits(number: float) -> str:
    """A number with two significant digits: "0.051", "1.9", "27", "1,600"."""
    rounded = float(f"{number:.1e}")
    if rounded >= 10.0:
        return f"{rounded:,.0f}"
    return f"{rounded:.1f}" if rounded >= 1.0 else f"{rounded:.2g}"


def short(number: float) -> str:
    """A number with two significant digits, in millions or thousands: "2.2 M", "59 M", "740 k"."""
    if number >= 995_000.0:
        return f"{two_digits(number / 1e6)} M"
    return f"{two_digits(number / 1e3)} k"


def load(path: Path) -> ModuleType:
    """Import an example from its file."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def speeds(framework: str, label: str, game: Game, stepping: Callable[[Game], dict[str, Stepper]]) -> list[Speed]:
    """The speed of each route, each in turns with the engine."""
    engine = engine_stepper(game)
    found = []
    for route, stepper in stepping(game).items():
        seconds = seconds_a_step(stepper, engine)
        found.append(
            Speed(framework, route, label, game.n_agents, game.n_agents / seconds[0], seconds[0] / seconds[1])
        )
    return found


def seconds_a_step(*steppers: Stepper) -> list[float]:
    """Median processor time of a step of each stepper, in seconds, over repetitions taken in turns."""
    steps = [steps_in(SECONDS, stepper) for stepper in steppers]
    spent: list[list[float]] = [[] for _ in steppers]
    for _ in range(REPETITIONS):
        for stepper, n_steps, times in zip(steppers, steps, spent, strict=True):
            began = time.process_time()
            stepper(n_steps)
            times.append((time.process_time() - began) / n_steps)
    return [statistics.median(times) for times in spent]


def engine_stepper(game: Game) -> Stepper:
    """The engine's own steps of one world, with observations, in arrays that are used again."""
    engine = Engine(game)
    engine.reset(seed=0)
    actions = engine.random_actions()
    rewards = np.empty((1, game.n_agents), np.float32)
    observations = np.empty((1, game.n_agents, game.n_features), np.float32)

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            if engine.time == game.horizon:
                engine.reset()
            engine.step(actions, rewards)
            engine.observe(observations)

    return take


def steps_in(seconds: float, stepper: Stepper) -> int:
    """About how many steps a stepper takes in some seconds, at least 1."""
    stepper(3)  # compiles
    n_steps = 1
    while True:
        began = time.process_time()
        stepper(n_steps)
        spent = time.process_time() - began
        if spent > seconds / 4:
            return max(1, round(n_steps * seconds / spent))
        n_steps *= 2
