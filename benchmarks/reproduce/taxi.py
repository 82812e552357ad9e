"""Figures 1(a) and 2(b) of Yardim & He (arXiv 2408.15173): A-Taxi, policies with and without an identity.

Five variants of PPO that differ by what agents observe, or by who shares a network: Symm-NN (no identity), OH-NN
(one-hot identity), ID-NN (integer identity), Ind-NN (a network each) and Symm-NN-NR (no entropy bonus).
Hyper-parameters are the paper's (``baselines.neural.hyper_parameters.TABLE_2``).

Where this differs from the paper, by need. Layer sizes apart, the paper does not publish its network's
initialisation (ours: orthogonal, as CleanRL and SB3), the laws of the agents' parameters, what exactly
agents observe and how ID-NN's integer is scaled [O]; whether its curves are of one agent or the mean over agents
(ours: the mean). Zone 1's share is taken at the end of the episode: a taxi that has left the start cannot change
zones. Ind-NN takes minibatches of every agent's own samples, as many as the paper's minibatch holds of each on
average.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from baselines.versions import versions
from benchmarks.reproduce import taxi_study
from benchmarks.reproduce.taxi_training import (
    GAME,
    Evaluation,
    Job,
    ScaledIdentity,
    Setting,
    curves,
    read_run,
    train_all,
)
from benchmarks.reproduce.taxi_yardsticks import yardsticks
from mfenvs import make
from mfenvs.files import read_json, replacing, write_json

RESULTS = Path("runs") / "taxi"


@dataclasses.dataclass(frozen=True)
class Variant(Setting):
    """One curve of the figure."""

    colour: str = "black"
    paper: dict[int, float] = dataclasses.field(default_factory=dict)
    """The paper's curve: total reward an episode by epoch."""


VARIANTS = {
    "Symm-NN": Variant(colour="#0b6fa4", paper={100: 20.9, 200: 22.6, 590: 23.1}),
    "OH-NN": Variant(("one-hot-identity",), colour="#2b8a3e", paper={100: 18.9, 200: 21.7, 590: 22.6}),
    "ID-NN": Variant(("integer-identity",), colour="#8d5a97", paper={100: 19.5, 200: 21.0, 590: 21.6}),
    "Ind-NN": Variant(independent=True, colour="#c2571a", paper={100: 0.95, 200: 1.04, 590: 4.0}),
    "Symm-NN-NR": Variant(hyper_parameters={"ent_coef": 0.0}, colour="#777777"),
}

FITTED: dict[str, Any] = {"jam": 7.5}
"""The constants with which Symm-NN comes nearest to the paper's curve in the study [O]."""
FITTED_IDENTITY = ScaledIdentity(10.0)
"""The integer identity with which ID-NN does."""


def variants(setting: str) -> dict[str, Variant]:
    """The curves of a setting: ``default``, or ``fitted`` to the paper's curves."""
    if setting == "default":
        return VARIANTS
    fitted = {name: dataclasses.replace(variant, constants=FITTED) for name, variant in VARIANTS.items()}
    return fitted | {"ID-NN": dataclasses.replace(fitted["ID-NN"], observe=(FITTED_IDENTITY,))}


@dataclasses.dataclass(frozen=True)
class Preset(Evaluation):
    """How long to train, and how the final policies are evaluated."""

    n_epochs: int
    n_seeds: int
    n_deviating_seeds: int
    """Seeds, from 0 on, against whose policies deviators are trained: that takes half as long as the training. All
    policies' exploitability is bounded by planning."""
    n_alone: int
    """Taxis whose problem alone in the city is solved, for the attainable reward."""


