"""What the scaling report says: tables and figures of costs, of memory and of first uses, and a page."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.frameworks import short as short_number
from benchmarks.frameworks import two_digits
from benchmarks.reproduce.scaling_tasks import COMPILE_STAGES, TOO_LARGE, TOO_SLOW
from mfenvs.files import replacing

COLOURS = {
    "engine": "#1f3b73",
    "engine with observations": "#4f86c6",
    "gymnasium vector": "#2b8a3e",
    "SB3 vec_env": "#c2571a",
    "TorchRL": "#7b4fa3",
    "PettingZoo parallel": "#b3202c",
}
OF_GAMES = ("#1f3b73", "#c2571a", "#2b8a3e", "#7b4fa3", "#b3202c")
DASHES = {"cpu": "-", "cuda": "--"}
ON_GPU = ", GPU"
"""What is added to the name of what is measured on a GPU."""
WHY = {TOO_SLOW: "a step took longer than the limit", TOO_LARGE: "the next size would not have fitted in memory"}

PAGE = """\
# How cost grows with the numbers of agents and worlds

`python -m benchmarks reproduce scaling` measures on the machine at hand, and writes this page, `scaling.png`,
`games.png` and `results.json`. An interrupted report is finished by `--resume`, and one that was made in parts
(`--device`, `--measure`) is continued.

Every measurement is done in a process of its own on one thread. A cost is the processor time of a step, with all
that the API returns, divided by the number of agents (on a GPU: elapsed time, until the device is done). Actions
are drawn beforehand, all agents act in every step, and nothing learns but PPO. Lines and numbers are medians of
{repetitions} repetitions, bands their range. Steps are those within an episode, where a game's horizon can be
chosen; SB3's VecEnv makes a dict for every agent when an episode ends, which is not in its costs here.

Machine: {machine}. {cuda}
"""


NO_GPU = """\
**Nothing here ran on a GPU** ({reason}). What was measured on one is in
`benchmarks/results/scaling-gpu`."""


def costs(content: dict[str, Any], **chosen: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The timed tasks with these values, and what was found, if nothing failed."""
    for row in content["measured"]:
        task, found = row["task"], row["found"]
        if task["kind"] == "time" and "rows" in found and all(task[key] == value for key, value in chosen.items()):
            yield task, found


def game_of_routes(content: dict[str, Any]) -> str | None:
    """The game in which the routes are compared, which is the first; None if nothing was timed."""
    return next((task["game"] for task, _ in costs(content)), None)


def by_agents(task: dict[str, Any]) -> bool:
    """Whether a timed task varies the number of agents, and not that of worlds."""
    return len({n_agents for n_agents, _ in task["sizes"]}) > 1


def nanoseconds(row: dict[str, Any]) -> list[float]:
    """Cost of an agent-step in each repetition, in nanoseconds."""
    agents = row["n_agents"] * row["n_worlds"]
    return [1e9 * seconds / agents for seconds in row["seconds"]]


def label(task: dict[str, Any]) -> str:
    """A route and its device."""
    return str(task["route"]) + ("" if task["device"] == "cpu" else ON_GPU)


