"""The command line: ``mfenvs list | train | evaluate | render``."""

import dataclasses
import datetime
import functools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from mfenvs.game import FiniteGame, Game
from mfenvs.registry import NAMESPACE, game_class_of, make, registered_games

SECONDS_BETWEEN_SAVES = 30.0
"""How much of a training run a crash may cost."""

USAGE = """\
usage: mfenvs COMMAND ...

  mfenvs list                          the registered games
  mfenvs train ALGORITHM GAME [FLAGS]  train; --help behind GAME shows all flags
  mfenvs evaluate RUN [FLAGS]          exploitability and returns of a run's policy
  mfenvs render RUN [FLAGS]            play one episode by a run's policy and show it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 for an error in the input, 130 if interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int]] = {
        "list": list_games,
        "train": train,
        "evaluate": evaluate,
        "render": render,
    }
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] not in commands:
        print(f"mfenvs: unknown command {words[0]!r}\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        return commands[words[0]](words[1:])
    except (ValueError, TypeError, OSError) as error:
        print(f"mfenvs {words[0]}: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"mfenvs: {error}; run `pip install mfenvs[baselines]`", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def list_games(words: list[str]) -> int:
    """Print a table of the registered games, made from the games themselves."""
    from rich.console import Console
    from rich.table import Column, Table

    if words:
        print(f"usage: mfenvs list (got {' '.join(words)!r})", file=sys.stderr)
        return 0 if words[0] in ("-h", "--help") else 2
    table = Table(
        *(Column(title, no_wrap=True) for title in ("id", "N", "H", "states", "actions")),
        Column("game", overflow="fold"),
    )
    for name in registered_games():
        table.add_row(f"{NAMESPACE}/{name}", *game_row(make(name)))
    Console().print(table)
    return 0


def game_row(game: Game) -> tuple[str, ...]:
    """Describe a game for a table: N, H, states, actions, title."""
    title = (type(game).__doc__ or "").strip().partition("\n")[0].rstrip(".")
    fields = len(game.state_dtype.names or ())
    states = str(game.n_states) if isinstance(game, FiniteGame) else f"{fields} fields" if fields else "a number"
    space = game.action_space
    actions = str(getattr(space, "n", f"Box{space.shape}".replace(",)", ")")))
    return str(game.n_agents), str(game.horizon), states, actions, title


@dataclasses.dataclass(kw_only=True)
class RunFlags:
    """What a training run does beside learning."""

    total_timesteps: int | None = None
    """How long to train (more), in agent-steps (in iterations for solvers that simulate nothing); by default 50
    iterations, or what a resumed run has left to do."""
    folder: Path | None = None
    """Run folder; by default runs/<algorithm>-<game>-<date>-<time>."""
    resume: bool = False
    """Go on with the run in --folder, with its game and hyper-parameters."""
    evaluate_every: int = 0
    """Measure exploitability (of neural policies: the return) after every so many iterations; 0: never."""
    tensorboard: bool = False
    """Also log for TensorBoard."""
    progress: bool = True
    """Show a progress bar."""


def train(words: list[str]) -> int:
    """Train an algorithm on a game and leave a run folder."""
    import tyro

    from ..runs import ALGORITHMS, algorithm

    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        games = ", ".join(registered_games())
        print(
            "usage: mfenvs train ALGORITHM GAME [FLAGS]\n"
            f"algorithms: {', '.join(ALGORITHMS)}\ngames: {games}\n"
            "flags: mfenvs train ALGORITHM GAME --help",
            file=sys.stdout if "--help" in words or "-h" in words else sys.stderr,
        )
        return 0 if "--help" in words or "-h" in words else 2
    trainer_class, game_class = algorithm(words[0]), game_class_of(words[1])
    config_class, learner = trainer_class.config_class, getattr(trainer_class, "model_class", trainer_class)
    # A resumed run's own constants and hyper-parameters are the defaults: any other value is a contradiction.
    constants, hyper_parameters = _settings_to_resume(words)
    flags_class = dataclasses.make_dataclass(
        "Train",
        [
            ("run", Annotated[RunFlags, tyro.conf.arg(name="")], dataclasses.field(default_factory=RunFlags)),
            (
                "algorithm",
                Annotated[config_class, tyro.conf.arg(name="")],
                dataclasses.field(default_factory=functools.partial(config_class, **hyper_parameters)),
            ),
            ("game", game_class, dataclasses.field(default_factory=functools.partial(game_class, **constants))),
        ],
    )
    flags: Any = tyro.cli(
        flags_class,
        args=words[2:],
        prog=f"mfenvs train {words[0]} {words[1]}",
        description=f"Train {learner.__name__} on {words[1]}. Constants of the game are --game.* flags.",
    )
    return _train(trainer_class, flags.game, flags.algorithm, flags.run)


def _train(trainer_class: Any, game: Game, config: Any, flags: RunFlags) -> int:
    from mfenvs import checks

    from ..callbacks import EvaluationCallback, ExploitabilityCallback, SaveEvery, StopOnInterrupt
    from ..logging import configure, drop_rows_after
    from ..neural.trainers import PPOTrainer
    from ..runs import load_trainer, save_results, write_config

    checks.integer("evaluate_every", flags.evaluate_every, 0)
    folder = flags.folder or _new_folder(trainer_class.name, type(game).__name__)
    if flags.resume:
        trainer: Any = load_trainer(folder, trainer_class.name, game, config)
        drop_rows_after(folder / "metrics.csv", trainer.num_timesteps)
    elif (folder / "config.json").exists():
        raise ValueError(f"folder {folder} already holds a run: choose another, or continue it with --resume")
    else:
        trainer = trainer_class(game, config)
    total = flags.total_timesteps or _left_to_do(folder, trainer) or 50 * trainer.timesteps_per_iteration
    trainer.set_logger(configure(folder, ("csv", "tensorboard") if flags.tensorboard else ("csv",)))
    write_config(folder, trainer, trainer.num_timesteps + total)
    save_results(folder, trainer)
    stop = StopOnInterrupt()
    callbacks: list[Any] = [stop, SaveEvery(SECONDS_BETWEEN_SAVES, lambda: save_results(folder, trainer))]
    if flags.evaluate_every:
        is_neural = isinstance(trainer, PPOTrainer)
        callbacks.insert(0, (EvaluationCallback if is_neural else ExploitabilityCallback)(flags.evaluate_every))
    with _interruptible(stop.interrupt):
        trainer.learn(total, callback=callbacks, progress_bar=flags.progress)
    save_results(folder, trainer)
    state = "interrupted; saved what there is" if stop.is_interrupted else "done"
    print(f"{state}: {trainer.iteration} iterations, {trainer.num_timesteps} timesteps, in {folder}")
    print("last iteration: " + ", ".join(f"{name} {value:.5g}" for name, value in trainer.measured.items()))
    return 130 if stop.is_interrupted else 0


def _left_to_do(folder: Path, trainer: Any) -> int:
    """How many timesteps a run in this folder has left of those that it was asked for."""
    from mfenvs.files import read_json

    if not (folder / "config.json").exists():
        return 0
    asked: int = read_json(folder / "config.json")["total_timesteps"]
    done: int = trainer.num_timesteps
    return max(0, asked - done)


def _settings_to_resume(words: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Constants and hyper-parameters of the run that ``train`` is to resume; empty if it resumes none."""
    if "--resume" not in words or "--help" in words or "-h" in words:
        return {}, {}
    from mfenvs.files import read_json

    from ..runs import as_tuples

    places = [i for i, word in enumerate(words[:-1]) if word == "--folder"]
    named = [word.removeprefix("--folder=") for word in words if word.startswith("--folder=")]
    if not places and not named:
        raise ValueError("--resume needs --folder: the run to go on with")
    folder = named[-1] if named else words[places[-1] + 1]
    config = read_json(Path(folder) / "config.json")
    algorithm, game = words[0], words[1].removeprefix(f"{NAMESPACE}/")
    if (config["algorithm"], config["game"]) != (algorithm, game):
        raise ValueError(
            f"{folder} holds a run of {config['algorithm']} on {config['game']}, not {algorithm} on {game}"
        )
    return config["constants"], as_tuples(config["hyper_parameters"])


