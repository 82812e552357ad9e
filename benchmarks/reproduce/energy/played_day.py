"""What is measured of one day: every policy's welfare, its steps, bills, grid and batteries."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reproduce.energy.gain_steps import steps_of_plan, steps_of_record
from benchmarks.reproduce.energy.players import POLICIES, players
from benchmarks.reproduce.energy.protocol import Protocol
from mfenvs.energy.merit import grid_exchange, grid_figures, member_figures
from mfenvs.energy.merit.exchange import energy_to_refill
from mfenvs.energy.merit.grid import GRID_UNITS
from mfenvs.energy.outcomes import best_plans, market_outcome, planning_problem
from mfenvs.energy.record import MarketRecord, record_days
from mfenvs.energy.welfare import Plan, no_trade
from mfenvs.games.energy.conditions import FEED_IN, RETAIL
from mfenvs.games.energy.prosumer_types import TYPES

Array = NDArray[np.float64]


def play_day(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, Any]:
    """Everything that is compared of one day; energies in kWh, power in kW, money in EUR of that day.

    Parameters
    ----------
    protocol, day, table, model:
        As of :func:`benchmarks.reproduce.energy.players.players`.

    Returns
    -------
    dict
        ``date``; ``no trade`` and ``perfect foresight``, with welfare, net import (H,) and steps of the gain;
        ``status quo``, the bills (N,) without a market; load and generation by type (T, H); tariffs (H,); and
        ``policies``, by name what :func:`measure` returns.
    """
    torch.set_num_threads(1)
    found: dict[str, Any] = {"policies": {}}
    plans: list[Plan] | None = None
    for name, (game, policy) in players(protocol, day, table, model).items():
        record = record_days(game, policy, n_worlds=1, seed=protocol.seed + day)
        if plans is None:
            plans = best_plans(record)
            found |= {"day": day, "date": game.days.dates[day]} | references(record, plans[0])
        found["policies"][name] = measure(record, plans)
    assert tuple(found["policies"]) == POLICIES
    return found


def references(record: MarketRecord, plan: Plan) -> dict[str, Any]:
    """The day without a market, with perfect foresight, and what is given."""
    problem, members = planning_problem(record, 0, settles_charge=False), member_figures(record)
    alone, n_steps = no_trade(problem), problem.n_steps
    kinds = record.game.agents["type"][:, None] == np.arange(len(TYPES))
    capacity, net = problem.capacity.sum(), (plan.imported - plan.exported)[:n_steps]
    missing = plan.soc[:, 0] - plan.soc[:, n_steps]
    # With equal charge at the end, as grid_exchange has it of a record.
    band = energy_to_refill(missing, problem.efficiency).sum() / n_steps
    return {
        "no trade": {"welfare": float(alone.welfare.sum()), "net": alone.net.sum(axis=0)},
        "perfect foresight": {
            "welfare": plan.bound,
            "net": net,
            "metered": net + band,
            "charge": plan.soc[:, : n_steps + 1].sum(axis=0) / capacity if capacity > 0 else np.zeros(n_steps + 1),
            "steps": steps_of_plan(record, plan)._asdict(),
        },
        "status quo": {
            "idle": members.bill_idle[0].round(6),
            "self-consumption": members.bill_self_consumption[0].round(6),
        },
        "load": (record.account("load")[0] @ kinds).T,
        "generation": (record.account("generation")[0] @ kinds).T,
        "retail": record.signals[0, :, RETAIL],
        "feed_in": record.signals[0, :, FEED_IN],
    }


def measure(record: MarketRecord, plans: list[Plan]) -> dict[str, Any]:
    """The figures of one policy on a day.

    Returns
    -------
    dict
        ``outcome``: the fields of :class:`~mfenvs.energy.outcomes.MarketOutcome`. ``steps``: those of the gain.
        ``grid``: the figures of :data:`~mfenvs.energy.merit.grid.GRID_UNITS`. ``price`` (H,); ``net`` (H,), the
        net import; ``metered`` (H,), the net import with equal charge at the end; ``charge`` (H + 1,), the mean
        state of charge of those who own a battery; ``battery`` (H,), what a battery draws on average.
        ``bill``, ``gain over idle`` and ``gain over self-consumption`` (N,).
    """
    outcome, grid, members = market_outcome(record, plans=plans), grid_figures(record), member_figures(record)
    owners = record.game.agents["capacity"] > 0
    drawn = (record.account("charge")[0] - record.account("discharge")[0])[:, owners]
    return {
        "outcome": {f.name: float(getattr(outcome, f.name)[0]) for f in dataclasses.fields(outcome)},
        "steps": steps_of_record(record)._asdict(),
        "grid": {name: float(getattr(grid, name)[0]) for name in GRID_UNITS},
        "price": record.price[0],
        "net": (record.account("imports") - record.account("exports"))[0].sum(axis=1),
        "metered": grid_exchange(record).net[0],
        "charge": _mean(record.charge[0][:, owners]),
        "battery": _mean(drawn),
        "bill": members.bill[0].round(6),
        "gain over idle": members.gain_over_idle[0].round(6),
        "gain over self-consumption": members.gain_over_self_consumption[0].round(6),
    }


def _mean(of_owners: Array) -> Array:
    """The mean of each row; 0 of nobody."""
    mean: Array = of_owners.mean(axis=1) if of_owners.shape[1] else np.zeros(len(of_owners))
    return mean
