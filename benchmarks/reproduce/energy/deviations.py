"""What single members would gain by deviating from the policies, in the market of all members."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.reproduce.energy.players import PLANNER, RANDOM, players
from benchmarks.reproduce.energy.protocol import Protocol
from mfenvs.energy.exploitability import market_exploitability


def exploit_day(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, Any]:
    """Gains by deviating from every policy but random play on one day.

    The receding-horizon planner is left out too: it plans for all members together, a deviator included.

    Returns
    -------
    dict
        By policy ``gains``, EUR a day, and ``types`` of the members in the sample, shape (n_sampled,) each.
    """
    torch.set_num_threads(1)
    found = {}
    for name, (game, policy) in players(protocol, day, table, model).items():
        if name in (RANDOM, PLANNER):
            continue
        measured = market_exploitability(
            game,
            policy,
            n_sampled=protocol.n_sampled,
            n_records=protocol.n_records,
            n_worlds=protocol.n_pairs,
            seed=protocol.seed + day,
        )
        found[name] = {"gains": measured.gains, "types": game.agents["type"][measured.agents]}
    return found
