"""Members of one's own market: a table with a row for each, and the agents that they become."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tables import Row, Table, TableError, number, read_table, text, yes_or_no
from mfenvs.games.energy.prosumer_types import MOST_KWH, TYPES, ProsumerLaw

MOST_MEMBERS = 2**24
"""Most rows of a table: as many as a game has agents."""

MOST_VALUE = 1e3
"""Largest value of flexible load, EUR/kWh."""

LEAST_KWH = 1e-3
"""Least annual load and battery, kWh, and least installed power of an owner, kW."""

OWNERS = {
    "pv_kwp": ("pv", "storage", "commercial"),
    "wind_kw": ("wind",),
    "battery_kwh": ("storage",),
    "battery_kw": ("storage",),
    "efficiency": ("storage",),
}
"""Types that may have what a column says."""

EV_OWNERS = ("consumer", "pv", "storage")
"""Types that may have an electric vehicle: homes."""

NEEDED = {"pv": "pv_kwp", "storage": "battery_kwh", "wind": "wind_kw"}
"""What an owner of a type has more than none of."""

BOUNDS = {
    "annual_load_kwh": (LEAST_KWH, MOST_KWH),
    "pv_kwp": (0.0, MOST_KWH),
    "wind_kw": (0.0, MOST_KWH),
    "battery_kwh": (0.0, MOST_KWH),
    "battery_kw": (0.0, MOST_KWH),
    "efficiency": (0.01, 1.0),
    "flexible_share": (0.0, 1.0),
    "flexible_value": (0.0, MOST_VALUE),
}
"""Numbers that each column may hold."""

AGENT_FIELDS = {
    "pv_kwp": "pv_kwp",
    "wind_kw": "wind_kw",
    "battery_kwh": "capacity",
    "efficiency": "efficiency",
    "flexible_share": "flexible_share",
    "flexible_value": "flexible_value",
}
"""Parameters of an agent that a column states."""

VEHICLE_FIELDS = ("vehicle_energy", "vehicle_power", "vehicle_arrival", "vehicle_departure")
"""Parameters of an agent that are 0 without an electric vehicle."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A member of the market: a row of the table, whose columns are these fields.

    What is None is drawn from the laws of the game (:class:`~mfenvs.games.energy.prosumer_types.ProsumerLaw`) for
    the member's type.

    Raises
    ------
    TableError
        If a field is not allowed, or not for the member's type.
    """

    type: str
    """``consumer``, ``pv``, ``storage`` (owns a battery, and PV), ``commercial`` or ``wind``."""
    name: str | None = None
    """A name for the member, for the user's own use."""
    annual_load_kwh: float | None = None
    """Electricity used in 365 days, kWh: the load's series is scaled to it."""
    load: str | None = None
    """Column of the load table. Without ``annual_load_kwh`` its amounts are the member's own."""
    pv_kwp: float | None = None
    """Installed PV, kWp: factor on the output per kWp in the series."""
    pv: str | None = None
    """Column of the PV table; None takes that of the profile that the load is of."""
    wind_kw: float | None = None
    """Installed wind power, kW."""
    battery_kwh: float | None = None
    """Battery capacity, kWh."""
    battery_kw: float | None = None
    """Battery power, kW; None for the law's power per capacity."""
    efficiency: float | None = None
    """One-way battery efficiency; None for the game's."""
    flexible_share: float | None = None
    """Share of the load that is flexible."""
    flexible_value: float | None = None
    """Value of flexible load, EUR/kWh."""
    ev: bool | None = None
    """Whether it has an electric vehicle."""
    place: str = dataclasses.field(default="", compare=False)
    """Where it stands, for errors: the table, and the line or row."""

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or self.type not in TYPES:
            given = "nothing" if self.type is None else checks.shown(self.type)
            raise self.error("type", f"must be one of {', '.join(TYPES)}, got {given}")
        for column in ("name", "load", "pv"):
            if not isinstance(getattr(self, column), str | None):
                raise self.error(column, f"must be a text, got {checks.shown(getattr(self, column))}")
        for column, bounds in BOUNDS.items():
            if (given := getattr(self, column)) is not None:
                try:
                    object.__setattr__(self, column, checks.real(column, given, *bounds))
                except (TypeError, ValueError) as error:
                    raise self.error(column, str(error)) from None
        if not isinstance(self.ev, bool | None):
            raise self.error("ev", f"must be True, False or None, got {checks.shown(self.ev)}")
        self._check_type()

    def _check_type(self) -> None:
        """Refuse what a member of the type cannot have, or lacks."""
        for column, owners in OWNERS.items():
            if (given := getattr(self, column)) and self.type not in owners:
                problem = f"is only for {', '.join(owners)}, got {given:g} of type {self.type!r}"
                raise self.error(column, problem)
        needed = NEEDED.get(self.type)
        if needed is not None and (given := getattr(self, needed)) is not None and given < LEAST_KWH:
            raise self.error(needed, f"must be at least {LEAST_KWH:g} for type {self.type!r}, got {given:g}")
        if self.battery_kw == 0.0 and self.type == "storage":
            raise self.error("battery_kw", "must be above 0 for type 'storage', got 0")
        if self.ev and self.type not in EV_OWNERS:
            raise self.error("ev", f"is only for {', '.join(EV_OWNERS)}, got yes of type {self.type!r}")

    def error(self, column: str, problem: str) -> TableError:
        """The error that names the table, the row and the column."""
        return TableError(f"{self.place or 'a member'}, column {column!r}: {problem}")


