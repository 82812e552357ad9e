"""All figures of merit of a record, and their long table."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from mfenvs.energy.merit.grid import GRID_UNITS, GridFigures, grid_figures
from mfenvs.energy.merit.members import COMMUNITY, MEMBER_UNITS, MemberFigures, member_figures
from mfenvs.energy.merit.table import to_dataframe, write_parquet
from mfenvs.energy.record import MarketRecord

SEASONAL_PEAK = "seasonal_peak_import"
UNITS = {**GRID_UNITS, SEASONAL_PEAK: "kW", **MEMBER_UNITS}
"""Unit of each figure of the table; 1 for shares and other numbers without a unit."""


@dataclasses.dataclass(frozen=True, eq=False)
class FiguresOfMerit:
    """Figures of merit of a record."""

    grid: GridFigures
    """Exchange with the grid and batteries, day by day."""
    members: MemberFigures
    """Bills and gains of the members."""

    def table(self) -> dict[str, list[Any]]:
        """All figures as a long table: columns by name, with as many entries as there are rows.

        ``figure`` is one of :data:`UNITS`, and ``unit`` its unit. ``group`` is ``community``, a type of members
        or a season. ``world``, ``day`` (index in the series) and ``date`` tell of which day a figure is, and are
        None for a figure of the whole record. ``value`` is the figure, and ``low`` and ``high`` are the ends of
        its 95 % interval (:meth:`MemberFigures.statistics`). A number that does not exist is None.
        """
        rows: list[tuple[Any, ...]] = []
        grid = self.grid
        for name in GRID_UNITS:
            values = getattr(grid, name).tolist()
            days = zip(grid.world.tolist(), grid.day.tolist(), grid.date, values, strict=True)
            rows += [(name, COMMUNITY, *day, None, None) for day in days]
        peaks = grid.seasonal_peak_import
        rows += [(SEASONAL_PEAK, season, None, None, None, peak, None, None) for season, peak in peaks.items()]
        statistics = self.members.statistics()
        rows += [(name, group, None, None, None, *found) for (name, group), found in statistics.items()]
        figure, group, world, day, date, *numbers = map(list, zip(*rows, strict=True))
        value, low, high = ([None if x is None or math.isnan(x) else x for x in column] for column in numbers)
        unit = [UNITS[name] for name in figure]
        places = {"figure": figure, "unit": unit, "group": group, "world": world, "day": day, "date": date}
        return {**places, "value": value, "low": low, "high": high}

    def to_dataframe(self) -> Any:
        """The :meth:`table` as a ``pandas.DataFrame``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return to_dataframe(self.table())

    def to_parquet(self, path: str | Path) -> None:
        """Write the :meth:`table` as a Parquet file, whole or not at all.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        TypeError, OSError
            If ``path`` is no path, or cannot be written.
        """
        write_parquet(path, self.table())


def figures_of_merit(record: MarketRecord) -> FiguresOfMerit:
    """All figures of merit of the days of a record.

    Records of the same game, number of worlds and seed are of the same days, so that their figures can be compared
    pair by pair.

    Raises
    ------
    TypeError
        If ``record`` is no :class:`~mfenvs.energy.record.MarketRecord`.
    """
    return FiguresOfMerit(grid_figures(record), member_figures(record))
