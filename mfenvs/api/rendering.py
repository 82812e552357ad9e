"""Pictures of a population: the share of agents in each state over time, as text and as an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.game import FiniteGame
from mfenvs.registry import name_of

MAX_SHOWN = 10
"""States that are shown by name; the less populated ones are shown as one."""

BAR_WIDTH = 30
HISTORY_WIDTH = 40
EIGHTHS_RIGHT = " ▏▎▍▌▋▊▉"
EIGHTHS_UP = "▁▂▃▄▅▆▇█"

SIZE_IN_INCHES = (7.2, 4.4)
DOTS_PER_INCH = 100


class PopulationRecorder:
    """Records the shares of one world's agents by state, and shows them.

    Parameters
    ----------
    game:
        The game that the agents play, which names the states.
    """

    def __init__(self, game: FiniteGame) -> None:
        self._names = [game.state_name(state) for state in range(game.n_states)]
        self._n_agents, self._horizon = game.n_agents, game.horizon
        self._title = f"{name_of(game) or type(game).__name__}, {game.n_agents} agents"
        self._shares: list[NDArray[np.float64]] = []

    def clear(self) -> None:
        """Forget what was recorded: the next record is that of time 0."""
        self._shares.clear()

    def record(self, states: NDArray[Any]) -> None:
        """Record the states of all agents at the next time, shape (n_agents,)."""
        self._shares.append(np.bincount(states, minlength=len(self._names)) / self._n_agents)

    def ansi(self) -> str:
        """A block of text: each state's share now, as a bar, and over time.

        Raises
        ------
        RuntimeError
            If nothing was recorded.
        """
        names, shares = self._shown()
        width = max(map(len, names))
        lines = [f"{self._title}, time {len(shares) - 1} of {self._horizon}"]
        for name, history in zip(names, shares.T, strict=True):
            lines.append(f"{name:<{width}} |{_bar(history[-1])}| {history[-1]:6.1%}  {_sparkline(history)}")
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
        figure_class, canvas_class = drawing_classes()
        figure = figure_class(figsize=SIZE_IN_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        canvas = canvas_class(figure)
        axes = figure.add_subplot()
        # Time is discrete: the shares at time h fill the strip from h - 1/2 to h + 1/2.
        time = len(shares) - 1
        edges = np.repeat(np.arange(time + 2) - 0.5, 2)[1:-1]
        colours = [f"C{index}" for index in range(len(names))]
        areas = axes.stackplot(edges, np.repeat(shares, 2, axis=0).T, colors=colours, linewidth=0.0, alpha=0.85)
        axes.set_xlim(-0.5, self._horizon + 0.5)
        axes.set_ylim(0.0, 1.0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("time step")
        axes.set_ylabel("share of agents")
        axes.set_title(f"{self._title}, time {time} of {self._horizon}")
        # The legend lists the states as they are stacked, from the top.
        outside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False}
        axes.legend(areas[::-1], names[::-1], title="state", **outside)
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3].copy()

    def _shown(self) -> tuple[list[str], NDArray[np.float64]]:
        """Names and shares, shape (times, names), with rarely visited states added up."""
        if not self._shares:
            raise RuntimeError("render() was called before reset(): call reset() first")
        shares = np.stack(self._shares)
        if len(self._names) <= MAX_SHOWN:
            return self._names, shares
        order = np.argsort(-shares.sum(axis=0), kind="stable")
        kept, rest = np.sort(order[: MAX_SHOWN - 1]), order[MAX_SHOWN - 1 :]
        names = [*(self._names[state] for state in kept), f"{len(rest)} others"]
        return names, np.column_stack([shares[:, kept], shares[:, rest].sum(axis=1)])


def _bar(share: float) -> str:
    """A horizontal bar, ``BAR_WIDTH`` characters with the blank part."""
    whole, eighths = divmod(round(share * BAR_WIDTH * 8), 8)
    return ("█" * whole + (EIGHTHS_RIGHT[eighths] if eighths else "")).ljust(BAR_WIDTH)


def _sparkline(history: NDArray[np.float64]) -> str:
    """The last shares as one character each."""
    return "".join(EIGHTHS_UP[min(7, int(share * 8))] for share in history[-HISTORY_WIDTH:])


def drawing_classes() -> tuple[Any, Any]:
    """Figure and canvas of matplotlib, without the global state of pyplot; ImportError if there is none."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError("render_mode='rgb_array' needs matplotlib: pip install 'mfenvs[render]'") from error
    return Figure, FigureCanvasAgg
