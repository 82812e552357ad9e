"""Figures that compare policies: gains and their steps, efficiency, who gains, trade-offs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from benchmarks.reproduce.energy.figures.style import (
    BLUE,
    DARK,
    DASHED,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    Style,
    by_policy,
    check_styled,
    draw_point,
    finite_array,
    label_axes,
    legend_below,
    legend_of_points,
    mean_interval,
    new_figure,
    panel_title,
    without_nan,
)
from mfenvs import checks

Array = NDArray[np.float64]

STEP_COLOURS = {"netting": BLUE, "flexible": ORANGE, "storage": GREEN, "imbalance": VERMILION}
"""Colours of the steps of a gain (:mod:`benchmarks.reproduce.energy.gain_steps`)."""

FRONT_AXES = {
    "cost": "cost of the day (EUR per member)",
    "peak": "largest exchange with the grid (kW per member)",
    "co2": "CO₂ of the import (kg per member)",
}
"""Labels of the objectives of :func:`mfenvs.energy.welfare.pareto_front`."""


def efficiency_of_policies(
    efficiencies: Mapping[str, ArrayLike], styles: Mapping[str, Style], lowest: float = -0.25
) -> Figure:
    """Efficiency of every day, with mean and 95 % interval: 0 is no market, 1 perfect foresight.

    Parameters
    ----------
    efficiencies:
        By policy, shape (n_days,); nan, where there was nothing to gain, is left out.
    styles:
        Of :func:`policy_styles`.
    lowest:
        Days below are drawn here as triangles and counted; a mean below is told in words.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    known = {name: without_nan(values) for name, values in efficiencies.items()}
    arrays = by_policy("efficiencies", known, styles, None)
    lowest = checks.real("lowest", lowest, high=0.0)
    left = min(0.0, max(lowest, min(float(a.min()) for a in arrays.values())))
    right = max(1.0, *(float(a.max()) for a in arrays.values()))
    spread, beside = right - left, ("axes fraction", "data")
    figure = new_figure(1.2 + 0.62 * len(arrays))
    ax = figure.subplots()
    for row, (name, array) in enumerate(arrays.items()):
        style, inside = styles[name], array >= left
        offsets = 0.22 * np.cos(np.pi * np.arange(len(array)) * 0.618034)
        dots: dict[str, Any] = {"color": style.colour, "alpha": 0.45, "markeredgewidth": 0, "linestyle": "none"}
        ax.plot(array[inside], row + offsets[inside], marker="o", markersize=4.5, **dots)
        if not inside.all():
            ax.plot(np.full((~inside).sum(), left), row + offsets[~inside], marker="<", markersize=5, **dots)
        mean, half = mean_interval(array)
        if mean >= left:
            draw_point(ax, (mean, row), style, xerr=half)
        words = f"{mean:.2f}".replace("-", "−") + (f" ± {half:.2f}" if np.isfinite(half) else "")
        if not inside.all():
            words += f"\n({(~inside).sum()} of {len(array)} days off the left)"
        ax.annotate(
            words, (1.02, row), xycoords=beside, va="center", fontsize=9, color=DARK, annotation_clip=False
        )
    for x, words, side in ((0.0, "no market", "center"), (1.0, "perfect foresight", "right")):
        ax.axvline(x, zorder=0, **DASHED)
        ax.annotate(
            words, (x, 1.01), xycoords=("data", "axes fraction"), ha=side, va="bottom", fontsize=9, color=DARK
        )
    ax.annotate("mean ± 95 %", (1.02, 1.01), xycoords="axes fraction", va="bottom", fontsize=9, color=DARK)
    ax.set_yticks(range(len(arrays)), list(arrays))
    ax.set_ylim(len(arrays) - 0.5, -0.5)
    ax.set_xlim(left - 0.04 * spread, right + 0.04 * spread)
    label_axes(ax, "efficiency (W - W₀) / (W* - W₀), a point a day", "")
    ax.grid(visible=False, axis="y")
    return figure


