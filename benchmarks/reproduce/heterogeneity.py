"""Figure 2(a) of Yardim & He (arXiv 2408.15173): how exploitable the mean-field equilibrium is, by heterogeneity.

All N = 1000 agents of A-SIS play an equilibrium of the induced mean-field game. Its exploitability in the
N-player game is measured for several draws of the agents, over alpha with beta = 0 and over beta with alpha = 0;
the axis is alpha or beta as :func:`mfenvs.meanfield.symmetry.approximate_symmetry` finds it for the agents that
were drawn.

Where this differs from the paper, by need. It does not publish the centres of the agents' parameters, the law of
their noise, which statistic over agents it draws, or its equilibria. The half-width of the infection rates cannot
exceed 0.1 around the default centre 0.9, so that alpha < 0.2 there; a third sweep around 0.875 reaches 1/4.

By choice, agents come in pairs that mirror each other about the centre. The rules of A-SIS are affine in each
parameter, so that the induced game reads their means only: it is that of equal agents at every heterogeneity. All
points of a curve are so at one and the same equilibrium (A-SIS has several), and differ in heterogeneity alone.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from baselines.versions import versions
from benchmarks.reproduce.equilibrium import find_equilibrium
from benchmarks.reproduce.given_agents import with_agents
from benchmarks.reproduce.gmf_q_figures import interval
from benchmarks.reproduce.promised import promised
from benchmarks.reproduce.tasks import Tasks, run_all
from mfenvs import FiniteGame, InducedGame, checks, make, n_player_exploitability
from mfenvs.files import replacing, write_json
from mfenvs.meanfield.symmetry import approximate_symmetry

RESULTS = Path("runs") / "heterogeneity"
GAME = "Epidemic-v0"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One curve: what is varied, and around which centre."""

    label: str
    width: str
    """The half-width that is varied: ``alpha_width`` or ``beta_width``; the other one is 0."""
    asymmetry: str
    """What the axis shows: ``alpha`` or ``beta``."""
    susceptibility: float
    """Centre of the infection rates."""
    half_widths: tuple[float, ...]
    colour: str


TARGETS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.24)
SWEEPS = (
    Sweep(
        label="beta (alpha = 0, infection rate 0.9)",
        width="beta_width",
        asymmetry="beta",
        susceptibility=0.9,
        half_widths=TARGETS,
        colour="#0b6fa4",
    ),
    Sweep(
        label="alpha (beta = 0, infection rates around 0.9)",
        width="alpha_width",
        asymmetry="alpha",
        susceptibility=0.9,
        half_widths=tuple(target / 2 for target in TARGETS if target < 0.2),
        colour="#c2571a",
    ),
    Sweep(
        label="alpha (beta = 0, infection rates around 0.875)",
        width="alpha_width",
        asymmetry="alpha",
        susceptibility=0.875,
        half_widths=tuple(target / 2 for target in TARGETS),
        colour="#2b8a3e",
    ),
)
DEVIATORS = 64
"""Number of agents, drawn at random in each world, whose mean gain is measured."""
GAIN = 1e-3
"""Gain in the total reward of an episode from which on an agent counts as one who gains by deviating."""
STATISTICS = {"max": "maximum over agents", "mean": "mean over agents"}


@dataclasses.dataclass
class Flags:
    """Exploitability of the mean-field equilibrium of A-SIS among N agents, by their heterogeneity."""

    draws: int = 10
    """Number of draws of the agents at every heterogeneity, at least 2."""
    n_agents: int = 1000
    """Number of agents N, even: they come in pairs."""
    n_worlds: int = 128
    """Number of simulated worlds in each measurement."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where figure and JSON go; committed are those in benchmarks/results/heterogeneity."""


