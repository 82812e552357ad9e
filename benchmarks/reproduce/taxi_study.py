"""Which unpublished choice makes the results on A-Taxi what they are: one factor at a time, from the default.

Yardim & He (arXiv 2408.15173) do not publish the jam weights, the scale of an integer identity, what exactly taxis
observe, how different they are, and details of PPO. Every cell of the study changes one of these, for Symm-NN
unless it is about the identity. Where a population may collapse into one zone, each cell is run with and without
the entropy bonus.

The runs are the beginning of runs of the paper's 600 epochs: the learning rate falls as it does there.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from baselines.versions import versions
from benchmarks.markdown import markdown_table
from benchmarks.reproduce.taxi_table import LAST, in_terminal
from benchmarks.reproduce.taxi_training import (
    PAPERS_EPOCHS,
    Job,
    ScaledIdentity,
    Setting,
    curves,
    read_run,
    train_all,
)
from benchmarks.reproduce.taxi_yardsticks import yardsticks
from mfenvs.files import read_json, replacing, write_json

COLLAPSED = 0.05
"""A population has collapsed if less than this share of it is in one of the zones at the end [O]."""
NO_BONUS: dict[str, Any] = {"ent_coef": 0.0}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of the study."""

    factor: str
    level: str
    setting: Setting = dataclasses.field(default_factory=Setting)

    @property
    def has_bonus(self) -> bool:
        """Whether PPO has its entropy bonus."""
        return self.setting.hyper_parameters.get("ent_coef") != 0.0

    @property
    def title(self) -> str:
        """The level, and whether the entropy bonus is left out."""
        return self.level if self.has_bonus else f"{self.level}, no entropy bonus"

    @property
    def name(self) -> str:
        """The name of the cell: of its runs' folders, and in JSON."""
        words = f"{self.factor} {self.title}".replace("/", " of ")
        return "-".join("".join(c if c.isalnum() or c in ".-" else " " for c in words).split())

    def described(self) -> dict[str, Any]:
        """What the cell is, as in JSON."""
        return {
            "name": self.name,
            "factor": self.factor,
            "level": self.level,
            "entropy_bonus": self.has_bonus,
            "observe": [repr(block) for block in self.setting.observe],
            "constants": self.setting.constants,
            "hyper_parameters": self.setting.hyper_parameters,
            "bootstrap": self.setting.bootstrap,
        }


def _with_and_without_bonus(factor: str, level: str, constants: dict[str, Any]) -> list[Cell]:
    return [
        Cell(factor, level, Setting(constants=constants)),
        Cell(factor, level, Setting(constants=constants, hyper_parameters=NO_BONUS)),
    ]


CELLS = (
    *_with_and_without_bonus("default", "jam 10/N, one-hot", {}),
    *_with_and_without_bonus("jam weight", "7.5/N", {"jam": 7.5}),
    *_with_and_without_bonus("jam weight", "7/N and rewards 1.0, 1.2", {"jam": 7.0, "base_rewards": (1.0, 1.2)}),
    *_with_and_without_bonus("jam weight", "3/N", {"jam": 3.0}),
    Cell("identity", "0 to 1", Setting((ScaledIdentity(1.0),))),
    Cell("identity", "0 to 5", Setting((ScaledIdentity(5.0),))),
    Cell("identity", "0 to 10", Setting((ScaledIdentity(10.0),))),
    Cell("identity", "raw integer", Setting((ScaledIdentity(None),))),
    *_with_and_without_bonus("observation", "coordinates", {"observation": "coordinates"}),
    Cell("heterogeneity", "none", Setting(constants={"heterogeneity": 0.0})),
    Cell("heterogeneity", "three times", Setting(constants={"heterogeneity": 3.0})),
    Cell("PPO", "advantages not normalised", Setting(hyper_parameters={"normalize_advantage": False})),
    Cell("PPO", "bootstrapped at the end", Setting(bootstrap=True)),
)
"""The default and one change at a time."""