PRESETS = {
    "short": Preset(
        best_response_timesteps=200_000,
        deviators=1,
        evaluation_worlds=8,
        paired_worlds=32,
        planning_worlds=8,
        n_epochs=40,
        n_seeds=1,
        n_deviating_seeds=1,
        n_alone=16,
    ),
    "full": Preset(
        best_response_timesteps=2_000_000,
        deviators=3,
        evaluation_worlds=64,
        paired_worlds=256,
        planning_worlds=64,
        n_epochs=600,
        n_seeds=3,
        n_deviating_seeds=1,
        n_alone=64,
    ),
}


@dataclasses.dataclass
class Flags:
    """Total reward of symmetrised, identity-aware and independent PPO on A-Taxi by epoch."""

    preset: Literal["short", "full"] = "short"
    """short: 40 epochs, one seed. full: the paper's 600 epochs, three seeds."""
    setting: Literal["default", "fitted"] = "default"
    """default: our constants. fitted: the jam weight and the scale of ID-NN's integer with which the study comes
    nearest to the paper's curves."""
    study: bool = False
    """Instead of the figure: which unpublished choice matters, one at a time; 100 epochs, three seeds."""
    cells: tuple[str, ...] = ()
    """With --study: names of its settings; by default all."""
    variants: tuple[Literal["Symm-NN", "OH-NN", "ID-NN", "Ind-NN", "Symm-NN-NR"], ...] = tuple(VARIANTS)  # type: ignore[assignment]
    """Which curves."""
    seeds: int | None = None
    """Number of training seeds; by default the preset's."""
    epochs: int | None = None
    """Number of epochs; by default the preset's."""
    n_agents: int = 1000
    """Number of taxis."""
    device: str = "cpu"
    """Where networks are trained: cpu, cuda, ..."""
    jobs: int = 2
    """Processes that train at a time, one thread each; a job is a variant and a seed."""
    train: bool = True
    """Train what is not complete; with --no-train what is there is drawn."""
    out: Path = RESULTS
    """Where figure and JSON go; committed are those in benchmarks/results/taxi. Runs that an earlier results.json
    there holds, complete and of the same terms, are not done again."""
    checkpoints: Path = RESULTS / "checkpoints"
    """Where the runs are kept. One that is there already is gone on with."""


def main(words: list[str]) -> int:
    """Train, evaluate and draw what is complete; 130 if interrupted, and then the same command goes on."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce taxi")
    return study(flags) if flags.study else figure(flags)


def study(flags: Flags) -> int:
    """Which unpublished choice matters: see :mod:`benchmarks.reproduce.taxi_study`."""
    planned = taxi_study.Study(
        n_epochs=flags.epochs or 100,
        n_seeds=flags.seeds or 3,
        n_agents=flags.n_agents,
        device=flags.device,
        checkpoints=flags.checkpoints / "study",
        cells=taxi_study.chosen_cells(flags.cells),
    )
    return taxi_study.run(planned, flags.jobs, flags.out, flags.train)


def figure(flags: Flags) -> int:
    """The paper's figures."""
    preset, settings = PRESETS[flags.preset], variants(flags.setting)
    n_epochs = flags.epochs or preset.n_epochs
    constants = {} if flags.setting == "default" else FITTED
    checkpoints = flags.checkpoints if flags.setting == "default" else flags.checkpoints / flags.setting
    jobs = [
        Job(
            variant,
            settings[variant],
            seed,
            n_epochs,
            n_epochs,
            flags.n_agents,
            flags.device,
            checkpoints / f"{variant}-{n_epochs}-epochs-{flags.n_agents}-taxis-seed-{seed}",
            preset if seed < preset.n_deviating_seeds else dataclasses.replace(preset, deviators=0),
        )
        for seed in range(flags.seeds or preset.n_seeds)
        for variant in flags.variants
    ]
    terms = {
        "game": GAME,
        "preset": flags.preset,
        "setting": flags.setting,
        "constants": constants,
        "n_epochs": n_epochs,
        "n_agents": flags.n_agents,
        "device": flags.device,
    }
    earlier = complete_runs(flags.out / "results.json", terms)
    began = time.perf_counter()
    missing = [job for job in jobs if (job.name, job.seed) not in earlier]
    interrupted, errors = train_all(missing, flags.jobs) if flags.train and missing else (False, [])
    found = (earlier.get((job.name, job.seed)) or read_run(job) for job in jobs)
    runs = [run for run in found if run is not None]
    if runs and not interrupted:
        n_alone = min(preset.n_alone, flags.n_agents)
        lines = yardsticks(
            constants, flags.n_agents, n_alone, preset.evaluation_worlds, flags.checkpoints / "yardsticks"
        )
    else:
        lines = None
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figures 1(a) and 2(b)",
        "complete": len(runs) == len(jobs) and all(is_complete(run, n_epochs) for run in runs),
        **terms,
        "horizon": make(GAME).horizon,
        "paper": {name: variant.paper for name, variant in VARIANTS.items()},
        "yardsticks": lines,
        "runs": runs,
        "seconds_of_this_call": time.perf_counter() - began,
        "versions": versions(),
    }
    if runs:
        flags.out.mkdir(parents=True, exist_ok=True)
        write_json(flags.out / "results.json", content)
        title = f"A-Taxi, {flags.n_agents} taxis" + ("" if flags.setting == "default" else ", fitted to the paper")
        draw(runs, n_epochs, title, lines, flags.out / "learning.png")
        Console().print(comparison(runs))
    print(f"{'interrupted: run it again to go on; ' if interrupted else ''}written to {flags.out}")
    if errors:
        raise errors[0]
    return 130 if interrupted else 0


