"""Figure 1(b, c) of Yardim & He (arXiv 2408.15173): exploitability of Symm-PMD and IPMD by epoch.

Where this differs from the paper, by need. The paper does not publish tau, M (episodes an epoch), the scale of
its rewards or which policy is evaluated, and the absolute scale of its exploitability is not recoverable: so
shapes and ratios are compared. We evaluate the algorithm's output (the average of pi_0..pi_t) and the last
iterate, by ``mfenvs.n_player_exploitability`` in the place of the paper's bandit. ``--study`` varies
the unpublished choices (:mod:`benchmarks.reproduce.asymmetric_study`).
"""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from baselines.solvers.fixed_point import OnlineMirrorDescent
from baselines.tabular.mirror_descent import IPMD, SymmPMD
from baselines.versions import versions
from benchmarks.reproduce import asymmetric_study
from mfenvs import FiniteGame, make, n_player_exploitability
from mfenvs.files import replacing, write_json

RESULTS = Path("runs") / "asymmetric-games"

ALGORITHMS = {"Symm-PMD": SymmPMD, "IPMD": IPMD}
QUANTITIES = ("mean", "max", "last_mean", "last_max")
SHOWN_EPOCHS = (0, 1, 2, 5, 10, 20)
"""Epochs in the printed table, before the last."""
COLOURS = {"Symm-PMD": "#0b6fa4", "IPMD": "#c2571a"}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One panel of the figure."""

    title: str
    game: str
    n_epochs: int
    """Epochs in the paper's figure; epoch 0 is the uniform policy."""
    solver: dict[str, float]
    """Hyper-parameters of online mirror descent with which the induced game is solved."""
    paper: dict[str, dict[int, float]]
    """The paper's curves, digitised (+-0.01), by epoch."""
    hyper_parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters of both trainers, where not their defaults."""


EXPERIMENTS = (
    Experiment(
        title="A-RPS",
        game="RockPaperScissors-v0",
        n_epochs=25,
        solver={"learning_rate": 0.1},
        paper={
            "Symm-PMD": dict(
                enumerate(
                    (
                        *(0.187, 0.334, 0.506, 0.447, 0.139, 0.054, 0.020, 0.033, 0.050, 0.019, 0.051, 0.060),
                        *(0.052, 0.033, 0.020, 0.018, 0.047, 0.005, 0.002, 0.039, 0.016, 0.038, 0.018, 0.019),
                        0.033,
                    )
                )
            ),
            "IPMD": {
                **dict(enumerate((0.14, 0.224, 0.333, 0.225, 0.225, 0.232, 0.211, 0.204, 0.200, 0.201, 0.198))),
                24: 0.188,
            },
        },
    ),
    Experiment(
        title="A-SIS",
        game="Epidemic-v0",
        n_epochs=41,
        # Without regularisation mirror descent goes round this equilibrium for ever.
        solver={"learning_rate": 1.0, "temperature": 0.005},
        paper={
            "Symm-PMD": {
                **dict(enumerate((0.67, 0.476, 0.377, 0.305, 0.256, 0.208))),
                **{10: 0.113, 15: 0.080, 20: 0.059, 30: 0.073, 40: 0.080},
            },
            "IPMD": {
                **dict(enumerate((0.757, 0.737, 0.725, 0.697, 0.656, 0.611))),
                **{9: 0.669, 15: 0.534, 20: 0.514, 40: 0.511},
            },
        },
    ),
)


@dataclasses.dataclass
class Flags:
    """Exploitability of Symm-PMD and IPMD on A-RPS and A-SIS by epoch (Yardim & He, figure 1(b, c))."""

    seeds: int = 3
    """Number of training seeds."""
    n_worlds: int = 8
    """Worlds K of an evaluation of exploitability; the last epoch takes eight times as many."""
    out: Path = RESULTS
    """Where the figure and the JSON go; committed are those in benchmarks/results/asymmetric-games."""
    study: bool = False
    """Instead, vary the reward scale, M, mixing, tau and the step sizes; write study.json and maps of the ratio.
    Runs are kept in ``out``/study-runs, and not repeated."""
    jobs: int = 1
    """Processes of the study at a time, one thread each."""


def main(words: list[str]) -> int:
    """Run the reproduction, or the study; 130 if interrupted, when what is complete was written."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce asymmetric-games")
    if flags.study:
        return asymmetric_study.study(flags.seeds, flags.jobs, flags.out, flags.out / "study-runs")
    return reproduce(flags)