if TYPE_CHECKING:
    AnyMembers = Any
else:
    # The annotation that fields of games have when they run: command lines make flags of it.
    AnyMembers = str
"""A table of members in any form that :func:`read_members` reads, or what it returns."""

COLUMNS = tuple(field.name for field in dataclasses.fields(Member) if field.name != "place")
"""Columns of the table; all but ``type`` may be left out."""


def read_members(given: Any) -> tuple[Member, ...]:
    """Read a table of members.

    Parameters
    ----------
    given:
        Path of a CSV or Parquet file, a dict of columns, a dataframe, or another table that
        :func:`~mfenvs.energy.tables.read_table` takes; its columns are fields of :class:`Member`. Members that
        were read before are returned as they are.

    Returns
    -------
    tuple[Member, ...]
        Ordered by type, in the order of the table within each.

    Raises
    ------
    TableError
        If a column is unknown, ``type`` is missing, or a cell is not allowed; it names the table, the line or row
        (from 0, of tables in memory) and the column.
    TypeError, ImportError, OSError
        If it is no table, ``pyarrow`` is needed for it and not installed, or the file cannot be read.
    """
    if isinstance(given, tuple) and given and all(isinstance(member, Member) for member in given):
        return _by_type(given)
    table = read_table("members", given)
    if unknown := checks.unknown_name(table.columns, COLUMNS):
        raise table.error(f"the column {unknown}", "line 1")
    if "type" not in table.columns:
        raise table.error(f"must have the column 'type', got {', '.join(table.columns)}", "line 1")
    members: list[Member] = []
    for row in table.rows:
        if len(members) == MOST_MEMBERS:
            raise table.error(f"has more than {MOST_MEMBERS} rows", row.place)
        members.append(_member(table, row))
    if len(members) < 2:
        raise table.error(f"must have at least 2 members, got {len(members)}")
    return _by_type(members)


def plain(members: Sequence[Member]) -> dict[str, list[Any]]:
    """The columns of the members' table, of which :func:`read_members` makes equal members."""
    columns = {column: [getattr(member, column) for member in members] for column in COLUMNS}
    return {column: cells for column, cells in columns.items() if any(cell is not None for cell in cells)}


def numbers_by_type(members: Sequence[Member]) -> tuple[float, ...]:
    """How many members there are of each type."""
    return tuple(float(sum(member.type == kind for member in members)) for kind in TYPES)


