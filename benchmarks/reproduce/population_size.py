"""Exploitability of mean-field equilibria in the N-player game by N, beside Theorem 1 of Yardim & He.

For A-SIS, A-RPS and the congestion game (arXiv 2408.15173, appendices D.1 and E.2), N agents play an equilibrium
of the induced mean-field game, and the gain of a best response is measured by simulation for N = 10 ... 100,000:
among equal agents, and among ten kinds of agents, N / 10 of each, drawn with the games' default heterogeneity. As
the kinds are the same at every N, so are the induced game, alpha and beta: what is left for large N is the
heterogeneity's floor, the gain of a best response in the limit of many agents. It is computed exactly, from the
flows of the kinds. Where alpha > 0 (A-SIS) it is not the gain in the flow of the induced game: that averages P
over all agents in every state, whereas those who recover slowly are infected more often.

The paper has no figure of this; it states the rate of Theorem 1, 1 / sqrt(N). Measured is a best response's gain
in fresh simulations, a lower bound on the exploitability. The slope on log axes is that of the gain's excess over
the floor, and it is fitted to those sizes only at which the simulations resolve the excess.
"""

import dataclasses
import functools
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from baselines.versions import versions
from benchmarks.reproduce.equilibrium import find_equilibrium
from benchmarks.reproduce.given_agents import with_agents
from benchmarks.reproduce.promised import promised
from benchmarks.reproduce.tasks import Tasks, run_all
from benchmarks.reproduce.weighted_slope import weighted_slope
from mfenvs import FiniteGame, InducedGame, checks, make, n_player_exploitability
from mfenvs.files import replacing, write_json
from mfenvs.meanfield.n_player import Estimate
from mfenvs.meanfield.symmetry import approximate_symmetry

Array = NDArray[np.float64]

RESULTS = Path("runs") / "population-size"

GAMES = {"A-SIS": "Epidemic-v0", "A-RPS": "RockPaperScissors-v0", "congestion": "Congestion-v0"}
KINDS = {"equal": 1, "ten kinds": 10}
"""Populations, and the number of kinds of agents in each."""
AT_THE_CENTRE = {"A-SIS": True, "A-RPS": True, "congestion": False}
"""Whether equal agents have the parameters at the centre of the games' laws, or those of one agent that was drawn:
at the centre of the congestion game all routes are worth the same, and hardly anything is left to gain."""
LABELS = {"equal": "equal agents", "ten kinds": "ten kinds of agents, default heterogeneity"}
COLOURS = {"equal": "#0b6fa4", "ten kinds": "#c2571a"}
SIZES = (10, 20, 30, 50, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)

MOST_WORLDS = 20_000
"""Largest number of worlds in one measurement."""
MOST_OF_ERROR = 10.0
"""An excess that counts as resolved is more than so many times the error of the equilibrium."""
STANDARD_ERRORS = 3.0
"""It is more than so many standard errors, too."""


@dataclasses.dataclass
class Flags:
    """Exploitability of mean-field equilibria among N agents by N, beside the bound of Theorem 1."""

    sizes: tuple[int, ...] = SIZES
    """Numbers of agents N, multiples of 10."""
    repeats: int = 8
    """Number of independent measurements of every game and size, at least 2."""
    agents_at_a_time: int = 500_000
    """Number of agents, over all worlds, that are simulated at a time: bounds the memory."""
    seed: int = 0
    """Random seed of the kinds of agents and of the simulations."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where figure and JSON go; committed are those in benchmarks/results/population-size."""


