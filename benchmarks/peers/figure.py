"""The figure of a comparison: CPU seconds to each threshold, game by game."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.peers.report import KEYS, our_seconds, their_seconds

COLOURS = {"mfenvs": "#1f3b73", "MFGLib": "#d1495b", "OpenSpiel": "#edae49", "Bench-MFG": "#66a182"}


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw a panel for each threshold: a row for each game and library, time on a logarithmic axis."""
    rows = found["rows"]
    figure = Figure(figsize=(13.0, 1.9 + 0.24 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(KEYS), sharey=True, squeeze=False)[0]
    limit = found["seconds"]
    off = 2.5 * limit
    for panel, key in zip(panels, KEYS, strict=True):
        for place, row in enumerate(rows):
            mine, theirs = our_seconds(row, key), their_seconds(row, key)
            ends = [limit if mine is None else mine, limit if theirs is None else theirs]
            panel.plot(ends, [place, place], color="0.85", linewidth=1.0, zorder=1)
            for seconds, name, marker in ((theirs, row["peer"], "s"), (mine, "mfenvs", "o")):
                if seconds is None:
                    panel.plot(off, place, marker, mfc="white", mec=COLOURS[name], markersize=6, zorder=2)
                else:
                    panel.plot(seconds, place, marker, color=COLOURS[name], markersize=6, zorder=2)
        panel.axvspan(1.4 * limit, 4.0 * limit, color="0.94", zorder=0)
        panel.set_xscale("log")
        panel.set_xlim(right=4.0 * limit)
        panel.set_xlabel("CPU time (s), one thread")
        panel.set_title(f"exploitability ≤ {key}", fontsize=10)
        panel.grid(axis="x", color="0.9", linewidth=0.6)
    panels[0].set_yticks(range(len(rows)), [row["game"].replace("-v0", "") for row in rows], fontsize=8)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("game")
    shown = ["mfenvs", *dict.fromkeys(row["peer"] for row in rows)]
    for name in shown:
        panels[0].plot([], [], "o" if name == "mfenvs" else "s", color=COLOURS[name], label=name)
    panels[0].plot([], [], "s", mfc="white", mec="0.3", label=f"not reached in {limit:g} s (grey band)")
    figure.legend(loc="outside upper center", ncols=len(shown) + 1, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
