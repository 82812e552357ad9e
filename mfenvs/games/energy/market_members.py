"""The agents of a market: drawn from laws, or the members of a table."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.members import Member, as_agents, numbers_by_type, played_series, read_members
from mfenvs.energy.series import MarketSeries
from mfenvs.energy.tables import TableError
from mfenvs.games.energy.prosumer_types import ProsumerLaw, draw_prosumers


class Played(NamedTuple):
    """The series that a market plays, and what its members have of it."""

    given: MarketSeries
    """The series as it was given, in the market's steps; profiles are drawn from it."""
    series: MarketSeries
    """The same with the profiles that members name."""
    profiles: NDArray[np.int64] | None
    """Profile of each member, -1 where it is to be drawn; None without members."""


def played(series: MarketSeries, members: tuple[Member, ...] | None) -> Played:
    """The series that a market with these members plays."""
    if members is None:
        return Played(series, series, None)
    return Played(series, *played_series(members, series))


def checked_law(value: Any) -> ProsumerLaw:
    """A law, or a dict of its fields, whose bounds may be lists as in JSON.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or a field is unknown or not allowed.
    """
    if isinstance(value, ProsumerLaw):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"law must be a ProsumerLaw or a dict of its fields, got {checks.shown(value)}")
    fields: dict[str, Any] = {
        str(name): tuple(given) if isinstance(given, list) else given for name, given in value.items()
    }
    if unknown := checks.unknown_name(fields, [field.name for field in dataclasses.fields(ProsumerLaw)]):
        raise ValueError(f"law: {unknown}")
    return ProsumerLaw(**fields)


def checked_members(given: Any) -> tuple[Member, ...] | None:
    """The members of a table; None for None.

    Raises
    ------
    TypeError, TableError, ImportError
        As of :func:`~mfenvs.energy.members.read_members`.
    ValueError
        If a file cannot be read.
    """
    if given is None:
        return None
    try:
        return read_members(given)
    except TableError:
        raise
    except (OSError, ValueError) as error:  # Also where a text is no name of a file at all.
        raise ValueError(
            f"members must be a table that can be read, got {checks.shown(given)} ({error})"
        ) from error


def terms_of(members: tuple[Member, ...], given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Number of agents and proportions of a market with these members.

    Parameters
    ----------
    members:
        The members.
    given:
        These terms as the market was given them.
    defaults:
        Their defaults, which count as left out.

    Raises
    ------
    ValueError
        If a term is given, and is not that of the members.
    """
    terms = {"n_agents": len(members), "proportions": numbers_by_type(members)}
    for name, value in terms.items():
        if given[name] not in (defaults[name], value):
            raise ValueError(f"{name} must be left out or that of the members, {value}, got {given[name]!r}")
    return terms


def has_vehicles(members: tuple[Member, ...] | None, share: float) -> bool:
    """Whether any agent has an electric vehicle, or may have one."""
    if members is None or any(member.ev is None for member in members):
        return share > 0.0 or any(member.ev for member in members or ())
    return any(member.ev for member in members)


def draw_members(
    members: tuple[Member, ...],
    found: Played,
    rng: np.random.Generator,
    law: ProsumerLaw,
    vehicle_share: float,
    efficiency: float,
) -> NDArray[Any]:
    """The members as agents, what the table leaves open being drawn, or the market's as the efficiency is."""
    assert found.profiles is not None, "the series was made for these members"
    again = copy.deepcopy(rng)

    def drawn(rng: np.random.Generator, share: float) -> NDArray[Any]:
        return draw_prosumers(numbers_by_type(members), len(members), found.given, rng, law, share, efficiency)

    # The same people, once with vehicles by chance and once all with one.
    agents, with_vehicles = drawn(rng, vehicle_share), drawn(again, 1.0)
    return as_agents(members, agents, found.series, found.profiles, law, with_vehicles)