def draw_costs(content: dict[str, Any], path: Path) -> None:
    """Draw cost against the number of agents of one world, and against the number of worlds, by API and device."""
    figure = Figure(figsize=(13.0, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    protocol = content["protocol"]
    for task, found in costs(content, game=game_of_routes(content)):
        ax, key = (left, "n_agents") if by_agents(task) else (right, "n_worlds")
        _line(ax, found["rows"], key, COLOURS[task["route"]], DASHES[task["device"]], label(task))
    _finish(left, "number of agents N, one world")
    _finish(right, f"number of worlds, N = {protocol['agents_per_world']:,} agents each")
    shown = {line.get_label(): line for ax in (left, right) for line in ax.lines}
    if shown:
        figure.legend(shown.values(), list(shown), loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(
        "A-SIS: cost of an agent-step by API, one thread (median and range of repetitions)", fontsize=11
    )
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def draw_games(content: dict[str, Any], path: Path) -> None:
    """Draw the engine's cost by game, the memory of an agent by API, and the first use of every game."""
    found = {
        short(game) + ("" if device == "cpu" else ", GPU"): uses
        for (game, device), uses in first_uses(content).items()
    }
    figure = Figure(figsize=(13.0, max(8.0, 1.5 + 0.2 * len(found))), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplot_mosaic([["cost", "use"], ["memory", "use"]], height_ratios=(3, 2))
    left, middle, right = (panels[name] for name in ("cost", "memory", "use"))
    games = list(dict.fromkeys(task["game"] for task, _ in costs(content, route="engine") if by_agents(task)))
    for task, measured in costs(content, route="engine"):
        if by_agents(task):
            colour, name = OF_GAMES[games.index(task["game"]) % len(OF_GAMES)], short(task["game"])
            shown = name if task["device"] == "cpu" else f"{name}, GPU"
            _line(left, measured["rows"], "n_agents", colour, DASHES[task["device"]], shown)
    _finish(left, "number of agents N, one world")
    if left.lines:
        left.legend(fontsize=8, frameon=False)
    left.set_title("bare engine by game, no observations", fontsize=10)
    memory = memory_per_agent(content)
    middle.barh(list(memory), list(memory.values()), color=[COLOURS[name.removesuffix(ON_GPU)] for name in memory])
    middle.invert_yaxis()
    middle.set_xlabel("peak memory per agent (bytes), A-SIS")
    middle.set_title("memory of one world by API", fontsize=10)
    middle.grid(axis="x", alpha=0.25)
    places = np.arange(len(found))
    for offset, colour, label_of_bar, which in ((0.0, "#c2571a", "first use", 0), (0.4, "#4f86c6", "later", 1)):
        seconds = [sum(uses[which].values()) for uses in found.values()]
        right.barh(places + offset, seconds, height=0.4, color=colour, label=label_of_bar)
    right.set_yticks(places + 0.2, list(found), fontsize=7)
    right.set_ylim(len(found), -0.5)
    right.set_xlabel("processor time (s) to make, reset, step and observe")
    right.set_title("first use of a game, and in a later process", fontsize=10)
    right.legend(fontsize=8, loc="lower right")
    right.grid(axis="x", alpha=0.25)
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def _line(ax: Axes, rows: Sequence[dict[str, Any]], key: str, colour: str, dashes: str, name: str) -> None:
    sizes = [row[key] for row in rows]
    spent = [nanoseconds(row) for row in rows]
    ax.plot(
        sizes,
        [statistics.median(each) for each in spent],
        dashes,
        marker="o",
        markersize=4,
        color=colour,
        label=name,
    )
    ax.fill_between(
        sizes, [min(each) for each in spent], [max(each) for each in spent], color=colour, alpha=0.2, linewidth=0
    )


def _finish(ax: Axes, x: str) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(x)
    ax.set_ylabel("cost of an agent-step (ns)")
    ax.grid(alpha=0.25, which="both")


def memory_per_agent(content: dict[str, Any]) -> dict[str, float]:
    """Peak memory per agent in bytes by route and device, beyond that before the environment was made."""
    return {
        label(row["task"]): max(0, row["found"]["peak"] - row["found"]["before"]) / row["found"]["n_agents"]
        for row in content["measured"]
        if row["task"]["kind"] == "memory" and "peak" in row["found"]
    }


def first_uses(content: dict[str, Any]) -> dict[tuple[str, str], tuple[dict[str, float], dict[str, float]]]:
    """Seconds of each stage with an empty cache and with a filled one, by game and device."""
    return {
        (row["task"]["game"], row["task"]["device"]): (row["found"]["first"], row["found"]["later"])
        for row in content["measured"]
        if row["task"]["kind"] == "compile"
        and all("error" not in row["found"].get(name, {"error": ""}) for name in ("first", "later"))
    }


def page(content: dict[str, Any]) -> str:
    """The page as Markdown."""
    protocol, cuda = content["protocol"], content["cuda"]
    where = f"GPU: {cuda['name']}." if cuda["name"] else NO_GPU.format(reason=cuda["reason"])
    lines = [PAGE.format(repetitions=protocol["repetitions"], machine=content["machine"], cuda=where)]
    lines += _times(content) + _training(content) + _memory(content) + _compilation(content)
    failed = [row for row in content["measured"] if error_of(row["found"])]
    if failed:
        lines += ["## What failed", ""]
        lines += [f"- {_described(row['task'])}: {error_of(row['found'])}" for row in failed]
        lines += [""]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    lines += [f"Seed {content['seed']}; {content['seconds']:.0f} seconds in all; {versions}."]
    return "\n".join(lines) + "\n"


def _times(content: dict[str, Any]) -> list[str]:
    """Cost of an agent-step by API and by game."""
    protocol, game = content["protocol"], game_of_routes(content)
    if game is None:
        return []
    sizes, worlds = protocol["sizes"], protocol["worlds"]
    lines = ["![cost of an agent-step by API](scaling.png)", "", "## A-SIS by API: nanoseconds an agent-step", ""]
    lines += _table([f"N = {n:,}" for n in sizes], _cells(content, game, "n_agents", sizes), "one world")
    lines += _table(
        [f"{n:,} worlds" if n > 1 else "1 world" for n in worlds],
        _cells(content, game, "n_worlds", worlds),
        f"N = {protocol['agents_per_world']:,}",
    )
    lines += _stops(content, game)
    lines += _dict_wall(content, game)
    lines += ["## The bare engine by game: nanoseconds an agent-step", ""]
    lines += _table([f"N = {n:,}" for n in sizes], _cells_of_games(content, sizes), "one world, no observations")
    return [*lines, "![cost by game, memory by API, first use by game](games.png)", ""]


def _memory(content: dict[str, Any]) -> list[str]:
    """Peak memory of an agent by route."""
    found, n_agents = memory_per_agent(content), content["protocol"]["agents_in_memory"]
    if not found:
        return []
    return [
        "## Memory",
        "",
        f"Peak memory while an environment of N = {n_agents:,} agents (of PettingZoo a tenth) is made, reset and"
        " stepped, beyond that of the process before (on a GPU: memory of the card):",
        "",
        "| A-SIS, one world | bytes an agent |",
        "|---|---|",
        *(f"| {route} | {number:,.0f} |" for route, number in found.items()),
        "",
    ]


def _compilation(content: dict[str, Any]) -> list[str]:
    """Seconds of the stages of a first use, by game."""
    found = first_uses(content)
    if not found:
        return []
    lines = [
        "## First use of a game",
        "",
        "Processor time in seconds with an empty cache of machine code, and in brackets in a later process. On a"
        " GPU nothing is cached between processes.",
        "",
        f"| game | {' | '.join(COMPILE_STAGES)} |",
        "|---|" + "---|" * len(COMPILE_STAGES),
    ]
    for (name, device), (first, later) in found.items():
        cells = [f" {first[stage]:.2f} ({later[stage]:.2f}) |" for stage in COMPILE_STAGES]
        lines.append(f"| {short(name)}{'' if device == 'cpu' else ', GPU'} |" + "".join(cells))
    return [*lines, ""]


Cells = list[tuple[str, dict[int, float]]]
"""Rows of a table: a name, and numbers by column."""


def _cells(content: dict[str, Any], game: str, key: str, columns: Sequence[int]) -> Cells:
    return [
        (label(task), _medians(found["rows"], key, columns))
        for task, found in costs(content, game=game)
        if by_agents(task) == (key == "n_agents")
    ]


def _cells_of_games(content: dict[str, Any], columns: Sequence[int]) -> Cells:
    return [
        (
            short(task["game"]) + ("" if task["device"] == "cpu" else ", GPU"),
            _medians(found["rows"], "n_agents", columns),
        )
        for task, found in costs(content, route="engine")
        if by_agents(task)
    ]


def _medians(rows: Sequence[dict[str, Any]], key: str, columns: Sequence[int]) -> dict[int, float]:
    return {row[key]: statistics.median(nanoseconds(row)) for row in rows if row[key] in columns}


def _table(headers: list[str], rows: Cells, corner: str) -> list[str]:
    columns = sorted({column for _, cells in rows for column in cells})
    lines = [f"| {corner} | {' | '.join(headers)} |", "|---|" + "---|" * len(headers)]
    for name, cells in rows:
        values = [f" {two_digits(cells[column])} |" if column in cells else " - |" for column in columns]
        lines.append(f"| {name} |" + "".join(values) + " - |" * (len(headers) - len(columns)))
    return [*lines, ""]


def _stops(content: dict[str, Any], game: str) -> list[str]:
    """Why some routes were not measured at larger sizes."""
    stops = []
    for task, found in costs(content, game=game):
        if found["ended"] in WHY:
            last = found["rows"][-1]
            size = f"N = {last['n_agents']:,}" if by_agents(task) else f"{last['n_worlds']:,} worlds"
            stops.append(f"{label(task)} after {size}, as {WHY[found['ended']]}")
    limit = content["protocol"]["longest_step"]
    return [f"Not measured further (limit of a step: {limit:g} s): {'; '.join(stops)}.", ""] if stops else []


def _training(content: dict[str, Any]) -> list[str]:
    """Samples that trainers learn from in a second, by number of agents."""
    done = [row for row in content["measured"] if row["task"]["kind"] == "train" and "rows" in row["found"]]
    if not done:
        return []
    rows = {}
    for row in done:
        horizon = row["found"]["horizon"]
        rows[label(row["task"])] = {
            each["n_agents"]: horizon * each["n_agents"] * each["n_worlds"] / statistics.median(each["seconds"])
            for each in row["found"]["rows"]
        }
    columns = sorted({n for cells in rows.values() for n in cells})
    lines = [
        "## Learning",
        "",
        "Samples (agent-steps) a second that PPO simulates and learns from, end to end, with its default"
        f" hyper-parameters (an episode of all agents, four passes); {short(done[0]['task']['game'])}, one world:",
        "",
        f"| samples/s | {' | '.join(f'N = {n:,}' for n in columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for name, cells in rows.items():
        numbers = [f" {short_number(cells[n])} |" if n in cells else " - |" for n in columns]
        lines.append(f"| {name} |" + "".join(numbers))
    return [*lines, ""]


def _dict_wall(content: dict[str, Any], game: str) -> list[str]:
    """What dicts with an entry for each agent cost beside the same step with arrays."""
    found = {
        task["route"]: {row["n_agents"]: statistics.median(nanoseconds(row)) for row in measured["rows"]}
        for task, measured in costs(content, game=game, device="cpu")
        if by_agents(task)
    }
    arrays, dicts = (found.get(name, {}) for name in ("engine with observations", "PettingZoo parallel"))
    both = sorted(arrays.keys() & dicts.keys())
    if not both:
        return []
    ratios = ", ".join(f"{two_digits(dicts[n] / arrays[n])} at N = {n:,}" for n in both)
    return [
        "## The dict wall",
        "",
        "PettingZoo wants dicts with an entry for each agent. They are built without a Python loop, and still a"
        f" step through them costs so many times as much as the engine's own with observations: {ratios}.",
        "",
    ]


def error_of(found: dict[str, Any]) -> str:
    """What went wrong in a measurement; empty if nothing did."""
    parts = [found, *(value for value in found.values() if isinstance(value, dict))]
    return next((part["error"] for part in parts if "error" in part), "")


def _described(task: dict[str, Any]) -> str:
    return f"{task['kind']}, {short(task['game'])}, {task['route']} on {task['device']}"


def short(game: str) -> str:
    """A game's name without its version."""
    return game.partition("-v")[0]
