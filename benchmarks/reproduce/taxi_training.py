"""Training runs on A-Taxi: a folder each, in parallel, and resumed from where they were interrupted."""

import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from mfenvs import make
from mfenvs.engine.engine import Engine
from mfenvs.files import read_json, write_json
from mfenvs.game import Game
from mfenvs.wrappers.observations import ObservationBlock, Write

GAME = "Taxi-v0"
PAPERS_AGENTS, PAPERS_MINIBATCH, PAPERS_EPOCHS = 1000, 16_384, 600
"""Numbers of taxis, of rows of a minibatch and of epochs in Yardim & He, arXiv 2408.15173."""
SECONDS_BETWEEN_SAVES = 20.0
LONGER_THAN_SAVING = 50.0
"""A run is saved again after that many times as long as it took to save it: Ind-NN has 600 MB."""


@dataclasses.dataclass(frozen=True)
class ScaledIdentity(ObservationBlock):
    """The agent's index i as one number, i / (n_agents - 1) times ``largest``, or i itself if that is None.

    Beyond [0, 1] it is outside the declared observation space, as the raw integer of an ID-NN would be [O].
    """

    largest: float | None = 1.0
    name: ClassVar[str] = "scaled-identity"
    is_fixed: ClassVar[bool] = True

    def width(self, game: Game) -> int:
        """One feature."""
        return 1

    def bind(self, game: Game) -> Write:
        """Write the scaled numbers."""
        largest = game.n_agents - 1 if self.largest is None else self.largest
        numbers = np.linspace(0.0, largest, game.n_agents, dtype=np.float32)[:, None]

        def write(out: NDArray[np.float32], engine: Engine) -> None:
            out[...] = numbers

        return write


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained on which game."""

    observe: tuple[str | ObservationBlock, ...] = ()
    """Observation blocks that taxis see beside their own observation."""
    independent: bool = False
    """Whether every taxi has a network of its own."""
    hyper_parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyper-parameters that differ from the paper's."""
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Constants of the game that differ from its defaults."""
    bootstrap: bool = False
    """Whether the value of the last state is counted in the advantages, as if the game went on after its end."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a final policy is evaluated."""

    best_response_timesteps: int
    """Training of each deviator, in agent-steps."""
    deviators: int
    """Number of deviators that are trained, of which the best one counts; 0 for none."""
    evaluation_worlds: int
    """Worlds in which the final policy is played."""
    paired_worlds: int
    """Worlds in which the deviator is compared with itself before."""
    planning_worlds: int
    """Worlds in which the exploitability is bounded by planning, from both sides."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run."""

    name: str
    setting: Setting
    seed: int
    n_epochs: int
    """Length of the run."""
    schedule_epochs: int
    """Number of epochs after which the learning rate would be zero."""
    n_agents: int
    device: str
    folder: Path
    evaluation: Evaluation | None = None
    """How the final policy is evaluated; None for not at all."""


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
    with Progress(refresh_per_second=1) as progress:
        bars = [progress.add_task(f"{j.name} seed {j.seed}", total=j.n_epochs) for j in jobs]

        def show() -> None:
            for bar, done in zip(bars, epochs, strict=True):
                progress.update(bar, completed=done)

        with ProcessPoolExecutor(n_processes, context, begin_worker, (stop, epochs)) as pool:
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


def begin_worker(stop: Any, epochs: Any) -> None:
    """Prepare a process that trains: ``stop`` tells it to stop, and in ``epochs`` it tells how far jobs are."""
    global _stop, _epochs, _parent
    import torch

    # Ctrl-C reaches the whole group: the first process decides. One thread each: they would fight for the cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _stop, _epochs, _parent = stop, epochs, os.getppid()


def _asked_to_stop() -> bool:
    """Whether this worker is to stop: when it is told to, or when who would tell it has died."""
    return bool(_stop.is_set()) or os.getppid() != _parent


