"""``mfenvs evaluate``: mean return and exploitability of a run's policy."""

import dataclasses

from rich.console import Console
from rich.table import Table

from mfenvs.files import write_json

from ..policy_measures import MeasurementSettings, measure_policy
from ..runs import read_run
from .devices import check_simulation_device
from .saved_run import SavedRunFlags, read_command_line


@dataclasses.dataclass(kw_only=True)
class EvaluateFlags(MeasurementSettings, SavedRunFlags):
    """How to evaluate the policy of a run."""

    def check(self) -> None:
        """Raise a TypeError or ValueError if a setting is not allowed, or this machine has no such device."""
        SavedRunFlags.check(self)
        MeasurementSettings.check(self)
        check_simulation_device(self.device)


def run(words: list[str]) -> int:
    """Print the mean return and exploitability of a run's policy; write ``evaluation.json`` to its folder."""
    folder, flags = read_command_line(
        "evaluate",
        words,
        EvaluateFlags,
        "Measure the return and the exploitability of a run's policy, and write them to evaluation.json in the run"
        " folder.",
    )
    game, policy, config = read_run(folder)
    found = measure_policy(game, policy, flags)
    table = Table(
        *("measure", "value", "95 % interval"),
        title=f"{config['algorithm']} on {config['game']}",
        caption=found.caption,
    )
    for row in found.rows:
        table.add_row(*row)
    Console().print(table)
    write_json(folder / "evaluation.json", {"settings": dataclasses.asdict(flags), **found.summary})
    return 0
