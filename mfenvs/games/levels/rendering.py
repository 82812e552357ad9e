"""Pictures of games of levels: the law of each level in the population over time, as text and as an image."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.levels.level_game import GRID, LevelGame
from mfenvs.rendering import caption, check_recorded, make_recorder, new_figure, pixels, show_whole_episode

if TYPE_CHECKING:
    from mfenvs.engine.engine import Engine

IMAGE_BINS, TEXT_BINS = 20, 10
"""Largest number of bins of a level in an image, and in text."""
FULL_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares that the darkest colour may stand for: few, so that pictures of an episode are comparable."""
SHADES = "░▒▓█"
TEXT_TIMES = 40
"""Number of times that are shown in text, the last ones."""
HEAT, MEAN_COLOUR = "Blues", "C1"


@make_recorder.register(LevelGame)
class LevelRecorder:
    """Recorder of the levels of one world's agents, which it shows as text or image.

    Parameters
    ----------
    game:
        The game that the agents play.
    """

    def __init__(self, game: LevelGame) -> None:
        self._game = game
        n_levels = game.n_levels if game.states == GRID else IMAGE_BINS
        self._n_bins = min(n_levels, IMAGE_BINS), min(n_levels, TEXT_BINS)
        # A bin for every level of a coarse grid lies around it.
        self._edge = 0.5 / (n_levels - 1) if game.states == GRID and n_levels <= IMAGE_BINS else 0.0
        self._means: list[NDArray[np.float64]] = []
        self._shares: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""
        self._means.clear()
        self._shares.clear()

    def record(self, engine: "Engine") -> None:
        """Record the levels of the agents of world 0."""
        levels = self._game.levels_of(engine.states[0])
        self._means.append(levels.mean(axis=0))
        in_image, in_text = (histograms(levels, n_bins) for n_bins in self._n_bins)
        self._shares.append((in_image, in_text))

    def ansi(self) -> str:
        """A block of text: for each level a map of shades over time, the highest level above.

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        """
        check_recorded(self._means)
        shares = np.stack([text for _, text in self._shares[-TEXT_TIMES:]])
        full, n_bins = full_scale(shares), self._n_bins[1]
        lines = [self._caption()]
        for component, name in enumerate(self._game.component_names):
            lines.append(f"{name}: mean {self._means[-1][component]:.3f}")
            for i in reversed(range(n_bins)):
                history = shares[:, component, i]
                shades = "".join(shade(share / full) for share in history).ljust(TEXT_TIMES)
                lines.append(f"{self._range(i, n_bins)} |{shades}| {history[-1]:6.1%}")
        legend = ", ".join(f"{s} {full * ((k + 1) / len(SHADES)) ** 2:.1%}" for k, s in enumerate(SHADES))
        return "\n".join([*lines, f"Share of agents, up to: {legend}"])

    def rgb_array(self) -> NDArray[np.uint8]:
        """A heat map of level and time for each level, with the mean level, shape (height, width, 3).

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        ImportError
            If matplotlib is not installed.
        """
        check_recorded(self._means)
        figure, canvas = new_figure()
        from matplotlib.colors import PowerNorm

        shares, means = np.stack([image for image, _ in self._shares]), np.stack(self._means)
        names, time = self._game.component_names, len(means) - 1
        full, low, high = full_scale(shares), -self._edge, 1.0 + self._edge
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for component, (axes, name) in enumerate(zip(panels, names, strict=True)):
            heat = axes.imshow(
                100.0 * shares[:, component].T,
                **{"cmap": HEAT, "norm": PowerNorm(0.5, 0.0, 100.0 * full)},
                **{"extent": (-0.5, time + 0.5, low, high), "origin": "lower", "aspect": "auto"},
                interpolation="nearest",
            )
            axes.plot(means[:, component], color=MEAN_COLOUR, marker="." if time == 0 else None)
            axes.set_ylim(low, high)
            axes.set_ylabel(name)
        show_whole_episode(panels[-1], self._game)
        for axes in panels[:-1]:
            axes.set_xlabel("")
        panels[0].set_title(f"{self._caption()} (line: mean)")
        ticks = [100.0 * scale for scale in (0.0, *FULL_SCALES) if scale <= full]
        bar = figure.colorbar(heat, ax=list(panels), label="share of agents, %", aspect=40, ticks=ticks)
        bar.ax.minorticks_off()
        return pixels(canvas)

    def _caption(self) -> str:
        return caption(self._game, len(self._means) - 1)

    def _range(self, i: int, n_bins: int) -> str:
        """The levels of a bin, 9 characters wide."""
        if n_bins < TEXT_BINS:
            return f"{i / (n_bins - 1):9.3f}"
        return f"{i / n_bins:.1f} - {(i + 1) / n_bins:.1f}"


def histograms(levels: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Shares of agents whose levels (n_agents, d) are in each of ``n_bins`` equal parts of [0, 1], (d, n_bins)."""
    bins = np.minimum((levels * n_bins + 1e-9).astype(np.int64), n_bins - 1)
    return np.stack([np.bincount(column, minlength=n_bins) for column in bins.T]) / len(levels)


def full_scale(shares: NDArray[np.float64]) -> float:
    """The smallest of :data:`FULL_SCALES` that no share exceeds."""
    return next(scale for scale in FULL_SCALES if shares.max() <= scale + 1e-9)


def shade(part: float) -> str:
    """The character of a part of the full scale, in [0, 1]: blank for none, and as dark as its square root."""
    return " " if part <= 0.0 else SHADES[max(int(np.ceil(part**0.5 * len(SHADES) - 1e-6)), 1) - 1]