def training_environment(job: Job) -> Any:
    """The VecEnv in which a job trains: an episode is an epoch."""
    from mfenvs.api.sb3 import vec_env

    constants = {"n_agents": job.n_agents, **job.setting.constants}
    if not job.setting.bootstrap:
        return vec_env(GAME, observe=job.setting.observe, **constants)
    # A game of one more step is cut off where the other ends: its last value is then bootstrapped.
    steps = make(GAME, **constants).horizon
    return vec_env(GAME, observe=job.setting.observe, max_episode_steps=steps, **constants, horizon=steps + 1)


def hyper_parameters(job: Job, n_steps: int) -> dict[str, Any]:
    """The hyper-parameters of a job: the paper's minibatch and schedule, scaled to its taxis and its length."""
    from stable_baselines3.common.utils import LinearSchedule

    from baselines.neural.hyper_parameters import TABLE_2

    rate = TABLE_2["learning_rate"].start
    found: dict[str, Any] = {
        "n_steps": n_steps,
        "learning_rate": LinearSchedule(rate, rate * (1.0 - job.n_epochs / job.schedule_epochs), 1.0),
    }
    if job.n_agents != PAPERS_AGENTS:
        found["batch_size"] = max(2, round(PAPERS_MINIBATCH * job.n_agents / PAPERS_AGENTS))
    return found | job.setting.hyper_parameters