def reproduce(flags: Flags) -> int:
    """Train, evaluate at every epoch, and write results.json and exploitability.png."""
    began = time.perf_counter()
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    floors: dict[str, dict[str, Any]] = {}
    interrupted = False
    jobs = list(itertools.product(EXPERIMENTS, ALGORITHMS, range(flags.seeds)))
    try:
        with Progress() as progress:
            bar = progress.add_task("training", total=sum(job[0].n_epochs for job in jobs))
            for experiment, algorithm, seed in jobs:
                if experiment.title not in floors:
                    floors[experiment.title] = equilibrium_exploitability(experiment, flags.n_worlds)
                progress.update(bar, description=f"{experiment.title} {algorithm} seed {seed}")
                curve = learning_curve(experiment, algorithm, seed, flags.n_worlds, lambda: progress.advance(bar))
                curves.setdefault(experiment.title, {}).setdefault(algorithm, []).append(curve)
    except KeyboardInterrupt:
        interrupted = True
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figure 1(b, c)",
        "complete": not interrupted,
        "seeds": list(range(flags.seeds)),
        "n_worlds": flags.n_worlds,
        "experiments": [dataclasses.asdict(experiment) for experiment in EXPERIMENTS],
        "equilibrium": floors,
        "curves": curves,
        "seconds": time.perf_counter() - began,
        "versions": versions(),
    }
    flags.out.mkdir(parents=True, exist_ok=True)
    write_json(flags.out / "results.json", content)
    complete = [e for e in EXPERIMENTS if all(a in curves.get(e.title, {}) for a in ALGORITHMS)]
    if complete:
        draw(complete, curves, floors, flags.out / "exploitability.png")
        for experiment in complete:
            Console().print(comparison(experiment, curves[experiment.title], floors[experiment.title]))
    print(f"{'interrupted, ' if interrupted else ''}{content['seconds']:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def learning_curve(
    experiment: Experiment, algorithm: str, seed: int, n_worlds: int, tick: Any = lambda: None
) -> dict[str, Any]:
    """Exploitability at every epoch of one training run, of the average policy and of the last iterate."""
    trainer = ALGORITHMS[algorithm](experiment.game, seed=seed, **experiment.hyper_parameters)
    curve: dict[str, Any] = {name: [] for name in QUANTITIES}
    training_seconds = 0.0
    for epoch in range(experiment.n_epochs):
        if epoch:
            began = time.perf_counter()
            trainer.learn(1)
            training_seconds += time.perf_counter() - began
        worlds = 8 * n_worlds if epoch == experiment.n_epochs - 1 else n_worlds
        for prefix, policy in (("", trainer.policy), ("last_", trainer.last_policy)):
            found = n_player_exploitability(
                trainer.game, policy.probabilities, n_worlds=worlds, deviators_per_world=2, seed=1_000_000 + epoch
            )
            curve[f"{prefix}mean"].append(found.mean)
            curve[f"{prefix}max"].append(found.max)
            curve[f"{prefix}final"] = found.summary()
        tick()
    return {"seed": seed, "reward_scale": trainer.reward_scale, "training_seconds": training_seconds, **curve}


def equilibrium_exploitability(experiment: Experiment, n_worlds: int) -> dict[str, Any]:
    """N-player exploitability of the induced game's equilibrium: what a shared policy can reach."""
    game = make(experiment.game)
    assert isinstance(game, FiniteGame)
    solver = OnlineMirrorDescent(game, **experiment.solver)
    solver.run(6000)
    policy = solver.policy.probabilities
    found = n_player_exploitability(game, policy, n_worlds=8 * n_worlds, deviators_per_world=2)
    return {"mean_field_exploitability": solver.induced.exploitability(policy), **found.summary()}


def band(curves: list[dict[str, Any]], quantity: str) -> NDArray[np.float64]:
    """Lowest, median and highest value over the seeds, shape (3, n_epochs)."""
    values = np.array([curve[quantity] for curve in curves])
    return np.stack([values.min(axis=0), np.median(values, axis=0), values.max(axis=0)])


