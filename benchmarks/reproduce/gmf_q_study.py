"""Which choices decide who is nearest to equilibrium: GMF-Q, MF-Q or independent learners (IL).

Guo, Hu, Xu & Zhang, "Learning Mean-Field Games" (arXiv 1901.09585), report C(GMF-Q) < C(MF-Q) < C(IL) on the
repeated auction, and leave open much of what C(pi) depends on. Here one choice of training after the other is
varied from a base, each learner is judged by several policies of its values and by several classes of best
responses, and all combinations of training and judgement are counted. On an auction of three bidders C(pi) is
computed exactly, with the paper's best responses, policies of the joint state.

What each cell, a learner of a row and a seed, comes to is kept, so that an interrupted study goes on where it was.
Rows share the cells that do not differ between them.
"""

import dataclasses
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from baselines.versions import versions
from benchmarks.reproduce.gmf_q_figures import draw_study
from benchmarks.reproduce.gmf_q_learners import ALGORITHMS, GAME, Budget, Learner, learner, policy_for
from benchmarks.reproduce.gmf_q_orders import (
    EVALUATIONS,
    claims,
    comparisons,
    judgements,
    table_of_claims,
    table_of_orders,
    table_of_rows,
)
from benchmarks.reproduce.tasks import Tasks, kept_in, run_all
from mfenvs import FiniteGame, make, relative_exploitability
from mfenvs.files import write_json
from mfenvs.meanfield.joint_enumeration import exact_relative_exploitability

SMALL = {"n_agents": 3, "n_budgets": 4, "n_bids": 4, "n_bidders": 2}
"""The auction in which C(pi) is exact [O]."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A choice of training, for all three algorithms."""

    game: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Constants of the auction."""
    sweeps: float = 1.0
    """T_k, in units of the protocol's."""
    budget: Budget = "rounds"
    """What is equal between the algorithms."""
    everyone: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters of all learners."""
    gmf_q: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters of GMF-Q."""
    players: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters of MF-Q and IL."""
    mf_q: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters of MF-Q."""
    exact: bool = False
    """Whether the game is the small one, in which C(pi) is computed exactly."""
    closely: bool = False
    """Whether other classes of best responses and earlier outer iterations are measured too."""


ROWS: dict[str, Row] = {
    "base": Row(closely=True),
    "equal transitions": Row(budget="transitions", closely=True),
    "a tenth of T_k": Row(sweeps=0.1),
    "a hundredth of T_k": Row(sweeps=0.01),
    "GMF-Q on one agent's path": Row(gmf_q={"asynchronous": True}),
    "MF-Q: mean bid of those met": Row(mf_q={"mean_action": "met"}),
    "MF-Q: 3 bins": Row(mf_q={"n_bins": 3}),
    "MF-Q: 1 bin": Row(mf_q={"n_bins": 1}),
    "epsilon-greedy players": Row(players={"exploration": "epsilon-greedy"}),
    "constant steps of players, 0.1": Row(players={"constant_step": 0.1}),
    "steps 1 / n^0.6": Row(everyone={"step_exponent": 0.6}),
    "steps 1 / n": Row(everyone={"step_exponent": 1.0}),
    "c = 1": Row(everyone={"inverse_temperature": 1.0}),
    "c = 16": Row(everyone={"inverse_temperature": 16.0}),
    "c = 64": Row(everyone={"inverse_temperature": 64.0}),
    **{
        f"{label}, equal transitions": Row(game=constants, budget="transitions")
        for label, constants in {
            "M = 2": {"n_bidders": 2},
            "M = 10": {"n_bidders": 10},
            "fulfilment 0.1": {"fulfilment": 0.1},
            "rho = 2": {"penalty": 2.0},
            "conversion always 4": {"conversions": (4.0,)},
        }.items()
    },
    "three bidders, exact": Row(game=SMALL, exact=True, closely=True),
    "three bidders, exact, equal transitions": Row(game=SMALL, exact=True, budget="transitions"),
    "three bidders, exact, c = 16": Row(game=SMALL, exact=True, everyone={"inverse_temperature": 16.0}),
}
"""What is varied, one choice at a time."""


@dataclasses.dataclass(frozen=True)
class StudyProtocol:
    """How large the study is."""

    size: int = 10
    """|S| = |A| [S]."""
    n_agents: int = 20
    """N [S]."""
    outer_iterations: int = 10
    """Outer iterations K [O]."""
    sweeps: int = 1000
    """T_k of GMF-Q [S: the smallest of the table of Delta Q]."""
    measured_at: tuple[int, ...] = (1, 2, 5)
    """Outer iterations after which C(pi) of the own policy is measured, where it is followed closely."""
    evaluated_rounds: int = 30
    """Rounds that C(pi) looks ahead: what comes later is worth 0.8^30 = 0.1 % of the first."""
    n_joint_states: int = 20
    n_worlds: int = 8
    """Of :func:`mfenvs.relative_exploitability`."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Names of the rows."""


STUDY = StudyProtocol()


def cell(protocol: StudyProtocol, name: str, algorithm: str) -> dict[str, Any]:
    """All that the results of an algorithm in a row hang on, but for the seed: plain JSON."""
    found = _trained(protocol, name, algorithm)
    closely = [row for row in protocol.rows if ROWS[row].closely]
    found["closely"] = any(found == _trained(protocol, row, algorithm) for row in closely)
    return found


