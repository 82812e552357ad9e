"""Sweeps whose cells are run in the test's own process: what is run, kept, retried and gathered."""

import json

import pytest
from tiny_sweeps import TINY, read, sweep_inline, troubled

from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.run_folders import locked
from baselines.runs import read_run
from baselines.solvers.fixed_point import OnlineMirrorDescent
from baselines.sweep.pools import Ended
from baselines.sweep.results import ATTEMPTS, CELLS, RESULT, TABLE, read_table
from baselines.sweep.running import OUTPUT, run_cell
from baselines.sweep.sweep import SPECIFICATION, SUMMARY
from mfenvs.evaluation import evaluate
from mfenvs.meanfield.induced import InducedGame
from mfenvs.registry import make

pytest.importorskip("pyarrow", reason="sweeps write parquet files")


def test_a_sweep_trains_measures_and_gathers(tmp_path) -> None:
    specification = read(tmp_path)
    _, tasks, lines = sweep_inline(tmp_path / "out", specification)
    assert [task.cell for task in tasks] == specification.cells
    assert len(lines) == 5
    rows = read_table(tmp_path / "out" / TABLE)
    assert [row["cell"] for row in rows] == [cell.name for cell in specification.cells]
    game = make("RockPaperScissors-v0", n_agents=20, horizon=3)
    induced = InducedGame(game)
    for row in rows:
        learned = OnlineMirrorDescent(game, learning_rate=row["hyper_parameters.learning_rate"]).learn(2).policy
        assert row["exploitability"] == induced.exploitability(learned.probabilities) > 0.0
        assert row["uniform_exploitability"] == induced.exploitability(induced.uniform_policy())
        assert row["status"] == "done"
        assert (row["iterations"], row["timesteps"], row["attempt"]) == (2, 2, 1)
        assert row["training_seconds"] > 0.0
        assert json.loads(row["versions"])["numba"]
        settings = MeasurementSettings(n_worlds=2, deviators_per_world=2)
        assert row["return"] == row["measures.return"] == measure_policy(game, learned, settings).summary["return"]
    assert [row["seed"] for row in rows] == [0, 0, 1, 1]
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert summary["cells"] == {"all": 4, "done": 4, "failed": 0, "killed": 0, "left": 0}
    best = summary["measures"]["mean_field_exploitability"]["by_game"][0]
    assert best["share"] == pytest.approx(
        min(row["exploitability"] / row["uniform_exploitability"] for row in rows)
    )
    assert (tmp_path / "out" / SPECIFICATION).read_text() == TINY
    assert not (tmp_path / "out" / ATTEMPTS).exists()


def test_every_game_has_the_uniform_policys_measures_of_its_own(tmp_path) -> None:
    text = TINY.replace(", horizon = 3 }", " }\ngrid = { horizon = [3, 2] }").replace("seeds = 2", "seeds = 1")
    sweep_inline(tmp_path / "out", read(tmp_path, text))
    for row in read_table(tmp_path / "out" / TABLE):
        induced = InducedGame(make("RockPaperScissors-v0", n_agents=20, horizon=row["constants.horizon"]))
        assert row["uniform_exploitability"] == induced.exploitability(induced.uniform_policy())


def test_the_folder_of_a_cell_is_a_run_folder(tmp_path) -> None:
    sweep, _, _ = sweep_inline(tmp_path / "out", read(tmp_path))
    for cell in sweep.cells:
        game, policy, config = read_run(tmp_path / "out" / CELLS / cell.name)
        assert config["seed"] == cell.seed
        assert config["hyper_parameters"]["learning_rate"] == cell.hyper_parameters["learning_rate"]
        found = InducedGame(game).exploitability(policy.probabilities)
        assert found == sweep.results[cell.name].measures["mean_field_exploitability"]


def test_what_has_been_run_is_not_run_again(tmp_path) -> None:
    first, _, _ = sweep_inline(tmp_path / "out", read(tmp_path))
    again, tasks, lines = sweep_inline(tmp_path / "out", read(tmp_path))
    assert tasks == []
    assert lines == ["4 of 4 cells have been run before"]
    assert again.results == first.results
    more, tasks, lines = sweep_inline(
        tmp_path / "out", read(tmp_path, TINY.replace("seeds = 2", "seeds = [0, 1, 7]"))
    )
    assert [task.cell.seed for task in tasks] == [7, 7]
    assert {name: more.results[name] for name in first.results} == first.results
    assert len(read_table(tmp_path / "out" / TABLE)) == 6
    _, tasks, lines = sweep_inline(tmp_path / "out", read(tmp_path, TINY.replace("seeds = 2", "seeds = 1")))
    assert tasks == []
    assert "4 finished cells" in lines[0]
    assert "left alone" in lines[0]
    assert len(read_table(tmp_path / "out" / TABLE)) == 2
    assert len(list((tmp_path / "out" / CELLS).iterdir())) == 6


