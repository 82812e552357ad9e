"""What members would have paid without a market, on the same realised days.

Without a market every member settles with the retailer alone, by its meter: what it imports in a step costs the
retail tariff, and what it exports earns the feed-in tariff. It knows its load and generation as they turn out, so
that there is no imbalance. Devices follow the market's own rules.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.merit.days import first_steps
from mfenvs.energy.record import MarketRecord, check_record
from mfenvs.engine.compile import kernel
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.conditions import expected_factor, published, step_data
from mfenvs.games.energy.devices import (
    backlog_after,
    need_at_midnight,
    no_vehicle,
    no_vehicle_after,
    nothing_waits,
    vehicle_after,
    vehicle_draw,
    wanted_now,
    wanted_of_waiting,
)
from mfenvs.games.energy.prosumer_step import battery_plan, charge_after
from mfenvs.games.energy.trading import settle_charge

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class StatusQuo:
    """Days without a market, with idle batteries and with self-consumption; all arrays have shape (n_worlds, N).

    Bills are imports at the retail tariff less exports at the feed-in tariff, and by the market's own terms the
    settlement of what battery and vehicle lack or have left at the end and the charge on peaks. Returns are the
    value of the flexible load served less the bill, battery wear, and what vehicles lack when they depart.
    """

    idle_bill: Array
    """Bill with an idle battery, EUR."""
    idle_return: Array
    """Return with an idle battery, EUR."""
    self_consumption_bill: Array
    """Bill with a battery that stores its owner's surplus and covers its owner's demand, EUR."""
    self_consumption_return: Array
    """Return with such a battery, EUR."""


def status_quo(record: MarketRecord) -> StatusQuo:
    """The days of a record as they would have been without a market.

    Load and generation are the realised ones of the record; what its agents did does not matter. Members do the
    usual [O]:

    - Flexible load is served from the own surplus where it is worth more than the feed-in tariff, and from the
      grid where it is worth more than the retail tariff. What may wait is asked for again in the next step.
    - Vehicles charge at full power as soon as they can.
    - The battery of self-consumption charges with any surplus that is left, and covers any demand, as they turn
      out, within its power and capacity.
    - A charge on peaks is the same as in the market: on the community's peak it is shared among those who import
      while it rises, in proportion. Limits of the transformer do not hold.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    worlds = [_of_world(record, world) for world in range(record.n_worlds)]
    return StatusQuo(*(np.stack(figure) for figure in zip(*worlds, strict=True)))


def _of_world(record: MarketRecord, world: int) -> tuple[Array, Array, Array, Array]:
    """The fields of :class:`StatusQuo` in one world, each of shape (N,)."""
    game = record.game
    load, generation = (np.ascontiguousarray(record.account(name)[world]) for name in ("load", "generation"))
    agents, signals = in_double_precision(game.agents), np.ascontiguousarray(record.signals[world])
    first = record.charge[world, 0] * agents["capacity"]
    live = _living_alone(game.traits.shifts, game.traits.has_vehicles)
    found = []
    for use in (0.0, 1.0):
        metered, (bill, benefit) = np.empty(load.shape), np.empty((2, game.n_agents))
        live(agents, signals, load, generation, first, use, game.constants, metered, bill, benefit)
        bill += peak_charges(metered, game.peak_charge, game.peak_of, game.days.step_hours)
        found += [bill, benefit - bill]
    return found[0], found[1], found[2], found[3]


def peak_charges(metered: Array, charge: float, peak_of: str, step_hours: float) -> Array:
    """What each member pays for peaks, EUR, shape (N,).

    Parameters
    ----------
    metered:
        Net imports at the members' meters, kWh, shape (H, N).
    charge:
        Charge on a day's highest import, EUR/kW.
    peak_of:
        Whose peak is charged: the ``community``'s, or each ``member``'s own.
    step_hours:
        Length of a step in hours.
    """
    imported, days = np.maximum(metered, 0.0), first_steps(len(metered), step_hours)
    if peak_of == "member":
        owed: Array = charge / step_hours * np.maximum.reduceat(imported, days).sum(axis=0)
        return owed
    net = np.maximum(metered.sum(axis=1), 0.0) / step_hours
    rises = [np.diff(np.maximum.accumulate(day), prepend=0.0) for day in np.split(net, days[1:])]
    total = imported.sum(axis=1, keepdims=True)
    shares = np.divide(imported, total, out=np.zeros(metered.shape), where=total > 0.0)
    shared: Array = charge * np.concatenate(rises) @ shares
    return shared


class Home(NamedTuple):
    """State of a member's devices beside the battery, as the rules of devices read it."""

    backlog: Any
    """Flexible load that waits, kWh."""
    vehicle_need: Any
    """Energy that the vehicle needs before it departs, kWh."""


@functools.cache
def _living_alone(shifts: bool, has_vehicles: bool) -> Callable[..., None]:
    """The kernel that follows every member through an episode, in a market with these devices."""
    wanted, waits = (wanted_of_waiting, backlog_after) if shifts else (wanted_now, nothing_waits)
    drawn, after = (vehicle_draw, vehicle_after) if has_vehicles else (no_vehicle, no_vehicle_after)

    @kernel
    def live(
        agents: Any,
        signals: Any,
        load: Any,
        generation: Any,
        first: Any,
        use: Any,
        constants: Any,
        metered: Any,
        bill: Any,
        benefit: Any,
    ) -> None:
        """Write net imports ``metered`` (H, N), kWh, and bills and all other benefits less costs (N,), EUR.

        ``use`` is the share of the batteries' power that self-consumption may use: 0 for idle ones.
        """
        n_steps, n_members = load.shape
        for i in range(n_members):
            agent, stored, paid, gained = agents[i], first[i], 0.0, 0.0
            home = Home(0.0, need_at_midnight(agent) + 0.0)
            power, efficiency = use * agent.power * constants.step_hours, agent.efficiency
            for t in range(n_steps):
                now = published(signals[t])
                data = step_data(agent, now.day, int(now.clock), constants)
                surplus = max(generation[t, i] - load[t, i], 0.0)
                served = wanted(1.0, data, expected_factor(now, constants), home)
                if agent.flexible_value <= now.retail:
                    served = min(served, surplus) if agent.flexible_value > now.feed_in else 0.0
                vehicle = drawn(1.0, home, agent, constants)
                net = load[t, i] + served + vehicle - generation[t, i]
                share = min(max(-net / power, -1.0), 1.0) if power > 0.0 else 0.0
                draw, deliver = battery_plan(share, stored, agent.capacity, power, efficiency)
                stored = charge_after(stored, draw, deliver, agent.capacity, efficiency)
                net += draw - deliver
                need, lacked = after(home, vehicle, agent, now, constants)
                home = Home(waits(home, data, served, agent, now, constants) + 0.0, need + 0.0)
                metered[t, i] = net
                paid += (now.retail if net > 0.0 else now.feed_in) * net
                gained += agent.flexible_value * served - constants.degradation * (draw + deliver)
                gained -= constants.vehicle_penalty * lacked
                if t == n_steps - 1:
                    paid += settle_charge(first[i], stored, now.retail, now.feed_in, efficiency)
                    paid += now.retail * home.vehicle_need
            bill[i], benefit[i] = paid, gained

    return live
