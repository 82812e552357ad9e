"""The command line, through its entry point and as a process."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.cli.main import main
from baselines.logging import MetricsFile
from baselines.run_folders import locked
from baselines.runs import save_results

SMALL = ["--game.n-agents", "30", "--game.horizon", "3", "--no-progress"]


def train(folder: Path, *flags: str, algorithm: str = "symm-pmd") -> int:
    return main(["train", algorithm, "Epidemic-v0", "--folder", str(folder), *SMALL, *flags])


def iterations(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["time/iterations"] for row in csv.DictReader(file)]


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
    monkeypatch.setattr("baselines.cli.train.save_results", dying(save_results, [4]))
    with pytest.raises(SystemError, match="killed"):
        train(tmp_path / "killed", "--total-timesteps", str(4 * 1800), "--tensorboard")
    monkeypatch.undo()
    with (tmp_path / "killed" / "metrics.csv").open("a") as file:
        file.write("99,178200" + ",0" * 5 + "\r\n")  # a row that was written after the last save
    assert train(tmp_path / "killed", "--total-timesteps", str(2 * 1800), "--resume", "--tensorboard") == 0
    events = EventAccumulator(str(tmp_path / "killed")).Reload().Scalars("train/return")
    assert [event.step for event in events] == [1800, 2 * 1800, 3 * 1800, 4 * 1800]
    found = []
    for name in ("whole", "killed"):
        with np.load(tmp_path / name / "policy.npz") as arrays:
            found.append(arrays["probabilities"])
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            assert [row["time/iterations"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert np.array_equal(*found)


@pytest.mark.parametrize(("algorithm", "flags"), [("omd", []), ("ppo", ["--device", "cpu", "--hidden", "4"])])
def test_wherever_a_run_dies_no_row_is_lost_and_none_is_doubled(algorithm, flags, tmp_path, monkeypatch) -> None:
    """Of three iterations: a save before all and one before each, a row of each, a save after all."""
    step = 1 if algorithm == "omd" else 90
    for n_writes in range(1, 8):
        folder = tmp_path / str(n_writes)
        with monkeypatch.context() as patch:
            left = [n_writes]
            patch.setattr("baselines.cli.train.SECONDS_BETWEEN_SAVES", 0.0)
            patch.setattr("baselines.cli.train.save_results", dying(save_results, left))
            patch.setattr("baselines.logging.MetricsFile.write", dying(MetricsFile.write, left))
            with pytest.raises(SystemError, match="killed"):
                train(folder, "--total-timesteps", str(3 * step), *flags, algorithm=algorithm)
        assert train(folder, "--resume", algorithm=algorithm) == 0
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["time/total_timesteps"] for row in rows] == [str(i * step) for i in (1, 2, 3)]


def dying(function: Callable, left: list[int]) -> Callable:
    """The function, and death in its place when as many such calls as are left have been made."""

    def call(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise SystemError("killed")
        return function(*arguments)

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "omd", "Epidemic-v0"], "holds a run of symm-pmd on Epidemic-v0, not omd on Epidemic-v0"),
        (["train", "symm-pmd", "RockPaperScissors-v0"], "not symm-pmd on RockPaperScissors-v0"),
        (
            ["train", "symm-pmd", "Epidemic-v0", "--temperature", "0.5"],
            "a resumed run keeps its hyper-parameters: temperature = ",
        ),
        (
            ["train", "symm-pmd", "Epidemic-v0", "--game.n-agents", "31"],
            "a resumed run keeps its game: n_agents = ",
        ),
    ],
)
def test_resume_takes_no_other_settings(words: list[str], message: str, tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1")
    before = (tmp_path / "policy.npz").read_bytes()
    assert main([*words, "--resume", "--folder", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "policy.npz").read_bytes() == before


@pytest.mark.slow
def test_a_market_of_own_members_is_resumed(tmp_path, capfd) -> None:
    members, folder = tmp_path / "members.csv", str(tmp_path / "run")
    members.write_text("type,annual_load_kwh\nconsumer,3000\nconsumer,3500\n")
    words = ["train", "ppo", "EnergyMarket-v1", "--total-timesteps", "1", "--folder", folder]
    assert main([*words, "--game.members", str(members), "--game.actions", "discrete"]) == 0
    members.unlink()
    assert main([*words, "--resume", "--game.n-days", "0"]) == 0
    assert capfd.readouterr().err == ""
    assert main([*words, "--resume", "--game.n-days", "3"]) == 2
    assert capfd.readouterr().err == "mfenvs train: error: a resumed run keeps its game: n_days = 0, got 3\n"


def test_a_finished_run_is_not_overwritten(tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "1")
    before = (tmp_path / "policy.npz").read_bytes()
    assert train(tmp_path, "--total-timesteps", "1", "--seed", "9") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "policy.npz").read_bytes() == before


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_finished_run_is_not_trained_further_unless_asked(tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "3", algorithm="omd")
    before = content(tmp_path)
    capsys.readouterr()
    assert train(tmp_path, "--resume", algorithm="omd") == 0
    shown = capsys.readouterr().out
    assert "finished before: 3 iterations, 3 timesteps, in " in shown
    assert "--total-timesteps trains it further" in shown
    assert content(tmp_path) == before
    assert train(tmp_path, "--resume", "--total-timesteps", "2", algorithm="omd") == 0
    assert "done: 5 iterations, 5 timesteps" in capsys.readouterr().out
    assert iterations(tmp_path) == ["1", "2", "3", "4", "5"]
    assert json.loads((tmp_path / "config.json").read_text())["total_timesteps"] == 5


def test_rows_that_a_full_disk_cut_off_are_reported(tmp_path, capsys) -> None:
    train(tmp_path, "--total-timesteps", "3", algorithm="omd")
    metrics = tmp_path / "metrics.csv"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    assert train(tmp_path, "--resume", "--total-timesteps", "1", algorithm="omd") == 0
    assert "metrics.csv was damaged: it has lost 1 of the rows so far" in capsys.readouterr().err
    assert iterations(tmp_path) == ["1", "2", "4"]


@pytest.mark.parametrize(
    "flag", ["--total-timesteps=0", "--total-timesteps=-5", "--evaluate-every=-1", "--seed=-1"]
)
def test_what_is_refused_leaves_no_folder(flag, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([], ["--folder", "run"]):
        try:
            status = main(["train", "omd", "Epidemic-v0", *SMALL, flag, *words])
        except SystemExit as stopped:
            status = stopped.code
        assert status == 2
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_begin_leaves_no_files_of_a_run(tmp_path, monkeypatch, capsys) -> None:
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("baselines.cli.train.write_config", fail)
    assert train(tmp_path / "run", "--total-timesteps", "1") == 2
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(tmp_path / "run", "--total-timesteps", "1") == 0


MISTAKEN = """
import dataclasses
import numpy as np
import mfenvs
from mfenvs import FiniteGame, rule

