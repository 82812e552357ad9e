"""What is shown of single days: an hour's orders, trade-offs of the planner, the settlement of payments."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.market.policies import SelfConsumption
from benchmarks.reproduce.energy.order_book import order_book
from benchmarks.reproduce.energy.players import EQUILIBRIUM, players
from benchmarks.reproduce.energy.protocol import Protocol, day_market, test_days
from mfenvs import Engine
from mfenvs.energy.outcomes import planning_problem, settle
from mfenvs.energy.record import record_days
from mfenvs.energy.welfare import pareto_front, pool
from mfenvs.play import Player


def show_hour(protocol: Protocol, day: int, table: Any, model: Path) -> dict[str, Any]:
    """The orders of the hour of a day whose price is furthest from both tariffs, when all play the equilibrium."""
    torch.set_num_threads(1)
    game, policy = players(protocol, day, table, model)[EQUILIBRIUM]
    seed = protocol.seed + day
    price = record_days(game, policy, n_worlds=1, seed=seed).price[0]
    feed_in, retail = (tariff[day] for tariff in (game.tariffs.feed_in, game.tariffs.retail))
    hour = int(np.minimum(price - feed_in, retail - price).argmax())
    engine, player = Engine(game), Player(game, policy)
    engine.reset(seed)
    for _ in range(hour + 1):
        engine.step(player.actions(engine))
    return {"hour": hour, "book": order_book(engine)._asdict()}


def trade_offs(protocol: Protocol, day: int) -> dict[str, Any]:
    """Pareto fronts of a day: cost against the largest exchange with the grid, and against CO2.

    Members' worths of flexible load are pooled in steps of 0.005 EUR/kWh.

    Returns
    -------
    dict
        ``peak`` and ``co2``, each an array (n_points, 2) of cost, EUR, and kWh per hour or kg CO2.
    """
    game = day_market(protocol, day, "box")
    record = record_days(game, SelfConsumption(game), n_worlds=1, seed=protocol.seed + day)
    co2 = game.days.co2[day, : game.horizon]
    problem = pool(planning_problem(record, 0, co2=co2, settles_charge=False), value_tolerance=0.005).problem
    return {
        name: pareto_front(problem, ("cost", name), n_points=protocol.front_points).values
        for name in ("peak", "co2")
    }


def settle_days(protocol: Protocol) -> dict[str, Any]:
    """Local payments of a few test days under the rule of self-consumption, over payment channels.

    Returns
    -------
    dict
        ``summaries``, of each day the fields of :class:`~mfenvs.energy.settlement.SettlementSummary`; of all
        transfers ``latency`` (ms), ``amount`` (EUR), ``succeeded`` and ``routed`` (bool).
    """
    summaries: list[dict[str, Any]] = []
    transfers: dict[str, list[NDArray[Any]]] = {"latency": [], "amount": [], "succeeded": [], "routed": []}
    days = test_days(protocol)
    for k, day in enumerate(days[:: -(-len(days) // protocol.settled_days)]):
        game = day_market(protocol, day, "box")
        record = record_days(game, SelfConsumption(game), n_worlds=1, seed=protocol.seed + day)
        settlements, total = settle(record, 0, "payment-channels", seed=protocol.seed + k)
        summaries.append({"date": game.days.dates[day]} | dataclasses.asdict(total))
        for step in settlements:
            transfers["latency"].append(step.configured_latency_ms)
            transfers["amount"].append(step.amount_eur)
            transfers["succeeded"].append(step.succeeded)
            transfers["routed"].append(step.succeeded & (step.n_parts > 0))
    return {"summaries": summaries, **{name: np.concatenate(parts) for name, parts in transfers.items()}}