@dataclasses.dataclass(frozen=True)
class Study:
    """How long and with how many taxis, and where everything is kept."""

    n_epochs: int
    n_seeds: int
    n_agents: int
    device: str
    checkpoints: Path
    cells: tuple[Cell, ...] = CELLS
    n_alone: int = 16
    """Number of taxis whose problem alone in the city is solved."""
    dispatcher_worlds: int = 8
    """Worlds in which a dispatcher's rule is played."""

    def jobs(self, cell: Cell) -> list[Job]:
        """The runs of a cell, one per seed."""
        size = f"{self.n_epochs}-epochs-{self.n_agents}-taxis"
        return [
            Job(
                cell.name,
                cell.setting,
                seed,
                self.n_epochs,
                max(PAPERS_EPOCHS, self.n_epochs),
                self.n_agents,
                self.device,
                self.checkpoints / f"{cell.name}-{size}-seed-{seed}",
            )
            for seed in range(self.n_seeds)
        ]


def chosen_cells(names: tuple[str, ...]) -> tuple[Cell, ...]:
    """The cells with these names; all for none. ValueError for a name that is unknown."""
    known = {cell.name: cell for cell in CELLS}
    for name in names:
        if name not in known:
            raise ValueError(f"cells must be among {', '.join(known)}, got {name!r}")
    return tuple(known[name] for name in names) or CELLS


def run(study: Study, n_processes: int, out: Path, trains: bool) -> int:
    """Train what is not complete, and write results, figure and table; 130 if interrupted."""
    earlier = complete_cells(out / "study.json", study)
    missing = [cell for cell in study.cells if cell.name not in earlier]
    jobs = [job for seed in range(study.n_seeds) for cell in missing for job in study.jobs(cell)[seed : seed + 1]]
    interrupted, errors = train_all(jobs, n_processes) if trains and jobs else (False, [])
    found = earlier | ({} if interrupted else {cell.name: summary(study, cell) for cell in missing})
    results = [result for cell in CELLS if (result := found.get(cell.name)) is not None]
    if results:
        out.mkdir(parents=True, exist_ok=True)
        content = {
            "source": "Yardim & He, arXiv 2408.15173, figures 1(a) and 2(b)",
            "complete": all(is_complete(found.get(cell.name) or {}, cell, study) for cell in CELLS),
            **terms(study),
            "cells": results,
            "versions": versions(),
        }
        write_json(out / "study.json", content)
        draw(results, study, out / "study.png")
        with replacing(out / "study.md") as file:
            file.write(f"{markdown_table(HEADERS, rows(results))}\n".encode())
        Console().print(in_terminal("A-Taxi: one factor at a time", HEADERS, rows(results)))
    if interrupted:
        print("interrupted: run it again to go on")
    else:
        print(f"written to {out}" if results else f"no run is in {study.checkpoints}")
    if errors:
        raise errors[0]
    return 130 if interrupted else 0


def terms(study: Study) -> dict[str, Any]:
    """What the results of all cells depend on, as in JSON."""
    return {
        "n_epochs": study.n_epochs,
        "n_agents": study.n_agents,
        "schedule_epochs": max(PAPERS_EPOCHS, study.n_epochs),
        "seeds": list(range(study.n_seeds)),
    }


def complete_cells(path: Path, study: Study) -> dict[str, dict[str, Any]]:
    """The complete cells of a ``study.json`` by name; none if it is not there, or of other terms."""
    if not path.exists():
        return {}
    content = read_json(path)
    if any(content.get(name) != value for name, value in terms(study).items()):
        return {}
    found = {result["name"]: result for result in content["cells"]}
    return {cell.name: found[cell.name] for cell in CELLS if is_complete(found.get(cell.name, {}), cell, study)}


def is_complete(result: dict[str, Any], cell: Cell, study: Study) -> bool:
    """Whether a result is that of a cell as it is now, with all seeds trained to the end."""
    described = json.loads(json.dumps(cell.described()))
    return (
        all(result.get(name) == value for name, value in described.items())
        and [len(run["curve"]) for run in result["runs"]] == [study.n_epochs] * study.n_seeds
    )


def summary(study: Study, cell: Cell) -> dict[str, Any] | None:
    """What is there of a cell: its runs, and by seed the final reward and share of zone 1."""
    runs = [found for job in study.jobs(cell) if (found := read_run(job)) is not None and found["curve"]]
    if not runs:
        return None
    last = {
        quantity: [float(np.mean([row[quantity] for row in run["curve"][-LAST:]])) for run in runs]
        for quantity in ("reward", "zone_1")
    }
    return {
        **cell.described(),
        "reward": last["reward"],
        "zone_1": last["zone_1"],
        "collapsed": [has_collapsed(share) for share in last["zone_1"]],
        "yardsticks": yardsticks(
            cell.setting.constants,
            study.n_agents,
            min(study.n_alone, study.n_agents),
            study.dispatcher_worlds,
            study.checkpoints / "yardsticks",
        ),
        "runs": runs,
    }


