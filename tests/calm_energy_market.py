"""A small energy market without chance, which several tests plan in."""

import dataclasses

from mfenvs.games.energy.prosumer_types import LAW_V0
from mfenvs.games.energy.version_0 import EnergyMarketV0


def calm(**constants):
    """Two hours of one day without weather and forecast errors; agents still differ."""
    terms = {
        "law": dataclasses.replace(LAW_V0, error_scale=(0.0, 0.0)),
        "n_agents": 400,
        "horizon": 2,
        "weather_sd": 0.0,
        "n_days": 1,
        "first_day": 100,
        "actions": "discrete",
    }
    return EnergyMarketV0(**(terms | constants))
