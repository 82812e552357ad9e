"""The energy market, version 1, on real days: what it gains, where that comes from, and who gets it.

There is no published figure to compare with: the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games"
states aims, and the market is ours [O]. So what is shown is measured, on days spread evenly over the year that no
training has played.

The mean-field equilibrium is computed for each day from that day's data, as a day-ahead plan: it knows the day,
and of the weather that disturbs it and of everyone's errors their laws. So does the planned equilibrium, where
each member has a policy of its own; of it, only what members would gain by deviating is measured. The receding-
horizon planner knows the day, too, and sees the weather as it comes; the network and the rules of thumb act on
what members observe.

What each task has found is kept, so that a run that was broken off goes on where it was.
"""

import dataclasses
import functools
import hashlib
import time
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from baselines.versions import versions
from benchmarks.reproduce import energy_policies
from benchmarks.reproduce.energy import page, summary
from benchmarks.reproduce.energy.details import settle_days, show_hour, trade_offs
from benchmarks.reproduce.energy.deviations import exploit_day, exploit_planned_day
from benchmarks.reproduce.energy.forecasting import forecasts
from benchmarks.reproduce.energy.played_day import play_day
from benchmarks.reproduce.energy.players import find_equilibrium
from benchmarks.reproduce.energy.protocol import FULL, Protocol, test_days, typical_day, whole_market
from benchmarks.reproduce.tasks import Tasks, kept_in, run_all
from mfenvs.files import write_json

RESULTS = Path("runs") / "energy"


@dataclasses.dataclass
class Flags:
    """Compare policies of the energy market, version 1; write report.html, tables.md and results.json."""

    jobs: int = 2
    """Processes at a time, one thread each."""
    out: Path = RESULTS
    """Folder of the page, its tables as Markdown, and the JSON."""
    kept: Path = RESULTS / "tasks"
    """Folder of what finished tasks have found: a run with the same sizes takes it from there. Delete it when the
    code has changed."""
    models: Path = energy_policies.RESULTS / "models"
    """Folder of trained networks, which may be that of energy-policies: a network that is there, and was trained
    with the same settings on the same days, is not trained again."""


def main(words: list[str], protocol: Protocol = FULL) -> int:
    """Run everything that is not kept from an earlier run; 130 if interrupted."""
    flags = tyro.cli(Flags, args=words, prog="python -m benchmarks reproduce energy")
    began = time.perf_counter()
    flags.out.mkdir(parents=True, exist_ok=True)
    found, interrupted = compute(flags, protocol)
    seconds = time.perf_counter() - began
    content = {
        "complete": not interrupted,
        "seeds": [protocol.seed],
        "protocol": dataclasses.asdict(protocol),
        "game": whole_market(protocol.n_agents).describe(),
        **({} if interrupted else summary.summarise(protocol, found)),
        "seconds": seconds,
        "versions": versions(),
    }
    write_json(flags.out / "results.json", content)
    if not interrupted:
        page.write(flags.out / "report.html", protocol, found, content)
        page.write_tables(flags.out / "tables.md", content)
        Console().print(page.console_table(content))
    print(f"{'interrupted, ' if interrupted else ''}{seconds:.0f} s; written to {flags.out}")
    return 130 if interrupted else 0


def compute(flags: Flags, protocol: Protocol) -> tuple[dict[tuple[Any, ...], Any], bool]:
    """What all tasks found, by their keys, and whether they were interrupted."""
    days = test_days(protocol)
    training = energy_policies.Flags(
        ppo_seeds=1, ppo_updates=protocol.ppo_updates, jobs=flags.jobs, models=flags.models
    )
    (model,), _, interrupted = energy_policies.train_networks(training, days)
    if interrupted:
        return {}, True
    settings: dict[str, Any] = {"game": whole_market(protocol.n_agents).describe(), "seed": protocol.seed}

    def kept(tasks: Tasks, *names: str) -> Tasks:
        """Tasks whose results depend on these sizes, too."""
        return kept_in(flags.kept, tasks, settings | {name: getattr(protocol, name) for name in names})

    solver = "solver_seconds", "solver_tolerance", "groups_per_type", "n_weathers"
    first = kept(
        {("equilibrium", day): functools.partial(find_equilibrium, protocol, day) for day in days}, *solver
    )
    first |= kept({("forecasts",): forecasts})
    exploited = days[:: -(-len(days) // protocol.exploited_days)]
    pairs = "n_sampled", "n_records", "n_pairs"
    first |= kept(
        {("planned", day): functools.partial(exploit_planned_day, protocol, day) for day in exploited},
        "planning_sweeps",
        *pairs,
    )
    found, interrupted = run_all(first, flags.jobs, "equilibria and forecasts")
    if interrupted:
        return found, True
    settings["model"] = hashlib.sha256(model.read_bytes()).hexdigest()

    def of_day(task: Any, day: int) -> Any:
        return functools.partial(task, protocol, day, found["equilibrium", day]["policy"], model)

    summer = typical_day(protocol, "summer")
    second = kept({("day", day): of_day(play_day, day) for day in days}, *solver)
    second |= kept({("deviations", day): of_day(exploit_day, day) for day in exploited}, *solver, *pairs)
    second |= kept({("hour", summer): of_day(show_hour, summer)}, *solver)
    second |= kept({("fronts", summer): functools.partial(trade_offs, protocol, summer)}, "front_points")
    second |= kept({("settled",): functools.partial(settle_days, protocol)}, "n_days", "settled_days")
    more, interrupted = run_all(second, flags.jobs, "days")
    return found | more, interrupted
