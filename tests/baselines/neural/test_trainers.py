"""Neural trainers from the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from baselines import PPO
from baselines.callbacks import EvaluationCallback
from baselines.cli.main import main
from baselines.neural.config import PPOConfig
from baselines.neural.hyper_parameters import TABLE_2
from baselines.neural.trainers import PPOTrainer
from baselines.runs import read_run, save_results
from mfenvs import make

SMALL = ["--game.n-agents", "20", "--game.horizon", "8", "--no-progress", "--device", "cpu", "--hidden", "8"]
PER_UPDATE = 160


def train(folder: Path, *flags: str, algorithm: str = "ppo", game: str = "Taxi-v0") -> int:
    return main(["train", algorithm, game, "--folder", str(folder), *SMALL, *flags])


def parameters(folder: Path) -> list[np.ndarray]:
    return [p.detach().numpy() for p in read_run(folder)[1].policy.parameters()]


def test_defaults_are_the_papers() -> None:
    found = PPOConfig().hyper_parameters()
    assert found.pop("seed") == 0
    assert found.pop("device") == "auto"
    assert found.pop("n_steps") is None
    assert {name: found.pop("learning_rate")(x) for name, x in (("half", 0.5),)} == {"half": 1.25e-4}
    assert found == {name: TABLE_2[name] for name in found}
    assert set(TABLE_2) - set(found) == {"learning_rate", "normalize_advantage", "gamma"}


@pytest.mark.parametrize("algorithm", ["ppo", "ind-ppo"])
def test_train_evaluate_render(algorithm, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    flags = ("--total-timesteps", str(3 * PER_UPDATE - 1), "--evaluate-every", "2", "--seed", "4")
    assert train(run, *flags, algorithm=algorithm) == 0
    assert "done: 3 iterations, 480 timesteps" in capsys.readouterr().out
    config = json.loads((run / "config.json").read_text())
    assert config["algorithm"] == algorithm
    assert config["constants"]["city"] == ["111", "111", "111", "HSH", "222", "222", "222"]
    assert config["hyper_parameters"]["hidden"] == [8]
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["time/total_timesteps"] for row in rows] == ["160", "320", "480"]
    assert [bool(row["eval/return"]) for row in rows] == [False, True, False]
    assert all(row["train/n_updates"] for row in rows)
    assert main(["evaluate", str(run), "--n-worlds", "2", "--best-response-timesteps", "100"]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert found["share_zone_1"] + found["share_zone_2"] <= 1.0
    assert {"return", "return_95", "mean_lower_bound", "mean_lower_bound_95"} <= found.keys()
    assert "mean_i E_i >=" in capsys.readouterr().out
    assert main(["render", str(run)]) == 0
    assert "Taxi-v0, 20 agents, time 8 of 8" in capsys.readouterr().out
    assert (run / "episode.png").exists()


def test_resume_ends_where_an_uninterrupted_run_does(tmp_path) -> None:
    constant = ("--schedule", "constant", "--observe", "mean-field", "own-parameters")
    train(tmp_path / "whole", "--total-timesteps", str(4 * PER_UPDATE), *constant)
    train(tmp_path / "parts", "--total-timesteps", str(PER_UPDATE), *constant)
    assert train(tmp_path / "parts", "--total-timesteps", str(3 * PER_UPDATE), "--resume") == 0
    whole, parts = parameters(tmp_path / "whole"), parameters(tmp_path / "parts")
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    for name in ("whole", "parts"):
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            assert [row["time/total_timesteps"] for row in csv.DictReader(file)] == ["160", "320", "480", "640"]


def test_a_progress_bar_is_shown_by_default(tmp_path, capsys) -> None:
    flags = [flag for flag in SMALL if flag != "--no-progress"]
    assert main(["train", "ppo", "Taxi-v0", "--folder", str(tmp_path), *flags, "--total-timesteps", "1"]) == 0
    assert "160/160" in capsys.readouterr().out


def test_a_resumed_run_does_what_is_left(tmp_path, capsys, monkeypatch) -> None:
    """Killed after its first update of four: a save later it dies."""
    monkeypatch.setattr("baselines.cli.train.SECONDS_BETWEEN_SAVES", 0.0)
    saves = iter([True, True, True])

    def dying(folder, trainer):
        if next(saves, None) is None or trainer.num_timesteps > PER_UPDATE:
            raise SystemError("killed")
        save_results(folder, trainer)

    monkeypatch.setattr("baselines.cli.train.save_results", dying)
    with pytest.raises(SystemError, match="killed"):
        train(tmp_path / "run", "--total-timesteps", str(4 * PER_UPDATE))
    monkeypatch.undo()
    assert train(tmp_path / "run", "--resume") == 0
    assert "done: 4 iterations, 640 timesteps" in capsys.readouterr().out
    train(tmp_path / "whole", "--total-timesteps", str(4 * PER_UPDATE))
    killed, whole = parameters(tmp_path / "run"), parameters(tmp_path / "whole")
    assert all(np.array_equal(a, b) for a, b in zip(killed, whole, strict=True))


def test_a_resumed_run_keeps_what_it_has(tmp_path, capsys) -> None:
    train(tmp_path / "run", "--total-timesteps", "1")
    assert train(tmp_path / "run", "--total-timesteps", "1", "--resume", "--gamma", "0.5") == 2
    assert "a resumed run keeps its hyper-parameters" in capsys.readouterr().err


def test_a_finite_game_is_evaluated_by_its_table(tmp_path, capsys) -> None:
    assert train(tmp_path / "run", "--total-timesteps", "1", game="Epidemic-v0") == 0
    assert main(["evaluate", str(tmp_path / "run"), "--n-worlds", "4", "--deviators-per-world", "2"]) == 0
    assert "mean-field exploitability" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--observe", "everything"), "observe must be among one-hot-identity"),
        (("--gamma", "1.5"), "gamma must be a finite number in [0, 1], got 1.5"),
        (
            ("--device", "nonsense"),
            "device must be 'auto', 'cpu', 'cuda', 'cuda:1', ... or a torch.device, got 'non",
        ),
        (("--batch-size", "1"), "batch_size must be an integer >= 2, got 1"),
        (("--game.city", "111", "2"), "city must be rectangular"),
    ],
)
def test_bad_flags_name_the_argument(flags, message, tmp_path, capsys) -> None:
    status = 0
    try:
        status = train(tmp_path / "run", *flags)
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_broken_checkpoint_is_refused(tmp_path) -> None:
    (tmp_path / "checkpoint.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint.zip is not a saved PPO"):
        PPOTrainer.load(tmp_path / "checkpoint.zip", make("Taxi-v0", n_agents=4), PPOConfig())


def test_evaluations_are_of_the_network_at_that_time() -> None:
    callback = EvaluationCallback(2, n_worlds=2)
    model = PPO("MlpPolicy", make("Taxi-v0", n_agents=5, horizon=4), device="cpu", seed=0)
    model.learn(5 * 20, callback=[callback])
    assert [done for done, _ in callback.measured] == [2, 4]
    assert all(found.returns.shape == (2, 5) for _, found in callback.measured)


def test_an_infinite_game_is_trained_with_its_discount() -> None:
    game = make("Auction-v0", n_agents=6, n_budgets=3, n_bids=3, n_bidders=2, horizon=4, discount=0.7)
    assert PPO("MlpPolicy", game, device="cpu").gamma == 0.7
    assert PPOTrainer(game, PPOConfig(device="cpu")).model.gamma == 0.7
    assert PPOTrainer(game, PPOConfig(device="cpu", gamma=0.9)).model.gamma == 0.9
    assert PPOTrainer(make("Epidemic-v0", n_agents=6), PPOConfig(device="cpu")).model.gamma == 0.999
