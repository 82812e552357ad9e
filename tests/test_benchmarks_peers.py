"""The comparison with other libraries' solvers, on small cases."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.peers import command, open_spiel, report
from benchmarks.peers.runs import FAILED, REACHED, TIME, Contest, Recorder, Run, compete, seconds_to, thinned
from mfenvs import InducedGame, make
from mfenvs.peers import to_open_spiel


def left_right():
    """Two thirds of the population go left in equilibrium, MFGLib's values for its game of that name."""
    game = make("LeftRight-v0")
    equilibrium = np.zeros(game.policy_shape)
    equilibrium[...] = 2 / 3, 1 / 3
    return game, equilibrium


def test_a_solver_that_arrives_and_one_that_does_not():
    game, equilibrium = left_right()
    uniform = np.full(game.policy_shape, 0.5)

    def arrives(record):
        for step in range(100):
            record(lambda step=step: uniform + step / 10 * (equilibrium - uniform))

    def stays(record):
        while True:
            record(lambda: uniform)

    def fails(record):
        record(lambda: uniform)
        raise RuntimeError("no more")

    def breaks(record):
        record(lambda: np.full(game.policy_shape, np.nan))

    def hangs(record):
        while True:
            pass

    def ends(record):
        record(lambda: uniform)

    solvers = {"arrives": arrives, "stays": stays, "fails": fails, "breaks": breaks, "hangs": hangs, "ends": ends}
    found = {run.algorithm: run for run in compete("LeftRight-v0", "theirs", Contest(game, solvers), 0.2)}
    exploitability = InducedGame(game).exploitability(uniform)
    # Mixed half and half, V = -(1/2 * 1/2 + 1/2 * 1/2 * 2); a best response has -1/2.
    assert exploitability == pytest.approx(0.25)
    assert found["arrives"].ended == REACHED
    assert found["arrives"].n_policies == 11
    assert found["arrives"].best == pytest.approx(0.0, abs=1e-9)
    assert all(0.0 < seconds < 0.2 for seconds in found["arrives"].seconds_to.values())
    assert found["stays"].ended == TIME
    assert found["stays"].best == pytest.approx(exploitability)
    assert found["stays"].seconds_to == {"0.01": None, "0.001": None, "1e-06": None}
    assert found["stays"].error == ""
    assert found["fails"].ended == FAILED
    assert found["fails"].error == "RuntimeError: no more"
    assert found["fails"].best == pytest.approx(exploitability)
    assert "not finite" in found["breaks"].error
    assert found["breaks"].best is None
    assert (found["hangs"].ended, found["hangs"].n_policies) == (TIME, 0)
    assert "stopped by itself" in found["ends"].error


def test_the_time_of_measuring_does_not_count():
    game, _ = left_right()
    now = [100.0]

    def working(seconds):
        now[0] += seconds
        return np.full(game.policy_shape, 0.5)

    def algorithm(record):
        for _ in range(3):
            working(2.0)
            record(lambda: working(50.0))

    recorder = Recorder(InducedGame(game), 60.0, clock=lambda: now[0])
    assert recorder.run(algorithm) == "the algorithm stopped by itself"
    assert recorder.used == 6.0
    assert recorder.curve == [(2.0, pytest.approx(0.25))]
    assert now[0] == 256.0


def test_later_policies_are_not_all_measured():
    """When each takes a second: the first twenty, those at least 2 % later than the one before, and the last."""
    game, _ = left_right()
    now, measured = [0.0], []

    def policy():
        measured.append(now[0])
        return np.full(game.policy_shape, 0.5)

    def algorithm(record):
        while True:
            now[0] += 1.0
            record(policy)

    recorder = Recorder(InducedGame(game), 103.0, clock=lambda: now[0])
    assert recorder.run(algorithm) == ""
    assert recorder.n_policies == 103
    assert measured == [*range(1, 52), *range(53, 102, 2), 103]


def test_curves():
    curve = [(0.1, 1.0), (0.2, 0.95), (0.3, 0.5), (0.4, 0.0099), (0.5, 0.0098)]
    assert seconds_to(curve) == {"0.01": 0.4, "0.001": None, "1e-06": None}
    assert thinned(curve) == [(0.1, 1.0), (0.3, 0.5), (0.4, 0.0099), (0.5, 0.0098)]
    assert thinned([]) == []