def main(words: list[str]) -> int:
    """Run the reproduction; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce population-size")
    checks.integer("repeats", flags.repeats, 2)
    for n in flags.sizes:
        if n < 10 or n % 10:
            raise ValueError(f"sizes must be multiples of 10, got {n}")
    began = time.perf_counter()
    tasks: Tasks = {
        (game, population, n): functools.partial(
            measured, game, population, n, flags.repeats, flags.agents_at_a_time, flags.seed
        )
        for n in sorted(flags.sizes, reverse=True)
        for game in GAMES
        for population in KINDS
    }
    found, interrupted = run_all(tasks, flags.jobs, "population size")
    curves = {
        game: {
            population: curve([found[key] for key in sorted(found) if key[:2] == (game, population)])
            for population in KINDS
        }
        for game in GAMES
    }
    content = {
        "source": "Yardim & He, arXiv 2408.15173, Theorem 1",
        "complete": len(found) == len(tasks),
        "seeds": list(range(flags.seed, flags.seed + flags.repeats)),
        "agents_at_a_time": flags.agents_at_a_time,
        "games": {label: {"name": name, **make(name).describe()} for label, name in GAMES.items()},
        "curves": curves,
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    if content["complete"]:
        draw(curves, flags.out / "population_size.png")
        for game in GAMES:
            Console().print(table(game, curves[game]))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def population_of(game: str, population: str, n_agents: int, seed: int) -> FiniteGame:
    """A game among N agents, all of one kind or of ten kinds in equal numbers."""
    n_kinds = KINDS[population]
    at_the_centre = n_kinds == 1 and AT_THE_CENTRE[game]
    choices: dict[str, Any] = {"heterogeneity": 0.0} if at_the_centre else {"agents_seed": seed}
    few = make(GAMES[game], n_agents=max(2, n_kinds), **choices)
    assert isinstance(few, FiniteGame)
    return with_agents(few, few.agents[:n_kinds], n_agents)


def measured(
    game: str, population: str, n_agents: int, repeats: int, agents_at_a_time: int, seed: int
) -> dict[str, Any]:
    """The gain of a best response to the mean-field equilibrium among N agents, and the bound of Theorem 1.

    It is that of the kind of agents who gain most. Every repeat looks for the best response anew, in simulations
    of its own.
    """
    among = population_of(game, population, n_agents, seed)
    equilibrium = find_equilibrium(among)
    n_worlds = min(MOST_WORLDS, max(2, agents_at_a_time // n_agents))
    lower_bounds, estimates = [], []
    for repeat in range(repeats):
        found = n_player_exploitability(
            among,
            equilibrium.policy,
            n_worlds=n_worlds,
            deviators_per_world=1,
            agents=np.arange(KINDS[population]),
            seed=seed + repeat,
        )
        lower_bounds.append(found.max_lower_bound.value)
        estimates.append(found.max)
    gain, estimate = Estimate.of(np.array(lower_bounds)), Estimate.of(np.array(estimates))
    symmetry = approximate_symmetry(among)
    return {
        "n_agents": n_agents,
        "n_worlds": n_worlds,
        "repeats": repeats,
        "mean_field_exploitability": equilibrium.exploitability,
        "path_steps": equilibrium.n_path_steps,
        "gain": gain.value,
        "gain_standard_error": gain.standard_error,
        "gain_95": list(gain.interval),
        "estimate": estimate.value,
        "estimate_95": list(estimate.interval),
        "floor": float(floor(among, equilibrium.policy).max()),
        "gain_in_induced_flow": float(gains_in_induced_flow(among, equilibrium.policy).max()),
        "alpha": symmetry.alpha,
        "beta": symmetry.beta,
        "theorem_1": promised(among, equilibrium.exploitability, symmetry).summary(),
    }


def floor(game: FiniteGame, policy: Array) -> Array:
    """Gain of each kind of agents from its best response in the limit of many agents, shape (n_kinds,)."""
    kinds, _ = _each_kind_alone(game)
    return _gains(kinds, flow_of_many_agents(game, policy), policy)


def gains_in_induced_flow(game: FiniteGame, policy: Array) -> Array:
    """Gain of each kind of agents from its best response in the flow of the induced game, shape (n_kinds,)."""
    kinds, _ = _each_kind_alone(game)
    return _gains(kinds, InducedGame(game).flow(policy).mu, policy)


def flow_of_many_agents(game: FiniteGame, policy: Array) -> Array:
    """The limit of the empirical distributions of many agents, in these shares of kinds, shape (H, S, A).

    Every kind has a state law of its own, which its own P moves; all kinds together are the population.
    """
    kinds, shares = _each_kind_alone(game)
    laws, flow = np.stack([kind.initial for kind in kinds]), np.empty(game.policy_shape)
    for h in range(game.horizon):
        flow[h] = (shares @ laws)[:, None] * policy[h]
        flow[h] /= flow[h].sum()
        rows = [kind.arrays(flow[h], h)[0] for kind in kinds]
        laws = np.stack([np.einsum("s,sa,sat->t", law, policy[h], p) for law, p in zip(laws, rows, strict=True)])
    return flow


def _each_kind_alone(game: FiniteGame) -> tuple[list[InducedGame], Array]:
    """The mean-field games of populations of one kind each, and the shares of the kinds."""
    kinds, copies = np.unique(np.asarray(game.agents), return_counts=True)
    return [InducedGame(with_agents(game, np.array([kind]), 2)) for kind in kinds], copies / game.n_agents


def _gains(kinds: list[InducedGame], population: Array, policy: Array) -> Array:
    gains = []
    for alone in kinds:
        faced = alone.frozen(population)
        best = alone.best_response(faced)
        gains.append(alone.value(best, faced) - alone.value(policy, faced))
    return np.array(gains)


def curve(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows by N, and the slope of the excess of gains over the floor, if it is resolved at three sizes."""
    rows = sorted(rows, key=lambda row: int(row["n_agents"]))
    resolved = list(itertools.takewhile(_is_resolved, rows))
    slope = None
    if len(resolved) >= 3:
        n_agents, excess, errors = np.array(
            [(row["n_agents"], row["gain"] - row["floor"], row["gain_standard_error"]) for row in resolved]
        ).T
        fit = weighted_slope(n_agents, excess, errors)
        slope = {
            "slope": fit.value,
            "slope_95": list(fit.interval),
            "intercept": fit.intercept,
            "n_agents": [row["n_agents"] for row in resolved],
        }
    return {"slope": slope, "rows": rows}


