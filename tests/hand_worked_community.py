"""Four members on a day of four hours whose figures can be worked by hand."""

import dataclasses

import numpy as np

from mfenvs.energy.record import MarketRecord
from mfenvs.energy.series import MarketSeries
from mfenvs.games.energy.conditions import CLOCK, DAY, FEED_IN, RETAIL
from mfenvs.games.energy.market import ACCOUNTS, EnergyMarket
from mfenvs.games.energy.prosumer_types import CONSUMER, PROSUMER, STORAGE

EAGER, THRIFTY, SUNNY, FULL = range(4)
"""A consumer whose flexible load is worth more than the retail tariff, one whose is worth less, and two owners of
batteries."""


@dataclasses.dataclass(kw_only=True)
class FourMembers(EnergyMarket):
    """Load profiles of 1 kWh in every hour, batteries of 10 kWh and 4 kW with an efficiency of one half.

    With vehicles two are at home until 3 h and need 6 and 20 kWh, and one comes at 2 h and needs 9; all of 4 kW.
    """

    def draw_agents(self, rng):
        agents = np.zeros(4, PROSUMER)
        agents["type"] = CONSUMER, CONSUMER, STORAGE, STORAGE
        agents["load_scale"] = 4, 4, 2, 0
        agents["flexible_share"] = 0.5, 0.5, 0.5, 0
        agents["flexible_value"] = 0.4, 0.2, 0.2, 0.2
        agents["capacity"] = 0, 0, 10, 10
        agents["power"] = 0, 0, 4, 4
        agents["efficiency"] = self.efficiency
        if self.ev_share > 0:
            agents["vehicle_energy"] = 6, 20, 9, 0
            agents["vehicle_power"] = 4, 4, 4, 0
            agents["vehicle_arrival"] = 18, 18, 2, 0
            agents["vehicle_departure"] = 3, 3, 20, 0
        return agents


LOAD = np.array([[2, 2, 1, 0], [2, 2, 1, 0], [2, 2, 6, 0], [2, 2, 2, 0]])
GENERATION = np.array([[0, 0, 9, 4], [0, 0, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
CARBON = 0.5, 0.25, 1.0, 0.125


def four_members(tmp_path, **terms):
    """The market of the four."""
    carbon = np.ones((2, 24))
    carbon[1, :4] = CARBON
    MarketSeries(
        load=np.ones((2, 24, 1)),
        pv=np.zeros((2, 24, 1)),
        wind=np.zeros((2, 24)),
        price=np.full((2, 24), 0.1),
        co2=carbon,
        step_hours=1.0,
        dates=("06-30", "12-01"),
    ).save(tmp_path / "series.npz")
    terms = {"n_agents": 4, "horizon": 4, "efficiency": 0.5, "series": str(tmp_path / "series.npz")} | terms
    return FourMembers(feed_in=0.08, retail=0.32, network_charge=0.0, **terms)


def record_of(game, n_worlds=1, day=1, full=None, **accounts):
    """A record of these accounts, (H, N) each, on a day without weather; what is not given is 0.

    ``full`` is the state of charge; by default it never changes.
    """
    n_steps = game.horizon
    entries = np.zeros((n_worlds, n_steps, 4, len(ACCOUNTS)))
    for name, values in ({"load": LOAD, "generation": GENERATION} | accounts).items():
        entries[..., ACCOUNTS.index(name)] = values
    signals = np.zeros((n_worlds, n_steps, game.n_signals))
    steps = np.arange(n_steps)
    signals[..., DAY], signals[..., CLOCK] = day + steps // game.days.steps, steps % game.days.steps
    signals[..., FEED_IN], signals[..., RETAIL] = 0.08, 0.32
    if full is None:
        full = np.tile([0, 0, 0.5, 0.5], (n_worlds, n_steps + 1, 1))
    return MarketRecord(game, entries, signals, full)
