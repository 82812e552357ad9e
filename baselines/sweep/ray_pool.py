"""Processes of a Ray cluster that run cells, one task of Ray each."""

import importlib
from pathlib import Path
from typing import Any

from .pools import ONE_THREAD, Ended, Task
from .running import run_cell

MOST_SUBMITTED = 1000
"""Number of tasks that wait in Ray at a time: enough for a cluster that grows with what is waiting."""


class RayPool:
    """Processes of a Ray cluster that run cells.

    Ray's own retries are off: a task that is lost with its process or its node is reported as such.

    Parameters
    ----------
    sweep:
        Folder of the sweep, on a file system that all nodes share, under the same path.
    address:
        Address of the cluster as :func:`ray.init` takes it: ``auto`` for the one that this machine belongs to,
        ``local`` for a new one of this machine only.
    cpus_per_cell, gpus_per_cell:
        Number of CPUs and GPUs, or share of one, that Ray reserves for each cell.

    Raises
    ------
    ModuleNotFoundError
        If ray is not installed.
    OSError
        If there is no cluster at this address.
    """

    def __init__(self, sweep: Path, address: str, cpus_per_cell: float = 1.0, gpus_per_cell: float = 0.0) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("--address needs Ray; run `pip install mfenvs[ray]`") from error
        self._ray = ray
        self.capacity = MOST_SUBMITTED
        self._sweep = sweep
        self._tasks: dict[Any, Task] = {}
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            try:
                ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": ONE_THREAD})
            except Exception as error:  # Ray raises a plain one where a node does not start in time.
                raise OSError(f"cannot join a Ray cluster at {address!r}: {error}") from error
        self.description = f"the Ray cluster at {address}, {_resources(ray)}"
        options = {"max_retries": 0, "num_cpus": cpus_per_cell, "num_gpus": gpus_per_cell}
        self._run = ray.remote(**options)(run_cell)

    def submit(self, task: Task) -> None:
        """Let Ray run a task when there is room."""
        reference = self._run.remote(self._sweep, task.cell, task.attempt, str(Path.cwd()))
        self._tasks[reference] = task

    def wait(self) -> list[Ended]:
        """Wait until at least one task ends."""
        try:
            ready, _ = self._ray.wait(list(self._tasks), num_returns=1)
        except self._ray.exceptions.RayError as error:
            raise OSError(f"the Ray cluster is gone: {error}") from error
        return [self._end_of(reference) for reference in ready]

    def _end_of(self, reference: Any) -> Ended:
        task, errors = self._tasks.pop(reference), self._ray.exceptions
        try:
            return Ended(task, self._ray.get(reference))
        except errors.RayTaskError as error:
            raise OSError(f"{error.cause} (while {task.cell} was run)") from error
        except (errors.RuntimeEnvSetupError, errors.TaskUnschedulableError) as error:
            raise OSError(f"Ray cannot run {task.cell}: {error}") from error
        except errors.RayError as error:
            reason = " ".join(str(error).split())[:200]
            return Ended(task, None, f"{type(error).__name__}: {reason}")

    def close(self) -> None:
        """End all tasks, and leave the cluster."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        if self._is_ours:
            self._ray.shutdown()


def _resources(ray: Any) -> str:
    """What a cluster has now, in words."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    parts = [f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"]
    parts += [f"{sum(node.get(kind, 0.0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU")]
    return ", ".join(parts)