def played_series(members: Sequence[Member], series: MarketSeries) -> tuple[MarketSeries, NDArray[np.int64]]:
    """The series with a profile for each pair of load and PV that members name, and each member's profile.

    Returns
    -------
    MarketSeries
        The profiles of ``series``, and behind them those pairs that it lacks.
    NDArray[np.int64]
        Index of the member's profile, shape (n_members,); -1 where it is to be drawn.

    Raises
    ------
    TableError
        If a member names a load or PV that the series does not have, or its PV or wind has no output in it.
    """
    loads, sunny = _first_places(series.load_names), _first_places(series.pv_names)
    pairs = [(at, at) for at in range(series.n_profiles)]
    number_of = {pair: at for at, pair in enumerate(pairs)}
    has_sun = series.pv.max(axis=(0, 1)) > 0
    # A pair of names that the series already has as one profile is that profile.
    named = {(series.load_names[at], series.pv_names[at]): at for at in reversed(range(series.n_profiles))}
    profiles = np.full(len(members), -1)
    for at, member in enumerate(members):
        for column, names in (("load", loads), ("pv", sunny)):
            name = getattr(member, column)
            if name is not None and name not in names:
                known = list(names)
                more = " and more" if len(known) > 20 else ""
                raise member.error(
                    column, f"must be a name in the {column} table, {', '.join(known[:20])}{more}; got {name!r}"
                )
        if member.wind_kw and not series.wind.any():
            raise member.error("wind_kw", "needs wind in the series, which has none")
        if member.load is None and member.pv is None:
            if member.pv_kwp and not has_sun.any():
                raise member.error("pv_kwp", "needs PV in the series, which has none")
            continue
        if member.load is not None and member.pv is not None and (member.load, member.pv) in named:
            pair = (named[member.load, member.pv],) * 2
        else:
            load = at % series.n_profiles if member.load is None else loads[member.load]
            pair = (load, load if member.pv is None else sunny[member.pv])
            if member.pv is None and member.type in OWNERS["pv_kwp"] and member.pv_kwp != 0 and not has_sun[load]:
                pair = (load, int(series.pv_profiles[at % len(series.pv_profiles)]))
        if member.pv_kwp and not has_sun[pair[1]]:
            raise member.error("pv_kwp", "needs PV in the series, but the member's PV has no output in it")
        if pair not in number_of:
            number_of[pair] = len(pairs)
            pairs.append(pair)
        profiles[at] = number_of[pair]
    return series if len(pairs) == series.n_profiles else series.paired(pairs), profiles


def as_agents(
    members: Sequence[Member],
    drawn: NDArray[Any],
    series: MarketSeries,
    profiles: NDArray[np.int64],
    law: ProsumerLaw,
    with_vehicles: NDArray[Any],
) -> NDArray[Any]:
    """The members as agents: what the table says, and for the rest what was drawn.

    Parameters
    ----------
    members:
        The members, ordered by type.
    drawn:
        As many agents of the same types, as :func:`~mfenvs.games.energy.prosumer_types.draw_prosumers` draws them.
    series, profiles:
        As :func:`played_series` returns them.
    law:
        The law of the draws, for the power of batteries.
    with_vehicles:
        The drawn agents, all with an electric vehicle.
    """
    agents = drawn.copy()
    has_profile = profiles >= 0
    agents["profile"] = np.where(has_profile, profiles, drawn["profile"])
    of_profile = series.load.sum(axis=(0, 1), dtype=np.float64) * 365 / series.n_days
    # Drawn loads keep their annual amounts, whatever profile they now have.
    annual = drawn["load_scale"] * of_profile[drawn["profile"]]
    is_own = np.array([member.load is not None for member in members])
    annual = _stated(members, "annual_load_kwh", annual)
    agents["load_scale"] = annual / of_profile[agents["profile"]]
    agents["load_scale"][is_own & _is_open(members, "annual_load_kwh")] = 1.0
    agents["shift"][is_own] = 0
    for column, field in AGENT_FIELDS.items():
        agents[field] = _stated(members, column, drawn[field])
    agents["power"] = _stated(members, "battery_kw", law.c_rate * agents["capacity"])
    for at, member in enumerate(members):
        if member.ev is not None:
            for field in VEHICLE_FIELDS:
                agents[field][at] = with_vehicles[field][at] if member.ev else 0.0
    return agents


def _stated(members: Sequence[Member], column: str, otherwise: NDArray[Any]) -> NDArray[np.float64]:
    """A column's numbers, with others where the table leaves them open."""
    cells = np.array([getattr(member, column) for member in members], np.float64)  # None becomes nan
    return np.where(np.isnan(cells), otherwise, cells)


def _is_open(members: Sequence[Member], column: str) -> NDArray[np.bool_]:
    return np.array([getattr(member, column) is None for member in members])


def _first_places(names: Sequence[str]) -> dict[str, int]:
    return {name: names.index(name) for name in dict.fromkeys(names)}


def _by_type(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: TYPES.index(member.type)))


def _member(table: Table, row: Row) -> Member:
    """The member of a row."""
    cells: dict[str, Any] = {}
    for at, column in enumerate(table.columns):
        if column in BOUNDS:
            amount = number(table, row, at, *BOUNDS[column])
            cells[column] = None if math.isnan(amount) else amount
        elif column == "ev":
            cells[column] = yes_or_no(table, row, at)
        else:
            cells[column] = text(table, row, at) or None
    return Member(**cells, place=f"{table.source}, {row.place}")
