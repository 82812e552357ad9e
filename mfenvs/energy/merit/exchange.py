"""The community's exchange with the grid, as a meter at its transformer shows it, with equal charge at the end."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.calendar import HOURS_PER_DAY
from mfenvs.energy.record import MarketRecord, check_record

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class GridExchange:
    """Net imports of the community, with batteries that end as full as they began."""

    net: Array
    """Net import in each step (negative: export), with the band, kWh, shape (n_worlds, H)."""
    band: Array
    """Energy of the band that brings the batteries back to their first charge, kWh, shape (n_worlds,).

    It is what refilling takes where charge is missing, less what discharging gives where there is too much."""
    step_hours: float
    """Length of a step in hours."""

    @property
    def power(self) -> Array:
        """Net import in each step as a mean power, kW, shape (n_worlds, H)."""
        return self.net / self.step_hours

    def by_day(self, figure: NDArray[np.float64]) -> Array:
        """Cut a figure of all steps into days: (n_worlds, H) to (n_worlds * n_days, steps of a day).

        A horizon of less than a day is one short day.
        """
        n_steps = figure.shape[1]
        days: Array = figure.reshape(-1, min(n_steps, round(HOURS_PER_DAY / self.step_hours)))
        return days


def grid_exchange(record: MarketRecord) -> GridExchange:
    """The exchange of a record's community with the grid, comparable between policies.

    Members' imports and exports of a step are netted, those by imbalance included: what one exports, another one
    imports without passing the transformer.

    A policy that empties batteries has used energy that has to be bought back, and would else seem to need less
    energy and to have a lower peak. So the charge that is missing at the end is added to the imports, and charge
    that is left is taken off, as a **band of constant power** over all steps of the episode [O]: with equal days
    one after the other each would have to make up for itself, and a policy does not say in which hours. Refilling
    takes the missing charge divided by the one-way efficiency; discharging gives the rest times the efficiency.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    check_record(record)
    game = record.game
    missing = (record.charge[:, 0] - record.charge[:, -1]) * game.agents["capacity"].astype(np.float64)
    efficiency = float(game.constants.efficiency)
    band = np.where(missing > 0.0, missing / efficiency, missing * efficiency).sum(axis=1)
    net = (record.account("imports") - record.account("exports")).sum(axis=2)
    return GridExchange(net + band[:, None] / net.shape[1], band, game.days.step_hours)
