"""Where the paper's ratio of Symm-PMD's to IPMD's final exploitability is reached (Yardim & He, figure 1(b, c)).

The paper publishes neither tau, nor M, nor the scale of rewards, prints a mixing weight that would undo the first
epoch, and does not say which policy its curves evaluate. All are varied here, in A-RPS and A-SIS: the reward scale
with M and mixing, then with tau and the exponent of the step sizes.
"""

import dataclasses
import functools
import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich import box
from rich.console import Console
from rich.table import Table

from baselines.tabular.mirror_descent import IPMD, PMDConfig, SymmPMD
from baselines.versions import versions
from benchmarks.reproduce.tasks import Tasks, kept_in, run_all
from mfenvs import n_player_exploitability
from mfenvs.files import replacing, write_json

ALGORITHMS = {"Symm-PMD": SymmPMD, "IPMD": IPMD}
GAMES = {"A-RPS": ("RockPaperScissors-v0", 25), "A-SIS": ("Epidemic-v0", 41)}
"""Game and number of epochs in the paper's figure, epoch 0 included, by the paper's name."""
PAPER_RATIOS = (0.12, 0.18)
"""The ratios of the final exploitabilities that the paper's figures show, .12 to .18 in A-RPS and .16 in A-SIS
(digitised)."""
EVALUATED = ("average", "late average", "last")
"""Evaluated policies: the average of all iterates, which is the algorithm's output; that of the second half of the
epochs; the last iterate."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The settings that are tried."""

    reward_scales: tuple[float, ...] = (0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
    episodes: tuple[int, ...] = (1, 5, 20, 100)
    mixings: tuple[str, ...] = ("shifted", "paper", "none")
    few_reward_scales: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    temperatures: tuple[float, ...] = (0.0, 0.02, 0.1, 0.3)
    step_exponents: tuple[float, ...] = (0.0, 0.5, 1.0)
    n_worlds: int = 8
    """Worlds in which exploitability is estimated."""

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Hyper-parameters of all runs: the trainers' defaults first, then each setting once."""
        tried = [
            {"reward_scale": scale, "episodes": m, "mixing": mixing}
            for mixing, m, scale in itertools.product(self.mixings, self.episodes, self.reward_scales)
        ]
        tried += [
            {"reward_scale": scale, "temperature": tau, "step_exponent": exponent, "mixing": mixing}
            for mixing, exponent, tau, scale in itertools.product(
                self.mixings, self.step_exponents, self.temperatures, self.few_reward_scales
            )
        ]
        return [{}, *tried]


def study(seeds: int, jobs: int, out: Path, kept: Path, grid: Grid = Grid()) -> int:
    """Run what is not kept yet; write study.json, study-average.png and study-last.png. 130 if interrupted."""
    began = time.perf_counter()
    tasks: Tasks = {
        (game, algorithm, settings, seed): functools.partial(
            final_exploitability, game, algorithm, settings, seed, grid.n_worlds
        )
        for game, algorithm, seed in itertools.product(GAMES, ALGORITHMS, range(seeds))
        for settings in map(_hashable, grid.settings)
    }
    settings = {
        "versions": versions(),
        "games": GAMES,
        "n_worlds": grid.n_worlds,
        "defaults": dataclasses.asdict(PMDConfig()),
    }
    found, interrupted = run_all(kept_in(kept, tasks, settings), jobs, "study")
    rows = [
        {
            "game": game,
            "settings": settings,
            "final": {
                algorithm: [
                    found[key]
                    for seed in range(seeds)
                    if (key := (game, algorithm, _hashable(settings), seed)) in found
                ]
                for algorithm in ALGORITHMS
            },
        }
        for game, settings in itertools.product(GAMES, grid.settings)
    ]
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figure 1(b, c)",
        "complete": len(found) == len(tasks),
        "seeds": list(range(seeds)),
        "grid": dataclasses.asdict(grid),
        "rows": rows,
        "versions": versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "study.json", content)
    if content["complete"]:
        for evaluated in ("average", "last"):
            draw_map(rows, grid, evaluated, out / f"study-{evaluated}.png")
        Console().print(closest(rows))
    print(f"{'interrupted, ' if interrupted else ''}{time.perf_counter() - began:.0f} s; written to {out}")
    return 130 if interrupted else 0


