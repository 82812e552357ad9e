"""Figures and table of Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585), on the auction.

1. Fluctuation of the naive algorithm: how far the population moves in an outer iteration, in l_inf and l_1, 30
paths. 2. Delta Q = ||Q_V - Q_Q||_2 / ||Q_V||_2 between the Q tables of GMF-V and GMF-Q after 20 outer
iterations, by the number
   of Q-learning iterations, and the tables themselves.
3. C(pi) of GMF-Q, MF-Q and independent learners (IL) by outer iteration, 20 paths, 90 % intervals.

Where this differs from the paper, by need. It publishes the sizes, eps_0 and the numbers of iterations, but not
the law of the conversion, rho, M, gamma, c, T_k, the eps-net, the exploration of the learners or its time axis:
ours are the defaults of the game and of the trainers. Per outer iteration all three algorithms sample equally
many transitions (T_k |S| |A|). C(pi) is estimated (``mfenvs.relative_exploitability``), with policies of the own
state; MF-Q's is averaged over the mean actions that it has met. ``--study`` varies what is not published.
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
from rich import box
from rich.console import Console
from rich.table import Table

from baselines.solvers.population_iteration import GMFV
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from baselines.tabular.independent_q import MFQ, IndependentQ
from baselines.versions import versions
from benchmarks.reproduce.gmf_q_figures import draw_comparison, draw_fluctuation, draw_tables, interval
from benchmarks.reproduce.tasks import run_all
from mfenvs import FiniteGame, make, relative_exploitability
from mfenvs.files import write_json

RESULTS = Path("runs") / "gmf-q"
GAME = "Auction-v0"

ALGORITHMS = ("GMF-Q", "MF-Q", "IL")
PAPER_DELTA_Q = {1000: 0.21263, 3000: 0.1294, 5000: 0.10258, 10_000: 0.0989}
"""The paper's table: Delta Q by the number of Q-learning iterations."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How large everything is."""

    configurations: tuple[tuple[int, int], ...] = ((10, 20), (20, 20), (10, 40))
    """(|S| = |A|, N) of the three figures [S]."""
    tables: tuple[int, ...] = (10, 20)
    """|S| = |A| of the table of Delta Q [O]."""
    outer_iterations: int = 20
    """Outer iterations K [S for the table, else O]."""
    inner_iterations: int = 2000
    """T_k of GMF-Q, and what the others' episodes are worth [O]."""
    delta_q_iterations: tuple[int, ...] = tuple(PAPER_DELTA_Q)
    """T_k in the table of Delta Q [S]."""
    measured_at: tuple[int, ...] = (1, 2, 4, 8, 14, 20)
    """Outer iterations after which C(pi) is measured."""
    evaluated_rounds: int = 30
    """Rounds that C(pi) looks ahead: what comes later is worth 0.8^30 = 0.1 % of the first."""
    n_joint_states: int = 20
    n_worlds: int = 8
    """Of :func:`mfenvs.relative_exploitability`."""


STUDY: tuple[dict[str, dict[str, Any]], ...] = (
    {},
    *({"learners": {"inverse_temperature": c}} for c in (1.0, 2.0, 8.0, 16.0, 64.0)),
    *({"mf-q": {"n_bins": bins}} for bins in (1, 3, 5)),
    *({"inner": {"iterations": n}} for n in (200, 10_000)),
    *({"players": {"episodes": n}} for n in (1, 5)),
    *({"game": {"n_bidders": m}} for m in (2, 10)),
    *({"game": {"fulfilment": rate}} for rate in (0.1, 1.0)),
    *({"game": {"penalty": rho}} for rho in (0.0, 2.0)),
    {"game": {"conversions": (4.0,)}},
    {"learners": {"inverse_temperature": 16.0}, "mf-q": {"n_bins": 1}},
)
"""What the study varies: constants of the game, hyper-parameters of all three learners, of MF-Q alone, T_k, and
how many episodes MF-Q and IL play in an outer iteration (by default as many as make up T_k |S| |A| transitions).
"""


