"""The contract, on every tabular algorithm."""

import csv
import dataclasses

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from baselines.callbacks import ExploitabilityCallback
from baselines.deep.mirror_descent import DeepMirrorDescent
from baselines.logging import MetricsFile, configure
from baselines.runs import ALGORITHMS
from baselines.trainer import Trainer
from mfenvs import make
from mfenvs.games.epidemic import Epidemic

TABULAR = {name: trainer for name, trainer in ALGORITHMS.items() if issubclass(trainer, Trainer)}
trainers = pytest.mark.parametrize("trainer_class", TABULAR.values(), ids=TABULAR.keys())


def discount_of(trainer_class: type[Trainer]) -> float:
    """The discount of games that a trainer learns: a stationary equilibrium is one of a game without an end."""
    return 0.8 if trainer_class.name == "stationary-pg" else 1.0


FAST = {
    "deep-mirror-descent": {"n_updates": 8},
    "deep-fictitious-play": {"n_updates": 8, "n_average_updates": 8},
}


def small(trainer_class: type[Trainer], seed: int = 3) -> Trainer:
    game = make("Epidemic-v0", n_agents=20, horizon=3, discount=discount_of(trainer_class))
    return trainer_class(game, seed=seed, **FAST.get(trainer_class.name, {}))


def learned(trainer: Trainer) -> dict[str, np.ndarray]:
    return {**trainer._state(), "policy": trainer.policy.probabilities}


def assert_equal(a: Trainer, b: Trainer) -> None:
    assert (a.iteration, a.num_timesteps) == (b.iteration, b.num_timesteps)
    assert learned(a).keys() == learned(b).keys()
    for key, value in learned(a).items():
        assert np.array_equal(value, learned(b)[key]), key


@trainers
def test_resumed_training_equals_uninterrupted_training(trainer_class, tmp_path) -> None:
    whole, part = small(trainer_class), small(trainer_class)
    step = whole.timesteps_per_iteration
    whole.learn(5 * step)
    part.learn(2 * step).save(tmp_path / "part.npz")
    resumed = trainer_class.load(tmp_path / "part.npz")
    assert resumed.config == part.config
    assert resumed.game == part.game
    assert_equal(resumed.learn(3 * step), whole)
    assert_equal(part.learn(3 * step), whole)


@pytest.mark.parametrize("name", ["symm-pmd", "ipmd", "td"])
def test_the_seed_decides(name: str) -> None:
    runs = [small(ALGORITHMS[name], seed).learn(3) for seed in (3, 3, 4)]
    assert_equal(runs[0], runs[1])
    states = [run._state() for run in runs]
    assert any(not np.array_equal(states[0][key], states[2][key]) for key in states[0])


@trainers
def test_learn_rounds_up_to_iterations_and_goes_on(trainer_class) -> None:
    trainer = small(trainer_class)
    step = trainer.timesteps_per_iteration
    trainer.learn(step + 1)
    expected = 2 if step > 1 else step + 1
    assert trainer.iteration == expected
    assert trainer.num_timesteps == expected * step
    trainer.learn(1)
    assert trainer.iteration == expected + 1


@trainers
def test_a_policy_that_was_taken_does_not_change_with_further_training(trainer_class) -> None:
    trainer = small(trainer_class).learn(1)
    taken = trainer.policy
    before = taken.probabilities.copy()
    trainer.learn(3 * trainer.timesteps_per_iteration)
    assert np.array_equal(taken.probabilities, before)


@trainers
def test_predict_gives_an_action_for_every_row(trainer_class) -> None:
    trainer = small(trainer_class).learn(1)
    rows = np.zeros((20, 3), np.float32)
    rows[:, 0] = 1.0
    actions, memory = trainer.predict(rows)
    assert actions.shape == (20,)
    assert memory is None
    assert set(actions.tolist()) <= {0, 1}


class Recorder(BaseCallback):
    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at, self.events = stop_at, []

    def _on_training_start(self) -> None:
        self.events.append("start")

    def _on_step(self) -> bool:
        self.events.append(self.model.iteration)
        return self.model.iteration < self.stop_at

    def _on_training_end(self) -> None:
        self.events.append("end")


def test_callbacks_of_sb3_see_every_iteration_and_can_stop() -> None:
    trainer = small(ALGORITHMS["omd"])
    recorder = Recorder(stop_at=3)
    trainer.learn(10, callback=recorder)
    assert recorder.events == ["start", 1, 2, 3, "end"]
    assert trainer.iteration == 3
    seen = []
    trainer.learn(2, callback=lambda local, _global: bool(seen.append(local["self"].iteration)) or True)
    assert seen == [4, 5]
    first, second = Recorder(99), Recorder(99)
    trainer.learn(1, callback=[first, second])
    assert first.events == second.events == ["start", 6, "end"]


