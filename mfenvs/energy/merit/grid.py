"""Figures of the community's exchange with the grid and of its batteries, day by day."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mfenvs.energy.merit.days import first_steps
from mfenvs.energy.merit.exchange import grid_exchange
from mfenvs.energy.merit.seasons import SEASONS, season_of
from mfenvs.energy.record import MarketRecord
from mfenvs.games.energy.conditions import CLOCK, DAY

Array = NDArray[np.float64]

GRID_UNITS = {
    "consumption": "kWh",
    "generation": "kWh",
    "curtailed": "kWh",
    "imports": "kWh",
    "exports": "kWh",
    "end_charge_band": "kWh",
    "self_sufficiency": "1",
    "self_consumption": "1",
    "peak_import": "kW",
    "peak_export": "kW",
    "load_factor": "1",
    "ramping": "kW",
    "co2": "kg",
    "battery_cycles": "1",
}
"""Figures of days and their units; 1 for shares and other numbers without a unit."""


@dataclasses.dataclass(frozen=True, eq=False)
class GridFigures:
    """Figures of the days of a record: all days of the first world, then those of the second, and so on.

    All are of the community's net import with equal charge at the end
    (:func:`~mfenvs.energy.merit.exchange.grid_exchange`), and have shape (n_days,).
    """

    world: NDArray[np.int64]
    """World of each day."""
    day: NDArray[np.int64]
    """Index of each day in the series."""
    date: tuple[str, ...]
    """Date of each day, as the series has it."""
    consumption: Array
    """Inelastic load, flexible load served and vehicles' charging, kWh. Battery losses are no consumption."""
    generation: Array
    """PV and wind generation, kWh, what is curtailed included."""
    curtailed: Array
    """Generation that is curtailed by a limit of the transformer, kWh."""
    imports: Array
    """Sum over the steps of the net import where it is positive, kWh."""
    exports: Array
    """Sum over the steps of the net import where it is negative, without the sign, kWh."""
    end_charge_band: Array
    """Part of the net import that brings batteries back to their first charge and fills vehicles, kWh; negative if
    they end fuller."""
    self_sufficiency: Array
    """1 - imports / consumption; nan without consumption. Battery losses that are imported count against it."""
    self_consumption: Array
    """1 - (exports + curtailed) / generation; nan without generation."""
    peak_import: Array
    """Largest power imported, as a mean over a step, kW."""
    peak_export: Array
    """Largest power exported, as a mean over a step, kW."""
    load_factor: Array
    """Power imported on average over all steps, divided by the peak import; nan if nothing is imported."""
    ramping: Array
    """Sum of the absolute changes of the net import from step to step, kW. A change from one day to the next is
    the later one's."""
    co2: Array
    """Emissions of the imported energy, at the carbon intensity that the series has in each step, kg CO2. Exports
    are not credited."""
    battery_cycles: Array
    """Equivalent full cycles of all batteries together: energy that went into and out of their stores, divided by
    twice their capacity; nan without a battery."""

    @property
    def seasonal_peak_import(self) -> dict[str, float]:
        """Largest peak import among the record's days of each season, kW.

        Seasons are the northern meteorological ones; those without a day are left out, as are days whose date is
        none. A maximum grows with the number of days: compare records of the same days only.
        """
        peaks: dict[str, float] = {}
        for date, peak in zip(self.date, self.peak_import.tolist(), strict=True):
            if (season := season_of(date)) is not None:
                peaks[season] = max(peak, peaks.get(season, 0.0))
        return {season: peaks[season] for season in SEASONS if season in peaks}


def grid_figures(record: MarketRecord) -> GridFigures:
    """The figures of the days of a record.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    exchange = grid_exchange(record)
    game, power = record.game, exchange.power
    n_steps, days = power.shape[1], first_steps(power.shape[1], exchange.step_hours)

    def total(figure: Array) -> Array:
        """Sums over the steps of each day, (n_worlds, H) to (n_days,)."""
        sums: Array = np.add.reduceat(figure, days, axis=1).ravel()
        return sums

    def largest(figure: Array) -> Array:
        maxima: Array = np.maximum.reduceat(figure, days, axis=1).ravel()
        return maxima

    def used(name: str) -> Array:
        return total(record.account(name).sum(axis=2))

    taken, given = np.maximum(exchange.net, 0.0), np.maximum(-exchange.net, 0.0)
    imports, exports, peak = total(taken), total(given), largest(np.maximum(power, 0.0))
    consumption = used("load") + used("flexible") + used("ev_charge")
    generation, curtailed = used("generation"), used("curtailed")
    changes = np.abs(np.diff(power, axis=1, prepend=power[:, :1]))
    of_step = record.signals[:, :, DAY].astype(np.int64)
    carbon = game.days.co2[of_step, record.signals[:, :, CLOCK].astype(np.int64)]
    efficiency = game.agents["efficiency"].astype(np.float64)
    stored = efficiency * record.account("charge") + record.account("discharge") / efficiency
    through = total(stored.sum(axis=2))
    capacity = float(game.agents["capacity"].sum(dtype=np.float64))
    length = np.tile(np.diff(days, append=n_steps), record.n_worlds)
    day = of_step[:, days].ravel()
    return GridFigures(
        world=np.repeat(np.arange(record.n_worlds), len(days)),
        day=day,
        date=tuple(game.days.dates[k] for k in day),
        consumption=consumption,
        generation=generation,
        curtailed=curtailed,
        imports=imports,
        exports=exports,
        end_charge_band=np.repeat(exchange.band / n_steps, len(days)) * length,
        self_sufficiency=1.0 - _ratio(imports, consumption),
        self_consumption=1.0 - _ratio(exports + curtailed, generation),
        peak_import=peak,
        peak_export=largest(np.maximum(-power, 0.0)),
        load_factor=_ratio(imports / (length * exchange.step_hours), peak),
        ramping=total(changes),
        co2=total(taken * carbon),
        battery_cycles=_ratio(through, np.full(len(day), 2.0 * capacity)),
    )


def _ratio(part: Array, whole: Array) -> Array:
    """``part / whole``, nan where the whole is 0."""
    ratio: Array = np.full(len(part), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0.0)
    return ratio
