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

import tyro
from rich.console import Console

from baselines.versions import versions
from benchmarks.markdown import markdown_table
from benchmarks.reproduce import taxi_study, taxi_table
from benchmarks.reproduce.taxi_figure import draw
from benchmarks.reproduce.taxi_training import GAME, Evaluation, Job, read_run, train_all
from benchmarks.reproduce.taxi_variants import FITTED, VARIANTS, variants
from benchmarks.reproduce.taxi_yardsticks import yardsticks
from mfenvs import checks, make
from mfenvs.files import read_json, replacing, write_json

RESULTS = Path("runs") / "taxi"


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
    there holds, complete and of the same terms, are kept and not done again."""
    checkpoints: Path = RESULTS / "checkpoints"
    """Where the runs are kept. One that is there already is gone on with."""


def main(words: list[str]) -> int:
    """Train, evaluate and draw what is complete; 130 if interrupted, and then the same command goes on."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce taxi")
    for name in ("seeds", "epochs", "jobs"):
        if getattr(flags, name) is not None:
            checks.integer(name, getattr(flags, name), 1)
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
    on_device = "" if flags.device == "cpu" else f"-{flags.device.replace(':', '-')}"
    jobs = [
        Job(
            variant,
            settings[variant],
            seed,
            n_epochs,
            n_epochs,
            flags.n_agents,
            flags.device,
            checkpoints / f"{variant}-{n_epochs}-epochs-{flags.n_agents}-taxis-seed-{seed}{on_device}",
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
    asked = {(job.name, job.seed): job for job in jobs}
    found = {key: read_run(job) for key, job in asked.items()} | earlier
    # By seed, as they are trained; also those that an earlier call was asked for.
    runs = [run for _, run in sorted(found.items(), key=_seed_by_seed) if run is not None]
    whole = {(name, seed) for name in VARIANTS for seed in range(preset.n_seeds)}.union(asked)
    if runs and not interrupted:
        n_alone = min(preset.n_alone, flags.n_agents)
        lines = yardsticks(
            constants, flags.n_agents, n_alone, preset.evaluation_worlds, flags.checkpoints / "yardsticks"
        )
    else:
        lines = None
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figures 1(a) and 2(b)",
        "complete": whole <= {(run["variant"], run["seed"]) for run in runs if is_complete(run, n_epochs)},
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
        compared = taxi_table.rows(runs)
        with replacing(flags.out / "learning.md") as file:
            file.write(f"{markdown_table(taxi_table.HEADERS, compared)}\n".encode())
        # A column for each variant: they are fewer than the quantities, and terminals are narrow.
        names, *quantities = zip(taxi_table.HEADERS, *compared, strict=True)
        Console().print(taxi_table.in_terminal(title, names, quantities))
    print("interrupted: run it again to go on; " if interrupted else "", end="")
    print(f"written to {flags.out}" if runs else f"no run is in {checkpoints}")
    if errors:
        raise errors[0]
    return 130 if interrupted else 0


def _seed_by_seed(item: tuple[tuple[str, int], Any]) -> tuple[int, int]:
    (variant, seed), _ = item
    return seed, list(VARIANTS).index(variant)


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
