"""The figure of the propagation of chaos."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mfenvs.files import replacing

COLOURS = {"W1": "#0b6fa4", "W2": "#c2571a", "mean": "#2b8a3e"}
LABELS = {"W1": r"$W_1$", "W2": r"$W_2$", "mean": "error of the mean"}


def draw_chaos(content: dict[str, Any], path: Path) -> None:
    """Distances against N on log axes: whole population, each type, and the two clusters.

    Bands hold 90 % of the repetitions; the intervals of the means are narrower than the lines.
    """
    distances, sizes = content["distances"], np.array(content["sizes"])
    groups = list(distances[str(sizes[0])])
    first = ["population", *(group for group in groups if group not in ("population", "two clusters"))]
    names = [*first, "two clusters"]
    figure = Figure(figsize=(10.5, 4.6 * ((len(names) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots((len(names) + 1) // 2, 2, sharex=True, sharey=True).ravel()
    for ax, group in zip(axes, names, strict=False):
        for measure, colour in COLOURS.items():
            rows = [distances[str(size)][group][measure] for size in sizes]
            mean, low, high = (np.array([row[key] for row in rows]) for key in ("mean", "low", "high"))
            slope = content["slopes"]["all sizes"][group][measure]
            label = f"{LABELS[measure]}: slope {slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]"
            ax.loglog(sizes, mean, color=colour, marker="o", markersize=4, label=label)
            ax.fill_between(sizes, low, high, color=colour, alpha=0.2, linewidth=0)
        w2 = np.array([distances[str(size)][group]["W2"]["mean"] for size in sizes])
        ax.loglog(
            sizes, 1.6 * w2[0] * np.sqrt(sizes[0] / sizes), "k--", linewidth=0.9, label=r"$\propto N^{-1/2}$"
        )
        if group == "two clusters":
            limit = content["two_clusters"]["limit of N^(1/4) E W2"]
            ax.loglog(
                sizes, limit * sizes**-0.25, "k:", linewidth=1.6, label=rf"{limit:.3f} $N^{{-1/4}}$ (theory)"
            )
            ax.set_title("two clusters with a gap of 1, nothing moves", fontsize=10)
        else:
            biases = content["scheme"]["largest W2 between the scheme and continuous time"]
            if group in biases:
                ax.axhline(
                    biases[group],
                    color="0.5",
                    linestyle="-.",
                    linewidth=1.0,
                    label=rf"bias of the scheme ($W_2$, dt = {content['scheme']['dt']:g})",
                )
            ax.set_title(group if group == "population" else f"agents of type {group}", fontsize=10)
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("number of agents N")
        ax.grid(alpha=0.25, which="both")
        ax.legend(fontsize=7.5, loc="lower left", frameon=False)
    figure.supylabel(
        r"E $\sup_t$ distance between the law of N agents and its limit (units of the state)", fontsize=10
    )
    with replacing(path) as file:
        figure.savefig(file, dpi=130)
