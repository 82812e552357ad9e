"""Figure of the calibration of forecasts."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    BARS,
    DARK,
    SKY,
    VERMILION,
    finite_array,
    label_axes,
    new_figure,
    panel_title,
)
from mfenvs import checks
from mfenvs.energy.forecast import WEEK
from mfenvs.energy.forecast_scores import hac_standard_error

Array = NDArray[np.float64]

MOST_DAYS = 36_500
"""Most days of forecasts."""


def forecast_calibration(
    pits: Mapping[str, Mapping[str, ArrayLike]], days: Mapping[str, ArrayLike], n_bins: int = 10
) -> Figure:
    """Histograms of the probability integral transform with 95 % intervals: flat at 1 if forecasts are calibrated.

    The intervals are of each bin by itself, by the estimator of Newey and West on the daily shares, lags up to a
    week (:func:`mfenvs.energy.forecast_scores.hac_standard_error`): hours and days are not independent.

    Parameters
    ----------
    pits:
        By series, then by forecaster (the same for every series): in [0, 1], shape (n_hours,).
    days:
        By series, the day of each hour, integers from 0 on that do not fall, shape (n_hours,); more than 7 days.
    n_bins:
        Number of bins.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    n_bins = checks.integer("n_bins", n_bins, 2)
    if not pits or not all(pits.values()):
        raise ValueError("pits must have a series, and each of them a forecaster")
    names = list(next(iter(pits.values())))
    figure = new_figure(0.8 + 1.75 * len(pits))
    axes = figure.subplots(len(pits), len(names), sharex=True, sharey="row", squeeze=False)
    edges = np.linspace(0, 1, n_bins + 1)
    for row, (series, forecasters) in enumerate(pits.items()):
        if list(forecasters) != names:
            raise ValueError(f"pits[{series!r}] must have the forecasters {names}, got {list(forecasters)}")
        for ax, (name, values) in zip(axes[row], forecasters.items(), strict=True):
            density, half = pit_density(values, days[series], n_bins)
            ax.bar(edges[:-1], density, 1 / n_bins, color=SKY, **BARS)
            middles, bars = edges[:-1] + 0.5 / n_bins, {"fmt": "none", "ecolor": DARK, "elinewidth": 1.2}
            ax.errorbar(middles, density, yerr=half, capsize=2, **bars)
            ax.axhline(1, color=VERMILION, linewidth=1.4)
            panel_title(ax, f"{series}: {name}")
            label_axes(ax, "", "density" if ax is axes[row, 0] else "")
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for ax in axes[:, 0]:
        ax.set_ylim(bottom=0)
    figure.supxlabel("probability that the forecast gave to a lower value (PIT)", fontsize=10, color=DARK)
    return figure


def pit_density(pits: ArrayLike, days: ArrayLike, n_bins: int = 10) -> tuple[Array, Array]:
    """Density of the probability integral transform in each bin, and half of its 95 % interval.

    Parameters
    ----------
    pits:
        In [0, 1], in order of time, shape (n_hours,).
    days:
        Day of each hour, integers from 0 on that do not fall, shape (n_hours,); more than 7 days.
    n_bins:
        Number of bins.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    values = finite_array("pits", pits, None)
    day = checks.indices("days", days, values.shape, 0, MOST_DAYS)
    n_days = int(day.max()) + 1
    if (np.diff(day) < 0).any() or n_days <= WEEK or values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"pits must be in [0, 1], of more than {WEEK} days in their order, got {len(values)} of {n_days} days"
            f" in [{values.min():g}, {values.max():g}]"
        )
    bins = np.minimum((values * n_bins).astype(np.int64), n_bins - 1)
    counts = np.bincount(day * n_bins + bins, minlength=n_days * n_bins).reshape(n_days, n_bins)
    hours = counts.sum(axis=1, keepdims=True)
    density: Array = n_bins * counts.sum(axis=0) / hours.sum()
    # Of a ratio of sums over days, which have different numbers of hours.
    residuals = (n_bins * counts - density * hours) / hours.mean()
    half = np.array([1.959964 * hac_standard_error(residual, WEEK) for residual in residuals.T])
    return density, half
