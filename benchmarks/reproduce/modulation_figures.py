"""Figures of ``python -m benchmarks reproduce modulation``."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from mfenvs.files import replacing

COLOURS = {"constant 1": "#777777", "decay": "#c2571a", "beta 8": "#0b6fa4", "decay, beta 8": "#2b8a3e"}
LABELS = {
    "constant 1": "constant",
    "decay": "decay: min(1, tau_0 / t)",
    "beta 8": "modulated, beta = 8",
    "decay, beta 8": "decay and modulated, beta = 8",
}
TYPES = (("consumer", "#0b6fa4"), ("pv", "#c2571a"))


def draw_study(content: dict[str, Any], path: Path) -> None:
    """Loss over the updates (mean and 95 % interval over seeds), and the mean loss of every variant."""
    regimes, block = content["study"], content["protocol"]["block"]
    figure = Figure(figsize=(13.0, 8.4), layout="constrained")
    grid = figure.subplots(2, len(regimes), squeeze=False)
    n_seeds = len(content["seeds"])
    for column, (regime, found) in enumerate(regimes.items()):
        axes = grid[0, column]
        for name, colour in COLOURS.items():
            curves = np.array(found["losses"][name])
            updates = block * (np.arange(curves.shape[1]) + 0.5)
            mean = curves.mean(axis=0)
            half = stats.t.ppf(0.975, n_seeds - 1) * curves.std(axis=0, ddof=1) / np.sqrt(n_seeds)
            axes.plot(updates, mean, color=colour, label=LABELS[name], linewidth=1.4)
            axes.fill_between(updates, np.maximum(mean - half, 1e-6), mean + half, color=colour, alpha=0.2, lw=0)
        axes.set_yscale("log")
        axes.set_title(regime)
        axes.set_xlabel("update")
        axes.set_ylabel("loss: cost of the controls' errors\nin the present equilibrium")
        axes.grid(alpha=0.25)
        _draw_means(grid[1, column], found["summary"])
    grid[0, 0].legend(frameon=False, fontsize=8, title=f"mean of {n_seeds} seeds, 95 % interval", title_fontsize=8)
    _save(figure, path)


def _draw_means(axes: Any, entries: dict[str, Any]) -> None:
    names = list(entries)[::-1]
    for row, name in enumerate(names):
        entry = entries[name]["loss"]
        low, high = entry["interval_95"]
        colour = COLOURS.get(name, "#555555")
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(entry["mean"], row, "o", color=colour, markersize=4)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.axvline(entries["constant 1"]["loss"]["mean"], color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel("mean loss over all updates, 95 % interval", fontsize=9)
    axes.grid(alpha=0.25, axis="x")


def draw_gains(gains: dict[str, Any], path: Path) -> None:
    """Learned gains and constants of each type beside the equilibrium's, with the range over seeds."""
    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    grid = figure.subplots(2, 2, squeeze=False)
    for row, (policy, runs) in enumerate(gains.items()):
        times = np.array(runs[0]["times"])
        for column, (name, exact, label) in enumerate(
            (("gain", "riccati_gain", "gain on the state"), ("constant", "equilibrium_constant", "constant part"))
        ):
            axes = grid[row, column]
            learned, known = np.array([run[name] for run in runs]), np.array(runs[0][exact])
            for kind, (type_name, colour) in enumerate(TYPES):
                values = learned[..., kind]
                low, high = values.min(axis=0), values.max(axis=0)
                axes.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
                axes.plot(times, values.mean(axis=0), color=colour, label=f"{type_name}, learned")
                axes.plot(times, known[:, kind], "--", color=colour, label=f"{type_name}, equilibrium")
                if name == "gain":
                    own = np.array(runs[0]["step_gain"])[:, kind]
                    axes.plot(times, own, ":", color=colour, label=f"{type_name}, best in steps of dt")
            axes.set_title(f"{policy} policy", fontsize=10)
            axes.set_xlabel("time")
            axes.set_ylabel(f"{label} of the control")
            axes.grid(alpha=0.25)
    n_seeds = len(gains["affine"])
    grid[1, 0].legend(frameon=False, fontsize=7, ncols=2)
    grid[0, 1].legend(frameon=False, fontsize=8, title=f"mean and range of {n_seeds} seeds", title_fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    canvas = FigureCanvasAgg(figure)
    with replacing(path) as file:
        canvas.print_png(file)
