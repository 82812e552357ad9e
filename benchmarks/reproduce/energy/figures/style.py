"""What the figures of the energy market have in common: colours, axes, legends, and checks of arrays.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color, 2008), told apart by readers with any common
colour vision. A policy has the same :class:`Style` in every figure (:func:`policy_styles`), a type of prosumer the
same colour (``TYPE_COLOURS``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from mfenvs import checks
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]

WIDTH = 9.0
"""Width of every figure in inches: shown 900 pixels wide, 10 points are 14 pixels."""
PER_ROW = 3
"""Panels side by side, at most."""
DARK, GREY, LIGHT, FAINT = "#333333", "#8c8c8c", "#c9c9c9", "#e3e3e3"
BARS: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.6}
DASHED: dict[str, Any] = {"color": DARK, "linewidth": 1.2, "linestyle": (0, (4, 2))}
"""Line of tariffs and other fixed values."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

TYPE_COLOURS = dict(zip(TYPES, (SKY, ORANGE, GREEN, PURPLE, BLUE), strict=True))
"""Colours of the types of prosumers, as areas."""


TYPE_WORDS = dict(
    zip(TYPES, ("consumers", "PV owners", "battery owners", "businesses", "wind owners"), strict=True)
)
"""What figures and tables call the types of members; those who own a battery own PV too."""


class Style(NamedTuple):
    """How a policy is drawn, wherever it is drawn: told apart without colours too."""

    colour: str
    marker: str
    line: str
    width: float = 2.0


REFERENCES = {"no market": Style("#a6a6a6", "X", "-", 4.5), "perfect foresight": Style("#000000", "*", "--")}
"""What policies are compared with: the first is often beneath another's line, so it is wide."""
BROWN = "#7a5230"
COLOURS, MARKERS, LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BROWN), "osD^vph", ("-", "-.")


def policy_styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each policy; ``no market`` and ``perfect foresight`` always have theirs.

    Parameters
    ----------
    names:
        Of all policies of a report, at most 14 besides those two, none twice.

    Raises
    ------
    ValueError
        If there are more, or a name appears twice.
    """
    given = list(names)
    others = [name for name in given if name not in REFERENCES]
    most = len(COLOURS) * len(LINES)
    if len(others) > most or len(set(given)) != len(given):
        raise ValueError(f"names must be at most {most} different ones besides {list(REFERENCES)}, got {given!r}")
    styles = {
        name: Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], LINES[i // len(COLOURS)])
        for i, name in enumerate(others)
    }
    return {name: REFERENCES.get(name) or styles[name] for name in given}


def mean_interval(samples: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Mean of independent samples, shape (n,), and half of its Student interval; nan for one sample.

    Raises
    ------
    TypeError, ValueError
        If ``samples`` are not as above, or ``confidence`` is not in (0, 1).
    """
    array = finite_array("samples", samples, None)
    confidence = checks.real("confidence", confidence, 0.0, 1.0, exclude_low=True, exclude_high=True)
    n = len(array)
    if n == 1:
        return float(array[0]), float("nan")
    return float(array.mean()), float(stdtrit(n - 1, 0.5 + confidence / 2) * array.std(ddof=1) / np.sqrt(n))


def without_nan(values: ArrayLike) -> Array:
    """The numbers of a vector that are known."""
    array = np.asarray(values, np.float64)
    return array[~np.isnan(array)]