def run(game, solver, algorithm, *seconds, best=1e-7):
    to = dict(zip(("0.01", "0.001", "1e-06"), seconds, strict=True))
    ended = TIME if None in seconds else REACHED
    return vars(Run(game, solver, algorithm, ended, to, best, 1.0, 5, []))


def test_the_worst_ratio_is_of_all_games():
    runs = [
        run("A", "mfenvs", "path", 1.0, 2.0, 3.0),
        run("A", "Theirs", "one", 2.0, 8.0, None, best=1e-4),
        run("A", "Theirs", "two", 4.0, 4.0, 30.0),
        run("B", "mfenvs", "path", 1.0, 2.0, None, best=1e-5),
        run("B", "Theirs", "one", 0.5, 0.1, 9.0),
        run("C", "mfenvs", "path", 1.0, 1.0, 1.0),
        run("C", "Theirs", "one", None, None, None, best=0.4),
    ]
    found = report.results(runs, {"Theirs": {"theirs": "1"}, "Else": {}}, seconds=60.0, jobs=1, is_complete=True)
    assert found["missing"] == ["Else"]
    first, _, last = found["rows"]
    assert first["best"]["seconds_to"]["0.01"] == {"algorithm": "one", "seconds": 2.0}
    assert first["best"]["seconds_to"]["0.001"] == {"algorithm": "two", "seconds": 4.0}
    assert last["best"]["seconds_to"] == {"0.01": None, "0.001": None, "1e-06": None}
    assert (last["best"]["exploitability"], last["best"]["algorithm"]) == (0.4, "one")
    middle, small = found["summary"]["0.001"], found["summary"]["1e-06"]
    assert middle["worst_ratio"] == {"ratio": 20.0, "where": "B (Theirs)"}
    assert middle["median_ratio"] == pytest.approx((0.5 + 20) / 2)
    assert (middle["n_rows"], middle["n_ours"], middle["n_theirs"], middle["n_slower"]) == (3, 3, 2, 1)
    assert small["only_theirs"] == ["B (Theirs)"]
    assert small["worst_ratio"] == {"ratio": 0.1, "where": "A (Theirs)"}
    assert small["n_slower"] == 1
    page = report.markdown(found)
    assert "reached by theirs only: B (Theirs); else 0.1: A (Theirs)" in page
    assert "| C | Theirs | 1 | 1 | 1 | - | - | - | one | 4.0e-01 | 1.0e-07 |" in page
    assert "Else: not installed, left out" in page


def test_an_interrupted_comparison_keeps_what_is_complete(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "installed", lambda peer, python: {"mfglib": "1"})

    def measure(task):
        if task.game == "LeftRight-v0":
            raise KeyboardInterrupt
        return [
            run(task.game, "mfenvs", "path", 1.0, 2.0, 3.0),
            run(task.game, "MFGLib", "one", 2.0, None, None, best=5e-3),
        ]

    monkeypatch.setattr(command, "measure", measure)
    words = ["peers", "--peers", "MFGLib", "--games", "BeachBar-v0", "LeftRight-v0", "--out", str(tmp_path)]
    assert main(words) == 130
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert [row["game"] for row in results["rows"]] == ["BeachBar-v0"]
    assert "Interrupted: not all games are here" in (tmp_path / "README.md").read_text()
    assert main([*words, "--resume", "--seconds", "3"]) == 2
    assert "resume needs the limit" in capsys.readouterr().err
    again = []

    def measure_the_rest(task):
        again.append(task.game)
        return [run(task.game, "mfenvs", "path", 1.0, 2.0, 3.0), run(task.game, "MFGLib", "one", 2.0, 3.0, 4.0)]

    monkeypatch.setattr(command, "measure", measure_the_rest)
    assert main([*words, "--resume"]) == 0
    assert again == ["LeftRight-v0"]
    assert "TreasureHunting-v0 (MFGLib)" in (tmp_path / "README.md").read_text()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    assert [row["game"] for row in results["rows"]] == ["BeachBar-v0", "LeftRight-v0"]
    assert [row["ours"]["seconds_to"]["1e-06"] for row in results["rows"]] == [3.0, 3.0]
    monkeypatch.setattr(command, "installed", lambda peer, python: {"mfglib": "2"})
    assert main([*words, "--resume"]) == 2
    assert "resume needs the versions" in capsys.readouterr().err