def gain_steps(
    steps: Mapping[str, Mapping[str, tuple[float, float]]], labels: Mapping[str, str] | None = None
) -> Figure:
    """Where gains come from: each policy's steps as one bar, those that cost to the left of zero, and their sum.

    Parameters
    ----------
    steps:
        By policy, the steps by their names of :data:`STEP_COLOURS` and ``total``, their sum: each a mean and half
        of its interval, EUR per member and year.
    labels:
        What the legend calls the steps; their names by default.

    Raises
    ------
    TypeError, ValueError
        If there is no policy, or a number is not finite (half of an interval may be nan).
    """
    if not steps:
        raise ValueError("steps must have at least one policy, got none")
    figure = new_figure(1.3 + 0.52 * len(steps))
    ax = figure.subplots()
    for row, (name, of_policy) in enumerate(steps.items()):
        right = left = 0.0
        for step, colour in STEP_COLOURS.items():
            value = checks.real(f"steps[{name!r}][{step!r}]", of_policy[step][0])
            ax.barh(row, value, 0.6, right if value >= 0 else left, color=colour, edgecolor="white", linewidth=0.8)
            right, left = (right + value, left) if value >= 0 else (right, left + value)
        total, half = of_policy["total"]
        bars: dict[str, Any] = {"color": "black", "elinewidth": 1.6, "capsize": 3.5, "capthick": 1.6}
        ax.errorbar([total], [row], xerr=half, fmt="D", markersize=6, markeredgecolor="white", zorder=5, **bars)
        words = f"{total:.0f}".replace("-", "−") + (f" ± {half:.0f}" if np.isfinite(half) else "")
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
        ax.annotate(words, (1.02, row), va="center", fontsize=9, color=DARK, **place)
    ax.annotate("sum ± 95 %", (1.02, 1.01), xycoords="axes fraction", va="bottom", fontsize=9, color=DARK)
    ax.axvline(0, color=DARK, linewidth=1.0)
    ax.set_yticks(range(len(steps)), list(steps))
    ax.set_ylim(len(steps) - 0.5, -0.5)
    label_axes(ax, "gain over no market (EUR per member and year)", "")
    ax.grid(visible=False, axis="y")
    words_of = labels or {step: step for step in STEP_COLOURS}
    handles: list[Any] = [Patch(color=colour, label=words_of[step]) for step, colour in STEP_COLOURS.items()]
    handles.append(
        Line2D([], [], color="black", marker="D", markeredgecolor="white", label="sum", linestyle="none")
    )
    legend_below(figure, handles)
    return figure


def gain_by_type(
    gains: Mapping[str, Mapping[str, tuple[float, float]]], styles: Mapping[str, Style], label: str
) -> Figure:
    """Who gains: a figure of each type of members under each policy, with intervals.

    Parameters
    ----------
    gains:
        By policy and type, mean and half of its interval, EUR per member and year; the same types for all.
    styles:
        Of :func:`policy_styles`.
    label:
        Label of the vertical axis.

    Raises
    ------
    TypeError, ValueError
        If there is no policy, one has no style, or types differ.
    """
    check_styled("gains", gains, styles)
    types = list(next(iter(gains.values())))
    for name, of_types in gains.items():
        if list(of_types) != types:
            raise ValueError(f"gains[{name!r}] must be of the types {types}, got {list(of_types)}")
    figure = new_figure(3.4)
    # A business's gain is many times a household's: every type has its own scale.
    panels = figure.subplots(1, len(types), squeeze=False)[0]
    for kind, ax in zip(types, panels, strict=True):
        for i, (name, of_types) in enumerate(gains.items()):
            mean, half = of_types[kind]
            draw_point(ax, (i, mean), styles[name], yerr=half)
        ax.axhline(0, zorder=0, **DASHED)
        ax.set_xlim(-0.6, len(gains) - 0.4)
        ax.set_xticks([])
        panel_title(ax, kind)
        label_axes(ax, "", label if kind == types[0] else "")
    legend_of_points(figure, gains, styles)
    return figure


def pareto_fronts(
    fronts: Mapping[str, ArrayLike],
    policies: Mapping[str, Mapping[str, tuple[float, float]]],
    styles: Mapping[str, Style],
) -> Figure:
    """Trade-offs of cost with other objectives: all policies at the left, the front enlarged at the right.

    Parameters
    ----------
    fronts:
        By objective of :data:`FRONT_AXES`, points of cost (EUR per member) and that objective, shape (n, 2).
    policies:
        By objective and policy, its cost and that objective.
    styles:
        Of :func:`policy_styles`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or a policy has no style.
    """
    figure = new_figure(0.9 + 3.2 * len(fronts))
    axes = figure.subplots(len(fronts), 2, squeeze=False)
    for (everything, enlarged), (name, values) in zip(axes, fronts.items(), strict=True):
        checks.choice("fronts", name, tuple(FRONT_AXES))
        front = finite_array(f"fronts[{name!r}]", values, None, 2)
        front = front[np.argsort(front[:, 1])]
        points = by_policy(f"policies[{name!r}]", policies[name], styles, 2)
        for ax, title in ((everything, "all policies"), (enlarged, "the front, enlarged")):
            ax.plot(front[:, 1], front[:, 0], "o-", color=GREY, markersize=4.5, label="front", zorder=3)
            panel_title(ax, title)
            label_axes(ax, FRONT_AXES[name], FRONT_AXES["cost"] if ax is everything else "")
        low, high = front.min(axis=0), front.max(axis=0)
        margin = np.maximum(0.15 * (high - low), 1e-6)
        enlarged.set_ylim(low[0] - margin[0], high[0] + margin[0])
        enlarged.set_xlim(low[1] - margin[1], high[1] + margin[1])
        for policy, point in points.items():
            draw_point(everything, (point[1], point[0]), styles[policy])
            if (np.abs(point - (low + high) / 2) <= (high - low) / 2 + margin).all():
                draw_point(enlarged, (point[1], point[0]), styles[policy])
    handle = Line2D([], [], marker="o", color=GREY, markersize=4.5, label="best trade-offs, known in advance")
    legend_of_points(figure, next(iter(policies.values())), styles, [handle])
    return figure