def test_a_damaged_result_is_named_and_its_cell_run_again(tmp_path) -> None:
    first, _, _ = sweep_inline(tmp_path / "out", read(tmp_path))
    damaged, lost = first.cells[1], first.cells[2]
    path = tmp_path / "out" / CELLS / damaged.name / RESULT
    path.write_bytes(path.read_bytes().replace(b'"iterations": 2', b'"iterations": 3'))
    (tmp_path / "out" / CELLS / lost.name / RESULT).unlink()
    (tmp_path / "out" / TABLE).write_bytes(b"PAR1")
    again, tasks, lines = sweep_inline(tmp_path / "out", read(tmp_path))
    assert [task.cell for task in tasks] == [damaged, lost]
    assert f"warning: {path} is damaged: its content does not have its checksum; the cell is run again" in lines
    assert any(line.startswith("warning: cannot read") and lost.name in line for line in lines)
    assert any(line.startswith(f"warning: {tmp_path / 'out' / TABLE} is not a parquet file") for line in lines)
    for cell in first.cells:
        same = again.results[cell.name] == first.results[cell.name]
        assert same == (cell not in (damaged, lost))
        assert again.results[cell.name].measures == first.results[cell.name].measures
    assert len(read_table(tmp_path / "out" / TABLE)) == 4


def test_a_cell_whose_process_dies_is_run_again_after_the_others(tmp_path) -> None:
    specification = read(tmp_path)
    unlucky = specification.cells[0]

    def ends(task):
        return Ended(task, None, "killed") if task.cell == unlucky and task.attempt < 3 else None

    sweep, tasks, lines = sweep_inline(tmp_path / "out", specification, ends)
    assert [(task.cell.seed, task.attempt) for task in tasks if task.cell == unlucky] == [(0, 1), (0, 2), (0, 3)]
    assert tasks[1].cell != unlucky
    assert sweep.results[unlucky.name].status == "done"
    assert sweep.results[unlucky.name].attempt == 3
    assert len(sweep.results) == 4
    assert sum("will be run again" in line for line in lines) == 2


def test_a_cell_whose_processes_die_again_and_again_is_given_up(tmp_path) -> None:
    specification = read(tmp_path)
    doomed = specification.cells[0]

    def ends(task):
        return Ended(task, None, "killed by SIGKILL") if task.cell == doomed else None

    sweep, tasks, _ = sweep_inline(tmp_path / "out", specification, ends, retries=1)
    assert [task.attempt for task in tasks if task.cell == doomed] == [1, 2]
    found = sweep.results[doomed.name]
    assert found.status == "killed"
    assert found.error == "all 2 processes that ran the cell died, the last so: killed by SIGKILL"
    assert [result.status for result in sweep.results.values()].count("done") == 3
    _, tasks, _ = sweep_inline(tmp_path / "out", specification)
    assert tasks == []
    healed, tasks, _ = sweep_inline(tmp_path / "out", specification, retry_failed=True)
    assert [task.cell for task in tasks] == [doomed]
    assert healed.results[doomed.name].status == "done"


def test_a_result_that_was_written_before_the_process_died_is_kept(tmp_path) -> None:
    specification = read(tmp_path)
    tokens = []

    def ends(task):
        tokens.append(run_cell(tmp_path / "out", task.cell, task.attempt, str(tmp_path)).token)
        return Ended(task, None, "killed by SIGKILL")

    sweep, tasks, _ = sweep_inline(tmp_path / "out", specification, ends)
    assert len(tasks) == 4
    assert [sweep.results[cell.name].token for cell in sweep.cells] == tokens


def test_a_cell_that_another_process_has_finished_meanwhile_is_neither_discarded_nor_run_again(tmp_path) -> None:
    """As by a process that outlives a killed sweep for a moment."""
    specification, folder = read(tmp_path), tmp_path / "out"
    tokens = []

    def ends(task):
        for cell in specification.cells if not tokens else ():
            tokens.append(run_cell(folder, cell, 1, str(tmp_path)).token)

    sweep, _, _ = sweep_inline(folder, specification, ends)
    assert [sweep.results[cell.name].token for cell in sweep.cells] == tokens


