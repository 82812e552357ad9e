"""Version 0 of the energy market and of its binned game: the same rules with the options and constants of then.

In version 0 a prosumer has one limit price, imbalances are settled with the retailer one by one, tariffs are flat,
one weather factor changes load, sun and wind alike, and observations are 30 numbers. Homes use as much as those of
the embedded series, PV is smaller, there are fewer batteries, and there are wind owners. There, pairs of trade are
worth nearly all that can be earned, and storage little: see the versions' history.
"""

import dataclasses
from typing import Any, ClassVar

from mfenvs.energy.tariffs import AnyTariff
from mfenvs.games.energy.binned import BinnedEnergyMarket
from mfenvs.games.energy.market import EnergyMarket
from mfenvs.games.energy.prosumer_types import LAW_V0, PROPORTIONS_V0, ProsumerLaw


@dataclasses.dataclass(kw_only=True)
class EnergyMarketV0(EnergyMarket):
    """The energy market with the defaults of version 0; all terms are those of :class:`EnergyMarket`."""

    prices: str = "one"
    """As in :class:`EnergyMarket`."""
    imbalance: str = "individual"
    """As in :class:`EnergyMarket`."""
    proportions: tuple[float, ...] = PROPORTIONS_V0
    """As in :class:`EnergyMarket`."""
    retail: AnyTariff = 0.32
    """As in :class:`EnergyMarket`."""
    network_charge: AnyTariff = 0.0
    """As in :class:`EnergyMarket`."""
    weather_sd: float | tuple[float, float, float] = 0.1
    """As in :class:`EnergyMarket`."""
    weather_correlation: str | tuple[float, float, float] = (1.0, 1.0, 1.0)
    """As in :class:`EnergyMarket`."""
    time_unit: str = "step"
    """As in :class:`EnergyMarket`."""
    observations: str = "short"
    """As in :class:`EnergyMarket`."""

    law: ProsumerLaw = LAW_V0
    """As in :class:`EnergyMarket`."""


@dataclasses.dataclass(kw_only=True)
class BinnedEnergyMarketV0(BinnedEnergyMarket):
    """The energy market in bins with the defaults of version 0; all terms are those of the newer version."""

    prices: str = EnergyMarketV0.prices
    """As in :class:`BinnedEnergyMarket`."""
    imbalance: str = EnergyMarketV0.imbalance
    """As in :class:`BinnedEnergyMarket`."""
    proportions: tuple[float, ...] = EnergyMarketV0.proportions
    """As in :class:`BinnedEnergyMarket`."""
    retail: AnyTariff = EnergyMarketV0.retail
    """As in :class:`BinnedEnergyMarket`."""
    network_charge: AnyTariff = 0.0
    """As in :class:`BinnedEnergyMarket`."""

    law: ProsumerLaw = LAW_V0
    """As in :class:`BinnedEnergyMarket`."""

    market_class: ClassVar[Any] = EnergyMarketV0
