"""Figures 1(a) and 2(b) of Yardim & He (arXiv 2408.15173): A-Taxi, policies with and without an identity.

Five variants of PPO that differ by what agents observe, or by who shares a network: Symm-NN (no identity), OH-NN
(one-hot identity), ID-NN (integer identity), Ind-NN (a network each) and Symm-NN-NR (no entropy bonus).
Hyper-parameters are the paper's (``baselines.neural.ppo.TABLE_2``).

Where this differs from the paper, by need. Layer sizes apart, the paper does not publish its network's
initialisation (ours: orthogonal, as CleanRL and SB3), the laws of the agents' parameters, what exactly
agents observe and how ID-NN's integer is scaled [O]; whether its curves are of one agent or the mean over agents
(ours: the mean). Zone 1's share is taken at the end of the episode: a taxi that has left the start cannot change
zones. Ind-NN takes minibatches of every agent's own samples, as many as the paper's minibatch holds of each on
average.
"""

import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
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
from rich.progress import Progress
from rich.table import Table

from baselines.versions import versions
from mfenvs import make
from mfenvs.files import read_json, replacing, write_json

RESULTS = Path("runs") / "taxi"
GAME = "Taxi-v0"
SECONDS_BETWEEN_SAVES = 20.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """One curve of the figure."""

    observe: tuple[str, ...] = ()
    independent: bool = False
    hyper_parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
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


@dataclasses.dataclass(frozen=True)
class Preset:
    """How long to train."""

    n_epochs: int
    n_seeds: int
    best_response_timesteps: int
    evaluation_worlds: int
    """Worlds in which the final policy is played."""
    paired_worlds: int
    """Worlds in which the deviator is compared with itself before."""


PRESETS = {
    "short": Preset(
        n_epochs=40, n_seeds=1, best_response_timesteps=200_000, evaluation_worlds=8, paired_worlds=32
    ),
    "full": Preset(
        n_epochs=600, n_seeds=3, best_response_timesteps=2_000_000, evaluation_worlds=64, paired_worlds=256
    ),
}


@dataclasses.dataclass
class Flags:
    """Total reward of symmetrised, identity-aware and independent PPO on A-Taxi by epoch."""

    preset: Literal["short", "full"] = "short"
    """short: 40 epochs, one seed. full: the paper's 600 epochs, three seeds."""
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
    """Where figure and JSON go; committed are those in benchmarks/results/taxi."""
    checkpoints: Path = RESULTS / "checkpoints"
    """Where the runs are kept. One that is there already is gone on with."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run."""

    variant: str
    seed: int
    n_epochs: int
    n_agents: int
    device: str
    folder: Path
    preset: Preset