@dataclasses.dataclass
class Flags:
    """Fluctuation of the naive algorithm, Delta Q, and C(pi) of GMF-Q, MF-Q and IL on the repeated auction."""

    paths: int = 20
    """Sample paths of the comparison (and of Delta Q; the fluctuation has half as many more)."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the figures and the JSON go; committed are those in benchmarks/results/gmf-q."""
    study: bool = False
    """Instead, vary what the paper does not publish, at |S| = |A| = 10 and N = 20, and write study.json."""


def main(words: list[str], protocol: Protocol = Protocol()) -> int:
    """Run the reproduction, or the study; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce gmf-q")
    return study(flags, protocol) if flags.study else reproduce(flags, protocol)


def reproduce(flags: Flags, protocol: Protocol) -> int:
    """Compute everything and write results.json and three figures."""
    began = time.perf_counter()
    tasks: dict[tuple[Any, ...], Callable[[], Any]] = {}
    for name, seed in ((name, seed) for name in ("naive", "GMF-Q") for seed in range(flags.paths * 3 // 2)):
        tasks["fluctuation", name, seed] = functools.partial(fluctuation, protocol, name, seed)
    tasks["fluctuation", "exact", 0] = functools.partial(fluctuation, protocol, "exact", 0)
    for size in protocol.tables:
        tasks["tables", size] = functools.partial(tables, protocol, size)
        for seed in range(flags.paths):
            tasks["delta-q", size, seed] = functools.partial(delta_q, protocol, size, seed)
    # The long ones first, so that no process waits for the other at the end.
    for size, n_agents in sorted(protocol.configurations, reverse=True):
        for algorithm, seed in ((a, s) for s in range(flags.paths) for a in ALGORITHMS):
            tasks["comparison", size, n_agents, algorithm, seed] = functools.partial(
                learning_curve, protocol, size, n_agents, algorithm, seed
            )
    found, interrupted = run_all(tasks, flags.jobs, "auction")
    content = {
        "source": "Guo, Hu, Xu & Zhang, arXiv 1901.09585, figures and table of its numerical section",
        "complete": len(found) == len(tasks),
        "seeds": list(range(flags.paths)),
        "game": {"name": GAME, **make(GAME).describe()},
        "protocol": dataclasses.asdict(protocol),
        "fluctuation": {name: paths(found, "fluctuation", name) for name in ("naive", "GMF-Q", "exact")},
        "delta_q": {
            "paper": PAPER_DELTA_Q,
            **{str(size): paths(found, "delta-q", size) for size in protocol.tables},
        },
        "tables": {str(key[1]): value for key, value in found.items() if key[0] == "tables"},
        "comparison": {
            f"{size}-{n}": {name: paths(found, "comparison", size, n, name) for name in ALGORITHMS}
            for size, n in protocol.configurations
        },
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    if content["complete"]:
        draw_fluctuation(content["fluctuation"], flags.out / "fluctuation.png")
        draw_tables(content["tables"][str(protocol.tables[0])], flags.out / "q_tables.png")
        draw_comparison(
            content["comparison"], protocol.configurations, protocol.measured_at, flags.out / "comparison.png"
        )
        Console().print(delta_q_table(content["delta_q"]))
        Console().print(comparison_table(content["comparison"]))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def paths(found: dict[tuple[Any, ...], Any], *key: Any) -> list[Any]:
    """The results whose key begins so, in the order of their seeds."""
    return [found[k] for k in sorted(k for k in found if k[: len(key)] == key)]


def fluctuation(protocol: Protocol, name: str, seed: int) -> dict[str, list[float]]:
    """How far the population moves in every outer iteration: naive, naive with the exact Q, or GMF-Q."""
    kinds: dict[str, Callable[[], Any]] = {
        "naive": lambda: NaiveQ(GAME, seed=seed, inner_iterations=protocol.inner_iterations),
        "exact": lambda: NaiveQ(GAME, exact=True),
        "GMF-Q": lambda: GMFQ(GAME, seed=seed, inner_iterations=protocol.inner_iterations),
    }
    trainer, moves = kinds[name](), {"linf": [], "l1": []}  # type: dict[str, list[float]]
    for _ in range(protocol.outer_iterations):
        trainer.learn(1)
        for norm, values in moves.items():
            values.append(trainer.measured[f"train/change_{norm}"])
    return moves


def delta_q(protocol: Protocol, size: int, seed: int) -> dict[int, float]:
    """Delta Q after 20 outer iterations of each, by the number of Q-learning iterations."""
    game = make(GAME, n_budgets=size, n_bids=size)
    assert isinstance(game, FiniteGame)
    exact, distances = GMFV(game), {}
    exact.run(protocol.outer_iterations)
    for n in protocol.delta_q_iterations:
        learner = GMFQ(game, seed=seed, inner_iterations=n)
        learner.run(protocol.outer_iterations)
        distances[n] = float(np.linalg.norm(learner.q - exact.q) / np.linalg.norm(exact.q))
    return distances


def tables(protocol: Protocol, size: int) -> dict[str, list[Any]]:
    """The Q tables of GMF-V and GMF-Q, with the most iterations of Q-learning, after 20 outer iterations."""
    game = make(GAME, n_budgets=size, n_bids=size)
    assert isinstance(game, FiniteGame)
    trainers = {
        "GMF-V": GMFV(game),
        "GMF-Q": GMFQ(game, seed=0, inner_iterations=max(protocol.delta_q_iterations)),
    }
    for trainer in trainers.values():
        trainer.run(protocol.outer_iterations)
    return {name: trainer.q[0].tolist() for name, trainer in trainers.items()}


def learning_curve(
    protocol: Protocol,
    size: int,
    n_agents: int,
    algorithm: str,
    seed: int,
    choices: dict[str, dict[str, Any]] | None = None,
) -> dict[str, list[float]]:
    """C(pi) and the absolute gap of one path, after the outer iterations of the protocol."""
    choices = choices or {}
    constants = {"n_budgets": size, "n_bids": size, "n_agents": n_agents, **choices.get("game", {})}
    game, judged = make(GAME, **constants), make(GAME, **constants, horizon=protocol.evaluated_rounds)
    assert isinstance(game, FiniteGame)
    assert isinstance(judged, FiniteGame)
    inner = choices.get("inner", {}).get("iterations", protocol.inner_iterations)
    # As many transitions per outer iteration for all: of agents in the N-player game, or of Q-learning.
    episodes = max(1, inner * size * size // (n_agents * game.horizon))
    episodes = choices.get("players", {}).get("episodes", episodes)
    learners = choices.get("learners", {})
    kinds: dict[str, Callable[[], Any]] = {
        "GMF-Q": lambda: GMFQ(game, seed=seed, inner_iterations=inner, **learners),
        "MF-Q": lambda: MFQ(game, seed=seed, episodes=episodes, **learners, **choices.get("mf-q", {})),
        "IL": lambda: IndependentQ(game, seed=seed, episodes=episodes, **learners),
    }
    trainer, curve = kinds[algorithm](), {"relative": [], "absolute": []}  # type: dict[str, list[float]]
    for iteration in protocol.measured_at:
        trainer.learn((iteration - trainer.iteration) * trainer.timesteps_per_iteration)
        found = relative_exploitability(
            judged,
            trainer.policy,
            n_joint_states=protocol.n_joint_states,
            n_worlds=protocol.n_worlds,
            seed=1_000_000 + seed,
        )
        curve["relative"].append(found.relative.value)
        curve["absolute"].append(found.absolute.value)
    return curve


def delta_q_table(content: dict[str, Any]) -> Table:
    """Delta Q, ours beside the paper's."""
    table = Table(
        title="Delta Q: relative l2 distance of the Q tables of GMF-Q and GMF-V",
        caption="Mean over paths and its 90 % interval, after 20 outer iterations.",
    )
    table.add_column("T_k of GMF-Q", justify="right")
    sizes = [size for size in content if size != "paper"]
    for header in ("paper", *(f"|S|=|A|={size}" for size in sizes)):
        table.add_column(header, justify="right")
    for n in next(iter(content[sizes[0]])):
        theirs = content["paper"].get(n)
        ours = [interval(np.array([path[n] for path in content[size]])) for size in sizes]
        table.add_row(
            str(n),
            "" if theirs is None else f"{theirs:.4f}",
            *(f"{mean:.4f} +- {half:.4f}" for mean, half in ours),
        )
    return table