def _is_resolved(row: dict[str, Any]) -> bool:
    excess = row["gain"] - row["floor"]
    least = max(STANDARD_ERRORS * row["gain_standard_error"], MOST_OF_ERROR * row["mean_field_exploitability"])
    return bool(excess > least)


def draw(curves: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the measured gains, the fitted lines, the floors and the bounds on log axes, one game each."""
    figure = Figure(figsize=(15.0, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(curves))
    for ax, (game, of_game) in zip(axes, curves.items(), strict=True):
        for population, one in of_game.items():
            _draw_one(ax, one, LABELS[population], COLOURS[population])
        ax.set_title(f"{game}, H = {make(GAMES[game]).horizon}", fontsize=11)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("number of agents N")
        ax.set_ylabel("gain of a best response (total reward of an episode)")
        ax.grid(alpha=0.25)
        ax.legend(fontsize=6.5, frameon=False, loc=(0.02, 0.06))
    figure.suptitle(
        "Mean-field equilibrium among N agents: gain of a best response in fresh simulations, with 95 % intervals"
        " (triangles: upper end of an interval that reaches zero)",
        fontsize=10,
    )
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def _draw_one(ax: Axes, one: dict[str, Any], label: str, colour: str) -> None:
    rows = one["rows"]
    positive = [row for row in rows if row["gain_95"][0] > 0.0]
    values = np.array([[row["n_agents"], row["gain"], *row["gain_95"]] for row in positive]).reshape(-1, 4)
    n, gain, low, high = values.T
    ax.errorbar(n, gain, [gain - low, high - gain], fmt="o", markersize=4, capsize=2, color=colour, label=label)
    below = [row for row in rows if row["gain_95"][0] <= 0.0 < row["gain_95"][1]]
    ax.plot(
        [row["n_agents"] for row in below], [row["gain_95"][1] for row in below], "v", color=colour, mfc="none"
    )
    if (slope := one["slope"]) is not None:
        x = np.geomspace(min(slope["n_agents"]), max(slope["n_agents"]))
        fitted = rows[0]["floor"] + np.exp(slope["intercept"]) * x ** slope["slope"]
        low_slope, high_slope = slope["slope_95"]
        text = f"excess: slope {slope['slope']:.2f} [{low_slope:.2f}, {high_slope:.2f}]"
        ax.plot(x, fitted, "-", linewidth=1.0, color=colour, label=text)
    everywhere = [row["n_agents"] for row in rows]
    ax.plot(everywhere, [row["floor"] for row in rows], ":", color=colour, label="limit of many agents, exact")
    bounds = [row["theorem_1"]["total"] for row in rows]
    ax.plot(everywhere, bounds, "--", color=colour, label="Theorem 1")


def table(game: str, of_game: dict[str, Any]) -> Table:
    """One game's gains and bounds by N."""
    lines = []
    for population, one in of_game.items():
        if one["slope"] is None:
            lines.append(f"{LABELS[population]}: excess resolved at fewer than three sizes, no slope")
        else:
            low, high = one["slope"]["slope_95"]
            which = f"N = {one['slope']['n_agents'][0]} ... {one['slope']['n_agents'][-1]}"
            lines.append(
                f"{LABELS[population]}: slope of excess {one['slope']['slope']:.2f} [{low:.2f}, {high:.2f}],"
                f" {which}"
            )
    found = Table(title=f"{game}: gain of a best response, 95 % interval", caption="\n".join(lines))
    found.add_column("N", justify="right")
    for population in of_game:
        for header in (population, "many agents", "Theorem 1"):
            found.add_column(header, justify="right")
    for rows in zip(*(one["rows"] for one in of_game.values()), strict=True):
        cells = []
        for row in rows:
            low, high = row["gain_95"]
            cells += [f"{row['gain']:.2g} [{low:.2g}, {high:.2g}]", f"{row['floor']:.2g}"]
            cells.append(f"{row['theorem_1']['total']:.3g}")
        found.add_row(str(rows[0]["n_agents"]), *cells)
    return found
