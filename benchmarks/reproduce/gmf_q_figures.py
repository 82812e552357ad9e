"""The figures of the reproduction of arXiv 1901.09585."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import stdtrit

from mfenvs.files import replacing

COLOURS = {"GMF-Q": "#0b6fa4", "MF-Q": "#2b8a3e", "IL": "#c2571a", "naive": "#c2571a", "exact": "0.2"}


def interval(samples: NDArray[np.float64], confidence: float = 0.9) -> tuple[Any, Any]:
    """Mean over the first axis and half of its Student interval."""
    n = len(samples)
    half = stdtrit(n - 1, 0.5 + confidence / 2) * samples.std(axis=0, ddof=1) / np.sqrt(n)
    return samples.mean(axis=0), half


def draw_fluctuation(content: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    """How far the population moves in each outer iteration, l_inf and l_1; one line per path."""
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    labels = {"naive": "naive, learned Q", "GMF-Q": "GMF-Q", "exact": "naive, exact Q"}
    for ax, (norm, title) in zip(axes, (("linf", r"$l_\infty$"), ("l1", r"$l_1$")), strict=True):
        for name, runs in content.items():
            moves = np.array([run[norm] for run in runs])
            iterations = np.arange(1, moves.shape[1] + 1)
            label = f"{labels[name]}: {len(runs)} paths" if len(runs) > 1 else labels[name]
            style = "--" if name == "exact" else "-"
            if len(runs) > 1:
                ax.plot(iterations, moves.T, color=COLOURS[name], alpha=0.25, linewidth=0.7)
                label += ", median thick"
            ax.plot(iterations, np.median(moves, axis=0), style, color=COLOURS[name], linewidth=2, label=label)
        ax.set_title(f"fluctuation in {title}", fontsize=10)
        ax.set_xlabel("outer iteration k")
        ax.set_ylabel(f"{title} distance of $L_{{k}}$ and $L_{{k-1}}$ (probability)")
        ax.set_xlim(1, iterations[-1])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def draw_tables(content: dict[str, list[list[float]]], path: Path) -> None:
    """Heat maps of the Q tables of GMF-V and GMF-Q, and of their difference."""
    exact, learned = (np.array(content[name]) for name in ("GMF-V", "GMF-Q"))
    figure = Figure(figsize=(12.0, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    low, high = min(exact.min(), learned.min()), max(exact.max(), learned.max())
    difference = learned - exact
    largest = np.abs(difference).max()
    panels: tuple[tuple[str, NDArray[np.float64], str, float, float], ...] = (
        ("GMF-V", exact, "viridis", low, high),
        ("GMF-Q, 10,000 sweeps", learned, "viridis", low, high),
        ("GMF-Q - GMF-V", difference, "coolwarm", -largest, largest),
    )
    for ax, (title, values, colours, least, most) in zip(axes, panels, strict=True):
        image = ax.imshow(values, cmap=colours, vmin=least, vmax=most, origin="lower", aspect="auto")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("bid a")
        ax.set_ylabel("budget s")
        figure.colorbar(image, ax=ax, label="Q(s, a), discounted reward")
    _save(figure, path)


def draw_comparison(
    content: dict[str, dict[str, list[dict[str, list[float]]]]],
    configurations: tuple[tuple[int, int], ...],
    measured_at: tuple[int, ...],
    path: Path,
) -> None:
    """C(pi), and the gap without the denominator, by outer iteration; bands are 90 % intervals of the mean."""
    figure = Figure(figsize=(4.1 * len(configurations), 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(configurations), sharex=True)
    rows = (("relative", r"$C(\pi)$"), ("absolute", "absolute gap\n(discounted reward)"))
    for column, (size, n_agents) in enumerate(configurations):
        curves = content[f"{size}-{n_agents}"]
        for row, (quantity, label) in enumerate(rows):
            ax = axes[row, column]
            for name, runs in curves.items():
                mean, half = interval(np.array([run[quantity] for run in runs]))
                ax.plot(measured_at, mean, color=COLOURS[name], marker=".", label=f"{name} ({len(runs)} paths)")
                ax.fill_between(
                    measured_at, mean - half, mean + half, color=COLOURS[name], alpha=0.25, linewidth=0
                )
            ax.set_yscale("log")
            ax.grid(alpha=0.25, which="both")
            if column == 0:
                ax.set_ylabel(label)
        axes[0, column].set_title(f"|S| = |A| = {size}, N = {n_agents}", fontsize=10)
        axes[1, column].set_xlabel("outer iteration k")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def draw_study(rows: dict[str, Any], path: Path) -> None:
    """C(pi) by row and algorithm, of three policies of each learner; whiskers are intervals over seeds.

    Best responses are stationary, and in rows with exact values those of the joint state.
    """
    panels = (
        ("own", "the policy by which it acts"),
        ("c = 16", "softmax of its values, c = 16"),
        ("greedy", "greedy"),
    )
    figure = Figure(figsize=(13.0, 1.5 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True)
    names = list(rows)
    shifts = {"GMF-Q": -0.22, "MF-Q": 0.0, "IL": 0.22}
    for ax, (evaluation, title) in zip(axes, panels, strict=True):
        for name, shift in shifts.items():
            found = []
            for content in rows.values():
                compared = content["compared"]
                exact = f"{evaluation}, exact"
                found.append(
                    compared[exact if exact in compared else f"{evaluation}, stationary"][name]["relative"]
                )
            mean, low, high = np.array(found).T
            whiskers = np.maximum(0.0, [mean - low, high - mean])
            ax.errorbar(
                mean, np.arange(len(names)) + shift, xerr=whiskers, fmt="o", ms=4, color=COLOURS[name], label=name
            )
        ax.set_xscale("log")
        ax.set_xlabel(r"$C(\pi)$")
        ax.set_title(f"judged: {title}", fontsize=10)
        ax.grid(alpha=0.25, which="both")
    axes[0].set_yticks(np.arange(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)
