"""Figures of the community and the grid: single days, the year's hours, batteries."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    DARK,
    LIGHT,
    PER_ROW,
    TYPE_COLOURS,
    TYPE_WORDS,
    Style,
    by_policy,
    draw_point,
    finite_array,
    hour_axis,
    label_axes,
    legend_below,
    new_figure,
    outer_labels,
    panel_title,
    same_length,
    step_edges,
    step_midpoints,
)
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]


class DayOfGrid(NamedTuple):
    """A day of the community; energies in kWh per member and step."""

    load: ArrayLike
    """Inelastic load of each type in the order of :data:`~mfenvs.games.energy.prosumer_types.TYPES`, (T, H)."""
    generation: ArrayLike
    """PV and wind generation of each type, (T, H)."""
    exchange: Mapping[str, ArrayLike]
    """Net import by policy, negative for an export, (H,)."""
    charge: Mapping[str, ArrayLike]
    """State of charge of all batteries by policy, in [0, 1], before each step and at the end, (H + 1,)."""


def typical_days(days: Mapping[str, DayOfGrid], styles: Mapping[str, Style], step_hours: float = 1.0) -> Figure:
    """Days side by side: load and generation by type, exchange with the grid, and batteries.

    Parameters
    ----------
    days:
        The days by their titles.
    styles:
        Of :func:`benchmarks.reproduce.energy.figures.style.policy_styles`.
    step_hours:
        Length of a step, hours.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no day, or a policy has no style.
    """
    if not days:
        raise ValueError("days must have at least one, got none")
    figure = new_figure(9.6)
    axes = figure.subplots(4, len(days), sharey="row", squeeze=False, height_ratios=(2, 2, 2.6, 1.8))
    for column, (title, day) in enumerate(days.items()):
        used = finite_array("load", day.load, len(TYPES), None)
        n_steps = used.shape[1]
        made = finite_array("generation", day.generation, len(TYPES), n_steps)
        edges, middles = step_edges(n_steps, step_hours), step_midpoints(n_steps, step_hours)
        of_load, of_generation, of_exchange, of_charge = axes[:, column]
        for ax, what, array in ((of_load, "load", used), (of_generation, "generation", made)):
            base = np.zeros(n_steps)
            for name, energy in zip(TYPES, array / step_hours, strict=True):
                if not (used[TYPES.index(name)].any() or made[TYPES.index(name)].any()):
                    continue
                shown: dict[str, Any] = {"color": TYPE_COLOURS[name], "alpha": 0.85, "label": TYPE_WORDS[name]}
                ax.stairs(base + energy, edges, baseline=base, fill=True, **shown)
                base = base + energy
            panel_title(ax, f"{title}: {what} by type")
            ax.set_ylim(bottom=0)
        for name, net in by_policy("exchange", day.exchange, styles, n_steps).items():
            style = styles[name]
            shown = {"color": style.colour, "linewidth": style.width, "label": name}
            of_exchange.plot(middles, net / step_hours, style.line, **shown)
        of_exchange.axhline(0, color=DARK, linewidth=0.8)
        panel_title(of_exchange, "net exchange with the grid")
        for name, level in by_policy("charge", day.charge, styles, n_steps + 1).items():
            style = styles[name]
            of_charge.plot(edges, level, style.line, color=style.colour, linewidth=style.width)
        panel_title(of_charge, "charge of the batteries")
        of_charge.set_ylim(-0.03, 1.03)
        of_charge.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        for ax, words in (
            (of_load, "power\n(kW per member)"),
            (of_generation, "power\n(kW per member)"),
            (of_exchange, "import + / export -\n(kW per member)"),
            (of_charge, "state of charge"),
        ):
            hour_axis(ax, n_steps * step_hours)
            label_axes(ax, "hour of the day" if ax is of_charge else "", "" if column else words)
    kinds = axes[0, 0].get_legend_handles_labels()[0]
    legend_below(figure, [*kinds, *axes[2, 0].get_legend_handles_labels()[0]])
    return figure


def load_duration(exchange: Mapping[str, ArrayLike], styles: Mapping[str, Style]) -> Figure:
    """Load-duration curves: the exchange with the grid in all hours, the largest import first.

    Parameters
    ----------
    exchange:
        Net import by policy, kW per member, shape (n_hours,).
    styles:
        Of :func:`benchmarks.reproduce.energy.figures.style.policy_styles`.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    nets = by_policy("exchange", exchange, styles, None)
    same_length("exchange", nets, axis=0)
    figure = new_figure(4.4)
    whole, peak = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, net in nets.items():
        style, ordered = styles[name], np.sort(net)[::-1]
        share = (np.arange(len(net)) + 0.5) / len(net)
        shown: dict[str, Any] = {"color": style.colour, "linewidth": style.width, "label": name}
        whole.plot(share, ordered, style.line, **shown)
        is_top = share <= TOP_SHARE
        peak.plot(share[is_top], ordered[is_top], style.line, **shown)
    whole.axhline(0, color=DARK, linewidth=0.8)
    for ax, title, last in ((whole, "all hours", 1.0), (peak, "the hours of the largest import", TOP_SHARE)):
        ax.set_xlim(0, last)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        panel_title(ax, title)
        label_axes(ax, "share of hours", "import + / export -\n(kW per member)" if ax is whole else "")
    legend_below(figure, whole.get_legend_handles_labels()[0])
    return figure


