"""The command line, through its entry point and as a process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baselines.cli.main import main
from baselines.runs import save_results

SMALL = ["--game.n-agents", "30", "--game.horizon", "3", "--no-progress"]


def train(folder: Path, *flags: str, algorithm: str = "symm-pmd") -> int:
    return main(["train", algorithm, "Epidemic-v0", "--folder", str(folder), *SMALL, *flags])


def test_list_is_made_from_the_live_games(capsys) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "mfenvs/Epidemic-v0" in shown
    assert "mfenvs/RockPaperScissors-v0" in shown
    assert "2000" in shown


def test_train_leaves_a_run_folder(tmp_path, capsys) -> None:
    assert train(tmp_path / "run", "--total-timesteps", "3600", "--seed", "5", "--evaluate-every", "2") == 0
    assert "done: 2 iterations, 3600 timesteps" in capsys.readouterr().out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["algorithm"] == "symm-pmd"
    assert config["game"] == "Epidemic-v0"
    assert config["constants"]["n_agents"] == 30
    assert config["hyper_parameters"]["seed"] == config["seed"] == 5
    assert {"python", "mfenvs", "numba", "numpy"} <= config["versions"].keys()
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert [bool(row["eval/exploitability_max"]) for row in rows] == [False, True]
    with np.load(tmp_path / "run" / "policy.npz") as arrays:
        assert arrays["probabilities"].shape == (3, 2, 2)


def test_resume_ends_where_an_uninterrupted_run_does(tmp_path) -> None:
    train(tmp_path / "whole", "--total-timesteps", str(4 * 1800))
    train(tmp_path / "parts", "--total-timesteps", str(1 * 1800))
    train(tmp_path / "parts", "--total-timesteps", str(3 * 1800), "--resume")
    tables = []
    for name in ("whole", "parts"):
        with np.load(tmp_path / name / "policy.npz") as arrays:
            tables.append(arrays["probabilities"])
        with (tmp_path / name / "metrics.csv").open() as file:
            assert len(file.readlines()) == 5
    assert np.array_equal(*tables)


def test_a_run_that_was_killed_goes_on_from_its_last_save(tmp_path, monkeypatch) -> None:
    train(tmp_path / "whole", "--total-timesteps", str(4 * 1800))
    monkeypatch.setattr("baselines.cli.train.SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr("baselines.cli.train.save_results", dying_after(4))
    with pytest.raises(SystemError, match="killed"):
        train(tmp_path / "killed", "--total-timesteps", str(4 * 1800))
    monkeypatch.undo()
    with (tmp_path / "killed" / "metrics.csv").open("a") as file:
        file.write("99,178200" + ",0" * 5 + "\r\n")  # a row that was written after the last save
    assert train(tmp_path / "killed", "--total-timesteps", str(2 * 1800), "--resume") == 0
    found = []
    for name in ("whole", "killed"):
        with np.load(tmp_path / name / "policy.npz") as arrays:
            found.append(arrays["probabilities"])
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            assert [row["time/iterations"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert np.array_equal(*found)


def dying_after(n_saves: int) -> Callable:
    """Save so many times (before training, and before each iteration), then die without saving."""
    left = [n_saves]

    def save(folder, trainer):
        left[0] -= 1
        if left[0] < 0:
            raise SystemError("killed")
        save_results(folder, trainer)

    return save


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "omd", "Epidemic-v0"], "holds a run of symm-pmd on Epidemic-v0, not omd on Epidemic-v0"),
        (["train", "symm-pmd", "RockPaperScissors-v0"], "not symm-pmd on RockPaperScissors-v0"),
        (["train", "symm-pmd", "Epidemic-v0", "--temperature", "0.5"], "a resumed run keeps its hyper-parameters"),
        (["train", "symm-pmd", "Epidemic-v0", "--game.n-agents", "31"], "a resumed run keeps its game"),
    ],
)
def test_resume_takes_no_other_settings(words: list[str], message: str, tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1")
    before = (tmp_path / "policy.npz").read_bytes()
    assert main([*words, "--resume", "--folder", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "policy.npz").read_bytes() == before


def test_a_finished_run_is_not_overwritten(tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1")
    before = (tmp_path / "policy.npz").read_bytes()
    assert train(tmp_path, "--total-timesteps", "1", "--seed", "9") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "policy.npz").read_bytes() == before


@pytest.mark.parametrize("algorithm", ["symm-pmd", "ipmd", "omd"])
def test_evaluate_prints_and_writes_what_it_found(algorithm: str, tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1", algorithm=algorithm)
    assert main(["evaluate", str(tmp_path), "--n-worlds", "4", "--deviators-per-world", "2"]) == 0
    assert "max_i E_i" in capsys.readouterr().out
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["n_worlds"] == 4
    assert found["max"] >= found["mean"] > 0
    assert found["max_lower_bound_95"][0] <= found["max_lower_bound"] <= found["max_lower_bound_95"][1]
    assert ("mean_field_exploitability" in found) == (algorithm != "ipmd")


def test_render_shows_an_episode(tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1")
    assert main(["render", str(tmp_path)]) == 0
    assert "infected" in capsys.readouterr().out
    assert (tmp_path / "episode.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nothing", "Epidemic-v0"], "unknown algorithm 'nothing'"),
        (["train", "omd", "Epidemik-v0"], "unknown game 'Epidemik-v0' (did you mean 'Epidemic-v0'?)"),
        (["evaluate", "no/such/run"], "cannot read no/such/run/config.json"),
        (["evaluate"], "name a run folder"),
        (["fly"], "unknown command 'fly'"),
        (["train", "omd", "Epidemic-v0", "--resume"], "--resume needs --folder"),
        (["train", "omd", "Epidemic-v0", "--folder", "/dev/null/x"], "/dev/null"),
        (["train", "omd", "Epidemic-v0", "--evaluate-every", "-1"], "evaluate_every must be an integer >= 0"),
        (["train", "omd", "Epidemic-v0", "--game.horizon", "0"], "horizon must be an integer >= 1, got 0"),
        (["train", "omd", "Epidemic-v0", "--game.n-agents", "1"], "n_agents must be an integer in [2,"),
        (["train", "omd", "Epidemic-v0", "--learning-rate", "-1"], "learning_rate must be"),
    ],
)
def test_errors_name_what_is_wrong(words: list[str], message: str, capsys) -> None:
    try:
        status = main(words)
    except SystemExit as stopped:  # tyro reports what a constant's own check refuses, and leaves.
        status = stopped.code
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_help_is_no_error(capsys) -> None:
    assert main(["--help"]) == 0
    assert main(["train", "--help"]) == 0
    for command in ("evaluate", "render"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
    with pytest.raises(SystemExit) as stopped:
        main(["train", "symm-pmd", "Epidemic-v0", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "--temperature" in shown
    assert "--game.susceptibility" in shown
    assert "Entropy regularisation tau" in shown  # the field's docstring


def test_ctrl_c_saves_what_there_is(tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "baselines.cli",
        "train",
        "omd",
        "Epidemic-v0",
        "--folder",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        [*command, *SMALL, "--total-timesteps", "100000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size > 500):
        assert time.monotonic() < deadline, "training did not begin"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; saved what there is" in out
    with np.load(tmp_path / "run" / "policy.npz") as arrays:
        assert arrays["probabilities"].shape == (3, 2, 2)
    assert (tmp_path / "run" / "checkpoint.npz").exists()
