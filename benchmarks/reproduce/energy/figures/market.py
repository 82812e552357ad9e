"""Figures of the auction, its prices, and the payments that follow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    BARS,
    BLUE,
    DARK,
    DASHED,
    GREEN,
    LIGHT,
    SKY,
    VERMILION,
    Style,
    by_policy,
    finite_array,
    hour_axis,
    label_axes,
    legend_below,
    new_figure,
    outer_labels,
    panel_title,
    percentage,
    plain_log_ticks,
    same_length,
    shared_panels,
    step_midpoints,
)

Array = NDArray[np.float64]


def merit_order(
    prices: ArrayLike,
    demand: ArrayLike,
    supply: ArrayLike,
    feed_in: float,
    retail: float,
    price: float,
    volume: float,
) -> Figure:
    """A step's demand and supply against price, the tariffs, and where the market was cleared.

    Parameters
    ----------
    prices, demand, supply, feed_in, retail, price, volume:
        As in :class:`benchmarks.reproduce.energy.order_book.OrderBook`.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not have one shape (n_points,), or are not finite.
    """
    levels = finite_array("prices", prices, None)
    figure = new_figure(4.4)
    ax = figure.subplots()
    bought, sold = (finite_array(n, a, len(levels)) for n, a in (("demand", demand), ("supply", supply)))
    ax.plot(bought, levels, color=BLUE, linewidth=2, label="demand")
    ax.plot(sold, levels, color=VERMILION, linewidth=2, label="supply of the community")
    draw_tariffs(ax, feed_in, retail)
    cleared = f"cleared: {price:.3f} EUR/kWh, {volume:.3f} kWh per member traded locally"
    point: dict[str, Any] = {"markersize": 9, "markerfacecolor": "white", "markeredgewidth": 2, "clip_on": False}
    ax.plot([volume], [price], "o", color="black", zorder=5, label=cleared, **point)
    ax.set_xlim(0, 1.05 * max(bought.max(), sold.max(), volume, 1e-9))
    price_range(ax, feed_in, retail)
    label_axes(ax, "energy (kWh per member)", "price (EUR/kWh)")
    legend_below(figure, ax.get_legend_handles_labels()[0])
    return figure


def price_of_day(
    prices: Mapping[str, ArrayLike],
    feed_in: ArrayLike,
    retail: ArrayLike,
    styles: Mapping[str, Style],
    step_hours: float = 1.0,
) -> Figure:
    """Price through the day for each policy: median and 10-90 % over days; the others' medians in grey.

    Parameters
    ----------
    prices:
        By policy, EUR/kWh, shape (n_days, H).
    feed_in, retail:
        Tariffs, EUR/kWh, shape (H,) or one number.
    styles:
        Of :func:`policy_styles`.
    step_hours:
        Length of a step, hours.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    arrays = by_policy("prices", prices, styles, None, None)
    n_steps = same_length("prices", arrays, axis=1)
    hours = step_midpoints(n_steps, step_hours)
    tariffs = [
        np.broadcast_to(finite_array(name, tariff, *(n_steps,) * min(np.ndim(tariff), 1)), n_steps)
        for name, tariff in (("feed_in", feed_in), ("retail", retail))
    ]
    figure, panels = shared_panels(len(arrays), 2.3)
    medians = {name: np.median(array, axis=0) for name, array in arrays.items()}
    for ax, (name, array) in zip(panels, arrays.items(), strict=True):
        for other, median in medians.items():
            if other != name:
                ax.plot(hours, median, color=LIGHT, linewidth=1, zorder=1)
        low, high = np.quantile(array, (0.1, 0.9), axis=0)
        colour = styles[name].colour
        ax.fill_between(hours, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.plot(hours, medians[name], color=colour, linewidth=2, label=name)
        for tariff in tariffs:
            ax.plot(hours, tariff, **DASHED)
        panel_title(ax, name)
        hour_axis(ax, n_steps * step_hours)
        label_axes(ax, "hour of the day", "price (EUR/kWh)")
    low, high = float(tariffs[0].min()), float(tariffs[1].max())
    price_range(panels[0], low, high)
    outer_labels(panels)
    handles = [
        Line2D([], [], color=DARK, linewidth=2, label="median over days"),
        Patch(color=DARK, alpha=0.25, linewidth=0, label="10-90 % of days"),
        Line2D([], [], color=LIGHT, linewidth=1, label="medians of the other policies"),
        Line2D([], [], label="feed-in and retail tariff", **DASHED),
    ]
    legend_below(figure, handles)
    return figure


def settlement(latencies_ms: ArrayLike, amounts_eur: ArrayLike, succeeded: ArrayLike) -> Figure:
    """How long payments take, and how many of each size succeed.

    Parameters
    ----------
    latencies_ms:
        Of the payments that were routed, > 0, shape (n_routed,), n_routed >= 1: a ledger has none to show.
    amounts_eur:
        Of all payments, > 0, shape (n,).
    succeeded:
        Whether each of them did, shape (n,).

    Raises
    ------
    TypeError, ValueError
        If an array is not as above.
    """
    latencies, amounts = (
        finite_array("latencies_ms", latencies_ms, None),
        finite_array("amounts_eur", amounts_eur, None),
    )
    done = finite_array("succeeded", succeeded, len(amounts))
    for name, array in (("latencies_ms", latencies), ("amounts_eur", amounts)):
        if not array.min() > 0:
            raise ValueError(f"{name} must be > 0, got {array.min():g}")
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    bins = np.geomspace(latencies.min(), latencies.max() * (1 + 1e-9), 31)
    shares = np.histogram(latencies, bins)[0] / len(latencies)
    left.bar(bins[:-1], shares, np.diff(bins), color=SKY, **BARS)
    left.set_xscale("log")
    left.set_ylim(0, 1.2 * shares.max())
    quantiles = {q: float(np.quantile(latencies, q / 100)) for q in (50, 95, 99)}
    for q, value in quantiles.items():
        left.axvline(value, **DASHED)
        side, shift = ("right", -3) if q == 95 else ("left", 3)
        words: dict[str, Any] = {"xytext": (shift, 0), "textcoords": "offset points", "va": "top", "ha": side}
        left.annotate(f"p{q}", (value, 1.19 * shares.max()), color=DARK, fontsize=9, **words)
    panel_title(left, ", ".join(f"p{q}: {value:.0f} ms" for q, value in quantiles.items()))
    plain_log_ticks(left.xaxis)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    label_axes(left, "configured latency of a routed payment (ms, log scale)", "share of payments")
    groups = [group for group in np.array_split(np.argsort(amounts, kind="stable"), 6) if len(group)]
    rates = [done[group].mean() for group in groups]
    right.bar(range(len(groups)), rates, 0.8, color=GREEN)
    for i, rate in enumerate(rates):
        right.annotate(percentage(rate), (i, rate), ha="center", va="bottom", fontsize=9, color=DARK)
    right.set_xticks(range(len(groups)), [f"{amounts[g].max():.2g}" for g in groups], rotation=40, ha="right")
    right.set_ylim(0, 1.12)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    label_axes(right, "sixths of the payments: up to (EUR)", "share settled as it should")
    return figure


def draw_tariffs(ax: Axes, feed_in: float, retail: float) -> None:
    """Both tariffs as lines, with what they mean."""
    for price, words, below in (
        (feed_in, "feed-in tariff: the grid buys any amount", True),
        (retail, "retail tariff: the grid sells any amount", False),
    ):
        ax.axhline(price, zorder=1, **DASHED)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        place |= {"xytext": (0, -3 if below else 3), "va": "top" if below else "bottom", "ha": "right"}
        ax.annotate(words, (0.99, price), fontsize=9, color=DARK, **place)


def price_range(ax: Axes, feed_in: float, retail: float) -> None:
    """Show prices between the tariffs, and a little beyond."""
    margin = 0.1 * (retail - feed_in)
    ax.set_ylim(feed_in - margin, retail + margin)
