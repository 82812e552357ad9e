"""Cells on a Ray cluster of two nodes on this machine."""

import os
from pathlib import Path

import pytest
from tiny_sweeps import read, troubled, wait_until

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("pyarrow", reason="sweeps write parquet files")

from ray.cluster_utils import Cluster  # noqa: E402

from baselines.cli.main import main  # noqa: E402
from baselines.sweep.ray_pool import RayPool  # noqa: E402
from baselines.sweep.results import ATTEMPTS, CELLS, RESULT, TABLE, read_table  # noqa: E402
from baselines.sweep.sweep import SweepSettings, run_sweep  # noqa: E402

OBJECT_STORE = 10**8
"""Memory of a node for objects, in bytes: about the least that Ray takes."""


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of two nodes with one CPU each."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.second_node = made.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_cell_is_lost_and_none_run_twice_when_a_node_is_killed(cluster, game_in_cwd, tmp_path) -> None:
    """Of eight cells four wait: two of them, one a node, until one of the nodes has been killed."""
    specification = read(tmp_path, troubled(game_in_cwd, "[3.0, 2.0]", 4))
    folder, lines, before = tmp_path / "out", list[str](), dict[Path, bytes]()

    class KillsANode(RayPool):
        def wait(self):
            if not (tmp_path / "open").exists() and len(list(tmp_path.glob("waiting-*"))) == 2:
                before.update({path: path.read_bytes() for path in folder.glob(f"{CELLS}/*/{RESULT}")})
                cluster.remove_node(cluster.second_node, allow_graceful=False)
                waiting = [int(path.name.partition("-")[2]) for path in tmp_path.glob("waiting-*")]
                wait_until(lambda: sum(map(is_alive, waiting)) == 1, "no process died with the node")
                (tmp_path / "open").touch()
            return super().wait()

        def submit(self, task):
            super().submit(task)
            if len(self._tasks) == len(specification.cells):
                wait_until(lambda: len(list(tmp_path.glob("waiting-*"))) == 2, "the nodes did not begin")

    settings = SweepSettings(retries=2, retry_failed=False)
    make_pool = lambda n: KillsANode(folder, cluster.address)  # noqa: E731
    sweep = run_sweep(folder, specification, settings, make_pool, lines.append)

    assert lines[0].endswith("2 nodes, 2 CPUs, 0 GPUs")
    deaths = [line for line in lines if "the cell will be run again" in line]
    assert len(deaths) >= 1
    assert {cell.name for cell in sweep.cells} == {path.name for path in (folder / CELLS).iterdir()}
    assert [sweep.results[cell.name].status for cell in sweep.cells] == ["done"] * 8
    assert sum(sweep.results[cell.name].attempt for cell in sweep.cells) == 8 + len(deaths)
    assert before == {path: path.read_bytes() for path in before}
    assert len(before) >= 1
    # None but the cell that waited on the node that was killed has begun twice.
    assert sorted((tmp_path / "begun").read_text().split()) == ["2.0"] * 5 + ["3.0"] * 4
    rows = read_table(folder / TABLE)
    assert [row["cell"] for row in rows] == [cell.name for cell in sweep.cells]
    assert not (folder / ATTEMPTS).exists()


def test_the_command_runs_cells_on_a_cluster(cluster, game_in_cwd, tmp_path, capsys) -> None:
    """One of the cells kills its process once, another raises an exception."""
    path = tmp_path / "spec.toml"
    path.write_text(troubled(game_in_cwd, "[1.0, 0.5, 3.0]", 1))
    words = ["sweep", str(path), "--folder", str(tmp_path / "out"), "--address", cluster.address]
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert "3 cells to run, by the Ray cluster at" in shown
    assert "died (WorkerCrashedError" in shown
    rows = read_table(tmp_path / "out" / TABLE)
    assert [(row["status"], row["attempt"]) for row in rows] == [("done", 2), ("failed", 1), ("done", 1)]
    assert main(words) == 1
    assert "3 of 3 cells have been run before" in capsys.readouterr().out


def test_a_cluster_that_is_not_there_is_named(game_in_cwd, tmp_path, capsys) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(troubled(game_in_cwd, "[3.0]", 1))
    words = ["sweep", str(path), "--folder", str(tmp_path / "out"), "--address", "auto"]
    assert main(words) == 2
    assert "cannot join a Ray cluster at 'auto'" in capsys.readouterr().err