def comparison_table(content: dict[str, dict[str, list[dict[str, list[float]]]]]) -> Table:
    """C(pi) and the absolute gap at the end."""
    table = Table(
        title="At the end: C(pi), and the absolute gap (discounted reward)",
        caption="Mean over paths and its 90 % interval. The paper's claim is GMF-Q < MF-Q < IL.",
        box=box.SIMPLE,
    )
    table.add_column("|S|=|A|, N", no_wrap=True)
    for name in ALGORITHMS:
        table.add_column(f"{name}, C", justify="right", no_wrap=True)
        table.add_column("gap", justify="right", no_wrap=True)
    for configuration, curves in content.items():
        cells = []
        for name in ALGORITHMS:
            for quantity in ("relative", "absolute"):
                mean, half = interval(np.array([path[quantity][-1] for path in curves[name]]))
                cells.append(f"{mean:.2f}±{half:.2f}")
        table.add_row(configuration.replace("-", ", "), *cells)
    return table


def study(flags: Flags, protocol: Protocol) -> int:
    """Vary what the paper does not publish and write study.json."""
    size, n_agents = protocol.configurations[0]
    at_the_end = dataclasses.replace(protocol, measured_at=(protocol.outer_iterations,))
    n_paths = max(2, flags.paths // 4)
    tasks = {
        (number, algorithm, seed): functools.partial(
            learning_curve, at_the_end, size, n_agents, algorithm, seed, choices
        )
        for number, choices in enumerate(STUDY)
        for algorithm in ALGORITHMS
        for seed in range(n_paths)
    }
    found, interrupted = run_all(tasks, flags.jobs, "auction")
    rows: list[dict[str, Any]] = []
    table = Table(
        title=f"C(pi) (absolute gap) at the end, |S|=|A|={size}, N={n_agents}",
        caption=f"Mean over {n_paths} paths, {protocol.outer_iterations} outer iterations. Defaults: c 4, T_k"
        f" {protocol.inner_iterations}, M 5, as many bins of MF-Q's mean action as bids.",
        box=box.SIMPLE,
    )
    table.add_column("varied")
    for name in (*ALGORITHMS, "lowest C first"):
        table.add_column(name, justify="right" if name in ALGORITHMS else "left")
    for number, choices in enumerate(STUDY):
        ends: dict[str, dict[str, NDArray[np.float64]]] = {}
        for name in ALGORITHMS:
            curves = paths(found, number, name)
            ends[name] = {q: np.array([c[q][-1] for c in curves]) for q in ("relative", "absolute")}
        if any(len(end["relative"]) < n_paths for end in ends.values()):
            continue
        rows.append(
            {
                "choices": choices,
                "final": {name: {q: v.tolist() for q, v in end.items()} for name, end in ends.items()},
            }
        )
        means = {name: end["relative"].mean() for name, end in ends.items()}
        label = ", ".join(f"{k} {v}" for group in choices.values() for k, v in group.items())
        label = label.replace("inverse_temperature", "c")
        table.add_row(
            label or "defaults",
            *(f"{end['relative'].mean():.2f} ({end['absolute'].mean():.2f})" for end in ends.values()),
            " < ".join(sorted(means, key=lambda name: float(means[name]))),
        )
    Console().print(table)
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(
        flags.out / "study.json",
        {"complete": not interrupted, "n_paths": n_paths, "rows": rows, "versions": versions()},
    )
    print(f"{'interrupted, ' if interrupted else ''}written to {flags.out / 'study.json'}")
    return 130 if interrupted else 0
