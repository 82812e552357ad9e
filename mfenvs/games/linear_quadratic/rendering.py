"""Pictures of the linear-quadratic game: the law of each type's states over time, as text and as an image."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.linear_quadratic.game import LinearQuadratic
from mfenvs.rendering import (
    caption,
    check_recorded,
    make_recorder,
    new_figure,
    pixels,
    sparkline,
)

if TYPE_CHECKING:
    from mfenvs.engine.engine import Engine

QUANTILES = (0.05, 0.25, 0.75, 0.95)
"""Quantiles between which bands are drawn: the outer and the inner two."""


@make_recorder.register(LinearQuadratic)
class LawRecorder:
    """Recorder of the mean and the quantiles of each type's states, which it shows as text or image.

    Parameters
    ----------
    game:
        The game that the agents play.
    """

    def __init__(self, game: LinearQuadratic) -> None:
        self._game = game
        ends = np.cumsum(game.numbers)
        self._ranges = {
            name: slice(end - number, end)
            for name, number, end in zip(game.types, game.numbers, ends, strict=True)
            if number
        }
        self._laws: list[NDArray[np.float64]] = []

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""
        self._laws.clear()

    def record(self, engine: "Engine") -> None:
        """Record the law of the states of world 0: mean and quantiles of each type."""
        states = engine.states[0].astype(np.float64)
        laws = [[states[of].mean(), *np.quantile(states[of], QUANTILES)] for of in self._ranges.values()]
        self._laws.append(np.array(laws))

    def ansi(self) -> str:
        """A block of text with a line a type: mean and 90 % range of its states now, the mean over time.

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        """
        laws = self._history()
        means = laws[..., 0]
        low, high = means.min(), means.max()
        levels = (means - low) / (high - low) if high > low else np.full_like(means, 0.5)
        width = max(map(len, self._ranges))
        lines = [self._caption(), f"{'':<{width}}   mean state  90 % of states in     mean over time"]
        for k, name in enumerate(self._ranges):
            mean, least, *_, most = laws[-1, k]
            lines.append(
                f"{name:<{width}} {mean:12.4g}  {f'[{least:.3g}, {most:.3g}]':<20}  {sparkline(levels[:, k])}"
            )
        return "\n".join(lines)

    def rgb_array(self) -> NDArray[np.uint8]:
        """Mean of each type's states over time, with bands of 50 % and 90 % of them, shape (height, width, 3).

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        ImportError
            If matplotlib is not installed.
        """
        laws = self._history()
        figure, canvas = new_figure()
        axes = figure.add_subplot()
        times = self._game.dt * np.arange(len(laws))
        for k, name in enumerate(self._ranges):
            mean, least, lower, upper, most = laws[:, k].T
            axes.fill_between(times, least, most, color=f"C{k}", alpha=0.15, linewidth=0.0)
            axes.fill_between(times, lower, upper, color=f"C{k}", alpha=0.3, linewidth=0.0)
            marker = "o" if len(times) == 1 else None
            axes.plot(times, mean, color=f"C{k}", linewidth=1.5, marker=marker, label=name)
        self._draw_frame(axes)
        return pixels(canvas)

    def _draw_frame(self, axes: Any) -> None:
        axes.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)
        axes.set_xlim(0.0, self._game.duration)
        axes.set_xlabel("time")
        axes.set_ylabel("state")
        axes.set_title(self._caption())
        axes.legend(
            title="mean, with 50 % and\n90 % of the states",
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
        )

    def _caption(self) -> str:
        return caption(self._game, len(self._laws) - 1)

    def _history(self) -> NDArray[np.float64]:
        """Mean and quantiles, shape (times, types with agents, 1 + len(QUANTILES))."""
        check_recorded(self._laws)
        return np.stack(self._laws)