def has_collapsed(share_of_zone_1: float) -> bool:
    """Whether nearly all taxis are in one zone."""
    return not COLLAPSED <= share_of_zone_1 <= 1.0 - COLLAPSED


HEADERS = ("factor", "level", "entropy bonus", "final reward", "zone 1", "collapsed", "dispatcher", "alone")


def rows(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of the table: means over seeds, their range in brackets."""
    found = []
    for result in results:
        reward, share = np.array(result["reward"]), 100.0 * np.array(result["zone_1"])
        sticks = result["yardsticks"]
        found.append(
            (
                result["factor"],
                result["level"],
                "yes" if result["entropy_bonus"] else "no",
                f"{reward.mean():.2f} [{reward.min():.2f}, {reward.max():.2f}]",
                f"{share.mean():.0f} % [{share.min():.0f}, {share.max():.0f}]",
                f"{sum(result['collapsed'])} of {len(reward)}",
                f"{sticks['dispatcher']['return']:.2f}",
                f"{sticks['alone_without_jams']['value']:.2f}",
            )
        )
    return found


def draw(results: list[dict[str, Any]], study: Study, path: Path) -> None:
    """Reward and share of zone 1 by epoch: a row for each factor, the default in each of them."""
    factors = list(dict.fromkeys(r["factor"] for r in results if r["factor"] != "default"))
    defaults = [r for r in results if r["factor"] == "default"]
    n_rows = max(1, len(factors))
    figure = Figure(figsize=(11, 2.9 * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, 2, squeeze=False, sharex=True)
    for (left, right), factor in zip(panels, factors or ["default"], strict=True):
        here = [r for r in results if r["factor"] == factor and factor != "default"]
        levels = list(dict.fromkeys(r["level"] for r in here))
        for result in [*defaults, *here]:
            is_default = result["factor"] == "default"
            colour = "black" if is_default else f"C{levels.index(result['level'])}"
            style = {"color": colour, "linestyle": "-" if result["entropy_bonus"] else ":"}
            label = f"default: {result['level']}" if is_default else result["level"]
            _draw_curve(
                left, result, "reward", 1.0, {**style, "label": label if result["entropy_bonus"] else None}
            )
            _draw_curve(right, result, "zone_1", 100.0, style)
            if not is_default and factor == "jam weight" and result["entropy_bonus"]:
                dispatcher = result["yardsticks"]["dispatcher"]["return"]
                left.axhline(dispatcher, color=colour, linewidth=0.8, linestyle="--")
        if defaults:
            dispatcher = defaults[0]["yardsticks"]["dispatcher"]["return"]
            left.axhline(dispatcher, color="black", linewidth=0.8, linestyle="--", label="dispatcher's rule")
        left.plot([], [], ":", color="grey", label="no entropy bonus")
        left.set_title(f"{factor}: total reward of a taxi", fontsize=10)
        right.set_title(f"{factor}: share of zone 1 at the end of the episode [%]", fontsize=10)
        left.set_ylim(bottom=0.0)
        right.set_ylim(0.0, 100.0)
        left.legend(frameon=False, fontsize=7)
        for axes in (left, right):
            axes.set_xlim(0, max(1, study.n_epochs - 1))
            axes.grid(alpha=0.25)
    for axes in panels[-1]:
        axes.set_xlabel("epoch (one episode of all taxis)")
    canvas = FigureCanvasAgg(figure)
    with replacing(path) as file:
        canvas.print_png(file)


def _draw_curve(axes: Any, result: dict[str, Any], quantity: str, scale: float, style: dict[str, Any]) -> None:
    found: NDArray[np.float64] | None = curves(result["runs"], result["name"], quantity)
    if found is None:
        return
    epochs, values = np.arange(found.shape[1]), scale * found
    axes.plot(epochs, values.mean(axis=0), **style)
    if len(values) > 1:
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.12, linewidth=0)
