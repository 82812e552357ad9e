"""The linear-quadratic game by three routes: closed form, partial differential equations, and N agents.

"Math Deep Dive: Understanding Mean-Field-Type Games", section 8, gives dynamics and costs of two types, and a form
of the solution. It has no parameters and no results: the game's are ours [O].

1. Mean paths and standard deviations of each type, value functions, xi and gains, by the three routes.
2. Costs by type, with errors: of the solver by comparing two grids, of the simulation over worlds.
3. The order at which the solver converges to the closed form, by two schemes on three grids.
4. N times the gap of the mean-field feedback among N agents, which tends to a limit.
5. The price of anarchy, as the two couplings grow.
6. Gains that the actor-critic learns, beside those of the Riccati equations, with intervals over seeds.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.interpolate import CubicSpline

from baselines.continuous.hjb_fokker_planck import Equilibrium, Grid, Settings, solve
from baselines.continuous.linear_quadratic import (
    LinearQuadraticSolution,
    competitive_equilibrium,
    continuous_game,
    n_player_best_response,
    n_player_gaps,
    price_of_anarchy,
    scheme_gains,
    social_optimum,
)
from baselines.versions import versions
from benchmarks.reproduce import modulation
from benchmarks.reproduce.feedback_worlds import FeedbackWorlds
from benchmarks.reproduce.gmf_q_figures import interval
from benchmarks.reproduce.linear_quadratic_figures import draw_equilibrium, draw_learned, draw_limits
from benchmarks.reproduce.tasks import run_all
from mfenvs import Engine, make
from mfenvs.files import write_json
from mfenvs.games.linear_quadratic.game import LinearQuadratic

Array = NDArray[np.float64]

RESULTS = Path("runs") / "linear-quadratic"
GAME = "LinearQuadratic-v0"
QUANTITIES = ("costs", "values", "means", "xi")
"""Of what the solver's errors are measured."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How large everything is [O]."""

    schemes: tuple[str, ...] = ("upwind", "hybrid")
    """Schemes of the solver, the last of which is in the figure of the equilibrium."""
    grids: tuple[int, ...] = (100, 200, 400)
    """Numbers of cells and of steps."""
    low: float = -4.0
    high: float = 4.0
    """Ends of the grid."""
    n_agents: int = 1000
    """Agents of the simulation."""
    steps: tuple[int, ...] = (100, 200, 400)
    """Steps of the simulation; costs are extrapolated from the last two."""
    worlds_at_a_time: int = 125
    """Worlds of a task."""
    n_bins: int = 10
    """Bins of initial states, for the value function in the simulation."""
    gap_sizes: tuple[int, ...] = (10, 20, 50, 100, 200, 500, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
    """Numbers of agents at which the gap is computed; the last stands for the limit."""
    scales: tuple[float, ...] = tuple(np.linspace(0.0, 4.0, 33).tolist())
    """Factors on the couplings in the price of anarchy."""
    learners: tuple[str, ...] = ("affine", "network")
    """Policies of the actor-critic: affine in state and means with polynomials of time, or a network."""
    learned_updates: int = 240
    """Updates of the actor-critic, each from one episode of 100 agents and 20 steps."""


@dataclasses.dataclass
class Flags:
    """The equilibrium by closed form, partial differential equations and simulation; limits and orders."""

    worlds: int = 1000
    """Number of simulated worlds of 1000 agents for each number of steps, at least 2."""
    seed: int = 0
    """Random seed of the simulations."""
    seeds: int = 5
    """Number of seeds with which gains are learned, at least 2."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the figures and the JSON go; committed are those in benchmarks/results/linear-quadratic."""


def main(words: list[str], protocol: Protocol = Protocol()) -> int:
    """Run the reproduction; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce linear-quadratic")
    for name in ("worlds", "seeds"):
        if getattr(flags, name) < 2:
            bad = f"--{name} must be at least 2, got {getattr(flags, name)}"
            print(f"python -m benchmarks reproduce linear-quadratic: {bad}")
            return 2
    began = time.perf_counter()
    tasks: dict[tuple[Any, ...], Callable[[], Any]] = {
        ("closed form",): functools.partial(closed_form, protocol),
        ("gaps",): functools.partial(gaps, protocol),
    }
    for scheme in protocol.schemes:
        for n in protocol.grids:
            tasks["solver", scheme, n] = functools.partial(on_grid, protocol, scheme, n)
    for learner in protocol.learners:
        for seed in range(flags.seeds):
            tasks["learned", learner, seed] = functools.partial(learn, protocol, learner, seed)
    for n_steps in protocol.steps:
        for first in range(0, flags.worlds, protocol.worlds_at_a_time):
            several = range(first, min(first + protocol.worlds_at_a_time, flags.worlds))
            tasks["simulation", n_steps, first] = functools.partial(
                simulate, protocol, n_steps, several, flags.seed
            )
    found, interrupted = run_all(tasks, flags.jobs, "linear-quadratic")
    content: dict[str, Any] = {
        "source": "Math Deep Dive: Understanding Mean-Field-Type Games, section 8",
        "complete": len(found) == len(tasks),
        "seed": flags.seed,
        "worlds": flags.worlds,
        "game": {"name": GAME, **make(GAME).describe()},
        "protocol": dataclasses.asdict(protocol),
        "closed_form": found.get(("closed form",)),
        "gaps": found.get(("gaps",)),
        "solver": {
            scheme: {str(n): found[key] for n in protocol.grids if (key := ("solver", scheme, n)) in found}
            for scheme in protocol.schemes
        },
        "simulation": {
            str(n_steps): pooled(batches)
            for n_steps in protocol.steps
            if (batches := [found[key] for key in sorted(k for k in found if k[:2] == ("simulation", n_steps))])
        },
        "learning_seeds": list(range(flags.seeds)),
        "learned": {
            learner: [found[key] for seed in range(flags.seeds) if (key := ("learned", learner, seed)) in found]
            for learner in protocol.learners
        },
        "versions": versions(),
    }
    if content["complete"]:
        content["orders"] = orders(content["solver"], protocol)
        content["costs"] = costs_by_route(content, protocol)
    content["seconds"] = time.perf_counter() - began
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    if content["complete"]:
        draw_equilibrium(content, flags.out / "equilibrium.png")
        draw_limits(content, flags.out / "limits.png")
        draw_learned(content, flags.out / "learned_gains.png")
        for table in (cost_table, order_table, learned_table):
            Console().print(table(content))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def game_of(**constants: Any) -> LinearQuadratic:
    """The default game with some constants changed."""
    game = make(GAME, **constants)
    assert isinstance(game, LinearQuadratic)
    return game


def closed_form(protocol: Protocol) -> dict[str, Any]:
    """Equilibrium and social optimum: paths, costs, values at time 0, and the price of anarchy."""
    game = game_of()
    solution, optimum = competitive_equilibrium(game), social_optimum(game)
    times = np.linspace(0.0, game.duration, 101)
    states = shown_states(solution)
    value = 0.5 * solution.riccati(0.0) * states**2 + solution.xi(0.0) * states + solution.zeta(0.0)
    return {
        "times": times.tolist(),
        "means": solution.mean(times).tolist(),
        "deviations": np.sqrt(solution.variance(times)).tolist(),
        "optimal_means": optimum.mean(times).tolist(),
        "xi": solution.xi(times).tolist(),
        "gains": (solution.parameters.response * solution.riccati(times)).tolist(),
        "xi_of_means": solution.xi_of_means(0.0).tolist(),
        "states": states.tolist(),
        "values": value.tolist(),
        "costs": solution.costs.tolist(),
        "optimal_costs": optimum.costs.tolist(),
        "total_cost": solution.total_cost,
        "optimal_total_cost": optimum.total_cost,
        "price_of_anarchy": price_of_anarchy(game),
        "n_player_costs": [
            n_player_best_response(solution, kind, protocol.n_agents).cost for kind in range(len(game.types))
        ],
        "anarchy": {
            name: [price_of_anarchy(game_of(**{name: scaled(game, name, factor)})) for factor in protocol.scales]
            for name in ("coupling_cost", "coupling")
        },
    }


def scaled(game: LinearQuadratic, name: str, factor: float) -> tuple[float, ...]:
    """A parameter of the types times a factor."""
    return tuple(factor * value for value in getattr(game, name))


def shown_states(solution: LinearQuadraticSolution, width: float = 2.5, n: int = 41) -> Array:
    """States at which values at time 0 are compared, within some initial standard deviations, (n, n_types)."""
    c = solution.parameters
    states: Array = c.first_mean + np.sqrt(c.first_variance) * np.linspace(-width, width, n)[:, None]
    return states


def gaps(protocol: Protocol) -> dict[str, Any]:
    """N times the gap of the mean-field feedback among N agents, by type."""
    sizes = np.array(protocol.gap_sizes)
    found = n_player_gaps(competitive_equilibrium(game_of()), sizes)
    return {"sizes": sizes.tolist(), "n_times_gap": (sizes[:, None] * found).tolist()}


def on_grid(protocol: Protocol, scheme: str, n: int) -> dict[str, Any]:
    """The solver's equilibrium on n cells and n steps, and its errors against the closed form."""
    game = game_of()
    solution = competitive_equilibrium(game)
    grid = Grid(low=protocol.low, high=protocol.high, n_cells=n, n_steps=n)
    began = time.perf_counter()
    found = solve(continuous_game(game), grid, Settings(scheme=scheme), estimate_error=True)
    seconds = time.perf_counter() - began
    assert found.error is not None
    gains, xi = fitted_feedback(found)
    gains = solution.parameters.response * gains
    states = shown_states(solution)
    values = np.stack([CubicSpline(found.x, v[0])(x) for v, x in zip(found.values, states.T, strict=True)], axis=1)
    exact = 0.5 * solution.riccati(0.0) * states**2 + solution.xi(0.0) * states + solution.zeta(0.0)
    squares = (found.densities * found.x**2).sum(axis=-1) * grid.width
    return {
        "converged": found.converged,
        "iterations": found.n_iterations,
        "mass_error": found.mass_error,
        "seconds": seconds,
        "times": thinned(found.t),
        "means": thinned(found.means.T),
        "deviations": thinned(np.sqrt(squares - found.means**2).T),
        "xi": thinned(xi),
        "gains": thinned(gains),
        "states": states.tolist(),
        "values": values.tolist(),
        "costs": found.costs.tolist(),
        "estimated_cost_errors": found.error.costs.tolist(),
        "extrapolated_costs": found.error.extrapolated_costs.tolist(),
        "errors": {
            "costs": np.abs(found.costs - solution.costs).tolist(),
            "values": np.abs(values - exact).max(axis=0).tolist(),
            "means": np.abs(found.means.T - solution.mean(found.t)).max(axis=0).tolist(),
            "xi": np.abs(xi - solution.xi(found.t)).max(axis=0).tolist(),
        },
    }


def thinned(path: Array) -> list[Any]:
    """At most some hundred times of a path, whose first axis is time: what is written and drawn."""
    shown: list[Any] = path[:: max(1, (len(path) - 1) // 100)].tolist()
    return shown


def fitted_feedback(found: Equilibrium) -> tuple[Array, Array]:
    """P and xi of a solution on a grid: the line through its value's slopes, weighted by the density.

    Returns
    -------
    Two arrays of shape (n_times, n_types).
    """
    slopes = np.gradient(found.values, found.x, axis=-1)
    weights = found.densities / found.densities.sum(axis=-1, keepdims=True)
    mean_x, mean_slope = (weights * found.x).sum(axis=-1), (weights * slopes).sum(axis=-1)
    covariance = (weights * found.x * slopes).sum(axis=-1) - mean_x * mean_slope
    gain = covariance / ((weights * found.x**2).sum(axis=-1) - mean_x**2)
    return gain.T, (mean_slope - gain * mean_x).T


def simulate(protocol: Protocol, n_steps: int, several: range, seed: int) -> dict[str, Any]:
    """Some worlds of N agents: cost by world and type, moments over time, and costs by initial state."""
    game = game_of(n_agents=protocol.n_agents, horizon=n_steps)
    solution = competitive_equilibrium(game)
    worlds = FeedbackWorlds(solution, game)
    engine = Engine(game, len(several), first_world=several[0], n_threads=1)
    engine.keep_returns()
    # Another seed for each number of steps: their errors are independent.
    episode = worlds.play(engine, seed=seed * 1_000_003 + n_steps)
    first = next(episode).astype(np.float64)
    moments = [by_type(first, worlds)]
    moments += [by_type(states, worlds) for states in episode]
    costs = -engine.returns
    edges = shown_states(solution, n=protocol.n_bins + 1)
    bins = []
    for kind, agents in enumerate(worlds.of_type):
        x, cost = first[:, agents].ravel(), costs[:, agents].ravel()
        bins.append(np.stack([np.histogram(x, edges[:, kind], weights=w)[0] for w in (None, x, cost, cost**2)]))
    return {
        "costs": [costs[:, agents].mean(axis=1) for agents in worlds.of_type],
        "moments": np.array(moments),
        "bins": np.array(bins),
    }


def by_type(states: NDArray[np.floating], worlds: FeedbackWorlds) -> Array:
    """Mean, and mean square, of each type's states in each world, shape (2, n_types, n_worlds)."""
    of_types = [states[:, agents].astype(np.float64) for agents in worlds.of_type]
    return np.array([[x.mean(axis=1) for x in of_types], [(x * x).mean(axis=1) for x in of_types]])


def learn(protocol: Protocol, learner: str, seed: int) -> dict[str, Any]:
    """Gains that one actor-critic learns, and the best gains in the steps of its game."""
    settings = dataclasses.replace(modulation.Protocol(), gain_updates=protocol.learned_updates)
    found = modulation.gains_run(settings, learner, seed)
    game = game_of(n_agents=settings.n_agents, horizon=settings.gain_horizon)
    return {**found, "scheme_gain": scheme_gains(game).tolist()}


def pooled(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """All worlds of one number of steps: costs with 95 % intervals, paths, and values by initial state."""
    costs = np.concatenate([np.array(batch["costs"]) for batch in batches], axis=1)
    moments = np.concatenate([batch["moments"] for batch in batches], axis=-1)
    counts, states, total, squares = np.moveaxis(sum(batch["bins"] for batch in batches), 1, 0)
    mean, half = interval(costs.T, 0.95)
    means, mean_squares = moments.mean(axis=-1).transpose(1, 0, 2)
    values = total / counts
    _, half_of_means = interval(moments[:, 0].transpose(2, 0, 1), 0.95)
    return {
        "worlds": costs.shape[1],
        "costs": mean.tolist(),
        "half_widths": half.tolist(),
        "means": thinned(means),
        "half_widths_of_means": thinned(half_of_means),
        "deviations": thinned(np.sqrt(mean_squares - means**2)),
        "states": (states / counts).tolist(),
        "values": values.tolist(),
        "half_widths_of_values": (1.96 * np.sqrt((squares / counts - values**2) / counts)).tolist(),
    }


def orders(solver: dict[str, dict[str, Any]], protocol: Protocol) -> dict[str, dict[str, list[list[float]]]]:
    """Orders of convergence by scheme and quantity: between successive grids, by type."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    ratios = np.diff(np.log(protocol.grids))[:, None]
    for scheme, grids in solver.items():
        for quantity in QUANTITIES:
            errors = np.array([grids[str(n)]["errors"][quantity] for n in protocol.grids])
            found.setdefault(scheme, {})[quantity] = (-np.diff(np.log(errors), axis=0) / ratios).tolist()
    return found


def costs_by_route(content: dict[str, Any], protocol: Protocol) -> dict[str, dict[str, list[float] | None]]:
    """Cost by type by each route, and half the width of its error: an estimate, or a 95 % interval."""
    exact = content["closed_form"]
    finest = content["solver"][protocol.schemes[-1]][str(protocol.grids[-1])]
    found: dict[str, dict[str, list[float] | None]] = {
        "closed form": {"costs": exact["costs"], "errors": None},
        f"HJB-FP, {protocol.grids[-1]} x {protocol.grids[-1]}": {
            "costs": finest["costs"],
            "errors": finest["estimated_cost_errors"],
        },
        "HJB-FP, extrapolated": {"costs": finest["extrapolated_costs"], "errors": None},
        f"N = {protocol.n_agents} in continuous time, exact": {"costs": exact["n_player_costs"], "errors": None},
    }
    rows = {n_steps: content["simulation"][str(n_steps)] for n_steps in protocol.steps}
    for n_steps, row in rows.items():
        name = f"N = {protocol.n_agents}, {n_steps} steps, simulated"
        found[name] = {"costs": row["costs"], "errors": row["half_widths"]}
    coarse, fine = ((np.array(rows[n]["costs"]), np.array(rows[n]["half_widths"])) for n in protocol.steps[-2:])
    ratio = protocol.steps[-1] / protocol.steps[-2]
    # Euler's cost is off by a multiple of dt: c = c_0 + c_1 dt.
    weight = ratio / (ratio - 1.0)
    found[f"N = {protocol.n_agents}, simulated, extrapolated to dt = 0"] = {
        "costs": (weight * fine[0] + (1.0 - weight) * coarse[0]).tolist(),
        "errors": np.hypot(weight * fine[1], (1.0 - weight) * coarse[1]).tolist(),
    }
    return found


def cost_table(content: dict[str, Any]) -> Table:
    """Costs by type by each route."""
    table = Table(
        title="Expected cost of an agent",
        caption="Errors: of HJB-FP estimated from two grids, of the simulation 95 % intervals. Price of anarchy"
        f" {content['closed_form']['price_of_anarchy']:.6f}.",
    )
    table.add_column("route")
    for name in content["game"]["types"]:
        table.add_column(name, justify="right")
    for route, row in content["costs"].items():
        errors = row["errors"] or [None] * len(row["costs"])
        cells = [
            f"{cost:.8f}" if error is None else f"{cost:.5f} +- {error:.5f}"
            for cost, error in zip(row["costs"], errors, strict=True)
        ]
        table.add_row(route, *cells)
    return table


def order_table(content: dict[str, Any]) -> Table:
    """Errors on the finest grid and orders of convergence."""
    table = Table(
        title="HJB-FP against the closed form", caption="The order between the two finest grids, by type."
    )
    for header in ("scheme", "of", "error on the finest grid", "order"):
        table.add_column(header, justify="left" if header in ("scheme", "of") else "right")
    finest = str(content["protocol"]["grids"][-1])
    for scheme, quantities in content["orders"].items():
        for quantity, found in quantities.items():
            errors = content["solver"][scheme][finest]["errors"][quantity]
            table.add_row(
                scheme, quantity, ", ".join(f"{e:.2e}" for e in errors), ", ".join(f"{o:.2f}" for o in found[-1])
            )
    return table


def learned_table(content: dict[str, Any]) -> Table:
    """Distances of the learned gains from the two optimal ones, by policy."""
    n_seeds = len(content["learning_seeds"])
    table = Table(
        title="Gains learned by the actor-critic: root mean square errors",
        caption=f"Means of {n_seeds} seeds with 95 % intervals; over times, for each type.",
    )
    for header in ("policy", "type", "from (b / r) P", "from the best of its own steps"):
        table.add_column(header, justify="right" if header.startswith("from") else "left")
    for learner, runs in content["learned"].items():
        gains, continuous, own = (
            np.array([run[key] for run in runs]) for key in ("gain", "riccati_gain", "scheme_gain")
        )
        for kind, name in enumerate(content["game"]["types"]):
            cells = []
            for best in (continuous, own):
                errors = np.sqrt(((gains - best)[..., kind] ** 2).mean(axis=1))
                mean, half = interval(errors, 0.95)
                cells.append(f"{mean:.3f} +- {half:.3f}")
            table.add_row(learner, name, *cells)
    return table
