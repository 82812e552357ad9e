"""Figure of how near to an equilibrium the policies of the binned games are."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    BLUE,
    DASHED,
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
