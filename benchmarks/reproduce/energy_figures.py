"""The figures of the energy market for a grid planner: arrays in, one matplotlib figure out of each function.

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
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from mfenvs import Engine, checks
from mfenvs.energy.forecast import HORIZON, WEEK
from mfenvs.energy.forecast_scores import hac_standard_error
from mfenvs.games.energy.clearing import PRICE, VOLUME, n_levels
from mfenvs.games.energy.conditions import DAY
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]

WIDTH = 9.0
"""Of every figure in inches: shown 900 pixels wide, 10 points are 14 pixels."""
PER_ROW = 3
"""Panels side by side, at most."""
DARK, GREY, LIGHT, FAINT = "#333333", "#8c8c8c", "#c9c9c9", "#e3e3e3"
BARS: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.6}
DASHED: dict[str, Any] = {"color": DARK, "linewidth": 1.2, "linestyle": (0, (4, 2))}
"""Of tariffs and other fixed values."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

TYPE_COLOURS = dict(zip(TYPES, (SKY, ORANGE, GREEN, PURPLE, BLUE), strict=True))
"""Of the types of prosumers, as areas."""


class Style(NamedTuple):
    """How a policy is drawn, wherever it is drawn: told apart without colours too."""

    colour: str
    marker: str
    line: str
    width: float = 2.0


REFERENCES = {"no trade": Style("#a6a6a6", "X", "-", 4.5), "planner": Style("#000000", "*", "--")}
"""What policies are compared with: the first is often beneath another's line, so it is wide."""
BROWN = "#7a5230"
COLOURS, MARKERS, LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BROWN), "osD^vph", ("-", "-.")


def policy_styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each policy; ``no trade`` and ``planner`` always have theirs.

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


# The market.


class OrderBook(NamedTuple):
    """A step's demand and supply as polylines, and how the market was cleared."""

    prices: Array
    """EUR/kWh, ascending, shape (n_points,); a price appears twice where a curve jumps."""
    demand: Array
    supply: Array
    """What is bought, and sold, at these prices, kWh per agent, shape (n_points,)."""
    feed_in: float
    retail: float
    price: float
    """The tariffs and the clearing price, EUR/kWh."""
    volume: float
    """Traded within the community, kWh per agent."""


def order_book(engine: Engine, world: int = 0) -> OrderBook:
    """The order book of an energy market's last step, exactly as it was cleared.

    Where demand and supply jump (``step`` orders), all that may be bought, or sold, at that price lies between the
    two ends of the jump. Interpolated orders make lines that are straight between ticks.

    Parameters
    ----------
    engine:
        Of an :class:`EnergyMarket`, after a step.
    world:
        Which of its worlds.

    Raises
    ------
    RuntimeError
        Before the first step of an episode.
    TypeError, ValueError
        If an argument is not as above.
    """
    game = engine.game
    if not isinstance(game, EnergyMarket):
        raise TypeError(f"engine must be that of an EnergyMarket, got one of {type(game).__name__}")
    world = checks.integer("world", world, 0, engine.n_worlds - 1)
    if engine.time == 0:
        raise RuntimeError("order_book() was called before the first step of the episode")
    signal = engine.signal[world].astype(np.float64)
    # The signal already tells the tariffs of the coming step.
    day, step = int(signal[DAY]), engine.time - 1
    step %= game.days.steps
    feed_in, retail = float(game.constants.feed_in[day, step]), float(game.constants.retail[day, step])
    levels = n_levels(game.orders, game.n_ticks, game.width_in_ticks)
    per_capita = engine.counts[world].astype(np.float64) / game.n_agents
    ticks, demand, supply = _curves(
        game.orders, per_capita[:levels], per_capita[levels : 2 * levels], game.n_ticks, game.width_in_ticks
    )
    prices = feed_in + ticks / game.n_ticks * (retail - feed_in)
    return OrderBook(prices, demand, supply, feed_in, retail, float(signal[PRICE]), float(signal[VOLUME]))