def complete_runs(path: Path, terms: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The complete runs of a ``results.json`` by variant and seed; none if it is not there, or of other terms."""
    if not path.exists():
        return {}
    content = read_json(path)
    if any(content.get(name) != value for name, value in terms.items()):
        return {}
    return {(run["variant"], run["seed"]): run for run in content["runs"] if is_complete(run, terms["n_epochs"])}


def is_complete(run: dict[str, Any], n_epochs: int) -> bool:
    """Whether a run has been trained to its end and evaluated."""
    return len(run["curve"]) == n_epochs and "exploitability_by_planning" in run


def draw(runs: list[dict[str, Any]], n_epochs: int, title: str, lines: dict[str, Any] | None, path: Path) -> None:
    """Reward and zone 1's share by epoch, and what could be earned."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, variant in VARIANTS.items():
        if _draw_reward(left, runs, name, variant) is not None:
            _draw_share(right, runs, name, variant)
    left.set_title(f"{title}: what a taxi earns", fontsize=10)
    left.set_ylabel("total reward of a taxi in an episode")
    if any(epoch <= n_epochs for variant in VARIANTS.values() for epoch in variant.paper):
        left.plot([], [], "o", color="#444444", markersize=4, label="the paper's figure 1(a)")
    if lines is not None:
        alone, rule = lines["alone_without_jams"]["value"], lines["dispatcher"]["return"]
        left.axhline(
            alone, color="#444444", linewidth=1, linestyle="--", label="best of a taxi alone, without jams"
        )
        left.axhline(rule, color="#444444", linewidth=1, linestyle=":", label="all by a dispatcher's rule")
    left.legend(frameon=False, fontsize=8)
    right.set_title("Share of all taxis in zone 1", fontsize=10)
    right.set_ylabel("taxis in zone 1 at the end of the episode [%]")
    right.set_ylim(0.0, 100.0)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("epoch (one episode of all taxis)")
        axes.set_xlim(0, n_epochs - 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    left.set_ylim(bottom=0.0)
    canvas = FigureCanvasAgg(figure)
    with replacing(path) as file:
        canvas.print_png(file)


def _draw_reward(axes: Axes, runs: list[dict[str, Any]], name: str, variant: Variant) -> Any:
    rewards = curves(runs, name, "reward")
    if rewards is None:
        return None
    epochs, label = np.arange(rewards.shape[1]), name
    if len(rewards) > 1:
        low, high = rewards.min(axis=0), rewards.max(axis=0)
        label += f", mean and range of {len(rewards)} seeds"
        axes.fill_between(epochs, low, high, color=variant.colour, alpha=0.2, linewidth=0)
    elif name == "Symm-NN":
        # The taxis' own luck and parameters spread alike in all variants: five bands would hide each other.
        low, high = (curves(runs, name, q)[0] for q in ("reward_10", "reward_90"))  # type: ignore[index]
        label += ", band: 10 to 90 % of the taxis"
        axes.fill_between(epochs, low, high, color=variant.colour, alpha=0.12, linewidth=0)
    axes.plot(epochs, rewards.mean(axis=0), color=variant.colour, label=label)
    shown = {epoch: value for epoch, value in variant.paper.items() if epoch <= len(epochs)}
    axes.plot(list(shown), list(shown.values()), "o", color=variant.colour, markersize=4)
    return rewards


def _draw_share(axes: Axes, runs: list[dict[str, Any]], name: str, variant: Variant) -> None:
    shares = curves(runs, name, "zone_1")
    assert shares is not None
    epochs = np.arange(shares.shape[1])
    if len(shares) > 1:
        low, high = 100 * shares.min(axis=0), 100 * shares.max(axis=0)
        axes.fill_between(epochs, low, high, color=variant.colour, alpha=0.15, linewidth=0)
    axes.plot(epochs, 100 * shares.mean(axis=0), color=variant.colour, label=name)


def comparison(runs: list[dict[str, Any]]) -> Table:
    """Ours beside the paper's, by epoch."""
    table = Table(
        title="A-Taxi: total reward of a taxi in an episode (the paper's in brackets)",
        caption="CPU s: of an epoch, median; final: fresh worlds; gain: of a trained deviator, a lower bound on"
        " mean_i E_i, 95 % interval; by planning: lower and upper bound on mean_i E_i",
        box=box.SIMPLE,
    )
    headers = "variant", "epochs", "CPU s", "100", "200", "590", "last", "zone 1", "final", "gain", "by planning"
    for header in headers:
        table.add_column(header, justify="left" if header == "variant" else "right")
    for name, variant in VARIANTS.items():
        rewards = curves(runs, name, "reward")
        if rewards is None:
            continue
        mean = rewards.mean(axis=0)
        cells = [_beside(mean, epoch, variant.paper) for epoch in (100, 200, 590)]
        last = f"{mean[-1]:.2f}"
        share = curves(runs, name, "zone_1")
        assert share is not None
        evaluated = [run for run in runs if run["variant"] == name and "final" in run]
        final = ", ".join(f"{run['final']['return']:.2f}" for run in evaluated)
        bounds = [run["exploitability_lower_bound"] for run in evaluated if "exploitability_lower_bound" in run]
        gain = ", ".join("{:.2f} [{:.2f}, {:.2f}]".format(b["value"], *b["interval_95"]) for b in bounds)
        planned = [run["exploitability_by_planning"] for run in evaluated if "exploitability_by_planning" in run]
        planning = ", ".join("{:.2f} to {:.2f}".format(b["lower"]["value"], b["upper"]["value"]) for b in planned)
        rows = [row for run in runs if run["variant"] == name for row in run["curve"]]
        # A run that is under way may end with an epoch whose update is not done.
        seconds = f"{np.median([row['cpu_seconds'] for row in rows if 'cpu_seconds' in row] or [np.nan]):.2f}"
        zone_1 = f"{share[:, -1].mean():.1%}"
        table.add_row(name, str(len(mean)), seconds, *cells, last, zone_1, final, gain, planning)
    return table


def _beside(mean: NDArray[np.float64], epoch: int, paper: dict[int, float]) -> str:
    if epoch >= len(mean):
        return ""
    return f"{mean[epoch]:.2f}" + (f" ({paper[epoch]})" if epoch in paper else "")