def _new_folder(algorithm: str, game: str) -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{algorithm}-{game}-{stamp}"


@contextmanager
def _interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; a second one raises as usual."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        print("stopping after this iteration; Ctrl-C again to abort", file=sys.stderr)
        interrupt()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclasses.dataclass(kw_only=True)
class EvaluateFlags:
    """How to evaluate."""

    n_worlds: int = 64
    """Number K of simulated worlds."""
    deviators_per_world: int = 16
    """Agents that deviate in each world, one at a time, for the lower bound on the mean (of tabular policies)."""
    best_response_timesteps: int = 0
    """Where there is no table: steps that train a deviator, whose gain bounds exploitability; 0: none."""
    seed: int = 0
    """Of the simulations."""


def evaluate(words: list[str]) -> int:
    """Print what a run's policy earns and how exploitable it is; write ``evaluation.json``."""
    import tyro

    from mfenvs import checks
    from mfenvs.files import write_json
    from mfenvs.play import tabulate

    from ..runs import read_run

    folder, rest = _run_folder("evaluate", words)
    flags = tyro.cli(EvaluateFlags, args=rest, prog="mfenvs evaluate RUN")
    checks.integer("best_response_timesteps", flags.best_response_timesteps, 0)
    game, policy, config = read_run(folder)
    title = f"{config['algorithm']} on {config['game']}"
    if isinstance(game, FiniteGame) and hasattr(policy, "probabilities"):
        summary = _evaluate_table(game, policy.probabilities, flags, title)
    elif isinstance(game, FiniteGame) and not policy.observe:
        summary = _evaluate_table(game, tabulate(game, policy), flags, title)
    else:
        summary = _evaluate_network(game, policy, flags, title)
    write_json(folder / "evaluation.json", {"settings": dataclasses.asdict(flags), **summary})
    return 0


