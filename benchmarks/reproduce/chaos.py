"""Propagation of chaos: how the empirical law of N agents approaches the law of the mean field.

"Math Deep Dive: Understanding Mean-Field-Type Games", section 3.1, states that E sup_t W2(mu^N(t), mu(t)) is at
most C / sqrt(N) under Lipschitz assumptions. It has no experiment; this one is ours.

1. The linear-quadratic game under its equilibrium feedback: W1, W2 and the error of the mean, for each type and
for the whole population, the largest over all times of an episode, in the mean over repetitions.
2. A game in which nothing moves (drift and noise are zero), of N independent agents in two clusters with a gap
between them. It meets all assumptions, and W2 decays as N^(-1/4).

Laws of N agents are compared with the exact law of the same discrete scheme at the same times, not with that in
continuous time, from which the scheme is off by a bias that does not depend on N. The distances are exact.
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

from baselines.continuous.linear_quadratic import (
    LinearQuadraticSolution,
    competitive_equilibrium,
    scheme_moments,
)
from baselines.versions import versions
from benchmarks.reproduce.chaos_figure import draw_chaos
from benchmarks.reproduce.feedback_worlds import FeedbackWorlds
from benchmarks.reproduce.slopes import fitted_slope
from benchmarks.reproduce.tasks import run_all
from benchmarks.reproduce.wasserstein import GaussianMixture, QuantileCells, TwoClusters
from mfenvs import Engine, make
from mfenvs.files import write_json
from mfenvs.games.linear_quadratic.game import LinearQuadratic

RESULTS = Path("runs") / "chaos"
GAME = "LinearQuadratic-v0"
MEASURES = ("W1", "W2", "mean")
POPULATION, CLUSTERS = "population", "two clusters"

Distances = dict[str, dict[str, list[float]]]
"""Repetitions by group (a type, the population, the two clusters) and measure."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How large everything is [O]."""

    sizes: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    """Numbers of agents N; the shares of the types, .7 and .3, are exact in all of them."""
    n_steps: int = 50
    """Steps of the game, so that the supremum is over 51 times."""
    most_agents: int = 10_000_000
    """Repetitions of the game of a size have no more agents than this in all."""
    agents_at_a_time: int = 200_000
    """Agents of the worlds that are simulated together: what bounds the memory."""
    large: int = 10_000
    """Slopes are fitted to all sizes, and to those from here on."""
    resamples: int = 2000
    """Bootstrap samples of a slope."""


@dataclasses.dataclass
class Flags:
    """Distances between the law of N agents and that of the mean field, and their slopes in N."""

    repetitions: int = 2000
    """Repetitions of a number of agents. The game has fewer from 10,000 agents on, of 10 million agents in all."""
    seed: int = 0
    """Random seed of the simulations and the bootstrap."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the figure and the JSON go; committed are those in benchmarks/results/chaos."""