def test_metrics_go_to_csv_and_tensorboard_and_a_resumed_run_continues_the_file(tmp_path) -> None:
    trainer = small(ALGORITHMS["symm-pmd"])
    step = trainer.timesteps_per_iteration
    trainer.set_logger(configure(tmp_path, ("csv", "tensorboard")))
    trainer.learn(4 * step, log_interval=2)
    trainer.save(tmp_path / "checkpoint.npz")
    resumed = type(trainer).load(tmp_path / "checkpoint.npz")
    resumed.set_logger(configure(tmp_path))
    resumed.learn(step, callback=ExploitabilityCallback(n_worlds=2, deviators_per_world=1))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["time/iterations"] for row in rows] == ["2", "4", "5"]
    assert [int(row["time/total_timesteps"]) for row in rows] == [2 * step, 4 * step, 5 * step]
    assert all(float(row["eval/mean_field_exploitability"]) > 0 for row in rows)
    assert [bool(row["eval/exploitability_max"]) for row in rows] == [False, False, True]
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_a_new_metric_keeps_the_old_rows(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    writer = MetricsFile(path)
    writer.write({"a": 1}, {})
    writer.write({"a": 2, "b": 3, "hidden": 4}, {"hidden": "csv"})
    writer.write({"b": 5}, {})
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}, {"a": "", "b": "5"}]


def test_exploitability_is_measured_when_asked() -> None:
    callback = ExploitabilityCallback(every=2, n_worlds=2, deviators_per_world=1)
    small(ALGORITHMS["omd"]).learn(5, callback=callback)
    assert [iteration for iteration, _ in callback.measured] == [2, 4]
    assert callback.measured[0][1].n_worlds == 2


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    trainer = small(ALGORITHMS["symm-pmd"])
    trainer.save(tmp_path / "run.npz")
    before = (tmp_path / "run.npz").read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(tmp_path / "run.npz")
    assert (tmp_path / "run.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_load_says_what_is_wrong_with_a_file(tmp_path) -> None:
    path = tmp_path / "run.npz"
    small(ALGORITHMS["omd"]).save(path)
    with pytest.raises(ValueError, match=r"holds a OnlineMirrorDescent, not a SymmPMD"):
        ALGORITHMS["symm-pmd"].load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"run\.npz is not a saved trainer"):
        ALGORITHMS["omd"].load(path)
    with pytest.raises(ValueError, match="absent"):
        ALGORITHMS["omd"].load(tmp_path / "absent.npz")


@dataclasses.dataclass(kw_only=True)
class Unregistered(Epidemic):
    """An epidemic that nobody registered."""


def test_an_unregistered_game_must_be_passed_to_load(tmp_path) -> None:
    game = Unregistered(n_agents=10, horizon=2)
    trainer = ALGORITHMS["omd"](game).learn(1)
    trainer.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="pass the game as game="):
        ALGORITHMS["omd"].load(tmp_path / "run.npz")
    assert_equal(ALGORITHMS["omd"].load(tmp_path / "run.npz", game=game), trainer)


def test_timesteps_may_be_written_as_1e6() -> None:
    assert small(ALGORITHMS["omd"]).learn(1e1).num_timesteps == 10
    with pytest.raises(TypeError, match=r"total_timesteps must be an integer >= 1, got 1\.5"):
        small(ALGORITHMS["omd"]).learn(1.5)


@pytest.mark.parametrize("argument", ["total_timesteps", "log_interval"])
def test_learn_refuses_numbers_below_one(argument: str) -> None:
    arguments = {"total_timesteps": 1, "log_interval": 1, argument: 0}
    with pytest.raises(ValueError, match=rf"{argument} must be an integer >= 1, got 0"):
        small(ALGORITHMS["omd"]).learn(**arguments)


@pytest.mark.parametrize("name", ["symm-pmd", "ipmd", "td"])
def test_algorithms_that_need_a_horizon_refuse_infinite_games(name: str) -> None:
    trainer = ALGORITHMS[name]
    message = rf"{trainer.__name__} needs a game that ends: make it with discount=1, got 0\.9"
    with pytest.raises(ValueError, match=message):
        trainer(make("Epidemic-v0", n_agents=20, horizon=3, discount=0.9))