def main(words: list[str]) -> int:
    """Train, evaluate and draw what is complete; 130 if interrupted, and then the same command goes on."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce taxi")
    preset = PRESETS[flags.preset]
    n_epochs = flags.epochs or preset.n_epochs
    jobs = [
        Job(
            variant,
            seed,
            n_epochs,
            flags.n_agents,
            flags.device,
            flags.checkpoints / f"{variant}-{n_epochs}-epochs-{flags.n_agents}-taxis-seed-{seed}",
            preset,
        )
        for seed in range(flags.seeds or preset.n_seeds)
        for variant in flags.variants
    ]
    began = time.perf_counter()
    interrupted, errors = train_all(jobs, flags.jobs) if flags.train else (False, [])
    runs = [found for job in jobs if (found := read_run(job)) is not None]
    content = {
        "source": "Yardim & He, arXiv 2408.15173, figures 1(a) and 2(b)",
        "complete": len(runs) == len(jobs) and all("final" in run for run in runs),
        "preset": flags.preset,
        "n_epochs": n_epochs,
        "n_agents": flags.n_agents,
        "horizon": make(GAME).horizon,
        "device": flags.device,
        "paper": {name: variant.paper for name, variant in VARIANTS.items()},
        "runs": runs,
        "seconds_of_this_call": time.perf_counter() - began,
        "versions": versions(),
    }
    if runs:
        flags.out.mkdir(parents=True, exist_ok=True)
        write_json(flags.out / "results.json", content)
        draw(runs, n_epochs, flags.n_agents, flags.out / "learning.png")
        Console().print(comparison(runs))
    print(f"{'interrupted: run it again to go on; ' if interrupted else ''}written to {flags.out}")
    if errors:
        raise errors[0]
    return 130 if interrupted else 0


_stop: Any = None
"""In a worker: the event on which it stops after its update."""
_epochs: Any = None
"""In a worker: where it tells how many epochs each job has done."""
_parent = 0
"""In a worker: the process that began it."""


def train_all(jobs: list[Job], n_processes: int) -> tuple[bool, list[BaseException]]:
    """Train all jobs that are not complete; whether it was interrupted, and what went wrong. All is saved."""
    context = multiprocessing.get_context("spawn")
    stop, epochs = context.Event(), context.Array("i", len(jobs), lock=False)
    with Progress() as progress:
        bars = [progress.add_task(f"{j.variant} seed {j.seed}", total=j.n_epochs) for j in jobs]

        def show() -> None:
            for bar, done in zip(bars, epochs, strict=True):
                progress.update(bar, completed=done)

        with ProcessPoolExecutor(n_processes, context, _begin_worker, (stop, epochs)) as pool:
            futures = [pool.submit(train, number, job) for number, job in enumerate(jobs)]
            return wait_for(futures, stop, show)


def wait_for(futures: list[Future[None]], stop: Any, show: Callable[[], None]) -> tuple[bool, list[BaseException]]:
    """Wait for all; at Ctrl-C ask the running ones to stop after their update. A failure stops no other run."""
    try:
        while not all(future.done() for future in futures):
            show()
            time.sleep(0.5)
    except KeyboardInterrupt:
        stop.set()
        for future in futures:
            future.cancel()
        print("stopping after the current updates and evaluations")
    errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    show()
    return stop.is_set(), errors


def _begin_worker(stop: Any, epochs: Any) -> None:
    global _stop, _epochs, _parent
    import torch

    # Ctrl-C reaches the whole group: the first process decides. One thread each: they would fight for the cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _stop, _epochs, _parent = stop, epochs, os.getppid()


def _asked_to_stop() -> bool:
    """Whether this worker is to stop: when it is told to, or when who would tell it has died."""
    return bool(_stop.is_set()) or os.getppid() != _parent


def train(number: int, job: Job) -> None:
    """Train one run, from its checkpoint if there is one, then evaluate it; everything is in the job's folder."""
    import baselines
    from mfenvs.api.sb3 import vec_env

    curve_file, checkpoint = job.folder / "curve.json", job.folder / "checkpoint.zip"
    variant = VARIANTS[job.variant]
    trainer_class = baselines.IndependentPPO if variant.independent else baselines.PPO
    env = vec_env(GAME, observe=variant.observe, n_agents=job.n_agents)
    per_epoch = env.game.horizon * env.num_envs
    if checkpoint.exists():
        model = trainer_class.load(checkpoint, env=env, device=job.device)
        curve = Curve(number, read_json(curve_file)["curve"], model.num_timesteps // per_epoch)
    else:
        model = trainer_class(
            "MlpPolicy", env, seed=job.seed, device=job.device, **(variant.hyper_parameters | _minibatch(job))
        )
        curve = Curve(number, [], 0)
    _epochs[number] = len(curve.rows)
    callback = curve_callback(curve, lambda: save(job, model, curve))
    remaining = job.n_epochs * per_epoch - model.num_timesteps
    if remaining > 0:
        model.learn(remaining, callback=callback, reset_num_timesteps=False)
        save(job, model, curve)
    if os.getppid() != _parent:
        os._exit(1)  # Nobody would send this worker away any more.
    if _asked_to_stop() or (job.folder / "evaluation.json").exists():
        return
    found = evaluation(job, model)
    if not _asked_to_stop():
        write_json(job.folder / "evaluation.json", found)


def _minibatch(job: Job) -> dict[str, Any]:
    """The paper's minibatch, scaled to the number of taxis."""
    return {} if job.n_agents == 1000 else {"batch_size": max(2, round(16_384 * job.n_agents / 1000))}


@dataclasses.dataclass
class Curve:
    """What is recorded of a run, one row per epoch."""

    number: int
    rows: list[dict[str, float]]
    n_epochs: int
    """Complete epochs, that is: updates."""

    def __post_init__(self) -> None:
        # A checkpoint is that of the last complete epoch; what was recorded later is done again.
        del self.rows[self.n_epochs :]


def curve_callback(curve: Curve, save_now: Callable[[], None]) -> Any:
    """Make a callback that records every epoch, saves now and then, and stops when it is asked to."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Recorder(BaseCallback):
        saved = began = time.monotonic()

        def _on_rollout_start(self) -> None:
            assert self.training_env is not None
            self.returns: NDArray[np.float64] = np.zeros(self.training_env.num_envs)
            curve.n_epochs = len(curve.rows)
            _epochs[curve.number] = curve.n_epochs
            if time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES:
                save_now()
                self.saved = time.monotonic()
            self.began = time.monotonic()

        def _on_step(self) -> bool:
            self.returns += self.locals["rewards"]
            self.share = self.locals["infos"][0]["share_zone_1"]
            return not _asked_to_stop()

        def _on_rollout_end(self) -> None:
            low, high = np.quantile(self.returns, (0.1, 0.9))
            row = {"reward": self.returns.mean(), "reward_10": low, "reward_90": high, "zone_1": self.share}
            curve.rows.append({name: float(value) for name, value in row.items()})

    return Recorder()


def save(job: Job, model: Any, curve: Curve) -> None:
    """Write the curve, then the checkpoint: rows that are later than a checkpoint are done again."""
    write_json(job.folder / "curve.json", {"variant": job.variant, "seed": job.seed, "curve": curve.rows})
    model.save(job.folder / "checkpoint.zip")
    _epochs[curve.number] = len(curve.rows)


def evaluation(job: Job, model: Any) -> dict[str, Any]:
    """Returns in fresh worlds, and what a deviator that was trained against the policy gains."""
    from baselines.neural.best_response import approximate_best_response
    from mfenvs.evaluation import evaluate

    game = make(GAME, n_agents=job.n_agents)
    found = evaluate(game, model, n_worlds=job.preset.evaluation_worlds, seed=1_000_000)
    result: dict[str, Any] = {"final": found.summary()}
    if not VARIANTS[job.variant].independent:
        best = approximate_best_response(
            game,
            model,
            total_timesteps=job.preset.best_response_timesteps,
            evaluation_worlds=job.preset.paired_worlds,
            seed=job.seed,
            device=job.device,
            callback=lambda *_: not _asked_to_stop(),
        )
        result["exploitability_lower_bound"] = {
            "value": best.gain.value,
            "interval_95": list(best.gain.interval),
            "n_worlds": best.gain.n_samples,
            "timesteps": job.preset.best_response_timesteps,
        }
    return result


def read_run(job: Job) -> dict[str, Any] | None:
    """What is there of a run, or None."""
    if not (job.folder / "curve.json").exists():
        return None
    found: dict[str, Any] = read_json(job.folder / "curve.json")
    if (job.folder / "evaluation.json").exists():
        found |= read_json(job.folder / "evaluation.json")
    return found


def curves(runs: list[dict[str, Any]], variant: str, quantity: str) -> NDArray[np.float64] | None:
    """One quantity of all seeds of a variant, as far as all have come, (n_seeds, n_epochs)."""
    found = [[row[quantity] for row in run["curve"]] for run in runs if run["variant"] == variant]
    length = min(map(len, found), default=0)
    return np.array([values[:length] for values in found]) if length else None


def draw(runs: list[dict[str, Any]], n_epochs: int, n_agents: int, path: Path) -> None:
    """Reward and zone 1's share by epoch."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, variant in VARIANTS.items():
        if _draw_reward(left, runs, name, variant) is not None:
            _draw_share(right, runs, name, variant)
    left.set_title(f"A-Taxi, {n_agents} taxis: what a taxi earns", fontsize=10)
    left.set_ylabel("total reward of a taxi in an episode")
    if any(epoch <= n_epochs for variant in VARIANTS.values() for epoch in variant.paper):
        left.plot([], [], "o", color="#444444", markersize=4, label="the paper's figure 1(a)")
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
        caption="final: fresh worlds; gain: of a trained deviator, a lower bound on mean_i E_i, 95 % interval",
        box=box.SIMPLE,
    )
    for header in ("variant", "epochs", "100", "200", "590", "last", "zone 1", "final", "gain of a deviator"):
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
        table.add_row(name, str(len(mean)), *cells, last, f"{share[:, -1].mean():.1%}", final, gain)
    return table


def _beside(mean: NDArray[np.float64], epoch: int, paper: dict[int, float]) -> str:
    if epoch >= len(mean):
        return ""
    return f"{mean[epoch]:.2f}" + (f" ({paper[epoch]})" if epoch in paper else "")