def test_a_process_that_dies_is_a_failure(monkeypatch):
    monkeypatch.setattr(command, "ONE_THREAD", {"PYTHONHOME": "/no/such/folder"})
    (found,) = command.measure(command.Task("MFGLib", "BeachBar-v0", sys.executable, 1.0))
    assert (found["game"], found["solver"], found["ended"]) == ("BeachBar-v0", "MFGLib", FAILED)
    assert "its process ended with status 1" in found["error"]
    assert found["best"] is None


@pytest.mark.skipif(importlib.util.find_spec("mfglib") is None, reason="MFGLib is not installed")
def test_a_comparison_with_mfglib(tmp_path, capsys):
    words = ["peers", "--games", "LeftRight-v0", "--seconds", "0.2", "--out", str(tmp_path)]
    assert main([*words, "--peers", "MFGLib", "Bench-MFG", "--python", f"Bench-MFG={sys.executable}"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is True
    assert results["peers"]["MFGLib"]["mfglib"]
    assert results["thresholds"] == [1e-2, 1e-3, 1e-6]
    (row,) = results["rows"]
    assert (row["game"], row["peer"]) == ("LeftRight-v0", "MFGLib")
    assert row["ours"]["ended"] == REACHED
    assert row["ours"]["best"] <= 1e-6
    by_name = {run["algorithm"]: run for run in row["runs"]}
    assert len(by_name) == 8
    # Everybody goes where nobody is: a fixed point iteration goes to and fro between pure policies.
    cycling = by_name["fixed point iteration"]
    assert cycling["ended"] == TIME
    assert cycling["seconds_to"] == {"0.01": None, "0.001": None, "1e-06": None}
    assert cycling["best"] >= 0.2
    assert all(run["error"] == "" for run in row["runs"])
    # Mirror descent with MFGLib's default rate is nearly there at its fifth policy.
    descent = by_name["online mirror descent, alpha 1 (default)"]
    assert descent["curve"][4][1] < 2e-3
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert "LeftRight-v0 | MFGLib" in (tmp_path / "README.md").read_text()
    if importlib.util.find_spec("benchmfg") is None:
        assert results["missing"] == ["Bench-MFG"]
        assert "Bench-MFG: NOT INSTALLED" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("pyspiel") is None, reason="OpenSpiel is not installed")
@pytest.mark.parametrize("name", ["NormalForm-v0", "Garnet-v0", "CrowdAvoidance-v0", "DynamicRouting-v0"])
def test_policies_of_open_spiel_are_read_as_they_are(name):
    """OpenSpiel's own exploitability of them is ours."""
    mirror_descent, nash_conv = (
        importlib.import_module(f"open_spiel.python.mfg.algorithms.{module}")
        for module in ("mirror_descent", "nash_conv")
    )
    spiel_game, game = open_spiel.both(name)
    locate = open_spiel.locator(name, spiel_game, game)
    if name in open_spiel.WITHOUT_LAST_ACTION:
        spiel_game, locate = to_open_spiel(game), open_spiel.locate_handed_over
    induced = InducedGame(game)
    reader = open_spiel.PolicyReader(spiel_game, induced, locate)
    algorithm = mirror_descent.MirrorDescent(spiel_game, lr=1.0)
    for _ in range(2):
        algorithm.iteration()
        policy = algorithm.get_policy()
        found = nash_conv.NashConv(spiel_game, policy)
        expected = [
            found._br_value.eval_state(root) - found._pi_value.eval_state(root)
            for root in spiel_game.new_initial_states()
        ]
        assert induced.exploitabilities(reader.read(policy)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--peers", "Chess"], "unknown peer 'Chess'; known: MFGLib"),
        (["--games", "Chess-v0"], "unknown game 'Chess-v0'; known: BeachBar-v0"),
        (["--python", "MFGLib"], "python must be PEER=PATH"),
        (["--python", "MFGLib=/no/such/python"], "python must be PEER=PATH, with a path that exists"),
        (["--seconds", "0"], "seconds must be > 0"),
    ],
)
def test_flags_are_checked(flags, message, tmp_path, capsys):
    assert main(["peers", *flags, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
