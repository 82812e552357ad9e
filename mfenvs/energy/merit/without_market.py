"""What members would have paid without a market, on the same realised days.

Without a market every member settles with the retailer alone, by its meter: what it imports in a step costs the
retail tariff, and what it exports earns the feed-in tariff. It knows its load and generation as they turn out, so
that there is no imbalance.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.outcomes.planning import planning_problem
from mfenvs.energy.record import MarketRecord, check_record
from mfenvs.energy.welfare import PlanningProblem, no_trade
from mfenvs.engine.compile import kernel
from mfenvs.games.energy.prosumer_step import battery_plan, charge_after
from mfenvs.games.energy.trading import settle_charge

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class StatusQuo:
    """Days without a market, with idle batteries and with self-consumption; all arrays have shape (n_worlds, N).

    Flexible load is the same in both: it is served from one's own surplus where it is worth more than the feed-in
    tariff, and from the grid where it is worth more than the retail tariff.
    """

    idle_bill: Array
    """Bill with an idle battery, EUR: imports at the retail tariff less exports at the feed-in tariff."""
    idle_return: Array
    """Return with an idle battery, EUR: value of the flexible load served less the bill."""
    self_consumption_bill: Array
    """Bill with a battery that stores its owner's surplus and covers its owner's demand, EUR.

    The settlement of the charge that is missing or left at the end is part of it, by the market's own terms.
    """
    self_consumption_return: Array
    """Return with such a battery, EUR: value of flexible load less the bill and battery wear."""


def status_quo(record: MarketRecord) -> StatusQuo:
    """The days of a record as they would have been without a market.

    Load and generation are the realised ones of the record; what its agents did does not matter. The battery of
    the status quo of self-consumption charges with any surplus and covers any demand of its owner as it turns out,
    within its power and capacity: the usual rule of home batteries [O].

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    bills = [_of_day(planning_problem(record, world, settles_charge=False)) for world in range(record.n_worlds)]
    return StatusQuo(*(np.stack(figure) for figure in zip(*bills, strict=True)))


def _of_day(problem: PlanningProblem) -> tuple[Array, Array, Array, Array]:
    """The fields of :class:`StatusQuo` on one day, each of shape (N,)."""
    alone = no_trade(problem)
    idle_bill = np.where(alone.net > 0.0, problem.retail, problem.feed_in) * alone.net
    bill, wear = np.empty(problem.n_agents), np.empty(problem.n_agents)
    terms = problem.capacity, problem.power, problem.efficiency, problem.soc0, problem.degradation
    _self_consumption()(np.ascontiguousarray(alone.net), *terms, problem.retail, problem.feed_in, bill, wear)
    value = alone.welfare + idle_bill.sum(axis=1)
    return idle_bill.sum(axis=1), alone.welfare, bill, value - bill - wear


@functools.cache
def _self_consumption() -> Callable[..., None]:
    """The kernel that follows every battery through a day."""

    @kernel
    def follow(
        net: Any,
        capacity: Any,
        power: Any,
        efficiency: Any,
        first: Any,
        degradation: Any,
        retail: Any,
        feed_in: Any,
        bill: Any,
        wear: Any,
    ) -> None:
        """Write each member's bill and battery wear (N,), EUR, for demands less generation ``net`` (N, H), kWh."""
        n_members, n_steps = net.shape
        for i in range(n_members):
            stored, paid, used = first[i], 0.0, 0.0
            for t in range(n_steps):
                wanted = -net[i, t] / power[i] if power[i] > 0.0 else 0.0
                wanted = min(max(wanted, -1.0), 1.0)
                draw, deliver = battery_plan(wanted, stored, capacity[i], power[i], efficiency[i])
                stored = charge_after(stored, draw, deliver, capacity[i], efficiency[i])
                metered = net[i, t] + draw - deliver
                paid += (retail[t] if metered > 0.0 else feed_in[t]) * metered
                used += draw + deliver
            end = n_steps - 1
            bill[i] = paid + settle_charge(first[i], stored, retail[end], feed_in[end], efficiency[i])
            wear[i] = degradation[i] * used

    return follow