def test_a_cell_that_raises_an_exception_fails_and_the_others_go_on(game_in_cwd, tmp_path) -> None:
    specification = read(tmp_path, troubled(game_in_cwd, "[0.5, 3.0]", 1))
    sweep, tasks, lines = sweep_inline(tmp_path / "out", specification)
    failed, done = (sweep.results[cell.name] for cell in sweep.cells)
    assert (failed.status, done.status) == ("failed", "done")
    assert failed.error is not None
    assert failed.error.startswith("Traceback")
    assert "ArithmeticError: no such crowd" in failed.error
    assert any(line.endswith("failed: ArithmeticError: no such crowd") for line in lines)
    assert [row["status"] for row in read_table(tmp_path / "out" / TABLE)] == ["failed", "done"]
    _, tasks, _ = sweep_inline(tmp_path / "out", specification)
    assert tasks == []
    _, tasks, _ = sweep_inline(tmp_path / "out", specification, retry_failed=True)
    assert len(tasks) == 1


def test_what_a_cell_prints_is_kept_beside_it(tmp_path, capsys, monkeypatch) -> None:
    learn = OnlineMirrorDescent.learn

    def loud(self, *arguments, **keywords):
        print("louder")
        return learn(self, *arguments, **keywords)

    monkeypatch.setattr(OnlineMirrorDescent, "learn", loud)
    sweep, _, _ = sweep_inline(tmp_path / "out", read(tmp_path))
    assert (tmp_path / "out" / CELLS / sweep.cells[0].name / OUTPUT).read_text() == "louder\n"
    assert "louder" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_what_was_finished_before_an_end_is_kept_and_gathered(error, tmp_path) -> None:
    specification = read(tmp_path)

    def ends(task):
        if task.cell == specification.cells[2]:
            raise error

    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        sweep_inline(tmp_path / "out", specification, ends)
    before = read_table(tmp_path / "out" / TABLE)
    assert len(before) == 2
    assert json.loads((tmp_path / "out" / SUMMARY).read_text())["cells"]["left"] == 2
    assert not (tmp_path / "out" / ATTEMPTS).exists()
    _, tasks, _ = sweep_inline(tmp_path / "out", specification)
    assert [task.cell for task in tasks] == specification.cells[2:]
    assert read_table(tmp_path / "out" / TABLE)[:2] == before


def test_a_folder_belongs_to_one_sweep_at_a_time(tmp_path) -> None:
    with locked(tmp_path / "out"), pytest.raises(ValueError, match="belongs to a run that is going on"):
        sweep_inline(tmp_path / "out", read(tmp_path))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    sweep_inline(tmp_path / "out", read(tmp_path))


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("1")
    with pytest.raises(ValueError, match="holds files, and not those of a sweep"):
        sweep_inline(folder, read(tmp_path))
    assert [path.name for path in folder.iterdir()] == ["chapter.txt"]
    with pytest.raises(ValueError, match="folder must be a folder"):
        sweep_inline(folder / "chapter.txt", read(tmp_path))


def test_an_algorithm_on_a_game_without_tables_is_measured_by_its_return(tmp_path) -> None:
    text = TINY.replace('"omd"\ngrid = { learning_rate = [0.1, 0.2] }', '"ppo"')
    text = text.replace("[measures]", 'hyper_parameters = { hidden = [4], observe = ["mean-field"] }\n[measures]')
    sweep_inline(tmp_path / "out", read(tmp_path, text))
    rows = read_table(tmp_path / "out" / TABLE)
    assert [row["exploitability"] for row in rows] == [None, None]
    assert [row["status"] for row in rows] == ["done", "done"]
    for row in rows:
        game, policy, _ = read_run(tmp_path / "out" / CELLS / row["cell"])
        assert row["return"] == evaluate(game, policy, n_worlds=2, seed=0).mean_return.value
    assert rows[0]["uniform.return"] == rows[1]["uniform.return"]
    assert rows[0]["timesteps"] == 2 * 20 * 3
    assert json.loads((tmp_path / "out" / SUMMARY).read_text())["measure"] == "return"


def test_a_length_in_seconds_ends_after_the_first_iteration_at_the_earliest(tmp_path) -> None:
    text = TINY.replace("iterations = 2", "seconds = 1e-9")
    rows = sweep_inline(tmp_path / "out", read(tmp_path, text))[0].results.values()
    assert [row.iterations for row in rows] == [1] * 4