def main(words: list[str], protocol: Protocol = Protocol()) -> int:
    """Run the reproduction; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce chaos")
    began = time.perf_counter()
    tasks = batches(flags, protocol)
    found, interrupted = run_all(tasks, flags.jobs, "chaos")
    samples = {size: joined(found, size) for size in protocol.sizes if any(key[0] == size for key in found)}
    game = game_of(protocol, protocol.sizes[0])
    content = {
        "source": "Math Deep Dive: Understanding Mean-Field-Type Games, section 3.1",
        "complete": len(found) == len(tasks),
        "seed": flags.seed,
        "game": {"name": GAME, **game.describe()},
        "protocol": dataclasses.asdict(protocol),
        "sizes": list(samples),
        "distances": {str(size): summary(groups) for size, groups in samples.items()},
        "slopes": slopes(samples, protocol, flags.seed),
        "two_clusters": {
            **dataclasses.asdict(TwoClusters()),
            "limit of N^(1/4) E W2": TwoClusters().limit_of_w2,
        },
        "scheme": scheme_bias(protocol),
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    if content["complete"]:
        draw_chaos(content, flags.out / "chaos.png")
        Console().print(slope_table(content))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def batches(flags: Flags, protocol: Protocol) -> dict[tuple[Any, ...], Callable[[], Distances]]:
    """Tasks by size, kind and first repetition, the largest sizes first."""
    tasks: dict[tuple[Any, ...], Callable[[], Distances]] = {}
    for size in sorted(protocol.sizes, reverse=True):
        at_a_time = max(1, protocol.agents_at_a_time // size)
        fewer = min(flags.repetitions, max(1, protocol.most_agents // size))
        kinds = (("game", game_distances, fewer), ("clusters", cluster_distances, flags.repetitions))
        for kind, simulate, repetitions in kinds:
            # Several batches in a task, since the quantiles of the laws are the same for all of them.
            in_a_task = max(at_a_time, -(-repetitions // 8))
            for first in range(0, repetitions, in_a_task):
                several = range(first, min(first + in_a_task, repetitions))
                tasks[size, kind, first] = functools.partial(simulate, protocol, size, several, flags.seed)
    return tasks


def game_of(protocol: Protocol, n_agents: int) -> LinearQuadratic:
    """The game of N agents."""
    game = make(GAME, n_agents=n_agents, horizon=protocol.n_steps)
    assert isinstance(game, LinearQuadratic)
    return game


def game_distances(protocol: Protocol, n_agents: int, repetitions: range, seed: int) -> Distances:
    """Suprema over time of the distances of N agents' laws in some repetitions, which are worlds of one seed."""
    game = game_of(protocol, n_agents)
    solution = competitive_equilibrium(game)
    worlds = FeedbackWorlds(solution, game)
    groups = [*game.types, POPULATION]
    largest = np.zeros((len(repetitions), len(groups), len(MEASURES)))
    at_a_time = max(1, protocol.agents_at_a_time // n_agents)
    engines = [
        (places, Engine(game, len(places), first_world=repetitions[places[0]], n_threads=1))
        for start in range(0, len(repetitions), at_a_time)
        for places in [range(start, min(start + at_a_time, len(repetitions)))]
    ]
    # Random numbers follow (seed, world, agent, time): without a seed for each N, sizes would share them.
    episodes = [worlds.play(engine, seed=seed * 1_000_003 + n_agents) for _, engine in engines]
    laws = limit_laws(solution)
    for cells, deviations, means in laws:
        for (places, _), episode in zip(engines, episodes, strict=True):
            states = next(episode)
            rows = slice(places[0], places[-1] + 1)
            found = distances_now(states, worlds.of_type, cells, means, deviations)
            np.maximum(largest[rows], found, out=largest[rows])
    return as_lists(largest, groups)


def limit_laws(solution: LinearQuadraticSolution) -> Any:
    """By time: quantile cells of each type (standardised) and of the population, deviations and means."""
    game = solution.game
    means, variances = scheme_moments(solution)
    shares = solution.parameters.share
    standard = GaussianMixture(np.ones(1), np.zeros(1), np.ones(1))
    of_types = [QuantileCells(standard, int(number)) for number in game.numbers]
    for mean, deviation in zip(means, np.sqrt(variances), strict=True):
        mixture = QuantileCells(GaussianMixture(shares, mean, deviation), game.n_agents)
        yield [*of_types, mixture], [*deviation, 1.0], [*mean, 0.0, float(shares @ mean)]


def distances_now(
    states: NDArray[np.float32],
    of_type: list[slice],
    cells: list[QuantileCells],
    means: list[float],
    deviations: list[float],
) -> NDArray[np.float64]:
    """W1, W2 and the error of the mean at one time, shape (n_worlds, n_types + 1, 3).

    Samples of type k are compared with its normal law as (x - mean) / deviation, and distances scaled back. Of the
    population ``means`` has two entries: the shift of the samples (none), and the mean of its law.
    """
    found = np.empty((len(states), len(of_type) + 1, len(MEASURES)))
    for k, agents in enumerate([*of_type, slice(None)]):
        ordered = np.sort(states[:, agents], axis=1).astype(np.float64)
        first, second = cells[k].distances((ordered - means[k]) / deviations[k])
        expected = means[k] if k < len(of_type) else means[-1]
        found[:, k] = np.stack(
            [deviations[k] * first, deviations[k] * second, np.abs(ordered.mean(axis=1) - expected)], axis=1
        )
    return found


def cluster_distances(protocol: Protocol, n_agents: int, repetitions: range, seed: int) -> Distances:
    """Distances of N agents who stay where they begin, independently in one of two clusters."""
    law = TwoClusters()
    cells = QuantileCells(law, n_agents)
    found = np.empty((len(repetitions), 1, len(MEASURES)))
    for row, repetition in enumerate(repetitions):
        rng = np.random.default_rng([seed, n_agents, repetition])
        samples = np.sort(law.draw(rng, (1, n_agents)), axis=1)
        first, second = cells.distances(samples)
        found[row, 0] = first[0], second[0], abs(samples.mean())
    return as_lists(found, [CLUSTERS])


def as_lists(found: NDArray[np.float64], groups: list[str]) -> Distances:
    """Repetitions by group and measure, of an array (n_repetitions, n_groups, 3)."""
    return {
        group: {measure: found[:, g, m].tolist() for m, measure in enumerate(MEASURES)}
        for g, group in enumerate(groups)
    }


def joined(found: dict[tuple[Any, ...], Distances], size: int) -> Distances:
    """All repetitions of one size, in their order."""
    total: Distances = {}
    for key in sorted(key for key in found if key[0] == size):
        for group, measures in found[key].items():
            for measure, values in measures.items():
                total.setdefault(group, {}).setdefault(measure, []).extend(values)
    return total


def summary(groups: Distances) -> dict[str, dict[str, dict[str, float]]]:
    """Mean of the repetitions, its standard error, 5 and 95 % quantiles, by group and measure."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, measures in groups.items():
        for measure, values in measures.items():
            low, high = np.percentile(values, [5.0, 95.0])
            error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            found.setdefault(group, {})[measure] = {
                "repetitions": len(values),
                "mean": float(np.mean(values)),
                "standard_error": float(error),
                "low": float(low),
                "high": float(high),
            }
    return found


def slopes(samples: dict[int, Distances], protocol: Protocol, seed: int) -> dict[str, Any]:
    """Slopes over all sizes and over the large ones, by group and measure, with 95 % intervals."""
    found: dict[str, Any] = {}
    for name, least in (("all sizes", 0), ("large sizes", protocol.large)):
        sizes = [size for size in samples if size >= least]
        groups = set.intersection(*(set(samples[size]) for size in sizes)) if len(sizes) > 1 else set()
        found[name] = {
            group: {
                measure: dataclasses.asdict(
                    fitted_slope(
                        sizes,
                        [np.array(samples[size][group][measure]) for size in sizes],
                        resamples=protocol.resamples,
                        seed=seed,
                    )
                )
                for measure in MEASURES
            }
            for group in sorted(groups)
        }
    return found


def scheme_bias(protocol: Protocol) -> dict[str, Any]:
    """The largest W2 between the laws of the scheme and of continuous time, by type: normal laws."""
    game = game_of(protocol, protocol.sizes[0])
    solution = competitive_equilibrium(game)
    means, variances = scheme_moments(solution)
    times = game.dt * np.arange(game.horizon + 1)
    of_means = means - solution.mean(times)
    of_deviations = np.sqrt(variances) - np.sqrt(solution.variance(times))
    largest = np.sqrt(of_means**2 + of_deviations**2).max(axis=0)
    return {
        "transition": game.transition,
        "dt": game.dt,
        "largest W2 between the scheme and continuous time": dict(zip(game.types, largest.tolist(), strict=True)),
    }


def slope_table(content: dict[str, Any]) -> Table:
    """Slopes with their intervals."""
    table = Table(
        title="Slopes of log E sup_t of the distance against log N",
        caption="95 % bootstrap intervals over repetitions. W2 of the two clusters: -1/4 in theory.",
    )
    table.add_column("law")
    table.add_column("of")
    for name in content["slopes"]:
        table.add_column(name, justify="right")
    for group, measures in content["slopes"]["all sizes"].items():
        for measure in measures:
            cells = []
            for of_group in content["slopes"].values():
                slope = of_group.get(group, {}).get(measure)
                cells.append(f"{slope['value']:.3f} [{slope['low']:.3f}, {slope['high']:.3f}]" if slope else "")
            table.add_row(group, measure, *cells)
    return table