def new_figure(height: float) -> Figure:
    """A figure as wide as all others, its panels laid out without overlaps; ``height`` in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.07)
    figure = Figure(figsize=(WIDTH, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def shared_panels(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with n panels that share their axes, at most three side by side."""
    n_rows, n_columns = -(-n // PER_ROW), min(n, PER_ROW)
    figure = new_figure(0.7 + height * n_rows)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.remove()
    return figure, list(axes[:n])


def outer_labels(panels: list[Axes]) -> None:
    """Leave out the labels that a neighbour has."""
    for i, ax in enumerate(panels):
        if i % PER_ROW:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if i + PER_ROW < len(panels):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        else:
            ax.tick_params(labelbottom=True)


def label_axes(ax: Axes, x: str, y: str) -> None:
    """Label both axes, and give them the look of all others."""
    ax.set_xlabel(x, fontsize=10, color=DARK)
    ax.set_ylabel(y, fontsize=10, color=DARK)
    ax.tick_params(labelsize=9.5, colors=DARK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.grid(color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


def panel_title(ax: Axes, title: str) -> None:
    """A title at the upper left of a panel."""
    ax.set_title(title, fontsize=10, loc="left", color="black")


def hour_axis(ax: Axes, last: float) -> None:
    """Hours of the day on the horizontal axis, up to ``last``."""
    ax.set_xlim(0, last)
    ax.set_xticks(np.arange(0, last + 1e-9, 6 if last > 12 else 2))


def step_midpoints(n_steps: int, step_hours: float) -> Array:
    """Middle of each step, hours, shape (n_steps,)."""
    edges = step_edges(n_steps, step_hours)
    return (edges[1:] + edges[:-1]) / 2


def step_edges(n_steps: int, step_hours: float) -> Array:
    """Begin of each step and end of the last, hours, shape (n_steps + 1,)."""
    step = checks.real("step_hours", step_hours, 0.0, exclude_low=True)
    return np.linspace(0.0, n_steps * step, n_steps + 1)


def draw_point(ax: Axes, at: tuple[float, float], style: Style, **errors: Any) -> None:
    """A policy's marker, with error bars."""
    size = marker_size(style)
    shown: dict[str, Any] = {"fmt": style.marker, "color": style.colour, "markersize": size, "zorder": 5}
    x, y = at
    ax.errorbar([x], [y], markeredgecolor="white", elinewidth=2, capsize=3.5, capthick=2, **shown, **errors)


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend below all panels, in as few rows as the width allows."""
    for n_rows in range(1, len(handles) + 1):
        n_columns = -(-len(handles) // n_rows)
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, frameon=False)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        if n_columns > 1:
            legend.remove()


def legend_of_points(
    figure: Figure, names: Iterable[str], styles: Mapping[str, Style], others: Sequence[Any] = ()
) -> None:
    """A legend of policies' markers below all panels, behind other entries."""
    handles = list(others)
    for name in names:
        style = styles[name]
        shown: dict[str, Any] = {"linestyle": "none", "markersize": marker_size(style), "markeredgecolor": "white"}
        handles.append(Line2D([], [], color=style.colour, marker=style.marker, label=name, **shown))
    legend_below(figure, handles)


def marker_size(style: Style) -> float:
    """Size of a marker, such that all look as large."""
    return {"*": 14.0, "X": 10.0, "p": 10.0, "s": 8.0, "D": 8.0}.get(style.marker, 9.0)


def plain_log_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of every decade as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def percentage(share: float) -> str:
    """A share in whole per cent."""
    return f"{100 * share:.0f} %"


def finite_array(name: str, value: ArrayLike, *shape: int | None) -> Array:
    """``value`` as finite float64 of this shape, None standing for any length but 0."""
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        n == m if m is not None else n > 0 for n, m in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n >= 1" if m is None else str(m) for m in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    checked: Array = checks.shaped(name, array, array.shape, np.float64)
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} must be finite, got nan or infinity")
    return checked


def by_policy(
    name: str, values: Mapping[str, ArrayLike], styles: Mapping[str, Style], *shape: int | None
) -> dict[str, Array]:
    """Arrays of this shape by policy; ValueError if there is none, or a policy has no style."""
    check_styled(name, values, styles)
    return {policy: finite_array(f"{name}[{policy!r}]", value, *shape) for policy, value in values.items()}


def check_styled(name: str, values: Mapping[str, Any], styles: Mapping[str, Style]) -> None:
    """Raise a ValueError if there is no entry, or one has no style."""
    if not values:
        raise ValueError(f"{name} must have at least one entry, got none")
    for policy in values:
        if policy not in styles:
            raise ValueError(f"{name} must have entries with a style, {', '.join(styles)}, got {policy!r}")


def same_length(name: str, arrays: Mapping[str, Array], axis: int) -> int:
    """Length of this axis, which must be that of all policies."""
    lengths = {int(array.shape[axis]) for array in arrays.values()}
    if len(lengths) != 1:
        raise ValueError(f"{name} must have as many steps for all policies, got {sorted(lengths)}")
    return lengths.pop()
