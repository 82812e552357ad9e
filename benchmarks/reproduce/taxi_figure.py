"""The figure of the reproduction on A-Taxi."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.reproduce.taxi_training import curves
from benchmarks.reproduce.taxi_variants import VARIANTS
from mfenvs.files import replacing

NEAR_THE_BEST = 0.8
"""Variants that end with this share of the best one's reward are drawn once more from near."""
LATER = 1 / 6
"""The share of the epochs at the beginning, when all curves rise, that the drawing from near leaves out."""
WINDOWS = 60
"""The drawing from near has means over as many epochs as go that often into a run."""


def draw(runs: list[dict[str, Any]], n_epochs: int, title: str, lines: dict[str, Any] | None, path: Path) -> None:
    """Reward by epoch, the same from near, and zone 1's share for each variant; what could be earned as lines.

    Parameters
    ----------
    runs:
        Variants and their curves, as of :func:`benchmarks.reproduce.taxi_training.read_run`.
    n_epochs:
        Number of epochs of a complete run.
    title:
        What was run.
    lines:
        As of :func:`benchmarks.reproduce.taxi_yardsticks.yardsticks`, or None for no lines.
    path:
        File of the picture.
    """
    drawn = {name: rewards for name in VARIANTS if (rewards := curves(runs, name, "reward")) is not None}
    figure = Figure(figsize=(11, 7.8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.55, 1.0))
    whole, near = upper.subplots(1, 2)
    for name, rewards in drawn.items():
        _draw_reward(whole, runs, name, rewards)
    whole.set_title(f"{title}: what a taxi earns", fontsize=10)
    if lines is not None:
        _draw_lines(whole, lines)
    if any(epoch < n_epochs for variant in VARIANTS.values() for epoch in variant.paper):
        whole.plot([], [], "o", color="#444444", markersize=4, label="the paper's figure 1(a)")
    whole.set_ylim(bottom=0.0)
    # Curves are wherever rewards are: only beside them is there always room.
    upper.legend(
        *whole.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=4
    )
    _draw_near(near, drawn, n_epochs)
    for axes in (whole, near):
        axes.set_ylabel("total reward of a taxi in an episode")
    panels = lower.subplots(1, max(1, len(drawn)), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, drawn, strict=False):  # one empty panel if no run has begun
        _draw_share(axes, runs, name)
    panels[0].set_ylabel("taxis in zone 1\nat the end of the episode [%]")
    panels[0].set_ylim(0.0, 100.0)
    for axes in (whole, near, *panels):
        axes.set_xlabel("epoch (one episode of all taxis)" if axes in (whole, near) else "epoch")
        axes.set_xlim(int(LATER * n_epochs) if axes is near else 0, max(1, n_epochs))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    with replacing(path) as file:
        FigureCanvasAgg(figure).print_png(file)


def _draw_reward(axes: Axes, runs: list[dict[str, Any]], name: str, rewards: NDArray[np.float64]) -> None:
    variant, epochs, label = VARIANTS[name], np.arange(rewards.shape[1]), name
    if len(rewards) > 1:
        label += f", mean and range of {len(rewards)} seeds"
    elif name == "Symm-NN":
        # The taxis' own luck and parameters spread alike in all variants: five bands would hide each other.
        low, high = (curves(runs, name, q)[0] for q in ("reward_10", "reward_90"))  # type: ignore[index]
        label += ", band: 10 to 90 % of the taxis"
        axes.fill_between(epochs, low, high, color=variant.colour, alpha=0.12, linewidth=0)
    _draw_seeds(axes, epochs, rewards, variant.colour, label)
    _draw_paper(axes, name, 0, len(epochs))


def _draw_seeds(axes: Axes, epochs: Any, rewards: NDArray[np.float64], colour: str, label: str | None) -> None:
    """The mean over seeds, and the band from the lowest to the highest."""
    axes.plot(epochs, rewards.mean(axis=0), color=colour, linewidth=1.2, label=label)
    if len(rewards) > 1:
        low, high = rewards.min(axis=0), rewards.max(axis=0)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)


def _draw_paper(axes: Axes, name: str, first: int, last: int) -> None:
    """The paper's values at the epochs ``first <= epoch < last``."""
    shown = {epoch: value for epoch, value in VARIANTS[name].paper.items() if first <= epoch < last}
    axes.plot(list(shown), list(shown.values()), "o", color=VARIANTS[name].colour, markersize=4)


def _draw_lines(axes: Axes, lines: dict[str, Any]) -> None:
    alone, rule = lines["alone_without_jams"]["value"], lines["dispatcher"]["return"]
    axes.axhline(alone, color="#444444", linewidth=1, linestyle="--", label="best of a taxi alone, without jams")
    axes.axhline(rule, color="#444444", linewidth=1, linestyle=":", label="all by a dispatcher's rule")


def _draw_near(axes: Axes, drawn: dict[str, NDArray[np.float64]], n_epochs: int) -> None:
    """The later epochs of the best variants, as running means, and the paper's values beside them."""
    window, first = max(1, n_epochs // WINDOWS), int(LATER * n_epochs)
    best = max((rewards[:, -1].mean() for rewards in drawn.values()), default=0.0)
    for name, rewards in drawn.items():
        n_shown = rewards.shape[1] - max(first, window - 1)
        if n_shown > 0 and rewards[:, -1].mean() >= NEAR_THE_BEST * best:
            means = np.lib.stride_tricks.sliding_window_view(rewards, window, axis=1).mean(axis=2)[:, -n_shown:]
            epochs = rewards.shape[1] - n_shown + np.arange(n_shown)
            _draw_seeds(axes, epochs, means, VARIANTS[name].colour, name)
            _draw_paper(axes, name, first, n_epochs)
    epochs_of = f"mean over {window} epochs" if window > 1 else "the later epochs"
    axes.set_title(f"The best ones from near, {epochs_of}", fontsize=10)


def _draw_share(axes: Axes, runs: list[dict[str, Any]], name: str) -> None:
    shares = curves(runs, name, "zone_1")
    assert shares is not None
    axes.plot(100.0 * shares.T, color=VARIANTS[name].colour, linewidth=0.6, alpha=0.8)
    axes.set_title(f"{name}, {len(shares)} seed{'s' if len(shares) > 1 else ''}", fontsize=10)
