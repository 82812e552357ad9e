"""The reproduction of A-Taxi's figures and the study of its unpublished choices, on small cases."""

import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.reproduce import taxi, taxi_figure, taxi_study, taxi_table, taxi_yardsticks
from benchmarks.reproduce import taxi_training as training
from benchmarks.reproduce.taxi_study import CELLS, Study, chosen_cells
from benchmarks.reproduce.taxi_training import Job, ScaledIdentity, Setting
from benchmarks.reproduce.taxi_variants import VARIANTS
from mfenvs import vec_env

TAXI = ["reproduce", "taxi", "--n-agents", "12", "--epochs", "3", "--jobs", "1"]


@pytest.fixture
def short_taxi(monkeypatch) -> None:
    """The short preset with little to evaluate."""
    preset = taxi.Preset(
        n_epochs=3,
        n_seeds=1,
        n_deviating_seeds=1,
        best_response_timesteps=200,
        deviators=2,
        evaluation_worlds=2,
        paired_worlds=2,
        planning_worlds=2,
        n_alone=2,
    )
    monkeypatch.setitem(taxi.PRESETS, "short", preset)


@pytest.mark.slow
def test_the_taxis_reproduction_writes_results_and_figure(short_taxi, tmp_path, capsys) -> None:
    out, checkpoints = tmp_path / "out", tmp_path / "checkpoints"
    arguments = [*TAXI, "--out", str(out), "--checkpoints", str(checkpoints)]
    assert main(arguments) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["complete"] is True
    assert [run["variant"] for run in results["runs"]] == list(VARIANTS)
    for run in results["runs"]:
        assert len(run["curve"]) == 3
        assert all(0.0 <= row["zone_1"] <= 1.0 and row["reward_10"] <= row["reward_90"] for row in run["curve"])
        assert run["final"]["n_worlds"] == 2
        assert ("exploitability_lower_bound" in run) is (run["variant"] != "Ind-NN")
        assert run["exploitability_by_planning"]["exact"] is True
    alone, rule = results["yardsticks"]["alone_without_jams"], results["yardsticks"]["dispatcher"]
    assert 30.0 < alone["value"] < 40.0
    assert rule["return"] > max(run["final"]["return"] for run in results["runs"])
    assert (out / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "A-Taxi, 12 taxis" in capsys.readouterr().out
    table = (out / "learning.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [f"| {name}" for name in VARIANTS]
    # Nothing is trained unasked.
    assert main([*arguments, "--no-train", "--seeds", "2"]) == 0
    assert json.loads((out / "results.json").read_text())["complete"] is False
    assert not list(checkpoints.glob("*seed-1"))
    # Another setting has runs of its own.
    kept = {path: path.read_bytes() for path in checkpoints.rglob("curve.json")}
    assert main([*arguments, "--variants", "ID-NN", "--setting", "fitted"]) == 0
    fitted = json.loads((out / "results.json").read_text())
    assert fitted["constants"] == {"jam": 7.5}
    [usual] = [run for run in results["runs"] if run["variant"] == "ID-NN"]
    assert fitted["runs"][0]["curve"] != usual["curve"]
    assert fitted["yardsticks"]["dispatcher"]["return"] > rule["return"]
    assert {path: path.read_bytes() for path in kept} == kept
    # What is complete is not done again.
    before = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*.json")}
    assert main([*arguments, "--variants", "Symm-NN"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*.json")}


def run_of(name, seed, reward, share, n_epochs=201, **evaluated):
    row = {"reward": reward, "reward_10": reward - 1.0, "reward_90": reward + 1.0, "zone_1": share}
    return {"variant": name, "seed": seed, "curve": [{**row, "cpu_seconds": 2.5}] * n_epochs, **evaluated}


def bounds(lower, upper):
    return {"exploitability_by_planning": {"lower": {"value": lower}, "upper": {"value": upper}}}


def test_the_table_has_means_over_seeds_beside_the_paper() -> None:
    gain = {"exploitability_lower_bound": {"value": 0.4, "interval_95": [0.1, 0.75]}}
    first = run_of("Symm-NN", 0, 20.0, 0.5, final={"return": 21.0}, **gain, **bounds(1.0, 2.0))
    second = run_of("Symm-NN", 1, 22.5, 0.6, final={"return": 24.0}, **bounds(3.0, 5.0))
    under_way = run_of("Ind-NN", 0, 1.25, 0.4, 101)
    del under_way["curve"][-1]
    symmetrised, independent = taxi_table.rows([first, under_way, second])
    assert symmetrised == (
        *("Symm-NN", "2", "201", "21.25 (20.9)", "21.25 (22.6)", "", "22.50 [21.00, 24.00]"),
        *("55 % [50, 60]", "0.40 [0.10, 0.75]", "2.00 to 3.50", "2.50"),
    )
    assert independent == ("Ind-NN", "1", "100", "", "", "", "", "40 %", "", "", "2.50")


WHOLE = {
    **{"game": "Taxi-v0", "preset": "full", "setting": "default", "constants": {}},
    **{"n_epochs": 600, "n_agents": 1000, "device": "cpu"},
}
ASKED = ["reproduce", "taxi", "--preset", "full", "--no-train", "--out"]


@pytest.fixture
def without_yardsticks(monkeypatch) -> None:
    lines = {"alone_without_jams": {"value": 35.0}, "dispatcher": {"return": 19.5}}
    monkeypatch.setattr(taxi, "yardsticks", lambda *terms: lines)


def test_the_whole_table_can_be_read_in_a_narrow_terminal(
    without_yardsticks, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    evaluated = {
        "final": {"return": 21.25},
        "exploitability_lower_bound": {"value": 0.4, "interval_95": [0.1, 0.75]},
        **bounds(1.25, 2.5),
    }
    runs = [run_of(name, seed, 22.5, 0.55, 600, **evaluated) for name in VARIANTS for seed in range(3)]
    (tmp_path / "results.json").write_text(json.dumps({**WHOLE, "runs": runs}))
    assert main([*ASKED, str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed[:-1])) <= 80
    [named] = [line for line in printed if "variant" in line]
    assert named.split()[1:] == list(VARIANTS)
    words = " ".join(printed).split()
    rows = (tmp_path / "learning.md").read_text().replace("|", " ").splitlines()[2:]
    assert Counter(" ".join(rows).split()) - Counter(words) == Counter()
    monkeypatch.setenv("COLUMNS", "40")
    assert main([*ASKED, str(tmp_path)]) == 0
    assert "…" not in capsys.readouterr().out


def test_runs_that_are_not_asked_for_are_kept(without_yardsticks, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "results.json"
    evaluated = {"final": {"return": 21.25}, **bounds(1.25, 2.5)}
    runs = [run_of(name, seed, 22.5, 0.55, 600, **evaluated) for seed in range(3) for name in VARIANTS]
    for held in (runs, runs[:7]):
        path.write_text(json.dumps({**WHOLE, "runs": held[::-1]}))
        assert main([*ASKED, str(tmp_path), "--variants", "OH-NN", "--seeds", "1"]) == 0
        found = json.loads(path.read_text())
        assert found["runs"] == held
        assert found["complete"] is (held is runs)
    # A seed more than the preset has is asked for, and not there.
    path.write_text(json.dumps({**WHOLE, "runs": runs}))
    assert main([*ASKED, str(tmp_path), "--seeds", "4"]) == 0
    assert json.loads(path.read_text())["complete"] is False


def test_where_there_is_no_run_nothing_is_said_to_be_written(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*ASKED, str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out.strip() == f"no run is in {taxi.RESULTS / 'checkpoints'}"


@pytest.mark.parametrize("flag", ["epochs", "seeds", "jobs"])
@pytest.mark.parametrize("study", [[], ["--study"]])
def test_lengths_must_be_positive(flag, study, tmp_path) -> None:
    for value in ("0", "-1"):
        with pytest.raises(ValueError, match=f"{flag} must be an integer >= 1, got {value}"):
            main([*ASKED, str(tmp_path), f"--{flag}", value, *study])


def test_evaluations_of_another_length_or_device_do_not_count(tmp_path) -> None:
    """As of a run of the short preset that was asked for 600 epochs."""
    short, full = taxi.PRESETS["short"], taxi.PRESETS["full"]
    gain = {"timesteps": 200_000, "n_worlds": 32, "deviators_compared": [0.5]}
    kept = {"final": {"n_worlds": 8}, "exploitability_lower_bound": gain}
    planned = {"exploitability_by_planning": {"upper": {"n_worlds": 8}}}
    (tmp_path / "evaluation.json").write_text(json.dumps(kept))
    (tmp_path / "bounds.json").write_text(json.dumps(planned))
    (tmp_path / "curve.json").write_text(json.dumps({"curve": []}))
    shared, independent = (Setting(independent=i) for i in (False, True))

    def counted(setting, evaluation) -> list[bool]:
        job = Job("Symm-NN", setting, 0, 600, 600, 1000, "cpu", tmp_path, evaluation)
        found = [training.kept_evaluation(job, name) is not None for name in ("evaluation", "bounds")]
        assert ("final" in training.read_run(job)) is found[0]
        return found

    assert counted(shared, short) == [True, True]
    assert counted(shared, full) == [False, False]
    assert counted(shared, None) == [False, False]
    for other in (
        {"deviators": 2},
        {"best_response_timesteps": 1},
        {"paired_worlds": 1},
        {"evaluation_worlds": 9},
    ):
        assert counted(shared, dataclasses.replace(short, **other)) == [False, True]
    assert counted(shared, dataclasses.replace(short, planning_worlds=9)) == [True, False]
    assert counted(shared, dataclasses.replace(short, deviators=0)) == [True, True]
    assert counted(independent, dataclasses.replace(short, deviators=2)) == [True, True]
    (tmp_path / "evaluation.json").write_text(json.dumps({"final": {"n_worlds": 8}}))
    assert counted(shared, short) == [False, True]


@pytest.mark.parametrize("n_epochs", [12, 40, 201])
@pytest.mark.parametrize("n_seeds", [0, 1, 2])
def test_what_is_there_is_drawn(tmp_path, monkeypatch, n_epochs, n_seeds) -> None:
    """The best variants are drawn from near, after their beginning, and a run that has just begun is not."""
    runs = [
        run_of(name, seed, reward, 0.5, min(n_epochs, most))
        for seed in range(n_seeds)
        for name, reward, most in (("Symm-NN", 20.0 + seed, 300), ("Ind-NN", 2.0, 300), ("ID-NN", 19.0, 1))
    ]
    drawn = []
    original = taxi_figure.FigureCanvasAgg
    monkeypatch.setattr(taxi_figure, "FigureCanvasAgg", lambda figure: drawn.append(figure) or original(figure))
    lines = {"alone_without_jams": {"value": 35.0}, "dispatcher": {"return": 19.5}}
    taxi_figure.draw(runs, n_epochs, "three runs", lines, tmp_path / "learning.png")
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")
    whole, near, *panels = drawn[0].get_axes()
    labels = [line.get_label() for line in near.get_lines() if not line.get_label().startswith("_")]
    assert labels == (["Symm-NN"] if n_seeds else [])
    of_seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds"
    titles = [f"{name}, {of_seeds}" for name in ("Symm-NN", "ID-NN", "Ind-NN")] if n_seeds else [""]
    assert [panel.get_title() for panel in panels] == titles
    if n_seeds:
        [curve] = [line for line in near.get_lines() if line.get_label() == "Symm-NN"]
        assert curve.get_xdata()[-1] == n_epochs - 1
        assert curve.get_xdata()[0] >= n_epochs // 6
        np.testing.assert_allclose(curve.get_ydata(), 20.0 + 0.5 * (n_seeds - 1))
        assert whole.get_ylim()[1] > 35.0  # the line of what a taxi earns alone is seen


def test_a_taxi_run_goes_on_from_its_checkpoint(tmp_path) -> None:
    """Killed within epoch 2 of 3, with a row that was recorded after the last save."""
    curves = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        job = Job("Symm-NN", Setting(), 0, 3, 3, 12, "cpu", folder)
        training.begin_worker(threading.Event(), [0])
        if name == "killed":
            training._stop = StopsAt(1 * 128 + 50)
            training.train(0, job)
            saved = json.loads((folder / "curve.json").read_text())
            assert len(saved["curve"]) == 1
            saved["curve"].append(saved["curve"][0])
            (folder / "curve.json").write_text(json.dumps(saved))
            training._stop = threading.Event()
        training.train(0, job)
        curves.append(json.loads((folder / "curve.json").read_text())["curve"])
    assert len(curves[0]) == 3
    assert all(row.pop("cpu_seconds") > 0.0 for curve in curves for row in curve)
    # The learning rate falls over what is left to do, which is the same in both.
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_figure_that_is_asked_to_end_keeps_what_it_has(tmp_path, asked) -> None:
    words = [*TAXI, "--epochs", "100000", "--variants", "Symm-NN", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *words, "--checkpoints", str(tmp_path / "kept")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("curve.json")):
            assert time.monotonic() < deadline, "training did not begin"
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.2)
        process.send_signal(asked)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted: run it again to go on" in out
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["complete"] is False
    assert len(content["runs"][0]["curve"]) > 0


class StopsAt:
    """An event that is set when it has been asked so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_runs_of_an_earlier_figure_count_if_they_are_complete_and_of_the_same_terms(tmp_path) -> None:
    path, terms = tmp_path / "results.json", {"game": "Taxi-v0", "constants": {"jam": 7.5}, "n_epochs": 2}
    assert taxi.complete_runs(path, terms) == {}
    whole = {"variant": "ID-NN", "seed": 1, "curve": [{}, {}], "exploitability_by_planning": {}}
    short = {**whole, "seed": 2, "curve": [{}]}
    unjudged = {"variant": "ID-NN", "seed": 3, "curve": [{}, {}]}
    path.write_text(json.dumps({**terms, "runs": [whole, short, unjudged]}))
    assert taxi.complete_runs(path, terms) == {("ID-NN", 1): whole}
    assert taxi.complete_runs(path, terms | {"constants": {}}) == {}


@pytest.mark.slow
def test_complete_runs_of_a_committed_figure_are_not_done_again(short_taxi, tmp_path) -> None:
    """Without their checkpoints, too; other terms are other runs, and a run that was cut short is done again."""
    out, checkpoints = tmp_path / "out", tmp_path / "checkpoints"
    arguments = [*TAXI, "--variants", "Symm-NN", "--out", str(out), "--checkpoints"]
    assert main([*arguments, str(checkpoints), "--seeds", "2"]) == 0
    first, second = json.loads((out / "results.json").read_text())["runs"]
    # Deviators are trained against the policies of the first seed only.
    assert "exploitability_lower_bound" in first
    assert "exploitability_lower_bound" not in second
    assert "exploitability_by_planning" in second

    content = json.loads((out / "results.json").read_text())
    first["final"]["return"] = -1.0  # So that it can be told from a new one.
    del content["runs"][1]["curve"][-1]
    content["runs"][0] = first
    (out / "results.json").write_text(json.dumps(content))
    assert main([*arguments, str(tmp_path / "others"), "--seeds", "2"]) == 0
    again = json.loads((out / "results.json").read_text())
    assert all(taxi.is_complete(run, 3) for run in again["runs"])
    assert again["complete"] is False  # Of one variant only.
    assert again["runs"][0] == first
    measured = [[row["reward"] for row in run["curve"]] for run in (again["runs"][1], second)]
    assert measured[0] == measured[1]
    assert [path.name for path in (tmp_path / "others").glob("Symm*")] == ["Symm-NN-3-epochs-12-taxis-seed-1"]

    assert main([*arguments, str(tmp_path / "longer"), "--epochs", "4"]) == 0
    assert len(json.loads((out / "results.json").read_text())["runs"][0]["curve"]) == 4


@pytest.mark.slow
def test_a_failing_taxi_run_stops_no_other(short_taxi, tmp_path, monkeypatch) -> None:
    """The name of a run's folder is taken by a file."""
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "OH-NN-3-epochs-12-taxis-seed-0").write_text("in the way")
    arguments = [
        *TAXI,
        "--variants",
        "OH-NN",
        "Symm-NN",
        "--out",
        str(tmp_path),
        "--checkpoints",
        str(checkpoints),
    ]
    with pytest.raises(OSError, match="OH-NN"):
        main(arguments)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert [run["variant"] for run in results["runs"]] == ["Symm-NN"]


# The study.


def job_of(setting: Setting, folder, **kwargs) -> Job:
    length = {"n_epochs": 150, "schedule_epochs": 600, **kwargs}
    return Job("cell", setting, 0, **length, n_agents=12, device="cpu", folder=folder)


def test_cells_have_different_names_and_settings() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names) >= 17
    settings = [cell.setting for cell in CELLS]
    assert all(settings.count(setting) == 1 for setting in settings)
    assert chosen_cells(()) == CELLS
    assert chosen_cells(("jam-weight-3-of-N-no-entropy-bonus",))[0].setting.hyper_parameters == {"ent_coef": 0.0}
    with pytest.raises(ValueError, match=r"cells must be among .*, got 'jam'"):
        chosen_cells(("jam",))


def test_a_run_of_the_study_begins_as_a_run_of_the_papers_length(tmp_path) -> None:
    """The paper's rate falls from 2.5e-4 to zero in 600 epochs: after 150 it is three quarters of that."""
    found = training.hyper_parameters(job_of(Setting(), tmp_path), 128)
    assert [found["learning_rate"](left) for left in (1.0, 0.5, 0.0)] == pytest.approx(
        [2.5e-4, 2.1875e-4, 1.875e-4]
    )
    assert found["batch_size"] == round(16_384 * 0.012)
    whole = training.hyper_parameters(job_of(Setting(), tmp_path, n_epochs=600), 128)
    assert whole["learning_rate"](0.0) == 0.0


def test_the_last_value_is_bootstrapped_only_if_asked(tmp_path) -> None:
    for bootstrap in (False, True):
        env = training.training_environment(job_of(Setting(bootstrap=bootstrap), tmp_path))
        env.reset()
        for _ in range(128):
            _, _, dones, infos = env.step(np.full(12, 4))
        assert dones.all()
        assert infos[0]["TimeLimit.truncated"] is bootstrap


@pytest.mark.parametrize(("largest", "last"), [(1.0, 1.0), (5.0, 5.0), (None, 3.0)])
def test_scales_of_the_integer_identity(largest, last) -> None:
    env = vec_env("Taxi-v0", observe=ScaledIdentity(largest), n_agents=4)
    assert env.reset()[:, -1].tolist() == pytest.approx([0.0, last / 3, last * 2 / 3, last])


def test_collapses() -> None:
    assert [taxi_study.has_collapsed(share) for share in (0.0, 0.04, 0.06, 0.5, 0.94, 0.96, 1.0)] == [
        *(True, True),
        *(False, False, False),
        *(True, True),
    ]


def test_the_study_is_reached_by_its_flag(tmp_path, capsys) -> None:
    flags = ["--study", "--no-train", "--out", str(tmp_path), "--checkpoints", str(tmp_path / "runs")]
    assert main(["reproduce", "taxi", *flags]) == 0
    assert f"no run is in {tmp_path / 'runs' / 'study'}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="got 'nothing'"):
        main(["reproduce", "taxi", *flags, "--cells", "nothing"])


def test_cells_that_are_not_asked_for_are_kept(tmp_path, monkeypatch) -> None:
    """And complete ones are not trained again, unless the cell is another now."""
    sticks = {"dispatcher": {"return": 19.5}, "alone_without_jams": {"value": 35.0}}
    monkeypatch.setattr(taxi_study, "yardsticks", lambda *arguments: sticks)
    trained = []
    monkeypatch.setattr(taxi_study, "train_all", lambda jobs, n_processes: trained.extend(jobs) or (False, []))
    first, other = CELLS[0], CELLS[9]
    runs = [run_of(first.name, seed, 20.0, 0.5, 3) for seed in range(2)]
    held = {**first.described(), "reward": [20.0] * 2, "zone_1": [0.5] * 2, "collapsed": [False] * 2}
    held |= {"yardsticks": sticks, "runs": runs}
    study = Study(3, 2, 12, "cpu", tmp_path / "runs")
    whole = {**taxi_study.terms(study), "cells": [{**held, **cell.described()} for cell in CELLS]}
    path = tmp_path / "study.json"
    path.write_text(json.dumps(whole))
    asked = dataclasses.replace(study, cells=(other,))
    assert taxi_study.run(asked, 1, tmp_path, True) == 0
    assert not trained
    found = json.loads(path.read_text())
    assert [cell["name"] for cell in found["cells"]] == [cell.name for cell in CELLS]
    assert found["complete"] is True

    changed = json.loads(json.dumps(whole))
    changed["cells"][9]["constants"] = {"jam": 1.0}
    path.write_text(json.dumps(changed))
    assert taxi_study.run(asked, 1, tmp_path, True) == 0
    assert [job.name for job in trained] == [other.name] * 2
    found = json.loads(path.read_text())
    assert found["complete"] is False
    assert len(found["cells"]) == len(CELLS) - 1

    longer = dataclasses.replace(asked, n_epochs=4)
    assert taxi_study.run(longer, 1, tmp_path / "longer", False) == 0
    assert not (tmp_path / "longer").exists()


@pytest.mark.slow
def test_the_study_writes_table_figure_and_results_and_goes_on(tmp_path, capsys) -> None:
    names = (
        "default-jam-10-of-N-one-hot",
        "jam-weight-3-of-N-no-entropy-bonus",
        "identity-raw-integer",
        "observation-coordinates",
        "PPO-bootstrapped-at-the-end",
    )
    study = Study(2, 1, 12, "cpu", tmp_path / "runs", chosen_cells(names), n_alone=2, dispatcher_worlds=2)
    assert taxi_study.run(study, 1, tmp_path, True) == 0
    results = json.loads((tmp_path / "study.json").read_text())
    assert results["complete"] is False  # Of five cells only.
    assert [cell["name"] for cell in results["cells"]] == list(names)
    for cell in results["cells"]:
        (run,) = cell["runs"]
        assert [cell["reward"], cell["zone_1"]] == [
            [pytest.approx(np.mean([row[name] for row in run["curve"]]))] for name in ("reward", "zone_1")
        ]
        assert cell["yardsticks"]["dispatcher"]["return"] > cell["reward"][0]
    # Fewer jams are good for a dispatcher's taxis, and all the same to a taxi alone.
    default, light, *_ = (cell["yardsticks"] for cell in results["cells"])
    assert light["dispatcher"]["return"] > default["dispatcher"]["return"]
    assert light["alone_without_jams"]["value"] == default["alone_without_jams"]["value"]
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "study.md").read_text().splitlines()) == 2 + len(names)
    assert "A-Taxi: one factor at a time" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")}
    assert taxi_study.run(study, 1, tmp_path, False) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")}


def test_yardsticks_are_those_of_the_best_shares_and_kept(tmp_path, monkeypatch):
    played = []

    def evaluated(game, rule, **settings):
        played.append(rule.shares[0])
        return types.SimpleNamespace(summary=lambda: {"return": -abs(rule.shares[0] - 0.5)})

    monkeypatch.setattr(taxi_yardsticks, "evaluate", evaluated)
    alone = types.SimpleNamespace(value=3.0, interval=(2.0, 4.0))
    monkeypatch.setattr(taxi_yardsticks, "attainable_return", lambda game, n_taxis: alone)
    for constants in ({}, {"observation": "coordinates"}):  # what taxis see changes nothing
        found = taxi_yardsticks.yardsticks(constants, 10, 2, 2, tmp_path)
        assert found["dispatcher"] == {"share_zone_1": 0.5, "return": 0.0}
        assert found["alone_without_jams"] == {"value": 3.0, "interval_95": [2.0, 4.0], "n_taxis": 2}
    assert played == [0.4, 0.5, 0.6]
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    taxi_yardsticks.yardsticks({}, 10, 2, 2, tmp_path)
    taxi_yardsticks.yardsticks({"horizon": 5}, 10, 2, 2, tmp_path)
    assert len(played) == 9


def test_networks_that_take_long_to_save_are_saved_less_often(monkeypatch) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training, "_epochs", [0])

    def save() -> None:
        saved.append(now[0])
        now[0] += 3.0

    recorder = training.curve_callback(training.Curve(0, [], 0), save)
    recorder.model = types.SimpleNamespace(get_env=lambda: types.SimpleNamespace(num_envs=1))
    for _ in range(500):
        now[0] += 1.0
        recorder._on_rollout_start()
    assert saved == [21.0, 175.0, 329.0, 483.0]  # at first after 20 seconds, then after 50 times 3 more