def _evaluate_network(game: Game, policy: Any, flags: EvaluateFlags, title: str) -> dict[str, Any]:
    from rich.console import Console
    from rich.table import Table

    from mfenvs.evaluation import evaluate as play

    from ..neural.best_response import approximate_best_response

    found = play(game, policy, n_worlds=flags.n_worlds, seed=flags.seed)
    summary = found.summary()
    table = Table(*("measure", "value", "95 % interval"), title=title)
    table.add_row("mean return of an agent", f"{found.mean_return.value:.4f}", _interval(found.mean_return))
    for name, shares in found.region_shares.items():
        table.add_row(f"{name} at the end", f"{shares[:, -1].mean():.1%}", "")
    if flags.best_response_timesteps:
        best = approximate_best_response(
            game,
            policy,
            total_timesteps=flags.best_response_timesteps,
            evaluation_worlds=flags.n_worlds,
            seed=flags.seed,
        )
        table.add_row("mean_i E_i >=", f"{best.gain.value:.4f}", _interval(best.gain))
        summary |= {"mean_lower_bound": best.gain.value, "mean_lower_bound_95": list(best.gain.interval)}
    Console().print(table)
    return summary


def _evaluate_table(game: FiniteGame, law: Any, flags: EvaluateFlags, title: str) -> dict[str, Any]:
    from rich.console import Console
    from rich.table import Table

    from mfenvs.engine.engine import Engine
    from mfenvs.meanfield.induced import InducedGame
    from mfenvs.meanfield.n_player import Estimate, n_player_exploitability
    from mfenvs.meanfield.relative_exploitability import relative_exploitability

    found = n_player_exploitability(
        game,
        law,
        n_worlds=flags.n_worlds,
        deviators_per_world=min(flags.deviators_per_world, game.n_agents),
        seed=flags.seed,
    )
    worlds = Engine(game, flags.n_worlds).rollout(law, seed=flags.seed)
    mean_return = Estimate.of(worlds.returns.mean(axis=1))
    summary = {**found.summary(), "return": mean_return.value, "return_95": list(mean_return.interval)}
    table = Table(
        *("measure", "value", "95 % interval"),
        title=title,
        caption="Estimates average simulated worlds (error O(1/N) and noise); lower bounds are gains of found"
        " deviations in fresh simulations.",
    )
    table.add_row("mean return of an agent", f"{mean_return.value:.4f}", _interval(mean_return))
    table.add_row("max_i E_i, estimate", f"{found.max:.4f}", "")
    table.add_row("max_i E_i >=", f"{found.max_lower_bound.value:.4f}", _interval(found.max_lower_bound))
    table.add_row("mean_i E_i, estimate", f"{found.mean:.4f}", "")
    table.add_row("mean_i E_i >=", f"{found.mean_lower_bound.value:.4f}", _interval(found.mean_lower_bound))
    if game.is_infinite:
        relative = relative_exploitability(game, law, seed=flags.seed)
        summary |= {f"C_{name}": value for name, value in relative.summary().items()}
        table.add_row("C(pi), relative", f"{relative.relative.value:.4f}", _interval(relative.relative))
        table.add_row("C(pi), absolute gap", f"{relative.absolute.value:.4f}", _interval(relative.absolute))
    if law.ndim == 3:
        summary["mean_field_exploitability"] = InducedGame(game).exploitability(law)
        table.add_row("mean-field exploitability", f"{summary['mean_field_exploitability']:.4f}", "exact")
    Console().print(table)
    return summary


def _interval(estimate: Any) -> str:
    low, high = estimate.interval
    return f"[{low:.4f}, {high:.4f}]"


def _run_folder(command: str, words: list[str]) -> tuple[Path, list[str]]:
    if words and words[0] in ("-h", "--help"):
        return Path(), ["--help"]
    if not words or words[0].startswith("-"):
        raise ValueError(f"name a run folder: mfenvs {command} RUN [FLAGS]")
    return Path(words[0]), words[1:]


@dataclasses.dataclass(kw_only=True)
class RenderFlags:
    """What to show."""

    seed: int = 0
    """Of the episode."""


def render(words: list[str]) -> int:
    """Play one episode by a run's policy, print it, and draw it to ``episode.png`` in the run folder."""
    import tyro
    from matplotlib.image import imsave

    from mfenvs.engine.engine import Engine
    from mfenvs.files import replacing
    from mfenvs.play import Player
    from mfenvs.rendering import make_recorder

    from ..runs import read_run

    folder, rest = _run_folder("render", words)
    flags = tyro.cli(RenderFlags, args=rest, prog="mfenvs render RUN")
    game, policy, _ = read_run(folder)
    recorder, engine, player = make_recorder(game), Engine(game), Player(game, policy, name="policy")
    engine.reset(flags.seed)
    recorder.record(engine)
    while engine.is_playing:
        engine.step(player.actions(engine))
        recorder.record(engine)
    print(recorder.ansi())
    with replacing(folder / "episode.png") as file:
        imsave(file, recorder.rgb_array(), format="png")
    print(f"drawn to {folder / 'episode.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
