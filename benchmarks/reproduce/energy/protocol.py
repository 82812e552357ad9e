"""How large the reproduction is, the days on which policies are compared, and the market that is played."""

import dataclasses
import functools
from typing import Any

import numpy as np

from benchmarks.reproduce.energy_policies import spread_days
from benchmarks.reproduce.energy_training import Training
from mfenvs.energy.calendar import DATE
from mfenvs.energy.merit.seasons import season_of
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Sizes of all parts of the reproduction."""

    n_agents: int = 1000
    """Number of members."""
    n_days: int = 36
    """Test days, on which all policies are compared, spread evenly over the series; training never plays them."""
    groups_per_type: int = 4
    """Groups of each type in the binned game."""
    n_weathers: int = 17
    """Weathers in which it is cleared."""
    solver_seconds: float = 40.0
    """Processor time for the equilibrium of each day's binned game, seconds."""
    solver_tolerance: float = 1e-3
    """Exploitability at which the solver stops earlier, EUR per member and day."""
    ppo_updates: int = Training.n_updates
    """Updates of the network, which is trained on all other days; its random seed is 0."""
    exploited_days: int = 12
    """Test days on which gains by deviating are measured."""
    n_sampled: int = 32
    """Members drawn on each of these days."""
    n_records: int = 4
    """Recorded days against which each member's reply is planned."""
    n_pairs: int = 16
    """Pairs of simulations, with and without the deviation, of each member."""
    planning_sweeps: int = 60
    """Sweeps of the planned equilibrium of each of these days."""
    front_points: int = 12
    """Points of each Pareto front."""
    settled_days: int = 3
    """Days whose local payments are settled over payment channels."""
    seed: int = 0
    """Random seed of weather and errors."""


FULL = Protocol()
"""The sizes of the results that are committed."""


@functools.cache
def whole_market(n_agents: int) -> EnergyMarket:
    """The market on all days of its series, with continuous actions."""
    return EnergyMarket(n_agents=n_agents)


def test_days(protocol: Protocol) -> list[int]:
    """Days of the series, counted from 0, on which all policies are compared."""
    return spread_days(protocol.n_days, whole_market(protocol.n_agents).days.n_days)


def day_market(protocol: Protocol, day: int, actions: str) -> EnergyMarket:
    """The market on one day of the series, counted from 0."""
    return EnergyMarket(n_agents=protocol.n_agents, actions=actions, first_day=day, n_days=1)


def binned_market(protocol: Protocol, day: int) -> BinnedEnergyMarket:
    """The binned game of one day of the series, in the weathers of the market."""
    return BinnedEnergyMarket(
        n_agents=protocol.n_agents,
        day=day,
        groups_per_type=protocol.groups_per_type,
        groups_by="need",
        weather_sd=EnergyMarket.weather_sd,
        n_weathers=protocol.n_weathers,
    )


def typical_day(protocol: Protocol, season: str) -> int:
    """The test day whose load and PV are nearest to the season's means, in standard deviations of the season.

    It is one of the season; of all test days, if none of them is.
    """
    series = whole_market(protocol.n_agents).days
    figures = np.array([series.load.sum(axis=(1, 2)), series.pv.sum(axis=(1, 2))], np.float64)
    is_in_season = np.array([season_of(date) == season for date in series.dates])
    mean, spread = figures[:, is_in_season].mean(axis=1), figures[:, is_in_season].std(axis=1)
    days = test_days(protocol)
    candidates = [day for day in days if is_in_season[day]] or days
    distances = [float(np.square((figures[:, day] - mean) / spread).sum()) for day in candidates]
    return candidates[int(np.argmin(distances))]


def date_in_words(label: str) -> str:
    """``14 February`` of the label ``02-14``, ``14 February 2024`` of ``2024-02-14``; other texts as they are."""
    match = DATE.fullmatch(label)
    if match is None or not 1 <= int(match[2]) <= 12:
        return label
    words: list[Any] = [int(match[3]), MONTHS[int(match[2]) - 1]]
    return " ".join(map(str, [*words, match[1]] if match[1] else words))
