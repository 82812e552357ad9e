"""Investments in product quality, figure 4 of Subramanian & Mahajan (AAMAS 2019): learned equilibria.

Learning curves of two-timescale policy gradient, 100 runs, for threshold policies (a threshold for each product,
by SPSA) and networks (likelihood ratio), with the exact threshold equilibrium, and with the value of never
investing, which is no equilibrium.

Where this differs from the paper, by need. Products do not affect each other, neither in their dynamics nor in
their rewards: each is learned as a game of its own on a fine grid, the values of its runs are added up over
products, and a network sees the quality of its own product only. The paper prints neither the numbers of its
curves nor what malware's page lists. Values are those in the mean field after B = 200 exact steps, which is what
learners estimate: in the long run even the rarest investments would take everybody to the highest quality.
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
from rich.table import Table

from baselines.versions import versions
from benchmarks.reproduce.stationary_curves import (
    CurveFlags,
    Protocol,
    Variant,
    draw_curves,
    draw_exact,
    learning_tasks,
    quartiles,
    write_results,
)
from benchmarks.reproduce.tasks import run_all
from mfenvs import InducedGame
from mfenvs.games.investment import Investment
from mfenvs.meanfield.stationary import best_response_gap, threshold_search

RESULTS = Path("runs") / "investments"
GAME = "Investment-v0"

VARIANTS = {
    "threshold": Variant("LSMFE, thresholds", {"policy": "threshold", "direction": "below"}, "#0b6fa4"),
    "network": Variant("LSMFE, networks", {"policy": "network", "hidden_sizes": (8, 16)}, "#0b6fa4"),
    "threshold-welfare": Variant(
        "LSMF-SO, thresholds",
        {"policy": "threshold", "direction": "below", "objective": "social-welfare"},
        "#c2571a",
    ),
}


@dataclasses.dataclass
class Flags(CurveFlags):
    """Learned equilibria of investments in product quality, beside exact ones."""

    levels: int = 401
    """Number of levels of each product's grid."""
    out: Path = RESULTS
    """Where figure and JSON go; committed are those in benchmarks/results/investments."""


def main(words: list[str]) -> int:
    """Run the reproduction; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce investments")
    began = time.perf_counter()
    protocol = Protocol(n_runs=flags.runs, n_iterations=flags.iterations, measured_every=20)
    whole = Investment()
    products = range(len(whole.benefits))
    games = [functools.partial(whole.one_product, j, n_levels=flags.levels) for j in products]
    exact = [exact_solution(game()) for game in games]
    tasks = learning_tasks(games, VARIANTS, protocol, flags.seed)
    found, interrupted = run_all(tasks, flags.jobs, "investments")
    curves = {}
    for name in VARIANTS:
        parts = [found[name, j] for j in products if (name, j) in found]
        if len(parts) == len(products):
            values = np.sum([part["values"] for part in parts], axis=0)
            curves[name] = {**quartiles(values), "products": parts}
    content = {
        "source": "Subramanian & Mahajan, AAMAS 2019, figure 4 (product investments)",
        "complete": len(found) == len(tasks),
        "seed": flags.seed,
        "game": {"name": GAME, **whole.describe(), "states": "grid", "n_levels": flags.levels},
        "protocol": {**dataclasses.asdict(protocol), "measured_at": protocol.measured_at},
        "exact": {
            "products": exact,
            **{
                key: float(sum(one[key] for one in exact))
                for key in ("equilibrium", "never", "never_gap", "optimum")
            },
        },
        "curves": curves,
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    return write_results(content, interrupted, flags.out, lambda: draw(content, protocol), lambda: table(content))


def exact_solution(game: Any) -> dict[str, Any]:
    """Exact threshold equilibrium of one product, the best threshold policy, and the gap of never investing."""
    induced = InducedGame(game)
    search = threshold_search(induced)
    # Investing below a threshold is to play action 0 at and above it.
    equilibrium = next(c for c in search.candidates if c.probability == 1.0 and c.upper_action == 0)
    never = np.zeros(induced.policy_shape)
    never[..., 0] = 1.0
    gap = best_response_gap(induced, never)
    return {
        "threshold": equilibrium.threshold,
        "equilibrium": equilibrium.value,
        "equilibrium_gap": equilibrium.gap,
        "never": gap.value,
        "never_gap": gap.gap,
        "optimum": search.social_optimum.value,
        "optimal_threshold": search.social_optimum.threshold,
        "optimal_upper_action": search.social_optimum.upper_action,
    }


def draw(content: dict[str, Any], protocol: Protocol) -> Figure:
    """Draw the learning curves of thresholds and of networks."""
    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    exact = content["exact"]
    lines = {"threshold SMFE": exact["equilibrium"], "never invest (no SMFE)": exact["never"]}
    for axes, policy in zip(figure.subplots(1, 2), ("threshold", "network"), strict=True):
        curves = {name: curve for name, curve in content["curves"].items() if name.startswith(policy)}
        draw_curves(axes, curves, VARIANTS, protocol)
        draw_exact(axes, lines)
        axes.set_title(f"{policy} policies, median and quartiles of {protocol.n_runs} runs")
        axes.legend(frameon=False)
    return figure


def table(content: dict[str, Any]) -> Table:
    """Values at the end, beside the exact ones."""
    exact = content["exact"]
    found = Table(
        title="Investments: value J at the end, all products",
        caption=f"Exact: threshold equilibrium {exact['equilibrium']:.4f}; never investing {exact['never']:.4f},"
        f" whose best-response gap is {exact['never_gap']:.3f}. Median and quartiles over runs.",
    )
    found.add_column("")
    found.add_column("learned", justify="right")
    for name, curve in content["curves"].items():
        middle, low, high = (curve[part][-1] for part in ("median", "lower_quartile", "upper_quartile"))
        found.add_row(name, f"{middle:.4f} [{low:.4f}, {high:.4f}]")
    return found
