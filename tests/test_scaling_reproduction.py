"""The scaling report, on small cases and on numbers whose tables are worked out by hand."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks.frameworks import two_digits
from benchmarks.reproduce import scaling, scaling_tasks
from benchmarks.reproduce.scaling_routes import ON_A_GPU, PETTINGZOO, ROUTES
from benchmarks.reproduce.scaling_tasks import Task, measure, run_in_process


def invented(task):
    """A microsecond a step and 10 nanoseconds an agent, 50 in dicts; 24 bytes an agent; 3 seconds to compile."""
    if task.kind == "memory":
        ((n, _),) = task.sizes
        return {"n_agents": n, "n_worlds": 1, "before": 10**6, "peak": 10**6 + 24 * n}
    if task.kind == "compile":
        stages = dict.fromkeys(scaling_tasks.COMPILE_STAGES, 1.0)
        return {"first": stages, "later": dict.fromkeys(stages, 0.25)}
    if task.kind == "train":
        # Two seconds of an update at N = 1000 in which 128 steps are learned from, 64 thousand samples a second.
        rows = [
            {"n_agents": n, "n_worlds": w, "n_steps": 1, "set_up": 0.0, "seconds": [2e-3 * n, 2e-3 * n, 9.0 * n]}
            for n, w in task.sizes
        ]
        return {"rows": rows, "ended": "done", "horizon": 128}
    each = 50e-9 if task.route == PETTINGZOO else 10e-9
    rows = [
        {
            "n_agents": n,
            "n_worlds": w,
            "n_steps": 7,
            "set_up": 0.0,
            "seconds": [0.9e-6 + each * n * w, 1e-6 + each * n * w, 1.5e-6 + each * n * w],
        }
        for n, w in task.sizes
    ]
    ended = "time" if task.route == PETTINGZOO else "done"
    return {"rows": rows, "ended": ended}


def read(folder):
    return json.loads((folder / "results.json").read_text()), (folder / "README.md").read_text()


def test_the_page_says_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "cuda_device", lambda: {"name": None, "reason": "no GPU is here"})
    assert scaling.main(["--quick", "--seed", "3", "--out", str(tmp_path)], invented) == 0
    results, page = read(tmp_path)
    assert results["complete"]
    assert results["seed"] == 3
    assert "numba" in results["versions"]
    # (1 us + N 10 ns) / N is 20 ns at N = 100, and 11 at 1000; in dicts 60 and 51.
    assert "| engine | 20 | 11 |" in page
    assert "| PettingZoo parallel | 60 | 51 |" in page
    # 4 worlds of 100 agents: (1 us + 400 * 10 ns) / 400.
    assert "| TorchRL | 20 | 12 |" in page
    assert "3.0 at N = 100, 4.6 at N = 1,000" in page
    assert "| SB3 vec_env | 24 |" in page
    assert "| Epidemic | 1.00 (0.25) | 1.00 (0.25) | 1.00 (0.25) |" in page
    assert "**Nothing here ran on a GPU** (no GPU is here)." in page
    assert "| samples/s | N = 50 |\n|---|---|\n| PPO | 64 k |" in page
    assert "PettingZoo parallel after N = 1,000, as a step took longer than the limit" in page
    for name in ("scaling.png", "games.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_an_interrupted_report_is_finished(tmp_path):
    done = []

    def interrupted(task):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(task)
        return invented(task)

    out = ["--quick", "--out", str(tmp_path)]
    assert scaling.main(out, interrupted) == 130
    assert not json.loads((tmp_path / "results.json").read_text())["complete"]
    assert not (tmp_path / "README.md").exists()
    more = []
    assert scaling.main([*out, "--resume"], lambda task: more.append(task) or invented(task)) == 0
    assert not set(done) & set(more)
    assert {*done, *more} == set(scaling.all_tasks(scaling.QUICK, 0, ["cpu"]))
    assert read(tmp_path)[0]["complete"]
    with pytest.raises(ValueError, match=r"--resume needs the seed of .*, 0, got 1"):
        scaling.main([*out, "--resume", "--seed", "1"], invented)


def test_what_fails_is_told(tmp_path):
    def failing(task):
        return (
            {"error": "MemoryError: no room"}
            if task.kind == "time" and task.route == "TorchRL"
            else invented(task)
        )

    assert scaling.main(["--quick", "--out", str(tmp_path)], failing) == 0
    assert "- time, Epidemic, TorchRL on cpu: MemoryError: no room" in read(tmp_path)[1]
    again = []
    words = ["--quick", "--resume", "--out", str(tmp_path)]
    assert scaling.main(words, lambda task: again.append(task) or invented(task)) == 0
    assert {(task.kind, task.route) for task in again} == {("time", "TorchRL")}
    assert "MemoryError" not in read(tmp_path)[1]


def test_tasks_of_a_machine_with_a_gpu():
    protocol = scaling.Protocol()
    tasks = scaling.all_tasks(protocol, 0, ["cpu", "cuda"])
    on_gpu = {task.route for task in tasks if task.device == "cuda" and task.kind == "time"}
    assert on_gpu == set(ON_A_GPU) == set(ROUTES) - {PETTINGZOO}
    assert {task.route for task in tasks if task.device == "cpu" and task.kind == "time"} == set(ROUTES)
    by_worlds = [task for task in tasks if task.kind == "time" and task.sizes[-1] == (1000, 1024)]
    assert PETTINGZOO not in {task.route for task in by_worlds}
    assert len(tasks) == len(set(tasks))
    alone = scaling.all_tasks(protocol, 0, ["cuda"])
    assert alone == [task for task in tasks if task.device == "cuda"]
    for game in ("Epidemic-v0", "RockPaperScissors-v0", "Taxi-v0", "Auction-v0", "EnergyMarket-v0"):
        timed = [task for task in alone if (task.kind, task.game, task.route) == ("time", game, "engine")]
        assert {(10**k, 1) for k in range(3, 8)} <= set(timed[0].sizes)
    assert [(task.game, task.route) for task in alone if task.kind == "train"] == [("Taxi-v0", "PPO")]


def test_a_device_that_is_not_there_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "cuda_device", lambda: {"name": None, "reason": "no GPU is here"})
    assert scaling.main(["--device", "cuda", "--out", str(tmp_path / "out")], invented) == 2
    assert "no GPU is here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_device_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "cuda_device", lambda: {"name": "an invented card", "reason": None})
    for device, mark in (("cuda", ", GPU"), ("cpu", "")):
        assert scaling.main(["--quick", "--device", device, "--out", str(tmp_path)], invented) == 0
        results, page = read(tmp_path)
        assert {row["task"]["device"] for row in results["measured"]} == {device}
        assert results["cuda"]["name"] == "an invented card"
        assert "GPU: an invented card." in page
        assert f"| engine{mark} | 20 | 11 |" in page
        assert f"| PPO{mark} | 64 k |" in page
        assert ("| SB3 vec_env, GPU |" in page) == (device == "cuda")
        assert ("## The dict wall" in page) == (device == "cpu")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0514, "0.051"),
        (0.3, "0.3"),
        (0.999, "1.0"),
        (1.94, "1.9"),
        (9.96, "10"),
        (27.4, "27"),
        (1649.0, "1,600"),
    ],
)
def test_numbers_have_two_significant_digits(number, text):
    assert two_digits(number) == text


def test_a_report_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "cuda_device", lambda: {"name": "an invented card", "reason": None})
    out = ["--quick", "--out", str(tmp_path)]
    assert scaling.main([*out, "--device", "cpu", "--measure", "memory"], invented) == 0
    page = read(tmp_path)[1]
    assert [line for line in page.splitlines() if line.startswith("#")][1:] == ["## Memory"]
    assert scaling.main([*out, "--device", "cpu", "--measure", "time", "--resume"], invented) == 0
    page = read(tmp_path)[1]
    assert "| engine | 20 | 11 |" in page
    assert "| engine | 24 |" in page
    assert "## Learning" not in page
    assert "## First use" not in page
    more = []
    assert scaling.main([*out, "--resume"], lambda task: more.append(task) or invented(task)) == 0
    assert not [task for task in more if task.device == "cpu" and task.kind in ("time", "memory")]
    results, page = read(tmp_path)
    assert len(results["measured"]) == len(scaling.all_tasks(scaling.QUICK, 0, ["cpu", "cuda"]))
    for row in ("| engine | 20 | 11 |", "| engine, GPU | 20 | 11 |", "| PPO, GPU | 64 k |"):
        assert row in page


SIMULATED = """
import dataclasses, sys
import cuda_plays
from benchmarks.reproduce import scaling, scaling_tasks

