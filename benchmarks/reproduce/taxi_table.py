"""The table of the reproduction on A-Taxi: ours beside the paper's."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich import box
from rich.table import Table

from benchmarks.reproduce.taxi_training import curves
from benchmarks.reproduce.taxi_variants import VARIANTS

EPOCHS = (100, 200, 590)
"""The epochs at which the paper's curves were read."""
LAST = 10
"""Number of epochs at the end of a run over which final figures are averaged."""
HEADERS = (
    "variant",
    "seeds",
    "epochs",
    *(f"reward at {epoch} (paper)" for epoch in EPOCHS),
    "fresh worlds",
    "zone 1",
    "trained deviator gains",
    "bounds by planning",
    "CPU s an epoch",
)


def rows(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of the table, one for each variant that has runs: means over seeds, their range in brackets.

    Rewards are totals of an episode. Deviators were trained for some seeds only: theirs are gains with 95 %
    intervals, lower bounds on the mean exploitability over taxis. Bounds by planning are means over seeds.
    """
    found = []
    for name, variant in VARIANTS.items():
        rewards, shares = (curves(runs, name, quantity) for quantity in ("reward", "zone_1"))
        if rewards is None or shares is None:
            continue
        own = [run for run in runs if run["variant"] == name]
        planned = [run["exploitability_by_planning"] for run in own if "exploitability_by_planning" in run]
        gains = [run["exploitability_lower_bound"] for run in own if "exploitability_lower_bound" in run]
        # A run that is under way may end with an epoch whose update is not done.
        seconds = [row["cpu_seconds"] for run in own for row in run["curve"] if "cpu_seconds" in row]
        found.append(
            (
                name,
                str(len(rewards)),
                str(rewards.shape[1]),
                *(_at(rewards.mean(axis=0), epoch, variant.paper) for epoch in EPOCHS),
                _mean_and_range([run["final"]["return"] for run in own if "final" in run]),
                _mean_and_range(100.0 * shares[:, -LAST:].mean(axis=1), 0, " %"),
                ", ".join("{:.2f} [{:.2f}, {:.2f}]".format(g["value"], *g["interval_95"]) for g in gains),
                " to ".join(f"{np.mean([p[side]['value'] for p in planned]):.2f}" for side in ("lower", "upper"))
                if planned
                else "",
                f"{np.median(seconds):.2f}" if seconds else "",
            )
        )
    return found


def _at(mean: Any, epoch: int, paper: dict[int, float]) -> str:
    if epoch >= len(mean):
        return ""
    return f"{mean[epoch]:.2f}" + (f" ({paper[epoch]})" if epoch in paper else "")


def _mean_and_range(values: ArrayLike, decimals: int = 2, unit: str = "") -> str:
    found = np.asarray(values)
    if not len(found):
        return ""
    mean, low, high = (f"{x:.{decimals}f}" for x in (found.mean(), found.min(), found.max()))
    return f"{mean}{unit}" + (f" [{low}, {high}]" if len(found) > 1 else "")


def in_terminal(title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal: where that is narrow cells have more lines, and nothing is cut off."""
    table = Table(title=title, box=box.SIMPLE)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