def main(words: list[str], sweeps: tuple[Sweep, ...] = SWEEPS) -> int:
    """Run the reproduction; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce heterogeneity")
    checks.integer("draws", flags.draws, 2)
    if checks.integer("n_agents", flags.n_agents, 4) % 2:
        raise ValueError(f"n_agents must be even, got {flags.n_agents}")
    began = time.perf_counter()
    tasks: Tasks = {}
    for number, sweep in enumerate(sweeps):
        for half_width in (0.0, *sweep.half_widths):
            # Equal agents are drawn in one way only.
            for draw in range(flags.draws if half_width else 1):
                tasks[number, half_width, draw] = functools.partial(
                    measured, sweep, half_width, draw, flags.n_agents, flags.n_worlds
                )
    found, interrupted = run_all(tasks, flags.jobs, "heterogeneity")
    curves = [
        curve(sweep, [found[key] for key in sorted(found) if key[0] == number])
        for number, sweep in enumerate(sweeps)
    ]
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figure 2(a)",
        "complete": len(found) == len(tasks),
        "seeds": list(range(flags.draws)),
        "n_worlds": flags.n_worlds,
        "game": {"name": GAME, **make(GAME, n_agents=flags.n_agents).describe()},
        "curves": curves,
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    if content["complete"]:
        figure_of(sweeps, curves, flags, flags.out / "heterogeneity.png")
        for one in curves:
            Console().print(table(one))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def measured(sweep: Sweep, half_width: float, draw: int, n_agents: int, n_worlds: int) -> dict[str, Any]:
    """One draw of the agents: its asymmetry, its equilibrium, and how exploitable that is among the agents."""
    game = mirrored_game(sweep, half_width, draw, n_agents)
    policy = _equilibrium_of_equals(sweep.susceptibility)
    error = InducedGame(game).exploitability(policy)
    symmetry = approximate_symmetry(game)
    if half_width == 0.0:
        # One agent stands for all.
        found = n_player_exploitability(game, policy, n_worlds=16 * n_worlds, agents=[0], seed=draw)
    else:
        found = n_player_exploitability(
            game, policy, n_worlds=n_worlds, deviators_per_world=min(DEVIATORS, n_agents), seed=draw
        )
    return {
        "half_width": half_width,
        "draw": draw,
        "alpha": symmetry.alpha,
        "beta": symmetry.beta,
        "mean_field_exploitability": error,
        "share_who_gain": float((found.per_agent > GAIN).mean()),
        "theorem_1": promised(game, error, symmetry).total,
        **found.summary(),
    }


def mirrored_game(sweep: Sweep, half_width: float, draw: int, n_agents: int) -> FiniteGame:
    """A-SIS with agents in pairs, whose parameters lie opposite each other about the centre of the sweep."""
    widths = {"alpha_width": 0.0, "beta_width": 0.0, sweep.width: half_width}
    game = make(GAME, n_agents=n_agents // 2, agents_seed=draw, susceptibility=sweep.susceptibility, **widths)
    assert isinstance(game, FiniteGame)
    half, other_half = game.agents, game.agents.copy()
    for name in half.dtype.names:
        other_half[name] = 2.0 * getattr(game, name) - half[name]
    return with_agents(game, np.concatenate([half, other_half]), n_agents)


@functools.cache
def _equilibrium_of_equals(susceptibility: float) -> Any:
    game = make(GAME, heterogeneity=0.0, susceptibility=susceptibility)
    assert isinstance(game, FiniteGame)
    return find_equilibrium(game).policy


def curve(sweep: Sweep, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of a sweep, and by half-width their means over the draws with 95 % intervals."""
    points = []
    for half_width in sorted({row["half_width"] for row in rows}):
        some = [row for row in rows if row["half_width"] == half_width]
        point = {
            "half_width": half_width,
            "asymmetry": float(np.mean([row[sweep.asymmetry] for row in some])),
            "theorem_1": float(np.mean([row["theorem_1"] for row in some])),
        }
        for name in STATISTICS:
            values = np.array([row[f"{name}_lower_bound"] for row in some])
            if len(some) > 1:
                mean, half = interval(values, 0.95)
                low, high = mean - half, mean + half
            else:
                mean, (low, high) = values[0], some[0][f"{name}_lower_bound_95"]
            point[name], point[f"{name}_95"] = float(mean), [float(low), float(high)]
        points.append(point)
    return {"label": sweep.label, "asymmetry": sweep.asymmetry, "points": points, "rows": rows}


def figure_of(sweeps: tuple[Sweep, ...], curves: list[dict[str, Any]], flags: Flags, path: Path) -> None:
    """Draw the maximum and the mean over agents by measured alpha or beta."""
    figure = Figure(figsize=(12.0, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for ax, (name, statistic) in zip(axes, STATISTICS.items(), strict=True):
        for sweep, one in zip(sweeps, curves, strict=True):
            x = [point["asymmetry"] for point in one["points"]]
            low, high = np.array([point[f"{name}_95"] for point in one["points"]]).T
            values = [point[name] for point in one["points"]]
            ax.plot(x, values, "o-", color=sweep.colour, markersize=4, label=sweep.label)
            ax.fill_between(x, low, high, color=sweep.colour, alpha=0.2, linewidth=0)
            for row in one["rows"]:
                y, (bottom, top) = row[f"{name}_lower_bound"], row[f"{name}_lower_bound_95"]
                ax.errorbar(
                    row[sweep.asymmetry],
                    y,
                    [[y - bottom], [top - y]],
                    fmt=".",
                    color=sweep.colour,
                    markersize=2,
                    alpha=0.45,
                    linewidth=0.8,
                )
        ax.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
        ax.set_xlabel("measured alpha (l1 distance of transition rows) or beta (reward a step)")
        ax.set_ylabel(f"exploitability, {statistic}\n(total reward of an episode)")
        ax.grid(alpha=0.25)
    figure.suptitle(
        f"Mean-field equilibrium of A-SIS among N = {flags.n_agents} agents: gain of a best response in fresh"
        f" simulations.\nBand: 95 % interval of the mean over {flags.draws} draws of the agents; bars: 95 %"
        " interval of each draw",
        fontsize=10,
    )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def table(one: dict[str, Any]) -> Table:
    """One sweep's points."""
    found = Table(title=one["label"], caption="Mean over draws and its 95 % interval.")
    for header in (one["asymmetry"], "maximum over agents", "mean over agents", "Theorem 1"):
        found.add_column(header, justify="right")
    for point in one["points"]:
        cells = []
        for name in STATISTICS:
            low, high = point[f"{name}_95"]
            cells.append(f"{point[name]:.4f} [{low:.4f}, {high:.4f}]")
        found.add_row(f"{point['asymmetry']:.3f}", *cells, f"{point['theorem_1']:.3g}")
    return found
