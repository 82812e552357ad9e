"""The community's exchange with the grid, as a meter at its transformer shows it, with equal charge at the end."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.record import MarketRecord, check_record
from mfenvs.engine.compile import kernel
from mfenvs.engine.model import in_double_precision
from mfenvs.games.energy.conditions import published
from mfenvs.games.energy.devices import need_at_midnight, vehicle_after

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class GridExchange:
    """Net imports of the community, with batteries that end as full as they began, and vehicles that end full."""

    net: Array
    """Net import in each step (negative: export), with the band, kWh, shape (n_worlds, H)."""
    band: Array
    """Energy of the band that brings batteries and vehicles to these charges, kWh, shape (n_worlds,)."""
    step_hours: float
    """Length of a step in hours."""

    @property
    def power(self) -> Array:
        """Net import in each step as a mean power, kW, shape (n_worlds, H)."""
        return self.net / self.step_hours


def grid_exchange(record: MarketRecord) -> GridExchange:
    """The exchange of a record's community with the grid, comparable between policies.

    Members' imports and exports of a step are netted, those by imbalance included: what one exports, another one
    imports without passing the transformer.

    A policy that empties batteries has used energy that has to be bought back, and would else seem to need less
    energy and to have a lower peak. So the charge that is missing at the end is added to the imports, and charge
    that is left is taken off, as a **band of constant power** over all steps of the episode [O]: with equal days
    one after the other each would have to make up for itself, and a policy does not say in which hours. Refilling
    takes the missing charge divided by the one-way efficiency; discharging gives the rest times the efficiency.
    What vehicles still need at the end is added likewise.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    game = record.game
    missing = (record.charge[:, 0] - record.charge[:, -1]) * game.agents["capacity"].astype(np.float64)
    efficiency = game.agents["efficiency"].astype(np.float64)
    band = energy_to_refill(missing, efficiency).sum(axis=1)
    if game.traits.has_vehicles:
        band += [_needed_at_end(record, world) for world in range(record.n_worlds)]
    net = (record.account("imports") - record.account("exports")).sum(axis=2)
    return GridExchange(net + band[:, None] / net.shape[1], band, game.days.step_hours)


def energy_to_refill(missing: Array, efficiency: Array | float) -> Array:
    """Energy that has to be bought for charge that is missing, or that charge beyond it gives (< 0), kWh.

    ``missing`` is in kWh of charge, negative for charge that is left; ``efficiency`` is one-way.
    """
    bought: Array = np.where(missing > 0.0, missing / efficiency, missing * efficiency)
    return bought


def _needed_at_end(record: MarketRecord, world: int) -> float:
    """Energy that all vehicles together need at the end of an episode, kWh."""
    agents, signals = in_double_precision(record.game.agents), np.ascontiguousarray(record.signals[world])
    charged = np.ascontiguousarray(record.account("ev_charge")[world])
    return float(_follow_vehicles(agents, signals, charged, record.game.constants))


class Vehicle(NamedTuple):
    """State of a vehicle, as the rules of devices read it."""

    vehicle_need: Any
    """Energy that it needs before it departs, kWh."""


@kernel
def _follow_vehicles(agents: Any, signals: Any, charged: Any, constants: Any) -> Any:
    """The sum of what vehicles need at the end, for what they were charged with, ``charged`` (H, N), kWh."""
    total = 0.0
    for i in range(len(agents)):
        vehicle = Vehicle(need_at_midnight(agents[i]) + 0.0)
        for t in range(len(charged)):
            need, _ = vehicle_after(vehicle, charged[t, i], agents[i], published(signals[t]), constants)
            vehicle = Vehicle(need + 0.0)
        total += vehicle.vehicle_need
    return total
