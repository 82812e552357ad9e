"""One module per game and version, as PettingZoo's own games have: ``from mfenvs import a_sis_v0``."""

from mfenvs.api.versions import (
    a_rps_v0,
    a_sis_v0,
    a_taxi_v0,
    auction_v0,
    classic,
    congestion_v0,
    energy_market_v0,
    energy_market_v1,
    investment_v0,
    linear_quadratic_v0,
    malware_v0,
)

__all__ = [
    "a_rps_v0",
    "a_sis_v0",
    "a_taxi_v0",
    "auction_v0",
    "classic",
    "congestion_v0",
    "energy_market_v0",
    "energy_market_v1",
    "investment_v0",
    "linear_quadratic_v0",
    "malware_v0",
]