@pytest.mark.parametrize("name", ["omd", "fictitious-play"])
def test_solvers_of_infinite_games_learn_stationary_policies_and_resume(name: str, tmp_path) -> None:
    trainer = ALGORITHMS[name]
    game = make("Epidemic-v0", n_agents=20, horizon=3, discount=0.9)
    whole, part = trainer(game).learn(5), trainer(game).learn(2)
    assert whole.policy.probabilities.shape == (1, 2, 2)
    part.save(tmp_path / "part.npz")
    resumed = trainer.load(tmp_path / "part.npz")
    assert resumed.game.discount == 0.9
    assert_equal(resumed.learn(3), whole)
    # The policy acts on what the game's agents observe: their state.
    actions, _ = whole.predict(np.eye(2)[[0, 1, 1]])
    assert actions.shape == (3,)


@trainers
def test_a_state_is_loaded_into_another_game_only_if_it_fits(trainer_class, tmp_path) -> None:
    path = tmp_path / "run.npz"
    trainer = small(trainer_class).learn(1)
    trainer.save(path)
    same = {"n_agents": 20, "horizon": 3, "discount": discount_of(trainer_class)}
    same_size = make("Epidemic-v0", **same, initial_infected=0.5)
    taken_over = trainer_class.load(path, game=same_size)
    assert taken_over.game == same_size
    assert (taken_over.iteration, taken_over.num_timesteps) == (trainer.iteration, trainer.num_timesteps)
    taken_over.learn(1)
    for other in (make("Epidemic-v0", **(same | {"horizon": 4})), make("RockPaperScissors-v0", **same)):
        is_longer_only = other.n_states == same_size.n_states
        if other.policy_shape == same_size.policy_shape or (is_longer_only and trainer_class is DeepMirrorDescent):
            continue  # Stationary policies and networks do not depend on the length of episodes.
        message = r"run\.npz is not a saved trainer of this \w+: [\w/.]+ must have shape"
        with pytest.raises(ValueError, match=message):
            trainer_class.load(path, game=other)
    for other in (make("Epidemic-v0", **(same | {"n_agents": 500})), "Epidemic-v0"):
        if trainer_class.__name__ in ("IPMD", "IndependentQ", "MFQ"):  # one table for each of 20 agents
            with pytest.raises(ValueError, match=r"\w+ must have shape \(\d+, .*\), got \(20, 3, 2"):
                trainer_class.load(path, game=other)
    other = make("Epidemic-v0", n_agents=20, horizon=3, discount=0.9 if same["discount"] == 1.0 else 1.0)
    message = r"needs a game that ends|needs a game with an infinite horizon|must have shape \(.*\), got"
    with pytest.raises(ValueError, match=message):
        trainer_class.load(path, game=other)
    with pytest.raises(TypeError, match="a game must be a registered name or a Game, got 3"):
        trainer_class.load(path, game=3)


@dataclasses.dataclass(kw_only=True)
class Unwritable(Epidemic):
    """An epidemic with a constant that JSON cannot hold."""

    strain: object = dataclasses.field(default_factory=object)


def test_a_game_that_no_file_can_hold_is_passed_to_load(tmp_path, monkeypatch) -> None:
    game = Unwritable(n_agents=10, horizon=2)
    trainer = ALGORITHMS["omd"](game).learn(1)
    trainer.save(tmp_path / "run.npz")
    monkeypatch.setattr("baselines.trainer.registered_games", lambda: {"Unwritable-v0": Unwritable})
    monkeypatch.setattr("baselines.trainer.name_of", lambda _: "Unwritable-v0")
    trainer.save(tmp_path / "named.npz")
    with pytest.raises(
        ValueError, match=r"named\.npz does not hold the constants of its game, Unwritable-v0: pass"
    ):
        ALGORITHMS["omd"].load(tmp_path / "named.npz")
    assert_equal(ALGORITHMS["omd"].load(tmp_path / "named.npz", game=game), trainer)