def train(number: int, job: Job) -> None:
    """Train one run, from its checkpoint if there is one, then evaluate it; everything is in the job's folder."""
    import baselines

    curve_file, checkpoint = job.folder / "curve.json", job.folder / "checkpoint.zip"
    trainer_class = baselines.IndependentPPO if job.setting.independent else baselines.PPO
    env = training_environment(job)
    n_steps = env.game.horizon - job.setting.bootstrap
    per_epoch = n_steps * env.num_envs
    if checkpoint.exists():
        model = trainer_class.load(checkpoint, env=env, device=job.device)
        curve = Curve(number, read_json(curve_file)["curve"], model.num_timesteps // per_epoch)
    else:
        model = trainer_class("MlpPolicy", env, seed=job.seed, device=job.device, **hyper_parameters(job, n_steps))
        curve = Curve(number, [], 0)
    _epochs[number] = len(curve.rows)
    callback = curve_callback(curve, lambda: save(job, model, curve))
    remaining = job.n_epochs * per_epoch - model.num_timesteps
    if remaining > 0:
        model.learn(remaining, callback=callback, reset_num_timesteps=False)
        save(job, model, curve)
    if os.getppid() != _parent:
        os._exit(1)  # Nobody would send this worker away any more.
    if job.evaluation is None:
        return
    for name, evaluate in (("evaluation", evaluated), ("bounds", bounded)):
        if _asked_to_stop():
            return
        if kept_evaluation(job, name) is None:
            found = evaluate(job, job.evaluation, model)
            if not _asked_to_stop():
                write_json(job.folder / f"{name}.json", found)


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
        saved = time.monotonic()
        pause = SECONDS_BETWEEN_SAVES
        began = 0.0

        def _on_rollout_start(self) -> None:
            assert self.training_env is not None
            self.returns: NDArray[np.float64] = np.zeros(self.training_env.num_envs)
            self._end_epoch()
            now = time.monotonic()
            if now - self.saved > self.pause:
                save_now()
                self.saved = time.monotonic()
                self.pause = max(SECONDS_BETWEEN_SAVES, LONGER_THAN_SAVING * (self.saved - now))
            self.began = time.process_time()

        def _on_training_end(self) -> None:
            self._end_epoch()

        def _end_epoch(self) -> None:
            """Count the epoch whose update is done, if one is, with the processor time that it took."""
            if len(curve.rows) > curve.n_epochs:
                curve.rows[-1]["cpu_seconds"] = time.process_time() - self.began
            curve.n_epochs = len(curve.rows)
            _epochs[curve.number] = curve.n_epochs

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
    write_json(job.folder / "curve.json", {"variant": job.name, "seed": job.seed, "curve": curve.rows})
    model.save(job.folder / "checkpoint.zip")
    _epochs[curve.number] = len(curve.rows)


def evaluated(job: Job, evaluation: Evaluation, model: Any) -> dict[str, Any]:
    """Returns in fresh worlds, and what a deviator that was trained against the policy gains."""
    from baselines.neural.best_response import approximate_best_response
    from mfenvs.evaluation import evaluate

    game = make(GAME, n_agents=job.n_agents, **job.setting.constants)
    found = evaluate(game, model, n_worlds=evaluation.evaluation_worlds, seed=1_000_000)
    result: dict[str, Any] = {"final": found.summary()}
    if evaluation.deviators and not job.setting.independent:
        best = approximate_best_response(
            game,
            model,
            total_timesteps=evaluation.best_response_timesteps,
            evaluation_worlds=evaluation.paired_worlds,
            n_deviators=evaluation.deviators,
            seed=job.seed,
            device=job.device,
            callback=lambda *_: not _asked_to_stop(),
        )
        result["exploitability_lower_bound"] = {
            "value": best.gain.value,
            "interval_95": list(best.gain.interval),
            "n_worlds": best.gain.n_samples,
            "timesteps": evaluation.best_response_timesteps,
            "deviators_compared": [gain.value for gain in best.tried],
        }
    return result


def bounded(job: Job, evaluation: Evaluation, model: Any) -> dict[str, Any]:
    """Bounds on the exploitability of the policy by planning, from both sides."""
    from baselines.taxi.exploitability import exploitability_interval

    game = make(GAME, n_agents=job.n_agents, **job.setting.constants)
    found = exploitability_interval(game, model, n_worlds=evaluation.planning_worlds, seed=job.seed)
    bounds = {
        name: {"value": bound.value, "interval_95": list(bound.interval), "n_worlds": bound.n_samples}
        for name, bound in (("lower", found.lower), ("upper", found.upper))
    }
    return {"exploitability_by_planning": {**bounds, "reaction": found.reaction.value, "exact": found.is_exact}}


def read_run(job: Job) -> dict[str, Any] | None:
    """What is there of a run, or None."""
    if not (job.folder / "curve.json").exists():
        return None
    found: dict[str, Any] = read_json(job.folder / "curve.json")
    for name in ("evaluation", "bounds"):
        found |= kept_evaluation(job, name) or {}
    return found


def kept_evaluation(job: Job, name: str) -> dict[str, Any] | None:
    """What is kept of a part of a run's evaluation; None if nothing is, or of another length than the job's."""
    path, evaluation = job.folder / f"{name}.json", job.evaluation
    if evaluation is None or not path.exists():
        return None
    found: dict[str, Any] = read_json(path)
    if name == "bounds":
        is_as_long = found["exploitability_by_planning"]["upper"]["n_worlds"] == evaluation.planning_worlds
        return found if is_as_long else None
    is_as_long = found["final"]["n_worlds"] == evaluation.evaluation_worlds
    if evaluation.deviators and not job.setting.independent:
        gain = found.get("exploitability_lower_bound", {"deviators_compared": ()})
        is_as_long &= (len(gain["deviators_compared"]), gain.get("timesteps"), gain.get("n_worlds")) == (
            evaluation.deviators,
            evaluation.best_response_timesteps,
            evaluation.paired_worlds,
        )
    return found if is_as_long else None


def curves(runs: list[dict[str, Any]], name: str, quantity: str) -> NDArray[np.float64] | None:
    """One quantity of all seeds of a variant, as far as all have come, (n_seeds, n_epochs)."""
    found = [[row[quantity] for row in run["curve"]] for run in runs if run["variant"] == name]
    length = min(map(len, found), default=0)
    return np.array([values[:length] for values in found]) if length else None