cuda_plays.use_few_threads()
cuda_plays.simulate_compiled_arithmetic()
scaling_tasks.FEW_AGENTS = 4
scaling.QUICK = dataclasses.replace(
    scaling.QUICK, sizes=(4, 6), worlds=(1, 2), agents_per_world=3, agents_in_memory=5, trained_sizes=(),
    repetitions=1, seconds=1e-9,
)
scaling.cuda_device = lambda: {"name": "numba's simulator", "reason": None}
scaling_tasks._memory_of_gpu = lambda: (2**29, 2**30)


def run(task):
    found = scaling_tasks.measure(task)
    return {"first": found, "later": found} if task.kind == "compile" else found


sys.exit(scaling.main(["--quick", "--device", "cuda", "--out", sys.argv[1]], run))
"""


@pytest.mark.slow
def test_the_report_of_a_simulated_gpu(tmp_path):
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", SIMULATED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    results, page = read(tmp_path)
    assert results["complete"]
    assert "What failed" not in page
    for route in ON_A_GPU:
        assert f"| {route}, GPU |" in page


class Clock:
    """A clock that steps of a known length move."""

    def __init__(self, seconds_per_agent):
        self.now, self.per_agent = 0.0, seconds_per_agent

    def route(self, game, n_worlds, device, seed):
        def take(n_steps):
            self.now += n_steps * self.per_agent * game.n_agents * n_worlds

        return take


SIZES = ((10, 1), (100, 1), (1000, 1))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(0.01)
    monkeypatch.setitem(ROUTES, "engine", clock.route)
    monkeypatch.setattr(scaling_tasks, "time", types.SimpleNamespace(process_time=lambda: clock.now))
    return clock


def test_a_route_stops_after_the_first_step_that_takes_too_long(clock):
    found = measure(Task("time", "Epidemic-v0", sizes=SIZES, repetitions=3, seconds=0.5, longest_step=0.9))
    assert found["ended"] == "time"
    assert [row["n_agents"] for row in found["rows"]] == [10, 100]
    np.testing.assert_allclose([row["seconds"] for row in found["rows"]], [[0.1] * 3, [1.0] * 3])
    assert [row["n_steps"] for row in found["rows"]] == [5, 1]


def test_a_route_stops_where_memory_would_not_suffice(clock, monkeypatch):
    peaks = iter([1000, 3000])
    monkeypatch.setattr(scaling_tasks, "peak_memory", lambda: next(peaks))
    # Ten agents took 2000 bytes: a hundred would take 20,000.
    monkeypatch.setattr(scaling_tasks, "free_memory", lambda device: 20_000 / scaling_tasks.SHARE_OF_MEMORY - 1)
    found = measure(Task("time", "Epidemic-v0", sizes=SIZES, repetitions=1, longest_step=99.0))
    assert found["ended"] == "memory"
    assert [row["n_agents"] for row in found["rows"]] == [10]


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_takes_steps_and_begins_new_episodes(route):
    take = ROUTES[route](scaling_tasks.make("Epidemic-v0", n_agents=6, horizon=3), 1, "cpu", 0)
    take(8)


@pytest.mark.parametrize("game", scaling.GAMES)
def test_every_game_is_made_and_stepped_at_any_size(game):
    made = scaling_tasks.game_of(game, 100)
    assert made.n_agents == 100
    ROUTES["engine with observations"](made, 1, "cpu", 0)(2)


def test_memory_is_at_least_that_of_the_arrays():
    # In a process of its own: where the peak cannot be reset, that of the tests before could hide the arrays.
    n = 3_000_000
    found = run_in_process(Task("memory", "Epidemic-v0", "engine with observations", sizes=((n, 1),)))
    n_features = scaling_tasks.make("Epidemic-v0").n_features
    # Actions, rewards and observations in 4 bytes each, and two states of a byte.
    assert found["peak"] - found["before"] > 0.9 * n * (4 + 4 + 4 * n_features + 2)


def test_updates_of_ppo_are_timed():
    found = measure(Task("train", "Taxi-v0", "PPO", sizes=((4, 2),), repetitions=2, seconds=1e-9))
    assert found["horizon"] == scaling_tasks.make("Taxi-v0").horizon
    ((row,), ended) = found["rows"], found["ended"]
    assert (row["n_agents"], row["n_worlds"], ended) == (4, 2, "done")
    assert min(row["seconds"]) > 0.0


def test_times_before_memory_ran_out_are_kept(clock, monkeypatch):
    def route(game, *rest):
        if game.n_agents == 100:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        return clock.route(game, *rest)

    monkeypatch.setitem(ROUTES, "engine", route)
    monkeypatch.setattr(scaling_tasks, "FEW_AGENTS", 5)
    found = measure(Task("time", "Epidemic-v0", sizes=SIZES, repetitions=1, longest_step=99.0))
    assert found["ended"] == "memory"
    assert [row["n_agents"] for row in found["rows"]] == [10]
    with pytest.raises(RuntimeError, match="OUT_OF_MEMORY"):
        measure(Task("time", "Epidemic-v0", sizes=((100, 1),), repetitions=1))


@pytest.mark.slow
def test_a_first_use_takes_longer_than_a_later_one():
    found = run_in_process(Task("compile", "Epidemic-v0"))
    assert found["first"]["reset and step"] > 2 * found["later"]["reset and step"]


def test_a_process_that_fails_says_why():
    found = run_in_process(Task("time", "NoSuchGame-v0", sizes=((10, 1),)))
    assert "NoSuchGame-v0" in found["error"]