def _trained(protocol: StudyProtocol, name: str, algorithm: str) -> dict[str, Any]:
    """What an algorithm learns in a row, and the protocol."""
    row = ROWS[name]
    options = dict(row.everyone)
    options |= row.gmf_q if algorithm == "GMF-Q" else row.players
    if algorithm == "MF-Q":
        # Yang et al.'s mean action is that of a neighbourhood: here of everybody.
        options = {"mean_action": "others", **options, **row.mf_q}
    size = {"n_budgets": protocol.size, "n_bids": protocol.size, "n_agents": protocol.n_agents}
    found = {
        "algorithm": algorithm,
        "game": {**size, **row.game},
        "options": options,
        "sweeps": max(1, round(protocol.sweeps * row.sweeps)),
        "budget": "rounds" if algorithm == "GMF-Q" else row.budget,
        "exact": row.exact,
        "protocol": {k: v for k, v in dataclasses.asdict(protocol).items() if k not in ("rows", "sweeps")},
        "mfenvs": versions().get("mfenvs"),
    }
    return dict(json.loads(json.dumps(found)))


def key_of(described: dict[str, Any], seed: int) -> tuple[str, str, int]:
    """What tells a cell and a seed from all others."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    return described["algorithm"], digest, seed


def run_cell(protocol: StudyProtocol, described: dict[str, Any], seed: int) -> dict[str, dict[str, float]]:
    """Train one learner; C(pi) and the gap by how it is judged."""
    constants, algorithm = dict(described["game"]), described["algorithm"]
    game, judged = make(GAME, **constants), make(GAME, **constants, horizon=protocol.evaluated_rounds)
    assert isinstance(game, FiniteGame)
    assert isinstance(judged, FiniteGame)
    options = {"sweeps": described["sweeps"], "budget": described["budget"], **described["options"]}
    trainer = learner(game, algorithm, seed, **options)
    values: dict[str, dict[str, float]] = {}
    for iteration in protocol.measured_at if described["closely"] else ():
        trainer.learn((iteration - trainer.iteration) * trainer.timesteps_per_iteration)
        values[f"own, stationary after {iteration}"] = judge(protocol, judged, trainer, "own", "stationary", seed)
    trainer.learn((protocol.outer_iterations - trainer.iteration) * trainer.timesteps_per_iteration)
    for evaluation, responses in judgements(described["closely"]):
        values[f"{evaluation}, {responses}"] = judge(protocol, judged, trainer, evaluation, responses, seed)
    if algorithm == "MF-Q":
        values["own, usual, stationary"] = judge(protocol, judged, trainer, "own, usual", "stationary", seed)
    if described["exact"]:
        for evaluation in EVALUATIONS:
            exact = exact_relative_exploitability(game, policy_for(trainer, evaluation))
            values[f"{evaluation}, exact"] = {"relative": exact.relative, "absolute": exact.absolute}
    return values


def judge(
    protocol: StudyProtocol, game: FiniteGame, trainer: Learner, evaluation: str, responses: str, seed: int
) -> dict[str, float]:
    """C(pi) and the gap without the denominator; all algorithms of a seed meet the same joint states.

    ``responses`` is a class of best responses, or "influence" for stationary ones whose influence is played out.
    """
    found = relative_exploitability(
        game,
        policy_for(trainer, evaluation),
        n_joint_states=protocol.n_joint_states,
        n_worlds=protocol.n_worlds,
        seed=1_000_000 + seed,
        responses="stationary" if responses == "influence" else responses,
        influence=responses == "influence",
    )
    return {"relative": found.relative.value, "absolute": found.absolute.value}


def study(protocol: StudyProtocol, n_seeds: int, jobs: int, out: Path) -> int:
    """Run what is not there yet, then write study.json and study.png and print the tables; 130 if interrupted."""
    began = time.perf_counter()
    cells = {(name, a): cell(protocol, name, a) for name in protocol.rows for a in ALGORITHMS}
    tasks: Tasks = {}
    # Seed after seed, so that what an interruption leaves is complete for some seeds.
    for seed in range(n_seeds):
        for described in cells.values():
            task = functools.partial(run_cell, protocol, described, seed)
            tasks |= kept_in(out / "cells", {key_of(described, seed): task}, described)
    found, interrupted = run_all(tasks, jobs, "auction")
    rows = {}
    for name in protocol.rows:
        keys = {a: [key_of(cells[name, a], seed) for seed in range(n_seeds)] for a in ALGORITHMS}
        seeds = [seed for seed in range(n_seeds) if all(keys[a][seed] in found for a in ALGORITHMS)]
        if len(seeds) > 1:
            runs = {a: [found[keys[a][seed]] for seed in seeds] for a in ALGORITHMS}
            rows[name] = {
                "row": dataclasses.asdict(ROWS[name]),
                "seeds": seeds,
                "compared": comparisons(runs),
                "values": runs,
            }
    content = {
        "source": "Guo, Hu, Xu & Zhang, arXiv 1901.09585, figures of C(pi)",
        "complete": len(rows) == len(protocol.rows) and not interrupted,
        "protocol": dataclasses.asdict(protocol),
        "seeds": n_seeds,
        "rows": rows,
        "claims": claims(rows),
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    write_json(out / "study.json", content)
    if rows:
        draw_study(rows, out / "study.png")
        print(table_of_rows(rows), table_of_orders(rows), table_of_claims(content["claims"]), sep="\n\n")
    print(f"{'interrupted, ' if interrupted else ''}written to {out / 'study.json'}")
    return 130 if interrupted else 0
