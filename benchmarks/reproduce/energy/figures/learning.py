"""Figures of how near to an equilibrium policies are, and of how they were learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    BLUE,
    DASHED,
    Style,
    check_styled,
    finite_array,
    label_axes,
    legend_below,
    new_figure,
    plain_log_ticks,
)
from mfenvs import checks

Array = NDArray[np.float64]


def exploitability_of_days(dates: Sequence[str], exploitability: ArrayLike, tolerance: float) -> Figure:
    """What is left to gain in the binned mean-field game, by day, on a log scale; 0 is drawn at the lower edge.

    Parameters
    ----------
    dates:
        Label of each day.
    exploitability:
        Exploitability of each day's policy, EUR per member and year, >= 0, shape (n_days,).
    tolerance:
        What was asked for, in the same unit, > 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    values = finite_array("exploitability", exploitability, len(dates))
    tolerance = checks.real("tolerance", tolerance, 0.0, exclude_low=True)
    if values.min() < 0:
        raise ValueError(f"exploitability must be >= 0, got {values.min():g}")
    figure = new_figure(3.4)
    ax = figure.subplots()
    lowest = tolerance / 10
    ax.plot(range(len(values)), np.maximum(values, lowest), "o", color=BLUE, markersize=6, label="of each day")
    ax.axhline(tolerance, **DASHED, label="asked for")
    ax.set_yscale("log")
    ax.set_ylim(lowest / 1.5, 2 * max(float(values.max()), tolerance))
    plain_log_ticks(ax.yaxis)
    every = max(1, len(dates) // 12)
    ax.set_xticks(range(0, len(dates), every), list(dates)[::every], rotation=40, ha="right")
    label_axes(ax, "", "exploitability\n(EUR per member and year)")
    legend_below(figure, ax.get_legend_handles_labels()[0])
    return figure


def learning_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    styles: Mapping[str, Style],
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Mean return of the trainers by agent-steps: every run thin, their mean thick.

    Parameters
    ----------
    curves:
        By trainer: agent-steps, shape (n_points,), ascending, and mean returns, EUR per member and year, shape
        (n_runs, n_points).
    styles:
        Of :func:`policy_styles`.
    references:
        Returns to compare with by name, each with a style too, EUR per member and year.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, there is no trainer, or one has no style.
    """
    given = {}
    for name, (timesteps, returns) in curves.items():
        at = finite_array(f"timesteps of {name}", timesteps, None)
        given[name] = at, finite_array(f"returns of {name}", returns, None, len(at))
    check_styled("curves", given, styles)
    figure = new_figure(3.8)
    ax = figure.subplots()
    draw_runs(ax, given, styles)
    for name, value in (references or {}).items():
        check_styled("references", {name: value}, styles)
        level = checks.real(f"references[{name!r}]", value)
        ax.axhline(level, color=styles[name].colour, linestyle="--", linewidth=1.6, label=name)
    ax.xaxis.set_major_formatter(FuncFormatter(_millions))
    label_axes(ax, "agent-steps", "mean return\n(EUR per member and year)")
    legend_below(figure, ax.get_legend_handles_labels()[0])
    return figure


def draw_runs(ax: Axes, curves: Mapping[str, tuple[Array, Array]], styles: Mapping[str, Style]) -> None:
    """Draw every run of each trainer thin, and their mean thick."""
    for name, (at, runs) in curves.items():
        style, label = styles[name], name
        if len(runs) > 1:
            ax.plot(at, runs.T, color=style.colour, alpha=0.35, linewidth=0.8)
            label += f" ({len(runs)} runs)"
        ax.plot(at, runs.mean(axis=0), color=style.colour, linestyle=style.line, linewidth=2, label=label)
    ax.set_xlim(min(at[0] for at, _ in curves.values()), max(at[-1] for at, _ in curves.values()))


def _millions(value: float, _: Any) -> str:
    return (
        f"{value / 1e6:g} M" if abs(value) >= 1e6 else f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"
    )