def draw(
    experiments: list[Experiment],
    curves: dict[str, dict[str, list[dict[str, Any]]]],
    floors: dict[str, dict[str, Any]],
    path: Path,
) -> None:
    """Draw mean_i and max_i of the exploitability of the average policy by epoch."""
    figure = Figure(figsize=(5.4 * len(experiments), 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(experiments), squeeze=False, sharex="col")
    for column, experiment in enumerate(experiments):
        for row, (quantity, label) in enumerate((("mean", "mean over agents"), ("max", "maximum over agents"))):
            ax = axes[row, column]
            ours = {name: band(curves[experiment.title][name], quantity) for name in ALGORITHMS}
            for name, (low, middle, high) in ours.items():
                epochs = np.arange(experiment.n_epochs)
                ax.plot(epochs, middle, color=COLOURS[name], label=f"{name}, average policy (band: all seeds)")
                ax.fill_between(epochs, low, high, color=COLOURS[name], alpha=0.25, linewidth=0)
                last = band(curves[experiment.title][name], f"last_{quantity}")[1]
                ax.plot(epochs, last, color=COLOURS[name], linestyle=":", label=f"{name}, last iterate")
            scale = ours["Symm-PMD"][1, 0] / experiment.paper["Symm-PMD"][0]
            for name, points in experiment.paper.items():
                ax.plot(
                    list(points),
                    scale * np.array(list(points.values())),
                    color=COLOURS[name],
                    linestyle="--",
                    linewidth=0.9,
                    marker=".",
                    alpha=0.6,
                    label=f"{name}, paper (x factor)",
                )
            floor = floors[experiment.title][quantity]
            ax.axhline(floor, color="0.4", linewidth=0.9, label="equilibrium of the induced game")
            ax.set_ylim(bottom=0)
            ax.grid(alpha=0.25)
            ax.set_ylabel(f"exploitability, {label}\n(total reward of an episode)")
            if row == 0:
                game = make(experiment.game)
                factor = curves[experiment.title]["Symm-PMD"][0]["reward_scale"]
                ax.set_title(
                    f"{experiment.title}, N = {game.n_agents}, H = {game.horizon}, rewards x {factor:.3g}",
                    fontsize=10,
                )
            ax.text(0.98, 0.96, f"factor {scale:.1f}", transform=ax.transAxes, ha="right", va="top", fontsize=8)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def comparison(experiment: Experiment, curves: dict[str, list[dict[str, Any]]], floor: dict[str, Any]) -> Table:
    """One game's table: ours and the paper's, each also relative to its own Symm-PMD at epoch 0."""
    ours = {name: {q: band(curves[name], q)[1] for q in QUANTITIES} for name in ALGORITHMS}
    final = experiment.n_epochs - 1
    table = Table(
        title=f"{experiment.title}: exploitability, mean over agents",
        caption="Median over seeds of the average policy's; %: of Symm-PMD's at epoch 0.\n"
        "*: the paper's, digitised; its scale is not ours.\n"
        "last: of the last iterate; max_i: maximum over agents, at the end.\n"
        "MFG-NE: of the induced game's equilibrium, played by all.",
        caption_justify="left",
    )
    table.add_column("epoch")
    for header in ("Symm-PMD", "IPMD", "ratio", "Symm-PMD*", "IPMD*", "ratio*"):
        table.add_column(header, justify="right")

    def add_row(label: str, values: dict[str, float], start: float, epoch: int | None) -> None:
        paper = {name: None if epoch is None else experiment.paper[name].get(epoch) for name in ALGORITHMS}
        cells = []
        for pair, base in ((values, start), (paper, experiment.paper["Symm-PMD"][0])):
            symm, independent = pair["Symm-PMD"], pair["IPMD"]
            cells += ["" if value is None else f"{value:.3f} {value / base:4.0%}" for value in (symm, independent)]
            cells.append("" if symm is None or independent is None else f"{symm / independent:.2f}")
        table.add_row(label, *cells)

    for epoch in (*SHOWN_EPOCHS, final):
        values = {name: ours[name]["mean"][epoch] for name in ALGORITHMS}
        add_row(str(epoch), values, ours["Symm-PMD"]["mean"][0], epoch)
    table.add_section()
    for label, quantity in (("last", "last_mean"), ("max_i", "max")):
        values = {name: ours[name][quantity][final] for name in ALGORITHMS}
        add_row(label, values, ours["Symm-PMD"][quantity][0], None)
    table.add_row("MFG-NE", f"{floor['mean']:.3f} {floor['mean'] / ours['Symm-PMD']['mean'][0]:4.0%}")
    return table
