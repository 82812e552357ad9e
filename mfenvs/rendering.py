"""Pictures of a population: the share of agents in each place over time, as text and as an image."""

import functools
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mfenvs.game import Game
from mfenvs.registry import name_of

if TYPE_CHECKING:
    from mfenvs.engine.engine import Engine

MAX_SHOWN = 10
"""Largest number of places that are shown by name; the less populated ones are added up."""

BAR_WIDTH = 30
HISTORY_WIDTH = 40
EIGHTHS_RIGHT = " ▏▎▍▌▋▊▉"
EIGHTHS_UP = "▁▂▃▄▅▆▇█"

SIZE_IN_INCHES = (7.2, 4.4)
DOTS_PER_INCH = 100


class Recorder(Protocol):
    """A recorder of world 0 of an engine, which shows it as text or image (:func:`make_recorder`)."""

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""

    def record(self, engine: "Engine") -> None:
        """Record world 0 at the next time."""

    def ansi(self) -> str:
        """A block of text; RuntimeError if nothing was recorded."""

    def rgb_array(self) -> NDArray[np.uint8]:
        """An image, shape (height, width, 3); RuntimeError if nothing was recorded."""


class ShareRecorder:
    """Recorder of the share of one world's agents in each place, which it shows as text or image.

    Parameters
    ----------
    game:
        The game that the agents play, which names the places.

    Raises
    ------
    TypeError
        If the game has no rule ``place``.
    """

    def __init__(self, game: Game) -> None:
        if game.rules.place is None:
            raise TypeError(f"rendering needs a game with a rule place, got {type(game).__name__}")
        self._game = game
        self._kind = "state" if hasattr(game, "n_states") else "place"
        self._names = [game.place_name(place) for place in range(game.n_places)]
        self._shares: list[NDArray[np.float64]] = []

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""
        self._shares.clear()

    def record(self, engine: "Engine") -> None:
        """Record the places of the agents of world 0."""
        self._shares.append(engine.occupancy()[0].astype(np.float64))

    def ansi(self) -> str:
        """A block of text: each place's share now, as a bar, and over time.

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        """
        names, shares = self._shown()
        width = max(map(len, names))
        lines = [self._caption()]
        for name, history in zip(names, shares.T, strict=True):
            lines.append(f"{name:<{width}} |{bar(history[-1])}| {history[-1]:6.1%}  {sparkline(history)}")
        return "\n".join(lines)

    def rgb_array(self) -> NDArray[np.uint8]:
        """A stacked-area plot of the shares over time, shape (height, width, 3).

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        ImportError
            If matplotlib is not installed.
        """
        names, shares = self._shown()
        figure, canvas = new_figure()
        axes = figure.add_subplot()
        # Time is discrete: the shares at time h fill the strip from h - 1/2 to h + 1/2.
        time = len(shares) - 1
        edges = np.repeat(np.arange(time + 2) - 0.5, 2)[1:-1]
        colours = [f"C{index}" for index in range(len(names))]
        areas = axes.stackplot(edges, np.repeat(shares, 2, axis=0).T, colors=colours, linewidth=0.0, alpha=0.85)
        show_whole_episode(axes, self._game)
        axes.set_ylim(0.0, 1.0)
        axes.set_ylabel("share of agents")
        axes.set_title(self._caption())
        # The legend lists the states as they are stacked, from the top.
        outside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False}
        axes.legend(areas[::-1], names[::-1], title=self._kind, **outside)
        return pixels(canvas)

    def _caption(self) -> str:
        return caption(self._game, len(self._shares) - 1)

    def _shown(self) -> tuple[list[str], NDArray[np.float64]]:
        """Names and shares, shape (times, names), with rarely visited states added up."""
        check_recorded(self._shares)
        shares = np.stack(self._shares)
        if len(self._names) <= MAX_SHOWN:
            return self._names, shares
        order = np.argsort(-shares.sum(axis=0), kind="stable")
        kept, rest = np.sort(order[: MAX_SHOWN - 1]), order[MAX_SHOWN - 1 :]
        names = [*(self._names[state] for state in kept), f"{len(rest)} others"]
        return names, np.column_stack([shares[:, kept], shares[:, rest].sum(axis=1)])


@functools.singledispatch
def make_recorder(game: Game) -> Recorder:
    """Make the recorder that shows an episode of a game as text and as an image.

    By default it shows the share of agents in each place over time. A game that shows more has a recorder of its
    own, a class or function that takes the game and is registered for the game's class:
    ``@make_recorder.register(MyGame)``.

    Raises
    ------
    TypeError
        If the game has no rule ``place``, so that there is nothing to show.
    """
    return ShareRecorder(game)


def caption(game: Game, time: int) -> str:
    """The game's name, number of agents, and the time."""
    name = name_of(game) or type(game).__name__
    return f"{name}, {game.n_agents} agents, time {time} of {game.horizon}"


def check_recorded(history: list[Any]) -> None:
    """Raise a RuntimeError if nothing was recorded."""
    if not history:
        raise RuntimeError("render() was called before reset(): call reset() first")


def bar(share: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar, ``width`` characters with the blank part."""
    whole, eighths = divmod(round(share * width * 8), 8)
    return ("█" * whole + (EIGHTHS_RIGHT[eighths] if eighths else "")).ljust(width)


def sparkline(history: NDArray[np.float64], width: int = HISTORY_WIDTH) -> str:
    """The last ``width`` shares as one character each."""
    return "".join(EIGHTHS_UP[min(7, int(share * 8))] for share in history[-width:])


def show_whole_episode(axes: Any, game: Game) -> None:
    """Set the horizontal axis to the times of an episode, with a strip from h - 1/2 to h + 1/2 for time h."""
    axes.set_xlim(-0.5, game.horizon + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("time step")


def new_figure() -> tuple[Any, Any]:
    """A matplotlib figure of the size of all pictures, and its canvas; ImportError without matplotlib."""
    figure_class, canvas_class = drawing_classes()
    figure = figure_class(figsize=SIZE_IN_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    return figure, canvas_class(figure)


def pixels(canvas: Any) -> NDArray[np.uint8]:
    """The image drawn on a canvas, shape (height, width, 3)."""
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def drawing_classes() -> tuple[Any, Any]:
    """Matplotlib's classes of figures and canvases, without pyplot's global state; ImportError if missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError("render_mode='rgb_array' needs matplotlib: pip install 'mfenvs[render]'") from error
    return Figure, FigureCanvasAgg
