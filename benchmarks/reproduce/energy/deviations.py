"""What single members would gain by deviating from the policies, in the market of all members."""

from pathlib import Path
from typing import Any

import torch

from baselines.market.planned_equilibrium import planned_equilibrium
from benchmarks.reproduce.energy.players import DEVIATED_FROM, players
from benchmarks.reproduce.energy.protocol import Protocol, day_market
from mfenvs.energy.exploitability import market_exploitability
from mfenvs.games.energy.market import EnergyMarket

PLANNING_SEED = 1000
"""Added to the seed of plans, so that they never see the weather against which replies are planned: that is of the
seed plus the day."""


def exploit_day(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, Any]:
    """Gains by deviating on one day from every policy of :data:`.players.DEVIATED_FROM` but the planned one.

    Returns
    -------
    dict
        By policy what :func:`gains_against` returns.
    """
    torch.set_num_threads(1)
    given = players(protocol, day, table, model)
    return {name: gains_against(protocol, day, *given[name]) for name in DEVIATED_FROM if name in given}


def exploit_planned_day(protocol: Protocol, day: int) -> dict[str, Any]:
    """Gains by deviating from the planned equilibrium on one day, and how near its plans come to one.

    Returns
    -------
    dict
        What :func:`gains_against` returns; ``sweep``, that of the policy, counted from 1; and ``regrets`` of all
        sweeps, EUR per member and day, shape (n_sweeps,).
    """
    game = day_market(protocol, day, "discrete")
    found = planned_equilibrium(game, n_iterations=protocol.planning_sweeps, seed=protocol.seed + PLANNING_SEED)
    more = {"sweep": found.iteration + 1, "regrets": found.regrets}
    return gains_against(protocol, day, game, found.policy) | more


def gains_against(protocol: Protocol, day: int, game: EnergyMarket, policy: Any) -> dict[str, Any]:
    """Gains by deviating from a policy on one day; members and simulations are the same for all policies.

    Returns
    -------
    dict
        ``gains``, EUR a day, and ``types`` of the members in the sample, shape (n_sampled,) each.
    """
    measured = market_exploitability(
        game,
        policy,
        n_sampled=protocol.n_sampled,
        n_records=protocol.n_records,
        n_worlds=protocol.n_pairs,
        seed=protocol.seed + day,
    )
    return {"gains": measured.gains, "types": game.agents["type"][measured.agents]}