@dataclasses.dataclass(kw_only=True)
class Mistaken(FiniteGame):
    n_agents: int = 3
    horizon: int = 2
    agent_dtype = mfenvs.game.NO_PARAMETERS
    n_states = 2
    n_actions = 2

    @staticmethod
    @rule
    def transition(next_state, state, action, agent, world):
        return 1.0 if next_state == action else 0.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return {returned}

mfenvs.register("Mistaken-v0", Mistaken)
"""


def test_a_run_whose_first_iteration_fails_can_be_begun_again(tmp_path) -> None:
    """As of rules that do not compile: they do so when they are first called."""
    words = ["train", "ppo", "mistaken_rules:Mistaken-v0", "--total-timesteps", "6", "--folder", "run"]
    for returned, status in (("1.0, 2.0", 2), ("1.0", 0)):
        (tmp_path / "mistaken_rules.py").write_text(MISTAKEN.format(returned=returned))
        run = subprocess.run(
            [sys.executable, "-m", "mfenvs", *words, "--no-progress"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == status, run.stderr
        assert (tmp_path / "run" / "config.json").exists() is (status == 0)
        assert ("Mistaken.reward must return a number, got UniTuple(float64 x 2)" in run.stderr) is (status == 2)


def test_a_folder_that_another_run_holds_is_refused(tmp_path, capsys) -> None:
    train(tmp_path / "run", "--total-timesteps", "1", algorithm="omd")
    before = content(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert train(tmp_path / "run", "--total-timesteps", "1", "--resume", algorithm="omd") == 2
    with locked(tmp_path / "new"):
        assert train(tmp_path / "new", "--total-timesteps", "1", algorithm="omd") == 2
    assert capsys.readouterr().err.count("belongs to a run that is going on") == 2
    assert content(tmp_path / "run") == before
    assert list(content(tmp_path / "new")) == [".lock"]


def test_training_leaves_no_thread(tmp_path) -> None:
    before = threading.active_count()
    assert train(tmp_path, "--total-timesteps", "1", "--tensorboard") == 0
    assert list(tmp_path.glob("events.out.tfevents*"))
    assert threading.active_count() == before


def test_what_was_measured_is_explained(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    train(tmp_path, "--total-timesteps", "1")
    last = capsys.readouterr().out.partition("last iteration:\n")[2]
    assert max(map(len, last.splitlines())) <= 60
    told = " ".join(last.split())
    assert re.search(r"train/return -\d\S+ mean return of an agent while learning", told)
    assert re.search(r"eval/mean_field_exploitability \d\S+ exploitability, exact in the mean-field game", told)
    assert "The mean return may fall while learning succeeds" in told


@pytest.mark.slow
def test_runs_that_start_together_have_folders_of_their_own(tmp_path) -> None:
    words = ["train", "omd", "Epidemic-v0", *SMALL, "--total-timesteps", "20"]
    starts = [[*words, "--seed", str(seed), *folder] for folder in ([], ["--folder", "same"]) for seed in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "baselines.cli", *start],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        for start in starts
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes[:3]] == [0, 0, 0], outputs
    folders = list((tmp_path / "runs").iterdir())
    seeds = [json.loads((folder / "config.json").read_text())["seed"] for folder in folders]
    assert sorted(seeds) == [0, 1, 2]
    assert sorted(process.returncode for process in processes[3:]) == [0, 2, 2], outputs
    refused = [err for (_, err), process in zip(outputs, processes, strict=True) if process.returncode]
    assert all("belongs to a run" in err or "already holds a run" in err for err in refused)
    for folder in (*folders, tmp_path / "same"):
        assert iterations(folder) == [str(i) for i in range(1, 21)]


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


@pytest.mark.parametrize("observe", ["one-hot-identity", "integer-identity", "own-parameters", "mean-field"])
def test_evaluate_bounds_exploitability_of_networks_that_see_who_they_are(observe: str, tmp_path, capsys) -> None:
    """Such a network is a table for each agent; one that sees the others is none."""
    train(tmp_path, "--total-timesteps", "1", "--hidden", "4", "--observe", observe, algorithm="ppo")
    assert main(["evaluate", str(tmp_path), "--n-worlds", "4", "--deviators-per-world", "2"]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert np.isfinite(found["return"])
    assert ("max_lower_bound" in found) == ("max_i E_i" in capsys.readouterr().out) == (observe != "mean-field")


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
        (["train", "omd", "Epidemic-v0", "--total-timesteps", "0"], "total_timesteps must be an integer in [1,"),
        (["train", "ppo", "Epidemic-v0", "--device", "nonsense"], "device must be"),
        (["train", "ppo", "Epidemic-v0", "--device", "meta"], "device must be"),
        (["train", "omd", "no_such_module:Beach-v0"], "no module 'no_such_module' in"),
        (["train", "omd", "beach.py:Beach-v0"], "no module 'beach.py' in"),
        (["train", "omd", "../beach:Beach-v0"], "a module is named as Python imports it"),
        (["train", "omd", ":Beach-v0"], "a module is named as Python imports it"),
        (["train", "omd", "json:Beach-v0"], "unknown game 'Beach-v0'"),
        (["render", "run", "--seed", "-1"], "seed must be an integer in [0,"),
        (["evaluate", "run", "--n-worlds", "1"], "n_worlds must be an integer >= 2, got 1"),
        (["evaluate", "run", "--deviators-per-world", "0"], "deviators_per_world must be an integer >= 1"),
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


def started(folder: Path) -> "subprocess.Popen[str]":
    """A process that trains, with the first rows of its metrics written."""
    words = ["train", "omd", "Epidemic-v0", "--folder", str(folder), *SMALL, "--total-timesteps", "100000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "baselines.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    metrics = folder / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size > 500):
        assert time.monotonic() < deadline, "training did not begin"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_what_there_is_is_saved_when_a_process_is_asked_to_end(tmp_path, asked) -> None:
    process = started(tmp_path / "run")
    process.send_signal(asked)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; saved what there is" in out
    with np.load(tmp_path / "run" / "policy.npz") as arrays:
        assert arrays["probabilities"].shape == (3, 2, 2)
    assert (tmp_path / "run" / "checkpoint.npz").exists()


def test_a_command_that_is_terminated_ends_as_by_ctrl_c(monkeypatch) -> None:
    def run(words: list[str]) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    def ignore(number: int, frame: object) -> None:
        """Outlive the signal, should the command not handle it."""

    monkeypatch.setattr("baselines.cli.list.run", run)
    before = signal.signal(signal.SIGTERM, ignore)
    try:
        assert main(["list"]) == 130
        assert signal.getsignal(signal.SIGTERM) is ignore
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_process_that_was_killed_leaves_a_run_that_can_be_continued(tmp_path, capsys) -> None:
    process = started(tmp_path)
    resume = ["--resume", "--total-timesteps", "3"]
    assert train(tmp_path, *resume, algorithm="omd") == 2
    assert "belongs to a run that is going on" in capsys.readouterr().err
    process.kill()
    process.communicate()
    assert train(tmp_path, *resume, algorithm="omd") == 0
    assert iterations(tmp_path) == ["1", "2", "3"]
