"""Figures and table of Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585), on the auction.

1. Fluctuation of the naive algorithm: how far the population moves in an outer iteration, in l_inf and l_1, 30
paths. 2. Delta Q = ||Q_V - Q_Q||_2 / ||Q_V||_2 between the Q tables of GMF-V and GMF-Q after 20 outer
iterations, by the number
   of Q-learning iterations, and the tables themselves.
3. C(pi) of GMF-Q, MF-Q and independent learners (IL) by outer iteration, 20 paths, 90 % intervals.

Where this differs from the paper, by need. It publishes the sizes, eps_0 and the numbers of iterations, but not
the law of the conversion, rho, M, gamma, c, T_k, the eps-net, the exploration of the learners or its time axis:
ours are the defaults of the game and of the trainers. Per outer iteration all three algorithms sample equally
many transitions (T_k |S| |A|), or with ``--budget rounds`` take part in equally many rounds. C(pi) is estimated
(``mfenvs.relative_exploitability``), with policies of the own state; MF-Q's is averaged over the mean actions that
it has met. ``--study`` varies what is not published (:mod:`benchmarks.reproduce.gmf_q_study`).
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from baselines.solvers.population_iteration import GMFV
from baselines.tabular.gmf_q import GMFQ, NaiveQ
from baselines.versions import versions
from benchmarks.reproduce.gmf_q_figures import draw_comparison, draw_fluctuation, draw_tables, interval
from benchmarks.reproduce.gmf_q_learners import ALGORITHMS, GAME, Budget, learner
from benchmarks.reproduce.gmf_q_study import STUDY, StudyProtocol, study
from benchmarks.reproduce.tasks import run_all
from mfenvs import FiniteGame, make, relative_exploitability
from mfenvs.files import write_json

RESULTS = Path("runs") / "gmf-q"


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


@dataclasses.dataclass
class Flags:
    """Fluctuation of the naive algorithm, Delta Q, and C(pi) of GMF-Q, MF-Q and IL on the repeated auction."""

    paths: int = 20
    """Sample paths of the comparison (and of Delta Q; the fluctuation has half as many more)."""
    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Where the figures and the JSON go; committed are those in benchmarks/results/gmf-q."""
    budget: Budget = "transitions"
    """What is equal between the algorithms in an outer iteration: transitions, or rounds of the environment."""
    study: bool = False
    """Instead, vary what the paper does not publish, at |S| = |A| = 10 and N = 20, and write study.json,
    study.png and tables. An interrupted study goes on where it was when it is run again."""
    seeds: int = 5
    """Seeds of the study."""


def main(words: list[str], protocol: Protocol = Protocol(), study_protocol: StudyProtocol = STUDY) -> int:
    """Run the reproduction, or the study; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce gmf-q")
    if flags.study:
        return study(study_protocol, flags.seeds, flags.jobs, flags.out)
    return reproduce(flags, protocol)


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
                learning_curve, protocol, size, n_agents, algorithm, seed, flags.budget
            )
    found, interrupted = run_all(tasks, flags.jobs, "auction")
    content = {
        "source": "Guo, Hu, Xu & Zhang, arXiv 1901.09585, figures and table of its numerical section",
        "complete": len(found) == len(tasks),
        "seeds": list(range(flags.paths)),
        "game": {"name": GAME, **make(GAME).describe()},
        "protocol": {**dataclasses.asdict(protocol), "budget": flags.budget},
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
    protocol: Protocol, size: int, n_agents: int, algorithm: str, seed: int, budget: Budget = "transitions"
) -> dict[str, list[float]]:
    """C(pi) and the absolute gap of one path, after the outer iterations of the protocol."""
    constants = {"n_budgets": size, "n_bids": size, "n_agents": n_agents}
    game, judged = make(GAME, **constants), make(GAME, **constants, horizon=protocol.evaluated_rounds)
    assert isinstance(game, FiniteGame)
    assert isinstance(judged, FiniteGame)
    trainer = learner(game, algorithm, seed, sweeps=protocol.inner_iterations, budget=budget)
    curve: dict[str, list[float]] = {"relative": [], "absolute": []}
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