def _curves(orders: str, buys: Array, sells: Array, n_ticks: int, width: int) -> tuple[Array, Array, Array]:
    """Prices in ticks, demand and supply, from what is counted at each level."""
    if orders == "linear":
        return np.array([0.0, n_ticks]), np.repeat(buys, 2), np.repeat(sells, 2)
    if orders == "step":
        above = np.append(np.cumsum(buys[::-1])[::-1], 0.0)
        below = np.append(0.0, np.cumsum(sells))
        # Before and after each tick: what is willing at it may be filled or not.
        ends = np.column_stack([np.arange(n_ticks + 1), np.arange(1, n_ticks + 2)]).ravel()
        return np.repeat(np.arange(n_ticks + 1.0), 2), above[ends], below[ends]
    ticks = np.arange(n_ticks + 1.0)
    bought = np.clip((np.arange(len(buys)) - ticks[:, None]) / width, 0.0, 1.0)
    return ticks, bought @ buys, (1.0 - bought) @ sells


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
        As in :class:`OrderBook`.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not have one shape (n_points,), or are not finite.
    """
    levels = _array("prices", prices, None)
    figure = _new_figure(4.4)
    ax = figure.subplots()
    bought, sold = (_array(n, a, len(levels)) for n, a in (("demand", demand), ("supply", supply)))
    ax.plot(bought, levels, color=BLUE, linewidth=2, label="demand")
    ax.plot(sold, levels, color=VERMILION, linewidth=2, label="supply of the community")
    _tariffs(ax, feed_in, retail)
    cleared = f"cleared: {price:.3f} EUR/kWh, {volume:.3f} kWh per agent traded locally"
    point: dict[str, Any] = {"markersize": 9, "markerfacecolor": "white", "markeredgewidth": 2, "clip_on": False}
    ax.plot([volume], [price], "o", color="black", zorder=5, label=cleared, **point)
    ax.set_xlim(0, 1.05 * max(bought.max(), sold.max(), volume, 1e-9))
    _price_range(ax, feed_in, retail)
    _label(ax, "energy (kWh per agent and step)", "price (EUR/kWh)")
    _legend(figure, ax.get_legend_handles_labels()[0])
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
    arrays = _by_policy("prices", prices, styles, None, None)
    n_steps = _same_length("prices", arrays, axis=1)
    hours = _midpoints(n_steps, step_hours)
    tariffs = [
        np.broadcast_to(_array(name, tariff, *(n_steps,) * min(np.ndim(tariff), 1)), n_steps)
        for name, tariff in (("feed_in", feed_in), ("retail", retail))
    ]
    figure, panels = _panels(len(arrays), 2.3)
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
        _panel_title(ax, name)
        _hours(ax, n_steps * step_hours)
        _label(ax, "hour of the day", "price (EUR/kWh)")
    low, high = float(tariffs[0].min()), float(tariffs[1].max())
    _price_range(panels[0], low, high)
    _outer_labels(panels)
    handles = [
        Line2D([], [], color=DARK, linewidth=2, label="median over days"),
        Patch(color=DARK, alpha=0.25, linewidth=0, label="10-90 % of days"),
        Line2D([], [], color=LIGHT, linewidth=1, label="medians of the other policies"),
        Line2D([], [], label="feed-in and retail tariff", **DASHED),
    ]
    _legend(figure, handles)
    return figure


def price_distribution(
    prices: Mapping[str, ArrayLike], feed_in: float, retail: float, styles: Mapping[str, Style], n_bins: int = 24
) -> Figure:
    """Histograms of the prices strictly between the tariffs; how often they are at a tariff is told in words.

    Parameters
    ----------
    prices:
        By policy, EUR/kWh, shape (n,), within the tariffs.
    feed_in, retail:
        Tariffs, EUR/kWh.
    styles:
        Of :func:`policy_styles`.
    n_bins:
        Number of bins between the tariffs.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, a price is outside of the tariffs by more than 1e-6, there is no policy, or
        one has no style.
    """
    arrays = _by_policy("prices", prices, styles, None)
    n_bins = checks.integer("n_bins", n_bins, 1)
    edges, rounding = np.linspace(feed_in, retail, n_bins + 1), 1e-6
    figure = _new_figure(0.9 + 1.15 * len(arrays))
    panels = figure.subplots(len(arrays), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (name, array) in zip(panels, arrays.items(), strict=True):
        if array.min() < feed_in - rounding or array.max() > retail + rounding:
            raise ValueError(
                f"prices[{name!r}] must be within the tariffs [{feed_in:g}, {retail:g}], got"
                f" {array.min():g} to {array.max():g}"
            )
        at_feed_in, at_retail = array <= feed_in + rounding, array >= retail - rounding
        between = array[~(at_feed_in | at_retail)]
        share = np.histogram(between, edges)[0] / len(array)
        ax.bar(edges[:-1], share, np.diff(edges), color=styles[name].colour, **BARS)
        at_tariffs = f"{_percent(at_feed_in.mean())} of steps at the feed-in tariff, {_percent(at_retail.mean())}"
        _panel_title(ax, f"{name}: {at_tariffs} at the retail tariff")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        _label(ax, "", "steps")
    for ax in panels:
        for tariff in (feed_in, retail):
            ax.axvline(tariff, **DASHED)
    panels[-1].set_xlabel("price (EUR/kWh), tariffs dashed; bars: shares of all steps")
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
    latencies, amounts = _array("latencies_ms", latencies_ms, None), _array("amounts_eur", amounts_eur, None)
    done = _array("succeeded", succeeded, len(amounts))
    for name, array in (("latencies_ms", latencies), ("amounts_eur", amounts)):
        if not array.min() > 0:
            raise ValueError(f"{name} must be > 0, got {array.min():g}")
    figure = _new_figure(3.6)
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
    _panel_title(left, ", ".join(f"p{q}: {value:.0f} ms" for q, value in quantiles.items()))
    _plain_log_ticks(left.xaxis)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _label(left, "configured latency of a routed payment (ms, log scale)", "share of payments")
    groups = [group for group in np.array_split(np.argsort(amounts, kind="stable"), 6) if len(group)]
    rates = [done[group].mean() for group in groups]
    right.bar(range(len(groups)), rates, 0.8, color=GREEN)
    for i, rate in enumerate(rates):
        right.annotate(_percent(rate), (i, rate), ha="center", va="bottom", fontsize=9, color=DARK)
    right.set_xticks(range(len(groups)), [f"{amounts[g].max():.2g}" for g in groups])
    right.set_ylim(0, 1.12)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _label(right, "sixths of the payments: up to (EUR)", "share settled as it should")
    return figure


# Agents and the grid.


def storage_by_type(
    charge: Mapping[str, ArrayLike],
    power: Mapping[str, ArrayLike],
    types: ArrayLike,
    styles: Mapping[str, Style],
    step_hours: float = 1.0,
) -> Figure:
    """State of charge by the hour, of each type that owns batteries, and what the batteries draw and deliver.

    Parameters
    ----------
    charge:
        By policy, of the agents with batteries, as a fraction of the capacity in [0, 1], before each step and at
        the end, shape (n_days, H + 1, n_owners).
    power:
        Likewise: kWh drawn (> 0) or delivered (< 0) in each step, shape (n_days, H, n_owners).
    types:
        Index of each owner's type in :data:`TYPES`, shape (n_owners,).
    styles:
        Of :func:`policy_styles`.
    step_hours:
        Length of a step, hours.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    kinds = _array("types", types, None).astype(np.int64)
    charges = _by_policy("charge", charge, styles, None, None, len(kinds))
    n_steps = _same_length("charge", charges, axis=1) - 1
    powers = _by_policy("power", power, styles, None, n_steps, len(kinds))
    if list(powers) != list(charges):
        raise ValueError(f"power must have the policies of charge, {list(charges)}, got {list(powers)}")
    n_rows = -(-len(charges) // PER_ROW)
    n_columns = min(len(charges), PER_ROW)
    figure = _new_figure(0.9 + 2.0 * n_rows + 2.3)
    grid = figure.add_gridspec(n_rows + 1, n_columns, height_ratios=[2.0] * n_rows + [2.3])
    owners = [kind for kind in range(len(TYPES)) if (kinds == kind).any()]
    lines: dict[int, Any] = dict(zip(owners, ("-", "--", ":", "-.", (0, (1, 3))), strict=False))
    hours = _edges(n_steps, step_hours)
    panels: list[Axes] = []
    for i, (name, array) in enumerate(charges.items()):
        ax = figure.add_subplot(grid[i // PER_ROW, i % PER_ROW], sharey=panels[0] if panels else None)
        panels.append(ax)
        colour = styles[name].colour
        for kind in owners:
            of_kind = array[:, :, kinds == kind]
            pooled = of_kind.transpose(1, 0, 2).reshape(n_steps + 1, -1)
            low, high = np.quantile(pooled, (0.1, 0.9), axis=1)
            ax.fill_between(hours, low, high, color=colour, alpha=0.22, linewidth=0)
            ax.plot(
                hours, pooled.mean(axis=1), color=colour, linestyle=lines[kind], linewidth=2, label=TYPES[kind]
            )
        _panel_title(ax, name)
        ax.set_ylim(-0.03, 1.03)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        _hours(ax, n_steps * step_hours)
        _label(ax, "hour of the day", "state of charge")
    _outer_labels(panels)
    below = figure.add_subplot(grid[n_rows, :])
    for name, array in powers.items():
        style = styles[name]
        mean = array.mean(axis=(0, 2))
        below.plot(_midpoints(n_steps, step_hours), mean, style.line, color=style.colour, linewidth=2, label=name)
    below.axhline(0, color=DARK, linewidth=0.8)
    _hours(below, n_steps * step_hours)
    _label(below, "hour of the day", "charging + / discharging -\n(kWh per owner and step)")
    handles: list[Any] = [
        Line2D([], [], color=DARK, linewidth=2, linestyle=lines[kind], label=f"mean, type {TYPES[kind]}")
        for kind in owners
    ]
    handles.append(Patch(color=DARK, alpha=0.22, linewidth=0, label="10-90 % of agents and days"))
    handles += below.get_legend_handles_labels()[0]
    _legend(figure, handles)
    return figure


def grid_exchange(
    load: ArrayLike,
    generation: ArrayLike,
    exchange: Mapping[str, ArrayLike],
    styles: Mapping[str, Style],
    step_hours: float = 1.0,
) -> Figure:
    """Load and generation of the community by type, and what it exchanges with the grid under each policy.

    Parameters
    ----------
    load, generation:
        kWh of each type (in the order of :data:`TYPES`) in each step, >= 0, shape (n_types, H).
    exchange:
        Import (> 0) or export (< 0) by policy, ``no trade`` (idle batteries) and ``planner`` among them, kWh,
        shape (H,).
    styles:
        Of :func:`policy_styles`.
    step_hours:
        Length of a step, hours.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    used = _array("load", load, len(TYPES), None)
    n_steps = used.shape[1]
    made = _array("generation", generation, len(TYPES), n_steps)
    nets = _by_policy("exchange", exchange, styles, n_steps)
    highest = max(float(np.abs(a).max()) for a in (used.sum(axis=0), made.sum(axis=0), *nets.values()))
    unit, scale = ("MW", 1e3) if highest / step_hours >= 2e3 else ("kW", 1.0)
    figure = _new_figure(6.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(2, 2.6))
    left = figure.add_subplot(grid[0, 0])
    right, below = figure.add_subplot(grid[0, 1], sharey=left), figure.add_subplot(grid[1, :])
    edges = _edges(n_steps, step_hours)
    for ax, title, array in ((left, "load by type", used), (right, "generation by type", made)):
        base = np.zeros(n_steps)
        for name, energy in zip(TYPES, array / step_hours / scale, strict=True):
            shown: dict[str, Any] = {"color": TYPE_COLOURS[name], "alpha": 0.85, "label": name}
            ax.stairs(base + energy, edges, baseline=base, fill=True, **shown)
            base = base + energy
        _panel_title(ax, title)
        _hours(ax, n_steps * step_hours)
        _label(ax, "hour of the day", f"mean power ({unit})")
    largest = max(float(array.sum(axis=0).max()) for array in (used, made)) / step_hours / scale
    left.set_ylim(0, 1.05 * largest if largest > 0 else 1)
    _outer_labels([left, right])
    for name, net in nets.items():
        style = styles[name]
        shown = {"color": style.colour, "linewidth": style.width, "label": name}
        below.plot(_midpoints(n_steps, step_hours), net / step_hours / scale, style.line, **shown)
    below.axhline(0, color=DARK, linewidth=0.8)
    _panel_title(below, "net exchange with the grid")
    _hours(below, n_steps * step_hours)
    _label(below, "hour of the day", f"import + / export - ({unit})")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, reverse=True)
    _legend(figure, below.get_legend_handles_labels()[0])
    return figure


# Policies compared.


def mean_interval(samples: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Mean of independent samples, shape (n,), and half of its Student interval; nan for one sample.

    Raises
    ------
    TypeError, ValueError
        If ``samples`` are not as above, or ``confidence`` is not in (0, 1).
    """
    array = _array("samples", samples, None)
    confidence = checks.real("confidence", confidence, 0.0, 1.0, exclude_low=True, exclude_high=True)
    n = len(array)
    if n == 1:
        return float(array[0]), float("nan")
    return float(array.mean()), float(stdtrit(n - 1, 0.5 + confidence / 2) * array.std(ddof=1) / np.sqrt(n))


def without_nan(values: ArrayLike) -> Array:
    """The numbers of a vector that are known."""
    array = np.asarray(values, np.float64)
    return array[~np.isnan(array)]


def efficiency_of_policies(
    efficiencies: Mapping[str, ArrayLike], styles: Mapping[str, Style], lowest: float = -1.0
) -> Figure:
    """Efficiency of every day, with mean and 95 % interval: 0 is no trade, 1 the planner.

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
    arrays = _by_policy("efficiencies", known, styles, None)
    lowest = checks.real("lowest", lowest, high=0.0)
    left = min(0.0, max(lowest, min(float(a.min()) for a in arrays.values())))
    right = max(1.0, *(float(a.max()) for a in arrays.values()))
    spread, beside = right - left, ("axes fraction", "data")
    figure = _new_figure(1.2 + 0.62 * len(arrays))
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
            _point(ax, (mean, row), style, xerr=half)
        words = f"{mean:.2f}".replace("-", "−") + (f" ± {half:.2f}" if np.isfinite(half) else "")
        if not inside.all():
            words += f"\n({(~inside).sum()} of {len(array)} days off the left)"
        ax.annotate(
            words, (1.02, row), xycoords=beside, va="center", fontsize=9, color=DARK, annotation_clip=False
        )
    for x, words in ((0.0, "no trade"), (1.0, "planner")):
        ax.axvline(x, zorder=0, **DASHED)
        ax.annotate(
            words, (x, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9, color=DARK
        )
    ax.annotate("mean ± 95 %", (1.02, 1.01), xycoords="axes fraction", va="bottom", fontsize=9, color=DARK)
    ax.set_yticks(range(len(arrays)), list(arrays))
    ax.set_ylim(len(arrays) - 0.5, -0.5)
    ax.set_xlim(left - 0.04 * spread, right + 0.04 * spread)
    _label(ax, "efficiency (W - W₀) / (W* - W₀), a point a day", "")
    ax.grid(visible=False, axis="y")
    return figure


def gain_by_type(gains: Mapping[str, ArrayLike], styles: Mapping[str, Style]) -> Figure:
    """Who gains: what each type is better off than with no trade, with 95 % intervals over days.

    Parameters
    ----------
    gains:
        By policy, mean over the agents of each type in :data:`TYPES`, EUR per agent and day, shape
        (n_days, n_types).
    styles:
        Of :func:`policy_styles`.

    Raises
    ------
    TypeError, ValueError
        If an array is not as above, there is no policy, or one has no style.
    """
    arrays = _by_policy("gains", gains, styles, None, len(TYPES))
    figure = _new_figure(3.2)
    # A wind owner's gain is many times a household's: every type has its own scale.
    panels = figure.subplots(1, len(TYPES))
    for kind, ax in enumerate(panels):
        for i, (name, array) in enumerate(arrays.items()):
            mean, half = mean_interval(array[:, kind])
            _point(ax, (i, mean), styles[name], yerr=half)
        ax.axhline(0, zorder=0, **DASHED)
        ax.set_xlim(-0.6, len(arrays) - 0.4)
        ax.set_xticks([])
        _panel_title(ax, TYPES[kind])
        _label(ax, "", "" if kind else "gain over no trade\n(EUR per agent and day)")
    _legend_of_points(figure, arrays, styles)
    return figure


AXES = {
    "cost": "cost of the day (EUR)",
    "peak": "largest exchange with the grid (kWh per step)",
    "co2": "CO₂ of the import (kg)",
}
"""Labels of the objectives of :func:`mfenvs.energy.welfare.pareto_front`."""


def pareto_front(
    objectives: Sequence[str], values: ArrayLike, policies: Mapping[str, ArrayLike], styles: Mapping[str, Style]
) -> Figure:
    """Cost against peak of the planner's Pareto front, coloured by CO2 if that is an objective, and the policies.

    Parameters
    ----------
    objectives:
        ``cost`` and ``peak``, with or without ``co2``, in any order, as of ``welfare.ParetoFront``.
    values:
        Of the front, shape (n_points, n_objectives): EUR, kWh per step, kg.
    policies:
        The same of each policy on the same day, shape (n_objectives,).
    styles:
        Of :func:`policy_styles`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or a policy has no style.
    """
    names = list(objectives)
    if not {"cost", "peak"} <= set(names) <= set(AXES) or len(set(names)) != len(names):
        raise ValueError(f"objectives must be 'cost', 'peak' and perhaps 'co2', got {names!r}")
    front = _array("values", values, None, len(names))
    points = _by_policy("policies", policies, styles, len(names))
    cost, peak = names.index("cost"), names.index("peak")
    figure = _new_figure(4.6)
    ax = figure.subplots()
    if "co2" in names:
        third = names.index("co2")
        dots: dict[str, Any] = {"cmap": "cividis", "s": 32, "linewidth": 0, "zorder": 3}
        drawn = ax.scatter(front[:, peak], front[:, cost], c=front[:, third], label="front", **dots)
        bar = figure.colorbar(drawn, ax=ax, pad=0.02)
        bar.set_label(f"front: {AXES['co2']}", fontsize=10, color=DARK)
        bar.ax.tick_params(labelsize=9.5, colors=DARK)
        bar.outline.set_visible(False)
    else:
        order = np.argsort(front[:, peak])
        ax.plot(front[order, peak], front[order, cost], "o-", color=DARK, markersize=5, label="front", zorder=3)
    for name, point in points.items():
        _point(ax, (point[peak], point[cost]), styles[name])
    _label(ax, AXES["peak"], AXES["cost"])
    handle = Line2D([], [], marker="o", color=GREY, markersize=5.5, markeredgewidth=0, linestyle="none")
    handle.set_label("planner's front")
    _legend_of_points(figure, points, styles, [handle])
    return figure


def risk(
    expected: Mapping[str, ArrayLike],
    tail: Mapping[str, ArrayLike],
    styles: Mapping[str, Style],
    alpha: float = 0.05,
) -> Figure:
    """Expected loss against Conditional Value-at-Risk of each policy, with the intervals of both.

    Parameters
    ----------
    expected, tail:
        By policy: E[c] and CVaR_alpha(c), each with the low and the high end of its interval, EUR per agent and
        day, shape (3,); such an interval of the basic bootstrap need not hold its value.
    styles:
        Of :func:`policy_styles`.
    alpha:
        Tail share in (0, 1].

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, there is no policy, or one has no style.
    """
    means, tails = _by_policy("expected", expected, styles, 3), _by_policy("tail", tail, styles, 3)
    if list(means) != list(tails):
        raise ValueError(f"tail must have the policies of expected, {list(means)}, got {list(tails)}")
    alpha = checks.real("alpha", alpha, 0.0, 1.0, exclude_low=True)
    figure = _new_figure(4.2)
    ax = figure.subplots()
    for name, (x, *across) in means.items():
        y, *along = tails[name]
        bar: dict[str, Any] = {"color": styles[name].colour, "linewidth": 2}
        ax.plot(across, [y, y], marker="|", **bar)
        ax.plot([x, x], along, marker="_", **bar)
        _point(ax, (x, y), styles[name])
    unit = "(EUR per agent and day)"
    _label(ax, f"expected loss E[c] {unit}", f"CVaR, worst {_percent(alpha)}\n{unit}")
    _legend_of_points(figure, means, styles)
    return figure


# Forecasts.


def forecast_calibration(pits: Mapping[str, Mapping[str, ArrayLike]], n_bins: int = 10) -> Figure:
    """Histograms of the probability integral transform with 95 % intervals: flat at 1 if forecasts are calibrated.

    The intervals are of each bin by itself, by the estimator of Newey and West on the daily shares, lags up to a
    week (:func:`mfenvs.energy.forecast_scores.hac_standard_error`): hours and days are not independent.

    Parameters
    ----------
    pits:
        By series, then by forecaster (the same for every series): shape (24 x n_days,), in [0, 1], with more than
        7 days.
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
    figure = _new_figure(0.8 + 1.75 * len(pits))
    axes = figure.subplots(len(pits), len(names), sharex=True, sharey="row", squeeze=False)
    edges = np.linspace(0, 1, n_bins + 1)
    for row, (series, forecasters) in enumerate(pits.items()):
        if list(forecasters) != names:
            raise ValueError(f"pits[{series!r}] must have the forecasters {names}, got {list(forecasters)}")
        for ax, (name, values) in zip(axes[row], forecasters.items(), strict=True):
            density, half = pit_density(values, n_bins)
            ax.bar(edges[:-1], density, 1 / n_bins, color=SKY, **BARS)
            middles, bars = edges[:-1] + 0.5 / n_bins, {"fmt": "none", "ecolor": DARK, "elinewidth": 1.2}
            ax.errorbar(middles, density, yerr=half, capsize=2, **bars)
            ax.axhline(1, color=VERMILION, linewidth=1.4)
            _panel_title(ax, f"{series}: {name}")
            _label(ax, "", "density" if ax is axes[row, 0] else "")
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for ax in axes[:, 0]:
        ax.set_ylim(bottom=0)
    figure.supxlabel("probability that the forecast gave to a lower value (PIT)", fontsize=10, color=DARK)
    return figure


def pit_density(pits: ArrayLike, n_bins: int = 10) -> tuple[Array, Array]:
    """Density of the probability integral transform in each bin, and half of its 95 % interval.

    Parameters
    ----------
    pits:
        In [0, 1], in order of time, shape (24 x n_days,), n_days > 7.
    n_bins:
        Number of bins.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """
    values = _array("pits", pits, None)
    if len(values) % HORIZON or len(values) <= HORIZON * WEEK or values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"pits must be in [0, 1], of more than {WEEK} whole days of {HORIZON} hours, got {len(values)} in"
            f" [{values.min():g}, {values.max():g}]"
        )
    bins = np.minimum((values * n_bins).astype(np.int64), n_bins - 1).reshape(-1, HORIZON)
    daily = n_bins * (bins[:, :, None] == np.arange(n_bins)).mean(axis=1)
    half = np.array([1.959964 * hac_standard_error(daily[:, k], WEEK) for k in range(n_bins)])
    return daily.mean(axis=0), half


# Learning.


def exploitability_curve(
    iterations: ArrayLike,
    exploitability: Mapping[str, ArrayLike],
    styles: Mapping[str, Style],
    label: str = "iteration",
) -> Figure:
    """Exploitability in the induced mean-field game by iteration, on a log scale.

    Parameters
    ----------
    iterations:
        Shape (n_iterations,), ascending.
    exploitability:
        By algorithm, EUR per agent and day, shape (n_runs, n_iterations), >= 0; what is 0 cannot be shown.
    styles:
        Of :func:`policy_styles`.
    label:
        Of the horizontal axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, there is no algorithm, or one has no style.
    """
    at = _array("iterations", iterations, None)
    arrays = _by_policy("exploitability", exploitability, styles, None, len(at))
    if (least := min(float(a.min()) for a in arrays.values())) < 0:
        raise ValueError(f"exploitability must be >= 0, got {least:g}")
    figure = _new_figure(3.8)
    ax = figure.subplots()
    _runs(ax, {name: (at, np.where(a > 0, a, np.nan)) for name, a in arrays.items()}, styles)
    ax.set_yscale("log")
    _plain_log_ticks(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(ax, label, "exploitability\n(EUR per agent and day, log scale)")
    _legend(figure, ax.get_legend_handles_labels()[0])
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
        By trainer: agent-steps, shape (n_points,), ascending, and mean returns, EUR per agent and day, shape
        (n_runs, n_points).
    styles:
        Of :func:`policy_styles`.
    references:
        Returns to compare with by name, each with a style too, EUR per agent and day.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, there is no trainer, or one has no style.
    """
    given = {}
    for name, (timesteps, returns) in curves.items():
        at = _array(f"timesteps of {name}", timesteps, None)
        given[name] = at, _array(f"returns of {name}", returns, None, len(at))
    _check_styled("curves", given, styles)
    figure = _new_figure(3.8)
    ax = figure.subplots()
    _runs(ax, given, styles)
    for name, value in (references or {}).items():
        _check_styled("references", {name: value}, styles)
        level = checks.real(f"references[{name!r}]", value)
        ax.axhline(level, color=styles[name].colour, linestyle="--", linewidth=1.6, label=name)
    ax.xaxis.set_major_formatter(FuncFormatter(_millions))
    _label(ax, "agent-steps", "mean return\n(EUR per agent and day)")
    _legend(figure, ax.get_legend_handles_labels()[0])
    return figure


def _runs(ax: Axes, curves: Mapping[str, tuple[Array, Array]], styles: Mapping[str, Style]) -> None:
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


# What they share.


def _new_figure(height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.07)
    figure = Figure(figsize=(WIDTH, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _panels(n: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with n panels that share their axes, at most three side by side."""
    n_rows, n_columns = -(-n // PER_ROW), min(n, PER_ROW)
    figure = _new_figure(0.7 + height * n_rows)
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.remove()
    return figure, list(axes[:n])


def _outer_labels(panels: list[Axes]) -> None:
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


def _label(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=10, color=DARK)
    ax.set_ylabel(y, fontsize=10, color=DARK)
    ax.tick_params(labelsize=9.5, colors=DARK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.grid(color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


def _panel_title(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=10, loc="left", color="black")


def _hours(ax: Axes, last: float) -> None:
    ax.set_xlim(0, last)
    ax.set_xticks(np.arange(0, last + 1e-9, 6 if last > 12 else 2))


def _midpoints(n_steps: int, step_hours: float) -> Array:
    edges = _edges(n_steps, step_hours)
    return (edges[1:] + edges[:-1]) / 2


def _edges(n_steps: int, step_hours: float) -> Array:
    step = checks.real("step_hours", step_hours, 0.0, exclude_low=True)
    return np.linspace(0.0, n_steps * step, n_steps + 1)


def _tariffs(ax: Axes, feed_in: float, retail: float) -> None:
    for price, words, below in (
        (feed_in, "feed-in tariff: the grid buys any amount", True),
        (retail, "retail tariff: the grid sells any amount", False),
    ):
        ax.axhline(price, zorder=1, **DASHED)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        place |= {"xytext": (0, -3 if below else 3), "va": "top" if below else "bottom", "ha": "right"}
        ax.annotate(words, (0.99, price), fontsize=9, color=DARK, **place)


def _point(ax: Axes, at: tuple[float, float], style: Style, **errors: Any) -> None:
    """A policy's marker, with error bars."""
    size = _size(style)
    shown: dict[str, Any] = {"fmt": style.marker, "color": style.colour, "markersize": size, "zorder": 5}
    x, y = at
    ax.errorbar([x], [y], markeredgecolor="white", elinewidth=2, capsize=3.5, capthick=2, **shown, **errors)


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend below all panels, in as few rows as the width allows."""
    for n_rows in range(1, len(handles) + 1):
        n_columns = -(-len(handles) // n_rows)
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, frameon=False)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        if n_columns > 1:
            legend.remove()


def _legend_of_points(
    figure: Figure, names: Iterable[str], styles: Mapping[str, Style], others: Sequence[Any] = ()
) -> None:
    handles = list(others)
    for name in names:
        style = styles[name]
        shown: dict[str, Any] = {"linestyle": "none", "markersize": _size(style), "markeredgecolor": "white"}
        handles.append(Line2D([], [], color=style.colour, marker=style.marker, label=name, **shown))
    _legend(figure, handles)


def _size(style: Style) -> float:
    """Of a marker, such that all look as large."""
    return {"*": 14.0, "X": 10.0, "p": 10.0, "s": 8.0, "D": 8.0}.get(style.marker, 9.0)


def _plain_log_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of every decade as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _price_range(ax: Axes, feed_in: float, retail: float) -> None:
    margin = 0.1 * (retail - feed_in)
    ax.set_ylim(feed_in - margin, retail + margin)


def _array(name: str, value: ArrayLike, *shape: int | None) -> Array:
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


def _by_policy(
    name: str, values: Mapping[str, ArrayLike], styles: Mapping[str, Style], *shape: int | None
) -> dict[str, Array]:
    _check_styled(name, values, styles)
    return {policy: _array(f"{name}[{policy!r}]", value, *shape) for policy, value in values.items()}


def _check_styled(name: str, values: Mapping[str, Any], styles: Mapping[str, Style]) -> None:
    if not values:
        raise ValueError(f"{name} must have at least one entry, got none")
    for policy in values:
        if policy not in styles:
            raise ValueError(f"{name} must have entries with a style, {', '.join(styles)}, got {policy!r}")


def _same_length(name: str, arrays: Mapping[str, Array], axis: int) -> int:
    lengths = {int(array.shape[axis]) for array in arrays.values()}
    if len(lengths) != 1:
        raise ValueError(f"{name} must have as many steps for all policies, got {sorted(lengths)}")
    return lengths.pop()