def _hashable(settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(settings.items())


def final_exploitability(
    game: str, algorithm: str, settings: tuple[tuple[str, Any], ...], seed: int, n_worlds: int
) -> dict[str, float]:
    """Mean over agents of the exploitability of the evaluated policies after all epochs."""
    name, n_epochs = GAMES[game]
    trainer = ALGORITHMS[algorithm](name, seed=seed, **dict(settings))
    half = n_epochs // 2
    trainer.learn((half - 1) * trainer.timesteps_per_iteration)
    early = half * trainer.policy.probabilities
    trainer.learn((n_epochs - half) * trainer.timesteps_per_iteration)
    average = trainer.policy.probabilities
    policies = {
        "average": average,
        "late average": _normalised((n_epochs * average - early) / (n_epochs - half)),
        "last": trainer.last_policy.probabilities,
    }
    return {
        evaluated: n_player_exploitability(
            trainer.game, policies[evaluated], n_worlds=n_worlds, deviators_per_world=2, seed=1_000_000
        ).mean
        for evaluated in EVALUATED
    }


def _normalised(policy: Any) -> Any:
    """A policy whose rounding errors are taken away."""
    positive = np.maximum(policy, 0.0)
    return positive / positive.sum(axis=-1, keepdims=True)


def ratio(row: dict[str, Any], evaluated: str) -> float:
    """Median over seeds of Symm-PMD's exploitability over that of IPMD."""
    symm, independent = (np.median([end[evaluated] for end in row["final"][name]]) for name in ALGORITHMS)
    return float(symm / independent)


def draw_map(rows: list[dict[str, Any]], grid: Grid, evaluated: str, path: Path) -> None:
    """Draw the ratio by reward scale and M, a panel a game and mixing; framed: the paper's, or better."""
    figure = Figure(figsize=(4.3 * len(grid.mixings), 3.1 * len(GAMES)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(GAMES), len(grid.mixings), squeeze=False)
    of = {(row["game"], _hashable(row["settings"])): row for row in rows}
    for (i, game), (j, mixing) in itertools.product(enumerate(GAMES), enumerate(grid.mixings)):
        ratios = np.array(
            [
                [
                    ratio(of[game, (("reward_scale", scale), ("episodes", m), ("mixing", mixing))], evaluated)
                    for scale in grid.reward_scales
                ]
                for m in grid.episodes
            ]
        )
        ax = axes[i, j]
        image = ax.imshow(ratios, norm=LogNorm(0.1, 10.0), cmap="RdBu_r", aspect="auto", origin="lower")
        for (y, x), value in np.ndenumerate(ratios):
            reached = value <= PAPER_RATIOS[1] + 0.005
            ax.text(
                *(x, y, f"{value:.2f}"),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if abs(np.log10(value)) > 0.6 else "black",
                weight="bold" if reached else "normal",
            )
            if reached:
                ax.add_patch(_frame(x, y))
        ax.set_xticks(range(len(grid.reward_scales)), [f"{scale:g}" for scale in grid.reward_scales])
        ax.set_yticks(range(len(grid.episodes)), [str(m) for m in grid.episodes])
        ax.set_title(f"{game}, mixing {mixing}", fontsize=10)
        if i == len(GAMES) - 1:
            ax.set_xlabel("factor on rewards")
        if j == 0:
            ax.set_ylabel("episodes M an epoch")
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(f"exploitability of Symm-PMD / IPMD, {evaluated} iterate{'s' if evaluated == 'average' else ''}")
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def _frame(x: int, y: int) -> Rectangle:
    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, linewidth=1.8, edgecolor="black")


def closest(rows: list[dict[str, Any]], n_shown: int = 12) -> Table:
    """The settings whose ratios are lowest in both games at once, by the larger of the two."""
    table = Table(
        title="Symm-PMD / IPMD: settings of both games with the smallest ratios",
        caption="Median over seeds; the paper: .12-.18 (A-RPS), .16 (A-SIS).",
        box=box.SIMPLE,
    )
    table.add_column("settings")
    table.add_column("evaluated")
    for game in GAMES:
        table.add_column(game, justify="right")
    for worst, settings, evaluated, ratios in ranked(rows)[:n_shown]:
        assert math.isfinite(worst)
        text = ", ".join(f"{name} {value}" for name, value in settings) or "defaults"
        table.add_row(text, evaluated, *(f"{value:.2f}" for value in ratios))
    return table


def ranked(rows: list[dict[str, Any]]) -> list[tuple[float, tuple[tuple[str, Any], ...], str, list[float]]]:
    """Settings and evaluated policies, with the ratio in each game, in the order of the larger ratio."""
    by_settings: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = {}
    for row in rows:
        by_settings.setdefault(_hashable(row["settings"]), []).append(row)
    found = [
        (max(ratios), settings, evaluated, ratios)
        for settings, pair in by_settings.items()
        for evaluated in EVALUATED
        for ratios in [[ratio(row, evaluated) for row in pair]]
    ]
    return sorted(found, key=lambda entry: entry[0])
