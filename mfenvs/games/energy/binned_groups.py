"""How agents of the energy market are put into the groups of the market in bins."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.prosumer_types import STORAGE, TYPES

GROUPINGS = ("value", "need")
"""Ways to put agents of a type into groups."""
LEAST_CAPACITY = 1e-6
"""Battery capacity below which need is not told apart, kWh."""


def stripes_of(market: EnergyMarket, n_stripes: int, groups_by: str, day: int) -> NDArray[np.int64]:
    """The part of its type to which each agent of a market belongs, as :func:`stripes` numbers them, (n_agents,).

    Parameters
    ----------
    market:
        The market.
    n_stripes:
        Number of parts of each type.
    groups_by:
        How a type is sorted: one of :data:`GROUPINGS`.
    day:
        Day of the series whose need counts, if types are sorted by that.

    Raises
    ------
    ValueError
        If the market's series does not have that day.
    """
    agents = market.agents
    keys = agents["flexible_value"].astype(np.float64)
    if groups_by == "need":
        if day >= market.days.n_days:
            raise ValueError(
                f"market must have day {day}, by the need on which agents are put into groups, got a series of"
                f" {market.days.n_days} days"
            )
        owners = agents["type"] == STORAGE
        keys[owners] = (day_need(market, day) / np.maximum(agents["capacity"], LEAST_CAPACITY))[owners]
    return stripes(agents["type"], keys, n_stripes)


def day_energy(market: EnergyMarket, day: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Load and PV generation of every agent in each step of a day of the series, kWh, shape (H, N) each."""
    agents, days = market.agents, market.days
    load = agents["load_scale"] * days.load[(day + agents["shift"]) % days.n_days, :, agents["profile"]].T
    sun = agents["pv_kwp"] * days.pv[day][:, agents["profile"]]
    return load, sun


def day_need(market: EnergyMarket, day: int) -> NDArray[np.float64]:
    """What every agent's load exceeds its own generation by, step by step, on a day of the series, kWh, (N,)."""
    load, sun = day_energy(market, day)
    wind = np.outer(market.days.wind[day], market.agents["wind_kw"])
    need: NDArray[np.float64] = np.maximum(load - sun - wind, 0.0).sum(axis=0, dtype=np.float64)
    return need


def stripes(kinds: NDArray[Any], keys: NDArray[np.float64], n_stripes: int) -> NDArray[np.int64]:
    """Sort each type's agents by a key, and cut them into ``n_stripes`` equal parts.

    Flexible load worth more than the retail tariff is bought at any price, and load worth less is not: of all in
    which agents of a type without batteries differ, this alters most what is best for them. How much charge a
    battery's owner can use itself alters most what it does with that [O].

    Returns
    -------
    Number type * n_stripes + part of each agent, shape (n_agents,); parts may be empty where there are few of a
    type.
    """
    found = np.empty(len(kinds), np.int64)
    for kind in range(len(TYPES)):
        members = np.flatnonzero(kinds == kind)
        order = members[np.argsort(keys[members], kind="stable")]
        found[order] = kind * n_stripes + np.arange(len(order)) * n_stripes // max(1, len(order))
    return found