@pytest.mark.parametrize("callback", [True, 3, "x", [True], [lambda *_: True], ({},), {}])
def test_what_is_no_callback_is_refused(callback) -> None:
    trainer = small(ALGORITHMS["omd"])
    with pytest.raises(TypeError, match=r"callback(\[0\])? must be (None, )?a BaseCallback"):
        trainer.learn(1, callback=callback)
    assert trainer.iteration == 0


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda t: t.learn(1, progress_bar="no"), "progress_bar must be True or False, got 'no'"),
        (lambda t: t.learn("1"), "total_timesteps must be an integer >= 1, got '1'"),
        (lambda t: t.learn(None), "total_timesteps must be an integer >= 1, got None"),
        (lambda t: t.learn(float("nan")), "total_timesteps must be an integer >= 1, got nan"),
        (lambda t: t.learn(1, log_interval=1.5), r"log_interval must be an integer >= 1, got 1\.5"),
        (lambda t: t.set_logger("csv"), "logger must be a Logger of stable_baselines3, got 'csv'"),
        (lambda t: t.save(True), "path must be a string or a Path, got True"),
        (lambda t: t.load(None), "path must be a string or a Path, got None"),
        (lambda t: type(t)(t.game, {"learning_rate": 1}), "config must be a MirrorDescentConfig, got {"),
        (lambda t: type(t)("Taxi-v0"), "OnlineMirrorDescent needs a finite game, got Taxi"),
        (lambda t: t.run(1.5), r"n_iterations must be an integer >= 0, got 1\.5"),
    ],
)
def test_wrong_arguments_are_named(use, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        use(small(ALGORITHMS["omd"]))


def test_timesteps_may_be_floats_of_numpy() -> None:
    assert small(ALGORITHMS["omd"]).learn(np.float32(3)).num_timesteps == 3


@trainers
def test_a_state_that_is_not_as_specified_is_not_saved(trainer_class, tmp_path, monkeypatch) -> None:
    trainer = small(trainer_class)
    whole = trainer._state()
    name = next(iter(whole))
    monkeypatch.setattr(trainer, "_state", lambda: {**whole, "forgotten": np.zeros(1)})
    with pytest.raises(TypeError, match=r"must specify \[.*'forgotten'.*\], got \["):
        trainer.save(tmp_path / "run.npz")
    monkeypatch.setattr(trainer, "_state", lambda: {**whole, name: np.zeros((1, 9), whole[name].dtype)})
    with pytest.raises(ValueError, match=rf"{name} must have shape \(.*\), got \(1, 9\)"):
        trainer.save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_an_iteration_that_is_interrupted_is_undone(monkeypatch) -> None:
    trainer = small(ALGORITHMS["symm-pmd"]).learn(1)
    before = learned(trainer)

    def interrupt(policy):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer._induced, "exploitability", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.learn(1)
    assert all(np.array_equal(array, before[name]) for name, array in learned(trainer).items())


def test_nothing_is_made_for_a_file_that_promises_a_long_game(tmp_path, monkeypatch) -> None:
    path = tmp_path / "run.npz"
    small(ALGORITHMS["omd"]).save(path)
    with np.load(path) as file:
        members = dict(file)
    header = members["header"].tobytes().replace(b'"horizon": 3', b'"horizon": 2000000000')
    np.savez(path, **{**members, "header": np.frombuffer(header, np.uint8)})
    monkeypatch.setattr(ALGORITHMS["omd"], "_set_up", lambda _: pytest.fail("made a trainer"))
    with pytest.raises(ValueError, match=r"law must have shape \(2000000000, 2, 2\), got \(3, 2, 2\)"):
        ALGORITHMS["omd"].load(path)


@pytest.mark.parametrize("name", ["independent-q", "mf-q"])
def test_weights_in_a_file_are_those_of_the_values(name: str, tmp_path) -> None:
    path = tmp_path / "run.npz"
    trainer = small(ALGORITHMS[name]).learn(1)
    trainer.save(path)
    with np.load(path) as file:
        members = dict(file)
    for changed, message in (
        ({"q": members["q"] + 0.1}, r"weights must be exp\(c \(q - level\)\)"),
        ({"weights": members["weights"] * 1.001}, r"weights must be exp\(c \(q - level\)\)"),
        (
            {"weights": members["weights"] * 0.0, "levels": members["levels"] + 1e3},
            "weights must be at least 1e-30",
        ),
    ):
        np.savez(path, **{**members, **changed})
        with pytest.raises(ValueError, match=rf"run\.npz is not a saved trainer: {message}"):
            ALGORITHMS[name].load(path)


@pytest.mark.parametrize("name", ["independent-q", "mf-q"])
def test_independent_learners_count_an_iteration_after_which_they_are_interrupted(name: str, monkeypatch) -> None:
    """Ctrl-C is noticed when the compiled code has returned."""
    whole, trainer = small(ALGORITHMS[name]), small(ALGORITHMS[name])
    step = whole.timesteps_per_iteration
    kernel = trainer._kernel

    def then_interrupted(*arguments):
        kernel(*arguments)
        raise KeyboardInterrupt

    trainer._kernel = then_interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.learn(1)
    trainer._kernel = kernel
    assert_equal(trainer.learn(step), whole.learn(2 * step))
    monkeypatch.setattr(trainer, "_kernel", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trainer.learn(1)
    assert_equal(trainer, whole)