TOP_SHARE = 0.1
"""Share of the hours that the load-duration curve shows enlarged."""


def long_hours(
    expected: ArrayLike, played: Mapping[str, ArrayLike], styles: Mapping[str, Style], months: Sequence[str]
) -> Figure:
    """Hours a day in which the community has more than it needs, by month.

    Parameters
    ----------
    expected:
        By the data with idle batteries, on all days, hours a day, nan in a month without days, shape (n_months,).
    played:
        By policy, on the days played, in the same form.
    styles:
        Of :func:`benchmarks.reproduce.energy.figures.style.policy_styles`.
    months:
        Names of the months.

    Raises
    ------
    ValueError
        If an array is not as above, or a policy has no style.
    """
    figure = new_figure(3.6)
    ax = figure.subplots()
    bars = np.nan_to_num(np.asarray(expected, np.float64))
    finite_array("expected", bars, len(months))
    ax.bar(range(len(months)), bars, 0.8, color=LIGHT, label="idle batteries, expected, all days of the year")
    arrays = by_policy("played", {k: np.nan_to_num(np.asarray(v, np.float64)) for k, v in played.items()}, styles,
                       len(months))  # fmt: skip
    for i, (name, hours) in enumerate(arrays.items()):
        known = np.isfinite(np.asarray(played[name], np.float64))
        at = np.arange(len(months)) + 0.16 * (i - (len(arrays) - 1) / 2)
        for x, y in zip(at[known], hours[known], strict=True):
            draw_point(ax, (float(x), float(y)), styles[name])
    ax.set_xticks(range(len(months)), [month[:3] for month in months])
    ax.set_ylim(0, 24)
    ax.set_yticks([0, 6, 12, 18, 24])
    label_axes(ax, "", "hours a day\nwith more than is needed")
    ax.grid(visible=False, axis="x")
    handles: list[Any] = [Patch(color=LIGHT, label="idle batteries, expected, all days of the year")]
    handles += [
        Line2D([], [], color=styles[k].colour, marker=styles[k].marker, linestyle="none", label=f"{k}, test days")
        for k in arrays
    ]
    legend_below(figure, handles)
    return figure


def storage(
    charge: Mapping[str, ArrayLike],
    power: Mapping[str, ArrayLike],
    styles: Mapping[str, Style],
    step_hours: float = 1.0,
) -> Figure:
    """State of charge by the hour, and what batteries draw and deliver, under each policy.

    Parameters
    ----------
    charge:
        By policy, mean state of charge of the owners in [0, 1], before each step and at the end, shape
        (n_days, H + 1).
    power:
        By policy, kWh that a battery draws (> 0) or delivers (< 0) on average in each step, shape (n_days, H).
    styles:
        Of :func:`benchmarks.reproduce.energy.figures.style.policy_styles`.
    step_hours:
        Length of a step, hours.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    charges = by_policy("charge", charge, styles, None, None)
    n_steps = same_length("charge", charges, axis=1) - 1
    powers = by_policy("power", power, styles, None, n_steps)
    if list(powers) != list(charges):
        raise ValueError(f"power must have the policies of charge, {list(charges)}, got {list(powers)}")
    n_rows, n_columns = -(-len(charges) // PER_ROW), min(len(charges), PER_ROW)
    figure = new_figure(0.9 + 2.0 * n_rows + 2.3)
    grid = figure.add_gridspec(n_rows + 1, n_columns, height_ratios=[2.0] * n_rows + [2.3])
    edges = step_edges(n_steps, step_hours)
    panels: list[Axes] = []
    for i, (name, array) in enumerate(charges.items()):
        ax = figure.add_subplot(grid[i // PER_ROW, i % PER_ROW], sharey=panels[0] if panels else None)
        panels.append(ax)
        colour = styles[name].colour
        low, high = np.quantile(array, (0.1, 0.9), axis=0)
        ax.fill_between(edges, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(edges, array.mean(axis=0), color=colour, linewidth=2, label=name)
        panel_title(ax, name)
        ax.set_ylim(-0.03, 1.03)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        hour_axis(ax, n_steps * step_hours)
        label_axes(ax, "hour of the day", "state of charge")
    outer_labels(panels)
    below = figure.add_subplot(grid[n_rows, :])
    for name, array in powers.items():
        style, mean = styles[name], array.mean(axis=0) / step_hours
        middles = step_midpoints(n_steps, step_hours)
        below.plot(middles, mean, style.line, color=style.colour, linewidth=2, label=name)
    below.axhline(0, color=DARK, linewidth=0.8)
    hour_axis(below, n_steps * step_hours)
    label_axes(below, "hour of the day", "charging + / discharging -\n(kW per battery)")
    handles: list[Any] = [
        Line2D([], [], color=DARK, linewidth=2, label="mean over days"),
        Patch(color=DARK, alpha=0.22, linewidth=0, label="10-90 % of days"),
        *below.get_legend_handles_labels()[0],
    ]
    legend_below(figure, handles)
    return figure
