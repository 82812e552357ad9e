"""The figures of the linear-quadratic game by three routes."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mfenvs.files import replacing

COLOURS = ("#0b6fa4", "#c2571a", "#2b8a3e", "#7b3fa0")
QUANTITIES = {
    "costs": "cost",
    "values": "value at time 0",
    "means": "mean state",
    "xi": r"$\xi$",
}


def draw_equilibrium(content: dict[str, Any], path: Path) -> None:
    """Means with standard deviations, values at time 0, xi and gains, by the three routes."""
    exact, protocol = content["closed_form"], content["protocol"]
    solved = content["solver"][protocol["schemes"][-1]][str(protocol["grids"][-1])]
    n_steps = protocol["steps"][-1]
    simulated, types = content["simulation"][str(n_steps)], content["game"]["types"]
    times = np.array(exact["times"])
    figure = Figure(figsize=(11.5, 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    simulated_times = np.linspace(times[0], times[-1], len(simulated["means"]))
    for k, colour in enumerate(COLOURS[: len(types)]):
        mean, deviation = (np.array(exact[key])[:, k] for key in ("means", "deviations"))
        axes[0, 0].plot(times, mean, color=colour, linewidth=2.6, alpha=0.6)
        axes[0, 0].fill_between(times, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
        mean, deviation = (np.array(solved[key])[:, k] for key in ("means", "deviations"))
        for line in (mean, mean - deviation, mean + deviation):
            axes[0, 0].plot(solved["times"], line, "--", color="k", linewidth=0.9)
        mean, deviation = (np.array(simulated[key])[:, k] for key in ("means", "deviations"))
        for line in (mean, mean - deviation, mean + deviation):
            axes[0, 0].plot(simulated_times[::5], line[::5], ".", color=colour, markersize=5)
        states, values = (np.array(exact[key])[:, k] for key in ("states", "values"))
        axes[0, 1].plot(states, values, color=colour, linewidth=2.6, alpha=0.6)
        axes[0, 1].plot(
            *(np.array(solved[key])[:, k] for key in ("states", "values")), "--", color="k", linewidth=0.9
        )
        axes[0, 1].errorbar(
            simulated["states"][k],
            simulated["values"][k],
            simulated["half_widths_of_values"][k],
            fmt=".",
            color=colour,
            markersize=5,
            capsize=2,
        )
        for ax, key in ((axes[1, 0], "xi"), (axes[1, 1], "gains")):
            ax.plot(times, np.array(exact[key])[:, k], color=colour, linewidth=2.6, alpha=0.6)
            ax.plot(solved["times"], np.array(solved[key])[:, k], "--", color="k", linewidth=0.9)
    _label(axes[0, 0], "mean state, and one standard deviation each way", "time t", "state x")
    _label(axes[0, 1], "value function at time 0", "state x", "expected cost v(0, x)")
    _label(
        axes[1, 0], r"constant part of the costate, $P x + \xi$", "time t", r"$\xi(t)$ (cost per unit of state)"
    )
    _label(axes[1, 1], "gain on the own state", "time t", r"$(b / r)\, P(t)$ (control per unit of state)")
    axes[1, 1].set_ylim(bottom=0.0)
    handles = [Line2D([], [], color=c, label=name) for name, c in zip(types, COLOURS, strict=False)]
    handles += [
        Line2D([], [], color="0.3", label="closed form"),
        Line2D([], [], color="k", linestyle="--", linewidth=0.9, label=_solver_name(protocol)),
        Line2D(
            [],
            [],
            color="0.3",
            marker=".",
            linestyle="",
            label=f"simulation, N = {protocol['n_agents']}, {n_steps} steps, {simulated['worlds']} worlds"
            " (values: 95 % intervals)",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    _save(figure, path)


def draw_limits(content: dict[str, Any], path: Path) -> None:
    """Errors of the solver against cells, N times the gap against N, and the price of anarchy."""
    protocol, types = content["protocol"], content["game"]["types"]
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    _draw_orders(axes[0], content)
    gaps = content["gaps"]
    for k, (name, colour) in enumerate(zip(types, COLOURS, strict=False)):
        of_type = np.array(gaps["n_times_gap"])[:, k]
        axes[1].semilogx(gaps["sizes"], of_type, color=colour, marker="o", markersize=4, label=name)
        limit = of_type[-1]
        axes[1].axhline(limit, color=colour, linestyle=":", linewidth=1.2, label=f"limit {limit:.5f}")
    axes[1].legend(frameon=False)
    axes[1].set_ylim(bottom=0.0)
    _label(axes[1], "gap of the mean-field feedback among N", "number of agents N", "N times the gap (cost)")
    for (key, label), colour in zip(
        (("coupling_cost", "coupling cost s"), ("coupling", r"coupling of the drift $\kappa$")),
        COLOURS[2:],
        strict=True,
    ):
        axes[2].plot(protocol["scales"], content["closed_form"]["anarchy"][key], color=colour, label=label)
    axes[2].axvline(1.0, color="0.6", linewidth=0.8)
    axes[2].plot(
        1.0,
        content["closed_form"]["price_of_anarchy"],
        "ko",
        markersize=4,
        label=f"default: {content['closed_form']['price_of_anarchy']:.5f}",
    )
    axes[2].legend(frameon=False)
    _label(axes[2], "price of anarchy", "factor on the parameter", "equilibrium's total cost over the optimum's")
    _save(figure, path)


def draw_learned(content: dict[str, Any], path: Path) -> None:
    """Learned gains by policy with the range of the seeds, beside the gains in continuous time and in steps."""
    types, exact = content["game"]["types"], content["closed_form"]
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(content["learned"]), sharey=True, squeeze=False)[0]
    for ax, (learner, runs) in zip(axes, content["learned"].items(), strict=True):
        times, gains = np.array(runs[0]["times"]), np.array([run["gain"] for run in runs])
        for k, (name, colour) in enumerate(zip(types, COLOURS, strict=False)):
            ax.plot(exact["times"], np.array(exact["gains"])[:, k], color=colour, label=f"{name}: (b / r) P")
            in_steps = np.array(runs[0]["scheme_gain"])[:, k]
            ax.plot(
                times, in_steps, ":", color=colour, linewidth=2.0, label=f"{name}: best in steps of {times[1]:g}"
            )
            ax.plot(times, gains[..., k].mean(axis=0), "--", color=colour, label=f"{name}: learned, mean")
            ax.fill_between(
                times, gains[..., k].min(axis=0), gains[..., k].max(axis=0), color=colour, alpha=0.2, linewidth=0
            )
        _label(ax, f"actor-critic, {learner} policy: range of {len(runs)} seeds", "time t", "")
        ax.set_ylim(bottom=0.0)
    axes[0].set_ylabel("gain (control per unit of state)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def _draw_orders(ax: Axes, content: dict[str, Any]) -> None:
    protocol = content["protocol"]
    grids = np.array(protocol["grids"])
    for scheme, style in zip(protocol["schemes"], ("-", "--"), strict=True):
        for (quantity, label), colour in zip(QUANTITIES.items(), COLOURS, strict=True):
            rows = [content["solver"][scheme][str(n)]["errors"][quantity] for n in grids]
            errors = np.array(rows).max(axis=1)
            ax.loglog(grids, errors, style, color=colour, marker="o", markersize=4, label=f"{label}, {scheme}")
    largest = max(max(content["solver"][s][str(grids[0])]["errors"]["values"]) for s in protocol["schemes"])
    ax.loglog(grids, 2.0 * largest * grids[0] / grids, "k:", label="order 1")
    ax.set_xticks(grids, [str(n) for n in grids])
    ax.set_xticks([], minor=True)
    ax.legend(frameon=False, fontsize=7.5, ncols=2, loc="lower left", handlelength=3.5)
    ax.set_ylim(bottom=ax.get_ylim()[0] / 6.0)
    _label(ax, "HJB-FP: largest error, either type", "number of cells and of time steps", "error")


def _solver_name(protocol: dict[str, Any]) -> str:
    n = protocol["grids"][-1]
    return f"HJB-FP, {protocol['schemes'][-1]}, {n} x {n}"


def _label(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.25, which="both")


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as file:
        figure.savefig(file, dpi=130)
